"""The last step from a position among the clusters to the answers: cluster, name, distance."""

from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from .builder import Graph, info

FLOAT = TensorProto.FLOAT
Floats = NDArray[np.float64]


class Head(NamedTuple):
    """Rows whose distance, in radii, is beyond `cut` are outside.

    Without a cut there is only the position.
    """

    cut: float | None = None

    @property
    def method(self) -> str:
        """Return the name of the step, for the manifest."""
        return "none" if self.cut is None else "position"

    @property
    def decision(self) -> dict[str, float]:
        """Return the numbers that decisions follow from, for the manifest."""
        return {} if self.cut is None else {"cut": self.cut}

    def apply(self, raw: Floats) -> Floats:
        """Return the position of each row, shape (rows, 4)."""
        return raw

    def answers(self, raw: Floats) -> dict[str, Floats]:
        """Return the outputs that the graph must repeat, of shape (rows, 4)."""
        return {"position": raw}

    def emit(self, graph: Graph, raw: str) -> list[onnx.ValueInfoProto]:
        """Add `position` float32 [rows, 4], and with a cut what is told of it, each [rows, 1].

        `cluster` and `outside` are int64, `distance` float32 and `name` a string; a model leaves
        the constant `names` (clusters,) for that.
        """
        graph.node("Cast", [raw], "position", to=FLOAT)
        outputs = [info("position", FLOAT, 4)]
        if self.cut is None:
            return outputs
        first, last = (graph.constant([place], np.int64) for place in (0, 3))
        code = graph.node("Gather", ["position", first], axis=1)
        graph.node("Cast", [code], "cluster", to=TensorProto.INT64)
        graph.node("Gather", ["names", "cluster"], "name")
        graph.node("Gather", ["position", last], "distance", axis=1)
        beyond = graph.node("Greater", ["distance", graph.constant([[self.cut]], np.float32)])
        graph.node("Cast", [beyond], "outside", to=TensorProto.INT64)
        return [
            *outputs,
            info("cluster", TensorProto.INT64, 1),
            info("name", TensorProto.STRING, 1),
            info("distance", FLOAT, 1),
            info("outside", TensorProto.INT64, 1),
        ]
