"""Rows of many features as points of a plane."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .model.plain import Matrix
from .model.scorer import FeatureSpec

ROWS = 500
LEVELS = 20  # of a category, the most frequent ones, have a column each
FARTHEST = 5.0  # deviations; what lies further would be all that is seen
PERPLEXITY = 30.0  # neighbours that count, as van der Maaten and Hinton propose (5 to 50)

Floats = NDArray[np.float64]


def drawn(
    spec: FeatureSpec, x: Matrix, score: Callable[[Matrix], Floats], seed: int
) -> dict[str, Any]:
    """Return at most ROWS of the encoded rows `x` (rows, features) as points, the same each time.

    `pca`: the first two principal components of scaled numbers and of indicators of categories,
    each over the root of its share (factor analysis of mixed data, Pages 2004); `explained` is
    their share of the variance. `tsne`: neighbours stay neighbours (van der Maaten and Hinton
    2008). `shades` are places from 0 to 1 in the order of `score`, which gives a number for each
    row. Empty for rows that do not differ.
    """
    some = np.sort(np.random.default_rng(seed).permutation(len(x))[:ROWS])
    columns = _columns(spec, x[some])
    left, sizes, right = np.linalg.svd(columns, full_matrices=False)
    if len(sizes) < 2 or len(some) < 3 or not sizes[1] > 1e-9 * sizes[0]:
        return {}
    signs = np.sign(right[np.arange(2), np.abs(right[:2]).argmax(axis=1)])
    points = left[:, :2] * sizes[:2] * signs
    places = np.argsort(np.argsort(score(x[some]), kind="stable")) / (len(some) - 1)
    return {
        "explained": float((sizes[:2] ** 2).sum() / (sizes**2).sum()),
        "pca": points.round(3).tolist(),
        "tsne": _neighbours(columns, points, seed).round(3).tolist(),
        "shades": places.round(3).tolist(),
    }


def _columns(spec: FeatureSpec, x: Matrix) -> Floats:
    """Return centred columns of one size, shape (rows, columns); a gap is the mean."""
    width = len(spec.numeric)
    numbers = x[:, :width].astype(np.float64)
    known = ~np.isnan(numbers)
    count = np.maximum(known.sum(axis=0), 1)
    centred = np.where(known, numbers - np.where(known, numbers, 0).sum(axis=0) / count, 0.0)
    spread = np.sqrt((centred**2).sum(axis=0) / count)
    parts = [np.clip(centred / np.where(spread > 0, spread, 1), -FARTHEST, FARTHEST)]
    for place in range(len(spec.categorical)):
        codes = x[:, width + place]
        shares = [codes == code for code in range(LEVELS)]
        there = np.array([share for share in shares if share.any()], dtype=np.float64).T
        if there.size:
            parts.append((there - there.mean(axis=0)) / np.sqrt(there.mean(axis=0)))
    return np.concatenate(parts, axis=1)


def _neighbours(columns: Floats, start: Floats, seed: int) -> Floats:
    from sklearn.manifold import TSNE

    near = min(PERPLEXITY, (len(columns) - 1) / 3)
    begin = (1e-4 * start / start[:, 0].std()).astype(np.float32)
    model = TSNE(perplexity=near, init=begin, max_iter=500, random_state=seed)
    return np.asarray(model.fit_transform(columns.astype(np.float32)), dtype=np.float64)
