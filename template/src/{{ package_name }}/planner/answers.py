"""Answers of people as `ml plan fill` takes them: what may be written, and how it gets there."""

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from ..engine import storage
from ..engine.errors import ProjectError
from ..engine.formats import count
from ..engine.settings import Project, Strict, convert, load_yaml
from .blocks import MEANT, SIGNATURES, STATUSES, Part, Parts, nobody, read, rewrite, survey

DATES = "a date such as 2027-01-31 or 31.01.2027, +10d, +2w or +3m from today, or none"
OWNERS = "give one name, such as Ana Maria or @eva"
EXAMPLE = 'PROB-01: {answer: "Fifteen in a hundred leave.", owner: "@eva", due: 2027-01-31}'
# What would move a cursor, hide text or turn it around; a tab and a line's end are text.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


class Answer(NamedTuple):
    """What a person says to one question; `due` is "none" for no date."""

    lines: list[str]
    owner: str = "none"
    due: str = "none"
    status: str = "review"


class Changed(ProjectError):
    """PLAN.md is not any more what the person has seen."""


class _Given(Strict, frozen=True):
    answer: str | None = None
    owner: str | None = None
    due: Any = None
    status: str | None = None


def put(text: str, identifier: str, answer: Answer) -> str:
    """Return PLAN.md with one answer in it; ProjectError when it would not read back the same."""
    parts, _ = survey(text)
    part = parts.get(("human", identifier))
    if part is None:
        raise ProjectError(f"{identifier} asks people nothing; {_known(parts)}")
    fields = {"owner": answer.owner, "due": answer.due, "status": answer.status}
    named = _read_back(text, part, fields, part.lines)
    if named is None or any(named[name] != value for name, value in fields.items()):
        raise ProjectError(f"{plain(answer.owner)[:40]!r} is no owner: {OWNERS}")
    if _read_back(text, part, fields, answer.lines) is not None:
        return _written(text, part, fields, answer.lines)
    alone = (line for line in answer.lines if _read_back(text, part, fields, [line]) is None)
    line = plain(next(alone, " ".join(answer.lines)))
    line = line[max(0, line.find("<!--")) :][:60] if len(line) > 60 else line  # the mark itself
    raise ProjectError(
        f"an answer may not hold {line!r}, which PLAN.md is read by: write it in other words"
    )


def write(project: Project, seen: str, identifier: str, answer: Answer) -> str:
    """Write one answer into PLAN.md at once and return the new text.

    `seen` is the file as the person saw it: Changed when it is another by now.
    """
    new = put(seen, identifier, answer)
    _replace(project, seen, new, "PLAN.md was changed meanwhile")
    return new


def from_file(project: Project, path: Path) -> list[str]:
    """Write the answers of a YAML file by id; return the ids. All of them, or none.

    ProjectError names every slip of the file: none hides the others.
    """
    if not path.is_file():
        raise ProjectError(f"no file {path}: write the answers there, such as {EXAMPLE}")
    given = load_yaml(path)
    text = seen = read(project.path("PLAN.md"))
    if not given:
        raise ProjectError(f"{path} holds no answer: give some by id, such as {EXAMPLE}")
    slips = []
    for identifier, content in given.items():
        try:
            text = _read(text, str(identifier), content)
        except ProjectError as error:
            slips.append(f"{identifier}: {error}")
    if slips:
        raise ProjectError(f"{path}: {'; '.join(slips)}")
    changed = "PLAN.md was changed meanwhile: nothing is written, try again"
    _replace(project, seen, text, changed)
    return [*map(str, given)]


def _read(text: str, identifier: str, content: Any) -> str:
    """Return the plan with one answer of a file."""
    named = {"answer": content} if isinstance(content, str) else content
    item = convert(named, _Given, "its fields", f"write it such as {EXAMPLE}")
    parts, _ = survey(text)
    part = parts.get(("human", identifier))
    if part is None:
        raise ProjectError(f"it asks people nothing; {_known(parts)}")
    if item.answer is not None and not part.open:
        raise ProjectError("it is answered already: change it in PLAN.md")
    return put(text, identifier, _answer(part, item))


def clean(text: str) -> list[str]:
    """Return the lines of an answer without what is no text, and no blank ones around them."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ProjectError("that is no UTF-8 text: type it again") from None
    lines = CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).split("\n")
    return "\n".join(line.rstrip() for line in lines).strip("\n").split("\n")


def answered(identifier: str, lines: Sequence[str]) -> bool:
    """Say whether lines answer a question: TODO, nothing, later and dashes do not."""
    return not Part("human", identifier, 0, lines=list(lines)).open


def owner(text: str) -> str:
    """Return an owner as PLAN.md writes it: "none" for nobody."""
    name = plain(text)
    if re.search(r"[·;|<>:=]", name):
        raise ProjectError(f"{name[:40]!r} is no owner: {OWNERS}")
    return "none" if nobody(name) else name


def due(text: str, today: dt.date) -> str:
    """Return the date that a person means, as YYYY-MM-DD or "none"; it is not in the past."""
    word = plain(text).lower()
    if nobody(word) or word == "never":
        return "none"
    try:
        day = _day(word, today)
    except (ValueError, OverflowError):
        raise ProjectError(f"{word[:40]!r} is no date: give {DATES}") from None
    if day < today:
        raise ProjectError(f"{day} is past: give {DATES}")
    return day.isoformat()


def words(date: str, today: dt.date) -> str:
    """Return a date in words, with how far it is: Sunday 31 January 2027, in 9 weeks."""
    if date == "none":
        return "no date"
    day = dt.date.fromisoformat(date)
    days = (day - today).days
    far = f"in {count(days, 'day') if days < 21 else count(round(days / 7), 'week')}"
    far = far if days else "today"
    return f"{day:%A} {day.day} {day:%B %Y}, {far}"


def status(text: str) -> str:
    """Return the status that a person means; ProjectError says which there are."""
    word = plain(text).lower()
    if word in STATUSES:
        return word
    if word in (*SIGNATURES, "approve", "reject"):
        raise ProjectError("a signature comes from `ml plan approve ID`: give review here")
    meant = MEANT.get(word) or next(iter(get_close_matches(word, STATUSES, 1)), None)
    hint = f"; did you mean {meant}?" if meant else ""
    raise ProjectError(f"{word[:40]!r} is no status: give {', '.join(STATUSES)}{hint}")


def said(value: Any) -> str:
    """Return the value of an answer in words; numbers with all their figures, to be typed again."""
    if isinstance(value, list):
        return ", ".join(map(said, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float | int):
        return f"{value:.12g}"
    return "none" if value is None else plain(str(value)) or "empty"


def plain(text: str) -> str:
    """Return text of unknown origin as one line that does nothing to a terminal."""
    return " ".join(CONTROL.sub(" ", text.encode("utf-8", "replace").decode()).split())


def _replace(project: Project, seen: str, new: str, changed: str) -> None:
    """Write PLAN.md if it still is what was seen; else Changed with the words `changed`."""
    path = project.path("PLAN.md")
    with storage.project_lock(project.root):
        if read(path) != seen:
            raise Changed(changed)
        storage.write_bytes(path, new.encode("utf-8"))


def _answer(part: Part, item: _Given) -> Answer:
    lines = part.lines if item.answer is None else clean(item.answer)
    if item.answer is not None and not answered(part.identifier, lines):
        raise ProjectError(
            f"{plain(item.answer)[:40]!r} is no answer: leave it out until there is one"
        )
    marks, today = part.attributes, dt.datetime.now().astimezone().date()
    given = item.due.isoformat() if isinstance(item.due, dt.date) else item.due
    before = marks["status"] if item.answer is None else "review"
    return Answer(
        lines,
        marks["owner"] if item.owner is None else owner(item.owner),
        marks["due"] if given is None else due(str(given), today),
        before if item.status is None else status(item.status),
    )


def _written(text: str, part: Part, fields: dict[str, str], lines: list[str]) -> str:
    kept = dict(part.attributes)
    if kept.get("status") != fields["status"]:
        for name in ("by", "on", "of"):  # who signs, signs again
            kept.pop(name, None)
    return rewrite(text, replace(part, attributes=kept | fields), lines)


def _read_back(
    text: str, part: Part, fields: dict[str, str], lines: list[str]
) -> dict[str, str] | None:
    """Return the fields as they would be read; None when lines or other parts would be others."""
    before, problems = survey(text)
    after, found = survey(_written(text, part, fields, lines))
    key = ("human", part.identifier)
    expected = {**{name: there.lines for name, there in before.items()}, key: lines}
    read_as = {name: there.lines for name, there in after.items()}
    return after[key].attributes if read_as == expected and len(found) <= len(problems) else None


def _known(parts: Parts) -> str:
    return "there are " + ", ".join(name for kind, name in parts if kind == "human")


def _day(word: str, today: dt.date) -> dt.date:
    if found := re.fullmatch(r"\+ ?(\d{1,4}) ?([dwm])\w*", word):
        number, unit = int(found[1]), found[2]
        if unit == "m":
            year, month = divmod(today.year * 12 + today.month - 1 + number, 12)
            last = (dt.date(year + month // 11, (month + 1) % 12 + 1, 1) - dt.timedelta(1)).day
            return dt.date(year, month + 1, min(today.day, last))
        return today + dt.timedelta(days=number * (7 if unit == "w" else 1))
    if found := re.fullmatch(r"(\d{1,2})\. ?(\d{1,2})\. ?(\d{4})", word):
        return dt.date(int(found[3]), int(found[2]), int(found[1]))
    return dt.date.fromisoformat(word)
