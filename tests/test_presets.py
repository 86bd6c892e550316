"""The presets: their numbers are the golden ones, and each trains at once on sample data."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import copier
import jinja2
import pytest
import yaml
from copier.errors import UserMessageError
from helpers.rendering import ROOT, fast_copier, plain_template, recorded, render

GOLDEN: dict[str, dict[str, Any]] = {  # computed apart from this repository
    "churn": {
        "npv": 644740,
        "roi": 2.05,
        "payback_month": 12,
        "discounted_payback_month": 13,
        "break_even_benefit": 23116,
        "margin_of_safety": 0.647,
        "npv_half_benefit": 146554,
        "cost_of_inaction": 9349914,
        "cost_of_delay": 32800,
        "p_star": 0.125,
        "test_rows_needed": 6150,
        "rows_per_arm": 64566,
        "error_budget_minutes": 432,
    },
    "fraud": {
        "npv": 429123,
        "roi": 0.477,
        "payback_month": 23,
        "break_even_benefit": 87058,
        "npv_half_benefit": -389138,
        "cost_of_inaction": 10312966,
        "cost_of_delay": 49700,
        "p_star": 0.0645,
        "test_rows_needed": 492000,
        "rows_per_arm": 706081,
        "error_budget_minutes": 43.2,
        "error_ratio_1h": 0.0144,
    },
    "credit": {
        "npv": 433915,
        "roi": 0.869,
        "payback_month": 26,
        "discounted_payback_month": 28,
        "cost_of_inaction": 6238881,
        "p_star": 0.0687,
        "test_rows_needed": 4556,
        "error_ratio_1h": 0.144,
    },
}
DECIDED: dict[str, dict[str, Any]] = {
    "churn": {
        "warnings": ["keep_a_control_group"],
        "experiment": "before_and_after",  # 150 calls a day fill no two arms within a year
        "duties": [
            *("processing_record", "ccpa_notice", "ccpa_deletion", "ccpa_opt_out", "ai_literacy"),
        ],
        "rollout": "parallel_run_then_switch",
        "retrain": "monthly_check",
    },
    "fraud": {
        "warnings": ["keep_an_untouched_share", "alarms_come_late"],
        "duties": [
            *("processing_record", "impact_assessment", "human_review_of_decisions"),
            "ai_literacy",
        ],
        "rollout": "shadow_then_canary_with_rollback_limits",
        "retrain": "weekly",
    },
    "credit": {
        "candidates": ["logistic_regression"],
        "duties": [
            *("processing_record", "impact_assessment", "ai_literacy", "risk_management"),
            *("data_governance", "technical_documentation", "logging", "instructions_for_use"),
            *("human_oversight", "accuracy_and_robustness", "duties_of_deployers"),
            *("fundamental_rights_assessment", "conformity_assessment", "declaration_and_marking"),
            *("registration", "post_market_monitoring", "explanation_of_decisions"),
        ],
        "rollout": "shadow_then_signature_then_canary",
        "drift_test": "psi",
        "retrain": "quarterly_review",
    },
}


@pytest.fixture(scope="module", params=list(GOLDEN))
def preset(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def project(preset: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preset") / preset
    return render(folder, preset=preset, plan_depth="regulated")


def test_numbers_and_decisions_are_golden(project: Path, preset: str) -> None:
    plan = yaml.safe_load((project / "plan/plan.yaml").read_text(encoding="utf-8"))
    numbers = {
        name: number["value"]
        for group in plan["computed"].values()
        for name, number in group.items()
    }
    for name, expected in GOLDEN[preset].items():
        decimals = len(str(expected).partition(".")[2])
        assert round(numbers[name], decimals) == expected, name
    decided = {d["output"]: d["value"] for d in plan["decisions"].values()}
    assert decided | DECIDED[preset] == decided


def test_every_answer_of_a_preset_is_taken(project: Path, preset: str) -> None:
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(ROOT))
    module: Any = environment.get_template("questions/presets.jinja").module
    answers = recorded(project)
    expected = module.presets[preset] | {"plan_depth": "regulated"}
    assert answers | expected == answers


def test_an_answer_of_a_preset_can_be_changed(tmp_path: Path) -> None:
    answers = recorded(render(tmp_path / "p", preset="fraud", pos_rate=0.002, action="inform"))
    assert (answers["pos_rate"], answers["action"], answers["cost_fn"]) == (0.002, "inform", 180)
    cheap = recorded(render(tmp_path / "q", preset="fraud", cost_fn=5))  # less than its cost_tp
    assert cheap["cost_tp"] == 0
    assert not recorded(render(tmp_path / "r", preset="fraud", entity=""))["entity_repeats"]


def test_a_preset_trains_at_once(project: Path, preset: str) -> None:
    (package,) = (path.name for path in (project / "src").iterdir())
    env = {**os.environ, "PYTHONPATH": "src", "ML_TRAINING__TRACK": "false"}
    for command in (["contract", "check"], ["run"]):
        done = subprocess.run(
            [sys.executable, "-m", package, *command],
            cwd=project,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert "churn" not in (project / "contracts/dataset.odcs.yaml").read_text() or preset == "churn"


@pytest.mark.parametrize(
    "name", ["demand", "product_text", "visual_defect", "recommender", "segmentation"]
)
def test_what_is_not_built_yet_says_so(tmp_path: Path, name: str) -> None:
    with fast_copier(), pytest.raises(UserMessageError, match="not built yet"):
        copier.run_copy(
            str(plain_template()), tmp_path / "p", {"preset": name}, defaults=True, quiet=True
        )
    assert not (tmp_path / "p").exists()
