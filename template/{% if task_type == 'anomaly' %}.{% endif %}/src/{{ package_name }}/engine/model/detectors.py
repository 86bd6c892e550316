"""Detectors as plain data. Each sees how far a row is from what is normal, column by column.

Sums of trees and steps are exact: their weights are multiples of a power of two that leaves room
for the sum in single precision, so that every runtime gives the same bits.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from .builder import Graph
from .plain import Matrix

FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE
FAR = np.float32(1e30)  # no deviation is infinite, which no tree of scikit-learn takes
CAP = 20.0  # deviations beyond which a value is not more unusual
NORMAL = 1.349  # interquartile range of a standard normal
Floats = NDArray[np.float64]


class Normal(NamedTuple):
    """What is normal of each column: numbers come first, then codes of categories.

    `center` and `spread` have shape (numbers,); `gaps` (numbers, 2) says how unusual it is that a
    number is there or missing, and a table how unusual each code is. Both are told as deviations:
    where a value is the share r as frequent as the most frequent one, sqrt(-2 ln r), at which a
    normal density has fallen to r.
    """

    names: tuple[str, ...]
    center: NDArray[np.float32]
    spread: NDArray[np.float32]
    gaps: NDArray[np.float32]
    tables: tuple[NDArray[np.float32], ...]

    def away(self, x: Matrix) -> Matrix:
        """Return deviations of a matrix (rows, features): of numbers, of their gaps, of codes.

        A missing number is at its center, and unusual by its gap.
        """
        width = len(self.center)
        numbers = x[:, :width]
        missing = np.isnan(numbers)
        with np.errstate(over="ignore"):
            moved = np.clip((numbers - self.center) / self.spread, -FAR, FAR)
        gaps = np.where(missing, self.gaps[:, 1], self.gaps[:, 0])
        codes = [
            table[np.minimum(x[:, width + place], len(table) - 1).astype(np.intp)]
            for place, table in enumerate(self.tables)
        ]
        parts = [np.where(missing, np.float32(0), moved), gaps, *(c[:, None] for c in codes)]
        return np.concatenate(parts, axis=1)

    def emit(self, graph: Graph) -> str:
        """Add the nodes of `away`; leave `columns` and `surprise` [rows, features] for the head.

        The surprise of a feature is the size of its deviation.
        """
        width, floats = len(self.center), np.float32
        parts, sizes = [], []
        if width:
            numbers = graph.node(
                "Gather", ["x", graph.constant(np.arange(width), np.int64)], axis=1
            )
            missing = graph.node("IsNaN", [numbers])
            moved = graph.node("Sub", [numbers, graph.constant(self.center[None], floats)])
            moved = graph.node("Div", [moved, graph.constant(self.spread[None], floats)])
            bounds = [graph.constant(-FAR, floats), graph.constant(FAR, floats)]
            moved = graph.node("Clip", [moved, *bounds])
            moved = graph.node("Where", [missing, graph.constant([[0.0]], floats), moved])
            both = [graph.constant(self.gaps[None, :, place], floats) for place in (1, 0)]
            gaps = graph.node("Where", [missing, *both])
            parts += [moved, gaps]
            sizes.append(graph.node("Max", [graph.node("Abs", [moved]), gaps]))
        for place, table in enumerate(self.tables):
            code = graph.node("Gather", ["x", graph.constant([width + place], np.int64)], axis=1)
            last = graph.constant([[len(table) - 1]], floats)
            code = graph.node("Cast", [graph.node("Min", [code, last])], to=TensorProto.INT64)
            parts.append(graph.node("Gather", [graph.constant(table, floats), code]))
            sizes.append(parts[-1])
        graph.node("Concat", sizes, "surprise", axis=1)
        graph.node("Constant", [], "columns", value_strings=list(self.names))
        return graph.node("Concat", parts, axis=1)


def normal(x: Matrix, names: Sequence[str], numbers: int, sizes: Sequence[int]) -> Normal:
    """Learn what is normal from training rows (rows, features); `sizes` are those of categories.

    Center is the median, spread the interquartile range as that of a normal; where half of the
    values are one, the mean distance from it.
    """
    center, spread = np.zeros(numbers, np.float32), np.ones(numbers, np.float32)
    gaps = np.zeros((numbers, 2), np.float32)
    for place in range(numbers):
        known = x[:, place][~np.isnan(x[:, place])].astype(np.float64)
        gaps[place] = rarity(np.array([len(known), len(x) - len(known)]))
        if not len(known):
            continue
        low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
        wide = (high - low) / NORMAL or np.abs(known - middle).mean() or 1.0
        center[place], spread[place] = middle, max(wide, float(np.finfo(np.float32).tiny))
    tables = []
    for place, size in enumerate(sizes, numbers):
        codes = np.minimum(x[:, place], size).astype(np.intp)
        tables.append(rarity(np.bincount(codes, minlength=size + 1)))
    return Normal(tuple(names), center, spread, gaps, tuple(tables))


def rarity(counts: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """Return how unusual each of several values is, as a deviation; never seen counts as half."""
    shares = np.maximum(counts, 0.5)
    return np.minimum(np.sqrt(-2 * np.log(shares / shares.max())), CAP).astype(np.float32)


class Deviations(NamedTuple):
    """The largest deviation of a row, or the sum of their squares."""

    normal: Normal
    largest: bool

    def predict(self, x: Matrix) -> Floats:
        """Return how unusual rows are, shape (rows,)."""
        sizes = np.minimum(np.abs(self.normal.away(x)), np.float32(CAP)).astype(np.float64)
        return np.asarray(sizes.max(axis=1) if self.largest else (sizes**2).sum(axis=1))

    def emit(self, graph: Graph, width: int) -> str:
        """Add the nodes of `predict`."""
        sizes = graph.node("Abs", [self.normal.emit(graph)])
        sizes = graph.node("Min", [sizes, graph.constant([[CAP]], np.float32)])
        sizes = graph.node("Cast", [sizes], to=DOUBLE)
        if self.largest:
            return graph.node("ReduceMax", [sizes, graph.constant([1], np.int64)], keepdims=1)
        squares = graph.node("Mul", [sizes, sizes])
        return graph.node("ReduceSum", [squares, graph.constant([1], np.int64)], keepdims=1)


class Trees(NamedTuple):
    """Trees over the deviations of a row as parallel arrays in the layout of ONNX.

    `weight` is what a leaf adds to the sum, NaN where a node is none.
    """

    tree: NDArray[np.int64]
    node: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float32]
    true: NDArray[np.int64]
    false: NDArray[np.int64]
    weight: NDArray[np.float32]

    def emit(self, graph: Graph, source: str) -> str:
        """Add the nodes of the sum, double [rows, 1]."""
        leaf = ~np.isnan(self.weight)
        total = graph.node(
            "TreeEnsembleRegressor",
            [source],
            domain="ai.onnx.ml",
            nodes_treeids=self.tree.tolist(),
            nodes_nodeids=self.node.tolist(),
            nodes_featureids=self.feature.tolist(),
            nodes_modes=np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
            nodes_values=self.threshold.tolist(),
            nodes_truenodeids=self.true.tolist(),
            nodes_falsenodeids=self.false.tolist(),
            target_treeids=self.tree[leaf].tolist(),
            target_nodeids=self.node[leaf].tolist(),
            target_ids=[0] * int(leaf.sum()),
            target_weights=self.weight[leaf].tolist(),
            n_targets=1,
            aggregate_function="SUM",
        )
        return graph.node("Cast", [total], to=DOUBLE)


class Isolation(NamedTuple):
    """An isolation forest: 2 ** (-sum of path lengths / scale), near 1 for what is cut off early.

    Liu, Ting & Zhou 2008, Isolation forest, equation 2.
    """

    normal: Normal
    trees: Trees
    scale: float

    def score(self, paths: Floats) -> Floats:
        """Return how unusual rows are from the sums of their path lengths, shape (rows,)."""
        return np.asarray(np.exp(paths * (-np.log(2) / self.scale)))

    def emit(self, graph: Graph, width: int) -> str:
        """Add the nodes of `score`."""
        paths = self.trees.emit(graph, self.normal.emit(graph))
        factor = graph.constant([[-np.log(2) / self.scale]])
        return graph.node("Exp", [graph.node("Mul", [paths, factor])])


class Tails(NamedTuple):
    """How far out in its column each deviation lies: the sum of -ln of the smaller tail.

    Li et al. 2022, ECOD, as pyod sums it. `edges` are the steps of each column, and `weights` hold
    one more: what a value adds that is at most as large as the edge of the same place.
    """

    normal: Normal
    edges: tuple[NDArray[np.float32], ...]
    weights: tuple[NDArray[np.float32], ...]

    def predict(self, x: Matrix) -> Floats:
        """Return how unusual rows are, shape (rows,)."""
        away, total = self.normal.away(x), np.zeros(len(x))
        for place, (edges, weights) in enumerate(zip(self.edges, self.weights, strict=True)):
            total += weights[np.searchsorted(edges, away[:, place], side="left")]
        return total

    def emit(self, graph: Graph, width: int) -> str:
        """Add the nodes of `predict`: a balanced tree for each column."""
        rows: list[tuple[int, int, int, float, int, int, float]] = []
        for place, (edges, weights) in enumerate(zip(self.edges, self.weights, strict=True)):
            _balanced(rows, place, edges, weights)
        arrays = [np.array(column) for column in zip(*rows, strict=True)]
        tree, node, feature, threshold, true, false, weight = arrays
        narrow = threshold.astype(np.float32), true, false, weight.astype(np.float32)
        return Trees(tree, node, feature, *narrow).emit(graph, self.normal.emit(graph))


def _balanced(
    rows: list[tuple[int, int, int, float, int, int, float]],
    column: int,
    edges: NDArray[np.float32],
    weights: NDArray[np.float32],
) -> None:
    """Add a tree that finds the step of a value by halving."""
    waiting, count = [(0, 0, len(edges))], 1
    while waiting:
        node, first, last = waiting.pop()
        if first == last:
            rows.append((column, node, 0, 0.0, 0, 0, float(weights[first])))
            continue
        middle = (first + last) // 2
        rows.append((column, node, column, float(edges[middle]), count, count + 1, np.nan))
        waiting += [(count, first, middle), (count + 1, middle + 1, last)]
        count += 2


def on_grid(weights: Floats, most: float) -> NDArray[np.float32]:
    """Round weights so that any sum of them up to `most` is exact in single precision."""
    step = 2.0 ** (int(np.ceil(np.log2(max(most, 1.0)))) - 23)
    return (np.round(weights / step) * step).astype(np.float32)
