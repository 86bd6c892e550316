"""Candidates and baselines. Each is fitted to plain data: sums of trees, or a linear model."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import progress
from .scorer import FeatureSpec

Matrix = NDArray[np.float32]
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


class Forest(NamedTuple):
    """Trees as parallel arrays in the layout of ONNX TreeEnsembleRegressor.

    A leaf has mode "LEAF" and its weight in `value`. Node numbers count within a tree.
    """

    tree: NDArray[np.int64]
    node: NDArray[np.int64]
    feature: NDArray[np.int64]
    mode: list[str]
    value: NDArray[np.float32]
    true: NDArray[np.int64]
    false: NDArray[np.int64]
    missing_true: NDArray[np.int64]
    log_odds: bool


class Linear(NamedTuple):
    """Log-odds = intercept + numbers @ weight + missing @ missing_weight + a weight per code."""

    intercept: float
    fill: NDArray[np.float32]
    weight: NDArray[np.float32]
    missing_weight: NDArray[np.float32]
    tables: tuple[NDArray[np.float32], ...]


Model = Forest | Linear


class Data(NamedTuple):
    """Training rows: matrix of shape (rows, features) and 0/1 labels of shape (rows,)."""

    x: Matrix
    y: Labels
    spec: FeatureSpec
    threads: int

    def rows(self, index: NDArray[np.intp]) -> "Data":
        """Return some of the rows."""
        return self._replace(x=self.x[index], y=self.y[index])


Predict = Callable[[Matrix], NDArray[np.float64]]


class Fitted(NamedTuple):
    """A fitted model as plain data, and its prediction of probabilities by the training library."""

    model: Model
    predict: Predict


def sigmoid(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities of log-odds without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * log_odds)))


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
    return Fitted(_forest_of_sklearn([tree]), lambda x: tree.predict_proba(x)[:, 1])


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


def linear_log_odds(model: Linear, x: Matrix) -> NDArray[np.float64]:
    """Evaluate a linear model on a matrix of shape (rows, features)."""
    width = len(model.weight)
    missing = np.isnan(x[:, :width])
    numbers = np.where(missing, model.fill, x[:, :width]).astype(np.float64)
    total = model.intercept + numbers @ model.weight + missing @ model.missing_weight
    for index, table in enumerate(model.tables):
        code = np.minimum(x[:, width + index], len(table) - 1).astype(np.intp)
        total += table[code]
    return np.asarray(total)


def lightgbm(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Average `members` boosters that differ in their seed, each of `rounds` trees."""
    settings = dict(params)
    members, rounds = settings.pop("members", 1), settings.pop("rounds")
    boosters = []
    for member in range(members):
        name = f"member {member + 1} of {members}, round" if members > 1 else "round"
        boosters.append(_boost(data, None, seed + member, rounds, settings, name=name))

    def predict(x: Matrix) -> NDArray[np.float64]:
        raw = [np.asarray(booster.predict(x, raw_score=True)) for booster in boosters]
        return sigmoid(np.mean(raw, axis=0))

    return Fitted(_forest_of_lightgbm(boosters), predict)


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
        np.asarray(booster.predict(data.x[valid], num_iteration=rounds))
        for booster, (_, valid) in zip(boosters, folds, strict=True)
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
        n_jobs=data.threads or -1,
        random_state=seed,
    )
    forest.fit(data.x, data.y)
    return Fitted(
        _forest_of_sklearn(list(forest.estimators_)), lambda x: forest.predict_proba(x)[:, 1]
    )


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
    settings = {**LIGHTGBM, "learning_rate": rate, "num_threads": data.threads, "seed": seed}
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


def floor32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the largest float32 not above each value: x <= t stays the same for float32 x."""
    with np.errstate(over="ignore"):
        near = values.astype(np.float32)
    return np.where(near > values, np.nextafter(near, np.float32(-np.inf)), near)


class _Nodes:
    """Collects the nodes of a forest."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, int, str, float, int, int, int]] = []

    def forest(self, *, log_odds: bool) -> Forest:
        tree, node, feature, mode, value, true, false, missing = zip(*self.rows, strict=True)
        return Forest(
            np.array(tree),
            np.array(node),
            np.array(feature),
            list(mode),
            # Leaf weights are rounded to nearest; thresholds were floored before.
            np.array(value, dtype=np.float64).astype(np.float32),
            np.array(true),
            np.array(false),
            np.array(missing),
            log_odds,
        )


def _forest_of_lightgbm(boosters: list[Any]) -> Forest:
    nodes = _Nodes()
    number = 0
    for booster in boosters:
        for tree in booster.dump_model()["tree_info"]:
            _add_lightgbm(nodes, number, tree["tree_structure"], 1 / len(boosters))
            number += 1
    return nodes.forest(log_odds=True)


def _add_lightgbm(nodes: _Nodes, tree: int, root: dict[str, Any], share: float) -> None:
    count = 1
    waiting = [(root, 0)]
    while waiting:
        node, number = waiting.pop()
        if "leaf_value" in node:
            nodes.rows.append((tree, number, 0, "LEAF", node["leaf_value"] * share, 0, 0, 0))
            continue
        left, right = count, count + 1
        count += 2
        waiting += [(node["left_child"], left), (node["right_child"], right)]
        feature = node["split_feature"]
        if node["decision_type"] == "<=":
            threshold = float(floor32(np.array([node["threshold"]]))[0])
            nan_left = node["default_left"] if node["missing_type"] == "NaN" else threshold >= 0
            nodes.rows.append(
                (tree, number, feature, "BRANCH_LEQ", threshold, left, right, int(nan_left))
            )
            continue
        # A set of codes becomes a chain of equalities that share their true branch.
        codes = [float(code) for code in node["threshold"].split("||")]
        for index, code in enumerate(codes):
            last = index == len(codes) - 1
            following = right if last else count
            nodes.rows.append((tree, number, feature, "BRANCH_EQ", code, left, following, 0))
            if not last:
                number = count
                count += 1


def _forest_of_sklearn(estimators: list[Any]) -> Forest:
    nodes = _Nodes()
    for number, estimator in enumerate(estimators):
        tree = estimator.tree_
        thresholds = floor32(tree.threshold)
        shares = tree.value[:, 0, :] / tree.value[:, 0, :].sum(axis=1, keepdims=True)
        for node in range(tree.node_count):
            if tree.children_left[node] < 0:
                weight = shares[node, 1] / len(estimators)
                nodes.rows.append((number, node, 0, "LEAF", weight, 0, 0, 0))
            else:
                nodes.rows.append(
                    (
                        number,
                        node,
                        int(tree.feature[node]),
                        "BRANCH_LEQ",
                        float(thresholds[node]),
                        int(tree.children_left[node]),
                        int(tree.children_right[node]),
                        int(tree.missing_go_to_left[node]),
                    )
                )
    return nodes.forest(log_odds=False)
