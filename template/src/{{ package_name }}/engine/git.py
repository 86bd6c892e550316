"""Children of a command: git above all, which asks nothing and sees one repository only."""

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from .errors import ProjectError
from .formats import UNKNOWN

SECONDS = 600  # the longest that git, Copier or uv may take
FULL = "No space left on device|Out of diskspace|Disk quota exceeded"  # the second is git's
# What a child keeps of git's variables: the way to a repository, and settings that a user gave so.
KEPT = (
    r"GIT_(ASKPASS|SSH|SSL|HTTP|PROXY|CONFIG_(GLOBAL|SYSTEM|NOSYSTEM|COUNT|KEY_|VALUE_)|DISCOVERY_)"
)
# Settings of a user that would change what we read or start a program.
SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.autocrlf": "false",
    "commit.gpgSign": "false",
    "tag.gpgSign": "false",
}


def _clean(more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child, with `more`: it asks nothing and speaks English."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith("GIT_") or re.match(KEPT, n)}
    for name in ("SSH_ASKPASS", "PYTHONPATH", "LANGUAGE"):
        kept.pop(name, None)
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GCM_INTERACTIVE": "never"}
    words = {"SSH_ASKPASS_REQUIRE": "never", "LC_ALL": "C", "PYTHONUTF8": "1"}
    return {**kept, **quiet, **words, **more}


@contextmanager
def beside(
    command: Sequence[str], folder: Path, more: Mapping[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a child while a block lasts, and end it; what it says goes nowhere."""
    silent = subprocess.DEVNULL
    child = subprocess.Popen(
        command, cwd=folder, env=_clean(more), stdin=silent, stdout=silent, stderr=silent
    )
    try:
        yield child
    finally:
        child.terminate()
        child.wait(SECONDS)


def start(
    command: Sequence[str],
    folder: Path | None,
    more: Mapping[str, str] | None = None,
    text: bytes = b"",
) -> tuple[int, str, str]:
    """Run a child and return its exit code, output and errors; every child starts here.

    It asks nothing, ends in time, speaks English, and sees no repository but that of its folder.
    """
    child = subprocess.Popen(
        command,
        cwd=folder,
        env=_clean(more or {}),
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
    if child.returncode and re.search(FULL, errors):
        raise ProjectError(f"no space left in {tempfile.gettempdir()}: free some, or set TMPDIR")
    return child.returncode, output, errors


def at_terminal(command: Sequence[str]) -> int:
    """Run a person's own program, such as an editor, at their terminal; return its exit code."""
    return subprocess.run(command, check=False).returncode


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
    more: Mapping[str, str] | None = None,
) -> str:
    """Run git in a folder and return what it prints.

    A user's settings say how the files of a project are read; `own` is for our repository, and
    `more` are variables for this run.
    """
    options = ["-c", f"core.hooksPath={os.devnull}", "-c", "core.fsmonitor=false"]
    options += ["-c", "color.ui=false", "-c", "color.grep=false", "-c", "core.safecrlf=false"]
    more = dict(more or {})
    if own:
        options += ["-c", "user.name=ml", "-c", "user.email=ml"]
        more |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        more["GIT_CONFIG_COUNT"] = "0"
    command = ["git", "--literal-pathspecs", *options, *arguments]
    try:
        code, output, errors = start(command, folder, more, text)
    except FileNotFoundError:
        raise ProjectError("git is needed here: install it") from None
    if code not in codes:
        raise ProjectError(f"git {arguments[0]}: {_reason(errors)}")
    return output.rstrip("\n")


def demand_committed(folder: Path, name: str) -> None:
    """Raise ProjectError, with the reason, when the last commit has no file of this name here."""
    places = (parent / ".git" for parent in (folder, *folder.parents))
    place = next((path for path in places if os.path.lexists(path)), None)
    commit = "`git add . && git commit`"
    try:
        top = git(folder, "rev-parse", "--show-toplevel")
    except ProjectError as error:
        if not re.search("not a git repository", str(error), re.IGNORECASE):
            raise
        if place is None:
            raise ProjectError(f"the project is not in git: `git init`, then {commit}") from None
        if not place.is_file():
            reason = str(error).removeprefix("git rev-parse: ")
            raise ProjectError(f"git cannot read {place}: {reason}") from None
        leads = place.read_text(encoding="utf-8", errors="replace").strip().removeprefix("gitdir: ")
        mend = "run `git worktree repair` in the repository that it belongs to"
        if "modules" in Path(leads).parts:
            mend = "move the submodule back, or clone it anew"
        raise ProjectError(
            f"{place} leads to {leads}, which is not there: this folder or its repository was "
            f"moved or copied: {mend}"
        ) from None
    if not git(folder, "rev-parse", "--quiet", "--verify", "HEAD", codes=(0, 1)):
        raise ProjectError(f"nothing is committed yet in {top}: {commit}")
    if git(folder, "ls-tree", "--name-only", "HEAD", name) == name:
        return
    if git(folder, "ls-files", "--others", "--ignored", "--exclude-standard", "--", name):
        mend = f"`git check-ignore -v {name}` names the line: take it out, or `git init` here"
        raise ProjectError(f"the repository {top} ignores the project: {mend}")
    raise ProjectError(f"{name} is not committed in the repository {top}: {commit}")


def state(folder: Path) -> tuple[str | None, bool]:
    """Return the commit of a project, None outside git, and whether what makes a model differs."""
    try:
        commit = git(folder, "rev-parse", "--quiet", "--verify", "HEAD", codes=(0, 1))
        places = ("src", "contracts", "config.yaml", "plan", "pyproject.toml")
        return commit or None, bool(git(folder, "status", "--porcelain", "--", *places))
    except ProjectError:
        return None, False


def user(folder: Path) -> str:
    """Return the e-mail address, else the name, that git signs with here, "unknown" without."""
    with suppress(ProjectError):
        for name in ("user.email", "user.name"):
            if found := git(folder, "config", name, codes=(0, 1)):
                return found
    return UNKNOWN


def _reason(errors: str) -> str:
    """Return why git failed, in one line, with the command that git gives to mend it."""
    lines = errors.strip().splitlines() or ["it gave no reason"]
    reason = next((line for line in lines if re.match("fatal: |error: ", line)), lines[-1])
    mend = [f"`{line.strip()}`" for line in lines if re.match(r"\s+git ", line)]
    return ": ".join([reason.partition(": ")[2] or reason, *mend[:1]])


own = partial(git, own=True)
