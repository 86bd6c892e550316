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

    That is one number of its score (`task.contrast`), or several, each told of in `each`. Features
    of a background row are replaced by the row's one by one, in random order and in the reverse
    order; the change at each step is the feature's contribution.
    """
    width = len(row)
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
    p = number_of(p).reshape(len(orders), width + 1, -1)
    total = np.zeros((width, p.shape[2]))
    for index, order in enumerate(orders):
        total[order] += np.diff(p[index], axis=0)
    parts = [_sorted(scorer.spec.names, texts, shares) for shares in (total / len(orders)).T]
    for one, part in zip(told.get("each", ()), parts, strict=False):
        one["contributions"] = part
    return {"contributions": parts[0]} | told


def _sorted(names: list[str], texts: list[str], shares: NDArray[Any]) -> list[dict[str, Any]]:
    """Return what each feature contributes, the most first."""
    found = [
        {"feature": name, "value": text, "contribution": share}
        for name, text, share in zip(names, texts, shares.tolist(), strict=True)
    ]
    return sorted(found, key=lambda item: -abs(item["contribution"]))


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
