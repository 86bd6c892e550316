"""The one place that decides which values of columns may be written down.

Values of a personal column stand in data/, and, where the model knows its categories one by one,
in the files of the bundle that need them: `NEEDED`. Everything else that a project makes (reports,
pages, logs, answers, the OpenAPI document, golden rows, drift profiles, MLflow) asks here first.
"""

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:  # the scorer asks here, and needs no contract
    from .data.contract import Column, Contract
    from .model.scorer import ServedColumn

HIDDEN = "(personal)"
# The contract is the team's; the levels of a category are part of the model itself.
NEEDED = ("contract.odcs.yaml", "columns.json", "features.json", "model.onnx")


def hidden(column: "Column | ServedColumn") -> bool:
    """Whether no value of `column` may be written down."""
    return column.personal


def hidden_names(contract: "Contract") -> set[str]:
    """Return the names of the columns whose values may not be written down."""
    return {column.name for column in contract.columns if hidden(column)}


def public(column: "ServedColumn") -> "ServedColumn":
    """Return what callers may read of a column.

    That is of a personal one neither its description, which
    `ml contract infer` writes from its values, nor limits, levels and example.
    """
    if not hidden(column):
        return column
    return msgspec.structs.replace(
        column, description="", minimum=None, maximum=None, levels=(), example=None
    )
