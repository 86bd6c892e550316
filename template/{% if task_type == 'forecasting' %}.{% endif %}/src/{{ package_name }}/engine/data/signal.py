"""Series of the sample: a level for each, a trend, a week, a year, what is known ahead, and noise.

One in five is intermittent: in most steps there is nothing. A model that knows the signal errs half
as much as the value of a season before.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..errors import ProjectError
from .contract import Column, Contract
from .spread import scaled
from .validation import DTYPES

# Of each step: series at the most, steps of one at the least, days, growth a year, and how many
# steps a number stays the same, as a price does.
STEPS = {
    "day": (48, 30, 1, 0.25, 28),
    "week": (150, 208, 7, 0.12, 8),
    "month": (300, 96, 30, 0.06, 3),
}
INTERMITTENT = 0.2
LAST = np.datetime64("2025-12-31")
EFFECTS = (0.55, 0.35, 0.25, 0.2)  # of what is known ahead, on the logarithm

Floats = NDArray[np.float64]


def shaped(
    contract: Contract,
    data: dict[str, pl.Series],
    rng: np.random.Generator,
    told: Mapping[str, Any],
) -> dict[str, pl.Series]:
    """Return the columns as those of series, with the target; `told` has the step of their rows.

    Texts belong to a series, numbers stay for some steps, true and false change with each.
    """
    entity, time = contract.entity, contract.time
    if entity is None or time is None:
        raise ProjectError(
            "series need a column of role entity and one of role time in the contract: give it both"
        )
    rows = len(next(iter(data.values())))
    apart = told.get("step", "day")
    most, least, _, _, kept = STEPS[apart]
    count = max(1, min(len(entity.levels) or most, rows // least))
    steps = -(-rows // count)
    of, step = np.arange(rows) // steps, np.arange(rows) % steps
    names = entity.levels or [f"{entity.name}_{n:03d}" for n in range(count)]
    made = dict(data)
    made[entity.name] = pl.Series(entity.name, [names[n] for n in of], dtype=pl.String)
    days = dates(apart, steps - 1 - step)
    made[time.name] = pl.Series(time.name, days.astype("datetime64[us]")).cast(DTYPES[time.kind])
    effect, known = np.zeros(rows), 0
    for column in contract.features:
        if column.kind == "category":
            made[column.name] = data[column.name].gather(of * steps)
        elif column.kind in ("number", "integer"):
            made[column.name] = data[column.name].gather(np.arange(rows) - step % kept)
        if column.kind in ("number", "integer", "boolean"):
            moved = made[column.name].cast(pl.Float64).fill_null(strategy="mean").to_numpy()
            way = {"up": 1.0, "down": -1.0}.get(column.effect, rng.choice([-1.0, 1.0]))
            size = EFFECTS[min(known, len(EFFECTS) - 1)] * (1 if column.kind == "boolean" else 0.5)
            spread = 1.0 if column.kind == "boolean" else moved.std() or 1.0
            effect += way * size * (moved - moved.mean()) / spread
            known += 1
    made[contract.target.name] = _target(contract.target, of, apart, days, effect, rng)
    return made


def dates(step: str, before: NDArray[np.int64]) -> NDArray[np.datetime64]:
    """Return the days that lie so many steps before the last one, shape (rows,)."""
    if step == "month":
        return np.asarray((LAST.astype("datetime64[M]") - before).astype("datetime64[D]"))
    return np.asarray(LAST - before * np.timedelta64(STEPS[step][2], "D"))


def _target(
    target: Column,
    of: NDArray[np.int64],
    step: str,
    days: NDArray[np.datetime64],
    effect: Floats,
    rng: np.random.Generator,
) -> pl.Series:
    """Return the values of the series, with the mean of the contract."""
    count = int(of.max()) + 1
    level = np.exp(0.9 * rng.standard_normal(count))
    few = np.arange(count) % round(1 / INTERMITTENT) == 0
    level[few] *= 0.02
    week = 0.35 * rng.standard_normal((count, 7))
    slope = STEPS[step][3] * rng.standard_normal(count)
    date = days.astype("datetime64[D]").astype(np.int64)
    angle = 2 * np.pi * date / 365.25
    year = 0.3 * np.sin(angle + rng.uniform(0, 1, count)[of])
    if step == "day":
        season = week[of, date % 7]
    else:  # of a longer step the week says nothing, and each series has a year of its own
        season = week[of, 0] * np.sin(angle + week[of, 1]) + week[of, 2] * np.cos(2 * angle)
    grown = slope[of] * (date - date.min()) / 365.25
    mean = level[of] * np.exp(season + grown + year + effect)
    centre = target.mean if target.mean else 100.0
    mean *= abs(centre) / mean.mean()
    noise = rng.gamma(30, 1 / 30, len(mean))
    values = rng.poisson(mean * noise).astype(np.float64)
    low = -np.inf if target.minimum is None else target.minimum
    high = np.inf if target.maximum is None else target.maximum
    return pl.Series(target.name, np.clip(values, low, high)).cast(DTYPES[target.kind])


def latent(target: Column, draw: Callable[[], Floats], rng: np.random.Generator) -> Floats:
    """Return a standard normal for each row, which only a definition's columns follow."""
    rows = len(draw())
    return np.asarray(rng.standard_normal(rows))


def outcome(target: Column, latent: Floats) -> pl.Series:
    """Return values as the contract describes them, of rows that are of no series."""
    return pl.Series(target.name, scaled(target, latent)).cast(DTYPES[target.kind])


def arrange(
    target: Column, outcome: pl.Series, latent: Floats, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Return which row each row takes the definition's columns from: its own."""
    return np.arange(len(outcome))
