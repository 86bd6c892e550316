"""Which row it is: keys and event ids, as callers send them and as logs and labels join by them."""

import datetime as dt
import hashlib
import os
from typing import Any

from . import privacy
from .dialect import level
from .errors import ProjectError

EVENT_ID = "event_id"  # what a caller may call a row, unless the contract has a column of that name
LONGEST = 128  # characters of it
SECRET = "ML_KEY_SECRET"  # of the environment
SHORTEST_SECRET = 16


def secret() -> bytes | None:
    """Return what personal keys are hashed with, None where nothing is set; ProjectError if short.

    Without a secret, a hash of a name or a number could be found by trying them all.
    """
    given = os.environ.get(SECRET, "")
    if given and len(given) < SHORTEST_SECRET:
        raise ProjectError(f"environment: {SECRET} needs {SHORTEST_SECRET} characters or more")
    return hashlib.sha256(given.encode()).digest() if given else None


def made(request_id: str, row: int) -> str:
    """Return the event id of a row whose caller gave none."""
    return f"{request_id}/{row}"


def plain(value: Any) -> str:
    """Return a value of a key as the one text that it has in every format."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dt.date):
        return value.isoformat()
    return level(str(value)) if isinstance(value, str) else str(value)


def logged(column: privacy.Column, value: Any, key: bytes | None) -> str | None:
    """Return what may be written down of a key: of a personal one a hash by `key`, or nothing."""
    if value is None:
        return None
    if not privacy.hidden(column):
        return plain(value)
    return (
        hashlib.blake2b(plain(value).encode(), key=key, digest_size=16).hexdigest() if key else None
    )
