"""Render the template quickly and in this process, with Copier's own public functions."""

import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import ChainMap
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import copier._main
import copier._template
import jinja2
import yaml
from copier import run_copy
from copier._main import Worker

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("copier.yml", "questions/", "template/", "hooks/", "cookiecutter.json", "{{")

_compiled: dict[tuple[Any, ...], Any] = {}
_compile = jinja2.Environment.compile
_render_template = Worker._render_template


def _compile_once(
    self: jinja2.Environment, source: Any, name: str | None = None, *rest: Any, **options: Any
) -> Any:
    """Compile a template text only once in a test run: most of a render's time is that."""
    if rest[1:] or options.get("raw") or not isinstance(source, str):
        return _compile(self, source, name, *rest, **options)
    key = (source, name, self.undefined, self.trim_blocks, self.line_statement_prefix)
    if key in _compiled:
        self.preprocess(source, name)  # Copier's yield extension resets its state there
    else:
        _compiled[key] = _compile(self, source, name, *rest, **options)
    return _compiled[key]


@cache
def _load_once(load: Callable[..., Any], *path: Any) -> Any:
    """Read copier.yml and its questions once for each template folder."""
    return load(*path)


def _render_in_one_context(self: Worker) -> None:
    """Collect the answers once for all files: Copier does it for each part of each path."""
    once = self._render_context()
    conf = once["_copier_conf"]  # which Copier may write to
    vars(self)["_render_context"] = lambda: {**once, "_copier_conf": ChainMap({}, conf)}
    try:
        _render_template(self)
    finally:
        del vars(self)["_render_context"]


@contextmanager
def fast_copier() -> Iterator[None]:
    """Reuse questions, compiled templates and answers; leave out one git call for each file."""
    there, load = copier._main.is_git_available, copier._template.load_template_config
    jinja2.Environment.compile = _compile_once  # type: ignore[method-assign]
    Worker._render_template = _render_in_one_context  # type: ignore[method-assign]
    copier._main.is_git_available = lambda: False
    copier._template.load_template_config = lambda *path: deepcopy(_load_once(load, *path))
    try:
        yield
    finally:
        jinja2.Environment.compile = _compile  # type: ignore[method-assign]
        Worker._render_template = _render_template  # type: ignore[method-assign]
        copier._main.is_git_available = there
        copier._template.load_template_config = load


DOCUMENTS = ("PLAN.md.jinja", "README.md.jinja", "config.yaml.jinja", "plan", "docs", "contracts")


def copy_template(folder: Path, *, only: Collection[str] = ()) -> Path:
    """Copy what git has, or would have after `git add --all`, into `folder`.

    With `only`, projects get these files and folders alone, and are made fast.
    """
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in listed.split("\0"):
        if name.startswith(PARTS) and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for path in (folder / "template").iterdir() if only else ():
        if path.name not in only and "answers_file" not in path.name:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


def check_answers_anew(folder: Path) -> None:
    """Let a changed template look at answers by its own questions, as its author would."""
    tool = folder / "tools" / "gen_given.py"
    tool.parent.mkdir()
    shutil.copy2(ROOT / "tools" / "gen_given.py", tool)
    subprocess.run([sys.executable, str(tool)], check=True)
    shutil.rmtree(tool.parent)


@cache
def plain_template() -> Path:
    """Return a copy of the template that lasts as long as the test run."""
    folder = tempfile.TemporaryDirectory(prefix="template-")
    _keep.append(folder)
    return copy_template(Path(folder.name, "ml-model-planner"))


_keep: list[tempfile.TemporaryDirectory[str]] = []


def render(
    folder: Path, /, source: Path | None = None, commit: str | None = None, **answers: Any
) -> Path:
    """Render a project with these answers, defaults for the rest, and return its folder."""
    template = str(source or plain_template())
    with fast_copier(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_copy(template, folder, vcs_ref=commit, data=answers, defaults=True, quiet=True)
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """Return the content of every file by its path, and an empty folder as a path with a /."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file():
            found[name] = path.read_bytes()
        elif not any(path.iterdir()):
            found[f"{name}/"] = b""
    return found


def different(one: dict[str, bytes], two: dict[str, bytes]) -> list[str]:
    """Return the names of files that two trees do not share."""
    return sorted(name for name in one | two if one.get(name) != two.get(name))


def recorded(folder: Path) -> dict[str, Any]:
    """Return the answers that a project remembers."""
    answers = yaml.safe_load((folder / ".copier-answers.yml").read_text(encoding="utf-8"))
    return {name: value for name, value in answers.items() if not name.startswith("_")}


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder as a test user and return what it prints."""
    user = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    options = ["-c", "commit.gpgsign=false", "-c", "init.defaultBranch=main", *user]
    command = ["git", *options, *arguments]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def publish(folder: Path, tag: str | None = None) -> None:
    """Commit all of a folder, as a repository, with an optional tag."""
    if not (folder / ".git").exists():
        git(folder, "init", "-q")
    # Without what git remembers of files: a copy keeps their times, and git then takes another text
    # of the same length from the same second for the one it has.
    (folder / ".git" / "index").unlink(missing_ok=True)
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "-q", "-m", tag or "all", "--allow-empty")
    if tag:
        git(folder, "tag", tag)


def command(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a tool of this environment, such as copier or cruft, as a user would."""
    tool = str(Path(sys.executable).with_name(arguments[0]))
    return subprocess.run(
        [tool, *arguments[1:]], cwd=cwd, check=False, capture_output=True, text=True, timeout=300
    )
