"""Arrow columns to the model's matrix: what `ml validate` and the scorer do, for a whole batch.

pyarrow ships no types, so its objects are `Any` here.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..dialect import (
    BOOLEANS,
    DECIMAL_COMMA,
    LEVEL,
    LONG_LEVEL,
    MISSING,
    NUMBER,
    THOUSANDS,
    WHOLE,
    is_whole,
    level,
    text,
)
from ..model.scorer import (
    LARGEST,
    MICROSECONDS_A_DAY,
    UNSEEN,
    NumericFeature,
    Scorer,
    ServedColumn,
    read_moment,
    read_value,
)

WORDS = pa.array(MISSING)
TRUE, FALSE = (pa.array([w for w, v in BOOLEANS.items() if v is said]) for said in (True, False))
NUMERIC = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
NO_TEXT = (
    *(pa.types.is_nested, pa.types.is_duration, pa.types.is_binary, pa.types.is_large_binary),
    *(pa.types.is_binary_view, pa.types.is_fixed_size_binary),
)
TYPES = {"category": pa.string(), "date": pa.date32(), "timestamp": pa.timestamp("us")}
# The ISO 8601 that Arrow reads as `read_moment` does.
PLAIN_MOMENT = {
    "date": "^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}$",
    "timestamp": "^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}"
    r"([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?)?$",
}
PARTS: dict[str, Callable[[Any], Any]] = {
    "value": lambda values: values,
    "year": pc.year,
    "month": pc.month,
    "day": pc.day,
    "weekday": lambda values: pc.day_of_week(values, count_from_zero=False, week_start=1),
    "hour": pc.hour,
    "minute": pc.minute,
}


class Encoded(NamedTuple):
    """The matrix that `scorer.encode_rows` gives, each row's problem and warning or null."""

    matrix: NDArray[np.float32]
    problem: Any
    warning: Any


def encode(scorer: Scorer, batch: Any) -> Encoded:
    """Read, check and encode the rows of a batch.

    The problem is the first rule that a row breaks, the warning the first category that training
    has not learnt.
    """
    warning = pa.nulls(batch.num_rows, pa.string())
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
            levels = pa.array(map(level, category.levels), pa.string())
            texts = typed[category.column]
            codes = pc.index_in(texts.fill_null(""), value_set=levels)
            matrix[:, index] = codes.fill_null(len(levels)).to_numpy()
            if codes.null_count:
                unseen = pc.and_(pc.and_(codes.is_null(), texts.is_valid()), warning.is_null())
                warning = pc.if_else(unseen, f"{category.column}: {UNSEEN}", warning)
    return Encoded(matrix, problem, warning)


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
        values = _levels(raw)
    elif column.kind in ("date", "timestamp"):
        values = _moments(raw, column)
    else:
        if column.decimal_comma and pa.types.is_string(raw.type):
            raw = _with_point(raw)
        values = _numbers(raw, column)
    return pa.nulls(len(raw), TYPES.get(column.kind, pa.float64())) if values is None else values


def _levels(raw: Any) -> Any:
    texts = _texts(raw)
    may_be_whole = texts is not None and pc.any(pc.ends_with(texts, "0")).as_py()
    return pc.replace_substring_regex(texts, LONG_LEVEL, LEVEL) if may_be_whole else texts


def _texts(raw: Any) -> Any:
    if pa.types.is_string(raw.type):
        return raw
    if pa.types.is_timestamp(raw.type):  # in UTC, of one precision
        return raw.cast(pa.timestamp("us"), safe=False).cast(pa.string())
    if pa.types.is_decimal(raw.type) or pa.types.is_floating(raw.type):
        raw = raw.cast(pa.float64())
        return _each(raw, lambda value: None if math.isnan(value) else text(value), pa.string())
    if pa.types.is_time(raw.type):
        return _each(raw, lambda value: value if value is None else str(value), pa.string())
    return None if any(is_kind(raw.type) for is_kind in NO_TEXT) else raw.cast(pa.string())


def _moments(raw: Any, column: ServedColumn) -> Any:
    type = TYPES[column.kind]
    if pa.types.is_string(raw.type):
        trimmed = pc.utf8_trim_whitespace(raw)
        plain = pc.match_substring_regex(trimmed, PLAIN_MOMENT[column.kind])
        if pc.all(plain).as_py():
            with suppress(pa.ArrowInvalid):  # such as 30 February
                return trimmed.cast(type)
        return _each(trimmed, lambda text: read_moment(text, column), type)
    if not pa.types.is_date(raw.type) and not pa.types.is_timestamp(raw.type):
        return None
    read = raw.cast(type, safe=False)
    if column.kind == "date" and pa.types.is_timestamp(raw.type):
        utc = raw.cast(pa.timestamp(raw.type.unit))
        return pc.if_else(pc.equal(utc, read.cast(utc.type, safe=False)), read, None)
    return read


def _with_point(raw: Any) -> Any:
    text = pc.utf8_trim_whitespace(raw)
    plain = pc.replace_substring(pc.replace_substring_regex(text, THOUSANDS, ""), ",", ".")
    return pc.if_else(pc.match_substring_regex(text, DECIMAL_COMMA), plain, text)


def _numbers(raw: Any, column: ServedColumn) -> Any:
    kind, read = column.kind, raw
    if pa.types.is_string(raw.type) and kind != "boolean" and (found := _plain_numbers(raw)):
        read = found
    elif pa.types.is_string(raw.type):
        lower = pc.utf8_lower(pc.utf8_trim_whitespace(raw))
        if kind == "boolean":
            lower = pc.if_else(pc.is_in(lower, value_set=FALSE), "0", lower)
            lower = pc.if_else(pc.is_in(lower, value_set=TRUE), "1", lower)
        read = pc.if_else(pc.match_substring_regex(lower, NUMBER), lower, None)
    elif kind == "boolean" and pa.types.is_boolean(raw.type):
        return raw.cast(pa.float64())
    elif not any(is_kind(raw.type) for is_kind in NUMERIC):
        return None
    values = read.cast(pa.float64(), safe=False)
    if kind == "integer":
        size = pc.abs(values)
        good = pc.and_(pc.equal(values, pc.floor(values)), pc.less(size, float(WHOLE)))
        edge = pc.equal(size, float(WHOLE)).fill_null(False)
        if pc.any(edge).as_py():  # the limits of 64 bits, which floats do not tell apart
            both = zip(edge.to_pylist(), raw.to_pylist(), strict=True)
            whole = [is_edge and is_whole(read_value(value, column)) for is_edge, value in both]
            good = pc.or_(good, pa.array(whole))
    elif kind == "boolean":
        good = pc.or_(pc.equal(values, 0), pc.equal(values, 1))
    else:
        good = pc.invert(pc.is_nan(values))
    return pc.if_else(good, values, None)


def _plain_numbers(raw: Any) -> Any:
    """Return the numbers where Arrow reads every text, which is less than NUMBER and never else."""
    with suppress(pa.ArrowInvalid):
        values = raw.cast(pa.float64())
        return None if pc.any(pc.is_nan(values)).as_py() else values
    return None


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
