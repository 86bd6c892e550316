"""Images that show nearly the same: on both sides of a split they would be known by heart.

Candidates by their difference hash, in pairs of its rows; two are one where their edges agree, as
those of an image do that was written anew in another size or format.
"""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from .. import pixels

ROWS = 8  # bits of the hash are ROWS x ROWS: is a part darker than its neighbour?
SIDE = 32  # pixels at which edges are compared
LIKE = 0.5  # correlation of the edges of copies; of others on a noisy surface it is about 0
NEAR = 5.0  # mean difference of their grey values, of 0 to 255, once means are equal
FLAT = 0.5  # grey values: images without edges are copies where they differ by less
COMPARED = 50  # of those that share two rows of the hash

Grey = NDArray[np.float64]


def leading(levels: list[str]) -> dict[str, int]:
    """Return the number of its group for each image in base64."""
    seen = {
        place: found for place, level in enumerate(levels) if (found := _grey(level)) is not None
    }
    hashes = {place: _hash(found) for place, found in seen.items()}
    parents = {place: place for place in seen}

    def root(place: int) -> int:
        while parents[place] != place:
            place = parents[place]
        return place

    for pair in combinations(range(ROWS), 2):
        met: dict[bytes, list[int]] = {}
        for place, bits in hashes.items():
            others = met.setdefault(bits[list(pair)].tobytes(), [])
            for other in others[-COMPARED:]:
                if root(place) != root(other) and _is_copy(seen[place], seen[other]):
                    parents[root(place)] = root(other)
            others.append(place)
    return {levels[place]: root(place) for place in seen}


def _grey(value: str) -> Grey | None:
    """Return the grey values of an image, None where there is none."""
    try:
        return pixels.read(value, SIDE).mean(axis=2) if value else None
    except pixels.Unreadable:
        return None


def _hash(found: Grey) -> NDArray[np.bool_]:
    """Say of each part whether the next one of its row is lighter; the first one is the last's."""
    parts = found.reshape(ROWS, SIDE // ROWS, ROWS, SIDE // ROWS).mean(axis=(1, 3))
    return np.asarray(parts < np.roll(parts, -1, axis=1))


def _is_copy(one: Grey, other: Grey) -> bool:
    """Whether two images show the same: grey values are near, and so is each edge."""
    edges = [
        np.r_[np.diff(image, axis=0).ravel(), np.diff(image, axis=1).ravel()]
        for image in (one, other)
    ]
    first, second = (edge - edge.mean() for edge in edges)
    size = float(np.sqrt((first @ first) * (second @ second)))
    apart = float(np.abs(one - one.mean() - other + other.mean()).mean())
    if size < FLAT * len(first):
        return apart < FLAT
    return apart <= NEAR and float(first @ second) / size >= LIKE
