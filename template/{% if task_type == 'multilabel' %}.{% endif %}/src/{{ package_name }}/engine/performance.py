"""How good the model still is: with labels, and as far as can be told without."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .label_sets import packed, unpacked
from .metrics import thresholds
from .settings import Monitoring
from .severity import shifted

Floats = NDArray[np.float64]


def known(scores: Floats, labels: NDArray[Any]) -> dict[str, Any]:
    """Return what the bundle keeps of the rows learnt from, for comparison.

    `scores` have shape (rows, labels), `labels` are codes of shape (rows,).
    """
    came = unpacked(labels, scores.shape[1]).sum(axis=0)
    facts = {
        "shares": (came / len(labels)).tolist(),
        "observed_to_expected": (came / np.maximum(scores.sum(axis=0), 1e-12)).tolist(),
    }
    return facts | {"estimated": estimate(scores, facts)}


def broken(labels: Floats, rng: np.random.Generator) -> tuple[str, Floats]:
    """Return a shift that the alarm must notice, in words, and labels that have it."""
    sets = unpacked(labels)
    moved = np.where((rng.random(len(labels)) < 0.5)[:, None], np.roll(sets, 1, axis=1), sets)
    return "half of the rows those of the next label", packed(moved).astype(np.float64)


def estimate(scores: Floats, known: dict[str, Any]) -> dict[str, float]:
    """Estimate metrics without labels, as they are if the probabilities are calibrated.

    Each row counts as having each label with the weight of its probability: confidence-based
    performance estimation (CBPE of NannyML; Białek et al. 2025, arXiv 2401.08348). It sees that
    inputs shift, not that their meaning does.
    """
    p = np.clip(scores, 1e-12, 1 - 1e-12)
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    right = np.maximum(p, 1 - p)
    found = {
        "log_loss": float(entropy.mean()),
        "brier": float((p * (1 - p)).mean()),
        "hamming_loss": float(1 - right.mean()),
    }
    for name, over in (("micro_f1", None), ("macro_f1", 0)):
        decided = p >= thresholds(name, p)
        hits = np.where(decided, p, 0.0).sum(axis=over)
        both = decided.sum(axis=over) + p.sum(axis=over)
        found[name] = float(np.mean(2 * hits / np.maximum(both, 1e-12)))
    return found


def answered(
    scores: Floats, known: dict[str, Any], level: Floats, settings: Monitoring
) -> dict[str, dict[str, Any]]:
    """Tell what moved among the answers that no label is needed for: drift tells of these."""
    return {}


def moved(
    y: Floats, p: Floats, known: dict[str, Any], settings: Monitoring
) -> dict[str, dict[str, Any]]:
    """Tell concept drift by codes (rows,) and probabilities (rows, labels).

    The rows of a label per expected row moved by more than the shares in `settings` and by more
    than chance, at the label of which that is the least likely. `levels` in `known` are the names.
    """
    from scipy.special import ndtr, ndtri

    labels = p.shape[1]
    observed = unpacked(y, labels).sum(axis=0).astype(np.float64)
    usual = np.asarray(known["observed_to_expected"])
    expected = np.maximum(p.sum(axis=0) * np.where(usual > 0, usual, 1.0), 1e-9)
    variance = (1e-9 + (p * (1 - p)).sum(axis=0)) * (1 + len(y) / known["rows"])  # of both samples
    away = np.abs(observed - expected) / variance**0.5
    place = int(away.argmax())
    # One label of many is far by chance (Bonferroni).
    z = -float(ndtri(min(0.5, labels * float(ndtr(-away[place])))))
    level = shifted(float(np.abs(observed / expected - 1)[place]), z, settings)
    shares = {"observed": observed[place] / len(y), "expected": expected[place] / len(y)}
    return {"labels": {"worst": known["levels"][place], **shares, "level": level}}
