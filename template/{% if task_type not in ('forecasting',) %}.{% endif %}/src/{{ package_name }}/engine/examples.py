"""What is learnt from a table: each row is one example."""

import polars as pl

from .data.contract import Contract
from .model.seasons import Lookback
from .settings import Project

ROW = "row"  # what messages call an example
GAP_MEND = (  # what to do where the gap before the test leaves too few of them
    "(`label_delay_days` of the plan), so where labels are known sooner change it by `ml update`, "
    "or bring more data"
)


def lookbacks(project: Project, contract: Contract) -> tuple[Lookback, ...]:
    """Return the features that look back which the task itself needs: none."""
    return ()


def made(project: Project, contract: Contract, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the examples of valid rows: the rows themselves."""
    return frame
