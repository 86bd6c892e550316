"""Execute features: from checked columns to the model's matrix, one way for every row."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
from numpy.typing import NDArray

from . import task, threads
from .dialect import level
from .model.scorer import MICROSECONDS_A_DAY, FeatureSpec, NumericFeature
from .model.texts import Reader

FEW_VALUES = 50  # that one thread reads sooner than several are started


def encode(spec: FeatureSpec, frame: pl.DataFrame) -> NDArray[np.float32]:
    """Return the matrix of shape (rows, features): numbers (NaN when missing), then codes."""
    columns = [
        value_of(feature).cast(pl.Float32).fill_null(float("nan")) for feature in spec.numeric
    ]
    for feature in (*spec.categorical, *spec.texts):
        as_level = level if feature in spec.categorical else str
        codes = {as_level(text): float(code) for code, text in enumerate(feature.levels)}
        texts = pl.col(feature.column).fill_null("")
        other = float(len(feature.levels))
        columns.append(
            texts.replace_strict(codes, default=other, return_dtype=pl.Float32)
            if codes
            else pl.repeat(other, pl.len(), dtype=pl.Float32)
        )
    if not columns:
        return np.empty((frame.height, 0), dtype=np.float32)
    named = [column.alias(str(index)) for index, column in enumerate(columns)]
    return np.ascontiguousarray(frame.select(named).to_numpy(), dtype=np.float32)


def with_words(frame: pl.DataFrame, spec: FeatureSpec, models: Sequence[Reader]) -> pl.DataFrame:
    """Return rows with the numbers that are made of their texts."""
    columns = []
    for feature, words in zip(spec.words, models, strict=True):
        sums = _read(words, frame[feature.column].to_list())
        found = np.array(sums, dtype=np.float64).reshape(-1, len(feature.made))
        columns += [pl.Series(name, found[:, n]) for n, name in enumerate(feature.made)]
    return frame.with_columns(columns)


def _read(words: Reader, values: list[str | None]) -> list[list[float]]:
    """Return the numbers of each value; pretrained models leave Python while they compute them."""
    workers = min(threads.workers(0), max(1, len(values) // FEW_VALUES))
    size = max(1, -(-len(values) // workers))
    parts = [values[start : start + size] for start in range(0, len(values), size)]
    with ThreadPoolExecutor(workers) as pool:
        return [
            sums
            for part in pool.map(lambda part: list(map(words.sums, part)), parts)
            for sums in part
        ]


def moments(frame: pl.DataFrame, name: str) -> NDArray[np.int64]:
    """Return the time of each row in microseconds, shape (rows,)."""
    return frame[name].cast(pl.Datetime("us")).to_physical().to_numpy()


def told_by(feature: NumericFeature, frame: pl.DataFrame) -> bool:
    """Whether a part of a date, or its age, tells models of this task something of the rows."""
    seen = task.DATES_IN_PARTS or feature.part == "elapsed"
    return seen and frame.select(value_of(feature).n_unique()).item() > 1


def value_of(feature: NumericFeature) -> pl.Expr:
    """Return a number of a row: the column's value, a part of its date, or the days since it."""
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
