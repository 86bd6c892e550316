"""What a bundle holds of columns that are read whole: its files, and what reads them."""

from collections.abc import Sequence

import numpy as np

from .. import pixels
from . import patches, texts
from .patches import Patches
from .texts import Reader, TextFeature, Words

FILES = (texts.FILE, patches.FILE)
GOLDEN_WORDS = 12  # of a text
GOLDEN_EDGE = 5  # pixels that a golden image is larger, so that it is brought to size


def content(features: Sequence[TextFeature], models: Sequence[Reader]) -> dict[str, bytes]:
    """Return the files of a bundle that hold what reads its columns."""
    of_texts = [model for model in models if isinstance(model, Words)]
    of_images = [model for model in models if isinstance(model, Patches)]
    found = {texts.FILE: texts.content(of_texts)} if of_texts else {}
    return found | ({patches.FILE: patches.content(of_images)} if of_images else {})


def read(
    bundle: str, stored: dict[str, bytes], features: Sequence[TextFeature]
) -> tuple[Reader, ...]:
    """Return what `content` wrote, one for each feature."""
    of = {
        kind: [feature for feature in features if feature.kind == kind]
        for kind in ("text", "image")
    }
    found = {
        "text": iter(texts.read(bundle, stored.pop(texts.FILE, b""), of["text"])),
        "image": iter(patches.read(bundle, stored.pop(patches.FILE, b""), of["image"])),
    }
    return tuple(next(found[feature.kind]) for feature in features)


def drawn(model: Reader, rows: int, rng: np.random.Generator) -> list[str]:
    """Return values that nobody sent: drawn words and rare characters, or drawn noise."""
    if isinstance(model, Patches):
        side = model.filters.side + GOLDEN_EDGE
        return [_noise(side, model.filters.channels, rng) for _ in range(rows)]
    known = [*model.places] if isinstance(model, Words) and model.places else [""]
    lines = rng.choice(known, (rows, GOLDEN_WORDS))
    return [f"{' '.join(line)} {texts.ODD}" for line in lines]


def _noise(side: int, channels: int, rng: np.random.Generator) -> str:
    """Return an image of coarse and of fine noise in base64."""
    coarse = rng.integers(0, 200, (4, 4, channels))
    places = np.arange(side) * 4 // side
    image = coarse[places][:, places] + rng.integers(0, 56, (side, side, channels))
    wide = np.broadcast_to(image, (side, side, 3)).astype(np.uint8)
    return pixels.written(wide, (side, side))
