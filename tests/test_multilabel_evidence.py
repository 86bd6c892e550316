"""What is measured of several labels beside their plan: rows, rules with an id, sentences."""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.package import load, sources
from helpers.rendering import render
from test_multilabel_plan import template  # noqa: F401  (a fixture)

if "evidence_of_labels" not in sys.modules:
    load("evidence_of_labels", sources("multilabel"))
from evidence_of_labels.engine.settings import Project
from evidence_of_labels.planner import evidence, measured, quantities, sentences
from evidence_of_labels.planner.rules import evaluate

LABELS = ["gift", "outdoor", "seasonal", "sustainable", "premium"]
SPLIT = {
    "development_rows": 40_000,
    "development_counts": [16_000, 9_600, 9_600, 9_600, 3_200],
    "development_rarest": 3_200,
    "development_cardinality": 1.2,
    "test_rows": 10_000,
    "test_counts": [4_000, 2_400, 2_400, 2_400, 800],
    "test_rarest": 800,
    "test_cardinality": 1.2,
}
BUSINESS = {
    "currency": "EUR",
    "cost_per_1000": 900.0,
    "cost_per_1000_baseline": 2_833.0,
    "baseline_policy": "today's process",
    "value_per_year": 464_000.0,
    "value_low": 450_000.0,
    "value_high": 478_000.0,
    "over": {"policy": "no label at all", "value": 936_000.0, "low": 9e5, "high": 1e6},
    "says_nothing": False,
    "missed_per_1000": 180.0,
    "extra_per_1000": 90.0,
    "right_rows_share": 0.78,
}


def label(name: str, rows: int, decided: int, recall: float, **more: Any) -> dict[str, Any]:
    """Return what a report has of a label."""
    return {
        "name": name,
        "rows": rows,
        "decided": decided,
        "recall": recall,
        "precision": recall * rows / decided,
        "f1": 2 * recall * rows / (rows + decided),
        "threshold": 0.4,
        **more,
    }


REPORTS: dict[str, dict[str, Any]] = {
    "data_quality": {"rows": 50_000, "made_up": False, "span_days": 76.0},
    "training": {"labels": LABELS, "split": SPLIT, "made_up": False},
    "metrics": {
        "primary_metric": "micro_f1",
        "made_up": False,
        "champion": {
            "name": "lightgbm",
            "metrics": {"micro_f1": {"value": 0.88, "low": 0.87, "high": 0.89}},
        },
        "data": {"rows": 50_000, "test_rows": 10_000},
        "gate": {"passed": True, "reasons": [], "gain": 0.2, "gain_low": 0.19, "gain_high": 0.21},
        "labels": [
            label("gift", 4_000, 4_100, 0.9),
            label("outdoor", 2_400, 2_300, 0.85),
            label("seasonal", 2_400, 2_200, 0.8),
            label("sustainable", 2_400, 2_250, 0.82),
            label("premium", 800, 500, 0.5, threshold=0.31),
        ],
        "dependence": {
            "pairs": [
                ["gift", "seasonal", 0.41, 0.44, 0.06],
                ["outdoor", "premium", -0.2, None, None],
                ["gift", "premium", 0.04, 0.01, 0.0],
            ]
        },
        "calibration": {"ece": 0.0123},
        "business": BUSINESS,
    },
}


def less(recall: float, decided: float) -> dict[str, Any]:
    """Return labels of a model that finds the share `recall` and sets `decided` times as many."""
    true = [4_000, 2_400, 2_400, 2_400, 800]
    return {
        "labels": [
            label(name, rows, int(rows * decided), recall)
            for name, rows in zip(LABELS, true, strict=True)
        ]
    }


RULES: dict[str, tuple[str, str, dict[str, Any]]] = {
    # rule: block, report, what it holds
    "ev.labels": ("DATA-02", "training", {"labels": [*LABELS[:4], "luxury"]}),
    "ev.labels_per_row": (
        *("DATA-02", "training"),
        {"split": SPLIT | {"development_counts": [16_000, 9_600, 5_600, 5_600, 3_200]}},
    ),
    "ev.rarest_label": (
        *("DATA-02", "training"),
        {"split": SPLIT | {"development_counts": [17_600, 9_600, 9_600, 9_600, 1_600]}},
    ),
    "ev.label_shares": (
        *("DATA-02", "training"),
        {"split": SPLIT | {"development_counts": [12_000, 13_600, 9_600, 9_600, 3_200]}},
    ),
    "ev.rows_of_rarest_label": ("DATA-02", "training", {"split": SPLIT | {"test_rarest": 245}}),
    "ev.label_errors": ("EVAL-05", "metrics", less(0.6, 0.75)),
}


@pytest.fixture(scope="module")
def folder(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    made = tmp_path_factory.mktemp("evidence") / "p"
    figures = {"build_cost": 90_000, "run_cost": 2_500, "monthly_benefit": 14_000}
    shares = {"label_shares": "gift = 40 %; outdoor = 0.24"}
    return render(
        made, template, task_type="multilabel", success_probability=0.8, **figures, **shares
    )


@pytest.fixture
def project(folder: Path) -> Project:
    for name, report in REPORTS.items():
        write(folder, name, report)
    return Project(folder)


def write(folder: Path, name: str, report: dict[str, Any]) -> None:
    (folder / "reports").mkdir(exist_ok=True)
    (folder / f"reports/{name}.json").write_text(json.dumps(report), encoding="utf-8")


def table(project: Project) -> dict[str, Any]:
    """Return the rows by quantity."""
    return {row.quantity: row for row in evidence.table(project)}


def test_what_agrees_with_the_plan_is_told_by_no_rule(project: Project) -> None:
    assert evidence.contradictions(project) == []
    rows = table(project)
    assert (rows["Labels a row"].planned, rows["Labels a row"].measured) == ("1.2 (default)", "1.2")
    assert rows["Share of the rarest label"].measured.startswith("8\u00a0% (")
    assert rows["True labels that are set"].planned == "today 70\u00a0% (default)"
    assert rows["True labels that are set"].measured.startswith("82.")
    assert rows["Set labels that are true"].says == "better than today"
    agreed = {"agrees", "open", "better", "better than today"}
    assert {row.says for row in rows.values()} <= agreed


@pytest.mark.parametrize("rule", RULES)
def test_a_measurement_against_the_plan_is_told_by_a_rule(project: Project, rule: str) -> None:
    block, name, change = RULES[rule]
    write(project.root, name, REPORTS[name] | change)
    found = {item.rule: item for item in evidence.contradictions(Project(project.root))}
    assert rule in found and found[rule].id == block and not found[rule].closes
    others = {"ev.rule"}
    assert found.keys() - others == {rule}, rule  # each by itself


def test_one_kind_of_errors_may_be_worse_where_the_other_is_better(project: Project) -> None:
    write(project.root, "metrics", REPORTS["metrics"] | less(0.6, 0.65))
    again = Project(project.root)
    assert "ev.label_errors" not in {item.rule for item in evidence.contradictions(again)}
    rows = table(again)
    assert rows["True labels that are set"].says == "worse than today"
    assert rows["Set labels that are true"].says == "better than today"


def test_shares_by_name_are_read_as_they_are_written(project: Project) -> None:
    assert quantities.Evidence(project).planned == {"gift": 0.4, "outdoor": 0.24}


def test_without_reports_nothing_is_measured(project: Project) -> None:
    for name in REPORTS:
        (project.root / f"reports/{name}.json").unlink()
    assert {row.says for row in evidence.table(Project(project.root))} == {"open"}


def test_a_rare_label_judges_the_rules_again(project: Project) -> None:
    split = SPLIT | {"development_counts": [18_000, 9_600, 9_600, 9_600, 800]}
    split["test_counts"] = [4_400, 2_400, 2_400, 2_400, 200]
    write(project.root, "training", REPORTS["training"] | {"split": split})
    told = [i for i in evidence.contradictions(Project(project.root)) if i.rule == "ev.rule"]
    [metric] = [item.message for item in told if item.id == "EVAL-01"]
    assert "2\u00a0% of the rarest label" in metric and "it would be macro F1" in metric


def test_sentences_name_what_is_missed_weak_and_together(project: Project) -> None:
    said = sentences.metrics(REPORTS["metrics"], project)
    assert said["per_row"] == (
        "1.14 labels a row are set, 1.2 are true; per 1\u00a0000 rows 180 labels are missed and "
        "90 are extra; 78\u00a0% of the rows are right in every label"
    )
    assert said["weakest"].startswith("premium with an F1 of 0.615 (set from 31\u00a0% on), ")
    assert said["weakest"].count("F1") == 3
    assert said["together"] == (
        "gift and seasonal (correlation 0.41, as they are set 0.44, beyond the probabilities "
        "0.06), outdoor and premium (correlation -0.2, as they are set unknown, beyond the "
        "probabilities unknown)"
    )
    assert "464\u00a0000 EUR a year more than today's" in said["worth"]
    assert "936\u00a0000 EUR a year more than no label at all" in said["worth"]
    alone = copy.deepcopy(REPORTS["metrics"])
    alone["dependence"]["pairs"] = alone["dependence"]["pairs"][2:]
    assert sentences.metrics(alone, project)["together"].startswith("none with a correlation")


def test_texts_ask_for_what_reports_have(project: Project) -> None:
    report = REPORTS["metrics"] | sentences.metrics(REPORTS["metrics"], project)
    training = REPORTS["training"] | {"cv": {"folds": 5}, "notes": ""}
    given = {"metrics": report | {"currency": "EUR", "thousand": 1_000}, "training": training}
    writer = measured.Writer(project.plan)
    said = {id: writer.vformat(t, (), given[name]) for id, (name, t) in sentences.TEXTS.items()}
    assert "180 labels are missed" in said["EVAL-05"] and "(today's process)" in said["EVAL-05"]
    assert "error 0.0123" in said["EVAL-07"]
    assert "10\u00a0000 test rows of 1.2 (800 with it), 5 folds" in said["TRAIN-01"]


def test_the_conditions_that_measurements_judge_can_be_evaluated(project: Project) -> None:
    plan = project.plan
    for decision in plan.decisions.values():
        for rule in decision.judged:
            assert evaluate(rule.when, plan.answers) in (True, False)
