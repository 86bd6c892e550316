"""A number of the sample: right-skewed above a minimum, so that its noise grows with its size.

A model that knows the signal reaches an R² of about 0.8.
"""

from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..errors import ProjectError
from .contract import Column, Contract
from .spread import scaled
from .validation import DTYPES

SIGNAL = 0.88  # share of the signal in the variance before it is skewed

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
    """Return signal plus noise (rows,), standard normal: the signal in the order of a score."""
    rows = len(score := draw())
    steps = [NormalDist().inv_cdf((place + 0.5) / rows) for place in range(rows)]
    signal = np.array(steps)[np.argsort(np.argsort(score, kind="stable"), kind="stable")]
    drawn: Floats = np.sqrt(SIGNAL) * signal + np.sqrt(1 - SIGNAL) * rng.standard_normal(rows)
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
