"""Who was forgotten: keyed hashes that keep their rows out of every later load.

`data/forgotten/` holds them with their key, which is made once, of this project alone: a hash of a
name without a key is found by trying names.
"""

import datetime as dt
import os
import secrets
from collections.abc import Collection
from pathlib import Path

import msgspec
import polars as pl

from .. import keys, storage
from ..errors import ProjectError
from ..settings import Project
from . import contract as contracts
from . import validation
from .contract import Column, Contract

LIST, KEY = "data/forgotten/people.json", "data/forgotten/key"
RETAINED = "data/forgotten/retained.json"


class Retained(msgspec.Struct):
    """Before which day rows were deleted, as their retention was over."""

    before: dt.date


def read(project: Project) -> dict[str, list[str]]:
    """Return the hashes of those who were forgotten, by the column that named them."""
    path = project.path(LIST)
    return storage.read_json(path, dict[str, list[str]]) if path.exists() else {}


def secret(project: Project) -> bytes:
    """Return this project's key of the hashes; it is made when there is none.

    ProjectError when hashes are there that another key made.
    """
    path = project.path(KEY)
    if not path.exists():
        if read(project):
            raise ProjectError(f"{LIST} needs {KEY}, which is gone: restore it from a backup")
        _write_key(path)
    return path.read_bytes()


def _write_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(secrets.token_bytes(32))


def hashed(plain: str, key: bytes) -> str:
    """Return what stands for a person: 32 hex digits."""
    return keys.digest(plain, key)


def before(today: dt.date, months: int) -> dt.date:
    """Return the day before which rows are past a retention."""
    found: dt.date = pl.select(pl.lit(today).dt.offset_by(f"-{months}mo")).item()
    return found


def older(frame: pl.DataFrame, time: Column, before: dt.date) -> pl.Series:
    """Say of each row whether it is older than a day; one without a time is not."""
    values = typed(frame, time)
    old: pl.Series = values < pl.Series([before]).cast(values.dtype)[0]
    return old.fill_null(False)


def kept(project: Project, agreed: Contract | None, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of a load without those that `ml retain` deleted, which the source still has.

    A plan that keeps rows for longer meanwhile gets them again.
    """
    path, time = project.path(RETAINED), agreed.time if agreed else None
    if not path.exists() or time is None or time.name not in frame.columns:
        return frame
    if not (months := project.plan.answers.get("retention_months")):
        return frame
    deleted = storage.read_json(path, Retained).before
    limit = min(deleted, before(dt.datetime.now(dt.UTC).date(), int(months)))
    return frame.filter(~older(frame, time, limit))


def typed(frame: pl.DataFrame, column: Column) -> pl.Series:
    """Return a column of a table of any origin in the contract's type, null where unreadable."""
    return validation.parse(frame[column.name], column)


def plain(values: pl.Series) -> list[str]:
    """Return each different value of a typed column as the text that it has in every format."""
    return [keys.plain(value) for value in values.drop_nulls().unique().to_list()]


def rows_of(values: pl.Series, people: Collection[str]) -> pl.Series:
    """Say of each row whether its typed value is one of these texts."""
    different = values.drop_nulls().unique()
    found = [value for value in different.to_list() if keys.plain(value) in people]
    return values.is_in(pl.Series(found, dtype=values.dtype).implode()).fill_null(False)


def without(project: Project, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of a load without those of people who were forgotten."""
    listed = read(project)
    for name in listed:
        if name not in frame.columns:
            raise ProjectError(
                f"{LIST}: people were forgotten by column {name!r}, which the data lack: load it"
            )
    return without_those(project, frame, listed)


def without_those(
    project: Project, frame: pl.DataFrame, listed: dict[str, list[str]]
) -> pl.DataFrame:
    """Return the rows of nobody whose hash is listed, whether rows have keys or pseudonyms."""
    if not listed:
        return frame
    agreed, own, theirs = contracts.read(project.contract_path), secret(project), keys.secret()
    for name, hashes in listed.items():
        column = agreed.column(name)
        made = theirs if column.pseudonym else None
        values = typed(frame, msgspec.structs.replace(column, pseudonym=False))
        people = {text for text in plain(values) if names(text, own, made) & {*hashes}}
        frame = frame.filter(~rows_of(values, people))
    return frame


def names(plain: str, own: bytes, made: bytes | None) -> set[str]:
    """Return the hashes by which a person is listed: of the key, and of its pseudonym if any."""
    texts = {plain, keys.hashed(plain, made)} if made else {plain}
    return {form for text in texts for form in (hashed(text, own), named(text, own))}


def named(text: str, own: bytes) -> str:
    """Return what lists a person who was named so: of a pseudonym also which secret made it."""
    made = keys.made_by(text)
    return f"k{made}-{hashed(text, own)}" if made else hashed(text, own)


def unknown(project: Project, made: dict[str, str]) -> int:
    """Count those who were named by a pseudonym of a secret other than those of a load's columns.

    Their rows come back, as nobody knows their keys.
    """
    listed = read(project).items()
    return sum(keys.made_by(one) not in ("", made.get(n, "")) for n, all_ in listed for one in all_)
