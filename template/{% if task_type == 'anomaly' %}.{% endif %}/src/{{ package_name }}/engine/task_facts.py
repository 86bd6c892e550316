"""What code reads of the plan in anomaly detection alone."""

from typing import Literal


class TaskFacts:
    """Decisions by their output and answers by their name, as `Facts` reads them.

    Costs are for one alert that is checked and one anomaly that nobody sees.
    """

    # Decisions
    alert_rule: str
    normal_by: list[Literal["all_rows", "entity", "hour", "weekday", "month"]]
    # Answers
    alerts_per_day: float
    anomaly_share: float
    cost_check: float
    cost_missed: float
    labels: str
    today_found: float
    today_checks: float
