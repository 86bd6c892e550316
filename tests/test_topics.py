"""A topic read to the end that it had, by a broker whose answers are written down here."""

from types import SimpleNamespace
from typing import Any

import pytest

from package_name.engine import topics
from package_name.engine.data import events

EOF = -191
LATER = 4e12  # milliseconds: the year 2096


class Message:
    """A message of partition 0, or that its end is reached."""

    def __init__(self, offset: int, at: float = 0.0, code: int = 0, value: bytes = b"{}") -> None:
        self.offset, self.value = lambda: offset, lambda: value
        self.error = lambda: SimpleNamespace(code=lambda: code) if code else None
        self.partition, self.topic = lambda: 0, lambda: "orders"
        self.timestamp = lambda: (1, at)


def reading(
    monkeypatch: pytest.MonkeyPatch,
    end: int,
    given: list[Message],
    since: int | None = None,
    begun: list[Any] | None = None,
) -> list[int]:
    """Return the places that are read of what a broker gives, which told `end` before.

    Asked for a time it says place 2; where reading begins is added to `begun`.
    """
    one = SimpleNamespace(error=None, partitions=[0])
    consumer = SimpleNamespace(
        list_topics=lambda topic, timeout: SimpleNamespace(topics={topic: one}),
        get_watermark_offsets=lambda place, timeout: (0, end),
        offsets_for_times=lambda places, timeout: [SimpleNamespace(error=None, offset=2)],
        assign=lambda places: begun.extend(places) if begun is not None else None,
        consume=lambda most, seconds: [given.pop(0)] if given else [],
        close=lambda: None,
    )
    kafka = SimpleNamespace(
        Consumer=lambda settings: consumer,
        KafkaException=ZeroDivisionError,
        KafkaError=SimpleNamespace(_PARTITION_EOF=EOF, _ALL_BROKERS_DOWN=-187, _TRANSPORT=-195),
        TopicPartition=lambda *place: place,
    )
    monkeypatch.setattr(topics, "driver", lambda name, group: kafka)
    return [message.offset() for message in topics.messages({}, "orders", since)]


def test_a_clock_that_is_wrong_hides_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """One message of the next century stands before others: all were there when reading began."""
    given = [Message(0, LATER), Message(1), Message(2), Message(3, code=EOF)]
    assert reading(monkeypatch, 3, given) == [0, 1, 2]


def test_what_comes_while_a_topic_is_read_is_left_for_the_next_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = [Message(0), Message(1), Message(2, LATER), Message(3, LATER)]
    assert reading(monkeypatch, 2, given) == [0, 1]


@pytest.mark.parametrize("value", [b'{"a":' * 100_000, b'{"a": "\xff"}', b"[1]", b"{", b""])
def test_a_message_that_is_no_object_is_named_by_its_place(value: bytes) -> None:
    source: Any = SimpleNamespace(server="shop")
    with pytest.raises(events.ProjectError, match=r"orders/0/7 is no JSON object") as told:
        events._row(source, Message(7, value=value))
    assert "\n" not in str(told.value)


def test_a_load_begins_where_the_broker_says_that_a_time_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[Any] = []
    given = [Message(2), Message(3), Message(4, code=EOF)]
    assert reading(monkeypatch, 4, given, 1_000, begun) == [2, 3]
    assert begun == [("orders", 0, 2)]


def test_a_password_does_not_go_over_the_network_in_clear() -> None:
    with pytest.raises(events.ProjectError, match="PLAIN sends the password in clear"):
        topics.access("me", "secret", "PLAIN", tls=False, authority="")
    said = topics.access("me", "secret", "PLAIN", tls=True, authority="ca.pem")
    assert said["security.protocol"] == "SASL_SSL" and said["ssl.ca.location"] == "ca.pem"
    assert topics.access("", "", "PLAIN", tls=False, authority="") == {
        "security.protocol": "PLAINTEXT"
    }
