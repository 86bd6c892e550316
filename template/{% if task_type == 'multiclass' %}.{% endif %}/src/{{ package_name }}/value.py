"""What the decisions of a model are worth, and whether they are of any use."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import decision
from .engine import metrics
from .engine.data import contract
from .engine.errors import ProjectError
from .engine.formats import percent
from .engine.resampling import Interval, mean_interval, resamples
from .engine.saving import saved
from .engine.settings import Project
from .engine.severity import Judged
from .planner.compared import losses

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
DEAREST = 5  # pairs of classes that the report names
MISPLACED = 0.01  # of the decisions: more are no matter of rounding
ROUNDED = 1e-5  # of the dearest error: costs that differ by less are equal in single precision
REVIEW_SLACK = 1.1  # the test set's share differs from the planned one by chance
BEYOND_REVIEW = 2.0  # most of these rows then get no review: nobody decides them


def judge(
    project: Project,
    y: Codes,
    answers: dict[str, NDArray[Any]],
    level: float,
    groups: NDArray[np.intp] | None,
    *,
    made_up: bool,
) -> Judged:
    """Judge the decisions on the test set; answers have shape (rows,), probabilities a column each.

    A decision above `level` of expected cost goes to a person.
    """
    names = contract.read(project.contract_path).target.levels
    p, accepted = answers["probabilities"], answers["accepted"].astype(bool)
    codes = {name: code for code, name in enumerate(names)}
    decided = np.array([codes[name] for name in answers["decision"].tolist()])
    found = decision.costs(project, names)
    if misplaced(p, found.matrix, decided) > MISPLACED:
        raise ProjectError(
            "contract or costs are others than when this version was trained: run `ml train`"
        )
    drawn: dict[str, Any] = {"seed": project.config.training.seed, "groups": groups}
    drawn["draws"] = resamples(project.config.evaluation.bootstrap, len(y))
    business = _business(project, y, decided, accepted, found, drawn)
    planned = project.facts.rarest_share
    rarest = project.facts.classes.split(",")[-1].strip()
    share = float((y == codes[rarest]).mean())
    # A small sample has more rows of rare classes than production: its value is none of that.
    business["says_nothing"] = made_up and not 2 / 3 < share / planned < 1.5
    table = metrics.confusion(y, decided, len(names))
    rows = metrics.by_class(names, p, table)
    reasons, warnings = usefulness(project, p, rows, business)
    report = {
        "business": business,
        "classes": rows,
        "confusion": table.tolist(),
        "confused": _confused(names, table, found.matrix),
        "calibration": {
            "ece": metrics.score("ece", y, p),
            "classwise_ece": metrics.score("classwise_ece", y, p),
            "bins": metrics.calibration_bins(y, p),
        },
        "review_curve": metrics.review_curve(decided == y, (p @ found.matrix).min(axis=1)),
    }
    return Judged(report, reasons, warnings)


def usefulness(
    project: Project, p: Floats, classes: list[dict[str, Any]], business: dict[str, Any]
) -> tuple[list[str], list[str]]:
    """Return why a model is of no use whatever its metric is, and what puts its use in doubt.

    The same probabilities or the same class for every row need no model, decisions whose value may
    be none are no better than the cheapest way without one, and reviews beyond what people can do
    leave rows undecided.
    """
    reasons, warnings = [], []
    if (p == p[0]).all():
        reasons.append("it gives every row the same probabilities")
    never = [row["name"] for row in classes if row["rows"] and not row["decided"]]
    if len(never) >= sum(row["rows"] > 0 for row in classes) - 1:
        reasons.append(
            "it decides for the same class in every row: such decisions need no model; check costs"
        )
    elif never:
        warnings.append(f"it never decides for {', '.join(never)}")
    reasons += losses(business)
    reviewed, able = business["reviewed_share"], project.facts.review_share
    if able and reviewed > REVIEW_SLACK * able:
        said = f"it asks for a review of {percent(reviewed)} of the rows; people can do "
        beyond = reviewed > BEYOND_REVIEW * able
        (reasons if beyond else warnings).append(said + percent(able))
    accuracy, today = business["accepted_accuracy"], project.facts.today_accuracy
    if accuracy is not None and accuracy < today:
        warnings.append(
            f"of what nobody reviews it gets {percent(accuracy)} right; today's process gets "
            + percent(today)
        )
    if missing := [row["name"] for row in classes if not row["rows"]]:
        warnings.append(f"the test set has no row of {', '.join(missing)}")
    return reasons, warnings


def _confused(names: tuple[str, ...], table: NDArray[np.int64], costs: Floats) -> list[list[Any]]:
    """Return the dearest errors of the test set: actual class, decided class, rows, their cost."""
    total = table * costs
    places = np.argsort(-total, axis=None, kind="stable")[:DEAREST]
    pairs = [divmod(int(place), len(names)) for place in places]
    return [
        [names[i], names[j], int(table[i, j]), float(total[i, j])]
        for i, j in pairs
        if total[i, j] > 0
    ]


def misplaced(p: Floats, matrix: Floats, decided: Codes) -> float:
    """Return the share of decisions that another class would undercut.

    Shares of leaves tie often, and then any of the cheapest classes is right.
    """
    costs = p @ matrix
    beyond = np.take_along_axis(costs, decided[:, None], axis=1)[:, 0] - costs.min(axis=1)
    return float((beyond > ROUNDED * matrix.max()).mean())


def _business(
    project: Project,
    y: Codes,
    decided: Codes,
    accepted: NDArray[np.bool_],
    found: decision.Costs,
    drawn: dict[str, Any],
) -> dict[str, Any]:
    """Say what the decisions cost, per 1,000 and per year, with reviews and the errors of people.

    The value is held against today's process, which gets `today_accuracy` right, and `over` against
    the cheapest policy without a model: today's, or the class that costs the least for all rows.
    """
    facts, wrong = project.facts, found.matrix.sum(axis=1) / (len(found.matrix) - 1)
    per_row = np.where(accepted, found.matrix[y, decided], found.review[y])
    now = mean_interval(per_row, **drawn)
    today = facts.today_cost + (1 - facts.today_accuracy) * float(wrong[y].mean())
    policies = {
        "today's process": today,
        "the same class for all": float(found.matrix[y].mean(axis=0).min()),
    }
    right = decided == y
    among: Interval | None = None
    if accepted.any():
        groups = None if drawn["groups"] is None else drawn["groups"][accepted]
        among = mean_interval(right[accepted], **{**drawn, "groups": groups})
    return {
        "currency": facts.currency,
        **saved(policies, "today's process", now, 12 * facts.predictions_per_month),
        "reviewed_share": float(1 - accepted.mean()),
        "accepted_share": float(accepted.mean()),
        "accepted_accuracy": among.value if among else None,
        "accepted_accuracy_low": among.low if among else None,
        "accepted_accuracy_high": among.high if among else None,
        "right_share": float(np.where(accepted, right, facts.review_accuracy).mean()),
    }
