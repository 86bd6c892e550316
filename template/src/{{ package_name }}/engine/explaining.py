"""How one prediction comes about, and how predictions follow one feature."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import task
from .model.plain import Matrix
from .model.scorer import Scorer

PERMUTATIONS = 100


def explained(
    scorer: Scorer,
    row: NDArray[np.float32],
    background: Matrix,
    texts: list[str],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return each feature's share of what is explained of `row` minus the background's mean.

    That is one number of its score (`task.contrast`). Features of a background row are replaced by
    the row's one by one, in random order and in the reverse order; the change at each step is the
    feature's contribution.
    """
    width = len(row)
    total = np.zeros(width)
    starts = background[rng.integers(0, len(background), PERMUTATIONS)]
    orders = [rng.permutation(width) for _ in range(PERMUTATIONS // 2)]
    orders = [
        order for pair in zip(orders, [o[::-1] for o in orders], strict=True) for order in pair
    ]
    steps = np.repeat(starts[: len(orders), None, :], width + 1, axis=1)
    for index, order in enumerate(orders):
        for step, feature in enumerate(order, 1):
            steps[index, step:, feature] = row[feature]
    p = scorer.predict(steps.reshape(-1, width))[scorer.score]
    told, number_of = task.contrast(scorer.predict(row[None])[scorer.score][0], scorer.outputs)
    p = number_of(p).reshape(len(orders), width + 1)
    for index, order in enumerate(orders):
        total[order] += np.diff(p[index])
    shares = total / len(orders)
    found = [
        {"feature": name, "value": text, "contribution": float(share)}
        for name, text, share in zip(scorer.spec.names, texts, shares, strict=True)
    ]
    found.sort(key=lambda item: -abs(float(str(item["contribution"]))))
    return {"contributions": found} | told


def partial_dependence(scorer: Scorer, x: Matrix, feature: str) -> list[list[Any]]:
    """Return [value, mean score] pairs while `feature` takes each value (Friedman 2001)."""
    index = scorer.spec.names.index(feature)
    width = len(scorer.spec.numeric)
    if index < width:
        known = x[:, index][~np.isnan(x[:, index])]
        cuts = np.unique(np.quantile(known, np.linspace(0.02, 0.98, 20))) if len(known) else known
        values: list[tuple[float | str, float]] = [(float(cut), float(cut)) for cut in cuts]
    else:
        levels = scorer.spec.categorical[index - width].levels[:12]
        values = [(level or "(missing)", float(code)) for code, level in enumerate(levels)]
    points: list[list[Any]] = []
    for label, value in values:
        changed = x.copy()
        changed[:, index] = value
        points.append([label, scorer.predict(changed)[scorer.score].mean(axis=0).tolist()])
    return points
