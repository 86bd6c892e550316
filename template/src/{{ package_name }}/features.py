"""Turn contract columns into the model's matrix; what is learnt from data is kept as plain data."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .contract import Contract
from .scorer import MICROSECONDS_A_DAY, CategoricalFeature, FeatureSpec, NumericFeature, Part

MIN_LEVEL_ROWS = 10
MAX_LEVELS = 1000
DATE_PARTS: tuple[Part, ...] = ("year", "month", "day", "weekday")
TIME_PARTS: tuple[Part, ...] = ("hour", "minute")


def fit(frame: pl.DataFrame, contract: Contract) -> FeatureSpec:
    """Learn the features from training rows only.

    Categories keep their levels of at least MIN_LEVEL_ROWS rows, the most frequent first; rarer
    and unseen ones share one code. Dates give their parts, where a part varies, and the days that
    have passed until the row's time; without a time column, until the end of the
    latest year of training, which the bundle holds.
    """
    numeric: list[NumericFeature] = []
    categorical: list[CategoricalFeature] = []
    for column in contract.features:
        name = column.name
        if column.kind == "category":
            counts = (
                frame.select(pl.col(name).fill_null("").alias("level"))
                .group_by("level")
                .len()
                .filter(pl.col("len") >= min(MIN_LEVEL_ROWS, max(1, frame.height // 100)))
                .sort("len", "level", descending=[True, False])
                .head(MAX_LEVELS)
            )
            categorical.append(CategoricalFeature(name, name, tuple(counts["level"])))
        elif column.kind in ("date", "timestamp"):
            parts = DATE_PARTS + (TIME_PARTS if column.kind == "timestamp" else ())
            for part in parts:
                if frame.select(_part(NumericFeature("", name, part)).n_unique()).item() > 1:
                    numeric.append(NumericFeature(f"{name}.{part}", name, part))
            numeric += _elapsed(frame, name, contract.time.name if contract.time else None)
        else:
            numeric.append(NumericFeature(name, name))
    return FeatureSpec(tuple(numeric), tuple(categorical))


def encode(spec: FeatureSpec, frame: pl.DataFrame) -> NDArray[np.float32]:
    """Return the matrix of shape (rows, features): numbers (NaN when missing), then codes."""
    columns = [_part(feature).cast(pl.Float32).fill_null(float("nan")) for feature in spec.numeric]
    for feature in spec.categorical:
        codes = {level: float(code) for code, level in enumerate(feature.levels)}
        level = pl.col(feature.column).fill_null("")
        other = float(len(codes))
        columns.append(
            level.replace_strict(codes, default=other, return_dtype=pl.Float32)
            if codes
            else pl.repeat(other, pl.len(), dtype=pl.Float32)
        )
    if not columns:
        return np.empty((frame.height, 0), dtype=np.float32)
    named = [column.alias(str(index)) for index, column in enumerate(columns)]
    return np.ascontiguousarray(frame.select(named).to_numpy(), dtype=np.float32)


def _elapsed(frame: pl.DataFrame, name: str, time: str | None) -> list[NumericFeature]:
    latest = frame.select(pl.col(name).dt.year().max()).item()
    if latest is None:
        return []
    # The end of a year: a bundle must not hold a date that may be somebody's own.
    reference = None if time else f"{min(latest + 1, 9999):04}-01-01"
    feature = NumericFeature(f"{name}.elapsed", name, "elapsed", time, reference)
    return [feature] if frame.select(_part(feature).n_unique()).item() > 1 else []


def _part(feature: NumericFeature) -> pl.Expr:
    column = pl.col(feature.column)
    if feature.part == "value":
        return column
    if feature.part == "elapsed":
        end = pl.col(feature.until) if feature.until else pl.lit(feature.reference_moment)
        passed = end.cast(pl.Datetime("us")) - column.cast(pl.Datetime("us"))
        return passed.dt.total_microseconds() / MICROSECONDS_A_DAY
    return {
        "year": column.dt.year(),
        "month": column.dt.month(),
        "day": column.dt.day(),
        "weekday": column.dt.weekday(),
        "hour": column.dt.hour(),
        "minute": column.dt.minute(),
    }[feature.part]
