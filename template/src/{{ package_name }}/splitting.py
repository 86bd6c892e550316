"""Split rows into development and test, and development into folds, as the plan says."""

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .engine import examples, task
from .engine import folds as schemes
from .engine.data import duplicates
from .engine.data.contract import Contract
from .engine.errors import ProjectError
from .engine.folds import Rows, Split
from .engine.formats import count, percent


def split(
    frame: pl.DataFrame,
    y: NDArray[Any],
    contract: Contract,
    scheme: str,
    *,
    cv: str = "",
    test_share: float,
    folds: int,
    embargo_days: float,
    seed: int,
) -> Split:
    """Split by `scheme`: "time", or one of the two that the task names.

    "time" tests on the latest rows and drops development rows whose label was not known yet
    (`embargo_days`) when the test period began; folds expand through time in the same way. `cv` is
    decision TRAIN-02; without one folds are plain.
    """
    manner = schemes.manner(cv, scheme)
    require_role(contract, scheme)
    if scheme == "time":
        return _by_time(frame, y, contract, test_share, folds, embargo_days)
    groups = None
    if scheme == task.BY_ENTITY and contract.entity:
        groups = frame[contract.entity.name].cast(pl.String).fill_null("").to_numpy()
    groups, alike = duplicates.grouped(groups, duplicates.leaders(frame, contract))
    development, test = _stratified(y, groups, max(2, round(1 / test_share)), seed, alike)[0]
    inner = None if groups is None else groups[development]
    known, notes = y[development], schemes.copies(frame, contract, development, test)
    if alike is not None:
        notes.append(schemes.kept_together(alike))
        alike = schemes.within(alike, development)
    if manner == "leave_one":
        parts = schemes.left_out(known, inner, seed)
        return _checked(Split(development, test, parts, notes, pooled=True), y)
    repeats = schemes.REPEATS if manner == "repeated" else 1
    parts = [
        fold
        for repeat in range(repeats)
        for fold in _stratified(known, inner, folds, seed + repeat, alike)
    ]
    return _checked(Split(development, test, parts, notes, repeats), y)


def require_role(contract: Contract, scheme: str) -> None:
    """ProjectError when no column has the role that `scheme` needs."""
    if scheme == task.BY_ENTITY and contract.entity is None:
        raise ProjectError(
            "the plan splits by entity, but no contract column has the role entity: "
            f"set one, or override TRAIN-01 in plan/overrides.yaml with `{task.BY_CHANCE}`"
        )
    if scheme == "time" and contract.time is None:
        raise ProjectError(
            "the plan splits by time, but no contract column has the role time: set one, or "
            "change the plan with `ml update --data time_column=`"
        )


def _stratified(
    y: NDArray[Any],
    groups: NDArray[np.object_] | None,
    folds: int,
    seed: int,
    alike: Rows | None,
) -> list[tuple[Rows, Rows]]:
    """Deal rows; those `alike` a first one go where it goes."""
    if missing := task.lacks(y):
        raise ProjectError(f"too few rows to split: {missing}")
    if alike is None:
        return task.dealt(y, groups, folds, seed)
    first, of = np.unique(alike, return_inverse=True)
    dealt = task.dealt(y[first], None, folds, seed)
    return [(np.flatnonzero(np.isin(of, a)), np.flatnonzero(np.isin(of, b))) for a, b in dealt]


def _by_time(
    frame: pl.DataFrame,
    y: NDArray[Any],
    contract: Contract,
    test_share: float,
    folds: int,
    embargo_days: float,
) -> Split:
    assert contract.time is not None  # as `require_role` says
    time = frame[contract.time.name].cast(pl.Datetime("us")).to_numpy()
    if np.isnat(time).any():
        raise ProjectError(f"column {contract.time.name}: a time split needs every value")
    embargo = np.timedelta64(dt.timedelta(days=embargo_days))
    order = np.argsort(time, kind="stable")
    starts = _boundaries(time[order], [1 - test_share])
    if not starts:
        raise ProjectError(f"column {contract.time.name}: a time split needs two different times")
    test = np.flatnonzero(time >= starts[0])
    development = order[time[order] < starts[0] - embargo]
    notes = []
    dropped = len(frame) - len(test) - len(development)
    if dropped:
        gap = f"the embargo of {count(embargo_days, 'day')} before the test"
        notes.append(f"{count(dropped, examples.ROW)} lie{'s' * (dropped == 1)} in {gap}")
    inner = time[development]
    shares = [(index + 1) / (folds + 1) for index in range(folds)]
    edges = _boundaries(inner, shares)
    parts = []
    for index, start in enumerate(edges):
        train = np.flatnonzero(inner < start - embargo)
        valid = inner >= start
        if index + 1 < len(edges):
            valid &= inner < edges[index + 1]
        rows = np.flatnonzero(valid)
        if not any(task.lacks(y[development[part]]) for part in (train, rows)):
            parts.append((train, rows))
    if len(parts) < folds:
        notes.append(f"{len(parts)} of {folds} folds: too few different times for more")
    if contract.entity is not None:
        entity = frame[contract.entity.name]
        shared = entity[test].is_in(entity[development].implode()).mean()
        notes.append(
            f"{percent(float(str(shared or 0)))} of the test rows are of entities seen before"
        )
    notes += schemes.copies(frame, contract, development, test)
    return _checked(Split(development, test, parts, notes), y)


def _boundaries(ordered: NDArray[np.datetime64], shares: list[float]) -> list[np.datetime64]:
    """Return the different times at which about these shares of the ordered rows have passed."""
    if not len(ordered):
        return []
    times, first = np.unique(ordered, return_index=True)
    wanted = np.array(shares) * len(ordered)
    nearest = np.abs(first[None, 1:] - wanted[:, None]).argmin(axis=1) if len(times) > 1 else []
    return [times[1:][index] for index in sorted(set(nearest))]


def _checked(result: Split, y: NDArray[Any]) -> Split:
    for name, rows in (("development", result.development), ("test", result.test)):
        if missing := task.lacks(y[rows]):
            raise ProjectError(f"the {name} part has {missing}; {schemes.mend(result)}")
    if not result.folds:
        raise ProjectError(f"no fold has {task.NEEDS}; {schemes.mend(result)}")
    return result
