"""Whether a version is worse than the champion that it would replace, on the same test rows."""

import datetime as dt
from typing import Any

import numpy as np
import polars as pl

from .. import metrics, resampling, storage, task
from ..data import contract
from ..data import target as targets
from ..data.contract import Contract
from ..errors import ProjectError
from ..formats import number, signed
from ..history import earlier_of, matrix_for
from ..settings import Project
from . import registry
from .scorer import Scorer
from .trial import Tested


def judged(
    project: Project,
    scorer: Scorer,
    agreed: Contract,
    tested: Tested,
    drawn: dict[str, Any],
    warnings: list[str],
) -> dict[str, Any] | None:
    """Return how a version does beside the champion, None where that cannot be told.

    Both are scored on the same resamples. It cannot be told without another champion, of one with
    another target, and of one that may have learnt from these rows: it was tested by others, which
    were not all later than what it learnt from. A version that does worse is added to `warnings`.
    """
    champion, version = registry.read(project).champion, scorer.version
    if champion in (None, version):
        return None
    try:
        folder = registry.champion_folder(project)
        trained = storage.read_json(folder / "training.json", dict[str, Any])
        before = Scorer.load(folder, threads=project.config.training.threads)
        same = contract.read(folder / "contract.odcs.yaml").target == agreed.target
        if not same or not _unseen(trained["split"], tested, agreed):
            return None
        x, y, _ = task.probed(
            matrix_for(before, tested.frame),
            targets.values(tested.frame, agreed.target),
            before.spec.measured,
            project.config.training.seed,
        )
        old = before.predict(x, earlier_of(before, tested.frame))[before.score]
    except ProjectError:
        return None  # damaged, or of an older template: `ml models` says so
    new, metric = tested.score[scorer.manifest.champion], scorer.manifest.primary_metric
    if old.shape != new.shape or not np.array_equal(y, tested.y):
        return None
    level = task.level(scorer.manifest.decision)
    gain = resampling.paired_gain(tested.y, new, old, metric, task.compared(level), **drawn)
    if not np.isfinite(gain).all():
        return None
    named, sign = project.plan.named(metric), metrics.sign(metric)
    chance = "within chance" if gain.low <= 0 <= gain.high else "beyond chance"
    side = "worse than" if gain.value < 0 else "better than" if gain.value > 0 else "as good as"
    said = (
        f"{side} the champion {champion} on the same test rows, {chance}: {named} differs by "
        f"{signed(sign * gain.value, 4)} (95 % interval "
        f"{' to '.join(number(end, 4) for end in sorted((sign * gain.low, sign * gain.high)))})"
    )
    if gain.value < 0:
        warnings.append(f"{version} is {said}")
    return {"version": champion, **gain._asdict(), "worse": bool(gain.high < 0), "said": said}


def _unseen(split: dict[str, Any], tested: Tested, agreed: Contract) -> bool:
    """Whether none of the test rows is among those that a version has learnt from."""
    if split.get("test_sha256") == tested.sha256:
        return True
    if agreed.time is None or (until := split.get("learnt_until")) is None:
        return False
    times = tested.frame[agreed.time.name].cast(pl.Datetime("us"))
    return not times.has_nulls() and bool((times > dt.datetime.fromisoformat(until)).all())
