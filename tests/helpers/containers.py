"""A real Docker engine for tests: the one that this machine has, or one of our own."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers.rendering import ROOT
from helpers.stream import until

SCRIPT = ROOT / "tests/engine.sh"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
BASE = f"python:{PYTHON}-slim"
# What a cluster forbids (deploy/kubernetes), and the memory of `bench.max_memory_mb`.
STRICT = (
    *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    *("--memory", "512m"),
)


def lacking() -> str | None:
    """Return what this machine lacks to start an engine of its own."""
    if os.geteuid() != 0:
        return "no engine answers `docker info`, and only root may start one"
    if not shutil.which("apt-get") or not Path("/etc/debian_version").exists():
        return "no engine answers `docker info`, and one of our own needs Debian's packages"
    if not Path(sys.base_prefix, "bin/python3").exists() or sys.base_prefix == "/usr":
        return "no engine answers `docker info`; images of our own need a Python in its own folder"
    return None


class Engine:
    """Docker by its command line; `folder` is that of an engine of our own, which ends with it."""

    def __init__(self) -> None:
        self.env, self.folder = {**os.environ, "DOCKER_BUILDKIT": "1"}, None
        if not shutil.which("docker") or self.run("info", check=False).returncode:
            if reason := lacking():
                pytest.skip(f"CONTAINERS ARE NOT TESTED: {reason}")
            self.folder = Path(tempfile.mkdtemp(prefix="engine-"))
            self.env["DOCKER_HOST"] = f"unix://{self.folder}/docker.sock"
            self.env["DOCKER_CONFIG"] = str(self.folder / "config")
            self.env["PATH"] = f"{self.folder}/root/usr/bin:{os.environ['PATH']}"
            try:
                self._script("start")
                self._script("image", str(self.folder), sys.base_prefix, BASE)
            except BaseException:
                self._script("stop")
                raise
        self.started: list[str] = []

    def _script(self, action: str, *given: str) -> None:
        assert self.folder
        done = subprocess.run(
            [str(SCRIPT), action, *(given or (str(self.folder),))],
            check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:]

    def run(
        self, *command: str, check: bool = True, seconds: int = 900, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["docker", *command],
            env={**self.env, **more.pop("env", {})},
            check=False, capture_output=True, text=True, timeout=seconds, **more,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    def build(self, project: Path, tag: str, *options: str) -> float:
        """Build an image of a project; return its size in MB."""
        self.run("build", "--file", "deploy/Dockerfile", "--tag", tag, *options, ".", cwd=project)
        return self.size(tag)

    def size(self, image: str) -> float:
        """Return the size of an image in MB."""
        return float(self.run("image", "inspect", "-f", "{{.Size}}", image).stdout) / 1e6

    def has(self, image: str) -> bool:
        return self.run("image", "inspect", image, check=False).returncode == 0

    def stand_in(self, image: str, program: str, *start: str) -> None:
        """Pull an image, or make one of the same name of a program of this machine."""
        if self.has(image) or not self.run("pull", "-q", image, check=False).returncode:
            return
        found = shutil.which(program, path=self.env["PATH"])
        assert found, f"{image} cannot be pulled, and {program} is not here: install it"
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(found, Path(folder, "program"))
            # Debian's Alertmanager reads its own templates.
            Path(folder, "shared/alertmanager").mkdir(parents=True)
            for one in Path(found).parents[1].glob("share/prometheus/alertmanager/*.tmpl"):
                shutil.copy(one, Path(folder, "shared/alertmanager"))
            Path(folder, "Dockerfile").write_text(
                f"FROM {BASE}\nCOPY program /bin/program\nCOPY shared /usr/share/prometheus\n"
                "RUN mkdir -m 777 /state\n"
                f"WORKDIR /state\nUSER nobody\nENTRYPOINT {json.dumps(['/bin/program', *start])}\n"
            )
            self.run("build", "--tag", image, folder)

    def imitate(self, image: str, dockerfile: str, files: Mapping[str, Path | str]) -> None:
        """Pull an image, or build one of the same name of files, each a path or a text."""
        if self.has(image) or not self.run("pull", "-q", image, check=False).returncode:
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                if isinstance(content, Path):
                    shutil.copy(content, Path(folder, name))
                else:
                    Path(folder, name).write_text(content)
            Path(folder, "Dockerfile").write_text(dockerfile)
            self.run("build", "--tag", image, folder)

    def start(self, image: str, *options: str, command: Sequence[str] = ()) -> "Container":
        """Start a container."""
        done = self.run("run", "--detach", *options, image, *command)
        self.started.append(done.stdout.strip())
        return Container(self, self.started[-1])

    def close(self) -> None:
        for name in self.started:
            self.run("rm", "--force", "--volumes", name, check=False)
        if self.folder:
            self._script("stop")
            shutil.rmtree(self.folder, ignore_errors=True)


class Container:
    """One that was started."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine, self.name = engine, name

    def told(self) -> dict[str, Any]:
        (found,) = json.loads(self.engine.run("inspect", self.name).stdout)
        return found  # type: ignore[no-any-return]

    def restarts(self) -> int:
        """Return how often the engine has started it again."""
        return int(self.told()["RestartCount"])

    def log(self) -> str:
        done = self.engine.run("logs", self.name)
        return done.stdout + done.stderr

    def health(self, wanted: str = "healthy", seconds: float = 90) -> None:
        """Wait until its own health check says so."""
        until(lambda: self.told()["State"]["Health"]["Status"] == wanted, seconds)

    def do(self, *command: str, check: bool = True) -> str:
        """Run a command in it."""
        done = self.engine.run("exec", self.name, *command, check=check)
        return done.stdout + done.stderr

    def stop(self) -> tuple[int, float]:
        """Stop it as an orchestrator does; return exit code and seconds."""
        began = time.perf_counter()
        self.engine.run("stop", "--time", "40", self.name)
        return self.told()["State"]["ExitCode"], time.perf_counter() - began

    def memory_mb(self) -> float:
        """Resident memory of its processes, without the cache of files."""
        pids = self.engine.run("top", self.name, "-o", "pid").stdout.split()[1:]
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def is_bound(self) -> None:
        """Assert that the process inside has no right that it does not need."""
        status = self.do("cat", "/proc/1/status")
        lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert {lines[f"Cap{n}"].strip("0") for n in ("Prm", "Eff", "Bnd", "Amb")} == {""}
        assert lines["NoNewPrivs"] == "1" and lines["Uid"].split()[0] not in ("", "0")
        found = self.do("touch", "/app/x", "/tmp/x", check=False)
        assert "/tmp/x': Read-only file system" in found, found


@contextmanager
def engine_for_tests() -> Iterator[Engine]:
    """An engine until the end of the block."""
    engine = Engine()
    try:
        yield engine
    finally:
        engine.close()
