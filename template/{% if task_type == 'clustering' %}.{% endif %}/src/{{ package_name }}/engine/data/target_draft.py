"""What a draft takes for today's segments: any column of few values, or none yet."""

from collections.abc import Collection
from typing import Any

import polars as pl

from ..errors import ProjectError
from ..formats import count, number
from .candidate import Candidate
from .contract import Kind
from .target_fields import MOST_SEGMENTS

DEFINED = "name of a segment for each row"


def kind(dtype: pl.DataType) -> Kind | None:
    """Return the kind of a segment whose definition gives this type, None when it makes none."""
    if dtype == pl.Boolean:
        return "boolean"
    if dtype.is_integer():
        return "integer"
    return "category" if dtype == pl.String else None


def answered(target: str, answers: dict[str, Any], columns: Collection[str]) -> str | None:
    """Return None: no answer of the plan says how today's segments come about."""
    return None


def defined(told: str | None, columns: Collection[str]) -> str | None:
    """Return the definition of a target that `told` names the columns of: None."""
    return None


def propose(target: Candidate, written: pl.Series, told: str | None) -> tuple[pl.Series, str]:
    """Take the column for today's segments; `written` is the column as the file has it.

    Return a code for each segment, null where a row has none, and what was decided.
    """
    codes = target.values.cast(pl.String).rank("dense").cast(pl.Int64) - 1
    if told:
        target.notes.append(("target", told.strip()))
    if not target.different:
        target.kind, target.values = "category", target.values.cast(pl.String)
        return codes, "no row has a segment today: there is nothing to compare with"
    if target.kind not in ("category", "integer", "boolean"):
        raise ProjectError(
            f"target {target.name!r} is no segment of today, but {target.kind}: choose a column of "
            "names, or one that is not there"
        )
    if target.different > MOST_SEGMENTS:
        raise ProjectError(
            f"target {target.name!r} has {number(target.different)} different values, which are no "
            f"segments of today: choose a column of at most {MOST_SEGMENTS}, or one that is not "
            "there"
        )
    if missing := target.values.null_count():
        target.notes.append(("target", f"no segment of today in {count(missing, 'row')}"))
    return codes, f"{number(target.different)} segments of today, to compare with"
