"""Wrong labels that somebody who writes labels may give, shape (rows,): 0 and 1."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def swapped(y: NDArray[Any], some: int, rng: np.random.Generator) -> NDArray[Any]:
    """Return labels of which `some`, drawn at random, are the other one."""
    told = y.copy()
    rows = rng.permutation(len(y))[:some]
    told[rows] = 1 - told[rows]
    return told


def hidden(y: NDArray[Any], some: int, rng: np.random.Generator) -> NDArray[Any]:
    """Return labels of which `some` positives, half of them at most, are called negative."""
    told = y.copy()
    rows = rng.permutation(np.flatnonzero(y))
    told[rows[: min(some, len(rows) // 2)]] = 0
    return told
