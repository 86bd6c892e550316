"""How good the model still is: with labels, and as far as can be told without."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .settings import Monitoring
from .severity import shifted

Floats = NDArray[np.float64]


def known(scores: Floats, labels: NDArray[Any]) -> dict[str, Any]:
    """Return what the bundle keeps of the rows learnt from, for comparison.

    `scores` have shape (rows, classes), `labels` are codes of shape (rows,).
    """
    came = np.bincount(labels.astype(np.intp), minlength=scores.shape[1])
    facts = {
        "shares": (came / len(labels)).tolist(),
        "observed_to_expected": (came / np.maximum(scores.sum(axis=0), 1e-12)).tolist(),
    }
    return facts | {"estimated": estimate(scores, facts)}


def broken(labels: Floats, rng: np.random.Generator) -> tuple[str, Floats]:
    """Return a shift that the alarm must notice, in words, and labels that have it."""
    classes = np.unique(labels)
    following = classes[(np.searchsorted(classes, labels) + 1) % len(classes)]
    moved = np.where(rng.random(len(labels)) < 0.5, following, labels)
    return "half of the labels those of the next class", moved


def estimate(scores: Floats, known: dict[str, Any]) -> dict[str, float]:
    """Estimate metrics without labels, as they are if the probabilities are calibrated.

    Each row counts as each class with the weight of its probability: confidence-based performance
    estimation (CBPE of NannyML; Białek et al. 2025, arXiv 2401.08348). It sees that inputs shift,
    not that their meaning does.
    """
    best = scores.argmax(axis=1)
    classes = scores.shape[1]
    hits = np.bincount(best, scores.max(axis=1), classes)
    both = scores.sum(axis=0) + np.bincount(best, minlength=classes)
    entropy = -(scores * np.log(np.clip(scores, 1e-12, 1.0))).sum(axis=1)
    recall = hits / np.maximum(scores.sum(axis=0), 1e-12)
    return {
        "log_loss": float(entropy.mean()),
        "brier": float(1 - (scores**2).sum(axis=1).mean()),
        "accuracy": float(scores.max(axis=1).mean()),
        "balanced_accuracy": float(recall.mean()),
        "macro_f1": float((2 * hits / np.maximum(both, 1e-12)).mean()),
    }


def answered(
    scores: Floats, known: dict[str, Any], level: float, settings: Monitoring
) -> dict[str, dict[str, Any]]:
    """Tell what moved among the answers that no label is needed for: drift tells of these."""
    return {}


def moved(
    y: Floats, p: Floats, known: dict[str, Any], settings: Monitoring
) -> dict[str, dict[str, Any]]:
    """Tell concept drift by codes (rows,) and probabilities (rows, classes).

    The rows of a class per expected row moved by more than the shares in `settings` and by more
    than chance, at the class of which that is the least likely. `levels` in `known` are the names.
    """
    from scipy.special import ndtr, ndtri

    classes = p.shape[1]
    observed = np.bincount(y.astype(np.intp), minlength=classes).astype(np.float64)
    usual = np.asarray(known["observed_to_expected"])
    expected = np.maximum(p.sum(axis=0) * np.where(usual > 0, usual, 1.0), 1e-9)
    variance = (1e-9 + (p * (1 - p)).sum(axis=0)) * (1 + len(y) / known["rows"])  # of both samples
    away = np.abs(observed - expected) / variance**0.5
    place = int(away.argmax())
    # One class of many is far by chance (Bonferroni).
    z = -float(ndtri(min(0.5, classes * float(ndtr(-away[place])))))
    level = shifted(float(np.abs(observed / expected - 1)[place]), z, settings)
    shares = {"observed": observed[place] / len(y), "expected": expected[place] / len(y)}
    return {"shares": {"worst": known["levels"][place], **shares, "level": level}}
