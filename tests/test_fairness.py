"""Groups of people: which rate they should share, when the gate says no, what reweighing does."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import package  # noqa: F401  makes `package_name` importable
from helpers.plan import render_plan
from sklearn.linear_model import LogisticRegression

from package_name.engine import metrics, reweighing, slices, task
from package_name.engine.data.contract import Column, Contract
from package_name.engine.errors import ProjectError
from package_name.engine.folds import Split
from package_name.planner import measured

AGREED = Contract(
    name="t",
    version="1",
    columns=(
        Column(name="sex", kind="category", role="excluded"),
        Column(name="x", kind="number", role="feature"),
        Column(name="y", kind="boolean", role="target"),
    ),
)
PLAN: Any = SimpleNamespace(plan=SimpleNamespace(named=lambda name: name.capitalize()))


def rates(first: dict[str, float], other: dict[str, float], of: int = 500) -> list[dict[str, Any]]:
    """Return slices of two groups with these rates, whose intervals are 0.1 wide."""
    return [
        {
            "column": "sex",
            "level": level,
            "rates": {
                name: {"value": value, "low": value - 0.05, "high": value + 0.05, "of": of}
                for name, value in found.items()
            },
        }
        for level, found in (("f", first), ("m", other))
    ]


@pytest.mark.parametrize(
    ("action", "rate"),
    [("treatment", "recall"), ("block", "false_positive_rate"), ("inform", "precision")],
)
def test_the_plan_and_the_code_choose_the_same_rate(action: str, rate: str) -> None:
    facts: Any = SimpleNamespace(action=action)
    chosen, why = task.fair(facts)
    assert chosen == rate
    text = render_plan(plan_depth="standard", action=action)[0]
    said = " ".join(text.split())
    assert f"because {why}" in said


def test_a_ratio_has_an_interval_and_few_rows_cannot_be_judged() -> None:
    [found] = slices.fair(rates({"recall": 0.6}, {"recall": 0.8}), "recall")
    assert found["low"] == "f" and abs(found["ratio"] - 0.75) < 1e-9
    # The delta method against resamples of two independent normal rates.
    rng = np.random.default_rng(0)
    sd = 0.05 / 1.959964
    drawn = rng.normal(0.6, sd, 200_000) / rng.normal(0.8, sd, 200_000)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert abs(found["ratio_low"] - low) < 0.005 and abs(found["ratio_high"] - high) < 0.005
    [few] = slices.fair(rates({"recall": 0.6}, {"recall": 0.8}, of=49), "recall")
    assert found["judged"] and not few["judged"]
    assert "cannot be told: too few rows" in slices._unfair(few, 0.8)


@pytest.mark.parametrize(
    ("floor", "of", "closes", "warns"),
    [(0.0, 500, False, False), (0.7, 500, False, False), (0.8, 500, False, True),
     (0.95, 500, True, False), (0.95, 10, False, True)],
)  # fmt: skip
def test_the_gate_reads_the_limit(
    monkeypatch: pytest.MonkeyPatch, floor: float, of: int, closes: bool, warns: bool
) -> None:
    found = rates({"recall": 0.6}, {"recall": 0.8}, of)
    monkeypatch.setattr(slices, "run", lambda *_: found)
    monkeypatch.setattr(slices, "weak", lambda *_: slices.Weak(None, [], []))
    settings = SimpleNamespace(worst_slice=0, fair_ratio=floor)
    manifest = SimpleNamespace(champion="m", decision={"threshold": 0.5}, primary_metric="roc_auc")
    tested = SimpleNamespace(score={"m": 0, "b": 0}, y=0, frame=None, places=None)
    project: Any = SimpleNamespace(
        config=SimpleNamespace(evaluation=settings), facts=SimpleNamespace(action="treatment")
    )
    gate: dict[str, Any] = {"reasons": []}
    scorer: Any = SimpleNamespace(manifest=manifest)
    said: Any = tested
    report = slices.judge(project, AGREED, said, scorer, "b", gate)
    assert (bool(gate["reasons"]), bool(gate["warnings"])) == (closes, warns)
    assert report["fair"]["rate"] == "recall"
    told = measured._fair({"fair": report["fair"]}, PLAN)
    assert "Recall is what groups should share" in told and "ratio 0.75" in told


def test_rates_of_groups_are_what_they_say() -> None:
    rng = np.random.default_rng(1)
    y, p = (rng.random(400) < 0.3).astype(np.int8), rng.random(400)
    names = ["selection_rate", "false_positive_rate"]
    rate, false = metrics.Rows(y, p, 0.6).values(names)
    assert rate == pytest.approx((p >= 0.6).mean())
    assert false == pytest.approx((p[y == 0] >= 0.6).mean())
    shares = metrics.shares(y, p, 0.6)
    assert shares["selection_rate"].all() and shares["false_positive_rate"].sum() == (y == 0).sum()


# ---------------------------------------------------------------- reweighing


def people(rows: int = 6000) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    """Return people of whom fewer women are positive, and a feature that knows the group."""
    rng = np.random.default_rng(2)
    woman = rng.random(rows) < 0.4
    y = (rng.random(rows) < np.where(woman, 0.2, 0.5)).astype(np.int8)
    x = np.stack([y + rng.normal(0, 1.2, rows), woman + rng.normal(0, 0.3, rows)], axis=1)
    return pl.DataFrame({"sex": np.where(woman, "f", "m")}), y, x


def project_of(column: str = "sex", sums_by: tuple[str, ...] = ()) -> Any:
    training = SimpleNamespace(reweigh=column, seed=7, sums_by=sums_by)
    return SimpleNamespace(
        config=SimpleNamespace(training=training),
        facts=SimpleNamespace(),
    )


def halves(rows: int) -> Split:
    every = np.arange(rows)
    folds = [(every[::2], every[1::2]), (every[1::2], every[::2])]
    return Split(every, every[:0], folds, [])


def test_drawn_rows_make_group_and_class_independent_and_are_as_many() -> None:
    frame, y, _ = people()
    codes = (frame["sex"] == "m").to_numpy().astype(np.intp)
    places = np.arange(0, len(y), 2)
    drawn = reweighing.drawn(codes, y, places, 7)
    assert set(drawn) <= set(places) and abs(len(drawn) - len(places)) < 60
    shares = [y[drawn][codes[drawn] == code].mean() for code in (0, 1)]
    before = [y[places][codes[places] == code].mean() for code in (0, 1)]
    assert abs(shares[0] - shares[1]) < 0.02
    assert abs(before[0] - before[1]) > 0.25
    assert (drawn == reweighing.drawn(codes, y, places, 7)).all()


def test_reweighing_narrows_the_gap_and_tells_both_sides() -> None:
    frame, y, x = people()
    plain = halves(len(y))
    again = reweighing.of(project_of(), AGREED, frame, y, plain)
    tested = [valid for _, valid in plain.folds]
    for (_, valid), kept in zip(again.parts.folds, tested, strict=True):
        assert (valid == kept).all()  # what tests is never reweighed

    def validate(name: str, *, parts: Split, params: dict[str, Any]) -> Any:
        oof = np.full(len(y), np.nan)
        for train, valid in parts.folds:
            model = LogisticRegression().fit(x[train], y[train])
            oof[valid] = model.predict_proba(x[valid])[:, 1]
        return SimpleNamespace(oof=oof, params=params)

    def decide(oof: np.ndarray) -> tuple[Any, None]:
        return SimpleNamespace(apply=lambda p: p, decision={"threshold": 0.4}), None

    found: Any = {"logistic": validate("logistic", parts=again.parts, params={})}
    report = again.told(found, validate, decide, "roc_auc")
    assert report is not None
    ratio = {
        side: measured._ratio(report[side], "selection_rate") or 0 for side in ("before", "after")
    }
    assert ratio["before"] < 0.55 and ratio["after"] > ratio["before"] + 0.2
    lost = report["before"]["metric"] - report["after"]["metric"]
    assert 0 < lost < 0.08  # it costs something, and that is told
    fields = {"reweighed": report, "primary_metric": "roc_auc"}
    told = measured._fair(fields, PLAN)
    assert "reweighed by `sex`, out of fold: Roc\\_auc" in told
    assert "share with a positive decision: smallest to largest ratio" in told


def test_nothing_is_drawn_unless_somebody_asks() -> None:
    frame, y, _ = people(200)
    plain = halves(200)
    again = reweighing.of(project_of(""), AGREED, frame, y, plain)
    assert again.parts is plain and (again.every(5) == np.arange(5)).all()
    nothing: Any = None
    assert again.told({}, nothing, nothing, "roc_auc") is None


def test_what_cannot_be_reweighed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    frame, y, _ = people(200)
    with pytest.raises(ProjectError, match="no column 'age' in the contract"):
        reweighing.of(project_of("age"), AGREED, frame, y, halves(200))
    with pytest.raises(ProjectError, match=r"training\.sums_by: no model of this project reads it"):
        reweighing.of(project_of("", ("sex",)), AGREED, frame, y, halves(200))
    with pytest.raises(ProjectError, match="at most 20 levels"):
        reweighing.of(project_of(), AGREED, frame, y + 0.5, halves(200))
    hidden = Contract(
        name="t", version="1",
        columns=(Column(name="sex", kind="category", role="excluded", personal=True),
                 *AGREED.columns[1:]),
    )  # fmt: skip
    again = reweighing.of(project_of(), hidden, frame, y, halves(200))
    assert again.names == ("(personal) 1", "(personal) 2")
