"""Bootstrap intervals of metrics and of gains (Efron & Tibshirani 1993), for every task.

`groups` has shape (rows,), such as the customer of each row: whole groups are drawn then, because
their rows are not independent (Field & Welsh 2007).
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import metrics

Values = NDArray[Any]
Floats = NDArray[np.float64]
Places = NDArray[np.intp] | slice
Measured = tuple[Callable[[Floats | None], Sequence[float]], list[NDArray[np.intp]]]
# Large test sets need fewer resamples: their intervals are narrow, and each resample costs more.
RESAMPLED_ROWS = 10_000_000
Z95 = 1.959964  # of the normal distribution: 95 % lie within
# More rows would say the same of an interval's width; of rare ones, or groups, all must.
SAMPLED_ROWS, SAMPLED_LEAST = 100_000, 1000


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


def of_share(found: Interval, rows: Values, groups: Values | None) -> Interval:
    """Return Wilson's interval where a share is 0 or 1, which no resample can move (Wilson 1927).

    `rows` are those that it is a share of, bool (rows,); of `groups` as many tell as there are.
    """
    if found.value not in (0, 1) or found.low != found.high:
        return found
    told = int(rows.sum()) if groups is None else len(np.unique(np.asarray(groups)[rows]))
    reach = Z95**2 / (told + Z95**2)
    return Interval(found.value, max(0.0, found.value - reach), min(1.0, found.value + reach))


def intervals(
    of: Callable[[Places], Measured], *, draws: int, seed: int, groups: Values | None = None
) -> list[Interval]:
    """Return what is measured of all rows, with the intervals of what resamples give.

    `of` gives the measure of some of the rows, and the strata that they are drawn from. A resample
    tells it how often each row is drawn; None is every one once. Of more than SAMPLED_ROWS rows
    resamples are of drawn ones: these spread wider, by the root of their share (m out of n
    bootstrap, Bickel, Götze & van Zwet 1997).
    """
    measure, strata = of(slice(None))
    values = np.array(measure(None))
    some, share = _sampled(strata, seed, groups)
    if share < 1:
        measure, strata = of(some)
        groups = None if groups is None else groups[some]
    found = [measure(weights) for weights in redrawn(strata, draws, seed, groups)]
    drawn = np.array(found).reshape(-1, len(values))
    if share < 1:
        drawn = values + share**0.5 * (drawn - measure(None))
    return [interval(*pair) for pair in zip(values.tolist(), drawn.T, strict=True)]


def _sampled(
    strata: list[NDArray[np.intp]], seed: int, groups: Values | None
) -> tuple[Places, float]:
    """Return places drawn from each of the strata, or those of drawn groups, and their share."""
    rows, parts, codes = sum(map(len, strata)), strata, None
    if rows <= SAMPLED_ROWS:
        return slice(None), 1.0
    if groups is not None:
        members, codes = np.unique(groups, return_inverse=True)
        parts = [np.arange(len(members))]
    fewest = max(1, min(map(len, [*strata, *parts])))
    share = max(SAMPLED_ROWS / rows, SAMPLED_LEAST / fewest)
    if share >= 1:
        return slice(None), 1.0
    rng = np.random.default_rng(seed)
    some = np.concatenate([rng.permutation(part)[: round(share * len(part))] for part in parts])
    return np.sort(some) if codes is None else np.flatnonzero(np.isin(codes, some)), share


def bootstrap(
    y: Values,
    p: Values,
    level: Any,
    names: Sequence[str],
    *,
    draws: int,
    seed: int,
    groups: Values | None = None,
) -> dict[str, Interval]:
    """Return each metric with its 95 % percentile interval; decisions are made at `task.level`.

    The expected calibration error is biased upwards in resamples: its interval can lie above it.
    """

    def of(some: Places) -> Measured:
        rows = metrics.Rows(y[some], p[some], level)
        return partial(rows.values, names), metrics.strata(y[some])

    found = intervals(of, draws=draws, seed=seed, groups=groups)
    shares = metrics.shares(y, p, level)
    return {
        name: of_share(one, shares[name], groups) if name in shares else one
        for name, one in zip(names, found, strict=True)
    }


def measure(
    y: Values,
    p: Values,
    answers: dict[str, Values],
    level: Any,
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
    values: Values, *, draws: int, seed: int, groups: Values | None = None
) -> Interval:
    """Return the mean of values of shape (rows,), booleans of a share, with its 95 % interval."""

    def of(some: Places) -> Measured:
        part = values[some].astype(np.float64)

        def mean(w: Floats | None) -> list[float]:
            # Without BLAS, which starts threads for such small products and waits for them.
            return [float(part.mean() if w is None else np.einsum("i,i->", part, w) / w.sum())]

        return mean, [np.arange(len(part))]

    found = intervals(of, draws=draws, seed=seed, groups=groups)[0]
    return of_share(found, np.ones(len(values), bool), groups) if values.dtype == bool else found


def paired_gain(
    y: Values,
    p_new: Values,
    p_old: Values,
    metric: str,
    level: Any = 0.5,
    *,
    draws: int,
    seed: int,
    groups: Values | None = None,
) -> Interval:
    """Return how much better `p_new` is than `p_old` on the same rows, above 0 when it is better.

    Both are scored on the same resamples, which removes the noise that they share.
    """

    def of(some: Places) -> Measured:
        models = [metrics.Rows(y[some], p[some], level) for p in (p_new, p_old)]

        def gain(weights: Floats | None) -> list[float]:
            new, old = (rows.values([metric], weights)[0] for rows in models)
            return [metrics.sign(metric) * (new - old)]

        return gain, metrics.strata(y[some])

    return intervals(of, draws=draws, seed=seed, groups=groups)[0]


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
