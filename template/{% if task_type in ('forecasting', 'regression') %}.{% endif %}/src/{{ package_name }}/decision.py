"""From a prediction to an interval, and to the quantity to decide by."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .engine.data.contract import Column
from .engine.errors import ProjectError
from .engine.model.fitting import Data
from .engine.model.head import Head
from .engine.settings import Project

Floats = NDArray[np.float64]
BIN_ROWS = 200  # of predictions of about one size: fewer tell little about rare errors
BINS = 10


class Costs(NamedTuple):
    """What one unit too much and one unit too little cost, in the project's currency."""

    over: float
    under: float


def costs(project: Project) -> Costs:
    """Return the costs of errors that the plan answers."""
    found = Costs(project.facts.cost_over, project.facts.cost_under)
    if min(found) < 0 or not sum(found):
        raise ProjectError(
            "costs: an error must cost something (cost_over and cost_under, not below 0, one of "
            "them above it): change these answers with `ml update --data`"
        )
    return found


def plan_quantile(found: Costs) -> float:
    """Return under / (under + over): the quantile of the actual value that costs the least.

    The newsvendor's critical ratio (Arrow, Harris & Marschak 1951, Optimal inventory policy).
    """
    return round(found.under / (found.under + found.over), 12)  # 0.75, and no 0.7499999999999999


def check(project: Project, target: Column) -> None:
    """ProjectError now, before anything is trained, for what `decide` would refuse."""
    costs(project)


def needed_gain(project: Project, other: float) -> float:
    """Return by how much the metric must be better than `other`, that of the best baseline.

    The plan asks for a share of it.
    """
    return project.facts.min_gain * abs(other)


def cost(y: Floats, planned: Floats, found: Costs) -> Floats:
    """Return what each row costs, shape (rows,), when `planned` was planned with and y came."""
    return found.over * np.maximum(planned - y, 0) + found.under * np.maximum(y - planned, 0)


def decide(project: Project, data: Data, oof: Floats) -> tuple[Head, dict[str, Any]]:
    """Learn from out-of-fold predictions how far actual values lie from them, by their size.

    Also return what reports/training.json says of it. NaN stands where no fold tested a row.
    """
    known, facts = ~np.isnan(oof), project.facts
    head = intervals(
        data.y[known],
        oof[known],
        coverage=facts.interval_coverage,
        quantile=plan_quantile(costs(project)),
        bins=BINS if facts.interval == "conformal_by_size" else 1,
    )
    if facts.decision_value == "predicted_value":
        head = head._replace(plan=np.zeros_like(head.plan))
    told = {"coverage": head.coverage, "quantile": head.quantile, "bins": len(head.knots)}
    return head, {"interval": told}


def intervals(
    y: Floats, value: Floats, *, coverage: float, quantile: float, bins: int = BINS
) -> Head:
    """Return the residuals' quantiles in bins of equal counts by predicted value.

    Split conformal prediction within bins (Vovk, Lindsay & McKay 2003, Mondrian confidence
    machine), with the rows out of fold as calibration set: the k-th of n residuals holds the
    share k / (n + 1). All arrays have shape (rows,).
    """
    parts = max(1, min(bins, len(y) // BIN_ROWS))
    order = np.argsort(value, kind="stable")
    places = np.array_split(order, parts)
    knots = np.array([value[rows].mean() for rows in places])
    tail = (1 - coverage) / 2
    offsets = np.array([_offsets(y[rows] - value[rows], tail, quantile) for rows in places])
    rising = np.concatenate([[True], np.diff(knots) > 1e-9 * max(1.0, float(np.abs(knots).max()))])
    low, high, plan = offsets[rising].T
    floor = 0.0 if y.min() >= 0 else -np.inf
    return Head(knots[rising], low, high, plan, coverage, quantile, floor)


def _offsets(residuals: Floats, tail: float, quantile: float) -> tuple[float, float, float]:
    ordered = np.sort(residuals)
    n = len(ordered)
    outer = int(np.ceil((n + 1) * (1 - tail)))  # of n, or beyond the last: then the last it is
    low, high = ordered[max(0, n - outer)], ordered[min(n, outer) - 1]
    return float(low), float(high), float(np.quantile(ordered, quantile))
