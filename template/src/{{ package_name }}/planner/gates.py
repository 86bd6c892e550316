"""The gates of the plan: which are open, and their list at the top of PLAN.md."""

from collections.abc import Iterable
from typing import NamedTuple

from ..engine import storage
from ..engine.formats import number
from ..engine.settings import Plan, Project
from .blocks import Parts, escape, read, rewrite, same, survey
from .markup import slug

NAME = "GATES"
EMPTY = "Not written yet: "  # as the template leaves it
OWNED = "G0"  # the gate that asks whether the problem is owned


class Finding(NamedTuple):
    """What was found; level "todo" is a field that people fill, by the gate of its block."""

    level: str  # error, warning or todo
    id: str
    message: str


class State(NamedTuple):
    """What a gate still needs itself, and the first earlier one that it waits for ("" for none)."""

    needs: list[Finding]
    waits: str

    @property
    def open(self) -> bool:
        """A gate opens when it needs nothing, and none before it does."""
        return not self.needs and not self.waits

    @property
    def said(self) -> str:
        """The state in a word or two."""
        if self.open:
            return "open"
        return "closed" if self.needs else f"waits for {self.waits}"


def states(plan: Plan, found: Iterable[Finding]) -> dict[str, State]:
    """Return the state of each gate by what `ml plan check --gate G6` finds.

    What is wrong in no block of the plan closes the first gate, and so all of them.
    """
    needs: dict[str, list[Finding]] = {name: [] for name in plan.gates}
    for finding in found:
        block = plan.blocks.get(finding.id)
        if finding.level == "error":
            needs[block.gate if block else next(iter(needs))].append(finding)
    result, waits = {}, ""
    for name, own in needs.items():
        result[name] = State(own, waits)
        waits = waits or name * bool(own)
    return result


def run(project: Project, found: Iterable[Finding]) -> bool:
    """Write the list; return whether it changed. `found`: as `states` needs it."""
    path = project.path("PLAN.md")
    text = read(path)
    parts = survey(text)[0]
    part = parts.get(("measured", NAME))
    lines = _lines(project.plan, parts, found)
    if part is None or same(part.lines, lines):
        return False
    storage.write_bytes(path, rewrite(text, part, lines).encode("utf-8"))
    return True


def written(parts: Parts) -> bool:
    """Say whether the list is in PLAN.md: a fresh plan has none."""
    part = parts.get(("measured", NAME))
    return part is not None and EMPTY not in " ".join(part.lines)


def stale(plan: Plan, parts: Parts, found: Iterable[Finding]) -> bool:
    """Say whether the list tells something else than what was found."""
    return not same(parts["measured", NAME].lines, _lines(plan, parts, found))


def _lines(plan: Plan, parts: Parts, found: Iterable[Finding]) -> list[str]:
    left: dict[str, list[str]] = {gate: [] for gate in plan.gates}
    for identifier, block in plan.blocks.items():
        part = parts.get(("human", identifier))
        link = f"[{block.title}](#{slug(block.title)})"
        if not (block.human and block.applies):
            continue
        if part is None or part.open:  # nobody has answered it, or it cannot be read
            left[block.gate].append(link)
        elif block.gate == OWNED and part.attributes["owner"] == "none":
            left[block.gate].append(f"{link} (no owner)")
    rows = ["| Gate | Asks | Month | State | Open questions |", "|---|---|--:|---|---|"]
    for name, state in states(plan, found).items():
        gate = plan.gates[name]
        month = "-" if gate.p80_month is None else number(gate.p80_month, 1)
        asked = ", ".join(left[name]) or "none"
        waived = (
            f"; {plan.blocks[i].title} waived by {escape(waiver.owner)} until {waiver.until}"
            for i, waiver in plan.waivers.items()
            if plan.blocks[i].gate == name
        )
        said = f"{state.said}{''.join(waived)}"
        rows.append(f"| {name} | {gate.asks} | {month} | {said} | {asked} |")
    return [*rows, "<!-- G1 to G5: the month that four of five such projects keep -->"]
