"""Steps that are skipped while nothing that they depend on has changed."""

import re
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from . import progress, storage
from .data import whole
from .errors import CheckFailed, ProjectError
from .model import registry
from .settings import Project

MEMORY = "reports/run.json"


class Step(NamedTuple):
    """A step, the files and settings that it depends on, and what it leaves.

    Its reports say themselves which facts of the plan they were made with.
    """

    name: str
    run: Callable[[Project], Any]
    reads: tuple[str, ...]
    leaves: tuple[str, ...]
    config: tuple[str, ...] = ()
    # A failed check of such a step is told at the end, so that the reports after it still appear.
    may_fail: bool = False
    needs_champion: bool = False
    tries_again: bool = False  # after a failed check, which people may have overruled since


def perform(
    project: Project,
    planned: list[Step],
    tell: Callable[[str], None],
    record: dict[str, Any],
    failures: list[str],
    *,
    force: bool,
) -> None:
    """Run what is not up to date; fill `record` by step, `failures` with checks that said no."""
    path = project.path(MEMORY)
    try:
        done = storage.read_json(path, dict[str, Any])["steps"] if path.exists() else {}
    except (ProjectError, KeyError):
        done = {}  # A damaged memory only costs time: everything is made again.
    for number, step in enumerate(planned, 1):
        mark = f"[{number}/{len(planned) + 1}] {step.name}"
        if step.needs_champion and registry.read(project).champion is None:
            tell(f"{mark}: left out: {registry.no_champion(project)}")
            continue
        if step.needs_champion and (other := registry.of_another_task(project)):
            tell(f"{mark}: left out: {other}")
            continue
        if step.needs_champion:  # also where the step itself has nothing to do
            registry.check_champion(project)
        before = done.get(step.name, {})
        there = all(project.path(name).exists() for name in step.leaves)
        inputs = _inputs(project, step)
        same = before.get("inputs") == inputs and before.get("left") == _left(project, step)
        again = force or (step.tries_again and before.get("failed"))
        if not again and there and same and _planned(project, step):
            record[step.name] = before
            if before.get("failed"):
                failures.append(before["failed"])
            tell(f"{mark}: up to date")
            continue
        entry, warnings = _perform(project, step, inputs)
        record[step.name] = entry
        storage.write_json(path, {"steps": {**done, **record}})
        if entry["failed"]:
            failures.append(entry["failed"])
        tell(f"{mark}: {'check failed' if entry['failed'] else 'done'} in {entry['seconds']:.1f} s")
        for warning in warnings:
            tell(f"{mark}: warning: {warning}")


def _perform(project: Project, step: Step, inputs: str) -> tuple[dict[str, Any], list[str]]:
    """Run a step; return what run.json remembers of it, and its warnings."""
    started, failed, report = time.perf_counter(), None, None
    try:
        with progress.shown(step.name):
            report = step.run(project)
    except CheckFailed as error:
        if not step.may_fail:
            raise
        failed = str(error)
    entry = {
        "inputs": inputs,
        "left": _left(project, step),
        "seconds": round(time.perf_counter() - started, 2),
        "failed": failed,
    }
    report = report or {}
    warnings = [*report.get("gate", {}).get("warnings", []), *report.get("doubts", [])]
    if inputs != _inputs(project, step):
        # What the step read is not what stands there now: the next run makes it again.
        entry["inputs"] = None
        warnings.append("its inputs were changed meanwhile: run `ml run` again")
    return entry, warnings


def _inputs(project: Project, step: Step) -> str:
    groups = {name: getattr(project.config, name) for name in step.config}
    state: list[Any] = [msgspec.to_builtins(groups), code()]
    for name in step.reads:
        path = project.path(name)
        state.append([name, whole.stamp(path)])
    if "training" in step.config:
        state += _pretrained(project)
    return storage.sha256_text(msgspec.json.encode(state).decode())


def _pretrained(project: Project) -> list[Any]:
    """Return size and time of the files of pretrained models, which features may be made with."""
    folder = project.path("pretrained")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    told = [(path, path.stat()) for path in files]
    return [[str(p.relative_to(folder)), at.st_size, at.st_mtime_ns] for p, at in told]


def _planned(project: Project, step: Step) -> bool:
    """Whether the plan still says what the step's reports were made with."""
    reports = [project.path(n) for n in step.leaves if re.fullmatch(r"reports/.*\.json", n)]
    used = [storage.read_json(path, dict[str, Any]).get("plan", {}) for path in reports]
    return not any(map(project.plan.changed, used))


def _left(project: Project, step: Step) -> dict[str, str]:
    """Return the hashes of what only this step writes: damaged or edited, it is made again.

    Those are tables and the two reports whose numbers decide: what is usable, and what is good.
    """
    reports = ("reports/data_quality.json", "reports/metrics.json")
    own = [name for name in step.leaves if name.startswith("data/processed/") or name in reports]
    return {n: storage.sha256(project.path(n)) for n in own if project.path(n).is_file()}


@cache
def code() -> str:
    """Return the state of the steps' own code: who edits a feature expects a new model."""
    root = Path(__file__).parents[1]
    places = (root, root / "engine", root / "engine/data", root / "engine/model")
    modules = [module for place in places for module in sorted(place.glob("*.py"))]
    return storage.sha256_text("".join(map(storage.sha256, modules)))
