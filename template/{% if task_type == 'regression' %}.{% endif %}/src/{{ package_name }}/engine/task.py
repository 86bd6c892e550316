"""Regression, as far as the machinery has to know it."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .dealing import Places, by_strata
from .facts import Facts
from .model.output import Context, Output
from .model.stored_graph import Stored

Floats = NDArray[np.float64]
TASK = "regression"
SAID = "regression"  # what messages call it
MARKS = "classes or marks"  # what a target of few values may be instead
OUTPUTS = (
    Output("value", "number", "score", "Predicted value of the target, in its unit."),
    Output("low", "number", "interval", "Lower end of the interval for the actual value."),
    Output("high", "number", "interval", "Upper end of the interval for the actual value."),
    Output(
        "decision",
        "number",
        "decision",
        "Value to plan with: where the costs of too much and of too little balance.",
    ),
)
NAMES = tuple(output.name for output in OUTPUTS)
LABELS_NEEDED = True  # a row without its target teaches nothing
FOLDS_ALIKE = True  # models of all folds mean the same by a score
EXCLUSIVE = True  # a row has one of the levels, where there are any
NAMES_ENTITY = False  # models may tell entities apart: a number that names one is read as text
HAS_PAST = False  # rows know earlier targets of their own: other columns may be missing
READS_COLUMNS = True  # of a row, beside who and when
DATES_IN_PARTS = True  # year, month, day and weekday beside how long ago it was
FAR_VALUES = "which trees do not mind"  # what those of a column do
TREATS_FAR = True  # whether models that add columns up gain where a feature brings them nearer
ROW_FACTS: tuple[str, ...] = ()  # of the plan: with others versions are not compared
IDLE = ("reweigh", "sums_by")  # settings of training that no model here reads
LIMIT = "max_error"  # the answer that limits the primary metric
BY_CHANCE, BY_ENTITY = "random", "group"  # the splits that are not by time
NEEDS = "at least 10 rows and two different values of the target"
DIGITS = 5  # of a score, so that steps survive float32 and text
STRATA = 10
MIN_ROWS = 10


def outputs(y: Floats) -> tuple[Output, ...]:
    """Return the outputs of a model of the values `y` (rows,), counted between their quantiles."""
    cuts = np.unique(rounded(np.quantile(y, np.arange(1, 20) / 20)))
    return tuple(
        msgspec.structs.replace(output, cuts=tuple(cuts.tolist()))
        if output.role in ("score", "decision")
        else output
        for output in OUTPUTS
    )


def context(facts: Facts) -> tuple[Context, ...]:
    """Return what says for whom and when a row is, beside its features: nothing."""
    return ()


def looks_back(facts: Facts) -> int:
    """Return how many earlier targets of the entity every model sees, one by one: none."""
    return 0


def asked(facts: Facts) -> dict[str, Any]:
    """Return what fitters are told of the plan: nothing."""
    return {}


def probed(
    x: NDArray[np.float32], y: Floats, numbers: int, seed: int
) -> tuple[NDArray[np.float32], Floats, NDArray[np.intp]]:
    """Return the rows that metrics are measured on, their target and which rows they are.

    The rows themselves: their target is known.
    """
    return x, y, np.arange(len(y))


def lacks(y: Floats) -> str:
    """Return what is missing in rows to learn or judge from; "" when nothing is."""
    if len(y) >= MIN_ROWS and y.min() < y.max():
        return ""
    return f"{len(y)} rows with {len(np.unique(y))} different values: needed are {NEEDS}"


def summary(y: Floats) -> dict[str, float]:
    """Return what reports say of the target in rows, in its unit."""
    return {"mean": float(y.mean()), "median": float(np.median(y)), "sd": float(y.std())}


def strata(y: Floats) -> NDArray[np.intp]:
    """Return the tenth of the values that each row is in, shape (rows,): splits keep them."""
    parts = max(1, min(STRATA, len(y) // STRATA))
    ranks = np.argsort(np.argsort(y, kind="stable"), kind="stable")
    return np.asarray(ranks * parts // len(y))


def dealt(
    y: Floats, groups: NDArray[np.object_] | None, folds: int, seed: int
) -> list[tuple[Places, Places]]:
    """Return training and other places of folds, which keep the shares of `strata`."""
    return by_strata(strata(y), groups, folds, seed)


def goals(y: Floats) -> Floats:
    """Return what features learn of the target, shape (rows, goals): the target itself."""
    return np.asarray(y.reshape(len(y), -1), dtype=np.float64)


def level(decision: Mapping[str, float]) -> float:
    """Return the quantile to plan with among the numbers that decisions follow from."""
    return decision["quantile"]


def fair(facts: Facts) -> tuple[str, str]:
    """Return the rate of decisions that groups should share, and why: none is measured here."""
    return "", ""


def compared(level: float) -> float:
    """Return the level at which all models are compared: that of the champion."""
    return level


def stated(graph: Stored) -> dict[str, float | str]:
    """Return how the graph itself comes to its interval."""
    ends = {graph.nodes[graph.nodes[name].inputs[0]].operator for name in NAMES[1:]}
    if ends not in ({"Add"}, {"Max"}):
        raise ValueError("its interval is not what is added to its value")
    return {"head": "residuals"}


def rare(y: Floats) -> NDArray[np.bool_]:
    """Return which rows have one of the highest values, shape (rows,)."""
    return np.asarray(y > np.quantile(y, 0.95))


def pivot(decision: Mapping[str, float], scores: Floats) -> float:
    """Return the score of the most ordinary row."""
    return float(np.median(scores))


def ordered(scores: Floats) -> Floats:
    """Return a number for each row by which rows are ordered to find examples."""
    return scores


def contrast(
    score: Floats, outputs: tuple[Output, ...]
) -> tuple[dict[str, Any], Callable[[Floats], Floats]]:
    """Return what of a row's score is explained: facts for the report, and it from scores."""
    return {}, lambda scores: scores


def rounded(scores: Floats) -> Floats:
    """Return scores in so few digits that steps survive float32 and text."""
    size = np.abs(scores)
    power = np.floor(np.log10(np.where(size > 0, size, 1.0)))
    factor = 10.0 ** (DIGITS - 1 - power)
    return np.asarray(np.round(scores * factor) / factor)


def watched(scores: Floats) -> dict[str, NDArray[Any]]:
    """Return what of scores is watched for drift, of shape (rows,) each, "prediction" first."""
    return {"prediction": rounded(scores)}


def unit(scores: Floats, *beside: Floats) -> Floats:
    """Return the unit, shape (rows,), in which two runtimes may differ by little.

    `beside` are the other outputs of the rows: an end of an interval near 0 is a difference of
    numbers that are as large as they.
    """
    size = np.max(np.abs([scores, *beside]), axis=0)
    return np.asarray(np.maximum(size, max(float(size.mean()), float(np.finfo(np.float32).tiny))))
