"""What bootstrap intervals of every task share (Efron & Tibshirani 1993)."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Large test sets need fewer resamples: their intervals are narrow, and each resample costs more.
RESAMPLED_ROWS = 10_000_000


class Interval(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def resamples(wanted: int, rows: int) -> int:
    """Return how many resamples: fewer of many rows, at least 100 where so many are wanted."""
    return min(wanted, max(100, RESAMPLED_ROWS // rows))


def interval(value: float, draws: NDArray[np.float64]) -> Interval:
    """Return the percentile interval; NaN where most resamples have no value."""
    defined = draws[np.isfinite(draws)]
    if len(defined) * 2 < len(draws) or not len(defined):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(defined, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def redrawn(
    strata: list[NDArray[np.intp]], draws: int, seed: int, groups: NDArray[Any] | None
) -> Iterator[NDArray[np.float64]]:
    """Yield how often each row is drawn: whole groups, or rows within each of the strata.

    `groups` has shape (rows,), such as the customer of each row: their rows are not independent
    (Field & Welsh 2007). The strata hold the places of all rows.
    """
    rng = np.random.default_rng(seed)
    if groups is not None:
        members, codes = np.unique(np.asarray(groups), return_inverse=True)
        for _ in range(draws):
            drawn = rng.integers(0, len(members), len(members))
            yield np.bincount(drawn, minlength=len(members)).astype(np.float64)[codes.ravel()]
        return
    size = sum(map(len, strata))
    for _ in range(draws):
        counts = np.empty(size)
        for rows in strata:
            counts[rows] = np.bincount(rng.integers(0, len(rows), len(rows)), minlength=len(rows))
        yield counts
