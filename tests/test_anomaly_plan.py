"""The plan of anomaly detection: rules, numbers, its case, and what labels let one know."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from copier.errors import UserMessageError
from helpers import tables
from helpers.firing import fired
from helpers.jinja import evaluate_all
from helpers.rendering import DOCUMENTS, ROOT, copy_template, recorded, render
from reference import rules as reference

CASE = "machine_monitoring"
FORMULAS = "questions/anomaly/formulas.jinja"
NOT_YET = "anomaly is not built yet"
OF_OTHERS = (
    r"pinball|\bMAE\b|RMSE|conformal|\bridge\b|cost_(?:over|under|f[pn]|t[pn])|pos_rate|max_error"
    r"|target_(?:unit|shape|mean|sd)|false alarm|prevalence|calibrat|logistic(?! regression was)"
    r"|lightgbm|today_caught|has_labels|ab_effect|of the rarer class|churn|house_price|A/B test"
)
OF_ANOMALY = (
    r"anomal|alerts_per_day|isolation forest|robust z|ECOD|cost_(?:check|missed)|min_quality"
    r"|today_(?:found|checks|process)|machine_monitoring|precision_margin|injected"
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the template with plan, documents and contract; it offers the task."""
    made = tmp_path_factory.mktemp("template") / "planner"
    folder = copy_template(made, only=DOCUMENTS)
    for path in (folder / "questions").rglob("*.*"):
        text = path.read_text(encoding="utf-8")
        path.write_text(
            text.replace(NOT_YET, "''" if path.suffix == ".yml" else ""), encoding="utf-8"
        )
    return folder


@pytest.fixture(scope="module")
def made(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the case and a start with each kind of labels."""
    folder = tmp_path_factory.mktemp("made")
    start = {"task_type": "anomaly", "plan_depth": "regulated"}
    wanted: dict[str, dict[str, Any]] = {
        "case": {"preset": CASE, "plan_depth": "regulated"},
        **{labels: start | {"labels": labels} for labels in ("none", "few", "full")},
    }
    return {name: render(folder / name, source=template, **a) for name, a in wanted.items()}


def plan(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((project / "plan/plan.yaml").read_text("utf-8"))
    return found


def numbers(project: Path) -> dict[str, Any]:
    groups = plan(project)["computed"].values()
    return {name: number["value"] for group in groups for name, number in group.items()}


def decided(project: Path) -> dict[str, Any]:
    return {found["output"]: found["value"] for found in plan(project)["decisions"].values()}


def test_numbers_equal_those_by_hand(made: dict[str, Path]) -> None:
    found, a = numbers(made["case"]), plan(made["case"])["answers"]
    month, anomalies = 30.4375, a["predictions_per_month"] * a["anomaly_share"]
    today = anomalies * a["today_found"] * a["cost_missed"] - (
        a["today_checks"] * month * a["cost_check"]
    )
    alerts = a["alerts_per_day"] * month
    share = a["alerts_per_day"] / (a["predictions_per_month"] / month)
    expected = {
        "anomalies_a_month": anomalies,
        "today": today,
        "most_of_alerts": min(anomalies, alerts) * (a["cost_missed"] - a["cost_check"]) - today,
        "break_even_precision": a["cost_check"] / a["cost_missed"],
        "look_cost": alerts * a["cost_check"],
        "alert_share": share,
        "best_precision": a["anomaly_share"] / share,
        "best_recall": 1.0,
        "found_a_year": 12 * anomalies,
        "value_at_best": 12 * (anomalies * a["cost_missed"] - alerts * a["cost_check"]),
        "look_hours": a["alerts_per_day"] * a["check_minutes"] / 60,
        "alerts_to_judge": math.ceil(1.959963984540054**2 / 4 / a["precision_margin"] ** 2),
        "rows_by_chance": math.ceil(math.log(0.05) / math.log(1 - a["anomaly_share"])),
        "weeks": math.ceil(97 / a["alerts_per_day"] / 7),
        "test_anomalies": round(0.2 * a["labelled_anomalies"]),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-6), name
    assert found["npv"] > 0


def test_formulas_equal_golden_values() -> None:
    golden: dict[str, list[tuple[list[float], float | None]]] = {
        "break_even_precision": [([10, 500], 0.02)],
        "value_of_today": [([100, 0.3, 400, 500, 10], 11_000.0), ([100, 0.0, 400, 500, 10], -4e3)],
        "value_of_alerts": [
            ([100, 400, 500, 10, 11_000], 38_000.0),
            ([100, 40, 500, 10, -4000], 19_600.0),  # to end today's loss needs no model
            ([100, 400, 10, 500, 0], 0.0),
        ],
        "value_at_precision": [([400, 0.25, 500, 10], 46_000.0), ([400, 0.01, 500, 10], -2_000.0)],
        "alert_share": [([10, 1000], 0.01), ([2000, 1000], 1.0)],
        "best_precision": [([0.01, 0.04], 0.25), ([0.04, 0.01], 1.0)],
        "best_recall": [([0.01, 0.04], 1.0), ([0.04, 0.01], 0.25)],
        "alerts_to_judge": [([0.1], 97), ([0.05], 385)],
        "weeks_of_alerts": [([97, 10], 2), ([97, 0], None)],
    }
    for macro, cases in golden.items():
        found = evaluate_all(FORMULAS, macro, [arguments for arguments, _ in cases])
        assert found == [v if v is None else pytest.approx(v) for _, v in cases], macro


def test_every_answer_of_the_case_is_taken(made: dict[str, Path]) -> None:
    answers = recorded(made["case"])
    case = evaluate_all("questions/presets.jinja", "known", [[CASE, "anomaly"]])[0]
    assert answers | case | {"plan_depth": "regulated"} == answers
    assert not {"has_labels", "ab_effect", "pos_rate"} & answers.keys()


def test_a_season_without_rows_enough_is_told(template: Path, tmp_path: Path) -> None:
    answers = {"season": "hour", "n_rows": 1000, "entities": 40}
    few = render(tmp_path / "p", source=template, task_type="anomaly", **answers)
    found = decided(few)
    assert found["normal_by"] == ["all_rows"] and "too_few_rows_of_each_season" in found["warnings"]
    text = (few / "PLAN.md").read_text("utf-8").replace("\u00a0", " ")
    assert re.search(r"follow the hour, but each of 24 has about 41\.\d+ rows to be held", text)


def test_labels_decide_what_can_be_known(made: dict[str, Path]) -> None:
    for labels, metric, warned in (
        ("none", "injected_average_precision", "quality_is_unknown"),
        ("few", "injected_average_precision", "quality_is_that_of_labelled_rows"),
        ("full", "average_precision", "a_classifier_would_know_more"),
    ):
        found, text = decided(made[labels]), (made[labels] / "PLAN.md").read_text("utf-8")
        assert found["primary_metric"] == metric
        assert metric not in found["secondary_metrics"]
        assert warned in found["warnings"] and found["verdict"] == "go", labels
        # Where most rows have no label, nobody may read a precision of alerts as known.
        unknown = "not known before people have judged 97 of them" in text
        assert unknown == (labels != "full")
        assert found["selection"] == (
            "one_standard_error" if labels == "full" else "last_candidate"
        )
        assert ("told, and none is asked for" in text) == (labels != "full")
        real = {name for name in found["secondary_metrics"] if not name.startswith("injected")}
        assert bool(real) == (labels != "none")
        contract = (made[labels] / "contracts/dataset.odcs.yaml").read_text("utf-8")
        target = contract[contract.index('- name: "is_anomaly"') :]
        assert "required: true" not in target
        assert ("missingShare" in target) == (labels != "full")
    assert "no row has a label yet" in (made["none"] / "PLAN.md").read_text("utf-8")


def test_normal_is_that_of_entity_and_season_where_rows_tell_it() -> None:
    base = {"entity": "pump", "entity_repeats": True, "n_rows": 48_000, "time_column": "at"}
    wanted = [
        ({"entities": 40, "season": "hour"}, ["entity", "hour"]),
        ({"entities": 41, "season": "hour"}, ["entity"]),  # 48.8 rows in each hour of each
        ({"entities": 961, "season": "hour"}, ["hour"]),  # 49.9 rows of each
        ({"entities": 961, "season": "none"}, ["all_rows"]),
        ({"entities": 1, "season": "month", "entity": ""}, ["month"]),
        ({"entities": 1, "season": "weekday", "entity": ""}, ["weekday"]),
    ]
    table = tables.rules("anomaly")
    base |= {"jurisdictions": ["eu"], "deployment_modes": ["rest"]}
    known = dict.fromkeys(tables.inputs(table), 1) | FIXED | base
    cases = [known | changed for changed, _ in wanted]
    for case, (_, values) in zip(cases, wanted, strict=True):
        assert reference.decide(case, table)["normal_by"][0] == values


def test_a_plan_names_nothing_of_another_task(
    made: dict[str, Path], template: Path, tmp_path: Path
) -> None:
    for name, project in made.items():
        for path in project.rglob("*"):
            if path.is_file():
                found = re.findall(OF_OTHERS, path.read_text("utf-8"))
                assert found == [], f"{name}/{path.name}"
    for task in ("binary", "regression"):
        other = render(tmp_path / task, source=template, task_type=task, plan_depth="regulated")
        for path in other.rglob("*"):
            assert path.is_dir() or not re.findall(OF_ANOMALY, path.read_text("utf-8")), path


def test_documents_say_what_an_alert_is(made: dict[str, Path]) -> None:
    runbook, card = (made["few"] / f"docs/{n}.md" for n in ("runbook", "model_card"))
    assert "## Alerts of the model" in runbook.read_text("utf-8")
    assert "no proof that nothing is wrong" in card.read_text("utf-8")
    assert "unknown until people have judged them" in card.read_text("utf-8")
    full = (made["full"] / "docs/model_card.md").read_text("utf-8")
    assert "unknown until people have judged them" not in full


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"anomaly_share": 0.6}, "anomaly_share: give 0.000001 to 0.5, such as 0.01"),
        ({"labels": "none", "labelled_anomalies": 3}, "labelled_anomalies: give 0, or answer"),
        ({"labels": "few", "labelled_anomalies": 0}, "labelled_anomalies: give 1 or more"),
        ({"labels": "some"}, "labels: give one of none, few, full"),
        ({"alerts_per_day": 0}, "alerts_per_day: give 0.001 to"),
        ({"season": "hour", "time_column": ""}, "season: answer none, or name the time column"),
        ({"today_found": 0.4}, "today_found: give 0, or say in today_process"),
        (
            {"today_process": "limits", "today_found": 0.5, "today_checks": 1},
            "today_checks: give at least 3.2854",
        ),
        ({"today_checks": 5}, "today_checks: give 0, or say in today_process"),
        ({"cost_check": "cheap"}, "cost_check: give a number"),
        ({"pos_rate": 2}, "pos_rate: give 0.0001"),
    ],
)
def test_a_wrong_answer_is_told_in_one_line(
    answers: dict[str, Any], said: str, template: Path, tmp_path: Path
) -> None:
    with pytest.raises((UserMessageError, ValueError)) as error:
        render(tmp_path / "p", source=template, task_type="anomaly", **answers)
    assert said in str(error.value) and "\n" not in str(error.value).strip()
    assert not (tmp_path / "p").exists()


CHOICES: dict[str, list[Any]] = {
    "labels": ["none", "few", "full"],
    "labelled_anomalies": [0, 20, 249, 250, 5000],
    "anomaly_share": [0.0001, 0.01, 0.04, 0.1, 0.3],
    "alerts_per_day": [0.1, 10, 1000, 1e6],
    "cost_check": [0.1, 10, 600],
    "cost_missed": [1, 500],
    "precision_margin": [0.05, 0.1],
    "season": ["none", "hour", "weekday", "month"],
    "entities": [1, 40, 3000],
    "min_quality": [0.0, 0.01, 0.3, 1.0],
    "today_found": [0.0, 0.5],
    "today": [-100.0, 0.0, 100.0],
    "n_rows": [100, 150, 2000, 50_000, 10**9],
    "label_delay_days": [0, 7, 31, 91],
    "history_months": [0.1, 2.5, 24],
    "time_column": ["", "measured_at"],
    "entity": ["", "pump"],
    "entity_repeats": [True, False],
    "interpretability": ["none", "inherent", "local"],
    "decision_mode": ["automated", "human_in_loop"],
    "personal_data": [True, False],
    "significant_effect": [True, False],
    "predictions_per_month": [10, 20_000, 10**9],
    "ab_weeks": [1, 53],
    "monthly_benefit": [0, 10**9],
    "yearly_gap": [0, 1_200_000, 10**12],
    "deployment_modes": [["rest"], ["batch"]],
    "risk_class": ["minimal", "limited", "high", "prohibited"],
    "jurisdictions": [["eu"], ["uk", "us_ca", "us_credit"], ["us_health", "other"], ["eu_credit"]],
    "latency_ms": [10, 500],
    "npv": [-1.0, 1.0],
    "benefit": [0.0, 5.0],
}
FIXED = {"entity": "", "task_type": "anomaly", "cases": 1e5, "result_weeks": 2, "kpi": "x"}


def test_jinja_fires_the_rules_that_python_does_and_each_fires() -> None:
    table = tables.rules("anomaly")
    seen = fired("anomaly", CHOICES, FIXED, 1000)
    of_binary = tables.rules("binary")["decisions"].values()
    common = {rule["id"] for decision in of_binary for rule in decision["rules"]}
    mine = {rule["id"] for d in table["decisions"].values() for rule in d["rules"]}
    assert mine - common <= seen


def test_every_source_is_used_and_every_value_has_words(made: dict[str, Path]) -> None:
    table = tables.rules("anomaly")
    rules = [rule for decision in table["decisions"].values() for rule in decision["rules"]]
    used = {source for rule in rules for source in rule["sources"]}
    for project in made.values():
        computed = plan(project)["computed"].values()
        used |= {number["source"] for group in computed for number in group.values()}
    assert used == set(table["sources"])
    for id, decision in table["decisions"].items():
        for then in (rule["then"] for rule in decision["rules"]):
            assert {*([then] if isinstance(then, str) else then)} <= decision["words"].keys(), id


def test_questions_fit_the_terminal_and_give_an_example() -> None:
    path = ROOT / "questions/anomaly/questions.yml"
    for name, question in yaml.safe_load(path.read_text("utf-8")).items():
        if "help" not in question:
            continue
        lines = question["help"].replace("{{ currency }}", "EUR").splitlines()
        assert max(len(line) for line in lines if "──" not in line) <= 78, name
        assert "Example: " in question["help"], name
        assert "ask" in question or "choices" not in question, f"{name} would be asked of all"


def test_a_rule_is_held_against_the_model_as_the_plan_asks(made: dict[str, Path]) -> None:
    ways = {name: (made[name] / "PLAN.md").read_text("utf-8") for name in ("none", "full")}
    assert "a model has to be better by the gain of OBJ-01" in ways["full"]
    assert "what it finds is told beside the model's" in ways["none"]
    assert "has to be better" not in ways["none"]
