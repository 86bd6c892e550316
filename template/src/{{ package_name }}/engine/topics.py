"""Messages of a topic from the first one, or from a moment, to the last one that is there."""

import time
from collections.abc import Iterator
from typing import Any

from .errors import ProjectError
from .extras import driver

REACH_SECONDS = 10  # for a broker to answer
PATIENCE_SECONDS = 30  # with a topic that says that there is more, and sends nothing


def access(
    user: str, password: str, mechanism: str, *, tls: bool, authority: str
) -> dict[str, Any]:
    """Return in the words of librdkafka how a broker knows us; `authority` is a file or "".

    ProjectError for a password that would go over the network in clear.
    """
    if user and mechanism.upper() == "PLAIN" and not tls:
        raise ProjectError("PLAIN sends the password in clear: use TLS, or another mechanism")
    kind = ("SASL_" if user else "") + ("SSL" if tls else "PLAINTEXT")
    found: dict[str, Any] = {"security.protocol": kind}
    if user:
        found |= {"sasl.mechanism": mechanism, "sasl.username": user, "sasl.password": password}
    if authority:
        found["ssl.ca.location"] = authority
    return found


def messages(settings: dict[str, Any], topic: str, since: int | None = None) -> Iterator[Any]:
    """Yield the messages that are in a topic now; no group and no offset changes.

    `settings` are those of librdkafka, `since` is in milliseconds since 1970, of the times that
    messages carry. ProjectError when the broker, or the topic, does not give them.
    """
    kafka = driver("confluent_kafka", "kafka")
    asked: dict[str, Any] = {"enable.auto.commit": False, "log_level": 0}
    # What is dropped meanwhile must not be left out.
    asked |= {"enable.partition.eof": True, "auto.offset.reset": "error"}
    try:
        consumer = kafka.Consumer({"group.id": "ml-reader", **asked, **settings})
        try:
            places = _places(kafka, consumer, topic, since)
            consumer.assign([place for place, _ in places.values()])
            ends = {number: end for number, (_, end) in places.items()}
            yield from _until_the_end(kafka.KafkaError, consumer, topic, ends)
        finally:
            consumer.close()
    except kafka.KafkaException as error:
        raise ProjectError(f"topic {topic}: {error.args[0].str()}") from None


def _places(kafka: Any, consumer: Any, topic: str, since: int | None) -> dict[int, tuple[Any, int]]:
    """Return where to begin in each partition that has something to read, and its end now."""
    known = consumer.list_topics(topic, timeout=REACH_SECONDS).topics[topic]
    if known.error:
        raise ProjectError(f"topic {topic}: {known.error.str()}")
    found = {}
    for number in known.partitions:
        place = kafka.TopicPartition(topic, number)
        low, high = consumer.get_watermark_offsets(place, timeout=REACH_SECONDS) or (0, 0)
        if since is not None and high > low:
            asked = kafka.TopicPartition(topic, number, since)
            (first,) = consumer.offsets_for_times([asked], timeout=REACH_SECONDS)
            if first.error:
                raise ProjectError(f"topic {topic}: {first.error.str()}")
            low = first.offset if first.offset >= 0 else high  # it has none so late
        if high > low:
            found[number] = kafka.TopicPartition(topic, number, low), high
    return found


def _until_the_end(errors: Any, consumer: Any, topic: str, ends: dict[int, int]) -> Iterator[Any]:
    """Yield messages until each partition has told its end, or goes on with what came since.

    That is behind its end of before, as a sender's clock may be wrong; some brokers tell an end
    that is too near.
    """
    began, last, left = 1000 * time.time(), time.monotonic(), set(ends)
    while left and time.monotonic() - last < PATIENCE_SECONDS:
        for message in consumer.consume(1000, 0.5):
            number, error = message.partition(), message.error()
            if error and error.code() == errors._PARTITION_EOF:
                left.discard(number)
            elif error and error.code() not in (errors._ALL_BROKERS_DOWN, errors._TRANSPORT):
                raise ProjectError(f"topic {topic}: {error.str()}")
            elif not error and number in left:
                last = time.monotonic()
                if message.timestamp()[1] > began and message.offset() >= ends[number]:
                    left.discard(number)
                else:
                    yield message
    if left:
        raise ProjectError(f"topic {topic}: it sent nothing for {PATIENCE_SECONDS} seconds")
