"""A version is tagged once, with its notes; projects of every earlier state update to this one."""

import os
import re
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from copier import run_copy, run_update
from helpers import package  # noqa: F401  (makes `package_name` importable)
from helpers.rendering import (
    ROOT,
    copy_template,
    different,
    fast_copier,
    git,
    publish,
    recorded,
    render,
    tree,
)

from package_name.planner import update
from package_name.planner.blocks import parse, rewrite
from package_name.planner.carry import earlier

CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
STATES = dict(
    reversed(line.split()[:2])
    for line in (ROOT / "tests/reference/releases.txt").read_text().splitlines()
    if not line.startswith("#")
)
ANSWERS: dict[str, dict[str, Any]] = {
    "default": {},
    "batch": {"deployment_modes": ["batch"], "time_column": "", "entity": "", "pos_rate": 0.03},
    "regulated": {"preset": "credit", "plan_depth": "regulated", "package_name": "churn_model"},
}


# ---------------------------------------------------------------- the version and its tag


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a clone with the files of a release, whose origin is a repository beside it."""
    git(tmp_path, "init", "-q", "--bare", "origin")
    git(tmp_path, "clone", "-q", "origin", "clone")
    folder = tmp_path / "clone"
    for name in ("pyproject.toml", "CHANGELOG.md"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    publish(folder)
    git(folder, "push", "-q", "origin", "HEAD:main")
    return folder


def release(clone: Path, version: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run what the workflow runs on the default branch, after a commit with this version."""
    if version:
        path = clone / "pyproject.toml"
        path.write_text(re.sub(r'(?m)^version = ".*"', f'version = "{version}"', path.read_text()))
        publish(clone)
        git(clone, "push", "-q", "origin", "HEAD:main")
    tool = [sys.executable, str(ROOT / "tools/release.py")]
    return subprocess.run(tool, cwd=clone, capture_output=True, text=True, check=False)


def test_a_new_version_is_tagged_once_with_its_notes(clone: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert CHANGELOG.index(f"\n## {version}\n") == CHANGELOG.index("\n## "), "not the newest entry"
    done = release(clone)
    assert (done.returncode, done.stdout) == (0, f"v{version} is released\n"), done.stderr
    origin = clone.parent / "origin"
    assert git(origin, "rev-parse", f"v{version}^{{}}") == git(clone, "rev-parse", "HEAD")
    notes = CHANGELOG.split(f"\n## {version}\n")[1].split("\n## ")[0].strip()
    assert git(origin, "tag", "--list", "--format=%(contents:body)") == notes
    tags = git(origin, "show-ref", "--tags")
    publish(clone)
    done = release(clone)
    assert (done.returncode, done.stdout) == (0, f"v{version} is tagged already\n")
    assert git(origin, "show-ref", "--tags") == tags


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("99.0.0", "CHANGELOG.md says nothing of 99.0.0"),
        ("0.0.1", "0.0.1 is older than the newest tag, v0.1.0"),
        ("1.0rc1", "1.0rc1 is no version"),
    ],
)
def test_a_version_that_cannot_be_released_is_refused(
    clone: Path, version: str, message: str
) -> None:
    git(clone, "tag", "v0.1.0")
    git(clone, "push", "-q", "origin", "v0.1.0")
    with (clone / "CHANGELOG.md").open("a") as file:
        file.write("\n## 0.0.1\n\n- Old.\n")
    done = release(clone, version)
    assert done.returncode != 0 and message in done.stderr and "Traceback" not in done.stderr
    assert git(clone.parent / "origin", "tag", "--list") == "v0.1.0"


def test_a_push_that_is_refused_is_told_and_tried_again(clone: Path) -> None:
    hook = clone.parent / "origin/hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    assert release(clone).returncode != 0
    hook.unlink()
    assert "is released" in release(clone).stdout


# ---------------------------------------------------------------- projects of earlier states


def here(commit: str) -> bool:
    """Whether a commit is in this clone; only a shallow one may lack it."""
    found = subprocess.run(["git", "cat-file", "-e", commit], cwd=ROOT, check=False).returncode == 0
    assert found or git(ROOT, "rev-parse", "--is-shallow-repository") == "true", commit
    return found


def test_every_version_but_the_newest_is_listed_with_its_commit() -> None:
    told = re.findall(r"^## (\S+)$", CHANGELOG, re.MULTILINE)
    listed = {version: commit for commit, version in STATES.items() if version != "untagged"}
    assert list(listed) == told[:0:-1]
    for version, commit in listed.items():
        if here(commit):
            there = tomllib.loads(git(ROOT, "show", f"{commit}:pyproject.toml"))
            assert there["project"]["version"] == version


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clone of this repository whose newest version is the working tree."""
    folder = tmp_path_factory.mktemp("history") / "ml-model-planner"
    git(ROOT, "clone", "-q", str(ROOT), str(folder))
    git(folder, "rm", "-r", "-q", ".")
    copy_template(folder)
    publish(folder, tag="v999.0.0")
    return folder


def wrote(id: str) -> list[str]:
    return [f"What {id} means to us.", "", "We agreed."]


def write_into(project: Path) -> list[str]:
    """Edit a project as its team would; return the names of what was edited."""
    plan = project / "PLAN.md"
    text = plan.read_text(encoding="utf-8")
    if earlier(text):
        text = re.sub(
            r"<!-- plan:human (\S+) status=todo owner=none due=none -->\n.*\n",
            lambda found: (
                f"<!-- plan:human {found[1]} status=draft owner=@ana due=2030-01-31 -->\n"
                + "".join(f"{line}\n" for line in wrote(found[1]))
            ),
            text,
        )
    for kind, identifier in [] if earlier(text) else parse(text):
        if kind == "human":
            part = parse(text)[kind, identifier]
            part.attributes |= {"status": "draft", "owner": "@ana", "due": "2030-01-31"}
            text = rewrite(text, part, wrote(identifier))
    plan.write_text(text, encoding="utf-8")
    with (project / "plan/overrides.yaml").open("a") as file:
        file.write("EVAL-07: {value: sigmoid, reason: few positives to calibrate on}\n")
    for name, old, new in [
        ("config.yaml", "seed: 7", "seed: 8"),
        ("contracts/dataset.odcs.yaml", "status: draft", "status: active"),
    ]:
        (project / name).write_text((project / name).read_text().replace(old, new))
    (project / "docs/ours.md").write_text("# Ours\n")
    publish(project)
    edited = git(project, "diff", "--name-only", "HEAD~").split()
    assert len(edited) == 5
    return edited


def blocks(project: Path) -> dict[tuple[str, str], list[str]]:
    """Return the lines of each part of the plan."""
    return {key: part.lines for key, part in parse((project / "PLAN.md").read_text()).items()}


def asked(project: Path) -> set[str]:
    """Return the ids of the blocks in which people write, in whatever form."""
    return {*re.findall(r"<!-- plan:human (\S+)", (project / "PLAN.md").read_text())}


def ml(project: Path, *arguments: str) -> None:
    """Run the project's command with the libraries of this environment; it must succeed."""
    command = [sys.executable, "-m", "churn_model", *arguments]
    env = {**os.environ, "PYTHONPATH": "src"}
    done = subprocess.run(
        command, cwd=project, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("answers", ANSWERS)
@pytest.mark.parametrize("commit", STATES)
def test_a_project_of_an_earlier_state_updates(
    history: Path, tmp_path: Path, commit: str, answers: str
) -> None:
    if not here(commit):
        pytest.skip(f"SHALLOW CLONE: {commit} is missing; updates from it were NOT TESTED")
    project = tmp_path / "project"
    with fast_copier(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_copy(str(history), project, ANSWERS[answers], defaults=True, quiet=True, vcs_ref=commit)
        publish(project)
        old, first = recorded(project), asked(project)
        edited = write_into(project)
        before = tree(project)
        run_update(project, defaults=True, overwrite=True, quiet=True)
    now = recorded(project)
    lost = [name for name in old if now.get(name) != old[name]]
    assert [name for name in lost if f"`{name}`" not in CHANGELOG] == []

    # Plans before 0.1.0 have another form: the template's is taken, and the words carried over.
    fresh = render(tmp_path / "fresh", source=history, **now)
    planned = blocks(fresh)
    assert git(project, "diff", "--name-only", "--diff-filter=U") == "PLAN.md"
    git(project, "checkout", "--theirs", "PLAN.md")
    ml(project, "plan", "carry")
    (project / ".ml.lock").unlink()
    kept = blocks(project)
    assert kept.keys() == planned.keys()
    for (kind, id), lines in kept.items():
        written = kind == "human" and id in first
        assert lines == (wrote(id) if written else planned[kind, id]), id
    assert "means to us" not in (project / "PLAN.md").read_text().split("## Notes of the team")[1]
    after = tree(project)
    assert [name for name in edited if name != "PLAN.md" and after[name] != before[name]] == []
    ours = {name: content for name, content in after.items() if not name.startswith(".git/")}
    assert different(ours, tree(fresh)) == sorted(edited)

    # What the team owns is as old as the project: the new code has to understand it.
    ml(project, "contract", "check")
    every = commit == next(iter(STATES)) and answers == "default"
    ml(project, *(["run"] if every else ["plan", "sync"]))
    ml(project, "plan", "check")


def test_ml_update_carries_a_plan_of_the_earlier_form_once(history: Path, tmp_path: Path) -> None:
    commit = "5d4c24d"  # the last with that form
    if not here(commit):
        pytest.skip(f"SHALLOW CLONE: {commit} is missing; updates from it were NOT TESTED")
    project = tmp_path / "project"
    with fast_copier(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_copy(str(history), project, {}, defaults=True, quiet=True, vcs_ref=commit)
    publish(project)
    first = asked(project)
    write_into(project)
    done = update.run(project, [], "v999.0.0", dry_run=False)
    assert done.conflicts == [] and "PLAN.md" in done.changed
    parts = parse((project / "PLAN.md").read_text(encoding="utf-8"))
    for id in first:
        part = parts["human", id]
        assert part.lines == wrote(id)
        assert part.attributes == {"owner": "@ana", "due": "2030-01-31", "status": "draft"}
    publish(project)
    assert update.run(project, [], "v999.0.0", dry_run=False).changed == []


def test_the_weekly_job_tells_of_a_newer_template(history: Path, tmp_path: Path) -> None:
    project, summary = tmp_path / "project", tmp_path / "summary.md"
    git(history, "tag", "--force", "v998.0.0", "HEAD~")
    render(project, source=history, commit="v998.0.0")
    jobs = yaml.safe_load((project / ".github/workflows/ci.yml").read_text())["jobs"]
    (step,) = (s for s in jobs["weekly"]["steps"] if "check-update" in s.get("run", ""))
    assert step["continue-on-error"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "GITHUB_STEP_SUMMARY": str(summary)}
    subprocess.run(["bash", "-e", "-c", step["run"]], cwd=project, env=env, check=True)
    assert "latest version is 999.0.0" in summary.read_text()
