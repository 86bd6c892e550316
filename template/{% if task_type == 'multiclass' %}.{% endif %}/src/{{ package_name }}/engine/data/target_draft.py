"""What a draft takes for the class to predict: its classes, their shares, and doubts about it."""

import re
from collections.abc import Collection, Iterator
from typing import Any

import polars as pl

from ..dialect import NO_CLASS
from ..errors import ProjectError
from ..formats import count, number, percent
from .candidate import MAX_LEVELS, Candidate, short
from .contract import Column, Kind
from .target import MIN_ROWS
from .validation import parse

DEFINED = "text for each row"
SHOWN = 5  # classes in a sentence
# What the question `classes` takes: a name that it refuses could never be planned.
LISTED = re.compile(r"[\w .()/&'+-]{1,40}")
PLAIN = "at most 40 letters, digits, spaces and . ( ) / & ' + - _"


def kind(dtype: pl.DataType) -> Kind | None:
    """Return the kind of a target whose definition gives this type, None when it makes none."""
    if dtype == pl.Boolean or not (dtype == pl.String or dtype.is_integer()):
        return None
    return "category"


def answered(target: str, answers: dict[str, Any], columns: Collection[str]) -> str | None:
    """Return None: a file tells its classes itself."""
    return None


def defined(told: str | None, columns: Collection[str]) -> str | None:
    """Return the definition of a target that `told` names the columns of: None."""
    return None


def propose(target: Candidate, written: pl.Series, told: str | None) -> tuple[pl.Series, str]:
    """Give the target its type and the shares of its classes; `written` is the file's column.

    `told` names the classes that count: all others become missing. Return the codes of its classes,
    null where they are missing, and what was decided.
    """
    if target.kind in ("number", "integer", "category"):
        plain = Column(name=target.name, kind="category", role="target")
        target.kind, target.values = "category", parse(written, plain).alias(target.name)
    if told is not None:
        _keep(target, [name.strip() for name in told.split(",")])
    if reason := _refused(target, written):
        raise ProjectError(f"target {target.name!r} {reason}")
    texts = target.values.cast(pl.String)
    rows = len(texts) - texts.null_count()
    counts = (
        texts.drop_nulls().value_counts(name="n").sort("n", target.name, descending=[True, False])
    )
    shares = {name: n / rows for name, n in counts.rows()}
    target.notes += (("target", doubt) for doubt in _doubts(texts, counts))
    target.extra["classShares"] = {name: short(share) for name, share in shares.items()}
    codes = {name: code for code, name in enumerate(sorted(shares))}
    first = [f"{name} {percent(share)}" for name, share in list(shares.items())[:SHOWN]]
    more = f" and {len(shares) - SHOWN} more" if len(shares) > SHOWN else ""
    said = f"{len(shares)} classes in {count(rows, 'row')}: {', '.join(first)}{more}"
    return texts.replace_strict(codes, default=None, return_dtype=pl.Int64), said


def _keep(target: Candidate, classes: list[str]) -> None:
    """Let only some classes count; ProjectError for one that the file has not."""
    there = target.values.drop_nulls().unique()
    if unknown := [name for name in classes if name not in there]:
        some = ", ".join(there.sort()[:20])
        raise ProjectError(
            f"--classes: {unknown[0]!r} is no value of {target.name!r}: it has {some}"
        )
    kept = target.values.is_in(classes)
    if dropped := int((~kept).sum()):
        target.notes.append(("target", f"{count(dropped, 'row')} of classes that you left out"))
    target.values = target.values.set(~kept.fill_null(True), None)


def _refused(target: Candidate, written: pl.Series) -> str:
    """Say why a column is no class to predict, and what to do, or ""."""
    different, rows = target.different, len(target.values)
    new = "change the definition" if target.definition else "choose another column"
    if target.kind != "category":
        many = "true and false" if target.kind == "boolean" else "dates"
        many = many if different else "no values"
        return f"has {many} in {rows} rows: a multiclass task needs three classes or more, so {new}"
    if different < 3:
        listed = " and ".join(sorted(target.filled.unique())) or "no value"
        binary = ", or answer task_type binary" if different == 2 else ""
        return f"has only {listed} in {rows} rows: a multiclass task needs three, so {new}{binary}"
    if different > MAX_LEVELS:
        some = ", ".join(repr(f"{value:.40}") for value in sorted(target.filled.unique())[:3])
        return (
            f"has {number(different)} different values ({some}, ...) in {rows} rows, and a "
            f"multiclass task at most {MAX_LEVELS}: name those that count with --classes, or {new}"
        )
    names = target.filled.unique().sort()
    if odd := [n for n in names if n != n.strip() or not LISTED.fullmatch(n)]:
        return f"has a class {odd[0]!r}: mend the source, names have {PLAIN}"
    return ""


def _doubts(texts: pl.Series, counts: pl.DataFrame) -> Iterator[str]:
    if missing := texts.null_count():
        yield f"missing in {count(missing, 'row')}: nothing is learnt from them; {NO_CLASS}"
    rare = counts.filter(pl.col("n") < MIN_ROWS)
    if rare.height:
        named = ", ".join(f"{name} ({number(n)})" for name, n in rare.rows()[:SHOWN])
        yield (
            f"too few rows to learn and to judge these classes by: {named}; put rare classes "
            "together in the source, or leave them out with --classes"
        )
    spread = counts.height > 10 and bool(counts[:, 0].str.contains(r"^-?\d+$").all())
    if spread:
        yield "its classes are many whole numbers: if they are amounts, it is a regression"
