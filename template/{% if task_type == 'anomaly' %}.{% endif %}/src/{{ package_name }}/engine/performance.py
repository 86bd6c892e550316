"""How good the detector still is: with labels, and as far as can be told without."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .settings import Monitoring
from .severity import shifted

Floats = NDArray[np.float64]
LEVELS = 1 - np.geomspace(0.5, 1e-4, 60)


def known(scores: Floats, labels: NDArray[Any]) -> dict[str, Any]:
    """Return what the bundle keeps of the rows learnt from, for comparison; shapes (rows,).

    The share of them whose score is at least each of some levels.
    """
    above = [float((scores >= level).mean()) for level in LEVELS]
    return {"levels": LEVELS.tolist(), "above": above, "estimated": {}}


def broken(labels: Floats, rng: np.random.Generator) -> tuple[str, Floats]:
    """Return a shift of labels that the alarm must notice: none, as there may be no labels."""
    return "", labels


def estimate(scores: Floats, known: dict[str, Any]) -> dict[str, float]:
    """Estimate metrics without labels: scores say what is unusual, and nothing of what is right."""
    return {}


def answered(
    scores: Floats, known: dict[str, Any], level: float, settings: Monitoring
) -> dict[str, dict[str, Any]]:
    """Tell how the share of alerts moved, by scores of shape (rows,) and without labels.

    It moved by more than the shares in `settings` and by more than chance: more alerts than people
    can check, or hardly any.
    """
    now = float((scores >= level).mean())
    before = float(np.interp(level, known["levels"], known["above"]))
    variance = max(before * (1 - before), 1e-6) * (1 / len(scores) + 1 / known["rows"])
    away = abs(now - before)
    found = shifted(away / max(before, 1e-6), away / variance**0.5, settings)
    return {"alerts": {"now": now, "before": before, "level": found}}


def moved(
    y: Floats, p: Floats, known: dict[str, Any], settings: Monitoring
) -> dict[str, dict[str, Any]]:
    """Tell what moved beside the metric, by labels and scores: nothing that is not told without."""
    return {}
