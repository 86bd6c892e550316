"""A second model over what members predict out of fold (stacking, Wolpert 1992; Breiman 1996)."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import task
from . import linear
from .builder import Graph
from .fitting import Data, Fold
from .plain import IDENTITY, LOGIT, SOFTMAX, Link

Floats = NDArray[np.float64]
PENALTIES = np.logspace(-3, 3, 13)
PARTS = 5  # of a single fold
LEAST = 1e-6  # probability that its logarithm is taken of


class Second(NamedTuple):
    """link(intercept + sum of seen(prediction) @ weight), a weight of (outputs, outputs) each.

    `seen` is the log-odds or logarithm of probabilities, or what a member predicts.
    """

    seen: Literal["logit", "log", "identity"]
    weights: tuple[Floats, ...]
    intercept: Floats
    link: Link

    def predict(self, predictions: Sequence[Floats]) -> Floats:
        """Return predictions of shape (rows,) or (rows, outputs) from those of the members."""
        columns = (_seen(self.seen, values) for values in predictions)
        total = sum(c @ w for c, w in zip(columns, self.weights, strict=True)) + self.intercept
        return self.link.apply(total if total.shape[1] > 1 else total[:, 0])

    def emit(self, graph: Graph, predictions: Sequence[str]) -> str:
        """Add the nodes up to what the link is applied to; double [rows, outputs]."""
        total = graph.constant(self.intercept[None])
        for values, weight in zip(predictions, self.weights, strict=True):
            column = values
            if self.seen != "identity":
                bounds = [graph.constant(LEAST), graph.constant(1 - LEAST)]
                column = graph.node("Clip", [values, *bounds])
            if self.seen == "logit":
                other = graph.node("Sub", [graph.constant([[1.0]]), column])
                column = graph.node("Div", [column, other])
            if self.seen != "identity":
                column = graph.node("Log", [column])
            product = graph.node("MatMul", [column, graph.constant(weight)])
            total = graph.node("Add", [total, product])
        return total


def fit(data: Data, predictions: Sequence[Floats]) -> Second:
    """Fit a logistic model, or a ridge whose penalty is validated, to predictions out of fold."""
    if data.y.dtype.kind not in "iu":
        return _ridge(data.y, predictions)
    if data.levels and task.EXCLUSIVE:
        return _of_classes(data, predictions)
    return _of_each(data, predictions)


def out_of_fold(
    data: Data, folds: Sequence[Fold], repeats: int, predictions: Sequence[Sequence[Floats]]
) -> tuple[Second, list[Floats]]:
    """Return the second model, and what one that has not seen a fold's rows predicts of them.

    `predictions` are those of each member by fold. It learns from tested rows that the members of
    the fold were fitted to: no later ones where time matters, no other ones of a group. Before any
    was tested, the mean of all members stands in; a single fold is told in PARTS.
    """
    every = len(folds) // repeats
    found: list[Floats] = []
    known: list[tuple[Data, list[Floats]]] = []
    for start in range(0, len(folds), every):
        some = folds[start : start + every]
        tested = np.concatenate([valid for _, valid in some])
        oof = [np.concatenate(one[start : start + every]) for one in predictions]
        known.append((data.rows(tested), oof))
        for number, (train, valid) in enumerate(some, start):
            own = [one[number] for one in predictions]
            seen = np.flatnonzero(np.isin(tested, train))
            if every == 1:
                found.append(_in_parts(data.rows(valid), own))
            elif len(np.unique(data.y[tested[seen]])) < 2:
                found.append(np.asarray(np.mean(own, axis=0)))
            else:
                second = fit(data.rows(tested[seen]), [values[seen] for values in oof])
                found.append(second.predict(own))
    rows = np.concatenate([valid for _, valid in folds])
    return fit(data.rows(rows), [np.concatenate(one) for one in predictions]), found


def _in_parts(data: Data, predictions: Sequence[Floats]) -> Floats:
    part = np.arange(len(data.y)) % PARTS
    found = np.empty_like(predictions[0])
    for number in range(PARTS):
        other, own = np.flatnonzero(part != number), part == number
        second = fit(data.rows(other), [values[other] for values in predictions])
        found[own] = second.predict([values[own] for values in predictions])
    return found


def _of_classes(data: Data, predictions: Sequence[Floats]) -> Second:
    from sklearn.linear_model import LogisticRegression

    columns = np.hstack([_seen("log", values) for values in predictions])
    estimator = LogisticRegression(C=1.0, max_iter=500).fit(columns, data.y)
    found = linear.of_classes(estimator.coef_.T, estimator.intercept_, estimator.classes_, data)
    return Second("log", tuple(np.split(found[0], len(predictions))), found[1], SOFTMAX)


def _of_each(data: Data, predictions: Sequence[Floats]) -> Second:
    """Fit a model for each output, from what the members say of this one."""
    seen = np.stack([_seen("logit", values) for values in predictions])
    (size, rows, outputs) = seen.shape
    told: Any = task.goals(data.y)  # None for a task that has no target, and no stack
    goals = np.zeros((rows, outputs))
    goals[:, : told.shape[1]] = told  # the last levels are left out where no row has them
    weights, intercept = np.zeros((size, outputs, outputs)), np.zeros(outputs)
    for place in range(outputs):
        found = linear.of_each(seen[:, :, place].T, goals[:, place : place + 1])
        weights[:, place, place], intercept[place] = found[0][:, 0], found[1][0]
    return Second("logit", tuple(weights), intercept, LOGIT)


def _ridge(y: Floats, predictions: Sequence[Floats]) -> Second:
    from sklearn.linear_model import RidgeCV

    mean, spread = float(y.mean()), float(y.std()) or 1.0
    columns = (np.column_stack(predictions) - mean) / spread
    estimator = RidgeCV(PENALTIES).fit(columns, (y - mean) / spread)
    weight = estimator.coef_[:, None]
    intercept = np.array([mean * (1 - weight.sum()) + spread * estimator.intercept_])
    return Second("identity", tuple(np.split(weight, len(predictions))), intercept, IDENTITY)


def _seen(kind: str, values: Floats) -> Floats:
    """Return what the second model is told of predictions, shape (rows, outputs)."""
    columns = values.reshape(len(values), -1)
    if kind == "identity":
        return columns
    columns = np.clip(columns, LEAST, 1 - LEAST)
    return np.asarray(np.log(columns / (1 - columns) if kind == "logit" else columns))
