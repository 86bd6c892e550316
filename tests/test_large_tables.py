"""What is different for millions of rows: rows are drawn, memory stays flat, results stay equal."""

from functools import partial
from pathlib import Path

import helpers.bundles as small
import numpy as np
import polars as pl
import pytest
from helpers.package import SOURCE

from package_name import models, training
from package_name.engine import explaining, progress, resampling
from package_name.engine.data import leakage, reading
from package_name.engine.features import encode
from package_name.engine.model import boosting, fitting, linear, outcome, scorer
from package_name.engine.model.plain import Matrix
from package_name.engine.model.scorer import CategoricalFeature, FeatureSpec, NumericFeature, Scorer
from package_name.engine.serving import batch
from package_name.engine.settings import Project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return small.with_champion(tmp_path_factory.mktemp("large"), rows=3000)


@pytest.fixture
def matrix(project: Project) -> Matrix:
    return encode(Scorer.load(project.path("models/v1")).spec, small.frame(1000, seed=3))


@pytest.mark.parametrize("threads", [0, 1, 2, 7])
def test_scores_have_the_same_bits_in_any_number_of_parts_and_threads(
    project: Project, matrix: Matrix, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Scorer.load(project.path("models/v1")).predict(matrix)
    monkeypatch.setattr(scorer.wanted, "ASKED_ROWS", 64)
    parts = Scorer.load(project.path("models/v1"), threads=threads).predict(matrix)
    assert np.array_equal(whole["probability"], parts["probability"])
    assert np.array_equal(whole["decision"], parts["decision"])


def test_columns_of_the_linear_model_are_those_of_joined_parts() -> None:
    rng = np.random.default_rng(0)
    rows = 500
    numbers = [rng.normal(5, 3, rows), np.where(rng.random(rows) < 0.2, np.nan, 2.0)]
    numbers += [np.full(rows, np.nan), rng.exponential(1, rows)]
    codes = [rng.integers(0, 4, rows), rng.integers(0, 9, rows)]
    x = np.column_stack([*numbers, *codes]).astype(np.float32)
    spec = FeatureSpec(
        tuple(NumericFeature(f"n{j}", f"n{j}") for j in range(4)),
        (CategoricalFeature("a", "a", tuple("abc")), CategoricalFeature("b", "b", tuple("efg"))),
    )
    data = fitting.Data(x, np.zeros(rows, np.int8), spec, 1)
    found, center, spread, sizes = linear.design(data)
    assert sizes == [4, 4]
    known = x[:, :4].astype(np.float64)
    missing = np.isnan(known)
    filled = np.where(missing, center.astype(np.float32), known)
    parts = [(filled - center) / spread, missing, np.eye(4)[codes[0]]]
    parts.append(np.eye(4)[np.minimum(codes[1], 3)])
    assert np.array_equal(found.toarray(), np.hstack(parts))
    assert center[2] == 0 and spread[2] == 1 == spread[1]


def test_curve_gap_examples_and_relations_look_at_drawn_rows(
    project: Project, matrix: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = small.frame(1000, seed=3)
    y = small.labels(table)
    spec = Scorer.load(project.path("models/v1")).spec
    data = fitting.Data(matrix, y, spec, 1)
    fold = (np.arange(800), np.arange(800, 1000))
    parts = outcome.Split(np.arange(1000), np.arange(0), [fold], [])
    monkeypatch.setattr(outcome, "score", lambda _, y, p: float(len(y)))
    monkeypatch.setattr(outcome, "CURVE_ROWS", 300)
    monkeypatch.setattr(outcome, "GAP_ROWS", 250)
    fit = partial(training.fit, project, "logistic_regression")
    curve = outcome.learning_curve(fit, project, data, parts, "logistic_regression", {})
    assert [(point["rows"], point["valid"]) for point in curve][-1] == (300, 200)
    predictor = small.graph.Predictor(
        (small.graph.Member(*models.logistic_regression(data, 0, {})),)
    )
    assert outcome.seen_score(project, data, predictor) == 250
    loaded = Scorer.load(project.path("models/v1"))
    everywhere = explaining.extremes(loaded, matrix, 7)
    monkeypatch.setattr(explaining, "EXAMPLE_ROWS", 100)
    drawn = explaining.extremes(loaded, matrix, 7)
    assert len(drawn) == len(everywhere) == 5 and drawn != everywhere
    monkeypatch.setattr(leakage, "MAX_ROWS", 400)
    assert len(np.unique(leakage.sampled(1000))) == 400 and len(leakage.sampled(300)) == 300
    assert resampling.resamples(500, 100) == 500 and resampling.resamples(500, 10**6) == 100


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_scoring_counts_its_rows(
    project: Project, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(reading, "ROWS", 400)
    monkeypatch.setattr(reading, "CHARACTERS", 8000)
    monkeypatch.setattr(progress, "tell", lambda *words: told.append(words))
    table = small.frame(1000).drop("y")
    source = tmp_path / f"in{suffix}"
    table.write_csv(source) if suffix == ".csv" else table.write_parquet(source)
    batch.run(project, source, tmp_path / "out.csv")
    counts = [words[1:] for words in told if words[0] == "scored rows"]
    total = None if suffix == ".csv" else 1000  # only the end of a CSV tells
    assert len(counts) > 1 and counts[-1] == (1000, total)
    assert any(words[0].startswith("writing out.csv") for words in told)


def test_there_is_one_kind_of_progress() -> None:
    texts = {p.name: p.read_text(encoding="utf-8") for p in SOURCE.rglob("*.py*")}
    assert not [name for name, text in texts.items() if "rich.progress" in text]


def test_boosting_tells_its_rounds_and_members(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[object, ...]] = []
    monkeypatch.setattr(progress, "detail", lambda *words: told.append(words))
    table = small.frame(400)
    spec = FeatureSpec((NumericFeature("amount", "amount"),), ())
    x = np.ascontiguousarray(table["amount"].cast(pl.Float32).to_numpy()[:, None])
    data = fitting.Data(x, small.labels(table), spec, 1)
    models.FITTERS["lightgbm"](data, 0, {"rounds": 3, "members": 2})
    assert told[-1] == ("member 2 of 2, round", 3, 3) and len(told) == 6
    folds = [(np.arange(300), np.arange(300, 400))]
    boosting.cross_validate(models.KINDS["lightgbm"], data, folds, 0, {}, 5)
    assert told[-1] == ("round", 5, None)


@pytest.mark.parametrize("members", [0, 5000])
def test_intervals_of_drawn_rows_are_as_wide_as_those_of_all(
    members: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(4)
    rows = 20_000
    groups = rng.integers(0, members, rows) if members else None
    y = (rng.random(rows) < 0.1).astype(np.int8)
    better, worse = (1 / (1 + np.exp(2 - y * 2 - rng.normal(0, s, rows))) for s in (1, 1.5))
    drawn = {"draws": 200, "seed": 1, "groups": groups}

    def found() -> list[resampling.Interval]:
        named = resampling.bootstrap(y, better, 0.5, ["roc_auc", "log_loss", "recall"], **drawn)
        gain = resampling.paired_gain(y, better, worse, "roc_auc", **drawn)
        return [*named.values(), gain, resampling.mean_interval(better, **drawn)]

    whole = found()
    monkeypatch.setattr(resampling, "SAMPLED_ROWS", 4000)
    monkeypatch.setattr(resampling, "SAMPLED_LEAST", 200)
    seen = []
    redrawn = resampling.redrawn
    monkeypatch.setattr(
        resampling,
        "redrawn",
        lambda strata, *more: seen.append(sum(map(len, strata))) or redrawn(strata, *more),
    )
    some = found()
    assert max(seen) < 5000
    assert [one.value for one in some] == [one.value for one in whole]
    for one, other in zip(some, whole, strict=True):
        assert 0.75 < (one.high - one.low) / (other.high - other.low) < 1.33
        assert one.low < one.value < one.high
    monkeypatch.setattr(resampling, "SAMPLED_LEAST", 1500)  # of about 2,000 positives
    seen.clear()
    found()
    assert max(seen) > 14_000 if not members else max(seen) > 5000


def test_a_case_that_repeats_tells_its_outcome_in_a_large_table_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leakage, "MAX_ROWS", 2000)
    case = np.random.default_rng(0).permutation(np.arange(40_000) // 8)
    y = pl.Series(case % 3 == 0).cast(pl.Int64)
    told = leakage.association(pl.Series([f"case {number}" for number in case]), y)
    assert told > 0.95  # drawn rows alone hold one row of most cases, which tells nothing
    few = pl.Series([f"level {number % 5}" for number in case])
    rows = leakage.sampled(len(few))
    assert leakage.association(few, y) == leakage.targets.association(few[rows], y[rows])
