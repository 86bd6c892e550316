"""A project that predicts a number, from the copy to a served model, with this environment."""

import json
import re
from pathlib import Path

import polars as pl
import pytest
from helpers import hostile
from helpers.rendering import publish, render
from helpers.running import Made

SMALL = {
    "ML_TRAINING__TRACK": "false",
    "ML_TRAINING__FOLDS": "3",
    "ML_TRAINING__MEMBERS": "1",
    "ML_TRAINING__THREADS": "1",
    "ML_EVALUATION__BOOTSTRAP": "100",
}

BAD: dict[str, tuple[hostile.Change, int, str]] = {
    "prices in words": (hostile.put("sale_price", "dear"), 2, "such as 'dear', can be read as"),
    "one price": (
        hostile.put("sale_price", 250_000),
        1,
        "a regression needs a number that differs",
    ),
    "no price": (hostile.without("sale_price"), 2, "column 'sale_price' is missing from the data"),
    "prices without end": (hostile.put("sale_price", "inf"), 1, "0 of 8 000 rows are usable"),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = render(
        tmp_path_factory.mktemp("number") / "p",
        preset="house_price",
        deployment_modes=["rest", "batch"],
    )
    publish(folder)
    made = Made(folder, "house_prices", SMALL)
    made.ml("run")
    return made


def test_a_run_passes_its_gate_and_measures_what_the_plan_asks(project: Made) -> None:
    metrics = project.report("metrics")
    assert metrics["gate"]["passed"] and metrics["primary_metric"] == "mae"
    found = metrics["champion"]["metrics"]
    assert found["mae"]["value"] < metrics["gate"]["limit"]
    assert found["coverage"]["value"] == pytest.approx(0.9, abs=0.04)
    assert min(part["coverage"] for part in metrics["by_size"]) > 0.75
    assert metrics["gains"]["ridge"]["low"] > 0 and metrics["gains"]["median"]["low"] > 0
    assert {"ridge", "lightgbm", "lightgbm_log", "blend"} <= metrics["candidates"].keys()
    explained = project.report("explain")
    (row, *_) = explained["rows"]
    assert {"value", "low", "high", "decision"} <= row.keys()
    total = explained["base"] + sum(part["contribution"] for part in row["contributions"])
    assert total == pytest.approx(row["value"], rel=0.05)  # the background is drawn
    assert project.report("drift")["level"] == "ok"


def test_the_plan_tells_what_was_measured(project: Made) -> None:
    project.ml("plan", "check")
    plan = (project.folder / "PLAN.md").read_text(encoding="utf-8")
    for said in ("Outcomes in their interval", "Mean value", "Bias", "Quantile to decide by"):
        assert f"| {said} |" in plan, said
    assert "of the outcomes are in their interval" in plan
    told = plan.replace("\u00a0", " ")
    money = r"\d[\d ]*(\.\d)?"  # below 10 000 with a decimal, as formats.number writes it
    result = rf"has MAE {money} \({money} to {money}\) EUR, {money} less than ridge \(95 %"
    assert re.search(result, told)
    assert re.search(
        r"\| at least 5 % less error \(default\) \| [\d.]+ % \(.+\) less error \|", told
    )
    page = (project.folder / "reports/evaluation.html").read_text(encoding="utf-8")
    assert "sale_price" in page or "EUR" in page


def test_rows_get_value_interval_and_what_to_plan_with(project: Made, tmp_path: Path) -> None:
    valid = pl.read_parquet(project.folder / "data/processed/test.parquet")
    valid.drop("sale_price", strict=False).head(200).write_csv(tmp_path / "new.csv")
    project.ml("score", str(tmp_path / "new.csv"), str(tmp_path / "out.csv"))
    scored = pl.read_csv(tmp_path / "out.csv")
    assert scored.height == 200
    for row in scored.select("low", "value", "high", "decision").iter_rows():
        assert row[0] <= row[1] <= row[2] and row[0] <= row[3] <= row[2]


def test_the_service_answers_what_the_file_does(project: Made) -> None:
    (version,) = {p.name for p in (project.folder / "models").iterdir() if p.is_dir()}
    golden = json.loads((project.folder / f"models/{version}/golden.json").read_text())
    with project.serving() as ask:
        answer = ask("/predict", {"rows": golden["rows"]})
        assert (answer["quantile"], answer["coverage"]) == (0.5, 0.9)
        for found, told in zip(answer["predictions"], golden["scores"]["value"], strict=True):
            assert found["value"] == pytest.approx(told, rel=1e-4)
            assert found["low"] <= found["value"] <= found["high"]
        text = ask("/metrics")
        assert "ml_value_bucket" in text and "ml_decision_bucket" in text


@hostile.hostile_rows(BAD)
def test_a_bad_table_stops_the_run_and_leaves_the_champion(
    project: Made, tmp_path: Path, change: hostile.Change, code: int, says: str
) -> None:
    hostile.survive_rows(project, tmp_path, change, code, says)


def test_hostile_requests_and_damage_are_survived(project: Made, tmp_path: Path) -> None:
    hostile.survive_attacks(project, tmp_path)


def test_a_shift_is_noticed_and_none_where_there_is_none(project: Made) -> None:
    project.ml("simulate-drift")
    assert all(item["level"] == "act" for item in project.report("simulated_drift")["planted"])


def test_its_own_tests_pass_and_its_types_are_right(project: Made) -> None:
    project.python("-m", "pytest", "-q", "-n0", "tests")
    project.python("-m", "mypy", "--strict", "src")


def test_costs_that_differ_move_what_to_plan_with(tmp_path: Path) -> None:
    """A unit too little costs four times one too much: 80 % of the outcomes lie below."""
    folder = render(tmp_path / "p", preset="delivery_time", deployment_modes=["batch"])
    publish(folder)
    made = Made(folder, "delivery_time", SMALL)
    made.ml("run")
    metrics = made.report("metrics")
    assert metrics["primary_metric"] == "pinball" and metrics["champion"]["quantile"] == 0.8
    assert metrics["business"]["planned_above"] == pytest.approx(0.8, abs=0.05)
    assert metrics["business"]["over"]["low"] > 0
