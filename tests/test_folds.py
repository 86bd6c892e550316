"""Folds of small data: drawn several times, one row or group left out, one within another."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from helpers import package

from package_name import splitting, training, tuning
from package_name.engine import folds as schemes
from package_name.engine import task
from package_name.engine.errors import ProjectError
from package_name.engine.model import libraries, search
from package_name.engine.model.fitting import Data
from package_name.engine.model.scorer import FeatureSpec, NumericFeature

package.regression()
from regression_package import splitting as of_numbers  # noqa: E402

ROWS = 120
WHO = SimpleNamespace(name="who")
NO_COLUMN = SimpleNamespace(entity=None, time=None, features=[], target=WHO)
BY_ENTITY = SimpleNamespace(entity=WHO, time=None, features=[], target=WHO)
OPTIONS = {"test_share": 0.25, "folds": 4, "embargo_days": 0, "seed": 1}


def table() -> tuple[pl.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    return pl.DataFrame({"who": np.arange(ROWS) // 3}), rng.permutation(np.arange(ROWS) % 3 == 0)


def split(cv: str, contract: SimpleNamespace = NO_COLUMN, scheme: str = "stratified"):
    frame, y = table()
    y = y.astype(np.int8)
    return splitting.split(frame, y, contract, scheme, cv=cv, **OPTIONS), y


def test_repeated_folds_are_drawn_anew_and_test_each_row_as_often() -> None:
    found, y = split("repeated_stratified_kfold")
    plain, _ = split("stratified_kfold")
    assert (found.repeats, len(found.folds)) == (schemes.REPEATS, 4 * schemes.REPEATS)
    assert plain.repeats == 1 and len(plain.folds) == 4
    assert np.array_equal(found.test, plain.test)
    known = y[found.development]
    parts = [found.folds[at : at + 4] for at in range(0, len(found.folds), 4)]
    for part in parts:
        tested = np.concatenate([valid for _, valid in part])
        assert np.array_equal(np.sort(tested), np.arange(len(known)))
        for train, valid in part:
            assert not np.intersect1d(train, valid).size
            assert abs(known[valid].mean() - known.mean()) < 0.05
    assert not np.array_equal(parts[0][0][1], parts[1][0][1])


def test_rows_that_late_labels_leave_nothing_of_are_told_with_the_answer_that_does_it() -> None:
    days = pl.date_range(pl.date(2025, 1, 1), pl.date(2025, 1, 31), eager=True).alias("when")
    by_time = SimpleNamespace(time=SimpleNamespace(name="when"), entity=None, features=[])
    by_time.target = WHO
    y = np.arange(len(days), dtype=np.int8) % 2
    with pytest.raises(ProjectError) as error:
        splitting.split(
            pl.DataFrame({"when": days, "who": y}),
            y,
            by_time,
            "time",
            **OPTIONS | {"embargo_days": 30},
        )
    assert "rows lie in the embargo of 30 days" in str(error.value)
    assert "`label_delay_days`" in str(error.value) and "\n" not in str(error.value)


def test_repeated_folds_keep_entities_together() -> None:
    cv = "repeated_stratified_group_kfold"
    found, _ = split(cv, BY_ENTITY, "stratified_group")
    who = table()[0]["who"].to_numpy()[found.development]
    assert found.repeats == schemes.REPEATS
    for train, valid in found.folds:
        assert not np.intersect1d(who[train], who[valid]).size


def test_one_row_is_left_out_and_classes_keep_their_balance() -> None:
    """Without a row of a class the others would be more frequent, which tells the row's class."""
    found, y = split("leave_one_out")
    known = y[found.development]
    assert found.pooled and len(found.folds) == len(known)
    assert [int(valid[0]) for _, valid in found.folds] == list(range(len(known)))
    assert len({round(float(known[train].mean()), 12) for train, _ in found.folds}) == 1
    assert all(place not in train for train, (place,) in found.folds)
    # Numbers have no balance: all other rows teach.
    frame, _ = table()
    y = np.random.default_rng(0).normal(size=ROWS)
    numbers = of_numbers.split(frame, y, NO_COLUMN, "random", cv="leave_one_out", **OPTIONS)
    assert {len(train) for train, _ in numbers.folds} == {len(numbers.development) - 1}


def test_one_entity_is_left_out() -> None:
    found, _ = split("leave_one_group_out", BY_ENTITY, "stratified_group")
    who = table()[0]["who"].to_numpy()[found.development]
    assert len(found.folds) == len(np.unique(who))
    for train, valid in found.folds:
        assert len(np.unique(who[valid])) == 1 and set(who[train]) == set(who) - {who[valid][0]}


@pytest.mark.parametrize(
    ("cv", "scheme", "way"),
    [
        ("leave_one_out", "stratified_group", "`leave_one_group_out`"),
        ("leave_one_out", "time", "`time_series`"),
        ("repeated_stratified_kfold", "time", "`time_series`"),
        ("leave_one_group_out", "stratified", "`leave_one_out`"),
    ],
)
def test_folds_that_would_tear_rows_apart_are_refused(cv: str, scheme: str, way: str) -> None:
    with pytest.raises(ProjectError) as refused:
        split(cv, BY_ENTITY, scheme)
    said = str(refused.value)
    assert "TRAIN-02" in said and way in said and "\n" not in said


def test_many_rows_are_not_left_out_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemes, "MOST_LEFT_OUT", 50)
    with pytest.raises(ProjectError, match="leaves out 90 rows one by one, 50 at most"):
        split("leave_one_out")


def test_each_split_names_the_folds_that_go_with_it() -> None:
    assert schemes.fitting("time") == ("time_series",)
    assert schemes.fitting(task.BY_CHANCE)[-1] == "leave_one_out"
    assert schemes.fitting(task.BY_ENTITY)[-1] == "leave_one_group_out"
    assert schemes.fitting("random")[:2] == ("kfold", "repeated_kfold")


def test_folds_within_a_fold_never_hold_its_rows() -> None:
    found, _ = split("repeated_stratified_kfold")
    for fold, (train, valid) in enumerate(found.folds):
        inner = found.within(fold)
        assert len(inner) == 3
        for fitted, tested in inner:
            assert not np.intersect1d(np.concatenate([fitted, tested]), valid).size
            assert not np.intersect1d(fitted, tested).size
        assert sum(len(tested) for _, tested in inner) == len(train)
    # In time only earlier folds part the rows; before the first one a fifth of them tells.
    edges = np.array_split(np.arange(80), 4)
    folds = [(np.concatenate(edges[: n + 1]), edges[n + 1]) for n in range(3)]
    timed = splitting.Split(np.arange(80), np.arange(0), folds, [])
    assert [len(timed.within(fold)) for fold in range(3)] == [1, 1, 2]
    assert max(map(max, timed.within(2)[-1])) < 60


def test_repeats_correct_the_error_of_a_difference_and_tell_their_spread() -> None:
    rng = np.random.default_rng(2)
    scores = {"class_prior": rng.normal(0.6, 0.05, 20), "lightgbm": rng.normal(0.7, 0.05, 20)}
    found = {
        name: training.CrossValidated([], np.zeros(1), list(values), 0.0, {})
        for name, values in scores.items()
    }
    names = list(found)
    once = training.paired_differences(found, names, "roc_auc")["class_prior"]
    told = training.paired_differences(found, names, "roc_auc", 5)["class_prior"]
    gaps = scores["lightgbm"] - scores["class_prior"]
    assert told.mean == once.mean == pytest.approx(gaps.mean())
    # Nadeau & Bengio 2003: 1/n + tested/trained rows, of four folds a third.
    assert told.se == pytest.approx(gaps.std(ddof=1) * (1 / 20 + 1 / 3) ** 0.5)
    parts = SimpleNamespace(repeats=5)
    means = scores["lightgbm"].reshape(5, 4).mean(axis=1)
    assert training.spread(found["lightgbm"], parts) == pytest.approx(means.std(ddof=1))


def noise(seed: int) -> tuple[Data, splitting.Split]:
    """Return columns that say nothing of the class."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(90, 12)).astype(np.float32), rng.permutation(np.arange(90) % 2)
    spec = FeatureSpec(tuple(NumericFeature(f"n{n}", f"n{n}") for n in range(12)), ())
    part = rng.permutation(90) % 3
    folds = [(np.flatnonzero(part != n), np.flatnonzero(part == n)) for n in range(3)]
    return Data(x, y, spec, 1), splitting.Split(np.arange(90), np.arange(0), folds, [])


def test_of_noise_nested_folds_find_nothing_where_the_search_finds_luck(tmp_path) -> None:
    settings = SimpleNamespace(seed=1, members=1, max_rounds=25, threads=1)
    facts = SimpleNamespace(tuning="random", primary_metric="roc_auc")
    project = SimpleNamespace(facts=facts, config=SimpleNamespace(training=settings))
    flat, nested = [], []
    for seed in range(4):
        data, parts = noise(seed)
        kept = search.Checkpoint(tmp_path / f"{seed}.jsonl", {"seed": seed})
        inner = [parts._replace(folds=parts.within(fold)) for fold in range(3)]
        best = []
        for number, one in enumerate([parts, *inner]):
            asked = tuning.Search(str(number), "lightgbm", "lightgbm", one)
            tuning._search(project, data, asked, kept, 10, 1e9)
            best.append(max(kept.trials(asked.name), key=lambda trial: trial.score))
        flat.append(best[0].score)
        params = [trial.params for trial in best[1:]]
        judged = training.cross_validate("lightgbm", data, parts, project, best[0].params, params)
        nested.append(float(np.mean(judged.scores)))
        assert len(kept.trials("0")) == 10
    assert np.mean(flat) > 0.57
    assert abs(np.mean(nested) - 0.5) < 0.06 and np.mean(nested) < np.mean(flat) - 0.06


@pytest.mark.parametrize("method", ["tpe", "nested_random", "grid"])
def test_a_search_that_stops_goes_on_as_if_it_had_not(
    method: str, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SimpleNamespace(seed=1, members=1, max_rounds=3, threads=1)
    facts = SimpleNamespace(tuning=method, primary_metric="roc_auc")
    project = SimpleNamespace(facts=facts, config=SimpleNamespace(training=settings))
    data, parts = noise(0)
    asked = tuning.Search("lightgbm", "lightgbm", "lightgbm", parts)
    whole = search.Checkpoint(tmp_path / "whole.jsonl", {"seed": 0})
    tuning._search(project, data, asked, whole, 6, 1e9)
    real, calls = training.cross_validate, []

    def stopped(*given):
        calls.append(given)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(training, "cross_validate", stopped)
    path = tmp_path / "broken.jsonl"
    with pytest.raises(KeyboardInterrupt):
        tuning._search(project, data, asked, search.Checkpoint(path, {"seed": 0}), 6, 1e9)
    again = search.Checkpoint(path, {"seed": 0})
    assert len(again.trials("lightgbm")) == 3
    tuning._search(project, data, asked, again, 6, 1e9)
    assert again.trials("lightgbm") == whole.trials("lightgbm") and len(calls) == 7


def test_a_library_that_is_not_there_is_named_with_a_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: None)
    facts = SimpleNamespace(tuning="tpe", candidates=["logistic_regression", "catboost"])
    with pytest.raises(ProjectError) as refused:
        tuning._kinds(SimpleNamespace(facts=facts))
    said = str(refused.value)
    assert "catboost, which is not installed: run `uv sync --group catboost`" in said
    assert "\n" not in said
