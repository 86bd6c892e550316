"""Operators from an image to a few numbers, learnt from training rows.

As with texts, each different image of the development rows is a level in training, so that such an
operator is a table of the numbers of each; a bundle holds `patches.Patches` in its place.
"""

from functools import lru_cache
from typing import Annotated, ClassVar, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import pixels, progress
from . import patches
from .lookups import INNER_FOLDS
from .operators import Count, Floats, Learnt, Rows
from .patches import Filters, Patches, Single
from .texts import Reader
from .words import OfText

EXAMINED = 20_000  # patches that typical ones are learnt from
SIZE = 6  # pixels of a patch, where an image has more than twice as many
FLAT = 0.02  # deviation of a patch below which it shows nothing
SMALL = 0.01  # added to variances, so that noise is not enlarged (Coates and Ng 2012)
PENALTY = 0.1  # of ridge regression, times the number of columns

Codes = NDArray[np.int64]


class Seen(NamedTuple):
    """Filters, and the numbers (images, width) that they give of each level, 0 without an image."""

    filters: Filters
    numbers: Single


class OfImage(OfText, frozen=True, kw_only=True):
    """Numbers of an image by how like its patches are to `most` typical ones."""

    most: Annotated[int, msgspec.Meta(ge=8, le=2000)] = 100
    takes: ClassVar[str] = "image"
    gives: ClassVar[str] = "patches"

    def weights(self, x: Floats, rows: Rows) -> tuple[Floats, Floats]:
        """Learn from standard numbers (rows, width): weights and intercepts."""
        raise NotImplementedError

    def learn(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Learnt:
        """Learn typical patches and weights from the images of rows."""
        codes = columns[:, 0].astype(np.int64)
        return self._learnt(codes, levels, rows, self._seen(codes, levels, rows.seed))

    def words(self, learnt: Learnt) -> Reader:
        """Return what a bundle holds of it."""
        return _patches(learnt)

    def _seen(self, codes: Codes, levels: tuple[str, ...], seed: int) -> Seen:
        """Return filters that are learnt from the images of rows, and what they say of all."""
        return _seen(levels, codes.tobytes(), self.most, seed)

    def _learnt(self, codes: Codes, levels: tuple[str, ...], rows: Rows, seen: Seen) -> Learnt:
        there = np.array([bool(level) for level in levels] + [False])[codes]
        x = seen.numbers[codes[there]].astype(np.float64)
        if not len(x):
            raise ValueError("no training row has an image")
        mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-3
        goals = None if rows.goals is None else rows.goals[there]
        weights, intercept = self.weights((x - mean) / spread, rows._replace(goals=goals))
        scaled = weights / spread[:, None]
        side, size, kernels, offset = seen.filters
        learnt: Learnt = {
            "size": np.array([side, size], dtype=np.int64),
            "kernels": kernels,
            "offset": offset,
            "weights": scaled.astype(np.float32),
            "intercept": (intercept - mean @ scaled).astype(np.float32),
        }
        model, width = _patches(learnt), len(intercept)
        table = np.full((len(levels) + 1, width), np.nan)
        for place, level in enumerate(levels):
            if level:
                table[place] = model.weighed(seen.numbers[place])
        return learnt | {"table": table}


class PatchWeights(OfImage, frozen=True, kw_only=True):
    """What a linear model of the patches says of the target: a number for each of its goals.

    Ridge regression on each goal. Training rows never see their own target: theirs is the number
    by the other parts of five, and equal images are in one part (Wolpert 1992).
    """

    purpose: ClassVar[str] = "what is seen tells of the target: its patches, each with its weight"

    def weights(self, x: Floats, rows: Rows) -> tuple[Floats, Floats]:
        """Fit all goals at once, by the smaller of the two systems of equations."""
        if rows.goals is None:
            raise ValueError("it needs a target that every row has: use PatchTopics")
        mean = rows.goals.mean(axis=0)
        wanted, penalty = rows.goals - mean, PENALTY * x.shape[1]
        if len(x) <= x.shape[1]:
            system = x @ x.T
            system[np.diag_indices_from(system)] += penalty
            return x.T @ np.linalg.solve(system, wanted), mean
        system = x.T @ x
        system[np.diag_indices_from(system)] += penalty
        return np.linalg.solve(system, x.T @ wanted), mean

    def training(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Floats:
        """Return numbers that hold no row's own target, shape (rows, goals)."""
        if rows.goals is None:
            raise ValueError("it needs a target that every row has: use PatchTopics")
        codes = columns[:, 0].astype(np.int64)
        seen = self._seen(codes, levels, rows.seed)
        rng = np.random.default_rng(rows.seed)
        part = rng.integers(0, INNER_FOLDS, len(levels) + 1)[codes]
        found = np.full(rows.goals.shape, np.nan)
        for number in range(INNER_FOLDS):
            others, these = part != number, part == number
            if others.any() and these.any():
                goals = rows._replace(goals=rows.goals[others])
                table = self._learnt(codes[others], levels, goals, seen)["table"]
                found[these] = table[codes[these]]
        return found


class PatchTopics(OfImage, frozen=True, kw_only=True):
    """The `keep` directions in which the patches of images differ the most."""

    keep: Count = 8
    purpose: ClassVar[str] = "what images show, learnt without the target"

    def weights(self, x: Floats, rows: Rows) -> tuple[Floats, Floats]:
        """Learn by singular vectors; the largest weight of each is positive."""
        axes = np.zeros((x.shape[1], self.keep))
        keep = min(self.keep, *x.shape)
        found = np.linalg.svd(x, full_matrices=False)[2][:keep].T
        largest = np.take_along_axis(found, np.abs(found).argmax(axis=0)[None], axis=0)
        axes[:, :keep] = found * np.sign(largest)
        return axes / np.sqrt(x.shape[1]), np.zeros(self.keep)


def _patches(learnt: Learnt) -> Patches:
    side, size = map(int, learnt["size"])
    filters = Filters(side, size, learnt["kernels"], learnt["offset"])
    return Patches(filters, learnt["weights"], learnt["intercept"])


@lru_cache(maxsize=2)
def stacked(levels: tuple[str, ...]) -> pixels.Pixels:
    """Return the pixels of levels, shape (images, side, side, 3); 0 where there is no image."""
    side = pixels.side_of(next(filter(None, levels), None))
    images = np.zeros((len(levels), side, side, 3), dtype=np.uint8)
    for place, level in enumerate(levels):
        if level:
            images[place] = pixels.read(level, side)
    return images


@lru_cache(maxsize=4)
def _seen(levels: tuple[str, ...], codes: bytes, most: int, seed: int) -> Seen:
    images = stacked(levels)
    used = np.unique(np.frombuffer(codes, dtype=np.int64))
    used = used[used < len(levels)]
    used = np.array([place for place in used if levels[place]], dtype=np.int64)
    if not len(used):
        raise ValueError("no training row has an image")
    filters = _filters(images[used], most, np.random.default_rng(seed))
    numbers = np.zeros((len(levels), filters.width), dtype=np.float32)
    for place, level in enumerate(levels):
        progress.tell("looking at images", place + 1, len(levels))
        if level:
            numbers[place] = filters.seen(images[place])
    return Seen(filters, numbers)


def _filters(images: pixels.Pixels, most: int, rng: np.random.Generator) -> Filters:
    """Learn typical patches by k-means of whitened ones."""
    from sklearn.cluster import MiniBatchKMeans

    side = images.shape[1]
    size = SIZE if side > 2 * SIZE else max(1, side // 3)
    is_grey = bool((images == images[..., :1]).all())
    some = _drawn(images, size, 1 if is_grey else 3, rng)
    told = some[some.std(axis=1) > FLAT]
    told = told if len(told) > most else some
    mean = told.mean(axis=0)
    variances, axes = np.linalg.eigh(np.cov((told - mean).T).reshape(len(mean), len(mean)))
    whitened = axes @ np.diag(1 / np.sqrt(np.maximum(variances, 0) + SMALL)) @ axes.T
    z = (told - mean) @ whitened
    z /= np.linalg.norm(z, axis=1, keepdims=True) + 1e-6
    count = min(most, len(np.unique(z, axis=0)))
    seed = int(rng.integers(2**31))
    means = MiniBatchKMeans(count, random_state=seed, n_init=1, batch_size=2048).fit(z)
    typical = means.cluster_centers_
    typical = typical / (np.linalg.norm(typical, axis=1, keepdims=True) + 1e-6)
    kernels = whitened @ typical.T
    offset = -(mean @ kernels)
    return Filters(side, size, kernels.astype(np.float32), offset.astype(np.float32))


def _drawn(
    images: pixels.Pixels, size: int, channels: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return EXAMINED patches, as many of each image, shape (patches, values)."""
    each = max(1, -(-EXAMINED // len(images)))
    found = []
    for image in images[rng.permutation(len(images))[:EXAMINED]]:
        cut = patches.patches(patches.values(image, channels), size)
        rows, columns = cut.shape[:2]
        chosen = cut[rng.integers(0, rows, each), rng.integers(0, columns, each)]
        found.append(chosen.reshape(each, -1))
    return np.concatenate(found).astype(np.float64)
