"""Who may ask, by a token of an identity provider: a JSON Web Token (RFC 7519) with an end."""

import hashlib
import os
import re
import time
from typing import Any

from ..errors import ProjectError
from ..extras import driver
from ..settings import Serving

KEY = "ML_JWT_KEY"  # of the environment
GROUP = "jwt"  # of pyproject.toml
PUBLIC = re.compile(r"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)
LEAST_BYTES = 32  # of a shared secret: RFC 7518, 3.2
LEEWAY_SECONDS = 10  # between the clocks of two machines
MOST_KNOWN = 10_000  # tokens
SIGNED = re.compile(rb"[\w-]+\.[\w-]+\.[\w-]+")
MAKE = "give the public key of RS256 in PEM, several one after the other, or a secret of HS256"
NEEDED = ("exp", "aud")


class Tokens:
    """Tells good tokens, by the keys of ML_JWT_KEY and whom `serving.jwt_audience` names.

    The key decides the algorithm, never the token. What was verified is remembered until its end,
    since checking a signature takes longer than scoring a row.
    """

    def __init__(self, audience: str, issuer: str, key: str) -> None:
        self.library = driver("jwt", GROUP)
        self.audience, self.issuer = audience, issuer
        self.keys, self.algorithm = self._read(key.replace("\\n", "\n"))
        self.known: dict[bytes, float] = {}  # by the hash of a token, until when

    def problem_of(self, token: bytes) -> str:
        """Return why a token is not good, "" where it is."""
        digest, now = hashlib.sha256(token).digest(), time.time()
        if now < self.known.get(digest, 0.0):
            return ""
        errors, problem = self.library, ""
        for key in self.keys:
            try:
                claims = self._claims(token, key)
            except errors.ExpiredSignatureError:
                return "the token has expired"
            except errors.InvalidAudienceError:
                return "the token is for another service"
            except errors.InvalidIssuerError:
                return "the token is of another issuer"
            except errors.MissingRequiredClaimError as error:
                return f"the token has no {error.claim}"
            except errors.ImmatureSignatureError:
                return "the token is not good yet"
            except (errors.PyJWTError, ValueError):
                problem = "the token is not of this issuer"
            else:
                if len(self.known) >= MOST_KNOWN:
                    self.known.clear()
                self.known[digest] = float(claims["exp"]) + LEEWAY_SECONDS
                return ""
        return problem

    def _claims(self, token: bytes, key: Any) -> dict[str, Any]:
        needed = [*NEEDED, *(["iss"] if self.issuer else [])]
        claims: dict[str, Any] = self.library.decode(
            token,
            key,
            algorithms=[self.algorithm],
            audience=self.audience,
            issuer=self.issuer or None,
            leeway=LEEWAY_SECONDS,
            options={"require": needed},
        )
        return claims

    def _read(self, key: str) -> tuple[list[Any], str]:
        """Return the keys and their algorithm; ProjectError, without them, for what is none."""
        if "PRIVATE KEY-----" in key:
            raise ProjectError(f"environment: {KEY} is a private key, which only the issuer has")
        if found := PUBLIC.findall(key):
            rsa = self.library.algorithms.RSAAlgorithm(self.library.algorithms.RSAAlgorithm.SHA256)
            try:
                return [rsa.prepare_key(text) for text in found], "RS256"
            except (ValueError, TypeError, self.library.PyJWTError):
                raise ProjectError(f"environment: {KEY}: no key of RS256: {MAKE}") from None
        if "-----BEGIN" in key or len(key.encode()) < LEAST_BYTES:
            raise ProjectError(
                f"environment: {KEY} is not good: {MAKE}, of at least {LEAST_BYTES} bytes"
            )
        return [key], "HS256"


def of(limits: Serving) -> Tokens | None:
    """Return what tells good tokens, None where none are asked for."""
    key = os.environ.get(KEY, "")
    if not limits.jwt_audience:
        if key or limits.jwt_issuer:
            said = f"environment: {KEY}" if key else "serving.jwt_issuer"
            raise ProjectError(f"{said} is set, but serving.jwt_audience does not say for whom")
        return None
    if not key:
        raise ProjectError(f"serving.jwt_audience is set: environment: {KEY}: {MAKE}")
    return Tokens(limits.jwt_audience, limits.jwt_issuer, key)
