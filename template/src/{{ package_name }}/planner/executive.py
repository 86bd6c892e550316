"""The plan on one A4 page for those who decide: what is asked, verdict, evidence, money, risks."""

import re
from collections.abc import Iterator
from pathlib import Path

from markupsafe import Markup

from ..engine import report, storage
from ..engine.formats import number, percent
from ..engine.report import charts
from ..engine.settings import Plan, Project
from . import check, gates, markup, measured
from .blocks import Parts, escape, read, survey, unanswered, unread
from .compared import MISSING
from .measured import overridden
from .quantities import Evidence

NOBODY = "**nobody yet**"
ROWS = 4  # of evidence, and of what is open
RISKS = 3
LONG = 6  # titles in a row
# What decides first: value, quality, work for people, data.
FIRST = ("Value a year", "Primary metric", "Cases a day", "Rows", "Gain over best baseline")
SCENARIOS = {
    "npv_stop_g3": "Stop at G3",
    "npv_adverse": "Late and dear",
    "npv_half_benefit": "Half the benefit",
    "npv_double_cost": "Double cost",
    "npv_three_months_late": "3 months late",
    "npv": "As planned",
    "npv_early": "Early",
}


def run(project: Project) -> list[Path]:
    """Write reports/plan_exec.md and .html; return both paths."""
    parts, problems = survey(read(project.path("PLAN.md")))
    name = project.plan.project.name
    money = _scenarios(project.plan)
    held = Evidence(project)
    verdict = held.verdict()
    above = [f"# {escape(name)}: decision on one page", "", *unread(problems)]
    above += _asked(project, parts, verdict, held.unfounded)
    above += ["", *_verdict(project.plan, verdict), "", *_evidence(held)]
    below = ["", *_risks(project, parts), "", *_open(project, parts), ""]
    below += [*_refused(project.plan, parts), *_taken(project.plan)]
    cells = (f"| {name} | {text} |" for name, _, text in money)
    table = ["", f"| {_title(project.plan)} | NPV |", "|---|--:|", *cells]
    folder = project.path("reports")
    markdown, page = folder / "plan_exec.md", folder / "plan_exec.html"
    storage.write_text(markdown, "\n".join([*above, *table, *below]).rstrip() + "\n")
    chart = charts.bars(money, _title(project.plan))
    figure = Markup("<figure><figcaption>{}</figcaption>{}</figure>").format(
        _title(project.plan), chart
    )
    body = markup.html(above, level=0) + figure + markup.html(below, level=0)
    report.render("plan.html", page, title=f"{name}: decision on one page", body=body, kind="sheet")
    return [markdown, page]


def _asked(project: Project, parts: Parts, verdict: str, unfounded: str) -> Iterator[str]:
    """Say what those who decide are asked for: money to the next look, and a name.

    Where figures are `unfounded` these come first: nobody can release money by them.
    """
    plan, answers = project.plan, project.plan.answers
    currency, cost = escape(answers["currency"]), answers["build_cost"]
    budget = plan.computed["VAL-01"]["build_cost"].value or 0
    if verdict.startswith("**stop**"):
        yield "**Asked of you: stop, or change the plan.** No money on this verdict:"
        return
    closed = _closed(project)
    stage = "G3" if "G3" in closed else "G5"
    gate = plan.gates[stage]
    share = 1.0 if gate.share is None else gate.share  # G5: all that is left
    month, late = gate.month or 0, gate.p80_month or 0
    start = (plan.gates["G3"].share or 0) if stage == "G5" else 0
    likely = (share - start) * cost
    slipped = (share - start) * float(budget)
    end = "where the project may still stop" if stage == "G3" else "where use has proven it"
    name = ""
    vouch = parts.get(("human", "VAL-01"))
    if vouch is not None and vouch.open:
        benefit = number(plan.computed["VAL-01"]["benefit"].value)
        name = f"; name who vouches for the benefit of {benefit} {currency} a month"
    next_gate = f" for gate {closed[0]}" if closed else ""
    what = "money and one name" if name else "money"
    release = f"Release at most {number(likely)} {currency}"
    if unfounded:
        what = "figures first" + ", and one name" * bool(name)
        release = f"Then, and not before, release at most {number(likely)} {currency}"
    yield f"**Asked of you: {what}{next_gate}.** {release}"
    yield f"for the work up to gate {stage} (month {number(month, 1)} if all goes as likely), {end}"
    yield (
        f"({number(slipped)} {currency} if the schedule slips to its 80 % case, "
        f"month {number(late, 1)}){name}."
    )


def _verdict(plan: Plan, verdict: str) -> Iterator[str]:
    found = {name: figure.value for name, figure in plan.computed["VAL-01"].items()}
    named = re.sub(r"`(\w+_\w+)`", lambda name: name[1].replace("_", " "), verdict)
    yield f"**Verdict:** {named.rstrip('.')}."
    months = found.get("payback_month")
    of = plan.answers["horizon_months"]
    back = f"it is not paid back within {of} months"
    if months is not None:
        back = f"it is paid back in month {months} of {of}"
    margin = found.get("margin_of_safety")
    safe = "" if margin is None else f", with a margin of safety of {percent(float(margin))}"
    yield f"By the answers, {back}{safe}."


def _evidence(held: Evidence) -> list[str]:
    """Return the rows that decide: what contradicts the plan first, and measured before open."""
    rows = [row for row in held.rows() if row.quantity in FIRST]
    order = {row.quantity: ("contradicts" not in row.says, row.measured == MISSING) for row in rows}
    rows.sort(key=lambda row: (*order[row.quantity], FIRST.index(row.quantity)))
    head = "Measured on made-up data" if held.made_up else "Measured (95 %)"
    shown = [("Evidence", "Planned", head, "Says"), ("---", "--:", "--:", "---")]
    shown += [(row.quantity, row.planned, row.measured, row.says) for row in rows[:ROWS]]
    return [f"| {' | '.join(row)} |" for row in shown]


def _title(plan: Plan) -> str:
    return f"Net present value in {plan.answers['horizon_months']} months, by scenario"


def _scenarios(plan: Plan) -> list[tuple[str, float, str]]:
    """Return name, value and text of each scenario, the worst first."""
    currency = str(plan.answers["currency"])
    found = plan.computed["VAL-01"]
    rows = [
        (title, float(found[name].value or 0))
        for name, title in SCENARIOS.items()
        if name in found and found[name].value is not None
    ]
    return [(name, value, f"{number(value)} {currency}") for name, value in sorted(rows, key=_size)]


def _size(row: tuple[str, float]) -> float:
    return row[1]


def _risks(project: Project, parts: Parts) -> list[str]:
    """Return the largest risks of the register, or those that every plan knows."""
    plan = project.plan
    head = ["| Largest risks | Score | Watched by | Owner |", "|---|--:|---|---|"]
    if figures := measured.figures(project):
        roles = figures.read(project).roles
        largest = sorted(plan.risks, key=lambda risk: -risk.score)[:RISKS]
        return head + [
            f"| {_sentence(risk.risk)} | {risk.likelihood} x {risk.impact} = {risk.score} "
            f"| {_named(plan, risk.watched)} "
            f"| {escape(', '.join(roles.get(risk.owner, ()))) or f'{NOBODY}, role: {risk.owner}'} |"
            for risk in largest
        ]
    block = plan.blocks["RISK-01"]
    known = " ".join(re.sub(r"^- \S+ ", "", line) for line in block.lines)
    known = re.sub(r"^known: ", "", known, flags=re.IGNORECASE).rstrip(".")
    human = parts.get(("human", "RISK-01"))
    owner = _owner(human.attributes if human else {})
    owner = owner if owner != NOBODY else f"{NOBODY}, on call: {escape(plan.answers['oncall'])}"
    return head + [
        f"| {_sentence(risk)} | not scored | {block.title} | {owner} |"
        for risk in known.split("; ")[:RISKS]
    ]


def _open(project: Project, parts: Parts) -> list[str]:
    """Return what is open, gate by gate: who owes it, and until when."""
    plan = project.plan
    found: dict[tuple[str, str], list[str]] = {}
    dates: dict[tuple[str, str], str] = {}
    for i, part in unanswered(plan, parts).items():
        block = plan.blocks[i]
        key = (block.gate, _owner(part.attributes))
        found.setdefault(key, []).append(block.title)
        due = part.attributes.get("due", "none")
        dates[key] = min(due, dates.get(key, due)) if due != "none" else dates.get(key, "")
    lines = ["| What is open | Who | When |", "|---|---|---|"]
    for gate, owner in sorted(found)[:ROWS]:
        month = plan.gates[gate].p80_month
        when = dates[gate, owner] or (f"month\u00a0{number(month, 1)}" if month else "no date set")
        titles = found[gate, owner]
        more = f" and {len(titles) - LONG} more" if len(titles) > LONG else ""
        lines.append(f"| {', '.join(titles[:LONG])}{more} | {owner} | before {gate}, {when} |")
    later = sum(len(found[key]) for key in sorted(found)[ROWS:])
    if later:
        lines.append(f"| {later} more questions | see `ml plan check` | later gates |")
    return lines if found else ["Every question of the plan is answered."]


def _refused(plan: Plan, parts: Parts) -> Iterator[str]:
    """Say who said no to what."""
    told = [
        f"{plan.blocks[i].title} by {escape(part.attributes.get('by', '?'))}"
        for (kind, i), part in parts.items()
        if kind == "human" and i in plan.blocks and part.attributes.get("status") == "rejected"
    ]
    if told:
        yield f"**Rejected:** {'; '.join(told)}."
        yield ""


def _taken(plan: Plan) -> Iterator[str]:
    """Say what the team decided otherwise than the rules, and who let a gate pass."""
    told = [f"{plan.blocks[i].title}: {overridden(plan, i)}" for i in sorted(plan.overrides)]
    told += [
        f"{plan.blocks[i].title}: waived by {escape(waiver.owner)} until {waiver.until}"
        for i, waiver in plan.waivers.items()
    ]
    if told:
        more = f"; {len(told) - RISKS} more" if len(told) > RISKS else ""
        yield f"Against the rules: {'; '.join(told[:RISKS])}{more}."


def _named(plan: Plan, text: str) -> str:
    """Write ids of blocks as their titles."""
    text = text.removeprefix("watched by ").rstrip(".")
    known = {i: block.title.lower() for i, block in plan.blocks.items()}
    return _sentence(re.sub(r"[A-Z]+-\d\d", lambda found: known.get(found[0], found[0]), text))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _owner(marks: dict[str, str]) -> str:
    name = marks.get("owner", "none")
    return NOBODY if name in ("none", "nobody", "") else escape(name)


def _closed(project: Project) -> list[str]:
    """Return the gates that are not open yet, the first one first."""
    states = gates.states(project.plan, check.check(project, check.GATES[-1]))
    return [name for name, state in states.items() if not state.open]
