"""Hundreds of `copier update` in one: projects side by side in one repository, renders given.

`git apply` and `git merge-file` look at one file at a time, so a project in a sub-folder is updated
like one of its own, and many cases share the fifty processes that one update starts. What runs is
Copier's own `_apply_update`; only its three renders are replaced by trees that were made before.
"""

import os
import re
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from copier import run_update
from copier._main import LazyDict, Worker, as_operation
from plumbum import local

from . import package  # noqa: F401  makes `package_name` importable
from .rendering import ROOT, different, fast_copier, git, tree

from package_name.planner.blocks import PlanError, parse, rewrite  # isort: skip
from package_name.planner.update import Update, _apply, _files, _merge  # isort: skip

Tree = dict[str, bytes]
SETTINGS = next(yaml.safe_load_all((ROOT / "copier.yml").read_text().split("\n---\n")[0]))
TEAM = {path[1:] for path in SETTINGS["_skip_if_exists"] if path[0] == "/"}


@dataclass
class Case:
    """A project as rendered, as people left it, and as the template would render it now."""

    old: Tree
    new: Tree
    mine: Tree  # in git
    ignored: Tree = field(default_factory=dict)  # on disk, and ignored by git
    result: Tree = field(default_factory=dict)  # after the update
    unmerged: set[str] = field(default_factory=set)

    @property
    def moving(self) -> set[str]:
        """The files that somebody changed, and those which tell git what to do with others."""
        trees = (self.old, self.new, self.mine)
        names = {name for name in set().union(*trees) if len({t.get(name) for t in trees}) > 1}
        return {*names, ".gitignore", ".gitattributes"}

    @property
    def unprotected(self) -> set[str]:
        """The files of people that Copier takes away without a word: what `ml update` keeps."""
        edited = {n for n, text in self.mine.items() if n in self.old and text != self.old[n]}
        dropped = (edited | set(self.ignored) & set(self.old)) - set(self.new)
        binary = {name for name in edited - TEAM if b"\0" in self.mine[name][:8000]}
        overwritten = set(self.ignored) & set(self.new) - TEAM
        return dropped | binary | overwritten


def update(cases: Sequence[Case], **config: str) -> None:
    """Update all cases at once, for a user with these settings of git, and note what comes out."""
    with tempfile.TemporaryDirectory(prefix="laboratory-") as folder, settings_of_git(config):
        top = Path(folder)
        rows = [(str(number), case, case.moving) for number, case in enumerate(cases)]
        for name, case, moving in rows:
            write(top / name, case.mine, moving)
            write(top / name, case.ignored, set(case.ignored))
        git(top, "init", "-q")
        git(top, "add", "--all")
        git(top, "commit", "-q", "-m", "mine")

        class Prepared(Worker):
            """Copier with renders that were made before."""

            template = SimpleNamespace(exclude=(), migration_tasks=lambda *_: [])
            subproject = SimpleNamespace(
                local_abspath=top, last_answers={}, template=SimpleNamespace(url="", commit="")
            )
            answers_relpath = Path(".copier-answers.yml")
            resolved_vcs_ref = None
            match_skip = staticmethod(lambda path: path.as_posix().partition("/")[2] in TEAM)

            def _external_data(self) -> LazyDict[str, Any]:
                return LazyDict()

            def run_copy(self) -> None:
                kind = "old" if ".old_copy." in str(self.dst_path) else "new"
                for name, case, moving in rows:
                    here = self.dst_path / name
                    kept = {team for team in TEAM if (here / team).exists()}
                    write(here, getattr(case, kind), moving - kept)

        worker = Prepared(dst_path=top, overwrite=True, quiet=True)
        as_operation("update")(worker._apply_update)()
        conflicts = unmerged(top)
        for name, case, moving in rows:
            still = {n: text for n, text in case.mine.items() if n not in moving}
            case.result = tree(top / name) | still
            case.unmerged = {n.partition("/")[2] for n in conflicts if n.startswith(f"{name}/")}


def merge(case: Case, folder: Path) -> Update:
    """Do with one case what `ml update` does between its renders and its report."""
    root, old, new = (folder / name for name in ("project", "old", "new"))
    names = case.moving
    write(old, case.old, names)
    write(new, case.new, names)
    write(root, case.mine, names)
    write(root, case.ignored, set(case.ignored))
    git(root, "init", "-q")
    git(root, "add", "--all")
    git(root, "commit", "-q", "-m", "mine")
    done = Update(version=("", ""))
    if package_of(case.old) != package_of(case.new):
        done.answers["package_name"] = (package_of(case.old), package_of(case.new))
    _merge(done, root, old, new, folder / "merged")
    _apply(root, folder / "merged", _files(done, root, folder / "merged", lock=False))
    shutil.rmtree(root / ".git")
    shutil.rmtree(root / ".ml.update")
    case.result = tree(root) | {n: t for n, t in case.mine.items() if n not in names}
    case.unmerged = set(done.conflicts)
    return done


def package_of(files: Tree) -> str:
    """Return the name of a project's package."""
    (path,) = (name for name in files if re.fullmatch(r"src/[^/]+/cli\.py", name))
    return path.split("/")[1]


def update_project(folder: Path, version: str | None = None, **answers: Any) -> set[str]:
    """Update one project, with all of Copier and nothing prepared; return what conflicts."""
    with fast_copier(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options: dict[str, Any] = {"defaults": True, "overwrite": True, "quiet": True}
        run_update(folder, data=answers, vcs_ref=version, **options)
    return unmerged(folder)


def unmerged(folder: Path) -> set[str]:
    """Return the files that are in conflict, as git knows them."""
    return {line.split("\t")[1] for line in git(folder, "ls-files", "-u").splitlines()}


def write(folder: Path, files: Tree, names: set[str]) -> None:
    """Write those of the files that have one of the names."""
    for name in names & set(files):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[name])


@contextmanager
def settings_of_git(config: dict[str, str]) -> Iterator[None]:
    """Let git see settings of a user, and keep temporary files in memory where there is room."""
    given = {"GIT_CONFIG_COUNT": str(len(config))}
    for number, (key, value) in enumerate(config.items()):
        given |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    before, folder = dict(os.environ), tempfile.tempdir
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > 2**28:
        tempfile.tempdir = str(memory)
    os.environ.update(given)
    try:
        with local.env(**given):
            yield
    finally:
        tempfile.tempdir = folder
        os.environ.clear()
        os.environ.update(before)


# ---------------------------------------------------------------- what people do


OWN = [
    "notes.md",
    "docs/board.md",
    "src/own.py",
    "deploy/crontab",
    "docs/datasheet.md",
    "tests/code/test_own.py",
    "plan/own.yaml",
]


@dataclass
class People:
    """A project in the hands of people, who leave words in it."""

    files: Tree
    likely: list[str]  # files that the update will change
    ignored: Tree = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)  # each word, and the file that it is in
    removed: set[str] = field(default_factory=set)
    count: int = 0

    def word(self, name: str) -> str:
        self.count += 1
        word = f"w{self.count:03}w"
        self.words[word] = name
        return word

    def some_file(self, a: int) -> str:
        names = [n for n in (self.likely if a % 3 else sorted(self.files)) if n in self.files]
        texts = [n for n in names if b"\0" not in self.files[n] and n != ".copier-answers.yml"]
        names = texts or [".gitignore" if ".gitignore" in self.files else "PLAN.md"]
        return names[a // 3 % len(names)]

    def some_other_file(self, a: int) -> str:
        name = self.some_file(a)
        return "" if name in (".gitignore", "PLAN.md", *TEAM) else name

    # Each deed takes two random numbers.

    def write_plan(self, a: int, b: int) -> None:
        """Answer the question of a block, in one of several ways, and approve it or not."""
        text = self.files["PLAN.md"].decode()
        try:
            parts = [part for part in parse(text).values() if part.kind == "human"]
        except PlanError:  # somebody broke a mark before
            return
        part = parts[a % len(parts)]
        word = self.word("PLAN.md")
        lines = [f"{word}."]
        if b % 4 == 1:
            lines = [f"{word} begins.", "", "- first reason", "- second reason", "", "We agreed."]
        elif b % 4 == 2:
            lines = [*part.lines, "", f"{word} below the question."]
        elif b % 4 == 3:
            lines = ["We agreed:", f"{word}", *part.lines]
        if b % 3 == 0:
            owner = self.word("PLAN.md")
            part.attributes |= {"status": "approved", "owner": f"Ana {owner}", "due": "2027-01-31"}
            part.attributes |= {"by": "@eva", "on": "2026-11-30", "of": "0a1b2c"}
        self.files["PLAN.md"] = rewrite(text, part, lines).encode()

    def measure(self, a: int, b: int) -> None:
        """Run the project: every measured part is filled."""
        text = self.files["PLAN.md"].decode()
        try:
            for kind, identifier in parse(text):
                if kind == "measured":
                    lines = [f"Measured of {identifier}: 0.{b}.", f"<!-- run {identifier} -->"]
                    text = rewrite(text, parse(text)[kind, identifier], lines)
        except PlanError:
            return
        self.files["PLAN.md"] = text.encode()

    def write_notes(self, a: int, b: int) -> None:
        word = self.word("PLAN.md")
        self.files["PLAN.md"] += f"\n{word}\n".encode()

    def write_line(self, a: int, b: int, name: str = "") -> None:
        """Insert, replace or cut lines anywhere in a file."""
        name = name or self.some_file(a)
        lines = self.files[name].decode().split("\n")
        at = len(lines) if b % 8 == 6 else b // 8 % len(lines)  # the end, or anywhere
        cut = {2: 1, 3: 1, 4: 4, 5: 12}.get(b % 8, 0)
        before, after = lines[:at], lines[at + cut :]
        self.files[name] = "\n".join([*before, f"# {self.word(name)}", *after]).encode()

    def write_plan_line(self, a: int, b: int) -> None:
        self.write_line(a, b, "PLAN.md")

    def write_setting(self, a: int, b: int) -> None:
        names = sorted(TEAM & set(self.files))
        self.write_line(a, b, names[a % len(names)])

    def save_with_other_line_ends(self, a: int, b: int) -> None:
        name = self.some_file(a)
        self.write_line(a, b, name)
        self.files[name] = self.files[name].replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")

    def save_in_utf_16(self, a: int, b: int) -> None:
        if name := self.some_other_file(a):
            self.word(name)
            self.files[name] = self.files[name].decode().encode("utf-16")

    def make_file(self, a: int, b: int) -> None:
        folder = sorted(self.files)[a % len(self.files)].rpartition("/")[0]
        name = OWN[a % len(OWN)] if b % 4 else f"{folder}/own {b}.md".removeprefix("/")
        if name not in self.files and name not in self.ignored:
            self.files[name] = f"{self.word(name)}\nmore\n".encode()

    def keep_file_out_of_git(self, a: int, b: int) -> None:
        """Leave a file that git ignores, perhaps because people say so, and at any path."""
        name = [".env", "data/raw/own.csv", "reports/own.html", *OWN][a % (3 + len(OWN))]
        if name not in self.files and name not in self.ignored:
            rule = f"/{name}\n".encode() if name in OWN else b""
            self.files[".gitignore"] = self.files.get(".gitignore", b"") + rule
            self.ignored[name] = self.word(name).encode()

    def remove_file(self, a: int, b: int) -> None:
        if name := self.some_other_file(a):
            del self.files[name]
            self.removed.add(name)

    def move_file(self, a: int, b: int) -> None:
        if name := self.some_other_file(a):
            folder = name.rpartition("/")[0]
            to = f"{folder}/moved {b}.txt".removeprefix("/")
            content = self.files[name]
            self.remove_file(a, b)
            self.files[to] = content + f"{self.word(to)}\n".encode()


DEEDS = [
    *[People.write_plan] * 6,
    *[People.write_line] * 5,
    *[People.write_plan_line, People.write_setting, People.make_file] * 2,
    *[People.measure, People.write_notes, People.save_with_other_line_ends],
    *[People.save_in_utf_16, People.keep_file_out_of_git, People.remove_file, People.move_file],
]


# ---------------------------------------------------------------- what must hold


def ours(text: str) -> str:
    """Return a text with the user's side of every conflict."""
    return re.sub(r"^<{7} [^\n]*\n(.*?)^={7}\n.*?^>{7} [^\n]*\n", r"\1", text, flags=re.M | re.S)


def places(text: str, word: str) -> set[str]:
    """Return the block in whose part a word stands; for one between blocks, both neighbours.

    The user's side of a conflict may say by the mark at its end whose part it is. In a part whose
    own end people cut off, a word belongs to it or to the one that ends there.
    """
    above = inside = ""
    found: set[str] = set()
    told = re.search(
        rf"^<{{7}} (?:(?!^={{7}}$).)*?{word}.*?^<!-- /plan:\w+ ([A-Z]+(?:-\d+)?)", text, re.M | re.S
    )
    if told and not re.search(r"^(={7}$|<!-- plan:)", told[0], re.M):
        return {f"in {told[1]}"}
    lines = ours(text).split("\n")
    for number, line in enumerate(lines):
        if heading := re.match(r"##+ (?:.*<!-- ([A-Z]+(?:-\d+)?) -->|(\S+))", line):
            if found:
                return found | {f"above {heading[1] or heading[2]}"}
            above = heading[1] or heading[2]
        elif mark := re.match(r"<!-- (/?)plan:\w+ ([A-Z]+(-\d+)?)", line):
            inside = "" if mark[1] else mark[2]
            above = mark[2] if mark[1] and "-" in mark[2] else above  # its heading, as a rule
        if word in line:
            if inside:
                marks = re.findall(
                    r"^<!-- (/?)plan:\w+ ([A-Z]+(?:-\d+)?)", "\n".join(lines[number:]), re.M
                )
                ended = {f"in {name}" for end, name in marks[:1] if end}
                return {f"in {inside}"} | ended
            found = {f"below {above}"}
    return found


def moved(before: str, after: str, word: str) -> list[str]:
    """Say where a word stood and stands when it went to another decision.

    A word between blocks stays below the one above it; where that is gone, above the next one.
    """
    was, now = places(before, word), places(after, word)
    below = {place for place in was if re.match("below .", place)}
    held = {p for p in below if re.search(rf"^##.*\b{p[6:]}\b", ours(after), re.M)} or was
    return [] if held & now else [f"{word} {was} is {now}"]


def lines_of(content: bytes | None) -> bytes | None:
    """Return a file with the line ends that git gives it."""
    return content and content.replace(b"\r\n", b"\n")


def merged(case: Case, name: str) -> bytes | None:
    """Return what a three-way merge of one file gives; None when it conflicts."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, kind) for kind in ("mine", "old", "new")]
        for path in paths:
            path.write_bytes(lines_of(getattr(case, path.name)[name]) or b"")
        done = subprocess.run(["git", "merge-file", "-p", *paths], capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def faults(case: Case, people: People) -> list[str]:
    """Return what an update did wrong."""
    found = []
    for word, name in people.words.items():
        holders = [n for n, text in case.result.items() if word.encode() in text]
        if name in case.unprotected:
            found += [f"{word}: {name} was not lost, as we thought"] * (name in holders)
        elif holders != [name]:
            found.append(f"{word} of {name} is in {holders}")
        elif name == "PLAN.md":
            found += moved(case.mine[name].decode(), case.result[name].decode(), word)
        elif name in TEAM and case.result[name] != case.mine[name]:
            found.append(f"{name} is the team's")
    for name in case.result.keys() | case.new.keys():
        result, mine = lines_of(case.result.get(name)), lines_of(case.mine.get(name))
        touched = case.mine.get(name) != case.old.get(name)
        if name in people.removed and name not in case.mine and name not in people.ignored:
            found += [f"{name} was removed and is back"] * (result is not None)
        elif name in TEAM or name in people.ignored or name in case.unmerged:
            continue
        elif not touched or name in case.unprotected:
            found += [f"{name} is not as a fresh one"] * (result != case.new.get(name))
        elif name not in case.new:
            found += [f"{name} is people's"] * (result != mine)
        elif name in case.old and result != case.new[name]:
            wanted = merged(case, name)
            found += [f"{name} is not merged"] * (wanted not in (None, result))
    return found + [f"{name} is left" for name in case.result if name.endswith((".rej", "/"))]


def prepare(old: Tree, new: Tree, done: list[tuple[Any, int, int]]) -> tuple[Case, People]:
    """Let people do things to a project that waits for an update."""
    people = People(dict(old), different(old, new))
    for deed, a, b in done:
        deed(people, a, b)
    there = {**people.files, **people.ignored}  # some words people took away again
    people.words = {w: n for w, n in people.words.items() if w.encode() in there.get(n, b"")}
    return Case(old, new, people.files, people.ignored), people
