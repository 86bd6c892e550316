"""plan/progress.yaml: the critical path, what is late or dear, people and CODEOWNERS."""

import datetime as dt
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.plan import keep, said
from helpers.rendering import render

from package_name.engine.errors import CheckFailed, ProjectError
from package_name.engine.settings import Project
from package_name.planner import check, measured, progress, signing, sync
from package_name.planner import report as plan_report
from package_name.planner.blocks import parse, rewrite

# The worked example of the planning notes: nine tasks, 20.33 weeks; their deviations add up.
NINE = {
    "scope": ([1, 2, 4], []),
    "data": ([3, 4, 8], ["scope"]),
    "privacy": ([1, 2, 5], ["scope"]),
    "baseline": ([1, 2, 3], ["data"]),
    "model": ([3, 5, 9], ["baseline"]),
    "serving": ([2, 3, 6], ["scope"]),
    "eval": ([1, 2, 3], ["model", "privacy"]),
    "shadow": ([2, 2, 4], ["eval", "serving"]),
    "canary": ([1, 2, 3], ["shadow"]),
}


def tasks(**changed: Any) -> dict[str, Any]:
    made = {n: {"what": f"The {n}", "weeks": w, "after": a} for n, (w, a) in NINE.items()}
    return {name: task | changed.get(name, {}) for name, task in made.items()}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("progress") / "project", plan_depth="standard")


@pytest.fixture
def project(rendered: Path, tmp_path: Path) -> Project:
    return Project(shutil.copytree(rendered, tmp_path / "project"))


def warnings(project: Project) -> list[tuple[str, str]]:
    return list(progress.check(project))


def test_critical_path(project: Project) -> None:
    keep(project, tasks=tasks())
    found = progress.critical_path(progress.read(project).tasks)
    assert (round(found.expected, 2), round(found.deviation, 2)) == (20.33, 3.67)
    apart = [
        tasks_.expected + progress.Z80 * tasks_.deviation for tasks_ in _on(project, found.path)
    ]
    assert found.p80 == pytest.approx(sum(apart)) and round(found.p80, 2) == 23.42
    assert found.path == ["scope", "data", "baseline", "model", "eval", "shadow", "canary"]


@pytest.mark.parametrize("months", [1, 4, 60])
def test_the_first_tasks_take_what_the_plan_expects(tmp_path: Path, months: int) -> None:
    answers = {"plan_depth": "standard", "build_months": months, "horizon_months": 72}
    project = Project(render(tmp_path / "project", **answers))
    found = progress.critical_path(progress.read(project).tasks)
    expected = project.plan.number("SCHED-01", "expected_months") * progress.WEEKS_A_MONTH
    assert found.expected == pytest.approx(expected, abs=0.4)
    late = project.plan.number("SCHED-01", "p80_months") * progress.WEEKS_A_MONTH
    assert found.p80 == pytest.approx(late, abs=progress.ROUNDING)  # one P80 everywhere
    assert warnings(project) == []


def _on(project: Project, path: list[str]) -> list[progress.Task]:
    return [progress.read(project).tasks[name] for name in path]


def test_what_is_done_moves_the_forecast(project: Project) -> None:
    start = dt.date(2027, 2, 1)
    keep(project, tasks=tasks(scope={"done": start + dt.timedelta(weeks=3)}), start=start)
    text = said(project, "SCHED-01")
    assert (
        "20.3 weeks expected, in four of five cases at most 23.4 if they are late together" in text
    )
    # Planned were (1 + 4 x 2 + 4) / 6 = 2.17 weeks.
    assert (
        "Done: 1 of 9 tasks" in text
        and "forecast 21.2 weeks, 0.83 weeks later than planned" in text
    )
    keep(project, tasks=tasks(scope={"done": start + dt.timedelta(weeks=1)}))
    assert "1.2 weeks earlier than planned" in said(project, "SCHED-01")


def test_money_is_compared_with_the_work_done(project: Project) -> None:
    keep(project, tasks=tasks(scope={"done": dt.date(2027, 2, 22)}), spent={"2027-02": 9000})
    share = (13 / 6) / sum((o + 4 * m + p) / 6 for (o, m, p), _ in NINE.values())
    value = share * project.plan.number("VAL-01", "build_cost")  # what NPV counts with
    planned, over = (f"{x:,.0f}".replace(",", "\u00a0") for x in (value, value - 9000))
    text = said(project, "BUD-01")
    assert (
        f"Spent: 9\u00a0000 EUR in 1 month; the work that is done was to cost {planned} EUR "
        f"of the budget, {over} EUR more than was spent" in text
    )
    keep(project, earned={"2027-09": 10_000, "2027-10": 12_000.5})
    # A third and two thirds of 52 500, on the ramp of three months.
    assert "Earned: 22\u00a0000 EUR in 2 months of use; planned were 52\u00a0500 EUR" in said(
        project, "BUD-01"
    )


def test_late_dear_and_stale_are_told(project: Project) -> None:
    progress.run(project)
    keep(project, start=dt.date(2020, 1, 6), spent={"2020-01": 10**6})
    found = warnings(project)
    assert ("SCHED-01", "plan/progress.yaml has changed: run `ml plan sync`") in found
    assert ("SCHED-01", "task scope was to end on 2020-01-17") in found
    assert ("BUD-01", "1\u00a0000\u00a0000 are spent, the budget is 156\u00a0041") in found
    keep(project, start=None, spent={}, tasks=tasks(data={"weeks": [9, 20, 40]}))
    progress.run(project)
    [(id, message)] = warnings(project)
    assert id == "SCHED-01" and "weeks in four of five cases, the plan counts on 22.6" in message


def test_people_and_code_owners_come_from_one_place(project: Project) -> None:
    progress.run(project)
    owners = project.path(".github/CODEOWNERS")
    assert not owners.exists()
    keep(project, roles={"data engineer": ["@bob"], "product": ["@ann", "@org/retention"]})
    assert ("TEAM-02", ".github/CODEOWNERS does not follow the roles: run `ml plan sync`") in (
        warnings(project)
    )
    text = said(project, "TEAM-02")
    assert "data engineer @bob; product @ann @org/retention; no name yet for sponsor" in text
    lines = owners.read_text(encoding="utf-8").splitlines()[1:]
    assert "/contracts/ @bob" in lines and "/PLAN.md @ann @org/retention" in lines
    assert not [line for line in lines if line.startswith("/src/")]  # no data scientist yet
    for duty in project.plan.responsibilities:  # what RACI says is what CODEOWNERS says
        names = [n for r in (duty.accountable, duty.responsible) for n in _names(project, r)]
        for path in duty.paths:
            assert project.path(path).exists()
            assert (f"/{path} {' '.join(dict.fromkeys(names))}" in lines) == bool(names)
    assert warnings(project) == []


def _names(project: Project, role: str) -> tuple[str, ...]:
    return progress.read(project).roles.get(role, ())


def test_code_owners_of_somebody_else_are_left_alone(project: Project) -> None:
    owners = project.path(".github/CODEOWNERS")
    owners.write_text("* @cto\n", encoding="utf-8")
    keep(project, roles={"product": ["@ann"]})
    progress.run(project)
    assert owners.read_text(encoding="utf-8") == "* @cto\n"
    assert warnings(project) == []


def test_each_part_of_the_work_has_one_accountable_role(project: Project) -> None:
    lines = project.plan.blocks["TEAM-02"].lines
    for duty in project.plan.responsibilities:
        [line] = [line for line in lines if line.lower().startswith(f"{duty.area}: ")]
        assert line.count("accountable") == 1 and f"accountable {duty.accountable}," in line
    roles = yaml.safe_load(project.path(progress.FILE).read_text(encoding="utf-8"))["roles"]
    assert set(roles) == set(progress._roles(project))


def test_the_page_has_tasks_and_a_chart(project: Project) -> None:
    keep(project, tasks=tasks(data={"what": "a|b: <b>`c`</b>, #1"}), start=dt.date(2027, 2, 1))
    progress.run(project)
    markdown, page = plan_report.run(project, "team")
    text, html = markdown.read_text(encoding="utf-8"), page.read_text(encoding="utf-8")
    assert "  The scope :crit, 2027-02-01, 2027-02-16\n" in text
    assert "  a b b c b 1 :crit, 2027-02-16, " in text
    assert re.search("<td[^>]*>yes</td>", html) and "<b>" not in html
    assert "| G1 |" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"tasks": tasks(scope={"after": ["canary"]})}, "wait for each other in a circle"),
        ({"tasks": tasks(scope={"after": ["nothing"]})}, "scope: after names nothing"),
        ({"tasks": tasks(scope={"weeks": [3, 2, 4]})}, "scope: weeks go from best to worst"),
        ({"tasks": tasks(scope={"weeks": [1, 2]})}, "tasks"),
        ({"tasks": tasks(scope={"weeks": [float("nan"), 2, 3]})}, "weeks"),
        ({"roles": {"boss": ["@eva"]}}, "no role boss; TEAM-02 has sponsor"),
        ({"roles": {"risk": ["@eva @bob"]}}, "'@eva @bob' is no name such as @eva"),
        ({"spent": {"February": 3}}, "spent"),
        ({"spend": {}}, "spend"),
    ],
)
def test_what_makes_no_sense_is_refused(
    project: Project, content: dict[str, Any], message: str
) -> None:
    keep(project, **content)
    with pytest.raises(ProjectError, match=message) as error:
        progress.run(project)
    assert "\n" not in str(error.value)
    assert not project.path("reports/progress.json").exists()


def test_a_gate_needs_the_schedule(project: Project) -> None:
    def missing() -> set[str]:
        return {f.id for f in check.check(project, "G1") if "not measured yet" in f.message}

    assert {"TEAM-02", "SCHED-01", "BUD-01"} <= missing()
    said(project, "SCHED-01")
    assert not {"TEAM-02", "SCHED-01", "BUD-01"} & missing()


def test_executives_see_the_three_largest_risks(project: Project) -> None:
    sync.run(project)
    text = plan_report.run(project, "exec")[0].read_text(encoding="utf-8")
    risks = re.findall(r"^\| .* \| \d x \d = (\d+) \| .* \| \*\*nobody yet\*\*", text, re.MULTILINE)
    assert len(risks) == 3 and risks == sorted(risks, key=int, reverse=True)
    assert risks[0] == "12" and len(text.splitlines()) <= 60


def test_a_light_project_has_none_of_it(tmp_path: Path) -> None:
    folder = render(tmp_path / "project")
    assert not (folder / progress.FILE).exists()
    assert not list(folder.glob("src/*/planner/progress.py"))
    project = Project(folder)
    assert measured.figures(project) is None and sync.run(project) == ["GATES"]


def test_the_roles_of_a_block_approve_it(project: Project) -> None:
    text = project.path("PLAN.md").read_text(encoding="utf-8")
    part = parse(text)["human", "EVAL-01"]
    text = rewrite(text, part, ["It fits the goal."])
    project.path("PLAN.md").write_text(text, encoding="utf-8")
    assert signing.approve(project, "EVAL-01", "@ann", None) == "EVAL-01 approved by @ann"
    keep(project, roles={"data scientist": ["@bob"], "product": ["@ann"]})
    told = "TEAM-02 names @bob (data scientist), not @ann"
    assert ("warning", "EVAL-01", told) in check.check(project)
    for by in ("@bob", "bob@example.org", "Bob"):
        assert signing.approve(project, "EVAL-01", by, None) == f"EVAL-01 approved by {by}"
        assert not [found for found in check.check(project) if "TEAM-02 names" in found.message]
    assert signing.approve(project, "EVAL-01", "@ann", None).endswith(told)
    path = project.path("plan/plan.yaml")  # where the law asks for evidence, the wrong name is none
    plan = path.read_text(encoding="utf-8")
    path.write_text(plan.replace('plan_depth: "standard"', 'plan_depth: "regulated"'))
    strict = Project(project.root)
    assert ("error", "EVAL-01", told) in check.check(strict)
    with pytest.raises(CheckFailed, match="TEAM-02 names @bob"):
        signing.approve(strict, "EVAL-01", "@ann", None)
    keep(project, roles={"data scientist": ["@org/models"]})
    assert signing.approve(strict, "EVAL-01", "@ann", None) == "EVAL-01 approved by @ann"


def test_every_block_of_people_has_a_role_that_answers_for_it(tmp_path: Path) -> None:
    plan = Project(render(tmp_path / "project", plan_depth="regulated")).plan
    kinds = [kind for duty in plan.responsibilities for kind in duty.blocks]
    asked = {name for name, block in plan.blocks.items() if block.human}
    alone = [name for name in asked if not {name, name.partition("-")[0]} & {*kinds}]
    assert not alone and len(kinds) == len({*kinds})


def left(project: Project, identifier: str, gate: str | None = None) -> list[tuple[str, str]]:
    found = check.check(project, gate)
    return [
        (f.level, f.message) for f in found if f.id == identifier and "is named as" in f.message
    ]


def test_a_large_risk_and_a_duty_need_somebody_in_their_role(tmp_path: Path) -> None:
    answers = {"preset": "credit", "plan_depth": "standard"}
    project = Project(render(tmp_path / "project", **answers))
    large = {risk.owner: risk.id for risk in project.plan.risks if risk.score >= progress.LARGE}
    assert large == {"data engineer": "R1", "data scientist": "R2", "risk": "R4"}
    assert {level for level, _ in left(project, "RISK-02")} == {"todo"}
    assert {level for level, _ in left(project, "RISK-02", "G4")} == {"error"}
    owners = {duty.owner for duty in project.plan.duties}
    told = "\n".join(message for _, message in left(project, "REG-01", "G1"))
    assert owners and all(f"named as {owner} in plan/progress.yaml" in told for owner in owners)
    keep(project, roles={role: ["@eva"] for role in (*large, *owners)})
    assert not left(project, "RISK-02", "G4") + left(project, "REG-01", "G4")
    keep(project, roles={"data scientist": ["@eva"], "risk": ["@bob"]})
    [(level, message)] = left(project, "RISK-02", "G4")
    assert level == "error" and "data engineer" in message and "R1 (12 of 25)" in message


def test_a_light_plan_asks_for_no_roles(tmp_path: Path) -> None:
    project = Project(render(tmp_path / "project", preset="credit", plan_depth="light"))
    assert not project.plan.risks and "risks:" not in (
        project.path("plan/plan.yaml").read_text(encoding="utf-8").splitlines()
    )
    assert not left(project, "REG-01", "G4")


def test_the_page_for_executives_names_who_owns_the_largest_risks(project: Project) -> None:
    keep(project, roles={"data engineer": ["@eva"]})
    plan_report.run(project, "exec")
    page = project.path("reports/plan_exec.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if " x " in line and line.startswith("|")]
    assert len(rows) == 3 and "| 3 x 4 = 12 |" in rows[0] and rows[0].endswith("| @eva |")
    assert "**nobody yet**, role: sponsor" in rows[1]
