"""Spend more time on the model: search its settings, and let `ml train` blend the candidates."""

from typing import Any

import numpy as np

from . import training
from .engine import metrics, progress, storage
from .engine.data import validation
from .engine.errors import ProjectError
from .engine.settings import Project


def run(project: Project, trials: int | None = None) -> dict[str, Any]:
    """Search LightGBM's settings by cross-validated log loss; resumes where it was stopped.

    The preset is the first trial, so that the best is never worse out of fold. Leaves
    data/processed/tuned.json, which `ml train` uses, and reports/tuning.json.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if "lightgbm" not in project.facts.candidates:
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
    data = training.development_data(project, frame, agreed, parts)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    journal = project.path("data/processed/tuning.log")
    journal.parent.mkdir(parents=True, exist_ok=True)
    # The project's lock is ours, so this one is what a kill left; Optuna would wait for it.
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    # Trials on other data or another split are no help: each such state has a study of its own.
    state = storage.sha256_text(
        data_sha256 + agreed.fingerprint + repr((project.facts.split, project.config.training))
    )[:12]
    study = optuna.create_study(
        study_name=state,
        storage=JournalStorage(JournalFileBackend(str(journal))),
        sampler=optuna.samplers.TPESampler(seed=project.config.training.seed, multivariate=True),
        load_if_exists=True,
    )

    def finished() -> int:
        return sum(trial.state == optuna.trial.TrialState.COMPLETE for trial in study.trials)

    if not finished():  # a kill may have cut the first trial
        study.enqueue_trial(
            {
                "num_leaves": 31,
                "min_data_in_leaf": 20,
                "feature_fraction": 0.6,
                "bagging_fraction": 0.8,
                "lambda_l2": 1.0,
                "lambda_l1": 1e-3,
                "cat_smooth": 20.0,
            }
        )

    def objective(trial: Any) -> float:
        params = {
            "num_leaves": trial.suggest_int("num_leaves", 7, 255, log=True),
            "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 5, 200, log=True),
            "feature_fraction": trial.suggest_float("feature_fraction", 0.3, 1.0),
            "bagging_fraction": trial.suggest_float("bagging_fraction", 0.5, 1.0),
            "lambda_l1": trial.suggest_float("lambda_l1", 1e-3, 10.0, log=True),
            "lambda_l2": trial.suggest_float("lambda_l2", 1e-3, 30.0, log=True),
            "cat_smooth": trial.suggest_float("cat_smooth", 1.0, 100.0, log=True),
        }
        with progress.part("trial", finished() + 1, trials):
            result = training.cross_validate("lightgbm", data, parts, project, params)
        known = ~np.isnan(result.oof)
        trial.set_user_attr("score", float(np.mean(result.scores)))
        return metrics.log_loss(data.y[known], result.oof[known])

    study.optimize(objective, n_trials=max(0, trials - finished()), timeout=settings.time_limit_s)
    done = [trial for trial in study.trials if trial.value is not None]
    report = {
        "study": state,
        "made_up": validation.made_up(project),
        "trials": len(done),
        "default": {"log_loss": done[0].value, "score": done[0].user_attrs["score"]},
        "best": {
            "log_loss": study.best_value,
            "score": study.best_trial.user_attrs["score"],
            "params": study.best_params,
        },
    }
    storage.write_json(project.path("data/processed/tuned.json"), {"lightgbm": study.best_params})
    storage.write_json(project.path("reports/tuning.json"), report)
    return report
