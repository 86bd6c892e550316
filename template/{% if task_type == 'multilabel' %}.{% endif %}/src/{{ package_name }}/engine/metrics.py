"""Metrics of a multilabel model: of its probabilities, of their order, and of the labels it sets.

Everywhere `y` holds codes of label sets of shape (rows,) and `p` probabilities of shape
(rows, labels). Labels are set from the thresholds of a level, shape (labels,); without one from
those that are best if the probabilities are true, so that models are compared each at its best and
no metric looks at what came to choose them. A value that is undefined is NaN, which reports write
as null. Definitions are those of scikit-learn where it has them.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .label_sets import Sets, unpacked

Array = NDArray[Any]
Floats = NDArray[np.float64]
BINS = 10  # of a calibration error
# Metrics of set labels whose best thresholds are those of another one, or one half.
LIKE = {"samples_f1": "micro_f1"}


class Rows:
    """Actual labels and probabilities, with what every reweighting of the rows needs."""

    def __init__(self, y: Array, p: Array, level: Array | None = None) -> None:
        self.p, self.level = np.asarray(p, np.float64), level
        rows, self.labels = self.p.shape if self.p.ndim == 2 else (0, 0)
        if np.shape(y) != (rows,) or not rows or not np.isfinite(self.p).all():
            raise ValueError(
                f"y {np.shape(y)} and p {np.shape(p)}: finite probabilities are needed"
            )
        if not 0 <= np.min(y) <= np.max(y) < 2**self.labels:
            raise ValueError(f"sets from {np.min(y)} to {np.max(y)} of {self.labels} labels")
        self.truth = unpacked(np.asarray(y), self.labels)

    def values(self, names: Sequence[str], weights: Array | None = None) -> list[float]:
        """Return metrics by their names (see `NAMES`); `weights` of shape (rows,)."""
        draw = Draw(self, np.ones(len(self.p)) if weights is None else weights)
        return [_METRICS[name](draw) for name in names]

    def decided(self, metric: str) -> Sets:
        """Return which labels are set, shape (rows, labels), when the metric is what counts."""
        if self.level is not None:
            return np.asarray(self.p >= self.level)
        name = LIKE.get(metric, metric)
        if name not in self._decided:
            self._decided[name] = self.p >= thresholds(name, self.p)
        return self._decided[name]

    @cached_property
    def _decided(self) -> dict[str, Sets]:
        return {}

    @cached_property
    def loss(self) -> Floats:
        """Mean log loss of the labels of each row, in nats; probabilities are kept off 0 and 1."""
        tiny = float(np.finfo(np.float64).eps)
        of_actual = np.where(self.truth, self.p, 1 - self.p)
        return np.asarray(-np.log(np.clip(of_actual, tiny, 1.0)).mean(axis=1))

    @cached_property
    def squared(self) -> Floats:
        """Mean squared distance of the probabilities of each row from what came (Brier 1950)."""
        return np.asarray(((self.p - self.truth) ** 2).mean(axis=1))

    @cached_property
    def ranked(self) -> Floats:
        """Label ranking average precision of each row (Schapire & Singer 2000); 1 of no label."""
        total, count = np.zeros(len(self.p)), self.truth.sum(axis=1)
        for label in range(self.labels):
            above = self.p >= self.p[:, [label]]
            share = (above & self.truth).sum(axis=1) / above.sum(axis=1)
            total += np.where(self.truth[:, label], share, 0.0)
        whole = (count == 0) | (count == self.labels)
        return np.where(whole, 1.0, total / np.maximum(count, 1))

    @cached_property
    def bins(self) -> list[NDArray[np.intp]]:
        """Of each label the bin of equal counts that each row falls into, by its probability."""
        return [binned(self.p[:, label]) for label in range(self.labels)]

    @cached_property
    def order(self) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Of each label the rows from its highest probability, and the last of equal ones."""
        found = []
        for label in range(self.labels):
            rows = np.argsort(-self.p[:, label], kind="stable")
            ends = np.append(np.flatnonzero(np.diff(self.p[rows, label])), len(rows) - 1)
            found.append((rows, ends))
        return found


class Draw:
    """Rows under one set of weights."""

    def __init__(self, rows: Rows, weights: Array) -> None:
        self.rows, self.w, self.total = rows, weights, float(weights.sum())

    def mean(self, values: Array) -> float:
        """Return the mean of values of shape (rows,), without BLAS, which starts threads for it."""
        return float(np.einsum("i,i->", self.w, values)) / self.total

    def counts(self, metric: str) -> tuple[Floats, Floats]:
        """Return of each label the rows that have it rightly set, and those actual plus set."""
        decided, truth = self.rows.decided(metric), self.rows.truth
        hits = np.einsum("i,ij->j", self.w, decided & truth)
        both = np.einsum("i,ij->j", self.w, decided.astype(np.float64) + truth)
        return hits, both

    def off(self, label: int) -> float:
        """Return a label's calibration error: mean over rows of the gap that their bin has."""
        gap = self.rows.truth[:, label] - self.rows.p[:, label]
        found = np.bincount(self.rows.bins[label], self.w * gap, BINS)
        return float(np.abs(found).sum()) / self.total

    def precise(self, label: int) -> float:
        """Return a label's average precision; NaN where no row has it."""
        rows, ends = self.rows.order[label]
        hits = (self.w * self.rows.truth[:, label])[rows].cumsum()[ends]
        seen = self.w[rows].cumsum()[ends]
        if not hits[-1]:
            return float("nan")
        precision = np.divide(hits, seen, out=np.zeros(len(seen)), where=seen > 0)
        return float((np.diff(hits, prepend=0.0) * precision).sum() / hits[-1])


def thresholds(metric: str, p: Floats) -> Floats:
    """Return from which probability each label is set, shape (labels,), if the metric counts.

    Of the F1 scores those of the highest expected value, if the probabilities `p` are true: half of
    that value (Lipton et al. 2014), for one label or for all of them. Of all others one half.
    """
    if metric == "micro_f1":
        return np.full(p.shape[1], _best_of_expected(p.ravel()))
    if metric == "macro_f1":
        return np.array([_best_of_expected(column) for column in p.T])
    return np.full(p.shape[1], 0.5)


def _best_of_expected(p: Floats) -> float:
    ordered = -np.sort(-p)
    f1 = 2 * ordered.cumsum() / (np.arange(1, len(ordered) + 1) + ordered.sum())
    return float(ordered[int(f1.argmax())])


def binned(values: Array) -> NDArray[np.intp]:
    """Return the bin of equal counts that each value falls into, shape (rows,)."""
    edges = np.quantile(values, np.arange(1, BINS) / BINS)
    return np.searchsorted(edges, values, side="right")


def _micro_f1(d: Draw) -> float:
    hits, both = d.counts("micro_f1")
    return 2 * float(hits.sum()) / float(both.sum()) if both.sum() else 0.0


def f1_of(hits: Floats, both: Floats) -> Floats:
    """Return the F1 of each label, NaN of one that no row has and none is set."""
    nothing = np.full(len(both), np.nan)
    return np.asarray(np.divide(2 * hits, both, out=nothing, where=both > 0))


def _macro_f1(d: Draw) -> float:
    found = f1_of(*d.counts("macro_f1"))
    return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")


def of_samples(truth: Sets, decided: Sets) -> Floats:
    """Return the F1 of the labels of each row, shape (rows,); 1 where it has none and gets none."""
    both = truth.sum(axis=1) + decided.sum(axis=1)
    hits = (truth & decided).sum(axis=1)
    return np.asarray(np.divide(2 * hits, both, out=np.ones(len(both)), where=both > 0))


def _macro_precision(d: Draw) -> float:
    found = np.array([d.precise(label) for label in range(d.rows.labels)])
    return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")


_METRICS: dict[str, Callable[[Draw], float]] = {
    "log_loss": lambda d: d.mean(d.rows.loss),
    "brier": lambda d: d.mean(d.rows.squared),
    # Bins of equal mass (Nixon et al. 2019), the mean over the labels.
    "ece": lambda d: float(np.mean([d.off(label) for label in range(d.rows.labels)])),
    "hamming_loss": lambda d: d.mean((d.rows.decided("hamming_loss") ^ d.rows.truth).mean(axis=1)),
    "micro_f1": _micro_f1,
    "macro_f1": _macro_f1,
    "samples_f1": lambda d: d.mean(of_samples(d.rows.truth, d.rows.decided("samples_f1"))),
    "subset_accuracy": lambda d: d.mean(
        (d.rows.decided("subset_accuracy") == d.rows.truth).all(axis=1).astype(np.float64)
    ),
    "lrap": lambda d: d.mean(d.rows.ranked),
    "macro_average_precision": _macro_precision,
}
NAMES = tuple(_METRICS)
LOSSES = ("log_loss", "brier", "ece", "hamming_loss")
HIGHER_IS_BETTER = {name: name not in LOSSES for name in NAMES}


def sign(name: str) -> float:
    """Return 1 where a higher value of the metric is better, -1 where a lower one is."""
    return 1.0 if HIGHER_IS_BETTER[name] else -1.0


def score(
    name: str, y: Array, p: Array, level: Array | None = None, weights: Array | None = None
) -> float:
    """Return one metric by its name (see `NAMES`); `weights` of shape (rows,)."""
    return Rows(y, p, level).values([name], weights)[0]


def evaluate(y: Array, p: Array, level: Array | None = None) -> dict[str, float]:
    """Return every metric."""
    return dict(zip(NAMES, Rows(y, p, level).values(NAMES), strict=True))


def strata(y: Array) -> list[NDArray[np.intp]]:
    """Return the places of rows that are redrawn among themselves: all."""
    return [np.arange(len(y))]


def shares(y: Array, p: Array, level: Array | None) -> dict[str, Array]:
    """Return the rows that each metric between 0 and 1 is a share of, bool (rows,)."""
    truth = unpacked(np.asarray(y), np.shape(p)[1])
    every, count = np.ones(len(truth), bool), truth.sum(axis=0)
    rarest = truth[:, np.where(count > 0, count, len(truth) + 1).argmin()]
    whole = ("hamming_loss", "micro_f1", "samples_f1", "subset_accuracy", "lrap")
    return dict.fromkeys(whole, every) | dict.fromkeys(
        ("macro_f1", "macro_average_precision"), rarest
    )


def means(y: Array, answers: dict[str, Array]) -> dict[str, Array]:
    """Return values of rows, shape (rows,), whose mean is a further metric: none."""
    return {}


def by_label(names: Sequence[str], y: Array, p: Array, level: Array) -> list[dict[str, Any]]:
    """Return of each label its rows, how often it was found, and how often it was right."""
    rows = Rows(y, p, level)
    draw = Draw(rows, np.ones(len(rows.p)))
    hits, both = draw.counts("macro_f1")
    actual = rows.truth.sum(axis=0)
    decided = both - actual
    nothing = np.full(len(names), np.nan)
    recall = np.divide(hits, actual, out=nothing.copy(), where=actual > 0)
    precision = np.divide(hits, decided, out=nothing.copy(), where=decided > 0)
    f1 = f1_of(hits, both)
    return [
        {
            "name": name,
            "rows": int(actual[code]),
            "share": float(actual[code] / len(rows.p)),
            "decided": int(decided[code]),
            "threshold": float(level[code]),
            "mean_probability": float(rows.p[:, code].mean()),
            "precision": float(precision[code]),
            "recall": float(recall[code]),
            "f1": float(f1[code]),
            "average_precision": draw.precise(code),
        }
        for code, name in enumerate(names)
    ]


def together(sets: Array) -> Floats:
    """Return the correlation phi of each pair of labels, shape (labels, labels).

    NaN where all rows have a label, or none.
    """
    values = sets.astype(np.float64)
    away = values - values.mean(axis=0)
    spread = np.sqrt((away**2).mean(axis=0))
    both = np.outer(spread, spread)
    shared = np.einsum("ij,ik->jk", away, away) / len(sets)
    nothing = np.full(both.shape, np.nan)
    return np.asarray(np.divide(shared, both, out=nothing, where=both > 0))


def calibration_bins(y: Array, p: Array) -> list[dict[str, float]]:
    """Return mean probability, share that came and number of label and row pairs of each bin."""
    truth, flat = unpacked(y, p.shape[1]).ravel(), np.asarray(p, np.float64).ravel()
    place = binned(flat)
    n, mass, came = np.bincount(place), np.bincount(place, flat), np.bincount(place, truth)
    return [
        {"predicted": float(mass[b] / n[b]), "observed": float(came[b] / n[b]), "n": int(n[b])}
        for b in np.flatnonzero(n)
    ]
