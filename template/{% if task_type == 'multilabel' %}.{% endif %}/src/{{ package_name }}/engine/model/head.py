"""The last step from blended probabilities to the answers: calibration, and a threshold a label."""

from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from .builder import Graph, info
from .plain import sigmoid

CLIP = 1e-6  # of a probability before its log-odds: 0 and 1 must not rule a fit
FLOAT = TensorProto.FLOAT
Floats = NDArray[np.float64]


def log_odds(p: Floats) -> Floats:
    """Return the log-odds of probabilities, which are kept CLIP away from 0 and 1."""
    kept = np.clip(p, CLIP, 1 - CLIP)
    return np.asarray(np.log(kept) - np.log(1 - kept))


class Head(NamedTuple):
    """From probabilities (rows, labels) to calibrated ones, and to the labels that are set.

    Method "platt": sigmoid(log-odds * weight + bias) of each label (Platt 1999); its `weight` is a
    diagonal matrix. "joint": sigmoid(log-odds @ weight + bias), so that what is said of one label
    tells of the others (stacking, Godbole & Sarawagi 2004). "none": as it is. A label is set where
    its probability reaches its one of `thresholds`. Without `levels` there are only probabilities.
    """

    method: str = "none"
    weight: Floats = np.ones((1, 1))
    bias: Floats = np.zeros(1)
    levels: tuple[str, ...] = ()
    thresholds: Floats = np.empty(0)

    @property
    def decision(self) -> dict[str, float]:
        """Return the numbers that decisions follow from, for the manifest: one for each label."""
        found = zip(self.levels, self.thresholds.tolist(), strict=True) if self.levels else ()
        return {f"threshold_{place}": value for place, (_, value) in enumerate(found, 1)}

    def apply(self, p: Floats) -> Floats:
        """Calibrate probabilities of shape (rows, labels)."""
        return p if self.method == "none" else sigmoid(log_odds(p) @ self.weight + self.bias)

    def answers(self, p: Floats) -> dict[str, Floats]:
        """Return the outputs that the graph must repeat, of shape (rows, labels)."""
        return {"probabilities": self.apply(p)}

    def emit(self, graph: Graph, p: str) -> list[onnx.ValueInfoProto]:
        """Add the output `probabilities` float32 [rows, labels], and the labels that are set.

        That is `labels` string [rows, labels]: its name where a label is set, else "".
        """
        graph.node("Cast", [self._calibrated(graph, p)], "probabilities", to=FLOAT)
        outputs = [info("probabilities", FLOAT, len(self.levels) or None)]
        if not self.levels:
            return outputs
        limits = graph.constant(self.thresholds[None], np.float32)
        reached = graph.node("GreaterOrEqual", ["probabilities", limits])
        names = graph.constant(np.array([self.levels], object), object)
        nothing = graph.constant(np.array([[""]], object), object)
        graph.node("Where", [reached, names, nothing], "labels")
        return [*outputs, info("labels", TensorProto.STRING, len(self.levels))]

    def _calibrated(self, graph: Graph, p: str) -> str:
        if self.method == "none":
            return p
        kept = graph.node("Clip", [p, graph.constant(CLIP), graph.constant(1 - CLIP)])
        rest = graph.node("Sub", [graph.constant([[1.0]]), kept])
        logs = [graph.node("Log", [value]) for value in (kept, rest)]
        odds = graph.node("Sub", logs)
        if self.method == "platt":
            scaled = graph.node("Mul", [odds, graph.constant(np.diagonal(self.weight)[None])])
        else:
            scaled = graph.node("MatMul", [odds, graph.constant(self.weight)])
        total = graph.node("Add", [scaled, graph.constant(self.bias[None])])
        return graph.node("Sigmoid", [total])
