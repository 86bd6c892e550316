"""What services make of a request: a champion with decoders of its rows, and its answers."""

import difflib
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import astuple

from .. import dialect, storage
from ..model import wanted
from ..model.history import STATE
from ..model.output import fields
from ..model.scorer import Manifest, Scorer, read_golden
from ..model.values import TYPES, ServedColumn, breach, read_value
from . import expected
from .refusal import Problem, Refused, refused

MAX_PROBLEMS = 100  # a refusal lists no more
MAX_HISTORY = 20_000  # rows of a history in one request
# Of a second: msgspec rounds the seventh digit, every other reader cuts it off.
NANOSECONDS = re.compile(rb":\d\d\.\d{7}")

LISTS = ("rows", "history", *wanted.FIELDS)  # of a request

Rows = Sequence[msgspec.Struct]
# To which a request that is timed has the times added between which its rows are scored.
TIMES: ContextVar[list[int] | None] = ContextVar("times", default=None)


def answer_types(
    manifest: Manifest, keys: Iterable[ServedColumn] = ()
) -> tuple[type[msgspec.Struct], type[msgspec.Struct]]:
    """Return the types of a prediction and of an answer, which is one prediction per row.

    The warning of a prediction, where there is one, names a category that training has not learnt.
    Keys come back as they were sent.
    """
    names = {f"k{index}": column for index, column in enumerate(keys)}
    prediction = msgspec.defstruct(
        "Prediction",
        [
            *fields(manifest.outputs),
            ("warning", str, ""),
            *((name, TYPES[column.kind] | None, None) for name, column in names.items()),
        ],
        frozen=True,
        omit_defaults=True,
        rename={name: column.name for name, column in names.items()},
    )
    numbers = [(name, float) for name in manifest.decision]
    many = ("predictions", Sequence[prediction])  # type: ignore[valid-type]
    answer = msgspec.defstruct("Answer", [("model_version", str), *numbers, many], frozen=True)
    return prediction, answer


class Model:
    """A verified bundle with the decoders of its rows. A reload replaces the whole object."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state_seen = storage.stamp(folder / STATE)
        self.scorer = Scorer.load(folder)
        self.scorer.check_secret()
        self.golden = read_golden(folder, self.scorer.columns)
        self.metrics: dict[str, Any] = storage.read_json(folder / "metrics.json")
        self.columns = {column.name: column for column in self.scorer.sent}
        self.known = {*self.columns, *self.scorer.manifest.ignored}
        # What an object with rows may hold.
        self.fields = {"rows", *self.scorer.wants, *(["history"] if self.scorer.events else [])}
        row = self.scorer.row_type
        self.prediction_type, self.answer_type = answer_types(
            self.scorer.manifest, self.scorer.keys.values()
        )
        # What every answer begins with.
        self.head = (self.scorer.version, *self.scorer.manifest.decision.values())
        self.decode_row = msgspec.json.Decoder(row).decode
        self.decode_rows = msgspec.json.Decoder(list[row]).decode  # type: ignore[valid-type]
        self.read_rows = partial(msgspec.convert, type=list[row])  # type: ignore[valid-type]

    def predict(self, rows: Rows, times: list[int] | None = None) -> list[msgspec.Struct]:
        """Score rows; add to `times`, in ns since 1970, when features began, the model, its end."""
        began = time.time_ns() if times is not None else 0
        encoded, asked = self.scorer.read(rows)
        between = time.time_ns() if times is not None else 0
        answers = self.scorer.told(self.scorer.predict(encoded, asked))
        if times is not None:
            times += [began, between, time.time_ns()]
        found = [column.tolist() for column in answers.values()]
        unseen, keys = self.scorer.unseen(rows, encoded), self.scorer.keys_of(rows)
        return list(map(self.prediction_type, *found, unseen, *keys))

    def rows(self, body: bytes, max_rows: int) -> Rows:
        """Decode one row, a list of rows or {"rows": [...]}; Refused when a rule is broken.

        Beside `rows` there may be a `history` where features look back.
        """
        try:
            one = body.startswith(b"{")
            rows: Rows = [self.decode_row(body)] if one else self.decode_rows(body)
            odd = self.scorer.is_odd(rows) or (self.scorer.has_times and NANOSECONDS.search(body))
            if self._has_others(body, rows) or odd:
                rows = self._checked(body, max_rows)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            rows = self._checked(body, max_rows)
        if len(rows) > max_rows:
            raise _too_many(max_rows)
        return rows

    def rows_of(
        self,
        objects: list[dict[str, Any]],
        body: bytes,
        max_rows: int,
        history: Sequence[dict[str, Any]] = (),
        beside: Mapping[str, Any] | None = None,
    ) -> Rows:
        """Read the rows of a decoded `body` by the same rules; Refused when one is broken.

        `beside` is what the request wants.
        """
        if len(objects) > max_rows:
            raise _too_many(max_rows)
        if history or beside:
            return self._recounted(objects, history, beside or {})
        try:
            rows: Rows = self.read_rows(objects)
        except msgspec.ValidationError:
            return self._read(objects)
        odd = self.scorer.is_odd(rows) or (self.scorer.has_times and NANOSECONDS.search(body))
        others = any(map(self.strangers, objects))
        return self._read(objects) if odd or others else rows

    def strangers(self, row: dict[str, Any]) -> set[str]:
        """Return the fields of a row that the contract does not know."""
        return row.keys() - self.known

    def _has_others(self, body: bytes, rows: Rows) -> bool:
        """Whether rows hold what the contract does not; Refused when an object has a key twice.

        Each value that was read has a colon in the body.
        """
        given = sum(len(values) - values.count(None) for values in map(astuple, rows))
        if body.count(b":") == given:
            return False
        content = msgspec.json.decode(body)  # a null, a time or another field is there
        _refuse_key_twice(body, content)
        objects = content if isinstance(content, list) else [content]
        return any(map(self.strangers, objects))

    def _checked(self, body: bytes, max_rows: int) -> Rows:
        """Decode field by field, so that a refusal can name everything that is wrong at once."""
        try:
            content = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            _, _, fault = dialect.json_fault(body, "").partition(": ")
            hint = fault or "send one row, a list of rows or {rows: [...]}"
            raise refused(400, "not valid JSON", hint) from None
        _refuse_key_twice(body, content)
        beside: dict[str, Any] = {}
        if isinstance(content, dict) and "rows" in content and content.keys() <= self.fields:
            beside = {name: value for name, value in content.items() if name != "rows"}
            content = content["rows"]
        rows = content if isinstance(content, list) else [content]
        if len(rows) > max_rows:
            raise _too_many(max_rows)
        if not beside:
            return self._read(rows)
        return self._recounted(rows, beside.pop("history", []), beside)

    def _recounted(self, rows: list[Any], history: Any, beside: Mapping[str, Any]) -> Rows:
        """Read rows, what their request tells of earlier ones, and what it wants."""
        read = self._read(rows)
        if not isinstance(history, Sequence) or isinstance(history, str):
            raise Refused(422, Problem(None, "history", "type", "send a list of objects"))
        if len(history) > MAX_HISTORY:
            raise refused(413, "too much history", f"send at most {MAX_HISTORY} rows of it")
        told: list[list[Any]] = []
        problems: list[Problem] = []
        for number, row in enumerate(history):
            values: list[Any] = []
            problems += self._history_problems(f"history[{number}]", row, values)
            if len(problems) >= MAX_PROBLEMS:
                break
            told.append(values)
        if problems:
            raise Refused(422, *problems[:MAX_PROBLEMS])
        try:
            return self.scorer.recounted(read, told, beside)
        except wanted.Odd as odd:
            raise Refused(422, Problem(None, odd.place, odd.rule, odd.hint)) from None

    def _history_problems(self, place: str, row: Any, values: list[Any]) -> Iterator[Problem]:
        """Say what is wrong with a row of a history; add to `values` what is read of it."""
        columns = {column.name: column for column in self.scorer.events}
        if not isinstance(row, dict):
            yield Problem(None, place, "type", "send one object per row")
            return
        for name in sorted(row.keys() - columns):
            hint = f"leave it out: a history has {', '.join(columns)}"
            yield Problem(None, f"{place}.{name[:100]}", "unknown field", hint)
        for name, column in columns.items():
            values.append(value := read_value(row.get(name), column))
            if rule := breach(value, column):
                yield Problem(None, f"{place}.{name}", rule, f"send {expected(column)}")

    def _read(self, rows: list[Any]) -> list[msgspec.Struct]:
        read: list[msgspec.Struct] = []
        problems: list[Problem] = []
        for number, row in enumerate(rows):
            values: list[Any] = []
            problems += self._problems(number, row, values)
            if len(problems) >= MAX_PROBLEMS:
                break
            if not problems:
                read.append(self.scorer.row_of(values))
        if problems:
            raise Refused(422, *problems[:MAX_PROBLEMS])
        return read

    def _problems(self, number: int, row: Any, values: list[Any]) -> Iterator[Problem]:
        """Say what is wrong with a row; add to `values` what is read of each column."""
        if not isinstance(row, dict):
            yield Problem(number, None, "type", "send one object per row")
            return
        for name in sorted(self.strangers(row)):
            near = difflib.get_close_matches(name[:100], self.columns, 1)
            hint = f"did you mean {near[0]}?" if near else "leave it out"
            yield Problem(number, name[:100], "unknown field", hint)
        for name, column in self.columns.items():
            value = read_value(row.get(name), column)
            values.append(value)
            if rule := breach(value, column):
                yield Problem(number, name, rule, f"send {expected(column)}")


def _refuse_key_twice(body: bytes, content: Any) -> None:
    lists = [content.get(name) for name in LISTS] if isinstance(content, dict) else [content]
    objects = [content, *(each for some in lists if isinstance(some, list) for each in some)]
    keys = sum(len(found) for found in objects if isinstance(found, dict))
    if (key := dialect.key_twice(body, keys)) is not None:
        raise Refused(422, Problem(None, key[:100], "key twice", "send it once"))


def _too_many(max_rows: int) -> Refused:
    return refused(413, "too many rows", f"send at most {max_rows} rows at once")
