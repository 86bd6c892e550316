"""How far people agree on labels, beyond chance.

Cohen's kappa (1960) of two people, Fleiss' (1971) of more: (agreement - chance) / (1 - chance),
with intervals by resampling items (Efron 1979). From 0.6 on it is substantial (Landis and Koch
1977): below that, the guide for those who label comes before any model.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .intervals import interval, resampled

SUBSTANTIAL = 0.6
FEWEST = 2  # items that two people both labelled

Codes = NDArray[np.int64]
Given = dict[str, dict[str, str]]  # item -> person -> label


def cohen(first: Codes, second: Codes, count: int) -> float:
    """Return kappa of two people's labels (items,) as codes below `count`; NaN without chance."""
    table = np.zeros((count, count))
    np.add.at(table, (first, second), 1.0)
    table /= len(first)
    chance = float(table.sum(axis=1) @ table.sum(axis=0))
    return (float(np.trace(table)) - chance) / (1 - chance) if chance < 1 else float("nan")


def fleiss(table: NDArray[np.float64]) -> float:
    """Return kappa of a table (items, labels) that counts people, as many for each item."""
    people = table.sum(axis=1)[0]
    agreed = ((table**2).sum(axis=1) - people) / (people * (people - 1))
    shares = table.sum(axis=0) / table.sum()
    chance = float((shares**2).sum())
    return (float(agreed.mean()) - chance) / (1 - chance) if chance < 1 else float("nan")


def compared(given: Given, names: Sequence[str], seed: int) -> dict[str, Any] | None:
    """Return how far people agree on items that several of them labelled, None without any."""
    code = {name: place for place, name in enumerate(names)}
    several = {item: by for item, by in sorted(given.items()) if len(by) > 1}
    pairs = _pairs(several, code, seed)
    if not pairs:
        return None
    if len(pairs) == 1 and len({person for by in several.values() for person in by}) == 2:
        found = {"kappa": "Cohen"} | pairs[0]
    else:
        found = {"kappa": "Fleiss"} | _all(several, code, seed)
    return found | {"pairs": pairs, "substantial": found["value"] >= SUBSTANTIAL}


def _pairs(several: Given, code: dict[str, int], seed: int) -> list[dict[str, Any]]:
    people = sorted({person for by in several.values() for person in by})
    found = []
    for one, other in combinations(people, 2):
        both = [by for by in several.values() if one in by and other in by]
        if len(both) < FEWEST:
            continue
        first, second = (np.array([code[by[who]] for by in both]) for who in (one, other))
        drawn = [cohen(first[rows], second[rows], len(code)) for rows in resampled(len(both), seed)]
        share = float((first == second).mean())
        about = {"people": [one, other], "items": len(both), "share": share}
        found.append(about | interval(cohen(first, second, len(code)), drawn))
    return found


def _all(several: Given, code: dict[str, int], seed: int) -> dict[str, Any]:
    """Compare all people over the items that the most frequent number of them labelled."""
    usual = Counter(len(by) for by in several.values()).most_common(1)[0][0]
    chosen = [by for by in several.values() if len(by) == usual]
    table = np.zeros((len(chosen), len(code)))
    for place, by in enumerate(chosen):
        for label in by.values():
            table[place, code[label]] += 1
    drawn = [fleiss(table[rows]) for rows in resampled(len(chosen), seed)]
    agreed = ((table**2).sum(axis=1) - usual) / (usual * (usual - 1))
    people = sorted({person for by in chosen for person in by})
    about = {"people": people, "items": len(chosen), "share": float(agreed.mean())}
    return about | interval(fleiss(table), drawn)
