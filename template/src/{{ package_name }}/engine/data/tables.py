"""The tables of a project in data/: snapshots, typed rows, quarantine and scored files."""

from pathlib import Path

import polars as pl

from ..errors import ProjectError
from ..settings import Project


def paths(project: Project) -> list[Path]:
    """Return where they are.

    The source is its owner's, as is a file that nothing here wrote. The files of a table of Delta
    Lake are its own: its log knows their sizes and values.
    """
    data = project.path("data")
    source = project.path(project.config.data.source).resolve()
    lakes = {project.path(name) for name in of_delta(project)}
    found = [path for path in data.rglob("*.parquet") if lakes.isdisjoint(path.parents)]
    found += [p for end in ("csv", "jsonl") for p in data.rglob(f"*.{end}") if is_scored(p)]
    return sorted(path for path in found if path.resolve() != source)


def of_delta(project: Project) -> list[str]:
    """Return the folders in data/ that are tables of Delta Lake."""
    logs = sorted(project.path("data").rglob("_delta_log"))
    return [log.parent.relative_to(project.root).as_posix() for log in logs]


def is_scored(path: Path) -> bool:
    """Whether a text file has the receipt of the command that wrote it."""
    return path.with_name(f"{path.name}.done.json").is_file()


def read(path: Path, rows: int | None = None) -> pl.DataFrame:
    """Return a table, or its first rows; ProjectError where it is damaged."""
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path, n_rows=rows, use_pyarrow=False)
        if path.suffix == ".csv":
            return pl.read_csv(path, n_rows=rows, infer_schema=False)
        return pl.read_ndjson(path, n_rows=rows, infer_schema_length=None)
    except pl.exceptions.PolarsError:
        raise ProjectError(f"{path}: is damaged: delete it or make it again, then repeat") from None
