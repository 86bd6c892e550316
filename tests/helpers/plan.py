"""PLAN.md and plan.yaml for any answers, rendered without a project around them."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from copier import run_copy

from package_name.engine import storage
from package_name.engine.settings import Project
from package_name.planner import progress, sync
from package_name.planner.blocks import parse

from . import package  # noqa: F401  (makes `package_name` importable)
from .answers import known
from .jinja import environment
from .rendering import fast_copier, plain_template, recorded, render


@cache
def _defaults() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return recorded(render(Path(folder) / "project"))


def defaults() -> dict[str, Any]:
    """Return the answers of a project that nobody asked anything."""
    return dict(_defaults())


@cache
def _hidden() -> dict[str, Any]:
    """Return the defaults of questions too that are asked of other projects only."""
    with tempfile.TemporaryDirectory() as folder, fast_copier():
        copied = run_copy(str(plain_template()), f"{folder}/p", defaults=True, quiet=True)
        return dict(copied.answers.combined)


def render_plan(**changed: Any) -> tuple[str, dict[str, Any]]:
    """Return PLAN.md and the content of plan.yaml for the default answers with some changed.

    Validators are passed over, so that text may be worse than anything Copier lets through.
    """
    answers = defaults() | changed
    usual = max(answers["pos_rate"], answers["today_caught"] * answers["pos_rate"])
    answers = {"today_precision": usual, "hourly_rate": 0.0} | answers
    kept = known(answers)
    presets = environment().get_template("questions/presets.jinja").module.presets
    context = {**_hidden(), **answers, "preset_answers": presets.get(answers["preset"], {})}
    context |= {"_copier_answers": {"_commit": "v1", "_src_path": "x", **kept}}
    texts = [
        environment().get_template(f"template/{name}.jinja").render(context)
        for name in ("PLAN.md", "plan/plan.yaml")
    ]
    return texts[0], yaml.load(texts[1], Loader=yaml.CSafeLoader)


def of_people(folder: Path, contract: dict[str, Any]) -> Project:
    """Return a project of personal rows in `in.csv`, kept for 36 months, with this contract."""
    text, plan = render_plan(plan_depth="standard", personal_data=True, retention_months=36)
    storage.write_text(folder / "PLAN.md", text)
    storage.write_text(folder / "plan/plan.yaml", yaml.safe_dump(plan))
    storage.write_text(folder / "config.yaml", "data: {source: in.csv}\n")
    storage.write_text(folder / "contracts/dataset.odcs.yaml", yaml.safe_dump(contract))
    return Project(folder)


def keep(project: Project, **content: Any) -> None:
    """Let the team change its file of people, tasks and money."""
    path = project.path(progress.FILE)
    known = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(known | content), encoding="utf-8")


def said(project: Project, id: str) -> str:
    """Return what a measured block of the plan says."""
    sync.run(project)
    text = project.path("PLAN.md").read_text(encoding="utf-8")
    return "\n".join(parse(text)["measured", id].lines)
