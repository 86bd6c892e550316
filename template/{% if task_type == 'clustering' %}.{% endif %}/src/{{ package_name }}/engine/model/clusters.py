"""Clusters as plain data: the space that rows are compared in, cells of it, and names for them."""

from collections import Counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from .builder import Graph
from .plain import Matrix
from .scorer import FeatureSpec

CAP = 5.0  # deviations beyond which a number is not farther away
NORMAL = 1.349  # interquartile range of a standard normal
UNLIKE = 0.5  # standard deviations from which on a segment is named by a number
AGE = ".elapsed"  # behind the name of a date: days since then
NAMED = 2  # numbers in a name, and one more where two names would be equal
FAR = 3.5  # robust deviations beyond which a distance is unusual
ROBUST = 1.4826  # standard deviations of a normal distribution in its median deviation
MOST = 0.99  # of the rows within the usual distance where deviations tell none
FEWEST = 100  # rows of a cluster, below which its radius is that of all rows
DOUBLE = TensorProto.DOUBLE
Floats = NDArray[np.float64]
Codes = NDArray[np.intp]


class Space(NamedTuple):
    """Numbers in robust deviations, held within CAP and standardised; levels as columns of 0 and 1.

    `center`, `spread` (numbers,) are the median and the interquartile range as that of a normal
    distribution; `mean`, `scale` those of the deviations. A missing number lies at the median. What
    is made of one column, such as the topics of a text, varies together as one number. A table for
    each category has a row for each code, weighed so that a category varies as a number, and
    `shares` (codes,) are how frequent each is.
    """

    names: tuple[str, ...]
    center: Floats
    spread: Floats
    mean: Floats
    scale: Floats
    tables: tuple[Floats, ...]
    shares: tuple[Floats, ...]

    def rows(self, x: Matrix) -> Floats:
        """Return rows of a matrix (rows, features) as points, shape (rows, dimensions)."""
        wide = len(self.center)
        numbers = x[:, :wide].astype(np.float64)
        moved = np.clip((numbers - self.center) / self.spread, -CAP, CAP)
        moved = np.where(np.isnan(numbers), 0.0, moved)
        parts = [(moved - self.mean) / self.scale]
        parts += [
            table[coded(x[:, wide + place], len(table))] for place, table in enumerate(self.tables)
        ]
        return np.concatenate(parts, axis=1)

    def emit(self, graph: Graph) -> str:
        """Add the nodes of `rows`, double [rows, dimensions]."""
        wide, parts = len(self.center), []
        if wide:
            columns = graph.constant(np.arange(wide), np.int64)
            numbers = graph.node("Gather", [graph.matrix, columns], axis=1)
            numbers = graph.node("Cast", [numbers], to=DOUBLE)
            moved = graph.node("Sub", [numbers, graph.constant(self.center[None])])
            moved = graph.node("Div", [moved, graph.constant(self.spread[None])])
            moved = graph.node("Clip", [moved, graph.constant(-CAP), graph.constant(CAP)])
            missing = graph.node("IsNaN", [numbers])
            moved = graph.node("Where", [missing, graph.constant([[0.0]]), moved])
            moved = graph.node("Sub", [moved, graph.constant(self.mean[None])])
            parts.append(graph.node("Div", [moved, graph.constant(self.scale[None])]))
        for place, table in enumerate(self.tables):
            column = graph.constant(wide + place, np.int64)
            value = graph.node("Gather", [graph.matrix, column], axis=1)
            last = graph.constant(len(table) - 1, np.float32)
            value = graph.node("Where", [graph.node("IsNaN", [value]), last, value])
            value = graph.node("Clip", [value, graph.constant(0, np.float32), last])
            code = graph.node("Cast", [value], to=TensorProto.INT64)
            parts.append(graph.node("Gather", [graph.constant(table), code]))
        return graph.node("Concat", parts, axis=1)


def coded(values: NDArray[np.float32], size: int) -> Codes:
    """Return codes as places of a table, the last one for all that it does not know."""
    known = np.where(np.isnan(values), size - 1, values)
    return np.clip(known, 0, size - 1).astype(np.intp)


def space(x: Matrix, spec: FeatureSpec) -> Space:
    """Learn the space from training rows (rows, features); what does not vary has no weight."""
    wide = len(spec.numeric)
    numbers = x[:, :wide].astype(np.float64)
    numbers = np.where(np.isnan(numbers).all(axis=0), 0.0, numbers)
    low, center, high = (np.nanquantile(numbers, part, axis=0) for part in (0.25, 0.5, 0.75))
    around = np.nanmean(np.abs(numbers - center), axis=0)
    spread = np.where(high > low, (high - low) / NORMAL, around)
    spread = np.where(spread > 0, spread, 1.0)
    moved = np.clip((numbers - center) / spread, -CAP, CAP)
    moved = np.where(np.isnan(moved), 0.0, moved)
    scale = moved.std(axis=0)
    tables, every = [], []
    for place, feature in enumerate(spec.categorical, wide):
        size = len(feature.levels) + 1
        shares = np.bincount(coded(x[:, place], size), minlength=size) / len(x)
        every.append(shares)
        varies = 1 - float(shares @ shares)
        tables.append(np.eye(size) / varies**0.5 if varies > 1e-9 else np.zeros((size, size)))
    made = Counter(item.column for item in spec.numeric)
    scale = np.where(scale > 0, scale, 1.0) * np.sqrt([made[i.column] for i in spec.numeric])
    mean, names = moved.mean(axis=0), tuple(spec.names)
    return Space(names, center, spread, mean, scale, tuple(tables), tuple(every))


class Mixture(NamedTuple):
    """Normal densities: log weight less half the squared length of (z - mean) @ root.

    `roots` has shape (parts, dimensions, dimensions), `means` (parts, dimensions); `offset`
    (parts,) is the logarithm of the weight and of the determinant of the root.
    """

    offset: Floats
    means: Floats
    roots: Floats

    def log_density(self, z: Floats) -> Floats:
        """Return the logarithm of each part's density, shape (rows, parts)."""
        parts, dimensions = self.means.shape
        joined, shift = self._joined()
        away = (z @ joined - shift) ** 2
        return self.offset - 0.5 * away.reshape(len(z), parts, dimensions).sum(axis=2)

    def emit(self, graph: Graph, z: str) -> str:
        """Add the nodes of `log_density`."""
        parts, dimensions = self.means.shape
        joined, shift = self._joined()
        product = graph.node("MatMul", [z, graph.constant(joined)])
        away = graph.node("Sub", [product, graph.constant(shift[None])])
        squares = graph.node("Mul", [away, away])
        sums = graph.constant(-0.5 * np.repeat(np.eye(parts), dimensions, axis=0))
        total = graph.node("MatMul", [squares, sums])
        return graph.node("Add", [total, graph.constant(self.offset[None])])

    def _joined(self) -> tuple[Floats, Floats]:
        joined = np.concatenate(list(self.roots), axis=1)
        return joined, np.einsum("ki,kij->kj", self.means, self.roots).ravel()


class Cells(NamedTuple):
    """Which cluster each point of the space is in: by its density, or by the nearest center.

    `centers` (clusters, dimensions) are means of the rows of each cluster, the largest first.
    """

    centers: Floats
    mixture: Mixture | None = None

    def codes(self, z: Floats) -> Codes:
        """Return the cluster of points (rows, dimensions), shape (rows,)."""
        if self.mixture is not None:
            return np.asarray(self.mixture.log_density(z).argmax(axis=1))
        return np.asarray(self.distances(z).argmin(axis=1))

    def distances(self, z: Floats) -> Floats:
        """Return the distance to each center, shape (rows, clusters)."""
        squares = (z**2).sum(axis=1, keepdims=True) - 2 * z @ self.centers.T
        return np.sqrt(np.maximum(squares + (self.centers**2).sum(axis=1), 0.0))


def cells(z: Floats, codes: Codes, mixture: Mixture | None = None) -> Cells:
    """Return cells around the means of rows with these codes, largest first; empty ones are left.

    With nearest centers a row may lie in another cell than its code says.
    """
    counts = np.bincount(codes)
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]
    centers = np.array([z[codes == code].mean(axis=0) for code in order])
    if mixture is not None:
        mixture = Mixture(mixture.offset[order], mixture.means[order], mixture.roots[order])
    return Cells(centers, mixture)


class Clusters(NamedTuple):
    """A fitted model: the space, its cells, their radii (clusters,) and names."""

    space: Space
    cells: Cells
    radii: Floats
    names: tuple[str, ...]

    def predict(self, x: Matrix) -> Floats:
        """Return positions as `task` declares them, shape (rows, 4)."""
        z = self.space.rows(x)
        code, away = self.cells.codes(z), self.cells.distances(z)
        own = away[np.arange(len(z)), code]
        other = own
        if len(self.radii) > 1:
            away[np.arange(len(z)), code] = np.inf
            other = away.min(axis=1)
        return np.column_stack([code, own, other, own / self.radii[code]])

    def emit(self, graph: Graph, width: int) -> str:
        """Add the nodes of `predict`; leave `names` for the head."""
        z = self.space.emit(graph)
        away = self._distances(graph, z)
        if self.cells.mixture is None:
            code = graph.node("ArgMin", [away], axis=1, keepdims=1)
        else:
            code = graph.node("ArgMax", [self.cells.mixture.emit(graph, z)], axis=1, keepdims=1)
        own = graph.node("GatherElements", [away, code], axis=1)
        other = own
        if len(self.radii) > 1:
            every = graph.constant(np.arange(len(self.radii))[None], np.int64)
            here = graph.node("Equal", [every, code])
            far = graph.node("Where", [here, graph.constant(np.inf), away])
            other = graph.node("ReduceMin", [far, graph.constant([1], np.int64)], keepdims=1)
        reach = graph.node("Div", [own, graph.node("Gather", [graph.constant(self.radii), code])])
        graph.node("Constant", [], "names", value_strings=list(self.names))
        number = graph.node("Cast", [code], to=DOUBLE)
        return graph.node("Concat", [number, own, other, reach], axis=1)

    def _distances(self, graph: Graph, z: str) -> str:
        squares = graph.node("Mul", [z, z])
        length = graph.node("ReduceSum", [squares, graph.constant([1], np.int64)], keepdims=1)
        inner = graph.node("MatMul", [z, graph.constant(2 * self.cells.centers.T)])
        total = graph.node("Sub", [length, inner])
        constant = graph.constant((self.cells.centers**2).sum(axis=1)[None])
        total = graph.node("Add", [total, constant])
        return graph.node("Sqrt", [graph.node("Max", [total, graph.constant([[0.0]])])])


def clusters(learnt: Space, z: Floats, found: Cells) -> Clusters:
    """Return the model of cells that were found among the training points `z`."""
    code, away = found.codes(z), found.distances(z)
    own = away[np.arange(len(z)), code]
    every = usual(own)
    parts = [own[code == number] for number in range(len(found.centers))]
    radii = [usual(part) if len(part) >= FEWEST else every for part in parts]
    return Clusters(learnt, found, np.array(radii), named(learnt, found.centers))


def usual(away: Floats) -> float:
    """Return up to which of the distances (rows,) rows are no noise: the median and FAR deviations.

    Iglewicz & Hoaglin 1993, but by the nearer half of the rows, as noise is in the other one. In
    columns of few values that half may lie at one distance: then MOST of the rows are no noise.
    """
    near, middle, most = np.quantile(away, [0.25, 0.5, MOST])
    spread = ROBUST * (middle - near)
    return max(float(middle + FAR * spread if spread > 0.01 * middle else most), 1e-9)


def named(learnt: Space, centers: Floats) -> tuple[str, ...]:
    """Name each cluster by the features in which its mean is the most unlike that of all rows.

    "high income, low age, other channel": no value of a category, which may be personal. Names are
    distinct.
    """
    found: list[str] = []
    for center in centers:
        away = _unlike(learnt, center)
        order = np.argsort(-np.abs(away), kind="stable")
        words = [_said(learnt, place, away[place]) for place in order if abs(away[place]) >= UNLIKE]
        name = ", ".join(words[:NAMED]) or "near the average"
        if name in found:
            name = ", ".join(words[: NAMED + 1]) or name
        count = sum(other == name or other.startswith(f"{name} (") for other in found)
        found.append(f"{name} ({count + 1})" if count else name)
    return tuple(found)


def _unlike(learnt: Space, center: Floats) -> Floats:
    """Return how far a mean lies from that of all rows by feature, in standard deviations."""
    wide = len(learnt.center)
    sizes, start = [], wide
    for table, shares in zip(learnt.tables, learnt.shares, strict=True):
        part = center[start : start + len(table)]
        sizes.append(np.linalg.norm(part - shares @ table))
        start += len(table)
    return np.concatenate([center[:wide], np.array(sizes)])


def _said(learnt: Space, place: int, away: float) -> str:
    name = learnt.names[place]
    if place >= len(learnt.center):
        return f"other {name}"
    if name.endswith(AGE):  # of a date
        return f"{'early' if away > 0 else 'late'} {name.removesuffix(AGE)}"
    return f"{'high' if away > 0 else 'low'} {name}"
