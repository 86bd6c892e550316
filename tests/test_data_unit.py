"""Hard cases of reading, validating and profiling tables, on the raw template package."""

import datetime as dt
import math
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tests.helpers.package  # noqa: F401  makes `package_name` importable
from package_name import ingest, validation
from package_name.contract import Column, Contract
from package_name.errors import ProjectError


def contract(*columns: Column, key: tuple[str, ...] = ()) -> Contract:
    target = Column(name="bought", kind="boolean", role="target", positive="true")
    return Contract(name="t", version="1", columns=(*columns, target), primary_key=key)


def feature(name: str = "x", kind: str = "number", **more) -> Column:
    return Column(name=name, kind=kind, role="feature", **more)


def check(column: Column, values: list, **more) -> validation.Validation:
    frame = pl.DataFrame({column.name: values, "bought": ["true"] * len(values)}, strict=False)
    return validation.apply(contract(column, **more), frame)


def write(path: Path, content: str | bytes) -> Path:
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
        ("t.csv", "\xe9,b\n1,2\n".encode("latin-1"), "data.encoding: latin-1"),
        ("t.csv", "a,b\n1,2\n".encode("utf-16"), "line 1, byte 1 (0xff)"),
        ("t.csv", b'a,b\n1,"open\n', "t.csv: "),
        ("t.parquet", b"PAR1 not really", "not a whole Parquet file"),
        ("t.jsonl", b'{"a": 1}\n{"a":', "t.jsonl: "),
        ("t.jsonl", b"hello\n", "t.jsonl: "),
        ("t.json", b"[1, 2", "t.json: "),
        ("t.ndjson", '{"a": "\xe9"}\n'.encode("latin-1"), "line 1, byte 8"),
        ("t.xlsx", b"PK", "unknown file type"),
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
    with pytest.raises(ProjectError, match="no such file"):
        ingest.read_table(tmp_path / "folder.csv")
    pl.DataFrame({"a": range(5000)}).write_parquet(tmp_path / "t.parquet")
    whole = (tmp_path / "t.parquet").read_bytes()
    for size in (3, len(whole) // 2, len(whole) - 1):
        with pytest.raises(ProjectError, match="not a whole Parquet file"):
            ingest.read_table(write(tmp_path / "cut.parquet", whole[:size]))
    with pytest.raises(ProjectError, match="unknown encoding 'klingon'"):
        ingest.read_table(write(tmp_path / "t.csv", "a,b\n1,2\n"), "klingon")


def test_configured_encoding_is_used(tmp_path):
    path = write(tmp_path / "t.csv", "größe;b\ncaf\xe9;2\n".encode("latin-1"))
    assert ingest.read_table(path, "latin-1").to_dict(as_series=False) == {
        "größe": ["café"],
        "b": ["2"],
    }


# Validating


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
        ["id: duplicate key"],
        ["age: minimum", "plan: levels", "bought: type"],
    ]
    assert result.rules == {
        "age: minimum": 2, "age: maximum": 2, "plan: levels": 2, "age: type": 1, "bought: type": 1,
        "age: required": 1, "age: infinite": 1, "id: duplicate key": 1,
    }  # fmt: skip
    assert result.warnings == {"city: levels": 1}
    assert (result.unlabelled, result.valid.height, result.rejected.height) == (1, 1, 9)
    assert result.rejected.drop("_rules").columns == frame.columns
    assert result.rejected["age"][2] == "old"
    assert result.valid.rows() == [(1, 30.0, "a", "x", True)]


def test_rows_are_never_lost_and_values_of_valid_rows_obey_the_contract():
    column = feature("x", minimum=-1.0, maximum=1.0)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.none() | st.floats() | st.integers(-3, 3), min_size=1), st.randoms())
    def holds(values, random):
        if not any(value is not None and value == value for value in values):
            return
        texts = [
            value if value is None or random.random() < 0.5 else str(value) for value in values
        ]
        for raw in (values, [None if text is None else str(text) for text in texts]):
            floats = raw if raw is not values else [v if v is None else float(v) for v in values]
            result = check(column, floats)
            assert result.valid.height + result.rejected.height == len(values)
            kept = result.valid["x"].drop_nulls()
            expected = [v for v in values if v is not None and v == v and -1 <= v <= 1]
            assert kept.to_list() == [float(v) for v in expected]

    holds()


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("number", [" 1.5 ", "1e3", None, "1,5"], [1.5, 1000.0, None, "type"]),
        ("number", [1, 2], [1.0, 2.0]),
        ("number", [True, False], [1.0, 0.0]),
        ("integer", ["3", "3.0", " 4 ", "3.5", "9007199254740993"], [3, 3, 4, "type", 2**53 + 1]),
        ("integer", [3.0, 2.5, math.nan, math.inf], [3, "type", None, "type"]),
        ("boolean", ["TRUE", "f", "Yes", "0", "2"], [True, False, True, False, "type"]),
        ("boolean", [1, 0, 2], [True, False, "type"]),
        ("boolean", [1.0, 0.0, math.nan], [True, False, None]),
        ("category", ["a", "", None, " b"], ["a", None, None, " b"]),
        ("category", [1, 2], ["1", "2"]),
        ("category", [True, False], ["true", "false"]),
        ("date", [dt.datetime(2026, 1, 2, 3)], [dt.date(2026, 1, 2)]),
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
        "2026-01-02T03:04:05", "2026-01-02 03:04:05.250", "2026-01-02T03:04", "2026-01-02 03:04",
        "2026-01-02", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05+02:00", "2026-01-02 03:04:05-0500",
        "02.01.2026 03:04",
    ]  # fmt: skip
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
        ("number", [dt.date(2026, 1, 2)]),
        ("integer", [0.5]),
        ("boolean", ["2"]),
        ("date", [20260102]),
        ("timestamp", ["soon"]),
        ("category", [[1, 2]]),
        ("category", [{"a": 1}]),
        ("category", [b"\xff"]),
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
    assert result.rules == {"a, b: duplicate key": 2, "x: infinite": 1}
    assert result.duplicates == 1
    unkeyed = validation.apply(contract(*columns), frame)
    assert (unkeyed.valid.height, unkeyed.duplicates) == (4, 1)


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
