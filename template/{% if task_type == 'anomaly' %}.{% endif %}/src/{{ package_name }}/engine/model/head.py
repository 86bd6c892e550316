"""The last step from how unusual a row is to the answers: share below, alert, top features."""

from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from .builder import Graph, info

FLOAT = TensorProto.FLOAT
TOP = 3
UNUSUAL = 2.0  # deviations from which on a feature is named
Floats = NDArray[np.float64]


class Head(NamedTuple):
    """Shares of training rows below each of `knots`, both of shape (knots,), linear in between.

    Rows whose score reaches `cut` are alerts. Without knots there is only what the model says.
    """

    knots: Floats = np.empty(0)
    shares: Floats = np.empty(0)
    cut: float = 1.0

    @property
    def method(self) -> str:
        """Return the name of the step, for the manifest."""
        return "share_below" if len(self.knots) else "none"

    @property
    def decision(self) -> dict[str, float]:
        """Return the numbers that decisions follow from, for the manifest."""
        return {"cut": self.cut}

    def apply(self, raw: Floats) -> Floats:
        """Return the score of each row, shape (rows,)."""
        return np.interp(raw, self.knots, self.shares) if len(self.knots) else raw

    def answers(self, raw: Floats) -> dict[str, Floats]:
        """Return the outputs that the graph must repeat, each of shape (rows,)."""
        return {"score": self.apply(raw)}

    def emit(self, graph: Graph, raw: str) -> list[onnx.ValueInfoProto]:
        """Add `score` float32 [rows, 1], and with knots `alert` int64 [rows, 1] and the features.

        `top_features` [rows, TOP] names those of the largest deviations, the largest first, ""
        where one is not unusual; a detector leaves `surprise` and `columns` for that.
        """
        share = graph.interpolated(raw, self.knots, self.shares) if len(self.knots) else raw
        graph.node("Cast", [share], "score", to=FLOAT)
        if not len(self.knots):
            return [info("score", FLOAT, 1)]
        cut = graph.constant([[self.cut]], np.float32)
        reached = graph.node("GreaterOrEqual", ["score", cut])
        graph.node("Cast", [reached], "alert", to=TensorProto.INT64)
        # Zeros beside the features, so that there are always as many as are named.
        zeros = graph.node("Mul", ["score", graph.constant(np.zeros((1, TOP)), np.float32)])
        sizes = graph.node("Concat", ["surprise", zeros], axis=1)
        nobody = graph.node("Constant", [], "nobody", value_strings=[""] * TOP)
        names = graph.node("Concat", ["columns", nobody], axis=0)
        values, places = f"top_{len(graph.nodes)}", f"place_{len(graph.nodes)}"
        top = onnx.helper.make_node(
            "TopK", [sizes, graph.constant([TOP], np.int64)], [values, places]
        )
        graph.nodes.append(top)
        found = graph.node("Gather", [names, places])
        unusual = graph.node("GreaterOrEqual", [values, graph.constant(UNUSUAL, np.float32)])
        empty = graph.node("Constant", [], "nothing", value_strings=[""])
        graph.node("Where", [unusual, found, empty], "top_features")
        named = info("top_features", TensorProto.STRING, TOP)
        return [info("score", FLOAT, 1), info("alert", TensorProto.INT64, 1), named]
