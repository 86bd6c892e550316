"""Success at three levels, from metric to money, whom it touches, other ways, a month's cost."""

import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.plan import render_plan
from helpers.rendering import ROOT, render
from reference import formulas

from package_name.engine.errors import ProjectError
from package_name.engine.settings import Project
from package_name.planner import measured, progress, sync
from package_name.planner.blocks import parse

TASKS = [path.parent.name for path in sorted((ROOT / "questions").glob("*/blocks.jinja"))]
CASES = ("low", "likely", "high")
MONTH = 365.25 / 12


@cache
def plan(**answers: Any) -> dict[str, Any]:
    given = {name: [*v] if isinstance(v, tuple) else v for name, v in answers.items()}
    return render_plan(**{"plan_depth": "standard", **given})[1]


@cache
def of_task(task: str, folder: Path) -> dict[str, Any]:
    made = render(folder / task, task_type=task, plan_depth="standard")
    found: dict[str, Any] = yaml.safe_load((made / "plan/plan.yaml").read_text(encoding="utf-8"))
    return found


def rows(found: dict[str, Any], id: str) -> dict[str, list[str]]:
    """Return the cells of each marked row of the tables of a block."""
    matches = (
        re.fullmatch(r"\| (.*) <!-- (\w+) --> \|", line) for line in found["blocks"][id]["lines"]
    )
    return {match[2]: match[1].replace("\u00a0", " ").split(" | ") for match in matches if match}


def numbers(found: dict[str, Any], id: str) -> dict[str, Any]:
    return {name: number["value"] for name, number in found["computed"][id].items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tasks")


@pytest.mark.parametrize("task", TASKS)
def test_every_task_says_what_success_is_and_how_it_becomes_money(task: str, folder: Path) -> None:
    found = of_task(task, folder)
    levels, chain = rows(found, "OBJ-01"), rows(found, "PROB-02")
    assert list(levels) == ["business", "model", "economy"]
    assert all("month" in row[3] or "paid back" in row[3] for row in levels.values())
    assert all(re.search("`ml plan approve [A-Z]+-[0-9]+`", row[4]) for row in levels.values())
    metric = found["decisions"]["EVAL-01"]
    assert chain["metric"][2].startswith(metric["words"][metric["value"]])
    assert list(chain) == ["metric", "decision", "figure", "money"]
    assert chain["decision"][1:] != ["as today", "by EVAL-05"], "a task says how it decides"
    benefit = numbers(found, "VAL-01")["benefit"] * 12
    assert chain["money"][2].startswith(f"{benefit:,.0f}".replace(",", " "))


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_other_ways_and_a_month_with_a_range(task: str, folder: Path) -> None:
    found = of_task(task, folder)
    cost = numbers(found, "COST-01")
    for part in ("serving", "training", "storage", "total"):
        assert cost[f"{part}_low"] <= cost[f"{part}_likely"] <= cost[f"{part}_high"], part
    for case in CASES:
        parts = ("serving", "training", "storage", "people")
        assert cost[f"total_{case}"] == pytest.approx(sum(cost[f"{p}_{case}"] for p in parts))
    assert 0 <= cost["used"] <= 1
    assert set(rows(found, "COST-01")) == {
        *("serving", "training", "storage", "people", "total", "batch", "near", "online")
    }
    assert list(rows(found, "ALT-01")) == ["nothing", "rule", "service", "own"]
    assert list(rows(found, "STAKE-01")) == ["strategy", "customers", "employees", "society"]
    online = [line for line in found["blocks"]["MON-03"]["lines"] if "nline learning" in line]
    assert len(online) == 1 and "not needed because" in online[0]


def test_today_is_the_baseline_of_money() -> None:
    none = rows(plan(), "PROB-02")
    assert none["decision"][1] == "nobody acts on cases"
    assert none["money"][1] == "0 EUR a year against doing nothing"
    people = plan(today_caught=0.46, today_precision=0.3, cost_fn=70, cost_fp=10, action_success=1)
    assert "reach 46 % of the positives" in rows(people, "PROB-02")["decision"][1]
    today = numbers(people, "VAL-02")["today"] * 12
    assert rows(people, "PROB-02")["money"][1].startswith(f"{today:,.0f}".replace(",", " "))


def test_a_month_costs_what_its_parts_do() -> None:
    answers = {"machine_price": 0.1, "predictions_per_month": 3_600_000, "peak_qps": 40}
    found = plan(**answers, latency_ms=60, deployment_modes=("rest",), n_rows=2_000_000)
    cost, data = numbers(found, "COST-01"), numbers(found, "DATA-04")
    # 40 a second x 20 ms / 0.6 are 1.3 instances: two; with all limits reached four.
    assert [cost[f"serving_{case}"] for case in CASES] == pytest.approx([146, 146, 292])
    a_year = 365.25 / found["computed"]["MON-03"]["interval"]["value"]
    assert cost["training_likely"] == pytest.approx(a_year / 12 * 2 * 0.1)
    assert cost["used"] == pytest.approx(40 * 0.02 / 2)
    gb = 2_000_000 * 500 / 1e9
    assert data["rows_gb"] == gb and data["snapshots_gb"] == pytest.approx(a_year * gb)
    assert data["logs_gb"] == pytest.approx(12 * 3.6e6 * 700 / 1e9)
    assert cost["train_mbit"] == pytest.approx(gb * 8e3 / 600)
    batch = numbers(plan(**answers, deployment_modes=("batch",)), "COST-01")
    assert batch["serving_low"] == pytest.approx(0.1) and batch["used"] == pytest.approx(3 / 730)


def test_growth_of_data_costs_money() -> None:
    slow, fast = (numbers(plan(data_growth=g), "DATA-04")["growth_cost"] for g in (0.0, 0.1))
    assert 0 < slow < fast


def test_a_faster_answer_has_a_price_and_a_benefit_to_earn() -> None:
    found = plan(machine_price=0.1, deployment_modes=("batch",))
    cost, speed = numbers(found, "COST-01"), rows(found, "COST-01")
    assert cost["speed_batch"] < cost["speed_near"] < cost["speed_online"]
    assert [speed[name][4] for name in ("batch", "near", "online")] == ["yes", "no", "no"]
    assert "it pays if it earns 146 EUR more a month" in speed["online"][3]
    assert rows(plan(deployment_modes=("rest",)), "COST-01")["online"][4] == "yes"


def test_a_service_pays_below_the_cost_of_ones_own(folder: Path, tmp_path: Path) -> None:
    found = plan()
    own, first = numbers(found, "ALT-01"), numbers(found, "VAL-01")["first_use_month"]
    months = found["answers"]["horizon_months"] - first
    expected = formulas.even_price(
        own["own_cost"], found["answers"]["predictions_per_month"], months
    )
    assert own["service_price"] == pytest.approx(expected)
    of_task("binary", folder)
    project = Project(shutil.copytree(folder / "binary", tmp_path / "p"))
    path = project.path(progress.FILE)

    def said(offers: dict[str, Any]) -> str:
        known = yaml.safe_load(path.read_text(encoding="utf-8"))
        path.write_text(yaml.safe_dump(known | {"offers": offers}), encoding="utf-8")
        sync.run(project)
        text = project.path("PLAN.md").read_text(encoding="utf-8")
        lines = parse(text)["measured", "ALT-01"].lines
        return "\n".join(lines).replace("\u00a0", " ")

    assert "Offers: none in plan/progress.yaml." in said({})
    text = said({"dear": {"per_1000": 1000}, "even": {"per_1000": expected, "tried": "as good"}})
    assert text.index("| even |") < text.index("| dear |")
    assert "| even | 246 041 | 0 less | as good |" in text and "nobody tried it yet" in text
    with pytest.raises(ProjectError, match="setup"):
        said({"dear": {"setup": -1}})


def test_people_touched_follow_from_answers() -> None:
    weighs = rows(plan(personal_data=True, significant_effect=True), "STAKE-01")
    assert "for whom a decision weighs" in weighs["customers"][1]
    assert "each may ask why" in weighs["society"][1]
    things = rows(plan(personal_data=False), "STAKE-01")
    assert things["society"][1] == "not needed because no row is about a person"
    freed = rows(plan(hours_saved=160, hourly_rate=45), "STAKE-01")
    assert freed["employees"][1].startswith("160 hours of work a month are freed")


def test_a_training_costs_its_cpu_seconds() -> None:
    use = {"rows": 1000, "peak_mb": 600.0, "cpu_seconds": 36.0, "processors": 2}
    said = measured._cost(use, {"machine_price": 0.1, "currency": "EUR"})
    assert said == "; such a training costs at most 0.001 EUR"
    assert measured._cost(None, {"machine_price": 0.1, "currency": "EUR"}) == ""


def test_a_light_plan_has_no_such_table() -> None:
    text, _ = render_plan(plan_depth="light")
    for mark in ("levels", "chain", "touched", "ways", "stored", "month", "speed"):
        assert f"<!-- {mark} -->" not in text
