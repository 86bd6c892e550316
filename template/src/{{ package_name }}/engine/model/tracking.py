"""Log a training run to MLflow: in a SQLite file of the project, or at a server of the team.

MLflow waits minutes for a store that cannot be reached; a record of a training is not worth that.
"""

import logging
import os
import sqlite3
import sys
from contextlib import closing
from typing import Any

from .. import privacy, progress, storage
from ..data import contract
from ..errors import ProjectError
from ..git import git
from ..settings import Project

SECONDS = 3  # for a store to answer
LIMITS = {  # of MLflow itself; what a user sets wins
    "MLFLOW_HTTP_REQUEST_TIMEOUT": str(SECONDS),
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # which may be JSON
}


def log(project: Project, training: dict[str, Any]) -> None:
    """Log a training that is already saved; what fails here is told on stderr and nothing more."""
    try:
        _log(project, training)
    except Exception as error:  # MLflow and its database have errors of many kinds
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        print(
            f"warning: {training['version']} is trained and saved, but MLflow has no record of it: "
            f"{reason}",
            file=sys.stderr,
        )


def _log(project: Project, training: dict[str, Any]) -> None:
    """Log parameters, metrics, code version, data version and the bundle's plain files."""
    for name, value in LIMITS.items():
        os.environ.setdefault(name, value)
    uri = project.config.training.tracking_uri or _file(project)
    import mlflow

    progress.tell("writing the MLflow record")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    folder = project.path(f"models/{training['version']}")
    made = storage.read_json(folder / "manifest.json", dict[str, Any])
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment_id=_experiment(project))
    with mlflow.start_run(run_name=training["version"]):
        mlflow.log_params(
            {
                "chosen": training["chosen"],
                "split": training["split"]["scheme"],
                "cv": training["cv"]["scheme"],
                "head": made["head"],
                "rounds": training["candidates"][training["chosen"]]["rounds"],
                "features": len(training["features"]),
                **_settings(training),
            }
        )
        mlflow.log_metrics(
            {f"cv_{name}": facts["score"] for name, facts in training["candidates"].items()}
        )
        mlflow.set_tags({"run": training["run"], "code": code_version(project)})
        agreed = contract.read(folder / "contract.odcs.yaml")
        kept = privacy.NEEDED if privacy.hidden_names(agreed.columns) else ()  # in the bundle, only
        files = {"manifest.json", "training.json", "contract.odcs.yaml", "model.onnx"}
        for file in sorted(files.difference(kept)):
            mlflow.log_artifact(str(folder / file))


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
