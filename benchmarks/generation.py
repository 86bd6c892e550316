# /// script
# requires-python = ">=3.11"
# dependencies = ["copier>=9.19.1,<10"]
# ///
"""CPU of `copier copy` against a template of one question, and a fresh copy to its report."""

import os
import tempfile
from pathlib import Path

from common import call, median, render

RUNS = 5


def cpu() -> float:
    """Return the CPU seconds of all commands so far: other work on the machine does not count."""
    times = os.times()
    return times.children_user + times.children_system


def main() -> None:
    """Print the table."""
    import sys

    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        empty = work / "empty"
        empty.mkdir()
        (empty / "copier.yml").write_text("project_name: {type: str, default: x}\n")
        (empty / "README.md").write_text("empty\n")
        git = ["git", "-c", "user.name=b", "-c", "user.email=b@b"]
        call("git", "init", "-q", cwd=empty)
        call("git", "add", "-A", cwd=empty)
        call(*git, "commit", "-qm", "x", cwd=empty)
        copy = [sys.executable, "-m", "copier", "copy", "--defaults", "-q", "--vcs-ref", "HEAD"]
        floor, ours = [], []
        for index in range(RUNS + 1):
            started = cpu()
            call(*copy, empty, work / f"e{index}", cwd=work)
            between = cpu()
            render(work / f"p{index}")
            floor.append(between - started)
            ours.append(cpu() - between)
        floor, ours = floor[1:], ours[1:]
        project = work / "p0"
        call("uv", "sync", "-q", cwd=project)
        again = work / "p1"
        sync, _ = call("uv", "sync", "-q", cwd=again)
        run, _ = call("uv", "run", "ml", "run", cwd=again)
        print("| what | seconds | ratio |\n|---|---|---|")
        print(f"| copier copy, one question, CPU | {median(floor):.2f} | 1 |")
        ratio = median([a / b for a, b in zip(ours, floor, strict=True)])
        print(f"| copier copy, this template, CPU | {median(ours):.2f} | {ratio:.2f} |")
        print(f"| uv sync, warm cache | {sync:.1f} | |")
        print(f"| ml run: sample data to report and plan | {run:.1f} | |")


main()
