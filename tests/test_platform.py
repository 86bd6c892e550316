"""Where it runs, on what, who lets a version in and what holds when no answer comes."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import tables
from helpers.plan import render_plan
from helpers.rendering import ROOT, render

from package_name.engine import use
from package_name.engine.settings import Project
from package_name.planner import check, measured

TASKS = [path.parent.name for path in sorted((ROOT / "questions").glob("*/blocks.jinja"))]


@cache
def plan(**answers: Any) -> dict[str, Any]:
    given = {name: [*v] if isinstance(v, tuple) else v for name, v in answers.items()}
    return render_plan(**{"plan_depth": "standard", **given})[1]


def decided(id: str, **answers: Any) -> str:
    found: str = plan(**answers)["decisions"][id]["value"]
    return found


@pytest.mark.parametrize(
    ("id", "answers", "value"),
    [
        # The first rule that matches: what ties data to a place is stronger than any contract.
        ("PLAT-01", {"place_limit": "offline", "runs_on": "aws"}, "machine_at_the_site"),
        ("PLAT-01", {"place_limit": "building", "runs_on": "aws"}, "own_servers"),
        ("PLAT-01", {"place_limit": "country", "runs_on": "own_servers"}, "own_servers"),
        ("PLAT-01", {"place_limit": "country", "runs_on": "azure"}, "region_of_the_country"),
        *(
            ("PLAT-01", {"runs_on": cloud}, "contracted_cloud")
            for cloud in ("aws", "azure", "gcp", "databricks")
        ),
        ("PLAT-01", {"deployment_modes": ("batch",)}, "one_machine"),
        (
            "PLAT-01",
            {"deployment_modes": ("batch",), "predictions_per_month": 10**9},
            "managed_container",
        ),
        ("PLAT-01", {"deployment_modes": ("rest",)}, "managed_container"),
        ("PLAT-02", {"n_rows": 10**8, "row_bytes": 900}, "large_memory"),
        ("PLAT-02", {"n_rows": 10**6, "row_bytes": 900}, "cpu"),
        ("TRAIN-05", {"risk_class": "limited"}, "file"),
        ("TRAIN-05", {"risk_class": "high"}, "server"),
        ("DEP-04", {"risk_class": "high", "deployment_modes": ("batch",)}, "signed"),
        ("DEP-04", {"deployment_modes": ("rest", "grpc")}, "staged"),
        ("DEP-04", {"deployment_modes": ("batch",), "decision_mode": "automated"}, "staged"),
        ("DEP-04", {"deployment_modes": ("batch",), "decision_mode": "human_in_loop"}, "two"),
        ("DEP-06", {"hosting": "kubernetes"}, "cluster"),
        ("DEP-06", {"hosting": "kubernetes", "deployment_modes": ("batch",)}, "cluster"),
        ("DEP-06", {"deployment_modes": ("rest", "batch")}, "compose"),
        ("DEP-06", {"deployment_modes": ("streaming", "batch"), "stream_seconds": 10.0}, "compose"),
        (
            "DEP-06",
            {"hosting": "kubernetes", "deployment_modes": ("streaming",), "stream_seconds": 10.0},
            "cluster",
        ),
        ("DEP-06", {"deployment_modes": ("batch",)}, "cron"),
        ("DEP-05", {"decision_mode": "human_in_loop"}, "people_decide"),
        (
            "DEP-05",
            {"decision_mode": "automated", "deployment_modes": ("batch",)},
            "last_output",
        ),
        ("DEP-05", {"decision_mode": "automated"}, "process_of_today"),
    ],
)
def test_the_first_rule_that_matches_decides(id: str, answers: dict[str, Any], value: str) -> None:
    assert decided(id, **answers) == value


def test_every_answer_of_both_questions_moves_a_decision() -> None:
    asked = yaml.safe_load((ROOT / "questions/deployment.yml").read_text(encoding="utf-8"))
    for name in ("place_limit", "runs_on"):
        values = asked[name]["choices"].values()
        told = [plan(**{name: value})["decisions"]["PLAT-01"] for value in values]
        assert len({(found["value"], found["why"]) for found in told}) == len(told)
    assert not {"PLAT-01", "place_limit"} & render_plan()[1]["decisions"].keys()


def test_who_lets_a_version_in_is_a_role_of_the_plan() -> None:
    roles = {duty["area"]: duty["accountable"] for duty in plan()["responsibilities"]}
    for rule in tables.rules("binary")["decisions"]["DEP-04"]["rules"]:
        assert roles["release"] in rule["why"] and "gate" in rule["why"]


@pytest.mark.parametrize("modes", [("rest",), ("batch",), ("rest", "grpc", "batch")])
def test_each_side_has_a_contract_a_check_and_what_holds_without_it(modes: tuple[str, ...]) -> None:
    lines = plan(deployment_modes=modes)["blocks"]["DEP-05"]["lines"]
    rows = [line for line in lines if line.startswith("| ") and "<!--" in line]
    assert [re.findall(r"<!-- (\w+) -->", row)[0] for row in rows] == ["source", *modes, "labels"]
    assert all(len(cell.strip()) > 3 for row in rows for cell in row.split("|")[1:-1])
    [path] = {path for row in rows for path in re.findall(r"\]\((\S+?)\)", row)}
    assert (ROOT / "template" / f"{path}.jinja").exists()


@pytest.mark.parametrize(
    ("modes", "said"),
    [
        (("rest", "batch"), "requests of one moment are scored in one call"),
        (("rest",), "requests of one moment are scored in one call"),
        (("batch",), "rows are scored many in one call"),
    ],
)
def test_what_makes_answers_fast_is_decided_with_its_reason(
    modes: tuple[str, ...], said: str
) -> None:
    lines = plan(deployment_modes=modes)["blocks"]["DEP-02"]["lines"]
    (speed,) = [line for line in lines if line.startswith("Speed: ")]
    assert said in speed and "8-bit integers" in speed and "would outlive its model" in speed
    light = plan(deployment_modes=modes, plan_depth="light")["blocks"]["DEP-02"]["lines"]
    assert light and not any(line.startswith("Speed: ") for line in light)


@pytest.mark.parametrize(
    ("task", "mode"),
    [*((task, "rest") for task in TASKS), ("multiclass", "edge"), ("regression", "edge")],
)
def test_what_was_measured_of_probabilities_stands_where_a_model_gives_them(
    task: str, mode: str, tmp_path: Path
) -> None:
    made = render(tmp_path, task_type=task, plan_depth="standard", deployment_modes=[mode])
    found = yaml.safe_load((made / "plan/plan.yaml").read_text("utf-8"))
    (why,) = [line for line in found["blocks"]["DEP-02"]["lines"] if "8-bit integers" in line]
    assert "only matrices of networks shrink by them" in why
    gives = task in ("binary", "multiclass", "multilabel")
    assert ("of a forest" in why, "probabilities moved" in why) == (gives, gives), why


def test_machines_by_month_have_a_range() -> None:
    def cost(**answers: Any) -> tuple[float, ...]:
        found = plan(machine_price=0.1, horizon_months=36, **answers)["computed"]["COST-01"]
        names = ("serving_low", "serving_high", "own_machine")
        return tuple(found[name]["value"] for name in names)

    # Four instances by Little's law (40 a second x 60 ms / 0.6), two at least.
    service = {"deployment_modes": ("rest",), "peak_qps": 40, "latency_ms": 60}
    assert cost(**service) == pytest.approx((2 * 73, 4 * 73, 36 * 73))
    few = {"deployment_modes": ("batch",), "predictions_per_month": 3_600_000}
    assert cost(**few) == pytest.approx((0.1, 73, 36 * 73))  # one core-hour, or all of the month
    both = cost(**{**service, **few, "deployment_modes": ("rest", "batch")})
    assert both == pytest.approx((2 * 73 + 0.1, 5 * 73, 36 * 73))


def test_memory_to_plan_is_twice_what_training_took() -> None:
    found = use.so_far(8000)
    assert found["rows"] == 8000 and found["processors"] >= 1
    assert found["peak_mb"] > 50 and found["cpu_seconds"] > 0.1  # libraries are loaded
    taken = {"rows": 1000, "peak_mb": 600.0, "cpu_seconds": 30.0, "processors": 2}
    for planned, said in (
        (900, "in reserve 1.2 GB"),
        (5000, "for 5\u00a0000 rows 6 GB"),
        (20_000, "says nothing yet of 20\u00a0000 rows"),
    ):
        assert measured._machine(taken, planned).endswith(said)
    assert measured._machine(None, 900) == "the memory is unknown"  # of an earlier version


def test_a_plan_with_a_server_asks_for_its_address(tmp_path: Path) -> None:
    text, found = render_plan(plan_depth="standard", risk_class="high")
    (tmp_path / "plan").mkdir()
    (tmp_path / "PLAN.md").write_text(text, encoding="utf-8")
    (tmp_path / "plan/plan.yaml").write_text(yaml.safe_dump(found), encoding="utf-8")

    def told(training: str) -> list[str]:
        (tmp_path / "config.yaml").write_text(f"training: {training}\n", encoding="utf-8")
        return [f.message for f in check.check(Project(tmp_path)) if f.id == "TRAIN-05"]

    [message] = told("{}")
    assert "tracking_uri of config.yaml names none" in message
    assert told("{track: false}") == told("{tracking_uri: 'https://mlflow.example.org'}") == []
    overrides = "TRAIN-05: {value: file, reason: one of us trains}\n"
    (tmp_path / "plan/overrides.yaml").write_text(overrides, encoding="utf-8")
    assert told("{}") == []
