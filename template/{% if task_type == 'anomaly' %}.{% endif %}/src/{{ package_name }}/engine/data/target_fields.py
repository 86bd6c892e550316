"""What a contract says of the label of anomalies: which of its two values is the anomaly."""

from collections.abc import Iterator
from typing import Any

import msgspec

from ..dialect import level

# Of `ml contract infer`: the option for what data do not tell, and its texts.
OPTION, HELP = "--positive", "The label's value for an anomaly."
DEFINITION = 'How to compute the label, such as "returned AND cost > 500".'
LEAKS = True  # columns of its definition are no features


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a column that only a label has."""

    positive: str | None = None

    def learnt(self) -> list[Any]:
        """Return the fields that a model depends on."""
        return [self.positive]

    def contradiction(self, answers: dict[str, Any]) -> str:
        """Say which fact of the label is another one in the plan's answers: none is in both."""
        return ""


class Custom(msgspec.Struct, kw_only=True, rename="camel"):
    """The `customProperties` with these fields, as the contract's file writes them."""

    positive_value: str | bool | int | None = None

    def fields(self) -> dict[str, Any]:
        """Return them as the arguments of `Fields`."""
        positive = self.positive_value
        if isinstance(positive, bool | int):
            positive = str(positive).lower()
        return {"positive": None if positive is None else level(positive)}


def joined(columns: list[Any]) -> list[Any]:
    """Return the contract's columns with one target: as they are."""
    return columns


def problems(target: Fields, kind: str, levels: tuple[str, ...]) -> Iterator[str]:
    """Yield what is wrong with the type, the levels and the fields of a label."""
    values = {"boolean": ("true", "false"), "integer": ("0", "1")}.get(kind, levels)
    if len(values) != 2:
        yield "a label is boolean, integer (0 and 1) or string with two validValues"
    elif target.positive not in values:
        yield f"positiveValue is {target.positive or 'missing'}: expected {' or '.join(values)}"
