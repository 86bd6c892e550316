"""The service as managed platforms call it: SageMaker, Vertex AI, and a function of AWS Lambda."""

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import helpers.bundles as small
import httpx
import obstore
import polars as pl
import pytest
import yaml
from helpers.buckets import Buckets
from helpers.rendering import ROOT
from helpers.service import free_port, until
from starlette.testclient import TestClient

from package_name.engine import storage
from package_name.engine.model import registry
from package_name.engine.serving import batch, rest
from package_name.engine.settings import Project

ROW = {"amount": 12.5, "calls": 2, "plan": "basic", "online": True, "since": "2026-03-01"}
BEGIN = "import sys; sys.path.insert(0, sys.argv.pop(1)); import helpers.package; import runpy; "
VERTEX = {"AIP_HEALTH_ROUTE": "/v1/health", "AIP_PREDICT_ROUTE": "/v1/models/churn:predict"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a champion and managed.py in its folder."""
    made = small.project(tmp_path_factory.mktemp("managed"))
    plan = yaml.safe_load(made.path("plan/plan.yaml").read_text())
    plan["answers"] = {"latency_ms": 100, "deployment_modes": ["rest"]}
    storage.write_text(made.path("plan/plan.yaml"), yaml.safe_dump(plan))
    small.train(made, rows=600)
    registry.promote(made, "v1")
    shutil.copy(ROOT / "docs/examples/managed.py", made.root)
    return Project(made.root)


def expected(project: Project, *rows: dict[str, Any]) -> dict[str, Any]:
    with TestClient(rest.create_app(project)) as client:
        found: dict[str, Any] = client.post("/predict", json=list(rows)).json()
    return found


@contextmanager
def running(
    project: Project, code: str, *given: str, **env: str
) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", BEGIN + code, str(ROOT / "tests"), *given]
    env = {**os.environ, "ML_PACKAGE": "package_name", **env}
    with subprocess.Popen(command, cwd=project.root, env=env, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def reaches(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def test_a_container_answers_as_vertex_ai_and_sagemaker_ask(project: Project) -> None:
    serve = "runpy.run_path('managed.py', run_name='__main__')"
    said = expected(project, ROW, {"calls": 0})
    vertex, port = VERTEX["AIP_PREDICT_ROUTE"], free_port()
    url = f"http://127.0.0.1:{port}"
    with running(project, serve, **VERTEX, AIP_HTTP_PORT=str(port)):
        until(lambda: reaches(f"{url}/v1/health"), 30)
        assert httpx.get(f"{url}/v1/health").content == b""

        def ask(content: Any) -> httpx.Response:
            return httpx.post(url + vertex, json=content)

        rows = [ROW, {"calls": 0}]
        found = ask({"parameters": {}, "instances": rows})
        assert found.status_code == 200 and found.json() == {"predictions": said["predictions"]}
        assert ask({"instances": rows}).content == found.content
        wrong = ask({"instances": [{"calls": -1}]})
        assert wrong.status_code == 422 and wrong.json()["errors"][0]["field"] == "calls"
        assert ask({"instances": rows, "parameters": {"other": 1}}).status_code == 422
        assert ask({"instances": 3}).status_code == 422
        assert ask({"instances": rows, "parameters": {"rows": [ROW]}}).status_code == 422
        assert httpx.post(url + vertex, content=b"{").status_code == 400
        twice = b'{"instances": [{"calls": 1, "calls": 2}]}'
        assert "key twice" in httpx.post(url + vertex, content=twice).text
        assert httpx.post(f"{url}/invocations", json=rows).status_code == 404
    with running(project, serve, "serve", AIP_HTTP_PORT=str(port)) as process:
        until(lambda: reaches(f"{url}/ping"), 30)
        began = time.perf_counter()
        assert httpx.get(f"{url}/ping").content == b"" and time.perf_counter() - began < 2
        assert httpx.post(f"{url}/invocations", json=rows).json() == said
        assert httpx.post(f"{url}/invocations", json={"rows": [ROW]}).status_code == 200
        wrong = httpx.post(f"{url}/invocations", json={"calls": -1})
        assert wrong.status_code == 422 and wrong.json()["errors"][0]["problem"] == "minimum"
        process.terminate()
        assert process.wait(30) == 0


class Runtime(BaseHTTPRequestHandler):
    """What AWS Lambda is for a function: it hands out events and takes what comes back."""

    protocol_version = "HTTP/1.1"
    events: SimpleQueue[Any] = SimpleQueue()
    answers: SimpleQueue[Any] = SimpleQueue()

    def do_GET(self) -> None:
        content = json.dumps(self.events.get()).encode()
        self.send_response(200)
        for name, value in {
            "Lambda-Runtime-Aws-Request-Id": "one",
            "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + 60_000),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:1:function:f",
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
        self.answers.put((self.path.rpartition("/")[2], json.loads(content)))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A function that is killed goes away without a word."""


def over_http(method: str, path: str, body: str | None = None, **more: Any) -> dict[str, Any]:
    """Return an event of a function URL."""
    http = {"method": method, "path": path, "protocol": "HTTP/1.1"}
    event = {"version": "2.0", "rawPath": path, "rawQueryString": "", "headers": {}}
    event |= {"requestContext": {"http": http}, "body": body, "isBase64Encoded": False}
    return event | more


def of_version_1(method: str, path: str, body: str | None = None, **more: Any) -> dict[str, Any]:
    """Return an event of a REST API, or of an HTTP API that asks in the older form."""
    about = {"httpMethod": method, "path": f"/stage{path}", "stage": "stage", "apiId": "x"}
    event = {"version": "1.0", "resource": "/{proxy+}", "path": path, "httpMethod": method}
    event |= {"headers": {}, "multiValueHeaders": {}, "queryStringParameters": None}
    event |= {"multiValueQueryStringParameters": None, "requestContext": about}
    return event | {"body": body, "isBase64Encoded": False} | more


def test_a_function_answers_by_the_runtime_of_aws_lambda(project: Project) -> None:
    server = Server(("127.0.0.1", 0), Runtime)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # As `python -m awslambdaric managed.handler` does.
    code = "sys.path.insert(0, '.'); from awslambdaric.__main__ import main; main(sys.argv)"
    env = {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_address[1]}"}
    env |= {"LAMBDA_TASK_ROOT": str(project.root), "AWS_LAMBDA_FUNCTION_NAME": "churn"}
    said = expected(project, ROW)

    def ask(event: Any) -> Any:
        Runtime.events.put(event)
        kind, answer = Runtime.answers.get(timeout=60)
        assert kind == "response", answer
        return answer

    with running(project, code, "managed.handler", **env) as process:
        assert ask({"rows": [ROW]}) == ask(ROW) == said
        assert ask({"rows": [{"calls": -1}]})["errors"][0]["problem"] == "minimum"
        body = json.dumps([ROW])
        named = {"headers": {"X-Request-Id": "job-7"}}
        found = ask(over_http("POST", "/predict", body, **named))
        assert (found["statusCode"], found["isBase64Encoded"]) == (200, False)
        assert json.loads(found["body"]) == said and found["headers"]["x-request-id"] == "job-7"
        coded = base64.b64encode(body.encode()).decode()
        assert ask(over_http("POST", "/predict", coded, isBase64Encoded=True))["statusCode"] == 200
        assert json.loads(ask(over_http("GET", "/ready"))["body"])["model_version"] == "v1"
        top = over_http("POST", "/explain", json.dumps(ROW), rawQueryString="top=2")
        assert len(json.loads(ask(top)["body"])["rows"][0]["reasons"]) == 2
        assert ask(over_http("GET", "/predict"))["statusCode"] == 405
        older = ask(of_version_1("POST", "/predict", body, **named))
        assert (older["statusCode"], json.loads(older["body"])) == (200, said)
        for many in ({"multiValueQueryStringParameters": {"top": ["2"]}}, {}):
            given = many | {"queryStringParameters": {"top": "2"}}
            found = ask(of_version_1("POST", "/explain", json.dumps(ROW), **given))
            assert len(json.loads(found["body"])["rows"][0]["reasons"]) == 2
        assert ask(of_version_1("GET", "/ready", headers=None))["statusCode"] == 200
        assert ask(over_http("GET", "/no"))["statusCode"] == 404
        for odd in (None, {"X-Name": "\u6771", "X-Request-Id": None}):
            bare = over_http("GET", "/ready", headers=odd, rawQueryString=None)
            assert ask(bare)["statusCode"] == 200
        process.kill()
        lines = [x for x in process.stdout.read().splitlines() if '"job-7"' in x]
        (line, again) = map(json.loads, lines)
        assert line["features"] == ROW and line["version"] == "v1"
        assert again["features"] == ROW
    server.shutdown()
    written = "".join(path.read_text() for path in project.path("data").rglob("*.jsonl"))
    assert "job-7" not in written  # a function has no disk


def test_files_that_arrive_in_a_bucket_are_scored_once(
    project: Project, buckets: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = small.frame(300, seed=3).drop("y")
    rows.write_parquet(tmp_path / "in.parquet")
    name = f"{tmp_path.name}/a file of rows.parquet"
    obstore.put(buckets.store(), name, tmp_path / "in.parquet")
    key = name.replace(" ", "+")  # as events of S3 spell it
    event = {"Records": [{"s3": {"bucket": {"name": "lake"}, "object": {"key": key}}}]}
    code = "import json; m = runpy.run_path('managed.py'); "
    code += "print(json.dumps([m['handler'](json.loads(sys.argv[1])) for _ in range(2)]))"
    code += """
m["os"].environ["ML_SCORED"] = "s3://lake/"
try:
    m["handler"](json.loads(sys.argv[1]))
except Exception as error:
    print(json.dumps(str(error)))
"""
    for made in (f"scored/{key}", f"{key}.done.json"):  # where the trigger covers them too
        more = {"bucket": {"name": "lake"}, "object": {"key": made}}
        event["Records"].append({"s3": more})
    env = {**buckets.env, "ML_SCORED": "s3://lake/scored"}
    with running(project, code, json.dumps(event), **env) as process:
        told = process.communicate(timeout=60)[0].splitlines()[-2:]
    (first, again), refused = map(json.loads, told)
    assert refused.startswith(f"s3://lake/{name}: this is the input")
    assert first == again and first[0]["rows"] == 300
    skipped = [f"s3://lake/scored/{name}", f"s3://lake/{name}.done.json"]
    assert first[1:] == [{"skipped": address} for address in skipped]
    batch.run(project, tmp_path / "in.parquet", tmp_path / "out.parquet")
    scored = bytes(obstore.get(buckets.store(), f"scored/{name}").bytes())
    assert scored == (tmp_path / "out.parquet").read_bytes()
    assert pl.read_parquet(scored).height == 300
