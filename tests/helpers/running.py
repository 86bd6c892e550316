"""A rendered project with the command `ml` of this environment."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import warm


class Made:
    """A project in `folder`; `settings` are variables that make its runs short."""

    def __init__(self, folder: Path, package: str, settings: Mapping[str, str]) -> None:
        self.folder, self.package, self.settings = folder, package, settings
        self.env = {**os.environ, **settings, "PYTHONPATH": str(folder / "src")}

    def ml(self, *command: str, code: int | None = 0) -> str:
        """Run `ml`; its exit code must be `code` (None: any). Return what it said."""
        found, out, err = warm.ml(self.package, command, self.folder, self.env)
        assert code in (None, found), f"{command}: {out}\n{err}"
        return out + err

    def python(self, *given: str) -> str:
        """Run Python with these arguments in the project; return what it printed."""
        done = subprocess.run(
            [sys.executable, *given],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def report(self, name: str) -> dict[str, Any]:
        """Read a report."""
        found: dict[str, Any] = json.loads((self.folder / f"reports/{name}.json").read_text())
        return found

    @contextmanager
    def serving(self) -> Iterator[Callable[..., Any]]:
        """Run the service; give a function that asks an address, and posts what it is given."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", self.package, "serve", "--port", str(port)]
        running = subprocess.Popen(command, cwd=self.folder, env=self.env)

        def ask(path: str, content: Any = None) -> Any:
            body = content
            if not isinstance(content, bytes | None):
                body = json.dumps(content).encode()
            head = {"Content-Type": "application/json"}
            request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, head)
            with urllib.request.urlopen(request, timeout=10) as answer:
                text = answer.read().decode()
            return json.loads(text) if text.startswith(("{", "[")) else text

        try:
            for _ in range(120):
                try:
                    ask("/ready")
                    break
                except OSError:
                    time.sleep(0.25)
            yield ask
        finally:
            running.terminate()
            running.wait(30)
