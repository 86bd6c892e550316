"""What trees of multiples of a level are fitted to, and the way back."""

import numpy as np

from .boosting import Goal
from .fitting import Target
from .plain import Link


def rates(y: Target) -> tuple[Goal, Link]:
    """Multiples of the mean of `y`, none below 0: trees add up to the logarithm of the expected."""
    mean = float(y.mean()) or 1.0
    return lambda values: values / mean, Link("log", offset=float(np.log(mean)))
