"""What a fitter gets, and what it gives."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import threads
from .plain import Matrix, Model, Predict
from .scorer import FeatureSpec

Target = NDArray[Any]
Fold = tuple[NDArray[np.intp], NDArray[np.intp]]  # places of training and of other rows


class Data(NamedTuple):
    """Training rows: matrix of shape (rows, features) and target of shape (rows,)."""

    x: Matrix
    y: Target
    spec: FeatureSpec
    threads: int  # 0: as many as the size asks for

    def rows(self, index: NDArray[np.intp]) -> "Data":
        """Return some of the rows."""
        return self._replace(x=self.x[index], y=self.y[index])

    def workers(self, x: Matrix) -> int:
        """Return how many threads fit a matrix or predict its rows."""
        return threads.workers(self.threads, x.size)


class Fitted(NamedTuple):
    """A fitted model as plain data, and its prediction by the training library."""

    model: Model
    predict: Predict


Fitter = Callable[[Data, int, dict[str, Any]], Fitted]
