"""Features that stand for a group of people: how well one alone tells who is in it.

Groups are the levels of `personal.groups`: what config.yaml names, else what the law protects. What
a feature tells is learnt on one half of the rows and judged on the other: 0.5 is nothing, 1 is all.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .. import privacy, progress
from .contract import READ, Contract
from .leakage import sampled

TELLS = 0.55  # from here on, beyond chance, a feature is named
SURE = 3.0  # standard errors beyond it: many pairs are looked at, and some are far by chance
BINS = 20  # of a feature of numbers
PARTS = 4  # of a group column of numbers, such as an age
LEVELS = 8  # of a group column; of more, those with the most rows
FEWEST = 50  # rows in and out of a group, without which nothing is said of it
Codes = NDArray[np.int64]


def run(contract: Contract, frame: pl.DataFrame, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the features that stand for a group, the strongest first.

    Each has `column`, `feature`, `level` (numbered, where it is personal) and `auc`: how often the
    feature ranks somebody of the group before somebody else. `se` is its standard error by chance.
    """
    frame = frame[sampled(frame.height)]
    named = [column for column in contract.columns if column.name in columns]
    found = []
    for column in named:
        progress.tell(f"features that stand for {column.name}")
        groups = _coded(frame[column.name], PARTS)
        sizes = np.bincount(groups[groups >= 0], minlength=1)
        for feature in contract.features:
            if feature.name == column.name or feature.kind in READ:
                continue
            codes = _coded(frame[feature.name], BINS)
            told = [_told(codes, groups == g, g) for g in np.argsort(-sizes)[:LEVELS]]
            best = max(filter(None, told), key=lambda item: item[0], default=None)
            if best is None or best[0] - SURE * best[1] <= TELLS:
                continue
            auc, se, group = best
            level = (
                f"{privacy.HIDDEN} {group + 1}"
                if privacy.hidden(column)
                else _name(frame[column.name], groups, group)
            )
            found.append(
                {"column": column.name, "feature": feature.name, "level": level}
                | {"auc": round(auc, 4), "se": round(se, 4)}
            )
    return sorted(found, key=lambda item: -item["auc"])


def _coded(values: pl.Series, bins: int) -> Codes:
    """Return a number for each value from 0 on, the same for all in one bin; -1 where missing."""
    if values.dtype.is_temporal():
        values = values.to_physical()
    if values.dtype.is_numeric() and values.n_unique() > LEVELS:
        x = values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
        known = ~np.isnan(x)
        if not known.any():
            return np.full(len(x), -1)
        edges = np.unique(np.quantile(x[known], np.arange(1, bins) / bins))
        return np.where(known, np.searchsorted(edges, x, side="right"), -1)
    texts = values.cast(pl.String)
    order = {text: place for place, text in enumerate(sorted(texts.drop_nulls().unique()))}
    return np.array([order.get(text, -1) for text in texts.to_list()], np.int64)


def _name(values: pl.Series, groups: Codes, group: int) -> str:
    """Return what a group is called: its level, or the range of its numbers."""
    own = values.filter(pl.Series(groups == group))
    low, high = str(own.min()), str(own.max())
    return low if low == high else f"{low} to {high}"


def _told(codes: Codes, inside: NDArray[np.bool_], group: int) -> tuple[float, float, int] | None:
    """Return AUC and its standard error on the rows with odd numbers, None where there are few."""
    learn = np.arange(len(codes)) % 2 == 0
    test = inside[~learn]
    n, others = int(test.sum()), int((~test).sum())
    if min(n, others) < FEWEST or min(inside[learn].sum(), (~inside[learn]).sum()) < FEWEST:
        return None
    places = codes + 1
    rows = np.bincount(places[learn], minlength=places.max() + 1)
    hits = np.bincount(places[learn], inside[learn], minlength=places.max() + 1)
    share = inside[learn].mean()
    scores = ((hits + 10 * share) / (rows + 10))[places[~learn]]  # rare levels say little
    ranks = pl.Series(scores).rank("average").to_numpy()
    auc = (ranks[test].sum() - n * (n + 1) / 2) / (n * others)
    return float(auc), float(np.sqrt((n + others + 1) / (12 * n * others))), group
