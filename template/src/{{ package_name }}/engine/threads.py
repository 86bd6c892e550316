"""One rule for the number of threads: few for few numbers, never more than this process may use."""

import math
import os
import re
from pathlib import Path

# Numbers of a table that keep a thread busy: for fewer, it costs more than it gives.
CELLS = 500_000
GROUPS = Path("/proc/self/cgroup")
LIMITS = Path("/sys/fs/cgroup")
# Products of matrices are small here, and the threads of BLAS spin while they wait for the next.
BLAS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

_asked = {"threads": 0}


def limit_libraries() -> None:
    """Tell libraries that read it while they are imported; a variable that is set stays as it is.

    OpenMP serves LightGBM and scikit-learn.
    """
    usable = {name: str(cores()) for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS")}
    # Threads that wait must sleep: spinning ones crawl on a machine with other work.
    told = {"OMP_WAIT_POLICY": "PASSIVE", **usable, **dict.fromkeys(BLAS, "1")}
    for name, value in told.items():
        os.environ.setdefault(name, value)


def ask(setting: int) -> None:
    """Keep `training.threads` of the settings that were read for what is not handed them."""
    _asked["threads"] = setting


def workers(setting: int, cells: float = math.inf) -> int:
    """Return how many threads work on `cells` = rows x features; `setting` wins where it is not 0.

    The setting is `training.threads` of config.yaml, or ML_TRAINING__THREADS. Where 0 is given, it
    is the one of the project that this process has read.
    """
    return setting or _asked["threads"] or int(max(1, min(cores(), cells // CELLS)))


def cores() -> int:
    """Return OMP_NUM_THREADS, or how many processors and how much of them this process may use."""
    asked = re.match(r"\s*0*([1-9]\d*)", os.environ.get("OMP_NUM_THREADS", ""))
    if asked:
        return int(asked[1])
    if hasattr(os, "sched_getaffinity"):
        usable = len(os.sched_getaffinity(0))
    else:
        usable = os.cpu_count() or 1
    # Half a processor more would only be waited for.
    return max(1, math.floor(min(usable, _quota())))


def _quota() -> float:
    """Return how many processors the control groups of this process grant, of version 1 or 2."""
    try:
        lines = GROUPS.read_text().splitlines()
    except OSError:  # not Linux
        return math.inf
    granted = math.inf
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        folder = LIMITS / controllers
        inside = folder / path.lstrip("/")
        # A container sees its own group as the root, whatever its path is.
        for place in {folder, inside, *(p for p in inside.parents if p.is_relative_to(folder))}:
            granted = min(granted, _granted(place, controllers))
    return granted


def _granted(place: Path, controllers: str) -> float:
    try:
        if controllers:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            quota, period = ((place / name).read_text() for name in names)
        else:
            quota, period = (place / "cpu.max").read_text().split()
        return int(quota) / int(period) if int(quota) > 0 else math.inf
    except (OSError, ValueError):  # no such file, or "max"
        return math.inf
