"""A version on trial beside the champion: unseen at first, then for a stable share of the keys.

models/canary.json says which version is on trial and for which share. A service follows it as it
follows the registry. Unseen, the version scores what the champion has answered, afterwards and
beside the event loop. For a share, it answers the rows whose keys fall into it, and where it breaks
the champion answers instead. data/canary/ counts what happened, and holds nothing of a row.
"""

import datetime as dt
import hashlib
import logging
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import astuple

from .. import keys, storage
from ..errors import ProjectError
from ..model import registry
from ..model.scorer import Recounted
from ..model.values import ServedColumn, breach
from ..settings import Project
from .requests import Model, Rows
from .service import where
from .telemetry import Done, Telemetry
from .tracing import Traced

CHAMPION, CHALLENGER = "champion", "challenger"  # the arms
WAITING_ROWS = 20_000  # answered by the champion, not yet scored by a version on trial
TOGETHER = 64  # rows in one call; between calls the event loop comes first
PAUSE_SECONDS = 0.001
log = logging.getLogger("serving")


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided of a trial, when (UTC), why, and by which tests."""

    at: str
    outcome: str
    share: float
    reason: str
    tests: list[dict[str, Any]] = []


class Trial(msgspec.Struct, kw_only=True):
    """A version on trial: since when, since when with this share; 0 is unseen."""

    version: str
    champion: str
    since: str
    stage_since: str
    share: float = 0.0
    ended: bool = False
    signed: str = ""
    decisions: list[Decided] = []


class Count(msgspec.Struct):
    """Requests of one arm since the service began, how many failed and how many were too late."""

    requests: int = 0
    errors: int = 0
    slow: int = 0
    dropped: int = 0


def path(project: Project) -> Path:
    """Return where the trial is written down."""
    return project.path("models/canary.json")


def read(project: Project) -> Trial | None:
    """Return the trial, also one that has ended; None where there was none."""
    found = path(project)
    if not found.exists():
        return None
    try:
        return msgspec.json.decode(found.read_bytes(), type=Trial)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProjectError(
            f"models/canary.json is damaged ({error}): delete it, then `ml canary start VERSION`"
        ) from None


def counts_path(project: Project, version: str) -> Path:
    """Return where services count what happened while `version` was on trial."""
    return project.path(f"data/canary/{version}.jsonl")


def falls(name: str, salt: str, share: float) -> bool:
    """Whether a key is among the `share` of all keys; who is in stays in when it grows."""
    digest = hashlib.blake2b(f"{salt}\0{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) < share * 2**64


class Challenger:
    """The version on trial as a service uses it."""

    def __init__(self, trial: Trial, model: Model, champion: Model, folder: Path | None) -> None:
        self.trial, self.model = trial, model
        self.salt = f"{trial.version} {trial.since}"
        self.telemetry = Telemetry(1.0, folder, model.scorer.outputs)  # for lines of its own
        check_rows(champion, model)
        before = {column.name: n for n, column in enumerate(champion.scorer.sent)}
        self.same = champion.scorer.sent == model.scorer.sent
        self.places = [before.get(column.name) for column in model.scorer.sent]
        named = champion.scorer.keys.items()
        self.named = [field for field, column in named if column.name != keys.EVENT_ID]
        self.events = [field for field, column in named if column.name == keys.EVENT_ID]

    def adopt(self, rows: Rows) -> Rows | None:
        """Return the champion's rows as this version reads them; None when it would refuse one."""
        if self.same:
            return rows
        columns: Sequence[ServedColumn] = self.model.scorer.sent
        found = []
        for row in rows:
            values = astuple(row)
            mine = [None if place is None else values[place] for place in self.places]
            if any(breach(value, c) for value, c in zip(mine, columns, strict=True)):
                return None
            found.append(self.model.scorer.row_of(mine))
        return found

    def answers(self, rows: Rows, request_id: str) -> bool:
        """Whether all rows of a request fall into the share."""
        share = self.trial.share
        return all(falls(self._name(row, request_id), self.salt, share) for row in rows)

    def _name(self, row: msgspec.Struct, request_id: str) -> str:
        """Return who or what a row is about: a key of the contract, else its event, or request."""
        for field in (*self.named, *self.events):
            if (value := getattr(row, field)) is not None:
                return keys.plain(value)
        return request_id


def check_rows(champion: Model, model: Model) -> None:
    """ProjectError when what the champion reads of a request is too little for another version."""
    version = model.scorer.version
    if champion.scorer.outputs != model.scorer.outputs:
        raise ProjectError(
            f"{version} has other outputs than the champion: callers must know first"
        )
    read = {column.name for column in champion.scorer.sent}
    if lacking := [c.name for c in model.scorer.columns if c.name not in read]:
        raise ProjectError(
            f"{version} needs the column {lacking[0]!r}, which the champion does not read: no "
            "request has it yet, so `ml promote` and `ml rollback` are the way"
        )


class Split(Traced):
    """A service that gives a version on trial its part."""

    def __init__(self, project: Project) -> None:
        self.challenger: Challenger | None = None
        self.trial_seen: Any = ()
        self.trial_problem: str | None = None
        self.waiting: deque[tuple[Rows, str]] = deque()
        self.kept_rows = 0  # each written by one thread alone
        self.done_rows = 0
        self.counts = {CHAMPION: Count(), CHALLENGER: Count()}
        self.written = {CHAMPION: Count(), CHALLENGER: Count()}
        super().__init__(project)
        self._follow()

    async def answered(self, model: Model, rows: Rows, request_id: str) -> tuple[Model, Rows, Rows]:
        """Return who answers, the rows as that one reads them, and the predictions."""
        challenger = self.challenger
        if challenger is None or not rows or isinstance(rows, Recounted):  # by the champion's past
            return model, rows, await self.predict(model, rows)
        if not challenger.trial.share:
            found = await self.predict(model, rows)
            if self.kept_rows - self.done_rows + len(rows) <= WAITING_ROWS:
                self.kept_rows += len(rows)
                self.waiting.append((rows, request_id))
            else:
                self.counts[CHALLENGER].dropped += 1
            return model, rows, found
        if challenger.answers(rows, request_id):
            mine = challenger.adopt(rows)
            try:
                if mine is not None:
                    return challenger.model, mine, await self.predict(challenger.model, mine)
            except Exception as error:  # the champion answers instead, and nobody waits for it
                log.error("request %s: %s: %s", request_id, challenger.trial.version, where(error))
            self.counts[CHALLENGER].requests += 1
            self.counts[CHALLENGER].errors += 1
        return model, rows, await self.predict(model, rows)

    def note(
        self,
        model: Model,
        start: float,
        status: int,
        request_id: str,
        rows: Rows,
        predictions: Rows,
        traces: Sequence[str] | None = None,
    ) -> None:
        """Note an answer, also by arm while a version is on trial."""
        super().note(model, start, status, request_id, rows, predictions, traces)
        if (challenger := self.challenger) and status in (200, 500):
            count = self.counts[CHALLENGER if model is challenger.model else CHAMPION]
            count.requests += 1
            count.errors += status == 500
            count.slow += time.perf_counter() - start > self.latency_s()

    def reload(self) -> None:
        """Follow registry and trial; score what waits."""
        super().reload()
        self._follow()
        self._catch_up()

    def close(self) -> None:
        """Write what is not yet written."""
        super().close()
        self._catch_up()

    def _follow(self) -> None:
        """Open the version on trial; one that cannot be opened answers nobody."""
        seen = storage.stamp(path(self.project)), self.model.scorer.version
        if seen == self.trial_seen and self.trial_problem is None:
            return
        problem, found = None, None
        try:
            trial = read(self.project)
            if trial and not trial.ended and trial.champion == self.model.scorer.version:
                known = self.challenger
                model = known.model if known and known.trial.version == trial.version else None
                model = model or self.load(registry.folder(self.project, trial.version))
                found = Challenger(trial, model, self.model, self.telemetry.folder)
        except Exception as error:  # whatever it is, the champion goes on alone
            problem = str(error) if isinstance(error, ProjectError) else where(error)
            if problem != self.trial_problem:
                log.error("no trial: %s", problem)
        if found:
            log.info("on trial: %s for %g of the keys", found.trial.version, found.trial.share)
        self._catch_up()
        self.challenger, self.trial_seen, self.trial_problem = found, seen, problem

    def _catch_up(self) -> None:
        """Score what the champion has answered, then write answers and counts."""
        challenger = self.challenger
        while challenger and self.waiting:
            group: list[tuple[Rows, str]] = []
            while self.waiting and sum(len(rows) for rows, _ in group) < TOGETHER:
                group.append(self.waiting.popleft())
            self._shadow(challenger, group)
            self.done_rows += sum(len(rows) for rows, _ in group)
            time.sleep(PAUSE_SECONDS)
        if challenger:
            challenger.telemetry.write(challenger.telemetry.take())
            self._write_counts(challenger)

    def _shadow(self, challenger: Challenger, group: list[tuple[Rows, str]]) -> None:
        """Score requests together; one that breaks costs no other."""
        count, model = self.counts[CHALLENGER], challenger.model
        read = [(challenger.adopt(rows), request_id) for rows, request_id in group]
        good = [(rows, request_id) for rows, request_id in read if rows is not None]
        count.errors += len(group) - len(good)
        count.requests += len(group)
        try:
            found = model.predict([row for rows, _ in good for row in rows])
        except Exception as error:
            if len(group) > 1:
                count.requests -= len(group)
                count.errors -= len(group) - len(good)
                for one in group:
                    self._shadow(challenger, [one])
            else:
                count.errors += 1
                log.error("request %s: %s: %s", group[0][1], challenger.trial.version, where(error))
            return
        now, first = dt.datetime.now(dt.UTC), 0
        for rows, request_id in good:
            answers = found[first : first + len(rows)]
            first += len(rows)
            head = (now, 0.0, 200, request_id, model.scorer.version, model.scorer.sent)
            challenger.telemetry.add(Done(*head, rows, answers))

    def _write_counts(self, challenger: Challenger) -> None:
        """Append what was counted since the last time; a full disk costs counts, no answer."""
        trial, lines = challenger.trial, []
        for arm, count in self.counts.items():
            now, before = Count(*astuple(count)), self.written[arm]
            new = [a - b for a, b in zip(astuple(now), astuple(before), strict=True)]
            if any(new):
                self.written[arm] = now
                added = dict(zip(Count.__struct_fields__, new, strict=True))
                at = dt.datetime.now(dt.UTC).isoformat()
                lines.append({"time": at, "share": trial.share, "arm": arm, **added})
        if not lines or not self.telemetry.folder:
            return
        file = counts_path(self.project, trial.version)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("ab", buffering=0) as stream:
                stream.write(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        except OSError as error:
            log.error("counts of the trial: %s", error)
