"""From the source file to a snapshot in data/raw that never changes."""

import re
import shutil
from pathlib import Path
from typing import Any

import polars as pl

from .. import dialect, progress, settings, storage
from ..errors import ProjectError
from ..formats import number
from . import reading, sample, validation


def read_table(path: Path, encoding: str = "utf-8") -> pl.DataFrame:
    """Read a table of any supported format as `reading.opened` does; ProjectError without rows."""
    dialect.check_suffix(path)
    if not path.is_file():
        raise ProjectError(f"{path}: no such file: check the path, or data.source in config.yaml")
    table = reading.opened(path, encoding)
    frame = reading.joined(path, list(table.stretches(None)))
    if not frame.height:
        names = "column names but " if table.schema else ""
        raise ProjectError(f"{path.name}: the file has {names}no rows")
    return frame


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
