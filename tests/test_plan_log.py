"""What happened in a project: noted, kept, and told by date."""

import datetime as dt
from pathlib import Path

import pytest
import yaml
from helpers.filled import answer
from helpers.plan import render_plan

from package_name.engine import storage
from package_name.engine.errors import ProjectError
from package_name.engine.settings import Project
from package_name.planner import log, signing


@pytest.fixture
def project(tmp_path: Path) -> Project:
    text, found = render_plan()
    storage.write_text(tmp_path / "PLAN.md", text)
    storage.write_text(tmp_path / "plan/plan.yaml", yaml.safe_dump(found))
    return Project(tmp_path)


def note(project: Project, day: str, kind: str, text: str, **more: object) -> log.Entry:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(log, "current_day", lambda: dt.date.fromisoformat(day))
        return log.add(project, kind, text, by="@eva", **more)  # type: ignore[arg-type]


def test_the_page_tells_done_learned_blocked_and_next(project: Project) -> None:
    note(project, "2026-01-10", "blocked", "no access to the <warehouse>")
    note(project, "2026-01-11", "done", "contract drafted")
    note(project, "2026-02-01", "scope", "only private customers", block="SCOPE-01")
    note(project, "2026-02-02", "setback", 'labels come late: "90 days" ä')
    note(project, "2026-02-03", "next", "pilot in one region")
    found = log.page(project, "2026-02-01").parts
    assert found["Done"] == ["2026-02-01, 3: only private customers (scope, SCOPE-01, @eva)"]
    assert found["Learned"] == ['2026-02-02, 4: labels come late: "90 days" ä (setback, @eva)']
    assert found["Blocked"] == ["2026-01-10, 1: no access to the &lt;warehouse&gt; (blocked, @eva)"]
    assert (
        found["Next"][0].startswith("2026-02-03, 5: pilot") and "gate G0 needs" in found["Next"][1]
    )
    assert len(log.page(project).parts["Done"]) == 2
    said = log.text(project, log.page(project, "2027-01-01"))
    assert "progress since 2027-01-01" in said and "## Done\n\n- nothing" in said


def test_entries_stay_and_open_ones_end_by_another(project: Project) -> None:
    note(project, "2026-01-10", "incident", "two hours without answers", block="OBJ-01")
    before = project.path(log.LOG).read_text(encoding="utf-8")
    assert "(incident, OBJ-01, @eva, open)" in log.page(project).parts["Learned"][0]
    note(project, "2026-01-12", "done", "a second instance", solves=1)
    assert project.path(log.LOG).read_text(encoding="utf-8").startswith(before)
    assert "solved on 2026-01-12" in log.page(project).parts["Learned"][0]
    assert [entry.n for entry in log.entries(project)] == [1, 2]


def test_a_signature_is_something_done(project: Project) -> None:
    answer(project, "SCOPE-01", "Nothing abroad.")
    assert not log.page(project).parts["Done"]
    signing.approve(project, "SCOPE-01", "@eva", None)
    (line,) = log.page(project).parts["Done"]
    assert line.endswith(" approved (SCOPE-01, @eva)")
    assert not log.page(project, "2999-01-01").parts["Done"]


@pytest.mark.parametrize(
    ("kind", "text", "more", "said"),
    [
        ("idea", "x", {}, "no kind 'idea': give one of decision, scope"),
        ("done", " \n", {}, "the text is empty"),
        ("done", "x", {"block": "XX-01"}, "no block XX-01"),
        ("done", "x", {"solves": 3}, "nothing open has the number 3; open: none"),
    ],
)
def test_what_cannot_be_noted_is_told(
    project: Project, kind: str, text: str, more: dict[str, object], said: str
) -> None:
    with pytest.raises(ProjectError, match=said):
        note(project, "2026-01-01", kind, text, **more)
    assert not project.path(log.LOG).exists()


def test_an_edited_log_and_a_wrong_date_are_told(project: Project) -> None:
    with pytest.raises(ProjectError, match="--since soon is no date"):
        log.page(project, "soon")
    note(project, "2026-01-01", "done", "x")
    path = project.path(log.LOG)
    line = path.read_text(encoding="utf-8").splitlines()[1]
    path.write_text(f"entries:\n{line}\n{line}\n", encoding="utf-8")
    with pytest.raises(ProjectError, match="two entries have the number 1"):
        log.page(project)
    path.write_text("entries:\n  - {n: 1, kind: done}\n", encoding="utf-8")
    with pytest.raises(ProjectError, match=r"plan/log\.yaml: .*below `entries:`"):
        log.page(project)
