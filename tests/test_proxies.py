"""Features that stand for a group of people are named, others are not."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import package  # noqa: F401  makes `package_name` importable

from package_name.engine.data import proxies
from package_name.engine.data.contract import Column, Contract
from package_name.planner import measured


def agreed(*, personal: bool = False) -> Contract:
    columns: list[Column] = [
        Column(name="sex", kind="category", role="excluded", personal=personal),
        Column(name="age", kind="integer", role="excluded"),
        Column(name="height", kind="number", role="feature"),
        Column(name="job", kind="category", role="feature"),
        Column(name="noise", kind="number", role="feature"),
        Column(name="note", kind="text", role="feature"),
        Column(name="y", kind="boolean", role="target"),
    ]
    return Contract(name="t", version="1", columns=tuple(columns))


def frame(rows: int = 4000, seed: int = 1) -> pl.DataFrame:
    """Height tells the sex, also by both its ends; the job tells it a little, noise nothing."""
    rng = np.random.default_rng(seed)
    woman = rng.random(rows) < 0.4
    far = rng.normal(0, 1, rows) + np.where(rng.random(rows) < 0.5, 3, -3)
    job = np.where(rng.random(rows) < 0.3, np.where(woman, "nurse", "smith"), "clerk")
    return pl.DataFrame(
        {
            "sex": np.where(woman, "f", "m"),
            "age": rng.integers(18, 80, rows),
            "height": pl.Series(np.where(woman, far, rng.normal(0, 1, rows))).set(
                pl.Series(rng.random(rows) < 0.05), None
            ),
            "job": job,
            "noise": rng.normal(0, 1, rows),
            "note": ["n"] * rows,
            "y": rng.random(rows) < 0.5,
        }
    )


def test_a_feature_that_stands_for_a_group_is_named() -> None:
    found = proxies.run(agreed(), frame(), ("sex", "age"))
    assert [(item["column"], item["feature"]) for item in found] == [
        ("sex", "height"),
        ("sex", "job"),
    ]
    height, job = (item["auc"] for item in found)
    assert height > 0.9
    assert job == pytest.approx(1 - 0.7**2 / 2, abs=0.03)  # both are clerks: a guess
    said = measured.proxies(found)
    assert "`height` for `sex` m (0.9" in said and "`job` for `sex` m (0.7" in said


@pytest.mark.parametrize("seed", range(5))
def test_chance_names_nothing(seed: int) -> None:
    rows = frame(seed=seed)
    mixed = rows.with_columns(sex=rows["sex"].shuffle(seed))
    assert proxies.run(agreed(), mixed, ("sex", "age")) == []


def test_a_personal_level_stays_hidden_and_few_rows_say_nothing() -> None:
    (first, _) = proxies.run(agreed(personal=True), frame(), ("sex",))
    assert first["level"] == "(personal) 2"
    assert proxies.run(agreed(), frame(150), ("sex",)) == []
    assert proxies.run(agreed(), frame(), ()) == []


def test_an_age_is_told_by_parts_and_a_missing_column_is_none() -> None:
    rows: Any = frame()
    rows = rows.with_columns(noise=rows["age"].cast(pl.Float64) + rows["noise"])
    found = proxies.run(agreed(), rows, ("age",))
    assert [item["feature"] for item in found] == ["noise"]
    assert " to " in found[0]["level"] and found[0]["auc"] > 0.95
