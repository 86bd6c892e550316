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
from ..engine.git import demand_committed, git
from ..engine.settings import Plan, Project
from . import measured
from .answers import plain, said
from .blocks import EARLIER, HIDDEN, NOTES, SIGNATURES, Part, Parts, Problem, read, same, survey

FILES = ("PLAN.md", "plan/plan.yaml", "plan/overrides.yaml")
# Told by the decisions, numbers and measurements of which they are made.
MADE = ("SUMMARY", "FLOW", "CHOICES", "GATES", "OVERRIDES", "RESULTS")
UNMEASURED = re.compile("not measured yet: ", re.IGNORECASE)
# The words of a verdict, why, and its figure.
VERDICT = re.compile(
    r"\**(?P<word>stop|go|open|in doubt|not yet|worth it on paper)\**[:,;]? *(?P<why>.*?)"
    r"(?: \((?P<figure>NPV [^()]*(?:\([^()]*\)[^()]*)*)\))?$"
)
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
    demand_committed(project.root, FILES[0])
    name = f"{revision}^{{commit}}"
    try:
        return git(project.root, "rev-parse", "--verify", "--quiet", "--end-of-options", name)
    except ProjectError:
        known = "give a commit, a branch or a tag, such as HEAD~1"
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
            yield Change("answer", name, f"{name} is asked now: {said(now)}.")
        elif name not in new.answers:
            yield Change("answer", name, f"{name}, which was {said(was)}, is not asked any more.")
        elif was != now:
            yield Change("answer", name, f"{name} is {said(now)}, was {said(was)}.")


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
            yield Change("written", identifier, f"{name} said: {_quoted(lost.lines)}")
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
        elif b is not None and not (kind == "auto" and (told or not was)):
            yield from _part(name, word, a, b)


def _part(name: str, word: str, old: Part | None, new: Part) -> Iterator[Change]:
    identifier, lines = new.identifier, old.shown if old else []
    if new.kind == "human":
        yield from _human(name, old, new)
    elif identifier == "VERDICT":
        yield from _verdict(old.lines if old else [], new.lines)
    elif identifier not in MADE and not same(lines, new.shown):
        says = _text(name, lines, new.shown)
        if new.kind == "measured" and UNMEASURED.search(" ".join(lines) or "not measured yet: "):
            says = f"{name} is measured now: {_quoted(new.shown)}"
        yield Change(word, identifier, says)


def _verdict(old: Sequence[str], new: Sequence[str]) -> Iterator[Change]:
    """Say what became of the verdict, why, and which rows of the evidence are others."""
    (was, before), (now, after) = _judged(old), _judged(new)
    verdict, earlier = (VERDICT.match(plain(text)) for text in (now, was))
    if verdict is not None and now != was:
        why = verdict["why"]
        if earlier is None:
            says = f"The verdict is {verdict['word']} by the first measurement: {why}."
        elif verdict["word"] != earlier["word"]:
            says = f"The verdict goes from {earlier['word']} to {verdict['word']} because of this: "
            says += f"{why}; before it was: {earlier['why']}."
        elif why != earlier["why"]:
            says = f"The verdict stays {verdict['word']}, now for this reason: {why}; "
            says += f"before it was: {earlier['why']}."
        else:
            says = f"The verdict stays {verdict['word']}, with {verdict['figure']}, "
            says += f"before {earlier['figure']}."
        yield Change("measured", "VERDICT", says)
    for quantity in {**after, **before}:
        a, b = before.get(quantity), after.get(quantity)
        if a == b:
            continue
        if a is None or b is None:
            word = "is a row of the evidence now" if b else "is no row of the evidence any more"
            yield Change("measured", "VERDICT", f"Evidence: {quantity} {word}.")
            continue
        told = [
            f"{name} {new_said}, before {old_said}"
            for name, old_said, new_said in zip(
                ("planned", "measured", "which says:"), a, b, strict=True
            )
            if old_said != new_said
        ]
        yield Change("measured", "VERDICT", f"Evidence: {quantity}: {'; '.join(told)}.")


def _judged(lines: Sequence[str]) -> tuple[str, dict[str, tuple[str, ...]]]:
    """Return the verdict, and planned, measured and what that says of each quantity."""
    shown = [HIDDEN.sub("", line).strip() for line in lines]
    verdict = next((line for line in shown if line.startswith("**Verdict:**")), "")
    rows = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in shown]
    table = {row[0]: tuple(map(plain, row[1:])) for row in rows if len(row) == 4}
    table.pop("Quantity", None)
    kept = {name: row for name, row in table.items() if name.strip("- :")}
    return verdict.removeprefix("**Verdict:**").strip().removesuffix("."), kept


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
            yield Change("number", identifier, f"{says}; it was {measured.amount(was[name])}.")
        elif name not in was:
            says = (
                f"{identifier} {_words(name)} is {measured.amount(now[name])}; it was not computed."
            )
            yield Change("number", identifier, says)
        elif measured.amount(was[name]) != measured.amount(now[name]):
            says = f"{identifier} {_words(name)} is {measured.amount(now[name])}"
            yield Change("number", identifier, f"{says}, was {measured.amount(was[name])}.")


def _human(name: str, old: Part | None, new: Part) -> Iterator[Change]:
    i = new.identifier
    before, lines = [] if old is None or old.open else old.lines, [] if new.open else new.lines
    if not before and lines:
        yield Change("written", i, f"{name} is answered: {_quoted(lines)}")
    elif before and not lines:
        yield Change("written", i, f"{name} is not answered any more; it said: {_quoted(before)}")
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
        return f'{name} says "{_cut(come)}", in place of {_quoted(gone)}'
    return f"{name} says besides: {_quoted(come)}" if come else f"{name} lost: {_quoted(gone)}"


def _lines(lines: Sequence[str]) -> list[str]:
    said = [HIDDEN.sub("", line).strip() for line in lines]
    return [plain(line.strip("| ")) for line in said if re.search(r"\w", line)]


def _quoted(lines: Sequence[str]) -> str:
    """Return a text in quotes as the end of a sentence."""
    text = _cut(lines)
    return f'"{text}"{"" if text[-1:] in ".!?" else "."}'


def _cut(lines: Sequence[str]) -> str:
    text = " / ".join(_lines(lines))
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rstrip()} …"


def _name(plan: Plan, identifier: str) -> str:
    block = plan.blocks.get(identifier)
    return f"{identifier} {block.title}" if block else identifier


def _words(name: str) -> str:
    return name.replace("_", " ")


def _taken(plan: Plan, identifier: str, value: Any) -> str:
    return plan.decisions[identifier].said(value)
