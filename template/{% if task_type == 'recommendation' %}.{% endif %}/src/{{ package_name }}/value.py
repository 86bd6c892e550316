"""What lists are worth, for whom they work, and whether they show more than what is popular."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine import metrics
from .engine.formats import percent
from .engine.model import coded
from .engine.resampling import mean_interval, resamples
from .engine.saving import saved
from .engine.settings import Project
from .engine.severity import Judged
from .planner.compared import losses

Floats = NDArray[np.float64]
# Known items of a history, from and to.
HISTORIES = ((0, 0), (1, 2), (3, 5), (6, 10), (11, 10**9))
TAIL = 0.8  # of the items, the least taken ones
COLD = 0.5  # share of rows without a known item, above which most lists are the same
NARROW = 0.05  # share of the items that lists show, below which they show next to nothing


def judge(
    project: Project,
    y: Floats,
    answers: dict[str, NDArray[Any]],
    shown: float,
    groups: NDArray[np.intp] | None,
    *,
    made_up: bool,
) -> Judged:
    """Judge the lists by the test rows; `y` has shape (rows,), lists (rows, shown)."""
    seed, lists = project.config.training.seed, answers["items"]
    drawn: dict[str, Any] = {"seed": seed, "groups": groups}
    drawn["draws"] = resamples(project.config.evaluation.bootstrap, len(y))
    gained = metrics.discounted(y, lists)
    business = _business(project, gained, drawn)
    business["says_nothing"] = made_up  # people who were made up take nothing because of a list
    report = {
        "business": business,
        "by_history": by_history(y, lists, answers["known"], gained),
        "by_popularity": by_popularity(y, lists, gained),
        "most_shown": most_shown(lists, coded.read(project.contract_path.parent)),
    }
    reasons, warnings = usefulness(y, answers, business)
    return Judged(report, reasons, warnings)


def usefulness(
    y: Floats, answers: dict[str, NDArray[Any]], business: dict[str, Any]
) -> tuple[list[str], list[str]]:
    """Return why lists are of no use whatever their metric is, and what puts them in doubt."""
    lists, reasons, warnings = answers["items"], [], []
    if len(np.unique(lists, axis=0)) == 1:
        reasons.append("everybody gets the same list, for which no model is needed")
    cold = float((answers["known"] == 0).mean())
    if cold > COLD:
        warnings.append(f"{percent(cold)} of the test rows have no item that the model knows")
    covered = float(np.isin(np.unique(y), lists).mean())
    if covered < NARROW:
        warnings.append(f"lists show {percent(covered)} of the items that were taken")
    return reasons + losses(business), warnings


def by_history(
    y: Floats, lists: NDArray[Any], known: NDArray[Any], gained: Floats
) -> list[dict[str, Any]]:
    """Measure lists by how many items of the history the model knows: of new users none."""
    found = []
    for low, high in HISTORIES:
        rows = (known >= low) & (known <= high)
        if rows.any():
            name = f"{low}" if low == high else f"{low} to {high}" if high < 10**9 else f"{low}+"
            found.append({"known": name, **_measured(rows, y, lists, gained)})
    return found


def by_popularity(y: Floats, lists: NDArray[Any], gained: Floats) -> list[dict[str, Any]]:
    """Measure lists for the fifth of the items that is taken the most, and for all others."""
    items, code, rows = np.unique(y, return_inverse=True, return_counts=True)
    order = np.argsort(-rows, kind="stable")
    head = np.zeros(len(items), bool)
    head[order[: max(1, round((1 - TAIL) * len(items)))]] = True
    parts = (("most taken fifth", head[code]), ("all others", ~head[code]))
    return [
        {"items": name, **_measured(part, y, lists, gained)} for name, part in parts if part.any()
    ]


def most_shown(lists: NDArray[Any], names: tuple[str, ...] = ()) -> list[list[Any]]:
    """Return the items that most lists show, each with the share of lists that do."""
    items, rows = np.unique(lists, return_counts=True)
    order = np.argsort(-rows, kind="stable")[:10]
    shown = (coded.texts(items, names) if names else items).tolist()
    return [[shown[n], float(rows[n] / len(lists))] for n in order]


def _measured(
    rows: NDArray[np.bool_], y: Floats, lists: NDArray[Any], gained: Floats
) -> dict[str, Any]:
    found = (lists[rows] == y[rows, None]).any(axis=1)
    return {
        "rows": int(rows.sum()),
        "ndcg": float(gained[rows].mean()),
        "recall": float(found.mean()),
    }


def _business(project: Project, gained: Floats, drawn: dict[str, Any]) -> dict[str, Any]:
    """Say what lists bring a year: what is found in them, the lower the less, and by them alone.

    The value is held against today's lists, whose discounted hits the plan answers, and `over`
    against the better of these and no list at all.
    """
    facts = project.facts
    each = facts.item_value * facts.incremental_share
    now = mean_interval(-each * gained, **drawn)
    policies = {"today's lists": -each * facts.today_hits, "no list": 0.0}
    return {
        "currency": facts.currency,
        "hits": float(gained.mean()),
        **saved(policies, "today's lists", now, 12 * facts.predictions_per_month),
    }
