"""Keys and event ids: through every mode, into the log, and back to the labels."""

import json
import shutil
from pathlib import Path
from typing import Any

import grpc as wire
import helpers.bundles as small
import numpy as np
import polars as pl
import pytest
import yaml
from starlette.testclient import TestClient
from test_grpc import serving

from package_name.engine import keys, monitoring, storage
from package_name.engine.errors import CheckFailed, ProjectError
from package_name.engine.model import registry
from package_name.engine.model.scorer import Scorer
from package_name.engine.serving import batch, grpc_client, proto, rest
from package_name.engine.settings import Project

ROW = {"amount": 12.5, "calls": 2, "plan": "basic", "online": True}
KEYS = {"order": 17, "customer": "1.0", "seen": "2026-03-02T10:00:00", "event_id": "e/1"}
SECRET = "0123456789abcdef"
BAD = [
    ({"order": "x"}, "order", "type"),
    ({"order": 0}, "order", "minimum"),
    ({"customer": True, "seen": "yesterday"}, "seen", "type"),
    ({"event_id": "x" * 129}, "event_id", "length"),
    ({"event_id": ["x"]}, "event_id", "type"),
]


def document() -> dict[str, Any]:
    """The small contract with a primary key, a person, a time and a column of no use."""
    found = small.document()

    def prop(name: str, kind: str, role: str, **more: Any) -> dict[str, Any]:
        listed = [{"property": "role", "value": role}]
        return {"name": name, "logicalType": kind, "customProperties": listed, **more}

    limits = {"logicalTypeOptions": {"minimum": 1}}
    key = {"primaryKey": True, "primaryKeyPosition": 1, "required": True}
    found["schema"][0]["properties"] += [
        prop("order", "integer", "excluded", **limits, **key),
        prop("customer", "string", "entity", classification="personal"),
        prop("seen", "timestamp", "time"),
        prop("note", "string", "excluded"),
    ]
    del found["schema"][0]["properties"][4]  # without dates as features the time is only a key
    return found


def frame(rows: int, seed: int = 0) -> pl.DataFrame:
    table = small.frame(rows, seed).drop("since")
    return table.with_columns(
        order=pl.int_range(1, rows + 1),
        customer=pl.lit("Ms Example"),
        seen=pl.lit("2026-01-01").str.to_datetime(),
        note=pl.lit("n"),
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("keyed")
    made = small.project(root)
    storage.write_text(made.contract_path, yaml.safe_dump(document()))
    plan = yaml.safe_load((root / "plan/plan.yaml").read_text())
    plan["answers"] = {"latency_ms": 100, "deployment_modes": ["rest", "grpc", "batch"]}
    storage.write_text(root / "plan/plan.yaml", yaml.safe_dump(plan))
    registry.promote(made, small.train(made, table=frame(1200)))
    proto.write(made)
    return root


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Project:
    shutil.copytree(trained, tmp_path / "p")
    return Project(tmp_path / "p")


def logged(project: Project) -> list[dict[str, Any]]:
    (file,) = project.path("data/predictions").glob("*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_keys_come_back_from_every_mode_and_change_no_answer(project: Project, tmp_path: Path):
    rows = [ROW, ROW | KEYS, ROW | {"order": 18.0, "seen": "2026-03-02T12:00:00+02:00"}]
    with TestClient(rest.create_app(project)) as client:
        said = client.post("/predict", json=rows).json()["predictions"]
        written = client.post("/predict", json=[*rows, ROW | {"calls": "2"}]).json()["predictions"]
    assert said == written[:3], "read at once or field by field"
    alone = said[0]
    assert said[1] == alone | KEYS
    assert said[2] == alone | {"order": 18, "seen": "2026-03-02T10:00:00"}
    with serving(project) as running:
        answer = running.ask([r | {"order": int(r["order"])} if "order" in r else r for r in rows])
    found = [{k: v for k, v in one.items() if k != "warning"} for one in answer["predictions"]]
    assert [one | {"order": int(one["order"])} if "order" in one else one for one in found] == said
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    storage.write_text(tmp_path / "in.jsonl", lines)
    report = batch.run(project, tmp_path / "in.jsonl", tmp_path / "out.parquet")
    assert report["unknown_columns"] == []
    table = pl.read_parquet(tmp_path / "out.parquet")
    assert table.columns[:4] == ["order", "customer", "seen", "event_id"]
    assert table.row(1, named=True).items() >= (KEYS | {"order": "17"}).items()  # JSON: as texts
    assert table["probability"].to_list() == [one["probability"] for one in said]


def test_a_bad_key_is_refused_in_the_same_words_in_every_mode(project: Project, tmp_path: Path):
    rows = [ROW | bad for bad, *_ in BAD]
    with TestClient(rest.create_app(project)) as client:
        for row, (_, field, rule) in zip(rows, BAD, strict=True):
            (problem,) = client.post("/predict", json=row).json()["errors"]
            assert (problem["field"], problem["problem"]) == (field, rule)
            assert problem["hint"].startswith("send ")
    for row, (_, field, rule) in zip(rows, BAD, strict=True):
        if not isinstance(row.get("event_id"), list):  # which no column of a table beside texts is
            storage.write_text(tmp_path / "in.jsonl", json.dumps(row) + "\n")
            batch.run(project, tmp_path / "in.jsonl", tmp_path / "out.parquet", force=True)
            (problem,) = pl.read_parquet(tmp_path / "out.parquet")["problem"]
            assert problem == f"{field}: {rule}"
    with serving(project) as running, grpc_client.channel(running.address, None) as there:
        for row in ({"order": 0}, {"seen": "yesterday"}, {"event_id": "x" * 129}):
            with pytest.raises(wire.RpcError) as error:
                grpc_client.predict(there, [ROW | row])
            with TestClient(rest.create_app(project)) as client:
                (problem,) = client.post("/predict", json=ROW | row).json()["errors"]
            line = f"row 0, {problem['field']}: {problem['problem']}: {problem['hint']}"
            assert error.value.details() == line


def test_what_the_contract_has_and_the_model_does_not_use_is_no_unknown_field(
    project: Project, tmp_path: Path
):
    whole = ROW | KEYS | {"note": "any", "y": True}
    with TestClient(rest.create_app(project)) as client:
        assert client.post("/predict", json=whole).status_code == 200
        schema = client.get("/openapi.json").json()["components"]["schemas"]
    assert {*whole} == {*schema["Row"]["properties"]}
    assert not {"order", "customer", "seen", "event_id"} & {*schema["Row"].get("required", [])}
    assert {*KEYS} <= {*schema["Prediction"]["properties"]}
    assert "event_id" not in schema["Row"]["example"]
    storage.write_text(tmp_path / "row.json", json.dumps(whole))
    with serving(project) as running:
        answer = grpc_client.ask(project, tmp_path / "row.json", running.address, None)
    assert answer["predictions"][0]["customer"] == "1.0"


def test_the_interface_keeps_its_numbers_when_keys_come(project: Project):
    scorer = Scorer.load(registry.champion_folder(project))
    before = proto.made(scorer, keyed=False)
    after = proto.merged(before, proto.made(scorer))
    for name, message in before.items():
        numbers = {field.column: field.number for field in after[name].fields}
        assert numbers.items() >= {f.column: f.number for f in message.fields}.items()
    assert {f.column for f in after["Row"].fields} >= {*KEYS}
    # A project whose file is older serves on, and does not give keys back.
    path = project.path(proto.FILE)
    storage.write_text(path, proto.text(before, project.plan.project.package))
    with serving(project) as running:
        assert running.ask([ROW])["predictions"][0].keys() & {*KEYS} == set()


def test_the_log_has_keys_and_event_ids_but_no_person(
    project: Project, monkeypatch: pytest.MonkeyPatch
):
    def answered() -> dict[str, Any]:
        shutil.rmtree(project.path("data/predictions"), ignore_errors=True)
        with TestClient(rest.create_app(project)) as client:
            client.post("/predict", json=[ROW, ROW | KEYS], headers={"x-request-id": "r7"})
        first, line = logged(project)
        assert (first["event_id"], first["keys"]) == ("r7/0", {})
        assert line["event_id"] == "e/1" and line["features"] == ROW
        assert line["input_hash"] == first["input_hash"], "keys are no features"
        return line["keys"]

    plain = {"order": "17", "seen": "2026-03-02T10:00:00"}
    assert answered() == plain
    monkeypatch.setenv(keys.SECRET, SECRET)
    hashed = answered()
    assert hashed.keys() == {*plain, "customer"} and hashed["customer"] != "1"
    assert answered() == hashed
    monkeypatch.setenv(keys.SECRET, SECRET[::-1])
    assert answered()["customer"] != hashed["customer"]
    monkeypatch.setenv(keys.SECRET, "short")
    with pytest.raises(ProjectError, match="ML_KEY_SECRET needs 16"):
        rest.create_app(project)


@pytest.mark.parametrize("by", ["event_id", "order", "customer"])
def test_labels_meet_the_answers_that_were_given(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
):
    """What is measured is what callers got, not what the champion would say today."""
    monkeypatch.setenv(keys.SECRET, SECRET)
    table = frame(400, seed=5).with_columns(
        event_id=pl.format("e{}", "order"), customer=pl.format("Ms {}", "order")
    )
    shutil.rmtree(project.path("data/predictions"), ignore_errors=True)
    sent = json.loads(table.drop("y").write_json())
    with TestClient(rest.create_app(project)) as client:
        for _ in range(2):  # a caller who tries again sends its event ids again
            said = client.post("/predict", json=sent).json()["predictions"]
    chosen = ["customer", "seen"] if by == "customer" else [by]
    labels = table.select(*chosen, "y")[:300].reverse()
    path = tmp_path / "labels.csv"
    labels.write_csv(path)
    report = monitoring.run(project, labels=path)
    assert report["rows"] == 300 and report["source"].endswith("labels of labels.csv")
    found = report["performance"]
    assert (found["kind"], found["labelled_rows"]) == ("realised", 300)
    p, y = np.array([one["probability"] for one in said[:300]]), small.labels(table)[:300]
    auc = (p[y == 1][:, None] > p[y == 0]).mean()
    assert found["value"] == pytest.approx(auc, abs=0.01)
    turned = labels.with_columns(~pl.col("y"))
    turned.write_csv(path)
    with pytest.raises(CheckFailed, match="performance"):
        monitoring.run(project, labels=path)
    assert monitoring.retrain_check(project)["checks"][1]["hit"]
    pl.concat([labels, turned]).write_csv(path)
    with pytest.raises(ProjectError, match="different labels"):
        monitoring.run(project, labels=path)


def test_labels_meet_the_rows_of_a_file(project: Project, tmp_path: Path):
    table = frame(400, seed=5).with_columns(customer=pl.format("Ms {}", "order"))
    rows, labels = tmp_path / "in.parquet", tmp_path / "labels.csv"
    table.drop("y").write_parquet(rows)
    p = batch.score(Scorer.load(registry.champion_folder(project)), table)["probability"][:300]
    y = small.labels(table)[:300]
    auc = (p.to_numpy()[y == 1][:, None] > p.to_numpy()[y == 0]).mean()
    ids = table.with_columns(event_id=pl.format("e{}", "order"))  # which these rows do not have
    # Who a row is of is personal, and no secret is set: here nothing is written down of it.
    for by in (["order"], ["customer", "seen"], ["event_id", "order"]):
        ids.select(*by, "y")[:300].reverse().write_csv(labels)
        report = monitoring.run(project, rows, labels)
        assert (report["rows"], report["source"]) == (300, "in.parquet, labels of labels.csv")
        found = report["performance"]
        assert (found["kind"], found["labelled_rows"]) == ("realised", 300)
        assert found["value"] == pytest.approx(auc, abs=0.01)
    labels.write_text("order,y\n99999,true\n")
    with pytest.raises(ProjectError, match="none of its 1 labelled rows meets one of the 400 rows"):
        monitoring.run(project, rows, labels)
    table.drop("order").write_parquet(rows)
    with pytest.raises(ProjectError, match="names rows by order, and the table has no order"):
        monitoring.run(project, rows, labels)
    labels.write_text("order,y\n7,true\n7,false\n")
    table.write_parquet(rows)
    with pytest.raises(ProjectError, match="two rows of one order have different labels"):
        monitoring.run(project, rows, labels)


def test_a_defined_target_is_told_by_itself_or_by_what_defines_it(tmp_path: Path):
    text = document()
    of = {column["name"]: column for column in text["schema"][0]["properties"]}
    of["y"]["transformLogic"], of["note"]["logicalType"] = "note > 5", "integer"
    project = small.project(tmp_path)
    storage.write_text(project.contract_path, yaml.safe_dump(text))
    registry.promote(project, small.train(project, table=frame(1200).with_columns(note=pl.lit(3))))
    table = frame(400, seed=5).with_columns(note=pl.when("y").then(9).otherwise(1))
    rows, labels, found = tmp_path / "in.parquet", tmp_path / "labels.csv", []
    for told in ("y", "note"):
        table.select("order", told).write_csv(labels)
        for given in (table.drop("y", "note"), table.drop("note").with_columns(~pl.col("y"))):
            given.write_parquet(rows)
            found.append(monitoring.run(project, rows, labels)["performance"]["value"])
    assert found == [found[0]] * 4 and found[0] > 0.7


def test_labels_that_meet_nothing_are_one_line(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.rmtree(project.path("data/predictions"), ignore_errors=True)
    path = tmp_path / "labels.csv"
    path.write_text("order,y\n5,true\n")
    with pytest.raises(ProjectError, match="no row of v1"):
        monitoring.run(project, labels=path)
    with TestClient(rest.create_app(project)) as client:
        client.post("/predict", json=ROW | KEYS)
    for text, told in (
        ("order,y\n5,true\n", "none of its 1 labelled rows meets one of the 1 logged ones"),
        ("customer,seen,y\n1.0,2026-03-02T10:00:00,true\n", "personal.*ML_KEY_SECRET"),
        ("note,y\nn,true\n", "nothing says which prediction.*event_id or order or customer, seen"),
        ("order\n17\n", "column 'y' is missing"),
    ):
        path.write_text(text)
        with pytest.raises(ProjectError, match=told):
            monitoring.run(project, labels=path)


def test_a_contract_with_an_event_id_of_its_own_keeps_it(tmp_path: Path):
    text = document()
    for column in text["schema"][0]["properties"]:
        if column["name"] == "order":
            column |= {"name": "event_id", "logicalType": "string", "logicalTypeOptions": {}}
    made = small.project(tmp_path)
    storage.write_text(made.contract_path, yaml.safe_dump(text))
    table = frame(400).rename({"order": "event_id"}).with_columns(pl.col("event_id").cast(str))
    registry.promote(made, small.train(made, table=table))
    scorer = Scorer.load(registry.champion_folder(made))
    (event,) = [column for column in scorer.keys.values() if column.name == "event_id"]
    assert event.longest is None and [c.name for c in scorer.sent].count("event_id") == 1
