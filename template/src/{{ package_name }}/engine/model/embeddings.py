"""Operators from a text to a few numbers by the vectors of a pretrained model.

A team puts the model's folder into `pretrained/`; nothing is fetched. Vectors are not learnt: each
different text has one, for all folds. What is learnt from them is as small as with words, and a
bundle holds a copy of the model with it (`sentences.Meaning`).
"""

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import progress, threads
from . import pretrained
from .operators import Count, Floats, Learnt, Rows
from .pretrained import FOLDER
from .sentences import Meaning, Single, is_nothing
from .texts import Reader
from .words import OfText, honest, of_goals

LENGTH = 4.0  # of a centred vector on the average: what the penalty of `fitted` is meant for
Codes = NDArray[np.int64]


class OfMeaning(OfText, frozen=True, kw_only=True):
    """Numbers of a text by its vector of the model in the folder `model`, such as pretrained/x.

    The first `tokens` tokens of a text are read.
    """

    model: str
    tokens: Annotated[int, msgspec.Meta(ge=8, le=8192)] = 128
    gives: ClassVar[str] = "sentences"
    without_target: ClassVar[str] = "SentenceTopics"
    way: ClassVar[str] = "sentences"

    def placed(self, root: Path) -> Self:
        """Return it with the folder of the model as a whole path."""
        return msgspec.structs.replace(self, model=str(root / self.model))

    def problem(self) -> str:
        """Ask for a model that can be read."""
        if self.stem or self.lemma:
            return "stem and lemma are for Words and Topics: a model cuts texts itself"
        if Path(self.model).parent.name != FOLDER:
            return f"model must be a folder in {FOLDER}/, such as {FOLDER}/all-minilm"
        try:
            pretrained.opened(Path(self.model), self.tokens)
        except ValueError as error:
            return str(error)
        return ""

    def weights(self, x: Any, rows: Rows) -> tuple[Floats, Floats]:
        """Learn from centred vectors (rows, width): weights and intercepts."""
        raise NotImplementedError

    def learn(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Learnt:
        """Learn weights from the vectors of rows; the table has the numbers of all texts."""
        codes = columns[:, 0].astype(np.int64)
        vectors, is_read = self._vectors(levels)
        has = np.array([*is_read, False])[codes]
        x = vectors[codes[has]].astype(np.float64)
        width = vectors.shape[1]
        center = x.mean(axis=0) if len(x) else np.zeros(width)
        moved = x - center
        length = np.sqrt(np.square(moved).sum(axis=1).mean()) if len(x) else 1.0
        scale = LENGTH / (length or 1.0)
        goals = None if rows.goals is None else rows.goals[has]
        weights, intercept = self.weights(moved * scale, rows._replace(goals=goals))
        learnt = {"center": center, "weights": weights * scale, "intercept": intercept}
        reader = self._reader(learnt)
        table = np.full((len(levels) + 1, len(intercept)), np.nan)
        for place, level in enumerate(levels):
            if not is_nothing(level):
                table[place] = reader.weighed(vectors[place] if is_read[place] else None)
        return learnt | {"table": table}

    def words(self, learnt: Learnt) -> Reader:
        """Return what a bundle holds of it."""
        return self._reader(learnt)

    def _reader(self, learnt: Learnt) -> Meaning:
        encoder, origin = pretrained.opened(Path(self.model), self.tokens)
        weights, intercept = learnt["weights"], learnt["intercept"]
        return Meaning(encoder, learnt["center"], weights, intercept, origin)

    def _vectors(self, levels: tuple[str, ...]) -> tuple[Single, NDArray[np.bool_]]:
        encoder: Any = pretrained.opened(Path(self.model), self.tokens).encoder
        return _vectors(levels, encoder)


class Sentences(OfMeaning, frozen=True, kw_only=True):
    """What a linear model of a text's vector says of the target: a number for each of its goals.

    Logistic regression where a goal is 0 or 1, else ridge regression. Training rows never see
    their own target: theirs is the number by the other parts of five (Wolpert 1992).
    """

    purpose: ClassVar[str] = "what a text means, as a pretrained model has learnt it, tells of it"

    def weights(self, x: Any, rows: Rows) -> tuple[Floats, Floats]:
        """Fit each goal."""
        return of_goals(self, x, rows)

    def training(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Floats:
        """Return numbers that hold no row's own target, shape (rows, goals)."""
        return honest(self, columns, levels, rows)


class SentenceTopics(OfMeaning, frozen=True, kw_only=True):
    """The `keep` directions in which the vectors of texts differ the most."""

    keep: Count = 8
    purpose: ClassVar[str] = "what texts are about, as a pretrained model has learnt it"

    def weights(self, x: Any, rows: Rows) -> tuple[Floats, Floats]:
        """Learn by singular vectors; the largest weight of each is positive."""
        axes = np.zeros((x.shape[1], self.keep))
        found = np.linalg.eigh(x.T @ x)[1][:, ::-1][:, : self.keep]
        largest = np.take_along_axis(found, np.abs(found).argmax(axis=0)[None], axis=0)
        axes[:, : found.shape[1]] = found * np.sign(largest)
        return axes, np.zeros(self.keep)


@lru_cache(maxsize=4)
def _vectors(levels: tuple[str, ...], encoder: Any) -> tuple[Single, NDArray[np.bool_]]:
    """Return the vectors of texts (texts, width), and which texts have one."""
    found = np.zeros((len(levels), encoder.width), dtype=np.float32)
    has = np.zeros(len(levels), dtype=bool)
    order = np.argsort([len(level) for level in levels], kind="stable")[::-1]

    def read(place: int) -> None:
        level = levels[place]
        vector = None if is_nothing(level) else encoder.vector(level)
        if vector is not None:
            found[place], has[place] = vector, True

    with ThreadPoolExecutor(threads.workers(0)) as pool:
        for done, _ in enumerate(pool.map(read, order.tolist()), 1):
            progress.tell("reading texts", done, len(levels))
    return found, has
