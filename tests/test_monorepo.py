"""Two projects in one repository: hooks, workflows, owners and updates find their own."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from helpers.documents import ROOT, Reader
from helpers.rendering import copy_template, git, publish, render, tree
from helpers.shared import shared_environment

BROKEN = {  # hook: file, what is replaced in it, by what
    "merge-markers": ("README.md", "## Start", "<<<<<<< before"),
    "ruff-check": ("src/card_fraud/engine/errors.py", '"""', 'import os\n"""'),
    "ruff-format": ("src/card_fraud/engine/errors.py", "exit_code = 1", "exit_code =  1"),
    "mypy": ("src/card_fraud/engine/errors.py", "exit_code = 1", 'exit_code: int = "1"'),
    "contract": ("contracts/dataset.odcs.yaml", "logicalType:", "logicalKind:"),
    "plan": ("PLAN.md", "\nResult: NPV", "\nResult: nearly NPV"),
}


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment in which `uv run` takes this one's packages, and the project's `ml`."""
    who = {
        f"GIT_{who}_{what}": "reader"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    # mypy looks at whole projects, which takes long: it has a test of its own.
    shared = shared_environment(tmp_path_factory.mktemp("bin"))
    return {**shared, **who, "SKIP": "mypy", "TERM": "dumb", "COLUMNS": "200"}


def run(
    folder: Path, env: dict[str, str], *words: str, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run a command; its exit code must be `code`."""
    done = subprocess.run(
        words, cwd=folder, env=env, check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == code, f"{words}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, env: dict[str, str]) -> Path:
    """Return a repository as the guide makes it."""
    clone = copy_template(tmp_path_factory.mktemp("mono") / "ml-model-planner")
    publish(clone)
    reader = Reader(clone, env)
    try:
        reader.follow(ROOT / "docs/how-to/monorepo.md")
    finally:
        reader.close()
    return clone.parent / "shop"


@pytest.fixture
def clean(shop: Path) -> Iterator[Path]:
    """Return the repository, and put it back afterwards."""
    head = git(shop, "rev-parse", "HEAD")
    yield shop
    git(shop, "reset", "-q", "--hard", head)


def break_it(project: Path, hook: str) -> None:
    """Put a fault that a hook must find into a project."""
    name, old, new = BROKEN[hook]
    path = project / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize("hook", [name for name in BROKEN if name != "mypy"])
def test_a_commit_is_judged_by_the_project_of_its_files(
    clean: Path, env: dict[str, str], hook: str
) -> None:
    """The hooks are those of ml/churn, and only the fault is in ml/fraud."""
    break_it(clean / "ml/fraud", hook)
    git(clean, "add", "--all")
    done = run(clean, env, "git", "commit", "-m", "a fault", code=1)
    assert f"hook id: {hook}\n" in done.stderr
    assert "ml/churn" not in done.stderr
    if hook in ("contract", "plan"):
        assert "in the folder ml/fraud:" in done.stderr
    git(clean, "reset", "-q", "--hard")
    (clean / "ml/churn/notes.md").write_text("Ours.\n")
    (clean / "other.py").write_text("import os\n")  # of no project
    git(clean, "add", "--all")
    run(clean, env, "git", "commit", "-m", "good")


def test_types_are_checked_in_each_project(clean: Path, env: dict[str, str]) -> None:
    for name in ("churn", "fraud"):
        path = clean / f"ml/{name}/pyproject.toml"
        (errors,) = path.parent.glob("src/*/engine/errors.py")
        text = path.read_text().replace('files = ["src"]', f'files = ["{errors}"]')
        path.write_text(text)
    hook = ("pre-commit", "run", "mypy", "--all-files", "--config")
    hook += ("ml/churn/.pre-commit-config.yaml",)
    git(clean, "add", "--all")
    run(clean, {**env, "SKIP": ""}, *hook)
    break_it(clean / "ml/fraud", "mypy")
    git(clean, "add", "--all")
    done = run(clean, {**env, "SKIP": ""}, *hook, code=1)
    assert "in the folder ml/fraud:" in done.stdout and "Incompatible types" in done.stdout
    assert "ml/churn" not in done.stdout


def test_hooks_of_a_project_that_is_the_repository(tmp_path: Path, env: dict[str, str]) -> None:
    project = render(tmp_path / "p", package_name="card_fraud")
    publish(project)
    run(project, env, "pre-commit", "run", "--all-files")
    for hook in ("ruff-check", "contract", "plan"):
        break_it(project, hook)
    git(project, "add", "--all")
    done = run(project, env, "pre-commit", "run", "--all-files", code=1)
    assert done.stdout.count("in the folder .:") == 3


def test_each_workflow_is_its_own_and_runs_in_its_project(
    shop: Path, env: dict[str, str], tmp_path: Path
) -> None:
    folder = shop / ".github/workflows"
    found = [yaml.safe_load((folder / f"{name}.yml").read_text()) for name in ("churn", "fraud")]
    assert [workflow["name"] for workflow in found] == ["churn", "fraud"]
    for name, workflow in zip(("churn", "fraud"), found, strict=True):
        assert workflow["defaults"]["run"]["working-directory"] == f"ml/{name}"
        assert "github.workflow" in workflow["concurrency"]["group"], "one would stop the other"
        assert f"vars.PLAN_GATE_{name.upper()} " in workflow["jobs"]["gate"]["if"]
        run(shop, env, "actionlint", f".github/workflows/{name}.yml")
    bot = yaml.safe_load((shop / ".github/dependabot.yml").read_text())
    assert bot["updates"][0]["directories"] == ["/ml/churn", "/ml/fraud"]
    builtin = ("--builtin-schema", "vendor.dependabot")
    run(shop, env, "check-jsonschema", *builtin, ".github/dependabot.yml")

    clone, log = tmp_path / "clone", tmp_path / "log"
    git(tmp_path, "clone", "-q", str(shop), str(clone))
    (tmp_path / "setup").mkdir()
    (tmp_path / "setup/action.yml").write_text(
        "name: setup-uv\nruns: {using: composite, steps: [{run: 'true', shell: bash}]}\n"
    )
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/uv").write_text(f'#!/bin/sh\necho "${{PWD#{clone}/}} $*" >> {log}\n')
    (tmp_path / "bin/uv").chmod(0o755)
    (setup,) = set(re.findall(r"astral-sh/setup-uv@\w+", (folder / "fraud.yml").read_text()))
    act = ["act", "push", "--job", "check", "--platform", "ubuntu-latest=-self-hosted"]
    act += ["--workflows", ".github/workflows/fraud.yml"]
    act += ["--local-repository", f"{setup}={tmp_path / 'setup'}"]
    path = f"{tmp_path / 'bin'}{os.pathsep}{env['PATH']}"
    run(clone, {**env, "PATH": path}, *act)
    where, calls = zip(*(line.split(" ", 1) for line in log.read_text().splitlines()), strict=True)
    assert {Path(folder).parts[-2:] for folder in where} == {("ml", "fraud")}
    # Each of these is run in real projects by tests/test_projects.py.
    checks = ["ruff check .", "ruff format --check .", "mypy", "ml contract check", "pytest"]
    assert calls == ("sync", *(f"run {check}" for check in [*checks, "ml run", "ml plan check"]))


def test_an_update_and_a_gate_stay_in_their_project(clean: Path, env: dict[str, str]) -> None:
    before = tree(clean / "ml/fraud")
    project = clean / "ml/churn"
    run(project, env, "uv", "run", "ml", "update", "--data", "cost_fn=90")
    changed = {line.split()[-1] for line in git(clean, "status", "--porcelain").split("\n")}
    assert "ml/churn/PLAN.md" in changed
    assert all(name.startswith("ml/churn/") for name in changed)
    assert tree(clean / "ml/fraud") == before
    run(project, env, "uv", "run", "ml", "update", "--undo")
    assert git(clean, "status", "--porcelain") == ""
    words = ("uv", "run", "--directory", "ml/fraud", "ml", "plan", "check", "--json")
    said = json.loads(run(clean, env, *words).stdout)
    assert said["findings"]
    told = run(clean, env, *words[:6], "gate", "G0", code=1)
    assert "PROB-01" in told.stdout + told.stderr


def test_owners_have_paths_from_the_top_of_the_repository(clean: Path, env: dict[str, str]) -> None:
    project = clean / "ml/churn"
    path = project / "plan/progress.yaml"
    kept = yaml.safe_load(path.read_text())
    kept["roles"]["data engineer"] = ["@bob"]
    path.write_text(yaml.safe_dump(kept))
    run(project, env, "uv", "run", "ml", "plan", "sync")
    lines = (project / ".github/CODEOWNERS").read_text().splitlines()
    assert "/ml/churn/contracts/ @bob" in lines
    assert "TEAM-02" not in run(project, env, "uv", "run", "ml", "plan", "check").stderr
