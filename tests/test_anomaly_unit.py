"""Anomaly detection: detectors against their libraries, labels that may be missing, budgets."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as sk
from helpers import package
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest

package.anomaly()

from anomaly_package import decision, features, models, splitting, training, value  # noqa: E402
from anomaly_package.engine import (  # noqa: E402
    comparison,
    metrics,
    performance,
    resampling,
    slices,
    storage,
    task,
)
from anomaly_package.engine.data import (  # noqa: E402
    drafting,
    leakage,
    sample,
    signal,
    target,
    target_fields,
    validation,
)
from anomaly_package.engine.data.contract import Column, Contract  # noqa: E402
from anomaly_package.engine.errors import ProjectError  # noqa: E402
from anomaly_package.engine.model import detectors, graph, outcome  # noqa: E402
from anomaly_package.engine.model.fitting import Data  # noqa: E402
from anomaly_package.engine.model.output import answer  # noqa: E402
from anomaly_package.engine.model.scorer import (  # noqa: E402
    CategoricalFeature,
    FeatureSpec,
    NumericFeature,
    session,
)
from anomaly_package.engine.resampling import Interval  # noqa: E402
from anomaly_package.engine.settings import Monitoring  # noqa: E402
from anomaly_package.planner import check as plan_check  # noqa: E402
from anomaly_package.planner import measured  # noqa: E402

ROWS = 1500
MEMBERS = (models.largest_z, models.ecod, models.isolation_forest)
NAN = float("nan")
CONTRACT = Contract(
    name="machines",
    version="1",
    columns=(
        Column(name="machine", kind="category", role="entity", required=True),
        Column(name="at", kind="timestamp", role="time", required=True),
        Column(name="heat", kind="number", role="feature", mean=60, std=9),
        Column(name="load", kind="number", role="feature", minimum=0, mean=5, std=3),
        Column(name="starts", kind="integer", role="feature", minimum=0, mean=3, std=2),
        Column(name="kind", kind="category", role="feature", levels=("a", "b", "c")),
        Column(name="fault", kind="boolean", role="target", positive="true", missing_share=0.9),
    ),
)


def data(*, context: bool = False, rows: int = ROWS, seed: int = 0) -> Data:
    """Return hostile but ordinary columns: ties, gaps, skew, rare codes."""
    rng = np.random.default_rng(seed)
    gaps = np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows))
    numbers = [rng.normal(size=rows), rng.lognormal(0, 1, rows), rng.integers(0, 9, rows), gaps]
    hour, code = rng.integers(0, 24, rows), np.minimum(rng.geometric(0.5, rows) - 1, 4)
    who = rng.integers(0, 6, rows)
    numbers[0] = numbers[0] + 50 * who + 9 * (hour > 12)
    numeric = [NumericFeature(name, name) for name in "abcd"]
    categorical = [CategoricalFeature("e", "e", tuple("wxyz"))]
    columns, codes = numbers, [code]
    if context:
        numeric.append(NumericFeature("at.hour", "at", "hour"))
        categorical.append(CategoricalFeature("m.entity", "m", tuple("klmno")))
        columns, codes = [*numbers, hour], [code, who]
    named = ("m.entity", "at.hour") if context else ()
    spec = FeatureSpec(tuple(numeric), tuple(categorical), named)
    x = np.column_stack([*columns, *codes]).astype(np.float32)
    return Data(x, np.full(rows, NAN), spec, 1)


@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize("name", list(models.FITTERS))
def test_the_graph_repeats_a_detector_on_rows_never_seen(name: str, context: bool) -> None:
    learnt = data(context=context)
    fitted = models.FITTERS[name](learnt, 7, {})
    predictor = graph.Predictor(
        (graph.Member(*fitted),), decision.ranked(fitted.predict(learnt.x), 0.01)
    )
    opened = session(graph.emit(predictor, learnt.spec, encoded=True))
    width, x = len(learnt.spec.numeric), learnt.x
    missing, huge, near = x.copy(), x.copy(), x.copy()
    missing[:, :width], missing[:, width:] = np.nan, 99
    huge[:, :width] *= np.float32(1e33)
    near[:, :width] = np.nextafter(x[:, :width], np.float32(np.inf))
    for rows in (x, missing, huge, near):
        score, alert, _ = opened.run(list(task.NAMES), {"x": rows})
        told = predictor.answers(rows)["score"]
        assert np.abs(score[:, 0] - told).max() < 1e-6
        assert np.array_equal(alert[:, 0] == 1, score[:, 0] >= np.float32(predictor.head.cut))


def test_an_isolation_forest_is_that_of_scikit_learn() -> None:
    learnt = data()
    fitted = models.isolation_forest(learnt, 7, {})
    far = detectors.normal(learnt.x, learnt.spec).away(learnt.x)
    peer = IsolationForest(n_estimators=models.TREES, max_samples=256, random_state=7).fit(far)
    assert np.abs(fitted.predict(learnt.x) + peer.score_samples(far)).max() < 1e-5


def test_what_components_lose_is_what_scikit_learn_loses() -> None:
    learnt = data()
    fitted = models.principal_components(learnt, 7, {})
    away = detectors.Rebuilt.cut(detectors.normal(learnt.x, learnt.spec).away(learnt.x))
    peer = PCA(models.KEPT, svd_solver="full").fit(away)
    lost = ((away - peer.inverse_transform(peer.transform(away))) ** 2).sum(axis=1)
    assert fitted.predict(learnt.x) == pytest.approx(lost, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", ["principal_components", "autoencoder"])
def test_what_is_rebuilt_badly_breaks_the_rule_that_columns_follow(name: str) -> None:
    """Each value of the odd rows is usual by itself: no deviation of a column tells them."""
    learnt = data(rows=3000)
    rng = np.random.default_rng(1)
    x = learnt.x.copy()
    x[:, :3] = rng.normal(size=(3000, 1)) + 0.1 * rng.normal(size=(3000, 3))
    x[:, 3] = rng.normal(size=3000)
    odd = x[:200].copy()
    odd[:, 2] = -odd[:, 0]
    odd = odd[np.abs(odd[:, 0]) > 1]
    learnt = learnt._replace(x=x)
    fitted = models.FITTERS[name](learnt, 7, {})
    usual, broken = fitted.predict(x[200:]), fitted.predict(odd)
    assert np.mean(broken > np.quantile(usual, 0.9)) > 0.9
    alone = models.robust_z(learnt, 7, {}).predict
    assert np.mean(alone(odd) > np.quantile(alone(x[200:]), 0.9)) < 0.6


def test_the_mean_score_is_of_three_detectors_in_their_own_deviations() -> None:
    learnt = data(context=True)
    parts = [fit(learnt, 7, {}).predict(learnt.x) for fit in MEMBERS]
    expected = np.mean([(part - part.mean()) / part.std() for part in parts], axis=0)
    assert models.mean_score(learnt, 7, {}).predict(learnt.x) == pytest.approx(expected)
    alike = learnt._replace(x=np.zeros_like(learnt.x))  # no score varies
    assert np.isfinite(models.mean_score(alike, 7, {}).predict(learnt.x)).all()


def test_without_labels_no_spoilt_row_decides() -> None:
    """Their metric puts the best detector of real anomalies last on four of six real tables."""
    behind = {name: outcome.Behind(gap, 0.0) for name, gap in (("ecod", 0.0), ("mean_score", 0.4))}
    facts = {"primary_metric": "injected_average_precision", "min_gain": 0.01}
    for rule, chosen, needed in (
        ("last_candidate", "mean_score", -1),
        ("best_score", "ecod", 0.01),
    ):
        project: Any = SimpleNamespace(facts=SimpleNamespace(**facts, selection=rule))
        scores = {"largest_z": 0.5, "ecod": 0.8, "mean_score": 0.4}
        eligible = training.gaining(project, dict(behind), ["largest_z"], scores)
        assert outcome.choose(eligible, rule) == chosen
        assert decision.needed_gain(project, 0.5) == needed


def test_ecod_is_the_sum_of_the_smaller_tails() -> None:
    """Columns of few values have exact tails; those of many are as far out in the same order."""
    learnt = data()
    fitted = models.ecod(learnt, 7, {})
    far = detectors.normal(learnt.x, learnt.spec).away(learnt.x)
    expected = np.zeros(ROWS)
    for column in far.T:
        ordered = np.sort(column)
        left = np.searchsorted(ordered, column, side="right") / ROWS
        right = 1 - np.searchsorted(ordered, column, side="left") / ROWS
        expected -= np.log(np.minimum(left, right))
    found = fitted.predict(learnt.x)
    assert np.corrcoef(found, expected)[0, 1] > 0.999
    few = learnt._replace(x=np.round(learnt.x))
    exact = models.ecod(few, 7, {}).predict(few.x)
    again = np.zeros(ROWS)
    for column in detectors.normal(few.x, few.spec).away(few.x).T:
        ordered = np.sort(column)
        left = np.searchsorted(ordered, column, side="right") / ROWS
        again -= np.log(np.minimum(left, 1 - np.searchsorted(ordered, column, side="left") / ROWS))
    assert np.abs(exact - again).max() < 1e-3


def test_what_is_made_of_one_column_counts_once_in_ecod() -> None:
    """The topics of a text are eight numbers, and no eight times as loud as a column."""
    learnt = data()
    numeric, (code,) = learnt.spec.numeric, learnt.spec.categorical
    topics = tuple(NumericFeature(f"d.topic_{place}", "d") for place in range(8))
    x = np.column_stack([learnt.x[:, :3], *[learnt.x[:, 3]] * 8, learnt.x[:, 4]])
    several = learnt._replace(x=x, spec=FeatureSpec((*numeric[:3], *topics), (code,)))
    one, eight = (models.ecod(rows, 7, {}).predict(rows.x) for rows in (learnt, several))
    assert np.abs(one - eight).max() < 1e-2


def test_known_anomalies_and_made_rows_are_not_learnt_from() -> None:
    learnt = data()
    x, y, places = task.probed(learnt.x, learnt.y, 4, 7)
    assert len(x) == ROWS + 4 * 38 and set(task.KINDS) == set(y[ROWS:])
    assert np.array_equal(places[:ROWS], np.arange(ROWS)) and places.max() < ROWS
    spoilt = x.copy()
    y[:50], spoilt[:50, 0] = 1, 1e6
    for fit in models.FITTERS.values():
        plain = fit(learnt._replace(x=learnt.x[50:], y=learnt.y[50:]), 7, {})
        other = fit(learnt._replace(x=spoilt, y=y), 7, {})
        assert np.array_equal(plain.predict(learnt.x), other.predict(learnt.x))


def test_made_rows_are_what_they_say() -> None:
    learnt = data()
    x, y, places = task.probed(learnt.x, learnt.y, 4, 7)
    base = x[places]
    same = (x == base) | (np.isnan(x) & np.isnan(base))
    moved, broken = y == task.MOVED, y == task.BROKEN
    assert set((~same[moved]).sum(axis=1)) <= {1, 2, 3} and same[moved][:, 4:].all()
    assert (~same[broken]).sum(axis=1).max() <= 2 and not same[broken].all()
    local, apart = y == task.LOCAL, y == task.CLUSTERED
    numbers = ~np.isnan(base[:, :4])
    assert not (same[local][:, :4] & numbers[local]).any() and same[local | apart][:, 4:].all()
    off = (x - base)[local][:, 0] / (
        np.subtract(*np.quantile(learnt.x[:, 0], [0.75, 0.25])) / 1.349
    )
    assert 1.3 < off.std() < 2.7
    assert (x[apart].std(axis=0) < learnt.x.std(axis=0))[:2].all()
    codes = np.full((ROWS, 1), 1, np.float32)  # nothing to move where no column is a number
    assert set(task.probed(codes, learnt.y, 0, 7)[1][ROWS:]) == {task.BROKEN}
    for column in range(5):  # each value of a broken row stands in some row
        known = x[:ROWS, column][~np.isnan(x[:ROWS, column])]
        made = x[broken, column][~np.isnan(x[broken, column])]
        assert np.isin(made, known).all()


def test_an_entity_and_an_hour_have_their_own_normal() -> None:
    """What is usual of one machine is an anomaly of another."""
    learnt = data(context=True)
    usual = models.robust_z(learnt, 7, {})
    who = learnt.x[:, -1]
    first = learnt.x[who == 0][:1].copy()
    last = first.copy()
    last[0, 0] = learnt.x[who == 4][0, 0]
    score, moved = usual.predict(first)[0], usual.predict(last)[0]
    assert moved > 10 * max(1.0, score)
    blind = models.robust_z(data(), 7, {})
    assert blind.predict(last[:, [0, 1, 2, 3, 5]])[0] < moved / 5
    new = first.copy()
    new[0, -1] = 77  # a machine that nobody has seen
    assert np.isfinite(usual.predict(new)).all()


def test_the_budget_is_kept_and_ties_never_break_it() -> None:
    rng = np.random.default_rng(0)
    for raw in (rng.normal(size=4000), np.round(rng.normal(size=4000), 1), np.zeros(500)):
        for share in (0.001, 0.01, 0.2):
            head = decision.ranked(raw, share)
            score = head.apply(raw)
            assert (score >= head.cut).sum() <= share * len(raw) + 1e-9
            order = np.argsort(raw, kind="stable")
            assert (np.diff(score[order]) >= 0).all() and 0 <= score.min() <= score.max() < 1
    head = decision.ranked(rng.normal(size=4000), 0.01)
    far = head.apply(np.array([5.0, 6.0, 9.0]))
    assert (np.diff(far) > 0).all()  # beyond all that was seen, further out is still ahead


def test_top_features_name_what_is_unusual_by_itself() -> None:
    learnt = data()
    fitted = models.robust_z(learnt, 7, {})
    head = decision.ranked(fitted.predict(learnt.x), 0.01)
    predictor = graph.Predictor((graph.Member(*fitted),), head)
    opened = session(graph.emit(predictor, learnt.spec, encoded=True))
    row = np.array([[np.median(learnt.x[:, 0]), 1, 90, 15, 0]], np.float32)
    plain = np.array([[np.median(learnt.x[:, 0]), 1, 4, 0, 0]], np.float32)
    (found,) = opened.run(["top_features"], {"x": np.concatenate([row, plain])})
    assert answer(task.OUTPUTS[2], found).tolist() == ["c, d", ""]


def test_metrics_of_labels_made_rows_and_budget() -> None:
    rng = np.random.default_rng(1)
    p = np.round(rng.random(2000), 2)
    y = np.where(rng.random(2000) < 0.5, NAN, (rng.random(2000) < 0.1 * p).astype(float))
    y = np.concatenate([y, np.full(100, 2.0), np.full(100, 3.0)])
    p = np.concatenate([p, 0.5 + rng.random(100), rng.random(100)])
    known, made = (y == 0) | (y == 1), y >= 2
    found = metrics.evaluate(y, p, 0.95)
    assert found["average_precision"] == pytest.approx(
        sk.average_precision_score(y[known], p[known])
    )
    assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(y[known], p[known]))
    other = y != 1
    assert found["injected_auc"] == pytest.approx(sk.roc_auc_score(made[other], p[other]))
    alert = metrics.alerts(p, ~made, 0.95)
    assert alert[~made].sum() <= 0.05 * 2000
    assert found["precision_at_budget"] == (y[alert & known] == 1).mean()
    assert found["recall_at_budget"] == alert[y == 1].mean()
    assert found["injected_recall"] == alert[made].mean()
    assert [item["kind"] for item in metrics.by_kind(y, p, 0.95)] == ["moved", "broken"]


def test_alerts_that_are_all_true_are_not_known_to_be() -> None:
    """Of ten judged alerts that are true, 72 % may be: a resample of them says 100 % to 100 %."""
    y, p = np.r_[np.ones(10), np.zeros(40), np.full(950, NAN)], np.linspace(1, 0, 1000)
    names = ["precision_at_budget", "recall_at_budget", "roc_auc"]
    found = resampling.bootstrap(y, p, 0.99, names, draws=50, seed=1)
    for name in names:
        assert found[name] == pytest.approx((1, 10 / (10 + 1.959964**2), 1)), name


def test_labels_say_how_much_is_known() -> None:
    none = value.known_quality(np.full(100, NAN))
    few = value.known_quality(np.array([1.0] * 6 + [0.0] * 20 + [NAN] * 74))
    rare = value.known_quality(np.array([1.0] * 2 + [0.0] * 20 + [NAN] * 78))
    full = value.known_quality(np.array([1.0] * 6 + [0.0] * 94))
    told = [(item["state"], item["quality"]) for item in (none, few, rare, full)]
    assert told == [
        ("none", "unknown"),
        ("few", "of labelled rows"),
        ("few", "unknown"),
        ("full", "measured"),
    ]
    alert = np.zeros(100, bool)
    alert[0] = True
    business = {"budget_share": 0.01, "says_nothing": True}
    _, warnings = value.usefulness(np.linspace(0, 1, 100), alert, business, none)
    assert any("quality unknown" in text for text in warnings)


def test_rows_without_a_label_stay_and_its_column_may_be_absent() -> None:
    made = sample.generate(CONTRACT, 600, seed=1)
    assert 0.8 < made["fault"].null_count() / 600 < 0.97
    kept = validation.apply(CONTRACT, made)
    assert kept.valid.height == 600 and kept.unlabelled == 0
    absent = validation.apply(CONTRACT, made.drop("fault"))
    assert absent.valid.height == 600 and absent.valid["fault"].null_count() == 600
    assert absent.warnings["fault: missing column"] == 600
    assert target.profile(target.outcome(absent.valid, CONTRACT.target))["rate"] is None
    names = [column.name for column in CONTRACT.features]
    y = target.outcome(absent.valid, CONTRACT.target)
    assert not leakage.suspects(absent.valid, y, names, "at")
    with pytest.raises(ProjectError, match="'heat' is missing"):
        validation.apply(CONTRACT, made.drop("heat"))


def test_the_sample_moves_values_and_breaks_a_correlation() -> None:
    made = sample.generate(CONTRACT, 4000, seed=2)
    kinds = signal.kinds(4000)
    heat, load = (made[name].rank().to_numpy() for name in ("heat", "load"))
    plain, broken = kinds == 0, kinds == signal.BROKEN
    assert np.corrcoef(heat[plain], load[plain])[0, 1] > 0.7
    assert np.corrcoef(heat[broken], load[broken])[0, 1] < -0.3
    numbers = made.select("heat", "load", "starts").to_numpy()
    far = np.abs(numbers - np.median(numbers, axis=0)) / numbers.std(axis=0)
    assert np.median(far[kinds == signal.MOVED].max(axis=1)) > 3 > np.median(far[plain].max(axis=1))
    assert made["load"].min() >= 0 and made["starts"].min() >= 0


@pytest.mark.parametrize(
    ("labels", "told", "kind", "positive"),
    [
        (None, None, "boolean", "true"),
        ([None] * 300, None, "boolean", "true"),
        ([1] * 5 + [None] * 295, None, "integer", "1"),
        ([0] * 300, None, "integer", "1"),
        (["o"] * 30 + ["n"] * 270, None, "category", "o"),
        (["p"] * 30 + ["q"] * 270, "q", "category", "q"),
    ],
)
def test_a_draft_takes_any_labels_or_none(labels, told, kind, positive) -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"heat": rng.normal(60, 9, 300), "load": rng.gamma(2, 3, 300)})
    if labels is not None:
        frame = frame.with_columns(pl.Series("fault", labels))
    draft = drafting._draft(frame, "fault", None, None, None, told, "machines")
    assert f"value: '{positive}'" in draft.text or f"value: {positive}" in draft.text
    logical = "string" if kind == "category" else kind
    assert f"logicalType: {logical}" in draft.text.split("name: fault")[1]


def test_a_draft_asks_where_nothing_says_which_value_is_the_anomaly() -> None:
    frame = pl.DataFrame({"heat": np.arange(300.0), "fault": ["p", "q"] * 150})
    with pytest.raises(ProjectError, match="--positive"):
        drafting._draft(frame, "fault", None, None, None, None, "machines")
    three = frame.with_columns(pl.Series("fault", ["p", "q", "r"] * 100))
    with pytest.raises(ProjectError, match="two"):
        drafting._draft(three, "fault", None, None, None, None, "machines")
    assert list(target_fields.problems(CONTRACT.target, "number", ()))


def test_known_anomalies_are_shared_out_and_made_rows_follow_theirs() -> None:
    made = sample.generate(CONTRACT, 900, seed=1)
    labels = (signal.kinds(900) > 0).astype(float)
    options = {"test_share": 0.2, "folds": 4, "embargo_days": 0, "seed": 1}
    parts = splitting.split(made, labels, CONTRACT, "random", **options)
    assert labels[parts.test].sum() >= 3
    x = np.zeros((len(parts.development), 2), np.float32)
    _, _, places = task.probed(x, np.full(len(x), NAN), 2, 1)
    probed = parts.probed(places)
    for (train, valid), (_, before) in zip(probed.folds, parts.folds, strict=True):
        added = valid[len(before) :]
        assert len(added) and np.isin(places[added], before).all()
        assert train.max() < len(x)


def test_a_context_that_the_contract_lacks_is_refused() -> None:
    made = sample.generate(CONTRACT, 300, seed=1)
    spec = features.fit(made, CONTRACT, ("entity", "hour"))
    assert spec.context == ("machine.entity", "at.hour") and spec.measured == 3
    plain = Contract(name="t", version="1", columns=CONTRACT.columns[2:])
    with pytest.raises(ProjectError, match="apart by entity, which no column"):
        features.fit(made, plain, ("entity",))


def test_a_slice_counts_rows_of_the_data_once() -> None:
    levels = ["a"] * 80 + ["b"] * 30
    column = Column(name="mode", kind="category", role="feature")
    agreed = Contract(name="t", version="1", columns=(*CONTRACT.columns, column))
    frame = pl.DataFrame({"mode": levels})
    rng = np.random.default_rng(0)
    y = np.concatenate([np.zeros(110), np.full(60, task.MOVED), np.full(60, task.BROKEN)])
    places = np.concatenate([np.arange(110), rng.integers(0, 110, 120)])
    settings = SimpleNamespace(
        evaluation=SimpleNamespace(slices=("mode",), min_slice_rows=50),
        training=SimpleNamespace(seed=0),
    )
    project = SimpleNamespace(config=settings)
    metric = "injected_average_precision"
    p = rng.random(len(y)) + (y > 1)
    found = slices.run(project, agreed, frame, places, y, p, metric, 0.9)
    assert [(item["level"], item["n"]) for item in found] == [("a", 80)]


def test_more_alerts_than_in_training_are_told_without_labels() -> None:
    rng = np.random.default_rng(0)
    known = performance.known(rng.random(5000), np.full(5000, NAN)) | {"rows": 5000}
    settings = Monitoring()
    calm = performance.answered(rng.random(2000), known, 0.98, settings)["alerts"]
    loud = performance.answered(rng.random(2000) ** 0.2, known, 0.98, settings)["alerts"]
    assert calm["level"] == "ok" and calm["before"] == pytest.approx(0.02, abs=0.006)
    assert loud["level"] == "act" and loud["now"] > 3 * loud["before"]
    assert performance.estimate(rng.random(9), known) == {}


def test_labels_measure_no_metric_of_made_rows() -> None:
    """Else monitoring says that it realised nothing, and `ml retrain-check` has no number."""
    rng = np.random.default_rng(0)
    known = performance.known(rng.random(5000), np.full(5000, NAN)) | {"rows": 5000}
    labels = np.where(np.arange(2000) < 200, rng.random(2000) < 0.2, NAN)
    manifest: Any = SimpleNamespace(
        primary_metric="injected_average_precision", decision={"cut": 0.98}, outputs=()
    )
    rest = known, manifest, Interval(0.7, 0.6, 0.8), Monitoring()
    found = comparison.compare(rng.random(2000), labels, *rest, draws=20)
    assert (found["kind"], found["value"], found["level"]) == ("estimated", None, "ok")
    manifest.primary_metric = "average_precision"
    found = comparison.compare(rng.random(2000), labels, *rest, draws=20)
    assert found["kind"] == "realised" and 0 < found["value"] < 1


def test_nobody_is_told_to_bring_far_values_nearer(tmp_path: Path) -> None:
    """Winsorise would hide what is looked for."""
    far = {"role": "feature", "outliers": {"share": 0.02, "treat": "Winsorise"}}
    profile, trained = {"columns": {"heat": far}}, {"add_up": ["mean_score"], "made": []}
    storage.write_json(tmp_path / "reports/profile.json", profile)
    storage.write_json(tmp_path / "reports/training.json", trained)
    project = SimpleNamespace(plan=SimpleNamespace(named=str), path=lambda name: tmp_path / name)
    assert list(plan_check._outliers(project)) == []
    told = measured._far({"heat": far}).replace("\u00a0", " ")
    assert told == "; far values, which may be what is looked for: `heat` 2 %"


def test_alerts_in_a_row_are_one_run() -> None:
    """An alert on the next row of the same machine belongs to the run before; another one's not."""
    columns = (
        Column(name="machine", kind="category", role="entity"),
        Column(name="at", kind="timestamp", role="time"),
        Column(name="fault", kind="boolean", role="target"),
    )
    agreed = Contract(name="m", version="1", columns=columns)
    rows = pl.DataFrame({"machine": [*"aaaabbb"], "at": [3, 1, 2, 4, 1, 2, 3]})
    alert = np.array([True, True, False, True, True, True, False])  # a: 1, -, 3, 4; b: 1, 2, -
    assert value._runs(rows, alert, agreed) == 3
    assert value._runs(rows, alert, Contract(name="m", version="1", columns=columns[1:])) is None
