"""Which features the model sees; what is learnt from training rows is kept as plain data."""

from collections.abc import Sequence

import polars as pl

from .engine.data.contract import READ, Column, Contract
from .engine.errors import ProjectError
from .engine.features import told_by
from .engine.model.calendar import Holiday  # noqa: F401
from .engine.model.history import DaysSince, Lag, Past, Window  # noqa: F401
from .engine.model.learners import Sentences, SentenceTopics, Topics, Words  # noqa: F401
from .engine.model.lookups import Frequency, Hashed, OneHot, Ordinal, Rare, TargetEncoding  # noqa: F401
from .engine.model.operators import (  # noqa: F401
    PCA,
    Bin,
    Clip,
    Cyclical,
    Difference,
    Fill,
    Log1p,
    MissingFlag,
    Operator,
    Polynomial,
    Power,
    Product,
    Ratio,
    Scale,
    Winsorise,
)
from .engine.model.output import Context
from .engine.model.scorer import CategoricalFeature, FeatureSpec, NumericFeature, Part
from .engine.model.selection import Selection

# Features made of columns, one a line, alike in training and service; nothing else has to change.
# What each operator does stands in its class; callers have to send what none of them can make.
FEATURES: Sequence[Operator | Past] = [
    # Ratio("debt_ratio", of=("debt", "income")),
    # Window("orders_28d", days=28),
]
SELECTION = Selection("none", keep=30)

MIN_LEVEL_ROWS = 10
MAX_LEVELS = 1000
DATE_PARTS: tuple[Part, ...] = ("year", "month", "day", "weekday")
TIME_PARTS: tuple[Part, ...] = ("hour", "minute")


def fit(frame: pl.DataFrame, contract: Contract, context: Sequence[Context] = ()) -> FeatureSpec:
    """Learn the features from training rows only.

    Categories keep their levels of at least MIN_LEVEL_ROWS rows, the most frequent first; rarer
    and unseen ones share one code. Dates give their parts, where a part varies or FEATURES use it,
    and the days that have passed until the row's time; without a time column, until the end of the
    latest year of training, which the bundle holds. `context` names what says for whom and when a
    row is: "entity", or a part of the row's time.
    """
    used = {source for operator in FEATURES for source in operator.sources}
    numeric: list[NumericFeature] = []
    categorical: list[CategoricalFeature] = []
    texts: list[CategoricalFeature] = []
    for column in contract.features:
        name = column.name
        if column.kind in READ:
            written = frame[name].drop_nulls().unique().sort()
            texts.append(CategoricalFeature(name, name, tuple(written)))
        elif column.kind == "category":
            categorical.append(CategoricalFeature(name, name, _levels(frame[name])))
        elif column.kind in ("date", "timestamp"):
            for part in DATE_PARTS + (TIME_PARTS if column.kind == "timestamp" else ()):
                feature = NumericFeature(f"{name}.{part}", name, part)
                if feature.name in used or told_by(feature, frame):
                    numeric.append(feature)
            numeric += _elapsed(frame, name, contract.time.name if contract.time else None)
        else:
            numeric.append(NumericFeature(name, name))
    named = []
    for what, of in context_columns(contract, context):
        named.append(f"{of.name}.{what}")
        if what == "entity":
            categorical.append(CategoricalFeature(named[-1], of.name, _levels(frame[of.name])))
        else:
            numeric.append(NumericFeature(named[-1], of.name, what))
    return FeatureSpec(tuple(numeric), tuple(categorical), tuple(named), texts=tuple(texts))


def context_columns(contract: Contract, context: Sequence[Context]) -> list[tuple[Context, Column]]:
    """Return the column that each `context` comes from; ProjectError where there is none."""
    found = []
    for what in context:
        of = contract.entity if what == "entity" else contract.time
        if of is None:
            raise ProjectError(
                f"models tell rows apart by {what}, which no column of the contract has as its role"
            )
        needed = {"entity": "category", "hour": "timestamp"}.get(what, of.kind)
        if of.kind != needed:
            kind = "timestamp, or override MOD-05" if what == "hour" else "string"
            told = f"models tell rows apart by {what}, but {of.name} is {of.kind}: the contract"
            raise ProjectError(f"{told} needs logicalType {kind}")
        found.append((what, of))
    return found


def _levels(values: pl.Series) -> tuple[str, ...]:
    counts = values.fill_null("").alias("level").value_counts(name="len")
    least = min(MIN_LEVEL_ROWS, max(1, len(values) // 100))
    frequent = counts.filter(pl.col("len") >= least).sort("len", "level", descending=[True, False])
    return tuple(frequent["level"].head(MAX_LEVELS))


def _elapsed(frame: pl.DataFrame, name: str, time: str | None) -> list[NumericFeature]:
    latest = frame.select(pl.col(name).dt.year().max()).item()
    if latest is None:
        return []
    # The end of a year: a bundle must not hold a date that may be somebody's own.
    reference = None if time else f"{min(latest + 1, 9999):04}-01-01"
    feature = NumericFeature(f"{name}.elapsed", name, "elapsed", time, reference)
    return [feature] if told_by(feature, frame) else []
