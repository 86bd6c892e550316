"""Ways to read a column whole: the file of each in a bundle, and what makes and reads it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import texts
from .sentences import Meaning
from .texts import Reader, TextFeature, Words
from .weighed import Weighed

GOLDEN_WORDS = 12  # of a text


class Way(NamedTuple):
    """A file of a bundle: what kind of reader it holds, and what writes and reads these."""

    file: str
    reader: type[Any]
    content: Callable[[Sequence[Any]], bytes]
    read: Callable[[str, bytes, Sequence[TextFeature]], Sequence[Reader]]


Ways = Mapping[tuple[str, str], Way]  # by the kind of a column and the way of a feature


def content(ways: Ways, models: Sequence[Reader]) -> dict[str, bytes]:
    """Return the files of a bundle that hold what reads its columns."""
    own = {way: [m for m in models if isinstance(m, way.reader)] for way in ways.values()}
    return {way.file: way.content(found) for way, found in own.items() if found}


def read(
    ways: Ways, bundle: str, stored: dict[str, bytes], features: Sequence[TextFeature]
) -> tuple[Reader, ...]:
    """Return what `content` wrote, one for each feature."""
    found = {}
    for kind, way in ways.items():
        of_it = [feature for feature in features if (feature.kind, feature.by) == kind]
        file = stored.pop(way.file, b"")
        found[kind] = iter(way.read(bundle, file, of_it) if of_it else ())
    return tuple(next(found[feature.kind, feature.by]) for feature in features)


def origins(models: Sequence[Reader]) -> dict[str, str]:
    """Return the pretrained files that they hold copies of, with the SHA-256 of each."""
    return {n: d for m in models if isinstance(m, Weighed) for n, d in m.origin.items()}


def drawn(model: Reader, rows: int, rng: np.random.Generator) -> list[str]:
    """Return texts that nobody sent: drawn words and rare characters."""
    known = [*model.places] if isinstance(model, Words) else [""]
    if isinstance(model, Meaning):
        known = [*model.encoder.tokens.vocabulary]
    lines = rng.choice(known or [""], (rows, GOLDEN_WORDS))
    return [f"{' '.join(line)} {texts.ODD}" for line in lines]
