"""What a label is here: one of several names. How it is read, agreed on and doubted.

Confident learning (Northcutt, Jiang and Chuang 2021, JAIR 70, 1373-1411): each label has a limit,
the mean probability that models give it in rows that have it. A row is suspect where another label
reaches its own limit, and is the most probable of those that do. All probabilities are out of fold:
no model had seen the row.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..data import target as targets
from ..data.contract import Column
from ..errors import ProjectError
from ..formats import number, percent
from . import agreement
from .intervals import share

METHOD = "confident learning (Northcutt, Jiang and Chuang 2021), probabilities out of fold"

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


def texts(typed: pl.Series, target: Column) -> pl.Series:
    """Return the label of each row as it is compared, null where there is none."""
    return typed.cast(pl.String)


def names(before: pl.Series, target: Column) -> list[str]:
    """Return the labels that people may give."""
    return sorted({*before.drop_nulls(), *target.levels})


def read(label: str, known: list[str], target: Column) -> str | None:
    """Return what somebody wrote as a label, None when it is none; capitals do not matter."""
    spelled = {name.lower(): name for name in known}
    return label if label in known else spelled.get(label.lower())


def refused(known: list[str]) -> str:
    """Say why a label was refused."""
    return f"is none of {', '.join(known)}: mend it, or add it to the contract"


def decide(labels: Sequence[str], target: Column) -> str | None:
    """Return the most frequent label, None where two are."""
    counted = Counter(labels).most_common(2)
    return None if len(counted) > 1 and counted[0][1] == counted[1][1] else counted[0][0]


def written(said: pl.Series, before: pl.Series, raw: pl.Series, target: Column) -> pl.Series:
    """Return labels as the raw column writes them, which may be 1 or yes for true."""
    seen = pl.DataFrame([before.alias("typed"), raw.alias("raw")]).drop_nulls()
    seen = seen.unique("typed", keep="first", maintain_order=True)
    values = said.replace_strict(seen["typed"], seen["raw"], default=None, return_dtype=raw.dtype)
    if raw.dtype == pl.String:
        values = values.fill_null(said)
    lost = said.filter(said.is_not_null() & values.is_null())
    if len(lost):
        raise ProjectError(f"no row of the data has {lost[0]!r} yet: how they write it is unknown")
    return values


def compared(
    given: dict[str, dict[str, str]], known: list[str], target: Column, seed: int
) -> dict[str, Any] | None:
    """Return how far people agree, None where no two labelled the same items."""
    return agreement.compared(given, known, seed)


def agreed(found: dict[str, Any]) -> str:
    """Say how far people agree."""
    return (
        f"people agree in {percent(found['share'])} of {number(found['items'])} items: "
        f"{found['kappa']}'s kappa {number(found['value'])} "
        f"({number(found['low'])} to {number(found['high'])})"
        + ("" if found["substantial"] else "; below 0.6: settle the guide for labels first")
    )


def confirmed(before: pl.Series, said: pl.Series) -> dict[str, Any]:
    """Return which share of the labels that were there people confirm, with its interval."""
    return share(int((before == said).sum()), len(said))


def right(found: dict[str, Any]) -> str:
    """Say how far people confirm what was there."""
    return (
        f"where they decided, they confirm {percent(found['value'])} of the labels that were there "
        f"({percent(found['low'])} to {percent(found['high'])})"
    )


class Doubts(NamedTuple):
    """Of each row the label that fits better, -1 for none; limits; the share of wrong labels."""

    better: Codes
    limits: Floats
    noise: float


def doubts(given: Codes, p: Floats) -> Doubts:
    """Return what is suspect of labels (rows,) with probabilities (rows, labels).

    The share of wrong labels is that beside the diagonal of the counts of given and better labels,
    brought to the shares that are given (section 3.1 there).
    """
    count = p.shape[1]
    is_given = given[:, None] == np.arange(count)
    limits = np.full(count, 2.0)  # which nothing reaches: nobody gave this label
    there = is_given.any(axis=0)
    limits[there] = (p * is_given).sum(axis=0)[there] / is_given.sum(axis=0)[there]
    reached = np.where(p >= limits, p, -1.0)
    told, best = reached.max(axis=1) >= 0, reached.argmax(axis=1)
    better = np.where(told & (best != given), best, -1)
    table = np.zeros((count, count))
    np.add.at(table, (given[told], best[told]), 1.0)
    rows, totals = np.bincount(given, minlength=count), table.sum(axis=1)
    scaled = table * np.divide(rows, totals, out=np.zeros(count), where=totals > 0)[:, None]
    noise = 1 - np.trace(scaled) / scaled.sum() if scaled.sum() else 0.0
    return Doubts(better, limits, float(noise))


def doubted(
    frame: pl.DataFrame, said: Floats, target: Column
) -> tuple[Codes, list[dict[str, Any]], dict[str, Any]]:
    """Return the places of suspect rows, worst first, what is said of each, and of them all.

    `said` (rows, columns) is what models answered that had not seen the row.
    """
    p = said if said.shape[1] > 1 else np.hstack([1 - said, said])
    given = targets.values(frame, target).astype(np.int64)
    known = _names_of(given, frame[target.name], p.shape[1])
    found = doubts(given, p)
    suspect = np.flatnonzero(found.better >= 0)
    margin = p[suspect, given[suspect]] - p[suspect, found.better[suspect]]
    order = suspect[np.argsort(margin, kind="stable")]
    counted = Counter((known[given[n]], known[found.better[n]]) for n in order.tolist())
    each = [
        {
            "given": known[given[n]],
            "better": known[found.better[n]],
            "p_given": float(p[n, given[n]]),
            "p_better": float(p[n, found.better[n]]),
        }
        for n in order.tolist()
    ]
    about = {
        "noise": found.noise,
        "limits": dict(zip(known, found.limits.tolist(), strict=True)),
        "pairs": [[given, better, n] for (given, better), n in counted.most_common()],
    }
    return order, each, about


def _names_of(given: Codes, values: pl.Series, count: int) -> Sequence[str]:
    """Return the label of each code below `count` as the data write it."""
    found = dict(zip(given.tolist(), values.cast(pl.String).to_list(), strict=True))
    return [found.get(code, f"label {code}") for code in range(count)]


def suspected(report: dict[str, Any]) -> str:
    """Say how many labels are suspect."""
    return (
        f"{number(report['suspects'])} of {number(report['rows'])} labels are suspect; about "
        f"{percent(report['noise'])} of all are wrong, as far as the model can tell"
    )


def doubt(one: dict[str, Any]) -> str:
    """Say what is doubted of a row."""
    return (
        f"{one['given']} ({percent(one['p_given'])}), rather {one['better']} "
        f"({percent(one['p_better'])})"
    )
