"""Is the model still right? Drift, performance on new rows, and when to train again."""

import datetime as dt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from . import (
    attribution,
    comparison,
    metrics,
    overruling,
    performance,
    prediction_log,
    privacy,
    progress,
    resampling,
    storage,
    task,
)
from .data import contract as contracts
from .data import ingest, validation, whole
from .data import target as targets
from .data.contract import Contract
from .errors import CheckFailed, ProjectError
from .formats import number
from .history import earlier_of, matrix_for
from .kinds import READ
from .model import registry
from .model.scorer import Scorer
from .report import render
from .resampling import Interval
from .settings import Monitoring, Project
from .severity import MIN_TEST_ROWS, SEVERITY, worst

Floats = NDArray[np.float64]
BINS, TOP_LEVELS = 10, 30
FREQUENT = 20  # rows that a level has at least, where only the most frequent ones are watched
ALPHA_WARN, ALPHA_ACT = 0.05, 0.001  # of a whole report: divided by the number of its tests
FLOOR = 1e-4  # the smallest share in PSI
TEST_SET, VALID = "test set", "data/processed/valid.parquet"
CONTROL_WINDOWS = 40
MOVED_KEYS = 0.1  # share of the keys of a state beyond which somebody should look


class Window(NamedTuple):
    """Rows to look at; labels are NaN where they are not known yet."""

    source: str
    frame: pl.DataFrame
    scores: Floats
    labels: Floats
    violations: dict[str, Any] | None = None


def reference(
    frame: pl.DataFrame, contract: Contract, scores: Floats, labels: NDArray[Any]
) -> dict[str, Any]:
    """Summarise rows for later comparison: profile.json of the bundle.

    Numbers are counted in bins of equal mass, categories by their most frequent levels. Dates are
    left out, because they always move on, and personal columns, whose values would stand there.
    `scores` have shape (rows,) or (rows, levels), `labels` (rows,).
    """
    kinds = {c.name: c.kind for c in contract.features if not privacy.hidden(c)}
    watched = [n for n, kind in kinds.items() if kind not in ("date", "timestamp", *READ)]
    read = [name for n, kind in kinds.items() if kind in READ for name in whole.names(n, kind)]
    if read and not {*read} <= {*frame.columns}:
        frame = whole.watched(frame, contract)
    watched += read
    return {
        "rows": len(scores),
        "features": {name: _profile(frame[name]) for name in watched},
        **{name: _profile(pl.Series(each)) for name, each in task.watched(scores).items()},
        **performance.known(scores, labels),
    }


def drift(
    known: dict[str, Any],
    frame: pl.DataFrame,
    scores: Floats,
    settings: Monitoring,
    policy: str,
) -> dict[str, Any]:
    """Compare rows with a `reference`; features that `frame` lacks are left out.

    Policy psi: population stability index against the larger of the fixed limit and what chance
    alone gives, chi2(1 - 0.05 / tests, bins - 1) * (1 / rows + 1 / reference rows) (Yurdakul 2018).
    Policy ks_chi2, and windows below `settings.min_rows`: p-values against 0.05 (warn) and 0.001
    (act), both divided by the number of tests (Bonferroni): Kolmogorov-Smirnov on the binned
    numbers, which is conservative; chi-square for categories; binomial for missing and unseen.
    """
    psi_limits = settings if policy == "psi" and len(scores) >= settings.min_rows else None
    watched = task.watched(scores)
    tests = 3 * len(known["features"]) + len(watched)
    rows = []
    for name, profile in known["features"].items():
        if name not in frame.columns:
            continue
        before, after, missing, unseen = _counts(profile, frame[name])
        compared = {
            "distribution": (before, after),
            "missing": _shares(before.sum(), profile["missing"], after.sum(), missing),
            "unseen": _shares(before.sum(), 0, after.sum() - unseen, unseen),
        }
        for statistic, counts in compared.items():
            ordered = "edges" in profile and statistic == "distribution"
            row = _judged(name, statistic, *counts, ordered, psi_limits, tests)
            if statistic == "distribution" or row["level"] in ("warn", "act"):
                rows.append(row)
    for name, values in watched.items():
        before, after, *_ = _counts(known[name], pl.Series(values))
        ordered = "edges" in known[name]
        row = _judged(name, "distribution", before, after, ordered, psi_limits, tests)
        rows.append(row)
    prediction = rows.pop(len(rows) - len(watched))
    level = worst(row["level"] for row in (*rows, prediction))
    return {
        "rows": len(scores),
        "reference_rows": known["rows"],
        "features": sorted(rows, key=lambda row: -SEVERITY.index(row["level"])),
        "prediction": prediction,
        "level": level if len(scores) >= MIN_TEST_ROWS else "too_few_rows",
    }


def _judged(
    feature: str,
    statistic: str,
    before: Floats,
    after: Floats,
    ordered: bool,
    psi_limits: Monitoring | None,
    tests: int,
) -> dict[str, Any]:
    """Compare two counts by one test; without `psi_limits` by a p-value."""
    row: dict[str, Any] = {"feature": feature, "statistic": statistic, "test": "psi"}
    row |= dict.fromkeys(("value", "limit_warn", "limit_act")) | {"level": "too_few_rows"}
    if min(before.sum(), after.sum()) < MIN_TEST_ROWS:
        return row
    if psi_limits:
        before, after = _merged(before, after)
        chance = psi_by_chance(before, after, ALPHA_WARN / tests)
        value = psi(before, after)
        warn, act = max(psi_limits.warn, chance), max(psi_limits.act, chance)
        hits = value > warn, value > act
    else:
        row["test"], value = _p_value(before, after, ordered)
        warn, act = ALPHA_WARN / tests, ALPHA_ACT / tests
        hits = value < warn, value < act
    level = "act" if hits[1] else "warn" if hits[0] else "ok"
    return row | {"value": value, "limit_warn": warn, "limit_act": act, "level": level}


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

    freedom = max(1, np.count_nonzero(before + after) - 1)
    return float(chdtri(freedom, alpha) * (1 / before.sum() + 1 / after.sum()))


def _p_value(before: Floats, after: Floats, ordered: bool) -> tuple[str, float]:
    from scipy.special import bdtr, bdtrc, chdtrc, kolmogorov

    m, n = before.sum(), after.sum()
    if ordered:
        gap = np.abs(np.cumsum(before) / m - np.cumsum(after) / n).max()
        return "ks", float(kolmogorov(gap * np.sqrt(m * n / (m + n))))
    if len(before) == 2:
        k, events = (
            int(after[1]),
            int(before[1] + after[1]),
        )  # given all events, where did they fall?
        tails = bdtr(k, events, n / (n + m)), bdtrc(k - 1, events, n / (n + m))
        return "binomial", float(min(1.0, 2 * min(tails)))
    before, after = _merged(before, after)
    pooled = (before + after) / (m + n)
    away = (before - m * pooled) ** 2 / (m * pooled) + (after - n * pooled) ** 2 / (n * pooled)
    return "chi2", float(chdtrc(max(1, len(before) - 1), away.sum()))


def _merged(before: Floats, after: Floats) -> tuple[Floats, Floats]:
    """Put bins in which fewer than 5 rows are expected together (Cochran 1954), if many."""
    if len(before) < 3:
        return before, after
    both = np.stack([before, after])
    rare = both.sum(axis=0) * both.sum(axis=1).min() / both.sum() < 5
    both = np.column_stack([both[:, ~rare], both[:, rare].sum(axis=1)])
    both = both[:, both.any(axis=0)]
    return both[0], both[1]


def _shares(*counts: float) -> tuple[Floats, Floats]:
    return np.array(counts[:2], np.float64), np.array(counts[2:], np.float64)


def _profile(values: pl.Series) -> dict[str, Any]:
    """Count values: numbers between deciles, of which a repeated one gets a bin of its own."""
    if not values.dtype.is_numeric():
        counts = _level_counts(values)
        top = dict(counts.head(TOP_LEVELS).iter_rows())
        if len(counts) > TOP_LEVELS:  # of many rare levels the first ones are so by chance
            top = {level: rows for level, rows in top.items() if rows >= FREQUENT}
        other = int(counts["n"].sum()) - sum(top.values())
        missing = len(values) - int(counts["n"].sum())
        return {"levels": top, "other": other, "missing": missing}
    present = _floats(values.drop_nulls().drop_nans() if values.dtype.is_float() else values)
    present, edges = present[~np.isnan(present)], np.empty(0)
    if len(present):
        deciles = np.quantile(present, np.arange(1, BINS) / BINS, method="inverted_cdf")
        heavy = deciles[1:][deciles[1:] == deciles[:-1]]
        edges = np.unique(np.concatenate([deciles, np.nextafter(heavy, -np.inf)]))
    counted: dict[str, Any] = {
        "edges": edges.tolist(),
        "counts": [0] * (len(edges) + 1),
        "missing": 0,
    }
    _, counts_now, missing, _ = _counts(counted, values)
    if len(present) and present.min() < present.max():  # of one value nobody knows what is far
        counted["reach"] = _reach(float(present.min()), float(present.max()))
    return counted | {"counts": counts_now.tolist(), "missing": missing}


def _reach(low: float, high: float) -> list[float]:
    """Return between what a value is not absurd: once more the whole range on either side.

    Rounded outwards to the first digit of the range, so that no value of a row stands there.
    """
    # Models see single precision, in which large values lie apart.
    wide = max(high - low, float(np.spacing(np.float32(max(-low, high)))))
    step = 10.0 ** np.floor(np.log10(wide))
    ends = step * np.floor((low - wide) / step), step * np.ceil((high + wide) / step)
    return [float(end) for end in ends]


def _counts(profile: dict[str, Any], values: pl.Series) -> tuple[Floats, Floats, int, int]:
    """Return counts before and now by the bins of `profile`, and missing and unseen rows now.

    Where the profile counted rare levels together, a level that it does not name may be one of
    them: then nothing counts as unseen.
    """
    if "edges" in profile:
        numbers = _floats(values)
        present = numbers[~np.isnan(numbers)]
        below = [int(np.count_nonzero(present <= edge)) for edge in profile["edges"]]
        now = np.diff([0, *below, len(present)]).astype(np.float64)
        return np.asarray(profile["counts"], np.float64), now, len(values) - len(present), 0
    counts = _level_counts(values)
    total = int(counts["n"].sum())
    found = dict(counts.filter(pl.col("level").is_in(list(profile["levels"]))).iter_rows())
    named = [found.get(level, 0) for level in profile["levels"]]
    other = total - sum(named)
    before = np.array([*profile["levels"].values(), profile["other"]], np.float64)
    now = np.array([*named, other], np.float64)
    return before, now, len(values) - total, 0 if profile["other"] else other


def _level_counts(values: pl.Series) -> pl.DataFrame:
    """Count levels, most frequent first; null and "" are missing."""
    counts = values.cast(pl.String).alias("level").value_counts(name="n")
    present = counts.filter(pl.col("level").fill_null("") != "")
    return present.sort("n", "level", descending=[True, False])


def _floats(values: pl.Series) -> Floats:
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def run(project: Project, data: Path | None = None, labels: Path | None = None) -> dict[str, Any]:
    """Compare a window with training; write reports/drift.json, drift.html and retrain.json.

    The window is `data` (a raw table, with or without target, scored by the champion), or those of
    its rows that have a label in `labels`, or the rows of the service's prediction log that have
    one, or the last days of that log, or, when none of it is there, the test set. CheckFailed when
    somebody must act on new data.
    """
    used = project.facts.note()
    scorer, agreed = _champion(project)
    settings, folder = project.config.monitoring, registry.champion_folder(project)
    known = storage.read_json(folder / "profile.json", dict[str, Any])
    if data is not None:
        window = _file(project, scorer, agreed, data, labels)
    elif labels is not None:
        logged = _log(project, scorer, agreed, labels)
        if logged is None:
            raise ProjectError(f"data/predictions has no row of {scorer.version} to be labelled")
        window = logged
    else:
        window = _log(project, scorer, agreed) or _test_set(project, scorer, agreed)
    report: dict[str, Any] = {"version": scorer.version, "run": scorer.manifest.run}
    report["made_up"] = _made_up(project, folder, window)
    report["plan"], report["source"] = used, window.source
    report |= drift(known, window.frame, window.scores, settings, project.facts.drift_test)
    report |= {"violations": window.violations, "performance": None, "explanations": None}
    if window.source != TEST_SET:
        explained = attribution.compared(project, scorer, agreed, window.frame)
        report["explanations"] = explained
    if (folder / "metrics.json").exists() and len(window.labels):
        evaluated = storage.read_json(folder / "metrics.json", dict[str, Any])["champion"]
        tested = Interval(**evaluated["metrics"][scorer.manifest.primary_metric])
        if None not in tested:  # undefined where all test rows have one value
            judged = window.scores, window.labels, known, scorer.manifest, tested, settings
            report["performance"] = comparison.compare(*judged)
    report["lives"] = _lives(scorer)
    report["overruled"] = overruling.counted(project, scorer)
    report["unknown"] = scorer.unknown(window.labels)
    beside = ("violations", "performance", "overruled", "unknown")
    parts = [report[name] for name in beside if report[name]]
    parts += report["lives"]
    if (level := worst([report["level"], *(part["level"] for part in parts)])) != "ok":
        report["level"] = level
    storage.write_json(project.path("reports/drift.json"), report)
    page = project.path("reports/drift.html")
    render("drift.html", page, drift=report, plan=project.plan)
    _decide(project, scorer)  # which asks for the drift that was just seen
    if report["level"] == "act" and window.source != TEST_SET:
        raise CheckFailed(f"drift: {', '.join(causes(report))}: see reports/drift.html")
    return report


def causes(report: dict[str, Any]) -> list[str]:
    """Name what gives a report its level: nothing where that asks nobody to look."""
    if (level := report["level"]) not in ("warn", "act"):
        return []
    rows = [*report["features"], report["prediction"]]
    found = [f"{row['feature']} ({row['statistic']})" for row in rows if row["level"] == level]
    parts = ("violations", "performance", "overruled", "unknown")
    here = {name: report[name] for name in parts if (report[name] or {}).get("level") == level}
    found += [part.get("said", name) for name, part in here.items()]
    return found + ["keys that fell silent or began"] * any(
        told["level"] == level for told in report["lives"]
    )


def _lives(scorer: Scorer) -> list[dict[str, Any]]:
    """Tell of the keys of the state how many fell silent or began, and whether these are many."""
    found = scorer.state.lives() if scorer.state else []
    for told in found:
        moved = told["silent"] + told["began"]
        told["level"] = "warn" if moved > MOVED_KEYS * told["known"] else "ok"
    return found


def simulate_drift(project: Project) -> dict[str, Any]:
    """Prove that the alarm fires; write reports/simulated_drift.json.

    Windows are drawn from the test set: with a shift planted in a feature or with flipped labels,
    and, as a control, with none. CheckFailed when a planted shift does not reach the level act or
    more than 5 % of the control windows do.
    """
    scorer, agreed = _champion(project)
    settings, policy = project.config.monitoring, project.facts.drift_test
    primary, cut = scorer.manifest.primary_metric, task.level(scorer.manifest.decision)
    _, frame, p, y, _ = tested_on = _test_set(project, scorer, agreed)
    if len(y) < MIN_TEST_ROWS or y.min() == y.max():
        raise ProjectError("the test set is too small to simulate drift: bring more data")
    known = reference(frame, agreed, p, y)
    tested = resampling.bootstrap(y, p, cut, [primary], draws=200, seed=0)[primary]
    rng = np.random.default_rng(project.config.training.seed)
    size = max(settings.min_rows, min(len(y), 2000))

    def draw() -> Window:
        rows = rng.integers(0, len(y), size)
        return Window("", frame[rows], p[rows], y[rows])

    def check(window: Window) -> str:
        found = drift(known, window.frame, window.scores, settings, policy)["level"]
        judged = window.scores, window.labels, known, scorer.manifest, tested, settings
        return worst([found, comparison.compare(*judged, draws=100)["level"]])

    planted = []
    for name, profile in known["features"].items():
        window = draw()
        for shift, values in _shifted(window.frame[name], profile, rng).items():
            found = drift(known, values.to_frame(), window.scores, settings, policy)
            level = worst(row["level"] for row in found["features"])
            planted.append({"feature": name, "shift": shift, "level": level})
    window, name = draw(), agreed.target.name
    shift, labels = performance.broken(window.labels, rng)
    if shift:
        level = check(window._replace(labels=labels))
        planted.append({"feature": name, "shift": shift, "level": level})
    missed = [item for item in planted if item["level"] != "act"]
    control = []
    for done in range(CONTROL_WINDOWS):
        progress.tell("windows without drift", done + 1, CONTROL_WINDOWS)
        control.append(check(draw()))
    quiet = control.count("act") <= ALPHA_WARN * CONTROL_WINDOWS
    report = {
        "version": scorer.version,
        "run": scorer.manifest.run,
        "made_up": _made_up(project, registry.champion_folder(project), tested_on),
        "rows": size,
        "planted": planted,
        "control": {level: control.count(level) for level in ("ok", "warn", "act")},
        "passed": quiet and not missed,
    }
    storage.write_json(project.path("reports/simulated_drift.json"), report)
    if missed:
        raise CheckFailed(f"no alarm for {missed[0]['feature']}: {missed[0]['shift']}")
    if not quiet:
        raise CheckFailed(f"{control.count('act')} of {CONTROL_WINDOWS} unshifted windows alarmed")
    return report


def retrain_check(project: Project) -> dict[str, Any]:
    """Decide whether to train again, by decision MON-03; write reports/retrain.json."""
    return _decide(project, _champion(project)[0])


def _decide(project: Project, scorer: Scorer) -> dict[str, Any]:
    made = scorer.manifest
    path = project.path("reports/drift.json")
    seen = storage.read_json(path, dict[str, Any]) if path.exists() else {}
    if seen.get("version") != scorer.version or seen["source"] == TEST_SET:
        seen = {}  # nothing was observed since this version was trained
    level, realised, worse = seen.get("level"), seen.get("performance") or {}, None
    if realised.get("kind") == "realised":
        sign = metrics.sign(made.primary_metric)
        end = realised["tested"]["low" if sign > 0 else "high"]
        worse = max(0.0, sign * (end - realised["value"]))
    age = (
        dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(made.created)
    ).total_seconds() / 86400
    max_age, max_drop = (project.plan.number("MON-03", n) for n in ("max_age_days", "metric_drop"))
    rows = (
        ("drift level", level, "act", level == "act"),
        (
            f"{project.plan.named(made.primary_metric)} worse than its test interval",
            worse,
            max_drop,
            (worse or 0) > max_drop,
        ),
        ("age in days", round(age, 1), max_age, age > max_age),
        ("new rows", new := _new_rows(project, scorer), None, False),
    )
    checks = [dict(zip(("name", "value", "limit", "hit"), row, strict=True)) for row in rows]
    reasons = [
        f"{name}: {_shown(value)} (limit {_shown(limit)})"
        for name, value, limit, hit in rows
        if hit
    ]
    decision = bool(reasons)
    if not decision:
        reasons = ["no check asks for it"]
    elif not new:
        reasons.append("there are no new validated rows: ml ingest brings them")
    report = {
        "version": scorer.version,
        "run": made.run,
        "made_up": registry.made_up(registry.champion_folder(project)),
        "plan": {"retrain": project.facts.retrain},
        "decision": decision,
        "reasons": reasons,
        "checks": checks,
    }
    storage.write_json(project.path("reports/retrain.json"), report)
    return report


def _champion(project: Project) -> tuple[Scorer, Contract]:
    folder = registry.champion_folder(project)
    scorer = Scorer.load(folder, threads=project.config.training.threads)
    return scorer, contracts.read(folder / "contract.odcs.yaml")


def _file(
    project: Project, scorer: Scorer, agreed: Contract, data: Path, labels: Path | None = None
) -> Window:
    raw, source = ingest.read_table(data, project.config.data.encoding), data.name
    if labels:
        raw = prediction_log.with_labels(project, agreed, raw, labels)
        source = f"{source}, labels of {labels.name}"
    if scorer.spec.words:
        raw = whole.filled(raw, scorer.columns, whole.folder(data), whole.side_of(scorer))
    for column in (agreed.entity, agreed.time):  # which new data need not have for every model
        asked = column and column.name in {served.name for served in scorer.columns}
        if column and asked and column.name not in raw.columns:
            raise ProjectError(
                f"{data.name}: column {column.name!r} is missing: the model needs it"
            )
    definition = agreed.target.definition
    needed = contracts.definition_columns(definition) if definition else [agreed.target.name]
    labelled = definition is not None and set(needed) <= set(raw.columns)
    checked = validation.apply(agreed, raw, labelled=labelled)
    share, limit = checked.rejected.height / raw.height, project.config.data.max_rejected_share
    violations = {"share": share, "limit": limit, "rules": checked.rules}
    violations["level"] = _broken(checked.rejected.height, raw.height, limit)
    if _learnt(project, scorer, agreed, checked.valid):
        window = _test_set(project, scorer, agreed)
        window = window._replace(source=f"{source}, only rows that {scorer.version} did not learn")
    else:
        window = _scored(source, scorer, agreed, checked.valid)
    return window._replace(violations=violations)


def _learnt(project: Project, scorer: Scorer, agreed: Contract, valid: pl.DataFrame) -> bool:
    """Whether rows are those that the champion was made from.

    It is surer of the rows it learnt from than of others: that would look like drift.
    """
    if not project.path(VALID).exists() or validation.counted(project) != valid.height:
        return False
    frame, digest = validation.stored_hashed(project, VALID, "run `ml validate`", agreed)
    if digest != scorer.manifest.data_sha256 or not frame.equals(valid):
        return False
    # Another version may have split the same rows otherwise: its test set is not this one's.
    path = registry.champion_folder(project) / "training.json"
    split = storage.read_json(path, dict[str, Any])["split"]
    test = project.path("data/processed/test.parquet")
    return test.exists() and split.get("test_sha256") in (None, storage.sha256(test))


def _broken(rejected: int, rows: int, limit: float) -> str:
    """Judge the share of rows that break the contract; of few rows only what no chance explains."""
    from scipy.special import bdtrc

    if rejected <= limit * rows:
        return "ok"
    sure = rows >= MIN_TEST_ROWS or bdtrc(rejected - 1, rows, limit) < ALPHA_ACT
    return "act" if sure else "too_few_rows"


def _test_set(project: Project, scorer: Scorer, agreed: Contract) -> Window:
    mend = (
        f"the champion {scorer.version} has another contract than the last training, whose version "
        "is not promoted: give a file (`ml monitor FILE`), or train a version that passes its gate"
    )
    name = "data/processed/test.parquet"
    frame = validation.stored(project, name, "give a file, or run `ml train`")
    validation.check_columns(frame, name, mend, agreed)
    return _scored(TEST_SET, scorer, agreed, frame)


def _made_up(project: Project, folder: Path, window: Window) -> bool:
    """Whether training or these rows are made up: neither says anything of the real world."""
    of_the_test_set = window.source == TEST_SET and validation.made_up(project)
    return registry.made_up(folder) or of_the_test_set


def _scored(source: str, scorer: Scorer, agreed: Contract, frame: pl.DataFrame) -> Window:
    progress.tell(f"scoring {number(frame.height)} rows of the {source}")
    scores = scorer.predict(matrix_for(scorer, frame), earlier_of(scorer, frame))[scorer.score]
    progress.tell("comparing them with training")
    labels = _floats(targets.outcome(frame, agreed.target))
    return Window(source, _watched(frame, scorer, agreed), scores, labels)


def _watched(frame: pl.DataFrame, scorer: Scorer, agreed: Contract) -> pl.DataFrame:
    return whole.watched(frame, agreed, scorer)


def _log(
    project: Project, scorer: Scorer, agreed: Contract, labels: Path | None = None
) -> Window | None:
    """Read the champion's rows of the last days, or those that have a label; none is personal."""
    days = None if labels else project.config.monitoring.window_days
    rows, when = prediction_log.read(project, scorer, days)
    if not rows:
        return None
    source, found = f"prediction log, {when}", np.full(len(rows), np.nan)
    if labels:
        found = prediction_log.labelled(project, agreed, rows, labels)
        rows = [row for row, label in zip(rows, found, strict=True) if not np.isnan(label)]
        source, found = f"{source}, labels of {labels.name}", found[~np.isnan(found)]
    kinds = {c.name: c.kind for c in agreed.features if not privacy.hidden(c)}
    columns = {n: validation.DTYPES[k] for n, k in kinds.items() if k not in ("date", "timestamp")}
    logged = [row.features for row in rows]
    frame = pl.DataFrame(
        pl.Series(n, [row.get(n) for row in logged], dtype=dtype, strict=False)
        for n, dtype in columns.items()
    )
    frame = _watched(frame, scorer, agreed)
    return Window(source, frame, np.array([getattr(row, scorer.score) for row in rows]), found)


def _shown(value: str | float | None) -> str:
    return value if isinstance(value, str) else number(value, 4)


def _new_rows(project: Project, scorer: Scorer) -> int:
    """Count validated rows beyond those that there were when the champion was trained.

    Not all of these are in its parts: some lie in a gap, or make several examples or none.
    """
    name = "data/processed/valid.parquet"
    valid = project.path(name)
    if not valid.exists() or storage.sha256(valid) == scorer.manifest.data_sha256:
        return 0
    rows = validation.stored(project, name, "run `ml validate`").height
    path = registry.champion_folder(project) / "training.json"
    split = storage.read_json(path, dict[str, Any])["split"]
    before = split.get("valid_rows", split["development_rows"] + split["test_rows"])
    return max(0, rows - int(before))


def _shifted(
    values: pl.Series, profile: dict[str, Any], rng: np.random.Generator
) -> dict[str, pl.Series]:
    """Plant each shift that the feature can have; levels beyond the counted ones are as one."""

    def where(share: float, value: Any) -> pl.Series:
        chosen = pl.Series(rng.random(len(values)) < share)
        changed = pl.when(chosen).then(pl.lit(value)).otherwise(values)
        return pl.select(changed.alias(values.name)).to_series()

    shifts = {}
    counts = _level_counts(values)
    there = set(counts["level"])
    if values.dtype.is_numeric():
        if std := values.std():
            shifts["moved by one standard deviation"] = values + std
    elif len(counted := [level for level in profile["levels"] if level in there]) > 1:
        rarest = values.filter(values.cast(pl.String) == counted[-1])[0]
        shifts["half of the rows in the rarest category"] = where(0.5, rarest)
    share = 1 - int(counts["n"].sum()) / len(values)
    if share < 0.7:
        shifts["30 % more missing"] = where(0.3 / (1 - share), None)
    return shifts
