"""Intervals of what people's labels say."""

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
LEVEL = 0.95


def wilson(hits: int, items: int) -> tuple[float, float]:
    """Return the interval of a share (Wilson 1927)."""
    share, z = hits / items, NormalDist().inv_cdf((1 + LEVEL) / 2)
    middle, spread = share + z**2 / (2 * items), share * (1 - share) / items
    reach = z * float(np.sqrt(spread + z**2 / (4 * items**2)))
    return (middle - reach) / (1 + z**2 / items), (middle + reach) / (1 + z**2 / items)


def share(hits: int, items: int) -> dict[str, float]:
    """Return a share of items as reports have it, with its interval."""
    low, high = wilson(hits, items)
    return {"items": items, "value": hits / items, "low": low, "high": high}


def resampled(items: int, seed: int) -> list[NDArray[np.int64]]:
    """Return the places of items drawn with replacement, DRAWS times (Efron 1979)."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, items, items) for _ in range(DRAWS)]


def interval(value: float, drawn: list[float]) -> dict[str, float]:
    """Return a value with the interval of its resampled ones; what is not finite is left out."""
    known = np.array(drawn)[np.isfinite(drawn)]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(known, [tail, 1 - tail]) if len(known) else (np.nan, np.nan)
    return {"value": value, "low": float(low), "high": float(high)}
