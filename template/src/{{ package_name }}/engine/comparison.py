"""Compare a model on new rows with its test: by their labels, or by an estimate without."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import metrics, performance, resampling, task
from .model.output import levels
from .model.scorer import Manifest
from .resampling import Interval
from .settings import Monitoring
from .severity import MIN_TEST_ROWS, worst

Floats = NDArray[np.float64]


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

    Labels are NaN where they are not known yet. With them, warn: the metric is worse by more than
    chance explains (both intervals combined as in Zou & Donner 2008; 1 window in 40); act: by 1.6
    times that (1 in 1,000). What else moved is told by `performance.moved`, and without labels by
    `performance.answered`. Without labels: the estimate, where the metric has one, at most warn;
    of fewer than MIN_TEST_ROWS rows nothing is said.
    """
    primary = manifest.primary_metric
    estimated = performance.estimate(scores, known).get(primary)
    here = ~np.isnan(labels)
    y, p = labels[here], scores[here]
    report: dict[str, Any] = {"metric": primary, "tested": tested._asdict()}
    report |= {"estimated": estimated, "labelled_rows": len(y)}
    sign = metrics.sign(primary)
    allowed = tested.value - tested.low if sign > 0 else tested.high - tested.value
    at = task.level(manifest.decision)
    answered = performance.answered(scores, known, at, settings)
    enough = len(y) >= MIN_TEST_ROWS and y.min() < y.max()
    now = (
        resampling.bootstrap(y, p, at, [primary], draws=draws, seed=0)[primary] if enough else None
    )
    if now is None or np.isnan(now.value):  # labels tell nothing of rows that were made to measure
        before = known["estimated"].get(primary)
        worse = estimated is not None and sign * (before - estimated) > allowed
        level = worst(["warn" if worse else "ok", *(item["level"] for item in answered.values())])
        level = level if len(scores) >= MIN_TEST_ROWS else "too_few_rows"
        return report | {"kind": "estimated", "value": estimated, **answered, "level": level}
    spread = now.high - now.value if sign > 0 else now.value - now.low
    drop = sign * (tested.value - now.value) / max(1e-12, float(np.hypot(spread, allowed)))
    named = known | {"levels": levels(manifest.outputs)}
    moved = answered | performance.moved(y, p, named, settings)
    found = ["act" if drop > 1.6 else "warn" if drop > 1 else "ok"]
    level = worst([*found, *(item["level"] for item in moved.values())])
    return report | {"kind": "realised", **now._asdict(), **moved, "level": level}
