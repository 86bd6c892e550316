"""Real formatters run over a filled plan, and `ml plan check` finds it as it was."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers import package  # noqa: F401  (makes `package_name` importable)
from helpers.rendering import render
from test_plan_tool import REPORTS, write

from package_name.engine.settings import Project
from package_name.planner import check, signing, sync
from package_name.planner.blocks import read, rewrite, survey

FORMATTERS = {
    "prettier": ("npx", "--yes", "prettier", "--write"),
    "prettier, prose wrapped": ("npx", "--yes", "prettier", "--prose-wrap", "always", "--write"),
    "markdownlint": ("npx", "--yes", "markdownlint-cli2", "--fix"),
    "mdformat": ("uvx", "--with", "mdformat-gfm", "mdformat"),
    "mdformat, prose wrapped": ("uvx", "--with", "mdformat-gfm", "mdformat", "--wrap", "80"),
}
ANSWER = "We agreed:\n\n- first a_b\n- second *reason*\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n1. one"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project after a run in which people answered and signed, without ignore files."""
    project = Project(
        render(tmp_path_factory.mktemp("formatted") / "project", plan_depth="standard")
    )
    for name, report in REPORTS.items():
        write(project, name, report)
    text = read(project.path("PLAN.md"))
    ids = [identifier for kind, identifier in survey(text)[0] if kind == "human"]
    for identifier in ids:
        part = survey(text)[0]["human", identifier]
        part.attributes |= {"owner": "Ana Maria Somebody", "due": "2999-01-31", "status": "review"}
        text = rewrite(text, part, ANSWER.split("\n"))
    project.path("PLAN.md").write_text(text, encoding="utf-8")
    for identifier in ids[::2]:
        signing.approve(project, identifier, "@eva", None)
    sync.run(project)
    for name in (".prettierignore", ".markdownlintignore", ".markdownlint-cli2.jsonc"):
        project.path(name).unlink(missing_ok=True)
    return project.root


@pytest.mark.nightly
@pytest.mark.parametrize("name", FORMATTERS)
def test_a_formatter_changes_nothing_that_the_plan_says(
    filled: Path, tmp_path: Path, name: str
) -> None:
    command = FORMATTERS[name]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} IS MISSING: {name} was NOT RUN over a plan")
    project = Project(shutil.copytree(filled, tmp_path / "project"))
    before, known = read(project.path("PLAN.md")), check.check(project)
    env = {**os.environ, "npm_config_update_notifier": "false"}
    done = subprocess.run(
        [*command, "PLAN.md"],
        cwd=project.root,
        capture_output=True,
        text=True,
        env=env,
        check=False,
        timeout=300,
    )
    after = read(project.path("PLAN.md"))
    assert after != before, f"{name} did nothing\n{done.stdout}\n{done.stderr}"
    assert check.check(project) == known
    assert sync.run(project) == []
