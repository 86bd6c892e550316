"""Candidates and baselines. Each is fitted to plain data: sums of trees, or a linear model."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine import metrics
from .engine.facts import Facts
from .engine.model import boosting, families, linear
from .engine.model.dense import Layer, Network, learn
from .engine.model.fitting import Data, Fitted, Fitter, drawn
from .engine.model.one_vs_rest import boosted, odds_of_shares, of_trees, truth
from .engine.model.plain import LOGIT


def label_shares(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Predict the share of each label for every row."""
    return linear.constant(data, odds_of_shares(truth(data)), LOGIT)


def single_rule(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Predict by the best single cut on a single column: a rule of thumb, found in the data."""
    from sklearn.tree import DecisionTreeRegressor

    return of_trees(
        data, DecisionTreeRegressor(max_depth=1, min_samples_leaf=10, random_state=seed)
    )


def logistic_regression(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """One for each label: standardised numbers with missing indicators, one-hot levels, L2 penalty.

    A label that all rows or none have gets the log-odds of its share.
    """
    from sklearn.linear_model import LogisticRegression

    design, sets = linear.design(data), truth(data)
    weights, intercepts = np.zeros((design.columns.shape[1], sets.shape[1])), odds_of_shares(sets)
    for label in np.flatnonzero((sets != sets[0]).any(axis=0)):
        estimator = LogisticRegression(C=1.0, max_iter=500, random_state=seed)
        estimator.fit(design.columns, sets[:, label])
        weights[:, label], intercepts[label] = estimator.coef_[0], estimator.intercept_[0]
    return linear.fitted(design, weights, intercepts, LOGIT)


def decision_tree(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Fit one tree for all labels, of few leaves (Breiman et al. 1984): a model to read."""
    from sklearn.tree import DecisionTreeRegressor

    least = max(10, len(data.y) // 200)
    tree = DecisionTreeRegressor(
        max_leaf_nodes=families.TREE_LEAVES, min_samples_leaf=least, random_state=seed
    )
    return of_trees(data, tree)


def random_forest(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Average 100 trees of resampled rows, each for all labels (random forest, Breiman 2001)."""
    from sklearn.ensemble import RandomForestRegressor

    return of_trees(
        data,
        RandomForestRegressor(
            100,
            min_samples_leaf=max(5, len(data.y) // 2000),
            max_features="sqrt",
            n_jobs=data.workers(data.x),
            random_state=seed,
        ),
    )


def extra_trees(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Average 100 extremely randomised trees, each for all labels (Geurts 2006).

    The least rows of a leaf grow with the data, so that the graph stays small.
    """
    from sklearn.ensemble import ExtraTreesRegressor

    return of_trees(
        data,
        ExtraTreesRegressor(
            100,
            min_samples_leaf=max(5, len(data.y) // 2000),
            max_features=0.5,
            n_jobs=data.workers(data.x),
            random_state=seed,
        ),
    )


def neural_network(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Fit one perceptron with two hidden layers for all labels by Adam, stopped early."""
    from sklearn.neural_network import MLPClassifier

    data = data.rows(drawn(np.arange(len(data.y)), families.NETWORK_ROWS, seed))
    inputs = learn(data.x, data.spec)
    estimator = MLPClassifier(
        hidden_layer_sizes=families.LAYERS,
        alpha=1e-3,
        batch_size=128,
        early_stopping=True,
        random_state=seed,
    )
    estimator.fit(inputs.apply(data.x), truth(data).astype(np.int64))
    pairs = list(zip(estimator.coefs_, estimator.intercepts_, strict=True))
    layers = tuple(Layer(weight, bias, "relu") for weight, bias in pairs[:-1])
    model = Network(inputs, (*layers, Layer(*pairs[-1])), LOGIT)
    return Fitted(model, model.predict)


def kinds(facts: Facts) -> dict[str, boosting.Kind]:
    """Return the kinds of boosting that share one number of trees: none, each label has its own."""
    return {}


FITTERS: dict[str, Fitter] = {
    "label_shares": label_shares,
    "single_rule": single_rule,
    "logistic_regression": logistic_regression,
    "decision_tree": decision_tree,
    "random_forest": random_forest,
    "extra_trees": extra_trees,
    "neural_network": neural_network,
    "lightgbm": boosted,
}
# From simple to complex: a later one is chosen only when it is clearly better.
LADDER = (
    *("label_shares", "single_rule", "decision_tree", "logistic_regression", "random_forest"),
    *("extra_trees", "neural_network", "lightgbm", "blend"),
)
# What a blend has beside the plan's candidates: nothing.
STATISTICS: dict[str, str] = {}
TUNED: tuple[str, ...] = ()


def loss(metric: str, y: NDArray[Any], p: NDArray[np.float64]) -> float:
    """Return what the weights of a blend are chosen by."""
    return metrics.score("log_loss", y, p)
