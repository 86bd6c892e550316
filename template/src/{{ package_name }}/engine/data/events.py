"""A topic that is read again from its first message: each message is a row, in JSON.

Keys and passwords as librdkafka asks for them; the package is a group of pyproject.toml.
"""

import datetime as dt
from collections.abc import Callable
from typing import Any

import msgspec
import polars as pl

from .. import topics
from ..errors import ProjectError
from .reading import series
from .sources import Source

EVERY = 10_000  # messages between two words of progress
decode = msgspec.json.Decoder(dict[str, Any]).decode


def read(
    source: Source, secret: str, columns: list[str] | None, since: Any, tell: Callable[[str], None]
) -> pl.DataFrame:
    """Return the rows of a topic in the order of the times that its messages carry.

    `columns` (None: all) are kept. `since` is the highest time of the last load; of messages with
    one time the order is that of partition and offset. A message without a value, by which a topic
    deletes what it has of a key, is no row; the rows of this key stay.
    """
    found: list[tuple[tuple[int, int, int], dict[str, Any]]] = []
    if source.watermark and source.watermark.column != source.sent:
        raise ProjectError(
            f"{source.server}: a topic is asked by the time of its messages: `sent` names the "
            "column that gets it, and the watermark must be this column"
        )
    asked = None if since is None else _milliseconds(since)
    for number, message in enumerate(
        topics.messages(_settings(source, secret), source.table, asked)
    ):
        if number % EVERY == 0:
            tell(f"{source.server}: {number} messages")
        if message.value() is None:
            continue
        row = _row(source, message)
        if columns is not None:
            row = {name: row[name] for name in columns if name in row}
        place = message.timestamp()[1], message.partition(), message.offset()
        found.append((place, row))
    found.sort(key=lambda each: each[0])
    rows = [row for _, row in found]
    names = dict.fromkeys(name for row in rows for name in row)
    frame = pl.DataFrame({n: series(source.server, n, [row.get(n) for row in rows]) for n in names})
    if not source.sent:
        return frame
    sent = pl.Series(source.sent, [milliseconds for (milliseconds, *_), _ in found], pl.Int64)
    return frame.with_columns(sent.cast(pl.Datetime("ms")))


def _row(source: Source, message: Any) -> dict[str, Any]:
    try:
        return decode(message.value())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        place = f"{message.topic()}/{message.partition()}/{message.offset()}"
        raise ProjectError(
            f"{source.server}: message {place} is no JSON object: a topic is read whole or not"
        ) from None


def _settings(source: Source, secret: str) -> dict[str, Any]:
    """Return it in the words of librdkafka: SASL where a user is named, TLS where asked for."""
    if not source.table:
        raise ProjectError(f"{source.server}: `table` must name the topic")
    try:
        said = topics.access(
            *(source.user, secret, source.mechanism), tls=source.tls, authority=source.tls_ca
        )
    except ProjectError as error:
        raise ProjectError(f"{source.server}: {error}") from None
    return {"bootstrap.servers": str(source.address.get("host", "")), **said}


def _milliseconds(since: Any) -> int:
    moment = since if isinstance(since, dt.datetime) else dt.datetime.fromisoformat(str(since))
    return int(moment.replace(tzinfo=dt.UTC).timestamp() * 1000)
