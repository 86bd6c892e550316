"""Recommendation, as far as the machinery has to know it.

A row is an interaction of a user with an item. A model sees the items of the user's interactions
strictly before it and answers a list; the target is the item of the row itself.
"""

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
Matrix = NDArray[np.float32]
TASK = "recommendation"
LENGTH = 10  # items of a ranking; a list shows as many of them as the plan says
FOLDS_ALIKE = True  # models of all folds mean the same by a score
EXCLUSIVE = True  # a row has one of the levels, where there are any
LOOKS_BACK, FEW_ROWS = (100, 30), 100_000  # items of the history; of more rows the fewer
NAMES_ENTITY = False  # models may tell entities apart: a number that names one is read as text
HAS_PAST = True  # rows know earlier targets of their own: other columns may be missing
READS_COLUMNS = False  # who and when tell the history, and nothing else is asked for
DATES_IN_PARTS = True  # year, month, day and weekday beside how long ago it was
FAR_VALUES = "which trees do not mind"  # what those of a column do
TREATS_FAR = True  # whether models that add columns up gain where a feature brings them nearer
# Of the plan: versions that were made with others are not compared.
ROW_FACTS = ("exclude_seen", "min_support")
LARGEST = 2**24 - 1  # number of an item: float32 holds no larger whole numbers one by one
# A ranking: the items, the best first, then the score of each.
RANKING = tuple(f"{what}_{place}" for what in ("item", "score") for place in range(1, LENGTH + 1))
OUTPUTS = (
    Output("ranking", "list", "score", "Items, the best first, and their scores.", levels=RANKING),
    Output("items", "items", "decision", "Items to show, the best first.", levels=RANKING[:LENGTH]),
    Output(
        "because",
        "items",
        "extra",
        "For each item to show the item of the history that speaks most for it; -1: none, it is "
        "shown because many take it.",
        levels=RANKING[:LENGTH],
    ),
    Output(
        "known",
        "integer",
        "extra",
        "Items of the history that the model knows; 0: the list holds what many take.",
        cuts=(0.5, 1.5, 2.5, 5.5, 10.5, 20.5),
    ),
)
NAMES = tuple(output.name for output in OUTPUTS)
NAMED = {
    "because": "For each item to show the item of the history that speaks most for it; empty: "
    "none, it is shown because many take it."
}
LABELS_NEEDED = True
IDLE = ("reweigh", "sums_by")  # settings of training that no model here reads
LIMIT = "min_ndcg"  # the answer that limits the primary metric
BY_CHANCE, BY_ENTITY = "random", "group"  # the splits that are not by time
MIN_ROWS = 50
NEEDS = "rows of at least two items"


def outputs(*, named: bool) -> tuple[Output, ...]:
    """Return the outputs of a model, of items that have numbers or, if `named`, texts."""
    if not named:
        return OUTPUTS
    return tuple(
        msgspec.structs.replace(output, kind="names", text=NAMED.get(output.name, output.text))
        if output.kind == "items"
        else output
        for output in OUTPUTS
    )


def context(facts: Facts) -> tuple[Context, ...]:
    """Return what says for whom and when a row is, beside its features: nothing."""
    return ()


def looks_back(facts: Facts) -> int:
    """Return how many items of the history a model sees, the latest."""
    return LOOKS_BACK[facts.n_rows > FEW_ROWS]


def asked(facts: Facts) -> dict[str, Any]:
    """Return what fitters are told of the plan: what may be in a list."""
    return {"exclude": facts.exclude_seen, "support": facts.min_support}


def probed(
    x: Matrix, y: Floats, numbers: int, seed: int
) -> tuple[Matrix, Floats, NDArray[np.intp]]:
    """Return the rows that metrics are measured on, their labels and which rows they are: all."""
    return x, y, np.arange(len(y))


def lacks(y: Floats) -> str:
    """Return what is missing in rows to learn or judge from; "" when nothing is."""
    if len(y) < MIN_ROWS:
        return f"{len(y)} rows: needed are at least {MIN_ROWS}"
    return "" if y.min() < y.max() else "rows of one item: needed are at least two"


def summary(y: Floats) -> dict[str, float]:
    """Return what reports say of the items of rows."""
    return {"items": len(np.unique(y))}


def strata(y: Floats) -> NDArray[np.int8]:
    """Return 0 for each row, shape (rows,): nothing has to be shared out."""
    return np.zeros(len(y), np.int8)


def dealt(
    y: Floats, groups: NDArray[np.object_] | None, folds: int, seed: int
) -> list[tuple[Places, Places]]:
    """Return training and other places of folds, which keep the shares of `strata`."""
    return by_strata(strata(y), groups, folds, seed)


def goals(y: Floats) -> Floats:
    """Return what features learn of the items: a 0, as their numbers say nothing."""
    return np.zeros((len(y), 1))


def level(decision: Mapping[str, float]) -> float:
    """Return how many items a list shows."""
    return decision["shown"]


def fair(facts: Facts) -> tuple[str, str]:
    """Return the rate of decisions that groups should share, and why: none is measured here."""
    return "", ""


def compared(level: float) -> float:
    """Return the level at which all models are compared: that of the champion."""
    return level


def stated(graph: Stored) -> dict[str, float | str]:
    """Return how the graph comes to its lists."""
    if graph.nodes["ranking"].operator != "Cast" or graph.nodes["items"].operator != "Cast":
        raise ValueError("a list is no part of its ranking")
    return {"head": "ranking"}


def listed(scores: Floats, shown: float) -> Floats:
    """Return the items to show, shape (rows, shown), of scores (rows, numbers)."""
    return scores[..., : int(shown)]


def rare(y: Floats) -> NDArray[np.bool_]:
    """Return which rows are rare, shape (rows,): none."""
    return np.zeros(len(y), bool)


def pivot(decision: Mapping[str, float], scores: Floats) -> float:
    """Return the score next to which a decision is the least certain: the lowest."""
    return float(scores.min())


def ordered(scores: Floats) -> Floats:
    """Return a number for each row by which rows are ordered: the score of the first item."""
    return np.asarray(scores[..., LENGTH])


def contrast(
    score: Floats, outputs: tuple[Output, ...]
) -> tuple[dict[str, Any], Callable[[Floats], Floats]]:
    """Return what of a row's score is explained: facts for the report, and it from scores.

    That is the score of its first item, 0 in a ranking without it.
    """
    first = score[0]

    def of_first(scores: Floats) -> Floats:
        here = scores[..., :LENGTH] == first
        return np.asarray(np.where(here, scores[..., LENGTH : 2 * LENGTH], 0.0).sum(axis=-1))

    return {"first": int(first), "of_first": float(score[LENGTH])}, of_first


def watched(scores: Floats) -> dict[str, NDArray[Any]]:
    """Return what of scores is watched for drift, of shape (rows,) each, "prediction" first."""
    return {"prediction": lead(scores)}


def lead(scores: Floats) -> Floats:
    """Return the share that the first item has of the scores of a ranking, shape (rows,).

    Unlike a score it does not grow with the rows that a model learnt from.
    """
    told = np.maximum(scores[..., LENGTH : 2 * LENGTH], 0.0)
    total = told.sum(axis=-1)
    shares = np.divide(told[..., 0], total, out=np.zeros_like(total), where=total > 0)
    return np.asarray(np.round(shares, 4), np.float64)


def rounded(scores: Floats) -> Floats:
    """Return scores in so few digits that steps survive float32 and text."""
    return np.round(scores, 4)


def unit(scores: Floats, *beside: Floats) -> Floats:
    """Return the unit in which two runtimes may differ by little: items not at all."""
    return np.ones_like(scores)
