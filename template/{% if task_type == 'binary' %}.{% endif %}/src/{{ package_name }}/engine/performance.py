"""How good the model still is: with labels, and as far as can be told without."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import metrics, task
from .model.scorer import Manifest
from .resampling import Interval
from .settings import Monitoring
from .severity import MIN_TEST_ROWS, worst

Floats = NDArray[np.float64]


def known(probability: Floats, labels: NDArray[Any]) -> dict[str, Any]:
    """Return what the bundle keeps of the rows learnt from, for `compare`; shapes (rows,)."""
    return {
        "observed_to_expected": float(labels.sum() / max(probability.sum(), 1e-12)),
        "estimated": estimate(probability),
    }


def broken(labels: Floats, rng: np.random.Generator) -> tuple[str, Floats]:
    """Return a shift that the alarm must notice, in words, and labels that have it."""
    flipped = np.where(rng.random(len(labels)) < 0.5, 1 - labels, labels)
    return "half of the labels flipped", flipped


def estimate(probability: Floats) -> dict[str, float]:
    """Estimate metrics without labels, as they are if the probabilities are calibrated.

    Each row counts as a positive with weight p and as a negative with weight 1 - p:
    confidence-based performance estimation (CBPE of NannyML; Białek et al. 2025, arXiv
    2401.08348). It sees that inputs shift, not that their meaning does.
    """
    y, p = np.repeat([1.0, 0.0], len(probability)), np.tile(probability, 2)
    weights = np.concatenate([probability, 1 - probability])
    return {name: metrics.score(name, y, p, weights=weights) for name in ("roc_auc", "pr_auc")}


def compare(
    scores: Floats,
    labels: Floats,
    known: dict[str, Any],
    manifest: Manifest,
    tested: Interval,
    settings: Monitoring,
    draws: int = 200,
) -> dict[str, Any]:
    """Compare the model on new rows with `tested`, its primary metric on the test set.

    Labels are NaN where they are not known yet.

    With labels, warn: the metric is lower by more than chance explains (both intervals combined as
    in Zou & Donner 2008; 1 window in 40); act: by 1.6 times that (1 in 1,000). Concept drift: the
    positives per expected positive moved by more than the shares in `settings` and by more than
    chance. Without labels: the estimate, at most warn.
    """
    primary = manifest.primary_metric
    estimated = estimate(scores)[primary]
    here = ~np.isnan(labels)
    y, p = labels[here], scores[here]
    report: dict[str, Any] = {"metric": primary, "tested": tested._asdict()}
    report |= {"estimated": estimated, "labelled_rows": len(y), "positives": int(y.sum())}
    if len(y) < MIN_TEST_ROWS or y.min() == y.max():
        fallen = known["estimated"][primary] - estimated > tested.value - tested.low
        level = "warn" if fallen else "ok"
        return report | {"kind": "estimated", "value": estimated, "level": level}
    found = metrics.bootstrap(y, p, task.level(manifest.decision), [primary], draws=draws, seed=0)[
        primary
    ]
    chance = max(1e-9, np.hypot(found.high - found.value, tested.value - tested.low))
    drop = (tested.value - found.value) / chance
    observed, expected = float(y.sum()), max(1e-9, float(p.sum()) * known["observed_to_expected"])
    moved = abs(observed / expected - 1)
    variance = (1e-9 + (p * (1 - p)).sum()) * (1 + len(y) / known["rows"])  # of both samples
    z = abs(observed - expected) / variance**0.5
    rates = {"observed": observed / len(y), "expected": expected / len(y)}
    calibration: dict[str, Any] = {**rates, "level": "ok"}
    for level, limit, z_limit in (("warn", settings.warn, 2.6), ("act", settings.act, 3.3)):
        if moved > limit and z > z_limit:
            calibration["level"] = level
    level = worst(["act" if drop > 1.6 else "warn" if drop > 1 else "ok", calibration["level"]])
    report |= {"kind": "realised", **found._asdict(), "calibration": calibration}
    return report | {"level": level}
