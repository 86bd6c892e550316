"""What a few numbers are made of a vector with: a product, around the mean vector of training."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Single = NDArray[np.float32]
Floats = NDArray[np.float64]


class Parts(NamedTuple):
    """The mean vector of training (width,), weights (width, sums) and intercepts (sums,)."""

    center: Floats
    weights: Floats
    intercept: Floats


class Weighed:
    """What sums of a vector are made of.

    `origin` names the files of the pretrained model that makes vectors, with their SHA-256; a
    bundle's manifest holds it.
    """

    def __init__(self, parts: Parts, origin: Mapping[str, str] | None = None) -> None:
        self.center, self.weights, self.intercept = parts
        self.origin = dict(origin or {})

    def weighed(self, vector: Single | None) -> list[float]:
        """Return the sums of a vector; without one those of the mean."""
        if vector is None:
            return [float(start) for start in self.intercept]
        moved = vector.astype(np.float64) - self.center
        return [
            float(moved @ column) + float(start)
            for column, start in zip(self.weights.T, self.intercept, strict=True)
        ]

    def stored(self, name: str) -> dict[str, Floats]:
        """Return the arrays that a bundle holds of it, by names that begin with `name`."""
        parts = Parts(self.center, self.weights, self.intercept)
        return {f"{name}{part}": array for part, array in parts._asdict().items()}


def parts_of(arrays: Mapping[str, Floats], name: str, width: int, sums: int) -> Parts:
    """Return what `stored` gave; ValueError where it is for other vectors or sums."""
    parts = Parts(*(arrays[f"{name}{part}"] for part in Parts._fields))
    if [part.shape for part in parts] != [(width,), (width, sums), (sums,)]:
        raise ValueError("its arrays do not fit")
    return parts


def of_length_one(vector: NDArray[np.floating]) -> Single:
    """Return a vector of length 1, or of nothing but 0."""
    length = np.sqrt(np.square(vector, dtype=np.float64).sum())
    return np.asarray(vector / (length or 1.0), dtype=np.float32)
