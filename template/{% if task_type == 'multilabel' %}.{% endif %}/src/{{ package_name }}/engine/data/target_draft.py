"""What a draft takes for labels to predict: their names, their shares, and doubts about them."""

import re
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import polars as pl

from ..dialect import NO_CLASS
from ..errors import ProjectError
from ..formats import count, number, percent
from ..label_sets import MOST_LABELS, unpacked
from .candidate import Candidate, short
from .contract import Column, Kind
from .target import MIN_ROWS, codes_of
from .target_fields import NAMED, definition_of, faulty, listed
from .validation import parse

DEFINED = "list of labels for each row"
SHOWN = 5  # labels in a sentence
# What the question `label_names` takes: a name that it refuses could never be planned.
LISTED = re.compile(r"[\w .()/&'+-]{1,40}")
PLAIN = "at most 40 letters, digits, spaces and . ( ) / & ' + - _"


def kind(dtype: pl.DataType) -> Kind | None:
    """Return the kind of a target whose definition gives this type, None when it makes none."""
    return "category" if dtype == pl.String else None


def answered(target: str, answers: dict[str, Any], columns: Collection[str]) -> str | None:
    """Return the plan's labels where each has a column and the target has none, else None.

    A column that lists labels tells them itself.
    """
    names = str(answers["label_names"])
    return names if target not in columns and defined(names, columns) else None


def defined(told: str | None, columns: Collection[str]) -> str | None:
    """Return the definition of a target that `told` names the columns of, None when it does not."""
    names = [name.strip() for name in (told or "").split(",")]
    return definition_of(names) if len(names) > 1 and set(names) <= set(columns) else None


def propose(target: Candidate, written: pl.Series, told: str | None) -> tuple[pl.Series, str]:
    """Give the target its labels and their shares; `written` is the file's column.

    `told` names the labels that count: all others are left out. Return the codes of the rows'
    labels, null where they are missing, and what was decided.
    """
    if target.definition is None:
        plain = Column(name=target.name, kind="category", role="target")
        target.values = parse(written, plain).alias(target.name)
    target.kind, target.several = "category", True
    labels, left_out = _labels(target, told)
    codes = codes_of(target.values, tuple(labels))
    sets = unpacked(codes.drop_nulls().to_numpy(), len(labels))
    counts = sets.sum(axis=0)
    ranked = np.argsort(-counts, kind="stable")
    labels, counts, sets = [labels[place] for place in ranked], counts[ranked], sets[:, ranked]
    shares = {name: float(n) / len(sets) for name, n in zip(labels, counts, strict=True)}
    target.notes += (("target", doubt) for doubt in _doubts(target, shares, len(sets), left_out))
    target.extra["labels"] = labels
    target.extra["labelShares"] = {name: short(share) for name, share in shares.items()}
    first = [f"{name} {percent(share)}" for name, share in list(shares.items())[:SHOWN]]
    more = f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
    said = f"{len(labels)} labels in {count(len(sets), 'row')}: {', '.join(first)}{more}; "
    said += f"{number(sets.sum() / len(sets), 2)} a row"
    return codes_of(target.values, tuple(labels)).alias("y"), said


def _labels(target: Candidate, told: str | None) -> tuple[list[str], list[str]]:
    """Return the labels that count, and those that do not; ProjectError where there are none."""
    found = [listed(text) for text in target.values.drop_nulls().unique().sort()]
    there = list(dict.fromkeys(name for names in found for name in names))
    if told is not None:
        labels = [name.strip() for name in told.split(",")]
        if unknown := [name for name in labels if name not in there]:
            raise ProjectError(
                f"--labels: {unknown[0]!r} is no label of {target.name!r}: it has "
                f"{', '.join(there[:20])}"
            )
        return labels, [name for name in there if name not in labels]
    if reason := _refused(target, there, max(map(len, found), default=0)):
        raise ProjectError(f"target {target.name!r} {reason}")
    return there, []


def _refused(target: Candidate, labels: list[str], longest: int) -> str:
    """Say why a column lists no labels, and what to do, or ""."""
    rows = len(target.values)
    new = "change the definition" if target.definition else "choose another column"
    columns = "; where each label has a column, name these with --labels"
    if len(labels) < 2:
        shown = ", ".join(labels) or "no label"
        return f"has {shown} in {rows} rows: a multilabel task needs two, so {new}{columns}"
    if longest < 2:
        some = ", ".join(labels[:SHOWN])
        return (
            f"has one label in each of {rows} rows ({some}): that is task_type multiclass; a list "
            f"has commas between labels{columns}"
        )
    if len(labels) > MOST_LABELS:
        some = ", ".join(repr(f"{name:.40}") for name in labels[:3])
        return (
            f"has {number(len(labels))} labels ({some}, ...) in {rows} rows, and a multilabel task "
            f"at most {MOST_LABELS}: name those that count with --labels, or {new}"
        )
    if odd := [name for name in labels if faulty(name)]:
        return f"has a label {odd[0]!r}: mend the source, {NAMED}"
    if odd := [name for name in labels if not LISTED.fullmatch(name)]:
        return f"has a label {odd[0]!r}: mend the source, names have {PLAIN}"
    return ""


def _doubts(
    target: Candidate, shares: dict[str, float], rows: int, left_out: list[str]
) -> Iterator[str]:
    if missing := target.values.null_count():
        yield (
            f"missing in {count(missing, 'row')}: nothing is learnt from them; if they have no "
            f"label, write none there; {NO_CLASS}"
        )
    if left_out:
        yield f"{count(len(left_out), 'label')} left out: {', '.join(left_out[:SHOWN])}"
    rare = {name: round(share * rows) for name, share in shares.items() if share * rows < MIN_ROWS}
    if rare:
        named = ", ".join(f"{name} ({number(n)})" for name, n in list(rare.items())[:SHOWN])
        yield (
            f"too few rows to learn and to judge these labels by: {named}; leave them out with "
            "--labels, or bring more rows"
        )
