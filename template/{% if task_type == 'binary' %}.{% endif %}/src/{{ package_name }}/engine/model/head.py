"""The last step from a model's probability to its answers: calibration and threshold."""

from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from .builder import Graph, info
from .plain import sigmoid

CLIP = 1e-6
FLOAT = TensorProto.FLOAT


class Head(NamedTuple):
    """From a model's probability to an honest one, and to a decision at `threshold`.

    Method "sigmoid": sigmoid(slope * logit(p) + intercept) (Platt 1999). "isotonic": linear
    interpolation between knots (centred isotonic regression, Oron and Flournoy 2017). "none": as
    it is.
    """

    method: str = "none"
    slope: float = 1.0
    intercept: float = 0.0
    knots_x: NDArray[np.float32] = np.empty(0, dtype=np.float32)
    knots_y: NDArray[np.float32] = np.empty(0, dtype=np.float32)
    threshold: float = 0.5

    @property
    def decision(self) -> dict[str, float]:
        """Return the numbers that decisions follow from, for the manifest."""
        return {"threshold": self.threshold}

    def apply(self, probability: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrate probabilities of shape (rows,)."""
        if self.method == "sigmoid":
            clipped = np.clip(probability, CLIP, 1 - CLIP)
            return sigmoid(self.slope * np.log(clipped / (1 - clipped)) + self.intercept)
        if self.method == "isotonic":
            return np.interp(probability, self.knots_x, self.knots_y)
        return probability

    def answers(self, probability: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Return the outputs that the graph must repeat, each of shape (rows,)."""
        return {"probability": self.apply(probability)}

    def emit(self, graph: Graph, probability: str) -> list[onnx.ValueInfoProto]:
        """Add the outputs `probability` float32 [rows, 1] and `decision` int64 [rows, 1].

        The decision is 1 where the probability reaches the threshold.
        """
        graph.node("Cast", [self._calibrated(graph, probability)], "probability", to=FLOAT)
        limit = graph.constant([[self.threshold]], np.float32)
        reached = graph.node("GreaterOrEqual", ["probability", limit])
        graph.node("Cast", [reached], "decision", to=TensorProto.INT64)
        return [info("probability", FLOAT, 1), info("decision", TensorProto.INT64, 1)]

    def _calibrated(self, graph: Graph, probability: str) -> str:
        if self.method == "sigmoid":
            low, high = graph.constant(CLIP), graph.constant(1 - CLIP)
            clipped = graph.node("Clip", [probability, low, high])
            rest = graph.node("Sub", [graph.constant([[1.0]]), clipped])
            log_odds = graph.node("Log", [graph.node("Div", [clipped, rest])])
            scaled = graph.node("Mul", [log_odds, graph.constant([[self.slope]])])
            moved = graph.node("Add", [scaled, graph.constant([[self.intercept]])])
            return graph.node("Sigmoid", [moved])
        if self.method == "isotonic":
            return graph.interpolated(probability, self.knots_x, self.knots_y)
        return probability
