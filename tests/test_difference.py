"""`ml models --compare`: what differs between two versions, and whether a repeat answers alike."""

from pathlib import Path
from typing import Any

import helpers.bundles as small
import pytest

from package_name.engine import storage
from package_name.engine.errors import CheckFailed, ProjectError
from package_name.engine.model import difference
from package_name.engine.model.difference import Difference
from package_name.engine.settings import Project

SETTINGS = {"training": {"seed": 7, "folds": 5}, "evaluation": {"slices": ["plan"]}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with two versions from the same rows."""
    project = small.project(tmp_path_factory.mktemp("compared"))
    for _ in range(2):
        small.train(project, rows=600, seed=0)
    return project


def write(project: Project, version: str, **facts: Any) -> None:
    path = project.path(f"models/{version}/training.json")
    candidates = {"small": {"params": {"rounds": 40}}}
    given = {"settings": SETTINGS, "candidates": candidates, "plan": {"cv": "time_series"}}
    split = {"test_sha256": "a" * 64, "development_rows": 400}
    storage.write_json(path, {"split": split} | given | facts)


def metrics(project: Project, version: str, value: float) -> None:
    report = {"champion": {"metrics": {"roc_auc": {"value": value}}}}
    storage.write_json(project.path(f"models/{version}/metrics.json"), report)


def test_the_same_inputs_and_metrics_differ_in_nothing(trained: Project) -> None:
    for version in ("v1", "v2"):
        write(trained, version)
        metrics(trained, version, 0.75)
    found = difference.compare(trained, "v1", "v2")
    assert found == [Difference("metric", "roc_auc", 0.75, 0.75)]
    assert difference.table(("v1", "v2"), found).endswith("and alike in every metric.")
    difference.check(("v1", "v2"), found)
    metrics(trained, "v2", 0.7499)
    with pytest.raises(CheckFailed, match=r"v1 and v2 were made from the same .* roc_auc"):
        difference.check(("v1", "v2"), difference.compare(trained, "v1", "v2"))


def test_each_kind_of_change_is_named_with_what_the_metric_gained(trained: Project) -> None:
    write(trained, "v1")
    other = {"training": {"seed": 8, "folds": 5}, "evaluation": {"slices": []}}
    write(trained, "v2", settings=other, plan={"cv": "stratified"})
    metrics(trained, "v1", 0.7)
    metrics(trained, "v2", 0.74)
    found = difference.compare(trained, "v1", "v2")
    assert [tuple(one) for one in found] == [
        ("plan", "cv", "time_series", "stratified"),
        ("setting", "training.seed", 7, 8),
        ("setting", "evaluation.slices", ["plan"], []),
        ("metric", "roc_auc", 0.7, 0.74),
    ]
    text = difference.table(("v1", "v2"), found)
    assert "+0.0400" in text and text.endswith("on the same rows; plan, setting changed.")
    difference.check(("v1", "v2"), found)


def test_metrics_of_other_rows_are_no_gain(trained: Project) -> None:
    write(trained, "v1")
    write(trained, "v2", split={"test_sha256": "b" * 64, "development_rows": 500})
    found = difference.compare(trained, "v1", "v2")
    assert {one.name for one in found} >= {"test rows", "development rows"}
    assert "The test rows differ" in difference.table(("v1", "v2"), found)


def test_what_is_not_there_is_said(trained: Project, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="no version 'v9' to compare; there are: v1, v2"):
        difference.compare(trained, "v1", "v9")
    write(trained, "v1")
    write(trained, "v2")
    trained.path("models/v2/metrics.json").unlink()
    [one] = [d for d in difference.compare(trained, "v1", "v2") if d.kind == "metric"]
    assert one.after is None and "+" not in one.said
