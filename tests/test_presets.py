"""The presets: their numbers are the golden ones, and each trains at once on sample data."""

import math
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
import pytest
import yaml
from helpers import package
from helpers.rendering import ROOT, recorded, render
from helpers.running import Made
from reference import formulas


def golden(a: dict[str, Any]) -> dict[str, Any]:
    """Compute what the answers of a preset come to, in plain Python and apart from the macros."""
    best, likely, worst = (a[f"build_months{case}"] for case in ("_best", "", "_worst"))
    late = formulas.pert_p80(best, likely, worst)
    budget, first = a["build_cost"] * late / likely, math.ceil(late)
    works, effort = a["action_success"], a["cost_fp"] - a["cost_tn"]
    saved = works * (a["cost_fn"] - a["cost_tp"]) - (1 - works) * effort
    positives = a["predictions_per_month"] * a["pos_rate"]
    reached = positives * a["today_caught"]
    false = reached / a.get("today_precision", 1.0) - reached
    today = reached * saved - false * effort
    acted = min(positives, a["daily_capacity"] * 365.25 / 12)
    assert a["monthly_benefit"] <= acted * saved - today, "more than the cases can bring"
    gap = a["yearly_gap"] / 12
    most = [gap * (1 + a["gap_growth"]) ** (max(0, m - 1) / 12) for m in range(121)]
    flow = (a["monthly_benefit"], a["run_cost"], a["ramp_months"], a["horizon_months"])

    def flows(share: float = 1) -> formulas.Flow:
        benefit, run, ramp, horizon = flow
        success = a["success_probability"]
        return formulas.cash_flow(
            *(budget, first, benefit * share, run, ramp, horizon, success), 0, most
        )

    rate = a["discount_rate"]
    p_star = effort / (effort + saved)
    base = max(p_star, a["pos_rate"])
    per_day = a["predictions_per_month"] * 12 / 365.25
    cases = min(a["daily_capacity"], per_day, per_day * a["pos_rate"] / base)
    if a["action"] == "block":  # what is refused shows no outcome: one in ten is let through
        sized = {"rows_let_through": formulas.rows_for_share(base, base * a["ab_effect"])}
        weeks = math.ceil(10 * sized["rows_let_through"] / cases / 7)
    else:
        sized = {"rows_per_arm": formulas.ab_rows(base, base * (1 - a["ab_effect"]))}
        weeks = math.ceil(2 * sized["rows_per_arm"] / cases / 7)
    return {
        "npv": formulas.npv(flows(), rate),
        "roi": formulas.roi(flows()),
        "payback_month": formulas.payback_month(flows()),
        "npv_half_benefit": formulas.npv(flows(0.5), rate),
        "budget": budget,
        "build_cost": budget,
        "first_use_month": first,
        "cost_of_delay": a["monthly_benefit"] * a["success_probability"] - a["run_cost"],
        "cost_of_inaction": formulas.cost_of_inaction(gap * 12, a["gap_growth"], flow[-1]),
        "p_star": p_star,
        "today": today,
        **sized,
        "weeks": weeks,
        "result_weeks": weeks + math.ceil(a["label_delay_days"] / 7),
        "test_rows_needed": math.ceil(246 / a["pos_rate"]),
    }


DECIDED: dict[str, dict[str, Any]] = {
    "churn": {
        "warnings": ["keep_a_control_group", "todays_process_loses_money"],
        "experiment": "control_group_over_time",  # 150 calls a day fill no two arms within 8 weeks
        "duties": [
            *("processing_record", "rights_of_people"),
            *("ccpa_notice", "ccpa_deletion", "ccpa_opt_out", "ai_literacy"),
        ],
        "rollout": "parallel_run_then_switch",
        "retrain": "monthly_check",
    },
    "fraud": {
        "warnings": ["keep_an_untouched_share", "alarms_come_late"],
        "experiment": "random_share_let_through",
        "duties": [
            *("processing_record", "rights_of_people", "impact_assessment"),
            *("human_review_of_decisions", "ai_literacy", "classification"),
        ],
        "rollout": "shadow_then_canary_with_rollback_limits",
        "retrain": "weekly",
    },
    "credit": {
        "warnings": ["keep_an_untouched_share", "alarms_come_late", "is_real_time_needed"],
        "experiment": "random_share_let_through",
        "candidates": ["logistic_regression"],
        "duties": [
            *("processing_record", "rights_of_people", "impact_assessment"),
            *("human_review_of_decisions", "creditworthiness", "review_of_credit"),
            *("ai_literacy", "classification", "risk_management"),
            *("data_governance", "technical_documentation", "logging", "instructions_for_use"),
            *("human_oversight", "accuracy_and_robustness", "quality_management"),
            "duties_of_deployers",
            *("fundamental_rights_assessment", "conformity_assessment", "declaration_and_marking"),
            *("registration", "post_market_monitoring", "explanation_of_decisions"),
        ],
        "rollout": "shadow_then_signature_then_canary",
        "drift_test": "psi",
        "retrain": "quarterly_review",
    },
}


PRESETS_OF = {
    "binary": ["", "fraud", "credit"],
    "regression": ["", "house_price", "delivery_time"],
}


@pytest.fixture(scope="module", params=list(DECIDED))
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
    for name, expected in golden(plan["answers"]).items():
        assert numbers[name] == pytest.approx(expected, rel=1e-9), name
    assert numbers["npv"] > 0 and numbers["weeks"] < 52
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


def module(task: str, name: str) -> Any:
    package.regression()
    loaded = {"binary": "package_name", "regression": "regression_package"}[task]
    return import_module(f"{loaded}.engine.data.{name}")


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_a_sample_moves_its_target_the_way_that_its_owner_expects(
    task: str, tmp_path: Path
) -> None:
    ways = set()
    for name in PRESETS_OF[task]:
        given = {"preset": name} if name else {"task_type": task}
        folder = render(tmp_path / (name or "start"), **given)
        agreed = module(task, "contract").read(folder / "contracts/dataset.odcs.yaml")
        frame = module(task, "sample").generate(agreed, 6000, seed=42)
        y = frame[agreed.target.name].cast(pl.Float64)
        for column in agreed.features:
            values = frame[column.name]
            if column.kind == "category":
                codes = {level: code for code, level in enumerate(column.levels)}
                values = values.replace_strict(codes, return_dtype=pl.Int64)
            pair = pl.DataFrame({"x": values.cast(pl.Float64), "y": y}).drop_nulls()
            if column.effect:
                found = pair.select(pl.corr("x", "y", method="spearman")).item()
                assert (found > 0) == (column.effect == "up"), (name, column.name, found)
                ways.add(column.name)
    assert ways >= {"binary": {"income", "tenure_months"}, "regression": {"living_area_m2"}}[task]


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


@pytest.mark.parametrize("task", ["multilabel", "recommendation"])
def test_without_a_preset_no_figure_comes_from_one(task: str, tmp_path: Path) -> None:
    made = render(tmp_path / "project", task_type=task)
    origins = yaml.safe_load((made / "plan/plan.yaml").read_text(encoding="utf-8"))["origins"]
    assert set(origins.values()) == {"default"}


@pytest.mark.nightly
@pytest.mark.parametrize(
    "task", sorted(path.parent.name for path in ROOT.glob("questions/*/rules.yaml"))
)
def test_a_task_on_defaults_alone_passes_its_gate(tmp_path: Path, task: str) -> None:
    """Who answers nothing gets a project whose first run ends with a model in use."""
    folder = render(tmp_path / "p", task_type=task)
    name = next((folder / "src").iterdir()).name
    made = Made(folder, name, {"ML_TRAINING__TRACK": "false"})
    made.ml("run")
    assert made.report("metrics")["champion"]["version"] == "v1"
