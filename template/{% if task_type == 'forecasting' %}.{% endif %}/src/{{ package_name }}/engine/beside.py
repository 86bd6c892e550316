"""Forecasts of sums of series: of all, and of each group that a column of config.yaml names.

A sum of forecasts is the forecast of a sum, so that levels add up (bottom-up, Hyndman &
Athanasopoulos 2021, Forecasting: principles and practice, 11.2). Its interval is learnt out of
fold: residuals of sums, in units of what their series' intervals would add up to if series erred
independently. How much series err together is in these quantiles so, one set for each level.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from . import backtest, storage
from .data import contract, validation
from .data import target as targets
from .data.contract import WITHHELD, Contract
from .errors import ProjectError
from .examples import ALL, summed_by
from .formats import percent
from .model.head import Head
from .model.scorer import Scorer
from .model.trial import Tested
from .settings import Project

FILE = "sums.json"
BREACH = 0.1  # of the planned coverage, which no chance explains
FEW = 20  # sums that tell too little of errors

Floats = NDArray[np.float64]


class Level(msgspec.Struct, frozen=True):
    """What is added to a sum, in units of its spread: ends of the interval, quantity to order."""

    name: str
    low: float
    high: float
    plan: float


class Sums(msgspec.Struct, frozen=True):
    """What a bundle knows of sums; `floor` is the least value, `months` truncates times."""

    levels: tuple[Level, ...]
    floor: float | None
    months: bool

    @property
    def by(self) -> tuple[str, ...]:
        """The columns of groups."""
        return tuple(level.name for level in self.levels if level.name != ALL)


def learnt(project: Project, head: Head, said: str) -> dict[str, Any]:
    """Return what a bundle is to know of sums, by the name of its file; nothing where none are.

    Learnt from what the chosen model said of development rows that it had not seen, in the table
    `said`.
    """
    agreed = contract.read(project.contract_path)
    if not (by := summed_by(project, agreed)):
        return {}
    mend = "run `ml train`"
    frame = validation.stored(project, "data/processed/development.parquet", mend)
    score = validation.stored(project, said, mend)["p0"].to_numpy()
    y, known = targets.values(frame, agreed.target), ~np.isnan(score)
    answers = {name: values[known] for name, values in head.answers(score).items()}
    months = project.facts.forecast_step == "month"
    rows = _rows(agreed, frame.filter(known), by, y[known], answers, months)
    ahead = project.facts.forecast_horizon
    levels = tuple(_level(name, _summed(rows, name), head, ahead) for name in (ALL, *by))
    floor = float(head.floor) if np.isfinite(head.floor) else None
    return {FILE: Sums(levels, floor, months)}


def judged(
    project: Project, agreed: Contract, tested: Tested, scorer: Scorer, warnings: list[str]
) -> dict[str, Any]:
    """Return how far off sums of test rows are, by level; nothing where none are made.

    What is in doubt goes into `warnings`: intervals that hold much less than planned.
    """
    if not (known := _known(project.path(f"models/{scorer.version}"))):
        return {}
    naive = backtest.season_before(project, agreed, tested.frame)
    told = tested.answers | {"_naive": naive}
    rows = _rows(agreed, tested.frame, known.by, tested.y, told, known.months)
    found = [_errors(level, known, _summed(rows, level.name)) for level in known.levels]
    planned = scorer.manifest.decision["coverage"]
    warnings += [
        f"sums of level {part['level']!r}: {percent(part['coverage'])} of the outcomes are in "
        f"their interval; planned are {percent(planned)}"
        for part in found
        if part["coverage"] < planned - BREACH
    ]
    return {"sums": found}


def named(folder: Path) -> tuple[str, ...]:
    """Return the columns that a file of answers needs beside its keys, for the bundle `folder`."""
    known = _known(folder)
    return known.by if known else ()


def place(output: Path) -> Path:
    """Return where the file of sums stands that belongs to a file of answers."""
    return output.with_name(f"{output.stem}.sums{output.suffix}")


def stands(output: Path, done: dict[str, Any]) -> bool:
    """Return whether what belongs to a file of answers is as it was written."""
    wanted, path = done.get("sums_sha256"), place(output)
    return wanted is None or (path.is_file() and storage.sha256(path) == wanted)


def written(
    folder: Path, parts: Sequence[Path], output: Path, done: dict[str, Any]
) -> dict[str, Any]:
    """Write the sums of answers in `parts` as a file beside `output`; return its name and hash.

    A row is a member of a level at a time: `series` of it have a forecast, `left_out` have none,
    because their row has a problem. Nothing is written where the bundle knows of no sums, or
    without a row; what the run before wrote, as its record `done` says, goes then.
    """
    path = place(output)
    if not (known := _known(folder)) or not parts:
        if done.get("sums") == path.name:
            path.unlink(missing_ok=True)
        return {}
    agreed = contract.read(folder / "contract.odcs.yaml")
    assert agreed.time is not None  # as `lookbacks` says
    time, by = agreed.time.name, known.by
    raw = pl.scan_parquet(list(parts), glob=False)
    few = raw.group_by(time, *by).agg(*_totals()).collect()  # rows are many, these are few
    typed = {
        column.name: validation.check(few[column.name], column, required=False).values
        for column in (agreed.time, *map(agreed.column, by))
    }
    few = few.with_columns(**typed).filter(pl.col(time).is_not_null())
    if known.months:
        few = few.with_columns(pl.col(time).dt.month_start())
    version = storage.read_json(folder / "manifest.json", dict[str, Any])["version"]
    tables = []
    for level in known.levels:
        member = pl.lit("") if level.name == ALL else pl.col(level.name)
        found = (
            few.group_by(time, member.alias("member"))
            .agg(pl.col(name).sum() for name in ("value", "square", "series", "left_out"))
            .sort(time, "member", nulls_last=True)
        )
        answers = _answers(level, known, found["value"].to_numpy(), found["square"].to_numpy())
        made = found.select(
            pl.lit(level.name).alias("level"),
            "member",
            time,
            pl.col("series").cast(pl.Int64),
            pl.col("left_out").cast(pl.Int64),
            **{name: pl.Series(name, values) for name, values in answers.items()},
            model_version=pl.lit(version),
        )
        nothing = pl.when(pl.col("series") > 0)
        tables.append(made.with_columns(nothing.then(pl.col(name)).alias(name) for name in answers))
    _save(pl.concat(tables), path)
    return {"sums": path.name, "sums_sha256": storage.sha256(path)}


def _known(folder: Path) -> Sums | None:
    path = folder / FILE
    return storage.read_json(path, Sums) if path.is_file() else None


def _rows(
    agreed: Contract,
    frame: pl.DataFrame,
    by: Sequence[str],
    y: Floats,
    answers: dict[str, Floats],
    months: bool,
) -> pl.DataFrame:
    """Return rows with the time and the origin they are of, and what is added up of them.

    A row's origin is the first time it knows nothing of.
    """
    assert agreed.time is not None  # as `lookbacks` says
    moment = frame[agreed.time.name].cast(pl.Datetime("us"))
    origin = moment.to_physical() - frame[WITHHELD]
    found = {name: pl.Series(values) for name, values in answers.items()}
    table = frame.select(WITHHELD, *by).with_columns(
        moment.alias("_moment"), origin.alias("_origin"), pl.Series("_y", y), **found
    )
    if months:
        start = pl.from_epoch("_origin", "us").dt.month_start()
        table = table.with_columns(pl.col("_moment").dt.month_start(), _origin=start)
    return table.with_columns(_square=(pl.col("high") - pl.col("low")) ** 2)


def _summed(rows: pl.DataFrame, level: str) -> pl.DataFrame:
    """Return the sums of a level, in the order of time."""
    keys = ["_moment", "_origin", *([] if level == ALL else [level])]
    summed = [name for name in rows.columns if name in ("_y", "value", "_square", "_naive")]
    return rows.group_by(keys).agg(pl.col(name).sum() for name in summed).sort(keys)


def _level(name: str, sums: pl.DataFrame, head: Head, ahead: int) -> Level:
    """Learn from the residuals of sums, as `decision.intervals` does from those of rows.

    Sums of times that lie less than a horizon of `ahead` steps apart miss together, so that what
    counts is the number of stretches of that length: of k of them the interval holds the planned
    share (k + 1) / k times, all where that is more (Lee, Barber & Willett 2023, Distribution-free
    inference with hierarchical data).
    """
    spread = np.sqrt(sums["_square"].to_numpy())
    some = spread > 0
    if some.sum() < FEW:
        raise ProjectError(
            f"training.sums_by: {some.sum()} sums of level {name!r} have forecasts out of fold, "
            f"and {FEW} are needed for their interval: bring a longer past, or leave it out"
        )
    errors = (sums["_y"] - sums["value"]).to_numpy()[some]
    ordered = np.sort(errors / spread[some])
    count = len(ordered)
    stretches = sums["_moment"].n_unique() / ahead
    share = min(1.0, head.coverage * (stretches + 1) / stretches)
    outer = int(np.ceil((count + 1) * (1 + share) / 2))
    low, high = ordered[max(0, count - outer)], ordered[min(count, outer) - 1]
    planned = float(np.quantile(ordered, head.quantile)) if head.plan.any() else 0.0
    return Level(name, float(low), float(high), planned)


def _answers(level: Level, known: Sums, value: Floats, square: Floats) -> dict[str, Floats]:
    """Return the outputs of sums, shape (sums,), by their values and squared widths."""
    spread, floor = np.sqrt(square), -np.inf if known.floor is None else known.floor
    moved = {"low": level.low, "high": level.high, "decision": level.plan}
    ends = {name: np.maximum(value + by * spread, floor) for name, by in moved.items()}
    return {"value": value} | ends


def _errors(level: Level, known: Sums, sums: pl.DataFrame) -> dict[str, Any]:
    """Return what the report says of a level: errors as shares of its volume, and coverage."""
    y, value, naive = (sums[name].to_numpy() for name in ("_y", "value", "_naive"))
    answers = _answers(level, known, value, sums["_square"].to_numpy())
    inside = (answers["low"] <= y) & (y <= answers["high"])
    there, volume = np.isfinite(naive), float(np.abs(y).sum())
    before = float(np.abs(y[there]).sum())
    return {
        "level": level.name,
        "members": 1 if level.name == ALL else sums[level.name].n_unique(),
        "sums": len(y),
        "mean": float(y.mean()),
        "wape": float(np.abs(value - y).sum()) / volume if volume else None,
        "wape_season_before": float(np.abs(naive - y)[there].sum()) / before if before else None,
        "bias": float((value - y).sum()) / volume if volume else None,
        "coverage": float(inside.mean()),
    }


def _totals() -> list[pl.Expr]:
    """Return what is added up of rows: those that have a problem have no forecast."""
    good = pl.col("problem").is_null()
    return [
        pl.col("value").sum(),
        ((pl.col("high") - pl.col("low")) ** 2).sum().alias("square"),
        good.sum().cast(pl.Int64).alias("series"),
        (~good).sum().cast(pl.Int64).alias("left_out"),
    ]


def _save(table: pl.DataFrame, path: Path) -> None:
    """Write a table, which appears at once, in the format that its name says."""
    with storage.replacing_file(path) as temporary:
        if path.suffix.lower() == ".parquet":
            table.write_parquet(temporary)
        elif path.suffix.lower() == ".csv":
            table.write_csv(temporary)
        else:
            table.write_ndjson(temporary)
