"""Rows of a server that the contract names: a database, an API, a topic, a file, a bucket.

`data.source` of config.yaml is then the server's name. Passwords and tokens are read from the
environment alone. What a watermark brings is put together with the rows of the last snapshot: of
two rows with one key the newer stays. A load that fails leaves everything as it was.
"""

import datetime as dt
import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import polars as pl

from .. import dialect, parquet, progress, storage, stores
from ..errors import ProjectError
from ..settings import Project
from . import contract as contracts
from . import databases, events, pseudonyms, reading, sources, validation, web
from .databases import Asked
from .sources import MANIFEST, Source

KINDS = (
    "postgres, duckdb, s3, api, kafka, and custom with `format: sqlite` and a database, or with a "
    "location of https"
)


MOMENT = re.compile(r"\d{4}-\d\d-\d\d")


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What the manifest remembers of a load, for the next one.

    `at` and `whole_at` are seconds since 1970: of this load and of the last whole one. `asked` is
    the hash of what was asked for, `mark` the highest value of the watermark's column, `ended` what
    ended the pages of an API where that was no last page.
    """

    server: str
    at: float
    whole_at: float
    asked: str
    new: int
    mark: Any = None
    ended: str = ""


class Rows(NamedTuple):
    """The rows of a source, and what the manifest remembers of them."""

    frame: pl.DataFrame
    loaded: Loaded


class _Joined(msgspec.Struct):
    columns: list[str] = []


class _Manifest(msgspec.Struct):
    file: str
    added: list[str] = []
    joined: list[_Joined] = []
    loaded: Loaded | None = None


def named(project: Project, name: str) -> Source | None:
    """Return the server of the contract with this name; None where it is a file."""
    if project.path(name).exists():
        return None
    return next((s for s in sources.of(project.contract_path) if s.server == name), None)


def table(project: Project, source: Source) -> pl.DataFrame:
    """Return all columns and rows of a source, to draft a contract from."""
    return _not_empty(source, _fetch(project, source, Asked())[0])


def side(
    project: Project, source: Source, columns: Collection[str] | None
) -> tuple[pl.DataFrame, str, str]:
    """Return all rows of a source that is joined to others, the SHA-256 of what was read, its end.

    What was read is a file of the project, or what a server answered; the end is told by `Loaded`.
    """
    if source.type != "local":
        wanted = None if columns is None else [*columns, *source.columns]
        answer, ended = _fetch(project, source, Asked(wanted))
        digest = storage.sha256_bytes(validation.parquet(_not_empty(source, answer)))
        return answer, digest, ended
    try:
        with copied(project, project.path(str(source.address.get("path", "")))) as (copy, digest):
            found = _file(source, copy)
    except ProjectError as error:
        raise ProjectError(f"{source.server}: {error}") from None
    return _chosen(source, _not_empty(source, found), Asked(columns)), digest, ""


@contextmanager
def copied(project: Project, path: Path) -> Iterator[tuple[Path, str]]:
    """Give a copy of a file that nobody replaces meanwhile, and the SHA-256 of that copy.

    Where there is no file, who reads `path` itself says what is wrong.
    """
    if not path.is_file():
        yield path, ""
        return
    copy = project.path("data/raw/.reading") / path.name
    with _for_a_while(copy.parent):
        try:
            progress.tell(f"copying and hashing {path.name}")
            yield copy, storage.copy_hashed(path, copy)
        except ProjectError as error:
            raise ProjectError(str(error).replace(str(copy), str(path))) from None


@contextmanager
def _for_a_while(folder: Path) -> Iterator[None]:
    """Make an empty folder, which is gone at the end."""
    shutil.rmtree(folder, ignore_errors=True)  # what a kill left
    folder.mkdir(parents=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def load(
    project: Project, source: Source, needed: Collection[str] = (), now: dt.datetime | None = None
) -> Rows:
    """Return the rows that a source has now, in the order of the primary key.

    `needed` are columns that are asked for beside those of the contract.

    With a watermark only what is new is asked for, while the last snapshot is of the same question
    and the last whole load is not too old.
    """
    agreed = contracts.read(project.contract_path)
    at = (now or dt.datetime.now(dt.UTC)).timestamp()
    wanted = [column.name for column in agreed.columns]
    if definition := agreed.target.definition:
        wanted += contracts.definition_columns(definition)
    mark = source.watermark
    wanted += [*needed, *source.columns, *([mark.column] if mark else [])]
    asked = _question(project, source, wanted)
    key = list(agreed.primary_key)
    if mark and not key:
        raise ProjectError(f"{source.server}: a watermark needs a primaryKey in the contract")
    if mark and any(c.name == mark.column and c.pseudonym for c in agreed.columns):
        raise ProjectError(
            f"{source.server}: the watermark's column {mark.column!r} becomes a pseudonym, which "
            "has no order: name another column, such as the time of the last change"
        )
    before = _before(project) if mark else None
    last = before.loaded if before else None
    known = None
    same = last is not None and last.mark is not None and last.asked == asked
    if mark and before and last and same and at - last.whole_at < mark.whole_days * 86_400:
        kept = _kept(project, before)
        known = None if kept is None else pseudonyms.made(project, agreed, kept)
    since = _since(last.mark, mark.overlap) if mark and last and known is not None else None
    asking = Asked(wanted, mark.column if mark else "", since)
    frame, ended = _fetch(project, source, asking)
    if mark and known is not None and _went_back(source, mark.column, frame):
        known = None
        frame, ended = _fetch(project, source, asking._replace(since=None))
    frame = pseudonyms.made(project, agreed, frame)
    new, whole_at = frame.height, last.whole_at if last and known is not None else at
    if mark:
        frame = _newest(source, mark.column, key, known, frame)
    elif source.type == "kafka" and set(key) <= set(frame.columns):
        frame = frame.unique(key or None, keep="last", maintain_order=True)
    frame = _not_empty(source, frame)
    if key and set(key) <= set(frame.columns):
        frame = frame.sort(key, maintain_order=True, nulls_last=True)
    highest = _highest(frame[mark.column], at) if mark else None
    loaded = Loaded(
        server=source.server, at=at, whole_at=whole_at, asked=asked, new=new, mark=highest,
        ended=ended,
    )  # fmt: skip
    return Rows(frame, loaded)


def _question(project: Project, source: Source, wanted: Collection[str]) -> str:
    query = project.path(source.script)
    text = query.read_text("utf-8") if source.script.endswith(".sql") and query.is_file() else ""
    said = [source.place, source.records, source.watermark, sorted(set(wanted)), text]
    return storage.sha256_text(msgspec.json.encode(said).decode())


def _before(project: Project) -> _Manifest | None:
    path = project.path(MANIFEST)
    try:
        return storage.read_json(path, _Manifest) if path.exists() else None
    except ProjectError:
        return None  # it is made again


def _kept(project: Project, before: _Manifest) -> pl.DataFrame | None:
    """Return the rows of the last snapshot as they came; None when that is gone or damaged."""
    path = project.path(before.file)
    try:
        theirs = [*before.added, *(name for join in before.joined for name in join.columns)]
        return parquet.scan(path).drop(theirs, strict=False).collect()
    except (OSError, pl.exceptions.PolarsError):
        return None


def _since(mark: Any, overlap: float) -> Any:
    """Return the value from which a load asks: the mark less an overlap of seconds or units."""
    if not overlap or mark is None:
        return mark
    if not isinstance(mark, str):
        return mark - (int(overlap) if isinstance(mark, int) else overlap)
    try:
        moment = dt.datetime.fromisoformat(mark)
    except ValueError:
        raise ProjectError(f"a watermark of {mark!r} is no time: its overlap must be 0") from None
    day = len(mark) == 10
    earlier = moment - dt.timedelta(seconds=overlap)
    if day:
        return earlier.date().isoformat()
    return earlier.isoformat(sep=mark[10])


def _went_back(source: Source, mark: str, new: pl.DataFrame) -> bool:
    """Whether a database lacks even the row that gave the last mark, as after a restore."""
    return databases.reads(source) and not new[mark].count()


def _highest(values: pl.Series, at: float) -> Any:
    """Return the highest mark that is no moment after tomorrow, as a slip like 2062 would be.

    Whoever asked from such a one on would get nothing new for years. Numbers are moments where half
    of them would lie between 2001 and tomorrow, counted since 1970.
    """
    tomorrow = dt.datetime.fromtimestamp(at, dt.UTC).replace(tzinfo=None) + dt.timedelta(days=1)
    if isinstance(values.dtype, pl.Datetime | pl.Date):
        naive = values.dt.replace_time_zone(None) if values.dtype == pl.Datetime else values
        values = values.filter(naive.cast(pl.Datetime("us")) <= tomorrow)
    elif values.dtype == pl.String and MOMENT.match(str(values.max())):
        values = values.filter(values <= tomorrow.isoformat(sep=" "))
    elif values.dtype.is_numeric() and values.count():
        middle = values.quantile(0.5, "lower") or 0.0
        for unit in (1, 1_000, 1_000_000, 1_000_000_000):  # of a second
            if 1e9 <= middle / unit <= at + 86_400:
                values = values.filter(values <= (at + 86_400) * unit)
    highest = values.max()
    return highest.isoformat() if isinstance(highest, dt.date) else highest


def _newest(
    source: Source, mark: str, key: list[str], known: pl.DataFrame | None, new: pl.DataFrame
) -> pl.DataFrame:
    """Put new rows to known ones; of each key the row with the highest mark stays."""
    if known is not None and not new.height:
        return known
    names = [name for name in (*key, mark) if name not in new.columns]
    if new.height and names:
        raise ProjectError(f"{source.server}: it has no column {names[0]!r}, which a load needs")
    if not new.height:
        return new
    rows = new.sort(mark, maintain_order=True, nulls_last=False)
    if known is not None:
        rows = reading.together(source.server, [known, rows])
        rows = rows.with_row_index("_place").sort(mark, "_place", nulls_last=False).drop("_place")
    return rows.unique(key, keep="last", maintain_order=True)


def _not_empty(source: Source, frame: pl.DataFrame) -> pl.DataFrame:
    if not frame.height:
        raise ProjectError(f"{source.server}: the source has no rows")
    return frame


def _secret(source: Source) -> str:
    if not source.secret_env:
        return ""
    secret = os.environ.get(source.secret_env, "")
    if not secret:
        raise ProjectError(
            f"{source.server}: the environment has no {source.secret_env}, which `secretEnv` "
            "names in the contract: set it, in no file that git keeps"
        )
    return secret


def _fetch(project: Project, source: Source, asked: Asked) -> tuple[pl.DataFrame, str]:
    """Return rows, and what ended the pages of an API where that was no last page."""
    secret, ended = _secret(source), ""
    location = str(source.address.get("location", ""))
    progress.tell(f"loading {source.server}")
    if databases.reads(source):
        found = databases.read(project, source, secret, asked)
    elif source.type == "api":
        if asked.since is not None and source.watermark and not source.watermark.param:
            raise ProjectError(f"{source.server}: the watermark of an API needs its `param`")
        read, ended = web.read(source, secret, asked.since, progress.tell)
        found = _chosen(source, read, asked)
    elif source.type == "kafka":
        wanted = None if asked.columns is None else [*asked.columns]
        found = events.read(source, secret, wanted, asked.since, progress.tell)
    elif source.type == "s3" or (source.type == "custom" and location.startswith("http")):
        if source.watermark:
            raise ProjectError(f"{source.server}: files have no watermark: they are read whole")
        of_bucket = source.type == "s3"
        read = _bucket(source, location) if of_bucket else _file_at(project, source, secret)
        found = _chosen(source, read, asked)
    else:
        raise ProjectError(f"{source.server}: type {source.type} is not loaded; what is: {KINDS}")
    moments = [n for n, kind in found.schema.items() if getattr(kind, "time_zone", None)]
    if moments:
        found = found.with_columns(pl.col(moments).dt.convert_time_zone("UTC"))
    return found, ended


def _chosen(source: Source, frame: pl.DataFrame, asked: Asked) -> pl.DataFrame:
    if asked.columns is None or not frame.height:
        return frame
    chosen = [name for name in frame.columns if name in asked.columns]
    if not chosen:
        raise ProjectError(f"{source.server}: it has none of the columns that the contract names")
    return frame.select(chosen)


def _file_at(project: Project, source: Source, secret: str) -> pl.DataFrame:
    name = str(source.address["location"]).partition("?")[0].rpartition("/")[2]
    copy = project.path("data/raw/.fetching") / name
    dialect.check_suffix(copy)
    with _for_a_while(copy.parent):
        web.download(source, secret, copy)
        return _file(source, copy)


def _file(source: Source, path: Path) -> pl.DataFrame:
    """Read a file of a server, whose encoding its server says and not config.yaml."""
    try:
        opened = reading.opened(path, str(source.address.get("encoding", "utf-8")))
        return reading.joined(path, list(opened.stretches(None)))
    except ProjectError as error:
        there = "in its server of the contract, such as `encoding: cp1252`"
        raise ProjectError(str(error).replace(dialect.IN_CONFIG, there)) from None


def _bucket(source: Source, location: str) -> pl.DataFrame:
    """Read Parquet or Arrow files, or CSV as text, of a bucket; keys come from AWS_ variables."""
    endpoint = source.address.get("endpointUrl")
    options = {"aws_endpoint_url": str(endpoint)} if endpoint else {}
    if str(endpoint).startswith("http://"):
        options["aws_allow_http"] = "true"
    form = str(source.address.get("format") or location.rpartition(".")[2])
    try:
        if form == "parquet":
            found = pl.scan_parquet(location, storage_options=options)
        elif form in ("arrow", "feather"):
            found = pl.scan_ipc(location, storage_options=options)
        elif form == "csv":
            found = pl.scan_csv(
                location, infer_schema=False, null_values=list(dialect.MISSING),
                storage_options=options,
            )  # fmt: skip
        else:
            raise ProjectError(f"{source.server}: format {form} is not read from a bucket")
        return found.collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ProjectError(f"{source.server}: {location}: {stores.reason(error)}") from None
