"""Labels to predict: which a row has, what is wrong with them, what gives them away."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .. import task
from ..formats import number
from ..label_sets import Codes, Sets, unpacked
from ..model.output import Output
from . import alone
from .contract import Column
from .target_fields import listed

# Of a group of rows: the mean number of labels.
AGGREGATES = (pl.col("y").bitwise_count_ones().mean().alias("y"),)
NOTHING = 0.5  # association of a column that says nothing about the target
SURE = 0.98  # ROC AUC of one column for a label that no honest feature reaches
STRIKING = 0.95  # ROC AUC that is suspect when every other column errs four times as much
MIN_ROWS = 20  # fewer rows, with a label as of all, say nothing
EVENTS_PER_FEATURE = 20  # of the rarest label, as in DATA-02
PRESENT, ABSENT = 0.98, 0.02  # shares of rows between which a value is there by label
SHOWN = 10  # other labels that are counted

Floats = NDArray[np.float64]


def codes_of(texts: pl.Series, labels: tuple[str, ...]) -> pl.Series:
    """Return the set of labels that each cell lists as a code, null if missing.

    Labels that the contract does not name are left out.
    """
    bits = {name: 1 << place for place, name in enumerate(labels)}
    values = texts.cast(pl.String)
    different = values.drop_nulls().unique()
    codes = {text: sum({bits[name] for name in listed(text) if name in bits}) for text in different}
    return values.replace_strict(codes, default=None, return_dtype=pl.Int64)


def outcome(frame: pl.DataFrame, target: Column) -> pl.Series:
    """Return the labels of each row as a code, bit k for the label k, null if missing."""
    return codes_of(frame[target.name], target.labels).alias("y")


def values(frame: pl.DataFrame, target: Column) -> Codes:
    """Return the code of the labels of each row, shape (rows,)."""
    return outcome(frame, target).to_numpy()


def outputs(target: Column, y: Codes) -> tuple[Output, ...]:
    """Return what a model answers that was trained on the target's values `y`."""
    return task.outputs(target.labels)


def reproduced(target: str) -> list[str]:
    """Return the columns that a feature must not reproduce, alone or with another: numbers."""
    return []


def numbers(y: pl.Series) -> list[pl.Series]:
    """Return the target as numbers of which a column may hold the mean: who has each label."""
    width = _sets(y).shape[1]
    return [((y // (1 << place)) % 2).cast(pl.Float64) for place in range(width)]


def _sets(y: pl.Series, labels: int | None = None) -> Sets:
    return unpacked(y.drop_nulls().to_numpy(), labels)


def fault(frame: pl.DataFrame, target: Column) -> str:
    """Say why nothing can be learnt from the valid rows, or ""."""
    counts = _sets(outcome(frame, target), len(target.labels)).sum(axis=0)
    told = (counts >= 2) & (counts <= frame.height - 2)
    if told.sum() >= 2:
        return ""
    known = [name for name, fine in zip(target.labels, told, strict=True) if fine]
    others = ", ".join(name for name, _ in _others(frame, target)[:SHOWN])
    hint = f"; cells have {others}" if others else ""
    return (
        f"target {target.name!r} has {len(known)} labels that two rows have and two have not "
        f"({', '.join(known) or 'none'}) in {number(frame.height)} rows: a multilabel task needs "
        f"two{hint}; mend the source, or labels in the contract"
    )


def _others(frame: pl.DataFrame, target: Column) -> list[tuple[str, int]]:
    """Return the labels that the contract does not name with their rows, most frequent first."""
    found: Counter[str] = Counter()
    cells = frame[target.name].cast(pl.String).drop_nulls().value_counts(name="n")
    for text, rows in cells.iter_rows():
        found.update(dict.fromkeys(set(listed(text)) - set(target.labels), rows))
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))


def doubts(frame: pl.DataFrame, target: Column) -> dict[str, int]:
    """Count rows of labels that are too rare to learn, and of unnamed ones, by "column: rule"."""
    counts = _sets(outcome(frame, target), len(target.labels)).sum(axis=0)
    rare = [code for code in np.argsort(counts) if counts[code] < MIN_ROWS]
    found = {f"{target.name}: rare label {target.labels[code]}": int(counts[code]) for code in rare}
    others = _others(frame, target)
    found |= {f"{target.name}: other label {name}": rows for name, rows in others[:SHOWN]}
    if more := sum(rows for _, rows in others[SHOWN:]):
        found[f"{target.name}: more labels"] = more
    return found


def profile(y: pl.Series) -> dict[str, Any]:
    """Return what profile.json says of the target beside its trend; shares lie in 0..1.

    `sets` counts different sets, `bare` is the share of rows without any label.
    """
    sets = _sets(y)
    counts = sets.sum(axis=0)
    there = counts[counts > 0]
    return {
        "labels": len(there),
        "labels_per_row": float(sets.sum(axis=1).mean()),
        "bare": float((~sets.any(axis=1)).mean()),
        "sets": y.drop_nulls().n_unique(),
        "largest": float(there.max(initial=0) / len(sets)),
        "rarest": float(there.min(initial=len(sets)) / len(sets)),
        "rarest_rows": int(there.min(initial=len(sets))),
    }


def enough(y: pl.Series, features: int) -> float:
    """Return how many of the rows that so many features need are there, from 0 to 1."""
    counts = _sets(y).sum(axis=0)
    rarest = int(counts[counts > 0].min(initial=len(y)))
    return min(1.0, rarest / (EVENTS_PER_FEATURE * max(1, features)))


def association(values: pl.Series, y: pl.Series) -> float:
    """Return the ROC AUC of one column against the label of which it tells most; 0.5 when unknown.

    The better of two readings: the order of the values where there are any, and the share of rows
    with the label per level or quantile (missing is one), learnt on other rows than it is judged
    on.
    """
    present, ranks, codes = alone.coded(values.filter(y.is_not_null()))
    found = [NOTHING]
    for having in _sets(y).T.astype(np.float64):
        order = _rank_auc(ranks, having[present]) if len(ranks) else NOTHING
        rate = pl.Series(alone.mean_out_of_fold(codes, having)).rank().to_numpy()
        found += [order, 1 - order, _rank_auc(rate, having)]
    return max(found)


def _rank_auc(ranks: Floats, having: Floats) -> float:
    """Return the Mann-Whitney form of the ROC AUC; 0.5 when too few rows have the label, or not."""
    positives = float(having.sum())
    negatives = len(having) - positives
    if min(positives, negatives) < MIN_ROWS:
        return NOTHING
    return float(ranks @ having - positives * (positives + 1) / 2) / (positives * negatives)


def signs(
    frame: pl.DataFrame, y: pl.Series, scores: dict[str, float]
) -> Iterator[tuple[str, str, float]]:
    """Yield the columns whose relation to a label no honest feature has: name, reason, share."""
    first, second = (*sorted((s for s in scores.values() if s < SURE), reverse=True), 0.5, 0.5)[:2]
    for name, score in scores.items():
        if score >= SURE:
            yield name, f"alone it tells who has a label (ROC AUC {number(score, 3)})", score
        elif score == first >= STRIKING and (1 - score) * 4 <= 1 - second:
            yield (
                name,
                f"ROC AUC {number(score, 3)} alone for a label, the next column has "
                f"{number(second, 3)}",
                score,
            )
        elif reason := _there_by_label(frame[name], y):
            yield name, reason, 1.0
        elif frame[name].dtype.is_numeric() and _counts(frame[name], y):
            yield name, "it counts the labels of the row", 1.0


def _counts(values: pl.Series, y: pl.Series) -> bool:
    """Tell whether a column says how many labels a row has, up to a number that is added."""
    more = (values.cast(pl.Float64) - y.bitwise_count_ones()).drop_nulls()
    if len(more) < MIN_ROWS or values.n_unique() < 3:
        return False
    return int((more == more.median()).sum()) >= PRESENT * len(more)


def _there_by_label(values: pl.Series, y: pl.Series) -> str:
    """Say that a column has values in rows with one label alone, or "".

    What is recorded once the label is known, such as the number of a recall, is so.
    """
    there, sets = values.filter(y.is_not_null()).is_not_null().to_numpy(), _sets(y)
    for having in sets.T:
        if min(having.sum(), (~having).sum()) < MIN_ROWS:
            continue
        copied = there[having].mean() >= PRESENT and there[~having].mean() <= ABSENT
        if copied or alone.only_with(there, having):
            return "it has values in rows with one label, and in none of the others"
    return ""
