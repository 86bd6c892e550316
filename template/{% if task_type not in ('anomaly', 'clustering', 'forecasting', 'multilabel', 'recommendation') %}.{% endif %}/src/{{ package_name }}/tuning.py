"""Spend more time on the model: search settings of boosting, and let `ml train` blend more."""

import time
from typing import Any, NamedTuple

import numpy as np

from . import models, training
from .engine import progress, storage
from .engine.data import validation
from .engine.data.kept import taken
from .engine.errors import ProjectError
from .engine.folds import Split
from .engine.formats import percent
from .engine.model import libraries, search
from .engine.model.fitting import Data, known
from .engine.model.outcome import is_nested
from .engine.settings import Project


class Search(NamedTuple):
    """What one search tries, and how often: a kind of boosting, on these folds."""

    name: str
    kind: str
    library: str
    parts: Split


def run(project: Project, trials: int | None = None) -> dict[str, Any]:
    """Search settings of boosting by the loss out of fold; goes on where it was stopped.

    Each library is searched with the plan's first kind of it, and serves all of them. The preset
    is the first trial, so that the best is never worse out of fold. Where decision TRAIN-03 says
    so, a search runs again without the rows of each fold, for settings that they did not decide.
    Leaves data/processed/tuned.json, which `ml train` uses, and reports/tuning.json.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    searched, boosted = _kinds(project), models.kinds(project.facts)
    settings = project.config.tuning
    trials = trials or settings.trials
    frame, agreed, parts, data_sha256, _ = training.prepare(project)
    data = training.development_data(project, taken(frame, parts.development), agreed)
    nested = is_nested(project.facts.tuning)
    if nested and parts.pooled:
        raise ProjectError(
            f"to search again for each of {len(parts.folds)} rows or groups that are left out "
            "takes too long: override TRAIN-02 with repeated folds, or TRAIN-03 with `tpe`"
        )
    searches = [Search(library, kind, library, parts) for library, kind in searched.items()]
    if nested:
        searches += [
            Search(f"{library}, fold {fold + 1}", kind, library, parts._replace(folds=inner))
            for library, kind in searched.items()
            for fold, inner in enumerate(map(parts.within, range(len(parts.folds))))
        ]
    made_with = {
        "data": storage.sha256_text(data_sha256 + agreed.fingerprint),
        "space": {library: search.SPACES[library] for library in searched},
        "plan": {
            "folds": [project.facts.split, project.facts.cv],
            "search": [project.facts.tuning, project.facts.primary_metric],
            "objective": [boosted[kind].objective for kind in searched.values()],
        },
        "settings": repr(project.config.training),
    }
    kept = search.Checkpoint(project.path("data/processed/tuning.jsonl"), made_with)
    budget = settings.time_limit_s / len(searches)  # each search has its share
    for one in searches:
        _search(project, data, one, kept, trials, budget)
    found = {one.name: kept.trials(one.name) for one in searches}
    best = {name: min(done, key=lambda trial: trial.loss) for name, done in found.items()}
    tuned = {
        library: {
            "params": best[library].params,
            "nested": [
                best[one.name].params
                for one in searches
                if one.library == library and one.name != library
            ],
        }
        for library in searched
    }
    storage.write_json(project.path("data/processed/tuned.json"), tuned)
    report = {
        "made_up": validation.made_up(project),
        "ignored": kept.ignored,
        "nested": nested,
        "searches": {
            library: {
                "trials": len(found[library]),
                "default": found[library][0]._asdict(),
                "best": best[library]._asdict(),
            }
            for library in searched
        },
    }
    storage.write_json(project.path("reports/tuning.json"), report)
    return report


def told(report: dict[str, Any]) -> str:
    """Say what the searches gained."""
    lines = []
    for library, found in report["searches"].items():
        gain = 1 - found["best"]["loss"] / (found["default"]["loss"] or 1)
        lines.append(f"{library}: {found['trials']} trials; loss lower by {percent(gain)}")
    if report["ignored"]:
        other = ", ".join(report["ignored"])
        lines.append(f"earlier trials were made with other {other}, so it began anew")
    return "; ".join([*lines, "now run `ml train`"])


def _kinds(project: Project) -> dict[str, str]:
    """Return the first kind of boosting among the candidates of each library."""
    boosted = models.kinds(project.facts)
    names = [name for name in project.facts.candidates if name in boosted]
    found: dict[str, str] = {}
    for name in names:
        libraries.require(boosted[name].library)
        found.setdefault(boosted[name].library, name)
    if not found:
        raise ProjectError(
            "nothing to tune: the plan's candidates (MOD-02) have no lightgbm; "
            "`ml plan why MOD-02` tells the reason"
        )
    if project.facts.tuning == "none":
        raise ProjectError(
            "the plan tunes nothing (TRAIN-03): `ml plan why TRAIN-03` tells the reason"
        )
    return found


def _search(
    project: Project,
    data: Data,
    asked: Search,
    kept: search.Checkpoint,
    trials: int,
    budget: float,
) -> None:
    """Try settings until there are so many trials, or the seconds are over; one at least."""
    space, seed = search.SPACES[asked.library], project.config.training.seed
    library = libraries.LIBRARIES[asked.library]
    preset = {**library.PRESET, **library.sized(len(data.y))}
    first = {name: preset[name] for name in space}
    ended = time.monotonic() + budget
    while len(done := kept.trials(asked.name)) < trials and (not done or time.monotonic() < ended):
        params = search.proposed(project.facts.tuning, seed, space, first, done)
        with progress.part(f"{asked.name}, trial", len(done) + 1, trials):
            result = training.cross_validate(asked.kind, data, asked.parts, project, params)
        tested = known(result.oof)
        loss = models.loss(project.facts.primary_metric, data.y[tested], result.oof[tested])
        kept.add(asked.name, search.Trial(params, loss, float(np.mean(result.scores))))
