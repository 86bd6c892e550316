"""`ml plan fill`: walk a person through the open questions of the plan at a terminal."""

import datetime as dt
import os
import select
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import typer

from ..engine.errors import ProjectError
from ..engine.git import at_terminal, git
from ..engine.settings import DAYS_A_MONTH, Project
from . import answers, measured
from .answers import Answer, plain
from .blocks import HIDDEN, SIGNATURES, Part, Parts, read, survey

SOON = 14  # days: for a gate that has no month yet, or whose month is now


class Back(Exception):
    """The person wants the question before."""


class Stop(Exception):
    """The person wants to end."""


def run(project: Project, identifier: str | None, gate: str | None, file: Path | None) -> None:
    """Ask what is open, or take the answers of a file; every answer is written at once."""
    if file is not None:
        if identifier or gate:
            raise ProjectError("--answers names the blocks itself: give it alone")
        written = answers.from_file(project, file)
        typer.echo(f"filled: {', '.join(written)}; next: `ml plan check`")
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ProjectError(
            "ml plan fill asks at a terminal, and here is none: give --answers FILE, YAML by id "
            f"such as {answers.EXAMPLE}"
        )
    with suppress(ImportError):
        import_module("readline")  # arrow keys, and a paste of many lines as one
    Dialogue(project).run(wanted(project, identifier, gate))


def wanted(project: Project, identifier: str | None, gate: str | None) -> list[str]:
    """Return the ids to ask, gate by gate: one, or what is open (up to a gate)."""
    plan = project.plan
    parts, _ = survey(read(project.path("PLAN.md")))
    asked = [i for kind, i in parts if kind == "human" and i in plan.blocks]
    if identifier is not None:
        if identifier.upper() not in asked:
            raise ProjectError(f"no question {plain(identifier)!r}; there are {', '.join(asked)}")
        return [identifier.upper()]
    last = (gate or "G9").upper()
    if gate is not None and last not in plan.gates:
        raise ProjectError(f"no gate {plain(gate)!r}: give one of {', '.join(plan.gates)}")
    found = [i for i in asked if _open(project, parts, i) and plan.blocks[i].gate <= last]
    return sorted(found, key=lambda i: plan.blocks[i].gate)


class Dialogue:
    """Asks one question after the other; `ask` reads a line, `tell` shows one."""

    def __init__(
        self,
        project: Project,
        ask: Callable[[str], str] = input,
        tell: Callable[[str], None] = typer.echo,
    ) -> None:
        self.project, self._ask, self.tell = project, ask, tell
        self.today = dt.datetime.now().astimezone().date()
        self.text = read(project.path("PLAN.md"))
        self.filled: list[str] = []
        self.editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""
        self.owner = _git_name(project)

    def run(self, identifiers: list[str]) -> None:
        """Ask about each block; whatever ends this, say what was filled and what is open."""
        for _, message, *_ in survey(self.text)[1]:
            self.tell(f"PLAN.md, {plain(message)}")
        at, interrupted = 0, False
        try:
            while at < len(identifiers):
                try:
                    self.question(identifiers[at], f"{at + 1} of {len(identifiers)}")
                    at += 1
                except Back:
                    at = max(0, at - 1)
        except Stop:
            pass
        except KeyboardInterrupt:
            interrupted = True
        finally:
            self.summary()
        if interrupted:
            raise typer.Exit(130)

    def question(self, identifier: str, place: str) -> None:
        """Ask one question until it is answered and written, or skipped."""
        draft: Answer | None = None
        while True:
            self.text = read(self.project.path("PLAN.md"))
            parts, _ = survey(self.text)
            part = parts.get(("human", identifier))
            if part is None:
                return self.tell(f"{identifier} cannot be read any more: see `ml plan check`")
            self.show(parts, part, place)
            marks = part.attributes
            draft = draft or Answer(
                [] if part.open else part.lines,
                marks["owner"],
                marks["due"],
                marks["status"] if marks["status"] == "draft" else "review",
            )
            lines = self.answer(part, draft.lines)
            if lines is None:
                return None
            draft, stopped = self.fields(part, draft._replace(lines=lines))
            if draft is None:
                draft = Answer(lines, marks["owner"], marks["due"])
                continue
            try:
                self.text = answers.write(self.project, self.text, identifier, draft)
            except answers.Changed as error:
                self.tell(f"{error}: it is read again, and nothing is written yet")
            except ProjectError as error:
                self.tell(str(error))
            else:
                self.filled += [identifier] * (identifier not in self.filled)
                self.tell(f"written: {identifier}, {draft.status}")
                if stopped:
                    raise Stop
                return None
            if stopped:
                raise Stop

    def show(self, parts: Parts, part: Part, place: str) -> None:
        """Show what the plan says and asks."""
        block = self.project.plan.blocks[part.identifier]
        gate = self.project.plan.gates[block.gate]
        self.tell(f"\n{block.gate} {gate.asks} ({place})\n\n{block.title} ({part.identifier})")
        for kind in ("auto", "measured"):
            found = parts.get((kind, part.identifier))
            for line in found.shown if found else ():
                self.tell(f"  {plain(line)}")
        if part.attributes["status"] in SIGNATURES:
            by = plain(part.attributes.get("by", "somebody"))
            self.tell(f"  {part.attributes['status']} by {by}: other words need a new signature")
        if not part.open:
            self.tell("\n".join(["Its answer now:", *(f"  {plain(line)}" for line in part.lines)]))
        self.tell(f"\n{part.question or block.question}")

    def answer(self, part: Part, before: list[str]) -> list[str] | None:
        """Return the lines of an answer; None to leave the block as it is."""
        enter = "Enter keeps what you wrote" if before else "Enter skips"
        edit = ", e opens your editor" if self.editor else ""
        self.tell(f"(an empty line ends the answer; {enter}, b goes back, q stops{edit})")
        while True:
            line = self.ask("> ")
            if not line.strip():
                changed = before and before != part.lines
                return before if changed or (before and not part.open) else None
            try:
                if line.strip().lower() == "e" and self.editor:
                    lines = self.edit(part, before)
                    if lines == [""]:
                        return None
                else:
                    lines = answers.clean("\n".join(self.more(line)))
            except ProjectError as error:
                self.tell(str(error))
                continue
            if not answers.answered(part.identifier, lines):
                said = plain(" ".join(lines))[:40]
                self.tell(f"{said!r} is no answer: write one, or skip with Enter")
                continue
            try:
                answers.put(self.text, part.identifier, Answer(lines))
            except ProjectError as error:
                before = lines  # for the editor
                self.tell(str(error))
            else:
                return lines

    def more(self, first: str) -> Iterator[str]:
        """Yield the lines of an answer to its first empty line; pasted empty lines are text."""
        line = first
        while line.strip() or _waiting():
            yield line
            try:
                line = self._ask("> ")
            except EOFError:
                return

    def fields(self, part: Part, draft: Answer) -> tuple[Answer | None, bool]:
        """Ask owner, date and status; None to go back to the answer, True to end after it.

        Who stops here has answered already: that is kept as a draft.
        """
        team = _team(self.project)
        day = draft.due if draft.due != "none" else self.gate_day(part.identifier)
        owner = draft.owner if draft.owner != "none" else self.owner or "nobody"
        known = f" (the team: {', '.join(team)})" if team else ""
        steps: list[tuple[str, str, Callable[[str], str]]] = [
            (f"Owner [{owner}]{known}: ", owner, answers.owner),
            (f"Due [{day}]: ", day, lambda text: answers.due(text, self.today)),
            (f"Status [{draft.status}]: ", draft.status, answers.status),
        ]
        found: list[str] = []
        while len(found) < len(steps):
            prompt, default, read_as = steps[len(found)]
            try:
                found.append(read_as(self.ask(prompt).strip() or default))
            except ProjectError as error:
                self.tell(str(error))
                continue
            except Back:
                if not found:
                    return None, False
                found.pop()
                continue
            except (Stop, KeyboardInterrupt):
                self.tell("stopped: the answer is kept as a draft")
                return draft._replace(status="draft"), True
            if len(found) == 2:
                self.tell(f"  due: {answers.words(found[1], self.today)}")
        return Answer(draft.lines, *found), False

    def gate_day(self, identifier: str) -> str:
        """Return the day on which the gate of a block is due, from the first day of the plan on."""
        plan, figures = self.project.plan, measured.figures(self.project)
        month = plan.gates[plan.blocks[identifier].gate].p80_month
        if month is None:
            return "none"
        start = (figures.read(self.project).start if figures else None) or self.today
        day = start + dt.timedelta(days=round(month * DAYS_A_MONTH))
        return max(day, self.today + dt.timedelta(days=SOON)).isoformat()

    def ask(self, prompt: str) -> str:
        """Read a line; `b` and `q` alone, and the end of the input, are wishes."""
        try:
            line = self._ask(prompt)
        except EOFError:
            raise Stop from None
        if line.strip().lower() in ("b", "q"):
            raise Back if line.strip().lower() == "b" else Stop
        return line

    def edit(self, part: Part, before: list[str]) -> list[str]:
        """Return what a person leaves in an editor below the question."""
        block = self.project.plan.blocks[part.identifier]
        head = f"<!-- {block.title} ({part.identifier}): {part.question or block.question}\n"
        head += "     Write below this comment, which is left out. -->\n\n"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"{part.identifier}.md")
            path.write_text(head + "\n".join(before) + "\n", encoding="utf-8")
            try:
                code = at_terminal([*shlex.split(self.editor), str(path)])
                text = path.read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                reason = plain(f"{type(error).__name__}: {error}")
                raise ProjectError(
                    f"the editor {self.editor!r} did not work ({reason}): type the answer here"
                ) from None
        if code:
            raise ProjectError(f"the editor ended with code {code}: nothing is taken from it")
        rest = text.removeprefix(head)
        return answers.clean(rest if rest != text else HIDDEN.sub("", text, count=1))

    def summary(self) -> None:
        """Say what was filled, what is open, and which command comes next."""
        parts, problems = survey(read(self.project.path("PLAN.md")))
        broken = dict.fromkeys(p.identifier for p in problems if p.level == "error")
        blocks = self.project.plan.blocks
        left = [i for kind, i in parts if kind == "human" and _open(self.project, parts, i)]
        gates = sorted({blocks[i].gate for i in left})
        told = "; ".join(f"{g}: {', '.join(i for i in left if blocks[i].gate == g)}" for g in gates)
        self.tell(f"\nfilled: {', '.join(self.filled) or 'nothing'}")
        if broken:
            self.tell(f"cannot be read, see `ml plan check`: {', '.join(broken)}")
        if told or not broken:
            self.tell(f"open: {told or 'nothing'}")
        following = f"`ml plan fill --gate {gates[0]}`" if gates else "`ml plan check`"
        sign = f", `ml plan approve {self.filled[0]}` to sign" if self.filled else ""
        self.tell(f"next: {following}{sign}")


def _open(project: Project, parts: Parts, identifier: str) -> bool:
    part, block = parts["human", identifier], project.plan.blocks.get(identifier)
    return block is not None and block.applies and part.open


def _team(project: Project) -> list[str]:
    figures = measured.figures(project)
    roles = figures.read(project).roles if figures else {}
    return list(dict.fromkeys(name for names in roles.values() for name in names))


def _git_name(project: Project) -> str:
    try:
        return answers.owner(git(project.root, "config", "user.name")).replace("none", "")
    except ProjectError:
        return ""


def _waiting() -> bool:
    """Say whether more lines are there already, as after a paste."""
    try:
        return bool(select.select([sys.stdin], [], [], 0.05)[0])
    except (OSError, ValueError):
        return False
