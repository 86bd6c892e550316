"""What a draft takes for the label of anomalies: any of two values, few of them, or none yet."""

from collections.abc import Collection
from typing import Any

import polars as pl

from ..errors import ProjectError
from ..formats import count, number, percent
from . import personal
from .candidate import Candidate
from .contract import Column, Kind
from .target import MIN_CLASS_ROWS
from .validation import parse

DEFINED = "true or false for each row"
# Values, in small letters, that say that a row is an anomaly, or that it is none.
YES = {"true", "1", "yes", "y", "anomaly", "anomalous", "outlier", "o", "fraud", "fault", "defect"}
NO = {
    "false": "true",
    "0": "1",
    "no": "",
    "n": "",
    "normal": "",
    "ordinary": "",
    "ok": "",
    "-1": "",
}


def kind(dtype: pl.DataType) -> Kind | None:
    """Return the kind of a label whose definition gives this type, None when it makes none."""
    return "boolean" if dtype == pl.Boolean else None


def answered(target: str, answers: dict[str, Any], columns: Collection[str]) -> str | None:
    """Return None: no answer of the plan says which value is the anomaly."""
    return None


def defined(told: str | None, columns: Collection[str]) -> str | None:
    """Return the definition of a target that `told` names the columns of: None."""
    return None


def propose(target: Candidate, written: pl.Series, told: str | None) -> tuple[pl.Series, str]:
    """Give the label its type and positive value; `written` is the column as the file has it.

    Return labels of 1, 0 or null, and what was decided with the reason.
    """
    classes = target.filled.unique().sort().to_list()
    if not classes:
        nothing = pl.repeat(None, len(target.values), dtype=pl.Boolean, eager=True)
        target.kind, target.values = "boolean", nothing.alias(target.name)
        target.extra["positiveValue"] = "true"
        target.notes.append(("target", "no row has a label yet: quality stays unknown without"))
        return nothing.cast(pl.Int8), "no labels yet; true will mean an anomaly"
    if len(classes) > 2:
        listed = ", ".join(f"{value!s:.30}" for value in classes[:4])
        raise ProjectError(
            f"target {target.name!r} has {len(classes)} values ({listed}, ...), and a label has "
            "two: choose another column, or make one with --definition"
        )
    if target.kind != "boolean":
        target.kind = "integer" if set(classes) <= {0, 1} else "category"
        plain = Column(name=target.name, kind=target.kind, role="target")
        target.values = parse(written, plain).alias(target.name)
    texts = target.values.cast(pl.String)
    found = texts.drop_nulls().unique().sort().to_list()
    if target.kind == "category" and len(found) == 1:
        raise ProjectError(
            f"target {target.name!r} has one value, {found[0]!r}, and a label of text needs two: "
            "write true for anomalies, false for others and nothing where nobody knows"
        )
    positive, reason = _positive(target.name, found, told)
    labels = (texts == positive).cast(pl.Int8)
    target.extra["positiveValue"] = positive
    known, anomalies = labels.count(), int(labels.sum())
    if missing := labels.null_count():
        target.notes.append(("target", f"no label in {count(missing, 'row')}: learnt without"))
    if min(anomalies, known - anomalies) < MIN_CLASS_ROWS:
        few = f"{number(anomalies)} anomalies among {number(known)} labels: quality stays unknown"
        target.notes.append(("target", few))
    elif anomalies > known / 2 and not missing:
        target.notes.append(("target", "most rows are anomalies: is the other value the anomaly?"))
    share = f"{number(anomalies)} of {number(known)} labels ({percent(anomalies / known)})"
    return labels, f"{positive} is an anomaly, {share}: {reason}"


def _positive(name: str, values: list[str], told: str | None) -> tuple[str, str]:
    """Return which value of the label is the anomaly, and why; ProjectError when none says so."""
    plain = {value.strip().casefold(): value for value in values}
    if told is not None:
        if found := plain.get(told.strip().casefold()):
            return found, "named by --positive"
        there = " and ".join(values)
        raise ProjectError(f"--positive {told!r} is no value of {name!r}: it has {there}")
    words = personal.snake(name).split("_")
    for text, value in plain.items():
        if text in YES or text in words:
            return value, f"{value} says so"
    for text in NO.keys() & plain.keys():
        others = [value for other, value in plain.items() if other != text]
        if other := others[0] if others else NO[text]:
            return other, f"{plain[text]} says that it is none"
    listed = " or ".join(f"`--positive {value}`" for value in values)
    raise ProjectError(f"target {name!r}: which value is an anomaly? Nothing says so: add {listed}")
