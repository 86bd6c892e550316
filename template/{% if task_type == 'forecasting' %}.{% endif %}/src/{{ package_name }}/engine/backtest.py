"""How far off forecasts are: by steps ahead, size of series and origin, and against a season ago.

The mean absolute scaled error (MASE, Hyndman & Koehler 2006) divides each error by what a forecast
with the value of a season before missed on average in the development part of the same series.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from . import history, privacy, rhythm
from .data import contract, validation
from .data import target as targets
from .data.contract import WITHHELD
from .model.seasons import Season
from .settings import Project

SIZES = ("small", "middle", "large")
WORST = 10
FANS = 4
STEPS_TOLD = 60  # of a table by steps ahead

Floats = NDArray[np.float64]
Answers = dict[str, Floats]


def measured(project: Project, y: Floats, answers: Answers) -> dict[str, Any]:
    """Return what the report tells of the test examples, whose arrays have shape (rows,)."""
    agreed = contract.read(project.contract_path)
    assert agreed.entity is not None and agreed.time is not None  # as `lookbacks` says
    frame = validation.stored(project, "data/processed/test.parquet", "run `ml train`")
    step = rhythm.of(project)
    times, withheld = history.times(frame[agreed.time.name]), frame[WITHHELD].to_numpy()
    ahead = step.places(times) - step.places(times - withheld) + 1
    origins = step.origins(times, withheld)
    series = frame[agreed.entity.name].fill_null("").to_numpy()
    names, of = np.unique(series, return_inverse=True)
    naive, scale = _yardsticks(project, agreed, frame, int(times.min()), names)
    scaled = np.abs(answers["value"] - y) / scale[of]
    known = np.isfinite(scaled) & np.isfinite(naive)
    by_series = [float(y[of == place].mean()) for place in range(len(names))]
    cuts = np.quantile(by_series, [1 / 3, 2 / 3])
    size = np.searchsorted(cuts, np.array(by_series)[of], side="left")
    hidden = {agreed.entity.name} & privacy.hidden_names(agreed.columns)
    shown = [f"{privacy.HIDDEN} {n}" if hidden else str(name) for n, name in enumerate(names, 1)]
    told = y, answers, scaled
    steps = [int(n) for n in np.unique(ahead)[:STEPS_TOLD]]
    days = np.unique(origins)
    worst = sorted(
        ({"series": shown[n]} | part(*told, of == n) for n in range(len(names))),
        key=lambda found: -(found["mase"] or 0),
    )
    return {
        "series": len(names),
        "origins": len(days),
        "horizon": int(ahead.max()),
        "mase": _mean(scaled[known]),
        "mase_season_before": _mean((np.abs(naive - y) / scale[of])[known]),
        "without_scale": int((~known).sum()),
        "by_steps": [{"steps": n} | part(*told, ahead == n) for n in steps],
        "by_size": [{"size": name} | part(*told, size == n) for n, name in enumerate(SIZES)],
        "by_origin": [
            {"origin": str(np.datetime64(int(day), "us"))[:10]} | part(*told, origins == day)
            for day in days
        ],
        "worst": worst[:WORST],
        "fans": _fans(y, answers, of, by_series, shown, times, origins),
    }


def part(y: Floats, answers: Answers, scaled: Floats, rows: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the errors of some rows: MASE, WAPE, bias as a share of the volume, and coverage."""
    actual, value = y[rows], answers["value"][rows]
    volume, known = float(np.abs(actual).sum()), scaled[rows][np.isfinite(scaled[rows])]
    inside = (answers["low"][rows] <= actual) & (actual <= answers["high"][rows])
    return {
        "rows": int(rows.sum()),
        "mean": _mean(actual),
        "mase": _mean(known),
        "wape": float(np.abs(value - actual).sum()) / volume if volume else None,
        "bias": float((value - actual).sum()) / volume if volume else None,
        "coverage": _mean(inside.astype(np.float64)),
    }


def scales(times: NDArray[np.int64], values: Floats, period: int) -> float:
    """Return by how much values differ from those a period before, on average; NaN if none does.

    `times` (rows,) are places or microseconds of one series, each once, `period` is of their unit.
    """
    order = np.argsort(times)
    times, values = times[order], values[order]
    place = np.searchsorted(times, times - period)
    there = times[np.minimum(place, len(times) - 1)] == times - period
    gaps = np.abs(values[there] - values[place[there]])
    gaps = gaps[np.isfinite(gaps)]
    return float(gaps.mean()) if len(gaps) and gaps.any() else float("nan")


def season_before(project: Project, agreed: contract.Contract, frame: pl.DataFrame) -> Floats:
    """Return what stood a season before each row, NaN where that is not known; shape (rows,)."""
    assert agreed.entity is not None and agreed.time is not None  # as `lookbacks` says
    step = rhythm.of(project)
    season: dict[str, Any] = {"days": step.period, "months": step.months}
    of, by, on = agreed.target.name, agreed.entity.name, agreed.time.name
    before = Season(name="before", of=of, by=by, on=on, **season)
    state = history.state_of((before,), agreed, history.events(project, agreed))
    return history.looked_up(frame, state)["before"].to_numpy()


def _yardsticks(
    project: Project,
    agreed: contract.Contract,
    frame: pl.DataFrame,
    start: int,
    names: NDArray[Any],
) -> tuple[Floats, Floats]:
    """Return what stood a season before each row, and the scale of each series before `start`."""
    assert agreed.entity is not None and agreed.time is not None
    step, by, on = rhythm.of(project), agreed.entity.name, agreed.time.name
    rows = history.events(project, agreed)
    naive = season_before(project, agreed, frame)
    times, values = history.times(rows[on]), targets.values(rows, agreed.target)
    series, learnt = rows[by].fill_null("").to_numpy(), times < start
    places = step.places(times)
    picked = (learnt & (series == name) for name in names)
    return naive, np.array([scales(places[rows], values[rows], step.season) for rows in picked])


def _fans(
    y: Floats,
    answers: Answers,
    of: NDArray[np.intp],
    by_series: list[float],
    shown: list[str],
    times: NDArray[np.int64],
    origins: NDArray[np.int64],
) -> list[dict[str, Any]]:
    """Return forecasts from the last origin that has all steps, of series of several sizes."""
    counts = {day: int((origins == day).sum()) for day in np.unique(origins)}
    last = max(day for day, count in counts.items() if count == max(counts.values()))
    order = np.argsort(by_series)[::-1]
    picked = [int(order[int(n)]) for n in np.linspace(0, len(order) - 1, FANS)]
    found = []
    for place in dict.fromkeys(picked):
        rows = np.flatnonzero((of == place) & (origins == last))
        rows = rows[np.argsort(times[rows])]
        columns = {name: answers[name][rows].tolist() for name in ("value", "low", "high")}
        found.append(
            {
                "series": shown[place],
                "origin": str(np.datetime64(int(last), "us"))[:10],
                "actual": y[rows].tolist(),
                "order": answers["decision"][rows].tolist(),
                **columns,
            }
        )
    return [fan for fan in found if fan["actual"]]


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None
