"""`ml update`: another answer or another version of the template, and nothing lost.

Copier renders the project twice in a temporary folder: as it was made, and as it would be made now.
git merges the difference into what people have, as it merges a branch; `copier update` applies what
people wrote as a patch, so that an edited file can vanish and a text can land where it looks alike.
The project changes last, by renames of files that lie ready in `.ml.update/`.
"""

import difflib
import importlib.util
import itertools
import os
import re
import shutil
import signal
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
from filelock import FileLock, Timeout

from ..engine import storage
from ..engine.errors import ProjectError
from ..engine.git import demand_committed
from ..engine.git import git as _git
from ..engine.git import own as _own
from ..engine.git import start as _start
from ..engine.git import variables as _settings

PLAN = "plan/plan.yaml"
# What the team owns from the first day: the same files as `_skip_if_exists` of the template.
TEAM = ("config.yaml", "contracts/dataset.odcs.yaml", "plan/overrides.yaml", "plan/progress.yaml")
STATE = ".ml.update"
# Data of a version: the places that its files had before, "*" for the package's name.
MOVED = "planner/moved.yaml"


class Update(msgspec.Struct, kw_only=True):
    """What an update does, or would do; pairs are before and after, None is "not there"."""

    version: tuple[str, str]
    answers: dict[str, tuple[Any, Any]] = {}
    decisions: dict[str, tuple[Any, Any, str]] = {}  # and the rule
    plan: list[str] = []  # blocks of PLAN.md that say something else
    reapprove: list[str] = []  # those of them that were approved
    added: list[str] = []
    changed: list[str] = []
    removed: list[str] = []
    moved: dict[str, str] = {}  # the package, and files that the template has moved
    kept: dict[str, str] = {}  # edited files that could not be merged, and where they are now
    conflicts: list[str] = []
    check: list[str] = []  # what `ml plan check` finds afterwards
    result: str = "nothing to do: the project is at this version, with these answers"


def run(root: Path, given: Sequence[str], to: str | None, dry_run: bool) -> Update:
    """Update the project at `root` with answers such as "n_rows=5000"; ProjectError if it cannot.

    Nothing in the project changes until all is ready, and from then on `undo` is the way back.
    """
    from ..engine.settings import load_yaml

    file, was, uncommitted = _ready(root, given, dry_run)
    update = Update(version=(was["_commit"], was["_commit"]))
    _reachable(root, file, was["_src_path"])
    commit = None if uncommitted else _git(root, "rev-parse", "HEAD")
    update.check += filter(None, [uncommitted])
    with _temporary() as folder:
        old, new, merged = (folder / name for name in ("old", "new", "merged"))
        for render in (old, new):
            render.mkdir()
            shutil.copy(file, render)
        if to is None:
            found = _copier(new, file, was, "check-update", "--output-format=json")
            if not msgspec.json.decode(found)["update_available"]:
                to = ":current:"  # it may be past the newest version that has a number
        if to == ":current:" and not given and not _earlier(root):
            return update
        if given:
            _forget(new / file.name, was, load_yaml(root / PLAN).get("origins") or {})
        chosen = [f"--data={item}" for item in given] + ([f"--vcs-ref={to}"] if to else [])
        options = ("recopy", "--defaults", "--overwrite")
        _copier(new, file, was, *options, *chosen)
        now = load_yaml(new / file.name)
        for name in (item.partition("=")[0] for item in given):
            if name not in now:  # Copier takes it silently
                near = difflib.get_close_matches(name, now, 1)
                near = near or [known for known in now if name in known.split("_")]
                mean = f": {near[0]}?" if near else " with these answers"
                raise ProjectError(f"--data {name}: no such question{mean}")
        _copier(old, file, was, *options, "--vcs-ref=:current:")
        shutil.copy(file, old)
        update.version, update.answers = (was["_commit"], now["_commit"]), _different(was, now)
        _compare(update, root, load_yaml(root / PLAN), load_yaml(new / PLAN))
        if _earlier(root):
            _carry(root, old, new)
        _merge(update, root, old, new, merged, commit)
        # Another version's build settings would be code of it.
        lock = not dry_run and update.version[0] == update.version[1]
        files = _files(update, root, merged, commit, lock=lock)
        if files:
            update.result = "a dry run: nothing has changed"
        if files and not dry_run:
            with suppress(FileNotFoundError):
                shutil.copytree(root / "src", folder / "src", symlinks=True)
            _apply(root, merged, files)
            if "task_type" in update.answers:
                update.check.append("not by the code of another task: run `ml plan check`")
            else:
                update.check += _check(root, folder / "src", was["package_name"], update.version)
            update.result = "done: `git status` shows it, `ml update --undo` takes it back"
    return update


def undo(root: Path) -> dict[str, str]:
    """Take back the last update; return what was edited since, and where that is now."""
    folder = root / STATE
    if not (folder / "state.json").exists():
        raise ProjectError("there is no update to take back")
    state: dict[str, Any] = storage.read_json(folder / "state.json")
    files: dict[str, list[str | None]] = state["files"]
    edited = [name for name, hashes in files.items() if _hash(root / name) not in hashes]
    if edited and _git(root, "rev-parse", "HEAD") != state["commit"]:
        raise ProjectError(f"{_some(edited)}: changed and committed since; use `git revert`")
    (folder / "done").unlink(missing_ok=True)
    kept = {name: _yours(name, root) for name in edited if os.path.lexists(root / name)}
    for name, place in kept.items():
        os.rename(root / name, root / place)
    _back(root, files)
    _git(root, "reset", "--quiet", "--", *files)
    return kept


def text(update: Update) -> str:
    """Return the report for people, in 80 columns where names allow it."""
    wrap = textwrap.TextWrapper(80, break_long_words=False, break_on_hyphens=False)
    wrap.subsequent_indent = " " * 11
    lines = []
    for title, found in msgspec.structs.asdict(update).items():
        items = found if title == "check" else [_shown(found)]
        if isinstance(found, dict):
            sign = " ->" if title in ("moved", "kept") else ":"
            items = [f"{name}{sign} {_shown(value)}" for name, value in found.items()]
        for number, item in enumerate(filter(None, items)):
            wrap.initial_indent = f"{'' if number else title:11}"
            lines += wrap.wrap(item)
    return "\n".join(lines)


def _ready(root: Path, given: Sequence[str], dry_run: bool) -> tuple[Path, dict[str, Any], str]:
    """Return the file with the answers and the answers, of a project that an update can change.

    A dry run may go on with files that are not committed: the text says which.
    """
    from ..engine.settings import load_yaml

    if wrong := [item for item in given if not re.match(r"\w+=", item)]:
        raise ProjectError(f"--data {wrong[0]}: give NAME=VALUE, such as n_rows=5000")
    if (root / ".cruft.json").exists():
        raise ProjectError("cruft keeps this project: run `cruft update`, or remove .cruft.json")
    planned = load_yaml(root / PLAN).get("answers") or {}
    found = {path: load_yaml(path) for path in sorted(root.glob(".copier-answers*.yml"))}
    needed = {"_commit", "_src_path", *planned}  # another template may have a file of its own
    file, was = next(((p, a) for p, a in found.items() if needed <= set(a)), (root, {}))
    if not was:
        raise ProjectError(".copier-answers.yml is missing or damaged: restore it with git")
    demand_committed(root, file.name)
    if (root / STATE / "state.json").exists() and not (root / STATE / "done").exists():
        raise ProjectError("an update was interrupted: run `ml update --undo` first")
    status = _git(root, "status", "--porcelain", "-z", "--no-renames", "-uall", "--", ".")
    dirty = {line[3:]: line[:2] for line in status.split("\0") if line}
    marks = _git(root, "grep", "-lE", "^<<<<<<< (HEAD|before updating)$", codes=(0, 1))
    unsolved = {n for n, code in dirty.items() if re.match("U|.U|AA|DD", code) or n[-4:] == ".rej"}
    if unsolved := unsolved.union(marks.splitlines()):
        raise ProjectError(f"{_some(unsolved)}: a conflict is left: solve it and commit first")
    uncommitted = f"{_some(dirty)}: not committed: `git add . && git commit` first" if dirty else ""
    if uncommitted and not dry_run:
        raise ProjectError(uncommitted)
    if edited := _different(planned, was):
        mend = f"restore it with git, then `ml update --data {next(iter(edited))}=VALUE`"
        raise ProjectError(f"{_some(edited)} was edited in {file.name} or {PLAN}: {mend}")
    return file, was, uncommitted


def _forget(file: Path, was: Mapping[str, Any], origins: Mapping[str, str]) -> None:
    """Take figures that nobody gave out of the answers: they follow those that they come from."""
    import yaml

    kept = {name: value for name, value in was.items() if origins.get(name, "given") == "given"}
    storage.write_text(file, yaml.safe_dump(kept, allow_unicode=True, sort_keys=False))


def _reachable(root: Path, file: Path, address: str) -> None:
    """Refuse a local template without versions: Copier would take it as it lies there, or ours."""
    if re.match(r"[\w+.-]+:|[^/]+@", address) or address.endswith(".git"):
        return
    place = root / Path(address).expanduser()
    known = (place / "copier.yml").is_file() and not place.samefile(root)
    if not (known or Path(address).expanduser().is_absolute()):
        raise ProjectError(
            f"the template's address {address} tells not where it is: write its whole path into "
            f"{file.name}, as _src_path, and commit"
        )
    if not known:
        return  # Copier says why
    try:
        top = Path(_git(place, "rev-parse", "--show-toplevel"))
        reason = "" if top.samefile(place) else f"a folder of the repository {top}"
    except ProjectError as error:
        reason = str(error).removeprefix("git rev-parse: ")
    if reason:
        raise ProjectError(f"the template at {address} is out of reach: {reason}")


def _copier(folder: Path, file: Path, was: Mapping[str, Any], *arguments: str) -> str:
    """Run Copier on a folder and return what it prints; its refusal or traceback is one line."""
    command = [sys.executable, "-P", "-m", "copier"]  # -P: no module of the working folder
    if not importlib.util.find_spec("copier"):
        command = [name for name in ("copier", "uvx") if shutil.which(name)][:1]
        command += ["copier>=9.19.1,<10"] * (command == ["uvx"])
    if not command:
        raise ProjectError("an update needs Copier: install uv, or copier>=9.19.1")
    command += [*arguments, f"--answers-file={file.name}", str(folder)]
    settings = folder.with_name("copier.yml")  # a user's defaults are no answers of this project
    storage.write_text(settings, "{}\n")
    environment = {"COPIER_SETTINGS_PATH": str(settings), "TMPDIR": str(folder.parent)}
    code, output, errors = _start(command, file.parent, {**environment, **_settings()})
    if code == 0:
        return output
    lines = errors.strip().splitlines() or ["Copier gave no reason"]
    fatal = next((line for line in lines if "fatal: " in line), "")
    mend = [f": `{found}`" for found in re.findall(r"(?m)[ |\t](git config .*\S)\s*$", errors)]
    reason = re.sub(r"^.*fatal: |^[\w.]+(Error|Exception): ", "", fatal or lines[-1]).rstrip(".")
    reason = re.sub(r"^.* has no attribute (['\"])(.*)\1$", r"\2", reason)  # our own words
    if fatal or "Local template must be" in reason or "git-tracked" in reason:
        raise ProjectError(
            f"the template at {was['_src_path']} is out of reach: {reason}{''.join(mend[:1])}"
        )
    if reason.startswith("Unknown revision"):
        if was["_commit"] in reason:  # the template was dirty, or its history was rewritten
            reason += f"; write the nearest one that it has into {file.name}, as _commit"
        raise ProjectError(f"the template at {was['_src_path']} has no such version: {reason}")
    given = " ".join(item for item in arguments if item.startswith("--data="))
    reason = "not valid YAML" if "yaml." in errors else reason
    raise ProjectError(f"{reason} ({given})" if given else reason)


def _different(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the names whose value differs, with both values; not those of Copier itself."""
    names = [name for name in {**old, **new} if not name.startswith("_")]
    return {n: (old.get(n), new.get(n)) for n in names if old.get(n) != new.get(n)}


def _compare(update: Update, root: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Note what the plan will say, and which approvals that makes stale."""
    from .blocks import meaning_hash, read, survey

    rules = {f"{i} {d['output']}": d["rule"] for i, d in new["decisions"].items()}
    old_values, values = (
        {f"{i} {d['output']}": d["value"] for i, d in plan["decisions"].items()}
        for plan in (old, new)
    )
    words = {f"{i} {d['output']}": d.get("words", {}) for i, d in new["decisions"].items()}
    for name, pair in _different(old_values, values).items():
        told = (_said(value, words.get(name, {})) for value in pair)
        update.decisions[name] = (*told, rules.get(name, ""))
    was, now = ({i: block["lines"] for i, block in plan["blocks"].items()} for plan in (old, new))
    update.plan = [*_different(was, now)]
    parts = survey(read(root / "PLAN.md"))[0] if (root / "PLAN.md").exists() else {}
    for (_, name), part in parts.items():
        signed = part.attributes.get("of") if part.attributes.get("status") == "approved" else None
        signed = (signed or "").partition(".")[0]
        if name in update.plan and signed == meaning_hash(was.get(name, [])):
            update.reapprove.append(name)


def _said(value: Any, words: Mapping[str, str]) -> Any:
    """Return what was decided in the words of the new plan."""
    return [words.get(v, v) for v in value] if isinstance(value, list) else words.get(value, value)


def _earlier(root: Path) -> bool:
    """Say whether PLAN.md still has the form that no render has any more."""
    from . import blocks, carry

    return (root / "PLAN.md").exists() and carry.earlier(blocks.read(root / "PLAN.md"))


def _carry(root: Path, old: Path, new: Path) -> None:
    """Let the new PLAN.md hold what people wrote in ours: there is nothing to merge then."""
    from ..engine.settings import load_yaml
    from . import blocks, carry

    ours, before, after = (blocks.read(folder / "PLAN.md") for folder in (root, old, new))
    if not carry.earlier(after):
        text = carry.carry(ours, after, load_yaml(root / PLAN), before)
        (old / "PLAN.md").write_bytes(ours.encode("utf-8"))
        (new / "PLAN.md").write_bytes(text.encode("utf-8"))


def _merge(
    update: Update, root: Path, old: Path, new: Path, merged: Path, commit: str | None = "HEAD"
) -> None:
    """Make `merged`: the project at a commit, with what differs between two renders merged in.

    Without a commit the project is what its files say now; `refs/project` is what it was.
    """
    for name in TEAM:
        for render in (old, new):
            (render / name).parent.mkdir(parents=True, exist_ok=True)
            if (root / name).exists():
                shutil.copy(root / name, render / name)
        if not (root / name).exists():
            (old / name).unlink(missing_ok=True)
    before, after = (f"src/{name}" for name in update.answers.get("package_name", ("", "")))
    if before != after:
        (old / before).rename(old / after)
    moved = _moved(old, new)
    for was, now in moved.items():
        (old / now).parent.mkdir(parents=True, exist_ok=True)
        (old / was).rename(old / now)
    _repository(root, merged)
    head = _git(root, "rev-parse", f"{commit}:./") if commit else _as_it_is(root, merged)
    _own(merged, "update-ref", "refs/project", head)
    _own(merged, "read-tree", "--reset", "-u", head)
    update.check += _like_ours(merged, old, new, (after, before), moved)
    base = _commit(merged, _tree(merged, old))
    theirs = _commit(merged, _tree(merged, new), base)
    _own(merged, "read-tree", "--reset", "-u", head)
    if before != after and (merged / before).exists() and not (merged / after).exists():
        _own(merged, "mv", before, after)
        update.moved[before] = after
    for was, now in moved.items():
        if (merged / was).exists() and not os.path.lexists(merged / now):
            (merged / now).parent.mkdir(parents=True, exist_ok=True)
            _own(merged, "mv", was, now)
            update.moved[was] = now
    ours = _commit(merged, _own(merged, "write-tree"), base)
    _own(merged, "update-ref", "--no-deref", "HEAD", ours)
    options = ("--quiet", "--no-commit", "--no-ff", "-Xfind-renames=100%")
    _own(merged, "update-ref", "refs/heads/template", theirs)
    _own(merged, "-c", "merge.directoryRenames=false", "merge", *options, "template", codes=(0, 1))
    _settle(update, root, merged)


def _settle(update: Update, root: Path, merged: Path) -> None:
    """Note what git could not merge: marked conflicts, files kept beside, files that stay away."""
    unmerged: dict[str, set[str]] = {}
    for line in _own(merged, "ls-files", "--unmerged", "-z").split("\0")[:-1]:
        entry, name = line.split("\t", 1)
        unmerged.setdefault(name, set()).add(entry[-1])
    for name, stages in unmerged.items():  # 1: both had it, 2: the project, 3: the template
        path = merged / name
        if {"2", "3"} <= stages and b"\n>>>>>>> template" in path.read_bytes():
            update.conflicts.append(name)
        elif "2" in stages and len(stages) > 1:
            update.kept[name] = _yours(name, root, merged)
            path.rename(merged / update.kept[name])
            if "3" in stages:
                _own(merged, "checkout", "--theirs", "--", name)
        elif "1" in stages:  # people deleted it, so it stays deleted
            path.unlink(missing_ok=True)


def _files(
    update: Update, root: Path, merged: Path, commit: str | None = "HEAD", *, lock: bool
) -> dict[str, str | None]:
    """Note the files that the merge changes; return their names with the hashes of ours."""
    old, new = (folder / "pyproject.toml" for folder in (root, merged))
    if (merged / "uv.lock").exists() and old.read_bytes() != new.read_bytes():
        command = [shutil.which("uv") or "uv", "lock", "--quiet"]
        try:
            stale = not lock or _start(command, merged)[0] != 0
        except (OSError, ProjectError):
            stale = True
        update.check += ["uv.lock is as before: run `uv lock`"] * stale
    _own(merged, "add", "--all", "--force", ".")
    trees = ("refs/project", _own(merged, "write-tree"))
    fields = _own(merged, "diff-tree", "-r", "-z", "--no-renames", "--name-status", *trees)
    found = iter(fields.split("\0")[:-1])
    files = {name: status for status, name in zip(found, found, strict=True)}
    moved = tuple(place for pair in update.moved.items() for place in pair)
    within = tuple(f"{place}/" for place in moved)
    lists = {"A": update.added, "M": update.changed, "T": update.changed, "D": update.removed}
    for name, status in files.items():
        if status == "A" and os.path.lexists(root / name):
            raise ProjectError(f"{name} is in the way, and not in git: move it, then again")
        if name not in update.kept.values() and not (name in moved or name.startswith(within)):
            lists[status].append(name)
    hashes = {name: _hash(root / name) for name in files}  # before git looks at the same files
    if commit:
        _unchanged(root, commit, [name for name, status in files.items() if status != "A"])
    return hashes


def _unchanged(root: Path, commit: str, names: Sequence[str]) -> None:
    """Refuse files that are not as the commit has them: git status may be told not to look."""
    listed = _git(root, "ls-tree", "-r", "-z", commit, "--", *names) if names else ""
    entries = (entry.split("\t", 1) for entry in listed.split("\0")[:-1])
    blobs = {name: fields.split()[2] for fields, name in entries}
    prefix = _git(root, "rev-parse", "--show-prefix")  # what git reads there is named from the top
    other = []
    for name in names:
        if (root / name).is_symlink():
            content = os.fsencode((root / name).readlink())
            hashed = _git(root, "hash-object", "--stdin", text=content)
            other += [name] * (hashed != blobs[name])
    files = [name for name in names if (root / name).is_file() and name not in other]
    files = [name for name in files if not (root / name).is_symlink()]
    for options in (["--no-filters"], []):  # as it was added once, or as git would add it now
        paths = os.fsencode("\n".join(prefix + name for name in files))
        hashes = _git(root, "hash-object", *options, "--stdin-paths", text=paths) if files else ""
        files = [n for n, h in zip(files, hashes.split(), strict=True) if h != blobs[n]]
    other += files + [name for name in names if not os.path.lexists(root / name)]
    if other:
        mend = f"`git update-index --no-skip-worktree --no-assume-unchanged {other[0]}`"
        reason = f"not as git has it: saved just now, or git was told not to look ({mend})"
        raise ProjectError(f"{_some(other)}: {reason}; commit it, then again")


def _apply(root: Path, merged: Path, seen: Mapping[str, str | None]) -> None:
    """Put merged files in place; what they replace stays in `.ml.update/` for `undo`.

    `seen` has the hash of each file that was merged. One that changes meanwhile stays as it is
    then, and everything else goes back.
    """
    folder = root / STATE
    if folder.is_symlink():
        raise ProjectError(f"{STATE} is a link: remove it")
    shutil.rmtree(folder, ignore_errors=True)
    files = {name: (before, _hash(merged / name)) for name, before in seen.items()}
    try:
        storage.write_text(folder / ".gitignore", "*\n")
        for name in files:
            for source, target in ((root, folder / "before"), (merged, folder / "after")):
                if os.path.lexists(source / name):
                    (target / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(source / name, target / name, follow_symlinks=False)
            _keep_mode(root / name, folder / "after" / name)
        # A later version of this module reads it: add fields, change none.
        state = {"commit": _git(root, "rev-parse", "HEAD"), "files": files}
        storage.write_json(folder / "state.json", state)
        _place(root, folder / "after", {name: after for name, (_, after) in files.items()}, seen)
        (folder / "done").touch()
    except BaseException as error:
        if (folder / "state.json").exists():
            _back(root, {n: known for n, known in files.items() if _hash(root / n) in known})
        else:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            place = error.filename or root
            raise ProjectError(f"{place}: {error.strerror}: nothing was updated") from None
        raise


def _keep_mode(ours: Path, new: Path) -> None:
    """Give a new version of a file the permissions of ours, but for a right to run it."""
    if any(path.is_symlink() or not path.exists() for path in (ours, new)):
        return
    mode = ours.stat().st_mode & 0o777
    run = (mode & 0o444) >> 2 if new.stat().st_mode & 0o100 else 0
    new.chmod(mode & ~0o111 | run)


def _back(root: Path, files: Mapping[str, Sequence[str | None]]) -> None:
    """Put back what `_apply` replaced, and forget the update."""
    before = {name: known for name, (known, _) in files.items()}
    _place(root, root / STATE / "before", before)
    shutil.rmtree(root / STATE)


def _place(
    root: Path,
    source: Path,
    wanted: Mapping[str, str | None],
    seen: Mapping[str, str | None] | None = None,
) -> None:
    """Rename files into place unless they are there already; remove those that are None.

    With `seen`, each is looked at right before: text that somebody has just saved is not replaced.
    """

    def look(name: str) -> None:
        there = _hash(root / name) if os.path.lexists(root / name) else None
        if seen is not None and (there != seen[name] or (root / name).is_dir()):
            raise ProjectError(f"{name} was changed during the update: all is as before; try again")

    for name in (name for name, known in wanted.items() if known is None):
        look(name)
        (root / name).unlink(missing_ok=True)
        with suppress(OSError):  # the folder is not empty
            os.removedirs((root / name).parent)
    for name, known in wanted.items():
        if known is not None and os.path.lexists(source / name):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            look(name)
            os.replace(source / name, root / name)


def _check(root: Path, source: Path, package: str, version: tuple[str, str]) -> list[str]:
    """Return the errors of `ml plan check`, by the code of before: none of the new runs."""
    command = [sys.executable, "-P", "-m", package, "plan", "check"]
    code, output, errors = _start(command, root, {"PYTHONPATH": str(source)})
    found = [line[7:] for line in output.splitlines() if line.startswith("error: ")]
    if version[0] != version[1]:
        words = f"by the code of {version[0]}: run `ml plan check` when you trust {version[1]}"
        return [*found, words if code in (0, 1) else words.replace("by", "not", 1)]
    last = errors.strip().rpartition("\n")[2]
    if code and not found and last.startswith(("ImportError: ", "ModuleNotFoundError: ")):
        return ["not by the code of before, which knows other files: run `ml plan check`"]
    return found or [last or "no error"]


@contextmanager
def _temporary() -> Iterator[Path]:
    """Give a temporary folder that SIGTERM removes too, and remove what killed updates left."""
    for left in Path(tempfile.gettempdir()).glob("ml-update-*"):
        with suppress(OSError, Timeout):
            if not left.is_symlink() and os.access(left, os.W_OK):
                with FileLock(left / "lock", timeout=0):
                    shutil.rmtree(left)
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)) if main else None
    try:
        made = tempfile.TemporaryDirectory(prefix="ml-update-", ignore_cleanup_errors=True)
        with made as name, FileLock(Path(name, "lock")):
            yield Path(name)
    except OSError as error:
        raise ProjectError(
            f"{error.filename or tempfile.gettempdir()}: {error.strerror or error}"
        ) from None
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


def _repository(root: Path, merged: Path) -> None:
    """Make a repository of our own that has the objects of the project's, and converts nothing."""
    kind = _git(root, "rev-parse", "--show-object-format")
    objects = (root / _git(root, "rev-parse", "--git-path", "objects")).resolve()
    merged.mkdir()
    _own(merged, "init", "--quiet", "--template=", f"--object-format={kind}", ".")
    info = merged / ".git" / "info"
    info.mkdir()
    # What git LFS and other filters made of a file is merged as it is stored.
    raw = "* -text -filter -ident -working-tree-encoding !merge\n"
    storage.write_text(info / "attributes", raw)
    storage.write_text(merged / ".git/objects/info/alternates", f"{objects}\n")


def _as_it_is(root: Path, merged: Path) -> str:
    """Return the tree that `git add .` would make of a project, known to `merged` only."""
    index, prefix = merged / ".git" / "as-it-is", _git(root, "rev-parse", "--show-prefix")
    shutil.copy(root / _git(root, "rev-parse", "--git-path", "index"), index)
    more = {"GIT_INDEX_FILE": str(index), "GIT_OBJECT_DIRECTORY": str(merged / ".git" / "objects")}
    _git(root, "add", "--all", ".", more=more)
    return _git(root, "write-tree", *[f"--prefix={prefix}"] * bool(prefix), more=more)


def _moved(old: Path, new: Path) -> dict[str, str]:
    """Return where files of the old render are in the new one, as both versions tell."""
    from ..engine.settings import load_yaml

    found: dict[str, str] = {}
    for render, other in ((new, old), (old, new)):  # an update may go back
        path = next(render.glob(f"src/*/{MOVED}"), None)
        if path is None:
            continue
        package = path.relative_to(render).parents[1].as_posix()
        for pair in load_yaml(path).items():
            was, now = (place.replace("src/*", package) for place in pair)
            both = not {"..", "/"} & {*Path(was).parts, *Path(now).parts}
            there = [
                (folder / place).is_file() for folder in (other, render) for place in (was, now)
            ]
            if both and there == [True, False, False, True]:
                found |= {was: now} if render == new else {now: was}
    return found


def _like_ours(
    merged: Path, old: Path, new: Path, package: tuple[str, str], moved: Mapping[str, str]
) -> list[str]:
    """Give two renders the links and line ends of our files; return what has no place with us."""
    lost = []
    links = [path for path in _walk(merged) if path.is_symlink()]
    for link in sorted(links, key=lambda link: not link.is_dir()):  # a folder, then its files
        name = link.relative_to(merged)
        target = Path(os.path.normpath(name.parent / link.readlink()))
        renders = [render for render in (old, new) if os.path.lexists(render / name)]
        inside = not target.is_absolute() and not {".git", ".."} & set(target.parts)
        inside = inside and (merged / target).exists()
        inside = inside and not any(os.path.lexists(render / target) for render in renders)
        for render in renders:
            if inside:
                (render / target).parent.mkdir(parents=True, exist_ok=True)
                (render / name).rename(render / target)
            elif (render / name).is_dir():
                shutil.rmtree(render / name)
            else:
                (render / name).unlink()
        if renders and not inside:
            lost.append(f"{name} is a link: what the template has there is not taken over")
    was = {now: was for was, now in moved.items()}
    for render in (old, new):
        for path in [path for path in _walk(render) if path.is_file() and not path.is_symlink()]:
            place = path.relative_to(render).as_posix()
            if not (merged / place).exists():
                place = was.get(place, place)
            if place.startswith(f"{package[0]}/") and not (merged / place).exists():
                place = package[1] + place.removeprefix(package[0])
            ours = merged / place
            if not ours.is_file():
                continue
            content, end = ours.read_bytes(), path.read_bytes()
            if b"\0" not in content + end:
                crlf = content.count(b"\r\n") * 2 > content.count(b"\n")
                end = end.replace(b"\r\n", b"\n")
                path.write_bytes(end.replace(b"\n", b"\r\n") if crlf else end)
    return lost


def _walk(folder: Path) -> Iterator[Path]:
    """Yield files and links, of git's own none."""
    for path in sorted(folder.iterdir()):
        if path.name == ".git":
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        else:
            yield path


def _tree(repository: Path, folder: Path) -> str:
    where = (f"--git-dir={repository / '.git'}", "--work-tree=.")
    _own(folder, *where, "add", "--all", "--force", ".")
    return _own(folder, *where, "write-tree")


def _commit(repository: Path, tree: str, *parents: str) -> str:
    return _own(repository, "commit-tree", "-m", "x", *(f"-p{parent}" for parent in parents), tree)


def _hash(path: Path) -> str | None:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    return storage.sha256(path) if path.is_file() else None


def _yours(name: str, *folders: Path) -> str:
    """Return a free name beside a file."""
    names = (f"{name}.yours{number or ''}" for number in itertools.count())
    return next(name for name in names if not any(os.path.lexists(f / name) for f in folders))


def _some(found: Iterable[str]) -> str:
    names = sorted(found)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        old, new, *rule = value
        if old is None and rule:
            return f"{_shown(new)} (new, {rule[0]})"
        change = _shown(new) if old == new else f"{_shown(old)} -> {_shown(new)}"
        return f"{change} ({rule[0]})" if rule else change
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)
