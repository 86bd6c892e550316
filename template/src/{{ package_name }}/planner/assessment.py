"""The draft of an assessment of what the project does to people (DPIA), of all that is known."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..engine import report, storage
from ..engine.data import contract, sources
from ..engine.errors import ProjectError
from ..engine.formats import count, number
from ..engine.settings import Plan, Project
from . import grounds, markup, measured, sourced
from .blocks import SIGNATURES, Parts, code, escape, read, survey, unread
from .compared import report as of_run
from .report import fresh, lineage, said
from .signing import stale

DUE = {  # duties by law that ask for such a page
    "impact_assessment",
    "uk_impact_assessment",
    "ccpa_risk_assessment",
    "hipaa_risk_assessment",
    "fundamental_rights_assessment",
}
TOGETHER = "Somebody is told apart by a few columns together"
# What may happen to people, and the block that a command measures it for.
RISKS = {
    "Somebody learns whose row the model learnt from": "SEC-02",
    TOGETHER: "DATA-03",
    "A column stands for a protected group": "DATA-03",
    "A group is worse off": "EVAL-06",
    "Decisions are wrong": "EVAL-03",
    "The model goes on deciding after the world has changed": "MON-01",
}
NO_PROXY = (
    "Measured: no feature was found to stand for a group; a group that no column of the contract "
    "names cannot be looked at."
)
JUDGED = ("RISK-01", "RISK-02", "ETH-01", "REG-03")  # where people say which risk is left
SIGNED = ("PRIV-01", "RISK-01", "ETH-01", "APPR-03")


def run(project: Project) -> list[Path]:
    """Write reports/plan_privacy.md and .html; return both paths.

    ProjectError where the rows are about nobody.
    """
    plan = project.plan
    if not plan.answers["personal_data"]:
        raise ProjectError(
            "personal_data of the plan is no, so that there is nobody to assess it for: "
            "`ml update --data personal_data=yes` if rows are about people"
        )
    if "DATA-05" in plan.blocks:
        sourced.run(project)
    parts, problems = survey(read(project.path("PLAN.md")))
    parts = fresh(project, parts)
    title = "Effect on people, a draft (DPIA)"
    lines = [
        f"# {title}: {escape(plan.project.name)}",
        "",
        "From answers, contract and reports, as far as they go; ids are those of PLAN.md. People "
        "complete it there, in the block that each open question names, and sign it.",
        "",
        *unread(problems),
        *_due(plan),
    ]
    for head, found in (
        ("1 What is done, and for what", _blocks(project, parts, "PROB-01", "OBJ-01", "SCOPE-01")),
        ("2 Data and where they come from", _data(project, parts)),
        ("3 Ground, purpose and need of each column", _columns(project, parts)),
        ("4 Who gets data or answers, and who was asked", _readers(project, parts)),
        ("5 How long rows are kept", _blocks(project, parts, "DATA-04")),
        ("6 Rights of people", _rights(project)),
        ("7 Risks to people, with what was measured", _risks(project, parts)),
        ("8 Measures", _blocks(project, parts, "PRIV-02", "RISK-02", "FAIR-01", "REG-04")),
        ("9 Risk that is left", _left(plan, parts)),
        ("10 Signatures", _signatures(plan, parts)),
    ):
        lines += ["", f"## {head}", "", *found]
    lines = [line for before, line in pairwise(["", *lines]) if before or line]
    folder = project.path("reports")
    markdown, page = folder / "plan_privacy.md", folder / "plan_privacy.html"
    storage.write_text(markdown, "\n".join(lines) + "\n")
    body = markup.html(lines, level=0)
    report.render("plan.html", page, title=f"{title}: {plan.project.name}", body=body, kind="")
    return [markdown, page]


def _due(plan: Plan) -> Iterator[str]:
    """Say which assessments are due by the answers, and why."""
    due = [duty for duty in plan.duties if duty.id in DUE]
    for duty in due:
        yield f"- **Due:** {duty.duty} ({duty.article}): {duty.reason}"
    if not due:
        yield "No assessment is due by the answers; PRIV-01 says when one would be."


def _blocks(project: Project, parts: Parts, *ids: str) -> Iterator[str]:
    """Return what blocks say, and the question of each that nobody has answered."""
    for identifier in ids:
        if identifier in project.plan.blocks:
            yield from ("", f"### {project.plan.blocks[identifier].title} ({identifier})", "")
            yield from said(project, parts, identifier)
            if ("human", identifier) in parts and identifier not in JUDGED:
                yield from ("", *_open(project.plan, parts, identifier))


def _open(plan: Plan, parts: Parts, identifier: str) -> Iterator[str]:
    """Return the question of a block as long as nobody has answered it."""
    if parts["human", identifier].open:
        yield f"- **Open ({identifier}):** {plan.blocks[identifier].question}"


def _answer(plan: Plan, parts: Parts, identifier: str) -> Iterator[str]:
    """Return what people wrote in a block, or its question as open."""
    human = parts.get(("human", identifier))
    if human is None:
        return
    yield from ("", *_open(plan, parts, identifier))
    if not human.open:
        yield from (f"**{plan.blocks[identifier].title} ({identifier}):**", "", *human.shown)


def _data(project: Project, parts: Parts) -> Iterator[str]:
    if "DATA-05" in project.plan.blocks:
        yield from _blocks(project, parts, "DATA-05")
    else:
        for source in sources.of(project.contract_path):
            told = f"{source.server} ({source.system}), {source.kind}: {source.place}"
            yield f"- Source: {escape(told)}; owner {escape(source.owner) or 'unknown'}"
    rows = of_run(project, "data_quality").get("rows")
    told = f"{count(rows, 'row')} were read last" if rows else "not measured: run `ml validate`"
    if of_run(project, "data_quality").get("made_up"):
        told += ", which are made up: of nobody"
    yield from (
        f"- Rows: {told}",
        *(f"#{line}" if line.startswith("##") else line for line in lineage(project)),
    )


def _columns(project: Project, parts: Parts) -> Iterator[str]:
    """Say of each personal column why it is there, and of the others that rows are people's."""
    plan, agreed = project.plan, contract.read(project.contract_path)
    personal = grounds.rows(agreed, plan)
    found = of_run(project, "explain").get("needless")
    idle = set(found["columns"]) if found else set[str]()
    if personal:
        yield from ("| Column | Role | Ground | Purpose |", "|---|---|---|---|")
    for one in personal:
        basis, purpose = grounds.WORDS[one["legal_basis"]], escape(one["purpose"])
        cells = [code(one["column"]), grounds.use(one), basis, purpose or grounds.PURPOSE]
        yield f"| {' | '.join(cells)} |"
    rest = [code(column.name) for column in agreed.columns if not column.personal]
    basis = grounds.WORDS[plan.answers.get("legal_basis", "undecided")]
    yield ""
    yield (
        f"- Not classified as personal: {', '.join(rest) or 'none'}. A row is about a person, so "
        f"these are data about one, too; ground: {basis}; purpose: {grounds.PURPOSE}"
    )
    if found is None:
        yield "- Columns that the model does as well without: not measured: run `ml explain`"
    elif idle:
        yield (
            f"- The model does as well without {', '.join(map(code, sorted(idle)))}: it loses "
            f"{number(found['loss']['value'], 4)} of its metric, and half of the smallest gain is "
            f"{number(found['limit'], 4)}; leave them out (`role: excluded`), or say why not"
        )
    else:
        yield "- Columns that the model does as well without: none by measurement (EXPL-01)"
    yield from _answer(plan, parts, "PRIV-01")


def _readers(project: Project, parts: Parts) -> Iterator[str]:
    access = sources.access(project.contract_path)
    may = ", ".join(f"{escape(one.role)} may {one.access}" for one in access)
    yield f"- Rows: {may or 'nobody has said who may read them (`roles` of the contract)'}"
    yield from _blocks(project, parts, "PRIV-03", "STAKE-01")


def _rights(project: Project) -> Iterator[str]:
    """Return a command for each right, and how often it was used."""
    erased = project.path("reports/erased")
    forgotten, old = (len([*erased.glob(f"{kind}-*.json")]) for kind in ("forget", "retain"))
    yield from (
        "| Right | How | Used |",
        "|---|---|---|",
        "| to be told | a notice says what PRIV-03 lists | |",
        "| to see and correct one's data | in the source, by its owner (section 2), then "
        "`ml ingest` and `ml run` | |",
        f"| to be erased | `ml forget KEY`, with a certificate | {count(forgotten, 'time')} |",
        f"| not to be kept longer than needed | `ml retain` | {count(old, 'time')} |",
        "| to know why | `ml explain`, and EXPL-01 | |",
        "| to have a person look again | `ml overrule`, with a reason | |",
    )
    if grounds.by_consent(project):
        yield "| to take consent back | `consent` of the contract, and `ml forget KEY` | |"


def _risks(project: Project, parts: Parts) -> Iterator[str]:
    """Say of each risk what was measured, or which command measures it."""
    plan = project.plan
    for risk, identifier in RISKS.items():
        if identifier not in plan.blocks:
            continue
        part = parts.get(("measured", identifier))
        told = [line for line in part.shown if line] if part else []
        if identifier == "DATA-03" and (profile := of_run(project, "profile")):
            told = [_together(profile) if risk == TOGETHER else _proxies(profile)]
        yield from (f"**{risk}** ({identifier})", "")
        told = told or [f"not measured: run `{plan.blocks[identifier].measured}`."]
        yield from (line[:1].upper() + line[1:] for line in told)
        yield ""
    yield from _blocks(project, parts, "RISK-01")


def _proxies(profile: dict[str, Any]) -> str:
    return measured.proxies(profile.get("proxies", [])).strip() or NO_PROXY


def _together(profile: dict[str, Any]) -> str:
    looked = profile.get("together")
    if looked is None:
        return "not measured: run `ml profile`."
    if told := measured.together(looked.get("found", [])).strip():
        return f"{told}; coarser values (a year, a region) or fewer columns tell less"
    names = ", ".join(map(code, looked.get("columns", [])))
    if not names:
        return "Measured: no column was found that others may know of a person."
    return f"Measured: {names}, up to three of them together, leave less than 1 % of people alone."


def _left(plan: Plan, parts: Parts) -> Iterator[str]:
    for identifier in JUDGED:
        yield from _answer(plan, parts, identifier)


def _signatures(plan: Plan, parts: Parts) -> Iterator[str]:
    """Say who signed what the page rests on, and the command for what nobody has."""
    yield from ("| Block | Signed |", "|---|---|")
    for identifier in SIGNED:
        if human := parts.get(("human", identifier)):
            marks = human.attributes
            told = f"no: `ml plan approve {identifier} --by @name`"
            if marks.get("status") in SIGNATURES:
                told = f"{marks['status']} by {escape(marks['by'])} on {marks['on']}"
                told += ", but it has changed since" * bool(stale(plan, parts, human))
            yield f"| {plan.blocks[identifier].title} ({identifier}) | {told} |"
    yield ""
    yield "What a data protection officer advises belongs into the answer of PRIV-01."
