"""Seconds from `ml promote` and `ml rollback` to the answers of that version, under load, by mode.

`uv run benchmarks/rollback.py [PROJECT]` takes a project with REST, gRPC and streaming and two
versions, the first champion; without one it makes one. Broker and PostgreSQL are those of the tests
(it needs PostgreSQL installed). Four callers ask each service without a pause; a sender gives the
topic 200 messages a second. What fails, and what a table lacks or has twice, is counted.
"""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.append(sys.path.pop(0))  # grpc is the library, not the benchmark beside this one
import grpc
import psycopg
from common import ROOT, call, render

sys.path.insert(0, str(ROOT / "tests"))
from helpers.stream import Broker, Postgres

CALLERS, WAIT = 4, 8.0
BROKEN = (OSError, ValueError, http.client.HTTPException, grpc.RpcError)
PORTS = {"rest": 8921, "grpc": 8922, "grpc metrics": 8923, "stream": 8924}
MESSAGE = """
import json, sys
from pathlib import Path
from google.protobuf import json_format
from {package}.engine.serving import proto
from {package}.engine.settings import Project
to = proto.of(Project(Path.cwd()))
rows = json.loads(sys.argv[1])
message = json_format.ParseDict({{"rows": rows}}, to.request())
print(to.service, message.SerializeToString().hex())
"""


class Answer(NamedTuple):
    """When an answer came, which version gave it ("" for none), and how long it took."""

    at: float
    version: str
    seconds: float


def asking(ask: Callable[[], str], stop: threading.Event, found: list[Answer]) -> None:
    """Ask until the stop; a call that fails counts as an answer of no version."""
    while not stop.is_set():
        start = time.monotonic()
        try:
            version = ask()
        except BROKEN:
            version = ""
        found.append(Answer(time.monotonic(), version, time.monotonic() - start))


def rest(row: dict[str, object]) -> Callable[[], str]:
    """Return what asks the HTTP service."""
    body = json.dumps(row).encode()
    url = f"http://127.0.0.1:{PORTS['rest']}/predict"

    def ask() -> str:
        request = urllib.request.Request(url, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)["model_version"]

    return ask


def rpc(service: str, message: bytes) -> Callable[[], str]:
    """Return what asks the gRPC service; the version is the first field of the answer."""
    channel = grpc.insecure_channel(f"127.0.0.1:{PORTS['grpc']}")
    method = channel.unary_unary(f"/{service}/Predict")

    def ask() -> str:
        answer = method(message, timeout=10)
        return answer[2 : 2 + answer[1]].decode()

    return ask


def switched(answers: list[Answer], moment: float, version: str) -> float:
    """Return the seconds from a moment on after which all answers are of the version."""
    after = [answer for answer in answers if moment <= answer.at < moment + WAIT]
    others = [answer.at for answer in after if answer.version not in (version, "")]
    last = max(others, default=moment)
    seconds = [a.at - moment for a in after if a.at >= last and a.version == version]
    return min(seconds, default=float("nan"))


def main(given: list[str]) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        project = Path(given[0]) if given else Path(name) / "project"
        if not given:
            render(project, deployment_modes="[rest, grpc, streaming]")
        package = next(path.name for path in (project / "src").iterdir())
        env = {"PYTHONPATH": str(project / "src"), "ML_TRAINING__TRACK": "false"}

        def ml(*words: str, check: bool = True) -> None:
            call(sys.executable, "-m", package, *words, cwd=project, check=check, **env)

        if not given:
            ml("run")
            ml("train")
            ml("evaluate", "v2", check=False)
        broker, postgres = Broker(), Postgres()
        try:
            measure(project, package, env, ml, broker, postgres)
        finally:
            broker.close()
            postgres.close()


def measure(
    project: Path,
    package: str,
    env: dict[str, str],
    ml: Callable[..., None],
    broker: Broker,
    postgres: Postgres,
) -> None:
    """Start the modes and the load, promote, roll back, print what callers and table saw."""
    rows = json.loads((project / "models/v1/golden.json").read_text())["rows"]
    code = MESSAGE.format(package=package)
    _, said = call(sys.executable, "-c", code, json.dumps(rows[:1]), cwd=project, **env)
    service, message = said.split()
    topic = broker.topic("rows", 4)
    told = {"ML_STREAM_BROKERS": broker.address, "ML_STREAM_DATABASE": postgres.address}
    told |= {"ML_STREAM_TOPIC": topic, "ML_STREAM_METRICS_PORT": str(PORTS["stream"])}
    env |= told
    ml("stream", "table", "--create")
    commands = [
        ["serve", "--port", str(PORTS["rest"])],
        ["grpc", "serve", "--port", str(PORTS["grpc"])],
        ["stream", "run"],
    ]
    commands[1] += ["--metrics-port", str(PORTS["grpc metrics"])]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", package, *words],
            cwd=project,
            env={**os.environ, **env},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for words in commands
    ]
    asks = {"rest": rest(rows[0]), "grpc": rpc(service, bytes.fromhex(message))}
    stop, found = threading.Event(), {mode: [] for mode in asks}
    threads = [
        threading.Thread(target=asking, args=(ask, stop, found[mode]))
        for mode, ask in asks.items()
        for _ in range(CALLERS)
    ]
    sent: list[float] = []

    def send() -> None:
        while not stop.wait(0.1):
            broker.send(topic, *(rows[n % len(rows)] for n in range(20)))
            sent.extend([time.time()] * 20)

    threads.append(threading.Thread(target=send))
    try:
        for ask in asks.values():
            _wait(ask)
        for thread in threads:
            thread.start()
        time.sleep(WAIT)
        moments = []
        for words in (["promote", "v2", "--force", "benchmark"], ["rollback"]):
            ml(*words)
            moments.append((time.monotonic(), time.time()))
            time.sleep(WAIT)
        stop.set()
        for thread in threads:
            thread.join()
        time.sleep(WAIT)  # the consumer takes what is left
        stored = _stored(postgres)
    finally:
        stop.set()
        for process in running:
            process.terminate()
        for process in running:
            process.wait(60)
    show(found, stored, moments, len(sent))


def show(
    found: dict[str, list[Answer]],
    stored: list[tuple[float, str, float, str]],
    moments: list[tuple[float, float]],
    sent: int,
) -> None:
    """Print the table; a moment has the clock of the callers and that of PostgreSQL."""
    found["stream"] = [Answer(at, version, took) for at, version, took, _ in stored]
    origins = {origin for *_, origin in stored}
    lost, twice = sent - len(origins), len(stored) - len(origins)
    print(f"load {os.getloadavg()[0]:.0f}\n")
    print("| Mode | Answers | Bad | Slowest, s | Promoted, s | Taken back, s |")
    print("|---|---|---|---|---|---|")
    for mode, answers in found.items():
        place = 1 if mode == "stream" else 0
        seconds = [
            switched(answers, m[place], v) for m, v in zip(moments, ("v2", "v1"), strict=True)
        ]
        failed = sum(not answer.version for answer in answers)
        bad = f"{lost} lost, {twice} twice" if mode == "stream" else f"{failed} failed"
        slowest = max(answer.seconds for answer in answers)
        both = " | ".join(f"{value:.2f}" for value in seconds)
        print(f"| {mode} | {len(answers)} | {bad} | {slowest:.3f} | {both} |")


def _wait(ask: Callable[[], str]) -> None:
    for _ in range(300):
        try:
            ask()
        except BROKEN:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("a service does not answer")


def _stored(postgres: Postgres) -> list[tuple[float, str, float, str]]:
    with psycopg.connect(postgres.address) as connection:
        text = (
            "SELECT extract(epoch FROM stored_at)::float8, model_version, "
            "extract(epoch FROM stored_at - sent_at)::float8, origin FROM predictions"
        )
        return connection.execute(text).fetchall()


main(sys.argv[1:])
