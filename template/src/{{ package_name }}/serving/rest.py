"""The REST service: `create_app` gives the ASGI application, `run` serves it in one process.

POST /predict is a bare ASGI endpoint, because a web framework would take longer than checking,
scoring and answering together. FastAPI does everything else and describes both.
"""

import asyncio
import datetime as dt
import difflib
import functools
import hashlib
import itertools
import logging
import os
import re
import signal
import socket
import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from .. import registry, storage
from ..errors import ProjectError
from ..scorer import Golden, Scorer
from ..settings import Project
from . import MISSING, OUT_OF_RANGE, UNKNOWN_LEVEL, WRONG_TYPE, example, expected

RELOAD_SECONDS = 2.0
FLUSH_SECONDS = 1.0
DRAIN_SECONDS = 30
MAX_PROBLEMS = 100  # a refusal lists no more
MAX_LOG_LINES = 100_000  # kept in memory while the disk is busy
THREAD_ROWS = 64  # larger requests are scored beside the event loop, so that small ones can pass
REQUEST_ID = re.compile(rb"[\w.:+/=@-]{1,128}")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Message, Receive, Send], Awaitable[None]]
log = logging.getLogger("serving")


class Prediction(msgspec.Struct, frozen=True):
    """The calibrated probability of the positive class, and whether it reaches the threshold."""

    probability: float
    decision: bool


class Answer(msgspec.Struct, frozen=True):
    """One prediction per row, in the order of the request."""

    model_version: str
    threshold: float
    predictions: list[Prediction]


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with a field of a row; null stands for the row or the request as a whole."""

    row: int | None
    field: str | None
    problem: str
    hint: str


class Refusal(msgspec.Struct, frozen=True):
    """Why a request got no predictions."""

    errors: list[Problem]
    request_id: str | None = None


class Refused(Exception):
    """Ends a request with `status` and what is wrong with it."""

    def __init__(self, status: int, *problems: Problem) -> None:
        self.status = status
        self.problems = list(problems)


def refused(status: int, problem: str, hint: str) -> Refused:
    """Refuse a request as a whole."""
    return Refused(status, Problem(None, None, problem, hint))


class Model:
    """A verified bundle with the decoders of its rows. A reload replaces the whole object."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scorer = Scorer.load(folder)
        self.golden = storage.read_json(folder / "golden.json", Golden)
        self.metrics = storage.read_json(folder / "metrics.json")
        self.columns = {column.name: column for column in self.scorer.columns}
        row = self.scorer.row_type
        self.decode_row = msgspec.json.Decoder(row).decode
        self.decode_rows = msgspec.json.Decoder(list[row]).decode  # type: ignore[valid-type]
        fields = msgspec.structs.fields(row)
        self.types = {field.encode_name: field.type for field in fields}
        self.personal = [column.name for column in self.scorer.columns if column.personal]

    def rows(self, body: bytes, max_rows: int) -> Sequence[msgspec.Struct]:
        """Decode one row, a list of rows or {"rows": [...]}; Refused when a rule is broken."""
        body = body.lstrip()
        try:
            if body.startswith(b"{"):
                return [self.decode_row(body)]
            rows = self.decode_rows(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            rows = self._checked(body, max_rows)
        if len(rows) > max_rows:
            raise _too_many(max_rows)
        return rows

    def _checked(self, body: bytes, max_rows: int) -> list[msgspec.Struct]:
        """Decode field by field, so that a refusal can name everything that is wrong at once."""
        try:
            content = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            hint = "send one row, a list of rows or {rows: [...]}"
            raise refused(400, "not valid JSON", hint) from None
        if isinstance(content, dict) and content.keys() == {"rows"}:
            content = content["rows"]
        rows = content if isinstance(content, list) else [content]
        if len(rows) > max_rows:
            raise _too_many(max_rows)
        problems = itertools.islice(self._problems(rows), MAX_PROBLEMS)
        if first := next(problems, None):
            raise Refused(422, first, *problems)
        return [msgspec.convert(row, self.scorer.row_type) for row in rows]

    def _problems(self, rows: list[Any]) -> Iterator[Problem]:
        for number, row in enumerate(rows):
            if not isinstance(row, dict):
                yield Problem(number, None, WRONG_TYPE, "send one object per row")
                continue
            for name in sorted(row.keys() - self.types.keys()):
                near = difflib.get_close_matches(name[:100], self.types, 1)
                hint = f"did you mean {near[0]}?" if near else "leave it out"
                yield Problem(number, name[:100], "unknown field", hint)
            for name, type in self.types.items():
                value, column = row.get(name), self.columns[name]
                if value is None and not column.required:
                    continue
                try:
                    msgspec.convert(value, type)
                except msgspec.ValidationError as error:
                    problem = MISSING if value is None else _breach(str(error))
                    yield Problem(number, name, problem, f"send {expected(column)}")


def _breach(message: str) -> str:
    if message.startswith("Invalid enum value"):
        return UNKNOWN_LEVEL
    return WRONG_TYPE if ", got" in message or "RFC3339" in message else OUT_OF_RANGE


def _too_many(max_rows: int) -> Refused:
    return refused(413, "too many rows", f"send at most {max_rows} rows at once")


class Metrics:
    """What /metrics tells; the latency buckets lie around the plan's limit."""

    def __init__(self, latency_s: float) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        bounds = [round(latency_s * factor, 6) for factor in (0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5)]
        twentieths = [step / 20 for step in range(1, 20)]
        count = functools.partial(Counter, registry=self.registry)
        distribution = functools.partial(Histogram, registry=self.registry)
        gauge = functools.partial(Gauge, registry=self.registry)
        requests = count("ml_requests", "Requests to /predict", ["status"])
        self.requests = functools.cache(lambda status: requests.labels(str(status)))
        self.latency = distribution("ml_request_seconds", "Time to answer", buckets=bounds)
        self.probability = distribution("ml_probability", "By row", buckets=twentieths)
        decisions = count("ml_decisions", "Rows by decision", ["decision"])
        self.decisions = {flag: decisions.labels(str(flag).lower()) for flag in (False, True)}
        self.model = gauge("ml_model_info", "The model in use", ["version"])
        self.reload_failed = gauge("ml_model_reload_failed", "1: the champion cannot be loaded")
        self.log_lost = count("ml_prediction_log_lost", "Rows that the log could not keep")


class LogLine(msgspec.Struct, frozen=True):
    """A scored row as `ml monitor` reads it, without personal columns."""

    time: dt.datetime
    request_id: str
    version: str
    row: int
    probability: float
    decision: bool
    input_hash: str  # of `features` only: from a hash, a personal value could be guessed back
    features: msgspec.Raw


class PredictionLog:
    """Appends scored rows to data/predictions/<UTC date>.jsonl, a moment after the answers."""

    def __init__(self, folder: Path, lost: Counter) -> None:
        self.folder = folder
        self.lost = lost
        self.lines: list[bytes] = []

    def add(
        self, request_id: str, model: Model, rows: Sequence[msgspec.Struct], answer: Answer
    ) -> None:
        """Keep the rows of an answered request for the next flush."""
        if len(self.lines) + len(rows) > MAX_LOG_LINES:
            self.lost.inc(len(rows))
            return
        now = dt.datetime.now(dt.UTC)
        for number, (row, found) in enumerate(zip(rows, answer.predictions, strict=True)):
            values = dict(zip(model.columns, msgspec.structs.astuple(row), strict=True))
            for name in model.personal:
                del values[name]
            features = msgspec.json.encode(values)
            line = LogLine(
                time=now,
                request_id=request_id,
                version=answer.model_version,
                row=number,
                probability=found.probability,
                decision=found.decision,
                input_hash=hashlib.blake2b(features, digest_size=16).hexdigest(),
                features=msgspec.Raw(features),
            )
            self.lines.append(msgspec.json.encode(line))

    def flush(self) -> None:
        """Write what has gathered; a full disk costs log lines, never an answer."""
        lines, self.lines = self.lines, []
        if not lines:
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


class Service:
    """A running service: the model in use, the metrics and the prediction log."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.limits = project.config.serving
        self.metrics = Metrics(float(project.plan.answers["latency_ms"]) / 1000)
        self.log = PredictionLog(project.path("data/predictions"), self.metrics.log_lost)
        self.ids = map(f"{os.urandom(6).hex()}-{{:x}}".format, itertools.count())
        self.seen = self._registry_state()
        self.problem: str | None = None
        self._use(Model(registry.champion_folder(project)))

    def _registry_state(self) -> tuple[int, int] | None:
        try:
            found = self.project.path("models/registry.json").stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    def _use(self, model: Model) -> None:
        self.model = model
        self.metrics.model.clear()
        self.metrics.model.labels(model.scorer.version).set(1)

    def reload(self) -> None:
        """Follow the registry; a champion that cannot be verified leaves the old one serving."""
        state = self._registry_state()
        if state == self.seen and self.problem is None:
            return
        problem = None
        try:
            folder = registry.champion_folder(self.project)
            if folder != self.model.folder:
                self._use(Model(folder))
                log.info("now serving %s", self.model.scorer.version)
        except (ProjectError, OSError) as error:
            problem = str(error)
            if problem != self.problem:
                log.error("still serving %s: %s", self.model.scorer.version, problem)
        self.seen, self.problem = state, problem
        self.metrics.reload_failed.set(problem is not None)

    async def predict(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer /predict; every outcome is counted and carries the request id."""
        start = time.perf_counter()
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = given.decode() if REQUEST_ID.fullmatch(given) else next(self.ids)
        model = self.model
        rows: Sequence[msgspec.Struct] = ()
        try:
            if scope["method"] != "POST":
                raise refused(405, "method not allowed", "use POST")
            body = await self._body(receive)
            if body is None:
                return
            rows = model.rows(body, self.limits.max_rows)
            if len(rows) > THREAD_ROWS:
                scores = await asyncio.to_thread(model.scorer.score_rows, rows)
            else:
                scores = model.scorer.score_rows(rows)
            found = map(Prediction, scores.probability.tolist(), scores.decision.tolist())
            manifest = model.scorer.manifest
            answer = Answer(manifest.version, manifest.threshold, list(found))
            status, content = 200, msgspec.json.encode(answer)
        except Refused as refusal:
            status, content = refusal.status, _refusal(refusal, request_id)
        except Exception as error:  # whatever breaks in scoring, the caller gets an answer
            log.error("request %s: %s", request_id, _where(error))
            failure = refused(500, "scoring failed", "use your fallback, and report the request id")
            status, content = 500, _refusal(failure, request_id)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(content)),
            (b"x-request-id", request_id.encode()),
            *([(b"allow", b"POST")] if status == 405 else []),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})
        self.metrics.latency.observe(time.perf_counter() - start)
        self.metrics.requests(status).inc()
        if status == 200:
            self._record(request_id, model, rows, answer)

    def _record(
        self, request_id: str, model: Model, rows: Sequence[msgspec.Struct], answer: Answer
    ) -> None:
        for prediction in answer.predictions:
            self.metrics.probability.observe(prediction.probability)
            self.metrics.decisions[prediction.decision].inc()
        if self.limits.log_predictions:
            self.log.add(request_id, model, rows, answer)

    async def _body(self, receive: Receive) -> bytearray | None:
        """Return the whole body, or None when the caller has gone away."""
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self.limits.max_body_mb * 1_000_000:
                hint = f"send at most {self.limits.max_body_mb:g} MB at once"
                raise refused(413, "body too large", hint)
            if not message.get("more_body"):
                return body


def _refusal(refusal: Refused, request_id: str | None = None) -> bytes:
    return msgspec.json.encode(Refusal(refusal.problems, request_id))


def _where(error: Exception) -> str:
    """Say what broke and where, but not the message: it may repeat values of the request."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}"


def create_app(project: Project) -> ASGIApp:
    """Return the service as an ASGI application; ProjectError when there is no usable champion."""
    service = Service(project)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(_every(RELOAD_SECONDS, service.reload)),
            asyncio.create_task(_every(FLUSH_SECONDS, service.log.flush)),
        ]
        yield
        for task in tasks:
            task.cancel()
        service.log.flush()

    api = FastAPI(title=project.plan.project.name, lifespan=lifespan)

    @api.get("/health")
    async def health() -> dict[str, str]:
        """Tell that the process is up."""
        return {"status": "up"}

    @api.get("/ready")
    def ready(response: Response) -> dict[str, Any]:
        """Tell whether the model in use still repeats its golden rows; 503 when it does not."""
        model = service.model
        state = {"ready": True, "model_version": model.scorer.version, "problem": service.problem}
        try:
            model.scorer.replay(model.golden)
        except Exception as error:  # not ready, whatever the reason
            response.status_code = 503
            state |= {"ready": False, "problem": f"golden rows fail: {type(error).__name__}"}
        return state

    @api.get("/metrics")
    def metrics() -> Response:
        """Give the metrics to Prometheus."""
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @api.get("/model")
    def model() -> dict[str, Any]:
        """Describe the model in use."""
        manifest = service.model.scorer.manifest
        return {
            "version": manifest.version,
            "champion": manifest.champion,
            "primary_metric": manifest.primary_metric,
            "metrics": service.model.metrics.get("champion", {}).get("metrics", {}),
            "threshold": manifest.threshold,
            "contract_sha256": manifest.contract_sha256,
            "features": manifest.features,
        }

    @api.exception_handler(HTTPException)
    async def other_errors(_: Request, error: HTTPException) -> Response:
        content = _refusal(refused(error.status_code, str(error.detail), "see /docs"))
        return Response(content, error.status_code, error.headers, "application/json")

    described = api.openapi

    def openapi() -> dict[str, Any]:
        return _describe(described(), service)

    api.openapi = openapi  # type: ignore[method-assign]

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/predict":
            await service.predict(scope, receive, send)
        else:
            await api(scope, receive, send)

    return application


def _describe(document: dict[str, Any], service: Service) -> dict[str, Any]:
    """Add /predict, as the contract of the model in use has it, to an OpenAPI document."""
    columns = service.model.columns
    types = (service.model.scorer.row_type, Answer, Refusal)
    (row, answer, refusal), schemas = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    schemas["Row"]["example"] = {column.name: example(column) for column in columns.values()}
    for name, schema in schemas["Row"]["properties"].items():
        schema["description"] = columns[name].description or expected(columns[name])
    many = {"type": "array", "items": row, "maxItems": service.limits.max_rows}
    wrapped = {"type": "object", "properties": {"rows": many}, "required": ["rows"]}
    texts = {
        "400": "Not JSON",
        "405": "Not POST",
        "413": "Too many rows or bytes",
        "422": "Rows that break the contract, field by field",
        "500": "Scoring failed",
    }
    operation = {
        "summary": "Predict one row or many",
        "requestBody": {"required": True, "content": _json({"oneOf": [row, many, wrapped]})},
        "responses": {"200": {"description": "One prediction per row", "content": _json(answer)}}
        | {code: {"description": t, "content": _json(refusal)} for code, t in texts.items()},
    }
    known = document.get("components", {}).get("schemas", {})
    return document | {
        "paths": document["paths"] | {"/predict": {"post": operation}},
        "components": {"schemas": known | schemas},
    }


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


async def _every(seconds: float, work: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(work)


class _JsonLines(logging.Formatter):
    """One JSON object per log record; of an exception only its kind and place."""

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        entry = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "error": _where(error) if isinstance(error, Exception) else None,
        }
        return msgspec.json.encode(entry).decode()


def run(project: Project, host: str | None = None, port: int | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C, finish what is running, exit 0; ProjectError at startup."""
    host, port = host or project.config.serving.host, port or project.config.serving.port
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ProjectError(f"cannot listen on {host}:{port}: {reason}; try --port") from None
    application = create_app(project)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    config = uvicorn.Config(
        application,
        access_log=False,
        log_config=None,
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=65,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))  # uvicorn raises it again when it is done
    log.info("serving on http://%s:%d, documentation at /docs", host, listener.getsockname()[1])
    uvicorn.Server(config).run(sockets=[listener])
