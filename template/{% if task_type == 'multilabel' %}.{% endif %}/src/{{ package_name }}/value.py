"""What the labels that a model sets are worth, and whether they are of any use."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import decision
from .engine import metrics
from .engine.data import contract
from .engine.errors import ProjectError
from .engine.label_sets import Codes, Sets, unpacked
from .engine.resampling import mean_interval, resamples
from .engine.saving import saved
from .engine.settings import Project
from .engine.severity import Judged
from .planner.compared import losses

Floats = NDArray[np.float64]
STRONGEST = 5  # pairs of labels that the report names
CLOSE = 1e-4  # of thresholds: more is no matter of rounding


def judge(
    project: Project,
    y: Codes,
    answers: dict[str, NDArray[Any]],
    level: Floats,
    groups: NDArray[np.intp] | None,
    *,
    made_up: bool,
) -> Judged:
    """Judge the labels set on the test set; probabilities have a column for each label.

    A label is set where its probability reaches its one of `level`, shape (labels,).
    """
    names = contract.read(project.contract_path).target.labels
    p, decided = answers["probabilities"], _sets(answers["labels"], names)
    truth, found = unpacked(y, len(names)), decision.costs(project, names)
    by_costs = project.facts.label_thresholds == "by_costs"
    if by_costs and np.abs(level - found.thresholds).max() > CLOSE:
        raise ProjectError("costs are others than when this version was trained: run `ml train`")
    drawn: dict[str, Any] = {"seed": project.config.training.seed, "groups": groups}
    drawn["draws"] = resamples(project.config.evaluation.bootstrap, len(y))
    business = _business(project, truth, decided, found, drawn)
    rarest = names.index(project.facts.label_names.split(",")[-1].strip())
    share = float(truth[:, rarest].mean())
    # A small sample has more rows of rare labels than production: its value is none of that.
    planned = project.facts.rarest_label_share
    business["says_nothing"] = made_up and not 2 / 3 < share / planned < 1.5
    rows = metrics.by_label(names, y, p, level)
    reasons, warnings = usefulness(p, decided, rows, business)
    most = int(max(truth.sum(axis=1).max(), decided.sum(axis=1).max())) + 1
    report = {
        "business": business,
        "labels": rows,
        "dependence": dependence(names, truth, decided, p),
        "calibration": {
            "ece": metrics.score("ece", y, p),
            "bins": metrics.calibration_bins(y, p),
        },
        "cardinality": {
            "actual": np.bincount(truth.sum(axis=1), minlength=most).tolist(),
            "decided": np.bincount(decided.sum(axis=1), minlength=most).tolist(),
        },
    }
    return Judged(report, reasons, warnings)


def _sets(texts: NDArray[Any], names: tuple[str, ...]) -> Sets:
    """Return which labels answers such as "a, b" name, shape (rows, labels)."""
    different, places = np.unique(texts, return_inverse=True)
    sets = np.array([[name in text.split(", ") for name in names] for text in different.tolist()])
    return np.asarray(sets[places.ravel()], dtype=np.bool_)


def usefulness(
    p: Floats, decided: Sets, labels: list[dict[str, Any]], business: dict[str, Any]
) -> tuple[list[str], list[str]]:
    """Return why a model is of no use whatever its metric is, and what puts its use in doubt.

    The same probabilities or the same labels for every row need no model, and labels whose value
    may be none are no better than the cheapest way without one.
    """
    reasons, warnings = [], []
    if (p == p[0]).all():
        reasons.append("it gives every row the same probabilities")
    if (decided == decided[0]).all():
        reasons.append("it sets the same labels in every row: they need no model; check costs")
    elif never := [row["name"] for row in labels if row["rows"] and not row["decided"]]:
        warnings.append(f"it never sets {', '.join(never)}")
    reasons += losses(business)
    if missing := [row["name"] for row in labels if not row["rows"]]:
        warnings.append(f"the test set has no row with {', '.join(missing)}")
    return reasons, warnings


def dependence(names: tuple[str, ...], truth: Sets, decided: Sets, p: Floats) -> dict[str, Any]:
    """Return how labels go together: in what came, in what is set, and in what the model misses.

    `phi` and `predicted` hold the correlation of each pair, shape (labels, labels). `pairs` are the
    strongest: both names, phi of what came, of what is set, and of the residuals, which is 0 where
    the probabilities tell all that one label says of the other.
    """
    came, put = metrics.together(truth), metrics.together(decided)
    left = metrics.together(truth - p)
    above = [
        (i, j) for i in range(len(names)) for j in range(i + 1, len(names)) if came[i, j] ** 2 >= 0
    ]
    strongest = sorted(above, key=lambda pair: -abs(came[pair]))[:STRONGEST]
    return {
        "phi": came.tolist(),
        "predicted": put.tolist(),
        "pairs": [
            [names[i], names[j], float(came[i, j]), float(put[i, j]), float(left[i, j])]
            for i, j in strongest
        ],
    }


def _business(
    project: Project, truth: Sets, decided: Sets, found: decision.Costs, drawn: dict[str, Any]
) -> dict[str, Any]:
    """Say what errors of labels cost, per 1,000 rows and per year.

    The value is held against today's process, and `over` against the cheapest policy without a
    model: today's, no label at all, or those labels for all rows that are so frequent as to pay.
    """
    facts, shares = project.facts, truth.mean(axis=0)
    now = mean_interval(found.of(truth, decided).sum(axis=1), **drawn)
    recall, precision = facts.today_label_recall, facts.today_label_precision
    too_many = recall * (1 / precision - 1) if recall else 0.0  # labels set in excess per true one
    wrong = (1 - recall) * found.missed + too_many * found.extra
    today = facts.today_label_cost + float((shares * wrong).sum())
    same = np.minimum(shares * found.missed, (1 - shares) * found.extra)
    policies = {
        "today's process": today,
        "no label at all": float((shares * found.missed).sum()),
        "the same labels for all": float(same.sum()),
    }
    return {
        "currency": facts.currency,
        **saved(policies, "today's process", now, 12 * facts.predictions_per_month),
        "missed_per_1000": 1000 * float((truth & ~decided).sum(axis=1).mean()),
        "extra_per_1000": 1000 * float((decided & ~truth).sum(axis=1).mean()),
        "labels_per_row": float(decided.sum(axis=1).mean()),
        "right_rows_share": float((truth == decided).all(axis=1).mean()),
    }
