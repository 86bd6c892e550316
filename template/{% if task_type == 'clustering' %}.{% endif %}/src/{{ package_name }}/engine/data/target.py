"""Today's segments, which may be missing everywhere: they are compared with, never learnt."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .. import metrics, task
from ..formats import number
from ..model.output import Output
from . import alone
from .contract import Column
from .target_fields import MOST_SEGMENTS

# Of a group of rows: the share that today's largest segment has.
AGGREGATES = ((pl.col("y") == 0).mean().alias("y"),)
MIN_ROWS = 20  # fewer rows with a segment say nothing
SAME = 0.98  # adjusted Rand index from which on a column repeats today's segments
ROWS_PER_FEATURE = 50  # our judgement of what it takes to see groups in so many dimensions

Floats = NDArray[np.float64]


def outcome(frame: pl.DataFrame, target: Column) -> pl.Series:
    """Return codes of today's segments, the most frequent 0, null where there is none."""
    names = frame[target.name].cast(pl.String).alias("name")
    counts = names.drop_nulls().value_counts(name="n").sort("n", "name", descending=[True, False])
    codes = {name: code for code, name in enumerate(counts["name"])}
    return names.replace_strict(codes, default=None, return_dtype=pl.Int64).alias("y")


def values(frame: pl.DataFrame, target: Column) -> Floats:
    """Return codes of today's segments, NaN where there is none; shape (rows,)."""
    return outcome(frame, target).cast(pl.Float64).fill_null(float("nan")).to_numpy()


def fault(frame: pl.DataFrame, target: Column) -> str:
    """Say why the valid rows cannot be compared with today's segments, or ""."""
    if (several := frame[target.name].n_unique()) <= MOST_SEGMENTS:
        return ""
    return (
        f"target {target.name!r} has {number(several)} different values, which are no segments of "
        "today: name another column in the contract, or one that is not there"
    )


def outputs(target: Column, y: Floats) -> tuple[Output, ...]:
    """Return what a model answers that was trained on rows with today's segments `y`."""
    return task.OUTPUTS


def reproduced(target: str) -> list[str]:
    """Return the columns that a feature must not reproduce, alone or with another: numbers."""
    return []


def numbers(y: pl.Series) -> list[pl.Series]:
    """Return the target as numbers of which a column may hold the mean: none are known."""
    return []


def doubts(frame: pl.DataFrame, target: Column) -> dict[str, int]:
    """Count rows whose segment is readable and hardly true, by "column: rule": none is."""
    return {}


def profile(y: pl.Series) -> dict[str, Any]:
    """Return what profile.json says of today's segments beside their trend."""
    known = y.drop_nulls()
    largest = float((known == 0).mean()) if len(known) else None  # type: ignore[arg-type]
    return {"labelled": len(known), "segments": known.n_unique(), "largest": largest}


def enough(y: pl.Series, features: int) -> float:
    """Return how many of the rows that so many features need are there, from 0 to 1."""
    return min(1.0, len(y) / (ROWS_PER_FEATURE * max(1, features)))


def association(values: pl.Series, y: pl.Series) -> float:
    """Return how much one column tells of today's segments beyond the largest, 0 to 1.

    The share of the rows of other segments that the most frequent segment of their level or
    quantile names, less those it names wrongly (Goodman & Kruskal's lambda), judged on other rows
    than it is learnt from.
    """
    known = y.is_not_null()
    codes, truth = alone.coded(values.filter(known))[2], y.filter(known).to_numpy()
    if len(truth) < MIN_ROWS or len(np.unique(truth)) < 2:
        return 0.0
    likely = np.column_stack(
        [alone.mean_out_of_fold(codes, (truth == code) * 1.0) for code in np.unique(truth)]
    )
    right = float((np.unique(truth)[likely.argmax(axis=1)] == truth).mean())
    largest = float(np.unique(truth, return_counts=True)[1].max() / len(truth))
    return max(0.0, (right - largest) / (1 - largest))


def signs(
    frame: pl.DataFrame, y: pl.Series, scores: dict[str, float]
) -> Iterator[tuple[str, str, float]]:
    """Yield the columns that are today's segments by another name: name, reason, share.

    New segments would follow them and be held against themselves. A number that a rule cuts is no
    such column.
    """
    for name in scores:
        pair = pl.DataFrame({"column": frame[name], "y": y}).drop_nulls()
        several = 1 < pair["column"].n_unique() <= MOST_SEGMENTS
        if not several or pair.height < MIN_ROWS or pair["y"].n_unique() < 2:
            continue
        codes = pair["column"].cast(pl.String).rank("dense").to_numpy() - 1
        alike = metrics.adjusted_rand(codes.astype(np.intp), pair["y"].to_numpy())
        if alike >= SAME:
            told = f"it says what today's segments say (adjusted Rand index {number(alike, 3)})"
            yield name, told, alike
