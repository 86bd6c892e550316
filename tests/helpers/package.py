"""Load the raw template package, as it stands in the template, under the name `package_name`."""

import importlib.util
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "template" / "src" / "{{ package_name }}"


def load() -> None:
    """Make `import package_name.metrics` and the like work; calling it again does nothing."""
    if "package_name" in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(
        "package_name", SOURCE / "__init__.py", submodule_search_locations=[str(SOURCE)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["package_name"] = module
    spec.loader.exec_module(module)


load()
