"""Metrics of a ranking: what labels tell, and what rows that were made to measure tell.

Everywhere `y` holds labels as `task` writes them (NaN unknown, 0 ordinary, 1 an anomaly, from 2 on
rows that were made to measure) and `p` scores, higher where a row is more unusual; both have shape
(rows,). A value that is undefined is NaN, which reports write as null: without labels no metric of
real anomalies is known. Definitions are those of scikit-learn where it has them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import task

Array = NDArray[Any]
BINS = 40
FEWEST_LABELS = 5  # of each kind, below which a metric of labels says nothing


class Ranked:
    """Rows of two kinds by falling score, in groups of equal ones."""

    def __init__(self, hit: NDArray[np.bool_], p: Array, rows: NDArray[np.intp]) -> None:
        order = np.argsort(-p[rows], kind="stable")
        self.rows = rows[order]
        self.hit = hit[self.rows]
        value = p[self.rows]
        self.ends = np.flatnonzero(np.append(value[1:] != value[:-1], len(value) > 0))

    def counted(self, w: Array) -> tuple[Array, Array]:
        """Return weights of hits and of others down to each group's end."""
        weight = w[self.rows]
        hits = np.cumsum(np.where(self.hit, weight, 0.0))[self.ends]
        return hits, np.cumsum(np.where(self.hit, 0.0, weight))[self.ends]

    def roc_auc(self, w: Array) -> float:
        """Probability that a hit ranks above another row; ties count half."""
        hits, others = self.counted(w)
        if not len(hits) or not hits[-1] or not others[-1]:
            return float("nan")
        below = others[-1] - (others + np.append(0, others[:-1])) / 2
        return float(np.diff(hits, prepend=0) @ below / (hits[-1] * others[-1]))

    def average_precision(self, w: Array) -> float:
        """Mean precision at each hit: the sum of precision times the gain in recall."""
        hits, others = self.counted(w)
        if not len(hits) or not hits[-1]:
            return float("nan")
        total = hits + others
        precision = np.divide(hits, total, out=np.zeros_like(hits), where=total > 0)
        return float(np.diff(hits, prepend=0) @ precision / hits[-1])


class Rows:
    """Scores with what is known of their rows; `level` is the share below the alerts."""

    def __init__(self, y: Array, p: Array, level: float) -> None:
        y, p = np.asarray(y, np.float64), np.asarray(p, np.float64)
        if y.ndim != 1 or y.shape != p.shape or not len(y) or not np.isfinite(p).all():
            raise ValueError(f"y {y.shape} and p {p.shape}: one finite score per row is needed")
        real, self.anomaly = task.real(y), y == 1
        self.labelled, self.made = real & ~np.isnan(y), ~real
        self.labels = Ranked(self.anomaly, p, np.flatnonzero(self.labelled))
        self.injected = Ranked(self.made, p, np.flatnonzero(~self.anomaly))
        self.alert = alerts(p, real, level)
        few = min(int(self.anomaly.sum()), int((self.labelled & ~self.anomaly).sum()))
        self.known = few >= FEWEST_LABELS

    def values(self, names: Sequence[str], weights: Array | None = None) -> list[float]:
        """Return metrics by their names; `weights` of shape (rows,)."""
        weights = np.ones(len(self.labelled)) if weights is None else weights
        return [_METRICS[name](self, weights) for name in names]

    def of_labels(self, value: float) -> float:
        """Return a metric of labels, NaN where there are too few of a kind."""
        return value if self.known else float("nan")


def alerts(p: Array, real: NDArray[np.bool_], level: float) -> NDArray[np.bool_]:
    """Return which rows are above the quantile `level` of the real ones, shape (rows,).

    By the rank and not by the score, so that models of any scale are compared.
    """
    ordered = np.sort(p[real])
    place = min(int(np.ceil(level * len(ordered) - 1e-9)), len(ordered))
    cut = ordered[place] if place < len(ordered) else np.inf
    if place and ordered[place - 1] == cut:  # rows are equal there: not all of them fit in
        return np.asarray(p > cut)
    return np.asarray(p >= cut)


def _share(rows: NDArray[np.bool_], among: NDArray[np.bool_], w: Array) -> float:
    total = float(w[among].sum())
    return float(w[rows & among].sum()) / total if total else float("nan")


_METRICS: dict[str, Callable[[Rows, Array], float]] = {
    "average_precision": lambda r, w: r.of_labels(r.labels.average_precision(w)),
    "roc_auc": lambda r, w: r.of_labels(r.labels.roc_auc(w)),
    "precision_at_budget": lambda r, w: r.of_labels(_share(r.anomaly, r.alert & r.labelled, w)),
    "recall_at_budget": lambda r, w: r.of_labels(_share(r.alert, r.anomaly, w)),
    "injected_average_precision": lambda r, w: r.injected.average_precision(w),
    "injected_auc": lambda r, w: r.injected.roc_auc(w),
    "injected_recall": lambda r, w: _share(r.alert, r.made, w),
}
NAMES = tuple(_METRICS)
HIGHER_IS_BETTER = dict.fromkeys(NAMES, True)


def sign(name: str) -> float:
    """Return 1 where a higher value of the metric is better: of all of these."""
    return 1.0 if HIGHER_IS_BETTER[name] else -1.0


def score(
    name: str, y: Array, p: Array, level: float = 0.99, weights: Array | None = None
) -> float:
    """Return one metric by its name (see `NAMES`); `weights` of shape (rows,)."""
    return Rows(y, p, level).values([name], weights)[0]


def evaluate(y: Array, p: Array, level: float = 0.99) -> dict[str, float]:
    """Return every metric."""
    return dict(zip(NAMES, Rows(y, p, level).values(NAMES), strict=True))


def strata(y: Array) -> list[NDArray[np.intp]]:
    """Return the places of the rows that resamples draw among themselves.

    Known anomalies, rows that were made to measure, and all others.
    """
    made, anomaly = ~task.real(y), y == 1
    return [np.flatnonzero(part) for part in (anomaly, made, ~anomaly & ~made)]


def shares(y: Array, p: Array, level: float) -> dict[str, Array]:
    """Return the rows that each metric between 0 and 1 is a share of, bool (rows,)."""
    rows = Rows(y, p, level)
    ranked = dict.fromkeys(("roc_auc", "average_precision", "recall_at_budget"), rows.anomaly)
    injected = ("injected_average_precision", "injected_auc", "injected_recall")
    made = dict.fromkeys(injected, rows.made)
    return {"precision_at_budget": rows.alert & rows.labelled, **ranked, **made}


def means(y: Array, answers: dict[str, Array]) -> dict[str, Array]:
    """Return values of rows whose mean is a further metric: none."""
    return {}


def by_kind(y: Array, p: Array, level: float) -> list[dict[str, Any]]:
    """Return how well probes of each kind are found among the other rows."""
    rows = Rows(y, p, level)
    ones, found = np.ones(len(y)), []
    for code, kind in task.KINDS.items():
        made = np.asarray(y == code)
        if not made.any():
            continue
        ranked = Ranked(made, np.asarray(p, np.float64), np.flatnonzero(made | ~(y >= 1)))
        found.append(
            {
                "kind": kind,
                "rows": int(made.sum()),
                "found": _share(rows.alert, made, ones),
                "auc": ranked.roc_auc(ones),
            }
        )
    return found


def histogram(values: Array) -> dict[str, list[Any]]:
    """Return edges (BINS + 1) from 0 to 1 and counts (BINS)."""
    counts, edges = np.histogram(values, bins=BINS, range=(0, 1))
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def agreement(first: Array, second: Array, level: float) -> dict[str, float]:
    """Return how far two rankings of the same rows agree, both scores of shape (rows,).

    `rank` is Spearman's correlation; `top` the share of the alerts of one that the other has.
    """
    from scipy.stats import spearmanr

    every = np.ones(len(first), bool)
    one, other = alerts(first, every, level), alerts(second, every, level)
    both, most = int((one & other).sum()), max(int(one.sum()), int(other.sum()))
    return {
        "rank": float(spearmanr(first, second).statistic),
        "top": both / most if most else float("nan"),
    }
