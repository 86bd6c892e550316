"""Linear models: standardised numbers with missing indicators, one-hot levels."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .fitting import Data, Fitted
from .plain import IDENTITY, Linear, Link, predict_linear

Floats = NDArray[np.float64]
LEVELS = 50  # of a category that have a weight of their own
LEAST = 0.5  # rows that a label counts as having, or lacking, in no row of training
PENALTY_ROWS = 10_000  # are enough to choose a penalty
SOLVED_COLUMNS = 1000  # of which one decomposition tells the errors of all penalties


class Design(NamedTuple):
    """Sparse columns of the training rows, and mean and deviation of the numbers among them.

    First numbers, then whether each is missing, then one column for each code of `sizes`.
    """

    columns: Any
    center: NDArray[np.float64]
    spread: NDArray[np.float64]
    sizes: list[int]


def constant(data: Data, value: float | NDArray[np.float64], link: Link = IDENTITY) -> Fitted:
    """Predict the same for every row: the link of `value`, a number for each output."""
    outputs = np.shape(value)
    empty = np.zeros((len(data.spec.numeric), *outputs), dtype=np.float32)
    fill = np.zeros(len(data.spec.numeric), dtype=np.float32)
    tables = tuple(np.zeros((1, *outputs), dtype=np.float32) for _ in data.spec.categorical)
    model = Linear(value, fill, empty, empty, tables, link)
    return Fitted(model, lambda x: predict_linear(model, x))


def design(data: Data) -> Design:
    """Return the columns that a linear model of these rows is fitted to.

    All rows have as many entries: the matrix is filled in place, which takes half of the memory
    of joined parts.
    """
    from scipy import sparse

    sizes = [min(len(feature.levels), LEVELS) + 1 for feature in data.spec.categorical]
    width, rows = len(data.spec.numeric), len(data.y)
    gaps = [j for j in range(width) if np.isnan(data.x[:, j]).any()]
    entries = width + len(gaps) + len(sizes)
    values = np.ones((rows, entries))
    places = np.empty((rows, entries), dtype=np.int32)
    center, spread = np.zeros(width), np.ones(width)
    for j in range(width):
        column = data.x[:, j].astype(np.float64)
        missing = np.isnan(column)
        if not missing.all():
            center[j] = column[~missing].mean()
        column[missing] = np.float32(center[j])
        spread[j] = column.std() or 1.0
        values[:, j], places[:, j] = (column - center[j]) / spread[j], j
        if j in gaps:
            place = width + gaps.index(j)
            values[:, place], places[:, place] = missing, width + j
    start = 2 * width
    for index, size in enumerate(sizes):
        code = np.minimum(data.x[:, width + index], size - 1)
        places[:, width + len(gaps) + index] = start + code
        start += size
    ends = np.arange(0, rows * entries + 1, max(1, entries))
    columns = sparse.csr_matrix((values.ravel(), places.ravel(), ends), (rows, start))
    return Design(columns, center, spread, sizes)


def of_classes(
    weights: NDArray[np.float64], intercepts: NDArray[np.float64], codes: NDArray[Any], data: Data
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weights (inputs, levels) and intercepts (levels,) of which softmax is taken.

    `weights` (inputs, sums) are of the classes `codes` that training rows had, or of two classes
    the log-odds of the second. A class that no row had is as improbable as half a row of them all.
    """
    if weights.shape[1] < len(codes):
        weights = np.column_stack([0 * weights, weights])
        intercepts = np.append(0 * intercepts, intercepts)
    whole = np.zeros((len(weights), len(data.levels)))
    whole[:, codes.astype(np.intp)] = weights
    least = float(np.mean(intercepts)) + float(np.log(0.5 / len(data.y)))
    moved = np.full(len(data.levels), least)
    moved[codes.astype(np.intp)] = intercepts
    return whole, moved


def ridge(columns: Any, y: Floats, penalties: Floats, seed: int) -> tuple[Floats, float]:
    """Return weights (columns,) and intercept of least squares with an L2 penalty.

    It is the one of `penalties` whose mean squared error is least on rows left out one at a time,
    which one decomposition tells for all of them (Golub, Heath & Wahba 1979).
    """
    from sklearn.linear_model import Ridge, RidgeCV

    some = np.random.default_rng(seed).permutation(len(y))[:PENALTY_ROWS]
    if columns.shape[1] > SOLVED_COLUMNS:
        penalty = RidgeCV(penalties).fit(columns[some], y[some]).alpha_
    else:
        x, goal = columns[some].toarray(), y[some]
        center, mean = x.mean(axis=0), float(goal.mean())
        x -= center
        goal = goal - mean
        sizes, axes = np.linalg.eigh(x.T @ x)
        sizes, turned = np.maximum(sizes, 0), x @ axes
        along, squares = turned.T @ goal, turned**2
        errors = []
        for penalty in penalties:
            kept = 1 / (sizes + penalty)
            left = (goal - turned @ (kept * along)) / (1 - 1 / len(goal) - squares @ kept)
            errors.append(float(np.square(left).mean()))
        penalty = penalties[int(np.argmin(errors))]
        if len(some) == len(y):
            weights = axes @ (along / (sizes + penalty))
            return weights, mean - float(center @ weights)
    estimator = Ridge(penalty, random_state=seed).fit(columns, y)
    return estimator.coef_, float(estimator.intercept_)


def odds_of_shares(goals: Floats) -> Floats:
    """Return the log-odds of each goal's share of 1, kept LEAST rows away from 0 and 1."""
    counts, rows = goals.sum(axis=0), len(goals)
    having = np.clip(counts, LEAST, rows - LEAST)
    return np.asarray(np.log(having / (rows - having)))


def of_each(columns: Any, goals: Floats) -> tuple[Floats, Floats]:
    """Return weights (inputs, goals) and intercepts (goals,) of a logistic model for each goal.

    `columns` are of shape (rows, inputs), `goals` hold 0 and 1. One that all rows or none have
    gets the log-odds of its share.
    """
    from sklearn.linear_model import LogisticRegression

    weights, intercepts = np.zeros((columns.shape[1], goals.shape[1])), odds_of_shares(goals)
    for place in np.flatnonzero((goals != goals[0]).any(axis=0)):
        estimator = LogisticRegression(C=1.0, max_iter=500).fit(columns, goals[:, place])
        weights[:, place], intercepts[place] = estimator.coef_[0], estimator.intercept_[0]
    return weights, intercepts


def fitted(
    design: Design,
    coefficients: NDArray[np.float64],
    intercept: float | NDArray[np.float64],
    link: Link,
) -> Fitted:
    """Return the model that an estimator has fitted to the columns of `design`.

    `coefficients` have shape (columns,), or (columns, outputs) with an intercept for each output.
    """
    width = len(design.center)
    weight = (coefficients[:width].T / design.spread).T
    tables, start = [], 2 * width
    for size in design.sizes:
        tables.append(coefficients[start : start + size].astype(np.float32))
        start += size
    model = Linear(
        intercept - (weight.T * design.center).sum(axis=-1),
        design.center.astype(np.float32),
        weight.astype(np.float32),
        coefficients[width : 2 * width].astype(np.float32),
        tuple(tables),
        link,
    )
    return Fitted(model, lambda x: predict_linear(model, x))
