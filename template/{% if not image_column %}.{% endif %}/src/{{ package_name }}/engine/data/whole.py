"""Tables with columns that are read whole: their values, what is watched, and which are alike."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .. import privacy, storage
from ..errors import ProjectError
from ..model.texts import Words
from ..settings import Project
from . import texts, wording
from .candidate import Candidate
from .contract import Column, Contract

if TYPE_CHECKING:  # it comes with the runtime of the model
    from ..model.scorer import Scorer


def stamp(path: Path) -> str | None:
    """Return what a table of a step depends on: its SHA-256, None without a file."""
    return storage.sha256(path) if path.is_file() else None


def listed(path: Path) -> pl.DataFrame:
    """Return the table that a folder is."""
    raise ProjectError(f"{path} is a folder: name a file")


def rows_of(path: Path, columns: Sequence[Any]) -> pl.DataFrame:
    """Return the rows to score that a folder is: here it is none."""
    return listed(path)


def folder(source: Path) -> Path:
    """Return the folder that names in a table are relative to."""
    return source.parent


def asked(path: Path) -> Sequence[Any]:
    """Return the columns of a contract that name something to be read: here none does."""
    return ()


def side(project: Project) -> int:
    """Return the size that what is read is brought to, 0 for none."""
    return 0


def side_of(scorer: "Scorer") -> int:
    """Return the size that a bundle was trained with, 0 for none."""
    return 0


def filled(frame: pl.DataFrame, columns: Sequence[Any], folder: Path, side: int) -> pl.DataFrame:
    """Return rows with what their columns name instead of the names: here they name nothing."""
    return frame


def broken(values: pl.Series, kind: str) -> dict[str, pl.Series]:
    """Return the rows that break a rule of a kind, by rule."""
    return {}


def judged(column: Candidate) -> bool:
    """Whether the values of a column name something to be read: a draft then says so."""
    return False


def counted(values: pl.Series, kind: str) -> pl.Series:
    """Return the number of each value that a profile shows, see `kinds.UNITS`."""
    return values.str.len_chars().cast(pl.Int64)


def leading(values: pl.Series, kind: str) -> dict[str, int]:
    """Return the group of each value that may have copies, of kinds other than text."""
    return {}


def names(column: str, kind: str) -> tuple[str, ...]:
    """Return the names of what is watched of a column."""
    return texts.names(column)


def watched(
    frame: pl.DataFrame, contract: Contract, scorer: "Scorer | None" = None
) -> pl.DataFrame:
    """Return rows with what is watched of columns that are read whole."""
    pairs = zip(scorer.spec.words, scorer.words, strict=True) if scorer else ()
    known = {feature.column: model for feature, model in pairs if isinstance(model, Words)}
    return texts.watched(frame, contract, known)


def handed(values: pl.Series, kind: str, names: pl.Series, folder: Path) -> pl.Series:
    """Return values for people outside: texts masked."""
    return pl.Series(values.name, map(privacy.shown, values.to_list()), dtype=pl.String)


def sheet(contract: Contract, frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return what a profile shows of some rows: nothing."""
    return []


def shown(scorer: "Scorer", frame: pl.DataFrame, row: int, personal: set[str]) -> dict[str, Any]:
    """Return what a report adds of a row beside its texts: nothing."""
    return {}


def weighed(
    contract: Contract, score: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return what drives the target of a sample (rows,): what its columns say."""
    return score


def written(column: Column, outcome: pl.Series, rng: np.random.Generator) -> pl.Series:
    """Return a value of the sample for each value of the target."""
    return wording.written(column.name, outcome, column.maximum, rng)


def stored(frame: pl.DataFrame, contract: Contract, folder: Path) -> pl.DataFrame:
    """Return a sample as its file has it."""
    return frame
