"""What a fitter gets, what it gives, and how several are blended."""

from collections.abc import Callable, Iterator
from functools import cached_property
from importlib import import_module
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import task, threads
from ..formats import number
from . import wanted
from .beyond import Beyond
from .derived import Recipe, Sees
from .plain import Matrix, Model, Predict
from .scorer import FeatureSpec

Target = NDArray[Any]
BLEND_STEPS = 25
HOLDOUT_ROWS = 200_000  # training rows from which on one fold tells enough
FIT_ROWS = 1_000_000  # that a model is fitted to; of more, as many are drawn
Fold = tuple[NDArray[np.intp], NDArray[np.intp]]  # places of training and of other rows


class Data(NamedTuple):
    """Training rows: matrix of shape (rows, features) and target of shape (rows,).

    `levels` are those of the target that a model answers one number each for, in the order of the
    codes in `y`; none of a single number. `recipe` makes further features, which are learnt anew
    from the rows of each fit; `time` holds microseconds, shape (rows,); `beyond` is what rows know
    besides their features.
    """

    x: Matrix
    y: Target
    spec: FeatureSpec
    threads: int  # 0: as many as the size asks for
    levels: tuple[str, ...] = ()
    recipe: Recipe | None = None
    time: NDArray[np.int64] | None = None
    beyond: Beyond | None = None

    def rows(self, index: NDArray[np.intp]) -> "Data":
        """Return some of the rows."""
        time = None if self.time is None else self.time[index]
        beyond = None if self.beyond is None else self.beyond.rows(index)
        return self._replace(x=self.x[index], y=self.y[index], time=time, beyond=beyond)

    def learnt(self, view: str) -> tuple["Data", Sees | None]:
        """Return the rows as one kind of model trains on them, and what it sees of other rows."""
        if self.recipe is None:
            return self, None
        derived, values = self.recipe.learn(self.x, self.y, self.time, self.spec)
        sees = Sees(derived, view)
        x = self.recipe.training(derived, view, self.x, values)
        return self._replace(x=x, spec=sees.spec, recipe=None), sees

    def seen(self, sees: Sees | None) -> "Data":
        """Return the rows as a model sees them that was fitted to others."""
        if sees is None:
            return self
        x = sees.matrix(self.x, self.workers(self.x))
        return self._replace(x=x, spec=sees.spec, recipe=None)

    def workers(self, x: Matrix) -> int:
        """Return how many threads fit a matrix or predict its rows."""
        return threads.workers(self.threads, x.size)


def warmed(data: Data, *places: NDArray[np.intp]) -> Data:
    """Load what models are fitted with and learn the features of rows; return the last of them.

    Otherwise the first model would seem as slow as that, which all of them share.
    """
    import_module("sklearn.ensemble")
    rows = data
    for some in places:
        rows = data.rows(some)
        rows.learnt("trees")
    return rows


class Fitted:
    """A fitted model as plain data, its prediction by the training library, and what it sees.

    `model` may be what makes plain data of it. Most models are fitted to be judged alone, and to
    write thousands of trees as plain data takes as long as to fit them.
    """

    def __init__(
        self, model: Model | Callable[[], Model], predict: Predict, sees: Sees | None = None
    ) -> None:
        self._model, self.predict, self.sees = model, predict, sees

    def __iter__(self) -> Iterator[Any]:
        return iter((self.model, self.predict, self.sees))

    @cached_property
    def model(self) -> Model:
        """Plain data, made when they are first asked for."""
        return self._model() if callable(self._model) else self._model

    def told(self, data: Data) -> NDArray[np.float64]:
        """Return predictions of rows, by all that they know."""
        return wanted.predicted(self, data.x, data.beyond)

    def of_columns(self, sees: Sees | None) -> "Fitted":
        """Return the model as one that predicts from the columns that `sees` is made of."""
        if sees is None:
            return self
        return Fitted(lambda: self.model, lambda x: self.predict(sees.matrix(x)), sees)


Fitter = Callable[[Data, int, dict[str, Any]], Fitted]


class ByRounds(Protocol):
    """A kind of model that grows in rounds, whose number cross-validation chooses."""

    @property
    def library(self) -> str:
        """The library that fits it, for which settings may have been searched."""
        ...

    def require(self) -> None:
        """ProjectError when its library is not there; else import it."""
        ...

    def fit(self, data: Data, seed: int, params: dict[str, Any]) -> Fitted:
        """Fit rows to the rounds that `params` name."""
        ...

    def cross_validate(
        self,
        data: Data,
        folds: list[Fold],
        seed: int,
        params: dict[str, Any],
        most: int,
        name: str,
    ) -> tuple[dict[str, Any], list[NDArray[np.float64]]]:
        """Return settings with the best rounds, and each fold's predictions."""
        ...

    def without(
        self,
        data: Data,
        fold: Fold,
        inner: list[Fold],
        seed: int,
        params: dict[str, Any],
        most: int,
    ) -> NDArray[np.float64]:
        """Predict the rows of a fold by a model of which they decided nothing."""
        ...


def known(oof: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which rows some fold has tested, shape (rows,): NaN stands in the others."""
    return np.asarray(~np.isnan(oof).reshape(len(oof), -1).any(axis=1))


def drawn(places: NDArray[np.intp], most: int, seed: int) -> NDArray[np.intp]:
    """Return the places in their order, or `most` of more of them."""
    if len(places) <= most:
        return places
    return np.sort(np.random.default_rng(seed).permutation(places)[:most])


def eased(
    folds: list[Fold], y: Target, seed: int, *, by_time: bool
) -> tuple[list[Fold], list[str]]:
    """Let drawn rows of a large table tell, in one fold: more take minutes and add nothing.

    Split by time, all folds tell, each with its share of the rows: one window of time may differ
    from all others. `y` is the target of the development rows. Also return what was done.
    """
    if len(y) < HOLDOUT_ROWS:
        return folds, []
    told, notes = folds if by_time else folds[-1:], []
    learnt, tested = FIT_ROWS // len(told), HOLDOUT_ROWS // len(told)
    if max(len(train) for train, _ in told) > learnt:
        notes.append(f"a fold's models are fitted to {number(learnt)} of its rows, drawn at random")
    if len(y) > FIT_ROWS:
        notes.append(f"each model is fitted to {number(FIT_ROWS)} of these rows, drawn at random")
    some = [(drawn(train, learnt, seed), drawn(valid, tested, seed)) for train, valid in told]
    if any(task.lacks(y[part]) for fold in some for part in fold):
        return folds, []  # too rare to draw
    return some, notes


def blend_shares(
    loss: Callable[[NDArray[np.float64]], float], columns: dict[str, NDArray[np.float64]]
) -> dict[str, float]:
    """Choose shares greedily by the loss of a blend (ensemble selection, Caruana et al. 2004).

    The columns hold predictions out of fold, each of shape (rows,) or (rows, outputs).
    """
    total, picked = np.zeros_like(next(iter(columns.values()))), dict.fromkeys(columns, 0)
    for step in range(1, BLEND_STEPS + 1):
        losses = {name: loss((total + column) / step) for name, column in columns.items()}
        best = min(losses, key=losses.__getitem__)
        total += columns[best]
        picked[best] += 1
    return {name: times / BLEND_STEPS for name, times in picked.items() if times}
