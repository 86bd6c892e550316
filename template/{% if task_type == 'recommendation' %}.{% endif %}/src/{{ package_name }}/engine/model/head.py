"""The last step from a ranking to the answers: the items to show, and why each is shown."""

from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from .. import task
from .builder import Graph, info

Floats = NDArray[np.float64]


class Head(NamedTuple):
    """A list shows the first `shown` items of a ranking; without that there is the ranking only."""

    shown: int | None = None

    @property
    def method(self) -> str:
        """Return the name of the step, for the manifest."""
        return "none" if self.shown is None else "ranking"

    @property
    def decision(self) -> dict[str, float]:
        """Return the numbers that decisions follow from, for the manifest."""
        return {} if self.shown is None else {"shown": float(self.shown)}

    def apply(self, raw: Floats) -> Floats:
        """Return items and scores, shape (rows, 2 * LENGTH), of what a model says."""
        return raw[:, : 2 * task.LENGTH]

    def answers(self, raw: Floats) -> dict[str, Floats]:
        """Return the outputs that the graph must repeat, of shape (rows, numbers)."""
        found = {"ranking": self.apply(raw)}
        if self.shown is not None and self.shown > 1:
            found["because"] = raw[:, 2 * task.LENGTH :][:, : self.shown]
        return found

    def emit(self, graph: Graph, raw: str) -> list[onnx.ValueInfoProto]:
        """Add `ranking` float32 [rows, 2 * LENGTH] and, where a list is shown, what is told of it.

        `items` and `because` are int64 [rows, shown], `known` int64 [rows, 1].
        """
        length = task.LENGTH

        def columns(first: int, count: int) -> str:
            places = graph.constant(np.arange(first, first + count), np.int64)
            return graph.node("Gather", [raw, places], axis=1)

        graph.node("Cast", [columns(0, 2 * length)], "ranking", to=TensorProto.FLOAT)
        outputs = [info("ranking", TensorProto.FLOAT, 2 * length)]
        if self.shown is None:
            return outputs
        for name, first, count in (
            ("items", 0, self.shown),
            ("because", 2 * length, self.shown),
            ("known", 3 * length, 1),
        ):
            graph.node("Cast", [columns(first, count)], name, to=TensorProto.INT64)
            outputs.append(info(name, TensorProto.INT64, count))
        return outputs
