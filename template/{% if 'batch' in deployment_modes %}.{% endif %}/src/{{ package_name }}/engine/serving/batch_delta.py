"""Scored files into a Delta table, in a folder or in S3: a run stands there once.

A run is a transaction of its own, by the name that the log of the table keeps (appId, of the
protocol of Delta): who stores it again finds it there, and of two at once the second one does. A
commit has all rows or none, and what a killed command had written before belongs to no version.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from .. import progress, stores
from ..errors import ProjectError
from ..extras import driver
from ..model import registry
from ..settings import Project
from . import batch
from .batch_table import ROWS, RUN, check_output, run_of

GROUP = "delta"  # of pyproject.toml
TRIES = 10  # while others commit at the same time


def check(output: Path | str, address: str) -> None:
    """ProjectError for what could not be stored."""
    check_output(output, "--delta")
    is_bucket = re.fullmatch(rf"s3://[\w.-]+/{stores.NAME.pattern}", address)
    if not address.strip() or (stores.is_remote(address) and not is_bucket):
        raise ProjectError(f"--delta {address!r}: give a folder, or {stores.SCHEME}BUCKET/TABLE")
    driver("deltalake", GROUP)


def check_keys(project: Project, output: Path, address: str) -> None:
    """ProjectError for a table in data/ that would have the keys of people of a file elsewhere."""
    if stores.is_remote(address):
        return
    folder = registry.champion_folder(project)
    people = batch.hashed(project, folder, Path(address))
    if people and not batch.hashed(project, folder, output):
        raise ProjectError(
            f"--delta {address!r}: data/ has keyed hashes of {people[0].name!r}, and {output} will "
            "have the values: give an OUT in data/, or a table elsewhere"
        )


def store(output: Path, address: str, report: dict[str, Any]) -> int:
    """Store a scored file in the table at `address`, made if it is not there; return its rows.

    ProjectError, in one line, when it does not take them: then it is as it was.
    """
    check(output, address)
    delta = driver("deltalake", GROUP)
    table = pl.scan_parquet(output, glob=False)
    rows = int(table.select(pl.len()).collect().item())
    run = run_of(report)
    place = address if stores.is_remote(address) else str(Path(address).resolve())
    options = {"allow_http": str(stores.without_tls()).lower()} if place == address else None
    is_ours = delta.CommitProperties(app_transactions=[delta.Transaction(f"ml-score/{run}", 1)])
    schema = _part(table, run, 0, 0).schema
    for _ in range(TRIES):
        try:
            if not delta.DeltaTable.is_deltatable(place, options):
                delta.DeltaTable.create(place, schema, mode="ignore", storage_options=options)
            found = delta.DeltaTable(place, storage_options=options)
            if found.transaction_version(f"ml-score/{run}") is None:
                reader = driver("arro3.core", GROUP).RecordBatchReader
                stream = reader.from_batches(schema, _batches(table, run, rows))
                # By the version that was looked at: one that another commits meanwhile is noticed.
                delta.write_deltalake(found, stream, mode="append", commit_properties=is_ours)
            return rows
        except driver("deltalake.exceptions", GROUP).CommitFailedError as error:
            failed = error
        except (driver("deltalake.exceptions", GROUP).DeltaError, OSError, ValueError) as error:
            failed = error
            break
    raise ProjectError(
        f"table {address}: {stores.reason(failed)}; {output} is whole, and the same command "
        "stores it once the table takes it"
    )


def _part(table: pl.LazyFrame, run: str, first: int, rows: int) -> Any:
    """Return some rows with the name of their run as a table of Arrow; times are in UTC."""
    frame = table.slice(first, rows).with_columns(pl.lit(run).alias(RUN)).collect()
    times = [n for n, kind in frame.schema.items() if isinstance(kind, pl.Datetime)]
    zoned = frame.with_columns(
        pl.col(name).dt.replace_time_zone("UTC")
        if frame.schema[name].time_zone is None  # type: ignore[attr-defined]
        else pl.col(name).dt.convert_time_zone("UTC")
        for name in times
    )
    return driver("arro3.core", GROUP).Table.from_arrow(zoned)


def _batches(table: pl.LazyFrame, run: str, rows: int) -> Iterator[Any]:
    for first in range(0, rows, ROWS):
        yield from _part(table, run, first, ROWS).to_batches()
        progress.tell("stored rows", min(first + ROWS, rows), rows)
