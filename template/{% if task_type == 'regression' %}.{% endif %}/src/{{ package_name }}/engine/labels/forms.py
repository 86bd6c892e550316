"""What a label is here: a number. How it is read, agreed on and doubted.

A row is suspect where its value lies far from what models say that had not seen the row: farther
than LIMIT times the usual distance of rows of about that size (median absolute deviation, scaled to
a standard deviation; Hampel 1974, JASA 69, 383-393).
"""

from collections.abc import Sequence
from statistics import mean, median, median_low
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..data import target as targets
from ..data import validation
from ..data.contract import Column
from ..errors import ProjectError
from ..formats import number
from . import agreement
from .intervals import interval, resampled

LIMIT = 5.0
MOST = 1e6  # times, of a row among rows that are all predicted exactly
NEIGHBOURS = 201  # rows whose predictions are closest
SCALE = 1.4826  # from the median of distances to a standard deviation, of normal errors
METHOD = f"distance from predictions out of fold, above {LIMIT:g} times the usual one of its size"

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


def texts(typed: pl.Series, target: Column) -> pl.Series:
    """Return the value of each row as it is compared, null where there is none."""
    return typed.cast(pl.String)


def names(before: pl.Series, target: Column) -> list[str]:
    """Return the values that people may give: any number."""
    return []


def read(label: str, known: list[str], target: Column) -> str | None:
    """Return what somebody wrote as a number, None when it is none within the contract."""
    value = validation.parse(pl.Series([label]), target)
    if value[0] is None or not np.isfinite(value[0]):
        return None
    low, high = target.minimum, target.maximum
    if (low is not None and value[0] < low) or (high is not None and value[0] > high):
        return None
    return str(texts(value, target)[0])


def refused(known: list[str]) -> str:
    """Say why a label was refused."""
    return "is no number within the limits of the contract: mend one of both"


def decide(labels: Sequence[str], target: Column) -> str | None:
    """Return the median; of whole numbers the lower one of the two in the middle."""
    values = [float(label) for label in labels]
    if target.kind == "integer":
        return str(int(median_low(values)))
    return str(texts(pl.Series([float(median(values))]), target)[0])


def written(said: pl.Series, before: pl.Series, raw: pl.Series, target: Column) -> pl.Series:
    """Return numbers as the raw column has them."""
    if raw.dtype == pl.String:
        return said.str.replace(".", ",", literal=True) if target.decimal_comma else said
    values = said.cast(pl.Float64).cast(raw.dtype, strict=False)
    if (values.cast(pl.Float64) != said.cast(pl.Float64)).any():
        raise ProjectError(
            f"the column {target.name!r} has whole numbers, and some labels are none: mend them"
        )
    return values


def compared(
    given: dict[str, dict[str, str]], known: list[str], target: Column, seed: int
) -> dict[str, Any] | None:
    """Return how far people agree, None where no two gave numbers to the same items."""
    several = [[*map(float, by.values())] for _, by in sorted(given.items()) if len(by) > 1]
    if len(several) < agreement.FEWEST:
        return None
    found = agreement.compared([several], seed)
    apart = float(np.mean([max(values) - min(values) for values in several]))
    return {name: found[name] for name in ("value", "low", "high", "enough")} | {
        "items": len(several),
        "apart": apart,
    }


def agreed(found: dict[str, Any]) -> str:
    """Say how far people agree."""
    return (
        f"people lie {number(found['apart'])} apart in the mean of {number(found['items'])} items: "
        f"Krippendorff's alpha {number(found['value'])} "
        f"({number(found['low'])} to {number(found['high'])})"
        + ("" if found["enough"] else "; below 0.667: settle how to measure first")
    )


def confirmed(before: pl.Series, said: pl.Series) -> dict[str, Any]:
    """Return the mean distance of what people say from what was there, with its interval."""
    apart = (before.cast(pl.Float64) - said.cast(pl.Float64)).abs().to_numpy()
    drawn = [float(apart[rows].mean()) for rows in resampled(len(apart), 0)]
    return {"items": len(apart)} | interval(mean(apart.tolist()), drawn)


def right(found: dict[str, Any]) -> str:
    """Say how far people confirm what was there."""
    return (
        f"they differ from the numbers that were there by {number(found['value'])} in the mean "
        f"({number(found['low'])} to {number(found['high'])})"
    )


def doubted(
    frame: pl.DataFrame, said: Floats, target: Column
) -> tuple[Codes, list[dict[str, Any]], dict[str, Any]]:
    """Return the places of suspect rows, worst first, what is said of each, and of them all.

    `said` (rows, 1) is what models answered that had not seen the row, in the target's unit.
    """
    y, p = targets.values(frame, target), said[:, 0]
    off = distances(y, p)
    suspect = np.flatnonzero(off > LIMIT)
    order = suspect[np.argsort(-off[suspect], kind="stable")]
    each = [
        {"given": float(y[n]), "better": float(p[n]), "off": float(min(off[n], MOST))}
        for n in order.tolist()
    ]
    return order, each, {"limit": LIMIT}


def distances(y: Floats, p: Floats) -> Floats:
    """Return how far values (rows,) lie from predictions, in the usual distance of their size."""
    apart = np.abs(y - p)
    rank = np.argsort(p, kind="stable")
    window = min(NEIGHBOURS, len(p))
    usual = pl.Series(apart[rank]).rolling_median(window, center=True, min_samples=1).to_numpy()
    scale = np.empty_like(usual)
    scale[rank] = SCALE * np.maximum(usual, 0.1 * np.median(apart))
    return np.divide(apart, scale, out=np.where(apart > 0, np.inf, 0.0), where=scale > 0)


def suspected(report: dict[str, Any]) -> str:
    """Say how many numbers are suspect."""
    return (
        f"{number(report['suspects'])} of {number(report['rows'])} numbers are suspect: farther "
        f"than {number(report['limit'])} times the usual distance from what models say"
    )


def doubt(one: dict[str, Any]) -> str:
    """Say what is doubted of a row."""
    return (
        f"{number(one['given'])}, where models say {number(one['better'])}: {number(one['off'])} "
        "times the usual distance"
    )
