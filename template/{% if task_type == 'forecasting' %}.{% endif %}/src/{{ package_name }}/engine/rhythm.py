"""How far apart the rows of a series are, and which season they have: days, weeks, months."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .model.history import DAY, Moments, months_of, start_of_months
from .settings import Project

Steps = NDArray[np.int64]


class Rhythm(NamedTuple):
    """A step has `days`, the longest month 31; `season` steps are a season.

    A season has `period` days, or `months` of the calendar where that is not 0. `level`, `lately`
    and `long` are the steps that means of a series look back.
    """

    days: int
    season: int
    period: float
    months: int
    level: int
    lately: int
    long: int

    def places(self, times: Moments) -> Steps:
        """Return which step since 1970 each time is in, shape (rows,)."""
        return months_of(times) if self.months else np.asarray(times // (self.days * DAY))

    def before(self, times: Moments, steps: int) -> Moments:
        """Return the times so many steps before, shape (rows,): of a long month its last moment."""
        if not self.months:
            return np.asarray(times - steps * self.days * DAY)
        month = months_of(times)
        start, last = (start_of_months(month - steps + more) for more in (0, 1))
        return np.asarray(np.minimum(start + times - start_of_months(month), last - 1))

    def origins(self, times: Moments, withheld: Moments) -> Moments:
        """Return the first unknown time of examples, shape (rows,): of months the first day."""
        found = times - withheld
        return start_of_months(months_of(found)) if self.months else np.asarray(found)


RHYTHMS = {
    "day": Rhythm(1, 7, 7, 0, 28, 7, 182),
    "week": Rhythm(7, 52, 364, 0, 52, 8, 26),
    "month": Rhythm(31, 12, 365, 12, 12, 3, 36),
}


def of(project: Project) -> Rhythm:
    """Return the rhythm of the plan."""
    return RHYTHMS[project.facts.forecast_step]
