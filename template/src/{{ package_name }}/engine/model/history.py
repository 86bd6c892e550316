"""Features that look back, and the state that answers them: one definition, asked everywhere.

The state holds events, which are rows of the table, by key and in the order of time; a feature of a
row is made of the events strictly before the row's time. Training, files and service ask the same
state by the same function, so that they cannot differ.
"""

import datetime as dt
import hashlib
import io
import operator
import re
import zipfile
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import dialect, storage
from ..errors import ProjectError
from ..keys import SECRET, fingerprint, hashed

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
Moments = NDArray[np.int64]  # microseconds since 1970 in UTC
Keys = NDArray[np.uint64]
Join = Callable[[Floats, Floats], Floats]
Count = Annotated[int, msgspec.Meta(ge=1)]
Days = Annotated[float, msgspec.Meta(gt=0, le=100_000)]
Delay = Annotated[float, msgspec.Meta(ge=0, le=100_000)]
DAY = 86_400_000_000  # microseconds
EPOCH = dt.datetime(1970, 1, 1)
NO_TIME = np.iinfo(np.int64).min
NO_KEY = 0
ASKED_ROWS = 1 << 17  # at a time: memory stays flat
FEW_ROWS = 16  # of which each is quicker alone, in plain numbers, than all at once
LARGEST = float(np.finfo(np.float32).max)
STATE = "state.json"
FILES = re.compile(r"state(\.json|-[0-9a-f]{16}\.npz)")
MEND = "run `ml features build`"
# How events join, and what stands for one without a value.
JOINS: dict[str, tuple[Join, float]] = {
    "sum": (np.add, 0.0),
    "mean": (np.add, 0.0),
    "min": (np.minimum, np.inf),
    "max": (np.maximum, -np.inf),
}


# Of two numbers; np.add and the like take longer than a sum.
SCALAR: dict[str, Callable[[float, float], float]] = {
    "sum": operator.add,
    "mean": operator.add,
    "min": min,
    "max": max,
}


class _Named(msgspec.Struct, frozen=True, tag=True):
    name: str


class Past(_Named, frozen=True, kw_only=True):
    """A feature made of earlier rows with the same value in the column `by`.

    Earlier is strictly before the row's time; with `delay_days` also by more than that, for what a
    row tells only later must not be known before. Missing where there is no earlier row, no key or
    no time. `by` is the contract's entity if nothing is named. `why` and `owner` are for the plan.
    """

    by: str = ""
    delay_days: Delay | None = None
    why: str = ""
    owner: str = ""
    on: str = ""  # the column of the time, which the contract names
    to: ClassVar[str] = "all"
    purpose: ClassVar[str] = ""

    @property
    def column(self) -> str:
        """The column whose earlier values count; "" where only the rows do."""
        return ""

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the columns that it is made of."""
        return tuple(filter(None, (self.column, self.by)))

    @property
    def delay(self) -> int:
        """Microseconds after which an event is known."""
        return round((self.delay_days or 0) * DAY)

    def problem(self) -> str:
        """Return what is wrong with the declaration beyond types, or ""."""
        return ""

    def prepare(self, events: "Events") -> None:
        """Compute once what many rows are answered from."""

    def answer(self, events: "Events", asked: "Asked") -> Floats:
        """Return the feature of rows that have an earlier one, shape (rows,)."""
        raise NotImplementedError

    def of_row(self, events: "Events", asked: "AskedRow") -> float:
        """Do what `answer` does for one row, to the same bits."""
        raise NotImplementedError


class Lag(Past, frozen=True, kw_only=True):
    """The value that the column had `back` rows before."""

    of: str
    back: Count = 1
    purpose: ClassVar[str] = "what was before tells what comes"

    @property
    def column(self) -> str:
        """The column whose earlier value it is."""
        return self.of

    def answer(self, events: "Events", asked: "Asked") -> Floats:
        """Take the value; missing where fewer rows were before."""
        place = asked.first + asked.known - self.back
        values = events.columns[self.of][np.maximum(place, 0)]
        return np.where(asked.known >= self.back, values, np.nan)

    def of_row(self, events: "Events", asked: "AskedRow") -> float:
        """Take the value."""
        if asked.known < self.back:
            return np.nan
        return events.columns[self.of].item(asked.first + asked.known - self.back)


class Window(Past, frozen=True, kw_only=True):
    """How many rows there were in the last `days`, or what their values give; `days=None`: ever.

    With `of`, count is that of rows with a value; gaps are left out. The sum of no value is 0, its
    mean, min and max are missing.
    """

    of: str = ""
    stat: Literal["count", "sum", "mean", "min", "max"] = "count"
    days: Days | None = None
    purpose: ClassVar[str] = "how much there was lately, which no single row tells"

    @property
    def column(self) -> str:
        """The column whose earlier values count."""
        return self.of

    def problem(self) -> str:
        """Ask for a column where one is needed."""
        return "" if self.of or self.stat == "count" else f"{self.stat} needs a column: give of"

    def prepare(self, events: "Events") -> None:
        """Join neighbouring events."""
        if self.of:
            events.values(self.of)
        if self.of and self.stat != "count":
            events.blocks(self.of, self.stat)

    def answer(self, events: "Events", asked: "Asked") -> Floats:
        """Join the events between the two ends of the window."""
        start = np.zeros_like(asked.known)
        if self.days is not None:
            start = events.before(asked.entity, asked.moments - self.delay - round(self.days * DAY))
        if not self.of:
            return (asked.known - start).astype(np.float64)
        values = events.values(self.of)
        counted = values[asked.first + asked.known] - values[asked.first + start]
        if self.stat == "count":
            return np.asarray(counted, dtype=np.float64)
        found = events.joined(self.of, self.stat, asked.first, start, asked.known)
        if self.stat == "sum":
            return found
        found = found / np.maximum(counted, 1) if self.stat == "mean" else found
        return np.where(counted > 0, found, np.nan)

    def of_row(self, events: "Events", asked: "AskedRow") -> float:
        """Join the events between the two ends of the window."""
        first, start, known = asked.first, 0, asked.known
        if self.days is not None:
            since = asked.moment - self.delay - round(self.days * DAY)
            start = events.before_row(first, known, since)
        if not self.of:
            return float(known - start)
        values = events.values(self.of)
        counted = values.item(first + known) - values.item(first + start)
        if self.stat == "count":
            return float(counted)
        if not counted:
            return 0.0 if self.stat == "sum" else np.nan
        found = events.joined_row(self.of, self.stat, first, start, known)
        return found / counted if self.stat == "mean" else found


class DaysSince(Past, frozen=True, kw_only=True):
    """Days since the last earlier row; a row gets a warning where they are more than `most`."""

    most: Days | None = None
    purpose: ClassVar[str] = "how long ago the last one was"

    def answer(self, events: "Events", asked: "Asked") -> Floats:
        """Take the time from the last event to the row."""
        last = events.times[asked.first + asked.known - 1]
        return np.asarray((asked.moments - last) / DAY)

    def of_row(self, events: "Events", asked: "AskedRow") -> float:
        """Take the time from the last event to the row."""
        return float(asked.moment - events.times.item(asked.first + asked.known - 1)) / DAY


class Asked(NamedTuple):
    """Rows that have an earlier one: place of the key, its first event, how many are earlier."""

    entity: Places
    first: Places
    known: Places
    moments: Moments


class AskedRow(NamedTuple):
    """A row that has an earlier one: the first event of its key, how many are earlier."""

    first: int
    known: int
    moment: int


class Events:
    """The events of each key, the keys in order, the events of a key in the order of time.

    `counts` are those of the keys, the columns have NaN where an event has no value.
    """

    def __init__(
        self, keys: Keys, counts: Places, times: Moments, columns: Mapping[str, Floats]
    ) -> None:
        self.keys, self.counts, self.times, self.columns = keys, counts, times, columns
        self.first = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
        self._moments = np.unique(times)
        self._steps = len(self._moments) + 1
        # One number a event that rises by key and time: a search in it is one within a key.
        ranks = np.searchsorted(self._moments, times)
        self._order = np.repeat(np.arange(len(keys)), counts) * self._steps + ranks
        # Plain numbers of these without a copy: what one row asks costs less than an array's call.
        self._keys, self._times = keys.data, times.data
        self._values: dict[str, Places] = {}
        self._blocks: dict[tuple[Join, str], list[Floats]] = {}
        self.prepared: dict[Past, tuple[NDArray[Any], ...]] = {}  # what a feature computed once

    def places(self, keys: Keys) -> Places:
        """Return the place of each key, -1 for one that no event has."""
        if not len(self.keys):
            return np.full(len(keys), -1)
        found = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where((self.keys[found] == keys) & (keys != NO_KEY), found, -1)

    def before(self, entity: Places, moments: Moments) -> Places:
        """Return how many events of each key are strictly before a time."""
        steps = entity * self._steps + np.searchsorted(self._moments, moments)
        return np.searchsorted(self._order, steps) - self.first[entity]

    def span(self, key: int) -> tuple[int, int]:
        """Return the first event of a key and how many it has: 0 of one that no event has."""
        place = bisect_left(self._keys, key)
        if key == NO_KEY or place == len(self._keys) or self._keys[place] != key:
            return 0, 0
        return self.first.item(place), self.counts.item(place)

    def before_row(self, first: int, count: int, moment: int) -> int:
        """Return how many of `count` events from `first` on are strictly before a time."""
        return bisect_left(self._times, moment, first, first + count) - first

    def values(self, column: str) -> Places:
        """Return how many values stand before each event, and before the end."""
        if column not in self._values:
            known = ~np.isnan(self.columns[column])
            self._values[column] = np.concatenate([[0], np.cumsum(known)])
        return self._values[column]

    def blocks(self, column: str, stat: str) -> list[Floats]:
        """Return what 1, 2, 4 ... neighbouring events of a key give.

        Block b of 2**n events of a key stands at (first event >> n) + b: blocks of two keys cannot
        meet there. Unlike differences of running totals, sums of blocks lose nothing where large
        values stand beside small ones, and they depend on no other key.
        """
        join, nothing = JOINS[stat]
        if (join, column) not in self._blocks:
            values = self.columns[column]
            levels = [np.where(np.isnan(values), nothing, values) + 0.0]  # no -0.0
            while int(self.counts.max(initial=0)) >> len(levels):
                level = len(levels)
                halves = self.counts >> level
                entity = np.repeat(np.arange(len(halves)), halves)
                ends = np.cumsum(halves)
                block = np.arange(len(entity)) - (ends - halves)[entity]
                left = (self.first[entity] >> (level - 1)) + 2 * block
                joined = np.full((len(self.times) >> level) + 1, nothing)
                joined[(self.first[entity] >> level) + block] = join(
                    levels[-1][left], levels[-1][left + 1]
                )
                levels.append(joined)
            self._blocks[join, column] = levels
        return self._blocks[join, column]

    def joined(self, column: str, stat: str, first: Places, start: Places, end: Places) -> Floats:
        """Join events `start` to `end` of each row's key, in blocks as large as fit."""
        join, nothing = JOINS[stat]
        left, right = np.full(len(first), nothing), np.full(len(first), nothing)
        rows = np.flatnonzero(start < end)
        start, end = start[rows], end[rows]
        for level, blocks in enumerate(self.blocks(column, stat)):
            if not len(rows):
                break
            base, odd = first[rows] >> level, (start & 1).astype(bool)
            left[rows[odd]] = join(left[rows[odd]], blocks[(base + start)[odd]])
            start = (start + odd) >> 1
            odd = (end & 1).astype(bool)
            end = end - odd
            right[rows[odd]] = join(blocks[(base + end)[odd]], right[rows[odd]])
            end >>= 1
            open_ = start < end
            rows, start, end = rows[open_], start[open_], end[open_]
        return join(left, right)

    def joined_row(self, column: str, stat: str, first: int, start: int, end: int) -> float:
        """Do what `joined` does for one row, in the same order and so to the same bits."""
        join, nothing = SCALAR[stat], JOINS[stat][1]
        left, right, levels = nothing, nothing, self.blocks(column, stat)
        level = 0
        while start < end:
            if start & 1:
                left = join(left, levels[level].item((first >> level) + start))
                start += 1
            if end & 1:
                end -= 1
                right = join(levels[level].item((first >> level) + end), right)
            start, end, level = start >> 1, end >> 1, level + 1
        return join(left, right)


class Origin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a state comes from: state.json, which names its file, and the bundle it belongs to.

    `built` is when it was, `until` the time of its last event, both in UTC.
    """

    bundle: str
    file: str
    sha256: str
    built: str
    until: str | None
    events: int
    keys: int
    secret: str = ""  # fingerprint of what made its keys, where these are pseudonyms

    def age_days(self) -> float:
        """Return the days since it was built."""
        since = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(self.built)
        return since / dt.timedelta(days=1)


class State:
    """The events of each column of keys, and the features that they answer."""

    def __init__(
        self,
        features: Sequence[Past],
        events: Mapping[str, Events],
        origin: Origin | None = None,
        secret: str = "",
    ) -> None:
        self.features, self.events, self.origin = features, events, origin
        self.secret = secret
        for feature in features:
            feature.prepare(events[feature.by])

    def check_secret(self, key: bytes | None, version: str) -> None:
        """ProjectError where its keys are pseudonyms that `key` does not make."""
        if not self.secret or (key and fingerprint(key) == self.secret):
            return
        found = f"{SECRET} is {fingerprint(key)}" if key else f"{SECRET} is not set"
        raise ProjectError(
            f"{version} looks back by keyed hashes of the secret {self.secret}, but {found} "
            "(fingerprints): set the one with which `ml ingest` made them"
        )

    def ask(
        self, keys: Mapping[str, Keys], moments: Moments, withheld: Moments | None = None
    ) -> Floats:
        """Return the features of rows, shape (rows, features), NaN where missing.

        `keys` are those of the rows by column, `moments` their times (rows,). Of the microseconds
        `withheld` before its time a row knows nothing, as if it had been asked for so early.
        """
        withheld = np.zeros(len(moments), np.int64) if withheld is None else withheld
        found = np.full((len(moments), len(self.features)), np.nan)
        for start in range(0, len(moments), ASKED_ROWS):
            part = slice(start, start + ASKED_ROWS)
            for by, events in self.events.items():
                entity = events.places(keys[by][part])
                self._ask(by, events, entity, moments[part], withheld[part], found[part])
        return np.where(np.abs(found) <= LARGEST, found, np.nan)

    def of_row(self, keys: Mapping[str, int], moment: int) -> list[float]:
        """Return the features of one row, as `ask` does for many."""
        found = [np.nan] * len(self.features)
        if moment == NO_TIME:
            return found
        spans = {by: events.span(keys[by]) for by, events in self.events.items()}
        earlier: dict[tuple[str, int], AskedRow] = {}
        for index, feature in enumerate(self.features):
            by, delay = feature.by, feature.delay
            events = self.events[by]
            if (asked := earlier.get((by, delay))) is None:
                first, count = spans[by]
                known = events.before_row(first, count, moment - delay)
                asked = earlier[by, delay] = AskedRow(first, known, moment)
            if asked.known and abs(value := feature.of_row(events, asked)) <= LARGEST:
                found[index] = value
        return found

    def arrays(self, keys: Sequence[Mapping[str, int]]) -> dict[str, Keys]:
        """Return the keys of rows by their column, shape (rows,) each."""
        return {by: np.array([key[by] for key in keys], np.uint64) for by in self.events}

    def furthest(self, of: str) -> Lag | None:
        """Return the lag of a column that reaches back the furthest, None without one."""
        lags = [lag for lag in self.features if isinstance(lag, Lag) and lag.of == of]
        return max(lags, key=lambda lag: lag.back, default=None)

    def earlier(
        self, of: str, keys: Mapping[str, Keys], moments: Moments
    ) -> list[NDArray[np.int64]] | None:
        """Return what lags of a column do not reach of it, for each row as whole numbers.

        None where no row has more events than they reach.
        """
        if (furthest := self.furthest(of)) is None:
            return None
        events = self.events[furthest.by]
        entity = events.places(keys[furthest.by])
        count = np.zeros(len(entity), np.int64)
        seen = np.flatnonzero((entity >= 0) & (moments != NO_TIME))
        count[seen] = events.before(entity[seen], moments[seen] - furthest.delay)
        more = np.maximum(count - furthest.back, 0)
        if not more.any():
            return None
        values, first = events.columns[furthest.of], events.first[np.maximum(entity, 0)]
        parts = (values[a : a + n] for a, n in zip(first, more, strict=True))
        return [part[~np.isnan(part)].astype(np.int64) for part in parts]

    def passed(
        self, by: str, keys: Keys, moments: Moments, *, in_months: bool
    ) -> NDArray[np.bool_]:
        """Return which rows have an event of their key in their step or after it, shape (rows,).

        A step is the row's time, or its month.
        """
        events = self.events[by]
        entity = events.places(keys)
        seen = np.asarray((entity >= 0) & (moments != NO_TIME))
        if not seen.any():
            return seen
        last = events.times[events.first + events.counts - 1][entity]
        if in_months:
            last, moments = months_of(last), months_of(moments)
        return np.asarray(seen & (last >= moments))

    def lives(self) -> list[dict[str, Any]]:
        """Count keys that fell silent or began within the days that a `DaysSince` warns of.

        Silent are those whose last event is older, before the last of all; of those that began
        every event is younger.
        """
        found = []
        for feature in self.features:
            events = self.events[feature.by]
            if not isinstance(feature, DaysSince) or feature.most is None or not len(events.times):
                continue
            edge = events.times.max() - round(feature.most * DAY)
            last = events.times[events.first + events.counts - 1]
            told = {"by": feature.by, "days": feature.most, "known": len(events.keys)}
            told |= {"silent": int((last < edge).sum())}
            found.append(told | {"began": int((events.times[events.first] > edge).sum())})
        return found

    def _ask(
        self,
        by: str,
        events: Events,
        entity: Places,
        moments: Moments,
        withheld: Moments,
        found: Floats,
    ) -> None:
        """Write the features of one column of keys into `found`."""
        seen = np.flatnonzero((entity >= 0) & (moments != NO_TIME))
        if not len(seen):
            return
        entity, moments, withheld = entity[seen], moments[seen], withheld[seen]
        known: dict[int, tuple[Places, Asked]] = {}
        for index, feature in enumerate(self.features):
            if feature.by != by:
                continue
            if feature.delay not in known:
                count = events.before(entity, moments - feature.delay - withheld)
                have = count > 0
                rows = entity[have]
                asked = Asked(rows, events.first[rows], count[have], moments[have])
                known[feature.delay] = seen[have], asked
            places, asked = known[feature.delay]
            found[places, index] = feature.answer(events, asked)


class Told(State):
    """The events that a request brings; of keys without any in it the state of the bundle tells."""

    def __init__(self, bundle: State, events: Mapping[str, Events]) -> None:
        super().__init__(bundle.features, events, bundle.origin, bundle.secret)
        self.bundle = bundle

    def ask(
        self, keys: Mapping[str, Keys], moments: Moments, withheld: Moments | None = None
    ) -> Floats:
        """Return the features of rows, as those of any state."""
        own, found = (each(keys, moments, withheld) for each in (super().ask, self.bundle.ask))
        for index, feature in enumerate(self.features):
            told = self.events[feature.by].places(keys[feature.by]) >= 0
            found[told, index] = own[told, index]
        return found

    def earlier(
        self, of: str, keys: Mapping[str, Keys], moments: Moments
    ) -> list[NDArray[np.int64]] | None:
        """Return what lags do not reach, of rows with a history of their own from that."""
        own, found = (each(of, keys, moments) for each in (super().earlier, self.bundle.earlier))
        lag = self.furthest(of)
        if lag is None or (own is None and found is None):
            return None
        told = self.events[lag.by].places(keys[lag.by]) >= 0
        none = [np.empty(0, np.int64)] * len(moments)
        pairs = zip(told, own or none, found or none, strict=True)
        return [mine if has else other for has, mine, other in pairs]

    def passed(
        self, by: str, keys: Keys, moments: Moments, *, in_months: bool
    ) -> NDArray[np.bool_]:
        """Return which rows have an event in their step or after it, as of any state."""
        own = super().passed(by, keys, moments, in_months=in_months)
        found = self.bundle.passed(by, keys, moments, in_months=in_months)
        return np.where(self.events[by].places(keys) >= 0, own, found)

    def of_row(self, keys: Mapping[str, int], moment: int) -> list[float]:
        """Return the features of one row, as `ask` does for many."""
        own, found = super().of_row(keys, moment), self.bundle.of_row(keys, moment)
        told = {by: events.span(keys[by])[1] > 0 for by, events in self.events.items()}
        pairs = zip(self.features, own, found, strict=True)
        return [mine if told[feature.by] else other for feature, mine, other in pairs]


def events_of(keys: Keys, times: Moments, columns: Mapping[str, Floats]) -> Events:
    """Return events in their order, of arrays (events,) in any; those without key or time are none.

    Events of one key at one time are in the order of their values.
    """
    good = np.flatnonzero((keys != NO_KEY) & (times != NO_TIME))
    order = good[np.lexsort([*(each[good] for each in columns.values()), times[good], keys[good]])]
    different, counts = np.unique(keys[order], return_counts=True)
    values = {name: each[order] for name, each in columns.items()}
    return Events(different, counts.astype(np.int64), times[order], values)


def months_of(times: Moments) -> Places:
    """Return the calendar months since 1970 of times, shape (rows,)."""
    return times.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)


def start_of_months(months: Places) -> Moments:
    """Return when these months since 1970 begin, shape (rows,)."""
    return months.astype("datetime64[M]").astype("datetime64[us]").astype(np.int64)


def key_of(value: Any, secret: bytes | None = None) -> int:
    """Return a number for a key, NO_KEY for a missing one: the state names nobody.

    With a `secret` it is that of the pseudonym, which is what the state knows.
    """
    text = "" if value is None else dialect.level(str(value))
    if text in dialect.MISSING:
        return NO_KEY
    text = hashed(text, secret) if secret else text
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) or 1


def moment_of(value: dt.datetime | None) -> int:
    """Return the microseconds of a time in UTC without an offset, NO_TIME for none."""
    if value is None:
        return NO_TIME
    since = value - EPOCH  # in parts: a division of times takes four times as long
    return since.days * DAY + since.seconds * 1_000_000 + since.microseconds


def content(folder: Path, state: State, built: dt.datetime) -> tuple[Origin, bytes]:
    """Return what a bundle says of a state, and the state as bytes."""
    arrays: dict[str, NDArray[Any]] = {}
    for index, events in enumerate(state.events.values()):
        arrays[f"{index}.keys"], arrays[f"{index}.counts"] = events.keys, events.counts
        arrays[f"{index}.times"] = events.times
        arrays |= {f"{index}.{n}": values for n, values in enumerate(events.columns.values())}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    found = buffer.getvalue()
    digest = storage.sha256_bytes(found)
    latest = [int(events.times.max()) for events in state.events.values() if len(events.times)]
    until = EPOCH + dt.timedelta(microseconds=max(latest)) if latest else None
    origin = Origin(
        bundle=storage.sha256(folder / "manifest.json"),
        file=f"state-{digest[:16]}.npz",
        sha256=digest,
        built=built.isoformat(timespec="seconds"),
        until=until.isoformat() if until else None,
        events=max((len(events.times) for events in state.events.values()), default=0),
        keys=max((len(events.keys) for events in state.events.values()), default=0),
        secret=state.secret,
    )
    return origin, found


def write(folder: Path, state: State, built: dt.datetime) -> Origin:
    """Write a state into the folder of its bundle: the old one is there or the new one."""
    origin, found = content(folder, state, built)
    storage.write_bytes(folder / origin.file, found)
    storage.write_json(folder / STATE, origin)
    for old in folder.glob("state-*.npz"):
        if old.name != origin.file:
            old.unlink()
    return origin


def read(folder: Path, features: Sequence[Past]) -> State:
    """Read the state of a bundle; ProjectError when it is missing, changed or of another one."""
    where = f"bundle {folder.name}: its features look back, but"
    if not (folder / STATE).is_file():
        raise ProjectError(f"{where} {STATE} is missing: {MEND}")
    try:
        origin = storage.read_json(folder / STATE, Origin)
    except ProjectError:
        raise ProjectError(f"{where} {STATE} is damaged: {MEND}") from None
    if origin.bundle != storage.sha256(folder / "manifest.json"):
        raise ProjectError(f"{where} its state is of another bundle: {MEND}")
    path = folder / origin.file
    if not FILES.fullmatch(origin.file) or not path.is_file():
        raise ProjectError(f"{where} {origin.file} is missing: {MEND}")
    content, digest = storage.read_hashed(path)
    if digest != origin.sha256:
        raise ProjectError(f"{where} {origin.file} is changed: {MEND}")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            events = {by: _events(arrays, n, of) for n, (by, of) in enumerate(read_of(features))}
            return State(features, events, origin, origin.secret)
    except (KeyError, ValueError, IndexError, OSError, zipfile.BadZipFile):
        raise ProjectError(f"{where} {origin.file} is not usable: {MEND}") from None


def read_of(features: Sequence[Past]) -> list[tuple[str, list[str]]]:
    """Return each column of keys with the columns whose values its features read, sorted."""
    every = {feature.by for feature in features}
    return [(by, sorted({f.column for f in features if f.by == by} - {""})) for by in sorted(every)]


def _events(arrays: Mapping[str, NDArray[Any]], index: int, columns: list[str]) -> Events:
    values = {name: arrays[f"{index}.{place}"] for place, name in enumerate(columns)}
    keys, counts, times = (arrays[f"{index}.{part}"] for part in ("keys", "counts", "times"))
    return Events(keys, counts, times, values)
