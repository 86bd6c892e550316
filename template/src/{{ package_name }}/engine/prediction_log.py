"""The log of predictions: read for monitoring, and joined with labels that come later."""

import datetime as dt
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from . import keys
from .data import ingest, validation
from .data import target as targets
from .data.contract import Contract
from .errors import ProjectError
from .formats import number
from .model.output import fields
from .model.scorer import Scorer
from .settings import LOG, Project

Names = tuple[str, ...]


def read(project: Project, scorer: Scorer, days: int | None) -> tuple[list[Any], str]:
    """Return a version's rows of the last days, None: of all, and which days these are.

    A row that was logged twice, because a caller sent its event id again, is there once.
    """
    files = days_of(project)
    if not files:
        return [], ""
    last = dt.date.fromisoformat(files[-1].stem)
    first = dt.date.fromisoformat(files[0].stem)
    if days is not None:
        first = last - dt.timedelta(days=days - 1)
    told = [o for o in scorer.outputs if o.name == scorer.score or o.role == "decision"]
    line_type = msgspec.defstruct(
        "Line",
        [
            *(("version", str), *fields(told), ("features", dict[str, Any])),
            *((keys.EVENT_ID, str, ""), ("keys", dict[str, str], {})),
        ],
    )
    decode = msgspec.json.Decoder(line_type).decode
    rows: dict[Any, Any] = {}
    for file in files:
        for line in file.read_bytes().splitlines() if file.stem >= first.isoformat() else ():
            # The last line of a killed service, or a damaged one.
            with suppress(msgspec.MsgspecError, UnicodeDecodeError):
                row: Any = decode(line)
                rows[row.version, row.event_id or len(rows)] = row
    return [row for row in rows.values() if row.version == scorer.version], f"{first} to {last}"


def days_of(project: Project) -> list[Path]:
    """Return the files of the log, one a day, the first day first."""
    return sorted(project.path(LOG).glob("????-??-??.jsonl"))


def labelled(
    project: Project, agreed: Contract, rows: Sequence[Any], path: Path
) -> NDArray[np.float64]:
    """Return the label of each logged row in the table `path`, NaN where it has none.

    Rows meet by their event id if the table has that column, else by the primary key, else by
    entity and time. ProjectError when nothing meets, or when one row has two labels.
    """
    table = ingest.read_table(path, project.config.data.encoding)
    by = _joined_by(agreed, table, path)
    outcome, places = _places(agreed, table, by, path, hidden=True)
    y = targets.outcome(outcome, agreed.target).cast(pl.Float64).to_list()
    known = {name: y[place] for name, place in places.items()}
    labels = [known.get(_of(row, by), float("nan")) for row in rows]
    if np.isnan(labels).all():
        raise ProjectError(
            f"{path.name}: none of its {number(len(known))} labelled rows meets one of the "
            f"{number(len(rows))} logged ones by {' and '.join(by)}{_hint(agreed, by)}"
        )
    return np.array(labels, np.float64)


def with_labels(project: Project, agreed: Contract, rows: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Return the raw rows that have a label in the table `path`, with this as their target.

    They meet as in `labelled`, by what both tables have. ProjectError as there.
    """
    table = ingest.read_table(path, project.config.data.encoding)
    by = _joined_by(agreed, table, path, rows.columns)
    if missing := sorted({*by} - {*rows.columns}):
        raise ProjectError(
            f"{path.name} names rows by {' and '.join(by)}, and the table has no {missing[0]}"
        )
    outcome, known = _places(agreed, table, by, path, hidden=False)
    asked = _names(agreed, rows, by, hidden=False)
    places = [known.get(name) if name else None for name in asked]
    met = pl.Series([place is not None for place in places], dtype=pl.Boolean)
    if not met.any():
        raise ProjectError(
            f"{path.name}: none of its {number(len(known))} labelled rows meets one of the "
            f"{number(rows.height)} rows of the table by {' and '.join(by)}"
        )
    labels = outcome[[place for place in places if place is not None]]
    return rows.filter(met).drop(agreed.target.name, strict=False).hstack(labels)


def _places(
    agreed: Contract, table: pl.DataFrame, by: Names, path: Path, *, hidden: bool
) -> tuple[pl.DataFrame, dict[Names, int]]:
    """Return labels, and where that of each named row stands; ProjectError where one has two."""
    labels = validation.labels(agreed, table)
    names = _names(agreed, table, by, hidden=hidden)
    y = targets.outcome(labels, agreed.target).to_list()
    known: dict[Names, int] = {}
    for place, (name, label) in enumerate(zip(names, y, strict=True)):
        if name is not None and label is not None and y[known.setdefault(name, place)] != label:
            raise ProjectError(
                f"{path.name}: two rows of one {' and '.join(by)} have different labels: keep the "
                "one that holds"
            )
    return labels, known


def _joined_by(
    agreed: Contract, table: pl.DataFrame, path: Path, others: Sequence[str] | None = None
) -> Names:
    """Return the columns that name rows in a table, rather those that `others` have, too."""
    context = tuple(column.name for column in (agreed.entity, agreed.time) if column)
    ways = [(keys.EVENT_ID,), agreed.primary_key, context]
    there = [names for names in ways if names and {*names} <= {*table.columns}]
    for names in there:
        if others is None or {*names} <= {*others}:
            return names
    if there:
        return there[0]
    wanted = " or ".join(", ".join(names) for names in ways if names)
    raise ProjectError(
        f"{path.name}: nothing says which prediction a label belongs to: give it {wanted}"
    )


def _names(agreed: Contract, table: pl.DataFrame, by: Names, *, hidden: bool) -> list[Names | None]:
    """Return what names each row of a table, None where a part is missing.

    `hidden`: as the log has it, where what is personal is a hash or nothing.
    """
    columns = {column.name: column for column in agreed.columns}
    secret = keys.secret() if hidden else None
    parts = []
    for name in by:
        if name not in columns:
            parts.append(table[name].cast(pl.String).to_list())
            continue
        column = columns[name]
        values = validation.parse(table[name], column).to_list()
        parts.append(
            [keys.logged(column, value, secret) for value in values]
            if hidden
            else [None if value is None else keys.plain(value) for value in values]
        )
    return [None if None in row else row for row in zip(*parts, strict=True)]


def _of(row: Any, by: Names) -> Names:
    known = {**row.keys, keys.EVENT_ID: row.event_id}
    return tuple(known.get(name, "") for name in by)


def _hint(agreed: Contract, by: Names) -> str:
    if any(column.personal for column in agreed.keys if column.name in by):
        return (
            f", which is personal: the service and this command need the same {keys.SECRET}, or "
            f"send an {keys.EVENT_ID} with each row"
        )
    return ": send these with each row that is to be predicted"
