"""Columns that know the outcome, found by what their values say and not by their names.

A feature must be known when the prediction is made. Five signs that a column is not:

1. alone it tells the classes apart almost perfectly, or far better than every other column;
2. it is missing where the target is missing, and hardly anywhere else: recorded with the outcome;
3. its times lie after the time of the row;
4. it reproduces a column that is suspected, alone or as a difference or ratio with another;
5. it is the target under another name (a case of 1).

Signs, not proofs: people decide. The idea of 1 and 3: Kaufman et al. 2012, Leakage in Data Mining.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..formats import number, percent

SURE = 0.98  # ROC AUC of one column that no honest feature reaches
STRIKING = 0.95  # ROC AUC that is suspect when every other column errs four times as much
MIN_CLASS_ROWS = 20  # fewer rows of a class say nothing
MAX_ROWS = 100_000
PAIR_ROWS = 2000
EQUAL = 0.999  # correlation that counts as the same
BINS = 64
FOLDS = 4

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Suspicion:
    """A column that may give the target away; `strength` is 0.5 (none) to 1."""

    column: str
    reason: str
    strength: float


def suspects(
    frame: pl.DataFrame,
    target: pl.Series,
    columns: Sequence[str],
    time_column: str | None = None,
    known: Sequence[str] = (),
) -> list[Suspicion]:
    """Return the suspected ones of `columns`, the strongest first.

    `frame` is typed by the contract; `target` holds 1, 0 or null for each of its rows. `known`
    names columns that are out already, such as those of the target's definition. Large tables are
    judged by MAX_ROWS rows, drawn the same way every time.
    """
    if frame.height > MAX_ROWS:
        rows = sampled(frame.height)
        frame, target = frame[rows], target[rows]
    scores = {name: auc(frame[name], target) for name in columns}
    found: dict[str, list[tuple[str, float]]] = {}
    for name, reason, strength in (
        *_telling(scores),
        *_missing_together(frame, target, columns),
        *_afterwards(frame, columns, time_column),
    ):
        found.setdefault(name, []).append((reason, strength))
    while new := _reproducing(frame, scores, [*known, *found]):
        found |= {name: [(reason, 1.0)] for name, reason in new.items()}
    merged = [
        Suspicion(name, "; ".join(reason for reason, _ in signs), max(s for _, s in signs))
        for name, signs in found.items()
    ]
    return sorted(merged, key=lambda suspicion: -suspicion.strength)


def sampled(rows: int) -> NDArray[np.intp]:
    """Return all row numbers up to MAX_ROWS, else as many, drawn the same way every time."""
    if rows <= MAX_ROWS:
        return np.arange(rows)
    return np.sort(np.random.default_rng(0).permutation(rows)[:MAX_ROWS])


def auc(values: pl.Series, target: pl.Series) -> float:
    """Return the ROC AUC of one column against the target of 0, 1 or null; 0.5 when unknown.

    The better of two readings: the order of the values where there are any, and the share of
    positives per level or quantile (missing is one), learnt on other rows than it is judged on.
    """
    labelled = target.is_not_null()
    label = target.filter(labelled).cast(pl.Float64).to_numpy()
    values = values.filter(labelled)
    present = values.is_not_null().to_numpy()
    codes = values.rank("dense").fill_null(0).to_numpy().astype(np.int64)
    best = 0.5
    if values.dtype != pl.String:
        ranks = values.drop_nulls().rank().to_numpy()
        order = _rank_auc(ranks, label[present])
        best = max(order, 1 - order)
        if codes.max(initial=0) > BINS:
            codes[present] = 1 + (ranks * BINS / (len(ranks) + 1)).astype(np.int64)
    return max(best, _rate_auc(codes, label))


def _telling(scores: dict[str, float]) -> Iterator[tuple[str, str, float]]:
    first, second = (*sorted((s for s in scores.values() if s < SURE), reverse=True), 0.5, 0.5)[:2]
    for name, score in scores.items():
        if score >= SURE:
            yield name, f"alone it tells the classes apart (ROC AUC {number(score, 3)})", score
        elif score == first >= STRIKING and (1 - score) * 4 <= 1 - second:
            yield (
                name,
                f"ROC AUC {number(score, 3)} alone, the next column has {number(second, 3)}",
                score,
            )


def _missing_together(
    frame: pl.DataFrame, target: pl.Series, columns: Sequence[str]
) -> Iterator[tuple[str, str, float]]:
    blank = frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
    unknown = target.is_null() & ~blank
    for name in columns:
        missing = frame[name].is_null() & ~blank
        both, either = int((missing & unknown).sum()), int(missing.sum())
        covered = both / max(1, int(unknown.sum()))
        if both >= MIN_CLASS_ROWS and both >= 0.99 * either and covered >= 0.5:
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
        if pair.height >= MIN_CLASS_ROWS and later > 0.5:
            yield name, f"later than {time_column} in {percent(later)} of the rows", later


def _reproducing(
    frame: pl.DataFrame, scores: dict[str, float], suspected: Sequence[str]
) -> dict[str, str]:
    """Find columns that give a suspected number by their order, or as x - y or x / y of two.

    Of two columns the one that tells more about the target is named. Moments count in pairs only:
    those of one process follow each other, so that their order proves nothing.
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
            forms = {"-": matrix, "/": np.log(matrix)}
        for sign, form in forms.items():
            for x, y in _pairs(form):
                pair = f"{open_[x - 1]} {sign} {open_[y - 1]} gives {leak}"
                found.setdefault(max(open_[x - 1], open_[y - 1], key=lambda n: scores[n]), pair)
    return found


def _pairs(values: Floats) -> Iterator[tuple[int, int]]:
    """Find columns of (rows, columns) whose difference is the first, up to scale and shift."""
    kept = np.flatnonzero(np.isfinite(values).all(axis=0))
    if 0 not in kept:
        return
    leak = values[:, 0] - values[:, 0].mean()
    for place, x in enumerate(kept[1:]):
        gaps = values[:, [x]] - values[:, kept[place + 2 :]]
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


def _rank_auc(ranks: Floats, label: Floats) -> float:
    """Return the Mann-Whitney form of the ROC AUC; 0.5 when a class has too few rows."""
    positives = float(label.sum())
    negatives = len(label) - positives
    if min(positives, negatives) < MIN_CLASS_ROWS:
        return 0.5
    return float(ranks @ label - positives * (positives + 1) / 2) / (positives * negatives)


def _rate_auc(codes: NDArray[np.int64], label: Floats) -> float:
    """Return the ROC AUC of the share of positives per code, learnt out of fold and smoothed."""
    fold = np.random.default_rng(1).integers(0, FOLDS, len(label))
    cell = codes * FOLDS + fold
    size = (int(codes.max(initial=0)) + 1) * FOLDS
    rows = np.bincount(cell, minlength=size).reshape(-1, FOLDS)
    positives = np.bincount(cell, weights=label, minlength=size).reshape(-1, FOLDS)
    others = rows.sum(axis=1, keepdims=True) - rows
    hits = positives.sum(axis=1, keepdims=True) - positives
    rate = (hits + 2 * label.mean()) / (others + 2) if len(label) else hits
    return _rank_auc(pl.Series(rate.ravel()[cell]).rank().to_numpy(), label)
