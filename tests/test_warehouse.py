"""A model as one query: it answers as the model does, and the champion is held against it."""

import datetime as dt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import msgspec
import numpy as np
import polars as pl
import pytest
from helpers import bundles
from helpers.package import load, regression, sources

from package_name import features
from package_name.engine import audit, storage, warehouse
from package_name.engine.data import contract
from package_name.engine.data.contract import Column, Contract
from package_name.engine.errors import ProjectError
from package_name.engine.features import encode
from package_name.engine.model import families
from package_name.engine.model.fitting import Data
from package_name.engine.model.scorer import CategoricalFeature, FeatureSpec, NumericFeature
from package_name.models import FITTERS
from package_name.planner import measured, measured_warehouse

regression()
load("multiclass_package", sources("multiclass"))
from multiclass_package import models as of_classes  # noqa: E402
from multiclass_package.engine import warehouse as sql_of_classes  # noqa: E402
from multiclass_package.engine.errors import ProjectError as ErrorOfClasses  # noqa: E402
from multiclass_package.engine.model.fitting import Data as DataOfClasses  # noqa: E402
from regression_package import models as of_numbers  # noqa: E402
from regression_package.engine import warehouse as sql_of_numbers  # noqa: E402
from regression_package.engine.model.fitting import Data as DataOfNumbers  # noqa: E402

ROWS = 700
RNG = np.random.default_rng(5)
AGREED = Contract(
    name="t",
    version="1",
    columns=(
        Column(name="id", kind="integer", role="entity"),
        Column(name="größe", kind="number", role="feature"),
        Column(name="n", kind="integer", role="feature"),
        Column(name="was", kind="boolean", role="feature"),
        Column(name="on", kind="date", role="feature"),
        Column(name="seen", kind="timestamp", role="feature"),
        Column(name="it's", kind="category", role="feature"),
        Column(name="y", kind="boolean", role="target"),
    ),
    primary_key=("id",),
)
LEVELS = ("", "O'Hara", 'say "x"', "b")
SPEC = FeatureSpec(
    (
        NumericFeature("größe", "größe"),
        NumericFeature("n", "n"),
        NumericFeature("was", "was"),
        NumericFeature("weekday", "on", "weekday"),
        NumericFeature("month", "on", "month"),
        NumericFeature("hour", "seen", "hour"),
        NumericFeature("age", "on", "elapsed", until="seen"),
        NumericFeature("since", "seen", "elapsed", reference="2024-01-01T06:00:00"),
    ),
    (CategoricalFeature("it's", "it's", LEVELS),),
)


def some(name: str, values: Any) -> pl.Series:
    gone = RNG.random(ROWS) < 0.1
    return pl.Series(name, [None if no else v for no, v in zip(gone, values, strict=True)])


FRAME = pl.DataFrame(
    [
        pl.Series("id", range(ROWS)),
        some("größe", (RNG.normal(size=ROWS) * 1e3).tolist()),
        some("n", RNG.integers(0, 10**9, ROWS).tolist()),
        some("was", (RNG.random(ROWS) < 0.5).tolist()),
        some("on", [dt.date(2023, 1, 1) + dt.timedelta(days=n) for n in range(ROWS)]),
        some(
            "seen", [dt.datetime(2024, 3, 1, 5, 7, 9) + dt.timedelta(hours=n) for n in range(ROWS)]
        ),
        some("it's", RNG.choice([*LEVELS[1:], "unseen"], ROWS).tolist()),
    ]
)
X = encode(SPEC, FRAME)
SIGNAL = np.nan_to_num(X[:, 0]) / 1e3 + (X[:, 8] == 1) - np.isnan(X[:, 1])
Y = (RNG.random(ROWS) < 1 / (1 + np.exp(-SIGNAL))).astype(np.int8)


@pytest.mark.parametrize("name", ["logistic_regression", "decision_tree"])
def test_duckdb_answers_as_the_model_does(name: str) -> None:
    fitted = FITTERS[name](Data(X, Y, SPEC, 1), 0, {})
    asked = warehouse.query(fitted.model, SPEC, AGREED, 'my "table"')
    rows = warehouse.worse(FRAME, SPEC)
    assert rows["it's"].is_in(['it\'s a "new" one']).any() and rows.height == 2 * ROWS
    engine, apart = warehouse.prove(
        asked, AGREED, 'my "table"', rows, warehouse.said(fitted, encode(SPEC, rows))
    )
    assert engine == "DuckDB" and apart < 1e-9
    with duckdb.connect() as connection:
        connection.execute('create table "my ""table""" as select * from (values (7)) as v(id)')
        for column in AGREED.features:
            kind = {"number": "double", "integer": "bigint", "category": "varchar"}.get(
                column.kind, column.kind
            )
            connection.execute(f'alter table "my ""table""" add column "{column.name}" {kind}')
        [(key, answer)] = connection.execute(asked.text).fetchall()
    nothing = np.full((1, len(SPEC.names)), np.nan, np.float32)
    nothing[0, -1] = 0  # "" is a level of its own here
    assert key == 7 and answer == pytest.approx(
        float(warehouse.said(fitted, nothing)[0]), abs=1e-12
    )


def test_a_query_that_answers_otherwise_is_never_written() -> None:
    fitted = FITTERS["decision_tree"](Data(X, Y, SPEC, 1), 0, {})
    asked = warehouse.query(fitted.model, SPEC, AGREED, "t")
    broken = asked._replace(
        text=asked.text.replace(" OR f0 IS NULL", "").replace("<= ", "< 1e-3 + ")
    )
    with pytest.raises(ProjectError, match="differs from the model by"):
        warehouse.prove(broken, AGREED, "", FRAME, warehouse.said(fitted, X))


def test_amounts_and_classes_are_written_too() -> None:
    y = np.exp(SIGNAL)
    fitted = of_numbers.FITTERS["ridge"](DataOfNumbers(X, y, SPEC, 1), 0, {})
    asked = sql_of_numbers.query(fitted.model, SPEC, AGREED, "t")
    assert sql_of_numbers.prove(asked, AGREED, "", FRAME, fitted.predict(X))[1] < 1e-9
    tree = of_numbers.FITTERS["decision_tree"](DataOfNumbers(X, y, SPEC, 1), 0, {})
    asked = sql_of_numbers.query(tree.model, SPEC, AGREED, "t")
    answers = sql_of_numbers.said(tree, X)
    assert sql_of_numbers.prove(asked, AGREED, "", FRAME, answers)[1] < 1e-9
    np.testing.assert_allclose(answers, tree.predict(X), rtol=1e-5)
    levels = ("low", "middle", "it's high")
    codes = np.digitize(SIGNAL, [-0.5, 0.5])
    for name in ("logistic_regression", "decision_tree"):
        data = DataOfClasses(X, codes, SPEC, 1, levels)
        fitted = of_classes.FITTERS[name](data, 0, {})
        asked = sql_of_classes.query(fitted.model, SPEC, AGREED, "t", levels)
        assert asked.numbers == ["p_low", "p_middle", "p_it's high"]
        assert (
            sql_of_classes.prove(asked, AGREED, "", FRAME, sql_of_classes.said(fitted, X))[1] < 1e-9
        )


def test_without_duckdb_polars_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(warehouse, "import_module", missing)
    plain = FeatureSpec(SPEC.numeric[:3], SPEC.categorical)
    x = encode(plain, FRAME)
    fitted = FITTERS["logistic_regression"](Data(x, Y, plain, 1), 0, {})
    asked = warehouse.query(fitted.model, plain, AGREED, "t")
    engine, apart = warehouse.prove(asked, AGREED, "", FRAME, fitted.predict(x))
    assert engine == "Polars" and apart < 1e-9


def test_what_no_query_makes_is_refused() -> None:
    back: Any = SimpleNamespace(history=[SimpleNamespace(name="spent_90d")], texts=(), words=())
    with pytest.raises(ProjectError, match="look back cannot be written in SQL \\(spent_90d\\)"):
        warehouse.check(back, AGREED)
    forest = families.random_forest(Data(X, Y, SPEC, 1), 0, {}, classify=True)
    with pytest.raises(ProjectError, match="only a linear model or a single tree"):
        warehouse.query(forest.model, SPEC, AGREED, "t")


def personal(*names: str) -> Contract:
    columns = (msgspec.structs.replace(c, personal=c.name in names) for c in AGREED.columns)
    return msgspec.structs.replace(AGREED, columns=tuple(columns))


def test_no_query_holds_levels_of_a_personal_column() -> None:
    with pytest.raises(ProjectError, match=r"model\.sql would hold .* \(it's\): score with"):
        warehouse.check(SPEC, personal("it's", "n"))
    for given in (personal(), personal("n", "id", "y")):  # of which no query names a value
        warehouse.check(SPEC, given)
    with pytest.raises(ErrorOfClasses, match=r"personal columns \(y\)"):  # p_low, p_high
        sql_of_classes.check(SPEC, personal("y"), ("low", "high"))


def test_the_model_is_chosen_before_the_test_rows_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bundles.with_champion(tmp_path, rows=800)
    agreed = contract.read(made.contract_path)
    rows = pl.read_parquet(made.path("data/processed/valid.parquet"))
    digest = storage.sha256(made.path("data/processed/valid.parquet"))
    parts = SimpleNamespace(development=np.arange(400))
    spec = features.fit(rows[:400], agreed)
    data = Data(encode(spec, rows[:400]), bundles.labels(rows[:400]), spec, 1)

    def cross_validate(model: str, *_: Any) -> Any:
        assert not made.path(audit.TESTED).exists()
        # Of the test rows the logistic regression has more: they were made so.
        return SimpleNamespace(scores=[0.9, 0.8] if model == "decision_tree" else [0.7, 0.8])

    training = SimpleNamespace(
        prepare=lambda _: (rows, agreed, parts, digest, None),
        development_data=lambda *_: data,
        models=SimpleNamespace(FITTERS=FITTERS),
        cross_validate=cross_validate,
        fit=lambda _, name, some, params: FITTERS[name](some, 0, params),
        decision=SimpleNamespace(needed_gain=lambda *_: 0.01),
    )
    monkeypatch.setattr(type(made), "facts", SimpleNamespace(note=dict))
    report = warehouse.run(made, training)
    assert report["model"] == "decision_tree" and [*report["metrics"]] == ["decision_tree"]
    assert report["cv"] == {
        "logistic_regression": pytest.approx(0.75), "decision_tree": pytest.approx(0.85),
    }  # fmt: skip
    assert report["metrics"]["decision_tree"] < report["champion"]  # a logistic regression
    [(*_, entry)] = audit.lines(made.path(audit.TESTED))
    test = storage.sha256(made.path("data/processed/test.parquet"))
    assert (entry["version"], entry["test_sha256"]) == ("v1", test)


@pytest.mark.parametrize(("gain", "enough"), [(0.004, True), (0.03, False)])
def test_a_champion_that_gains_too_little_is_not_worth_a_service(gain: float, enough: bool) -> None:
    report = {
        "model": "decision_tree",
        "primary_metric": "roc_auc",
        "metrics": {"decision_tree": 0.8},
        "champion": 0.8 + gain,
        "gain": {"value": gain, "low": gain - 0.001, "high": gain + 0.001},
        "min_gain": 0.01,
        "suffices": enough,
        "proof": {"by": "DuckDB", "rows": 10, "worst": 1e-12, "bytes": 900},
    }
    assert ("a warehouse can score alone" in warehouse.told(report)) == enough
    said = measured_warehouse.told(report, None)["verdict"]  # type: ignore[arg-type]
    assert ("suffices where" in said) == enough


def test_a_row_that_two_reports_tell_is_sealed_as_one() -> None:
    block = SimpleNamespace(row=True, title="Score card")
    project: Any = SimpleNamespace(plan=SimpleNamespace(blocks={"MOD-06": block}))
    told = [(["one."], "run 1a, bench.json abcdef"), (["two."], "run 1a, warehouse.json 123456")]
    lines = measured._block(project, "MOD-06", told)
    assert measured.sealed("MOD-06", lines)
    assert not measured.sealed("MOD-06", [lines[0].replace("two", "three")])
