"""`ml plan diff`: what changed between two versions of the plan, in sentences."""

import difflib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import typer

from ..engine import storage
from ..engine.errors import ProjectError
from ..engine.formats import number, percent
from ..engine.git import git
from ..engine.settings import Number, Plan, Project
from .answers import plain
from .blocks import EARLIER, HIDDEN, NOTES, SIGNATURES, Part, Parts, Problem, read, same, survey

FILES = ("PLAN.md", "plan/plan.yaml", "plan/overrides.yaml")
# Told by the decisions, numbers and measurements of which they are made.
MADE = ("SUMMARY", "FLOW", "CHOICES", "GATES", "OVERRIDES", "RESULTS")
LONGEST = 300  # characters of a text that a sentence repeats
# Titles by kind, in the order in which they are told.
KINDS = {
    "plan": "Blocks of the plan",
    "answer": "Answers that the plan follows from",
    "decision": "Decisions",
    "override": "Overrides and waivers",
    "number": "Computed numbers",
    "text": "Generated text",
    "measured": "Measured",
    "written": "Written by people",
    "signed": "Approvals",
}


class Change(NamedTuple):
    """One difference: what kind it is, the id of its block (or a name), and the sentence."""

    kind: str
    id: str
    says: str


class Version(NamedTuple):
    """One version of the plan."""

    plan: Plan
    parts: Parts
    broken: list[Problem]  # errors only
    notes: list[str]


def run(project: Project, revision: str, as_json: bool) -> None:
    """Print what changed since a revision of git, or between two (`v1..v2`)."""
    first, _, last = revision.partition("..")
    first = first or "HEAD"
    old = recorded(project, first)
    new = recorded(project, last.lstrip(".")) if last.strip(".") else current(project)
    found = compare(old, new)
    if as_json:
        typer.echo(msgspec.json.encode([change._asdict() for change in found]).decode())
        return
    for kind, title in KINDS.items():
        told = [change.says for change in found if change.kind == kind]
        if told:
            typer.echo("\n".join([f"{title}:", *(f"  {says}" for says in told)]))
    if not found:
        typer.echo(f"the plan is as in {first}")


def current(project: Project) -> Version:
    """Return the plan as it stands in the folder."""
    return _version(project)


def recorded(project: Project, revision: str) -> Version:
    """Return the plan as a revision of git has it; ProjectError when it has none."""
    commit = _commit(project, revision)
    there = git(project.root, "ls-tree", "--name-only", commit, "--", *FILES).splitlines()
    if not {*FILES[:2]} <= {*there}:
        lacks = next(name for name in FILES if name not in there)
        raise ProjectError(f"{revision} has no plan: no {lacks} is in that commit")
    with tempfile.TemporaryDirectory() as folder:
        for name in there:
            content = git(project.root, "cat-file", "blob", f"{commit}:./{name}")
            if name == "PLAN.md" and EARLIER.search(content):
                raise ProjectError(
                    f"{revision} has the plan in an earlier form, whose marks held the fields: "
                    "compare with a version after `ml update` carried it over"
                )
            storage.write_bytes(Path(folder, name), os.fsencode(f"{content}\n"))
        try:
            return _version(Project(Path(folder)))
        except ProjectError as error:
            reason = str(error).replace(f"{folder}/", "")
            raise ProjectError(f"the plan of {revision} cannot be read: {reason}") from None


def compare(old: Version, new: Version) -> list[Change]:
    """Return what changed from `old` to `new`, block by block in the order of the plan."""
    found = [*_answers(old.plan, new.plan), *_leave(old.plan, new.plan)]
    for version, name in ((old, "the old PLAN.md"), (new, "PLAN.md")):
        for identifier, message, _ in version.broken:
            says = f"{name}, {plain(message)}: {identifier} is not compared."
            found.append(Change("plan", identifier, says))
    for identifier in {**new.plan.blocks, **old.plan.blocks}:
        found += _block(identifier, old, new)
    if old.notes != new.notes:
        says = _text("the notes of the team", old.notes, new.notes)
        found.append(Change("written", "NOTES", says))
    order = [*KINDS]
    return sorted(found, key=lambda change: order.index(change.kind))


def _commit(project: Project, revision: str) -> str:
    try:
        git(project.root, "rev-parse", "--git-dir")
    except ProjectError as error:
        if "not a git repository" not in str(error):
            raise
        raise ProjectError(
            f"{project.root} is not in git, which keeps the versions of a plan: "
            "`git init && git add . && git commit`"
        ) from None
    name = f"{revision}^{{commit}}"
    try:
        return git(project.root, "rev-parse", "--verify", "--quiet", "--end-of-options", name)
    except ProjectError:
        known = "give a commit, a branch or a tag, such as HEAD~1"
        if revision == "HEAD":
            known = "nothing is committed yet: `git add . && git commit`"
        raise ProjectError(f"git knows no {plain(revision)!r} here: {known}") from None


def _version(project: Project) -> Version:
    text = read(project.path("PLAN.md"))
    parts, broken = survey(text)
    lines = text.partition(f"\n{NOTES}")[2].splitlines()[1:]
    notes = [line.strip() for line in lines if line.strip()]
    errors = [problem for problem in broken if problem.level == "error"]
    return Version(project.plan, parts, errors, notes)


def _answers(old: Plan, new: Plan) -> Iterator[Change]:
    for name in {**new.answers, **old.answers}:
        was, now = old.answers.get(name), new.answers.get(name)
        if name not in old.answers:
            yield Change("answer", name, f"{name} is asked now: {_value(now)}.")
        elif name not in new.answers:
            yield Change("answer", name, f"{name}, which was {_value(was)}, is not asked any more.")
        elif was != now:
            yield Change("answer", name, f"{name} is {_value(now)}, was {_value(was)}.")


def _leave(old: Plan, new: Plan) -> Iterator[Change]:
    for i in sorted({*old.overrides, *new.overrides}):
        was, now = old.overrides.get(i), new.overrides.get(i)
        if now and now != was:
            again = f", in place of the override {_taken(old, i, was.value)}" if was else ""
            reason = plain(now.reason) or "no reason given"
            says = (
                f"{_name(new, i)} is overridden with {_taken(new, i, now.value)}{again}: {reason}."
            )
            yield Change("override", i, says)
        elif was and not now:
            says = f"{_name(old, i)} is not overridden with {_taken(old, i, was.value)} any more."
            yield Change("override", i, says)
    for i in sorted({*old.waivers, *new.waivers}):
        left, leave = old.waivers.get(i), new.waivers.get(i)
        if leave and leave != left:
            again = f" (until {left.until} before)" if left else ""
            says = f"{_name(new, i)} is waived until {leave.until}{again} by {plain(leave.owner)}"
            yield Change("override", i, f"{says}: {plain(leave.reason)}.")
        elif left and not leave:
            says = f"{_name(old, i)} is not waived by {plain(left.owner)} any more."
            yield Change("override", i, says)


def _block(identifier: str, old: Version, new: Version) -> Iterator[Change]:
    was, now = old.plan.blocks.get(identifier), new.plan.blocks.get(identifier)
    if now is None or was is None:
        name = _name(old.plan if now is None else new.plan, identifier)
        end = "is no block of the plan any more" if now is None else "is a new block of the plan"
        yield Change("plan", identifier, f"{name} {end}.")
        if now is None and (lost := old.parts.get(("human", identifier))) and not lost.open:
            yield Change("written", identifier, f'{name} said: "{_cut(lost.lines)}".')
    elif (was.title, was.gate, was.question, was.applies) != (
        *(now.title, now.gate, now.question, now.applies),
    ):
        yield from _asked(identifier, old.plan, new.plan)
    told = [*_decision(identifier, old.plan, new.plan), *_numbers(identifier, old.plan, new.plan)]
    yield from told
    broken = {problem.identifier for problem in (*old.broken, *new.broken)}
    if now is None or identifier in broken:
        return
    name = _name(new.plan, identifier)
    if now.row and was is not None and not told and not same(was.lines, now.lines):
        yield Change("text", identifier, _text(name, was.lines, now.lines))
    for kind, word in (("auto", "text"), ("measured", "measured"), ("human", "written")):
        a, b = old.parts.get((kind, identifier)), new.parts.get((kind, identifier))
        if a is not None and b is None:
            yield Change(word, identifier, f"{name} has lost its {kind} part: {_cut(a.shown)}.")
        elif b is not None and kind == "human":
            yield from _human(name, a, b)
        elif (
            b is not None and identifier not in MADE and not (kind == "auto" and (told or not was))
        ):
            lines = a.shown if a else []
            if not same(lines, b.shown):
                yield Change(word, identifier, _text(name, lines, b.shown))


def _asked(identifier: str, old: Plan, new: Plan) -> Iterator[Change]:
    was, now = old.blocks[identifier], new.blocks[identifier]
    name = _name(new, identifier)
    if was.title != now.title:
        yield Change("plan", identifier, f'{name} had the title "{was.title}".')
    if was.gate != now.gate:
        yield Change("plan", identifier, f"{name} belongs to gate {now.gate}, not {was.gate}.")
    if was.applies != now.applies:
        end = "applies now" if now.applies else "does not apply any more"
        yield Change("plan", identifier, f"{name} {end}.")
    if was.question != now.question:
        says = f'{name} asks "{now.question}", in place of "{was.question}".'
        yield Change("plan", identifier, says)


def _decision(identifier: str, old: Plan, new: Plan) -> Iterator[Change]:
    was, now = old.decisions.get(identifier), new.decisions.get(identifier)
    if now is None:
        if was is not None:
            says = (
                f"{_name(old, identifier)} is not decided any more; it was {was.said(was.value)}."
            )
            yield Change("decision", identifier, says)
        return
    why = f"by rule {now.rule}: {plain(now.why)}"
    name = _name(new, identifier)
    if was is None:
        yield Change("decision", identifier, f"{name} is {now.said(now.value)} {why}.")
    elif was.value != now.value:
        before = f"was {now.said(was.value)} by rule {was.rule}"
        yield Change("decision", identifier, f"{name} is {now.said(now.value)} {why}; it {before}.")
    elif was.rule != now.rule:
        says = f"{name} stays {now.said(now.value)}, now {why}; it was by rule {was.rule}."
        yield Change("decision", identifier, says)


def _numbers(identifier: str, old: Plan, new: Plan) -> Iterator[Change]:
    was, now = (plan.computed.get(identifier, {}) for plan in (old, new))
    for name in {**now, **was}:
        if name not in now:
            says = f"{identifier} {_words(name)} is not computed any more"
            yield Change("number", identifier, f"{says}; it was {_amount(was[name])}.")
        elif name not in was:
            says = f"{identifier} {_words(name)} is {_amount(now[name])}; it was not computed."
            yield Change("number", identifier, says)
        elif _amount(was[name]) != _amount(now[name]):
            says = f"{identifier} {_words(name)} is {_amount(now[name])}"
            yield Change("number", identifier, f"{says}, was {_amount(was[name])}.")


def _human(name: str, old: Part | None, new: Part) -> Iterator[Change]:
    i = new.identifier
    before, lines = [] if old is None or old.open else old.lines, [] if new.open else new.lines
    if not before and lines:
        yield Change("written", i, f'{name} is answered: "{_cut(lines)}".')
    elif before and not lines:
        yield Change("written", i, f'{name} is not answered any more; it said: "{_cut(before)}".')
    elif not same(before, lines):
        yield Change("written", i, _text(name, before, lines))
    was, now = old.attributes if old else {}, new.attributes
    for field, nobody in (("owner", "nobody"), ("due", "no date"), ("status", "no status")):
        a, b = (_field(marks, field, nobody) for marks in (was, now))
        if a != b and (field != "status" or not _signature(now)):
            word = {"owner": "belongs to", "due": "is due on", "status": "has the status"}[field]
            yield Change("written", i, f"{name} {word} {b}, before: {a}.")
    signed, sign = (_signature(marks) for marks in (was, now))
    if sign and sign != signed:
        yield Change("signed", i, f"{name} was {sign}{f'; before it was {signed}' * bool(signed)}.")
    elif signed and not sign:
        yield Change("signed", i, f"{name} is not {signed} any more.")


def _field(marks: Mapping[str, str], name: str, nobody: str) -> str:
    value = plain(marks.get(name, "none"))
    return nobody if value in ("none", "") else value


def _signature(marks: Mapping[str, str]) -> str:
    if marks.get("status") not in SIGNATURES:
        return ""
    by, on = (plain(marks.get(name, "")) for name in ("by", "on"))
    return f"{marks['status']}{f' by {by}' * bool(by)}{f' on {on}' * bool(on)}"


def _text(name: str, old: Sequence[str], new: Sequence[str]) -> str:
    """Say in one sentence which lines of a text are others; a table's rule says nothing."""
    marked = [*difflib.ndiff(_lines(old), _lines(new))]
    gone, come = ([line[2:] for line in marked if line[0] == sign] for sign in "-+")
    if come and gone:
        return f'{name} says "{_cut(come)}", in place of "{_cut(gone)}".'
    return f'{name} says besides: "{_cut(come)}".' if come else f'{name} lost: "{_cut(gone)}".'


def _lines(lines: Sequence[str]) -> list[str]:
    said = [HIDDEN.sub("", line).strip() for line in lines]
    return [plain(line.strip("| ")) for line in said if re.search(r"\w", line)]


def _cut(lines: Sequence[str]) -> str:
    text = " / ".join(_lines(lines))
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rstrip()} …"


def _name(plan: Plan, identifier: str) -> str:
    block = plan.blocks.get(identifier)
    return f"{identifier} {block.title}" if block else identifier


def _words(name: str) -> str:
    return name.replace("_", " ")


def _amount(given: Number) -> str:
    if given.value is None:
        return "unknown"
    if isinstance(given.value, bool):
        return str(given.value).lower()
    unit = given.unit.replace("share", "", 1) if given.unit.startswith("share") else given.unit
    if given.unit.startswith("share"):
        return f"{percent(given.value)}{unit}"
    return f"{number(given.value)} {given.unit}".strip()


def _taken(plan: Plan, identifier: str, value: Any) -> str:
    return plan.decisions[identifier].said(value)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_value, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float | int):
        return number(value, 6)  # what was answered, with all its figures
    return "none" if value is None else plain(str(value)) or "empty"
