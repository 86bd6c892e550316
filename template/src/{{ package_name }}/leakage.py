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

SURE = 0.98  # ROC AUC of one column that no honest feature reaches
STRIKING = 0.95  # ROC AUC that is suspect when every other column errs four times as much
MIN_CLASS_ROWS = 20  # fewer rows of a class say nothing
MAX_ROWS = 100_000
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
    rng = np.random.default_rng(0)
    if frame.height > MAX_ROWS:
        rows = np.sort(rng.permutation(frame.height)[:MAX_ROWS])
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
            yield name, f"alone it tells the classes apart (ROC AUC {score:.3f})", score
        elif score == first >= STRIKING and (1 - score) * 4 <= 1 - second:
            yield name, f"ROC AUC {score:.3f} alone, the next column has {second:.3f}", score


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
                f"missing in {covered:.0%} of the rows without a target and in hardly any other: "
                "recorded with the outcome or after it"
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
            yield name, f"later than {time_column} in {later:.0%} of the rows", later


def _reproducing(
    frame: pl.DataFrame, scores: dict[str, float], suspected: Sequence[str]
) -> dict[str, str]:
    """Find columns that give a suspected one by their order, or as x - y or x / y of two columns.

    Of two columns the one that tells more about the target is named.
    """
    found: dict[str, str] = {}
    numeric = [
        c for c in frame.columns if frame[c].dtype.is_numeric() or frame[c].dtype.is_temporal()
    ]
    numbers = frame.select(pl.col(numeric).to_physical().cast(pl.Float64))
    for leak in (name for name in suspected if name in numeric):
        rows = numbers.filter(pl.col(leak).is_finite())
        honest = [
            name
            for name in numeric
            if name in scores
            and name not in suspected
            and name not in found
            and rows[name].is_finite().sum() > 0.8 * rows.height
        ]
        rows = rows.select(leak, *honest).filter(pl.all_horizontal(pl.all().is_finite()))
        matrix = rows.head(5000).to_numpy()
        if len(matrix) < 100 or np.ptp(matrix[:, 0]) == 0:
            continue
        order = _correlation(rows.head(5000).select(pl.all().rank()).to_numpy())[0]
        for name, same in zip(honest, order[1:], strict=True):
            if abs(same) >= EQUAL:
                found[name] = f"it has the order of {leak}"
        with np.errstate(divide="ignore", invalid="ignore"):
            forms = {"-": matrix, "/": np.log(matrix)}
        for sign, values in forms.items():
            for x, y in _pairs(values):
                name = max(honest[x - 1], honest[y - 1], key=lambda name: scores[name])
                found.setdefault(name, f"{honest[x - 1]} {sign} {honest[y - 1]} gives {leak}")
    return found


def _pairs(values: Floats) -> Iterator[tuple[int, int]]:
    """Find columns x and y of (rows, columns) whose difference is column 0, up to scale and shift."""
    kept = np.flatnonzero(np.isfinite(values).all(axis=0))
    if not len(kept) or kept[0] != 0:
        return
    centred = values[:, kept] - values[:, kept].mean(axis=0)
    cov = centred.T @ centred
    joint = cov[:, :1] - cov[0]
    spread = np.diag(cov)[:, None] + np.diag(cov) - 2 * cov
    with np.errstate(divide="ignore", invalid="ignore"):
        fit = joint**2 / (spread * cov[0, 0])
    for x, y in np.argwhere(np.triu(fit >= EQUAL**2, k=1)):
        gap = centred[:, x] - centred[:, y]
        error = np.abs(centred[:, 0] - gap * (gap @ centred[:, 0]) / (gap @ gap))
        if x and (error < 0.01 * centred[:, 0].std()).mean() > 0.95:
            yield int(kept[x]), int(kept[y])


def _correlation(values: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(np.corrcoef(values, rowvar=False).reshape(-1, values.shape[1]))


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
