"""The worst slice: when it closes the gate, when it warns, and what is no fault of the model."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from helpers.package import load, regression, sources

from package_name.engine import metrics, slices
from package_name.engine.data.contract import Column, Contract
from package_name.planner import measured

regression()
from regression_package.engine import slices as of_numbers  # noqa: E402

load("classes_in_slices", sources("multiclass"))
from classes_in_slices.engine import metrics as of_classes  # noqa: E402
from classes_in_slices.engine import slices as slices_of_classes  # noqa: E402

ROWS = 4000
PLAN = SimpleNamespace(answers={"personal_data": False})
AGREED = Contract(
    name="t",
    version="1",
    columns=(
        Column(name="shop", kind="category", role="feature"),
        Column(name="y", kind="integer", role="target"),
    ),
)


def item(level: str, metric: float, low: float, high: float, **more: float) -> dict[str, object]:
    return {
        "column": "shop",
        "level": level,
        "n": 200,
        "metric": metric,
        "low": low,
        "high": high,
        **more,
    }


def test_a_slice_below_the_floor_closes_the_gate_unless_it_may_be_chance() -> None:
    good, doubtful = item("a", 0.8, 0.75, 0.85), item("b", 0.6, 0.5, 0.7)
    poor = item("c", 0.55, 0.5, 0.6)
    nan = float("nan")
    calm = slices.weak([good], 0.8, nan, "roc_auc", 0.8, "ROC AUC")
    assert calm.worst["share"] == pytest.approx(1.0) and not calm.reasons + calm.warnings
    warned = slices.weak([good, doubtful], 0.8, nan, "roc_auc", 0.8, "ROC AUC")
    assert warned.worst["level"] == "b" and not warned.reasons
    assert "75\u00a0%" in warned.warnings[0] and "may be chance" in warned.warnings[0]
    closed = slices.weak([good, doubtful, poor], 0.8, nan, "roc_auc", 0.8, "ROC AUC")
    assert closed.worst["level"] == "c" and closed.worst["share_at_best"] == pytest.approx(0.75)
    assert "ROC AUC is 0.55 where shop is c (200 rows), 68.8\u00a0% of what" in closed.reasons[0]
    assert slices.weak([], 0.8, nan, "roc_auc", 0.8, "ROC AUC") == (None, [], [])
    assert slices.weak([item("a", nan, nan, nan)], 0.8, nan, "roc_auc", 0.8, "R").worst is None


def test_a_rarer_class_is_no_fault_of_the_model() -> None:
    """PR AUC falls with the share of positives, which is what no model reaches."""
    rare = item("a", 0.25, 0.2, 0.3, plain=0.05)
    assert slices.weak([rare], 0.5, 0.1, "pr_auc", 0.8, "PR AUC").worst["share"] == 1.0
    poor = item("a", 0.25, 0.2, 0.3, plain=0.1)
    assert slices.weak([poor], 0.5, 0.1, "pr_auc", 0.8, "PR AUC").reasons


def test_errors_count_the_other_way_and_a_wider_target_is_no_fault() -> None:
    wide, poor = item("a", 20.0, 18.0, 22.0, plain=50.0), item("b", 20.0, 18.0, 22.0, plain=25.0)
    assert of_numbers.weak([wide], 10.0, 25.0, "rmse", 0.8, "RMSE").worst["share"] == 1.0
    found = of_numbers.weak([wide, poor], 10.0, 25.0, "rmse", 0.8, "RMSE")
    assert found.worst["level"] == "b" and found.worst["share"] == 0.5
    assert found.worst["share_at_best"] == pytest.approx(10 / 18) and found.reasons
    calm = item("c", 8.0, 7.0, 9.0, plain=9.0)  # a narrow target: its own error is small
    assert not of_numbers.weak([calm], 10.0, 25.0, "rmse", 0.8, "RMSE").reasons


@pytest.mark.parametrize("planted", [False, True])
def test_a_planted_weak_slice_is_found(planted: bool) -> None:
    rng = np.random.default_rng(3)
    shop = rng.integers(0, 4, ROWS)
    p = rng.random(ROWS)
    y = (rng.random(ROWS) < p).astype(np.int8)
    if planted:
        y[shop == 2] = rng.integers(0, 2, int((shop == 2).sum()))
    frame = pl.DataFrame({"shop": [f"s{code}" for code in shop]})
    settings = SimpleNamespace(
        evaluation=SimpleNamespace(slices=(), min_slice_rows=50), training=SimpleNamespace(seed=0)
    )
    project, plain = SimpleNamespace(config=settings, plan=PLAN), np.full(ROWS, y.mean())
    found = slices.run(project, AGREED, frame, np.arange(ROWS), y, p, "roc_auc", 0.5, plain)
    assert len(found) == 4 and all(one["plain"] == 0.5 for one in found)
    whole = metrics.score("roc_auc", y, p)
    weak = slices.weak(found, whole, 0.5, "roc_auc", 0.8, "ROC AUC")
    assert bool(weak.reasons) is planted and not weak.warnings
    assert not planted or weak.worst["level"] == "s2"


def test_a_slice_that_counts_by_the_baseline_is_told_so() -> None:
    rare = item("a", 0.34, 0.3, 0.4, plain=0.05)
    worst = slices.weak([rare], 0.36, 0.06, "pr_auc", 0.8, "PR AUC").worst
    assert worst is not None and worst["share"] > 1
    said = measured._least(worst)
    assert said.startswith("; none worse than all rows, beside the simplest baseline")
    alone = slices.weak([item("a", 0.34, 0.3, 0.4)], 0.36, 0.06, "pr_auc", 0.8, "PR AUC").worst
    assert measured._least(alone).startswith("; the worst, `shop` = `a`, is 94.44\u00a0% as good")
    assert measured._worse(0.017) == "worse by 0.017" and measured._worse(-0.1) == "better by 0.1"


def test_a_slice_that_the_baseline_lifts_is_told_though_another_is_the_worst() -> None:
    lifted = item("promo", 3.08, 2.6, 3.5, plain=9.0)  # 57 % by itself, above all by its baseline
    other = item("bolts", 1.8, 1.7, 1.9, plain=4.1)
    worst = of_numbers.weak([lifted, other], 1.76, 4.07, "pinball", 0.8, "pinball loss").worst
    assert worst is not None and worst["level"] == "bolts" and worst["share"] < 1
    assert "beside the simplest baseline" in measured._least(worst)


def test_few_rows_of_many_classes_are_no_fault_of_the_model() -> None:
    """Mean F1 is worse of 60 rows than of 4000 by that alone; a slice that is worse is found."""
    rng, classes = np.random.default_rng(5), 24
    y = rng.integers(0, classes, ROWS)
    p = rng.random((ROWS, classes))
    p[np.arange(ROWS), y] += 0.7
    p[:60] = rng.random((60, classes))
    p /= p.sum(axis=1, keepdims=True)
    plain = np.full((ROWS, classes), 1 / classes)
    whole = of_classes.score("macro_f1", y, p)
    found = [
        {"column": "shop", "level": str(part), "n": 60}
        | dict.fromkeys(("metric", "high"), of_classes.score("macro_f1", y[rows], p[rows]))
        for part in range(40)
        for rows in [slice(60 * part, 60 * part + 60)]
    ]
    among = slices_of_classes._of_drawn("macro_f1", y, p, plain, 0.0, 60)
    nan = float("nan")
    bare = [slices_of_classes._share(one, one["metric"], whole, nan, "macro_f1") for one in found]
    found = [one | {"among": [among[0], nan]} for one in found]
    fair = [slices_of_classes._share(one, one["metric"], whole, nan, "macro_f1") for one in found]
    assert np.mean(bare[1:]) < 0.95 and np.mean(fair[1:]) == pytest.approx(1, abs=0.05)
    weak = slices_of_classes.weak(found, whole, nan, "macro_f1", 0.6, "macro F1")
    assert weak.worst["level"] == "0" and "as many rows of all" in weak.reasons[0]
