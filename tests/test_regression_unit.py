"""Regression: metrics, intervals, the value to plan with, worth, and estimates without labels."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
from helpers.package import load, sources
from hypothesis import given
from hypothesis import strategies as st

load("regression_package", sources("regression"))
from regression_package import decision, value  # noqa: E402
from regression_package.engine import comparison, metrics, performance, report, resampling, task  # noqa: E402
from regression_package.engine.errors import ProjectError  # noqa: E402
from regression_package.engine.model import graph, plain, stored_graph  # noqa: E402
from regression_package.engine.model.head import Head  # noqa: E402
from regression_package.engine.model.scorer import FeatureSpec, NumericFeature, session  # noqa: E402
from regression_package.engine.resampling import Interval  # noqa: E402

Floats = np.ndarray[Any, np.dtype[np.float64]]
OPTIONS: dict[str, Any] = {"draws": 200, "seed": 0, "groups": None}


def world(rows: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Return actual values of falling certainty, and the best prediction of each."""
    rng = np.random.default_rng(seed)
    best = rng.gamma(2, 50, rows)
    return np.maximum(0, best * (1 + 0.3 * rng.standard_normal(rows))), best


@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_are_those_of_scikit_learn(weighted: bool) -> None:
    y, p = world(500)
    p = p + 3
    w = np.random.default_rng(1).integers(1, 4, len(y)).astype(float) if weighted else None
    reference = {
        "mae": sk.mean_absolute_error(y, p, sample_weight=w),
        "rmse": sk.root_mean_squared_error(y, p, sample_weight=w),
        "r2": sk.r2_score(y, p, sample_weight=w),
        "medae": sk.median_absolute_error(y, p, sample_weight=w),
        "wape": np.average(np.abs(y - p), weights=w) / np.average(np.abs(y), weights=w),
        "bias": np.average(p - y, weights=w),
    }
    for name, expected in reference.items():
        assert metrics.score(name, y, p, weights=w) == pytest.approx(expected), name
    known = y != 0
    mape = sk.mean_absolute_percentage_error(y[known], p[known])
    assert metrics.score("mape", y, p) == pytest.approx(mape)
    loss = metrics.pinball(y, p, 0.8).mean()
    assert loss == pytest.approx(sk.mean_pinball_loss(y, p, alpha=0.8))
    assert metrics.score("pinball", y, p, 0.8) < loss
    assert set(metrics.evaluate(y, p)) == set(metrics.NAMES)


def test_values_without_a_metric_are_undefined() -> None:
    same = np.ones(5)
    assert np.isnan(metrics.score("r2", same, same))
    assert np.isnan(metrics.score("mape", same * 0, same))
    with pytest.raises(ValueError, match="one finite value per row"):
        metrics.score("mae", same, same * np.nan)


def test_intervals_of_metrics_hold_their_share_and_groups_widen_them() -> None:
    y, p = world(400)
    hits = []
    for seed in range(100):
        y, p = world(400, seed)
        found = resampling.bootstrap(y, p, 0.5, ["mae"], draws=200, seed=0)["mae"]
        hits.append(found.low <= 0.3 * np.sqrt(2 / np.pi) * 100 <= found.high)
    assert np.mean(hits) >= 0.88
    groups = np.repeat(np.arange(40), 10)
    y, p = np.repeat(y[:40], 10), np.repeat(p[:40], 10)
    single = resampling.bootstrap(y, p, 0.5, ["mae"], draws=200, seed=0)["mae"]
    whole = resampling.bootstrap(y, p, 0.5, ["mae"], draws=200, seed=0, groups=groups)["mae"]
    assert whole.high - whole.low > 2 * (single.high - single.low)


def test_a_paired_gain_is_above_0_when_the_error_falls() -> None:
    y, p = world(1000)
    for name in ("mae", "rmse", "r2", "pinball"):
        gain = resampling.paired_gain(y, p, p * 1.5, name, **OPTIONS)
        assert 0 < gain.low < gain.value < gain.high, name


@pytest.mark.parametrize("coverage", [0.8, 0.9])
@pytest.mark.parametrize("rows", [300, 5000])
def test_an_interval_covers_what_it_says_at_each_size(rows: int, coverage: float) -> None:
    y, p = world(rows)
    head = decision.intervals(y, p, coverage=coverage, quantile=0.7)
    y, p = world(50_000, seed=1)
    answers = head.answers(p)
    measured = resampling.measure(
        y[:5000], p[:5000], {n: a[:5000] for n, a in answers.items()}, 0.7, **OPTIONS
    )
    assert measured["coverage"].value == pytest.approx(coverage, abs=0.05)
    assert (y <= answers["decision"]).mean() == pytest.approx(0.7, abs=0.06)
    if rows == 5000:
        shares = [bin_["coverage"] for bin_ in metrics.by_size(y, answers)]
        assert min(shares) > coverage - 0.08, shares


def test_few_rows_give_one_width_that_holds_all_of_them() -> None:
    y, p = world(10)
    head = decision.intervals(y, p, coverage=0.9, quantile=0.5)
    answers = head.answers(p)
    assert len(head.knots) == 1
    assert ((answers["low"] <= y) & (y <= answers["high"])).all()


@given(under=st.floats(0, 100), over=st.floats(0.01, 100), seed=st.integers(0, 50))
def test_the_value_to_plan_with_is_the_cheapest_constant(
    under: float, over: float, seed: int
) -> None:
    costs = decision.Costs(over, under)
    y = np.random.default_rng(seed).gamma(2, 10, 500)
    planned = np.quantile(y, decision.plan_quantile(costs))
    mean = decision.cost(y, np.full(500, planned), costs).mean()
    others = [decision.cost(y, np.full(500, at), costs).mean() for at in np.linspace(0, 60, 61)]
    assert mean <= min(others) + (over + under) * 0.05


def test_costs_without_an_error_that_costs_are_refused() -> None:
    facts = SimpleNamespace(cost_over=0.0, cost_under=0.0)
    with pytest.raises(ProjectError, match="an error must cost something"):
        decision.costs(SimpleNamespace(facts=facts))  # type: ignore[arg-type]


@pytest.mark.parametrize("floor", [0.0, -np.inf])
@pytest.mark.parametrize("knots", [1, 4])
def test_a_graph_repeats_the_answers_and_states_its_head(floor: float, knots: int) -> None:
    spec = FeatureSpec((NumericFeature("a", "a"),), ())
    zero, one = np.zeros(1, np.float32), np.ones(1, np.float32)
    model = plain.Linear(0.0, zero, one, zero, ())
    at = np.linspace(-5, 40, knots)
    head = Head(at, -np.abs(at) - 1, np.abs(at) + 2, np.abs(at) / 3, 0.9, 0.7, floor)
    member = graph.Member(model, lambda x: x[:, 0].astype(np.float64))
    predictor = graph.Predictor((member,), head)
    x = np.r_[-1e6, np.linspace(-20, 60, 321), 1e6].astype(np.float32)[:, None]
    content = graph.emit(predictor, spec, encoded=True)
    found = session(content).run(list(task.NAMES), {"x": x})
    for name, column in zip(task.NAMES, found, strict=True):
        np.testing.assert_allclose(column[:, 0], predictor.answers(x)[name], rtol=1e-6)
    assert stored_graph.stated(content, task.stated) == {"head": head.method}
    bare = graph.emit(graph.Predictor((member,)), spec, encoded=True)
    assert [o.name for o in session(bare).get_outputs()] == ["value"]
    with pytest.raises(ProjectError, match="not a graph of this project"):
        stored_graph.stated(bare, task.stated)


FACTS = {
    "cost_over": 2.0,
    "cost_under": 6.0,
    "today_error": 30.0,
    "predictions_per_month": 1000.0,
    "currency": "EUR",
    "interval_coverage": 0.9,
    "target_mean": 100.0,
}


def judged(y: Floats, answers: dict[str, Floats], **facts: float) -> Any:
    settings = SimpleNamespace(
        evaluation=SimpleNamespace(bootstrap=200), training=SimpleNamespace(seed=1)
    )
    project: Any = SimpleNamespace(facts=SimpleNamespace(**{**FACTS, **facts}), config=settings)
    return value.judge(project, y, answers, 0.75, None, made_up=False)


def test_worth_is_what_errors_cost_less_than_today() -> None:
    """By hand: 10 too much at 2, and 10 too little at 6, are 40 a row on average."""
    y = np.tile([90.0, 110.0], 500)
    planned = np.full(1000, 100.0)
    wide = {"value": y, "low": y - 10, "high": y + 10, "decision": planned}
    business = judged(y, wide).report["business"]
    assert business["cost_per_1000"] == pytest.approx(40_000)
    assert business["cost_per_1000_baseline"] == pytest.approx(30 * (2 + 6) / 2 * 1000)
    assert business["value_per_year"] == pytest.approx((120 - 40) * 12_000)
    # One value for all is 110, the cheapest constant: 20 too much in every second row.
    assert business["over"]["policy"] == "the same value for all"
    assert business["over"]["value"] == pytest.approx((20 - 40) * 12_000)


def test_a_useless_model_fails_its_gate_and_a_doubtful_interval_warns() -> None:
    y, p = world(2000)
    head = decision.intervals(y, p, coverage=0.9, quantile=0.75)
    good = judged(y, head.answers(p))
    assert (good.reasons, good.warnings) == ([], [])
    flat = judged(y, head.answers(np.full(len(y), 90.0)))
    assert any("the same value" in reason for reason in flat.reasons)
    narrow = judged(y, head._replace(low=head.low / 3, high=head.high / 3).answers(p))
    assert any("actual values are in the interval" in reason for reason in narrow.reasons)
    doubtful = judged(y, head._replace(low=head.low * 0.8, high=head.high * 0.8).answers(p))
    assert any("actual values are in the interval" in text for text in doubtful.warnings)
    poor = judged(y, head.answers(p), today_error=1.0)
    assert any("value a year is a loss" in reason for reason in poor.reasons)


def test_errors_without_actual_values_are_estimated_by_size() -> None:
    y, p = world(20_000)
    known = performance.known(p, y) | {"rows": len(y)}
    y, p = world(5000, seed=2)
    larger = p > 100
    found = performance.estimate(p[larger], known)
    assert found["mae"] == pytest.approx(np.abs(y - p)[larger].mean(), rel=0.1)
    manifest: Any = SimpleNamespace(primary_metric="mae", decision={"quantile": 0.5}, outputs=())
    settings: Any = SimpleNamespace(warn=0.1, act=0.25)
    error = float(np.abs(y - p).mean())
    tested = Interval(error, error * 0.96, error * 1.04)
    rest = known, manifest, tested, settings
    unknown = np.full(len(y), np.nan)
    assert comparison.compare(p, unknown, *rest)["level"] == "ok"
    assert comparison.compare(p[larger], unknown[larger], *rest)["level"] == "warn"
    assert comparison.compare(p, y, *rest)["level"] == "ok"
    moved = comparison.compare(p, y + error / 2, *rest)
    assert moved["bias"]["level"] == moved["level"] == "act"
    _, mixed = performance.broken(y, np.random.default_rng(0))
    assert comparison.compare(p, mixed, *rest)["level"] == "act"


def test_new_rows_like_the_old_are_quiet() -> None:
    y, p = world(5000)
    known = performance.known(p, y) | {"rows": len(y)}
    manifest: Any = SimpleNamespace(primary_metric="rmse", decision={"quantile": 0.5}, outputs=())
    settings: Any = SimpleNamespace(warn=0.1, act=0.25)
    tested = resampling.bootstrap(y, p, 0.5, ["rmse"], draws=200, seed=0)["rmse"]
    levels = []
    for seed in range(60):
        y, p = world(500, seed + 10)
        found = comparison.compare(p, y, known, manifest, tested, settings, draws=100)
        levels.append(found["level"])
    assert levels.count("ok") >= 55, levels


def test_the_task_declares_what_it_answers_and_needs() -> None:
    y, _ = world(1000)
    names = [output.name for output in task.outputs(y)]
    assert names == ["value", "low", "high", "decision"]
    cuts = task.outputs(y)[0].cuts
    assert list(cuts) == sorted(set(cuts)) and y.min() < cuts[0] < cuts[-1] < y.max()
    assert task.lacks(y) == "" and "different values" in task.lacks(y * 0)
    assert np.bincount(task.strata(y)).tolist() == [100] * 10
    assert task.rounded(np.array([123456.7, -0.00123456, 0.0])).tolist() == [
        123460.0,
        -0.0012346,
        0,
    ]


def evaluated(y: Floats, p: Floats) -> dict[str, Any]:
    """Return the metrics.json of a model that predicts `p`, measured by the modules themselves."""
    answers = decision.intervals(y, p, coverage=0.9, quantile=0.75).answers(p)
    plain = metrics.evaluate(y, np.full(len(y), np.median(y)), 0.75)
    gain = resampling.paired_gain(
        y, p, np.full(len(y), np.median(y)), "mae", 0.75, draws=50, seed=0
    )
    found = resampling.measure(y, p, answers, 0.75, draws=50, seed=0, groups=None)
    gate = {"passed": True, "reasons": [], "warnings": [], "min_gain": 1, "limit": 30.0}
    return {
        "version": "v1", "run": "r", "primary_metric": "mae", "baselines": {"median": plain},
        "candidates": {},
        "champion": {
            "name": "lightgbm", "quantile": 0.75, "coverage": 0.9,
            "metrics": {name: value._asdict() for name, value in found.items()},
        },
        "gains": {"median": gain._asdict()},
        "gate": gate | {"gain": gain.value, "gain_low": gain.low},
        "data": {"rows": 5 * len(y), "test_rows": len(y), "hash": "ab", **task.summary(y)},
        "slices": [{"column": "town", "level": "north", "n": 500, **task.summary(y[:500]),
                    "metric": 22.0, "low": 20.0, "high": 25.0}],
        **judged(y, answers, today_error=60.0).report,
    }  # fmt: skip


def test_the_page_tells_errors_intervals_and_money_in_words_of_regression(tmp_path: Path) -> None:
    y, p = world(2000)
    plan = SimpleNamespace(
        project=SimpleNamespace(name="Houses"),
        answers={
            "problem": "What is it worth?",
            "target": "price",
            "target_unit": "kEUR",
            "prediction_unit": "house",
        },
        named=lambda name: {"medae": "median absolute error"}.get(name, name.replace("_", " ")),
        value=lambda output: ["rmse", "medae", "coverage"],
    )
    example = {"row": 3, "value": 120.0, "low": 80.0, "high": 170.0, "decision": 131.0}
    contributions = [{"feature": "area", "value": "90", "contribution": 12.5}]
    curve = [{"rows": 500, "train": 20.0, "valid": 30.0}, {"rows": 1600, "train": 22, "valid": 25}]
    context = {
        "plan": plan, "metrics": evaluated(y, p), "data_quality": None, "bench": None,
        "training": {
            "cv": {"scheme": "k_fold", "folds": 2, "scores": {"lightgbm": [24.0, 25.0]}},
            "split": {"scheme": "random", "development_rows": 8000, "test_rows": 2000},
            "candidates": {"lightgbm": {"score": 24.5, "std": 1, "fit_seconds": 2, "rounds": 90}},
            "chosen": "lightgbm", "learning_curve": curve, "features": ["area", "town"],
        },
        "explain": {
            "method": "Shapley values", "made": [],
            "rows": [example | {"contributions": contributions}],
            "global": [{"feature": "area", "importance": 9.0}],
            "partial_dependence": {"area": [[50, 80.0], [90, 120.0]], "town": [["north", 99.5]]},
        },
    }  # fmt: skip
    page = tmp_path / "evaluation.html"
    report.render("evaluation.html", page, **context)
    report.render("drift.html", tmp_path / "drift.html", drift=drifted(), plan=plan)
    html = page.read_text(encoding="utf-8")
    text, drift = readable(html), readable((tmp_path / "drift.html").read_text(encoding="utf-8"))
    assert "On average the model says 4 more than what came" in drift
    for words in (
        "at most 30 asked", "value 120 (80 to 170; plan with 131)",
        "Coverage of the interval by predicted size", "the same value for all", "Mean value if",
        "500 of the test rows", "75 % quantile", "Predicted minus actual", "+12.5",
    ):  # fmt: skip
        assert words.replace(" %", "\u00a0%") in html + text
    assert html.count('class="dot"') == 500
    assert "median absolute error" in text and "medae" not in text.lower()
    other = r"positiv|prevalence|probabilit|threshold|\bclass\b|\broc\b|alarm|confusion|flagged"
    assert not re.search(other, text + drift, re.IGNORECASE)


def readable(html: str) -> str:
    """Return what people read of a page, in one line."""
    bare = re.sub(r"<style>.*?</style>|<[^>]*>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", bare)


def drifted() -> dict[str, Any]:
    """Return a drift.json whose model says too much."""
    y, p = world(3000)
    known = performance.known(p, y) | {"rows": len(y)}
    manifest: Any = SimpleNamespace(primary_metric="mae", decision={"quantile": 0.5}, outputs=())
    settings: Any = SimpleNamespace(warn=0.1, act=0.25)
    bias = 4 - float((p - y).mean())
    live = comparison.compare(p + bias, y, known, manifest, Interval(24, 23, 25), settings)
    return {
        "version": "v1", "run": "r", "level": "ok", "rows": 900, "reference_rows": 5000,
        "features": [], "performance": live,
        "prediction": {"feature": "value", "statistic": "distribution", "test": "psi",
                       "value": 0.01, "limit_warn": 0.1, "limit_act": 0.25, "level": "ok"},
    }  # fmt: skip
