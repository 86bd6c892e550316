"""Is the model still right? Drift, performance on new rows, and when to train again."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from . import contract as contracts
from . import features, ingest, metrics, registry, storage, validation
from .contract import Contract
from .errors import CheckFailed, ProjectError
from .metrics import Interval
from .scorer import Scorer
from .settings import Monitoring, Project

Floats = NDArray[np.float64]
BINS, TOP_LEVELS = 10, 30
MIN_TEST_ROWS = 50  # below, no test says anything
ALPHA_WARN, ALPHA_ACT = 0.05, 0.001  # of a whole report: divided by the number of its tests
FLOOR = 1e-4  # the smallest share in PSI
SEVERITY = ("ok", "too_few_rows", "warn", "act")
CONTROL_WINDOWS, CONTROL_ALARMS = 40, 0.05


class Window(NamedTuple):
    """Rows to look at: features, probabilities, and labels (NaN where not known yet)."""

    source: str
    frame: pl.DataFrame
    probability: Floats
    labels: Floats
    violations: dict[str, Any] | None = None


# --- the reference and drift ---------------------------------------------------------------------


def reference(
    frame: pl.DataFrame, contract: Contract, probability: Floats, labels: NDArray[Any]
) -> dict[str, Any]:
    """Summarise rows for later comparison: profile.json of the bundle.

    Numbers are counted in bins of equal mass, categories by their most frequent levels; dates are
    left out, because they always move on. `probability` and `labels` have shape (rows,).
    """
    profiles = {
        column.name: _numbers(_floats(frame[column.name]))
        if column.kind in ("number", "integer")
        else _levels(frame[column.name])
        for column in contract.features
        if column.kind not in ("date", "timestamp")
    }
    return {
        "rows": frame.height,
        "features": profiles,
        "prediction": _numbers(_rounded(probability)),
        "positive_rate": float(labels.mean()),
        "observed_to_expected": float(labels.sum() / max(probability.sum(), 1e-12)),
        "estimated": estimate(probability),
    }


def drift(
    known: dict[str, Any],
    frame: pl.DataFrame,
    probability: Floats,
    settings: Monitoring,
    policy: str,
) -> dict[str, Any]:
    """Compare rows with a `reference`; columns that `frame` lacks are left out.

    policy psi: population stability index against the larger of the fixed limit and what chance
    alone gives, chi2(1 - 0.05 / tests, bins - 1) * (1 / rows + 1 / reference rows) (Yurdakul 2018).
    policy ks_chi2, and windows below `settings.min_rows`: p-values against 0.05 (warn) and 0.001
    (act), both divided by the number of tests (Bonferroni): Kolmogorov-Smirnov on the binned
    numbers, which is conservative; chi-square for categories; binomial for shares.
    """
    names = [name for name in known["features"] if name in frame.columns]
    test = "psi" if policy == "psi" and frame.height >= settings.min_rows else "p"
    judge = _Judge(test, settings, tests=3 * len(known["features"]) + 1)
    rows: list[dict[str, Any]] = []
    for name in names:
        profile = known["features"][name]
        if "edges" in profile:
            before, after, missing = _compared_numbers(profile, _floats(frame[name]))
            unseen = None
        else:
            before, after, missing, unseen = _compared_levels(profile, frame[name])
        rows.append(judge(name, "distribution", before, after, ordered="edges" in profile))
        whole = np.array([before.sum(), profile["missing"]])
        rows.append(judge(name, "missing", whole, np.array([after.sum(), missing])))
        if unseen:
            seen = np.array([after.sum() - unseen, unseen])
            rows.append(judge(name, "unseen", np.array([before.sum(), 0]), seen))
    rows = [row for row in rows if row["statistic"] == "distribution" or row["level"] != "ok"]
    before, after, _ = _compared_numbers(known["prediction"], _rounded(probability))
    prediction = judge("prediction", "distribution", before, after, ordered=True)
    return {
        "rows": frame.height,
        "reference_rows": known["rows"],
        "features": sorted(rows, key=lambda row: -SEVERITY.index(row["level"])),
        "prediction": prediction,
        "level": worst([row["level"] for row in (*rows, prediction)])
        if frame.height >= MIN_TEST_ROWS
        else "too_few_rows",
    }


def worst(levels: Sequence[str]) -> str:
    """Return the most severe level; too few rows for one test say nothing about the others."""
    return max(
        (level for level in levels if level != "too_few_rows"), key=SEVERITY.index, default="ok"
    )


class _Judge:
    """Compares counts by one test and gives the row of the report."""

    def __init__(self, test: str, settings: Monitoring, tests: int) -> None:
        self.test, self.settings, self.tests = test, settings, tests

    def __call__(
        self, feature: str, statistic: str, before: Floats, after: Floats, ordered: bool = False
    ) -> dict[str, Any]:
        test, value, warn, act, level = self.test, None, None, None, "too_few_rows"
        if min(before.sum(), after.sum()) >= MIN_TEST_ROWS:
            if len(before) > 2 and not (ordered and test == "p"):
                before, after = _merged(before, after)
            if self.test == "psi":
                value = psi(before, after)
                chance = psi_by_chance(before, after, ALPHA_WARN / self.tests)
                warn, act = max(self.settings.warn, chance), max(self.settings.act, chance)
                level = SEVERITY[3 if value > act else 2 if value > warn else 0]
            else:
                test, value = _p_value(before, after, ordered)
                warn, act = ALPHA_WARN / self.tests, ALPHA_ACT / self.tests
                level = SEVERITY[3 if value < act else 2 if value < warn else 0]
        return {
            "feature": feature,
            "statistic": statistic,
            "test": test,
            "value": value,
            "limit_warn": warn,
            "limit_act": act,
            "level": level,
        }


def psi(before: Floats, after: Floats) -> float:
    """Return the population stability index of two histograms: sum (a - b) * ln(a / b) of shares.

    Lewis 1994, An introduction to credit scoring; shares are at least 1e-4.
    """
    b = np.maximum(before / before.sum(), FLOOR)
    a = np.maximum(after / after.sum(), FLOOR)
    return float(np.sum((a - b) * np.log(a / b)))


def psi_by_chance(before: Floats, after: Floats, alpha: float) -> float:
    """Return the PSI that two samples of one population exceed with probability `alpha`.

    Yurdakul 2018, Statistical properties of the population stability index.
    """
    from scipy.special import chdtri

    bins = int(np.count_nonzero(before + after))
    return float(chdtri(max(1, bins - 1), alpha) * (1 / before.sum() + 1 / after.sum()))


def _p_value(before: Floats, after: Floats, ordered: bool) -> tuple[str, float]:
    from scipy.special import bdtr, bdtrc, chdtrc, kolmogorov

    m, n = before.sum(), after.sum()
    if len(before) == 2 and not ordered:
        k, events = after[1], before[1] + after[1]  # given all events, where did they fall?
        tails = bdtr(k, events, n / (n + m)), bdtrc(k - 1, events, n / (n + m))
        return "binomial", float(min(1.0, 2 * min(tails)))
    if ordered:
        gap = np.abs(np.cumsum(before) / m - np.cumsum(after) / n).max()
        return "ks", float(kolmogorov(gap * np.sqrt(m * n / (m + n))))
    pooled = (before + after) / (m + n)
    chi2 = (
        (before - m * pooled) ** 2 / (m * pooled) + (after - n * pooled) ** 2 / (n * pooled)
    ).sum()
    return "chi2", float(chdtrc(max(1, len(before) - 1), chi2))


def _merged(before: Floats, after: Floats) -> tuple[Floats, Floats]:
    """Put bins in which fewer than 5 rows are expected together (Cochran 1954)."""
    expected = (before + after) * min(before.sum(), after.sum()) / (before.sum() + after.sum())
    rare = expected < 5
    both = [np.append(counts[~rare], counts[rare].sum()) for counts in (before, after)]
    return (both[0], both[1]) if both[0][-1] + both[1][-1] else (before[~rare], after[~rare])


def _floats(values: pl.Series) -> Floats:
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _rounded(probability: Floats) -> Floats:
    return np.round(probability, 5)  # equal steps stay equal in float32 and in a log file


def _numbers(values: Floats) -> dict[str, Any]:
    """Choose bin edges at the deciles; a value that fills a whole bin gets a bin of its own."""
    present = values[~np.isnan(values)]
    edges = np.empty(0)
    if len(present):
        deciles = np.quantile(present, np.arange(1, BINS) / BINS, method="inverted_cdf")
        heavy = deciles[1:][deciles[1:] == deciles[:-1]]
        edges = np.unique(np.concatenate([deciles, np.nextafter(heavy, -np.inf)]))
    counts, missing = _count_numbers(edges, values)
    return {"edges": edges.tolist(), "counts": counts.tolist(), "missing": missing}


def _count_numbers(edges: Floats, values: Floats) -> tuple[Floats, int]:
    present = values[~np.isnan(values)]
    below = [np.count_nonzero(present <= edge) for edge in edges]  # faster than sorting
    counts = np.diff([0, *below, len(present)]).astype(np.float64)
    return counts, len(values) - len(present)


def _count_levels(values: pl.Series) -> pl.DataFrame:
    """Count levels, most frequent first; null and "" are missing and left out."""
    level = values.cast(pl.String).alias("level")
    counts = level.value_counts(name="n").filter(pl.col("level").fill_null("") != "")
    return counts.sort("n", "level", descending=[True, False])


def _levels(values: pl.Series) -> dict[str, Any]:
    counts = _count_levels(values)
    top = dict(counts.head(TOP_LEVELS).iter_rows())
    present = int(counts["n"].sum())
    other = present - sum(top.values())
    return {"levels": top, "other": other, "missing": len(values) - present}


def _compared_numbers(profile: dict[str, Any], values: Floats) -> tuple[Floats, Floats, int]:
    counts, missing = _count_numbers(np.asarray(profile["edges"]), values)
    return np.asarray(profile["counts"], np.float64), counts, missing


def _compared_levels(profile: dict[str, Any], values: pl.Series) -> tuple[Floats, Floats, int, int]:
    """Return counts before and after, missing and unseen rows; rare known levels are not unseen."""
    counts = _count_levels(values)
    present = int(counts["n"].sum())
    found = dict(counts.filter(pl.col("level").is_in(list(profile["levels"]))).iter_rows())
    after = [found.get(level, 0) for level in profile["levels"]]
    rest = present - sum(after)
    before = np.array([*profile["levels"].values(), profile["other"]], np.float64)
    unseen = 0 if profile["other"] else rest
    return before, np.array([*after, rest], np.float64), len(values) - present, unseen


# --- performance ---------------------------------------------------------------------------------


def estimate(probability: Floats) -> dict[str, float]:
    """Estimate metrics without labels, as they would be if the probabilities are calibrated.

    Each row counts as a positive with weight p and as a negative with weight 1 - p:
    confidence-based performance estimation (Białek et al. 2023). It sees shifts of inputs, but not
    of their meaning.
    """
    y = np.repeat([1.0, 0.0], len(probability))
    weights = np.concatenate([probability, 1 - probability])
    both = np.tile(probability, 2)
    return {name: metrics.score(name, y, both, weights=weights) for name in ("roc_auc", "pr_auc")}


def performance(
    window: Window,
    known: dict[str, Any],
    scorer: Scorer,
    tested: Interval,
    settings: Monitoring,
    draws: int = 200,
) -> dict[str, Any]:
    """Compare the model on a window with `tested`, its primary metric on the test set.

    With labels: the metric is warn when it is lower by more than chance explains (both intervals
    combined as in Zou & Donner 2008) and act at 1.6 times that, one chance in 1,000. The observed
    positives per expected positive tell concept drift: warn and act when they moved by more than
    the settings' shares and by more than chance. Without labels: the estimate, at most warn.
    """
    primary = scorer.manifest.primary_metric
    report: dict[str, Any] = {
        "metric": primary,
        "tested": tested._asdict(),
        "estimated": estimate(window.probability)[primary],
    }
    labelled = ~np.isnan(window.labels)
    y, p = window.labels[labelled], window.probability[labelled]
    report["labelled_rows"], report["positives"] = len(y), int(y.sum())
    if len(y) < MIN_TEST_ROWS or y.min() == y.max():
        drop = known["estimated"][primary] - report["estimated"]
        level = "warn" if drop > tested.value - tested.low else "ok"
        return {**report, "kind": "estimated", "value": report["estimated"], "level": level}
    found = metrics.bootstrap(y, p, scorer.manifest.threshold, [primary], draws=draws, seed=0)[
        primary
    ]
    chance = np.hypot(found.high - found.value, tested.value - tested.low)
    drop = tested.value - found.value
    observed, expected = float(y.sum()), float(p.sum()) * known["observed_to_expected"]
    moved = abs(observed / expected - 1)
    z = abs(observed - expected) / np.sqrt((p * (1 - p)).sum())
    calibration = {
        "observed": observed / len(y),
        "expected": expected / len(y),
        "level": SEVERITY[
            3 if moved > settings.act and z > 3.1 else 2 if moved > settings.warn and z > 2 else 0
        ],
    }
    level = SEVERITY[3 if drop > 1.6 * chance else 2 if drop > chance else 0]
    return {
        **report,
        "kind": "realised",
        **found._asdict(),
        "calibration": calibration,
        "level": worst([level, calibration["level"]]),
    }


# --- the commands --------------------------------------------------------------------------------


def run(project: Project, data: Path | None = None) -> dict[str, Any]:
    """Compare a window with training; write reports/drift.json and drift.html.

    The window is `data` (a raw table, with or without target, scored by the champion), or the last
    days of the service's prediction log, or, when neither is there, the test set. CheckFailed when
    somebody must act on new data.
    """
    from .report import render

    folder = registry.champion_folder(project)
    scorer = Scorer.load(folder, threads=project.config.training.threads)
    known = storage.read_json(folder / "profile.json", dict[str, Any])
    settings = project.config.monitoring
    window = _window(project, scorer, contracts.read(folder / "contract.odcs.yaml"), data)
    report: dict[str, Any] = {"version": scorer.version, "run": scorer.manifest.run}
    report |= {"source": window.source, "window_days": settings.window_days}
    report |= drift(
        known, window.frame, window.probability, settings, project.plan.value("drift_test")
    )
    report["violations"] = window.violations
    tested = _tested(project, scorer)
    report["performance"] = tested and performance(window, known, scorer, tested, settings)
    if report["level"] != "too_few_rows":
        parts = [report["performance"], window.violations]
        report["level"] = worst([report["level"], *(part["level"] for part in parts if part)])
    storage.write_json(project.path("reports/drift.json"), report)
    render("drift.html", project.path("reports/drift.html"), drift=report)
    if report["level"] == "act" and window.source != "test set":
        raise CheckFailed(f"drift: {'; '.join(_alarms(report))}: see reports/drift.html")
    return report


def simulate_drift(project: Project) -> dict[str, Any]:
    """Prove that the alarm fires; write reports/simulated_drift.json.

    Windows are drawn from the test set, with shifts planted in each feature, with labels flipped,
    and, as a control, without any shift. CheckFailed when a shift is missed (its level is not act)
    or more than 5 % of the control windows alarm.
    """
    folder = registry.champion_folder(project)
    scorer = Scorer.load(folder, threads=project.config.training.threads)
    agreed = contracts.read(folder / "contract.odcs.yaml")
    settings, policy = project.config.monitoring, project.plan.value("drift_test")
    whole = _test_set(project, scorer, agreed)
    if len(whole.labels) < MIN_TEST_ROWS or len(np.unique(whole.labels)) < 2:
        raise ProjectError("the test set is too small to simulate drift: bring more data")
    known = reference(whole.frame, agreed, whole.probability, whole.labels)
    primary, threshold = scorer.manifest.primary_metric, scorer.manifest.threshold
    tested = metrics.bootstrap(
        whole.labels, whole.probability, threshold, [primary], draws=200, seed=0
    )[primary]
    rng = np.random.default_rng(project.config.training.seed)
    size = max(settings.min_rows, min(len(whole.labels), 2000))

    def draw() -> Window:
        rows = rng.integers(0, len(whole.labels), size)
        return Window("", whole.frame[rows], whole.probability[rows], whole.labels[rows])

    def check(window: Window) -> dict[str, Any]:
        return performance(window, known, scorer, tested, settings, draws=100)

    planted = []
    for name in known["features"]:
        window = draw()
        for kind, changed in _shifted(window.frame[name], rng).items():
            found = drift(known, changed.to_frame(), window.probability, settings, policy)
            level = worst([row["level"] for row in found["features"]])
            planted.append({"shift": kind, "feature": name, "level": level})
    window, name = draw(), agreed.target.name
    flipped = np.where(rng.random(size) < 0.5, 1 - window.labels, window.labels)
    level = check(window._replace(labels=flipped))["level"]
    planted.append({"shift": "half of the labels flipped", "feature": name, "level": level})
    alarms = 0
    for _ in range(CONTROL_WINDOWS):
        window = draw()
        found = drift(known, window.frame, window.probability, settings, policy)
        alarms += worst([found["level"], check(window)["level"]]) != "ok"
    missed = [item for item in planted if item["level"] != "act"]
    quiet = alarms <= CONTROL_ALARMS * CONTROL_WINDOWS
    report = {
        "version": scorer.version,
        "run": scorer.manifest.run,
        "rows": size,
        "planted": planted,
        "control": {"windows": CONTROL_WINDOWS, "alarms": alarms},
        "passed": quiet and not missed,
    }
    storage.write_json(project.path("reports/simulated_drift.json"), report)
    if missed:
        raise CheckFailed(f"no alarm for {missed[0]['feature']}: {missed[0]['shift']}")
    if not quiet:
        raise CheckFailed(f"{alarms} of {CONTROL_WINDOWS} windows without any shift alarmed")
    return report


def retrain_check(project: Project) -> dict[str, Any]:
    """Decide whether to train again by decision MON-03; write reports/retrain.json."""
    folder = registry.champion_folder(project)
    scorer = Scorer.load(folder)
    path = project.path("reports/drift.json")
    drifted = storage.read_json(path, dict[str, Any]) if path.exists() else {}
    if drifted.get("version") != scorer.version or drifted["source"] == "test set":
        drifted = {}  # nothing was observed since training
    realised = drifted.get("performance") or {}
    below = None
    if realised.get("kind") == "realised":
        below = max(0.0, realised["tested"]["low"] - realised["value"])
    created = dt.datetime.fromisoformat(scorer.manifest.created)
    age = (dt.datetime.now(dt.UTC) - created).total_seconds() / 86400
    max_age, max_drop = (project.plan.number("MON-03", n) for n in ("max_age_days", "metric_drop"))
    level = drifted.get("level")
    new_rows = _new_rows(project, scorer)
    checks = [
        {"name": "drift level", "value": level, "limit": "act", "hit": level == "act"},
        {
            "name": f"{scorer.manifest.primary_metric} below its test interval",
            "value": below,
            "limit": max_drop,
            "hit": below is not None and below > max_drop,
        },
        {"name": "age in days", "value": round(age, 1), "limit": max_age, "hit": age > max_age},
    ]
    reasons = [f"{c['name']}: {c['value']} (limit {c['limit']})" for c in checks if c["hit"]]
    decision = bool(reasons)
    if decision and not new_rows:
        reasons.append("but there are no new validated rows: bring them first (`ml ingest`)")
    checks.append({"name": "new rows", "value": new_rows, "limit": None, "hit": False})
    report = {
        "version": scorer.version,
        "run": scorer.manifest.run,
        "policy": project.plan.value("retrain"),
        "decision": decision,
        "reasons": reasons,
        "checks": checks,
    }
    storage.write_json(project.path("reports/retrain.json"), report)
    return report


def _alarms(report: dict[str, Any]) -> list[str]:
    """Say what must be acted on."""
    rows = [*report["features"], report["prediction"]]
    found = [f"{r['feature']} ({r['statistic']})" for r in rows if r["level"] == "act"]
    for name in ("performance", "violations"):
        if report[name] and report[name]["level"] == "act":
            found.append(name)
    return found[:5] + (["..."] if len(found) > 5 else [])


def _tested(project: Project, scorer: Scorer) -> Interval | None:
    """Return the champion's primary metric on the test set, None when it was not evaluated."""
    path = project.path(f"models/{scorer.version}/metrics.json")
    if not path.exists():
        return None
    found = storage.read_json(path, dict[str, Any])["champion"]["metrics"]
    return Interval(**found[scorer.manifest.primary_metric])


def _window(project: Project, scorer: Scorer, agreed: Contract, data: Path | None) -> Window:
    if data is not None:
        return _file(project, scorer, agreed, data)
    return _log(project, scorer, agreed) or _test_set(project, scorer, agreed)


def _log(project: Project, scorer: Scorer, agreed: Contract) -> Window | None:
    """Read the champion's rows of the last days; personal and date columns are not needed."""
    files = sorted(project.path("data/predictions").glob("????-??-??.jsonl"))
    if not files:
        return None
    last = dt.date.fromisoformat(files[-1].stem)
    first = last - dt.timedelta(days=project.config.monitoring.window_days - 1)
    columns = {
        column.name: validation.DTYPES[column.kind]
        for column in agreed.features
        if column.kind not in ("date", "timestamp") and not column.personal
    }
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "version": pl.String,
        "probability": pl.Float64,
        "features": pl.Struct(columns),
    }
    parts = [
        pl.read_ndjson(file, schema=schema, ignore_errors=True)
        for file in files
        if file.stem >= first.isoformat() and file.stat().st_size
    ]
    rows = pl.concat(parts).filter(pl.col("version") == scorer.version) if parts else None
    if rows is None or not rows.height:
        return None
    unknown = np.full(rows.height, np.nan)
    source = f"prediction log, {first} to {last}"
    return Window(source, rows["features"].struct.unnest(), rows["probability"].to_numpy(), unknown)


def _file(project: Project, scorer: Scorer, agreed: Contract, data: Path) -> Window:
    raw = ingest.read_table(data, project.config.data.encoding)
    definition = agreed.target.definition
    labelled = definition is not None and {*contracts.definition_columns(definition)} <= {
        *raw.columns
    }
    checked = validation.apply(agreed, raw, labelled=labelled)
    frame = checked.valid
    share = checked.rejected.height / raw.height
    limit = project.config.data.max_rejected_share
    violations = {
        "share": share,
        "limit": limit,
        "rules": checked.rules,
        "level": "act" if share > limit else "ok",
    }
    probability = scorer.predict(features.encode(scorer.spec, frame)).probability
    return Window(data.name, frame, probability, _labels(frame, agreed), violations)


def _test_set(project: Project, scorer: Scorer, agreed: Contract) -> Window:
    path = project.path("data/processed/test.parquet")
    if not path.exists():
        raise ProjectError("no window to look at: give a file, or run `ml train` for a test set")
    frame = pl.read_parquet(path)
    probability = scorer.predict(features.encode(scorer.spec, frame)).probability
    return Window("test set", frame, probability, _labels(frame, agreed))


def _labels(frame: pl.DataFrame, agreed: Contract) -> Floats:
    return _floats(frame.select(validation.is_positive(agreed.target)).to_series())


def _new_rows(project: Project, scorer: Scorer) -> int:
    """Count validated rows beyond those that the champion was trained and tested on."""
    valid = project.path("data/processed/valid.parquet")
    trained = project.path(f"models/{scorer.version}/training.json")
    if not valid.exists() or storage.sha256(valid) == scorer.manifest.data_sha256:
        return 0
    split = storage.read_json(trained, dict[str, Any])["split"]
    rows = pl.scan_parquet(valid).select(pl.len()).collect().item()
    return max(0, int(rows) - int(split["development_rows"]) - int(split["test_rows"]))


def _shifted(values: pl.Series, rng: np.random.Generator) -> dict[str, pl.Series]:
    """Plant each shift that the feature can have."""

    def where(share: float, value: Any) -> pl.Series:
        chosen = pl.Series(rng.random(len(values)) < share)
        return pl.select(
            pl.when(chosen).then(pl.lit(value)).otherwise(values).alias(values.name)
        ).to_series()

    shifts = {}
    counts = _count_levels(values)
    if values.dtype.is_numeric():
        if std := values.std():
            shifts["moved by one standard deviation"] = values + std
    elif counts.height > 1:
        rarest = values.filter(values.cast(pl.String) == counts["level"][-1])[0]
        shifts["half of the rows in the rarest category"] = where(0.5, rarest)
    share = 1 - int(counts["n"].sum()) / len(values)
    if share < 0.7:
        shifts["30 % more missing"] = where(0.3 / (1 - share), None)
    return shifts
