"""A model in multiples of the level of each series: small and large ones teach each other."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from . import graph as graphs
from .fitting import Data, Fitted
from .plain import Linear, Matrix, Model

if TYPE_CHECKING:
    from .builder import Graph

SHARE = 0.1  # of the mean level, added to each: a series that sells nothing has a scale too


class Scaled(NamedTuple):
    """What `inner` predicts of columns that were divided by a scale, times that scale.

    The scale is the column `level`, never below 0, plus `least`; where it is missing it is `fill`
    plus `least`. `divided` tells for each column of the matrix whether it is divided.
    """

    inner: Model
    level: int
    divided: tuple[bool, ...]
    fill: np.float32
    least: np.float32

    def scale(self, x: Matrix) -> NDArray[np.float32]:
        """Return the scale of each row, shape (rows,)."""
        level = x[:, self.level]
        known = np.where(np.isnan(level), self.fill, level)
        return np.asarray(np.maximum(known, np.float32(0)) + self.least, dtype=np.float32)

    def shrunk(self, x: Matrix) -> Matrix:
        """Return the matrix that `inner` sees."""
        divisors = np.where(np.array(self.divided), self.scale(x)[:, None], np.float32(1))
        return np.asarray(x / divisors, dtype=np.float32)

    def around(self, fitted: Fitted) -> Fitted:
        """Return the whole model for one that was fitted to divided columns."""
        whole = self._replace(inner=fitted.model)
        return Fitted(whole, lambda x: fitted.predict(self.shrunk(x)) * self.scale(x))

    def emit(self, graph: "Graph", width: int) -> str:
        """Add the nodes, as `plain.Own` asks."""
        matrix = graph.matrix
        place = graph.constant([self.level], np.int64)
        level = graph.node("Gather", [matrix, place], axis=1)
        fill = graph.constant([[self.fill]], np.float32)
        known = graph.node("Where", [graph.node("IsNaN", [level]), fill, level])
        above = graph.node("Max", [known, graph.constant([[0]], np.float32)])
        scale = graph.node("Add", [above, graph.constant([[self.least]], np.float32)])
        divided = graph.constant([self.divided], np.bool_)
        one = graph.constant([[1]], np.float32)
        graph.matrix = graph.node("Div", [matrix, graph.node("Where", [divided, scale, one])])
        inner = graphs.predicted(graph, self.inner, width)
        graph.matrix = matrix
        double = graph.node("Cast", [scale], to=TensorProto.DOUBLE)
        return graph.node("Mul", [inner, double])


def of(data: Data, level: int, divided: list[int]) -> Scaled:
    """Return the scale that training rows give, around no model yet."""
    known = data.x[:, level][~np.isnan(data.x[:, level])]
    mean = max(float(known.mean(dtype=np.float64)) if len(known) else 0.0, 1e-6)
    places = tuple(place in divided for place in range(data.x.shape[1]))
    none = np.empty(0, np.float32)
    nothing = Linear(0.0, none, none, none, ())
    return Scaled(nothing, level, places, np.float32(mean), np.float32(SHARE * mean))
