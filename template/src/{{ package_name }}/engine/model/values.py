"""What callers send of a row: columns with their rules, and how a value is read and refused."""

import datetime as dt
import math
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from .. import dialect, kinds, privacy
from ..kinds import READ, Kind

LARGEST = float(np.finfo(np.float32).max)
TYPES: dict[str, Any] = {  # Any: with None they are unions, which no type is
    "number": float,
    "integer": int,
    "boolean": bool,
    "category": str,
    "date": dt.date,
    "timestamp": dt.datetime,
    **dict.fromkeys(READ, str),
}


class ServedColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A column of the data contract that callers send; `maximum` of a text is its length.

    A `key` says which row it is: it comes back with the answer. What is not `used` is no input of
    the model, and never required. No answer depends on an `idle` one, which may be left out.
    """

    name: str
    kind: Kind
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    levels: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    decimal_comma: bool = False
    thousands_comma: bool = False
    personal: bool = False
    pseudonym: bool = False
    description: str = ""
    example: str | float | bool | None = None
    longest: int | None = None  # of a text, in characters
    key: bool = False
    used: bool = True
    idle: bool = False

    def public(self) -> "ServedColumn":
        """Return what callers may read of the column.

        That is of a personal one neither its description, which
        `ml contract infer` writes from its values, nor limits, levels and example.
        """
        if not privacy.hidden(self):
            return self
        return msgspec.structs.replace(
            self, description="", minimum=None, maximum=None, levels=(), example=None
        )


def example(column: ServedColumn) -> str | float | bool:
    """Give a value that the contract allows in `column`."""
    if column.example is not None:
        return column.example
    if column.levels:
        return column.levels[0]
    low, high = column.minimum, column.maximum
    number = low if low is not None else min(1, high) if high is not None else 1
    return {
        "number": number,
        "integer": math.ceil(number),
        "boolean": True,
        "category": "text",
        **kinds.EXAMPLES,
        "date": "2026-01-31",
        "timestamp": "2026-01-31T08:30:00",
    }[column.kind]


def row_type(columns: Sequence[ServedColumn], *, closed: bool = True) -> type[msgspec.Struct]:
    """Build the typed request row: wrong types and ranges are refused, other names if `closed`.

    Its decoder takes plainly written rows at once; what it refuses `read_row` looks at again. The
    texts of `dialect.MISSING` mean missing, as they do in training.
    """
    words = "|".join(dialect.MISSING)
    fields: list[tuple[str, Any, Any]] = []
    for index, column in enumerate(columns):
        kind: Any = TYPES[column.kind]
        low, high = column.minimum, column.maximum
        limits: dict[str, float | None] = {"ge": low, "le": high}
        if column.kind == "text":
            limits = {"max_length": None if high is None else int(high)}
            kind = Annotated[kind, msgspec.Meta(pattern=_text_pattern(column.required))]
        if column.kind == "number":
            limits = {
                "ge": -LARGEST if low is None else low,
                "le": LARGEST if high is None else high,
            }
        if column.kind == "integer":
            least, most = -dialect.WHOLE, dialect.WHOLE - 1
            limits = {
                "ge": least if low is None else max(least, math.ceil(low)),
                "le": most if high is None else min(most, math.floor(high)),
            }
        elif column.longest is not None:
            kind = Annotated[kind, msgspec.Meta(max_length=column.longest)]
        elif column.levels:
            levels = tuple(x for x in column.levels if x not in dialect.MISSING)
            kind = Literal[levels if column.required else (*levels, "")]
        elif column.kind == "category" and column.required:
            kind = Annotated[kind, msgspec.Meta(pattern=rf"^(?!\s*({words})\s*$)")]
        if any(limit is not None for limit in limits.values()):
            kind = Annotated[kind, msgspec.Meta(**limits)]  # type: ignore[arg-type]
        default = msgspec.NODEFAULT if column.required else None
        fields.append((f"f{index}", kind if column.required else kind | None, default))
    # Column names need not be Python identifiers, so fields are numbered and renamed.
    names = {f"f{index}": column.name for index, column in enumerate(columns)}
    return msgspec.defstruct(
        "Row",
        fields,
        rename=names,
        kw_only=True,
        frozen=True,
        forbid_unknown_fields=closed,
        gc=False,
    )


def _text_pattern(required: bool) -> str:
    """Return what a text is like: without NUL, and where it is required no word for nothing."""
    words = "|".join(map(re.escape, dialect.MISSING))
    return r"^(?!(" + words + r")$)(?=\s*\S)[^\x00]*$" if required else r"^[^\x00]*$"


def utc(moment: Any) -> Any:
    """Turn a time with an offset into UTC, as validation does."""
    if isinstance(moment, dt.datetime) and moment.tzinfo:
        return moment.astimezone(dt.UTC)
    return moment


def read_value(value: Any, column: ServedColumn) -> Any:
    """Return a value of JSON as `ml validate` reads it, or as it is where it cannot be read."""
    if not column.used and isinstance(value, str) and column.kind == "category":
        return None if value in dialect.MISSING else value  # it comes back as it was sent
    value = dialect.plain(value, column.kind, column.decimal_comma, column.thousands_comma)
    if isinstance(value, int) and {*column.formats} & dialect.EPOCHS.keys():
        value = str(value)
    if column.kind not in ("date", "timestamp") or not isinstance(value, str):
        return value
    return read_moment(value, column) or value


def breach(value: Any, column: ServedColumn) -> str:
    """Return the first rule that a value of `read_value` breaks, in the words of `ml validate`."""
    if value is None or value == "":
        return "required" if column.required else ""
    is_read = type(value) is TYPES[column.kind]
    if not is_read or (column.kind == "integer" and not dialect.is_whole(value)):
        return "type"
    if column.kind == "number" and not abs(value) <= LARGEST:
        return "infinite"
    if column.kind == "text":
        if "\x00" in value:
            return "NUL"
        return "length" if column.maximum is not None and len(value) > column.maximum else ""
    if column.kind in READ:
        return kinds.fault(value, column.kind)
    if column.minimum is not None and value < column.minimum:
        return "minimum"
    if column.maximum is not None and value > column.maximum:
        return "maximum"
    if column.longest is not None and len(value) > column.longest:
        return "length"
    return "levels" if column.levels and dialect.level(value) not in column.levels else ""


def read_moment(text: str, column: ServedColumn) -> dt.date | None:
    """Read an ISO 8601 date or time or one of the contract's formats; offsets become UTC."""
    for fits, form in _moment_forms(column.kind, column.formats):
        if not fits(text):
            continue
        try:
            moment = _moment_of(text, form)
        except (ValueError, OverflowError):  # an offset can lead out of the calendar
            continue
        if moment.year >= 1000:
            return moment.date() if column.kind == "date" else moment
    return None


@cache
@cache
def _moment_forms(
    kind: str, formats: tuple[str, ...]
) -> tuple[tuple[Callable[..., Any], str], ...]:
    """Return what texts fit, and how they are read; "" is ISO 8601."""
    patterns = {"": dialect.ISO[kind]} | {form: dialect.pattern(form) for form in formats}
    return tuple((re.compile(pattern).fullmatch, form) for form, pattern in patterns.items())


def _moment_of(text: str, form: str) -> dt.datetime:
    if form in dialect.EPOCHS:
        moment = dt.datetime(1970, 1, 1) + dt.timedelta(
            microseconds=int(text) * dialect.EPOCHS[form]
        )
    elif not form:
        moment = dt.datetime.fromisoformat(text.upper())
    else:
        if "%.f" in form:  # what Polars calls digits of a second that may be missing
            has_digits = re.search(r":\d+\.\d+", text)
            form = form.replace("%.f", ".%f" if has_digits else "")
            text = re.sub(r"(:\d+\.\d{6})\d+", r"\1", text)
        moment = dt.datetime.strptime(text, form)
    return moment.astimezone(dt.UTC).replace(tzinfo=None) if moment.tzinfo else moment
