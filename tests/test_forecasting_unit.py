"""What series know of their past, how forecasts are measured, and that nothing later is known."""

import datetime as dt
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import package

package.forecasting()
from forecasting_package import features, models  # noqa: E402
from forecasting_package.engine import backtest, beside, examples, history  # noqa: E402
from forecasting_package.engine.data import contract as contracts  # noqa: E402
from forecasting_package.engine.data import drafting, sample  # noqa: E402
from forecasting_package.engine.errors import ProjectError  # noqa: E402
from forecasting_package.engine.model import bundle, graph, reach, scaled, succession, winters  # noqa: E402
from forecasting_package.engine.model.fitting import Data  # noqa: E402
from forecasting_package.engine.model.history import DAY, DaysSince, Told  # noqa: E402
from forecasting_package.engine.model.scorer import (  # noqa: E402
    CategoricalFeature,
    FeatureSpec,
    NumericFeature,
    session,
)
from forecasting_package.engine.model.seasons import (  # noqa: E402
    Recent,
    Season,
    Smoothed,
    Winters,
    phases,
)
from forecasting_package.engine.rhythm import RHYTHMS  # noqa: E402

FIRST = dt.date(2026, 1, 5)
NAMES = {"of": "sold", "by": "shop", "on": "day"}
COLUMNS = (
    contracts.Column(name="shop", kind="category", role="entity", required=True),
    contracts.Column(name="day", kind="date", role="time", required=True),
    contracts.Column(name="promoted", kind="boolean", role="feature", mean=0.2, effect="up"),
    contracts.Column(name="sold", kind="integer", role="target", minimum=0, mean=40.0, std=30.0),
)
AGREED = contracts.Contract(name="sales", version="1", columns=COLUMNS, primary_key=("shop", "day"))
FACTS = SimpleNamespace(forecast_step="day", forecast_horizon=14, label_delay_days=14)
SETTINGS = SimpleNamespace(training=SimpleNamespace(sums_by=()))
PROJECT: Any = SimpleNamespace(facts=FACTS, config=SETTINGS)


def series(values: list[float | None], shop: str = "a") -> pl.DataFrame:
    """Return a series, one row a day."""
    days = [FIRST + dt.timedelta(days=n) for n in range(len(values))]
    return pl.DataFrame(
        {
            "shop": [shop] * len(days),
            "day": days,
            "promoted": False,
            "sold": [n if n is None else int(n) for n in values],
        },
        schema_overrides={"sold": pl.Int64},
    )


def asked(features: tuple[Any, ...], rows: pl.DataFrame, days: list[int], ahead: int = 1) -> Any:
    """Return the features of rows that were asked for so many steps before."""
    state = history.state_of(features, AGREED, rows)
    wanted = pl.DataFrame({"shop": "a", "day": [FIRST + dt.timedelta(days=n) for n in days]})
    late = pl.lit((ahead - 1) * DAY, pl.Int64).alias(contracts.WITHHELD)
    found = history.looked_up(wanted.with_columns(late), state)
    one = [
        state.of_row({"shop": history.keys(wanted["shop"])[0].item()}, moment)
        for moment in history.times(wanted["day"]).tolist()
    ]
    many = found.select(feature.name for feature in features)
    if ahead == 1:  # a row alone gets the same bits
        np.testing.assert_array_equal(np.array(one), many.to_numpy())
    return many.row(0, named=True) if len(days) == 1 else many


def test_what_looks_back_equals_what_a_hand_computes() -> None:
    rows = series([10, 20, 30, 40, 50, 60, 70, 11, None, 31])
    features = (
        Recent(name="recent", rows=3, **NAMES),
        Season(name="before", days=7, **NAMES),
        Season(name="both", days=7, seasons=2, **NAMES),
    )
    assert asked(features, rows, [14]) == {"recent": 21.0, "before": 11.0, "both": 10.5}
    assert asked(features, rows, [15])["both"] == 20.0  # one of two has no value
    assert np.isnan(asked(features, rows, [15])["before"])
    # Asked for ten days before, the eleventh day knows the first only.
    early = asked(features, rows, [10], ahead=10)
    assert (early["recent"], np.isnan(early["before"])) == (10.0, True)


def test_series_that_fell_silent_or_began_are_counted() -> None:
    old, new = series([1.0] * 80, "old"), series([2.0] * 100, "new")
    rows = pl.concat([series([3.0] * 100), old, new.tail(10), series([4.0] * 86, "late")])
    features = examples.lookbacks(PROJECT, AGREED)
    (told,) = history.state_of(features, AGREED, rows).lives()
    # Of 14 days: the last event of "late" lies just within them.
    assert told == {"by": "shop", "days": 14.0, "known": 4, "silent": 1, "began": 1}


def test_steps_that_a_version_was_not_made_for_are_no_comparison() -> None:
    near, far = (
        FeatureSpec((NumericFeature("n.ahead", "n.ahead"),), (), history=(since,))
        for since in (DaysSince(name="n.ahead", most=days, by="a", on="b") for days in (14, 28))
    )
    x = np.array([[1], [14], [15], [np.nan]], np.float32)
    beyond = succession._beyond
    assert beyond(near, far, x).tolist() == [False, False, True, False]
    assert not beyond(near, near, x).any() and not beyond(far, near, x).any()


def test_rows_of_which_a_series_tells_less_get_a_warning() -> None:
    """Before its first row, and between two of its steps, where no season is found."""
    features = examples.lookbacks(PROJECT, AGREED)
    state = history.state_of(features, AGREED, series([float(n % 7) for n in range(60)]))
    start = np.datetime64(FIRST, "us").astype(np.int64)
    moments = start + (np.array([0, -9, 60, 73, 60.4, 59.5, 90]) * DAY).astype(np.int64)
    keys = np.repeat(history.keys(pl.Series(["a"])), len(moments))
    matrix = state.ask({"shop": keys}, moments).astype(np.float32)
    names = [feature.name for feature in features]
    told = {
        text: rows.tolist()
        for one in reach.reaches(features, names)
        for text, rows in one.warnings(matrix)
    }
    none, between = (np.zeros(7, bool) for _ in range(2))
    none[:2], between[4:6] = True, True
    assert told == {
        "day: more than 14 days after the last known row": [False] * 6 + [True],
        "day: no earlier row of this shop, so it gets what all have in common": none.tolist(),
        "day: between two steps of a day, so it has no season": between.tolist(),
    }


def test_smoothing_learns_level_and_season() -> None:
    week = [0, 5, 10, 20, 30, 60, 85]
    rows = series([float(n) for n in week * 20])
    (feature,) = features = (Smoothed(name="smoothed", level=0.1, season=0.3, **NAMES),)
    found = asked(features, rows, list(range(140, 154)))["smoothed"].to_numpy()
    assert np.abs(found - np.array(week * 2)).max() < 3
    flat = asked((feature,), series([7.0] * 30), [40])["smoothed"]
    assert flat == pytest.approx(7.0)


def test_a_series_that_grows_is_led_on_and_a_season_may_multiply() -> None:
    week = np.array([0.5, 0.7, 0.9, 1.0, 1.1, 1.3, 1.5])
    day = np.arange(154)
    truth = (100 + 2.0 * day) * week[day % 7]
    rows = series(truth[:140].tolist())
    both = {
        "flat": Smoothed(name="flat", level=0.4, **NAMES),
        "led": Winters(name="led", **NAMES),
    }
    found = asked(tuple(both.values()), rows, list(range(140, 154)))
    error = {name: np.abs(found[name].to_numpy() - truth[140:]).mean() for name in both}
    assert error["led"] < 0.05 * truth[140:].mean() and error["led"] < 0.5 * error["flat"]
    # Of what does not grow no trend is taken, and what never was below 0 is not forecast so.
    falling = series([max(0.0, 60.0 - n) for n in range(80)])
    assert asked((both["led"],), falling, [90])["led"] == pytest.approx(0, abs=0.5)
    assert asked((both["led"],), series([7.0] * 30), [40])["led"] == pytest.approx(7)
    gaps = series([None, None, *([5.0, None] * 20)])
    assert asked((both["led"],), gaps, [50])["led"] == pytest.approx(5)
    assert np.isnan(asked((both["led"],), series([None, None, None]), [3])["led"])


def test_forecasts_of_series_that_grow_hardly_lean() -> None:
    """Of 20 series that grow 2 % a month, in half a year; 10 % too low with a trend that ends."""
    rng, month, many = np.random.default_rng(0), np.arange(102), 20
    season = [1 + 0.2 * np.sin(2 * np.pi * (month + place) / 12) for place in range(many)]
    values = 100 * 1.02**month * np.stack(season) * rng.normal(1, 0.04, (many, 102))
    first, counts = np.arange(many) * 102, np.full(many, 102)
    made = winters.followed(values.ravel(), np.tile(month % 12, many), 12, first, counts)
    last, shares = first + 95, []
    for ahead in range(1, 7):
        level = winters.ahead(made, last, np.full(many, ahead))
        found = winters.joined(made, last, level, winters.season_of(made, last, last + ahead - 12))
        shares.append(found / values[:, 95 + ahead] - 1)
    assert abs(np.mean(shares)) < 0.04 and np.mean(np.abs(shares)) < 0.06


def weekly(values: list[float | None], shop: str = "a") -> pl.DataFrame:
    """Return a series, one row a week."""
    days = [FIRST + dt.timedelta(days=7 * n) for n in range(len(values))]
    return series(values, shop).with_columns(day=pl.Series(days))


def of_year(**more: Any) -> tuple[Any, ...]:
    """Return what looks back by years of weeks."""
    year = {"days": 364, **NAMES, **more}
    return (
        Season(name="before", days=364, **NAMES),
        Smoothed(name="smoothed", level=0.1, **year),
        Winters(name="led", **year),
    )


def test_a_season_has_a_place_for_each_step() -> None:
    times = history.times(weekly([1.0] * 60)["day"])
    events = history.Events(np.zeros(1, np.uint64), np.array([60]), times, {})
    for days, step, months, parts in (
        (364, 7, 0, 52),
        (1, 1 / 24, 0, 24),
        (1, 7, 0, 1),
        (9, 1, 12, 12),
    ):
        feature = Winters(name="x", days=days, step=step, months=months, **NAMES)
        assert phases(events, feature)[0] == parts
    places = phases(events, of_year(step=7)[2])[1]
    assert sorted(places[:52]) == list(range(52)) and (places[52:] == places[:8]).all()


def test_a_short_history_with_a_long_season_has_its_level_from_the_whole_season() -> None:
    """Drawn weeks of three years: after one season smoothing is at least as good as the last."""
    rng = np.random.default_rng(4)
    week = np.arange(156)
    truth = 200 * (1 + 0.4 * np.sin(2 * np.pi * week / 52))
    drawn = np.round(truth * (1 + 0.08 * rng.standard_normal(156)))
    rows = weekly(drawn.tolist())
    errors = []
    for origin in range(60, 150, 6):
        days = [7 * (origin + n) for n in range(6)]
        found = asked(of_year(step=7), rows.head(origin), days)
        errors.append(np.abs(found.to_numpy() - drawn[origin : origin + 6, None]))
    before, smoothed, led = np.concatenate(errors).mean(axis=0)
    assert smoothed < before and led < before  # each was more than twice of it


def test_the_first_season_knows_nothing_that_comes_after_the_origin() -> None:
    """Across the end of the first season its mean is that of what was known."""
    rng = np.random.default_rng(5)
    values = rng.integers(100, 200, 70).astype(float).tolist()
    planted = [*values[:48], *([9999.0] * 22)]
    days = [7 * n for n in range(48, 60)]
    found = [asked(of_year(step=7), weekly(v), days, ahead=85) for v in (values, planted)]
    assert found[0].equals(found[1], null_equal=True)
    # All of the year but a few weeks is known: the forecast is what was a year before.
    told = asked(of_year(step=7), weekly(values[:48]), [7 * n for n in range(52, 60)])
    for name in ("smoothed", "led"):
        np.testing.assert_allclose(told[name], values[:8], rtol=1e-6)


def test_a_missing_value_is_a_step_of_the_trend() -> None:
    growing = [100.0 + 2 * n for n in range(140)]
    (feature,) = (Winters(name="led", **NAMES),)
    led = {}
    for name, rows in {"none": growing, "missing": [*growing, *([None] * 9)]}.items():
        led[name] = asked((feature,), series(rows), [150])["led"]
    assert led["missing"] == pytest.approx(led["none"], rel=1e-6)
    assert led["none"] > growing[-1] + 5


def test_each_series_chooses_alone() -> None:
    """What another series holds, and how long it is, changes no bit of a forecast."""
    rng = np.random.default_rng(5)
    one, longer = rng.poisson(9, 90).tolist(), (rng.poisson(300, 200) - 40).tolist()
    (feature,) = features = (Winters(name="led", **NAMES),)
    alone = asked(features, series(one), [92, 95])
    table = pl.concat([series(longer, "0"), series(one), series(longer[:20], "z")])
    assert asked((feature,), table, [92, 95]).equals(alone)


def test_no_example_knows_a_value_from_its_origin_on() -> None:
    """A planted future: all values from the origin on are changed, and no feature moves."""
    rng = np.random.default_rng(0)
    rows = series([float(n) for n in rng.poisson(20, 200)])
    features = examples.lookbacks(PROJECT, AGREED)
    names = [feature.name for feature in features]
    made = examples.made(PROJECT, AGREED, rows)
    known = history.looked_up(made, history.state_of(features, AGREED, rows))
    step = pl.col(contracts.WITHHELD) // DAY
    origin = pl.col("day").cast(pl.Int32) - step.cast(pl.Int32)
    assert set(known.select(step).to_series()) == set(range(14))
    first = known.filter(origin == known.select(origin.median()).item() // 1)
    day = first.select(origin).row(0)[0]
    planted = rows.with_columns(
        pl.when(pl.col("day").cast(pl.Int32) >= day).then(9999).otherwise("sold").alias("sold")
    )
    again = history.looked_up(first.drop(names), history.state_of(features, AGREED, planted))
    assert first.height > 3
    assert again.select(names).equals(first.select(names), null_equal=True)
    later = history.looked_up(  # the check can fail: without what is withheld they do move
        first.drop(names, contracts.WITHHELD), history.state_of(features, AGREED, planted)
    )
    assert not later.select(names).equals(first.select(names))


def monthly(values: list[float], day: int = 31) -> pl.DataFrame:
    """Return a series with a row a month, on that day or the last one before it."""
    first = pl.Series([dt.date(2019, 1, day)])
    days = [first.dt.offset_by(f"{n}mo").item() for n in range(len(values))]
    return series([*values]).with_columns(day=pl.Series(days))


@pytest.mark.parametrize("day", [1, 15, 31])
def test_months_are_those_of_the_calendar(day: int) -> None:
    rows = monthly([float(n) for n in range(100, 130)], day)
    features = (
        Season(name="before", months=12, **NAMES),
        Season(name="both", months=12, seasons=2, **NAMES),
        Smoothed(name="smoothed", months=12, level=0.1, **NAMES),
    )
    state = history.state_of(features, AGREED, rows)
    moment = history.times(pl.Series([dt.date(2021, 8, min(day, 28))])).tolist()[0]
    before, both, smoothed = state.of_row({"shop": history.keys(rows["shop"])[0].item()}, moment)
    assert (before, both) == (119.0, (119 + 107) / 2)  # August 2020 and 2019
    assert 100 < smoothed < 135


@pytest.mark.parametrize(
    ("step", "mend"),
    [("day", "their sum"), ("week", "forecast_step=day`"), ("month", "forecast_step=day`")],
)
def test_rows_closer_than_a_step_are_refused(step: str, mend: str) -> None:
    facts = SimpleNamespace(forecast_step=step, forecast_horizon=2, label_delay_days=62)
    rows = pl.concat([series([float(n % 7) for n in range(300)], shop) for shop in "ab"])
    if step == "day":
        hours = pl.DataFrame({"hour": range(24)})
        day = pl.col("day").cast(pl.Datetime("us")) + pl.duration(hours="hour")
        rows = rows.join(hours, how="cross").with_columns(day).drop("hour")
    with pytest.raises(ProjectError) as error:
        examples.made(SimpleNamespace(facts=facts, config=SETTINGS), AGREED, rows)  # type: ignore[arg-type]
    told = str(error.value).replace("\u00a0", " ")
    assert told.endswith(mend) and f"rows a {step}" in told and "\n" not in told


def test_two_rows_of_a_series_at_one_time_are_refused() -> None:
    rows = pl.concat([series([float(n % 7) for n in range(300)], shop) for shop in "ab"])
    with pytest.raises(ProjectError) as error:
        examples.made(PROJECT, AGREED, pl.concat([rows, rows[40:43]]))
    told = str(error.value).replace("\u00a0", " ")
    assert told.startswith("3 rows repeat 'shop' and 'day' of another: ") and "\n" not in told
    assert "data.repeated_keys" in told


def test_rows_of_a_step_that_is_known_already_are_found() -> None:
    """Of months a day later in the same one is no step ahead."""
    state = history.state_of(examples.lookbacks(PROJECT, AGREED), AGREED, series([1.0] * 10))
    asked = pl.Series([FIRST + dt.timedelta(days=n) for n in (-3, 8, 9, 10, 40)])
    keys = history.keys(pl.Series(["a"] * 4 + ["new"]))
    moments = history.times(asked)
    passed = state.passed("shop", keys, moments, in_months=False)
    assert passed.tolist() == [True, True, True, False, False]
    passed = state.passed("shop", keys, moments, in_months=True)
    assert passed.tolist() == [True, True, True, True, False]
    told = history_of_request(state, [1.0] * 3)
    assert told.passed("shop", keys, moments, in_months=False).tolist() == [True] + [False] * 4


def history_of_request(state: Any, values: list[float | None]) -> Any:
    """Return the state of a request with a history of series a."""
    return Told(state, history.state_of(state.features, AGREED, series(values)).events)


def test_a_number_that_names_a_series_is_drafted_as_text(tmp_path: Path) -> None:
    rows = pl.concat([series([float(n % 7) for n in range(60)], shop) for shop in ("7", "012")])
    tables = (rows.filter(pl.col("shop") == "7"), rows)
    for table, kind in itertools.product(tables, (pl.Int64, pl.Float64, pl.Boolean)):
        table.with_columns(pl.col("shop").cast(pl.Int64).cast(kind)).write_parquet(
            tmp_path / "rows.parquet"
        )
        draft = drafting.draft(tmp_path / "rows.parquet", "sold", entity="shop", time_column="day")
        (tmp_path / "c.yaml").write_text(draft.text, encoding="utf-8")
        agreed = contracts.read(tmp_path / "c.yaml")
        assert agreed.entity is not None and agreed.entity.kind == "category"
        features.context_columns(agreed, ("entity",))


@pytest.mark.parametrize(("step", "other"), [("day", "week"), ("day", "month"), ("week", "month")])
def test_rows_of_a_longer_step_are_refused(step: str, other: str) -> None:
    facts = SimpleNamespace(forecast_step=step, forecast_horizon=2, label_delay_days=62)
    project: Any = SimpleNamespace(facts=facts, config=SETTINGS)
    rows = pl.concat([series([float(n % 7) for n in range(600)], shop) for shop in "ab"])
    kept = np.random.default_rng(0).random(rows.height) < 1 / 3
    sparse = rows.filter(pl.Series(kept))  # no longer step is theirs
    assert examples.made(project, AGREED, sparse if step == "day" else rows[::7]).height
    first = pl.col("day").dt.truncate({"week": "1w", "month": "1mo"}[other])
    with pytest.raises(ProjectError) as error:
        examples.made(project, AGREED, rows.filter(pl.col("day") == first))
    assert f"a row a {other} by 'day'" in str(error.value)
    assert f"--data forecast_step={other}`" in str(error.value)


def test_no_monthly_example_knows_a_value_from_its_origin_on() -> None:
    """The planted future, for steps of unequal length."""
    facts = SimpleNamespace(forecast_step="month", forecast_horizon=4, label_delay_days=124)
    project: Any = SimpleNamespace(facts=facts, config=SETTINGS)
    rows = monthly([float(n % 12 * 10 + n) for n in range(60)])
    features = examples.lookbacks(project, AGREED)
    names = [feature.name for feature in features]
    made = examples.made(project, AGREED, rows)
    known = history.looked_up(made, history.state_of(features, AGREED, rows))
    times = history.times(known["day"])
    month = RHYTHMS["month"]
    origin = month.places(times - known[contracts.WITHHELD].to_numpy())
    assert set(month.places(times) - origin) == {0, 1, 2, 3}
    place = int(np.median(origin))
    first = known.filter(pl.Series(origin == place))
    late = pl.Series(month.places(history.times(rows["day"])) >= place)
    planted = rows.with_columns(sold=pl.when(late).then(9999).otherwise("sold"))
    again = history.looked_up(first.drop(names), history.state_of(features, AGREED, planted))
    assert first.height > 1
    assert again.select(names).equals(first.select(names), null_equal=True)


def test_a_gap_shorter_than_the_horizon_is_refused() -> None:
    facts = SimpleNamespace(forecast_step="week", forecast_horizon=4, label_delay_days=27)
    with pytest.raises(ProjectError, match="label_delay_days is 27, but a forecast of 4 steps"):
        examples.lookbacks(SimpleNamespace(facts=facts, config=SETTINGS), AGREED)  # type: ignore[arg-type]


def test_the_sample_has_the_step_of_the_plan() -> None:
    for step, apart in (("week", {7}), ("month", {28, 29, 30, 31})):
        frame = sample.generate(AGREED, 4800, seed=1, told={"step": step}).sort("shop", "day")
        days = frame.select(pl.col("day").diff().over("shop").dt.total_days()).to_series()
        assert set(days.drop_nulls().to_list()) <= apart
        season = pl.col("sold").shift(52 if step == "week" else 12).over("shop")
        far = frame.select((pl.col("sold") - season).abs().mean()).item()
        near = frame.select((pl.col("sold") - pl.col("sold").mean().over("shop")).abs().mean())
        assert far < near.item()  # the year tells more than the mean


def test_origins_are_apart_and_meet_each_day_of_the_week(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "MOST", 400)
    made = examples.made(PROJECT, AGREED, series([1.0, 2.0] * 100))
    assert 250 <= made.height <= 400
    step = made[contracts.WITHHELD] // DAY
    origins = made["day"].cast(pl.Int32) - step.cast(pl.Int32)
    assert len(set(origins % 7)) == 7
    assert set(step) == set(range(14))


def test_series_without_time_or_entity_are_refused() -> None:
    without = contracts.Contract(name="n", version="1", columns=COLUMNS[1:])
    with pytest.raises(ProjectError, match="role entity"):
        examples.lookbacks(PROJECT, without)
    without = contracts.Contract(name="n", version="1", columns=(COLUMNS[0], *COLUMNS[2:]))
    with pytest.raises(ProjectError, match="role time"):
        examples.lookbacks(PROJECT, without)


def test_scaled_error_is_what_a_hand_computes() -> None:
    times = np.array([3, 0, 1, 2, 4]) * 7 * DAY
    values = np.array([40.0, 10.0, 16.0, 20.0, np.nan])
    assert backtest.scales(times, values, 7 * DAY) == pytest.approx((6 + 4 + 20) / 3)
    assert np.isnan(backtest.scales(times[:1], values[:1], 7 * DAY))
    assert np.isnan(backtest.scales(times, np.full(5, 3.0), 7 * DAY))  # nothing to divide by
    y, value = np.array([10.0, 20.0, 0.0]), np.array([12.0, 16.0, 1.0])
    answers = {"value": value, "low": value - 2, "high": value + 2}
    found = backtest.part(y, answers, np.abs(value - y) / 2, np.array([True, True, True]))
    assert found == {
        "rows": 3,
        "mean": pytest.approx(10.0),
        "mase": pytest.approx((1 + 2 + 0.5) / 3),
        "wape": pytest.approx(7 / 30),
        "bias": pytest.approx(-1 / 30),
        "coverage": pytest.approx(2 / 3),
    }


def test_the_sample_is_of_series_and_some_are_intermittent() -> None:
    frame = sample.generate(AGREED, 4800, seed=1)
    assert frame["shop"].n_unique() == 48 and not frame.select("shop", "day").is_duplicated().any()
    assert frame["sold"].mean() == pytest.approx(40, rel=0.05)
    zeros = frame.group_by("shop").agg((pl.col("sold") == 0).mean())
    assert 0.1 < (zeros["sold"] > 0.4).mean() < 0.3
    promoted = frame.group_by("promoted").agg(pl.col("sold").mean()).sort("promoted")
    assert promoted["sold"][1] > 1.2 * promoted["sold"][0]
    assert frame.equals(sample.generate(AGREED, 4800, seed=1))


@pytest.fixture(scope="module")
def data() -> Data:
    """Return examples whose target is a multiple of their level that a promotion raises."""
    rng = np.random.default_rng(3)
    rows = 3000
    level = np.exp(rng.normal(2, 1.2, rows))
    before = level * rng.uniform(0.5, 1.5, rows)
    promoted, shop = rng.random(rows) < 0.3, rng.integers(0, 3, rows)
    y = rng.poisson(level * (1 + promoted) * rng.uniform(0.8, 1.2, rows)).astype(np.float64)
    x = np.column_stack([promoted, level, before, before, shop]).astype(np.float32)
    x[:100, 1:4] = np.nan
    past = (Recent(name="sold.level", **NAMES), Season(name="sold.season_before", **NAMES))
    past = (*past, Smoothed(name="sold.smoothed_slow", **NAMES))
    names = ("promoted", *(feature.name for feature in past))
    numeric = tuple(NumericFeature(name, name) for name in names)
    code = (CategoricalFeature("shop.entity", "shop", ("a", "b", "c")),)
    return Data(x, y, FeatureSpec(numeric, code, history=past), 1)


def test_an_end_near_0_may_differ_by_what_its_value_may() -> None:
    """An interval that ends at 0.009 for a value of 5 is no nearer to the value's last digits."""
    told = {"value": np.array([5.0, 5.0]), "low": np.array([0.009, 0.0])}
    bundle._same(told, told | {"low": told["low"] + 2.4e-7}, "tiny")
    with pytest.raises(ProjectError, match=r"differs from the model by .* on tiny rows"):
        bundle._same(told, told | {"low": told["low"] + 1e-3}, "tiny")


@pytest.mark.parametrize("name", list(models.FITTERS))
def test_the_graph_repeats_each_model(data: Data, name: str) -> None:
    fitted = models.FITTERS[name](data, 0, {})
    member = graph.Member(*fitted)
    content = graph.emit(graph.Predictor((member,)), data.spec, encoded=True)
    for factor in (1, 1e-6, 100):
        x = data.x.copy()
        x[:, :4] *= np.float32(factor)
        (found,) = session(content).run(["value"], {"x": x})
        assert found[:, 0] == pytest.approx(fitted.predict(x), rel=1e-5, abs=1e-5)


def test_trees_learn_multiples_of_the_level(data: Data) -> None:
    error = {
        n: np.abs(fit(data, 0, {}).predict(data.x) - data.y).mean()
        for n, fit in models.FITTERS.items()
    }
    assert error["direct"] < 0.7 * error["moving_average"]
    model = scaled.of(data, 1, [1, 2, 3])
    assert model.scale(data.x)[0] == pytest.approx(1.1 * np.nanmean(data.x[:, 1]), rel=1e-5)
    assert np.isfinite(model.scale(data.x)).all() and model.scale(data.x).min() > 0
    below = data._replace(y=data.y - 30)
    assert models.direct(below, 0, {}).predict(below.x).min() < 0


@pytest.mark.parametrize(("shared", "wide"), [(0.0, 1.0), (1.0, 4.0)])
def test_the_interval_of_a_sum_knows_how_much_series_err_together(
    shared: float, wide: float
) -> None:
    """16 series with one error each: independent ones add up to 4 times it, equal ones to 16."""
    rng, times, many = np.random.default_rng(3), 4000, 16
    own, common = rng.normal(size=(times, many)), rng.normal(size=(times, 1))
    error = (1 - shared) * own + shared * common
    rows = pl.DataFrame(
        {
            "_moment": np.repeat(np.arange(times), many),
            "_origin": 0,
            "_y": 50 + error.ravel(),
            "value": 50.0,
            "_square": (2 * 1.645) ** 2,  # the width of a row's 90 % interval
        }
    )
    head = beside.Head(plan=np.ones(1), coverage=0.9, quantile=0.5)
    sums = beside._summed(rows, "all")
    assert sums["value"].to_list() == [50.0 * many] * times
    level = beside._level("all", sums, head, 1)
    assert level.high - level.low == pytest.approx(wide, rel=0.05) and abs(level.plan) < 0.05
    known = beside.Sums((level,), None, False)
    told = beside._errors(level, known, sums.with_columns(_naive=pl.lit(800.0)))
    assert told["coverage"] == pytest.approx(0.9, abs=0.01) and told["members"] == 1
    assert told["wape"] == told["wape_season_before"] and abs(told["bias"]) < 0.01
    with pytest.raises(ProjectError, match="7 sums of level 'all'"):
        beside._level("all", sums.head(7), head, 1)


def test_the_interval_of_a_sum_holds_what_a_next_stretch_brings() -> None:
    """Each stretch misses as a whole: what counts are 12 of them, not their 168 days."""
    rng, held = np.random.default_rng(5), []
    head = beside.Head(plan=np.zeros(1), coverage=0.8, quantile=0.5)
    for _ in range(300):
        error = np.repeat(rng.normal(size=40), 14) + 0.1 * rng.normal(size=40 * 14)
        sums = pl.DataFrame({"_moment": np.arange(168), "_y": error[:168], "value": 0.0})
        level = beside._level("all", sums.with_columns(_square=pl.lit(1.0)), head, 14)
        held.append(((level.low <= error[168:]) & (error[168:] <= level.high)).mean())
    assert np.mean(held) == pytest.approx(0.8, abs=0.04)  # 0.72 by their days


def test_sums_of_months_meet_whatever_day_a_row_has() -> None:
    day = [dt.date(2026, 1, 31), dt.date(2026, 1, 1), dt.date(2026, 2, 5)]
    agreed = SimpleNamespace(time=SimpleNamespace(name="day"))
    frame = pl.DataFrame({"day": day, contracts.WITHHELD: [0, 0, 5 * DAY]})
    ones = {name: np.ones(3) for name in ("value", "low", "high")}
    rows = beside._rows(agreed, frame, (), np.array([1.0, 2.0, 4.0]), ones, True)  # type: ignore[arg-type]
    assert beside._summed(rows, "all")["_y"].to_list() == [3.0, 4.0]
    apart = beside._rows(agreed, frame, (), np.ones(3), ones, False)  # type: ignore[arg-type]
    assert beside._summed(apart, "all").height == 3


def test_sums_of_a_run_before_do_not_stay_beside_new_forecasts(tmp_path: Path) -> None:
    old = tmp_path / "out.sums.csv"
    for done, stays in (({}, True), ({"sums": "out.sums.csv"}, False)):
        old.write_text("level\n", encoding="utf-8")
        assert beside.written(tmp_path, [], tmp_path / "out.csv", done) == {}
        assert old.exists() == stays, "only what the record of that run names goes"
