"""Cookiecutter and cruft give the same bytes as Copier, with the real commands."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.rendering import (
    ROOT,
    command,
    copy_template,
    different,
    git,
    plain_template,
    publish,
    recorded,
    render,
    tree,
)

CHOICES: dict[str, dict[str, str]] = {
    "defaults": {},
    "names": {
        "project_name": "Größe: \"fraud\" & 'returns'",
        "project_slug": "fraud-alarm",
        "package_name": "alarms",
        "problem": "Which orders are fraud | or not? 100 % of them; $5 `each`",
        "entity": "",
    },
    "rest": {"deployment_modes": "[rest]", "detail": "full", "latency_ms": "40"},
    "batch": {"deployment_modes": "[batch]", "personal_data": "no", "interpretability": "none"},
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the template as a git repository with one version, at its head."""
    folder = copy_template(tmp_path_factory.mktemp("template") / "ml-model-planner")
    publish(folder, tag="v1.0.0")
    return folder


def made_by_copier(repository: Path, parent: Path, choices: dict[str, str]) -> dict[str, bytes]:
    """Return the files that Copier makes of the commit that the other tools check out."""
    folder = parent / choices.get("project_slug", "churn-model")
    commit = git(repository, "rev-parse", "HEAD")
    return tree(render(folder, source=repository, commit=commit, **choices))


def as_tree(folder: Path) -> dict[str, bytes]:
    """Return a project's files without the file in which cruft keeps its own state."""
    return {name: content for name, content in tree(folder).items() if name != ".cruft.json"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep replay files and clones of cookiecutter out of the real home folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("choices", CHOICES.values(), ids=CHOICES)
def test_cookiecutter_and_cruft_make_the_same_project(
    repository: Path, tmp_path: Path, choices: dict[str, str]
) -> None:
    expected = made_by_copier(repository, tmp_path / "copier", choices)
    slug = choices.get("project_slug", "churn-model")

    pairs = [f"{name}={value}" for name, value in choices.items()]
    done = command(
        *["cookiecutter", "--no-input", "--output-dir", str(tmp_path / "cookiecutter")],
        *[str(repository), *pairs],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert different(as_tree(tmp_path / "cookiecutter" / slug), expected) == []

    done = command(
        *["cruft", "create", "--no-input", "--output-dir", str(tmp_path / "cruft")],
        *["--extra-context", json.dumps(choices), str(repository)],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert different(as_tree(tmp_path / "cruft" / slug), expected) == []


def test_cookiecutter_finds_a_template_by_a_relative_path(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = made_by_copier(repository, tmp_path / "copier", {})
    monkeypatch.setenv("PWD", str(repository.parent))  # as a shell does
    done = command(
        *["cookiecutter", "--no-input", "--output-dir", str(tmp_path / "out"), repository.name],
        cwd=repository.parent,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert different(as_tree(tmp_path / "out" / "churn-model"), expected) == []


def test_cookiecutter_renders_a_plain_folder(tmp_path: Path) -> None:
    out = ["--output-dir", str(tmp_path / "out")]
    done = command("cookiecutter", "--no-input", *out, str(plain_template()))
    assert done.returncode == 0, done.stdout + done.stderr
    expected = tree(render(tmp_path / "copier" / "churn-model"))
    assert different(as_tree(tmp_path / "out" / "churn-model"), expected) == []


def test_a_bad_answer_is_refused_in_one_line_and_leaves_nothing(
    repository: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    done = command(
        *["cookiecutter", "--no-input", "--output-dir", str(out), str(repository), "pos_rate=15"]
    )
    assert done.returncode != 0
    assert "pos_rate': give 0.0001 to 0.9999" in done.stdout + done.stderr
    assert list(out.iterdir()) == []


def cruft_project(repository: Path, tmp_path: Path, **choices: Any) -> Path:
    """Return a project made by cruft, committed to git."""
    context = ["--extra-context", json.dumps(choices)]
    done = command(
        *["cruft", "create", "--no-input", "--output-dir", str(tmp_path), *context],
        str(repository),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    publish(tmp_path / "churn-model")
    return tmp_path / "churn-model"


def test_cruft_checks_and_updates_what_it_made(repository: Path, tmp_path: Path) -> None:
    template = tmp_path / "template"
    git(tmp_path, "clone", "-q", str(repository), str(template))
    project = cruft_project(template, tmp_path, deployment_modes="[rest]")
    assert command("cruft", "check", "--project-dir", str(project)).returncode == 0
    assert command("cruft", "diff", "--exit-code", "--project-dir", str(project)).returncode == 0

    with (project / "config.yaml").open("a", encoding="utf-8") as file:
        file.write("# ours\n")
    publish(project)
    ignored = template / "template/.gitignore"
    ignored.write_text(ignored.read_text().replace("/data/\n", "/data/\n/scratch/\n"))
    publish(template)
    assert command("cruft", "check", "--project-dir", str(project)).returncode == 1
    done = command("cruft", "update", "--skip-apply-ask", "--project-dir", str(project))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "/scratch/" in (project / ".gitignore").read_text()
    assert (project / "config.yaml").read_text().endswith("# ours\n")
    assert command("cruft", "check", "--project-dir", str(project)).returncode == 0


def test_a_cruft_project_can_go_on_with_copier(repository: Path, tmp_path: Path) -> None:
    project = cruft_project(repository, tmp_path)
    (project / ".cruft.json").unlink()
    publish(project)
    done = command(
        *["copier", "update", "--defaults", "--quiet", "--data", "owner=Payments"],
        *["--vcs-ref", ":current:", str(project)],
    )
    assert done.returncode == 0, done.stderr
    assert recorded(project)["owner"] == "Payments"


def test_cookiecutter_json_is_what_the_questions_say() -> None:
    generator = [sys.executable, str(ROOT / "tools" / "gen_cookiecutter.py"), "--check"]
    done = subprocess.run(generator, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
