"""`ml run`: every step from data to report, in order; skips what is up to date."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .engine import steps, storage
from .engine.errors import CheckFailed, ProjectError
from .engine.settings import Project
from .engine.steps import Step


def planned(project: Project) -> list[Step]:
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
    training.check_split(project, agreed)
    if problem := contract.contradiction(agreed, project.plan.answers):
        tell(f"warning: {problem}")


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
