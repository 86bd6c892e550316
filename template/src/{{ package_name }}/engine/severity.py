"""How bad a finding of monitoring is."""

from collections.abc import Iterable

SEVERITY = ("ok", "too_few_rows", "warn", "act")
MIN_TEST_ROWS = 50  # below, no test says anything


def worst(levels: Iterable[str]) -> str:
    """Return the most severe level; too few rows for one test say nothing about the others."""
    return max((x for x in levels if x != "too_few_rows"), key=SEVERITY.index, default="ok")
