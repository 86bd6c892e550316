"""Sources that are joined by declared keys, and how old the newest row is."""

import datetime as dt
import random
import sqlite3
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from helpers.rendering import render

from package_name.engine import storage
from package_name.engine.data import contract, drafting, fetching, freshness, ingest, joins
from package_name.engine.errors import ProjectError
from package_name.engine.settings import Project
from package_name.planner import check, sourced

COLUMNS = (
    ("order", "integer", "excluded"),
    ("customer", "string", "entity"),
    ("at", "timestamp", "time"),
    ("charge", "number", "feature"),
    ("plan", "string", "feature"),
    ("left_us", "boolean", "target"),
)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("joins") / "project", plan_depth="standard")


@pytest.fixture
def project(rendered: Path, tmp_path: Path) -> Project:
    for name in ("plan/plan.yaml", "contracts/dataset.odcs.yaml"):
        storage.write_bytes(tmp_path / name, (rendered / name).read_bytes())
    storage.write_text(tmp_path / "config.yaml", "data: {source: orders.csv}\n")
    write(tmp_path, "orders.csv", ORDERS)
    return Project(tmp_path)


ORDERS = [
    {"order": n, "customer": f"00{n % 3}", "at": f"2026-05-{n:02d}T12:00:00", "charge": n * 1.5,
     "left_us": n % 2 == 0}
    for n in range(1, 10)
]  # fmt: skip
CUSTOMERS = [{"customer": f"00{n}", "plan": p, "secret": "x"} for n, p in enumerate("abc")]


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    pl.DataFrame(rows, infer_schema_length=None).write_csv(folder / name)


def keep(project: Project, *said: dict[str, Any], columns: Any = COLUMNS, **more: Any) -> Project:
    """Declare joins in a contract whose servers are files of the project."""
    document = yaml.safe_load(project.contract_path.read_text(encoding="utf-8"))
    usual = {"system": "shop", "kind": "internal", "method": "file", "licence": "ours"}
    properties = [{"property": n, "value": v} for n, v in usual.items()]
    extra = [{"property": n, "value": v} for n, v in more.items()]
    document["servers"] = [
        {"server": p.stem, "type": "local", "path": p.name, "format": "csv",
         "customProperties": properties + extra * (p.stem == "orders")}
        for p in sorted(project.root.glob("*.csv"))
    ]  # fmt: skip
    shop = {"server": "shop", "type": "custom", "format": "sqlite", "database": "shop.db"}
    table = [*properties, {"property": "table", "value": "customers"}]
    document["servers"].append(shop | {"customProperties": table})
    document["schema"] = [
        {
            "name": "orders",
            "customProperties": [{"property": "joins", "value": [*said]}],
            "properties": [
                {"name": name, "logicalType": kind, "customProperties": [
                    {"property": "role", "value": role},
                    *[{"property": "positiveValue", "value": True}] * (role == "target")]}
                for name, kind, role in columns
            ],
        }
    ]  # fmt: skip
    storage.write_text(project.contract_path, yaml.safe_dump(document))
    return Project(project.root)


def snapshot(project: Project) -> pl.DataFrame:
    manifest = storage.read_json(project.path("data/raw/manifest.json"))
    return pl.read_parquet(project.path(manifest["file"]))


def refused(project: Project) -> str:
    with pytest.raises(ProjectError) as error:
        ingest.run(project)
    assert "\n" not in str(error.value) and not list(project.root.glob("data/raw/*.parquet"))
    return str(error.value)


JOIN = {"server": "customers", "on": ["customer"]}


def test_columns_of_another_source_come_by_its_key(project: Project) -> None:
    write(project.root, "customers.csv", CUSTOMERS)
    project = keep(project, JOIN)
    assert contract.lint(project.contract_path) == []
    manifest = ingest.run(project)
    frame = snapshot(project)
    assert frame.columns == ["order", "customer", "at", "charge", "left_us", "plan"]  # no secret
    assert frame["plan"].to_list() == ["abc"[n % 3] for n in range(1, 10)]
    [told] = manifest["joined"]
    assert (told["rows"], told["unmatched"], told["columns"]) == (3, 0, ["plan"])
    assert "customers: 0 rows have no partner of 3" in ingest.told(manifest)
    assert told["sha256"] == storage.sha256(project.path("customers.csv"))  # what lineage names
    assert set(ingest.inputs(project)) >= {"orders.csv", "customers.csv"}
    sourced.run(project)
    lines = sourced.told(storage.read_json(project.path(sourced.REPORT)))
    assert "joined: customers by customer, m:1; 0 rows without a partner, 0\u00a0% at most" in lines


def test_keys_of_other_types_and_names_meet_and_a_prefix_parts_names(project: Project) -> None:
    connection = sqlite3.connect(project.path("shop.db"))
    with connection:
        connection.execute("create table customers (id integer, plan text, charge real)")
        connection.executemany(
            "insert into customers values (?, 'p', 7)", [(n,) for n in range(99)]
        )
    columns = [c if c[0] != "plan" else ("shop_plan", "string", "feature") for c in COLUMNS]
    join = {"server": "shop", "on": {"order": "id"}, "prefix": "shop_", "columns": ["charge"]}
    project = keep(project, join | {"cardinality": "1:1"}, columns=columns)
    ingest.run(project)
    frame = snapshot(project)
    assert frame["shop_plan"].to_list() == ["p"] * 9 and frame["shop_charge"].to_list() == [7] * 9
    assert frame["charge"].to_list() == [str(row["charge"]) for row in ORDERS]


def test_the_encoding_of_a_joined_file_is_said_by_its_server(project: Project) -> None:
    latin = "customer,plan\n000,g\xfcnstig\n001,b\n002,c\n".encode("cp1252")
    project.path("customers.csv").write_bytes(latin)
    message = refused(keep(project, JOIN))
    assert "in its server of the contract, such as `encoding: cp1252`" in message
    document = yaml.safe_load(project.contract_path.read_text(encoding="utf-8"))
    [customers] = [one for one in document["servers"] if one["server"] == "customers"]
    customers["encoding"] = "cp1252"
    storage.write_text(project.contract_path, yaml.safe_dump(document))
    ingest.run(Project(project.root))
    assert snapshot(project)["plan"].to_list() == ["b", "c", "g\xfcnstig"] * 3


def test_a_join_is_written_as_the_guide_writes_it(project: Project) -> None:
    """In YAML 1.1 `on` is a word for true, also as the name of a field."""
    write(project.root, "customers.csv", CUSTOMERS)
    project = keep(project, JOIN)
    text = project.contract_path.read_text(encoding="utf-8")
    assert "'on':" in text
    storage.write_text(project.contract_path, text.replace("'on':", "on:"))
    assert ingest.run(Project(project.root))["joined"][0]["on"] == ["customer"]


AS_OF = {"server": "plans", "on": ["customer"], "asOf": {"left": "at", "right": "since"}}


def days_of(project: Project, *days: str, formats: tuple[str, ...] = (), **join: Any) -> Project:
    """Join plans that are named by their days, where our contract says how ours are written."""
    rows = [{"customer": "001", "since": day, "plan": day} for day in days]
    write(project.root, "plans.csv", rows)
    project = keep(project, AS_OF | {"maxUnmatched": 0.7} | join)
    document = yaml.safe_load(project.contract_path.read_text(encoding="utf-8"))
    at = next(one for one in document["schema"][0]["properties"] if one["name"] == "at")
    at["customProperties"].append({"property": "dateFormats", "value": [*formats]})
    storage.write_text(project.contract_path, yaml.safe_dump(document))
    for file in project.root.glob("data/raw/*.parquet"):
        file.unlink()
    return Project(project.root)


def test_each_table_writes_its_days_in_its_own_way(project: Project) -> None:
    """Not in ours: 03/04/2026 beside 25/12/2025 is no 4 March, whatever our contract says."""
    mine = [row | {"at": f"05/{row['order']:02d}/2026"} for row in ORDERS]
    write(project.root, "orders.csv", mine)
    days = ("25/12/2025", "03/04/2026", "05/08/2026", "")  # the third is after all orders
    ours = ("%m/%d/%Y",)
    ingest.run(days_of(project, *days, formats=ours))
    assert snapshot(project)["plan"].to_list() == ["03/04/2026", None, None] * 3
    write(project.root, "orders.csv", ORDERS)
    ingest.run(days_of(project, "01.02.2026", "13.05.2026", ""))
    assert snapshot(project)["plan"].to_list() == ["01.02.2026", None, None] * 3


def test_a_key_of_days_is_read_as_its_own_table_writes_it(project: Project) -> None:
    columns = [c if c[0] != "at" else ("at", "date", "time") for c in COLUMNS]
    write(project.root, "orders.csv", [row | {"at": "03/04/2026"} for row in ORDERS])
    write(project.root, "tariffs.csv", [
        {"day": day, "plan": day} for day in ("04/03/2026", "03/04/2026", "25/12/2025")
    ])  # fmt: skip
    project = keep(project, {"server": "tariffs", "on": {"at": "day"}}, columns=columns)
    document = yaml.safe_load(project.contract_path.read_text(encoding="utf-8"))
    at = next(one for one in document["schema"][0]["properties"] if one["name"] == "at")
    at["customProperties"].append({"property": "dateFormats", "value": ["%m/%d/%Y"]})
    storage.write_text(project.contract_path, yaml.safe_dump(document))
    ingest.run(Project(project.root))
    assert snapshot(project)["plan"].unique().to_list() == ["04/03/2026"]  # both are 4 March


def test_days_that_two_formats_fit_are_not_guessed(project: Project) -> None:
    unclear = ("03/04/2026", "01/05/2026")
    line = refused(days_of(project, *unclear))
    assert "days of 'since' may be %d/%m/%Y or %m/%d/%Y: write them as 2026-01-31, or say" in line
    manifest = ingest.run(days_of(project, *unclear, formats=("%m/%d/%Y",)))
    assert snapshot(project)["plan"].to_list() == ["03/04/2026", None, None] * 3
    assert "its since is read as %m/%d/%Y, as the contract reads ours" in ingest.told(manifest)
    mixed = (*unclear, "25/12/2025", "12/25/2025")  # no format of ours can tell
    line = refused(days_of(project, *mixed, formats=("%m/%d/%Y",)))
    assert line.endswith("may be %d/%m/%Y or %m/%d/%Y: write them as 2026-01-31")
    ingest.run(days_of(project, "01/01/2025", "01/01/2026"))  # the same days either way
    assert snapshot(project)["plan"].to_list() == ["01/01/2026", None, None] * 3


def test_times_that_cannot_be_read_stop_a_load_where_they_matter(project: Project) -> None:
    line = refused(days_of(project, "soon", "later"))
    assert "it: none of 2 values of 'since' can be read as a date or time" in line
    rows = [{"customer": f"00{n}", "since": "2026-01-01", "plan": "p"} for n in range(3)]
    nobody = {"customer": "999", "since": "soon", "plan": "p"}
    write(project.root, "plans.csv", [*rows, nobody])
    manifest = ingest.run(keep(project, AS_OF))
    told = "plans: 0 rows have no partner of 4; 1 of its rows have a key or time that cannot be"
    assert told in ingest.told(manifest)
    for file in project.root.glob("data/raw/*.parquet"):
        file.unlink()
    write(project.root, "plans.csv", [*rows[1:], rows[0] | {"since": "soon"}])
    line = refused(keep(project, AS_OF))
    assert "3 of 9 rows" in line and "0 of ours and 1 of its rows have a key or time that" in line


def test_what_is_hashed_of_a_joined_file_is_what_was_joined(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project.root, "customers.csv", CUSTOMERS)
    path, read = project.path("customers.csv"), fetching._file
    before = storage.sha256(path)

    def replaced(source: Any, copy: Path) -> pl.DataFrame:
        frame = read(source, copy)
        path.write_text("customer,plan\n000,z\n")
        return frame

    monkeypatch.setattr(fetching, "_file", replaced)
    [told] = ingest.run(keep(project, JOIN))["joined"]
    assert told["sha256"] == before != storage.sha256(path)
    assert not project.path("data/raw/.reading").exists()


def test_a_key_that_is_not_unique_or_not_there_stops_the_load(project: Project) -> None:
    write(project.root, "customers.csv", [*CUSTOMERS, CUSTOMERS[0]])
    assert "1 rows repeat a key in it" in refused(keep(project, JOIN))
    write(project.root, "customers.csv", CUSTOMERS)
    one = refused(keep(project, JOIN | {"cardinality": "1:1"}))
    assert "6 rows repeat a key in our rows, though 1:1" in one
    assert "it has no column 'id'" in refused(keep(project, JOIN | {"on": {"customer": "id"}}))
    assert "our rows have no column 'id'" in refused(keep(project, JOIN | {"on": ["id"]}))
    assert "no server 'nobody'" in refused(keep(project, JOIN | {"server": "nobody"}))
    assert "joins: " in refused(keep(project, JOIN | {"how": "left"}))
    assert "shop: no file" in refused(keep(project, JOIN | {"server": "shop"}))
    project.path("customers.csv").write_bytes(b"")
    assert "customers: customers.csv: the file is empty" in refused(keep(project, JOIN))


def test_rows_without_a_partner_are_counted_and_limited(project: Project) -> None:
    null = {"customer": None, "plan": "z", "secret": "x"}
    write(project.root, "customers.csv", [*CUSTOMERS[1:], null, null])
    message = refused(keep(project, JOIN))
    assert "3 of 9 rows (33.3\u00a0%) have no partner in customers by customer" in message
    project = keep(project, JOIN | {"maxUnmatched": 0.4})
    [told] = ingest.run(project)["joined"]
    assert (told["unmatched"], told["without_key"]) == (3, 2)
    assert snapshot(project)["plan"].null_count() == 3


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("tolerance", [None, 4])
def test_an_as_of_join_knows_the_last_row_before_and_nothing_later(
    project: Project, strict: bool, tolerance: int | None
) -> None:
    chance = random.Random(3)
    days = [dt.datetime(2026, 4, 1, 12) + dt.timedelta(days=n) for n in range(60)]
    history = [
        {"customer": f"00{c}", "since": day.isoformat(), "plan": f"{c} {day:%m-%d}"}
        for c in range(3) for day in chance.sample(days, 20)
    ]  # fmt: skip
    chance.shuffle(history)
    orders = [
        ORDERS[n % 9] | {"order": n, "at": chance.choice(days).isoformat()} for n in range(80)
    ]
    write(project.root, "plans.csv", history)
    write(project.root, "orders.csv", orders)
    as_of = {"left": "at", "right": "since", "strict": strict} | (
        {"toleranceDays": tolerance} if tolerance else {}
    )
    join = {"server": "plans", "on": ["customer"], "asOf": as_of, "maxUnmatched": 1}
    project = keep(project, join)
    ingest.run(project)

    def known(order: dict[str, Any]) -> str | None:
        at = dt.datetime.fromisoformat(order["at"])
        there = [
            (dt.datetime.fromisoformat(row["since"]), row["plan"])
            for row in history if row["customer"] == order["customer"]
        ]  # fmt: skip
        there = [
            (since, plan) for since, plan in there
            if (since < at or (since == at and not strict))
            and (tolerance is None or at - since <= dt.timedelta(days=tolerance))
        ]  # fmt: skip
        return max(there)[1] if there else None

    wanted = [known(order) for order in orders]
    assert snapshot(project)["plan"].to_list() == wanted
    assert None in wanted and len(set(wanted)) > 10


def test_a_watermark_joins_all_rows_again(project: Project) -> None:
    connection = sqlite3.connect(project.path("shop.db"))
    with connection:
        connection.execute('create table customers ("order", customer, "at", charge, left_us)')
        connection.executemany(
            "insert into customers values (?, ?, ?, ?, ?)", [tuple(r.values()) for r in ORDERS[:4]]
        )
    write(project.root, "customers.csv", CUSTOMERS)
    storage.write_text(project.path("config.yaml"), "data: {source: shop}\n")

    def now() -> Project:
        keep(project, JOIN)
        document = yaml.safe_load(project.contract_path.read_text(encoding="utf-8"))
        mark = {"property": "watermark", "value": {"column": "at"}}
        document["servers"][-1]["customProperties"].append(mark)
        document["schema"][0]["properties"][0] |= {"primaryKey": True, "required": True}
        storage.write_text(project.contract_path, yaml.safe_dump(document))
        return Project(project.root)

    assert ingest.run(now())["rows"] == 4
    with connection:
        row = tuple(ORDERS[6].values())
        connection.execute("insert into customers values (?, ?, ?, ?, ?)", row)
    write(project.root, "customers.csv", [row | {"plan": row["plan"] * 2} for row in CUSTOMERS])
    manifest = ingest.run(now())
    assert (manifest["loaded"].new, manifest["rows"]) == (2, 5)
    assert snapshot(project)["plan"].to_list() == ["bb", "cc", "aa", "bb", "bb"]


def test_a_contract_is_drafted_from_joined_tables(project: Project) -> None:
    write(project.root, "customers.csv", CUSTOMERS)
    project = keep(project, JOIN)
    draft = drafting.run(project, project.path("orders.csv"), "left_us", force=True)
    assert "name: plan" in draft.text and "name: secret" in draft.text
    assert [join.server for join in joins.of(project.contract_path)] == ["customers"]


# ---------------------------------------------------------------- freshness


@pytest.mark.parametrize(("hours", "late"), [(48, False), (12, True)])
def test_the_newest_row_is_held_against_what_is_promised(
    project: Project, hours: int, late: bool
) -> None:
    write(project.root, "customers.csv", CUSTOMERS)
    project = keep(project, JOIN, freshnessHours=hours)
    agreed = contract.read(project.contract_path)
    frame = pl.read_csv(project.path("orders.csv"), infer_schema=False)
    now = dt.datetime(2026, 5, 10, 12, tzinfo=dt.UTC)
    fresh = freshness.measured(project, agreed, frame, now)
    assert fresh and (fresh["hours"], fresh["limit"], fresh["late"]) == (24, hours, late)
    keep(project, JOIN)
    assert freshness.measured(project, agreed, frame, now) is None


def test_a_source_that_is_late_is_told_at_ingest_and_by_the_plan(
    project: Project, rendered: Path
) -> None:
    for name in ("PLAN.md", "plan/progress.yaml"):
        storage.write_bytes(project.path(name), (rendered / name).read_bytes())
    project.path(".github").mkdir()
    write(project.root, "customers.csv", CUSTOMERS)
    project = keep(project, JOIN, freshnessHours=1)
    manifest = ingest.run(project)
    assert "warning: the newest row of orders is " in ingest.told(manifest)
    said = [f.message for f in check.check(project) if f.id == "DATA-05"]
    assert any(m.startswith("the newest row of orders was ") for m in said)
    sourced.run(project)
    lines = sourced.told(storage.read_json(project.path(sourced.REPORT)))
    assert "fresh: when read, the newest row of orders was " in lines
