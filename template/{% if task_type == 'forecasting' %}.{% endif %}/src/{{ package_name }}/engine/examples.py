"""What is learnt from series: for many origins, each of the steps that follow is one example.

An origin is the first time whose value is not known. A row of the table becomes an example for each
of several origins before it: its features know nothing from the origin on (`WITHHELD`), but what is
known ahead. So the same features answer in training, in a backtest and in service.
"""

from math import gcd
from typing import Any

import numpy as np
import polars as pl

from . import rhythm
from .data.contract import SCORED, WITHHELD, Contract
from .errors import ProjectError
from .formats import count, number
from .model.history import DaysSince, Moments
from .model.seasons import Lookback, Recent, Season, Smoothed, Winters
from .settings import Project, refused

ROW = "example"  # what messages call an example
GAP_MEND = (  # what to do where the gap before the test leaves too few of them
    "(as long as the horizon): bring a longer past, or ask for fewer steps ahead "
    "(`ml update --data forecast_horizon=`)"
)
CLOSER = 1.1  # rows for each step of a series, from which on they are of a shorter one
FEW_STEPS, MANY_STEPS = 0.5, 0.9  # with a row, of the plan's and of a longer one that they are of
MOST = 40_000  # examples that teach enough; more take time
WARM_SEASONS = 4  # at the start of the table, which no origin has behind it
YEAR = 364  # days: whole weeks, so that a Monday is held against a Monday
ALL = "all"  # the level of the sum of all series
SUMS = (ALL, "level", "member", "series", "left_out")  # names that a file of sums has
SMOOTHING = {"slow": 0.05, "middle": 0.15, "fast": 0.4}


def lookbacks(project: Project, contract: Contract) -> tuple[Lookback, ...]:
    """Return what every example knows of its series; ProjectError where series cannot be told."""
    if contract.entity is None or contract.time is None:
        role, question = ("time", "time_column") if contract.entity else ("entity", "entity")
        raise ProjectError(
            f"a forecast needs a column of role {role}, and the contract has none: give it one, "
            f"and name it in the plan with `ml update --data {question}=`"
        )
    summed_by(project, contract)
    of = contract.target.name
    names: dict[str, Any] = {"of": of, "by": contract.entity.name, "on": contract.time.name}
    apart, facts = rhythm.of(project), project.facts
    furthest = float(apart.days * facts.forecast_horizon)
    if facts.label_delay_days < furthest:
        raise ProjectError(
            f"label_delay_days is {facts.label_delay_days}, but a forecast of "
            f"{facts.forecast_horizon} steps is known after {furthest:.0f} days: the test would "
            f"see what was learnt; `ml update --data label_delay_days={furthest:.0f}`"
        )
    season: dict[str, Any] = {"days": apart.period, "months": apart.months, **names}
    step = float(apart.days)
    year = () if apart.period >= YEAR else (Season(name=f"{of}.year_before", days=YEAR, **names),)
    return (
        DaysSince(name=f"{of}.days_ahead", by=names["by"], on=names["on"], most=furthest),
        Recent(name=f"{of}.level", rows=apart.level, **names),
        Recent(name=f"{of}.lately", rows=apart.lately, **names),
        Recent(name=f"{of}.long_level", rows=apart.long, **names),
        Season(name=f"{of}.season_before", **season),
        Season(name=f"{of}.seasons_before", seasons=4, **season),
        *year,
        *(
            Smoothed(name=f"{of}.smoothed_{how}", step=step, level=share, **season)
            for how, share in SMOOTHING.items()
        ),
        Winters(name=f"{of}.smoothed_best", step=step, **season),
    )


def summed_by(project: Project, agreed: Contract) -> tuple[str, ...]:
    """Return the columns by which series are summed up too; ProjectError for one that cannot be."""
    asked, where = project.config.training.sums_by, "training.sums_by"
    fit = {column.name for column in agreed.features if column.kind == "category"}
    if wrong := [name for name in asked if name not in fit]:
        known = ", ".join(sorted(fit)) or "none"
        raise refused(where, f"{wrong[0]!r} is no feature that names groups; there are: {known}")
    if len({*asked}) < len(asked):
        raise refused(where, "a column stands there twice")
    keys = {column.name for column in agreed.keys}
    if asked and (taken := sorted({*asked, *keys} & {*SUMS, *SCORED})):
        raise refused(
            where, f"the column {taken[0]!r} has a name that files of sums use: rename it"
        )
    return asked


def _refuse_other_step(
    project: Project, contract: Contract, frame: pl.DataFrame, times: Moments
) -> None:
    """ProjectError where series have several rows in a step, or one in each of a longer step.

    Few rows that share a step with another are let pass, as of weeks that begin on other days; two
    at one time are not, as neither is the value that a forecast is of.
    """
    assert contract.entity is not None and contract.time is not None
    series = frame[contract.entity.name].alias("series")
    rows, filled = {}, {}  # for each step that has some, and the share of steps that have some
    for name, apart in rhythm.RHYTHMS.items():
        steps = pl.DataFrame([series, pl.Series("step", apart.places(times))]).unique()
        ends = steps.group_by("series").agg(pl.col("step").max() - pl.col("step").min() + 1)
        rows[name] = frame.height / max(1, steps.height)
        filled[name] = steps.height / max(1, ends["step"].sum())
    step, by = project.facts.forecast_step, repr(contract.time.name)
    fit = [name for name in rows if rows[name] <= CLOSER]
    if rows[step] > CLOSER:
        other = f", or say `ml update --data forecast_step={fit[-1]}`" if fit else ""
        raise ProjectError(
            f"series have {number(rows[step], 3)} rows a {step} by {by}, and a step of the plan is "
            f"a {step}: bring one row a {step}, such as their sum{other}"
        )
    if filled[step] < FEW_STEPS and filled[fit[-1]] > MANY_STEPS:
        raise ProjectError(
            f"series have a row a {fit[-1]} by {by}, and a step of the plan is a {step}: say `ml "
            f"update --data forecast_step={fit[-1]}`, or bring a row for each {step}"
        )
    names = [contract.entity.name, contract.time.name]
    if again := frame.height - frame.select(names).n_unique():
        raise ProjectError(
            f"{count(again, 'row')} repeat{'s' * (again == 1)} {' and '.join(map(repr, names))} of "
            "another: bring their sum or the last of them, or give both columns `primaryKey: true` "
            "in the contract, and data.repeated_keys in config.yaml says which row stays"
        )


def made(project: Project, contract: Contract, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the examples of valid rows, in the order of their steps ahead.

    Origins are so many steps apart that there are about MOST examples, and never whole seasons, so
    that each place of a season is forecast from every other one. The first rows have no origin with
    enough behind it.
    """
    assert contract.time is not None  # as `lookbacks` says
    step, ahead = rhythm.of(project), project.facts.forecast_horizon
    times = frame[contract.time.name].cast(pl.Datetime("us")).to_physical().to_numpy()
    _refuse_other_step(project, contract, frame, times)
    place = step.places(times)
    place = place - place.min()
    apart = max(1, -(-ahead * frame.height // MOST))
    while gcd(apart, step.season) > 1:
        apart += 1
    warm = min(WARM_SEASONS * step.season, int(place.max(initial=0)) // 4)
    parts = []
    for steps in range(ahead):
        origin = place - steps
        rows = np.flatnonzero((origin % apart == 0) & (origin >= warm))
        withheld = times[rows] - step.before(times[rows], steps)
        parts.append(frame[rows].with_columns(pl.Series(WITHHELD, withheld, pl.Int64)))
    return pl.concat(parts)
