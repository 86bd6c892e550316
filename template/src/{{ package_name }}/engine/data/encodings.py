"""Columns that hold the target's mean over rows: target encoding that was done on all rows.

An honest column, made from earlier rows, misses the mean of the rows it is the same for by that
mean's own error. Of a level of few rows that error is large; a column that lacks it was computed
from these very rows.
"""

from collections.abc import Iterator, Sequence

import polars as pl

MEANS = 20  # so many different means tell a computed column by how little it misses
NEAR = 0.05  # of the misses of an honest column, that a mean of equal values leaves
CLOSE = 0.3  # the same of a mean by level, which may be smoothed
LEVELS = 50  # fewer levels, or rows beside those that draw a line in each, say nothing
ALWAYS = 0.95  # share of the levels in which a row's own outcome is seen to be taken out
MOST_CLASSES = 10  # the largest: each costs as much as a whole look
MAX_ROWS = 20_000  # of whole levels

Y = "\0y"  # no column has such a name


def found(
    frame: pl.DataFrame, names: Sequence[str], outcome: str, numbers: Sequence[pl.Series]
) -> Iterator[tuple[str, str, float]]:
    """Yield those of `names` that hold a mean of one of `numbers`, with what gives them away.

    `numbers` are the target as it is, or one series of 0 and 1 for each class or label; null where
    it is missing, and the largest are looked at. Levels are those of each column of texts or whole
    numbers but `outcome`.
    """
    wide = {name for name in names if frame[name].dtype.is_numeric()}
    again = {name for name in wide if _repeats(frame[name], 5)}
    levels = [name for name in frame.columns if name != outcome and _is_level(frame[name])]
    tables = {level: _whole(frame, level, sorted(wide - {level})) for level in levels}
    constant = {level: _constant(rows, level) for level, rows in tables.items()}
    often = sorted(numbers, key=lambda y: -float(y.sum() or 0))[:MOST_CLASSES]
    for y in often if wide else []:
        outcomes = y.cast(pl.Float64).fill_nan(None).alias(Y)
        for name in sorted(again):
            if reason := _mean_of_equal(frame[name], outcomes):
                yield name, reason, 1.0
        for level, rows in tables.items():
            labelled = rows.with_columns(outcomes[rows["\0row"]]).drop_nulls(Y)
            yield from _mean_of_level(labelled, level, constant[level])


def _repeats(values: pl.Series, least: int) -> bool:
    return least <= values.n_unique() <= 0.75 * values.count()


def _is_level(values: pl.Series) -> bool:
    levels = values.dtype == pl.String or values.dtype.is_integer()
    return levels and _repeats(values, 2)


def _whole(frame: pl.DataFrame, level: str, names: list[str]) -> pl.DataFrame:
    """Return rows of whole levels, `names` as numbers."""
    rows = frame.select(level, *(pl.col(name).cast(pl.Float64) for name in names))
    return rows.with_row_index("\0row").drop_nulls(level).sort(level).head(MAX_ROWS)


def _constant(rows: pl.DataFrame, level: str) -> set[str]:
    """Return the columns that have one value in nearly all levels, and are there in most."""
    names = [name for name in rows.columns if name not in (level, "\0row")]
    spreads = [(pl.col(name).max() - pl.col(name).min()) <= 1e-9 for name in names]
    table = rows.group_by(level).agg(pl.len().alias("\0n"), *spreads).filter(pl.col("\0n") > 1)
    share = {name: float(str(table[name].mean() or 0)) for name in names}
    return {n for n in names if share[n] >= 0.99 and table[n].count() >= 0.5 * table.height}


def _mean_of_equal(values: pl.Series, y: pl.Series) -> str:
    """Say that a column is the mean over the rows that have its value, or ""."""
    rows = pl.DataFrame([values.cast(pl.Float64).alias("x"), y]).drop_nulls()
    rows = rows.filter(pl.col("x").is_finite())
    same = rows.group_by("x").agg(
        pl.len().alias("\0n"), pl.col(Y).mean(), pl.col(Y).var().alias("\0var")
    )
    same = same.filter(pl.col("\0n") > 1)
    if same.height < 5 or same["\0n"].sum() < 0.5 * y.count():
        return ""
    misses = float((same["\0n"] * (same[Y] - same["x"]) ** 2).sum()) / same.height
    if misses < (NEAR if same.height >= MEANS else 1e-6) * _within(same):
        return f"the target's mean over the rows of equal {values.name} ({same.height} values)"
    return ""


def _within(groups: pl.DataFrame) -> float:
    """Return the variance of the target within groups, from their rows and variances."""
    several = groups.filter(pl.col("\0n") > 1)
    freedom = int(several["\0n"].sum()) - several.height
    return float((several["\0var"] * (several["\0n"] - 1)).sum()) / max(1, freedom)


def _mean_of_level(
    rows: pl.DataFrame, level: str, constant: set[str]
) -> Iterator[tuple[str, str, float]]:
    """Yield the columns that are the mean over the rows of a level, with or without the row itself.

    A smoothed mean counts too. Without the row itself, as of encoding that leaves one out, a row's
    value falls along its own outcome in each level, which no honest column does.
    """
    y, own = pl.col(Y), sorted(constant)
    levels = rows.group_by(level).agg(
        y.count().alias("\0n"), y.mean(), y.var().alias("\0var"), pl.col(own).first()
    )
    within = _within(levels)
    for name in own:
        if _misses(levels.select("\0n", Y, x=name)) < CLOSE * within:
            yield name, f"the target's mean over the rows of the same {level}", 1.0
    names = [n for n in rows.columns if n not in (level, Y, "\0row") and n not in constant]
    centred = rows.select(level, *((pl.col(n) - pl.col(n).mean().over(level)) for n in [*names, Y]))
    sums = centred.group_by(level).agg(
        y.count().alias("\0n"),
        (y**2).sum(),
        *((pl.col(n) ** 2).sum() for n in names),
        *((pl.col(n) * y).sum().alias(f"\0y*{n}") for n in names),
    )
    sums = sums.filter((pl.col("\0n") > 2) & (y > 1e-12))
    free = int(sums["\0n"].sum()) - 2 * sums.height  # rows that a line did not need to fit
    for name in names if free >= LEVELS else []:
        shared = sums[f"\0y*{name}"]
        line = (shared < 0) & (shared**2 > 0.999 * sums[name] * sums[Y])
        if line.sum() >= ALWAYS * sums.height:
            yield name, f"the target's mean over the other rows of the same {level}", 1.0


def _misses(levels: pl.DataFrame) -> float:
    """Return by how much the means of levels miss a line along `x`, squared, for each row.

    Infinite where the line tells less than half of what differs between levels.
    """
    levels = levels.drop_nulls("x").filter(pl.col("x").is_finite())
    x, y, size = (levels[name].cast(pl.Float64).to_numpy() for name in ("x", Y, "\0n"))
    if len(x) < LEVELS:
        return float("inf")
    x, y = x - (x @ size) / size.sum(), y - (y @ size) / size.sum()
    slope = (size * x) @ y / max(float((size * x) @ x), 1e-300)
    missed, all_ = float(size @ (y - slope * x) ** 2), float(size @ y**2)
    return missed / (len(x) - 2) if missed < 0.5 * all_ else float("inf")
