"""Operators on the days that a calendar names: public holidays, and days of one's own."""

import datetime as dt
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import ClassVar

import numpy as np

from .builder import Graph
from .operators import Floats, Learnt, Operator, Rows, as_number

YEARS_AHEAD = 5  # of the latest year in training, in which a bundle knows the days
LEAP_YEAR = 2000
PARTS = ("year", "month", "day")


class Holiday(Operator, frozen=True, kw_only=True):
    """1 on a holiday; missing YEARS_AHEAD years past training, for which no day is known.

    `country` ("DE", or "DE-BY" with its region) takes public holidays from the library `holidays`,
    which only training needs. `days` are your own: year-month-day, or "12-24" in every year.
    """

    of: str
    country: str = ""
    days: tuple[str, ...] = ()
    purpose: ClassVar[str] = "on a holiday people do other things than on its weekday"

    @property
    def sources(self) -> tuple[str, ...]:
        """Year, month and day of the date."""
        return tuple(f"{self.of}.{part}" for part in PARTS)

    def problem(self) -> str:
        """Ask for days that exist and for a country whose holidays are known."""
        if not self.country and not self.days:
            return 'give country, such as "DE", or days, such as "12-24"'
        try:
            for day in self.days:
                dt.date.fromisoformat(f"{LEAP_YEAR}-{day}" if _is_yearly(day) else day)
        except ValueError:
            return 'days must be dates as year-month-day, or "12-24" for every year'
        if not self.country:
            return ""
        if find_spec("holidays") is None:
            return "country needs the library holidays: `uv add --group train holidays`"
        try:
            _public(self.country, LEAP_YEAR, LEAP_YEAR)
        except NotImplementedError:
            return f"the library holidays knows no country {self.country!r}"
        return ""

    def learn(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Learnt:
        """Write the days down from the first year of training; nothing is learnt from values."""
        years = columns[:, 0][~np.isnan(columns[:, 0])]
        if not len(years):
            return {"days": np.empty(0), "until": np.array(-np.inf)}
        first, last = int(years.min()), int(years.max()) + YEARS_AHEAD
        days = _own(self.days, first, last)
        if self.country:
            days |= _public(self.country, first, last)
        return {"days": np.array(sorted(days), dtype=np.float64), "until": np.array(float(last))}

    def emit(self, graph: Graph, inputs: list[str], learnt: Learnt) -> str:
        """Compare the day, as one number, with each that is named."""
        key = inputs[0]
        for part in inputs[1:]:
            key = graph.node("Add", [graph.node("Mul", [key, graph.constant([[100.0]])]), part])
        equal = graph.node("Equal", [key, graph.constant(learnt["days"][None])])
        axis = graph.constant([1], np.int64)
        found = graph.node("ReduceSum", [as_number(graph, equal), axis], keepdims=1)
        late = graph.node("Greater", [inputs[0], graph.constant([[float(learnt["until"])]])])
        unknown = graph.node("Or", [late, graph.node("IsNaN", [key])])
        return graph.node("Where", [unknown, graph.constant([[np.nan]]), found])


def _is_yearly(day: str) -> bool:
    return len(day) == len("12-24")


def _number(day: dt.date) -> int:
    """Return year, month and day as one number."""
    return day.year * 10_000 + day.month * 100 + day.day


def _own(days: tuple[str, ...], first: int, last: int) -> set[int]:
    found = {_number(dt.date.fromisoformat(day)) for day in days if not _is_yearly(day)}
    for day in filter(_is_yearly, days):
        for year in range(first, last + 1):
            with suppress(ValueError):  # the 29th of February is not in every year
                found.add(_number(dt.date.fromisoformat(f"{year:04}-{day}")))
    return found


def _public(country: str, first: int, last: int) -> set[int]:
    code, _, region = country.partition("-")
    known = import_module("holidays").country_holidays(
        code, subdiv=region or None, years=range(first, last + 1)
    )
    return {_number(day) for day in known}
