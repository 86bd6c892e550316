"""What code reads of the plan in clustering alone."""


class TaskFacts:
    """Decisions by their output and answers by their name, as `Facts` reads them."""

    # Decisions
    count_rule: str
    scaling: str
    # Answers
    cost_misplaced: float
    cost_segment: float
    min_stability: float
    segment_gain: float
    segments_least: int
    segments_most: int
    today_right: float
    today_segments: str
