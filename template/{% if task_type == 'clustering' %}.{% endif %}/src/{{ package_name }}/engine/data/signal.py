"""Segments of the sample: four of unequal size, and two numbers that say nothing of them.

Today's rule, where there is one, knows three of them, and errs in some rows.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .contract import Column, Contract
from .spread import scaled
from .validation import DTYPES, parse

SHARES = (0.4, 0.3, 0.2, 0.1)
# Where the segments lie in numbers, in turn; in deviations of the whole column.
CENTERS = np.array([[-0.9, -0.9, 0.9], [1.1, -0.6, -0.9], [-0.5, 1.5, -0.8], [1.6, 1.4, 1.5]])
WIDTH = 0.3  # of a segment
TOGETHER = 6  # rows that follow each other are of one segment, as those of an entity are
NOISE = 2  # numbers, the last ones, that tell nothing
TYPICAL = 0.85  # of the rows of a segment have its level in the first category
RIGHT = 0.8  # of the rows have the segment that today's rule means

Floats = NDArray[np.float64]


def segments(rows: int) -> NDArray[np.intp]:
    """Return the segment of each row, the same for as many rows."""
    rng = np.random.Generator(np.random.PCG64(rows))
    groups = -(-rows // TOGETHER)
    return np.repeat(rng.choice(len(SHARES), groups, p=SHARES), TOGETHER)[:rows]


def shaped(
    contract: Contract,
    data: dict[str, pl.Series],
    rng: np.random.Generator,
    told: Mapping[str, Any],
) -> dict[str, pl.Series]:
    """Return the columns with the segments in them."""
    free = [
        column
        for column in contract.features
        if not column.unique
        and column.name not in contract.primary_key
        and data[column.name].n_unique() > 1
    ]
    numbers = [column for column in free if column.kind in ("number", "integer")]
    telling = numbers[: max(len(numbers) - NOISE, 2)]
    found, rows = dict(data), len(next(iter(data.values())))
    segment = segments(rows)
    for place, column in enumerate(telling):
        center = CENTERS[segment, place % CENTERS.shape[1]] * (-1) ** (place // CENTERS.shape[1])
        values = scaled(column, center + WIDTH * rng.standard_normal(rows))
        series = pl.Series(column.name, values).cast(DTYPES[column.kind])
        found[column.name] = series.set(data[column.name].is_null(), None)
    named = [c for c in free if c.kind == "category" and len(c.levels) > 1]
    for column in named[:1]:
        level = np.array(column.levels, object)[segment % len(column.levels)]
        here = pl.Series(rng.random(rows) < TYPICAL) & data[column.name].is_not_null()
        typical = pl.Series(column.name, level, dtype=pl.String)
        found[column.name] = data[column.name].zip_with(~here, typical)
    return found


def latent(target: Column, draw: Callable[[], Floats], rng: np.random.Generator) -> Floats:
    """Return the segment of today of each row, 0 to 2, shape (rows,)."""
    meant = np.array([0, 1, 2, 1])[segments(rows := len(draw()))]
    other = rng.integers(0, 3, rows)
    return np.where(rng.random(rows) < RIGHT, meant, other).astype(np.float64)


def outcome(target: Column, latent: Floats) -> pl.Series:
    """Return the segments of today as the contract writes them, none where nobody has them."""
    names = {"boolean": ("false", "true"), "integer": ("1", "2", "3")}.get(target.kind)
    names = names or target.levels or ("basic", "regular", "premium")
    text = pl.Series(target.name, np.array(names, object)[latent.astype(int) % len(names)])
    unknown = np.random.Generator(np.random.PCG64(1)).random(len(latent)) < target.missing_share
    return parse(text.cast(pl.String).set(pl.Series(unknown), None), target)


def arrange(
    target: Column, outcome: pl.Series, latent: Floats, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Return which row each row takes the definition's columns from: its own."""
    return np.arange(len(outcome))
