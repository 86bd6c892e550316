"""Candidates and baselines. Each is fitted to plain data: sums of trees, or a linear model."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine.facts import Facts
from .engine.model import boosting, families, goals, linear
from .engine.model.fitting import Data, Fitted, Fitter

PENALTIES = np.logspace(-1, 4, 11)


def median(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Predict the median of the target for every row."""
    return linear.constant(data, float(np.median(data.y)))


def ridge(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Standardised numbers with missing indicators, one-hot levels; the L2 penalty is validated."""
    goal, link = boosting.standardised(data.y)
    design, y = linear.design(data), goal(data.y)
    weights, intercept = linear.ridge(design.columns, y, PENALTIES, seed)
    return linear.fitted(design, weights, intercept, link)


OBJECTIVES = {
    "squared": boosting.Kind({"objective": "regression", "metric": "l2"}, boosting.standardised),
    "absolute": boosting.Kind({"objective": "l1", "metric": "l1"}, boosting.standardised),
    "poisson": boosting.Kind({"objective": "poisson", "metric": "poisson"}, goals.rates),
    "tweedie": boosting.Kind({"objective": "tweedie", "metric": "tweedie"}, goals.rates),
}
# The same by CatBoost and XGBoost, and what the latter starts from.
ELSEWHERE = {
    "squared": ("RMSE", "reg:squarederror", 0.0),
    "absolute": ("MAE", "reg:absoluteerror", 0.0),
    "poisson": ("Poisson", "count:poisson", 1.0),
    "tweedie": ("Tweedie:variance_power=1.5", "reg:tweedie", 1.0),
}


def of_objective(objective: str) -> dict[str, boosting.Kind]:
    """Return the kinds of boosting that minimise one of OBJECTIVES."""
    raw = OBJECTIVES[objective]
    absolute = objective == "absolute"  # its median needs no way back from that of logarithms
    of_logs = OBJECTIVES["absolute" if absolute else "squared"]
    log = of_logs._replace(target=goals.logarithm, smearing=not absolute)
    return {
        "lightgbm": raw,
        "lightgbm_statistics": raw._replace(statistics=True),
        "lightgbm_log": log,
        "lightgbm_log_statistics": log._replace(statistics=True),
        "lightgbm_extra": raw._replace(objective={**raw.objective, "extra_trees": True}),
        **boosting.extras(raw.target, *ELSEWHERE[objective]),
    }


def kinds(facts: Facts) -> dict[str, boosting.Kind]:
    """Return the kinds of boosting by name; the plan decides what they minimise (MOD-05)."""
    return of_objective(facts.objective)


FITTERS: dict[str, Fitter] = {
    "median": median,
    "single_rule": partial(families.single_rule, classify=False),
    "ridge": ridge,
    **{name: partial(fit, classify=False) for name, fit in families.FITTERS.items()},
    **{name: partial(boosting.fit, kind) for name, kind in of_objective("squared").items()},
}
# From simple to complex: a later one is chosen only when it is clearly better.
LADDER = (
    *("median", "single_rule", "decision_tree", "ridge", "nearest_neighbours", "bagged_trees"),
    *("random_forest", "extra_trees", "kernel_machine", "neural_network", "lightgbm"),
    *("lightgbm_log", "xgboost", "catboost", "blend", "stack"),
)
# What a blend has beside the plan's candidates: trees on the mean target of a level, which are
# never chosen alone, and after `ml tune` two more kinds of trees.
STATISTICS = {"lightgbm": "lightgbm_statistics", "lightgbm_log": "lightgbm_log_statistics"}
TUNED = ("extra_trees", "lightgbm_extra")


def loss(metric: str, y: NDArray[Any], p: NDArray[np.float64]) -> float:
    """Return what the weights of a blend and the settings of a model are chosen by."""
    errors = y - p
    return float((np.square if metric in ("rmse", "r2") else np.abs)(errors).mean())
