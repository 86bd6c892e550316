"""An operator from an image to a few numbers by a small network that is trained with the model.

numpy trains it (`convolutions`), so that no library has to be installed; onnxruntime runs it in
training as in a service (`sights`).
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Annotated, ClassVar, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from . import convolutions
from .convolutions import Change, Net, Plan
from .descent import PARTS, Aim, of_parts
from .looking import resized
from .operators import Floats, Learnt, Rows
from .patches import values
from .shapes import stacked
from .sights import Sight
from .texts import Reader
from .words import OfText

LEAST_IMAGES = 30  # that differ, so that each part has some

Codes = NDArray[np.int64]


class Trained(NamedTuple):
    """A network for each part, trained on the others; the part of each level; pixels of a side."""

    nets: list[Net]
    part: Codes
    side: int
    size: int
    channels: int

    def sight(self, nets: list[Net]) -> Sight:
        """Return what reads images with the mean of networks."""
        return Sight(convolutions.emitted(nets, self.size, self.channels), self.side)


class TrainedNetwork(OfText, frozen=True, kw_only=True):
    """What a small convolutional network, trained on these images, says of each goal of the target.

    Three networks are trained, each without a third of the images, on `size` pixels a side with
    `filters` filters in the first block and images changed at random as `augment` says, for at most
    `epochs` epochs. A training row gets the number of the network that has not seen it, every other
    row the mean of the three; equal images are in one part.
    """

    augment: tuple[Change, ...] = ("shift", "turn", "zoom")
    size: Annotated[int, msgspec.Meta(ge=8, le=128)] = 32
    filters: Annotated[int, msgspec.Meta(ge=2, le=64)] = 12
    epochs: Annotated[int, msgspec.Meta(ge=1, le=500)] = 30
    takes: ClassVar[str] = "image"
    gives: ClassVar[str] = "trained"
    way: ClassVar[str] = "trained"
    purpose: ClassVar[str] = "what is seen tells of the target: shapes that a network finds itself"

    def problem(self) -> str:
        """Ask for each change once, and for nothing that is of texts."""
        if self.stem or self.lemma:
            return "stem and lemma are for Words and Topics"
        return "" if len({*self.augment}) == len(self.augment) else "augment names a change twice"

    def learn(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Learnt:
        """Train on the images of rows; the table has the numbers of all images."""
        trained = self._trained(columns, levels, rows)
        sight = trained.sight(trained.nets)
        table = np.full((len(levels) + 1, sight.width), np.nan)
        _fill(table, range(len(levels)), levels, sight)
        graph = np.frombuffer(sight.graph, dtype=np.uint8)
        return {"table": table, "graph": graph, "side": np.array(sight.side)}

    def training(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Floats:
        """Return numbers that hold no row's own target, shape (rows, goals)."""
        trained = self._trained(columns, levels, rows)
        codes = columns[:, 0].astype(np.int64)
        table = np.full((len(levels) + 1, len(trained.nets[0].layers[-1][1])), np.nan)
        for number, net in enumerate(trained.nets):
            own = np.unique(codes[trained.part[codes] == number]).tolist()
            _fill(table, own, levels, trained.sight([net]))
        return np.asarray(table[codes])

    def words(self, learnt: Learnt) -> Reader:
        """Return what a bundle holds of it."""
        return Sight(learnt["graph"].tobytes(), int(learnt["side"]))

    def _trained(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Trained:
        if rows.goals is None:
            raise ValueError("it needs a target that every row has: use PatchTopics")
        codes = columns[:, 0].astype(np.int64)
        plan = Plan(self.filters, self.epochs, self.augment, rows.seed)
        goals = np.ascontiguousarray(rows.goals, dtype=np.float64)
        return _trained(levels, codes.tobytes(), goals.tobytes(), plan, self.size)


def _fill(table: Floats, places: Iterable[int], levels: tuple[str, ...], sight: Sight) -> None:
    """Write the numbers of the images at `places`."""
    images = stacked(levels)
    for place in places:
        if place < len(levels) and levels[place]:
            table[place] = sight.of(images[place])


@lru_cache(maxsize=2)
def _trained(
    levels: tuple[str, ...], rows: bytes, targets: bytes, plan: Plan, size: int
) -> Trained:
    codes = np.frombuffer(rows, dtype=np.int64)
    goals = np.frombuffer(targets, dtype=np.float64).reshape(len(codes), -1)
    has = np.array([bool(level) for level in levels] + [False])[codes]
    codes, goals = codes[has], goals[has]
    used = np.unique(codes)
    if len(used) < LEAST_IMAGES:
        raise ValueError(
            f"it needs {LEAST_IMAGES} different images to train on and has {len(used)}: use "
            "PatchWeights"
        )
    images = stacked(levels)
    side = images.shape[1]
    size = min(size, side)
    channels = 1 if (images[used] == images[used][..., :1]).all() else 3
    seen = np.zeros((len(levels), size, size, channels), dtype=np.float32)
    for place in used:
        seen[place] = values(resized(images[place], size), channels)
    part = np.random.default_rng(plan.seed).integers(0, PARTS, len(levels) + 1)

    def one(number: int, others: NDArray[np.bool_], said: Aim, tell: Callable[[], None]) -> Net:
        own = plan._replace(seed=plan.seed + number)
        return convolutions.learnt(seen[codes[others]], said, own, tell)

    nets = of_parts("training networks", plan.epochs, part[codes], goals, one)
    return Trained(nets, part, side, size, channels)
