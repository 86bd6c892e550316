"""The blocks of PLAN.md: parts between two marks, read strictly and rewritten one at a time.

    <!-- plan:human EVAL-01 status=todo owner=none due=none -->
    _TODO(EVAL-01): why this metric?_
    <!-- /plan:human EVAL-01 -->

`auto` parts follow the answers, `measured` parts the reports, `human` parts are people's.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ProjectError
from ..storage import sha256_text

MARK = re.compile(
    r"<!-- (/?)plan:(auto|measured|human) ([A-Z]+(?:-\d+)?)((?: [a-z]+=[^\s<>]+)*) -->"
)
LIKE_A_MARK = re.compile(r"<!--\s*/?\s*plan:")
STATUSES = ("todo", "draft", "review", "approved", "rejected", "na")
ATTRIBUTES = ("status", "owner", "due", "by", "on", "of")


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
    def hash(self) -> str:
        """The first 6 hex digits of the SHA-256 of the lines."""
        return short_hash(self.lines)

    @property
    def open(self) -> bool:
        """Whether nobody has answered the question of this human part."""
        text = "\n".join(self.lines)
        return not text.strip() or f"TODO({self.identifier})" in text

    @property
    def question(self) -> str:
        """The question that the template left in this human part; "" without one."""
        text = " ".join(line.strip() for line in self.lines)
        return text.strip("_ ").removeprefix(f"TODO({self.identifier}):").strip()


Parts = dict[tuple[str, str], Part]


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
    parts: Parts = {}
    problems = []
    current: Part | None = None
    for number, raw in enumerate(text.split("\n")):
        line = raw.removesuffix("\r")
        where = f"line {number + 1}"
        if re.match(r"<{7}|>{7}", line):
            problems.append(f"{where}: unsolved merge conflict")
        if not LIKE_A_MARK.search(line):
            if current is not None:
                current.lines.append(line)
            continue
        match = MARK.fullmatch(line)
        if match is None:
            problems.append(f"{where}: not a mark that plans have: {line.strip()[:80]}")
            continue
        closing, kind, identifier, rest = match.groups()
        if closing and current and (kind, identifier) == (current.kind, current.identifier):
            current.end = number
            current = None
        elif closing:
            problems.append(f"{where}: plan:{kind} {identifier} ends without a beginning")
        elif current is not None:
            problems.append(f"{where}: plan:{current.kind} {current.identifier} has not ended yet")
            current = None
        else:
            current = Part(kind, identifier, number, attributes=_attributes(rest))
            problems += [f"{where}: {problem}" for problem in _wrong(current)]
            if (kind, identifier) in parts:
                problems.append(f"{where}: plan:{kind} {identifier} appears twice")
            parts[kind, identifier] = current
    if current is not None:
        problems.append(
            f"line {current.start + 1}: plan:{current.kind} {current.identifier} never ends"
        )
    if problems:
        raise PlanError(problems)
    return parts


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
    return dict(item.split("=", 1) for item in text.split())


def _wrong(part: Part) -> list[str]:
    if part.kind != "human":
        return [f"plan:{part.kind} takes no {name}=" for name in part.attributes]
    unknown = [name for name in part.attributes if name not in ATTRIBUTES]
    problems = [f"{part.identifier}: no such word as {name}=" for name in unknown]
    if part.attributes.get("status") not in STATUSES:
        problems.append(f"{part.identifier}: status is one of {', '.join(STATUSES)}")
    return problems
