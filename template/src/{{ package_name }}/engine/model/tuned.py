"""An operator from a text to a few numbers by BERT, whose last layers are trained with the model.

numpy trains them (`attention`), so that no library has to be installed; onnxruntime runs them in
training as in a service (`sentences.Tuned`).
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import progress, threads
from . import attention, pretrained
from .attention import Kind, Net
from .descent import PARTS, Aim, aim, loss_of, of_parts
from .embeddings import OfVectors
from .operators import Floats, Learnt, Rows
from .pretrained import Bert
from .sentences import Meaning, Tuned, is_nothing
from .texts import Reader
from .weighed import Parts, Single

LEAST_TEXTS, MOST_TEXTS = 30, 20_000  # that differ and are trained on
Codes = NDArray[np.int64]
Asked = tuple[Bert, int, int, int]  # layers that are trained, epochs, the seed


class TunedSentences(OfVectors, frozen=True, kw_only=True):
    """What BERT says of each goal of the target, its last `layers` trained on these texts.

    Three nets are trained for `epochs` epochs, each without a third of the texts. A training row
    gets the number of the net that has not seen its text, every other text the mean of the three;
    equal texts are in one part. The first `tokens` tokens of a text are read.
    """

    tokens: Annotated[int, msgspec.Meta(ge=8, le=512)] = 64
    layers: Annotated[int, msgspec.Meta(ge=1, le=24)] = 2
    epochs: Annotated[int, msgspec.Meta(ge=1, le=20)] = 2
    gives: ClassVar[str] = "tuned"
    without_target: ClassVar[str] = "SentenceTopics"
    way: ClassVar[str] = "sentences"
    purpose: ClassVar[str] = "what a text means for the target, with layers trained to tell it"

    def opened(self) -> tuple[Any, dict[str, str]]:
        """Return BERT, and the SHA-256 of each of its files; ValueError for too few layers."""
        bert, origin = pretrained.bert(Path(self.model), self.tokens)
        if self.layers > bert.layers:
            where = pretrained.short(Path(self.model))
            raise ValueError(f"layers is {self.layers}, and {where} has {bert.layers}")
        return bert, origin

    def learn(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Learnt:
        """Train on the texts of rows; the table has the numbers of all texts."""
        nets, _, middle = self._trained(columns, levels, rows)
        reader = self._reader(nets, middle)
        table = np.full((len(levels) + 1, len(middle)), np.nan)
        _fill(table, range(len(levels)), levels, self._seen(levels), reader)
        encoder: Any = reader.encoder
        below, above = (np.frombuffer(each, dtype=np.uint8) for each in encoder.graphs.values())
        return {"table": table, "below": below, "above": above, "middle": middle}

    def training(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Floats:
        """Return numbers that hold no row's own target, shape (rows, goals)."""
        nets, part, middle = self._trained(columns, levels, rows)
        codes, known = columns[:, 0].astype(np.int64), self._seen(levels)
        table = np.full((len(levels) + 1, len(middle)), np.nan)
        for number, net in enumerate(nets):
            own = np.unique(codes[part[codes] == number]).tolist()
            _fill(table, own, levels, known, self._reader([net], middle))
        return np.asarray(table[codes])

    def words(self, learnt: Learnt) -> Reader:
        """Return what a bundle holds of it."""
        graphs = learnt["below"].tobytes(), learnt["above"].tobytes()
        return _meaning(self.opened(), graphs, learnt["middle"])

    def _reader(self, nets: list[Net], middle: Floats) -> Meaning:
        bert, origin = self.opened()
        return _meaning((bert, origin), (_below(bert, self.layers), bert.above(nets)), middle)

    def _seen(self, levels: tuple[str, ...]) -> list[Single | None]:
        return _seen(levels, self.opened()[0], self.layers)

    def _trained(
        self, columns: Floats, levels: tuple[str, ...], rows: Rows
    ) -> tuple[list[Net], Codes, Floats]:
        if rows.goals is None:
            raise ValueError("it needs a target that every row has: use SentenceTopics")
        codes = columns[:, 0].astype(np.int64)
        goals = np.ascontiguousarray(rows.goals, dtype=np.float64)
        asked = (self.opened()[0], self.layers, self.epochs, rows.seed)
        return _trained(levels, codes.tobytes(), goals.tobytes(), asked)


def _meaning(
    opened: tuple[Bert, dict[str, str]], graphs: tuple[bytes, bytes], middle: Floats
) -> Meaning:
    bert, origin = opened
    encoder = Tuned(bert.tokens, graphs, len(middle), bert.most)
    return Meaning(encoder, Parts(middle, np.eye(len(middle)), middle), origin)


def _fill(
    table: Floats,
    places: Iterable[int],
    levels: tuple[str, ...],
    known: Sequence[Single | None],
    reader: Meaning,
) -> None:
    """Write the numbers of the texts at `places`; `known` is what frozen layers say of some."""
    encoder: Any = reader.encoder
    for place in places:
        if place < len(levels) and not is_nothing(levels[place]):
            seen = encoder.seen(levels[place]) if known[place] is None else known[place]
            table[place] = reader.weighed(None if seen is None else encoder.said(seen))


@lru_cache(maxsize=2)
def _below(bert: Bert, layers: int) -> bytes:
    return bert.below(layers)


@lru_cache(maxsize=2)
def _seen(levels: tuple[str, ...], bert: Bert, layers: int) -> list[Single | None]:
    """Return what the frozen layers say of MOST_TEXTS drawn texts, None for the others.

    Of a text of 64 tokens it is 0.1 MB.
    """
    net = Net(bert.top(layers), np.zeros((bert.width, 1), np.float32), np.zeros(1, np.float32))
    encoder = Tuned(bert.tokens, (_below(bert, layers), bert.above([net])), 1, bert.most)
    drawn = np.random.default_rng(0).permutation(len(levels))[:MOST_TEXTS].tolist()
    found: list[Single | None] = [None] * len(levels)

    def fill(place: int) -> None:
        found[place] = None if is_nothing(levels[place]) else encoder.seen(levels[place])

    with ThreadPoolExecutor(threads.workers(0)) as pool:
        for done, _ in enumerate(pool.map(fill, drawn), 1):
            progress.tell("reading texts", done, len(drawn))
    return found


@lru_cache(maxsize=2)
def _trained(
    levels: tuple[str, ...], rows: bytes, targets: bytes, asked: Asked
) -> tuple[list[Net], Codes, Floats]:
    """Return a net for each part, the part of each level, and what a text of no token gets."""
    bert, layers, epochs, seed = asked
    codes = np.frombuffer(rows, dtype=np.int64)
    goals = np.frombuffer(targets, dtype=np.float64).reshape(len(codes), -1)
    seen = _seen(levels, bert, layers)
    has = np.array([each is not None for each in seen] + [False])[codes]
    codes, goals = codes[has], goals[has]
    if (different := len(np.unique(codes))) < LEAST_TEXTS:
        raise ValueError(
            f"it needs {LEAST_TEXTS} different texts to train on and has {different}: use Sentences"
        )
    known = [each[0] for each in seen if each is not None]
    place = np.cumsum([each is not None for each in seen]) - 1
    part = np.random.default_rng(seed).permutation(len(levels) + 1) % PARTS
    kind = Kind(bert.heads, bert.act, bert.small, bert.by_first)

    def one(number: int, others: NDArray[np.bool_], said: Aim, tell: Callable[[], None]) -> Net:
        net = (bert.top(layers), kind, epochs, seed + number)
        return attention.learnt(known, place[codes[others]], said, net, tell)

    nets = of_parts("training layers", epochs, part[codes], goals, one)
    return nets, part, attention.begun(aim(goals, loss_of(goals)))
