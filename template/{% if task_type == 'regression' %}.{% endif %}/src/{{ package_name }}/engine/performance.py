"""How good the model still is: with actual values, and as far as can be told without."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import metrics, task
from .model.scorer import Manifest
from .resampling import Interval
from .settings import Monitoring
from .severity import MIN_TEST_ROWS, worst

Floats = NDArray[np.float64]
BINS = 10


def known(scores: Floats, labels: NDArray[Any]) -> dict[str, Any]:
    """Return what the bundle keeps of the rows learnt from, for `compare`; shapes (rows,).

    The mean absolute and the mean squared error by the size of the prediction: knots of bins of
    equal counts.
    """
    parts = np.array_split(np.argsort(scores, kind="stable"), min(BINS, len(scores)))
    error = scores - labels
    by_size = {
        "value": [float(scores[part].mean()) for part in parts],
        "mae": [float(np.abs(error[part]).mean()) for part in parts],
        "mse": [float((error[part] ** 2).mean()) for part in parts],
    }
    return {
        "bias": float(error.mean()),
        "mae": float(np.abs(error).mean()),
        "error_by_size": by_size,
        "estimated": estimate(scores, by_size),
    }


def broken(labels: Floats, rng: np.random.Generator) -> tuple[str, Floats]:
    """Return a shift that the alarm must notice, in words, and actual values that have it."""
    mixed = np.where(rng.random(len(labels)) < 0.5, rng.permutation(labels), labels)
    return "half of the actual values mixed up", mixed


def estimate(scores: Floats, by_size: dict[str, list[float]]) -> dict[str, float]:
    """Estimate errors without actual values, as they are if rows of a size err as before.

    It sees that predictions move to where errors are larger, not that the world changed.
    """
    mae, mse = (np.interp(scores, by_size["value"], by_size[name]) for name in ("mae", "mse"))
    return {"mae": float(mae.mean()), "rmse": float(mse.mean() ** 0.5)}


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

    Actual values are NaN where they are not known yet. With them, warn: the metric is worse by more
    than chance explains (both intervals combined as in Zou & Donner 2008; 1 window in 40); act: by
    1.6 times that (1 in 1,000). Bias: the mean error moved by more than the shares of the mean
    absolute error in `settings` and by more than chance. Without actual values: the estimate, at
    most warn.
    """
    primary = manifest.primary_metric
    estimated = estimate(scores, known["error_by_size"]).get(primary)
    here = ~np.isnan(labels)
    y, p = labels[here], scores[here]
    report: dict[str, Any] = {"metric": primary, "tested": tested._asdict()}
    report |= {"estimated": estimated, "labelled_rows": len(y)}
    sign = metrics.sign(primary)
    allowed = tested.value - tested.low if sign > 0 else tested.high - tested.value
    if len(y) < MIN_TEST_ROWS or y.min() == y.max():
        before = known["estimated"].get(primary)
        worse = estimated is not None and sign * (before - estimated) > allowed
        level = "warn" if worse else "ok"
        return report | {"kind": "estimated", "value": estimated, "level": level}
    found = metrics.bootstrap(y, p, task.level(manifest.decision), [primary], draws=draws, seed=0)
    now = found[primary]
    spread = now.high - now.value if sign > 0 else now.value - now.low
    drop = sign * (tested.value - now.value) / max(1e-12, float(np.hypot(spread, allowed)))
    error = p - y
    moved = abs(float(error.mean()) - known["bias"])
    z = moved / max(1e-12, float(error.std()) * (1 / len(y) + 1 / known["rows"]) ** 0.5)
    bias: dict[str, Any] = {"now": float(error.mean()), "before": known["bias"], "level": "ok"}
    for level, limit, z_limit in (("warn", settings.warn, 2.6), ("act", settings.act, 3.3)):
        if moved > limit * known["mae"] and z > z_limit:
            bias["level"] = level
    level = worst(["act" if drop > 1.6 else "warn" if drop > 1 else "ok", bias["level"]])
    return report | {"kind": "realised", **now._asdict(), "bias": bias, "level": level}
