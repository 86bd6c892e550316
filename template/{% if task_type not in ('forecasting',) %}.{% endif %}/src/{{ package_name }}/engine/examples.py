"""What is learnt from a table: each row is one example."""

import polars as pl

from .data.contract import Contract
from .model.seasons import Lookback
from .settings import Project


def lookbacks(project: Project, contract: Contract) -> tuple[Lookback, ...]:
    """Return the features that look back which the task itself needs: none."""
    return ()


def made(project: Project, contract: Contract, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the examples of valid rows: the rows themselves."""
    return frame
