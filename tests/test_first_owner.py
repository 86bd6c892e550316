"""What a first owner of a project read and could not reconcile with it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from package_name.engine import folds, monitoring, storage
from package_name.engine.data.contract import Column, Contract, of_nobody
from package_name.engine.model import registry
from package_name.engine.model.reach import Reached
from package_name.engine.model.scorer import NumericFeature, Scorer
from package_name.planner import check, compared


def test_only_models_of_nearly_all_rows_say_what_drift_is_held_against() -> None:
    rows = np.arange(60)
    growing = [(rows[: 10 * n], rows[10 * n : 10 * n + 10]) for n in range(1, 6)]
    parts = folds.Split(rows, rows[:0], growing, [])
    assert parts.nearly_all().tolist() == list(range(40, 60))
    even = [(np.setdiff1d(rows, rows[n::5]), rows[n::5]) for n in range(5)]
    assert parts._replace(folds=even).nearly_all().tolist() == rows.tolist()


def test_a_number_far_from_all_of_training_is_told_with_its_answer() -> None:
    low, high = monitoring._reach(12.0, 276_111.0)
    assert (low, high) == (-300_000.0, 600_000.0)  # no value of a row stands there
    scorer: Any = Scorer.__new__(Scorer)
    columns = [SimpleNamespace(name=name, idle=name == "idle") for name in ("km", "idle", "day")]
    scorer.sent, scorer.far, scorer._reaches = columns, [], ()
    parts = [NumericFeature("km", "km"), NumericFeature("idle", "idle")]
    parts += [NumericFeature("day.month", "day", "month"), NumericFeature("secret", "secret")]
    scorer.spec = SimpleNamespace(numeric=parts)
    known = Reached((low, high))
    scorer.knows({"km": known, "idle": known, "day": known})
    rows = np.array([[9e4, 1e9, 1e9, 1e9], [1e12, 0, 0, 0], [-1e6, 0, 0, 0], [np.nan] * 4])
    [(text, far)] = scorer.beyond(rows.astype(np.float32))
    assert text == "km: far from all values of training"
    assert far.tolist() == [False, True, True, False]
    assert scorer.beyond(rows[:1].astype(np.float32)) == []


@pytest.mark.parametrize(
    "values", [[2015, 2025], [20_230_101, 20_230_103], [0.5123, 0.5124], [-1025.5, -1024.5], [0, 1]]
)
def test_no_value_of_training_is_far_from_them_all(values: list[float]) -> None:
    low, high = monitoring._profile(pl.Series(values, dtype=pl.Float64))["reach"]
    seen = np.array(values, np.float32).astype(np.float64)  # as models see them
    wide = seen[1] - seen[0]
    assert (low < seen).all() and (seen < high).all()
    assert seen[0] - 3.1 * wide < low and high < seen[1] + 3.1 * wide


def test_of_one_value_nothing_is_far() -> None:
    assert "reach" not in monitoring._profile(pl.Series([12_345, 12_345]))


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(-30.0, -12.0, "is a loss"), (-30.0, 12.0, "may be zero or a loss"), (1.0, 9.0, "")],
)
def test_a_sure_loss_is_no_doubt_that_more_rows_end(low: float, high: float, said: str) -> None:
    worth = {"value": (low + high) / 2, "low": low, "high": high}
    assert said in compared.loss(worth) and bool(compared.loss(worth)) is bool(said)
    business: dict[str, Any] = {f"value_{name}": worth[name] for name in ("low", "high")}
    business |= {"value_per_year": worth["value"], "says_nothing": False, "currency": "EUR"}
    business |= {"baseline_policy": "today", "over": worth | {"policy": "today"}}
    more = ["bring more test rows" in reason for reason in compared.losses(business)]
    assert more == ([] if not said else [said != "is a loss"])


def project(root: Path, champion: str, version: str, *, passed: bool) -> Any:
    storage.write_json(root / "models/registry.json", {"champion": champion, "versions": {}})
    report = {"version": version, "gate": {"passed": passed}}
    storage.write_json(root / "reports/metrics.json", report)
    return SimpleNamespace(path=lambda name: root / name, root=root)


def test_after_a_rollback_the_check_says_that_the_plan_tells_of_another(tmp_path: Path) -> None:
    [found] = check._in_use(project(tmp_path, "v1", "v2", passed=True))
    assert "tells of v2, while v1 is in use: `ml evaluate v1`" in found.message
    assert not [*check._in_use(project(tmp_path, "v2", "v2", passed=True))]
    assert not [*check._in_use(project(tmp_path, "v1", "v2", passed=False))]  # its gate says so


def test_a_champion_of_another_task_is_not_called_damaged(tmp_path: Path) -> None:
    of = project(tmp_path, "v1", "v1", passed=True)
    known = {"run": "r", "status": "champion", "gate_passed": True}
    storage.write_json(
        tmp_path / "models/registry.json",
        {"champion": "v1", "previous": [], "versions": {"v1": known, "v2": known}},
    )
    storage.write_json(tmp_path / "models/v1/manifest.json", {"task": "multiclass"})
    said = registry.of_another_task(of)
    assert said.startswith("v1 was made for task_type multiclass and v2 is not promoted")
    storage.write_json(tmp_path / "models/v1/manifest.json", {"task": "binary"})
    assert registry.of_another_task(of) == ""


def test_personal_columns_of_a_plan_about_nobody_are_told() -> None:
    columns = [Column(name="price", kind="number", role="target")]
    columns += [
        Column(name=name, kind="category", role="excluded", personal=True)
        for name in ("plate", "sex", "birth", "mail")
    ]
    agreed = Contract(name="t", version="1", columns=tuple(columns))
    said = of_nobody(agreed, {"personal_data": False})
    assert said.startswith("plate, sex, birth and 1 more: classified as personal")
    assert "`ml update --data personal_data=yes`" in said
    assert of_nobody(agreed, {"personal_data": True}) == ""
    bare = Contract(name="t", version="1", columns=tuple(columns[:1]))
    assert of_nobody(bare, {"personal_data": False}) == ""
