"""Items that have texts for names: each has a number that stays, which models and states see.

The numbers are the places in a list beside the contract, to which `ml validate` adds what is new. A
bundle has its own copy, so that what comes later is unknown to it and no number means another item.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import dialect, privacy, storage
from ..errors import ProjectError

if TYPE_CHECKING:
    import polars as pl

FILE = "items.json"
MOST = 2**24 - 1  # numbers that float32 holds one by one
Names = tuple[str, ...]


def read(folder: Path) -> Names:
    """Return the names of all items in the order of their numbers; () where none has a text."""
    path = folder / FILE
    return storage.read_json(path, Names) if path.is_file() else ()


def known(folder: Path, columns: Sequence[Any]) -> tuple[Any, ...]:
    """Return the columns of a contract in this folder, the target with the names of its items."""
    return tuple(
        msgspec.structs.replace(column, codes=read(folder))
        if column.role == "target" and column.kind == "category"
        else column
        for column in columns
    )


def add(folder: Path, target: Any, values: "pl.Series") -> None:
    """Give items of the valid rows that have none yet the next numbers, in the order of names.

    ProjectError for personal ones: the list stands beside the contract, in git.
    """
    if target.kind != "category":
        return
    if privacy.hidden(target):
        raise ProjectError(
            f"contracts/{FILE} would hold the values of {target.name}, which is personal: name "
            f"items by whole numbers up to {MOST}"
        )
    names = read(folder)
    there = set(names)
    new = sorted({dialect.level(text) for text in values.drop_nulls().unique()} - there)
    if len(names) + len(new) > MOST:
        raise ProjectError(f"{FILE}: there are more than {MOST} items: remove it, and train again")
    if new:
        storage.write_json(folder / FILE, (*names, *new))


def content(target: Any) -> dict[str, bytes]:
    """Return the file that a bundle has of it."""
    return {FILE: storage.json_bytes(target.codes)} if target.codes else {}


def numbers(values: "pl.Series", names: Names) -> "pl.Series":
    """Return the number of each text, null if missing; of one that has none, a number beyond."""
    import polars as pl

    places = codes(names)
    different = values.drop_nulls().unique()
    each = {text: places.get(dialect.level(text), float(len(names))) for text in different}
    return values.replace_strict(each, default=None, return_dtype=pl.Float64)


def codes(names: Names) -> dict[str, float]:
    """Return the number of each name."""
    return {name: float(place) for place, name in enumerate(names)}


def number(value: Any, places: Mapping[str, float]) -> float:
    """Return the number that a history means; of an item without a number, one beyond."""
    if value is None:
        return float("nan")
    return places.get(dialect.level(value), float(len(places))) if places else float(value)


def texts(values: NDArray[Any], names: Names) -> NDArray[Any]:
    """Return the names of numbers of any shape, "" for none."""
    every = np.array((*names, ""), dtype=object)
    return np.asarray(every[np.where(values < 0, len(names), values)])
