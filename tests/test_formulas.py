"""The Jinja formulas give the golden values, and on random input what plain Python gives."""

import math
import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.jinja import environment, evaluate_all
from helpers.plan import render_plan
from reference import formulas

SCENARIOS = {
    "Stop at G3": "npv_stop_g3",
    "Late and dear": "npv_adverse",
    "Half the benefit": "npv_half_benefit",
    "As planned": "npv",
    "Early": "npv_early",
}
FORMULAS = "questions/formulas.jinja"
GOLDEN = yaml.safe_load((Path(__file__).parent / "reference" / "golden.yaml").read_text())


def jinja(name: str, *arguments: Any) -> Any:
    return evaluate_all(FORMULAS, name, [arguments])[0]


def decimals(value: float) -> int:
    return len(str(value).partition(".")[2]) if isinstance(value, float) else 0


@pytest.mark.parametrize("case", GOLDEN["value"])
def test_golden_business_cases(case: str) -> None:
    known = GOLDEN["value"][case]
    cost, months, benefit, run, ramp, horizon, success = known["flow"]
    flows = jinja("cash_flow", *known["flow"])
    half = jinja("cash_flow", cost, months, benefit / 2, run, ramp, horizon, success)
    even = jinja("break_even_benefit", cost, months, run, ramp, horizon, success, known["rate"])
    found = {
        "roi": jinja("roi", flows),
        "npv": jinja("npv", flows, known["rate"]),
        "payback_month": jinja("payback_month", flows),
        "discounted_payback_month": jinja("payback_month", flows, known["rate"]),
        "break_even_benefit": even,
        "margin_of_safety": jinja("margin_of_safety", even, benefit),
        "npv_half_benefit": jinja("npv", half, known["rate"]),
        "cost_of_delay": jinja("cost_of_delay", benefit, success, run),
    }
    for name, value in found.items():
        expected = known[name]
        assert (value if value is None else round(value, decimals(expected))) == expected, name


@pytest.mark.parametrize("call", GOLDEN["calls"], ids=lambda call: f"{call[0]}-{call[1]}")
def test_golden_calls(call: list[Any]) -> None:
    name, arguments, expected = call
    for value in (jinja(name, *arguments), getattr(formulas, name)(*arguments)):
        shown = value if value is None or value == expected else round(value, decimals(expected))
        assert shown == expected


def case(rng: random.Random) -> tuple[Any, ...]:
    return (
        rng.choice([0, rng.randint(1, 10**6)]),
        rng.choice([0, rng.randint(1, 24)]),
        rng.choice([0, rng.uniform(0, 10**6)]),
        rng.choice([0, rng.randint(0, 50_000)]),
        rng.choice([0, rng.randint(1, 12)]),
        rng.randint(1, 120),
        rng.choice([0.0, 1.0, rng.random()]),
    )


def rates(rng: random.Random) -> tuple[float, ...]:
    return (rng.choice([0, rng.random()]),)


def with_rate(flow: tuple[Any, ...], rng: random.Random) -> tuple[Any, ...]:
    return ([list(pair) for pair in formulas.cash_flow(*flow)], rates(rng)[0])


def even_case(rng: random.Random) -> tuple[Any, ...]:
    cost, months, _, run, ramp, horizon, success = case(rng)
    limited = most(rng, horizon)
    return cost, months, run, ramp, horizon, success, rates(rng)[0], rng.choice([0, 0.3]), limited


def most(rng: random.Random, horizon: int) -> Any:
    gap, cases = rng.choice([0, rng.uniform(1, 10**7)]), rng.choice([None, rng.uniform(1, 10**5)])
    return rng.choice([None, formulas.ceilings(gap, rng.choice([0, 0.2]), horizon, cases)])


def limited_flow(rng: random.Random) -> tuple[Any, ...]:
    flow = case(rng)
    return *flow, rng.choice([0, rng.random()]), most(rng, flow[5])


RANDOM = {
    "monthly_rate": rates,
    "cash_flow": limited_flow,
    "ceilings": lambda rng: (
        *(rng.uniform(0, 1e7), rng.choice([0, rng.random()]), rng.randint(1, 120)),
        rng.choice([None, rng.uniform(0, 1e6)]),
    ),
    "caught_cost": lambda rng: (*(rng.uniform(0, 100) for _ in range(4)), rng.random()),
    "value_today": lambda rng: (
        *(rng.uniform(0, 1e6), rng.choice([0, rng.random()]), rng.uniform(1e-5, 1)),
        *(rng.uniform(0, 1e3), rng.uniform(0, 1e3)),
    ),
    "value_of_cases": lambda rng: (
        *(rng.uniform(0, 1e6), rng.choice([0, rng.uniform(0, 1e6)]), rng.uniform(0, 1e3)),
        rng.uniform(-1e6, 1e6),
    ),
    "acted_on": lambda rng: (
        *(rng.uniform(0, 1e6), rng.uniform(1e-4, 0.5), rng.uniform(1e-3, 1)),
        rng.choice([0, rng.randint(1, 10**6)]),
    ),
    "likelihood": lambda rng: (rng.choice([0.0, 0.2, 0.4, 1 - 0.2, 1 - 0.6, 1.0, rng.random()]),),
    "npv": lambda rng: with_rate(case(rng), rng),
    "roi": lambda rng: with_rate(case(rng), rng)[:1],
    "payback_month": lambda rng: with_rate(case(rng), rng),
    "break_even_benefit": even_case,
    "margin_of_safety": lambda rng: (rng.choice([None, rng.random()]), rng.choice([0, 5.5])),
    "cost_of_delay": lambda rng: (rng.random() * 1e6, rng.random(), rng.randint(0, 10**5)),
    "decision_threshold": lambda rng: tuple(rng.uniform(-100, 100) for _ in range(4)),
    "rows_for_share": lambda rng: (rng.random(), rng.uniform(0.001, 0.2)),
    "rows_for_class_share": lambda rng: (
        rng.random(),
        rng.uniform(0.001, 0.2),
        rng.uniform(1e-4, 1),
    ),
    "half_width": lambda rng: (rng.random(), rng.choice([0, rng.randint(1, 10**6)])),
    "rows_for_events": lambda rng: (rng.randint(1, 500), rng.uniform(1e-4, 0.9999), 20),
    "parameters_for_rows": lambda rng: (rng.randint(0, 10**9), rng.uniform(1e-4, 0.9999), 200),
    "error_budget_minutes": lambda rng: (rng.uniform(0.9, 0.9999), rng.randint(1, 90)),
    "burn_rate": lambda rng: (rng.random(), rng.randint(1, 72), rng.randint(1, 90)),
    "alert_error_ratio": lambda rng: (rng.uniform(0, 20), rng.uniform(0.9, 0.9999)),
    "instances": lambda rng: (rng.randint(1, 10**5), rng.uniform(0.001, 5), rng.randint(1, 16)),
    "cost_of_inaction": lambda rng: (rng.randint(0, 10**7), rates(rng)[0], rng.randint(1, 120)),
    "auc_half_width": lambda rng: (rng.uniform(0.5, 1), rng.randint(0, 500), rng.randint(0, 5000)),
    "ab_rows": lambda rng: (rng.uniform(1e-4, 0.9), rng.uniform(1e-4, 0.9)),
    "ab_weeks": lambda rng: (rng.choice([None, rng.randint(1, 10**6)]), rng.choice([0, 5.5])),
    "weeks_until": lambda rng: (rng.randint(1, 10**6), rng.choice([0, 5.5]), rng.uniform(0.05, 1)),
    "cost_per_1000": lambda rng: (rng.randint(1, 9), rng.random(), rng.randint(1, 10**9), 50),
    "storage_gb": lambda rng: (
        *(rng.randint(0, 10**9), rng.uniform(0, 10**6), rng.randint(1, 10**6)),
        *(rng.randint(1, 60), rng.uniform(0, 0.2), rng.choice([0, rng.randint(1, 80)]), 2),
        rng.choice([0, rng.uniform(0.1, 60)]),
    ),
    "bandwidth_mbit": lambda rng: (rng.randint(1, 10**5), rng.randint(1, 10**6)),
    "ln": lambda rng: (rng.choice([rng.random() + 1e-9, rng.uniform(1, 1e6)]),),
    "parameters_for_shrinkage": lambda rng: (rng.randint(0, 10**9), rng.uniform(0.001, 0.8), 0.9),
    "largest_r2": lambda rng: (rng.uniform(1e-4, 0.9999),),
    "zero_failure_run": lambda rng: (rng.uniform(1e-4, 0.5),),
    "pert_mean": lambda rng: tuple(sorted(rng.randint(1, 60) for _ in range(3))),
    "pert_p80": lambda rng: tuple(sorted(rng.randint(1, 60) for _ in range(3))),
    "close_gap": lambda rng: (rng.randint(1, 20), rng.uniform(0, 30), rng.random() < 0.5),
    "utilisation": lambda rng: (rng.uniform(0, 5), rng.choice([0, rng.uniform(0.1, 9)])),
    "even_price": lambda rng: (
        *(rng.uniform(0, 1e7), rng.choice([0, rng.randint(1, 10**9)]), rng.randint(-5, 60)),
    ),
    "build_machines": lambda rng: (rng.randint(0, 10**5), rng.choice([0, rng.random()]), 5),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_input_gives_what_python_gives(name: str) -> None:
    rng = random.Random(name)
    cases = [RANDOM[name](rng) for _ in range(300)]
    loose = name == "break_even_benefit"  # bisection against a closed form
    for arguments, found in zip(cases, evaluate_all(FORMULAS, name, cases), strict=True):
        expected = getattr(formulas, name)(*arguments)
        if name == "cash_flow":
            assert found == [pytest.approx(pair, rel=1e-11) for pair in expected], arguments
        elif name == "ceilings":
            assert found == pytest.approx(expected, rel=1e-11), arguments
        elif isinstance(expected, float):
            close = {"rel": 1e-9, "abs": 1e-6} if loose else {"rel": 1e-11, "abs": 1e-9}
            assert found == pytest.approx(expected, **close), arguments
        else:
            assert found == expected, arguments


def test_macros_and_reference_are_the_same_set() -> None:
    module = environment().get_template(FORMULAS).module
    macros = {name for name in dir(module) if callable(getattr(module, name)) and name[0] != "_"}
    assert macros - {"burn_alerts"} == set(RANDOM)


def test_parameters_for_rows_is_the_inverse_of_rows_for_events() -> None:
    rng = random.Random(3)
    cases = [(rng.randint(0, 10**7), rng.uniform(0.001, 0.999), 20) for _ in range(300)]
    carried = evaluate_all(FORMULAS, "parameters_for_rows", cases)
    for (rows, prevalence, events), parameters in zip(cases, carried, strict=True):
        assert formulas.rows_for_events(parameters, prevalence, events) <= rows + 1
        assert formulas.rows_for_events(parameters + 1, prevalence, events) >= rows


@pytest.mark.parametrize("availability", [0.9, 0.93, 0.95, 0.99, 0.995, 0.999, 0.9999])
@pytest.mark.parametrize("days", [1, 7, 28, 30, 90])
def test_every_burn_alert_can_fire_and_means_trouble(availability: float, days: int) -> None:
    alerts = jinja("burn_alerts", availability, days)
    for alert in alerts:
        assert alert["rate"] >= 1, "it would fire while the budget lasts"
        assert alert["error_ratio"] <= 1, "it could never fire"
        spent = alert["rate"] * alert["hours"] / (days * 24)
        assert spent == pytest.approx({1: 0.02, 6: 0.05, 72: 0.10}[alert["hours"]])
        assert alert["minutes"] * 12 == alert["hours"] * 60
    kept = {alert["hours"] for alert in alerts}
    for share, hours in ((0.02, 1), (0.05, 6), (0.10, 72)):
        rate = formulas.burn_rate(share, hours, days)
        assert (hours in kept) == (rate >= 1 and rate * (1 - availability) <= 1)


def test_break_even_is_where_npv_is_zero() -> None:
    rng = random.Random(5)
    for _ in range(40):
        cost, months, _, run, ramp, horizon, success = case(rng)
        even = formulas.break_even_benefit(cost, months, run, ramp, horizon, success, 0.1)
        if even is not None:
            flows = formulas.cash_flow(cost, months, even, run, ramp, horizon, success)
            assert math.isclose(formulas.npv(flows, 0.1), 0, abs_tol=1e-3)


@pytest.mark.parametrize("months", [(3, 5, 8), (2.5, 5, 30), (1, 1, 1)])
@pytest.mark.parametrize("benefit", [900_000, 15_000])
def test_scenarios_are_what_a_textbook_counts(months: tuple[float, ...], benefit: int) -> None:
    best, likely, worst = months
    text, plan = render_plan(
        build_months_best=best,
        build_months=likely,
        build_months_worst=worst,
        monthly_benefit=benefit,
        yearly_gap=10**8,
    )
    a = plan["answers"]
    found = {name: figure["value"] for name, figure in plan["computed"]["VAL-01"].items()}
    p80 = formulas.pert_p80(best, likely, worst)
    budget, until = found["build_cost"], math.ceil(round(p80 * 0.7, 6))
    most = formulas.ceilings(10**8 + a["indirect_gap"], a["gap_growth"], a["horizon_months"])
    for name, share, cost, length in (
        ("adverse", 0.5, 2, math.ceil(worst)),
        ("half_benefit", 0.5, 1, found["first_use_month"]),
        ("early", 1, 1, math.ceil(best)),
    ):
        flows = formulas.cash_flow(
            budget * cost,
            length,
            found["benefit"] * share,
            found["run_cost"] * cost,
            a["ramp_months"],
            a["horizon_months"],
            a["success_probability"],
            a["benefit_growth"],
            most,
        )
        assert found[f"npv_{name}"] == pytest.approx(formulas.npv(flows, a["discount_rate"])), name
        assert found[f"payback_{name}"] == formulas.payback_month(flows), name
    spent = [(0.0, 0.0)] + [(-budget * 0.7 / until, 0.0)] * until
    assert found["npv_stop_g3"] == pytest.approx(formulas.npv(spent, a["discount_rate"]))
    table = re.findall(r"^\| (.*) <!-- VAL-01 --> \|$", text, re.MULTILINE)
    asked = {row.split(" | ")[0]: row.split(" | ")[-1] for row in table}
    assert sorted(asked, key=lambda title: found[SCENARIOS[title]]) == list(asked)
    for title, name in SCENARIOS.items() - {("Stop at G3", "npv_stop_g3")}:
        assert asked[title] == ("go" if found[name] >= 0 else "stop"), title


@pytest.mark.parametrize("answers", [{}, {"run_cost": 90_000}, {"run_cost": 10**6}])
def test_scenarios_stand_by_what_they_are_worth_whatever_the_signs(answers: dict[str, int]) -> None:
    text, plan = render_plan(**answers)
    found = {name: number["value"] for name, number in plan["computed"]["VAL-01"].items()}
    titles = re.findall(r"^\| ([^|]*?) \| .* <!-- VAL-01 --> \|$", text, re.MULTILINE)
    assert {*titles} == {*SCENARIOS}
    worths = [found[SCENARIOS[title]] for title in titles]
    assert worths == sorted(worths)
    # Where running costs exceed the benefit the early start is no best case, and not called one.
    assert (titles[-1] == "Early") == (not answers)
    assert not {"Best", "Worst", "Likely"} & {*titles}


def test_no_scenario_of_a_prohibited_practice_is_a_go() -> None:
    text, _ = render_plan(risk_class="prohibited")
    assert "| go <!-- VAL-01" not in text and text.count("| stop <!-- VAL-01") == 4
