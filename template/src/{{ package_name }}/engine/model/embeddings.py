"""Operators from a value to a few numbers by the vectors of a pretrained model.

A team puts the model into `pretrained/`; nothing is fetched. Vectors are not learnt: each
different text has one, for all folds. What is learnt from them is as small as with words, and a
bundle holds a copy of the model with it (`weighed.Weighed`).
"""

from collections.abc import Callable
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
from .sentences import Meaning, is_nothing
from .texts import Reader
from .weighed import Parts, Single, Weighed
from .words import OfText, honest, of_goals

# Of a centred vector on the average: the longer, the weaker the penalty of `fitted` (benchmarks).
LENGTH = 0.5


class OfVectors(OfText, frozen=True, kw_only=True):
    """Numbers of a value by its vector of the model that `model` names, such as pretrained/x."""

    model: str

    def placed(self, root: Path) -> Self:
        """Return it with the place of the model as a whole path."""
        return msgspec.structs.replace(self, model=str(root / self.model))

    def problem(self) -> str:
        """Ask for a model that can be read."""
        if self.stem or self.lemma:
            return "stem and lemma are for Words and Topics"
        if Path(self.model).parent.name != FOLDER:
            return f"model must lie in {FOLDER}/, such as {FOLDER}/all-minilm"
        try:
            self.opened()
        except ValueError as error:
            return str(error)
        return ""

    def opened(self) -> tuple[Any, dict[str, str]]:
        """Return the model, and the SHA-256 of each of its files; ValueError for what is wrong."""
        raise NotImplementedError

    def vectors(self, levels: tuple[str, ...]) -> tuple[Single, NDArray[np.bool_]]:
        """Return the vector of each value (values, width), and which values have one."""
        raise NotImplementedError

    def weights(self, x: Any, rows: Rows) -> tuple[Floats, Floats]:
        """Learn from centred vectors (rows, width): weights and intercepts."""
        raise NotImplementedError

    def weighing(self, learnt: Learnt) -> Weighed:
        """Return what a bundle holds of it."""
        raise NotImplementedError

    def learn(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Learnt:
        """Learn weights from the vectors of rows; the table has the numbers of all values."""
        codes = columns[:, 0].astype(np.int64)
        vectors, is_read = self.vectors(levels)
        has = np.array([*is_read, False])[codes]
        x = vectors[codes[has]].astype(np.float64)
        center = x.mean(axis=0) if len(x) else np.zeros(vectors.shape[1])
        moved = x - center
        length = np.sqrt(np.square(moved).sum(axis=1).mean()) if len(x) else 1.0
        scale = LENGTH / (length or 1.0)
        goals = None if rows.goals is None else rows.goals[has]
        weights, intercept = self.weights(moved * scale, rows._replace(goals=goals))
        learnt = {"center": center, "weights": weights * scale, "intercept": intercept}
        weighing = self.weighing(learnt)
        table = np.full((len(levels) + 1, len(intercept)), np.nan)
        for place, level in enumerate(levels):
            if is_read[place] or not (self.takes == "image" or is_nothing(level)):
                table[place] = weighing.weighed(vectors[place] if is_read[place] else None)
        return learnt | {"table": table}

    def words(self, learnt: Learnt) -> Reader:
        """Return what a bundle holds of it, which reads values."""
        reader: Any = self.weighing(learnt)
        return reader  # type: ignore[no-any-return]


class OfMeaning(OfVectors, frozen=True, kw_only=True):
    """Numbers of a text by its vector of the model in a folder.

    The first `tokens` tokens of a text are read.
    """

    tokens: Annotated[int, msgspec.Meta(ge=8, le=8192)] = 128
    gives: ClassVar[str] = "sentences"
    without_target: ClassVar[str] = "SentenceTopics"
    way: ClassVar[str] = "sentences"

    def opened(self) -> tuple[Any, dict[str, str]]:
        """Return the encoder, and the SHA-256 of each of its files."""
        return pretrained.opened(Path(self.model), self.tokens)

    def vectors(self, levels: tuple[str, ...]) -> tuple[Single, NDArray[np.bool_]]:
        """Return the vector of each text (texts, width), and which texts have one."""
        return made(levels, self.opened()[0], _vector, "reading texts")

    def weighing(self, learnt: Learnt) -> Weighed:
        """Return what a bundle holds of it."""
        encoder, origin = self.opened()
        return Meaning(encoder, Parts(*(learnt[name] for name in Parts._fields)), origin)


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
        return directions(x, self.keep)


def directions(x: Floats, keep: int) -> tuple[Floats, Floats]:
    """Return the `keep` axes (width, keep) along which centred vectors differ most, and zeros."""
    axes = np.zeros((x.shape[1], keep))
    found = np.linalg.eigh(x.T @ x)[1][:, ::-1][:, :keep]
    largest = np.take_along_axis(found, np.abs(found).argmax(axis=0)[None], axis=0)
    axes[:, : found.shape[1]] = found * np.sign(largest)
    return axes, np.zeros(keep)


def _vector(encoder: Any, level: str) -> Single | None:
    return None if is_nothing(level) else encoder.vector(level)


@lru_cache(maxsize=4)
def made(
    levels: tuple[str, ...], model: Any, read: Callable[[Any, str], Single | None], doing: str
) -> tuple[Single, NDArray[np.bool_]]:
    """Return what `read` makes of each value with a model (values, width), and where it does."""
    found = np.zeros((len(levels), model.width), dtype=np.float32)
    has = np.zeros(len(levels), dtype=bool)
    order = np.argsort([len(level) for level in levels], kind="stable")[::-1]

    def fill(place: int) -> None:
        vector = read(model, levels[place])
        if vector is not None:
            found[place], has[place] = vector, True

    with ThreadPoolExecutor(threads.workers(0)) as pool:
        for done, _ in enumerate(pool.map(fill, order.tolist()), 1):
            progress.tell(doing, done, len(levels))
    return found, has
