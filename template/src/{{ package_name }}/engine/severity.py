"""How bad a finding is: of evaluation, of monitoring."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from .settings import Monitoring

SEVERITY = ("ok", "too_few_rows", "warn", "act")
MIN_TEST_ROWS = 50  # below, no test says anything


class Judged(NamedTuple):
    """What evaluation reports of the decisions, and what closes its gate or warns."""

    report: dict[str, Any]
    reasons: list[str]
    warnings: list[str]


def worst(levels: Iterable[str]) -> str:
    """Return the most severe level; too few rows for one test say nothing about the others."""
    return max((x for x in levels if x != "too_few_rows"), key=SEVERITY.index, default="ok")


def shifted(moved: float, z: float, settings: Monitoring) -> str:
    """Return how bad it is that something moved by a share, `z` standard errors from chance."""
    if moved > settings.act and z > 3.3:
        return "act"
    return "warn" if moved > settings.warn and z > 2.6 else "ok"
