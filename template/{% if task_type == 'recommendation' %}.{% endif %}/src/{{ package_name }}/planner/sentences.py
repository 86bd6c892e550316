"""What the measured parts of PLAN.md say of recommendation; measured.py tells how."""

from ..engine.formats import number, percent
from ..engine.settings import Project
from .compared import Report, beyond, worth

TEXTS: dict[str, tuple[str, str]] = {
    "TRAIN-01": (
        "training",
        "measured: {split[development_rows]:0} development rows of {split[development_items]:0} "
        "items and {split[test_rows]:0} test rows of {split[test_items]:0} items, {cv[folds]} "
        "folds{notes}",
    ),
    "EVAL-05": (
        "metrics",
        "measured: of {champion[shown]:0} items a list shows the one that was taken in "
        "{champion[metrics][recall]:share} of the rows; lists show "
        "{champion[metrics][coverage]:share} of the items that were taken\n"
        "new: NDCG by known items of the history: {by_known}\n"
        "rare: NDCG by items: {by_taken}",
    ),
}


def metrics(report: Report, project: Project) -> Report:
    """Return what TEXTS says of metrics.json beside what stands there."""
    return {
        "worth": _worth(report["business"]),
        "by_known": _parts(report["by_history"], "known"),
        "by_taken": _parts(report["by_popularity"], "items"),
    }


def _parts(parts: list[Report], name: str) -> str:
    """Say what lists reach for parts of the rows, with their share of them."""
    rows = sum(part["rows"] for part in parts)
    return "; ".join(
        f"{part[name]} {number(part['ndcg'], 3)} ({percent(part['rows'] / rows)} of the rows)"
        for part in parts
    )


def _worth(business: Report) -> str:
    """Say what lists add to those of today, and to none."""
    if business["says_nothing"]:
        return "value: not measured, people who were made up take nothing because of a list"
    return worth(business, business["baseline_policy"]) + beyond(business, "to show ")
