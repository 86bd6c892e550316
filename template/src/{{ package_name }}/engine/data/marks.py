"""Values that hardly are what they say: marks such as -999, and levels in two spellings."""

import polars as pl

from ..formats import count, number

MIN_ROWS = 20  # fewer rows say nothing
SHOWN = 3  # pairs of levels that are named
FEW_VALUES = 10  # fewer different values are rather classes or marks


def marks(values: pl.Series) -> pl.Series:
    """Return repeated values at one end, far from all others, as -1 or 9999 for "unknown"."""
    if len(values) < MIN_ROWS:
        return values.clear()
    least, most = max(3, len(values) // 1000), len(values) // 2
    for end in (values.min(), values.max()):
        same, others = values.filter(values == end), values.filter(values != end)
        if not least <= len(same) <= most or others.n_unique() < FEW_VALUES:
            continue
        low, high = others.min(), others.max()
        gap = min(abs(end - low), abs(end - high))  # type: ignore[operator, arg-type]
        # Of counts that mostly are 0 the middle half has no width.
        spread = (others.quantile(0.75) - others.quantile(0.25)) or high - low  # type: ignore[operator]
        if gap > 3 * spread or (end < 0 <= low):  # type: ignore[operator]
            return same
    return values.clear()


def doubt(same: pl.Series) -> str:
    """Return what to look at where a value may be a mark."""
    return (
        f"{number(same[0])} in {count(len(same), 'row')}, far from all others: if it stands "
        "for a missing value, leave it empty in the source"
    )


def spelled(levels: pl.Series) -> str:
    """Return which levels differ in capitals or blanks alone; "" where none do."""
    known = levels.unique().sort()
    bare = known.str.strip_chars().str.to_lowercase()
    again = known.filter(bare.is_duplicated())
    if again.is_empty():
        return ""
    groups = again.to_frame("level").group_by(bare.filter(bare.is_duplicated()).alias("bare"))
    pairs = groups.agg(pl.col("level").sort()).sort("bare")["level"].to_list()
    named = [" and ".join(repr(level[:40]) for level in pair) for pair in pairs[:SHOWN]]
    more = f", as others do ({len(pairs) - SHOWN})" if len(pairs) > SHOWN else ""
    told = f"{'; '.join(named)} differ in capitals or blanks alone{more}"
    return f"{told}: they count as different; mend the source"
