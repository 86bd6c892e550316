"""The gRPC service: the messages of contracts/predict.proto, answered by the scorer of every mode.

Messages are read one by one, so that a caller who sends slowly, half or nothing holds little.
"""

import asyncio
import datetime as dt
import gc
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2
from prometheus_client import Counter, start_http_server

from ..errors import ProjectError
from ..settings import Project
from . import access, fallback, proto
from .canary import Split
from .refusal import Problem, Refused, refused, too_busy, too_slow
from .requests import Model, Rows
from .service import DRAIN_SECONDS, REQUEST_ID, TICK_SECONDS, cannot_listen, log, log_lines

HEAD_BYTES = 32_768  # of metadata
IDLE_MS = 300_000  # after which a connection without calls is closed
PING_MS = 60_000  # between looks whether a silent caller is still there
SHOWN = 3  # problems in the one line of a refusal; its details hold all
# Of refusals, which are counted by the numbers that HTTP has for them.
CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
GONE, LATE = 499, 504  # the caller went away; the caller's deadline passed

Context = Any  # grpc.aio.ServicerContext[bytes, bytes], which grpcio does not type


class Tls(NamedTuple):
    """Files in PEM: the server's certificate and key, and who signs those of callers."""

    certificate: Path
    key: Path
    callers: Path | None = None

    def credentials(self) -> Any:
        """Read the files; ProjectError for one that cannot be read."""
        try:
            pair = (self.key.read_bytes(), self.certificate.read_bytes())
            root = self.callers.read_bytes() if self.callers else None
        except OSError as error:
            raise ProjectError(f"{error.filename}: {error.strerror}; see --tls-cert") from None
        return grpc.ssl_server_credentials([pair], root, require_client_auth=root is not None)


class Calls(Split):
    """The service for callers over gRPC."""

    def __init__(self, project: Project, interface: proto.Interface) -> None:
        self.interface = interface
        super().__init__(project)
        self.access = access.of(project)
        told = self.telemetry.registry
        self.fell_back = Counter("ml_fallback_answers", "Where scoring broke", registry=told)
        # As many calls are read at once as fit into what callers may hold.
        most = self.limits.max_held_mb // self.limits.max_body_mb
        self.places = asyncio.Semaphore(max(1, int(most)))
        self.open = 0

    def load(self, folder: Path) -> Model:
        """Open a bundle; ProjectError when the interface lacks a column or an output of it."""
        model = super().load(folder)
        is_said = proto.FALLBACK in self.interface.answers
        if fallback.of(model, self.limits.fallback) and not is_said:
            raise ProjectError(
                f"serving.fallback: {proto.FILE} cannot say so: run `ml grpc proto`, then start "
                "the service again"
            )
        if proto.lacking(self.interface.messages, proto.made(model.scorer, keyed=False)):
            raise ProjectError(
                f"{folder.name} has columns or outputs that {proto.FILE} lacks: run "
                "`ml grpc proto`, then start the service again"
            )
        return model

    def reload(self) -> None:
        """Follow the registry, and the keys of callers."""
        super().reload()
        self.access.reload()

    async def predict_one(self, _: Any, context: Context) -> bytes:
        """Answer a request; the call ends with its refusal."""
        request_id = await self._greet(context)
        try:
            self._permit(context)
            async with self._place():
                body = await self._read(context)
                if body is grpc.aio.EOF:
                    raise refused(400, "no request", f"send a PredictRequest of {proto.FILE}")
                content, refusal = await self._answer(context, body, request_id)
        except Refused as early:
            self.note(self.model, time.perf_counter(), early.status, request_id, (), ())
            refusal = early
        if refusal:
            await _end(context, refusal)
        return content

    async def predict_stream(self, _: Any, context: Context) -> None:
        """Answer request after request; one whose rows are refused does not end the call."""
        request_id = await self._greet(context)
        try:
            self._permit(context)
            async with self._place():
                while (body := await self._read(context)) is not grpc.aio.EOF:
                    self._permit(context)  # a key may be taken out, and a token end, meanwhile
                    content, refusal = await self._answer(context, body, request_id)
                    if refusal and refusal.status not in (413, 422):
                        await _end(context, refusal)
                    async with self._patience():
                        await context.write(content or self._refusal(refusal))
        except Refused as early:
            self.note(self.model, time.perf_counter(), early.status, request_id, (), ())
            await _end(context, early)

    async def _greet(self, context: Context) -> str:
        """Tell the caller the request's id and the model's version; return the id."""
        request_id = next(self.ids)
        for name, value in context.invocation_metadata():
            if name == "x-request-id" and REQUEST_ID.fullmatch(value.encode()):
                request_id = value
        version = self.model.scorer.version
        said = (("x-request-id", request_id), ("model-version", version))
        await context.send_initial_metadata(said)
        return request_id

    def _permit(self, context: Context) -> None:
        """Refuse a call whose metadata hold no good key or token, where one is asked for."""
        if self.access.asks:
            found = context.invocation_metadata()
            self.access.check((k.encode(), v.encode()) for k, v in found if isinstance(v, str))

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Wait for a place among those that are read, and keep it."""
        if self.open >= self.limits.max_connections:
            raise too_busy()
        self.open += 1
        try:
            try:
                async with asyncio.timeout(self.limits.read_seconds):
                    await self.places.acquire()
            except TimeoutError:
                raise too_busy() from None
            try:
                yield
            finally:
                self.places.release()
        finally:
            self.open -= 1

    @asynccontextmanager
    async def _patience(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.limits.read_seconds):
                yield
        except TimeoutError:
            raise too_slow(self.limits.read_seconds) from None

    async def _read(self, context: Context) -> Any:
        """Return the next message, or EOF."""
        async with self._patience():
            return await context.read()

    async def _answer(
        self, context: Context, body: bytes, request_id: str
    ) -> tuple[bytes, Refused | None]:
        """Return the answer to a request, or why there is none; count and log it."""
        start, model, status = time.perf_counter(), self.model, 200
        self.trace(f"{self.interface.service}/Predict", _traceparent(context))
        rows: Rows = ()
        predictions: Rows = ()
        content, refusal = b"", None
        try:
            self.check_room()
            rows = self.parsed(partial(self._rows, model, body))
            if (left := context.time_remaining()) is not None and left <= 0:
                raise asyncio.CancelledError
            model, rows, predictions = await self.answered(model, rows, request_id)
            content = self._content(model, predictions)
        except Refused as error:
            refusal = error
        except asyncio.CancelledError:
            left = context.time_remaining()
            status, rows = GONE if left is None or left > 0 else LATE, ()
            raise
        except Exception as error:  # whatever breaks in scoring, the caller gets an answer
            refusal = self.failure(request_id, error)
            if rows and (told := fallback.of(model, self.limits.fallback)):
                content = self._content(model, told(rows), **{proto.FALLBACK: True})
                self.fell_back.inc()
        finally:
            if refusal:  # a fallback counts as one: alerts go on
                status, rows = refusal.status, ()
            self.note(model, start, status, request_id, rows, predictions)
            self.ended(status, model, len(rows))
        return content, None if content else refusal

    def _rows(self, model: Model, body: bytes) -> Rows:
        """Read a request; what its model does not use is left out, as protobuf does."""
        try:
            request = self.interface.request.FromString(body)
        except DecodeError:
            hint = f"send a PredictRequest of {proto.FILE}"
            raise refused(400, "not a PredictRequest", hint) from None
        column, events = self.interface.columns, self.interface.events
        known = {each.name for each in model.scorer.events}
        objects, history = (
            [
                {of[f.name]: value for f, value in row.ListFields() if of[f.name] in wanted}
                for row in rows
            ]
            for rows, of, wanted in (
                (request.rows, column, model.columns),
                (request.history if events and known else (), events, known),
            )
        )
        told = {field.name: value for field, value in request.ListFields()}
        named = self.interface.wanted.items()
        beside = {of: told[name] for of, name in named if of in model.scorer.wants and name in told}
        beside = {of: v if isinstance(v, bool) else list(v) for of, v in beside.items()}
        return model.rows_of(objects, body, self.limits.max_rows, history, beside)

    def _content(self, model: Model, predictions: Rows, **more: bool) -> bytes:
        to = self.interface
        found = []
        outputs = to.outputs_of(model)
        for prediction in predictions:
            values = {name: _plain(getattr(prediction, attribute)) for attribute, name in outputs}
            found.append(to.prediction(**values))
        numbers = {to.answers[n]: v for n, v in model.scorer.manifest.decision.items()}
        numbers |= {to.answers[n]: v for n, v in more.items()}
        answer = to.response(model_version=model.scorer.version, predictions=found, **numbers)
        content: bytes = answer.SerializeToString()
        return content

    def _refusal(self, why: Refused | None) -> bytes:
        """Return the answer to rows in a stream that are refused."""
        problems = [
            self.interface.problem(**{n: v for n, v in _told(each) if v is not None})
            for each in (why.problems if why else ())
        ]
        version = self.model.scorer.version
        content: bytes = self.interface.response(
            model_version=version, errors=problems
        ).SerializeToString()
        return content


def _traceparent(context: Context) -> str:
    found = (value for name, value in context.invocation_metadata() if name == "traceparent")
    return str(next(found, ""))


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, dt.date) else value


def _told(problem: Problem) -> list[tuple[str, Any]]:
    return [(name, getattr(problem, name)) for name in Problem.__struct_fields__]


async def _end(context: Context, why: Refused) -> None:
    """End a call: one line for people, and each broken field in the details of google.rpc."""
    code = CODES[why.status]
    lines = [_line(problem) for problem in why.problems[:SHOWN]]
    more = len(why.problems) - len(lines)
    message = "; ".join(lines) + (f" ({more} more)" if more else "")
    details = error_details_pb2.BadRequest()
    for problem in why.problems:
        place = "" if problem.row is None else f"rows[{problem.row}]"
        field = ".".join(filter(None, [place, problem.field]))
        details.field_violations.add(field=field, description=f"{problem.problem}: {problem.hint}")
    packed = Packed()
    packed.Pack(details)
    status = status_pb2.Status(code=code.value[0], message=message, details=[packed])
    trailing = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(code, message, trailing_metadata=trailing)


def _line(problem: Problem) -> str:
    place = [f"row {problem.row}" if problem.row is not None else "", problem.field or ""]
    return ": ".join(filter(None, [", ".join(filter(None, place)), problem.problem, problem.hint]))


def options(service: Calls) -> list[tuple[str, int]]:
    """Return the bounds of connections."""
    seconds = int(service.limits.read_seconds * 1000)
    return [
        ("grpc.max_receive_message_length", int(service.limits.max_body_mb * 1_000_000)),
        ("grpc.max_metadata_size", HEAD_BYTES),
        ("grpc.absolute_max_metadata_size", HEAD_BYTES),
        ("grpc.max_concurrent_streams", 100),
        ("grpc.server_handshake_timeout_ms", seconds),
        ("grpc.max_connection_idle_ms", IDLE_MS),
        ("grpc.keepalive_time_ms", PING_MS),
        ("grpc.keepalive_timeout_ms", seconds),
        ("grpc.so_reuseport", 0),
    ]


class Server:
    """A gRPC server with health and reflection. Start it within a running event loop."""

    def __init__(self, service: Calls, address: str, tls: Tls | None = None) -> None:
        self.service = service
        self.server = grpc.aio.server(options=options(service))
        to, pool = service.interface, service.interface.pool
        handlers = {
            "Predict": grpc.stream_unary_rpc_method_handler(service.predict_one),
            "PredictStream": grpc.stream_stream_rpc_method_handler(service.predict_stream),
        }
        handler = grpc.method_handlers_generic_handler(to.service, handlers)
        self.server.add_generic_rpc_handlers((handler,))
        self.health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        names = [to.service, health.SERVICE_NAME, reflection.SERVICE_NAME]
        for known in (health_pb2, reflection_pb2):
            pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
        reflection.enable_server_reflection(names, self.server, pool)
        try:
            if tls:
                self.port = self.server.add_secure_port(address, tls.credentials())
            else:
                self.port = self.server.add_insecure_port(address)
        except RuntimeError as error:
            host, _, port = address.rpartition(":")
            raise cannot_listen(host, int(port), str(error).split(";")[0]) from None

    async def start(self) -> None:
        """Serve; ready once the golden rows are repeated."""
        await self.server.start()
        self.ticking = [asyncio.create_task(each) for each in (self.service.tick(), self._tick())]

    async def _tick(self) -> None:
        states = health_pb2.HealthCheckResponse
        while True:
            problem = await self.service.ready.problem_of(self.service.model)
            state = states.NOT_SERVING if problem else states.SERVING
            for name in ("", self.service.interface.service):
                await self.health.set(name, state)
            await asyncio.sleep(TICK_SECONDS)

    async def stop(self) -> None:
        """Take no more calls, finish what is running, write the log."""
        for task in self.ticking:
            task.cancel()
        await self.health.enter_graceful_shutdown()
        await self.server.stop(DRAIN_SECONDS)
        self.service.close()


def create_app(project: Project) -> Calls:
    """Return the service, ready for a server; ProjectError when there is no usable champion."""
    return Calls(project, proto.of(project))


def run(project: Project, host: str, port: int, metrics_port: int, tls: Tls | None) -> None:
    """Serve until SIGTERM or Ctrl-C, finish what is running, exit 0; ProjectError at startup."""
    asyncio.run(_run(project, host, port, metrics_port, tls))


async def _run(project: Project, host: str, port: int, metrics_port: int, tls: Tls | None) -> None:
    service = create_app(project)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    server = Server(service, address, tls)
    registry = service.telemetry.registry
    try:
        start_http_server(metrics_port, host, registry)
    except (OSError, OverflowError) as error:
        raise cannot_listen(host, metrics_port, error) from None
    log_lines()
    gc.freeze()  # what is there now stays: no need to look through it again and again
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stopped.set))
    loop = asyncio.get_running_loop()
    await server.start()
    log.info("serving gRPC on %s:%d, see %s", host, server.port, proto.FILE)
    await stopped.wait()
    await server.stop()
