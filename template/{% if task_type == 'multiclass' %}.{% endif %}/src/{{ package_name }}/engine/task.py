"""Multiclass classification, as far as the machinery has to know it."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .dealing import Places, by_strata
from .facts import Facts
from .model.output import Context, Output, levels
from .model.stored_graph import Stored

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
TASK = "multiclass"
OUTPUTS = (
    Output(
        "probabilities",
        "numbers",
        "score",
        "Calibrated probability of each class.",
    ),
    Output("decision", "text", "decision", "Class of the least expected cost."),
    Output(
        "accepted",
        "boolean",
        "decision",
        "Whether nobody has to look: the expected cost of the decision is at most review_level.",
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
IDLE = ("sums_by",)  # settings of training that no model here reads
LIMIT = "score_limit"  # the answer that limits the primary metric
BY_CHANCE, BY_ENTITY = "stratified", "stratified_group"  # the splits that are not by time
NEEDS = "rows of at least two classes"  # without which no metric has a value
MIN_STRATUM = 10  # rows of a class: splits do not keep the share of a rarer one


def outputs(classes: tuple[str, ...]) -> tuple[Output, ...]:
    """Return the outputs of a model whose probabilities are those of the classes, in this order."""
    probabilities, decision, accepted = OUTPUTS
    text = f"{probabilities.text} In this order: {', '.join(classes)}."
    return (
        msgspec.structs.replace(probabilities, text=text, levels=classes),
        msgspec.structs.replace(decision, levels=classes),
        accepted,
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
    x: NDArray[np.float32], y: Codes, numbers: int, seed: int
) -> tuple[NDArray[np.float32], Codes, NDArray[np.intp]]:
    """Return the rows that metrics are measured on, their target and which rows they are.

    The rows themselves: their target is known.
    """
    return x, y, np.arange(len(y))


def lacks(y: Codes) -> str:
    """Return what is missing in rows to learn or judge from; "" when nothing is."""
    there = np.count_nonzero(np.bincount(y) >= 2) if len(y) else 0
    if there >= 2:
        return ""
    return f"{len(y)} rows, of {there} classes two or more: needed are {NEEDS}"


def summary(y: Codes) -> dict[str, Any]:
    """Return what reports say of the classes of rows; `counts` are in the order of the codes."""
    counts = np.bincount(y)
    return {
        "classes": int(np.count_nonzero(counts)),
        "rarest": int(counts[counts > 0].min(initial=len(y))),
        "counts": counts.tolist(),
    }


def strata(y: Codes) -> Codes:
    """Return the class of each row, shape (rows,), of rare ones that of the most frequent one.

    Splits keep their shares; a class of a few rows must not make the folds as few.
    """
    counts = np.bincount(y)
    return np.where(counts[y] < MIN_STRATUM, int(counts.argmax()), y)


def dealt(
    y: Codes, groups: NDArray[np.object_] | None, folds: int, seed: int
) -> list[tuple[Places, Places]]:
    """Return training and other places of folds, which keep the shares of `strata`."""
    return by_strata(strata(y), groups, folds, seed)


def goals(y: Codes) -> Floats:
    """Return what features learn of the target, shape (rows, goals): whether it is each class."""
    return np.asarray(np.eye(int(y.max()) + 1)[y], dtype=np.float64)


def level(decision: Mapping[str, float]) -> float:
    """Return the expected cost above which a decision is reviewed."""
    return decision["review_level"]


def fair(facts: Facts) -> tuple[str, str]:
    """Return the rate that groups of people should share, and why it is that one.

    Overall accuracy equality of Berk et al. 2021: no class is the good one.
    """
    return "accuracy", "each group should get as many right answers"


def compared(level: float) -> float:
    """Return the level at which all models are compared: that of the champion."""
    return level


def stated(graph: Stored) -> dict[str, float | str]:
    """Return the graph's own limit of expected costs (float32) and method of calibration."""
    accepted = graph.nodes[graph.nodes["accepted"].inputs[0]]
    if accepted.operator != "LessOrEqual":
        raise ValueError("it accepts by no expected cost")
    last = graph.nodes[graph.nodes["probabilities"].inputs[0]]
    method = "none"  # the last step is a share or a sum of members
    if last.operator == "Softmax":
        method = "temperature" if graph.nodes[last.inputs[0]].operator == "Mul" else "matrix"
    return {"review_level": graph.number(accepted.inputs[1]), "head": method}


def rare(y: Codes) -> NDArray[np.bool_]:
    """Return which rows are of the rarest class, shape (rows,)."""
    counts = np.bincount(y)
    return np.asarray(counts[y] == counts[counts > 0].min())


def pivot(decision: Mapping[str, float], scores: Floats) -> float:
    """Return the number of `ordered` next to which the classes are the least certain."""
    return float(scores.min())


def watched(scores: Floats) -> dict[str, NDArray[Any]]:
    """Return what of scores (rows, classes) is watched for drift, of shape (rows,) each."""
    return {
        "prediction": scores.argmax(axis=1).astype(np.str_),
        "confidence of the prediction": rounded(scores.max(axis=1)),
    }


def ordered(scores: Floats) -> Floats:
    """Return the probability of the most probable class, by which examples are found."""
    return np.asarray(scores.max(axis=1))


def contrast(
    score: Floats, outputs: tuple[Output, ...]
) -> tuple[dict[str, Any], Callable[[Floats], Floats]]:
    """Return what of a row's probabilities is explained: the first minus the second class."""
    first, second = np.argsort(-score, kind="stable")[:2]
    names = levels(outputs)
    told = {"class": names[first], "against": names[second], "probability": float(score[first])}
    return told, lambda scores: scores[:, first] - scores[:, second]


def rounded(scores: Floats) -> Floats:
    """Return scores in so few digits that steps survive float32 and text."""
    return np.round(scores, 5)


def unit(scores: Floats, *beside: Floats) -> float:
    """Return the unit in which two runtimes may differ by little: probabilities are one scale."""
    return 1.0
