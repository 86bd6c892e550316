"""Several classes: metrics, calibration, costs, reviews, graph, leakage, drafts, sample, drift."""

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as sk
from helpers.package import load, sources
from helpers.rendering import ROOT

load("multiclass_package", sources("multiclass"))
from multiclass_package import decision, models, value  # noqa: E402
from multiclass_package.engine import (  # noqa: E402
    comparison,
    explaining,
    metrics,
    performance,
    resampling,
    task,
)
from multiclass_package.engine.data import (  # noqa: E402
    contract,
    drafting,
    leakage,
    sample,
    target,
    target_draft,
)
from multiclass_package.engine.errors import ProjectError  # noqa: E402
from multiclass_package.engine.model import bundle, derived, graph, plain, stored_graph  # noqa: E402
from multiclass_package.engine.model.fitting import Data  # noqa: E402
from multiclass_package.engine.model.head import Head  # noqa: E402
from multiclass_package.engine.model.lookups import TargetEncoding  # noqa: E402
from multiclass_package.engine.model.output import levels  # noqa: E402
from multiclass_package.engine.model.scorer import (  # noqa: E402
    CategoricalFeature,
    FeatureSpec,
    NumericFeature,
    Scorer,
    session,
)
from multiclass_package.engine.model.selection import Selection  # noqa: E402
from multiclass_package.engine.resampling import Interval  # noqa: E402
from multiclass_package.engine.serving import batch  # noqa: E402

NAMES = ("billing", "delivery", "technical", "other")
ROWS = 4000


def world(rows: int = ROWS, seed: int = 0, power: float = 1.0) -> tuple[Any, Any]:
    """Return classes that came and true probabilities, sharpened by `power`."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet([1.2, 0.9, 0.6, 0.3], rows)
    y = np.array([rng.choice(4, p=row) for row in p])
    sharp = p**power
    return y, sharp / sharp.sum(axis=1, keepdims=True)


def project(**facts: Any) -> Any:
    """Return what decisions read of a project."""
    known = {
        "classes": "billing, delivery, technical, other",
        "cost_wrong": 10.0,
        "cost_pairs": "",
        "cost_review": 2.0,
        "review_accuracy": 0.9,
        "review_share": 0.2,
        "rarest_share": 0.1,
        "today_accuracy": 0.5,
        "today_cost": 1.0,
        "acceptance": "review_by_costs",
        "calibration": "best_of_two",
        "currency": "EUR",
        "predictions_per_month": 1000.0,
    }
    config = SimpleNamespace(
        training=SimpleNamespace(seed=0), evaluation=SimpleNamespace(bootstrap=100)
    )
    return SimpleNamespace(facts=SimpleNamespace(**(known | facts)), config=config)


def given(y: Any) -> Data:
    spec = FeatureSpec((NumericFeature("a", "a"),), ())
    return Data(np.zeros((len(y), 1), np.float32), y, spec, 1, NAMES)


@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_are_those_of_scikit_learn(weighted: bool) -> None:
    y, p = world(600)
    w = np.random.default_rng(1).integers(1, 4, len(y)).astype(float) if weighted else None
    best, onehot = p.argmax(axis=1), np.eye(4)[y]
    reference = {
        "log_loss": sk.log_loss(y, p, sample_weight=w),
        "brier": np.average(((p - onehot) ** 2).sum(axis=1), weights=w),
        "accuracy": sk.accuracy_score(y, best, sample_weight=w),
        "balanced_accuracy": sk.balanced_accuracy_score(y, best, sample_weight=w),
        "macro_f1": sk.f1_score(y, best, average="macro", sample_weight=w),
        "weighted_f1": sk.f1_score(y, best, average="weighted", sample_weight=w),
        "mcc": sk.matthews_corrcoef(y, best, sample_weight=w),
        "top2_accuracy": sk.top_k_accuracy_score(y, p, k=2, sample_weight=w),
    }
    for name, expected in reference.items():
        assert metrics.score(name, y, p, weights=w) == pytest.approx(expected), name
    assert set(metrics.evaluate(y, p)) == set(metrics.NAMES)
    precision, recall, f1, rows = sk.precision_recall_fscore_support(y, best)
    told = metrics.by_class(NAMES, p, metrics.confusion(y, best, 4))
    assert metrics.confusion(y, best, 4).tolist() == sk.confusion_matrix(y, best).tolist()
    for code, row in enumerate(told):
        found = [row[name] for name in ("precision", "recall", "f1", "rows")]
        assert found == pytest.approx([precision[code], recall[code], f1[code], rows[code]])


def test_calibration_errors_are_0_of_true_probabilities_and_not_of_sharpened_ones() -> None:
    y, p = world(40_000)
    for name in ("ece", "classwise_ece"):
        honest = metrics.score(name, y, p)
        assert honest < 0.01, name
        assert metrics.score(name, y, world(40_000, power=3)[1]) > 0.05, name
    hand = np.array([[0.8, 0.2], [0.6, 0.4]])  # each in a bin of its own: |1 - .8| and |0 - .6|
    assert metrics.score("ece", np.array([0, 1]), hand) == pytest.approx((0.2 + 0.6) / 2)


def test_intervals_hold_their_value_and_gains_are_paired() -> None:
    y, p = world(800)
    drawn: dict[str, Any] = {"draws": 100, "seed": 1, "groups": None}
    found = resampling.bootstrap(y, p, 0.0, ["log_loss", "macro_f1", "accuracy"], **drawn)
    assert all(item.low < item.value < item.high for item in found.values())
    worse = np.full_like(p, 0.25)
    assert resampling.paired_gain(y, p, worse, "log_loss", **drawn).low > 0
    assert resampling.paired_gain(y, worse, p, "log_loss", **drawn).high < 0


def test_temperature_mends_what_was_sharpened() -> None:
    y, p = world(power=2.5)
    head, losses = decision.calibrate("best_of_two", y, p)
    assert head.method == "temperature"
    assert 1 / head.weight[0, 0] == pytest.approx(2.5, rel=0.15)
    assert losses["temperature"] < losses["none"]
    assert decision.calibrate("none", y, p)[0].method == "none"


def test_a_matrix_is_chosen_where_classes_are_confused_in_one_direction() -> None:
    y, p = world()
    mixed = p @ np.array([[0.6, 0.4, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0.5, 0.5]])
    head, losses = decision.calibrate("best_of_two", y, mixed)
    assert head.method == "matrix"
    assert losses["matrix"] < losses["temperature"] - 0.02
    fresh, probabilities = world(seed=9)
    mixed = probabilities @ np.array(
        [[0.6, 0.4, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0.5, 0.5]]
    )
    assert metrics.score("log_loss", fresh, head.apply(mixed)) < metrics.score(
        "log_loss", fresh, decision.temperature(y, mixed).apply(mixed)
    )


def test_costs_are_read_by_pair_and_the_cheapest_class_is_decided() -> None:
    here = project(cost_pairs="other > billing = 500; billing > other = 1")
    found = decision.costs(here, NAMES)
    assert found.matrix.diagonal().tolist() == [0, 0, 0, 0]
    assert found.matrix[3, 0] == 500
    assert found.matrix[0, 3] == 1
    assert found.matrix[1, 0] == 10
    assert found.review[1] == pytest.approx(2 + 0.1 * 10)
    y, p = world(300)
    head, told = decision.decide(here, given(y), p)
    assert told["classes"] == list(NAMES)
    decided = (head.apply(p) @ head.costs).argmin(axis=1)
    for row, code in zip(head.apply(p), decided, strict=True):  # by hand
        assert min(range(4), key=lambda k: sum(row * found.matrix[:, k])) == code
    assert (decided == 3).mean() > (p.argmax(axis=1) == 3).mean() + 0.2


@pytest.mark.parametrize(
    ("pairs", "named"),
    [
        ("nobody > billing = 5", "nobody"),
        ("other > billing", "other > billing"),
        ("other > other = 5", "other > other"),
        ("other > billing = dear", "dear"),
        ("other > billing = -5", "-5"),
        ("other = 5", "other = 5"),
    ],
)
def test_what_is_no_pair_of_classes_is_named(pairs: str, named: str) -> None:
    with pytest.raises(ProjectError, match="cost_pairs") as raised:
        decision.costs(project(cost_pairs=pairs), NAMES)
    assert named in str(raised.value)


def test_plan_and_contract_must_name_the_same_classes() -> None:
    with pytest.raises(ProjectError, match="technic"):
        decision.costs(project(classes="billing, delivery, technic, other"), NAMES)


@pytest.mark.parametrize(
    ("acceptance", "share"), [("accept_all", 0.0), ("review_by_costs_within_capacity", 0.2)]
)
def test_reviews_keep_to_what_people_can_do(acceptance: str, share: float) -> None:
    y, p = world()
    head, told = decision.decide(project(acceptance=acceptance), given(y), p)
    reviewed = (head.apply(p) @ head.costs).min(axis=1) > head.review_level
    assert reviewed.mean() == pytest.approx(share, abs=0.01)
    assert told["decisions"]["reviewed_share"] == pytest.approx(reviewed.mean())
    by_costs, _ = decision.decide(project(acceptance="review_by_costs"), given(y), p)
    assert by_costs.review_level == pytest.approx(2 + 0.1 * 10)
    if share:  # what people look at is what it is the least sure of
        right = (head.apply(p) @ head.costs).argmin(axis=1) == y
        assert right[~reviewed].mean() > right[reviewed].mean() + 0.2


def heads() -> dict[str, Head]:
    y, p = world()
    costs = decision.costs(project(cost_pairs="other > billing = 50"), NAMES).matrix
    plain_heads = {
        "none": Head(),
        "temperature": decision.temperature(y, p**2 / (p**2).sum(axis=1, keepdims=True)),
        "matrix": decision.matrix(y, p),
    }
    return {
        name: head._replace(levels=NAMES, costs=costs, review_level=3.0)
        for name, head in plain_heads.items()
    }


@pytest.mark.parametrize("method", ["none", "temperature", "matrix"])
def test_the_graph_calibrates_decides_and_accepts_as_the_head(method: str) -> None:
    rng = np.random.default_rng(3)
    spec = FeatureSpec(
        (NumericFeature("a", "a"), NumericFeature("b", "b")),
        (CategoricalFeature("c", "c", ("x", "y")),),
    )
    x = np.column_stack([rng.normal(size=(1500, 2)), rng.integers(0, 3, 1500)]).astype(np.float32)
    y = np.argmax(np.column_stack([x[:, 0], x[:, 1], x[:, 2] - 1, -x[:, 0] - 1]), axis=1)
    data = Data(x, y, spec, 1, NAMES)
    members = [
        graph.Member(*models.FITTERS["lightgbm"](data, 1, {"rounds": 20}), 0.6),
        graph.Member(*models.FITTERS["logistic_regression"](data, 1, {}), 0.4),
    ]
    predictor = graph.Predictor(tuple(members), heads()[method])
    model = graph.emit(predictor, spec, encoded=True)
    told = stored_graph.stated(model, task.stated)
    assert told == {"review_level": 3.0, "head": method}
    near = np.nextafter(x[:, :2], np.float32(np.inf))
    rows = np.concatenate(
        [
            x,
            np.column_stack([near, x[:, 2]]),
            np.column_stack([np.full((3, 2), np.nan), [2, 9, 0]]).astype(np.float32),
            np.column_stack([np.full((2, 2), 3e38), [0, 1]]).astype(np.float32),
            np.column_stack([x[:9, :2] * np.float32(1e-30), x[:9, 2]]),
        ]
    ).astype(np.float32)
    p, decided, accepted = session(model).run(None, {"x": rows})
    expected = predictor.predict(rows)
    assert np.abs(p - expected).max() < 1e-5
    cost = p @ predictor.head.costs.astype(np.float32)
    assert decided[:, 0].tolist() == [NAMES[code] for code in cost.argmin(axis=1)]
    assert (accepted[:, 0] == (cost.min(axis=1) <= np.float32(3.0))).all()
    alone = graph.emit(graph.Predictor(tuple(members)), spec, encoded=True)
    assert len(session(alone).run(None, {"x": rows})) == 1


def test_leaves_hold_a_share_for_each_class_that_training_had() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 3)).astype(np.float32)
    spec = FeatureSpec(tuple(NumericFeature(n, n) for n in "abc"), ())
    data = Data(x, np.where(x[:, 0] > 0, 2, 0), spec, 1, NAMES)
    for name in ("class_prior", "single_rule", "logistic_regression", "extra_trees"):
        fitted = models.FITTERS[name](data, 0, {})
        p = fitted.predict(x)
        assert p.shape == (500, 4), name
        assert p.sum(axis=1) == pytest.approx(1), name
        assert (p[:, [1, 3]] < 0.01).all(), name
        assert (p > 0).all(), name  # what no row had is improbable, not impossible
    assert isinstance(fitted.model, plain.Forest)
    assert fitted.model.outputs == 4


def column(name: str, kind: str = "number", **more: Any) -> contract.Column:
    return contract.Column(**({"name": name, "kind": kind, "role": "feature"} | more))


TARGET = column(
    "team", "category", role="target", levels=NAMES, class_shares={"billing": 0.5, "other": 0.05}
)


def agreed() -> contract.Contract:
    features = [column(name, mean=0.0, std=1.0) for name in "abcd"]
    features.append(column("channel", "category", levels=("mail", "phone", "web")))
    return contract.Contract(name="t", version="1", columns=(*features, TARGET))


def test_the_sample_has_the_shares_of_the_contract_and_a_signal() -> None:
    frame = sample.generate(agreed(), 6000, 3)
    y = target.outcome(frame, TARGET)
    shares = np.bincount(y.to_numpy()) / len(y)
    assert shares == pytest.approx([0.5, 0.225, 0.225, 0.05], abs=0.03)
    told = {name: target.association(frame[name], y) for name in ("a", "b", "channel")}
    assert max(told.values()) > 0.05
    assert max(told.values()) < target.STRIKING
    assert target.fault(frame, TARGET) == ""
    assert frame.equals(sample.generate(agreed(), 6000, 3))


def test_a_planted_leak_is_caught_and_honest_columns_are_not() -> None:
    frame = sample.generate(agreed(), 3000, 3)
    y = target.outcome(frame, TARGET)
    names = ["a", "b", "c", "d", "channel"]
    assert leakage.suspects(frame, y, names, outcome="team") == []
    rng = np.random.default_rng(0)
    late = pl.when(y.is_in([0, 1])).then(pl.Series(rng.normal(size=3000)))
    planted = frame.with_columns(
        (y * 10 + 3).cast(pl.Float64).alias("score_of_team"),
        pl.Series("queue", np.array(["q1", "q2", "q3", "q4"])[y.to_numpy()]),
        late.alias("refund"),
        pl.Series("ticket_number", np.arange(3000)),
    )
    found = leakage.suspects(
        planted,
        y,
        [*names, "score_of_team", "queue", "refund", "ticket_number"],
        outcome="team",
    )
    assert {item.column for item in found} == {"score_of_team", "queue", "refund"}
    assert "2 of 4 classes" in next(item.reason for item in found if item.column == "refund")


def draft(tmp_path: Any, frame: pl.DataFrame, **options: Any) -> Any:
    frame.write_csv(tmp_path / "rows.csv")
    return drafting.draft(tmp_path / "rows.csv", "team", **options)


def test_a_draft_knows_classes_of_texts_and_of_numbers(tmp_path: Any) -> None:
    frame = sample.generate(agreed(), 600, 1)
    drafted = draft(tmp_path, frame)
    (tmp_path / "c.yaml").write_text(drafted.text)
    assert contract.lint(tmp_path / "c.yaml") == []
    read = contract.read(tmp_path / "c.yaml").target
    assert set(read.levels) == set(NAMES)
    assert read.class_shares["billing"] == pytest.approx(0.5, abs=0.07)
    assert "4 classes in 600 rows: billing" in drafted.decisions[0].evidence
    codes = target.values(frame, TARGET)
    drafted = draft(tmp_path, frame.with_columns(pl.Series("team", codes + 3)))
    (tmp_path / "c.yaml").write_text(drafted.text)
    read = contract.read(tmp_path / "c.yaml").target
    assert (read.kind, read.levels) == ("category", ("3", "4", "5", "6"))
    again = target.values(frame.with_columns(pl.Series("team", (codes + 3).astype(str))), read)
    assert (again == codes).all()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["a", "b"] * 300, "task_type binary"),
        ([f"t{n}" for n in range(600)], "at most 50"),
        (["a", "b", "c, d"] * 200, "c, d"),
        (["a", "b", "🚀 up"] * 200, "has a class '🚀 up'"),
        (["a", "b", "c" * 41] * 200, "at most 40 letters"),
        ([True, False] * 300, "three classes"),
    ],
)
def test_a_draft_refuses_what_is_no_class_in_one_line(
    tmp_path: Any, values: list[Any], said: str
) -> None:
    frame = sample.generate(agreed(), 600, 1).with_columns(pl.Series("team", values))
    with pytest.raises(ProjectError, match="team") as raised:
        draft(tmp_path, frame)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_draft_takes_the_names_that_the_question_takes() -> None:
    asked = (ROOT / "questions/classes.jinja").read_text()
    (pattern,) = re.findall(r'regex_search\("\\\\A(.*)\\\\Z"\)', asked)
    assert target_draft.LISTED.pattern == pattern.replace("\\\\", "\\")


def test_classes_that_do_not_count_are_left_out(tmp_path: Any) -> None:
    values = (["a", "b", "c"] * 190) + [f"rare {n}" for n in range(30)]
    frame = sample.generate(agreed(), 600, 1).with_columns(pl.Series("team", values))
    drafted = draft(tmp_path, frame, told="a, b, c")
    assert "3 classes in 570 rows" in drafted.decisions[0].evidence
    with pytest.raises(ProjectError, match="'d' is no value"):
        draft(tmp_path, frame, told="a, b, d")


@pytest.mark.parametrize(
    ("kind", "names", "said"),
    [
        ("integer", (), "in quotes"),
        ("category", ("a", "b"), "3 to 50"),
        ("category", ("a", "b", "c > d"), "c > d"),
    ],
)
def test_a_contract_says_what_is_wrong_with_its_classes(
    kind: str, names: tuple[str, ...], said: str
) -> None:
    of = contract.Column(name="t", kind="category", role="target")
    assert said in " ".join(contract.target_fields.problems(of, kind, names))


def test_rare_classes_are_told_and_do_not_make_folds_few() -> None:
    y = np.repeat([0, 1, 2, 3], [500, 400, 96, 4])
    assert np.unique(task.strata(y)).tolist() == [0, 1, 2]
    assert task.lacks(y) == ""
    assert "classes" in task.lacks(np.zeros(50, np.int64))
    frame = pl.DataFrame({"team": np.array(NAMES)[y]})
    assert target.doubts(frame, TARGET) == {"team: rare class other": 4}


def manifest() -> Any:
    outputs = task.outputs(NAMES)
    return SimpleNamespace(
        primary_metric="log_loss", decision={"review_level": 3.0}, outputs=outputs
    )


def test_monitoring_is_quiet_on_such_rows_and_acts_on_other_labels() -> None:
    y, p = world(3000)
    known = {"rows": 3000} | performance.known(p, y)
    tested = Interval(*resampling.bootstrap(y, p, 0.0, ["log_loss"], draws=100, seed=0)["log_loss"])
    settings = SimpleNamespace(warn=0.1, act=0.25)
    fresh, q = world(1500, seed=4)
    quiet = comparison.compare(q, fresh.astype(float), known, manifest(), tested, settings)
    assert (quiet["kind"], quiet["level"]) == ("realised", "ok")
    words, broken = performance.broken(fresh.astype(float), np.random.default_rng(0))
    loud = comparison.compare(q, broken, known, manifest(), tested, settings)
    assert loud["level"] == "act"
    assert "labels" in words
    more = np.where(np.random.default_rng(1).random(1500) < 0.2, 3, fresh).astype(float)
    shares = comparison.compare(q, more, known, manifest(), tested, settings)["shares"]
    assert (shares["worst"], shares["level"]) == ("other", "act")
    unknown = np.full(1500, np.nan)
    estimated = comparison.compare(q, unknown, known, manifest(), tested, settings)
    assert estimated["kind"] == "estimated"
    assert estimated["value"] == pytest.approx(metrics.score("log_loss", fresh, q), abs=0.04)
    flat = q**0.2 / (q**0.2).sum(axis=1, keepdims=True)
    assert comparison.compare(flat, unknown, known, manifest(), tested, settings)["level"] == "warn"


def test_metrics_are_estimated_without_labels() -> None:
    y, p = world(30_000)
    for name, found in performance.estimate(p, {}).items():
        assert found == pytest.approx(metrics.score(name, y, p), abs=0.01), name


def test_drift_watches_classes_and_confidence() -> None:
    _, p = world(500)
    watched = task.watched(p)
    assert set(watched["prediction"]) <= {"0", "1", "2", "3"}
    assert watched["confidence of the prediction"] == pytest.approx(p.max(axis=1), abs=1e-4)


def test_a_row_is_explained_against_the_next_class() -> None:
    score = np.array([0.1, 0.5, 0.3, 0.1])
    told, number_of = task.contrast(score, task.outputs(NAMES))
    assert told == {"class": "delivery", "against": "technical", "probability": 0.5}
    assert number_of(score[None]) == pytest.approx([0.2])
    assert levels(task.outputs(NAMES)) == NAMES


def judged(decided: Any, **facts: Any) -> Any:
    y, p = world(600)
    here = project(**facts)
    table = metrics.confusion(y, decided, 4)
    found = decision.costs(here, NAMES)
    drawn: dict[str, Any] = {"seed": 0, "groups": None, "draws": 50}
    accepted = p.max(axis=1) > 0.5
    business = value._business(here, y, decided, accepted, found, drawn) | {"says_nothing": False}
    classes = metrics.by_class(NAMES, p, table)
    return business, value.usefulness(here, p, classes, business)


def test_decisions_are_worth_what_they_save() -> None:
    y, p = world(600)
    decided = p.argmax(axis=1)
    business, _ = judged(decided)
    accepted = p.max(axis=1) > 0.5
    by_hand = np.where(accepted, 10.0 * (decided != y), 2 + 0.1 * 10).mean()
    assert business["cost_per_1000"] == pytest.approx(1000 * by_hand)
    today = 1 + 0.5 * 10
    assert business["cost_per_1000_baseline"] == pytest.approx(1000 * today)
    assert business["value_per_year"] == pytest.approx(12_000 * (today - by_hand))
    assert business["accepted_accuracy"] == pytest.approx((decided == y)[accepted].mean())
    same = min(10.0 * (y != code).mean() for code in range(4))
    assert business["over"]["policy"] == (
        "today's process" if today < same else "the same class for all"
    )


def test_useless_decisions_close_the_gate() -> None:
    _, (reasons, _) = judged(np.zeros(600, np.int64))
    assert any("same class in every row" in reason for reason in reasons)
    _, p = world(600)
    _, (reasons, warnings) = judged(np.minimum(p.argmax(axis=1), 2), review_share=0.05)
    assert any("never decides for other" in warning for warning in warnings)
    assert any("review" in said for said in (*reasons, *warnings))


def test_the_review_curve_rises_with_what_people_look_at() -> None:
    y, p = world()
    curve = metrics.review_curve(p.argmax(axis=1) == y, 1 - p.max(axis=1))
    shares, accuracy = np.array(curve).T
    assert (np.diff(shares) > 0).all()
    assert shares[0] == 0
    assert accuracy[0] == pytest.approx((p.argmax(axis=1) == y).mean())
    assert accuracy[-10] > accuracy[0] + 0.2


def test_a_bundle_answers_rows_and_files_alike(tmp_path: Any) -> None:
    frame = sample.generate(agreed(), 700, 2)
    y = target.values(frame, TARGET)
    from multiclass_package import features
    from multiclass_package.engine.features import encode

    spec = features.fit(frame, agreed())
    outputs = target.outputs(TARGET, y)
    data = Data(encode(spec, frame), y, spec, 1, levels(outputs))
    member = graph.Member(*models.FITTERS["lightgbm"](data, 0, {"rounds": 25}))
    head, _ = decision.decide(project(), data, member.predict(data.x))
    facts = dict.fromkeys(("champion", "primary_metric", "target", "data_sha256", "run"), "x")
    bundle.save(
        tmp_path / "v1",
        graph.Predictor((member,), head),
        spec,
        agreed(),
        frame,
        contract_text="",
        rivals={},
        facts=facts | {"version": "v1", "task": "multiclass", "outputs": outputs},
        reports={},
    )
    scorer = Scorer.load(tmp_path / "v1")
    table = batch.score(scorer, frame)
    names = [f"probabilities_{name}" for name in NAMES]
    assert batch.columns_of(outputs[0]) == names
    expected = scorer.predict(encode(spec, frame))
    assert table[names].to_numpy() == pytest.approx(expected["probabilities"])
    assert table["decision"].to_list() == expected["decision"].tolist()
    assert table["accepted"].dtype == pl.Boolean
    broken = batch.score(scorer, frame.with_columns(pl.lit("far").alias("a")))
    assert broken[names[0]].null_count() == broken["decision"].null_count() == frame.height
    rows = [scorer.read_row({"a": 1.0, "channel": "mail"}), scorer.read_row({})]
    answers = scorer.score_rows(rows)
    assert answers["probabilities"].shape == (2, 4)
    assert answers["probabilities"].sum(axis=1) == pytest.approx(1)
    assert set(answers["decision"].tolist()) <= set(NAMES)
    nothing = scorer.predict(np.empty((0, len(spec.names)), np.float32))
    assert {name: values.shape for name, values in nothing.items()} == {
        "probabilities": (0, 4),
        "decision": (0,),
        "accepted": (0,),
    }


def test_a_key_that_is_named_as_an_answer_is_refused() -> None:
    outputs = task.outputs(NAMES)
    with pytest.raises(ProjectError, match="probabilities_other"):
        batch._schema({"probabilities_other": pl.String()}, (), outputs)


def test_a_feature_of_the_target_has_a_mean_for_each_class() -> None:
    codes = np.random.default_rng(3).integers(0, 3, (300, 1)).astype(np.float32)
    shop = CategoricalFeature("shop", "shop", ("red", "blue", "green"))
    operators = [TargetEncoding("mean", of="shop")]
    recipe = derived.Recipe(operators, Selection("none"), 0)
    y = (codes[:, 0] + np.arange(300) % 2).astype(np.int64)
    data = Data(codes, y, FeatureSpec((), (shop,)), 1, NAMES, recipe=recipe)
    rows, _ = data.learnt("linear")
    found = rows.x[:, [name.startswith("mean") for name in rows.spec.names]]
    assert found.shape == (300, 4)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)


def test_a_row_is_told_with_the_names_of_its_classes() -> None:
    row = {"probabilities": [0.1, 0.7, 0.2], "decision": "b", "accepted": True}
    told = explaining._answered(
        row,
        "probabilities",
        {"probabilities": ["a", "b", "c"], **{name: [] for name in ("decision", "accepted")}},
    )
    assert told == ["decision b, accepted yes", "probabilities b 0.7, c 0.2, a 0.1"]


def test_classes_that_cost_the_same_are_no_other_costs() -> None:
    p = np.array([[0.4, 0.4, 0.2], [0.25, 0.5, 0.25], [0.5, 0.3, 0.2]])
    p[0, 1] += 1e-8  # what single precision leaves of a tie
    matrix = 1.0 - np.eye(3)
    assert value.misplaced(p, matrix, np.array([0, 1, 0])) == 0
    assert value.misplaced(p, matrix, np.array([0, 1, 1])) == pytest.approx(1 / 3)
