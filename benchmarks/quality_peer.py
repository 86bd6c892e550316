"""Fit AutoGluon or FLAML to a training file and predict a test file, in an environment of its own.

Called by quality.py with the tool, the task, both files, CPU seconds (0: as many as it takes) and a
seed. Prints one line of JSON: CPU seconds of the fit and predictions. One thread; the clock that
the tools read their budget from is that of the CPU, so that other work on the machine takes
nothing from it.
"""

import json
import os
import sys
import tempfile
import time
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd


def cpu() -> float:
    """Return the CPU seconds of this process and its ended children."""
    taken = os.times()
    return taken.user + taken.system + taken.children_user + taken.children_system


def flaml(task: str, train: pd.DataFrame, budget: float, seed: int) -> Any:
    """Return FLAML's best model after `budget` seconds."""
    from flaml import AutoML

    kind, metric = {"binary": ("classification", "log_loss")}.get(task, ("regression", "rmse"))
    settings = {"task": kind, "metric": metric, "time_budget": budget, "n_jobs": 1, "verbose": 0}
    model = AutoML()
    model.fit(train.drop(columns="target"), train["target"], seed=seed, **settings)
    return model


def autogluon(preset: str, task: str, train: pd.DataFrame, budget: float, seed: int) -> Any:
    """Return AutoGluon's predictor; `budget` 0 lets the preset end by itself."""
    from autogluon.tabular import TabularPredictor

    metric = {"binary": "log_loss"}.get(task, "root_mean_squared_error")
    model = TabularPredictor(
        "target",
        problem_type=task,
        eval_metric=metric,
        path=tempfile.mkdtemp(dir="."),
        verbosity=0,
        learner_kwargs={"random_state": seed},
    )
    return model.fit(
        train,
        time_limit=budget or None,
        presets=preset,
        dynamic_stacking=False,
        num_cpus=1,
        num_gpus=0,
    )


def main() -> None:
    """Fit and predict."""
    tool, task, train_path, test_path, budget, seed = sys.argv[1:]
    train, test = pd.read_parquet(train_path), pd.read_parquet(test_path).drop(columns="target")
    if tool == "FLAML":
        for name in train.select_dtypes(exclude="number"):
            train[name] = train[name].astype("category")
            test[name] = pd.Categorical(test[name], categories=train[name].cat.categories)
    import_module("flaml.automl" if tool == "FLAML" else "autogluon.tabular")  # is no part of a fit
    epoch, wall = time.time() - cpu(), time.time
    time.time = lambda: epoch + cpu()
    before = cpu()
    if tool == "FLAML":
        model = flaml(task, train, float(budget), int(seed))
    else:
        model = autogluon(tool.split()[-1] + "_quality", task, train, float(budget), int(seed))
    seconds, time.time = cpu() - before, wall
    found = model.predict_proba(test) if task == "binary" else model.predict(test)
    scores = np.asarray(found, dtype=float)
    scores = scores[:, 1] if scores.ndim > 1 else scores
    print(json.dumps({"cpu": seconds, "scores": scores.tolist()}))


main()
