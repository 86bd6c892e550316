"""`ml run`: every step from data to report, in order; skips what is up to date."""

import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from .engine import progress, storage
from .engine.errors import CheckFailed, ProjectError
from .engine.settings import Project

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


def steps(project: Project) -> list[Step]:
    """Return the steps in their order."""
    from . import evaluation, explain
    from .engine import bench
    from .engine.data import ingest, profiling, validation

    contract = project.config.data.contract
    data = ("data/processed/development.parquet", "data/processed/test.parquet")
    quality = "reports/data_quality.json"
    return [
        Step(
            "ingest",
            ingest.run,
            (project.config.data.source,),
            ("data/raw/manifest.json",),
            ("data",),
        ),
        Step(
            "validate",
            validation.run,
            ("data/raw/manifest.json", contract),
            ("data/processed/valid.parquet", quality),
            ("data",),
        ),
        Step(
            "profile",
            profiling.run,
            ("data/processed/valid.parquet", contract),
            ("reports/profile.json", "reports/profile.html"),
        ),
        Step(
            "train",
            _train,
            (
                "data/processed/valid.parquet",
                "data/processed/tuned.json",
                contract,
            ),
            ("reports/training.json", "models/registry.json", *data),
            ("training",),
        ),
        Step(
            "evaluate",
            evaluation.run,
            ("reports/training.json", data[1]),
            ("reports/metrics.json", "reports/evaluation.html"),
            ("evaluation", "training"),
            may_fail=True,
        ),
        Step(
            "explain",
            explain.run,
            ("reports/training.json", data[1]),
            ("reports/explain.json",),
        ),
        Step("promote", _promote, ("reports/metrics.json",), ("models/registry.json",)),
        Step(
            "bench",
            bench.run,
            ("models/registry.json",),
            ("reports/bench.json",),
            may_fail=True,
            needs_champion=True,
        ),
        Step(
            "monitor",
            _monitor,
            ("models/registry.json", data[1]),
            ("reports/drift.json", "reports/drift.html", "reports/retrain.json"),
            ("monitoring",),
            may_fail=True,
            needs_champion=True,
        ),
    ]


def run(project: Project, tell: Callable[[str], None], *, force: bool = False) -> dict[str, Any]:
    """Run what is not up to date; return reports/run.json.

    CheckFailed at the end when a gate or a limit failed on the way. Whatever ends a run, PLAN.md
    says what the reports say then.
    """
    from .planner import sync

    record: dict[str, Any] = {}
    failures: list[str] = []
    planned = steps(project)
    try:
        _run_steps(project, planned, tell, record, failures, force=force)
    except ProjectError:
        with suppress(ProjectError):
            sync.run(project)
        raise
    changed = sync.run(project)
    tell(f"[{len(planned) + 1}/{len(planned) + 1}] plan: {len(changed)} measured blocks written")
    report = {"steps": record, "failures": failures}
    storage.write_json(project.path(MEMORY), report)
    if failures:
        raise CheckFailed("; ".join(failures))
    return report


def _run_steps(
    project: Project,
    planned: list[Step],
    tell: Callable[[str], None],
    record: dict[str, Any],
    failures: list[str],
    *,
    force: bool,
) -> None:
    """Run the steps; fill `record` by step, and `failures` with the checks that said no."""
    from .engine.data import ingest
    from .engine.model import registry

    path = project.path(MEMORY)
    try:
        done = storage.read_json(path, dict[str, Any])["steps"] if path.exists() else {}
    except (ProjectError, KeyError):
        done = {}  # A damaged memory only costs time: everything is made again.
    _code()  # before the modules of the steps are read
    _check_contract(project, tell)
    ingest.make_sample(project)  # which is an input of the first step
    for number, step in enumerate(planned, 1):
        mark = f"[{number}/{len(planned) + 1}] {step.name}"
        if step.needs_champion and registry.read(project).champion is None:
            tell(f"{mark}: left out: {registry.no_champion(project)}")
            continue
        if step.needs_champion:  # also where the step itself has nothing to do
            registry.check_champion(project)
        before = done.get(step.name, {})
        there = all(project.path(name).exists() for name in step.leaves)
        inputs = _inputs(project, step)
        same = before.get("inputs") == inputs and before.get("left") == _left(project, step)
        same = same and there and _planned(project, step)
        if not force and same:
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


def _check_contract(project: Project, tell: Callable[[str], None]) -> None:
    """Stop before the first step for what the last one would find in contract and plan."""
    from . import training
    from .engine.data import contract

    agreed = contract.read(project.contract_path)
    training.check_split(project, agreed)
    if problem := contract.contradiction(agreed, project.plan.answers):
        tell(f"warning: {problem}")


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
    warnings = list((report or {}).get("gate", {}).get("warnings", []))
    if inputs != _inputs(project, step):
        # What the step read is not what stands there now: the next run makes it again.
        entry["inputs"] = None
        warnings.append("its inputs were changed meanwhile: run `ml run` again")
    return entry, warnings


def _inputs(project: Project, step: Step) -> str:
    groups = {name: getattr(project.config, name) for name in step.config}
    state: list[Any] = [msgspec.to_builtins(groups), _code()]
    for name in step.reads:
        path = project.path(name)
        state.append([name, storage.sha256(path) if path.is_file() else None])
    return storage.sha256_text(msgspec.json.encode(state).decode())


def _planned(project: Project, step: Step) -> bool:
    """Whether the plan still says what the step's reports were made with."""
    reports = [project.path(n) for n in step.leaves if re.fullmatch(r"reports/.*\.json", n)]
    used = [storage.read_json(path, dict[str, Any]).get("plan", {}) for path in reports]
    return all(project.plan.facts(each) == each for each in used)


def _left(project: Project, step: Step) -> dict[str, str]:
    """Return the hashes of what only this step writes: damaged or edited, it is made again.

    Those are tables and the two reports whose numbers decide: what is usable, and what is good.
    """
    reports = ("reports/data_quality.json", "reports/metrics.json")
    own = [name for name in step.leaves if name.startswith("data/processed/") or name in reports]
    return {n: storage.sha256(project.path(n)) for n in own if project.path(n).is_file()}


@cache
def _code() -> str:
    """Return the state of the steps' own code: who edits a feature expects a new model."""
    root = Path(__file__).parent
    places = (root, root / "engine", root / "engine/data", root / "engine/model")
    modules = [module for place in places for module in sorted(place.glob("*.py"))]
    return storage.sha256_text("".join(map(storage.sha256, modules)))


def _train(project: Project) -> None:
    from . import training
    from .engine.model import tracking

    report = training.run(project)
    if project.config.training.track:
        tracking.log(project, report)


def _promote(project: Project) -> None:
    from .engine.model import registry

    version = storage.read_json(project.path("reports/metrics.json"), dict[str, Any])
    if version["gate"]["passed"]:
        registry.promote(project, version["version"])


def _monitor(project: Project) -> None:
    from .engine import monitoring

    try:
        monitoring.run(project, None)
    finally:
        monitoring.retrain_check(project)
