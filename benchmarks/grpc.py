# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["copier>=9.19.1,<10"]
# ///
"""One row and many over gRPC, over REST and by a gRPC method that does nothing, in one run.

`python benchmarks/grpc.py [PROJECT PYTHON]` takes a project with both modes and a champion, and the
Python of its environment; without them it makes one. All servers have one process; the same client
asks each of them. CPU of the server counts where other work runs on the machine (Linux).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from common import call, cpu, render

ROUNDS, SECONDS = int(os.environ.get("ROUNDS", "3")), 4
EMPTY = """
import asyncio, grpc

async def answer(request, context):
    return b""

async def main():
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(answer)
    handlers = grpc.method_handlers_generic_handler("empty.Empty", {"Predict": handler})
    server.add_generic_rpc_handlers((handlers,))
    server.add_insecure_port("127.0.0.1:8911")
    await server.start()
    await server.wait_for_termination()

asyncio.run(main())
"""
CLIENT = """
import asyncio, json, sys, time
kind, port, path, body, clients, seconds = sys.argv[1:]
body, taken = open(body, "rb").read(), []
end = time.perf_counter() + float(seconds)

async def rest():
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    head = f"POST {path} HTTP/1.1\\r\\nhost: x\\r\\ncontent-length: {len(body)}\\r\\n\\r\\n"
    head = head.encode()
    while (start := time.perf_counter()) < end:
        writer.write(head + body)
        answer = (await reader.readuntil(b"\\r\\n\\r\\n")).lower()
        assert b" 200 " in answer, answer
        await reader.readexactly(int(answer.split(b"content-length: ")[1].split(b"\\r\\n")[0]))
        taken.append(time.perf_counter() - start)

async def rpc(call):
    while (start := time.perf_counter()) < end:
        await call(body)
        taken.append(time.perf_counter() - start)

async def main():
    count = int(clients)
    if kind == "rest":
        await asyncio.gather(*(rest() for _ in range(count)))
    else:
        import grpc
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary(path)
            await asyncio.gather(*(rpc(call) for _ in range(count)))
    found = sorted(taken)
    at = lambda share: found[int(share * (len(found) - 1))] * 1000
    print(json.dumps({"count": len(found), "p50": at(0.5), "p99": at(0.99)}))

asyncio.run(main())
"""
MESSAGE = """
import json, sys
from pathlib import Path
from google.protobuf import json_format
from {package}.engine.serving import proto
from {package}.engine.settings import Project
project = Project(Path.cwd())
to = proto.of(project)
rows = json.loads(Path(sys.argv[1]).read_text())
message = json_format.ParseDict({{"rows": rows}}, to.request())
Path(sys.argv[2]).write_bytes(message.SerializeToString())
print(to.service)
"""


def asked(
    python: str,
    work: Path,
    kind: str,
    port: int,
    path: str,
    body: str,
    clients: int,
    seconds: float,
) -> dict[str, float]:
    """Ask a server again and again; return the count, p50 and p99 in ms of the answers."""
    told = map(str, (kind, port, path, work / body, clients, seconds))
    command = [python, work / "client.py", *told]
    for _ in range(100):  # until it listens
        done = subprocess.run(command, check=False, capture_output=True)
        if done.returncode == 0:
            return json.loads(done.stdout)
        time.sleep(0.3)
    raise SystemExit(done.stderr.decode())


def show(results: dict[tuple[int, str], list[tuple[float, float, float, float]]]) -> None:
    """Print the median run of each server."""
    print("| rows a call | server, one process | CPU µs a call | rows/s | p50 ms | p99 ms |")
    print("|---|---|---|---|---|---|")
    best = {key: sorted(runs)[len(runs) // 2] for key, runs in results.items()}
    for (count, label), (taken, rate, p50, p99) in best.items():
        print(f"| {count} | {label} | {taken:.0f} | {rate:,.0f} | {p50:.2f} | {p99:.2f} |")
    for count in (1, 64):
        ours = best[count, "gRPC"][0]
        floor, rest = best[count, "empty gRPC method"][0], best[count, "REST"][0]
        print(f"\n{count} rows: {ours / floor:.2f} x the empty method, {ours / rest:.2f} x REST.")


def main(given: list[str]) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        project = Path(given[0]) if given else work / "project"
        python = given[1] if given else str(project / ".venv/bin/python")
        if not given:
            render(project, deployment_modes="[rest, grpc]")
            call("uv", "sync", "-q", cwd=project)
            call("uv", "run", "ml", "run", cwd=project)
        package = next(path.name for path in (project / "src").iterdir())
        env = {**os.environ, "PYTHONPATH": str(project / "src")}
        for file, text in {"empty": EMPTY, "client": CLIENT}.items():
            (work / f"{file}.py").write_text(text)
        (work / "message.py").write_text(MESSAGE.format(package=package))
        golden = json.loads((project / "models/v1/golden.json").read_text())["rows"]
        service = ""
        for count in (1, 64):
            rows = work / f"{count}.json"
            rows.write_text(json.dumps((golden * 64)[:count]))
            command = [python, work / "message.py", rows, work / f"{count}.bin"]
            done = subprocess.run(command, cwd=project, env=env, check=True, capture_output=True)
            service = done.stdout.decode().strip()
        ml = [python, "-m", package]
        grpc = [*ml, "grpc", "serve", "--port", "8912", "--metrics-port", "8914"]
        empty = [python, str(work / "empty.py")]
        servers = {
            "empty gRPC method": (empty, "grpc", 8911, "/empty.Empty/Predict"),
            "gRPC": (grpc, "grpc", 8912, f"/{service}/Predict"),
            "REST": ([*ml, "serve", "--port", "8913"], "rest", 8913, "/predict"),
        }
        results: dict[tuple[int, str], list[tuple[float, float, float, float]]] = {}
        for _ in range(ROUNDS):
            for label, (command, kind, port, path) in servers.items():
                running = subprocess.Popen(
                    command, cwd=project, env=env, start_new_session=True,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )  # fmt: skip
                ask = partial(asked, python, work, kind, port, path)
                try:
                    for count in (1, 64):
                        body = f"{count}.{'json' if kind == 'rest' else 'bin'}"
                        ask(body, 1, 1)
                        before = cpu(running.pid)
                        many = ask(body, 16, SECONDS)
                        taken = (cpu(running.pid) - before) / many["count"] * 1e6
                        alone = ask(body, 1, SECONDS / 2)
                        found = (taken, many["count"] / SECONDS * count, alone["p50"], many["p99"])
                        results.setdefault((count, label), []).append(found)
                finally:
                    running.terminate()
                    running.wait(60)
        show(results)


main(sys.argv[1:])
