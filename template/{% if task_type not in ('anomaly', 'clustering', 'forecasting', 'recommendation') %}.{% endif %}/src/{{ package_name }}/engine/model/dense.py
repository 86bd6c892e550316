"""Models that see a row as a dense vector: neural networks and nearest neighbours, as plain data.

All is calculated in double precision, here and in the graph.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from .builder import Graph
from .graph import linked
from .plain import IDENTITY, Link, Matrix
from .scorer import FeatureSpec

LEVELS = 50  # of a category that have a column of their own
FARTHEST = 10.0  # standard deviations: no value counts as farther from the mean
# The bandwidth ends a little behind neighbour k + 1, so that equal distances to all have weights.
BEYOND, NEAR = 1e-3, 1e-6
BLOCK_ROWS = 4096  # that are predicted at a time
Floats = NDArray[np.float64]
Activation = Literal["identity", "relu", "sine"]


class Dense(NamedTuple):
    """How rows become vectors: standardised numbers, which of them are missing, levels.

    First the numbers, where a missing one is at the mean; then, of each number in `gaps`, whether
    it is missing; then one column for each code below `sizes`, the last of which stands for all
    others. `center` and `spread` have shape (numbers,).
    """

    center: Floats
    spread: Floats
    gaps: tuple[int, ...]
    sizes: tuple[int, ...]

    def apply(self, x: Matrix) -> Floats:
        """Return the vectors of rows, shape (rows, columns)."""
        width = len(self.center)
        numbers = x[:, :width].astype(np.float64)
        missing = np.isnan(numbers)
        scaled = np.clip((numbers - self.center) / self.spread, -FARTHEST, FARTHEST)
        parts = [np.where(missing, 0.0, scaled), missing[:, list(self.gaps)].astype(np.float64)]
        for index, size in enumerate(self.sizes, width):
            code = np.minimum(x[:, index], size - 1)
            parts.append((code[:, None] == np.arange(size)).astype(np.float64))
        return np.concatenate(parts, axis=1)

    def emit(self, graph: Graph) -> str:
        """Repeat `apply`; return the name of the vectors."""
        width, parts = len(self.center), []
        if width:
            columns = graph.constant(np.arange(width), np.int64)
            single = graph.node("Gather", [graph.matrix, columns], axis=1)
            missing = graph.node("IsNaN", [single])
            numbers = graph.node("Cast", [single], to=TensorProto.DOUBLE)
            moved = graph.node("Sub", [numbers, graph.constant(self.center[None])])
            scaled = graph.node("Div", [moved, graph.constant(self.spread[None])])
            bounds = [graph.constant(-FARTHEST), graph.constant(FARTHEST)]
            held = graph.node("Clip", [scaled, *bounds])
            parts.append(graph.node("Where", [missing, graph.constant([[0.0]]), held]))
            if self.gaps:
                flags = graph.node("Cast", [missing], to=TensorProto.DOUBLE)
                gaps = graph.constant(list(self.gaps), np.int64)
                parts.append(graph.node("Gather", [flags, gaps], axis=1))
        for index, size in enumerate(self.sizes, width):
            column = graph.node("Gather", [graph.matrix, graph.constant([index], np.int64)], axis=1)
            capped = graph.node("Min", [column, graph.constant([[size - 1]], np.float32)])
            codes = graph.constant(np.arange(size)[None], np.float32)
            same = graph.node("Equal", [capped, codes])
            parts.append(graph.node("Cast", [same], to=TensorProto.DOUBLE))
        return graph.node("Concat", parts, axis=1)


class Layer(NamedTuple):
    """activation(inputs @ weight + bias), of shapes (inputs, outputs) and (outputs,)."""

    weight: Floats
    bias: Floats
    activation: Activation = "identity"


class Network(NamedTuple):
    """Layers one after another; the link makes a prediction of what the last one gives."""

    inputs: Dense
    layers: tuple[Layer, ...]
    link: Link = IDENTITY

    def predict(self, x: Matrix) -> Floats:
        """Predict rows; shape (rows,), or (rows, outputs) where the last layer has several."""
        return self.link.apply(_in_blocks(self._sums, x))

    def _sums(self, x: Matrix) -> Floats:
        values = self.inputs.apply(x)
        for layer in self.layers:
            values = values @ layer.weight + layer.bias
            if layer.activation == "relu":
                values = np.maximum(values, 0.0)
            elif layer.activation == "sine":
                values = np.sin(values)
        return values[:, 0] if values.shape[1] == 1 else values

    def emit(self, graph: Graph, width: int) -> str:
        """Add the nodes that predict; return the name of their output, [rows, outputs]."""
        values = self.inputs.emit(graph)
        for layer in self.layers:
            product = graph.node("MatMul", [values, graph.constant(layer.weight)])
            values = graph.node("Add", [product, graph.constant(layer.bias[None])])
            if layer.activation != "identity":
                values = graph.node("Relu" if layer.activation == "relu" else "Sin", [values])
        return linked(graph, self.link, values)


class Neighbours(NamedTuple):
    """The mean of what the nearest known rows had, a nearer one counting for more.

    The weight of a row at distance d is 1 - d^2 / D^2, where D is that of neighbour `k` + 1: the
    Epanechnikov kernel with a bandwidth by neighbours (Hastie, Tibshirani and Friedman 2009,
    6.1.1). It is 0 where a neighbour could as well be left out, so that ties change no prediction.
    `rows` have shape (known rows, columns), `values` (known rows, outputs).
    """

    inputs: Dense
    rows: Floats
    values: Floats
    k: int
    link: Link = IDENTITY

    def predict(self, x: Matrix) -> Floats:
        """Predict rows; shape (rows,), or (rows, outputs) where values have several."""
        return self.link.apply(_in_blocks(self._means, x))

    def _means(self, x: Matrix) -> Floats:
        found = kernel_means(
            squared_distances(self.inputs.apply(x), self.rows), self.values, self.k
        )
        return found[:, 0] if found.shape[1] == 1 else found

    def emit(self, graph: Graph, width: int) -> str:
        """Add the nodes that predict; return the name of their output, [rows, outputs]."""
        vectors = self.inputs.emit(graph)
        axis = graph.constant([1], np.int64)
        own = graph.node("ReduceSumSquare", [vectors, axis], keepdims=1)
        known = graph.constant(np.square(self.rows).sum(axis=1)[None])
        product = graph.node("MatMul", [vectors, graph.constant(-2 * self.rows.T)])
        raw = graph.node("Add", [graph.node("Add", [product, own]), known])
        zero, one = graph.constant(0.0), graph.constant(1.0)
        squares = graph.node("Max", [raw, zero])
        most = graph.constant([self.k + 1], np.int64)
        nearest, places = f"nearest_{len(graph.nodes)}", f"places_{len(graph.nodes)}"
        both = helper.make_node("TopK", [squares, most], [nearest, places], axis=1, largest=0)
        graph.nodes.append(both)
        edge = graph.node("Gather", [nearest, graph.constant([self.k], np.int64)], axis=1)
        wide = graph.node("Mul", [edge, graph.constant(1 + BEYOND)])
        wider = graph.node("Add", [wide, graph.constant(NEAR)])
        falling = graph.node("Sub", [one, graph.node("Div", [squares, wider])])
        weights = graph.node("Max", [falling, zero])
        total = graph.node("ReduceSum", [weights, axis], keepdims=1)
        summed = graph.node("MatMul", [weights, graph.constant(self.values)])
        return linked(graph, self.link, graph.node("Div", [summed, total]))


def squared_distances(vectors: Floats, rows: Floats) -> Floats:
    """Return the squared Euclidean distances, shape (vectors, rows)."""
    own = np.square(vectors).sum(axis=1, keepdims=True)
    known = np.square(rows).sum(axis=1)
    return np.asarray(np.maximum(vectors @ (-2 * rows.T) + own + known, 0.0))


def kernel_means(squares: Floats, values: Floats, k: int) -> Floats:
    """Return the means of Neighbours by squared distances, shape (vectors, outputs)."""
    edge = np.partition(squares, k, axis=1)[:, k : k + 1]
    weights = np.maximum(1.0 - squares / (edge * (1 + BEYOND) + NEAR), 0.0)
    return np.asarray(weights @ values / weights.sum(axis=1, keepdims=True))


def learn(x: Matrix, spec: FeatureSpec) -> Dense:
    """Learn from training rows how rows become vectors."""
    numbers = x[:, : len(spec.numeric)].astype(np.float64)
    known = ~np.isnan(numbers)
    count = np.maximum(known.sum(axis=0), 1)
    center = np.where(known, numbers, 0.0).sum(axis=0) / count
    square = np.square(np.where(known, numbers - center, 0.0)).sum(axis=0) / count
    spread = np.where(square > 0, np.sqrt(square), 1.0)
    gaps = tuple(np.flatnonzero(~known.all(axis=0)).tolist())
    sizes = tuple(min(len(feature.levels), LEVELS) + 1 for feature in spec.categorical)
    return Dense(center, spread, gaps, sizes)


def _in_blocks(predict: Callable[[Matrix], Floats], x: Matrix) -> Floats:
    """Predict some rows at a time: memory stays flat."""
    blocks = [x[start : start + BLOCK_ROWS] for start in range(0, len(x), BLOCK_ROWS)] or [x]
    return np.concatenate([predict(block) for block in blocks])
