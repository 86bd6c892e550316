"""A rendered project with the command `ml` of this environment."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Made:
    """A project in `folder`; `settings` are variables that make its runs short."""

    def __init__(self, folder: Path, package: str, settings: Mapping[str, str]) -> None:
        self.folder, self.package = folder, package
        self.env = {**os.environ, **settings, "PYTHONPATH": str(folder / "src")}

    def ml(self, *command: str, code: int = 0) -> str:
        """Run `ml`; its exit code must be `code`. Return what it said."""
        done = subprocess.run(
            [sys.executable, "-m", self.package, *command],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def report(self, name: str) -> dict[str, Any]:
        """Read a report."""
        found: dict[str, Any] = json.loads((self.folder / f"reports/{name}.json").read_text())
        return found
