"""Load the raw template package, as it stands in the template, under the name `package_name`."""

import ast
import atexit
import importlib.util
import re
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType

TEMPLATE = Path(__file__).parents[2] / "template"
PACKAGE = "src/{{ package_name }}"


def own(task: str) -> Path:
    """Return the folder of the template that only projects of this task get."""
    return TEMPLATE / f"{{% if task_type == '{task}' %}}.{{% endif %}}"


def of_modes() -> list[Path]:
    """Return the folders of the template that only projects with some modes get."""
    return sorted(TEMPLATE.glob("{% if * in deployment_modes %}.{% endif %}"))


def shared(task: str) -> list[Path]:
    """Return the folders of the template that several tasks get, this one among them."""
    found = []
    for folder in sorted(TEMPLATE.glob("{% if task_type * %}.{% endif %}")):
        wanted = re.fullmatch(r"{% if task_type (not in|in) (\(.*\)) %}.*", folder.name)
        if wanted and (task in ast.literal_eval(wanted[2])) == (wanted[1] == "in"):
            found.append(folder)
    return found


def of_images(*, there: bool) -> Path:
    """Return the folder of the template that projects with, or without, a column of images get."""
    return TEMPLATE / f"{{% if {'' if there else 'not '}image_column %}}.{{% endif %}}"


def sources(task: str, *, images: bool = False) -> Path:
    """Return a folder with links to the modules of a project of this task with every mode."""
    folder = Path(tempfile.mkdtemp(prefix=f"{task}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for whole in (TEMPLATE, own(task), *shared(task), *of_modes(), of_images(there=images)):
        part = whole / PACKAGE
        for path in part.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                link = folder / path.relative_to(part)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(path)
    return folder


def load(name: str, folder: Path) -> ModuleType:
    """Make `import {name}.metrics` and the like work with the modules of `folder`."""
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


SOURCE = sources("binary")
load("package_name", SOURCE)


def regression() -> None:
    """Make `import regression_package.models` and the like work, as `package_name` does."""
    if "regression_package" not in sys.modules:
        load("regression_package", sources("regression"))


def forecasting() -> None:
    """Make `import forecasting_package.models` and the like work, as `package_name` does."""
    if "forecasting_package" not in sys.modules:
        load("forecasting_package", sources("forecasting"))


def anomaly() -> None:
    """Make `import anomaly_package.models` and the like work, as `package_name` does."""
    if "anomaly_package" not in sys.modules:
        load("anomaly_package", sources("anomaly"))


def recommendation() -> None:
    """Make `import recommendation_package.models` and the like work, as `package_name` does."""
    if "recommendation_package" not in sys.modules:
        load("recommendation_package", sources("recommendation"))


def clustering() -> None:
    """Make `import clustering_package.models` and the like work, as `package_name` does."""
    if "clustering_package" not in sys.modules:
        load("clustering_package", sources("clustering"))
