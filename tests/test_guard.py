"""Callers that take too much of the service: slow, silent, endless, many; the others are served."""

import json
import resource
import shutil
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import helpers.bundles as small
import pytest
import yaml
from helpers.service import free_port, process, until

from package_name.engine import storage
from package_name.engine.model import registry
from package_name.engine.serving import guard
from package_name.engine.serving.refusal import Refused
from package_name.engine.settings import Project

ROW = {"amount": 12.5, "calls": 2, "plan": "basic", "online": True, "since": "2026-03-01"}
HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
GOOD = HEAD % len(json.dumps(ROW)) + json.dumps(ROW).encode()
CHUNKED = b"transfer-encoding: chunked"
LIMITS = {"read_seconds": 1, "max_connections": 120, "max_held_mb": 8}


class Running:
    """A service with small limits."""

    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self.pid = pid

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def ask(self, content: bytes = GOOD) -> bytes:
        """Send a request on a connection of its own; return the whole answer."""
        with self.connect() as caller:
            with suppress(BrokenPipeError, ConnectionResetError):
                caller.sendall(content)
            return whole(caller)

    def memory(self) -> int:
        """Return the bytes of memory that the service has."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            return answer.read().decode()


def whole(caller: socket.socket) -> bytes:
    """Return an answer, which ends as its content-length says or with the connection."""
    found = b""
    with suppress(ConnectionResetError):
        while part := caller.recv(65_536):
            found += part
            head, _, body = found.partition(b"\r\n\r\n")
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:") and len(body) >= int(line.split(b":")[1]):
                    return found
    return found


def ended(caller: socket.socket) -> bytes:
    """Read until the other side closes."""
    found = b""
    with suppress(ConnectionResetError):
        while part := caller.recv(65_536):
            found += part
    return found


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("guarded")
    made = small.project(root)
    plan = yaml.safe_load((root / "plan/plan.yaml").read_text())
    plan["answers"] = {"latency_ms": 100, "deployment_modes": ["rest", "batch"]}
    storage.write_text(root / "plan/plan.yaml", yaml.safe_dump(plan))
    storage.write_text(root / "config.yaml", yaml.safe_dump({"serving": LIMITS}))
    small.train(made, rows=600, seed=0)
    registry.promote(made, "v1")
    port = free_port()
    with process(Project(root), port) as child:
        running = Running(port, child.pid)

        def answers() -> bool:
            with suppress(OSError):
                return running.ask().startswith(b"HTTP/1.1 200")
            return False

        until(answers, 60)
        yield running
    shutil.rmtree(root)


SLOW = {
    "silent": b"",
    "half a head": b"POST /predict HTTP/1.1\r\nhost: x\r\nx-a: ",
    "half a body": GOOD[:-20],
    "half a body of a page that reads none": b"GET /health HTTP/1.1\r\ncontent-length: 9\r\n\r\n",
    "chunks without an end": HEAD.replace(b"content-length: %d", CHUNKED) + b"1\r\n{\r\n",
    "behind a whole request": GOOD + b"POST /predict",
}


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW)
def test_slow_callers_are_let_go_and_the_others_are_served(service: Running, sent: bytes) -> None:
    with ExitStack() as held:
        callers = [held.enter_context(service.connect()) for _ in range(40)]
        for caller in callers:
            caller.sendall(sent)
        start = time.monotonic()
        assert all(service.ask().startswith(b"HTTP/1.1 200") for _ in range(10))
        answers = [ended(caller) for caller in callers]
        assert time.monotonic() - start < 6
    assert {answer.rpartition(b"HTTP/1.1 ")[2][:3] for answer in answers} == {b"408"}
    assert b"send the whole request within 1 seconds" in answers[0]
    assert '{status="408"}' in service.metrics()


def test_a_drop_now_and_then_does_not_keep_a_request_open(service: Running) -> None:
    with service.connect() as caller:
        start = time.monotonic()
        with suppress(BrokenPipeError, ConnectionResetError):
            for byte in GOOD:
                caller.sendall(bytes([byte]))
                time.sleep(0.1)
        assert time.monotonic() - start < 6
        assert ended(caller).startswith(b"HTTP/1.1 408")


def test_a_caller_that_does_not_read_is_let_go(service: Running) -> None:
    rows = json.dumps([ROW] * 1000).encode()
    many = (HEAD % len(rows) + rows) * 40
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.connect(("127.0.0.1", service.port))
        thread = threading.Thread(target=lambda: _try_to_send(caller, many), daemon=True)
        thread.start()
        thread.join(15)
        assert not thread.is_alive()  # it was cut off in the middle
    assert service.ask().startswith(b"HTTP/1.1 200")


def _try_to_send(caller: socket.socket, content: bytes) -> None:
    with suppress(OSError):
        caller.sendall(content)


def test_headers_are_bounded(service: Running) -> None:
    flood = b"POST /predict HTTP/1.1\r\n" + b"x-a: " + b"a" * 1000 + b"\r\n"
    with service.connect() as caller:
        with suppress(BrokenPipeError, ConnectionResetError):
            caller.sendall(flood)
            for _ in range(100):
                caller.sendall(b"x-b: " + b"b" * 1000 + b"\r\n")
                time.sleep(0.001)
        assert ended(caller).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize("size", [40_000, 200_000])
def test_one_large_header_is_told_apart_from_no_http(service: Running, size: int) -> None:
    large = b"POST /predict HTTP/1.1\r\nx-a: " + b"a" * size + b"\r\n\r\n"
    with service.connect() as caller:
        with suppress(BrokenPipeError, ConnectionResetError):
            caller.sendall(large)
        assert ended(caller).startswith(b"HTTP/1.1 431")
    with service.connect() as caller:
        caller.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
        assert ended(caller).startswith(b"HTTP/1.1 400")


def test_trailers_and_chunks_are_bounded(service: Running) -> None:
    before = service.memory()
    with service.connect() as caller:
        caller.sendall(b"POST /predict HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n")
        sent = 0
        with suppress(BrokenPipeError, ConnectionResetError):
            while sent < 50_000_000:
                caller.sendall(b"x-b: b\r\n" * 1000)
                sent += 8000
        assert sent < 50_000_000
    assert service.memory() - before < 60_000_000


def test_a_large_body_gets_its_refusal_and_an_endless_one_is_cut(service: Running) -> None:
    size = 3_000_000
    assert service.ask(HEAD % size + b" " * size).startswith(b"HTTP/1.1 413")
    with service.connect() as caller:
        caller.sendall(HEAD % 1_000_000_000)
        sent = 0
        with suppress(BrokenPipeError, ConnectionResetError):
            while sent < 50_000_000:
                caller.sendall(b" " * 65_536)
                sent += 65_536
        assert sent < 20_000_000  # with what the kernel holds of both sides


def test_unfinished_bodies_share_one_budget(service: Running) -> None:
    body = b"[" + b" " * 1_900_000
    before = service.memory()
    with ExitStack() as held:
        callers = [held.enter_context(service.connect()) for _ in range(60)]
        for caller in callers:
            caller.settimeout(0.05)
            with suppress(OSError):
                caller.sendall(HEAD % 1_950_000 + body)
        assert service.ask().startswith(b"HTTP/1.1 200")  # a small one has room
        assert service.memory() - before < 60_000_000
        heads = []
        for caller in callers:
            caller.settimeout(10)
            heads.append(ended(caller))
    busy = [head for head in heads if head.startswith(b"HTTP/1.1 503")]
    assert len(busy) > 40
    assert all(b"retry-after: 1\r\n" in head for head in busy)
    many = json.dumps([ROW] * 1000).encode()
    assert service.ask(HEAD % len(many) + many).startswith(b"HTTP/1.1 200")  # all was given back


def test_connections_are_bounded(service: Running) -> None:
    with ExitStack() as held:
        callers = [held.enter_context(service.connect()) for _ in range(300)]
        for caller in callers:
            with suppress(OSError):
                caller.sendall(GOOD)
        heads = [whole(caller) for caller in callers]
    told = [head[:12] for head in heads]
    assert told.count(b"HTTP/1.1 200") >= 100
    assert told.count(b"HTTP/1.1 503") >= 100
    assert b"retry-after: 1" in next(head for head in heads if head[9:12] == b"503")
    until(lambda: service.ask().startswith(b"HTTP/1.1 200"))


def test_a_busy_service_says_so_before_it_reads_the_rows(service: Running) -> None:
    many = json.dumps([ROW] * 1000).encode()
    heads: list[bytes] = []

    def one() -> None:
        heads.append(service.ask(HEAD % len(many) + many))

    threads = [threading.Thread(target=one) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {head[9:12] for head in heads} <= {b"200", b"503"}
    assert [head[9:12] for head in heads].count(b"200") >= 20
    assert service.ask().startswith(b"HTTP/1.1 200")


def test_a_hold_is_given_back_whatever_was_taken() -> None:
    budget = guard.Budget(100_000)
    first, second, small_one = (guard.Hold(budget) for _ in range(3))
    first.take(70_000)
    first.take(90_000)
    small_one.take(60_000)  # uvicorn's own buffer holds as much
    with pytest.raises(Refused):
        second.take(70_000)
    assert budget.held == 90_000
    for hold in (first, second, small_one, first):
        hold.release()
    assert budget.held == 0


def test_liveness_and_readiness_do_not_wait_for_scoring(service: Running) -> None:
    many = json.dumps([ROW] * 1000).encode()
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            service.ask(HEAD % len(many) + many)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for page in (b"/health", b"/ready"):
            seconds = []
            for _ in range(10):
                start = time.monotonic()
                answer = service.ask(b"GET " + page + b" HTTP/1.1\r\nhost: x\r\n\r\n")
                seconds.append(time.monotonic() - start)
                assert answer.startswith(b"HTTP/1.1 200")
            assert sorted(seconds)[5] < 1
    finally:
        stop.set()
        for thread in threads:
            thread.join()
