"""What trees of a number are fitted to, and the way back: logarithms, and multiples of the mean."""

import numpy as np

from ..errors import ProjectError
from .boosting import Goal, standardised
from .fitting import Target
from .plain import Link


def logarithm(y: Target) -> tuple[Goal, Link]:
    """Logarithms, of values moved above 0 where need be; no prediction is far from those seen."""
    least = float(y.min())
    shift = 0.0 if least > 0 else 1.0 - least
    logs = np.log(y + shift)
    low, high = float(logs.min()) - 1, float(logs.max()) + 1
    scaled, link = standardised(logs)

    def goal(values: Target) -> Target:
        return scaled(np.log(np.maximum(values + shift, np.exp(low))))

    return goal, link._replace(kind="log", shift=shift, low=low, high=high)


def rates(y: Target) -> tuple[Goal, Link]:
    """Multiples of the mean: trees add up to the logarithm of the expected one."""
    if y.min() < 0:
        raise ProjectError(
            "Poisson and Tweedie need a target without negative values: override MOD-05 in "
            "plan/overrides.yaml with `squared`"
        )
    mean = float(y.mean()) or 1.0
    return lambda values: values / mean, Link("log", offset=float(np.log(mean)))
