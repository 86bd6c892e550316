"""Features that look back: what a team declares, and the state of a table that answers them."""

import datetime as dt
import difflib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from . import examples, progress, storage, task
from .data import contract as contracts
from .data import pseudonyms, validation
from .data import target as targets
from .data.contract import WITHHELD, Column, Contract
from .errors import ProjectError, told
from .features import encode, with_words
from .model import registry
from .model.history import (
    NO_TIME,
    Events,
    Keys,
    Lag,
    Moments,
    Past,
    State,
    key_of,
    read,
    read_of,
    write,
)
from .model.plain import Matrix
from .model.reach import Warnings
from .model.scorer import FeatureSpec, NumericFeature, Scorer
from .model.seasons import Lookback
from .settings import Project

VALID, REJECTED = "data/processed/valid.parquet", "data/quarantine/rejected.parquet"


def looking_back(features: Sequence[Any]) -> list[Past]:
    """Return the declared features that need earlier rows."""
    return [feature for feature in features if isinstance(feature, Past)]


def declared(features: Sequence[Any], project: Project, contract: Contract) -> tuple[Lookback, ...]:
    """Return what a team declares, with key, time and delay; ProjectError for the first fault.

    Before it come what the task needs, and the earlier targets that every model of it sees.
    """
    of = contract.target.name
    back = task.looks_back(project.facts)
    seen = [Lag(f"{of}.{n}", of=of, back=n) for n in range(1, back + 1)]
    every = [*seen, *looking_back(features)]
    own = examples.lookbacks(project, contract)
    return (*own, *(_declared(item, project, contract) for item in every))


def prepared(
    project: Project, contract: Contract, frame: pl.DataFrame, features: Sequence[Any]
) -> tuple[pl.DataFrame, State | None]:
    """Return rows to learn from with what looks back, and the state of the table that knows it."""
    past = declared(features, project, contract)
    state = state_of(past, contract, events(project, contract)) if past else None
    return looked_up(examples.made(project, contract, frame), state), state


def _declared(feature: Past, project: Project, contract: Contract) -> Any:
    try:
        msgspec.convert(msgspec.structs.asdict(feature), type(feature))
    except msgspec.ValidationError as error:
        raise _refused(feature, told(error, type(feature))) from None
    if problem := feature.problem():
        raise _refused(feature, problem)
    if contract.time is None:
        raise _refused(
            feature, "no column of the contract has the role time, which says what is earlier"
        )
    by = feature.by or (contract.entity.name if contract.entity else "")
    if not by:
        raise _refused(
            feature, "no column of the contract has the role entity: name a column with by"
        )
    if (key := _column(feature, contract, by)) and (
        key.role not in ("entity", "feature") or key.kind not in ("category", "integer")
    ):
        raise _refused(
            feature, f"by is {by!r}, which is no entity or feature of kind string or integer"
        )
    delay = _delay(feature, project, contract)
    return msgspec.structs.replace(feature, by=by, on=contract.time.name, delay_days=delay)


def _delay(feature: Past, project: Project, contract: Contract) -> float:
    """Return the days after which its column is known: that of a feature is at once."""
    given, known = feature.delay_days, float(project.facts.label_delay_days)
    if not feature.column:
        return given or 0.0
    column = _column(feature, contract, feature.column)
    if column.role in ("entity", "time") or (
        column.role != "target" and column.kind not in ("number", "integer", "boolean")
    ):
        raise _refused(feature, f"{column.name!r} is no number")
    if column.role == "feature":
        return given or 0.0
    if column.role == "target" and any(o.kind == "numbers" for o in task.OUTPUTS):
        raise _refused(feature, f"the target {column.name!r} has several classes and is no number")
    if column.role == "target" and given is not None and given < known:
        raise _refused(
            feature,
            f"delay_days is {given:g}, but a target is known after {known:g} days "
            "(label_delay_days of the plan)",
        )
    return known if given is None else given


def _column(feature: Past, contract: Contract, name: str) -> Column:
    columns = {column.name: column for column in contract.columns}
    if name not in columns:
        near = difflib.get_close_matches(name, columns, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise _refused(feature, f"the contract has no column {name!r}{hint}")
    return columns[name]


def _refused(feature: Past, problem: str) -> ProjectError:
    return ProjectError(f"features.py, {type(feature).__name__} {feature.name!r}: {problem}")


def added(spec: FeatureSpec, features: tuple[Lookback, ...]) -> FeatureSpec:
    """Return a spec with these features as numbers, before those that say for whom and when."""
    if not features:
        return spec
    numbers = [NumericFeature(feature.name, feature.name) for feature in features]
    place = spec.measured
    numeric = (*spec.numeric[:place], *numbers, *spec.numeric[place:])
    return msgspec.structs.replace(spec, numeric=numeric, history=features)


def known(features: Sequence[Any], spec: FeatureSpec) -> list[Any]:
    """Return the declared features; those that look back with their key, time and delay."""
    return [*spec.history, *(item for item in features if not isinstance(item, Past))]


def events(project: Project, contract: Contract) -> pl.DataFrame:
    """Return the rows that history is made of: the valid ones, and good ones without a target yet.

    Rows that only their missing target keeps from training are the latest: a service that did not
    count them would look back less far than training does. Where every model sees earlier targets
    one by one, they are none: they say that nothing was taken, or nothing that was liked.
    """
    frame = validation.stored(project, VALID, "run `ml validate`", contract)
    if task.looks_back(project.facts) or not project.path(REJECTED).is_file():
        return frame
    rejected = validation.stored(project, REJECTED, "run `ml validate`")
    only = pl.lit([f"{contract.target.name}: missing"])
    waiting = rejected.filter(pl.col("_rules") == only).drop("_rules")
    if waiting.is_empty():
        return frame
    rows = validation.apply(contract, waiting, labelled=False).valid
    if key := list(contract.primary_key):  # a row may have got its target since
        rows = rows.unique(key, keep="first", maintain_order=True).join(frame, on=key, how="anti")
    return pl.concat([frame, rows])


def state_of(features: tuple[Lookback, ...], contract: Contract, rows: pl.DataFrame) -> State:
    """Return the state that the rows give; their order changes nothing."""
    found, secret = {}, ""
    for by, columns in read_of(features):
        if contract.column(by).pseudonym:
            secret = pseudonyms.made_by(rows[by]) or ""
        progress.tell(f"events by {by}")
        on = next(feature.on for feature in features if feature.by == by)
        numbers = {name: _numbers(rows, contract.column(name)) for name in columns}
        table = pl.DataFrame(
            {"key": keys(rows[by]), "time": times(rows[on])}
            | {f"value {place}": values for place, values in enumerate(numbers.values())}
        )
        table = table.filter((pl.col("key") != 0) & (pl.col("time") != NO_TIME))
        table = table.sort(table.columns)
        different, counts = np.unique(table["key"].to_numpy(), return_counts=True)
        values = {name: table[f"value {place}"].to_numpy() for place, name in enumerate(columns)}
        found[by] = Events(different, counts.astype(np.int64), table["time"].to_numpy(), values)
    return State(features, found, secret=secret)


def keys(values: pl.Series) -> Keys:
    """Return the number of each row's key, shape (rows,)."""
    if values.is_empty():
        return np.empty(0, np.uint64)
    texts = values.cast(pl.String).fill_null("")
    different = texts.unique()
    numbers = pl.Series(list(map(key_of, different)), dtype=pl.UInt64)
    found = texts.replace_strict(different, numbers, return_dtype=pl.UInt64)
    return found.to_numpy()


def times(values: pl.Series) -> Moments:
    """Return the time of each row in microseconds, NO_TIME where missing, shape (rows,)."""
    return values.cast(pl.Datetime("us")).to_physical().fill_null(NO_TIME).to_numpy()


def _numbers(rows: pl.DataFrame, column: Column) -> NDArray[np.float64]:
    values = targets.outcome(rows, column) if column.role == "target" else rows[column.name]
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def looked_up(frame: pl.DataFrame, state: State | None) -> pl.DataFrame:
    """Return the rows with the features that look back, as the state knows them."""
    if state is None:
        return frame
    asked = {by: keys(frame[by]) for by in state.events}
    withheld = frame[WITHHELD].to_numpy() if WITHHELD in frame.columns else None
    found = state.ask(asked, times(frame[state.features[0].on]), withheld)
    names = [feature.name for feature in state.features]
    return frame.with_columns(pl.Series(n, found[:, place]) for place, n in enumerate(names))


def completed(scorer: Scorer, frame: pl.DataFrame) -> pl.DataFrame:
    """Return typed rows with what a bundle adds to them: of earlier rows, and of texts."""
    return with_words(looked_up(frame, scorer.state), scorer.spec, scorer.words)


def matrix_for(scorer: Scorer, frame: pl.DataFrame) -> Matrix:
    """Return the model's matrix of typed rows, shape (rows, features)."""
    return encode(scorer.spec, completed(scorer, frame))


def earlier_of(scorer: Scorer, frame: pl.DataFrame) -> dict[str, NDArray[Any]]:
    """Return what typed rows look back to beyond their features, as the graph asks for it."""
    if scorer.state is None or not scorer.looks_further:
        return {}
    return scorer.earlier(*_asked(scorer.state, frame))


def passed_of(scorer: Scorer, frame: pl.DataFrame) -> Warnings:
    """Return warnings of typed rows whose step is known already, which no forecast is of."""
    if scorer.state is None or not scorer.series:
        return []
    return scorer.passed(*_asked(scorer.state, frame))


def _asked(state: State, frame: pl.DataFrame) -> tuple[dict[str, Keys], Moments]:
    asked = {by: keys(frame[by]) for by in state.events}
    return asked, times(frame[state.features[0].on])


def run(project: Project) -> dict[str, Any]:
    """Build the state of the champion, and of the newest version, from the validated table.

    ProjectError when no version has a feature that looks back.
    """
    versions = dict.fromkeys(filter(None, (registry.read(project).champion,)))
    versions |= dict.fromkeys([registry.newest(project)])
    built: dict[str, Any] = {}
    lives: list[dict[str, Any]] = []
    for version in versions:
        folder = registry.folder(project, version)
        spec = storage.read_json(folder / "features.json", FeatureSpec)
        if spec.history:
            built[version] = msgspec.to_builtins(build(project, folder, spec.history))
            lives = lives or read(folder, spec.history).lives()
    if not built:
        raise ProjectError(
            "no feature looks back, so there is no state to build: declare one in FEATURES of "
            "features.py (Lag, Window, DaysSince), then `ml run`"
        )
    return {"versions": built, "lives": lives}


def build(project: Project, folder: Path, features: tuple[Lookback, ...]) -> Any:
    """Write the state of a bundle from the validated table; return where it comes from."""
    agreed = contracts.read(folder / "contract.odcs.yaml")
    state = state_of(features, agreed, events(project, agreed))
    return write(folder, state, dt.datetime.now(dt.UTC))


def useful(
    trained: dict[str, Any], scorer: Scorer, rows: pl.DataFrame, importance: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return what features that look back bring, which is their importance, and cost in the state.

    The time is that of one among `rows`; `trained` is the report of the training.
    """
    if not (state := scorer.state):
        return []
    declared = {item["feature"]: item for item in trained["made"] if "by" in item}
    gains = {item["feature"]: item for item in importance}
    found = []
    for feature in state.features:
        alone = State((feature,), {feature.by: state.events[feature.by]})
        started = time.perf_counter()
        looked_up(rows, alone)
        taken = (time.perf_counter() - started) / rows.height * 1e6
        gain = gains[feature.name]
        told = {"gain": gain["importance"], "std": gain["std"], "microseconds": taken}
        found.append(declared[feature.name] | told)
    return found
