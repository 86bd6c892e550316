"""The one place that decides which values of columns may be written down.

Values of a personal column stand in data/, and, where the model knows its categories one by one,
in the files of the bundle that need them: `NEEDED`. Everything else that a project makes (reports,
pages, logs, answers, the OpenAPI document, golden rows, drift profiles, MLflow) asks here first.
"""

from collections.abc import Iterable
from typing import Protocol

HIDDEN = "(personal)"
# The contract is the team's; the levels of a category are part of the model itself.
NEEDED = ("contract.odcs.yaml", "columns.json", "features.json", "model.onnx")


class Column(Protocol):
    """A column of the contract, or of a bundle."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def personal(self) -> bool:
        """Whether the contract classifies it as personal."""


def hidden(column: Column) -> bool:
    """Whether no value of `column` may be written down."""
    return column.personal


def hidden_names(columns: Iterable[Column]) -> set[str]:
    """Return the names of the columns whose values may not be written down."""
    return {column.name for column in columns if hidden(column)}
