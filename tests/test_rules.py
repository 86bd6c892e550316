"""The rules: Jinja decides as Python does, always something, with a known source for everything."""

import random
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import yaml
from helpers import tables
from helpers.jinja import evaluate_all
from helpers.plan import render_plan
from helpers.rendering import ROOT
from reference import rules as reference

from package_name.engine import settings
from package_name.planner.rules import judge_again

TABLE = tables.rules("binary")
GOLDEN = yaml.safe_load((ROOT / "tests" / "reference" / "golden.yaml").read_text())["decisions"]
RULES = [rule for decision in TABLE["decisions"].values() for rule in decision["rules"]]

MEASURED = ("n_rows", "pos_rate", "history_months")

# Values on both sides of every limit.
CHOICES: dict[str, list[Any]] = {
    "task_type": ["binary"],
    "time_column": ["", "snapshot_date"],
    "entity": ["", "customer_id"],
    "entity_repeats": [True, False],
    "has_labels": [True, False],
    "interpretability": ["none", "global", "local", "inherent"],
    "deployment_modes": [
        ["rest"],
        ["batch"],
        ["grpc"],
        ["edge"],
        ["streaming"],
        ["batch", "edge"],
        ["rest", "batch"],
        ["batch", "rest"],
    ],
    "decision_mode": ["human_in_loop", "automated"],
    "n_rows": [100, 999, 1000, 8000, 50_000, 10**12],
    "pos_rate": [0.0001, 0.02, 0.0999, 0.1, 0.15, 0.5, 0.9999],
    "label_delay_days": [0, 30, 90, 91, 3650],
    "latency_ms": [1, 100, 60_000],
    "daily_capacity": [0, 1, 10**9],
    "predictions_per_month": [1, 4000, 4348, 4349, 20_000, 10**12],
    "yearly_gap": [0, 10_000, 2_520_000, 10**12],
    "history_months": [1200, 0.1, 2.5],
    "monthly_benefit": [0, 2132, 52_500, 10**9],
    "run_cost": [0, 3000, 10**9],
    "action_success": [0.05, 0.2, 1],
    "ab_effect": [0.01, 0.02, 0.1, 0.15, 1],
    "today_caught": [0.0, 1.0, 1.0, 1.0],
    "kpi_now": [0.15, 0.02, 40.0, 50.0, 60.0],
    "kpi": ["Share of positive cases", "Customers lost", "Complaints", "Returns", "Calls"],
    "min_metric": [0.0005, 0.3, 0.65, 0.7, 0.9, 0.99, 1.0],
    "kpi_target": [0.0, 0.0199, 0.135, 30.0],
    "saved": [0.5, 70],
    "cases": [0.0, 2130.6, 1e9],
    "stream_seconds": [0.1, 10.0, 86_400.0],
    "asked": [0.0, 2130.6, 52_500, 1e9],
    "benefit": [52_500, 2130.6, 0.0],
    "gap": [0, 2_520_000, 10**12],
    "grown": [0.0, 52_500, 1e9],
    "last": [0.0, 52_500, 1e9],
    "first": [1, 6, 60],
    "machine_cost": [0, 146.0, 1e6],
    "today": [0.0, 60_000.0, 1e6, -31_000.0],
    "today_a_day": [0.0, 150.0, 1e6],
    "result_weeks": [1, 60],
    "alternative_npv": [0, 1, 10**9],
    "cost_fn": [0.01, 70, 10**9],
    "cost_tp": [-(10**9), -50, 0],
    "build_months": [1, 4, 60],
    "ramp_months": [0, 3, 60],
    "horizon_months": [2, 7, 36, 120],
    "npv": [-1e12, -0.01, 0.0, 0.01, 1e12],
    "ab_weeks": [1, 8, 9, 52, 53, 10**6],
    "action": ["treatment", "block", "inform"],
    "personal_data": [True, False],
    "significant_effect": [True, False],
    "jurisdictions": [
        ["eu"],
        ["us_ca"],
        ["us_health"],
        ["other"],
        ["eu", "eu_credit", "uk", "us_ca", "us_health", "us_credit"],
    ],
    "risk_class": ["minimal", "limited", "high", "prohibited"],
    "legal_basis": ["undecided", "consent", "contract", "legitimate_interest"],
    "place_limit": ["none", "none", "country", "building", "offline"],
    "hosting": ["machine", "machine", "kubernetes"],
    "runs_on": ["nothing", "nothing", "own_servers", "aws", "azure", "gcp", "databricks"],
    "row_bytes": [1, 500, 10**6],
    "currency": ["EUR", "CHF"],
}


# Answers without any warning, which hardly ever come together by chance.
QUIET: dict[str, Any] = {
    **{"action": "inform", "label_delay_days": 30, "n_rows": 10**6, "pos_rate": 0.15},
    **{"deployment_modes": ["batch"], "personal_data": False, "horizon_months": 36, "first": 6},
    **{"ramp_months": 3, "predictions_per_month": 20_000, "cost_fn": 70, "cost_tp": 0},
    **{"yearly_gap": 2_520_000, "gap": 2_520_000, "today_caught": 0.0, "kpi": "Customers lost"},
    **{"kpi_now": 40.0, "kpi_target": 30.0, "min_metric": 0.65, "monthly_benefit": 52_500},
    **{"cases": 210_000.0, "asked": 52_500, "grown": 52_500, "last": 210_000.0, "run_cost": 3000},
    **{"machine_cost": 0, "daily_capacity": 0, "ab_effect": 0.1, "action_success": 1},
    **{"alternative_npv": 0, "today": 0.0},
}


def random_answers(rng: random.Random) -> dict[str, Any]:
    return {name: rng.choice(values) for name, values in CHOICES.items()}


def decide_all(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return evaluate_all("questions/binary/rules.jinja", "decide", [[case] for case in cases])


def fire_all(cases: list[dict[str, Any]]) -> list[dict[str, list[list[str] | None]]]:
    return evaluate_all("questions/binary/rules.jinja", "fire", [[case] for case in cases])


@cache
def sample() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    rng = random.Random(11)
    cases = [random_answers(rng) for _ in range(600)]
    cases.append(cases[0] | QUIET)
    return cases, decide_all(cases)


def test_jinja_fires_the_rules_that_python_does() -> None:
    rng = random.Random(13)
    cases = [random_answers(rng) for _ in range(10_000)]
    outputs = {id: decision["output"] for id, decision in TABLE["decisions"].items()}
    for answers, fired in zip(cases, fire_all(cases), strict=True):
        expected = reference.decide(answers, TABLE)
        for id, hits in fired.items():
            rules = ", ".join(hit[0] for hit in hits if hit)
            assert rules == expected[outputs[id]][1], (id, answers)


def test_values_join_what_the_fired_rules_say() -> None:
    for answers, decisions in zip(*sample(), strict=True):
        expected = reference.decide(answers, TABLE)
        for decision in decisions.values():
            found = (decision["value"], decision["rule"])
            assert found == expected[decision["output"]], (decision["output"], answers)


def test_every_value_is_told_in_words_for_people() -> None:
    for id, decision in TABLE["decisions"].items():
        then = {value for rule in decision["rules"] for value in flat(rule["then"])}
        words = list(decision["words"].values())
        assert then <= decision["words"].keys(), id
        assert len({*words}) == len(words), id  # two values never read the same
        assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9 /'()?-]+", text) for text in words), words


def test_every_decision_is_taken_from_what_the_code_can_do() -> None:
    for decisions in sample()[1]:
        for id, decision in decisions.items():
            value = decision["value"]
            chosen = value if isinstance(value, list) else [value]
            assert chosen and set(chosen) <= set(TABLE["decisions"][id]["words"]), id
            assert decision["why"] and "{" not in decision["why"]


def test_every_rule_fires_and_every_value_is_reached_or_left_to_a_team() -> None:
    fired = {
        rule
        for decisions in sample()[1]
        for d in decisions.values()
        for rule in d["rule"].split(", ")
    }
    assert fired == {rule["id"] for rule in RULES}
    assert len(RULES) == len(fired), "two rules have one id"


def test_what_is_measured_is_judged_as_the_answers_are() -> None:
    """`ml plan check` and Jinja decide alike, for every decision that a run can move."""
    rng = random.Random(14)
    cases, decided = sample()
    facts = [{name: rng.choice(CHOICES[name]) for name in MEASURED} for _ in range(200)]
    after = decide_all([case | fact for case, fact in zip(cases, facts, strict=False)])
    changed = set()
    for answers, before, fact, now in zip(cases, decided, facts, after, strict=False):
        decisions = msgspec.convert(before, dict[str, settings.Decision])
        plan = SimpleNamespace(answers=answers, decisions=decisions, overrides={})
        again = dict(judge_again(plan, fact))
        for id, decision in decisions.items():
            if not decision.judged:
                continue
            rules = {rule.id for rule in decision.judged}
            was, is_now = ({*found[id]["rule"].split(", ")} & rules for found in (before, now))
            value = [{*flat(found[id]["value"])} for found in (before, now)]
            told = is_now or isinstance(decision.value, list)  # else a rule on money decides
            moved = bool(told) and was != is_now and value[0] != value[1]
            assert (id in again) == moved, (id, answers, fact)
            if id in again:
                changed.add(id)
                assert {*again[id].rule.split(", ")} == (is_now or {"none"})
    assert len(changed) >= 6


def flat(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_every_source_is_known_and_used() -> None:
    used = {source for rule in RULES for source in rule["sources"]}
    assert all(rule["sources"] and rule["why"] for rule in RULES)
    for rate in (0.05, 0.15):
        _, plan = render_plan(plan_depth="regulated", pos_rate=rate)
        used |= {n["source"] for numbers in plan["computed"].values() for n in numbers.values()}
    assert used == set(TABLE["sources"])


def test_a_decision_depends_on_nothing_but_the_answers_it_names() -> None:
    rng = random.Random(12)
    cases, decided = sample()
    changed, names = [], []
    for answers in cases:
        name = rng.choice(list(CHOICES))
        changed.append({**answers, name: rng.choice(CHOICES[name])})
        names.append(name)
    for before, after, name in zip(decided, decide_all(changed), names, strict=False):
        for id, decision in before.items():
            uses = set(decision["uses"])
            if not uses & reference.behind(name, TABLE):
                kept = {key: decision[key] for key in ("value", "rule", "why")}
                assert {key: after[id][key] for key in kept} == kept, (id, name)


def test_uses_are_questions() -> None:
    asked = set()
    for path in (ROOT / "questions").rglob("*.yml"):
        asked |= set(yaml.safe_load(path.read_text(encoding="utf-8")))
    for decision in sample()[1][0].values():
        assert set(decision["uses"]) <= asked


@pytest.mark.parametrize("case", GOLDEN)
def test_golden_decisions(case: str) -> None:
    answers = {name: values[0] for name, values in CHOICES.items()}
    answers |= {"risk_class": "minimal", "latency_ms": 100} | GOLDEN[case]["answers"]
    decided = decide_all([answers])[0]
    found = {decision["output"]: decision["value"] for decision in decided.values()}
    expected = GOLDEN[case]["values"]
    assert {output: found[output] for output in expected} == expected


def test_inherent_never_adds_an_opaque_model() -> None:
    cases = [{**answers, "interpretability": "inherent"} for answers in sample()[0][:300]]
    for decisions in decide_all(cases):
        assert decisions["MOD-02"]["value"] == ["logistic_regression"]


def test_a_higher_risk_never_shortens_the_duties() -> None:
    classes = ["minimal", "limited", "high"]
    cases = [{**answers, "risk_class": risk} for answers in sample()[0][:200] for risk in classes]
    decided = [set(decisions["REG-01"]["value"]) - {"none"} for decisions in decide_all(cases)]
    for minimal, limited, high in zip(decided[::3], decided[1::3], decided[2::3], strict=True):
        assert minimal <= limited and minimal <= high


def test_more_positives_never_remove_a_metric() -> None:
    rates = sorted(CHOICES["pos_rate"])
    for answers in sample()[0][:60]:
        before: set[str] = set()
        for decisions in decide_all([{**answers, "pos_rate": rate} for rate in rates]):
            metrics = {decisions["EVAL-01"]["value"], *decisions["EVAL-02"]["value"]}
            assert before <= metrics
            assert decisions["EVAL-01"]["value"] not in decisions["EVAL-02"]["value"]
            before = metrics


def test_folds_go_with_the_split() -> None:
    pairs = {(d["TRAIN-01"]["value"], d["TRAIN-02"]["value"]) for d in sample()[1]}
    assert pairs == {
        ("time", "time_series"),
        ("stratified_group", "stratified_group_kfold"),
        ("stratified_group", "repeated_stratified_group_kfold"),
        ("stratified", "stratified_kfold"),
        ("stratified", "repeated_stratified_kfold"),
    }


def test_few_rows_are_tested_several_times_and_judged_by_nested_folds() -> None:
    """Folds in order of time cannot be drawn again."""
    answers = [{**given, "n_rows": n} for given in sample()[0][:40] for n in (999, 1000, 5000)]
    for given, decisions in zip(answers, decide_all(answers), strict=True):
        repeated = decisions["TRAIN-02"]["value"].startswith("repeated")
        in_time = decisions["TRAIN-01"]["value"] == "time"
        assert repeated == (given["n_rows"] < 1000 and not in_time)
        few = {999: {"none"}, 1000: {"none", "nested_tpe"}, 5000: {"none", "tpe"}}
        assert decisions["TRAIN-03"]["value"] in few[given["n_rows"]]


def test_generated_file_is_current_and_the_check_notices_when_not(tmp_path: Path) -> None:
    for part in ("tools", "questions"):
        shutil.copytree(ROOT / part, tmp_path / part)
    check = [sys.executable, str(tmp_path / "tools" / "gen_rules.py"), "--check"]
    assert subprocess.run(check, check=False).returncode == 0
    source = tmp_path / "questions" / "binary" / "rules.yaml"
    source.write_text(source.read_text().replace("pos_rate < 0.10", "pos_rate < 0.20"))
    stale = subprocess.run(check, check=False, capture_output=True, text=True)
    assert stale.returncode == 1 and "gen_rules.py" in stale.stderr
