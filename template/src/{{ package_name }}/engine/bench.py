"""What the champion costs to run: latency, throughput, size, memory and cold start."""

import importlib
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from . import progress, scorecard, storage
from .errors import CheckFailed
from .formats import number
from .git import start
from .model import registry
from .model.scorer import Golden, Scorer, read_golden
from .report import evaluation_page
from .settings import Project, find_project
from .threads import workers

SECONDS = 1.0  # of each measurement
WARM_UP = 200
BATCH_ROWS = 20_000


def run(project: Project) -> dict[str, Any]:
    """Measure the champion and write reports/bench.json.

    CheckFailed when the service's 99th percentile is above the plan's latency_ms, or model or
    memory above the limits of config.yaml.
    """
    facts = project.facts
    used = facts.note()
    limit = facts.latency_ms if _services(project) else float("inf")
    folder = registry.champion_folder(project)
    scorer = Scorer.load(folder)
    golden = read_golden(folder, scorer.columns)
    threads = workers(project.config.training.threads)
    progress.tell("timing single rows")
    single = _single_row_ms(scorer, golden)
    progress.tell("starting a new process")
    fresh = [_fresh_process(project, mode) for mode in _services(project) or [""]]
    memory = [process["memory_mb"] for process in fresh if process["memory_mb"] is not None]
    progress.tell("timing batches and rivals")
    encoded = scorer.encode_rows([msgspec.convert(r, scorer.row_type) for r in golden.rows])
    report = {
        "version": scorer.version,
        "run": scorer.manifest.run,
        "made_up": registry.made_up(folder),
        "plan": used,
        "single_row_ms": single,
        "batch_rows_per_s": _batch_rows_per_s(
            Scorer.load(folder, threads=threads), encoded, golden
        ),
        "model_mb": (folder / "model_encoded.onnx").stat().st_size / 1e6,
        "memory_mb": max(memory, default=None),
        "cold_start_ms": max(process["cold_start_ms"] for process in fresh),
        "scorecard": scorecard.judge(project, folder, scorer, encoded),
        "cpu": platform.processor() or platform.machine(),
        "threads": threads,
    }
    storage.write_json(project.path("reports/bench.json"), report)
    if project.path("reports/evaluation.html").exists():
        evaluation_page(project)
    if reasons := _over(project, report, limit):
        raise CheckFailed(
            f"{scorer.version}: {'; '.join(reasons)}: train fewer members or rounds, or change "
            "the limit"
        )
    return report


def _over(project: Project, report: dict[str, Any], latency_ms: float) -> list[str]:
    """Say which limits do not hold; a service may also hold requests of its callers."""
    limits, p99, found = project.config.bench, report["single_row_ms"]["p99"], []
    if p99 > latency_ms:
        found.append(
            f"99 % of single rows take up to {number(p99)} ms, more than latency_ms "
            f"{number(latency_ms)}"
        )
    if report["model_mb"] > limits.max_model_mb:
        found.append(
            f"the model has {number(report['model_mb'], 1)} MB, more than bench.max_model_mb "
            f"{number(limits.max_model_mb)}"
        )
    held = project.config.serving.max_held_mb if _services(project) else 0.0
    if report["memory_mb"] is not None and report["memory_mb"] + held > limits.max_memory_mb:
        requests = f" and {number(held)} MB for requests" if held else ""
        found.append(
            f"a process takes {number(report['memory_mb'])} MB{requests}, more than "
            f"bench.max_memory_mb {number(limits.max_memory_mb)}"
        )
    return found


def _services(project: Project) -> list[str]:
    """Return the modes that callers wait for."""
    sources = Path(__file__).parent / "serving"
    modes = project.facts.deployment_modes
    return [
        mode for mode in modes if "def create_app(" in (sources / f"{mode}.py").read_text("utf-8")
    ]


def _single_row_ms(scorer: Scorer, golden: Golden) -> dict[str, float]:
    """Time a row from request bytes to answer bytes, in one thread: percentiles in ms."""
    bodies = [msgspec.json.encode(row) for row in golden.rows]
    decode = msgspec.json.Decoder(scorer.row_type).decode
    taken: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(taken) < 2 * WARM_UP or time.perf_counter() < end:
        body = bodies[len(taken) % len(bodies)]
        start = time.perf_counter()
        scores = scorer.score_rows([decode(body)])
        msgspec.json.encode([column.tolist() for column in scores.values()])
        taken.append(time.perf_counter() - start)
    p50, p95, p99 = np.percentile(np.array(taken[WARM_UP:]) * 1000, [50, 95, 99])
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99)}


def _batch_rows_per_s(scorer: Scorer, encoded: NDArray[np.float32], golden: Golden) -> float:
    """Return rows scored per second, in as many threads as may be.

    They are encoded already, unless texts or images are read, which takes longer than all else.
    """
    matrix = np.tile(encoded, (BATCH_ROWS // len(encoded) + 1, 1))
    scorer.predict(matrix)
    taken = _seconds_a_row(len(matrix), lambda: scorer.predict(matrix))
    if scorer.spec.words:
        rows = list(map(scorer.read_row, golden.rows))
        taken += _seconds_a_row(len(rows), lambda: scorer.encode_rows(rows, golden.history))
    return 1 / taken


def _seconds_a_row(rows: int, call: Callable[[], object]) -> float:
    """Return what each of the rows of a call takes, called again and again."""
    start, count = time.perf_counter(), 0
    while (seconds := time.perf_counter() - start) < SECONDS:
        call()
        count += rows
    return seconds / count


def _fresh_process(project: Project, mode: str) -> dict[str, Any]:
    """Return the resident memory of a new process of this mode, and how long it took to be ready.

    What a service writes when it starts first, such as its interface, is then there for its image.
    """
    started = time.perf_counter()
    path = {"PYTHONPATH": str(Path(__file__).parents[2])}
    code, output, errors = start([sys.executable, "-m", __name__, mode], project.root, path)
    taken = (time.perf_counter() - started) * 1000
    if code:
        reason = (errors.strip().splitlines() or ["it gave no reason"])[-1]
        raise CheckFailed(f"a new process cannot score: {reason}")
    memory = msgspec.json.decode(output)
    return {"cold_start_ms": taken, "memory_mb": memory}


def _become_ready() -> None:
    """Do what a serving process does until its first prediction; print its memory in MB."""
    project, mode = find_project(), sys.argv[1]
    if mode:
        importlib.import_module(f".serving.{mode}", __package__).create_app(project)
    else:
        Scorer.load(registry.champion_folder(project))
    status = Path("/proc/self/statm")  # Linux has it, others not
    pages = int(status.read_text().split()[1]) if status.exists() else None
    print("null" if pages is None else pages * os.sysconf("SC_PAGE_SIZE") / 1e6)


if __name__ == "__main__":
    _become_ready()
