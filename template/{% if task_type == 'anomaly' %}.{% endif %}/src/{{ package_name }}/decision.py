"""From how unusual a row is to an alert: as many as people can check."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine import task
from .engine.data.contract import Column
from .engine.errors import ProjectError
from .engine.model.fitting import Data
from .engine.model.head import Head
from .engine.settings import DAYS_A_MONTH, Project

Floats = NDArray[np.float64]
ANY_GAIN = -1.0  # no metric of two models differs by more
FARTHEST = 2.0 ** np.arange(0, 12)  # of the range of the last tenth, beyond the last row


def alert_share(project: Project) -> float:
    """Return the share of rows that people can check: alerts a day over rows a day, at most 1."""
    facts = project.facts
    if facts.alerts_per_day <= 0:
        raise ProjectError("alerts_per_day: 0 alerts a day need no model: `ml update --data`")
    return min(1.0, facts.alerts_per_day * DAYS_A_MONTH / max(facts.predictions_per_month, 1e-9))


def check(project: Project, target: Column) -> None:
    """ProjectError now, before anything is trained, for what `decide` would refuse."""
    alert_share(project)


def needed_gain(project: Project, other: float) -> float:
    """Return by how much the metric must be better than `other`, that of the best baseline.

    Of rows that were made to measure a gain says nothing about real ones: none is asked for.
    """
    return project.facts.min_gain if project.facts.selection != "last_candidate" else ANY_GAIN


def decide(project: Project, data: Data, oof: Floats) -> tuple[Head, dict[str, Any]]:
    """Learn shares of rows below, and the cut of the budget, from scores out of fold.

    Also return what reports/training.json says of it. Rows that were made to measure do not count,
    and NaN stands where no fold tested a row.
    """
    share, rule = alert_share(project), project.facts.alert_rule
    if rule != "alert_budget":
        raise ProjectError(f"EVAL-05: unknown rule of alerts {rule}")
    head = ranked(oof[task.real(data.y) & ~np.isnan(oof)], share)
    return head, {"alert": {"share": share, "cut": head.cut, **task.summary(data.y)}}


def ranked(raw: Floats, share: float) -> Head:
    """Return the head that says which share of `raw`, shape (rows,), lies below a value.

    Beyond the last row the share goes on towards 1, so that what is further out stays ahead. The
    cut is the quantile of the budget; of rows that are equal there, none is an alert unless all fit
    in.
    """
    ordered = np.sort(raw)
    rows = len(ordered)
    ends = np.geomspace(1, max(1, rows // 2), 200).astype(np.intp)
    even = np.linspace(0, rows - 1, 200).astype(np.intp)
    edge = first_alert(ordered, share)
    around = np.clip([edge - 1, edge], 0, rows - 1)  # so that the cut is exact
    places = np.unique(np.concatenate([even, rows - ends, around]))
    knots = np.unique(ordered[places])
    apart = 1e-9 * max(1.0, float(np.abs(knots).max()))
    knots = knots[np.concatenate([[True], np.diff(knots) > apart])]
    shares = np.searchsorted(ordered, knots, side="left") / rows
    reach = max(
        float(ordered[-1] - np.quantile(ordered, 0.9)), 1e-6 * abs(float(ordered[-1])), 1e-9
    )
    beyond = ordered[-1] + reach * FARTHEST
    left = (1 - shares[-1]) / (1 + FARTHEST)
    knots, shares = np.append(knots, beyond), np.append(shares, 1 - left)
    # Halfway between two rows: safe from rounding.
    cut = (edge - 0.5) / rows if edge < rows else max(1 - share, 1 - 0.5 / rows)
    return Head(knots, shares, max(cut, 0.0))


def first_alert(ordered: Floats, share: float) -> int:
    """Return the place from which on at most `share` of the ordered rows are alerts."""
    rows = len(ordered)
    place = rows - int(np.floor(share * rows + 1e-9))
    if place >= rows or (place and ordered[place - 1] == ordered[place]):
        # Not one row, or rows are equal there and not all of them fit in.
        value = ordered[min(place, rows - 1)]
        return int(np.searchsorted(ordered, value, side="right"))
    return place
