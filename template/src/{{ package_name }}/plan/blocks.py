"""The blocks of PLAN.md: parts between two marks, read strictly and rewritten one at a time.

    <!-- plan:human EVAL-01 status=todo owner=none due=none -->
    _TODO(EVAL-01): why this metric?_
    <!-- /plan:human EVAL-01 -->

`auto` parts follow the answers, `measured` parts the reports, `human` parts are people's.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

from ..errors import ProjectError
from ..storage import sha256_text

MARK = re.compile(r"<!-- (/?)plan:(auto|measured|human) ([A-Z]+(?:-\d+)?)((?: [^<>]*=[^<>]+)?) -->")
# A value may have several words: it ends at the next name, or at the end of the mark.
ATTRIBUTE = re.compile(r"(\w+) *= *(.*?)[\s,;|·]*(?=\b\w+ *=|$)")
LIKE_A_MARK = re.compile(r"<!--\s*/?\s*plan:")
HEADING = re.compile(r"### [A-Z]+-\d+ |## \d ")
STATUSES = ("todo", "draft", "review", "approved", "rejected", "na")
ATTRIBUTES = ("status", "owner", "due", "by", "on", "of")
# What people write for a status, and which they mean.
MEANT = {
    **dict.fromkeys(("done", "ready", "finished", "written", "complete", "ok"), "review"),
    **dict.fromkeys(("open", "new", "later"), "todo"),
    **dict.fromkeys(("wip", "started", "doing"), "draft"),
    **dict.fromkeys(("n/a", "none", "unneeded"), "na"),
}
NO_ANSWER = {"", "todo", "to do", "tbd", "nothing", "nothing yet", "later"}
BLOCKS = "ul|ol|li|table|thead|tbody|tr|th|td|h[1-6]|blockquote|hr|br"
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table")


class PlanError(ProjectError):
    """PLAN.md cannot be read; `problems` has one line for each reason."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("PLAN.md: " + "; ".join(problems))
        self.problems = problems


@dataclass
class Part:
    """One part: the numbers of its marks' lines (from 0), what the mark says, the lines between."""

    kind: str
    identifier: str
    start: int
    end: int = -1
    attributes: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    @property
    def open(self) -> bool:
        """Whether nobody has answered the question of this human part.

        The question that the template left does not count where a text stands beside it.
        """
        name = rf"TODO\\?\({self.identifier}\\?\)"
        placeholder = re.compile(rf"^\s*[_*]{name}:.*?[_*]\s*$", re.DOTALL | re.MULTILINE)
        text = placeholder.sub("", "\n".join(self.lines))
        plain = re.sub(r"[^\w]+", " ", text).strip().lower()
        return plain in NO_ANSWER or re.search(name, text) is not None

    @property
    def question(self) -> str:
        """The question that the template left in this human part; "" without one."""
        text = " ".join(line.strip() for line in self.lines)
        asked = re.search(rf"TODO\\?\({self.identifier}\\?\):(.*?)[_*]?$", text)
        return asked[1].strip() if asked else ""


Parts = dict[tuple[str, str], Part]


class Problem(NamedTuple):
    """Why a mark cannot be read: its block ("PLAN.md" for none) and the words."""

    identifier: str
    message: str


def meaning(lines: Sequence[str]) -> str:
    """Return what Markdown lines say, the same however a formatter has laid them out.

    Blank lines, wrapped lines, kinds of bullets and of emphasis, needless backslashes, the padding
    of tables and the numbers of an ordered list do not count; fenced code does, line by line.
    """
    pieces = re.split(r"(<pre>.*?</pre>)", MARKDOWN.render("\n".join(lines)), flags=re.DOTALL)
    for i in range(0, len(pieces), 2):
        text = re.sub(r'</?p>|(?<=<ol) start="\d+"', " ", pieces[i])
        text = re.sub(r"\s+", " ", text)
        pieces[i] = re.sub(rf" ?(</?(?:{BLOCKS})\b[^>]*>) ?", r"\1", text)
    return "".join(pieces).strip()


def same(lines: Sequence[str], others: Sequence[str]) -> bool:
    """Say whether two texts mean the same; see `meaning`."""
    return [*lines] == [*others] or meaning(lines) == meaning(others)


def meaning_hash(lines: Sequence[str]) -> str:
    """Return the first 6 hex digits of the SHA-256 of what the lines say."""
    return sha256_text(meaning(lines))[:6]


def short_hash(lines: list[str]) -> str:
    """Return the first 6 hex digits of the SHA-256 of lines joined by line feeds."""
    return sha256_text("\n".join(lines))[:6]


def read(path: Path) -> str:
    """Read PLAN.md with its line ends as they are."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise ProjectError(f"{path} is missing: restore it with git") from None
    except UnicodeDecodeError as error:
        raise ProjectError(f"{path}: not UTF-8 text (byte {error.start}): save it again") from None


def parse(text: str) -> Parts:
    """Return the parts by (kind, id), in order; PlanError names every broken mark by its line."""
    parts, problems = survey(text)
    if problems:
        raise PlanError([problem.message for problem in problems])
    return parts


def survey(text: str) -> tuple[Parts, list[Problem]]:
    """Return the parts that can be read, and what is wrong with the others.

    The next heading or the next beginning ends a part that lost its end: a slip in one block hides
    no other.
    """
    parts: Parts = {}
    problems: list[Problem] = []
    current: Part | None = None

    def note(identifier: str, line: int, message: str) -> None:
        problems.append(Problem(identifier, f"line {line + 1}: {message}"))

    def lost(part: Part | None) -> None:
        if part is not None:
            problems.append(_lost(part))
            parts.pop((part.kind, part.identifier), None)

    for number, raw in enumerate(text.split("\n")):
        line = raw.removesuffix("\r")
        if re.match(r"<{7}|>{7}", line):
            place = current.identifier if current else "PLAN.md"
            note(place, number, "unsolved merge conflict")
        if not LIKE_A_MARK.search(line):
            if current is not None and not HEADING.match(line):
                current.lines.append(line)
            elif current is not None:
                lost(current)
                current = None
            continue
        match = MARK.fullmatch(line.strip())
        if match is None:
            named = re.findall(r"plan:\w+ +([A-Z]+-\d+)", line) or ["PLAN.md"]
            note(named[0], number, f"not a mark that plans have: {line.strip()[:80]}")
            continue
        closing, kind, identifier, rest = match.groups()
        if closing and current and (kind, identifier) == (current.kind, current.identifier):
            current.end = number
            current = None
        elif closing:
            note(identifier, number, f"plan:{kind} {identifier} ends without a beginning")
        else:
            lost(current)
            current = Part(kind, identifier, number, attributes=_attributes(rest))
            for problem in _wrong(current):
                note(identifier, number, problem)
            if (kind, identifier) in parts:
                note(identifier, number, f"plan:{kind} {identifier} appears twice")
            parts[kind, identifier] = current
    lost(current)
    return parts, problems


def rewrite(text: str, part: Part, lines: list[str] | None = None) -> str:
    """Return the text with new lines in one part, or with its mark as `part.attributes` say."""
    all_lines = text.split("\n")
    end = "\r" if all_lines[part.start].endswith("\r") else ""
    if lines is not None:
        all_lines[part.start + 1 : part.end] = [line + end for line in lines]
    attributes = "".join(f" {name}={value}" for name, value in part.attributes.items())
    all_lines[part.start] = f"<!-- plan:{part.kind} {part.identifier}{attributes} -->{end}"
    return "\n".join(all_lines)


def escape(value: object) -> str:
    """Write a name or text of unknown origin as plain text of one Markdown line."""
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+", " ", str(value)).strip()
    text = re.sub(r"([\\`*_\[\]|~$])", r"\\\1", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def code(value: object) -> str:
    """Write a name as a code span when that is safe, else as plain text."""
    text = str(value)
    return f"`{text}`" if re.fullmatch(r"[\w.,/-]+( [\w.,/-]+)*", text) else escape(text)


def _attributes(text: str) -> dict[str, str]:
    found = {name.lower(): value.strip() for name, value in ATTRIBUTE.findall(text.strip())}
    if "status" in found:
        found["status"] = found["status"].lower()
    return found


def _lost(part: Part) -> Problem:
    mark = f"plan:{part.kind} {part.identifier}"
    where = f"line {part.start + 1}: {mark} never ends"
    return Problem(part.identifier, f"{where}: put `<!-- /{mark} -->` below its text")


def _wrong(part: Part) -> list[str]:
    if part.kind != "human":
        return [f"plan:{part.kind} takes no {name}=" for name in part.attributes]
    unknown = [name for name in part.attributes if name not in ATTRIBUTES]
    problems = [f"{part.identifier}: no such word as {name}=" for name in unknown]
    status = part.attributes.get("status", "")
    if status not in STATUSES:
        meant = MEANT.get(status) or next(iter(get_close_matches(status, STATUSES, 1)), None)
        hint = f"; for {status!r} you may mean {meant}" if meant else ""
        problems.append(f"{part.identifier}: status is one of {', '.join(STATUSES)}{hint}")
    return problems
