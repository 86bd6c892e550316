"""Ways to rank items for a history, simplest first. All that is learnt are counts of pairs.

A row is a set of items: its own and those of its history that a model sees. The pairs of all rows
are the Gram matrix of these sets, so that a pair counts the more the nearer its items lie.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .engine import metrics
from .engine.facts import Facts
from .engine.model.fitting import ByRounds, Data, Fitted, Fitter
from .engine.model.ranked import Floats, Ranked, placed, ranked

RECENT = 0.25  # of the training rows, the last: what is popular now
MOST_ITEMS = 5000  # that are ranked, the most frequent: weights are a number for each pair
SHRINK = 20.0  # rows of an item that draw a similarity to 0
NEIGHBOURS, KEPT = 100, 200  # weights that each item keeps
PENALTY = 20.0  # of EASE, in mean sets of an item
SHORT = 3.0  # items of a history that count as much as popularity
SUPPORT = 1  # rows of an item to be shown, where the plan says nothing


class Counts(NamedTuple):
    """Items (items,), the rows of each, the last ones alone, and pairs (items, items).

    The diagonal of the pairs has the sets of each item.
    """

    items: NDArray[np.int64]
    rows: Floats
    recent: Floats
    pairs: Floats
    places: tuple[int, ...]


def counted(data: Data) -> Counts:
    """Count items and pairs in training rows."""
    from scipy import sparse

    names = [feature.name for feature in data.spec.history]
    places = tuple(data.spec.names.index(name) for name in names)
    y = data.y.astype(np.int64)
    items, rows = np.unique(y, return_counts=True)
    if len(items) > MOST_ITEMS:
        kept = np.sort(np.argsort(-rows, kind="stable")[:MOST_ITEMS])
        items, rows = items[kept], rows[kept]
    count = len(items)
    own = placed(items, y.astype(np.float32))
    before = placed(items, data.x[:, list(places)])
    every = np.column_stack([own, before])
    row, column = np.nonzero(every < count)
    sets = sparse.csr_matrix((np.ones(len(row)), (row, every[row, column])), (len(y), count))
    sets.data[:] = 1.0  # an item that came twice is one item
    pairs = np.asarray((sets.T @ sets).todense())
    last = own[len(own) - max(1, round(RECENT * len(own))) :]
    recent = np.bincount(last, minlength=count + 1)[:count].astype(np.float64)
    return Counts(items, rows.astype(np.float64), recent, pairs, places)


def largest(weights: Floats, most: int) -> Floats:
    """Return weights (items, items) with only the largest of each column."""
    if len(weights) <= most:
        return weights
    order = np.argsort(-np.abs(weights), axis=0, kind="stable")[most:]
    kept = weights.copy()
    np.put_along_axis(kept, order, 0.0, axis=0)
    return kept


def similar(known: Counts) -> Floats:
    """Return the cosine of each pair of items by who took both, drawn to 0 where few did."""
    sets = np.diag(known.pairs)
    shrink = SHRINK * float(sets.sum() / known.rows.sum())
    weights = known.pairs / (np.sqrt(sets[:, None] * sets[None]) + shrink)
    np.fill_diagonal(weights, 0.0)
    return largest(weights, NEIGHBOURS)


def ease(known: Counts) -> Floats:
    """Return weights that tell each item by all others (EASE, Steck 2019)."""
    gram, diagonal = known.pairs.copy(), np.diag_indices(len(known.pairs))
    gram[diagonal] += PENALTY * float(gram[diagonal].mean())
    inverse = np.linalg.inv(gram)
    weights = -inverse / np.diag(inverse)[None]
    weights[diagonal] = 0.0
    return largest(weights, KEPT)


def _fitted(
    known: Counts, weights: Floats | None, popular: Floats, params: dict[str, Any], short: float
) -> Fitted:
    model: Ranked = ranked(
        known.items,
        weights,
        popular,
        known.rows >= params.get("support", SUPPORT),
        known.places,
        short=short,
        exclude=params.get("exclude", True),
    )
    return Fitted(model, model.predict)


def popular(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Rank what was taken the most."""
    known = counted(data)
    return _fitted(known, None, known.rows, params, 1e9)


def recent(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Rank what was taken the most in the last rows."""
    known = counted(data)
    return _fitted(known, None, known.recent, params, 1e9)


def item_item(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Rank what was taken by those who took the items of the history."""
    known = counted(data)
    return _fitted(known, similar(known), known.recent, params, 0.0)


def ease_alone(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Rank by a linear model of each item by all others."""
    known = counted(data)
    return _fitted(known, ease(known), known.recent, params, 0.0)


def ease_popular(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Rank by that model and, the shorter the history, by what is popular now."""
    known = counted(data)
    return _fitted(known, ease(known), known.recent, params, SHORT)


def kinds(facts: Facts) -> dict[str, ByRounds]:
    """Return the models that are fitted in rounds: none."""
    return {}


FITTERS: dict[str, Fitter] = {
    "popular": popular,
    "recent": recent,
    "item_item": item_item,
    "ease": ease_alone,
    "ease_popular": ease_popular,
}
# From simple to complex: a later one is chosen only when it is clearly better.
LADDER = tuple(FITTERS)
# No blend: the mean of two rankings is none.
STATISTICS: dict[str, str] = {}
TUNED: tuple[str, ...] = ()


def loss(metric: str, y: NDArray[Any], p: Floats) -> float:
    """Return what a blend would be chosen by, the smaller the better."""
    return -metrics.sign(metric) * metrics.score(metric, y, p)
