"""What is measured of anomalies beside their plan: rows, rules with an id, sentences."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import package
from helpers.rendering import render
from test_anomaly_plan import template  # noqa: F401  (a fixture)

package.anomaly()

from anomaly_package.engine.settings import Project  # noqa: E402
from anomaly_package.planner import evidence, sentences  # noqa: E402

SPLIT = {
    **{"development_rows": 40_000, "development_labelled": 40_000, "development_anomalies": 400},
    **{"test_rows": 10_000, "test_labelled": 10_000, "test_anomalies": 250},
}
LABELS = {"state": "full", "known": 10_000, "anomalies": 250, "quality": "measured"}
BUSINESS = {
    **{"currency": "EUR", "prevalence": 0.01, "budget_share": 0.015, "flagged_share": 0.015},
    **{"cost_per_1000": 1_900.0, "cost_per_1000_baseline": 5_000.0, "precision": 0.45},
    **{"baseline_policy": "check nothing", "value_per_year": 744_000.0},
    **{"value_low": 700_000.0, "value_high": 780_000.0, "says_nothing": False},
    "over": {"policy": "check nothing", "value": 744_000.0, "low": 7e5, "high": 7.8e5},
}
METRICS = {
    "average_precision": {"value": 0.5, "low": 0.45, "high": 0.55},
    "precision_at_budget": {"value": 0.6, "low": 0.5, "high": 0.7},
    "recall_at_budget": {"value": 0.7, "low": 0.64, "high": 0.76},
    "injected_average_precision": {"value": 0.8, "low": 0.78, "high": 0.82},
}
REPORTS: dict[str, dict[str, Any]] = {
    "data_quality": {"rows": 50_000, "made_up": False, "span_days": 76.0},
    "training": {"split": SPLIT, "made_up": False},
    "metrics": {
        **{"primary_metric": "average_precision", "made_up": False, "labels": LABELS},
        "champion": {"name": "ecod", "cut": 0.985, "metrics": METRICS},
        "data": {"test_rows": 10_000, "labelled": 10_000, "anomalies": 250},
        "gate": {"passed": True, "reasons": [], "gain": 0.2, "gain_low": 0.1, "gain_high": 0.3},
        "business": BUSINESS,
        "alerts": {"rows": 152, "share": 0.0152},
        "injected": [{"kind": "moved", "found": 0.9}, {"kind": "broken", "found": 0.3}],
        "stability": {"top": 0.8, "rank": 0.97},
    },
}
UNKNOWN = {"state": "none", "known": 0, "anomalies": 0, "quality": "unknown"}
RULES: dict[str, tuple[str, str, dict[str, Any]]] = {
    # rule: block, report, what it holds
    "ev.labels": ("DATA-02", "metrics", {"labels": LABELS | {"state": "few"}}),
    "ev.share": ("DATA-02", "training", {"split": SPLIT | {"development_anomalies": 900}}),
    "ev.anomalies": ("DATA-02", "metrics", {"labels": LABELS | {"anomalies": 245}}),
    "ev.alerts": ("EVAL-05", "metrics", {"alerts": {"rows": 200, "share": 0.02}}),
    "ev.unknown": ("EVAL-05", "metrics", {"labels": UNKNOWN}),
}


@pytest.fixture(scope="module")
def folder(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    figures = {"build_cost": 90_000, "run_cost": 2_500, "monthly_benefit": 24_000}
    answers = {"labels": "full", "anomaly_share": 0.013, "success_probability": 0.8, **figures}
    made = tmp_path_factory.mktemp("evidence") / "p"
    return render(made, template, task_type="anomaly", **answers)


@pytest.fixture
def measured(folder: Path) -> Project:
    for name, report in REPORTS.items():
        write(folder, name, report)
    return Project(folder)


def write(folder: Path, name: str, report: dict[str, Any]) -> None:
    (folder / "reports").mkdir(exist_ok=True)
    (folder / f"reports/{name}.json").write_text(json.dumps(report), encoding="utf-8")


def told(project: Project) -> dict[str, str]:
    """Return the rules that speak against the plan with their blocks."""
    return {item.rule: item.id for item in evidence.contradictions(project)}


def table(project: Project) -> dict[str, Any]:
    """Return the rows by quantity, their no-break spaces as plain ones."""
    rows = evidence.table(project)
    return {
        row.quantity: row._replace(measured=row.measured.replace("\u00a0", " ")) for row in rows
    }


def test_what_agrees_with_the_plan_is_told_by_no_rule(measured: Project) -> None:
    assert told(measured) == {}
    rows = table(measured)
    assert rows["Labels"].measured == "every row has a label"
    assert rows["Share of anomalies"].measured.startswith("1.3 % (")
    assert rows["True alerts"].measured == "60 % (50 % to 70 %)"
    assert rows["Anomalies found"].measured == "70 % (64 % to 76 %)"
    assert rows["Alerts a day"].measured.startswith("10 (")
    assert evidence.verdict(measured).startswith("**go**")


@pytest.mark.parametrize("rule", RULES)
def test_a_measurement_against_the_plan_is_told_by_a_rule(measured: Project, rule: str) -> None:
    block, name, change = RULES[rule]
    write(measured.root, name, REPORTS[name] | change)
    assert told(measured)[rule] == block
    assert evidence.verdict(measured).startswith("in doubt")


def test_without_labels_no_alert_counts_as_true(measured: Project) -> None:
    business = BUSINESS | {"says_nothing": True, "precision": None}
    report = REPORTS["metrics"] | {"labels": UNKNOWN, "business": business}
    write(measured.root, "metrics", report)
    rows, doubt = table(measured), "unknown until people have judged 97 of them"
    for quantity in ("True alerts", "Anomalies found", "Share of anomalies", "Value a year"):
        assert (rows[quantity].measured, rows[quantity].says) == ("not measured", "open"), quantity
    assert doubt in evidence.verdict(measured)
    said = sentences.metrics(report, measured)
    assert said["worth"] == "value: not measured, not all rows have a label"
    assert said["known"].startswith("how many are true is unknown: 0 of the rows have a label")


def test_labelled_rows_are_told_as_what_they_are(measured: Project) -> None:
    few = LABELS | {"state": "few", "known": 300, "anomalies": 60, "quality": "of labelled rows"}
    report = REPORTS["metrics"] | {"labels": few}
    write(measured.root, "metrics", report)
    assert told(measured)["ev.chosen"] == "EVAL-05"
    row = table(measured)["True alerts"]
    assert row.measured == "60 % (50 % to 70 %) of labelled rows" and row.says == "says little"
    assert table(measured)["Share of anomalies"].measured == "not measured"
    said = sentences.metrics(report, measured)["known"]
    assert "of the labelled rows, which nobody drew by chance," in said


def test_measured_blocks_say_what_was_found(measured: Project) -> None:
    said = sentences.metrics(REPORTS["metrics"], measured)
    assert said["a_day"] == pytest.approx(0.0152 * 20_000 / 30.4375)
    found = said["found"].replace("\u00a0", " ")
    assert found.startswith("90 % of rows with a moved value, 30 % of rows whose values do not")
    assert "of which 45 % are true" in said["worth"].replace("\u00a0", " ")


def test_alerts_that_crowd_are_told(measured: Project) -> None:
    """What lasts gives many alerts of one machine on one day, which the mean a day hides."""
    crowded = {"by_day": [["2026-03-01", 3], ["2026-03-02", 24]], "runs": 9}
    report = REPORTS["metrics"] | {"alerts": REPORTS["metrics"]["alerts"] | crowded}
    assert sentences.metrics(report, measured)["busiest"] == (
        ", 24 on the busiest day of the test rows; they are 9 runs of neighbouring rows of one "
        "entity"
    )
    assert sentences.metrics(REPORTS["metrics"], measured)["busiest"] == ""


def test_entities_are_counted(template: Path, tmp_path: Path) -> None:  # noqa: F811
    """Nobody said how many machines there are: a default decides on seasons until rows are read."""
    answers = {"entity": "machine", "entity_repeats": True, "time_column": "at", "season": "hour"}
    made = render(tmp_path / "p", template, task_type="anomaly", n_rows=25_000, **answers)
    project = Project(made)
    for name, report in REPORTS.items():
        write(made, name, report)
    assert table(project)["Entities"].says == "open"
    write(made, "profile", {"columns": {"machine": {"distinct": 14}}})
    row = table(Project(made))["Entities"]
    assert (row.measured, row.says) == ("14", "**contradicts**")
    write(made, "data_quality", REPORTS["data_quality"] | {"rows": 24_986})
    said = {item.id: item.message for item in evidence.contradictions(Project(made))}
    told = said["MOD-05"].replace("\u00a0", " ")
    assert told.startswith("measured 14 entities (planned 50 entities): by the rules it would be")
