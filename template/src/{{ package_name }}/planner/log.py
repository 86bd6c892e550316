"""The project's log in plan/log.yaml, and the page "done, learned, blocked, next" that it gives.

Entries are only added: what is solved is said by a later one.
"""

import datetime as dt
import json
from typing import Annotated, Any, Literal, NamedTuple, get_args

import msgspec

from ..engine import storage
from ..engine.errors import ProjectError
from ..engine.formats import count
from ..engine.settings import Project, convert, load_yaml
from . import check, gates, signing
from .blocks import current_day, escape, read, read_date, survey

LOG = "plan/log.yaml"
Kind = Literal["decision", "scope", "done", "learned", "setback", "incident", "blocked", "next"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# Where a kind stands on the page; of those that stay open, until another entry solves them.
PAGE = {
    "Done": ("done", "decision", "scope"),
    "Learned": ("learned", "setback", "incident"),
    "Blocked": ("blocked",),
    "Next": ("next",),
}
STAYS_OPEN = ("blocked", "incident", "next")
FORM = (
    "each entry is `{n: 1, on: 2026-01-31, kind: decision, text: ..., by: ...}` below `entries:`; "
    "git has the earlier file"
)
NEEDS = 5  # of a gate that the page tells


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that happened; `block` is a block of the plan, `solves` the number of another."""

    n: Annotated[int, msgspec.Meta(ge=1)]
    on: dt.date
    kind: Kind
    text: Annotated[str, msgspec.Meta(min_length=1)]
    by: str
    block: str = ""
    solves: int = 0


class Page(NamedTuple):
    """Lines by heading, since a day."""

    since: str
    parts: dict[str, list[str]]


def entries(project: Project) -> list[Entry]:
    """Return the log, oldest first; ProjectError for one that was edited to another form."""
    path = project.path(LOG)
    content = load_yaml(path).get("entries") or [] if path.exists() else []
    found = convert(content, list[Entry], LOG, FORM)
    if doubled := [e.n for place, e in enumerate(found) if e.n in [o.n for o in found[:place]]]:
        raise ProjectError(f"{LOG}: two entries have the number {doubled[0]}: {FORM}")
    return found


def add(
    project: Project,
    kind: str,
    text: str,
    *,
    by: str | None = None,
    block: str = "",
    solves: int = 0,
) -> Entry:
    """Add an entry of today; ProjectError for a kind, block or number that is not there."""
    known, text = entries(project), " ".join(text.split())
    named = next((one for one in KINDS if one == kind), None)
    if named is None:
        raise ProjectError(f"no kind {kind!r}: give one of {', '.join(KINDS)}")
    if not text:
        raise ProjectError('the text is empty: say what happened, as in `ml plan log done "..."`')
    if block and block not in project.plan.blocks:
        raise ProjectError(f"PLAN.md has no block {block}: give an id such as SCOPE-01")
    if solves and solves not in [e.n for e in known if e.kind in STAYS_OPEN]:
        there = ", ".join(str(e.n) for e in _open(known)) or "none"
        raise ProjectError(f"nothing open has the number {solves}; open: {there}")
    entry = Entry(
        n=max((e.n for e in known), default=0) + 1,
        on=current_day(),
        kind=named,
        text=text,
        by=by or signing.git_user(project),
        block=block,
        solves=solves,
    )
    path = project.path(LOG)
    before = path.read_text(encoding="utf-8") if known else "entries:\n"
    facts = msgspec.to_builtins(entry)
    line = json.dumps({k: v for k, v in facts.items() if v not in ("", 0)}, ensure_ascii=False)
    storage.write_text(path, f"{before.rstrip()}\n  - {line}\n")
    return entry


def _open(known: list[Entry]) -> list[Entry]:
    solved = {e.solves for e in known}
    return [e for e in known if e.kind in STAYS_OPEN and e.n not in solved]


def page(project: Project, since: str | None = None) -> Page:
    """Return what was done and learned since a day (default: ever), what is blocked, what is next.

    What is still open is told whenever it began. Signatures of PLAN.md count as done, and the first
    closed gate says what is next.
    """
    first = read_date(since) if since else dt.date.min
    if first is None:
        raise ProjectError(f"--since {since} is no date: write it as 2026-01-31")
    known = entries(project)
    still = {e.n for e in _open(known)}
    solved = {e.solves: e for e in known if e.solves}
    parts: dict[str, list[str]] = {}
    for heading, kinds in PAGE.items():
        told = [
            e
            for e in known
            if e.kind in kinds
            and (e.n in still if heading in ("Blocked", "Next") else e.on >= first)
        ]
        parts[heading] = [_line(e, e.n in still, solved.get(e.n)) for e in told]
    parts["Done"] += _signed(project, first)
    parts["Next"] += _needed(project)
    return Page(since or "", parts)


def _line(entry: Entry, is_open: bool, solved: Entry | None) -> str:
    facts = [entry.kind, *filter(None, [entry.block]), entry.by]
    facts += [f"solved on {solved.on}"] if solved else []
    facts += ["open"] if is_open and entry.kind == "incident" else []
    return f"{entry.on}, {entry.n}: {escape(entry.text)} ({', '.join(map(escape, facts))})"


def _signed(project: Project, first: dt.date) -> list[str]:
    """Name the blocks that were approved since a day."""
    found = []
    for (kind, identifier), part in survey(read(project.path("PLAN.md")))[0].items():
        marks = part.attributes
        on = read_date(marks.get("on", "")) if kind == "human" else None
        if on and on >= first and marks.get("status") == "approved":
            title = project.plan.blocks[identifier].title
            found.append((on, f"{on}: {title} approved ({identifier}, {escape(marks['by'])})"))
    return [line for _, line in sorted(found)]


def _needed(project: Project) -> list[str]:
    """Say what the first closed gate still needs."""
    for name, state in gates.states(project.plan, check.check(project, check.GATES[-1])).items():
        if state.needs:
            named = dict.fromkeys(f.id for f in state.needs)
            titles = [
                project.plan.blocks[i].title if i in project.plan.blocks else i for i in named
            ]
            more = f" and {len(titles) - NEEDS} more" if len(titles) > NEEDS else ""
            things = count(len(state.needs), "thing")
            return [f"gate {name} needs {things}: {', '.join(titles[:NEEDS])}{more}"]
    return []


def text(project: Project, found: Page) -> str:
    """Return the page as Markdown."""
    since = f" since {found.since}" if found.since else ""
    lines = [f"# {escape(project.plan.project.name)}: progress{since}"]
    for heading, said in found.parts.items():
        lines += ["", f"## {heading}", "", *(f"- {line}" for line in said or ["nothing"])]
    return "\n".join(lines)


def told(found: Page) -> dict[str, Any]:
    """Return the page for machines."""
    return {"since": found.since or None, **{k.lower(): v for k, v in found.parts.items()}}
