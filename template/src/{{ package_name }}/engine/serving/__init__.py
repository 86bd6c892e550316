"""The chosen ways to serve the champion. They share the scorer and these words for a hint."""

from .. import kinds
from ..model.values import ServedColumn

KINDS = {
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "category": "a text",
    **kinds.EXPECTED,
    "date": "a date such as 2026-01-31",
    "timestamp": "a time such as 2026-01-31T08:30:00",
}


def expected(column: ServedColumn) -> str:
    """Say what the contract wants in `column`, as far as callers may know."""
    column = column.public()
    if column.levels:
        return f"one of {', '.join(column.levels[:20])}{' ...' if len(column.levels) > 20 else ''}"
    if column.kind == "text":
        return KINDS["text"] + (f" of at most {column.maximum:g} characters" * bool(column.maximum))
    low = "" if column.minimum is None else f" of at least {column.minimum:g}"
    high = "" if column.maximum is None else f" of at most {column.maximum:g}"
    return KINDS[column.kind] + (f"{low} and{high}" if low and high else low + high)
