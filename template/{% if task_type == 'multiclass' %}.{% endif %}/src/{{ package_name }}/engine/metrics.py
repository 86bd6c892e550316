"""Metrics of a multiclass model: scoring rules of its probabilities, and how often it is right.

Everywhere `y` holds codes of classes of shape (rows,) and `p` probabilities of shape
(rows, classes); the predicted class is the most probable one. A value that is undefined is NaN,
which reports write as null. Definitions are those of scikit-learn where it has them.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BINS = 10  # of a calibration error
POINTS = 100  # of a picture


class Rows:
    """Actual classes and probabilities, with what every reweighting of the rows needs."""

    def __init__(self, y: Array, p: Array, level: float = 0.0) -> None:
        self.y, self.p = np.asarray(y).astype(np.intp), np.asarray(p, np.float64)
        rows, self.classes = self.p.shape if self.p.ndim == 2 else (0, 0)
        if self.y.shape != (rows,) or not rows or not np.isfinite(self.p).all():
            raise ValueError(f"y {y.shape} and p {p.shape}: finite probabilities are needed")
        if not 0 <= self.y.min() <= self.y.max() < self.classes:
            raise ValueError(
                f"codes from {self.y.min()} to {self.y.max()} of {self.classes} classes"
            )

    def values(self, names: Sequence[str], weights: Array | None = None) -> list[float]:
        """Return metrics by their names (see `NAMES`); `weights` of shape (rows,)."""
        draw = Draw(self, np.ones(len(self.y)) if weights is None else weights)
        return [_METRICS[name](draw) for name in names]

    @cached_property
    def predicted(self) -> NDArray[np.intp]:
        """The most probable class of each row."""
        return self.p.argmax(axis=1)

    @cached_property
    def right(self) -> Array:
        """1 where the most probable class came, else 0."""
        return np.asarray(self.predicted == self.y, np.float64)

    @cached_property
    def of_actual(self) -> Array:
        """The probability that the actual class was given."""
        return self.p[np.arange(len(self.y)), self.y]

    @cached_property
    def loss(self) -> Array:
        """Log loss of each row, in nats; probabilities are kept 2.2e-16 away from 0."""
        tiny = float(np.finfo(np.float64).eps)
        return np.asarray(-np.log(np.clip(self.of_actual, tiny, 1 - tiny)))

    @cached_property
    def squared(self) -> Array:
        """Squared distance of the probabilities from what came, 0 to 2 (Brier 1950)."""
        return np.asarray((self.p**2).sum(axis=1) - 2 * self.of_actual + 1)

    @cached_property
    def in_top_two(self) -> Array:
        """1 where the actual class is one of the two most probable, else 0."""
        above = (self.p > self.of_actual[:, None]).sum(axis=1)
        return (above < 2).astype(np.float64)

    @cached_property
    def confidence(self) -> Array:
        """The probability of the most probable class."""
        return np.asarray(self.p.max(axis=1))

    @cached_property
    def bins(self) -> Array:
        """The bin of equal counts, by its confidence, that each row falls into."""
        return binned(self.confidence)

    @cached_property
    def gaps(self) -> list[tuple[Array, Array]]:
        """Of each class the bin of each row, and what came minus its probability."""
        return [
            (binned(self.p[:, code]), (self.y == code) - self.p[:, code])
            for code in range(self.classes)
        ]


class Draw:
    """Rows under one set of weights: who was taken for whom, rows = actual classes."""

    def __init__(self, rows: Rows, weights: Array) -> None:
        self.rows, self.w, self.total = rows, weights, float(weights.sum())
        cell, size = rows.y * rows.classes + rows.predicted, rows.classes**2
        self.table = np.bincount(cell, weights, size).reshape(rows.classes, rows.classes)
        self.actual, self.taken = self.table.sum(axis=1), self.table.sum(axis=0)
        self.hits = np.diagonal(self.table)

    def mean(self, values: Array) -> float:
        """Return the mean of values of shape (rows,), without BLAS, which starts threads for it."""
        return float(np.einsum("i,i->", self.w, values)) / self.total

    def off(self, bins: Array, gaps: Array) -> float:
        """Return the calibration error: mean over rows of the gap that their bin has."""
        return float(np.abs(np.bincount(bins, self.w * gaps, BINS)).sum()) / self.total

    def f1(self) -> Array:
        """Return the F1 of each class, NaN of one that neither came nor was predicted."""
        both = self.actual + self.taken
        nothing = np.full(len(both), np.nan)
        return np.asarray(np.divide(2 * self.hits, both, out=nothing, where=both > 0))


def binned(values: Array) -> NDArray[np.intp]:
    """Return the bin of equal counts that each value falls into, shape (rows,)."""
    edges = np.quantile(values, np.arange(1, BINS) / BINS)
    return np.searchsorted(edges, values, side="right")


def _recalled(d: Draw) -> float:
    there = d.actual > 0
    return float((d.hits[there] / d.actual[there]).mean())


def _weighted_f1(d: Draw) -> float:
    there = d.actual > 0
    return float(d.actual[there] @ d.f1()[there]) / d.total


def _mcc(d: Draw) -> float:
    """Matthews' correlation of K classes (Gorodkin 2004); 0 where one side has one class only."""
    right = float(d.hits.sum()) * d.total - float(d.actual @ d.taken)
    sides = (d.total**2 - float(d.actual @ d.actual)) * (d.total**2 - float(d.taken @ d.taken))
    return right / sides**0.5 if sides > 0 else 0.0


_METRICS: dict[str, Callable[[Draw], float]] = {
    "log_loss": lambda d: d.mean(d.rows.loss),
    "brier": lambda d: d.mean(d.rows.squared),
    # Naeini et al. 2015, of the most probable class; bins of equal mass (Nixon et al. 2019).
    "ece": lambda d: d.off(d.rows.bins, d.rows.right - d.rows.confidence),
    # Kull et al. 2019: the mean over the classes.
    "classwise_ece": lambda d: float(np.mean([d.off(*each) for each in d.rows.gaps])),
    "accuracy": lambda d: d.mean(d.rows.right),
    "balanced_accuracy": _recalled,
    "macro_f1": lambda d: float(np.nanmean(d.f1())),
    "weighted_f1": _weighted_f1,
    "mcc": _mcc,
    "top2_accuracy": lambda d: d.mean(d.rows.in_top_two),
}
NAMES = tuple(_METRICS)
LOSSES = ("log_loss", "brier", "ece", "classwise_ece")
HIGHER_IS_BETTER = {name: name not in LOSSES for name in NAMES}


def sign(name: str) -> float:
    """Return 1 where a higher value of the metric is better, -1 where a lower one is."""
    return 1.0 if HIGHER_IS_BETTER[name] else -1.0


def score(name: str, y: Array, p: Array, level: float = 0.0, weights: Array | None = None) -> float:
    """Return one metric by its name (see `NAMES`); `weights` of shape (rows,)."""
    return Rows(y, p).values([name], weights)[0]


def evaluate(y: Array, p: Array, level: float = 0.0) -> dict[str, float]:
    """Return every metric."""
    return dict(zip(NAMES, Rows(y, p).values(NAMES), strict=True))


def strata(y: Array) -> list[NDArray[np.intp]]:
    """Return the places of rows that are redrawn among themselves: those of each class."""
    return [np.flatnonzero(y == code) for code in np.unique(y)]


def shares(y: Array, p: Array, level: float) -> dict[str, Array]:
    """Return the rows that each metric between 0 and 1 is a share of, bool (rows,)."""
    every = np.ones(len(y), bool)
    rarest = np.asarray(y == min(np.unique(y), key=lambda code: int((y == code).sum())))
    whole = dict.fromkeys(("accuracy", "top2_accuracy", "weighted_f1"), every)
    return whole | dict.fromkeys(("balanced_accuracy", "macro_f1"), rarest)


def means(y: Array, answers: dict[str, Array]) -> dict[str, Array]:
    """Return values of rows, shape (rows,), whose mean is a further metric: who is not reviewed."""
    return {"accepted_share": answers["accepted"].astype(bool)}


def confusion(y: Array, decided: Array, classes: int) -> NDArray[np.int64]:
    """Return counts of shape (classes, classes): rows are actual, columns decided codes."""
    counts = np.bincount(y.astype(np.intp) * classes + decided, minlength=classes**2)
    return counts.reshape(classes, classes)


def by_class(names: Sequence[str], p: Array, table: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Return of each class its rows, how often they were found, and how often it was right."""
    actual, decided, hits = table.sum(axis=1), table.sum(axis=0), np.diagonal(table)
    nothing = np.full(len(names), np.nan)
    recall = np.divide(hits, actual, out=nothing.copy(), where=actual > 0)
    precision = np.divide(hits, decided, out=nothing.copy(), where=decided > 0)
    f1 = np.divide(2 * hits, actual + decided, out=nothing, where=actual + decided > 0)
    return [
        {
            "name": name,
            "rows": int(actual[code]),
            "share": float(actual[code] / actual.sum()),
            "decided": int(decided[code]),
            "mean_probability": float(p[:, code].mean()),
            "precision": float(precision[code]),
            "recall": float(recall[code]),
            "f1": float(f1[code]),
        }
        for code, name in enumerate(names)
    ]


def calibration_bins(y: Array, p: Array) -> list[dict[str, float]]:
    """Return confidence, share of right classes and rows of each bin of `ece`, rising."""
    rows = Rows(y, p)
    n = np.bincount(rows.bins)
    right, mass = np.bincount(rows.bins, rows.right), np.bincount(rows.bins, rows.confidence)
    return [
        {"predicted": float(mass[b] / n[b]), "observed": float(right[b] / n[b]), "n": int(n[b])}
        for b in np.flatnonzero(n)
    ]


def review_curve(right: Array, expected_cost: Array) -> list[list[float]]:
    """Return at most POINTS pairs [share of rows that are reviewed, accuracy of the others].

    Rows of the highest expected cost are reviewed first (Chow 1970, the risk-coverage curve).
    """
    ordered = right[np.argsort(expected_cost, kind="stable")].astype(np.float64)
    accuracy = ordered.cumsum() / np.arange(1, len(ordered) + 1)
    kept = np.unique(np.linspace(len(ordered) / POINTS, len(ordered), POINTS).astype(int))
    kept = kept[kept > 0]
    return [[1 - int(k) / len(ordered), float(accuracy[k - 1])] for k in kept[::-1]]
