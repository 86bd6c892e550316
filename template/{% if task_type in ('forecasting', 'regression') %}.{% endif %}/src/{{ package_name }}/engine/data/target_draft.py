"""What a draft takes for the number to predict: its unit, its limits, and doubts about it."""

from collections.abc import Collection, Iterator
from typing import Any

import polars as pl

from .. import task
from ..errors import ProjectError
from ..formats import count, number
from . import personal
from .candidate import Candidate, short
from .contract import Kind
from .marks import FEW_VALUES, doubt, marks
from .target import absurd

DEFINED = "number for each row"
# An amount as people write it, and the marks around it that make it text.
AMOUNT = r"^\s*[^\d\s-]{0,4}\s*-?\d[\d.,' ]*\s*[^\d\s]{0,8}\s*$"
UNITS = {
    *("eur", "usd", "gbp", "chf", "jpy", "sek", "nok", "dkk", "pln", "czk", "inr", "brl"),
    *("seconds", "secs", "minutes", "mins", "hours", "hrs", "days", "weeks", "months", "years"),
    *("mm", "cm", "km", "miles", "sqm", "sqft", "m2", "kg", "grams", "tons", "lbs", "liters"),
    *("kwh", "mwh", "kw", "mw", "celsius", "percent", "pct", "ms", "gb", "mb", "units", "pieces"),
}
UNANSWERED = "units"  # the default of the question
MIN_ROWS = 200  # fewer rows are few to learn a number from


def kind(dtype: pl.DataType) -> Kind | None:
    """Return the kind of a target whose definition gives this type, None when it makes none."""
    if not dtype.is_numeric():
        return None
    return "integer" if dtype.is_integer() else "number"


def answered(target: str, answers: dict[str, Any], columns: Collection[str]) -> str | None:
    """Return the unit that the plan's answers give this target; another of its name goes first."""
    unit = str(answers.get("target_unit") or UNANSWERED)
    if unit == UNANSWERED or target != answers["target"]:
        return None
    return unit if _named(target) in ("", unit.casefold()) else None


def _named(target: str) -> str:
    """Return the unit that ends the name of a column, or ""."""
    word = personal.snake(target).rpartition("_")[2]
    return word if word in UNITS else ""


def defined(told: str | None, columns: Collection[str]) -> str | None:
    """Return the definition of a target that `told` names the columns of: None."""
    return None


def propose(target: Candidate, written: pl.Series, told: str | None) -> tuple[pl.Series, str]:
    """Give the target its unit and limits; `written` is the column as the file has it.

    Return its values, null where they are missing or not finite, and what was decided.
    """
    if reason := _refused(target, written):
        raise ProjectError(f"target {target.name!r} {reason}")
    y = target.values.cast(pl.Float64)
    y = y.set(~y.is_finite(), None)
    known = y.drop_nulls()
    unit, said = told.strip() if told else "", "named by you or the plan's answers"
    if not unit and (unit := _named(target.name)):
        said = "its name says so"
    target.notes += (("target", doubt) for doubt in _doubts(target, y, unit))
    if unit:
        target.extra["unit"] = unit
    target.extra["observed"] = {"mean": short(known.mean()), "std": short(known.std() or 0)}
    if known.min() >= 0:  # type: ignore[operator]
        target.options["minimum"] = 0
    figures = known.min(), known.mean(), known.median(), known.max()
    low, mean, middle, high = (number(value) for value in figures)  # type: ignore[arg-type]
    unit = f" {unit} ({said})" if unit else ""
    rows = number(len(known))
    return y, f"a number from {low} to {high}{unit}, mean {mean}, median {middle}, in {rows} rows"


def _refused(target: Candidate, written: pl.Series) -> str:
    """Say why a column is no number to predict, and what to do, or ""."""
    different, rows = target.different, len(target.values)
    new = "change the definition" if target.definition else "choose another column"
    if target.kind == "category" and different:
        texts = target.filled
        first = f"such as {texts[0]!r:.40}"
        if texts.str.contains(AMOUNT).mean() >= 0.9:  # type: ignore[operator]
            return (
                f"is text that looks like numbers, {first}: write plain numbers in the source, "
                "such as 1200.5, without currency, unit or thousands separators"
            )
        return f"is text, {first}: a {task.SAID} predicts a number, so {new}"
    if target.kind not in ("number", "integer"):
        many = "true and false" if target.kind == "boolean" else "dates"
        many = many if different else "no values"
        return f"has {many} in {rows} rows: a {task.SAID} predicts a number, so {new}"
    if different < 3:
        listed = " and ".join(number(value) for value in target.filled.unique().sort().to_list())
        only = f"only {listed}" if listed else "no value"
        return f"has {only} in {rows} rows: a {task.SAID} needs a number that differs, so {new}"
    return ""


def _doubts(target: Candidate, y: pl.Series, unit: str) -> Iterator[str]:
    known = y.drop_nulls()
    if missing := y.null_count():
        yield f"missing in {count(missing, 'row')}: nothing is learnt from them"
    if len(known) < MIN_ROWS:
        yield f"only {count(len(known), 'row')}: few to learn from and to judge a model by"
    if target.different < FEW_VALUES:
        yield (
            f"only {target.different} different values: if they are {task.MARKS}, a {task.SAID} "
            "is the wrong kind of task"
        )
    if not unit:
        yield "what is its unit? Errors and intervals are told in it: draft again with --unit"
    if len(same := marks(known)):
        yield doubt(same)
    if len(far := absurd(known)):
        worst = number(far[(far - known.median()).abs().arg_max()])  # type: ignore[index]
        yield (
            f"{count(len(far), 'row')} absurdly far from the others, such as {worst}: mend the "
            "source, or set minimum and maximum in logicalTypeOptions"
        )
