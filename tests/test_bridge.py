"""Cookiecutter and cruft give the same bytes as Copier, with the real commands."""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.answers import answers
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
from hypothesis import HealthCheck, Phase, assume, given, settings

CHOICES: dict[str, dict[str, str]] = {
    "defaults": {},
    "names": {
        "preset": "credit",
        "project_name": "Größe 🚀: \"fraud\" & 'returns'",
        "package_name": "alarms",
        "problem": "Which orders are fraud | or not? 100 % of them; $5 `each`",
        "detail": "full",
        "entity": "",
    },
    "rest": {"preset": "fraud", "detail": "full", "latency_ms": "40"},
    "batch": {"preset": "churn", "personal_data": "no", "interpretability": "none"},
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the template as a git repository with one version, at its head."""
    folder = copy_template(tmp_path_factory.mktemp("template") / "ml-model-planner")
    publish(folder, tag="v1.0.0")
    return folder


def made_by_copier(repository: Path, parent: Path, choices: dict[str, str]) -> dict[str, bytes]:
    """Return the files that Copier makes of the commit that the other tools check out."""
    commit = git(repository, "rev-parse", "HEAD")
    return tree(render(parent / "project", source=repository, commit=commit, **choices))


def as_tree(folder: Path) -> dict[str, bytes]:
    """Return a project's files without git's and the one in which cruft keeps its own state."""
    kept = {name: content for name, content in tree(folder).items() if name != ".cruft.json"}
    return {name: content for name, content in kept.items() if not name.startswith(".git/")}


def made(tool: list[str], out: Path, *rest: str) -> Path:
    """Run a tool that makes a project in a folder, and return the project."""
    done = command(*tool, "--no-input", "--output-dir", str(out), *rest)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = out.iterdir()
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep replay files and clones of cookiecutter out of the real home folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


# The defaults are made by other tests of this file, by both tools.
DAILY = ("names", "batch")
BY_NIGHT = [
    pytest.param(choices, id=name, marks=() if name in DAILY else pytest.mark.nightly)
    for name, choices in CHOICES.items()
]


@pytest.mark.parametrize("choices", BY_NIGHT)
def test_cookiecutter_and_cruft_make_the_same_project(
    repository: Path, tmp_path: Path, choices: dict[str, str]
) -> None:
    expected = made_by_copier(repository, tmp_path / "copier", choices)
    pairs = [f"{name}={value}" for name, value in choices.items()]
    project = made(["cookiecutter"], tmp_path / "cookiecutter", str(repository), *pairs)
    assert different(as_tree(project), expected) == []
    context = ["--extra-context", json.dumps(choices), str(repository)]
    project = made(["cruft", "create"], tmp_path / "cruft", *context)
    assert different(as_tree(project), expected) == []


@given(answers())
@settings(
    max_examples=2,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_cookiecutter_takes_any_answers(repository: Path, chosen: dict[str, Any]) -> None:
    # What it cannot take: it renders braces itself, and "auto" is its word for our default.
    texts = {name: as_text(value) for name, value in chosen.items()}
    assume(not any("{" in text or text == "auto" for text in texts.values()))
    with tempfile.TemporaryDirectory() as folder:
        expected = made_by_copier(repository, Path(folder, "copier"), texts)
        pairs = [f"{name}={text}" for name, text in texts.items()]
        project = made(["cookiecutter"], Path(folder, "out"), str(repository), *pairs)
        assert different(as_tree(project), expected) == []


def as_text(value: Any) -> str:
    """Return an answer as a person types it."""
    if isinstance(value, list):
        return f"[{', '.join(value)}]"
    if isinstance(value, float):
        return f"{value:.12f}"  # 90.125 could be 90125
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def test_a_file_that_was_there_is_kept(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "churn-model"
    folder.mkdir()
    (folder / "README.md").write_text("ours\n")
    again = ["--no-input", "--overwrite-if-exists", "--output-dir", str(tmp_path), str(repository)]
    done = command("cookiecutter", *again)
    assert done.returncode == 0, done.stderr
    assert "kept as it was: README.md" in done.stdout
    assert (folder / "README.md").read_text() == "ours\n"
    assert (folder / "PLAN.md").exists()
    before = tree(folder)
    done = command("cookiecutter", *again, "pos_rate=0.3")
    assert done.returncode != 0 and "This is a project already" in done.stderr
    assert tree(folder) == before


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


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("pos_rate=15", "\npos_rate: give 0.0001 to 0.9999, such as 0.15\n"),
        ("project_slug=../../up", "\nproject_slug: a-z, 0-9 and single dashes"),
        (
            "deployment_modes=rest",
            "\ndeployment_modes: give a list, such as [rest, grpc, batch, edge, streaming]\n",
        ),
        ("preset=vision", "vision"),
    ],
)
def test_a_bad_answer_is_refused_and_leaves_nothing(
    repository: Path, tmp_path: Path, answer: str, message: str
) -> None:
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    done = command(
        *["cookiecutter", "--no-input", "--output-dir", str(out), str(repository), answer]
    )
    assert done.returncode != 0
    assert message in done.stdout + done.stderr
    assert tree(tmp_path / "deep") == {"out/": b""}


def cruft_project(repository: Path, tmp_path: Path, **choices: Any) -> Path:
    """Return a project made by cruft, not yet in git."""
    context = ["--extra-context", json.dumps(choices)]
    return made(["cruft", "create"], tmp_path / "cruft", *context, str(repository))


def replace(path: Path, old: str, new: str) -> None:
    """Edit a file as a person would: `old` must be there."""
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path.name} has no {old!r}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def cruft(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run cruft in a project."""
    return command("cruft", *arguments, "--project-dir", str(project))


ANSWER = "<!-- plan:answer PROB-01 -->"
WRITTEN = "We lose 4 % of them a month."


@pytest.mark.parametrize(
    "known",
    [
        pytest.param(True, id="in git before the edit"),
        pytest.param(False, id="edited before git", marks=pytest.mark.nightly),
    ],
)
def test_cruft_updates_and_marks_conflicts(repository: Path, tmp_path: Path, known: bool) -> None:
    template = tmp_path / "template"
    git(tmp_path, "clone", "-q", str(repository), str(template))
    project = cruft_project(template, tmp_path)
    if known:
        publish(project)
    replace(project / "README.md", "# Churn model", "# Our churn")
    replace(project / "PLAN.md", f"{ANSWER}\n_No answer yet._", f"{ANSWER}\n{WRITTEN}")
    publish(project)
    assert cruft(project, "check").returncode == 0
    shown = cruft(project, "diff", "--exit-code")
    assert shown.returncode == 1
    changed = [line for line in shown.stdout.splitlines() if re.match(r"[-+](?![-+])", line)]
    assert len(changed) == 4, "the two lines that were edited, and nothing else"

    replace(template / "template/.gitignore", "/data/\n", "/data/\n/scratch/\n")
    replace(template / "template/PLAN.md.jinja", "# Plan of", "# The plan of")
    replace(template / "template/README.md.jinja", "# {{ text(", "# Model: {{ text(")
    replace(template / "template/config.yaml.jinja", "folds: 5", "folds: 4")
    publish(template)
    assert cruft(project, "check").returncode == 1
    done = cruft(project, "update", "--skip-apply-ask")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "/scratch/" in (project / ".gitignore").read_text()
    plan = (project / "PLAN.md").read_text()
    assert plan.startswith("# The plan of") and WRITTEN in plan
    assert "folds: 5" in (project / "config.yaml").read_text(), "the team's file"
    readme = (project / "README.md").read_text()
    assert "# Our churn" in readme
    if known:
        assert git(project, "diff", "--name-only", "--diff-filter=U") == "README.md"
        assert "# Model: Churn model" in readme and "<<<<<<< ours" in readme
    else:
        assert "+# Model: Churn model" in (project / "README.md.rej").read_text()


@pytest.mark.parametrize("edited", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_cruft_loses_nothing_when_the_template_moves_files(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edited: bool
) -> None:
    """As the guide tells: one moves to the name of a file of the team, and an edited one moves."""
    guide = (ROOT / "docs/how-to/cookiecutter-and-cruft.md").read_text()
    (given,) = re.findall(r"^export (GIT_CONFIG_COUNT=.*)$", guide, re.MULTILINE)
    template = tmp_path / "template"
    git(tmp_path, "clone", "-q", str(repository), str(template))
    project = cruft_project(template, tmp_path)
    publish(project)
    old, new = "src/churn_model/engine/bench.py", "src/churn_model/engine/model/speed.py"
    replace(project / "PLAN.md", f"{ANSWER}\n_No answer yet._", f"{ANSWER}\n{WRITTEN}")
    replace(project / "README.md", "# Churn model", "# Our churn")
    (project / "docs/handbook.md").write_text("Ours.\n")
    if edited:
        replace(project / old, '"""', '"""Ours. ')
    publish(project)
    source = template / "template/src/{{ package_name }}"
    git(source, "mv", "engine/bench.py", "engine/model/speed.py")
    git(template / "template/docs", "mv", "runbook.md.jinja", "handbook.md.jinja")
    replace(template / "template/README.md.jinja", "# {{ text(", "# Model: {{ text(")
    publish(template)

    for name, value in (pair.split("=") for pair in given.split()):
        monkeypatch.setenv(name, value)
    done = cruft(project, "update", "--skip-apply-ask")
    assert done.returncode == 0, done.stdout + done.stderr
    assert WRITTEN in (project / "PLAN.md").read_text()
    assert "# Our churn" in (project / "README.md").read_text()
    handbook = (project / "docs/handbook.md").read_text()
    assert "Ours.\n" in handbook and (project / new).exists()
    if not edited:
        assert "<<<<<<< ours" in handbook and "First help" in handbook
        assert not (project / old).exists()
        return
    assert handbook == "Ours.\n" and '"""Ours. ' in (project / old).read_text()
    assert f"error: {old}: patch does not apply" in done.stderr
    assert "error: docs/handbook.md: already exists in working directory" in done.stderr
    assert "+# Model: Churn model" in (project / "README.md.rej").read_text()
    shown = cruft(project, "diff").stdout
    assert "First help" in shown and new not in shown


def test_cruft_changes_an_answer(repository: Path, tmp_path: Path) -> None:
    project = cruft_project(repository, tmp_path)
    publish(project)
    edited = "src/churn_model/engine/serving/rest.py"
    replace(project / edited, "import asyncio", "import asyncio  # ours")
    publish(project)
    batch = json.dumps({"deployment_modes": "[batch]", "pos_rate": "5 %", "entity": "none"})
    done = cruft(project, "update", "--skip-apply-ask", "--variables-to-update", batch)
    assert done.returncode == 0, done.stdout + done.stderr
    choices = {"deployment_modes": "[batch]", "pos_rate": "0.05", "entity": ""}
    expected = made_by_copier(repository, tmp_path / "copier", choices)
    assert f"{edited}: patch does not apply" in done.stderr
    assert "# ours" in (project / edited).read_text()
    team = ["config.yaml", "contracts/dataset.odcs.yaml"]
    assert different(as_tree(project), expected) == [*team, edited]


def test_from_cruft_to_copier_and_back(repository: Path, tmp_path: Path) -> None:
    project = cruft_project(repository, tmp_path)
    (project / ".cruft.json").unlink()
    publish(project)
    done = command(
        *["copier", "update", "--defaults", "--data", "pos_rate=5 %", "--data", "cost_fn=90,1250"],
        *["--vcs-ref", ":current:", str(project)],
    )
    assert done.returncode == 0, done.stderr
    assert (recorded(project)["pos_rate"], recorded(project)["cost_fn"]) == (0.05, 90.125)
    context = json.dumps({name: as_text(value) for name, value in recorded(project).items()})
    done = cruft(project, "link", "-y", "--extra-context", context, str(repository))
    assert done.returncode == 0, done.stderr
    assert cruft(project, "check").returncode == 0
    shown = cruft(project, "diff", "--exit-code")
    assert shown.returncode == 0, shown.stdout


def test_cruft_leaves_the_files_of_the_team_alone(tmp_path: Path) -> None:
    settings = yaml.safe_load((ROOT / "copier.yml").read_text().split("\n---\n")[0])
    ours = [path.lstrip("/") for path in settings["_skip_if_exists"] if path.startswith("/")]
    project = tomllib.loads((render(tmp_path / "project") / "pyproject.toml").read_text())
    assert project["tool"]["cruft"]["skip"] == ours


def test_cookiecutter_json_is_what_the_questions_say() -> None:
    generator = [sys.executable, str(ROOT / "tools" / "gen_cookiecutter.py"), "--check"]
    done = subprocess.run(generator, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
