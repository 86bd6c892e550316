"""How good lists still are: by how far their first item leads, without labels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import metrics, task
from .settings import Monitoring

Floats = NDArray[np.float64]
BINS = 10


def known(scores: Floats, labels: NDArray[Any]) -> dict[str, Any]:
    """Return what the bundle keeps of the rows learnt from, for comparison; scores (rows, numbers).

    Their NDCG by tenths of the lead of the first item.
    """
    first = task.lead(scores)
    edges = np.unique(np.quantile(first, np.linspace(0, 1, BINS + 1)[1:-1]))
    code = np.searchsorted(edges, first)
    gained = metrics.discounted(labels, task.listed(scores, metrics.SHOWN))
    rows = np.bincount(code, minlength=len(edges) + 1)
    means = np.bincount(code, gained, len(edges) + 1) / np.maximum(rows, 1)
    return {
        "cuts": edges.tolist(),
        "gained": means.tolist(),
        "estimated": {"ndcg": float(gained.mean())},
    }


def broken(labels: Floats, rng: np.random.Generator) -> tuple[str, Floats]:
    """Return a shift of labels that the alarm must notice: everybody takes what another took."""
    return "everybody takes what somebody else took", rng.permutation(labels)


def estimate(scores: Floats, known: dict[str, Any]) -> dict[str, float]:
    """Return metrics that need no labels: the NDCG that lists of such scores had."""
    code = np.searchsorted(known["cuts"], task.lead(scores))
    return {"ndcg": float(np.array(known["gained"])[code].mean())}


def answered(
    scores: Floats, known: dict[str, Any], level: float, settings: Monitoring
) -> dict[str, dict[str, Any]]:
    """Tell what moved in the answers beside what is estimated: nothing."""
    return {}


def moved(
    y: Floats, p: Floats, known: dict[str, Any], settings: Monitoring
) -> dict[str, dict[str, Any]]:
    """Tell what moved beside the metric, by labels and scores: nothing."""
    return {}
