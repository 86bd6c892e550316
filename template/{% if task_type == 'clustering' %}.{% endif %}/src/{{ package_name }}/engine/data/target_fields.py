"""What a contract says of today's segments, from which nothing is learnt: nothing more."""

from collections.abc import Iterator
from typing import Any

import msgspec

# Of `ml contract infer`: the option for what data do not tell, and its texts.
OPTION, HELP = "--rule", "How today's segments come about, in words; the contract tells it."
DEFINITION = "How to compute today's segment, such as \"CASE WHEN spent > 900 THEN 'big' END\"."
LEAKS = False  # columns of its definition may be features
MOST_SEGMENTS = 100


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a column that only a target has: none."""

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
    """Yield what is wrong with the type and the levels of today's segments."""
    if kind not in ("category", "integer", "boolean"):
        yield f"a segment of today is string, integer or boolean, not {kind}"
    if len(levels) > MOST_SEGMENTS:
        yield f"{len(levels)} validValues: more than {MOST_SEGMENTS} segments are none"
