"""What a bundle holds of columns that are read whole: its files, and what reads them."""

from collections.abc import Sequence

import numpy as np

from . import texts
from .texts import Reader, TextFeature, Words

FILES = (texts.FILE,)
GOLDEN_WORDS = 12  # of a text


def content(features: Sequence[TextFeature], models: Sequence[Reader]) -> dict[str, bytes]:
    """Return the files of a bundle that hold what reads its columns."""
    return {texts.FILE: texts.content([model for model in models if isinstance(model, Words)])}


def read(
    bundle: str, stored: dict[str, bytes], features: Sequence[TextFeature]
) -> tuple[Reader, ...]:
    """Return what `content` wrote, one for each feature."""
    return texts.read(bundle, stored.pop(texts.FILE, b""), features)


def drawn(model: Reader, rows: int, rng: np.random.Generator) -> list[str]:
    """Return values that nobody sent: drawn words and rare characters."""
    known = [*model.places] if isinstance(model, Words) and model.places else [""]
    lines = rng.choice(known, (rows, GOLDEN_WORDS))
    return [f"{' '.join(line)} {texts.ODD}" for line in lines]
