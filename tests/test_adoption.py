"""Copies into folders that hold something: what is there stays as it is, in every neighbourhood."""

from pathlib import Path

import pytest
from copier.errors import ForbiddenPathError, UserMessageError
from helpers.rendering import command, copy_template, different, git, publish, render, tree
from helpers.terminal import Terminal

OWN = {
    "README.md": "# Shop\n",
    "pyproject.toml": '[project]\nname = "shop"\nversion = "3.1"\n',
    ".gitignore": "*.log\n",
    ".github/workflows/ci.yml": "on: push\n",
    "src/shop/__init__.py": "",
    "tests/test_price.py": "def test_price():\n    assert True\n",
    "notes/plan.md": "Our plan.\n",
}
QUESTIONS = [
    *("How much do you want", "What is the project called"),
    *(
        "Which problem",
        "Which column does the model",
        "whom a row is about",
        "when a row was known",
    ),
    *("Which share of rows", "one false alarm", "one missed case", "How are predictions delivered"),
]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the template as a git repository, in a folder whose name is hard to quote."""
    folder = tmp_path_factory.mktemp("template") / "a b ü%20#1 'q"
    publish(copy_template(folder), tag="v1.0.0")
    return folder


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Return a repository with code, README, settings and links of its own, all committed."""
    folder = tmp_path / "shop"
    for name, text in OWN.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "PLAN.md").symlink_to("notes/plan.md")
    (folder / "docs").symlink_to("notes")
    publish(folder)
    return folder


def changed(folder: Path) -> str:
    """Return what git says of the files that it knows."""
    return git(folder, "status", "--porcelain", "--untracked-files=no")


def test_a_copy_changes_no_file_that_is_there(repository: Path, shop: Path) -> None:
    done = command("copier", "copy", "--defaults", str(repository), str(shop))
    assert done.returncode == 0, done.stderr
    assert changed(shop) == ""
    assert done.stderr.count("skip") == 5, "README, pyproject, .gitignore, ci.yml, PLAN"
    assert (shop / "src/churn_model/cli.py").exists()
    assert (shop / "notes/runbook.md").exists(), "through the link"


def test_a_person_at_a_terminal_is_asked_for_answers_only(repository: Path, shop: Path) -> None:
    terminal = Terminal("copier", "copy", "--data", "preset=churn", str(repository), str(shop))
    terminal.answer(dict.fromkeys(QUESTIONS, "\r"))
    code, shown = terminal.end()
    assert code == 0 and "Overwrite" not in shown
    assert changed(shop) == ""
    assert (shop / "src/customer_churn/cli.py").exists()


def replace(path: Path, old: str, new: str) -> None:
    """Edit a file as a person would: `old` must be there."""
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path.name} has no {old!r}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_updates_after_adoption(repository: Path, shop: Path, tmp_path: Path) -> None:
    template = tmp_path / "template"
    git(tmp_path, "clone", "-q", str(repository), str(template))
    other = shop / ".copier-answers.yml"  # the shop follows another template already
    other.write_text("_src_path: elsewhere\nproject_name: Shop\n")
    publish(shop)
    copy = ["copier", "copy", "--defaults", "--quiet", str(template), str(shop)]
    refused = command(*copy)
    assert refused.returncode != 0
    assert ".copier-answers.yml is there: use" in refused.stderr.strip()
    assert "\n" not in refused.stderr.strip()
    assert git(shop, "status", "--porcelain") == ""

    ours = ["--answers-file", ".copier-answers.ml.yml"]
    done = command(*copy, *ours)
    assert done.returncode == 0, done.stderr
    assert changed(shop) == ""
    publish(shop)
    done = command("copier", "recopy", "--defaults", "--quiet", "--overwrite", *ours, str(shop))
    assert done.returncode == 0, done.stderr
    assert "notes/plan.md" not in changed(shop), "the link was replaced, not what it leads to"
    (shop / "README.md").write_text("# Shop\n\n" + (shop / "README.md").read_text())
    git(shop, "checkout", "HEAD", "--", "pyproject.toml", "PLAN.md", ".github")
    publish(shop)

    replace(template / "template/README.md.jinja", "## Start", "## Begin")
    replace(template / "template/pyproject.toml.jinja", '"typer>=0.20', '"typer>=0.21')
    publish(template, tag="v2.0.0")
    done = command("copier", "update", "--defaults", "--quiet", *ours, str(shop))
    assert done.returncode == 0, done.stderr
    readme = (shop / "README.md").read_text()
    assert readme.startswith("# Shop\n\n# Churn model") and "## Begin" in readme, "merged"
    assert git(shop, "diff", "--name-only", "--diff-filter=U") == "pyproject.toml"
    kept = (shop / "pyproject.toml").read_text()
    assert 'name = "shop"' in kept and '"typer>=0.21' in kept, "both, with marks"
    assert other.read_text().startswith("_src_path: elsewhere")


def test_a_project_is_not_copied_over(tmp_path: Path) -> None:
    project = render(tmp_path / "project")
    before = tree(project)
    with pytest.raises(UserMessageError, match=r"\.copier-answers\.yml is there: use `copier upd"):
        render(project, pos_rate=0.3)
    assert different(tree(project), before) == []


def test_a_project_in_a_folder_of_a_repository(
    repository: Path, shop: Path, tmp_path: Path
) -> None:
    template = tmp_path / "template"
    git(tmp_path, "clone", "-q", str(repository), str(template))
    project = shop / "models" / "churn"
    done = command("copier", "copy", "--defaults", "--quiet", str(template), str(project))
    assert done.returncode == 0, done.stderr
    replace(project / "README.md", "## Update", "Ours.\n\n## Update")
    publish(shop)
    replace(template / "template/README.md.jinja", "## Start", "## Begin")
    publish(template, tag="v2.0.0")
    done = command("copier", "update", "--defaults", "--quiet", str(project))
    assert done.returncode == 0, done.stderr
    readme = (project / "README.md").read_text()
    assert "## Begin" in readme and "Ours." in readme
    now = git(shop, "status", "--porcelain").split("\n")
    assert {line.split()[-1] for line in now} == {
        *("models/churn/.copier-answers.yml", "models/churn/README.md")
    }


@pytest.mark.parametrize("case", ["file for a folder", "folder for a file", "loop", "way out"])
def test_what_stops_a_copy_harms_nothing(shop: Path, tmp_path: Path, case: str) -> None:
    if case == "file for a folder":
        (shop / "plan").write_text("ours")
    elif case == "folder for a file":
        (shop / "config.yaml").mkdir()
        (shop / "config.yaml/ours").write_text("ours")
    elif case == "loop":
        (shop / "contracts").symlink_to("loop")
        (shop / "loop").symlink_to("contracts")
    else:
        (tmp_path / "outside").mkdir()
        (shop / "deploy").symlink_to(tmp_path / "outside")
    publish(shop)
    with pytest.raises((OSError, ForbiddenPathError, AssertionError)):
        render(shop)
    assert changed(shop) == ""
    if case == "way out":
        assert list((tmp_path / "outside").iterdir()) == []


def test_a_file_is_no_folder_for_a_project(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("ours")
    with pytest.raises(NotADirectoryError):
        render(tmp_path / "notes.txt")
    assert tree(tmp_path) == {"notes.txt": b"ours"}
