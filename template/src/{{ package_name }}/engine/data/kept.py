"""What training keeps of a table: a large one must not stay in memory beside models."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .. import beside, history, task
from ..model import wanted
from ..model.beyond import Beyond
from ..model.fitting import Data
from ..model.history import State
from ..settings import Project
from . import target as targets
from . import validation
from .contract import WITHHELD, Contract

PARITY_ROWS = 2000
OUT_OF_FOLD = "data/processed/out_of_fold.parquet"
WIDEST = 200  # numbers of one row


class Kept(NamedTuple):
    """What training needs at its end.

    Both parts as Parquet, what the report tells of the test and of the last row to learn from, rows
    that prove the graph, and the features of the rows that a fold tests.
    """

    development: bytes
    test: bytes
    told: dict[str, Any]
    parity: pl.DataFrame
    served: pl.DataFrame


def taken(frame: pl.DataFrame, rows: NDArray[np.intp]) -> pl.DataFrame:
    """Return rows of a table, which is emptied meanwhile: two large ones take too much memory."""
    return pl.DataFrame([frame.drop_in_place(name)[rows] for name in frame.columns])


def remembered(project: Project, oof: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep what models said of development rows that they had not seen, as given, and return it.

    Lines are those of development.parquet; a row that no fold tests has NaN.
    """
    columns = np.atleast_2d(oof.T)
    if task.LABELS_NEEDED and len(columns) <= WIDEST:
        said = pl.DataFrame({f"p{place}": column for place, column in enumerate(columns)})
        validation.store(project, OUT_OF_FOLD, said)
    return oof


def asking(data: Data, state: State | None, agreed: Contract, frame: pl.DataFrame) -> Data:
    """Return the rows of a table as ones that look back beyond their features, as in use.

    They are as they were where no model asks for it.
    """
    if state is None or not wanted.EARLIER:
        return data
    moments = history.times(frame[state.features[0].on])
    asked = {by: history.keys(frame[by]) for by in state.events}
    return data._replace(beyond=Beyond(state, agreed.target.name, asked, moments))


def besides(project: Project, head: Any) -> dict[str, Any]:
    """Return what a bundle knows beside answers to rows, as files by their names."""
    return beside.learnt(project, head, OUT_OF_FOLD)


def told(part: str, y: NDArray[Any]) -> dict[str, Any]:
    """Return what the report says of the target in a part of the rows."""
    return {f"{part}_{name}": value for name, value in task.summary(y).items()}


def last_time(rows: pl.DataFrame, agreed: Contract) -> str | None:
    """Return the last time of rows in ISO 8601; None where the contract has no such column."""
    if agreed.time is None:
        return None
    found = rows.select(pl.col(agreed.time.name).cast(pl.Datetime("us")).max()).item()
    return None if found is None else str(found.isoformat())


def keep(
    development: pl.DataFrame,
    test: pl.DataFrame,
    tested: NDArray[np.intp],
    agreed: Contract,
    seed: int,
) -> Kept:
    """Return what is needed later of both parts; `tested` are the places that a fold tests."""
    columns = [column.name for column in agreed.columns]
    columns += [name for name in development.columns if name == WITHHELD]
    return Kept(
        development=validation.parquet(development.select(columns)),
        test=validation.parquet(test.select(columns)),
        told={
            **told("test", targets.values(test, agreed.target)),
            "learnt_until": last_time(development, agreed),
        },
        parity=development.sample(min(PARITY_ROWS, len(development)), seed=seed, shuffle=True),
        served=development[tested].select(column.name for column in agreed.features),
    )
