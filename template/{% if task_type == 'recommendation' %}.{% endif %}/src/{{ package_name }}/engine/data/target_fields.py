"""What a contract says of the item of an interaction: a whole number or a text, nothing more."""

from collections.abc import Iterator
from typing import Any

import msgspec

# Of `ml contract infer`: the option for what data do not tell, and its texts.
OPTION, HELP = "--item", "What an item is, in words; the contract tells it."
DEFINITION = "How to compute the number of the item of an interaction."
LEAKS = True  # columns of its definition are no features


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a column that only a target has.

    `codes` are the names of items that are texts, in the order of their numbers (`coded.py`).
    """

    codes: tuple[str, ...] = ()

    def learnt(self) -> list[Any]:
        """Return the fields that a model depends on."""
        return []

    def contradiction(self, answers: dict[str, Any]) -> str:
        """Say which fact of the target is another one in the plan's answers: none is in both."""
        return ""


class Custom(msgspec.Struct, kw_only=True):
    """The `customProperties` with these fields, as the contract's file writes them."""

    def fields(self) -> dict[str, Any]:
        """Return them as the arguments of `Fields`."""
        return {}


def joined(columns: list[Any]) -> list[Any]:
    """Return the contract's columns with one target: as they are."""
    return columns


def problems(target: Fields, kind: str, levels: tuple[str, ...]) -> Iterator[str]:
    """Yield what is wrong with the type of the item."""
    if kind not in ("integer", "category"):
        yield f"the item of an interaction is its number or its name, integer or string, not {kind}"
    elif levels:
        yield "the item of an interaction has no validValues: new items come"
