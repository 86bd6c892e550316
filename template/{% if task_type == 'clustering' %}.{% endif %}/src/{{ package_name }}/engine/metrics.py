"""Metrics of clusters: how clear they are, how equal in size, how near to today's segments.

Everywhere `y` holds the codes of today's segments (NaN unknown), shape (rows,), and `p` positions
as `task` declares them, shape (rows, 4). A value that is undefined is NaN, which reports write as
null. Definitions are those of scikit-learn where it has them; the silhouette is that to centers
(Vendramin, Campello & Hruschka 2010), which a graph gives for a single row.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import task

Array = NDArray[Any]
BINS = 40
FEWEST_LABELS = 20  # rows with a segment of today, below which agreement says nothing
PAIRED_ROWS = 3000  # of a silhouette of all pairs


class Rows:
    """Positions with the segments of today; `level` is the distance from which on rows are out."""

    def __init__(self, y: Array, p: Array, level: float) -> None:
        y, p = np.asarray(y, np.float64), np.asarray(p, np.float64)
        if p.ndim != 2 or y.shape != p.shape[:1] or not len(y) or not np.isfinite(p).all():
            raise ValueError(f"y {y.shape} and p {p.shape}: one finite position per row is needed")
        self.code = task.codes(p)
        self.clear = task.clearness(p)
        self.here = ~np.isnan(y)
        self.today = np.unique(y[self.here], return_inverse=True)[1]
        self.known = self.here.sum() >= FEWEST_LABELS and self.today.max(initial=0) > 0

    def values(self, names: Sequence[str], weights: Array | None = None) -> list[float]:
        """Return metrics by their names; `weights` of shape (rows,)."""
        weights = np.ones(len(self.code)) if weights is None else weights
        return [_METRICS[name](self, weights) for name in names]

    def agreement(self, w: Array) -> float:
        """Return the adjusted Rand index against today's segments, NaN where few are known."""
        if not self.known:
            return float("nan")
        return adjusted_rand(self.today, self.code[self.here], w[self.here])

    def smallest(self, w: Array) -> float:
        """Return the share of the rows that are in the smallest cluster, NaN where there is one."""
        there = np.bincount(self.code) > 0
        if there.sum() < 2:
            return float("nan")
        return float(np.bincount(self.code, weights=w)[there].min() / w.sum())


def adjusted_rand(first: Array, second: Array, weights: Array | None = None) -> float:
    """Return the adjusted Rand index of two codings, both of shape (rows,).

    Hubert & Arabie 1985; a row of weight n counts as n equal rows.
    """
    w = np.ones(len(first)) if weights is None else weights
    wide = int(second.max(initial=0)) + 1
    size = (int(first.max(initial=0)) + 1) * wide
    table = np.bincount(first * wide + second, weights=w, minlength=size).reshape(-1, wide)

    def pairs(counts: Array) -> float:
        return float((counts * (counts - 1)).sum() / 2)

    both, rows, columns = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    total = pairs(np.array([w.sum()]))
    expected = rows * columns / total if total else 0.0
    most = (rows + columns) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)


_METRICS: dict[str, Callable[[Rows, Array], float]] = {
    "silhouette": lambda r, w: float(np.einsum("i,i->", r.clear, w) / w.sum()),
    "agreement_today": lambda r, w: r.agreement(w),
    "smallest_share": lambda r, w: r.smallest(w),
}
NAMES = tuple(_METRICS)
HIGHER_IS_BETTER = dict.fromkeys(NAMES, True)


def sign(name: str) -> float:
    """Return 1 where a higher value of the metric is better: of all of these."""
    return 1.0 if HIGHER_IS_BETTER[name] else -1.0


def score(name: str, y: Array, p: Array, level: float = 1.0, weights: Array | None = None) -> float:
    """Return one metric by its name (see `NAMES`); `weights` of shape (rows,)."""
    return Rows(y, p, level).values([name], weights)[0]


def evaluate(y: Array, p: Array, level: float = 1.0) -> dict[str, float]:
    """Return every metric."""
    return dict(zip(NAMES, Rows(y, p, level).values(NAMES), strict=True))


def strata(y: Array) -> list[NDArray[np.intp]]:
    """Return the places of the rows that resamples draw among themselves: all."""
    return [np.arange(len(y))]


def shares(y: Array, p: Array, level: float) -> dict[str, Array]:
    """Return the rows that each metric between 0 and 1 is a share of: none is one."""
    return {}


def means(y: Array, answers: dict[str, Array]) -> dict[str, Array]:
    """Return values of rows whose mean is a further metric: none."""
    return {}


def shape(z: Array, codes: Array, seed: int) -> dict[str, float]:
    """Return how clear clusters are by all pairs of rows and by their scatter, as scikit-learn.

    `z` are scaled rows (rows, dimensions), `codes` their clusters (rows,); of more than PAIRED_ROWS
    rows as many are drawn. NaN where there is one cluster.
    """
    from sklearn import metrics as peer

    if not 1 < len(np.unique(codes)) < len(codes):
        return dict.fromkeys(
            ("silhouette_pairs", "davies_bouldin", "calinski_harabasz"), float("nan")
        )
    some = min(PAIRED_ROWS, len(z))
    return {
        "silhouette_pairs": float(
            peer.silhouette_score(z, codes, sample_size=some, random_state=seed)
        ),
        "davies_bouldin": float(peer.davies_bouldin_score(z, codes)),
        "calinski_harabasz": float(peer.calinski_harabasz_score(z, codes)),
    }


def histogram(values: Array) -> dict[str, list[Any]]:
    """Return edges (BINS + 1) from 0 to 2, which holds all beyond, and counts (BINS)."""
    counts, edges = np.histogram(np.clip(values, 0, 2), bins=BINS, range=(0, 2))
    return {"edges": edges.tolist(), "counts": counts.tolist()}
