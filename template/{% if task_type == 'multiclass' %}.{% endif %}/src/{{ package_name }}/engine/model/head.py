"""The last step from blended probabilities to the answers: calibration, costs, acceptance."""

from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from .builder import Graph, info
from .plain import softmax

CLIP = 1e-6  # of a probability before its logarithm: 0 must not rule a fit
FLOAT = TensorProto.FLOAT
Floats = NDArray[np.float64]


class Head(NamedTuple):
    """From probabilities (rows, classes) to calibrated ones, a class, and whether it is accepted.

    Method "temperature": softmax(weight * log p) (Guo et al. 2017). "matrix": softmax(log p @
    weight + bias), which is Dirichlet calibration (Kull et al. 2019). "none": as it is. `costs`,
    (classes, classes), is what the decision for a column costs where the row is true; the class of
    the least expected cost is decided, and accepted where that is at most `review_level`. Without
    `levels` there are only the probabilities.
    """

    method: str = "none"
    weight: Floats = np.ones((1, 1))
    bias: Floats = np.zeros(1)
    levels: tuple[str, ...] = ()
    costs: Floats = np.empty((0, 0))
    review_level: float = 0.0

    @property
    def decision(self) -> dict[str, float]:
        """Return the numbers that decisions follow from, for the manifest."""
        return {"review_level": self.review_level} if self.levels else {}

    def apply(self, p: Floats) -> Floats:
        """Calibrate probabilities of shape (rows, classes)."""
        if self.method == "none":
            return p
        logs = np.log(np.clip(p, CLIP, 1.0))
        if self.method == "temperature":
            return softmax(logs * self.weight)
        return softmax(logs @ self.weight + self.bias)

    def answers(self, p: Floats) -> dict[str, Floats]:
        """Return the outputs that the graph must repeat, of shape (rows, classes)."""
        return {"probabilities": self.apply(p)}

    def emit(self, graph: Graph, p: str) -> list[onnx.ValueInfoProto]:
        """Add the output `probabilities` float32 [rows, classes], and what is decided by levels.

        That is `decision` string and `accepted` int64, both [rows, 1].
        """
        graph.node("Cast", [self._calibrated(graph, p)], "probabilities", to=FLOAT)
        outputs = [info("probabilities", FLOAT, len(self.levels) or None)]
        if not self.levels:
            return outputs
        cost = graph.node("MatMul", ["probabilities", graph.constant(self.costs, np.float32)])
        least = graph.node("ArgMin", [cost], axis=1, keepdims=1)
        names = graph.constant(np.array(self.levels, object), object)
        graph.node("Gather", [names, least], "decision")
        lowest = graph.node("ReduceMin", [cost, graph.constant([1], np.int64)], keepdims=1)
        limit = graph.constant([[self.review_level]], np.float32)
        reached = graph.node("LessOrEqual", [lowest, limit])
        graph.node("Cast", [reached], "accepted", to=TensorProto.INT64)
        return [
            *outputs,
            info("decision", TensorProto.STRING, 1),
            info("accepted", TensorProto.INT64, 1),
        ]

    def _calibrated(self, graph: Graph, p: str) -> str:
        if self.method == "none":
            return p
        bounds = [graph.constant(CLIP), graph.constant(1.0)]
        logs = graph.node("Log", [graph.node("Clip", [p, *bounds])])
        if self.method == "temperature":
            total = graph.node("Mul", [logs, graph.constant(self.weight)])
        else:
            scaled = graph.node("MatMul", [logs, graph.constant(self.weight)])
            total = graph.node("Add", [scaled, graph.constant(self.bias[None])])
        return graph.node("Softmax", [total], axis=1)
