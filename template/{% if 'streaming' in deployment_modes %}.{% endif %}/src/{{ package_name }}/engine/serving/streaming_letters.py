"""Dead letters, read from the first to the last that is there."""

import time
from collections import Counter
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from ..errors import ProjectError
from .streaming import REACH_SECONDS, Access, reached

PATIENCE_SECONDS = 30  # with a topic that says that there is more, and sends nothing
OTHER = "without a reason: no letter of ours"


def counted(brokers: str, topic: str, access: Access) -> dict[str, Any]:
    """Return how many messages have which first problem, the most frequent first.

    A message that was sent twice, because a consumer died, counts once.
    """
    reasons: dict[str, str] = {}
    for message in _read({"bootstrap.servers": brokers, **access.settings()}, topic):
        headers: Any = message.headers() or ()
        told = {name: value.decode(errors="replace") for name, value in headers if value}
        place = told.get("origin") or f"{topic}/{message.partition()}/{message.offset()}"
        reasons[place] = told.get("reason", OTHER).split("; ")[0]
    return {"messages": len(reasons), "reasons": dict(Counter(reasons.values()).most_common())}


def _read(settings: dict[str, Any], topic: str) -> list[Message]:
    """Return all messages that are in a topic now; no group and no offset changes."""
    reached(settings, [topic])
    consumer = Consumer(
        {**settings, "group.id": "ml-stream-letters", "enable.auto.commit": False, "log_level": 0}
    )
    found: list[Message] = []
    try:
        known = consumer.list_topics(topic, timeout=REACH_SECONDS).topics[topic]
        ends = {}
        for number in known.partitions:
            place = TopicPartition(topic, number)
            low, high = consumer.get_watermark_offsets(place, timeout=REACH_SECONDS) or (0, 0)
            if high > low:
                ends[number] = low, high
        if not ends:
            return found
        consumer.assign([TopicPartition(topic, n, low) for n, (low, _) in ends.items()])
        last = time.monotonic()
        more = True  # some brokers tell an end that is behind
        while (ends or more) and time.monotonic() - last < PATIENCE_SECONDS:
            messages = consumer.consume(1000, 0.5)
            more = bool(messages)
            for message in messages:
                if message.error():
                    continue
                found.append(message)
                last = time.monotonic()
            places = [TopicPartition(topic, number) for number in ends]
            ends = {
                place.partition: ends[place.partition]
                for place in (consumer.position(places) if places else ())
                if place.offset < ends[place.partition][1]
            }
    except KafkaException as error:
        raise ProjectError(f"topic {topic}: {error.args[0].str()}") from None
    finally:
        consumer.close()
    if ends:
        raise ProjectError(f"topic {topic}: it sent nothing for {PATIENCE_SECONDS} seconds")
    return found
