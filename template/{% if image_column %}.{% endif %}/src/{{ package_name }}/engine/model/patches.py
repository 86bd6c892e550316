"""From pixels to numbers: how like the patches of an image are to those of others, added up.

Patches are whitened and held against typical ones, both ways above a threshold; means over nine
parts of the image (Coates and Ng 2012) are weighed to numbers. numpy alone, one image at a time, so
that training and services have the same bits.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import pixels
from . import stored_arrays
from .looking import Looking
from .texts import Reader, TextFeature

FILE = "images.npz"
PARTS = 3  # a side, of the image, that patches are added up over
THRESHOLD = 0.25

Single = NDArray[np.float32]


class Filters(NamedTuple):
    """Typical patches of `size` x `size` pixels: kernels (values, n) and offset (n,)."""

    side: int
    size: int
    kernels: Single
    offset: Single

    @property
    def channels(self) -> int:
        """1 for grey values, 3 for colours."""
        return len(self.kernels) // self.size**2

    @property
    def width(self) -> int:
        """Numbers of an image."""
        return 2 * len(self.offset) * PARTS**2

    def seen(self, found: pixels.Pixels) -> Single:
        """Return the numbers of pixels (side, side, 3), shape (width,)."""
        cut = patches(values(found, self.channels), self.size)
        rows, columns = cut.shape[:2]
        like = cut.reshape(rows * columns, -1) @ self.kernels + self.offset
        both = np.concatenate([like - THRESHOLD, -like - THRESHOLD], axis=1)
        both = np.maximum(both, 0, out=both).reshape(rows, columns, -1)
        edges = [round(n * rows / PARTS) for n in range(PARTS + 1)]
        spans = list(pairwise(edges))
        parts = [both[a:b, c:d].mean(axis=(0, 1)) for a, b in spans for c, d in spans]
        return np.concatenate(parts).astype(np.float32)


class Patches(Looking):
    """What sums are made of: filters, weights (width, sums) and intercepts (sums,)."""

    def __init__(self, filters: Filters, weights: Single, intercept: Single) -> None:
        self.filters, self.weights, self.intercept = filters, weights, intercept
        self.side, self.width, self.channels = filters.side, len(intercept), filters.channels

    def of(self, found: pixels.Pixels) -> list[float]:
        """Return the numbers of pixels (side, side, 3)."""
        return self.weighed(self.filters.seen(found))

    def weighed(self, numbers: Single) -> list[float]:
        """Return the sums of what filters gave, shape (width,)."""
        return [
            float(numbers @ column) + float(start)
            for column, start in zip(self.weights.T, self.intercept, strict=True)
        ]


def values(found: pixels.Pixels, channels: int) -> Single:
    """Return pixels (side, side, 3) as values of 0 to 1, grey ones with one channel."""
    if channels == 1:  # luma as JPEG has it
        grey = found.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
        return grey[:, :, None] / np.float32(255)
    return found.astype(np.float32) / np.float32(255)


def patches(image: Single, size: int) -> Single:
    """Return every patch of (side, side, channels): (rows, columns, channels, size, size)."""
    return np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(0, 1))


def content(models: Sequence[Patches]) -> bytes:
    """Return the file of a bundle that holds them."""
    arrays: dict[str, NDArray[Any]] = {}
    for index, model in enumerate(models):
        filters = model.filters
        arrays[f"{index}.size"] = np.array([filters.side, filters.size], dtype=np.int64)
        arrays[f"{index}.kernels"], arrays[f"{index}.offset"] = filters.kernels, filters.offset
        arrays[f"{index}.weights"], arrays[f"{index}.intercept"] = model.weights, model.intercept
    return stored_arrays.packed(arrays, smaller=True)


def read(bundle: str, stored: bytes, features: Sequence[TextFeature]) -> tuple[Reader, ...]:
    """Return what `content` wrote; ProjectError where it does not fit the features."""
    found: list[Reader] = []
    with stored_arrays.opened(bundle, FILE, stored) as arrays:
        for index, feature in enumerate(features):
            side, size = map(int, arrays[f"{index}.size"])
            parts = ("kernels", "offset", "weights", "intercept")
            kernels, offset, weights, intercept = (arrays[f"{index}.{n}"] for n in parts)
            filters = Filters(side, size, kernels, offset)
            shapes = [(filters.channels * size**2, len(offset)), (len(feature.made),)]
            shapes += [(filters.width, len(feature.made))]
            if [kernels.shape, intercept.shape, weights.shape] != shapes or size > side:
                raise ValueError("its arrays do not fit")
            found.append(Patches(filters, weights, intercept))
            pixels.expect(side)
    return tuple(found)
