"""Log a training run: to MLflow, in a file of the project or at a server, or to Weights & Biases.

MLflow waits minutes for a store that cannot be reached; a record of a training is not worth that.
Weights & Biases keeps its records in this folder, for `wandb sync`, unless WANDB_MODE says else.
"""

import logging
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from .. import privacy, progress, storage
from ..data import contract
from ..errors import ProjectError
from ..extras import driver
from ..git import git
from ..settings import Project

SECONDS = 3  # for a store to answer
NAMES = {"mlflow": "MLflow", "wandb": "Weights & Biases"}
LIMITS = {  # of both themselves; what a user sets wins
    "MLFLOW_HTTP_REQUEST_TIMEOUT": str(SECONDS),
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # which may be JSON
    "WANDB_MODE": "offline",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
    "WANDB_INIT_TIMEOUT": "10",
}


class Record(NamedTuple):
    """What is kept of a training: parameters, metrics, tags, and plain files of its bundle."""

    name: str
    params: dict[str, Any]
    metrics: dict[str, float]
    tags: dict[str, str]
    files: list[Path]


def log(project: Project, training: dict[str, Any]) -> None:
    """Log a training that is already saved; what fails here is told on stderr and nothing more."""
    try:
        _log(project, training)
    except Exception as error:  # trackers and their stores have errors of many kinds
        said = privacy.without_secrets(" ".join(str(error).split()))
        reason = said[:300] or type(error).__name__
        tracker = NAMES[project.config.training.tracker]
        print(
            f"warning: {training['version']} is trained and saved, but {tracker} has no record of "
            f"it: {reason}",
            file=sys.stderr,
        )


def _log(project: Project, training: dict[str, Any]) -> None:
    """Log parameters, metrics, versions of code and data, and the bundle's plain files."""
    for name, value in LIMITS.items():
        os.environ.setdefault(name, value)
    tracker = project.config.training.tracker
    progress.tell(f"writing the {NAMES[tracker]} record")
    (_to_wandb if tracker == "wandb" else _to_mlflow)(project, _record(project, training))


def _record(project: Project, training: dict[str, Any]) -> Record:
    """Return what is kept; with personal columns, files that hold their values stay here."""
    folder = project.path(f"models/{training['version']}")
    made = storage.read_json(folder / "manifest.json", dict[str, Any])
    params = {
        "chosen": training["chosen"],
        "split": training["split"]["scheme"],
        "cv": training["cv"]["scheme"],
        "head": made["head"],
        "rounds": training["candidates"][training["chosen"]]["rounds"],
        "features": len(training["features"]),
        **_settings(training),
    }
    metrics = {f"cv_{name}": facts["score"] for name, facts in training["candidates"].items()}
    tags = {"run": training["run"], "code": code_version(project)}
    agreed = contract.read(folder / "contract.odcs.yaml")
    kept = privacy.NEEDED if privacy.hidden_names(agreed.columns) else ()  # in the bundle, only
    files = {"manifest.json", "training.json", "contract.odcs.yaml", "model.onnx"}
    named = [folder / name for name in sorted(files.difference(kept))]
    return Record(training["version"], params, metrics, tags, named)


def _to_mlflow(project: Project, record: Record) -> None:
    uri = project.config.training.tracking_uri or _file(project)
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment_id=_experiment(project))
    with mlflow.start_run(run_name=record.name):
        mlflow.log_params(record.params)
        mlflow.log_metrics(record.metrics)
        mlflow.set_tags(record.tags)
        for file in record.files:
            mlflow.log_artifact(str(file))


def _to_wandb(project: Project, record: Record) -> None:
    """Write a run below wandb/; nothing of the machine, of git or of the console is in it."""
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        os.environ.setdefault(name, str(project.path("wandb")))
    library = driver("wandb", "wandb")
    less = {"disable_git": True, "disable_code": True, "save_code": False, "console": "off"}
    less |= {"x_disable_stats": True, "x_disable_meta": True, "x_save_requirements": False}
    slug = project.plan.project.slug
    run = library.init(
        project=slug,
        name=record.name,
        dir=str(project.root),
        job_type="train",
        config={**record.params, **record.tags},
        settings=library.Settings(**less),
    )
    try:
        run.summary.update(record.metrics)
        bundle = library.Artifact(slug, "model")
        for file in record.files:
            bundle.add_file(str(file), policy="immutable", skip_cache=True)
        run.log_artifact(bundle)
    finally:
        run.finish()
        library.teardown()  # only then all of it is written


def _settings(training: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the project and the parameters of the chosen model by their names."""
    params = training["candidates"][training["chosen"]]["params"]
    groups = {**training["settings"], "model": params}
    return {f"{group}.{name}": v for group, values in groups.items() for name, v in values.items()}


def _file(project: Project) -> str:
    """Return the address of the project's SQLite file, which can be written."""
    path = project.path("mlflow.db")
    try:
        with closing(sqlite3.connect(path, timeout=SECONDS)) as database:
            database.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        raise ProjectError(f"mlflow.db: {error}") from None
    return f"sqlite:///{path}"


def _experiment(project: Project) -> str:
    """Return the experiment of the project, whose artefacts lie in this folder without a server.

    MLflow keeps an absolute place for each experiment. After the folder was moved or copied, that
    is not here: the old experiment is renamed and stays readable, and a new one goes on.
    """
    from mlflow.tracking import MlflowClient

    client, name = MlflowClient(), project.plan.project.slug
    local = not project.config.training.tracking_uri
    here = project.path("mlruns").as_uri() if local else None
    found = client.get_experiment_by_name(name)
    if found is not None and (here is None or found.artifact_location.rstrip("/") == here):
        return str(found.experiment_id)
    if found is not None:
        client.rename_experiment(found.experiment_id, f"{name} (moved, {found.experiment_id})")
    return str(client.create_experiment(name, artifact_location=here))


def code_version(project: Project) -> str:
    """Return the git commit, with "-dirty" after local changes, or "unknown" outside git."""
    try:
        return git(project.root, "describe", "--always", "--dirty", "--abbrev=12") or "unknown"
    except ProjectError:
        return "unknown"
