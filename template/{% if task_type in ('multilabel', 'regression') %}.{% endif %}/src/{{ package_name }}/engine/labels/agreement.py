"""How far people agree on numbers, beyond chance: Krippendorff's alpha.

1 - disagreement within items / disagreement of all values, both as mean squared differences of two
values (Krippendorff 2011, Computing Krippendorff's alpha-reliability; for 0 and 1 that is alpha of
names). Items may have any number of people. From 0.667 on tentative conclusions hold, from 0.8 on
firm ones (Krippendorff 2004, Content Analysis, 241).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .intervals import interval, resampled

ENOUGH = 0.667
FEWEST = 2  # items that several people labelled

Floats = NDArray[np.float64]


def sums(values: Sequence[Sequence[float]]) -> Floats:
    """Return number, sum and sum of squares of the values of each item; shape (items, 3).

    Values are taken from their mean, so that large ones that hardly differ keep their digits.
    """
    middle = float(np.mean([value for own in values for value in own]))
    found = [np.array(own) - middle for own in values]
    return np.array([[len(own), own.sum(), own @ own] for own in found])


def alpha(items: Floats) -> float:
    """Return Krippendorff's alpha of `sums`; NaN where all values are one."""
    people, total, squares = items.T
    within = (2 * (people * squares - total**2) / (people - 1)).sum() / people.sum()
    n = people.sum()
    overall = 2 * (n * squares.sum() - total.sum() ** 2) / (n * (n - 1))
    return float(1 - within / overall) if overall > 0 else float("nan")


def compared(columns: Sequence[Sequence[Sequence[float]]], seed: int) -> dict[str, Any]:
    """Return the mean alpha of some columns of values by item, with its interval, and each.

    It is NaN, and enough, where all values are one: nobody disagreed.
    """
    parts = [sums(values) for values in columns]

    def mean(rows: NDArray[np.int64] | slice) -> float:
        known = [value for part in parts if np.isfinite(value := alpha(part[rows]))]
        return float(np.mean(known)) if known else float("nan")

    value = mean(slice(None))
    drawn = [mean(rows) for rows in resampled(len(parts[0]), seed)]
    each = [alpha(part) for part in parts]
    return interval(value, drawn) | {"each": each, "enough": not value < ENOUGH}
