"""The topic of a consumer and that of its dead letters, made where they are not there."""

import time

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ..errors import ProjectError
from ..topics import REACH_SECONDS
from .streaming import Access, reached

LETTERS = 1  # partitions of dead letters, which are few


def create(brokers: str, topic: str, dead: str, partitions: int, copies: int, to: Access) -> None:
    """Make the topics that are not there; one that is there stays as it is.

    `copies` is on how many brokers each message stands. ProjectError when the broker refuses.
    """
    settings = {"bootstrap.servers": brokers, **to.settings()}
    reached(settings, [])
    asked = [NewTopic(topic, partitions, copies), NewTopic(dead, LETTERS, copies)]
    admin = AdminClient({**settings, "log_level": 0})  # answers come as long as it lives
    for name, made in admin.create_topics(asked).items():
        try:
            made.result(REACH_SECONDS)
        except TimeoutError:
            said = f"the broker made no topic within {REACH_SECONDS} seconds"
            raise ProjectError(f"topic {name}: {said}: look at its log, then ask again") from None
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise ProjectError(f"topic {name}: {error.args[0].str()}") from None
    reached(settings, [topic, dead])


def create_within(
    seconds: int, brokers: str, topic: str, dead: str, partitions: int, copies: int, to: Access
) -> None:
    """Make the topics, again and again while the broker starts; ProjectError after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        try:
            return create(brokers, topic, dead, partitions, copies, to)
        except ProjectError:
            if time.monotonic() > end:
                raise
        time.sleep(1)
