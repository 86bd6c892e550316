"""Rules of the template, with which no update can lose or move what people wrote."""

import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from copier._main import Worker
from copier.errors import UserMessageError
from helpers import package  # noqa: F401  (makes `package_name` importable)
from helpers.answers import HOSTILE
from helpers.jinja import environment
from helpers.rendering import (
    ROOT,
    copy_template,
    git,
    plain_template,
    publish,
    render,
    tree,
)
from helpers.updates import SETTINGS, TEAM, Tree, update_project
from jinja2 import StrictUndefined, nodes

from package_name.planner.blocks import Part, parse

HOSTILE_TEXTS = {
    "project_name": HOSTILE[4],
    "problem": " ".join(HOSTILE[:4]) + ": who is it for?",
    "owner": HOSTILE[6],
    "oncall": HOSTILE[5],
    "project_slug": "x" * 60,
    "package_name": "x" * 60,
    "target": "T" * 60,
    "entity": "",
    "time_column": "",
}
CHOSEN: dict[str, dict[str, Any]] = {
    "default": {},
    "rest": {"deployment_modes": ["rest"]},
    "batch": {"deployment_modes": ["batch"], "personal_data": False, "code_host": "gitlab"},
    "standard": {"plan_depth": "standard"},
    "regulated": {
        "plan_depth": "regulated",
        "decision_mode": "automated",
        "deployment_modes": ["rest", "batch", "edge"],
    },
    "churn": {"preset": "churn"},
    "fraud": {"preset": "fraud", "plan_depth": "standard"},
    "credit": {"preset": "credit", "plan_depth": "regulated"},
    "hostile": HOSTILE_TEXTS,
    "hostile and deep": {**HOSTILE_TEXTS, "plan_depth": "regulated", "interpretability": "none"},
}


@pytest.fixture(scope="module")
def renders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tree]:
    """Return a project for each set of answers."""
    folder = tmp_path_factory.mktemp("renders")
    return {name: tree(render(folder / name, **chosen)) for name, chosen in CHOSEN.items()}


def human(files: Tree) -> dict[str, Part]:
    """Return the parts of PLAN.md that people write, by id."""
    parts = parse(files["PLAN.md"].decode())
    return {id: part for (kind, id), part in parts.items() if kind == "human"}


# ---------------------------------------------------------------- lines


def test_six_lines_in_a_row_occur_once(renders: dict[str, Tree]) -> None:
    """An edit is found again by three lines before it and three after it, in every file."""
    for name, files in renders.items():
        for path, content in files.items():
            lines = content.decode().split("\n")
            windows = Counter(zip(*(lines[start:] for start in range(6)), strict=False))
            twice = [window for window, count in windows.items() if count > 1]
            assert twice == [], f"{path} of {name}"


def test_lines_that_people_fill_and_their_neighbours_are_unique(renders: dict[str, Tree]) -> None:
    for name, files in renders.items():
        everywhere = Counter(line for text in files.values() for line in text.decode().split("\n"))
        lines = files["PLAN.md"].decode().split("\n")
        for id, part in human(files).items():
            assert lines[part.start - 1] == f"> **{part.question}**"
            for line in (lines[number] for number in (part.start, part.answer, part.end)):
                assert everywhere[line] == 1 and id in line, f"{line!r} of {name}"
            after = [line for line in lines[part.end + 1 : part.end + 4] if line]
            assert all(lines.count(line) == 1 for line in after), f"after {id} of {name}"


def test_what_people_write_depends_on_no_answer(renders: dict[str, Tree]) -> None:
    deepest = human(renders["regulated"])
    for name, files in renders.items():
        parts = human(files)
        assert [id for id in deepest if id in parts] == list(parts), f"another order in {name}"
        for id, part in parts.items():
            same = part.attributes, part.lines
            assert same == (deepest[id].attributes, deepest[id].lines), f"{id} of {name}"


def test_files_are_text_that_git_merges(renders: dict[str, Tree], tmp_path: Path) -> None:
    for files in renders.values():
        for path, content in files.items():
            assert not re.search(rb"[\0\r]|\A\xef\xbb\xbf", content), path
    folder = render(tmp_path / "project")
    git(folder, "init", "-q")
    names = sorted(renders["default"])
    asked = ["check-attr", "text", "eol", "diff", "merge", "whitespace", "--", *names]
    said = {line.split(": ", 1)[1] for line in git(folder, *asked).splitlines()}
    wanted = {"text: auto", "eol: lf", "diff: unspecified", "merge: unspecified"}
    assert said == {*wanted, "whitespace: unset"}


def test_no_file_is_ignored_by_git(renders: dict[str, Tree], tmp_path: Path) -> None:
    """`copier update` loses edits of a file that the project's own .gitignore names."""
    (tmp_path / ".gitignore").write_bytes(renders["default"][".gitignore"])
    git(tmp_path, "init", "-q")
    names = sorted(set().union(*renders.values()))
    checked = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin"],
        cwd=tmp_path, input="\n".join(names), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (checked.stdout, checked.returncode) == ("", 1)


# ---------------------------------------------------------------- values


def sources() -> dict[str, str]:
    """Return what Jinja makes files from, by path; validators write nothing."""
    paths = [
        *ROOT.glob("template/**/*.jinja"),
        *ROOT.glob("questions/*.*"),
        *ROOT.glob("questions/*/rules.*"),
    ]
    found = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in paths}
    del found["questions/checks.jinja"], found["questions/given.jinja"]
    for path in ROOT.glob("questions/asked/*.yml"):
        asked = yaml.safe_load(path.read_text("utf-8")).values()
        texts = [text for details in asked for text in details.values() if isinstance(text, str)]
        found[path.relative_to(ROOT).as_posix()] = "\n".join(texts)
    return found


VOLATILE = {"random", "random_mac", "shuffle", "to_uuid", "strftime", "to_datetime", "now"}
VOLATILE |= {"expandvars", "expanduser", "fileglob", "realpath", "make_secret", "_folder_name"}
VOLATILE |= {"_copier_python", "_copier_phase", "_copier_operation", "_external_data"}


def test_nothing_depends_on_time_place_or_chance() -> None:
    for path, text in sources().items():
        parsed = environment().parse(text)
        used = {node.name for node in parsed.find_all((nodes.Filter, nodes.Name))}
        # Copier records where the template is; a local one needs its whole path.
        place = {"fileglob", "realpath"} if "answers_file" in path else set()
        assert not used & (VOLATILE - place), path
        conf = {
            node.attr
            for node in parsed.find_all(nodes.Getattr)
            if isinstance(node.node, nodes.Name) and node.node.name == "_copier_conf"
        }
        # How a question is put may follow the way of asking; what it makes may not.
        asking = {"data", "defaults", "skip_answered"} if path.startswith("questions/") else set()
        assert conf <= {"answers_file"} | asking, path


def test_a_render_does_not_depend_on_where_and_when(
    renders: dict[str, Tree], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TZ": "Asia/Tokyo", "LC_ALL": "tr_TR.UTF-8", "USER": "somebody"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("time.time", lambda: 4e9)
    monkeypatch.chdir(tmp_path)
    template = copy_template(tmp_path / "elsewhere")
    again = tree(render(tmp_path / "Another place", template, **CHOSEN["credit"]))
    assert again.pop(".copier-answers.yml").decode() == (
        renders["credit"][".copier-answers.yml"]
        .decode()
        .replace(str(plain_template()), str(template))
    )
    assert again == {n: t for n, t in renders["credit"].items() if n != ".copier-answers.yml"}


# ---------------------------------------------------------------- ids

IDS = ROOT / "tests/reference/plan_ids.txt"


def registered(text: str) -> list[tuple[str, bool]]:
    """Return each id, in order, with whether it is retired."""
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return [(words[0], "retired" in words[1:]) for words in lines]


def test_an_id_is_used_once_for_ever(renders: dict[str, Tree]) -> None:
    ids = registered(IDS.read_text())
    assert max(Counter(id for id, _ in ids).values()) == 1
    used = {*yaml.safe_load(renders["regulated"]["plan/plan.yaml"])["blocks"]}
    text = renders["regulated"]["PLAN.md"].decode()
    shown = {*re.findall(r"<!-- (?:plan:\w+ )?([A-Z]+(?:-\d+)?) -->", text)}
    assert used == shown
    assert used == {id for id, retired in ids if not retired}


def test_the_list_of_ids_only_grows() -> None:
    """Against every version of the list that git has; a shallow clone has fewer."""
    now = dict(registered(IDS.read_text()))
    path = IDS.relative_to(ROOT).as_posix()
    for commit in git(ROOT, "log", "--format=%H", "--", path).splitlines():
        for id, was_retired in registered(git(ROOT, "show", f"{commit}:{path}")):
            assert id in now, f"{id} of {commit[:7]} is gone"
            assert now[id] or not was_retired, f"{id} was retired in {commit[:7]}"


# ---------------------------------------------------------------- names of files

RESERVED = {"con", "prn", "aux", "nul", *(f"{n}{i}" for n in ("com", "lpt") for i in range(1, 10))}


def test_names_of_files_are_legal_on_windows(renders: dict[str, Tree]) -> None:
    for name, files in renders.items():
        assert len({path.casefold() for path in files}) == len(files), f"only case differs: {name}"
        for path in files:
            assert len(path) <= 120, f"{path}: 260 are all there is, with the folder before it"
            for part in path.split("/"):
                assert re.fullmatch(r"[A-Za-z0-9._-]+", part) and part[-1] != ".", path
                assert part.split(".")[0].casefold() not in RESERVED, path


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_no_folder_gets_a_name_that_windows_reserves(tmp_path: Path, name: str) -> None:
    names = environment().get_template("questions/names.jinja").module
    assert str(names.slug(name)) == f"{name}-model"
    assert str(names.package(name)) == f"{name}_model"
    for question in ("package_name", "project_slug"):
        with pytest.raises(UserMessageError, match=f"take {name}.model"):
            render(tmp_path / "project", **{question: name})


# ---------------------------------------------------------------- settings of Copier


def test_excludes_work_with_the_answers_of_every_version() -> None:
    """An update renders the old version with the new excludes: only old answers are there.

    A condition on a question that the first release did not ask needs a default:
    `{{ '/docs/x.md' if x | default(false) else '' }}`.
    """
    settings = {"overwrite": True, "answers_file": ".copier-answers.yml"}
    first = {"deployment_modes": ["rest"], "_copier_conf": settings}
    assert environment().undefined is StrictUndefined
    for pattern in [*SETTINGS["_exclude"], *SETTINGS["_skip_if_exists"]]:
        environment().from_string(pattern).render(first)


# ---------------------------------------------------------------- owners

PAGE = (ROOT / "docs/reference/ownership.md").read_text()


def owners() -> dict[str, str]:
    """Return the owner of each file and folder that the page names."""
    rows = re.findall(r"^\| (`(?!PLAN).*`) \| (\w+) \|$", PAGE, re.MULTILINE)
    return {path: owner for paths, owner in rows for path in re.findall(r"`([^`]+)`", paths)}


def owner(path: str) -> str:
    """Return who owns a file; PLAN.md has parts of each kind."""
    named = owners() | {"PLAN.md": "both"}
    (found,) = {
        who
        for name, who in named.items()
        if path == name or (name.endswith("/") and path.startswith(name))
    }
    return found


def test_every_file_has_one_owner(renders: dict[str, Tree]) -> None:
    paths = set().union(*renders.values())
    assert {path for path in paths if owner(path) == "team"} == TEAM
    assert {path for path in paths if owner(path) == "template"} == {".copier-answers.yml"}
    for name in owners():
        assert any(path.startswith(name) for path in paths), f"no project has {name}"


def test_the_readme_of_a_project_says_the_same(renders: dict[str, Tree]) -> None:
    for name, files in renders.items():
        table = re.findall(r"^\| (\w+) \| (.*?) \|", files["README.md"].decode(), re.MULTILINE)
        said = {who: set(re.findall(r"`([\w./-]+\.\w+)`", what)) for who, what in table}
        assert said["team"] == TEAM & set(files), name
        assert said["template"] == {".copier-answers.yml"}, name


OURS, THEIRS = "# people were here", "# the template was here"


@pytest.mark.parametrize("place", ["elsewhere", "same place"])
def test_an_update_does_what_the_page_says(tmp_path: Path, place: str) -> None:
    """People and the template change every file, in other places or in the same."""
    template = copy_template(tmp_path / "template")
    publish(template, "v1.0.0")
    folder = render(tmp_path / "project", template, "v1.0.0", plan_depth="standard")
    before = tree(folder)
    for name in before:
        path = folder / name
        text = path.read_text(encoding="utf-8")
        path.write_text(f"{OURS}\n{text}" if place == "elsewhere" else f"{text}{OURS}\n")
    (folder / "own.md").write_text(OURS)
    publish(folder)
    for path in [path for path in template.glob("template/**/*") if path.is_file()]:
        path.write_text(path.read_text(encoding="utf-8").rstrip("\n") + f"\n{THEIRS}\n")
    publish(template, "v2.0.0")
    conflicts = update_project(folder)
    both = {name for name in before if owner(name) == "both"}
    assert conflicts == (both if place == "same place" else set())
    for name in before:
        text = (folder / name).read_text(encoding="utf-8")
        kept = [line for line in (OURS, THEIRS) if line in text.split("\n")]
        wanted = {"template": [THEIRS], "team": [OURS], "both": [OURS, THEIRS]}[owner(name)]
        assert kept == wanted, name
    assert (folder / "own.md").read_text() == OURS


def test_what_a_team_deletes_comes_back_and_what_the_template_made_does_not(tmp_path: Path) -> None:
    template = copy_template(tmp_path / "template")
    publish(template, "v1.0.0")
    folder = render(tmp_path / "project", template, "v1.0.0")
    gone = ["config.yaml", "docs/runbook.md"]
    for name in gone:
        (folder / name).unlink()
    publish(folder)
    assert update_project(folder, pos_rate=0.3) == set()
    assert [(folder / name).exists() for name in gone] == [True, False]


# ---------------------------------------------------------------- what a copy costs


def test_questions_that_nobody_is_asked_compile_little(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Most of what Copier takes for a question is Jinja compiling its texts, each time anew."""
    compiled, compile_one = [], jinja2.Environment.compile

    def note(env: Any, source: str, name: str | None = None, *rest: Any, **options: Any) -> Any:
        if isinstance(source, str):  # a filter's value is no text
            compiled.append((name, source))
        return compile_one(env, source, name, *rest, **options)

    monkeypatch.setattr(jinja2.Environment, "compile", note)
    with Worker(str(plain_template()), tmp_path, defaults=True, quiet=True) as worker:
        worker._ask()
        assert not worker.jinja_env.optimized
    # Prompts, checks of given answers and presets are for those who have some.
    files = {"questions/checks.jinja", "questions/formulas.jinja", "questions/names.jinja"}
    assert {name for name, _ in compiled} == {None, *files}
    texts = [source for name, source in compiled if not name]
    answers = [name for name in worker.answers.combined if name in worker.template.questions_data]
    assert sum(map(len, texts)) < 550 * len(answers)


def test_amounts_in_reasons_have_a_currency() -> None:
    for file in [*(ROOT / "questions").glob("**/rules.yaml")]:
        bare = re.findall(r"\{num\([^}]*\)\} a (?:year|month).{,40}", file.read_text("utf-8"))
        assert bare == [], f"{file.parent.name}: which currency?"
