"""What `ml tune` searches, what chooses the next trial, and what it has found so far."""

import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import storage

Space = dict[str, tuple[float, float, tuple[float, ...]]]
# Of each library, from least to most, and the steps of a grid. What is below 1 is a share.
SPACES: dict[str, Space] = {
    "lightgbm": {
        "num_leaves": (7, 127, (7, 15, 31, 63, 127)),
        "min_data_in_leaf": (3, 100, (3, 10, 30, 100)),
        "feature_fraction": (0.2, 1.0, (0.3, 0.6, 1.0)),
    },
    "catboost": {
        "depth": (4, 8, (4, 6, 8)),
        "l2_leaf_reg": (1, 30, (1, 3, 10, 30)),
        "rsm": (0.2, 1.0, (0.3, 0.6, 1.0)),
    },
    "xgboost": {
        "max_depth": (2, 10, (2, 4, 6, 10)),
        "min_child_weight": (1, 100, (1, 3, 10, 30, 100)),
        "colsample_bytree": (0.2, 1.0, (0.3, 0.6, 1.0)),
    },
}


class Trial(NamedTuple):
    """Settings that were tried, their loss out of fold and their score."""

    params: dict[str, float]
    loss: float
    score: float


Try = Callable[[dict[str, float]], tuple[float, float]]  # from settings to loss and score


class Checkpoint:
    """Finished trials in a file, one a line, behind a line of what they were made with.

    A line is on disk before the next trial begins; one that a kill has cut is no trial. Trials made
    with anything else are left behind: `ignored` names what is another now.
    """

    def __init__(self, path: Path, made_with: dict[str, Any]) -> None:
        self.path = path
        made_with = json.loads(json.dumps(made_with))  # as it is read again
        lines = path.read_text(encoding="utf-8").splitlines(True) if path.exists() else []
        rows = [json.loads(line) for line in lines if line.endswith("}\n")]
        known = rows[0] if rows else made_with
        self.ignored = [name for name in made_with if known.get(name) != made_with[name]]
        if self.ignored or not rows:
            rows = [made_with]
        self._trials = rows[1:]
        storage.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))

    def trials(self, search: str) -> list[Trial]:
        """Return the finished trials of one search."""
        return [Trial(*row["trial"]) for row in self._trials if row["search"] == search]

    def add(self, search: str, trial: Trial) -> None:
        """Keep a finished trial."""
        row = {"search": search, "trial": list(trial)}
        self._trials.append(row)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())


def proposed(
    method: str, seed: int, space: Space, first: dict[str, float], done: list[Trial]
) -> dict[str, float]:
    """Return the settings of the next trial, as decision TRAIN-03 says; `first` are the first ones.

    tpe: by what earlier ones gave (Bergstra et al. 2011); random: at random (Bergstra and Bengio
    2012); grid: every combination of the steps, in an order drawn at random. The same `done` give
    the same trial, whoever made them: a search that was stopped goes on as if it had not been.
    """
    import optuna

    number, method = len(done), method.removeprefix("nested_")
    if number == 0:
        return first
    if method == "grid":
        cells = list(itertools.product(*(steps for *_, steps in space.values())))
        order = np.random.default_rng(seed).permutation(len(cells))
        return dict(zip(space, cells[order[(number - 1) % len(cells)]], strict=True))
    samplers = optuna.samplers
    known = {"tpe": lambda: samplers.TPESampler(seed=seed + number, multivariate=True)}
    sampler = known.get(method, lambda: samplers.RandomSampler(seed + number))()
    study = optuna.create_study(sampler=sampler)
    ranges = _ranges(space)
    for trial in done:
        study.add_trial(
            optuna.trial.create_trial(params=trial.params, distributions=ranges, value=trial.loss)
        )
    return dict(study.ask(ranges).params)


def _ranges(space: Space) -> dict[str, Any]:
    """Whole numbers by orders of magnitude, shares evenly."""
    from optuna import distributions as kinds

    return {
        name: kinds.FloatDistribution(low, high)
        if low < 1
        else kinds.IntDistribution(int(low), int(high), log=True)
        for name, (low, high, _) in space.items()
    }
