"""A project for a file of tests, copied for each, and edits of its PLAN.md as people make them."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from . import package  # noqa: F401  (makes `package_name` importable)
from .rendering import publish, render

from package_name.engine.settings import Project  # isort: skip
from package_name.planner.blocks import PLACEHOLDER  # isort: skip


def projects(tag: str = "", **answers: Any) -> tuple[Any, Any]:
    """Return two fixtures: the project rendered once, in git with a tag, and a copy for a test.

    A file of tests names them `rendered` and `project`.
    """

    @pytest.fixture(scope="module")
    def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = render(tmp_path_factory.mktemp("filled") / "project", **answers)
        if tag:
            publish(folder, tag)
        return folder

    @pytest.fixture
    def project(rendered: Path, tmp_path: Path) -> Project:
        return Project(shutil.copytree(rendered, tmp_path / "project"))

    return rendered, project


def edit(project: Project, old: str, new: str) -> None:
    """Replace a text that stands once in PLAN.md."""
    path = project.path("PLAN.md")
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in PLAN.md"
    path.write_text(text.replace(old, new), encoding="utf-8")


def answer(project: Project, identifier: str, text: str) -> None:
    """Write an answer where none is."""
    mark = f"<!-- plan:answer {identifier} -->\n"
    edit(project, f"{mark}{PLACEHOLDER}\n", f"{mark}{text}\n")
