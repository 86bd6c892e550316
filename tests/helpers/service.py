"""A service in a process of its own, on the raw template package."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers import package  # noqa: F401  makes `package_name` importable

from package_name.engine.settings import Project


@contextmanager
def process(project: Project, port: int, **popen: Any) -> Iterator[subprocess.Popen[str]]:
    """Run the service as `ml serve` does, in a process of its own."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import helpers.package\n"
        "from pathlib import Path\n"
        "from package_name.engine.errors import ProjectError\n"
        "from package_name.engine.settings import Project\n"
        "from package_name.engine.serving import rest\n"
        "try: rest.run(Project(Path(sys.argv[2])), '127.0.0.1', int(sys.argv[3]))\n"
        "except ProjectError as error: print(error, file=sys.stderr); sys.exit(2)\n"
    )
    command = [
        sys.executable,
        "-c",
        code,
        str(Path(__file__).parents[1]),
        str(project.root),
        str(port),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **popen) as running:
        try:
            yield running
        finally:
            running.kill()


def free_port() -> int:
    """Return a port that nobody has."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait for a condition; return what it gave."""
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    assert value
    return value
