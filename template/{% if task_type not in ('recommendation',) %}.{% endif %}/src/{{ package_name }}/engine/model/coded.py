"""Numbers of what has a text for a name: here no target of earlier rows has one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

Names = tuple[str, ...]


def read(folder: Path) -> Names:
    """Return the names in the order of their numbers: there are none."""
    return ()


def known(folder: Path, columns: Sequence[Any]) -> tuple[Any, ...]:
    """Return the columns of a contract in this folder, as they are."""
    return tuple(columns)


def add(folder: Path, target: Any, values: "pl.Series") -> None:
    """Give new names numbers: there are none."""


def content(target: Any) -> dict[str, bytes]:
    """Return the file that a bundle has of it: none."""
    return {}


def codes(names: Names) -> dict[str, float]:
    """Return the number of each name: there are none."""
    return {}


def number(value: Any, places: Mapping[str, float]) -> float:
    """Return the number that a history means."""
    return float("nan") if value is None else float(value)


def texts(values: NDArray[Any], names: Names) -> NDArray[Any]:
    """Return the names of numbers: they are their own."""
    return values
