"""A number to predict: its values, what is wrong with them, its profile, what gives it away."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .. import task
from ..formats import number
from ..model.output import Output
from . import alone
from .contract import Column
from .marks import MIN_ROWS, marks

# Of a group of rows, for the trend: mean, median, and where 80 % of the values lie.
AGGREGATES = (
    pl.col("y").mean(),
    pl.col("y").median().alias("median"),
    pl.col("y").quantile(0.1, "linear").alias("low"),
    pl.col("y").quantile(0.9, "linear").alias("high"),
)
NOTHING = 0.0  # association of a column that says nothing about the target
SURE = 0.98  # R² of one column that no honest feature reaches
STRIKING = 0.9  # R² that is suspect when every other column errs four times as much
FAR = 10  # an absurd value lies this many times as far from the median as 99 % of the rows
ROWS_PER_FEATURE = 20  # Harrell 2015, Regression Modeling Strategies, 4.4: 10 to 20
TAIL = 0.005  # values beyond these quantiles count as the quantile: no outlier decides alone

Floats = NDArray[np.float64]


def outcome(frame: pl.DataFrame, target: Column) -> pl.Series:
    """Return the target as a number, null where it is missing or not finite."""
    y = frame[target.name].cast(pl.Float64)
    return y.set(~y.is_finite(), None).alias("y")


def values(frame: pl.DataFrame, target: Column) -> Floats:
    """Return the target in its unit, NaN where it is missing; shape (rows,)."""
    return outcome(frame, target).fill_null(float("nan")).to_numpy()


def outputs(target: Column, y: Floats) -> tuple[Output, ...]:
    """Return what a model answers that was trained on the target's values `y`."""
    return task.outputs(y)


def reproduced(target: str) -> list[str]:
    """Return the columns that a feature must not reproduce, alone or with another."""
    return [target]


def numbers(y: pl.Series) -> list[pl.Series]:
    """Return the target as numbers of which a column may hold the mean: itself."""
    return [y]


def fault(frame: pl.DataFrame, target: Column) -> str:
    """Say why nothing can be learnt from the valid rows, or ""."""
    different = outcome(frame, target).drop_nulls().unique().sort().to_list()
    if len(different) > 2:
        return ""
    shown = " and ".join(number(value) for value in different) or "no value"
    only = "only " if different else ""
    return (
        f"target {target.name!r} has {only}{shown} in {number(frame.height)} rows: a {task.SAID} "
        "needs a number that differs; mend the source, or choose another target"
    )


def doubts(frame: pl.DataFrame, target: Column) -> dict[str, int]:
    """Count rows whose target is readable and hardly true, by "column: rule"."""
    y = outcome(frame, target).drop_nulls()
    found = {"absurdly far": len(absurd(y)), "may mean missing": len(marks(y))}
    return {f"{target.name}: {rule}": rows for rule, rows in found.items() if rows}


def absurd(y: pl.Series) -> pl.Series:
    """Return the values that lie FAR times as far from the median as 99 % of all."""
    distance = (y - y.median()).abs()
    limit = distance.quantile(0.99, "lower") or 0.0
    return y.filter(distance > FAR * limit) if limit else y.clear()


def profile(y: pl.Series) -> dict[str, Any]:
    """Return what profile.json says of the target beside its trend; shares lie in 0..1."""
    low, high = (y.quantile(q, "linear") for q in (0.05, 0.95))
    return {
        "mean": y.mean(),
        "median": y.median(),
        "std": y.std(),
        "q05": low,
        "q95": high,
        "skew": y.skew(),
        "zeros": (y == 0).mean(),
        "negatives": (y < 0).mean(),
        "absurd": len(absurd(y)),
        "marks": len(marks(y)),
    }


def enough(y: pl.Series, features: int) -> float:
    """Return how many of the rows that so many features need are there, from 0 to 1."""
    return min(1.0, y.count() / (ROWS_PER_FEATURE * max(1, features)))


def association(values: pl.Series, y: pl.Series) -> float:
    """Return the R² of one column alone, 0 to 1; 0 when unknown.

    The best of three readings: along the values and along their order (Spearman) where there are
    any, and the mean per level or quantile (missing is one), learnt on other rows than judged on.
    """
    known = y.is_not_null() & y.is_finite()
    values, truth = values.filter(known), _trimmed(y.filter(known).to_numpy())
    present, ranks, codes = alone.coded(values)
    best = NOTHING
    if len(ranks):
        x = values.drop_nulls().to_physical().cast(pl.Float64).to_numpy()
        orders = pl.Series(truth[present]).rank().to_numpy()
        best = max(_r2(ranks, orders), _r2(_trimmed(x), truth[present]))
    return max(best, _mean_r2(codes, truth))


def signs(
    frame: pl.DataFrame, y: pl.Series, scores: dict[str, float]
) -> Iterator[tuple[str, str, float]]:
    """Yield the columns whose relation to the target no honest feature has: name, reason, R²."""
    first, second = (*sorted((s for s in scores.values() if s < SURE), reverse=True), 0.0, 0.0)[:2]
    for name, score in scores.items():
        if score >= SURE:
            yield name, f"alone it gives the target (R² {number(score, 3)})", score
        elif score == first >= STRIKING and (1 - score) * 4 <= 1 - second:
            yield (
                name,
                f"R² {number(score, 3)} alone, the next column has {number(second, 3)}",
                score,
            )


def _trimmed(x: Floats) -> Floats:
    if not len(x):
        return x
    low, high = np.quantile(x, [TAIL, 1 - TAIL])
    trimmed: Floats = np.clip(x, low, high)
    return trimmed


def _r2(x: Floats, y: Floats) -> float:
    """Return the squared correlation; 0 when there are too few rows or all values are one."""
    if len(x) < MIN_ROWS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return NOTHING
    return float(np.corrcoef(x, y)[0, 1] ** 2)


def _mean_r2(codes: NDArray[np.int64], y: Floats) -> float:
    """Return the R² of the mean of the target per code, learnt out of fold and smoothed."""
    if len(y) < MIN_ROWS or np.ptp(y) == 0:
        return NOTHING
    errors = np.square(y - alone.mean_out_of_fold(codes, y)).mean()
    return max(NOTHING, 1 - float(errors / y.var()))
