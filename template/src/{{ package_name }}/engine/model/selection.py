"""Choose the features that a model sees, from training rows only."""

from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from .operators import Count, Floats

SELECTION_ROWS = 20_000  # are enough to rank features
TREES = 100
PARTS = (0.2, 0.4, 0.6, 0.8)  # of a number, where a test needs classes


class Selection(msgspec.Struct, frozen=True):
    """Keep the `keep` features that say the most of the target.

    Filters: correlation; chi2 (of columns scaled to 0..1 with classes, or fifths of a number);
    anova (F of classes, or of a regression on one column). Wrapper: rfe, which drops the least of a
    linear model again and again (Guyon et al. 2002). Embedded: l1, what an L1 penalty leaves;
    importance, by the impurity of extra trees. none: all features stay.
    """

    method: Literal["none", "correlation", "chi2", "anova", "rfe", "l1", "importance"] = "none"
    keep: Count = 30

    def choose(self, columns: Floats, y: NDArray[Any], seed: int) -> list[int]:
        """Return the places to keep, in order; columns of shape (rows, features) have no gaps."""
        if len(columns) > SELECTION_ROWS:
            some = np.random.default_rng(seed).permutation(len(columns))[:SELECTION_ROWS]
            columns, y = columns[some], y[some]
        if y.ndim > 1:  # several targets: each combination is a class
            y = np.unique(y, axis=0, return_inverse=True)[1].ravel()
        spread = columns.std(axis=0)
        scaled = (columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        scores = np.nan_to_num(_scores(self, scaled, y, seed), nan=0.0, posinf=np.finfo(float).max)
        best = np.argsort(-scores, kind="stable")[: self.keep]
        left = [int(place) for place in best if scores[place] > 0] or [int(best[0])]
        return sorted(left)


def _scores(selection: Selection, x: Floats, y: NDArray[Any], seed: int) -> Floats:
    """Return what each column is worth, shape (features,); 0 for one that may go."""
    from sklearn import ensemble, feature_selection, linear_model

    classes = y.dtype.kind in "iub"
    if selection.method == "correlation":
        goals = np.stack([y == level for level in np.unique(y)], axis=1) if classes else y[:, None]
        centred = goals.astype(np.float64) - goals.mean(axis=0)
        norms = np.outer(np.linalg.norm(x, axis=0), np.linalg.norm(centred, axis=0))
        found = np.abs(x.T @ centred) / np.where(norms > 0, norms, 1.0)
        return np.asarray(found.max(axis=1))
    if selection.method == "chi2":
        reach = x.max(axis=0) - x.min(axis=0)
        shares = (x - x.min(axis=0)) / np.where(reach > 0, reach, 1.0)
        if not classes:
            y = np.digitize(y, np.quantile(y, PARTS))
        return np.asarray(feature_selection.chi2(shares, y)[0])
    if selection.method == "anova":
        test = feature_selection.f_classif if classes else feature_selection.f_regression
        with np.errstate(all="ignore"):
            return np.asarray(test(x, y)[0])
    if selection.method == "importance":
        forest = ensemble.ExtraTreesClassifier if classes else ensemble.ExtraTreesRegressor
        trees = forest(TREES, min_samples_leaf=10, max_features=0.5, random_state=seed)
        return np.asarray(trees.fit(x, y).feature_importances_)
    if selection.method == "rfe":
        linear = linear_model.LogisticRegression(max_iter=300) if classes else linear_model.Ridge()
        keep = min(selection.keep, x.shape[1])
        found = feature_selection.RFE(linear, n_features_to_select=keep, step=0.1)
        return np.asarray(1.0 / found.fit(x, y).ranking_)
    sparse = linear_model.LassoCV(cv=3, random_state=seed)
    if classes:
        sparse = linear_model.LogisticRegression(
            l1_ratio=1.0, C=0.05, solver="saga", max_iter=300, random_state=seed
        )
    return np.asarray(np.abs(np.atleast_2d(sparse.fit(x, y).coef_)).max(axis=0))
