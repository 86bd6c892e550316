"""Hard cases of reading, validating and profiling tables, on the raw template package."""

import datetime as dt
import hashlib
import json
import math
import re
import shlex
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import helpers.package  # noqa: F401  makes `package_name` importable
import jinja2
import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from package_name.engine import dialect, report, storage
from package_name.engine.data import contract as contracts
from package_name.engine.data import course, dictionary, inference, ingest, profiling, validation
from package_name.engine.data.contract import Column, Contract
from package_name.engine.errors import CheckFailed, ProjectError
from package_name.engine.model.values import ServedColumn
from package_name.engine.report import charts
from package_name.engine.serving import batch
from package_name.engine.settings import VARIABLES, Project, refused
from package_name.planner import check as plan_check


def contract(*columns: Column, key: tuple[str, ...] = ()) -> Contract:
    target = Column(name="bought", kind="boolean", role="target", positive="true")
    return Contract(name="t", version="1", columns=(*columns, target), primary_key=key)


def feature(name: str = "x", kind: str = "number", **more) -> Column:
    return Column(name=name, kind=kind, role="feature", **more)


def check(column: Column, values: list, **more) -> validation.Validation:
    frame = pl.DataFrame({column.name: values, "bought": ["true"] * len(values)}, strict=False)
    return validation.apply(contract(column, **more), frame)


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def one_line(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert "\n" not in message and len(message) < 400
    return message


# Reading


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_delimiter_is_found_and_columns_stay_text(tmp_path, delimiter):
    rows = [["id", "a, b;c", "n"], ["007", '"x, y; z"', "1"], ["008", "NA", ""]]
    rows[0][1] = f'"{rows[0][1]}"'
    path = write(tmp_path / "t.csv", "\r\n".join(delimiter.join(row) for row in rows) + "\r\n\r\n")
    frame = ingest.read_table(path)
    assert frame.columns == ["id", "a, b;c", "n"]
    assert frame.rows() == [("007", "x, y; z", "1"), ("008", None, None)]


def test_missing_value_marks_of_csv(tmp_path):
    marks = ["", '""', "NA", "N/A", "null", "NULL", "NaN", "nan"]
    path = write(tmp_path / "t.csv", "a,b\n" + "".join(f"{mark},1\n" for mark in marks))
    assert ingest.read_table(path)["a"].to_list() == [None] * len(marks)


def test_a_text_that_means_missing_is_missing_in_every_format(tmp_path):
    write(tmp_path / "t.jsonl", '{"a": "N/A"}\n{"a": "x"}\n')
    write(tmp_path / "t.json", '[{"a": "null"}, {"a": "x"}]')
    pl.DataFrame({"a": ["NA", "x"]}).write_parquet(tmp_path / "t.parquet")
    for name in ("t.jsonl", "t.json", "t.parquet"):
        assert ingest.read_table(tmp_path / name)["a"].to_list() == [None, "x"]


@pytest.mark.parametrize(
    "content",
    [
        b"\n \nx,k,note\n1,a,\n2,b,\n",
        b"sep=;\nx;k;note\n1;a;\n2;b;\n",
        b'x,k,"note"\r1,a,\r2,b,\r',
        b"x\tk\tnote\n1\ta\t\n2\tb\t\n",
        "x;k;note\n1;a;\n2;b;\n".encode("utf-16"),
        "x\tk\tnote\r\n1\ta\t\r\n2\tb\t\r\n".encode("utf-16-le"),
        "x,k,note\r1,a,\r2,b,\r".encode("utf-16-be"),
        '\ufeff"sep=;"\r\n\r\nx;k;note\r\n1;a;\r\n2;b;\r\n'.encode("utf-32-le"),
        b"x,k,note\n1,a\n2,b\n",
    ],
)
def test_every_dialect_of_csv_is_read(tmp_path, content):
    frame = ingest.read_table(write(tmp_path / "t.csv", content))
    assert frame.columns == ["x", "k", "note"]
    assert frame.rows() == [("1", "a", None), ("2", "b", None)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("within", ["\n", "\r\n", "\r"])
def test_a_quoted_line_end_is_part_of_its_value(tmp_path, end, within):
    lines = ["x,k", f'1,"a{within}b"', "2,c", ""]
    frame = ingest.read_table(write(tmp_path / "t.csv", end.join(lines)))
    assert frame["k"].to_list() == [f"a{within}b", "c"]


def test_decimal_commas_of_json_texts_are_read(tmp_path):
    rows = "".join(f'{{"x": "{n}.889,5{n}"}}\n' for n in range(1, 5))
    frame = ingest.read_table(write(tmp_path / "t.jsonl", rows))
    assert inference.infer(frame["x"]).decimal_comma
    column = feature(kind="number", decimal_comma=True)
    assert validation.parse(frame["x"], column)[0] == 1889.51


def test_odd_column_names_survive(tmp_path):
    names = ['a "quoted" one', "Größe €", " space ", "", "x,y"]
    header = ",".join('"' + name.replace('"', '""') + '"' for name in names)
    path = write(tmp_path / "t.csv", "\ufeff" + header + "\n1,2,3,4,5\n")
    assert ingest.read_table(path).columns == names


def test_same_table_from_every_format(tmp_path):
    frame = pl.DataFrame({"a": [1, 2], "b": ["é", None]})
    frame.write_parquet(tmp_path / "t.parquet")
    frame.write_ndjson(tmp_path / "t.jsonl")
    write(tmp_path / "t.json", '[{"a": 1, "b": "é"}, {"a": 2, "b": null}]')
    for name in ("t.parquet", "t.jsonl", "t.json"):
        assert ingest.read_table(tmp_path / name).equals(frame)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.csv", b"", "empty"),
        ("t.csv", b"a,b\n", "no rows"),
        ("t.csv", b"a,b,a\n1,2,3\n", "two columns have the name 'a'"),
        ("t.csv", b"a,b\n1,2\n1,2,3\n", "line 3 has 3 fields"),
        ("t.csv", "a,b\n1,2\nx,caf\xe9\n".encode("latin-1"), "line 3, byte 6 (0xe9)"),
        ("t.csv", "\xe9,b\n1,2\n".encode("latin-1"), "data.encoding: cp1252"),
        ("t.csv", b'a,b\n1,"open\n', "t.csv: "),
        ("t.parquet", b"PAR1 not really", "not a whole Parquet file"),
        ("t.jsonl", b'{"a": 1}\n{"a":', "t.jsonl: "),
        ("t.jsonl", b"hello\n", "t.jsonl: "),
        ("t.json", b"[1, 2", "t.json: "),
        ("t.ndjson", '{"a": "\xe9"}\n'.encode("latin-1"), "line 1, byte 8"),
        ("t.xlsx", b"PK", "save its table as CSV UTF-8 or Parquet"),
        ("t.csv", b"PK\3\4 a workbook", "save its table as CSV UTF-8 or Parquet"),
        ("t.csv", b"PAR1 not a text", "rename it to end in .parquet"),
        ("t.jsonl", b"\x1f\x8b\x08\0", "compressed: unpack it"),
        ("t.csv", b"a,^b$\n1,2\n", "column '^b$' reads as a pattern"),
        ("t.jsonl", b'{"*": 1}\n', "column '*' reads as a pattern"),
    ],
)
def test_unreadable_files_say_why_in_one_line(tmp_path, name, content, says):
    with pytest.raises(ProjectError) as error:
        ingest.read_table(write(tmp_path / name, content))
    assert says in one_line(error)


def test_missing_file_folder_truncation_and_unknown_encoding(tmp_path):
    with pytest.raises(ProjectError, match="no such file"):
        ingest.read_table(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ProjectError, match="is a folder: name a file"):
        ingest.read_table(tmp_path / "folder.csv")
    pl.DataFrame({"a": range(5000)}).write_parquet(tmp_path / "t.parquet")
    whole = (tmp_path / "t.parquet").read_bytes()
    for size in (3, len(whole) // 2, len(whole) - 1):
        with pytest.raises(ProjectError, match="not a whole Parquet file"):
            ingest.read_table(write(tmp_path / "cut.parquet", whole[:size]))
    with pytest.raises(ProjectError, match="unknown encoding 'klingon'"):
        ingest.read_table(write(tmp_path / "t.csv", "a,b\n1,2\n"), "klingon")


READ = "import sys, polars as pl; pl.read_parquet(sys.argv[1])"


def test_a_byte_that_makes_polars_abort_is_one_line_in_every_way_in(tmp_path):
    """Nothing catches an abort, so another process meets it first; it leaves no word either."""
    days = [dt.datetime(2024, 1, 1), None] * 20
    frame = pl.DataFrame({"a": range(40), "b": ["x", None] * 20, "c": days})
    frame.write_parquet(tmp_path / "t.parquet")
    content = bytearray((tmp_path / "t.parquet").read_bytes())
    content[content.rindex(b"\x15\x50\x15") + 1] ^= 1  # the page's number of values: 40, then -41
    write(tmp_path / "t.parquet", bytes(content))
    command = [sys.executable, "-c", READ, str(tmp_path / "t.parquet")]
    assert subprocess.run(command, capture_output=True, check=False).returncode < 0
    column = ServedColumn(name="a", kind="integer")
    for read in (
        lambda: ingest.read_table(tmp_path / "t.parquet"),
        lambda: batch.open_source(tmp_path / "t.parquet", (column,), [], "utf-8"),
    ):
        with pytest.raises(ProjectError, match="not a whole Parquet file") as error:
            read()
        one_line(error)


def test_configured_encoding_is_used(tmp_path):
    path = write(tmp_path / "t.csv", "größe;b\ncaf\xe9;2\n".encode("latin-1"))
    assert ingest.read_table(path, "latin-1").to_dict(as_series=False) == {
        "größe": ["café"],
        "b": ["2"],
    }
    path = write(tmp_path / "t.jsonl", '{"a": "café"}\n'.encode("latin-1"))
    assert ingest.read_table(path, "latin-1")["a"].to_list() == ["café"]


# Validating


@pytest.mark.parametrize(
    ("texts", "kind", "values"),
    [
        (["1,407.50", "95", "12,000"], "number", [1407.5, 95.0, 12000.0]),
        (["1,234,567", "870", "-1,407"], "integer", [1234567, 870, -1407]),
        (["1.5", "2.25", "1,889"], "number", [1.5, 2.25, 1889.0]),
        ([f"{n},{100 + n}" for n in range(1, 30)] + ["7"], "integer", None),
        (["1 407", "95", "12 000,5"], "number", [1407.0, 95.0, 12000.5]),
        (["1\u202f407", "95"], "number", [1407.0, 95.0]),
        (["1'407", "95"], "number", [1407.0, 95.0]),
    ],
)
def test_marks_between_thousands_are_read(texts, kind, values):
    reading = inference.infer(pl.Series(texts))
    assert reading.kind == kind and any(what == "number" for what, _ in reading.doubts)
    column = feature(
        kind=kind, decimal_comma=reading.decimal_comma, thousands_comma=reading.thousands_comma
    )
    found = validation.parse(pl.Series(texts), column).to_list()
    assert found == (values or [float(t.replace(",", "")) for t in texts])
    commas = column.decimal_comma, column.thousands_comma
    assert [dialect.plain(text, kind, *commas) for text in texts] == found


@pytest.mark.parametrize(
    "texts",
    [["1,407", "95", "2,300"], ["1,407", "2300"] + [f"{n},{100 + n}" for n in range(1, 30)]],
)
def test_a_comma_that_may_be_either_stays_text_with_one_line(texts):
    reading = inference.infer(pl.Series(texts))
    assert reading.kind == "category"
    [(what, why)] = reading.doubts
    assert what == "unreadable" and "may be" in why and "thousandsComma: true" in why


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        *((["1,264.64", "95"], "integer"), (["0.5", "3"], "integer"), (["7", "95"], "category")),
        *((["0,5", "3"], "category"), (["10.12.2024", "3.5"], "category")),
    ],
)
def test_a_column_tells_what_commas_of_others_part(other, kind):
    frame = pl.DataFrame({"salary": ["36,534", "54,301"], "bonus": other})
    points = inference.has_points(frame)
    assert inference.infer(frame["salary"], points=points).kind == kind


@pytest.mark.parametrize("texts", [["030 123 456", "030 123 457"], ["123 456", "222 333"]])
def test_numbers_that_are_names_stay_text(texts):
    assert inference.infer(pl.Series(texts)).kind == "category"


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["1.889,50", "0,5", "12", "1.889"], [1889.5, 0.5, 12.0, 1889.0]),
        (["1 000,5", "-3,25"], [1000.5, -3.25]),
        (["1.5", "2.25", "1,889"], None),
        (["1,000", "2,500"], None),
        (["1,5", "1.5"], None),
    ],
)
def test_decimal_commas_are_read_where_a_column_is_consistent(texts, values):
    reading = inference.infer(pl.Series("x", texts))
    assert reading.decimal_comma == (values is not None)
    if values:
        assert any("decimal comma" in why for _, why in reading.doubts)
        column = feature(kind=reading.kind, decimal_comma=True)
        assert validation.parse(pl.Series(texts), column).to_list() == values


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["1,202", "1,661", "2,000"], [1.202, 1.661, 2.0]),
        (["12,345", "7"], [12.345, 7.0]),
        (["1,202", "1.5"], None),  # of a table that nobody wrote in one way
        (["1,234,567", "1,202"], None),
        (["4,711 pieces", "1,202"], None),
    ],
)
def test_a_comma_before_three_digits_is_read_as_other_columns_have_it(texts, values):
    raw = pl.Series("x", texts)
    assert inference.is_marked(raw) and not inference.infer(raw).decimal_comma
    reading = inference.infer(raw, beside_commas=True)
    assert reading.decimal_comma == (values is not None)
    if values:
        assert "as other columns have one" in reading.doubts[0][1]
        column = feature(kind=reading.kind, decimal_comma=True)
        assert validation.parse(raw, column).to_list() == values


def test_each_rule_rejects_its_row_and_is_counted():
    columns = (
        Column(name="id", kind="integer", role="entity", required=True),
        feature("age", minimum=0, maximum=120, required=True),
        feature("plan", "category", levels=("a", "b")),
        feature("city", "category", levels=("x",), levels_severity="warning"),
    )
    frame = pl.DataFrame(
        {
            "id": ["1", "2", "3", "4", "5", "6", "7", "8", "1", "9"],
            "age": ["30", "-1", "121", "old", None, "inf", "1e1", "40", "41", "-5"],
            "plan": ["a", "b", "a", "b", "a", "a", "c", None, "a", "z"],
            "city": ["x", "y", "x", "x", "x", "x", "x", "x", "x", "x"],
            "bought": ["true", "no", "1", "0", "yes", "f", "true", "", "true", "maybe"],
        }
    )
    result = validation.apply(contract(*columns, key=("id",)), frame)
    assert result.rejected["_rules"].to_list() == [
        ["age: minimum"],
        ["age: maximum"],
        ["age: type"],
        ["age: required"],
        ["age: infinite", "age: maximum"],
        ["plan: levels"],
        ["bought: missing"],
        ["id: conflicting key"],
        ["age: minimum", "plan: levels", "bought: type"],
    ]
    assert result.rules == {
        "age: minimum": 2, "age: maximum": 2, "plan: levels": 2, "age: type": 1, "bought: type": 1,
        "age: required": 1, "age: infinite": 1, "id: conflicting key": 1,
    }  # fmt: skip
    assert result.warnings == {"city: levels": 1}
    assert (result.unlabelled, result.valid.height, result.rejected.height) == (1, 1, 9)
    assert result.rejected.drop("_rules").columns == frame.columns
    assert result.rejected["age"][2] == "old"
    assert result.valid.rows() == [(1, 30.0, "a", "x", True)]


def test_rows_are_never_lost_and_valid_values_obey_the_contract():
    column = feature("x", minimum=-1.0, maximum=1.0)

    @settings(max_examples=60)
    @given(st.lists(st.none() | st.floats(), min_size=1), st.booleans())
    def holds(values, as_text):
        present = [v for v in values if v is not None and not math.isnan(v)]
        raw = values
        if as_text:  # as CSV gives it, where NaN is a mark of a missing value
            raw = [None if v is None or math.isnan(v) else repr(v) for v in values]
        if not present:
            return
        result = check(column, raw)
        assert result.valid.height + result.rejected.height == len(values)
        assert result.valid["x"].drop_nulls().to_list() == [v for v in present if -1 <= v <= 1]
        assert all(result.rejected["_rules"].list.len() > 0)

    holds()


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("number", [" 1.5 ", "1e3", None, "1,5"], [1.5, 1000.0, None, "type"]),
        ("number", [1, 2], [1.0, 2.0]),
        ("integer", ["3", "3.0", " 4 ", "3.5", "9007199254740993"], [3, 3, 4, "type", 2**53 + 1]),
        ("integer", [3.0, 2.5, math.nan, math.inf], [3, "type", None, "type"]),
        ("integer", [Decimal("3.0"), Decimal("2.5")], [3, "type"]),
        ("boolean", ["TRUE", "f", "Yes", "0", "2"], [True, False, True, False, "type"]),
        ("boolean", [1, 0, 2], [True, False, "type"]),
        ("boolean", [1.0, 0.0, math.nan], [True, False, None]),
        ("category", ["a", "", None, " b", " "], ["a", None, None, "b", None]),
        ("category", [1, 2], ["1", "2"]),
        ("category", [True, False], ["true", "false"]),
        (
            "date",
            [dt.datetime(2026, 1, 2), dt.datetime(2026, 1, 2, 3)],
            [dt.date(2026, 1, 2), "type"],
        ),
        ("timestamp", [dt.date(2026, 1, 2)], [dt.datetime(2026, 1, 2)]),
    ],
)
def test_types(kind, values, expected):
    result = check(feature(kind=kind), values)
    kept = iter(result.valid["x"])
    broken = sum(value == "type" for value in expected)
    assert [value for value in expected if value != "type"] == list(kept)
    assert result.rules == ({"x: type": broken} if broken else {})
    assert result.valid.schema["x"] == validation.DTYPES[kind]


def test_dates_in_three_formats_and_none_misread():
    column = feature(kind="date", formats=("%d.%m.%Y", "%m/%d/%Y"))
    result = check(column, ["2026-01-02", "02.01.2026", "01/02/2026", "01/02/26", "2026-02-30"])
    assert result.valid["x"].to_list() == [dt.date(2026, 1, 2)] * 3
    assert result.rules == {"x: type": 2}


def test_timestamps_with_offsets_become_utc():
    texts = [
        "2026-01-02T03:04:05",
        "2026-01-02 03:04:05.250",
        "2026-01-02T03:04",
        "2026-01-02 03:04",
        "2026-01-02",
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05+02:00",
        "2026-01-02 03:04:05-0500",
        "02.01.2026 03:04",
    ]
    result = check(feature(kind="timestamp", formats=("%d.%m.%Y %H:%M",)), texts)
    second = dt.datetime(2026, 1, 2, 3, 4, 5)
    minute = dt.datetime(2026, 1, 2, 3, 4)
    assert result.valid["x"].to_list() == [
        second, second.replace(microsecond=250_000), minute, minute,
        dt.datetime(2026, 1, 2), second, second.replace(hour=1), second.replace(hour=8), minute,
    ]  # fmt: skip
    zoned = pl.Series("x", [second]).dt.replace_time_zone("America/New_York")
    frame = pl.DataFrame([zoned, pl.Series("bought", [True])])
    valid = validation.apply(contract(feature(kind="timestamp")), frame).valid
    assert valid["x"].to_list() == [second.replace(hour=8)]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("number", ["a", "b"]),
        ("number", [True, False]),
        ("number", [dt.date(2026, 1, 2)]),
        ("integer", [0.5]),
        ("boolean", ["2"]),
        ("date", [20260102]),
        ("timestamp", ["soon"]),
        ("category", [[1, 2]]),
        ("category", [{"a": 1}]),
        ("category", [b"\xff"]),
        ("category", [dt.timedelta(days=1)]),
        ("integer", [Decimal("0.5")]),
    ],
)
def test_a_column_of_the_wrong_type_stops_the_run(kind, values):
    with pytest.raises(ProjectError) as error:
        check(feature("weird", kind), values)
    assert "column 'weird': none of its values" in one_line(error)
    with pytest.raises(ProjectError) as error:
        check(feature("weird", kind, personal=True), values)
    assert "such as" not in str(error.value)


def test_missing_and_extra_columns():
    frame = pl.DataFrame({"x": [1.0], "bought": [True], "new": [1]})
    excluded = Column(name="note", kind="category", role="excluded")
    result = validation.apply(contract(feature(), excluded), frame)
    assert result.warnings == {"new: not in the contract": 1, "note: missing column": 1}
    assert result.valid.columns == ["x", "note", "bought"]
    with pytest.raises(ProjectError, match="column 'x' is missing"):
        validation.apply(contract(feature()), frame.drop("x"))
    with pytest.raises(ProjectError, match="column 'bought' is missing"):
        validation.apply(contract(feature()), frame.drop("bought"))


def test_new_data_need_no_target():
    frame = pl.DataFrame({"x": ["1", "y"]})
    entity = Column(name="id", kind="category", role="entity")
    result = validation.apply(contract(feature(), entity), frame, labelled=False)
    assert (result.valid.height, result.rules, result.warnings) == (1, {"x: type": 1}, {})
    assert (result.valid["bought"].to_list(), result.unlabelled) == ([None], 0)


def test_target_is_computed_from_its_definition():
    late = Column(
        name="late", kind="boolean", role="target", positive="true", definition='"arr delay" > 15'
    )
    table = Contract(name="t", version="1", columns=(late, feature("arr delay")))
    result = validation.apply(table, pl.DataFrame({"arr delay": ["20", "3", None]}))
    assert result.valid["late"].to_list() == [True, False]
    assert result.unlabelled == 1
    broken = Contract(
        name="t",
        version="1",
        columns=(feature(), Column(**{**fields(late), "definition": "y > 1"})),
    )
    with pytest.raises(ProjectError, match="definition 'y > 1' fails"):
        validation.apply(broken, pl.DataFrame({"x": [1.0]}))


def fields(column: Column) -> dict:
    return {name: getattr(column, name) for name in column.__struct_fields__}


def test_duplicates_keep_the_first_good_row():
    frame = pl.DataFrame(
        {"a": [1, 1, 1, 2, 2], "b": ["x"] * 5, "x": [math.inf, 1, 1, 2, 3], "bought": [True] * 5}
    )
    columns = (
        Column(name="a", kind="integer", role="entity"),
        Column(name="b", kind="category", role="excluded"),
        feature(),
    )
    result = validation.apply(contract(*columns, key=("a", "b")), frame)
    assert result.valid["x"].to_list() == [1, 2]
    conflict = {"a, b: duplicate key": 1, "a, b: conflicting key": 1}
    assert result.rules == {**conflict, "x: infinite": 1}
    assert result.duplicates == 1
    last = validation.apply(contract(*columns, key=("a", "b")), frame, keep="last")
    assert (last.valid["x"].to_list(), last.rules) == ([1, 3], {**conflict, "x: infinite": 1})
    none = validation.apply(contract(*columns, key=("a", "b")), frame, keep="none")
    assert none.valid["x"].to_list() == [1]
    assert none.rules == {"a, b: conflicting key": 2, "a, b: duplicate key": 1, "x: infinite": 1}
    unkeyed = validation.apply(contract(*columns), frame)
    assert (unkeyed.valid.height, unkeyed.duplicates) == (4, 1)


def test_a_row_without_target_does_not_take_the_key_of_a_labelled_one():
    entity = Column(name="a", kind="integer", role="entity")
    frame = pl.DataFrame({"a": [1, 1, 1], "bought": [None, True, False]})
    result = validation.apply(contract(entity, key=("a",)), frame)
    assert result.valid["bought"].to_list() == [True]
    assert (result.unlabelled, result.rules) == (1, {"a: conflicting key": 1})


def test_a_missing_required_target_is_no_data_error_but_a_bad_value_beside_it_is():
    target = Column(name="y", kind="boolean", role="target", positive="true", required=True)
    table = Contract(name="t", version="1", columns=(feature(minimum=0), target))
    frame = pl.DataFrame({"x": [1.0, 1.0, -1.0], "y": [True, None, None]})
    result = validation.apply(table, frame)
    assert (result.unlabelled, result.rules) == (1, {"x: minimum": 1})
    assert result.rejected["_rules"].to_list() == [["y: missing"], ["x: minimum", "y: missing"]]
    summary = validation.summary(table, result)
    assert (summary["valid"], summary["rejected"], summary["unlabelled"]) == (1, 1, 1)


def test_unique_column_and_missing_key():
    frame = pl.DataFrame({"x": [1.0, 1.0, None, None, 2.0], "bought": [True] * 5})
    result = validation.apply(contract(feature(unique=True)), frame)
    assert result.rules == {"x: not unique": 1}
    keyed = validation.apply(contract(feature(), key=("x",)), frame)
    assert keyed.rules == {"x: required": 2, "x: duplicate key": 1}


def test_odd_column_names_validate():
    names = ['a "q"', "Größe €", "x, y: z", "1", "_rules"]
    columns = [feature(name, minimum=0) for name in names]
    frame = pl.DataFrame({name: ["1", "-1"] for name in names} | {"bought": ["1", "0"]})
    result = validation.apply(contract(*columns), frame)
    assert result.valid.height == 1
    assert result.rejected["_rules"].to_list() == [[f"{name}: minimum" for name in names]]


def test_all_missing_column_is_kept_unless_required():
    result = check(feature(), [None, None])
    assert (result.valid.height, result.missing_share["x"]) == (2, 1.0)
    with pytest.raises(ProjectError, match="column 'x' has no value in any row"):
        check(feature(required=True), [None, None])


def test_no_rows_is_no_error():
    frame = pl.DataFrame(schema={"x": pl.String, "bought": pl.String})
    assert validation.apply(contract(feature(required=True)), frame).valid.height == 0


# From file to report, in a project

ODCS = """
apiVersion: v3.1.0
kind: DataContract
id: t
version: 1.0.0
status: active
schema:
  - name: shop
    properties:
      - name: id
        logicalType: integer
        required: true
        primaryKey: true
        primaryKeyPosition: 1
        customProperties: [{property: role, value: entity}]
      - name: day
        logicalType: date
        customProperties:
          - {property: role, value: time}
          - {property: dateFormats, value: ["%d.%m.%Y"]}
      - name: amount
        logicalType: number
        logicalTypeOptions: {minimum: 0}
        customProperties: [{property: role, value: feature}]
      - name: 'kind (x) <b>'
        logicalType: string
        customProperties: [{property: role, value: feature}]
      - name: mail
        logicalType: string
        classification: personal
        customProperties: [{property: role, value: feature}]
      - name: empty
        logicalType: number
        customProperties: [{property: role, value: feature}]
      - name: constant
        logicalType: integer
        customProperties: [{property: role, value: feature}]
      - name: known_later
        logicalType: number
        customProperties: [{property: role, value: feature}]
      - name: bought
        logicalType: boolean
        customProperties: [{property: role, value: target}, {property: positiveValue, value: true}]
"""


@pytest.fixture
def shop(tmp_path):
    write(tmp_path / "contracts" / "dataset.odcs.yaml", ODCS)
    write(tmp_path / "config.yaml", "data: {source: shop.csv}\n")
    return Project(tmp_path)


def rows(number: int = 400) -> dict[str, list]:
    start = dt.date(2026, 1, 1)
    bought = [index % 3 == 0 for index in range(number)]
    return {
        "id": list(range(number)),
        "day": [
            (start + dt.timedelta(days=i % 90)).strftime("%d.%m.%Y" if i % 2 else "%Y-%m-%d")
            for i in range(number)
        ],
        "amount": [None if index % 50 == 1 else index * 0.5 for index in range(number)],
        "kind (x) <b>": [
            "<script>alert(1)</script>" if y else f"k{i}" for i, y in enumerate(bought)
        ],
        "mail": [f"person{index}@secret.example" for index in range(number)],
        "empty": [None] * number,
        "constant": [7] * number,
        "known_later": [float(index % 7) + 10 * y for index, y in enumerate(bought)],
        "bought": [str(y).lower() for y in bought],
    }


def put(project: Project, table: dict[str, list]) -> None:
    pl.DataFrame(table, strict=False).write_csv(project.path("shop.csv"))


def test_from_file_to_profile(shop):
    table = rows()
    table["amount"][2] = -5.0
    table["bought"][5] = None
    table["id"][7] = 6
    table["kind (x) <b>"][8] = None
    put(shop, table)
    ingest.run(shop)
    quality = validation.run(shop)
    assert (quality["rows"], quality["valid"], quality["rejected"], quality["unlabelled"]) == (
        400, 397, 2, 1,
    )  # fmt: skip
    assert quality["rules"] == {"amount: minimum": 1, "id: conflicting key": 1}
    assert quality["missing_share"]["empty"] == 1.0
    assert 0 < quality["score"] < 1
    rejected = pl.read_parquet(shop.path("data/quarantine/rejected.parquet"))
    assert rejected["_rules"].to_list() == [
        ["amount: minimum"], ["bought: missing"], ["id: conflicting key"],
    ]  # fmt: skip
    profile = profiling.run(shop)
    assert profile["run"] == quality["run"]
    assert "known_later" in [found["column"] for found in profile["leakage"]]
    assert quality["doubts"][0].startswith("1 of 400 rows have no target: nothing is learnt")
    assert any(
        doubt.startswith("known_later may know the outcome: ") for doubt in profile["doubts"]
    )
    columns = profile["columns"]
    assert columns["amount"]["missing_share"] == pytest.approx(8 / 397)
    assert sum(columns["amount"]["histogram"]["counts"]) == 397 - 8
    assert sum(n for _, n, _ in columns["amount"]["groups"]) == 397
    assert columns["amount"]["groups"][-1][:2] == ["(missing)", 8]
    assert columns["kind (x) <b>"]["groups"][-1] == ["(missing)", 1, 0.0]
    ready = profile["readiness"]
    assert ready["parts"]["values present"] == pytest.approx(1 - (8 + 1 + 397) / 397 / 6)
    assert ready["score"] == pytest.approx(1 - len(profile["leakage"]) / 6)
    assert ready["score"] < ready["parts"]["values present"]
    assert columns["constant"]["std"] == 0 and columns["constant"]["relation"] == 0.5
    assert columns["known_later"]["relation"] == 1
    assert columns["day"]["min"] == "2026-01-01"
    assert columns["empty"] == {
        "kind": "number", "role": "feature", "missing_share": 1.0, "distinct": 0, "relation": 0.5,
    }  # fmt: skip
    assert "top" not in columns["mail"] and "mode" not in columns["id"]
    html = shop.path("reports/profile.html").read_text("utf-8")
    assert "secret.example" not in html + shop.path("reports/profile.json").read_text("utf-8")
    assert "<script" not in html and "&lt;script&gt;" in html and "<b>" not in html
    assert "http" not in html.replace("http-equiv", "")


def test_the_dictionary_says_what_each_column_means_may_hold_and_held(shop):
    mail = "classification: personal\n"
    bills = "{property: purpose, value: bills}, {property: legalBasis, value: legal_obligation}"
    said = ODCS.replace(
        mail,
        f"{mail}        description: 400 different values from ann@secret.example to zoe\n"
        "        quality: [{metric: invalidValues, mustBe: 0, severity: warning, "
        "arguments: {validValues: [ann@secret.example]}}]\n",
    )
    role = "customProperties: [{property: role, value: feature}"
    head, mailed, rest = said.partition("- name: mail\n")
    said = head + mailed + rest.replace(role, f"{role}, {bills}", 1)
    said = said.replace(
        "{minimum: 0}\n        customProperties: [",
        "{minimum: 0}\n        description: Of <b>all</b> goods\n"
        "        customProperties: [{property: unit, value: <EUR>}, ",
    )
    said = said.replace(
        "- name: empty\n        logicalType: number\n        customProperties: [{property: role, "
        "value: feature}]",
        "- name: empty\n        logicalType: number\n        customProperties:\n"
        "          - {property: role, value: excluded}\n"
        '          - {property: reasons, value: ["constant: it never has a value"]}',
    )
    write(shop.path("contracts/dataset.odcs.yaml"), said)
    put(shop, rows())
    ingest.run(shop)
    validation.run(shop)
    profiling.run(shop)
    agreed = contracts.read(shop.contract_path)
    profiled = json.loads(shop.path("reports/profile.json").read_bytes())["columns"]
    manifest = {"source": "shop.csv", "added": ["constant"]}
    manifest |= {"joined": [{"server": "crm", "columns": ["known_later"]}]}
    found = {entry.name: entry for entry in dictionary.entries(agreed, profiled, manifest)}
    amount = found["amount"]
    assert amount.meaning == "Of <b>all</b> goods" and amount.kind == "number, in <EUR>"
    assert (amount.allowed, amount.missing) == ("at least 0", "yes; 2\u00a0%")
    assert amount.held == "0 to 200, median 99.8"
    assert found["id"].role == "entity: whom or what a row is about; key"
    assert found["id"].missing == "no; 0\u00a0%"
    assert found["empty"].role == "excluded: constant: it never has a value"
    assert found["mail"].role == "feature; personal by legal obligation; for bills"
    assert (found["mail"].meaning, found["mail"].held) == ("–", "400 different")
    sources = [found[name].source for name in ("amount", "constant", "known_later")]
    assert sources == ["shop.csv", "columns.py", "crm"]
    assert found["bought"].held == "2 different: false 66.5\u00a0%, true 33.5\u00a0%"
    page = shop.path("reports/profile.html").read_text("utf-8").partition('id="dictionary"')[2]
    assert "secret.example" not in page and "number, in &lt;EUR&gt;" in page
    assert "Of &lt;b&gt;all&lt;/b&gt; goods" in page and "<b>" not in page


def test_each_load_has_one_line_and_what_changed_most_is_said(shop):
    def judge(table: dict[str, list]) -> str:
        put(shop, table)
        ingest.run(shop)
        return validation.run(shop)["since"]

    log = shop.path(course.LOG)
    assert judge(rows()) == "There is no earlier load to compare with yet."
    assert judge(rows()).startswith("There is no earlier") and log.read_bytes().count(b"\n") == 1
    assert judge(rows(401)).endswith("401, and no share of them changed by 0.1\u00a0% or more.")
    amounts = rows(400)["amount"]
    worse = rows(400) | {"amount": [*amounts[:2], *[-1.0] * 10, *amounts[12:]]}
    said = judge(worse)
    assert said == (
        "Since the load before 401 rows became 400, and most changed amount: minimum, "
        "from 0\u00a0% to 2.5\u00a0% of the rows."
    )
    agreed = shop.path("contracts/dataset.odcs.yaml")
    write(agreed, agreed.read_text().replace("{minimum: 0}", "{minimum: -5}"))
    said = validation.run(shop)["since"]  # the same load by another contract is one load
    assert said.startswith("Since the load before 401 rows became 400, and no share")
    assert said.endswith("; the contract changed too.")
    assert log.read_bytes().count(b"\n") == 4 and len(course.read(shop).loads) == 3
    with pytest.raises(CheckFailed):
        judge(rows() | {"bought": ["true"] * 400})
    assert [load.passed for load in course.read(shop).loads] == [True, True, True, False]
    judge(rows(402))
    profiling.run(shop)
    page = shop.path("reports/profile.html").read_text("utf-8").partition('id="course"')[2]
    assert "<svg" in page.partition('id="dictionary"')[0] and "<td>refused</td>" in page
    assert b"person1@" not in log.read_bytes() and b"k1" not in log.read_bytes()


def test_a_damaged_line_of_the_course_is_left_out_and_told(shop):
    for number in (100, 101):
        put(shop, rows(number))
        ingest.run(shop)
        validation.run(shop)
    log = shop.path(course.LOG)
    first, second = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(first[:50] + b"\n\xff\n" + second + b'{"half')
    told = validation.run(shop)["since"]
    assert told == (
        "There is no earlier load to compare with yet. 2 damaged lines of reports/quality.jsonl "
        "left out, of which line 1 is the first."
    )
    put(shop, rows(102))
    ingest.run(shop)
    assert "101 rows became 102" in validation.run(shop)["since"]
    assert not log.read_bytes().count(b'"half') and len(course.read(shop).loads) == 2


def test_true_rows_are_not_compared_with_made_up_ones(shop):
    put(shop, rows(100))
    ingest.run(shop)
    validation.run(shop)
    log = shop.path(course.LOG)
    log.write_bytes(log.read_bytes().replace(b'"made_up":false', b'"made_up":true'))
    put(shop, rows(101))
    ingest.run(shop)
    assert validation.run(shop)["since"] == "There is no earlier load to compare with yet."


def test_raw_snapshots_never_change(shop):
    put(shop, rows(60))
    first = ingest.run(shop)
    path = shop.path(first["file"])
    before = (path.stat().st_mtime_ns, path.read_bytes())
    assert path.stat().st_mode & 0o222 == 0
    assert hashlib.sha256(before[1]).hexdigest() == first["sha256"]
    assert first["rows"] == 60 and first["columns"] == 9 and first["bytes"] == len(before[1])
    assert ingest.run(shop) == first
    put(shop, rows(61))
    second = ingest.run(shop)
    assert second["file"] != first["file"]
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before
    damaged = shop.path(second["file"])
    damaged.chmod(0o644)
    damaged.write_bytes(b"damaged")
    with pytest.raises(ProjectError, match="run `ml ingest` again"):
        validation.run(shop)
    assert ingest.run(shop) == second
    assert validation.run(shop)["valid"] == 61


def test_default_sample_is_made_when_it_is_missing(shop):
    write(shop.path("config.yaml"), "data: {sample_rows: 300}\n")
    write(
        shop.path("plan/plan.yaml"),
        "{format: 1, project: {name: x, slug: x, package: x}, answers: {label_delay_days: 0}, "
        "decisions: {}, computed: {}, blocks: {}}\n",
    )
    manifest = ingest.run(Project(shop.root))
    assert (manifest["source"], manifest["rows"]) == ("data/sample/dataset.parquet", 300)
    write(shop.path("config.yaml"), "data: {source: other.csv}\n")
    with pytest.raises(ProjectError, match="no such file"):
        ingest.run(Project(shop.root))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda t: t | {"amount": [-1.0] * 100 + t["amount"][100:]},
            "25\u00a0% of 400 rows were rejected",
        ),
        (lambda t: t | {"bought": ["true"] * 400}, "has 1 different value in 400 rows"),
        (lambda t: t | {"bought": ["false"] * 400}, "0 times its positive value"),
        (lambda t: {name: values[:1] for name, values in t.items()}, "1 of 1 rows are usable"),
        (lambda t: {name: values[:49] for name, values in t.items()}, "at least 50 are needed"),
        (lambda t: t | {"bought": ["true", "false"] + [None] * 398}, "398 without a target"),
    ],
)
def test_too_little_left_fails_the_check_and_keeps_the_last_good_rows(shop, change, says):
    put(shop, rows())
    ingest.run(shop)
    validation.run(shop)
    valid = shop.path("data/processed/valid.parquet")
    good = valid.read_bytes()
    put(shop, change(rows()))
    ingest.run(shop)
    with pytest.raises(CheckFailed) as error:
        validation.run(shop)
    assert says in str(error.value) and "\n" not in str(error.value)
    assert valid.read_bytes() == good
    quality = json.loads(shop.path("reports/data_quality.json").read_bytes())
    assert quality["failures"] == str(error.value).split("; ") or says in quality["failures"][0]
    assert quality["valid"] + quality["rejected"] + quality["unlabelled"] == quality["rows"]


def test_steps_out_of_order_say_what_to_run(shop):
    with pytest.raises(ProjectError, match="run `ml ingest` first"):
        validation.run(shop)
    with pytest.raises(ProjectError, match="run `ml validate`"):
        profiling.run(shop)


def test_ten_thousand_categories_and_a_constant_target_rate(shop):
    n = 10_000
    frame = pl.DataFrame(
        {"c": [f"level {i // 2}" for i in range(n)], "bought": [i % 2 == 0 for i in range(n)]}
    )
    result = validation.apply(contract(feature("c", "category")), frame)
    quality = validation.summary(contract(feature("c", "category")), result)
    report = profiling.profile(
        contract(feature("c", "category")), result.valid, quality, frame.clear()
    )
    column = report["columns"]["c"]
    assert (column["distinct"], len(column["top"])) == (n / 2, 10)
    assert column["groups"][-1][:2] == ["(other)", n - 14]
    assert sum(count for _, count in column["top"]) + column["others"] == n
    assert column["relation"] < 0.55
    assert report["leakage"] == []


def test_names_of_rows_get_no_picture():
    frame = pl.DataFrame(
        {"c": [f"A{i}" for i in range(99)] + ["A0"], "bought": [i % 2 == 0 for i in range(100)]}
    )
    agreed = contract(feature("c", "category"))
    result = validation.apply(agreed, frame)
    quality = validation.summary(agreed, result)
    found = profiling.profile(agreed, result.valid, quality, frame.clear())["columns"]["c"]
    assert found["distinct"] == 99 and not {"top", "mode", "groups"} & found.keys()


def test_the_shown_values_of_a_category_are_all_of_its_rows(tmp_path):
    """What is not among the most frequent, or missing, is shown too: shares sum to 100 %."""
    levels = [None, *(f"level {i // 9 % 30}" for i in range(599))]
    frame = pl.DataFrame({"c": levels, "bought": [i % 2 == 0 for i in range(600)]})
    agreed = contract(feature("c", "category"))
    result = validation.apply(agreed, frame)
    quality = validation.summary(agreed, result) | {"run": "r"}
    found = profiling.profile(agreed, result.valid, quality, frame.clear()) | {"run": "r"}
    context = {"profile": found, "quality": quality, "dictionary": []}
    context["course"] = course.Course([], "")
    report.render("profile.html", tmp_path / "p.html", **context)
    chart = (tmp_path / "p.html").read_text("utf-8").partition("Most frequent values of c")[2]
    shown = re.findall(r">([0-9]+) \(([0-9.]+)\u00a0%\)<", chart.partition("</svg>")[0])
    assert len(shown) == 12
    assert sum(int(rows) for rows, _ in shown) == 600
    assert sum(float(share) for _, share in shown) == pytest.approx(100, abs=0.1)


def test_histogram_counts_every_value_once():
    @settings(max_examples=100)
    @given(st.lists(st.floats(-1e9, 1e9) | st.integers(-50, 50), min_size=1), st.booleans())
    def holds(values, whole):
        x = np.array([math.floor(v) if whole else v for v in values], dtype=float)
        column = feature(kind="integer" if whole else "number")
        found = profiling._histogram(column, x)
        assert sum(found["counts"]) == len(x) and len(found["counts"]) <= profiling.BINS + 1
        assert len(found["edges"]) == len(found["counts"]) + 1

    holds()


def test_correlations_are_spearman_of_the_rows_where_both_are_there():
    rng = np.random.default_rng(0)
    a = rng.normal(size=500)
    table = {"a": a, "b": np.exp(a) * -1, "c": rng.normal(size=500), "d": np.zeros(500)}
    frame = pl.DataFrame(table).with_columns(
        pl.when(pl.int_range(500) % 5 == 0).then(None).otherwise(pl.col("b")).alias("b"),
        pl.lit(None, pl.Float64).alias("e"),
    )
    found = {(x, y): r for x, y, r in profiling._correlations(frame)}
    assert set(found) == {("a", "b"), ("a", "c"), ("b", "c")}
    assert found["a", "b"] == pytest.approx(-1, abs=1e-3)
    expected = frame.select(pl.corr("a", "c", method="spearman")).item()
    assert found["a", "c"] == pytest.approx(expected, abs=1e-6)


def test_trend_chooses_the_period_and_gives_the_rates():
    time = Column(name="t", kind="timestamp", role="time")
    for hours, periods in ((24, 24), (24 * 50, 50), (24 * 365, 53), (24 * 365 * 4, 49)):
        moments = [dt.datetime(2026, 1, 5) + dt.timedelta(hours=h) for h in range(hours)]
        label = pl.Series([h % 2 == 0 for h in range(hours)])
        trend = profiling._trend(time, pl.DataFrame({"t": moments}), label)
        assert abs(len(trend) - periods) <= 1 and sum(n for _, n, _ in trend) == hours


# Charts and pages


def numbers_in(svg: str, attribute: str) -> list[float]:
    return [float(value) for value in re.findall(rf'\b{attribute}="(-?[\d.]+)"', svg)]


def parsed(svg: str) -> ElementTree.Element:
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img" and root.get("aria-label")
    assert "nan" not in svg.lower().replace("nancy", "") and "inf" not in svg
    return root


def height_of(svg: str) -> float:
    return float(parsed(svg).get("viewBox", "").split()[-1])


ODD = '<a href="x">&amp; "Größe" </script>'


def test_charts_are_well_formed_and_escape_every_text():
    pages = [
        charts.bars([(ODD, 1.0, ODD), ("low", -0.5, "x"), ("none", None, "–")], ODD, mark=0.3),
        charts.bars([], "nothing"),
        charts.histogram([0, 1, 2], [3, 0], ODD),
        charts.histogram(["2026-01-01", ODD], [5], "dates"),
        charts.lines({ODD: [(0, 1), (1, 2)], "b": [(0, None)]}, ODD, ODD, ODD, mark=(0.5, ODD)),
        charts.lines({}, "x", "y", "nothing"),
        charts.lines({"flat": [(3, 3)]}, "x", "y", "one point", zero=False, level=3),
        charts.lines({}, "x", "y", "dots", dots=[(0.1, 0.2, 10), (0.5, 0.4, 90)], diagonal=True),
        charts.intervals([(ODD, 0.5, 0.4, 0.6), ("b", 0.1, None, None), ("c", None, 0, 1)], ODD),
        charts.intervals([], "nothing"),
        charts.heatmap([ODD, "b"], [[None, 0.5], [-0.999, None]], ODD),
    ]
    for page in pages:
        parsed(page)
        assert "<a" not in page


def test_each_line_has_a_colour_of_its_own_in_light_dark_and_print():
    six = {str(n): [(0, n), (1, n)] for n in range(6)}  # as many classes as a page draws
    kinds = re.findall(r'polyline class="(s\d)"', charts.lines(six, "x", "y", "classes"))
    style = (Path(charts.__file__).parent / "templates/base.html").read_text(encoding="utf-8")
    colours = [re.search(rf"\.{kind}{{stroke:var\((--\w)\)}}", style) for kind in kinds]
    assert all(colours) and len({found[1] for found in colours if found}) == 6
    for found in colours:
        assert found and len(set(re.findall(rf"{found[1]}:(#\w+)", style))) == 2
        assert style.count(f"{found[1]}:#") == 3


def test_long_names_of_axes_take_a_line_more():
    long = "share of the others that is right"
    series = {"a": [(0, 1), (1, 2)], "b": [(0, 2), (1, 1)]}
    short, two = (charts.lines(series, x, x, "x") for x in ("ab", long))
    for svg in (two, charts.scatter([(0, 1)], long, long, "x")):
        texts = [text.text or "" for text in parsed(svg).iter() if text.tag == "text"]
        assert max(map(len, texts)) <= 60 and any(text.endswith("(up)") for text in texts)
    assert height_of(two) == height_of(short) + 16  # the key of the lines moves down


def test_a_line_without_points_has_no_key():
    none = charts.lines({"training rows": [(1, None)], "valid": [(0, 1), (1, 2)]}, "x", "y", "x")
    assert none == charts.lines({"valid": [(0, 1), (1, 2)]}, "x", "y", "x")
    assert "training rows" not in none


def test_bars_and_intervals_are_to_scale():
    svg = charts.bars([("a", 1.0, ""), ("b", 0.25, ""), ("c", -0.5, "")], "x")
    a, b, c = numbers_in(svg, "width")
    assert b == pytest.approx(a / 4, abs=0.1) and c == pytest.approx(a / 2, abs=0.1)
    left = [float(x) for x in re.findall(r'<rect [^>]*\bx="([\d.]+)"', svg)]
    assert left[0] == left[1] == pytest.approx(left[2] + c, abs=0.1)
    svg = charts.intervals([("a", 0.5, 0.4, 0.6), ("b", 0.6, 0.5, 0.8)], "x")
    circles = numbers_in(svg, "cx")
    lines = re.findall(r'class="s0" x1="([\d.]+)" y1="[\d.]+" x2="([\d.]+)"', svg)
    unit = circles[1] - circles[0]
    assert float(lines[1][1]) - float(lines[1][0]) == pytest.approx(3 * unit, abs=0.3)


def test_ticks_cover_the_values_in_round_steps():
    @settings(max_examples=200)
    @given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
    def holds(a, b):
        low, high = min(a, b), max(a, b)
        ticks = charts._ticks(low, high)
        assert ticks == sorted(set(ticks)) and 2 <= len(ticks) <= 9
        span = max(high - low, abs(high), 1e-9)
        assert ticks[0] <= low + 1e-6 * span and ticks[-1] >= high - 1e-6 * span

    holds()


def interval(value: float | None, width: float = 0.05) -> dict[str, float | None]:
    low, high = (None, None) if value is None else (value - width, value + width)
    return {"value": value, "low": low, "high": high}


def evaluation() -> dict[str, Any]:
    """Return a metrics.json with odd texts and missing values."""
    plain = {"pr_auc": 0.3, "recall": 0.5, "calibration_slope": None}
    return {
        "task": "binary",
        "primary_metric": "pr_auc",
        "version": "v3",
        "run": "r1",
        "baselines": {"class_prior": plain, "logistic_regression": plain},
        "candidates": {"lightgbm": plain | {"fit_seconds": 1.5}, "logistic_regression": plain},
        "champion": {
            "name": "lightgbm",
            "version": "v3",
            "metrics": {name: interval(value) for name, value in plain.items()},
            "threshold": 0.125,
        },
        "confusion": {"tp": 60, "fp": 90, "fn": 40, "tn": 810},
        "gate": {
            "passed": True,
            "reasons": [],
            "warnings": [],
            "gain": 0.04,
            "gain_low": 0.01,
            "min_gain": 0.01,
            "limit": 0.2,
        },
        "gains": {name: interval(0.04) for name in ("class_prior", "logistic_regression")},
        "data": {"rows": 5000, "test_rows": 1000, "positives": 100, "hash": "ab" * 32},
        "business": {
            "currency": "EUR",
            "cost_per_1000": 5310.0,
            "cost_per_1000_baseline": 9000.0,
            "baseline_policy": "today's process",
            "ending_today": 0.0,
            "value_per_year": 62345.6,
            "value_low": -48.0,
            "value_high": 75000.0,
            "prevalence": 0.1,
            "flagged_share": 0.15,
            "precision": 0.4,
            "says_nothing": False,
        },
        "cost_curve": [[0.0, 900.0], [0.1, 500.0], [1.0, 700.0]],
        "calibration": {
            "ece": 0.02,
            "slope": None,
            "bins": [{"predicted": 0.1, "observed": 0.12, "n": 500}],
        },
        "slices": [
            {
                "column": "plan",
                "level": ODD,
                "n": 500,
                "positives": 50,
                "metric": 0.3,
                "low": 0.2,
                "high": 0.4,
            },
            {
                "column": "plan",
                "level": "b",
                "n": 50,
                "positives": 0,
                "metric": None,
                "low": None,
                "high": None,
            },
        ],
        "roc": [[0, 0], [0.2, 0.7], [1, 1]],
        "pr": [[0, 1], [1, 0.1]],
    }


TRAINED = {
    "split": {"scheme": "time", "development_rows": 4000, "test_rows": 1000},
    "cv": {
        "scheme": "time_series",
        "folds": 2,
        "scores": {"class_prior": [0.1, 0.1], "lightgbm": [0.3, 0.35]},
    },
    "candidates": {"lightgbm": {"score": 0.32, "std": 0.03, "fit_seconds": 1.5, "rounds": None}},
    "chosen": "lightgbm",
    "learning_curve": [
        {"rows": 500, "train": 0.9, "valid": 0.2},
        {"rows": 4000, "train": 0.6, "valid": 0.3},
    ],
    "features": ["age", "plan"],
    "version": "v3",
}
EXPLAINED = {
    "global": [{"feature": "age", "importance": 0.1}, {"feature": ODD, "importance": -0.01}],
    "method": "permutation",
    "made": [
        {
            "feature": "share",
            "operator": "Ratio",
            "of": ["age", ODD],
            "why": ODD,
            "gain": 0.02,
            "microseconds": 0.05,
        }
    ],
    "rows": [
        {
            "row": 12,
            "probability": 0.8,
            "contributions": [
                {"feature": "plan", "value": ODD, "contribution": 0.2},
                {"feature": "age", "value": None, "contribution": -0.1},
            ],
        }
    ],
    "partial_dependence": {"age": [[20, 0.1], [60, 0.4]], "plan": [[ODD, 0.2], ["b", 0.1]]},
}
COSTS = {"numbers": 9, "fit_seconds": 1.5, "row_ms": 0.1, "rows_per_s": 9e3, "model_mb": 0.1}
CARD = {
    "measured": {"lightgbm": {"quality": 0.4, "parts": 1, **COSTS}},
    "points": {"lightgbm": {"total": 0.75}},
    "twice": ["quality", "training_time"],
}
PLAN = SimpleNamespace(
    project=SimpleNamespace(name=f"Shop {ODD}"),
    answers={"problem": f"Who buys? {ODD}", "target": "bought", "prediction_unit": "payment"},
    named=lambda name: f"the {name.replace('_', ' ')}",
    value=lambda output: ["precision", "recall", "roc_auc"],
)


def page(path: Path, template: str, **context: Any) -> str:
    """Render, check what every page must be, and return its text."""
    report.render(template, path, **context)
    html = path.read_text("utf-8")
    pages = re.sub(r"<!DOCTYPE html>|<meta[^>]*>", "", html)
    root = ElementTree.fromstring(pages)
    assert not {"script", "link", "a", "img", "iframe"} & {element.tag for element in root.iter()}
    assert not {"src", "href", "onload"} & {name for e in root.iter() for name in e.attrib}
    assert not re.search(r"url\(|@import", root.findtext("head/style"))
    for figure in root.iter("figure"):
        assert figure.find("svg") is not None and figure.findtext("figcaption")
    for table in root.iter("table"):
        assert table.findtext("caption") and all(th.get("scope") for th in table.iter("th"))
        widths = {len(list(row)) for row in table.iter("tr")}
        assert len(widths) == 1
    return re.sub(r"\s+", " ", " ".join(root.itertext()))


def test_evaluation_page_says_the_verdict_first(tmp_path):
    quality = {"rows": 5100, "valid": 5000, "rejected": 100, "contract_sha256": "cd" * 32}
    context = {"plan": PLAN, "training": TRAINED, "explain": EXPLAINED, "data_quality": quality}
    context["bench"] = {"scorecard": CARD}
    text = page(tmp_path / "e.html", "evaluation.html", metrics=evaluation(), **context)
    assert text.index("Gate passed") < text.index("Against what?")
    assert "the verdict at the top of PLAN.md" in text
    assert "Of 100 positives it finds 60 , and raises 90 false alarms" in text
    assert "flags those of 12.5 % or more" in text and "62 346" in text
    assert "The interval holds zero" in text and "made up" not in text
    for name in ("lightgbm", "class_prior", "logistic_regression"):  # words, no code names
        assert f"the {name.replace('_', ' ')} (" in text and ("_" not in name or name not in text)
    assert "Points of 1 the pr auc" in text and "Counting twice: quality, training time." in text
    html = (tmp_path / "e.html").read_text(encoding="utf-8")
    looks = html.index("What does it look at?")  # beside a chart the last columns are out of sight
    assert "grid" not in html[looks : html.index("Made feature")]
    failed = evaluation()
    failed["made_up"] = failed["business"]["says_nothing"] = True
    failed["gate"] |= {"passed": False, "reasons": ["pr_auc is 0.100; the plan asks for 0.200"]}
    alone = {"plan": PLAN, "training": None, "explain": None, "data_quality": None, "bench": None}
    text = page(tmp_path / "f.html", "evaluation.html", metrics=failed, **alone)
    assert "Gate not passed: do not put this version to work" in text
    assert "the plan asks for 0.200" in text and "Gate passed" not in text
    assert "62\u00a0346" not in text and "not measured" in text  # as in PLAN.md
    assert text.index("The data are made up.") < text.index("Gate not passed")


def test_evaluation_page_when_nothing_is_flagged(tmp_path):
    metrics = evaluation()
    metrics["confusion"] = {"tp": 0, "fp": 0, "fn": 100, "tn": 900}
    metrics["business"]["flagged_share"] = 0.0
    metrics["slices"] = []
    alone = {"plan": PLAN, "training": None, "explain": None, "data_quality": None, "bench": None}
    text = page(tmp_path / "e.html", "evaluation.html", metrics=metrics, **alone)
    assert "Of 100 positives it finds 0 , and raises 0 false alarms" in text


def test_drift_page(tmp_path):
    def row(name: str, value: float | None, level: str) -> dict[str, Any]:
        limits = {"limit_warn": 0.1, "limit_act": 0.25}
        return {
            "feature": name,
            "statistic": "distribution",
            "test": "psi",
            "value": value,
            "level": level,
        } | limits

    found = {
        "version": "v3", "run": "r1", "rows": 900, "reference_rows": 5000, "level": "act",
        "features": [row(ODD, 0.4, "act"), row("b", None, "too_few_rows")],
        "prediction": row("prediction", 0.01, "ok"), "performance": None,
    }  # fmt: skip
    text = page(tmp_path / "d.html", "drift.html", drift=found)
    assert "Drift: act now" in text and "ml retrain-check" in text
    quiet = found | {"features": [], "level": "ok"}
    assert "No drift that matters" in page(tmp_path / "q.html", "drift.html", drift=quiet)
    few = found | {"prediction": row("prediction", None, "too_few_rows"), "level": "too_few_rows"}
    assert "Too few rows to tell" in page(tmp_path / "f.html", "drift.html", drift=few)


def test_an_unknown_name_in_a_template_is_an_error_and_writes_nothing(tmp_path):
    with pytest.raises(jinja2.UndefinedError):
        report.render("drift.html", tmp_path / "d.html", drift={"version": "v1"})
    assert not list(tmp_path.iterdir())


def test_a_foreign_variable_stops_nothing_and_no_value_is_shown(tmp_path, monkeypatch, capsys):
    for name in ("ML_A__B", "ML_TRAINING__LR", "ML_FLOW__TOKEN", "ML_TRAINING__SEDE"):
        monkeypatch.setenv(name, "{s3cret: [")
    monkeypatch.setenv("ML_TRAINING__FOLDS", "3")
    assert Project(tmp_path).config.training.folds == 3
    told = "environment: ML_TRAINING__SEDE has no effect; ML_TRAINING__SEED is a setting\n"
    assert capsys.readouterr().err == told
    for value in ("s3cret", "{s3cret: [", "2026-13-45", "[" * 5000):
        monkeypatch.setenv("ML_TRAINING__SEED", value)
        with pytest.raises(
            ProjectError, match=r"set such as ML_TRAINING__SEED=7, or unset"
        ) as raised:
            _ = Project(tmp_path).config
        assert value not in str(raised.value)


@pytest.mark.parametrize("variable", VARIABLES)
def test_each_setting_tells_the_form_that_works(tmp_path, monkeypatch, variable):
    """The value that a message offers is taken, by the variable and by the file."""
    monkeypatch.setenv(variable, "[[1]]" if variable == "ML_SERVING__FALLBACK" else "{a: 1}")
    with pytest.raises(ProjectError) as raised:
        _ = Project(tmp_path).config
    said = str(raised.value)
    shown, line = re.findall(
        r"set such as (\S.*), or unset it and write `(.*)` in config.yaml", said
    )[0]
    name, value = shlex.split(shown)[0].split("=", 1)
    assert name == variable
    monkeypatch.setenv(name, value)
    by_variable = Project(tmp_path).config
    monkeypatch.delenv(name)
    (tmp_path / "config.yaml").write_text(line + "\n")
    assert Project(tmp_path).config == by_variable


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "evaluation: {slices: nope}",
            "`array`, got `str`: write such as `evaluation: {slices: [region,",
        ),
        (
            "evaluation: {slices: [1]}",
            "evaluation.slices[0]: Expected `str`, got `int`: write such",
        ),
        (
            "evaluation: {slice: [a]}",
            "NAME is one of bootstrap, slices, min_slice_rows, worst_slice",
        ),
        ("evaluation: 5", "NAME is one of bootstrap, slices, min_slice_rows, worst_slice"),
        (
            "evaluatoin: {slices: []}",
            "the groups are data, training, tuning, evaluation, serving, bench, mon",
        ),
        ("training: {folds: 1}", ">= 2: write such as `training: {folds: 5}` in config.yaml"),
    ],
)
def test_a_wrong_line_of_the_settings_shows_a_right_one(tmp_path, content, said):
    (tmp_path / "config.yaml").write_text(content + "\n")
    with pytest.raises(ProjectError) as raised:
        _ = Project(tmp_path).config
    assert said in str(raised.value)


def test_a_setting_that_the_data_refuse_says_where_it_was_set(tmp_path, monkeypatch):
    assert "config.yaml: data.encoding: no" in str(refused("data.encoding", "no"))
    monkeypatch.setenv("ML_DATA__ENCODING", "klingon")
    said = str(refused("data.encoding", "no such"))
    assert said.startswith("environment: ML_DATA__ENCODING: data.encoding: no such: set such as")


# Columns of the team, at ingest


def test_what_columns_py_adds_becomes_a_column_of_the_contract(shop):
    def add(frame):
        return frame.with_columns(pl.lit(1.5).alias("extra"))

    put(shop, rows())

    with pytest.raises(ProjectError, match=r"columns\.py adds 'extra', which"):
        ingest.run(shop, add)
    document = yaml.safe_load(shop.contract_path.read_text())
    role = {"property": "role", "value": "feature"}
    column = {"name": "extra", "logicalType": "number", "customProperties": [role]}
    document["schema"][0]["properties"].append(column)
    write(shop.contract_path, yaml.safe_dump(document))
    assert ingest.run(shop, add)["added"] == ["extra"]
    assert validation.run(shop)["added"] == ("extra",)
    valid = pl.read_parquet(shop.path("data/processed/valid.parquet"))
    assert valid["extra"].to_list() == [1.5] * valid.height


@pytest.mark.parametrize(
    ("add", "said"),
    [
        (lambda rows: rows.head(1), "returned 1 rows of"),
        (lambda rows: rows.lazy(), "returned LazyFrame, not pl.DataFrame"),
        (lambda rows: rows.select(pl.first()), "lost the column"),
        (lambda rows: rows.with_columns(pl.col("nowhere") + 1), "add failed: ColumnNotFoundError"),
        (lambda rows: rows.select(pl.lit("secret").cast(pl.Float64)), "InvalidOperationError$"),
    ],
)
def test_a_fault_of_columns_py_is_one_line_without_values(shop, add, said):
    put(shop, rows())
    with pytest.raises(ProjectError, match=said) as error:
        ingest.run(shop, add)
    assert "secret" not in str(error.value) and "\n" not in str(error.value)


# Far values


def test_the_treatment_of_far_values_follows_their_shares():
    rng = np.random.default_rng(0)
    calm = rng.normal(size=5000)
    few = np.concatenate([calm, [-60.0] * 20])
    many = np.concatenate([calm, rng.normal(-60, 1, 200)])
    long = np.exp(2 * rng.normal(size=5000))
    found = [profiling.outliers(x) for x in (calm, few, many, long, np.ones(50))]
    treat = ["none", "Winsorise", 'Scale(how="robust")', "Log1p", "none"]
    assert [item["treat"] for item in found] == treat
    assert found[1]["share"] == pytest.approx(20 / 5020)


def test_far_values_that_reach_a_linear_model_are_told(tmp_path):
    far = {"role": "feature", "outliers": {"share": 0.02, "treat": "Log1p"}}
    columns = {"amount": far, "calm": {"role": "feature", "outliers": {"share": 0.0}}}
    trained = {"add_up": ["ridge"], "made": []}

    def told(target=None, **changed):
        profile = {"columns": columns, "target": target or {}}
        storage.write_json(tmp_path / "reports/profile.json", profile)
        storage.write_json(tmp_path / "reports/training.json", trained | changed)
        plan = SimpleNamespace(named=str)
        project = SimpleNamespace(plan=plan, path=lambda name: tmp_path / name)
        return [finding.message.replace("\u00a0", " ") for finding in plan_check._outliers(project)]

    (message,) = told()
    assert message.startswith("2 % of the values of amount lie far out, which ridge feels")
    assert "declare Log1p in features.py" in message
    assert told(add_up=[]) == []  # trees
    treated = {"operator": "Log1p", "of": ["amount"], "to": "linear"}
    assert told(made=[treated]) == []
    assert len(told(made=[treated | {"to": "trees"}])) == 1
    (message,) = told({"name": "cost", "absurd": 11}, add_up=[])
    assert message.startswith("11 values of cost lie absurdly far from the others")
    assert told({"name": "cost", "absurd": 0}, add_up=[]) == []
