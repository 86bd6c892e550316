"""What code reads of the plan in forecasting alone."""


class TaskFacts:
    """Decisions by their output and answers by their name, as `Facts` reads them.

    Errors, limits and costs are for one unit of the target, `target_unit`.
    """

    # Decisions
    decision_value: str
    interval: str
    # Answers
    cost_over: float
    cost_under: float
    forecast_horizon: int
    forecast_step: str
    interval_coverage: float
    max_bias: float
    target_mean: float
    target_unit: str
    today_error: float
