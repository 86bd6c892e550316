"""Numbers of the sample: a standard normal in a column's mean, spread and limits."""

import numpy as np
from numpy.typing import NDArray

from .contract import Column

Floats = NDArray[np.float64]


def scaled(column: Column, latent: Floats) -> Floats:
    """Give a standard normal the mean, spread and limits of a number column."""
    low = -np.inf if column.minimum is None else column.minimum
    high = np.inf if column.maximum is None else column.maximum
    if np.isfinite(low) and np.isfinite(high):
        centre, spread = (low + high) / 2, (high - low) / 5
    else:
        centre, spread = max(low + 10, min(high - 10, 0.0)), 10.0
    centre = centre if column.mean is None else column.mean
    spread = spread if column.std is None else column.std
    values = centre + spread * latent
    if 0 < centre - low < 2.5 * spread:  # skewed, as amounts and counts are
        width = np.sqrt(np.log1p((spread / (centre - low)) ** 2))
        values = low + (centre - low) * np.exp(width * latent - width**2 / 2)
    if column.kind == "integer":
        return np.clip(np.rint(values), np.ceil(low), np.floor(high))
    digits = max(0, 3 - int(np.floor(np.log10(spread or 1))))
    return np.clip(np.round(values, digits), low, high)
