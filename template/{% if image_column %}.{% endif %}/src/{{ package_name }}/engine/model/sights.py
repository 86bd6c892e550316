"""From pixels to the numbers of a network that was trained with the model.

onnxruntime executes it, one image at a time, so that training and services have the same bits.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import pixels
from . import stored_arrays
from .looking import Looking, resized
from .patches import values
from .sessions import session
from .texts import TextFeature

FILE = "sights.npz"


class Sight(Looking):
    """A graph from values of 0 to 1 (1, size, size, channels) to `width` numbers (1, width).

    It reads images of `side` pixels a side, those of training.
    """

    def __init__(self, graph: bytes, side: int) -> None:
        self.graph, self.side = graph, side
        self._session = session(graph)
        (_, self.size, _, self.channels) = self._session.get_inputs()[0].shape
        self.width = self._session.get_outputs()[0].shape[1]

    def of(self, found: pixels.Pixels) -> list[float]:
        """Return the numbers of pixels (side, side, 3)."""
        seen = values(resized(found, self.size), self.channels)
        (numbers,) = self._session.run(None, {"image": seen[None]})
        return [float(number) for number in np.asarray(numbers)[0]]


def content(models: Sequence[Sight]) -> bytes:
    """Return the file of a bundle that holds them."""
    arrays: dict[str, NDArray[Any]] = {}
    for index, model in enumerate(models):
        arrays[f"{index}.graph"] = np.frombuffer(model.graph, dtype=np.uint8)
        arrays[f"{index}.side"] = np.array(model.side)
    return stored_arrays.packed(arrays, smaller=False)


def read(bundle: str, stored: bytes, features: Sequence[TextFeature]) -> tuple[Sight, ...]:
    """Return what `content` wrote; ProjectError where it does not fit the features."""
    found: list[Sight] = []
    with stored_arrays.opened(bundle, FILE, stored) as arrays:
        for index, feature in enumerate(features):
            sight = Sight(arrays[f"{index}.graph"].tobytes(), int(arrays[f"{index}.side"]))
            if sight.width != len(feature.made):
                raise ValueError("its arrays do not fit")
            found.append(sight)
            pixels.expect(sight.side)
    return tuple(found)
