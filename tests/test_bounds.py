"""Dependencies at their lower bounds; every other test takes the newest versions there are."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from helpers.rendering import ROOT, render

UV = str(Path(sys.executable).with_name("uv"))
REQUIREMENT = re.compile(r"([a-z0-9-]+)(?:\[\w+\])?>=([\d.]+),<\d+")


def requirements(pyproject: Path) -> list[str]:
    """Return what a project depends on, its groups included."""
    content = tomllib.loads(pyproject.read_text())
    groups = [content["project"].get("dependencies", []), *content["dependency-groups"].values()]
    return [one for group in groups for one in group if isinstance(one, str)]


def test_this_repository_tests_with_what_projects_install(tmp_path: Path) -> None:
    theirs = requirements(render(tmp_path / "project") / "pyproject.toml")
    assert set(theirs) <= set(requirements(ROOT / "pyproject.toml"))


def test_a_project_works_with_the_lowest_versions_and_the_oldest_python(tmp_path: Path) -> None:
    outside = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    env = {**outside, "UV_RESOLUTION": "lowest-direct"}

    def uv(*arguments: str) -> int:
        command = [UV, *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        print(" ".join(arguments), done.stdout, done.stderr, sep="\n")
        return done.returncode

    versions = ("3.11", "3.12", "3.13")
    oldest = next(version for version in versions if uv("python", "find", version) == 0)
    render(tmp_path, python_version=oldest)
    assert uv("sync", "--quiet") == 0
    lock = tomllib.loads((tmp_path / "uv.lock").read_text())
    locked = {one["name"]: one["version"] for one in lock["package"]}
    for requirement in requirements(tmp_path / "pyproject.toml"):
        name, lowest = REQUIREMENT.fullmatch(requirement).groups()
        assert re.fullmatch(rf"{re.escape(lowest)}(\.0)*", locked[name]), requirement
    for command in ("mypy", "pytest", "ml run", "ml plan check"):
        assert uv("run", *command.split()) == 0, command
