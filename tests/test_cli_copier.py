"""Copier's own command: a copy that needs no trust, clear refusals, updates that lose nothing."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from helpers.rendering import (
    check_answers_anew,
    command,
    copy_template,
    different,
    git,
    publish,
    recorded,
    tree,
)
from helpers.terminal import Terminal


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the template as a git repository whose version is v1.0.0."""
    folder = copy_template(tmp_path_factory.mktemp("template") / "ml-model-planner")
    publish(folder, tag="v1.0.0")
    return folder


@pytest.fixture(scope="module")
def project(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project that the command made, committed to git."""
    folder = tmp_path_factory.mktemp("copied") / "project"
    done = command("copier", "copy", "--defaults", str(repository), str(folder))
    assert done.returncode == 0, done.stderr
    assert f"cd {folder}" in done.stderr and "uv run ml run" in done.stderr
    publish(folder)
    return folder


def test_copy_from_a_tag_needs_no_trust(repository: Path, project: Path) -> None:
    remembered = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert remembered["_commit"] == "v1.0.0"
    assert remembered["_src_path"] == str(repository)
    assert git(project, "status", "--porcelain") == ""


def test_copy_from_a_clone_gives_the_same_files(
    repository: Path, project: Path, tmp_path: Path
) -> None:
    git(tmp_path, "clone", "-q", str(repository), "clone")
    done = command(
        *["copier", "copy", "--defaults", "--quiet"],
        *[str(tmp_path / "clone"), str(tmp_path / "project")],
    )
    assert done.returncode == 0, done.stderr
    shutil.rmtree(tmp_path / "clone")
    ours = {name: content for name, content in tree(project).items() if ".git/" not in name}
    assert different(tree(tmp_path / "project"), ours) == [".copier-answers.yml"]
    assert recorded(tmp_path / "project") == recorded(project)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("pos_rate=15", "pos_rate: give 0.0001 to 0.9999"),
        ("pos_rate=many", "pos_rate: give a number"),
        (
            "deployment_modes=rest",
            "deployment_modes: give a list, such as [rest, grpc, batch, edge, streaming]",
        ),
        (
            "deployment_mode=[rest]",
            "deployment_mode: do you mean deployment_modes?",
        ),
        ("time=day", "no question is called time: do you mean time_column?"),
        ("zzz=1", "no question is called zzz'"),
        ("entity=_row", "entity: rename it in your data: the project needs _row itself"),
        ("package_name=../../x", "package_name: a-z, 0-9"),
        ("cost_tp=100", "cost_tp: give less than cost_fn, 70.0"),
        ("owner=a\tb", "owner: one line of plain text"),
    ],
)
def test_a_bad_answer_ends_in_one_line_and_leaves_nothing(
    repository: Path, tmp_path: Path, answer: str, message: str
) -> None:
    folder = tmp_path / "project"
    done = command("copier", "copy", "--defaults", "--data", answer, str(repository), str(folder))
    assert done.returncode == 1
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_update_asks_with_the_answers_that_are_there(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    shutil.copytree(project, folder)
    before = recorded(folder)
    terminal = Terminal("copier", "update", "--vcs-ref", ":current:", cwd=folder)
    terminal.answer(
        {
            "How much do you want": "\r",
            "Start from a known case": "\r",
            "What does the model predict": "\r",
            "Enter: Churn model": "\r",
            "Enter: Which customers": "\r",
            "Enter: churned": "\r",
            "Enter: customer_id": "none\r",
            "Enter: snapshot_date": "\r",
            "Enter: 0.15": "5%\r",
            "Enter: 10.0": "\r",
            "Enter: 70.0": "80\r",
            "How are predictions delivered": "\r",
        }
    )
    code, shown = terminal.end()
    assert code == 0, shown
    changed = {"entity": "", "pos_rate": 0.05, "cost_fn": 80.0}
    after = recorded(folder)
    assert {name: after[name] for name in changed} == changed
    assert not set(after) ^ set(before), "a prompt is recorded"
    kept = ["project_name", "problem", "target", "time_column", "cost_fp", "project_slug"]
    assert [after[name] for name in kept] == [before[name] for name in kept]


@pytest.mark.parametrize(
    ("name", "before", "behind", "answer"),
    [("pos_rate", "0.15", "25", "0.25"), ("entity", "customer_id", "none", "who")],
)
def test_nothing_is_typed_behind_an_answer_that_copier_shows(
    project: Path, tmp_path: Path, name: str, before: str, behind: str, answer: str
) -> None:
    folder = Path(shutil.copytree(project, tmp_path / "project"))
    ask = ["--defaults", "--ask", name, "--vcs-ref", ":current:"]
    terminal = Terminal("copier", "update", *ask, cwd=folder)
    terminal.answer(
        {
            f"{name} as it is, by --ask: Ctrl-U erases it": behind + "\r",
            f"{before} still stands in front: Ctrl-U erases it": "\x15" + answer + "\r",
        }
    )
    code, shown = terminal.end()
    assert code == 0, shown
    assert str(recorded(folder)[name]) == answer


def replace(path: Path, old: str, new: str) -> None:
    """Edit a file as a person would: `old` must be there."""
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path.name} has no {old!r}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def human_block(project: Path, identifier: str) -> str:
    """Return what people wrote in one block of PLAN.md, its attributes included."""
    text = (project / "PLAN.md").read_text(encoding="utf-8")
    pattern = rf"<!-- plan:human {identifier} -->(.*?)<!-- /plan:human {identifier} -->"
    (block,) = re.findall(pattern, text, re.DOTALL)
    return block


WRITTEN = ["PROB-01", "DATA-03", "EVAL-01", "DEP-03", "END-01"]


def write_into(project: Path) -> dict[str, str]:
    """Edit a project as its team would; return what stands in the plan's human blocks."""
    for identifier in WRITTEN:
        replace(
            project / "PLAN.md",
            f"plan:human {identifier} -->\nOwner: nobody · Due: none · Status: open",
            f"plan:human {identifier} -->\nOwner: @ana · Due: 2030-01-31 · Status: draft",
        )
        mark = f"<!-- plan:answer {identifier} -->\n"
        ours = (
            f"{mark}We chose this for {identifier}.\n\n- first reason\n- second reason\n\nSame end."
        )
        replace(project / "PLAN.md", f"{mark}_No answer yet._", ours)
    replace(project / "config.yaml", "seed: 7", "seed: 8")
    replace(project / "contracts/dataset.odcs.yaml", "status: draft", "status: active")
    with (project / "plan/overrides.yaml").open("a", encoding="utf-8") as file:
        file.write("EVAL-01: {value: pr_auc, reason: the team looks at the top of the list}\n")
    publish(project)
    return {identifier: human_block(project, identifier) for identifier in WRITTEN}


def test_an_update_keeps_what_people_wrote(repository: Path, tmp_path: Path) -> None:
    template = Path(shutil.copytree(repository, tmp_path / "template"))
    folder = tmp_path / "project"
    done = command("copier", "copy", "--defaults", "--quiet", str(template), str(folder))
    assert done.returncode == 0, done.stderr
    publish(folder)
    written = write_into(folder)
    kept = ["config.yaml", "contracts/dataset.odcs.yaml", "plan/overrides.yaml"]
    before = {name: (folder / name).read_bytes() for name in kept}

    # Version 2 changes a default, template-owned lines, a heading, and a file that is the team's.
    replace(template / "questions/model.yml", "'ab_effect', 0.1", "'ab_effect', 0.2")
    check_answers_anew(template)
    replace(template / "template/.gitignore", "/data/\n", "/data/\n/scratch/\n")
    replace(template / "template/PLAN.md.jinja", "# Plan of", "# The plan of")
    replace(
        template / "template/PLAN.md.jinja", "### {{ block.title }} ", "### {{ block.title }}: "
    )
    replace(template / "template/config.yaml.jinja", "folds: 5", "folds: 4")
    publish(template, tag="v2.0.0")
    done = command(
        *["copier", "update", "--defaults", "--quiet"],
        *["--data", "pos_rate=0.05", "--data", "deployment_modes=[batch]", str(folder)],
    )
    assert done.returncode == 0, done.stderr
    assert git(folder, "ls-files", "--unmerged") == "", "a conflict"

    assert {identifier: human_block(folder, identifier) for identifier in WRITTEN} == written
    assert {name: (folder / name).read_bytes() for name in kept} == before
    remembered = recorded(folder)
    assert remembered["pos_rate"] == 0.05
    assert remembered["ab_effect"] == 0.1, "an answer that was recorded stays"
    assert "latency_ms" not in remembered
    assert "/scratch/" in (folder / ".gitignore").read_text()
    plan = (folder / "PLAN.md").read_text(encoding="utf-8")
    assert plan.startswith("# The plan of") and "\nDecision by rule: PR AUC" in plan
    assert not list(folder.glob("src/*/engine/serving/rest.py"))
    assert "fastapi" not in (folder / "pyproject.toml").read_text()


def test_an_updated_project_equals_a_fresh_one(repository: Path, tmp_path: Path) -> None:
    old, new = tmp_path / "old" / "project", tmp_path / "new" / "project"
    for folder, modes in [(old, "[batch]"), (new, "[rest]")]:
        done = command(
            *["copier", "copy", "--defaults", "--quiet", "--data", f"deployment_modes={modes}"],
            *[str(repository), str(folder)],
        )
        assert done.returncode == 0, done.stderr
    publish(old)
    done = command(
        *["copier", "update", "--defaults", "--quiet", "--data", "deployment_modes=[rest]"],
        *["--vcs-ref", ":current:", str(old)],
    )
    assert done.returncode == 0, done.stderr
    ours = {name: content for name, content in tree(old).items() if not name.startswith(".git/")}
    # The settings are the team's from the first day, so they stay as they were.
    assert different(ours, tree(new)) == ["config.yaml"]
