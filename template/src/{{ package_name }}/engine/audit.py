"""Logs that tell when somebody changed them: each line has the hash of the one before, and its own.

What is removed at the end leaves no trace in the rest: whoever must prove that nothing is missing
notes the head that `ml audit` prints, and asks later whether it is still there.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from .errors import CheckFailed, ProjectError
from .settings import Project
from .storage import sha256_bytes

LOG = "reports/audit.jsonl"  # of people: what they signed, promoted, overruled
TESTED = "reports/test_access.jsonl"  # of uses of the test set
PREVIOUS, OWN = "previous", "hash"
START = "0" * 64
MEND = "the rest can be trusted no more: take the file from a backup, or find out who edited it"


def note(project: Project, kind: str, **facts: Any) -> dict[str, Any]:
    """Add a line of now to the log of people; no value of it may be personal."""
    return append(project.path(LOG), {"kind": kind, **facts})


def append(path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Add a line; what a kill has left half-written at the end goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = path.read_bytes() if path.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    last = whole.splitlines()[-1:] or [b""]
    entry = {"at": now, **facts, PREVIOUS: sha256_bytes(last[0]) if last[0] else START}
    entry[OWN] = sha256_bytes(msgspec.json.encode(entry))
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.truncate(len(whole))
        file.seek(0, 2)
        file.write(msgspec.json.encode(entry) + b"\n")
    return entry


def lines(path: Path) -> Iterator[tuple[int, bytes, dict[str, Any]]]:
    """Yield the number, the bytes and the content of each whole line, {} for a damaged one.

    What follows the last line break is what a killed command left half-written.
    """
    content = path.read_bytes() if path.exists() else b""
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
        try:
            yield number, line, msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            yield number, line, {}


def entries(project: Project, kind: str) -> list[dict[str, Any]]:
    """Return the lines of one kind, the oldest first."""
    return [entry for *_, entry in lines(project.path(LOG)) if entry.get("kind") == kind]


def broken(path: Path) -> str:
    """Say where a log was changed, "" where it was not.

    Lines at its beginning that are older than the chain have no hashes: only the last of them
    is told by the first that has.
    """
    before, chained = b"", False
    for number, line, entry in lines(path):
        own = {name: value for name, value in entry.items() if name != OWN}
        if not (chained or PREVIOUS in entry) and entry:
            before = line
            continue
        place = f"{path.parent.name}/{path.name}, line {number}"
        if entry.get(OWN) != sha256_bytes(msgspec.json.encode(own)):
            return f"{place}: its words are others than were written; {MEND}"
        if entry[PREVIOUS] != (sha256_bytes(before) if before else START):
            return f"{place}: the line before it is another or gone; {MEND}"
        before, chained = line, True
    return ""


def problems(project: Project) -> list[str]:
    """Return where logs of the project were changed."""
    return [said for path in (LOG, TESTED) if (said := broken(project.path(path)))]


def run(project: Project, head: str = "") -> dict[str, Any]:
    """Return what stands in each log, its head, and what was changed.

    CheckFailed where a chain is broken, or where `head` was the end of one and is gone. A log
    without a line is left out.
    """
    if head and len(head) < 8:
        raise ProjectError("--head: give at least 8 signs of a head")
    there = {name: [*lines(project.path(name))] for name in (LOG, TESTED)}
    heads = {name: [sha256_bytes(line) for _, line, _ in found] for name, found in there.items()}
    if found := problems(project):
        raise CheckFailed("; ".join(found))
    if head and not any(one.startswith(head) for every in heads.values() for one in every):
        raise CheckFailed(f"no line has the hash {head}: what was once the end of a log is gone")
    return {
        name: {
            "lines": len(every),
            "head": every[-1],
            "kinds": Counter(e.get("kind", "test set used") for *_, e in there[name]),
        }
        for name, every in heads.items()
        if every
    }


def told(report: dict[str, Any]) -> str:
    """Say how many lines each log has, of what, and its head."""
    said = [
        f"{name}: {found['lines']} lines ("
        + ", ".join(f"{n} {kind}" for kind, n in found["kinds"].items())
        + f"), unbroken; head {found['head'][:16]}"
        for name, found in report.items()
    ]
    said += ["note the heads: `ml audit --head HEAD` tells later whether one is still there"]
    return "\n".join(said) if report else "nothing is logged yet"
