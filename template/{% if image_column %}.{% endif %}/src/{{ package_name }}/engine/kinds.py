"""Kinds of columns; what those that are read whole have of their own.

Every mode of serving reads it, so that it needs nothing that serving lacks.
"""

from typing import Any, Literal

from . import pixels, privacy

Kind = Literal["number", "integer", "boolean", "category", "text", "image", "date", "timestamp"]
# Read whole, with what a contract calls it.
READ = {"text": "freeText", "image": "format image"}
EXAMPLES = {"text": "text", "image": pixels.EXAMPLE}
EXPECTED = {"text": "a text", "image": "the bytes of an image file in base64"}
# Of what a profile counts.
UNITS = {"text": "characters of a text", "image": "brightness of an image, 0 to 255"}


def of(logical_type: str, options: dict[str, Any], is_text: bool) -> Any:
    """Return the kind of a column of a contract."""
    if logical_type == "string" and options.get("format") == "image":
        return "image"
    return ("text" if is_text else "category") if logical_type == "string" else logical_type


def fault(value: str, kind: str) -> str:
    """Return the rule that a value of another kind than text breaks, or ""."""
    return pixels.fault(value) if kind == "image" else ""


def logged(value: str | None, kind: str) -> str | None:
    """Return what may be written down of a value that is read whole."""
    return pixels.told(value) if kind == "image" else privacy.shown(value)
