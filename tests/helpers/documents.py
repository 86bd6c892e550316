"""Run what documents tell readers to do: bash blocks, edits as diffs, and outputs to compare."""

import os
import re
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"\d{1,3}(?: \d{3})+|\d+(?:\.\d+)?")


class Fence(NamedTuple):
    """A fenced block: its language, its text and its line in the document."""

    language: str
    text: str
    line: int


def fences(document: Path) -> Iterator[Fence]:
    """Return the fenced blocks of a Markdown file, in order."""
    text = document.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        yield Fence(found[1], found[2], text.count("\n", 0, found.start()) + 1)


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a reader who has Python, git and pip: a fresh one in `folder`."""
    venv.create(folder, with_pip=True)
    own = str(Path(sys.executable).parent)
    paths = [str(folder / "bin"), *(p for p in os.environ["PATH"].split(os.pathsep) if p != own)]
    dropped = ("VIRTUAL_ENV", "PYTHONPATH", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON")
    user = {
        f"GIT_{who}_{what}": "reader"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, **user, "PATH": os.pathsep.join(paths), "TERM": "dumb", "COLUMNS": "120"}


class Reader:
    """Follows a document in one shell, so that folder, jobs and variables last."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.env = env
        self.shell = subprocess.Popen(
            ["bash", "-eu"],
            cwd=folder,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def follow(self, document: Path) -> None:
        """Run, edit and compare; AssertionError with the line of the document where it differs."""
        output = ""
        for fence in fences(document):
            place = f"{document.name}:{fence.line}"
            if fence.language == "bash":
                output = self.run(fence.text, place)
            elif fence.language == "diff":
                apply(fence.text, Path(self.run("pwd", place).strip()), place)
            elif fence.language == "output":
                compare(fence.text, output, place)

    def run(self, text: str, place: str) -> str:
        """Run a block and return what it printed; it must succeed."""
        assert self.shell.stdin and self.shell.stdout
        self.shell.stdin.write(f"{{\n{text}\n}} < /dev/null\necho '::done'\n")
        self.shell.stdin.flush()
        lines: list[str] = []
        for line in self.shell.stdout:
            if line == "::done\n":
                return "".join(lines)
            lines.append(line)
        raise AssertionError(f"{place}: the block failed\n{text}\n{''.join(lines)}")

    def close(self) -> None:
        """End the shell and what it left running."""
        with suppress(ProcessLookupError):
            os.killpg(self.shell.pid, signal.SIGTERM)
        self.shell.wait(timeout=20)


def apply(diff: str, folder: Path, place: str) -> None:
    """Make an edit that a diff without line numbers describes; its old lines must occur once."""
    head, *lines = diff.splitlines()
    path = folder / head.removeprefix("--- ")
    old = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
    new = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{place}: found {text.count(old)} times in {path.name}:\n{old}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def compare(shown: str, output: str, place: str) -> None:
    """Each shown line must occur in the output, in order."""
    rest = output.splitlines()
    for line in shown.splitlines():
        found = next((index for index, other in enumerate(rest) if alike(line, other)), None)
        assert found is not None, f"{place}: not in the output: {line}\n{output}"
        rest = rest[found + 1 :]


def alike(shown: str, printed: str) -> bool:
    """Whether two lines say the same: the same words, and numbers as near as machines agree.

    "..." ends what is shown of a line. Seconds may be any; decimals may differ by 0.02 or a tenth,
    whole numbers by one in fifty.
    """
    shown, cut, _ = shown.strip().partition("...")
    printed = printed.strip().replace("\u00a0", " ")
    ours, theirs = NUMBER.sub("#", shown), NUMBER.sub("#", printed)
    if not (theirs.startswith(ours) if cut else theirs == ours):
        return False
    for mine, other in zip(NUMBER.finditer(shown), NUMBER.finditer(printed), strict=False):
        a, b = (float(number[0].replace(" ", "")) for number in (mine, other))
        near = max(0.02, 0.1 * abs(a)) if "." in mine[0] + other[0] else abs(a) / 50
        if abs(a - b) > near and not re.match(r" (s|ms)\b", shown[mine.end() :]):
            return False
    return True
