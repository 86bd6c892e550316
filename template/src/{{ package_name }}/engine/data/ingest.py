"""From the source file to a snapshot in data/raw that never changes."""

import csv
import itertools
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from .. import dialect, progress, settings, storage
from ..errors import ProjectError
from ..formats import number
from . import sample, validation

STRETCH = 65_536  # rows of JSON that are held as objects
JSON_TYPES = {bool: pl.Boolean(), int: pl.Int64(), float: pl.Float64(), str: pl.String()}


def read_table(path: Path, encoding: str = "utf-8") -> pl.DataFrame:
    """Read a table of any supported format.

    CSV columns stay text, because only the contract knows their types. The words of
    `dialect.MISSING` are missing values in every format. Anything unreadable is a ProjectError
    that says where.
    """
    dialect.check_suffix(path)
    if not path.is_file():
        raise ProjectError(f"{path}: no such file: check the path, or data.source in config.yaml")
    if not path.stat().st_size:
        raise ProjectError(f"{path.name}: the file is empty")
    try:
        frame = _read(path, encoding)
    except LookupError:
        raise settings.refused("data.encoding", f"unknown encoding {encoding!r}") from None
    except pl.exceptions.NoDataError:
        raise ProjectError(f"{path.name}: the file has no rows") from None
    except (pl.exceptions.PolarsError, csv.Error, UnicodeError, OSError) as error:
        reason = _damage(path, encoding) or str(error).strip().splitlines()[0]
        raise ProjectError(f"{path.name}: {reason}") from None
    if not frame.height:
        names = "column names but " if frame.width else ""
        raise ProjectError(f"{path.name}: the file has {names}no rows")
    for name in frame.columns:
        if name == "*" or (name.startswith("^") and name.endswith("$")):
            raise ProjectError(f"{path.name}: column {name!r} reads as a pattern: rename it")
    return frame.with_columns(map(validation.without_words, frame))


def run(project: settings.Project) -> dict[str, Any]:
    """Snapshot the configured source; return data/raw/manifest.json.

    The snapshot is named by its content: the same content is the same file, and another one
    never replaces it. The default sample is generated when it is not there.
    """
    config = project.config.data
    source = project.path(config.source)
    make_sample(project)
    frame, source_sha256 = _read_hashed(project, source, config.encoding)
    progress.tell(f"writing the snapshot of {number(frame.height)} rows")
    content = validation.parquet(frame)
    digest = storage.sha256_bytes(content)
    stem = re.sub(r"[^\w-]+", "_", source.stem)
    snapshot = project.path(f"data/raw/{stem}-{digest[:12]}.parquet")
    if not snapshot.exists() or storage.sha256(snapshot) != digest:
        storage.write_bytes(snapshot, content)
        snapshot.chmod(0o444)
    manifest = {
        "source": config.source,
        "made_up": _is_made_up(project),
        "file": f"data/raw/{snapshot.name}",
        "sha256": digest,
        "source_sha256": source_sha256,
        "rows": frame.height,
        "columns": frame.width,
        "bytes": len(content),
    }
    storage.write_json(project.path("data/raw/manifest.json"), manifest)
    return manifest


def make_sample(project: settings.Project) -> None:
    """Generate the default sample where it is the source and not there yet."""
    if _is_made_up(project) and not project.path(project.config.data.source).exists():
        sample.run(project)


def _is_made_up(project: settings.Project) -> bool:
    return project.config.data.source == settings.Data().source


def _read_hashed(
    project: settings.Project, source: Path, encoding: str
) -> tuple[pl.DataFrame, str]:
    """Read a copy of the source that nobody replaces meanwhile, and hash the bytes of that copy."""
    if not source.is_file():
        return read_table(source, encoding), ""  # which says what is wrong
    copy = project.path("data/raw/.reading") / source.name
    shutil.rmtree(copy.parent, ignore_errors=True)  # what a kill left
    copy.parent.mkdir(parents=True)
    try:
        progress.tell(f"copying and hashing {source.name}")
        digest = storage.copy_hashed(source, copy)
        progress.tell(f"reading {source.name}")
        return read_table(copy, encoding), digest
    except ProjectError as error:
        raise ProjectError(str(error).replace(str(copy), str(source))) from None
    finally:
        shutil.rmtree(copy.parent, ignore_errors=True)


def _read(path: Path, encoding: str) -> pl.DataFrame:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return validation.read_parquet(path)
    if suffix in dialect.JSON:
        return _read_json(path, dialect.encoding_of(path, encoding))
    written = dialect.read(path, encoding)
    frame = pl.read_csv(
        path,
        separator=written.delimiter,
        infer_schema=False,
        null_values=list(dialect.MISSING),
        encoding="utf8" if written.encoding == "utf-8-sig" else written.encoding,
        new_columns=written.names,
        skip_lines=written.skip,
        eol_char=written.line_end,
    )
    return _as_written(path, frame, written)


def _read_json(path: Path, encoding: str) -> pl.DataFrame:
    """Read a JSON file; a column of one JSON type keeps it, others become the texts of CSV."""
    objects, columns, height = dialect.objects(path, encoding), dict[str, list[pl.Series]](), 0
    while rows := list(itertools.islice(objects, STRETCH)):
        for name in dict.fromkeys(itertools.chain(columns, *rows)):
            parts = columns.setdefault(name, [pl.repeat(None, height, dtype=pl.Null, eager=True)])
            parts.append(_series(path, name, [row.get(name) for row in rows]))
        height += len(rows)
    return pl.DataFrame({name: _joined(path, name, parts) for name, parts in columns.items()})


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


def _joined(path: Path, name: str, parts: list[pl.Series]) -> pl.Series:
    types = {part.dtype for part in parts} - {pl.Null()}
    if len(types) < 2:
        return pl.concat([part.cast(next(iter(types), pl.Null())) for part in parts])
    if pl.Binary() in types:
        raise ProjectError(dialect.nested(path, name))
    written = (_texts(p.to_list()) if p.dtype.is_float() else p.cast(pl.String) for p in parts)
    return pl.concat(list(written))


def _texts(values: list[Any]) -> pl.Series:
    return pl.Series(list(map(dialect.beside_commas, values)), dtype=pl.String)


def _as_written(path: Path, frame: pl.DataFrame, written: dialect.Dialect) -> pl.DataFrame:
    """Refuse short lines, which Polars fills; drop blank lines, but not rows of empty fields."""
    last = frame.to_series(-1) if frame.width else pl.Series()
    if not last.null_count():
        return frame
    if reason := dialect.damage(path, written, strict=False):
        raise ProjectError(f"{path.name}: {reason}")
    blank = frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
    if not blank.any():
        return frame
    number = itertools.count()
    rows = dialect.records(path, written.encoding, written.delimiter, written.skip)
    places = [
        None if all(field in dialect.MISSING for field in row) else next(number)
        for row in itertools.islice(rows, 1, None)
    ]
    return frame.filter(~blank).select(pl.all().gather(pl.Series(places, dtype=pl.UInt32)))


def _damage(path: Path, encoding: str) -> str:
    """Say which line is not in `encoding` or has too many fields; "" when that is not it."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return "not a whole Parquet file: write or copy it again"
    if reason := dialect.undecodable(path, encoding):
        return reason
    is_json = suffix in dialect.JSON
    return "" if is_json else dialect.damage(path, dialect.read(path, encoding))
