"""Candidates and baselines. Each is fitted to plain data: sums of trees, or a linear model."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine import metrics
from .engine.facts import Facts
from .engine.model import boosting, families, linear
from .engine.model.fitting import Data, Fitted, Fitter
from .engine.model.plain import SOFTMAX


def class_prior(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Predict the shares of the classes for every row; one that no row has counts as half a row."""
    counts = np.bincount(data.y, minlength=len(data.levels))
    return linear.constant(data, np.log(np.maximum(counts, 0.5) / len(data.y)), SOFTMAX)


def logistic_regression(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Standardised numbers with missing indicators, one-hot levels, L2 penalty, softmax."""
    from sklearn.linear_model import LogisticRegression

    design = linear.design(data)
    estimator = LogisticRegression(C=1.0, max_iter=500, random_state=seed)
    estimator.fit(design.columns, data.y)
    sums = estimator.coef_.T, estimator.intercept_
    weights, intercepts = linear.of_classes(*sums, estimator.classes_, data)
    return linear.fitted(design, weights, intercepts, SOFTMAX)


GOAL = boosting.itself(SOFTMAX)
OBJECTIVE = {"objective": "multiclass", "metric": "multi_logloss"}
KINDS = {
    "lightgbm": boosting.Kind(OBJECTIVE, GOAL),
    "lightgbm_extra": boosting.Kind({**OBJECTIVE, "extra_trees": True}, GOAL),
    **boosting.extras(GOAL, "MultiClass", "multi:softprob"),
}


def kinds(facts: Facts) -> dict[str, boosting.Kind]:
    """Return the kinds of boosting by name."""
    return KINDS


FITTERS: dict[str, Fitter] = {
    "class_prior": class_prior,
    "single_rule": partial(families.single_rule, classify=True),
    "logistic_regression": logistic_regression,
    **{name: partial(fit, classify=True) for name, fit in families.FITTERS.items()},
    **{name: partial(boosting.fit, kind) for name, kind in KINDS.items()},
}
# From simple to complex: a later one is chosen only when it is clearly better.
LADDER = (
    *("class_prior", "single_rule", "decision_tree", "logistic_regression", "nearest_neighbours"),
    *("bagged_trees", "random_forest", "extra_trees", "kernel_machine", "neural_network"),
    *("lightgbm", "xgboost", "catboost", "blend", "stack"),
)
# What a blend has beside the plan's candidates: nothing, and after `ml tune` two kinds of trees.
STATISTICS: dict[str, str] = {}
TUNED = ("extra_trees", "lightgbm_extra")


def loss(metric: str, y: NDArray[Any], p: NDArray[np.float64]) -> float:
    """Return what the weights of a blend and the settings of a model are chosen by."""
    return metrics.score("log_loss", y, p)
