"""How one column is read when it is asked what it alone says of the target."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

BINS = 64
FOLDS = 4

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
