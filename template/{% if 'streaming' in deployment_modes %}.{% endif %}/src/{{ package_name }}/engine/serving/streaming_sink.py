"""Where predictions of a stream are stored: a table of PostgreSQL, each event once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from .. import privacy
from ..errors import ProjectError
from ..model.output import Output

TYPES = {
    "number": "double precision",
    "integer": "bigint",
    "boolean": "boolean",
    "text": "text",
    "numbers": "double precision[]",
    "list": "double precision[]",
    "items": "bigint[]",
    "names": "text[]",
}
HEAD = {"event_id": "text", "origin": "text", "keys": "jsonb"}
TAIL = {"warning": "text", "model_version": "text", "sent_at": "timestamp with time zone"}
TRACE = "trace_id"  # the last one, and only written where the table has it
STATEMENT_MS = 60_000  # a statement that takes longer is given up, and tried again
CONNECT_SECONDS = 10
MAKE = "`ml stream table --create` makes it, `ml stream table` shows how"


class NotNow(Exception):
    """What could not be stored may be stored later."""


class Stored(NamedTuple):
    """What the table says of the rows of a batch."""

    new: int
    refused: dict[int, str]  # why, by the place of the row in the batch


def columns(outputs: Sequence[Output]) -> dict[str, str]:
    """Return the columns of the table that a consumer writes, each with its type.

    `keys` are those of the row as they were sent, `origin` is topic/partition/offset of its
    message; several numbers stand in the order of the levels in manifest.json.
    """
    answers = {output.name: TYPES[output.kind] for output in outputs}
    if both := sorted(answers.keys() & (HEAD.keys() | TAIL.keys() | {TRACE})):
        raise ProjectError(f"the output {both[0]!r} is the name of a column of the table")
    return HEAD | answers | TAIL | {TRACE: "text"}


def statement(table: str, outputs: Sequence[Output]) -> str:
    """Return the SQL that makes the table."""
    must = {"event_id": " PRIMARY KEY", "origin": " NOT NULL", "model_version": " NOT NULL"}
    listed = [f'  "{n}" {kind}{must.get(n, "")}' for n, kind in columns(outputs).items()]
    listed.append("  stored_at timestamp with time zone NOT NULL DEFAULT now()")
    return f"CREATE TABLE IF NOT EXISTS {_name(table)} (\n" + ",\n".join(listed) + "\n);"


def _name(table: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in table.split("."))


def create(address: str, table: str, outputs: Sequence[Output]) -> None:
    """Make the table if it is not there; ProjectError when that cannot be done."""
    try:
        with connected(address) as connection:
            connection.execute(statement(table, outputs).encode())
    except psycopg.Error as error:
        raise ProjectError(f"table {table}: {_line(error)}") from None


def connected(address: str) -> psycopg.Connection[Any]:
    """Connect; ProjectError for an address that is none, psycopg.OperationalError for no answer.

    What `address`, of libpq, leaves out its own variables say, such as PGHOST and PGPASSWORD.
    """
    try:
        return psycopg.connect(
            address,
            connect_timeout=CONNECT_SECONDS,
            options=f"-c statement_timeout={STATEMENT_MS}",
            application_name="ml stream",
        )
    except psycopg.ProgrammingError as error:
        raise ProjectError(f"environment: ML_STREAM_DATABASE: {_line(error)}") from None


def _line(error: psycopg.Error) -> str:
    """Return what PostgreSQL said in one line: no value of a row, no password."""
    text = error.diag.message_primary or str(error).strip() or type(error).__name__
    return privacy.without_secrets(" ".join(text.split()))


class Sink:
    """The table, checked, with a connection that is made again when it is lost."""

    def __init__(self, address: str, table: str, outputs: Sequence[Output]) -> None:
        self.address, self.table = address, table
        self.columns = columns(outputs)
        self.connection: psycopg.Connection[Any] | None = None
        try:
            with connected(address) as connection:
                self._check(connection)
        except psycopg.Error as error:
            raise ProjectError(
                f"database: {_line(error)}; ML_STREAM_DATABASE or PGHOST, PGUSER and PGPASSWORD "
                "say where it is"
            ) from None
        names = sql.SQL(", ").join(map(sql.Identifier, self.columns))
        incoming = [sql.SQL(f'"{name}" {kind}') for name, kind in self.columns.items()]
        self.staging = sql.SQL(
            "CREATE TEMPORARY TABLE IF NOT EXISTS incoming_predictions ({}) ON COMMIT DELETE ROWS"
        ).format(sql.SQL(", ").join(incoming))
        self.copy = sql.SQL("COPY incoming_predictions ({}) FROM STDIN").format(names)
        self.insert = sql.SQL(
            "INSERT INTO {} ({}) SELECT {} FROM incoming_predictions "
            "ON CONFLICT (event_id) DO NOTHING"
        ).format(sql.Identifier(*table.split(".")), names, names)

    def _check(self, connection: psycopg.Connection[Any]) -> None:
        """ProjectError when the table is not there or is not as it must be."""
        place = connection.execute("SELECT to_regclass(%s)::oid", [_name(self.table)]).fetchone()
        if not place or place[0] is None:
            there = connection.info.dbname
            raise ProjectError(f"no table {self.table} in the database {there}: {MAKE}")
        found = dict(
            connection.execute(
                "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
                "WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped",
                [place[0]],
            ).fetchall()
        )
        if TRACE not in found:
            del self.columns[TRACE]
        for name, kind in self.columns.items():
            if found.get(name) != kind:
                state = f"is {found[name]}" if name in found else "is missing"
                raise ProjectError(
                    f"table {self.table}: column {name} {state}, but the model needs {kind}: "
                    "change it, or give another --table"
                )
        unique = connection.execute(
            "SELECT 1 FROM pg_index JOIN pg_attribute ON attrelid = indrelid "
            "AND attnum = indkey[0] WHERE indrelid = %s AND attname = 'event_id' "
            "AND indisunique AND indnkeyatts = 1 AND indpred IS NULL",
            [place[0]],
        ).fetchone()
        if not unique:
            raise ProjectError(
                f"table {self.table}: event_id is not unique, so a message that comes again would "
                "stand there twice: make it the primary key"
            )

    def store(self, rows: Sequence[tuple[Any, ...]]) -> Stored:
        """Store rows of `columns` in one transaction; an event that is there stays as it is.

        Where the table refuses a row, rows are stored one by one. NotNow when the database does
        not answer, ProjectError when it says that it never will.
        """
        if not rows:
            return Stored(0, {})
        try:
            try:
                return Stored(self._write(rows), {})
            except (psycopg.DataError, psycopg.IntegrityError):
                return self._one_by_one(rows)
        except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError) as error:
            self.close()
            raise NotNow(f"database: {_line(error)}") from None
        except psycopg.Error as error:
            self.close()
            raise ProjectError(f"table {self.table}: {_line(error)}") from None

    def _one_by_one(self, rows: Sequence[tuple[Any, ...]]) -> Stored:
        new, refused = 0, {}
        for place, row in enumerate(rows):
            try:
                new += self._write([row])
            except (psycopg.DataError, psycopg.IntegrityError) as error:
                refused[place] = f"the table refuses it: {type(error).__name__}"
        return Stored(new, refused)

    def _write(self, rows: Sequence[tuple[Any, ...]]) -> int:
        """Store rows in one transaction; return how many were new."""
        if self.connection is None or self.connection.closed:
            self.connection = connected(self.address)
            self.connection.execute(self.staging)
            self.connection.commit()
        with self.connection.transaction(), self.connection.cursor() as cursor:
            with cursor.copy(self.copy) as copy:
                for row in rows:
                    copy.write_row(row[: len(self.columns)])
            return cursor.execute(self.insert).rowcount

    def close(self) -> None:
        """Give the connection back."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None
