"""Quality over time: one line for each load that was judged, and what changed most since the last.

Of rows there are counts, of columns their names; no value stands in a line.
"""

from typing import Any, NamedTuple

import msgspec

from .. import audit
from ..formats import count, number, percent
from ..settings import Project

LOG = "reports/quality.jsonl"
SHOWN = 24  # loads on a page
ALIKE = 0.001  # of the rows: a smaller change of a share is none


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """A load as it was judged; `judged_by` says by which contract, and which repeated rows stay."""

    at: str
    run: str
    data_sha256: str
    judged_by: str
    made_up: bool
    rows: int
    rejected: int
    unlabelled: int
    duplicates: int
    rules: dict[str, int]
    warnings: dict[str, int]
    missing_share: dict[str, float]
    score: float
    passed: bool

    @property
    def shares(self) -> dict[str, float]:
        """Shares of the rows, by what they are of; a rule comes before the totals it counts in."""
        counts = {**self.rules, **self.warnings}
        totals = {"rejected rows": self.rejected, "repeated rows": self.duplicates}
        found = {name: n / max(1, self.rows) for name, n in counts.items()}
        found |= {f"{name}: missing": share for name, share in self.missing_share.items()}
        return found | {name: n / max(1, self.rows) for name, n in totals.items()}

    @property
    def empty(self) -> float:
        """The share of cells without a value."""
        return sum(self.missing_share.values()) / max(1, len(self.missing_share))


class Course(NamedTuple):
    """The newest loads, oldest first, each as it was judged last, and what is to say of them."""

    loads: list[Load]
    said: str


def add(project: Project, report: dict[str, Any], judged_by: str) -> str:
    """Add a line for what `ml validate` reports, unless the last one has it; say what changed."""
    known, _ = _read(project)
    if not known or known[-1].run != report["run"]:
        facts = {name: report[name] for name in Load.__struct_fields__ if name in report}
        passed = not report["failures"]
        audit.append(project.path(LOG), facts | {"judged_by": judged_by, "passed": passed})
    return read(project).said


def read(project: Project) -> Course:
    """Return the course of the loads; made-up rows are not compared with true ones."""
    lines, damaged = _read(project)
    found: dict[str, Load] = {}
    for load in lines:
        if load.made_up == lines[-1].made_up:
            found.pop(load.data_sha256, None)  # the same rows, judged again
            found[load.data_sha256] = load
    loads = list(found.values())
    said = [_said(loads[-2:])]
    if damaged:
        left = count(len(damaged), "damaged line")
        said.append(f"{left} of {LOG} left out, of which line {damaged[0]} is the first.")
    return Course(loads[-SHOWN:], " ".join(said))


def _read(project: Project) -> tuple[list[Load], list[int]]:
    """Return the lines that can be read, and the numbers of those that cannot."""
    good, damaged = [], []
    for place, line, _ in audit.lines(project.path(LOG)):
        try:
            good.append(msgspec.json.decode(line, type=Load))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            damaged.append(place)
    return good, damaged


def _said(loads: list[Load]) -> str:
    """Say in one sentence what changed most between two loads."""
    if len(loads) < 2:
        return "There is no earlier load to compare with yet."
    before, now = loads
    old, new = before.shares, now.shares
    names = dict.fromkeys([*new, *old])
    moved = max(names, key=lambda name: abs(new.get(name, 0.0) - old.get(name, 0.0)))
    shares = old.get(moved, 0.0), new.get(moved, 0.0)
    rows = f"{number(before.rows)} rows became {number(now.rows)}"
    changed = (
        f"and most changed {moved}, from {percent(shares[0])} to {percent(shares[1])} of the rows"
        if abs(shares[1] - shares[0]) >= ALIKE
        else f"and no share of them changed by {percent(ALIKE)} or more"
    )
    rules = "; the contract changed too" if before.judged_by != now.judged_by else ""
    return f"Since the load before {rows}, {changed}{rules}."
