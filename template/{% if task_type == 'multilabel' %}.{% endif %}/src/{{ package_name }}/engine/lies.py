"""Wrong labels that somebody who writes labels may give: packed sets, shape (rows,)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .label_sets import packed, unpacked


def swapped(y: NDArray[Any], some: int, rng: np.random.Generator) -> NDArray[Any]:
    """Return sets of which `some`, drawn at random, are those of the next label."""
    sets = unpacked(y)
    rows = rng.permutation(len(y))[:some]
    sets[rows] = np.roll(sets[rows], 1, axis=1)
    return packed(sets).astype(y.dtype)


def hidden(y: NDArray[Any], some: int, rng: np.random.Generator) -> NDArray[Any]:
    """Return sets of which `some`, half at most, lack the label that most rows have."""
    sets = unpacked(y)
    label = int(sets.sum(axis=0).argmax())
    rows = rng.permutation(np.flatnonzero(sets[:, label]))
    sets[rows[: min(some, len(rows) // 2)], label] = 0
    return packed(sets).astype(y.dtype)
