"""Hard cases of serving, on the raw template package: hostile requests, files, kills, reloads."""

import base64
import datetime as dt
import hashlib
import hmac
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import helpers.bundles as small
import httpx
import jwt
import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from helpers.service import free_port, process, until
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest
from starlette.testclient import TestClient

from package_name import features, models
from package_name.engine import parquet as parquet_files
from package_name.engine import storage, task
from package_name.engine.data import ingest, reading, validation
from package_name.engine.data.contract import SCORED, Column, Contract
from package_name.engine.dialect import MISSING
from package_name.engine.errors import ProjectError
from package_name.engine.features import encode
from package_name.engine.model import bundle, graph, registry, retirement
from package_name.engine.model.output import Output
from package_name.engine.model.scorer import FeatureSpec, Manifest, Scorer
from package_name.engine.model.values import ServedColumn, read_value
from package_name.engine.serving import batch, requests, rest, service, telemetry, tokens
from package_name.engine.settings import Project

ROW = {"amount": 12.5, "calls": 2, "plan": "basic", "online": True, "since": "2026-03-01"}


def serving_contract() -> dict:
    """The small contract with every kind of rule, and a personal column."""
    document = small.document()
    columns = {item["name"]: item for item in document["schema"][0]["properties"]}
    columns["amount"] |= {"classification": "personal", "logicalTypeOptions": {"maximum": 1e6}}
    columns["calls"] |= {"required": True}
    columns["plan"]["quality"] = [
        {
            "metric": "invalidValues",
            "mustBe": 0,
            "severity": "error",
            "arguments": {"validValues": ["basic", "plus", "pro", "team"]},
        }
    ]
    return document


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two versions; v1 is champion."""
    root = tmp_path_factory.mktemp("served")
    made = small.project(root)
    storage.write_text(made.contract_path, yaml.safe_dump(serving_contract()))
    plan = yaml.safe_load((root / "plan/plan.yaml").read_text())
    plan["answers"] = {"latency_ms": 100, "deployment_modes": ["rest", "batch"]}
    storage.write_text(root / "plan/plan.yaml", yaml.safe_dump(plan))
    for seed in range(2):
        small.train(made, rows=600, seed=seed)
    registry.promote(made, "v1")
    return root


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Project:
    """A copy of it to change."""
    shutil.copytree(trained, tmp_path / "p", ignore=shutil.ignore_patterns("predictions"))
    return Project(tmp_path / "p")


@pytest.fixture(scope="module")
def client(trained: Path):
    with TestClient(rest.create_app(Project(trained))) as client:
        yield client


def configure(project: Project, **serving) -> Project:
    storage.write_text(project.path("config.yaml"), yaml.safe_dump({"serving": serving}))
    return Project(project.root)


def problems(answer: httpx.Response) -> set[tuple]:
    assert answer.status_code == 422, answer.text
    return {(e["row"], e["field"], e["problem"]) for e in answer.json()["errors"]}


# Requests


def test_one_row_a_list_and_rows_agree(client):
    one = client.post("/predict", json=ROW).json()
    assert one["model_version"] == "v1" and one["threshold"] == 0.4
    for many in ([ROW, ROW], {"rows": [ROW, ROW]}):
        answer = client.post("/predict", json=many).json()
        assert answer["predictions"] == one["predictions"] * 2
    spaced = b' \n {  "rows" : [ ' + json.dumps(ROW).encode() + b" ] } "
    assert client.post("/predict", content=spaced).json() == one
    assert client.post("/predict", json=[]).json()["predictions"] == []


def test_every_broken_field_of_every_row_is_named(client):
    rows = [
        ROW,
        {"amount": "1,2", "plan": "gold", "online": 2, "since": "yesterday", "cals": 3},
        {**ROW, "calls": -1, "amount": 2e6},
        {**ROW, "calls": 1.5, "since": 20260301},
        "row",
    ]
    assert problems(client.post("/predict", json=rows)) == {
        (1, "amount", "type"),
        (1, "calls", "required"),
        (1, "plan", "levels"),
        (1, "online", "type"),
        (1, "since", "type"),
        (1, "cals", "unknown field"),
        (2, "calls", "minimum"),
        (2, "amount", "maximum"),
        (3, "calls", "type"),
        (3, "since", "type"),
        (4, None, "type"),
    }
    hints = {e["field"]: e["hint"] for e in client.post("/predict", json=rows[1]).json()["errors"]}
    assert hints["cals"] == "did you mean calls?"
    assert hints["calls"] == "send a whole number of at least 0"
    assert "basic, plus, pro, team" in hints["plan"]


def test_a_whole_record_is_taken_and_what_the_contract_lacks_is_not(client):
    alone = client.post("/predict", json=ROW).json()["predictions"]
    for value in (True, None, {"any": ["thing"]}):  # the target, which the model does not read
        answer = client.post("/predict", json=[ROW | {"y": value}])
        assert answer.json()["predictions"] == alone
    for rows in (ROW | {"yy": 1}, [ROW, ROW | {"y": 1, "yy": None}], {"rows": [ROW | {"yy": 1}]}):
        (problem,) = client.post("/predict", json=rows).json()["errors"]
        assert (problem["field"], problem["problem"]) == ("yy", "unknown field")
    twice = json.dumps(ROW | {"y": 1})[:-1] + ', "y": 1}'
    assert client.post("/predict", content=twice).status_code == 422


def test_missing_is_null_absent_or_an_empty_text(client):
    bare = {"calls": 2}
    full = bare | {"amount": None, "plan": "", "online": None, "since": None}
    answers = [client.post("/predict", json=row).json() for row in (bare, full)]
    assert answers[0]["predictions"] == answers[1]["predictions"]
    assert problems(client.post("/predict", json=full | {"calls": None})) == {
        (0, "calls", "required")
    }


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"   ", 400),
        (b"{", 400),
        (b"{'calls': 1}", 400),
        (b'{"calls": 2}{"calls": 2}', 400),
        (b'{"calls": NaN}', 400),
        (b'{"calls": 2, "amount": Infinity}', 400),
        (b'{"calls": 2, "amount": 1e999}', 400),
        (b'{"calls": 2, "plan": "\xff\xfe"}', 400),
        (b'{"calls": 2, "plan": "\\ud800"}', 400),
        (b"[" * 100_000, 400),
        (b'{"rows":' * 50_000, 400),
        (b"null", 422),
        (b"1", 422),
        (b'"row"', 422),
        (b'{"rows": 5}', 422),
        (b'{"rows": [1]}', 422),
        (b"[[]]", 422),
        (b"{}", 422),
        (b'{"calls": ' + b"9" * 400 + b"}", 422),
        (b'{"calls": ' + b"9" * 5000 + b"}", 400),
        (b'{"calls": true}', 422),
        (b'{"calls": 2, "calls": "x"}', 422),
        (b'{"calls": "x", "calls": 2}', 422),
        (b'{"calls": 2, "calls": 2}', 422),
        (b'{"calls": 2, "amount": 1e-300}', 200),
        (b'{"calls": 2, "amount": -1.7e308}', 422),
        (b'{"calls": 2, "plan": "basic", "amount": 12}', 200),
    ],
)
def test_hostile_bodies(client, body, status):
    answer = client.post("/predict", content=body)
    assert answer.status_code == status, answer.text
    if status == 200:
        assert 0 <= answer.json()["predictions"][0]["probability"] <= 1
    else:
        error = answer.json()["errors"][0]
        assert error.keys() == {"row", "field", "problem", "hint"}
        assert len(answer.content) < 1000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
fields = st.sampled_from([*ROW, "rows", "extra"])


@settings(max_examples=60)
@given(st.dictionaries(fields, json_values | st.sampled_from(list(ROW.values()))) | json_values)
def test_any_json_gets_an_answer_and_a_refusal_says_why(client, content):
    body = json.dumps(content).encode()
    answer = client.post("/predict", content=body)
    assert answer.status_code in (200, 400, 422)
    assert answer.status_code == 200 or answer.json()["errors"]
    assert ("NaN" in str(body) or "Infinity" in str(body)) <= (answer.status_code != 200)


@settings(max_examples=40)
@given(st.binary(max_size=200))
def test_any_bytes_get_an_answer(client, body):
    assert client.post("/predict", content=body).status_code in (400, 422)


def test_limits(project):
    project = configure(project, max_rows=3, max_body_mb=0.001)
    with TestClient(rest.create_app(project)) as client:
        assert client.post("/predict", json=[{"calls": 2}] * 3).status_code == 200
        for rows in ([{"calls": 2}] * 4, [{"calls": "x"}] * 4):
            for many in (rows, {"rows": rows}):
                assert client.post("/predict", json=many).status_code == 413
        assert client.post("/predict", content=b" " * 1001).status_code == 413
        chunks = (b" " * 100 for _ in range(11))
        assert client.post("/predict", content=chunks).status_code == 413


def test_a_long_refusal_is_cut(project):
    with TestClient(rest.create_app(configure(project, max_rows=10_000))) as client:
        answer = client.post("/predict", json=[{"x" * 5000: 1}] * 300)
        assert len(answer.json()["errors"]) == requests.MAX_PROBLEMS
        assert len(answer.content) < 100_000


def test_methods_content_types_and_unknown_paths(client):
    for method in ("GET", "PUT", "DELETE", "OPTIONS"):
        answer = client.request(method, "/predict")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    form = client.post("/predict", content=json.dumps(ROW), headers={"content-type": "text/plain"})
    assert form.status_code == 200  # the body decides, whatever the header says
    assert client.get("/nowhere").json()["errors"][0]["problem"] == "Not Found"
    assert client.post("/health").status_code == 405


def test_request_ids(client):
    given = client.post("/predict", json=ROW, headers={"x-request-id": "abc-1:2"})
    assert given.headers["x-request-id"] == "abc-1:2"
    refused = client.post("/predict", content=b"{", headers={"x-request-id": "abc"})
    assert refused.json()["request_id"] == "abc"
    made = [client.post("/predict", json=ROW).headers["x-request-id"] for _ in range(2)]
    assert len(set(made)) == 2
    for hostile in ("x" * 200, 'a"b', "a b", "<script>"):
        answer = client.post("/predict", json=ROW, headers={"x-request-id": hostile})
        assert answer.headers["x-request-id"] != hostile


# What the service tells


def test_openapi_describes_predict_by_the_contract(client):
    document = client.get("/openapi.json").json()
    operation = document["paths"]["/predict"]["post"]
    assert set(operation["responses"]) == {
        "200",
        "400",
        "405",
        "408",
        "413",
        "422",
        "431",
        "500",
        "503",
    }
    assert set(document["paths"]["/explain"]["post"]["responses"]) == {
        *operation["responses"],
        "409",
    }
    row = document["components"]["schemas"]["Row"]
    assert set(row["properties"]) == {*ROW, "y", "event_id"} and row["required"] == ["calls"]
    assert row["properties"]["y"]["description"] == "Not used by this model: ignored"
    assert not row["additionalProperties"]
    assert row["properties"]["calls"]["minimum"] == 0
    assert client.post("/predict", json=row["example"]).status_code == 200
    references = {
        part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]
    }
    assert references <= set(document["components"]["schemas"])


def test_reasons_are_what_the_score_loses_with_usual_values(client, trained):
    model = requests.Model(trained / "models/v1")
    usual = dict(zip(model.scorer.spec.names, model.golden.usual, strict=True))
    row = {**ROW, "calls": 9}
    [told] = client.post("/explain?top=1", json=row).json()["rows"]
    [score] = (p["probability"] for p in client.post("/predict", json=row).json()["predictions"])
    assert told["score"] == pytest.approx(score, abs=1e-5)
    assert [reason["column"] for reason in told["reasons"]] == ["calls"]
    other = {**row, "calls": int(usual["calls"])}
    [without] = client.post("/predict", json=other).json()["predictions"]
    lost = score - without["probability"]
    assert told["reasons"][0]["effect"] == pytest.approx(lost, abs=1e-5) and lost
    both = client.post("/explain", json=[row, other]).json()["rows"]
    assert "calls" not in [reason["column"] for reason in both[1]["reasons"]]
    sizes = [abs(reason["effect"]) for reason in both[0]["reasons"]]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) <= 4


def test_what_is_no_question_why_is_refused(client):
    for query in ("top=0", "top=100", "top=x", "top=1&top=2", "to=3"):
        answer = client.post(f"/explain?{query}", json=ROW)
        assert problems(answer) == {(None, "top", "query")}, query
    assert client.post("/explain", json=[ROW] * 21).status_code == 413
    assert problems(client.post("/explain", json={"calls": -1})) == {(0, "calls", "minimum")}
    assert client.get("/explain").status_code == 405
    assert client.post("/explain", content=b"{").status_code == 400


def test_a_model_without_usual_values_gives_no_reasons(project):
    path = project.path("models/v1/golden.json")
    golden = json.loads(path.read_text())
    del golden["usual"]
    storage.write_json(path, golden)
    manifest = json.loads(project.path("models/v1/manifest.json").read_text())
    manifest["files"]["golden.json"] = storage.sha256(path)
    storage.write_json(project.path("models/v1/manifest.json"), manifest)
    registry.rebuild(project)
    entry = json.loads(project.path("models/registry.json").read_text())
    entry["versions"]["v1"]["manifest_sha256"] = storage.sha256(
        project.path("models/v1/manifest.json")
    )
    storage.write_json(project.path("models/registry.json"), entry)
    with TestClient(rest.create_app(project)) as client:
        answer = client.post("/explain", json=ROW)
        assert answer.status_code == 409 and "train again" in answer.json()["errors"][0]["hint"]
        assert client.post("/predict", json=ROW).status_code == 200


def hashed(*keys: str) -> str:
    return "".join(f"{hashlib.sha256(key.encode()).hexdigest()}  of {key}\n" for key in keys)


def test_without_a_good_key_nobody_gets_an_answer(project, caplog):
    path = project.root / "keys"
    path.write_text("# callers\n" + hashed("old", "new"), encoding="utf-8")
    locked = configure(project, api_keys="keys")
    app = rest.create_app(locked)
    with TestClient(app) as client:
        for headers in ({}, {"x-api-key": "none"}, {"authorization": "Bearer"}):
            for place in ("/predict", "/explain"):
                answer = client.post(place, json=ROW, headers=headers)
                assert answer.status_code == 401 and "Bearer" in answer.headers["www-authenticate"]
        for headers in ({"authorization": "Bearer new"}, {"x-api-key": "old"}):
            assert client.post("/predict", json=ROW, headers=headers).status_code == 200
            assert client.post("/explain", json=ROW, headers=headers).status_code == 200
        assert client.get("/ready").status_code == client.get("/metrics").status_code == 200
        document = client.get("/openapi.json").json()
        assert "401" in document["paths"]["/predict"]["post"]["responses"]
        assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
        path.write_text(hashed("new"), encoding="utf-8")
        until(lambda: client.post("/predict", json=ROW, headers={"x-api-key": "old"}).is_error)
        path.write_text("no hash\n", encoding="utf-8")
        until(lambda: "line 1" in caplog.text)
        assert client.post("/predict", json=ROW, headers={"x-api-key": "new"}).status_code == 200
    assert "new" not in "".join(p.read_text() for p in locked.path("data/predictions").iterdir())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        ("", "has no key"),
        ("abc\n", "line 1"),
        (hashed("a").upper(), "line 1"),
    ],
)
def test_keys_that_cannot_be_read_are_one_line(project, content, said):
    if content is not None:
        project.path("keys").write_text(content, encoding="utf-8")
    with pytest.raises(ProjectError, match=said) as caught:
        rest.create_app(configure(project, api_keys="keys"))
    assert "sha256sum" in str(caught.value) and "\n" not in str(caught.value)


def test_reasons_are_no_predictions(project):
    with TestClient(rest.create_app(project)) as client:
        client.post("/explain", json=ROW)
        lines = client.get("/metrics").text.splitlines()
    assert "ml_request_seconds_count 0.0" in lines
    assert not [*project.path("data/predictions").glob("*.jsonl")]


def test_metrics_count_what_happened(project):
    with TestClient(rest.create_app(project)) as client:
        answers = [client.post("/predict", json=rows).json() for rows in (ROW, [ROW] * 70)]
        client.post("/predict", content=b"{")
        lines = client.get("/metrics").text.splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert found['ml_requests_total{status="200"}'] == "2.0"
    assert found['ml_requests_total{status="400"}'] == "1.0"
    assert found['ml_requests_total{status="500"}'] == "0.0"
    assert (
        found['ml_request_seconds_bucket{le="0.1"}'] and found["ml_request_seconds_count"] == "3.0"
    )
    assert found["ml_probability_count"] == "71.0"
    decided = {str(p["decision"]).lower() for a in answers for p in a["predictions"]}
    assert sum(float(found[f'ml_decisions_total{{decision="{d}"}}']) for d in decided) == 71
    assert found['ml_model_info{version="v1"}'] == "1.0"
    assert found["ml_model_reload_failed"] == "0.0"


def test_the_log_has_each_row_but_no_personal_value(project):
    with TestClient(rest.create_app(project)) as client:
        rows = [ROW, {**ROW, "amount": 4711.25}, {"calls": 3}]
        answer = client.post("/predict", json=rows, headers={"x-request-id": "r1"}).json()
        client.post("/predict", json={"calls": -5})
    (path,) = project.path("data/predictions").glob("*.jsonl")
    assert path.stem == f"{dt.datetime.now(dt.UTC):%Y-%m-%d}"
    assert "amount" not in path.read_text() and "4711" not in path.read_text()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["row"] for line in lines] == [0, 1, 2]
    assert {(line["request_id"], line["version"]) for line in lines} == {("r1", "v1")}
    logged = [{k: line[k] for k in ("probability", "decision")} for line in lines]
    assert logged == answer["predictions"]
    assert lines[0]["features"] == {k: v for k, v in ROW.items() if k != "amount"}
    hashes = [line["input_hash"] for line in lines]
    assert hashes[0] == hashes[1] != hashes[2]  # personal values do not enter the hash either


def test_the_log_can_be_switched_off(project):
    with TestClient(rest.create_app(configure(project, log_predictions=False))) as client:
        client.post("/predict", json=ROW)
    assert not project.path("data/predictions").exists()


def test_a_full_disk_costs_log_lines_but_no_answer(project):
    project.path("data").mkdir(exist_ok=True)
    project.path("data/predictions").write_text("a file where the folder should be")
    with TestClient(rest.create_app(project)) as client:
        assert client.post("/predict", json=[ROW] * 5).status_code == 200
        time.sleep(service.TICK_SECONDS * 2)
        assert "ml_prediction_log_lost_total 5.0" in client.get("/metrics").text
        assert client.post("/predict", json=ROW).status_code == 200


def test_scoring_that_breaks_is_one_500_without_data(project, caplog, monkeypatch):
    app = rest.create_app(project)
    encode = Scorer.read

    def broken(self, rows):
        if any(row.f1 == 13 for row in rows):
            raise RuntimeError("unlucky value 13 of Ms Example")
        return encode(self, rows)

    monkeypatch.setattr(Scorer, "read", broken)
    with TestClient(app) as client:
        answer = client.post("/predict", json={"calls": 13}, headers={"x-request-id": "r13"})
        assert (answer.status_code, answer.json()["request_id"]) == (500, "r13")
        assert client.post("/predict", json=ROW).status_code == 200
        assert 'ml_requests_total{status="500"} 1.0' in client.get("/metrics").text
    assert "r13" in caplog.text and "RuntimeError" in caplog.text
    assert "Ms Example" not in caplog.text + answer.text


def test_neighbours_of_a_row_that_breaks_are_answered(project, monkeypatch):
    """Rows of one turn are scored together; only the request that breaks may fail."""
    import asyncio

    model = requests.Model(project.path("models/v1"))
    predict = model.predict

    def broken(rows):
        if any(row.f1 == 13 for row in rows):
            raise RuntimeError
        return predict(rows)

    monkeypatch.setattr(model, "predict", broken)
    row = model.scorer.row_type

    async def all_at_once():
        turn = service.Turn()
        calls = [turn.predict(model, [msgspec.convert({"calls": n}, row)]) for n in (1, 13, 2)]
        return await asyncio.gather(*calls, return_exceptions=True)

    first, second, third = asyncio.run(all_at_once())
    assert isinstance(second, RuntimeError)
    rows = [msgspec.convert({"calls": n}, row) for n in (1, 2)]
    assert [first, third] == [predict([r]) for r in rows]


# Reloading


def test_promotion_rollback_and_a_broken_champion(project, monkeypatch):
    monkeypatch.setattr(service, "TICK_SECONDS", 0.05)
    with TestClient(rest.create_app(project)) as client:
        version = lambda: client.get("/ready").json()["model_version"]  # noqa: E731
        assert version() == "v1"
        registry.promote(project, "v2")
        until(lambda: version() == "v2")
        assert client.post("/predict", json=ROW).json()["model_version"] == "v2"
        model = project.path("models/v1/model_encoded.onnx")
        good = model.read_bytes()
        model.write_bytes(good[:-1] + b"\x00")
        raw = registry.read(project)
        raw.champion = "v1"
        storage.write_json(project.path("models/registry.json"), raw)
        ready = until(lambda: (r := client.get("/ready").json())["problem"] and r)
        assert ready["ready"] and ready["model_version"] == "v2"
        assert "model_encoded.onnx is changed" in ready["problem"]
        assert "ml_model_reload_failed 1.0" in client.get("/metrics").text
        assert client.post("/predict", json=ROW).json()["model_version"] == "v2"
        model.write_bytes(good)  # mended: the service finds out by itself
        until(lambda: version() == "v1")
        text = client.get("/metrics").text
        assert "ml_model_reload_failed 0.0" in text and 'version="v2"' not in text


def test_a_running_service_refuses_once_its_model_is_retired(project, monkeypatch):
    monkeypatch.setattr(service, "TICK_SECONDS", 0.05)
    with TestClient(rest.create_app(project)) as client:
        assert client.post("/predict", json=ROW).status_code == 200
        retirement.run(project, "the rule does as well")
        refusal = until(
            lambda: (r := client.post("/predict", json=ROW)).status_code == 503 and r
        ).json()
        assert refusal["errors"][0]["problem"] == "the model was retired"
        assert "fallback" in refusal["errors"][0]["hint"]
        assert "the rule does as well" in client.get("/ready").json()["problem"]
        assert client.get("/health").status_code == 200  # no orchestrator starts it again for that
        registry.promote(project, "v1", force_reason="needed again")
        until(lambda: client.post("/predict", json=ROW).status_code == 200)
    retirement.run(project, "for good")
    with pytest.raises(registry.Retired, match="for good"):
        rest.create_app(project)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"champion": "v9", "versions": {}}'])
def test_a_damaged_registry_leaves_the_model_serving(project, monkeypatch, damage):
    monkeypatch.setattr(service, "TICK_SECONDS", 0.05)
    with TestClient(rest.create_app(project)) as client:
        project.path("models/registry.json").write_text(damage)
        until(lambda: client.get("/ready").json()["problem"])
        assert client.post("/predict", json=ROW).status_code == 200


def test_not_ready_when_golden_rows_differ(project, monkeypatch):
    with TestClient(rest.create_app(project)) as client:
        predict = Scorer.predict
        shift = lambda self, x: predict(self, x)._replace(probability=np.zeros(len(x)))  # noqa: E731
        monkeypatch.setattr(Scorer, "predict", shift)
        answer = client.get("/ready")
        assert answer.status_code == 503 and not answer.json()["ready"]
        assert client.get("/health").status_code == 200


# The process


def post(port: int, body: bytes, timeout: float = 30) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", data=body)
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return answer.status


def test_sigterm_finishes_what_is_running_and_exits_with_0(project):
    port = free_port()
    body = json.dumps([ROW] * 1000).encode()
    with process(project, port) as running:

        def answers():
            with suppress(OSError):
                return post(port, body) == 200

        until(answers, 60)
        with socket.create_connection(("127.0.0.1", port)) as half:
            head = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
            half.sendall(head.encode() + body[:100])
            time.sleep(0.2)
            running.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            with pytest.raises(OSError):
                post(port, body, 2)  # no new requests
            half.sendall(body[100:])
            half.settimeout(20)
            assert half.recv(100).startswith(b"HTTP/1.1 200")
        assert running.wait(30) == 0
        lines = [json.loads(line) for line in running.stderr.read().splitlines()]
        assert lines[0]["message"].startswith("serving on http://127.0.0.1")
    (path,) = project.path("data/predictions").glob("*.jsonl")
    assert len(path.read_text().splitlines()) >= 2000


def test_all_that_is_answered_follows_the_declared_outputs(tmp_path):
    """As another task declares them: response, file, log and metrics."""
    outputs = (
        Output("value", "number", "score", cuts=(1.0, 2.0)),
        Output("low", "number", "score"),
        Output("order", "integer", "decision"),
    )
    empty = dict.fromkeys(Manifest.__struct_fields__, "") | {"outputs": outputs}
    prediction, answer = requests.answer_types(Manifest(**empty | {"decision": {"quantile": 0.7}}))
    said = msgspec.json.encode(answer("v1", 0.7, [prediction(1.5, 1.0, 3)]))
    assert said == (
        b'{"model_version":"v1","quantile":0.7,"predictions":[{"value":1.5,"low":1.0,"order":3}]}'
    )
    told = [*(output.name for output in outputs), "model_version", "problem", "warning"]
    assert batch._schema({}, (), outputs).names() == ["row", *told]
    seen = telemetry.Telemetry(0.1, tmp_path, outputs)
    row = msgspec.defstruct("Row", [("x", float)])(2.0)
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    column = ServedColumn(name="x", kind="number")
    seen.add(telemetry.Done(now, 0.01, 200, "r", "v1", [column], [row], [prediction(1.5, 1.0, 3)]))
    (line,) = map(msgspec.json.decode, seen.take())
    assert (line["value"], line["low"], line["order"]) == (1.5, 1.0, 3)
    metrics = generate_latest(seen.registry).decode()
    assert (
        'ml_value_bucket{le="2.0"} 1.0' in metrics and 'ml_orders_total{order="3"} 1.0' in metrics
    )


def test_startup_problems_are_one_line(project):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with process(project, listener.getsockname()[1]) as running:
            assert running.wait(60) == 2
            (line,) = running.stderr.read().splitlines()
            assert "cannot listen" in line and "--port" in line
    project.path("models/registry.json").unlink()
    with process(project, free_port()) as running:
        assert running.wait(60) == 2
        (line,) = running.stderr.read().splitlines()
        assert "no champion" in line
    for port in (-1, 70_000):
        with pytest.raises(ProjectError, match="cannot listen"):
            rest.run(project, "127.0.0.1", port)
    with pytest.raises(ProjectError, match="cannot listen"):
        rest.run(project, "no.such.host.invalid", 0)


# Batch: reading as the scorer and validation do

EVERY_KIND = (
    Column(name="n", kind="number", role="feature", minimum=-1e6, maximum=1e6),
    Column(name="i", kind="integer", role="feature", required=True),
    Column(name="b", kind="boolean", role="feature"),
    Column(name="c", kind="category", role="feature"),
    Column(name="l", kind="category", role="feature", levels=("x", "y", "é"), required=True),
    Column(name="d", kind="date", role="feature", formats=("%d.%m.%Y",)),
    Column(name="t", kind="timestamp", role="feature", formats=("%d.%m.%Y %H:%M",)),
)
CONTRACT = Contract(
    name="t",
    version="1",
    columns=(*EVERY_KIND, Column(name="y", kind="boolean", role="target", positive="true")),
)
cells = {
    "n": st.none() | st.floats(-1e6, 1e6) | st.integers(-1000, 1000).map(float),
    "i": st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9),
    "b": st.none() | st.booleans(),
    "c": st.none() | st.sampled_from([*MISSING, "a", "b", "A", " a", "ü", "𝄞", "1.0"]),
    "l": st.sampled_from(["x", "y", "é"]),
    "d": st.none() | st.dates(dt.date(1000, 1, 1)),
    "t": st.none() | st.datetimes(dt.datetime(1000, 1, 1)),
}
tables = st.lists(st.fixed_dictionaries(cells), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return scorer_of_every_kind()


def scorer_of_every_kind() -> Scorer:
    """A scorer of rows with every kind of column, fitted on a few of them."""
    rng = np.random.default_rng(0)
    n = 300
    start = dt.datetime(2020, 1, 1)
    moments = [start + dt.timedelta(minutes=int(m)) for m in rng.integers(0, 10**6, n)]
    frame = pl.DataFrame(
        {
            "n": rng.normal(size=n),
            "i": rng.integers(0, 9, n),
            "b": rng.random(n) < 0.5,
            "c": pl.Series(rng.choice(["a", "b", "ü", "", "1.0"], n)).replace("", None),
            "l": rng.choice(["x", "y", "é"], n),
            "d": [moment.date() for moment in moments],
            "t": moments,
        }
    )
    spec = features.fit(frame, CONTRACT)
    assert len(spec.numeric) == 3 + 5 + 7 and "" in spec.categorical[0].levels
    return scorer_of(frame, spec, CONTRACT)


def scorer_of(frame: pl.DataFrame, spec: FeatureSpec, agreed: Contract) -> Scorer:
    """A scorer of a model that has learnt nothing of use from these rows."""
    y = (np.arange(frame.height) % 3 == 0).astype(np.int8)
    data = models.Data(encode(spec, frame), y, spec, 1)
    fitted = models.FITTERS["logistic_regression"](data, 0, {})
    model = graph.emit(graph.Predictor((graph.Member(*fitted),)), spec, encoded=True)
    texts = dict.fromkeys(Manifest.__struct_fields__, "") | {"features": (), "files": {}}
    manifest = Manifest(**texts | {"outputs": task.OUTPUTS, "version": "v1"})
    return Scorer(manifest, spec, bundle.served_columns(agreed), model)


def frame_of(rows: list[dict]) -> pl.DataFrame:
    schema = {column.name: validation.DTYPES[column.kind] for column in EVERY_KIND}
    return pl.DataFrame(rows, schema=schema)


def opened(scorer: Scorer, folder: Path, name: str, content: bytes) -> pl.DataFrame:
    path = folder / name
    path.write_bytes(content)
    (found,) = batch.open_source(path, scorer.columns, [], "utf-8").stretches
    return found


@settings(max_examples=40)
@given(tables)
def test_every_format_is_encoded_as_the_scorer_and_training_do(scorer, tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("formats")
    lines = [msgspec.json.encode(row) for row in rows]
    expected = scorer.encode_rows([msgspec.json.decode(x, type=scorer.row_type) for x in lines])
    read = [scorer.read_row(msgspec.json.decode(line)) for line in lines]
    np.testing.assert_array_equal(scorer.encode_rows(read), expected)
    frame = frame_of(rows)
    parquet, text = io.BytesIO(), io.BytesIO()
    frame.write_parquet(parquet)
    frame.write_csv(text)
    files = {
        "t.parquet": parquet.getvalue(),
        "t.jsonl": b"\n".join(lines),
        "t.json": b"[" + b",".join(lines) + b"]",
        "t.csv": text.getvalue(),
    }
    with pytest.MonkeyPatch.context() as patched:  # nobody damages them: it takes 0.5 s to look
        patched.setattr(parquet_files, "_is_whole", lambda source: True)
        for name, content in files.items():
            found, problem, *_ = batch.encode(scorer, opened(scorer, folder, name, content))
            assert problem.null_count() == len(rows), (name, problem)
            np.testing.assert_array_equal(found, expected, err_msg=name)
            checked = validation.apply(CONTRACT, ingest.read_table(folder / name), labelled=False)
            trained = encode(scorer.spec, checked.valid)
            np.testing.assert_array_equal(trained, expected, err_msg=name)


def test_a_value_is_read_in_the_service_as_in_a_file(client):
    """A whole float, a text that holds a number, a day in a format and missing words."""
    plain = {"calls": 5, "amount": 2.5, "plan": None, "online": True, "since": None}
    written = {"calls": 5.0, "amount": " 2.5", "plan": "N/A", "online": "Yes", "since": "null"}
    answers = [client.post("/predict", json=row).json() for row in (plain, written)]
    assert answers[0] == answers[1]
    refused = client.post("/predict", json=written | {"calls": "NA"})
    assert problems(refused) == {(0, "calls", "required")}


def test_a_day_is_a_time_in_every_way_in(scorer, tmp_path):
    rows = [{"i": 1.0, "l": "x", "t": "2024-02-29"}, {"i": 1, "l": "x", "t": "29.02.2024 00:00"}]
    lines = b"\n".join(msgspec.json.encode(row) for row in rows)
    found, problem, *_ = batch.encode(scorer, opened(scorer, tmp_path, "t.jsonl", lines))
    assert problem.null_count() == 2
    np.testing.assert_array_equal(scorer.encode_rows(list(map(scorer.read_row, rows))), found)


@pytest.mark.parametrize(
    "content",
    [
        "\n\namount,calls,plan,online,since\n1,2,pro,true,\n",
        'amount,calls,plan,online,since,"a; b; c; d; e; f; g"\n1,2,pro,true,,ok\n',
        "sep=;\namount;calls;plan;online;since\n1;2;pro;true;\n",
        "amount\tcalls\tplan\tonline\tsince\r1\t2\tpro\ttrue\t\r",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_score_reads_the_dialects_that_ingest_reads(project, tmp_path, content, encoding):
    (tmp_path / "in.csv").write_bytes(content.encode(encoding))
    assert ingest.read_table(tmp_path / "in.csv")["calls"].to_list() == ["2"]
    report = batch.run(project, tmp_path / "in.csv", tmp_path / "out.csv")
    assert (report["rows"], report["problems"]) == (1, 0)


HEADER = "amount,calls,plan,online,since"


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ("1,2,pro,true,\n1,2,pro\n", 3),
        ("1,2,pro\n", 2),
        ('1,2,"p\nro",,\n1,2', 4),
        (" \n1,2,pro,,\n", 2),
    ],
)
def test_a_short_line_is_refused_in_every_way_in_and_named(project, tmp_path, rows, line):
    (tmp_path / "in.csv").write_text(f"{HEADER}\n{rows}")
    for read in (
        lambda: ingest.read_table(tmp_path / "in.csv"),
        lambda: batch.run(project, tmp_path / "in.csv", tmp_path / "out.csv"),
    ):
        with pytest.raises(ProjectError, match=rf"line {line} has \d fields, .* 5 column names"):
            read()
    assert not (tmp_path / "out.csv").exists()


def test_the_last_columns_may_be_missing_in_every_row(project, tmp_path):
    (tmp_path / "in.csv").write_text(f"{HEADER}\n1,2,pro\n3,4,pro\n")
    assert ingest.read_table(tmp_path / "in.csv")["online"].to_list() == [None, None]
    report = batch.run(project, tmp_path / "in.csv", tmp_path / "out.csv")
    assert (report["rows"], report["problems"]) == (2, 0)
    (tmp_path / "in.csv").write_text(f"{HEADER}\n" + "1,2,pro\n" * 25 + "1,2,pro,true,\n")
    for read in (
        lambda: ingest.read_table(tmp_path / "in.csv"),
        lambda: batch.run(project, tmp_path / "in.csv", tmp_path / "out.csv"),
    ):
        with pytest.raises(ProjectError, match="line 27 has 5 fields, but the rows above have 3"):
            read()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_rows_of_empty_fields_are_rows_and_blank_lines_are_none(project, tmp_path, end):
    lines = ["", HEADER, ",,,,", "1,2,pro,true,", "", "NA,null,,,", "3,4,pro,,", '"",,,,', "", ""]
    (tmp_path / "in.csv").write_text(end.join(lines), newline="")
    calls = ingest.read_table(tmp_path / "in.csv")["calls"].to_list()
    assert calls == [None, "2", None, "4", None]
    batch.run(project, tmp_path / "in.csv", tmp_path / "out.parquet")
    refused = pl.read_parquet(tmp_path / "out.parquet")["problem"].is_not_null().to_list()
    assert refused == [value is None for value in calls]
    (tmp_path / "one.csv").write_text(end.join(["calls", "1", "", '""', "2", ""]), newline="")
    assert ingest.read_table(tmp_path / "one.csv")["calls"].to_list() == ["1", None, "2"]


HOSTILE = """1 -1 +1 1.0 1e3 1E3 .5 5. 1,5 1_0 0x1 inf -inf Infinity nan NaN 1e400 9e99 true T yes
0 x é y 9223372036854775807 1e18 1e19 ٣ 2024-02-30 2024-02-29 29.02.2024
1.2.2024 0024-01-01 2024-02-29T10:30 2024-02-29T10:30:15.25Z 20240229 2024-W05-1
2024-02-29T23:30:00+05:30"""
SPACED = ["", " ", " 1 ", " x", "2024-02-29 10:30:15", "29.02.2024 10:30"]
TEXTS = HOSTILE.split() + SPACED
hostile = st.sampled_from(TEXTS)
GOOD = {"n": "1", "i": "1", "b": "true", "c": "a", "l": "x", "d": "2024-01-01", "t": "2024-01-01"}


@settings(max_examples=80)
@example([GOOD | {name: text} for name in GOOD for text in TEXTS])
@given(st.lists(st.fixed_dictionaries({c.name: hostile for c in EVERY_KIND}), min_size=1))
def test_texts_are_read_and_refused_as_validation_does(scorer, rows):
    rows = [GOOD, *rows]
    raw = pl.DataFrame(rows)
    checked = validation.apply(CONTRACT, raw.with_row_index("row"), labelled=False)
    found, problem, *_ = batch.encode(scorer, raw)
    refused = dict(zip(checked.rejected["row"], checked.rejected["_rules"], strict=True))
    for number, first in enumerate(problem.to_list()):
        assert (first in refused[number]) if number in refused else first is None, rows[number]
    kept = np.array([number not in refused for number in range(len(rows))])
    for number, row in enumerate(rows):
        try:
            typed = scorer.read_row(row)
        except msgspec.ValidationError:
            assert number in refused, row
            continue
        assert number not in refused, row
        np.testing.assert_array_equal(scorer.encode_rows([typed])[0], found[number])
    np.testing.assert_array_equal(found[kept], encode(scorer.spec, checked.valid))


def test_types_of_other_tools(scorer):
    moment = dt.datetime(2024, 2, 29, 23, 30, tzinfo=dt.UTC)
    midnight = moment.replace(hour=0, minute=0)
    columns = {
        "n": pa.array([1, None], pa.decimal128(5, 2)),
        "i": pa.array([3.0, 4.0], pa.float32()),
        "b": pa.array([1, 0], pa.int8()),
        "c": pa.array(["a", None]).dictionary_encode(),
        "l": pa.array(["x", "y"], pa.large_string()),
        "d": pa.array([midnight, None], pa.timestamp("ns")),
        "t": pa.array([moment, None], pa.timestamp("ms", "Asia/Kolkata")),
    }
    found, problem, *_ = batch.encode(scorer, pl.DataFrame(pa.table(columns)))
    assert problem.null_count() == 2
    rows = [
        {"n": 1.0, "i": 3, "b": True, "c": "a", "l": "x", "d": "2024-02-29"}
        | {"t": "2024-03-01T05:00:00+05:30"},
        {"i": 4, "b": False, "l": "y"},
    ]
    typed = [msgspec.convert(row, scorer.row_type) for row in rows]
    np.testing.assert_array_equal(found, scorer.encode_rows(typed))
    nothing = pl.DataFrame({name: [None, None] for name in columns})
    assert batch.encode(scorer, nothing).problem.to_list() == ["i: required"] * 2
    lists = pl.DataFrame({name: [[1]] for name in columns})
    assert batch.encode(scorer, lists).problem.to_list() == ["n: type"]


# Batch: files


def table(rows: int, seed: int = 0) -> pl.DataFrame:
    frame = small.frame(rows, seed).drop("y")
    return frame.with_columns(pl.int_range(pl.len()).alias("row"))


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_rows_in_are_rows_out_with_the_first_problem(project, tmp_path, suffix):
    frame = table(50).with_columns(
        calls=pl.when(pl.col("row") == 3)
        .then(-1)
        .when(pl.col("row") == 4)
        .then(None)
        .otherwise(pl.col("calls")),
        plan=pl.when(pl.col("row") == 5).then(pl.lit("gold")).otherwise(pl.col("plan")),
    )
    frame.write_csv(tmp_path / "in.csv")
    report = batch.run(project, tmp_path / "in.csv", tmp_path / f"out{suffix}")
    assert (report["rows"], report["problems"], report["version"]) == (50, 3, "v1")
    read = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".jsonl": pl.read_ndjson}[suffix]
    out = read(tmp_path / f"out{suffix}")
    assert out["problem"][3:6].to_list() == ["calls: minimum", "calls: required", "plan: levels"]
    assert out["probability"].null_count() == out["decision"].null_count() == 3
    good = frame.filter(~pl.col("row").is_in([3, 4, 5]))
    scorer = Scorer.load(project.path("models/v1"))
    scores = scorer.predict(encode(scorer.spec, good))
    kept = out.filter(pl.col("problem").is_null())
    np.testing.assert_allclose(kept["probability"], scores["probability"], rtol=1e-12)
    assert kept["decision"].to_list() == scores["decision"].tolist()


def test_a_finished_output_is_not_made_again_unless_something_changed(project, tmp_path):
    source, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    table(100).write_parquet(source)
    first = batch.run(project, source, out)
    content, stamp = out.read_bytes(), out.stat().st_mtime_ns
    assert sorted(p.name for p in tmp_path.glob("out*")) == ["out.parquet", "out.parquet.done.json"]
    assert batch.run(project, source, out) == first and out.stat().st_mtime_ns == stamp
    assert batch.run(project, source, out, force=True) == first
    assert out.stat().st_mtime_ns != stamp and out.read_bytes() == content
    out.write_bytes(content[:-10])  # damaged
    batch.run(project, source, out)
    assert out.read_bytes() == content
    registry.promote(project, "v2")
    assert batch.run(project, source, out)["version"] == "v2"
    table(101).write_parquet(source)
    assert batch.run(project, source, out)["rows"] == 101


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(project, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "ROWS", 100)
    source, out, whole = (tmp_path / n for n in ("in.jsonl", "out.csv", "whole.csv"))
    table(1000).write_ndjson(source)
    batch.run(project, source, whole)
    score, scored = batch.score, []
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def dying(scorer, part, first):
        if len(scored) == 6:
            raise KeyboardInterrupt
        scored.append(part.height)
        return score(scorer, part, first)

    monkeypatch.setattr(batch, "score", dying)
    with pytest.raises(KeyboardInterrupt):
        batch.run(project, source, out)
    assert not out.exists()
    parts = sorted((tmp_path / "out.csv.parts").glob("*.parquet"))
    assert len(parts) == 6
    parts[2].write_bytes(parts[2].read_bytes()[:50])  # half a part is made again
    scored.clear()
    batch.run(project, source, out)
    assert len(scored) == 5 and out.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "out.csv.parts").exists()


def test_parts_of_another_input_or_model_are_not_used(project, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "ROWS", 100)
    source, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    table(300).write_parquet(source)
    assemble = batch._assemble
    monkeypatch.setattr(batch, "_assemble", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        batch.run(project, source, out)
    monkeypatch.setattr(batch, "_assemble", assemble)
    table(300, seed=1).write_parquet(source)
    batch.run(project, source, out)
    fresh = tmp_path / "fresh.parquet"
    batch.run(project, source, fresh)
    assert out.read_bytes() == fresh.read_bytes()


def test_two_runs_on_one_output_do_not_mix(project, tmp_path):
    table(100).write_parquet(tmp_path / "in.parquet")
    parts = tmp_path / "out.csv.parts"
    parts.mkdir()
    with storage.project_lock(parts), pytest.raises(ProjectError, match="another ml command"):
        batch.run(project, tmp_path / "in.parquet", tmp_path / "out.csv")


def test_keys_come_first_and_keep_their_type(project, tmp_path):
    document = serving_contract()
    columns = document["schema"][0]["properties"]
    columns += [
        {"name": "id", "logicalType": "integer", "primaryKey": True, "primaryKeyPosition": 1}
        | {"required": True, "customProperties": [{"property": "role", "value": "entity"}]},
        {"name": "day", "logicalType": "date", "primaryKey": True, "primaryKeyPosition": 2}
        | {"required": True, "customProperties": [{"property": "role", "value": "time"}]},
    ]
    storage.write_text(project.contract_path, yaml.safe_dump(document))
    days = pl.lit(dt.date(2026, 1, 1)).alias("day")
    frame = small.frame(600).with_columns(pl.int_range(pl.len()).alias("id"), days)
    version = small.train(project, table=frame)
    registry.promote(project, version)
    out = tmp_path / "out.parquet"
    for source, write in (("in.parquet", frame.write_parquet), ("in.csv", frame.write_csv)):
        write(tmp_path / source)
        batch.run(project, tmp_path / source, out)
        schema = pl.read_parquet_schema(out)
        assert list(schema)[:3] == ["id", "day", "probability"]
        assert schema["id"] == (pl.Int64 if source == "in.parquet" else pl.String)
    frame.drop("id").write_parquet(tmp_path / "in.parquet")
    batch.run(project, tmp_path / "in.parquet", out)
    assert list(pl.read_parquet_schema(out))[:3] == ["row", "day", "probability"]


@pytest.mark.parametrize(
    ("roles", "names"),
    [
        ({"day": "time"}, ["row", "day"]),
        ({"id": "entity"}, ["row", "id"]),
        ({"id": "entity", "day": "time"}, ["row", "id", "day"]),
        ({"row": "entity", "day": "time"}, ["row", "day"]),  # the entity keeps its own name
    ],
)
def test_rows_are_numbered_where_no_primary_key_tells_them_apart(project, tmp_path, roles, names):
    document = serving_contract()
    for name, role in roles.items():
        custom = [{"property": "role", "value": role}]
        kind = "date" if role == "time" else "integer"
        column = {"name": name, "logicalType": kind, "customProperties": custom}
        document["schema"][0]["properties"].append(column)
    storage.write_text(project.contract_path, yaml.safe_dump(document))
    values = {"id": pl.lit(7), "row": pl.lit(7), "day": pl.lit(dt.date(2026, 1, 1))}
    frame = small.frame(600).with_columns(*(values[name].alias(name) for name in roles))
    registry.promote(project, small.train(project, table=frame))
    frame.head(5).write_parquet(tmp_path / "in.parquet")
    batch.run(project, tmp_path / "in.parquet", tmp_path / "out.csv")
    out = pl.read_csv(tmp_path / "out.csv")
    assert out.columns == [*names, *SCORED]
    assert out["row"].to_list() == ([7] * 5 if "row" in roles else [0, 1, 2, 3, 4])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", b"PAR1 not really", "a.parquet: not a whole Parquet file"),
        ("a.parquet", b"", "the file is empty"),
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b"calls,plan\n1,basic\n", "column 'amount' is missing"),
        ("a.csv", b"amount,calls,plan,online,since\n1,2,basic\n", "line 2 has 3 fields"),
        ("a.csv", b"amount,calls,plan,online,since\n1,2,\xff,true,\n", "line 2, byte 5"),
        ("a.jsonl", b'{"calls": 1}\n{"plan": "\xff"}\n', "line 2, byte 11 .0xff. is not utf-8"),
        ("a.jsonl", b'{"calls": 1}\n{"calls": \n', "line 2 is not a JSON object"),
        ("a.jsonl", b'[{"calls": 1}', "not a list of JSON objects"),
        ("a.csv", b"amount,calls,plan,online,since,calls\n", "two columns have the name 'calls'"),
        ("a.txt", b"", "unknown file type"),
        ("a.csv", b"PK\3\4 a workbook", "save its table as CSV UTF-8 or Parquet"),
        ("a.jsonl", b"PAR1", "rename it to end in .parquet"),
        ("a.xlsx", b"PK", "save its table as CSV UTF-8 or Parquet"),
    ],
)
def test_unreadable_files_are_one_line(project, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ProjectError, match=message) as raised:
        batch.run(project, tmp_path / name, tmp_path / "out.csv")
    assert "\n" not in str(raised.value) and not list(tmp_path.glob("out.csv*"))
    with pytest.raises(ProjectError, match="no such file"):
        batch.run(project, tmp_path / "none.csv", tmp_path / "out.csv")
    (tmp_path / "same.csv").touch()
    with pytest.raises(ProjectError, match="this is the input"):
        batch.run(project, tmp_path / "same.csv", tmp_path / "same.csv")


def test_damage_in_the_middle_of_a_file_is_one_line(project, tmp_path):
    table(3000).write_parquet(tmp_path / "in.parquet", compression="zstd")
    content = bytearray((tmp_path / "in.parquet").read_bytes())
    content[500:-5000] = bytes(len(content) - 5500)
    (tmp_path / "in.parquet").write_bytes(content)
    with pytest.raises(ProjectError, match=r"in\.parquet: not a whole Parquet file"):
        batch.run(project, tmp_path / "in.parquet", tmp_path / "out.csv")


def test_a_broken_csv_row_is_reported_without_its_values(project, tmp_path):
    rows = "1,2,basic,true,2026-01-01\n" * 3 + "1,2,Ms Example,true,2026-01-01,extra\n"
    (tmp_path / "a.csv").write_text("amount,calls,plan,online,since\n" + rows)
    with pytest.raises(ProjectError, match="line 5 has 6 fields") as raised:
        batch.run(project, tmp_path / "a.csv", tmp_path / "out.csv")
    assert "Example" not in str(raised.value)


def test_csv_variants(project, tmp_path):
    header, row = "amount;calls;plan;online;since", '"1.5";2;"ba""sic\n;x";Yes; 2026-01-01 '
    text = f"\ufeff{header}\r\n{row}\r\n\r\nNA;0;;null;\r\n"
    (tmp_path / "a.csv").write_text(text, newline="")
    report = batch.run(project, tmp_path / "a.csv", tmp_path / "out.jsonl")
    assert (report["rows"], report["problems"]) == (2, 1)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["problem"] for line in lines] == ["plan: levels", None]
    storage.write_text(project.path("config.yaml"), "data: {encoding: latin-1}\n")
    (tmp_path / "b.csv").write_bytes(
        "calls,amount,plan,online,since,é\n1,,pro,,,ü\n".encode("latin-1")
    )
    (tmp_path / "b.jsonl").write_bytes('{"calls": 1, "plan": "pro", "é": "ü"}'.encode("latin-1"))
    for name in ("b.csv", "b.jsonl"):
        report = batch.run(Project(project.root), tmp_path / name, tmp_path / f"out.{name}")
        assert (report["rows"], report["problems"]) == (1, 0)
    storage.write_text(project.path("config.yaml"), "data: {encoding: latin-99}\n")
    with pytest.raises(ProjectError, match="latin-99"):
        batch.run(Project(project.root), tmp_path / "b.csv", tmp_path / "c.csv")


def test_no_rows(project, tmp_path):
    table(0).write_parquet(tmp_path / "in.parquet")
    (tmp_path / "in.csv").write_text("amount,calls,plan,online,since\n")
    (tmp_path / "in.jsonl").write_text("\n")
    for name in ("in.parquet", "in.csv", "in.jsonl"):
        assert batch.run(project, tmp_path / name, tmp_path / f"{name}.parquet")["rows"] == 0
        assert pl.read_parquet(tmp_path / f"{name}.parquet").columns[:2] == ["row", "probability"]


def test_json_values_of_mixed_types(project, tmp_path):
    rows = [
        {"calls": 1, "amount": 2},
        {"calls": "2", "amount": 2.5},
        {"calls": True, "amount": "x"},
    ]
    rows += [{"calls": 10**30}, {"calls": 2.0, "plan": 7}, {"calls": 1.5}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    batch.run(project, tmp_path / "in.jsonl", tmp_path / "out.parquet")
    assert pl.read_parquet(tmp_path / "out.parquet")["problem"].to_list() == [
        None, None, "amount: type", "calls: type", "plan: levels", "calls: type",
    ]  # fmt: skip


def test_the_bytes_do_not_depend_on_the_number_of_cores(project, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "ROWS", 100)
    table(1000).write_parquet(tmp_path / "in.parquet")
    outputs = [tmp_path / f"{cores}.parquet" for cores in (1, 2, 7)]
    for output in outputs:
        monkeypatch.setenv("OMP_NUM_THREADS", output.stem)
        batch.run(project, tmp_path / "in.parquet", output)
    assert len({output.read_bytes() for output in outputs}) == 1
    assert pl.read_parquet(outputs[0])["row"].to_list() == list(range(1000))


def test_an_unseen_category_has_a_sign(scorer, client, tmp_path):
    rows = [{"i": 1, "l": "x", "c": c} for c in ("a", "N/A", "never seen", None)]
    lines = b"\n".join(map(msgspec.json.encode, rows))
    signs = ["", "", "c: unseen or rare in training", ""]
    scored = batch.score(scorer, opened(scorer, tmp_path, "t.jsonl", lines))
    assert [text or "" for text in scored["warning"]] == signs
    typed = list(map(scorer.read_row, rows))
    assert scorer.unseen(typed, scorer.encode_rows(typed)) == signs
    (seen,) = client.post("/predict", json=ROW).json()["predictions"]
    assert seen.keys() == {"probability", "decision"}


def test_the_service_says_that_a_category_is_unseen(project):
    document = yaml.safe_load(project.contract_path.read_text())
    columns = {item["name"]: item for item in document["schema"][0]["properties"]}
    del columns["plan"]["quality"]
    storage.write_text(project.contract_path, yaml.safe_dump(document))
    registry.promote(project, small.train(project, rows=600))
    with TestClient(rest.create_app(project)) as client:
        rows = [ROW | {"plan": plan} for plan in ("gold", "basic", "N/A", 7)]
        found = client.post("/predict", json=rows).json()["predictions"]
    unseen = "plan: unseen or rare in training"
    assert [one.get("warning") for one in found] == [unseen, None, None, unseen]


def test_a_bundle_reads_each_graph_once(trained, monkeypatch):
    read, seen = Path.read_bytes, []
    monkeypatch.setattr(Path, "read_bytes", lambda path: seen.append(path.name) or read(path))
    Scorer.load(trained / "models/v1")
    assert [seen.count(name) for name in ("model.onnx", "model_encoded.onnx")] == [1, 1]


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (b'{"calls": NaN}', "it has NaN; write null, true or false, or a number"),
        (b'{"calls": 1e400}', "it has a number that is too large; write null"),
        (
            b'{"plan": "\\ud800"}',
            r"it has half a surrogate pair; send whole characters, such as \u00e9",
        ),
        (b'{"plan": "\xff"}', "it is not UTF-8"),
        (b'{"plan": "NaN"', "send one row, a list of rows or {rows: [...]}"),
    ],
)
def test_what_is_no_json_says_why(client, body, hint):
    (error,) = client.post("/predict", content=body).json()["errors"]
    assert (error["problem"], error["hint"]) == ("not valid JSON", hint)


COMMA = st.sampled_from(["1.889,50", "0,5", "12", "-1 000,25", "1,889", "1.5", "1.889", "x", ",5"])


@settings(max_examples=30)
@given(st.lists(COMMA, min_size=1, max_size=6))
def test_decimal_commas_are_the_same_in_every_way_in(texts):
    column = Column(name="n", kind="number", role="feature", decimal_comma=True)
    (served,) = bundle.served_columns(Contract(name="t", version="1", columns=(column,)))
    read = validation.parse(pl.Series(texts), column).to_list()
    found = [read_value(text, served) for text in texts]
    assert [None if isinstance(value, str) else value for value in found] == read


def test_a_bad_line_after_whole_parts_leaves_nothing(project, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "ROWS", 10)
    (tmp_path / "in.jsonl").write_text('{"calls": 1}\n' * 25 + '{"calls": }\n')
    with pytest.raises(ProjectError, match="line 26 is not a JSON object"):
        batch.run(project, tmp_path / "in.jsonl", tmp_path / "out.csv")
    assert [path.name for path in tmp_path.glob("*.*")] == ["in.jsonl"]


def test_a_damaged_part_is_made_again(project, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "ROWS", 100)
    source, out = tmp_path / "in.parquet", tmp_path / "out.csv"
    table(300).write_parquet(source)
    batch.run(project, source, out)
    whole = out.read_bytes()
    out.unlink()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(batch, "_assemble", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        batch.run(project, source, out)
    part = tmp_path / "out.csv.parts/000001.parquet"
    content = bytearray(part.read_bytes())
    content[len(content) // 3] ^= 255
    part.write_bytes(content)
    batch.run(project, source, out)
    assert out.read_bytes() == whole


def test_columns_that_do_not_match_are_named_not_refused(project, tmp_path):
    rows = [{"calls": 1, "ammount": 2}, {"calls": 2, "y": True, "note": "x"}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = batch.run(project, tmp_path / "in.jsonl", tmp_path / "out.csv")
    assert report["unknown_columns"] == ["ammount", "note"]
    assert report["absent_columns"] == ["amount", "online", "plan", "since"]
    table(3).write_csv(tmp_path / "in.csv")
    report = batch.run(project, tmp_path / "in.csv", tmp_path / "out.csv")
    assert (report["unknown_columns"], report["absent_columns"]) == (["row"], [])


def test_a_row_without_a_key_has_its_place_among_the_rows(project, tmp_path, monkeypatch):
    """In every format, whatever the cores; blank lines are no rows, refused rows are."""
    monkeypatch.setattr(reading, "ROWS", 8)
    monkeypatch.setattr(reading, "CHARACTERS", 256)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    frame = table(50).with_columns(calls=pl.when(pl.col("row") % 7 != 3).then("calls"))
    frame.write_parquet(tmp_path / "in.parquet")
    frame.write_ndjson(tmp_path / "in.jsonl")
    frame.write_csv(tmp_path / "in.csv")
    for name in ("in.jsonl", "in.csv"):
        lines = (tmp_path / name).read_text().splitlines()
        (tmp_path / name).write_text("\n\n".join(lines) + "\n\n")
    for name in ("in.parquet", "in.jsonl", "in.csv"):
        batch.run(project, tmp_path / name, tmp_path / f"{name}.out.parquet")
        out = pl.read_parquet(tmp_path / f"{name}.out.parquet")
        assert out["row"].to_list() == list(range(50)), name
        refused = out.filter(pl.col("problem").is_not_null())["row"].to_list()
        assert refused == list(range(3, 50, 7)), name
        assert (
            ingest.read_table(tmp_path / name)["row"].cast(pl.Int64).to_list()
            == out["row"].to_list()
        )


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_memory_stays_flat(project, tmp_path, suffix):
    code = (
        "import resource, sys; sys.path.insert(0, sys.argv[1]); import helpers.package\n"
        "from pathlib import Path\n"
        "from package_name.engine.settings import Project\n"
        "from package_name.engine.data import reading\n"
        "from package_name.engine.serving import batch\n"
        "root, source, out = map(Path, sys.argv[2:])\n"
        "reading.ROWS, reading.CHARACTERS = 8192, 400_000\n"
        "batch.run(Project(root), source, out)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)\n"
    )
    peaks = []
    for rows in (40_000, 400_000):
        source = tmp_path / f"{rows}{suffix}"
        frame = pl.concat([table(40_000)] * (rows // 40_000))
        write = {".parquet": "write_parquet", ".csv": "write_csv", ".jsonl": "write_ndjson"}
        getattr(frame, write[suffix])(source)
        command = [sys.executable, "-c", code, str(Path(__file__).parent)]
        command += [str(project.root), str(source), str(tmp_path / "out.parquet")]
        peaks.append(float(subprocess.run(command, capture_output=True, check=True).stdout))
    assert peaks[1] - peaks[0] < 40, peaks  # megabytes


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs mount")
def test_a_full_disk_keeps_what_was_done(project, tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("cannot mount here")
    try:
        monkeypatch.setattr(reading, "ROWS", 500)
        table(8000).write_parquet(tmp_path / "in.parquet")
        with pytest.raises(OSError) as raised:
            batch.run(project, tmp_path / "in.parquet", disk / "out.csv")
        assert raised.value.errno == 28
        kept = sorted((disk / "out.csv.parts").glob("*.sha256"))
        assert kept and not (disk / "out.csv").exists()
        subprocess.run(["mount", "-o", "remount,size=9m", disk], check=True)
        before = {path.name: path.stat().st_mtime_ns for path in kept}
        seen = []
        write = validation.parquet
        monkeypatch.setattr(validation, "parquet", lambda table: seen.append(1) or write(table))
        assert batch.run(project, tmp_path / "in.parquet", disk / "out.csv")["rows"] == 8000
        assert len(seen) == 16 - len(before)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_serving_imports_no_training_library():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import helpers.package\n"
        "training = {'lightgbm', 'sklearn', 'onnx', 'mlflow', 'optuna', 'pyarrow'}\n"
        "import package_name.engine.serving.rest\n"
        "print(sorted((training | {'polars'}) & set(sys.modules)))\n"
        "import package_name.engine.serving.batch\n"
        "print(sorted(training & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["[]", "[]"]


# ---------------------------------------------------------------- tokens, metrics apart, fallback

SHARED = "a secret of forty characters and no less"
PRIVATE = [rsa.generate_private_key(65537, 2048) for _ in range(3)]
PUBLIC = [
    key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for key in PRIVATE
]


def token(key=SHARED, algorithm="HS256", **claims) -> dict[str, str]:
    usual = {"aud": "churn", "iss": "us", "exp": time.time() + 60} | claims
    said = {name: value for name, value in usual.items() if value is not None}
    return {"authorization": f"Bearer {jwt.encode(said, key, algorithm)}"}


def unsigned(header: dict) -> dict[str, str]:
    parts = [header, {"aud": "churn", "iss": "us", "exp": time.time() + 60}]
    coded = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts]
    return {"authorization": f"Bearer {'.'.join(coded)}.c2ln"}


def test_a_token_opens_the_service_until_it_ends(project, monkeypatch):
    project.path("keys").write_text(hashed("key"), encoding="utf-8")
    for key, sign, algorithm in (
        (SHARED, SHARED, "HS256"),
        (PUBLIC[0] + PUBLIC[1], PRIVATE[1], "RS256"),
        (PUBLIC[0].replace("\n", "\\n"), PRIVATE[0], "RS256"),
    ):
        monkeypatch.setenv("ML_JWT_KEY", key)
        made = configure(project, jwt_audience="churn", jwt_issuer="us", api_keys="keys")
        app = rest.create_app(made)
        with TestClient(app) as client:

            def said(headers, client=client) -> str:
                answer = client.post("/predict", json=ROW, headers=headers)
                if answer.status_code == 200:
                    return ""
                assert answer.status_code == 401 and "www-authenticate" in answer.headers
                (error,) = answer.json()["errors"]
                return f"{error['problem']}: {error['hint']}"

            assert said({"x-api-key": "key"}) == ""
            good = token(sign, algorithm)
            assert (
                said(good) == said(good) == said(token(sign, algorithm, aud=["a", "churn"])) == ""
            )
            assert client.post("/explain", json=ROW, headers=good).status_code == 200
            for claims, why in (
                ({"exp": time.time() - 60}, "the token has expired"),
                ({"exp": None}, "the token has no exp"),
                ({"aud": "fraud"}, "the token is for another service"),
                ({"aud": None}, "the token has no aud"),
                ({"iss": "them"}, "the token is of another issuer"),
                ({"iss": None}, "the token has no iss"),
                ({"nbf": time.time() + 60}, "the token is not good yet"),
            ):
                assert said(token(sign, algorithm, **claims)) == f"no good token: {why}"
            alien = "no good token: the token is not of this issuer"
            assert said(token(PRIVATE[2], "RS256")) == alien
            assert said(token("x" * 40)) == alien
            assert said(unsigned({"alg": "none"})) == alien
            if algorithm == "RS256":  # signed with the public key, which everybody has
                header = {"alg": "HS256", "typ": "JWT"}
                head, body, _ = unsigned(header)["authorization"][7:].split(".")
                mac = hmac.new(PUBLIC[0].encode(), f"{head}.{body}".encode(), "sha256").digest()
                forged = base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
                assert said({"authorization": f"Bearer {head}.{body}.{forged}"}) == alien
            changed = good["authorization"][:-6] + "AAAAAA"
            assert said({"authorization": changed}) == alien
            assert said({}).startswith("no good key") and said({"x-api-key": "a.b.c"}) == alien
            soon = token(sign, algorithm, exp=int(time.time()) - tokens.LEEWAY_SECONDS + 2)
            assert said(soon) == ""  # what was verified ends too
            assert until(lambda said=said, soon=soon: said(soon)).endswith("has expired")
            assert client.get("/ready").status_code == 200
            document = client.get("/openapi.json").json()
            assert "401" in document["paths"]["/predict"]["post"]["responses"]
            assert "Bearer" not in "".join(
                p.read_text() for p in made.path("data").rglob("*.jsonl")
            )


@pytest.mark.parametrize(
    ("key", "settings", "said"),
    [
        ("", {"jwt_audience": "churn"}, "environment: ML_JWT_KEY: give the public key"),
        (SHARED, {}, "serving.jwt_audience does not say for whom"),
        ("", {"jwt_issuer": "us"}, "serving.jwt_audience does not say for whom"),
        ("hush", {"jwt_audience": "churn"}, "of at least 32 bytes"),
        ("-----BEGIN RSA PRIVATE KEY-----" + "x" * 40, {"jwt_audience": "c"}, "is a private key"),
        ("-----BEGIN CERTIFICATE-----" + "x" * 40, {"jwt_audience": "c"}, "is not good"),
        (PUBLIC[0].replace("MII", "NII"), {"jwt_audience": "c"}, "no key of RS256"),
    ],
)
def test_a_key_of_tokens_that_is_none_is_one_line(project, monkeypatch, key, settings, said):
    monkeypatch.setenv("ML_JWT_KEY", key)
    with pytest.raises(ProjectError) as caught:
        rest.create_app(configure(project, **settings))
    message = str(caught.value)
    assert said in message and "\n" not in message and not (key and key in message)


def reaches(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(url).status_code == 200
    return False


def test_metrics_have_a_port_of_their_own(project):
    apart = free_port()
    made = configure(project, metrics_port=apart)
    with TestClient(rest.create_app(made)) as client:
        assert client.get("/metrics").status_code == 404
        assert "/metrics" not in client.get("/openapi.json").json()["paths"]
    port = free_port()
    with process(made, port):
        service, url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{apart}/metrics"
        until(lambda: reaches(f"{service}/ready"), 60)
        assert httpx.post(f"{service}/predict", json=ROW).status_code == 200
        assert httpx.get(f"{service}/metrics").status_code == 404
        until(lambda: 'ml_requests_total{status="200"} 1.0' in httpx.get(url).text)
        with process(configure(project, metrics_port=apart), free_port()) as second:
            _, said = second.communicate(timeout=60)
    assert second.returncode == 2 and said.startswith(f"serving.metrics_port: 127.0.0.1:{apart}: ")


def test_what_was_said_is_answered_where_scoring_breaks(project, monkeypatch):
    made = configure(project, fallback={"probability": 0.25, "decision": False})
    app = rest.create_app(made)
    with TestClient(app) as client:
        good = client.post("/predict", json=[ROW, ROW]).json()
        assert "fallback" not in good

        def breaks(self, rows):
            raise RuntimeError("no memory")

        rows = [ROW | {"event_id": "mine"}, ROW]
        with monkeypatch.context() as patch:
            patch.setattr(requests.Model, "predict", breaks)
            answer = client.post("/predict", json=rows)
            assert client.post("/predict", json=[{"calls": -1}]).status_code == 422
            assert client.post("/explain", content=b"[").status_code == 400
            assert answer.status_code == 200 and answer.headers["x-request-id"]
            told = answer.json()
            assert told.pop("fallback") is True and told.keys() == good.keys()
            mine, other = told["predictions"]
            assert (mine["probability"], mine["decision"]) == (0.25, False)
            assert mine["event_id"] == "mine" and "event_id" not in other
        lines = client.get("/metrics").text.splitlines()
        assert "ml_fallback_answers_total 1.0" in lines
        assert 'ml_requests_total{status="500"} 1.0' in lines  # so that alerts go on
        assert "fallback" not in client.post("/predict", json=ROW).json()
        schema = client.get("/openapi.json").json()["components"]["schemas"]["Answer"]
        assert schema["properties"]["fallback"]["type"] == "boolean"
    logged = "".join(p.read_text() for p in made.path("data/predictions").glob("*.jsonl"))
    assert "mine" not in logged and len(logged.splitlines()) == 3
    without = configure(project)
    with TestClient(rest.create_app(without)) as client, monkeypatch.context() as patch:
        patch.setattr(requests.Model, "predict", breaks)
        assert client.post("/predict", json=ROW).status_code == 500


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"probability": 0.2}, "missing required field `decision`"),
        ({"probability": "high", "decision": True}, "Expected `float`"),
        ({"probability": 0.2, "decision": True, "score": 1}, "no output 'score': give probability"),
    ],
)
def test_a_fallback_that_no_model_could_answer_is_refused(project, said, why):
    with pytest.raises(ProjectError, match=why) as caught:
        rest.create_app(configure(project, fallback=said))
    assert "serving.fallback" in str(caught.value) and "\n" not in str(caught.value)
