"""Answers that people overruled: recorded with reason and person, counted by `ml monitor`."""

import math
from collections import Counter
from typing import Any

import msgspec
import polars as pl

from . import audit, keys, prediction_log, privacy
from .data import contract as contracts
from .data import forgotten, validation
from .data.contract import Contract
from .dialect import BOOLEANS
from .errors import ProjectError
from .model import registry
from .model.output import Output
from .model.scorer import Scorer
from .settings import Project

KIND = "overruled"
MANY, FEWEST = 0.1, 10  # of the answers, from so many overruled ones on, somebody should look


def run(project: Project, which: str, decision: str, reason: str, by: str) -> dict[str, Any]:
    """Record that `by` decided otherwise than the model for a row; return the line of the log.

    `which` is the event id of a logged answer, or keys of the contract as NAME=VALUE, separated by
    commas; of all but the time a hash is kept. ProjectError when no such row was answered, where
    answers are logged, when the decision is none of the model's kind, or the model's own.
    """
    folder = registry.champion_folder(project)
    scorer = Scorer.load(folder)
    agreed = contracts.read(folder / "contract.odcs.yaml")
    reason, by, decision = (" ".join(text.split()) for text in (reason, by, decision))
    for name, text in {"--reason": reason, "--by": by, "the decision": decision}.items():
        if not text:
            raise ProjectError(f"{name} is empty: an overruled answer needs it")
    row = _named(agreed, which)
    found = _logged(project, row)
    if found is None and prediction_log.days_of(project):
        raise ProjectError(f"no logged answer is that of {which}: see data/predictions")
    version = (found or {}).get("version", scorer.version)
    facts: dict[str, Any] = {"version": version, **_kept(project, agreed, row)}
    output = _answer(scorer)
    said = _read(output, decision)
    if not privacy.hidden(agreed.target):
        answer = None if found is None else found.get(output.name)
        if answer is not None and _same(answer, said):
            raise ProjectError(f"the model decided {keys.plain(answer)} too: nothing is overruled")
        facts |= {"answer": answer}
        facts |= {"decision": privacy.shown(said) if isinstance(said, str) else said}
    return audit.note(project, KIND, **facts, reason=privacy.shown(reason), by=by)


def counted(project: Project, scorer: Scorer) -> dict[str, Any] | None:
    """Return how many answers of a version were overruled, from what to what; None without any."""
    lines = [e for e in audit.entries(project, KIND) if e.get("version") == scorer.version]
    latest = {msgspec.json.encode([e.get("event_id"), e.get("keys")]): e for e in lines}
    if not latest:
        return None
    answers = len(prediction_log.read(project, scorer, None)[0])
    share = len(latest) / answers if answers else None
    ways = Counter((str(e.get("answer")), str(e.get("decision"))) for e in latest.values())
    many = share is not None and share > MANY and len(latest) >= FEWEST
    return {
        "count": len(latest),
        "answers": answers,
        "share": share,
        "people": len({e["by"] for e in latest.values()}),
        "ways": [[*way, n] for way, n in ways.most_common()],
        "level": "warn" if many else "ok",
    }


def _answer(scorer: Scorer) -> Output:
    decided = [output for output in scorer.outputs if output.role == "decision"]
    return (decided or [output for output in scorer.outputs if output.name == scorer.score])[0]


def _read(output: Output, text: str) -> bool | float | str:
    """Return a decision as an answer of its kind; ProjectError where it is none."""
    if output.kind == "boolean":
        if text.lower() not in BOOLEANS:
            raise ProjectError(f"the model decides yes or no, and {text!r} is neither")
        return BOOLEANS[text.lower()]
    if output.kind not in ("number", "integer"):
        return text
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ProjectError(f"the model decides a number, and {text!r} is none: write 1200.50")
    return int(value) if output.kind == "integer" and value.is_integer() else value


def _same(answer: Any, said: bool | float | str) -> bool:
    if isinstance(said, str):
        return " ".join(keys.plain(answer).split()).casefold() == said.casefold()
    return bool(answer == said)


def _named(agreed: Contract, which: str) -> dict[str, Any]:
    """Return how the log of predictions names a row; ProjectError for a key it does not have."""
    if "=" not in which:
        return {keys.EVENT_ID: which}
    known = {column.name: column for column in agreed.keys}
    pairs = [part.partition("=") for part in which.split(",")]
    if any(name.strip() not in known or not sign for name, sign, _ in pairs):
        there = f"of {', '.join(known)}" if known else "but the contract has none"
        raise ProjectError(
            f"{which} names no row: give its event id, which has no =, or NAME=VALUE,... {there}"
        )
    if lacking := [name for name in known if name not in {one.strip() for one, _, _ in pairs}]:
        raise ProjectError(f"{which} may be several rows: name {', '.join(lacking)} too")
    secret, found = keys.secret(), {}
    for name, _, text in pairs:
        column = known[name.strip()]
        [value] = validation.parse(pl.Series([text.strip()]), column).to_list()
        if value is None:
            raise ProjectError(f"{column.name}: {text.strip()!r} is no {column.kind}")
        if (said := keys.logged(column, value, secret)) is None:
            raise ProjectError(
                f"{column.name} is personal, so that logs hold its hash alone: set {keys.SECRET}, "
                "or give the event id of the answer"
            )
        found[column.name] = said
    return {"keys": found}


def _kept(project: Project, agreed: Contract, row: dict[str, Any]) -> dict[str, Any]:
    """Return what the log of people has of a row: no line of it is ever taken out, so a hash."""
    if "keys" not in row:
        return row
    own = forgotten.secret(project)
    plain = {column.name for column in agreed.keys if privacy.hidden(column)}
    plain |= {agreed.time.name} if agreed.time else set()
    named = row["keys"].items()
    return {"keys": {n: text if n in plain else forgotten.hashed(text, own) for n, text in named}}


def _logged(project: Project, row: dict[str, Any]) -> dict[str, Any] | None:
    """Return the newest logged answer of a row."""
    wanted = row.get("keys", {})
    for path in reversed(prediction_log.days_of(project)):
        line: dict[str, Any]
        for *_, line in reversed(list(audit.lines(path))):
            event = keys.EVENT_ID in row and line.get(keys.EVENT_ID) == row[keys.EVENT_ID]
            if event or (wanted and wanted.items() <= line.get("keys", {}).items()):
                return line
    return None


def told(entry: dict[str, Any]) -> str:
    """Say what was recorded."""
    whose = entry.get("event_id") or ", ".join(f"{n}={v}" for n, v in entry["keys"].items())
    way = str(entry.get("decision", privacy.HIDDEN))
    if entry.get("answer") is not None:
        way = f"{keys.plain(entry['answer'])} to {way}"
    return f"overruled: {whose}, {way}, by {entry['by']}; `ml monitor` counts it"
