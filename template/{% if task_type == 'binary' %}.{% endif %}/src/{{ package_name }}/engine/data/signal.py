"""A binary outcome of the sample: log-odds with noise.

The noise keeps the best possible ROC AUC at about BEST.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..errors import ProjectError
from .contract import Column, Contract
from .validation import parse

BEST = 0.87
# Rare events are less rare in a sample, so that it can be split and its test says something.
MIN_CLASS_ROWS = 60
MIN_CLASS_SHARE = 0.05

Floats = NDArray[np.float64]


def shaped(
    contract: Contract,
    data: dict[str, pl.Series],
    rng: np.random.Generator,
    told: Mapping[str, Any],
) -> dict[str, pl.Series]:
    """Return the columns as the outcome asks for them: as they are."""
    return data


def latent(target: Column, draw: Callable[[], Floats], rng: np.random.Generator) -> Floats:
    """Return log-odds plus noise, above 0 for as many rows as the contract's share of positives.

    `draw` gives a score (rows,), scaled to an ROC AUC of BEST, and shifted to that share.
    """
    score = draw()
    few, share = np.sort(score[:20_000]), _share(target, len(score))

    def shift(scale: float) -> float:
        return _bisect(lambda a: float(_chance(a + scale * few).mean()), share, -60, 60)

    scale = _bisect(lambda scale: _best_auc(_chance(shift(scale) + scale * few)), BEST, 0, 10)
    odds: Floats = shift(scale) + scale * score
    drawn = odds + rng.logistic(size=len(score))
    if (drawn > 0).all() or not (drawn > 0).any():  # a tiny sample still has both classes
        drawn[np.argmin(odds) if drawn[0] > 0 else np.argmax(odds)] *= -1
    return drawn


def outcome(target: Column, latent: Floats) -> pl.Series:
    """Return the target's values as the contract writes them."""
    values = {"boolean": ("true", "false"), "integer": ("1", "0")}.get(target.kind, target.levels)
    other = next(value for value in values if value != target.positive)
    text = pl.Series(
        target.name, np.where(latent > 0, str(target.positive), other), dtype=pl.String
    )
    return parse(text, target)


def arrange(
    target: Column, outcome: pl.Series, latent: Floats, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Return which row each row takes the definition's columns from, to follow `latent`."""
    outcome = outcome.cast(pl.Boolean)
    hits, others = outcome.arg_true().to_numpy(), (~outcome).arg_true().to_numpy()
    if not len(hits) or not len(others):
        raise ProjectError(
            f"sample data make {target.definition!r} never {'true' if len(others) else 'false'}: "
            "give its columns validValues, or observed mean and std"
        )
    chosen = np.arange(len(outcome))
    known = np.flatnonzero(outcome.is_not_null().to_numpy())
    order = known[np.argsort(-latent[known], kind="stable")]
    count = min(max(round(_share(target, len(outcome)) * len(order)), 1), len(order) - 1)
    chosen[order[:count]] = rng.choice(hits, count)
    chosen[order[count:]] = rng.choice(others, len(order) - count)
    return chosen


def _share(target: Column, rows: int) -> float:
    few = max(min(MIN_CLASS_ROWS, rows // 4) / rows, MIN_CLASS_SHARE)
    return min(max(target.positive_share or 0.3, few), 1 - few)


def _best_auc(chance: Floats) -> float:
    """Return the ROC AUC of knowing the true chances, which are in ascending order."""
    negatives = np.cumsum(1 - chance) - (1 - chance) / 2
    return float(chance @ negatives / (chance.sum() * (1 - chance).sum()))


def _chance(log_odds: Floats) -> Floats:
    return 1 / (1 + np.exp(-log_odds))


def _bisect(rising: Callable[[float], float], goal: float, low: float, high: float) -> float:
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < goal else (low, middle)
    return (low + high) / 2
