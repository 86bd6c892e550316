"""What the alerts of a detector are worth, and whether they are of any use."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from . import decision
from .engine import metrics, task
from .engine.data import contract, validation
from .engine.data.contract import Contract
from .engine.features import encode
from .engine.formats import number, percent
from .engine.model import parts
from .engine.resampling import Interval, Measured, Places, intervals, resamples
from .engine.saving import saved
from .engine.settings import DAYS_A_MONTH, Project
from .engine.severity import Judged
from .planner.compared import losses
from .training import development_data, fit

Floats = NDArray[np.float64]
FULL = 0.99  # of the rows have a label where all are said to
FEW_VALUES = 5
BUDGET_SLACK = 1.5  # the test set's share of alerts differs from the planned one by chance
STABILITY_ROWS = 20_000


def judge(
    project: Project,
    y: Floats,
    answers: dict[str, NDArray[Any]],
    cut: float,
    groups: NDArray[np.intp] | None,
    *,
    made_up: bool,
) -> Judged:
    """Judge the alerts on the test set; all arrays have shape (rows,).

    Money needs the labels of all rows; what is known of fewer is told, and no more than that.
    """
    real = task.real(y)
    labels, scores, alert = y[real], answers["score"][real], answers["alert"][real]
    told = known_quality(labels)
    business = _business(project, labels, alert, groups if groups is None else groups[real])
    business["says_nothing"] = told["state"] != "full" or made_up
    reasons, warnings = usefulness(scores, alert, business, told)
    report = {
        "business": business,
        "labels": told,
        "injected": metrics.by_kind(y, answers["score"], cut),
        "stability": stability(project, cut),
        "alerts": _alerts(project, alert, answers["top_features"][real]),
        "scores": metrics.histogram(scores),
    }
    return Judged(report, reasons, warnings)


def known_quality(labels: Floats) -> dict[str, Any]:
    """Say how much is known of the quality, by the labels (rows,) of the test set.

    `quality` is measured, of the labelled rows alone, which nobody drew by chance, or unknown.
    """
    known = labels[~np.isnan(labels)]
    anomalies = int((known == 1).sum())
    enough = min(anomalies, len(known) - anomalies) >= metrics.FEWEST_LABELS
    state = "full" if len(known) >= FULL * len(labels) else "few" if len(known) else "none"
    said = {"full": "measured", "few": "of labelled rows", "none": "unknown"}
    return {
        "state": state,
        "known": len(known),
        "anomalies": anomalies,
        "quality": said[state] if enough else "unknown",
    }


def usefulness(
    scores: Floats, alert: NDArray[np.bool_], business: dict[str, Any], told: dict[str, Any]
) -> tuple[list[str], list[str]]:
    """Return why a detector is of no use whatever its metric is, and what puts its use in doubt.

    The same score for every row ranks nothing; no alert at all finds nothing; more alerts than
    people can check are lost. Where labels are missing, the quality is unknown.
    """
    reasons, warnings = [], []
    if len(levels := np.unique(scores)) == 1:
        reasons.append(f"it gives every row the same score, {number(float(levels[0]), 3)}")
    elif len(levels) < FEW_VALUES:
        warnings.append(f"it knows only {len(levels)} different scores")
    share, planned = float(alert.mean()), business["budget_share"]
    if not share and planned * len(scores) >= FEW_VALUES:
        reasons.append("it gives no alert on the test set: its highest scores are all the same")
    elif share > BUDGET_SLACK * planned and (share - planned) * len(scores) > FEW_VALUES:
        warnings.append(
            f"{percent(share)} of the rows are alerts; people can check {percent(planned)}"
        )
    if told["quality"] == "unknown":
        warnings.append(
            "quality unknown: there are not enough labels; what is measured are rows that were "
            "spoilt on purpose. Have a handful of alerts and of other rows labelled"
        )
    elif told["quality"] == "of labelled rows":
        warnings.append(
            f"quality is that of the {number(told['known'])} labelled rows of the test set, which "
            "nobody drew by chance"
        )
    return reasons + losses(business), warnings


def stability(project: Project, cut: float) -> dict[str, float]:
    """Return how far the rankings of two detectors agree that learnt from halves of the rows.

    Both score the same test rows (see `metrics.agreement`).
    """
    agreed = contract.read(project.contract_path)
    trained, _, rows, test = parts.read(project, agreed)
    whole = development_data(project, rows, agreed)
    whole = whole._replace(y=np.full(rows.height, np.nan))
    seed = project.config.training.seed
    order = np.random.default_rng(seed).permutation(rows.height)[: 2 * STABILITY_ROWS]
    some = encode(whole.spec, test.head(STABILITY_ROWS))
    halves = (whole.rows(np.sort(half)) for half in np.array_split(order, 2))
    scores = [fit(project, trained["chosen"], half, {}).predict(some) for half in halves]
    first, second = scores
    return metrics.agreement(first, second, cut)


def _alerts(project: Project, alert: NDArray[np.bool_], named: NDArray[Any]) -> dict[str, Any]:
    """Count the alerts of the test set, by day where rows have a time, and by first feature."""
    agreed = contract.read(project.contract_path)
    test = validation.stored(project, "data/processed/test.parquet", "run `ml train`", agreed)
    by_day: list[list[Any]] = []
    if agreed.time is not None:
        days = test.select(pl.col(agreed.time.name).cast(pl.Date).alias("day"), alert=alert)
        found = days.drop_nulls().group_by("day").agg(pl.col("alert").sum()).sort("day")
        by_day = [[str(day), count] for day, count in found.rows()]
    first = pl.Series("name", [str(text).split(", ")[0] for text in named[alert]], dtype=pl.String)
    counts = first.filter(first != "").value_counts(sort=True)
    return {
        "rows": int(alert.sum()),
        "runs": _runs(test, alert, agreed),
        "share": float(alert.mean()),
        "per_day_planned": project.facts.alerts_per_day,
        "by_day": by_day,
        "columns": [
            list(row) for row in counts.sort("count", "name", descending=[True, False]).rows()
        ],
    }


def _runs(test: pl.DataFrame, alert: NDArray[np.bool_], agreed: Contract) -> int | None:
    """Count runs of alerts on rows of one entity that follow each other in time; None without."""
    if agreed.time is None or agreed.entity is None:
        return None
    rows = test.select(whom=agreed.entity.name, when=agreed.time.name).with_columns(alert=alert)
    before = pl.col("alert").shift(1, fill_value=False).over("whom")
    return int(rows.sort("whom", "when").select((pl.col("alert") & ~before).sum()).item())


def _business(
    project: Project, labels: Floats, alert: NDArray[np.bool_], groups: NDArray[np.intp] | None
) -> dict[str, Any]:
    """Say what alerts cost and save, per 1,000 rows and per year, at the plan's share of anomalies.

    The test set may hold more anomalies than there are outside: each class counts by its planned
    share. Held against today's process, or against checking nothing where that costs less.
    """
    facts = project.facts
    prevalence, yearly = facts.anomaly_share, 12 * facts.predictions_per_month
    rows_a_day = facts.predictions_per_month / DAYS_A_MONTH
    known = ~np.isnan(labels)
    y, flagged = labels[known] == 1, alert[known]
    w = np.where(y, prevalence / max(y.sum(), 1), (1 - prevalence) / max((~y).sum(), 1))
    per_row = np.where(flagged, facts.cost_check, 0.0) + np.where(
        y & ~flagged, facts.cost_missed, 0
    )
    draws = resamples(project.config.evaluation.bootstrap, max(1, len(y)))
    seed = project.config.training.seed
    inner = None if groups is None else groups[known]
    cost = _mean(y, per_row, prevalence, {"draws": draws, "seed": seed, "groups": inner})
    checks = min(1.0, facts.today_checks / max(rows_a_day, 1e-9))
    policies = {
        "today's process": checks * facts.cost_check
        + prevalence * (1 - facts.today_found) * facts.cost_missed,
        "check nothing": prevalence * facts.cost_missed,
    }
    baseline = min(policies, key=policies.__getitem__)
    share = float(w @ flagged) if len(y) else float(alert.mean())
    true = float(w @ (flagged & y))
    caught = float(flagged[y].mean()) if y.any() else None
    return {
        "currency": facts.currency,
        "prevalence": prevalence,
        "budget_share": decision.alert_share(project),
        "flagged_share": share,
        "alerts_a_year": share * yearly,
        "caught": caught,
        "precision": None if caught is None or not share else true / share,
        **saved(policies, baseline, cost, yearly),
    }


def _mean(
    y: NDArray[np.bool_], values: Floats, prevalence: float, drawn: dict[str, Any]
) -> Interval:
    """Return the mean of values where the share `prevalence` of the rows is of class `y`.

    All arrays have shape (rows,). NaN where a class has no row.
    """
    if not y.any() or y.all():
        return Interval(np.nan, np.nan, np.nan)

    def of(some: Places) -> Measured:
        part, hit = values[some], y[some]
        classes = [np.flatnonzero(hit), np.flatnonzero(~hit)]

        def mean(weights: Floats | None) -> list[float]:
            w = np.ones(len(hit)) if weights is None else weights
            sums = [(float(w[rows].sum()), float(np.sum(w[rows] * part[rows]))) for rows in classes]
            shares = (prevalence, 1 - prevalence)
            means = [
                s * total / n if n else np.nan for s, (n, total) in zip(shares, sums, strict=True)
            ]
            return [sum(means)]

        return mean, classes

    return intervals(of, **drawn)[0]
