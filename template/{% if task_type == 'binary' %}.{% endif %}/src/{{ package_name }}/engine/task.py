"""Binary classification, as far as the machinery has to know it."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .dealing import Places, by_strata
from .facts import Facts
from .model.output import Context, Output
from .model.stored_graph import Stored

TASK = "binary"
OUTPUTS = (
    Output(
        "probability",
        "number",
        "score",
        "Calibrated probability of the positive class.",
        cuts=tuple(step / 20 for step in range(1, 20)),
    ),
    Output("decision", "boolean", "decision", "Whether the probability reaches the threshold."),
)
NAMES = tuple(output.name for output in OUTPUTS)


def outputs(positive: str) -> tuple[Output, ...]:
    """Return the outputs of a model whose probability is that of the class `positive`."""
    probability, decision = OUTPUTS
    return msgspec.structs.replace(probability, levels=(positive,)), decision


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
LIMIT = "min_metric"  # the answer that limits the primary metric
BY_CHANCE, BY_ENTITY = "stratified", "stratified_group"  # the splits that are not by time
NEEDS = "rows of both classes"  # without which no metric has a value


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
    x: NDArray[np.float32], y: NDArray[np.int8], numbers: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int8], NDArray[np.intp]]:
    """Return the rows that metrics are measured on, their target and which rows they are.

    The rows themselves: their target is known.
    """
    return x, y, np.arange(len(y))


def lacks(y: NDArray[np.int8]) -> str:
    """Return what is missing in rows to learn or judge from; "" when nothing is."""
    positives = int(y.sum())
    if min(positives, len(y) - positives) >= 2:
        return ""
    return f"{positives} positives among {len(y)} rows: at least 2 rows of each class are needed"


def summary(y: NDArray[np.int8]) -> dict[str, float]:
    """Return what reports say of the labels of rows."""
    return {"positives": int(y.sum())}


def strata(y: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return the class of each row, shape (rows,): splits keep their shares."""
    return y


def dealt(
    y: NDArray[np.int8], groups: NDArray[np.object_] | None, folds: int, seed: int
) -> list[tuple[Places, Places]]:
    """Return training and other places of folds, which keep the shares of `strata`."""
    return by_strata(strata(y), groups, folds, seed)


def goals(y: NDArray[np.int8]) -> NDArray[np.float64]:
    """Return what features learn of the target, shape (rows, goals): the target itself."""
    return np.asarray(y.reshape(len(y), -1), dtype=np.float64)


def level(decision: Mapping[str, float]) -> float:
    """Return the threshold among the numbers that decisions follow from."""
    return decision["threshold"]


def fair(facts: Facts) -> tuple[str, str]:
    """Return the rate that groups of people should share, and why it is that one.

    Hardt et al. 2016 tell recall from the rate of false alarms, Chouldechova 2017 precision.
    """
    return {
        "block": ("false_positive_rate", "who is stopped without a reason is harmed"),
        "inform": ("precision", "a flag should mean the same of everybody"),
    }.get(facts.action, ("recall", "who is missed goes without what is done for others"))


def compared(level: float) -> float:
    """Return the level at which all models are compared: that of the champion."""
    return level


def stated(graph: Stored) -> dict[str, float | str]:
    """Return the graph's own threshold (float32) and method of calibration."""
    compared = graph.nodes[graph.nodes["decision"].inputs[0]]
    if compared.operator != "GreaterOrEqual" or compared.inputs[0] != "probability":
        raise ValueError("its decision is no comparison of its probability")
    last = graph.nodes[graph.nodes["probability"].inputs[0]]
    added = last.operator == "Add" and any(name in graph.tensors for name in last.inputs)
    method = "sigmoid" if last.operator == "Sigmoid" else "isotonic" if added else "none"
    return {"threshold": graph.number(compared.inputs[1]), "head": method}


def rare(y: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Return which rows are of the rarer class, shape (rows,)."""
    return np.asarray(y == (2 * y.sum() <= len(y)))


def pivot(decision: Mapping[str, float], scores: NDArray[np.float64]) -> float:
    """Return the score next to which a decision is the least certain."""
    return decision["threshold"]


def ordered(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a number for each row by which rows are ordered to find examples."""
    return scores


def contrast(
    score: NDArray[np.float64], outputs: tuple[Output, ...]
) -> tuple[dict[str, Any], Callable[[NDArray[np.float64]], NDArray[np.float64]]]:
    """Return what of a row's score is explained: facts for the report, and it from scores."""
    return {}, lambda scores: scores


def rounded(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores in so few digits that steps survive float32 and text."""
    return np.round(scores, 5)


def watched(scores: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Return what of scores is watched for drift, of shape (rows,) each, "prediction" first."""
    return {"prediction": rounded(scores)}


def unit(scores: NDArray[np.float64], *beside: NDArray[np.float64]) -> float:
    """Return the unit in which two runtimes may differ by little: probabilities are one scale."""
    return 1.0
