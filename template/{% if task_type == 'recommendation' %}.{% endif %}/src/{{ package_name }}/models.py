"""Ways to rank items for a history, simplest first. All that is learnt are counts of pairs.

A row tells the pairs of its own item with those of its history that a model sees, each the more the
nearer they lie, so that all pairs of a user count once, however long the history is.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .engine import metrics
from .engine.facts import Facts
from .engine.model import near
from .engine.model.fitting import ByRounds, Data, Fitted, Fitter
from .engine.model.near import Near, first_times
from .engine.model.ranked import Codes, Floats, Ranked, placed, ranked

RECENT = 0.25  # of the training rows, the last: what is popular now
MOST_ITEMS = 100_000  # that are ranked, the most frequent
ALL_PAIRS = 5000  # items of which EASE has a number for each pair, the most frequent
DENSE = 5000  # items with weights for all pairs; of more, each has neighbours only
PAIR_ROWS = 500_000  # whose pairs are counted: a share of all, evenly spread, tells as much
BLOCK = 4096  # rows whose histories are in memory at once
SHRINK = 20.0  # rows of an item that draw a similarity to 0
NEIGHBOURS, KEPT = 100, 200  # weights that each item keeps
PENALTY = 20.0  # of EASE, in mean rows of an item
FACTORS = 64  # that users and items have in common
DAMP = 0.25  # power of an item's rows by which it counts less, or the popular ones were all
# What is tried on later rows, simplest first: by how much an item of a history counts less than the
# one after it, and the squared number of known items that counts as much as popularity.
FADES, SHORTS = (0.0, 0.03, 0.1, 0.3), (0.0, 1.0, 3.0, 10.0)
# The most frequent items; rows; the share of all rows that tells, the last.
TRIED_ITEMS, TRIED_ROWS, LATER = 1500, 3000, 0.2
AHEAD = 10  # items of a user that a list is tried on: its own and the next ones
FEW_TRIED = 200  # rows that tell nothing for sure
SIZES = (1, 6, 21)  # known items of a history: users with few of them tell as much as others
SUPPORT = 1  # rows of an item to be shown, where the plan says nothing


class Counts(NamedTuple):
    """Items (items,), the rows of each, the last ones alone, and the columns of histories.

    `pairs` (items, items) says how many users took both, the nearer the more, 0 of an item with
    itself; `taken` (items,) how often each was taken first, both by at most PAIR_ROWS rows.
    """

    items: NDArray[np.int64]
    rows: Floats
    recent: Floats
    pairs: Any
    taken: Floats
    places: tuple[int, ...]


def counted(data: Data, most: int = MOST_ITEMS) -> Counts:
    """Count items in training rows, the `most` frequent ones, and what stands together."""
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
    pairs, taken = paired(own[some], placed(items, data.x[some][:, list(places)]), count)
    last = own[len(own) - max(1, round(RECENT * len(own))) :]
    recent = np.bincount(last, minlength=count + 1)[:count].astype(np.float64)
    return Counts(items, rows.astype(np.float64), recent, pairs, taken, places)


def paired(own: Codes, before: Codes, count: int) -> tuple[Any, Floats]:
    """Return `pairs` and `taken` of places of items (rows,) and of histories (rows, columns).

    A pair counts by a straight line from 1 to 0 just beyond the history: the counts of users are a
    Gram matrix so. An item that its user took before told its pairs then.
    """
    from scipy import sparse

    wide = before.shape[1]
    nears = np.asarray(1 - np.arange(1, wide + 1) / (wide + 1), np.float32)
    taken, parts = np.zeros(count), []
    for start in range(0, len(own), BLOCK):
        item, past = own[start : start + BLOCK], before[start : start + BLOCK]
        new = (item < count) & ~(past == item[:, None]).any(axis=1)
        taken += np.bincount(item[new], minlength=count)
        row, place = np.nonzero(first_times(past) & (past < count) & new[:, None])
        parts.append((item[row].astype(np.int32), past[row, place].astype(np.int32), nears[place]))
    one, other, values = (np.concatenate(each) for each in zip(*parts, strict=True))
    found = sparse.csr_matrix((values, (one, other)), (count, count))
    return (found + found.T).tocsr(), taken


def largest(weights: Floats, most: int) -> Floats:
    """Return weights (items, items) with only the largest of each column."""
    if len(weights) <= most:
        return weights
    order = np.argsort(-np.abs(weights), axis=0, kind="stable")[most:]
    kept = weights.copy()
    np.put_along_axis(kept, order, 0.0, axis=0)
    return kept


def similar(known: Counts) -> Floats | Near:
    """Return the cosine of each pair of items by who took both, drawn to 0 where few did."""
    pairs, taken = known.pairs, known.taken
    one, other = np.repeat(np.arange(len(taken)), np.diff(pairs.indptr)), pairs.indices
    weights = pairs.copy()
    weights.data = pairs.data / (np.sqrt(taken[one] * taken[other]) + SHRINK)
    if len(taken) <= DENSE:
        return largest(weights.toarray(), NEIGHBOURS)
    places, values = near.kept(weights, KEPT)
    # Both ways alike: the weight of its last neighbour is the least that an item listens to.
    least = np.append(values[:, min(NEIGHBOURS, values.shape[1]) - 1], 0.0)
    return near.of_rows(places, np.where(values >= least[places], values, 0.0))


def ease(known: Counts) -> Floats:
    """Return weights that tell each item by all others (EASE, Steck 2019)."""
    from scipy.linalg import lapack

    gram = known.pairs.toarray().astype(np.float64)
    diagonal, odd = np.diag_indices(len(gram)), 1
    gram[diagonal] = known.taken
    while odd:  # pairs of a share of the rows may be no Gram matrix, until the penalty is larger
        gram[diagonal] += PENALTY * max(float(known.taken.mean()), 1.0)
        factor, odd = lapack.dpotrf(gram, lower=True)  # a third of the sums of an inverse
    inverse, _ = lapack.dpotri(factor, lower=True)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    weights = -inverse / np.diag(inverse)[None]
    weights[diagonal] = 0.0
    return largest(weights, KEPT)


def factors(known: Counts) -> Floats | Near:
    """Return the weights of items through factors (PureSVD, Cremonesi, Koren & Turrin 2010).

    The largest eigenvectors of who took both are the right singular vectors of who took what. The
    factors of a user, new ones too, are those of the history; weights say them and lists at once.
    """
    from scipy import sparse
    from scipy.sparse.linalg import eigsh

    count = len(known.items)
    damp = np.maximum(known.taken, 1.0) ** -DAMP
    gram = sparse.diags(damp) @ (known.pairs + sparse.diags(known.taken)) @ sparse.diags(damp)
    rank = min(FACTORS, count - 1)
    if rank < 1:
        return near.none(count)
    # From the same start each time; which of its signs a vector has changes no weight.
    _, vectors = eigsh(gram.astype(np.float64), rank, which="LA", v0=np.sqrt(known.taken + 1))
    left, right = vectors * damp[:, None], vectors / damp[:, None]
    if count <= DENSE:
        weights = np.maximum(left @ right.T, 0.0)
        np.fill_diagonal(weights, 0.0)
        return largest(weights.T, KEPT).T  # of each item, as below
    places, values, most = [], [], min(KEPT, count)
    for start in range(0, count, BLOCK):
        some = left[start : start + BLOCK] @ right.T
        some[np.arange(len(some)), np.arange(start, start + len(some))] = 0.0
        best = np.argpartition(-some, most - 1, axis=1)[:, :most]
        places.append(best)
        values.append(np.maximum(np.take_along_axis(some, best, axis=1), 0.0))
    return near.of_rows(np.concatenate(places).astype(np.int64), np.concatenate(values))


def following(data: Data, places: tuple[int, ...]) -> Floats:
    """Return the items of rows and of those that follow, shape (rows, AHEAD), NaN where none does.

    Rows are in the order of time. The one that follows has for a history what a row leaves: it is
    of the same user, or of one who took the same.
    """
    before = np.nan_to_num(data.x[:, list(places)], nan=-1).astype(np.int64)
    after = np.column_stack([data.y.astype(np.int64), before[:, :-1]])
    first: dict[bytes, int] = {}
    follows = np.full(len(after) + 1, len(after))
    for row in reversed(range(len(after))):
        follows[row] = first.get(after[row].tobytes(), len(after))
        first[before[row].tobytes()] = row
    at, found = np.arange(len(after)), []
    for _ in range(AHEAD):
        found.append(np.append(data.y, np.nan)[at])
        at = follows[at]
    return np.column_stack(found)


def discounted(ahead: Floats, lists: Floats) -> Floats:
    """Return the NDCG of lists (rows, shown) by the items of each row that are right."""
    hits = (lists[:, :, None] == ahead[:, None]).any(axis=2)
    shares = 1 / np.log2(np.arange(2, lists.shape[1] + 2))
    most = np.minimum((~np.isnan(ahead)).sum(axis=1), lists.shape[1])
    return np.asarray(hits @ shares / np.cumsum(shares)[most - 1])


def suited(
    data: Data, weigh: Callable[[Counts], Floats | Near], shorts: tuple[float, ...]
) -> tuple[float, float]:
    """Return the fade and the short that are best for the last of these rows, by the others.

    Rows tell whose whole history is seen: of the others a list may hold what was taken before. What
    their users took next counts too, or popular items, which come at some time, would seem poor.
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
    ahead = following(data.rows(np.arange(cut, len(data.y))), known.places)[told - cut]
    model, best = _ranked(known, weigh(known), known.recent, {}, 0.0), (-1.0, 0.0, 0.0)
    codes = model.codes(data.x[told])
    size = np.digitize((first_times(codes) & (codes < len(known.items))).sum(axis=1), SIZES)
    sizes = [n for n in range(1, len(SIZES) + 1) if (size == n).any()]
    for fade in FADES:
        tried = model._replace(fade=fade).lists(data.x[told], shorts)
        for short, lists in zip(shorts, tried, strict=True):
            gained = discounted(ahead, lists)
            means = [gained[size == n].mean() for n in sizes]
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
    fade, short = suited(data, similar, SHORTS)
    return _fitted(_ranked(known, similar(known), known.recent, params, short, fade))


def factors_alone(data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Rank by factors that the user of the history and the items have in common."""
    known = counted(data)
    fade, short = suited(data, factors, SHORTS)
    return _fitted(_ranked(known, factors(known), known.recent, params, short, fade))


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
    "factors": factors_alone,
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
