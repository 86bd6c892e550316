"""No answers give a plan whose blocks contradict each other; what cannot be true stops or warns."""

import re
from typing import Any

import pytest
from helpers.plan import render_plan
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import formulas

MONTH = 365.25 / 12
STANDARD = {"plan_depth": "standard"}
# Answers within their bounds, few of them usual, and each beside the limits of another.
ODD: dict[str, st.SearchStrategy[Any]] = {
    "n_rows": st.sampled_from([100, 1500, 5000, 50_000, 10**9]),
    "pos_rate": st.sampled_from([0.0001, 0.01, 0.15, 0.5, 0.97, 0.9999]),
    "history_months": st.sampled_from([0.1, 2.5, 7.1, 36.0, 1200.0]),
    "label_delay_days": st.sampled_from([0, 30, 365, 3650]),
    "time_column": st.sampled_from(["", "snapshot_date"]),
    "cost_fn": st.sampled_from([11.0, 70.0, 1e6]),
    "action_success": st.sampled_from([0.5, 0.9, 1.0]),
    "today_caught": st.sampled_from([0.0, 0.3, 1.0]),
    "daily_capacity": st.sampled_from([0, 1, 150, 10**9]),
    "predictions_per_month": st.sampled_from([1, 20_000, 10**8]),
    "yearly_gap": st.sampled_from([0, 2_520_000, 10**12]),
    "indirect_gap": st.sampled_from([0, 10**6]),
    "gap_growth": st.sampled_from([0.0, 1.0]),
    "monthly_benefit": st.sampled_from([0, 52_500, 10**9]),
    "hours_saved": st.sampled_from([0, 10_000]),
    "hourly_rate": st.sampled_from([0.0, 100.0]),
    "benefit_growth": st.sampled_from([0.0, 0.1, 1.0]),
    "build_cost": st.sampled_from([0, 120_000, 10**9]),
    "run_cost": st.sampled_from([0, 100, 3000]),
    "machine_price": st.sampled_from([0.0, 0.1, 100.0]),
    "peak_qps": st.sampled_from([5, 10**5]),
    "horizon_months": st.sampled_from([17, 36, 120]),
    "success_probability": st.sampled_from([0.01, 0.5, 1.0]),
    "interpretability": st.sampled_from(["none", "inherent"]),
}


def judged(**answers: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return answers, numbers by name and decisions by output of a standard plan."""
    if "pos_rate" in answers and "today_precision" not in answers:
        answers["today_precision"] = answers["pos_rate"]
    _, plan = render_plan(**STANDARD, **answers)
    numbers = {n: v["value"] for group in plan["computed"].values() for n, v in group.items()}
    return plan["answers"], numbers, {d["output"]: d for d in plan["decisions"].values()}


def agrees(answers: dict[str, Any]) -> None:
    """Hold the blocks of one plan against each other."""
    a, n, d = judged(**answers)
    stops = d["verdict"]["value"] == "stop"
    near = 1 + 1e-9
    # Value: what is claimed can be earned by the cases, is lost today, and follows from the money.
    gap, hours = (
        (a["yearly_gap"] + a["indirect_gap"]) / 12,
        a["hours_saved"] * a.get("hourly_rate", 0),
    )
    effort = a["cost_fp"] - a["cost_tn"]
    saved = a["cost_fn"] - formulas.caught_cost(
        *(a[f"cost_{kind}"] for kind in ("fp", "fn", "tp", "tn")), a["action_success"]
    )
    positives = a["predictions_per_month"] * a["pos_rate"]
    capacity = a["daily_capacity"] * MONTH or positives
    precision = a.get("today_precision", 1.0)
    today = formulas.value_today(positives, a["today_caught"], precision, saved, effort)
    most = max(0.0, min(positives, capacity) * saved - max(0.0, today))
    assert n["benefit"] <= min(gap, most + hours) * near
    assert n["share_closed"] is None or n["share_closed"] <= near
    earned = [
        min(n["benefit"] * (1 + a["benefit_growth"]) ** (m / 12), gap * (1 + a["gap_growth"]) ** 10)
        for m in range(a["horizon_months"])
    ]
    assert n["npv"] <= a["success_probability"] * sum(earned) * near + 1
    assert n["npv"] <= n["cost_of_inaction"] * near + 1
    assert stops or (n["npv"] >= 0 and n["benefit"] > 0)
    assert n["payback_month"] is not None or n["npv"] < 1
    if a["monthly_benefit"] > most + 1:
        assert "cases_bring_less_than_planned" in d["warnings"]["value"]
    if 12 * (min(a["monthly_benefit"], most) + hours) > 12 * gap + 12:
        assert "benefit_is_more_than_the_gap" in d["warnings"]["value"]
    # One cost and one schedule: what is asked for is what is counted with.
    assert n["budget"] == n["build_cost"] and n["first_use_month"] >= n["p80_months"] - 1e-6
    assert n["run_cost"] * near >= n["machines_per_1000"] * a["predictions_per_month"] / 1000
    assert n["first_year_run_cost"] == pytest.approx(12 * n["run_cost"])
    assert n["judged_months"] >= n["p80_months"] + a["label_delay_days"] / MONTH - 1e-9
    # Data: candidates are fitted to rows that DATA-02 finds enough, and classes count alike.
    rarer = min(a["pos_rate"], 1 - a["pos_rate"])
    trees = {"lightgbm", "extra_trees"} & {*d["candidates"]["value"]}
    assert not trees or n["parameters_trees"] >= 1
    assert stops or n["parameters_linear"] >= 1
    assert (d["tuning"]["value"] == "tpe") <= ("lightgbm" in d["candidates"]["value"])
    assert (d["imbalance"]["value"] == "no_resampling") == (rarer < 0.1)
    few = n["test_rarer"] < n["test_positives_needed"]
    close = abs(0.2 * a["n_rows"] * rarer - n["test_positives_needed"]) < 1
    assert close or few == ("too_few_of_the_rarer_class" in d["warnings"]["value"])
    losing = "todays_process_loses_money" in d["warnings"]["value"]
    assert abs(today) < 1e-6 or losing == (today < 0)
    # The gap holds what today's process misses.
    missed = 12 * positives * (1 - a["today_caught"]) * (a["cost_fn"] - a["cost_tp"])
    said = "gap_is_less_than_todays_misses" in d["warnings"]["value"]
    assert said == (1.1 * a["yearly_gap"] < missed)
    gone = a["label_delay_days"] / MONTH >= 0.8 * a["history_months"] * near
    assert stops or not (a["time_column"] and gone)
    # The experiment acts on no more cases than people can, or than there are.
    assert (
        n["cases_a_day"] <= min(capacity, a["predictions_per_month"]) / MONTH * near
        or not a["daily_capacity"]
    )
    assert n["cases_a_day"] * n["base_rate"] <= positives / MONTH * near


@given(st.fixed_dictionaries(ODD))
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
def test_no_two_blocks_contradict_each_other(answers: dict[str, Any]) -> None:
    agrees(answers)


@pytest.mark.nightly
@given(st.fixed_dictionaries({}, optional=ODD))
@settings(max_examples=3000, suppress_health_check=list(HealthCheck))
def test_no_two_blocks_contradict_each_other_whatever_is_answered(answers: dict[str, Any]) -> None:
    agrees(answers)


@pytest.mark.parametrize(
    ("answers", "rule"),
    [
        ({"n_rows": 150, "pos_rate": 0.0067}, "value.few_rows"),  # one positive row
        ({"n_rows": 150, "pos_rate": 0.9933}, "value.few_rows"),  # one negative row
        ({"monthly_benefit": 0, "build_cost": 0, "run_cost": 0}, "value.nothing"),
        ({"yearly_gap": 0, "monthly_benefit": 0}, "value.nothing"),
        ({"n_rows": 64_000, "history_months": 7.1, "label_delay_days": 365}, "value.history"),
        ({"daily_capacity": 1}, "value.stop"),  # it saves 2 131 a month, not 52 500
        ({}, "value.go"),
        ({"label_delay_days": 365, "time_column": "", "history_months": 7.1}, "value.go"),
    ],
)
def test_answers_that_cannot_be_true_are_no_go(answers: dict[str, Any], rule: str) -> None:
    decisions = judged(**answers)[2]
    assert decisions["verdict"]["rule"] == rule, decisions["verdict"]["why"]


@pytest.mark.parametrize(
    ("answers", "warning"),
    [
        ({"daily_capacity": 1}, "cases_bring_less_than_planned"),
        ({"hours_saved": 10_000, "hourly_rate": 100}, "benefit_is_more_than_the_gap"),
        ({"benefit_growth": 1, "horizon_months": 120}, "growth_meets_its_limit"),
        ({"machine_price": 100}, "machines_cost_more_than_running"),
        ({"daily_capacity": 5, "today_caught": 0.5}, "today_is_beyond_capacity"),
        ({"ab_effect": 0.5, "action_success": 0.3}, "effect_is_more_than_the_action"),
        ({"yearly_gap": 1_000_000}, "gap_is_less_than_todays_misses"),
        ({"yearly_gap": 2_000_000, "today_caught": 0.1}, "gap_is_less_than_todays_misses"),
        ({"kpi_target": 0.1, "action_success": 0.2}, "target_is_out_of_reach"),
        ({"kpi_target": 0.1, "daily_capacity": 20}, "target_is_out_of_reach"),
        ({"n_rows": 8000}, "too_few_of_the_rarer_class"),
        ({"pos_rate": 0.2}, "figure_is_not_the_share"),  # kpi_now keeps the share of before
        ({"min_metric": 0.5}, "limit_is_none"),
        ({"today_caught": 0.3, "today_precision": 0.05}, "todays_process_loses_money"),
        ({"pos_rate": 0.05, "min_metric": 0.05}, "limit_is_none"),
        ({"n_rows": 40_000, "pos_rate": 0.97}, "too_few_of_the_rarer_class"),
    ],
)
def test_each_relation_has_a_rule_that_warns(answers: dict[str, Any], warning: str) -> None:
    known = judged(today_precision=0.15)[2]["warnings"]["value"]
    assert warning not in known and warning in judged(**answers)[2]["warnings"]["value"]


def test_one_case_a_day_saves_what_one_case_saves() -> None:
    _, numbers, _ = judged(daily_capacity=1)
    assert numbers["benefit"] == pytest.approx(MONTH * 70)
    assert numbers["payback_month"] is None
    nothing_spent = judged(build_cost=0, run_cost=0, machine_price=0)[1]
    assert (nothing_spent["payback_month"], nothing_spent["break_even_benefit"]) == (0, 0)


def test_an_experiment_counts_acted_on_cases_and_waits_for_their_labels() -> None:
    fraud = {"pos_rate": 0.0005, "cost_fp": 12, "cost_fn": 180, "cost_tp": 6, "ab_effect": 0.2}
    volume = {"daily_capacity": 900, "predictions_per_month": 5_000_000, "label_delay_days": 45}
    _, numbers, _ = judged(**fraud, **volume)
    assert numbers["base_rate"] == pytest.approx(12 / (12 + 174))
    assert (numbers["weeks"], numbers["result_weeks"]) == (2, 2 + 7)
    assert numbers["judged_months"] == pytest.approx(numbers["p80_months"] + 9 * 7 / MONTH)


@pytest.mark.parametrize(
    ("action", "value", "said"),
    [("block", "random_share_let_through", "let through"), ("inform", "ab_test", "in each arm")],
)
def test_refused_cases_show_no_outcome_that_arms_could_compare(
    action: str, value: str, said: str
) -> None:
    decided = judged(action=action)[2]["experiment"]
    text = render_plan(**STANDARD, action=action)[0]
    line = next(line for line in text.splitlines() if "of the cases that are acted on" in line)
    assert decided["value"] == value and said in line
    never = judged(action=action, predictions_per_month=10)[2]["experiment"]
    assert never["value"] == "before_and_after"  # neither is full within a year


@pytest.mark.parametrize(("rate", "metric"), [(0.05, "PR AUC"), (0.15, "ROC AUC")])
def test_precision_is_said_of_the_metric_and_the_limit_of_the_gate(
    rate: float, metric: str
) -> None:
    _, numbers, _ = judged(pos_rate=rate, min_metric=0.3)
    lines = render_plan(**STANDARD, pos_rate=rate, min_metric=0.3)[1]["blocks"]["EVAL-03"]["lines"]
    assert f"where the {metric} is 0.3, such a test set" in lines[1].replace("\u00a0", " ")
    positives, rows = numbers["test_positives"], numbers["test_rows"]
    wide = formulas.half_width(0.3, positives)
    if metric == "ROC AUC":
        wide = formulas.auc_half_width(0.3, positives, rows - positives)
    assert numbers["limit_half_width"] == pytest.approx(wide)


def test_one_of_a_kind_is_no_plural() -> None:
    ones = {"daily_capacity": 1, "label_delay_days": 1, "history_months": 1.0, "today_caught": 0.2}
    few = {"n_rows": 18_000, "pos_rate": 0.0168, "time_column": "", "today_precision": 1.0}
    for answers in ({}, few, {"action": "block"}, {"today_caught": 1 / 98.6}):
        text = render_plan(plan_depth="regulated", **ones | answers)[0].replace("\u00a0", " ")
        assert re.findall(r"(?<![\d.,] )(?<![\d.,])\b1 (?:flagged )?[a-z]+s\b", text) == []
        assert " 1 case a day" in text


def test_a_part_is_no_more_than_its_whole() -> None:
    def plan(hours: int) -> str:
        return render_plan(**STANDARD, hours_saved=hours, hourly_rate=100)[0].replace("\u00a0", " ")

    assert "all that the gap leaves of 1 000 000 for 10 000 hours" in plan(10_000)
    assert "1 000 of it for 10 hours" in plan(10)


def test_what_hangs_on_an_answer_is_not_said_against_it() -> None:
    def lines(id: str, **answers: Any) -> str:
        blocks = render_plan(plan_depth="regulated", **answers)[1]["blocks"]
        return " ".join(blocks[id]["lines"])

    assert "once labels are collected" in lines("DATA-02", has_labels=False)
    assert "known at once" in lines("DATA-01", label_delay_days=0)
    assert "only after" not in lines("RISK-01", label_delay_days=0)
    assert "EXPL-01" in lines("REG-04") and "Shapley" not in lines("REG-04")  # it has overrides
    assert "another metric and limit" in lines("OBJ-01")
    late = {"predictions_per_month": 300, "pos_rate": 0.02}
    assert judged(**late)[1]["weeks"] > 52
    assert "EVAL-08 would take longer" in lines("SCHED-01", **late)
    assert "when the labels of EVAL-08 are known" in lines("SCHED-01")
    duties = "profiles people"
    law = {"preset": "fraud", "significant_effect": True, "risk_class": "minimal"}
    assert duties in lines("REG-01", **law)
    assert duties not in lines("REG-01", **law, personal_data=False)


def test_a_verdict_by_the_answers_never_says_go() -> None:
    for answers in ({}, {"build_cost": 10**9}):
        line = render_plan(**STANDARD, **answers)[1]["blocks"]["VAL-01"]["lines"][0]
        assert "go." not in line and "the verdict at the top" in line
        assert line.startswith("By the answers: stop; ") == bool(answers)


@pytest.mark.parametrize(
    ("probability", "likelihood"), [(1, 1), (0.8, 1), (0.7, 2), (0.5, 3), (0.2, 4), (0.01, 5)]
)
def test_the_risk_of_no_benefit_follows_from_success(probability: float, likelihood: int) -> None:
    text = render_plan(**STANDARD, success_probability=probability)[0].replace("\u00a0", " ")
    [row] = [line for line in text.splitlines() if line.startswith("| R3 the benefit stays away")]
    assert f"| {likelihood} x 5 = {5 * likelihood} |" in row


@pytest.mark.parametrize(
    ("mode", "delay", "policy"),
    [
        ("automated", 365, "quarterly_review"),
        ("automated", 30, "weekly"),
        ("human_in_loop", 365, "quarterly_review"),
        ("human_in_loop", 30, "monthly_check"),
    ],
)
def test_late_labels_come_before_automation(mode: str, delay: int, policy: str) -> None:
    decided = judged(decision_mode=mode, label_delay_days=delay)[2]["retrain"]
    assert decided["value"] == policy and "brings little" not in decided["why"]


@given(
    st.sampled_from([0.05, 0.4, 1.0]),
    st.sampled_from([0.06, 0.1, 0.124]),  # acting pays from 0.125 on
    st.sampled_from([0, 1, 150]),
)
@settings(max_examples=15, suppress_health_check=list(HealthCheck))
def test_the_end_of_a_losing_process_is_no_gain_of_the_model(
    caught: float, precision: float, capacity: int
) -> None:
    usual: dict[str, Any] = {"daily_capacity": capacity, "monthly_benefit": 10**9, "pos_rate": 0.05}
    losing = usual | {"today_caught": caught, "today_precision": precision}
    _, numbers, decided = judged(**losing)
    _, none, _ = judged(**usual)
    assert numbers["today"] < 0 and none["today"] == 0
    for name in ("most_of_cases", "benefit", "npv", "break_even_benefit", "share_closed"):
        assert numbers[name] == pytest.approx(none[name]), name
    assert "none of that counts as the model's" in decided["warnings"]["why"]
    said = render_plan(**losing)[1]["blocks"]["VAL-02"]["lines"][0]
    assert "more than acting on nobody" in said and "to end it needs no model" in said
    assert "more than today" not in said
