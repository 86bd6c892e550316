"""Batch scoring: a file of any size in, one prediction per row out.

The file is read as a stream, so memory stays flat. Each stretch of rows becomes a part beside the
output; a run that was killed goes on after its last part, and the same input and model always
give the same bytes.
"""

import re
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from .. import dialect, parquet, progress, storage, threads
from ..data import contract
from ..errors import ProjectError
from ..model import registry
from ..model.output import Output
from ..model.scorer import Scorer, ServedColumn
from ..settings import Project, refused
from . import arrow

PART_ROWS = 65_536
FORMAT = 4  # of the parts; those of another are not used
BROKEN = (pa.ArrowException, OSError, UnicodeDecodeError, LookupError)
ARROW = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
}
BLOCK_BYTES = 1_000_000  # of CSV; pyarrow reads up to 32 blocks ahead


class Source(NamedTuple):
    """An input file as a stream of record batches; `rows` is None when only reading tells."""

    batches: Iterator[Any]
    keys: dict[str, Any]  # name: Arrow type
    names: set[str]  # of all columns; those of JSON once it has been read
    rows: int | None = None


def run(project: Project, source: Path, output: Path, *, force: bool = False) -> dict[str, Any]:
    """Score `source` with the champion into `output`; the suffixes say the formats.

    A row of the output has the key columns of the input, where those are no whole primary key after
    its number from 0 as `row`; then the outputs of the model, model_version, problem and warning.
    The problem is the first rule that the row breaks, as "column: rule"; such a row has no outputs.
    The warning is the first category that training has not learnt. The bytes do not depend on the
    number of cores.
    Finished work is not done again unless `force` is set. Returns what OUT.done.json records: the
    version, the hashes of model, input and output, the counts `rows` and `problems`, the columns
    that the contract does not know and those of the model that no row has.
    """
    dialect.check_suffix(source)
    if output.suffix.lower() not in (".parquet", ".csv", *dialect.JSON):
        raise ProjectError(f"{output.name}: the name must end in .parquet, .csv or .jsonl")
    if not source.is_file():
        raise ProjectError(f"{source}: no such file")
    if source.resolve() == output.resolve():
        raise ProjectError(f"{output}: this is the input: give the output another name")
    folder = registry.champion_folder(project)
    scorer = Scorer.load(folder, threads=1)  # more would change the last bits
    job: dict[str, Any] = {
        "version": scorer.version,
        "model_sha256": storage.sha256(folder / "manifest.json"),
        "input_sha256": storage.sha256(source),
        "encoding": project.config.data.encoding,
        "part_rows": PART_ROWS,
        "format": FORMAT,
    }
    receipt = output.with_name(f"{output.name}.done.json")
    done = _recorded(receipt)
    known = job.items() <= done.items() and output.is_file()
    if known and not force and storage.sha256(output) == done["output_sha256"]:
        return done
    parts = output.with_name(f"{output.name}.parts")
    for ours in (receipt, parts):  # names that others can foresee
        if ours.is_symlink():
            raise ProjectError(f"{ours} is a link, which may lead anywhere: remove it")
    parts.mkdir(parents=True, exist_ok=True)
    with storage.project_lock(parts):
        if force or _recorded(parts / "job.json") != job:
            for old in parts.glob("*.parquet"):
                old.unlink()
        storage.write_json(parts / "job.json", job)
        agreed = contract.read(folder / "contract.odcs.yaml")
        try:
            opened = open_source(source, scorer.columns, _keys(agreed), job["encoding"])
            schema = _schema(opened.keys, agreed.primary_key, scorer.outputs)
            workers = threads.workers(project.config.training.threads)
            finished = _score_parts(scorer, opened, schema, parts, workers)
        except ProjectError:  # of an input that has to be mended: nothing goes on from here
            shutil.rmtree(parts, ignore_errors=True)
            raise
        totals = _assemble(finished, schema, output)
    report = job | totals | _unmatched(opened.names, agreed, scorer)
    report["output_sha256"] = storage.sha256(output)
    storage.write_json(receipt, report)
    shutil.rmtree(parts, ignore_errors=True)
    return report


def _keys(of: contract.Contract) -> list[str]:
    """Return the columns that say which row it is."""
    others = (column.name for column in (of.entity, of.time) if column)
    return list(dict.fromkeys((*of.primary_key, *others)))


def _unmatched(names: set[str], agreed: contract.Contract, scorer: Scorer) -> dict[str, Any]:
    """Return what may be a misspelt name; a file is not refused for it, as a request is.

    Files have columns that are not for the model, and JSON leaves out what has no value.
    """
    unknown = names - {column.name for column in agreed.columns}
    absent = {column.name for column in scorer.columns} - names if names else set()
    return {"unknown_columns": sorted(unknown)[:20], "absent_columns": sorted(absent)}


def _recorded(path: Path) -> dict[str, Any]:
    try:
        return storage.read_json(path)
    except ProjectError:
        return {}


def _score_parts(
    scorer: Scorer, source: Source, schema: Any, parts: Path, workers: int
) -> list[Path]:
    """Score what has no part yet; return all parts in order."""

    def work(number: int, first: int, batch: Any) -> tuple[Path, int]:
        part = parts / f"{number:06d}.parquet"
        if not _is_whole(part, batch.num_rows):
            table = score(scorer, batch, None if "row" in source.keys else first)
            with storage.replacing_file(part) as temporary:
                table = table.select(schema.names).cast(schema)
                pq.write_table(table, temporary, write_page_checksum=True)
        return part, batch.num_rows

    def tasks() -> Iterator[tuple[int, int, Any]]:
        first = 0
        for number, batch in enumerate(source.batches):
            yield number, first, batch
            first += batch.num_rows

    finished, scored = [], 0
    for part, rows in _in_order(work, tasks(), workers):
        finished.append(part)
        scored += rows
        progress.tell("scored rows", scored, source.rows)
    return finished


def _in_order(
    work: Callable[..., tuple[Path, int]], tasks: Iterator[tuple[Any, ...]], workers: int
) -> Iterator[tuple[Path, int]]:
    """Do tasks side by side, at most two per worker in memory; give the results in order."""
    waiting: deque[Future[tuple[Path, int]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for task in tasks:
            waiting.append(pool.submit(work, *task))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _is_whole(part: Path, rows: int) -> bool:
    try:
        return bool(pq.read_table(part, page_checksum_verification=True).num_rows == rows)
    except (OSError, pa.ArrowException):
        return False


def _schema(keys: dict[str, Any], primary_key: tuple[str, ...], outputs: Sequence[Output]) -> Any:
    results = {
        **{output.name: ARROW[output.kind] for output in outputs},
        "model_version": pa.string(),
        "problem": pa.string(),
        "warning": pa.string(),
    }
    is_named = primary_key and {*primary_key} <= keys.keys()
    number = {} if is_named else {"row": pa.int64()}
    return pa.schema(list((number | keys | results).items()))


def _assemble(parts: list[Path], schema: Any, output: Path) -> dict[str, int]:
    """Join the parts to the output, which appears at once."""
    rows = problems = 0
    with storage.replacing_file(output) as temporary, _writer(temporary, output, schema) as writer:
        for number, part in enumerate(parts, 1):
            progress.tell(f"writing {output.name}, part", number, len(parts))
            table = pq.read_table(part)
            writer.write_table(table)
            rows += table.num_rows
            problems += table.num_rows - table["problem"].null_count
    return {"rows": rows, "problems": problems}


def _writer(path: Path, output: Path, schema: Any) -> Any:
    if output.suffix.lower() == ".parquet":
        return pq.ParquetWriter(path, schema)
    if output.suffix.lower() == ".csv":
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
    try:
        if path.suffix.lower() in dialect.JSON:
            encoding = dialect.encoding_of(path, encoding)
            first = next(dialect.objects(path, encoding), {})
            found = [key for key in keys if key in first]
            names: set[str] = set()
            batches = _json_batches(path, encoding, columns, found, names)
            types = dict.fromkeys(found, pa.string())
            return Source(_guarded(path, batches, encoding), types, names)
        if path.suffix.lower() == ".parquet":
            file = parquet.opened(path)
            dialect.refuse_twice(path, file.schema_arrow.names)
            types = {field.name: arrow.plain(field.type) for field in file.schema_arrow}
            wanted = _wanted(path, needed, keys, types)
            batches = parquet.batches(file, PART_ROWS, wanted)
            rows = file.metadata.num_rows
        else:
            written = dialect.read(path, encoding)
            types = dict.fromkeys(written.names, pa.string())
            wanted = _wanted(path, needed, keys, types)
            batches, rows = _csv_guarded(path, wanted, written, encoding), None
    except BROKEN as error:
        raise _unreadable(path, error, encoding) from None
    found_keys = {key: types[key] for key in keys if key in types}
    return Source(_guarded(path, batches, encoding), found_keys, set(types), rows)


def _wanted(path: Path, needed: list[str], keys: list[str], there: dict[str, Any]) -> list[str]:
    missing = [name for name in needed if name not in there]
    if missing:
        raise ProjectError(
            f"{path.name}: column {missing[0]!r} is missing ({len(missing)} in all), but the model "
            "needs it"
        )
    return list(dict.fromkeys([*needed, *(key for key in keys if key in there)]))


def _csv_guarded(
    path: Path, wanted: list[str], written: dialect.Dialect, encoding: str
) -> Iterator[Any]:
    """Give the batches; a line that does not fit the names is named as `ml ingest` names it."""
    try:
        yield from _csv_batches(path, wanted, written)
    except pa.ArrowInvalid:
        if reason := dialect.undecodable(path, encoding) or dialect.damage(path, written):
            raise ProjectError(f"{path.name}: {reason}") from None
        raise


def _csv_batches(path: Path, wanted: list[str], written: dialect.Dialect) -> Iterator[Any]:
    encoding = "utf8" if written.encoding == "utf-8-sig" else written.encoding
    blocks = arrow_csv.open_csv(
        path,
        read_options=arrow_csv.ReadOptions(
            block_size=BLOCK_BYTES,
            encoding=encoding,
            skip_rows=written.skip,
            column_names=written.names[: written.width],
            skip_rows_after_names=1,
        ),
        parse_options=arrow_csv.ParseOptions(delimiter=written.delimiter, newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            include_columns=wanted,
            include_missing_columns=True,  # the last ones, where no row has them
            column_types=dict.fromkeys(wanted, pa.string()),
            null_values=dialect.MISSING,
            strings_can_be_null=True,
        ),
    )
    held: list[Any] = []
    for block in blocks:
        held.append(block)
        if sum(part.num_rows for part in held) >= PART_ROWS:
            yield pa.concat_batches(held)
            held = []
    if held:
        yield pa.concat_batches(held)


def _json_batches(
    path: Path,
    encoding: str,
    columns: tuple[ServedColumn, ...],
    keys: list[str],
    names: set[str],
) -> Iterator[Any]:
    objects = dialect.objects(path, encoding)
    while rows := list(islice(objects, PART_ROWS)):
        names.update(*rows)
        served = {c.name: _array([row.get(c.name) for row in rows], path, c) for c in columns}
        texts = {key: [dialect.text(row.get(key)) for row in rows] for key in keys}
        yield pa.record_batch(served | {k: pa.array(v, pa.string()) for k, v in texts.items()})


def _array(values: list[Any], path: Path, column: ServedColumn) -> Any:
    """Return JSON values of one type as they are, others as the texts that mean the same."""
    kinds = {type(value) for value in values if value is not None}
    if kinds and kinds <= {list, dict}:  # as `ml ingest`: no value of any kind
        return pa.array([value if value is None else b"" for value in values], pa.binary())
    if kinds & {list, dict}:
        raise ProjectError(dialect.nested(path, column.name))
    if len(kinds) < 2:
        with suppress(pa.ArrowException, OverflowError):  # of integers beyond 64 bits
            return pa.array(values)
    as_text = dialect.beside_commas if column.decimal_comma else dialect.text
    return pa.array(map(as_text, values), pa.string())


def _guarded(path: Path, batches: Iterator[Any], encoding: str) -> Iterator[Any]:
    try:
        yield from batches
    except BROKEN as error:
        raise _unreadable(path, error, encoding) from None


def _unreadable(path: Path, error: Exception, encoding: str) -> Exception:
    if isinstance(error, UnicodeDecodeError):
        return ProjectError(f"{path.name}: {dialect.undecodable(path, encoding) or error.reason}")
    if isinstance(error, OSError) and error.errno:
        return error  # the system's, such as a disk that fails
    if isinstance(error, LookupError):
        return refused("data.encoding", str(error))
    reason = re.sub(r"(got \d+):.*", r"\1", str(error).partition("\n")[0])  # no values
    return ProjectError(f"{path.name} cannot be read: {reason}")


def score(scorer: Scorer, batch: Any, first: int | None = None) -> Any:
    """Return the columns of `batch` with the outputs, model_version, problem and warning.

    With `first`, the number of its first row in the file, also `row`.
    """
    encoded = arrow.encode(scorer, batch)
    scores, problem = scorer.predict(encoded.matrix), encoded.problem
    bad = problem.is_valid().to_numpy(zero_copy_only=False)
    results = {
        **{name: pa.array(values, mask=bad) for name, values in scores.items()},
        "model_version": pa.repeat(scorer.version, batch.num_rows),
        "problem": problem,
        "warning": pc.if_else(problem.is_valid(), None, encoded.warning),
    }
    if first is not None:
        results["row"] = pa.array(np.arange(first, first + batch.num_rows))
    return pa.table(dict(zip(batch.schema.names, batch.columns, strict=True)) | results)
