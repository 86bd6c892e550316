"""Features that look back by rows and by whole periods: what series of values need."""

from typing import Annotated, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from . import winters
from .history import (
    DAY,
    Asked,
    AskedRow,
    Count,
    Days,
    DaysSince,
    Events,
    Floats,
    Lag,
    Past,
    Places,
    Window,
    months_of,
    start_of_months,
)

Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
Months = Annotated[int, msgspec.Meta(ge=0, le=1200)]
Found = NDArray[np.bool_]
SEARCHED = 4  # periods back in which the last value of a season is looked for


class _Series(Past, frozen=True, kw_only=True):
    """A feature of the earlier values of a column, with one way for one row and for many."""

    of: str

    @property
    def column(self) -> str:
        """The column whose earlier values count."""
        return self.of

    def of_row(self, events: Events, asked: AskedRow) -> float:
        """Do what `answer` does for many."""
        place = np.searchsorted(events.first, asked.first, side="right") - 1
        several = (np.array([value]) for value in (place, *asked))
        return float(self.answer(events, Asked(*several))[0])


class Recent(_Series, frozen=True, kw_only=True):
    """The mean of the values in the last `rows` rows; missing where none of them has one."""

    rows: Count = 28
    purpose: ClassVar[str] = "the level at which values were lately"

    def prepare(self, events: Events) -> None:
        """Join neighbouring events."""
        events.values(self.of)
        events.blocks(self.of, "mean")

    def answer(self, events: Events, asked: Asked) -> Floats:
        """Join the last events."""
        start = np.maximum(asked.known - self.rows, 0)
        values = events.values(self.of)
        counted = values[asked.first + asked.known] - values[asked.first + start]
        total = events.joined(self.of, "mean", asked.first, start, asked.known)
        return np.where(counted > 0, total / np.maximum(counted, 1), np.nan)


class Season(_Series, frozen=True, kw_only=True):
    """The mean of the last `seasons` known values that stood whole periods before the row's time.

    A period has `days`: with 7 of them a Monday is made of Mondays. With `months` it has so many of
    the calendar, and a value counts for its month. Missing where none is there.
    """

    days: Days = 7
    months: Months = 0
    seasons: Count = 1
    purpose: ClassVar[str] = "what was at the same place of earlier seasons"

    def answer(self, events: Events, asked: Asked) -> Floats:
        """Take the values at these times."""
        values = events.columns[self.of]
        total, counted = np.zeros(len(asked.moments)), np.zeros(len(asked.moments))
        for place, there in periods(events, asked, self, self.seasons):
            found = np.where(there, values[place], np.nan)
            known = ~np.isnan(found)
            total += np.where(known, found, 0.0)
            counted += known
        return np.where(counted > 0, total / np.maximum(counted, 1), np.nan)


class Smoothed(_Series, frozen=True, kw_only=True):
    """Level and season of all earlier values, smoothed exponentially, at the row's time.

    Both start as means of the first season and then follow each value by a share of its error:
    `level` of it, and of what is left `season`. The season has `days`, with a place for each `step`
    of days, or `months` of the calendar with a place for each (Winters 1960, without trend).
    Missing values change nothing.
    """

    days: Days = 7
    months: Months = 0
    step: Days = 1
    level: Share = 0.1
    season: Share = 0.1
    purpose: ClassVar[str] = "where level and season stood, all earlier values weighed"

    def prepare(self, events: Events) -> None:
        """Follow the values of all keys at once, one event of each at a time."""
        if self in events.prepared:
            return
        values = events.columns[self.of]
        parts, part = phases(events, self)
        level, season = np.zeros(len(values)), np.zeros(len(values))
        now, seen = np.zeros(len(events.keys)), np.zeros(len(events.keys))
        states, visits = np.zeros((len(events.keys), parts)), np.zeros((len(events.keys), parts))
        first, start = winters.First(len(events.keys), parts), np.zeros(len(values))
        fresh, over = np.zeros(len(values), bool), np.zeros(len(values), bool)
        for step in range(int(events.counts.max(initial=0))):
            alive = np.flatnonzero(events.counts > step)
            at = events.first[alive] + step
            phase, value = part[at], values[at]
            known = ~np.isnan(value)
            ended = first.ends(alive, phase, known)
            now[ended], states[ended] = first.mean[ended], first.apart(ended)
            fresh[at] = first.takes(alive, phase, value, known)
            error = np.where(known, value - now[alive] - states[alive, phase], 0.0)
            seen[alive] += known
            visits[alive, phase] += known
            share = np.maximum(self.level, 1 / np.maximum(seen[alive], 1))
            of_season = np.maximum(self.season, 1 / (1 + visits[alive, phase]))
            now[alive] += share * error
            states[alive, phase] += of_season * (1 - share) * error
            level[at], season[at] = now[alive], np.where(fresh[at], value, states[alive, phase])
            start[at], over[at] = first.mean[alive], first.over[alive]
        level[np.isnan(values) & (level == 0)] = np.nan  # nothing was known yet
        events.prepared[self] = level, season, fresh, start, over

    def answer(self, events: Events, asked: Asked) -> Floats:
        """Add the last level and what its season stood at."""
        level, season, fresh, start, over = events.prepared[self]
        last = asked.first + asked.known - 1
        found, now = np.zeros(len(last)), level[last]
        looked = np.ones(len(last), bool)
        for place, there in periods(events, asked, self, SEARCHED):
            seen = there & looked
            apart = season[place] - np.where(fresh[place], start[last], 0.0)
            found = np.where(seen, apart, found)
            now = np.where(seen & fresh[place] & ~over[last], start[last], now)
            looked &= ~there
        return np.asarray(now + found)


class Winters(_Series, frozen=True, kw_only=True):
    """Level, damped trend and season at the row's time, by what missed least in the series so far.

    As `Smoothed`, but each series chooses by itself how fast they follow, whether there is a trend
    and whether the season is added or multiplies (`winters.py`). A row's time is so many steps of
    `step` days after the last event, of months with `months`. It is below 0 only where values were.
    """

    days: Days = 7
    months: Months = 0
    step: Days = 1
    purpose: ClassVar[str] = "where level, trend and season lead, as was best in the series so far"

    def prepare(self, events: Events) -> None:
        """Follow the values of all keys at once."""
        if self not in events.prepared:
            parts, part = phases(events, self)
            values = events.columns[self.of]
            made = winters.followed(values, part, parts, events.first, events.counts)
            events.prepared[self] = made

    def answer(self, events: Events, asked: Asked) -> Floats:
        """Lead the last levels on to the row's time."""
        made = winters.Followed(*events.prepared[self])
        last = asked.first + asked.known - 1
        steps = np.rint((asked.moments - events.times[last]) / (self.step * DAY)).astype(np.int64)
        if self.months:
            steps = months_of(asked.moments) - months_of(events.times[last])
        season, level = np.full((len(last), winters.BEST), np.nan), winters.ahead(made, last, steps)
        looked = np.ones(len(last), bool)
        for place, there in periods(events, asked, self, SEARCHED):
            seen = there & looked
            season = np.where(seen[:, None], winters.season_of(made, last, place), season)
            early = seen & made.fresh[place] & ~made.over[last]
            level = np.where(early[:, None], made.start[last][:, None], level)
            looked &= ~there
        return winters.joined(made, last, level, season)


Seasonal = Smoothed | Winters


def phases(events: Events, feature: Seasonal) -> tuple[int, Places]:
    """Return how many places a season has, and which one each event is at, shape (events,)."""
    parts = feature.months or max(1, round(feature.days / feature.step))
    period = round(feature.days * DAY)
    if feature.months:
        return parts, months_of(events.times) % parts
    return parts, (events.times % period) * parts // period


def periods(
    events: Events, asked: Asked, feature: Season | Seasonal, most: int
) -> list[tuple[Places, Found]]:
    """Return the events that lie whole periods before each row's time, the latest known first.

    Each with where it is there: others are the place of some event of the key.
    """
    length = feature.months or round(feature.days * DAY)
    last, now = events.times[asked.first + asked.known - 1], asked.moments
    if feature.months:
        last, now = months_of(last), months_of(now)
    back = np.maximum(1, -((last - now) // length))
    found = []
    for more in range(most):
        at = now - (back + more) * length
        end = start_of_months(at + 1) if feature.months else at + 1
        before = np.maximum(events.before(asked.entity, end) - 1, 0)
        place = asked.first + before
        there = events.times[place]
        found.append((place, (months_of(there) if feature.months else there) == at))
    return found


Lookback = Lag | Window | DaysSince | Recent | Season | Smoothed | Winters
