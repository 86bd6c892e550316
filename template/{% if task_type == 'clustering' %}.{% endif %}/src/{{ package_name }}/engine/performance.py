"""How good segments still are: as clear as before, and as near to their rows, without labels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import task
from .settings import Monitoring
from .severity import shifted

Floats = NDArray[np.float64]
LEVELS = np.linspace(0, 3, 61)


def known(scores: Floats, labels: NDArray[Any]) -> dict[str, Any]:
    """Return what the bundle keeps of the rows learnt from, for comparison; scores (rows, 4).

    The share of them that are farther than each of some distances, in radii.
    """
    beyond = [float((scores[:, task.REACH] > at).mean()) for at in LEVELS]
    return {
        "levels": LEVELS.tolist(),
        "beyond": beyond,
        "estimated": {"silhouette": float(task.clearness(scores).mean())},
    }


def broken(labels: Floats, rng: np.random.Generator) -> tuple[str, Floats]:
    """Return a shift of labels that the alarm must notice: none, as nothing is learnt from them."""
    return "", labels


def estimate(scores: Floats, known: dict[str, Any]) -> dict[str, float]:
    """Return metrics that need no labels: how clearly rows belong to their segments."""
    return {"silhouette": float(task.clearness(scores).mean())}


def answered(
    scores: Floats, known: dict[str, Any], level: float, settings: Monitoring
) -> dict[str, dict[str, Any]]:
    """Tell how the share of rows that are far from all segments moved, by scores (rows, 4).

    It moved by more than the shares in `settings` and by more than chance: only more is worse.
    """
    now = float((scores[:, task.REACH] > level).mean())
    before = float(np.interp(level, known["levels"], known["beyond"]))
    variance = max(before * (1 - before), 1e-6) * (1 / len(scores) + 1 / known["rows"])
    more = max(now - before, 0.0)
    found = shifted(more / max(before, 1e-6), more / variance**0.5, settings)
    return {"outside": {"now": now, "before": before, "level": found}}


def moved(
    y: Floats, p: Floats, known: dict[str, Any], settings: Monitoring
) -> dict[str, dict[str, Any]]:
    """Tell what moved beside the metric, by labels and scores: nothing that is not told without."""
    return {}
