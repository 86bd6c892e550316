"""Clustering: stable numbers of segments, positions by the graph, names, rules for people."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as sk
from helpers import package

package.clustering()

from clustering_package import decision, features, models, value  # noqa: E402
from clustering_package.engine import (  # noqa: E402
    explaining,
    metrics,
    performance,
    segments,
    task,
)
from clustering_package.engine.data import (  # noqa: E402
    contract,
    drafting,
    duplicates,
    sample,
    signal,
    target,
    target_draft,
    target_fields,
    validation,
)
from clustering_package.engine.data.candidate import Candidate  # noqa: E402
from clustering_package.engine.data.contract import Column, Contract  # noqa: E402
from clustering_package.engine.errors import ProjectError  # noqa: E402
from clustering_package.engine.features import encode  # noqa: E402
from clustering_package.engine.model import clusters, derived, graph, head, outcome  # noqa: E402
from clustering_package.engine.model.fitting import Data  # noqa: E402
from clustering_package.engine.model.lookups import TargetEncoding  # noqa: E402
from clustering_package.engine.model.operators import Cyclical  # noqa: E402
from clustering_package.engine.model.scorer import (  # noqa: E402
    CategoricalFeature,
    FeatureSpec,
    NumericFeature,
    session,
)
from clustering_package.engine.model.selection import Selection  # noqa: E402
from clustering_package.engine.settings import Monitoring  # noqa: E402

ROWS = 1200
CONTRACT = Contract(
    name="customers",
    version="1",
    columns=(
        Column(name="customer", kind="category", role="entity", required=True),
        Column(name="spent", kind="number", role="feature", minimum=0, mean=300, std=200),
        Column(name="visits", kind="integer", role="feature", minimum=0, mean=8, std=5),
        Column(name="age", kind="number", role="feature", mean=40, std=12, missing_share=0.05),
        Column(name="shoe", kind="number", role="feature", mean=40, std=2),
        Column(name="moon", kind="number", role="feature", mean=0.5, std=0.1),
        Column(name="plan", kind="category", role="feature", levels=("a", "b", "c", "d")),
        Column(name="segment", kind="category", role="target", missing_share=0.5),
    ),
)
TRUE = signal.segments(ROWS)


@pytest.fixture(scope="module")
def data() -> Data:
    frame = sample.generate(CONTRACT, ROWS, seed=1)
    spec = features.fit(frame, CONTRACT, ())
    return Data(encode(spec, frame), target.values(frame, CONTRACT.target), spec, 1)


def circle(segments: int, spread: float, rows: int = 120) -> np.ndarray:
    """Return rows around so many centers that are equally far from the middle."""
    rng, angles = np.random.default_rng(1), 2 * np.pi * np.arange(segments) / segments
    centers = 1.5 * np.column_stack([np.cos(angles), np.sin(angles)])
    return np.concatenate([rng.normal(center, spread, (rows, 2)) for center in centers])


@pytest.mark.parametrize("name", list(models.FITTERS))
def test_the_graph_places_rows_as_the_model_does(name: str, data: Data) -> None:
    """Also rows never seen: missing, far away, of unknown levels, next to each other."""
    fitted = models.FITTERS[name](data, 7, {})
    predictor = graph.Predictor((graph.Member(*fitted),), head.Head(1.0))
    opened = session(graph.emit(predictor, data.spec, encoded=True))
    width, x = len(data.spec.numeric), data.x
    missing, huge, near = x.copy(), x.copy(), x.copy()
    missing[:, :width], missing[:, width:] = np.nan, 99
    huge[:, :width] *= np.float32(1e33)
    near[:, :width] = np.nextafter(x[:, :width], np.float32(np.inf))
    for rows in (x, missing, huge, near):
        position, code, named, distance, outside = opened.run(list(task.NAMES), {"x": rows})
        told = predictor.answers(rows)["position"]
        assert (np.abs(position - told) / task.unit(told)).max() < 1e-6
        assert np.array_equal(code[:, 0], told[:, task.CLUSTER])
        assert np.array_equal(distance[:, 0], position[:, task.REACH])
        assert np.array_equal(outside[:, 0] == 1, distance[:, 0] > 1)
        assert [fitted.model.names[place] for place in code[:, 0]] == named[:, 0].tolist()


@pytest.mark.parametrize("name", ["kmeans", "hierarchical", "gaussian_mixture"])
def test_candidates_find_the_four_segments_of_the_sample(name: str, data: Data) -> None:
    fitted = models.FITTERS[name](data, 7, {"least": 2, "most": 7, "floor": 0.8})
    codes = task.codes(fitted.predict(data.x))
    assert sk.adjusted_rand_score(TRUE, codes) > 0.75
    counts = np.bincount(codes)
    assert (np.diff(counts) <= 0).all()  # the largest is the first
    assert len(set(fitted.model.names)) == len(counts)
    assert len(counts) == 4 or name == "gaussian_mixture"
    for word in ", ".join(fitted.model.names).split(", "):  # names tell no value of a category
        how, feature = word.split(" ", 1)
        category = feature in data.spec.names[len(data.spec.numeric) :]
        assert feature in data.spec.names and how in (("other",) if category else ("high", "low"))


def test_the_number_of_segments_is_the_clearest_of_the_stable_ones() -> None:
    z = circle(5, 0.7)
    found = models.tried(models.learn_kmeans, z, range(2, 8), 7)
    assert next(iter(found)) == 3  # by the silhouette alone; resamples do not find these again
    assert len(models.stable(models.learn_kmeans, z, range(2, 8), 0.8, 7).centers) == 5
    assert len(models.stable(models.learn_kmeans, z, range(2, 5), 0.8, 7).centers) == 1


def test_rows_without_segments_give_one_that_is_not_clear() -> None:
    z = np.random.default_rng(0).normal(size=(400, 5))
    spec = FeatureSpec(tuple(NumericFeature(name, name) for name in "abcde"), ())
    noise = Data(z.astype(np.float32), np.full(400, np.nan), spec, 1)
    for name in ("kmeans_2", "kmeans"):
        p = models.FITTERS[name](noise, 7, {}).predict(noise.x)
        assert metrics.evaluate(noise.y, p)["silhouette"] == 0 and p[:, task.CLUSTER].max() == 0


def test_the_plan_limits_how_many_segments_there_are(data: Data) -> None:
    answers = SimpleNamespace(segments_least=2, segments_most=3, min_stability=0.5)
    asked = task.asked(answers)  # type: ignore[arg-type]
    few = models.kmeans(data, 7, asked).predict(data.x)
    assert few[:, task.CLUSTER].max() + 1 <= 3


def test_nothing_is_learnt_from_todays_segments(data: Data) -> None:
    """A planted leak: segments that the rows do not tell move no model but today's rule."""
    planted = data._replace(y=np.random.default_rng(0).integers(0, 3, ROWS) * 1.0)
    for name, fit in models.FITTERS.items():
        same = np.array_equal(fit(data, 7, {}).predict(data.x), fit(planted, 7, {}).predict(data.x))
        assert same == (name != "today_rule"), name


def test_metrics_are_those_of_scikit_learn(data: Data) -> None:
    rng = np.random.default_rng(3)
    first, second, weights = (
        rng.integers(0, 4, 400),
        rng.integers(0, 3, 400),
        rng.integers(0, 3, 400),
    )
    first[:200] = second[:200]
    again = np.repeat(np.arange(400), weights)
    expected = sk.adjusted_rand_score(first[again], second[again])
    assert metrics.adjusted_rand(first, second, weights * 1.0) == pytest.approx(expected)
    assert metrics.adjusted_rand(first, first) == metrics.adjusted_rand(first * 0, first * 0) == 1
    z = circle(3, 0.5)
    codes = np.repeat([0, 1, 2], 120)
    told = metrics.shape(z, codes, 0)
    assert told["silhouette_pairs"] == pytest.approx(sk.silhouette_score(z, codes))
    assert told["davies_bouldin"] == pytest.approx(sk.davies_bouldin_score(z, codes))
    assert told["calinski_harabasz"] == pytest.approx(sk.calinski_harabasz_score(z, codes))
    assert np.isnan(list(metrics.shape(z, codes * 0, 0).values())).all()
    p = models.kmeans(data, 7, {}).predict(data.x)
    here = ~np.isnan(data.y)
    found = metrics.evaluate(data.y, p)
    by_peer = sk.adjusted_rand_score(data.y[here], p[here, task.CLUSTER])
    assert found["agreement_today"] == pytest.approx(by_peer)
    away = (p[:, task.NEXT] - p[:, task.OWN]) / np.maximum(p[:, task.NEXT], p[:, task.OWN])
    assert found["silhouette"] == pytest.approx(away.mean())
    assert found["smallest_share"] == pytest.approx(np.bincount(task.codes(p)).min() / ROWS)
    assert np.isnan(metrics.score("agreement_today", np.full(ROWS, np.nan), p))


def test_a_mixture_is_that_of_scikit_learn(data: Data) -> None:
    from sklearn.mixture import GaussianMixture

    _, z, _ = models.points(data, 7)
    peer = GaussianMixture(3, reg_covar=1e-3, random_state=7).fit(z)
    found = models.learn_mixture(z, 3, 7)
    assert found.mixture is not None
    ours, theirs = found.mixture.log_density(z), peer._estimate_log_prob(z) + np.log(peer.weights_)
    shift = ours.max(axis=1) - theirs.max(axis=1)  # the constant of a density is left out
    assert np.ptp(shift) < 1e-6
    assert sk.adjusted_rand_score(peer.predict(z), found.codes(z)) == 1


def test_columns_weigh_alike_and_odd_ones_do_not_stretch_the_space() -> None:
    rng = np.random.default_rng(0)
    columns = [rng.normal(size=ROWS), 1e6 * rng.lognormal(0, 2, ROWS), np.full(ROWS, 3.0)]
    gaps = np.where(rng.random(ROWS) < 0.3, np.nan, rng.normal(size=ROWS))
    x = np.column_stack([*columns, gaps, rng.integers(0, 3, ROWS)]).astype(np.float32)
    numeric = tuple(NumericFeature(name, name) for name in "abcd")
    spec = FeatureSpec(numeric, (CategoricalFeature("e", "e", ("u", "v", "w")),))
    space = clusters.space(x, spec)
    z = space.rows(x)
    assert z[:, [0, 1, 3]].std(axis=0) == pytest.approx(1) and (z[:, 2] == 0).all()
    assert z[:, 4:].var(axis=0).sum() == pytest.approx(1)
    x[0, :4], x[0, 4] = np.float32(3e38), 77
    assert np.isfinite(space.rows(x)).all() and np.abs(space.rows(x)[0]).max() < 30


def test_a_name_says_what_is_unlike_the_average_and_is_no_other_ones() -> None:
    spec = FeatureSpec(tuple(NumericFeature(name, name) for name in ("age", "income")), ())
    space = clusters.space(circle(4, 0.2).astype(np.float32), spec)
    centers = np.array([[0.1, 0.2], [1.5, -0.7], [1.5, -0.7], [0.0, 0.6]])
    assert clusters.named(space, centers) == (
        "near the average",
        "high age, low income",
        "high age, low income (2)",
        "high income",
    )


def test_segments_of_categories_alone_are_found_and_named_by_their_columns() -> None:
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, 600)
    codes = [np.where(rng.random(600) < 0.95, group, rng.integers(0, 3, 600)) for _ in range(4)]
    levels = ("x", "y", "z")
    spec = FeatureSpec((), tuple(CategoricalFeature(name, name, levels) for name in "abcd"))
    data = Data(np.column_stack(codes).astype(np.float32), np.full(600, np.nan), spec, 1)
    for name in ("median_rule", "kmeans", "gaussian_mixture", "hierarchical"):
        fitted = models.FITTERS[name](data, 7, {})
        p = fitted.predict(data.x)
        predictor = graph.Predictor((graph.Member(*fitted),), head.Head(1.0))
        found = session(graph.emit(predictor, spec, encoded=True)).run(["position"], {"x": data.x})
        assert np.abs(found[0] - p).max() < 1e-5
        if name == "kmeans":
            assert sk.adjusted_rand_score(group, task.codes(p)) > 0.95
            assert all(word.startswith("other ") for word in fitted.model.names)


def test_rows_of_few_different_values_are_no_error() -> None:
    spec = FeatureSpec((NumericFeature("a", "a"), NumericFeature("b", "b")), ())
    few = np.repeat(np.array([[0, 0], [1, 0], [5, 5]], np.float32), [60, 30, 10], axis=0)
    for x in (few, np.zeros((100, 2), np.float32), np.full((100, 2), np.nan, np.float32)):
        data = Data(x, np.full(100, np.nan), spec, 1)
        for name, fit in models.FITTERS.items():
            p = fit(data, 7, {}).predict(x)
            assert np.isfinite(p).all(), name
            assert p[:, task.CLUSTER].max() < len(
                np.unique(x[~np.isnan(x).any(axis=1)], axis=0)
            ) or (p[:, task.CLUSTER].max() == 0)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.2])
def test_noise_is_told_and_does_not_widen_the_segments(noise: float) -> None:
    """Rows that were thrown in anywhere, and beside them rows of four segments."""
    rng = np.random.default_rng(1)
    centers = rng.normal(0, 4, (4, 10))
    rows = centers[rng.choice(4, 1500, p=signal.SHARES)] + 0.6 * rng.normal(size=(1500, 10))
    strewn = rng.uniform(rows.min(axis=0), rows.max(axis=0), (round(1500 * noise), 10))
    x = np.concatenate([rows, strewn]).astype(np.float32)
    spec = FeatureSpec(tuple(NumericFeature(name, name) for name in "abcdefghij"), ())
    p = models.kmeans(Data(x, np.full(len(x), np.nan), spec, 1), 7, {}).predict(x)
    far = p[:, task.REACH] > 1
    assert p[:, task.CLUSTER].max() == 3
    assert far[:1500].mean() < 0.03 and (not noise or far[1500:].mean() > 0.95)


def test_in_columns_of_few_values_rows_that_differ_are_no_noise() -> None:
    away = np.repeat([0.2, 1.0, 9.0], [800, 196, 4])
    assert (away > clusters.usual(away)).sum() == 4
    assert clusters.usual(np.zeros(50)) > 0


def test_rows_that_are_farther_than_usual_are_outside(data: Data) -> None:
    facts = SimpleNamespace(count_rule="stable_silhouette", scaling="robust")
    oof = models.kmeans(data, 7, {}).predict(data.x)
    oof[:10] = np.nan
    found, told = decision.decide(SimpleNamespace(facts=facts), data, oof)  # type: ignore[arg-type]
    beyond = np.nanmean(np.where(np.isnan(oof[:, 0]), np.nan, oof[:, task.REACH] > found.cut))
    assert found.cut == clusters.usual(oof[10:, task.REACH])
    assert told == {"outside": {"share": pytest.approx(beyond), "cut": found.cut}}
    assert beyond < 0.03
    facts.count_rule = "elbow"
    with pytest.raises(ProjectError, match="unknown rule for the number of segments elbow"):
        decision.check(SimpleNamespace(facts=facts), CONTRACT.target)  # type: ignore[arg-type]


def test_drift_is_told_without_labels(data: Data) -> None:
    scores = models.kmeans(data, 7, {}).predict(data.x)
    known = performance.known(scores, data.y) | {"rows": ROWS}
    assert performance.estimate(scores, known) == known["estimated"]
    settings, level = Monitoring(), float(np.quantile(scores[:, task.REACH], 0.99))
    assert performance.answered(scores, known, level, settings)["outside"]["level"] == "ok"
    far = scores.copy()
    far[:300, task.REACH] *= 3
    assert performance.answered(far, known, level, settings)["outside"]["level"] == "act"
    far[:, task.REACH] = 0  # nearer than before is not worse
    assert performance.answered(far, known, level, settings)["outside"]["level"] == "ok"
    watched = task.watched(scores)
    assert list(watched) == ["prediction", "distance to the segment"]
    assert set(watched["prediction"]) == {"0", "1", "2", "3"}


def test_segments_are_paired_before_they_are_compared() -> None:
    first = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    second = np.array([2, 2, 2, 0, 1, 1, 1, 0, 0, 0])
    placed, overlap = segments.matched(first, second, 3)
    assert placed == 0.9
    assert overlap.tolist() == pytest.approx([3 / 4, 1, 3 / 4])


def prepared(data: Data, personal: set[str]) -> segments.Tested:
    _, z, _ = models.points(data, 7)
    codes = task.codes(models.kmeans(data, 7, {}).predict(data.x))
    held = {0.0: "basic", 1.0: "regular", 2.0: "premium"}
    return segments.Tested(data.spec, data.x, codes, data.x, z, z, held, personal, "kmeans")


def test_people_get_a_rule_of_three_questions_and_profiles(data: Data) -> None:
    rows = prepared(data, set())
    names = {code: f"segment {code}" for code in range(4)}
    told = segments.tree(rows, rows.placed, names)
    assert told["depth"] <= 3 and told["agreement"] > 0.95 and len(told["rules"]) <= 8
    assert sum(rule["rows"] for rule in told["rules"]) == ROWS
    assert all(rule["when"].count(" and ") <= 2 for rule in told["rules"])
    parts = segments.segments(rows, rows.placed, names, np.zeros(ROWS), [1.0] * 4)
    assert sum(part["rows"] for part in parts) == ROWS
    strongest = {part["profile"][0][0].split(" = ")[0] for part in parts}
    assert strongest <= {"spent", "visits", "age", "plan"}  # not the two that are noise
    flat = segments.picture(rows, rows.placed)
    assert len(flat["points"]) == segments.PICTURED and 0 < sum(flat["explained"]) <= 1
    equal = rows._replace(z=np.ones_like(rows.z))
    assert segments.picture(equal, rows.placed) == {"points": [], "explained": []}


def test_no_value_of_a_personal_column_is_told(data: Data) -> None:
    rows = prepared(data, {"age", "plan"})
    names = {code: f"segment {code}" for code in range(4)}
    parts = segments.segments(rows, rows.placed, names, np.zeros(ROWS), [1.0] * 4)
    said = str(parts) + str(segments.tree(rows, rows.placed, names))
    assert "age" not in said and "plan" not in said and "spent" in said


def test_segments_of_resamples_are_held_against_those_found(data: Data) -> None:
    rows = prepared(data, set())
    found = value.again(rows, rows.placed, 7)
    assert found["stability"].value > 0.9 and found["placed"].value > 0.9
    assert found["stability"].low <= found["stability"].value
    assert min(found["jaccard"]) > 0.7
    noise = rows._replace(
        learnt=np.random.default_rng(0).normal(size=(600, 5)),
        z=np.random.default_rng(1).normal(size=(ROWS, 5)),
    )
    blurred = models.learn_kmeans(noise.learnt, 4, 7).codes(noise.z)
    assert value.again(noise, blurred, 7)["stability"].value < 0.7


def test_todays_segments_are_compared_with_where_they_are_known(data: Data) -> None:
    rows = prepared(data, set())
    told = segments.today(rows, data.y, rows.placed)
    assert told is not None and told["segments"] == 3 and 0.2 < told["agreement"] < 0.9
    assert sum(sum(counts) for _, counts in told["table"]) == told["known"]
    assert {name for name, _ in told["table"]} == {"basic", "regular", "premium"}
    assert segments.today(rows, np.full(ROWS, np.nan), rows.placed) is None
    assert segments.today(rows, np.zeros(ROWS), rows.placed) is None


def judged(**changes: object) -> tuple[list[str], list[str]]:
    report: dict[str, object] = {
        "quality": {"floor": 0.8, "stability": {"value": 0.9}, "silhouette_pairs": 0.3},
        "segments": [{"name": "a", "share": 0.7}, {"name": "b", "share": 0.3}],
        "numbers": [{"segments": 2, "silhouette": 0.4, "stability": 0.9, "chosen": True}],
        "noise": 0.01,
        "today": None,
    }
    return value.usefulness(SimpleNamespace(), report | changes)  # type: ignore[arg-type]


def test_what_is_of_no_use_closes_the_gate_and_doubts_are_told() -> None:
    assert judged() == ([], [])
    weak = {"floor": 0.8, "stability": {"value": 0.6}, "silhouette_pairs": 0.3}
    assert "agree by 0.6" in judged(quality=weak)[0][0]
    assert "all rows are in one segment" in judged(segments=[{"name": "a", "share": 1}])[0][0]
    tiny = [{"name": "a", "share": 0.99}, {"name": "b", "share": 0.01}]
    assert judged(segments=tiny)[1] == ["segment 'b' has 1\xa0% of the rows"]
    assert "20\xa0% of the test rows are far" in judged(noise=0.2)[1][0]
    number = {"segments": 5, "silhouette": 0.3, "stability": 0.9, "chosen": True}
    two = {"segments": 2, "silhouette": 0.4, "stability": 0.4, "chosen": False}
    assert judged(numbers=[two, number])[1] == [
        "2 segments would be clearer (silhouette 0.4), but are not found again"
    ]
    assert "today's segments are clearer" in judged(today={"silhouette": 0.5})[1][0]


def test_the_sample_is_one_that_its_contract_lets_in() -> None:
    frame = sample.generate(CONTRACT, ROWS, seed=1)
    for column in CONTRACT.columns:
        texts = frame[column.name].cast(pl.String)
        read = validation.parse(texts, column)
        assert read.null_count() == frame[column.name].null_count(), column.name
        assert column.minimum is None or read.min() >= column.minimum  # type: ignore[operator]
        assert not column.levels or set(read.drop_nulls()) <= set(column.levels)
    assert np.bincount(TRUE) / ROWS == pytest.approx(signal.SHARES, abs=0.06)
    y = target.outcome(frame, CONTRACT.target)
    assert y.null_count() / ROWS == pytest.approx(0.5, abs=0.05)
    assert target.profile(y)["segments"] == 3
    counts = y.drop_nulls().value_counts().sort("y")["count"].to_list()
    assert counts == sorted(counts, reverse=True)


def test_a_draft_takes_segments_of_today_or_none() -> None:
    none = pl.Series("segment", [None] * 30, dtype=pl.Boolean)
    found = Candidate("segment", "boolean", none)
    y, meaning = target_draft.propose(found, none, None)
    assert found.kind == "category" and y.null_count() == 30 and "nothing to compare" in meaning
    names = pl.Series("segment", ["a", "b", None] * 10)
    y, meaning = target_draft.propose(Candidate("segment", "category", names), names, "by spend")
    assert y.to_list() == [0, 1, None] * 10
    assert meaning == "2 segments of today, to compare with"
    for kind, values, reason in (
        ("number", [0.5, 1.5] * 200, "is no segment of today, but number"),
        ("category", [f"c{n}" for n in range(400)], "has 400 different values"),
    ):
        series = pl.Series("segment", values)
        with pytest.raises(ProjectError, match=reason):
            target_draft.propose(Candidate("segment", kind, series), series, None)
    assert list(target_fields.problems(CONTRACT.target, "category", ())) == []
    assert "string, integer or boolean" in next(
        iter(target_fields.problems(CONTRACT.target, "number", ()))
    )


def test_a_column_is_related_by_the_rows_that_it_places_as_today() -> None:
    today = pl.Series("y", [0, 1, 2] * 200)
    assert target.association(pl.Series("rule", ["x", "y", "z"] * 200), today) > 0.95
    noise = pl.Series("noise", np.random.default_rng(0).normal(size=600))
    assert target.association(noise, today) < 0.15
    assert target.association(noise, pl.Series("y", [None] * 600, dtype=pl.Int64)) == 0


def test_a_planted_leak_is_todays_segment_by_another_name(tmp_path: Path) -> None:
    """New segments would follow it; columns that today's rule cuts stay, also by definition."""
    rng = np.random.default_rng(0)
    spent = rng.gamma(2, 200, 900).round(2)
    code = np.digitize(spent, [200, 500])
    wrong = np.where(rng.random(900) < 0.003, (code + 1) % 3, code)
    unknown = pl.Series(rng.random(900) < 0.1)
    frame = pl.DataFrame(
        {
            "spent": spent,
            "visits": rng.poisson(5, 900),
            "town": [f"{'abc'[c]}{n}" for c, n in zip(code, rng.integers(0, 4, 900), strict=True)],
            "tariff": [("S", "M", "L")[c] for c in code],
            "level": 10 * code,
            "nearly": [("i", "ii", "iii")[c] for c in wrong],
            "segment": pl.Series([("low", "mid", "high")[c] for c in code]).set(unknown, None),
        }
    )
    frame.write_csv(tmp_path / "rows.csv")
    found = drafting.draft(tmp_path / "rows.csv", "segment").findings
    leaks = {item.column: item.reason for item in found if item.what == "leakage"}
    assert leaks.keys() == {"tariff", "level", "nearly"}
    assert leaks["tariff"] == "it says what today's segments say (adjusted Rand index 1)"
    rule = "CASE WHEN spent > 500 THEN 'high' ELSE 'low' END"
    frame.select("spent", "visits").write_csv(tmp_path / "rows.csv")
    drafted = drafting.draft(tmp_path / "rows.csv", "segment", target_definition=rule)
    (tmp_path / "contract.yaml").write_text(drafted.text, encoding="utf-8")
    agreed = contract.read(tmp_path / "contract.yaml")
    assert [column.name for column in agreed.features] == ["spent", "visits"]
    assert agreed.target.definition == rule


def test_no_feature_learns_of_todays_segments(data: Data) -> None:
    """A planted leak: an encoding by the target, and a selection by it, are refused."""
    for operators, selection in (
        ([TargetEncoding("code", of="plan")], Selection("none")),
        ([], Selection("importance", keep=2)),
    ):
        recipe = derived.Recipe(operators, selection, 7)
        with pytest.raises(ProjectError, match="it needs a target that every row has"):
            recipe.learn(data.x, np.zeros(ROWS), None, data.spec)


def test_later_rows_are_held_against_segments_as_the_final_model_numbers_them() -> None:
    scores = np.array([[0.0, 1, 2, 1], [1, 1, 2, 1], [2, 1, 2, 1]])
    folds = outcome.CrossValidated([], scores[::-1].copy(), [], 0.0, {})
    final = SimpleNamespace(predict=lambda x: scores[x[:, 0].astype(int)])
    found = folds.watched(final, np.arange(3, dtype=np.float32).reshape(-1, 1), np.array([0, 2]))
    assert task.watched(found)["prediction"].tolist() == ["0", "2"]


def test_a_date_counts_once_in_a_distance() -> None:
    """Year, month and age of one date would count it three times; what is declared is there."""
    columns = (
        Column(name="since", kind="date", role="feature"),
        Column(name="segment", kind="category", role="target"),
    )
    agreed = Contract(name="c", version="1", columns=columns)
    days = pl.date_range(pl.date(2015, 1, 1), pl.date(2024, 1, 1), "37d", eager=True)
    frame = pl.DataFrame({"since": days, "segment": None})
    assert features.fit(frame, agreed, ()).names == ["since.elapsed"]
    cycle = Cyclical("season", of="since", part="month")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "FEATURES", [cycle])
        assert "since.month" in features.fit(frame, agreed, ()).names


def test_usual_phrases_do_not_decide_who_is_tested() -> None:
    """Where no label is learnt, rows of one phrase may be on both sides of a split."""
    written = "the delivery was late again and nobody could tell me when it would come"
    column = Column(name="comment", kind="text", role="feature")
    agreed = Contract(name="c", version="1", columns=(column,))
    assert duplicates.leaders(pl.DataFrame({"comment": [written] * 50}), agreed) is None


def test_a_segment_is_named_early_or_late_by_a_date() -> None:
    one = np.array([1.0])
    learnt = clusters.Space(("since.elapsed",), one, one, one, one, (), ())
    found = clusters.named(learnt, np.array([[1.5], [-1.5]]))
    assert found == ("early since", "late since")


def test_a_row_is_told_by_its_segment() -> None:
    row = {"position": [2.0, 0.4, 0.8, 0.7], "cluster": 2, "name": "high spent", "distance": 0.7}
    levels = {output.name: list(output.levels) for output in task.OUTPUTS}
    on = task.contrast(np.array(row["position"]), task.OUTPUTS)[0]
    told = explaining._answered(row | on | {"outside": False}, "position", levels)
    assert told[0] == "cluster 2, name high spent, distance 0.7, outside no"
    assert told[1] == (
        "how clearly it belongs there, 0.500, of 0 between two segments to 1 at a center:"
    )


def test_what_is_made_of_one_column_weighs_as_one_number() -> None:
    """Eight topics of one text would outvote two amounts."""
    topics = tuple(NumericFeature(f"comment.words.{n}", "comment") for n in range(1, 9))
    spec = FeatureSpec((NumericFeature("spent", "spent"), *topics), ())
    x = np.random.default_rng(0).normal(size=(3000, 9)).astype(np.float32)
    spread = clusters.space(x, spec).rows(x).var(axis=0)
    assert spread[0] == pytest.approx(1) and spread[1:].sum() == pytest.approx(1)
