"""A fitted model as plain data: sums of trees, or a linear model."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # it needs the onnx library, which only training has
    from .builder import Graph

Matrix = NDArray[np.float32]
Predict = Callable[[Matrix], NDArray[np.float64]]


class Link(NamedTuple):
    """From a model's sum to its prediction: inverse(offset + scale * sum) - shift.

    "identity", "logit" (probability of log-odds), "softmax" (probabilities of several sums) or
    "log", whose sum is held within `low` and `high`, so that no far row overflows.
    """

    kind: Literal["identity", "logit", "softmax", "log"] = "identity"
    scale: float = 1.0
    offset: float = 0.0
    shift: float = 0.0
    low: float = -700.0
    high: float = 700.0

    def apply(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return predictions of sums of shape (rows,), or (rows, outputs) where there are many."""
        total = self.offset + self.scale * raw
        if self.kind == "logit":
            return sigmoid(total)
        if self.kind == "softmax":
            return softmax(total)
        if self.kind == "log":
            return np.asarray(np.exp(np.clip(total, self.low, self.high)) - self.shift)
        return np.asarray(total)


IDENTITY, LOGIT, SOFTMAX = Link(), Link("logit"), Link("softmax")


class Leaves(NamedTuple):
    """What leaves add to the sums: the place of a leaf among the nodes, which sum, how much."""

    place: NDArray[np.int64]
    output: NDArray[np.int64]
    weight: NDArray[np.float32]


class Forest(NamedTuple):
    """Trees as parallel arrays in the layout of ONNX TreeEnsembleRegressor.

    A leaf has mode "LEAF"; `leaves` hold what it adds to which of the `outputs` sums. Node numbers
    count within a tree. Where there are `tables`, one for each category, trees see the number that
    a table holds for the code.
    """

    tree: NDArray[np.int64]
    node: NDArray[np.int64]
    feature: NDArray[np.int64]
    mode: list[str]
    value: NDArray[np.float32]
    true: NDArray[np.int64]
    false: NDArray[np.int64]
    missing_true: NDArray[np.int64]
    leaves: Leaves
    outputs: int = 1
    link: Link = IDENTITY
    tables: tuple[NDArray[np.float32], ...] = ()


class Linear(NamedTuple):
    """Sum = intercept + numbers @ weight + missing @ missing_weight + a weight per code.

    Of several sums the intercept is one number each, and weights have a last axis for them.
    """

    intercept: float | NDArray[np.float64]
    fill: NDArray[np.float32]
    weight: NDArray[np.float32]
    missing_weight: NDArray[np.float32]
    tables: tuple[NDArray[np.float32], ...]
    link: Link = IDENTITY


class Own(Protocol):
    """A model of one task alone, which knows its nodes of the graph."""

    def emit(self, graph: "Graph", width: int) -> str:
        """Add the nodes that predict from `x`, whose first `width` columns are numbers.

        Return the name of the column, double [rows, 1].
        """
        ...


Model = Forest | Linear | Own


def sigmoid(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities of log-odds without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * log_odds)))


def softmax(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities of sums of shape (rows, outputs) without overflow."""
    powers = np.exp(sums - sums.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def predict_linear(model: Linear, x: Matrix) -> NDArray[np.float64]:
    """Predict by a linear model the rows of a matrix of shape (rows, features)."""
    width = len(model.weight)
    missing = np.isnan(x[:, :width])
    numbers = np.where(missing, model.fill, x[:, :width]).astype(np.float64)
    total = model.intercept + numbers @ model.weight
    total += missing.astype(np.float64) @ model.missing_weight
    for index, table in enumerate(model.tables):
        total += looked_up(table, x[:, width + index])
    return model.link.apply(np.asarray(total))


def looked_up(table: NDArray[np.float32], codes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the table's number for each code; the last one stands for all that follow."""
    return table[np.minimum(codes, len(table) - 1).astype(np.intp)]


def floor32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the largest float32 not above each value: x <= t stays the same for float32 x."""
    with np.errstate(over="ignore"):
        near = values.astype(np.float32)
    return np.where(near > values, np.nextafter(near, np.float32(-np.inf)), near)


class Nodes:
    """Collects the nodes of a forest of `outputs` sums."""

    def __init__(self, outputs: int) -> None:
        self.outputs = outputs
        self.rows: list[tuple[int, int, int, str, float, int, int, int]] = []
        self.leaves: list[tuple[int, int, float]] = []

    def leaf(self, tree: int, node: int, weights: dict[int, float]) -> None:
        """Add a leaf with what it adds to each output; ONNX reads no value of a leaf."""
        self.leaves += [(len(self.rows), output, weight) for output, weight in weights.items()]
        self.rows.append((tree, node, 0, "LEAF", 0.0, 0, 0, 0))

    def branch(
        self,
        tree: int,
        node: int,
        feature: int,
        mode: str,
        value: float,
        true: int,
        false: int,
        missing_true: int,
    ) -> None:
        """Add a node that sends a row to `true` or `false`; `forest` rounds `value` down."""
        self.rows.append((tree, node, feature, mode, value, true, false, missing_true))

    def forest(self, link: Link, tables: tuple[NDArray[np.float32], ...] = ()) -> Forest:
        """Return the trees with their link and tables."""
        tree, node, feature, mode, value, true, false, missing = zip(*self.rows, strict=True)
        place, output, weight = zip(*self.leaves, strict=True)
        return Forest(
            np.array(tree),
            np.array(node),
            np.array(feature),
            list(mode),
            # Leaf weights are rounded to nearest.
            floor32(np.array(value, dtype=np.float64)),
            np.array(true),
            np.array(false),
            np.array(missing),
            Leaves(np.array(place), np.array(output), np.array(weight).astype(np.float32)),
            self.outputs,
            link,
            tables,
        )


def forest_of_sklearn(
    estimators: list[Any],
    link: Link = IDENTITY,
    outputs: int = 1,
    codes: NDArray[np.int64] | None = None,
) -> Forest:
    """Return the mean of scikit-learn trees: their values, or shares of the second class.

    With several `outputs`, the share of each class; `codes` are those of the classes that training
    rows had, the shares of all others are 0. Of trees that regress on several targets, each one's.
    """
    nodes = Nodes(outputs)
    for number, estimator in enumerate(estimators):
        tree = estimator.tree_
        thresholds = floor32(tree.threshold)
        targets, width = tree.value.shape[1:]
        values = tree.value.reshape(tree.node_count, -1)
        if targets > 1:
            codes = np.arange(targets)
        elif width > 1:
            values = values / values.sum(axis=1, keepdims=True)
        columns = {width - 1: 0} if codes is None else dict(enumerate(codes.tolist()))
        for node in range(tree.node_count):
            if tree.children_left[node] < 0:
                shares = values[node] / len(estimators)
                nodes.leaf(number, node, {to: shares[at] for at, to in columns.items()})
            else:
                nodes.branch(
                    number,
                    node,
                    int(tree.feature[node]),
                    "BRANCH_LEQ",
                    float(thresholds[node]),
                    int(tree.children_left[node]),
                    int(tree.children_right[node]),
                    int(tree.missing_go_to_left[node]),
                )
    return nodes.forest(link)
