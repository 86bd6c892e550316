"""Who may ask: keys of callers, of which a file outside of the repository holds the hashes.

Or who has a token of an identity provider: see `tokens.py`.
"""

import hashlib
import logging
import re
from collections.abc import Iterable
from pathlib import Path

from .. import storage
from ..errors import ProjectError
from ..settings import Project
from . import tokens
from .refusal import refused

LINE = re.compile(r"([0-9a-f]{64})(\s+\S.*)?")
BEARER = re.compile(rb"[Bb]earer +(\S+)")
HEADERS = (b"authorization", b"x-api-key")
MAKE = "`sha256sum` of a key and whose it is, a line each"

log = logging.getLogger("serving")


class Access:
    """The keys that are good now; a key is random, so that its plain SHA-256 tells nothing of it.

    Several may be good at once: a new one is added, callers change, the old one is taken out. The
    file is read again when it has changed. Without a file and tokens, everybody may ask.
    """

    def __init__(self, path: Path | None, tokens: tokens.Tokens | None = None) -> None:
        self.path, self.tokens = path, tokens
        self.hashes: frozenset[str] = frozenset()
        self.seen = None if path is None else storage.stamp(path)
        if path is not None:
            self.hashes = _read(path)

    @property
    def asks(self) -> bool:
        """Whether a key or a token is needed."""
        return self.path is not None or self.tokens is not None

    def reload(self) -> None:
        """Follow the file; one that cannot be read leaves the keys as they are, and is told of."""
        if self.path is None or (stamp := storage.stamp(self.path)) == self.seen:
            return
        self.seen = stamp
        try:
            self.hashes = _read(self.path)
            log.info("%d keys may ask", len(self.hashes))
        except ProjectError as error:
            log.error("still the keys of before: %s", error)

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Refuse a request whose headers, or metadata, hold no good key, and no good token."""
        if not self.asks:
            return
        problem = ""
        for name, value in headers:
            if name in HEADERS:
                found = BEARER.fullmatch(value)
                key = found[1] if found else value
                if hashlib.sha256(key).hexdigest() in self.hashes:
                    return
                if not self.tokens or not tokens.SIGNED.fullmatch(key):
                    continue
                if not (problem := self.tokens.problem_of(key)):
                    return
        if problem:
            raise refused(401, "no good token", problem)
        raise refused(401, "no good key", "send it as `authorization: Bearer KEY` or `x-api-key`")


def of(project: Project) -> Access:
    """Return who may ask by config.yaml; ProjectError for a file or a key that is not good."""
    limits = project.config.serving
    keys = limits.api_keys
    return Access(project.path(keys) if keys else None, tokens.of(limits))


def _read(path: Path) -> frozenset[str]:
    """Return the hashes of a file; ProjectError for a line that is none, or a file without any."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ProjectError(f"serving.api_keys: {path}: {reason}; it holds {MAKE}") from None
    found = set()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        if not (hashed := LINE.fullmatch(line.strip())):
            raise ProjectError(f"serving.api_keys: {path}, line {number}: write {MAKE}")
        found.add(hashed[1])
    if not found:
        raise ProjectError(f"serving.api_keys: {path} has no key: nobody could ask; write {MAKE}")
    return frozenset(found)
