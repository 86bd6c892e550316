"""Anomalies of the sample: SHARE of the rows, half of them moved, half against a correlation.

Numbers of the sample follow the first one, so that there is a correlation that a row can break:
each of its values is usual then, and their combination is not.
"""

from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .contract import Column, Contract
from .validation import parse

SHARE = 0.02
MOVED, BROKEN = 1, 2
CORRELATION = 0.9
FARTHEST = 8.0  # deviations by which a value is moved, at least half of it where limits allow

Floats = NDArray[np.float64]


def kinds(rows: int) -> NDArray[np.int8]:
    """Return MOVED, BROKEN or 0 for each row, the same for as many rows."""
    rng = np.random.Generator(np.random.PCG64(rows))
    found = np.zeros(rows, np.int8)
    places = rng.permutation(rows)[: max(2, round(SHARE * rows))]
    found[places[::2]], found[places[1::2]] = MOVED, BROKEN
    return found


def shaped(
    contract: Contract,
    data: dict[str, pl.Series],
    rng: np.random.Generator,
    told: Mapping[str, Any],
) -> dict[str, pl.Series]:
    """Return the columns with a correlation, and with the rows that are anomalies."""
    numbers = [
        column
        for column in contract.features
        if column.kind in ("number", "integer")
        and not column.unique
        and column.name not in contract.primary_key
        and data[column.name].n_unique() > 1
    ]
    if not numbers:
        return data
    found, lead = dict(data), _ranks(data[numbers[0].name])
    kind = kinds(len(lead))
    for column in numbers[1:3]:
        found[column.name] = _following(data[column.name], lead, kind == BROKEN, rng)
    moved = np.flatnonzero(kind == MOVED)
    several = rng.random((len(moved), len(numbers))) < 1.5 / len(numbers)
    several[np.arange(len(moved)), rng.integers(0, len(numbers), len(moved))] = True
    for place, column in enumerate(numbers):
        rows = moved[several[:, place]]
        found[column.name] = _moved(found[column.name], column, rows, rng)
    return found


def latent(target: Column, draw: Callable[[], Floats], rng: np.random.Generator) -> Floats:
    """Return 1 for each anomaly, else 0, shape (rows,)."""
    return (kinds(len(draw())) > 0).astype(np.float64)


def outcome(target: Column, latent: Floats) -> pl.Series:
    """Return the labels as the contract writes them, without those that nobody has given."""
    values = {"boolean": ("true", "false"), "integer": ("1", "0")}.get(target.kind, target.levels)
    other = next(value for value in values if value != target.positive)
    text = pl.Series(
        target.name, np.where(latent > 0, str(target.positive), other), dtype=pl.String
    )
    unknown = np.random.Generator(np.random.PCG64(1)).random(len(latent)) < target.missing_share
    return parse(text.set(pl.Series(unknown), None), target)


def arrange(
    target: Column, outcome: pl.Series, latent: Floats, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Return which row each row takes the definition's columns from: its own."""
    return np.arange(len(outcome))


def _ranks(values: pl.Series) -> Floats:
    """Return standard normal ranks, 0 where a value is missing."""
    ranks = (values.rank(method="ordinal") - 0.5) / max(1, values.count())
    normal = NormalDist()
    return np.array([0.0 if rank is None else normal.inv_cdf(rank) for rank in ranks.to_list()])


def _following(
    values: pl.Series, lead: Floats, broken: NDArray[np.bool_], rng: np.random.Generator
) -> pl.Series:
    """Reorder values so that they follow `lead`, and go against it where it is broken."""
    noise = np.sqrt(1 - CORRELATION**2) * rng.standard_normal(len(lead))
    wanted = CORRELATION * np.where(broken, -lead - 2 * np.sign(lead), lead) + noise
    known = np.flatnonzero(values.is_not_null().to_numpy())
    order = known[np.argsort(wanted[known], kind="stable")]
    found = values.to_frame().with_row_index("place").drop_nulls()
    reordered = pl.DataFrame(
        {"place": order, values.name: found[values.name].sort()},
        schema={"place": pl.UInt32, values.name: values.dtype},
    )
    every = pl.DataFrame({"place": np.arange(len(lead))}, schema={"place": pl.UInt32})
    return every.join(reordered, on="place", how="left", maintain_order="left")[values.name]


def _moved(
    values: pl.Series, column: Column, rows: NDArray[np.intp], rng: np.random.Generator
) -> pl.Series:
    """Move values of a column up or down, as far as the contract lets them."""
    known = values.drop_nulls().cast(pl.Float64).to_numpy()
    middle, spread = float(np.median(known)), float(known.std())
    low = -np.inf if column.minimum is None else np.ceil(column.minimum)
    high = np.inf if column.maximum is None else np.floor(column.maximum)
    size = rng.uniform(FARTHEST / 2, FARTHEST, len(rows)) * spread
    up = rng.random(len(rows)) < 0.5
    first, other = (
        np.clip(middle + np.where(where, size, -size), low, high) for where in (up, ~up)
    )
    far = np.where(np.abs(first - middle) >= 0.9 * size, first, other)
    far = np.where(np.abs(far - middle) >= np.abs(first - middle), far, first)
    if column.kind == "integer":
        far = np.round(far)
    return values.scatter(rows, pl.Series(far).cast(values.dtype))
