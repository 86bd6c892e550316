"""Metrics of lists: whether the item that was taken stands in the list, and which items do.

Everywhere `y` holds the item of each row, shape (rows,), and `p` rankings as `task` declares them,
shape (rows, numbers), of which the first `level` items are shown. One item is right for a row, so
that NDCG is 1 / log2(rank + 1) of it and MAP is 1 / rank, 0 where it is not shown (Järvelin &
Kekäläinen 2002). A value that is undefined is NaN, which reports write as null.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import task

Array = NDArray[Any]
HEAD = 0.1  # of the items, the most taken ones
SHOWN = 10.0


class Rows:
    """Lists with the items that were taken; `level` is how many items a list shows."""

    def __init__(self, y: Array, p: Array, level: float) -> None:
        y, p = np.asarray(y, np.float64), np.asarray(p, np.float64)
        if p.ndim != 2 or y.shape != p.shape[:1] or not len(y) or not np.isfinite(p).all():
            raise ValueError(f"y {y.shape} and p {p.shape}: one finite ranking per row is needed")
        lists = task.listed(p, level)
        hit = lists == y[:, None]
        self.found = hit.any(axis=1)
        self.rank = np.where(self.found, hit.argmax(axis=1) + 1.0, np.inf)
        self.items, codes = np.unique(np.concatenate([y, lists.ravel()]), return_inverse=True)
        self.own: Array = codes[: len(y)]
        self.lists: Array = codes[len(y) :].reshape(lists.shape)

    def values(self, names: Sequence[str], weights: Array | None = None) -> list[float]:
        """Return metrics by their names; `weights` of shape (rows,)."""
        weights = np.ones(len(self.own)) if weights is None else weights
        return [_METRICS[name](self, weights) for name in names]

    def mean(self, values: Array, w: Array) -> float:
        """Return the mean of values of rows."""
        return float(np.einsum("i,i->", values, w) / w.sum())

    def taken(self, w: Array) -> Array:
        """Return how often each item was taken."""
        return np.bincount(self.own, w, len(self.items))

    def shown(self, w: Array) -> Array:
        """Return how often each item was shown."""
        wide = np.repeat(w, self.lists.shape[1])
        return np.bincount(self.lists.ravel(), wide, len(self.items))

    def coverage(self, w: Array) -> float:
        """Return the share of the items that rows took which some list shows."""
        there = self.taken(w) > 0
        return float((self.shown(w) > 0)[there].mean())

    def novelty(self, w: Array) -> float:
        """Return how unexpected shown items are: the mean of -log2 of the share that took them.

        An item that nobody took counts as one that a single row took (Zhou et al. 2010).
        """
        taken, shown = self.taken(w), self.shown(w)
        share = np.maximum(taken, 1.0) / w.sum()
        return float(shown @ -np.log2(share) / shown.sum())

    def bias(self, w: Array) -> float:
        """Return by how much more often lists show the tenth of the items that is taken the most.

        That is its share of the places of lists less its share of what was taken.
        """
        taken, shown = self.taken(w), self.shown(w)
        order = np.argsort(-taken, kind="stable")
        first = order[: max(1, round(HEAD * int((taken > 0).sum())))]
        return float(shown[first].sum() / shown.sum() - taken[first].sum() / taken.sum())


_METRICS: dict[str, Callable[[Rows, Array], float]] = {
    "ndcg": lambda r, w: r.mean(1 / np.log2(r.rank + 1), w),
    "recall": lambda r, w: r.mean(r.found * 1.0, w),
    "map": lambda r, w: r.mean(1 / r.rank, w),
    "coverage": lambda r, w: r.coverage(w),
    "novelty": lambda r, w: r.novelty(w),
    "popularity_bias": lambda r, w: r.bias(w),
}
NAMES = tuple(_METRICS)
HIGHER_IS_BETTER = dict.fromkeys(NAMES, True) | {"popularity_bias": False}


def sign(name: str) -> float:
    """Return 1 where a higher value of the metric is better, else -1."""
    return 1.0 if HIGHER_IS_BETTER[name] else -1.0


def score(
    name: str, y: Array, p: Array, level: float = SHOWN, weights: Array | None = None
) -> float:
    """Return one metric by its name (see `NAMES`); `weights` of shape (rows,)."""
    return Rows(y, p, level).values([name], weights)[0]


def evaluate(y: Array, p: Array, level: float = SHOWN) -> dict[str, float]:
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


def discounted(y: Array, lists: Array) -> Array:
    """Return 1 / log2(rank + 1) of the item that was taken in lists (rows, shown), else 0."""
    hit = lists == np.asarray(y)[:, None]
    rank = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1.0, np.inf)
    return np.asarray(1 / np.log2(rank + 1))
