"""Texts that say nearly the same: on both sides of a split they would be known by heart.

Candidates by MinHash (Broder 1997), in bands; two texts are one where most of their terms are.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .. import task
from ..kinds import READ
from ..model.texts import corpus
from . import whole
from .contract import Contract

SAME = 0.7  # share of the terms of two texts that both have (Jaccard)
BANDS, ROWS = 16, 4  # of hashes: of texts that share SAME of their terms 99 % meet in a band
LEAST_TERMS = 8  # shorter texts are equal by chance

Places = NDArray[np.intp]


def leaders(frame: pl.DataFrame, contract: Contract) -> Places | None:
    """Return for each row the first row that is nearly its copy; None where there is none.

    None too where no label is learnt: nothing is known by heart, and to keep a usual phrase
    on one side would make test rows of other kinds than the rest.
    """
    if not task.LABELS_NEEDED:
        return None
    first = np.arange(frame.height)
    for column in contract.features:
        if column.kind in READ:
            values = frame[column.name].fill_null("")
            if column.kind == "text":
                of = _leading(tuple(values.unique().sort()))
            else:
                of = whole.leading(values, column.kind)
            groups = values.replace_strict(of, default=None, return_dtype=pl.Int64)
            first = _joined(first, groups.fill_null(-1).to_numpy())
    return None if (first == np.arange(len(first))).all() else first


def grouped(
    groups: NDArray[np.object_] | None, alike: Places | None
) -> tuple[NDArray[np.object_] | None, Places | None]:
    """Return groups that hold copies together too; without groups both as they are."""
    if groups is None or alike is None:
        return groups, alike
    _, codes = np.unique(groups, return_inverse=True)
    return _joined(alike, codes.astype(np.int64)).astype(str).astype(object), None


def _joined(first: Places, groups: NDArray[np.int64]) -> Places:
    """Let rows of one group, -1 for none, follow the first leader among them."""
    found = first.copy()
    rows = np.flatnonzero(groups >= 0)
    order = rows[np.argsort(groups[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    for part in np.split(order, starts[1:]):
        if len(part) > 1:
            found[np.isin(found, found[part])] = found[part].min()
    return found


def _leading(levels: tuple[str, ...]) -> dict[str, int]:
    """Return the number of its group for each text that has terms enough."""
    known = corpus(levels)
    sizes = known.sizes
    rows = np.flatnonzero((sizes >= LEAST_TERMS) & (np.diff(known.counts.indptr) > 0))
    parents = {int(row): int(row) for row in rows}

    def root(row: int) -> int:
        while parents[row] != row:
            row = parents[row]
        return row

    terms = [frozenset(known.counts[[row]].indices.tolist()) for row in rows] if len(rows) else []
    at = dict(zip(rows.tolist(), terms, strict=True))
    for band in _bands(known.counts[rows], len(known.terms)):
        met: dict[bytes, int] = {}
        for row, key in zip(rows.tolist(), band, strict=True):
            other = met.setdefault(key, row)
            both = len(at[row] & at[other])
            if other != row and both >= SAME * (sizes[row] + sizes[other] - both):
                parents[root(row)] = root(other)
    return {levels[row]: root(row) for row in parents}


def _bands(counts: object, terms: int) -> list[list[bytes]]:
    """Return the key of each row in each band: the least hashes of its terms."""
    from scipy import sparse

    rows = sparse.csr_matrix(counts)
    if not rows.shape[0]:
        return []
    hashes = np.random.default_rng(0).integers(0, 2**63, (terms, BANDS * ROWS))
    least = np.stack(
        [np.minimum.reduceat(column[rows.indices], rows.indptr[:-1]) for column in hashes.T], axis=1
    )
    parts = np.split(np.ascontiguousarray(least), BANDS, axis=1)
    return [[row.tobytes() for row in part] for part in parts]
