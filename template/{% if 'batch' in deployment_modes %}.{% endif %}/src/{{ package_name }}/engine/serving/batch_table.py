"""Scored files into a table of PostgreSQL: a run stands there once, however often it is stored.

One transaction takes away what the table has of the run and puts in what the file has, so a reader
sees all rows of before or all of now. A run is an input with a model: another one is added beside.
"""

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl

from .. import privacy, progress, storage
from ..data.databases import quoted
from ..errors import ProjectError
from ..extras import driver
from ..stores import is_remote

ADDRESS = "ML_SCORE_DATABASE"  # of the environment, as libpq has it
ROWS = 100_000  # in memory at once
RUN = "run"


def check(output: Path | str, table: str) -> str:
    """Return the address of the database; ProjectError for what could not be stored."""
    check_output(output, "--table")
    if not all(table.split(".")) or table.count(".") > 1:
        raise ProjectError(f"--table {table!r}: give TABLE or SCHEMA.TABLE")
    if not (address := os.environ.get(ADDRESS, "")):
        raise ProjectError(
            f"environment: {ADDRESS} says where the table is, such as "
            "postgresql://scorer@db/ml?sslmode=verify-full; PGPASSWORD has the password"
        )
    return address


def check_output(output: Path | str, option: str) -> None:
    """ProjectError for an output that no table can be filled from."""
    if is_remote(str(output)):
        raise ProjectError(f"{output}: {option} reads a file of this machine: call it out.parquet")
    output = Path(output)
    if output.suffix.lower() != ".parquet":
        raise ProjectError(
            f"{output.name}: a table needs types, which only Parquet has: call it .parquet"
        )


def store(output: Path, table: str, report: dict[str, Any]) -> int:
    """Store a scored file in `table`, which is made if it is not there; return its rows.

    ProjectError, in one line, when the database does not take them: then it is as it was.
    """
    address = check(output, table)
    adbc = driver("adbc_driver_postgresql.dbapi", "postgres")
    run = run_of(report)
    schema, _, name = table.rpartition(".")
    place = f"{quoted(schema)}.{quoted(name)}" if schema else quoted(name)
    try:
        with closing(adbc.connect(address)) as connection, closing(connection.cursor()) as cursor:
            # Two who store the same run wait for each other.
            cursor.execute("select pg_advisory_xact_lock(hashtext($1))", (f"{table} {run}",))
            cursor.fetchall()
            cursor.execute("select to_regclass($1) is not null", (place,))
            if cursor.fetchone()[0]:
                cursor.execute(f"delete from {place} where {RUN} = $1", (run,))
            rows = _copy(cursor, output, run, {"table_name": name} | _in(schema))
            cursor.execute(
                f"create index if not exists {quoted(f'{name}_{RUN}')} on {place} ({RUN})"
            )
            connection.commit()
    except adbc.Error as error:
        said = str(error).partition("\nQuery was")[0].splitlines()
        reason = " ".join(" ".join(said[:1]).split()).partition("ERROR: ")
        told = privacy.without_secrets((reason[2] or reason[0]).strip())
        raise ProjectError(
            f"table {table}: {told}; {output} is whole, and the same "
            "command stores it once the database takes it"
        ) from None
    return rows


def run_of(report: dict[str, Any]) -> str:
    """Return the name of a run: the same input, model and state have the same."""
    parts = ("input_sha256", "model_sha256", "state_sha256", "encoding", "format")
    return storage.sha256_text(" ".join(str(report.get(part, "")) for part in parts))[:32]


def _in(schema: str) -> dict[str, str]:
    return {"db_schema_name": schema} if schema else {}


def _copy(cursor: Any, output: Path, run: str, where: dict[str, str]) -> int:
    """Copy a file into the table, some rows at a time."""
    table, done = pl.scan_parquet(output, glob=False), 0
    rows = int(table.select(pl.len()).collect().item())
    while done < rows or not done:
        part = table.slice(done, ROWS).with_columns(pl.lit(run).alias(RUN)).collect()
        cursor.adbc_ingest(data=part, mode="create_append", **where)
        done += part.height
        progress.tell("stored rows", done, rows)
        if not rows:
            break
    return rows
