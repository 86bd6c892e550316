"""How good the model still is: with actual values, and as far as can be told without."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .settings import Monitoring
from .severity import shifted

Floats = NDArray[np.float64]
BINS = 10


def known(scores: Floats, labels: NDArray[Any]) -> dict[str, Any]:
    """Return what the bundle keeps of the rows learnt from, for comparison; shapes (rows,).

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
    facts = {
        "bias": float(error.mean()),
        "mae": float(np.abs(error).mean()),
        "error_by_size": by_size,
    }
    return facts | {"estimated": estimate(scores, facts)}


def broken(labels: Floats, rng: np.random.Generator) -> tuple[str, Floats]:
    """Return a shift that the alarm must notice, in words, and actual values that have it."""
    mixed = np.where(rng.random(len(labels)) < 0.5, rng.permutation(labels), labels)
    return "half of the actual values mixed up", mixed


def estimate(scores: Floats, known: dict[str, Any]) -> dict[str, float]:
    """Estimate errors without actual values, as they are if rows of a size err as before.

    It sees that predictions move to where errors are larger, not that the world changed.
    """
    by_size = known["error_by_size"]
    mae, mse = (np.interp(scores, by_size["value"], by_size[name]) for name in ("mae", "mse"))
    return {"mae": float(mae.mean()), "rmse": float(mse.mean() ** 0.5)}


def answered(
    scores: Floats, known: dict[str, Any], level: float, settings: Monitoring
) -> dict[str, dict[str, Any]]:
    """Tell how answers moved, by scores of shape (rows,): nothing that drift does not tell."""
    return {}


def moved(
    y: Floats, p: Floats, known: dict[str, Any], settings: Monitoring
) -> dict[str, dict[str, Any]]:
    """Tell bias by actual and predicted values, shapes (rows,).

    The mean error moved by more than the shares of the mean absolute error in `settings` and by
    more than chance.
    """
    error = p - y
    moved = abs(float(error.mean()) - known["bias"])
    z = moved / max(1e-12, float(error.std()) * (1 / len(y) + 1 / known["rows"]) ** 0.5)
    level = shifted(moved / max(1e-300, known["mae"]), z, settings)
    return {"bias": {"now": float(error.mean()), "before": known["bias"], "level": level}}
