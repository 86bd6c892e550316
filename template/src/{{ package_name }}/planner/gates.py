"""The list of gates at the top of PLAN.md: what each asks, its state, and who has not answered."""

from ..engine import storage
from ..engine.formats import number
from ..engine.settings import Plan, Project
from .blocks import Parts, read, rewrite, same, survey
from .markup import slug

NAME = "GATES"
EMPTY = "Not written yet: "  # as the template leaves it


def run(project: Project, against: list[str]) -> bool:
    """Write the list; return whether it changed. `against`: ids that `ml plan check` refuses."""
    path = project.path("PLAN.md")
    text = read(path)
    part = survey(text)[0].get(("measured", NAME))
    lines = _lines(project.plan, text, against)
    if part is None or same(part.lines, lines):
        return False
    storage.write_bytes(path, rewrite(text, part, lines).encode("utf-8"))
    return True


def stale(plan: Plan, parts: Parts) -> bool:
    """Say whether the list names other questions than those that are open."""
    part = parts.get(("measured", NAME))
    shown = " ".join(part.lines) if part else EMPTY
    if EMPTY in shown:
        return False
    still = _open(plan, parts)
    return any((link in shown) != (i in still) for i, link in _links(plan).items())


def _lines(plan: Plan, text: str, against: list[str]) -> list[str]:
    parts = survey(text)[0]
    still, links = _open(plan, parts), _links(plan)
    rows = ["| Gate | Asks | Month | State | Open questions |", "|---|---|--:|---|---|"]
    for name, gate in plan.gates.items():
        closed = any(i not in plan.blocks or plan.blocks[i].gate <= name for i in against)
        asked = ", ".join(links[i] for i in still if plan.blocks[i].gate == name)
        month = "-" if gate.p80_month is None else number(gate.p80_month, 1)
        state = "closed" if closed else "open"
        rows.append(f"| {name} | {gate.asks} | {month} | {state} | {asked or 'none'} |")
    return [*rows, "<!-- G1 to G5: the month that four of five such projects keep -->"]


def _open(plan: Plan, parts: Parts) -> list[str]:
    """Return the ids of the questions that nobody has answered, or whose block cannot be read."""
    return [
        identifier
        for identifier, block in plan.blocks.items()
        if block.human and block.applies
        if (part := parts.get(("human", identifier))) is None or part.open
    ]


def _links(plan: Plan) -> dict[str, str]:
    return {i: f"[{b.title}](#{slug(b.title)})" for i, b in plan.blocks.items() if b.human}
