"""Columns that together tell people apart are named with the share who are alone in their group."""

from itertools import product
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import package  # noqa: F401  makes `package_name` importable

from package_name.engine.data import together
from package_name.engine.data.contract import Column, Contract
from package_name.planner import assessment, measured


def agreed(*names: str, personal: bool = True, entity: bool = False) -> Contract:
    made: list[Column] = [
        Column(name=name, kind="integer", role="excluded", personal=personal) for name in names
    ]
    made += [Column(name="who", kind="category", role="entity")] * entity
    made.append(Column(name="y", kind="boolean", role="target"))
    return Contract(name="t", version="1", columns=tuple(made))


def people(rows: int = 2000, seed: int = 1, **levels: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    drawn = {name: rng.integers(0, count, rows) for name, count in levels.items()}
    return pl.DataFrame({**drawn, "y": rng.random(rows) < 0.5})


def counted(rows: list[tuple[Any, ...]]) -> float:
    """Return the share of rows that no other is equal to, by its definition."""
    return sum(rows.count(row) == 1 for row in rows) / len(rows)


def test_what_is_told_is_the_share_by_its_definition() -> None:
    table = people(born=200, place=50, sex=2)
    said = together.run(agreed("born", "place", "sex"), table)
    assert said["columns"] == ["born", "place", "sex"]
    for one in said["found"]:
        rows = table.select(one["columns"]).rows()
        assert one["alone"] == pytest.approx(counted(rows), abs=1e-4)
        assert one["smallest"] == min(map(rows.count, rows))
    assert said["found"][0]["columns"] == ["born", "place", "sex"]
    assert ["born", "sex"] not in [one["columns"] for one in said["found"]], "0.7 % are alone"
    told = measured.together(said["found"])
    assert told.startswith("\npeople alone in their group, though no column is a name: ")
    assert "\u00a0% by `born`, `place`, `sex`; " in told


def test_a_few_people_in_a_hundred_are_told() -> None:
    (one,) = together.run(agreed("born", "place"), people(20_000, born=57, place=100))["found"]
    assert one["columns"] == ["born", "place"] and 0.02 < one["alone"] < 0.05


def test_a_person_with_many_rows_is_one_person() -> None:
    table = people(rows=300, born=40, place=20).with_columns(who=pl.int_range(300).cast(pl.String))
    once = together.run(agreed("born", "place", entity=True), table)["found"]
    often = together.run(agreed("born", "place", entity=True), pl.concat([table] * 3))["found"]
    assert once == often and once[0]["alone"] > 0.3
    rows = together.run(agreed("born", "place"), pl.concat([table] * 3))["found"]
    assert rows == [], "no row is alone there"


def test_one_column_more_is_told_only_for_what_it_adds() -> None:
    table = people(born=600, place=100).with_columns(same=pl.lit(1), twin=pl.col("born") // 300)
    said = together.run(agreed("born", "place", "same", "twin"), table)
    assert said["columns"] == ["born", "place", "twin"]
    assert [one["columns"] for one in said["found"]] == [["born", "place"], ["born"]]


def test_names_numbers_and_projects_without_people_are_left_out() -> None:
    table = people(born=200, place=50).with_columns(mail=pl.int_range(2000), pay=pl.col("y") * 1.0)
    contract = agreed("born", "place", "mail")
    assert together.run(contract, table)["columns"] == ["born", "place"]
    nobody = agreed("born", "place", personal=False)
    assert together.run(nobody, table) == {"columns": [], "found": []}
    by_name = people(age=60, city=50, gender=2)
    found = together.run(agreed("age", "city", "gender", personal=False), by_name)
    assert found["columns"] == ["age", "city", "gender"], "what the law protects is about a person"


def test_few_combinations_are_tried_of_many_columns() -> None:
    names = ["".join(pair) for pair in product("abcd", "efg")]
    table = people(**{name: 3 + place for place, name in enumerate(names)})
    said = together.run(agreed(*names), table)
    assert said["columns"] == names[-together.MOST :]
    assert 0 < len(said["found"]) <= together.SHOWN


def test_the_assessment_says_what_was_found_or_looked_at() -> None:
    one = {"columns": ["born", "place"], "smallest": 1, "alone": 0.83}
    said = assessment._together({"together": {"columns": ["born", "place"], "found": [one]}})
    assert "83\u00a0% by `born`, `place`" in said and "coarser" in said
    looked = assessment._together({"together": {"columns": ["born", "place"], "found": []}})
    assert (
        looked == "Measured: `born`, `place`, up to three of them together, leave less than 1 % of "
        "people alone."
    )
    assert "no column was found" in assessment._together({"together": {}})
    assert assessment._together({}) == "not measured: run `ml profile`."
