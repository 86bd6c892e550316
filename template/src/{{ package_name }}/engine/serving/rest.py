"""The REST service: `create_app` gives the ASGI application, `run` serves it in one process.

POST /predict is a bare ASGI endpoint, because a web framework would take longer than checking,
scoring and answering together. FastAPI does everything else and describes both.
"""

import asyncio
import datetime as dt
import difflib
import gc
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
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from fastapi import FastAPI, Request, Response
from msgspec.structs import astuple
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from .. import dialect, storage
from ..errors import ProjectError
from ..model import registry
from ..model.output import fields
from ..model.scorer import Manifest, Scorer, breach, example, read_golden, read_value, row_type
from ..settings import Project
from ..threads import workers
from . import expected, guard
from .refusal import Problem, Refusal, Refused, refused, too_busy, too_slow
from .telemetry import Done, Telemetry

TICK_SECONDS = 1.0  # between looks at the registry, and between writes of the log
DRAIN_SECONDS = 30
MAX_PROBLEMS = 100  # a refusal lists no more
WAITING_REQUESTS = 20  # of `max_rows` rows: beyond what waits for scoring, requests are refused
SMALL_ROWS = 64  # larger requests are scored beside the event loop, so that small ones can pass
# Of a second: msgspec rounds the seventh digit, every other reader cuts it off.
NANOSECONDS = re.compile(rb":\d\d\.\d{7}")
REQUEST_ID = re.compile(rb"[\w.:+/=@-]{1,128}")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Message, Receive, Send], Awaitable[None]]
Rows = Sequence[msgspec.Struct]
log = logging.getLogger("serving")


def answer_types(manifest: Manifest) -> tuple[type[msgspec.Struct], type[msgspec.Struct]]:
    """Return the types of a prediction and of an answer, which is one prediction per row.

    The warning of a prediction, where there is one, names a category that training has not learnt.
    """
    prediction = msgspec.defstruct(
        "Prediction",
        [*fields(manifest.outputs), ("warning", str, "")],
        frozen=True,
        omit_defaults=True,
    )
    numbers = [(name, float) for name in manifest.decision]
    many = ("predictions", Sequence[prediction])  # type: ignore[valid-type]
    answer = msgspec.defstruct("Answer", [("model_version", str), *numbers, many], frozen=True)
    return prediction, answer


class Model:
    """A verified bundle with the decoders of its rows. A reload replaces the whole object."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scorer = Scorer.load(folder)
        self.golden = read_golden(folder, self.scorer.columns)
        self.metrics: dict[str, Any] = storage.read_json(folder / "metrics.json")
        self.columns = {column.name: column for column in self.scorer.columns}
        row = self.scorer.row_type
        self.prediction_type, self.answer_type = answer_types(self.scorer.manifest)
        # What every answer begins with.
        self.head = (self.scorer.version, *self.scorer.manifest.decision.values())
        self.decode_row = msgspec.json.Decoder(row).decode
        self.decode_rows = msgspec.json.Decoder(list[row]).decode  # type: ignore[valid-type]

    def predict(self, rows: Rows) -> list[msgspec.Struct]:
        """Score rows."""
        encoded = self.scorer.encode_rows(rows)
        found = [column.tolist() for column in self.scorer.predict(encoded).values()]
        return list(map(self.prediction_type, *found, self.scorer.unseen(rows, encoded)))

    def rows(self, body: bytes, max_rows: int) -> Rows:
        """Decode one row, a list of rows or {"rows": [...]}; Refused when a rule is broken."""
        try:
            rows = [self.decode_row(body)] if body.startswith(b"{") else self.decode_rows(body)
            _refuse_twice(body, rows)
            if self.scorer.is_odd(rows) or (self.scorer.has_times and NANOSECONDS.search(body)):
                rows = self._checked(body, max_rows)
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
            _, _, fault = dialect.json_fault(body, "").partition(": ")
            hint = fault or "send one row, a list of rows or {rows: [...]}"
            raise refused(400, "not valid JSON", hint) from None
        _refuse_key_twice(body, content)
        if isinstance(content, dict) and content.keys() == {"rows"}:
            content = content["rows"]
        rows = content if isinstance(content, list) else [content]
        if len(rows) > max_rows:
            raise _too_many(max_rows)
        read: list[msgspec.Struct] = []
        problems: list[Problem] = []
        for number, row in enumerate(rows):
            values: list[Any] = []
            problems += self._problems(number, row, values)
            if len(problems) >= MAX_PROBLEMS:
                break
            if not problems:
                read.append(self.scorer.row_of(values))
        if problems:
            raise Refused(422, *problems[:MAX_PROBLEMS])
        return read

    def _problems(self, number: int, row: Any, values: list[Any]) -> Iterator[Problem]:
        """Say what is wrong with a row; add to `values` what is read of each column."""
        if not isinstance(row, dict):
            yield Problem(number, None, "type", "send one object per row")
            return
        for name in sorted(row.keys() - self.columns.keys()):
            near = difflib.get_close_matches(name[:100], self.columns, 1)
            hint = f"did you mean {near[0]}?" if near else "leave it out"
            yield Problem(number, name[:100], "unknown field", hint)
        for name, column in self.columns.items():
            value = read_value(row.get(name), column)
            values.append(value)
            if rule := breach(value, column):
                yield Problem(number, name, rule, f"send {expected(column)}")


def _refuse_twice(body: bytes, rows: Rows) -> None:
    """Refuse an object that has a key twice: each value that was read has a colon in the body."""
    given = sum(len(values) - values.count(None) for values in map(astuple, rows))
    if body.count(b":") != given:  # or a null or a time is there: look closer
        _refuse_key_twice(body, msgspec.json.decode(body))


def _refuse_key_twice(body: bytes, content: Any) -> None:
    inner = content.get("rows") if isinstance(content, dict) else content
    objects = [content, *inner] if isinstance(inner, list) else [content]
    keys = sum(len(found) for found in objects if isinstance(found, dict))
    if (key := dialect.key_twice(body, keys)) is not None:
        raise Refused(422, Problem(None, key[:100], "key twice", "send it once"))


def _too_many(max_rows: int) -> Refused:
    return refused(413, "too many rows", f"send at most {max_rows} rows at once")


class Turn:
    """Scores in one call what arrives in one turn of the event loop: calls cost as much as rows."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Model, Rows, asyncio.Future[Rows]]] = []

    def predict(self, model: Model, rows: Rows) -> asyncio.Future[Rows]:
        """Score rows at the end of this turn."""
        loop = asyncio.get_running_loop()
        if not self.waiting:
            loop.call_soon(self._end)
        future: asyncio.Future[Rows] = loop.create_future()
        self.waiting.append((model, rows, future))
        return future

    def _end(self) -> None:
        waiting, self.waiting = self.waiting, []
        for model, group in itertools.groupby(waiting, lambda call: call[0]):
            calls = [(rows, future) for _, rows, future in group if not future.cancelled()]
            try:
                found = iter(model.predict([row for rows, _ in calls for row in rows]))
                for rows, future in calls:
                    future.set_result(list(itertools.islice(found, len(rows))))
            except Exception:  # a row that breaks scoring must not fail its neighbours
                for rows, future in calls:
                    try:
                        future.set_result(model.predict(rows))
                    except Exception as error:
                        future.set_exception(error)


class Service:
    """A running service: the model in use, and what is remembered of its answers."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.limits = project.config.serving
        folder = project.path("data/predictions") if self.limits.log_predictions else None
        self.seen = self._registry_state()
        model = Model(registry.champion_folder(project))
        latency_s = project.facts.latency_ms / 1000
        self.telemetry = Telemetry(latency_s, folder, model.scorer.outputs)
        self.turn = Turn()
        self.pool = ThreadPoolExecutor(workers(project.config.training.threads))
        self.waiting_rows = 0  # for the pool
        self.budget = guard.Budget(self.limits.max_held_mb * 1_000_000)
        self.ready = Ready()
        self.ids = map(f"{os.urandom(6).hex()}-{{:x}}".format, itertools.count())
        self.problem: str | None = None
        self._use(model)

    def _registry_state(self) -> tuple[int, int] | None:
        try:
            found = self.project.path("models/registry.json").stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    def _use(self, model: Model) -> None:
        self.model = model
        self.telemetry.model.clear()
        self.telemetry.model.labels(model.scorer.version).set(1)

    def reload(self) -> None:
        """Follow the registry, again and again while its champion cannot be loaded."""
        state = self._registry_state()
        if state == self.seen and self.problem is None:
            return
        problem = None
        try:
            folder = registry.champion_folder(self.project)
            if folder != self.model.folder:
                model = Model(folder)
                if model.scorer.outputs != self.model.scorer.outputs:
                    raise ProjectError(f"{folder.name} has other outputs: start the service again")
                self._use(model)
                log.info("now serving %s", self.model.scorer.version)
        except Exception as error:  # whatever it is, the old model goes on serving
            problem = str(error) if isinstance(error, ProjectError) else _where(error)
            if problem != self.problem:
                log.error("still serving %s: %s", self.model.scorer.version, problem)
        self.seen, self.problem = state, problem
        self.telemetry.reload_failed.set(problem is not None)

    async def tick(self) -> None:
        """Write the log and follow the registry, again and again."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await asyncio.to_thread(self.telemetry.write, self.telemetry.take())
            await asyncio.to_thread(self.reload)

    async def predict(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer /predict; every outcome is counted and carries the request id."""
        start = time.perf_counter()
        request_id = next(self.ids)
        for name, value in scope["headers"]:
            if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
                request_id = value.decode()
        model = self.model
        version = model.scorer.version
        hold = guard.Hold(self.budget)
        rows: Rows = ()
        predictions: Rows = ()
        try:
            if scope["method"] != "POST":
                raise refused(405, "method not allowed", "use POST")
            body = await self._body(receive, hold)
            if body is None:
                return
            start = time.perf_counter()  # a slow upload is not a slow answer
            if self.waiting_rows > WAITING_REQUESTS * self.limits.max_rows:
                raise too_busy()
            rows = model.rows(body, self.limits.max_rows)
            if len(rows) <= SMALL_ROWS:
                predictions = await self.turn.predict(model, rows)
            else:
                predictions = await self._beside(model, rows)
            status, content = 200, msgspec.json.encode(model.answer_type(*model.head, predictions))
        except Refused as refusal:
            status, content = refusal.status, refusal.body(request_id)
        except Exception as error:  # whatever breaks in scoring, the caller gets an answer
            log.error("request %s: %s", request_id, _where(error))
            failure = refused(500, "scoring failed", "use your fallback, and report the request id")
            status, content, rows = 500, failure.body(request_id), ()
        finally:
            hold.release()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(content)),
            (b"x-request-id", request_id.encode()),
        ]
        if status == 405:
            headers.append((b"allow", b"POST"))
        elif status == 503:
            headers.append((b"retry-after", b"1"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})
        seconds, now = time.perf_counter() - start, dt.datetime.now(dt.UTC)
        columns = model.scorer.columns
        self.telemetry.add(
            Done(now, seconds, status, request_id, version, columns, rows, predictions)
        )

    async def _beside(self, model: Model, rows: Rows) -> Rows:
        """Score rows beside the event loop."""
        self.waiting_rows += len(rows)
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self.pool, model.predict, rows)
        finally:
            self.waiting_rows -= len(rows)

    async def _body(self, receive: Receive, hold: guard.Hold) -> bytes | None:
        """Return the whole body from its first sign on; None when the caller has gone away."""
        limit = self.limits.max_body_mb * 1_000_000
        message = await receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            chunks, size = [body], len(body)
            try:
                async with asyncio.timeout(self.limits.read_seconds):
                    while message.get("more_body") and size <= limit:
                        hold.take(size)
                        message = await receive()
                        chunks.append(message.get("body", b""))
                        size += len(chunks[-1])
            except TimeoutError:
                raise too_slow(self.limits.read_seconds) from None
            body = b"".join(chunks)
        if message["type"] == "http.disconnect":
            return None
        if len(body) > limit:
            hint = f"send at most {self.limits.max_body_mb:g} MB at once"
            raise refused(413, "body too large", hint)
        return body.lstrip()


class Ready:
    """Whether the model in use repeats its golden rows, looked at once a second at most."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.model: Model | None = None
        self.until = 0.0
        self.problem: str | None = None

    async def problem_of(self, model: Model) -> str | None:
        """Return what is wrong with the answers of a model, None when nothing is."""
        async with self.lock:
            if model is not self.model or time.monotonic() >= self.until:
                self.problem = await asyncio.to_thread(self._replay, model)
                self.model, self.until = model, time.monotonic() + TICK_SECONDS
            return self.problem

    @staticmethod
    def _replay(model: Model) -> str | None:
        try:
            model.scorer.replay(model.golden)
        except Exception as error:  # not ready, whatever the reason
            return f"golden rows fail: {type(error).__name__}"
        return None


def _where(error: BaseException) -> str:
    """Say what broke and where, but not the message: it may repeat values of the request."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}"


def create_app(project: Project) -> ASGIApp:
    """Return the service as an ASGI application; ProjectError when there is no usable champion."""
    return application(Service(project))


def application(service: Service) -> ASGIApp:
    """Return a service as an ASGI application."""
    telemetry = service.telemetry

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(service.tick())
        yield
        task.cancel()
        telemetry.write(telemetry.take())

    # Without the pages /docs and /redoc: they load script from a foreign host.
    name = service.project.plan.project.name
    api = FastAPI(title=name, lifespan=lifespan, docs_url=None, redoc_url=None)

    @api.get("/health")
    async def health() -> dict[str, str]:
        """Tell that the process is up."""
        return {"status": "up"}

    @api.get("/ready")
    async def ready(response: Response) -> dict[str, Any]:
        """Tell whether the model in use repeats its golden rows; 503 when it does not."""
        model = service.model
        problem = await service.ready.problem_of(model)
        if problem:
            response.status_code = 503
        return {
            "ready": not problem,
            "model_version": model.scorer.version,
            "problem": problem or service.problem,
        }

    @api.get("/metrics")
    async def metrics() -> Response:
        """Give the metrics to Prometheus."""
        telemetry.settle()
        return Response(generate_latest(telemetry.registry), media_type=CONTENT_TYPE_LATEST)

    @api.get("/model")
    async def model() -> dict[str, Any]:
        """Describe the model in use."""
        manifest = service.model.scorer.manifest
        return {
            "version": manifest.version,
            "champion": manifest.champion,
            "primary_metric": manifest.primary_metric,
            "metrics": service.model.metrics.get("champion", {}).get("metrics", {}),
            **manifest.decision,
            "contract_sha256": manifest.contract_sha256,
            "features": manifest.features,
        }

    @api.exception_handler(HTTPException)
    async def other_errors(_: Request, error: HTTPException) -> Response:
        content = refused(error.status_code, str(error.detail), "see /openapi.json").body()
        return Response(content, error.status_code, error.headers, "application/json")

    described = api.openapi

    def openapi() -> dict[str, Any]:
        return _describe(described(), service.model, service.limits.max_rows)

    api.openapi = openapi  # type: ignore[method-assign]

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/predict":
            await service.predict(scope, receive, send)
        else:
            await api(scope, receive, send)

    return app


def _describe(document: dict[str, Any], model: Model, max_rows: int) -> dict[str, Any]:
    """Add /predict, as the contract of the model in use has it, to an OpenAPI document."""
    columns = {name: column.public() for name, column in model.columns.items()}
    (row, answer, refusal), schemas = msgspec.json.schema_components(
        (row_type(tuple(columns.values())), model.answer_type, Refusal),
        ref_template="#/components/schemas/{name}",
    )
    schemas["Row"]["example"] = {name: example(column) for name, column in columns.items()}
    for name, schema in schemas["Row"]["properties"].items():
        schema["description"] = columns[name].description or expected(columns[name])
    many = {"type": "array", "items": row, "maxItems": max_rows}
    wrapped = {"type": "object", "properties": {"rows": many}, "required": ["rows"]}
    answers = {
        "200": ("One prediction per row", answer),
        "400": ("Not JSON", refusal),
        "405": ("Not POST", refusal),
        "408": ("Too slow to arrive", refusal),
        "413": ("Too many rows or bytes", refusal),
        "422": ("Rows that break the contract, field by field", refusal),
        "431": ("Headers too large", refusal),
        "500": ("Scoring failed", refusal),
        "503": ("Too busy: send it again after the seconds of `retry-after`", refusal),
    }
    operation = {
        "summary": "Predict one row or many",
        "description": "The body is read as JSON, whatever its content type says. An "
        "`x-request-id` header comes back; without one, one is made.",
        "requestBody": {"required": True, "content": _json({"oneOf": [row, many, wrapped]})},
        "responses": {
            status: {"description": text, "content": _json(schema)}
            for status, (text, schema) in answers.items()
        },
    }
    return document | {
        "paths": document["paths"] | {"/predict": {"post": operation}},
        "components": {"schemas": schemas},
    }


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


class _JsonLines(logging.Formatter):
    """One JSON object per record; of an exception only its kind and place."""

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        entry = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "error": _where(error) if error else None,
        }
        return msgspec.json.encode(entry).decode()


def run(project: Project, host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C, finish what is running, exit 0; ProjectError at startup."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    if os.name == "posix":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))  # the port is ours; nobody can connect before uvicorn listens
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ProjectError(
            f"cannot listen on {host}:{port}: {reason}; see --host, --port"
        ) from None
    service = Service(project)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))  # uvicorn raises it again once it is done
    log.info("serving on http://%s:%d, see /openapi.json", host, listener.getsockname()[1])
    config = uvicorn.Config(
        application(service),
        http=guard.protocol(service.limits, service.telemetry.end),  # type: ignore[arg-type]
        access_log=False,
        log_config=None,
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=65,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    gc.freeze()  # what is there now stays: no need to look through it for garbage again and again
    guard.Server(config).run(sockets=[listener])
