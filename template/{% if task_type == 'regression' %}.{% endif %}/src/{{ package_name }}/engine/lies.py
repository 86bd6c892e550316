"""Wrong values that somebody who writes them may give, shape (rows,)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def swapped(y: NDArray[Any], some: int, rng: np.random.Generator) -> NDArray[Any]:
    """Return values of which `some`, drawn at random, are those of one another."""
    told = y.copy()
    rows = rng.permutation(len(y))[:some]
    told[rows] = y[np.roll(rows, 1)]
    return told


def hidden(y: NDArray[Any], some: int, rng: np.random.Generator) -> NDArray[Any]:
    """Return values of which `some` above the median are called as small as others below it."""
    told, middle = y.copy(), np.median(y)
    rows = rng.permutation(np.flatnonzero(y > middle))[:some]
    told[rows] = rng.choice(y[y <= middle], len(rows))
    return told
