"""The gRPC service beside the other modes: the same bits, the same words, and its own bounds."""

import asyncio
import datetime as dt
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc as wire
import helpers.bundles as small
import jwt
import polars as pl
import pytest
import yaml
from google.rpc import error_details_pb2, status_pb2
from helpers.rendering import ROOT, git, render, tree
from helpers.running import Made
from helpers.service import until
from prometheus_client import generate_latest
from starlette.testclient import TestClient

from package_name.engine import storage
from package_name.engine.errors import CheckFailed, ProjectError
from package_name.engine.model import registry
from package_name.engine.model.scorer import Scorer, read_golden
from package_name.engine.serving import batch, grpc, grpc_client, proto, requests, rest, service
from package_name.engine.settings import Project

NIGHTLY = pytest.mark.nightly
ROW = {"amount": 12.5, "calls": 2, "plan": "basic", "online": True, "since": "2026-03-01"}
HOSTILE = [
    ROW,
    {},
    {"calls": 0, "amount": -0.0, "plan": "", "online": False},
    {"amount": 3.4e38, "calls": 9007199254740991, "plan": "no such plan"},
    {"amount": 1e-300, "plan": "NA", "since": "1000-01-01"},
    {"amount": 0.1 + 0.2, "calls": 7, "plan": " basic", "since": "9998-12-31"},
    {"amount": 5e-324, "plan": "бейсик 🎈", "since": "2024-02-29"},
]
BROKEN = [
    {"calls": -1},
    {"amount": 3.5e38},
    {"calls": 2**60},
    {"since": "yesterday", "calls": -3},
    {"since": "0999-01-01"},
    {"since": "2026-02-30"},
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two versions; v1 is champion."""
    root = tmp_path_factory.mktemp("called")
    made = small.project(root)
    plan = yaml.safe_load((root / "plan/plan.yaml").read_text())
    plan["answers"] = {"latency_ms": 100, "deployment_modes": ["grpc"]}
    storage.write_text(root / "plan/plan.yaml", yaml.safe_dump(plan))
    for seed in range(2):
        small.train(made, rows=600, seed=seed)
    registry.promote(made, "v1")
    proto.write(made)
    return root


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Project:
    """A copy of it to change."""
    shutil.copytree(trained, tmp_path / "p", ignore=shutil.ignore_patterns("predictions"))
    return Project(tmp_path / "p")


class Running:
    """A server, its service and its address."""

    def __init__(self, server: grpc.Server, loop: asyncio.AbstractEventLoop) -> None:
        self.server, self.loop, self.service = server, loop, server.service
        self.address = f"127.0.0.1:{server.port}"

    def call(self, name: str, *bodies: bytes, **options: Any) -> tuple[list[Any], Any]:
        """Send messages; return the answers and the call, which knows status and metadata."""
        with wire.insecure_channel(self.address) as channel:
            method = f"/{self.service.interface.service}/{name}"
            call = channel.stream_stream(method)(iter(bodies), **options)
            return [self.service.interface.response.FromString(each) for each in call], call

    def ask(self, rows: list[dict[str, Any]], key: str = "") -> dict[str, Any]:
        with grpc_client.channel(self.address, None) as channel:
            return grpc_client.predict(channel, rows, key)

    def request(self, *rows: dict[str, Any]) -> bytes:
        return self.service.interface.request(rows=list(rows)).SerializeToString()

    def metrics(self) -> str:
        return generate_latest(self.service.telemetry.registry).decode()


@contextmanager
def serving(project: Project, tls: grpc.Tls | None = None) -> Iterator[Running]:
    """Run a server in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> grpc.Server:
        server = grpc.Server(grpc.create_app(project), "127.0.0.1:0", tls)
        await server.start()
        return server

    try:
        running = Running(asyncio.run_coroutine_threadsafe(start(), loop).result(20), loop)
        yield running
        asyncio.run_coroutine_threadsafe(running.server.stop(), loop).result(40)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@pytest.fixture(scope="module")
def running(trained: Path) -> Iterator[Running]:
    with serving(Project(trained)) as found:
        yield found


def configure(project: Project, **limits: Any) -> Project:
    storage.write_text(project.path("config.yaml"), yaml.safe_dump({"serving": limits}))
    return Project(project.root)


def refused(running: Running, *bodies: bytes, name: str = "Predict", **options: Any) -> Any:
    with pytest.raises(wire.RpcError) as raised:
        running.call(name, *bodies, **options)
    return raised.value


# The same answers


def test_golden_and_hostile_rows_get_the_same_bits_from_every_mode(
    trained: Path, running: Running, tmp_path: Path
) -> None:
    made = Project(trained)
    scorer = Scorer.load(registry.champion_folder(made))
    golden = read_golden(registry.champion_folder(made), scorer.columns)
    rows = [*golden.rows, *HOSTILE]
    answer = running.ask(rows)
    assert answer["model_version"] == "v1" and answer["threshold"] == 0.4
    with TestClient(rest.create_app(made)) as client:
        said = client.post("/predict", json=rows).json()["predictions"]
    found = [{"warning": "", **one} for one in said]
    assert answer["predictions"] == found
    storage.write_text(tmp_path / "in.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    batch.run(made, tmp_path / "in.jsonl", tmp_path / "out.parquet")
    table = pl.read_parquet(tmp_path / "out.parquet")
    for name in ("probability", "decision"):
        assert table[name].to_list() == [one[name] for one in answer["predictions"]]


def test_the_same_words_for_the_same_broken_row(trained: Path, running: Running) -> None:
    with TestClient(rest.create_app(Project(trained))) as client:
        said = client.post("/predict", json=[ROW, *BROKEN]).json()["errors"]
    error = refused(running, running.request(ROW, *BROKEN))
    assert error.code() == wire.StatusCode.INVALID_ARGUMENT
    first = said[0]
    line = f"row {first['row']}, {first['field']}: {first['problem']}: {first['hint']}"
    assert error.details().startswith(line) and "\n" not in error.details()
    assert error.details().endswith(f"({len(said) - grpc.SHOWN} more)")
    trailing = dict(error.trailing_metadata())["grpc-status-details-bin"]
    details = error_details_pb2.BadRequest()
    assert status_pb2.Status.FromString(trailing).details[0].Unpack(details)
    assert [(each.field, each.description) for each in details.field_violations] == [
        (f"rows[{each['row']}].{each['field']}", f"{each['problem']}: {each['hint']}")
        for each in said
    ]
    (answer,), _ = running.call("PredictStream", running.request(ROW, *BROKEN))
    assert [
        {n: getattr(each, n) for n in ("row", "field", "problem", "hint")} for each in answer.errors
    ] == said
    for number in (float("nan"), float("inf")):  # which JSON cannot say
        assert "amount: infinite" in refused(running, running.request({"amount": number})).details()


def test_nothing_is_rounded_where_other_readers_cut(tmp_path: Path) -> None:
    """The seventh digit of a second: a model of times must read it as training does."""
    document = small.document()
    document["schema"][0]["properties"][4]["logicalType"] = "timestamp"
    made = small.project(tmp_path)
    storage.write_text(made.contract_path, yaml.safe_dump(document))
    table = small.frame(600).with_columns(pl.col("since").cast(pl.Datetime("us")))
    small.train(made, table=table)
    registry.promote(made, "v1")
    scorer = Scorer.load(registry.champion_folder(made))
    assert scorer.has_times
    model = service.Model(registry.champion_folder(made))
    moment = "2026-03-01T08:30:00.9999999"
    row = [{"calls": 1, "since": moment}]
    (read,) = model.rows_of(row, moment.encode(), 10)
    (other,) = model.rows(json.dumps(row).encode(), 10)
    assert read == other and read.f4 == dt.datetime(2026, 3, 1, 8, 30, 0, 999999)


# Calls


def test_ids_and_versions_are_in_the_metadata_and_rows_in_the_log(project: Project) -> None:
    with serving(project) as running:
        _, call = running.call(
            "Predict", running.request(ROW), metadata=(("x-request-id", "job-7"),)
        )
        said = dict(call.initial_metadata())
        assert (said["x-request-id"], said["model-version"]) == ("job-7", "v1")
        _, call = running.call("Predict", running.request(), metadata=(("x-request-id", "a b"),))
        assert " " not in dict(call.initial_metadata())["x-request-id"]
        refused(running, running.request({"calls": -1}))
        until(lambda: 'ml_requests_total{status="422"} 1.0' in running.metrics())
        assert 'ml_requests_total{status="200"} 2.0' in running.metrics()
    (file,) = project.path("data/predictions").glob("*.jsonl")
    (line,) = map(json.loads, file.read_text().splitlines())
    assert (line["request_id"], line["version"], line["features"]) == ("job-7", "v1", ROW)


def test_a_stream_goes_on_after_refused_rows(running: Running) -> None:
    most = running.service.limits.max_rows
    many = [running.request(*[ROW] * 100)] * 5
    answers, call = running.call(
        "PredictStream", *many, running.request({"calls": -1}), running.request(*[{}] * (most + 1)),
        running.request(ROW),
    )  # fmt: skip
    assert [len(each.predictions) for each in answers] == [100] * 5 + [0, 0, 1]
    assert [[e.problem for e in each.errors] for each in answers[5:]] == [
        ["minimum"], ["too many rows"], [],
    ]  # fmt: skip
    assert call.code() == wire.StatusCode.OK
    alone, _ = running.call("Predict", many[0])
    assert answers[0] == alone[0]


def test_what_is_no_request_is_refused_in_one_line(running: Running) -> None:
    garbage = refused(running, b"\xff\xff\xff")
    assert garbage.code() == wire.StatusCode.INVALID_ARGUMENT
    assert "not a PredictRequest" in garbage.details()
    assert "no request" in refused(running).details()
    large = refused(running, b"\0" * 2_100_000)
    assert large.code() == wire.StatusCode.RESOURCE_EXHAUSTED
    assert refused(running, name="NoSuchMethod").code() == wire.StatusCode.UNIMPLEMENTED


def test_scoring_that_breaks_is_one_error_without_data(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("Ms Example")

    with serving(project) as running:
        monkeypatch.setattr(Scorer, "read", broken)
        error = refused(running, running.request(ROW))
        assert error.code() == wire.StatusCode.INTERNAL and "Ms Example" not in error.details()
        assert "Ms Example" not in caplog.text and "RuntimeError in" in caplog.text
        until(lambda: 'ml_requests_total{status="500"} 1.0' in running.metrics())


def test_slow_and_many_callers_hold_little(project: Project) -> None:
    limits = {"read_seconds": 0.5, "max_connections": 3, "max_held_mb": 2, "max_body_mb": 1}
    stop = threading.Event()

    def silent() -> Iterator[bytes]:
        stop.wait(20)
        yield b""

    with serving(configure(project, **limits)) as running:
        method = f"/{running.service.interface.service}/Predict"
        with wire.insecure_channel(running.address) as channel:
            calls = [channel.stream_unary(method).future(silent()) for _ in range(8)]
            codes = sorted(call.code().name for call in calls)
            stop.set()
        # Two are read until they are too slow, one waits for a place, the others find no room.
        assert codes[:2] == ["DEADLINE_EXCEEDED"] * 2
        assert codes.count("RESOURCE_EXHAUSTED") >= 5
        assert running.ask([ROW])["predictions"]
        assert running.service.open == 0


def test_a_deadline_that_has_passed_is_not_scored(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(project) as running:
        turn = running.service.turn.predict

        def late(*given: Any) -> Any:
            async def wait() -> Any:
                await asyncio.sleep(1)
                return await turn(*given)

            return asyncio.ensure_future(wait())

        monkeypatch.setattr(running.service.turn, "predict", late)
        error = refused(running, running.request(ROW), timeout=0.2)
        assert error.code() == wire.StatusCode.DEADLINE_EXCEEDED
        until(lambda: 'ml_requests_total{status="504"} 1.0' in running.metrics())
        assert running.service.open == 0


def test_messages_that_break_callers_fail_the_check_of_a_pull_request(project: Project) -> None:
    (workflow,) = (ROOT / "template").glob("*/.github/workflows/interface.yml")
    steps = yaml.safe_load(workflow.read_text())["jobs"]["messages"]["steps"]
    buf = Path(sys.executable).with_name("buf")
    script = steps[-1]["run"].replace("uv run buf", str(buf))
    path = project.path(proto.FILE)
    before = path.read_text()

    def said(text: str) -> str:
        storage.write_text(path, text)
        shutil.rmtree(project.path("before"), ignore_errors=True)
        done = subprocess.run(
            ["bash", "-e", "-c", script], cwd=project.root, env={**os.environ, "BASE": "main"},
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout + done.stderr if done.returncode else ""

    git(project.root, "init", "--quiet")
    assert said(before) == "", "the branch has no messages yet"
    git(project.root, "add", proto.FILE)
    git(project.root, "commit", "--quiet", "--message", "messages")
    git(project.root, "update-ref", "refs/remotes/origin/main", "HEAD")
    (calls,) = re.findall(r"  optional int64 calls = (\d+) .*\n", before)
    line = re.compile(r"  optional int64 calls = .*\n")
    assert said(before) == ""
    assert said(line.sub(lambda m: m[0] + "  optional string more = 99;\n", before)) == ""
    assert said(line.sub(f"  reserved {calls};\n", before)) == ""
    assert "calls" in said(line.sub("", before))
    assert "calls" in said(before.replace("optional int64 calls", "optional string calls"))


# Switching, stopping, TLS


def test_a_promotion_and_a_rollback_are_followed_without_a_failed_call(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "TICK_SECONDS", 0.05)
    with serving(project) as running:
        version = lambda: running.ask([ROW])["model_version"]  # noqa: E731
        assert version() == "v1"
        registry.promote(project, "v2")
        until(lambda: version() == "v2")
        registry.rollback(project)
        until(lambda: version() == "v1")


def test_health_follows_the_golden_rows_and_the_end(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc, "TICK_SECONDS", 0.05)
    monkeypatch.setattr(service, "TICK_SECONDS", 0.05)

    def ready() -> bool:
        try:
            grpc_client.check(running.address, None)
        except CheckFailed:
            return False
        return True

    with serving(project) as running:
        until(ready)
        with monkeypatch.context() as patched:
            patched.setattr(Scorer, "replay", lambda *_: 1 / 0)
            until(lambda: not ready())
        until(ready)
        started = threading.Event()

        def rows() -> Iterator[bytes]:
            yield running.request(ROW)
            started.wait(10)
            time.sleep(0.3)
            yield running.request(ROW)

        with wire.insecure_channel(running.address) as channel:
            method = f"/{running.service.interface.service}/PredictStream"
            call = channel.stream_stream(method)(rows())
            next(call)
            stopping = asyncio.run_coroutine_threadsafe(running.server.stop(), running.loop)
            started.set()
            assert len(list(call)) == 1  # what runs is finished
            stopping.result(20)
        monkeypatch.setattr(running.server, "stop", lambda: asyncio.sleep(0))
    with pytest.raises(CheckFailed, match="UNAVAILABLE"):
        grpc_client.check(running.address, None)
    (file,) = project.path("data/predictions").glob("*.jsonl")
    assert len(file.read_text().splitlines()) == 2


def test_tls_by_files(project: Project, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out",
         certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    with serving(project, grpc.Tls(certificate, key)) as running:
        until(lambda: grpc_client.check(running.address, certificate) is None)
        assert ssl.get_server_certificate(("127.0.0.1", running.server.port))
        with pytest.raises(CheckFailed, match="UNAVAILABLE"):
            grpc_client.check(running.address, None)
    with pytest.raises(ProjectError, match=r"no\.pem: No such file"):
        grpc.Tls(tmp_path / "no.pem", key).credentials()


# The interface


def test_numbers_stay_when_columns_come_go_and_change(trained: Path) -> None:
    scorer = Scorer.load(Project(trained).path("models/v1"))
    old = proto.made(scorer)
    assert proto.parsed(proto.text(old, "small")) == old
    first, _, third, *others = old["Row"].fields
    changed = third._replace(type="int64")
    new = first._replace(column="a b", name="a_b"), changed, first, *others  # without the second
    row = proto.merged(old, {"Row": proto.Message(new)})["Row"]
    numbers = {field.column: field.number for field in row.fields}
    more = {"event_id": 6, "a b": 7, "plan": 8}
    assert numbers == {"amount": 1, "calls": 2, "online": 4, "since": 5, **more}
    assert row.reserved == (3,)
    assert {field.column for field in row.fields if field.deprecated} == {"calls"}
    again = proto.parsed(proto.text({**old, "Row": row}, "small"))
    assert again["Row"] == row and proto.merged(again, again) == again
    back = proto.merged(again, {"Row": old["Row"]})["Row"]  # a column that comes back
    assert {f.column for f in back.fields if f.deprecated} == {"a b"}
    interface = proto.Interface({**old, "Row": row}, "small")
    assert interface.request(rows=[{"a_b": 1.5}]).rows[0].a_b == 1.5


def test_names_that_protobuf_does_not_know() -> None:
    taken: set[str] = set()
    names = [
        proto._identifier(column, taken) for column in ("a b", "A_b", "9", "größe", "_x", "a.b")
    ]
    assert names == ["a_b", "A_b_2", "f_9", "gr__e", "f__x", "a_b_3"]


def test_an_edited_file_is_read_or_its_line_is_named(project: Project) -> None:
    path = project.path(proto.FILE)
    text = path.read_text()
    assert not proto.write(project, check=True)
    path.write_text(text.replace('optional string plan = 3 [json_name = "plan"];', "reserved 3;"))
    assert proto.write(project)  # the number is not given again
    assert 'optional string plan = 7 [json_name = "plan"];' in path.read_text()
    path.write_text(text.replace("calls = 2", "calls = 1"))
    with pytest.raises(ProjectError, match="message Row uses the number 1 twice"):
        proto.of(project)
    path.write_text(text.replace("optional double amount", "required double amount"))
    with pytest.raises(ProjectError, match=r"predict.proto:\d+: .*is no field"):
        proto.of(project)


def test_a_model_that_the_interface_lacks_is_not_served(project: Project) -> None:
    path = project.path(proto.FILE)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"calls"' not in line))
    with pytest.raises(ProjectError, match="v1 has columns or outputs that"):
        grpc.create_app(project)
    path.unlink()
    grpc.create_app(project)  # the first time the file is written
    assert path.is_file()


def test_what_was_said_is_answered_where_scoring_breaks(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "TICK_SECONDS", 0.05)
    made = configure(project, fallback={"probability": 0.25, "decision": False})

    def breaks(*_: Any) -> None:
        raise RuntimeError("no memory")

    with serving(made) as running:
        good = running.ask([ROW])
        assert not good.get("fallback")
        with monkeypatch.context() as patch:
            patch.setattr(requests.Model, "predict", breaks)
            told = running.ask([ROW | {"event_id": "mine"}, ROW])
            body = running.request(ROW)
            answers, code = running.call("PredictStream", body, body)
            assert refused(running, b"\xff").code() is not None
        assert told["fallback"] is True and told["model_version"] == good["model_version"]
        for one in told["predictions"]:
            assert (one["probability"], one.get("decision", False)) == (0.25, False)
        assert told["predictions"][0]["event_id"] == "mine"
        assert len(answers) == 2 and all(one.fallback for one in answers), code
        assert "ml_fallback_answers_total 3.0" in running.metrics()
        until(lambda: 'ml_requests_total{status="500"} 3.0' in running.metrics())  # for alerts
    logged = "".join(p.read_text() for p in made.path("data/predictions").glob("*.jsonl"))
    assert "mine" not in logged


def test_a_fallback_that_cannot_be_told_is_refused_in_one_line(project: Project) -> None:
    with pytest.raises(ProjectError, match="missing required field `decision`"):
        grpc.create_app(configure(project, fallback={"probability": 0.1}))
    made = configure(project, fallback={"probability": 0.25, "decision": False})
    path = made.path(proto.FILE)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"fallback"' not in line))
    with pytest.raises(ProjectError, match="cannot say so: run `ml grpc proto`") as caught:
        grpc.create_app(made)
    assert "\n" not in str(caught.value)
    grpc.create_app(configure(made)).close()  # of an earlier time it goes on without one


SECRET = "a secret of forty characters and no less"


def token(**claims: Any) -> str:
    return jwt.encode({"aud": "churn", "exp": time.time() + 60} | claims, SECRET, "HS256")


def hashed(*keys: str) -> str:
    return "".join(f"{storage.sha256_text(key)} somebody\n" for key in keys)


def test_who_has_no_good_key_or_token_is_refused_in_the_words_of_http(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "TICK_SECONDS", 0.05)
    monkeypatch.setenv("ML_JWT_KEY", SECRET)
    storage.write_text(project.path("keys"), hashed("old", "new"))
    made = configure(project, api_keys="keys", jwt_audience="churn")
    with serving(made) as running, TestClient(rest.create_app(made)) as client:
        row = running.request(ROW)

        def told(name: str, value: str) -> str:
            by_http = client.post("/predict", json=ROW, headers={name: value})
            metadata = ((name, value),)
            if by_http.status_code == 200:
                assert len(running.call("Predict", row, metadata=metadata)[0]) == 1
                assert len(running.call("PredictStream", row, row, metadata=metadata)[0]) == 2
                return ""
            (error,) = by_http.json()["errors"]
            for method in ("Predict", "PredictStream"):
                found = refused(running, row, name=method, metadata=metadata)
                assert found.code() == wire.StatusCode.UNAUTHENTICATED
                assert found.details() == f"{error['problem']}: {error['hint']}"
            return f"{error['problem']}: {error['hint']}"

        assert told("authorization", "Bearer old") == told("x-api-key", "new") == ""
        assert told("authorization", f"Bearer {token()}") == ""
        assert told("x-request-id", "job-7").startswith("no good key: send it as")
        assert told("x-api-key", "other").startswith("no good key")
        late, alien = token(exp=time.time() - 60), token(aud="fraud")
        assert told("authorization", f"Bearer {late}") == "no good token: the token has expired"
        assert "for another service" in told("authorization", f"Bearer {alien}")
        until(lambda: 'ml_requests_total{status="401"} 8.0' in running.metrics())
        assert running.ask([ROW], "new")["model_version"] == "v1"  # reflection needs no key
        until(lambda: grpc_client.check(running.address, None) is None)
        with pytest.raises(CheckFailed, match="UNAUTHENTICATED: no good key"):
            grpc_client.ask(made, None, running.address, None)
        taken = threading.Event()

        def rows() -> Iterator[bytes]:
            yield row
            taken.wait(10)
            yield row

        with wire.insecure_channel(running.address) as channel:
            method = f"/{running.service.interface.service}/PredictStream"
            call = channel.stream_stream(method)(rows(), metadata=(("x-api-key", "old"),))
            next(call)
            storage.write_text(project.path("keys"), hashed("new"))
            until(lambda: len(running.service.access.hashes) == 1)
            taken.set()
            with pytest.raises(wire.RpcError, match="no good key"):
                next(call)
    log = "".join(path.read_text() for path in project.path("data/predictions").rglob("*.jsonl"))
    assert log and SECRET not in log and "Bearer" not in log


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"api_keys": "none"}, r"serving\.api_keys: .*none: No such file"),
        ({"jwt_audience": "churn"}, "environment: ML_JWT_KEY: give the public key"),
        ({"jwt_issuer": "us"}, r"serving\.jwt_audience does not say for whom"),
    ],
)
def test_keys_that_are_none_stop_the_service_in_one_line(
    project: Project, settings: dict[str, str], said: str
) -> None:
    with pytest.raises(ProjectError, match=said) as refused:
        grpc.create_app(configure(project, **settings))
    assert "\n" not in str(refused.value)


def test_rest_and_grpc_cannot_listen_twice(project: Project, running: Running) -> None:
    async def start() -> None:
        grpc.Server(grpc.create_app(project), running.address)

    with pytest.raises(ProjectError, match=r"cannot listen on 127\.0\.0\.1"):
        asyncio.run(start())


# Projects

TASKS = sorted(
    path.name for path in (ROOT / "questions").iterdir() if (path / "rules.yaml").exists()
)


@pytest.mark.parametrize("task", [TASKS[0], *map(partial(pytest.param, marks=NIGHTLY), TASKS[1:])])
def test_a_project_of_each_task_serves_the_same_bits_with_grpc_alone(
    tmp_path: Path, task: str
) -> None:
    folder = render(tmp_path / "p", task_type=task, deployment_modes=["grpc"])
    package = next((folder / "src").iterdir()).name
    made = Made(folder, package, {})
    options = (
        "-p",
        "no:cacheprovider",
        "-W",
        "error::pytest.PytestUnhandledThreadExceptionWarning",
    )
    said = made.python("-m", "pytest", "-q", *options, "tests/code/test_grpc.py")
    assert "3 passed, 1 skipped" in said


def test_each_project_has_the_files_and_words_of_its_modes_alone(tmp_path: Path) -> None:
    alone = tree(render(tmp_path / "grpc", deployment_modes=["grpc"]))
    with_rest = tree(render(tmp_path / "rest", deployment_modes=["rest", "batch"]))
    every = tree(render(tmp_path / "every", deployment_modes=["rest", "grpc", "batch"]))
    names = lambda files: {name for name in files if "grpc" in name or "proto" in name}  # noqa: E731
    assert names(alone) == names(every) and names(with_rest) == set()
    plans = {"plan/plan.yaml"}  # which names what a rule could have chosen
    words = re.compile(rb"grpc|predict\.proto", re.IGNORECASE)
    assert [name for name, text in with_rest.items() if words.search(text)] == sorted(plans)
    foreign = re.compile(
        rb"fastapi|uvicorn|starlette|localhost:8000|ml serve\b|polars>=.*\n]", re.I
    )
    known = {"src/churn_model/planner/moved.yaml"}
    found = {n for n, text in alone.items() if foreign.search(text)} - known
    assert found == set()
    assert not any(name.endswith(("rest.py", "guard.py", "batch.py", "crontab")) for name in alone)
    compose = yaml.safe_load(every["deploy/compose.yaml"])
    assert compose["services"].keys() == {"service", "grpc", "prometheus", "alertmanager"}
    assert compose["services"]["prometheus"]["depends_on"].keys() == {"service", "grpc"}
    (scraped,) = yaml.safe_load(every["monitoring/prometheus.yml"])["scrape_configs"]
    assert scraped["static_configs"][0]["targets"] == ["service:9463", "grpc:9464"]
    plan = yaml.safe_load(alone["plan/plan.yaml"])
    assert plan["decisions"]["DEP-01"]["value"] == ["grpc_service_container"]
    assert "Objective: 99.5" in alone["docs/runbook.md"].decode()
