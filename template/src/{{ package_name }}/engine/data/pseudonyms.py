"""Keys of people that become keyed hashes before rows reach data/: `pseudonym` of a column.

The secret is in the environment or in a file outside the project (`keys.py`), never in the project;
each hash says by a fingerprint which secret made it. What `validation.parse` reads of such a column
is a pseudonym in any table: keys of labels, joins and files meet those of data/.
"""

from typing import Any

import polars as pl

from .. import keys
from ..errors import ProjectError
from ..settings import Project
from . import forgotten, tables
from .contract import Column, Contract
from .sources import taken


def columns(agreed: Contract | None, frame: pl.DataFrame) -> list[Column]:
    """Return the columns of a table that hold pseudonyms, or shall."""
    found = agreed.columns if agreed else ()
    return [column for column in found if column.pseudonym and column.name in frame.columns]


def made(project: Project, agreed: Contract | None, frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows as data/ may hold them; what has its pseudonym already stays.

    Rows of who was forgotten are left out while their keys are there: who was forgotten before the
    contract wanted pseudonyms is known by the key alone.
    """
    if not (there := columns(agreed, frame)):
        return frame
    listed = forgotten.read(project)
    ours = {column.name for column in there}
    frame = forgotten.without_those(project, frame, {n: h for n, h in listed.items() if n in ours})
    return frame.with_columns(forgotten.typed(frame, c).alias(c.name) for c in there)


def noted(project: Project, agreed: Contract | None, frame: pl.DataFrame) -> dict[str, str]:
    """Return which secret made the pseudonyms of each column, by its fingerprint.

    ProjectError where another made those of the last load: rows of one person would not meet.
    """
    found = {c.name: made_by(frame[c.name]) or "" for c in columns(agreed, frame)}
    for name, before in taken(project).get("pseudonyms", {}).items():
        if (now := found.get(name, "")) and before not in ("", now):
            raise ProjectError(
                f"column {name!r} has keyed hashes of the secret {before} in data/, but "
                f"{keys.SECRET} is {now} (fingerprints): set the one that made them, or begin anew "
                f"by taking away data/raw, data/processed and models/ (not {forgotten.LIST})"
            )
    return found


def made_by(values: pl.Series) -> str | None:
    """Return the fingerprint of what made values, "" of keys; None where there is no value."""
    return next(map(keys.made_by, values.drop_nulls().head(1)), None)


def bare(project: Project, manifest: dict[str, Any]) -> list[str]:
    """Return older tables in data/ that still have keys where pseudonyms should be."""
    found = []
    for path in tables.paths(project) if manifest.get("pseudonyms") else ():
        try:
            first = tables.read(path, rows=1000)
        except ProjectError:  # which tells nothing of anybody
            continue
        there = (first[name] for name in manifest["pseudonyms"] if name in first.columns)
        if any(made_by(values.cast(pl.String)) == "" for values in there):
            found.append(path.relative_to(project.root).as_posix())
    return found
