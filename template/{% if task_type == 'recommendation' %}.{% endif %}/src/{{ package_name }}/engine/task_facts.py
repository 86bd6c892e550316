"""What code reads of the plan in recommendation alone."""


class TaskFacts:
    """Decisions by their output and answers by their name, as `Facts` reads them."""

    # Decisions
    feedback: str
    list_rule: str
    # Answers
    exclude_seen: bool
    incremental_share: float
    item_value: float
    list_length: int
    min_support: int
    n_rows: int
    today_hits: float
