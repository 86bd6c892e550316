"""Features that look back: what each is, that nothing later leaks in, and one answer everywhere."""

import datetime as dt
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import package  # noqa: F401  makes `package_name` importable

from package_name import features as team
from package_name.engine import history
from package_name.engine.data.contract import Column, Contract
from package_name.engine.errors import ProjectError
from package_name.engine.model import derived
from package_name.engine.model import history as states
from package_name.engine.model.selection import Selection

DAY = dt.timedelta(days=1)
START = dt.datetime(2025, 1, 1)
AGREED = Contract(
    name="t",
    version="1",
    columns=(
        Column(name="who", kind="category", role="entity"),
        Column(name="shop", kind="integer", role="feature"),
        Column(name="at", kind="timestamp", role="time"),
        Column(name="amount", kind="number", role="feature"),
        Column(name="late", kind="number", role="excluded"),
        Column(name="bad", kind="boolean", role="target"),
        Column(name="colour", kind="category", role="feature"),
    ),
)
PROJECT: Any = SimpleNamespace(
    root=Path(),
    facts=SimpleNamespace(label_delay_days=30),
    config=SimpleNamespace(training=SimpleNamespace(seed=7)),
)
STATS = ("sum", "mean", "min", "max")
EVERY = [
    team.Window("rows"),
    team.Window("rows_28d", days=28),
    team.Window("known_28d", of="amount", days=28),
    *(team.Window(stat, of="amount", stat=stat) for stat in STATS),
    *(team.Window(f"{stat}_9d", of="amount", stat=stat, days=9) for stat in STATS),
    team.Lag("before", of="amount"),
    team.Lag("before_3", of="amount", back=3),
    team.DaysSince("since"),
    team.Window("in_shop", by="shop", of="amount", stat="mean"),
    team.Window("bad_share", of="bad", stat="mean"),
    team.Window("late_sum", of="late", stat="sum", delay_days=10),
]


def table(rows: int = 400, seed: int = 0) -> pl.DataFrame:
    """Return hostile rows in no order: gaps, no key, no time, equal times, copies, 1 to 1e12."""
    rng = np.random.default_rng(seed)

    def gaps(values: Any, share: float) -> list[Any]:
        return [
            None if out else value
            for value, out in zip(values, rng.random(rows) < share, strict=True)
        ]

    names = rng.choice(["a", "é", *map(str, range(12))], rows).tolist()
    times = [START + int(quarter) * DAY / 4 for quarter in rng.integers(0, 400, rows)]
    amounts = rng.normal(size=rows) * 10.0 ** rng.integers(0, 12, rows)
    frame = pl.DataFrame(
        {
            "who": gaps(names, 0.1),
            "shop": gaps(rng.integers(0, 4, rows).tolist(), 0.1),
            "at": gaps(times, 0.05),
            "amount": gaps(amounts.tolist(), 0.2),
            "late": rng.integers(0, 9, rows).astype(float),
            "bad": rng.random(rows) < 0.3,
            "colour": ["red"] * rows,
        },
        schema_overrides={"at": pl.Datetime("us")},
    )
    return pl.concat([frame, frame.head(20)])


def resolved(features: list[Any] = EVERY) -> tuple[Any, ...]:
    return history.declared(features, PROJECT, AGREED)


def state(rows: pl.DataFrame, features: list[Any] = EVERY) -> Any:
    return history.state_of(resolved(features), AGREED, rows)


def made(rows: pl.DataFrame, of: Any) -> pl.DataFrame:
    """Return the features of rows as a state answers them."""
    return history.looked_up(rows, of).select(feature.name for feature in of.features)


def slowly(feature: Any, row: dict[str, Any], rows: list[dict[str, Any]]) -> float:
    """Return a feature of one row by its definition."""
    if row[feature.by] is None or row["at"] is None:
        return math.nan
    end = row["at"] - (feature.delay_days or 0) * DAY
    same = [e for e in rows if e[feature.by] == row[feature.by] and e["at"] is not None]
    before = sorted(
        (e for e in same if e["at"] < end),
        key=lambda e: (e["at"], math.inf if e["amount"] is None else e["amount"]),
    )
    if not before:
        return math.nan
    if isinstance(feature, team.DaysSince):
        return (row["at"] - before[-1]["at"]) / DAY
    if isinstance(feature, team.Lag):
        value = before[-feature.back][feature.of] if len(before) >= feature.back else None
        return math.nan if value is None else float(value)
    if feature.days is not None:
        before = [e for e in before if e["at"] >= end - feature.days * DAY]
    if not feature.of:
        return len(before)
    values = [float(e[feature.of]) for e in before if e[feature.of] is not None]
    if feature.stat in ("count", "sum"):
        return len(values) if feature.stat == "count" else math.fsum(values)
    if not values:
        return math.nan
    of = {"mean": math.fsum(values) / len(values), "min": min(values), "max": max(values)}
    return of[feature.stat]


def test_each_is_what_its_definition_says() -> None:
    """Against brute force on hostile rows: equal times, gaps, copies, no key, no time."""
    rows = table()
    found, plain = made(rows, state(rows)), rows.to_dicts()
    for feature in resolved():
        expected = np.array([slowly(feature, row, plain) for row in plain])
        scale = 1e12 if feature.column == "amount" else 1  # of the values that are added up
        np.testing.assert_allclose(
            found[feature.name], expected, rtol=1e-12, atol=scale * 1e-13, err_msg=feature.name
        )
        assert np.isfinite(expected).any()


def test_a_row_of_the_same_time_is_no_earlier_one() -> None:
    """Planted: the target of a row with an equal time, or of the row itself, tells nothing."""
    times = [START, START, START + DAY, START + DAY]
    rows = (
        table()
        .head(4)
        .with_columns(who=pl.lit("a"), at=pl.Series(times), amount=pl.Series([1.0, 2.0, 4.0, 8.0]))
    )
    found = made(
        rows, state(rows, [team.Window("rows"), team.Window("s", of="amount", stat="sum")])
    )
    np.testing.assert_array_equal(found["rows"], [np.nan, np.nan, 2, 2])
    np.testing.assert_array_equal(found["s"], [np.nan, np.nan, 3, 3])


def test_what_comes_later_changes_nothing() -> None:
    """Training, on all rows, and a state that ends before the row give the same bits."""
    rows = table(3000, seed=1)
    whole = made(rows, state(rows))
    for moment in (START + 20 * DAY, START + 60 * DAY):
        ended = state(rows.filter(pl.col("at") < moment))
        asked = rows.with_row_index("place").filter(pl.col("at") == moment)
        assert asked.height
        then = whole[asked["place"].to_list()]
        assert made(asked, ended).to_numpy().tobytes() == then.to_numpy().tobytes()


def test_one_row_and_many_have_the_same_bits() -> None:
    """A service asks one row at a time, in plain numbers, training all at once."""
    rows = table(300, seed=4)
    for of in (state(rows), state(rows.head(0))):
        asked = [*rows.to_dicts(), {"who": "nobody", "shop": 1, "at": START + 999 * DAY}]
        keys = [{by: states.key_of(row[by]) for by in of.events} for row in asked]
        alone = [
            of.of_row(k, states.moment_of(row["at"])) for k, row in zip(keys, asked, strict=True)
        ]
        many = {by: np.array([key[by] for key in keys], np.uint64) for by in of.events}
        moments = np.array([states.moment_of(row["at"]) for row in asked], np.int64)
        assert np.array(alone).tobytes() == of.ask(many, moments).tobytes()


def test_the_order_of_the_rows_changes_nothing() -> None:
    rows = table(2000, seed=2).with_row_index("place")
    mixed = rows.sample(fraction=1, shuffle=True, seed=3)
    back = made(mixed, state(mixed))[mixed["place"].arg_sort().to_list()]
    assert back.to_numpy().tobytes() == made(rows, state(rows)).to_numpy().tobytes()


def test_a_target_is_not_known_before_its_delay() -> None:
    """Planted: the last row's target is the next one's; within the delay it must not show."""
    at = [START, START + 29 * DAY, START + 30 * DAY, START + 31 * DAY]
    rows = table().head(4).with_columns(who=pl.lit("a"), at=pl.Series(at), bad=pl.lit(True))
    found = made(rows, state(rows, [team.Window("bad_share", of="bad", stat="mean")]))
    np.testing.assert_array_equal(found["bad_share"], [np.nan, np.nan, np.nan, 1])


def test_one_key_may_have_all_rows() -> None:
    """Sums of blocks lose nothing where a large value stands beside small ones."""
    rows = 50_000
    frame = pl.DataFrame(
        {"who": ["a"] * rows, "at": [START + n * DAY / 24 for n in range(rows)]}
    ).with_columns(amount=pl.Series([1e30] + [1.0] * (rows - 1)))
    found = made(frame, state(frame, [team.Window("s", of="amount", stat="sum", days=100)]))["s"]
    np.testing.assert_array_equal(found[3000:], 2400)
    assert found[1] == pytest.approx(1e30)


def test_what_a_float_cannot_hold_is_missing() -> None:
    rows = (
        table()
        .head(3)
        .with_columns(
            who=pl.lit("a"),
            at=pl.Series([START, START + DAY, START + 2 * DAY]),
            amount=pl.lit(3e38),
        )
    )
    found = made(rows, state(rows, [team.Window("s", of="amount", stat="sum")]))["s"]
    np.testing.assert_array_equal(np.isnan(found.to_numpy()), [True, False, True])


def test_no_event_at_all_is_missing_everywhere() -> None:
    nothing = state(table().head(0))
    assert np.isnan(made(table(), nothing).to_numpy()).all()


@pytest.mark.parametrize(
    ("feature", "problem"),
    [
        (team.Window("w", days=0), "days"),
        (team.Window("w", days=-3), "days"),
        (team.Lag("l", of="amount", back=0), "back"),
        (team.Lag("l", of="amuont"), "no column 'amuont'; did you mean 'amount'?"),
        (team.Lag("l", of="colour"), "'colour' is no number"),
        (team.Lag("l", of="at"), "'at' is no number"),
        (team.Window("w", stat="sum"), "sum needs a column: give of"),
        (team.Window("w", by="amount"), "no entity or feature of kind string or integer"),
        (team.Window("w", by="whom"), "no column 'whom'; did you mean 'who'?"),
        (team.Window("w", of="bad", stat="mean", delay_days=3), "known after 30 days"),
        (team.Window("amount"), "this name is taken"),
        (team.Window("who"), "this name is taken"),
    ],
)
def test_a_wrong_declaration_is_one_clear_line(feature: Any, problem: str) -> None:
    with pytest.raises(ProjectError) as refused:
        derived.declared([feature], Selection("none"), PROJECT, AGREED)
    text = str(refused.value)
    assert text.startswith(f"features.py, {type(feature).__name__} {feature.name!r}: ")
    assert problem in text
    assert "\n" not in text


@pytest.mark.parametrize("role", ["time", "entity"])
def test_without_time_or_key_nothing_looks_back(role: str) -> None:
    columns = tuple(column for column in AGREED.columns if column.role != role)
    with pytest.raises(ProjectError, match=f"no column of the contract has the role {role}"):
        history.declared(
            [team.Window("w")], PROJECT, Contract(name="t", version="1", columns=columns)
        )


def test_operators_may_take_what_looks_back() -> None:
    declared = [team.Lag("before", of="amount"), team.Ratio("rise", of=("amount", "before"))]
    assert derived.declared(declared, Selection("none"), PROJECT, AGREED) is not None


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "manifest.json").write_text("{}")
    states.write(tmp_path, state(table()), dt.datetime.now(dt.UTC))
    return tmp_path


def test_a_stored_state_answers_as_before_and_names_nobody(bundle: Path) -> None:
    rows = table()
    again = states.read(bundle, resolved())
    assert made(rows, again).to_numpy().tobytes() == made(rows, state(rows)).to_numpy().tobytes()
    assert "é".encode() not in b"".join(path.read_bytes() for path in bundle.iterdir())


def test_the_same_rows_give_the_same_file_and_the_old_one_goes(bundle: Path) -> None:
    first = states.read(bundle, resolved()).origin
    later = states.write(bundle, state(table()), dt.datetime(2030, 1, 1, tzinfo=dt.UTC))
    assert later.sha256 == first.sha256
    states.write(bundle, state(table(seed=5)), dt.datetime.now(dt.UTC))
    assert len(list(bundle.glob("state-*.npz"))) == 1


def spoil(bundle: Path, how: str) -> None:
    """Do to a stored state what `how` says."""
    (arrays,) = bundle.glob("state-*.npz")
    if how == "missing":
        (bundle / states.STATE).unlink()
    elif how == "gone":
        arrays.unlink()
    elif how == "changed":
        arrays.write_bytes(arrays.read_bytes()[:-1] + b"x")
    elif how == "damaged":
        (bundle / states.STATE).write_text("{")
    else:
        (bundle / "manifest.json").write_text('{"version": "v2"}')


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("missing", "state.json is missing"),
        ("gone", "npz is missing"),
        ("changed", "npz is changed"),
        ("damaged", "state.json is damaged"),
        ("another", "its state is of another bundle"),
    ],
)
def test_a_state_that_is_not_its_bundle_s_is_refused(bundle: Path, how: str, told: str) -> None:
    spoil(bundle, how)
    with pytest.raises(ProjectError, match=told) as refused:
        states.read(bundle, resolved())
    assert "run `ml features build`" in str(refused.value)
