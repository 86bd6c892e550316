"""A project whose rows have an image: from drawn files, some of them broken, to a served model."""

import base64
import json
from pathlib import Path
from urllib.error import HTTPError

import numpy as np
import polars as pl
import pytest
from helpers.rendering import publish, render, tree
from helpers.running import Made
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss

SMALL = {
    "ML_TRAINING__TRACK": "false",
    "ML_TRAINING__FOLDS": "3",
    "ML_TRAINING__MEMBERS": "1",
    "ML_TRAINING__THREADS": "1",
    "ML_EVALUATION__BOOTSTRAP": "100",
}
WORDS = ("pillow", "from PIL", "pixels", "PatchWeights", "TrainedNetwork", "format: image")
TRAINED = """
from .engine.model.learners import TrainedNetwork  # noqa: E402

FEATURES = [TrainedNetwork("image.trained", of="image", size=16, filters=4, epochs=4)]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = render(tmp_path_factory.mktemp("images") / "p", preset="visual_defect")
    publish(folder)
    made = Made(folder, "visual_defect", SMALL)
    made.ml("contract", "check")
    made.ml("run")
    return made


def without_images(project: Made) -> float:
    """Log loss of boosted trees that see the other columns only, on the test rows."""
    x, y = {}, {}
    for part in ("development", "test"):
        frame = pl.read_parquet(project.folder / f"data/processed/{part}.parquet")
        line = frame["line"].cast(pl.Categorical).to_physical()
        x[part] = np.column_stack([line, frame["speed_m_min"], frame["coat_um"].fill_null(-1)])
        y[part] = frame["defect"].cast(pl.String).to_numpy()
    model = HistGradientBoostingClassifier(max_iter=60, learning_rate=0.05, random_state=0)
    model.fit(x["development"], y["development"])
    return log_loss(y["test"], model.predict_proba(x["test"]), labels=model.classes_)


def test_no_model_alone_is_charged_with_the_time_of_images(project: Made) -> None:
    seconds = {n: m["fit_seconds"] for n, m in project.report("training")["candidates"].items()}
    assert seconds["class_prior"] < 2 * seconds["single_rule"] + 0.1


def test_a_run_learns_from_images_and_puts_broken_files_into_quarantine(project: Made) -> None:
    metrics, explained = project.report("metrics"), project.report("explain")
    assert metrics["gate"]["passed"]
    used = {item["feature"]: item["importance"] for item in explained["global"]}
    seen = sum(v for name, v in used.items() if name.startswith("image.patches"))
    others = sum(v for name, v in used.items() if not name.startswith("image.patches"))
    assert seen > others > 0
    # Without the images the gate would stay closed.
    assert without_images(project) > 1.2 * metrics["gate"]["limit"]
    quality = project.report("data_quality")
    assert {*quality["rules"]} <= {"image: empty", "image: no image", "image: damaged"}
    assert 5 < quality["rejected"] < 60
    rejected = pl.read_parquet(project.folder / "data/quarantine/rejected.parquet")
    assert rejected["image"].str.contains(r"^!(empty|no image|damaged): image/\d+\.\w+$").all()
    test = pl.read_parquet(project.folder / "data/processed/test.parquet")
    development = pl.read_parquet(project.folder / "data/processed/development.parquet")
    assert not {*test["panel_id"]} & {*development["panel_id"]}
    assert not {*test["image"]} & {*development["image"]}  # some files are copies
    # Of three folds each learns from two thirds: they are less sure than the model is.
    unlike = {"confidence of the prediction"}
    level = {row["feature"]: row["level"] for row in project.report("drift")["features"]}
    assert {"image: width", "image: height", "image: brightness", "image: sharpness"} <= {*level}
    assert {value for name, value in level.items() if name not in unlike} == {"ok"}
    page = (project.folder / "reports/evaluation.html").read_text(encoding="utf-8")
    assert page.count("<image href=") == len(explained["misread"]) == 10
    assert "Misread texts" not in page
    profile = (project.folder / "reports/profile.html").read_text(encoding="utf-8")
    assert profile.count("<img src=") == 6 * 8 and "image: scratch" in profile
    plan = (project.folder / "PLAN.md").read_text(encoding="utf-8")
    assert "names a file, by a path" in plan and "not measured yet" not in plan
    project.ml("plan", "check")


def test_an_image_gets_one_answer_in_every_mode(project: Made, tmp_path: Path) -> None:
    answered_alike(project, tmp_path)
    (log,) = (project.folder / "data/predictions").glob("*.jsonl")
    lines = [json.loads(line)["features"]["image"] for line in log.read_text().splitlines()]
    assert lines and all("x 48 pixels, brightness" in line and len(line) < 60 for line in lines)
    project.ml("monitor", str(project.folder / "data/sample/new.csv"), code=None)


@pytest.mark.nightly
def test_a_trained_network_is_served_as_it_was_trained(tmp_path: Path) -> None:
    folder = render(tmp_path / "p", preset="visual_defect")
    publish(folder)
    with (folder / "src/visual_defect/features.py").open("a", encoding="utf-8") as file:
        file.write(TRAINED)
    made = Made(folder, "visual_defect", SMALL)
    for step in ("ingest", "validate", "train"):
        made.ml(step)
    made.ml("evaluate", code=None)  # so short a training need not pass the gate
    made.ml("promote", "v1", "--force", "a test")
    (bundle,) = (folder / "models").rglob("sights.npz")
    manifest = json.loads((bundle.parent / "manifest.json").read_text(encoding="utf-8"))
    assert "sights.npz" in json.dumps(manifest)
    answered_alike(made, tmp_path)


def answered_alike(project: Made, tmp_path: Path) -> None:
    """Hold the answers of a file against those of the service, bit by bit."""
    folder = project.folder / "data/sample"
    rows = pl.read_parquet(folder / "dataset.parquet").head(60)
    rows.drop("defect").write_csv(folder / "new.csv")
    said = project.ml("score", str(folder / "new.csv"), str(tmp_path / "out.jsonl"))
    assert "rows scored" in said
    scored = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    levels = [name for name in scored[0] if name.startswith("probabilities_")]
    with project.serving() as ask:
        for row, found in zip(rows.drop("defect").to_dicts(), scored, strict=True):
            content = (folder / row["image"]).read_bytes()
            body = row | {"image": base64.b64encode(content).decode()}
            if found["problem"]:
                with pytest.raises(HTTPError):
                    ask("/predict", body)
                continue
            (answer,) = ask("/predict", body)["predictions"]
            assert answer["probabilities"] == [found[name] for name in levels]
            assert answer["decision"] == found["decision"]


def test_a_project_without_images_has_nothing_of_them(tmp_path: Path) -> None:
    without, with_images = (
        tree(render(tmp_path / name, preset=name)) for name in ("defect_type", "visual_defect")
    )
    ends = ("pixels.py", "patches.py", "shapes.py", "copies.py", "drawing.py", "sheet.html")
    ends += ("convolutions.py", "sights.py", "trained.py")
    assert {end for end in ends for name in with_images if name.endswith(f"/{end}")} == {*ends}
    assert not [name for name in without if name.endswith(tuple(f"/{end}" for end in ends))]
    for name, content in without.items():
        text = content.decode()
        assert not [word for word in WORDS if word in text], name
    assert b"pillow" in with_images["pyproject.toml"]


def test_rows_that_the_champion_learnt_from_are_no_drift(project: Made) -> None:
    project.ml("monitor", str(project.folder / "data/sample/dataset.parquet"))
    told = project.report("drift")
    assert told["source"] == "dataset.parquet, only rows that v1 did not learn"
    assert told["rows"] == project.report("training")["split"]["test_rows"]
    assert told["violations"]["rules"]
