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


def single_rule(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Predict by the best single cut on a single column: a rule of thumb, found in the data."""
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_depth=1, min_samples_leaf=10, random_state=seed)
    tree.fit(data.x, data.y)
    return families.of_shares(data, tree)


def logistic_regression(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Standardised numbers with missing indicators, one-hot levels, L2 penalty, softmax."""
    from sklearn.linear_model import LogisticRegression

    design = linear.design(data)
    estimator = LogisticRegression(C=1.0, max_iter=500, random_state=seed)
    estimator.fit(design.columns, data.y)
    sums = estimator.coef_.T, estimator.intercept_
    weights, intercepts = linear.of_classes(*sums, estimator.classes_, data)
    return linear.fitted(design, weights, intercepts, SOFTMAX)


def extra_trees(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Average 100 extremely randomised trees (Geurts 2006), which err otherwise than boosting.

    The least rows of a leaf grow with the data, so that the graph stays small.
    """
    from sklearn.ensemble import ExtraTreesClassifier

    forest = ExtraTreesClassifier(
        100,
        min_samples_leaf=max(5, len(data.y) // 2000),
        max_features=0.5,
        n_jobs=data.workers(data.x),
        random_state=seed,
    )
    forest.fit(data.x, data.y)
    return families.of_shares(data, forest)


OBJECTIVE = {"objective": "multiclass", "metric": "multi_logloss"}
KINDS = {
    "lightgbm": boosting.Kind(OBJECTIVE, boosting.classes),
    "lightgbm_extra": boosting.Kind({**OBJECTIVE, "extra_trees": True}, boosting.classes),
}


def kinds(facts: Facts) -> dict[str, boosting.Kind]:
    """Return the kinds of boosting by name."""
    return KINDS


FITTERS: dict[str, Fitter] = {
    "class_prior": class_prior,
    "single_rule": single_rule,
    "logistic_regression": logistic_regression,
    "extra_trees": extra_trees,
    **{name: partial(fit, classify=True) for name, fit in families.FITTERS.items()},
    **{name: partial(boosting.fit, kind) for name, kind in KINDS.items()},
}
# From simple to complex: a later one is chosen only when it is clearly better.
LADDER = (
    *("class_prior", "single_rule", "decision_tree", "logistic_regression", "nearest_neighbours"),
    *("random_forest", "extra_trees", "kernel_machine", "neural_network", "lightgbm", "blend"),
)
# What a blend has beside the plan's candidates: nothing, and after `ml tune` two kinds of trees.
STATISTICS: dict[str, str] = {}
TUNED = ("extra_trees", "lightgbm_extra")


def loss(metric: str, y: NDArray[Any], p: NDArray[np.float64]) -> float:
    """Return what the weights of a blend and the settings of a model are chosen by."""
    return metrics.score("log_loss", y, p)
