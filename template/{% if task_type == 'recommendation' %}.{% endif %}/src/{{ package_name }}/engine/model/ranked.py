"""Rankings as plain data: how much each item of a history speaks for each item to show."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from .. import task
from . import wanted
from .beyond import Beyond
from .builder import Graph
from .near import Near, first_times
from .plain import Matrix

ROWS = 256  # at a time: memory stays flat
GRID = 1e9  # scores are told to a billionth, or sums in another order would be another ranking
TIE = 1e-6  # of the popularity, so that of two items that nothing tells apart the popular one leads
NEVER = -1e6  # the score of an item that is not to be shown
SEEN = -1e9  # and of one that the user has had: the very last
LEAST = -1.0  # that a score is told as
NONE = -1.0
Floats = NDArray[np.float64]
Codes = NDArray[np.intp]


class Ranked(NamedTuple):
    """Score of an item = (1 - part) * sum of faded weights of the history + part * popularity.

    `items` (items,) are sorted numbers of items, negative ones stand for none. `weights`
    (items + 1, items) are of a history's item, the last for an unknown one, for each item; of many
    items they are neighbours. An item of the history counts by the share `fade` less than the one
    that was taken after it. `part` is short / (short + known items squared), and 1 where none is
    known. `places` are the columns of the history in a matrix, the latest first, none where rows
    have no history; `exclude` tells whether items of it are left out.
    """

    items: NDArray[np.int64]
    weights: Floats | Near
    popular: Floats
    offset: Floats
    short: float
    fade: float
    exclude: bool
    places: tuple[int, ...]

    @property
    def fades(self) -> Floats:
        """What each place of a history counts, shape (columns,)."""
        return np.asarray((1 - self.fade) ** np.arange(max(1, len(self.places)), dtype=np.float64))

    def codes(self, x: Matrix) -> Codes:
        """Return the place of each item of the histories, shape (rows, columns)."""
        if not self.places:
            return np.full((len(x), 1), len(self.items))
        return placed(self.items, x[:, list(self.places)])

    def predict(self, x: Matrix, beyond: Beyond | None = None) -> Floats:
        """Return items, their scores, reasons, and how many items of the history are known.

        Shape (rows, 3 * LENGTH + 1). What rows had before their histories is left out like these.
        """
        parts: list[Floats] = []
        first: list[Codes] = []
        if isinstance(self.weights, Near):
            first, spread = self._first(), self.weights.matrix()
        for n in range(0, len(x), ROWS):
            codes = self.codes(x[n : n + ROWS])
            had = self._had(codes, beyond and beyond.rows(slice(n, n + ROWS)))
            known = (first_times(codes) & (codes < len(self.items))).sum(axis=1)
            if isinstance(self.weights, Near):
                top, best = self._nearest(spread, codes, had, self._part(known), known, first)
                speak = self.weights.speak(codes, top)
            else:
                top, best = self._best(self._near(self.weights, codes), had, self._part(known))
                speak = self.weights[codes[:, :, None], top[:, None]]  # rows, history, to show
            speak = speak * self.fades[:, None]
            parts.append(self._told(codes, top, best, speak, known))
        return np.concatenate(parts) if parts else np.empty((0, 3 * task.LENGTH + 1))

    def _had(self, codes: Codes, beyond: Beyond | None) -> Codes:
        """Return the places of all that rows had, shape (rows, any)."""
        if beyond is None or (more := beyond.values()) is None:
            return codes
        every = np.empty(len(more), dtype=object)
        every[:] = more
        earlier = wanted.fed(wanted.EARLIER, every).astype(np.float32)
        return np.concatenate([codes, placed(self.items, earlier)], axis=1)

    def _part(self, known: Codes) -> Floats:
        """Return the part of popularity in a score, by how many items of a history are known."""
        part = self.short / np.maximum(self.short + known * known, 1.0)
        return np.asarray(np.where(known == 0, 1.0, part))

    def _score(self, near: Floats, part: Floats, places: Any = slice(None)) -> Floats:
        """Return rounded scores of items at `places`."""
        popular = self.popular[places]
        scores = (1 - part) * near + part * popular
        scores = scores + (TIE * self.popular + self.offset)[places]
        return np.asarray(np.rint(scores * GRID) / GRID)

    def lists(self, x: Matrix, shorts: Sequence[float]) -> Floats:
        """Return the items of lists by each of `shorts`, shape (shorts, rows, LENGTH)."""
        each, found = [self._replace(short=short) for short in shorts], []
        for n in range(0, len(x), ROWS):
            codes = self.codes(x[n : n + ROWS])
            if isinstance(self.weights, Near):
                found.append([model.predict(x[n : n + ROWS])[:, : task.LENGTH] for model in each])
                continue
            known = (first_times(codes) & (codes < len(self.items))).sum(axis=1)
            near = self._near(self.weights, codes)
            tops = (model._best(near, codes, model._part(known))[0] for model in each)
            found.append([self.items[top].astype(np.float64) for top in tops])
        return np.concatenate(found, axis=1)

    def _near(self, weights: Floats, codes: Codes) -> Floats:
        """Return the sum of faded weights of histories for each item, shape (rows, items)."""
        from scipy import sparse

        return np.asarray(sparse.csr_matrix(self._faded(codes)) @ weights)  # of few items each

    def _best(self, near: Floats, had: Codes, part: Floats) -> tuple[Codes, Floats]:
        """Return the best items and their scores, shape (rows, LENGTH), by all items' scores."""
        count = len(self.items)
        seen = np.zeros((len(had), count + 1))
        np.put_along_axis(seen, had, 1.0, axis=1)
        scores = self._score(near, part[:, None])
        if self.exclude:
            scores = np.where(seen[:, :count] > 0, SEEN, scores)
        least = np.partition(scores, -task.LENGTH, axis=1)[:, -task.LENGTH]
        rows, places = np.nonzero(scores >= least[:, None])
        return _sorted(rows, places, scores[rows, places], len(had))

    def _faded(self, codes: Codes) -> Floats:
        """Return what each item counts, of one that comes twice the latest, (rows, items + 1)."""
        found = np.zeros((len(codes), len(self.items) + 1))
        first = np.where(first_times(codes), codes, len(self.items))
        np.put_along_axis(found, first, self.fades[None], axis=1)
        found[:, -1] = 0.0
        return found

    def _first(self) -> list[Codes]:
        """Return the items that lead where no neighbour speaks, by how many items are known."""
        history = max(1, len(self.places))
        parts = self._part(np.arange(history + 1))
        scores = (self._score(np.zeros(len(self.items)), part) for part in parts)
        return [np.argsort(-each, kind="stable") for each in scores]

    def _nearest(
        self,
        spread: Any,
        codes: Codes,
        had: Codes,
        part: Floats,
        known: Codes,
        first: list[Codes],
    ) -> tuple[Codes, Floats]:
        """Return what `_best` does, looking at neighbours and at the items that lead without.

        No other item can be in a list, as no weight is below 0. `spread` is the neighbours' matrix.
        """
        from scipy import sparse

        (rows, wide), width = codes.shape, len(self.items) + 1
        ranges = np.arange(rows)[:, None] * width
        counts = (first_times(codes) * self.fades).ravel()
        ends = np.arange(rows + 1) * wide
        total = sparse.csr_matrix((counts, codes.ravel(), ends), (rows, width)) @ spread
        row, items = np.repeat(np.arange(rows), np.diff(total.indptr)), total.indices
        seen, there = np.zeros(rows * width, bool), np.zeros(rows * width, bool)
        if self.exclude:
            seen[had + ranges] = True
        keys = row * width + items
        there[keys] = True
        there[width - 1 :: width] = True  # no item

        def score(near: Floats, row: Codes, items: Codes) -> Floats:
            scores = self._score(near, part[row], items)
            return np.where(seen[row * width + items], SEEN, scores)

        real = items < width - 1
        row, items, near = row[real], items[real], total.data[real]
        scores = score(near, row, items)
        lengths = np.bincount(row, minlength=rows)
        padded = np.full((rows, max(task.LENGTH, int(lengths.max(initial=0)))), -np.inf)
        padded[row, np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)] = scores
        least = np.partition(padded, -task.LENGTH, axis=1)[:, -task.LENGTH]
        high = scores >= least[row]
        lead = np.stack([first[n][: task.LENGTH + had.shape[1]] for n in known])
        other, place = np.nonzero(~there[lead + ranges])
        others = lead[other, place]
        row, items = np.concatenate([row[high], other]), np.concatenate([items[high], others])
        added = score(np.zeros(len(others)), other, others)
        return _sorted(row, items, np.concatenate([scores[high], added]), rows)

    def _told(self, codes: Codes, top: Codes, best: Floats, speak: Floats, known: Codes) -> Floats:
        reason = np.take_along_axis(codes, speak.argmax(axis=1), axis=1)
        items = self.items.astype(np.float64)
        reasons = np.append(items, NONE)[reason]
        because = np.where(speak.max(axis=1) > 0, reasons, NONE)
        told = [items[top], np.maximum(best, LEAST), because, known[:, None]]
        return np.concatenate(told, axis=1)

    def emit(self, graph: Graph, width: int) -> str:
        """Add the nodes of `predict`, double [rows, 3 * LENGTH + 1]."""
        count, items = len(self.items), self.items.astype(np.float64)
        codes, first = self._emit_codes(graph), graph.constant([1], np.int64)
        size = graph.node("Shape", [codes])
        rows = graph.node("Slice", [size, graph.constant([0], np.int64), first])
        wide = graph.node("Concat", [rows, graph.constant([count + 1], np.int64)], axis=0)
        nothing = graph.node("Expand", [graph.constant(0.0), wide])
        ones = graph.node("Expand", [graph.constant(1.0), size])
        seen = graph.node("ScatterElements", [nothing, codes, ones], axis=1)
        seen = graph.node("Mul", [seen, graph.constant([[1.0] * count + [0.0]])])
        known = graph.node("ReduceSum", [seen, first], keepdims=1)
        read = self._emit_read(graph, codes)
        near = self._emit_near(graph, codes, read, nothing, size)
        short = graph.node("Mul", [known, known])
        short = graph.node("Add", [short, graph.constant(self.short)])
        short = graph.node("Max", [short, graph.constant(1.0)])
        part = graph.node("Div", [graph.constant(self.short), short])
        none = graph.node("Equal", [known, graph.constant(0.0)])
        part = graph.node("Where", [none, graph.constant(1.0), part])
        near = graph.node("Mul", [graph.node("Sub", [graph.constant(1.0), part]), near])
        popular = graph.node("Mul", [part, graph.constant(self.popular[None])])
        scores = graph.node("Add", [near, popular])
        scores = graph.node(
            "Add", [scores, graph.constant((TIE * self.popular + self.offset)[None])]
        )
        left = self._emit_left(graph, nothing, seen)
        scores = graph.node("Where", [left, graph.constant(SEEN), scores])
        grid = graph.constant(GRID)
        scores = graph.node("Round", [graph.node("Mul", [scores, grid])])
        scores = graph.node("Div", [scores, grid])
        best, top = _top(graph, scores)
        best = graph.node("Max", [best, graph.constant(LEAST)])
        shown = graph.node("Gather", [graph.constant(items), top])
        because = self._emit_reasons(graph, codes, read, top, items)
        return graph.node("Concat", [shown, best, because, known], axis=1)

    def _emit_codes(self, graph: Graph) -> str:
        if not self.places:
            size, first = graph.node("Shape", [graph.matrix]), graph.constant([1], np.int64)
            rows = graph.node("Slice", [size, graph.constant([0], np.int64), first])
            wide = graph.node("Concat", [rows, first], axis=0)
            return graph.node("Expand", [graph.constant(len(self.items), np.int64), wide])
        columns = graph.constant(self.places, np.int64)
        history = graph.node("Gather", [graph.matrix, columns], axis=1)
        missing = graph.node("IsNaN", [history])
        none = graph.constant(NONE, np.float32)
        history = graph.node("Where", [missing, none, history])
        ends = [graph.constant(end, np.float32) for end in (NONE, task.LARGEST)]
        history = graph.node("Round", [graph.node("Clip", [history, *ends])])
        return self._emit_places(graph, graph.node("Cast", [history], to=TensorProto.INT64))

    def _emit_places(self, graph: Graph, items: str) -> str:
        """Return the places of items, that after the last for one that is unknown."""
        return graph.node(
            "LabelEncoder",
            [items],
            domain="ai.onnx.ml",
            keys_int64s=self.items.tolist(),
            values_int64s=list(range(len(self.items))),
            default_int64=len(self.items),
        )

    def _emit_left(self, graph: Graph, nothing: str, seen: str) -> str:
        """Return which items no list may show, as a request or the plan wants it."""
        ends = [graph.constant([end], np.int64) for end in (0, len(self.items), 1)]

        def among(items: str) -> str:
            places = self._emit_places(graph, items)
            one = graph.node("Expand", [graph.constant(1.0), graph.node("Shape", [places])])
            return there(graph.node("ScatterElements", [nothing, places, one], axis=1))

        def there(counts: str) -> str:
            known = graph.node("Slice", [counts, *ends])
            return graph.node("Greater", [known, graph.constant(0.0)])

        out = among(graph.given(wanted.EXCLUDE, wanted.NOTHING))
        only = graph.given(wanted.ONLY, wanted.NOTHING)
        axis = graph.constant([1], np.int64)
        most = graph.node("ReduceMax", [only, axis], keepdims=1)
        chosen = graph.node("Greater", [most, graph.constant(wanted.NOTHING, np.int64)])
        others = graph.node("And", [chosen, graph.node("Not", [among(only)])])
        said = graph.given(wanted.SEEN, wanted.NOTHING)
        hides = graph.node("Equal", [said, graph.constant(int(self.exclude), np.int64)])
        if self.exclude:
            hides = graph.node("Not", [hides])
        earlier = among(graph.given(wanted.EARLIER, wanted.NOTHING))
        had = graph.node("And", [graph.node("Or", [there(seen), earlier]), hides])
        return graph.node("Or", [graph.node("Or", [out, others]), had])

    def _emit_read(self, graph: Graph, codes: str) -> tuple[str, str]:
        """Return the weights, or what the items of histories have of them: once in a graph."""
        if isinstance(self.weights, Near):
            return self.weights.emit_read(graph, codes)
        return "", graph.constant(self.weights)

    def _emit_near(
        self, graph: Graph, codes: str, read: tuple[str, str], nothing: str, size: str
    ) -> str:
        if not isinstance(self.weights, Near):
            fades = graph.node("Expand", [graph.constant(self.fades[None]), size])
            faded = graph.node("ScatterElements", [nothing, codes, fades], axis=1, reduction="max")
            known = graph.constant([[1.0] * len(self.items) + [0.0]])
            faded = graph.node("Mul", [faded, known])
            return graph.node("MatMul", [faded, read[1]])
        fades = graph.constant(self.fades[None, :, None])
        near = self.weights.emit_scores(graph, codes, read, nothing, fades)
        ends = [graph.constant([end], np.int64) for end in (0, len(self.items), 1)]
        return graph.node("Slice", [near, *ends])

    def _emit_reasons(
        self, graph: Graph, codes: str, read: tuple[str, str], top: str, items: Floats
    ) -> str:
        axis, last = graph.constant([1], np.int64), graph.constant([2], np.int64)
        if isinstance(self.weights, Near):
            speak = self.weights.emit_speak(graph, read, top, task.LENGTH)
        else:
            rows = graph.node("Unsqueeze", [codes, last])
            rows = graph.node("Mul", [rows, graph.constant(len(items), np.int64)])
            places = graph.node("Add", [rows, graph.node("Unsqueeze", [top, axis])])
            flat = graph.node("Reshape", [read[1], graph.constant([-1], np.int64)])
            speak = graph.node("Gather", [flat, places])
        speak = graph.node("Mul", [speak, graph.constant(self.fades[None, :, None])])
        most = graph.node("ReduceMax", [speak, axis], keepdims=0)
        reason = graph.node("ArgMax", [speak], axis=1, keepdims=0)
        reason = graph.node("GatherElements", [codes, reason], axis=1)
        reason = graph.node("Gather", [graph.constant(np.append(items, NONE)), reason])
        some = graph.node("Greater", [most, graph.constant(0.0)])
        return graph.node("Where", [some, reason, graph.constant(NONE)])


def _top(graph: Graph, scores: str) -> tuple[str, str]:
    """Return the highest scores and their places, the lower place first where two are equal."""
    best = graph.node("TopK", [scores, graph.constant([task.LENGTH], np.int64)], axis=1)
    node = graph.nodes[-1]
    node.output.append(f"{best}_places")
    return best, f"{best}_places"


def _sorted(rows: Codes, places: Codes, scores: Floats, count: int) -> tuple[Codes, Floats]:
    """Return the first LENGTH places of each of `count` rows and their scores, the highest first.

    Of equal scores the lower place leads; each row has at least LENGTH.
    """
    order = np.lexsort((places, -scores, rows))
    first = np.searchsorted(rows[order], np.arange(count))
    some = order[first[:, None] + np.arange(task.LENGTH)]
    return places[some], scores[some]


def placed(items: NDArray[np.int64], values: Matrix) -> Codes:
    """Return the place of each number of an item, len(items) for an unknown or missing one."""
    whole = np.rint(np.clip(np.where(np.isnan(values), NONE, values), NONE, task.LARGEST))
    whole = whole.astype(np.int64)
    found = np.minimum(np.searchsorted(items, whole), len(items) - 1)
    return np.where(items[found] == whole, found, len(items))


def ranked(
    items: NDArray[np.int64],
    weights: Floats | Near,
    popular: Floats,
    allowed: NDArray[np.bool_],
    places: tuple[int, ...],
    *,
    short: float,
    fade: float,
    exclude: bool,
) -> Ranked:
    """Return the rankings of these items by weights (items, items) or neighbours of each.

    Where too few items are left for a list, negative numbers stand for none.
    """
    count, lacking = len(items), task.LENGTH
    none = -2 - np.arange(lacking)[::-1]
    whole: Floats | Near
    if isinstance(weights, Near):
        whole = weights.shifted(lacking)
    else:
        whole = np.zeros((lacking + count + 1, lacking + count))
        whole[lacking:-1, lacking:] = weights
    offset = np.where(allowed, 0.0, NEVER)
    return Ranked(
        np.concatenate([none, items]).astype(np.int64),
        whole,
        np.concatenate([np.zeros(lacking), popular / max(popular.max(initial=0), 1e-12)]),
        np.concatenate([np.full(lacking, NEVER), offset]),
        short,
        fade,
        exclude,
        places,
    )
