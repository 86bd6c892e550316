"""What the measured parts of PLAN.md say of a forecast; measured.py tells how."""

from ..engine.formats import percent
from ..engine.settings import Project
from .compared import Report, beyond, worth

TEXTS: dict[str, tuple[str, str]] = {
    "TRAIN-01": (
        "training",
        "measured: of {split[valid_rows]:0} valid rows, each asked for from several origins, "
        "{split[development_rows]:0} examples to learn from (on average "
        "{split[development_mean]:4}) and {split[test_rows]:0} to test by (on average "
        "{split[test_mean]:4}), {cv[folds]} folds{notes}",
    ),
    "EVAL-05": (
        "metrics",
        "measured: at quantile {champion[quantile]:3}, {business[planned_above]:%} of the values "
        "to decide by lie above the outcome\n"
        "cost: {business[cost_per_1000]:0} {currency} per {thousand:0} rows, without a model "
        "{business[cost_per_1000_baseline]:0} {currency} ({business[baseline_policy]})",
    ),
    "EVAL-09": (
        "metrics",
        "measured: {champion[metrics][coverage]:share} of the outcomes are in their interval, "
        "{narrowest} to {widest} by size of the forecast; mean width "
        "{champion[metrics][width]:ci4}\n"
        "steps: from {forecast[origins]:0} origins up to {forecast[horizon]:0} steps ahead, MASE "
        "{forecast[mase]:3}, that of the value of a season before "
        "{forecast[mase_season_before]:3}; {by_steps} of the outcomes are in their interval by "
        "steps ahead, {by_series} by size of series{sums}",
    ),
}


def metrics(report: Report, project: Project) -> Report:
    """Return what TEXTS says of metrics.json beside what stands there."""
    shares = [part["coverage"] for part in report["by_size"]]
    return {
        "worth": _worth(report["business"]),
        "narrowest": percent(min(shares)),
        "widest": percent(max(shares)),
        "by_steps": _range(report["forecast"]["by_steps"]),
        "by_series": _range(report["forecast"]["by_size"]),
        "sums": "".join(map(_sum, report.get("sums", ()))),
    }


def _range(parts: list[Report]) -> str:
    """Say how much of the outcomes the intervals hold in the parts, from least to most."""
    shares = [part["coverage"] for part in parts if part["coverage"] is not None]
    return f"{percent(min(shares))} to {percent(max(shares))}"


def _sum(part: Report) -> str:
    """Say how far off the sums of a level are."""
    level = "all" if part["level"] == "all" else f"each {part['level']}"
    off, before = (
        "unknown" if part[name] is None else percent(part[name])
        for name in ("wape", "wape_season_before")
    )
    return (
        f"\nsum of {level}: off by {off} of its volume, the value of a season before by {before}; "
        f"{percent(part['coverage'])} of the outcomes are in their interval"
    )


def _worth(business: Report) -> str:
    """Say what the model adds to what is done without one, and to the cheapest policy."""
    if business["says_nothing"]:  # as the table of evidence has it
        return "value: not measured, made-up data of another size than the plan's say nothing"
    return worth(business, business["baseline_policy"]) + beyond(business, "to order ")
