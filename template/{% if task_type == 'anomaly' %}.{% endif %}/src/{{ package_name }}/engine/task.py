"""Anomaly detection, as far as the machinery has to know it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dealing import Places, by_strata
from .facts import Facts
from .model.output import Context, Output
from .model.stored_graph import Stored

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32]
TASK = "anomaly"
OUTPUTS = (
    Output(
        "score",
        "number",
        "score",
        "Share of the training rows that are less unusual.",
        cuts=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999),
    ),
    Output("alert", "boolean", "decision", "Whether the score reaches the cut of the budget."),
    Output(
        "top_features",
        "text",
        "extra",
        "Features whose own value is the most unusual, at most three, the most unusual first.",
    ),
)
NAMES = tuple(output.name for output in OUTPUTS)
LABELS_NEEDED = False  # what is usual is learnt from all rows
FOLDS_ALIKE = True  # models of all folds mean the same by a score
EXCLUSIVE = True  # a row has one of the levels, where there are any
NAMES_ENTITY = True  # models may tell entities apart: a number that names one is read as text
HAS_PAST = False  # rows know earlier targets of their own: other columns may be missing
READS_COLUMNS = True  # of a row, beside who and when
DATES_IN_PARTS = False  # how long ago says it once; year and month would count it again
FAR_VALUES = "which may be what is looked for"  # what those of a column do
TREATS_FAR = False  # a feature that brings them nearer hides anomalies
ROW_FACTS: tuple[str, ...] = ()  # of the plan: with others versions are not compared
IDLE = ("reweigh", "sums_by")  # settings of training that no model here reads
LIMIT = "min_quality"  # the answer that limits the primary metric
BY_CHANCE, BY_ENTITY = "random", "group"  # the splits that are not by time
MIN_ROWS = 10
NEEDS = "rows that are known or made to be anomalies, and others"
FEWEST_KNOWN = 10  # known anomalies from which on splits share them out
# Labels: NaN unknown, 0 ordinary, 1 an anomaly; from 2 on rows that `probed` has made.
MOVED, BROKEN, LOCAL, CLUSTERED = 2.0, 3.0, 4.0, 5.0
KINDS = {MOVED: "moved", BROKEN: "broken", LOCAL: "local", CLUSTERED: "clustered"}
PROBES = 0.025  # of the rows, for each kind
FEWEST, MOST = 30, 1000  # probes of a kind
NEAREST, FARTHEST = 4.0, 8.0  # robust deviations by which a value is moved
AROUND = 2.0  # standard deviation of what is added to each number of a `local` row
ASIDE, DENSE = (2.0, 4.0), 0.2  # how far a cluster is from the median, and its own spread


def context(facts: Facts) -> tuple[Context, ...]:
    """Return what says for whom and when a row is, where what is normal differs by that."""
    return tuple(what for what in facts.normal_by if what != "all_rows")


def real(y: Floats) -> NDArray[np.bool_]:
    """Return which rows are of the data, shape (rows,): the others `probed` has made."""
    return ~(y >= min(KINDS))


def looks_back(facts: Facts) -> int:
    """Return how many earlier targets of the entity every model sees, one by one: none."""
    return 0


def asked(facts: Facts) -> dict[str, Any]:
    """Return what fitters are told of the plan: nothing."""
    return {}


def probed(
    x: Matrix, y: Floats, numbers: int, seed: int
) -> tuple[Matrix, Floats, NDArray[np.intp]]:
    """Return the rows that metrics are measured on, their labels and which rows they are.

    First the rows themselves; then copies that are spoilt in four ways, because labels are few or
    none: of the `moved` one to three numbers lie NEAREST to FARTHEST robust deviations further,
    up or down; the `broken` have half of their features from another row, so that each value is
    usual and their combination is not; of the `local` every number is a little off; the `clustered`
    lie close together where no other row is (kinds of Han et al. 2022, ADBench). `x` has shape
    (rows, features), `numbers` first.
    """
    rng = np.random.default_rng(seed)
    ordinary = np.flatnonzero(~(y >= 1))
    count = min(MOST, max(FEWEST, round(PROBES * len(y))))
    parts, labels, places = [x], [y], [np.arange(len(y))]
    for kind, spoil in _SPOILT.items():
        if kind != BROKEN and not numbers:
            continue
        chosen = rng.choice(ordinary, count)
        parts.append(spoil(x, x[chosen], numbers, rng))
        labels.append(np.full(count, kind))
        places.append(chosen)
    return np.concatenate(parts), np.concatenate(labels), np.concatenate(places)


def _scale(x: Matrix, numbers: int) -> tuple[Floats, Floats]:
    """Return median and robust deviation of each number."""
    known = np.where(np.isnan(x[:, :numbers]).all(axis=0), np.float32(0), x[:, :numbers])
    low, middle, high = np.nanquantile(known, [0.25, 0.5, 0.75], axis=0)
    spread = (high - low) / 1.349
    spread = np.where(spread > 0, spread, np.nanstd(known, axis=0))
    return middle, np.where(spread > 0, spread, 1.0)


def _moved(x: Matrix, rows: Matrix, numbers: int, rng: np.random.Generator) -> Matrix:
    middle, spread = _scale(x, numbers)
    moved = rows.copy()
    for row in moved:
        columns = rng.permutation(numbers)[: rng.integers(1, 4)]
        away = rng.uniform(NEAREST, FARTHEST, len(columns)) * rng.choice([-1, 1], len(columns))
        start = np.where(np.isnan(row[columns]), middle[columns], row[columns])
        row[columns] = start + away * spread[columns]
    return moved


def _broken(x: Matrix, rows: Matrix, numbers: int, rng: np.random.Generator) -> Matrix:
    others = x[rng.integers(0, len(x), len(rows))]
    width = x.shape[1]
    order = rng.permuted(np.tile(np.arange(width), (len(rows), 1)), axis=1)
    return np.where(order < max(1, width // 2), others, rows)


def _local(x: Matrix, rows: Matrix, numbers: int, rng: np.random.Generator) -> Matrix:
    noise = rng.normal(0, AROUND, (len(rows), numbers)) * _scale(x, numbers)[1]
    return np.hstack([rows[:, :numbers] + noise, rows[:, numbers:]]).astype(np.float32)


def _clustered(x: Matrix, rows: Matrix, numbers: int, rng: np.random.Generator) -> Matrix:
    middle, spread = _scale(x, numbers)
    aside = middle + rng.uniform(*ASIDE, numbers) * rng.choice([-1, 1], numbers) * spread
    near = aside + rng.normal(0, DENSE, (len(rows), numbers)) * spread
    return np.hstack([near, rows[:, numbers:]]).astype(np.float32)


_SPOILT = {MOVED: _moved, BROKEN: _broken, LOCAL: _local, CLUSTERED: _clustered}


def lacks(y: Floats) -> str:
    """Return what is missing in rows to learn or judge from; "" when nothing is."""
    rows = int(real(y).sum())
    return "" if rows >= MIN_ROWS else f"{rows} rows: needed are at least {MIN_ROWS}"


def summary(y: Floats) -> dict[str, float]:
    """Return what reports say of the labels of rows."""
    known = y[real(y) & ~np.isnan(y)]
    return {"labelled": len(known), "anomalies": int((known == 1).sum())}


def strata(y: Floats) -> NDArray[np.int8]:
    """Return 1 for known anomalies, where there are enough to share out; shape (rows,)."""
    known = y == 1
    return (known if known.sum() >= FEWEST_KNOWN else np.zeros(len(y), bool)).astype(np.int8)


def dealt(
    y: Floats, groups: NDArray[np.object_] | None, folds: int, seed: int
) -> list[tuple[Places, Places]]:
    """Return training and other places of folds, which keep the shares of `strata`."""
    return by_strata(strata(y), groups, folds, seed)


def goals(y: Floats) -> Floats:
    """Return what features learn of the target, shape (rows, goals): the target itself."""
    return np.asarray(y.reshape(len(y), -1), dtype=np.float64)


def level(decision: Mapping[str, float]) -> float:
    """Return the score from which on rows are alerts."""
    return decision["cut"]


def fair(facts: Facts) -> tuple[str, str]:
    """Return the rate of decisions that groups should share, and why: none is measured here."""
    return "", ""


def compared(level: float) -> float:
    """Return the level at which all models are compared: that of the champion."""
    return level


def stated(graph: Stored) -> dict[str, float | str]:
    """Return the graph's own cut (float32) and how it comes to its score."""
    compared = graph.nodes[graph.nodes["alert"].inputs[0]]
    if compared.operator != "GreaterOrEqual" or compared.inputs[0] != "score":
        raise ValueError("its alert is no comparison of its score")
    return {"cut": graph.number(compared.inputs[1]), "head": "share_below"}


def rare(y: Floats) -> NDArray[np.bool_]:
    """Return which rows are anomalies, known or made, shape (rows,)."""
    return np.asarray(y >= 1)


def pivot(decision: Mapping[str, float], scores: Floats) -> float:
    """Return the score next to which a decision is the least certain."""
    return decision["cut"]


def ordered(scores: Floats) -> Floats:
    """Return a number for each row by which rows are ordered to find examples."""
    return scores


def contrast(
    score: Floats, outputs: tuple[Output, ...]
) -> tuple[dict[str, Any], Callable[[Floats], Floats]]:
    """Return what of a row's score is explained: facts for the report, and it from scores."""
    return {}, lambda scores: scores


def watched(scores: Floats) -> dict[str, NDArray[Any]]:
    """Return what of scores is watched for drift, of shape (rows,) each, "prediction" first."""
    return {"prediction": rounded(scores)}


def rounded(scores: Floats) -> Floats:
    """Return scores in so few digits that steps survive float32 and text."""
    return np.round(scores, 5)


def unit(scores: Floats, *beside: Floats) -> float:
    """Return the unit in which two runtimes may differ by little: shares are one scale."""
    return 1.0
