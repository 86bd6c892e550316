"""The plan of clustering: rules, numbers, its case, and that nothing counts as accurate."""

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

CASE = "segmentation"
FORMULAS = "questions/clustering/formulas.jinja"
OF_OTHERS = (
    r"pinball|\bMAE\b|RMSE|conformal|\bridge\b|cost_(?:over|under|f[pn]|t[pn]|missed|check|wrong)"
    r"|pos_rate|max_error|target_(?:unit|shape|mean|sd)|false alarm|prevalence|calibrat|lightgbm"
    r"|logistic(?! regression was)|anomal|alerts_per_day|isolation forest|today_(?:caught|found)"
    r"|of the rarer class|churn|house_price|labels tell|known after|\bROC\b|\brecall\b"
)
OF_CLUSTERING = (
    r"\bsegment(?!ation)|k-means|silhouette|cost_misplaced|min_stability|keep_months|today_right"
    r"|response_share|Jaccard"
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the template with plan, documents and contract alone."""
    made = tmp_path_factory.mktemp("template") / "planner"
    return copy_template(made, only=DOCUMENTS)


@pytest.fixture(scope="module")
def made(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the case, and a start with today's segments of nobody and of a rule."""
    folder = tmp_path_factory.mktemp("made")
    start = {"task_type": "clustering", "plan_depth": "regulated"}
    wanted: dict[str, dict[str, Any]] = {
        "case": {"preset": CASE, "plan_depth": "regulated"},
        "light": {"task_type": "clustering"},
        **{
            today: start | {"today_segments": today, "build_cost": 60_000}
            for today in ("none", "rule")
        },
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
    # 80 000 customers a month; 0.60 for a treatment that fits, -0.10 for one that does not.
    today = 80_000 * (0.5 * 0.6 - 0.5 * 0.1) - 3 * 600
    p1, p2 = 0.04, 0.044
    mean = (p1 + p2) / 2
    spread = 1.959963984540054 * math.sqrt(2 * mean * (1 - mean)) + 0.8416212335729143 * math.sqrt(
        p1 * (1 - p1) + p2 * (1 - p2)
    )
    arm = math.ceil((spread / (p1 - p2)) ** 2)
    weeks = math.ceil(2 * arm / (80_000 / 30.4375) / 7)
    expected = {
        "today": today,
        "most_of_segments": 80_000 * 0.6 - 3 * 600 - today,
        "value_of_most": 12 * (80_000 * 0.6 - 7 * 600),
        "break_even_right": (3 * 600 / 80_000 + 0.1) / 0.7,
        "rows_that_pay": 1000,
        "share_that_pays": 0.0125,
        "rows_each": 0.8 * 80_000 / 7,
        "share_half_width": 1.959963984540054 * math.sqrt(6 / 49 / 16_000),
        "stability_floor": a["min_stability"],
        "rows_each_a_month": 80_000 / 7,
        "rows_per_arm": arm,
        "weeks": weeks,
        "result_weeks": weeks + 2,
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-6), name
    assert found["npv"] > 0


def test_formulas_equal_golden_values() -> None:
    golden: dict[str, list[tuple[list[float], float]]] = {
        # 1 000 rows, 70 % as fits them: 700 x 2 - 300 x 1 - 4 x 50.
        "value_of_segments": [([1000, 0.7, 2, 1, 4, 50], 900.0), ([1000, 0, 2, 1, 4, 50], -1200.0)],
        "value_of_cases": [
            ([1000, 2, 3, 50, 900], 950.0),
            ([1000, 2, 3, 50, -1200], 1850.0),  # to end today's loss needs no model
            ([10, 2, 3, 50, 0], 0.0),
        ],
        # At that share segments are worth exactly 0: 1000 (p 2 - (1 - p) 1) = 4 x 50.
        "break_even_right": [([1000, 2, 1, 4, 50], 0.4), ([100, 2, 0, 4, 50], 1.0)],
        "rows_that_pay": [([2, 50], 25), ([3, 50], 17), ([3, 0], 0)],
        "rows_of_each": [([8000, 4], 2000.0)],
    }
    for macro, cases in golden.items():
        found = evaluate_all(FORMULAS, macro, [arguments for arguments, _ in cases])
        assert found == [pytest.approx(v) for _, v in cases], macro
    even = golden["break_even_right"][0][1]
    worth = evaluate_all(FORMULAS, "value_of_segments", [[1000, even, 2, 1, 4, 50]])
    assert worth == [pytest.approx(0.0, abs=1e-9)]


def test_every_answer_of_the_case_is_taken(made: dict[str, Path]) -> None:
    answers = recorded(made["case"])
    case = evaluate_all("questions/presets.jinja", "known", [[CASE, "clustering"]])[0]
    assert answers | case | {"plan_depth": "regulated"} == answers
    assert answers["label_delay_days"] == 0  # of a segment nothing is known later
    assert not {"labels", "pos_rate", "cost_missed", "target_unit"} & answers.keys()


def test_nothing_counts_as_accurate(made: dict[str, Path]) -> None:
    for name, project in made.items():
        found, text = decided(project), (project / "PLAN.md").read_text("utf-8")
        assert found["verdict"] == "go", name
        assert found["primary_metric"] == "silhouette"
        assert "no_segment_is_the_true_one" in found["warnings"]
        assert "is not known before EVAL-08" in text or name == "light"
        assert "accuracy: none" in text.lower() or name == "light"
        labels = r"labels (?:known|come)|no row has a label|label delay of"
        assert not re.search(labels, text, re.IGNORECASE), name
    assert decided(made["none"])["baselines"] == ["median_rule"]
    assert decided(made["rule"])["baselines"] == ["median_rule", "today_rule"]
    assert decided(made["rule"])["secondary_metrics"] == ["smallest_share", "agreement_today"]


def test_the_number_of_segments_is_what_people_can_treat(made: dict[str, Path]) -> None:
    text = (made["case"] / "PLAN.md").read_text("utf-8").replace("\u00a0", " ")
    assert "People can treat 3 to 7 segments differently" in text
    assert "stability of at least 0.8" in text and "HENNIG" in plan(made["case"])["sources"]
    assert "and need them to stay for 6 months" in text
    assert decided(made["case"])["retrain"] == "quarterly_review"


def test_the_contract_takes_rows_without_a_segment(made: dict[str, Path]) -> None:
    for name, empty in (("none", True), ("rule", False)):
        contract = (made[name] / "contracts/dataset.odcs.yaml").read_text("utf-8")
        target = contract[contract.index('- name: "segment"') :]
        assert "required: true" not in target and "validValues" not in target
        assert ("missingShare: 1.0" in target) == empty
        assert 'purpose: "Find segment"' in contract


ANSWERS: dict[str, Any] = {
    "time_column": "", "entity": "", "entity_repeats": False, "answer_known": False,
    "keep_months": 6,
    "n_rows": 50_000, "history_months": 12, "label_delay_days": 0, "segments_least": 3,
    "segments_most": 7, "segment_use": "offers", "min_stability": 0.8, "min_silhouette": 0.1,
    "predictions_per_month": 20_000, "segment_gain": 5, "cost_misplaced": 2.5, "cost_segment": 500,
    "today_segments": "none", "today_right": 0.0, "today": 0.0, "yearly_gap": 1_200_000,
    "monthly_benefit": 9000, "cases": 98_500.0, "personal_data": False, "jurisdictions": ["eu"],
    "deployment_modes": ["batch"], "significant_effect": False, "interpretability": "global",
    "npv": 1.0, "benefit": 1.0, "ab_weeks": 9, "result_weeks": 11, "risk_class": "minimal",
    "decision_mode": "human_in_loop", "alternative_npv": 0, "asked": 9000, "gap": 1_200_000,
    "grown": 9000, "last": 98_500, "machine_cost": 0, "run_cost": 3000, "horizon_months": 36,
    "first": 5, "ramp_months": 3, "task_type": "clustering", "today_count": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "output", "value"),
    [
        ({"answer_known": True}, "warnings", "an_answer_is_known"),
        ({"segment_use": "insight"}, "warnings", "segments_without_a_use"),
        ({"n_rows": 800}, "warnings", "too_few_rows_of_a_segment"),
        ({"cost_segment": 15_000}, "warnings", "more_segments_than_pay"),
        ({"cost_misplaced": 25}, "warnings", "almost_every_row_must_fit"),
        ({"time_column": "at", "keep_months": 13}, "warnings", "history_is_shorter_than_they_stay"),
        ({"entity": "id", "entity_repeats": True}, "warnings", "one_entity_in_several_segments"),
        ({"min_stability": 0.59}, "warnings", "stability_is_not_asked_for"),
        ({"personal_data": True}, "warnings", "segments_may_follow_protected_groups"),
        ({"yearly_gap": 1_400_000}, "warnings", "gap_is_more_than_all_gain"),
        ({"yearly_gap": 1_000_000}, "warnings", "gap_is_less_than_what_is_missed"),
        ({"today": -1.0}, "warnings", "todays_process_loses_money"),
        ({"min_silhouette": 0.0}, "warnings", "limit_is_none"),
        ({"monthly_benefit": 98_600}, "warnings", "segments_bring_less_than_planned"),
        ({"personal_data": True}, "duties", "objection_to_marketing"),
    ],
)
def test_an_answer_out_of_line_is_told(changed: dict[str, Any], output: str, value: str) -> None:
    table = tables.rules("clustering")
    usual = reference.decide(dict.fromkeys(tables.inputs(table), 1) | ANSWERS, table)
    assert usual["warnings"][0] == ["no_segment_is_the_true_one"]
    assert value not in usual[output][0]
    other = reference.decide(dict.fromkeys(tables.inputs(table), 1) | ANSWERS | changed, table)
    assert value in other[output][0]


@pytest.mark.parametrize(
    ("changed", "output", "value"),
    [
        ({"n_rows": 180}, "verdict", "stop"),
        ({"n_rows": 188}, "verdict", "go"),  # 150.4 rows, 50 for each of three segments
        ({"interpretability": "inherent"}, "candidates", ["kmeans"]),
        ({"n_rows": 20_001}, "candidates", ["kmeans", "gaussian_mixture"]),
        ({"n_rows": 20_000}, "candidates", ["kmeans", "gaussian_mixture", "hierarchical"]),
        ({}, "baselines", ["median_rule"]),  # two heaps close no gate for who needs three
        ({"today_segments": "rule"}, "baselines", ["median_rule", "today_rule"]),
        ({"keep_months": 2.9}, "retrain", "monthly_check"),
        ({"keep_months": 3}, "retrain", "quarterly_review"),
        ({"ab_weeks": 53}, "experiment", "compare_months"),
        ({"time_column": "at"}, "split", "time"),
        ({"entity": "id", "entity_repeats": True}, "split", "group"),
        ({}, "split", "random"),
        ({}, "tuning", "none"),
        ({}, "missing", "median"),
        ({}, "cat_high", "one_hot"),
        ({}, "scaling", "robust"),
        ({}, "count_rule", "stable_silhouette"),
    ],
)
def test_rules_decide_by_the_answers(changed: dict[str, Any], output: str, value: Any) -> None:
    table = tables.rules("clustering")
    answers = dict.fromkeys(tables.inputs(table), 1) | ANSWERS | changed
    assert reference.decide(answers, table)[output][0] == value


def test_a_plan_names_nothing_of_another_task(
    made: dict[str, Path], template: Path, tmp_path: Path
) -> None:
    for name, project in made.items():
        for path in project.rglob("*"):
            if path.is_file():
                found = re.findall(OF_OTHERS, path.read_text("utf-8"))
                assert found == [], f"{name}/{path.name}"
    for task in ("binary", "multiclass", "regression", "anomaly"):
        other = render(tmp_path / task, source=template, task_type=task, plan_depth="regulated")
        for path in other.rglob("*"):
            assert path.is_dir() or not re.findall(OF_CLUSTERING, path.read_text("utf-8")), path


def test_documents_say_what_a_segment_is(made: dict[str, Path]) -> None:
    for name in ("case", "none"):
        runbook, card, sheet = (
            (made[name] / f"docs/{n}.md").read_text("utf-8")
            for n in ("runbook", "model_card", "datasheet")
        )
        assert "## Segments of the model" in runbook and "look at the silhouette" in runbook
        assert "it is no proof that all of them want the same" in card
        assert "Made to find `segment`" in sheet
        assert "No column says which segment is the right one" in sheet
        assert ("nobody has given segments yet" in sheet) == (name == "none")
        for text in (runbook, card, sheet):
            assert not re.search(r"labels? (?:is|are|come) ", text, re.IGNORECASE)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"segments_least": 1}, "segments_least: give 2 to 50"),
        ({"segments_least": 5, "segments_most": 4}, "segments_most: give at least 5, the fewest"),
        ({"segments_most": 51}, "segments_most: give 2 to 50"),
        ({"segment_use": "all"}, "segment_use: give one of offers, service, range, insight"),
        ({"today_segments": "some"}, "today_segments: give one of none, rule"),
        ({"today_count": 3}, "today_count: give 1, or answer today_segments with rule"),
        ({"today_segments": "rule", "today_count": 1}, "today_count: give 2 or more, or answer"),
        ({"today_right": 0.5}, "today_right: give 0, or answer today_segments with rule"),
        ({"today_segments": "rule", "today_right": 1.5}, "today_right: give 0 to 1"),
        ({"segment_gain": 0}, "segment_gain: give 0.0001 to"),
        ({"cost_misplaced": -1}, "cost_misplaced: give 0 to"),
        ({"cost_segment": "cheap"}, "cost_segment: give a number"),
        ({"keep_months": 0}, "keep_months: give 0.1 to 120"),
        ({"min_stability": 1.2}, "min_stability: give 0 to 1"),
        ({"min_silhouette": 2}, "min_silhouette: give -1 to 1"),
        ({"response_share": 0.9}, "response_share: give 0.0001 to 0.5"),
        ({"response_days": -1}, "response_days: give 0 to 3650"),
    ],
)
def test_a_wrong_answer_is_told_in_one_line(
    answers: dict[str, Any], said: str, template: Path, tmp_path: Path
) -> None:
    with pytest.raises((UserMessageError, ValueError)) as error:
        render(tmp_path / "p", source=template, task_type="clustering", **answers)
    assert said in str(error.value) and "\n" not in str(error.value).strip()
    assert not (tmp_path / "p").exists()


CHOICES: dict[str, list[Any]] = {
    "segment_use": ["offers", "service", "range", "insight"],
    "segments_least": [2, 3, 10],
    "segments_most": [3, 7, 50],
    "today_segments": ["none", "rule"],
    "today_right": [0.0, 0.5, 1.0],
    "segment_gain": [0.1, 5],
    "cost_misplaced": [0.0, 2.5, 30],
    "cost_segment": [0.0, 500, 20_000],
    "keep_months": [1, 3, 24],
    "min_stability": [0.5, 0.6, 0.8],
    "min_silhouette": [-0.1, 0.0, 0.25],
    "answer_known": [True, False],
    "today": [-100.0, 0.0, 100.0],
    "n_rows": [100, 150, 2000, 20_000, 50_000, 10**9],
    "label_delay_days": [0, 31],
    "history_months": [0.1, 2.5, 24],
    "time_column": ["", "measured_at"],
    "entity": ["", "customer"],
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
FIXED = {"task_type": "clustering", "cases": 1e5, "result_weeks": 2, "kpi": "x"}


def test_jinja_fires_the_rules_that_python_does_and_each_fires() -> None:
    table = tables.rules("clustering")
    seen = fired("clustering", CHOICES, FIXED, 600)
    of_binary = tables.rules("binary")["decisions"].values()
    common = {rule["id"] for decision in of_binary for rule in decision["rules"]}
    mine = {rule["id"] for d in table["decisions"].values() for rule in d["rules"]}
    assert mine - common <= seen


def test_every_source_is_used_and_every_value_has_words(made: dict[str, Path]) -> None:
    table = tables.rules("clustering")
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
    path = ROOT / "questions/clustering/questions.yml"
    for name, question in yaml.safe_load(path.read_text("utf-8")).items():
        if "help" not in question:
            continue
        lines = question["help"].replace("{{ currency }}", "EUR").splitlines()
        assert max(len(line) for line in lines if "──" not in line) <= 78, name
        assert "Example: " in question["help"] or name == "kpi_target", name
        assert "ask" in question or "choices" not in question, f"{name} would be asked of all"
