"""Sets of labels as whole numbers: bit k says whether a row has the label k."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]
Sets = NDArray[np.bool_]
MOST_LABELS = 50  # so that a set is exact as float64 too


def packed(sets: Sets) -> Codes:
    """Return the codes, shape (rows,), of which labels each row has, shape (rows, labels)."""
    return np.asarray(sets.astype(np.int64) @ (1 << np.arange(sets.shape[1], dtype=np.int64)))


def unpacked(y: NDArray[Any], labels: int | None = None) -> Sets:
    """Return which labels each row has, shape (rows, labels), of codes of shape (rows,).

    Without `labels` there are as many as the largest code needs.
    """
    codes = y.astype(np.int64)
    width = int(codes.max(initial=0)).bit_length() if labels is None else labels
    return np.asarray((codes[:, None] >> np.arange(width)) & 1, dtype=np.bool_)
