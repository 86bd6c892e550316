"""Operators from a category to numbers: a table with a row for each level, and a last one.

The last row stands for every level that is rare or unseen in training.
"""

from typing import Annotated, ClassVar
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from .builder import Graph
from .operators import Count, Floats, Learnt, Operator, Rows, To

INNER_FOLDS = 5
Codes = NDArray[np.int64]
Times = NDArray[np.int64]


class Table(Operator, frozen=True, kw_only=True):
    """A number, or several, for each level."""

    of: str
    takes: ClassVar[str] = "category"

    def emit(self, graph: Graph, inputs: list[str], learnt: Learnt) -> str:
        """Look the code up."""
        code = graph.node("Cast", inputs, to=7)  # onnx.TensorProto.INT64
        row = graph.node("Squeeze", [code, graph.constant([1], np.int64)])
        return graph.node("Gather", [graph.constant(learnt["table"]), row], axis=0)


class OneHot(Table, frozen=True, kw_only=True):
    """A column of 0 and 1 for each of the `keep` most frequent levels, all 0 for the others."""

    keep: Count = 20
    to: To = "linear"
    instead: bool = True
    purpose: ClassVar[str] = "levels without an order, for models that add up"

    def learn(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Learnt:
        """Levels stand in their order of frequency."""
        return {"table": np.eye(len(levels) + 1, max(1, min(self.keep, len(levels))))}


class Ordinal(Table, frozen=True, kw_only=True):
    """The place of a level in `order`, from 0; missing for every other one."""

    order: tuple[str, ...]
    purpose: ClassVar[str] = "levels with an order"

    def problem(self) -> str:
        """Ask for each level once."""
        return "" if len(set(self.order)) == len(self.order) > 1 else "order must name levels once"

    def learn(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Learnt:
        """Nothing is learnt but which code a level has."""
        places: dict[str | None, float] = {
            level: float(place) for place, level in enumerate(self.order)
        }
        return {"table": np.array([[places.get(x, np.nan)] for x in (*levels, None)])}


class Frequency(Table, frozen=True, kw_only=True):
    """The share of training rows with this level; 0 for rare and unseen ones."""

    purpose: ClassVar[str] = "how common something is may tell of it"

    def learn(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Learnt:
        """Count."""
        counts = np.bincount(columns[:, 0].astype(np.int64), minlength=len(levels) + 1)
        shares = counts / max(1, len(columns))
        shares[-1] = 0.0
        return {"table": shares[:, None]}


class Rare(Table, frozen=True, kw_only=True):
    """1 where the level has less than the share `below` of training rows, or is unseen."""

    below: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.01
    purpose: ClassVar[str] = "what is seldom is one group"

    def learn(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Learnt:
        """Count."""
        counts = np.bincount(columns[:, 0].astype(np.int64), minlength=len(levels) + 1)
        rare = counts < self.below * len(columns)
        rare[-1] = True
        return {"table": rare.astype(np.float64)[:, None]}


class Hashed(Table, frozen=True, kw_only=True):
    """One of `buckets` columns is 1, by the CRC-32 of the level; all 0 for rare and unseen ones.

    Levels that share a bucket are one to the model (Weinberger et al. 2009).
    """

    buckets: Annotated[int, msgspec.Meta(ge=2, le=1024)] = 16
    to: To = "linear"
    instead: bool = True
    purpose: ClassVar[str] = "many levels in few columns, without the target"

    def learn(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Learnt:
        """Nothing is learnt but which code a level has."""
        table = np.zeros((len(levels) + 1, self.buckets))
        buckets = [crc32(level.encode()) % self.buckets for level in levels]
        table[np.arange(len(levels)), buckets] = 1.0
        return {"table": table}


class TargetEncoding(Table, frozen=True, kw_only=True):
    """The mean target of a level, drawn to that of all by `smoothing` rows (Micci-Barreca 2001).

    Training rows never see their own target: they get the mean of rows whose target was known
    before theirs where rows have a time, else of the other parts of five. With several classes
    there is a column for each.
    """

    smoothing: Annotated[float, msgspec.Meta(ge=0)] = 20.0
    purpose: ClassVar[str] = "many levels, each with its own mean"

    def learn(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Learnt:
        """Learn the means of all rows: what is served comes after them."""
        return {"table": self._means(columns[:, 0].astype(np.int64), _goals(rows), len(levels) + 1)}

    def training(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Floats:
        """Return means that hold no row's own target, shape (rows, goals)."""
        codes, goals = columns[:, 0].astype(np.int64), _goals(rows)
        if rows.time is not None:
            return self._of_the_past(codes, goals, rows.time, rows.time - rows.delay)
        part = np.random.default_rng(rows.seed).integers(0, INNER_FOLDS, len(codes))
        found = np.empty_like(goals)
        for number in range(INNER_FOLDS):
            others, these = part != number, part == number
            if others.any():
                found[these] = self._means(codes[others], goals[others], len(levels) + 1)[
                    codes[these]
                ]
            else:
                found[these] = np.nan
        return found

    def _means(self, codes: Codes, goals: Floats, size: int) -> Floats:
        counts = np.bincount(codes, minlength=size)[:, None]
        sums = np.stack([np.bincount(codes, goal, size) for goal in goals.T], axis=1)
        return self._drawn(np.asarray(sums, np.float64), counts, goals.mean(axis=0))

    def _of_the_past(self, codes: Codes, goals: Floats, time: Times, known: Times) -> Floats:
        """Return means of rows of the level before `known`; equal times do not see one another."""
        times = np.unique(time)
        width = len(times) + 1
        own = codes * width + np.searchsorted(times, time)
        order = np.argsort(own, kind="stable")
        ends = np.searchsorted(own[order], codes * width + np.searchsorted(times, known))
        starts = np.searchsorted(own[order], codes * width)
        sums = np.vstack([np.zeros(goals.shape[1]), np.cumsum(goals[order], axis=0)])
        counts = (ends - starts)[:, None]
        return self._drawn(sums[ends] - sums[starts], counts, goals.mean(axis=0))

    def _drawn(self, sums: Floats, counts: Codes, mean: Floats) -> Floats:
        """Return smoothed means; without rows, the mean of all."""
        rows = np.maximum(counts + self.smoothing, np.finfo(np.float64).tiny)
        smoothed = (sums + self.smoothing * mean) / rows
        return np.asarray(np.where(counts + self.smoothing > 0, smoothed, mean))


def _goals(rows: Rows) -> Floats:
    if rows.goals is None:
        raise ValueError("it needs a target that every row has")
    return rows.goals
