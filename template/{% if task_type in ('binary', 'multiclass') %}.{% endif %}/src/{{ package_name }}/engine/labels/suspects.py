"""Labels that are probably wrong, the most doubtful first.

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

from .. import privacy, storage
from ..data import contract as contracts
from ..data import kept, validation
from ..data import target as targets
from ..errors import ProjectError
from ..formats import number, percent
from ..settings import Project
from .exchange import items

REPORT = "reports/suspects.json"
LISTED = 2000
SHOWN = 10
METHOD = "confident learning (Northcutt, Jiang and Chuang 2021), probabilities out of fold"

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


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


def run(project: Project) -> dict[str, Any]:
    """Write and return reports/suspects.json, from what `ml train` kept."""
    agreed = contracts.read(project.contract_path)
    target, mend = agreed.target, "run `ml train`"
    frame = validation.stored(project, "data/processed/development.parquet", mend, agreed)
    said = validation.stored(project, kept.OUT_OF_FOLD, mend)
    if said.height != frame.height:
        raise ProjectError("the rows have changed since the model was trained: run `ml train`")
    p = said.to_numpy()
    known = ~np.isnan(p).any(axis=1)
    frame, p = frame.filter(pl.Series(known)), p[known]
    p = p if p.shape[1] > 1 else np.hstack([1 - p, p])
    given = targets.values(frame, target).astype(np.int64)
    names = names_of(given, frame[target.name], p.shape[1])
    found = doubts(given, p)
    suspect = np.flatnonzero(found.better >= 0)
    margin = p[suspect, given[suspect]] - p[suspect, found.better[suspect]]
    order = suspect[np.argsort(margin, kind="stable")]
    counted = Counter((names[given[n]], names[found.better[n]]) for n in order.tolist())
    item = items(frame, agreed)
    report = {
        "method": METHOD,
        "rows": len(given),
        "suspects": len(order),
        "noise": found.noise,
        "limits": dict(zip(names, found.limits.tolist(), strict=True)),
        "pairs": [[given, better, n] for (given, better), n in counted.most_common()],
        "listed": [
            {
                "item": item[n],
                "given": names[given[n]],
                "better": names[found.better[n]],
                "p_given": float(p[n, given[n]]),
                "p_better": float(p[n, found.better[n]]),
            }
            for n in order[:LISTED].tolist()
        ],
    }
    if privacy.hidden(target):
        raise ProjectError(f"the target {target.name!r} is personal: no report may hold its values")
    storage.write_json(project.path(REPORT), report)
    return report


def names_of(given: Codes, values: pl.Series, count: int) -> Sequence[str]:
    """Return the label of each code below `count` as the data write it."""
    found = dict(zip(given.tolist(), values.cast(pl.String).to_list(), strict=True))
    return [found.get(code, f"label {code}") for code in range(count)]


def told(report: dict[str, Any]) -> str:
    """Say what was found, the most doubtful rows first."""
    lines = [
        f"{number(report['suspects'])} of {number(report['rows'])} labels are suspect; about "
        f"{percent(report['noise'])} of all are wrong, as far as the model can tell"
    ]
    lines += [
        f"  {one['item']}  {one['given']} ({percent(one['p_given'])}), rather {one['better']} "
        f"({percent(one['p_better'])})"
        for one in report["listed"][:SHOWN]
    ]
    if report["suspects"]:
        lines.append(
            "have people look: `ml label export FILE --choose suspects`; a model may be wrong, too"
        )
    return "\n".join(lines)
