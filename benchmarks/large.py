# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["copier>=9.19.1,<10"]
# ///
"""`ml run` on 3 million rows by 12 columns: CPU seconds and peak memory of each step (Linux)."""

import tempfile
from pathlib import Path

from common import call, render

ROWS = 3_000_000
# In one process, as `ml run` works; the floor is what LightGBM itself takes of the training.
MEASURE = """
import os, resource
from pathlib import Path
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `ml` does
from churn_model import pipeline
from churn_model.engine import progress, steps
from churn_model.engine.settings import find_project

def cpu():
    taken = os.times()
    return taken.user + taken.system + taken.children_user + taken.children_system

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")  # the next peak is that of the next step
    return int(line.split()[1]) / 1024

boosting, last = {"cpu": 0.0}, ["", 0.0]
tell, perform = progress.tell, steps._perform

def told(doing, *counts):
    if "lightgbm" in last[0] and not last[0].startswith("learning curve"):
        boosting["cpu"] += cpu() - last[1]
    last[:] = doing, cpu()
    tell(doing, *counts)

def performed(project, step, inputs):
    peak()
    started = cpu()
    result = perform(project, step, inputs)
    print(f"| {step.name} | {cpu() - started:.0f} | {peak():,.0f} |", flush=True)
    return result

progress.tell, steps._perform = told, performed
pipeline.run(find_project(), lambda line: None)
print(f"| all | {cpu():.0f} | |")
print(f"| boosting alone | {boosting['cpu']:.0f} | |")
"""


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        project = Path(name) / "project"
        render(project)
        call("uv", "sync", "-q", cwd=project)
        call("uv", "run", "ml", "contract", "sample", "--rows", str(ROWS), cwd=project)
        print("| step | CPU s | peak MB |\n|---|---|---|")
        print(call(project / ".venv/bin/python", "-c", MEASURE, cwd=project)[1], end="")


main()
