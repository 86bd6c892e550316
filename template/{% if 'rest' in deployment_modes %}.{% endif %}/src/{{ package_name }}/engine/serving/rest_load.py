"""How the load test asks the HTTP service."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from ..settings import Project

GOOD = "200"


def command(port: int) -> list[str]:
    """Return the command of `ml` that serves on this port."""
    return ["serve", "--host", "127.0.0.1", "--port", str(port)]


def bodies(_: Project, rows: Sequence[dict[str, Any]]) -> list[bytes]:
    """Return a request for each row."""
    return [msgspec.json.encode(row) for row in rows]


def open(_: Project, port: int, seconds: float) -> "Caller":
    """Return who asks, and waits so long for an answer."""
    return Caller(port, seconds)


class Caller:
    """Connections to the service, as many as requests are open at once."""

    def __init__(self, port: int, seconds: float) -> None:
        self.port, self.seconds = port, seconds
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, body: bytes) -> str:
        """Return the status of an answer; 0 where there was none."""
        try:
            async with asyncio.timeout(self.seconds):
                return str(await self._ask(body))
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError, IndexError):
            return "0"

    async def _ask(self, body: bytes) -> int:
        pair = await self._connection()
        reader, writer = pair
        try:
            head = f"POST /predict HTTP/1.1\r\nhost: load\r\ncontent-length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            first = (await reader.readuntil(b"\n")).split()
            status = int(first[1])
            length = 0
            while (line := await reader.readline()).strip():
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        self.idle.append(pair)
        return status

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a connection that the service has not closed, as it does with one long idle."""
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def close(self) -> None:
        """Close all connections."""
        for _, writer in self.idle:
            writer.close()
