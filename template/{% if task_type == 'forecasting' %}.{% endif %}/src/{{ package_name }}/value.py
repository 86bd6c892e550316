"""What the quantities that people order are worth, and whether a model is of any use."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import decision
from .engine import backtest, metrics
from .engine.formats import number, percent
from .engine.resampling import Interval, mean_interval, resamples
from .engine.saving import saved
from .engine.settings import Project
from .engine.severity import Judged
from .planner.compared import losses

Floats = NDArray[np.float64]
FEW_VALUES = 5
COVERAGE_SLACK = 0.02  # of the planned coverage, beyond chance
COVERAGE_BREACH = 0.1


def judge(
    project: Project,
    y: Floats,
    answers: dict[str, Floats],
    quantile: float,
    groups: NDArray[np.intp] | None,
    *,
    made_up: bool,
) -> Judged:
    """Judge the planned values and intervals on the test set; all arrays have shape (rows,)."""
    seed = project.config.training.seed
    drawn: dict[str, Any] = {"seed": seed, "groups": groups}
    drawn["draws"] = resamples(project.config.evaluation.bootstrap, len(y))
    business = _business(project, y, answers["decision"], drawn)
    planned = project.facts.target_mean
    # A sample is of another size than what is planned for: its value in money is none of that.
    business["says_nothing"] = made_up and not 2 / 3 < float(y.mean()) / planned < 1.5
    inside = (answers["low"] <= y) & (y <= answers["high"])
    coverage = mean_interval(inside, **drawn)
    reasons, warnings = usefulness(answers, coverage, project.facts.interval_coverage, business)
    report = {
        "forecast": backtest.measured(project, y, answers),
        "business": business,
        "by_size": metrics.by_size(y, answers),
        "points": metrics.points(y, answers["value"], seed),
        "errors": metrics.histogram(answers["value"] - y),
    }
    return Judged(report, reasons, warnings)


def usefulness(
    answers: dict[str, Floats],
    coverage: Interval,
    planned: float,
    business: dict[str, Any],
) -> tuple[list[str], list[str]]:
    """Return why a model is of no use whatever its metric is, and what puts its use in doubt.

    The same value for every row needs no model, values to plan with that may lose money are no
    better than today's, and an interval that holds fewer values than planned misleads.
    """
    reasons, warnings = [], []
    values = np.unique(answers["value"])
    if len(values) == 1:
        reasons.append(f"it gives every row the same value, {number(float(values[0]), 3)}")
    elif len(values) < FEW_VALUES:
        warnings.append(f"it knows only {len(values)} different values")
    said = f"{percent(coverage.value)} of the actual values are in the interval; planned are "
    if coverage.high < planned - COVERAGE_BREACH:
        reasons.append(said + percent(planned))
    elif not coverage.low - COVERAGE_SLACK <= planned <= coverage.high + COVERAGE_SLACK:
        warnings.append(said + percent(planned))
    reasons += losses(business)
    return reasons, warnings


def _business(
    project: Project, y: Floats, planned: Floats, drawn: dict[str, Any]
) -> dict[str, Any]:
    """Say what errors cost, per 1,000 and per year, at the plan's costs of too much and too little.

    The value is held against today's process, whose mean absolute error the plan answers, and
    `over` against the cheapest policy without a model: today's, or one value for all rows.
    """
    facts, found = project.facts, decision.costs(project)
    quantile = decision.plan_quantile(found)
    now = mean_interval(decision.cost(y, planned, found), **drawn)
    same = decision.cost(y, np.full(len(y), np.quantile(y, quantile)), found)
    policies = {
        # Its errors are taken as often too high as too low.
        "today's process": facts.today_error * sum(found) / 2,
        "the same value for all": float(same.mean()),
    }
    return {
        "currency": facts.currency,
        "quantile": quantile,
        **saved(policies, "today's process", now, 12 * facts.predictions_per_month),
        "planned_above": float((planned > y).mean()),
    }
