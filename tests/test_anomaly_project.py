"""A project that finds anomalies, from the copy to a served detector, with this environment."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers import hostile
from helpers.rendering import copy_template, publish, render
from helpers.running import Made

SMALL = {
    "ML_TRAINING__TRACK": "false",
    "ML_TRAINING__FOLDS": "3",
    "ML_TRAINING__THREADS": "1",
    "ML_EVALUATION__BOOTSTRAP": "100",
}

BAD: dict[str, tuple[hostile.Change, int, str]] = {
    "labels that say neither": (hostile.put("fault", "maybe"), 2, "can be read as boolean"),
    "no sensor": (hostile.without("power_kw"), 2, "column 'power_kw' is missing from the data"),
    "too few rows": (lambda frame: frame.head(45), 1, "45 of 45 rows are usable"),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = render(
        tmp_path_factory.mktemp("anomalies") / "p",
        preset="machine_monitoring",
        deployment_modes=["rest", "batch"],
    )
    publish(folder)
    made = Made(folder, "machine_monitoring", SMALL)
    made.ml("run")
    return made


def test_a_run_passes_its_gate_and_measures_what_the_plan_asks(project: Made) -> None:
    metrics = project.report("metrics")
    assert metrics["gate"]["passed"] and metrics["champion"]["name"] == "mean_score"
    assert metrics["primary_metric"] == "injected_average_precision"
    told = metrics["labels"]
    assert told["state"] == "few" and told["quality"] != "measured"
    alerts, budget = metrics["alerts"]["share"], metrics["business"]["budget_share"]
    assert 0 < alerts == pytest.approx(budget, abs=0.01)
    assert 0 < metrics["business"]["precision"] <= 1
    found = {item["kind"]: item["found"] for item in metrics["injected"]}
    assert found["moved"] > 10 * alerts
    assert metrics["stability"]["rank"] > 0.8
    assert project.report("drift")["level"] == "ok"
    page = (project.folder / "reports/evaluation.html").read_text(encoding="utf-8")
    assert "at least -" not in page and "(none asked; the" in " ".join(page.split())
    for said in ("moved", "alerts", "fault"):
        assert said in page, said


def test_the_plan_tells_what_was_measured(project: Made) -> None:
    project.ml("plan", "check")
    plan = (project.folder / "PLAN.md").read_text(encoding="utf-8")
    assert "not measured yet" not in plan
    for said in ("True alerts", "Alerts a day", "Anomalies found", "Labels"):
        assert f"| {said} |" in plan, said


def test_rows_get_a_score_an_alert_and_what_is_unusual(project: Made, tmp_path: Path) -> None:
    valid = pl.read_parquet(project.folder / "data/processed/test.parquet").head(300)
    numbers = [name for name in valid.columns if valid[name].dtype.is_float()]
    odd = valid.head(5).with_columns(pl.col(numbers[0]) + 1000 * (valid[numbers[0]].std() or 1))
    pl.concat([valid, odd]).drop("fault").write_csv(tmp_path / "new.csv")
    project.ml("score", str(tmp_path / "new.csv"), str(tmp_path / "out.csv"))
    scored = pl.read_csv(tmp_path / "out.csv")
    level = project.report("metrics")["champion"]["cut"]
    assert (scored["alert"] == (scored["score"] >= level)).all()
    assert scored["alert"].tail(5).all() and scored["alert"].head(300).mean() < 0.1
    assert scored["top_features"].tail(5).str.starts_with(numbers[0]).all()


def test_the_service_answers_what_the_file_does(project: Made) -> None:
    (version,) = {p.name for p in (project.folder / "models").iterdir() if p.is_dir()}
    golden = json.loads((project.folder / f"models/{version}/golden.json").read_text())
    with project.serving() as ask:
        answer = ask("/predict", {"rows": golden["rows"]})
        told = golden["scores"]["score"]
        assert [row["score"] for row in answer["predictions"]] == pytest.approx(told, abs=1e-5)
        cut = project.report("metrics")["champion"]["cut"]
        for found in answer["predictions"]:
            assert found["alert"] == (found["score"] >= np.float32(cut))
        document = ask("/openapi.json")["components"]["schemas"]["Prediction"]
        assert document["properties"]["alert"]["type"] == "boolean"
        odd = golden["rows"][0] | {"flow_m3_h": 600.0}  # golden rows are mixed: hardly one is odd
        (found,) = ask("/predict", {"rows": [odd]})["predictions"]
        assert found["alert"] and found["top_features"].startswith("flow_m3_h")
        assert 'ml_alerts_total{alert="true"} 1.0' in ask("/metrics")


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


@pytest.mark.nightly
def test_its_own_tests_pass_and_its_types_are_right(project: Made) -> None:
    project.python("-m", "pytest", "-q", "-n0", "tests")
    project.python("-m", "mypy", "--strict", "src")


@pytest.mark.nightly
def test_a_classifier_is_made_of_it_and_back_again(tmp_path: Path) -> None:
    """With labels of all rows the plan says that a classifier would know more: one update away."""
    template = copy_template(tmp_path / "template")
    publish(template, "v1.0.0")
    answers = {"preset": "machine_monitoring", "labels": "full"}
    made = Made(render(tmp_path / "p", template, "v1.0.0", **answers), "machine_monitoring", SMALL)
    plan = made.folder / "PLAN.md"
    plan.write_text(plan.read_text("utf-8").replace("_No answer yet._", "Ours.", 1), "utf-8")
    publish(made.folder)
    made.ml("run")
    first = made.report("metrics")["champion"]
    publish(made.folder)
    there, back = ["task_type=binary"], ["task_type=anomaly", "labels=full"]  # which binary lacks
    for answers, primary in ((there, "roc_auc"), (back, "average_precision")):
        made.ml("update", *(part for answer in answers for part in ("--data", answer)))
        assert "Ours." in plan.read_text("utf-8")
        said = made.ml("models", code=None)
        made.ml("run")
        assert made.report("metrics")["primary_metric"] == primary, said
        publish(made.folder)
    assert made.report("metrics")["champion"]["metrics"] == first["metrics"]
