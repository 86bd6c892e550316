"""Clustering, as far as the machinery has to know it."""

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
TASK = "clustering"
# Columns of a score: code of the cluster, distance to its center and to the next one, and the
# former over the radius of the cluster.
CLUSTER, OWN, NEXT, REACH = range(4)
POSITION = ("cluster", "distance", "next", "reach")
OUTPUTS = (
    Output(
        "position",
        "numbers",
        "score",
        "Code of the segment, distance to its center and to the next one, distance in radii.",
        levels=POSITION,
    ),
    Output("cluster", "integer", "decision", "Code of the segment; 0 is the largest."),
    Output("name", "text", "decision", "Name of the segment, by what is unlike the average in it."),
    Output(
        "distance",
        "number",
        "extra",
        "Distance to the center of the segment; within 1 lie the rows that are usual in it.",
        cuts=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0),
    ),
    Output("outside", "boolean", "decision", "Whether the row is far from all segments: noise."),
)
NAMES = tuple(output.name for output in OUTPUTS)
LABELS_NEEDED = False  # today's segments are compared with, and nothing is learnt from them
FOLDS_ALIKE = False  # each fold numbers its segments anew
EXCLUSIVE = True  # a row has one of the levels, where there are any
NAMES_ENTITY = False  # models may tell entities apart: a number that names one is read as text
HAS_PAST = False  # rows know earlier targets of their own: other columns may be missing
READS_COLUMNS = True  # of a row, beside who and when
DATES_IN_PARTS = False  # how long ago says it once; year and month would count it again
FAR_VALUES = "which pull centres to them"  # what those of a column do
TREATS_FAR = True  # whether models gain where a feature brings them nearer
ROW_FACTS: tuple[str, ...] = ()  # of the plan: with others versions are not compared
IDLE = ("reweigh", "sums_by")  # settings of training that no model here reads
LIMIT = "min_silhouette"  # the answer that limits the primary metric
BY_CHANCE, BY_ENTITY = "random", "group"  # the splits that are not by time
MIN_ROWS = 10
NEEDS = "rows of at least two segments"


def context(facts: Facts) -> tuple[Context, ...]:
    """Return what says for whom and when a row is, beside its features: nothing."""
    return ()


def looks_back(facts: Facts) -> int:
    """Return how many earlier targets of the entity every model sees, one by one: none."""
    return 0


def asked(facts: Facts) -> dict[str, Any]:
    """Return what fitters are told of the plan: how many segments, and how stable."""
    return {
        "least": facts.segments_least,
        "most": facts.segments_most,
        "floor": facts.min_stability,
    }


def probed(
    x: Matrix, y: Floats, numbers: int, seed: int
) -> tuple[Matrix, Floats, NDArray[np.intp]]:
    """Return the rows that metrics are measured on, their labels and which rows they are.

    The rows themselves: how clear clusters are needs no labels.
    """
    return x, y, np.arange(len(y))


def lacks(y: Floats) -> str:
    """Return what is missing in rows to learn or judge from; "" when nothing is."""
    return "" if len(y) >= MIN_ROWS else f"{len(y)} rows: needed are at least {MIN_ROWS}"


def summary(y: Floats) -> dict[str, float]:
    """Return what reports say of the labels of rows."""
    return {"labelled": int((~np.isnan(y)).sum())}


def strata(y: Floats) -> NDArray[np.int8]:
    """Return 0 for each row, shape (rows,): nothing has to be shared out."""
    return np.zeros(len(y), np.int8)


def dealt(
    y: Floats, groups: NDArray[np.object_] | None, folds: int, seed: int
) -> list[tuple[Places, Places]]:
    """Return training and other places of folds, which keep the shares of `strata`."""
    return by_strata(strata(y), groups, folds, seed)


def goals(y: Floats) -> Floats | None:
    """Return what features learn of today's segments: nothing, as new ones would follow them."""
    return None


def level(decision: Mapping[str, float]) -> float:
    """Return the distance in radii beyond which rows are outside."""
    return decision["cut"]


def fair(facts: Facts) -> tuple[str, str]:
    """Return the rate of decisions that groups should share, and why: none is measured here."""
    return "", ""


def compared(level: float) -> float:
    """Return the level at which all models are compared: that of the champion."""
    return level


def stated(graph: Stored) -> dict[str, float | str]:
    """Return the graph's own cut (float32) and how it comes to its score."""
    compared = graph.nodes[graph.nodes["outside"].inputs[0]]
    if compared.operator != "Greater" or compared.inputs[0] != "distance":
        raise ValueError("outside is no comparison of its distance")
    return {"cut": graph.number(compared.inputs[1]), "head": "position"}


def clearness(scores: Floats) -> Floats:
    """Return how clearly rows belong to their cluster, -1 to 1, from scores (rows, 4).

    The silhouette to centers (Vendramin, Campello & Hruschka 2010): the distance to the next center
    less that to the own one, over the larger of both. 0 where there is one cluster.
    """
    own, other = scores[..., OWN], scores[..., NEXT]
    larger = np.maximum(own, other)
    return np.divide(other - own, larger, out=np.zeros_like(larger), where=larger > 0)


def codes(scores: Floats) -> NDArray[np.intp]:
    """Return the cluster of each row, shape (rows,), from scores (rows, 4)."""
    return np.asarray(scores[:, CLUSTER], np.intp)


def rare(y: Floats) -> NDArray[np.bool_]:
    """Return which rows are rare, shape (rows,): none."""
    return np.zeros(len(y), bool)


def pivot(decision: Mapping[str, float], scores: Floats) -> float:
    """Return the clearness next to which a decision is the least certain."""
    return 0.0


def ordered(scores: Floats) -> Floats:
    """Return a number for each row by which rows are ordered to find examples."""
    return clearness(scores)


def contrast(
    score: Floats, outputs: tuple[Output, ...]
) -> tuple[dict[str, Any], Callable[[Floats], Floats]]:
    """Return what of a row's score is explained: facts for the report, and it from scores."""
    found = float(clearness(score))
    on = f"how clearly it belongs there, {found:.3f}, of 0 between two segments to 1 at a center"
    return {"clearness": found, "on": on}, clearness


def watched(scores: Floats) -> dict[str, NDArray[Any]]:
    """Return what of scores is watched for drift, of shape (rows,) each, "prediction" first."""
    return {
        "prediction": codes(scores).astype(np.str_),
        "distance to the segment": np.round(scores[:, REACH], 4),
    }


def rounded(scores: Floats) -> Floats:
    """Return scores in so few digits that steps survive float32 and text."""
    return np.round(scores, 4)


def unit(scores: Floats, *beside: Floats) -> Floats:
    """Return the unit in which two runtimes may differ by little: that of a distance grows."""
    return np.maximum(1.0, np.abs(scores))
