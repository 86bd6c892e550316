"""Interactions of the sample: 30 tastes, few items that many take, and items that come later."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .contract import Column, Contract

TOGETHER = 6  # rows that follow each other are of one user
ITEMS, TASTES = 300, 30
NEW = 0.1  # of the items come later
FAITHFUL = 0.75  # of the interactions follow the taste of the user, the others what many take
MINUTES = 24 * 30 * 1440  # from the first row to the last
LONG = 90 * 1440  # minutes between the first and the last row of a user

Floats = NDArray[np.float64]


class Drawn(NamedTuple):
    """The item of each row and its minute since the start, shape (rows,)."""

    item: NDArray[np.int64]
    minute: NDArray[np.int64]


@lru_cache(maxsize=2)
def interactions(rows: int) -> Drawn:
    """Return what happens when, the same for as many rows; no user takes an item twice."""
    rng = np.random.Generator(np.random.PCG64(rows))
    users = -(-rows // TOGETHER)
    popular = 1 / np.arange(1, ITEMS + 1) ** 0.8
    popular = popular[rng.permutation(ITEMS)]
    taste = rng.integers(0, TASTES, ITEMS)
    born = np.where(rng.random(ITEMS) < NEW, rng.integers(0, MINUTES, ITEMS), 0)
    of_user = rng.integers(0, TASTES, users)
    start = rng.integers(0, MINUTES - LONG, users)
    minute = start[:, None] + np.sort(rng.integers(0, LONG, (users, TOGETHER)), axis=1)
    minute += np.arange(TOGETHER)  # a user does one thing at a time
    item = np.zeros((users, TOGETHER), np.int64)
    had = np.zeros((users, ITEMS), bool)
    like = taste[None] == of_user[:, None]
    for place in range(TOGETHER):
        weight = popular[None] * (born[None] <= minute[:, place, None]) * ~had
        follows = rng.random((users, 1)) < FAITHFUL
        own = weight * like
        weight = np.where(follows & (own.sum(axis=1, keepdims=True) > 0), own, weight)
        total = np.cumsum(weight, axis=1)
        at = rng.random((users, 1)) * total[:, -1:]
        item[:, place] = np.minimum((total <= at).sum(axis=1), ITEMS - 1)
        had[np.arange(users), item[:, place]] = True
    return Drawn(item.ravel()[:rows], minute.ravel()[:rows])


def shaped(
    contract: Contract,
    data: dict[str, pl.Series],
    rng: np.random.Generator,
    told: Mapping[str, Any],
) -> dict[str, pl.Series]:
    """Return the columns with the times at which users do what they do."""
    found = dict(data)
    if (time := contract.time) and time.name in data:
        rows = len(data[time.name])
        start = np.datetime64("2024-01-01", "m")
        moments = (start + interactions(rows).minute).astype("datetime64[us]")
        found[time.name] = pl.Series(time.name, moments).cast(data[time.name].dtype)
    if (entity := contract.entity) and entity.name in data:
        rows = len(data[entity.name])
        users = [f"{entity.name}_{n // TOGETHER:06d}" for n in range(rows)]
        if data[entity.name].dtype == pl.String:
            found[entity.name] = pl.Series(entity.name, users)
    return found


def latent(target: Column, draw: Callable[[], Floats], rng: np.random.Generator) -> Floats:
    """Return the number of the item of each row, shape (rows,)."""
    return interactions(len(draw())).item.astype(np.float64)


def outcome(target: Column, latent: Floats) -> pl.Series:
    """Return the items as the contract writes them: numbers, or texts with them."""
    items = pl.Series(target.name, latent).cast(pl.Int64)
    if target.kind != "category":
        return items
    return ("item " + items.cast(pl.String)).alias(target.name)


def arrange(
    target: Column, outcome: pl.Series, latent: Floats, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Return which row each row takes the definition's columns from: its own."""
    return np.arange(len(outcome))
