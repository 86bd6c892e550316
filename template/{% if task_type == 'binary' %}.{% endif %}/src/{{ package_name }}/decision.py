"""From a probability to a decision: calibration, costs, capacity, threshold."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .engine import metrics
from .engine.data.contract import Column
from .engine.errors import ProjectError
from .engine.metrics import Array
from .engine.model.fitting import Data
from .engine.model.head import CLIP, Head
from .engine.settings import DAYS_A_MONTH, Project

Floats = NDArray[np.float64]


class Costs(NamedTuple):
    """What one decision costs, in the project's currency; a benefit is a negative cost."""

    fp: float
    fn: float
    tp: float = 0.0
    tn: float = 0.0


class Choice(NamedTuple):
    """A chosen threshold beside the cheapest one on the same rows; costs per 1,000 rows.

    `share` is the share of rows at or above the threshold. Without costs, `cost` and
    `optimum_cost` are NaN and `optimum` is the threshold itself.
    """

    threshold: float
    optimum: float
    cost: float
    optimum_cost: float
    share: float


def decide(project: Project, data: Data, oof: Floats) -> tuple[Head, dict[str, Any]]:
    """Choose calibration and threshold from out-of-fold probabilities of shape (rows,).

    Also return what reports/training.json says of them. NaN stands where no fold tested a row.
    """
    facts = project.facts
    known, y = ~np.isnan(oof), data.y
    head = calibrate(facts.calibration, y, oof)
    chosen = choose_threshold(
        facts.threshold,
        y[known],
        head.apply(oof[known]),
        decision_costs(project),
        capacity_share(project),
        calibrated=head.method != "none",
    )
    told = {"calibration": head.method, "threshold": chosen._asdict()}
    return head._replace(threshold=chosen.threshold), told


def calibrate(method: str, y: NDArray[np.int8], oof: Floats) -> Head:
    """Learn the calibration from out-of-fold probabilities."""
    known = ~np.isnan(oof)
    p, y = oof[known], y[known]
    if method == "none" or len(np.unique(p)) < 10:
        return Head()
    if method == "sigmoid":
        from sklearn.linear_model import LogisticRegression

        clipped = np.clip(p, CLIP, 1 - CLIP)
        log_odds = np.log(clipped / (1 - clipped))[:, None]
        line = LogisticRegression(C=1e6).fit(log_odds, y)
        slope, intercept = float(line.coef_[0, 0]), float(line.intercept_[0])
        # A slope that is not positive would turn the ranking round: the scores say nothing then.
        return Head("sigmoid", slope, intercept) if slope > 0 else Head()
    from sklearn.isotonic import IsotonicRegression

    steps = IsotonicRegression(out_of_bounds="clip").fit_transform(p, y)
    place = np.unique(steps, return_inverse=True)[1]
    rows = np.bincount(place)
    centers = (np.bincount(place, weights=p) / rows).astype(np.float32)
    # Jeffreys' estimate keeps a step of few rows away from certainty.
    rates = np.maximum.accumulate((np.bincount(place, weights=y) + 0.5) / (rows + 1))
    rising = np.concatenate([[True], np.diff(centers) > 1e-5])
    return Head("isotonic", knots_x=centers[rising], knots_y=rates.astype(np.float32)[rising])


def decision_costs(project: Project) -> Costs:
    """Return the costs of decisions that the plan answers.

    Acting on a positive works in the share `action_success` of the cases; else the case costs
    what a missed one does, and the effort of a false alarm.
    """
    facts = project.facts
    fp, fn, tp, tn = facts.cost_fp, facts.cost_fn, facts.cost_tp, facts.cost_tn
    works = facts.action_success
    return Costs(fp, fn, works * tp + (1 - works) * (fn + fp - tn), tn)


def check(project: Project, target: Column) -> None:
    """ProjectError now, before anything is trained, for what `decide` would refuse."""
    facts, few = project.facts, np.array([0.25, 0.75])
    given = decision_costs(project), capacity_share(project)
    choose_threshold(facts.threshold, np.array([0, 1], np.int8), few, *given)


def needed_gain(project: Project, other: float) -> float:
    """Return by how much the metric must be better than `other`, that of the best baseline."""
    return project.facts.min_gain


def capacity_share(project: Project) -> float | None:
    """Return the share of cases that people can act on, None without a limit."""
    facts = project.facts
    if not facts.daily_capacity:
        return None
    per_day = facts.predictions_per_month / DAYS_A_MONTH
    return min(1.0, facts.daily_capacity / max(per_day, 1e-9))


def decision_threshold(costs: Costs) -> float:
    """Return p* = (fp − tn) / ((fp − tn) + (fn − tp)): act when p >= p*, for calibrated p.

    Elkan 2001, The foundations of cost-sensitive learning, equation 2.
    """
    false_alarm, miss = costs.fp - costs.tn, costs.fn - costs.tp
    if min(false_alarm, miss) < 0 or false_alarm + miss <= 0:
        raise ProjectError(
            "costs: a wrong decision must cost more than the right one (cost_fp above cost_tn, "
            "cost_fn above cost_tp): change these answers with `ml update --data`"
        )
    return false_alarm / (false_alarm + miss)


def cost_per_1000(y: Array, p: Array, threshold: float, costs: Costs) -> float:
    """Return the cost of deciding 1,000 rows at `threshold`, in the currency of `costs`."""
    d = metrics.Draw(metrics.Rows(y, p, threshold))
    counted = d.tp * costs.tp + d.fp * costs.fp + d.fn * costs.fn + d.tn * costs.tn
    return 1000 * counted / d.total


def _cuts(r: metrics.Rows) -> Array:
    """Thresholds that flag the first 0, 1, 2 ... groups of equal p, halfway: safe from rounding."""
    values = np.concatenate([[1 + 2.0**-22], r.p[r.ends]])
    return np.append((values[:-1] + values[1:]) / 2, 0.0)


def _costs_at_cuts(d: metrics.Draw, costs: Costs) -> Array:
    tp, fp = np.append(0, d.hits), np.append(0, d.false)
    fn, tn = d.positives - tp, d.negatives - fp
    cost: Array = 1000 * (tp * costs.tp + fp * costs.fp + fn * costs.fn + tn * costs.tn) / d.total
    return cost


def cost_curve(
    y: Array, p: Array, costs: Costs, weights: Array | None = None, points: int = 200
) -> list[list[float]]:
    """Return at most `points` pairs [threshold, cost per 1,000 rows] by rising threshold."""
    d = metrics.Draw(metrics.Rows(y, p), weights)
    cuts, cost = _cuts(d.rows)[::-1], _costs_at_cuts(d, costs)[::-1]
    return metrics.thin(cuts, cost, np.arange(len(cuts)), points)


def choose_threshold(
    policy: str,
    y: Array,
    p: Array,
    costs: Costs | None = None,
    capacity_share: float | None = None,
    *,
    calibrated: bool = True,
) -> Choice:
    """Choose the threshold by decision EVAL-05 on validation rows, never on the test set.

    - cost_optimal: p* (`decision_threshold`) when p is calibrated, else the cheapest cut;
    - cost_optimal_within_capacity: the same, but at most `capacity_share` of rows is flagged;
    - top_k_by_capacity: the highest `capacity_share` of rows;
    - max_f1: the highest F1, where no costs are known.

    When the rows with the highest p are tied and more than the capacity, they are all flagged:
    `Choice.share` tells.
    """
    d = metrics.Draw(metrics.Rows(y, p))
    cuts, flagged = _cuts(d.rows), np.append(0, d.rows.ends + 1)
    cost = _costs_at_cuts(d, costs) if costs else np.full(len(cuts), np.nan)
    best = float(cuts[np.argmin(cost)]) if costs else None

    def within_capacity() -> float:
        if capacity_share is None:
            raise ProjectError(f"EVAL-05 is {policy}, which needs the answer daily_capacity")
        fits = np.flatnonzero(flagged <= capacity_share * len(d.w) + 1e-9)
        return float(cuts[max(1, fits[-1])])

    if policy.startswith("cost_optimal"):
        if costs is None or best is None:
            raise ProjectError(f"EVAL-05 is {policy}, which needs the answers cost_fp and cost_fn")
        chosen = decision_threshold(costs) if calibrated else best
        if policy == "cost_optimal_within_capacity":
            chosen = max(chosen, within_capacity())
        elif policy != "cost_optimal":
            raise ProjectError(f"EVAL-05: unknown threshold policy {policy}")
    elif policy == "top_k_by_capacity":
        chosen = within_capacity()
    elif policy == "max_f1":
        chosen = float(cuts[1:][np.argmax(2 * d.hits / (flagged[1:] + d.positives))])
    else:
        raise ProjectError(f"EVAL-05: unknown threshold policy {policy}")
    return Choice(
        threshold=chosen,
        optimum=chosen if best is None else best,
        cost=cost_per_1000(y, p, chosen, costs) if costs else float("nan"),
        optimum_cost=float(cost.min()),
        share=float(np.mean(np.asarray(p) >= chosen)),
    )
