"""Exponential smoothing of many series at once, each by what missed least in it so far.

A setting says by which share of an error level, trend and season follow, and whether the season is
added or multiplies (Winters 1960; the trend is damped as in Gardner & McKenzie 1985). All settings
follow all series in the order of time. After each value those with the least mean error one step
ahead are the best ones, so that the choice knows nothing later than the forecast does.

A level that follows within its first season takes a part of the season for level, and of a long
season this lasts for years. So once the first place of it comes again, the level begins at the mean
of the first season, and each place at what its value was beside that mean.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
Found = NDArray[np.bool_]
# The first settings are those of a series that has not had a second season yet.
GRID = tuple(product((0.0, 0.4), (False, True), (0.15, 0.05, 0.4), (0.12, 0.03, 0.35)))
TREND, SEASON, LEVEL = (np.array([setting[n] for setting in GRID])[:, None] for n in (0, 2, 3))
MULTIPLIES = np.array([setting[1] for setting in GRID])
DAMPING = 0.98  # of the trend, each step; the most that is usual (Hyndman & Athanasopoulos, 8.2)
DOUBT = 1.02  # a trend has to miss less by so much: one that ends costs the most
BEST = 3  # settings whose mean is forecast
TINY, LARGEST = 1e-9, 20.0  # a level to divide by, and a season that multiplies


class Followed(NamedTuple):
    """Where series stood after each event: the best settings, their levels and trends.

    Shape (events, BEST) each; `seasons` (events, settings) is what the event's place of the season
    stood at, and the value itself where `fresh` (events,), in the first season: `start` (events,)
    is its mean so far, `over` whether it has ended. `never_below` tells that no value was below 0.
    """

    best: NDArray[np.intp]
    level: Floats
    trend: Floats
    seasons: NDArray[np.float32]
    never_below: Found
    fresh: Found
    start: Floats
    over: Found


class First:
    """The first season of many series: values, which places have one, their mean, and its end."""

    def __init__(self, many: int, parts: int) -> None:
        self.values, self.there = np.zeros((many, parts)), np.zeros((many, parts), bool)
        self.mean, self.over = np.zeros(many), np.zeros(many, bool)

    def ends(self, rows: Places, phase: Places, known: Found) -> Places:
        """Return the series of which a place comes again for the first time: it is over."""
        ended = rows[known & self.there[rows, phase] & ~self.over[rows]]
        self.over[ended] = True
        return ended

    def takes(self, rows: Places, phase: Places, values: Floats, known: Found) -> Found:
        """Add the values of series whose first season is not over; return which these are."""
        fresh = known & ~self.over[rows]
        some, place = rows[fresh], phase[fresh]
        self.values[some, place], self.there[some, place] = values[fresh], True
        self.mean[some] += (values[fresh] - self.mean[some]) / self.there[some].sum(axis=1)
        return fresh

    def apart(self, rows: Places) -> Floats:
        """Return by how much each place differs from the mean, (rows, parts); 0 without value."""
        return np.where(self.there[rows], self.values[rows] - self.mean[rows, None], 0.0)


def followed(values: Floats, phases: Places, parts: int, first: Places, counts: Places) -> Followed:
    """Follow the values of all series, one event of each at a time; NaN is a step without error.

    `values` and `phases`, the place in a season of `parts`, have shape (events,); the events of a
    series are the `counts` from `first` on.
    """
    total, many, settings = len(values), len(first), len(GRID)
    longest = np.argsort(-counts, kind="stable")  # those that go on are the first ones
    starts, ends = first[longest], -counts[longest]
    mult = MULTIPLIES[:, None]
    level, trend, missed = (np.zeros((settings, many)) for _ in range(3))
    season = np.where(mult[:, :, None], 1.0, np.zeros((settings, many, parts)))
    visits, seen = np.zeros((many, parts)), np.zeros(many)
    above, never_below, begun = np.ones(many, bool), np.ones(many, bool), First(many, parts)
    made = Followed(
        np.zeros((total, BEST), np.intp),
        np.zeros((total, BEST)),
        np.zeros((total, BEST)),
        np.zeros((total, settings), np.float32),
        np.zeros(total, bool),
        np.zeros(total, bool),
        np.zeros(total),
        np.zeros(total, bool),
    )
    for step in range(int(counts.max(initial=0))):
        n = int(np.searchsorted(ends, -step))
        at, rows = starts[:n] + step, np.arange(n)
        phase, value = phases[at], values[at]
        known = ~np.isnan(value)
        y = np.where(known, value, 0.0)
        ended = begun.ends(rows, phase, known)
        mean, apart = begun.mean[ended], begun.apart(ended)
        times = np.where(mean[:, None] > TINY, 1 + apart / np.maximum(mean[:, None], TINY), 1.0)
        level[:, ended], trend[:, ended] = mean, 0.0
        season[:, ended] = np.where(mult[:, :, None], np.clip(times, 0.0, LARGEST), apart)
        fresh = begun.takes(rows, phase, value, known)
        of = season[:, rows, phase]
        ahead = level[:, :n] + DAMPING * trend[:, :n]
        error = y - np.where(mult, ahead * of, ahead + of)
        again = known & (visits[rows, phase] > 0)
        missed[:, :n] += np.where(again, np.abs(error), 0.0)
        above[:n] &= ~known | (value > 0)
        never_below[:n] &= ~known | (value >= 0)
        seen[:n] += known
        visits[rows, phase] += known
        share = np.maximum(LEVEL, 1 / np.maximum(seen[:n], 1))
        step_error = np.where(mult, y / np.maximum(of, 1 / LARGEST) - ahead, error)
        of_trend = TREND * np.minimum(1.0, seen[:n] / (2 * parts))
        ratio = np.where(ahead > TINY, y / np.maximum(ahead, TINY) - of, 0.0)
        of_season = np.maximum(SEASON, 1 / (1 + visits[rows, phase])) * (1 - share)
        moved = of + of_season * np.where(mult, ratio, error)
        moved = np.where(mult, np.clip(moved, 0.0, LARGEST), moved)
        level[:, :n] = np.where(known, ahead + share * step_error, ahead)
        slope = DAMPING * trend[:, :n] + share * of_trend * step_error
        trend[:, :n] = np.where(known, slope, DAMPING * trend[:, :n])
        season[:, rows, phase] = np.where(known, moved, of)
        judged = missed[:, :n] * np.where(TREND > 0, DOUBT, 1.0)
        judged = np.where(mult & ~above[:n], np.inf, judged)
        best = np.argsort(judged, axis=0, kind="stable")[:BEST]
        made.best[at] = best.T
        made.level[at] = np.where(seen[:n] > 0, level[best, rows], np.nan).T
        made.trend[at] = trend[best, rows].T
        made.seasons[at] = np.where(fresh, y, season[:, rows, phase]).T
        made.never_below[at] = never_below[:n]
        made.fresh[at], made.start[at], made.over[at] = fresh, begun.mean[:n], begun.over[:n]
    return made


def ahead(made: Followed, last: Places, steps: Places) -> Floats:
    """Return the levels of the best settings so many steps after events `last`, (rows, BEST)."""
    damped = DAMPING * (1 - DAMPING**steps) / (1 - DAMPING)
    return np.asarray(made.level[last] + damped[:, None] * made.trend[last])


def season_of(made: Followed, last: Places, place: Places) -> Floats:
    """Return what the best settings after events `last` add or multiply at others, (rows, BEST)."""
    season = np.take_along_axis(made.seasons[place], made.best[last], axis=1)
    mult, mean = MULTIPLIES[made.best[last]], made.start[last][:, None]
    times = np.where(mean > TINY, season / np.maximum(mean, TINY), 1.0)
    first = np.where(mult, np.minimum(times, LARGEST), season - mean)
    return np.where(made.fresh[place][:, None], first, season)


def joined(made: Followed, last: Places, level: Floats, season: Floats) -> Floats:
    """Return the forecasts (rows,) of levels and seasons (rows, BEST); NaN is of no season yet."""
    mult = MULTIPLIES[made.best[last]]
    season = np.where(np.isnan(season), mult * 1.0, season)
    found = np.where(mult, np.maximum(level, 0.0) * season, level + season).mean(axis=1)
    return np.asarray(np.where(made.never_below[last], np.maximum(found, 0.0), found))
