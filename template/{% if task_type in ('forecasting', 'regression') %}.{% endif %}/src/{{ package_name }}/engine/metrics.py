"""Metrics of predicted values, errors by size, and what resamples need.

Everywhere `y` holds the actual and `p` the predicted values, both of shape (rows,) and in the unit
of the target. A value that is undefined is NaN, which reports write as null. Definitions are those
of scikit-learn where it has them.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BINS = 10
POINTS = 500  # of a picture


class Rows:
    """Actual and predicted values, with the losses of each row."""

    def __init__(self, y: Array, p: Array, quantile: float = 0.5) -> None:
        self.y, self.p = np.asarray(y, np.float64), np.asarray(p, np.float64)
        finite = np.isfinite(self.p).all() and np.isfinite(self.y).all()
        if self.y.ndim != 1 or self.y.shape != self.p.shape or not len(self.y) or not finite:
            raise ValueError(f"y {y.shape} and p {p.shape}: one finite value per row is needed")
        self.quantile = quantile

    def values(self, names: Sequence[str], weights: Array | None = None) -> list[float]:
        """Return metrics by their names; `weights` of shape (rows,)."""
        weights = np.ones(len(self.y)) if weights is None else weights
        return [_METRICS[name](self, weights) for name in names]

    @cached_property
    def error(self) -> Array:
        """Predicted minus actual value, shape (rows,)."""
        return np.asarray(self.p - self.y)

    @cached_property
    def absolute(self) -> Array:
        """Absolute errors, shape (rows,)."""
        return np.abs(self.error)

    @cached_property
    def order(self) -> NDArray[np.intp]:
        """Places of the rows by rising absolute error."""
        return np.argsort(self.absolute, kind="stable")

    @cached_property
    def pinball(self) -> Array:
        """Pinball loss of each row, when one constant that fits the quantile best is added."""
        return pinball(self.y, self.p + np.quantile(-self.error, self.quantile), self.quantile)

    @cached_property
    def relative(self) -> Array:
        """Absolute error as a share of the actual value, NaN where that is 0."""
        size = np.abs(self.y)
        nothing = np.full(len(size), np.nan)
        return np.asarray(np.divide(self.absolute, size, out=nothing, where=size > 0))


def pinball(y: Array, p: Array, quantile: float) -> Array:
    """Return the loss of each row: quantile * (y - p) or (1 - quantile) * (p - y), if above 0.

    Koenker & Bassett 1978, Regression quantiles. Its mean is least for the quantile of y.
    """
    return np.asarray(np.maximum(quantile * (y - p), (quantile - 1) * (y - p)))


def _mean(values: Array, w: Array) -> float:
    """Return the weighted mean without BLAS, which starts threads for such small products."""
    return float(np.einsum("i,i->", values, w)) / float(w.sum())


def _r2(r: Rows, w: Array) -> float:
    """Share of the variance that is explained; NaN where there is none."""
    spread = _mean((r.y - _mean(r.y, w)) ** 2, w)
    return 1 - _mean(r.error**2, w) / spread if spread > 0 else float("nan")


def _medae(r: Rows, w: Array) -> float:
    """Weighted median of the absolute error: the middle of the two where both are."""
    error, mass = r.absolute[r.order], np.cumsum(w[r.order])
    half = mass[-1] / 2
    below, above = np.searchsorted(mass, half, "left"), np.searchsorted(mass, half, "right")
    return float(error[below] + error[min(above, len(error) - 1)]) / 2


def _mape(r: Rows, w: Array) -> float:
    """Mean relative error of the rows whose actual value is not 0."""
    known = ~np.isnan(r.relative) & (w > 0)
    return _mean(r.relative[known], w[known]) if known.any() else float("nan")


def _wape(r: Rows, w: Array) -> float:
    """Sum of the absolute errors as a share of the sum of the absolute values."""
    size = _mean(np.abs(r.y), w)
    return _mean(r.absolute, w) / size if size > 0 else float("nan")


_METRICS: dict[str, Callable[[Rows, Array], float]] = {
    "mae": lambda r, w: _mean(r.absolute, w),
    "rmse": lambda r, w: _mean(r.error**2, w) ** 0.5,
    "r2": _r2,
    "medae": _medae,
    "mape": _mape,
    "wape": _wape,
    "bias": lambda r, w: _mean(r.error, w),
    "pinball": lambda r, w: _mean(r.pinball, w),
}
NAMES = tuple(_METRICS)
# bias is not in the table: it is best at 0.
HIGHER_IS_BETTER = {name: name == "r2" for name in NAMES if name != "bias"}


def sign(name: str) -> float:
    """Return 1 where a higher value of the metric is better, -1 where a lower one is."""
    return 1.0 if HIGHER_IS_BETTER[name] else -1.0


def score(
    name: str, y: Array, p: Array, quantile: float = 0.5, weights: Array | None = None
) -> float:
    """Return one metric by its name (see `NAMES`); `weights` of shape (rows,)."""
    return Rows(y, p, quantile).values([name], weights)[0]


def evaluate(y: Array, p: Array, quantile: float = 0.5) -> dict[str, float]:
    """Return every metric."""
    return dict(zip(NAMES, Rows(y, p, quantile).values(NAMES), strict=True))


def strata(y: Array) -> list[NDArray[np.intp]]:
    """Return the places of the rows that resamples draw among themselves: all."""
    return [np.arange(len(y))]


def shares(y: Array, p: Array, level: float) -> dict[str, Array]:
    """Return the rows that each metric between 0 and 1 is a share of: none is one."""
    return {}


def means(y: Array, answers: dict[str, Array]) -> dict[str, Array]:
    """Return values of rows, shape (rows,), whose mean is a further metric.

    `coverage` is the share of actual values within the interval, `width` the mean of its size.
    """
    low, high = answers["low"], answers["high"]
    return {"coverage": (low <= y) & (y <= high), "width": high - low}


def by_size(y: Array, answers: dict[str, Array]) -> list[dict[str, float]]:
    """Return errors and interval in bins of equal counts, by rising predicted value."""
    value = answers["value"]
    edges = np.unique(np.quantile(value, np.arange(1, BINS) / BINS))
    bins = np.searchsorted(edges, value, side="right")
    found = []
    for place in np.unique(bins):
        rows = bins == place
        low, high, actual = answers["low"][rows], answers["high"][rows], y[rows]
        found.append(
            {
                "rows": int(rows.sum()),
                "predicted": float(value[rows].mean()),
                "actual": float(actual.mean()),
                "mae": float(np.abs(value[rows] - actual).mean()),
                "coverage": float(((low <= actual) & (actual <= high)).mean()),
                "width": float((high - low).mean()),
            }
        )
    return found


def points(y: Array, p: Array, seed: int) -> list[list[float]]:
    """Return at most POINTS pairs [predicted, actual] of rows drawn at random."""
    some = np.random.default_rng(seed).permutation(len(y))[:POINTS]
    return np.column_stack([p[some], y[some]]).tolist()  # type: ignore[no-any-return]


def histogram(values: Array, bins: int = 30) -> dict[str, list[Any]]:
    """Return edges (bins + 1) and counts (bins) between the 1 % and 99 % quantiles."""
    low, high = np.quantile(values, [0.01, 0.99])
    counts, edges = np.histogram(np.clip(values, low, high), bins=bins)
    return {"edges": edges.tolist(), "counts": counts.tolist()}
