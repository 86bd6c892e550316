"""What a request wants of its lists: items to leave out, items to choose among, seen ones or not.

In a graph these are inputs with a default, so that who asks for nothing sends nothing. One more of
them is filled here and never sent: what a user took before the items that the model sees.
"""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import dialect
from ..formats import percent
from . import coded
from .stored_graph import RAW, Stored

EXCLUDE, ONLY, SEEN = "exclude", "only", "show_seen"
TEXTS = {
    EXCLUDE: "Items that no list shows.",
    ONLY: "Items that lists are chosen from; without it, all.",
    SEEN: "Whether lists show what the user took already; without it, as the plan says.",
}
FIELDS = tuple(TEXTS)
EARLIER = "earlier"  # what was taken before the history that a model sees: seen ones too
MOST = 10_000  # items in one field
NAMED = 3  # items that a warning names
WORDS = 20  # of a name that is looked for in a cell with several
UNKNOWN_WARN, UNKNOWN_ACT = 0.1, 0.25  # share of what is taken that no list can hold
NOTHING = -1  # in place of an item, or of yes and no
BEYOND = coded.MOST + 1  # number of no item
DIGITS = 19  # of a number in a cell
ASKED_ROWS = 256  # of one call of the runtime: each has a number for every item
Wanted = dict[str, NDArray[Any]]
Known = NDArray[np.int64]


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


def items_of(graph: Stored) -> Known:
    """Return the sorted numbers of the items that a graph ranks."""
    node = graph.nodes["items"]
    while node.operator != "Concat":  # of what a model says, of which items are the first
        node = graph.nodes[node.inputs[0]]
    shown = graph.nodes[node.inputs[0]].inputs[0]
    found = np.frombuffer(graph.content(shown, RAW), np.float64).astype(np.int64)
    return found[found >= 0]


def unknown(known: Known, items: NDArray[np.float64]) -> dict[str, Any] | None:
    """Tell how many of the items that were taken, NaN where none was, the graph does not rank."""
    taken = items[~np.isnan(items)]
    if not len(taken):
        return None
    new = int((~np.isin(taken, known)).sum())
    share = new / len(taken)
    level = "act" if share > UNKNOWN_ACT else "warn" if share > UNKNOWN_WARN else "ok"
    said = f"{percent(share)} of the items that were taken are unknown to the model"
    return {"rows": len(taken), "unknown": new, "share": share, "level": level, "said": said}


def doubt(content: Mapping[str, Any], codes: Mapping[str, float], known: Known) -> str:
    """Return a warning that names items which `read` took and the model does not know, or ""."""
    said = []
    for name in (EXCLUDE, ONLY):
        items = content.get(name) or []
        told = items if codes else [min(item, BEYOND) for item in items]
        numbers = np.array([coded.number(item, codes) for item in told], np.int64)
        odd = [items[n] for n in np.flatnonzero(~np.isin(numbers, known))]
        if odd:
            named = ", ".join(_short(item) for item in odd[:NAMED])
            more = f" and {len(odd) - NAMED} more" if len(odd) > NAMED else ""
            said.append(f"{name}: the model does not know {named}{more}")
    return "; ".join(said)


def _short(item: Any) -> str:
    return repr(item[:50]) if isinstance(item, str) else f"{min(item, 10**DIGITS)}"


def predicted(one: Any, x: NDArray[np.float32], beyond: Any) -> NDArray[np.float64]:
    """Return what a fitted model predicts of rows; nothing is shown of what they had `beyond`."""
    if beyond is None:
        return np.asarray(one.predict(x))
    seen = x if one.sees is None else one.sees.matrix(x)
    return np.asarray(one.model.predict(seen, beyond))


def fed(name: str, values: NDArray[Any]) -> NDArray[np.int64]:
    """Return an input for some rows, shape (rows, any): what is earlier is an array for each."""
    if name != EARLIER:
        return np.ascontiguousarray(values)
    wide = max(1, *map(len, values))
    found = np.full((len(values), wide), NOTHING, dtype=np.int64)
    for row, items in zip(found, values, strict=True):
        row[: len(items)] = items
    return found


def of_texts(
    cells: Mapping[str, Sequence[Any]], codes: Mapping[str, float], known: Known
) -> tuple[Wanted, dict[int, str], dict[int, str]]:
    """Return the inputs for the rows of a file, which rows have a field that is wrong, and doubts.

    A cell holds one item, several with blanks between them, or a list of JSON as in the column
    `items`. Of texts with blanks a name of an item stays whole.
    """
    read_rows: list[Wanted] = []
    wrong: dict[int, str] = {}
    doubts: dict[int, str] = {}
    for place, values in enumerate(zip(*cells.values(), strict=True)):
        try:
            told = {n: _cell(n, value, codes) for n, value in zip(cells, values, strict=True)}
            read_rows.append(read(told, codes))
            if said := doubt(told, codes, known):
                doubts[place] = said
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
    return found, wrong, doubts


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
    return [text] if dialect.level(text) in codes else _named(text, codes)


def _named(text: str, codes: Mapping[str, float]) -> list[str]:
    """Return the names in a text: those of fewest unknown words, of these the fewest names.

    Unknown words that stand together are one name, but numbers are each one.
    """
    words = [(match.start(), match.end()) for match in re.finditer(r"\S+", text)]
    best = [(0, 0, -1)]  # up to each word: unknown ones, names, and where the last name begins
    for end in range(1, len(words) + 1):
        unknown, names, _ = best[end - 1]
        found = [(unknown + 1, names + 1, end - 1)]
        for start in range(max(0, end - WORDS), end):
            if dialect.level(text[words[start][0] : words[end - 1][1]]) in codes:
                unknown, names, _ = best[start]
                found.append((unknown, names + 1, start))
        best.append(min(found))
    spans, place = [], len(words)
    while place:
        spans.append((words[best[place][2]][0], words[place - 1][1]))
        place = best[place][2]
    parts: list[str] = []
    for strange, some in groupby(
        reversed(spans), lambda span: _is_strange(text[slice(*span)], codes)
    ):
        told = list(some)
        parts += [text[told[0][0] : told[-1][1]]] if strange else [text[a:b] for a, b in told]
    return parts


def _is_strange(part: str, codes: Mapping[str, float]) -> bool:
    return dialect.level(part) not in codes and not part.isdecimal()


def _listed(value: Any) -> Any:
    return list(value) if hasattr(value, "__iter__") else None if value is None else [value]
