"""Columns that know the outcome, found by what their values say and not by their names.

A feature must be known when the prediction is made. Six signs that a column is not:

1. alone it tells the target almost perfectly, or far better than every other column, or it has
   values where an event came and nowhere else;
2. it is missing where the target is missing, and hardly anywhere else: recorded with the outcome;
3. its times lie after the time of the row;
4. it reproduces a column that is suspected, alone or as a sum, difference, product or ratio with
   another; a number to predict counts as suspected itself;
5. it is the target under another name (a case of 1);
6. it holds the mean of the target over rows that are still there (`encodings.py`).

Signs, not proofs: people decide. The idea of 1 and 3: Kaufman et al. 2012, Leakage in Data Mining.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..formats import percent
from . import encodings
from . import target as targets

MIN_ROWS = 20  # fewer rows say nothing
MAX_ROWS = 100_000
LEVEL_ROWS = 10  # of a level among drawn rows, below which it tells too little
PAIR_ROWS = 2000
EQUAL = 0.999  # correlation that counts as the same

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Suspicion:
    """A column that may give the target away; `strength` is at most 1."""

    column: str
    reason: str
    strength: float


def suspects(
    frame: pl.DataFrame,
    target: pl.Series,
    columns: Sequence[str],
    time_column: str | None = None,
    known: Sequence[str] = (),
    outcome: str = "",
) -> list[Suspicion]:
    """Return the suspected ones of `columns`, the strongest first.

    `frame` is typed by the contract; `target` holds the outcome or null for each of its rows, and
    `outcome` is its column's name, where `frame` has it.
    `known` names columns that are out already, such as those of the target's definition. Large
    tables are judged by MAX_ROWS rows, drawn the same way every time.
    """
    scores = {name: association(frame[name], target) for name in columns}
    if frame.height > MAX_ROWS:
        rows = sampled(frame.height)
        frame, target = frame[rows], target[rows]
    found: dict[str, list[tuple[str, float]]] = {}
    for name, reason, strength in (
        *targets.signs(frame, target, scores),
        *_missing_together(frame, target, columns),
        *_afterwards(frame, columns, time_column),
        *encodings.found(frame, columns, outcome, targets.numbers(target)),
    ):
        found.setdefault(name, []).append((reason, strength))
    whole = targets.reproduced(outcome) if outcome else []
    while new := _reproducing(frame, scores, [*known, *whole, *found], whole):
        found |= {name: [(reason, 1.0)] for name, reason in new.items()}
    merged = [
        Suspicion(name, "; ".join(reason for reason, _ in signs), max(s for _, s in signs))
        for name, signs in found.items()
    ]
    return sorted(merged, key=lambda suspicion: -suspicion.strength)


def association(values: pl.Series, target: pl.Series) -> float:
    """Return what a column alone tells of the target, by about MAX_ROWS rows of a large table.

    Of a text whose levels would be torn apart, such as the number of a case, whole levels are
    drawn: a level tells of its other rows.
    """
    rows: NDArray[Any] = sampled(len(values))
    is_torn = len(rows) < len(values) and values.dtype == pl.String
    if is_torn and values[rows].n_unique() * LEVEL_ROWS > len(rows):
        levels, share = values.unique().sort(), len(rows) / len(values)
        some = np.random.default_rng(0).permutation(len(levels))[: round(share * len(levels))]
        rows = values.is_in(levels[some].implode()).fill_null(False).arg_true().to_numpy()
    return targets.association(values[rows], target[rows])


def sampled(rows: int) -> NDArray[np.intp]:
    """Return all row numbers up to MAX_ROWS, else as many, drawn the same way every time."""
    if rows <= MAX_ROWS:
        return np.arange(rows)
    return np.sort(np.random.default_rng(0).permutation(rows)[:MAX_ROWS])


def _missing_together(
    frame: pl.DataFrame, target: pl.Series, columns: Sequence[str]
) -> Iterator[tuple[str, str, float]]:
    blank = frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
    unknown = target.is_null() & ~blank
    if target.count() < MIN_ROWS:  # hardly anything is known: no column goes with that
        return
    for name in columns:
        missing = frame[name].is_null() & ~blank
        both, either = int((missing & unknown).sum()), int(missing.sum())
        covered = both / max(1, int(unknown.sum()))
        elsewhere = (either - both) / max(1, len(unknown) - int(unknown.sum()))
        if both >= MIN_ROWS and both >= 0.99 * either and covered >= max(0.5, 10 * elsewhere):
            reason = (
                f"missing in {percent(covered)} of the rows without a target and in hardly any "
                "other: recorded with the outcome or after it"
            )
            yield name, reason, both / either


def _afterwards(
    frame: pl.DataFrame, columns: Sequence[str], time_column: str | None
) -> Iterator[tuple[str, str, float]]:
    moments = [name for name in columns if frame[name].dtype.is_temporal() and name != time_column]
    for name in moments if time_column is not None else []:
        pair = frame.select(pl.col(name), pl.col(str(time_column)).alias("")).drop_nulls()
        if pl.Date in pair.dtypes:  # a day against a moment: only a later day is later
            pair = pair.select(pl.all().cast(pl.Date))
        later = float((pair[name] > pair[""]).mean() or 0)  # type: ignore[arg-type]
        if pair.height >= MIN_ROWS and later > 0.5:
            yield name, f"later than {time_column} in {percent(later)} of the rows", later


def _reproducing(
    frame: pl.DataFrame,
    scores: dict[str, float],
    suspected: Sequence[str],
    whole: Sequence[str],
) -> dict[str, str]:
    """Find columns that give a suspected number by their order, or as x + - * / y of two.

    Of two columns the one that tells more about the target is named, or both where they give the
    target itself. Moments count in pairs only: those of one process follow each other, so that
    their order proves nothing.
    """
    found: dict[str, str] = {}
    numbers = [name for name in frame.columns if frame[name].dtype.is_numeric()]
    moments = [name for name in frame.columns if frame[name].dtype.is_temporal()]
    values = frame.select(pl.col([*numbers, *moments]).to_physical().cast(pl.Float64))
    for leak in (name for name in suspected if name in numbers):
        rows = values.filter(pl.col(leak).is_finite())
        open_ = [name for name in values.columns if name in scores and name not in suspected]
        open_ = [n for n in open_ if rows[n].is_finite().sum() > 0.8 * rows.height]
        rows = (
            rows.select(leak, *open_)
            .filter(pl.all_horizontal(pl.all().is_finite()))
            .head(PAIR_ROWS)
        )
        matrix = rows.to_numpy()
        if len(matrix) < 100 or np.ptp(matrix[:, 0]) == 0:
            continue
        ranks = rows.select(pl.all().rank()).to_numpy()
        for name, same in zip(open_, _likeness(ranks[:, 1:], ranks[:, 0]), strict=True):
            if same >= EQUAL and name in numbers:
                found[name] = f"it has the order of {leak}"
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(matrix)
        forms = {"-": (matrix, -1), "/": (logs, -1), "+": (matrix, 1), "*": (logs, 1)}
        for sign, (form, turn) in forms.items():
            for x, y in _pairs(form, turn):
                pair = [open_[x - 1], open_[y - 1]]
                known = pair if leak in whole else [max(pair, key=lambda n: scores[n])]
                found |= dict.fromkeys(known, f"{pair[0]} {sign} {pair[1]} gives {leak}") | found
    return found


def _pairs(values: Floats, sign: int) -> Iterator[tuple[int, int]]:
    """Find columns x, y of (rows, columns) whose x + sign y is the first, up to scale and shift.

    None of them is the first without the other.
    """
    kept = np.flatnonzero(np.isfinite(values).all(axis=0))
    if 0 not in kept:
        return
    leak = values[:, 0] - values[:, 0].mean()
    kept = kept[[0, *(1 + np.flatnonzero(_likeness(values[:, kept[1:]], leak) < EQUAL))]]
    for place, x in enumerate(kept[1:]):
        gaps = values[:, [x]] + sign * values[:, kept[place + 2 :]]
        for index in np.flatnonzero(_likeness(gaps, leak) >= EQUAL):
            gap = gaps[:, index] - gaps[:, index].mean()
            error = np.abs(leak - gap * (gap @ leak) / (gap @ gap))
            if (error < 0.01 * leak.std()).mean() > 0.95:
                yield int(x), int(kept[place + 2 + index])


def _likeness(columns: Floats, other: Floats) -> Floats:
    """Return the size of the correlation of each of `columns` (rows, n) with `other` (rows,)."""
    columns, other = columns - columns.mean(axis=0), other - other.mean()
    size = np.sqrt((columns**2).sum(axis=0) * (other @ other))
    shared, found = np.abs(other @ columns), np.zeros(len(size))
    np.divide(shared, size, out=found, where=size > 0)
    return found
