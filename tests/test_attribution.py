"""Explanation drift: what features do to answers, in new rows beside those of the test set."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers import bundles as small

from package_name.engine import attribution, console, monitoring, storage
from package_name.engine.errors import CheckFailed
from package_name.engine.settings import Project

NAMES = ["a", "b", "c"]


def rows(seed: int, n: int = 400, **shift: float) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    for name, times in shift.items():
        x[:, NAMES.index(name)] *= times
    return x


def score(x: np.ndarray) -> np.ndarray:
    return (2 * x[:, 0] + 0.5 * x[:, 1]).astype(np.float64)


def moved(before: np.ndarray, after: np.ndarray) -> list[str]:
    rng = np.random.default_rng(0)
    told = attribution.moved(score, before, after, NAMES, rng)["features"]
    return [one["feature"] for one in told if one["moved"]]


def test_a_feature_that_does_more_or_less_than_before_is_named() -> None:
    assert moved(rows(1), rows(2, a=4)) == ["a"]
    assert moved(rows(1), rows(2, b=0)) == ["b"]
    assert moved(rows(1, b=8), rows(2, b=1)) == ["b"]
    assert moved(rows(1), rows(2, c=50)) == []  # the model does not look at it


def test_rows_of_the_same_kind_are_quiet() -> None:
    found = [moved(rows(seed), rows(seed + 500)) for seed in range(60)]
    assert sum(map(bool, found)) <= 3


@pytest.mark.filterwarnings("error")
def test_ties_and_many_rows_need_no_exact_calculation() -> None:
    moved(rows(1, 400, a=0, b=0), rows(2, 397, a=0, b=0))
    same = np.repeat(rows(1, 20), 20, axis=0)
    moved(same, np.roll(same, 7, axis=0))


def test_shares_are_what_the_weights_say() -> None:
    told = attribution.moved(score, rows(1, 4000), rows(2, 4000), NAMES, np.random.default_rng(0))
    share = {one["feature"]: one["before"] for one in told["features"]}
    assert share["c"] == 0 and share["a"] / share["b"] == pytest.approx(4, rel=0.6)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return small.with_champion(tmp_path_factory.mktemp("attributed"), rows=4000)


def test_monitoring_tells_which_answers_follow_otherwise(project: Project, tmp_path: Path) -> None:
    frame = small.frame(1500, seed=9)
    path = tmp_path / "june.csv"
    frame.write_csv(path)
    told = monitoring.run(project, path)["explanations"]
    assert [one["feature"] for one in told["features"] if one["moved"]] == []
    assert {one["feature"] for one in told["features"]} >= {"calls", "plan", "online", "amount"}
    frame.with_columns(pl.col("calls") + 4).write_csv(path)
    with pytest.raises(CheckFailed):
        monitoring.run(project, path)
    report = storage.read_json(project.path("reports/drift.json"))
    first = report["explanations"]["features"][0]
    assert first["feature"] == "calls" and first["moved"] and first["after"] > first["before"]
    page = project.path("reports/drift.html").read_text(encoding="utf-8")
    assert "How far an answer moves" in page and "as before" in page


def test_without_a_test_set_or_new_rows_nothing_is_told(project: Project, tmp_path: Path) -> None:
    assert monitoring.run(project)["explanations"] is None  # the test set itself
    frame = small.frame(600, seed=3)
    frame.write_csv(tmp_path / "few.csv")
    scorer, agreed = monitoring._champion(project)
    typed = monitoring._file(project, scorer, agreed, tmp_path / "few.csv").frame
    assert attribution.compared(project, scorer, agreed, typed.head(20)) is None
    assert attribution.compared(project, scorer, agreed, typed.drop("calls")) is None
    assert attribution.compared(Project(tmp_path), scorer, agreed, typed) is None


def test_reports_with_numbers_of_numpy_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    report = {"share": np.float64(0.5), "rows": np.arange(2), "one": np.int64(3)}
    console.show(report, True, "never")
    assert json.loads(capsys.readouterr().out) == {"share": 0.5, "rows": [0, 1], "one": 3}
    console.show(report, False, "told")
    assert capsys.readouterr().out == "told\n"
