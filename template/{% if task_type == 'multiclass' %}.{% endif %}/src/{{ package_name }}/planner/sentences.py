"""What the measured parts of PLAN.md say of a task of several classes; measured.py tells how."""

from ..engine.formats import count, number, percent
from ..engine.settings import Project
from .blocks import escape
from .compared import SLACK, Report, beyond, worth

DEAREST = 3  # errors that are named

TEXTS: dict[str, tuple[str, str]] = {
    "TRAIN-01": (
        "training",
        "measured: {split[development_rows]:0} development rows of "
        "{split[development_classes]:0} classes ({split[development_rarest]:0} of the rarest) and "
        "{split[test_rows]:0} test rows ({split[test_rarest]:0} of the rarest), {cv[folds]} folds"
        "{notes}",
    ),
    "EVAL-05": (
        "metrics",
        "measured: {accepted}{too_many}\n"
        "dearest errors: {dearest}\n"
        "cost: {business[cost_per_1000]:0} {currency} per {thousand:0} rows, without a model "
        "{business[cost_per_1000_baseline]:0} {currency} ({business[baseline_policy]})",
    ),
    "EVAL-07": (
        "metrics",
        "measured: expected calibration error {calibration[ece]:4} of the class that is taken, "
        "{calibration[classwise_ece]:4} class by class",
    ),
}


def metrics(report: Report, project: Project) -> Report:
    """Return what TEXTS says of metrics.json beside what stands there."""
    business, limit = report["business"], project.plan.answers["review_share"]
    many = business["reviewed_share"] > SLACK * limit
    return {
        "worth": _worth(business),
        "accepted": _accepted(report, project),
        "too_many": f", more than the {percent(limit)} that people can look at" if many else "",
        "dearest": _dearest(report["confused"], escape(business["currency"])),
    }


def _accepted(report: Report, project: Project) -> str:
    """Say how many rows are accepted unseen, how right these are, and what people look at."""
    business = report["business"]
    right = f"{percent(business['right_share'])} of all rows end in the right class"
    if not business["reviewed_share"]:
        return f"every row is accepted, {right}"
    a_day = project.plan.number("EVAL-05", "predictions_per_day") * business["reviewed_share"]
    said = f"{percent(business['accepted_share'])} of the rows are accepted, "
    if business["accepted_accuracy"] is not None:
        said += f"{percent(business['accepted_accuracy'])} of them in the right class, "
    said += f"{percent(business['reviewed_share'])} go to people, {count(a_day, 'row', 1)} a day"
    return f"{said}; {right}"


def _dearest(confused: list[tuple[str, str, int, float]], currency: str) -> str:
    """Name the errors that cost most on the test set."""
    named = [
        f"{escape(actual)} taken for {escape(decided)} {count(rows, 'time')} "
        f"({number(cost, 0)} {currency})"
        for actual, decided, rows, cost in confused[:DEAREST]
        if rows
    ]
    return ", ".join(named) or "none"


def _worth(business: Report) -> str:
    """Say what the model adds to what is done without one, and to the cheapest policy."""
    if business["says_nothing"]:  # as the table of evidence has it
        return "value: not measured, made-up data of other shares than the plan's say nothing"
    said = f"{worth(business, business['baseline_policy'])} with "
    said += f"{percent(business['reviewed_share'])} of the rows seen by people"
    return said + beyond(business)
