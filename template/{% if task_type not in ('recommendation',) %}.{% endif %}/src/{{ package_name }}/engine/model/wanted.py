"""What a request may want beside the answers to its rows: nothing here."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import coded

TEXTS: dict[str, str] = {}
FIELDS: tuple[str, ...] = ()
ASKED_ROWS = 8192  # of one call of the runtime: more takes memory and no less time
Wanted = dict[str, NDArray[np.int64]]


class Odd(ValueError):
    """A field that cannot be read; its texts are the rule, the place and a hint."""

    rule, place, hint = "", "", ""


def types(names: coded.Names) -> dict[str, Any]:
    """Return the type of each field in Python."""
    return {}


def read(content: Mapping[str, Any], codes: Mapping[str, float]) -> Wanted:
    """Return the inputs of a graph: none."""
    return {}


def of_texts(
    cells: Mapping[str, Sequence[Any]], codes: Mapping[str, float]
) -> tuple[Wanted, dict[int, str]]:
    """Return the inputs for the rows of a file, and which of these are wrong: none."""
    return {}, {}
