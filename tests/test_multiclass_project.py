"""A project that tells one of several classes, from the copy to a served model."""

import json
from pathlib import Path

import numpy as np
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
CLASSES = ["billing", "technical", "delivery", "contract", "outage"]
PROBABILITIES = [f"probabilities_{name}" for name in CLASSES]

BAD: dict[str, tuple[hostile.Change, int, str]] = {
    "one team": (hostile.put("team", "billing"), 1, "a multiclass task needs three"),
    "teams that nobody knows": (hostile.put("team", "sales"), 1, "0 of 8 000 rows are usable"),
    "no team": (hostile.without("team"), 2, "column 'team' is missing from the data"),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = render(
        tmp_path_factory.mktemp("classes") / "p",
        preset="ticket_routing",
        deployment_modes=["rest", "batch"],
    )
    publish(folder)
    made = Made(folder, "ticket_routing", SMALL)
    made.ml("run")
    return made


def test_a_run_passes_its_gate_and_measures_what_the_plan_asks(project: Made) -> None:
    metrics, training = project.report("metrics"), project.report("training")
    assert metrics["gate"]["passed"]
    assert training["classes"] == CLASSES
    assert set(training["calibration"]["losses"]) == {"none", "temperature", "matrix"}
    assert metrics["champion"]["metrics"]["macro_f1"]["low"] > 0.6
    assert metrics["business"]["reviewed_share"] == pytest.approx(0.25, abs=0.05)
    assert [row["name"] for row in metrics["classes"]] == CLASSES
    assert np.sum(metrics["confusion"]) == metrics["data"]["test_rows"]
    explained = project.report("explain")
    (row, *_) = explained["rows"]
    first, second = np.sort(row["probabilities"])[::-1][:2]
    assert row["probability"] == pytest.approx(first)
    usual = dict(zip(CLASSES, explained["base"], strict=True))
    total = usual[row["class"]] - usual[row["against"]]
    total += sum(part["contribution"] for part in row["contributions"])
    assert total == pytest.approx(first - second, abs=0.1)  # the background is drawn
    assert project.report("drift")["level"] == "ok"
    page = (project.folder / "reports/evaluation.html").read_text(encoding="utf-8")
    for said in ("Which classes are confused?", "Right among the accepted", "Expected share"):
        assert said in page, said


def test_the_plan_tells_what_was_measured(project: Made) -> None:
    project.ml("plan", "check")
    plan = (project.folder / "PLAN.md").read_text(encoding="utf-8")
    assert "not measured yet" not in plan
    for said in ("Right among the accepted", "Share of the rarest class"):
        assert f"| {said} |" in plan, said


def test_a_file_gets_a_probability_for_each_class(project: Made, tmp_path: Path) -> None:
    valid = pl.read_parquet(project.folder / "data/processed/test.parquet")
    valid.drop("team").head(200).write_csv(tmp_path / "new.csv")
    project.ml("score", str(tmp_path / "new.csv"), str(tmp_path / "out.csv"))
    scored = pl.read_csv(tmp_path / "out.csv")
    assert scored.height == 200
    assert scored.select(pl.sum_horizontal(PROBABILITIES)).to_series().to_numpy() == (
        pytest.approx(1, abs=1e-5)
    )
    right = scored["decision"] == valid["team"].head(200)
    assert right.mean() > 0.6
    assert right.filter(scored["accepted"]).mean() > right.filter(~scored["accepted"]).mean()


def test_the_service_answers_what_the_file_does(project: Made) -> None:
    (version,) = {p.name for p in (project.folder / "models").iterdir() if p.is_dir()}
    golden = json.loads((project.folder / f"models/{version}/golden.json").read_text())
    with project.serving() as ask:
        answer = ask("/predict", {"rows": golden["rows"]})
        level = project.report("metrics")["champion"]["review_level"]
        assert answer["review_level"] == pytest.approx(level)
        told = golden["scores"]["probabilities"]
        for found, scores in zip(answer["predictions"], told, strict=True):
            assert found["probabilities"] == pytest.approx(scores, abs=1e-5)
            assert found["decision"] in CLASSES
            assert isinstance(found["accepted"], bool)
        document = ask("/openapi.json")["components"]["schemas"]["Prediction"]
        assert document["properties"]["probabilities"]["type"] == "array"
        assert ", ".join(CLASSES) in document["properties"]["probabilities"]["description"]
        counted = ask("/metrics")
        assert 'ml_decisions_total{decision="' in counted
        assert 'ml_accepted_total{accepted="' in counted


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
