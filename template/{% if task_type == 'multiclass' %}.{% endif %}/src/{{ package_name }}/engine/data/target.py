"""A class to predict: its values, what is wrong with them, their profile, what gives them away."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .. import task
from ..formats import number, percent
from ..model.output import Output
from . import alone
from .contract import Column

# Of a group of rows: the share that its most frequent class has.
AGGREGATES = (
    (pl.col("y").drop_nulls().unique_counts().max().fill_null(0) / pl.col("y").count()).alias("y"),
)
NOTHING = 0.0  # association of a column that says nothing about the target
SURE = 0.98  # share of the entropy that no honest feature tells alone
STRIKING = 0.9  # share that is suspect when every other column leaves four times as much
MIN_ROWS = 20  # fewer rows, of a class as of all, say nothing
EVENTS_PER_FEATURE = 20  # of the rarest class, as in DATA-02
PRESENT, ABSENT = 0.98, 0.02  # shares of rows between which a value is there by class

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


def outcome(frame: pl.DataFrame, target: Column) -> pl.Series:
    """Return the place of the class among the contract's, from 0, null if missing."""
    codes = {name: code for code, name in enumerate(target.levels)}
    values = frame[target.name].cast(pl.String)
    return values.replace_strict(codes, default=None, return_dtype=pl.Int64).alias("y")


def values(frame: pl.DataFrame, target: Column) -> Codes:
    """Return the code of the class of each row, shape (rows,)."""
    return outcome(frame, target).to_numpy()


def outputs(target: Column, y: Codes) -> tuple[Output, ...]:
    """Return what a model answers that was trained on the target's values `y`."""
    return task.outputs(target.levels)


def reproduced(target: str) -> list[str]:
    """Return the columns that a feature must not reproduce, alone or with another: numbers."""
    return []


def numbers(y: pl.Series) -> list[pl.Series]:
    """Return the target as numbers of which a column may hold the mean: who has each class."""
    return [(y == code).cast(pl.Float64) for code in y.drop_nulls().unique().sort()]


def fault(frame: pl.DataFrame, target: Column) -> str:
    """Say why nothing can be learnt from the valid rows, or ""."""
    counts = frame[target.name].drop_nulls().value_counts().filter(pl.col("count") > 1)
    if counts.height >= 3:
        return ""
    shown = ", ".join(sorted(counts[target.name].cast(pl.String))) or "none"
    return (
        f"target {target.name!r} has {counts.height} classes of two rows or more ({shown}) in "
        f"{number(frame.height)} rows: a multiclass task needs three; mend the source, or choose "
        "another target"
    )


def doubts(frame: pl.DataFrame, target: Column) -> dict[str, int]:
    """Count rows of classes that are too rare to learn, by "column: rule"."""
    counts = np.bincount(values(frame, target), minlength=len(target.levels))
    rare = [code for code in np.argsort(counts) if counts[code] < MIN_ROWS]
    return {f"{target.name}: rare class {target.levels[code]}": int(counts[code]) for code in rare}


def profile(y: pl.Series) -> dict[str, Any]:
    """Return what profile.json says of the target beside its trend; shares lie in 0..1.

    `effective` is how many classes of equal shares have the same entropy.
    """
    counts = np.bincount(y.drop_nulls().to_numpy())
    shares = counts[counts > 0] / counts.sum()
    return {
        "classes": len(shares),
        "largest": float(shares.max()),
        "rarest": float(shares.min()),
        "rarest_rows": int(counts[counts > 0].min()),
        "effective": float(np.exp(-(shares * np.log(shares)).sum())),
    }


def enough(y: pl.Series, features: int) -> float:
    """Return how many of the rows that so many features need are there, from 0 to 1."""
    counts = np.bincount(y.drop_nulls().to_numpy())
    return min(1.0, int(counts[counts > 0].min()) / (EVENTS_PER_FEATURE * max(1, features)))


def association(values: pl.Series, y: pl.Series) -> float:
    """Return the share of the target's entropy that one column tells alone; 0 when unknown.

    Theil's uncertainty coefficient, by the shares of classes per level or quantile (missing is
    one), learnt on other rows than it is judged on: a key of rows tells nothing.
    """
    known = y.is_not_null()
    codes, truth = alone.coded(values.filter(known))[2], y.filter(known).to_numpy()
    counts = np.bincount(truth, minlength=1)
    if len(truth) < MIN_ROWS or counts.max() == len(truth):
        return NOTHING
    shares = counts[counts > 0] / len(truth)
    entropy = -float((shares * np.log(shares)).sum())
    told = np.empty(len(truth))
    for code in np.flatnonzero(counts):
        rows = truth == code
        told[rows] = alone.mean_out_of_fold(codes, rows.astype(np.float64))[rows]
    return float(np.clip(1 + np.log(np.maximum(told, 1e-9)).mean() / entropy, 0, 1))


def signs(
    frame: pl.DataFrame, y: pl.Series, scores: dict[str, float]
) -> Iterator[tuple[str, str, float]]:
    """Yield the columns whose relation to the target no honest feature has: name, reason, share."""
    first, second = (*sorted((s for s in scores.values() if s < SURE), reverse=True), 0.0, 0.0)[:2]
    for name, score in scores.items():
        if score >= SURE:
            yield name, f"alone it tells {percent(score)} of the classes' entropy", score
        elif score == first >= STRIKING and (1 - score) * 4 <= 1 - second:
            yield (
                name,
                f"alone it tells {percent(score)} of the classes' entropy, the next column "
                f"{percent(second)}",
                score,
            )
        elif reason := _there_by_class(frame[name], y):
            yield name, reason, 1.0


def _there_by_class(values: pl.Series, y: pl.Series) -> str:
    """Say that a column has values in rows of one class, or all of some, and in no others, or "".

    What is recorded once the class is known, such as the tracking number of a return, is so.
    """
    table = pl.DataFrame({"y": y, "there": values.is_not_null()}).drop_nulls("y")
    for code in table["y"].unique().sort():
        if alone.only_with(table["there"].to_numpy(), (table["y"] == code).to_numpy()):
            return "it has values in rows of one class alone: recorded once that is known"
    found = (
        table.group_by("y").agg(pl.len(), pl.col("there").mean()).filter(pl.col("len") >= MIN_ROWS)
    )
    there, gone = found.filter(pl.col("there") >= PRESENT), found.filter(pl.col("there") <= ABSENT)
    if not (there.height and gone.height) or there.height + gone.height < found.height:
        return ""
    return (
        f"it has values in rows of {there.height} of {found.height} classes, and none in the others"
    )
