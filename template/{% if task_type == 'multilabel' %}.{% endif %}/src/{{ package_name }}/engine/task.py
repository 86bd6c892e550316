"""Multilabel classification, as far as the machinery has to know it."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .facts import Facts
from .iterative import dealt_out
from .label_sets import Codes, unpacked
from .model.output import Context, Output, levels
from .model.stored_graph import Stored

Floats = NDArray[np.float64]
Places = NDArray[np.intp]
TASK = "multilabel"
OUTPUTS = (
    Output("probabilities", "numbers", "score", "Calibrated probability of each label."),
    # No decision to count by: there are as many different answers as sets of labels.
    Output("labels", "text", "extra", "Labels that are set, with commas between them."),
)
NAMES = tuple(output.name for output in OUTPUTS)
LABELS_NEEDED = True  # a row without its target teaches nothing
FOLDS_ALIKE = True  # models of all folds mean the same by a score
EXCLUSIVE = False  # a row may have several of the levels
NAMES_ENTITY = False  # models may tell entities apart: a number that names one is read as text
HAS_PAST = False  # rows know earlier targets of their own: other columns may be missing
READS_COLUMNS = True  # of a row, beside who and when
DATES_IN_PARTS = True  # year, month, day and weekday beside how long ago it was
FAR_VALUES = "which trees do not mind"  # what those of a column do
TREATS_FAR = True  # whether models that add columns up gain where a feature brings them nearer
ROW_FACTS: tuple[str, ...] = ()  # of the plan: with others versions are not compared
IDLE = ("reweigh", "sums_by")  # settings of training that no model here reads
LIMIT = "label_limit"  # the answer that limits the primary metric
BY_CHANCE, BY_ENTITY = "iterative", "iterative_group"  # the splits that are not by time
EXPLAINED = 5  # labels of a row, at most
NEEDS = "a label that two rows have and two have not"  # without which no metric has a value


def outputs(labels: tuple[str, ...]) -> tuple[Output, ...]:
    """Return the outputs of a model whose probabilities are those of the labels, in this order."""
    probabilities, found = OUTPUTS
    text = f"{probabilities.text} In this order: {', '.join(labels)}."
    return (
        msgspec.structs.replace(probabilities, text=text, levels=labels),
        msgspec.structs.replace(found, levels=labels),
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
) -> tuple[NDArray[np.float32], Codes, Places]:
    """Return the rows that metrics are measured on, their target and which rows they are.

    The rows themselves: their target is known.
    """
    return x, y, np.arange(len(y))


def lacks(y: Codes) -> str:
    """Return what is missing in rows to learn or judge from; "" when nothing is."""
    counts = unpacked(y).sum(axis=0)
    if ((counts >= 2) & (counts <= len(y) - 2)).any():
        return ""
    return f"{len(y)} rows, none of whose labels is set and unset twice: needed is {NEEDS}"


def summary(y: Codes) -> dict[str, Any]:
    """Return what reports say of the labels of rows; `counts` are in the order of the labels.

    Those after the last label that a row has are left out. `cardinality` is the mean number of
    labels of a row.
    """
    counts = unpacked(y).sum(axis=0)
    return {
        "labels": int(np.count_nonzero(counts)),
        "rarest": int(counts[counts > 0].min(initial=len(y))),
        "counts": counts.tolist(),
        "cardinality": float(counts.sum() / max(1, len(y))),
    }


def goals(y: Codes) -> Floats:
    """Return what features learn of the target, shape (rows, goals): whether it has each label."""
    return unpacked(y).astype(np.float64)


def dealt(
    y: Codes, groups: NDArray[np.object_] | None, folds: int, seed: int
) -> list[tuple[Places, Places]]:
    """Return training and other places of folds, which have the share of each label.

    Rows of one group stay together.
    """
    part = dealt_out(unpacked(y), groups, folds, seed)
    return [(np.flatnonzero(part != n), np.flatnonzero(part == n)) for n in range(part.max() + 1)]


def level(decision: Mapping[str, float]) -> Floats:
    """Return the threshold of each label, shape (labels,)."""
    return np.array(list(decision.values()))


def fair(facts: Facts) -> tuple[str, str]:
    """Return the rate of decisions that groups should share, and why: none is measured here."""
    return "", ""


def compared(level: Floats) -> Floats | None:
    """Return the level at which all models are compared: each at the best one of its own."""
    return None


def stated(graph: Stored) -> dict[str, float | str]:
    """Return the graph's own thresholds (float32) and method of calibration."""
    reached = graph.nodes[graph.nodes["labels"].inputs[0]]
    if reached.operator != "GreaterOrEqual":
        raise ValueError("it sets labels by no threshold")
    found = graph.numbers(reached.inputs[1])
    told: dict[str, float | str] = {f"threshold_{n}": value for n, value in enumerate(found, 1)}
    return told | {"head": _head(graph)}


def _head(graph: Stored) -> str:
    """Return the method of calibration; without one the last step is no sigmoid of log-odds."""
    last = graph.nodes[graph.nodes["probabilities"].inputs[0]]
    total = graph.nodes.get(last.inputs[0])
    if last.operator != "Sigmoid" or total is None or total.operator != "Add":
        return "none"
    scaled = graph.nodes[total.inputs[0]]
    odds = graph.nodes.get(scaled.inputs[0])
    if odds is None or odds.operator != "Sub":
        return "none"
    return "platt" if scaled.operator == "Mul" else "joint"


def rare(y: Codes) -> NDArray[np.bool_]:
    """Return which rows have the rarest label, shape (rows,)."""
    sets = unpacked(y)
    counts = sets.sum(axis=0)
    there = np.flatnonzero(counts)
    return np.asarray(
        sets[:, there[counts[there].argmin()]] if len(there) else np.zeros(len(y), bool)
    )


def pivot(decision: Mapping[str, float], scores: Floats) -> float:
    """Return the number of `ordered` next to which an example stands: a usual number of labels."""
    return float(np.median(scores))


def watched(scores: Floats) -> dict[str, NDArray[Any]]:
    """Return what of scores (rows, labels) is watched for drift, of shape (rows,) each."""
    return {
        "prediction": scores.argmax(axis=1).astype(np.str_),
        "labels a row": rounded(scores.sum(axis=1)),
        "confidence of the prediction": rounded(scores.max(axis=1)),
    }


def ordered(scores: Floats) -> Floats:
    """Return the expected number of labels, by which examples are found."""
    return np.asarray(scores.sum(axis=1))


def contrast(
    score: Floats, outputs: tuple[Output, ...]
) -> tuple[dict[str, Any], Callable[[Floats], Floats]]:
    """Return what of a row's probabilities is explained: each of the most probable labels."""
    first, names = np.argsort(-score, kind="stable")[:EXPLAINED], levels(outputs)
    each = [{"of": names[label], "score": float(score[label])} for label in first]
    return {"each": each}, lambda scores: scores[:, first]


def rounded(scores: Floats) -> Floats:
    """Return scores in so few digits that steps survive float32 and text."""
    return np.round(scores, 5)


def unit(scores: Floats, *beside: Floats) -> float:
    """Return the unit in which two runtimes may differ by little: probabilities are one scale."""
    return 1.0
