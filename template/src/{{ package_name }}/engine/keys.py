"""Which row it is: keys and event ids, as callers send them and as logs and labels join by them."""

import datetime as dt
import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from . import privacy
from .dialect import level
from .errors import ProjectError

EVENT_ID = "event_id"  # what a caller may call a row, unless the contract has a column of that name
LONGEST = 128  # characters of it
SECRET = "ML_KEY_SECRET"  # of the environment
SECRET_FILE = "ML_KEY_SECRET_FILE"  # of the environment, too: a file outside the project has it
SHORTEST_SECRET = 16
PSEUDONYM = re.compile(r"k([0-9a-f]{8})-([0-9a-f]{32})")  # which secret made it, and the hash


def secret() -> bytes | None:
    """Return what personal keys are hashed with, None where nothing is set; ProjectError if short.

    Without a secret, a hash of a name or a number could be found by trying them all.
    """
    given, path = os.environ.get(SECRET, ""), os.environ.get(SECRET_FILE, "")
    if not given and path:
        _outside(Path(path))
        try:
            given = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise ProjectError(f"environment: {SECRET_FILE}: {path} cannot be read") from None
        if not given:
            raise ProjectError(f"environment: {SECRET_FILE}: {path} is empty")
    if given and len(given) < SHORTEST_SECRET:
        raise ProjectError(f"environment: {SECRET} needs {SHORTEST_SECRET} characters or more")
    return hashlib.sha256(given.encode()).digest() if given else None


def _outside(path: Path) -> None:
    """ProjectError for a secret that lies beside the data, or where a commit may take it along."""
    for folder in path.resolve().parents:
        if (folder / ".git").exists() or (folder / "plan/plan.yaml").is_file():
            raise ProjectError(
                f"environment: {SECRET_FILE}: {path} is within {folder}, a project or a folder of "
                "git: keep it outside"
            )


@lru_cache(maxsize=4)
def fingerprint(key: bytes) -> str:
    """Return eight hex digits that tell a secret from another, and not what it is."""
    return hashlib.blake2b(b"fingerprint", key=key, digest_size=4).hexdigest()


def made_by(pseudonym: str) -> str:
    """Return the fingerprint of the secret that made a pseudonym, "" of any other text."""
    match = PSEUDONYM.fullmatch(pseudonym)
    return match[1] if match else ""


def hashed(text: str, key: bytes) -> str:
    """Return what stands for a key in data: a keyed hash, and before it which secret made it.

    What this secret made stays as it is, so that rows of a table can come in again.
    """
    if made_by(text) == fingerprint(key):
        return text
    return f"k{fingerprint(key)}-{digest(text, key)}"


def pseudonym(text: str, key: bytes | None, column: str) -> str:
    """Return `hashed` of a value of a table; ProjectError without a secret, or with another."""
    before = made_by(text)
    if key is None and not before:
        raise ProjectError(
            f"column {column!r} becomes a keyed hash (`pseudonym` of the contract), but there is "
            f"no secret: set {SECRET}, or {SECRET_FILE} to a file outside the project that has it"
        )
    if key is None:
        return text
    if before and before != fingerprint(key):
        raise ProjectError(
            f"column {column!r} has keyed hashes of the secret {before}, but {SECRET} is "
            f"{fingerprint(key)} (fingerprints): set the one that made them"
        )
    return hashed(text, key)


def digest(text: str, key: bytes) -> str:
    """Return what stands for a text: 32 hex digits of a keyed hash."""
    return hashlib.blake2b(text.encode(errors="surrogatepass"), key=key, digest_size=16).hexdigest()


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
    if key is None:
        return None
    return hashed(plain(value), key) if column.pseudonym else digest(plain(value), key)
