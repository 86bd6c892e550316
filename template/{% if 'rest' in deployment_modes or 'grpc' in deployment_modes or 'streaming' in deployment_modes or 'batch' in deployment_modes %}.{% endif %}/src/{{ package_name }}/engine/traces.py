"""Where work stands in the trace that somebody else began, and spans of what was done.

The id of the trace (W3C Trace Context) joins lines of logs. Spans are sent, by OpenTelemetry and
the extra `tracing`, to where OTEL_EXPORTER_OTLP_ENDPOINT says; without it nothing is.
"""

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from .errors import ProjectError
from .extras import driver

GROUP = "tracing"  # of pyproject.toml
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
TRACEPARENT = re.compile(  # of any version, of which those after 00 may have more at the end
    r"(?!ff|00-.{53})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)
PARTS = ("features", "model")
STOP_SECONDS = 2  # that a process waits for its last spans to be sent

Found = TypeVar("Found")
CURRENT: ContextVar["Trace | None"] = ContextVar("trace", default=None)
log = logging.getLogger("serving")


class Trace:
    """Work in a trace: its id, and the span of it where spans are sent."""

    def __init__(self, identifier: str, span: Any = None, spans: "Spans | None" = None) -> None:
        self.id, self.span, self.spans = identifier, span, spans
        self.times: list[int] = []  # ns since 1970: of features and model, as Model.predict adds
        self.read: tuple[int, int] | None = None

    def parsed(self, read: Callable[[], Found]) -> Found:
        """Read rows, in a part of their own."""
        if self.span is None:
            return read()
        began = time.time_ns()
        try:
            return read()
        finally:
            self.read = began, time.time_ns()

    def end(self, status: int, version: str, rows: int) -> None:
        """End the span with its parts; nothing of a row is in it."""
        if self.span is None or self.spans is None:
            return
        about = {"ml.model_version": version, "ml.rows": rows, "ml.status": status}
        self.span.set_attributes(about)
        if self.read:
            self.spans.part(self.span, "parse", *self.read)
        # Of a request that two versions were asked for, the one that answered.
        for name, *between in zip(PARTS, self.times[-3:], self.times[-2:], strict=False):
            self.spans.part(self.span, name, *between)
        if status >= 500:
            self.span.set_status(self.spans.api.StatusCode.ERROR)
        self.span.end()


class Spans:
    """Makes spans and sends them, many at once and beside the service, by the SDK's variables."""

    def __init__(self, name: str) -> None:
        self.api = driver("opentelemetry.trace", GROUP)
        sdk = driver("opentelemetry.sdk.trace", GROUP)
        resources = driver("opentelemetry.sdk.resources", GROUP)
        exporter = driver("opentelemetry.exporter.otlp.proto.http.trace_exporter", GROUP)
        about = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": name}
        self.provider = sdk.TracerProvider(resource=resources.Resource.create(about))
        processor = driver("opentelemetry.sdk.trace.export", GROUP).BatchSpanProcessor
        self.provider.add_span_processor(processor(exporter.OTLPSpanExporter()))
        self.tracer = self.provider.get_tracer(__name__.partition(".")[0])

    def begin(self, name: str, given: re.Match[str] | None, kind: str = "INTERNAL") -> Trace | None:
        """Begin a span, under that of whoever asked if there is one.

        None where OTEL_SDK_DISABLED is and the caller began no trace.
        """
        context = None
        if given:
            numbers = (int(given[1], 16), int(given[2], 16))
            flags = self.api.TraceFlags(int(given[3], 16))
            above = self.api.SpanContext(*numbers, is_remote=True, trace_flags=flags)
            context = self.api.set_span_in_context(self.api.NonRecordingSpan(above))
        span = self.tracer.start_span(name, context, self.api.SpanKind[kind])
        if not (number := span.get_span_context().trace_id):
            return None
        return Trace(f"{number:032x}", span if span.is_recording() else None, self)

    def part(self, span: Any, name: str, began: int, ended: int) -> None:
        """Add what was done between two times."""
        context = self.api.set_span_in_context(span)
        self.tracer.start_span(name, context, start_time=began).end(ended)

    def close(self) -> None:
        """Send what is left; a collector that does not answer is not waited for."""
        ending = threading.Thread(target=self.provider.shutdown, daemon=True)
        ending.start()
        ending.join(STOP_SECONDS)


def opened(name: str) -> Spans | None:
    """Return what sends spans, None where no collector is named; `name` is the project's."""
    if not (to := next((name for name in ENDPOINTS if os.environ.get(name)), "")):
        return None
    try:
        return Spans(name)
    except ProjectError as error:  # a cluster may set it for everybody
        log.warning("%s is set, but no spans are sent: %s", to, error)
        return None


def begun(spans: Spans | None, name: str, header: str, kind: str) -> Trace | None:
    """Find where work stands by its `traceparent`, "" where it has none, and begin its span."""
    given = TRACEPARENT.fullmatch(header) if header else None
    return spans.begin(name, given, kind) if spans else Trace(given[1]) if given else None


def current() -> str:
    """Return the id of the trace that the work at hand belongs to; "" where it is in none."""
    found = CURRENT.get()
    return found.id if found else ""


@contextmanager
def job(name: str, project: str) -> Iterator[Trace | None]:
    """Do a job in the trace that the variable TRACEPARENT names, as schedulers set it."""
    spans = opened(project)
    trace = begun(spans, name, os.environ.get("TRACEPARENT", ""), "INTERNAL")
    token = CURRENT.set(trace)
    try:
        yield trace
    except BaseException:
        if trace:
            trace.end(500, "", 0)
        raise
    finally:
        CURRENT.reset(token)
        if spans:
            spans.close()
