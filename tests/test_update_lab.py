"""The update laboratory: thousands of updates, in which nothing that people wrote is lost or moved.

A case is a version of the template with answers, what people did to the project, and then another
version or other answers. Everything that people write has a word of its own. After the update it is
in its file, under its decision or where a three-way merge puts it; or Copier reports a conflict in
that file; or the file is one that `ml update` protects. The nightly run looks fifty times as long.
"""

import itertools
import random
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.answers import HIDDEN_AT_ZERO, HIDDEN_WITHOUT, answers
from helpers.rendering import (
    check_answers_anew,
    command,
    different,
    git,
    plain_template,
    publish,
    recorded,
    render,
    tree,
)
from helpers.updates import (
    DEEDS,
    OWN,
    TEAM,
    Case,
    People,
    Tree,
    faults,
    merge,
    moved,
    package_of,
    prepare,
    unmerged,
    update,
    update_project,
    write,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from package_name.engine.errors import ProjectError
from package_name.planner.update import Update

CASES = pytest.mark.parametrize("count", [400, pytest.param(20_000, marks=pytest.mark.nightly)])
# Projects through the real command, too.
NUMBERS = pytest.mark.parametrize(
    "number", [pytest.param(n, marks=pytest.mark.nightly if n > 2 else ()) for n in range(12)]
)
BATCH = 40
FAMILIES, VERSIONS = 20, 16
quiet = {"suppress_health_check": list(HealthCheck)}

# ---------------------------------------------------------------- versions of the template


def edit(path: Path, change: Callable[[str], str]) -> None:
    """Change a text of the template; it must change."""
    text = path.read_text(encoding="utf-8")
    changed = change(text)
    assert changed != text, path
    path.write_text(changed, encoding="utf-8")


def chunks(path: Path, mark: str, change: Callable[[list[str]], None]) -> None:
    """Change the list of parts that begin with a mark at the start of a line."""
    head, *parts = re.split(f"^(?={mark})", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    change(parts)
    path.write_text(head + "".join(parts), encoding="utf-8")


def blocks(folder: Path, change: Callable[[list[str]], None]) -> None:
    """Change the list of blocks of the plan; the first stays, for it opens a section."""
    path = folder / "questions/blocks.jinja"
    head, rest = path.read_text(encoding="utf-8").split("{% set blocks = [\n", 1)
    body, tail = rest.split("\n] %}", 1)
    first, *parts = body.split("\n\n")
    change(parts)
    body = "\n\n".join([first, *parts])
    path.write_text(f"{head}{{% set blocks = [\n{body}\n] %}}{tail}", encoding="utf-8")


NEW_BLOCK = """  {"id": "NEW-%02d", "title": "New", "gate": "G2", "lines": ["decision: `x`"],
  "measured": "ml evaluate", "human": "Why is it new?"},"""


def insert_block(folder: Path, rng: random.Random) -> None:
    number = rng.randrange(1, 100)
    if NEW_BLOCK % number not in (folder / "questions/blocks.jinja").read_text():
        blocks(
            folder, lambda parts: parts.insert(rng.randrange(len(parts) + 1), NEW_BLOCK % number)
        )


def used_elsewhere(part: str) -> bool:
    """Whether the table at the top, or a computed number, needs the block of this text."""
    return not re.search(r'"id": "(SUP|COM|ALT|STAKE|REG|END|TEAM-02|OPS|FEAT-02|APPR|FAIR)', part)


def drop_block(folder: Path, rng: random.Random) -> None:
    def drop(parts: list[str]) -> None:
        parts.remove(rng.choice([part for part in parts if not used_elsewhere(part)]))

    blocks(folder, drop)


def move_block(folder: Path, rng: random.Random) -> None:
    def move(parts: list[str]) -> None:
        part = parts.pop(rng.randrange(len(parts)))
        parts.insert(rng.randrange(len(parts) + 1), part)

    blocks(folder, move)


def swap_sections(folder: Path, rng: random.Random) -> None:
    def swap(parts: list[str]) -> None:
        starts = [n for n, part in enumerate(parts) if '"section": "' in part]
        first, middle, last = sorted(rng.sample([*starts, len(parts)], 3))
        parts[first:last] = [*parts[middle:last], *parts[first:middle]]

    blocks(folder, swap)


def reword_blocks(folder: Path, rng: random.Random) -> None:
    what = rng.choice(['"title": "', '"human": "', '"lines": [\n    "', '"measured": "'])

    def reword(parts: list[str]) -> None:
        for at in rng.sample(range(len(parts)), 5):
            parts[at] = parts[at].replace(what, what + "Once more: ")

    blocks(folder, reword)


def reword_plan(folder: Path, rng: random.Random) -> None:
    words = rng.choice(
        ["# Plan of", "### {{ block.title }}", "> **", "## Notes of", "_No answer", "what belongs"]
    )
    edit(folder / "template/PLAN.md.jinja", lambda text: text.replace(words, words + "(this) "))


def add_question(folder: Path, rng: random.Random) -> None:
    name = f"board_{rng.randrange(100)}"
    question = f"\n{name}:\n  type: str\n  default: nobody\n  help: Who reviews?\n"
    edit(folder / "questions/operation.yml", lambda text: text + question)
    told = f"Board: {{{{ {name} }}}}.\nFirst help"
    edit(folder / "template/docs/runbook.md.jinja", lambda text: text.replace("First help", told))


def rename_question(folder: Path, rng: random.Random) -> None:
    for path in [
        *folder.glob("questions/*.*"),
        *folder.glob("template/docs/*"),
        *folder.glob("template/*/monitoring/*"),
    ]:
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r"\boncall\b", "called", text), encoding="utf-8")
    old = 'default: "{{ owner }}"'
    new = old.replace("owner", "oncall | default(owner)")
    edit(folder / "questions/operation.yml", lambda text: text.replace(old, new))


def change_choices(folder: Path, rng: random.Random) -> None:
    """A choice is added and becomes the default; a rule says another word."""
    edit(
        folder / "questions/operation.yml",
        lambda text: text.replace('"3.12"\n  choices: [', '"3.14"\n  choices: ["3.14", '),
    )
    for name in ("binary/rules.jinja", "binary/rules.yaml"):
        edit(folder / "questions" / name, lambda text: text.replace("isotonic", "monotone"))


def change_document(folder: Path, rng: random.Random) -> None:
    names = [
        "README.md.jinja",
        "docs/runbook.md.jinja",
        "docs/model_card.md.jinja",
        "docs/datasheet.md.jinja",
    ]
    path = folder / "template" / rng.choice(names)

    def change(parts: list[str]) -> None:
        at, to = rng.randrange(1, len(parts)), rng.randrange(1, len(parts))
        kind = rng.choice(["insert", "drop", "move", "reword"])
        if "{% if" in parts[at] or "{% endif" in parts[at] or kind == "reword":
            parts[at] = parts[at].replace("\n\n", f"\n\nIn version {rng.random()}:\n", 1)
        elif kind == "insert":
            parts.insert(at, f"## Chapter {rng.random()}\n\nIt is new.\n\n")
        else:
            part = parts.pop(at)
            if kind == "move":
                parts.insert(to, part)

    chunks(path, "## ", change)


def texts(folder: Path) -> list[Path]:
    """Return the files of a template that are the same for all answers."""
    return sorted(
        path for path in folder.glob("template/**/*") if path.is_file() and path.suffix != ".jinja"
    )


def change_lines(folder: Path, rng: random.Random) -> None:
    path = rng.choice(texts(folder))
    lines = path.read_text(encoding="utf-8").split("\n")
    for _ in range(rng.randrange(1, 6)):
        lines = lines or [""]
        at, kind = rng.randrange(len(lines)), rng.choice(["insert", "drop", "reword", "move"])
        if kind == "insert":
            lines.insert(at, f"# version {rng.random()}")
        elif kind == "reword":
            lines[at] += f"  # version {rng.random()}"
        else:
            cut = lines[at : at + 12]
            del lines[at : at + 12]
            if kind == "move":
                to = rng.randrange(len(lines) + 1)
                lines[to:to] = cut
    path.write_text("\n".join(lines), encoding="utf-8")


def rename_in_code(folder: Path, rng: random.Random) -> None:
    name = rng.choice(["project", "contract", "report", "version", "columns"])
    for path in folder.glob("template/src/*/*.py*"):
        path.write_text(re.sub(rf"\b{name}\b", f"the_{name}", path.read_text()), encoding="utf-8")


def drop_file(folder: Path, rng: random.Random) -> None:
    rng.choice(texts(folder)).unlink()


def move_file(folder: Path, rng: random.Random) -> None:
    path = rng.choice(texts(folder))
    path.rename(path.with_name(f"moved_{path.name}"))


def add_file(folder: Path, rng: random.Random) -> None:
    names = [re.sub(r"\{%.*?%\}", "", path.as_posix()) for path in folder.glob("template/**/*")]
    missing = [name for name in OWN if not any(re.search(f"/{name}", one) for one in names)]
    path = folder / "template" / rng.choice(missing)
    path.parent.mkdir(exist_ok=True)
    path.write_text("first line of the template\nsecond line\n")


CHANGES = [
    *[insert_block] * 3,
    *[drop_block, move_block, reword_blocks, reword_plan] * 2,
    swap_sections,
    *[add_question, rename_question, change_choices, change_document],
    *[change_lines] * 4,
    *[rename_in_code, drop_file, move_file, add_file],
]


def version(seed: int, folder: Path) -> Path:
    """Make a version of the template; seed 0 is the one in this repository."""
    shutil.copytree(plain_template(), folder)
    rng = random.Random(seed)
    picked = rng.sample(CHANGES, rng.randrange(1, 8)) if seed else []
    for change in dict.fromkeys(picked):
        change(folder, rng)
    if picked:
        check_answers_anew(folder)
    return folder


# ---------------------------------------------------------------- renders, kept for all cases

ANY_TIME = ["pos_rate", "owner", "plan_depth", "deployment_modes", "window_days", "risk_class"]
ANY_TIME += ["project_name", "personal_data", "interpretability", "currency", "target"]


@cache
def answer_sets() -> list[dict[str, Any]]:
    """Return random valid answers, the same in every run."""
    found: list[dict[str, Any]] = []

    @given(answers())
    @settings(max_examples=2 * FAMILIES, database=None, **quiet)
    def draw(chosen: dict[str, Any]) -> None:
        found.append(chosen)

    draw()
    return found[-FAMILIES:]


def change_of_answers(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return random answers, and what they are after a change of mind."""
    rng = random.Random(number)
    one, other = answer_sets()[number % FAMILIES], rng.choice(answer_sets())
    if rng.random() < 0.9:  # a few answers change, else all
        some = {name: other[name] for name in ANY_TIME if name in other and rng.random() < 0.4}
        if some.get("target") in (one.get("entity"), one.get("time_column")):
            some.pop("target", None)  # a column has one role
        modes = some.get("deployment_modes", one.get("deployment_modes", ["rest", "batch"]))
        hidden = [name for name, mode in HIDDEN_WITHOUT.items() if mode not in modes]
        hidden += ["hosting"] if modes == ["edge"] else []
        hidden += ["significant_effect"] if some.get("personal_data") is False else []
        hidden += [n for n, without in HIDDEN_AT_ZERO.items() if not {**one, **some}.get(without)]
        other = {name: v for name, v in {**one, **some}.items() if name not in hidden}
    return one, other


def known(source: Path, answers: dict[str, Any]) -> dict[str, Any]:
    """Return answers by the names that the questions have in a version of the template."""
    renamed = "\ncalled:\n" in (source / "questions/operation.yml").read_text(encoding="utf-8")
    return {"called" if renamed and n == "oncall" else n: value for n, value in answers.items()}


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [version(n, tmp_path_factory.mktemp("version") / "t") for n in range(VERSIONS)]


@pytest.fixture(scope="module")
def family(
    versions: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], list[Tree]]:
    """Return four renders: two versions, each with two sets of answers."""

    @cache
    def made(number: int) -> list[Tree]:
        rng = random.Random(number)
        pair = [versions[0] if rng.random() < 0.5 else rng.choice(versions), rng.choice(versions)]
        return [
            tree(render(tmp_path_factory.mktemp("project") / "p", source, **known(source, chosen)))
            for source in pair
            for chosen in change_of_answers(number)
        ]

    return made


# ---------------------------------------------------------------- the laboratory

deeds = st.tuples(st.sampled_from(DEEDS), st.integers(0, 9999), st.integers(0, 9999))
cases = st.tuples(
    st.integers(0, FAMILIES - 1), st.integers(0, 3), st.integers(0, 3), st.lists(deeds, max_size=8)
)


@CASES
def test_nothing_that_people_wrote_is_lost_or_moved(
    family: Callable[[int], list[Tree]], count: int
) -> None:
    def tried(drawn: list[Any]) -> list[list[str]]:
        prepared = [
            prepare(family(number)[old], family(number)[new], done)
            for number, old, new, done in drawn
        ]
        update([case for case, _ in prepared])
        return [faults(case, people) for case, people in prepared]

    @given(st.lists(cases, min_size=BATCH, max_size=BATCH))
    @settings(max_examples=count // BATCH, phases=[Phase.generate], **quiet)
    def run(drawn: list[Any]) -> None:
        for (*states, done), found in zip(drawn, tried(drawn), strict=True):
            if found:  # leave out what people did as long as it still fails
                for deed in list(done):
                    fewer = [other for other in done if other is not deed]
                    done[:] = fewer if any(tried([(*states, fewer)])) else done
                pytest.fail(f"{(*states, done)}: {found}")

    run()


@CASES
def test_ml_update_protects_what_copier_loses(
    family: Callable[[int], list[Tree]], tmp_path: Path, count: int
) -> None:
    """Every word is in its file, or in the file of people beside it, and nowhere else."""
    folders = (tmp_path / str(number) for number in itertools.count())

    @given(cases)
    @settings(max_examples=count // 5, **quiet)
    def run(drawn: Any) -> None:
        number, old, new, done = drawn
        case, people = prepare(family(number)[old], family(number)[new], done)
        with suppress(ProjectError):
            found = merge(case, next(folders))
            assert merge_faults(case, people, found) == []
            return
        assert set(case.ignored) & set(case.new) - set(case.mine), "a refusal without a reason"

    run()


def merge_faults(case: Case, people: People, done: Update) -> list[str]:
    """Return what `ml update` did wrong; edits go along with a file that the template moves."""
    found = []
    before, after = (f"src/{package_of(files)}/" for files in (case.old, case.new))
    for word, name in people.words.items():
        spelled = word.encode(), word.encode("utf-16-le")
        holders = [n for n, text in case.result.items() if any(s in text for s in spelled)]
        allowed = {name, name.replace(before, after)} if name in case.mine else {name}
        if name not in case.new:
            allowed |= {n for n in case.new if case.new[n] == case.old.get(name)}
        allowed |= {done.kept[place] for place in allowed if place in done.kept}
        if len(holders) != 1 or holders[0] not in allowed:
            found.append(f"{word} of {name} is in {holders}")
        elif name == "PLAN.md":
            found += moved(case.mine[name].decode(), case.result[name].decode(), word)
    for name in set(case.new) - TEAM:
        was = {name.replace(after, before)} & set(case.old)
        was = was or {n for n in case.old if case.old[n] == case.new[name]}  # the template moved it
        edited = any(case.mine.get(n) != case.old.get(n) for n in {name, *was})
        text = case.result.get(name, b"")
        if not edited and not re.search(rb"w\d{3}w", text):
            found += [f"{name} is not as a fresh one"] * (text != case.new[name])
    return found


def test_a_careless_template_is_found_out(tmp_path: Path) -> None:
    """Lines that repeat let an update move a text: if the laboratory is blind, this fails."""
    careless, longer = tmp_path / "careless", tmp_path / "longer"
    version(0, careless)
    edit(
        careless / "template/PLAN.md.jinja",
        lambda text: text.replace("<!-- plan:answer {{ id }} -->\n", "-\n" * 8),
    )
    shutil.copytree(careless, longer)
    blocks(longer, lambda parts: parts.insert(9, "\n\n".join(NEW_BLOCK % n for n in range(1, 4))))
    old, new = (tree(render(tmp_path / f"from {v.name}", v)) for v in (careless, longer))
    prepared = [prepare(old, new, [(People.write_plan_line, 0, 8 * n)]) for n in range(150, 400, 5)]
    update([case for case, _ in prepared])
    assert [fault for case, people in prepared for fault in faults(case, people) if "{" in fault]


# ---------------------------------------------------------------- the same through the real command


@pytest.fixture(scope="module")
def repository(versions: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository in which each version of the template is a release."""
    folder = tmp_path_factory.mktemp("template") / "ml-model-planner"
    folder.mkdir()
    for number, source in enumerate(versions):
        for path in folder.iterdir():
            if path.name != ".git":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(source, folder, dirs_exist_ok=True)
        for path in folder.glob("template/src/*/*.py"):  # they are many, and much alike
            path.unlink()
        publish(folder, f"v{number}.0.0")
    return folder


@NUMBERS
def test_the_command_gives_the_same_bytes(
    versions: list[Path], repository: Path, tmp_path: Path, number: int
) -> None:
    rng = random.Random(1000 + number)
    old, new = sorted(rng.choices(range(VERSIONS), k=2))
    one, other = change_of_answers(number)
    render(tmp_path / "old", repository, f"v{old}.0.0", **known(versions[old], one))
    render(tmp_path / "new", repository, f"v{new}.0.0", **known(versions[new], other))
    done = [(deed, rng.randrange(10**4), rng.randrange(10**4)) for deed in rng.choices(DEEDS, k=8)]
    case, people = prepare(tree(tmp_path / "old"), tree(tmp_path / "new"), done)
    update([case])

    folder = tmp_path / "project"
    write(folder, case.mine, set(case.mine))
    write(folder, case.ignored, set(case.ignored))
    git(folder, "init", "-q")
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "-m", "mine")
    (tmp_path / "answers.yml").write_text(yaml.safe_dump(recorded(tmp_path / "new")))
    arguments = ["--defaults", "--quiet", "--data-file", str(tmp_path / "answers.yml")]
    ran = command("copier", "update", *arguments, "--vcs-ref", f"v{new}.0.0", str(folder))
    assert ran.returncode == 0, ran.stderr
    found = {name: text for name, text in tree(folder).items() if not name.startswith(".git/")}
    assert different(found, case.result) == []
    assert unmerged(folder) == case.unmerged
    assert faults(case, people) == []


@NUMBERS
def test_an_updated_project_equals_a_fresh_one(
    versions: list[Path], repository: Path, tmp_path: Path, number: int
) -> None:
    """Nobody edited anything: another version, other answers, another depth of the plan."""
    rng = random.Random(2000 + number)
    old, new = sorted(rng.choices(range(VERSIONS), k=2))
    one, other = change_of_answers(number)
    changed = {name: value for name, value in other.items() if one.get(name) != value}
    changed["plan_depth"] = rng.choice(["light", "standard", "regulated"])
    changed = known(versions[new], changed)
    one = known(versions[old], one)
    folder = render(tmp_path / "updated", repository, f"v{old}.0.0", **one)
    publish(folder)
    update_project(folder, f"v{new}.0.0", **changed)
    fresh = tree(render(tmp_path / "fresh", repository, f"v{new}.0.0", **recorded(folder)))
    found = {name: text for name, text in tree(folder).items() if not name.startswith(".git/")}
    assert set(different(found, fresh)) <= TEAM
    assert {name: recorded(folder)[name] for name in changed} == changed


def test_answers_survive_changes_of_questions(tmp_path: Path) -> None:
    template = version(0, tmp_path / "template")
    publish(template, "v1.0.0")
    told = {"oncall": "The night team", "python_version": "3.11"}
    folder = render(tmp_path / "project", template, "v1.0.0", **told)
    publish(folder)
    for change in (add_question, rename_question, change_choices):
        change(template, random.Random(0))
    edit(template / "questions/operation.yml", lambda text: text.replace('"3.11", ', ""))
    check_answers_anew(template)
    publish(template, "v2.0.0")
    update_project(folder)
    after = recorded(folder)
    assert after["called"] == "The night team" and "oncall" not in after
    assert "On call: The night team." in (folder / "docs/runbook.md").read_text()
    assert [value for name, value in after.items() if name.startswith("board_")] == ["nobody"]
    # Copier takes the default for a choice that is gone, and says nothing.
    assert after["python_version"] == "3.14"


@pytest.mark.parametrize(
    "config",
    [
        {"apply.whitespace": "error-all"},
        {"core.autocrlf": "true"},
        {"merge.conflictStyle": "diff3"},
    ],
    ids=str,
)
def test_the_settings_of_a_user_do_not_matter(
    family: Callable[[int], list[Tree]], config: dict[str, str]
) -> None:
    """Without .gitattributes the first loses every edit silently, the second makes conflicts."""
    old, _, _, new = family(0)
    case, people = prepare(old, new, [(People.write_plan, 3, 1), (People.write_notes, 0, 0)])
    case.mine["README.md"] += b"A blank at the end \n"
    update([case], **config)
    assert faults(case, people) == []
    assert case.unmerged == set()
