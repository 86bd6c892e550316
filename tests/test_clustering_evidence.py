"""What is measured of segments beside their plan: rows, rules with an id, sentences."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import package
from helpers.rendering import render
from test_clustering_plan import template  # noqa: F401  (a fixture)

package.clustering()

from clustering_package.engine.settings import Project  # noqa: E402
from clustering_package.planner import evidence, measured, sentences  # noqa: E402

NAMES = ("many orders", "few visits", "high baskets", "long tenure")
SEGMENTS = [
    {
        **{"segment": place, "name": name, "rows": rows, "share": rows / 4000, "outside": 0.01},
        **{"stability": 0.9 - place / 100, "profile": [["orders_12m", "mean 9, of all 5", 1.2]]},
    }
    for place, (name, rows) in enumerate(zip(NAMES, (1600, 1200, 800, 400), strict=True))
]
NUMBERS = [
    {"segments": 2, "silhouette": 0.36, "stability": 0.44, "chosen": False},
    {"segments": 4, "silhouette": 0.303, "stability": 0.91, "chosen": True},
]
QUALITY = {
    **{"stability": {"value": 0.91, "low": 0.85, "high": 0.95}, "floor": 0.8},
    **{"silhouette_pairs": 0.28, "davies_bouldin": 1.2, "calinski_harabasz": 2345.6},
}
BUSINESS = {
    **{"currency": "EUR", "says_nothing": True, "segments": 4, "placed_alike": 0.93},
    **{"value_at_most": 1_050_000.0, "baseline_policy": "all alike", "value_per_year": None},
    **{"value_low": None, "value_high": None},
    "over": {"policy": "all alike", "value": None, "low": None, "high": None},
}
TODAY = {
    **{"known": 4000, "segments": 3, "agreement": 0.41, "mutual_information": 0.5},
    **{"silhouette": 0.11, "table": []},
}
METRICS: dict[str, Any] = {
    **{"primary_metric": "silhouette", "made_up": False, "segments": SEGMENTS},
    "champion": {
        **{"name": "kmeans", "cut": 1.1},
        "metrics": {"silhouette": {"value": 0.42, "low": 0.4, "high": 0.44}},
    },
    "gate": {"passed": True, "reasons": [], "gain": 0.2, "gain_low": 0.1, "gain_high": 0.3},
    **{"numbers": NUMBERS, "quality": QUALITY, "business": BUSINESS, "noise": 0.012},
    "placed_alike": {"value": 0.93, "low": 0.9, "high": 0.96},
    **{"tree": {"depth": 3, "agreement": 0.88, "rules": [{}]}, "today": TODAY},
}
REPORTS: dict[str, dict[str, Any]] = {
    "data_quality": {"rows": 20_000, "made_up": False},
    "training": {
        **{"made_up": False, "cv": {"folds": 5}, "selection": {}, "chosen": "kmeans"},
        "split": {
            **{"development_rows": 16_000, "development_labelled": 16_000},
            **{"test_rows": 4000, "test_labelled": 4000},
        },
    },
    "metrics": METRICS,
}
ALIKE = METRICS["placed_alike"]
RULES: dict[str, tuple[str, dict[str, Any]]] = {
    # rule: block, what the report holds
    "ev.today": ("DATA-01", {"today": None}),
    "ev.number": ("EVAL-05", {"segments": SEGMENTS[:1] + SEGMENTS[1:2]}),
    "ev.small": ("VAL-02", {"segments": [*SEGMENTS[:3], SEGMENTS[3] | {"rows": 2}]}),
    "ev.placed": ("VAL-02", {"placed_alike": {"value": 0.3, "low": 0.28, "high": 0.33}}),
    "ev.most": ("VAL-02", {"business": BUSINESS | {"value_at_most": 400_000.0}}),
}


@pytest.fixture(scope="module")
def folder(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    figures = {"build_cost": 60_000, "run_cost": 2_500, "monthly_benefit": 20_000}
    answers = {"today_segments": "rule", "n_rows": 20_000, "success_probability": 0.8, **figures}
    made = tmp_path_factory.mktemp("evidence") / "p"
    return render(made, template, task_type="clustering", plan_depth="standard", **answers)


@pytest.fixture
def project(folder: Path) -> Project:
    for name, report in REPORTS.items():
        write(folder, name, report)
    (folder / "PLAN.md").write_text(plan_text(folder).replace(ANSWERED, OPEN), encoding="utf-8")
    return Project(folder)


OPEN = "<!-- plan:human EVAL-08 -->\nOwner: nobody · Due: none · Status: open\n"
OPEN += "<!-- plan:answer EVAL-08 -->\n_No answer yet._"
ANSWERED = OPEN.replace("nobody", "Ana Maria").replace("_No answer yet._", "4.4 % after 7 weeks.")


def plan_text(folder: Path) -> str:
    return (folder / "PLAN.md").read_text(encoding="utf-8")


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


def test_what_segments_are_worth_is_open_until_people_say(project: Project) -> None:
    assert told(project) == {"ev.untried": "EVAL-08"}
    assert "what segments are worth is not known" in evidence.verdict(project)
    assert table(project)["Value a year"].measured == "not measured"
    text = plan_text(project.root)
    (project.root / "PLAN.md").write_text(text.replace(OPEN, ANSWERED), encoding="utf-8")
    assert told(project) == {}
    assert evidence.verdict(project).startswith("**go**")


def test_the_table_holds_number_stability_and_use_against_the_plan(project: Project) -> None:
    rows = table(project)
    assert (rows["Segments"].planned, rows["Segments"].measured) == ("3 to 7 (default)", "4")
    assert rows["Stability"].measured == "0.91 (0.85 to 0.95)"
    assert rows["Rows placed alike"].measured == "93 % (90 % to 96 %)"
    assert rows["Smallest segment"].measured.startswith("10 % (")
    assert rows["Today's segments"].measured == "3 segments"
    # 12 x 23 500 of today's rule are no gain of the model.
    assert rows["Value a year at most"].measured == "at most 768 000 EUR"
    assert "Label delay" not in rows
    assert all(rows[name].says == "agrees" for name in ("Segments", "Stability"))


@pytest.mark.parametrize("rule", RULES)
def test_a_measurement_against_the_plan_is_told_by_a_rule(project: Project, rule: str) -> None:
    block, change = RULES[rule]
    write(project.root, "metrics", METRICS | change)
    assert told(project)[rule] == block
    assert evidence.verdict(project).startswith("in doubt")


def test_segments_that_lose_even_at_best_stop_the_project(project: Project) -> None:
    write(project.root, "metrics", METRICS | {"business": BUSINESS | {"value_at_most": 0.0}})
    verdict = evidence.verdict(project).replace("\u00a0", " ")
    assert verdict.startswith("**stop**") and "at best segments bring 282 000 EUR less" in verdict


def test_unstable_segments_contradict_the_floor(project: Project) -> None:
    loose = QUALITY | {"stability": {"value": 0.62, "low": 0.5, "high": 0.7}}
    gate = {**METRICS["gate"], "passed": False, "reasons": ["segments of resamples agree by 0.62"]}
    write(project.root, "metrics", METRICS | {"quality": loose, "gate": gate})
    assert table(project)["Stability"].says == "**contradicts**"
    assert evidence.verdict(project).startswith("**stop**")


def test_measured_blocks_say_what_was_found(project: Project) -> None:
    said = sentences.metrics(METRICS, project)
    assert said["tried_numbers"].endswith("0.36 and 0.44 of 2, 0.303 and 0.91 of 4")
    named = said["named"].replace("\u00a0", " ")
    assert named.startswith('"many orders" 40 %: orders\\_12m mean 9, of all 5; "few visits" 30 %')
    assert "at most 768\u00a0000 EUR a year more than today" in said["worth"]
    assert said["loosest"] == ""
    report = METRICS | {
        **{"segments": [SEGMENTS[0], SEGMENTS[1] | {"stability": 0.5}], "today": None},
        **{"tree": {"depth": 0, "agreement": 1.0, "rules": []}, "numbers": []},
        "business": BUSINESS | {"value_at_most": 0.0},
    }
    said = sentences.metrics(report, project)
    assert said["loosest"] == "; not to be trusted, by their Jaccard index: few visits (0.5)"
    assert said["against_today"] == "no rows with a segment of today to compare with"
    assert said["by_hand"] == "no question tells the segments apart"
    assert (
        said["tried_numbers"] == "" and "282\u00a0000 EUR a year less than today" in said["worth"]
    )


def test_every_text_can_be_written(project: Project) -> None:
    filled = METRICS | sentences.metrics(METRICS, project)
    writer = measured.Writer(project.plan)
    shown = {
        name: writer.vformat(text, (), filled | {"notes": ""})
        for name, (report, text) in sentences.TEXTS.items()
        if report == "metrics"
    }
    assert "adjusted Rand index of 0.91 (0.85 to 0.95), 0.8 is asked for" in shown["EVAL-07"]
    assert "Calinski-Harabasz index 2\u00a0346" in shown["EVAL-07"]
    assert shown["EVAL-05"].startswith("measured: 4 segments; silhouette and stability")
    assert "a tree of 3 questions in a row places 88\u00a0%" in shown["EVAL-09"]
    assert "0.41 against today's 3 segments, by 4\u00a0000 rows" in shown["EVAL-09"]
    training = writer.vformat(
        sentences.TEXTS["TRAIN-01"][1], (), REPORTS["training"] | {"notes": ""}
    )
    assert "(4\u00a0000 with a segment of today), 5 folds" in training
