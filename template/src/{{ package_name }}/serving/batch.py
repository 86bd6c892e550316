"""Batch scoring: a file of any size in, one prediction per row out.

The file is read as a stream, so memory stays flat. Each stretch of rows becomes a part beside the
output; a run that was killed goes on after its last part, and the same input and model always
give the same bytes.
"""

import csv
import datetime as dt
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from .. import contract, registry, storage
from ..errors import ProjectError
from ..scorer import Scorer, ServedColumn
from ..settings import Project

PART_ROWS = 65_536
BLOCK_BYTES = 8_000_000
JSON_LINES = (".jsonl", ".ndjson", ".json")
NULLS = ["", "NA", "N/A", "null", "NULL", "NaN", "nan"]  # in CSV, as `ml ingest` has it
NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf|infinity)$"
TRUE, FALSE = pa.array(["true", "t", "yes", "y", "1"]), pa.array(["false", "f", "no", "n", "0"])
TYPES = {"category": pa.string(), "date": pa.date32(), "timestamp": pa.timestamp("us")}


class Source(NamedTuple):
    """An input file as a stream of record batches; `rows` is None when only reading tells."""

    batches: Iterator[Any]
    keys: dict[str, Any]  # name: Arrow type
    rows: int | None = None


def run(project: Project, source: Path, output: Path, *, force: bool = False) -> dict[str, Any]:
    """Score `source` with the champion into `output`; the suffixes say the formats.

    A row of the output has the key columns of the input, probability, decision, model_version and
    problem: the first rule that the row breaks, as "column: rule". Such a row has no probability.
    Returns {version, model_sha256, input_sha256, rows, problems, output_sha256}; finished work is
    not done again unless `force` is set.
    """
    for path in (source, output):
        if path.suffix not in (".parquet", ".csv", *JSON_LINES):
            raise ProjectError(f"{path.name}: the name must end in .parquet, .csv or .jsonl")
    if not source.is_file() or source.resolve() == output.resolve():
        raise ProjectError(f"{source}: no such file, or the output itself")
    folder = registry.champion_folder(project)
    scorer = Scorer.load(folder, threads=os.cpu_count() or 1)
    job = {
        "version": scorer.version,
        "model_sha256": storage.sha256(folder / "manifest.json"),
        "input_sha256": storage.sha256(source),
    }
    receipt = output.with_name(f"{output.name}.done.json")
    done = _recorded(receipt)
    known = job.items() <= done.items() and output.is_file()
    if known and not force and storage.sha256(output) == done["output_sha256"]:
        return done
    parts = output.with_name(f"{output.name}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    with storage.project_lock(parts):
        if force or _recorded(parts / "job.json") != job:
            for old in parts.glob("*.parquet"):
                old.unlink()
        storage.write_json(parts / "job.json", job)
        keys = _keys(contract.read(folder / "contract.odcs.yaml"))
        opened = open_source(source, scorer.columns, keys, project.config.data.encoding)
        finished = _score_parts(scorer, opened, parts)
        totals = _assemble(finished, _schema(opened.keys), output)
    report = job | totals | {"output_sha256": storage.sha256(output)}
    storage.write_json(receipt, report)
    shutil.rmtree(parts, ignore_errors=True)
    return report


def _keys(of: contract.Contract) -> list[str]:
    """Return the columns that say which row it is."""
    others = (column.name for column in (of.entity, of.time) if column)
    return list(dict.fromkeys((*of.primary_key, *others)))


def _recorded(path: Path) -> dict[str, Any]:
    try:
        return storage.read_json(path)
    except ProjectError:
        return {}


def _score_parts(scorer: Scorer, source: Source, parts: Path) -> list[Path]:
    """Score what has no part yet; return all parts in order."""
    finished = []
    schema = _schema(source.keys)
    console = Console(stderr=True)
    with Progress(console=console, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("scoring", total=source.rows)
        for number, batch in enumerate(source.batches):
            part = parts / f"{number:06d}.parquet"
            if not _is_whole(part, batch.num_rows):
                table = score(scorer, batch).select(schema.names).cast(schema)
                with storage.replacing_file(part) as temporary:
                    pq.write_table(table, temporary)
            finished.append(part)
            progress.advance(task, batch.num_rows)
    return finished


def _is_whole(part: Path, rows: int) -> bool:
    try:
        return bool(pq.read_metadata(part).num_rows == rows)
    except (OSError, pa.ArrowInvalid):
        return False


def _schema(keys: dict[str, Any]) -> Any:
    results = {
        "probability": pa.float64(),
        "decision": pa.bool_(),
        "model_version": pa.string(),
        "problem": pa.string(),
    }
    return pa.schema(list((keys | results).items()))


def _assemble(parts: list[Path], schema: Any, output: Path) -> dict[str, int]:
    """Join the parts to the output, which appears at once."""
    rows = problems = 0
    with storage.replacing_file(output) as temporary, _writer(temporary, output, schema) as writer:
        for part in parts:
            table = pq.read_table(part)
            writer.write_table(table)
            rows += table.num_rows
            problems += table.num_rows - table["problem"].null_count
    return {"rows": rows, "problems": problems}


def _writer(path: Path, output: Path, schema: Any) -> Any:
    if output.suffix == ".parquet":
        return pq.ParquetWriter(path, schema)
    if output.suffix == ".csv":
        return arrow_csv.CSVWriter(path, schema)
    return _JsonLinesWriter(path)


class _JsonLinesWriter:
    def __init__(self, path: Path) -> None:
        self.file = path.open("wb")

    def __enter__(self) -> "_JsonLinesWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write_table(self, table: Any) -> None:
        self.file.writelines(msgspec.json.encode(row) + b"\n" for row in table.to_pylist())


def open_source(
    path: Path, columns: tuple[ServedColumn, ...], keys: list[str], encoding: str
) -> Source:
    """Open the input; a column that is missing or a file that is damaged is a ProjectError."""
    needed = [column.name for column in columns]
    if path.suffix in JSON_LINES:
        with path.open("rb") as file:
            first = next(_objects(path, file), {})
        found = [key for key in keys if key in first]
        wanted = list(dict.fromkeys(needed + found))
        return Source(_json_batches(path, wanted, found), dict.fromkeys(found, pa.string()))
    try:
        if path.suffix == ".parquet":
            file = pq.ParquetFile(path, buffer_size=1_000_000)
            types = {field.name: _plain(field.type) for field in file.schema_arrow}
            wanted = _wanted(path, needed, keys, types)
            batches = file.iter_batches(PART_ROWS, columns=wanted)
            rows = file.metadata.num_rows
        else:
            with path.open(encoding="utf-8-sig" if encoding == "utf-8" else encoding) as text:
                header = text.readline()
            delimiter = max(",;\t|", key=header.count)
            types = dict.fromkeys(next(csv.reader([header], delimiter=delimiter), []), pa.string())
            wanted = _wanted(path, needed, keys, types)
            batches, rows = _csv_batches(path, wanted, delimiter, encoding), None
    except (pa.ArrowInvalid, UnicodeDecodeError, LookupError) as error:
        raise _unreadable(path, error) from None
    return Source(_guarded(path, batches), {key: types[key] for key in keys if key in types}, rows)


def _wanted(path: Path, needed: list[str], keys: list[str], there: dict[str, Any]) -> list[str]:
    missing = [name for name in needed if name not in there]
    if missing:
        raise ProjectError(
            f"{path.name}: column {missing[0]!r} is missing ({len(missing)} in all), but the model "
            "needs it"
        )
    return list(dict.fromkeys([*needed, *(key for key in keys if key in there)]))


def _csv_batches(path: Path, wanted: list[str], delimiter: str, encoding: str) -> Iterator[Any]:
    yield from arrow_csv.open_csv(
        path,
        read_options=arrow_csv.ReadOptions(block_size=BLOCK_BYTES, encoding=encoding),
        parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            include_columns=wanted,
            column_types=dict.fromkeys(wanted, pa.string()),
            null_values=NULLS,
            strings_can_be_null=True,
        ),
    )


def _objects(path: Path, file: Any) -> Iterator[dict[str, Any]]:
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    for number, line in enumerate(file, 1):
        if line.isspace():
            continue
        try:
            yield decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ProjectError(f"{path.name}: line {number} is not a JSON object") from None


def _json_batches(path: Path, wanted: list[str], keys: list[str]) -> Iterator[Any]:
    with path.open("rb") as file:
        objects = _objects(path, file)
        while rows := list(islice(objects, PART_ROWS)):
            values = {name: [row.get(name) for row in rows] for name in wanted}
            yield pa.record_batch({name: _array(values[name], name in keys) for name in wanted})


def _array(values: list[Any], as_text: bool) -> Any:
    """Return JSON values of one type as they are, others as text."""
    if not as_text:
        try:
            return pa.array(values)
        except (pa.ArrowException, OverflowError):
            pass
    texts = (
        v if v is None or isinstance(v, str) else msgspec.json.encode(v).decode() for v in values
    )
    return pa.array(texts, pa.string())


def _guarded(path: Path, batches: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from batches
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> ProjectError:
    reason = re.sub(r"(got \d+):.*", r"\1", str(error).partition("\n")[0])  # no values
    return ProjectError(f"{path.name} cannot be read: {reason}")


def score(scorer: Scorer, batch: Any) -> Any:
    """Return the columns of `batch` with probability, decision, model_version and problem."""
    encoded, problem = encode(scorer, batch)
    scores = scorer.predict(encoded)
    bad = problem.is_valid().to_numpy(zero_copy_only=False)
    results = {
        "probability": pa.array(scores.probability, mask=bad),
        "decision": pa.array(scores.decision, mask=bad),
        "model_version": pa.repeat(scorer.version, batch.num_rows),
        "problem": problem,
    }
    return pa.table(dict(zip(batch.schema.names, batch.columns, strict=True)) | results)


def encode(scorer: Scorer, batch: Any) -> tuple[NDArray[np.float32], Any]:
    """Return the matrix that `scorer.encode_rows` gives for these rows, and each row's problem."""
    problem = pa.nulls(batch.num_rows, pa.string())
    typed = {}
    for column in scorer.columns:
        raw = batch.column(column.name)
        raw = raw.cast(_plain(raw.type))
        values = typed[column.name] = read(raw, column)
        for rule, broken in _broken(raw, values, column):
            first = pc.and_(broken, pc.is_null(problem))
            problem = pc.if_else(first, f"{column.name}: {rule}", problem)
    matrix = np.empty((batch.num_rows, len(scorer.spec.names)), dtype=np.float32)
    with np.errstate(over="ignore"):
        for index, number in enumerate(scorer.spec.numeric):
            values = PARTS[number.part](typed[number.column]).cast(pa.float64())
            matrix[:, index] = values.fill_null(float("nan")).to_numpy()
        for index, category in enumerate(scorer.spec.categorical, len(scorer.spec.numeric)):
            levels = pa.array(category.levels, pa.string())
            codes = pc.index_in(typed[category.column].fill_null(""), value_set=levels)
            matrix[:, index] = codes.fill_null(len(levels)).to_numpy()
    return matrix, problem


PARTS: dict[str, Callable[[Any], Any]] = {
    "value": lambda values: values,
    "month": pc.month,
    "day": pc.day,
    "weekday": lambda values: pc.day_of_week(values, count_from_zero=False, week_start=1),
    "hour": pc.hour,
    "minute": pc.minute,
}


def _broken(raw: Any, values: Any, column: ServedColumn) -> Iterator[tuple[str, Any]]:
    """Give the rules that rows break, in the words and order of `ml validate`, with their rows."""
    present = raw.is_valid()
    if pa.types.is_string(raw.type):
        present = pc.and_(present, pc.not_equal(raw, "").fill_null(False))
    elif pa.types.is_floating(raw.type):
        present = pc.and_(present, pc.invert(pc.is_nan(raw)).fill_null(False))
    rules = {"type": pc.and_(present, values.is_null())}
    if column.required:
        rules["required"] = pc.invert(present)
    if column.kind == "number":
        rules["infinite"] = pc.is_inf(values)
    if column.minimum is not None:
        rules["minimum"] = pc.less(values, column.minimum)
    if column.maximum is not None:
        rules["maximum"] = pc.greater(values, column.maximum)
    if column.levels:
        known = pc.is_in(values, value_set=pa.array(column.levels), skip_nulls=True)
        rules["levels"] = pc.and_(values.is_valid(), pc.invert(known))
    for rule, broken in rules.items():
        if pc.any(broken).as_py():
            yield rule, broken.fill_null(False)


def read(raw: Any, column: ServedColumn) -> Any:
    """Read values as the contract's kind says, null where missing or impossible.

    Numbers, integers and booleans become float64, categories text, dates date32, timestamps
    microseconds in UTC. The rules are those of `ml validate`.
    """
    if column.kind == "category":
        values = _texts(raw)
    elif column.kind in ("date", "timestamp"):
        values = _moments(raw, column)
    else:
        values = _numbers(raw, column.kind)
    return pa.nulls(len(raw), TYPES.get(column.kind, pa.float64())) if values is None else values


def _texts(raw: Any) -> Any:
    if pa.types.is_string(raw.type):
        return pc.if_else(pc.equal(raw, ""), None, raw)
    if pa.types.is_floating(raw.type):
        return _each(raw, repr, pa.string())
    nested = pa.types.is_nested(raw.type) or pa.types.is_binary(raw.type)
    return None if nested else raw.cast(pa.string())


def _moments(raw: Any, column: ServedColumn) -> Any:
    type = TYPES[column.kind]
    if pa.types.is_string(raw.type):
        trimmed = pc.utf8_trim_whitespace(raw)
        return _each(trimmed, lambda text: _moment(text, column), type)
    known = pa.types.is_date(raw.type) or pa.types.is_timestamp(raw.type)
    return raw.cast(type, safe=False) if known else None


def _numbers(raw: Any, kind: str) -> Any:
    type = raw.type
    if pa.types.is_string(type):
        text = pc.utf8_lower(pc.utf8_trim_whitespace(raw))
        if kind == "boolean":
            no = pc.if_else(pc.is_in(text, value_set=FALSE), 0.0, None)
            return pc.if_else(pc.is_in(text, value_set=TRUE), 1.0, no)
        raw = pc.if_else(pc.match_substring_regex(text, NUMBER), text, None)
    elif not (pa.types.is_primitive(type) or pa.types.is_decimal(type)) or pa.types.is_temporal(
        type
    ):
        return None
    values = raw.cast(pa.float64(), safe=False)
    if kind == "integer":
        # Whole, and within 64 bits; an infinity is neither.
        good = pc.and_(pc.equal(values, pc.floor(values)), pc.less_equal(pc.abs(values), 2.0**63))
    elif kind == "boolean":
        good = pc.or_(pc.equal(values, 0), pc.equal(values, 1))
    else:
        good = pc.invert(pc.is_nan(values))
    return pc.if_else(good, values, None)


def _plain(type: Any) -> Any:
    """Return the type without dictionaries and with one kind of text."""
    type = type.value_type if pa.types.is_dictionary(type) else type
    texts = (pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return pa.string() if any(is_text(type) for is_text in texts) else type


def _each(values: Any, convert: Callable[[Any], Any], type: Any) -> Any:
    """Convert every distinct value once."""
    encoded = values.dictionary_encode()
    converted = [convert(value) for value in encoded.dictionary.to_pylist()]
    return pa.array(converted, type).take(encoded.indices)


def _moment(text: str, column: ServedColumn) -> dt.date | None:
    """Read an ISO 8601 date or time or one of the contract's formats; offsets become UTC."""
    iso = (dt.date if column.kind == "date" else dt.datetime).fromisoformat
    for form in ("ISO", *column.formats):
        try:
            if form == "ISO":
                moment = iso(text if text[4:5] == text[7:8] == "-" else "")
            else:
                moment = dt.datetime.strptime(text, form)
        except ValueError:
            continue
        if isinstance(moment, dt.datetime) and moment.tzinfo:
            moment = moment.astimezone(dt.UTC).replace(tzinfo=None)
        return moment if moment.year >= 1000 else None
    return None
