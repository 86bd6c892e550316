"""A project that sets several labels a row, from the copy to a served model."""

import json
import shutil
import urllib.error
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers.rendering import publish, render
from helpers.running import Made

SMALL = {
    "ML_TRAINING__TRACK": "false",
    "ML_TRAINING__FOLDS": "2",
    "ML_TRAINING__THREADS": "1",
    "ML_EVALUATION__BOOTSTRAP": "100",
}
LABELS = ["gift", "outdoor", "seasonal", "sustainable", "premium"]
PROBABILITIES = [f"probabilities_{name}" for name in LABELS]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("labels")
    folder = render(root / "p", task_type="multilabel", deployment_modes=["rest", "batch"])
    publish(folder)
    made = Made(folder, "product_tags", SMALL)
    made.ml("run")
    return made


def test_a_run_passes_its_gate_and_measures_what_the_plan_asks(project: Made) -> None:
    metrics, training = project.report("metrics"), project.report("training")
    assert metrics["gate"]["passed"]
    assert training["labels"] == LABELS
    assert set(training["calibration"]["losses"]) == {"none", "platt", "joint"}
    assert metrics["champion"]["metrics"]["micro_f1"]["low"] > 0.6
    assert [row["name"] for row in metrics["labels"]] == LABELS
    limits = [row["threshold"] for row in training["thresholds"]]
    assert len(set(limits)) > 1  # a label has one of its own
    assert [metrics["champion"][f"threshold_{n}"] for n in range(1, 6)] == pytest.approx(limits)
    first, second, together, *_ = metrics["dependence"]["pairs"][0]
    assert {first, second} < set(LABELS)
    assert abs(together) > 0.2
    assert sum(metrics["cardinality"]["actual"]) == metrics["data"]["test_rows"]
    (row, *_) = project.report("explain")["rows"]
    base = dict(zip(LABELS, project.report("explain")["base"], strict=True))
    for one in row["each"]:
        total = base[one["of"]] + sum(part["contribution"] for part in one["contributions"])
        assert total == pytest.approx(one["score"], abs=0.1)  # the background is drawn
    assert project.report("drift")["level"] == "ok"
    page = (project.folder / "reports/evaluation.html").read_text(encoding="utf-8")
    for said in ("How good is each label?", "Which labels go together?", "From probability"):
        assert said in page, said


def test_a_file_gets_labels_and_a_probability_for_each(project: Made, tmp_path: Path) -> None:
    valid = pl.read_parquet(project.folder / "data/processed/test.parquet").head(300)
    valid.drop("tags").write_csv(tmp_path / "new.csv")
    project.ml("score", str(tmp_path / "new.csv"), str(tmp_path / "out.csv"))
    scored = pl.read_csv(tmp_path / "out.csv")
    limits = [row["threshold"] for row in project.report("training")["thresholds"]]
    reached = scored[PROBABILITIES].to_numpy() >= np.array(limits)
    names = np.array(LABELS)
    assert scored["labels"].fill_null("").to_list() == [", ".join(names[row]) for row in reached]
    came = np.array([[name in text for name in LABELS] for text in valid["tags"]])
    both = reached.sum() + came.sum()
    assert 2 * (reached & came).sum() / both > 0.6


def test_the_service_answers_what_the_file_does(project: Made) -> None:
    (version,) = {p.name for p in (project.folder / "models").iterdir() if p.is_dir()}
    golden = json.loads((project.folder / f"models/{version}/golden.json").read_text())
    with project.serving() as ask:
        answer = ask("/predict", {"rows": golden["rows"]})
        limits = [answer[f"threshold_{n}"] for n in range(1, 6)]
        told = golden["scores"]["probabilities"]
        for found, scores in zip(answer["predictions"], told, strict=True):
            assert found["probabilities"] == pytest.approx(scores, abs=1e-5)
            assert found["labels"] == ", ".join(
                n for n, p, t in zip(LABELS, found["probabilities"], limits, strict=True) if p >= t
            )
        document = ask("/openapi.json")["components"]["schemas"]["Prediction"]
        assert ", ".join(LABELS) in document["properties"]["probabilities"]["description"]


def test_a_shift_is_noticed_and_none_where_there_is_none(project: Made) -> None:
    project.ml("simulate-drift")
    assert all(item["level"] == "act" for item in project.report("simulated_drift")["planted"])


@pytest.mark.nightly
def test_its_own_tests_pass_and_its_types_are_right(project: Made) -> None:
    project.python("-m", "pytest", "-q", "-n0", "tests")
    project.python("-m", "mypy", "--strict", "src")


def of_one_label(folder: Path) -> None:
    frame = pl.read_parquet(folder / "data/sample/dataset.parquet")
    frame.with_columns(tags=pl.lit("gift, gremlins")).write_csv(folder / "my.csv")


def of_no_label(folder: Path) -> None:
    frame = pl.read_parquet(folder / "data/sample/dataset.parquet")
    frame.with_columns(tags=pl.lit(None, pl.String)).write_csv(folder / "my.csv")


def of_another_plan(folder: Path) -> None:
    replace(folder / "plan/plan.yaml", "sustainable, premium", "sustainable, luxury")


def of_a_label_more(folder: Path) -> None:
    replace(folder / "contracts/dataset.odcs.yaml", '"premium"]', '"premium", "None"]')


def of_a_label_twice(folder: Path) -> None:
    replace(folder / "contracts/dataset.odcs.yaml", '"premium"]', '"gift"]')


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "command", "code", "says"),
    [
        (of_one_label, "ingest validate", 1, "needs two; cells have gremlins; mend the source"),
        (of_no_label, "ingest validate", 2, "column 'tags' has no value in any row"),
        (of_another_plan, "evaluate", 2, "contract and plan name other labels (luxury, premium)"),
        (of_a_label_more, "contract check", 1, "label 'None'"),
        (of_a_label_twice, "contract check", 1, "labels repeat 'gift'"),
    ],
)
def test_what_spoils_labels_is_told_in_a_line(
    project: Made, tmp_path: Path, spoil: Callable[[Path], None], command: str, code: int, says: str
) -> None:
    folder = shutil.copytree(project.folder, tmp_path / "p")
    spoil(folder)
    source = {"ML_DATA__SOURCE": "my.csv"} if (folder / "my.csv").exists() else {}
    made = Made(folder, project.package, SMALL | source)
    models = sorted(path.name for path in (folder / "models").iterdir())
    if command == "ingest validate":
        made.ml("ingest")
        said = made.ml("validate", code=code)
    else:
        said = made.ml(*command.split(), code=code)
    assert says in said
    assert sorted(path.name for path in (folder / "models").iterdir()) == models


def test_labels_that_nobody_named_and_requests_that_are_none(project: Made, tmp_path: Path) -> None:
    """Unknown labels are left out of what is measured; what is no row of numbers is refused."""
    frame = pl.read_parquet(project.folder / "data/processed/test.parquet").head(200)
    some = pl.when(pl.int_range(pl.len()) % 2 == 0)
    tags = some.then(pl.col("tags") + ", gremlins").otherwise("tags").alias("tags")
    frame.with_columns(tags).write_csv(tmp_path / "odd.csv")
    project.ml("monitor", str(tmp_path / "odd.csv"), code=None)
    performance = project.report("drift")["performance"]
    assert (performance["kind"], performance["labels"]["level"]) == ("realised", "ok")
    with project.serving() as ask:
        for body in ({"rows": "gift"}, {"rows": [["gift"]]}, {"rows": [{"price": "cheap"}]}):
            with pytest.raises(urllib.error.HTTPError, match="HTTP Error 4"):
                ask("/predict", body)
