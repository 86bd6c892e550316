"""Records of trainings by another tracker than MLflow."""

from pathlib import Path
from typing import Any

import helpers.bundles as small
import pytest
import yaml

from package_name.engine import extras, storage
from package_name.engine.errors import ProjectError
from package_name.engine.model import tracking
from package_name.engine.settings import Project

CHOSEN = {"rounds": 12, "score": 0.8125, "params": {"leaves": 31}}
TRAINING: dict[str, Any] = {
    "version": "v1", "run": "run-v1", "chosen": "lightgbm", "features": ["amount"],
    "split": {"scheme": "by_time"}, "cv": {"scheme": "expanding"},
    "candidates": {"lightgbm": CHOSEN, "dummy": CHOSEN | {"score": 0.5}},
    "settings": {"training": {"seed": 7}},
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in tracking.LIMITS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    made = small.project(tmp_path / "p")
    small.train(made, rows=600)
    storage.write_text(made.path("config.yaml"), yaml.safe_dump({"training": {"tracker": "wandb"}}))
    return Project(made.root)


def test_a_training_is_recorded_offline_by_weights_and_biases(
    project: Project, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tracking.log(project, TRAINING)
    assert capfd.readouterr() == ("", "")
    (file,) = project.path("wandb").glob("offline-run-*/run-*.wandb")
    content = file.read_bytes()
    for word in (b"lightgbm", b"model.leaves", b"training.seed", b"by_time", b"cv_dummy", b"0.8125",
                 b"model.onnx", b"manifest.json", b"run-v1"):  # fmt: skip
        assert word in content, word
    assert not (project.root / "mlflow.db").exists()
    assert not [path for path in (tmp_path / "home").rglob("*") if path.is_file()]


def test_a_tracker_that_is_not_there_costs_a_line_and_no_training(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lacking(_: str) -> None:
        raise ImportError

    monkeypatch.setattr(extras, "import_module", lacking)
    tracking.log(project, TRAINING)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: v1 is trained and saved, but Weights & Biases has no record")
    assert "uv sync --group wandb" in line
    storage.write_text(project.path("config.yaml"), "training: {tracker: comet}")
    with pytest.raises(ProjectError, match=r"training\.tracker: 'comet' is none of mlflow, wandb"):
        _ = Project(project.root).config
