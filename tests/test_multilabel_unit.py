"""Several labels a row: metrics, thresholds, splits, graph, contract, drafts, drift, value."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as sk
from helpers.package import load, sources

load("multilabel_package", sources("multilabel"))
from multilabel_package import decision, features, models, value  # noqa: E402
from multilabel_package.engine import comparison, metrics, performance, resampling, task  # noqa: E402
from multilabel_package.engine.data import (  # noqa: E402
    contract,
    drafting,
    leakage,
    sample,
    target,
    target_draft,
    validation,
)
from multilabel_package.engine.errors import ProjectError  # noqa: E402
from multilabel_package.engine.features import encode  # noqa: E402
from multilabel_package.engine.iterative import dealt_out  # noqa: E402
from multilabel_package.engine.label_sets import packed, unpacked  # noqa: E402
from multilabel_package.engine.model import (  # noqa: E402
    bundle,
    derived,
    graph,
    stacking,
    stored_graph,
)
from multilabel_package.engine.model.fitting import Data  # noqa: E402
from multilabel_package.engine.model.lookups import TargetEncoding  # noqa: E402
from multilabel_package.engine.model.output import answer, levels  # noqa: E402
from multilabel_package.engine.model.scorer import (  # noqa: E402
    CategoricalFeature,
    FeatureSpec,
    NumericFeature,
    Scorer,
    session,
)
from multilabel_package.engine.model.selection import Selection  # noqa: E402
from multilabel_package.engine.resampling import Interval  # noqa: E402
from multilabel_package.engine.serving import batch  # noqa: E402

NAMES = ("billing", "urgent", "legal", "spam")
ROWS = 4000


def world(rows: int = ROWS, seed: int = 0, power: float = 1.0) -> tuple[Any, Any]:
    """Return sets that came as codes, and true probabilities whose log-odds are times `power`."""
    rng = np.random.default_rng(seed)
    odds = rng.normal([0.5, -0.5, -1.5, -3.0], 1.5, (rows, 4))
    p = 1 / (1 + np.exp(-odds))
    y = packed(rng.random(p.shape) < p)
    return y, 1 / (1 + np.exp(-power * odds))


def project(**facts: Any) -> Any:
    """Return what decisions read of a project."""
    known = {
        "label_names": "billing, urgent, legal, spam",
        "cost_missed_label": 10.0,
        "cost_extra_label": 2.0,
        "label_costs": "",
        "label_thresholds": "by_metric",
        "primary_metric": "micro_f1",
        "calibration": "best_of_two",
        "currency": "EUR",
        "predictions_per_month": 1000.0,
        "rarest_label_share": 0.1,
        "labels_per_row": 1.5,
        "today_label_recall": 0.5,
        "today_label_precision": 0.8,
        "today_label_cost": 1.0,
    }
    config = SimpleNamespace(
        training=SimpleNamespace(seed=0), evaluation=SimpleNamespace(bootstrap=100)
    )
    return SimpleNamespace(facts=SimpleNamespace(**(known | facts)), config=config)


def given(y: Any) -> Data:
    spec = FeatureSpec((NumericFeature("a", "a"),), ())
    return Data(np.zeros((len(y), 1), np.float32), y, spec, 1, NAMES)


def test_sets_survive_as_codes() -> None:
    sets = np.random.default_rng(0).random((300, 50)) < 0.3
    y = packed(sets)
    assert (unpacked(y, 50) == sets).all()
    assert (unpacked(y.astype(np.float64), 50) == sets).all()  # as labels of monitoring are


@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_are_those_of_scikit_learn(weighted: bool) -> None:
    y, p = world(600)
    truth = unpacked(y, 4)
    w = np.random.default_rng(1).integers(1, 4, len(y)).astype(float) if weighted else None
    level = np.array([0.5, 0.4, 0.3, 0.2])
    decided = p >= level
    of: dict[str, Any] = {"sample_weight": w}
    losses = [sk.log_loss(truth[:, k], p[:, k], labels=[0, 1], **of) for k in range(4)]
    reference = {
        "log_loss": np.mean(losses),
        "brier": np.mean([sk.brier_score_loss(truth[:, k], p[:, k], **of) for k in range(4)]),
        "hamming_loss": sk.hamming_loss(truth, decided, **of),
        "micro_f1": sk.f1_score(truth, decided, average="micro", **of),
        "macro_f1": sk.f1_score(truth, decided, average="macro", **of),
        "samples_f1": sk.f1_score(truth, decided, average="samples", zero_division=1, **of),
        "subset_accuracy": sk.accuracy_score(truth, decided, **of),
        "lrap": sk.label_ranking_average_precision_score(truth, p, **of),
        "macro_average_precision": sk.average_precision_score(truth, p, average="macro", **of),
    }
    for name, expected in reference.items():
        assert metrics.score(name, y, p, level, w) == pytest.approx(expected), name
    tied = np.round(p, 1)
    expected = sk.average_precision_score(truth, tied, average="macro", **of)
    assert metrics.score("macro_average_precision", y, tied, weights=w) == pytest.approx(expected)
    expected = sk.label_ranking_average_precision_score(truth, tied, **of)
    assert metrics.score("lrap", y, tied, weights=w) == pytest.approx(expected)
    assert set(metrics.evaluate(y, p, level)) == set(metrics.NAMES)


def test_each_label_is_told_as_scikit_learn_counts_it() -> None:
    y, p = world(600)
    truth, level = unpacked(y, 4), np.array([0.5, 0.4, 0.3, 0.2])
    precision, recall, f1, rows = sk.precision_recall_fscore_support(truth, p >= level)
    for code, row in enumerate(metrics.by_label(NAMES, y, p, level)):
        found = [row[name] for name in ("precision", "recall", "f1", "rows")]
        assert found == pytest.approx([precision[code], recall[code], f1[code], rows[code]])
        told = sk.average_precision_score(truth[:, code], p[:, code])
        assert row["average_precision"] == pytest.approx(told)
    pairs = metrics.together(truth)
    assert pairs == pytest.approx(np.corrcoef(truth.T.astype(float)))
    assert pairs[0, 1] == pytest.approx(sk.matthews_corrcoef(truth[:, 0], truth[:, 1]))


def test_calibration_error_is_0_of_true_probabilities_and_not_of_sharpened_ones() -> None:
    y, p = world(40_000)
    assert metrics.score("ece", y, p) < 0.01
    assert metrics.score("ece", y, world(40_000, power=3)[1]) > 0.05


def test_without_a_level_each_metric_gets_the_thresholds_that_true_probabilities_ask_for() -> None:
    y, p = world(8000)
    truth = unpacked(y, 4)
    grid = np.linspace(0.1, 0.7, 31)
    micro = max(sk.f1_score(truth, p >= at, average="micro") for at in grid)
    assert metrics.score("micro_f1", y, p) == pytest.approx(micro, abs=0.005)
    macro = np.mean([max(sk.f1_score(truth[:, k], p[:, k] >= at) for at in grid) for k in range(4)])
    assert metrics.score("macro_f1", y, p) == pytest.approx(macro, abs=0.01)
    shares = np.tile(truth.mean(axis=0), (len(y), 1))
    sets = [np.arange(4) < n for n in range(1, 5)]
    best = max(sk.f1_score(truth, np.tile(each, (len(y), 1)), average="micro") for each in sets)
    assert metrics.score("micro_f1", y, shares) == pytest.approx(best)


@pytest.mark.parametrize("metric", ["micro_f1", "macro_f1", "samples_f1", "subset_accuracy"])
def test_thresholds_are_chosen_for_the_metric_of_the_plan(metric: str) -> None:
    y, p = world()
    truth = unpacked(y, 4)
    skewed = p * [0.5, 0.9, 0.7, 0.3]  # no longer true: each label needs a threshold of its own
    found = decision.ascended(metric, truth, skewed)
    other = "macro_f1" if metric == "micro_f1" else "micro_f1"
    ours = metrics.score(metric, y, skewed, found)
    assert ours >= metrics.score(metric, y, skewed, decision.ascended(other, truth, skewed))
    assert ours > metrics.score(metric, y, skewed) + 0.002
    fresh, q = world(seed=5)
    at_half = metrics.score(metric, fresh, q * [0.5, 0.9, 0.7, 0.3], np.full(4, 0.5))
    assert metrics.score(metric, fresh, q * [0.5, 0.9, 0.7, 0.3], found) > at_half + 0.02
    for label in range(4):  # no single step is better
        for at in np.quantile(skewed[:, label], np.linspace(0.02, 0.98, 25)):
            moved = found.copy()
            moved[label] = at
            assert metrics.score(metric, y, skewed, moved) <= ours + 2e-3


def test_macro_thresholds_are_paid_for_in_micro_f1() -> None:
    y, p = world()
    truth = unpacked(y, 4)
    macro, micro = (decision.ascended(name, truth, p) for name in ("macro_f1", "micro_f1"))
    assert metrics.score("micro_f1", y, p, macro) < metrics.score("micro_f1", y, p, micro)
    assert metrics.score("macro_f1", y, p, micro) < metrics.score("macro_f1", y, p, macro)


def test_hamming_loss_and_orders_ask_for_one_half() -> None:
    y, p = world(500)
    for name in ("hamming_loss", "lrap", "log_loss"):
        assert decision.ascended(name, unpacked(y, 4), p).tolist() == [0.5] * 4


def test_platt_mends_what_was_sharpened() -> None:
    y, p = world(power=2.5)
    head, losses = decision.calibrate("best_of_two", unpacked(y, 4), p)
    assert head.method == "platt"
    assert 1 / np.diagonal(head.weight) == pytest.approx(2.5, rel=0.2)
    assert losses["platt"] < losses["none"]
    assert decision.calibrate("none", unpacked(y, 4), p)[0].method == "none"


def test_labels_that_tell_of_each_other_are_calibrated_together() -> None:
    rng = np.random.default_rng(3)
    y, p = world()
    truth = unpacked(y, 4)
    truth[:, 3] = np.where(rng.random(ROWS) < 0.9, truth[:, 0], truth[:, 3])  # spam follows billing
    head, losses = decision.calibrate("best_of_two", truth, p)
    assert head.method == "joint"
    assert losses["joint"] < losses["platt"] - 0.02
    assert head.weight[0, 3] > 0.3
    assert decision.calibrate("platt", truth, p)[0].method == "platt"


def test_costs_set_the_threshold_of_each_label() -> None:
    here = project(label_costs="legal = 98 / 2; spam = 1 / 9", label_thresholds="by_costs")
    y, p = world(600)
    head, told = decision.decide(here, given(y), p)
    assert head.thresholds == pytest.approx([2 / 12, 2 / 12, 0.02, 0.9])
    assert told["labels"] == list(NAMES)
    assert list(task.level(head.decision)) == pytest.approx(head.thresholds)
    found = decision.costs(here, NAMES)
    truth, decided = unpacked(y, 4), head.apply(p) >= head.thresholds
    per_row = found.of(truth, decided).sum(axis=1)
    for row in range(20):  # by hand
        by_hand = 0.0
        for k, (missed, extra) in enumerate([(10, 2), (10, 2), (98, 2), (1, 9)]):
            by_hand += missed * (truth[row, k] and not decided[row, k])
            by_hand += extra * (decided[row, k] and not truth[row, k])
        assert per_row[row] == by_hand
    assert told["decisions"]["cost"] == pytest.approx(per_row.mean())


@pytest.mark.parametrize(
    "text", ["nobody = 5 / 1", "legal", "legal = 5", "legal = dear / 1", "legal = 0 / 1", "= 5 / 1"]
)
def test_what_is_no_label_with_two_costs_is_named(text: str) -> None:
    with pytest.raises(ProjectError, match="label_costs") as raised:
        decision.costs(project(label_costs=text), NAMES)
    assert repr(text) in str(raised.value)


def test_plan_and_contract_must_name_the_same_labels() -> None:
    with pytest.raises(ProjectError, match="legaal"):
        decision.costs(project(label_names="billing, urgent, legaal, spam"), NAMES)


def test_parts_keep_the_share_of_the_rarest_label() -> None:
    rng = np.random.default_rng(0)
    sets = rng.random((1000, 5)) < [0.5, 0.3, 0.1, 0.03, 0.012]
    part = dealt_out(sets, None, 5, 1)
    assert np.bincount(part).tolist() == pytest.approx([200] * 5, abs=3)
    counts = np.array([sets[part == n].sum(axis=0) for n in range(5)])
    assert (counts.max(axis=0) - counts.min(axis=0)).max() <= 4
    assert np.ptp(counts[:, 4]) <= 1  # rows of the rarest are dealt first
    at_random = np.array([sets[rng.permutation(1000)[:200]].sum(axis=0) for _ in range(200)])
    even = sets.sum(axis=0) / 5
    away = np.abs(counts - even).mean(axis=0)
    assert (away < np.abs(at_random - even).mean(axis=0) / 2).all()
    assert (dealt_out(sets, None, 5, 1) == part).all()


def test_parts_keep_groups_together() -> None:
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(200), 5).astype(str).astype(object)
    sets = rng.random((1000, 3)) < [0.5, 0.2, 0.03]
    part = dealt_out(sets, groups, 4, 1)
    for name in np.unique(groups):
        assert len(set(part[groups == name])) == 1
    counts = np.array([sets[part == n].sum(axis=0) for n in range(4)])
    assert (np.abs(counts / counts.mean(axis=0) - 1) < 0.15).all()


def test_a_label_of_few_rows_makes_no_more_folds_than_it_has_rows() -> None:
    sets = np.zeros((100, 2), bool)
    sets[:40, 0] = sets[:3, 1] = True
    folds = task.dealt(packed(sets), None, 5, 0)
    assert len(folds) == 3
    assert all(sets[valid, 1].sum() == 1 for _, valid in folds)
    assert task.lacks(packed(sets)) == ""
    assert "label" in task.lacks(np.zeros(50, np.int64))


SPEC = FeatureSpec(
    (NumericFeature("a", "a"), NumericFeature("b", "b")),
    (CategoricalFeature("c", "c", ("x", "y")),),
)


def learnable(rows: int = 1500) -> Data:
    rng = np.random.default_rng(3)
    x = np.column_stack([rng.normal(size=(rows, 2)), rng.integers(0, 3, rows)]).astype(np.float32)
    odds = np.column_stack([2 * x[:, 0], x[:, 1] * x[:, 0], x[:, 2] - 2.5, np.full(rows, -99)])
    return Data(x, packed(rng.random(odds.shape) < 1 / (1 + np.exp(-odds))), SPEC, 1, NAMES)


def hostile(x: Any) -> Any:
    near = np.nextafter(x[:, :2], np.float32(np.inf))
    return np.concatenate(
        [
            x,
            np.column_stack([near, x[:, 2]]),
            np.column_stack([np.full((3, 2), np.nan), [2, 9, 0]]).astype(np.float32),
            np.column_stack([np.full((2, 2), 3e38), [0, 1]]).astype(np.float32),
            np.column_stack([x[:9, :2] * np.float32(1e-30), x[:9, 2]]),
        ]
    ).astype(np.float32)


@pytest.mark.parametrize("name", list(models.FITTERS))
def test_every_model_has_a_probability_for_each_label_and_one_graph(name: str) -> None:
    data = learnable(600)
    fitted = models.FITTERS[name](data, 0, {})
    rows = hostile(data.x)
    p = fitted.predict(data.x)
    assert p.shape == (600, 4)
    assert (p > 0).all()  # what no row had is improbable, not impossible
    assert (p[:, 3] < 0.1).all()
    assert p.sum(axis=1).std() > 0.01 or name == "label_shares"
    one = graph.Predictor((graph.Member(*fitted),))
    emitted = session(graph.emit(one, SPEC, encoded=True)).run(None, {"x": rows})
    assert len(emitted) == 1
    assert np.abs(emitted[0] - one.predict(rows)).max() < 1e-5


def test_a_stack_has_a_second_model_for_each_label_in_the_graph() -> None:
    """It learns out of fold; a label that no row has stays improbable, one member may be noise."""
    data, rng = learnable(), np.random.default_rng(0)
    part = np.arange(1500) % 3
    folds = [(np.flatnonzero(part != n), np.flatnonzero(part == n)) for n in range(3)]
    names = ("logistic_regression", "lightgbm", "noise")
    predictions = [
        [
            models.FITTERS[name](data.rows(train), 0, {}).predict(data.x[valid])
            for train, valid in folds
        ]
        for name in names[:2]
    ]
    predictions.append([rng.random((len(valid), 4)) for _, valid in folds])
    second, honest = stacking.out_of_fold(data, folds, 1, predictions)
    tested = np.concatenate([valid for _, valid in folds])
    y = unpacked(data.y[tested], 4)

    def loss(p: Any) -> float:
        return float(-np.log(np.where(y, p, 1 - p)).mean())

    losses = {n: loss(np.concatenate(p)) for n, p in zip(names, predictions, strict=True)}
    assert loss(np.concatenate(honest)) < min(losses.values())
    assert (np.concatenate(honest)[:, 3] < 0.01).all()
    assert all(np.count_nonzero(w - np.diag(np.diagonal(w))) == 0 for w in second.weights)
    members = [graph.Member(*models.FITTERS[name](data, 0, {})) for name in names[:2]]
    two, _ = stacking.out_of_fold(data, folds, 1, predictions[:2])
    made = graph.Predictor(tuple(members), second=two)
    rows = hostile(data.x)
    (answered,) = session(graph.emit(made, SPEC, encoded=True)).run(None, {"x": rows})
    assert np.abs(answered - made.predict(rows)).max() < 1e-5


@pytest.mark.parametrize("method", ["none", "platt", "joint"])
def test_the_graph_calibrates_and_sets_labels_as_the_head(method: str) -> None:
    data = learnable()
    y, p = world()
    level = np.array([0.5, 0.25, 0.125, 0.0625])
    head = decision.fitted(method, unpacked(y, 4), p)._replace(levels=NAMES, thresholds=level)
    members = [
        graph.Member(*models.FITTERS[name](data, 1, {}), share=share)
        for name, share in (("lightgbm", 0.6), ("logistic_regression", 0.4))
    ]
    predictor = graph.Predictor(tuple(members), head)
    model = graph.emit(predictor, SPEC, encoded=True)
    told = {f"threshold_{n}": value for n, value in enumerate(level, 1)}
    assert stored_graph.stated(model, task.stated) == told | {"head": method}
    assert predictor.head.decision == told
    rows = hostile(data.x)
    found, names = session(model).run(None, {"x": rows})
    assert np.abs(found - predictor.predict(rows)).max() < 1e-5
    texts = answer(task.outputs(NAMES)[1], names)
    for row, text in zip(found, texts, strict=True):
        assert text == ", ".join(n for n, v, t in zip(NAMES, row, level, strict=True) if v >= t)


def test_drift_watches_labels_and_how_many_there_are() -> None:
    _, p = world(500)
    watched = task.watched(p)
    assert next(iter(watched)) == "prediction"
    assert set(watched["prediction"]) <= {"0", "1", "2", "3"}
    assert watched["labels a row"] == pytest.approx(p.sum(axis=1), abs=1e-4)


def test_a_row_is_explained_label_by_label() -> None:
    score = np.array([0.1, 0.5, 0.3, 0.6])
    told, number_of = task.contrast(score, task.outputs(NAMES))
    assert [one["of"] for one in told["each"]] == ["spam", "urgent", "legal", "billing"]
    assert [one["score"] for one in told["each"]] == [0.6, 0.5, 0.3, 0.1]
    assert number_of(score[None]) == pytest.approx(np.array([[0.6, 0.5, 0.3, 0.1]]))


def test_features_learn_of_each_label_apart() -> None:
    y, _ = world(50)
    assert (task.goals(y) == unpacked(y)).all()


def column(name: str, kind: str = "number", **more: Any) -> contract.Column:
    return contract.Column(**({"name": name, "kind": kind, "role": "feature"} | more))


TARGET = column(
    "tags",
    "category",
    role="target",
    labels=NAMES,
    label_shares={"billing": 0.5, "urgent": 0.3, "legal": 0.2, "spam": 0.05},
)
FEATURES = (
    *(column(name, mean=0.0, std=1.0) for name in "abcd"),
    column("channel", "category", levels=("mail", "phone", "web")),
)
AGREED = contract.Contract(name="t", version="1", columns=(*FEATURES, TARGET))


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("billing, spam", [1, 0, 0, 1]),
        ("spam;billing", [1, 0, 0, 1]),
        ("urgent|legal", [0, 1, 1, 0]),
        ('["urgent", "legal"]', [0, 1, 1, 0]),
        ("['urgent']", [0, 1, 0, 0]),
        ("none", [0, 0, 0, 0]),
        ("legal, none of ours", [0, 0, 1, 0]),
    ],
)
def test_a_cell_lists_labels(text: str, labels: list[int]) -> None:
    found = target.values(pl.DataFrame({"tags": [text]}), TARGET)
    assert unpacked(found, 4)[0].tolist() == [bool(each) for each in labels]


def test_an_empty_cell_is_not_known_and_none_is_no_label() -> None:
    frame = pl.DataFrame({"tags": [None, "none", "spam"]})
    assert target.outcome(frame, TARGET).to_list() == [None, 0, 8]
    checked = validation.apply(
        contract.Contract(name="t", version="1", columns=(column("a"), TARGET)),
        pl.DataFrame({"a": ["1", "2", "3", "4"], "tags": ["", "none", "spam", None]}),
    )
    assert checked.valid["tags"].to_list() == ["none", "spam"]
    assert checked.unlabelled == 2


def test_the_sample_has_the_shares_of_the_contract_a_signal_and_labels_that_go_together() -> None:
    frame = sample.generate(AGREED, 6000, 3)
    y = target.outcome(frame, TARGET)
    sets = unpacked(y.to_numpy(), 4)
    assert sets.mean(axis=0) == pytest.approx([0.5, 0.3, 0.2, 0.05], abs=0.03)
    told = {name: target.association(frame[name], y) for name in ("a", "b", "channel")}
    assert 0.6 < max(told.values()) < target.STRIKING
    assert target.fault(frame, TARGET) == ""
    assert frame.equals(sample.generate(AGREED, 6000, 3))
    pairs = metrics.together(sets)[np.triu_indices(4, 1)]
    assert np.abs(pairs).max() > 0.15


JOINT = """
apiVersion: v3.1.0
kind: DataContract
id: t
name: t
version: 1.0.0
status: draft
schema:
  - name: posts
    properties:
      - name: length
        logicalType: number
        customProperties: [{property: role, value: feature}]
      - name: toxic
        logicalType: boolean
        customProperties: [{property: role, value: target}]
      - name: it's spam
        logicalType: KIND
        customProperties: [{property: role, value: target}]
      - name: threat
        logicalType: boolean
        customProperties:
          - {property: role, value: target}
          - {property: observed, value: {mean: 0.1}}
"""


def test_several_boolean_targets_are_one_list_of_labels(tmp_path: Any) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(JOINT.replace("KIND", "boolean"), encoding="utf-8")
    assert contract.lint(path) == []
    agreed = contract.read(path)
    assert agreed.target.name == "label_set"
    assert agreed.target.labels == ("toxic", "it's spam", "threat")
    assert [c.role for c in agreed.columns] == ["feature", *["excluded"] * 3, "target"]
    raw = pl.DataFrame(
        {
            "length": ["1", "2", "3", "4"],
            "toxic": ["yes", "0", "1", "no"],
            "it's spam": ["true", "false", "", "0"],
            "threat": ["0", "0", "1", "1"],
        }
    )
    checked = validation.apply(agreed, raw)
    assert checked.valid["label_set"].to_list() == ["toxic, it's spam", "none", "threat"]
    assert target.values(checked.valid, agreed.target).tolist() == [3, 0, 4]
    assert checked.unlabelled == 1  # one of its labels is not known
    made = sample.generate(agreed, 1500, 1)
    sets = unpacked(target.values(made, agreed.target), 3)
    assert sets.mean(axis=0) == pytest.approx([0.2, 0.2, 0.1], abs=0.04)
    assert (made["toxic"].to_numpy() == sets[:, 0]).all()
    path.write_text(JOINT.replace("KIND", "number"), encoding="utf-8")
    with pytest.raises(ProjectError, match="3 columns have role target: only one may"):
        contract.read(path)


def test_a_planted_leak_is_caught_and_honest_columns_are_not() -> None:
    frame = sample.generate(AGREED, 3000, 3)
    y = target.outcome(frame, TARGET)
    sets = unpacked(y.to_numpy(), 4)
    names = ["a", "b", "c", "d", "channel"]
    assert leakage.suspects(frame, y, names, outcome="tags") == []
    rng = np.random.default_rng(0)
    numbers = pl.Series("lawyer", np.where(sets[:, 2], rng.normal(size=3000), np.nan))
    planted = frame.with_columns(
        pl.Series("queue", np.where(sets[:, 1], "fast", "slow")),
        numbers.fill_nan(None),
        pl.Series("score_of_spam", sets[:, 3] + rng.normal(0, 0.05, 3000)),
    )
    found = leakage.suspects(
        planted, y, [*names, "queue", "lawyer", "score_of_spam"], outcome="tags"
    )
    assert {item.column for item in found} == {"queue", "lawyer", "score_of_spam"}


def draft(tmp_path: Any, frame: pl.DataFrame, **more: Any) -> drafting.Draft:
    path = tmp_path / "data.csv"
    frame.write_csv(path)
    return drafting.draft(path, more.pop("target", "tags"), **more)


def test_a_draft_finds_the_labels_of_a_list(tmp_path: Any) -> None:
    frame = sample.generate(AGREED, 900, 3)
    drafted = draft(tmp_path, frame)
    (tmp_path / "c.yaml").write_text(drafted.text, encoding="utf-8")
    assert contract.lint(tmp_path / "c.yaml") == []
    agreed = contract.read(tmp_path / "c.yaml").target
    assert agreed.labels == NAMES  # the most frequent first
    assert agreed.label_shares["billing"] == pytest.approx(0.5, abs=0.05)
    assert agreed.levels == ()
    assert "4 labels in 900 rows" in drafted.decisions[0].evidence
    some = draft(tmp_path, frame, told="legal, billing")
    (tmp_path / "c.yaml").write_text(some.text, encoding="utf-8")
    assert contract.read(tmp_path / "c.yaml").target.labels == ("billing", "legal")
    with pytest.raises(ProjectError, match="'legl' is no label"):
        draft(tmp_path, frame, told="legl, billing")


def test_a_draft_joins_columns_that_say_of_one_label_each(tmp_path: Any) -> None:
    made = sample.generate(AGREED, 900, 3)
    sets = unpacked(target.values(made, TARGET), 4)
    columns = [pl.Series(name, sets[:, k].astype(int)) for k, name in enumerate(NAMES)]
    frame = made.drop("tags").with_columns(columns)
    drafted = draft(tmp_path, frame, told=", ".join(NAMES))
    (tmp_path / "c.yaml").write_text(drafted.text, encoding="utf-8")
    agreed = contract.read(tmp_path / "c.yaml")
    assert agreed.target.name == "tags"
    assert set(agreed.target.labels) == set(NAMES)
    checked = validation.apply(agreed, frame.cast(pl.String))
    bits = {name: k for k, name in enumerate(agreed.target.labels)}
    found = unpacked(target.values(checked.valid, agreed.target), 4)
    assert (found[:, [bits[name] for name in NAMES]] == sets).all()


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["a", "b", "c"], "task_type multiclass"),
        (["a", "a", "none"], "needs two"),
        (["a, b:=c", "a", "b:=c"], "label 'b:=c'"),
        (["a, 🚀 up", "a", "b"], "label '🚀 up'"),
        ([f"l{n}, l{n + 1}" for n in range(60)], "name those that count with --labels"),
    ],
)
def test_a_draft_says_why_a_column_lists_no_labels(
    tmp_path: Any, cells: list[str], said: str
) -> None:
    many = (cells * 240)[:240]
    frame = pl.DataFrame({"x": np.arange(240) % 7, "tags": many})
    with pytest.raises(ProjectError, match="target 'tags'") as raised:
        draft(tmp_path, frame)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "more", "said"),
    [
        ("integer", {"labels": NAMES}, "not one integer"),
        ("category", {"labels": ("a",)}, "2 to 50"),
        ("category", {"labels": ("a", "b; c")}, "b; c"),
        ("category", {"labels": ("a", "None")}, "other than none"),
        ("category", {"labels": ("a", "b", "a")}, "repeat 'a'"),
        ("category", {"labels": ("a", "b"), "label_shares": {"c": 0.1}}, "'c'"),
        ("category", {"labels": ("a", "b"), "label_shares": {"a": 1.1}}, "not shares"),
        ("category", {"labels": ("a", "b"), "levels": ("a", "b")}, "validValues"),
    ],
)
def test_a_contract_says_what_is_wrong_with_its_labels(
    kind: str, more: dict[str, Any], said: str
) -> None:
    of = contract.Column(**({"name": "t", "kind": kind, "role": "target"} | more))
    assert said in " ".join(contract.target_fields.problems(of, kind, of.levels))


def test_plan_and_contract_that_differ_are_told_with_the_command_that_mends_it() -> None:
    answers = {
        "label_names": "billing, urgent, legal, spam",
        "labels_per_row": 1.05,
        "rarest_label_share": 0.05,
    }
    assert TARGET.contradiction(answers) == ""
    assert "legaal" in TARGET.contradiction(answers | {"label_names": "billing, urgent, legaal"})
    assert "labels_per_row" in TARGET.contradiction(answers | {"labels_per_row": 3.0})
    assert "rarest" in TARGET.contradiction(answers | {"rarest_label_share": 0.2})


def test_labels_that_are_rare_or_in_no_contract_are_counted() -> None:
    cells = ["billing"] * 60 + ["urgent, spma"] * 30 + ["none"] * 10
    frame = pl.DataFrame({"tags": cells})
    counted = target.doubts(frame, TARGET)
    assert counted["tags: other label spma"] == 30
    assert counted["tags: rare label spam"] == 0
    assert "tags: rare label billing" not in counted
    assert target.fault(frame, TARGET) == ""
    only = pl.DataFrame({"tags": ["Billing, Spam"] * 50 + ["billing"] * 50})
    assert "cells have Billing, Spam" in target.fault(only, TARGET)


def manifest() -> Any:
    return SimpleNamespace(
        primary_metric="micro_f1",
        decision={f"threshold_{n}": value for n, value in enumerate([0.4, 0.4, 0.35, 0.3], 1)},
        outputs=task.outputs(NAMES),
    )


def test_monitoring_is_quiet_on_such_rows_and_acts_on_other_labels() -> None:
    y, p = world(3000)
    known = {"rows": 3000} | performance.known(p, y)
    at = task.level(manifest().decision)
    found = resampling.bootstrap(y, p, at, ["micro_f1"], draws=100, seed=0)["micro_f1"]
    tested, settings = Interval(*found), SimpleNamespace(warn=0.1, act=0.25)
    fresh, q = world(1500, seed=4)
    quiet = comparison.compare(q, fresh.astype(float), known, manifest(), tested, settings)
    assert (quiet["kind"], quiet["level"]) == ("realised", "ok")
    words, broken = performance.broken(fresh.astype(float), np.random.default_rng(0))
    loud = comparison.compare(q, broken, known, manifest(), tested, settings)
    assert loud["level"] == "act"
    assert "label" in words
    more = unpacked(fresh, 4)
    more[:, 3] |= np.random.default_rng(1).random(1500) < 0.2
    moved = comparison.compare(q, packed(more).astype(float), known, manifest(), tested, settings)
    assert (moved["labels"]["worst"], moved["labels"]["level"]) == ("spam", "act")
    unknown = np.full(1500, np.nan)
    estimated = comparison.compare(q, unknown, known, manifest(), tested, settings)
    assert estimated["kind"] == "estimated"
    assert estimated["value"] == pytest.approx(metrics.score("micro_f1", fresh, q), abs=0.04)


def test_metrics_are_estimated_without_labels() -> None:
    y, p = world(30_000)
    for name, found in performance.estimate(p, {}).items():
        assert found == pytest.approx(metrics.score(name, y, p), abs=0.01), name


def judged(decided: Any, **facts: Any) -> Any:
    y, p = world(600)
    here, level = project(**facts), np.full(4, 0.4)
    truth, found = unpacked(y, 4), decision.costs(project(**facts), NAMES)
    drawn: dict[str, Any] = {"seed": 0, "groups": None, "draws": 50}
    business = value._business(here, truth, decided, found, drawn) | {"says_nothing": False}
    labels = metrics.by_label(NAMES, y, p, level)
    return business, value.usefulness(p, decided, labels, business)


def test_labels_are_worth_what_they_save() -> None:
    y, p = world(600)
    truth, decided = unpacked(y, 4), p >= 0.3
    business, (reasons, _) = judged(decided)
    missed, extra = truth & ~decided, decided & ~truth
    by_hand = (10 * missed.sum(axis=1) + 2 * extra.sum(axis=1)).mean()
    assert business["cost_per_1000"] == pytest.approx(1000 * by_hand)
    shares = truth.mean(axis=0)
    today = 1 + sum(share * (0.5 * 10 + 0.5 * (1 / 0.8 - 1) * 2) for share in shares)
    assert business["cost_per_1000_baseline"] == pytest.approx(1000 * today)
    assert business["value_per_year"] == pytest.approx(12_000 * (today - by_hand))
    same = sum(min(10 * share, 2 * (1 - share)) for share in shares)
    assert business["over"]["policy"] == "the same labels for all"
    assert business["over"]["value"] == pytest.approx(12_000 * (same - by_hand))
    assert business["right_rows_share"] == pytest.approx((truth == decided).all(axis=1).mean())
    assert reasons == []


def test_the_same_labels_for_all_close_the_gate() -> None:
    _, (reasons, _) = judged(np.tile([True, False, False, False], (600, 1)))
    assert any("same labels in every row" in reason for reason in reasons)


def test_residuals_tell_what_labels_say_of_each_other_beyond_the_features() -> None:
    y, p = world(4000)
    truth = unpacked(y, 4)
    independent = value.dependence(NAMES, truth, p >= 0.5, p)
    assert max(abs(pair[4]) for pair in independent["pairs"]) < 0.06
    truth[:, 3] = np.where(np.random.default_rng(0).random(4000) < 0.5, truth[:, 0], truth[:, 3])
    first, *_ = value.dependence(NAMES, truth, p >= 0.5, p)["pairs"]
    assert first[:2] == ["billing", "spam"]
    assert first[2] > 0.3
    assert first[4] > 0.3


def test_a_bundle_answers_rows_and_files_alike(tmp_path: Any) -> None:
    frame = sample.generate(AGREED, 700, 2)
    y = target.values(frame, TARGET)
    spec = features.fit(frame, AGREED)
    outputs = target.outputs(TARGET, y)
    data = Data(encode(spec, frame), y, spec, 1, levels(outputs))
    member = graph.Member(*models.FITTERS["logistic_regression"](data, 0, {}))
    head, _ = decision.decide(project(), data, member.predict(data.x))
    facts = dict.fromkeys(("champion", "primary_metric", "target", "data_sha256", "run"), "x")
    bundle.save(
        tmp_path / "v1",
        graph.Predictor((member,), head),
        spec,
        AGREED,
        frame,
        contract_text="",
        rivals={},
        facts=facts | {"version": "v1", "task": "multilabel", "outputs": outputs},
        reports={},
    )
    scorer = Scorer.load(tmp_path / "v1")
    table = batch.score(scorer, frame)
    names = [f"probabilities_{name}" for name in NAMES]
    expected = scorer.predict(encode(spec, frame))
    assert table[names].to_numpy() == pytest.approx(expected["probabilities"])
    assert table["labels"].to_list() == expected["labels"].tolist()
    broken = batch.score(scorer, frame.with_columns(pl.lit("far").alias("a")))
    assert broken[names[0]].null_count() == broken["labels"].null_count() == frame.height
    answers = scorer.score_rows([scorer.read_row({"a": 1.0, "channel": "mail"})])
    assert answers["probabilities"].shape == (1, 4)
    assert set(filter(None, answers["labels"][0].split(", "))) <= set(NAMES)
    nothing = scorer.predict(np.empty((0, len(spec.names)), np.float32))
    assert {name: values.shape for name, values in nothing.items()} == {
        "probabilities": (0, 4),
        "labels": (0,),
    }


def test_a_declared_feature_learns_of_each_label_and_stays_one_graph() -> None:
    data = learnable(800)
    recipe = derived.Recipe([TargetEncoding("rate", of="c")], Selection("none"), 0)
    rows, sees = data._replace(recipe=recipe).learnt("linear")
    assert rows.x.shape[1] == data.x.shape[1] + 3  # a label that no row has tells nothing
    fitted = models.FITTERS["logistic_regression"](rows, 0, {}).of_columns(sees)
    one = graph.Predictor((graph.Member(*fitted),))
    (emitted,) = session(graph.emit(one, SPEC, encoded=True)).run(None, {"x": data.x})
    assert np.abs(emitted - one.predict(data.x)).max() < 1e-5


def test_a_label_with_a_column_of_its_own_needs_no_option() -> None:
    answers = {"label_names": "leak, heat"}
    columns = ["heat", "leak", "size"]
    assert target_draft.answered("label_set", answers, columns) == "leak, heat"
    for name, there in ("label_set", ["heat", "size"]), ("tags", [*columns, "tags"]):
        assert target_draft.answered(name, answers, there) is None
