"""From pixels to the vector of a pretrained network, and from that to a few numbers.

One image at a time, so that training and services have the same bits.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import pixels
from ..errors import ProjectError
from . import stored_arrays
from .looking import Looking, resized
from .sessions import session
from .texts import TextFeature
from .weighed import Parts, Single, Weighed, of_length_one, parts_of

FILE = "backbones.npz"
Order = Literal["rgb", "bgr"]


class Prepared(NamedTuple):
    """How pixels become the input of a network: float32 of `size` pixels a side.

    A value of 0 to 1 minus `mean`, over `std`, for each colour in the order of `colours`;
    `is_first` says whether colours are the axis before the rows.
    """

    size: int
    is_first: bool
    colours: Order
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def of(self, found: pixels.Pixels) -> Single:
        """Return the input, shape (1, 3, size, size) or (1, size, size, 3)."""
        found = resized(found, self.size)
        if self.colours == "bgr":
            found = found[:, :, ::-1]
        scaled = found.astype(np.float32) / np.float32(255)
        mean, std = (np.array(each, dtype=np.float32) for each in (self.mean, self.std))
        scaled = (scaled - mean) / std
        row = scaled.transpose(2, 0, 1) if self.is_first else scaled
        return np.ascontiguousarray(row[None], dtype=np.float32)


class Backbone:
    """A graph from prepared pixels to one vector of `width` numbers."""

    def __init__(self, graph: bytes, prepared: Prepared) -> None:
        self.graph, self.prepared = graph, prepared
        self._session = session(graph)
        self._input = self._session.get_inputs()[0].name
        grey = np.full((prepared.size, prepared.size, 3), 128, dtype=np.uint8)
        self.width = len(self.vector(grey))

    def vector(self, found: pixels.Pixels) -> Single:
        """Return the vector of pixels (side, side, 3), of length 1.

        Of a map the mean over its places is taken. ProjectError for vectors of parts of the image.
        """
        (values,) = self._session.run(None, {self._input: self.prepared.of(found)})
        values = np.asarray(values, dtype=np.float64)[0]
        if values.ndim == 3:
            values = values.mean(axis=_places(values.shape, self.prepared.is_first))
        elif values.size != max(values.shape, default=1):
            shape = " x ".join(map(str, values.shape))
            raise ProjectError(
                f"{shape} numbers of an image are no vector: name its pooled `output`"
            )
        return of_length_one(values.ravel())

    def stored(self, name: str) -> dict[str, NDArray[Any]]:
        """Return the arrays that a bundle holds of it, by names that begin with `name`."""
        size, is_first, colours, mean, std = self.prepared
        return {
            f"{name}graph": np.frombuffer(self.graph, dtype=np.uint8),
            f"{name}input": np.array([size, is_first, colours == "bgr"], dtype=np.int64),
            f"{name}scale": np.array([mean, std], dtype=np.float64),
        }


def _places(shape: tuple[int, ...], is_first: bool) -> tuple[int, int]:
    """Return the axes of a square map that are places; a graph may turn its input within."""
    if shape[1] == shape[2] and (shape[0] != shape[1] or is_first):
        return (1, 2)
    return (0, 1)


class Glance(Weighed, Looking):
    """What sums are made of: a backbone, and what its vectors are weighed with.

    It reads images of `side` pixels a side, those of training.
    """

    def __init__(
        self, backbone: Backbone, side: int, parts: Parts, origin: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(parts, origin)
        self.backbone, self.side, self.width = backbone, side, len(self.intercept)

    def of(self, found: pixels.Pixels) -> list[float]:
        """Return the numbers of pixels (side, side, 3)."""
        return self.weighed(self.backbone.vector(found))


def content(models: Sequence[Glance]) -> bytes:
    """Return the file of a bundle that holds them; each backbone once."""
    arrays: dict[str, NDArray[Any]] = {}
    backbones, places = stored_arrays.distinct([model.backbone for model in models])
    for index, backbone in enumerate(backbones):
        arrays |= backbone.stored(f"backbone.{index}.")
    for index, (model, place) in enumerate(zip(models, places, strict=True)):
        arrays[f"{index}.backbone"] = np.array([place, model.side], dtype=np.int64)
        arrays |= model.stored(f"{index}.")
    return stored_arrays.packed(arrays, smaller=False)


def read(bundle: str, stored: bytes, features: Sequence[TextFeature]) -> tuple[Glance, ...]:
    """Return what `content` wrote; ProjectError where it does not fit the features."""
    found: list[Glance] = []
    with stored_arrays.opened(bundle, FILE, stored) as arrays:
        known: dict[int, Backbone] = {}
        for index, feature in enumerate(features):
            place, side = map(int, arrays[f"{index}.backbone"])
            if place not in known:
                known[place] = _backbone(arrays, f"backbone.{place}.")
            parts = parts_of(arrays, f"{index}.", known[place].width, len(feature.made))
            found.append(Glance(known[place], side, parts))
            pixels.expect(side)
    return tuple(found)


def _backbone(arrays: Any, name: str) -> Backbone:
    size, is_first, is_bgr = map(int, arrays[f"{name}input"])
    mean, std = (tuple(each) for each in arrays[f"{name}scale"].tolist())
    prepared = Prepared(size, bool(is_first), "bgr" if is_bgr else "rgb", mean, std)
    return Backbone(arrays[f"{name}graph"].tobytes(), prepared)
