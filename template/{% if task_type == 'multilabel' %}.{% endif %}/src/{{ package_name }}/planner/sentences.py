"""What the measured parts of PLAN.md say of several labels a row; measured.py tells how."""

from typing import Any

from ..engine.formats import UNKNOWN, count, number, percent
from ..engine.settings import Project
from .blocks import escape
from .compared import Report, beyond, worth

WEAKEST = 3  # labels, and pairs of labels, that are named
TOGETHER = 0.1  # a smaller correlation of two labels says little

TEXTS: dict[str, tuple[str, str]] = {
    "TRAIN-01": (
        "training",
        "measured: {split[development_rows]:0} development rows of "
        "{split[development_cardinality]:2} labels each ({split[development_rarest]:0} with the "
        "rarest) and {split[test_rows]:0} test rows of {split[test_cardinality]:2} "
        "({split[test_rarest]:0} with it), {cv[folds]} folds{notes}",
    ),
    "EVAL-05": (
        "metrics",
        "measured: {per_row}\n"
        "weakest labels: {weakest}\n"
        "labels that come together: {together}\n"
        "cost: {business[cost_per_1000]:0} {currency} per {thousand:0} rows, without a model "
        "{business[cost_per_1000_baseline]:0} {currency} ({business[baseline_policy]})",
    ),
    "EVAL-07": (
        "metrics",
        "measured: expected calibration error {calibration[ece]:4}, the mean over labels",
    ),
}


def metrics(report: Report, project: Project) -> Report:
    """Return what TEXTS says of metrics.json beside what stands there."""
    return {
        "worth": _worth(report["business"]),
        "per_row": _per_row(report),
        "weakest": _weakest(report["labels"]),
        "together": _together(report["dependence"]["pairs"]),
    }


def _per_row(report: Report) -> str:
    """Say how many labels a row gets and has, and how many rows are right in all of them."""
    rows, business = report["data"]["test_rows"], report["business"]
    given, true = (sum(label[name] for label in report["labels"]) for name in ("decided", "rows"))
    said = (
        f"{number(given / rows, 2)} labels a row are set, {number(true / rows, 2)} are true; per "
    )
    said += f"{number(1000)} rows {count(business['missed_per_1000'], 'label')} are missed and "
    said += f"{number(business['extra_per_1000'])} are extra; "
    return f"{said}{percent(business['right_rows_share'])} of the rows are right in every label"


def _weakest(labels: list[Report]) -> str:
    """Name the labels with the lowest F1, and what each threshold is."""
    known = [label for label in labels if label["f1"] is not None]
    return (
        ", ".join(
            f"{escape(label['name'])} with an F1 of {number(label['f1'], 3)} (set from "
            f"{percent(label['threshold'])} on)"
            for label in sorted(known, key=lambda label: label["f1"])[:WEAKEST]
        )
        or "none could be judged"
    )


def _together(pairs: list[tuple[Any, ...]]) -> str:
    """Name the pairs of labels that depend on each other most.

    A pair is two labels and their correlation as they came, as they are set, and of what the
    probabilities leave: far from 0 there, labels tell of each other what columns do not.
    """
    strong = [pair for pair in pairs if pair[2] is not None and abs(pair[2]) >= TOGETHER]
    said = [
        f"{escape(one)} and {escape(other)} (correlation {number(came, 2)}, as they are set "
        f"{_known(given)}, beyond the probabilities {_known(left)})"
        for one, other, came, given, left in strong[:WEAKEST]
    ]
    return ", ".join(said) or f"none with a correlation of {number(TOGETHER)} or more"


def _known(value: float | None) -> str:
    return UNKNOWN if value is None else number(value, 2)


def _worth(business: Report) -> str:
    """Say what the model adds to what is done without one, and to the cheapest policy."""
    if business["says_nothing"]:  # as the table of evidence has it
        return "value: not measured, made-up data of other shares than the plan's say nothing"
    return worth(business, business["baseline_policy"]) + beyond(business)
