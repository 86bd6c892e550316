"""`ml plan diff`: every kind of change between two versions of the plan, in sentences."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from helpers.filled import answer, edit, projects
from helpers.rendering import git, publish, render

from package_name.engine.errors import ProjectError
from package_name.engine.settings import Project
from package_name.planner import diff, signing, sync
from package_name.planner.blocks import PLACEHOLDER

rendered, project = projects("v1")


def said(project: Project, revision: str = "HEAD") -> list[str]:
    fresh = Project(project.root)
    new, old = diff.current(fresh), diff.recorded(fresh, revision)
    return [change.says for change in diff.compare(old, new)]


def test_the_same_plan_has_no_difference(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    diff.run(project, "HEAD", as_json=False)
    assert capsys.readouterr().out == "the plan is as in HEAD\n"


def test_other_answers_are_told_with_decisions_rules_and_numbers(
    rendered: Path, tmp_path: Path
) -> None:
    new = Project(render(tmp_path / "new", n_rows=800, daily_capacity=100))
    found = diff.compare(diff.current(Project(rendered)), diff.current(new))
    told = {change.kind: change.says for change in found}
    text = "\n".join(change.says for change in found)
    assert "n_rows is 800, was 50000." in text
    threshold = r"EVAL-05 Threshold is cost-optimal within capacity by rule thr\.cost_cap: .+; "
    assert re.search(threshold + r"it was cost-optimal by rule thr\.cost\.", text)
    assert re.search(r"DATA-02 test positives is 24 .*, was 1\u00a0500 .*\.", text)
    assert {"answer", "decision", "number"} <= {*told}


def test_a_block_that_comes_or_goes_is_named_and_its_words_are_repeated(
    rendered: Path, tmp_path: Path
) -> None:
    more = Project(render(tmp_path / "new", plan_depth="standard"))
    fill = more.path("PLAN.md").read_text()
    mark = "<!-- plan:answer STAKE-01 -->\n"
    fill = fill.replace(f"{mark}{PLACEHOLDER}", f"{mark}The callers.")
    more.path("PLAN.md").write_text(fill)
    light = diff.current(Project(rendered))
    grown = "\n".join(change.says for change in diff.compare(light, diff.current(more)))
    assert "STAKE-01 Stakeholders is a new block of the plan." in grown
    shrunk = "\n".join(change.says for change in diff.compare(diff.current(more), light))
    assert "STAKE-01 Stakeholders is no block of the plan any more." in shrunk
    assert 'STAKE-01 Stakeholders said: "The callers."' in shrunk


def test_what_people_write_own_and_sign_is_told(project: Project) -> None:
    answer(project, "PROB-01", "- fifteen of a hundred leave\n- \x1b[31mcalls are random")
    mark = "<!-- plan:human PROB-01 -->\n"
    fields = "Owner: nobody · Due: none · Status: open"
    ours = "status: review, owner: Ana Maria, due: 2099-01-31"
    edit(project, f"{mark}{fields}", f"{mark}{ours}")
    edit(project, "## Notes of the team\n", "## Notes of the team\n\nWe met on Monday.\n")
    assert said(project) == [
        'PROB-01 Problem is answered: "- fifteen of a hundred leave / - [31mcalls are random".',
        "PROB-01 Problem belongs to Ana Maria, before: nobody.",
        "PROB-01 Problem is due on 2099-01-31, before: no date.",
        "PROB-01 Problem has the status review, before: open.",
        'the notes of the team says besides: "We met on Monday."',
    ]
    publish(project.root, "v2")
    signing.approve(Project(project.root), "PROB-01", "@eva", None)
    assert re.fullmatch(r"PROB-01 Problem was approved by @eva on [\d-]{10}\.", *said(project))
    edit(project, "fifteen", "twelve")
    assert said(project)[0].startswith('PROB-01 Problem says "- twelve of a hundred leave", in pl')
    assert len(said(project, "v1")) == 5


def test_measured_values_overrides_and_waivers_are_told(project: Project) -> None:
    report = {
        "run": "d1",
        "rows": 48000,
        "rejected": 12,
        "rejected_share": 0.0015,
        "rules": {},
        "missing_share": {},
        "duplicates": 0,
        "score": 0.99,
    }
    project.path("reports").mkdir(exist_ok=True)
    project.path("reports/data_quality.json").write_text(json.dumps(report))
    content = {
        "EVAL-07": {"value": "sigmoid", "reason": "smooth"},
        "waivers": {"OBJ-01": {"reason": "April", "owner": "@eva", "until": "2099-04-30"}},
    }
    text = yaml.safe_dump(content).replace("'2099-04-30'", "2099-04-30")
    project.path("plan/overrides.yaml").write_text(text)
    sync.run(Project(project.root))
    text = "\n".join(said(project))
    assert "EVAL-07 Calibration is overridden with Platt scaling: smooth." in text
    assert "OBJ-01 Success is waived until 2099-04-30 by @eva: April." in text
    assert re.search(r'DATA-02 Volume and quality is measured now: ".*48 000 rows', text)
    publish(project.root, "v2")
    project.path("plan/overrides.yaml").write_text("EVAL-07: {value: none, reason: other}\n")
    text = "\n".join(said(project))
    now = "EVAL-07 Calibration is overridden with no calibration"
    assert f"{now}, in place of the override Platt scaling" in text
    assert "OBJ-01 Success is not waived by @eva any more." in text


def verdict(text: str, rows: list[str]) -> list[str]:
    head = ["| Quantity | Planned | Measured (95 %) | Says |", "| --- | --: | --: | --- |"]
    return [f"**Verdict:** {text}", "<!-- evidence -->", *head, *rows]


def test_a_change_of_the_verdict_is_told_with_its_reasons_and_evidence() -> None:
    paper = "worth it on paper, not measured yet (NPV 5 EUR by the answers; go by the team: x (y))."
    rows = ["| Rows | 50 | not measured | open <!-- DATA-02 --> |", "| Drift | none | x | agrees |"]
    go = "**go**: measured, and nothing contradicts the plan (NPV 5 EUR by the answers)."
    good = ["| Rows | 50 | 48 | agrees <!-- DATA-02 --> |", rows[1]]
    stop = (
        "**stop**: the gate of the model failed: ROC AUC (test) is 0.5 (NPV 5 EUR by the answers)."
    )
    bad = ["| Rows | 50 | 20 | **contradicts** <!-- DATA-02 --> |"]

    def told(*versions: list[str]) -> list[str]:
        return [change.says for change in diff._verdict(*versions)]

    first, second, third = verdict(paper, rows), verdict(go, good), verdict(stop, bad)
    assert told(first, first) == []
    assert told(["_Not measured yet: x_"], first)[0] == (
        "The verdict is worth it on paper by the first measurement: not measured yet."
    )
    assert told(first, second) == [
        "The verdict goes from worth it on paper to go because of this: measured, and nothing "
        "contradicts the plan; before it was: not measured yet.",
        "Evidence: Rows: measured 48, before not measured; which says: agrees, before open.",
    ]
    assert told(second, third) == [
        "The verdict goes from go to stop because of this: the gate of the model failed: "
        "ROC AUC (test) is 0.5; before it was: measured, and nothing contradicts the plan.",
        "Evidence: Rows: measured 20, before 48; which says: contradicts, before agrees.",
        "Evidence: Drift is no row of the evidence any more.",
    ]
    worse = verdict(stop.replace("0.5", "0.4"), bad)
    assert told(third, worse) == [
        "The verdict stays stop, now for this reason: the gate of the model failed: ROC AUC (test) "
        "is 0.4; before it was: the gate of the model failed: ROC AUC (test) is 0.5."
    ]
    richer = verdict(stop.replace("NPV 5", "NPV 6"), bad)
    assert told(third, richer) == [
        "The verdict stays stop, with NPV 6 EUR by the answers, before NPV 5 EUR by the answers."
    ]


def test_a_slip_in_one_block_hides_no_other(project: Project) -> None:
    answer(project, "PROB-01", "Fifteen of a hundred leave.")
    edit(project, "<!-- /plan:human OBJ-01 -->\n", "")
    found = said(project)
    assert any("OBJ-01 is not compared" in says for says in found)
    assert 'PROB-01 Problem is answered: "Fifteen of a hundred leave."' in found


@pytest.mark.parametrize(
    ("revision", "reason"),
    [
        ("nope", "git knows no 'nope' here: give a commit"),
        ("--help", "git knows no '--help' here"),
        ("a\x1b[2Jb", r"git knows no 'a \[2Jb' here"),
        ("v0", r"v0 has no plan: no PLAN\.md is in that commit"),
        ("old", "old has the plan in an earlier form, whose marks held the fields"),
        ("bad", "the plan of bad cannot be read: plan/plan.yaml: not valid YAML"),
    ],
)
def test_a_revision_without_a_plan_is_one_clear_line(
    project: Project, revision: str, reason: str
) -> None:
    git(project.root, "checkout", "-q", "--orphan", "empty")
    git(project.root, "rm", "-q", "-r", "--cached", ".")
    git(project.root, "commit", "-q", "--allow-empty", "-m", "empty")
    git(project.root, "tag", "v0")
    edit(project, "<!-- plan:human PROB-01 -->", "<!-- plan:human PROB-01 status=todo owner=x -->")
    publish(project.root, "old")
    text = project.path("plan/plan.yaml").read_text()
    git(project.root, "checkout", "-q", "v1", "--", "PLAN.md")
    project.path("plan/plan.yaml").write_text("[")
    publish(project.root, "bad")
    project.path("plan/plan.yaml").write_text(text)
    with pytest.raises(ProjectError, match=reason):
        diff.recorded(project, revision)


def test_without_git_or_a_commit_the_way_there_is_told(project: Project) -> None:
    shutil.rmtree(project.path(".git"))
    with pytest.raises(ProjectError, match="the project is not in git: `git init`"):
        diff.recorded(project, "HEAD")
    git(project.root, "init", "-q")
    with pytest.raises(ProjectError, match="nothing is committed yet"):
        diff.recorded(project, "HEAD")


def test_two_revisions_are_compared_and_machines_get_json(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(project, "PROB-01", "Fifteen of a hundred leave.")
    publish(project.root, "v2")
    answered = {
        "kind": "written",
        "id": "PROB-01",
        "says": 'PROB-01 Problem is answered: "Fifteen of a hundred leave."',
    }
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as in a hook of another repository
    diff.run(project, "v1..v2", as_json=True)
    assert json.loads(capsys.readouterr().out) == [answered]
