"""What is measured of several classes beside their plan: rows, rules with an id, sentences."""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.package import load, sources
from helpers.rendering import render
from test_multiclass_plan import template  # noqa: F401  (a fixture)

if "evidence_of_classes" not in sys.modules:
    load("evidence_of_classes", sources("multiclass"))
from evidence_of_classes.engine.settings import Project
from evidence_of_classes.planner import evidence, sentences
from evidence_of_classes.planner.rules import evaluate

CLASSES = ["billing", "technical", "delivery", "other"]
SPLIT = {
    "development_rows": 40_000,
    "development_counts": [16_000, 10_000, 10_000, 4_000],
    "test_rows": 10_000,
    "test_counts": [4_000, 2_500, 2_500, 1_000],
    "test_rarest": 1_000,
}
BUSINESS = {
    "currency": "EUR",
    "cost_per_1000": 1_500.0,
    "cost_per_1000_baseline": 2_700.0,
    "baseline_policy": "today's process",
    "value_per_year": 288_000.0,
    "value_low": 270_000.0,
    "value_high": 300_000.0,
    "over": {"policy": "today's process", "value": 288_000.0, "low": 270_000.0, "high": 3e5},
    "says_nothing": False,
    "accepted_share": 0.81,
    "reviewed_share": 0.19,
    "accepted_accuracy": 0.93,
    "accepted_accuracy_low": 0.92,
    "accepted_accuracy_high": 0.94,
    "right_share": 0.9338,
}
REPORTS: dict[str, dict[str, Any]] = {
    "data_quality": {"rows": 50_000, "made_up": False, "span_days": 76.0},
    "training": {"classes": CLASSES, "split": SPLIT, "made_up": False},
    "metrics": {
        "primary_metric": "accuracy",
        "made_up": False,
        "champion": {
            "name": "lightgbm",
            "review_level": 1.9,
            "metrics": {"accuracy": {"value": 0.88, "low": 0.87, "high": 0.89}},
        },
        "data": {"test_rows": 10_000},
        "gate": {"passed": True, "reasons": [], "gain": 0.2, "gain_low": 0.19, "gain_high": 0.21},
        "business": BUSINESS,
        "confused": [["other", "billing", 60, 480.0], ["delivery", "other", 1, 8.0]],
    },
}
RULES: dict[str, tuple[str, str, dict[str, Any]]] = {
    # rule: block, report, what it holds
    "ev.classes": ("DATA-02", "training", {"classes": [*CLASSES[:3], "spam"]}),
    "ev.largest": (
        *("DATA-02", "training"),
        {"split": SPLIT | {"development_counts": [26_000, 5_000, 5_000, 4_000]}},
    ),
    "ev.rarest": (
        *("DATA-02", "training"),
        {"split": SPLIT | {"development_counts": [18_000, 10_000, 10_000, 2_000]}},
    ),
    "ev.rows_of_rarest": ("DATA-02", "training", {"split": SPLIT | {"test_rarest": 245}}),
    "ev.review": ("EVAL-05", "metrics", {"business": BUSINESS | {"reviewed_share": 0.23}}),
    "ev.accepted": (
        *("EVAL-05", "metrics"),
        {"business": BUSINESS | {"accepted_accuracy": 0.7, "accepted_accuracy_high": 0.72}},
    ),
}


@pytest.fixture(scope="module")
def folder(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    made = tmp_path_factory.mktemp("evidence") / "p"
    figures = {"build_cost": 90_000, "run_cost": 2_500, "monthly_benefit": 13_000}
    return render(made, template, task_type="multiclass", success_probability=0.8, **figures)


@pytest.fixture
def measured(folder: Path) -> Project:
    for name, report in REPORTS.items():
        write(folder, name, report)
    return Project(folder)


def write(folder: Path, name: str, report: dict[str, Any]) -> None:
    (folder / "reports").mkdir(exist_ok=True)
    (folder / f"reports/{name}.json").write_text(json.dumps(report), encoding="utf-8")


def table(project: Project) -> dict[str, Any]:
    """Return the rows by quantity."""
    return {row.quantity: row for row in evidence.table(project)}


def test_what_agrees_with_the_plan_is_told_by_no_rule(measured: Project) -> None:
    assert evidence.contradictions(measured) == []
    rows = table(measured)
    assert rows["Share of the rarest class"].measured.startswith("10\u00a0% (")
    assert rows["Rows that people look at"].planned == "at most 20\u00a0% (default)"
    assert rows["Rows that people look at"].measured.startswith("19\u00a0% (")
    assert rows["Right among the accepted"].planned == "at least 76.2\u00a0% (computed)"
    assert rows["Right among the accepted"].measured == "93\u00a0% (92\u00a0% to 94\u00a0%)"
    assert rows["Expected cost from which people look"].says == "as planned"
    assert {row.says for row in rows.values()} <= {"agrees", "open", "as planned", "better"}


@pytest.mark.parametrize("rule", RULES)
def test_a_measurement_against_the_plan_is_told_by_a_rule(measured: Project, rule: str) -> None:
    block, name, change = RULES[rule]
    write(measured.root, name, REPORTS[name] | change)
    found = {item.rule: item for item in evidence.contradictions(Project(measured.root))}
    assert rule in found and found[rule].id == block and not found[rule].closes


def test_a_level_that_capacity_moved_says_so(measured: Project) -> None:
    report = copy.deepcopy(REPORTS["metrics"])
    report["champion"]["review_level"] = 3.2
    write(measured.root, "metrics", report)
    row = table(Project(measured.root))["Expected cost from which people look"]
    assert (row.measured, row.says) == ("3.2 EUR", "moved by capacity")


def test_without_reports_nothing_is_measured(measured: Project) -> None:
    for name in REPORTS:
        (measured.root / f"reports/{name}.json").unlink()
    assert {row.says for row in evidence.table(Project(measured.root))} == {"open"}


def test_rare_rows_judge_the_rules_again(measured: Project) -> None:
    split = SPLIT | {"development_counts": [19_000, 10_000, 10_000, 1_000], "test_counts": [0] * 4}
    write(measured.root, "training", REPORTS["training"] | {"split": split})
    told = [i for i in evidence.contradictions(Project(measured.root)) if i.rule == "ev.rule"]
    [metric] = [item.message for item in told if item.id == "EVAL-01"]
    assert "2.5\u00a0% of the rarest class" in metric and "it would be macro F1" in metric


def test_sentences_name_accepted_rows_and_the_dearest_errors(measured: Project) -> None:
    said = sentences.metrics(REPORTS["metrics"], measured)
    assert said["accepted"].startswith(
        "81\u00a0% of the rows are accepted, 93\u00a0% of them in the"
    )
    assert "124.8 rows a day; 93.38\u00a0% of all rows end in the right class" in said["accepted"]
    assert said["dearest"] == (
        "other taken for billing 60 times (480 EUR), delivery taken for other 1 time (8 EUR)"
    )
    assert said["too_many"] == "" and "288\u00a0000 EUR a year more than today's" in said["worth"]
    crowded = REPORTS["metrics"] | {"business": BUSINESS | {"reviewed_share": 0.5}}
    assert "more than the 20" in sentences.metrics(crowded, measured)["too_many"]
    alone = BUSINESS | {"reviewed_share": 0.0, "accepted_share": 1.0}
    everything = sentences.metrics(REPORTS["metrics"] | {"business": alone}, measured)
    assert everything["accepted"].startswith("every row is accepted")


def test_the_conditions_that_measurements_judge_can_be_evaluated(measured: Project) -> None:
    plan = measured.plan
    for decision in plan.decisions.values():
        for rule in decision.judged:
            assert evaluate(rule.when, plan.answers) in (True, False)
