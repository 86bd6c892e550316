"""Detectors, simplest first. Each learns without labels, and leaves out known anomalies."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine import metrics, task
from .engine.facts import Facts
from .engine.model.detectors import (
    Deviations,
    Isolation,
    Mean,
    Normal,
    Rebuilt,
    Tails,
    Trees,
    normal,
    on_grid,
    once,
)
from .engine.model.fitting import ByRounds, Data, Fitted, Fitter, drawn
from .engine.model.plain import Matrix, floor32

TREES, SAMPLE = 200, 256  # of an isolation forest: Liu, Ting & Zhou 2008 need 100 and 256
STEPS = 256  # of a column in ECOD
SCALE_ROWS = 20_000  # that tell the mean and the spread of a score, or train a network
KEPT = 0.9  # of the variance, by principal components
Floats = NDArray[np.float64]


def ordinary(data: Data) -> Matrix:
    """Return the rows to learn from: neither known anomalies nor rows that were made to measure."""
    return data.x[task.real(data.y) & ~task.rare(data.y)]


def _normal(data: Data, rows: Matrix) -> Normal:
    return normal(rows, data.spec)


def largest_z(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Rank by the largest robust deviation of a column: the rule of thumb."""
    model = Deviations(_normal(data, ordinary(data)), largest=True)
    return Fitted(model, model.predict)


def robust_z(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Rank by the sum of squared robust deviations (median and interquartile range)."""
    model = Deviations(_normal(data, ordinary(data)), largest=False)
    return Fitted(model, model.predict)


def ecod(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Rank by how far out in the tails of its columns a row lies (Li et al. 2022, ECOD)."""
    rows = ordinary(data)
    usual = _normal(data, rows)
    columns = np.sort(usual.away(rows), axis=0).T
    most = float(np.log(len(rows) + 1)) * len(columns)
    steps = [_steps(column) for column in columns]
    shares = once(usual, data.spec)
    weights = tuple(on_grid(w * share, most) for (_, w), share in zip(steps, shares, strict=True))
    model = Tails(usual, tuple(edges for edges, _ in steps), weights)
    return Fitted(model, model.predict)


def _steps(column: NDArray[np.float32]) -> tuple[NDArray[np.float32], Floats]:
    """Return edges of a sorted column and -ln of the smaller tail up to each and beyond the last.

    A value that is an edge has its exact tails; edges lie closer to each other at both ends.
    """
    rows = len(column)
    far = np.unique(np.geomspace(1, max(1, rows // 2), STEPS // 4).astype(np.intp)) - 1
    even = np.linspace(0, rows - 1, STEPS // 2).astype(np.intp)
    places = np.unique(np.concatenate([far, even, rows - 1 - far]))
    values = np.unique(column)
    edges = values if len(values) <= STEPS else np.unique(column[places])
    below = np.searchsorted(column, edges, side="right") / rows
    before = np.concatenate([[0.0], below[:-1]])
    tails = np.minimum(below, 1 - before)
    # What lies beyond all that was seen is less than one row.
    outside = np.nextafter(edges[0], np.float32(-np.inf))
    nothing = [1 / (rows + 1)]
    tails = np.concatenate([nothing, tails, nothing])
    return np.concatenate([[outside], edges]).astype(np.float32), -np.log(tails)


def isolation_forest(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Rank by how soon random cuts isolate a row (Liu, Ting & Zhou 2008)."""
    from sklearn.ensemble import IsolationForest

    rows = ordinary(data)
    usual = _normal(data, rows)
    away = usual.away(rows)
    forest = IsolationForest(
        n_estimators=TREES,
        max_samples=min(SAMPLE, len(rows)),  # so few that threads would take longer
        random_state=seed,
    )
    forest.fit(away)
    lengths = [_lengths(estimator.tree_) for estimator in forest.estimators_]
    most = float(sum(length.max() for length in lengths))
    leaves = [on_grid(length, most) for length in lengths]
    scale = TREES * float(average_path(np.array([forest.max_samples_]))[0])
    model = Isolation(usual, _trees(forest, leaves), scale)

    def predict(x: Matrix) -> Floats:
        far = usual.away(x)
        paths = np.zeros(len(x))
        for estimator, leaf in zip(forest.estimators_, leaves, strict=True):
            paths += leaf[estimator.tree_.apply(far)]
        return model.score(paths)

    return Fitted(model, predict)


def principal_components(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Rank by what the leading principal components do not rebuild (Shyu et al. 2003)."""
    usual = _normal(data, rows := ordinary(data))
    away = Rebuilt.cut(usual.away(rows))
    center = away.mean(axis=0)
    variances, axes = np.linalg.eigh(np.atleast_2d(np.cov(away - center, rowvar=False)))
    shares = np.cumsum(variances[::-1]) / max(variances.sum(), np.finfo(float).tiny)
    few = min(int(np.searchsorted(shares, KEPT)) + 1, max(1, len(variances) - 1))
    axes = axes[:, ::-1][:, :few]
    model = Rebuilt(usual, ((axes, -center @ axes), (axes.T, center)), bent=False)
    return Fitted(model, model.predict)


def autoencoder(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Rank by what a small network does not rebuild from half as many numbers (Hawkins 2002)."""
    from sklearn.neural_network import MLPRegressor

    usual = _normal(data, rows := ordinary(data))
    away = Rebuilt.cut(usual.away(rows[drawn(np.arange(len(rows)), SCALE_ROWS, seed)]))
    width = away.shape[1]
    sizes = (2 * width, max(1, width // 2), 2 * width)
    network = MLPRegressor(
        hidden_layer_sizes=sizes, early_stopping=True, max_iter=200, random_state=seed
    )
    network.fit(away, away if width > 1 else away[:, 0])
    layers = tuple(zip(network.coefs_, network.intercepts_, strict=True))
    model = Rebuilt(usual, layers, bent=True)
    return Fitted(model, model.predict)


def mean_score(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Rank by the mean of three that see different things: one value, all tails, combinations.

    Where nothing says which one is right, their mean is seldom far behind the best (Aggarwal &
    Sathe 2015). Each score counts in its own standard deviations.
    """
    fitted = [fit(data, seed, params) for fit in (largest_z, ecod, isolation_forest)]
    some = drawn(np.arange(len(rows := ordinary(data))), SCALE_ROWS, seed)
    scores = [one.predict(rows[some]) for one in fitted]
    spreads = (float(score.std()) or 1.0 for score in scores)
    members = tuple(one.model for one in fitted)
    model = Mean(members, tuple(float(score.mean()) for score in scores), tuple(spreads))
    return Fitted(model, lambda x: model.of([one.predict(x) for one in fitted]))


def average_path(rows: NDArray[np.intp]) -> Floats:
    """Return the mean path length of an unsuccessful search among so many rows.

    Liu, Ting & Zhou 2008, equation 1.
    """
    many = np.maximum(rows, 3) - 1.0
    path = 2 * (np.log(many) + np.euler_gamma) - 2 * many / (many + 1)
    return np.where(rows > 2, path, np.where(rows == 2, 1.0, 0.0))


def _lengths(tree: Any) -> Floats:
    """Return the path length of each node: its depth, and what its rows would need further on."""
    depth = np.zeros(tree.node_count)
    for node in range(tree.node_count):  # children come after their parent
        for child in (tree.children_left[node], tree.children_right[node]):
            if child > 0:
                depth[child] = depth[node] + 1
    return depth + average_path(tree.n_node_samples)


def _trees(forest: Any, leaves: list[NDArray[np.float32]]) -> Trees:
    parts = []
    for number, (estimator, leaf) in enumerate(zip(forest.estimators_, leaves, strict=True)):
        tree = estimator.tree_
        ends = tree.children_left < 0
        parts.append(
            (
                np.full(tree.node_count, number),
                np.arange(tree.node_count),
                np.where(ends, 0, tree.feature),
                floor32(np.where(ends, 0.0, tree.threshold)),
                np.where(ends, 0, tree.children_left),
                np.where(ends, 0, tree.children_right),
                np.where(ends, leaf, np.float32(np.nan)),
            )
        )
    return Trees(*map(np.concatenate, zip(*parts, strict=True)))


def kinds(facts: Facts) -> dict[str, ByRounds]:
    """Return the models that are fitted in rounds: none."""
    return {}


FITTERS: dict[str, Fitter] = {
    "largest_z": largest_z,
    "robust_z": robust_z,
    "ecod": ecod,
    "isolation_forest": isolation_forest,
    "principal_components": principal_components,
    "autoencoder": autoencoder,
    "mean_score": mean_score,
}
# From simple to complex: a later one is chosen only when it is clearly better.
LADDER = tuple(FITTERS)
# No blend: anomalies are too few to weigh detectors by, so that `mean_score` weighs all alike.
STATISTICS: dict[str, str] = {}
TUNED: tuple[str, ...] = ()


def loss(metric: str, y: NDArray[Any], p: Floats) -> float:
    """Return what a blend would be chosen by, the smaller the better."""
    return -metrics.sign(metric) * metrics.score(metric, y, p)
