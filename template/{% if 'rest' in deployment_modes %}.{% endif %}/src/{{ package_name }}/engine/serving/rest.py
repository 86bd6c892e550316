"""The REST service: `create_app` gives the ASGI application, `run` serves it in one process.

POST /predict and /explain are a bare ASGI endpoint, because a web framework would take longer than
checking, scoring and answering together. FastAPI does everything else and describes all of it.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from fastapi import FastAPI, Request, Response
from prometheus_client import Counter, start_http_server
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from ..errors import ProjectError
from ..model import wanted
from ..model.values import TYPES, ServedColumn, example, row_type
from ..settings import Project
from . import access, expected, fallback, guard, reasons
from .canary import Split
from .refusal import Refusal, Refused, refused, too_slow
from .requests import MAX_HISTORY, Model, Rows
from .service import DRAIN_SECONDS, REQUEST_ID, cannot_listen, log_lines

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Message, Receive, Send], Awaitable[None]]
TOLD = {  # to callers, by the status of a refusal
    401: (b"www-authenticate", b"Bearer"),
    405: (b"allow", b"POST"),
    503: (b"retry-after", b"1"),
}
log = logging.getLogger("serving")


class Http(Split):
    """The service for callers over HTTP, who together hold no more than a budget of bytes."""

    def __init__(self, project: Project) -> None:
        super().__init__(project)
        self.budget = guard.Budget(self.limits.max_held_mb * 1_000_000)
        self.access = access.of(project)
        registry = self.telemetry.registry
        self.fell_back = Counter("ml_fallback_answers", "Where scoring broke", registry=registry)

    def load(self, folder: Path) -> Model:
        """Open a bundle; ProjectError when it cannot be served, or cannot fall back as is said."""
        model = super().load(folder)
        fallback.of(model, self.limits.fallback)
        return model

    def reload(self) -> None:
        """Follow the registry, and the keys of callers."""
        super().reload()
        self.access.reload()

    def app(self) -> ASGIApp:
        """Return the service as an ASGI application."""
        return application(self)

    async def answer(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer /predict and /explain; every outcome carries the request id.

        Those of /predict are counted and logged: a question why is no prediction to be acted on.
        """
        start = time.perf_counter()
        request_id, traceparent = self._greet(scope)
        model, explains = self.model, scope["path"] == "/explain"
        hold = guard.Hold(self.budget)
        rows: Rows = ()
        predictions: Rows = ()
        answered = 0  # in place of a status that is counted as what it is: scoring broke
        try:
            if scope["method"] != "POST":
                raise refused(405, "method not allowed", "use POST")
            self.access.check(scope["headers"])
            self.trace(f"POST {scope['path']}", traceparent)
            body = await self._body(receive, hold)
            if body is None:
                return
            start = time.perf_counter()  # a slow upload is not a slow answer
            self.check_room()
            if explains:
                status, content = 200, await self.explain(model, body, scope["query_string"])
            else:
                rows = self.parsed(partial(model.rows, body, self.limits.max_rows))
                model, rows, predictions = await self.answered(model, rows, request_id)
                answer = model.answer_type(*model.head, predictions)
                status, content = 200, msgspec.json.encode(answer)
        except Refused as refusal:
            status, content = refusal.status, refusal.body(request_id)
        except Exception as error:  # whatever breaks in scoring, the caller gets an answer
            failure = self.failure(request_id, error)
            status, content = failure.status, failure.body(request_id)
            told = fallback.of(model, self.limits.fallback) if rows and not explains else None
            if told:
                head = dict(zip(model.answer_type.__struct_fields__, model.head, strict=False))
                said = {"fallback": True, **head, "predictions": told(rows)}
                answered, content = 200, msgspec.json.encode(said)
                self.fell_back.inc()
            rows = ()
        finally:
            hold.release()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(content)),
            (b"x-request-id", request_id.encode()),
        ]
        if status in TOLD:
            headers.append(TOLD[status])
        await send(
            {"type": "http.response.start", "status": answered or status, "headers": headers}
        )
        await send({"type": "http.response.body", "body": content})
        if not explains:
            self.note(model, start, status, request_id, rows, predictions)
        self.ended(status, model, len(rows))

    def _greet(self, scope: Message) -> tuple[str, str]:
        """Return the id of a request, and where it stands in a trace."""
        request_id, traceparent = next(self.ids), ""
        for name, value in scope["headers"]:
            if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
                request_id = value.decode()
            elif name == b"traceparent":
                traceparent = value.decode("latin-1")
        return request_id, traceparent

    async def explain(self, model: Model, body: bytes, query: bytes) -> bytes:
        """Return the reasons for the rows of a body, found beside the event loop."""
        top = reasons.top_of(query)
        rows = model.rows(body, min(reasons.MOST_ROWS, self.limits.max_rows))
        asked = len(rows) * (len(model.columns) + 2)
        found = await self.beside(asked, partial(reasons.explain, model, rows, top))
        return msgspec.json.encode(found)

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


def create_app(project: Project) -> ASGIApp:
    """Return the service as an ASGI application; ProjectError when there is no usable champion."""
    return Http(project).app()


def application(service: Http) -> ASGIApp:
    """Return a service as an ASGI application."""
    telemetry = service.telemetry

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(service.tick())
        yield
        task.cancel()
        service.close()

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
            **telemetry.state_now(),
        }

    async def metrics() -> Response:
        """Give the metrics to Prometheus."""
        telemetry.settle()
        return Response(generate_latest(telemetry.registry), media_type=CONTENT_TYPE_LATEST)

    if not service.limits.metrics_port:
        api.get("/metrics")(metrics)

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
        document = _describe(described(), service.model, service.limits.max_rows)
        if service.limits.fallback:
            _may_fall_back(document, service.model)
        return _locked(document) if service.access.asks else document

    api.openapi = openapi  # type: ignore[method-assign]

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in ("/predict", "/explain"):
            await service.answer(scope, receive, send)
        else:
            await api(scope, receive, send)

    return app


def _describe(document: dict[str, Any], model: Model, max_rows: int) -> dict[str, Any]:
    """Add /predict and /explain, by the contract of the model in use, to an OpenAPI document."""
    columns = {name: column.public() for name, column in model.columns.items()}
    (row, answer, explained, refusal), schemas = msgspec.json.schema_components(
        (row_type(tuple(columns.values())), model.answer_type, reasons.Explained, Refusal),
        ref_template="#/components/schemas/{name}",
    )
    schemas["Row"]["example"] = {n: example(column) for n, column in columns.items() if column.used}
    for name, schema in schemas["Row"]["properties"].items():
        schema["description"] = columns[name].description or expected(columns[name])
        if not columns[name].used:
            schema["description"] += ". No input of the model: it comes back in the prediction"
    for name in model.scorer.manifest.ignored:
        schemas["Row"]["properties"][name] = {"description": "Not used by this model: ignored"}
    many = {"type": "array", "items": row, "maxItems": max_rows}
    beside: dict[str, Any] = {"rows": many}
    if events := model.scorer.events:
        beside["history"] = _history(events, schemas)
    kinds = wanted.types(model.scorer.names)
    for name in model.scorer.wants:
        kind = msgspec.json.schema(kinds[name]) | {"description": wanted.TEXTS[name]}
        beside[name] = kind
    wrapped = {"type": "object", "properties": beside, "required": ["rows"]}
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
        "responses": _responses(answers),
    }
    few = {"type": "array", "items": row, "maxItems": min(reasons.MOST_ROWS, max_rows)}
    told = {"200": ("The reasons for each row", explained)}
    told |= {"409": ("The model was trained before reasons were known", refusal)}
    why = {
        "summary": "Say what made the score of one row or a few",
        "description": "How much the score would fall if a column had its usual value, the others "
        "as they are, largest first. It is not logged as a prediction.",
        "parameters": [
            {
                "name": "top",
                "in": "query",
                "description": "How many columns of each row",
                "schema": {"type": "integer", "minimum": 1, "maximum": 99},
            }
        ],
        "requestBody": {"required": True, "content": _json({"oneOf": [row, few]})},
        "responses": _responses(answers | told),
    }
    return document | {
        "paths": document["paths"] | {"/predict": {"post": operation}, "/explain": {"post": why}},
        "components": {"schemas": schemas},
    }


def _may_fall_back(document: dict[str, Any], model: Model) -> None:
    """Say in an OpenAPI document that an answer may be the one for when scoring breaks."""
    schema = document["components"]["schemas"][model.answer_type.__name__]
    schema["properties"]["fallback"] = {
        "type": "boolean",
        "description": "Only where scoring broke: the predictions are those said beforehand",
    }


def _locked(document: dict[str, Any]) -> dict[str, Any]:
    """Say in an OpenAPI document that answers need a key."""
    refusal = _json({"$ref": "#/components/schemas/Refusal"})
    for path in ("/predict", "/explain"):
        operation = document["paths"][path]["post"]
        operation["security"] = [{"key": []}]
        operation["responses"]["401"] = {"description": "No good key", "content": refusal}
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return document


def _responses(answers: dict[str, tuple[str, Any]]) -> dict[str, Any]:
    return {
        status: {"description": text, "content": _json(schema)}
        for status, (text, schema) in answers.items()
    }


def _history(events: Sequence[ServedColumn], schemas: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a history, and add that of its rows."""
    kind = msgspec.defstruct(
        "History",
        [
            (f"f{n}", TYPES[c.kind] if c.required else TYPES[c.kind] | None)
            for n, c in enumerate(events)
        ],
        rename={f"f{n}": column.name for n, column in enumerate(events)},
    )
    (row,), found = msgspec.json.schema_components(
        [kind], ref_template="#/components/schemas/{name}"
    )
    schemas |= found
    text = "Earlier rows of some keys: for these they count in place of what the service knows"
    return {"type": "array", "items": row, "maxItems": MAX_HISTORY, "description": text}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def run(project: Project, host: str, port: int, kind: type[Http] = Http) -> None:
    """Serve until SIGTERM or Ctrl-C, finish what is running, exit 0; ProjectError at startup.

    A `kind` of its own is a service that is called in another way, as a platform does.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    if os.name == "posix":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))  # the port is ours; nobody can connect before uvicorn listens
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise cannot_listen(host, port, reason) from None
    service = kind(project)
    if apart := service.limits.metrics_port:
        try:
            start_http_server(apart, host, service.telemetry.registry)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ProjectError(f"serving.metrics_port: {host}:{apart}: {reason}") from None
    log_lines()
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))  # uvicorn raises it again once it is done
    log.info("serving on http://%s:%d, see /openapi.json", host, listener.getsockname()[1])
    config = uvicorn.Config(
        service.app(),
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
