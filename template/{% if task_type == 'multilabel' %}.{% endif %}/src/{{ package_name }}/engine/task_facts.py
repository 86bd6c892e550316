"""What code reads of the plan in multilabel classification alone."""


class TaskFacts:
    """Decisions by their output and answers by their name, as `Facts` reads them.

    `label_names` are names with commas between them, `label_costs` the labels whose errors cost
    otherwise than `cost_missed_label` and `cost_extra_label`: "label = missed / extra; ...".
    """

    # Decisions
    calibration: str
    label_thresholds: str
    # Answers
    cost_extra_label: float
    cost_missed_label: float
    label_costs: str
    label_names: str
    labels_per_row: float
    rarest_label_share: float
    today_label_cost: float
    today_label_precision: float
    today_label_recall: float
