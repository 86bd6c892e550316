"""Every kind of generated file passes the linter of its kind, also with hostile texts in it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.answers import HOSTILE
from helpers.rendering import ROOT, render

from package_name.planner import practice

YAML_STYLE = """
extends: default
rules:
  line-length: disable
  document-start: disable
  truthy: {check-keys: false}
  comments: {min-spaces-from-content: 1}
"""
# What the marks of PLAN.md need: blocks without blank lines between mark and text.
MARKDOWN = "md013,md022,md031,md032,md033,md036,md041"


def lint(project: Path, tool: str, *arguments: str) -> None:
    """Run a linter, which lies beside this Python."""
    command = [str(Path(sys.executable).with_name(tool)), *arguments]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module", params=["rest,batch", "rest", "batch", "hostile"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("linted") / "project"
    if request.param == "hostile":
        names = ("project_name", "problem", "owner", "oncall")
        texts = (next(t for t in HOSTILE[n:] if len(t) <= 60) for n in range(len(names)))
        return render(folder, plan_depth="regulated", **dict(zip(names, texts, strict=True)))
    return render(folder, deployment_modes=request.param.split(","))


def test_yaml(project: Path) -> None:
    found = [*project.rglob("*.yaml"), *project.rglob("*.yml")]
    files = [str(path) for path in found if path.name != ".copier-answers.yml"]  # Copier's own
    assert len(files) >= 5
    lint(project, "yamllint", "--strict", "--config-data", YAML_STYLE, *files)


def lint_workflow(folder: Path) -> None:
    """Lint workflow and dependency bot; zizmor wants each action pinned to a commit."""
    flows = [f"workflows/{path.name}" for path in (folder / ".github/workflows").iterdir()]
    for name, schema in ("dependabot.yml", "dependabot"), *((f, "github-workflows") for f in flows):
        builtin = ("--builtin-schema", f"vendor.{schema}")
        lint(folder, "check-jsonschema", *builtin, f".github/{name}")
    lint(folder, "actionlint", *(f".github/{flow}" for flow in flows))
    lint(folder, "zizmor", "--offline", "--no-progress", ".github")


def test_workflow(project: Path) -> None:
    lint_workflow(project)


def test_the_checks_on_gitlab_are_those_of_the_workflows(tmp_path: Path) -> None:
    project = render(tmp_path / "p", deployment_modes=["grpc"])
    lint_workflow(project)
    there = render(tmp_path / "q", deployment_modes=["grpc"], code_host="gitlab")
    assert not (there / ".github").exists() and not (project / ".gitlab-ci.yml").exists()
    for host, folder in ("github", project), ("gitlab", there):
        for what in "checks", "watched":
            assert (folder / practice.HOSTS[host][what].partition(":")[0]).exists()
    example = there / ".gitlab-ci.yml"
    lint(ROOT, "check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", str(example))
    lint(ROOT, "yamllint", "--strict", "--config-data", YAML_STYLE, str(example))
    workflow = yaml.safe_load((project / ".github/workflows/ci.yml").read_text())["jobs"]
    jobs = yaml.safe_load(example.read_text())
    again = yaml.safe_load((project / ".github/workflows/retrain.yml").read_text())["jobs"]
    steps = "".join(step.get("run", "").rstrip() + "\n" for step in again["retrain"]["steps"])
    assert "\n".join(jobs["retrain"]["script"]).split() == steps.split()

    def said(job: str) -> list[str]:
        steps = [step["run"] for step in workflow[job]["steps"] if "run" in step]
        return [step.partition(" >> ")[0].replace("$RUNNER_TEMP/", "") for step in steps]

    def told(job: str) -> list[str]:
        return [line.partition(" || ")[0] for line in jobs[job]["script"]]

    flow = yaml.safe_load((project / ".github/workflows/interface.yml").read_text())
    shown, compared = flow["jobs"]["messages"]["steps"][-1]["run"].split("\n", 1)
    assert jobs["interface"]["script"][1] == shown
    assert jobs["interface"]["script"][2] == compared.replace("origin/$BASE", "FETCH_HEAD")

    for job in ("check", "gate", "weekly"):
        assert told(job) == said(job), job
    listed = [step.replace('"sbom.json"', "sbom.json") for step in said("image") if "uv" in step]
    assert told("bill-of-materials") == listed


def test_own_workflow() -> None:
    lint_workflow(ROOT)


def test_containers(project: Path) -> None:
    lint(project, "hadolint", "deploy/Dockerfile")
    for path in sorted((project / "deploy").glob("compose*.yaml")):
        schema = "vendor.compose-spec"
        lint(project, "check-jsonschema", "--builtin-schema", schema, str(path))


def test_toml(project: Path) -> None:
    lint(project, "taplo", "lint", "pyproject.toml")


def test_markdown(project: Path) -> None:
    front = ("--set", "extensions.front-matter.enabled=$!True")
    lint(project, "pymarkdown", *front, "--disable-rules", MARKDOWN, "scan", "--recurse", ".")


def test_linters_find_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: 1\na: 2\n")
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN cd /tmp\n")
    (tmp_path / "a.md").write_text("# One\n\n#Two\n")
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    (tmp_path / "ci.yml").write_text(re.sub(r"@[0-9a-f]{40} # ", "@", workflow))
    for command in (
        ("yamllint", "--strict", "a.yaml"),
        ("hadolint", "Dockerfile"),
        ("zizmor", "--offline", "ci.yml"),
        ("pymarkdown", "--disable-rules", MARKDOWN, "scan", "a.md"),
    ):
        with pytest.raises(AssertionError):
            lint(tmp_path, *command)
