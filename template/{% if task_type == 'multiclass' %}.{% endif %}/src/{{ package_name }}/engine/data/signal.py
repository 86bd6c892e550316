"""A class of the sample: the highest of K utilities, each with its own effects, with noise.

With Gumbel noise that is a draw from the softmax of the utilities (McFadden 1974), scaled so that
a model that knows them is right in about BEST of the rows that prevalence does not explain.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..errors import ProjectError
from .contract import Column, Contract
from .validation import parse

SCALE = (
    8.0  # of the utilities, before noise: what is hard is that each class has effects of its own
)
MIN_CLASS_ROWS = 60  # rare classes are less rare in a sample, so that it can be split
MIN_CLASS_SHARE = 0.02
STEPS = 60  # of fitting shares

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
    """Return the code of the class of each row, shape (rows,), in about the contract's shares.

    `draw` gives another score (rows,) each time: the effects of one class.
    """
    utility = SCALE * np.column_stack([draw() for _ in target.levels])
    rows = len(utility)
    shares = _shares(target, rows)
    shift = np.log(shares)
    some = utility[:20_000]
    for _ in range(STEPS):
        power = np.exp(some + shift - (some + shift).max(axis=1, keepdims=True))
        shift += np.log(shares / (power / power.sum(axis=1, keepdims=True)).mean(axis=0))
    found = (utility + shift + rng.gumbel(size=utility.shape)).argmax(axis=1)
    for code in np.flatnonzero(np.bincount(found, minlength=len(shares)) == 0):
        found[int(utility[:, code].argmax())] = code  # a tiny sample still has every class
    return found.astype(np.float64)


def outcome(target: Column, latent: Floats) -> pl.Series:
    """Return the target's values as the contract writes them."""
    names = np.array(target.levels, dtype=object)[latent.astype(np.intp)]
    return parse(pl.Series(target.name, names, dtype=pl.String), target)


def arrange(
    target: Column, outcome: pl.Series, latent: Floats, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Return which row each row takes the definition's columns from, to follow `latent`."""
    texts, chosen = outcome.cast(pl.String), np.arange(len(outcome))
    known = texts.is_not_null().to_numpy()
    for code, name in enumerate(target.levels):
        sources = (texts == name).arg_true().to_numpy()
        rows = np.flatnonzero(known & (latent == code))
        if len(rows) and not len(sources):
            raise ProjectError(
                f"sample data make {target.definition!r} never {name}: give its columns "
                "validValues, or observed mean and std"
            )
        chosen[rows] = rng.choice(sources, len(rows)) if len(rows) else rows
    return chosen


def _shares(target: Column, rows: int) -> Floats:
    """Return the share of each class: that of the contract where it says so, but not too few."""
    given = np.array([target.class_shares.get(name, 0.0) for name in target.levels])
    rest, unknown = max(0.0, 1 - given.sum()), given == 0
    given[unknown] = (rest or 0.01) / max(1, unknown.sum())
    least = min(max(MIN_CLASS_SHARE, MIN_CLASS_ROWS / rows), 0.5 / len(given))
    found = np.maximum(given, least)
    return np.asarray(found / found.sum())
