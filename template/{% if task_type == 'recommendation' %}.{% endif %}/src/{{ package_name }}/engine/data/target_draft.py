"""What a draft takes for the item of an interaction: a column of whole numbers or of texts."""

from collections.abc import Collection
from typing import Any

import polars as pl

from .. import task
from ..errors import ProjectError
from ..formats import count, number
from ..model import coded
from .candidate import Candidate
from .contract import Kind

DEFINED = "number of the item of each interaction"
FEW_ITEMS = 20


def kind(dtype: pl.DataType) -> Kind | None:
    """Return the kind of an item whose definition gives this type, None when it makes none."""
    return "integer" if dtype.is_integer() else "category" if dtype == pl.String else None


def answered(target: str, answers: dict[str, Any], columns: Collection[str]) -> str | None:
    """Return None: no answer of the plan says what an item is."""
    return None


def defined(told: str | None, columns: Collection[str]) -> str | None:
    """Return the definition of a target that `told` names the columns of: None."""
    return None


def propose(target: Candidate, written: pl.Series, told: str | None) -> tuple[pl.Series, str]:
    """Take the column for the items; `written` is the column as the file has it.

    Return the number of each, null where a row has none, and what was decided.
    """
    if told:
        target.notes.append(("target", told.strip()))
    if target.kind not in ("integer", "category") or not target.different:
        raise ProjectError(
            f"target {target.name!r} is no item, but {target.kind}: items have whole numbers or "
            "texts for names, which stay as new items come"
        )
    low, high = target.filled.min(), target.filled.max()
    if target.kind == "integer" and (low < 0 or high > task.LARGEST):  # type: ignore[operator]
        target.kind, target.values = "category", target.values.cast(pl.String)
        why = f"numbers from {number(low)} to {number(high)} are taken as texts"  # type: ignore[arg-type]
        target.notes.append(("target", why))
    if target.kind == "category":
        target.several = True  # its values are not listed: new items come
        y = target.values.rank("dense").cast(pl.Float64) - 1
        target.notes.append(("target", f"contracts/{coded.FILE} will number the items"))
    else:
        y = target.values.cast(pl.Float64)
        target.options["minimum"] = 0
        target.options["maximum"] = task.LARGEST
    if target.different < FEW_ITEMS:
        target.notes.append(("target", f"only {target.different} items: a list of all may do"))
    if missing := y.null_count():
        target.notes.append(("target", f"no item in {count(missing, 'row')}"))
    return y, f"{number(target.different)} items"
