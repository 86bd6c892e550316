"""Whether a column looks like data that identify a person, by its name and by its values."""

import re

import polars as pl

from ..dialect import BOOLEANS
from .contract import Kind

EXAMINED = 1000  # different values that the patterns are tried on
NAMES = {
    "e-mail": r"e_?mail",
    "phone": r"phone|mobile(_?(no|number))?$|telefon|(^|_)(tel|fax)(_|$)",
    "name": r"^name$|(first|last|middle|full|given|family|customer|client|person|user)_?name"
    r"|surname|vorname|nachname",
    "address": r"address|street|strasse|straße|(^|_)(zip|plz)|post(al)?_?code",
    "birth": r"birth(_?(place|city|country))?|(^|_)dob(_|$)|geburt(s_?(ort|stadt|land))?",
    "account or card": r"(^|_)iban|(card|account)_?(no|num|number)$",
    "official number": r"(^|_)ssn|social_?security|passport|(tax|national)_?(id|number)",
    "IP address": r"(^|_)ip(_|$)|ip_?addr",
}
REST = r"(_?(address|line|code|no|num|number|date|year|day|\d))*$"  # what may follow a topic
VALUES = {
    "e-mail": r"^[^@\s]+@[^@\s]+\.\w+$",
    "phone": r"^(\+\d|\(\d|0\d+[ /-])[\d ()/.-]{5,20}$|^\d{3}-\d{3}-\d{4}$",
    "IBAN": r"^[A-Z]{2}\d{2} ?([A-Z0-9]{4} ?){2,7}[A-Z0-9]{1,4}$",
    "official number": r"^\d{3}-\d{2}-\d{4}$",
    "IP address": r"^(\d{1,3}\.){3}\d{1,3}$|^([0-9a-fA-F]{0,4}:){3,7}[0-9a-fA-F]{0,4}$",
}


def snake(name: str) -> str:
    """Return `CustomerID` or `Customer ID` as `customer_id`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|\W+", "_", name).lower()


def suspicion(name: str, kind: Kind, values: pl.Series) -> str:
    """Say why a column looks personal; "" when it does not. `values` has no missing ones.

    Flags, small numbers and few texts whose name goes on after the topic are no person's, whatever
    the name says: phone_service, email_verified, emails_sent.
    """
    topics, ending = list(NAMES), ""
    if kind == "category":
        texts = values.unique().sort().head(EXAMINED).str.strip_chars()
        for topic, pattern in VALUES.items():
            if texts.str.contains(pattern).sum() >= 0.8 * len(texts):
                return f"its values look like personal data ({topic})"
        if len(texts) <= min(10, 0.5 * len(values)):
            if texts.str.to_lowercase().is_in(list(BOOLEANS)).any():
                return ""
            ending = REST
    elif kind in ("integer", "number"):
        middle = float(values.cast(pl.Float64).median() or 0)  # type: ignore[arg-type]
        years = kind == "integer" and 1900 < middle < 2030
        topics = topics if middle >= 10_000 else ["birth"] if years else []
    else:
        topics = ["birth"] if kind in ("date", "timestamp") else []
    for topic in topics:
        if re.search(f"({NAMES[topic]}){ending}", snake(name)):
            return f"its name says personal data ({topic})"
    return ""
