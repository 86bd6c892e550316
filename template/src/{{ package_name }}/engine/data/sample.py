"""Sample data for any contract: they satisfy it, and hold a signal that a model can learn.

What drives the target are main effects of the features, one bend and one product, so that boosted
trees find more than a linear model; `signal` makes the target of it, and adds noise. A column moves
it up or down where `observed` says so (`effect`), else one way or the other by chance.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .. import progress, storage, task
from ..errors import ProjectError
from ..formats import number
from ..kinds import READ
from ..settings import Data, Project
from . import contract as contracts
from . import signal, whole
from .contract import Column, Contract, definition_columns
from .spread import scaled
from .validation import DTYPES, parquet, parse

WEIGHTS = (1.0, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)  # of the first features
LEAST = 0.15  # of any other whose direction is known
VISITS = 6  # rows of one entity, a month apart
MONTHS = 24  # from the first row to the last, until END; longer where labels come late
ENDLESS = 10**6  # different values of a column without limits
END = "2026-01-01"

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


def run(project: Project, rows: int | None = None, seed: int | None = None) -> Path:
    """Write sample data to the place where config.yaml looks for them by default; return it."""
    config = project.config
    rows = config.data.sample_rows if rows is None else rows
    seed = config.training.seed if seed is None else seed
    # Folds lie behind each other, each after a gap in which labels are not known yet.
    months = max(MONTHS, 5 * project.facts.label_delay_days // 30)
    progress.tell(f"drawing {number(rows)} rows")
    contract, path = contracts.read(project.contract_path), project.path(Data().source)
    made = generate(contract, rows, seed, months, task.asked(project.facts))
    frame = whole.stored(made, contract, path.parent)
    storage.write_bytes(path, parquet(frame))
    return path


def generate(
    contract: Contract,
    rows: int,
    seed: int,
    months: int = MONTHS,
    told: Mapping[str, Any] | None = None,
) -> pl.DataFrame:
    """Return `rows` rows that satisfy `contract`, the same for the same seed everywhere.

    Their time column, if there is one, lies within the `months` before END; `told` is what the task
    asks of the plan.

    With an entity and a time column each entity has VISITS rows, a month apart, unless it is the
    key. A target with a definition is computed by it, from columns that are arranged to give the
    signal. ProjectError when the contract leaves no room for so many rows.
    """
    if rows < 1:
        raise ProjectError(f"sample data need at least one row, not {rows}")
    rng = np.random.Generator(np.random.PCG64(seed))
    fixed = _identities(contract, rows, rng, months)
    of_entity = np.arange(rows) // (VISITS if _is_panel(contract, rows) else 1)
    data: dict[str, pl.Series] = {}
    effects: list[tuple[Column, Floats]] = []
    for column in contract.columns:
        latent = rng.standard_normal(rows)[of_entity]  # a property of the entity
        if column.kind in ("number", "integer"):
            latent = 0.8 * latent + 0.6 * rng.standard_normal(rows)
        gaps = rng.random(rows) < column.missing_share
        if column.name in fixed:
            data[column.name] = fixed[column.name]
        elif column.role != "target" and column.kind not in READ:
            values, effect = _values(column, latent, rng, _start(months))
            series = pl.Series(column.name, values, dtype=DTYPES[column.kind], strict=False)
            data[column.name] = series if column.required else series.set(pl.Series(gaps), None)
            if column.role == "feature" and effect.std() > 0:
                effects.append((column, (effect - effect.mean()) / effect.std()))
    target = contract.target
    data = signal.shaped(contract, data, rng, told or {})
    latent = signal.latent(target, partial(_weighed, contract, effects, rows, rng), rng)
    if target.definition is None:
        data.setdefault(target.name, signal.outcome(target, latent))
    else:
        data |= _arranged(target, data, latent, set(fixed), rng)
        frame = pl.DataFrame(list(data.values()))
        outcome = frame.select(pl.sql_expr(target.definition).alias(target.name)).to_series()
        data[target.name] = parse(outcome, target)
    for column in (item for item in contract.columns if item.kind in READ):
        lines = whole.written(column, data[target.name], rng)
        gaps = np.zeros(rows, bool) if column.required else rng.random(rows) < column.missing_share
        data[column.name] = lines.set(pl.Series(gaps), None)
    return pl.DataFrame([data[column.name] for column in contract.columns])


def _is_panel(contract: Contract, rows: int) -> bool:
    """Whether entities come back month after month."""
    entity = contract.entity
    if entity is None or contract.time is None or contract.primary_key == (entity.name,):
        return False
    return _room(entity) * VISITS >= rows


def _start(months: int) -> np.datetime64:
    return np.datetime64(END, "M") - np.timedelta64(months, "M")


def _identities(
    contract: Contract, rows: int, rng: np.random.Generator, months: int
) -> dict[str, pl.Series]:
    """Return the entity and time columns, and all that must be unique."""
    number = np.arange(rows)
    places: dict[str, Whole] = {}  # column -> which of its possible values each row has
    panel, entity, time = _is_panel(contract, rows), contract.entity, contract.time
    if entity is not None:
        places[entity.name] = number // VISITS if panel else number % _room(entity)
    if time is not None:
        first = rng.integers(0, months - VISITS + 1, rows)[number // VISITS]
        any_day = rng.integers(0, 30 * months, rows)
        places[time.name] = first + number % VISITS if panel else any_day
    if not panel or not places.keys() <= set(contract.primary_key):
        rest = number
        for column in sorted(map(contract.column, contract.primary_key), key=_room):
            places[column.name], rest = rest % _room(column), rest // _room(column)
        if contract.primary_key and rest.any():
            key = ", ".join(contract.primary_key)
            raise ProjectError(f"the key {key} has too few values for {rows} rows: ask for fewer")
    for column in contract.columns:
        if column.unique and column.role != "target":
            places[column.name] = number
            if _room(column) < rows:
                raise ProjectError(f"column {column.name!r} has no {rows} different values")
    return {
        name: _nth(
            contract.column(name), place, panel and contract.column(name) is time, _start(months)
        )
        for name, place in places.items()
    }


def _room(column: Column) -> int:
    """Return how many different values a column may have."""
    if column.kind == "boolean" or column.levels:
        return len(column.levels) or 2
    if column.kind == "integer" and column.minimum is not None and column.maximum is not None:
        return int(np.floor(column.maximum) - np.ceil(column.minimum)) + 1
    return ENDLESS


def _nth(column: Column, place: Whole, monthly: bool, start: np.datetime64) -> pl.Series:
    """Return the place-th possible value of a column; different places, different values."""
    low, high = column.minimum, column.maximum
    values: pl.Series
    if column.kind == "boolean":
        values = pl.Series(place == 1)
    elif column.kind == "category":
        names = column.levels or [f"{column.name}_{n:06d}" for n in range(int(place.max()) + 1)]
        values = pl.Series([names[n] for n in place], dtype=pl.String)
    elif column.kind in ("date", "timestamp") and monthly:
        values = pl.Series((start + place.astype("timedelta64[M]")).astype("datetime64[us]"))
    elif column.kind in ("date", "timestamp"):  # another minute of each day
        values = pl.Series(start.astype("datetime64[us]") + place * np.timedelta64(1440 + 37, "m"))
    elif low is not None and high is not None and column.kind == "number":
        values = pl.Series(low + (high - low) * place / ENDLESS)
    elif low is None and high is not None:
        values = pl.Series(np.floor(high) - place)
    else:
        values = pl.Series(np.ceil(low or 0) + place)
    return values.cast(DTYPES[column.kind]).alias(column.name)


def _values(
    column: Column, latent: Floats, rng: np.random.Generator, start: np.datetime64
) -> tuple[pl.Series, Floats]:
    """Return a column's values, and the effect of each on the target before it is weighed.

    `latent` is standard normal; every value is a monotone function of it.
    """
    if column.kind in ("number", "integer"):
        values = scaled(column, latent)
        return pl.Series(values), latent * (np.ptp(values) > 0)
    if column.kind == "boolean":
        truth = latent < NormalDist().inv_cdf(min(max(column.mean or 0.5, 0.01), 0.99))
        return pl.Series(truth), truth.astype(float)
    if column.kind == "category":
        levels = column.levels or [f"{column.name}_{number:02d}" for number in range(30)]
        shares = np.cumsum(1 / np.arange(1, len(levels) + 1) ** 0.7)
        limits = [NormalDist().inv_cdf(share) for share in shares[:-1] / shares[-1]]
        codes = np.searchsorted(limits, latent)
        effects = rng.standard_normal(len(levels))
        return (
            pl.Series(np.array(levels, dtype=object)[codes], dtype=pl.String),
            codes.astype(np.float64) if column.effect else effects[codes],
        )
    minutes = (np.abs(latent) * 200 * 1440).astype(np.int64)
    moments = start.astype("datetime64[us]") - minutes * np.timedelta64(1, "m")
    return pl.Series(moments), 0 * latent


def _score(effects: list[tuple[Column, Floats]], rows: int, rng: np.random.Generator) -> Floats:
    """Weigh the effects, of which two form a product; mean 0 and spread 1, at most 4."""
    known, drawn = {"up": 1.0, "down": -1.0}, rng.choice([-1.0, 1.0], len(WEIGHTS))
    signs = [known.get(c.effect, s) for s, (c, _) in zip(drawn, effects, strict=False)]
    terms = [w * s * effect for w, s, (_, effect) in zip(WEIGHTS, signs, effects, strict=False)]
    terms += [LEAST * known[c.effect] * e for c, e in effects[len(WEIGHTS) :] if c.effect]
    numeric = [(c, effect) for c, effect in effects if c.kind in ("number", "integer")]
    column, bent = min(numeric, key=lambda item: bool(item[0].effect), default=(None, None))
    if column is not None and bent is not None:
        # Lowest or highest in the middle, or, where its direction is known, steeper at one end.
        way = known.get(column.effect, 0.0)
        terms.append(1.2 * np.maximum(way * bent, 0) if way else 0.6 * (bent**2 - 1))
    pair = [effect for _, effect in effects if effect is not bent][:2]
    terms += [0.8 * pair[0] * pair[1]] if len(pair) == 2 else []
    score = np.sum(terms, axis=0) if terms else np.zeros(rows)
    clipped: Floats = np.clip((score - score.mean()) / (score.std() or 1), -4, 4)
    return clipped


def _weighed(
    contract: Contract, effects: list[tuple[Column, Floats]], rows: int, rng: np.random.Generator
) -> Floats:
    """Return what drives the target, mean 0 and spread 1."""
    return whole.weighed(contract, _score(effects, rows, rng), rng)


def _arranged(
    target: Column,
    data: dict[str, pl.Series],
    latent: Floats,
    fixed: set[str],
    rng: np.random.Generator,
) -> dict[str, pl.Series]:
    """Reorder the rows of the definition's columns so that the target follows `latent`."""
    used = definition_columns(str(target.definition))
    if fixed & set(used):
        return {}
    table = pl.DataFrame([data[name] for name in used])
    outcome = table.select(pl.sql_expr(str(target.definition))).to_series()
    chosen = signal.arrange(target, outcome, latent, rng)
    return {series.name: series for series in table[chosen].get_columns()}
