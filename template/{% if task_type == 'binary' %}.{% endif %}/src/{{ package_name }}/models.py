"""Candidates and baselines. Each is fitted to plain data: sums of trees, or a linear model."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .engine import progress, threads
from .engine.model.plain import (
    Linear,
    Matrix,
    Model,
    Predict,
    forest_of_lightgbm,
    forest_of_sklearn,
    linear_log_odds,
    sigmoid,
)
from .engine.model.scorer import FeatureSpec

Labels = NDArray[np.int8]

# Preset measured on eight public tables; the fewest settings that held on all of them.
LIGHTGBM: dict[str, Any] = {
    "objective": "binary",
    "metric": "binary_logloss",
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 20,
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
LINEAR_LEVELS = 50
LARGE = 50_000


class Data(NamedTuple):
    """Training rows: matrix of shape (rows, features) and 0/1 labels of shape (rows,)."""

    x: Matrix
    y: Labels
    spec: FeatureSpec
    threads: int  # 0: as many as the size asks for

    def rows(self, index: NDArray[np.intp]) -> "Data":
        """Return some of the rows."""
        return self._replace(x=self.x[index], y=self.y[index])

    def workers(self, x: Matrix) -> int:
        """Return how many threads fit a matrix or predict its rows."""
        return threads.workers(self.threads, x.size)


class Fitted(NamedTuple):
    """A fitted model as plain data, and its prediction of probabilities by the training library."""

    model: Model
    predict: Predict


def class_prior(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Predict the share of positives for every row."""
    rate = float(data.y.mean())
    empty = np.zeros(len(data.spec.numeric), dtype=np.float32)
    tables = tuple(np.zeros(1, dtype=np.float32) for _ in data.spec.categorical)
    model = Linear(float(np.log(rate / (1 - rate))), empty, empty, empty, tables)
    return Fitted(model, lambda x: np.full(len(x), rate))


def single_rule(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Predict by the best single cut on a single column: a rule of thumb, found in the data."""
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_depth=1, min_samples_leaf=10, random_state=seed)
    tree.fit(data.x, data.y)
    return Fitted(forest_of_sklearn([tree]), lambda x: tree.predict_proba(x)[:, 1])


def logistic_regression(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Standardised numbers with missing indicators, one-hot levels, L2 penalty."""
    from sklearn.linear_model import LogisticRegression

    width = len(data.spec.numeric)
    sizes = [min(len(feature.levels), LINEAR_LEVELS) + 1 for feature in data.spec.categorical]
    matrix, center, spread = _linear_columns(data, sizes)
    fill = center.astype(np.float32)
    estimator = LogisticRegression(C=1.0, max_iter=500, random_state=seed)
    estimator.fit(matrix, data.y)
    coefficients = estimator.coef_[0]
    weight = coefficients[:width] / spread
    tables, start = [], 2 * width
    for size in sizes:
        tables.append(coefficients[start : start + size].astype(np.float32))
        start += size
    model = Linear(
        float(estimator.intercept_[0] - (weight * center).sum()),
        fill,
        weight.astype(np.float32),
        coefficients[width : 2 * width].astype(np.float32),
        tuple(tables),
    )
    return Fitted(model, lambda x: sigmoid(linear_log_odds(model, x)))


def _linear_columns(
    data: Data, sizes: list[int]
) -> tuple[Any, NDArray[np.float64], NDArray[np.float64]]:
    """Return the sparse columns of the linear model, and mean and deviation of the numbers.

    First numbers, then whether each is missing, then one column for each code. All rows have as
    many entries: the matrix is filled in place, which takes half of the memory of joined parts.
    """
    from scipy import sparse

    width, rows = len(data.spec.numeric), len(data.y)
    gaps = [j for j in range(width) if np.isnan(data.x[:, j]).any()]
    entries = width + len(gaps) + len(sizes)
    values = np.ones((rows, entries))
    places = np.empty((rows, entries), dtype=np.int32)
    center, spread = np.zeros(width), np.ones(width)
    for j in range(width):
        column = data.x[:, j].astype(np.float64)
        missing = np.isnan(column)
        if not missing.all():
            center[j] = column[~missing].mean()
        column[missing] = np.float32(center[j])
        spread[j] = column.std() or 1.0
        values[:, j], places[:, j] = (column - center[j]) / spread[j], j
        if j in gaps:
            place = width + gaps.index(j)
            values[:, place], places[:, place] = missing, width + j
    start = 2 * width
    for index, size in enumerate(sizes):
        code = np.minimum(data.x[:, width + index], size - 1)
        places[:, width + len(gaps) + index] = start + code
        start += size
    ends = np.arange(0, rows * entries + 1, max(1, entries))
    matrix = sparse.csr_matrix((values.ravel(), places.ravel(), ends), (rows, start))
    return matrix, center, spread


def lightgbm(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Average `members` boosters that differ in their seed, each of `rounds` trees."""
    settings = dict(params)
    members, rounds = settings.pop("members", 1), settings.pop("rounds")
    boosters = []
    for member in range(members):
        name = f"member {member + 1} of {members}, round" if members > 1 else "round"
        boosters.append(_boost(data, None, seed + member, rounds, settings, name=name))

    def predict(x: Matrix) -> NDArray[np.float64]:
        workers = data.workers(x)
        raw = [booster.predict(x, raw_score=True, num_threads=workers) for booster in boosters]
        return sigmoid(np.mean(raw, axis=0))

    return Fitted(forest_of_lightgbm(boosters), predict)


def lightgbm_rounds(
    data: Data,
    folds: list[tuple[NDArray[np.intp], NDArray[np.intp]]],
    seed: int,
    params: dict[str, Any],
    max_rounds: int,
) -> tuple[int, list[NDArray[np.float64]]]:
    """Cross-validate; return the rounds with the least mean log loss and each fold's predictions.

    One number of rounds serves all folds, so that no fold's score profits from a choice of its own.
    """
    boosters: list[Any] = []
    curves = []
    for train, valid in folds:
        progress.tell("cross-validating lightgbm, fold", len(boosters) + 1, len(folds))
        curve: dict[str, Any] = {}
        boosters.append(_boost(data.rows(train), data.rows(valid), seed, max_rounds, params, curve))
        curves.append(np.array(curve["valid"]["binary_logloss"]))
    length = max(len(curve) for curve in curves)
    sizes = [len(valid) for _, valid in folds]
    # A fold that stopped early only grew worse: its last value stands for the rest.
    padded = [np.pad(curve, (0, length - len(curve)), mode="edge") for curve in curves]
    rounds = int(np.average(padded, axis=0, weights=sizes).argmin()) + 1
    predictions = [
        booster.predict(x, num_iteration=rounds, num_threads=data.workers(x))
        for booster, x in zip(boosters, (data.x[valid] for _, valid in folds), strict=True)
    ]
    return rounds, predictions


def extra_trees(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Average 100 extremely randomised trees (Geurts 2006), which err otherwise than boosting.

    The least rows of a leaf grow with the data, so that the graph stays small.
    """
    from sklearn.ensemble import ExtraTreesClassifier

    forest = ExtraTreesClassifier(
        100,
        min_samples_leaf=max(5, len(data.y) // 2000),
        max_features=0.5,
        n_jobs=data.workers(data.x),
        random_state=seed,
    )
    forest.fit(data.x, data.y)

    def predict(x: Matrix) -> NDArray[np.float64]:
        forest.n_jobs = data.workers(x)
        return np.asarray(forest.predict_proba(x)[:, 1])

    return Fitted(forest_of_sklearn(list(forest.estimators_)), predict)


FITTERS: dict[str, Callable[[Data, int, dict[str, Any]], Fitted]] = {
    "class_prior": class_prior,
    "single_rule": single_rule,
    "logistic_regression": logistic_regression,
    "lightgbm": lightgbm,
    "extra_trees": extra_trees,
}
# From simple to complex: a later one is chosen only when it is clearly better.
LADDER = ("class_prior", "single_rule", "logistic_regression", "extra_trees", "lightgbm", "blend")


def _boost(
    data: Data,
    valid: Data | None,
    seed: int,
    rounds: int,
    params: dict[str, Any],
    curve: dict[str, Any] | None = None,
    name: str = "round",
) -> Any:
    import lightgbm as lgb

    def told(env: Any) -> None:
        progress.detail(name, env.iteration + 1, None if valid else rounds)  # or ended early

    rate = 0.05 if len(data.y) < LARGE else 0.1
    settings = {**LIGHTGBM, "learning_rate": rate, "seed": seed}
    settings["num_threads"] = data.workers(data.x)
    codes = list(range(len(data.spec.numeric), data.x.shape[1]))
    train = lgb.Dataset(data.x, data.y, categorical_feature=codes, free_raw_data=True)
    if valid is None:
        return lgb.train({**settings, **params}, train, rounds, callbacks=[told])
    return lgb.train(
        {**settings, **params},
        train,
        rounds,
        valid_sets=[train.create_valid(valid.x, valid.y)],
        valid_names=["valid"],
        callbacks=[
            told,
            lgb.early_stopping(PATIENCE, verbose=False),
            lgb.record_evaluation(curve if curve is not None else {}),
        ],
    )
