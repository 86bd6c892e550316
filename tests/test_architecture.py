"""Who may import whom: yours in front, machinery behind, and no circle."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from helpers.package import SOURCE, TEMPLATE, sources

# What the planner needs of the engine: it reads files and reports, and computes no prediction.
PLANNER_NEEDS = {
    "engine",
    "engine.console",
    "engine.data",
    "engine.data.consent",  # of the contract
    "engine.data.contract",
    "engine.data.sources",  # of the contract
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
