"""The last step from a predicted value to the answers: an interval, and a value to plan with."""

from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from .builder import Graph, info

FLOAT = TensorProto.FLOAT
Floats = NDArray[np.float64]


class Head(NamedTuple):
    """What is added to a predicted value, by its size: shape (knots,) each, linear in between.

    `low` and `high` lead to the ends of the interval that holds the share `coverage` of the actual
    values, `plan` to their `quantile`. No answer is below `floor`. Without knots there is only the
    value.
    """

    knots: Floats = np.empty(0)
    low: Floats = np.empty(0)
    high: Floats = np.empty(0)
    plan: Floats = np.empty(0)
    coverage: float = 0.9
    quantile: float = 0.5
    floor: float = -np.inf

    @property
    def method(self) -> str:
        """Return the name of the step, for the manifest."""
        return "residuals" if len(self.knots) else "none"

    @property
    def decision(self) -> dict[str, float]:
        """Return the numbers that decisions follow from, for the manifest."""
        return {"quantile": self.quantile, "coverage": self.coverage}

    def apply(self, value: Floats) -> Floats:
        """Return the value of each row, shape (rows,)."""
        return np.maximum(value, self.floor)

    def answers(self, value: Floats) -> dict[str, Floats]:
        """Return the outputs that the graph must repeat, each of shape (rows,)."""
        found = {"value": self.apply(value)}
        for name, offset in self._offsets().items():
            found[name] = np.maximum(value + np.interp(value, self.knots, offset), self.floor)
        return found

    def emit(self, graph: Graph, value: str) -> list[onnx.ValueInfoProto]:
        """Add the outputs `value`, and where there are knots `low`, `high` and `decision`.

        All are float32 [rows, 1].
        """
        found = {"value": value}
        for name, offset in self._offsets().items():
            moved = graph.interpolated(value, self.knots, offset)
            found[name] = graph.node("Add", [value, moved])
        if np.isfinite(self.floor):
            floor = graph.constant([[self.floor]])
            found = {name: graph.node("Max", [each, floor]) for name, each in found.items()}
        for name, column in found.items():
            graph.node("Cast", [column], name, to=FLOAT)
        return [info(name, FLOAT, 1) for name in found]

    def _offsets(self) -> dict[str, Floats]:
        if not len(self.knots):
            return {}
        return {"low": self.low, "high": self.high, "decision": self.plan}
