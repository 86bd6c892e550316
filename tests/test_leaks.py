"""Each leak that is planted is caught, for each task: in a column, between parts, in a fold."""

from collections.abc import Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers.package import load, sources

ROWS = 2000
TARGETS: dict[str, dict[str, Any]] = {
    "binary": {"kind": "boolean", "positive": "true"},
    "regression": {"kind": "number"},
    "forecasting": {"kind": "number"},
    "multiclass": {"kind": "category", "levels": ("low", "mid", "high")},
    "multilabel": {"kind": "category", "labels": ("low", "mid", "high")},
    "anomaly": {"kind": "boolean", "positive": "true"},
    "clustering": {"kind": "category"},
    "recommendation": {"kind": "integer"},
}
HOUR = np.timedelta64(1, "h")


@pytest.fixture(scope="module", params=TARGETS)
def of(request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    """Return the modules of a task with honest rows, their contract and their target."""
    task = request.param
    name = f"leaks_in_{task}"
    load(name, sources(task))
    parts = ["splitting", "features", "engine.task", "engine.data.leakage", "engine.data.target"]
    parts += [f"engine.model.{part}" for part in ("derived", "history", "scorer", "selection")]
    modules = {part.split(".")[-1]: import_module(f"{name}.{part}") for part in parts}
    contract = import_module(f"{name}.engine.data.contract")
    column = contract.Column
    columns = (
        column(name="who", kind="category", role="entity"),
        column(name="at", kind="timestamp", role="time"),
        *(column(name=name, kind="number", role="feature") for name in ("a", "b", "c")),
        column(name="y", role="target", **TARGETS[task]),
    )
    agreed = contract.Contract(name="rows", version="1", columns=columns)
    frame = rows(task)
    told = modules["target"].outcome(frame, agreed.target)
    y = modules["target"].values(
        frame.drop_nulls("y") if task != "anomaly" else frame, agreed.target
    )
    yield SimpleNamespace(frame=frame, contract=agreed, told=told, y=y, kind=task, **modules)


def rows(task: str) -> pl.DataFrame:
    """Return rows of 400 entities with a target that two columns tell in part, and some gaps."""
    rng = np.random.default_rng(4)
    a, b, c = rng.normal(size=(3, ROWS))
    latent = a + b + rng.logistic(size=ROWS)
    y: Any = {
        "binary": latent > 1,
        "regression": np.round(50 + 10 * latent, 1),
        "forecasting": np.round(50 + 10 * latent, 1),
        "multiclass": np.array(["low", "mid", "high"])[np.digitize(latent, [-1, 1.5])],
        "multilabel": np.array(["low", "low, mid", "high"])[np.digitize(latent, [-1, 1.5])],
        "anomaly": latent > np.quantile(latent, 0.95),
        "clustering": np.array(["low", "mid", "high"])[np.digitize(latent, [-1, 1.5])],
        "recommendation": 5 + np.digitize(latent, [-1, 1.5]),
    }[task]
    known = rng.random(ROWS) > (0.4 if task == "anomaly" else 0.1)
    at = np.datetime64("2026-01-01", "us") + np.sort(rng.integers(0, 3000, ROWS)) * HOUR
    who = pl.Series([f"w{number}" for number in rng.integers(0, 400, ROWS)])
    frame = pl.DataFrame({"who": who, "at": at, "a": a, "b": b, "c": c, "y": y})
    return frame.with_columns(pl.when(pl.Series(known)).then(pl.col("y")))


def planted(frame: pl.DataFrame, told: pl.Series) -> dict[str, pl.Series]:
    """Return columns that nobody has when the prediction is made."""
    rng = np.random.default_rng(6)
    noise, hours = pl.Series(rng.normal(size=ROWS)), pl.Series(rng.integers(1, 90, ROWS))
    known = told.cast(pl.Float64).is_not_nan() & told.is_not_null()
    copied = told.cast(pl.Float64) * 3 + 1
    moment = frame["at"] + hours * 3_600_000_000 * pl.Series([1]).cast(pl.Duration("us"))[0]
    return {
        "a copy of the target": copied,
        "a time after the row": moment,
        "written down with the outcome": noise.zip_with(
            known, pl.Series([None] * ROWS, dtype=pl.Float64)
        ),
    }


def suspected(of: SimpleNamespace, frame: pl.DataFrame) -> set[str]:
    names = [name for name in frame.columns if name not in ("who", "at", "y")]
    found = of.leakage.suspects(frame, of.told, names, "at", outcome="y")
    return {item.column for item in found}


def test_a_column_that_knows_the_outcome_is_suspected_and_no_other(of: SimpleNamespace) -> None:
    assert suspected(of, of.frame) == set()
    for leak, column in planted(of.frame, of.told).items():
        assert suspected(of, of.frame.with_columns(column.alias("x"))) == {"x"}, leak


def means(who: pl.Series, y: pl.Series) -> dict[str, pl.Series]:
    """Return means of the target by entity, as they are made on all rows at once."""
    y = y.cast(pl.Float64).fill_nan(None)
    table, sums = pl.DataFrame({"who": who, "y": y}), pl.col("y").sum().over("who")
    rows = pl.col("y").count().over("who")
    made = table.select(
        plain=sums / rows,
        smoothed=(sums + 10 * y.mean()) / (rows + 10),
        rounded=(sums / rows).round(2),
        others=(sums - pl.col("y")) / (rows - 1),
    )
    return {name: made[name].fill_nan(None) for name in made.columns}


def test_a_mean_of_the_target_over_all_rows_is_suspected(of: SimpleNamespace) -> None:
    """Encoding by levels of few rows, done before the split; an honest column by level is none."""
    rng = np.random.default_rng(8)
    numbers = of.target.numbers(of.told)
    assert bool(numbers) != (of.kind in ("clustering", "recommendation"))
    frame = of.frame.with_columns(size=of.frame["who"].hash(1) % 50)
    assert suspected(of, frame) == set()
    for y in numbers[-1:]:
        for way, column in means(frame["who"], y).items():
            assert suspected(of, frame.with_columns(x=column)) == {"x"}, way
        earlier = means(frame["who"], y.shuffle(1))["plain"]  # of other rows of the same levels
        assert suspected(of, frame.with_columns(x=earlier)) == set()
        noisy = means(frame["who"], y)["plain"] + 3 * y.std() * pl.Series(rng.normal(size=ROWS))
        assert suspected(of, frame.with_columns(x=noisy)) == set()


EVENTS = {"binary": 1, "anomaly": 1, "multiclass": 2, "multilabel": 4}


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_what_is_written_down_after_the_event_is_suspected(
    of: SimpleNamespace, share: float
) -> None:
    """Of half of the events only, too; where some rows have it without the event, it is honest."""
    if of.kind not in EVENTS:
        pytest.skip("no event")
    rng = np.random.default_rng(9)
    event = (of.told == EVENTS[of.kind]).fill_null(False) & pl.Series(rng.random(ROWS) < share)
    reasons = pl.Series(rng.choice(["price", "moved"], ROWS))
    columns = {"reason": reasons.zip_with(event, pl.Series([None] * ROWS, dtype=pl.String))}
    if of.kind == "binary":
        columns["refund"] = pl.Series(rng.gamma(2, 9, ROWS)) * event
        columns["state"] = reasons.zip_with(~event, pl.Series(["gone"] * ROWS))
    for name, column in columns.items():
        assert suspected(of, of.frame.with_columns(x=column)) == {"x"}, name
        honest = column.zip_with(pl.Series(rng.random(ROWS) > 0.15), column.shuffle(2))
        assert suspected(of, of.frame.with_columns(x=honest)) == set(), name


def test_a_large_kind_of_rows_without_the_event_is_honest(of: SimpleNamespace) -> None:
    """As payments in a shop that no fraud is made with."""
    if of.kind not in EVENTS:
        pytest.skip("no event")
    rng = np.random.default_rng(9)
    event = (of.told == EVENTS[of.kind]).fill_null(True)
    rest = pl.Series(rng.choice(["transfer", "cash"], ROWS))
    paid = ~event & pl.Series(rng.random(ROWS) < 0.7)
    column = pl.Series(["payment"] * ROWS).zip_with(paid, rest)
    assert suspected(of, of.frame.with_columns(x=column)) == set()


def test_a_number_of_labels_is_suspected(of: SimpleNamespace) -> None:
    if of.kind != "multilabel":
        pytest.skip("no labels")
    count = of.told.bitwise_count_ones()
    assert suspected(of, of.frame.with_columns(x=count + 1)) == {"x"}


def parts(of: SimpleNamespace, scheme: str, frame: pl.DataFrame | None = None) -> Any:
    frame = of.frame if frame is None else frame
    frame = frame if of.kind == "anomaly" else frame.drop_nulls("y")
    y = of.target.values(frame, of.contract.target)
    options = {"test_share": 0.2, "folds": 3, "embargo_days": 2, "seed": 1}
    return frame, of.splitting.split(frame, y, of.contract, scheme, **options)


def test_no_entity_is_on_both_sides(of: SimpleNamespace) -> None:
    frame, made = parts(of, of.task.BY_ENTITY)
    sides = [(made.development, made.test)]
    sides += [(made.development[one], made.development[two]) for one, two in made.folds]
    for one, two in sides:
        assert len(two) and not set(frame["who"][one]) & set(frame["who"][two])
    frame, made = parts(of, of.task.BY_CHANCE)  # which does not keep them apart
    assert set(frame["who"][made.development]) & set(frame["who"][made.test])


def test_sixty_rows_can_be_split(of: SimpleNamespace) -> None:
    """The plan says what so few cannot show; the split does not forbid to look."""
    if of.kind == "recommendation":
        pytest.skip("a list needs users and items")
    frame = of.frame if of.kind == "anomaly" else of.frame.drop_nulls("y")
    frame, made = parts(of, of.task.BY_CHANCE, frame.head(60))
    assert len(made.development) + len(made.test) == 60 and len(made.folds) == 3


def test_no_row_is_learnt_from_whose_outcome_was_not_known_yet(of: SimpleNamespace) -> None:
    frame, made = parts(of, "time")
    at, embargo = frame["at"].to_numpy(), np.timedelta64(2, "D")
    sides = [(made.development, made.test)]
    sides += [(made.development[one], made.development[two]) for one, two in made.folds]
    for one, two in sides:
        assert at[one].max() < at[two].min() - embargo


def test_copies_on_both_sides_are_told(of: SimpleNamespace) -> None:
    said = "of the test rows equal a development row in every feature and target"
    assert said not in " ".join(parts(of, of.task.BY_CHANCE)[1].notes)
    for scheme in (of.task.BY_CHANCE, "time"):
        copies = of.frame.head(400).with_columns(of.frame["at"].tail(400).alias("at"))
        told = said in " ".join(parts(of, scheme, pl.concat([of.frame, copies]))[1].notes)
        assert told != of.task.HAS_PAST, scheme  # a row with a history is no copy


def test_means_of_the_target_are_those_of_other_folds(of: SimpleNamespace) -> None:
    """Of pure noise a mean by level tells nothing, unless a row's own target is in it."""
    frame = of.frame.drop_nulls("y")
    y, rng = of.target.values(frame, of.contract.target), np.random.default_rng(3)
    levels = tuple(map(str, range(300)))
    spec = of.scorer.FeatureSpec((), (of.scorer.CategoricalFeature("shop", "shop", levels),))
    x = rng.integers(0, 300, (len(y), 1)).astype(np.float32)
    mean = of.features.TargetEncoding("mean", of="shop", smoothing=5)
    recipe = of.derived.Recipe([mean], of.selection.Selection(), 0)
    if of.derived.goals(y) is None:  # where nothing is learnt of it, not by features either
        with pytest.raises(Exception, match="it needs a target"):
            recipe.learn(x, y, None, spec)
        return
    learnt, values = recipe.learn(x, y, None, spec)
    if of.kind == "recommendation":  # means of the numbers of items would name items: none is made
        assert np.ptp(values["mean"]) == 0 and len(values["mean"]) == len(y)
        return
    served = dict(zip(learnt.spec_of("trees").names, learnt.matrix(x, "trees").T, strict=True))
    for name, trained in zip((n for n in served if n != "shop"), values["mean"].T, strict=True):
        naive, honest = (
            max(abs(np.corrcoef(column, goal)[0, 1]) for goal in of.derived.goals(y).T)
            for column in (served[name], trained)
        )
        assert naive > 0.15 and honest < 0.08, (name, naive, honest)


@pytest.mark.parametrize("of", ["recommendation"], indirect=True)
def test_no_history_holds_an_item_of_the_future(of: SimpleNamespace) -> None:
    asked = import_module("leaks_in_recommendation.engine.history")
    backs = [f"y.{back}" for back in range(1, 31)]
    past = tuple(
        of.history.Lag(name, of="y", back=back, by="who", on="at", delay_days=0)
        for back, name in enumerate(backs, 1)
    )

    def histories(frame: pl.DataFrame) -> pl.DataFrame:
        state = asked.state_of(past, of.contract, frame)
        return asked.looked_up(frame, state).select(backs)

    frame = of.frame.drop_nulls("y")
    honest, cut = histories(frame), frame["at"][len(frame) // 2]
    before = frame["at"] <= cut
    # From a moment on everybody takes 99, which is in every later history and in no earlier one.
    future = frame.with_columns(pl.when(before).then("y").otherwise(99).alias("y"))
    seen = histories(future)
    assert seen.filter(before).equals(honest.filter(before))
    knows = pl.any_horizontal(pl.col(backs) == 99).fill_null(False)
    assert not seen.filter(before).select(knows.any()).item()
    later = future.with_columns(seen).filter(~before)
    again = later.select(pl.col("at") > pl.col("at").min().over("who")).to_series()
    assert again.any() and later.select(knows).to_series().equals(again, check_names=False)
    # Nor is the row's own item in it, nor another of the same moment.
    twins = pl.concat([frame, frame.with_columns(y=pl.lit(98, pl.Int64))])
    at_once = histories(twins).head(len(frame))
    first = frame.select(pl.col("at") == pl.col("at").min().over("who")).to_series()
    known = at_once.select(pl.any_horizontal(pl.col(backs).is_not_nan())).to_series()
    assert first.any() and known.equals(~first, check_names=False)
