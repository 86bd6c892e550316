"""The rows of the newest version again: those that it has learnt from, and the test set."""

from typing import Any, NamedTuple

import polars as pl

from .. import history, storage
from ..data import validation
from ..data.contract import Contract
from ..settings import Project
from . import registry
from .scorer import Scorer


class Parts(NamedTuple):
    """The report of the training, the version that it left, and rows with what looks back."""

    trained: dict[str, Any]
    served: Scorer
    development: pl.DataFrame
    test: pl.DataFrame


def read(project: Project, agreed: Contract) -> Parts:
    """Read them; ProjectError where a step has left none."""
    trained = storage.read_json(project.path("reports/training.json"), dict[str, Any])
    threads = project.config.training.threads
    served = Scorer.load(registry.folder(project, trained["version"]), threads=threads)
    names = "data/processed/development.parquet", "data/processed/test.parquet"
    rows = (validation.stored(project, name, "run `ml train`", agreed) for name in names)
    development, test = (history.completed(served, part) for part in rows)
    return Parts(trained, served, development, test)
