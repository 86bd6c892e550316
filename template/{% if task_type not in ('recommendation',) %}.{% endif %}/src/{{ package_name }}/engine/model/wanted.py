"""What a request may want beside the answers to its rows: nothing here."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import coded
from .stored_graph import Stored

TEXTS: dict[str, str] = {}
FIELDS: tuple[str, ...] = ()
ASKED_ROWS = 8192  # of one call of the runtime: more takes memory and no less time
EARLIER = ""  # the input for what a row looks back to beyond its features: none
Wanted = dict[str, NDArray[Any]]
Known = NDArray[np.int64]


class Odd(ValueError):
    """A field that cannot be read; its texts are the rule, the place and a hint."""

    rule, place, hint = "", "", ""


def types(names: coded.Names) -> dict[str, Any]:
    """Return the type of each field in Python."""
    return {}


def read(content: Mapping[str, Any], codes: Mapping[str, float]) -> Wanted:
    """Return the inputs of a graph: none."""
    return {}


def items_of(graph: Stored) -> Known:
    """Return what a request may name: nothing."""
    return np.empty(0, np.int64)


def unknown(known: Known, items: NDArray[np.float64]) -> dict[str, Any] | None:
    """Tell how many of the items that were taken are unknown: there are no items."""
    return None


def doubt(content: Mapping[str, Any], codes: Mapping[str, float], known: Known) -> str:
    """Return a warning about what a request wants: none."""
    return ""


def predicted(one: Any, x: NDArray[np.float32], beyond: Any) -> NDArray[np.float64]:
    """Return what a fitted model predicts of rows."""
    return np.asarray(one.predict(x))


def fed(name: str, values: NDArray[Any]) -> NDArray[np.int64]:
    """Return an input for some rows as it is."""
    return values


def of_texts(
    cells: Mapping[str, Sequence[Any]], codes: Mapping[str, float], known: Known
) -> tuple[Wanted, dict[int, str], dict[int, str]]:
    """Return the inputs for the rows of a file, which are wrong and which doubtful: none."""
    return {}, {}, {}
