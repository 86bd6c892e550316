"""A number of the sample: right-skewed above a minimum, with noise that grows with its size.

A model that knows the signal reaches an R² of about SIGNAL.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..errors import ProjectError
from .contract import Column
from .spread import scaled
from .validation import DTYPES

SIGNAL = 0.72
GROWTH = 0.3  # each standard deviation of the signal makes the noise larger by this share

Floats = NDArray[np.float64]


def latent(target: Column, score: Floats, rng: np.random.Generator) -> Floats:
    """Return signal plus noise (rows,), of mean 0 and spread 1 as `score` is."""
    growth = np.exp(GROWTH * score)
    noise = rng.standard_normal(len(score)) * growth / np.sqrt(np.square(growth).mean())
    drawn: Floats = np.sqrt(SIGNAL) * score + np.sqrt(1 - SIGNAL) * noise
    return drawn


def outcome(target: Column, latent: Floats) -> pl.Series:
    """Return the target's values as the contract describes them."""
    return pl.Series(target.name, scaled(target, latent)).cast(DTYPES[target.kind])


def arrange(
    target: Column, outcome: pl.Series, latent: Floats, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Return which row each row takes the definition's columns from, to follow `latent`."""
    known = np.flatnonzero(outcome.is_not_null().to_numpy())
    if not len(known) or outcome.drop_nulls().n_unique() == 1:
        raise ProjectError(
            f"sample data make {target.definition!r} the same in every row: give its columns "
            "observed mean and std"
        )
    chosen = np.arange(len(outcome))
    ascending = known[np.argsort(outcome.to_numpy()[known], kind="stable")]
    chosen[known[np.argsort(latent[known], kind="stable")]] = ascending
    return chosen
