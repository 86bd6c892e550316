"""Documents agree with the code: links, commands, trees, test names, and the tests' one line."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from helpers.documents import ROOT, fences
from helpers.rendering import render

PAGES = sorted(
    page for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")] if page.name != "LICENSE"
)
MODES = (["rest", "batch"], ["rest"], ["batch"])
STATES = ("met", "partly", "not yet")


def pages() -> list[object]:
    return [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in PAGES]


def test_ci_runs_the_test_command_of_the_readme() -> None:
    command = (ROOT / ".ci" / "run").read_text().splitlines()[-1]
    assert "uv run pytest" in command
    shown = [fence.text.strip() for fence in fences(ROOT / "README.md")]
    assert shown.count(command) == 1


def test_readme_has_value_statement() -> None:
    top = (ROOT / "README.md").read_text().split("## ")[0].lower()
    searched = (
        "copier template",
        "machine learning",
        "project plan",
        "framework",
        "production-ready",
        "model deployment",
        "monitoring",
        "roi",
        "deployment strategy",
    )
    assert [words for words in searched if words not in " ".join(top.split())] == []


def test_readme_shows_lines_of_a_real_plan(tmp_path: Path) -> None:
    text = (render(tmp_path / "p") / "PLAN.md").read_text().replace("\u00a0", " ")
    plan = re.sub(r" <!--.*?-->", "", text).splitlines()  # as people read it
    shown = next(f.text for f in fences(ROOT / "README.md") if "Result: NPV" in f.text)
    assert len(shown.splitlines()) == 3
    assert set(shown.splitlines()) <= set(plan)


def commands(project: Path) -> set[str]:
    """Return the commands of a rendered project, such as "run" and "plan check"."""
    known = options(project)
    return {name for name in known if not any(other.startswith(f"{name} ") for other in known)} - {
        ""
    }


def told(text: str) -> set[str]:
    """Return the commands in the tables of a Markdown text: `ml a b`, `c` means a b and a c."""
    found = set()
    for cell in re.findall(r"^\| (`(?:uv run )?ml .*?) \|", text, re.MULTILINE):
        group = ""
        for code in re.findall(r"`([^`]*)`", cell):
            words = code.rpartition("ml ")[2].split()
            names = [word for word in words if re.fullmatch(r"[a-z-]+", word)]
            if names[0] in ("canary", "contract", "edge", "features", "label", "plan"):
                group = names[0]
                names = names[1:]
            found.add(f"{group} {names[0]}".strip())
    return found


def test_readme_names_every_command(tmp_path: Path) -> None:
    project = render(tmp_path / "p", deployment_modes=["rest", "batch", "edge"])
    assert told((ROOT / "README.md").read_text()) == commands(project)


OPTIONS = """
import json, sys, typer
from churn_model.cli import app

def options(command, name):
    found = {name: [o for p in command.params for o in (*p.opts, *p.secondary_opts)]}
    for one, inner in getattr(command, "commands", {}).items():
        found |= options(inner, f"{name} {one}".strip())
    return found

json.dump(options(typer.main.get_command(app), ""), sys.stdout)
"""


def options(project: Path) -> dict[str, list[str]]:
    """Return the options of each command of a rendered project, groups of commands included."""
    env = {**os.environ, "PYTHONPATH": "src"}
    asked = [sys.executable, "-c", OPTIONS]
    done = subprocess.run(asked, cwd=project, env=env, check=True, capture_output=True)
    return json.loads(done.stdout)


def test_commands_in_documents_are_those_of_a_project(tmp_path: Path) -> None:
    """Each `ml` command that a reader is told to type is there, with the options that it gets."""
    modes = ["rest", "batch", "edge"]
    project = render(tmp_path / "p", plan_depth="regulated", deployment_modes=modes)
    known = options(project)
    seen = set()
    for page in [*PAGES, *project.rglob("*.md")]:
        for fence in (one for one in fences(page) if one.language in ("bash", "text")):
            for line in re.findall(r"(?:uv run|ml/\w+) ml (.*)", fence.text):
                words = re.split(r"\s[#|&<>]|;|\)", line)[0].split()
                name = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0]
                assert name in known, f"{page.name}: ml {line}"
                given = {word.split("=")[0] for word in words if re.match(r"--\w", word)}
                assert given <= {*known[name], "--help"}, f"{page.name}: ml {line}"
                seen.add(name)
    assert len(seen) > 20


@pytest.mark.parametrize("modes", MODES)
def test_readme_of_a_project(tmp_path: Path, modes: list[str]) -> None:
    """The project's README names its five commands, each of its files, and no other."""
    project = render(tmp_path / "p", deployment_modes=modes)
    text = (project / "README.md").read_text()
    assert told(text) <= commands(project) and len(told(text)) == 5
    tree = next(fence.text for fence in fences(project / "README.md") if fence.language == "text")
    named = set()
    base = project
    for line in tree.splitlines():
        base = base if line.startswith("  ") else project
        column, _, rest = line.strip().partition("  ")
        for name in [*column.split(), *re.findall(r"\b\w+\.py\b", rest)]:
            path = next((p for p in (base / name, *base.glob(f"*/{name}")) if p.exists()), None)
            assert path or name in ("data/", "models/", "reports/"), line
            named.add(path.relative_to(project).as_posix() if path else name)
        if line.startswith("src/"):
            base = project / column
    modules = {
        path.relative_to(project).as_posix()
        for path in project.glob("src/*/*.py")
        if not path.name.startswith("__")
    }
    tops = {path.name for path in project.iterdir() if not path.name.startswith(".")}
    assert modules <= named
    assert tops - {"README.md", "pyproject.toml"} <= {name.split("/")[0] for name in named}


@pytest.mark.parametrize("modes", MODES)
def test_what_assistants_are_told(tmp_path: Path, modes: list[str]) -> None:
    """AGENTS.md is short, and each command and path in it is there; commands are those of CI."""
    project = render(tmp_path / "p", deployment_modes=modes)
    text = (project / "AGENTS.md").read_text()
    assert len(text.splitlines()) <= 60
    spans = re.findall(r"`([^`]+)`", text)
    known, made = options(project), ("data/", "models/", "reports/")
    for words in (span.split() for span in spans if span.startswith("uv run ml ")):
        name = " ".join(words[3:5]) if " ".join(words[3:5]) in known else words[3]
        assert {word for word in words if word.startswith("--")} <= {*known[name]}, words
    workflow = (project / ".github/workflows/ci.yml").read_text()
    checks = [span for span in spans if re.match(r"uv (sync|run (?!ml (update|plan why)))", span)]
    assert len(checks) > 6
    for check in checks:
        assert check.removesuffix(" .") in workflow, check
    paths = [span for span in spans if re.fullmatch(r"[\w.*/-]+(/|\.\w+)", span)]
    assert len(paths) > 15
    team = next(project.glob("src/*/features.py")).parent
    for path in paths:
        found = [*project.glob(path), *team.glob(path)] if not path.startswith(".") else [project]
        assert found or path.startswith(made), path
    never = set(re.findall(r"`([^`]+)`", text.split("## Never")[1].split("##")[0]))
    owned = re.findall(r"^\| template \| `([^`]+)`", (project / "README.md").read_text(), re.M)
    assert {*owned, "plan/plan.yaml", "plan:auto", "plan:human", *made} <= never


def test_assistants_of_this_repository() -> None:
    """Its paths are there, and the generated ones are those that the generators write."""
    text = (ROOT / "AGENTS.md").read_text()
    assert len(text.splitlines()) <= 60
    paths = re.findall(r"`([\w./-]+(?:/|\.\w+))`", text)
    assert len(paths) > 12
    for path in paths:
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", pages())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        assert "://" not in path, f"{target}: this repository names no host"
        goal = (page.parent / path).resolve() if path else page
        assert goal.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", goal.read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads]
            assert anchor in slugs, target


@pytest.mark.parametrize("page", pages())
def test_prose_is_plain(page: Path) -> None:
    text = page.read_text()
    bad = r"\b(simply|just|easily|seamless\w*|powerful|cutting-edge|state-of-the-art|leverage\w*)\b"
    prose = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    assert re.findall(bad, prose, re.IGNORECASE) == []
    assert re.findall(r"[\U0001F000-\U0001FAFF\u2600-\u27BF]", text) == []
    assert re.findall(r"/(?:work|tmp|root|home)/\w+", text) == [], "a path of some machine"
    assert re.findall(r"(?i)\b(?:pypi\.org|ghcr\.io|docker\.io|files\.pythonhosted)", text) == []


def test_what_is_generated_is_current() -> None:
    command = [sys.executable, str(ROOT / "tools" / "generate.py"), "--check"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_document_is_reached_from_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    for page in ROOT.glob("docs/**/*.md"):
        name = page.relative_to(ROOT / "docs").as_posix()
        assert name in index or name.startswith(("README", "decisions/")), name


def test_decisions_are_numbered_without_a_gap() -> None:
    found = sorted(page.name for page in ROOT.glob("docs/decisions/[0-9]*.md"))
    assert [int(name[:4]) for name in found] == list(range(1, len(found) + 1))
    for page in ROOT.glob("docs/decisions/[0-9]*.md"):
        title = page.read_text().splitlines()[0]
        assert title.startswith(f"# {int(page.name[:4])} "), page.name


def test_no_lock_file_is_shipped() -> None:
    """Decision 6."""
    assert not list((ROOT / "template").rglob("*.lock*"))
    assert "uv.lock" in (ROOT / ".gitignore").read_text().splitlines()


def test_security_promises_about_code_hold() -> None:
    """Nothing of the template unpickles, evaluates text or starts a shell; secrets are ignored."""
    risky = re.compile(
        r"\b(pickle|joblib|cloudpickle|eval\(|exec\(|os\.system|shell=True|yaml\.(Unsafe|Full)?Loader)"
    )
    for path in (ROOT / "template").rglob("*.py*"):
        if path.is_file():
            assert not risky.search(path.read_text(encoding="utf-8")), path
    assert {".env", ".env.*"} <= set((ROOT / "template" / ".gitignore").read_text().splitlines())


def test_marketing_is_recorded_as_out_of_scope() -> None:
    assert len(list(ROOT.glob("docs/decisions/*out-of-scope-marketing.md"))) == 1


def test_changelog_knows_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## {version}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_model_card_front_matter_and_links(tmp_path: Path) -> None:
    hostile = 'A "model": {{ 7 }} # <b>'
    for modes in MODES:
        project = render(tmp_path / "-".join(modes), deployment_modes=modes, project_name=hostile)
        text = (project / "docs" / "model_card.md").read_text()
        _, front, body = text.split("---\n", 2)
        card = yaml.safe_load(front)
        assert card["model_name"] == hostile
        assert card["pipeline_tag"] == "tabular-classification"
        for target in re.findall(r"\]\(([^)]+)\)", body):
            assert (project / "docs" / target).resolve().exists(), target
        blocks = set(yaml.safe_load((project / "plan" / "plan.yaml").read_text())["blocks"])
        assert set(re.findall(r"\b[A-Z]+-\d\d\b", body)) <= blocks


def test_each_rule_of_evidence_is_told() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "template").rglob("*.py"))
    told = (ROOT / "docs/reference/reports.md").read_text(encoding="utf-8")
    assert {*re.findall(r'"(ev\.\w+)"', code)} == {*re.findall(r"`(ev\.\w+)`", told)}


def requirements() -> list[list[str]]:
    """Return the rows of docs/requirements.md: number, requirement, state, how, tests."""
    lines = (ROOT / "docs" / "requirements.md").read_text().splitlines()
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in lines
        if re.match(r"\| \d+ \|", line)
    ]


def test_requirements_are_complete_and_proved() -> None:
    rows = requirements()
    assert [int(row[0]) for row in rows] == list(range(1, 253))
    sources = [*ROOT.glob("tests/*.py"), *ROOT.glob("template/**/tests/**/*.jinja")]
    known: dict[str, set[str]] = {}
    for path in sources:  # tasks have files of the same name
        found = re.findall(r"^\s*def (test_\w+)", path.read_text(), re.MULTILINE)
        known.setdefault(path.name.removesuffix(".jinja"), set()).update(found)
    for number, _, state, how, tests in rows:
        assert state in STATES, number
        assert bool(how) == (state != "not yet"), number
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", tests)
        assert bool(named) == (state != "not yet"), number
        for file, test in named:
            assert test in known.get(file, ()), f"row {number}: {file} has no {test}"


def test_requirements_are_counted() -> None:
    text = (ROOT / "docs" / "requirements.md").read_text()
    states = [row[2] for row in requirements()]
    assert ", ".join(f"{states.count(state)} {state}" for state in STATES) in text


def test_the_glossary_holds_the_words_of_metrics_and_methods() -> None:
    text = (ROOT / "docs/reference/glossary.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?!Term)([^|]+) \| [^|]+ \|$", text, re.MULTILINE)
    terms = [term for row in rows for term in row.split("; ")]
    assert len(terms) == len(set(terms)), "a term is told twice"
    others = {"warnings", "duties", "verdict", "serving", "rollout", "monitoring", "retrain"}
    for path in (ROOT / "questions").rglob("rules.yaml"):
        for decision in yaml.safe_load(path.read_text(encoding="utf-8"))["decisions"].values():
            if decision.get("output") not in others:
                missing = {*decision.get("words", {}).values()} - {*terms, "none"}
                assert not missing, f"{path.parent.name}: give docs/reference/glossary.md a line"
