"""Run a project with the packages of this environment: `uv run` then installs nothing."""

import os
import sys
from pathlib import Path

BIN = Path(sys.executable).parent


def clean_environment() -> dict[str, str]:
    """Return the environment without this run's own virtual environment."""
    return {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}


def shared_environment(folder: Path) -> dict[str, str]:
    """Return one in which `uv run` takes this one's packages; the project's `ml` is in `folder`."""
    command = f'#!/bin/sh\nPYTHONPATH="$PWD/src" exec "{sys.executable}" -m "$(ls src)" "$@"\n'
    (folder / "ml").write_text(command)
    (folder / "ml").chmod(0o755)
    path = os.pathsep.join([str(folder), str(BIN), os.environ["PATH"]])
    uv = {"UV_NO_SYNC": "1", "UV_PROJECT_ENVIRONMENT": str(BIN.parent)}
    return {**clean_environment(), **uv, "PATH": path}
