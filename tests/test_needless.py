"""What nobody needs to send, and who is in a group that must not be worse off."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import package  # noqa: F401  makes `package_name` importable

from package_name.engine import explaining, slices
from package_name.engine.data import personal
from package_name.engine.data.contract import Column, Contract
from package_name.engine.model.history import Lag
from package_name.engine.model.scorer import CategoricalFeature, FeatureSpec, NumericFeature
from package_name.planner import measured

ROWS = 2000
SPEC = FeatureSpec(
    (*(NumericFeature(name, name) for name in ("tells", "twin_a", "twin_b", "noise", "born")),),
    (CategoricalFeature("sex", "sex", ("f", "m")),),
)


class Model:
    """Learns from `tells` and from the mean of two twins; of the rest it takes nearly nothing."""

    spec, score = SPEC, "probability"
    manifest = SimpleNamespace(primary_metric="roc_auc", decision={"threshold": 0.5})

    def predict(self, x: Any) -> dict[str, Any]:
        total = x[:, 0] + 0.8 * (x[:, 1] + x[:, 2]) + 0.001 * (x[:, 3] + x[:, 4] + x[:, 5])
        return {"probability": 1 / (1 + np.exp(-total))}


def test_what_brings_nothing_is_named_with_its_loss_those_of_people_first() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 6)).astype(np.float32)
    x[:, 2], x[:, 5] = x[:, 1], rng.integers(0, 2, ROWS)
    model: Any = Model()
    y = (rng.random(ROWS) < model.predict(x)["probability"]).astype(np.int8)
    importance = explaining.permutation_importance(model, x, y, np.random.default_rng(1))
    people = {"born", "sex", "tells"}
    found = explaining.needless(model, x, y, importance, people, 0.01, 1)
    assert found["personal"] == [n for n in found["columns"] if n in people]
    assert found["columns"] == ["born", "sex", "noise"]
    assert found["columns"][: len(found["personal"])] == found["personal"]
    assert abs(found["loss"]) < 0.002
    # Where each looks useless for itself, as twins do, all together are not.
    blind = [item | {"importance": 0.0, "std": 0.0} for item in importance]
    kept = explaining.needless(model, x, y, blind, people, 0.01, 1)
    assert not {*kept["columns"]} & {"tells", "twin_a", "twin_b"}
    report: Any = {"global": importance, "needless": found}
    said = measured.MADE["explain"](report, SimpleNamespace())["every"]  # type: ignore[arg-type]
    assert (
        "to leave out" in said
        and "personal: " in said
        and "half of the smallest gain is 0.01" in said
    )


def test_what_a_state_has_or_a_row_is_known_by_is_not_to_leave_out() -> None:
    spec = FeatureSpec(
        (*(NumericFeature(name, name) for name in ("noise", "days", "y.1")),),
        (),
        context=("days",),
        history=(Lag("y.1", of="y", back=1, by="shop", on="day", delay_days=0),),
    )
    model: Any = SimpleNamespace(
        spec=spec,
        score="probability",
        manifest=Model.manifest,
        predict=lambda x: {"probability": np.full(len(x), 0.5)},
    )
    x, y = np.zeros((40, 3), np.float32), np.tile([0, 1], 20).astype(np.int8)
    importance = [{"feature": n, "importance": 0.0, "std": 0.0} for n in spec.names]
    assert explaining.needless(model, x, y, importance, set(), 0.01, 1)["columns"] == ["noise"]


AGREED = Contract(
    name="t",
    version="1",
    columns=(
        Column(name="Geschlecht", kind="category", role="excluded", personal=True),
        Column(name="nationality", kind="category", role="feature"),
        Column(name="race_time", kind="number", role="feature"),
        Column(name="shop", kind="category", role="feature"),
        Column(name="note", kind="category", role="feature", personal=True),
        Column(name="y", kind="boolean", role="target"),
    ),
)


@pytest.mark.parametrize(
    ("named", "about_people", "groups", "chosen"),
    [
        ((), True, ("Geschlecht", "nationality"), ("nationality", "shop", "Geschlecht")),
        ((), False, (), ("nationality", "shop")),
        (("shop",), True, ("shop",), ("shop",)),
    ],
)
def test_groups_are_what_the_law_protects_unless_somebody_names_others(
    named: tuple[str, ...], about_people: bool, groups: tuple[str, ...], chosen: tuple[str, ...]
) -> None:
    project: Any = SimpleNamespace(
        config=SimpleNamespace(evaluation=SimpleNamespace(slices=named)),
        plan=SimpleNamespace(answers={"personal_data": about_people}),
    )
    assert personal.groups(project, AGREED.columns) == groups
    assert slices.chosen(project, AGREED) == chosen
