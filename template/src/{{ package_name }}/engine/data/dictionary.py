"""The data dictionary: what each column means, may hold and is for, and what it held at last.

The contract says the first, the profile the second. No value of a personal column is in it, not
even one that the contract's own words have.
"""

import re
from typing import Any, NamedTuple

from .. import privacy
from ..formats import number, percent
from ..report import value
from .contract import Column, Contract

SHOWN = 12  # allowed levels
FREQUENT = 3
ROLES = {
    "feature": "feature",
    "target": "target: what is predicted",
    "entity": "entity: whom or what a row is about",
    "time": "time: when a row was observed",
    "excluded": "excluded",
}
# What the draft of a contract writes of values, into a description and into a reason.
VALUES = re.compile(r" values from .+ to | such as ")


class Entry(NamedTuple):
    """A column in words."""

    name: str
    meaning: str
    kind: str
    allowed: str
    missing: str
    role: str
    source: str
    held: str


def entries(contract: Contract, profiled: dict[str, Any], manifest: dict[str, Any]) -> list[Entry]:
    """Return each column of the contract; `manifest` is that of the snapshot."""
    return [
        Entry(
            name=column.name,
            meaning=_spoken(column, column.description) or "–",
            kind=column.kind + (f", in {column.unit}" if column.unit else ""),
            allowed=_allowed(column),
            missing=_missing(column, profiled[column.name]["missing_share"]),
            role=_role(column, contract),
            source=_source(column, manifest),
            held=_held(profiled[column.name]),
        )
        for column in contract.columns
    ]


def _spoken(column: Column, words: str) -> str:
    """Return words of the contract, "" where they may have values that nobody may read."""
    return "" if privacy.hidden(column) and VALUES.search(words) else words


def _allowed(column: Column) -> str:
    if privacy.hidden(column):
        limited = column.levels or column.minimum is not None or column.maximum is not None
        return "limited, values not shown" if limited else "any"
    low, high = column.minimum, column.maximum
    if column.kind == "text":
        said = [] if high is None else [f"at most {number(high)} characters"]
    elif low is not None and high is not None:
        said = [f"{number(low)} to {number(high)}"]
    else:
        ends = (("at least", low), ("at most", high))
        said = [f"{word} {number(end)}" for word, end in ends if end is not None]
    if column.levels:
        more = len(column.levels) - SHOWN
        named = ", ".join(column.levels[:SHOWN]) + (f" and {number(more)} more" if more > 0 else "")
        said.append(named + "; another is a warning" * (column.levels_severity == "warning"))
    return "; ".join(said) or ("true, false" if column.kind == "boolean" else "any")


def _missing(column: Column, share: float) -> str:
    """Say whether a value may be missing; a row without its target waits, which is no error."""
    may = column.role == "target" or not column.required
    return f"{'yes' if may else 'no'}; {percent(share)}"


def _role(column: Column, contract: Contract) -> str:
    said = [ROLES[column.role]]
    if column.role == "excluded":
        reasons = "; ".join(filter(None, (_spoken(column, one) for one in column.reasons)))
        said = [f"excluded: {reasons or 'the contract does not say why'}"]
    if column.name in contract.primary_key:
        said.append("part of the key" if len(contract.primary_key) > 1 else "key")
    elif column.unique:
        said.append("unique")
    if column.personal:
        ground = (column.legal_basis or "").replace("_", " ")
        said.append(" ".join(filter(None, ("personal", ground and f"by {ground}"))))
        said += [f"for {column.purpose}"] * bool(column.purpose)
        said += ["a keyed hash in its place"] * column.pseudonym
    return "; ".join(said)


def _source(column: Column, manifest: dict[str, Any]) -> str:
    """Say where a column comes from: its definition, columns.py, a joined table or the source."""
    if column.definition:
        return f"computed: {column.definition}"
    if column.name in manifest.get("added", ()):
        return "columns.py"
    joined = (one["server"] for one in manifest.get("joined", ()) if column.name in one["columns"])
    return str(next(joined, manifest.get("source", "–")))


def _held(found: dict[str, Any]) -> str:
    """Say what the valid rows held, of columns whose profile has values."""
    different = f"{number(found['distinct'])} different"
    if "top" in found:
        rows = sum(n for _, n in found["top"]) + found["others"]
        top = (f"{value(level)} {percent(n / rows)}" for level, n in found["top"][:FREQUENT])
        return f"{different}: {', '.join(top)}"
    if "min" not in found:
        return different
    low, middle, high = (value(found[name]) for name in ("min", "median", "max"))
    unit = f" {found['unit']}" if "unit" in found else ""
    return f"{low} to {high}{unit}, median {middle}"
