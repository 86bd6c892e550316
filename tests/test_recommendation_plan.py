"""The plan of recommendation: formulas and numbers against Python, rules, and its case."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from copier.errors import UserMessageError
from helpers import tables
from helpers.jinja import evaluate_all
from helpers.rendering import DOCUMENTS, copy_template, recorded, render
from reference import rules as reference

CASE = "recommender"
FORMULAS = "questions/recommendation/formulas.jinja"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the template with plan, documents and contract alone."""
    made = tmp_path_factory.mktemp("template") / "planner"
    return copy_template(made, only=DOCUMENTS)


@pytest.fixture(scope="module")
def case(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the plan of the case in its longest form."""
    folder = tmp_path_factory.mktemp("made") / "case"
    return render(folder, source=template, preset=CASE, plan_depth="regulated")


def plan(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((project / "plan/plan.yaml").read_text("utf-8"))
    return found


def test_formulas_equal_golden_values() -> None:
    first, tenth = 1 / math.log2(2), 1 / math.log2(11)
    half = (first + tenth) / 2  # of two lists one is hit at the first place, one at the tenth
    golden: dict[str, list[tuple[list[float], float]]] = {
        "value_of_lists": [
            ([1000, half, 2, 0.25], 1000 * half * 2 * 0.25),
            ([1000, 0, 2, 0.25], 0.0),
            ([30_000_000, 0.03, 0.12, 0.2], 21_600.0),
        ],
        "value_of_cases": [
            ([1000, 2, 0.25, 100], 400.0),
            ([1000, 2, 0.25, 500], 0.0),
            ([1000, 2, 0.25, 501], 0.0),  # no model is worth less than none
        ],
        "break_even_hits": [
            ([0.1, 50, 1000, 2, 0.25], 0.2),
            ([0, 500, 1000, 2, 0.25], 1.0),  # each list must show first what is taken
        ],
        "rows_of_each": [([4800, 40], 120.0), ([10, 4], 2.5)],
    }
    for macro, cases in golden.items():
        found = evaluate_all(FORMULAS, macro, [arguments for arguments, _ in cases])
        assert found == [pytest.approx(value) for _, value in cases], macro
    # Lists at that point bring today's and the benefit: 50 + 50.
    assert evaluate_all(FORMULAS, "value_of_lists", [[1000, 0.2, 2, 0.25]]) == [pytest.approx(100)]


def test_numbers_equal_those_by_hand(case: Path) -> None:
    groups = plan(case)["computed"]
    p1, p2 = 0.12, 0.12 * 1.02
    mean = (p1 + p2) / 2
    spread = 1.959963984540054 * math.sqrt(2 * mean * (1 - mean)) + 0.8416212335729143 * math.sqrt(
        p1 * (1 - p1) + p2 * (1 - p2)
    )
    arm, each, a_day = math.ceil((spread / (p1 - p2)) ** 2), 0.12 * 0.2, 30_000_000 / 30.4375
    weeks = math.ceil(2 * arm / a_day / 7)
    expected: dict[str, dict[str, float]] = {
        "VAL-02": {
            "today": 30_000_000 * 0.03 * each,
            "most_of_lists": 30_000_000 * each * (1 - 0.03),
            "break_even_hits": 0.03 + 21_000 / (30_000_000 * each),
        },
        "EVAL-08": {"rows_per_arm": arm, "weeks": weeks, "result_weeks": weeks},
        "DATA-02": {
            "test_rows": 1_200_000,
            "fit_rows": 4_800_000,
            "rows_each": 1200,
            "hits_half_width": 1.959963984540054 * math.sqrt(0.03 * 0.97 / 1_200_000),
        },
        "EVAL-05": {"predictions_per_day": a_day, "places_a_day": 10 * a_day},
        "MON-03": {"metric_drop": 0.005},
    }
    for block, numbers in expected.items():
        for name, value in numbers.items():
            assert groups[block][name]["value"] == pytest.approx(value, rel=1e-9), name
    assert groups["VAL-01"]["npv"]["value"] > 0


def test_the_case_decides_as_its_answers_ask(case: Path) -> None:
    answers = recorded(case)
    known = evaluate_all("questions/presets.jinja", "known", [[CASE, "recommendation"]])[0]
    assert answers | known | {"plan_depth": "regulated"} == answers
    assert answers["label_delay_days"] == 0  # what is taken is seen at once
    decided = {found["output"]: found["value"] for found in plan(case)["decisions"].values()}
    expected = {
        "verdict": "go",
        "baselines": ["popular", "recent"],
        "candidates": ["item_item", "ease", "ease_popular"],
        "feedback": "implicit",
        "split": "time",
        "cv": "time_series",
        "primary_metric": "ndcg",
        "secondary_metrics": ["recall", "map", "coverage", "novelty", "popularity_bias"],
        "list_rule": "first_of_ranking",
        "explain": "global_and_local",
        "experiment": "users_against_today",
        "warnings": ["lists_make_their_own_rows"],
    }
    assert {name: decided[name] for name in expected} == expected
    text = (case / "PLAN.md").read_text("utf-8").replace("\u00a0", " ")
    assert "the plan pays from discounted hits of 0.0592" in text


ANSWERS: dict[str, Any] = {
    "time_column": "at", "entity": "user", "entity_repeats": True, "n_rows": 500_000,
    "n_items": 3000, "min_support": 5, "list_length": 10, "item_value": 2, "take_share": 0.1,
    "incremental_share": 0.2, "today_hits": 0.03, "min_ndcg": 0.04, "ab_effect": 0.05,
    "predictions_per_month": 200_000, "history_months": 12, "label_delay_days": 0,
    "yearly_gap": 100_000, "monthly_benefit": 2000, "cases": 77_600.0, "today": 2400.0,
    "personal_data": True, "jurisdictions": ["eu"], "deployment_modes": ["rest"],
    "significant_effect": False, "interpretability": "local", "risk_class": "minimal",
    "decision_mode": "automated", "latency_ms": 60, "npv": 1.0, "benefit": 1.0, "ab_weeks": 3,
    "result_weeks": 3, "alternative_npv": 0, "asked": 2000, "gap": 100_000, "grown": 2000,
    "last": 77_600, "machine_cost": 0, "run_cost": 500, "horizon_months": 36, "first": 5,
    "ramp_months": 3, "task_type": "recommendation",
}  # fmt: skip


TABLE = tables.rules("recommendation")


def decide(changed: dict[str, Any]) -> dict[str, Any]:
    return reference.decide(dict.fromkeys(tables.inputs(TABLE), 1) | ANSWERS | changed, TABLE)


@pytest.mark.parametrize(
    ("changed", "value"),
    [
        ({"n_rows": 37_499}, "too_few_rows_of_an_item"),  # 80 % of them: below 2 x 5 of each item
        ({"n_items": 100_001, "n_rows": 10**7}, "most_items_are_not_ranked"),
        ({"yearly_gap": 1_057_000}, "gap_is_more_than_all_lists"),  # all lists bring 960 000
        ({"min_ndcg": 0.03}, "limit_is_none"),
        ({"monthly_benefit": 77_602}, "lists_bring_less_than_planned"),
    ],
)
def test_an_answer_out_of_line_is_told(changed: dict[str, Any], value: str) -> None:
    assert decide({})["warnings"][0] == ["lists_make_their_own_rows"]
    assert decide(changed)["warnings"][0] == ["lists_make_their_own_rows", value]


@pytest.mark.parametrize(
    ("changed", "output", "value"),
    [
        ({"n_items": 5000}, "candidates", ["item_item", "ease", "ease_popular"]),
        ({"n_items": 5001}, "candidates", ["item_item"]),
        ({"interpretability": "inherent"}, "candidates", ["item_item"]),
        ({"interpretability": "inherent"}, "explain", "global_and_local"),
        ({"interpretability": "global"}, "explain", "global"),
        ({"ab_weeks": 52}, "experiment", "users_against_today"),
        ({"ab_weeks": 53}, "experiment", "compare_months"),
        ({"n_rows": 37_500}, "warnings", ["lists_make_their_own_rows"]),
        ({"yearly_gap": 1_056_000}, "warnings", ["lists_make_their_own_rows"]),
        ({"time_column": ""}, "split", "time"),
        ({"risk_class": "prohibited"}, "verdict", "stop"),
    ],
)
def test_rules_decide_by_the_answers(changed: dict[str, Any], output: str, value: Any) -> None:
    assert decide(changed)[output][0] == value


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"n_items": 1}, "n_items: give 2 to"),
        ({"list_length": 11}, "list_length: give 1 to 10"),
        ({"today_hits": 1}, "today_hits: give 0 to 0.99"),
        ({"incremental_share": 0}, "incremental_share: give 0.0001 to 1"),
        ({"item_value": "dear"}, "item_value: give a number"),
    ],
)
def test_a_wrong_answer_is_told_in_one_line(
    answers: dict[str, Any], said: str, template: Path, tmp_path: Path
) -> None:
    with pytest.raises((UserMessageError, ValueError)) as error:
        render(tmp_path / "p", source=template, task_type="recommendation", **answers)
    assert said in str(error.value) and "\n" not in str(error.value).strip()
    assert not (tmp_path / "p").exists()


def test_a_light_plan_names_no_other_task(template: Path, tmp_path: Path) -> None:
    project = render(tmp_path / "p", source=template, task_type="recommendation")
    text = (project / "PLAN.md").read_text("utf-8")
    others = r"threshold|\brecall of\b|silhouette|anomal|\bRMSE\b|pinball|rarer class|segment"
    assert re.findall(others, text, re.IGNORECASE) == []
    assert "NDCG" in text and "The same list for everybody" in text


def test_a_default_gap_gives_way_to_a_benefit_that_was_given(
    template: Path, tmp_path: Path
) -> None:
    lists: dict[str, Any] = {"task_type": "recommendation", "predictions_per_month": 100000}
    made = plan(render(tmp_path / "usual", source=template, **lists))
    answers = made["answers"]
    most = 12 * 100000 * answers["item_value"] * answers["incremental_share"]
    assert answers["yearly_gap"] == pytest.approx(most * (1 - answers["today_hits"]))
    assert answers["monthly_benefit"] <= answers["yearly_gap"] / 48
    more = answers["yearly_gap"] // 12 + 1000
    made = plan(render(tmp_path / "more", source=template, monthly_benefit=more, **lists))
    assert made["answers"]["yearly_gap"] == 12 * more
    assert made["origins"]["yearly_gap"] == "default"
    assert made["origins"]["monthly_benefit"] == "given"
    with pytest.raises(UserMessageError, match="give that first"):
        render(tmp_path / "less", source=template, monthly_benefit=more, yearly_gap=12, **lists)
