"""Bootstrap intervals of metrics and of gains (Efron & Tibshirani 1993), for every task.

`groups` has shape (rows,), such as the customer of each row: whole groups are drawn then, because
their rows are not independent (Field & Welsh 2007).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import metrics

Values = NDArray[Any]
Floats = NDArray[np.float64]
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


def intervals(
    measure: Callable[[Floats | None], Sequence[float]], resamples: Iterator[Floats]
) -> list[Interval]:
    """Return what is measured of all rows, with the intervals of what resamples give.

    A resample tells how often each row is drawn, shape (rows,); None is every row once.
    """
    values = measure(None)
    drawn = np.array([measure(weights) for weights in resamples]).reshape(-1, len(values))
    return [interval(value, column) for value, column in zip(values, drawn.T, strict=True)]


def bootstrap(
    y: Values,
    p: Values,
    level: float,
    names: Sequence[str],
    *,
    draws: int,
    seed: int,
    groups: Values | None = None,
) -> dict[str, Interval]:
    """Return each metric with its 95 % percentile interval; decisions are made at `level`.

    The expected calibration error is biased upwards in resamples: its interval can lie above it.
    """
    rows = metrics.Rows(y, p, level)
    resamples = redrawn(metrics.strata(y), draws, seed, groups)
    found = intervals(lambda weights: rows.values(names, weights), resamples)
    return dict(zip(names, found, strict=True))


def measure(
    y: Values,
    p: Values,
    answers: dict[str, Values],
    level: float,
    *,
    draws: int,
    seed: int,
    groups: Values | None,
) -> dict[str, Interval]:
    """Return every metric of the predictions `p` and of a model's answers, by output."""
    drawn: dict[str, Any] = {"draws": draws, "seed": seed, "groups": groups}
    found = bootstrap(y, p, level, metrics.NAMES, **drawn)
    means = metrics.means(y, answers)
    return found | {name: mean_interval(values, **drawn) for name, values in means.items()}


def mean_interval(
    values: Floats, *, draws: int, seed: int, groups: Values | None = None
) -> Interval:
    """Return the mean of values of shape (rows,) with its 95 % interval."""
    resamples = redrawn([np.arange(len(values))], draws, seed, groups)
    # Without BLAS, which starts threads for such small products and waits for them.
    return intervals(
        lambda w: [float(values.mean() if w is None else np.einsum("i,i->", values, w) / w.sum())],
        resamples,
    )[0]


def paired_gain(
    y: Values,
    p_new: Values,
    p_old: Values,
    metric: str,
    level: float = 0.5,
    *,
    draws: int,
    seed: int,
    groups: Values | None = None,
) -> Interval:
    """Return how much better `p_new` is than `p_old` on the same rows, above 0 when it is better.

    Both are scored on the same resamples, which removes the noise that they share.
    """
    models = [metrics.Rows(y, p, level) for p in (p_new, p_old)]

    def gain(weights: Floats | None) -> list[float]:
        new, old = (rows.values([metric], weights)[0] for rows in models)
        return [metrics.sign(metric) * (new - old)]

    return intervals(gain, redrawn(metrics.strata(y), draws, seed, groups))[0]


def redrawn(
    strata: list[NDArray[np.intp]], draws: int, seed: int, groups: NDArray[Any] | None
) -> Iterator[NDArray[np.float64]]:
    """Yield how often each row is drawn: whole groups, or rows within each of the strata.

    The strata hold the places of all rows.
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
