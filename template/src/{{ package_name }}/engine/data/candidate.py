"""A column on its way into the contract."""

import re
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from . import personal
from .contract import Column, Kind, Role

MAX_LEVELS = 50  # more levels than this are not listed in the contract
VALUES = ("unreadable", "blanks", "spelling")  # notes that hold some
ID_NAME = re.compile(r"(^|_)(id|uuid|guid|key)$|(customer|client|user|account|order)id$")


@dataclass
class Candidate:
    """A column on its way into the contract; `values` are typed, null where missing."""

    name: str
    kind: Kind
    values: pl.Series
    formats: tuple[str, ...] = ()
    decimal_comma: bool = False
    thousands_comma: bool = False
    role: Role = "feature"
    personal: bool = False
    notes: list[tuple[str, str]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)  # customProperties of the target
    options: dict[str, Any] = field(default_factory=dict)  # logicalTypeOptions of the target
    definition: str | None = None
    several: bool = False  # a value names several levels

    def exclude(self, what: str, reason: str) -> None:
        """Note why no model should see it; an entity, a time or the target keeps its role."""
        self.notes.append((what, reason))
        self.role = "excluded" if self.role == "feature" else self.role

    def hide(self) -> None:
        """Call it personal, and forget the notes that hold values."""
        self.personal = True
        self.notes = [note for note in self.notes if note[0] not in VALUES]

    def keep(self, said: Column | None) -> None:
        """Keep what people said of it in the contract before."""
        if said is None:
            return
        if said.personal:
            self.hide()
        self.extra |= {"controlled": said.controlled, "purpose": said.purpose}
        self.extra |= {"legalBasis": said.legal_basis, "pseudonym": said.pseudonym}
        if said.pseudonym:
            self.kind, self.values = "category", self.values.cast(pl.String)
            self.exclude("pseudonym", "a keyed hash takes its place")

    @property
    def filled(self) -> pl.Series:
        """The values that are there and finite."""
        values = self.values.drop_nulls()
        return values.filter(values.is_finite()) if values.dtype.is_float() else values

    @property
    def different(self) -> int:
        """How many different values it has."""
        return self.filled.n_unique()

    @property
    def complete(self) -> bool:
        """Whether no value is missing."""
        return not self.values.null_count()

    @property
    def counts(self) -> bool:
        """Whether it is a feature of numbers that are never negative here."""
        numeric = self.role == "feature" and self.kind in ("number", "integer")
        return numeric and len(self.filled) > 0 and bool(self.filled.min() >= 0)  # type: ignore[operator]

    @property
    def listed(self) -> bool:
        """Whether the contract lists its values: few, and nobody's."""
        few = not self.several and 0 < self.different <= MAX_LEVELS
        return self.kind == "category" and not self.personal and few

    @property
    def names_things(self) -> bool:
        """Whether its name and type are those of an identifier."""
        named = ID_NAME.search(personal.snake(self.name)) is not None
        return named and self.kind in ("integer", "category")


def short(value: Any) -> Any:
    """Return a number with six significant digits, enough for a hint; anything else as it is."""
    if not isinstance(value, int | float):
        return value
    short = float(f"{value:.6g}")
    return int(short) if short.is_integer() else short
