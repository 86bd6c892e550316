"""Read files of tables a stretch of rows at a time: the one reader of training and `ml score`.

CSV columns stay text, because only the contract knows their types. A column of JSON that has one
type keeps it, others become the texts of CSV. The words of `dialect.MISSING` are missing values in
every format. Memory stays flat but for a list of JSON objects, which is one document.
"""

import csv
import io
import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import msgspec
import polars as pl

from .. import dialect, parquet, settings
from ..errors import ProjectError
from . import validation

ROWS = 65_536  # of a stretch of Parquet and JSON
CHARACTERS = 8_000_000  # of a stretch of CSV
JSON_TYPES = {bool: pl.Boolean(), int: pl.Int64(), float: pl.Float64(), str: pl.String()}


class Table(NamedTuple):
    """A file of a table.

    `schema` has its columns, of JSON those of the first row; `rows` is None where only reading
    tells. `stretches` reads the columns that are asked for, or all, from the first row on; a column
    that JSON does not have is null.
    """

    schema: dict[str, pl.DataType]
    rows: int | None
    stretches: Callable[[list[str] | None], Iterator[pl.DataFrame]]


def opened(path: Path, encoding: str, found: set[str] | None = None) -> Table:
    """Open a table of any supported format; reading adds the names of JSON to `found`.

    Anything unreadable is a ProjectError that says where, at once or while it is read.
    """
    dialect.check_suffix(path)
    if not path.is_file():
        raise ProjectError(f"{path}: no such file: check the path")
    if not path.stat().st_size:
        raise ProjectError(f"{path.name}: the file is empty")
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            table = _columnar(parquet.scan(path))
        elif suffix in dialect.ARROW:
            table = _columnar(pl.scan_ipc(path))
        elif suffix == ".avro":
            table = _columnar(pl.read_avro(path).lazy())
        elif suffix in dialect.JSON:
            table = _json(path, dialect.encoding_of(path, encoding), found)
        else:
            table = _csv(path, dialect.read(path, encoding))
    except Exception as error:
        raise _refusal(path, encoding, error) from None

    def stretches(columns: list[str] | None) -> Iterator[pl.DataFrame]:
        try:
            for frame in table.stretches(columns):
                _refuse_patterns(path, frame.columns)
                yield pl.DataFrame({raw.name: validation.without_words(raw) for raw in frame})
        except Exception as error:
            raise _refusal(path, encoding, error) from None

    return table._replace(stretches=stretches)


def joined(path: Path, frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Join stretches; a column of JSON may have another type in each, or be in none before."""
    names = dict.fromkeys(name for frame in frames for name in frame.columns)
    if all(frame.schema == frames[0].schema for frame in frames):
        return pl.concat(frames) if frames else pl.DataFrame()
    return pl.DataFrame({name: _joined(path, name, frames) for name in names})


def _refuse_patterns(path: Path, names: list[str]) -> None:
    for name in names:
        if name == "*" or (name.startswith("^") and name.endswith("$")):
            raise ProjectError(f"{path.name}: column {name!r} reads as a pattern: rename it")


def _refusal(path: Path, encoding: str, error: Exception) -> Exception:
    """Return what to say of an error, in one line without values of the file."""
    if type(error) is LookupError:
        return settings.refused("data.encoding", f"unknown encoding {encoding!r}")
    if isinstance(error, pl.exceptions.DuplicateError):
        name = re.search(r"'.*'", str(error))
        return ProjectError(
            f"{path.name}: two columns have the name {name and name[0]}: rename one"
        )
    if not isinstance(error, (pl.exceptions.PolarsError, csv.Error, UnicodeError, OSError)):
        return error
    reason = str(error).strip().splitlines()[0]
    with suppress(OSError):
        reason = _damage(path, encoding) or reason
    return ProjectError(f"{path.name}: {reason}")


def _damage(path: Path, encoding: str) -> str:
    """Say which line is not in `encoding` or has too many fields; "" when that is not it."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return "not a whole Parquet file: write or copy it again"
    if suffix in (*dialect.ARROW, ".avro"):
        return f"not a whole {suffix[1:].capitalize()} file: write or copy it again"
    if reason := dialect.undecodable(path, encoding):
        return reason
    is_json = suffix in dialect.JSON
    return "" if is_json else dialect.damage(path, dialect.read(path, encoding))


def _columnar(table: pl.LazyFrame) -> Table:
    schema = dict(table.collect_schema())

    def stretches(columns: list[str] | None) -> Iterator[pl.DataFrame]:
        asked = table if columns is None else table.select(columns)
        yield from asked.collect_batches(chunk_size=ROWS)

    return Table(schema, table.select(pl.len()).collect().item(), stretches)


def _csv(path: Path, written: dialect.Dialect) -> Table:
    lost = [pl.lit(None, pl.String).alias(name) for name in written.names[written.width :]]

    def stretches(columns: list[str] | None) -> Iterator[pl.DataFrame]:
        with path.open(encoding=written.encoding, newline="") as file:
            lines = itertools.islice(file, written.skip, None)
            next(filter(None, csv.reader(lines, delimiter=written.delimiter)), None)  # the names
            for text in _whole_records(file, written.line_end):
                frame = _records(text, written).with_columns(lost)
                yield frame if columns is None else frame.select(columns)

    return Table(dict.fromkeys(written.names, pl.String()), None, stretches)


def _whole_records(file: TextIO, line_end: str) -> Iterator[str]:
    """Cut a text where a line ends outside of quotes."""
    held = ""
    while text := file.read(CHARACTERS):
        held += text
        end = held.rfind(line_end) + 1
        while held.count('"', 0, end) % 2:
            end = held.rfind(line_end, 0, held.rfind('"', 0, end)) + 1
        if end:
            yield held[:end]
            held = held[end:]
    if held:
        yield held


def _records(text: str, written: dialect.Dialect) -> pl.DataFrame:
    """Read whole records; csv.Error for a short one, which Polars fills.

    Blank lines are no rows, but rows of empty fields are.
    """
    delimiter, end, width = written.delimiter, written.line_end, written.width
    text = text.lstrip("\r\n")
    frame = pl.read_csv(
        text.encode(),
        has_header=False,
        separator=delimiter,
        schema=dict.fromkeys(written.names[:width], pl.String),
        null_values=list(dialect.MISSING),
        eol_char=end,
        missing_columns="insert",
    )
    bare = re.sub('"[^"]*"', "", text) if '"' in text else text
    lines = bare.count(end) + (not bare.endswith(end))
    is_blank = f"{end}{end}" in bare or f"{end}\r{end}" in bare or not frame.height
    fields = bare.count(delimiter) + frame.height
    if not is_blank and lines == frame.height and fields == width * frame.height:
        return frame
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    if len(rows) != frame.height or set(map(len, rows)) - {0, width}:
        raise csv.Error("a line has too few fields, or a quote that is not closed well")
    return frame.filter(pl.Series(map(bool, rows), dtype=pl.Boolean))


def _json(path: Path, encoding: str, found: set[str] | None) -> Table:
    def stretches(columns: list[str] | None) -> Iterator[pl.DataFrame]:
        objects = dialect.objects(path, encoding)
        while rows := list(itertools.islice(objects, ROWS)):
            there = dict.fromkeys(itertools.chain.from_iterable(rows))
            if found is not None:
                found.update(there)
            asked = there if columns is None else columns
            values = ((name, [row.get(name) for row in rows]) for name in asked)
            yield pl.DataFrame({name: _series(path, name, column) for name, column in values})

    first = next(dialect.objects(path, encoding), {})
    return Table(dict.fromkeys(first, pl.String()), None, stretches)


def _series(path: Path, name: str, values: list[Any]) -> pl.Series:
    kinds = {type(value) for value in values if value is not None}
    if kinds and kinds <= {list, dict}:  # no type of a contract: kept as it is
        whole = (value if value is None else msgspec.json.encode(value) for value in values)
        return pl.Series(list(whole), dtype=pl.Binary)
    if kinds & {list, dict}:
        raise ProjectError(dialect.nested(path, name))
    if len(kinds) < 2:
        with suppress(TypeError, OverflowError):  # of integers beyond 64 bits
            return pl.Series(values, dtype=JSON_TYPES[kinds.pop()] if kinds else pl.Null())
    return _texts(values)


def series(source: str, name: str, values: list[Any]) -> pl.Series:
    """Return values of JSON or of a database that have one type, or else their texts."""
    return validation.without_words(_series(Path(source), name, values))


def together(source: str, frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Return the rows of tables of one source, whose columns may have other types in each."""
    return joined(Path(source), frames)


def _joined(path: Path, name: str, frames: list[pl.DataFrame]) -> pl.Series:
    parts = [
        frame[name] if name in frame.columns else pl.Series([None]).new_from_index(0, frame.height)
        for frame in frames
    ]
    types = {part.dtype for part in parts} - {pl.Null()}
    if len(types) < 2:
        return pl.concat([part.cast(next(iter(types), pl.Null())) for part in parts])
    if pl.Binary() in types:
        raise ProjectError(dialect.nested(path, name))
    written = (_texts(p.to_list()) if p.dtype.is_float() else p.cast(pl.String) for p in parts)
    return pl.concat(list(written))


def _texts(values: list[Any]) -> pl.Series:
    return pl.Series(list(map(dialect.beside_commas, values)), dtype=pl.String)
