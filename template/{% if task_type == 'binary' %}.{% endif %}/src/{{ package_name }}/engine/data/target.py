"""A binary target: its values, what is wrong with them, their profile, and what gives them away."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .. import task
from ..dialect import BOOLEANS
from ..formats import number
from ..model.output import Output
from . import alone
from .contract import Column

AGGREGATES = (pl.col("y").mean(),)  # of a group of rows, the first is shown per group
NOTHING = 0.5  # association of a column that says nothing about the target
SURE = 0.98  # ROC AUC of one column that no honest feature reaches
STRIKING = 0.95  # ROC AUC that is suspect when every other column errs four times as much
USUAL = 0.3  # share of the rows that the most frequent value of a column has, if one is usual
LEVELS = 20  # of a column whose values are looked at one by one
MIN_CLASS_ROWS = 20  # fewer rows of a class say nothing
EVENTS_PER_FEATURE = 20  # as in DATA-02: van der Ploeg et al. 2014, 10.1186/1471-2288-14-137

Floats = NDArray[np.float64]


def outcome(frame: pl.DataFrame, target: Column) -> pl.Series:
    """Return 1 where the target equals the contract's positive value, else 0, null if missing."""
    positive = str(target.positive if target.positive is not None else "true")
    values = frame[target.name]
    if target.kind == "boolean":
        hits = values == BOOLEANS.get(positive.lower(), True)
    else:
        hits = values.cast(pl.String) == positive
    return hits.cast(pl.Int8).alias("y")


def values(frame: pl.DataFrame, target: Column) -> NDArray[np.int8]:
    """Return 1 where the target has its positive value, else 0; shape (rows,)."""
    return outcome(frame, target).to_numpy()


def fault(frame: pl.DataFrame, target: Column) -> str:
    """Say why nothing can be learnt from the valid rows, or ""."""
    classes, positives = frame[target.name].n_unique(), int(outcome(frame, target).sum())
    if classes == 2 and positives:
        return ""
    return (
        f"target {target.name!r} has {classes} different value{'s' * (classes != 1)} in "
        f"{number(frame.height)} rows, {number(positives)} times its positive value "
        f"{target.positive!r}: a binary task needs two; mend the source, or the target and its "
        "positiveValue in the contract"
    )


def outputs(target: Column, y: NDArray[np.int8]) -> tuple[Output, ...]:
    """Return what a model answers that was trained on the target's values `y`."""
    return task.outputs(target.positive or "")


def reproduced(target: str) -> list[str]:
    """Return the columns that a feature must not reproduce, alone or with another: numbers."""
    return []


def numbers(y: pl.Series) -> list[pl.Series]:
    """Return the target as numbers of which a column may hold the mean: itself."""
    return [y]


def doubts(frame: pl.DataFrame, target: Column) -> dict[str, int]:
    """Count rows whose target is readable and hardly true, by "column: rule": none."""
    return {}


def profile(y: pl.Series) -> dict[str, Any]:
    """Return what profile.json says of the target beside its trend."""
    return {"positives": int(y.sum()), "rate": y.mean()}


def enough(y: pl.Series, features: int) -> float:
    """Return how many of the rows that so many features need are there, from 0 to 1."""
    positives = int(y.sum())
    fewest = min(positives, len(y) - positives)
    return min(1.0, fewest / (EVENTS_PER_FEATURE * max(1, features)))


def association(values: pl.Series, y: pl.Series) -> float:
    """Return the ROC AUC of one column against the target of 0, 1 or null; 0.5 when unknown.

    The better of two readings: the order of the values where there are any, and the share of
    positives per level or quantile (missing is one), learnt on other rows than it is judged on.
    """
    labelled = y.is_not_null()
    label = y.filter(labelled).cast(pl.Float64).to_numpy()
    present, ranks, codes = alone.coded(values.filter(labelled))
    order = _rank_auc(ranks, label[present]) if len(ranks) else NOTHING
    rate = pl.Series(alone.mean_out_of_fold(codes, label)).rank().to_numpy()
    return max(order, 1 - order, _rank_auc(rate, label))


def signs(
    frame: pl.DataFrame, y: pl.Series, scores: dict[str, float]
) -> Iterator[tuple[str, str, float]]:
    """Yield the columns whose association no honest feature has: name, reason, ROC AUC."""
    first, second = (*sorted((s for s in scores.values() if s < SURE), reverse=True), 0.5, 0.5)[:2]
    for name, score in scores.items():
        if score >= SURE:
            yield name, f"alone it tells the classes apart (ROC AUC {number(score, 3)})", score
        elif score == first >= STRIKING and (1 - score) * 4 <= 1 - second:
            yield (
                name,
                f"ROC AUC {number(score, 3)} alone, the next column has {number(second, 3)}",
                score,
            )
        elif reason := _there_by_class(frame[name], y):
            yield name, reason, 1.0


def _there_by_class(values: pl.Series, y: pl.Series) -> str:
    """Say that what a column holds beside its usual value belongs to one class alone, or "".

    What is recorded once the event has come, such as a reason or a refund, is so, also where it is
    recorded of some events only. Missing may be the usual value.
    """
    known = y.is_not_null()
    values, event = values.filter(known), y.filter(known).cast(pl.Boolean).to_numpy()
    levels = values.alias("is").value_counts(name="n").sort("n", "is", descending=[True, False])
    if levels.height < 2 or levels["n"][0] < USUAL * len(values):
        return ""
    usual = levels["is"][0]
    for hit, event_is in ((event, "with"), (~event, "without")):
        alone_with = f"in rows {event_is} the event alone, as if recorded after it"
        if alone.only_with((~values.eq_missing(usual)).to_numpy(), hit):
            what = "a value" if usual is None else "another value than its usual one"
            return f"it has {what} {alone_with}"
        for level in levels["is"].drop_nulls() if len(levels) <= LEVELS else []:
            if alone.only_with((values == level).fill_null(False).to_numpy(), hit):
                return f"one of its values stands {alone_with}"
    return ""


def _rank_auc(ranks: Floats, label: Floats) -> float:
    """Return the Mann-Whitney form of the ROC AUC; 0.5 when a class has too few rows."""
    positives = float(label.sum())
    negatives = len(label) - positives
    if min(positives, negatives) < MIN_CLASS_ROWS:
        return NOTHING
    return float(ranks @ label - positives * (positives + 1) / 2) / (positives * negatives)
