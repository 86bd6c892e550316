"""What a service remembers of its answers: metrics, and a log that `ml monitor` reads."""

import collections
import datetime as dt
import functools
import hashlib
import itertools
import logging
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import astuple
from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from .. import keys, kinds, privacy
from ..model.history import Origin
from ..model.output import Output, fields
from ..model.values import ServedColumn

SETTLE_ROWS = 128  # accounting many rows at once costs a fraction of one by one
MAX_LINES = 100_000  # kept in memory while the disk is busy
ENCODE = msgspec.json.Encoder().encode
log = logging.getLogger("serving")


class Done(NamedTuple):
    """An answered request; no rows or predictions when it was refused."""

    time: dt.datetime
    seconds: float
    status: int
    request_id: str
    version: str
    columns: Sequence[ServedColumn]
    rows: Sequence[msgspec.Struct]
    predictions: Sequence[msgspec.Struct]
    trace: str | Sequence[str] = ""  # its id, or that of each row


class Distribution(Collector):
    """A histogram that is told many values at once, which prometheus_client's own cannot be."""

    def __init__(
        self, name: str, text: str, bounds: list[float], *, registry: CollectorRegistry
    ) -> None:
        self.name, self.text, self.bounds = name, text, bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        registry.register(self)

    def add(self, values: list[float]) -> None:
        """Count values."""
        for value in values:
            self.counts[bisect_left(self.bounds, value)] += 1
        self.total += sum(values)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Give the counts to prometheus_client."""
        bounds = [*map(floatToGoString, self.bounds), "+Inf"]
        buckets = list(zip(bounds, itertools.accumulate(self.counts), strict=True))
        yield HistogramMetricFamily(self.name, self.text, buckets, self.total)


class Telemetry:
    """Counts answers and logs their rows, in `folder`/<UTC date>.jsonl unless it is None.

    A line of the log has what `_lines` gives, and no personal columns: of a personal key a hash
    where `keys.secret` is set.
    """

    def __init__(self, latency_s: float, folder: Path | None, outputs: Sequence[Output]) -> None:
        self.folder = folder
        self.line_type = _line_type(outputs)
        self.names = [output.name for output in outputs]
        self.columns: Sequence[ServedColumn] = ()
        self.shown: list[tuple[int, str]] = []
        self.whole: dict[int, str] = {}
        self.keys: list[tuple[int, ServedColumn]] = []
        self.secret = keys.secret()
        self.lines: list[bytes] = []
        self.done: list[Done] = []
        self.pending_rows = 0
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        counter = functools.partial(Counter, registry=self.registry)
        histogram = functools.partial(Distribution, registry=self.registry)
        gauge = functools.partial(Gauge, registry=self.registry)
        # Around the plan's limit, which must be a bound itself for an exact alert.
        bounds = [round(latency_s * part, 6) for part in (0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5)]
        self.latency = histogram("ml_request_seconds", "Time to answer", bounds)
        self.requests = counter("ml_requests", "Requests for predictions", ["status"])
        self.requests.labels("500")  # there from the start, or a rate would miss the first one
        one = "One per row"
        scores = [output for output in outputs if output.cuts]
        self.scores = {o.name: histogram(f"ml_{o.name}", one, list(o.cuts)) for o in scores}
        counted = [o for o in outputs if o.kind not in ("number", "items", "names")]
        decided = [o.name for o in counted if o.role == "decision"]
        many = {name: name if name.endswith("ed") else f"{name}s" for name in decided}
        self.decisions = {name: counter(f"ml_{many[name]}", one, [name]) for name in decided}
        self.model = gauge("ml_model_info", "The model in use", ["version"])
        self.reload_failed = gauge("ml_model_reload_failed", "1: the champion cannot be loaded")
        age, stale = "Since it was built", "1: it is older than monitoring.max_state_days"
        self.state_age = gauge("ml_feature_state_age_seconds", age, ["version"])
        self.state_stale = gauge("ml_feature_state_stale", stale, ["version"])
        self.state_now: Callable[[], dict[str, Any]] = dict
        self.ended = counter("ml_connections_ended", "Of callers that took too much", ["status"])
        self.lost = counter("ml_prediction_log_lost", "Rows that could not be logged")

    def follow(self, version: str, origin: Origin | None, limit: float) -> None:
        """Tell the age of the state of features that look back, nothing where there is none."""
        self.state_age.clear()
        self.state_stale.clear()
        self.state_now = dict if origin is None else functools.partial(_told, origin, limit)
        if origin is None:
            return
        self.state_age.labels(version).set_function(lambda: origin.age_days() * 86_400)
        self.state_stale.labels(version).set_function(lambda: origin.age_days() > limit)

    def end(self, status: int) -> None:
        """Note a connection that was ended, with the status that its caller was sent."""
        self.ended.labels(str(status)).inc()

    def add(self, done: Done) -> None:
        """Note an answered request."""
        self.done.append(done)
        self.pending_rows += len(done.rows)
        if self.pending_rows >= SETTLE_ROWS or len(self.done) >= SETTLE_ROWS:
            self.settle()

    def settle(self) -> None:
        """Bring metrics and log lines up to date."""
        predictions = [found for done in self.done for found in done.predictions]
        for status, count in collections.Counter(done.status for done in self.done).items():
            self.requests.labels(str(status)).inc(count)
        for name, decided in self.decisions.items():
            for value, count in collections.Counter(map(attrgetter(name), predictions)).items():
                decided.labels(str(value).lower()).inc(count)
        for name, scores in self.scores.items():
            scores.add(list(map(attrgetter(name), predictions)))
        self.latency.add([done.seconds for done in self.done])
        for done in self.done:
            if self.folder and len(self.lines) + len(done.rows) <= MAX_LINES:
                self.lines += self._lines(done)
            elif self.folder:
                self.lost.inc(len(done.rows))
        self.done.clear()
        self.pending_rows = 0

    def take(self) -> list[bytes]:
        """Return the log lines since the last time."""
        self.settle()
        lines, self.lines = self.lines, []
        return lines

    def write(self, lines: list[bytes]) -> None:
        """Append to the log of today; a full disk costs lines, never an answer."""
        if not lines or not self.folder:
            return
        content = b"\n".join(lines) + b"\n"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{dt.datetime.now(dt.UTC):%Y-%m-%d}.jsonl"
            with path.open("ab", buffering=0) as file:
                written = file.write(content)
                if written != len(content):
                    file.truncate(file.tell() - written)  # no half line
                    raise OSError("disk full")
        except OSError as error:
            self.lost.inc(len(lines))
            log.error("prediction log: %s", error)

    def _lines(self, done: Done) -> list[bytes]:
        if done.columns is not self.columns:
            self.columns = done.columns
            columns = list(enumerate(done.columns))
            self.shown = [(n, c.name) for n, c in columns if c.used and not privacy.hidden(c)]
            self.whole = {n: c.kind for n, c in columns if c.kind in kinds.READ}
            self.keys = [(n, c) for n, c in columns if c.key]
        lines = []
        for number, (row, found) in enumerate(zip(done.rows, done.predictions, strict=True)):
            values: Sequence[Any] = astuple(row)
            if kind_of := self.whole:
                pairs = enumerate(values)
                values = [kinds.logged(v, kind_of[n]) if n in kind_of else v for n, v in pairs]
            features = ENCODE({name: values[n] for n, name in self.shown})
            digest = hashlib.blake2b(features, digest_size=16).hexdigest()
            told = ((c.name, keys.logged(c, values[n], self.secret)) for n, c in self.keys)
            known = {name: text for name, text in told if text}
            event = known.pop(keys.EVENT_ID, "") or keys.made(done.request_id, number)
            head = (done.time, done.request_id, done.version, number, event, known)
            answer = astuple(found)[: len(self.names)]  # without the warning
            trace = done.trace if isinstance(done.trace, str) else done.trace[number]
            tail = (digest, msgspec.Raw(features), trace)
            lines.append(ENCODE(self.line_type(*head, *answer, *tail)))
        return lines


def _told(origin: Origin, limit: float) -> dict[str, Any]:
    """Return what /ready says of a state."""
    age = origin.age_days()
    facts = {"built": origin.built, "until": origin.until, "age_days": round(age, 2)}
    return {"state": facts | {"stale": age > limit}}


def _line_type(outputs: Sequence[Output]) -> type[msgspec.Struct]:
    """Return the type of a line; its hash is that of the features alone.

    From a hash of more, a personal value could be guessed back. A request that is part of no trace
    has no `trace_id`.
    """
    head = [("time", dt.datetime), ("request_id", str), ("version", str), ("row", int)]
    head += [("event_id", str), ("keys", dict[str, str])]
    tail = [("input_hash", str), ("features", msgspec.Raw)]
    named: list[tuple[str, Any] | tuple[str, Any, Any]] = [*head, *fields(outputs), *tail]
    named.append(("trace_id", str, ""))
    return msgspec.defstruct("Line", named, frozen=True, omit_defaults=True)
