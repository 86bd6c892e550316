"""How the load test asks the gRPC service."""

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf import json_format

from ..settings import Project
from . import proto

GOOD = "OK"


def command(port: int) -> list[str]:
    """Return the command of `ml` that serves on this port, with metrics on any."""
    there = ["--host", "127.0.0.1", "--port", str(port), "--metrics-port", "0"]
    return ["grpc", "serve", *there]


def bodies(project: Project, rows: Sequence[dict[str, Any]]) -> list[bytes]:
    """Return a request for each row."""
    request = proto.of(project).request
    return [json_format.ParseDict({"rows": [row]}, request()).SerializeToString() for row in rows]


def open(project: Project, port: int, seconds: float) -> "Caller":
    """Return who asks, and waits so long for an answer; within the event loop."""
    return Caller(proto.of(project).service, port, seconds)


class Caller:
    """One connection, on which requests go side by side."""

    def __init__(self, service: str, port: int, seconds: float) -> None:
        self.seconds = seconds
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self.call = self.channel.unary_unary(f"/{service}/Predict")

    async def ask(self, body: bytes) -> str:
        """Return the status of an answer."""
        try:
            await self.call(body, timeout=self.seconds)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        return GOOD

    async def close(self) -> None:
        """End the connection."""
        await self.channel.close()
