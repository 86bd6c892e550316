"""The load test and the limits of a model: what they measure, and when they say no."""

import asyncio
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import helpers.bundles as small
import pytest
import yaml
from helpers.service import free_port, process
from starlette.testclient import TestClient

from package_name.engine import bench, settings, storage
from package_name.engine.errors import CheckFailed, ProjectError
from package_name.engine.model import registry
from package_name.engine.model.scorer import Scorer, read_golden
from package_name.engine.serving import grpc, grpc_load, load, proto, rest, rest_load
from package_name.engine.settings import Project

ANSWER = b"HTTP/1.1 %d x\r\ncontent-length: 2\r\n\r\n{}"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("load")
    made = small.project(root)
    plan = yaml.safe_load((root / "plan/plan.yaml").read_text())
    plan["answers"] = {"latency_ms": 2000, "deployment_modes": ["rest"], "availability": 0.99}
    plan["answers"]["peak_qps"] = 40
    storage.write_text(root / "plan/plan.yaml", yaml.safe_dump(plan))
    small.train(made, rows=600)
    registry.promote(made, "v1")
    return Project(root)


@contextmanager
def really(project: Project, way: Any = None) -> Iterator[tuple[int, int]]:
    """Run the service as `ml serve` does."""
    port = free_port()
    with process(project, port) as running:
        while not load._answers(port):
            assert running.poll() is None
        yield port, running.pid


def stub(answer: Callable[[int], tuple[float, int]]) -> Callable[[Project], Any]:
    """Return a service that answers one request after the other, as told by its number."""

    @contextmanager
    def service(_: Project, way: Any) -> Iterator[tuple[int, Any]]:
        loop = asyncio.new_event_loop()
        one = asyncio.Lock()
        count = iter(range(10**9))

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.IncompleteReadError, asyncio.CancelledError):  # who goes away
                while await reader.readuntil(b"\r\n\r\n"):
                    async with one:
                        seconds, status = answer(next(count) - load.WARM_UP)
                        await asyncio.sleep(seconds)
                    await reader.readuntil(b"}")
                    writer.write(ANSWER % status)

        async def begin() -> int:
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            return server.sockets[0].getsockname()[1]

        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        port = asyncio.run_coroutine_threadsafe(begin(), loop).result(10)
        yield port, os.getpid()

        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    return service


def test_the_service_holds_the_planned_peak(project: Project, monkeypatch: Any) -> None:
    monkeypatch.setattr(load, "_service", really)
    report = load.run(project, 2)
    assert report["planned"] == report["requests"] == 80 and report["failed"] == 0
    assert 0 < report["ms"]["p50"] <= report["ms"]["p99"] <= report["ms"]["most"]
    assert report["memory_mb"]["end"] > 10
    assert json.loads(project.path(load.REPORT).read_text())["statuses"] == {"200": 80}
    assert load.told(report).startswith("80 requests, 0 failed; p50")


def test_what_a_service_asks_of_callers_is_not_asked_of_the_test(
    project: Project, tmp_path: Path, monkeypatch: Any
) -> None:
    shutil.copytree(project.root, tmp_path / "p")
    storage.write_text(tmp_path / "p/keys", f"{'0' * 64} nobody\n")
    asked = {"api_keys": "keys", "jwt_audience": "churn", "jwt_issuer": "us", "metrics_port": 1}
    asked["fallback"] = {"probability": 0.5, "decision": False}
    storage.write_text(tmp_path / "p/config.yaml", yaml.safe_dump({"serving": asked}))
    monkeypatch.setenv("ML_JWT_KEY", "a secret of forty characters and no less")
    for name, value in load.ALONE.items():
        monkeypatch.setenv(name, value)
    made = Project(tmp_path / "p")
    usual = settings.Serving(log_predictions=False)
    assert made.config.serving == usual
    with TestClient(rest.create_app(made)) as client:
        row = read_golden(made.path("models/v1"), Scorer.load(made.path("models/v1")).columns).rows[
            0
        ]
        assert client.post("/predict", json=dict(row)).status_code == 200


def test_the_grpc_service_is_asked_by_its_own_calls(project: Project, tmp_path: Path) -> None:
    shutil.copytree(project.root, tmp_path / "p")
    plan = yaml.safe_load((tmp_path / "p/plan/plan.yaml").read_text())
    plan["answers"]["deployment_modes"] = ["grpc", "rest"]
    storage.write_text(tmp_path / "p/plan/plan.yaml", yaml.safe_dump(plan))
    made = Project(tmp_path / "p")
    proto.write(made)
    with serving(made) as (port, pid), pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "_service", lambda *_: nullcontext((port, pid)))
        report = load.run(made, 2)
        assert report["mode"] == "grpc" and report["statuses"] == {"OK": 80}
        patch.setattr(grpc_load, "bodies", lambda *_: [b"no message"])
        with pytest.raises(CheckFailed, match=r"80 of 80 requests failed: .*INVALID_ARGUMENT"):
            load.run(made, 2, mode="grpc")
    assert load.way_of(made, "rest") == ("rest", rest_load)
    with pytest.raises(ProjectError, match="--mode batch: give grpc or rest"):
        load.way_of(made, "batch")


@pytest.mark.parametrize(("way", "said"), [(rest_load, "ml serve"), (grpc_load, "ml grpc serve")])
def test_a_service_that_does_not_start_is_said_with_its_command(
    project: Project, monkeypatch: pytest.MonkeyPatch, way: Any, said: str
) -> None:
    ended = SimpleNamespace(poll=lambda: 2, pid=0)
    monkeypatch.setattr(load, "beside", lambda *_: nullcontext(ended))
    with (
        pytest.raises(ProjectError, match=f"does not start: `{said}` says why"),
        load._service(project, way),
    ):
        pass


@contextmanager
def serving(project: Project) -> Iterator[tuple[int, int]]:
    """Run the gRPC service in this process."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def done(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    async def begin() -> grpc.Server:
        server = grpc.Server(grpc.create_app(project), "127.0.0.1:0", None)
        await server.start()
        return server

    server = done(begin())
    yield server.port, os.getpid()
    done(server.stop())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def test_a_stall_counts_for_all_who_waited(project: Project, monkeypatch: Any) -> None:
    """One answer of 80 takes a second; the 40 that were due meanwhile waited for it."""
    monkeypatch.setattr(load, "_service", stub(lambda n: (1.0 if n == 10 else 0.0, 200)))
    report = load.run(project, 2)
    assert report["ms"]["most"] > 900 and report["ms"]["p95"] > 500


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda n: (0, 503 if n % 10 == 0 else 200), r"8 of 80 requests failed: {'200': 72, '503'"),
        (lambda n: (0.1, 200), "99 % of the answers take up to .* ms, more than latency_ms 2.000"),
    ],
    ids=["failures", "too slow"],
)
def test_what_does_not_hold_is_said(
    project: Project, monkeypatch: Any, answer: Any, said: str
) -> None:
    monkeypatch.setattr(load, "_service", stub(answer))
    with pytest.raises(CheckFailed, match=f"v1 under load: .*{said}"):
        load.run(project, 2)


def test_memory_that_grows_fails_a_long_run() -> None:
    report: dict[str, Any] = {"ms": {"p99": 1.0}, "limits": {"latency_ms": 9, "failed_share": 0.1}}
    report |= {"failed": 0, "requests": 9, "planned": 9, "statuses": {}}
    report |= {"memory_mb": {"begin": 100.0, "end": 141.0}, "seconds": 300}
    assert load._reasons(report) == ["memory grew from 100 to 141 MB"]
    assert not load._reasons(report | {"seconds": 299})
    assert not load._reasons(report | {"memory_mb": {"begin": 100.0, "end": 139.0}})


def test_a_connection_that_the_service_closed_is_not_used_again() -> None:
    """Services close what is idle for a minute; who asks then opens another one."""

    async def main() -> list[str]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"}")
            writer.write(ANSWER % 200)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        caller = rest_load.Caller(server.sockets[0].getsockname()[1], 5)
        found = []
        for _ in range(3):
            found.append(await caller.ask(b"{}"))
            await asyncio.sleep(0.05)
        server.close()
        found.append(await caller.ask(b"{}"))
        await caller.close()
        return found

    assert asyncio.run(main()) == ["200", "200", "200", "0"]


@pytest.mark.nightly
def test_ten_minutes_at_the_planned_peak(project: Project, monkeypatch: Any) -> None:
    monkeypatch.setattr(load, "_service", really)
    report = load.run(project, 600)
    assert report["failed"] == 0 and report["requests"] == 24_000
    print(load.told(report), report["memory_mb"])


def test_a_model_that_takes_up_too_much_fails_the_benchmark(project: Project) -> None:
    measured = {"single_row_ms": {"p99": 1.0}, "model_mb": 201.0, "memory_mb": 449.0}
    assert bench._over(project, measured, 5.0) == [
        "the model has 201 MB, more than bench.max_model_mb 200",
        "a process takes 449 MB and 64 MB for requests, more than bench.max_memory_mb 512",
    ]
    assert not bench._over(project, measured | {"model_mb": 199.0, "memory_mb": 448.0}, 5.0)
    assert not bench._over(project, measured | {"model_mb": 1.0, "memory_mb": None}, 5.0)
    limits = Path("config.yaml")
    storage.write_text(project.root / limits, "bench: {max_model_mb: 300, max_memory_mb: 600}\n")
    try:
        assert not bench._over(Project(project.root), measured, 5.0)
    finally:
        (project.root / limits).unlink()
