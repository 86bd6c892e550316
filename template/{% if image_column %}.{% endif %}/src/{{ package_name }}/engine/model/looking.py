"""What every reader of images does: sums of a value, and what a covered part changes."""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from .. import pixels

WINDOWS = 4  # a side, of what is covered to see what matters


def resized(found: pixels.Pixels, size: int) -> pixels.Pixels:
    """Return pixels (side, side, 3) at another size of a side."""
    if len(found) == size:
        return found
    from PIL import Image

    return np.asarray(Image.fromarray(found).resize((size, size), Image.Resampling.BILINEAR))


class Looking(ABC):
    """What makes `width` numbers of an image, which it reads with `side` pixels a side.

    `channels` is 1 where it sees grey values alone.
    """

    side: int
    width: int
    channels: int = 3

    @abstractmethod
    def of(self, found: pixels.Pixels) -> list[float]:
        """Return the numbers of pixels (side, side, 3)."""

    def sums(self, value: str | None) -> list[float]:
        """Return the numbers of an image in base64, NaN where there is none."""
        if value:
            try:
                return self.of(pixels.read(value, self.side))
            except pixels.Unreadable:
                pass
        return [float("nan")] * self.width

    def covered(self, value: str, number: int) -> NDArray[np.float64]:
        """Return by how much a number falls while each of WINDOWS x WINDOWS parts is covered.

        What covers it has the mean colour of the image (Zeiler and Fergus 2014).
        """
        found = pixels.read(value, self.side)
        whole, mean = self.of(found)[number], found.mean(axis=(0, 1)).astype(np.uint8)
        edges = np.linspace(0, len(found), WINDOWS + 1).round().astype(int)
        falls = np.zeros((WINDOWS, WINDOWS))
        for row, column in np.ndindex(WINDOWS, WINDOWS):
            hidden = found.copy()
            hidden[edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = mean
            falls[row, column] = whole - self.of(hidden)[number]
        return falls

    def told(self, value: str | None, number: int) -> list[tuple[str, float]]:
        """Return by how much a number falls while a part is covered, the most first."""
        if not value:
            return []
        try:
            falls = self.covered(value, number)
        except pixels.Unreadable:
            return []
        order = np.argsort(-np.abs(falls), axis=None, kind="stable")
        places = [divmod(int(place), WINDOWS) for place in order]
        return [(f"row {r + 1} column {c + 1}", float(falls[r, c])) for r, c in places]
