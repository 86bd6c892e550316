"""Who may import whom: yours in front, machinery behind, and no circle."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from helpers.package import SOURCE, TEMPLATE, sources
from helpers.rendering import render

# What the planner needs of the engine: it reads files and reports, and computes no prediction.
PLANNER_NEEDS = {
    "engine",
    "engine.audit",  # who signed
    "engine.console",
    "engine.data",
    "engine.data.consent",  # of the contract
    "engine.data.contract",
    "engine.data.sources",  # of the contract
    "engine.data.reading",  # the file of an experiment
    "engine.errors",
    "engine.folds",  # which folds go with a split
    "engine.formats",
    "engine.git",
    "engine.progress",
    "engine.report",
    "engine.report.charts",
    "engine.settings",
    "engine.storage",
    "engine.task",
}


TASKS = sorted(path.name.split("'")[1] for path in TEMPLATE.glob("{% if task_type == *"))


def modules(source: Path) -> dict[str, tuple[Path, ast.Module]]:
    """Return each module of the package by its dotted name, "" for the package itself."""
    found = {}
    for path in sorted(source.rglob("*.py*")):
        if path.name.endswith((".py", ".py.jinja")):
            name = ".".join([*path.relative_to(source).parent.parts, path.name.split(".")[0]])
            text = path.read_text(encoding="utf-8")
            found[name.removesuffix("__init__").removesuffix(".")] = (path, ast.parse(text))
    return found


MODULES = modules(SOURCE)


def imports(name: str, there: dict[str, tuple[Path, ast.Module]] = MODULES) -> set[str]:
    """Return the modules of the package that a module imports, at its top or within a function."""
    path, tree = there[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *filter(None, [node.module])]
            base = ".".join(part for line in base for part in line.split(".") if part)
            inner = {".".join(filter(None, [base, alias.name])) for alias in node.names}
            found |= (inner & set(there)) or {base}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            text = ast.literal_eval(node.args[0]) if isinstance(node.args[0], ast.Constant) else ""
            found |= {".".join([*package, text[1:]])} if text.startswith(".") else set()
    return found - {name}


def test_imports_are_found() -> None:
    assert {"engine.storage", "models"} <= imports("training")
    assert "engine.serving.service" in imports("engine.serving.rest")
    assert all(target in MODULES for name in MODULES for target in imports(name))


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("engine")])
def test_the_engine_imports_nothing_of_a_project_s_own(name: str) -> None:
    assert {target for target in imports(name) if not target.startswith("engine")} == set()


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("planner")])
def test_the_planner_needs_little_of_the_engine(name: str) -> None:
    foreign = {target for target in imports(name) if not target.startswith("planner")}
    assert foreign - PLANNER_NEEDS == set()


@pytest.mark.parametrize("task", TASKS)
def test_no_circle_and_no_import_of_the_team_s_in_any_task(task: str) -> None:
    """Also no circle that an import within a function hides; TopologicalSorter names it."""
    there = modules(sources(task))
    found = {name: imports(name, there) for name in there}
    TopologicalSorter(found).prepare()
    machinery = {name: targets for name, targets in found.items() if name.startswith("engine")}
    assert all(target.startswith("engine") for targets in machinery.values() for target in targets)
    planned = {name: targets for name, targets in found.items() if name.startswith("planner")}
    foreign = {t for targets in planned.values() for t in targets if not t.startswith("planner")}
    assert foreign - PLANNER_NEEDS == set()


@pytest.mark.parametrize("task", TASKS)
def test_each_task_holds_only_what_it_uses(task: str) -> None:
    """A module that nothing of a task reaches belongs into the folder of those that need it."""
    there = modules(sources(task))
    modes = [name for name in there if re.fullmatch(r"engine\.serving\.\w+", name)]
    modes += [name for name in there if name.startswith("planner.measured_")]  # found by name
    waiting, seen = ["", "__main__", "cli", *modes], set[str]()
    while waiting:
        if (name := waiting.pop()) in there and name not in seen:
            seen.add(name)
            waiting += [*imports(name, there), name.rpartition(".")[0]]
    assert there.keys() == seen


def at_import(name: str, there: dict[str, tuple[Path, ast.Module]]) -> tuple[set[str], set[str]]:
    """Return the modules and the packages that a module imports before anything is called."""
    path, tree = there[name]
    package, waiting = set[str](), list(tree.body)
    top = ast.Module([], [])
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            package |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            package.add(str(node.module).partition(".")[0])
        elif isinstance(node, ast.ImportFrom):
            top.body.append(node)
        waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
    return imports(name, {**there, name: (path, top)}), package


# Packages that no image of a service has: a service reads rows without a table.
OF_TABLES = {"polars", "pyarrow", "sklearn", "lightgbm", "scipy", "onnx"}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("mode", ["rest", "grpc", "streaming", "edge_log"])
def test_a_service_starts_without_the_packages_of_tables(mode: str, task: str) -> None:
    there = modules(sources(task))
    parts = [name for name in there if name.startswith(f"engine.serving.{mode}")]
    parts = [name for name in parts if not name.endswith(("_judge", "_client", "_letters"))]
    waiting, seen = [(name, name) for name in parts], set[str]()
    while waiting:
        name, by = waiting.pop()
        if name in there and name not in seen:
            seen.add(name)
            inner, packages = at_import(name, there)
            assert packages.isdisjoint(OF_TABLES), f"{by} -> {name}: {packages & OF_TABLES}"
            waiting += [(target, f"{by} -> {name}") for target in inner]
    assert len(seen) > 5


NEEDS = {"lightgbm": "engine.model.boosting", "optuna": "engine.model.search"}


@pytest.mark.parametrize("task", TASKS)
def test_each_task_installs_only_what_it_imports(task: str, tmp_path: Path) -> None:
    """Boosting and its search are a third of what training installs."""
    there = modules(sources(task))
    project = render(tmp_path / "project", task_type=task)
    packages = (project / "pyproject.toml").read_text(encoding="utf-8")
    settings = (project / "config.yaml").read_text(encoding="utf-8")
    for package, module in NEEDS.items():
        assert (module in there) == (f'"{package}>=' in packages), package
    assert ("tuning" in there) == ("\ntuning:" in settings) == ("max_rounds:" in settings)
    assert ("tuning" in there) == ("def tune(" in next(project.glob("src/*/cli.py")).read_text())


OBJECTIVES = {
    "binary": r"binary_logloss|binary:logistic|Logloss\b",
    "multiclass": r"multi_logloss|multi:softprob|MultiClass\b",
    "multilabel": r"cross_entropy",
    "regression": r"count:poisson|reg:\w+|Tweedie|Poisson|\bRMSE\b",
}


@pytest.mark.parametrize("task", TASKS)
def test_no_model_of_another_task_is_named(task: str) -> None:
    """What trees minimise is said by the task alone; metrics may have the same words."""
    texts = [path.read_text("utf-8") for path in sources(task).glob("engine/model/*.py")]
    others = "|".join(words for other, words in OBJECTIVES.items() if other != task)
    assert len(texts) > 20
    assert not [hit for text in texts for hit in re.findall(others, text)]
    if task in OBJECTIVES:
        mine = [path.read_text("utf-8") for path in sources(task).glob("**/*.py")]
        assert any(re.search(OBJECTIVES[task], text) for text in mine)
