"""The one place that decides which values of columns may be written down.

Values of a personal column stand in data/, and, where the model knows its categories one by one,
in the files of the bundle that need them: `NEEDED`. Everything else that a project makes (reports,
pages, logs, answers, the OpenAPI document, golden rows, drift profiles, MLflow) asks here first.
"""

import re
from collections.abc import Iterable
from typing import Protocol

HIDDEN = "(personal)"
# What names somebody within a text; bounded, so that no text takes long. Names of people have no
# pattern: they stay.
WITHIN = {
    "email": r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}",
    "iban": r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b",
    "ip": r"\b(?:\d{1,3}\.){3}\d{1,3}\b",
    "number": r"(?<!\w)[+(]{0,2}\d[\d ()/.-]{5,30}\d(?!\w)",  # phones, cards, accounts
}
FOUND = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in WITHIN.items()))
# The contract is the team's; the levels of a category are part of the model itself.
NEEDED = (
    *("contract.odcs.yaml", "columns.json", "features.json", "items.json", "model.onnx"),
    "texts.npz",
)

# What libpq says of an address that it cannot read, with the address or a part of a password.
MALFORMED = re.compile(r"connection (info string|option)|in URI|percent-encoded")


def without_secrets(said: str) -> str:
    """Return what a server or its library said, without the password of an address."""
    if MALFORMED.search(said):
        return "the address cannot be read: check its form, and percent-encode its password"
    return re.sub(r"(?<=://)[^/\s]*@", "***@", said)  # a password may hold an @


class Column(Protocol):
    """A column of the contract, or of a bundle."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def personal(self) -> bool:
        """Whether the contract classifies it as personal."""

    @property
    def pseudonym(self) -> bool:
        """Whether keyed hashes stand in place of its values."""


def hidden(column: Column) -> bool:
    """Whether no value of `column` may be written down."""
    return column.personal


def hidden_names(columns: Iterable[Column]) -> set[str]:
    """Return the names of the columns whose values may not be written down."""
    return {column.name for column in columns if hidden(column)}


def masked(text: str) -> str:
    """Return a text with (email), (iban), (ip) or (number) in place of what names somebody."""
    return FOUND.sub(lambda match: f"({match.lastgroup})", text)


def shown(text: str | None) -> str | None:
    """Return what may be written down of a text, None where there is none."""
    return None if text is None else masked(text)
