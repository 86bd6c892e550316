"""How old the newest row is, against `freshnessHours` of the source that it came from."""

import datetime as dt
from typing import Any

import polars as pl

from ..formats import number
from ..settings import Project
from . import sources, validation
from .contract import Column, Contract

DAY = dt.timedelta(days=1)


def measured(
    project: Project, agreed: Contract, frame: pl.DataFrame, now: dt.datetime | None = None
) -> dict[str, Any] | None:
    """Return how many hours old the newest row is, and what the contract promises.

    None where it promises nothing, or no column says when a row was made: that is the watermark's
    column, else the time of the contract. A date counts until its end.
    """
    read = project.config.data.source
    found = [s for s in sources.of(project.contract_path) if _is(s, read)]
    source = next((s for s in found if s.freshness_hours is not None), None)
    column = agreed.time
    if source and source.watermark and source.watermark.column in frame.columns:
        name = source.watermark.column
        known = {c.name: c for c in agreed.columns}
        column = known.get(name, Column(name=name, kind="timestamp", role="excluded"))
    if source is None or column is None or column.name not in frame.columns:
        return None
    newest = validation.parse(frame[column.name], column).max()
    if not isinstance(newest, dt.date):
        return None
    at = newest if isinstance(newest, dt.datetime) else dt.datetime.combine(newest, dt.time()) + DAY
    age = (now or dt.datetime.now(dt.UTC)).replace(tzinfo=None) - at
    hours = max(0.0, age / dt.timedelta(hours=1))
    limit = float(source.freshness_hours or 0)
    return {
        "server": source.server,
        "column": column.name,
        "hours": round(hours, 1),
        "limit": limit,
        "late": hours > limit,
    }


def told(fresh: dict[str, Any]) -> str:
    """Say that a source is later than it promised."""
    return (
        f"the newest row of {fresh['server']} is {number(fresh['hours'])} h old by "
        f"{fresh['column']}; {number(fresh['limit'])} h is promised (freshnessHours)"
    )


def _is(source: sources.Source, read: str) -> bool:
    return source.used and read in (source.server, str(source.address.get("path", "")))
