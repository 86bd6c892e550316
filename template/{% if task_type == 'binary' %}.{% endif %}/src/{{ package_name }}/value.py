"""What the decisions of a model are worth, and whether they are of any use."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import decision
from .engine import metrics
from .engine.formats import number, percent
from .engine.resampling import Interval, resamples
from .engine.saving import saved
from .engine.settings import Project
from .engine.severity import Judged
from .planner.compared import losses

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]
FEW_SCORES = 5
CAPACITY_SLACK = 1.1  # the test set's share differs from the planned one by chance
BEYOND_CAPACITY = 2.0  # most of the flagged rows then get no action: their value is none
FEW = 0.1  # of the expected positives
ALMOST = 0.99  # share of rows with the same decision, near to a policy without a model


def judge(
    project: Project,
    y: Labels,
    answers: dict[str, NDArray[Any]],
    threshold: float,
    groups: NDArray[np.intp] | None,
    *,
    made_up: bool,
) -> Judged:
    """Judge the decisions on the test set; all arrays have shape (rows,)."""
    p, costs = answers["probability"], decision.decision_costs(project)
    prevalence = project.facts.pos_rate
    weights = metrics.weights_at(y, prevalence)
    business = _business(project, y, p, threshold, weights, groups)
    # A small sample needs more positives than are rare in production: its value is none of that.
    business["says_nothing"] = made_up and not 2 / 3 < y.mean() / prevalence < 1.5
    capacity = decision.capacity_share(project)
    reasons, warnings = usefulness(p, p >= threshold, business, capacity, weights)
    report = {
        "business": business,
        "confusion": metrics.confusion(y, p, threshold),
        "cost_curve": decision.cost_curve(y, p, costs, weights),
        "calibration": {
            "ece": metrics.score("ece", y, p),
            "slope": metrics.score("calibration_slope", y, p),
            "bins": metrics.calibration_bins(y, p),
        },
        "roc": metrics.roc_curve(y, p),
        "pr": metrics.pr_curve(y, p),
    }
    return Judged(report, reasons, warnings)


def usefulness(
    p: Floats,
    flagged: NDArray[np.bool_],
    business: dict[str, Any],
    capacity: float | None,
    weights: Floats | None = None,
) -> tuple[list[str], list[str]]:
    """Return why a model is of no use whatever its metric is, and what puts its use in doubt.

    Decisions that are the same for every row need no model, decisions whose value may be none are
    no better than the cheapest of these, and flags beyond what people can act on have no value.
    Almost the same decision everywhere is a doubt while its value is above 0: costs explain it.
    `p`, `flagged` and `weights` have shape (rows,); `capacity` is the share of rows that people can
    act on.
    """
    reasons, warnings = [], []
    share = float(np.average(flagged, weights=weights))
    expected = float(np.average(p, weights=weights))
    if p.min() == p.max():
        reasons.append(f"it gives every row the same probability, {number(float(p.min()), 3)}")
    elif len(levels := np.unique(p)) < FEW_SCORES:
        warnings.append(f"it knows only {len(levels)} different probabilities")
    if share in (0.0, 1.0):
        reasons.append(
            f"it flags {'every row' if share else 'no row'} of the test set: "
            "such decisions need no model; check the costs behind the threshold"
        )
    elif share >= ALMOST:
        warnings.append(
            f"it flags {percent(share)} of the rows, hardly less than to act on everybody"
        )
    elif share < min(1 - ALMOST, FEW * expected, FEW * (capacity or 1.0)):
        warnings.append(
            f"it flags {percent(share)} of the rows where {percent(expected)} are expected "
            "to be positive: hardly more than to act on nobody"
        )
    reasons += losses(business)
    if capacity is not None and share > CAPACITY_SLACK * capacity:
        said = f"it flags {percent(share)} of the rows; people can act on {percent(capacity)}"
        (reasons if share > BEYOND_CAPACITY * capacity else warnings).append(said)
    return reasons, warnings


def acted_on(
    p: Floats, weights: Floats, threshold: float, capacity: float | None
) -> tuple[Floats, float]:
    """Return which part of each row is acted on, and the share of all rows that is flagged.

    The highest probabilities come first and rows of the same probability share what is left, until
    the share `capacity` is reached. All arrays have shape (rows,); `weights` sum to 1.
    """
    flagged = np.where(p >= threshold, weights, 0.0)
    level, place = np.unique(-p, return_inverse=True)
    asked = np.bincount(place, weights=flagged, minlength=len(level))
    room = np.clip((np.inf if capacity is None else capacity) - (asked.cumsum() - asked), 0, asked)
    part = np.divide(room, asked, out=np.zeros_like(asked), where=asked > 0)
    return part[place] * (p >= threshold), float(flagged.sum())


def _business(
    project: Project,
    y: Labels,
    p: Floats,
    threshold: float,
    weights: Floats,
    groups: NDArray[np.intp] | None,
) -> dict[str, Any]:
    """Say what the decisions cost, per 1,000 and per year, at the plan's share of positives.

    The test set may hold more positives than production does: each class counts by its planned
    share. The value is held against today's process, or against acting on nobody where that process
    loses: `ending_today` is what its end gains, by no model. `over` is held against the cheapest
    policy without a model that people can follow: on everybody only within their capacity.
    """
    facts, costs = project.facts, decision.decision_costs(project)
    prevalence = facts.pos_rate
    capacity = decision.capacity_share(project)
    acted, flagged = acted_on(p, weights, threshold, capacity)
    per_row = np.where(
        y,
        acted * costs.tp + (1 - acted) * costs.fn,
        acted * costs.fp + (1 - acted) * costs.tn,
    )

    def policy(positives: float, negatives: float) -> float:
        """Return the cost of a row when these shares of both classes are acted on."""
        return prevalence * (positives * costs.tp + (1 - positives) * costs.fn) + (
            1 - prevalence
        ) * (negatives * costs.fp + (1 - negatives) * costs.tn)

    caught = facts.today_caught
    alarms = 0.0
    if caught:
        alarms = prevalence * caught * (1 / facts.today_precision - 1) / (1 - prevalence)
    policies = {"today's process": policy(caught, alarms), "act on nobody": policy(0, 0)}
    baseline = min(policies, key=policies.__getitem__)
    ending_today = policies["today's process"] - policies[baseline]
    if capacity is None or capacity >= 1:
        policies["act on everybody"] = policy(1, 1)
    draws = resamples(project.config.evaluation.bootstrap, len(y))
    seed = project.config.training.seed
    means = metrics.class_means(y, per_row, groups, draws=draws, seed=seed)
    cost = prevalence * means[:, 1] + (1 - prevalence) * means[:, 0]
    low, high = np.nanquantile(cost[1:], [0.025, 0.975]) if len(set(y)) > 1 else (np.nan, np.nan)
    yearly = 12 * facts.predictions_per_month
    taken = float(weights @ acted)
    return {
        "currency": facts.currency,
        "prevalence": prevalence,
        **saved(policies, baseline, Interval(float(cost[0]), low, high), yearly),
        "ending_today": ending_today * yearly,
        "flagged_share": flagged,
        "acted_on_share": taken,
        "precision": float(weights @ (acted * y)) / taken if taken else None,
    }
