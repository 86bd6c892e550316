"""The commit hooks of a project do what they say."""

from pathlib import Path

from helpers.rendering import command, git, render


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
