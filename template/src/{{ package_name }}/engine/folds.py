"""How folds are made: what goes with which split, by the names of TRAIN-01 and TRAIN-02."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from . import examples, task
from .data.contract import Contract
from .errors import ProjectError
from .formats import percent

REPEATS = 5  # of folds that are drawn anew
NEARLY = 0.75  # of the rows that the largest fold is fitted to
MOST_LEFT_OUT = 200  # rows or groups that are left out one by one
Rows = NDArray[np.intp]


class Split(NamedTuple):
    """Row numbers: development and test of the whole table, folds of the development part.

    `repeats` times the folds hold each row, one time after the other. Where one row or group at a
    time is left out, the folds tell together (`pooled`): one alone has no metric.
    """

    development: Rows
    test: Rows
    folds: list[tuple[Rows, Rows]]
    notes: list[str]
    repeats: int = 1
    pooled: bool = False

    def probed(self, places: Rows) -> "Split":
        """Test the rows that `task.probed` adds where the development rows they come from are."""
        added = np.arange(len(self.development), len(places))
        if not len(added):
            return self
        parts = [(train, np.isin(places[added], valid)) for train, valid in self.folds]
        folds = [
            (train, np.concatenate([valid, added[here]]))
            for (train, here), (_, valid) in zip(parts, self.folds, strict=True)
        ]
        return self._replace(folds=folds)

    def nearly_all(self) -> Rows:
        """Return the rows that models of nearly as many rows tested as the last one learnt from.

        Folds in order of time grow: a model of few rows is less sure than the one in use, which
        would look like drift beside it.
        """
        most = max(len(train) for train, _ in self.folds)
        late = [valid for train, valid in self.folds if len(train) >= NEARLY * most]
        return np.unique(np.concatenate(late))

    def within(self, fold: int) -> list[tuple[Rows, Rows]]:
        """Return folds of the rows that a fold's models are fitted to, as other folds part them.

        Where no other has rows of these, one fold of every fifth row.
        """
        train, every = self.folds[fold][0], len(self.folds) // self.repeats
        first = fold - fold % every
        others = (self.folds[n] for n in range(first, first + every) if n != fold)
        parts = [(np.intersect1d(train, a), np.intersect1d(train, b)) for a, b in others]
        parts = [part for part in parts if min(map(len, part))]
        fifth = np.arange(len(train)) % 5 == 4
        return parts or [(train[~fifth], train[fifth])]


GAP = "in the embargo"  # of a note on rows whose label was not known yet


def mend(result: Split) -> str:
    """Say how a part gets more rows."""
    gaps = [f"{note} {examples.GAP_MEND}" for note in result.notes if GAP in note]
    return gaps[0] if gaps else "bring more data or another split"


def fitting(split: str) -> tuple[str, ...]:
    """Return the folds that go with a split, the plain ones first."""
    if split == "time":
        return ("time_series",)
    plain = {"random": "kfold"}.get(split, f"{split}_kfold")
    one = "leave_one_group_out" if split == task.BY_ENTITY else "leave_one_out"
    return plain, f"repeated_{plain}", one


def manner(cv: str, split: str) -> str:
    """Return "plain", "repeated" or "leave_one"; ProjectError where the split forbids it."""
    found = next((way for way in ("repeated", "leave_one") if cv.startswith(way)), "plain")
    if found != "plain" and cv not in (able := fitting(split)):
        raise ProjectError(
            f"plan: folds `{cv}` (TRAIN-02) do not go with the split `{split}` (TRAIN-01): rows "
            "that belong together or come later would stand on both sides; override TRAIN-02 in "
            f"plan/overrides.yaml with {' or '.join(f'`{name}`' for name in able)}"
        )
    return found


def left_out(
    y: NDArray[Any], groups: NDArray[np.object_] | None, seed: int
) -> list[tuple[Rows, Rows]]:
    """Return a fold for each row, or each group.

    Without a row of a class the others are more frequent, which a model would take for a sign: a
    drawn row of each other class is left out of the training rows too (Austin et al. 2025).
    """
    unit = np.arange(len(y)) if groups is None else np.unique(groups, return_inverse=True)[1]
    if (many := int(unit.max()) + 1) > MOST_LEFT_OUT:
        kind = "rows" if groups is None else "groups"
        raise ProjectError(
            f"plan: TRAIN-02 leaves out {many} {kind} one by one, {MOST_LEFT_OUT} at most: "
            "override it in plan/overrides.yaml with repeated folds"
        )
    rng = np.random.default_rng(seed)
    places = np.arange(len(y))
    folds = []
    for number in range(many):
        valid = np.flatnonzero(unit == number)
        left = unit != number
        if groups is None and y.dtype.kind in "iu":
            others = (places[y == level] for level in np.unique(y) if level != y[number])
            left[[rng.choice(rows) for rows in others]] = False
        train = np.flatnonzero(left)
        if missing := task.lacks(y[train]):
            raise ProjectError(f"too few rows to leave one out: {missing}")
        folds.append((train, valid))
    return folds


def copies(frame: pl.DataFrame, contract: Contract, development: Rows, test: Rows) -> list[str]:
    """Tell test rows that are copies of development rows: a model may know them by heart.

    Where each has earlier targets of its own, equal columns make no copy.
    """
    if task.HAS_PAST:
        return []
    names = [column.name for column in (*contract.features, contract.target)]
    rows = frame.select(names).hash_rows()
    share = float(str(rows[test].is_in(rows[development].implode()).mean() or 0))
    told = f"{percent(share)} of the test rows equal a development row in every feature and target"
    return [told] if share else []


def kept_together(alike: Rows) -> str:
    """Tell how many rows have nearly the text of an earlier one."""
    share = float((alike != np.arange(len(alike))).mean())
    return f"{percent(share)} of the rows have nearly the text of another: both are on one side"


def within(alike: Rows, rows: Rows) -> Rows:
    """Return who is alike among some of the rows, by their places there."""
    first = np.unique(alike[rows], return_index=True)
    return first[1][np.searchsorted(first[0], alike[rows])]
