"""Pairs of keys: what leaves the project is signed, and what comes in is checked.

Ed25519, and no hash with a shared secret: who can check cannot sign. The public key is a file of
the project, the secret is in the environment alone.
"""

import os
import re
import secrets
from collections.abc import Callable
from typing import Any, NamedTuple

from . import storage
from .errors import ProjectError
from .extras import driver
from .settings import Project

Sign = Callable[[bytes], str]  # a signature as 128 hex digits


class Pair(NamedTuple):
    """Where the two keys of a pair are, what makes them, who holds the public one."""

    secret: str  # a variable of the environment: 64 hex digits, never in a file
    public: str
    command: str
    group: str  # of pyproject.toml, which has the package that signs
    warning: str


def make(project: Project, pair: Pair, *, force: bool = False) -> str:
    """Write a new public key into the project; return the secret, which is written nowhere."""
    path = project.path(pair.public)
    if path.exists() and not force:
        raise ProjectError(f"{pair.public} is there: {pair.warning}")
    secret = secrets.token_bytes(32)
    storage.write_text(path, f"{_signer(pair, secret.hex())[1]}\n")
    return secret.hex()


def public(project: Project, pair: Pair) -> str:
    """Return the public key of the project; ProjectError where it has none."""
    path = project.path(pair.public)
    found = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    if not re.fullmatch(r"[0-9a-f]{64}", found):
        state = "no key of 64 hex digits" if path.is_file() else "not there"
        raise ProjectError(
            f"{pair.public} is {state}: take it from the repository of who signs, or, where "
            f"nobody has signed yet, make a pair of keys with `{pair.command}`, once"
        )
    return found


def signer(project: Project, pair: Pair) -> tuple[Sign, str]:
    """Return what signs, and the public key; ProjectError where they are no pair."""
    known = public(project, pair)
    given = os.environ.get(pair.secret, "")
    if not re.fullmatch(r"[0-9a-f]{64}", given):
        raise ProjectError(
            f"environment: {pair.secret} needs the 64 hex digits that `{pair.command}` said"
        )
    sign, of_it = _signer(pair, given)
    if known != of_it:
        raise ProjectError(f"environment: {pair.secret} is not the secret of {pair.public}")
    return sign, known


def is_signed(project: Project, pair: Pair, content: bytes, signature: str) -> bool:
    """Whether the owner of the project's public key signed `content`."""
    key = _library(pair).Ed25519PublicKey.from_public_bytes(bytes.fromhex(public(project, pair)))
    try:
        key.verify(bytes.fromhex(signature), content)
    except ValueError:
        return False  # no hex digits
    except driver("cryptography.exceptions", pair.group).InvalidSignature:
        return False
    return True


def _signer(pair: Pair, secret: str) -> tuple[Sign, str]:
    key = _library(pair).Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
    of_it: str = key.public_key().public_bytes_raw().hex()
    return lambda content: str(key.sign(content).hex()), of_it


def _library(pair: Pair) -> Any:
    return driver("cryptography.hazmat.primitives.asymmetric.ed25519", pair.group)
