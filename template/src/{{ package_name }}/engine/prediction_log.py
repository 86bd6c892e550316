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
from .data.contract import Contract, definition_columns
from .errors import ProjectError
from .formats import number
from .model.output import fields
from .model.scorer import Scorer
from .settings import Project

Names = tuple[str, ...]


def read(project: Project, scorer: Scorer, days: int | None) -> tuple[list[Any], str]:
    """Return a version's rows of the last days, None: of all, and which days these are.

    A row that was logged twice, because a caller sent its event id again, is there once.
    """
    files = sorted(project.path("data/predictions").glob("????-??-??.jsonl"))
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


def labelled(
    project: Project, agreed: Contract, rows: Sequence[Any], path: Path
) -> NDArray[np.float64]:
    """Return the label of each logged row in the table `path`, NaN where it has none.

    Rows meet by their event id if the table has that column, else by the primary key, else by
    entity and time. ProjectError when nothing meets, or when one row has two labels.
    """
    table = ingest.read_table(path, project.config.data.encoding)
    by = _joined_by(agreed, table, path)
    known = {name: label for name, (label, _) in _known(agreed, table, by, path).items()}
    labels = [known.get(_of(row, by), float("nan")) for row in rows]
    if np.isnan(labels).all():
        raise ProjectError(
            f"{path.name}: none of its {number(len(known))} labelled rows meets one of the "
            f"{number(len(rows))} logged ones by {' and '.join(by)}{_hint(agreed, by)}"
        )
    return np.array(labels, np.float64)


def with_labels(project: Project, agreed: Contract, rows: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Return the raw rows that have a label in the table `path`, with its columns of the target.

    ProjectError as of `labelled`.
    """
    table = ingest.read_table(path, project.config.data.encoding)
    by = _joined_by(agreed, table, path)
    if missing := sorted({*by} - {*rows.columns}):
        raise ProjectError(
            f"{path.name} names rows by {' and '.join(by)}, and the table has no {missing[0]}"
        )
    known = _known(agreed, table, by, path)
    places = [known.get(name) if name else None for name in _names(agreed, rows, by)]
    met = [place is not None for place in places]
    if not any(met):
        raise ProjectError(
            f"{path.name}: none of its {number(len(known))} labelled rows meets one of the "
            f"{number(rows.height)} rows of the table by {' and '.join(by)}"
        )
    definition = agreed.target.definition
    told = definition_columns(definition) if definition else [agreed.target.name]
    labels = table.select(told)[[place[1] for place in places if place]]
    return rows.filter(pl.Series(met)).drop(told, strict=False).hstack(labels)


def _known(
    agreed: Contract, table: pl.DataFrame, by: Names, path: Path
) -> dict[Names, tuple[float, int]]:
    """Return the label of each named row of a table, and its place there."""
    found = targets.outcome(validation.labels(agreed, table), agreed.target).cast(pl.Float64)
    known: dict[Names, tuple[float, int]] = {}
    for place, (name, label) in enumerate(zip(_names(agreed, table, by), found, strict=True)):
        if name is None or label is None:
            continue
        if known.setdefault(name, (label, place))[0] != label:
            raise ProjectError(
                f"{path.name}: two rows of one {' and '.join(by)} have different labels: keep the "
                "one that holds"
            )
    return known


def _joined_by(agreed: Contract, table: pl.DataFrame, path: Path) -> Names:
    context = tuple(column.name for column in (agreed.entity, agreed.time) if column)
    ways = [(keys.EVENT_ID,), agreed.primary_key, context]
    for names in ways:
        if names and {*names} <= {*table.columns}:
            return names
    wanted = " or ".join(", ".join(names) for names in ways if names)
    raise ProjectError(
        f"{path.name}: nothing says which prediction a label belongs to: give it {wanted}"
    )


def _names(agreed: Contract, table: pl.DataFrame, by: Names) -> list[Names | None]:
    """Return what the log calls each row of a table, None where a part is missing."""
    columns = {column.name: column for column in agreed.columns}
    secret = keys.secret()
    parts = []
    for name in by:
        if name not in columns:
            parts.append(table[name].cast(pl.String).to_list())
            continue
        column = columns[name]
        values = validation.parse(table[name], column).to_list()
        parts.append([keys.logged(column, value, secret) for value in values])
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
