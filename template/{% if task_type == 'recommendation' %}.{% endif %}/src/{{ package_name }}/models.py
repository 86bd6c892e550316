"""Ways to rank items for a history, simplest first. All that is learnt are counts of pairs.

A row is a set of items: its own and those of its history that a model sees. The pairs of all rows
are the Gram matrix of these sets, so that a pair counts the more the nearer its items lie.
"""

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .engine import metrics, task
from .engine.facts import Facts
from .engine.model import near
from .engine.model.fitting import ByRounds, Data, Fitted, Fitter
from .engine.model.near import Near
from .engine.model.ranked import Floats, Ranked, placed, ranked

RECENT = 0.25  # of the training rows, the last: what is popular now
MOST_ITEMS = 100_000  # that are ranked, the most frequent
ALL_PAIRS = 5000  # items of which EASE has a number for each pair, the most frequent
DENSE = 5000  # items with weights for all pairs; of more, each has neighbours only
PAIR_ROWS = 500_000  # whose pairs are counted: a share of all, evenly spread, tells as much
BLOCK = 256  # items whose pairs with all others are in memory at once
SHRINK = 20.0  # rows of an item that draw a similarity to 0
NEIGHBOURS, KEPT = 100, 200  # weights that each item keeps
PENALTY = 20.0  # of EASE, in mean sets of an item
# What is tried on later rows, simplest first: by how much an item of a history counts less than the
# one after it, and the squared number of known items that counts as much as popularity.
FADES, SHORTS = (0.0, 0.03, 0.1), (0.0, 1.0, 3.0, 10.0)
TRIED_ITEMS, TRIED_ROWS, LATER = (
    1500,
    3000,
    0.2,
)  # the most frequent; rows; share of them that tells
FEW_TRIED = 200  # rows that tell nothing for sure
SIZES = (1, 6, 21)  # known items of a history: users with few of them tell as much as others
SUPPORT = 1  # rows of an item to be shown, where the plan says nothing


class Counts(NamedTuple):
    """Items (items,), the rows of each, the last ones alone, and the columns of histories.

    `sets` (rows, items) has 1 for each item of a row and its history, of at most PAIR_ROWS rows.
    """

    items: NDArray[np.int64]
    rows: Floats
    recent: Floats
    sets: Any
    places: tuple[int, ...]


def counted(data: Data, most: int = MOST_ITEMS) -> Counts:
    """Count items in training rows, the `most` frequent ones, and what stands together."""
    from scipy import sparse

    names = [feature.name for feature in data.spec.history]
    places = tuple(data.spec.names.index(name) for name in names)
    y = data.y.astype(np.int64)
    items, rows = np.unique(y, return_counts=True)
    if len(items) > most:
        kept = np.sort(np.argsort(-rows, kind="stable")[:most])
        items, rows = items[kept], rows[kept]
    count = len(items)
    own = placed(items, y.astype(np.float32))
    some = np.arange(0, len(y), -(-len(y) // PAIR_ROWS))
    before = placed(items, data.x[some][:, list(places)])
    every = np.column_stack([own[some], before]).astype(np.int32)
    ends = np.arange(len(some) + 1) * every.shape[1]
    ones = np.ones(every.size, np.float32)
    sets = sparse.csr_matrix((ones, every.ravel(), ends), (len(some), count + 1))
    sets.sum_duplicates()
    sets.data[:] = 1.0  # an item that came twice is one item
    last = own[len(own) - max(1, round(RECENT * len(own))) :]
    recent = np.bincount(last, minlength=count + 1)[:count].astype(np.float64)
    return Counts(items, rows.astype(np.float64), recent, sets[:, :count], places)


def largest(weights: Floats, most: int) -> Floats | Near:
    """Return weights (items, items) with only the largest: of each column, or as neighbours."""
    if len(weights) > DENSE:
        return near.of_rows(*near.kept(weights, most))
    if len(weights) <= most:
        return weights
    order = np.argsort(-np.abs(weights), axis=0, kind="stable")[most:]
    kept = weights.copy()
    np.put_along_axis(kept, order, 0.0, axis=0)
    return kept


def similar(known: Counts) -> Floats | Near:
    """Return the cosine of each pair of items by who took both, drawn to 0 where few did."""
    sets = np.asarray(known.sets.sum(axis=0), np.float64).ravel()
    shrink = SHRINK * float(sets.sum() / known.rows.sum())
    columns, parts = known.sets.tocsc(), []
    for start in range(0, len(sets), BLOCK):
        pairs = (columns[:, start : start + BLOCK].T @ known.sets).toarray().astype(np.float64)
        own = np.arange(len(pairs))
        weights = pairs / (np.sqrt(sets[start + own][:, None] * sets[None]) + shrink)
        weights[own, start + own] = 0.0
        parts.append(near.kept(weights, KEPT) if len(sets) > DENSE else (own, weights))
    one, other = (np.concatenate(each) for each in zip(*parts, strict=True))
    if len(sets) <= DENSE:
        return largest(other, NEIGHBOURS)
    # Both ways alike: the weight of its last neighbour is the least that an item listens to.
    least = np.append(other[:, min(NEIGHBOURS, other.shape[1]) - 1], 0.0)
    return near.of_rows(one, np.where(other >= least[one], other, 0.0))


def ease(known: Counts) -> Floats | Near:
    """Return weights that tell each item by all others (EASE, Steck 2019)."""
    from scipy.linalg import lapack

    gram = (known.sets.T @ known.sets).toarray().astype(np.float64)
    diagonal = np.diag_indices(len(gram))
    gram[diagonal] += PENALTY * float(gram[diagonal].mean())
    factor, _ = lapack.dpotrf(gram, lower=True)  # a third of the sums of an inverse
    inverse, _ = lapack.dpotri(factor, lower=True)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    weights = -inverse / np.diag(inverse)[None]
    weights[diagonal] = 0.0
    return largest(weights, KEPT)


def suited(
    data: Data, weigh: Callable[[Counts], Floats | Near], shorts: tuple[float, ...]
) -> tuple[float, float]:
    """Return the fade and the short that are best for the last of these rows, by the others.

    Rows tell whose whole history is seen: of the others a list may hold what was taken before.
    """
    if not (names := [feature.name for feature in data.spec.history]):
        return FADES[0], shorts[0]
    last = data.x[:, data.spec.names.index(names[-1])]
    cut = len(data.y) - round(LATER * len(data.y))
    told = cut + np.flatnonzero(np.isnan(last[cut:]))
    told = told[:: -(-len(told) // TRIED_ROWS) or 1]
    if len(told) < FEW_TRIED:
        return FADES[0], shorts[0]
    known = counted(data.rows(np.arange(cut)), TRIED_ITEMS)
    model, best = _ranked(known, weigh(known), known.recent, {}, 0.0), (-1.0, 0.0, 0.0)
    for fade, short in product(FADES, shorts):
        lists = model._replace(fade=fade, short=short).predict(data.x[told])
        gained = metrics.discounted(data.y[told], lists[:, : task.LENGTH])
        size = np.digitize(lists[:, -1], SIZES)
        means = [gained[size == n].mean() for n in range(1, size.max() + 1) if (size == n).any()]
        best = max(best, (float(np.mean(means)) if means else 0.0, -fade, -short))
    return -best[1], -best[2]


def _ranked(
    known: Counts,
    weights: Floats | Near,
    popular: Floats,
    params: dict[str, Any],
    short: float,
    fade: float = 0.0,
) -> Ranked:
    return ranked(
        known.items,
        weights,
        popular,
        known.rows >= params.get("support", SUPPORT),
        known.places,
        short=short,
        fade=fade,
        exclude=params.get("exclude", True),
    )


def _fitted(model: Ranked) -> Fitted:
    return Fitted(model, model.predict)


def popular(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Rank what was taken the most."""
    known = counted(data)
    return _fitted(_ranked(known, near.none(len(known.items)), known.rows, params, 1e9))


def recent(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Rank what was taken the most in the last rows."""
    known = counted(data)
    return _fitted(_ranked(known, near.none(len(known.items)), known.recent, params, 1e9))


def item_item(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Rank what was taken by those who took the items of the history."""
    known = counted(data)
    fade, short = suited(data, similar, SHORTS[1:])
    return _fitted(_ranked(known, similar(known), known.recent, params, short, fade))


def ease_alone(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Rank by a linear model of each item by all others."""
    known = counted(data, ALL_PAIRS)
    fade, short = suited(data, ease, SHORTS[:1])
    return _fitted(_ranked(known, ease(known), known.recent, params, short, fade))


def ease_popular(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Rank by that model and, the shorter the history, by what is popular now."""
    known = counted(data, ALL_PAIRS)
    fade, short = suited(data, ease, SHORTS[1:])
    return _fitted(_ranked(known, ease(known), known.recent, params, short, fade))


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
