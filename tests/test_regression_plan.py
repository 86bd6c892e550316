"""The plan of regression: its rules, numbers and cases, and that neither task names the other."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import tables
from helpers.firing import fired
from helpers.jinja import evaluate_all
from helpers.package import PACKAGE, TEMPLATE, own
from helpers.rendering import copy_template, recorded, render

CASES = ("house_price", "delivery_time")
FORMULAS = "questions/regression/formulas.jinja"
OF_BINARY = (
    r"positives?\b(?! effect)|prevalence|threshold|false alarm|missed case|\bpos_rate|cost_[ft][pn]"
    r"|AUC|calibrat|rarer|stratif|logistic|binary|churn|today_caught|daily_capacity"
    r"|two classes|of one class"
)
OF_REGRESSION = (
    r"pinball|\bMAE\b|RMSE|quantile|\bridge\b|cost_(?:over|under)|today_error|conformal"
    r"|max_error|smearing|target_(?:unit|shape|mean|sd)|Tweedie|delivery_time|house_price"
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the template with nothing but the plan and the answers, which are made fast."""
    made = tmp_path_factory.mktemp("template") / "planner"
    return copy_template(made, only=("PLAN.md.jinja", "plan"))


@pytest.fixture(scope="module", params=CASES)
def project(
    request: pytest.FixtureRequest, template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp(request.param) / "project"
    return render(folder, source=template, preset=request.param, plan_depth="regulated")


def plan(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((project / "plan/plan.yaml").read_text("utf-8"))
    return found


def said(project: Path) -> str:
    """Return all that the plan says, without the values of answers and laws that are common."""
    texts = [path.read_text("utf-8") for path in project.rglob("*") if path.is_file()]
    return re.sub(r'target_shape: "?positive"?|\{"positive"|\'positive\'', "", "\n".join(texts))


def test_numbers_equal_those_by_hand(project: Path) -> None:
    found, a = plan(project), plan(project)["answers"]
    numbers = {
        name: number["value"]
        for group in found["computed"].values()
        for name, number in group.items()
    }
    cost = a["today_error"] * (a["cost_over"] + a["cost_under"]) / 2
    spread = math.sqrt(math.pi / 2 - 1)
    explains = 1 - math.pi / 2 * (a["today_error"] / a["target_sd"]) ** 2
    r2 = min(max(explains, 0.15), 0.8)
    expected = {
        "cost_today": cost,
        "most_of_errors": cost * a["predictions_per_month"],
        "order_quantile": a["cost_under"] / (a["cost_over"] + a["cost_under"]),
        "test_rows_needed": math.ceil((1.959963984540054 * spread / 0.05) ** 2),
        "error_half_width": 1.959963984540054 * spread / math.sqrt(0.2 * a["n_rows"]),
        "explained_today": explains,
        "rows_per_arm": math.ceil(
            2 * ((1.959963984540054 + 0.8416212335729143) * spread / a["ab_effect"]) ** 2
        ),
        "parameters_shrinkage": math.floor(numbers["fit_rows"] * -0.1 * math.log(1 - r2 / 0.9)),
        "metric_drop": a["min_gain"] * a["max_error"],
    }
    for name, value in expected.items():
        assert numbers[name] == pytest.approx(value, rel=1e-6), name
    assert numbers["npv"] > 0 and numbers["weeks"] < 52


def test_half_an_interval_has_the_unit_and_the_figures_of_its_metric(project: Path) -> None:
    text = (project / "PLAN.md").read_text("utf-8")
    found = re.search(r"would tell it to ([\d.\u00a0]+) (.+) up or down", text)
    assert found and found[2] == plan(project)["answers"]["target_unit"]
    assert len(found[1].replace(".", "").lstrip("0")) <= 3 or "." not in found[1]


def test_formulas_equal_golden_values() -> None:
    golden = {
        "order_quantile": [([3, 1], 0.75), ([1, 1], 0.5)],
        "cost_of_error": [([10, 2, 4], 30.0)],
        "rows_for_mean_error": [([0.05], 878), ([0.1], 220)],
        "error_rows_per_arm": [([0.05], 3585), ([0.1], 897)],
        "mean_error_half_width": [([1, 0], None), ([10, 10_000], 0.148077)],
        "rmse_half_width": [([10, 5000], 0.195996), ([10, 0], None)],
    }
    for macro, cases in golden.items():
        found = evaluate_all(FORMULAS, macro, [arguments for arguments, _ in cases])
        assert found == [value and pytest.approx(value, rel=1e-5) for _, value in cases], macro


def test_every_answer_of_a_case_is_taken(project: Path) -> None:
    answers = recorded(project)
    assert answers["task_type"] == "regression"
    presets = evaluate_all("questions/presets.jinja", "known", [[answers["preset"], "regression"]])
    assert answers | presets[0] | {"plan_depth": "regulated"} == answers


def test_costs_and_values_decide(template: Path, tmp_path: Path) -> None:
    wanted: dict[str, tuple[dict[str, Any], str]] = {
        "pinball": ({"cost_over": 1, "cost_under": 4}, "order_quantile"),
        "mae": ({"cost_over": 1, "cost_under": 1}, "predicted_value"),
        "rmse": ({"large_errors": True, "cost_under": 1}, "predicted_value"),
    }
    for metric, (answers, value) in wanted.items():
        made = render(tmp_path / metric, source=template, task_type="regression", **answers)
        decided = {d["output"]: d["value"] for d in plan(made)["decisions"].values()}
        assert (decided["primary_metric"], decided["decision_value"]) == (metric, value)
        assert metric not in decided["secondary_metrics"]


def test_a_plan_names_nothing_of_another_task(
    project: Path, template: Path, tmp_path: Path
) -> None:
    assert re.findall(OF_BINARY, said(project)) == []
    start = render(tmp_path / "start", source=template, task_type="regression")
    assert re.findall(OF_BINARY, said(start)) == []
    binary = render(tmp_path / "binary", source=template, plan_depth="regulated")
    assert re.findall(OF_REGRESSION, said(binary)) == []


def test_another_task_leaves_its_answers(template: Path, tmp_path: Path) -> None:
    """A case of one task gives nothing to the other."""
    made = render(tmp_path / "p", source=template, preset="house_price", task_type="binary")
    answers = recorded(made)
    assert answers["target"] == "churned" and answers["pos_rate"] == 0.15
    assert not {"today_error", "cost_over", "target_unit"} & answers.keys()


CHOICES: dict[str, list[Any]] = {
    "target_shape": ["any", "positive", "counts", "zeros"],
    "cost_over": [0.05, 1.0],
    "cost_under": [0.2, 1.0, 1.05],
    "large_errors": [True, False],
    "today_error": [0.5, 10.0, 1e6],
    "target_sd": [1.0, 20.0],
    "max_error": [0.1, 9.0, 1e7],
    "n_rows": [100, 700, 999, 50_000, 10**9],
    "label_delay_days": [0, 7, 8, 31, 91],
    "history_months": [0.1, 2.5, 24],
    "time_column": ["", "sold_on"],
    "entity": ["", "home_id"],
    "entity_repeats": [True, False],
    "interpretability": ["none", "inherent", "local"],
    "decision_mode": ["automated", "human_in_loop"],
    "personal_data": [True, False],
    "significant_effect": [True, False],
    "predictions_per_month": [10, 20_000, 10**9],
    "ab_weeks": [1, 53],
    "monthly_benefit": [0, 10**9],
    "yearly_gap": [0, 2_400_000, 10**12],
    "deployment_modes": [["rest"], ["batch"]],
    "risk_class": ["minimal", "limited", "high", "prohibited"],
    "jurisdictions": [["eu"], ["uk", "us_ca", "us_credit"], ["us_health", "other"], ["eu_credit"]],
    "latency_ms": [10, 500],
    "has_labels": [True, True, False],
    "npv": [-1.0, 1.0],
    "benefit": [0.0, 5.0],
}
FIXED = {"entity": "", "task_type": "regression", "cases": 1e5, "result_weeks": 2, "kpi": "x"}


def test_jinja_fires_the_rules_that_python_does_and_each_fires() -> None:
    seen = fired("regression", CHOICES, FIXED, 3000)
    # What binary has as well, tests/test_rules.py sees fire.
    own, others = (
        {rule["id"] for rule in tables.rules_of(task)} for task in ("regression", "binary")
    )
    assert own - others <= seen


def test_every_source_is_used_and_every_value_has_words(project: Path) -> None:
    table, found = tables.rules("regression"), plan(project)
    rules = [rule for decision in table["decisions"].values() for rule in decision["rules"]]
    used = {source for rule in rules for source in rule["sources"]}
    used |= {n["source"] for numbers in found["computed"].values() for n in numbers.values()}
    assert used == set(table["sources"])
    for id, decision in table["decisions"].items():
        then = {
            v
            for r in decision["rules"]
            for v in (r["then"] if isinstance(r["then"], list) else [r["then"]])
        }
        assert then <= decision["words"].keys(), id


@pytest.mark.parametrize("task", ["binary", "regression", "multiclass", "multilabel"])
def test_what_code_reads_of_one_task_is_in_its_plan(
    task: str, template: Path, tmp_path: Path
) -> None:
    made = plan(render(tmp_path / "p", source=template, task_type=task))
    files = (own(task) / PACKAGE / "engine/task_facts.py", TEMPLATE / PACKAGE / "engine/facts.py")
    source = "\n".join(file.read_text("utf-8") for file in files)
    facts = set(re.findall(r"^    (\w+): \w+(?!.*\| None)", source, re.MULTILINE))
    known = {*made["answers"], *(found["output"] for found in made["decisions"].values())}
    assert facts and facts - known <= {"today_precision"}  # only asked where somebody acts today
