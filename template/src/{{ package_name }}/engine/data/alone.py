"""How one column is read when it is asked what it alone says of the target."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

BINS = 64
FOLDS = 4
EXPECTED = 12  # misses that chance would make: none of so many is no chance
FEWER = 20  # an honest column does not miss so many times less than chance

Floats = NDArray[np.float64]


def coded(values: pl.Series) -> tuple[NDArray[np.bool_], Floats, NDArray[np.int64]]:
    """Return which values are present, the ranks of these, and the level of each row.

    Shapes (rows,), (present rows,) and (rows,). Texts have no ranks. A level is a value, or one of
    BINS quantiles where there are more numbers; 0 is missing.
    """
    present = values.is_not_null().to_numpy()
    codes = values.rank("dense").fill_null(0).to_numpy().astype(np.int64)
    if values.dtype == pl.String:
        return present, np.empty(0), codes
    ranks = values.drop_nulls().rank().to_numpy()
    if codes.max(initial=0) > BINS:
        codes[present] = 1 + (ranks * BINS / (len(ranks) + 1)).astype(np.int64)
    return present, ranks, codes


def mean_out_of_fold(codes: NDArray[np.int64], y: Floats) -> Floats:
    """Return for each row the smoothed mean of y over the rows of its level in other folds."""
    if not len(y):
        return y
    cell = codes * FOLDS + np.random.default_rng(1).integers(0, FOLDS, len(y))
    size = (int(codes.max()) + 1) * FOLDS
    rows = np.bincount(cell, minlength=size).reshape(-1, FOLDS)
    sums = np.bincount(cell, weights=y, minlength=size).reshape(-1, FOLDS)
    others = rows.sum(axis=1, keepdims=True) - rows
    means: Floats = (sums.sum(axis=1, keepdims=True) - sums + 2 * y.mean()) / (others + 2)
    return np.asarray(means.ravel()[cell])


def only_with(there: NDArray[np.bool_], event: NDArray[np.bool_]) -> bool:
    """Tell whether rows that are `there` are of an event alone, as no honest column has it.

    It need not be there in each row of the event. Where most rows are of the event nothing tells:
    a kind of rows to which a rare thing never happens is ordinary.
    """
    if len(event) == 0 or event.mean() > 0.5:
        return False
    expected, misses = there.sum() * (1 - event.mean()), (there & ~event).sum()
    few = misses * FEWER <= expected and misses <= 0.01 * there.sum()
    return bool(expected >= EXPECTED and few)
