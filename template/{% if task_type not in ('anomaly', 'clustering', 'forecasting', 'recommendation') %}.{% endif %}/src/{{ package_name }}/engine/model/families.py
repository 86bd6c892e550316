"""Families of models beside linear ones and boosting, each from training rows to plain data.

A fitter here takes what the target is: `classify` with 0 and 1, or with the codes of the levels
that `Data` has, or numbers. All also take 0 and 1 of several labels, of shape (rows, labels). Fewer
rows than there are may be enough to fit one; they are drawn at random.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import boosting, linear
from .dense import Floats, Layer, Neighbours, Network, kernel_means, learn, squared_distances
from .fitting import Data, Fitted, drawn
from .plain import IDENTITY, LOGIT, SOFTMAX, Link, Matrix, forest_of_sklearn

TREE_LEAVES = 32  # that a person can still follow
WAVES = 500  # random features of the kernel machine
KERNEL_ROWS, NETWORK_ROWS, KNOWN_ROWS = 50_000, 100_000, 2000
NEIGHBOURS = (10, 25, 60, 150)
LAYERS = (64, 32)
UNCERTAIN = 0.005  # of the shares in leaves goes to all alike: none is impossible


def single_rule(data: Data, seed: int, params: dict[str, Any], *, classify: bool) -> Fitted:
    """Predict by the best single cut on a single column: a rule of thumb, found in the data."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    kind = DecisionTreeClassifier if classify else DecisionTreeRegressor
    return _trees(kind(max_depth=1, min_samples_leaf=10, random_state=seed), data, classify)


def decision_tree(data: Data, seed: int, params: dict[str, Any], *, classify: bool) -> Fitted:
    """Fit one tree of TREE_LEAVES leaves at most (Breiman et al. 1984): a model to read."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    kind = DecisionTreeClassifier if classify else DecisionTreeRegressor
    least = max(10, len(data.y) // 200)
    tree = kind(max_leaf_nodes=TREE_LEAVES, min_samples_leaf=least, random_state=seed)
    return _trees(tree, data, classify)


def random_forest(data: Data, seed: int, params: dict[str, Any], *, classify: bool) -> Fitted:
    """Average 100 trees of resampled rows, each cut among some columns only (Breiman 2001).

    The least rows of a leaf grow with the data, so that the graph stays small.
    """
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    kind = RandomForestClassifier if classify else RandomForestRegressor
    return _trees(_many(kind, data, seed, "sqrt" if classify else 1 / 3), data, classify)


def bagged_trees(data: Data, seed: int, params: dict[str, Any], *, classify: bool) -> Fitted:
    """Average 100 trees of resampled rows, each of which sees all columns (Breiman 1996)."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    kind = RandomForestClassifier if classify else RandomForestRegressor
    return _trees(_many(kind, data, seed, 1.0), data, classify)


def extra_trees(data: Data, seed: int, params: dict[str, Any], *, classify: bool) -> Fitted:
    """Average 100 extremely randomised trees (Geurts 2006), which err otherwise than boosting.

    The least rows of a leaf grow with the data, so that the graph stays small.
    """
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    kind = ExtraTreesClassifier if classify else ExtraTreesRegressor
    return _trees(_many(kind, data, seed, 0.5), data, classify)


def _many(kind: type[Any], data: Data, seed: int, tried: float | str) -> Any:
    """Return 100 trees to be fitted; `tried` is the share of columns that a cut may choose from."""
    least, workers = max(5, len(data.y) // 2000), data.workers(data.x)
    return kind(100, min_samples_leaf=least, max_features=tried, n_jobs=workers, random_state=seed)


def _trees(estimator: Any, data: Data, classify: bool) -> Fitted:
    goal, link = (data.y, IDENTITY) if classify else _standardised(data.y)
    outputs = data.y.shape[1] if data.y.ndim > 1 else 1
    if outputs > 1:  # the squared error of 0 and 1 is half of Gini's impurity: leaves hold shares
        goal, link = data.y, Link("identity", 1 - UNCERTAIN, UNCERTAIN / 2)
    estimator.fit(data.x, goal)
    if data.levels:
        return _shares(data, estimator)
    members = list(getattr(estimator, "estimators_", [estimator]))

    def predict(x: Matrix) -> Floats:
        if hasattr(estimator, "n_jobs"):
            estimator.n_jobs = data.workers(x)
        return link.apply(estimator.predict_proba(x)[:, 1] if classify else estimator.predict(x))

    return Fitted(lambda: forest_of_sklearn(members, link, outputs), predict)


def _shares(data: Data, estimator: Any) -> Fitted:
    """Return fitted trees of scikit-learn whose leaves hold shares of the levels of `data`."""
    codes, levels = estimator.classes_, len(data.levels)
    link = Link("identity", 1 - UNCERTAIN, UNCERTAIN / levels)
    members = list(getattr(estimator, "estimators_", [estimator]))

    def predict(x: Matrix) -> Floats:
        if hasattr(estimator, "n_jobs"):
            estimator.n_jobs = data.workers(x)
        shares = np.zeros((len(x), levels))
        shares[:, codes] = estimator.predict_proba(x)
        return link.apply(shares)

    return Fitted(lambda: forest_of_sklearn(members, link, levels, codes), predict)


def kernel_machine(data: Data, seed: int, params: dict[str, Any], *, classify: bool) -> Fitted:
    """Fit a linear model to WAVES random Fourier features (Rahimi and Recht 2007).

    They approximate a machine with a Gaussian kernel, whose width is the median distance of two
    rows.
    """
    from sklearn.linear_model import LogisticRegression, RidgeCV

    data = data.rows(drawn(np.arange(len(data.y)), KERNEL_ROWS, seed))
    inputs = learn(data.x, data.spec)
    vectors = inputs.apply(data.x)
    rng = np.random.default_rng(seed)
    some = vectors[rng.permutation(len(vectors))[:500]]
    squares = squared_distances(some, some)
    width = float(np.median(squares[np.triu_indices(len(some), 1)])) if len(some) > 1 else 1.0
    weight = rng.normal(size=(vectors.shape[1], WAVES)) / np.sqrt(width or 1.0)
    waves = Layer(weight, rng.uniform(0, 2 * np.pi, WAVES), "sine")
    features = np.sin(vectors @ waves.weight + waves.bias)
    if data.y.ndim > 1:
        last, link = Layer(*linear.of_each(features, data.y)), LOGIT
    elif classify:
        estimator = LogisticRegression(C=1.0, max_iter=500, random_state=seed)
        estimator.fit(features, data.y)
        last, link = _last(estimator.coef_.T, estimator.intercept_, estimator, data)
    else:
        goal, link = _standardised(data.y)
        estimator = RidgeCV(np.logspace(-3, 3, 7)).fit(features, goal)
        last = Layer(estimator.coef_[:, None], np.array([estimator.intercept_]))
    return _whole(Network(inputs, (waves, last), link))


def neural_network(data: Data, seed: int, params: dict[str, Any], *, classify: bool) -> Fitted:
    """Fit a perceptron with two hidden layers by Adam, stopped early on a tenth of the rows."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    data = data.rows(drawn(np.arange(len(data.y)), NETWORK_ROWS, seed))
    inputs = learn(data.x, data.spec)
    goal, link = (data.y, IDENTITY) if classify else _standardised(data.y)
    kind = MLPClassifier if classify else MLPRegressor
    alone = classify and np.unique(data.y, return_counts=True)[1].min() < 2  # in no tenth of rows
    estimator = kind(
        hidden_layer_sizes=LAYERS,
        alpha=1e-3,
        batch_size=128,
        early_stopping=not alone,
        random_state=seed,
    )
    estimator.fit(inputs.apply(data.x), goal)
    pairs = list(zip(estimator.coefs_, estimator.intercepts_, strict=True))
    hidden = [Layer(weight, bias, "relu") for weight, bias in pairs[:-1]]
    last = Layer(*pairs[-1])
    if classify:
        last, link = _last(*pairs[-1], estimator, data)
    return _whole(Network(inputs, (*hidden, last), link))


def _last(weight: Floats, bias: Floats, estimator: Any, data: Data) -> tuple[Layer, Link]:
    """Return the last layer of a classifier and its link."""
    if not data.levels:
        return Layer(weight, bias), LOGIT
    return Layer(*linear.of_classes(weight, bias, estimator.classes_, data)), SOFTMAX


def nearest_neighbours(data: Data, seed: int, params: dict[str, Any], *, classify: bool) -> Fitted:
    """Keep KNOWN_ROWS rows; how many neighbours count is chosen by leaving each row out."""
    data = data.rows(drawn(np.arange(len(data.y)), KNOWN_ROWS, seed))
    inputs = learn(data.x, data.spec)
    rows, values, link = inputs.apply(data.x), data.y.astype(np.float64), IDENTITY
    if levels := len(data.levels):
        values, link = np.eye(levels)[data.y], Link("identity", 1 - UNCERTAIN, UNCERTAIN / levels)
    elif values.ndim > 1:
        link = Link("identity", 1 - UNCERTAIN, UNCERTAIN / 2)
    else:
        values = values[:, None]
    squares = squared_distances(rows, rows)
    np.fill_diagonal(squares, np.inf)
    most = max(1, len(rows) - 2)
    errors = {
        k: float(np.square(kernel_means(squares, values, k) - values).mean())
        for k in dict.fromkeys(min(k, most) for k in NEIGHBOURS)
    }
    return _whole(Neighbours(inputs, rows, values, min(errors, key=errors.__getitem__), link))


def _standardised(y: NDArray[Any]) -> tuple[Floats, Link]:
    goal, link = boosting.standardised(y)
    return goal(y), link


def _whole(model: Network | Neighbours) -> Fitted:
    return Fitted(model, model.predict)


FITTERS = {
    "extra_trees": extra_trees,
    "decision_tree": decision_tree,
    "nearest_neighbours": nearest_neighbours,
    "random_forest": random_forest,
    "bagged_trees": bagged_trees,
    "kernel_machine": kernel_machine,
    "neural_network": neural_network,
}
