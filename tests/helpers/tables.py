"""What the generators in tools read, for the tests: questions and rules of each task."""

import sys
from typing import Any

from .rendering import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import gen_rules


def rules(task: str) -> dict[str, Any]:
    """Return the rule table of a task."""
    return gen_rules.load(task)


def rules_of(task: str) -> list[dict[str, Any]]:
    """Return the rules of a task's decisions, one by one."""
    return [rule for d in rules(task)["decisions"].values() for rule in d["rules"]]


def inputs(table: dict[str, Any]) -> list[str]:
    """Return the answers and numbers that the rules of a table need."""
    return gen_rules.inputs(table)
