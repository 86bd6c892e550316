"""A load test: the service in a process of its own, asked as often as at the planned peak.

Requests begin at fixed times, whether or not earlier ones are answered, and each is timed from when
it was due: a service that falls behind cannot hide it (coordinated omission, Tene 2015). Load and
service share the machine, so what passes here has some room left.
"""

import asyncio
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .. import progress, storage
from ..errors import CheckFailed, ProjectError
from ..formats import number
from ..git import beside
from ..model import registry
from ..model.scorer import Scorer, read_golden
from ..settings import Project

REPORT = "reports/load.json"
START_SECONDS = 60
ANSWER_SECONDS = 30.0
WARM_UP = 50  # requests before the clock runs
KEPT_UP = 0.99  # share of the planned requests that must have been sent when the time is over
GROWTH = 1.2, 20.0  # of memory: times and MB more than after the first tenth are too much
# Of a service that only the test asks: no log or trace, which would take requests for real ones, no
# keys, and no answer where scoring breaks. An empty text would be no value of YAML.
ALONE = {
    "ML_SERVING__LOG_PREDICTIONS": "false",
    "ML_SERVING__API_KEYS": '""',
    "ML_SERVING__JWT_AUDIENCE": '""',
    "ML_SERVING__JWT_ISSUER": '""',
    "ML_SERVING__METRICS_PORT": "0",
    "ML_SERVING__FALLBACK": "{}",
    "ML_JWT_KEY": "",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "",
}
LONG_SECONDS = 300  # below, memory is told and not judged


class Way(Protocol):
    """How a service is asked: a module for each, by the name of its mode."""

    GOOD: str

    def command(self, port: int) -> list[str]:
        """Return the command of `ml` that serves on this port."""

    def bodies(self, project: Project, rows: Sequence[dict[str, Any]]) -> list[bytes]:
        """Return a request for each row."""

    def open(self, project: Project, port: int, seconds: float) -> "Caller":
        """Return who asks, and waits so long for an answer; within the event loop."""


class Caller(Protocol):
    """Who asks, with as many connections as it takes."""

    async def ask(self, body: bytes) -> str:
        """Return the status of an answer."""

    async def close(self) -> None:
        """End all connections."""


def way_of(project: Project, mode: str | None) -> tuple[str, Way]:
    """Return a mode and how its service is asked; ProjectError for one that is not asked."""
    folder = Path(__file__).parent
    there = [m for m in project.facts.deployment_modes if (folder / f"{m}_load.py").is_file()]
    if mode not in (None, *there):
        raise ProjectError(f"--mode {mode}: give {' or '.join(there)}")
    chosen = mode or there[0]
    found: Any = import_module(f".{chosen}_load", __package__)
    return chosen, found


def run(
    project: Project, seconds: float, rate: float | None = None, mode: str | None = None
) -> dict[str, Any]:
    """Ask the champion's service at the planned peak, or `rate` a second; write reports/load.json.

    The service is that of `mode`, or of the first one that the plan has.

    CheckFailed when more than 1 % of the answers take longer than latency_ms, more fail than the
    plan's availability allows, requests fall behind, or memory grows.
    """
    answers = project.plan.answers
    mode, way = way_of(project, mode)
    rate = rate or float(answers["peak_qps"])
    folder = registry.champion_folder(project)
    scorer = Scorer.load(folder)
    rows = read_golden(folder, scorer.columns).rows
    bodies = way.bodies(project, rows)
    with _service(project, way) as (port, pid):
        progress.tell(f"{number(rate)} requests a second for {number(seconds)} s")
        measured = asyncio.run(_load(project, way, port, pid, bodies, rate, seconds))
    limits = {
        "latency_ms": project.facts.latency_ms,
        "failed_share": round(1 - float(answers["availability"]), 9),
    }
    report: dict[str, Any] = {
        "version": scorer.version,
        "run": scorer.manifest.run,
        "made_up": registry.made_up(folder),
        "mode": mode,
        "rate": rate,
        "seconds": seconds,
        **measured,
        "limits": limits,
    }
    report["reasons"] = _reasons(report)
    storage.write_json(project.path(REPORT), report)
    if report["reasons"]:
        raise CheckFailed(f"{scorer.version} under load: {'; '.join(report['reasons'])}")
    return report


def _reasons(report: dict[str, Any]) -> list[str]:
    """Say what does not hold."""
    found, limits, requests = [], report["limits"], report["requests"]
    if report["ms"]["p99"] > limits["latency_ms"]:
        found.append(
            f"99 % of the answers take up to {number(report['ms']['p99'], 1)} ms, more than "
            f"latency_ms {number(limits['latency_ms'])}"
        )
    if report["failed"] > limits["failed_share"] * requests:
        found.append(f"{report['failed']} of {requests} requests failed: {report['statuses']}")
    if requests < KEPT_UP * report["planned"]:
        found.append(f"{requests} of {report['planned']} planned requests were answered in time")
    times, more = GROWTH
    begin, end = report["memory_mb"]["begin"], report["memory_mb"]["end"]
    if report["seconds"] >= LONG_SECONDS and begin and end > times * begin + more:
        found.append(f"memory grew from {number(begin)} to {number(end)} MB")
    return found


async def _load(
    project: Project,
    way: Way,
    port: int,
    pid: int,
    bodies: list[bytes],
    rate: float,
    seconds: float,
) -> dict[str, Any]:
    """Send the requests; return what came of them."""
    caller = way.open(project, port, ANSWER_SECONDS)
    for count in range(WARM_UP):
        await caller.ask(bodies[count % len(bodies)])
    planned = max(1, round(rate * seconds))
    taken = np.full(planned, np.nan)
    statuses: Counter[str] = Counter()
    memory: list[float | None] = []
    began = time.perf_counter()

    async def one(place: int, due: float) -> None:
        status = await caller.ask(bodies[place % len(bodies)])
        taken[place] = time.perf_counter() - due
        statuses[status] += 1

    tasks: set[asyncio.Task[None]] = set()
    for place in range(planned):
        due = began + place / rate
        if (ahead := due - time.perf_counter()) > 0:
            await asyncio.sleep(ahead)
        task = asyncio.create_task(one(place, due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        if place in (planned // 10, planned - 1):
            memory.append(_memory_mb(pid))
    await asyncio.gather(*tasks)
    lasted = time.perf_counter() - began
    await caller.close()
    answered = taken[~np.isnan(taken)] * 1000
    p50, p95, p99 = np.percentile(answered, [50, 95, 99])
    in_time = int((taken + np.arange(planned) / rate < seconds + ANSWER_SECONDS / 10).sum())
    return {
        "planned": planned,
        "requests": in_time,
        "rate_reached": planned / lasted,
        "failed": planned - statuses[way.GOOD],
        "statuses": dict(sorted(statuses.items())),
        "ms": {"p50": p50, "p95": p95, "p99": p99, "most": float(answered.max())},
        "memory_mb": {"begin": memory[0], "end": memory[-1]},
    }


def _memory_mb(pid: int) -> float | None:
    """Return the resident memory of a process in MB; None where only Linux would know."""
    with suppress(OSError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return None


@contextmanager
def _service(project: Project, way: Way) -> Iterator[tuple[int, int]]:
    """Run the service for this test alone; give its port and its process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    package = __package__.partition(".")[0]
    command = [sys.executable, "-m", package, *way.command(port)]
    source = str(Path(__file__).parents[3])
    paths = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH", "")]))
    with beside(command, project.root, {**ALONE, "PYTHONPATH": paths}) as process:
        end = time.monotonic() + START_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > end:
                asked = " ".join(way.command(port)).partition(" --")[0]
                raise ProjectError(f"the service does not start: `ml {asked}` says why")
            time.sleep(0.1)
        yield port, process.pid


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False


def told(report: dict[str, Any]) -> str:
    """Return a report in words."""
    ms, memory = report["ms"], report["memory_mb"]
    grown = f", {number(memory['end'])} MB" if memory["end"] else ""
    return (
        f"{number(report['planned'])} requests, {report['failed']} failed; p50 "
        f"{number(ms['p50'], 1)} ms, p99 {number(ms['p99'], 1)} ms{grown}: {REPORT}"
    )
