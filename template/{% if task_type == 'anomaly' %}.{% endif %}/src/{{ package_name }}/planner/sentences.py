"""What the measured parts of PLAN.md say of anomaly detection; measured.py tells how."""

from ..engine.formats import count, number, percent
from ..engine.settings import Project
from .blocks import escape
from .compared import Report, interval, worth

TEXTS: dict[str, tuple[str, str]] = {
    "TRAIN-01": (
        "training",
        "measured: {split[development_rows]:0} development rows "
        "({split[development_anomalies]:0} known anomalies) and {split[test_rows]:0} test rows "
        "({split[test_labelled]:0} labelled, {split[test_anomalies]:0} of them anomalies), "
        "{cv[folds]} folds{notes}",
    ),
    "EVAL-05": (
        "metrics",
        "measured: scores of at least {champion[cut]:5} are alerts, {alerts[share]:%} of the test "
        "rows, about {a_day:1} a day{busiest}; {known}\n"
        "injected: within the budget {found}\n"
        "stable: detectors that learnt from halves of the rows agree on {stability[top]:%} of the "
        "alerts",
    ),
}
KINDS = {
    "moved": "rows with a moved value",
    "broken": "rows whose values do not go together",
    "local": "rows that are a little off everywhere",
    "clustered": "rows that lie together aside",
}


def metrics(report: Report, project: Project) -> Report:
    """Return what TEXTS says of metrics.json beside what stands there."""
    a_day = project.plan.number("EVAL-05", "predictions_per_day") * report["alerts"]["share"]
    found = [
        f"{percent(kind['found'])} of {KINDS.get(kind['kind'], escape(kind['kind']))}"
        for kind in report["injected"]
    ]
    return {
        "worth": _worth(report, a_day),
        "a_day": a_day,
        "busiest": _busiest(report["alerts"]),
        "known": _known(report, project),
        "found": f"{', '.join(found)} are found" if found else "nothing was injected",
    }


def _busiest(alerts: Report) -> str:
    """Say how alerts crowd, as what lasts gives many: days, and runs of rows of one entity."""
    told = ""
    if alerts.get("by_day"):
        most = max(rows for _, rows in alerts["by_day"])
        told = f", {number(most)} on the busiest day of the test rows"
    if runs := alerts.get("runs"):
        told += f"; they are {count(runs, 'run')} of neighbouring rows of one entity"
    return told


def _known(report: Report, project: Project) -> str:
    """Say which alerts are true, and of which rows that is known."""
    labels, judge = report["labels"], project.plan.number("EVAL-05", "alerts_to_judge")
    if labels["quality"] == "unknown":
        known = f"{number(labels['known'])} of the rows have a label"
        return f"how many are true is unknown: {known}, {number(judge)} judged alerts would tell"
    shown = (
        interval(report["champion"]["metrics"][f"{name}_at_budget"], share=True)
        for name in ("precision", "recall")
    )
    chosen = " of the labelled rows, which nobody drew by chance,"
    rows = "" if labels["quality"] == "measured" else chosen
    true, caught = shown
    return f"{true} of them{rows} are true, and {caught} of the known anomalies are found"


def _worth(report: Report, a_day: float) -> str:
    """Say what the alerts add to what is done without a model."""
    business = report["business"]
    if business["says_nothing"]:  # as the table of evidence has it
        why = "made-up data say nothing" if report.get("made_up") else "not all rows have a label"
        return f"value: not measured, {why}"
    said = f"{worth(business, business['baseline_policy'])} with"
    said += f" {percent(business['prevalence'])} anomalies and {number(a_day, 1)} alerts a day, of"
    return f"{said} which {percent(business['precision'])} are true"
