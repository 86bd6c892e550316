"""A new version beside the champion: worse beyond chance it does not take its place by itself."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from helpers import bundles as small

from package_name.engine import steps, storage, task
from package_name.engine.data import contract
from package_name.engine.errors import CheckFailed
from package_name.engine.model import registry, succession, trial
from package_name.engine.model.scorer import Scorer
from package_name.engine.settings import Project

DRAWN = {"draws": 100, "seed": 0, "groups": None}


def beside(made: Project, version: str) -> tuple[dict[str, Any] | None, list[str]]:
    folder, agreed = made.path(f"models/{version}"), contract.read(made.contract_path)
    scorer, warnings = Scorer.load(folder), []
    trained = storage.read_json(folder / "training.json")
    tested = trial.score(made, folder, scorer, agreed, trained)
    return succession.judged(made, scorer, agreed, tested, DRAWN, warnings), warnings


def test_a_version_that_is_worse_beyond_chance_needs_to_be_forced(tmp_path: Path) -> None:
    made, good = small.project(tmp_path), small.frame(1600)
    registry.promote(made, small.train(made, table=good))
    assert beside(made, "v1") == (None, [])  # the champion itself
    told, warnings = beside(made, small.train(made, table=good))
    assert told is not None and not told["worse"] and not warnings
    assert told["said"].startswith("as good as the champion v1 on the same test rows, within")

    wrong = pl.concat([good[:800].with_columns(~pl.col("y")), good[800:]])
    told, (warning,) = beside(made, small.train(made, table=wrong))
    assert told is not None and told["worse"]
    assert warning.startswith("v3 is worse than the champion v1") and "beyond chance" in warning
    report = storage.read_json(made.path("models/v3/metrics.json")) | {"before": told}
    registry.set_evaluated(made, "v3", report, gate_passed=True, metric=0.5)
    with pytest.raises(CheckFailed, match=r"worse than the champion v1.*`ml promote v3 --force"):
        registry.promote(made, "v3")
    registry.promote(made, "v2")
    registry.promote(made, "v3")  # of another champion it says nothing
    registry.rollback(made)
    registry.rollback(made)
    registry.promote(made, "v3", force_reason="it needs no personal column")
    assert registry.read(made).champion == "v3"

    told, (warning,) = beside(made, small.train(made, table=small.frame(1600, seed=5)))
    assert told is not None and (told["value"], told["worse"]) == (None, False)  # other test rows
    assert warning == (
        "v4 is not held against the champion v3: it may have learnt from these test rows"
    )


def test_after_a_month_both_are_held_against_rows_that_are_later_than_what_they_learnt(
    tmp_path: Path,
) -> None:
    """Rows have come, so the test rows are others; one that the champion knew is refused."""
    made = small.project(tmp_path)
    document = yaml.safe_load(made.contract_path.read_text(encoding="utf-8"))
    (role,) = document["schema"][0]["properties"][4]["customProperties"]
    role["value"] = "time"
    storage.write_text(made.contract_path, yaml.safe_dump(document))
    table = small.frame(2400).sort("since", maintain_order=True)
    registry.promote(made, small.train(made, table=table[:1600]))
    told, _ = beside(made, small.train(made, table=table[600:]))  # tests 1500 to 2400
    assert told is not None and told["version"] == "v1"
    wrong = pl.concat([table[600:1500].with_columns(~pl.col("y")), table[1500:]])
    told, (warning,) = beside(made, small.train(made, table=wrong))
    assert told is not None and told["worse"] and "on the same test rows" in warning
    told, _ = beside(made, small.train(made, table=table[:1000]))  # tests 500 to 1000
    assert told is not None and "may have learnt" in told["said"]


def test_versions_that_answer_or_read_something_else_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, good = small.project(tmp_path), small.frame(1600)
    registry.promote(made, small.train(made, table=good, plan={"min_gain": 7.5}))
    monkeypatch.setattr(task, "ROW_FACTS", ("min_gain",))
    told, _ = beside(made, small.train(made, table=good))
    assert told is not None and "min_gain was 7.5 in its plan" in told["said"]
    monkeypatch.undo()

    document = yaml.safe_load(made.contract_path.read_text(encoding="utf-8"))
    document["schema"][0]["properties"].pop(1)
    storage.write_text(made.contract_path, yaml.safe_dump(document))
    gone = contract.read(made.path("models/v1/contract.odcs.yaml")).columns[1].name
    told, _ = beside(made, small.train(made, table=good.drop(gone)))
    assert told is not None and f"has no column {gone!r} any more" in told["said"]


def test_a_promotion_that_was_refused_is_tried_again(tmp_path: Path) -> None:
    made, refused, seen = small.project(tmp_path), [True], []

    def promote(_: Project) -> None:
        if refused:
            raise CheckFailed("worse")
        seen.append("promoted")

    step = steps.Step("promote", promote, (), (), may_fail=True, tries_again=True)
    for _ in range(3):
        failures: list[str] = []
        steps.perform(made, [step], lambda _: None, {}, failures, force=False)
        assert failures == ["worse"] * bool(refused)
        refused.clear()
    assert seen == ["promoted"]  # once: then it is up to date
