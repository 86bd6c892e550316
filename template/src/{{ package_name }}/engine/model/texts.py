"""From a text to numbers: words, their weights in a text, and sums of these; numpy alone.

The one way for training, files and services: NFKC, without personal data (privacy.masked), case
folded; words and pairs of neighbours, of scripts without spaces the characters. tf-idf of a word is
(1 + ln count) * idf, its share of the text's length 1 (Salton and Buckley 1988).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import dialect, privacy
from . import stored_arrays

FILE = "texts.npz"
# What versions of Unicode could read otherwise: golden rows have it.
ODD = (
    "\ufb01ne \uff21\u0130\u00df e\u0301 \u0e17\u0e35\u0e48 \u6771\u4eac\u3078 "
    "\u0939\u093f\u0902\u0926\u0940 \U0001f600"
)
LEAST_ROWS = 2  # that have a term: what one text alone says is its own, and stays out of a bundle
LONGEST_WORD = 40  # characters: longer ones are addresses and codes, of which no two are equal
SIGNS = (2, 4)  # neighbouring characters where no spaces part words
# Thai, Lao, Burmese, Khmer, kana, Chinese characters: written without spaces.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
EMOJI = "\u2600-\u27bf\U0001f000-\U0001faff"
UNSEEN = dict.fromkeys((0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFE0F, 0xFEFF))  # within words
SCRIPTS = {
    "Latin": "A-Za-z\u00aa-\u024f\u1e00-\u1eff",
    "Cyrillic": "\u0400-\u052f",
    "Greek": "\u0370-\u03ff\u1f00-\u1fff",
    "Arabic": "\u0600-\u06ff\u0750-\u077f",
    "Hebrew": "\u0590-\u05ff",
    "Indic": "\u0900-\u0dff",
    "Korean": "\u1100-\u11ff\uac00-\ud7af",
    "without spaces": UNSPACED,
}

Floats = NDArray[np.float64]


class TextFeature(msgspec.Struct, frozen=True, omit_defaults=True):
    """Numbers that are made of a text: their names, and the column that they are made of."""

    name: str
    column: str
    made: tuple[str, ...]
    kind: str = "text"  # of the column
    by: str = ""  # what reads it, where a kind has several ways


class Reader(Protocol):
    """What makes numbers of a value that is read whole."""

    def sums(self, text: str | None, /) -> list[float]:
        """Return the numbers of a value, NaN where there is none."""

    def told(self, text: str | None, number: int, /) -> list[tuple[str, float]]:
        """Return what each part of a value adds to a number, the most first."""


class Words(NamedTuple):
    """What sums are made of: idf (columns,), weights (columns, sums) and intercepts (sums,).

    `places` are the columns of terms: forms of one word share a column where a feature says so.
    """

    places: dict[str, int]
    idf: Floats
    weights: Floats
    intercept: Floats

    def weigh(self, text: str | None) -> tuple[list[str], list[int], Floats]:
        """Return the known words of a text, their places and their tf-idf."""
        counts: Counter[int] = Counter()
        found: dict[int, str] = {}  # of forms of one word the first one
        for term in terms(text or ""):
            if (place := self.places.get(term)) is not None:
                counts[place] += 1
                found.setdefault(place, term)
        places = list(counts)
        values = (1 + np.log(np.array([*counts.values()], float))) * self.idf[places]
        return list(found.values()), places, values / (np.sqrt(values @ values) or 1.0)

    def sums(self, text: str | None) -> list[float]:
        """Return the numbers of a text, NaN where there is none."""
        if not text or text.isspace() or text in dialect.MISSING:
            return [float("nan")] * len(self.intercept)
        _, places, values = self.weigh(text)
        found: list[float] = (values @ self.weights[places] + self.intercept).tolist()
        return found

    def told(self, text: str | None, number: int) -> list[tuple[str, float]]:
        """Return what each word adds to a number, the most first."""
        found, places, values = self.weigh(text)
        shares = values * self.weights[places, number]
        order = np.argsort(-np.abs(shares), kind="stable")
        return [(found[place], float(shares[place])) for place in order]


@cache
def _pattern() -> re.Pattern[str]:
    # Python counts no vowel sign of Hindi or Thai to a word.
    marks = "".join(c for c in map(chr, range(0x300, 0x10000)) if unicodedata.category(c)[0] == "M")
    return re.compile(rf"([{UNSPACED}]+)|(?:(?![{UNSPACED}])[\w{marks}])+|[{EMOJI}]")


def terms(text: str) -> list[str]:
    """Return words, pairs of neighbouring words and, without spaces, neighbouring characters."""
    text = privacy.masked(unicodedata.normalize("NFKC", text)).translate(UNSEEN).casefold()
    found: list[str] = []
    words: list[str] = []
    for match in _pattern().finditer(text):
        word = match[0]
        if match[1]:
            words.append("")
            least, most = SIGNS
            found += word if len(word) < least else ()
            for size in range(least, most + 1):
                found += [word[n : n + size] for n in range(len(word) - size + 1)]
        elif len(word) <= LONGEST_WORD:
            words.append(word)
    found += filter(None, words)
    found += [f"{a} {b}" for a, b in pairwise(words) if a and b]
    return found


class Corpus(NamedTuple):
    """How often each text (row) has each term (column), as a sparse matrix.

    `sizes` are the different terms of each text, those of it alone among them.
    """

    terms: NDArray[np.object_]
    counts: Any
    sizes: NDArray[np.int64]


@lru_cache(maxsize=8)
def corpus(levels: tuple[str, ...]) -> Corpus:
    """Count the terms of texts; those of one text alone are left out."""
    from scipy import sparse

    places: dict[str, int] = {}
    columns: list[int] = []
    ends = [0]
    for text in levels:
        columns += [places.setdefault(term, len(places)) for term in terms(text)]
        ends.append(len(columns))
    ones = np.ones(len(columns), dtype=np.float32)
    shape = (len(levels), len(places))
    counts = sparse.csr_matrix((ones, columns, ends), shape)
    counts.sum_duplicates()
    kept = np.flatnonzero(np.bincount(counts.indices, minlength=len(places)) >= LEAST_ROWS)
    names = np.array(list(places), dtype=object)[kept] if len(kept) else np.empty(0, object)
    return Corpus(names, counts[:, kept], np.diff(counts.indptr).astype(np.int64))


def merged(known: Corpus, forms: Sequence[str]) -> tuple[Corpus, NDArray[np.int64]]:
    """Return a corpus whose terms are `forms` of its own, and the place of each own one there."""
    from scipy import sparse

    different = list(dict.fromkeys(forms))
    at = {form: place for place, form in enumerate(different)}
    places = np.array([at[form] for form in forms], dtype=np.int64)
    shape = (len(forms), len(different))
    ones = np.ones(len(forms), dtype=np.float32)
    joined = sparse.csr_matrix((ones, (np.arange(len(forms)), places)), shape)
    counts = sparse.csr_matrix(known.counts @ joined)
    return Corpus(np.array(different, dtype=object), counts, known.sizes), places


def script(text: str) -> str:
    """Return the script of most of a text's letters, "none" without one of SCRIPTS."""
    counts = {name: len(re.findall(f"[{span}]", text)) for name, span in SCRIPTS.items()}
    most = max(counts, key=counts.__getitem__)
    return most if counts[most] else "none"


def content(models: Sequence[Words]) -> bytes:
    """Return the file of a bundle that holds them; a line is a term."""
    arrays: dict[str, NDArray[Any]] = {}
    for index, words in enumerate(models):
        lines = "\n".join(words.places).encode()
        arrays[f"{index}.terms"] = np.frombuffer(lines, dtype=np.uint8)
        arrays[f"{index}.places"] = np.array([*words.places.values()], dtype=np.int32)
        for name in ("idf", "weights", "intercept"):
            arrays[f"{index}.{name}"] = getattr(words, name).astype(np.float32)
    return stored_arrays.packed(arrays, smaller=True)


def read(bundle: str, stored: bytes, features: Sequence[TextFeature]) -> tuple[Words, ...]:
    """Return what `content` wrote; ProjectError where it does not fit the features."""
    found: list[Words] = []
    with stored_arrays.opened(bundle, FILE, stored) as arrays:
        for index, feature in enumerate(features):
            lines = arrays[f"{index}.terms"].tobytes().decode()
            names = lines.split("\n") if lines else []
            columns = arrays[f"{index}.places"].tolist()
            places = dict(zip(names, columns, strict=True))
            parts = ("idf", "weights", "intercept")
            numbers = [arrays[f"{index}.{name}"].astype(np.float64) for name in parts]
            width = max(columns, default=-1) + 1
            shape = [(width,), (width, len(feature.made)), (len(feature.made),)]
            if [part.shape for part in numbers] != shape:
                raise ValueError("its arrays do not fit")
            found.append(Words(places, *numbers))
    return tuple(found)
