"""Metrics against scikit-learn, intervals against simulation, thresholds against brute force."""

from types import SimpleNamespace
from typing import Any

import helpers.package  # noqa: F401
import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from package_name import decision, models, training
from package_name import value as valuing
from package_name.engine import metrics, resampling
from package_name.engine.errors import ProjectError
from package_name.planner import compared


def sample(n=400, seed=0, kind="smooth"):
    rng = np.random.default_rng(seed)
    p = rng.random(n)
    if kind == "ties":
        p = np.round(p, 1)
    if kind == "extreme":
        p = np.where(rng.random(n) < 0.3, rng.choice([0.0, 1.0, 1e-300, 1 - 1e-16], n), p)
    y = (rng.random(n) < 0.1 + 0.7 * p).astype(int)
    return y, p


def reference(y, p, t, w):
    d = (p >= t).astype(int)
    q = np.clip(p, 1e-6, 1 - 1e-6)
    x = np.log(q / (1 - q))[:, None]
    line = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-14, max_iter=1000)
    zero = {"sample_weight": w, "zero_division": np.nan}
    return {
        "roc_auc": sk.roc_auc_score(y, p, sample_weight=w),
        "pr_auc": sk.average_precision_score(y, p, sample_weight=w),
        "log_loss": sk.log_loss(y, p, sample_weight=w),
        "brier": sk.brier_score_loss(y, p, sample_weight=w),
        "accuracy": sk.accuracy_score(y, d, sample_weight=w),
        "balanced_accuracy": sk.balanced_accuracy_score(y, d, sample_weight=w),
        "precision": sk.precision_score(y, d, **zero),
        "recall": sk.recall_score(y, d, **zero),
        "f1": sk.f1_score(y, d, **zero),
        "mcc": sk.matthews_corrcoef(y, d, sample_weight=w),
        "calibration_slope": line.fit(x, y, sample_weight=w).coef_[0, 0],
    }


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["smooth", "ties", "extreme"])
def test_metrics_match_sklearn(kind, weighted, threshold):
    y, p = sample(kind=kind)
    w = np.random.default_rng(1).integers(0, 4, len(y)).astype(float) if weighted else None
    found = metrics.evaluate(y, p, threshold, w)
    for name, value in reference(y, p, threshold, w).items():
        assert found[name] == pytest.approx(value, abs=1e-9, nan_ok=True), name
        alone = metrics.score(name, y, p, threshold, w)
        assert alone == pytest.approx(found[name], nan_ok=True)


@settings(max_examples=150)
@given(
    rows=st.lists(
        st.tuples(
            st.booleans(), st.sampled_from([0, 0.1, 0.1 + 1e-16, 0.5, 1.0]), st.integers(0, 3)
        ),
        min_size=2,
        max_size=40,
    )
)
def test_small_and_tied_samples_match_sklearn(rows):
    y, p, w = (np.array(column, float) for column in zip(*rows, strict=True))
    if not (w[y == 1].sum() and w[y == 0].sum()):
        return
    found = metrics.evaluate(y, p, 0.5, w)
    assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(y, p, sample_weight=w), abs=1e-9)
    assert found["pr_auc"] == pytest.approx(
        sk.average_precision_score(y, p, sample_weight=w), abs=1e-9
    )
    assert found["mcc"] == pytest.approx(
        sk.matthews_corrcoef(y, p >= 0.5, sample_weight=w), abs=1e-9
    )
    curve = metrics.roc_curve(y, p)
    assert curve[0] == [0, 0] and curve[-1] == [1, 1]


def test_weights_are_repeated_rows():
    y, p = sample(100, kind="ties")
    w = np.random.default_rng(3).integers(0, 4, len(y))
    repeated = metrics.evaluate(np.repeat(y, w), np.repeat(p, w), 0.5)
    weighted = metrics.evaluate(y, p, 0.5, w.astype(float))
    del repeated["ece"], weighted["ece"]  # its bins are those of the rows that are there
    assert weighted == pytest.approx(repeated, abs=1e-12)


def test_one_class_and_no_alarm_are_undefined_not_zero():
    p = np.array([0.1, 0.4, 0.6])
    only_bad = metrics.evaluate(np.zeros(3), p, 0.5)
    undefined = {name for name, value in only_bad.items() if np.isnan(value)}
    assert undefined == {"roc_auc", "pr_auc", "recall", "balanced_accuracy", "calibration_slope"}
    assert np.isnan(metrics.score("precision", np.array([0, 1, 1]), p, 0.9))
    alone = resampling.bootstrap(np.zeros(3), p, 0.5, ["roc_auc", "brier"], draws=20, seed=0)
    assert np.isnan(alone["roc_auc"]).all() and alone["brier"].low < alone["brier"].high
    with pytest.raises(ValueError, match="one finite value"):
        metrics.evaluate(np.array([0, 1]), np.array([0.5, np.nan]), 0.5)


def test_separable_and_constant_probabilities_have_no_slope():
    y = np.array([0, 0, 1, 1])
    assert np.isnan(metrics.score("calibration_slope", y, np.array([0.1, 0.2, 0.8, 0.9])))
    assert np.isnan(metrics.score("calibration_slope", y, np.full(4, 0.5)))


def test_slope_tells_overconfidence():
    rng = np.random.default_rng(0)
    logit = rng.normal(size=20_000)
    y = rng.random(20_000) < 1 / (1 + np.exp(-logit))
    shrunk = 1 / (1 + np.exp(-2 * logit))
    assert metrics.score("calibration_slope", y, shrunk) == pytest.approx(0.5, abs=0.03)


def test_ece_and_bins_by_hand():
    p = np.repeat([0.1, 0.6], [6, 4])
    y = np.array([1, 1, 0, 0, 0, 0, 1, 1, 1, 0])
    assert metrics.score("ece", y, p) == pytest.approx(0.6 * (1 / 3 - 0.1) + 0.4 * (0.75 - 0.6))
    bins = metrics.calibration_bins(y, p)
    assert [(b["n"], round(b["observed"], 4)) for b in bins] == [(6, 0.3333), (4, 0.75)]
    y, p = sample(5000)
    bins = metrics.calibration_bins(y, p)
    assert len(bins) == 10 and all(b["n"] == 500 for b in bins)
    by_bins = sum(b["n"] * abs(b["predicted"] - b["observed"]) for b in bins) / 5000
    assert metrics.score("ece", y, p) == pytest.approx(by_bins, abs=1e-12)


def test_bootstrap_covers_the_truth():
    """Of 95 % intervals, about 95 % hold the metric of the population."""
    rng = np.random.default_rng(0)
    names = ["roc_auc", "brier", "recall"]
    p = rng.beta(1, 3, 400_000)
    truth = metrics.evaluate(rng.random(len(p)) < p, p, 0.3)
    held = dict.fromkeys(names, 0)
    for trial in range(150):
        p = rng.beta(1, 3, 300)
        y = (rng.random(300) < p).astype(int)
        found = resampling.bootstrap(y, p, 0.3, names, draws=200, seed=trial)
        for name in names:
            held[name] += found[name].low <= truth[name] <= found[name].high
    # Stratified resamples hold the positive rate fixed, which narrows the Brier score's interval.
    assert held["roc_auc"] >= 135 and held["recall"] >= 135 and held["brier"] >= 110, held


def test_cluster_bootstrap_is_wider_where_rows_repeat():
    y, p = sample(150)
    y, p, groups = np.repeat(y, 8), np.repeat(p, 8), np.repeat(np.arange(150), 8)
    options = {"draws": 300, "seed": 1}
    naive = resampling.bootstrap(y, p, 0.5, ["roc_auc"], **options)["roc_auc"]
    honest = resampling.bootstrap(y, p, 0.5, ["roc_auc"], groups=groups, **options)["roc_auc"]
    ratio = (honest.high - honest.low) / (naive.high - naive.low)
    assert ratio == pytest.approx(8**0.5, rel=0.25)
    names = resampling.bootstrap(y, p, 0.5, ["roc_auc"], groups=groups.astype(str), **options)
    assert names["roc_auc"].high == pytest.approx(honest.high, abs=0.01)


def test_a_share_of_0_or_1_has_wilson_s_interval():
    """No resample of 30 right rows holds a wrong one; what is known of them is 88.6 % at least."""
    y = np.r_[np.ones(10), np.zeros(20)]
    names, drawn = list(metrics.NAMES), {"draws": 50, "seed": 1}
    rows = {"accuracy": 30, "recall": 10, "precision": 10, "roc_auc": 10}
    found = resampling.bootstrap(y, 0.9 * y, 0.5, names, **drawn)
    for name, n in rows.items():
        assert found[name] == pytest.approx((1, n / (n + 1.959964**2), 1)), name
    assert found["log_loss"].low < found["log_loss"].high
    wrong = resampling.bootstrap(y, 0.9 * (1 - y), 0.5, names, **drawn)
    assert wrong["recall"] == pytest.approx((0, 0, 1.959964**2 / (10 + 1.959964**2)))
    few = resampling.bootstrap(y, 0.9 * y, 0.5, names, groups=np.arange(30) // 5, **drawn)
    assert few["accuracy"].low == pytest.approx(6 / (6 + 1.959964**2))  # six groups tell
    whole = resampling.mean_interval(np.ones(30, bool), **drawn)
    assert whole == pytest.approx(found["accuracy"])
    assert resampling.mean_interval(np.ones(30), **drawn) == (1, 1, 1)  # no share: a mean of costs


def test_bootstrap_repeats_with_its_seed():
    rng = np.random.default_rng(0)
    p = rng.random(70_000) ** 3
    y = (rng.random(len(p)) < p).astype(int)
    first = resampling.bootstrap(y, p, 0.3, metrics.NAMES, draws=20, seed=5)
    assert first == resampling.bootstrap(y, p, 0.3, metrics.NAMES, draws=20, seed=5)
    assert all(i.low <= i.value <= i.high for name, i in first.items() if name != "ece")


def test_paired_gain_sees_what_separate_intervals_hide():
    rng = np.random.default_rng(0)
    p = rng.random(1500)
    y = (rng.random(1500) < p).astype(int)
    worse = np.clip(p + rng.normal(0, 0.1, 1500), 0, 1)
    options = {"draws": 300, "seed": 0}
    alone = [resampling.bootstrap(y, q, 0.5, ["roc_auc"], **options)["roc_auc"] for q in (p, worse)]
    assert alone[0].low < alone[1].high
    gain = resampling.paired_gain(y, p, worse, "roc_auc", **options)
    assert gain.low > 0
    loss = resampling.paired_gain(y, worse, p, "log_loss", **options)
    assert loss.value < 0
    assert resampling.paired_gain(y, p, p, "f1", **options) == (0, 0, 0)
    by_threshold = resampling.paired_gain(y, p, p / 2, "recall", 0.2, **options)
    assert by_threshold.low > 0


def test_curves_are_thin_and_keep_their_area():
    y, p = sample(20_000)
    for curve in (metrics.roc_curve(y, p), metrics.pr_curve(y, p)):
        assert len(curve) <= 200 and (np.diff(np.array(curve)[:, 0]) >= 0).all()
    area = np.trapezoid(*np.array(metrics.roc_curve(y, p)).T[::-1])
    assert area == pytest.approx(metrics.score("roc_auc", y, p), abs=1e-3)
    assert metrics.roc_curve(np.zeros(5), np.linspace(0, 1, 5)) == []
    assert metrics.pr_curve(np.zeros(5), np.linspace(0, 1, 5)) == []


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ((1, 10, 0, 0), 0.0909),
        ((12, 180, 6, 0), 0.0645),
        ((10, 0, -70, 0), 0.125),
        ((10, 70, 0, 0), 0.125),
    ],
)
def test_threshold_formula(costs, expected):
    assert decision.decision_threshold(decision.Costs(*costs)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("costs", [(0, 0, 0, 0), (-5, 10, 0, 0), (5, 10, 20, 0)])
def test_costs_without_sense_are_refused(costs):
    with pytest.raises(ProjectError, match="wrong decision must cost more"):
        decision.decision_threshold(decision.Costs(*costs))


def test_chosen_threshold_costs_no_more_than_one_half():
    rng = np.random.default_rng(0)
    p = rng.beta(0.5, 4, 30_000)
    y = (rng.random(len(p)) < p).astype(int)
    costs = decision.Costs(10, 70)
    choice = decision.choose_threshold("cost_optimal", y, p, costs)
    assert choice.threshold == 0.125
    assert choice.optimum_cost <= choice.cost <= 1.01 * choice.optimum_cost
    assert choice.cost < 0.8 * decision.cost_per_1000(y, p, 0.5, costs)
    wrong = p**2  # not calibrated: p* would be far off, the validation rows are not
    blind = decision.choose_threshold("cost_optimal", y, wrong, costs)
    seeing = decision.choose_threshold("cost_optimal", y, wrong, costs, calibrated=False)
    assert seeing.cost == pytest.approx(seeing.optimum_cost) and seeing.cost < blind.cost


@settings(max_examples=100)
@given(
    rows=st.lists(
        st.tuples(st.booleans(), st.sampled_from([0, 0.2, 0.4, 0.400001, 1.0])),
        min_size=1,
        max_size=30,
    ),
    costs=st.tuples(st.integers(1, 9), st.integers(1, 99), st.integers(-5, 0), st.integers(-5, 0)),
)
def test_cheapest_cut_and_best_f1_by_brute_force(rows, costs):
    y, p = (np.array(column, float) for column in zip(*rows, strict=True))
    costs = decision.Costs(*map(float, costs))
    tries = [*np.unique(p), 2.0]
    choice = decision.choose_threshold("cost_optimal", y, p, costs, calibrated=False)
    cheapest = min(decision.cost_per_1000(y, p, t, costs) for t in tries)
    assert choice.cost == pytest.approx(cheapest) == pytest.approx(choice.optimum_cost)
    curve = decision.cost_curve(y, p, costs)
    assert min(cost for _, cost in curve) == pytest.approx(cheapest)
    for threshold, cost in curve:
        assert cost == pytest.approx(decision.cost_per_1000(y, p, threshold, costs))
    if y.any():
        best = decision.choose_threshold("max_f1", y, p)
        found = metrics.score("f1", y, p, best.threshold)
        assert found == pytest.approx(max(metrics.score("f1", y, p, t) for t in tries[:-1]))


@settings(max_examples=100)
@given(
    p=st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.7, 0.9]), min_size=1, max_size=40),
    share=st.floats(0.01, 1),
)
def test_alerts_within_capacity_or_flagged(p, share):
    """No cut flags more than the capacity, unless the very top is tied; then `share` says so."""
    p = np.array(p)
    choice = decision.choose_threshold("top_k_by_capacity", np.zeros(len(p)), p, None, share)
    flagged = (p >= choice.threshold).mean()
    assert 0 < flagged == pytest.approx(choice.share)
    if flagged > share + 1e-9:
        assert flagged == (p == p.max()).mean()
    elif flagged < 1:
        group = (p == p[p < choice.threshold].max()).mean()
        assert flagged + group > share
    both = decision.choose_threshold(
        "cost_optimal_within_capacity", np.zeros(len(p)), p, decision.Costs(1, 3), share
    )
    assert both.threshold == max(0.25, choice.threshold)


@pytest.mark.parametrize("policy", ["cost_optimal", "cost_optimal_within_capacity"])
def test_policy_without_its_answer_is_refused(policy):
    y, p = sample(50)
    with pytest.raises(ProjectError, match="cost_fp"):
        decision.choose_threshold(policy, y, p)
    with pytest.raises(ProjectError, match="daily_capacity"):
        decision.choose_threshold("top_k_by_capacity", y, p)
    with pytest.raises(ProjectError, match="unknown threshold policy cost_optimum"):
        decision.choose_threshold("cost_optimum", y, p, decision.Costs(1, 2))


def test_higher_is_better_agrees_with_a_better_model():
    rng = np.random.default_rng(0)
    p = rng.random(5000)
    y = (rng.random(5000) < p).astype(int)
    bad = np.clip(p + rng.normal(0, 0.4, 5000), 0.001, 0.999)
    for name, higher in metrics.HIGHER_IS_BETTER.items():
        assert (metrics.score(name, y, p) > metrics.score(name, y, bad)) == higher, name


MONEY = {"currency": "EUR", "baseline_policy": "act on nobody", "value_per_year": 900.0}
MONEY |= {"value_low": 100.0, "value_high": 2000.0, "says_nothing": False}
MONEY |= {"over": {"policy": "act on nobody", "value": 900.0, "low": 100.0, "high": 2000.0}}
RARE = np.append(np.linspace(0, 0.098, 999), 0.95)


@pytest.mark.parametrize(
    ("change", "money", "reasons", "warnings"),
    [
        ({}, {}, [], []),
        ({"threshold": 0.0}, {}, ["flags every row"], []),
        ({"threshold": 2.0}, {}, ["flags no row"], []),
        ({}, {"value_per_year": 0.0, "value_low": -9.0}, ["zero or a loss: 0 (-9 to 2 000)"], []),
        ({}, {"value_per_year": -5e4}, ["zero or a loss: -50 000 (100 to 2 000)"], []),
        ({}, {"value_per_year": float("nan")}, ["may be zero or a loss"], []),
        ({}, {"value_low": -300.0}, ["900 (-300 to 2 000) EUR against 'act on nobody'"], []),
        ({}, {"value_low": 0.0}, ["zero or a loss: 900 (0 to 2 000)"], []),
        (  # better than today, and no better than to act on everybody
            {},
            {"over": {"policy": "act on everybody", "value": 9.0, "low": -1.0, "high": 20.0}},
            ["9 (-1 to 20) EUR against 'act on everybody'"],
            [],
        ),
        ({}, {"value_low": -300.0, "says_nothing": True}, [], []),
        ({"p": np.full(100, 0.4)}, {}, ["every row the same probability", "flags no row"], []),
        ({"p": np.repeat([0.2, 0.8], 50)}, {}, [], ["only 2 different probabilities"]),
        ({"capacity": 0.4}, {}, [], ["50 % of the rows; people can act on 40 %"]),
        ({"capacity": 0.2}, {}, ["50 % of the rows; people can act on 20 %"], []),
        # Nearly the same decision for all: costs may explain it, a value of nothing does not.
        ({"threshold": 0.005}, {}, [], ["99 % of the rows, hardly less than to act on every"]),
        (
            {"threshold": 0.005},
            {"value_low": 0.0},
            ["may be zero or a loss"],
            ["hardly less than to act on everybody"],
        ),
        (
            {"threshold": 0.005, "capacity": 0.3},
            {},
            ["99 % of the rows; people can act on 30 %"],
            ["hardly less than to act on everybody"],
        ),
        ({"p": RARE, "threshold": 0.9}, {}, [], ["0.1 % of the rows where 4.99 % are expected"]),
        ({"p": RARE, "threshold": 0.9, "capacity": 0.001}, {}, [], []),
    ],
)
def test_a_useless_model_fails_its_gate_and_a_doubtful_one_warns(change, money, reasons, warnings):
    p, threshold = change.get("p", np.linspace(0, 1, 100)), change.get("threshold", 0.5)
    business = MONEY | money
    found = valuing.usefulness(p, p >= threshold, business, change.get("capacity"))
    for texts, expected in zip(found, (reasons, warnings), strict=True):
        assert len(texts) == len(expected), texts
        plain = [text.replace("\u00a0", " ") for text in texts]
        assert all(part in text for part, text in zip(expected, plain, strict=True)), texts
    values = {key: business[name] for key, name in compared.WORTH.items()}
    # The gate is green only where the plan's verdict does not say stop.
    lost = (compared.loss(values) or compared.loss(business["over"])) and not business[
        "says_nothing"
    ]
    assert bool(lost) == any("zero or a loss" in text for text in found[0])


@settings(max_examples=40, deadline=None)
@given(
    caught=st.floats(0, 1),
    precision=st.floats(0.01, 1),
    prevalence=st.floats(0.01, 0.9),
    seed=st.integers(0, 99),
)
def test_a_model_is_worth_what_it_adds_to_the_better_of_today_and_nobody(
    caught: float, precision: float, prevalence: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    y, p = rng.integers(0, 2, 60).astype(np.int8), rng.random(60)
    y[:2] = 0, 1
    weights = metrics.weights_at(y, prevalence)

    def worth(caught: float) -> dict[str, Any]:
        facts: dict[str, Any] = {"pos_rate": prevalence, "predictions_per_month": 100.0}
        facts |= {"cost_fp": 10.0, "cost_fn": 70.0, "cost_tp": 0.0, "cost_tn": 0.0}
        facts |= {"daily_capacity": 0, "action_success": 1.0, "currency": "EUR"}
        facts |= {"today_caught": caught} | ({"today_precision": precision} if caught else {})
        settings = SimpleNamespace(
            evaluation=SimpleNamespace(bootstrap=20), training=SimpleNamespace(seed=1)
        )
        project: Any = SimpleNamespace(facts=SimpleNamespace(**facts), config=settings)
        return valuing._business(project, y, p, 0.5, weights, None)

    found, nobody = worth(caught), worth(0.0)
    # What today's process brings a year more than acting on nobody, by hand.
    reached = 1200 * prevalence * caught
    today = reached * 70 - reached * (1 / precision - 1) * 10
    names = ("value_per_year", "value_low", "value_high")
    for name in names:
        assert found[name] == pytest.approx(nobody[name] - max(0.0, today), abs=1e-6), name
    assert found["ending_today"] == pytest.approx(max(0.0, -today), abs=1e-6)
    if abs(today) > 1e-6:
        assert found["baseline_policy"] == ("today's process" if today > 0 else "act on nobody")


def chosen_among(rule="one_standard_error", **scores):
    found = {
        name: training.CrossValidated([], np.empty(0), list(values), 0.0, {})
        for name, values in scores.items()
    }
    ordered = [name for name in models.LADDER if name in scores]
    return training.choose(training.paired_differences(found, ordered, "roc_auc"), rule)


def test_choice_gives_nothing_away_that_is_beyond_chance():
    """A clear difference in every fold wins, however small; one that is chance does not."""
    linear = np.array([0.70, 0.75, 0.80, 0.72, 0.78])  # folds differ by more than the models
    clear = linear + 0.011 + np.array([0, 1, -1, 1, -1]) * 0.001
    assert chosen_among(logistic_regression=linear, lightgbm=clear) == "lightgbm"
    chance = linear + 0.002 + np.array([3, -4, 2, -2, 1]) * 0.004
    assert chosen_among(logistic_regression=linear, lightgbm=chance) == "logistic_regression"
    assert chosen_among("best_score", logistic_regression=linear, lightgbm=chance) == "lightgbm"
    assert chosen_among("last_candidate", logistic_regression=clear, lightgbm=linear) == "lightgbm"
    assert chosen_among(logistic_regression=linear, lightgbm=linear) == "logistic_regression"
    assert chosen_among(lightgbm=linear, logistic_regression=clear) == "logistic_regression"
    assert chosen_among(logistic_regression=[0.7], lightgbm=[0.71]) == "lightgbm"
    gaps = training.paired_differences(
        {
            n: training.CrossValidated([], np.empty(0), list(v), 0.0, {})
            for n, v in {"lightgbm": clear, "logistic_regression": linear}.items()
        },
        ["logistic_regression", "lightgbm"],
        "roc_auc",
    )
    assert gaps["logistic_regression"].mean == pytest.approx(0.011)
    assert gaps["logistic_regression"].se == pytest.approx(0.001 / 5**0.5)
    assert gaps["lightgbm"] == (0, 0)


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.lists(st.floats(0.5, 0.9), min_size=5, max_size=5), min_size=4, max_size=4),
    min_gain=st.sampled_from([0.0, 0.02, 0.1, 0.5]),
    rule=st.sampled_from(["one_standard_error", "best_score"]),
)
def test_what_is_chosen_gains_what_the_gate_asks(scores, min_gain, rule):
    names = ["single_rule", "logistic_regression", "extra_trees", "lightgbm"]
    baselines, candidates = names[:2], names[1:]
    found = {
        name: training.CrossValidated([], np.empty(0), values, 0.0, {})
        for name, values in zip(names, scores, strict=True)
    }
    behind = training.paired_differences(found, candidates, "roc_auc")
    means = {name: np.mean(values) for name, values in zip(names, scores, strict=True)}
    gains = {n: means[n] - max(means[b] for b in baselines if b != n) for n in candidates}
    facts = {"primary_metric": "roc_auc", "min_gain": min_gain, "selection": rule}
    project = SimpleNamespace(facts=SimpleNamespace(**facts))
    eligible = training.gaining(project, behind, baselines, means)
    chosen = training.choose(eligible, rule)
    enough = {name for name, gain in gains.items() if gain >= min_gain - 1e-9}
    assert chosen in enough or not {n for n, gain in gains.items() if gain >= min_gain + 1e-9}
    if rule == "best_score":  # the need of the gate takes nothing else away
        best = max(means[name] for name in enough or candidates)
        assert means[chosen] >= best - 1e-9 or not enough - {
            n for n, gain in gains.items() if abs(gain - min_gain) < 1e-9
        }


@pytest.mark.parametrize("capacity", [None, 0.03, 0.5])
def test_acted_on_is_what_people_can_do_the_surest_first(capacity):
    rng = np.random.default_rng(4)
    p, weights = rng.integers(0, 40, 900) / 40, rng.random(900)
    weights /= weights.sum()
    acted, flagged = valuing.acted_on(p, weights, 0.3, capacity)
    assert flagged == pytest.approx(weights[p >= 0.3].sum())
    assert weights @ acted == pytest.approx(min(flagged, capacity or 1.0))
    assert acted[p < 0.3].max() == 0
    for level in np.unique(p[p >= 0.3]):
        assert np.ptp(acted[p == level]) < 1e-12, "rows of one probability share what is left"
        if (acted[p == level] > 0).any():
            assert acted[p > level].min(initial=1.0) == 1


def test_weights_bring_a_sample_to_the_share_of_production():
    y = np.repeat([1, 0], [200, 800])
    weights = metrics.weights_at(y, 0.004)
    assert weights.sum() == pytest.approx(1) and weights[y == 1].sum() == pytest.approx(0.004)
    p = np.where(y, 0.9, 0.1)
    plain, real = (
        decision.cost_curve(y, p, decision.Costs(1, 9), w)[-1][1] for w in (None, weights)
    )
    assert (plain, real) == (pytest.approx(0.2 * 9000), pytest.approx(0.004 * 9000))
    assert metrics.weights_at(np.ones(4), 0.1) == pytest.approx([0.25] * 4)
