"""The rows that a version learnt from and was tested on, to fit its recipe again."""

from typing import Any

import polars as pl

from ..data import validation
from ..data.contract import Contract
from ..errors import ProjectError
from ..settings import Project
from . import trial
from .scorer import Scorer


def prepared(project: Project, scorer: Scorer, training: Any) -> tuple[pl.DataFrame, Contract, Any]:
    """Return all rows, their contract and the parts of them.

    `training` is the module that fits models. ProjectError when the data are no longer those that
    the version was trained on.
    """
    frame, agreed, parts, digest, _ = training.prepare(project)
    if digest != scorer.manifest.data_sha256:
        raise ProjectError(
            f"version {scorer.version} was trained on other data than data/processed holds now: "
            "run `ml run` first, so that both belong together"
        )
    return frame, agreed, parts


def test_rows(project: Project, scorer: Scorer, agreed: Contract) -> pl.DataFrame:
    """Return the test rows, and log that they were used."""
    name, mend = "data/processed/test.parquet", "run `ml train`"
    frame, digest = validation.stored_hashed(project, name, mend, agreed)
    trial.log_access(project, scorer.version, digest)
    return frame
