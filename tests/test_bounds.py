"""Dependencies at their lower bounds; every other test takes the newest versions there are."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from helpers.rendering import ROOT, render

UV = str(Path(sys.executable).with_name("uv"))
REQUIREMENT = re.compile(r"([a-z0-9-]+)(?:\[\w+\])?>=([\d.]+),<\d+(?: ;.*)?")


def requirements(pyproject: Path) -> list[str]:
    """Return what a project depends on, its groups included."""
    content = tomllib.loads(pyproject.read_text())
    groups = [content["project"].get("dependencies", []), *content["dependency-groups"].values()]
    return [one for group in groups for one in group if isinstance(one, str)]


def test_this_repository_tests_with_what_projects_install(tmp_path: Path) -> None:
    theirs = requirements(render(tmp_path / "project") / "pyproject.toml")
    assert set(theirs) <= set(requirements(ROOT / "pyproject.toml"))


def resolve(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run uv in a project, which then takes the lowest versions that it allows."""
    outside = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    env = {**outside, "UV_RESOLUTION": "lowest-direct"}
    done = subprocess.run(
        [UV, *arguments], cwd=project, env=env, capture_output=True, text=True, check=False
    )
    print(" ".join(arguments), done.stdout, done.stderr, sep="\n")
    return done


def test_the_lowest_versions_fit_together(tmp_path: Path) -> None:
    project = render(tmp_path / "project")
    assert resolve(project, "lock", "--quiet").returncode == 0
    lock = tomllib.loads((project / "uv.lock").read_text())
    locked: dict[str, set[str]] = {}
    for one in lock["package"]:
        locked.setdefault(one["name"], set()).add(one["version"])
    for requirement in requirements(project / "pyproject.toml"):
        name, lowest = REQUIREMENT.fullmatch(requirement).groups()
        fits = re.compile(rf"{re.escape(lowest)}(\.0)*")
        assert any(fits.fullmatch(version) for version in locked[name]), requirement


@pytest.mark.nightly
def test_a_project_works_with_the_lowest_versions_and_the_oldest_python(tmp_path: Path) -> None:
    versions = ("3.11", "3.12", "3.13")
    oldest = next(v for v in versions if resolve(tmp_path, "python", "find", v).returncode == 0)
    render(tmp_path, python_version=oldest)
    assert resolve(tmp_path, "sync", "--quiet").returncode == 0
    for command in ("mypy", "pytest", "ml run", "ml plan check"):
        assert resolve(tmp_path, "run", *command.split()).returncode == 0, command
