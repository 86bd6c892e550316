"""Tables and queries of databases, in one statement that sees one state and changes nothing.

SQLite needs no package. PostgreSQL is read by its ADBC driver, DuckDB by its own package: groups
of pyproject.toml that nobody else needs. Types that Polars has no word for are cast in SQL: decimal
numbers to double precision, others to text. Parameters are bound, names are quoted.
"""

import re
import sqlite3
from collections.abc import Callable, Collection
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import polars as pl

from ..errors import ProjectError
from ..extras import driver
from ..settings import Project
from .reading import series
from .sources import Source

SECONDS = 10  # to connect
POSTGRES = ("postgres", "postgresql")
PLAIN = (
    *("smallint", "integer", "bigint", "real", "double precision", "boolean", "date", "text"),
    *("character varying", "character"),
    *("timestamp without time zone", "timestamp with time zone"),
)
AS_NUMBER = {"numeric": "{}", "money": "cast({} as numeric)"}
DUCKDB_PLAIN = (
    *("VARCHAR", "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT"),
    *("UINTEGER", "FLOAT", "DOUBLE", "DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"),
    *("TIMESTAMP_NS", "TIMESTAMP_MS", "TIMESTAMP_S"),
)
# A text, a quoted name, what says nothing, the end of a statement, or one letter of it.
PIECE = re.compile(
    r"""\b[eE]'(?:[^'\\]|\\.|'')*'|'[^']*'|"[^"]*"|`[^`]*`|\$((?:[A-Za-z_]\w*)?)\$.*?\$\1\$"""
    r"|(?P<idle>--[^\n]*|/\*.*?\*/|\s)|(?P<end>;)|.",
    re.DOTALL,
)


class Asked(NamedTuple):
    """What a load asks for: these columns where the source has them (None: all), and from where.

    `since` is the lowest value of the column `mark`.
    """

    columns: Collection[str] | None = None
    mark: str = ""
    since: Any = None


def is_sqlite(source: Source) -> bool:
    """Whether a server is a file of SQLite, which the standard calls custom."""
    return source.type == "custom" and source.address.get("format") == "sqlite"


def reads(source: Source) -> bool:
    """Whether a server is one of these databases."""
    return source.type in (*POSTGRES, "duckdb") or is_sqlite(source)


def read(project: Project, source: Source, secret: str, asked: Asked) -> pl.DataFrame:
    """Return what a table or query has; ProjectError, in one line, for what keeps it from that."""
    statement = _statement(project, source)
    try:
        if source.type in POSTGRES:
            return _postgres(source, secret, statement, asked)
        if source.type == "duckdb":
            return _duckdb(_file(project, source), source, statement, asked)
        return _sqlite(_file(project, source), source, statement, asked)
    except ProjectError:
        raise
    except Exception as error:
        raise ProjectError(f"{source.server}: {_reason(error, secret)}") from None


def quoted(name: str) -> str:
    """Return a name of SQL that keeps its letters."""
    return '"' + name.replace('"', '""') + '"'


def _reason(error: Exception, secret: str) -> str:
    """Return the one line of an error that says what is wrong, without a password."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[0] if lines else type(error).__name__
    line = re.sub(r"(Could not decode to UTF-8 column '.*') with text .*", r"\1", line)  # a value
    line = re.sub(r"^.*?(ERROR|FATAL): +|^[A-Z_]+: (\[libpq\] )?", "", line)
    return line.replace(secret, "***") if secret else line


def _statement(project: Project, source: Source) -> str:
    if source.script.endswith(".sql"):
        path = project.path(source.script)
        if not path.is_file():
            raise ProjectError(f"{source.server}: no file {source.script}, which script names")
        query = _without_end(path.read_text(encoding="utf-8"))
        if not query:
            raise ProjectError(f"{source.server}: {source.script} has no query")
        return query
    if not source.table:
        raise ProjectError(
            f"{source.server}: say what to read: `table` in its customProperties, or `script` with "
            "a query in a file that ends in .sql"
        )
    parts = (str(source.address.get("schema") or ""), source.table)
    return f"select * from {'.'.join(quoted(part) for part in parts if part)}"


def _without_end(text: str) -> str:
    """Return a query up to the semicolon that ends it, "" without one.

    A semicolon or two dashes in a text or a comment end nothing.
    """
    end, is_query = None, False
    for piece in PIECE.finditer(text):
        if piece["end"]:
            end = piece.start() if end is None else end
        elif not piece["idle"]:
            end, is_query = None, True
    return text[:end] if is_query else ""


def _file(project: Project, source: Source) -> Path:
    path = project.path(str(source.address.get("database", "")))
    if not path.is_file():
        raise ProjectError(f"{source.server}: no file {path}: correct `database` of the server")
    return path


def _query(
    source: Source, statement: str, names: list[str], asked: Asked, cast: Callable[[str], str]
) -> str:
    """Return the query of the columns that are asked for and there; `cast` writes one of them."""
    chosen = [name for name in names if asked.columns is None or name in asked.columns]
    if not chosen:
        raise ProjectError(f"{source.server}: it has none of the columns that the contract names")
    if asked.mark and asked.mark not in names:
        raise ProjectError(f"{source.server}: it has no column {asked.mark!r} of its watermark")
    return f"select {', '.join(map(cast, chosen))} from ({statement}\n) as source"


def _postgres(source: Source, secret: str, statement: str, asked: Asked) -> pl.DataFrame:
    adbc = driver("adbc_driver_postgresql.dbapi", "postgres")
    said = {"host": source.address.get("host"), "port": source.address.get("port")}
    said |= {"dbname": source.address.get("database"), "user": source.user, "password": secret}
    parts = [f"{name}={_value(value)}" for name, value in said.items() if value]
    with (
        closing(adbc.connect(f"{' '.join(parts)} connect_timeout={SECONDS}")) as connection,
        closing(connection.cursor()) as cursor,
    ):
        cursor.execute("set transaction isolation level repeatable read, read only")
        kinds = _postgres_types(cursor, statement)

        def cast(name: str) -> str:
            kind = kinds[name]
            if kind in PLAIN:
                return quoted(name)
            other = "double precision" if kind in AS_NUMBER else "text"
            number = AS_NUMBER.get(kind, "{}").format(quoted(name))
            return f"cast({number} as {other}) as {quoted(name)}"

        query = _query(source, statement, [*kinds], asked, cast)
        if asked.since is None:
            cursor.execute(query)
        else:
            mark = _since(asked.mark, f"cast(cast($1 as text) as {kinds[asked.mark]})")
            cursor.execute(query + mark, (str(asked.since),))
        return pl.DataFrame(cursor.fetch_arrow())


def _postgres_types(cursor: Any, statement: str) -> dict[str, str]:
    """Return the type of each column of a query, as PostgreSQL calls it; no row is read.

    Polars cannot read what some columns have, not even without a row.
    """
    nothing = f"(select * from ({statement}\n) as asked limit 0) as source"
    one = f"from (select 1) as one left join {nothing} on true"
    cursor.execute(f"select cast(row_to_json(found) as text) from (select source.* {one}) as found")
    names = msgspec.json.decode(pl.DataFrame(cursor.fetch_arrow()).item())
    types = (f"cast(pg_typeof(source.{quoted(n)}) as text) as {quoted(n)}" for n in names)
    cursor.execute(f"select {', '.join(types)} {one}")
    return pl.DataFrame(cursor.fetch_arrow()).row(0, named=True)


def _since(mark: str, value: str) -> str:
    """Return what asks for rows from a mark on, and for those without one, which may be new."""
    return f" where {quoted(mark)} >= {value} or {quoted(mark)} is null"


def _value(value: Any) -> str:
    escaped = str(value).replace("\\", r"\\").replace("'", r"\'")
    return f"'{escaped}'"


def _duckdb(path: Path, source: Source, statement: str, asked: Asked) -> pl.DataFrame:
    duckdb = driver("duckdb", "duckdb")
    with closing(duckdb.connect(str(path), read_only=True)) as connection:
        connection.execute("set timezone = 'UTC'")
        described = connection.execute(f"describe select * from ({statement}\n)").fetchall()
        kinds = {row[0]: str(row[1]) for row in described}

        def cast(name: str) -> str:
            if kinds[name] in DUCKDB_PLAIN:
                return quoted(name)
            number = kinds[name].startswith(("DECIMAL", "HUGEINT", "UBIGINT", "UHUGEINT"))
            return f"cast({quoted(name)} as {'double' if number else 'varchar'}) as {quoted(name)}"

        query = _query(source, statement, [*kinds], asked, cast)
        if asked.since is None:
            return pl.DataFrame(connection.sql(query))
        mark = _since(asked.mark, f"cast($1 as {kinds[asked.mark]})")
        return pl.DataFrame(connection.sql(query + mark, params=[str(asked.since)]))


def _sqlite(path: Path, source: Source, statement: str, asked: Asked) -> pl.DataFrame:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        found = connection.execute(f"select * from ({statement}\n) limit 0")
        names = [item[0] for item in found.description]
        query = _query(source, statement, names, asked, quoted)
        mark = _since(asked.mark, "?") if asked.since is not None else ""
        rows = connection.execute(f"{query}{mark}", (asked.since,) if mark else ())
        chosen = [item[0] for item in rows.description]
        values = rows.fetchall()
    columns = {name: [row[place] for row in values] for place, name in enumerate(chosen)}
    for name, column in columns.items():
        if any(isinstance(value, bytes) for value in column):
            raise ProjectError(f"{source.server}: column {name!r} has values that are no text")
    return pl.DataFrame({n: series(source.server, n, column) for n, column in columns.items()})
