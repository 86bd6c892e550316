"""`ml plan report --html`: the whole plan as one page that needs nothing beside itself."""

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from markupsafe import Markup

from ..engine import report
from ..engine.errors import ProjectError
from ..engine.formats import number
from ..engine.git import git
from ..engine.report import charts
from ..engine.settings import LOADER, Plan, Project
from . import check, evidence, gates, markup, measured
from .blocks import NOTES, SIGNATURES, Part, Parts, in_full, read, survey, unanswered

PAGE = "reports/plan.html"
# Blocks that the page tells in sections of its own.
TOP = ("VERDICT", "SUMMARY", "GATES", "OVERRIDES")
DUTIES = ("PRIV-01", "REG-01")


class Entry(NamedTuple):
    """One line of the decision log; `date` is "" when git has it not yet."""

    date: str
    id: str
    what: str
    who: str
    why: str


def run(project: Project) -> Path:
    """Write reports/plan.html and return its path."""
    text = read(project.path("PLAN.md"))
    parts, broken = survey(text)
    findings = check.check(project, check.GATES[-1])
    plan = project.plan
    page = project.path(PAGE)
    report.render(
        "whole.html",
        page,
        plan=plan,
        places=places(plan),
        problems=[problem.message for problem in broken if problem.level == "error"],
        verdict=markup.inline(evidence.verdict(project)),
        evidence=markup.html(evidence.lines(project)[1:]),  # without the verdict
        gates=[*_gates(project, parts, findings)],
        timeline=_timeline(project),
        tasks=_tasks(project),
        people=_people(project),
        owed=_owed(plan, parts),
        duties=[_shown(plan, parts, i) for i in DUTIES if i in plan.blocks],
        log=sorted(_log(project, parts), reverse=True),
        against=[*_against(project)],
        sections=_sections(plan, parts, text),
        notes=markup.html(_notes(text)),
    )
    return page


def places(plan: Plan) -> dict[str, str]:
    """Return where on the page each block stands: rows of a table stand in that of the choices."""
    rows = markup.slug(plan.blocks["CHOICES"].title)
    return {
        identifier: rows if block.row else markup.slug(block.title)
        for identifier, block in plan.blocks.items()
    }


def _gates(
    project: Project, parts: Parts, findings: list[gates.Finding]
) -> Iterator[dict[str, Any]]:
    blocks = project.plan.blocks
    for name, state in gates.states(project.plan, findings).items():
        asked = [i for i, b in blocks.items() if b.gate == name and b.human and b.applies]
        done = [i for i in asked if (part := parts.get(("human", i))) and not part.open]
        gate = project.plan.gates[name]
        yield {
            "name": name,
            "asks": gate.asks,
            "month": gate.p80_month,
            "state": state,
            "answered": len(done),
            "asked": len(asked),
            "needs": [(f.id, markup.inline(f.message)) for f in state.needs],
            "next": not state.open and not state.waits,
        }


def _timeline(project: Project) -> Markup:
    """Draw when each gate is due: the likely month as a bar, the one of four in five in words."""
    rows, before = [], 0.0
    for name, gate in project.plan.gates.items():
        if gate.month is not None and gate.p80_month is not None and gate.month:
            text = f"month {number(gate.month, 1)}, 80 %: {number(gate.p80_month, 1)}"
            rows.append((name, before, gate.month, text, ""))
            before = gate.month
    return charts.timeline(rows, "Months from the start until each gate", "month")


def _tasks(project: Project) -> Markup:
    """Draw the team's tasks in weeks; nothing where it keeps none."""
    figures = measured.figures(project)
    progress = figures.read(project) if figures else None
    if progress is None or not progress.tasks:
        return Markup("")
    schedule = figures.critical_path(progress.tasks)
    rows = []
    for name, task in progress.tasks.items():
        end = schedule.ends[name]
        kind = "done" if task.done else "low" if name in schedule.path else ""
        text = f"done {task.done}" if task.done else f"week {number(end, 1)}"
        if progress.start and not task.done:
            text = str(progress.start + dt.timedelta(days=round(7 * end)))
        rows.append((task.what, end - task.expected, end, text, kind))
    return charts.timeline(rows, "Weeks from the start until each task ends", "week")


def _people(project: Project) -> list[dict[str, str]]:
    """Return who is accountable, responsible, consulted and informed, by name where one is."""
    figures, answers = measured.figures(project), project.plan.answers
    if figures is None:
        owner, oncall = str(answers["owner"]), str(answers["oncall"])
        return [
            {"area": "goal, data, model, release", "accountable": owner, "responsible": owner},
            {"area": "operation", "accountable": owner, "responsible": oncall},
        ]
    roles = figures.read(project).roles

    def named(*asked: str) -> str:
        return ", ".join(
            f"{role} ({' '.join(roles[role])})" if roles.get(role) else f"{role} (nobody yet)"
            for role in asked
        )

    return [
        {
            "area": duty.area,
            "accountable": named(duty.accountable),
            "responsible": named(duty.responsible),
            "consulted": named(*duty.consulted),
            "informed": named(*duty.informed),
        }
        for duty in project.plan.responsibilities
    ]


def _owed(plan: Plan, parts: Parts) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return who owes which open answers, with the date of each; nobody comes first."""
    found: dict[str, list[tuple[str, str]]] = {}
    for identifier, part in unanswered(plan, parts).items():
        owner, due = (field(part, name) for name in ("owner", "due"))
        found.setdefault(owner, []).append((identifier, due))
    return sorted(found.items())


def field(part: Part, name: str) -> str:
    """Return owner, due or status of a human part, "" for none."""
    value = part.attributes.get(name, "none").strip()
    return "" if value.lower() in ("none", "nobody") else value


def _log(project: Project, parts: Parts) -> Iterator[Entry]:
    """Yield overrides, waivers and approvals, with the day on which git got them."""
    plan = project.plan
    dates = _dates(project, "plan/overrides.yaml")
    for i, override in plan.overrides.items():
        date, who = dates.get((i,), ("", ""))
        decision = plan.decisions[i]
        taken, given = decision.said(override.value), decision.said(decision.value)
        yield Entry(date, i, f"override: {taken} in place of {given}", who, override.reason)
    for i, waiver in plan.waivers.items():
        date, _ = dates.get(("waivers", i), ("", ""))
        what = f"waiver until {waiver.until}"
        yield Entry(date, i, what, waiver.owner, waiver.reason)
    for (kind, i), part in parts.items():
        status = part.attributes.get("status", "")
        if kind == "human" and status in SIGNATURES:
            by, on = (part.attributes.get(name, "") for name in ("by", "on"))
            yield Entry(on, i, status, by, "")


def _against(project: Project) -> Iterator[tuple[str, str, str, str, tuple[str, ...]]]:
    """Yield each decision with what was not chosen, and since when git has it so."""
    plan = project.plan
    dates = _dates(project, "plan/plan.yaml")
    for i, decision in plan.decisions.items():
        if decision.alternatives and decision.output != "verdict":  # that stands at the top
            since, _ = dates.get(("decisions", i, "value"), ("", ""))
            taken = decision.said(decision.value)
            yield i, taken, since, f"{decision.rule}: {decision.why}", decision.alternatives


def _dates(project: Project, name: str) -> dict[tuple[str, ...], tuple[str, str]]:
    """Return day and author of the line of each key of a YAML file, as git has them.

    Nothing without git; keys that are not committed are left out.
    """
    path = project.path(name)
    if not path.exists():
        return {}
    try:
        told = git(project.root, "blame", "--line-porcelain", "--", name)
    except ProjectError:
        return {}
    lines: list[tuple[str, str]] = []
    now: dict[str, str] = {}
    for line in told.split("\n"):
        if line.startswith("\t"):
            day = dt.datetime.fromtimestamp(int(now.get("author-time", "0")), dt.UTC).date()
            known = now.get("author-mail") != "<not.committed.yet>"
            lines.append((str(day), now.get("author", "")) if known else ("", ""))
            now = {}
        else:
            word, _, rest = line.partition(" ")
            now[word] = rest
    root = yaml.compose(path.read_text(encoding="utf-8"), Loader=LOADER)
    return {key: lines[at] for key, at in _keys(root) if at < len(lines)}


def _keys(node: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield each key of the upper three levels with the number of its line, from 0."""
    if isinstance(node, yaml.MappingNode) and len(above) < 3:
        for key, value in node.value:
            yield (*above, str(key.value)), key.start_mark.line
            yield from _keys(value, (*above, str(key.value)))


def _sections(plan: Plan, parts: Parts, text: str) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the blocks under the headings of PLAN.md, in its order."""
    lines = text.split("\n")
    heads = [n for n, line in enumerate(lines) if line.startswith("## ")]
    found: dict[int, list[str]] = {n: [] for n in heads}
    for part in sorted(parts.values(), key=lambda part: part.start):
        above = [n for n in heads if n < part.start]
        known = part.identifier in plan.blocks and not plan.blocks[part.identifier].row
        if above and known and part.identifier not in (*TOP, *found[above[-1]]):
            found[above[-1]].append(part.identifier)
    return [
        (lines[n].removeprefix("## ").strip(), [_shown(plan, parts, i) for i in ids])
        for n, ids in found.items()
        if ids
    ]


def _shown(plan: Plan, parts: Parts, identifier: str) -> dict[str, Any]:
    """Return all that a block says."""
    block = plan.blocks[identifier]
    human = parts.get(("human", identifier))
    said = {
        kind: markup.html(in_full(plan, part.lines), breaks=True)
        if (part := parts.get((kind, identifier)))
        else ""
        for kind in ("auto", "measured")
    }
    taken = [
        f"- By the team: {plan.blocks[i].title}: {measured.overridden(plan, i)}"
        for i in sorted(plan.overrides)
        if i == identifier or (plan.blocks[i].row and identifier == "CHOICES")
    ]
    marks = human.attributes if human else {}
    signed = marks.get("status") in SIGNATURES
    return {
        "id": identifier,
        "title": block.title,
        "gate": block.gate,
        "place": places(plan)[identifier],
        "applies": block.applies,
        "question": block.question,
        "taken": markup.html(taken),
        "human": human is not None,
        "answer": markup.html(human.lines) if human and not human.open else "",
        "owner": field(human, "owner") if human else "",
        "due": field(human, "due") if human else "",
        "status": marks.get("status", ""),
        "signed": [marks["status"], marks.get("by", "?"), marks.get("on", "?")] if signed else [],
        **said,
    }


def _notes(text: str) -> list[str]:
    """Return what the team wrote below the last heading."""
    _, found, notes = text.partition(NOTES)
    lines = notes.strip().splitlines() if found else []
    return [line for line in lines if not re.match(r"[_*]Write below this line .*[_*]$", line)]
