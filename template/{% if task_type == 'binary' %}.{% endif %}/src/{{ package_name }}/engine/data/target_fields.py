"""What a contract says of a binary target: which of its two values is the event, and its share."""

from collections.abc import Iterator
from typing import Any

import msgspec

from ..dialect import level
from ..formats import number

# Of `ml contract infer`: the option for what data do not tell, and its texts.
OPTION, HELP = "--positive", "The target's value for the event."
DEFINITION = 'How to compute the target, such as "arr_delay > 15".'
LEAKS = True  # columns of its definition are no features


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a column that only a target has."""

    positive: str | None = None
    positive_share: float | None = None

    def learnt(self) -> list[Any]:
        """Return the fields that a model depends on."""
        return [self.positive]

    def contradiction(self, answers: dict[str, Any]) -> str:
        """Say which number of the target is another one in the plan's answers, or ""."""
        planned, found = answers["pos_rate"], self.positive_share
        if not found or 2 / 3 < found / planned < 1.5:
            return ""
        return (
            f"pos_rate is {number(planned)}, but positiveShare of the contract is {number(found)}: "
            "correct the one that is wrong, the plan by `ml update --data "
            f"pos_rate={found:.4g}`"
        )


class Custom(msgspec.Struct, kw_only=True, rename="camel"):
    """The `customProperties` with these fields, as the contract's file writes them."""

    positive_value: str | bool | int | None = None
    positive_share: float | None = None

    def fields(self) -> dict[str, Any]:
        """Return them as the arguments of `Fields`."""
        positive = self.positive_value
        if isinstance(positive, bool | int):
            positive = str(positive).lower()
        return {
            "positive": None if positive is None else level(positive),
            "positive_share": self.positive_share,
        }


def joined(columns: list[Any]) -> list[Any]:
    """Return the contract's columns with one target: as they are."""
    return columns


def problems(target: Fields, kind: str, levels: tuple[str, ...]) -> Iterator[str]:
    """Yield what is wrong with the type, the levels and the fields of a target."""
    values = {"boolean": ("true", "false"), "integer": ("0", "1")}.get(kind, levels)
    if len(values) != 2:
        yield (
            "a binary target is boolean, integer (0 and 1) or string with two validValues; of "
            "other columns make one: `ml contract infer FILE --target NAME --definition SQL`"
        )
    elif target.positive not in values:
        yield f"positiveValue is {target.positive or 'missing'}: expected {' or '.join(values)}"
    if target.positive_share is not None and not 0 < target.positive_share < 1:
        yield "positiveShare is not between 0 and 1"
