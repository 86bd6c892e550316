"""Detectors as plain data. Each sees how far a row is from what is normal, column by column.

Sums of trees and steps are exact: their weights are multiples of a power of two that leaves room
for the sum in single precision, so that every runtime gives the same bits.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from .builder import Graph
from .plain import Matrix
from .scorer import FeatureSpec

FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE
FAR = np.float32(1e30)  # no deviation is infinite, which no tree of scikit-learn takes
CAP = 20.0  # deviations beyond which a value is not more unusual
NORMAL = 1.349  # interquartile range of a standard normal
FEWEST = 30  # rows of an entity or of a part of the time that tell what is normal for it
Floats = NDArray[np.float64]


class Normal(NamedTuple):
    """What is normal of each feature, for whom and when.

    `names` are of the features that are judged: `numbers` says in which columns of the matrix
    numbers stand, `codes` those of categories. `center` and `spread` have a row for each code of
    the column `entity`, or one for all, and `season` one for each value of the column `part`, which
    is added to the center; shape (rows, numbers). `gaps` (numbers, 2) says how unusual it is that
    a number is there or missing, and a table how unusual each code is. Both are told as
    deviations: where a value is the share r as frequent as the most frequent one, sqrt(-2 ln r), at
    which a normal density has fallen to r.
    """

    names: tuple[str, ...]
    numbers: tuple[int, ...]
    codes: tuple[int, ...]
    center: NDArray[np.float32]
    spread: NDArray[np.float32]
    gaps: NDArray[np.float32]
    tables: tuple[NDArray[np.float32], ...]
    entity: int | None = None
    part: int | None = None
    season: NDArray[np.float32] = np.zeros((0, 0), np.float32)

    def away(self, x: Matrix) -> Matrix:
        """Return deviations of a matrix (rows, features): of numbers, of their gaps, of codes.

        A missing number is at its center, and unusual by its gap.
        """
        numbers = x[:, list(self.numbers)]
        missing = np.isnan(numbers)
        who = _codes(x, self.entity, len(self.center))
        with np.errstate(over="ignore"):
            moved = numbers - self.center[who]
            if self.part is not None:
                moved = moved - self.season[_codes(x, self.part, len(self.season))]
            moved = np.clip(moved / self.spread[who], -FAR, FAR)
        gaps = np.where(missing, self.gaps[:, 1], self.gaps[:, 0])
        codes = [
            table[_codes(x, place, len(table))][:, None]
            for place, table in zip(self.codes, self.tables, strict=True)
        ]
        return np.concatenate([np.where(missing, np.float32(0), moved), gaps, *codes], axis=1)

    def emit(self, graph: Graph) -> str:
        """Add the nodes of `away`; leave `columns` and `surprise` [rows, features] for the head.

        The surprise of a feature is the size of its deviation.
        """
        floats, parts, sizes = np.float32, [], []
        if self.numbers:
            columns = graph.constant(np.array(self.numbers), np.int64)
            numbers = graph.node("Gather", [graph.matrix, columns], axis=1)
            missing = graph.node("IsNaN", [numbers])
            moved = graph.node("Sub", [numbers, _of(graph, self.entity, self.center)])
            if self.part is not None:
                moved = graph.node("Sub", [moved, _of(graph, self.part, self.season)])
            moved = graph.node("Div", [moved, _of(graph, self.entity, self.spread)])
            bounds = [graph.constant(-FAR, floats), graph.constant(FAR, floats)]
            moved = graph.node("Clip", [moved, *bounds])
            moved = graph.node("Where", [missing, graph.constant([[0.0]], floats), moved])
            both = [graph.constant(self.gaps[None, :, place], floats) for place in (1, 0)]
            gaps = graph.node("Where", [missing, *both])
            parts += [moved, gaps]
            sizes.append(graph.node("Max", [graph.node("Abs", [moved]), gaps]))
        for place, table in zip(self.codes, self.tables, strict=True):
            parts.append(_of(graph, place, table[:, None]))
            sizes.append(parts[-1])
        graph.node("Concat", sizes, "surprise", axis=1)
        graph.node("Constant", [], "columns", value_strings=list(self.names))
        return graph.node("Concat", parts, axis=1)


def _codes(x: Matrix, column: int | None, size: int) -> NDArray[np.intp]:
    """Return the row of a table for each value of a column, the last one for all that follow."""
    if column is None:
        return np.zeros(len(x), np.intp)
    known = np.where(np.isnan(x[:, column]), size - 1, x[:, column])
    return np.clip(known, 0, size - 1).astype(np.intp)


def _of(graph: Graph, column: int | None, table: NDArray[np.float32]) -> str:
    """Add the nodes that look up a column in a table, float32 [rows, width of the table]."""
    if column is None:
        return graph.constant(table, np.float32)
    first, last = graph.constant(0, np.float32), graph.constant(len(table) - 1, np.float32)
    value = graph.node("Gather", [graph.matrix, graph.constant(column, np.int64)], axis=1)
    value = graph.node("Where", [graph.node("IsNaN", [value]), last, value])
    value = graph.node("Clip", [value, first, last])
    code = graph.node("Cast", [value], to=TensorProto.INT64)
    return graph.node("Gather", [graph.constant(table, np.float32), code])


def normal(x: Matrix, spec: FeatureSpec) -> Normal:
    """Learn what is normal from training rows (rows, features).

    The center is the median: of an entity with FEWEST rows its own, and beside it how far the rows
    of a part of the time lie from it. The spread is the interquartile range as that of a normal
    distribution; where half of the values are one, their mean distance from it.
    """
    width, columns = len(spec.numeric), range(len(spec.names))
    context = [place for place in columns if spec.names[place] in spec.context]
    entity = next((place for place in context if place >= width), None)
    part = next((place for place in context if place < width), None)
    numbers = tuple(place for place in columns[:width] if place != part)
    codes = tuple(place for place in columns[width:] if place != entity)
    sizes = {place: len(item.levels) + 1 for place, item in enumerate(spec.categorical, width)}

    known = x[:, list(numbers)].astype(np.float64)
    nothing = np.zeros(len(numbers))
    middle = _of_group(_median, known, nothing, 1)
    who = _codes(x, entity, people := sizes.get(-1 if entity is None else entity, 1))
    center = _by(who, people, _median, known, middle)
    left, season = known - center[who], np.zeros((0, len(numbers)))
    if part is not None:
        when = _codes(x, part, times := int(np.nanmax(x[:, part], initial=0)) + 2)
        season = _by(when, times, _median, left, nothing)
        left = left - season[when]
    every = _of_group(_wide, left, nothing, 1)
    spread = _by(who, people, _wide, left, every)
    spread = np.where(spread > 0, spread, np.where(every > 0, every, 1.0))
    gaps = [rarity(np.array([(~gap).sum(), gap.sum()])) for gap in np.isnan(known).T]
    seen = [np.bincount(_codes(x, at, sizes[at]), minlength=sizes[at]) for at in codes]
    return Normal(
        tuple(spec.names[place] for place in (*numbers, *codes)),
        numbers,
        codes,
        center.astype(np.float32),
        np.maximum(spread, np.finfo(np.float32).tiny).astype(np.float32),
        np.array(gaps, np.float32).reshape(len(numbers), 2),
        tuple(map(rarity, seen)),
        entity,
        part,
        season.astype(np.float32),
    )


def once(usual: Normal, spec: FeatureSpec) -> list[float]:
    """Return by how much each deviation counts, so that what is made of one column counts once.

    The topics of a text are several numbers, of which each would count as a column does.
    """
    made = Counter(item.column for item in spec.numeric)
    shares = [1 / made[spec.numeric[place].column] for place in usual.numbers]
    return [*shares, *shares, *[1.0] * len(usual.codes)]


Statistic = Callable[[Floats], Floats]


def _median(rows: Floats) -> Floats:
    return np.asarray(np.nanmedian(rows, axis=0))


def _wide(rows: Floats) -> Floats:
    low, middle, high = np.nanquantile(rows, [0.25, 0.5, 0.75], axis=0)
    around = np.nanmean(np.abs(rows - middle), axis=0)
    return np.where(high > low, (high - low) / NORMAL, around)


def _by(
    codes: NDArray[np.intp], size: int, statistic: Statistic, rows: Floats, otherwise: Floats
) -> Floats:
    """Return a statistic of each column (size, columns) by group of rows."""
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(size + 1))
    parts = (rows[order[first:last]] for first, last in pairwise(bounds))
    return np.array([_of_group(statistic, part, otherwise, FEWEST) for part in parts])


def _of_group(statistic: Statistic, rows: Floats, otherwise: Floats, fewest: int) -> Floats:
    """Return a statistic of each column, `otherwise` where it has fewer values."""
    found = otherwise.copy()
    enough = (~np.isnan(rows)).sum(axis=0) >= fewest
    if enough.any():
        found[enough] = statistic(rows[:, enough])
    return found


def rarity(counts: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """Return how unusual each of several values is, as a deviation; never seen counts as half."""
    shares = np.maximum(counts, 0.5)
    far = np.minimum(np.sqrt(-2 * np.log(shares / shares.max())), CAP)
    return np.asarray(far, np.float32)


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
        return self.over(graph, self.normal.emit(graph))

    def over(self, graph: Graph, away: str) -> str:
        """Add the nodes that come after the deviations."""
        sizes = graph.node("Abs", [away])
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
        return self.over(graph, self.normal.emit(graph))

    def over(self, graph: Graph, away: str) -> str:
        """Add the nodes that come after the deviations."""
        paths = self.trees.emit(graph, away)
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
        """Add the nodes of `predict`."""
        return self.over(graph, self.normal.emit(graph))

    def over(self, graph: Graph, away: str) -> str:
        """Add the nodes that come after the deviations: a balanced tree for each column."""
        rows: list[tuple[int, int, int, float, int, int, float]] = []
        for place, (edges, weights) in enumerate(zip(self.edges, self.weights, strict=True)):
            _balanced(rows, place, edges, weights)
        arrays = [np.array(column) for column in zip(*rows, strict=True)]
        tree, node, feature, threshold, true, false, weight = arrays
        narrow = threshold.astype(np.float32), true, false, weight.astype(np.float32)
        return Trees(tree, node, feature, *narrow).emit(graph, away)


class Rebuilt(NamedTuple):
    """How badly a row is rebuilt from a few numbers: the sum of squares of what is lost.

    `layers` are pairs of weights (before, after) and biases (after,) that lead from the deviations
    of a row, cut at CAP, through fewer numbers back to them. `bent`: negative numbers become 0
    after each layer but the last; without it, the layers are those of principal components.
    """

    normal: Normal
    layers: tuple[tuple[Floats, Floats], ...]
    bent: bool

    def predict(self, x: Matrix) -> Floats:
        """Return how unusual rows are, shape (rows,)."""
        away = self.cut(self.normal.away(x))
        found = away
        for place, (weights, biases) in enumerate(self.layers, 1):
            found = found @ weights + biases
            if self.bent and place < len(self.layers):
                found = np.maximum(found, 0.0)
        return np.asarray(((away - found) ** 2).sum(axis=1))

    @staticmethod
    def cut(away: Matrix) -> Floats:
        """Return deviations within -CAP and CAP, shape (rows, columns)."""
        return np.clip(away, np.float32(-CAP), np.float32(CAP)).astype(np.float64)

    def emit(self, graph: Graph, width: int) -> str:
        """Add the nodes of `predict`."""
        return self.over(graph, self.normal.emit(graph))

    def over(self, graph: Graph, away: str) -> str:
        """Add the nodes that come after the deviations."""
        bounds = [graph.constant(sign * CAP, np.float32) for sign in (-1, 1)]
        away = graph.node("Cast", [graph.node("Clip", [away, *bounds])], to=DOUBLE)
        found = away
        for place, (weights, biases) in enumerate(self.layers, 1):
            found = graph.node("MatMul", [found, graph.constant(weights)])
            found = graph.node("Add", [found, graph.constant(biases[None])])
            if self.bent and place < len(self.layers):
                found = graph.node("Max", [found, graph.constant([[0.0]])])
        lost = graph.node("Sub", [away, found])
        squares = graph.node("Mul", [lost, lost])
        return graph.node("ReduceSum", [squares, graph.constant([1], np.int64)], keepdims=1)


class Mean(NamedTuple):
    """The mean of what several detectors say, each in standard deviations from its own mean.

    All of them see the same deviations; `centers` and `spreads` have a number for each.
    """

    members: tuple[Any, ...]  # of Deviations, Tails and Isolation
    centers: tuple[float, ...]
    spreads: tuple[float, ...]

    def of(self, scores: Sequence[Floats]) -> Floats:
        """Return the mean of the members' scores, shape (rows,)."""
        parts = zip(scores, self.centers, self.spreads, strict=True)
        return np.asarray(sum((score - at) / by for score, at, by in parts) / len(scores))

    def emit(self, graph: Graph, width: int) -> str:
        """Add the nodes of `of`."""
        away, total = self.members[0].normal.emit(graph), graph.constant([[0.0]])
        for member, at, by in zip(self.members, self.centers, self.spreads, strict=True):
            left = graph.node("Sub", [member.over(graph, away), graph.constant([[at]])])
            total = graph.node("Add", [total, graph.node("Div", [left, graph.constant([[by]])])])
        return graph.node("Div", [total, graph.constant([[float(len(self.members))]])])


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
    return np.asarray(np.round(weights / step) * step, np.float32)
