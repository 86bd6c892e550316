"""Groups that are asked about: what is right of their decisions, with ratio and interval."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
from helpers import package  # noqa: F401  makes `package_name` importable

from package_name.engine import slices
from package_name.engine.data.contract import Column, Contract
from package_name.planner import measured

AGREED = Contract(
    name="t",
    version="1",
    columns=(
        Column(name="sex", kind="category", role="excluded", personal=True),
        Column(name="town", kind="category", role="feature"),
        Column(name="y", kind="boolean", role="target"),
    ),
)
PLAN: Any = SimpleNamespace(plan=SimpleNamespace(named=lambda name: name.capitalize()))


def found(*columns: str) -> list[dict[str, Any]]:
    """Return slices of rows whose positives are found in 9 of 10 cases, of women in 5."""
    rng = np.random.default_rng(0)
    rows = 4000
    woman, y = rng.random(rows) < 0.5, rng.random(rows) < 0.4
    seen = rng.random(rows) < np.where(woman, 0.5, 0.9)
    p = np.where(y & seen | (~y & (rng.random(rows) < 0.1)), 0.8, 0.2)
    frame = pl.DataFrame(
        {"sex": np.where(woman, "f", "m"), "town": rng.choice(["a", "b"], rows), "y": y}
    )
    project: Any = SimpleNamespace(
        config=SimpleNamespace(
            evaluation=SimpleNamespace(slices=columns, min_slice_rows=50),
            training=SimpleNamespace(seed=1),
        ),
        plan=SimpleNamespace(answers={"personal_data": False}),
    )
    places = np.arange(rows)
    given = frame, places, y.astype(np.int8), p, "roc_auc", 0.5
    return slices.run(project, AGREED, *given)


def test_a_planted_gap_between_groups_is_told_with_its_ratio() -> None:
    both = found("sex", "town")
    recall = {(s["column"], s["level"]): s["rates"]["recall"] for s in both}
    woman, man = recall["sex", "(personal) 1"], recall["sex", "(personal) 2"]
    assert abs(woman["value"] - 0.5) < 0.05 and abs(man["value"] - 0.9) < 0.05
    assert woman["low"] < woman["value"] < woman["high"] < man["low"]
    said = measured._gaps(both, PLAN).splitlines()
    assert said[1].startswith("Recall by `sex`: 0.5") and "intervals apart" in said[1]
    ratio = float(said[1].split("ratio ")[1].split(",")[0])
    assert abs(ratio - 0.5 / 0.9) < 0.06
    assert all("intervals not apart" in line for line in said if "`town`" in line)


def test_groups_that_nobody_named_have_no_rates() -> None:
    alone = found()
    assert {s["column"] for s in alone} == {"town"} and not [s for s in alone if "rates" in s]
    assert measured._gaps(alone, PLAN) == ""
