"""Candidates and baselines. Each is fitted to plain data: sums of trees, or a linear model."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine import metrics
from .engine.facts import Facts
from .engine.model import boosting, families, linear
from .engine.model.fitting import Data, Fitted, Fitter
from .engine.model.one_vs_rest import boosted, of_labels, truth
from .engine.model.plain import LOGIT


def label_shares(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Predict the share of each label for every row."""
    return linear.constant(data, linear.odds_of_shares(truth(data)), LOGIT)


def logistic_regression(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """One for each label: standardised numbers with missing indicators, one-hot levels, L2 penalty.

    A label that all rows or none have gets the log-odds of its share.
    """
    design = linear.design(data)
    return linear.fitted(design, *linear.of_each(design.columns, truth(data)), LOGIT)


def kinds(facts: Facts) -> dict[str, boosting.Kind]:
    """Return the kinds of boosting that share one number of trees: none, each label has its own."""
    return {}


FITTERS: dict[str, Fitter] = {
    "label_shares": label_shares,
    "single_rule": partial(of_labels, partial(families.single_rule, classify=False)),
    "logistic_regression": logistic_regression,
    **{
        name: partial(
            of_labels, partial(fit, classify=name in ("kernel_machine", "neural_network"))
        )
        for name, fit in families.FITTERS.items()
    },
    "lightgbm": boosted,
}
# From simple to complex: a later one is chosen only when it is clearly better.
LADDER = (
    *("label_shares", "single_rule", "decision_tree", "logistic_regression", "nearest_neighbours"),
    *("bagged_trees", "random_forest", "extra_trees", "kernel_machine", "neural_network"),
    *("lightgbm", "blend", "stack"),
)
# What a blend has beside the plan's candidates: nothing.
STATISTICS: dict[str, str] = {}
TUNED: tuple[str, ...] = ()


def loss(metric: str, y: NDArray[Any], p: NDArray[np.float64]) -> float:
    """Return what the weights of a blend are chosen by."""
    return metrics.score("log_loss", y, p)
