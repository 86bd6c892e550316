"""Dead letters, read from the first to the last that is there."""

from collections import Counter
from typing import Any

from .. import topics
from .streaming import Access, reached

OTHER = "without a reason: no letter of ours"


def counted(brokers: str, topic: str, access: Access) -> dict[str, Any]:
    """Return how many messages have which first problem, the most frequent first.

    A message that was sent twice, because a consumer died, counts once.
    """
    reasons: dict[str, str] = {}
    settings = {"bootstrap.servers": brokers, **access.settings()}
    reached(settings, [topic])
    for message in topics.messages(settings, topic):
        headers: Any = message.headers() or ()
        told = {name: value.decode(errors="replace") for name, value in headers if value}
        place = told.get("origin") or f"{topic}/{message.partition()}/{message.offset()}"
        reasons[place] = told.get("reason", OTHER).split("; ")[0]
    return {"messages": len(reasons), "reasons": dict(Counter(reasons.values()).most_common())}
