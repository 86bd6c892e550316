"""How good the model still is: with labels, and as far as can be told without."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import metrics
from .settings import Monitoring
from .severity import shifted

Floats = NDArray[np.float64]


def known(probability: Floats, labels: NDArray[Any]) -> dict[str, Any]:
    """Return what the bundle keeps of the rows learnt from, for comparison; shapes (rows,)."""
    return {
        "observed_to_expected": float(labels.sum() / max(probability.sum(), 1e-12)),
        "estimated": estimate(probability, {}),
    }


def broken(labels: Floats, rng: np.random.Generator) -> tuple[str, Floats]:
    """Return a shift that the alarm must notice, in words, and labels that have it."""
    flipped = np.where(rng.random(len(labels)) < 0.5, 1 - labels, labels)
    return "half of the labels flipped", flipped


def estimate(probability: Floats, known: dict[str, Any]) -> dict[str, float]:
    """Estimate metrics without labels, as they are if the probabilities are calibrated.

    Each row counts as a positive with weight p and as a negative with weight 1 - p:
    confidence-based performance estimation (CBPE of NannyML; Białek et al. 2025, arXiv
    2401.08348). It sees that inputs shift, not that their meaning does.
    """
    y, p = np.repeat([1.0, 0.0], len(probability)), np.tile(probability, 2)
    weights = np.concatenate([probability, 1 - probability])
    return {name: metrics.score(name, y, p, weights=weights) for name in ("roc_auc", "pr_auc")}


def answered(
    scores: Floats, known: dict[str, Any], level: float, settings: Monitoring
) -> dict[str, dict[str, Any]]:
    """Tell how answers moved, by scores of shape (rows,): nothing that drift does not tell."""
    return {}


def moved(
    y: Floats, p: Floats, known: dict[str, Any], settings: Monitoring
) -> dict[str, dict[str, Any]]:
    """Tell concept drift by labels and probabilities, shapes (rows,).

    The positives per expected positive moved by more than the shares in `settings` and by more
    than chance.
    """
    observed, expected = float(y.sum()), max(1e-9, float(p.sum()) * known["observed_to_expected"])
    moved = abs(observed / expected - 1)
    variance = (1e-9 + (p * (1 - p)).sum()) * (1 + len(y) / known["rows"])  # of both samples
    level = shifted(moved, abs(observed - expected) / variance**0.5, settings)
    rates = {"observed": observed / len(y), "expected": expected / len(y)}
    return {"calibration": {**rates, "level": level}}
