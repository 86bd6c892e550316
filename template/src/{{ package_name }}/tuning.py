"""Spend more time on the model: search settings of boosting, and let `ml train` blend more."""

from typing import Any

import numpy as np

from . import models, training
from .engine import progress, storage
from .engine.data import validation
from .engine.data.kept import taken
from .engine.errors import ProjectError
from .engine.model import boosting, search
from .engine.model.fitting import known
from .engine.settings import Project


def run(project: Project, trials: int | None = None) -> dict[str, Any]:
    """Search settings of boosting by the loss out of fold; resumes where it was stopped.

    Searched with the plan's first kind of boosting, they serve every kind.

    The preset is the first trial, so that the best is never worse out of fold. Leaves
    data/processed/tuned.json, which `ml train` uses, and reports/tuning.json.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    boosted = models.kinds(project.facts)
    kinds = [name for name in project.facts.candidates if name in boosted]
    if not kinds:
        raise ProjectError(
            "nothing to tune: the plan's candidates (MOD-02) have no lightgbm; "
            "`ml plan why MOD-02` tells the reason"
        )
    if project.facts.tuning == "none":
        raise ProjectError(
            "the plan tunes nothing (TRAIN-03): `ml plan why TRAIN-03` tells the reason"
        )
    settings = project.config.tuning
    trials = trials or settings.trials
    frame, agreed, parts, data_sha256 = training.prepare(project)
    data = training.development_data(project, taken(frame, parts.development), agreed)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    journal = project.path("data/processed/tuning.log")
    journal.parent.mkdir(parents=True, exist_ok=True)
    # The project's lock is ours, so this one is what a kill left; Optuna would wait for it.
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    # Trials on other data or another split are no help: each such state has a study of its own.
    planned = repr((project.facts.split, project.facts.tuning, project.config.training))
    state = storage.sha256_text(data_sha256 + agreed.fingerprint + planned)[:12]
    study = optuna.create_study(
        study_name=state,
        storage=JournalStorage(JournalFileBackend(str(journal))),
        sampler=search.sampler(project.facts.tuning, project.config.training.seed),
        load_if_exists=True,
    )

    def finished() -> int:
        return sum(trial.state == optuna.trial.TrialState.COMPLETE for trial in study.trials)

    if not finished():  # a kill may have cut the first trial
        preset = {name: boosting.PRESET[name] for name in ("min_data_in_leaf", "feature_fraction")}
        study.enqueue_trial({"num_leaves": boosting.leaves(len(data.y)), **preset})

    def objective(trial: Any) -> float:
        params = search.suggested(trial)
        with progress.part("trial", finished() + 1, trials):
            result = training.cross_validate(kinds[0], data, parts, project, params)
        tested = known(result.oof)
        trial.set_user_attr("score", float(np.mean(result.scores)))
        return models.loss(project.facts.primary_metric, data.y[tested], result.oof[tested])

    study.optimize(objective, n_trials=max(0, trials - finished()), timeout=settings.time_limit_s)
    done = [trial for trial in study.trials if trial.value is not None]
    report = {
        "study": state,
        "made_up": validation.made_up(project),
        "trials": len(done),
        "default": {"loss": done[0].value, "score": done[0].user_attrs["score"]},
        "best": {
            "loss": study.best_value,
            "score": study.best_trial.user_attrs["score"],
            "params": study.best_params,
        },
    }
    storage.write_json(project.path("data/processed/tuned.json"), {"lightgbm": study.best_params})
    storage.write_json(project.path("reports/tuning.json"), report)
    return report
