"""Attacks that are tried on the champion: what memorises is found out, what generalises is not."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from helpers import bundles
from helpers.package import load, regression, sources
from helpers.rendering import render

from package_name.engine import attacks, audit, lies, poisoning, storage
from package_name.engine.data import contract
from package_name.engine.data.contract import Column
from package_name.engine.errors import ProjectError
from package_name.engine.model import again
from package_name.engine.model.fitting import Data
from package_name.engine.model.scorer import CategoricalFeature, FeatureSpec, NumericFeature, Scorer
from package_name.engine.settings import Monitoring, Project
from package_name.planner import measured_attacks

regression()
for task in ("multiclass", "multilabel"):
    load(f"{task}_package", sources(task))
from multiclass_package.engine import lies as lies_of_classes  # noqa: E402
from multilabel_package.engine import lies as lies_of_sets  # noqa: E402
from multilabel_package.engine.label_sets import packed, unpacked  # noqa: E402
from regression_package.engine import attacks as of_numbers  # noqa: E402
from regression_package.engine import lies as lies_of_numbers  # noqa: E402

ROWS = 600
RNG = np.random.default_rng(3)
X = RNG.normal(size=(ROWS, 2)).astype(np.float32)
TRUE = 1 / (1 + np.exp(-2.0 * X[:, 0]))
Y = (RNG.random(ROWS) < TRUE).astype(np.int8)


def data(y: Any) -> Data:
    numbers = tuple(NumericFeature(name, name) for name in ("a", "b"))
    return Data(X, y, FeatureSpec(numbers, ()), 1)


def remembers(strength: float, y: Any, base: Any) -> Any:
    """Return a fitter whose answers lean to the target of the rows that it has seen."""

    def fit(some: Data) -> Any:
        seen = (X[:, None, 0] == some.x[None, :, 0]).any(axis=1)
        noise = RNG.normal(scale=0.02, size=ROWS)
        return np.clip(base + noise + strength * seen * (y - base), 0.001, 0.999)

    return fit


def test_who_memorises_is_found_out_and_who_does_not_is_not() -> None:
    owners = np.arange(ROWS)
    found = attacks.membership(data(Y), owners, remembers(0.5, Y, TRUE), 1)
    assert found["ratio_auc"]["low"] > 0.9 and found["hits"]["low"] > attacks.KNOWN_LIMIT
    assert found["loss_auc"]["value"] < found["ratio_auc"]["value"]  # which knows hard rows
    clean = attacks.membership(data(Y), owners, remembers(0.0, Y, TRUE), 1)
    for name in ("ratio_auc", "loss_auc"):
        assert abs(clean[name]["value"] - 0.5) < 0.03
    assert clean["hits"]["value"] < 0.04


def test_an_amount_is_attacked_by_the_same_measure() -> None:
    y = TRUE + RNG.normal(scale=0.1, size=ROWS)
    own = of_numbers.membership(data(y), np.arange(ROWS), remembers(0.5, y, TRUE), 1)
    clean = of_numbers.membership(data(y), np.arange(ROWS), remembers(0.0, y, TRUE), 1)
    assert own["ratio_auc"]["low"] > 0.75 and own["loss_auc"]["low"] > 0.55
    assert abs(clean["ratio_auc"]["value"] - 0.5) < 0.03


def test_all_rows_of_a_person_are_on_one_side_and_each_row_is_in_half_of_the_models() -> None:
    owners = np.repeat(np.arange(ROWS // 3), 3)
    seen = attacks.halves(Y, owners, 0)
    assert seen.shape == (attacks.REFITS, ROWS) and (seen.sum(axis=0) == attacks.REFITS // 2).all()
    assert (seen.reshape(attacks.REFITS, -1, 3).std(axis=2) == 0).all()
    with pytest.raises(ProjectError, match="too few rows to attack"):
        attacks.halves(np.array([1, 0, 0, 0, 0, 0], np.int8), np.arange(6), 0)


def test_the_area_counts_pairs_and_ties_half() -> None:
    assert attacks.area(np.array([2.0, 1.0]), np.array([1.0, 0.0])) == pytest.approx(3.5 / 4)


SPEC = FeatureSpec(
    (NumericFeature("a", "a"), NumericFeature("b", "b")),
    (CategoricalFeature("c", "c", ("x", "y")),),
)


class Judge:
    """Flags rows by `a` and by the level y of `c`; `b` has no effect."""

    spec = SPEC
    score = "probability"
    outputs = (
        SimpleNamespace(name="probability", role="score", kind="number"),
        SimpleNamespace(name="decision", role="decision", kind="boolean"),
    )

    def predict(self, x: Any) -> dict[str, Any]:
        said = 0.5 + 0.1 * (np.nan_to_num(x[:, 0]) - 1) + 0.3 * (x[:, 2] == 1)
        return {"probability": said, "decision": said >= 0.5}


def columns(*names: str, **limits: float) -> dict[str, Column]:
    made = {
        "a": Column(name="a", kind="number", role="feature", required=True, **limits),
        "b": Column(name="b", kind="number", role="feature", required=True),
        "c": Column(name="c", kind="category", role="feature", levels=("x", "y")),
    }
    return {name: made[name] for name in names}


def test_a_lie_is_found_only_in_columns_that_are_controlled_and_within_their_limits() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(-3, 3, 400)
    x = np.stack([values, rng.normal(size=400), np.zeros(400)], axis=1).astype(np.float32)
    judge: Any = Judge()
    some = np.flatnonzero(judge.predict(x)["decision"])
    free = attacks.free_changes(judge, x, some, columns("a"), 0.0)
    assert free.all()
    assert not attacks.free_changes(judge, x, some, columns("b", "c"), 0.0).any()
    small, noise = attacks.small_changes(judge, x, some, columns("a", "b"), 0.0, rng)
    reach = attacks.SMALL * x[:, 0].astype(np.float64).std()
    assert (small == (x[some, 0] - reach < 1)).all()  # exactly those near the threshold
    assert 0 < noise.sum() < small.sum()
    held, _ = attacks.small_changes(judge, x, some, columns("a", minimum=1.0), 0.0, rng)
    assert not held.any()


class Seeing(Judge):
    """Keeps what it is asked of the first column, and flags rows where that is above a half."""

    def __init__(self) -> None:
        self.seen: set[float] = set()

    def predict(self, x: Any) -> dict[str, Any]:
        self.seen |= {*x[:, 0].tolist()}
        return {"probability": x[:, 0] / 10, "decision": x[:, 0] > 0.5}


@pytest.mark.parametrize(("kind", "moves"), [("integer", True), ("boolean", False)])
def test_no_value_is_tried_that_a_column_cannot_have(kind: Any, moves: bool) -> None:
    rng = np.random.default_rng(0)
    values = np.arange(40) % (40 if kind == "integer" else 2)
    x = np.stack([values, values, np.zeros(40)], axis=1).astype(np.float32)
    judge: Any = Seeing()
    asked = {"a": Column(name="a", kind=kind, role="feature", required=True)}
    some = np.flatnonzero(judge.predict(x)["decision"])
    assert attacks.free_changes(judge, x, some, asked, 0.0).all()
    assert judge.seen <= {*values.tolist()}  # no 3.5
    small, noise = attacks.small_changes(judge, x, some, asked, 0.0, rng)
    assert all(value.is_integer() for value in judge.seen)
    assert small.any() == noise.any() == moves


def test_a_limit_that_is_passed_warns_with_what_helps() -> None:
    def share(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.01, "high": value + 0.01}

    def report(hits: float, small: float, swapped: float) -> dict[str, Any]:
        known = {"model": "lightgbm", "rows": 600, "limit": 0.05, "hits": share(hits)}
        known |= {"ratio_auc": share(0.6), "loss_auc": share(0.5)}
        turned = {"columns": ["amount"], "answers": 300, "free": share(0.9), "noise": share(0.1)}
        turned |= {"small": share(small), "limit": 0.2, "reach": 0.25}
        seen = {"rows": 500, "clean": 0.0, "swapped": [0.1, 0.3, swapped], "hidden": [0, 0.1, 0.9]}
        lost = {"metric": "roc_auc", "clean": 0.9, "swapped": [0.9, 0.89, 0.85]}
        lost |= {"hidden": [0.9, None, 0.86]}
        poisoned = {"noticed": seen, "costs": lost}
        return {"membership": known, "evasion": turned, "poisoning": poisoned}

    calm, loud = report(0.03, 0.1, 0.9), report(0.11, 0.4, 0.4)
    assert attacks.warnings(calm) == []
    first, second, third = attacks.warnings(loud)
    assert "10\u00a0% of the labels swapped" in third and "40\u00a0% of the windows" in third
    assert "11\u00a0%" in first and "more rows a leaf" in first and "40\u00a0%" in second
    loud["warnings"] = [first, second]
    plan = SimpleNamespace(named=lambda name: {"roc_auc": "ROC AUC"}[name])
    project: Any = SimpleNamespace(plan=plan)
    said = measured_attacks.told(loud, project)
    assert "notices 30\u00a0% where 5 % are swapped" in said["poisoned"]
    assert said["poisoned"].endswith("bring ROC AUC from 0.9 to 0.89 and not defined")
    assert "`amount` turns 90\u00a0%" in said["turned"] and "warning: 11" in said["warned"]
    loud["evasion"] = None
    assert "`controlled: true` of no column" in measured_attacks.told(loud, project)["turned"]
    assert "evasion: not tried" in attacks.told(loud, plan)  # type: ignore[arg-type]
    loud["poisoning"] = None
    assert "not tried" in measured_attacks.told(loud, project)["poisoned"]
    assert "poisoning: not tried" in attacks.told(loud, plan)  # type: ignore[arg-type]


def test_wrong_labels_are_as_many_as_asked_and_nothing_else_moves() -> None:
    rng = np.random.default_rng(1)
    told = lies.swapped(Y, 30, rng)
    assert (told != Y).sum() == 30 and told.dtype == Y.dtype and {*told} == {0, 1}
    told = lies.hidden(Y, 30, rng)
    assert (told < Y).sum() == 30 and (told > Y).sum() == 0
    assert (lies.hidden(Y, ROWS, rng) < Y).sum() == Y.sum() // 2  # some are left to be told
    one_class = np.full(500, 3, np.int16)
    assert (lies_of_classes.hidden(one_class, 30, rng) == 3).all()
    amounts = np.arange(ROWS, dtype=np.float64)
    told = lies_of_numbers.swapped(amounts, 30, rng)
    assert (told != amounts).sum() == 30 and sorted(told) == sorted(amounts)
    told = lies_of_numbers.hidden(amounts, 30, rng)
    assert (told < amounts).sum() == 30 and told[told != amounts].max() <= np.median(amounts)
    classes = np.repeat(np.array([0, 2, 5], np.int16), [100, 300, 200])
    told = lies_of_classes.swapped(classes, 30, rng)
    assert (told != classes).sum() == 30 and {*told} <= {0, 2, 5} and told.dtype == np.int16
    told = lies_of_classes.hidden(classes, 30, rng)
    assert {(int(was), int(now)) for was, now in zip(classes, told, strict=True) if was != now} == {
        (5, 2)
    }
    sets = packed(rng.random((ROWS, 3)) < [0.2, 0.7, 0.4])
    told = lies_of_sets.swapped(sets, 30, rng)
    assert 10 < (told != sets).sum() <= 30  # a set may be that of the next label, too
    lost = unpacked(sets, 3).astype(int) - unpacked(lies_of_sets.hidden(sets, 30, rng), 3)
    assert lost.sum(axis=0).tolist() == [0, 30, 0] and lost.min() == 0


def test_windows_with_wrong_labels_are_noticed_and_clean_ones_are_not() -> None:
    rng = np.random.default_rng(5)
    p = rng.beta(1, 3, 4000)
    y = (rng.random(4000) < p).astype(np.int8)
    made = SimpleNamespace(primary_metric="roc_auc", decision={"threshold": 0.5}, outputs=[])
    found = poisoning.noticed(y, p, made, Monitoring(), 7)  # type: ignore[arg-type]
    assert found is not None and found["clean"] <= 0.15
    assert found["swapped"][2] >= 0.9 and found["hidden"][2] >= 0.9
    assert found["swapped"] == sorted(found["swapped"])
    assert poisoning.noticed(y[:20], p[:20], made, Monitoring(), 7) is None  # type: ignore[arg-type]


def test_what_wrong_labels_cost_is_measured_on_true_ones() -> None:
    made: Any = SimpleNamespace(primary_metric="roc_auc", decision={"threshold": 0.5})
    seen = []

    def fit(some: Data) -> Any:
        """Learn on which side of 0 positives are the more frequent."""
        seen.append(some.y)
        rates = [some.y[some.x[:, 0] > 0].mean(), some.y[some.x[:, 0] <= 0].mean()]
        return np.where(X[:, 0] > 0, *rates)

    found = poisoning.costs(data(Y), fit, made, 3)
    assert len(seen) == 7 and {len(y) for y in seen} == {ROWS // 2}
    assert 0.7 < found["clean"] < 0.9 and len(found["swapped"]) == len(found["hidden"]) == 3
    everything = poisoning.costs(data(np.ones_like(Y)), fit, made, 3)
    assert everything["clean"] is None  # nothing to tell apart


def test_a_look_at_the_test_rows_is_logged(tmp_path: Path) -> None:
    made = bundles.project(tmp_path)
    version = bundles.train(made, rows=600)
    scorer = Scorer.load(made.path(f"models/{version}"))
    agreed = contract.read(made.contract_path)
    tested = partial(again.test_rows, made, scorer, agreed)
    assert attacks._evasion(made, scorer, agreed, tested) is None  # which looks at no row
    assert not made.path(audit.TESTED).exists()
    ours = [msgspec.structs.replace(c, controlled=c.name == "amount") for c in agreed.columns]
    agreed = msgspec.structs.replace(agreed, columns=tuple(ours))
    assert attacks._evasion(made, scorer, agreed, tested)["columns"] == ["amount"]  # type: ignore[index]
    [(*_, entry)] = audit.lines(made.path(audit.TESTED))
    digest = storage.sha256(made.path("data/processed/test.parquet"))
    assert (entry["version"], entry["test_sha256"]) == (version, digest)


@pytest.mark.parametrize(
    ("preset", "tried"), [("churn", True), ("house_price", True), ("segmentation", False)]
)
def test_the_plan_asks_for_the_attacks_that_are_built(
    tmp_path: Path, preset: str, tried: bool
) -> None:
    project = Project(render(tmp_path / "p", preset=preset, plan_depth="standard"))
    block = project.plan.blocks["SEC-02"]
    assert block.measured == ("ml attack" if tried else "")
    assert ("at most 5 % of the rows" in " ".join(block.lines).replace("\u00a0", " ")) == tried
    assert bool(list(project.root.glob("src/*/engine/attacks.py"))) == tried
