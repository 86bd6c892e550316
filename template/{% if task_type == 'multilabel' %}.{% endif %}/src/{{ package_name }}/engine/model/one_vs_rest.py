"""A model for each label, joined to one that answers for all of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..label_sets import unpacked
from . import boosting, linear
from .fitting import Data, Fitted, Fitter
from .plain import LOGIT, Forest, Leaves, Matrix, Predict

Floats = NDArray[np.float64]
HOLDOUT = 5  # one of so many parts tells after how many trees boosting a label is best
MAX_ROUNDS = 500


def truth(data: Data) -> Floats:
    """Return 0 and 1 of each label, shape (rows, labels)."""
    return unpacked(data.y, len(data.levels)).astype(np.float64)


def of_labels(fit: Fitter, data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Fit one model of a family to all labels at once."""
    return fit(data._replace(y=truth(data), levels=()), seed, params)


def boosted(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Boost trees for each label by LightGBM, each as long as rows held out gain by it."""
    sets, kind = (
        truth(data),
        boosting.Kind({"objective": "cross_entropy", **params}, boosting.itself(LOGIT)),
    )
    places = np.random.default_rng(seed).permutation(len(sets))
    part = len(sets) // HOLDOUT
    fold = (np.sort(places[part:]), np.sort(places[:part]))
    prior = linear.odds_of_shares(sets)
    forests: list[Forest] = []
    predictions: list[Predict] = []
    for label in range(sets.shape[1]):
        one = data._replace(y=sets[:, label], levels=())
        if any(len(np.unique(one.y[rows])) < 2 for rows in fold):
            forests.append(_constant(float(prior[label])))
            predictions.append(linear.constant(one, float(prior[label]), LOGIT).predict)
            continue
        name = f"lightgbm, label {label + 1} of {sets.shape[1]}"
        settings, _ = boosting.cross_validate(kind, one, [fold], seed, {}, MAX_ROUNDS, name)
        found = boosting.fit(kind, one, seed, settings)
        assert isinstance(found.model, Forest)
        forests.append(found.model)
        predictions.append(found.predict)

    def predict(x: Matrix) -> Floats:
        return np.column_stack([each(x) for each in predictions])

    return Fitted(joined(forests), predict)


def joined(forests: Sequence[Forest]) -> Forest:
    """Return forests of one sum each as one of as many sums, with the link of the first."""
    trees = np.cumsum([0, *(int(forest.tree.max()) + 1 for forest in forests)])
    nodes = np.cumsum([0, *(len(forest.tree) for forest in forests)])

    def all_of(name: str) -> Any:
        return np.concatenate([getattr(forest, name) for forest in forests])

    places = [
        forest.leaves.place + start for forest, start in zip(forests, nodes[:-1], strict=True)
    ]
    leaves = Leaves(
        np.concatenate(places),
        np.concatenate([np.full(len(f.leaves.place), to) for to, f in enumerate(forests)]),
        np.concatenate([forest.leaves.weight for forest in forests]),
    )
    moved = [forest.tree + start for forest, start in zip(forests, trees[:-1], strict=True)]
    return Forest(
        tree=np.concatenate(moved),
        node=all_of("node"),
        feature=all_of("feature"),
        mode=[mode for forest in forests for mode in forest.mode],
        value=all_of("value"),
        true=all_of("true"),
        false=all_of("false"),
        missing_true=all_of("missing_true"),
        leaves=leaves,
        outputs=len(forests),
        link=forests[0].link,
    )


def _constant(odds: float) -> Forest:
    """Return a forest of one leaf."""
    zero, weight = np.zeros(1, np.int64), np.array([odds], np.float32)
    leaves = Leaves(zero, zero, weight)
    shape = (zero, zero, zero, ["LEAF"], weight, zero, zero, zero)
    return Forest(*shape, leaves=leaves, link=LOGIT)
