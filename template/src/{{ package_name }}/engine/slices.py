"""The primary metric on parts of the test set, and whether the worst part is good enough."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from . import metrics, privacy, progress, resampling, task
from .data.contract import Contract
from .formats import number, percent
from .settings import Project, refused

SLICE_LEVELS = 8
RATES = ("recall", "precision", "accuracy")  # of decisions, where a task has them


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
    Personal columns are measured only when they are chosen by name; their levels are numbered.
    Slices of columns that are chosen by name have `rates` too: what is right of their decisions.
    """
    settings, seed = project.config.evaluation, project.config.training.seed
    hidden = privacy.hidden_names(agreed.columns)
    results = []
    for name in chosen(project, agreed):
        values = frame[name].cast(pl.String).fill_null("(missing)").alias("level")
        progress.tell(f"slices of {name}")
        levels = values.value_counts(name="n").sort("level")
        if not settings.slices and len(levels) > SLICE_LEVELS:
            continue
        for place, (level, count) in enumerate(levels.iter_rows(), 1):
            rows = (values == level).to_numpy()[places]
            if count < settings.min_slice_rows or task.lacks(y[rows]):
                continue
            names = [primary]
            if settings.slices:  # groups that somebody asks about: what is right of them, too
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
                    **({"rates": {n: measured[n]._asdict() for n in names}} if names[1:] else {}),
                }
            )
    return results


def _plain(
    primary: str, y: NDArray[Any], p: NDArray[np.float64], rows: NDArray[np.bool_], at: Any
) -> float:
    return metrics.score(primary, y[rows], p[rows], task.compared(at))


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
    `whole` and `plain` are the metrics of both on all rows. A slice closes the gate when its whole
    interval is below; when only its value is, that is a warning.
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
    said = (
        f"{named} is {number(item['metric'], 4)} where {item['column']} is {item['level']} "
        f"({number(item['n'])} rows), {percent(share)} of what it is among all; at least "
        f"{percent(floor)} is asked for (evaluation.worst_slice)"
    )
    if below:
        return Weak(worst, [said], [])
    return Weak(worst, [], [f"{said}, and it may be chance"] if share < floor else [])


def _share(item: dict[str, Any], value: float, whole: float, plain: float, primary: str) -> float:
    """Return the better share that a slice reaches; above 1 it is better than all rows."""
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
    """Return the columns to measure by: those of config.yaml, or categories and booleans.

    Of the latter only those with few levels are measured.
    """
    names = [column.name for column in agreed.columns]
    if unknown := sorted(set(project.config.evaluation.slices) - set(names)):
        raise refused(
            "evaluation.slices",
            f"the contract has no column {unknown[0]!r}, but {', '.join(names)}",
        )
    return project.config.evaluation.slices or tuple(
        column.name
        for column in agreed.features
        if column.kind in ("category", "boolean") and not privacy.hidden(column)
    )
