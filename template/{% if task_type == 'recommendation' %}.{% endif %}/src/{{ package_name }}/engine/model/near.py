"""Weights between items as neighbours of each, where a matrix of all pairs would be too large."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from .builder import Graph

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]


class Near(NamedTuple):
    """Neighbours of each item and their weights, shape (items + 1, neighbours) each.

    The last row is of an unknown item. Where an item has fewer neighbours, the place after the last
    item stands for none, with a weight of 0.
    """

    places: NDArray[np.int64]
    weights: Floats

    def speak(self, codes: Codes, top: Codes) -> Floats:
        """Return the weight of each item of a history for each in `top`, (rows, history, top)."""
        rows, width = len(codes), len(self.places)
        slots = np.full((rows, width), -1, np.int8)  # the column of an item in `top`
        np.put_along_axis(slots, top, np.arange(top.shape[1], dtype=np.int8)[None], axis=1)
        slots[:, -1] = -1
        ranges = (np.arange(rows) * width)[:, None, None]
        slot = slots.ravel()[self.places[codes] + ranges]
        row, column, place = np.nonzero(slot >= 0)
        found = np.zeros((*codes.shape, top.shape[1]))
        found[row, column, slot[row, column, place]] = self.weights[codes[row, column], place]
        return found

    def matrix(self) -> Any:
        """Return the weights of each item for each and none, sparse (items + 1, items + 1)."""
        from scipy import sparse

        count, wide = self.places.shape
        ends = np.arange(count + 1) * wide
        return sparse.csr_matrix((self.weights.ravel(), self.places.ravel(), ends), (count, count))

    def shifted(self, by: int) -> "Near":
        """Return it with so many items, that have no neighbours, before all others."""
        none = self._replace(
            places=np.full((by, self.places.shape[1]), len(self.places) - 1),
            weights=np.zeros((by, self.weights.shape[1])),
        )
        places = np.concatenate([none.places, self.places]) + by
        return Near(places.astype(np.int64), np.concatenate([none.weights, self.weights]))

    def emit_read(self, graph: Graph, codes: str) -> tuple[str, str]:
        """Add the neighbours and their weights, [rows, history, neighbours] each, of histories.

        They are kept in four bytes each, which `of_rows` has rounded them to.
        """
        places = graph.node("Gather", [graph.constant(self.places, np.int32), codes], axis=0)
        weights = graph.node("Gather", [graph.constant(self.weights, np.float32), codes], axis=0)
        whole = graph.node("Cast", [places], to=TensorProto.INT64)
        return whole, graph.node("Cast", [weights], to=TensorProto.DOUBLE)

    def emit_scores(
        self, graph: Graph, codes: str, read: tuple[str, str], nothing: str, fades: str
    ) -> str:
        """Add the sum of weights for each item and none, [rows, items + 1], of histories.

        `read` is what `emit_read` gave, `nothing` a tensor of zeros of this shape, `fades`
        [1, history, 1] what each place of a history counts. An item that comes twice counts once.
        """
        axes = [graph.constant([axis], np.int64) for axis in (1, 2)]
        column, row = (graph.node("Unsqueeze", [codes, axis]) for axis in reversed(axes))
        same = graph.node("Equal", [column, row])
        ones = graph.node("Expand", [graph.constant(1.0), graph.node("Shape", [same])])
        below = graph.node("Trilu", [ones, graph.constant(-1, np.int64)], upper=0)
        earlier = graph.node("And", [same, graph.node("Greater", [below, graph.constant(0.0)])])
        again = graph.node("Where", [earlier, graph.constant(1.0), graph.constant(0.0)])
        again = graph.node("ReduceMax", [again, axes[1]], keepdims=1)
        first = graph.node("Sub", [graph.constant(1.0), again])
        weights = graph.node("Mul", [graph.node("Mul", [read[1], first]), fades])
        flat = graph.constant([0, -1], np.int64)
        several = [graph.node("Reshape", [tensor, flat]) for tensor in (read[0], weights)]
        return graph.node("ScatterElements", [nothing, *several], axis=1, reduction="add")

    def emit_speak(self, graph: Graph, read: tuple[str, str], top: str, length: int) -> str:
        """Add the nodes of `speak`, for one of the `length` columns of `top` after the other."""
        places, weights = read
        last, found = graph.constant([2], np.int64), []
        for column in range(length):
            place = graph.node("Gather", [top, graph.constant([column], np.int64)], axis=1)
            same = graph.node("Equal", [places, graph.node("Unsqueeze", [place, last])])
            told = graph.node("Where", [same, weights, graph.constant(0.0)])
            found.append(graph.node("ReduceSum", [told, last], keepdims=1))
        return graph.node("Concat", found, axis=2)


def first_times(codes: Codes) -> NDArray[np.bool_]:
    """Return where an item of a history has not come before in it, shape (rows, history)."""
    earlier = np.tril(np.ones((codes.shape[1],) * 2, bool), -1)
    return np.asarray(~((codes[:, :, None] == codes[:, None]) & earlier).any(axis=2))


def none(count: int) -> Near:
    """Return no neighbours of so many items."""
    return Near(np.full((count + 1, 1), count, np.int64), np.zeros((count + 1, 1)))


def kept(weights: Any, most: int) -> tuple[NDArray[np.int64], Floats]:
    """Return the places and values of the largest of sparse weights, shape (items, most).

    The largest first, of equal ones the lower place; where there are fewer, the place after the
    last item and 0.
    """
    weights.sort_indices()
    count, ends = weights.shape[1], weights.indptr
    wide = max(1, min(most, int(np.diff(ends).max(initial=0))))
    places, values = np.full((count, wide), count, np.int64), np.zeros((count, wide))
    for row, (start, end) in enumerate(pairwise(ends.tolist())):
        order = start + np.argsort(-weights.data[start:end], kind="stable")[:wide]
        places[row, : len(order)] = weights.indices[order]
        values[row, : len(order)] = weights.data[order]
    return places, values


def of_rows(places: NDArray[np.int64], weights: Floats) -> Near:
    """Return what `kept` gave of all items, with a row for an unknown one, as float32 holds it."""
    weights = weights.astype(np.float32).astype(np.float64)
    one, other = np.full((1, places.shape[1]), len(places)), np.zeros((1, weights.shape[1]))
    return Near(np.concatenate([places, one]), np.concatenate([weights, other]))
