"""Describe the valid rows: distributions, relations to the target, signs of leakage, readiness."""

import datetime as dt
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from .. import kinds, privacy, progress, storage
from ..formats import number
from ..kinds import READ
from ..report import render
from ..settings import Project
from . import contract as contracts
from . import course, dictionary, leakage, personal, proxies, together, validation, whole
from . import target as targets
from .contract import Column, Contract
from .sources import MANIFEST

BINS = 31  # so that each day of the month has its own
GROUPS = 8
TOP = 10
NAMES = 0.9  # of the rows: of so many different values each names a row
ROBUST = 'Scale(how="robust")'
FAR = 3.0  # interquartile ranges
FEW = 0.01  # of the rows: fewer far values than that pull a mean, and are no tail of their own
CORRELATED = 10
MAX_ROWS = 50_000  # for correlations, whose standard error is then below 0.005
PERIODS = (("1h", 1 / 24), ("1d", 1), ("1w", 7), ("1mo", 30), ("3mo", 91), ("1y", 365))
MAX_PERIODS = 60


def run(project: Project) -> dict[str, Any]:
    """Profile data/processed/valid.parquet; write reports/profile.json and profile.html."""
    contract = contracts.read(project.contract_path)
    mend = "run `ml validate`"
    frame = validation.stored(project, "data/processed/valid.parquet", mend, contract)
    quality = storage.read_json(project.path("reports/data_quality.json"), dict[str, Any])
    rejected = validation.stored(project, "data/quarantine/rejected.parquet", mend)
    unlabelled = rejected.filter(pl.col("_rules") == [f"{contract.target.name}: missing"])
    more = validation.apply(contract, unlabelled.drop("_rules"), labelled=False).valid
    report = {"run": quality["run"], "made_up": quality.get("made_up", False)}
    report |= profile(contract, frame, quality, more)
    report["proxies"] = proxies.run(contract, frame, personal.groups(project, contract.columns))
    report["together"] = together.of(project, contract, frame)
    storage.write_json(project.path("reports/profile.json"), report)
    page, sheet = project.path("reports/profile.html"), whole.sheet(contract, frame)
    manifest = project.path(MANIFEST)
    loaded = storage.read_json(manifest, dict[str, Any]) if manifest.exists() else {}
    named = dictionary.entries(contract, report["columns"], loaded)
    told = {"dictionary": named, "course": course.read(project)}
    render("profile.html", page, profile=report, quality=quality, sheet=sheet, **told)
    return report


def profile(
    contract: Contract, frame: pl.DataFrame, quality: dict[str, Any], unlabelled: pl.DataFrame
) -> dict[str, Any]:
    """Return profile.json; `unlabelled` rows count only as signs of leakage.

    Values of personal and entity columns are not in it. `relation` is the association of the
    column alone with the target. Correlations are Spearman's.
    """
    target, features = contract.target, contract.features
    y = targets.outcome(frame, target)
    found = leakage.suspects(
        pl.concat([frame, unlabelled.select(frame.columns)]),
        pl.concat([y, pl.repeat(None, unlabelled.height, dtype=y.dtype, eager=True)]),
        [column.name for column in features],
        contract.time.name if contract.time else None,
        contracts.leaking_columns(target.definition),
        target.name,
    )
    numeric = [c.name for c in features if c.kind in ("number", "integer", "boolean")]
    report: dict[str, Any] = {
        "rows": frame.height,
        "target": {
            "name": target.name,
            **targets.profile(y),
            "trend": _trend(contract.time, frame, y),
        },
        "columns": _columns(contract, frame, y),
        "correlations": _correlations(frame.select(numeric)),
        "leakage": [
            {"column": s.column, "reason": s.reason, "strength": s.strength} for s in found
        ],
    }
    report["doubts"] = [f"{s.column} may know the outcome: {s.reason}" for s in found]
    report["readiness"] = _readiness(
        report, quality, len(features), targets.enough(y, len(features))
    )
    return report


def _columns(contract: Contract, frame: pl.DataFrame, y: pl.Series) -> dict[str, Any]:
    found = {}
    for place, column in enumerate(contract.columns, 1):
        progress.tell("describing columns", place, len(contract.columns))
        found[column.name] = _describe(column, frame[column.name], y)
    return found


def _describe(column: Column, values: pl.Series, y: pl.Series) -> dict[str, Any]:
    present = values.drop_nulls()
    facts: dict[str, Any] = {
        "kind": column.kind,
        "role": column.role,
        "missing_share": values.null_count() / max(1, len(values)),
        "distinct": present.n_unique(),
    }
    if column.role != "target":
        facts["relation"] = leakage.association(values, y)
    if privacy.hidden(column) or column.role == "entity" or not len(present):
        return facts
    if column.kind == "category" and facts["distinct"] > max(TOP, NAMES * len(present)):
        return facts  # a name of each row, of which no value says more than another
    if column.kind in READ:  # none of them stands in a report: a number of each does
        facts["unit"] = kinds.UNITS[column.kind]
        values = whole.counted(values, column.kind)
        present, column = values.drop_nulls(), msgspec.structs.replace(column, kind="integer")
    counts = present.alias("value").value_counts(name="n")
    counts = counts.sort("n", "value", descending=[True, False])
    facts["mode"] = _plain(counts["value"][0])
    if column.kind in ("category", "boolean"):
        facts["top"] = [[_plain(value), n] for value, n in counts.head(TOP).rows()]
        facts["others"] = len(present) - sum(n for _, n in facts["top"])
        facts["missing"] = values.null_count()
        levels = [*counts["value"].head(GROUPS - 1).cast(pl.String), "(other)", "(missing)"]
        names = values.cast(pl.String).fill_null("(missing)")
        names = names.zip_with(names.is_in(levels), pl.Series(["(other)"]))
        order = {name: index for index, name in enumerate(levels)}
        groups = names.replace_strict(order, return_dtype=pl.Int64)
    else:
        ends = {"min": present.min(), "median": present.sort()[len(present) // 2]}
        facts |= {name: _plain(end) for name, end in (ends | {"max": present.max()}).items()}
        if column.kind in ("number", "integer"):
            facts["outliers"] = outliers(_floats(present))
            facts |= {"mean": present.mean(), "std": present.std(), "median": present.median()}
        x = _floats(values)
        facts["histogram"] = _histogram(column, x[~np.isnan(x)])
        # Quantile groups; a value never falls into two.
        cuts = np.nanquantile(x, np.arange(1, GROUPS) / GROUPS, method="inverted_cdf")
        groups = pl.Series(np.searchsorted(np.unique(cuts), x)).set(values.is_null(), GROUPS)
        names = values
    if column.role != "target":
        facts["groups"] = _averages(groups, names, y)
    return facts


def _floats(values: pl.Series) -> NDArray[np.float64]:
    """Return numbers, or times as microseconds since 1970, with NaN for missing."""
    if values.dtype.is_temporal():
        values = values.cast(pl.Datetime("us")).dt.epoch("us")
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def outliers(x: NDArray[np.float64]) -> dict[str, Any]:
    """Return the share of far values, and what a model that is no tree needs for them.

    They lie more than FAR interquartile ranges beyond the quartiles (Tukey 1977, 2D, far out). A
    logarithm is proposed where it brings most of them near, winsorising where they are FEW, else a
    scale by median and interquartile range. `x` has shape (rows,), without gaps.
    """
    share = _far(x)
    if not share:
        return {"share": 0.0, "treat": "none"}
    if x.min() > -1 and _far(np.log1p(x)) <= share / 4:
        return {"share": share, "treat": "Log1p"}
    return {"share": share, "treat": "Winsorise" if share <= FEW else ROBUST}


def _far(x: NDArray[np.float64]) -> float:
    low, high = np.quantile(x, [0.25, 0.75])
    reach = FAR * (high - low)
    return float(((x < low - reach) | (x > high + reach)).mean()) if reach > 0 else 0.0


def _histogram(column: Column, x: NDArray[np.float64]) -> dict[str, Any]:
    """Count values per bin; the outer bins hold the lowest and highest 1 % too."""
    low, high = np.quantile(x, [0.01, 0.99])
    if low == high:
        low, high = x.min(), x.max()
    if low == high or column.kind == "integer":
        low, high = np.floor(low), np.ceil(high)
        step = max(1.0, np.spacing(max(-low, high)))  # beyond 2^53 floats lie further apart than 1
        width = np.ceil((high - low + step) / BINS / step) * step
        edges = np.arange(low, high + width + step, width)
    else:
        edges = np.linspace(low, high, BINS + 1)
    counts, _ = np.histogram(np.clip(x, edges[0], edges[-1]), edges)
    if column.kind in ("date", "timestamp"):
        start = dt.datetime(1970, 1, 1)
        moments = [start + dt.timedelta(microseconds=edge) for edge in edges]
        return {"edges": [_plain(moment) for moment in moments], "counts": counts.tolist()}
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def _averages(groups: pl.Series, names: pl.Series, y: pl.Series) -> list[list[Any]]:
    """Return [name, rows, first aggregate of the target] of each group, in order."""
    table = pl.DataFrame({"group": groups, "name": names, "y": y})
    low, high = pl.col("name").min().alias("low"), pl.col("name").max().alias("high")
    found = table.group_by("group").agg(low, high, pl.len(), targets.AGGREGATES[0]).sort("group")
    result = []
    for _, first, last, rows, mean in found.rows():
        ends = dict.fromkeys(
            number(end) if isinstance(end, int | float) else str(_plain(end))
            for end in (first, last)
            if end is not None
        )
        result.append([" to ".join(ends) or "(missing)", rows, mean])
    return result


def _trend(time: Column | None, frame: pl.DataFrame, y: pl.Series) -> list[list[Any]]:
    """Return [start, rows, *aggregates] per hour, day, week, month, quarter or year."""
    if time is None or privacy.hidden(time) or frame[time.name].null_count() == frame.height:
        return []
    moments = frame[time.name].cast(pl.Datetime("us")).alias("time")
    days = (moments.max() - moments.min()).total_seconds() / 86400  # type: ignore[operator, union-attr]
    period = next((name for name, length in PERIODS if days / length <= MAX_PERIODS), "1y")
    if time.kind == "date" and period == "1h":
        period = "1d"
    table = pl.DataFrame([moments.dt.truncate(period), y.alias("y")]).drop_nulls()
    found = table.group_by("time").agg(pl.len(), *targets.AGGREGATES).sort("time")
    return [[_plain(start), *facts] for start, *facts in found.rows()]


def _correlations(frame: pl.DataFrame) -> list[list[Any]]:
    """Return [a, b, Spearman's rho] for all pairs of the most correlated columns.

    Each pair uses the rows in which both are present.
    """
    if not frame.width:
        return []
    rows = np.random.default_rng(0).permutation(frame.height)[:MAX_ROWS]
    ranks = frame[np.sort(rows)].select(pl.all().cast(pl.Float64).rank() / frame.height)
    x = ranks.fill_null(float("nan")).to_numpy()
    there = (~np.isnan(x)).astype(float)
    x = np.where(there > 0, x - np.nanmean(np.where(there.any(axis=0), x, 0), axis=0), 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        n = there.T @ there
        means = x.T @ there / n
        variance = (x**2).T @ there / n - means**2
        r = (x.T @ x / n - means * means.T) / np.sqrt(variance * variance.T)
    names = frame.columns
    pairs: list[list[Any]] = [
        [names[a], names[b], float(np.clip(r[a, b], -1, 1))]
        for a, b in zip(*np.triu_indices(len(names), 1), strict=True)
        if np.isfinite(r[a, b]) and min(variance[a, b], variance[b, a]) > 1e-12
    ]
    pairs.sort(key=lambda pair: -abs(pair[2]))
    shown = list(dict.fromkeys(name for pair in pairs for name in pair[:2]))[:CORRELATED]
    return [pair for pair in pairs if pair[0] in shown and pair[1] in shown]


def _readiness(
    report: dict[str, Any], quality: dict[str, Any], features: int, enough: float
) -> dict[str, Any]:
    """Return shares from 0 to 1; the score is the weakest, as no other part makes up for it."""
    rows = max(1, quality["rows"])
    gaps = [c["missing_share"] for c in report["columns"].values() if c["role"] == "feature"]
    parts = {
        "valid rows": 1 - quality["rejected"] / rows,
        "labelled rows": 1 - quality["unlabelled"] / rows,
        "rows not repeated": 1 - quality["duplicates"] / rows,
        "values present": 1 - sum(gaps) / max(1, features),
        "features not suspected": 1 - len(report["leakage"]) / max(1, features),
        "enough rows": enough,
    }
    return {"score": min(parts.values()), "parts": parts}


def _plain(value: Any) -> Any:
    """Return times as ISO text, a midnight without its time; anything else as it is."""
    if isinstance(value, dt.datetime):
        midnight = value.time() == dt.time()
        return (value.date() if midnight else value.replace(microsecond=0)).isoformat()
    return value.isoformat() if isinstance(value, dt.date) else value
