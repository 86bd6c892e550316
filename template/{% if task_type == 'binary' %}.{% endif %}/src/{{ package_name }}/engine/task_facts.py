"""What code reads of the plan in binary classification alone."""


class TaskFacts:
    """Decisions by their output and answers by their name, as `Facts` reads them."""

    # Decisions
    calibration: str
    threshold: str
    # Answers
    action: str
    action_success: float
    cost_fn: float
    cost_fp: float
    cost_tn: float
    cost_tp: float
    daily_capacity: float
    pos_rate: float
    today_caught: float
    today_precision: float
