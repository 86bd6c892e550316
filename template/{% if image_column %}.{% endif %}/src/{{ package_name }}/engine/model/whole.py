"""What a bundle holds of columns that are read whole: its files, and what reads them."""

from functools import partial

import numpy as np

from .. import pixels
from . import glances, patches, sentences, sights, texts, ways
from .glances import Glance
from .looking import Looking
from .patches import Patches
from .sentences import Meaning
from .sights import Sight
from .texts import Reader, Words
from .ways import Way

WAYS = {
    ("text", ""): Way(texts.FILE, Words, texts.content, texts.read),
    ("text", "sentences"): Way(sentences.FILE, Meaning, sentences.content, sentences.read),
    ("image", ""): Way(patches.FILE, Patches, patches.content, patches.read),
    ("image", "backbone"): Way(glances.FILE, Glance, glances.content, glances.read),
    ("image", "trained"): Way(sights.FILE, Sight, sights.content, sights.read),
}
FILES = tuple(way.file for way in WAYS.values())
content, read = partial(ways.content, WAYS), partial(ways.read, WAYS)
GOLDEN_EDGE = 5  # pixels that a golden image is larger, so that it is brought to size


def drawn(model: Reader, rows: int, rng: np.random.Generator) -> list[str]:
    """Return values that nobody sent: drawn words and rare characters, or drawn noise."""
    if not isinstance(model, Looking):
        return ways.drawn(model, rows, rng)
    return [_noise(model.side + GOLDEN_EDGE, model.channels, rng) for _ in range(rows)]


def _noise(side: int, channels: int, rng: np.random.Generator) -> str:
    """Return an image of coarse and of fine noise in base64."""
    coarse = rng.integers(0, 200, (4, 4, channels))
    places = np.arange(side) * 4 // side
    image = coarse[places][:, places] + rng.integers(0, 56, (side, side, channels))
    wide = np.broadcast_to(image, (side, side, 3)).astype(np.uint8)
    return pixels.written(wide, (side, side))
