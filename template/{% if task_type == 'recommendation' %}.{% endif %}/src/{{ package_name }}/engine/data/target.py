"""The item of an interaction: its number, which says nothing but which item it is.

Items that are texts have the numbers of `coded.py`.
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .. import task
from ..errors import ProjectError
from ..formats import number, percent
from ..model import coded
from ..model.output import Output
from . import alone
from .contract import Column

# Of a group of rows: how many different items it has for each row.
AGGREGATES = ((pl.col("y").n_unique() / pl.len()).alias("y"),)
MIN_ROWS = 20  # fewer rows say nothing
ASKED_ITEMS = 20  # the most taken ones, which a column is asked about
# Names of columns that may say how much an item was liked, and the most values of such a scale.
RATES = r"(?i)(^|[_ .-])(ratings?|rated|stars?|scores?|bewertung|sterne)([_ .-]|$)"
SCALE = 21
SAME = 0.98  # share of the rows in which a column is the item
ROWS_PER_ITEM = 10  # our judgement of what it takes to see who takes an item

Floats = NDArray[np.float64]


def outcome(frame: pl.DataFrame, target: Column) -> pl.Series:
    """Return the number of each row's item, null where there is none."""
    if target.kind != "category":
        return frame[target.name].cast(pl.Float64).alias("y")
    if not target.codes:
        raise ProjectError(f"no {coded.FILE} beside the contract numbers the items: `ml validate`")
    return coded.numbers(frame[target.name], target.codes).alias("y")


def values(frame: pl.DataFrame, target: Column) -> Floats:
    """Return the number of each row's item, shape (rows,)."""
    return outcome(frame, target).fill_null(float("nan")).to_numpy()


def fault(frame: pl.DataFrame, target: Column) -> str:
    """Say why nothing can be learnt from the items of the valid rows, or ""."""
    known = frame[target.name].drop_nulls()
    if known.n_unique() < 2:
        return f"target {target.name!r} has one item: there is nothing to choose from"
    if target.kind == "category":
        return ""
    if known.min() < 0 or known.max() > task.LARGEST:  # type: ignore[operator]
        return f"target {target.name!r}: items are numbered from 0 to {number(task.LARGEST)}"
    return ""


def outputs(target: Column, y: Floats) -> tuple[Output, ...]:
    """Return what a model answers that was trained on rows with the items `y`."""
    return task.outputs(named=target.kind == "category")


def reproduced(target: str) -> list[str]:
    """Return the columns that a feature must not reproduce, alone or with another."""
    return [target]


def numbers(y: pl.Series) -> list[pl.Series]:
    """Return the target as numbers of which a column may hold the mean: none are known."""
    return []


def doubts(frame: pl.DataFrame, target: Column) -> dict[str, int]:
    """Count rows whose item is readable and hardly true, by "column: rule": none is."""
    return {}


def profile(y: pl.Series) -> dict[str, Any]:
    """Return what profile.json says of the items beside their trend."""
    counts = y.drop_nulls().value_counts(name="n").sort("n", descending=True)["n"]
    rows = int(counts.sum())
    most = int(counts.head(max(1, round(0.1 * len(counts)))).sum())
    return {
        "items": len(counts),
        "once": int((counts == 1).sum()),
        "head": most / rows if rows else None,
        "variety": len(counts) / rows if rows else None,
    }


def enough(y: pl.Series, features: int) -> float:
    """Return how many of the rows that so many items need are there, from 0 to 1."""
    return min(1.0, len(y) / (ROWS_PER_ITEM * max(1, y.n_unique())))


def association(values: pl.Series, y: pl.Series) -> float:
    """Return how much one column tells of the most taken items beyond the first of them, 0 to 1.

    The share of the rows of other items that the most frequent item of their level or quantile
    names, less those it names wrongly (Goodman & Kruskal's lambda), judged on other rows than it is
    learnt from.
    """
    counts = pl.DataFrame({"y": y}).drop_nulls().group_by("y").agg(n=pl.len())
    counts = counts.sort("n", "y", descending=[True, False])
    known = y.is_in(counts["y"].head(ASKED_ITEMS).implode()).fill_null(False)
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
    """Yield ratings, and columns that are the item by another name: name, reason, share."""
    for name in scores:
        if not frame[name].dtype.is_numeric():
            continue
        if told := _rating(frame[name]):
            yield name, told, 1.0
            continue
        pair = pl.DataFrame({"column": frame[name].cast(pl.Float64), "y": y}).drop_nulls()
        if pair.height < MIN_ROWS:
            continue
        share = float((pair["column"] == pair["y"]).mean())  # type: ignore[arg-type]
        if share >= SAME:
            yield name, f"it is the item itself in {percent(share)} of the rows", share


def _rating(values: pl.Series) -> str:
    """Say what to do with a column of ratings, "" of another.

    What is in the upper half of the scale counts as liked: on open ratings of films lists were
    better by it than by all rows (docs/benchmarks.md of the template).
    """
    scale = values.drop_nulls().unique().sort()
    steps = (scale * 2 == (scale * 2).round()).all()  # halves at most
    if not re.search(RATES, values.name) or not 2 < len(scale) <= SCALE or not steps:
        return ""
    low, high = float(scale[0]), float(scale[-1])
    liked = number(float(scale.filter(scale >= (low + high) / 2)[0]))
    return (
        f"ratings from {number(low)} to {number(high)}, known with the item only, and rows of low "
        "ones teach that it was liked: draft again with `--target liked --definition 'CASE WHEN "
        f'"{values.name}" >= {liked} THEN ITEM END\'`, where ITEM is the column of the items'
    )
