"""The score card: seven criteria, points by order of magnitude, weights by the plan."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from helpers import package  # noqa: F401  makes `package_name` importable
from helpers.bundles import project, train

from package_name.engine import scorecard
from package_name.engine.model.scorer import Scorer, read_golden
from package_name.engine.settings import Rating
from package_name.planner import measured

COSTS = {
    "rule": {"numbers": 10, "row_ms": 0.01, "rows_per_s": 1e6, "model_mb": 0.001},
    "line": {"numbers": 100, "row_ms": 0.01, "rows_per_s": 1e5, "model_mb": 0.01},
    "trees": {"numbers": 1000, "row_ms": 0.01, "rows_per_s": 1e4, "model_mb": 0.1},
}


@pytest.fixture
def version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a version whose models have the costs above."""
    scores = {"rule": 0.6, "line": 0.7, "trees": 0.8}
    tested = {
        "primary_metric": "roc_auc",
        "champion": {"name": "trees"},
        "baselines": {"rule": {"roc_auc": scores["rule"]}, "odd": {"roc_auc": None}},
        "candidates": {name: {"roc_auc": scores[name]} for name in ("line", "trees")},
    }
    trained = {"candidates": {name: {"fit_seconds": 1.0, "parts": 1} for name in (*scores, "odd")}}
    trained["candidates"]["trees"]["parts"] = 4
    (tmp_path / "rivals").mkdir()
    for name in ("rivals/rule", "rivals/line", "model_encoded"):
        (tmp_path / f"{name}.onnx").touch()
    (tmp_path / "metrics.json").write_text(json.dumps(tested))
    (tmp_path / "training.json").write_text(json.dumps(trained))

    def costs(path: Path, score: str, x: Any) -> dict[str, float]:
        return COSTS["trees" if path.stem == "model_encoded" else path.stem]

    monkeypatch.setattr(scorecard, "_measured", costs)
    return tmp_path


def judged(
    version: Path, *twice: str, limit: float | None = None, **ratings: int
) -> dict[str, Any]:
    given = {name: Rating(maintainability=n, reason="known here") for name, n in ratings.items()}
    facts = SimpleNamespace(facts=SimpleNamespace(criteria=list(twice), metric_limit=limit))
    facts.plan = SimpleNamespace(ratings=given)
    scorer = SimpleNamespace(score="probability")
    return scorecard.judge(facts, version, scorer, np.zeros((1, 1), np.float32))  # type: ignore[arg-type]


def test_points_go_from_the_worst_to_the_best(version: Path) -> None:
    points = judged(version)["points"]
    assert set(points) == {"rule", "line", "trees"}  # without a score there is no card
    line = {name: round(value, 3) for name, value in points["line"].items()}
    middle = dict.fromkeys(("quality", "interpretability", "scalability", "resources"), 0.5)
    same = dict.fromkeys(("training_time", "latency", "maintainability"), 1.0)
    assert line == {**middle, **same, "total": round((4 * 0.5 + 3) / 7, 3)}
    assert (points["trees"]["quality"], points["trees"]["maintainability"]) == (1.0, 0.0)
    assert points["rule"]["interpretability"] == 1.0


def test_what_the_plan_asks_for_counts_twice(version: Path) -> None:
    once, twice = judged(version), judged(version, "quality")
    assert twice["twice"] == ["quality"]
    trees = [found["points"]["trees"]["total"] for found in (once, twice)]
    assert trees[1] == pytest.approx((7 * trees[0] + 1) / 8)


def test_what_people_say_of_a_model_counts_in_place_of_its_parts(version: Path) -> None:
    plain, rated = judged(version), judged(version, trees=4, nobody=1)
    points = rated["points"]
    assert (points["trees"]["maintainability"], points["line"]["maintainability"]) == (0.75, 1.0)
    more = points["trees"]["total"] - plain["points"]["trees"]["total"]
    assert more == pytest.approx(0.75 / 7) and {*points} == {*plain["points"]}


def test_only_what_reaches_the_goal_gets_points(version: Path) -> None:
    found = judged(version, limit=0.65)
    assert (set(found["points"]), set(found["measured"])) == ({"line", "trees"}, {*COSTS})
    assert found["points"]["line"]["interpretability"] == 1.0
    assert set(judged(version, limit=0.99)["points"]) == {*COSTS}


def test_graphs_are_measured(tmp_path: Path) -> None:
    made = project(tmp_path)
    train(made, rows=400, seed=0)
    folder = made.path("models/v1")
    scorer = Scorer.load(folder)
    golden = read_golden(folder, scorer.columns)
    rows = [msgspec.convert(row, scorer.row_type) for row in golden.rows]
    path = folder / "model_encoded.onnx"
    found = scorecard._measured(path, scorer.score, scorer.encode_rows(rows))
    assert found["model_mb"] == path.stat().st_size / 1e6
    assert found["numbers"] > len(scorer.manifest.features)
    assert 0 < found["row_ms"] < 1000
    assert found["rows_per_s"] > 1000


def test_the_plan_names_the_models_by_their_points(version: Path) -> None:
    project = SimpleNamespace(plan=SimpleNamespace(named=str))
    told = measured._card(judged(version), project)  # type: ignore[arg-type]
    assert told["totals"] == "rule 0.86, line 0.71, trees 0.43"
    assert told["differs"] == (
        "; MOD-04 took trees, not rule: it is a baseline to be beaten, no candidate"
    )
    told = measured._card(judged(version, trees=4, gone=4), project)  # type: ignore[arg-type]
    assert told["differs"].endswith("; how well people keep it up: trees 4 of 5 (known here)")


@pytest.mark.parametrize(
    ("behind", "rule", "why"),
    [
        ((0.03, 0.01), "one_standard_error", "0.03 behind the best, more than a standard error"),
        ((0.03, 0.05), "best_score", "0.03 behind the best$"),
        ((0.0, 0.01), "one_standard_error", "the simpler one is no more than a standard error"),
    ],
)
def test_the_card_says_why_another_model_was_chosen(
    version: Path, behind: tuple[float, float], rule: str, why: str
) -> None:
    trained = json.loads((version / "training.json").read_text())
    gaps = {"rule": dict(zip(("mean", "se"), behind, strict=True))}
    trained["selection"] = {"rule": rule, "behind": gaps, "gains_too_little": []}
    (version / "training.json").write_text(json.dumps(trained))
    found = judged(version)
    assert (found["chosen"], found["most"]) == ("trees", "rule")
    assert re.search(why, found["why"])
    trained["selection"]["gains_too_little"] = ["rule"]
    (version / "training.json").write_text(json.dumps(trained))
    assert judged(version)["why"] == "it gains too little over the best baseline"
    assert judged(version, limit=0.75)["why"] == "", "it has the most points"


def test_the_plan_tells_what_each_feature_brings_and_which_bring_nothing() -> None:
    gains = [0.2, 0.1, 0.05, 0.04, 0.03, 0.02, 0.0001]
    found = [
        {"feature": f"f{place}", "importance": gain, "std": 0.001}
        for place, gain in enumerate(gains)
    ]
    told = measured._explain({"global": found, "made": []}, SimpleNamespace())  # type: ignore[arg-type]
    assert told["top"].startswith("`f0` 0.2, `f1` 0.1")
    assert told["every"] == (
        "; then `f5` 0.02, `f6` 0.0001\nno more than chance, though callers send them: `f6`"
    )


def test_the_plan_describes_ten_of_many_made_features() -> None:
    """Of 100 earlier items nobody reads each, and no caller sends one."""
    found = [{"feature": f"item.{n}", "importance": 0.5 / n, "std": 0.1} for n in range(1, 101)]
    told = {"operator": "Lag", "of": ["item"], "why": "before", "microseconds": 1.0}
    made = [told | {"feature": i["feature"], "gain": i["importance"]} for i in found]
    said = measured._explain({"global": found, "made": made}, SimpleNamespace())  # type: ignore[arg-type]
    assert said["own"].endswith("µs a row; and 90 more, each of which gains no more than these")
    assert said["own"].count("Lag of") == 10 and "callers send" not in said["every"]


def test_the_plan_tells_which_features_look_back_and_by_what() -> None:
    trained: dict[str, Any] = {
        "split": {},
        "cv": {"folds": 5},
        "chosen": "line",
        "candidates": {"line": {"score": 0.7}},
    }
    project = SimpleNamespace(plan=SimpleNamespace(answers={"min_gain": 0.02, "n_rows": 1000}))
    text = measured.TEXTS["FEAT-03"][1]
    for made, said in (
        ([], "no state is needed because no feature looks back"),
        (
            [
                {"feature": "use"},
                {"feature": "calls", "by": "who"},
                {"feature": "left", "by": "who"},
            ],
            "`calls`, `left` look back by `who`; `ml features build` builds their state again",
        ),
    ):
        told = measured._training(trained | {"made": made}, project)  # type: ignore[arg-type]
        assert text.format_map(told) == f"measured: {said}"
