"""Loads from real databases, a real HTTP server and files of columns; what fails says so once."""

import base64
import datetime as dt
import gzip
import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import duckdb
import obstore
import polars as pl
import pytest
import yaml
from helpers.buckets import Buckets
from helpers.rendering import render
from helpers.service import free_port
from helpers.stream import Broker, Postgres

from package_name.engine import extras, storage
from package_name.engine.data import contract, databases, drafting, fetching, ingest, sources, web
from package_name.engine.errors import ProjectError
from package_name.engine.model import lineage
from package_name.engine.settings import Project

ROWS = [(f"c{n}", n, n * 1.25, n % 2 == 0, f"2026-03-{n:02d} 08:00:00") for n in range(1, 10)]
COLUMNS = (
    ("customer", "string", "entity"),
    ("calls", "integer", "feature"),
    ("charge", "number", "feature"),
    ("left_us", "boolean", "target"),
)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("fetching") / "project")


@pytest.fixture
def project(rendered: Path, tmp_path: Path) -> Project:
    for name in ("plan/plan.yaml", "config.yaml", "contracts/dataset.odcs.yaml"):
        storage.write_bytes(tmp_path / name, (rendered / name).read_bytes())
    return Project(tmp_path)


def keep(project: Project, server: dict[str, Any], **said: Any) -> Project:
    """Make a server the source of a contract of four columns, and return the project anew."""
    usual = {"system": "shop", "kind": "internal", "method": "query", "table": "orders"} | said
    if server["type"] == "api" or "location" in server:
        del usual["table"]
    properties = [{"property": n, "value": v} for n, v in usual.items() if v is not None]
    columns = [
        {"name": name, "logicalType": kind, "required": role == "entity"}
        | ({"primaryKey": True, "primaryKeyPosition": 1} if role == "entity" else {})
        | {
            "customProperties": [{"property": "role", "value": role}]
            + [{"property": "positiveValue", "value": True}] * (role == "target")
        }
        for name, kind, role in COLUMNS
    ]
    document = yaml.safe_load(project.contract_path.read_text(encoding="utf-8"))
    document["servers"] = [{"server": "shop", "customProperties": properties} | server]
    document["schema"] = [{"name": "orders", "properties": columns}]
    storage.write_text(project.contract_path, yaml.safe_dump(document))
    storage.write_text(project.path("config.yaml"), "data: {source: shop}\n")
    return Project(project.root)


def snapshot(project: Project) -> pl.DataFrame:
    manifest = storage.read_json(project.path("data/raw/manifest.json"))
    return pl.read_parquet(project.path(manifest["file"]))


def refused(project: Project, load: Callable[[Project], Any] = ingest.run) -> str:
    """Return the one line with which a load ends, which leaves nothing."""
    before = sorted(project.root.rglob("*"))
    with pytest.raises(ProjectError) as error:
        load(project)
    message = str(error.value)
    assert "\n" not in message and len(message) < 300
    assert sorted(p for p in project.root.rglob("*") if p.name != "raw") == [
        p for p in before if p.name != "raw"
    ]
    return message


# ---------------------------------------------------------------- databases

TABLE = "create table orders (customer varchar(9), calls int, charge {number}, left_us boolean,"
TABLE += " changed timestamp, note varchar(9))"


class Sql:
    """A real database of one kind with the table of orders, and how it is changed."""

    def __init__(self, kind: str, folder: Path, postgres: Postgres | None) -> None:
        self.kind, self.file, self.postgres = kind, folder / f"shop.{kind}", postgres
        number = {"sqlite": "real"}.get(kind, "numeric(9,2)")
        self.run("drop table if exists orders", TABLE.format(number=number))
        for name, calls, charge, left, at in ROWS:
            self.add(name, calls, charge, left, at)

    def add(self, *row: Any) -> None:
        name, calls, charge, left, at = row
        said = "true" if left else "false"
        self.run(f"insert into orders values ('{name}', {calls}, {charge}, {said}, '{at}', 'x')")

    def run(self, *statements: str) -> None:
        if self.postgres:
            import psycopg

            with psycopg.connect(self.postgres.address, autocommit=True) as connection:
                for statement in statements:
                    connection.execute(statement)
            return
        connect = sqlite3.connect if self.kind == "sqlite" else duckdb.connect
        with connect(str(self.file)) as connection:
            for statement in statements:
                connection.execute(statement)

    @property
    def server(self) -> dict[str, Any]:
        if self.postgres:
            place = {"host": "127.0.0.1", "port": self.postgres.port, "database": "postgres"}
            return {"type": "postgres", **place, "schema": "public"}
        if self.kind == "sqlite":
            return {"type": "custom", "format": "sqlite", "database": self.file.name}
        return {"type": "duckdb", "database": self.file.name}


@pytest.fixture(params=["sqlite", "duckdb", "postgres"])
def sql(request: pytest.FixtureRequest, project: Project) -> Sql:
    kind = request.param
    server = request.getfixturevalue("postgres") if kind == "postgres" else None
    return Sql(kind, project.root, server)


def of(sql: Sql, **said: Any) -> dict[str, Any]:
    return {"user": "postgres" if sql.postgres else None, **said}


def test_a_table_becomes_a_snapshot_with_the_columns_of_the_contract(
    project: Project, sql: Sql
) -> None:
    said = {"watermark": {"column": "changed"}, "columns": ["note"], "schedule": "daily 03:00"}
    assert contract.lint(keep(project, sql.server, **of(sql, **said)).contract_path) == []
    project = keep(project, sql.server, **of(sql))
    manifest = ingest.run(project)
    assert (manifest["source"], manifest["rows"], manifest["columns"]) == ("shop", 9, 4)
    frame = snapshot(project)
    assert frame.columns == ["customer", "calls", "charge", "left_us"]  # never `note`
    assert frame["charge"].to_list() == [row[2] for row in ROWS]
    assert frame["left_us"].cast(pl.Boolean).to_list() == [row[3] for row in ROWS]
    note = lineage.Snapshot(
        **{n: manifest[n] for n in lineage.Snapshot.__struct_fields__ if n in manifest}
    )
    assert note.source_sha256 and not note.made_up
    again = ingest.run(project)
    assert (again["sha256"], again["source_sha256"]) == (manifest["sha256"], note.source_sha256)


def test_a_query_of_a_file_and_columns_for_columns_py(project: Project, sql: Sql) -> None:
    project = keep(project, sql.server, **of(sql, table=None, script="q.sql", columns=["note"]))
    query = "select *, calls as unasked -- who calls\nfrom orders where calls > 3;\n"
    storage.write_text(project.path("q.sql"), query)
    frame = fetching.load(project, sources.of(project.contract_path)[0]).frame
    assert frame.columns == ["customer", "calls", "charge", "left_us", "note"] and len(frame) == 6


def test_a_watermark_brings_what_is_new_and_keeps_the_newest_of_a_key(
    project: Project, sql: Sql
) -> None:
    mark = {"column": "changed", "overlap": 3600}
    project = keep(project, sql.server, **of(sql, watermark=mark))
    first = ingest.run(project)
    assert first["loaded"].new == 9
    sql.add("c3", 333, 1.5, True, "2026-03-20 08:00:00")  # c3 has changed
    sql.add("c10", 10, 1.5, True, "2026-03-21 08:00:00")
    sql.add("late", 10, 1.5, True, "2026-03-09 07:30:00")  # within the hour before the mark
    sql.add("lost", 10, 1.5, True, "2026-03-09 06:30:00")  # before it: only a whole load finds it
    second = ingest.run(Project(project.root))
    assert (second["loaded"].new, second["rows"]) == (4, 11)  # with c9, which the overlap reads
    frame = snapshot(project)
    assert frame.filter(pl.col("customer") == "c3")["calls"].to_list() == [333]
    assert "late" in frame["customer"] and "lost" not in frame["customer"]
    assert second["loaded"].whole_at == first["loaded"].whole_at < second["loaded"].at
    third = ingest.run(Project(project.root))
    assert (third["sha256"], third["rows"]) == (second["sha256"], 11)
    source = sources.of(project.contract_path)[0]
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=31)
    whole = fetching.load(project, source, now=later)
    assert whole.loaded.new == 13 and "lost" in whole.frame["customer"]


def test_rows_without_a_mark_or_with_one_of_the_far_future_hide_no_new_ones(
    project: Project, sql: Sql
) -> None:
    project = keep(project, sql.server, **of(sql, watermark={"column": "changed"}))
    sql.add("slip", 1, 1.5, True, "2062-03-01 08:00:00")
    mark = ingest.run(project)["loaded"].mark
    assert mark.replace("T", " ") == "2026-03-09 08:00:00"
    sql.run("insert into orders values ('none', 1, 1.5, true, null, 'x')")
    sql.add("new", 1, 1.5, True, "2026-03-12 08:00:00")
    assert ingest.run(Project(project.root))["rows"] == 12
    assert {"slip", "none", "new"} <= {*snapshot(project)["customer"]}


@pytest.mark.parametrize("per_second", [1, 1000])
def test_a_moment_of_the_far_future_may_be_counted(project: Project, per_second: int) -> None:
    sql = Sql("sqlite", project.root, None)
    project = keep(project, sql.server, watermark={"column": "changed"})
    sql.run(f"update orders set changed = (1770000000 + calls) * {per_second}")
    sql.run(f"update orders set changed = 2900000000 * {per_second} where customer = 'c4'")
    assert ingest.run(project)["loaded"].mark == 1770000009 * per_second
    sql.run(f"insert into orders values ('new', 1, 1.5, true, {1770000010 * per_second}, 'x')")
    assert ingest.run(Project(project.root))["rows"] == 10


def test_a_watermark_that_counts_no_moments_has_its_highest_value(project: Project) -> None:
    sql = Sql("sqlite", project.root, None)
    sql.run("update orders set changed = calls * 900000000")
    project = keep(project, sql.server, watermark={"column": "changed"})
    assert ingest.run(project)["loaded"].mark == 8_100_000_000


def test_a_watermark_is_no_pseudonym(project: Project) -> None:
    sql = Sql("sqlite", project.root, None)
    project = keep(project, sql.server, watermark={"column": "customer"})
    document = yaml.safe_load(project.contract_path.read_text(encoding="utf-8"))
    (name,) = [c for c in document["schema"][0]["properties"] if c["name"] == "customer"]
    name["classification"] = "personal"
    name["customProperties"].append({"property": "pseudonym", "value": True})
    storage.write_text(project.contract_path, yaml.safe_dump(document))
    message = refused(Project(project.root))
    assert message.startswith("shop: the watermark's column 'customer' becomes a pseudonym")


def test_a_database_that_was_set_back_is_loaded_whole(project: Project, sql: Sql) -> None:
    project = keep(project, sql.server, **of(sql, watermark={"column": "changed"}))
    first = ingest.run(project)["loaded"]
    sql.run("delete from orders where changed > '2026-03-05'")
    sql.run("update orders set calls = 99 where customer = 'c1'")
    again = ingest.run(Project(project.root))
    assert (again["loaded"].new, again["rows"]) == (4, 4)
    assert again["loaded"].whole_at > first.whole_at
    assert 99 in snapshot(project)["calls"]


def test_a_query_may_end_in_a_comment_and_an_empty_one_is_named(project: Project, sql: Sql) -> None:
    query = project.path("q.sql")
    project = keep(project, sql.server, **of(sql, script="q.sql", table=None))
    query.write_text("select * from orders; -- all\n\n-- of them;\n")
    assert ingest.run(project)["rows"] == 9
    query.write_text("-- nothing yet\n;")
    assert refused(project) == "shop: q.sql has no query"


@pytest.mark.parametrize(
    "end",
    [
        "where note <> '--'",
        "where note <> ';' -- all",
        "where note <> 'it''s; -- x';; /* all; of them */",
        "-- what\nwhere note <> '--' -- 'quoted';",
        """where note <> '\n-- x' or "note" <> ';--';\n-- 'all'\n""",
    ],
)
def test_a_query_ends_where_its_statement_does(project: Project, sql: Sql, end: str) -> None:
    project = keep(project, sql.server, **of(sql, script="q.sql", table=None))
    project.path("q.sql").write_text(f"-- orders;\nselect * from orders {end}")
    assert ingest.run(project)["rows"] == 9


def test_texts_as_postgres_writes_them_end_no_query() -> None:
    for query in (r"select e'it\'s; -- x'", "select $$;--$$", "select $a$ $$; $a$"):
        assert databases._without_end(f"{query} ; -- all") == f"{query} "


def test_a_text_of_a_database_that_is_no_utf_8_is_not_repeated(project: Project) -> None:
    sql = Sql("sqlite", project.root, None)
    sql.run("update orders set customer = cast(x'ff42' as text) where customer = 'c1'")
    assert refused(keep(project, sql.server)).endswith("decode to UTF-8 column 'customer'")


def test_each_type_of_postgres_is_a_number_a_moment_or_a_text(
    project: Project, postgres: Postgres
) -> None:
    """An interval took Polars down, and money came in cents."""
    sql = Sql("postgres", project.root, postgres)
    values = {
        "money": ("12.5", 12.5),
        "interval": ("'1 day'", "1 day"),
        "uuid": ("'00000000-0000-0000-0000-000000000001'", "00000000-0000-0000-0000-000000000001"),
        "jsonb": ("""'{"a": 1}'""", '{"a": 1}'),
        "integer[]": ("'{1,2}'", "{1,2}"),
        "inet": ("'10.0.0.1'", "10.0.0.1/32"),
        "time": ("'10:00'", "10:00:00"),
        "bytea": ("'x'", "\\x78"),
        "numeric": ("0.25", 0.25),
        "smallint": ("7", 7),
        "real": ("1.5", 1.5),
        "timestamptz": ("'2026-03-01T10:00+02'", dt.datetime(2026, 3, 1, 8, tzinfo=dt.UTC)),
    }
    for place, (kind, (value, _)) in enumerate(values.items()):
        sql.run(f"alter table orders add column x{place} {kind} default {value}")
    names = [f"x{place}" for place in range(len(values))]
    ingest.run(keep(project, sql.server, **of(sql, columns=names)))
    row = snapshot(project).row(0, named=True)
    assert [row[name] for name in names] == [told for _, told in values.values()]


def test_another_question_loads_everything_again(project: Project, sql: Sql) -> None:
    project = keep(project, sql.server, **of(sql, watermark={"column": "changed"}))
    assert ingest.run(project)["loaded"].new == 9
    project = keep(
        project, sql.server, **of(sql, watermark={"column": "changed"}, columns=["note"])
    )
    assert ingest.run(project)["loaded"].new == 9
    snapshot_file = storage.read_json(project.path("data/raw/manifest.json"))["file"]
    project.path(snapshot_file).chmod(0o644)
    project.path(snapshot_file).write_bytes(b"PAR1 damaged")
    assert ingest.run(Project(project.root))["rows"] == 9


def test_what_a_database_refuses_is_told_in_one_line(project: Project, sql: Sql) -> None:
    usual = of(sql)
    assert "nono" in refused(keep(project, sql.server, **usual | {"table": "nono"}))
    assert "say what to read" in refused(keep(project, sql.server, **usual | {"table": None}))
    lost = refused(keep(project, sql.server, **usual | {"watermark": {"column": "when_changed"}}))
    assert lost == "shop: it has no column 'when_changed' of its watermark"
    absent = refused(keep(project, sql.server, **usual | {"table": None, "script": "no.sql"}))
    assert absent == "shop: no file no.sql, which script names"
    sql.run("alter table orders drop column charge")
    assert "lacks column 'charge' of the contract" in refused(keep(project, sql.server, **usual))
    sql.run("delete from orders")
    assert refused(keep(project, sql.server, **usual)) == "shop: the source has no rows"


def test_a_database_that_is_not_there_is_named(
    project: Project, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    for server in ({"type": "duckdb"}, {"type": "custom", "format": "sqlite"}):
        assert "no.db: correct `database`" in refused(keep(project, server | {"database": "no.db"}))
    place = {"type": "postgres", "host": "127.0.0.1", "port": postgres.port, "schema": "public"}
    place["database"] = "postgres"
    nobody = refused(keep(project, place | {"host": "nobody.invalid"}, user="postgres"))
    assert "could not translate host name" in nobody and nobody.startswith("shop: ")
    assert "Connection refused" in refused(keep(project, place | {"port": 1}, user="postgres"))
    assert "nodb" in refused(keep(project, place | {"database": "nodb"}, user="postgres"))
    assert "mysql is not loaded" in refused(keep(project, place | {"type": "mysql"}))
    source = sources.of(keep(project, place, secretEnv="SHOP_PASSWORD").contract_path)[0]
    unset = refused(project, lambda project: fetching.load(project, source))
    assert "the environment has no SHOP_PASSWORD" in unset
    secret = "it's a \\ secret"
    monkeypatch.setenv("SHOP_PASSWORD", secret)
    nobody = refused(keep(project, place, user="nobody", secretEnv="SHOP_PASSWORD"))
    assert "nobody" in nobody and secret not in nobody
    escaped = secret.replace("'", "''")
    postgres.ask("drop table if exists orders")
    postgres.ask(TABLE.format(number="numeric"))
    postgres.ask("insert into orders values ('a', 1, 'NaN', true), ('b', 2, 1.5, false)")
    postgres.ask(f"create role guest login password '{escaped}'")
    postgres.ask("grant select on orders to guest")
    guest = {"user": "guest", "secretEnv": "SHOP_PASSWORD"}
    assert ingest.run(keep(project, place, **guest))["rows"] == 2
    monkeypatch.setenv("SHOP_PASSWORD", secret + "!")
    wrong = refused(keep(project, place, **guest))
    assert "password authentication failed" in wrong and secret not in wrong
    assert secret not in "".join(p.read_text("utf-8") for p in project.root.rglob("*.json"))
    monkeypatch.setattr(extras, "import_module", _absent)
    missing = refused(keep(project, place, user="postgres"))
    assert "`uv sync --group postgres`" in missing


def _absent(name: str) -> None:
    raise ImportError(name)


def test_a_secret_is_never_written_in_the_contract(project: Project) -> None:
    for said in ({"secretEnv": "hunter2 is mine"}, {"password": "hunter2"}):
        with pytest.raises(ProjectError) as error:
            sources.of(keep(project, {"type": "duckdb", "database": "x"}, **said).contract_path)
        assert "hunter2" not in str(error.value) and "shop: customProperties" in str(error.value)


def test_mixed_values_of_sqlite_are_what_they_are_elsewhere(project: Project) -> None:
    with sqlite3.connect(project.path("m.db")) as connection:
        connection.execute("create table orders (customer, calls, charge, left_us)")
        rows = [("a", 1, "2.5", 1), ("b", None, 3, 0), ("c", 4, "NA", 1)]
        connection.executemany("insert into orders values (?, ?, ?, ?)", rows)
    server = {"type": "custom", "format": "sqlite", "database": "m.db"}
    project = keep(project, server)
    ingest.run(project)
    assert snapshot(project)["charge"].to_list() == ["2.5", "3", None]
    with sqlite3.connect(project.path("m.db")) as connection:
        connection.execute("update orders set charge = x'00ff' where customer = 'a'")
    assert "'charge' has values that are no text" in refused(project)


def test_a_contract_is_drafted_from_a_table(project: Project, sql: Sql) -> None:
    project = keep(project, sql.server, **of(sql))
    draft = drafting.run(project, Path("shop"), "left_us", force=True)
    assert "name: charge" in draft.text and "name: note" in draft.text
    assert "server: shop" in draft.text  # and where it is from stays as it was said


# ---------------------------------------------------------------- HTTP


class Api(ThreadingHTTPServer):
    """A real server of records in pages, which is busy, broken or gone as its path says."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.records = [
            dict(zip(("customer", "calls", "charge", "left_us", "at"), r, strict=True))
            for r in ROWS
        ]
        self.asked: list[tuple[str, str | None]] = []
        self.busy = 0
        self.gone: list[str] = []  # pages that are not there, each time one is named
        self.files: dict[str, bytes] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Api

    def log_message(self, *args: Any) -> None:
        pass

    def answer(self, code: int, content: Any, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        size = int(query.get("limit", 4))
        since = query.get("since", "")
        records = [record for record in self.server.records if record["at"] >= since]
        kind = parts.path.strip("/")
        if self.server.busy:
            self.server.busy -= 1
            self.answer(429 if self.server.busy % 2 else 503, {}, Retry_After="0")
        elif kind in self.server.files:
            self.answer(200, self.server.files[kind])
        elif kind == "pages":
            place = (int(query["page"]) - 1) * size
            self.answer(200, {"data": {"items": records[place : place + size]}})
        elif kind == "offsets":
            place = int(query["offset"])
            self.answer(200, {"data": {"items": records[place : place + size]}})
        elif kind in ("cursors", "loop", "elsewhere", "links"):
            place = int(base64.b64decode(query.get("after", "")) or 0)
            more = place + size < len(records)
            after = base64.b64encode(str(place + size).encode()).decode() if more else None
            after = base64.b64encode(b"0").decode() if kind == "loop" else after
            headers = {}
            if kind == "elsewhere":
                headers["Link"] = '<http://evil.invalid/x>; rel="next"'
            elif kind == "links" and more:
                headers["Link"] = f'<?limit={size}&after={after}>; rel="next", </>; rel="first"'
            page = {"data": {"items": records[place : place + size]}, "meta": {"next": after}}
            self.answer(200, page, **headers)
        elif kind == "capped":  # gives three at most, whatever is asked for
            place = (int(query["page"]) - 1) * 3
            self.answer(200, {"data": {"items": records[place : place + 3]}})
        elif kind == "filtered":  # leaves rows out of a page once it is cut
            items = [records[:3], records[3:5], records[5:8], records[8:]]
            self.answer(200, {"data": {"items": dict(enumerate(items, 1)).get(int(query["page"]))}})
        elif kind == "ends":  # after the last page there is nothing, as a refusal or as null
            place = (int(query["page"]) - 1) * size
            found = records[place : place + size] or None
            self.answer(404 if not found and size == 3 else 200, {"data": {"items": found}})
        elif kind.startswith("past"):  # who asks past the last page gets this code, or that page
            page = query.get("page", "1")
            place = int(query.get("offset", (int(page) - 1) * size))
            found, code = records[place : place + size], int(kind.removeprefix("past"))
            if page in self.server.gone:
                self.server.gone.remove(page)
                self.answer(404, {})
            elif not found and code == 200:
                self.answer(200, {"data": {"items": records[-size:]}})
            else:
                self.answer(200 if found else code, {"data": {"items": found}})
        elif kind == "same":
            self.answer(200, {"data": {"items": records}, "next": f"/same?n={len(self.path)}&x=1"})
        elif kind == "packed":
            page = json.dumps({"data": {"items": records}}).encode()
            self.answer(200, gzip.compress(page), Content_Encoding="gzip")
        elif kind == "latin":
            page = (
                json.dumps({"data": {"items": records}}).replace("c1", "\u00e9").encode("latin-1")
            )
            self.answer(200, page, Content_Type="application/json; charset=iso-8859-1")
        elif kind == "marked":
            self.answer(200, b"\xef\xbb\xbf" + json.dumps({"data": {"items": records}}).encode())
        elif kind == "moved":
            self.answer(302, {}, Location="http://evil.invalid/")
        elif kind == "html":
            self.answer(200, b"<html>", Content_Type="text/html")
        elif kind == "short":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"[{}")
        else:
            self.answer({"secret": 401}.get(kind, 404), {})


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    yield server
    server.shutdown()
    server.server_close()


PAGING: dict[str, dict[str, Any]] = {
    "pages": {"kind": "page", "size": 4},
    "offsets": {"kind": "offset"},
    "cursors": {"kind": "cursor", "param": "after", "next": "meta.next"},
    "links": {"kind": "link", "size": 4},
}


def at(project: Project, api: Api, path: str, **said: Any) -> Project:
    server = {"type": "api", "location": f"{api.address}/{path}"}
    usual = {"method": "api", "records": "data.items", "paging": PAGING.get(path)}
    return keep(project, server, **usual | said)


@pytest.mark.parametrize("path", PAGING)
def test_each_page_is_read_once_though_the_server_is_busy(
    project: Project, api: Api, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "t0ken")
    api.busy = 4
    project = at(project, api, path, secretEnv="SHOP_TOKEN")
    assert ingest.run(project)["rows"] == 9
    frame = snapshot(project)
    assert frame.columns == ["customer", "calls", "charge", "left_us"]
    assert frame["customer"].to_list() == [row[0] for row in ROWS]
    assert {sent for _, sent in api.asked} == {"Bearer t0ken"}
    pages = [asked for asked, _ in api.asked[4:]]
    assert len(pages) == len(set(pages)) == (4 if path in ("pages", "offsets") else 3)
    manifests = "".join(p.read_text("utf-8") for p in project.root.rglob("*.json"))
    assert "t0ken" not in manifests


@pytest.mark.parametrize(
    ("path", "paging"),
    [
        ("capped", {"kind": "page", "size": 5}),
        ("capped", {"kind": "page", "size": 100}),
        ("filtered", {"kind": "page", "size": 3}),
        *(("ends", {"kind": "page", "size": size}) for size in (2, 3, 9, 50)),
        *((path, None) for path in ("packed", "latin", "marked")),
    ],
)
def test_a_load_has_all_pages_however_a_server_ends_and_writes_them(
    project: Project, api: Api, path: str, paging: dict[str, Any] | None
) -> None:
    """One that gives fewer rows than asked for was read to its first page, without a word."""
    assert ingest.run(at(project, api, path, paging=paging))["rows"] == 9


@pytest.mark.parametrize(
    ("path", "paging", "end"),
    [
        *((f"past{code}", {"size": 100}, f"a {code} after 1 page") for code in (400, 404, 422)),
        ("past400", {"size": 100, "kind": "offset"}, "a 400 after 1 page"),
        ("past200", {"size": 100}, "the same page again after 1 page"),
        ("past404", {"size": 3}, "a 404 after 3 pages"),
    ],
)
def test_a_load_that_a_refusal_ends_says_so(
    project: Project, api: Api, path: str, paging: dict[str, Any], end: str
) -> None:
    manifest = ingest.run(at(project, api, path, paging={"kind": "page"} | paging))
    assert manifest["rows"] == 9
    assert f"shop: ended by {end}: see that" in ingest.told(manifest)


def test_a_page_that_is_gone_in_the_middle_is_asked_again_and_ends_no_load(
    project: Project, api: Api
) -> None:
    project = at(project, api, "past404", paging={"kind": "page", "size": 3})
    api.gone = ["2"]
    assert ingest.run(project)["rows"] == 9
    api.gone = ["2", "2"]
    message = refused(Project(project.root))
    assert "page=2 answers 404: Not Found, though the page after it has records" in message


def test_an_api_is_asked_for_what_is_new(project: Project, api: Api) -> None:
    mark = {"column": "at", "param": "since"}
    project = at(project, api, "cursors", watermark=mark)
    assert ingest.run(project)["loaded"].new == 9
    api.records.append(api.records[2] | {"calls": 333, "at": "2026-04-01 08:00:00"})
    second = ingest.run(Project(project.root))
    assert (second["loaded"].new, second["rows"]) == (2, 9)
    assert snapshot(project).filter(pl.col("customer") == "c3")["calls"].to_list() == [333]
    assert "since=2026-03-09+08%3A00%3A00" in api.asked[-1][0]


@pytest.mark.parametrize(
    ("path", "said", "message"),
    [
        ("nothing", {}, "answers 404: Not Found"),
        ("secret", {}, "answers 401: it needs a key"),
        ("moved", {}, "answers 302, a redirect"),
        ("html", {}, "gave no JSON but text/html"),
        ("same", {"paging": {"kind": "page"}}, "gives the same page again: correct `param`"),
        ("same", {"paging": {"kind": "offset"}}, "gives the same page again"),
        ("same", {"paging": {"kind": "link", "next": "next"}}, "gives the same page again"),
        ("short", {}, "the answer ended early"),
        *((f"past{n}", {"paging": PAGING["pages"] | {"size": 99}}, f" {n}") for n in (401, 403)),
        *((f"past{n}", {"paging": PAGING["pages"] | {"size": 3}}, f" {n}") for n in (400, 422)),
        ("past200", {"paging": PAGING["pages"] | {"size": 3}}, "gives the same page again"),
        ("pages?page=1", {"records": "data.rows"}, "no list of records at 'data.rows'"),
        ("loop", {"paging": PAGING["cursors"]}, "gives the same page again"),
        ("elsewhere", {"paging": PAGING["links"]}, "the next page is on another host"),
        ("pages", {"paging": {"kind": "page", "most": 2}}, "more than 2 pages"),
        ("cursors", {"paging": {"kind": "cursor"}}, "needs `next`"),
    ],
)
def test_what_an_api_does_wrong_is_told_in_one_line(
    project: Project, api: Api, path: str, said: dict[str, Any], message: str
) -> None:
    assert message in refused(at(project, api, path, **said))


def test_an_api_that_stays_busy_or_is_gone_leaves_the_last_snapshot(
    project: Project, api: Api
) -> None:
    project = at(project, api, "pages")
    ingest.run(project)
    before = {p: p.read_bytes() for p in project.path("data/raw").iterdir()}
    api.busy = 99
    assert "after 5 tries: " in refused(Project(project.root))
    api.busy = 0
    api.shutdown()
    api.server_close()
    assert "refused" in refused(Project(project.root))
    assert {p: p.read_bytes() for p in project.path("data/raw").iterdir()} == before


def test_a_token_is_not_sent_without_tls_to_another_machine(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "t0ken")
    server = {"type": "api", "location": "http://shop.invalid/orders"}
    message = refused(keep(project, server, secretEnv="SHOP_TOKEN"))
    assert "SHOP_TOKEN is not sent without TLS" in message and "t0ken" not in message


def test_waiting_follows_the_server_up_to_a_limit() -> None:
    assert web._wait("7", 1) == 7 and web._wait("86400", 1) == web.LONGEST_WAIT
    assert [web._wait(None, attempt) for attempt in (1, 2, 3)] == [1, 2, 4]


# ---------------------------------------------------------------- files

FRAME = pl.DataFrame({"customer": ["a", "b"], "calls": [1, None], "charge": [1.5, 2.0],
                      "left_us": [True, False]})  # fmt: skip
WRITERS: dict[str, Callable[[pl.DataFrame, Path], Any]] = {
    "avro": pl.DataFrame.write_avro,
    "arrow": pl.DataFrame.write_ipc,
    "feather": pl.DataFrame.write_ipc,
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_avro_and_arrow_files_are_read_and_damage_is_told(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t.{suffix}"
    WRITERS[suffix](FRAME, path)
    assert ingest.read_table(path).equals(FRAME)
    other = path.with_suffix(".csv")
    shutil.copy(path, other)
    with pytest.raises(ProjectError, match=r"rename it to end in \.(avro|arrow)"):
        ingest.read_table(other)
    path.write_bytes(path.read_bytes()[:120])
    with pytest.raises(ProjectError, match=f"not a whole {suffix.capitalize()} file"):
        ingest.read_table(path)


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.avro"])
def test_a_file_at_an_address_is_read_like_one_of_the_disk(
    project: Project, api: Api, name: str
) -> None:
    path = project.path(name)
    {".parquet": pl.DataFrame.write_parquet, ".csv": pl.DataFrame.write_csv,
     ".avro": pl.DataFrame.write_avro}[path.suffix](FRAME, path)  # fmt: skip
    api.files[name] = path.read_bytes()
    server = {"type": "custom", "location": f"{api.address}/{name}"}
    project = keep(project, server)
    assert ingest.run(project)["rows"] == 2
    assert snapshot(project)["customer"].to_list() == ["a", "b"]
    assert not project.path("data/raw/.fetching").exists()
    assert "files have no watermark" in refused(keep(project, server, watermark={"column": "at"}))


# ---------------------------------------------------------------- buckets


@pytest.fixture
def lake(buckets: Buckets, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A folder of a real object store with the rows in two files of each format."""
    for name, value in buckets.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL")  # the contract names it
    frame = pl.DataFrame(
        ROWS, orient="row", schema=["customer", "calls", "charge", "left_us", "at"]
    )
    for number, part in enumerate((frame[:4], frame[4:])):
        for form, write in (
            ("parquet", part.write_parquet),
            ("csv", part.write_csv),
            ("arrow", part.write_ipc),
        ):
            write(path := tmp_path / f"part.{form}")
            obstore.put(buckets.store(), f"{tmp_path.name}/{form}/{number}.{form}", path)
            path.unlink()
    return f"s3://lake/{tmp_path.name}"


@pytest.mark.parametrize("form", ["parquet", "csv", "arrow"])
def test_files_of_a_bucket_are_loaded_as_one_table(
    project: Project, buckets: Buckets, lake: str, form: str
) -> None:
    place = {"type": "s3", "location": f"{lake}/{form}/*.{form}", "endpointUrl": buckets.address}
    made = keep(project, place, columns=["at"])
    assert contract.lint(project.contract_path) == []
    report = ingest.run(made)
    assert report["loaded"].new == 9 and report["rows"] == 9
    found = snapshot(made)
    assert found["customer"].to_list() == [row[0] for row in ROWS]
    assert list(map(str, found["charge"])) == [str(row[2]) for row in ROWS]
    assert set(found.columns) == {"customer", "calls", "charge", "left_us", "at"}
    one = keep(project, place | {"location": f"{lake}/{form}/0.{form}"}, columns=None)
    assert ingest.run(one)["rows"] == 4 and "at" not in snapshot(one).columns
    assert fetching.table(one, sources.of(one.contract_path)[0]).height == 4


def test_a_bucket_that_refuses_says_so_in_one_line(
    project: Project, buckets: Buckets, lake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = {"type": "s3", "location": f"{lake}/parquet/*.parquet", "endpointUrl": buckets.address}
    for part, value, said in (
        ("location", f"{lake}/parquet/9.parquet", "NoSuchKey"),
        ("location", f"{lake}/nothing/*.parquet", "no file is there"),
        ("location", f"{lake}/parquet/0.json", "format json is not read from a bucket"),
        ("location", f"{lake}/csv/0.csv", "magic"),
        ("endpointUrl", f"http://127.0.0.1:{free_port()}", "does not answer"),
    ):
        form = {"format": "parquet"} if value.endswith(".csv") else {}
        line = refused(keep(project, place | {part: value} | form))
        assert line.startswith("shop: ") and said in line, line
    marked = keep(project, place, watermark={"column": "calls"})
    assert "files have no watermark" in refused(marked)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    elsewhere = buckets.address.replace("127.0.0.1", "localhost")  # one process keeps its keys
    line = refused(keep(project, place | {"endpointUrl": elsewhere}))
    assert "SignatureDoesNotMatch" in line
    assert "wrong-secret" not in line


# ---------------------------------------------------------------- topics


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    found = Broker()
    yield found
    found.close()


def told_by(broker: Broker, topic: str, *rows: tuple[Any, ...] | bytes) -> None:
    """Send rows, each with its customer for a key and the n-th hour of a day for its time."""
    messages: list[Any] = []
    for row in rows:
        if isinstance(row, bytes):
            messages.append(row)
            continue
        hour, name, calls, charge, left = row
        at = dt.datetime(2026, 3, 1, hour, tzinfo=dt.UTC).timestamp()
        body = {"customer": name, "calls": calls, "charge": charge, "left_us": left, "note": "x"}
        value = body if calls is not None else None
        messages.append({"value": value, "key": name.encode(), "timestamp": int(at * 1000)})
    broker.send(topic, *messages)


def test_a_topic_is_read_from_its_first_message_to_its_last(
    project: Project, broker: Broker
) -> None:
    """Rows come in the order of their times, the last of a key stays, twice read is the same."""
    topic = broker.topic("orders", 3)
    several = [(n % 24, f"c{n:02d}", n, n / 4, n % 2 == 0) for n in range(40)]
    told_by(broker, topic, *several, (23, "c05", 99, 1.5, True), (23, "c06", None, None, None))
    project = keep(
        project, {"server": "shop", "type": "kafka", "host": broker.address}, table=topic
    )
    assert contract.lint(project.contract_path) == []
    manifest = ingest.run(project)
    first = snapshot(project)
    assert first.columns == ["customer", "calls", "charge", "left_us"]
    assert first["customer"].to_list() == [f"c{n:02d}" for n in range(40)]
    assert first.row(5) == ("c05", 99, 1.5, True)
    assert manifest["rows"] == 40 and manifest["loaded"].new == 41
    assert ingest.run(project)["sha256"] == manifest["sha256"]
    assert drafting.run(project, Path("shop"), target="left_us", force=True)


def test_a_topic_is_asked_from_the_last_load_on(project: Project, broker: Broker) -> None:
    topic = broker.topic("since", 2)
    told_by(broker, topic, (1, "a", 1, 1.0, True), (2, "b", 2, 2.0, False), (3, "c", 3, 1.0, True))
    mark = {"column": "sent_at", "wholeDays": 400}
    server = {"server": "shop", "type": "kafka", "host": broker.address}
    project = keep(project, server, table=topic, sent="sent_at", watermark=mark)
    assert ingest.run(project)["loaded"].new == 3
    told_by(broker, topic, (4, "a", 7, 1.0, False), (5, "d", 8, 1.0, False))
    # This broker begins at its first message whatever time it is asked for: 5, not 3, may come.
    assert 3 <= ingest.run(project)["loaded"].new <= 5
    rows = snapshot(project)
    assert rows.select("customer", "calls").rows() == [("a", 7), ("b", 2), ("c", 3), ("d", 8)]
    assert rows["sent_at"].max() == dt.datetime(2026, 3, 1, 5)
    project = keep(project, server, table=topic, watermark={"column": "calls"})
    assert "`sent` names the column" in refused(project)


def test_a_topic_that_never_rests_is_read_to_where_it_was(project: Project, broker: Broker) -> None:
    """Messages that come while it is read are left to the next load."""
    topic, ending, told = broker.topic("busy", 2), threading.Event(), 50
    told_by(broker, topic, *[(n % 24, f"c{n:02d}", n, 1.0, n % 2 == 0) for n in range(told)])

    def go_on() -> None:
        number = 0
        while not ending.is_set():
            number += 1
            body = {"customer": f"new{number}", "calls": 1, "charge": 1.0, "left_us": True}
            broker.send(topic, {"value": body, "key": b"%d" % number})

    writer = threading.Thread(target=go_on)
    writer.start()
    try:
        keep(project, {"server": "shop", "type": "kafka", "host": broker.address}, table=topic)
        began = time.monotonic()
        rows = ingest.run(Project(project.root))["rows"]
        assert time.monotonic() - began < 25
    finally:
        ending.set()
        writer.join()
    assert told <= rows < told + 2000


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"table": "nothing_here"}, "topic nothing_here: "),
        ({"table": ""}, "`table` must name the topic"),
        ({"table": "broken"}, "message broken/0/1 is no JSON object"),
        ({"table": "deep"}, "message deep/0/0 is no JSON object"),
        ({"table": "empty"}, "the source has no rows"),
        ({"table": "broken", "user": "me", "mechanism": "NONE"}, "topic broken: "),
        ({"table": "broken", "tls": True, "tlsCa": "nowhere.pem"}, "topic broken: "),
    ],
)
def test_a_topic_that_cannot_be_read_is_told_in_one_line(
    project: Project, broker: Broker, said: dict[str, Any], why: str
) -> None:
    known = broker.admin.list_topics(timeout=5).topics
    for name in {"broken", "deep", "empty"} - known.keys():
        broker.topic(name, 1)
    if "deep" not in known:
        told_by(broker, "deep", b'{"calls": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    if "broken" not in known:
        told_by(broker, "broken", (1, "a", 1, 1.0, True), b"[1, 2]")
    project = keep(project, {"server": "shop", "type": "kafka", "host": broker.address}, **said)
    assert why in refused(project)


def test_without_its_package_a_topic_says_what_to_install(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(extras, "import_module", nowhere)
    project = keep(
        project, {"server": "shop", "type": "kafka", "host": "127.0.0.1:1"}, table="orders"
    )
    assert "`uv sync --group kafka`" in refused(project)
