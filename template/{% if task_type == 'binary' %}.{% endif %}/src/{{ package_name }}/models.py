"""Candidates and baselines. Each is fitted to plain data: sums of trees, or a linear model."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine import metrics
from .engine.facts import Facts
from .engine.model import boosting, families, linear
from .engine.model.fitting import Data, Fitted, Fitter
from .engine.model.plain import LOGIT


def class_prior(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Predict the share of positives for every row."""
    rate = float(data.y.mean())
    return linear.constant(data, float(np.log(rate / (1 - rate))), LOGIT)


def logistic_regression(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Standardised numbers with missing indicators, one-hot levels, L2 penalty."""
    from sklearn.linear_model import LogisticRegression

    design = linear.design(data)
    estimator = LogisticRegression(C=1.0, max_iter=500, random_state=seed)
    estimator.fit(design.columns, data.y)
    return linear.fitted(design, estimator.coef_[0], float(estimator.intercept_[0]), LOGIT)


GOAL = boosting.itself(LOGIT)
OBJECTIVE = {"objective": "binary", "metric": "binary_logloss"}
KINDS = {
    "lightgbm": boosting.Kind(OBJECTIVE, GOAL),
    "lightgbm_statistics": boosting.Kind(OBJECTIVE, GOAL, statistics=True),
    "lightgbm_extra": boosting.Kind({**OBJECTIVE, "extra_trees": True}, GOAL),
    **boosting.extras(GOAL, "Logloss", "binary:logistic", 0.5),
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
# What a blend has beside the plan's candidates: trees on the mean target of a level, which are
# never chosen alone, and after `ml tune` two more kinds of trees.
STATISTICS = {"lightgbm": "lightgbm_statistics"}
TUNED = ("extra_trees", "lightgbm_extra")


def loss(metric: str, y: NDArray[Any], p: NDArray[np.float64]) -> float:
    """Return what the weights of a blend and the settings of a model are chosen by."""
    return metrics.log_loss(y, p)
