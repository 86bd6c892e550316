"""The HTTP service of a project as managed platforms call it: SageMaker, Vertex AI, AWS Lambda.

`python managed.py` serves SageMaker or Vertex AI; `managed.handler` is a function of AWS Lambda,
behind its URL, behind an HTTP API, called as it is, or for files that arrive in a bucket. It lies
in the project's folder, and ML_PACKAGE names the project's package, such as customer_churn. Rows,
refusals and limits are those of `ml serve`.
"""

import asyncio
import base64
import json
import os
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus, urlencode

import msgspec

ENGINE = f"{os.environ['ML_PACKAGE']}.engine"
rest = import_module(f"{ENGINE}.serving.rest")
PROJECT = import_module(f"{ENGINE}.settings").find_project(Path(__file__).parent)
VERTEX = os.environ.get("AIP_PREDICT_ROUTE", "")  # Vertex AI sets it
HEALTH = os.environ.get("AIP_HEALTH_ROUTE", "")
ROUTES = {HEALTH: "/ready", VERTEX: "/predict"} if VERTEX else {
    "/ping": "/ready", "/invocations": "/predict"
}  # fmt: skip
LOOP = asyncio.new_event_loop()  # of the function


class Managed(rest.Http):
    """The service at the routes of its platform."""

    def load(self, folder: Path) -> Any:
        """Open a bundle, which reads requests of Vertex AI too."""
        model = super().load(folder)
        if VERTEX:
            read = model.rows
            model.rows = lambda body, most: read(renamed(body), most)
        return model

    def app(self) -> Any:
        """Return the ASGI application."""
        inner = super().app()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            to = ROUTES.get(scope["path"]) if scope["type"] == "http" else None
            if to:
                scope = {**scope, "path": to, "raw_path": to.encode()}
                if to == "/ready":
                    send = changed(send, lambda content: b"")
                elif VERTEX:
                    send = changed(send, predictions)
            await inner(scope, receive, send)

        return app


def renamed(body: bytes) -> bytes:
    """Return a request of Vertex AI, {"instances": [...], "parameters": {...}}, as one of ours.

    What is none stays as it is, so that the service says what is wrong with it.
    """
    try:
        parts = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        beside = msgspec.json.decode(parts.pop("parameters", b"{}"), type=dict[str, msgspec.Raw])
        rows = parts.pop("instances")
        if beside.keys() & {"rows", *parts} or "rows" in parts:
            return body
        return msgspec.json.encode({"rows": rows, **beside, **parts})
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError):
        return body


def predictions(content: bytes) -> bytes:
    """Return the predictions of an answer alone; the model's version is in those of Vertex AI."""
    found = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    return msgspec.json.encode({"predictions": found["predictions"]})


def changed(send: Any, change: Any) -> Any:
    """Return a `send` whose good answers have another content."""
    started: list[Any] = []

    async def sent(message: Any) -> None:
        if message["type"] == "http.response.start":
            started.append(message)
            return
        start = started.pop()
        if start["status"] == 200:
            message = {**message, "body": change(message["body"])}
            length = (b"content-length", b"%d" % len(message["body"]))
            kept = [pair for pair in start["headers"] if pair[0] != b"content-length"]
            start = {**start, "headers": [*kept, length]}
        await send(start)
        await send(message)

    return sent


@cache
def opened() -> tuple[Any, Any]:
    """Return the service of a function, and its application."""
    service = rest.Http(PROJECT)
    return service, service.app()


def handler(event: dict[str, Any], context: object = None) -> Any:
    """Answer an event of AWS Lambda.

    A call with rows gets their answer. A request over HTTP (payload 1.0 or 2.0) gets what the
    service says at its path. Files that arrived in a bucket are scored into that of ML_SCORED,
    s3://BUCKET/PATH.
    """
    if "Records" in event:
        return [scored(record["s3"]) for record in event["Records"]]
    if "requestContext" not in event:
        said = asked("POST", "/predict", "", {}, json.dumps(event).encode())
        return json.loads(said["body"])
    body, headers = event.get("body") or "", event.get("headers") or {}
    content = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
    if http := event["requestContext"].get("http"):
        query = event.get("rawQueryString") or ""
        return asked(http["method"], http["path"], query, headers, content)
    # Payload 1.0 has decoded what stood in the address.
    given = event.get("multiValueQueryStringParameters") or event.get("queryStringParameters")
    query = urlencode(given or {}, doseq=True)
    return asked(event["httpMethod"], event["path"], query, headers, content)


def asked(
    method: str, path: str, query: str, headers: dict[str, str], body: bytes
) -> dict[str, Any]:
    """Ask the service without a server; the lines of its log go to that of the function."""
    service, app = opened()
    # As bytes, which is what HTTP has; no header that the service reads has other signs.
    pairs = [
        tuple(part.encode("latin-1", "replace") for part in (name.lower(), value or ""))
        for name, value in headers.items()
    ]
    scope = {"type": "http", "http_version": "1.1", "scheme": "https", "method": method}
    scope |= {"path": path, "raw_path": path.encode(), "root_path": "", "headers": pairs}
    scope |= {"query_string": query.encode(), "client": None, "server": None}
    said: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        said.append(message)

    LOOP.run_until_complete(app(scope, receive, send))
    for line in service.telemetry.take():
        print(line.decode(), flush=True)
    return {
        "statusCode": said[0]["status"],
        "headers": {name.decode(): value.decode() for name, value in said[0]["headers"]},
        "body": b"".join(message.get("body", b"") for message in said[1:]).decode(),
        "isBase64Encoded": False,
    }


def scored(s3: dict[str, Any]) -> dict[str, Any]:
    """Score a file of a bucket, once, as `ml score` does; return what its .done.json says.

    What was made here is left alone, else a trigger of the same bucket would never come to an end.
    A file that its own scores would replace is refused.
    """
    name = unquote_plus(s3["object"]["key"])
    source, made = f"s3://{s3['bucket']['name']}/{name}", os.environ["ML_SCORED"].rstrip("/")
    target = f"{made}/{name}"
    if (source.startswith(f"{made}/") and source != target) or name.endswith(".done.json"):
        return {"skipped": source}
    store = import_module(f"{ENGINE}.serving.batch_store")
    report: dict[str, Any] = store.score(PROJECT, source, target)
    return report


if __name__ == "__main__":
    rest.run(PROJECT, "0.0.0.0", int(os.environ.get("AIP_HTTP_PORT", "8080")), Managed)
