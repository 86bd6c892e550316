"""The primary metric on parts of the test set, whether the worst is good enough, and fairness."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from . import beside, metrics, privacy, progress, resampling, task
from .data import personal
from .data.contract import Contract
from .formats import number, percent
from .model.scorer import Scorer
from .model.trial import Tested
from .settings import Project, refused

SLICE_LEVELS = 8
# Of decisions, where a task has them.
RATES = ("selection_rate", "recall", "false_positive_rate", "precision", "accuracy")
BESIDE = ", beside the simplest baseline"
FEW = 1000  # rows of a slice, below which it is held against as many rows that are drawn
DRAWS = 30  # so many times
FEWEST = 50  # rows that a rate is a share of, in each group: with fewer nobody can tell


def run(
    project: Project,
    agreed: Contract,
    frame: pl.DataFrame,
    places: NDArray[np.intp],
    y: NDArray[Any],
    p: NDArray[np.float64],
    primary: str,
    at: Any,
    plain: NDArray[np.float64] | None = None,
) -> list[dict[str, Any]]:
    """Measure the primary metric on each level of the chosen columns, with its interval.

    `y` and `p` belong to the rows of `frame` at `places`; rows of `frame` are counted, each once.
    `at` is the level at which decisions are taken (see `task.level`); `plain` are the scores of the
    simplest baseline, whose metric each slice then has as `plain`.
    Of personal columns only `groups` are measured; their levels are numbered.
    Slices of `groups` have `rates` too: what is right of their decisions.
    """
    settings, seed = project.config.evaluation, project.config.training.seed
    hidden = privacy.hidden_names(agreed.columns)
    results = []
    asked = personal.groups(project, agreed.columns)
    for name in chosen(project, agreed):
        values = frame[name].cast(pl.String).fill_null("(missing)").alias("level")
        progress.tell(f"slices of {name}")
        levels = values.value_counts(name="n").sort("level")
        if name not in settings.slices and len(levels) > SLICE_LEVELS:
            continue
        for place, (level, count) in enumerate(levels.iter_rows(), 1):
            rows = (values == level).to_numpy()[places]
            if count < settings.min_slice_rows or task.lacks(y[rows]):
                continue
            names, shares = [primary], dict[str, Any]()
            if name in asked:  # groups that somebody asks about: what is right of them, too
                shares = metrics.shares(y[rows], p[rows], at)
                names += [one for one in RATES if one in shares and one != primary]
            draws = resampling.resamples(200, count)
            measured = resampling.bootstrap(y[rows], p[rows], at, names, draws=draws, seed=seed)
            interval = measured[primary]
            results.append(
                {
                    "column": name,
                    "level": f"{privacy.HIDDEN} {place}" if name in hidden else level,
                    "n": count,
                    **task.summary(y[rows]),
                    "metric": interval.value,
                    "low": interval.low,
                    "high": interval.high,
                    **({} if plain is None else {"plain": _plain(primary, y, plain, rows, at)}),
                    **(
                        {"rates": _rates(measured, names, shares)}
                        if names[1:] or primary in shares
                        else {}
                    ),
                }
            )
    return results


def _rates(
    measured: dict[str, resampling.Interval], names: list[str], shares: dict[str, Any]
) -> dict[str, Any]:
    """Return each rate with its interval, and the rows that it is a share of."""
    return {
        name: measured[name]._asdict()
        | ({"of": int(np.count_nonzero(shares[name]))} if name in shares else {})
        for name in names
    }


def judge(
    project: Project,
    agreed: Contract,
    tested: Tested,
    scorer: Scorer,
    simplest: str,
    gate: dict[str, Any],
) -> dict[str, Any]:
    """Return slices of the champion, how fair it is, and what stands beside; more is in `gate`.

    Without labels a slice has no quality that a gate could ask for.
    """
    p, plain = (tested.score[name] for name in (scorer.manifest.champion, simplest))
    y, level = tested.y, task.level(scorer.manifest.decision)
    primary, settings = scorer.manifest.primary_metric, project.config.evaluation
    found = run(project, agreed, tested.frame, tested.places, y, p, primary, level, plain)
    gate["warnings"] = []
    if task.LABELS_NEEDED and (floor := settings.worst_slice):
        both = (
            metrics.score(primary, y, p, level),
            metrics.score(primary, y, plain, task.compared(level)),
        )
        for item in found:
            if item["n"] < min(FEW, len(y)):
                item["among"] = _of_drawn(primary, y, p, plain, level, item["n"])
        worst = weak(found, *both, primary, floor, project.plan.named(primary))
        gate["worst_slice"] = worst.worst
        gate["reasons"] += worst.reasons
        gate["warnings"] += worst.warnings
    more = beside.judged(project, agreed, tested, scorer, gate["warnings"])
    parts = {"slices": found} | more
    if not any(item.get("rates") for item in found):
        return parts
    rate, why = task.fair(project.facts)
    equal = fair(found, rate)
    for item in equal:
        said = _unfair(item, settings.fair_ratio)
        if said and item["judged"] and item["ratio_high"] < settings.fair_ratio:
            gate["reasons"].append(said)
        elif said:
            chance = ", and it may be chance: a named person decides" if item["judged"] else ""
            gate["warnings"].append(f"{said}{chance}")
    return parts | {"fair": {"rate": rate, "why": why, "groups": equal}}


def fair(found: list[dict[str, Any]], rate: str) -> list[dict[str, Any]]:
    """Hold the groups of each column against each other by a rate of decisions.

    The ratio is that of the smallest rate to the largest. Its interval takes the groups as
    independent (delta method on its logarithm). With too few rows for the rate in a group nobody
    can tell: `judged` is then False.
    """
    told = []
    for column in dict.fromkeys(item["column"] for item in found if item.get("rates")):
        groups = [item for item in found if item["column"] == column and rate in item["rates"]]
        known = [item for item in groups if (item["rates"][rate]["value"] or 0) > 0]
        if len(groups) < 2 or len(known) < 2:
            continue
        low, high = (pick(known, key=lambda g: g["rates"][rate]["value"]) for pick in (min, max))
        one, other = low["rates"][rate], high["rates"][rate]
        ratio = one["value"] / other["value"]
        spread = float(np.hypot(*((r["high"] - r["low"]) / (2 * r["value"]) for r in (one, other))))
        told.append(
            {
                "column": column,
                "low": low["level"],
                "high": high["level"],
                "low_rate": one["value"],
                "high_rate": other["value"],
                "ratio": ratio,
                "ratio_low": float(ratio * np.exp(-spread)),
                "ratio_high": float(min(1.0, ratio * np.exp(spread))),
                "judged": len(known) == len(groups) and all(_enough(g, rate) for g in groups),
            }
        )
    return told


def _enough(group: dict[str, Any], rate: str) -> bool:
    """Whether a group has the rows that a rate is a share of."""
    rows = group["rates"][rate].get("of")
    return rows is None or rows >= FEWEST


def _unfair(item: dict[str, Any], floor: float) -> str:
    """Say of a column that its groups are too far apart, or that nobody can tell; else ""."""
    if not floor:
        return ""
    if not item["judged"]:
        return f"whether groups of {item['column']} are treated alike cannot be told: too few rows"
    if item["ratio"] >= floor:
        return ""
    return (
        f"groups of {item['column']} differ: {number(item['low_rate'], 3)} for {item['low']}, "
        f"{number(item['high_rate'], 3)} for {item['high']}, ratio {number(item['ratio'], 2)}; at "
        f"least {number(floor, 2)} is asked for (evaluation.fair_ratio)"
    )


def _plain(
    primary: str, y: NDArray[Any], p: NDArray[np.float64], rows: NDArray[np.bool_] | slice, at: Any
) -> float:
    return metrics.score(primary, y[rows], p[rows], task.compared(at))


def _of_drawn(
    primary: str,
    y: NDArray[Any],
    p: NDArray[np.float64],
    plain: NDArray[np.float64],
    at: Any,
    rows: int,
) -> list[float]:
    """Return the mean metric of both models on `rows` rows that are drawn from all.

    Of few rows some metrics are worse by that alone: the mean F1 of classes, of which some have no
    row and a wrong answer, is.
    """
    rng, found = np.random.default_rng(0), []
    for _ in range(DRAWS):
        some = np.sort(rng.permutation(len(y))[:rows])
        if not task.lacks(y[some]):
            scores = metrics.score(primary, y[some], p[some], at)
            found.append((scores, _plain(primary, y[some], plain[some], slice(None), at)))
    return [float(value) for value in np.nanmean(found, axis=0)] if found else []


class Weak(NamedTuple):
    """The slice in which a model is the worst, and what follows for its gate."""

    worst: dict[str, Any] | None
    reasons: list[str]
    warnings: list[str]


def weak(
    found: list[dict[str, Any]], whole: float, plain: float, primary: str, floor: float, named: str
) -> Weak:
    """Hold slices against all rows: none may be below the share `floor` of them.

    The floor of four fifths is that of selection rates in 29 CFR 1607.4(D). A slice with a rarer
    class or a wider target is no fault of the model: it counts by the better of two shares, that of
    the metric and that of the metric as a multiple of what the simplest baseline reaches there.
    `whole` and `plain` are the metrics of both on all rows; `among` of a small slice has them of as
    many rows that are drawn from all. A slice closes the gate when its whole interval is below;
    when only its value is, that is a warning.
    """
    best = "high" if metrics.sign(primary) > 0 else "low"
    shares = []
    for item in found:
        share, most = (_share(item, item[key], whole, plain, primary) for key in ("metric", best))
        if np.isfinite(share) and np.isfinite(most):
            shares.append((share, most, item))
    if not shares:
        return Weak(None, [], [])
    below = [one for one in shares if one[1] < floor]
    share, most, item = min(below or shares, key=lambda one: one[0])
    worst = {"column": item["column"], "level": item["level"], "n": item["n"]}
    worst |= {"share": share, "share_at_best": most, "floor": floor}
    bare = [_share(i | {"plain": np.nan}, i["metric"], whole, plain, primary) for *_, i in shares]
    if min(bare) < share:  # some slice is better than its own metric says, by the baseline's
        worst["beside"] = BESIDE
    # Of a loss the share is the other way round: a smaller one is better.
    among = "as many rows of all" if item.get("among") else "all"
    reached = f"of what it is among {among}"
    if metrics.sign(primary) < 0:
        whole = (item.get("among") or [whole])[0]
        reached = f"as good as among {among}, where it is {number(whole, 4)}"
    said = (
        f"{named} is {number(item['metric'], 4)} where {item['column']} is {item['level']} "
        f"({number(item['n'])} rows), {percent(share)} {reached}; at least {percent(floor)} is "
        "asked for (evaluation.worst_slice)"
    )
    if below:
        mend = "label more such rows, leave them to people, or lower it in config.yaml and say why"
        return Weak(worst, [f"{said}: {mend}"], [])
    return Weak(worst, [], [f"{said}, and it may be chance"] if share < floor else [])


def _share(item: dict[str, Any], value: float, whole: float, plain: float, primary: str) -> float:
    """Return the better share that a slice reaches; above 1 it is better than all rows."""
    whole, plain = item.get("among") or (whole, plain)
    here = item.get("plain", float("nan"))
    if metrics.sign(primary) < 0:  # a loss: the smaller the better
        value, whole, here, plain = (
            1 / x if x > 0 else np.inf for x in (value, whole, here, plain)
        )
    shares = [value / whole] if 0 < whole < np.inf else []
    if 0 < here < np.inf and 0 < plain < np.inf:
        shares += [share * plain / here for share in shares]
    return max(shares, default=float("nan"))


def chosen(project: Project, agreed: Contract) -> tuple[str, ...]:
    """Return the columns to measure by: those of config.yaml, or categories, booleans and groups.

    Where config.yaml names none, only those with few levels are measured.
    """
    names = [column.name for column in agreed.columns]
    if unknown := sorted(set(project.config.evaluation.slices) - set(names)):
        raise refused(
            "evaluation.slices",
            f"the contract has no column {unknown[0]!r}, but {', '.join(names)}",
        )
    plain = [
        column.name
        for column in agreed.features
        if column.kind in ("category", "boolean") and not privacy.hidden(column)
    ]
    return project.config.evaluation.slices or (
        *dict.fromkeys([*plain, *personal.groups(project, agreed.columns)]),
    )
