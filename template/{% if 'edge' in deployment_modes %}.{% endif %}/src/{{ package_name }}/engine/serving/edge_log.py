"""From the queues of devices into the prediction log, each event once."""

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from .. import keys, privacy
from ..errors import ProjectError
from ..model import registry
from ..model.output import fields
from ..model.scorer import Scorer
from ..model.values import breach, read_value
from ..settings import Project
from .on_device.device import LONGEST_EVENT

FUTURE = dt.timedelta(days=1)  # of a clock that is ahead: later times would move the window of days
LONGEST_NAME = 128


class Event(msgspec.Struct, forbid_unknown_fields=True):
    """A line of a device."""

    event_id: str
    time: dt.datetime
    device: str
    version: str
    row: dict[str, Any]
    answer: dict[str, Any]


class Lost(msgspec.Struct, forbid_unknown_fields=True):
    """How many events had no room."""

    lost: int


class Known(NamedTuple):
    """A version, and the type of its answers."""

    scorer: Scorer
    answer: type[msgspec.Struct]


def collect(project: Project, sources: Sequence[Path]) -> dict[str, Any]:
    """Put the events of queue files into data/predictions, of the day when they were answered.

    What is in the log already stays as it is, so that a file can be sent again. A line that is no
    event of this project is counted with its reason, and left out.
    """
    for source in sources:
        if not source.is_file():
            raise ProjectError(f"{source}: no such file")
    now = dt.datetime.now(dt.UTC)
    versions: dict[str, Known | None] = {}
    reasons: Counter[str] = Counter()
    days: dict[str, dict[str, bytes]] = {}
    events = lost = 0
    secret = keys.secret()
    for line in _lines(sources):
        try:
            event = msgspec.json.decode(line, type=Event)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            if (count := _lost(line)) is not None:
                lost += count
                continue
            events += 1
            reasons["no event"] += 1
            continue
        events += 1
        if event.version not in versions:
            versions[event.version] = _version(project, event.version)
        logged, why = _logged(event, versions[event.version], now, secret)
        if why:
            reasons[why] += 1
        else:
            day = f"{event.time.astimezone(dt.UTC):%Y-%m-%d}"
            days.setdefault(day, {}).setdefault(event.event_id, logged)
    added = sum(_append(project, day, lines) for day, lines in days.items())
    rejected = sum(reasons.values())
    return {
        "events": events,
        "added": added,
        "already_there": events - rejected - added,
        "rejected": rejected,
        "reasons": dict(sorted(reasons.items())),
        "lost_on_devices": lost,
    }


def _lines(sources: Sequence[Path]) -> Iterator[bytes]:
    """Give each line that is not blank; of one that is too long, as much as shows that."""
    for source in sources:
        with source.open("rb") as file:
            while line := file.readline(LONGEST_EVENT + 1):
                while not line.endswith(b"\n") and (rest := file.readline(LONGEST_EVENT)):
                    line = b"too long" + rest[-1:]
                if line.strip():
                    yield line


def _lost(line: bytes) -> int | None:
    try:
        return msgspec.json.decode(line, type=Lost).lost
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _version(project: Project, name: str) -> Known | None:
    if name not in registry.read(project).versions:
        return None
    scorer = Scorer.load(registry.folder(project, name))
    return Known(scorer, msgspec.defstruct("Answer", fields(scorer.outputs)))


def _logged(
    event: Event, known: Known | None, now: dt.datetime, secret: bytes | None
) -> tuple[bytes, str]:
    """Return the line of the log, or why there is none."""
    if known is None:
        return b"", "unknown version"
    if not 0 < len(event.event_id) <= LONGEST_NAME or len(event.device) > LONGEST_NAME:
        return b"", "event_id or device too long or empty"
    if event.time.tzinfo is None or event.time > now + FUTURE:
        return b"", "time without an offset or in the future"
    try:
        answer = msgspec.to_builtins(msgspec.convert(event.answer, known.answer))
    except msgspec.ValidationError:
        return b"", "another answer than its version gives"
    columns = {column.name: column for column in known.scorer.sent}
    if event.row.keys() - columns.keys() - {*known.scorer.manifest.ignored}:
        return b"", "a field that the contract does not know"
    values = {
        name: read_value(event.row.get(name), column)
        for name, column in columns.items()
        if not privacy.hidden(column)
    }
    if any(value is not None and breach(value, columns[n]) for n, value in values.items()):
        return b"", "a value that breaks the contract"
    features = msgspec.json.encode({n: v for n, v in values.items() if columns[n].used})
    told = {n: keys.logged(columns[n], v, secret) for n, v in values.items() if columns[n].key}
    line = {
        "time": event.time,
        "request_id": f"device/{event.device}",
        "version": event.version,
        "row": 0,
        "event_id": event.event_id,
        "keys": {n: text for n, text in told.items() if text and n != keys.EVENT_ID},
        **answer,
        "input_hash": hashlib.blake2b(features, digest_size=16).hexdigest(),
        "features": msgspec.Raw(features),
    }
    return msgspec.json.encode(line), ""


def _append(project: Project, day: str, lines: dict[str, bytes]) -> int:
    """Append what the log of a day does not have yet; return how many lines that was."""
    path = project.path(f"data/predictions/{day}.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.read_bytes() if path.exists() else b""
    there = set()
    for line in old.splitlines():
        try:
            there.add(msgspec.json.decode(line).get(keys.EVENT_ID))
        except (msgspec.MsgspecError, UnicodeDecodeError, AttributeError):
            continue  # what a kill cut off
    new = [line for event, line in lines.items() if event not in there]
    if new:
        start = b"" if old.endswith(b"\n") or not old else b"\n"
        with path.open("ab", buffering=0) as file:
            file.write(start + b"\n".join(new) + b"\n")
    return len(new)
