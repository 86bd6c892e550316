"""What a draft takes for the outcome of a binary task, and which of its values is the event."""

import itertools
import re
import shlex
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Any

import polars as pl

from ..dialect import NO_CLASS
from ..errors import ProjectError
from ..formats import number, percent
from . import personal
from .candidate import MAX_LEVELS, Candidate, short
from .contract import Column, Kind, definition_columns, usable
from .target import MIN_CLASS_ROWS
from .validation import parse

# The value that says that it happened, beside the one that says that it did not.
AFFIRMED = {
    *(("true", "false"), ("1", "0"), ("1", "-1"), ("positive", "negative"), ("pos", "neg")),
    *(("ja", "nein"), ("oui", "non"), ("si", "no"), ("sí", "no"), ("sim", "não"), ("sim", "nao")),
}
HAPPENED = {"yes", "y", *(value for value, _ in AFFIRMED)}
DENIAL = r"^(no|not|non|never|without)[ _-]+"


DEFINED = "true or false for each row"


def kind(dtype: pl.DataType) -> Kind | None:
    """Return the kind of a target whose definition gives this type, None when it makes none."""
    return "boolean" if dtype == pl.Boolean else None


def answered(target: str, answers: dict[str, Any], columns: Collection[str]) -> str | None:
    """Return None: no answer of the plan says which value is the event."""
    return None


def defined(told: str | None, columns: Collection[str]) -> str | None:
    """Return the definition of a target that `told` names the columns of: None."""
    return None


def propose(target: Candidate, written: pl.Series, told: str | None) -> tuple[pl.Series, str]:
    """Give the target its type and positive value; `written` is the column as the file has it.

    Return its labels of 1, 0 or null, and what was decided with the reason.
    """
    classes = target.filled.unique().sort().to_list()
    if len(classes) != 2:
        raise ProjectError(_not_two(target, classes, written))
    if target.kind != "boolean":
        target.kind = "integer" if set(classes) == {0, 1} else "category"
        plain = Column(name=target.name, kind=target.kind, role="target")
        target.values = parse(written, plain).alias(target.name)
    texts = target.values.cast(pl.String)
    shares = dict(sorted(texts.drop_nulls().value_counts(normalize=True).rows()))
    positive, reason = _positive(target.name, shares, target.kind, told)
    labels = (texts == positive).cast(pl.Int8)
    target.notes += (("target", doubt) for doubt in _doubts(texts, shares, positive, told))
    target.extra |= {
        "positiveValue": positive,
        "positiveShare": min(short(labels.mean()), 0.999999),
    }
    labelled = len(texts) - texts.null_count()
    first = positive if target.definition else written.filter(texts == positive)[0]
    shown = positive if str(first) == positive else f"{positive} (written {first})"
    share = f"{percent(shares[positive])} of {number(labelled)} rows"
    return labels, f"{shown} is positive, {share}: {reason}"


def _doubts(
    texts: pl.Series, shares: dict[str, float], positive: str, told: str | None
) -> Iterator[str]:
    if missing := texts.null_count():
        yield f"missing in {missing} rows: nothing is learnt from them; {NO_CLASS}"
    rarest = min(shares, key=lambda value: shares[value])
    fewest = int((texts == rarest).sum())
    if fewest < MIN_CLASS_ROWS:
        rows = f"only {fewest} row{'s are' if fewest > 1 else ' is'} {rarest}"
        yield f"{rows}: too few to learn from and to judge a model by"
    if shares[positive] > 0.5 and told is None:
        other = next(value for value in shares if value != positive)
        yield (
            f"the positive value {positive} is the more frequent one: if {other} is the event "
            f"that costs, draft again with --positive {shlex.quote(other)}"
        )


def _not_two(target: Candidate, classes: list[Any], written: pl.Series) -> str:
    """Say what a column has in place of two values, and a definition that makes two of them."""
    first = (f"{written.filter(target.values == value)[0]!s:.40}" for value in classes[:4])
    listed = f" ({', '.join(first)}{', ...' if len(classes) > 4 else ''})" if classes else ""
    many = {0: "no value", 1: "one value"}.get(len(classes), f"{len(classes)} values")
    mend = f"choose another column{_event(target, classes)}"
    mend = "change the definition" if target.definition else mend
    rows = len(written)
    return f"target {target.name!r} has {many}{listed} in {rows} rows, and needs two: {mend}"


def _event(column: Candidate, classes: list[Any]) -> str:
    """Return a command's options that make a target of a column of more or fewer values."""
    name, condition = column.name, ""
    if len(classes) == 1 and not column.complete:
        condition = "{} IS NOT NULL"
    elif len(classes) > 2 and column.kind in ("number", "integer"):
        condition = f"{{}} > {short(column.filled.median())}"
    elif 2 < len(classes) <= MAX_LEVELS and column.kind == "category":
        rarest = column.filled.value_counts().sort("count", name)[name].to_list()
        event = min(rarest, key=lambda value: value.strip().casefold() not in HAPPENED)
        condition = "{{}} = '{}'".format(re.sub("([{}'])", r"\1\1", event))
    for quoted in (name, '"{}"'.format(name.replace('"', '""'))) if condition else ():
        text = condition.format(quoted)
        with suppress(ProjectError):
            if definition_columns(text) == [name]:
                text = shlex.quote(text) if re.search(r'["$`!\\]', text) else f'"{text}"'
                new = usable(f"{name} event", "target")
                return f", or make a new one, such as --target {new} --definition {text}"
    return ""


def _positive(name: str, shares: dict[str, float], kind: Kind, told: str | None) -> tuple[str, str]:
    """Return which value of the target is the event, and why; ProjectError when none says so."""
    if told is not None:
        as_target = Column(name=name, kind=kind, role="target")
        read = parse(pl.Series([told]), as_target).cast(pl.String)[0]
        number = Column(name=name, kind="number", role="target")
        said = parse(pl.Series([told, *shares]), number)
        for place, value in enumerate(shares, start=1):
            same = value == read or value.casefold() == told.strip().casefold()
            if same or (said[0] is not None and said[0] == said[place]):
                return value, "named by --positive"
        there = " and ".join(shares)
        raise ProjectError(f"--positive {told!r} is no value of {name!r}: it has {there}")
    plain = {value: value.strip().casefold() for value in shares}
    stem = re.sub(r"^(is|has|was|will)_|_(flag|yn|ind)$", "", personal.snake(name))
    for value, other in itertools.permutations(shares):
        if (plain[value], plain[other]) in AFFIRMED:
            return value, f"{value} says that it happened"
        if re.sub(DENIAL, "", plain[other]) == plain[value]:
            return value, f"{other} says that it did not happen"
        if _alike(plain[value], stem) and not _alike(plain[other], stem):
            return value, "the name of the target says so"
    listed = " or ".join(
        f"{value} ({percent(share)} of the rows)" for value, share in shares.items()
    )
    ways = " or ".join(f"`--positive {shlex.quote(value)}`" for value in shares)
    raise ProjectError(
        f"target {name!r}: which value is the event, {listed}? Nothing says so, and the wrong one "
        f"turns all costs round: add {ways}"
    )


def _alike(value: str, stem: str) -> bool:
    """Whether one is the other with another ending: churned and churn."""
    value = personal.snake(value)
    return min(len(value), len(stem)) > 2 and (value.startswith(stem) or stem.startswith(value))
