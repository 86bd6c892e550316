"""What a bundle holds of columns that are read whole: its files, and what reads them."""

from collections.abc import Callable, Sequence

import numpy as np

from .. import pixels
from . import glances, patches, sentences, texts
from .glances import Glance
from .patches import Patches
from .sentences import Meaning
from .texts import Reader, TextFeature, Words
from .weighed import Weighed

Read = Callable[[str, bytes, Sequence[TextFeature]], Sequence[Reader]]
WAYS: dict[tuple[str, str], tuple[str, Read]] = {  # of a kind: its file, and what reads it
    ("text", ""): (texts.FILE, texts.read),
    ("text", "sentences"): (sentences.FILE, sentences.read),
    ("image", ""): (patches.FILE, patches.read),
    ("image", "backbone"): (glances.FILE, glances.read),
}
FILES = tuple(file for file, _ in WAYS.values())
GOLDEN_WORDS = 12  # of a text
GOLDEN_EDGE = 5  # pixels that a golden image is larger, so that it is brought to size


def content(features: Sequence[TextFeature], models: Sequence[Reader]) -> dict[str, bytes]:
    """Return the files of a bundle that hold what reads its columns."""
    found = {}
    if of_texts := [model for model in models if isinstance(model, Words)]:
        found[texts.FILE] = texts.content(of_texts)
    if of_meanings := [model for model in models if isinstance(model, Meaning)]:
        found[sentences.FILE] = sentences.content(of_meanings)
    if of_images := [model for model in models if isinstance(model, Patches)]:
        found[patches.FILE] = patches.content(of_images)
    if of_glances := [model for model in models if isinstance(model, Glance)]:
        found[glances.FILE] = glances.content(of_glances)
    return found


def origins(models: Sequence[Reader]) -> dict[str, str]:
    """Return the pretrained files that they hold copies of, with the SHA-256 of each."""
    return {n: d for m in models if isinstance(m, Weighed) for n, d in m.origin.items()}


def read(
    bundle: str, stored: dict[str, bytes], features: Sequence[TextFeature]
) -> tuple[Reader, ...]:
    """Return what `content` wrote, one for each feature."""
    found = {}
    for way, (file, reads) in WAYS.items():
        of_it = [feature for feature in features if (feature.kind, feature.by) == way]
        found[way] = iter(reads(bundle, stored.pop(file, b""), of_it))
    return tuple(next(found[feature.kind, feature.by]) for feature in features)


def drawn(model: Reader, rows: int, rng: np.random.Generator) -> list[str]:
    """Return values that nobody sent: drawn words and rare characters, or drawn noise."""
    if isinstance(model, Patches | Glance):
        channels = model.filters.channels if isinstance(model, Patches) else 3
        return [_noise(model.side + GOLDEN_EDGE, channels, rng) for _ in range(rows)]
    known = [*model.places] if isinstance(model, Words) else [""]
    if isinstance(model, Meaning):
        known = [*model.encoder.tokens.vocabulary]
    known = known or [""]
    lines = rng.choice(known, (rows, GOLDEN_WORDS))
    return [f"{' '.join(line)} {texts.ODD}" for line in lines]


def _noise(side: int, channels: int, rng: np.random.Generator) -> str:
    """Return an image of coarse and of fine noise in base64."""
    coarse = rng.integers(0, 200, (4, 4, channels))
    places = np.arange(side) * 4 // side
    image = coarse[places][:, places] + rng.integers(0, 56, (side, side, channels))
    wide = np.broadcast_to(image, (side, side, 3)).astype(np.uint8)
    return pixels.written(wide, (side, side))
