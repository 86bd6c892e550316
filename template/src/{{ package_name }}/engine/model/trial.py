"""The test set, scored once by every model of a version."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .. import audit, progress, storage, task
from ..data import target as targets
from ..data import validation
from ..data.contract import Contract
from ..errors import ProjectError
from ..formats import number
from ..history import earlier_of, matrix_for
from ..settings import Project
from .output import answer
from .scorer import Scorer
from .sessions import scored_by, session


class Tested(NamedTuple):
    """The test rows, the champion's answers by output and each model's score.

    These have shape (rows,), or (rows, levels) where a score is a number for each level. `places`
    says which row of `frame` each comes from: first all of them, then what `task.probed` adds.
    `groups` numbers the entities where one has several rows.
    """

    frame: pl.DataFrame
    y: NDArray[Any]
    places: NDArray[np.intp]
    answers: dict[str, NDArray[Any]]
    score: dict[str, NDArray[np.float64]]
    groups: NDArray[np.intp] | None
    sha256: str


def score(
    project: Project,
    folder: Path,
    scorer: Scorer,
    agreed: Contract,
    trained: dict[str, Any],
) -> Tested:
    """Score the test set; ProjectError when it is not the one that the version never saw."""
    valid = project.path("data/processed/valid.parquet")
    name, mend = "data/processed/test.parquet", "run `ml train`"
    frame, digest = validation.stored_hashed(project, name, mend)
    known = storage.sha256(valid) if valid.exists() else None
    # The same rows split otherwise are other test rows too.
    split_sha256 = trained["split"].get("test_sha256", digest)
    if known != scorer.manifest.data_sha256 or split_sha256 != digest:
        raise ProjectError(
            f"version {scorer.version} was trained on other data than data/processed holds now: "
            "its test rows may have been seen; run `ml train` first"
        )
    validation.check_columns(frame, name, mend, agreed)
    settings = project.config.training
    x, y, places = task.probed(
        matrix_for(scorer, frame),
        targets.values(frame, agreed.target),
        scorer.spec.measured,
        settings.seed,
    )
    progress.tell(f"scoring {number(len(x))} test rows")
    asked = earlier_of(scorer, frame)
    answers = scorer.predict(x, asked)
    scores = {scorer.manifest.champion: answers[scorer.score]}
    scored = next(output for output in scorer.outputs if output.name == scorer.score)
    rivals = (folder / name for name in scorer.manifest.files if name.startswith("rivals/"))
    for rival in sorted(rivals):
        found = scored_by(session(rival.read_bytes()), None, x, asked, settings.threads)[0]
        scores[rival.stem] = answer(scored, found)
    groups = None
    if agreed.entity is not None and frame[agreed.entity.name].n_unique() < frame.height:
        entity = frame[agreed.entity.name].cast(pl.String).fill_null("").to_numpy()
        groups = np.unique(entity, return_inverse=True)[1][places]
    return Tested(frame, y, places, answers, scores, groups, digest)


def log_access(project: Project, version: str, sha256: str) -> int:
    """Log that the test set was used, because every look makes it a little less of a test."""
    path = project.path(audit.TESTED)
    audit.append(path, {"version": version, "test_sha256": sha256})
    return sum(entry.get("test_sha256") == sha256 for *_, entry in audit.lines(path))
