"""Iterative stratification: parts of the rows that all have the share of each label."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .label_sets import Sets

Places = NDArray[np.intp]


def dealt_out(sets: Sets, groups: NDArray[Any] | None, parts: int, seed: int) -> Places:
    """Return the number of the part that each row is in, shape (rows,).

    Sechidis, Tsoumakas & Vlahavas 2011: always of the label that the fewest of the rows left have,
    each row goes to the part that lacks most of that label, of equal ones to that which lacks most
    rows. With `groups` (rows,) all rows of a group go together. There are at most as many parts as
    the rarest label has rows, or groups that have it, but two.
    """
    units, counts, sizes = _units(sets, groups)
    there = (counts > 0).sum(axis=0)
    several = there[there > 1]
    parts = max(2, min(parts, int(several.min(initial=len(counts)))))
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(counts))
    wanted = np.tile(counts.sum(axis=0) / parts, (parts, 1))
    room = np.full(parts, sizes.sum() / parts)
    found = np.full(len(counts), -1, np.intp)

    def put(unit: int, column: int | None) -> None:
        lacking = room if column is None else wanted[:, column]
        best = np.flatnonzero(lacking >= lacking.max() - 1e-9)
        best = best[room[best] >= room[best].max() - 1e-9]
        part = int(best[0] if len(best) == 1 else rng.choice(best))
        found[unit] = part
        wanted[part] -= counts[unit]
        room[part] -= sizes[unit]

    left = there.copy()
    while (waiting := np.flatnonzero(left > 0)).size:
        column = int(waiting[left[waiting].argmin()])
        having = order[(found[order] < 0) & (counts[order, column] > 0)]
        for unit in having[np.argsort(-counts[having, column], kind="stable")].tolist():
            put(unit, column)
        left = (counts[found < 0] > 0).sum(axis=0)
    rest = order[found[order] < 0]
    for unit in rest[np.argsort(-sizes[rest], kind="stable")].tolist():
        put(unit, None)
    return np.asarray(found[units])


def _units(
    sets: Sets, groups: NDArray[Any] | None
) -> tuple[Places, NDArray[np.int64], NDArray[np.int64]]:
    """Return what is dealt: its number for each row, its rows with each label, and its rows."""
    if groups is None:
        return np.arange(len(sets)), sets.astype(np.int64), np.ones(len(sets), np.int64)
    names, units = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), sets.shape[1]), np.int64)
    np.add.at(counts, units.ravel(), sets)
    return units.ravel(), counts, np.bincount(units.ravel())
