"""What PLAN.md says of the package for devices, made of reports/edge.json."""

from typing import Any

from ..engine.settings import Project

TEXTS = {
    "DEP-02": (
        "edge",
        "measured: {version:code} is {size_mb:2} MB as a package (model {model_mb:2} MB), opens in "
        "{open_ms:0} ms and scores one row in {one_row_ms[p50]:2} ms (p95 {one_row_ms[p95]:2}) on "
        "the machine that packed it; {golden_rows} golden rows agree; gate {verdict}",
    ),
}


def told(report: dict[str, Any], project: Project) -> dict[str, Any]:
    """Say whether the package is within the budget."""
    return {"verdict": " and ".join(report["reasons"]) or "passed"}


MADE = {"edge": told}
