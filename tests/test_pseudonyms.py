"""Keys of people as keyed hashes: in data/ from every source, and met by whoever sends the key."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import helpers.bundles as small
import polars as pl
import pytest
import yaml
from helpers.plan import of_people
from helpers.scoring import noted
from starlette.testclient import TestClient
from test_erasing import holding
from test_keys import SECRET, document

from package_name.engine import erasing, keys, monitoring, storage
from package_name.engine.data import contract, drafting, forgotten, ingest, validation
from package_name.engine.errors import ProjectError
from package_name.engine.model import registry
from package_name.engine.model.history import Window
from package_name.engine.serving import batch, batch_delta, rest
from package_name.engine.settings import Project

WHO = "Ms Zebra"
ROWS = Window("rows", by="customer", on="seen", delay_days=0)


def agreed(**joined: Any) -> dict[str, Any]:
    """The contract of keys, its customer a pseudonym; with a table to join if one is named."""
    found = document()
    (table,) = found["schema"]
    named = {column["name"]: column for column in table["properties"]}
    named["customer"]["customProperties"].append({"property": "pseudonym", "value": True})
    if joined:
        table["customProperties"] = [{"property": "joins", "value": [joined]}]
    return found


def rows(customers: list[str], first: int = 1) -> pl.DataFrame:
    table = small.frame(len(customers)).drop("since")
    return table.with_columns(
        order=pl.int_range(first, first + len(customers)),
        customer=pl.Series(customers),
        seen=pl.lit("2026-05-01T00:00:00"),
        note=pl.lit("n"),
    )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project of 100 customers with ten rows each, whose source lies outside of data/."""
    monkeypatch.setenv(keys.SECRET, SECRET)
    made = of_people(tmp_path, agreed())
    rows([WHO, *(f"person {n}" for n in range(1, 100))] * 10).write_csv(tmp_path / "in.csv")
    return made


def pseudonym(name: str = WHO) -> str:
    secret = keys.secret()
    assert secret
    return keys.hashed(name, secret)


def trained(project: Project) -> Project:
    ingest.run(project)
    validation.run(project)
    valid = pl.read_parquet(project.path("data/processed/valid.parquet"))
    registry.promote(project, small.train(project, table=valid, past=(ROWS,)))
    return project


def test_no_file_of_data_has_a_key_and_all_who_send_one_are_known(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(project)
    assert holding(project, WHO, "person 7") == set()
    assert {n.split("/")[1] for n in holding(project, pseudonym())} == {"raw", "processed"}
    asked = rows([WHO, "person 7", "nobody"], first=5001).with_columns(seen=pl.lit("2026-06-01"))
    asked.drop("y").write_csv(project.path("ask.csv"))
    inside, outside = project.path("data/out.parquet"), project.path("out.parquet")
    for path in (inside, outside):
        batch.run(project, project.path("ask.csv"), path)
    kept, given = pl.read_parquet(inside), pl.read_parquet(outside)
    assert given["customer"].to_list() == [WHO, "person 7", "nobody"], "its reader's own file"
    assert kept["customer"].to_list() == [pseudonym(name) for name in given["customer"]]
    assert kept.drop("customer").equals(given.drop("customer"))
    assert given["problem"].null_count() == 3
    sent = json.loads(asked.drop("y", "note").write_json())
    with TestClient(rest.create_app(project)) as client:
        said = client.post("/predict", json=sent).json()["predictions"]
    assert [one["customer"] for one in said] == given["customer"].to_list()
    assert [one["probability"] for one in said] == given["probability"].to_list()
    (log,) = project.path("data/predictions").glob("*.jsonl")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["keys"]["customer"] for line in lines] == kept["customer"].to_list()
    # The key finds ten rows, as its pseudonym does; one that nobody has finds none.
    scorer = rest.Model(registry.champion_folder(project)).scorer
    at = scorer.spec.names.index("rows")
    texts = [*given["customer"], pseudonym()]
    seen = [scorer.read_row(sent[0] | {"customer": text}) for text in texts]
    assert scorer.encode_rows(seen)[:, at].tolist()[:2] == [10, 10]
    assert scorer.encode_rows(seen)[3, at] == 10 and scorer.encode_rows(seen)[2, at] != 10


def test_labels_meet_by_the_key(project: Project) -> None:
    trained(project)
    table = rows([f"person {n}" for n in range(1, 100)] * 4, first=5001)
    moments = pl.datetime(2026, 6, 1) + pl.duration(minutes="order")
    table = table.with_columns(seen=moments.dt.strftime("%Y-%m-%dT%H:%M:%S"))
    with TestClient(rest.create_app(project)) as client:
        client.post("/predict", json=json.loads(table.drop("y", "note").write_json()))
    table.select("customer", "seen", "y").write_csv(project.path("labels.csv"))
    assert monitoring.run(project, labels=project.path("labels.csv"))["rows"] == table.height
    table.drop("y").write_csv(project.path("new.csv"))
    found = monitoring.run(project, project.path("new.csv"), project.path("labels.csv"))
    assert found["rows"] == table.height


def test_rows_of_a_watermark_and_a_joined_table_meet_by_their_pseudonyms(project: Project) -> None:
    """The last snapshot has hashes, what comes has keys."""
    text = agreed(server="regions", on=["customer"], columns=["region"], maxUnmatched=0.5)
    said = {"system": "shop", "kind": "internal", "method": "query", "table": "orders"}
    said["watermark"] = {"column": "order"}
    people = {"system": "crm", "kind": "internal", "method": "query", "table": "people"}
    text["servers"] = [
        {"server": name, "type": "custom", "format": "sqlite", "database": "shop.db"}
        | {"customProperties": [{"property": n, "value": v} for n, v in each.items()]}
        for name, each in (("shop", said), ("regions", people))
    ]
    storage.write_text(project.contract_path, yaml.safe_dump(text))
    storage.write_text(project.path("config.yaml"), "data: {source: shop}\n")
    project = Project(project.root)
    with sqlite3.connect(project.path("shop.db")) as shop:
        shop.execute("create table people (customer text, region text)")
        shop.execute("insert into people values (?, 'north'), ('person 1', 'south')", (WHO,))
        table = rows([WHO, "person 1", "person 2"])
        shop.execute(f"create table orders ({', '.join(map(repr, table.columns))})")

        def put(found: pl.DataFrame) -> None:
            marks = ", ".join("?" * found.width)
            shop.executemany(f"insert into orders values ({marks})", found.rows())

        put(table)
        shop.commit()
        ingest.run(project)
        put(rows([WHO, "person 3"], first=4))
        shop.commit()
    manifest = ingest.run(project)
    assert (manifest["rows"], manifest["loaded"].new) == (5, 3)
    found = pl.read_parquet(project.path(manifest["file"]))
    assert found["customer"].to_list() == [
        *map(pseudonym, (WHO, "person 1", "person 2", WHO, "person 3"))
    ]
    assert found["region"].to_list() == ["north", "south", None, "north", None]
    assert holding(project, WHO, "person") == set()
    assert "keyed hashes in place of values: customer" in ingest.told(manifest)


@pytest.mark.parametrize("by", ["key", "pseudonym"])
def test_a_person_is_forgotten_by_key_or_pseudonym(project: Project, by: str) -> None:
    trained(project)
    with TestClient(rest.create_app(project)) as client:
        row = json.loads(rows([WHO], first=9001).drop("y", "note").write_json())
        client.post("/predict", json=row)
    hashed = pseudonym()
    assert any("predictions" in name for name in holding(project, hashed))
    certificate, path = erasing.forget(project, WHO if by == "key" else hashed)
    assert holding(project, hashed) == set() and hashed not in path.read_text()
    assert certificate.verified == 0 and certificate.states == ["v1"]
    manifest = ingest.run(project)
    assert (manifest["forgotten"], manifest["rows"]) == (10, 990)


def test_who_was_forgotten_before_stays_out_when_keys_become_pseudonyms(project: Project) -> None:
    storage.write_text(project.contract_path, yaml.safe_dump(document()))
    project = Project(project.root)
    before = ingest.run(project)
    erasing.forget(project, "person 5")
    storage.write_text(project.contract_path, yaml.safe_dump(agreed()))
    project = Project(project.root)
    manifest = ingest.run(project)
    assert (manifest["forgotten"], manifest["rows"]) == (10, 990)
    left = manifest["with_keys"]
    assert len(left) == 1 and left[0] != before["file"], "the one of before, without person 5"
    assert f"warning: {left[0]}: of before, with the values" in ingest.told(manifest)
    assert "forgotten_by_hash" not in manifest
    # A person asks later: the key finds the rows of both, and the log of before.
    project.path("data/predictions").mkdir()
    tail = pseudonym().rpartition("-")[2]
    line = json.dumps({"keys": {"customer": tail}})
    storage.write_text(project.path("data/predictions/2026-11-27.jsonl"), line + "\n")
    erasing.forget(project, WHO)
    assert holding(project, WHO, pseudonym(), tail) == set()


def test_a_secret_that_is_missing_or_another_is_one_line(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(project)
    first = pseudonym()[1:9]
    asked = project.path("ask.csv")
    rows([WHO], first=5001).drop("y").write_csv(asked)

    def refused(match: str) -> None:
        for act in (
            lambda: ingest.run(project),
            lambda: batch.run(project, asked, project.path("data/out.csv")),
            lambda: rest.create_app(project),
            lambda: erasing.forget(project, WHO),
        ):
            with pytest.raises(ProjectError, match=match) as error:
                act()
            assert "\n" not in str(error.value) and WHO not in str(error.value)

    before = {path: path.stat().st_mtime_ns for path in project.path("data").rglob("*.parquet")}
    monkeypatch.delenv(keys.SECRET)
    refused("ML_KEY_SECRET")
    validation.run(project)  # where nothing has to be hashed, no secret is needed
    monkeypatch.setenv(keys.SECRET, SECRET[::-1])
    refused(rf"of the secret {first}.*ML_KEY_SECRET is {pseudonym()[1:9]}")
    assert {p for p in before if "raw" in p.parts and p.stat().st_mtime_ns == before[p]} == {
        p for p in before if "raw" in p.parts
    }
    # A file outside of the project has it as well.
    monkeypatch.delenv(keys.SECRET)
    monkeypatch.setenv(keys.SECRET_FILE, str(project.path("../secret")))
    with pytest.raises(ProjectError, match="secret cannot be read"):
        ingest.run(project)
    project.path("../secret").write_text(f"{SECRET}\n")
    assert ingest.run(project)["pseudonyms"] == {"customer": first}
    project.path("../secret").write_text("\n")
    with pytest.raises(ProjectError, match="secret is empty"):
        ingest.run(project)
    monkeypatch.setenv(keys.SECRET, "")  # as compose passes on what nothing sets
    monkeypatch.delenv(keys.SECRET_FILE)
    assert keys.secret() is None


def test_a_secret_in_a_project_or_a_folder_of_git_is_refused(
    project: Project, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(keys.SECRET)
    other = tmp_path_factory.mktemp("git")
    (other / ".git").mkdir()
    project.path("data").mkdir()
    for folder, within in ((project.path("data"), project.root), (other, other)):
        (folder / "secret").write_text(SECRET)
        monkeypatch.setenv(keys.SECRET_FILE, str(folder / "secret"))
        with pytest.raises(ProjectError, match=rf"secret is within {within}, .*keep it outside"):
            ingest.run(project)


@pytest.mark.parametrize("by", ["key", "pseudonym"])
def test_under_another_secret_who_was_forgotten_by_a_hash_alone_comes_back_and_is_counted(
    project: Project, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    trained(project)
    certificate, _ = erasing.forget(project, WHO if by == "key" else pseudonym())
    told = any("secret is another one" in place for place in certificate.out_of_reach)
    assert told == (by == "pseudonym")
    again = ingest.run(project)
    assert again["forgotten"] == 10 and "forgotten_by_hash" not in again
    monkeypatch.setenv(keys.SECRET, SECRET[::-1])
    for folder in ("data/raw", "data/processed", "models"):
        shutil.rmtree(project.path(folder))
    manifest = ingest.run(project)
    if by == "key":
        assert manifest["forgotten"] == 10 and "forgotten_by_hash" not in manifest
        return
    assert (manifest["forgotten"], manifest["forgotten_by_hash"]) == (0, 1)
    assert "warning: 1 of data/forgotten/people.json were named by" in ingest.told(manifest)
    erasing.forget(project, WHO)  # the way out that it names
    assert ingest.run(project)["forgotten"] == 10


def test_a_champion_of_before_writes_no_key_into_data(project: Project) -> None:
    storage.write_text(project.contract_path, yaml.safe_dump(document()))
    project = trained(Project(project.root))
    asked = rows([WHO, "person 7"], first=5001).drop("y")
    asked.write_csv(project.path("ask.csv"))
    inside, old = project.path("data/out.csv"), project.path("data/old.csv")
    for path in (inside, old):
        batch.run(project, project.path("ask.csv"), path)
    assert holding(project, WHO) >= {"data/out.csv", "data/old.csv"}
    storage.write_text(project.contract_path, yaml.safe_dump(agreed()))
    project = Project(project.root)
    # What was finished before is made again, with hashes.
    for _ in range(2):
        batch.run(project, project.path("ask.csv"), inside)
        assert pl.read_csv(inside)["customer"].to_list() == [*map(pseudonym, asked["customer"])]
    left = ingest.run(project)["with_keys"]
    assert "data/old.csv" in left and "data/out.csv" not in left
    assert any(name.startswith("data/processed/") for name in left)
    # A Delta table in data/ takes what is there, and nothing else.
    for output, place in (("out.parquet", "lake"), ("data/out.parquet", "data/lake")):
        batch_delta.check_keys(project, project.path(output), str(project.path(place)))
    with pytest.raises(AssertionError, match="--delta 'data/lake': data/ has keyed hashes"):
        noted(project, "ask.csv", "out.parquet", "--delta", "data/lake")
    assert not project.path("out.parquet").exists() and not project.path("data/lake").exists()
    with pytest.raises(ProjectError, match=r"keyed hashes of 'customer'.*give an OUT in data/"):
        output, place = project.path("out.parquet"), project.path("data/lake")
        batch_delta.check_keys(project, output, str(place))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"logicalType": "integer"}, "needs string, the role entity or excluded"),
        ({"classification": "internal"}, "pseudonym is for data of people"),
    ],
)
def test_only_a_key_of_a_person_that_no_model_reads_becomes_a_pseudonym(
    project: Project, change: dict[str, Any], told: str
) -> None:
    text = agreed()
    named = {column["name"]: column for column in text["schema"][0]["properties"]}
    named["customer"].update(change)
    storage.write_text(project.contract_path, yaml.safe_dump(text))
    assert any(told in problem for problem in contract.lint(project.contract_path))


def test_a_new_draft_keeps_that_a_column_is_a_pseudonym(project: Project) -> None:
    numbers = pl.read_csv(project.path("in.csv")).with_columns(customer=pl.col("order") % 100)
    numbers.write_csv(project.path("in.csv"))
    drafting.run(project, project.path("in.csv"), "y", force=True)
    assert contract.read(project.contract_path).column("customer").pseudonym


def test_a_list_of_people_needs_no_secret_of_pseudonyms() -> None:
    assert forgotten.names("a", b"own", None) == {forgotten.hashed("a", b"own")}
