"""Labels of the sample: what they share draws them together, effects of their own tell them apart.

Each label is set where its utility is high: a sum of effects of its own, of a few factors that
several labels share, some of which no column shows, and of noise. So labels depend on each other,
through the columns and beyond them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..errors import ProjectError
from ..label_sets import MOST_LABELS, packed, unpacked
from .contract import Column, Contract
from .target_fields import NOTHING
from .validation import parse

OWN, SHARED, HIDDEN, NOISE = 1.0, 1.0, 0.25, 0.35  # weights in a utility, whose parts have spread 1
FACTORS = 2  # that columns show and labels share
SHARE = 0.2  # of rows that have a label of which the contract says nothing
MIN_LABEL_ROWS = 60  # rare labels are less rare in a sample, so that it can be split

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
    """Return the code of the labels of each row, shape (rows,), in about the contract's shares.

    `draw` gives another score (rows,) each time: a factor, or the effects of one label alone.
    """
    factors = np.column_stack([draw() for _ in range(FACTORS)])
    rows, labels = len(factors), len(target.labels)
    hidden, loads = rng.standard_normal(rows), rng.normal(0, 1, (FACTORS, labels))
    utility = np.column_stack([OWN * draw() for _ in range(labels)])
    utility += SHARED * factors @ (loads / np.sqrt((loads**2).sum(axis=0)))
    utility += HIDDEN * hidden[:, None] + NOISE * rng.standard_normal((rows, labels))
    cuts = [np.quantile(utility[:, k], 1 - share) for k, share in enumerate(_shares(target, rows))]
    return packed(utility > np.array(cuts)).astype(np.float64)


def outcome(target: Column, latent: Floats) -> pl.Series:
    """Return the target's values as the contract writes them."""
    different = np.unique(latent)
    sets = unpacked(different, len(target.labels))
    names = np.array(target.labels, dtype=object)
    texts = {
        code: ", ".join(names[row]) or NOTHING for code, row in zip(different, sets, strict=True)
    }
    written = [texts[code] for code in latent]
    return parse(pl.Series(target.name, written, dtype=pl.String), target)


def arrange(
    target: Column, outcome: pl.Series, latent: Floats, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Return which row each row takes the definition's columns from, to follow `latent`.

    Where no row has the very set of labels, one that differs in the fewest.
    """
    from .target import codes_of

    codes = codes_of(outcome, target.labels)
    known = codes.is_not_null().to_numpy()
    sources = np.flatnonzero(known)
    if not len(sources):
        raise ProjectError(f"sample data make {target.definition!r} never a list of labels")
    there = unpacked(codes.drop_nulls().to_numpy(), MOST_LABELS)
    order = rng.permutation(len(sources))
    different, places = np.unique(latent, return_inverse=True)
    wanted = unpacked(different, MOST_LABELS)
    nearest: dict[int, NDArray[np.intp]] = {}
    for place, row in enumerate(wanted):
        away = (there != row).sum(axis=1)
        nearest[place] = sources[order[away[order] == away.min()]]
    chosen = np.arange(len(outcome))
    for place, rows in nearest.items():
        these = np.flatnonzero(known & (places == place))
        chosen[these] = rng.choice(rows, len(these))
    return chosen


def _shares(target: Column, rows: int) -> Floats:
    """Return the share of each label: that of the contract where it says so, but not too few."""
    given = np.array([target.label_shares.get(name, SHARE) for name in target.labels])
    least = min(0.5, MIN_LABEL_ROWS / rows)
    return np.asarray(np.clip(given, least, max(least, 1 - least)))
