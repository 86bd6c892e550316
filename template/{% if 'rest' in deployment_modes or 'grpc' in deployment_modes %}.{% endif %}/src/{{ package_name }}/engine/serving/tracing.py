"""Requests of services in the traces of their callers."""

from collections.abc import Callable
from typing import TypeVar

from .. import traces
from ..settings import Project
from ..traces import CURRENT
from .refusal import Refused
from .requests import TIMES, Model
from .service import Service

Found = TypeVar("Found")


class Traced(Service):
    """A service whose requests may be part of a trace."""

    def __init__(self, project: Project) -> None:
        super().__init__(project)
        self.spans = traces.opened(project.plan.project.slug)

    def trace(self, name: str, header: str) -> None:
        """Find where a request stands by its header `traceparent`, and begin its span."""
        found = traces.begun(self.spans, name, header, "SERVER")
        CURRENT.set(found)
        TIMES.set(found.times if found and found.span is not None else None)

    def parsed(self, read: Callable[[], Found]) -> Found:
        """Read the rows of a request, in a part of their own where it has a span."""
        trace = CURRENT.get()
        return trace.parsed(read) if trace else read()

    def ended(self, status: int, model: Model, rows: int) -> None:
        """End the span of a request, if it has one."""
        if trace := CURRENT.get():
            trace.end(status, model.scorer.version, rows)

    def failure(self, request_id: str, error: Exception) -> Refused:
        """Log what broke in scoring; return what the caller is told."""
        named = f"{request_id}, trace {self.trace_id}" if self.trace_id else request_id
        return super().failure(named, error)

    @property
    def trace_id(self) -> str:
        """The trace that the request at hand belongs to; "" where it is in none."""
        return traces.current()

    def close(self) -> None:
        """Write and send what is left."""
        super().close()
        if self.spans:
            self.spans.close()
