"""Messages of a topic, scored as they come and stored in a table: each at least once.

Nothing is pending between two batches: a batch is stored, its dead letters are sent, and only then
its offsets are committed. Whatever dies in between, messages come again, and the table drops those
that it has by their event id.
"""

import datetime as dt
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from prometheus_client import Counter, Gauge, start_http_server

from .. import elsewhere, keys, topics, traces
from ..errors import ProjectError
from ..model.values import row_type
from ..settings import Project
from ..topics import REACH_SECONDS
from .refusal import Problem, Refused, refused
from .requests import Model
from .service import TICK_SECONDS, Service, cannot_listen, log, log_lines, where
from .streaming_sink import NotNow, Sink
from .telemetry import Distribution

LETTER_SECONDS = 30  # for dead letters to be stored
PATIENCE_SECONDS = 240  # with a database or a topic that does not answer
POLL_SECONDS = 600  # after which a broker gives our partitions away: longer than any wait of ours
HELD_KB = 16_384  # of messages that were fetched ahead, of each partition
LONGEST_REASON = 2_000  # characters
CUT_BYTES = 500_000  # of a message that is too large for the topic of dead letters
# Of the limit of the plan, which must be a bound itself for an exact alert.
BOUNDS = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 20, 100)

Letter = tuple[Message, str]  # and why it could not be scored
Found = TypeVar("Found")


class Wanted(NamedTuple):
    """What is consumed, how, and where it goes."""

    brokers: str
    topic: str
    group: str
    dead_letters: str
    table: str
    database: str = ""  # an address of libpq
    event_id: Literal["header", "key"] = "header"
    unknown_fields: Literal["strict", "ignore"] = "strict"
    batch_rows: int = 500
    wait_ms: int = 50
    session_ms: int = 10_000


class Access(NamedTuple):
    """How the broker knows us. Names and passwords come from the environment alone."""

    user: str = ""
    password: str = ""
    mechanism: str = "SCRAM-SHA-512"
    tls: bool = False
    authority: Path | None = None

    def settings(self) -> dict[str, Any]:
        """Return it in the words of librdkafka."""
        if self.authority and not self.authority.is_file():
            raise ProjectError(f"{self.authority}: no such file; see --tls-ca")
        file = str(self.authority or "")
        asked = self.user, self.password, self.mechanism
        return topics.access(*asked, tls=self.tls, authority=file)


class OpenModel(Model):
    """A model that leaves out what the contract does not know."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        row = row_type(self.scorer.sent, closed=False)
        self.decode_row = msgspec.json.Decoder(row).decode

    def strangers(self, row: dict[str, Any]) -> set[str]:
        """Return no field, whatever there is."""
        return set()


class Event(NamedTuple):
    """A message that can be scored."""

    message: Message
    id: str
    row: msgspec.Struct
    trace_id: str = ""


def origin(message: Message) -> str:
    """Return the one place where a message stands."""
    return f"{message.topic()}/{message.partition()}/{message.offset()}"


def words(why: Refused) -> str:
    """Return the problems of a row in one line."""
    found = [": ".join(filter(None, [p.field, p.problem, p.hint])) for p in why.problems]
    return "; ".join(found)[:LONGEST_REASON]


def sent_at(message: Message) -> float:
    """Return when a message was sent, in seconds since 1970; now where nothing tells."""
    _, milliseconds = message.timestamp()
    return milliseconds / 1000 if milliseconds > 0 else time.time()


class Letters:
    """The topic of dead letters."""

    def __init__(self, settings: dict[str, Any], topic: str) -> None:
        self.topic = topic
        self.failed: list[tuple[KafkaError, int]] = []
        self.producer = Producer(
            {
                **settings,
                "enable.idempotence": True,
                "acks": "all",
                "message.timeout.ms": LETTER_SECONDS * 1000,
                "message.max.bytes": 100_000_000,
                "linger.ms": 5,
            },
            logger=log,
        )

    def send(self, letters: Sequence[Letter], version: str) -> int:
        """Store messages with the reason, their origin and the model; return how many.

        NotNow when that fails. The key is the origin, so that a compacted topic keeps one letter of
        a message that came twice; the key of the message stands in a header.
        """
        self.failed.clear()
        for place, letter in enumerate(letters):
            self._produce(place, letter, version)
        waiting = self.producer.flush(LETTER_SECONDS + 5)
        failed, self.failed = self.failed, []
        large = [p for error, p in failed if error.code() == KafkaError.MSG_SIZE_TOO_LARGE]
        if waiting or len(large) < len(failed):
            reason = failed[0][0].str() if failed else "no answer"
            raise NotNow(f"topic {self.topic}: {reason}")
        for place in large:
            self._produce(place, letters[place], version, cut=CUT_BYTES)
        if self.producer.flush(LETTER_SECONDS + 5) or self.failed:
            raise NotNow(f"topic {self.topic}: a message is too large for it")
        return len(letters)

    def _produce(self, place: int, letter: Letter, version: str, cut: int | None = None) -> None:
        message, reason = letter
        told = {"reason": reason, "origin": origin(message), "model": version}
        headers = [*(message.headers() or []), *((n, text.encode()) for n, text in told.items())]
        if (key := message.key()) is not None:
            headers.append(("key", _bytes(key)))
        body = message.value()
        if cut:
            headers.append(("cut", str(cut).encode()))
            body = (body or b"")[:cut]
        self.producer.produce(
            self.topic,
            body,
            origin(message),
            headers=headers,
            on_delivery=lambda error, _: self.failed.append((error, place)) if error else None,
        )


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


class Stream(Service):
    """A running consumer: the model in use, the table, and what is in hand."""

    def __init__(self, project: Project, wanted: Wanted) -> None:
        self.wanted = wanted
        limit = self.seconds = float(project.plan.answers["stream_seconds"])
        super().__init__(project)
        self.spans = traces.opened(project.plan.project.slug)
        registry = self.telemetry.registry
        for metric in (self.telemetry.requests, self.telemetry.latency, self.telemetry.ended):
            registry.unregister(metric)  # of requests, which there are none of
        text = "Messages, by what became of them"
        self.messages = Counter("ml_stream_messages", text, ["outcome"], registry=registry)
        for outcome in ("scored", "repeated", "dead"):
            self.messages.labels(outcome)
        text = "From the time of a message until it was stored"
        self.age = Distribution(
            "ml_stream_seconds",
            text,
            [round(limit * part, 6) for part in BOUNDS],
            registry=registry,
        )
        text = "Messages that wait, of each partition that this consumer has"
        self.lag = Gauge("ml_stream_lag", text, ["partition"], registry=registry)
        text = "Age of the oldest message in hand, 0 when none waits"
        behind = Gauge("ml_stream_behind_seconds", text, registry=registry)
        behind.set_function(self.behind)
        text = "Partitions that this consumer has"
        partitions = Gauge("ml_stream_partitions", text, registry=registry)
        partitions.set_function(lambda: len(self.assigned))
        text = "Tries to store a batch that failed"
        self.retries = Counter("ml_stream_retries", text, registry=registry)
        self.oldest: float | None = None
        self.place: str | None = None
        self.done: dict[int, int] = {}  # the offset that comes next, by partition
        self.assigned: set[int] = set()
        self.stopping = threading.Event()

    def load(self, folder: Path) -> Model:
        """Open a bundle; ProjectError when it cannot be served."""
        return OpenModel(folder) if self.wanted.unknown_fields == "ignore" else Model(folder)

    def latency_s(self) -> float:
        """Return within how many seconds the plan wants a message to be scored."""
        return self.seconds

    def behind(self) -> float:
        """Return how many seconds the oldest message in hand has waited."""
        oldest = self.oldest
        return 0.0 if oldest is None else max(0.0, time.time() - oldest)

    def close(self) -> None:
        """Write and send what is left."""
        super().close()
        if self.spans:
            self.spans.close()

    def trace(self, message: Message) -> traces.Trace | None:
        """Find where a message stands by its header `traceparent`, and begin its span."""
        given: Any = dict(message.headers() or ()).get("traceparent") or b""
        header = _bytes(given).decode("latin-1")
        return traces.begun(self.spans, f"consume {self.wanted.topic}", header, "CONSUMER")

    # From a message to a row

    def event(self, model: Model, message: Message) -> Event:
        """Read a message; Refused when it is not one row that the contract allows."""
        body = message.value()
        if body is None:
            raise refused(422, "no content", "send one row as JSON")
        rows = model.rows(_bytes(body), 1)
        if len(rows) != 1:
            raise refused(422, "no row", "send one row as JSON")
        row, scorer = rows[0], model.scorer
        texts = zip(scorer.keys.items(), scorer.keys_of(rows), strict=True)
        for (name, column), (value,) in texts:
            if isinstance(value, str) and "\x00" in value:
                raise Refused(422, Problem(0, column.name, "NUL", "leave it out"))
            if column.name == keys.EVENT_ID and value is not None:
                return Event(message, keys.plain(value), row)
            if column.name == keys.EVENT_ID and column.kind == "category":
                row = msgspec.structs.replace(row, **{name: self._named(message)})
        return Event(message, self._named(message), row)

    def _named(self, message: Message) -> str:
        """Return the event id that header or key give, else the origin."""
        given: Any = dict(message.headers() or ()).get(keys.EVENT_ID)
        if given is None and self.wanted.event_id == "key":
            given = message.key()
        if given is None:
            return origin(message)
        try:
            text = _bytes(given).decode()
        except UnicodeDecodeError:
            raise Refused(422, Problem(0, keys.EVENT_ID, "type", "send a text")) from None
        if not 0 < len(text) <= keys.LONGEST:
            hint = f"send a text of 1 to {keys.LONGEST} characters"
            raise Refused(422, Problem(0, keys.EVENT_ID, "length", hint))
        if "\x00" in text:
            raise Refused(422, Problem(0, keys.EVENT_ID, "NUL", "leave it out"))
        return text

    # From rows to the table

    def scored(
        self, model: Model, events: list[Event], letters: list[Letter]
    ) -> tuple[list[Event], list[msgspec.Struct]]:
        """Score events; one that breaks scoring becomes a letter and does not fail the others."""
        try:
            return events, model.predict([event.row for event in events])
        except Exception as error:
            log.error("batch: %s", where(error))
        good, found = [], []
        for event in events:
            try:
                found += model.predict([event.row])
                good.append(event)
            except Exception as error:
                letters.append((event.message, f"scoring failed: {where(error)}"))
        return good, found

    def stored(self, model: Model, event: Event, prediction: Any) -> tuple[Any, ...]:
        """Return the row of the table."""
        scorer = model.scorer
        answers = [getattr(prediction, output.name) for output in scorer.outputs]
        names = ((name, c.name) for name, c in scorer.keys.items() if c.name != keys.EVENT_ID)
        sent = {label: getattr(event.row, name) for name, label in names}
        told = {label: value for label, value in sent.items() if value is not None}
        moment = dt.datetime.fromtimestamp(sent_at(event.message), dt.UTC)
        head = (event.id, origin(event.message), msgspec.json.encode(told).decode())
        tail = (prediction.warning or None, scorer.version, moment, event.trace_id or None)
        return (*head, *answers, *tail)

    def handle(self, messages: list[Message], sink: Sink, dead: Letters) -> bool:
        """Score and store messages; False when that was not done before the stop."""
        start, model = time.perf_counter(), self.model
        events: list[Event] = []
        letters: list[Letter] = []
        followed = [self.trace(message) for message in messages]
        for message, trace in zip(messages, followed, strict=True):
            try:
                event = self.event(model, message)
                events.append(event._replace(trace_id=trace.id) if trace else event)
            except Refused as why:
                letters.append((message, words(why)))
        events, found = self.scored(model, events, letters)
        rows = [self.stored(model, *pair) for pair in zip(events, found, strict=True)]
        done = self.patiently(lambda: sink.store(rows))
        if done is None:
            return False
        letters += [(events[place].message, why) for place, why in done.refused.items()]
        version = model.scorer.version
        if letters and self.patiently(lambda: dead.send(letters, version)) is None:
            return False
        is_good = [place not in done.refused for place in range(len(events))]
        kept = [event.row for event, good in zip(events, is_good, strict=True) if good]
        answers = [answer for answer, good in zip(found, is_good, strict=True) if good]
        self.messages.labels("scored").inc(done.new)
        self.messages.labels("repeated").inc(len(kept) - done.new)
        self.messages.labels("dead").inc(len(letters))
        now = time.time()
        self.age.add([max(0.0, now - sent_at(message)) for message in messages])
        if kept:
            ids = [e.trace_id for e, good in zip(events, is_good, strict=True) if good]
            self.note(model, start, 200, next(self.ids), kept, answers, ids)
        dead_ones = {id(message) for message, _ in letters}
        for message, trace in zip(messages, followed, strict=True):
            if trace:
                trace.end(422 if id(message) in dead_ones else 200, version, 1)
        return True

    def patiently(self, work: Callable[[], Found]) -> Found | None:
        """Do what may have to be tried again; None when it was not done before the stop.

        ProjectError when it failed for PATIENCE_SECONDS: nothing is committed, so that whoever
        starts the consumer again gets the same messages.
        """
        start, pause = time.monotonic(), 0.2
        while True:
            try:
                return work()
            except NotNow as error:
                self.retries.inc()
                waited = time.monotonic() - start
                if waited > PATIENCE_SECONDS:
                    raise ProjectError(
                        f"{error}; tried for {waited:.0f} seconds. Nothing was committed: start "
                        "again, and the messages come again"
                    ) from None
                log.warning("%s; trying again in %.1f s", error, pause)
            if self.stopping.wait(pause):
                return None
            pause = min(2 * pause, 5)

    # The group

    def follow_group(self, consumer: Consumer) -> None:
        """Join the group."""
        consumer.subscribe(
            [self.wanted.topic],
            on_assign=lambda _, places: self._assign(places),
            on_revoke=lambda _, places: self._revoke(places),
            on_lost=lambda _, places: self._revoke(places),
        )

    def _assign(self, places: Iterable[TopicPartition]) -> None:
        self.assigned |= {place.partition for place in places}
        log.info("partitions: %s", sorted(self.assigned))

    def _revoke(self, places: Iterable[TopicPartition]) -> None:
        """Forget partitions: nothing of them is pending, since batches are committed at once."""
        for place in places:
            self.assigned.discard(place.partition)
            self.done.pop(place.partition, None)
        self.lag.clear()
        log.info("partitions: %s", sorted(self.assigned))

    def gather(self, consumer: Consumer) -> list[Message]:
        """Return what came within `wait_ms`; what a rebalance took away meanwhile is left out."""
        found = consumer.consume(self.wanted.batch_rows, self.wanted.wait_ms / 1000)
        messages = []
        for message in found:
            if error := message.error():
                if error.fatal():
                    raise ProjectError(f"broker: {error.str()}")
                if error.code() != KafkaError._PARTITION_EOF:
                    log.warning("broker: %s", error.str())
            elif message.partition() in self.assigned:
                messages.append(message)
        self.oldest = min(map(sent_at, messages), default=None)
        return messages

    def commit(self, consumer: Consumer, messages: list[Message]) -> None:
        """Say that messages are done; where that fails they come again, and the table has them."""
        following: dict[int, int] = {}
        for message in messages:
            place, offset = message.partition() or 0, message.offset() or 0
            following[place] = max(following.get(place, 0), offset + 1)
        topic = self.wanted.topic
        places = [TopicPartition(topic, place, offset) for place, offset in following.items()]
        try:
            consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            log.warning("offsets are not committed: %s", error.args[0].str())
        self.done |= following

    def count_waiting(self, consumer: Consumer) -> None:
        """Bring the lag of each partition up to date."""
        for place in sorted(self.assigned):
            where_ = TopicPartition(self.wanted.topic, place)
            known = consumer.get_watermark_offsets(where_, cached=True)
            _, high = known or (0, -1)
            following = self.done.get(place)
            if following is None:
                following = consumer.position([where_])[0].offset
            if high >= 0 and following >= 0:
                self.lag.labels(str(place)).set(max(0, high - following))

    def work(self, consumer: Consumer, sink: Sink, dead: Letters) -> None:
        """Go on until the stop, which finishes the batch in hand."""
        self.follow_group(consumer)
        ticked = time.monotonic()
        while not self.stopping.is_set():
            messages = self.gather(consumer)
            if messages:
                if not self.handle(messages, sink, dead):
                    log.warning("stopped before a batch was stored: its messages come again")
                    break
                self.commit(consumer, messages)
            if time.monotonic() - ticked >= TICK_SECONDS:
                ticked = time.monotonic()
                self.count_waiting(consumer)
                self.telemetry.write(self.telemetry.take())

    def keep_up(self) -> None:
        """Follow the registry until the stop."""
        while not self.stopping.wait(TICK_SECONDS):
            self.reload()


def reached(settings: dict[str, Any], topics: Sequence[str]) -> None:
    """ProjectError when no broker answers, it does not know us, or a topic is not there."""
    told: list[KafkaError] = []
    brokers = settings["bootstrap.servers"]
    try:
        asked: dict[str, Any] = {**settings, "error_cb": told.append, "log_level": 0}
        admin = AdminClient(asked)
        known = admin.list_topics(timeout=REACH_SECONDS).topics
    except KafkaException as error:
        admin.poll(0)
        refusals = [e.str() for e in told if e.code() == KafkaError._AUTHENTICATION]
        last = [e.str() for e in told] or [error.args[0].str()]
        why = " ".join((refusals or last)[-1].split())
        raise ProjectError(
            f"no broker at {brokers}: {why}; ML_STREAM_BROKERS says where it is, "
            "ML_STREAM_USER and ML_STREAM_PASSWORD who asks"
        ) from None
    for topic in topics:
        if topic not in known or known[topic].error:
            raise ProjectError(
                f"no topic {topic} at {brokers}: create it, or name another one; see --topic and "
                "--dead-letters"
            )


def run(project: Project, wanted: Wanted, access: Access, host: str, metrics_port: int) -> None:
    """Consume until SIGTERM or Ctrl-C, finish the batch in hand, exit 0; ProjectError else."""
    settings = {"bootstrap.servers": wanted.brokers, **access.settings()}
    stream = Stream(project, wanted)
    reached(settings, [wanted.topic, wanted.dead_letters])
    sink = Sink(wanted.database, wanted.table, stream.model.scorer.outputs)
    table = f"table {wanted.table} in the database of ML_STREAM_DATABASE"
    elsewhere.note(project, [f"topics {wanted.topic} and {wanted.dead_letters}", table])
    try:
        start_http_server(metrics_port, host, stream.telemetry.registry)
    except (OSError, OverflowError) as error:
        raise cannot_listen(host, metrics_port, error) from None
    log_lines()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stream.stopping.set())
    dead = Letters(settings, wanted.dead_letters)
    consumer = Consumer(
        {
            **settings,
            "group.id": wanted.group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "max.poll.interval.ms": POLL_SECONDS * 1000,
            "session.timeout.ms": wanted.session_ms,
            "heartbeat.interval.ms": max(100, wanted.session_ms // 4),
            "queued.max.messages.kbytes": HELD_KB,
            "fetch.wait.max.ms": wanted.wait_ms,
        },
        logger=log,
    )
    following = threading.Thread(target=stream.keep_up)
    following.start()
    log.info("consuming %s with %s", wanted.topic, stream.model.scorer.version)
    try:
        stream.work(consumer, sink, dead)
    finally:
        stream.stopping.set()
        consumer.close()
        sink.close()
        following.join()
        stream.close()
