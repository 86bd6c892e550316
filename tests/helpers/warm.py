"""Commands of a project, each in a process of its own that has the libraries loaded already.

One process imports the libraries, which takes longer than most commands, and forks itself for each.
The fork reads the project's modules anew and has its own environment, arguments, exit code and
end. That a command starts without such help is shown by the projects of tests/test_projects.py.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# None that starts threads while it is imported, as Polars and PyArrow do: a fork would lack them.
LIBRARIES = (
    *("jinja2", "jsonschema", "markdown_it", "msgspec", "numpy", "onnx", "onnx.helper"),
    *("rich.console", "rich.table", "scipy.special", "scipy.stats", "typer", "yaml"),
)
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def ml(
    package: str, command: Sequence[str], folder: Path, env: Mapping[str, str]
) -> tuple[int, str, str]:
    """Run `ml` in a project; return its exit code, minus the signal that ended it, and output."""
    with TemporaryDirectory() as out:
        asked = {"package": package, "command": command, "folder": str(folder), "env": {**env}}
        server = _server()
        assert server.stdin is not None and server.stdout is not None
        server.stdin.write(json.dumps({**asked, "out": out}) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        return code, *(Path(out, name).read_text(encoding="utf-8") for name in ("1", "2"))


@cache
def _server() -> subprocess.Popen[str]:
    """Start the process that the commands are forked from, once for each worker of pytest."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    env = {**os.environ, **dict.fromkeys(ONE_THREAD, "1"), "OMP_WAIT_POLICY": "PASSIVE"}
    server = subprocess.Popen([sys.executable, __file__], env=env, **pipes)
    atexit.register(server.kill)
    return server


def _serve() -> None:
    for name in LIBRARIES:
        import_module(name)
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if not child:
            _become(**asked)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(package: str, command: list[str], folder: str, env: dict[str, str], out: str) -> None:
    """Be `python -m package command` in the folder; this process does not come back."""
    import runpy
    import tempfile

    signal.alarm(300)
    code = 1
    for number, name in enumerate((os.devnull, f"{out}/1", f"{out}/2")):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT
        os.dup2(os.open(name, flags), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None
    paths = env.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = [folder, *(str(Path(folder, path)) for path in paths if path)]
    sys.argv = [package, *command]
    try:
        if any(Path(path, "sitecustomize.py").exists() for path in paths):
            sys.modules.pop("sitecustomize", None)
            import_module("sitecustomize")
        runpy.run_module(package, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
