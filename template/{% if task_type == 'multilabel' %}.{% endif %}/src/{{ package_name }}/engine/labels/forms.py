"""What a label is here: the set of labels of a row. How it is read, agreed on and doubted.

Confident learning (Northcutt, Jiang and Chuang 2021, JAIR 70, 1373-1411) for each label: that a row
has it has a limit, the mean probability of rows that have it, and so has that it lacks it. What
reaches the limit of the other side, and is more probable, is suspect. All probabilities are out of
fold: no model had seen the row.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..data import target as targets
from ..data.contract import Column
from ..data.target_fields import NOTHING, listed
from ..formats import number, percent
from ..label_sets import unpacked
from . import agreement
from .intervals import share

METHOD = "confident learning of each label (Northcutt, Jiang and Chuang 2021), out of fold"

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Sets = NDArray[np.bool_]


def texts(typed: pl.Series, target: Column) -> pl.Series:
    """Return the labels of each row as they are compared, in the contract's order."""
    values = typed.cast(pl.String)
    known = {text: _text(listed(text), target) for text in values.drop_nulls().unique()}
    return values.replace_strict(known, default=None, return_dtype=pl.String)


def _text(found: Sequence[str], target: Column) -> str:
    return ", ".join(name for name in target.labels if name in found) or NOTHING


def names(before: pl.Series, target: Column) -> list[str]:
    """Return the labels that people may give."""
    return list(target.labels)


def read(label: str, known: list[str], target: Column) -> str | None:
    """Return the labels that somebody listed, None when one is unknown; capitals do not matter."""
    spelled = {name.lower(): name for name in known}
    found = [spelled.get(name.lower()) for name in listed(label)]
    return None if None in found else _text([name for name in found if name], target)


def refused(known: list[str]) -> str:
    """Say why a label was refused."""
    return (
        f"lists other labels than {', '.join(known)}: put commas between them, {NOTHING} where a "
        "row has none, or add them to the contract"
    )


def decide(labels: Sequence[str], target: Column) -> str | None:
    """Return the labels that most people gave, None where half of them gave one."""
    having = _having(labels, target).sum(axis=0)
    if (2 * having == len(labels)).any():
        return None
    found = [name for name, n in zip(target.labels, having, strict=True) if 2 * n > len(labels)]
    return _text(found, target)


def _having(labels: Sequence[str], target: Column) -> Sets:
    """Return which labels each text lists; shape (texts, labels)."""
    return np.array([[name in listed(text) for name in target.labels] for text in labels])


def written(said: pl.Series, before: pl.Series, raw: pl.Series, target: Column) -> pl.Series:
    """Return labels as the raw column lists them."""
    return said


def compared(
    given: dict[str, dict[str, str]], known: list[str], target: Column, seed: int
) -> dict[str, Any] | None:
    """Return how far people agree on each label, None where no two labelled the same items."""
    several = [[*by.values()] for _, by in sorted(given.items()) if len(by) > 1]
    if len(several) < agreement.FEWEST:
        return None
    sets = [_having(labels, target).astype(float) for labels in several]
    columns = [[own[:, place].tolist() for own in sets] for place in range(len(target.labels))]
    found = agreement.compared(columns, seed)
    each = dict(zip(target.labels, found.pop("each"), strict=True))
    same = float(np.mean([len(set(labels)) == 1 for labels in several]))
    return found | {"items": len(several), "share": same, "labels": each}


def agreed(found: dict[str, Any]) -> str:
    """Say how far people agree, and on which label least."""
    known = {name: value for name, value in found["labels"].items() if np.isfinite(value)}
    least = min(known, key=lambda name: known[name], default="")
    return (
        f"people list the same labels for {percent(found['share'])} of {number(found['items'])} "
        f"items: mean alpha of Krippendorff {number(found['value'])} "
        f"({number(found['low'])} to {number(found['high'])})"
        + (f", least for {least} ({number(known[least])})" if least else "")
        + ("" if found["enough"] else "; below 0.667: settle the guide for labels first")
    )


def confirmed(before: pl.Series, said: pl.Series) -> dict[str, Any]:
    """Return which share of the rows keeps all its labels, with its interval."""
    return share(int((before == said).sum()), len(said))


def right(found: dict[str, Any]) -> str:
    """Say how far people confirm what was there."""
    return (
        f"where they decided, they confirm {percent(found['value'])} of the rows whole "
        f"({percent(found['low'])} to {percent(found['high'])})"
    )


def doubted(
    frame: pl.DataFrame, said: Floats, target: Column
) -> tuple[Codes, list[dict[str, Any]], dict[str, Any]]:
    """Return the places of suspect rows, worst first, what is said of each, and of them all.

    `said` (rows, labels) is what models answered that had not seen the row.
    """
    sets = unpacked(targets.values(frame, target), len(target.labels))
    wrong, limits = doubts(sets, said)
    # How much more probable the other side is, of the label that is doubted most.
    more = np.where(wrong, np.where(sets, 1 - 2 * said, 2 * said - 1), -np.inf)
    suspect = np.flatnonzero(wrong.any(axis=1))
    order = suspect[np.argsort(-more[suspect].max(axis=1), kind="stable")]
    each = []
    for n in order.tolist():
        most = int(more[n].argmax())
        p = float(said[n, most])
        each.append(
            {
                "given": _listed(sets[n], target),
                "better": _listed(sets[n] ^ wrong[n], target),
                "label": target.labels[most],
                "p_given": p if sets[n, most] else 1 - p,
            }
        )
    noise = {name: float(share) for name, share in zip(target.labels, wrong.mean(0), strict=True)}
    shown = {name: own.tolist() for name, own in zip(target.labels, limits, strict=True)}
    return order, each, {"suspect_share": noise, "limits": shown}


def doubts(sets: Sets, p: Floats) -> tuple[Sets, Floats]:
    """Return which labels (rows, labels) are suspect, and the limits (labels, 2) of lack and have.

    Only one side can reach its limit and be the more probable one.
    """
    limits = np.full((sets.shape[1], 2), 2.0)  # which nothing reaches: no row is on that side
    for place, having in enumerate(sets.T):
        for side, rows in enumerate((~having, having)):
            if rows.any():
                of_side = p[rows, place] if side else 1 - p[rows, place]
                limits[place, side] = of_side.mean()
    has = (p >= limits[:, 1]) & ((p > 0.5) | (1 - p < limits[:, 0]))
    lacks = (1 - p >= limits[:, 0]) & ((p < 0.5) | (p < limits[:, 1]))
    return np.where(sets, lacks, has), limits


def _listed(having: Sets, target: Column) -> str:
    return _text([name for name, has in zip(target.labels, having, strict=True) if has], target)


def suspected(report: dict[str, Any]) -> str:
    """Say how many rows are suspect, and for which label most."""
    shares = report["suspect_share"]
    most = max(shares, key=lambda name: shares[name])
    return (
        f"{number(report['suspects'])} of {number(report['rows'])} rows have a suspect label, most "
        f"of them {most} ({percent(shares[most])} of the rows)"
    )


def doubt(one: dict[str, Any]) -> str:
    """Say what is doubted of a row."""
    return (
        f"{one['given']}, rather {one['better']}: {one['label']} as given {percent(one['p_given'])}"
    )
