"""Which rows are unlike all that was learnt from, and what is said of them.

They are later, earlier, off a step, far, or texts without a known word.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from .history import DaysSince, Keys, Moments, State
from .seasons import Season, Seasonal
from .texts import Reader, TextFeature, Words

BETWEEN = 0.01  # days off a step from which on a row is between two
FAR = "far from all values of training"  # a number of which the model knows nothing
WORDLESS = "no word of it was in training"
Limit = tuple[int, str, float, float]  # place of a feature, its column, between what it is near
Warnings = list[tuple[str, NDArray[np.bool_]]]  # each with its rows, shape (rows,)


class Reach(NamedTuple):
    """Where days since the last known row stand in a matrix, and what is said of them.

    `before` and `passed` are "" where nothing tells of a series `by` a column; `step` is 0 where
    months are its steps, and `seasons` are the places of what a step has.
    """

    by: str
    place: int
    most: float
    late: str
    before: str
    passed: str
    between: str
    step: float
    seasons: list[int]

    def warnings(self, encoded: NDArray[np.float32]) -> Warnings:
        """Return what to say of rows, shape (rows, features)."""
        days = encoded[:, self.place]
        found = [(self.late, days > self.most)]
        if self.before:
            found.append((self.before, np.isnan(days)))
        if self.before and self.step:
            lost = np.isnan(encoded[:, self.seasons]).all(axis=1)
            away = np.abs(days - self.step * np.rint(days / self.step)) > BETWEEN
            found.append((self.between, lost & away))
        return found

    def told(self, state: State, keys: Mapping[str, Keys], moments: Moments) -> Warnings:
        """Return what to say of rows whose step is known already, shape (rows,)."""
        late = state.passed(self.by, keys[self.by], moments, in_months=not self.step)
        return [(self.passed, late)]


def reaches(history: Sequence[Any], names: Sequence[str]) -> tuple[Reach, ...]:
    """Return how far each kind of looking back reaches; `names` are those of the matrix."""
    found = []
    for since in history:
        if not isinstance(since, DaysSince) or since.most is None:
            continue
        series = [feature for feature in history if feature.by == since.by]
        told = any(isinstance(feature, Seasonal) for feature in series)
        steps = [f.step for f in series if isinstance(f, Seasonal) and not f.months]
        step = float(steps[0]) if steps else 0.0
        days = "a day" if step == 1 else f"{step:g} days"
        known = f"this {since.by} has rows from then on, and no answer uses them"
        lacks = f"no earlier row of this {since.by}, so it gets what all have in common"
        found.append(
            Reach(
                since.by,
                names.index(since.name),
                since.most,
                f"{since.on}: more than {since.most:g} days after the last known row",
                f"{since.on}: {lacks}" if told else "",
                f"{since.on}: {known}" if told else "",
                f"{since.on}: between two steps of {days}, so it has no season",
                step,
                [names.index(f.name) for f in series if isinstance(f, Season)],
            )
        )
    return tuple(found)


class Reached(msgspec.Struct, frozen=True):
    """Between what a number of training is not absurd; None where nothing was kept of it."""

    reach: tuple[float, float] | None = None


class Profile(msgspec.Struct, frozen=True):
    """What is read of the profile of training, by column."""

    features: dict[str, Reached] = {}


class Far(NamedTuple):
    """Numbers that can be far from all of training: places, columns, limits (2, numbers)."""

    places: list[int]
    columns: list[str]
    limits: NDArray[np.float64]

    def warnings(self, encoded: NDArray[np.float32]) -> Warnings:
        """Return what to say of rows, shape (rows, features)."""
        values, (low, high) = encoded[:, self.places], self.limits
        far = (values < low) | (values > high)
        told = np.flatnonzero(far.any(axis=0)).tolist()
        return [(f"{self.columns[place]}: {FAR}", far[:, place]) for place in told]


class Wordless(NamedTuple):
    """A text that is read by its words: the places of its numbers, and those of no known word."""

    places: list[int]
    said: str
    nothing: NDArray[np.float32]

    def warnings(self, encoded: NDArray[np.float32]) -> Warnings:
        """Return what to say of rows, shape (rows, features)."""
        return [(self.said, (encoded[:, self.places] == self.nothing).all(axis=1))]


def wordless(
    features: Sequence[TextFeature], readers: Sequence[Reader], names: Sequence[str]
) -> tuple[Wordless, ...]:
    """Return what tells of texts without a known word, where nothing else reads their column."""
    pairs = [*zip(features, readers, strict=True)]
    others = {feature.column for feature, reader in pairs if not isinstance(reader, Words)}
    return tuple(
        Wordless(
            [names.index(name) for name in feature.made],
            f"{feature.column}: {WORDLESS}",
            reader.intercept.astype(np.float32),
        )
        for feature, reader in pairs
        if isinstance(reader, Words) and feature.column not in others
    )


def limits(numeric: Sequence[Any], idle: set[str], profile: Mapping[str, Reached]) -> list[Limit]:
    """Return the limits of each number that is read as it is; none of `idle` columns."""
    found = []
    for place, item in enumerate(numeric):
        known = profile.get(item.column, Reached())
        if item.part == "value" and item.column not in idle and known.reach:
            found.append((place, item.column, *known.reach))
    return found


def far_off(known: Sequence[Limit]) -> tuple[Far, ...]:
    """Return what tells of numbers beyond their limits, nothing without any."""
    if not known:
        return ()
    places, columns, low, high = map(list, zip(*known, strict=True))
    return (Far(places, columns, np.array([low, high])),)


Tell = Reach | Far | Wordless


def tells(
    history: Sequence[Any],
    texts: Sequence[TextFeature],
    readers: Sequence[Reader],
    names: Sequence[str],
) -> tuple[Tell, ...]:
    """Return all that features tell of rows without a profile; `names` are those of the matrix."""
    return (*reaches(history, names), *wordless(texts, readers, names))
