"""Boosted trees by LightGBM, of several kinds, as plain data."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import progress
from ..errors import ProjectError
from .derived import Sees
from .fitting import Data, Fitted, Fold, Target
from .plain import LOGIT, SOFTMAX, Link, Matrix, forest_of_lightgbm, looked_up

# The fewest settings that held on fourteen public tables.
PRESET: dict[str, Any] = {
    "learning_rate": 0.05,
    "min_data_in_leaf": 10,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "feature_fraction": 0.6,
    "lambda_l2": 1.0,
    "cat_smooth": 20,
    "max_cat_to_onehot": 8,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
PATIENCE = 50
SMALL, LARGE = 15_000, 50_000
SMOOTHING = 20  # rows that the mean of all counts for in the mean of a level
INNER_FOLDS = 5

Tables = tuple[NDArray[np.float32], ...]
Goal = Callable[[Target], Target]  # from targets to what trees are fitted to


class Kind(NamedTuple):
    """What trees minimise and what they see.

    `target` learns from training rows what the trees are fitted to, and the link back. With
    `statistics` trees see the mean target of a level in place of its code (Micci-Barreca 2001),
    of training rows from other ones. With `smearing` the prediction of a logarithm becomes one of
    the mean (Duan 1983).
    """

    objective: dict[str, Any]
    target: Callable[[Target], tuple[Goal, Link]]
    statistics: bool = False
    smearing: bool = False


class _Boosted(NamedTuple):
    booster: Any
    link: Link
    tables: Tables
    workers: Callable[[Matrix], int]

    def sums(self, x: Matrix, rounds: int | None = None) -> NDArray[np.float64]:
        """Return what the first `rounds` trees add up to, of shape (rows,) or (rows, outputs)."""
        seen = _with_tables(x, self.tables)
        return np.asarray(
            self.booster.predict(
                seen, raw_score=True, num_iteration=rounds, num_threads=self.workers(x)
            )
        )


def labels(y: Target) -> tuple[Goal, Link]:
    """Classes 0 and 1: trees add up to log-odds."""
    return lambda values: values, LOGIT


def classes(y: Target) -> tuple[Goal, Link]:
    """Codes of several classes: trees add up to a number for each, of which softmax is taken."""
    return lambda values: values, SOFTMAX


def standardised(y: Target) -> tuple[Goal, Link]:
    """Deviations from the mean: single precision, in which trees are added up, is enough then."""
    mean, spread = float(y.mean()), float(y.std()) or 1.0
    return lambda values: (values - mean) / spread, Link("identity", spread, mean)


def logarithm(y: Target) -> tuple[Goal, Link]:
    """Logarithms, of values moved above 0 where need be; no prediction is far from those seen."""
    least = float(y.min())
    shift = 0.0 if least > 0 else 1.0 - least
    logs = np.log(y + shift)
    low, high = float(logs.min()) - 1, float(logs.max()) + 1
    scaled, link = standardised(logs)

    def goal(values: Target) -> Target:
        return scaled(np.log(np.maximum(values + shift, np.exp(low))))

    return goal, link._replace(kind="log", shift=shift, low=low, high=high)


def rates(y: Target) -> tuple[Goal, Link]:
    """Multiples of the mean: trees add up to the logarithm of the expected one."""
    if y.min() < 0:
        raise ProjectError(
            "Poisson and Tweedie need a target without negative values: override MOD-05 in "
            "plan/overrides.yaml with `squared`"
        )
    mean = float(y.mean()) or 1.0
    return lambda values: values / mean, Link("log", offset=float(np.log(mean)))


def fit(kind: Kind, data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Average `members` boosters that differ in their seed, each of `rounds` trees."""
    settings = dict(params)
    members, rounds = settings.pop("members", 1), settings.pop("rounds")
    smearing = settings.pop("smearing", 1.0)
    found = []
    for member in range(members):
        name = f"member {member + 1} of {members}, round" if members > 1 else "round"
        found.append(_boost(kind, data, None, seed + member, rounds, settings, name=name))
    link = found[0].link._replace(offset=found[0].link.offset + float(np.log(smearing)))

    def predict(x: Matrix) -> NDArray[np.float64]:
        return link.apply(np.mean([one.sums(x) for one in found], axis=0))

    boosters = [one.booster for one in found]
    return Fitted(forest_of_lightgbm(boosters, link, found[0].tables), predict)


def cross_validate(
    kind: Kind,
    data: Data,
    folds: list[Fold],
    seed: int,
    params: dict[str, Any],
    max_rounds: int,
    name: str = "lightgbm",
) -> tuple[dict[str, Any], list[NDArray[np.float64]]]:
    """Return settings with the rounds of the least mean loss, and each fold's predictions.

    One number of rounds serves all folds, so that no fold's score profits from a choice of its own.
    """
    settings = {"num_leaves": leaves(len(data.y)), **params}
    found: list[_Boosted] = []
    views: list[Sees | None] = []
    curves: list[NDArray[np.float64]] = []
    for train, valid in folds:
        progress.tell(f"cross-validating {name}, fold", len(found) + 1, len(folds))
        curve: dict[str, Any] = {}
        rows, sees = data.rows(train).learnt("trees")
        parts = rows, data.rows(valid).seen(sees)
        views.append(sees)
        found.append(_boost(kind, *parts, seed, max_rounds, settings, curve))
        curves.append(np.array(next(iter(curve["valid"].values()))))
    length = max(len(curve) for curve in curves)
    sizes = [len(valid) for _, valid in folds]
    # A fold that stopped early only grew worse: its last value stands for the rest.
    padded = [np.pad(curve, (0, length - len(curve)), mode="edge") for curve in curves]
    rounds = int(np.average(padded, axis=0, weights=sizes).argmin()) + 1
    predictions = [
        one.link.apply(one.sums(data.rows(valid).seen(sees).x, rounds))
        for one, sees, (_, valid) in zip(found, views, folds, strict=True)
    ]
    settings |= {"rounds": rounds}
    if not kind.smearing:
        return settings, predictions
    shifts = [one.link.shift for one in found]
    ratios = [
        (data.y[valid] + shift) / (predicted + shift)
        for (_, valid), predicted, shift in zip(folds, predictions, shifts, strict=True)
    ]
    factor = max(float(np.concatenate(ratios).mean()), 1e-3)
    moved = zip(predictions, shifts, strict=True)
    return (
        settings | {"smearing": factor},
        [(values + shift) * factor - shift for values, shift in moved],
    )


def leaves(rows: int) -> int:
    """Return how many leaves a tree has at most."""
    return 15 if rows < SMALL else 63


def _boost(
    kind: Kind,
    data: Data,
    valid: Data | None,
    seed: int,
    rounds: int,
    params: dict[str, Any],
    curve: dict[str, Any] | None = None,
    name: str = "round",
) -> _Boosted:
    import lightgbm as lgb

    def told(env: Any) -> None:
        progress.detail(name, env.iteration + 1, None if valid else rounds)  # or ended early

    goal, link = kind.target(data.y)
    y, x = goal(data.y), data.x
    tables: Tables = ()
    if kind.statistics:
        x, tables = _with_statistics(data, y, seed)
    settings = {**PRESET, "num_leaves": leaves(len(y)), **kind.objective, "seed": seed}
    if len(y) >= LARGE:
        settings["learning_rate"] = 0.1
    if data.levels:
        settings["num_class"] = len(data.levels)
    settings |= {**params, "num_threads": data.workers(x)}
    codes = [] if kind.statistics else list(range(len(data.spec.numeric), x.shape[1]))
    train = lgb.Dataset(x, y, categorical_feature=codes, free_raw_data=True)
    others, callbacks = [], [told]
    if valid is not None:
        others = [train.create_valid(_with_tables(valid.x, tables), goal(valid.y))]
        ended = lgb.early_stopping(PATIENCE, verbose=False)
        callbacks += [ended, lgb.record_evaluation(curve if curve is not None else {})]
    booster = lgb.train(
        settings, train, rounds, valid_sets=others, valid_names=["valid"], callbacks=callbacks
    )
    return _Boosted(booster, link, tables, data.workers)


def _with_statistics(data: Data, y: Target, seed: int) -> tuple[Matrix, Tables]:
    """Return training rows with the mean target of each level of other rows, and that of all."""
    width, rows = len(data.spec.numeric), len(y)
    x, tables = data.x.copy(), []
    fold = np.random.default_rng(seed).integers(0, INNER_FOLDS, rows)
    mean = float(y.mean())
    for index, feature in enumerate(data.spec.categorical, width):
        code, size = data.x[:, index].astype(np.intp), len(feature.levels) + 1
        place, cells = code * INNER_FOLDS + fold, size * INNER_FOLDS
        counts = np.bincount(place, minlength=cells).reshape(size, INNER_FOLDS)
        sums = np.bincount(place, y, cells).reshape(size, INNER_FOLDS)
        n, total = counts.sum(axis=1, keepdims=True), sums.sum(axis=1, keepdims=True)
        others = (total - sums + SMOOTHING * mean) / (n - counts + SMOOTHING)
        x[:, index] = others.ravel()[place]
        whole = (total + SMOOTHING * mean) / (n + SMOOTHING)
        tables.append(whole[:, 0].astype(np.float32))
    return x, tuple(tables)


def _with_tables(x: Matrix, tables: Tables) -> Matrix:
    if not tables:
        return x
    seen, width = x.copy(), x.shape[1] - len(tables)
    for index, table in enumerate(tables, width):
        seen[:, index] = looked_up(table, x[:, index])
    return seen
