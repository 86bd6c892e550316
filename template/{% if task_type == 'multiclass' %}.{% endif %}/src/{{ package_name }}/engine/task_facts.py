"""What code reads of the plan in multiclass classification alone."""


class TaskFacts:
    """Decisions by their output and answers by their name, as `Facts` reads them.

    `classes` are names with commas between them, `cost_pairs` the errors that cost otherwise than
    `cost_wrong`: "actual > decided = cost; ...".
    """

    # Decisions
    acceptance: str
    calibration: str
    # Answers
    classes: str
    cost_pairs: str
    cost_review: float
    cost_wrong: float
    largest_share: float
    rarest_share: float
    review_accuracy: float
    review_share: float
    today_accuracy: float
    today_cost: float
