"""Batch scoring: a file of any size in, one prediction per row out.

The file is read as a stream, so memory stays flat. Each stretch of rows becomes a part beside the
output; a run that was killed goes on after its last part, and the same input and model always
give the same bytes.
"""

import json
import mmap
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from .. import beside, dialect, keys, progress, storage, threads, traces
from ..data import contract, reading, validation, whole
from ..errors import ProjectError
from ..history import earlier_of, matrix_for, passed_of
from ..model import registry
from ..model.output import Output
from ..model.scorer import UNSEEN, Scorer
from ..model.values import ServedColumn
from ..settings import Project

FORMAT = 6  # of the parts; those of another are not used
POLARS: dict[str, pl.DataType] = {
    "number": pl.Float64(),
    "integer": pl.Int64(),
    "boolean": pl.Boolean(),
    "text": pl.String(),
    "numbers": pl.Float64(),
    "list": pl.Float64(),
    "items": pl.String(),  # one after the other
    "names": pl.String(),  # as a list of JSON, for a name may hold a blank
}


class Source(NamedTuple):
    """An input file as a stream of tables; `rows` is None when only reading tells."""

    stretches: Iterator[pl.DataFrame]
    keys: dict[str, pl.DataType]
    names: set[str]  # of all columns; those of JSON once it has been read
    rows: int | None = None
    hashed: Sequence[contract.Column] = ()  # whose pseudonym takes their place in the output


class Prepared(NamedTuple):
    """The champion, what says that a run was the same, and how old the state is that it asks."""

    folder: Path
    scorer: Scorer
    job: dict[str, Any]
    looked_up: dict[str, Any]


class Encoded(NamedTuple):
    """The matrix that `scorer.encode_rows` gives, each row's problem and warning or null.

    `earlier` is what rows look back to beyond it.
    """

    matrix: NDArray[np.float32]
    problem: pl.Series
    warning: pl.Series
    earlier: dict[str, NDArray[Any]]


def run(
    project: Project,
    source: Path,
    output: Path,
    *,
    force: bool = False,
    ready: Prepared | None = None,
) -> dict[str, Any]:
    """Score `source` with the champion into `output`; the suffixes say the formats.

    A row of the output has the key columns of the input and its `event_id`, where those are no
    whole primary key after its number from 0 as `row`; then the outputs of the model,
    model_version, problem and warning.
    The problem is the first rule that the row breaks, as "column: rule"; such a row has no outputs.
    The warning is the first category that training has not learnt. The bytes do not depend on the
    number of cores.
    Finished work is not done again unless `force` is set. Returns what OUT.done.json records: the
    version, the hashes of model, input and output, the counts `rows` and `problems`, the columns
    that the contract does not know and those of the model that no row has.
    """
    check_output(output)
    if source.resolve() == output.resolve():
        raise ProjectError(f"{output}: this is the input: give the output another name")
    folder, scorer, job, looked_up = ready or prepared(project, source)
    if people := hashed(project, folder, output):  # a file of before has their keys
        key = keys.secret()
        job = job | {"pseudonyms": {c.name: keys.fingerprint(key) if key else "" for c in people}}
    receipt = output.with_name(f"{output.name}.done.json")
    done = _recorded(receipt)
    known = job.items() <= done.items() and output.is_file()
    whole_before = known and storage.sha256(output) == done["output_sha256"]
    if whole_before and beside.stands(output, done) and not force:
        return done
    parts = output.with_name(f"{output.name}.parts")
    for ours in (receipt, parts):  # names that others can foresee
        if ours.is_symlink():
            raise ProjectError(f"{ours} is a link, which may lead anywhere: remove it")
    parts.mkdir(parents=True, exist_ok=True)
    with storage.project_lock(parts):
        if force or _recorded(parts / "job.json") != job:
            for old in parts.glob("[0-9]*"):
                old.unlink()
        storage.write_json(parts / "job.json", job)
        agreed = contract.read(folder / "contract.odcs.yaml")
        try:
            sent = (*(c.name for c in agreed.keys), *(c.name for c in scorer.keys.values()))
            named = list(dict.fromkeys((*sent, *beside.named(folder))))
            opened = open_source(source, scorer.columns, named, job["encoding"], scorer.wants)
            opened = opened._replace(hashed=[c for c in people if c.name in opened.keys])
            opened.keys.update((column.name, pl.String()) for column in opened.hashed)
            schema = _schema(opened.keys, agreed.primary_key, scorer.outputs)
            workers = threads.workers(project.config.training.threads)
            if scorer.spec.words:
                opened = _filled(opened, scorer, source)
            finished = _score_parts(scorer, opened, schema, parts, workers)
        except ProjectError:  # of an input that has to be mended: nothing goes on from here
            shutil.rmtree(parts, ignore_errors=True)
            raise
        totals = _assemble(finished, schema, output)
        totals |= beside.written(folder, finished, output, done)
    report = job | looked_up | totals | _unmatched(opened.names, agreed, scorer)
    report["output_sha256"] = storage.sha256(output)
    if trace_id := traces.current():
        report["trace_id"] = trace_id
    storage.write_json(receipt, report)
    shutil.rmtree(parts, ignore_errors=True)
    return report


def check_output(output: PurePath) -> None:
    """ProjectError for a name whose end does not say the format."""
    if output.suffix.lower() not in (".parquet", ".csv", *dialect.JSON):
        raise ProjectError(f"{output.name}: the name must end in .parquet, .csv or .jsonl")


def prepared(project: Project, source: Path) -> Prepared:
    """Open the champion; ProjectError for an input that is not there."""
    if not source.is_dir():
        dialect.check_suffix(source)
    if not source.exists():
        raise ProjectError(f"{source}: no such file")
    folder = registry.champion_folder(project)
    scorer = Scorer.load(folder, threads=1)  # more would change the last bits
    job: dict[str, Any] = {
        "version": scorer.version,
        "model_sha256": storage.sha256(folder / "manifest.json"),
        "input_sha256": whole.stamp(source),
        "encoding": project.config.data.encoding,
        "part_rows": reading.ROWS,
        "part_characters": reading.CHARACTERS,
        "format": FORMAT,
    }
    looked_up: dict[str, Any] = {}
    if (state := scorer.state) and state.origin:  # another state gives other answers
        job["state_sha256"] = state.origin.sha256
        age, limit = state.origin.age_days(), project.config.monitoring.max_state_days
        looked_up = {"state_built": state.origin.built, "state_is_stale": age > limit}
    return Prepared(folder, scorer, job, looked_up)


def hashed(project: Project, folder: Path, place: Path) -> list[contract.Column]:
    """Return the columns that become pseudonyms: of what stays in data/, which has no others.

    They are texts from here on. A file elsewhere is its reader's, who knows whom it is about. The
    project's contract may ask for them since the model was trained, which has its own.
    """
    data, place = project.path("data").resolve(), place.resolve()
    if not place.is_relative_to(data) or place.is_relative_to(data / ".scoring"):
        return []
    paths = (folder / "contract.odcs.yaml", project.contract_path)
    agreed = [contract.read(path) for path in paths if path.is_file()]
    found = {c.name: c for one in agreed for c in one.columns if c.pseudonym}
    return [*found.values()]


def _filled(opened: Source, scorer: Scorer, path: Path) -> Source:
    """Return the input with what columns name beside it in place of the names."""
    folder, side = whole.folder(path), whole.side_of(scorer)
    stretches = (whole.filled(f, scorer.columns, folder, side) for f in opened.stretches)
    return opened._replace(stretches=stretches)


def _unmatched(names: set[str], agreed: contract.Contract, scorer: Scorer) -> dict[str, Any]:
    """Return what may be a misspelt name; a file is not refused for it, as a request is.

    Files have columns that are not for the model, and JSON leaves out what has no value.
    """
    unknown = names - {c.name for c in agreed.columns} - {c.name for c in scorer.sent}
    unknown -= {*scorer.wants}
    absent = {c.name for c in scorer.columns if not c.idle} - names if names else set()
    return {"unknown_columns": sorted(unknown)[:20], "absent_columns": sorted(absent)}


def _recorded(path: Path) -> dict[str, Any]:
    try:
        return storage.read_json(path)
    except ProjectError:
        return {}


def _score_parts(
    scorer: Scorer, source: Source, schema: pl.Schema, parts: Path, workers: int
) -> list[Path]:
    """Score what has no part yet; return all parts in order."""

    def work(number: int, first: int, frame: pl.DataFrame) -> tuple[Path, int]:
        part = parts / f"{number:06d}.parquet"
        if not _is_whole(part):
            table = score(scorer, frame, None if "row" in source.keys else first)
            told = (validation.parse(table[c.name], c).alias(c.name) for c in source.hashed)
            table = table.with_columns(told)
            content = validation.parquet(table.select(schema.names()).cast(schema))
            storage.write_bytes(part, content)
            storage.write_text(_seal(part), storage.sha256_bytes(content))
        return part, frame.height

    def tasks() -> Iterator[tuple[int, int, Any]]:
        first = 0
        for number, frame in enumerate(source.stretches):
            yield number, first, frame
            first += frame.height

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


def _is_whole(part: Path) -> bool:
    """Return whether a part is as it was written."""
    try:
        return storage.sha256(part) == _seal(part).read_text(encoding="utf-8")
    except OSError:
        return False


def _seal(part: Path) -> Path:
    return part.with_suffix(".sha256")


def _schema(
    keys: dict[str, pl.DataType], primary_key: tuple[str, ...], outputs: Sequence[Output]
) -> pl.Schema:
    texts = dict.fromkeys(("model_version", "problem", "warning"), pl.String())
    named = ((name, output.kind) for output in outputs for name in columns_of(output))
    results = {name: POLARS[kind] for name, kind in named} | texts
    if both := sorted(keys.keys() & results.keys()):
        raise ProjectError(
            f"the key {both[0]!r} is the name of a column with answers: rename it in the data"
        )
    is_named = primary_key and {*primary_key} <= keys.keys()
    number = {} if is_named else {"row": pl.Int64()}
    return pl.Schema(number | keys | results)


def _assemble(parts: list[Path], schema: pl.Schema, output: Path) -> dict[str, Any]:
    """Join the parts to the output, which appears at once."""
    tables = pl.scan_parquet(parts, glob=False) if parts else schema.to_frame(eager=False)
    with storage.replacing_file(output) as temporary:
        if output.suffix.lower() == ".parquet":
            progress.tell(f"writing {output.name}")
            tables.sink_parquet(temporary, row_group_size=reading.ROWS)
        else:
            with temporary.open("wb") as file:
                for number, part in enumerate(parts or [None], 1):
                    progress.tell(f"writing {output.name}, part", number, len(parts))
                    frame = pl.read_parquet(part) if part else schema.to_frame()
                    _append(file, output, frame, number == 1)
    counted = tables.select(pl.len(), pl.col("problem").is_not_null().sum()).collect()
    rows, problems = counted.row(0)
    return {"rows": rows, "problems": problems}


def _append(file: Any, output: Path, frame: pl.DataFrame, is_first: bool) -> None:
    if output.suffix.lower() == ".csv":
        frame.write_csv(file, include_header=is_first)
    else:
        file.writelines(msgspec.json.encode(row) + b"\n" for row in frame.iter_rows(named=True))


def open_source(
    path: Path,
    columns: tuple[ServedColumn, ...],
    keys: list[str],
    encoding: str,
    wants: Sequence[str] = (),
) -> Source:
    """Open the input; a column that is missing or a file that is damaged is a ProjectError.

    Columns of `wants`, which say what a row wants beside, may be there.
    """
    named = [column.name for column in columns]
    needed = [column.name for column in columns if not column.idle]
    if path.is_dir():
        frame = whole.rows_of(path, columns)
        _complete(path, needed, {*frame.columns})
        parts = frame.iter_slices(reading.ROWS)
        return Source(parts, {"file": pl.String()}, {*named}, frame.height)
    names: set[str] = set()
    table = reading.opened(path, encoding, names)
    if path.suffix.lower() not in dialect.JSON:  # which leaves out what has no value
        names.update(table.schema)
        _complete(path, needed, names)
        named = [name for name in named if name in names]
    else:  # the schema is that of the first row
        table.schema.update(dict.fromkeys(_mentioned(path, [*keys, *wants]), pl.String()))
    found = {key: _plain(path, key, table.schema[key]) for key in keys if key in table.schema}
    beside = (name for name in wants if name in table.schema)
    read = list(dict.fromkeys([*named, *found, *beside]))
    lost = [pl.lit(None, pl.String).alias(c.name) for c in columns if c.name not in read]
    stretches = (frame.with_columns(lost) for frame in table.stretches(read))
    return Source(stretches, found, names, table.rows)


def _complete(path: Path, needed: list[str], names: set[str]) -> None:
    """ProjectError where a column of the model is missing."""
    if missing := [name for name in needed if name not in names]:
        raise ProjectError(
            f"{path.name}: column {missing[0]!r} is missing ({len(missing)} in all), but the "
            "model needs it"
        )


def _mentioned(path: Path, names: list[str]) -> list[str]:
    """Return the names that stand in quotes anywhere in a file of JSON."""
    forms = ("utf-8", "utf-16-le", "utf-16-be")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        quoted = {name: json.dumps(name, ensure_ascii=False) for name in names}
        return [n for n, q in quoted.items() if any(content.find(q.encode(f)) >= 0 for f in forms)]


def _plain(path: Path, key: str, dtype: pl.DataType) -> pl.DataType:
    """Return the type that a key has in every format of the output."""
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object, pl.Duration):
        raise ProjectError(f"{path.name}: the key {key!r} has no plain values: write it as text")
    return pl.String() if dtype in (pl.Categorical, pl.Enum, pl.Null) else dtype


def score(scorer: Scorer, frame: pl.DataFrame, first: int | None = None) -> pl.DataFrame:
    """Return the columns of `frame` with the outputs, model_version, problem and warning.

    With `first`, the number of its first row in the file, also `row`.
    """
    encoded = encode(scorer, frame)
    cells = {name: frame[name].to_list() for name in scorer.wants if name in frame.columns}
    asked, wrong, doubts = scorer.wanted_of(cells)
    if wrong:
        texts = pl.Series([wrong.get(place) for place in range(frame.height)], dtype=pl.String)
        problem = encoded.problem.zip_with(encoded.problem.is_not_null(), texts)
        encoded = encoded._replace(problem=problem)
    if doubts:
        texts = pl.Series([doubts.get(place) for place in range(frame.height)], dtype=pl.String)
        warning = encoded.warning.zip_with(encoded.warning.is_not_null(), texts)
        encoded = encoded._replace(warning=warning)
    is_good = encoded.problem.is_null()
    found = scorer.told(scorer.predict(encoded.matrix, asked | encoded.earlier))
    scores = [
        pl.Series(name, values, dtype=POLARS[output.kind])
        for output in scorer.outputs
        for name, values in zip(
            columns_of(output), np.atleast_2d(told(output, found[output.name]).T), strict=True
        )
    ]
    nothing = pl.Series([None])
    results = [
        *(column.zip_with(is_good, nothing.cast(column.dtype)) for column in scores),
        pl.lit(scorer.version).alias("model_version"),
        encoded.problem.alias("problem"),
        encoded.warning.zip_with(is_good, nothing.cast(pl.String)).alias("warning"),
    ]
    if first is not None:
        results.append(pl.int_range(first, first + pl.len()).alias("row"))
    return frame.with_columns(results)


def columns_of(output: Output) -> list[str]:
    """Return the columns that an output has in a table: of several numbers, one for each level."""
    if output.kind in ("numbers", "list"):
        return [f"{output.name}_{level}" for level in output.levels]
    return [output.name]


def told(output: Output, values: NDArray[Any]) -> NDArray[Any]:
    """Return the values of an output; items as a text for each row."""
    if output.kind not in ("items", "names"):
        return values
    rows = values.tolist()
    if output.kind == "names":
        return np.array([msgspec.json.encode(row).decode() for row in rows], dtype=object)
    return np.array([" ".join(map(str, row)) for row in rows], dtype=object)


def encode(scorer: Scorer, frame: pl.DataFrame) -> Encoded:
    """Read, check and encode rows as `ml validate` and training do.

    The problem is the first rule that a row breaks, the warning the first category that training
    has not learnt.
    """
    typed, problem = {}, pl.Series([None], dtype=pl.String).new_from_index(0, frame.height)
    for column in scorer.columns:
        checked = validation.check(frame[column.name], column, required=column.required)
        typed[column.name] = checked.values
        for rule, broken in checked.broken:
            problem = _first(problem, broken, f"{column.name}: {rule}")
    for key in scorer.sent[len(scorer.columns) :]:
        for rule, broken in _broken(frame, key):
            problem = _first(problem, broken, f"{key.name}: {rule}")
    table = pl.DataFrame(typed)
    matrix = matrix_for(scorer, table)
    warning = pl.Series([None], dtype=pl.String).new_from_index(0, frame.height)
    idle = {column.name for column in scorer.columns if column.idle}
    for index, category in enumerate(scorer.spec.categorical, len(scorer.spec.numeric)):
        if category.column in idle:
            continue
        is_other = pl.Series(matrix[:, index] == len(category.levels))
        unseen = is_other & typed[category.column].is_not_null()
        if unseen.any():
            warning = _first(warning, unseen, f"{category.column}: {UNSEEN}")
    for text, far in [*scorer.beyond(matrix), *passed_of(scorer, table)]:
        warning = _first(warning, pl.Series(far), text)
    return Encoded(matrix, problem, warning, earlier_of(scorer, table))


def _broken(frame: pl.DataFrame, key: ServedColumn) -> list[tuple[str, pl.Series]]:
    """Return the rules that a key breaks, which need not be there, each with its rows."""
    if key.name not in frame.columns:
        return []
    checked = validation.check(frame[key.name], key, required=False)
    if key.longest is None:
        return checked.broken
    long = (checked.values.str.len_chars() > key.longest).fill_null(False)
    return [*checked.broken, ("length", long)]


def _first(found: pl.Series, rows: pl.Series, text: str) -> pl.Series:
    """Return `found` with the text in these rows where it has none yet."""
    return found.zip_with(found.is_not_null() | ~rows, pl.Series([text]))
