"""Metrics of a binary classifier: values, curves and what resamples need.

Everywhere `y` holds 0 and 1 and `p` the probability of 1, both of shape (rows,), and a row is
predicted positive when `p >= threshold`. A value that is undefined (one class only, nothing
predicted) is NaN, which reports write as null. Definitions are those of scikit-learn.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BINS = 10  # of the expected calibration error


class Rows:
    """Rows sorted once by falling probability, so that every reweighting is one pass over them."""

    def __init__(self, y: Array, p: Array, threshold: float = 0.5) -> None:
        y, p = np.asarray(y, np.float64), np.asarray(p, np.float64)
        if y.ndim != 1 or y.shape != p.shape or not len(y) or not np.isfinite(p).all():
            raise ValueError(f"y {y.shape} and p {p.shape}: one finite value per row is needed")
        self.order = np.argsort(-p, kind="stable")
        self.y, self.p = y[self.order], p[self.order]
        self.ends = np.flatnonzero(np.append(np.diff(self.p) != 0, True))  # last row of equal p
        self.predicted = int(np.count_nonzero(self.p >= threshold))

    def values(self, names: Sequence[str], weights: Array | None = None) -> list[float]:
        """Return metrics by their names; `weights` of shape (rows,) in the order of `y`."""
        draw = Draw(self, weights)
        known = {**_METRICS, **OF_GROUPS}
        return [known[name](draw) for name in names]

    @cached_property
    def loss(self) -> Array:
        """Log loss of each row, shape (rows,)."""
        tiny = np.finfo(np.float64).eps
        p = np.clip(self.p, tiny, 1 - tiny)
        loss: Array = -np.where(self.y > 0, np.log(p), np.log1p(-p))
        return loss

    @cached_property
    def logit(self) -> Array:
        """Log-odds of shape (rows,)."""
        # 0 and 1, as from isotonic steps, must not rule the fit.
        p = np.clip(self.p, 1e-6, 1 - 1e-6)
        logit: Array = np.log(p) - np.log1p(-p)
        return logit

    @cached_property
    def bins(self) -> Array:
        """The bin of equal counts that each row falls into, shape (rows,)."""
        edges = np.quantile(self.p, np.arange(1, BINS) / BINS)
        return np.searchsorted(edges, self.p, side="right")

    @cached_property
    def calibration(self) -> tuple[float, float]:
        """Intercept and slope on the unweighted rows: where reweighted fits start."""
        return _fit_calibration(self, np.ones(len(self.y)), (0.0, 1.0))


class Draw:
    """Rows under one set of weights."""

    def __init__(self, rows: Rows, weights: Array | None = None) -> None:
        self.rows = rows
        self.w = np.ones(len(rows.y)) if weights is None else weights[rows.order]
        hits, all_ = np.cumsum(self.w * rows.y), np.cumsum(self.w)
        self.total, self.positives = float(all_[-1]), float(hits[-1])
        self.negatives = self.total - self.positives
        self.hits, self.false = hits[rows.ends], all_[rows.ends] - hits[rows.ends]
        cut = rows.predicted - 1
        self.tp = float(hits[cut]) if cut >= 0 else 0.0
        self.fp = float(all_[cut]) - self.tp if cut >= 0 else 0.0
        self.fn, self.tn = self.positives - self.tp, self.negatives - self.fp

    def mean(self, values: Array) -> float:
        """Return the mean of values of shape (rows,) over the resample."""
        return _dot(self.w, values) / self.total


def _dot(a: Array, b: Array) -> float:
    """Return a·b without BLAS, which starts threads for such small products and waits for them."""
    return float(np.einsum("i,i->", a, b))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")


def _roc_auc(d: Draw) -> float:
    """Share of pairs of a positive and a negative in the right order; ties count one half."""
    steps = np.diff(d.false, prepend=0.0)
    area = _dot(steps, d.hits - np.diff(d.hits, prepend=0.0) / 2)
    return _ratio(area, d.positives * d.negatives)


def _pr_auc(d: Draw) -> float:
    """Average precision: precision at each step of recall, without interpolation."""
    steps, flagged = np.diff(d.hits, prepend=0.0), d.hits + d.false
    precision = np.divide(d.hits, flagged, out=np.zeros_like(flagged), where=flagged > 0)
    return _ratio(_dot(steps, precision), d.positives)


def _ece(d: Draw) -> float:
    """Return the calibration error (Naeini et al. 2015), bins of equal mass (Nixon et al. 2019)."""
    gaps = np.bincount(d.rows.bins, d.w * (d.rows.y - d.rows.p), minlength=BINS)
    return float(np.abs(gaps).sum()) / d.total


def _fit_calibration(rows: Rows, w: Array, start: tuple[float, float]) -> tuple[float, float]:
    """Fit logit P(y=1) = a + b·logit(p) by Newton steps; NaN where no finite fit exists."""
    x, (a, b), reach, last = rows.logit, start, 2.0, 0.0
    for _ in range(50):
        mu = 1 / (1 + np.exp(-np.clip(a + b * x, -500, 500)))
        residual, v = w * (rows.y - mu), w * mu * (1 - mu)
        vx = v * x
        haa, hab, hbb = float(v.sum()), float(vx.sum()), _dot(vx, x)
        ga, gb = float(residual.sum()), _dot(residual, x)
        determinant = haa * hbb - hab * hab
        if determinant <= 1e-10 * haa * hbb:
            break
        da, db = (hbb * ga - hab * gb) / determinant, (haa * gb - hab * ga) / determinant
        reach /= 2 if db * last < 0 else 1  # a step that turns back went too far
        shorten, last = min(1.0, reach / max(abs(da), abs(db), 1e-300)), db
        a, b = a + shorten * da, b + shorten * db
        if max(abs(da), abs(db)) < 1e-8:
            return a, b
    return float("nan"), float("nan")


def _calibration_slope(d: Draw) -> float:
    """Slope b of y ~ a + b·logit(p): 1 is calibrated, below 1 overconfident (Cox 1958)."""
    if not d.positives or not d.negatives:
        return float("nan")
    start = d.rows.calibration
    return _fit_calibration(d.rows, d.w, start if np.isfinite(start[1]) else (0.0, 1.0))[1]


def _mcc(d: Draw) -> float:
    sides = (d.tp + d.fp) * (d.tp + d.fn) * (d.tn + d.fp) * (d.tn + d.fn)
    return (d.tp * d.tn - d.fp * d.fn) / sides**0.5 if sides > 0 else 0.0


_METRICS: dict[str, Callable[[Draw], float]] = {
    "roc_auc": _roc_auc,
    "pr_auc": _pr_auc,
    "log_loss": lambda d: d.mean(d.rows.loss),
    "brier": lambda d: d.mean((d.rows.y - d.rows.p) ** 2),
    "ece": _ece,
    "calibration_slope": _calibration_slope,
    "accuracy": lambda d: (d.tp + d.tn) / d.total,
    "balanced_accuracy": lambda d: (
        (_ratio(d.tp, d.positives) + _ratio(d.tn, d.negatives)) / 2  # one class: NaN
    ),
    "precision": lambda d: _ratio(d.tp, d.tp + d.fp),
    "recall": lambda d: _ratio(d.tp, d.positives),
    "f1": lambda d: _ratio(2 * d.tp, 2 * d.tp + d.fp + d.fn),
    "mcc": _mcc,
}
NAMES = tuple(_METRICS)
OF_GROUPS: dict[str, Callable[[Draw], float]] = {  # of people, beside precision and recall
    "selection_rate": lambda d: _ratio(d.tp + d.fp, d.total),
    "false_positive_rate": lambda d: _ratio(d.fp, d.negatives),
}
# calibration_slope is not in the table: it is best at 1.
HIGHER_IS_BETTER = {
    name: name not in ("log_loss", "brier", "ece") for name in NAMES if name != "calibration_slope"
}


def sign(name: str) -> float:
    """Return 1 where a higher value of the metric is better, -1 where a lower one is."""
    return 1.0 if HIGHER_IS_BETTER[name] else -1.0


def score(
    name: str, y: Array, p: Array, threshold: float = 0.5, weights: Array | None = None
) -> float:
    """Return one metric by its name (see `NAMES`); `weights` of shape (rows,)."""
    return Rows(y, p, threshold).values([name], weights)[0]


def log_loss(y: Array, p: Array, weights: Array | None = None) -> float:
    """Return the mean negative log-likelihood in nats; p is kept 2.2e-16 away from 0 and 1."""
    return score("log_loss", y, p, weights=weights)


def confusion(y: Array, p: Array, threshold: float) -> dict[str, int]:
    """Return the counts tp, fp, fn and tn."""
    d = Draw(Rows(y, p, threshold))
    return {name: round(getattr(d, name)) for name in ("tp", "fp", "fn", "tn")}


def evaluate(
    y: Array, p: Array, threshold: float, weights: Array | None = None
) -> dict[str, float]:
    """Return every metric; those in need of a decision at `threshold`."""
    return dict(zip(NAMES, Rows(y, p, threshold).values(NAMES, weights), strict=True))


def strata(y: Array) -> list[NDArray[np.intp]]:
    """Return the places of the rows that resamples draw among themselves: those of each class."""
    return [np.flatnonzero(np.asarray(y) == label) for label in (0, 1)]


def shares(y: Array, p: Array, level: float) -> dict[str, Array]:
    """Return the rows that each metric between 0 and 1 is a share of, bool (rows,)."""
    y, flagged = np.asarray(y) > 0, np.asarray(p) >= level
    every, rarer = np.ones(len(y), bool), y if 2 * y.sum() <= len(y) else ~y
    ranked = dict.fromkeys(("roc_auc", "balanced_accuracy"), rarer)
    counted = {"precision": flagged, "recall": y, "pr_auc": y, "f1": y | flagged}
    of_groups = {"selection_rate": every, "false_positive_rate": ~y}
    return {"accuracy": every, **ranked, **counted, **of_groups}


def means(y: Array, answers: dict[str, Array]) -> dict[str, Array]:
    """Return values of rows whose mean is a further metric: none."""
    return {}


def calibration_bins(y: Array, p: Array) -> list[dict[str, float]]:
    """Return predicted and observed rate and rows of each bin of `ece`, by rising probability."""
    r = Rows(y, p)
    n, hits = np.bincount(r.bins), np.bincount(r.bins, r.y)
    mass = np.bincount(r.bins, r.p)
    return [
        {"predicted": float(mass[b] / n[b]), "observed": float(hits[b] / n[b]), "n": int(n[b])}
        for b in np.flatnonzero(n)
    ]


def thin(x: Array, y: Array, along: Array, points: int) -> list[list[float]]:
    """Return at most `points` of the pairs, evenly spread along a rising quantity."""
    keep = np.unique(np.searchsorted(along, np.linspace(along[0], along[-1], points)))
    return np.column_stack([x, y])[np.minimum(keep, len(x) - 1)].tolist()  # type: ignore[no-any-return]


def roc_curve(y: Array, p: Array, points: int = 200) -> list[list[float]]:
    """Return at most `points` pairs [false positive rate, recall] from (0, 0) to (1, 1)."""
    d = Draw(Rows(y, p))
    if not d.positives or not d.negatives:
        return []
    fpr, tpr = np.append(0, d.false) / d.negatives, np.append(0, d.hits) / d.positives
    return thin(fpr, tpr, fpr + tpr, points)


def pr_curve(y: Array, p: Array, points: int = 200) -> list[list[float]]:
    """Return at most `points` pairs [recall, precision] by rising recall."""
    d = Draw(Rows(y, p))
    recall = d.hits / d.positives if d.positives else d.hits[:0]
    return thin(recall, d.hits / (d.hits + d.false), recall, points) if len(recall) else []


def weights_at(y: Array, prevalence: float) -> Array:
    """Return weights of rows, shape (rows,) and sum 1, that give positives the share `prevalence`.

    With rows of one class only, the weights of these are equal.
    """
    share = float(np.mean(y))
    if share in (0.0, 1.0):
        return np.full(len(y), 1 / len(y))
    return np.where(y, prevalence / share, (1 - prevalence) / (1 - share)) / len(y)


def class_means(
    y: Array, values: Array, groups: NDArray[np.intp] | None, *, draws: int, seed: int
) -> NDArray[np.float64]:
    """Return the mean of `values` (rows,) in both classes: of all rows, then of `draws` resamples.

    Shape (1 + draws, 2). Groups are drawn whole; a resample without a class has NaN there.
    """
    groups = np.arange(len(y)) if groups is None else groups
    rng = np.random.default_rng(seed)
    sums, counts = (
        np.stack([np.bincount(groups, weights=part * (y == kind)) for kind in (0, 1)])
        for part in (values, np.ones(len(y)))
    )
    drawn = [np.arange(sums.shape[1])]
    size = sums.shape[1]
    means = []
    for draw in range(1 + draws):
        rows = rng.integers(0, size, size) if draw else drawn[0]
        with np.errstate(invalid="ignore"):
            means.append(sums[:, rows].sum(axis=1) / counts[:, rows].sum(axis=1))
    return np.array(means)
