"""`ml run`: every step from data to report, in order; skips what is up to date."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from .engine import steps, storage
from .engine.errors import CheckFailed, ProjectError
from .engine.settings import Project
from .engine.steps import Step


def planned(project: Project) -> list[Step]:
    """Return the steps in their order."""
    from . import columns, evaluation, explain, features
    from .engine import bench, history, monitoring
    from .engine.data import ingest, profiling, validation

    contract, raw = project.config.data.contract, "data/raw/manifest.json"
    valid, quality = "data/processed/valid.parquet", "reports/data_quality.json"
    development, test = "data/processed/development.parquet", "data/processed/test.parquet"
    described = ("reports/profile.json", "reports/profile.html")
    training, registry = "reports/training.json", "models/registry.json"
    tuned, trained = "data/processed/tuned.json", (training, registry, development, test)
    metrics, settings = "reports/metrics.json", ("evaluation", "training")
    judged = (metrics, "reports/evaluation.html")
    watched = ("reports/drift.json", "reports/drift.html", "reports/retrain.json")
    snapshot = partial(ingest.run, add=columns.add)
    rows = (valid, history.REJECTED) if history.looking_back(features.FEATURES) else (valid,)
    of_champion = partial(Step, may_fail=True, needs_champion=True)
    return [  # name, function, files read, files left, settings
        Step("ingest", snapshot, ingest.inputs(project), (raw,), ("data",)),
        Step("validate", validation.run, (raw, contract), (valid, quality), ("data",)),
        Step("profile", profiling.run, (valid, quality, contract), described, ("evaluation",)),
        Step("train", train, (*rows, tuned, contract), trained, ("training",)),
        Step("evaluate", evaluation.run, (training, test), judged, settings, may_fail=True),
        Step("explain", explain.run, (training, test), ("reports/explain.json",)),
        Step("promote", _promote, (metrics,), (registry,), may_fail=True, tries_again=True),
        of_champion("bench", bench.run, (registry,), ("reports/bench.json",)),
        of_champion("monitor", monitoring.run, (registry, test), watched, ("monitoring",)),
    ]


def run(project: Project, tell: Callable[[str], None], *, force: bool = False) -> dict[str, Any]:
    """Run what is not up to date; return reports/run.json.

    CheckFailed at the end when a gate or a limit failed on the way. Whatever ends a run, PLAN.md
    says what the reports say then.
    """
    from .engine.data import ingest
    from .planner import sync

    record: dict[str, Any] = {}
    failures: list[str] = []
    steps.code()  # before the modules of the steps are read
    every = planned(project)
    try:
        _check_contract(project, tell)
        ingest.make_sample(project)  # which is an input of the first step
        steps.perform(project, every, tell, record, failures, force=force)
    except ProjectError:
        with suppress(ProjectError):
            sync.run(project)
        raise
    changed = sync.run(project)
    tell(f"[{len(every) + 1}/{len(every) + 1}] plan: {len(changed)} measured blocks written")
    report = {"steps": record, "failures": failures}
    storage.write_json(project.path(steps.MEMORY), report)
    if failures:
        raise CheckFailed("; ".join(failures))
    return report


def _check_contract(project: Project, tell: Callable[[str], None]) -> None:
    """Stop before the first step for what the last one would find in contract and plan."""
    from . import training
    from .engine.data import contract

    agreed = contract.read(project.contract_path)
    training.check(project, agreed)
    for problem in (
        contract.contradiction(agreed, project.plan.answers),
        agreed.target.contradiction(project.plan.answers),
    ):
        if problem:
            tell(f"warning: {problem}")


def train(project: Project) -> dict[str, Any]:
    """Train, and record the run where config.yaml asks for it; return the report."""
    from . import training
    from .engine.model import tracking

    report = training.run(project)
    if project.config.training.track:
        tracking.log(project, report)
    return report


def _promote(project: Project) -> None:
    from .engine.model import registry

    version = storage.read_json(project.path("reports/metrics.json"), dict[str, Any])
    if version["gate"]["passed"]:
        registry.promote(project, version["version"], by="ml run")
