"""Whether a version is worse than the champion that it would replace, on the same test rows."""

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .. import metrics, resampling, storage, task
from ..data import contract
from ..data import target as targets
from ..data.contract import Contract
from ..errors import ProjectError
from ..formats import number, signed
from ..history import earlier_of, events, matrix_for, state_of
from ..resampling import Interval
from ..settings import Project
from . import registry
from .history import DaysSince
from .plain import Matrix
from .scorer import FeatureSpec, Scorer
from .trial import Tested


class _Apart(Exception):
    """Why two versions cannot be held against each other, as the rest of a sentence."""


def judged(
    project: Project,
    scorer: Scorer,
    agreed: Contract,
    tested: Tested,
    drawn: dict[str, Any],
    warnings: list[str],
) -> dict[str, Any] | None:
    """Return how a version does beside the champion, None without another one.

    Both are scored on the same resamples of the same rows: those that the champion was made to
    answer, by all that is known now. A version that does worse is added to `warnings`, and why two
    cannot be held against each other.
    """
    champion, version = registry.read(project).champion, scorer.version
    if champion in (None, version):
        return None
    try:
        gain, rows = _gain(project, scorer, agreed, tested, drawn)
    except (_Apart, ProjectError) as problem:
        said = f"not held against the champion {champion}: {problem}"
        warnings.append(f"{version} is {said}")
        return {"version": champion, "value": None, "worse": False, "said": said}
    metric = scorer.manifest.primary_metric
    named, sign = project.plan.named(metric), metrics.sign(metric)
    chance = "within chance" if gain.low <= 0 <= gain.high else "beyond chance"
    side = "worse than" if gain.value < 0 else "better than" if gain.value > 0 else "as good as"
    every = rows == len(tested.y)
    some = "" if every else f" that both were made for, {number(rows)} of {number(len(tested.y))}"
    said = (
        f"{side} the champion {champion} on the same test rows{some}, {chance}: {named} differs by "
        f"{signed(sign * gain.value, 4)} (95 % interval "
        f"{' to '.join(number(end, 4) for end in sorted((sign * gain.low, sign * gain.high)))})"
    )
    if gain.value < 0:
        warnings.append(f"{version} is {said}")
    # What cannot answer all that is asked for now is no reason to keep another version out.
    worse = every and bool(gain.high < 0)
    return {"version": champion, **gain._asdict(), "worse": worse, "said": said}


def _gain(
    project: Project, scorer: Scorer, agreed: Contract, tested: Tested, drawn: dict[str, Any]
) -> tuple[Interval, int]:
    """Return what a version gains over the champion, and on how many rows; _Apart with a reason."""
    folder = registry.champion_folder(project)
    trained = storage.read_json(folder / "training.json", dict[str, Any])
    before = Scorer.load(folder, threads=project.config.training.threads)
    known = contract.read(folder / "contract.odcs.yaml")
    if known.target != agreed.target:
        raise _Apart("its target is another one")
    for name, asked in project.plan.facts(task.ROW_FACTS).items():
        if (then := trained.get("plan", {}).get(name, asked)) != asked:
            raise _Apart(f"{name} was {then} in its plan, so it answers other rows than these")
    back = {feature.column for feature in before.spec.history} - {""}
    for name in sorted(before.spec.columns | back):
        now = next((column for column in agreed.columns if column.name == name), None)
        if now is None or now.kind != known.column(name).kind:
            raise _Apart(f"the contract has no column {name!r} any more of the kind that it reads")
    if not _unseen(trained["split"], tested, agreed):
        raise _Apart("it may have learnt from these test rows")
    if before.spec.history:  # the state of its bundle ends where its table did
        rows = events(project, agreed)
        before.state = state_of(before.spec.history, known, rows)
    x, y, _ = task.probed(
        matrix_for(before, tested.frame),
        targets.values(tested.frame, agreed.target),
        before.spec.measured,
        project.config.training.seed,
    )
    old = before.predict(x, earlier_of(before, tested.frame))[before.score]
    new, metric = tested.score[scorer.manifest.champion], scorer.manifest.primary_metric
    if old.shape != new.shape or not np.array_equal(y, tested.y):
        raise _Apart("its answers have another shape")
    here = ~_beyond(before.spec, scorer.spec, x)
    if not here.any():
        raise _Apart("it answers none of these test rows")
    level, groups = task.level(scorer.manifest.decision), drawn["groups"]
    if groups is not None:
        drawn = drawn | {"groups": np.unique(groups[here], return_inverse=True)[1]}
    among = task.compared(level)
    gain = resampling.paired_gain(y[here], new[here], old[here], metric, among, **drawn)
    if not np.isfinite(gain).all():
        raise _Apart(f"{project.plan.named(metric)} has no value on some samples of the test rows")
    return gain, int(here.sum())


def _beyond(before: FeatureSpec, now: FeatureSpec, x: Matrix) -> NDArray[np.bool_]:
    """Return which rows lie further ahead than a version was made to answer, shape (rows,).

    None do where the other one was made for the same; `x` is the matrix of the version.
    """
    furthest = {item.name: item.most for item in now.history if isinstance(item, DaysSince)}
    found = np.zeros(len(x), bool)
    for item in before.history:
        most = item.most if isinstance(item, DaysSince) else None
        if most is not None and most != furthest.get(item.name):
            found |= x[:, before.names.index(item.name)] > most
    return found


def _unseen(split: dict[str, Any], tested: Tested, agreed: Contract) -> bool:
    """Whether none of the test rows is among those that a version has learnt from."""
    if split.get("test_sha256") == tested.sha256:
        return True
    if agreed.time is None or (until := split.get("learnt_until")) is None:
        return False
    times = tested.frame[agreed.time.name].cast(pl.Datetime("us"))
    return not times.has_nulls() and bool((times > dt.datetime.fromisoformat(until)).all())
