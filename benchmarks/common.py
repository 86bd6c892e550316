"""What the benchmarks share: a rendered project, its own environment, repeated timing."""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Of the caller's environment; without a cache of compiled modules each command compiles all anew.
FOREIGN = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")


def call(*command: str | Path, cwd: Path, check: bool = True, **env: str) -> tuple[float, str]:
    """Run a command; return wall seconds and its output."""
    clean = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    started = time.perf_counter()
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**clean, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode:
        sys.exit(f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - started, done.stdout


def render(folder: Path, **answers: str) -> float:
    """Make a project from the working tree; return wall seconds."""
    data = [part for name, value in answers.items() for part in ("--data", f"{name}={value}")]
    command = [sys.executable, "-m", "copier", "copy", "--defaults", "-q", "--vcs-ref", "HEAD"]
    return call(*command, *data, ROOT, folder, cwd=ROOT)[0]


def median(values: list[float]) -> float:
    """Return the median."""
    return statistics.median(values)
