"""A newcomer's own file of numbers: no entity, no time, no answer that the preset would give."""

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers.rendering import publish, render
from helpers.running import Made

SMALL = {
    "ML_TRAINING__TRACK": "false",
    "ML_TRAINING__FOLDS": "3",
    "ML_TRAINING__MEMBERS": "1",
    "ML_TRAINING__THREADS": "1",
    "ML_TRAINING__MAX_ROUNDS": "60",
    "ML_EVALUATION__BOOTSTRAP": "100",
}


def table(rows: int, seed: int, spread: float = 1) -> pl.DataFrame:
    """Return deliveries whose seconds follow from the way and the day."""
    rng = np.random.default_rng(seed)
    way, parts = rng.gamma(2, 3, rows), rng.poisson(2, rows)
    day = rng.choice(["Mon", "Tue", "Sat"], rows)
    seconds = 12 + 2 * way + parts + 6 * (day == "Sat") + spread * rng.normal(0, 2, rows)
    return pl.DataFrame({"duration": seconds.round(1), "way": way, "parts": parts, "day": day})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("own")
    table(700, 0).write_csv(folder / "deliveries.csv")
    answers = {"target": "duration", "target_unit": "seconds", "entity": "", "time_column": ""}
    limits = {"n_rows": 700, "target_mean": 30, "max_error": 4, "max_bias": 1}
    made = Made(
        render(folder / "p", task_type="regression", project_name="Own", **answers, **limits),
        "own",
        SMALL,
    )
    publish(made.folder)
    said = made.ml("contract", "infer", "../deliveries.csv", "--target", "duration")
    assert " seconds (named by you or the plan's answers)" in said and "please check" not in said
    config = made.folder / "config.yaml"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("data/sample/dataset.parquet", "../deliveries.csv"), "utf-8")
    made.ml("run")
    return made


def test_a_plan_without_time_and_entity_holds(project: Made) -> None:
    project.ml("plan", "check")
    assert project.report("training")["split"]["scheme"] == "random"
    cv = project.report("training")["cv"]  # 700 rows are few: their folds are drawn several times
    assert (cv["scheme"], cv["folds"], cv["repeats"]) == ("repeated_kfold", 3, 5)


def test_a_row_is_explained_in_what_the_model_predicts(project: Made) -> None:
    first, *rest = project.ml("explain", "--row", "3").splitlines()
    assert first.startswith("value ") and "(mean " in first
    assert any(" way = " in line for line in rest)


def test_errors_that_grew_ask_for_training_and_smaller_ones_do_not(
    project: Made, tmp_path: Path
) -> None:
    for spread, worse in ((0.2, False), (8, True)):
        table(600, 1, spread).write_csv(tmp_path / "new.csv")
        project.ml("monitor", str(tmp_path / "new.csv"), code=int(worse))
        project.ml("retrain-check")
        check = project.report("retrain")["checks"][1]
        assert check["name"] == "MAE worse than its test interval"
        assert check["hit"] is worse and (check["value"] > 0) is worse


def test_the_page_tells_errors_in_the_unit_of_the_target(project: Made) -> None:
    page = (project.folder / "reports/evaluation.html").read_text(encoding="utf-8")
    assert re.search(r"it is off by <strong>[\d.]+ seconds</strong>", page)
    assert "Mean width of the interval, seconds" in page
