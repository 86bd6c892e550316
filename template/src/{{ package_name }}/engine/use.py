"""What a process has used so far: the machine that a plan asks for follows from it."""

import importlib
import sys
import time
from typing import Any

from .threads import cores


def so_far(rows: int) -> dict[str, Any]:
    """Return peak memory in MB, CPU seconds and processors of this process, beside its rows.

    Memory is None where the system does not tell it.
    """
    return {
        "rows": rows,
        "peak_mb": _peak_mb(),
        "cpu_seconds": round(time.process_time(), 1),
        "processors": cores(),
    }


def _peak_mb() -> float | None:
    try:
        resource = importlib.import_module("resource")
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) / (1e6 if sys.platform == "darwin" else 1e6 / 1024)  # bytes there, else KiB
