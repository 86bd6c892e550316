"""Traces: the caller's id in every line, and spans where a collector was named and nowhere else."""

import json
import logging
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import helpers.bundles as small
import polars as pl
import pytest
import yaml
from helpers.service import free_port, until
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.testclient import TestClient
from test_grpc import refused, serving

from package_name.engine import extras, storage, traces
from package_name.engine.errors import ProjectError
from package_name.engine.model import registry
from package_name.engine.model.scorer import Scorer
from package_name.engine.serving import batch, grpc, proto, rest, service
from package_name.engine.settings import Project

ROW = {"amount": 12.5, "calls": 2, "plan": "basic", "online": True, "since": "2026-03-01"}
TRACE, ABOVE = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{ABOVE}-01"


class Collector(BaseHTTPRequestHandler):
    """A receiver of OTLP over HTTP, which keeps spans with what they are part of."""

    spans: ClassVar[list[Any]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            names = {x.key: x.value.string_value for x in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [(self.path, names["service.name"], span) for span in scope.spans]
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def collector() -> Iterator[str]:
    """Run a collector; give its address."""
    Collector.spans.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = small.project(tmp_path_factory.mktemp("traced"))
    plan = yaml.safe_load(made.path("plan/plan.yaml").read_text())
    plan["answers"] = {"latency_ms": 100, "deployment_modes": ["rest", "grpc"]}
    storage.write_text(made.path("plan/plan.yaml"), yaml.safe_dump(plan))
    small.train(made, rows=600)
    registry.promote(made, "v1")
    proto.write(made)
    return made.root


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Project:
    shutil.copytree(trained, tmp_path / "p", ignore=shutil.ignore_patterns("predictions"))
    return Project(tmp_path / "p")


def lines(project: Project) -> list[dict[str, Any]]:
    """Return the log of predictions."""
    files = sorted(project.path("data/predictions").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_the_trace_of_a_caller_is_in_the_log_and_nothing_is_sent(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in traces.ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    headers = [
        {"traceparent": PARENT},
        {"traceparent": f"cc-{TRACE}-{ABOVE}-00-what later versions say"},
        {},
        *(
            {"traceparent": bad}
            for bad in ("", "no", f"ff-{TRACE}-{ABOVE}-01", f"00-{'0' * 32}-{ABOVE}-01",
                        f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-{ABOVE}-01",
                        f"{PARENT}-", f"{PARENT}-more")
        ),
    ]  # fmt: skip
    with TestClient(rest.create_app(project)) as client:
        for given in headers:
            assert client.post("/predict", json=ROW, headers=given).status_code == 200
        assert client.post("/explain", json=ROW, headers=headers[0]).status_code == 200
        with monkeypatch.context() as patch:
            patch.setattr(Scorer, "read", lambda *_: 1 / 0)
            answer = client.post("/predict", json=ROW, headers=headers[0])
            assert answer.status_code == 500 and f", trace {TRACE}: " in caplog.text
            assert TRACE not in answer.text
    with serving(project) as running:
        body = running.request(ROW)
        running.call("Predict", body, metadata=(("traceparent", PARENT),))
        running.call("PredictStream", body, body, metadata=(("traceparent", PARENT),))
        running.call("Predict", body)
    told = [line.get("trace_id") for line in lines(project)]
    assert told == [TRACE, TRACE, *[None] * 9, *[TRACE] * 3, None]
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import helpers.package\n"
        "from pathlib import Path\n"
        "from package_name.engine.serving import grpc, rest\n"
        "from package_name.engine.settings import Project\n"
        "rest.create_app(Project(Path(sys.argv[2])))\n"
        "print([name for name in sys.modules if 'opentelemetry.sdk' in name])\n"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(project.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_collector_gets_the_parts_of_a_request(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "SMALL_ROWS", 4)
    with collector() as address:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        with TestClient(rest.create_app(project)) as client:
            began = time.time_ns()
            named = {"traceparent": PARENT}
            assert client.post("/predict", json=ROW, headers=named).status_code == 200
            ended = time.time_ns()
            assert client.post("/predict", json=[ROW] * 9).status_code == 200
            assert client.post("/predict", json={"calls": -1}).status_code == 422
            unsampled = {"traceparent": f"{PARENT[:-1]}0"}
            assert client.post("/predict", json=ROW, headers=unsampled).status_code == 200
            with monkeypatch.context() as patch:
                patch.setattr(Scorer, "read", lambda *_: 1 / 0)
                assert client.post("/predict", json=ROW).status_code == 500
            client.post("/explain", json=ROW)
        with serving(project) as running:
            body = running.request(ROW)
            running.call("PredictStream", body, body, metadata=(("traceparent", PARENT),))
            refused(running, running.request({"calls": -1}))
        found = list(Collector.spans)
    assert {path for path, *_ in found} == {"/v1/traces"}
    assert {name for _, name, _ in found} == {"small"}
    spans = [span for *_, span in found]
    whole = [span for span in spans if span.kind == span.SPAN_KIND_SERVER]

    def parts(span: Any) -> list[Any]:
        below = [each for each in spans if each.parent_span_id == span.span_id]
        assert {each.trace_id for each in below} <= {span.trace_id}
        return sorted(below, key=lambda each: each.start_time_unix_nano)

    def about(span: Any) -> dict[str, Any]:
        return {x.key: x.value.string_value or x.value.int_value for x in span.attributes}

    usual = ["parse", "features", "model"]
    expected = [
        ("POST /predict", 200, 1, usual), ("POST /predict", 200, 9, usual),
        ("POST /predict", 422, 0, ["parse"]), ("POST /predict", 500, 0, ["parse"]),
        ("POST /explain", 200, 0, []),
        *[(f"{running.service.interface.service}/Predict", 200, 1, usual)] * 2,
        (f"{running.service.interface.service}/Predict", 422, 0, ["parse"]),
    ]  # fmt: skip
    told = [
        (span.name, about(span)["ml.status"], about(span).get("ml.rows", 0),
         [each.name for each in parts(span)])
        for span in whole
    ]  # fmt: skip
    assert told == expected
    first = whole[0]
    assert (first.trace_id.hex(), first.parent_span_id.hex()) == (TRACE, ABOVE)
    assert [span.trace_id.hex() for span in whole[5:7]] == [TRACE] * 2
    assert about(first)["ml.model_version"] == "v1"
    times = [first.start_time_unix_nano]
    times += [at for x in parts(first) for at in (x.start_time_unix_nano, x.end_time_unix_nano)]
    times.append(first.end_time_unix_nano)
    assert times == sorted(times) and began < times[0] and times[-1] <= ended + 10**8
    assert whole[3].status.code == whole[3].status.STATUS_CODE_ERROR
    assert "basic" not in str(found) and "12.5" not in str(found)  # nothing of a row
    logged = lines(project)
    assert logged[0]["trace_id"] == TRACE  # also where the caller began none
    assert [line["trace_id"] for line in logged[1:10]] == [whole[1].trace_id.hex()] * 9


def test_requests_of_one_turn_have_spans_of_their_own(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collector() as address:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{address}/v1/traces")
        with serving(project) as running:
            body = running.request(ROW)
            threads = [
                threading.Thread(target=running.call, args=("PredictStream", *[body] * 20))
                for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        spans = [span for *_, span in Collector.spans]
    above = [span for span in spans if span.kind == span.SPAN_KIND_SERVER]
    assert len(above) == 80 and len(spans) == 80 * 4
    for span in above:
        below = [each.name for each in spans if each.parent_span_id == span.span_id]
        assert sorted(below) == ["features", "model", "parse"]


def test_a_collector_that_is_away_costs_no_answer(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    began = time.monotonic()
    with TestClient(rest.create_app(project)) as client:
        for _ in range(20):
            assert client.post("/predict", json=ROW).status_code == 200
        left = time.monotonic()
    assert time.monotonic() - left < traces.STOP_SECONDS + 2
    assert time.monotonic() - began < 20
    assert len(lines(project)) == 20


def test_who_is_refused_begins_no_span_and_an_sdk_that_is_off_has_no_id(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collector() as address:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        with TestClient(rest.create_app(project)) as client:
            assert client.get("/predict", headers={"traceparent": PARENT}).status_code == 405
        assert not Collector.spans
        monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
        with TestClient(rest.create_app(project)) as client:
            for headers in ({}, {"traceparent": PARENT}):
                assert client.post("/predict", json=ROW, headers=headers).status_code == 200
        assert not Collector.spans
    assert [line.get("trace_id") for line in lines(project)] == [None, TRACE]


def test_without_the_extra_the_service_starts_and_says_so(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lacking(name: str, group: str) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(extras, "import_module", lambda _: (_ for _ in ()).throw(ImportError()))
            return extras.driver(name, group)

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setattr(traces, "driver", lacking)
    with pytest.raises(ProjectError, match="uv sync --group tracing"):
        traces.Spans("x")
    with caplog.at_level(logging.WARNING), TestClient(rest.create_app(project)) as client:
        assert client.post("/predict", json=ROW, headers={"traceparent": PARENT}).status_code == 200
    (said,) = [record.message for record in caplog.records if record.name == "serving"]
    assert said.startswith("OTEL_EXPORTER_OTLP_ENDPOINT is set, but no spans are sent: ")
    grpc.create_app(project).close()
    until(lambda: lines(project)[0]["trace_id"] == TRACE)


def scored(project: Project) -> dict[str, Any]:
    """Score a file as `ml score` does; return what stands beside the output."""
    folder = project.root
    pl.DataFrame([ROW] * 3).write_parquet(folder / "in.parquet")
    with traces.job("score", "small") as trace:
        report = batch.run(project, folder / "in.parquet", folder / "out.parquet", force=True)
        if trace:
            trace.end(200, report["version"], report["rows"])
    return json.loads((folder / "out.parquet.done.json").read_text())


def test_a_batch_belongs_to_the_trace_of_its_scheduler(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*traces.ENDPOINTS, "TRACEPARENT"):
        monkeypatch.delenv(name, raising=False)
    assert "trace_id" not in scored(project)
    content = (project.root / "out.parquet").read_bytes()
    monkeypatch.setenv("TRACEPARENT", PARENT)
    assert scored(project)["trace_id"] == TRACE
    with collector() as address:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        assert scored(project)["trace_id"] == TRACE
        with pytest.raises(ProjectError), traces.job("score", "small"):
            batch.run(project, project.root / "none.parquet", project.root / "x.parquet")
        (good, bad) = [span for *_, span in Collector.spans]
    assert (good.trace_id.hex(), good.parent_span_id.hex(), good.name) == (TRACE, ABOVE, "score")
    about = {pair.key: pair.value for pair in good.attributes}
    assert (about["ml.rows"].int_value, about["ml.model_version"].string_value) == (3, "v1")
    assert bad.status.code == bad.status.STATUS_CODE_ERROR != good.status.code
    assert (project.root / "out.parquet").read_bytes() == content
