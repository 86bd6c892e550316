# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["copier>=9.19.1,<10"]
# ///
"""Throughput and latency of the service against an empty ASGI endpoint and `mlflow models serve`.

The load generator is `wrk` (Debian package wrk). All servers have one worker and answer the same
one-row request; mlflow serves the same bundle through a pyfunc model. CPU of the server counts
where other work runs on the machine (Linux).
"""

import json
import os
import re
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from common import call, cpu, render

FLOOR = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await receive()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"predictions":[]}'})
"""
PYFUNC = """
import sys
from pathlib import Path
import mlflow.pyfunc
import msgspec

class Model(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        sys.path.insert(0, {src!r})
        from churn_model.engine.model.scorer import Scorer
        self.scorer = Scorer.load(Path({bundle!r}))

    def predict(self, context, model_input, params=None):
        scorer = self.scorer
        rows = [msgspec.convert(row, scorer.row_type) for row in model_input.to_dict("records")]
        return scorer.score_rows(rows)["probability"].tolist()

mlflow.models.set_model(Model())
"""


def load(url: str, body: Path, connections: int) -> tuple[float, float, float, int]:
    """Return requests per second, p50 and p99 in milliseconds, and the requests answered."""
    script = body.with_suffix(".lua")
    text = body.read_text().replace("'", "\\'")
    script.write_text(
        f"wrk.method='POST'\nwrk.headers['content-type']='application/json'\nwrk.body='{text}'\n"
    )
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", "-d6s", "--latency", "-s", str(script), url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if "Non-2xx" in done:
        raise SystemExit(done)
    units = {"us": 1e-3, "ms": 1.0, "s": 1e3}

    def latency(share: str) -> float:
        value, unit = re.search(rf"{share}%\s+([\d.]+)(us|ms|s)", done).groups()
        return float(value) * units[unit]

    rate, count = (
        re.search(r"Requests/sec:\s+([\d.]+)", done)[1],
        re.search(r"(\d+) requests in", done)[1],
    )
    return float(rate), latency("50"), latency("99"), int(count)


def serve(command: list[str], cwd: Path, ready: str) -> subprocess.Popen:
    """Start a server and wait until it answers."""
    env = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    # A server finds its helpers, such as uvicorn for mlflow, beside its own program.
    env["PATH"] = f"{Path(command[0]).parent}{os.pathsep}{env['PATH']}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=cwd, env=env, start_new_session=True, **quiet)
    for _ in range(2400):
        try:
            urllib.request.urlopen(ready, timeout=1)
            return process
        except urllib.error.HTTPError:
            return process
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{command} did not start")


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        project = work / "project"
        render(project)
        call("uv", "sync", "-q", cwd=project)
        call("uv", "run", "ml", "run", cwd=project)
        bundle = project / "models" / "v1"
        row = json.loads((bundle / "golden.json").read_text())["rows"][0]
        body = work / "row.json"
        body.write_text(json.dumps(row))
        python = str(project / ".venv/bin/python")
        (work / "floor.py").write_text(FLOOR)
        (work / "pyfunc.py").write_text(PYFUNC.format(src=str(project / "src"), bundle=str(bundle)))
        records = work / "records.json"
        records.write_text(json.dumps({"dataframe_records": [row]}))
        call("uv", "venv", "-q", "--python", "3.12", work / "mlflow", cwd=work)
        packages = [
            "mlflow>=3.10,<4",
            "onnxruntime>=1.23,<2",
            "msgspec",
            "numpy",
            "pyyaml",
            "filelock",
        ]
        call("uv", "pip", "install", "-q", "--python", work / "mlflow", *packages, cwd=work)
        save = "import mlflow.pyfunc; mlflow.pyfunc.save_model('model', python_model='pyfunc.py')"
        call(work / "mlflow/bin/python", "-c", save, cwd=work)
        uvicorn = [
            python,
            "-m",
            "uvicorn",
            "floor:app",
            "--log-level",
            "critical",
            "--no-access-log",
        ]
        mlflow = [str(work / "mlflow/bin/mlflow"), "models", "serve", "-m", "model"]
        mlflow += ["--env-manager", "local", "--workers", "1", "-p", "8903"]
        ml = [str(project / ".venv/bin/ml"), "serve", "--port", "8902"]
        servers = {
            "empty ASGI endpoint (uvicorn)": ([*uvicorn, "--port", "8901"], 8901, "/", "/", body),
            "this template": (ml, 8902, "/ready", "/predict", body),
            "mlflow models serve": (mlflow, 8903, "/ping", "/invocations", records),
        }
        results: dict[str, list[tuple[float, float, float, float]]] = {}
        for _ in range(3):
            for label, (command, port, ready, path, request) in servers.items():
                cwd = project if command is ml else work
                process = serve(command, cwd, f"http://127.0.0.1:{port}{ready}")
                try:
                    url = f"http://127.0.0.1:{port}{path}"
                    load(url, request, 1)
                    before = cpu(process.pid)
                    rate, _, p99, count = load(url, request, 16)
                    taken = (cpu(process.pid) - before) / count * 1e6
                    p50 = load(url, request, 1)[1]
                    results.setdefault(label, []).append((taken, rate, p50, p99))
                finally:
                    process.terminate()
                    process.wait(30)
        print(
            "| server, one worker | CPU µs | requests/s, 16 clients | p50 ms, 1 client | p99 ms |"
        )
        print("|---|---|---|---|---|")
        best = {label: sorted(runs)[len(runs) // 2] for label, runs in results.items()}
        for label, (taken, rate, p50, p99) in best.items():
            print(f"| {label} | {taken:.0f} | {rate:,.0f} | {p50:.2f} | {p99:.2f} |")
        ours, floor, mlflow_cpu = (
            best[label][0]
            for label in ("this template", *[k for k in best if k != "this template"])
        )
        print(f"\nOf the floor: {floor / ours:.2f}. Times mlflow: {mlflow_cpu / ours:.0f}.")


main()
