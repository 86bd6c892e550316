"""From probabilities to the labels that are set: calibration, and a threshold for each label."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .engine import metrics
from .engine.data.contract import Column
from .engine.errors import ProjectError
from .engine.facts import Facts
from .engine.label_sets import Sets, unpacked
from .engine.model.fitting import Data, drawn, known
from .engine.model.head import Head, log_odds
from .engine.model.plain import sigmoid
from .engine.settings import Project

Floats = NDArray[np.float64]
PARTS = 5  # of the rows out of fold, on which methods of calibration are compared
CALIBRATION_ROWS = 50_000  # are enough to learn one, and thresholds
PENALTY = 1.0  # of the squared distance of weights from changing nothing, or one label alone
GRID = 100  # thresholds that are tried for a label
SWEEPS = 10  # over the labels, at most


class Costs(NamedTuple):
    """What errors cost by label, in the project's currency, each of shape (labels,)."""

    missed: Floats
    extra: Floats

    @property
    def thresholds(self) -> Floats:
        """From which probability it costs less to set a label than not to (Elkan 2001)."""
        return np.asarray(self.extra / (self.missed + self.extra))

    def of(self, truth: Sets, decided: Sets) -> Floats:
        """Return what the labels that are set cost, shape (rows, labels)."""
        return np.where(truth & ~decided, self.missed, 0.0) + np.where(
            decided & ~truth, self.extra, 0.0
        )


def costs(project: Project, labels: tuple[str, ...]) -> Costs:
    """Return the costs that the plan answers, in the order of the contract's labels."""
    facts = project.facts
    named = {name.strip() for name in facts.label_names.split(",")}
    if named != set(labels):
        other = ", ".join(sorted(named ^ set(labels)))
        raise ProjectError(
            f"costs: contract and plan name other labels ({other}): correct labels of the "
            f'contract, or run `ml update --data label_names="{", ".join(labels)}"`'
        )
    found = Costs(
        np.full(len(labels), facts.cost_missed_label), np.full(len(labels), facts.cost_extra_label)
    )
    for name, missed, extra in label_costs(facts, labels):
        place = labels.index(name)
        found.missed[place], found.extra[place] = missed, extra
    return found


def label_costs(facts: Facts, labels: tuple[str, ...]) -> list[tuple[str, float, float]]:
    """Read "label = missed / extra; ..."; ProjectError for what names no label or no two costs."""
    found = []
    for text in filter(str.strip, facts.label_costs.split(";")):
        name, _, both = text.rpartition("=")
        try:
            missed, extra = (float(part) for part in both.split("/"))
        except ValueError:
            missed = extra = float("nan")
        if name.strip() not in labels or not (0 < missed < np.inf and 0 < extra < np.inf):
            raise ProjectError(
                f"label_costs: {text.strip()!r} is no label with what it costs missed and what it "
                f"costs set in excess, such as `{labels[0]} = 50 / 2`: change the answer with "
                "`ml update --data`"
            )
        found.append((name.strip(), missed, extra))
    return found


def decide(project: Project, data: Data, oof: Floats) -> tuple[Head, dict[str, Any]]:
    """Choose calibration and thresholds from probabilities out of fold.

    `oof` has shape (rows, labels), with NaN where no fold tested a row. Also return what
    reports/training.json says of it.
    """
    facts, there = project.facts, np.flatnonzero(known(oof))
    some = there[drawn(np.arange(len(there)), CALIBRATION_ROWS, project.config.training.seed)]
    truth = unpacked(data.y[some], len(data.levels))
    head, losses = calibrate(facts.calibration, truth, oof[some], project.config.training.seed)
    found, p = costs(project, data.levels), head.apply(oof[some])
    limits = chosen(facts, truth, p, found).astype(np.float32).astype(np.float64)
    policies = zip(data.levels, limits.tolist(), found.thresholds.tolist(), strict=True)
    told = {
        "labels": list(data.levels),
        "calibration": {"method": head.method, "losses": losses},
        "thresholds": [
            {"label": name, "threshold": limit, "by_costs": by_costs}
            for name, limit, by_costs in policies
        ],
        "decisions": {
            "policy": facts.label_thresholds,
            "cardinality": float((p >= limits).sum(axis=1).mean()),
            "cost": float(found.of(truth, p >= limits).sum(axis=1).mean()),
        },
    }
    return head._replace(levels=data.levels, thresholds=limits), told


def check(project: Project, target: Column) -> None:
    """ProjectError now, before anything is trained, for what `decide` would refuse."""
    costs(project, target.labels)


def needed_gain(project: Project, other: float) -> float:
    """Return by how much the metric must be better than `other`, that of the best baseline."""
    return project.facts.min_gain


def chosen(facts: Facts, truth: Sets, p: Floats, found: Costs) -> Floats:
    """Return the threshold of each label, shape (labels,), by decision EVAL-05."""
    if facts.label_thresholds == "by_costs":
        return found.thresholds
    if facts.label_thresholds != "by_metric":
        raise ProjectError(f"EVAL-05: unknown policy {facts.label_thresholds}")
    return ascended(facts.primary_metric, truth, p)


def ascended(metric: str, truth: Sets, p: Floats) -> Floats:
    """Return the thresholds at which a metric of `p` (rows, labels) is best, one label at a time.

    From those that are best if the probabilities are true, each label's in turn becomes the best
    of GRID while all others stay, until none changes. Only the F1 scores and the share of rows
    that are right as a whole ask for that: of other metrics, one half is best for true
    probabilities.
    """
    limits = metrics.thresholds(metrics.LIKE.get(metric, metric), p)
    if metric not in ("micro_f1", "macro_f1", "samples_f1", "subset_accuracy"):
        return limits
    score = _Ascent(metric, truth, p, limits)
    for _ in range(SWEEPS):
        before = limits.copy()
        for label in range(p.shape[1]):
            values = score.grid(label)
            scores = np.array([score.at(label, value) for value in values])
            now = score.at(label, limits[label])
            if scores.max() > now + 1e-9:
                limits[label] = values[int(scores.argmax())]
            score.keep(label, limits[label])
        if (limits == before).all():
            break
    return limits


class _Ascent:
    """A metric while the threshold of one label moves."""

    def __init__(self, metric: str, truth: Sets, p: Floats, limits: Floats) -> None:
        self.metric, self.truth, self.p = metric, truth, p
        self.decided = p >= limits

    def grid(self, label: int) -> Floats:
        """Return GRID thresholds to try, between neighbouring probabilities of the label."""
        values = np.unique(self.p[:, label])
        middles = (values[1:] + values[:-1]) / 2
        if len(middles) > GRID:
            middles = middles[np.linspace(0, len(middles) - 1, GRID).astype(int)]
        return np.asarray(middles if len(middles) else values)

    def keep(self, label: int, limit: float) -> None:
        """Set a label from its threshold on."""
        self.decided[:, label] = self.p[:, label] >= limit
        self._rest = None

    _rest: tuple[Any, ...] | None = None

    def at(self, label: int, limit: float) -> float:
        """Return the metric when a label is set from `limit` on and the others stay."""
        column, truth = self.p[:, label] >= limit, self.truth[:, label]
        if self.metric == "macro_f1":  # each label alone
            both = int(column.sum()) + int(truth.sum())
            return 2 * int((column & truth).sum()) / both if both else 0.0
        hits, both = self._without(label)
        if self.metric == "micro_f1":
            total = both + int(column.sum()) + int(truth.sum())
            return 2 * (hits + int((column & truth).sum())) / total if total else 0.0
        if self.metric == "subset_accuracy":
            return float((hits & (column == truth)).mean())
        size = both + column + truth
        shared = 2 * (hits + (column & truth))
        return float(np.divide(shared, size, out=np.ones(len(size)), where=size > 0).mean())

    def _without(self, label: int) -> tuple[Any, Any]:
        """Return what the other labels have: rows or counts that are right, and of both sides."""
        if self._rest is not None and self._rest[0] == label:
            return self._rest[1], self._rest[2]
        decided, truth = (np.delete(each, label, axis=1) for each in (self.decided, self.truth))
        hits: Any
        both: Any
        if self.metric == "micro_f1":
            hits, both = int((decided & truth).sum()), int(decided.sum()) + int(truth.sum())
        elif self.metric == "subset_accuracy":
            hits, both = (decided == truth).all(axis=1), 0
        else:
            hits, both = (decided & truth).sum(axis=1), decided.sum(axis=1) + truth.sum(axis=1)
        self._rest = (label, hits, both)
        return hits, both


def calibrate(method: str, truth: Sets, p: Floats, seed: int = 0) -> tuple[Head, dict[str, float]]:
    """Learn the calibration by decision EVAL-07; also return log losses on rows not learnt from.

    Of "best_of_two" Platt's of each label, unless that of all labels together is better by more
    than one standard error: then one label tells of another what the features do not.
    """
    if method == "none":
        return Head(), {}
    if method not in ("platt", "best_of_two"):
        raise ProjectError(f"EVAL-07: unknown method of calibration {method}")
    names = ("none", "platt", "joint") if method == "best_of_two" else ("none", "platt")
    part = np.random.default_rng(seed).permutation(len(p)) % PARTS
    losses = {name: np.empty(len(p)) for name in names}
    for name in names:
        for number in range(PARTS):
            rest = part == number
            head = fitted(name, truth[~rest], p[~rest])
            losses[name][rest] = _losses(truth[rest], head.apply(p[rest]))
    picked = "platt"
    if method == "best_of_two":
        gain = losses["platt"] - losses["joint"]
        if gain.mean() > gain.std() / len(gain) ** 0.5:
            picked = "joint"
    return fitted(picked, truth, p), {name: float(each.mean()) for name, each in losses.items()}


def fitted(method: str, truth: Sets, p: Floats) -> Head:
    """Return the head whose log loss is the least, with a penalty for what it changes.

    No label becomes less probable where its own log-odds rise.
    """
    if method == "none":
        return Head()
    from scipy.optimize import minimize

    odds, size = log_odds(p), p.shape[1]
    alone = np.eye(size, dtype=bool)
    start, free = np.vstack([np.eye(size), np.zeros((1, size))]), np.ones((size + 1, size), bool)
    if method == "platt":
        free[:-1] = alone
    else:
        head = fitted("platt", truth, p)
        start = np.vstack([head.weight, head.bias[None]])
    inputs = np.column_stack([odds, np.ones(len(p))])

    def loss(flat: Floats) -> tuple[float, Floats]:
        weight = start.copy()
        weight[free] = flat
        away, q = weight - start, sigmoid(inputs @ weight)
        total = _losses(truth, q).sum() * size + PENALTY / 2 * (away**2).sum()
        slope = inputs.T @ (q - truth) + PENALTY * away
        return float(total), slope[free]

    bounds = [(0.0 if own else None, None) for own in np.vstack([alone, alone[:1] & False])[free]]
    found = start.copy()
    found[free] = minimize(loss, start[free], jac=True, method="L-BFGS-B", bounds=bounds).x
    return Head(method, found[:-1], found[-1])


def _losses(truth: Sets, p: Floats) -> Floats:
    """Return the mean log loss of the labels of each row, shape (rows,)."""
    of_actual = np.where(truth, p, 1 - p)
    return np.asarray(-np.log(np.maximum(of_actual, np.finfo(np.float64).tiny)).mean(axis=1))
