"""Bounds what callers can hold of the service: connections, bytes and time.

uvicorn alone waits for ever for a slow request or a slow reader and takes any number of headers.
"""

import functools
import http
from asyncio import BaseTransport
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..settings import Serving
from .refusal import Refused, refused, too_busy, too_slow

HEAD_BYTES = 32_768
SMALL_BYTES = 65_536  # what uvicorn buffers of any request
GRACE_SECONDS = 2.0  # in which the application may end a slow request in its own words


class Budget:
    """Bytes of all requests larger than SMALL_BYTES that have no answer yet."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.held = 0


class Hold:
    """What one request has of a budget."""

    __slots__ = ("budget", "size")

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.size = 0

    def take(self, size: int) -> None:
        """Hold `size` bytes in all; Refused when too much is held already."""
        if size <= SMALL_BYTES:
            return
        if self.budget.held + size - self.size > self.budget.limit:
            raise too_busy()
        self.budget.held += size - self.size
        self.size = size

    def release(self) -> None:
        """Give everything back."""
        self.budget.held -= self.size
        self.size = 0


class Connection(HttpToolsProtocol):
    """A connection that is ended when its caller takes too much.

    `ended` is told the status of each end.
    """

    def __init__(self, *given: Any, limits: Serving, ended: Callable[[int], None], **named: Any):
        super().__init__(*given, **named)
        self.limits = limits
        self.ended = ended
        # The body once more for the lines of chunks, and for what comes after its refusal.
        self.most_bytes = HEAD_BYTES + 2 * limits.max_body_mb * 1_000_000
        self.bytes = 0  # of the request that arrives
        self.in_head = True
        self.head = 0  # bytes of it so far
        self.whole = False  # a request ended in the bytes that came last
        self.arriving: float | None = None  # since when, in seconds of the loop
        self.unread: float | None = None  # since when its answer waits for the caller

    def connection_made(self, transport: BaseTransport) -> None:
        """Take a connection while there is room."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self.arriving = self.loop.time()
        if len(self.connections) > self.limits.max_connections:
            self._end(too_busy())

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        if self.transport.is_closing():
            return
        if self.arriving is None:
            self.arriving, self.bytes = self.loop.time(), 0
        self.whole = False
        self.bytes += len(data)
        super().data_received(data)
        if self.whole:
            self.bytes = 0
        if self.in_head and self.bytes > HEAD_BYTES:
            self._end(_too_large_head())
        elif self.bytes > self.most_bytes:
            hint = f"send at most {self.limits.max_body_mb:g} MB at once"
            self._end(refused(413, "body too large", hint))

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, unless the connection has been ended for another reason."""
        if self.in_head and self.bytes > HEAD_BYTES:
            self._end(_too_large_head())
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        """Note that a request begins, perhaps behind another one in the same bytes."""
        super().on_message_begin()
        self.in_head, self.head = True, 0
        if self.arriving is None:
            self.arriving = self.loop.time()

    def on_url(self, url: bytes) -> None:
        """Take the address, or a part of it."""
        super().on_url(url)
        self.head += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; what comes behind a body in chunks is left out."""
        if self.in_head:
            super().on_header(name, value)
            self.head += len(name) + len(value) + 4

    def on_headers_complete(self) -> None:
        """Note that the head has arrived; one that came at once is measured here."""
        if self.head > HEAD_BYTES:
            self._end(_too_large_head())
            return
        super().on_headers_complete()
        self.in_head = False

    def on_message_complete(self) -> None:
        """Note that the whole request has arrived."""
        super().on_message_complete()
        self.arriving, self.whole = None, True

    def pause_writing(self) -> None:
        """Note that the caller does not read."""
        super().pause_writing()
        self.unread = self.loop.time()

    def resume_writing(self) -> None:
        """Note that the caller reads."""
        super().resume_writing()
        self.unread = None

    def look(self) -> None:
        """End the connection if its caller has been slow for too long."""
        now, seconds = self.loop.time(), self.limits.read_seconds
        if self.transport.is_closing() and self.unread is None:
            self.unread = now  # something is left to send, or it would be closed by now
        if self.unread is not None and now - self.unread > seconds:
            self.transport.abort()
            self.ended(408)
        elif self.arriving is not None and now - self.arriving > seconds:
            answering = self.cycle is not None and not self.cycle.response_complete
            if not answering or now - self.arriving > seconds + GRACE_SECONDS:
                self._end(too_slow(seconds))

    def _end(self, why: Refused) -> None:
        """Say why, unless the answer to an earlier request is on its way, and close."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            body = why.body()
            lines = [
                f"HTTP/1.1 {why.status} {http.HTTPStatus(why.status).phrase}",
                "content-type: application/json",
                f"content-length: {len(body)}",
                "connection: close",
                *(["retry-after: 1"] if why.status == 503 else []),
            ]
            self.transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        self.transport.close()
        self.ended(why.status)


def _too_large_head() -> Refused:
    return refused(431, "headers too large", f"send at most {HEAD_BYTES} bytes of headers")


class Server(uvicorn.Server):
    """A server that looks at its connections once a second."""

    async def on_tick(self, counter: int) -> bool:
        """Do what is due; it is called ten times a second."""
        if counter % 10 == 0:
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.look()
        return await super().on_tick(counter)


def protocol(limits: Serving, ended: Callable[[int], None]) -> Callable[..., Connection]:
    """Return what makes the connections of a server."""
    return functools.partial(Connection, limits=limits, ended=ended)
