"""Signatures below answers: who may sign, what a signature covers, and whether it still holds."""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from ..engine import audit, storage
from ..engine.errors import CheckFailed, ProjectError
from ..engine.formats import number
from ..engine.git import git
from ..engine.settings import Plan, Project
from . import answers, measured
from .blocks import (
    HIDDEN,
    SIGNATURES,
    Part,
    Parts,
    current_day,
    in_full,
    meaning_hash,
    nobody,
    read,
    rewrite,
    survey,
)
from .gates import Finding

# What a signature covers, in the order of its hashes.
SEEN = (
    *("generated text", "measurement", "written text", "override", "question"),
    "owner, approver or date",
)
SETTLED_BY = {"OBJ-01": "EVAL-01"}  # the limit of the primary metric goes with its override


def approve(
    project: Project, identifier: str, by: str | None, due: str | None, *, reject: bool = False
) -> str:
    """Sign a human block as approved or rejected: by whom, when, and the hash of all it covers.

    Without `by` it is git's user. Returns a sentence that says so, and whether the owner approves
    their own block.
    """
    path = project.path("PLAN.md")
    text = read(path)
    parts, problems = survey(text)
    if own := [p.message for p in problems if p.level == "error" and p.identifier == identifier]:
        raise CheckFailed(f"PLAN.md: {'; '.join(own)}")
    human = parts.get(("human", identifier))
    if human is None:
        known = ", ".join(name for kind, name in parts if kind == "human")
        raise ProjectError(f"no block {identifier} to approve; there are {known}")
    if human.open:
        raise CheckFailed(f"{identifier}: write its answer in PLAN.md first, there is none yet")
    by = by or git_user(project, human.attributes["owner"])
    if nobody(by) or not re.fullmatch(r"[\w@.+'-]+( [\w@.+'-]+)*", by):
        raise ProjectError(f"--by {by!r}: give a name, such as @eva or Ana Maria")
    if due is not None:
        if (day := answers.due(due, current_day())) == "none":
            raise ProjectError(f"--due {due!r}: give {answers.DATES}")
        due = day
    stranger = _stranger(project, identifier, by)
    if stranger and project.plan.answers["plan_depth"] == "regulated":
        raise CheckFailed(f"{identifier}: {stranger}")
    today = current_day().isoformat()
    status = SIGNATURES[reject]
    human.attributes |= {"status": status, "by": by, "on": today}
    human.attributes["of"] = _signature(project.plan, parts, identifier)
    if due is not None:
        human.attributes["due"] = due
    storage.write_bytes(path, rewrite(text, human).encode("utf-8"))
    audit.note(project, status, block=identifier, by=by, of=human.attributes["of"])
    themselves = " (their own block)" if self_approved(human) else ""
    said = f"{identifier} {status} by {by}{themselves}"
    return said + (f"; {stranger}" if stranger else "")


def signers(project: Project, parts: Parts) -> Iterator[Finding]:
    """Yield the blocks that somebody approved whom their roles do not name."""
    regulated = project.plan.answers["plan_depth"] == "regulated"
    for (kind, identifier), part in parts.items():
        signed = kind == "human" and part.attributes.get("status") == "approved"
        if signed and (said := _stranger(project, identifier, part.attributes.get("by", ""))):
            yield Finding("error" if regulated else "warning", identifier, said)


def stale(plan: Plan, parts: Parts, human: Part) -> Finding | None:
    """Say what has changed since somebody approved a block."""
    identifier, signed = human.identifier, human.attributes.get("of", "")
    now = _signature(plan, parts, identifier).split(".")
    then = signed.split(".")
    if len(then) not in range(len(SEEN) - 2, len(SEEN) + 1):
        message = "stale approval: what was approved has changed; read it and approve it again"
        return Finding("error", identifier, message)
    changed = [name for name, a, b in zip(SEEN, then, now, strict=False) if a != b]
    if not changed and len(then) < len(SEEN):
        missing = " and ".join(f"the {name}" for name in SEEN[len(then) :])
        message = f"its approval does not cover {missing}: read it and approve it again"
        return Finding("warning", identifier, message)
    if not changed:
        return None
    what = " and ".join(f"the {name}" for name in changed)
    message = f"stale approval: {what} changed; read it and approve it again"
    return Finding("error", identifier, message)


def self_approved(human: Part) -> bool:
    """Whether the owner of a block signed it."""
    owner, by = (human.attributes.get(name, "") for name in ("owner", "by"))
    return owner not in ("", "none") and _same(owner, by)


def _signature(plan: Plan, parts: Parts, identifier: str) -> str:
    """Return a hash for each thing that a reader sees in a block, in the order of SEEN."""
    seen = {kind: part.lines for (kind, name), part in parts.items() if name == identifier}
    measured = seen.get("measured", [])
    # What is hidden names the run: the same values of another run are not another text.
    measured = [HIDDEN.sub("", line) for line in measured]
    taken = plan.overrides.get(SETTLED_BY.get(identifier, identifier))
    override = [f"{shown(taken.value)}: {taken.reason}"] if taken else []
    override += [f"limit {number(taken.limit, 4)}"] if taken and taken.limit is not None else []
    # An answer mostly replaces its question in PLAN.md: plan.yaml keeps it.
    block = plan.blocks.get(identifier)
    question = [block.question] if block else []
    # What a light plan is brief about, and `ml plan why` tells, is signed with it.
    auto = [*in_full(plan, seen.get("auto", []))]
    # Whoever owns the block later, or changes a name, did not sign.
    human = parts.get(("human", identifier))
    names = [human.attributes.get(name, "") for name in ("owner", "by", "on")] if human else []
    found = (auto, measured, seen.get("human", []), override, question, names)
    return ".".join(map(meaning_hash, found))


def _stranger(project: Project, identifier: str, by: str) -> str:
    """Say who is named for a block when `by` is not among them, else "".

    Named are the roles of TEAM-02 that answer for the block's part of the work, or without them
    the owner and the people on call of TEAM-01. A team without names lets everybody sign, and so
    does a group such as @org/team, whose members nobody knows here.
    """
    if figures := measured.figures(project):
        roles, kind = figures.read(project).roles, identifier.partition("-")[0]
        duties = [d for d in project.plan.responsibilities if {kind, identifier} & {*d.blocks}]
        named = {r: roles.get(r, ()) for d in duties for r in (d.accountable, d.responsible)}
        place = "TEAM-02"
    else:
        plan = project.plan
        given = [n for n in ("owner", "oncall") if plan.origins.get(n, "given") == "given"]
        people = {plan.answers[name] for name in given}
        named, place = {"owner or on call": tuple(sorted(people))}, "TEAM-01"
    known = [name for names in named.values() for name in names]
    if not known or any("/" in name or _same(name, by) for name in known):
        return ""
    who = (f"{', '.join(names)} ({role})" for role, names in named.items() if names)
    return f"{place} names {' and '.join(who)}, not {by}"


def _same(one: str, other: str) -> bool:
    """Whether two names are one person's; @eva and eva@example.org are."""
    names = [name.strip().lstrip("@").lower() for name in (one, other)]
    mails = sum("@" in name for name in names)
    return len({name.split("@")[0] if mails == 1 else name for name in names}) == 1


def git_user(project: Project, owner: str = "none") -> str:
    """Return the e-mail address that git signs with; ProjectError without one.

    Who is the block's `owner` by git's name signs by that name: both are seen to be one person.
    """
    name = email = ""
    with suppress(ProjectError):
        name = git(project.root, "config", "user.name", codes=(0, 1))
        email = git(project.root, "config", "user.email", codes=(0, 1))
    if name and _same(name, owner):
        return owner
    if not email:
        raise ProjectError("git knows no user.email here: say who approves, such as --by @eva")
    return email


def shown(value: Any) -> str:
    """Return a value of the plan as text; lists with commas."""
    if isinstance(value, float):
        return f"{value:.12g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
