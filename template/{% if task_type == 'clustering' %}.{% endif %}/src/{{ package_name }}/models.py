"""Ways to find segments, simplest first. How many is the clearest number of those that are stable.

A clustering that resamples of its rows do not find again counts as none: one segment for all. So
neither a baseline nor a candidate is clear by chance.
"""

import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .engine import metrics, task
from .engine.facts import Facts
from .engine.model.clusters import Cells, Clusters, Floats, Mixture, cells, clusters, space
from .engine.model.fitting import ByRounds, Data, Fitted, Fitter, drawn

RESAMPLES = 10  # that a clustering must be found in again
STABLE_ROWS = 2000  # that these are drawn from: more take long and tell the same
LEARNT_ROWS = 20_000  # that segments are learnt from
TREE_ROWS = 2000  # of which all pairs are held against each other
STARTS = 5
SMALLEST = 0.02  # share of the rows that a segment has at least
LEAST, MOST, FLOOR = 2, 8, 0.8  # where the plan says nothing
Learn = Callable[[Floats, int, int], Cells]


class Tried(NamedTuple):
    """What was found with one number of segments: how clear, and how stable (None: not asked)."""

    cells: Cells
    silhouette: float
    stability: float | None = None


def learn_kmeans(z: Floats, count: int, seed: int) -> Cells:
    """Find means to which rows are nearest (Lloyd 1982, with the start of k-means++)."""
    from sklearn.cluster import KMeans

    with warnings.catch_warnings(action="ignore"):  # a resample may have fewer different rows
        codes = KMeans(count, n_init=STARTS, random_state=seed).fit_predict(z)
    return cells(z, codes)


def learn_mixture(z: Floats, count: int, seed: int) -> Cells:
    """Find normal distributions that rows come from (expectation maximisation)."""
    from sklearn.mixture import GaussianMixture

    with warnings.catch_warnings(action="ignore"):  # what does not converge is not stable
        model = GaussianMixture(count, reg_covar=1e-3, random_state=seed).fit(z)
    roots = model.precisions_cholesky_
    sizes = np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
    mixture = Mixture(np.log(model.weights_) + sizes, model.means_, roots)
    return cells(z, mixture.log_density(z).argmax(axis=1), mixture)


def learn_hierarchy(z: Floats, count: int, seed: int) -> Cells:
    """Join the rows whose union spreads least (Ward 1963); others are where a mean is nearest."""
    from sklearn.cluster import AgglomerativeClustering

    some = z[drawn(np.arange(len(z)), TREE_ROWS, seed)]
    return cells(some, AgglomerativeClustering(count).fit_predict(some))


LEARN: dict[str, Learn] = {
    "kmeans_2": learn_kmeans,
    "kmeans": learn_kmeans,
    "gaussian_mixture": learn_mixture,
    "hierarchical": learn_hierarchy,
}


def silhouette(found: Cells, z: Floats) -> float:
    """Return how clearly points (rows, dimensions) belong to their cells, as `metrics` has it."""
    away, code = found.distances(z), found.codes(z)
    if away.shape[1] < 2:
        return 0.0
    rows = np.arange(len(z))
    own = away[rows, code]
    away[rows, code] = np.inf
    position = np.column_stack([code, own, away.min(axis=1), own])
    return float(task.clearness(position).mean())


def refitted(learn: Learn, z: Floats, count: int, seed: int, times: int) -> Iterable[Cells]:
    """Yield what is found in resamples of the rows `z`, drawn with replacement."""
    rng = np.random.default_rng(seed)
    for _ in range(times):
        yield learn(z[rng.integers(0, len(z), len(z))], count, seed)


def stability(learn: Learn, found: Cells, z: Floats, count: int, seed: int) -> float:
    """Return how far resamples agree with what was found: the mean adjusted Rand index.

    Both place the rows `z` (Hennig 2007; Ben-Hur, Elisseeff & Guyon 2002).
    """
    base = found.codes(z)
    agreed = [
        metrics.adjusted_rand(base, other.codes(z))
        for other in refitted(learn, z, count, seed, RESAMPLES)
    ]
    return float(np.mean(agreed))


def tried(learn: Learn, z: Floats, counts: Iterable[int], seed: int) -> dict[int, Tried]:
    """Return what is found with each number of segments, the clearest first.

    Without those of which one is too small to be treated as one: in columns of few values, a few
    equal rows that are like no others are clearer than any segment.
    """
    several, different = {}, len(np.unique(z, axis=0))
    for count in counts:
        if 2 <= count <= different:
            found = learn(z, count, seed)
            if np.bincount(found.codes(z)).min() < SMALLEST * len(z):
                continue
            several[count] = Tried(found, silhouette(found, z))
    return dict(sorted(several.items(), key=lambda item: -item[1].silhouette))


def stable(learn: Learn, z: Floats, counts: Iterable[int], floor: float, seed: int) -> Cells:
    """Return the clearest clustering whose stability reaches the floor, else one for all rows.

    The silhouette alone prefers few clusters that other rows would not give.
    """
    some = z[drawn(np.arange(len(z)), STABLE_ROWS, seed)]
    for count, found in tried(learn, z, counts, seed).items():
        if stability(learn, found.cells, some, count, seed) >= floor:
            return found.cells
    return cells(z, np.zeros(len(z), np.intp))


def points(data: Data, seed: int) -> tuple[Any, Floats, NDArray[np.intp]]:
    """Return the space that training rows span, those that are learnt from in it, their places."""
    places = drawn(np.arange(len(data.x)), LEARNT_ROWS, seed)
    learnt = space(data.x[places], data.spec)
    return learnt, learnt.rows(data.x[places]), places


def counts(params: dict[str, Any]) -> range:
    """Return the numbers of segments that people can work with."""
    return range(params.get("least", LEAST), params.get("most", MOST) + 1)


def _fitted(model: Clusters) -> Fitted:
    return Fitted(model, model.predict)


def _found(name: str, data: Data, seed: int, params: dict[str, Any], several: range) -> Fitted:
    learnt, z, _ = points(data, seed)
    found = stable(LEARN[name], z, several, params.get("floor", FLOOR), seed)
    return _fitted(clusters(learnt, z, found))


def median_rule(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Halve the two numbers that vary most with the others: up to four segments, as rules do."""
    learnt, z, _ = points(data, seed)
    wide = len(learnt.center)
    if not wide:
        return _fitted(clusters(learnt, z, cells(z, np.zeros(len(z), np.intp))))
    together = np.abs(np.nan_to_num(np.cov(z[:, :wide].T).reshape(wide, wide))).sum(axis=1)
    two = np.argsort(-together, kind="stable")[:2]
    above = z[:, two] > np.median(z[:, two], axis=0)
    return _fitted(clusters(learnt, z, cells(z, above @ np.array([1, 2])[: len(two)])))


def today_rule(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Place rows by the nearest mean of today's segments; by halves where none is known."""
    learnt, z, places = points(data, seed)
    here = ~np.isnan(y := data.y[places])
    if not here.any():
        return median_rule(data, seed, params)
    codes = np.unique(y[here], return_inverse=True)[1]
    return _fitted(clusters(learnt, z, cells(z[here], codes)))


def kmeans_2(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Find two segments, which any data give."""
    return _found("kmeans_2", data, seed, params, range(2, 3))


def kmeans(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Find segments around means."""
    return _found("kmeans", data, seed, params, counts(params))


def hierarchical(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Find segments by joining the nearest rows, step by step."""
    return _found("hierarchical", data, seed, params, counts(params))


def gaussian_mixture(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Find segments of any width and direction."""
    return _found("gaussian_mixture", data, seed, params, counts(params))


def kinds(facts: Facts) -> dict[str, ByRounds]:
    """Return the models that are fitted in rounds: none."""
    return {}


FITTERS: dict[str, Fitter] = {
    "median_rule": median_rule,
    "today_rule": today_rule,
    "kmeans_2": kmeans_2,
    "kmeans": kmeans,
    "hierarchical": hierarchical,
    "gaussian_mixture": gaussian_mixture,
}
# From simple to complex: a later one is chosen only when it is clearly better.
LADDER = tuple(FITTERS)
# No blend: the mean of two partitions is none.
STATISTICS: dict[str, str] = {}
TUNED: tuple[str, ...] = ()


def loss(metric: str, y: NDArray[Any], p: Floats) -> float:
    """Return what a blend would be chosen by, the smaller the better."""
    return -metrics.sign(metric) * metrics.score(metric, y, p)
