"""One row, one reading: a value is taken or refused alike, whichever way it comes in."""

import csv
import datetime as dt
import decimal
import io
import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import helpers.package  # noqa: F401  makes `package_name` importable
import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_serving_unit import CONTRACT, EVERY_KIND, TEXTS, scorer_of, scorer_of_every_kind

from package_name import features
from package_name.engine import dialect
from package_name.engine import parquet as parquet_files
from package_name.engine.data import inference, ingest, reading, validation
from package_name.engine.data.contract import Column, Contract
from package_name.engine.errors import ProjectError
from package_name.engine.features import encode
from package_name.engine.model import bundle
from package_name.engine.model.scorer import Scorer
from package_name.engine.model.values import breach, read_value
from package_name.engine.serving import batch, requests
from package_name.engine.serving.refusal import Refused

words = str.split
GOOD = {"n": 1, "i": 1, "b": True, "c": "a", "l": "x", "d": "2024-01-01", "t": "2024-01-01"}
NUMBERS = words("""+ - e5 1e ++1 1. -.5 +.5e-3 ١٢ １２ 1,000.5 NAN Nan +nan None na n/a Null INF
+Infinity infin TRUE False YES on 0.0 1.0 -0 01 1e0 0x1p3 9223372036854775808 -9223372036854775808
-9223372036854775809 9223372036854775807.0 1e-400 3.4028234663852886e38 3.4028235677973366e38
2.0 2.00 -2.0 +2.0 -0.0 007.0 2.50 1e39 1_0 ∞ ½ ² 𝟙 −5 é É""")
TIMES = words("""2024-01-01T00:00:00Z 2024-01-01t00:00:00z 2024-01-01T24:00:00 2024-01-01T23:59:60
2024-01-01T00:00:00.123456789 2024-01-01T23:59:59.9999999Z 2024-01-01T00:00:00,5
2024-01-01T00:00:00+24:00 2024-01-01T00:00:00-23:59 2024-01-01T00:00:00+0530
2024-01-01T00:00:00+05 9999-12-31T23:59:59-05:00 9999-12-31T23:59:59 1000-01-01T00:00:00+05:00
0999-12-31T23:59:59-05:00 10000-01-01 0999-12-31 2024-1-1 24-01-01 2024-01-01T1:2:3 2024-01-01T10
2024-01-01T1030 20240101T103000 2024-001 2024-01-01T 2024-01-01T00:00Z 2024-01-01T00:00+01:00
2024-01-01T00:00:00[Europe/Berlin] ２０２４-01-01 32.01.2024 01.01.24""")
MARKS = ["\0", "\x1c", "\x85", "\xa0", "\u200b", "\u2003", "\u3000", "\ufeff", "\t", "\n", "\r"]
AROUND = [mark + text for mark in MARKS for text in ("", "1", "true", "2024-01-01", "a")]
QUOTES = ['"', '""', 'a"b', "a,b", "a;b", "a\r\nb", "1 000", "2024-01-01 00:00:00+00:00", "a "]
INTEGERS = [0, -1, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), -(2**63) - 1, 10**30, 10**400]
FLOATS = [0.0, 1.0, 2.5, 1e6 + 0.5, 1e22, -3.5e38, 5e-324]
VALUES = [None, True, False, *INTEGERS, *FLOATS, *TEXTS, *NUMBERS, *TIMES, *AROUND, *QUOTES]


@pytest.fixture(autouse=True, scope="module")
def our_own_parquet():
    """Nobody looks for damage in files that a test has just written, which takes 0.5 s for each."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parquet_files, "_is_whole", lambda source: True)
        yield


def test_blanks_around_a_category_are_no_part_of_it() -> None:
    texts = [" a", "a\t", "2.0 ", "  ", " NA ", "a b"]
    known = ["a", "a", "2", None, None, "a b"]
    column = Column(name="c", kind="category", role="feature", required=True)
    checked = validation.check(pl.Series("c", texts), column, required=True)
    assert checked.values.to_list() == known
    assert [rule for rule, _ in checked.broken] == ["required"]
    assert [dialect.plain(text, "category") for text in texts] == known
    found = inference.infer(pl.Series("c", [" a", "a", "  "]))
    said = "1 values are read without blanks around: ' a'; 1 are nothing but blanks: missing"
    assert found is not None and found.doubts == [("blanks", said)]


@pytest.fixture(scope="module")
def fitted() -> Scorer:
    return scorer_of_every_kind()


def cell(value: Any) -> str:
    """Return a value of JSON as CSV holds it."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def as_csv(rows: list[dict]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([list(GOOD), *([cell(row[name]) for name in GOOD] for row in rows)])
    return text.getvalue().encode()


def as_lines(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row) + "\n\n" for row in rows).encode()


def as_list(rows: list[dict]) -> bytes:
    return json.dumps(rows).encode()


def as_parquet(rows: list[dict]) -> bytes:
    buffer = io.BytesIO()
    texts = {
        name: [None if row[name] is None else cell(row[name]) for row in rows] for name in GOOD
    }
    pl.DataFrame(texts, schema=dict.fromkeys(GOOD, pl.String)).write_parquet(buffer)
    return buffer.getvalue()


def ingested(scorer: Scorer, path: Path) -> Iterator[Any]:
    frame = ingest.read_table(path).with_row_index("row")
    checked = validation.apply(CONTRACT, frame, labelled=False)
    refused = dict(zip(checked.rejected["row"], checked.rejected["_rules"].to_list(), strict=True))
    encoded = iter(encode(scorer.spec, checked.valid).tolist())
    for row in range(frame.height):
        yield refused[row][0] if row in refused else next(encoded)


def scored(scorer: Scorer, path: Path) -> Iterator[Any]:
    for part in batch.open_source(path, scorer.columns, [], "utf-8").stretches:
        found = batch.encode(scorer, part)
        for row, problem in zip(found.matrix.tolist(), found.problem.to_list(), strict=True):
            yield problem or row


def served(scorer: Scorer, row: dict) -> Any:
    """Answer a request as the service does: the plain way first, then field by field."""
    return answered(scorer, json.dumps(row).encode())


def answered(scorer: Scorer, body: bytes) -> Any:
    model = requests.Model.__new__(requests.Model)
    model.__dict__ |= vars(
        SimpleNamespace(
            scorer=scorer,
            columns={column.name: column for column in scorer.columns},
            fields={"rows"},
            known={*GOOD, *scorer.manifest.ignored},
            decode_row=msgspec.json.Decoder(scorer.row_type).decode,
            decode_rows=msgspec.json.Decoder(list[scorer.row_type]).decode,
        )
    )
    try:
        (encoded,) = scorer.encode_rows(model.rows(body, 1))
    except Refused as refusal:
        first = refusal.problems[0]
        return f"{first.field}: {first.problem}"
    return encoded.tolist()


WAYS = {"t.csv": as_csv, "t.jsonl": as_lines, "t.json": as_list, "t.parquet": as_parquet}


def agree(scorer: Scorer, folder: Path, rows: list[dict]) -> None:
    expected = [served(scorer, row) for row in rows]
    for name, write in WAYS.items():
        (folder / name).write_bytes(write(rows))
        for read in (ingested, scored):
            found = list(read(scorer, folder / name))
            assert len(found) == len(rows), (name, read)
            for row, ours, theirs in zip(rows, found, expected, strict=True):
                where = (name, read.__name__, row, ours, theirs)
                if isinstance(theirs, str):
                    assert ours == theirs, where
                else:
                    assert not isinstance(ours, str) and np.array_equal(ours, theirs, True), where


@pytest.mark.parametrize("name", GOOD)
def test_each_hostile_value_is_read_or_refused_alike_in_every_way_in(fitted, tmp_path, name):
    agree(fitted, tmp_path, [GOOD, *(GOOD | {name: value} for value in VALUES)])


@settings(max_examples=25)
@given(st.lists(st.fixed_dictionaries({n: st.sampled_from(VALUES) for n in GOOD}), max_size=4))
def test_random_rows_are_read_or_refused_alike_in_every_way_in(fitted, tmp_path_factory, rows):
    agree(fitted, tmp_path_factory.mktemp("ways"), [GOOD, *rows])


@settings(max_examples=40)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), st.sampled_from(list(GOOD)))
def test_any_text_is_read_or_refused_alike_in_every_way_in(fitted, tmp_path_factory, text, name):
    agree(fitted, tmp_path_factory.mktemp("ways"), [GOOD, GOOD | {name: text}])


def column(kind: str, **more: Any) -> tuple[Column, Any]:
    ours = Column(name="x", kind=kind, role="feature", **more)
    return ours, bundle.served_columns(Contract(name="t", version="1", columns=(ours,)))[0]


DAYS = words("""01.02.2024 1.2.2024 31.12.1999 29.02.2023 01/02/2024 13/02/2024 2024/02/01
2024.02.01 01-02-2024 01-Feb-2024 01.02.69 01.02.68 12/31/00 31/12/99
20240201 2024021 01.02.10000 1.2.4 00.01.2024 １.2.2024""")
DAYS += ["1 feb 2024", "1 February 2024", "01 Mär 2024", "Feb 1, 2024"]
DAYS += ["February 01, 2024", "feb 1,2024", "Feb 1 2024", "Sept 1 2024"]
CLOCK = """; 10:30:15; 1:2:3; 24:00:00; 23:59:60; 10:30; 10:30:15.; 10:30:15.1234567; 10:30 pm
; 10:30:15 PM; 12:00:00 AM; 0:00:00 AM; 13:00:00 PM;T10:30:15;t10:30:15;  10:30:15"""
MOMENTS = [day + time for day in DAYS for time in CLOCK.replace("\n", "").split(";")]


@pytest.mark.parametrize("time", inference.TIMES)
def test_a_format_of_dates_means_the_same_to_training_and_serving(time):
    for day in inference.DAYS:
        ours, theirs = column("timestamp", formats=(day + time,))
        read = validation.parse(pl.Series(MOMENTS), ours).to_list()
        found = [read_value(text, theirs) for text in MOMENTS]
        assert [None if isinstance(value, str) else value for value in found] == read, day
        assert any(read)


def test_numbers_are_read_alone_as_among_others():
    """A column where one text needs a closer look takes the other way."""
    ours, _ = column("number")
    texts = [v for v in VALUES if isinstance(v, str)]
    alone = [validation.parse(pl.Series([text]), ours)[0] for text in texts]
    assert alone == validation.parse(pl.Series(texts), ours).to_list()


def test_a_number_as_a_category_has_one_text():
    """Tools write integers with gaps as 2.0: the level is 2, whatever wrote it."""
    ours, theirs = column("category")
    numbers = [1.0, 1e22, 1e-7, -0.0, 0.1, math.inf]
    for values in (numbers, [1, -5], [True, False], TWOS):
        read = validation.parse(pl.Series(values), ours).to_list()
        assert [read_value(value, theirs) for value in values] == read
    assert set(validation.parse(pl.Series(TWOS[:3]), ours)) == {"2", None}
    missing = [math.nan, 2.0]
    prices = [decimal.Decimal("2.00"), decimal.Decimal("2.50")]
    for values, read in ((missing, [None, "2"]), (prices, ["2", "2.5"])):
        assert validation.parse(pl.Series(values), ours).to_list() == read


TWOS = [2.0, None, 2.0, 2.5]
CODES = Contract(
    name="t",
    version="1",
    columns=(
        Column(name="c", kind="category", role="feature"),
        Column(name="y", kind="boolean", role="target", positive="true"),
    ),
)


@pytest.fixture(scope="module")
def of_codes() -> Scorer:
    """A model of one integer that is a category, with the levels 1, 2 and 3."""
    frame = pl.DataFrame({"c": ["1", "2", "3"] * 40})
    return scorer_of(frame, features.fit(frame, CODES), CODES)


def parquet(rows: list[dict]) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(rows, strict=False, infer_schema_length=None).write_parquet(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("values", [[2, None], [2.0, None], ["2", "2.0"], [2, 2.5], [2.0, True]])
def test_an_integer_category_is_its_level_in_every_way_in(of_codes, tmp_path, values):
    """A column of integers with a gap is one of floats to pandas, Parquet and JSON."""
    rows = [{"c": value} for value in values]
    (tmp_path / "t.parquet").write_bytes(parquet(rows))
    (tmp_path / "t.jsonl").write_bytes(as_lines(rows))
    (tmp_path / "t.csv").write_text("c\n" + "".join(f"{cell(v) or 'NA'}\n" for v in values))
    for name in ("t.parquet", "t.jsonl", "t.csv"):
        ((first, *_), _) = scored(of_codes, tmp_path / name)
        assert first == 1, name
        frame = ingest.read_table(tmp_path / name)
        assert validation.apply(CODES, frame, labelled=False).valid["c"][0] == "2", name
    assert served(of_codes, rows[0]) == [1]
    assert of_codes.unseen([of_codes.read_row(rows[0])], np.array([[1.0]])) == [""]


def test_a_midnight_is_its_day_and_no_other_time_is_one():
    """Parquet, pandas and databases hold days as timestamps; an hour is never cut off silently."""
    ours, theirs = column("date")
    day, noon = dt.datetime(2024, 1, 31), dt.datetime(2024, 1, 31, 12)
    for unit in ("s", "ms", "us", "ns"):
        for zone, found in ((None, day.date()), ("UTC", day.date()), ("Europe/Berlin", None)):
            first = day if zone != "Europe/Berlin" else day - dt.timedelta(hours=1)
            raw = pa.array([first, noon, None], pa.timestamp(unit, zone))
            read = validation.parse(pl.Series(raw), ours)
            assert read.to_list() == [found, None, None], (unit, zone)
    ends = ["", "T00:00", " 00:00:00", "t00:00:00.000000", "T00:00:00.000000000Z", "T00:00+00:00"]
    texts = [f"2024-01-31{end}" for end in ends]
    hours = ["2024-01-31T12:00", "2024-01-31T00:00:01", "2024-01-31T00:00:00+01:00", "2024-01-31Z"]
    expected = [day.date()] * len(texts) + [None] * len(hours)
    assert validation.parse(pl.Series(texts + hours), ours).to_list() == expected
    assert [read_value(text, theirs) for text in texts] == [day.date()] * len(texts)
    assert [read_value(text, theirs) for text in hours] == hours


def test_every_kind_is_tried():
    assert {column.name for column in EVERY_KIND} == GOOD.keys()


def read_both(scorer: Scorer, path: Path) -> set[str]:
    """Return what ingest and score say of a file that they refuse."""
    said = set()
    for read in (ingested, scored):
        with pytest.raises(ProjectError) as refused:
            list(read(scorer, path))
        said.add(str(refused.value))
    return said


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"n": NaN}', "it has NaN; write null, true or false, or a number"),
        ('{"n": -Infinity}', "it has -Infinity; write null, true or false, or a number"),
        ('{"n": None}', "it has None; write null, true or false, or a number"),
        ('{"n": 1e400}', "it has a number that is too large; write null"),
        (
            r'{"c": "\ud800"}',
            "it has half a surrogate pair; send whole characters, such as \\u00e9",
        ),
        ('{"c": "NaN"', ""),
    ],
)
def test_a_line_of_no_json_is_named_with_its_reason(fitted, tmp_path, line, reason):
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(GOOD) + "\n\n" + line + "\n")
    expected = "t.jsonl: line 3 is not a JSON object" + (f": {reason}" if reason else "")
    assert read_both(fitted, path) == {expected}


def test_lists_beside_plain_values_are_refused(fitted, tmp_path):
    path = tmp_path / "t.jsonl"
    for inner in ([], [1], {}, {"a": 1}):
        path.write_bytes(as_lines([GOOD, GOOD | {"c": inner}]))
        assert read_both(fitted, path) == {
            "t.jsonl: 'c' has lists or objects beside plain values: write it as text"
        }
    path.write_bytes(as_lines([GOOD | {"extra": [1]}, GOOD | {"extra": {"a": 2}}, GOOD]))
    assert [len(list(read(fitted, path))) for read in (ingested, scored)] == [3, 3]
    assert inference.infer(ingest.read_table(path)["extra"]) is None


MOMENT, NOON = dt.datetime(2024, 1, 31, 12, 30), "2024-01-31 12:30:00.000000"
MIXED = [1.5, 2, 2.0, 1.889, -0.0, 10**20, True, None, "1,5", "1.889,50", "1.889", "1.5", "2e3", ""]
MIXED += [" 1,5 ", "x", [1], {"a": 1}, {}, "2024-01-31T12:00:00+02:00"]


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("number", {"decimal_comma": True}),
        ("integer", {"decimal_comma": True}),
        ("number", {}),
        ("category", {}),
    ],
)
def test_mixed_values_of_json_are_read_or_refused_alike(tmp_path, kind, more):
    """1.889 beside "1,5" is no 1889, and a list beside a number is refused, in every way in."""
    ours, theirs = column(kind, **more)
    path = tmp_path / "t.jsonl"
    for pair in itertools.product(MIXED, repeat=2):
        path.write_bytes(as_lines([{"x": value} for value in pair]))
        try:
            trained = validation.parse(ingest.read_table(path)["x"], ours).to_list()
        except ProjectError as error:
            with pytest.raises(ProjectError, match="lists or objects beside plain"):
                list(batch.open_source(path, (theirs,), [], "utf-8").stretches)
            assert "lists or objects beside plain" in str(error)
            continue
        (part,) = batch.open_source(path, (theirs,), [], "utf-8").stretches
        found = validation.check(part["x"], theirs, required=False).values.to_list()
        values = [read_value(value, theirs) for value in pair]
        asked = [None if breach(value, theirs) else value for value in values]
        assert [v or v == 0 or None for v in trained] == [v or v == 0 or None for v in found], pair
        assert [v or v == 0 or None for v in found] == [v or v == 0 or None for v in asked], pair


@pytest.mark.parametrize(
    ("value", "type", "text"),
    [
        *((MOMENT, pa.timestamp(unit), NOON) for unit in ("s", "ms", "us", "ns")),
        *((MOMENT, pa.timestamp("ns", zone), NOON) for zone in ("UTC", "Europe/Berlin", "+02:00")),
        (dt.time(12, 30, 1, 500), pa.time64("ns"), "12:30:01.000500"),
        (1.5, pa.float16(), "1.5"),
        (MOMENT.date(), pa.date32(), "2024-01-31"),
    ],
)
def test_a_typed_column_of_parquet_has_one_text_as_a_category(tmp_path, value, type, text):
    """A moment is in UTC, whatever its zone and its precision."""
    ours, theirs = column("category")
    pq.write_table(pa.table({"x": pa.array([value, None], type)}), tmp_path / "t.parquet")
    frame = ingest.read_table(tmp_path / "t.parquet")
    assert validation.parse(frame["x"], ours).to_list() == [text, None]
    (part,) = batch.open_source(tmp_path / "t.parquet", (theirs,), [], "utf-8").stretches
    assert validation.parse(part["x"], theirs).to_list() == [text, None]


def test_columns_of_json_join_over_stretches(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "ROWS", 2)
    rows = [{"a": 1, "b": 1}, {"a": 2, "b": 0.5}, {"a": 2.5, "c": True}, {"a": 1e22}, {"a": "x"}]
    (tmp_path / "t.jsonl").write_bytes(as_lines(rows))
    assert ingest.read_table(tmp_path / "t.jsonl").to_dict(as_series=False) == {
        "a": ["1", "2", "2.5", "1e+22", "x"],
        "b": ["1", "0.5", None, None, None],
        "c": [None, None, True, None, None],
    }


@pytest.mark.parametrize(
    ("line", "twice"),
    [
        ('{"n": 1, "n": 2}', True),
        ('{"n" :1,"n"\t: 1}', True),
        ('{"n": null, "n": null}', True),
        (r'{"n": 1, "\u006e": 1}', True),
        ('{"n": {"a": 1, "a": 2}}', True),
        ('{"n": "a\\":", "i": "b:", "c": ":"}', False),
        ('{"n": null, "i": "2024-01-01T10:30:00", "c": "n"}', False),
        ('{"n": {"a": 1}, "i": {"a": 2}}', False),
        ("{}", False),
    ],
)
def test_a_key_that_an_object_has_twice_is_refused_in_every_way_in(fitted, tmp_path, line, twice):
    """One reader takes the first value, another the last."""
    written = {"t.jsonl": f"{json.dumps(GOOD)}\n{line}\n", "t.json": f"[{line}]"}
    for name, text in written.items():
        (tmp_path / name).write_text(text)
        where = "line 2" if name == "t.jsonl" else "an object"
        for read in (
            lambda path: list(dialect.objects(path, "utf-8")),
            ingest.read_table,
            lambda path: list(batch.open_source(path, fitted.columns, [], "utf-8").stretches),
        ):
            if twice:
                with pytest.raises(
                    ProjectError, match=rf"t\.\w+: {where} has the key '[na]' twice"
                ):
                    read(tmp_path / name)
    if not twice:
        assert len(list(dialect.objects(tmp_path / "t.jsonl", "utf-8"))) == 2
    for body in (line, f"[{line}]", f'{{"rows": [{line}]}}'):
        assert (": key twice" in str(answered(fitted, body.encode()))) == twice, body


STRAY = ['"a"b,1', 'x"y,1', 'a,"1" ', 'a,"1', '5" pipe,1\n6" pipe,2']


@pytest.mark.parametrize("rows", STRAY)
@pytest.mark.parametrize("place", [0, 3])
def test_a_stray_quote_is_told_alike_in_every_way_in(tmp_path, rows, place):
    _, theirs = column("category")
    lines = ["ok,1"] * 5
    (tmp_path / "t.csv").write_text("\n".join(["x,y", *lines[:place], rows, *lines, ""]))
    said = set()
    for read in (
        lambda path: list(batch.open_source(path, (theirs,), [], "utf-8").stretches),
        ingest.read_table,
    ):
        with pytest.raises(ProjectError) as refused:
            read(tmp_path / "t.csv")
        said.add(str(refused.value))
    (line,) = said
    assert f"line {place + 2}" in line and "quote" in line and "\n" not in line


@pytest.mark.parametrize("characters", [1, 7, 64, 10**6])
def test_csv_is_cut_only_between_its_records(tmp_path, monkeypatch, characters):
    monkeypatch.setattr(reading, "CHARACTERS", characters)
    rows = [
        ["a", "b,c", 'd"e'],
        ["", "", ""],
        ["\n\n", "x\r\ny", ""],
        ["1", "2", "é"],
        ["", "", "z"],
    ]
    for end in ("\n", "\r\n"):
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator=end).writerows([["p", "q", "r"], *rows * 3])
        content = text.getvalue().replace(f"é{end}", f"é{end}{end}")  # a blank line is no row
        (tmp_path / "t.csv").write_text(content, newline="")
        found = ingest.read_table(tmp_path / "t.csv").rows()
        assert found == [tuple(field or None for field in row) for row in rows * 3]
    (tmp_path / "t.csv").write_text('p,q\n"x,y",1\n2\n3,4\n')  # its delimiters would be enough
    with pytest.raises(ProjectError, match="line 3 has 1 fields, but there are 2 column names"):
        ingest.read_table(tmp_path / "t.csv")
