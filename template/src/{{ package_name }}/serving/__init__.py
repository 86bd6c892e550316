"""The chosen ways to serve the champion. They share the scorer and these words for a refusal."""

import math

from ..scorer import ServedColumn

MISSING = "missing"
WRONG_TYPE = "wrong type"
OUT_OF_RANGE = "out of range"
UNKNOWN_LEVEL = "unknown category"
KINDS = {
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "category": "a text",
    "date": "a date such as 2026-01-31",
    "timestamp": "a time such as 2026-01-31T08:30:00",
}


def expected(column: ServedColumn) -> str:
    """Say what the contract wants in `column`."""
    if column.levels:
        return f"one of {', '.join(column.levels[:20])}{' ...' if len(column.levels) > 20 else ''}"
    low = "" if column.minimum is None else f" of at least {column.minimum:g}"
    high = "" if column.maximum is None else f" of at most {column.maximum:g}"
    return KINDS[column.kind] + (f"{low} and{high}" if low and high else low + high)


def example(column: ServedColumn) -> str | float | bool:
    """Give a value that the contract allows in `column`."""
    if column.example is not None:
        return column.example
    if column.levels:
        return column.levels[0]
    low, high = column.minimum, column.maximum
    number = low if low is not None else min(1, high) if high is not None else 1
    return {
        "number": number,
        "integer": math.ceil(number),
        "boolean": True,
        "category": "text",
        "date": "2026-01-31",
        "timestamp": "2026-01-31T08:30:00",
    }[column.kind]
