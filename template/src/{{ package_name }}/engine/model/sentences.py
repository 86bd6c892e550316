"""From a text to the vector of a pretrained model, and from that to a few numbers; no torch.

The one way for training, files and services, one text at a time, so that all have the same bits.
A text is read as words are (NFKC, personal data masked); its tokens are looked up in a table and
averaged, or run through a graph. The vector has length 1.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import dialect, privacy
from . import stored_arrays
from .sessions import session
from .texts import TextFeature
from .tokens import Known
from .weighed import Floats, Parts, Single, Weighed, of_length_one, parts_of

FILE = "sentences.npz"
SIGNS_A_TOKEN = 40  # characters of a text beyond this for each token are not read
PARTS = 32  # of a text, that are left out one by one to see what matters


class Encoder(Protocol):
    """What makes a vector of a text."""

    @property
    def width(self) -> int:
        """Numbers of a vector."""

    @property
    def tokens(self) -> Known:
        """How it cuts a text."""

    def vector(self, text: str) -> Single | None:
        """Return the vector of a text, None without a token."""

    def stored(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that a bundle holds of it."""


def prepared(text: str) -> str:
    """Return a text as it is cut: without what names somebody."""
    return privacy.masked(unicodedata.normalize("NFKC", text))


class _Reading:
    """How a text becomes the first `most` of its tokens, and what a bundle holds of that."""

    def __init__(self, tokens: Known, width: int, most: int) -> None:
        self.tokens, self.width, self.most = tokens, width, most

    def cut(self, text: str) -> list[int]:
        """Return the numbers of a text's tokens."""
        return self.tokens.cut(prepared(text)[: self.most * SIGNS_A_TOKEN])

    def stored(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that a bundle holds of it."""
        lines = np.frombuffer(msgspec.json.encode(self.tokens), dtype=np.uint8)
        return {"tokens": lines, "most": np.array(self.most)}


class Average(_Reading):
    """The mean of the vectors that a table has for the tokens of a text."""

    def __init__(self, tokens: Known, table: NDArray[Any], most: int) -> None:
        super().__init__(tokens, int(table.shape[1]), most)
        self.table = table

    def vector(self, text: str) -> Single | None:
        """Return the vector of a text, None without a known token."""
        found = [number for number in self.cut(text) if number != self.tokens.unknown][: self.most]
        return of_length_one(self.table[found].astype(np.float32).mean(axis=0)) if found else None

    def stored(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that a bundle holds of it."""
        return super().stored() | {"table": self.table}


class _Graphs(_Reading):
    """Graphs by their names, the first from the numbers of tokens, int64 [1, tokens]."""

    def __init__(self, tokens: Known, graphs: dict[str, bytes], width: int, most: int) -> None:
        super().__init__(tokens, width, most)
        self.graphs = graphs
        self._sessions = {name: session(graph) for name, graph in graphs.items()}

    def run(self, name: str, text: str) -> Single | None:
        """Return what a graph makes of the tokens of a text, None without a token."""
        tokens = self.tokens
        found = self.cut(text)[: self.most - len(tokens.before) - len(tokens.behind)]
        row = np.array([[*tokens.before, *found, *tokens.behind]], dtype=np.int64)
        return np.asarray(self._sessions[name].run(None, {"tokens": row})[0]) if found else None

    def stored(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that a bundle holds of it."""
        graphs = {name: np.frombuffer(graph, dtype=np.uint8) for name, graph in self.graphs.items()}
        return super().stored() | {"width": np.array(self.width)} | graphs


class Network(_Graphs):
    """A graph from the numbers of tokens to a vector, float32 [1, width]."""

    def __init__(self, tokens: Known, graph: bytes, width: int, most: int) -> None:
        super().__init__(tokens, {"graph": graph}, width, most)

    def vector(self, text: str) -> Single | None:
        """Return the vector of a text, None without a token."""
        return None if (said := self.run("graph", text)) is None else of_length_one(said[0])


class Tuned(_Graphs):
    """Two graphs: from the numbers of tokens to what frozen layers say, and from that to goals.

    The first gives float32 [1, tokens, width of a layer], the second float32 [1, width].
    """

    def __init__(self, tokens: Known, graphs: tuple[bytes, bytes], width: int, most: int) -> None:
        below, above = graphs
        super().__init__(tokens, {"below": below, "above": above}, width, most)

    def seen(self, text: str) -> Single | None:
        """Return what the frozen layers say of a text, None without a token."""
        return self.run("below", text)

    def said(self, seen: Single) -> Single:
        """Return the number of each goal, shape (width,)."""
        return np.asarray(self._sessions["above"].run(None, {"seen": seen})[0][0])

    def vector(self, text: str) -> Single | None:
        """Return the number of each goal, None without a token."""
        return None if (seen := self.seen(text)) is None else self.said(seen)


class Meaning(Weighed):
    """What sums are made of: an encoder, and what its vectors are weighed with."""

    def __init__(
        self, encoder: Encoder, parts: Parts, origin: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(parts, origin)
        self.encoder = encoder
        self._told: tuple[str, list[str], Floats] = ("", [], np.empty((0, 0)))

    def sums(self, text: str | None) -> list[float]:
        """Return the numbers of a text, NaN where there is none."""
        if is_nothing(text):
            return [float("nan")] * len(self.intercept)
        return self.weighed(self.encoder.vector(text or ""))

    def told(self, text: str | None, number: int) -> list[tuple[str, float]]:
        """Return by how much a number falls while a part of the text is left out, the most first.

        Parts are words, or of a long text several words each (Zeiler and Fergus 2014, of images).
        """
        if is_nothing(text):
            return []
        known, parts, falls = self._told
        if known != text:
            parts, falls = self._falls(prepared(text or ""))
            self._told = (text or "", parts, falls)
        order = np.argsort(-np.abs(falls[:, number]), kind="stable")
        return [(parts[place], float(falls[place, number])) for place in order]

    def _falls(self, text: str) -> tuple[list[str], Floats]:
        words = text.split()
        edges = np.unique(np.linspace(0, len(words), min(len(words), PARTS) + 1).astype(int))
        spans = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
        whole = np.array(self.sums(text))
        rests = [self.encoder.vector(" ".join(words[:a] + words[b:])) for a, b in spans]
        falls = [whole - np.array(self.weighed(rest)) for rest in rests]
        return [" ".join(words[a:b]) for a, b in spans], np.array(falls)


def is_nothing(text: str | None) -> bool:
    """Whether a text is missing."""
    return not text or text.isspace() or text in dialect.MISSING


def content(models: Sequence[Meaning]) -> bytes:
    """Return the file of a bundle that holds them; each encoder once."""
    arrays: dict[str, NDArray[Any]] = {}
    encoders, places = stored_arrays.distinct([model.encoder for model in models])
    for index, encoder in enumerate(encoders):
        arrays |= {f"encoder.{index}.{name}": part for name, part in encoder.stored().items()}
    for index, (model, place) in enumerate(zip(models, places, strict=True)):
        arrays |= {f"{index}.encoder": np.array(place), **model.stored(f"{index}.")}
    return stored_arrays.packed(arrays, smaller=False)


def read(bundle: str, stored: bytes, features: Sequence[TextFeature]) -> tuple[Meaning, ...]:
    """Return what `content` wrote; ProjectError where it does not fit the features."""
    found: list[Meaning] = []
    with stored_arrays.opened(bundle, FILE, stored) as arrays:
        encoders: dict[int, Encoder] = {}
        for index, feature in enumerate(features):
            place = int(arrays[f"{index}.encoder"])
            if place not in encoders:
                encoders[place] = _encoder(arrays, f"encoder.{place}.")
            encoder = encoders[place]
            parts = parts_of(arrays, f"{index}.", encoder.width, len(feature.made))
            found.append(Meaning(encoder, parts))
    return tuple(found)


def _encoder(arrays: Any, name: str) -> Encoder:
    tokens = msgspec.json.decode(arrays[f"{name}tokens"].tobytes(), type=Known)
    most = int(arrays[f"{name}most"])
    if f"{name}table" in arrays:
        return Average(tokens, arrays[f"{name}table"], most)
    width = int(arrays[f"{name}width"])
    if f"{name}above" in arrays:
        graphs = arrays[f"{name}below"].tobytes(), arrays[f"{name}above"].tobytes()
        return Tuned(tokens, graphs, width, most)
    return Network(tokens, arrays[f"{name}graph"].tobytes(), width, most)
