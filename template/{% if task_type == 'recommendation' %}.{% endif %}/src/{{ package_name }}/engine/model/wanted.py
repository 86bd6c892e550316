"""What a request wants of its lists: items to leave out, items to choose among, seen ones or not.

In a graph these are inputs with a default, so that who asks for nothing sends nothing.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import dialect
from . import coded

EXCLUDE, ONLY, SEEN = "exclude", "only", "show_seen"
TEXTS = {
    EXCLUDE: "Items that no list shows.",
    ONLY: "Items that lists are chosen from; without it, all.",
    SEEN: "Whether lists show what the user took already; without it, as the plan says.",
}
FIELDS = tuple(TEXTS)
MOST = 10_000  # items in one field
NOTHING = -1  # in place of an item, or of yes and no
BEYOND = coded.MOST + 1  # number of no item
DIGITS = 19  # of a number in a cell
ASKED_ROWS = 256  # of one call of the runtime: each has a number for every item
Wanted = dict[str, NDArray[np.int64]]


class Odd(ValueError):
    """A field that cannot be read; its texts are the rule, the place and a hint."""

    def __init__(self, rule: str, place: str, hint: str) -> None:
        super().__init__(rule, place, hint)
        self.rule, self.place, self.hint = rule, place, hint


def types(names: coded.Names) -> dict[str, Any]:
    """Return the type of each field in Python."""
    item = str if names else int
    return {EXCLUDE: list[item], ONLY: list[item], SEEN: bool}  # type: ignore[valid-type]


def read(content: Mapping[str, Any], codes: Mapping[str, float]) -> Wanted:
    """Return the inputs of a graph, shape (1, values) each; Odd for a field that is wrong."""
    found = {}
    for name in FIELDS:
        value = content.get(name)
        if value is None:
            continue
        if name == SEEN:
            if not isinstance(value, bool):
                raise Odd("type", name, "send true or false")
            found[name] = np.array([[int(value)]])
            continue
        what = "names" if codes else "numbers"
        if not isinstance(value, list):
            raise Odd("type", name, f"send a list of {what} of items")
        if len(value) > MOST:
            raise Odd("length", name, f"send at most {MOST} items")
        kind = str if codes else int
        for place, item in enumerate(value):
            if type(item) is not kind:
                raise Odd("type", f"{name}[{place}]", f"send {what} of items")
            if not codes and int(item) < 0:  # no item to the graph, and `only` of none shows all
                raise Odd("range", f"{name}[{place}]", "send numbers of items, 0 or more")
        # Of an item that is not known no list holds anything: a number beyond, which is none's.
        # It is bounded first: an integer of JSON may be more than a float holds.
        known = value if codes else [min(item, BEYOND) for item in value]
        items = [coded.number(item, codes) for item in known]
        if items or name == ONLY:
            found[name] = np.array([items or [BEYOND]], dtype=np.int64)
    return found


def of_texts(
    cells: Mapping[str, Sequence[Any]], codes: Mapping[str, float]
) -> tuple[Wanted, dict[int, str]]:
    """Return the inputs for the rows of a file, and which of these have a field that is wrong.

    A cell holds one item, several with blanks between them, or a list of JSON as in the column
    `items`. Of texts with blanks a name of an item stays whole, and what is no list of names, too.
    """
    read_rows: list[Wanted] = []
    wrong: dict[int, str] = {}
    for place, values in enumerate(zip(*cells.values(), strict=True)):
        try:
            told = {n: _cell(n, value, codes) for n, value in zip(cells, values, strict=True)}
            read_rows.append(read(told, codes))
        except Odd as odd:
            wrong[place] = f"{odd.place}: {odd.rule}"
            read_rows.append({})
    found = {}
    for name in cells:
        wide = max((row[name].shape[1] for row in read_rows if name in row), default=0)
        if wide:
            found[name] = np.full((len(read_rows), wide), NOTHING, dtype=np.int64)
            for place, row in enumerate(read_rows):
                if name in row:
                    found[name][place, : row[name].shape[1]] = row[name][0]
    return found, wrong


def _cell(name: str, value: Any, codes: Mapping[str, float]) -> Any:
    """Return what a cell of a file says, None where it is empty."""
    if name == SEEN:
        return dialect.plain(value, "boolean")
    items = _items(name, value.strip(), codes) if isinstance(value, str) else _listed(value)
    if not codes or not isinstance(items, list):
        return items
    return [dialect.text(item) if type(item) in (int, float) else item for item in items]


def _items(name: str, text: str, codes: Mapping[str, float]) -> Any:
    if not text:
        return None
    if text.startswith("[") and dialect.level(text) not in codes:
        try:
            return json.loads(text)
        except ValueError:
            raise Odd("type", name, "send a list") from None
    parts = text.split()
    if not codes:
        whole = all(part.isdecimal() and len(part) <= DIGITS for part in parts)
        return [int(part) for part in parts] if whole else [text]
    several = dialect.level(text) not in codes and all(
        part.isdecimal() or dialect.level(part) in codes for part in parts
    )
    return parts if several else [text]


def _listed(value: Any) -> Any:
    return list(value) if hasattr(value, "__iter__") else None if value is None else [value]
