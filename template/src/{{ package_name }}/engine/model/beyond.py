"""What rows look back to beyond their features."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .history import Keys, Moments, State


class Beyond(NamedTuple):
    """Rows that look back beyond their features: at which column of a state, for whom and when."""

    state: State
    of: str
    keys: dict[str, Keys]
    moments: Moments

    def rows(self, index: NDArray[np.intp] | slice) -> "Beyond":
        """Return some of the rows."""
        keys = {by: each[index] for by, each in self.keys.items()}
        return self._replace(keys=keys, moments=self.moments[index])

    def values(self) -> list[NDArray[np.int64]] | None:
        """Return what the features do not reach, for each row; None where no row has more."""
        return self.state.earlier(self.of, self.keys, self.moments)
