"""One page of the plan for one kind of reader, with what the runs measured: Markdown and HTML."""

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ..engine import report, storage
from ..engine.errors import ProjectError
from ..engine.settings import Project
from . import check, evidence, executive, markup, measured, quantities
from .blocks import HIDDEN, Parts, escape, read, survey, unanswered, unread


class Audience(NamedTuple):
    """Who reads, what they want to know, and the blocks that say it, in their order."""

    title: str
    question: str
    blocks: tuple[str, ...]


AUDIENCES = {
    "engineering": Audience(
        "Service and operation",
        "How is it delivered, what must it withstand, who acts when?",
        (
            *("PLAT-01", "PLAT-02", "DEP-01", "DEP-02", "DEP-04", "DEP-05", "SEC-01", "COST-01"),
            *("DEP-03", "MON-01", "MON-02", "MON-03", "OPS-01"),
        ),
    ),
    "data": Audience(
        "Data and model",
        "Which data, how judged, how good?",
        (
            *("DATA-01", "DATA-02", "DATA-03", "DATA-04", "DATA-05", "PRIV-01"),
            *("PRIV-02", "PRIV-03"),
            *("PRIV-04", "REG-01", "TRAIN-01"),
            *("MOD-02", "EVAL-01", "EVAL-03", "EVAL-05", "EVAL-06", "EVAL-07", "EXPL-01"),
            "MON-01",
        ),
    ),
    "team": Audience(
        "Work and people",
        "Who does what until when, and what is open?",
        ("TEAM-01", "TEAM-02", "SCHED-01", "BUD-01", "RISK-01", "RISK-02", "ETH-01", "COM-02"),
    ),
}
EVERYBODY = ("exec", *AUDIENCES)
PRIVACY = "privacy"  # whose page assessment.py writes
LINK = re.compile(r"\]\((?![a-z]+:|[#/])")
FENCE = re.compile(r"(?:## Flow\n\n)?```mermaid\n.*?```\n", re.DOTALL)  # a page has no script


def run(project: Project, audience: str) -> list[Path]:
    """Write reports/plan_<audience>.md and .html; return both paths."""
    if audience not in EVERYBODY:
        raise ProjectError(
            f"no audience {audience!r}: give one of {', '.join((*EVERYBODY, PRIVACY))}"
        )
    if audience == "exec":
        return executive.run(project)
    parts, problems = survey(read(project.path("PLAN.md")))
    parts = fresh(project, parts)
    chosen = AUDIENCES[audience]
    lines = [
        f"# {chosen.title}: {escape(project.plan.project.name)}",
        "",
        f"{chosen.question} From PLAN.md, whose ids stand in the headings.",
        "",
        *unread(problems),
        *_summary(project),
        *(HIDDEN.sub("", line) for line in evidence.lines(project)),
    ]
    if project.plan.overrides:
        lines += ["", "## Decisions of the team", "", *_decided(project)]
    blocks = [identifier for identifier in chosen.blocks if identifier in project.plan.blocks]
    for identifier in blocks:
        title = project.plan.blocks[identifier].title
        lines += ["", f"## {title} ({identifier})", *said(project, parts, identifier)]
    if audience in MORE:
        lines += MORE[audience](project)
    lines += ["", "## Open", "", *_open(project, parts, chosen, audience)]
    folder = project.path("reports")
    markdown, page = folder / f"plan_{audience}.md", folder / f"plan_{audience}.html"
    storage.write_text(markdown, "\n".join(lines) + "\n")
    body = markup.html(FENCE.sub("", "\n".join(lines)).split("\n"), level=0)
    title = f"{chosen.title}: {project.plan.project.name}"
    report.render("plan.html", page, title=title, body=body, kind="")
    return [markdown, page]


def fresh(project: Project, parts: Parts) -> Parts:
    """Return the parts with what the reports say now, which PLAN.md may not have yet."""
    with suppress(ProjectError):  # of another version: what PLAN.md says stays
        for identifier, lines in measured.measured(project).items():
            if part := parts.get(("measured", identifier)):
                part.lines = lines
    return parts


def _summary(project: Project) -> list[str]:
    """Return the warnings of the summary; the verdict of the answers alone is not for a page."""
    lines = project.plan.blocks["SUMMARY"].lines
    return [part for line in lines if line.startswith("Warnings:") for part in (line, "")]


def _decided(project: Project) -> list[str]:
    """Return each decision that the team took in place of a rule."""
    plan, taken = project.plan, sorted(project.plan.overrides)
    return [f"- {plan.blocks[i].title} ({i}): {measured.overridden(plan, i)}" for i in taken]


def said(project: Project, parts: Parts, identifier: str) -> list[str]:
    """Return what a block says: generated lines, measurement, and the answer of people."""
    found = [_item(line) for line in project.plan.blocks[identifier].lines]
    if taken := measured.overridden(project.plan, identifier):
        found.append(f"- By the team: {taken}")
    told, human = (parts.get((kind, identifier)) for kind in ("measured", "human"))
    if told is not None:
        found += [_item(line) for line in told.shown]
    if human is not None and not human.open:
        found += ["", *human.shown]
    return [LINK.sub("](../", line) for line in found]  # seen from reports/


def _item(line: str) -> str:
    """Return a generated line as an item of a list; rows of a table stay, after an empty line."""
    shown = HIDDEN.sub("", line)
    return shown if not shown or shown.startswith("|") else f"- {shown}"


def _status(project: Project) -> list[str]:
    """Return the blocks of each gate in numbers, and the tasks where the team keeps them."""
    rows = [[gate, *map(str, row.values())] for gate, row in check.counts(project).items()]
    table = [["Gate", *check.COLUMNS], ["---"] * (1 + len(check.COLUMNS)), *rows]
    lines = ["", "## Blocks of the plan", "", *(f"| {' | '.join(row)} |" for row in table)]
    tasks = project.path("reports/schedule.md")
    if tasks.exists():
        lines += ["", "## Tasks", "", *tasks.read_text(encoding="utf-8").splitlines()]
    return lines


def _flow(project: Project) -> list[str]:
    return ["", "## Flow", "", *quantities.Evidence(project).flow()]


def _checks(project: Project) -> list[str]:
    """Return how many rows broke each rule of the contract when the data came last."""
    path = project.path("reports/data_quality.json")
    if not path.exists():
        return []
    found: dict[str, Any] = storage.read_json(path)
    counts = {**found.get("warnings", {}), **found.get("rules", {})}
    rows = [f"| {escape(rule)} | {count} |" for rule, count in sorted(counts.items())]
    lines = ["", "## Rules of the contract that rows broke", "", "| Rule | Rows |", "|---|---|"]
    told = [*lines, *rows] if rows else [*lines[:3], "None."]
    told += ["", escape(found["since"])] if "since" in found else []
    if project.path("reports/profile.html").exists():
        told += ["", "What each column means and held: [data dictionary](profile.html#dictionary)."]
    return told


def _for_data_people(project: Project) -> list[str]:
    return [*_checks(project), *lineage(project)]


def lineage(project: Project) -> list[str]:
    """Return from which snapshot, contract and commit each version was made."""
    path = project.path("models/registry.json")
    lines = ["", "## What each model was made from", ""]
    if not path.exists():
        return [*lines, "No model yet."]
    known: dict[str, Any] = storage.read_json(path)
    lines += ["| Version | State | Snapshot | Contract | Commit |", "|---|---|---|---|---|"]
    for version, entry in known["versions"].items():
        place = path.parent / version / "manifest.json"
        manifest: dict[str, Any] = storage.read_json(place) if place.is_file() else {}
        commit = (manifest.get("commit") or "not known")[:12]
        commit += " and changes" if manifest.get("changed") else ""
        snapshot = manifest.get("snapshot_sha256") or manifest.get("data_sha256")
        made = (
            (one or "no longer there")[:15] for one in (snapshot, manifest.get("contract_sha256"))
        )
        lines.append(f"| {' | '.join([version, entry['status'], *made, commit])} |")
    return [*lines, "", "`ml lineage` tells the sources of each snapshot, and draws it."]


# What a page shows beside its blocks.
MORE: dict[str, Callable[[Project], list[str]]] = {
    "engineering": _flow,
    "data": _for_data_people,
    "team": _status,
}


def _open(project: Project, parts: Parts, chosen: Audience, audience: str) -> list[str]:
    """Return the questions that nobody has answered: of these blocks, or the team's by gate."""
    blocks = project.plan.blocks
    asked = unanswered(project.plan, parts)
    if audience == "team":
        gates = sorted({blocks[i].gate for i in asked})
        ids = {gate: [i for i in asked if blocks[i].gate == gate] for gate in gates}
        return [f"- {gate}: {', '.join(ids[gate])}" for gate in gates] or ["Nothing."]
    names = [i for i in chosen.blocks if i in asked]
    return [f"- {i}: {blocks[i].question}" for i in names] or ["Nothing."]
