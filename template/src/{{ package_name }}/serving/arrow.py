"""Arrow columns to the model's matrix: what `ml validate` and the scorer do, for a whole batch.

pyarrow ships no types, so its objects are `Any` here.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..dialect import BOOLEANS, DECIMAL_COMMA, MISSING, NUMBER, THOUSANDS
from ..scorer import (
    LARGEST,
    MICROSECONDS_A_DAY,
    UNSEEN,
    NumericFeature,
    Scorer,
    ServedColumn,
    read_moment,
)

WORDS = pa.array(MISSING)
TRUE, FALSE = (pa.array([w for w, v in BOOLEANS.items() if v is said]) for said in (True, False))
NUMERIC = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
TYPES = {"category": pa.string(), "date": pa.date32(), "timestamp": pa.timestamp("us")}
PARTS: dict[str, Callable[[Any], Any]] = {
    "value": lambda values: values,
    "year": pc.year,
    "month": pc.month,
    "day": pc.day,
    "weekday": lambda values: pc.day_of_week(values, count_from_zero=False, week_start=1),
    "hour": pc.hour,
    "minute": pc.minute,
}


def encode(scorer: Scorer, batch: Any) -> tuple[NDArray[np.float32], Any]:
    """Return the matrix that `scorer.encode_rows` gives for these rows, and each row's problem."""
    problem = pa.nulls(batch.num_rows, pa.string())
    typed = {}
    for column in scorer.columns:
        raw = clear(batch.column(column.name))
        values = typed[column.name] = read(raw, column)
        for rule, broken in _broken(raw, values, column):
            first = pc.and_(broken, pc.is_null(problem))
            problem = pc.if_else(first, f"{column.name}: {rule}", problem)
    matrix = np.empty((batch.num_rows, len(scorer.spec.names)), dtype=np.float32)
    with np.errstate(over="ignore"):
        for index, number in enumerate(scorer.spec.numeric):
            values = _number(number, typed)
            matrix[:, index] = values.fill_null(float("nan")).to_numpy()
        for index, category in enumerate(scorer.spec.categorical, len(scorer.spec.numeric)):
            levels = pa.array(category.levels, pa.string())
            codes = pc.index_in(typed[category.column].fill_null(""), value_set=levels)
            matrix[:, index] = codes.fill_null(len(levels)).to_numpy()
    return matrix, problem


def _number(feature: NumericFeature, typed: dict[str, Any]) -> Any:
    values = typed[feature.column]
    if feature.part != "elapsed":
        return PARTS[feature.part](values).cast(pa.float64())
    moment = TYPES["timestamp"]
    end = typed[feature.until].cast(moment) if feature.until else feature.reference_moment
    passed = pc.subtract(pa.scalar(end, moment) if feature.reference else end, values.cast(moment))
    return pc.divide(
        passed.cast(pa.int64()).cast(pa.float64(), safe=False), float(MICROSECONDS_A_DAY)
    )


def _broken(raw: Any, values: Any, column: ServedColumn) -> Iterator[tuple[str, Any]]:
    """Give the rules that rows break, in the words and order of `ml validate`, with their rows."""
    present = raw.is_valid()
    if pa.types.is_string(raw.type):
        text = raw if column.kind == "category" else pc.utf8_trim_whitespace(raw)
        present = pc.and_(present, pc.not_equal(text, "").fill_null(False))
    elif pa.types.is_floating(raw.type):
        present = pc.and_(present, pc.invert(pc.is_nan(raw)).fill_null(False))
    rules = {"type": pc.and_(present, values.is_null())}
    if column.required:
        rules["required"] = pc.invert(present)
    if column.kind == "number":
        rules["infinite"] = pc.greater(pc.abs(values), LARGEST)
    if column.minimum is not None:
        rules["minimum"] = pc.less(values, column.minimum)
    if column.maximum is not None:
        rules["maximum"] = pc.greater(values, column.maximum)
    if column.levels:
        known = pc.is_in(values, value_set=pa.array(column.levels), skip_nulls=True)
        rules["levels"] = pc.and_(values.is_valid(), pc.invert(known))
    for rule, broken in rules.items():
        if pc.any(broken).as_py():
            yield rule, broken.fill_null(False)


def read(raw: Any, column: ServedColumn) -> Any:
    """Read values as the contract's kind says, null where missing or impossible.

    Numbers, integers and booleans become float64, categories text, dates date32, timestamps
    microseconds in UTC. The rules are those of `ml validate`.
    """
    if column.kind == "category":
        values = _texts(raw)
    elif column.kind in ("date", "timestamp"):
        values = _moments(raw, column)
    else:
        if column.decimal_comma and pa.types.is_string(raw.type):
            raw = _with_point(raw)
        values = _numbers(raw, column.kind)
    return pa.nulls(len(raw), TYPES.get(column.kind, pa.float64())) if values is None else values


def _texts(raw: Any) -> Any:
    if pa.types.is_string(raw.type):
        return raw
    if pa.types.is_floating(raw.type):
        return _each(raw, repr, pa.string())
    nested = pa.types.is_nested(raw.type) or pa.types.is_binary(raw.type)
    return None if nested else raw.cast(pa.string())


def _moments(raw: Any, column: ServedColumn) -> Any:
    type = TYPES[column.kind]
    if pa.types.is_string(raw.type):
        trimmed = pc.utf8_trim_whitespace(raw)
        return _each(trimmed, lambda text: read_moment(text, column), type)
    known = pa.types.is_date(raw.type) or pa.types.is_timestamp(raw.type)
    return raw.cast(type, safe=False) if known else None


def _with_point(raw: Any) -> Any:
    text = pc.utf8_trim_whitespace(raw)
    plain = pc.replace_substring(pc.replace_substring_regex(text, THOUSANDS, ""), ",", ".")
    return pc.if_else(pc.match_substring_regex(text, DECIMAL_COMMA), plain, "unreadable")


def unseen(scorer: Scorer, batch: Any, matrix: NDArray[np.float32]) -> Any:
    """Return for each row the first category that training has not learnt, as a text or null."""
    found = pa.nulls(batch.num_rows, pa.string())
    kinds = {column.name: column for column in scorer.columns}
    for index, category in enumerate(scorer.spec.categorical, len(scorer.spec.numeric)):
        other = matrix[:, index] == len(category.levels)
        if other.any():
            present = read(clear(batch.column(category.column)), kinds[category.column]).is_valid()
            marked = pc.and_(pc.and_(pa.array(other), present), pc.is_null(found))
            found = pc.if_else(marked, f"{category.column}: {UNSEEN}", found)
    return found


def _numbers(raw: Any, kind: str) -> Any:
    if pa.types.is_string(raw.type):
        text = pc.utf8_lower(pc.utf8_trim_whitespace(raw))
        if kind == "boolean":
            no = pc.if_else(pc.is_in(text, value_set=FALSE), 0.0, None)
            return pc.if_else(pc.is_in(text, value_set=TRUE), 1.0, no)
        raw = pc.if_else(pc.match_substring_regex(text, NUMBER), text, None)
    elif not any(is_kind(raw.type) for is_kind in NUMERIC):
        return None
    values = raw.cast(pa.float64(), safe=False)
    if kind == "integer":
        # Whole, and within 64 bits; an infinity is neither.
        good = pc.and_(pc.equal(values, pc.floor(values)), pc.less_equal(pc.abs(values), 2.0**63))
    elif kind == "boolean":
        good = pc.or_(pc.equal(values, 0), pc.equal(values, 1))
    else:
        good = pc.invert(pc.is_nan(values))
    return pc.if_else(good, values, None)


def plain(type: Any) -> Any:
    """Return the type without dictionaries and with one kind of text."""
    type = type.value_type if pa.types.is_dictionary(type) else type
    texts = (pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return pa.string() if any(is_text(type) for is_text in texts) else type


def clear(raw: Any) -> Any:
    """Return a column in its plain type, with null for the texts that mean a missing value."""
    raw = raw.cast(plain(raw.type))
    return (
        pc.if_else(pc.is_in(raw, value_set=WORDS), None, raw)
        if pa.types.is_string(raw.type)
        else raw
    )


def _each(values: Any, convert: Callable[[Any], Any], type: Any) -> Any:
    """Convert every distinct value once."""
    encoded = values.dictionary_encode()
    converted = [convert(value) for value in encoded.dictionary.to_pylist()]
    return pa.array(converted, type).take(encoded.indices)
