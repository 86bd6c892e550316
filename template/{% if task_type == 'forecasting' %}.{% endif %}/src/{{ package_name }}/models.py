"""Candidates and baselines, each fitted to plain data: a column of what looks back, or trees."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine.facts import Facts
from .engine.model import boosting, goals, linear, scaled
from .engine.model.fitting import Data, Fitted, Fitter
from .engine.model.plain import Linear, predict_linear

ROUNDS = {"rounds": 200, "members": 1, "num_leaves": 31, "min_data_in_leaf": 40}
PENALTIES = np.logspace(-1, 4, 11)
RATES = boosting.Kind({"objective": "poisson", "metric": "poisson"}, goals.rates)
SQUARED = boosting.Kind({"objective": "l2", "metric": "l2"}, boosting.standardised)


def moving_average(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Predict the level of the last weeks for each step."""
    return column(data, "level")


def seasonal_naive(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Predict what was a season before: of days, the value of the same day of the week."""
    return column(data, "season_before")


def ridge(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Standardised numbers with missing indicators, one-hot levels; the L2 penalty is validated."""
    goal, link = boosting.standardised(data.y)
    design, y = linear.design(data), goal(data.y)
    weights, intercept = linear.ridge(design.columns, y, PENALTIES, seed)
    return linear.fitted(design, weights, intercept, link)


def smoothing(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Predict by exponential smoothing, in the way that was best on the training rows."""
    names = [name for name in own(data) if name.startswith("smoothed_")]
    errors = {name: np.abs(column(data, name).predict(data.x) - data.y).mean() for name in names}
    return column(data, min(errors, key=errors.__getitem__, default=""))


def direct(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Boost one model of all series and steps, in multiples of the level of each series.

    What is below 0 has no multiples: then trees are fitted to the values themselves.
    """
    if data.y.min() < 0:
        return boosting.fit(SQUARED, data, seed, dict(ROUNDS))
    model = scaled.of(data, own(data)["level"], sorted(own(data).values()))
    shrunk = data._replace(x=model.shrunk(data.x), y=data.y / model.scale(data.x))
    return model.around(boosting.fit(RATES, shrunk, seed, dict(ROUNDS)))


def own(data: Data) -> dict[str, int]:
    """Return the columns of the matrix that hold values of the series, by what they are."""
    past = {feature.name for feature in data.spec.history if feature.column}
    names = enumerate(data.spec.names)
    return {name.rpartition(".")[2]: place for place, name in names if name in past}


def column(data: Data, name: str) -> Fitted:
    """Predict what stands in a column; for a series without it, the mean of all others.

    Where no feature looks back, one value is predicted for all: the mean of the target.
    """
    if name not in own(data):
        return linear.constant(data, float(data.y.mean()))
    place, width = own(data)[name], len(data.spec.numeric)
    weight, fill = np.zeros(width, np.float32), np.zeros(width, np.float32)
    known = data.x[:, place][~np.isnan(data.x[:, place])]
    weight[place], fill[place] = 1, known.mean(dtype=np.float64) if len(known) else data.y.mean()
    tables = tuple(np.zeros(1, np.float32) for _ in data.spec.categorical)
    model = Linear(0.0, fill, weight, np.zeros(width, np.float32), tables)
    return Fitted(model, lambda x: predict_linear(model, x))


def kinds(facts: Facts) -> dict[str, boosting.Kind]:
    """Return the kinds of boosting that a search could tune: none, as `direct` has its settings."""
    return {}


FITTERS: dict[str, Fitter] = {
    "moving_average": moving_average,
    "seasonal_naive": seasonal_naive,
    "ridge": ridge,
    "smoothing": smoothing,
    "direct": direct,
}
# From simple to complex: a later one is chosen only when it is clearly better.
LADDER = ("moving_average", "seasonal_naive", "ridge", "smoothing", "direct", "blend")
STATISTICS: dict[str, str] = {}  # what a blend has beside the plan's candidates: nothing
TUNED: tuple[str, ...] = ()


def loss(metric: str, y: NDArray[Any], p: NDArray[np.float64]) -> float:
    """Return what the weights of a blend are chosen by."""
    errors = y - p
    return float((np.square if metric == "rmse" else np.abs)(errors).mean())
