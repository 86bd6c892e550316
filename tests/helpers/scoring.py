"""The command `ml score` of a rendered project, in a small one that was made without a render."""

import os
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from package_name.engine import elsewhere
from package_name.engine.settings import Project

from . import warm
from .rendering import render


@cache
def _source() -> Path:
    """Return the folder of the package of a project that scores files."""
    return next(render(Path(mkdtemp()) / "p", deployment_modes=["batch"]).glob("src/*"))


def noted(project: Project, *given: str) -> list[str]:
    """Run `ml score` with these arguments; return the places that are noted then."""
    env = {**os.environ, "PYTHONPATH": str(_source().parent)}
    code, out, error = warm.ml(_source().name, ("score", *given), project.root, env)
    assert code == 0, f"{out}\n{error}"
    return elsewhere.read(project)
