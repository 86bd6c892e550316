"""What the measured parts of PLAN.md say of a binary task; measured.py tells how it is written."""

from ..engine.formats import count, number, percent
from ..engine.settings import Project
from .blocks import escape
from .compared import Report, beyond, worth
from .quantities import Evidence

TEXTS: dict[str, tuple[str, str]] = {
    "TRAIN-01": (
        "training",
        "measured: {split[development_rows]:0} development rows "
        "({split[development_positives]:0} positive) and {split[test_rows]:0} test rows "
        "({split[test_positives]:0} positive), {cv[folds]} folds{notes}",
    ),
    "EVAL-05": (
        "metrics",
        "measured: threshold {champion[threshold]:4} gives precision "
        "{champion[metrics][precision]:ci3} and recall {champion[metrics][recall]:ci3} ({counts}); "
        "of {a_day:0} predictions a day it flags about {flagged:1}{too_many}\n"
        "population: {population}\n"
        "cost: {business[cost_per_1000]:0} {currency} per {thousand:0} rows, without a model "
        "{business[cost_per_1000_baseline]:0} {currency} ({business[baseline_policy]})",
    ),
    "EVAL-07": (
        "metrics",
        "measured: expected calibration error {calibration[ece]:4}, slope {calibration[slope]:2} "
        "(1 is right)",
    ),
}


def metrics(report: Report, project: Project) -> Report:
    """Return what TEXTS says of metrics.json beside what stands there."""
    a_day = project.plan.number("EVAL-05", "predictions_per_day")
    business = report["business"]
    flagged = a_day * business["flagged_share"]
    capacity = project.plan.answers["daily_capacity"]
    return {
        "a_day": a_day,
        "flagged": flagged,
        "worth": _worth(business, a_day),
        "population": Evidence(project).population,
        "too_many": f", more than the {number(capacity)} that people can act on"
        if capacity and flagged > 1.1 * capacity
        else "",
        "counts": ", ".join(f"{name} {number(n)}" for name, n in report["confusion"].items()),
    }


def _worth(business: Report, a_day: float) -> str:
    """Say what the model adds to what is done without one, and to the cheapest policy."""
    if business["says_nothing"]:  # as the table of evidence has it
        return "value: not measured, made-up data with other shares than the plan's say nothing"
    today = business["baseline_policy"] == "today's process"
    against = "today's process" if today else f"to {business['baseline_policy']}"
    said = f"{worth(business, against)} with {percent(business['prevalence'])} positives and "
    said += f"{count(a_day * business['acted_on_share'], 'case', 1)} a day acted on, of "
    said += f"which {percent(business['precision'])} are positive"
    if not today:
        gain = f"{number(business['ending_today'], 0)} {escape(business['currency'])}"
        said += f"; to end today's process gains {gain} a year besides, without a model"
    return said + beyond(business, "to ")
