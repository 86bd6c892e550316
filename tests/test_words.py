"""A project holds no other task's words in what people read of it."""

import re
from pathlib import Path

import pytest
from helpers.rendering import copy_template, render

OTHERS = {
    "binary": r"regression model|tabular-regression|\bpinball|value to plan with|"
    r"\binterval and value\b|target_unit|target_mean|interval_coverage|cost_over|cost_under|"
    r"multiclass|macro F1|rarest|cost_wrong|cost_pairs|review_share",
    "multiclass": r"positives?\b|prevalence|threshold|\broc\b|false alarm|binary|pos_rate|"
    r"cost_f[pn]|regression model|tabular-regression|\bpinball|conformal|target_unit|target_mean|"
    r"interval_coverage|cost_over|cost_under",
    "regression": r"positives?\b|prevalence|probabilit(?:y|ies)|threshold|\bclass(?:es)?\b|"
    r"\broc\b|false alarm|confusion|binary|cost_fp|cost_fn|pos_rate",
}
READ = ("README.md", "config.yaml", "docs/*.md", "monitoring/*.yml")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the template with several classes among its choices, as long as it is not offered."""
    folder = copy_template(tmp_path_factory.mktemp("words") / "template")
    for name in ("questions/asked/project.yml", "questions/project.yml", "questions/given.jinja"):
        path = folder / name
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"\n *validator: multiclass is not built yet", "", text)
        path.write_text(text.replace("multiclass is not built yet", ""), encoding="utf-8")
    return folder


@pytest.mark.parametrize("task", OTHERS)
@pytest.mark.parametrize("depth", ["light", "standard"])
def test_documents_hold_no_word_of_another_task(
    template: Path, tmp_path: Path, task: str, depth: str
) -> None:
    answers = {"task_type": task, "plan_depth": depth, "deployment_modes": ["rest", "batch"]}
    project = render(tmp_path / "p", template, **answers)
    files = [path for pattern in READ for path in sorted(project.glob(pattern))]
    assert len(files) > 6
    found = [
        f"{path.relative_to(project)}: {line}"
        for path in files
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(OTHERS[task], line, re.IGNORECASE)
    ]
    assert not found
    for path in project.glob("src/*/engine/report/templates/*.html"):
        text = re.sub(r"<style>.*?</style>|\bclass=", "", path.read_text("utf-8"), flags=re.DOTALL)
        assert not (hit := re.search(OTHERS[task], text, re.IGNORECASE)), f"{path.name}: {hit}"
