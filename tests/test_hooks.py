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


SECRETS = {
    "a private key": "-----BEGIN OPENSSH " + "PRIVATE KEY-----",
    "a key of a cloud": "AKIA" + "ABCDEFGHIJKLMNOP",
    "a token of a forge": "token: ghp_" + "a1" * 18,
    "an address with a password": "postgresql://ml:" + "hunter22@db.example.org/shop",
    "a password": 'password = "' + 'correct4horse"',
    "a token for a service": "eyJ" + "hbGciOiJIUzI1" + ".eyJ" + "zdWIiOiIxMjM0" + ".c2lnbmF0",
}


def test_secrets_are_not_committed(tmp_path: Path) -> None:
    project = render(tmp_path / "p", plan_depth="standard")
    git(project, "init", "-q")
    fine = 'password = os.environ["ML_DB_PASSWORD"]\nurl: https://user@example.org\n'
    (project / "fine.txt").write_text(fine)
    git(project, "add", "--all")
    hook = ("pre-commit", "run", "secrets", "--all-files")
    clean = command(*hook, cwd=project)
    assert clean.returncode == 0, clean.stdout
    for number, text in enumerate(SECRETS.values()):
        (project / f"leak{number}.txt").write_text(f"before\n{text}\n")
    git(project, "add", "--all")
    caught = command(*hook, cwd=project)
    missed = [name for n, name in enumerate(SECRETS) if f"leak{n}.txt:2:" not in caught.stdout]
    assert caught.returncode == 1 and not missed


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
