"""Kinds of columns; what those that are read whole have of their own.

Every mode of serving reads it, so that it needs nothing that serving lacks.
"""

from typing import Any, Literal

from . import privacy

Kind = Literal["number", "integer", "boolean", "category", "text", "date", "timestamp"]
READ = {"text": "freeText"}  # read whole, with what a contract calls it
EXAMPLES = {"text": "text"}
EXPECTED = {"text": "a text"}
UNITS = {"text": "characters of a text"}  # of what a profile counts


def of(logical_type: str, options: dict[str, Any], is_text: bool) -> Any:
    """Return the kind of a column of a contract."""
    return ("text" if is_text else "category") if logical_type == "string" else logical_type


def fault(value: str, kind: str) -> str:
    """Return the rule that a value of another kind than text breaks, or ""."""
    return ""


def logged(value: str | None, kind: str) -> str | None:
    """Return what may be written down of a value that is read whole."""
    return privacy.shown(value)
