"""Messages of a topic from the first one, or from a moment, to the last one that is there."""

import time
from collections.abc import Iterator
from typing import Any

from .errors import ProjectError
from .extras import driver

REACH_SECONDS = 10  # for a broker to answer
PATIENCE_SECONDS = 30  # with a topic that says that there is more, and sends nothing


def messages(settings: dict[str, Any], topic: str, since: int | None = None) -> Iterator[Any]:
    """Yield the messages that are in a topic now; no group and no offset changes.

    `settings` are those of librdkafka, `since` is in milliseconds since 1970, of the times that
    messages carry. ProjectError when the broker, or the topic, does not give them.
    """
    kafka = driver("confluent_kafka", "kafka")
    quiet = {"enable.auto.commit": False, "log_level": 0}
    try:
        consumer = kafka.Consumer({"group.id": "ml-reader", **quiet, **settings})
        try:
            places = _places(kafka, consumer, topic, since)
            consumer.assign(list(places.values()))
            yield from _until_the_end(kafka, consumer, topic, places)
        finally:
            consumer.close()
    except kafka.KafkaException as error:
        raise ProjectError(f"topic {topic}: {error.args[0].str()}") from None


def _places(kafka: Any, consumer: Any, topic: str, since: int | None) -> dict[int, Any]:
    """Return where to begin in each partition that has something to read."""
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
            low = first.offset if first.offset >= 0 else high
        if high > low:
            found[number] = kafka.TopicPartition(topic, number, low)
    return found


def _until_the_end(kafka: Any, consumer: Any, topic: str, places: dict[int, Any]) -> Iterator[Any]:
    ends = {
        number: (consumer.get_watermark_offsets(place, timeout=REACH_SECONDS) or (0, 0))[1]
        for number, place in places.items()
    }
    last = time.monotonic()
    more = bool(ends)  # some brokers tell an end that is behind
    while (ends or more) and time.monotonic() - last < PATIENCE_SECONDS:
        some = consumer.consume(1000, 0.5)
        more = bool(some)
        for message in some:
            if not message.error():
                yield message
                last = time.monotonic()
        left = [kafka.TopicPartition(topic, number) for number in ends]
        ends = {
            place.partition: ends[place.partition]
            for place in (consumer.position(left) if left else ())
            if place.offset < ends[place.partition]
        }
    if ends:
        raise ProjectError(f"topic {topic}: it sent nothing for {PATIENCE_SECONDS} seconds")
