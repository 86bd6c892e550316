"""A project holds no other task's words in what people read of it."""

import re
from pathlib import Path

import pytest
import yaml
from helpers.package import own, shared
from helpers.rendering import ROOT, copy_template, render

OTHERS = {
    "anomaly": r"positives?\b|prevalence|probabilit(?:y|ies)|threshold|\bclass(?:es)?\b|confusion|"
    r"false alarm|binary|regression|\bpinball|calibrat|pos_rate|cost_f[pn]|cost_over|cost_under|"
    r"target_unit|multiclass|macro F1|rarest",
    "binary": r"regression model|tabular-regression|\bpinball|value to plan with|"
    r"\binterval and value\b|target_unit|target_mean|interval_coverage|cost_over|cost_under|"
    r"multiclass|macro F1|rarest|cost_wrong|cost_pairs|review_share|NDCG|item_value|today_hits",
    "clustering": r"positives?\b|prevalence|probabilit(?:y|ies)|threshold|\bclass(?:es)?\b|anomal|"
    r"confusion|false alarm|binary|regression|\bpinball|calibrat|pos_rate|cost_f[pn]|cost_over|"
    r"cost_under|target_unit|multiclass|macro F1|rarest|labels? (?:is|are|come)\b",
    "forecasting": r"positives?\b|prevalence|probabilit(?:y|ies)|threshold|\bclass(?:es)?\b|"
    r"\broc\b|false alarm|confusion|binary|regression|cost_fp|cost_fn|pos_rate|multiclass|macro F1|"
    r"rarest|anomal|segment|value to plan with",
    "multiclass": r"positives?\b|prevalence|threshold|\broc\b|false alarm|binary|pos_rate|"
    r"cost_f[pn]|regression model|tabular-regression|\bpinball|conformal|target_unit|target_mean|"
    r"interval_coverage|cost_over|cost_under",
    "multilabel": r"positives?\b|prevalence|false alarm|binary|pos_rate|cost_f[pn]|"
    r"regression model|tabular-regression|\bpinball|conformal|target_unit|target_mean|"
    r"interval_coverage|cost_over|cost_under|multiclass|rarest class|cost_wrong|cost_pairs",
    "recommendation": r"positives?\b|prevalence|probabilit(?:y|ies)|threshold|\bclass(?:es)?\b|"
    r"anomal|confusion|false alarm|binary|regression|\bpinball|calibrat|pos_rate|cost_f[pn]|"
    r"cost_over|cost_under|target_unit|multiclass|macro F1|rarest|segment|silhouette",
    "regression": r"positives?\b|prevalence|probabilit(?:y|ies)|threshold|\bclass(?:es)?\b|"
    r"\broc\b|false alarm|confusion|binary|cost_fp|cost_fn|pos_rate",
}
READ = ("README.md", "AGENTS.md", "config.yaml", "docs/*.md", "monitoring/*.yml")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the template with each task among its choices, also those not offered yet."""
    folder = copy_template(tmp_path_factory.mktemp("words") / "template")
    for name in ("questions/asked/project.yml", "questions/project.yml", "questions/given.jinja"):
        path = folder / name
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"\n *validator: \w+ (?:is|are) not built yet", "", text)
        path.write_text(re.sub(r"\w+ (?:is|are) not built yet", "", text), encoding="utf-8")
    return folder


@pytest.fixture(scope="module", params=[(t, d) for t in OTHERS for d in ("light", "standard")])
def made(
    template: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[str, Path]:
    """Return a task and a project of it, in two depths."""
    task, depth = request.param
    answers = {"task_type": task, "plan_depth": depth, "deployment_modes": ["rest", "batch"]}
    return task, render(tmp_path_factory.mktemp(task) / "p", template, **answers)


def test_documents_hold_no_word_of_another_task(made: tuple[str, Path]) -> None:
    task, project = made
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


def of_task(task: str) -> tuple[set[str], set[str], set[str]]:
    """Return what only a task may have: names of its files, of its questions, and ids of rules."""
    folder = ROOT / "questions" / task
    asked, ruled = (
        yaml.safe_load((folder / name).read_text(encoding="utf-8")) or {}
        for name in ("questions.yml", "rules.yaml")
    )
    ids = {rule["id"] for made in ruled["decisions"].values() for rule in made.get("rules", ())}
    folders = (own(task), *shared(task))
    files = {p.relative_to(folder).as_posix() for folder in folders for p in folder.rglob("*.*")}
    common = (
        yaml.safe_load(path.read_text("utf-8")) for path in (ROOT / "questions").glob("*.yml")
    )
    return files, set(asked).difference(*common), ids


def test_no_file_question_or_rule_of_another_task(made: tuple[str, Path]) -> None:
    task, project = made
    tasks = {path.parent.name for path in (ROOT / "questions").glob("*/rules.yaml")}
    assert {task, "binary", "regression"} <= tasks
    package = next((project / "src").iterdir()).name
    texts = {
        path.relative_to(project).as_posix(): path.read_text(encoding="utf-8")
        for path in project.rglob("*")
        if path.is_file()
    }
    names = {name.replace(f"src/{package}/", "src/{{ package_name }}/") for name in texts}
    code = "\n".join(text for name, text in texts.items() if name.endswith((".py", ".html")))
    mine = of_task(task)
    for other in tasks - {task}:
        files, asked, ids = (
            theirs - ours for theirs, ours in zip(of_task(other), mine, strict=True)
        )
        assert not {name.removesuffix(".jinja") for name in files} & names
        assert not set(yaml.safe_load(texts[".copier-answers.yml"])) & asked
        words = set(re.findall(r"[\w.]+", "\n".join(texts.values())))
        assert not words & ids, other
        assert not set(re.findall(r"\w+", code)) & {name for name in asked if "_" in name}, other
        assert not re.search(rf"[\"']{other}[\"']", code), other
