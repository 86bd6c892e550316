"""What a project is deployed and watched with: image, compose file, schedule, alerts, runbook."""

import json
import re
import shutil
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import yaml
from helpers.rendering import render

MODES = ("rest", "grpc", "batch", "streaming", "edge")
SLOS = [
    {},
    {"availability": 0.93, "latency_ms": 1},  # 14.4 x 7 % is more than every request
    {"availability": 0.9999, "window_days": 90, "latency_ms": 60000},
]


@pytest.fixture(scope="module", params=range(len(SLOS)), ids=str)
def watched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("slo") / "p", **SLOS[request.param])


def rules(project: Path) -> list[dict]:
    (group,) = yaml.safe_load((project / "monitoring/alerts.yml").read_text())["groups"]
    return group["rules"]


def test_alerts_follow_the_plan_and_can_fire(watched):
    plan = yaml.safe_load((watched / "plan/plan.yaml").read_text())
    numbers = {k: v["value"] for k, v in plan["computed"]["DEP-02"].items()}
    planned = {k.removeprefix("error_ratio_"): v for k, v in numbers.items() if "ratio" in k}
    found = {}
    for rule in rules(watched):
        if rule["alert"].startswith("ErrorBudgetBurn"):
            limits = set(re.findall(r">= ([\d.e-]+)", rule["expr"]))
            assert len(limits) == 1
            found[rule["alert"].removeprefix("ErrorBudgetBurn")] = float(limits.pop())
    assert found == {hours: pytest.approx(limit, abs=1e-8) for hours, limit in planned.items()}
    assert all(0 < limit <= 1 for limit in found.values())
    slow = next(rule["expr"] for rule in rules(watched) if rule["alert"] == "SlowAnswers")
    assert float(slow.rpartition(">")[2]) == plan["answers"]["latency_ms"] / 1000


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool (package prometheus)")
def test_prometheus_agrees_that_every_alert_fires_and_rests(watched):
    folder = watched / "monitoring"
    for command in (
        ["check", "config", "prometheus.yml"],
        ["test", "rules", "alerts_test.yml"],
    ):
        done = subprocess.run(
            ["promtool", *command], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    tests = (folder / "alerts_test.yml").read_text()
    for rule in rules(watched):
        name = re.escape(rule["alert"])
        assert re.search(rf"alertname: {name}\n", tests), "fires"
        assert re.search(rf"alertname: {name}, .*exp_alerts: \[\]", tests), "rests"


def test_a_changed_threshold_fails_the_alert_tests(tmp_path):
    if not shutil.which("promtool"):
        pytest.skip("needs promtool (package prometheus)")
    project = render(tmp_path / "p")
    path = project / "monitoring/alerts.yml"
    text = path.read_text()
    for old, new in ((">= 0.072", ">= 0.08"), (">= 0.072", ">= 0.06"), ("> 0.1\n", "> 0.3\n")):
        assert old in text
        path.write_text(text.replace(old, new))
        command = ["promtool", "test", "rules", "alerts_test.yml"]
        done = subprocess.run(command, cwd=path.parent, capture_output=True, check=False)
        assert done.returncode != 0, new


class Heard(BaseHTTPRequestHandler):
    """A webhook that keeps what it is told, by its path."""

    told: ClassVar[list[tuple[str, list[str]]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.told.append((self.path, [x["labels"]["alertname"] for x in body["alerts"]]))
        self.send_response(200)
        self.end_headers()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


@pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("prometheus-alertmanager")),
    reason="needs prometheus and prometheus-alertmanager 0.26 or newer",
)
def test_a_live_alert_reaches_who_is_on_call(tmp_path):
    project = render(tmp_path / "p", deployment_modes=["rest"])
    folder = project / "monitoring"
    hook = ThreadingHTTPServer(("127.0.0.1", 0), Heard)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    (folder / "secrets").mkdir()
    for name in ("pages", "tickets"):
        address = f"http://127.0.0.1:{hook.server_address[1]}/{name}"
        (folder / "secrets" / name).write_text(address)
    port = free_port()
    for name, changes in {  # places of the containers become those here, minutes become seconds
        "alertmanager.yml": {"/etc/alertmanager": str(folder), "5s": "0s", "1m": "0s"},
        "prometheus.yml": {"alertmanager:9093": f"127.0.0.1:{port}", "15s": "1s"},
        "alerts.yml": {"for: 5m": "for: 1s"},
    }.items():
        text = (folder / name).read_text()
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        (folder / name).write_text(text)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    manager = subprocess.Popen(
        [
            *("prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml"),
            *(f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="),
            f"--storage.path={tmp_path}/manager",
        ],
        **quiet,
    )
    watcher = subprocess.Popen(
        [
            *("prometheus", f"--config.file={folder}/prometheus.yml"),
            *(f"--web.listen-address=127.0.0.1:{free_port()}", f"--storage.tsdb.path={tmp_path}/d"),
            "--rules.alert.resend-delay=2s",
        ],
        **quiet,
    )
    try:
        until = time.monotonic() + 60
        while not Heard.told and time.monotonic() < until:
            time.sleep(0.2)
    finally:
        for process in (watcher, manager):
            process.terminate()
            process.wait(20)
        hook.shutdown()
    assert Heard.told[0] == ("/pages", ["ModelMissing"])  # no service runs here


@pytest.mark.parametrize("modes", [["rest"], ["batch"], ["rest", "batch"]], ids=str)
def test_each_mode_gets_its_files_and_a_whole_runbook(tmp_path, modes):
    people = modes != ["rest"]
    answers = {"batch_schedule": "*/5 1 * * 1-5", "personal_data": people}
    project = render(tmp_path / "p", deployment_modes=modes, **answers)
    rest, batch = "rest" in modes, "batch" in modes
    assert (project / "deploy/compose.yaml").exists() == (project / "monitoring").exists() == rest
    assert (project / "deploy/crontab").exists() == batch
    if batch:
        lines = (project / "deploy/crontab").read_text().splitlines()
        assert [x for x in lines if x.startswith("*/5 1 * * 1-5 cd ")] == lines[-1:]
    runbook = (project / "docs/runbook.md").read_text()
    headings = re.findall(r"^## (.+)$", runbook, re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", runbook)) <= anchors
    assert ("Errors" in headings, "A batch run failed" in headings) == (rest, batch)
    assert "\n\n\n" not in runbook
    if rest:
        compose = yaml.safe_load((project / "deploy/compose.yaml").read_text())
        passed = compose["services"]["service"].get("environment", [])
        assert passed == ["ML_KEY_SECRET"] * people, "what keys of people are hashed with"
        for service in compose["services"].values():
            volumes = service.get("volumes", [])
            sources = [v["source"] if isinstance(v, dict) else v.split(":")[0] for v in volumes]
            made = {"../models", "../data/predictions"}
            assert all((project / "deploy" / s).exists() for s in sources if s not in made)


@pytest.mark.parametrize("modes", [[m] for m in MODES], ids=str)
def test_the_image_holds_what_serving_needs_and_nothing_else(tmp_path, modes):
    project = render(tmp_path / "p", deployment_modes=modes, python_version="3.13")
    text = (project / "deploy/Dockerfile").read_text()
    stages = re.findall(r"^FROM (.+)", text, re.MULTILINE)
    base = "python:3.13-slim AS"
    packages = f"{modes[0]}-packages"
    given = [f"{base} build", "build AS train", f"{base} serving"]
    assert stages == [*given, f"build AS {packages}", f"serving AS {modes[0]}"]
    trains, serves = text.split("\nFROM ")[2], text.split("\nFROM ")[-1]
    assert f"COPY --link --from={packages} /app/.venv /app/.venv" in serves
    assert "# syntax" not in text and re.search(r"^USER \d{4,}$", text, re.MULTILINE)
    syncs = re.findall(r"uv sync (.*)", text)
    assert [sync.startswith("--locked --no-default-groups --group train") for sync in syncs] == [
        True,
        *(False, False),
    ]
    assert "group train" not in serves and 'CMD ["run"]' in trains
    assert all("--locked" in sync and "--no-default-groups" in sync for sync in syncs)
    allowed = (project / ".dockerignore").read_text().splitlines()
    sources = {
        source
        for line in re.findall(r"^COPY (?!--link)(?:--chown=\S+ )?(.*) \S+$", text, re.MULTILINE)
        for source in line.split()
    }
    for source in sources:
        assert any(
            name[1:].split("/")[0] == source.split("/")[0] for name in allowed if name[:1] == "!"
        ), source
        made = ("uv.lock", "models", "contracts/predict.proto")
        assert source in made or (project / source).exists()
    last = {
        "rest": 'CMD ["ml", "serve"]',
        "grpc": 'CMD ["ml", "grpc", "serve"]',
        "streaming": 'CMD ["ml", "stream", "run"]',
        "batch": 'ENTRYPOINT ["ml", "score"]',
        "edge": 'ENTRYPOINT ["ml", "edge", "collect"]',
    }
    assert text.rstrip().endswith(last[modes[0]])
    assert ("--start-period" in text) == (modes[0] in ("rest", "grpc", "streaming"))
