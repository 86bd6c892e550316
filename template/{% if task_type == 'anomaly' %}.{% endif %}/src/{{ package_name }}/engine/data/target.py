"""The label of anomalies, which may be missing everywhere: its values, and what it tells."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .. import task
from ..dialect import BOOLEANS
from ..formats import number
from ..metrics import Ranked
from ..model.output import Output
from . import alone
from .contract import Column

AGGREGATES = (pl.col("y").mean(),)  # of a group of rows, the first is shown per group
NOTHING = 0.5  # association of a column that says nothing about the label
SURE = 0.995  # ROC AUC of one column that copies the label
MIN_CLASS_ROWS = 20  # fewer rows of a class say nothing
ROWS_PER_FEATURE = 50  # our judgement of what it takes to know what is usual of a feature

Floats = NDArray[np.float64]


def outcome(frame: pl.DataFrame, target: Column) -> pl.Series:
    """Return 1 where the label says anomaly, 0 where it says none, null where there is no label."""
    positive = str(target.positive if target.positive is not None else "true")
    values = frame[target.name]
    if target.kind == "boolean":
        hits = values == BOOLEANS.get(positive.lower(), True)
    else:
        hits = values.cast(pl.String) == positive
    return hits.cast(pl.Float64).alias("y")


def values(frame: pl.DataFrame, target: Column) -> Floats:
    """Return labels as `task` writes them, NaN where there is none; shape (rows,)."""
    return outcome(frame, target).fill_null(float("nan")).to_numpy()


def fault(frame: pl.DataFrame, target: Column) -> str:
    """Say why nothing can be learnt from the valid rows: "", it is learnt without labels."""
    return ""


def outputs(target: Column, y: Floats) -> tuple[Output, ...]:
    """Return what a model answers that was trained on rows with the labels `y`."""
    return task.OUTPUTS


def reproduced(target: str) -> list[str]:
    """Return the columns that a feature must not reproduce, alone or with another: numbers."""
    return []


def numbers(y: pl.Series) -> list[pl.Series]:
    """Return the target as numbers of which a column may hold the mean: itself."""
    return [y]


def doubts(frame: pl.DataFrame, target: Column) -> dict[str, int]:
    """Count rows whose label is readable and hardly true, by "column: rule"."""
    y = outcome(frame, target)
    anomalies = int(y.sum())
    frequent = not y.null_count() and anomalies > len(y) / 2
    return {f"{target.name}: more anomalies than others": anomalies} if frequent else {}


def profile(y: pl.Series) -> dict[str, Any]:
    """Return what profile.json says of the label beside its trend."""
    known = y.drop_nulls()
    return {"labelled": len(known), "anomalies": int(known.sum()), "rate": known.mean()}


def enough(y: pl.Series, features: int) -> float:
    """Return how many of the rows that so many features need are there, from 0 to 1."""
    return min(1.0, len(y) / (ROWS_PER_FEATURE * max(1, features)))


def association(values: pl.Series, y: pl.Series) -> float:
    """Return the ROC AUC of one column against the labels that are known; 0.5 when unknown."""
    labelled = y.is_not_null()
    label = y.filter(labelled).cast(pl.Float64).to_numpy()
    present, ranks, codes = alone.coded(values.filter(labelled))
    order = _auc(ranks, label[present]) if len(ranks) else NOTHING
    return max(order, 1 - order, _auc(alone.mean_out_of_fold(codes, label), label))


def signs(
    frame: pl.DataFrame, y: pl.Series, scores: dict[str, float]
) -> Iterator[tuple[str, str, float]]:
    """Yield the columns that copy the label: name, reason, ROC AUC.

    An anomaly may well stand out in one column, so that only one of few values, as a label has
    them, is taken for a copy.
    """
    for name, score in scores.items():
        if score >= SURE and frame[name].n_unique() <= 3:
            yield name, f"it copies the label (ROC AUC {number(score, 3)})", score
        elif _with_the_label(frame[name], y):
            yield (
                name,
                "it has values in rows of anomalies alone: recorded once they are known",
                1.0,
            )


def _with_the_label(values: pl.Series, y: pl.Series) -> bool:
    known = y.is_not_null()
    there, label = values.filter(known).is_not_null(), y.filter(known) == 1
    return alone.only_with(there.to_numpy(), label.to_numpy())


def _auc(score: Floats, label: Floats) -> float:
    hit = label == 1
    if min(int(hit.sum()), int((~hit).sum())) < MIN_CLASS_ROWS:
        return NOTHING
    return Ranked(hit, score, np.arange(len(score))).roc_auc(np.ones(len(score)))
