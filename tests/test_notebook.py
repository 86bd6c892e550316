"""The notebook shows what tells more than its parts on rows that did not choose it, and no more."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from helpers.rendering import render

CODE = """
import polars as pl
from churn_model.engine.data import validation
from churn_model.engine.settings import find_project
validation.store(
    find_project(), "data/processed/development.parquet", pl.read_parquet("rows.parquet")
)
"""


@pytest.mark.nightly
@pytest.mark.parametrize("planted", [True, False])
def test_an_idea_is_shown_where_it_holds_and_noise_shows_none(
    tmp_path: Path, planted: bool
) -> None:
    folder = render(tmp_path / "p")
    path = folder / "contracts/dataset.odcs.yaml"
    text = yaml.safe_load(path.read_text(encoding="utf-8"))
    target = next(
        column
        for column in text["schema"][0]["properties"]
        if {"property": "role", "value": "target"} in column["customProperties"]
    )
    role = [{"property": "role", "value": "feature"}]
    numbers = [{"name": n, "logicalType": "number", "customProperties": role} for n in "abcd"]
    text["schema"][0]["properties"] = [*numbers, target]
    path.write_text(yaml.safe_dump(text), encoding="utf-8")
    rng = np.random.default_rng(5)
    drawn = {name: rng.lognormal(0, 1, 8000) for name in "abcd"}
    chance = np.where(drawn["a"] > drawn["b"], 0.4, 0.1) if planted else np.full(8000, 0.2)
    y = pl.Series(target["name"], rng.random(8000) < chance)
    pl.DataFrame(drawn).with_columns(y).write_parquet(folder / "rows.parquet")
    env = {**os.environ, "PYTHONPATH": "src"}

    def run(*command: str) -> str:
        said = [sys.executable, *command]
        return subprocess.run(
            said, cwd=folder, env=env, capture_output=True, text=True, check=True
        ).stdout

    run("-c", CODE)
    shown = [line for line in run("notebooks/explore.py").splitlines() if "more than the" in line]
    none = "was shown to tell more" in run("notebooks/explore.py")
    assert none is not planted
    if planted:
        assert any('Ratio("a_b", of=("a", "b"))' in line for line in shown), shown
        assert all("a" in line.split("of=")[1] or "b" in line.split("of=")[1] for line in shown)
    else:
        assert shown == []
