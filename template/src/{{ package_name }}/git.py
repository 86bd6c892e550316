"""Children of a command: git above all, which asks nothing and sees one repository only."""

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from .errors import ProjectError

SECONDS = 600  # the longest that git, Copier or uv may take
# What a child keeps of git's variables: the way to a repository, and settings that a user gave so.
KEPT = r"GIT_(ASKPASS|SSH|SSL|HTTP|PROXY|CONFIG_(GLOBAL|SYSTEM|NOSYSTEM|COUNT|KEY_|VALUE_))"
# Settings of a user that would change what we read or start a program.
SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.autocrlf": "false",
    "commit.gpgSign": "false",
    "tag.gpgSign": "false",
}


def start(
    command: Sequence[str],
    folder: Path | None,
    more: Mapping[str, str] | None = None,
    text: bytes = b"",
) -> tuple[int, str, str]:
    """Run a child and return its exit code, output and errors; every child starts here.

    It asks nothing, ends in time, speaks English, and sees no repository but that of its folder.
    """
    kept = {n: v for n, v in os.environ.items() if not n.startswith("GIT_") or re.match(KEPT, n)}
    for name in ("SSH_ASKPASS", "PYTHONPATH", "LANGUAGE"):
        kept.pop(name, None)
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GCM_INTERACTIVE": "never"}
    words = {"SSH_ASKPASS_REQUIRE": "never", "LC_ALL": "C", "PYTHONUTF8": "1"}
    child = subprocess.Popen(
        command,
        cwd=folder,
        env={**kept, **quiet, **words, **(more or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # no terminal to ask at, and one group to end
    )
    try:
        output, errors = (os.fsdecode(found) for found in child.communicate(text, timeout=SECONDS))
    except BaseException as error:
        with suppress(ProcessLookupError):  # and what it started
            os.killpg(child.pid, signal.SIGKILL) if os.name == "posix" else child.kill()
        child.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            told = " ".join(command[:5])
            raise ProjectError(f"`{told}` took longer than {SECONDS} seconds: stopped") from None
        raise
    if child.returncode and "No space left on device" in errors:
        raise ProjectError(f"no space left in {tempfile.gettempdir()}: free some, or set TMPDIR")
    return child.returncode, output, errors


def variables() -> dict[str, str]:
    """Return the variables that give git our settings, after those that a user gave so."""
    first = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    given = {"GIT_CONFIG_COUNT": str(first + len(SETTINGS))}
    for number, (name, value) in enumerate(SETTINGS.items(), first):
        given |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return given


def git(
    folder: Path,
    *arguments: str,
    codes: Collection[int] = (0,),
    text: bytes = b"",
    own: bool = False,
) -> str:
    """Run git in a folder and return what it prints.

    A user's settings say how the files of a project are read; `own` is for our repository.
    """
    options = ["-c", f"core.hooksPath={os.devnull}", "-c", "core.fsmonitor=false"]
    options += ["-c", "color.ui=false", "-c", "color.grep=false", "-c", "core.safecrlf=false"]
    more = {}
    if own:
        options += ["-c", "user.name=ml", "-c", "user.email=ml"]
        more = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        more["GIT_CONFIG_COUNT"] = "0"
    command = ["git", "--literal-pathspecs", *options, *arguments]
    try:
        code, output, errors = start(command, folder, more, text)
    except FileNotFoundError:
        raise ProjectError("git is needed here: install it") from None
    if code not in codes:
        raise ProjectError(f"git {arguments[0]}: {_reason(errors)}")
    return output.rstrip("\n")


def _reason(errors: str) -> str:
    """Return why git failed, in one line, with the command that git gives to mend it."""
    lines = errors.strip().splitlines() or ["it gave no reason"]
    reason = next((line for line in lines if re.match("fatal: |error: ", line)), lines[-1])
    mend = [f"`{line.strip()}`" for line in lines if re.match(r"\s+git ", line)]
    return ": ".join([reason.partition(": ")[2] or reason, *mend[:1]])


own = partial(git, own=True)
