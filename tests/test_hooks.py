"""The commit hooks of a project do what they say."""

import subprocess
from pathlib import Path

import pytest
from helpers.rendering import command, git, publish, render, tree


def test_merge_markers_are_not_committed(tmp_path: Path) -> None:
    project = render(tmp_path / "p")
    git(project, "init", "-q")
    git(project, "add", "--all")
    hook = ("pre-commit", "run", "merge-markers", "--all-files")
    clean = command(*hook, cwd=project)
    assert clean.returncode == 0, clean.stdout
    notes = project / "notes.md"
    notes.write_text("<<<<<<< before\none\n=======\ntwo\n>>>>>>> after\n")
    git(project, "add", "notes.md")
    caught = command(*hook, cwd=project)
    assert caught.returncode == 1 and "notes.md:1:" in caught.stdout


FORMATTED = {".prettierignore": {".md", ".yaml", ".yml", ".html"}, ".remarkignore": {".md"}}


@pytest.mark.parametrize("name", FORMATTED)
def test_formatters_leave_what_updates_merge(tmp_path: Path, name: str) -> None:
    """Both read their file as git reads .gitignore."""
    project = render(tmp_path / "p", plan_depth="regulated")
    git(project, "init", "-q")
    made = {path for path in tree(project) if Path(path).suffix in FORMATTED[name]}
    asked = ("-c", f"core.excludesFile={project / name}", "check-ignore", "--no-index", "--")
    assert len(made) >= 5
    assert set(git(project, *asked, *made, "notes.md").splitlines()) == made


@pytest.mark.nightly
def test_real_formatters_change_nothing(tmp_path: Path) -> None:
    project = render(tmp_path / "p", plan_depth="regulated")
    publish(project)
    for tool in (("prettier@3", "--write", "."), ("remark-cli@12", ".", "--output")):
        command = ("npx", "--yes", *tool)
        subprocess.run(command, cwd=project, check=True, capture_output=True)
        assert git(project, "status", "--porcelain") == "", tool
        (project / "notes.md").write_text("*  One\n*  Two\n")
        subprocess.run(command, cwd=project, check=True, capture_output=True)
        assert (project / "notes.md").read_text() != "*  One\n*  Two\n", "it formats the rest"
        (project / "notes.md").unlink()
