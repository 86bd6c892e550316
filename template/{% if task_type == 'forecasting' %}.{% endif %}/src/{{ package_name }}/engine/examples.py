"""What is learnt from series: for many origins, each of the steps that follow is one example.

An origin is the first time whose value is not known. A row of the table becomes an example for each
of several origins before it: its features know nothing from the origin on (`WITHHELD`), but what is
known ahead. So the same features answer in training, in a backtest and in service.
"""

from math import gcd
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .data.contract import WITHHELD, Contract
from .errors import ProjectError
from .model.history import DAY, DaysSince
from .model.seasons import Lookback, Recent, Season, Smoothed
from .settings import Project

MOST = 40_000  # examples that teach enough; more take time
WARM_SEASONS = 4  # at the start of the table, which no origin has behind it
STEPS = {"day": (1, 7), "week": (7, 52)}  # days of a step, steps of a season
YEAR = 364  # days: whole weeks, so that a Monday is held against a Monday
SMOOTHING = {"slow": 0.05, "middle": 0.15, "fast": 0.4}


def step_of(project: Project) -> tuple[int, int]:
    """Return the microseconds of a step and the steps of a season."""
    days, season = STEPS[project.facts.forecast_step]
    return days * DAY, season


def lookbacks(project: Project, contract: Contract) -> tuple[Lookback, ...]:
    """Return what every example knows of its series; ProjectError where series cannot be told."""
    if contract.entity is None or contract.time is None:
        role, question = ("time", "time_column") if contract.entity else ("entity", "entity")
        raise ProjectError(
            f"a forecast needs a column of role {role}, and the contract has none: give it one, "
            f"and name it in the plan with `ml update --data {question}=`"
        )
    of = contract.target.name
    names: dict[str, Any] = {"of": of, "by": contract.entity.name, "on": contract.time.name}
    days, season = STEPS[project.facts.forecast_step]
    period, furthest = float(days * season), float(days * project.facts.forecast_horizon)
    year = () if period >= YEAR else (Season(name=f"{of}.year_before", days=YEAR, **names),)
    return (
        DaysSince(name=f"{of}.days_ahead", by=names["by"], on=names["on"], most=furthest),
        Recent(name=f"{of}.level", rows=4 * min(season, 13), **names),
        Recent(name=f"{of}.lately", rows=min(season, 8), **names),
        Recent(name=f"{of}.long_level", rows=182 // days, **names),
        Season(name=f"{of}.season_before", days=period, **names),
        Season(name=f"{of}.seasons_before", days=period, seasons=4, **names),
        *year,
        *(
            Smoothed(name=f"{of}.smoothed_{how}", days=period, level=share, **names)
            for how, share in SMOOTHING.items()
        ),
    )


def made(project: Project, contract: Contract, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the examples of valid rows, in the order of their steps ahead.

    Origins are so many steps apart that there are about MOST examples, and never whole seasons, so
    that each place of a season is forecast from every other one. The first rows have no origin with
    enough behind it.
    """
    assert contract.time is not None  # as `lookbacks` says
    step, season = step_of(project)
    ahead = project.facts.forecast_horizon
    place = places(frame[contract.time.name], step)
    apart = max(1, -(-ahead * frame.height // MOST))
    while gcd(apart, season) > 1:
        apart += 1
    warm = min(WARM_SEASONS * season, int(place.max(initial=0)) // 4)
    parts = []
    for steps in range(ahead):
        origin = place - steps
        rows = np.flatnonzero((origin % apart == 0) & (origin >= warm))
        parts.append(frame[rows].with_columns(pl.lit(steps * step, pl.Int64).alias(WITHHELD)))
    return pl.concat(parts)


def places(times: pl.Series, step: int) -> NDArray[np.int64]:
    """Return which step each time is, from the first one on, shape (rows,)."""
    moments = times.cast(pl.Datetime("us")).to_physical().to_numpy()
    return np.asarray((moments - moments.min()) // step, dtype=np.int64)
