"""The dashboard asks for the metrics of the alerts, and a live Prometheus answers each question."""

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.rendering import render
from helpers.service import free_port, process, until
from test_load import project  # noqa: F401  a project with a champion

from package_name.engine.settings import Project

MODES = [["rest"], ["grpc"], ["streaming"], ["rest", "grpc", "streaming"]]
# Of what nothing was told yet: nobody was cut off, no feature looks back.
SILENT = ("ml_connections_ended_total",)


def panels(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "monitoring/dashboard.json").read_text())["panels"]


def queries(folder: Path) -> list[str]:
    return [target["expr"] for panel in panels(folder) for target in panel["targets"]]


@pytest.mark.parametrize("modes", MODES, ids="+".join)
def test_the_dashboard_shows_what_the_alerts_watch(tmp_path: Path, modes: list[str]) -> None:
    made = render(tmp_path / "p", deployment_modes=modes, project_name='Say "no"')
    asked = " ".join(queries(made))
    rules = [
        rule
        for file in (made / "monitoring").glob("*alerts.yml")
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    ]
    assert rules and len(queries(made)) >= 8
    for rule in rules:
        for name in re.findall(r"\bml_\w+", rule["expr"]):
            assert name in asked, rule["alert"]
    slug = yaml.safe_load((made / "plan/plan.yaml").read_text())["project"]["slug"]
    for query in queries(made):
        assert f'job="{slug}"' in query and query.count("{") == query.count("}")
    assert ("ml_stream" in asked.replace("ml_(request|stream)", "")) == ("streaming" in modes)
    assert ("ml_requests" in asked) == (modes != ["streaming"])
    places = [tuple(panel["gridPos"].values()) for panel in panels(made)]
    assert len({*places}) == len({panel["id"] for panel in panels(made)}) == len(places)


def test_red_begins_where_the_plan_ends(tmp_path: Path) -> None:
    answers = {"availability": 0.99, "latency_ms": 250, "stream_seconds": 7.0}
    made = render(tmp_path / "p", deployment_modes=["rest", "streaming"], **answers)
    red = {
        panel["title"]: panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["value"]
        for panel in panels(made)
    }
    assert red["Time to answer; 99 % within 250 ms"] == 0.25
    [allowed] = [limit for title, limit in red.items() if title.startswith("Share of requests")]
    assert allowed == pytest.approx(0.01)
    assert red["How far the consumer is behind; at most 7 s"] == 7
    assert red["Processors in use"] is None


def test_projects_without_a_service_have_none(tmp_path: Path) -> None:
    made = render(tmp_path / "p", deployment_modes=["batch"])
    assert not (made / "monitoring").exists()


@pytest.mark.nightly
@pytest.mark.skipif(not shutil.which("prometheus"), reason="needs prometheus")
def test_a_live_prometheus_answers_every_query(
    tmp_path: Path,
    project: Project,  # noqa: F811
) -> None:
    made = render(tmp_path / "p", deployment_modes=["rest"])
    port, own = free_port(), free_port()
    config = (made / "monitoring/prometheus.yml").read_text()
    for old, new in {"service:9463": f"127.0.0.1:{port}", "15s": "1s"}.items():
        assert old in config
        config = config.replace(old, new)
    (made / "monitoring/prometheus.yml").write_text(config)
    row = json.dumps(json.loads(project.path("models/v1/golden.json").read_text())["rows"][0])

    def ask(url: str, body: str | None = None) -> Any:
        given = urllib.request.Request(url, body.encode() if body else None)
        with urllib.request.urlopen(given, timeout=10) as answer:
            return json.loads(answer.read())

    def answered(query: str) -> list[Any]:
        told = urllib.parse.urlencode({"query": query})
        return ask(f"http://127.0.0.1:{own}/api/v1/query?{told}")["data"]["result"]

    def is_up(url: str) -> bool:
        try:
            urllib.request.urlopen(url, timeout=5).read()
        except OSError:
            return False
        return True

    command = ["prometheus", f"--config.file={made}/monitoring/prometheus.yml"]
    command += [f"--web.listen-address=127.0.0.1:{own}", f"--storage.tsdb.path={tmp_path}/d"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with process(project, port), subprocess.Popen(command, **quiet) as watcher:
        try:
            until(lambda: is_up(f"http://127.0.0.1:{port}/ready"), 60)
            until(lambda: is_up(f"http://127.0.0.1:{own}/-/ready"), 60)
            end = time.monotonic() + 20
            while time.monotonic() < end:
                ask(f"http://127.0.0.1:{port}/predict", row)
                time.sleep(0.1)
            for query in queries(made):
                result = answered(query)
                assert result or any(name in query for name in SILENT), query
        finally:
            watcher.terminate()
