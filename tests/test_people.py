"""Skills, calendar, work by role and money by kind: of answers, and of plan/progress.yaml."""

import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers.plan import keep, render_plan
from helpers.plan import said as measured
from helpers.rendering import ROOT, render
from reference import formulas

from package_name.engine.errors import ProjectError
from package_name.engine.model import families
from package_name.engine.model.fitting import Data
from package_name.engine.model.scorer import FeatureSpec, NumericFeature
from package_name.engine.settings import Project
from package_name.planner import progress

TASKS = [path.parent.name for path in sorted((ROOT / "questions").glob("*/blocks.jinja"))]


@cache
def plan(**answers: Any) -> dict[str, Any]:
    given = {name: [*v] if isinstance(v, tuple) else v for name, v in answers.items()}
    return render_plan(**{"plan_depth": "standard", **given})[1]


def skills(**answers: Any) -> dict[str, dict[str, Any]]:
    return {skill["id"]: skill for skill in plan(**answers)["skills"]}


def rows(id: str, **answers: Any) -> dict[str, list[str]]:
    return cells(plan(**answers), id)


def cells(found_plan: dict[str, Any], id: str) -> dict[str, list[str]]:
    """Return the cells of each marked row of the tables of a block."""
    found = {}
    for line in found_plan["blocks"][id]["lines"]:
        if match := re.fullmatch(r"\| (.*) <!-- ([\w-]+) --> \|", line):
            found[match[2]] = match[1].split(" | ")
    return found


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("people") / "project", plan_depth="standard")


@pytest.fixture
def project(rendered: Path, tmp_path: Path) -> Project:
    return Project(shutil.copytree(rendered, tmp_path / "project"))


def said(project: Project, id: str) -> str:
    return measured(project, id).replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("answers", "more", "less"),
    [
        ({"deployment_modes": ("rest",)}, {"service", "security"}, {"jobs"}),
        ({"deployment_modes": ("batch",)}, {"jobs"}, {"service", "security"}),
        ({"personal_data": False}, set(), {"privacy", "fairness"}),
        ({"personal_data": True, "significant_effect": True}, {"privacy", "fairness"}, set()),
        ({"has_labels": False}, {"labelling"}, set()),
        ({"time_column": ""}, set(), {"time", "labelling"}),
        ({"runs_on": "gcp", "risk_class": "high"}, {"platform", "law"}, set()),
        ({"interpretability": "none"}, set(), {"explanation", "platform", "law"}),
    ],
)
def test_answers_say_which_skills_are_needed(
    answers: dict[str, Any], more: set[str], less: set[str]
) -> None:
    found = skills(**answers)
    assert more <= set(found) and not less & set(found)
    assert set(rows("TEAM-02", **answers)) == set(found)


@pytest.mark.parametrize("months", [1, 4, 24])
def test_what_is_done_about_a_gap_follows_from_the_schedule(months: int) -> None:
    answers = {"build_months": months, "build_months_best": months, "build_months_worst": months}
    for skill in skills(**answers, horizon_months=72).values():
        gate = plan(**answers, horizon_months=72)["gates"][skill["gate"]]
        left = gate["p80_month"] * 365.25 / 12 / 7
        lasts = skill["id"] not in ("labelling", "experiment")
        if abs(skill["weeks"] - left) > 0.1:  # months of gates are rounded
            assert skill["action"] == formulas.close_gap(skill["weeks"], left, lasts), skill


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_skills_a_calendar_and_a_budget(task: str, tmp_path: Path) -> None:
    folder = render(tmp_path / "project", task_type=task, plan_depth="standard")
    found = yaml.safe_load((folder / "plan/plan.yaml").read_text(encoding="utf-8"))
    interval = found["computed"]["MON-03"]["interval"]["value"]
    calendar = cells(found, "COM-02")
    words = {7: "every Monday", 30: "first Monday of a month", 91: "first Monday of a quarter"}
    assert calendar["retrain"][0] == words[interval]
    assert ("labels" in calendar) == (task != "clustering")
    numbers = {name: n["value"] for name, n in found["computed"]["BUD-01"].items()}
    parts = ("budget_people", "budget_machines", "budget_reserve")
    assert sum(numbers[name] for name in parts) == pytest.approx(numbers["budget"])
    roles = {
        duty[role] for duty in found["responsibilities"] for role in ("accountable", "responsible")
    }
    named = {role for duty in found["responsibilities"] for role in (*duty["consulted"], *roles)}
    assert {skill["role"] for skill in found["skills"]} <= named
    assert {row[2] for row in calendar.values()} <= named


def test_the_calendar_follows_modes_retention_and_law() -> None:
    assert "scores" not in rows("COM-02", deployment_modes=("rest",))
    assert rows("COM-02", deployment_modes=("batch",))["scores"][0] == "`0 5 * * *`"
    assert rows("COM-02")["experts"][2] == "domain expert"
    assert "retention" not in rows("COM-02", retention_months=0)
    assert "older than 36 months" in rows("COM-02", retention_months=36)["retention"][1]
    for places in (("eu",), ("us_ca",), ("other",)):
        answers = {"jurisdictions": places, "personal_data": False}
        assert ("law" in rows("COM-02", **answers)) == bool(plan(**answers)["duties"])
    late = rows("COM-02", label_delay_days=45)["labels"][0]
    assert late == "as answers come, 45 days after a prediction"


@pytest.mark.parametrize(
    ("given", "data"),
    [
        ({}, "data yes, 50 000 rows (default)"),
        ({"has_labels": False}, "data no, as no row has a label yet"),
        ({"n_rows": 300, "pos_rate": 0.02}, "data perhaps, as FLAG-01 says of their number"),
    ],
)
def test_whether_it_can_be_done_is_said_of_data_technology_and_skills(
    given: dict[str, Any], data: str
) -> None:
    found = plan(**given)
    [line] = [n for n in found["blocks"]["PROB-02"]["lines"] if n.startswith("Feasible")]
    line = line.replace("\u00a0", " ")
    told = re.search(r"skills by TEAM-02, which asks for (\d+), .* takes (\d+) weeks", line)
    assert told and f"by the answers: {data}; technology yes, " in line
    assert int(told[1]) == len(found["skills"])
    assert int(told[2]) == max(skill["weeks"] for skill in found["skills"])


def test_the_network_of_the_plan_is_the_one_that_is_fitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: dict[str, Any] = {}

    def made(**settings: Any) -> None:
        given.update(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr("sklearn.neural_network.MLPClassifier", made)
    x = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    spec = FeatureSpec((NumericFeature("a", "a"), NumericFeature("b", "b")), ())
    data = Data(x, np.arange(60) % 2, spec, 1)
    with pytest.raises(KeyboardInterrupt):
        families.neural_network(data, 0, {}, classify=True)
    assert given == {
        "hidden_layer_sizes": (64, 32),
        "alpha": 0.001,
        "batch_size": 128,
        "early_stopping": True,
        "random_state": 0,
    }
    [line] = [n for n in plan()["blocks"]["MOD-06"]["lines"] if n.startswith("Network")]
    assert "64 and 32 units (ReLU), learnt by Adam in batches of 128" in line
    assert "by 0.001, stopped early on a tenth" in line


def test_what_is_collected_later_is_said_where_there_are_labels(tmp_path: Path) -> None:
    later = "labels join them by key in `ml monitor --labels`, 30 days later"
    lines = " ".join(plan(label_delay_days=30)["blocks"]["DATA-04"]["lines"])
    assert later in lines.replace("\u00a0", " ") and "leave some to chance" in lines
    folder = render(tmp_path / "p", task_type="clustering", plan_depth="standard")
    [line] = re.findall("^Collected later: .*", (folder / "PLAN.md").read_text("utf-8"), re.M)
    assert "--labels" not in line


def test_a_light_plan_has_none_of_it() -> None:
    text, found = render_plan(plan_depth="light")
    assert "skills" not in found and "<!-- calendar -->" not in text


def test_gaps_of_skills_are_told_until_somebody_is_named(project: Project) -> None:
    asked = [skill.id for skill in project.plan.skills]
    text = said(project, "TEAM-02")
    assert f"Skills: 0 of {len(asked)} have a name; gaps: domain (hire or move somebody in" in text
    assert "modelling (train within 8 weeks, by G3)" in text
    keep(project, skills={name: ["@eva"] for name in asked if name != "modelling"})
    text = said(project, "TEAM-02")
    assert "gaps: modelling (train within 8 weeks, by G3)." in text
    keep(project, skills={name: ["@eva"] for name in asked})
    assert "; no gap." in said(project, "TEAM-02")
    keep(project, skills={"cooking": ["@eva"]})
    named = "plan/progress.yaml names people for cooking, which is no skill of TEAM-02"
    assert ("TEAM-02", named) in list(progress.check(project))


def test_work_of_each_role_adds_up(project: Project) -> None:
    keep(
        project,
        tasks={
            "one": {"what": "One", "weeks": [2, 2, 2], "who": {"product": 0.5, "risk": 2}},
            "two": {"what": "Two", "weeks": [1, 4, 7], "after": ["one"], "who": {"product": 1}},
        },
    )
    found = progress.run(project)["schedule"]["person_weeks"]
    assert found == {"product": 5.0, "risk": 4.0}
    text = said(project, "SCHED-01")
    assert "Work: 9 person-weeks expected (2.1 person-months): product 5, risk 4" in text
    people = project.plan.number("BUD-01", "budget_people")
    each = f"{people / (9 * 7 / 30.4375):,.0f}".replace(",", " ")
    assert f"for 2.1 person-months, {each} EUR for each" in said(project, "BUD-01")
    keep(project, tasks={"one": {"what": "One", "weeks": [2, 2, 2]}})
    assert "nobody has said who works" in said(project, "SCHED-01")
    keep(project, tasks={"one": {"what": "One", "weeks": [2, 2, 2], "who": {"boss": 1}}})
    with pytest.raises(ProjectError, match="no role boss; TEAM-02 has sponsor"):
        progress.read(project)


def test_the_first_tasks_say_who_works_on_them(project: Project) -> None:
    progress_ = progress.read(project)
    assert all(task.who for task in progress_.tasks.values())
    assert set(progress_.person_weeks) == set(progress_.roles)
    assert list(progress_.skills) == [skill.id for skill in project.plan.skills]


def test_money_by_kind_and_by_month(project: Project) -> None:
    spent = {"2027-02": {"people": 9000, "machines": 100}, "2027-03": 500}
    keep(project, spent=spent, earned={"2027-10": 12_000, "2027-09": 20_000})
    money = progress.run(project)["money"]
    assert money["spent"] == 9600
    assert {kind: row["spent"] for kind, row in money["by_kind"].items()} == {
        "people": 9000, "machines": 100, "data": 0, "licences": 0, "other": 500
    }  # fmt: skip
    text = said(project, "BUD-01")
    machines = project.plan.number("BUD-01", "budget_machines")
    assert f"| machines | {machines:.0f} | 100 | {machines - 100:.0f} |" in text
    # A third and two thirds of 52 500, on the ramp of three months.
    assert "| 2027-09 | 20 000 | 17 500 | 2 500 |" in text
    assert "| 2027-10 | 12 000 | 35 000 | -23 000 |" in text
    keep(project, spent={"2027-02": {"food": 3}})
    with pytest.raises(ProjectError, match="spent"):
        progress.read(project)
