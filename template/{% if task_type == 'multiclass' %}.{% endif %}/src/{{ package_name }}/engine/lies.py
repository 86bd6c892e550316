"""Wrong labels that somebody who writes labels may give: codes of classes, shape (rows,)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def swapped(y: NDArray[Any], some: int, rng: np.random.Generator) -> NDArray[Any]:
    """Return labels of which `some`, drawn at random, are the next class."""
    told, classes = y.copy(), np.unique(y)
    rows = rng.permutation(len(y))[:some]
    told[rows] = classes[(np.searchsorted(classes, y[rows]) + 1) % len(classes)]
    return told


def hidden(y: NDArray[Any], some: int, rng: np.random.Generator) -> NDArray[Any]:
    """Return labels of which `some` of the second class by number are called the first.

    Half of them at most.
    """
    told = y.copy()
    classes, times = np.unique(y, return_counts=True)
    if len(classes) < 2:
        return told
    first, second = classes[np.argsort(-times, kind="stable")[:2]]
    rows = rng.permutation(np.flatnonzero(y == second))
    told[rows[: min(some, len(rows) // 2)]] = first
    return told
