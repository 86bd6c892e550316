"""What networks are learnt by: the losses of their goals, and Adam's steps."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import progress, threads

T = TypeVar("T")
Loss = Literal["classes", "yes", "number"]
Single = NDArray[np.float32]

PARTS = 3  # networks, each trained without the rows of one part
FIRST, SECOND, TINY = 0.9, 0.999, 1e-8  # of Adam (Kingma and Ba 2015)


class Aim(NamedTuple):
    """What a network is to say: goals (rows, goals), around `middle` in multiples of `scale`."""

    loss: Loss
    wanted: Single
    middle: NDArray[np.float64]
    scale: NDArray[np.float64]

    def pull(self, found: Single, rows: NDArray[np.int64]) -> Single:
        """Return the gradient of the mean loss of `rows` by their numbers (rows, goals)."""
        return pull(found, self.wanted[rows], self.loss) / np.float32(len(rows))

    def layer(self, weights: Single, offset: Single) -> tuple[Single, Single]:
        """Return a last layer in the units of the goals."""
        said = (offset * self.scale + self.middle).astype(np.float32)
        return weights * self.scale.astype(np.float32), said


def aim(goals: NDArray[np.float64], loss: Loss) -> Aim:
    """Return how goals (rows, goals) are learnt; numbers are brought to mean 0 and deviation 1."""
    middle, scale = np.zeros(goals.shape[1]), np.ones(goals.shape[1])
    if loss == "number":
        middle, scale = goals.mean(axis=0), goals.std(axis=0) + 1e-9
    return Aim(loss, ((goals - middle) / scale).astype(np.float32), middle, scale)


def loss_of(goals: NDArray[np.float64]) -> Loss:
    """Return how the goals of all rows (rows, goals) are learnt: 0 and 1 as log odds.

    Nets that each see a part of the rows ask for one loss, so that their mean has one unit.
    """
    if not np.isin(goals, (0.0, 1.0)).all():
        return "number"
    return "classes" if goals.shape[1] > 1 and (goals.sum(axis=1) == 1).all() else "yes"


def of_parts(
    doing: str,
    epochs: int,
    part: NDArray[np.int64],
    goals: NDArray[np.float64],
    learnt: Callable[[int, NDArray[np.bool_], Aim, Callable[[], None]], T],
) -> list[T]:
    """Return a network for each part of rows, which has learnt for `epochs` epochs of the others.

    `learnt` gets its number, which rows are its own, what it is to say and what counts an epoch.
    """
    loss, done = loss_of(goals), iter(range(1, PARTS * epochs + 1))

    def tell() -> None:
        progress.tell(doing, next(done), PARTS * epochs)

    def one(number: int) -> T:
        others = part != number
        return learnt(number, others, aim(goals[others], loss), tell)

    with ThreadPoolExecutor(min(PARTS, threads.workers(0))) as pool:
        return list(pool.map(one, range(PARTS)))


class Adam:
    """Steps by the mean and the spread of each gradient so far (Kingma and Ba 2015)."""

    def __init__(self, arrays: Sequence[Single]) -> None:
        self.done = 0
        self.means = [np.zeros_like(each) for each in arrays]
        self.squares = [np.zeros_like(each) for each in arrays]

    def moved(
        self, arrays: Sequence[Single], gradients: Sequence[Single], rates: Sequence[float]
    ) -> list[Single]:
        """Return the arrays after one step; each has its own rate."""
        self.done += 1
        warm = math.sqrt(1 - SECOND**self.done) / (1 - FIRST**self.done)
        found = []
        given = zip(arrays, gradients, self.means, self.squares, rates, strict=True)
        for value, slope, mean, square, rate in given:
            np.add(mean, np.float32(1 - FIRST) * (slope - mean), out=mean)
            np.add(square, np.float32(1 - SECOND) * (slope * slope - square), out=square)
            step = mean / (np.sqrt(square) + np.float32(TINY))
            found.append((value - warm * rate * step).astype(value.dtype, copy=False))
        return found


def _shares(found: Single, loss: Loss) -> Single:
    """Return probabilities of logits (rows, goals)."""
    if loss == "yes":
        return np.asarray(0.5 * (1 + np.tanh(found / 2)))
    powers = np.exp(found - found.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def pull(found: Single, wanted: Single, loss: Loss) -> Single:
    """Return the gradient of each row's loss by its numbers (rows, goals)."""
    return (found if loss == "number" else _shares(found, loss)) - wanted


def measured(found: Single, wanted: Single, loss: Loss) -> float:
    """Return the mean loss: the half of squares, or the log loss."""
    if loss == "number":
        return float(np.square(found - wanted).mean() / 2)
    shares = _shares(found, loss).astype(np.float64).clip(1e-7, 1 - 1e-7)
    told = np.where(wanted > 0.5, np.log(shares), 0.0 if loss == "classes" else np.log1p(-shares))
    return float(-told.sum(axis=1).mean())
