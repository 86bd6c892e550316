"""`ml plan fill`: a person is walked through what is open; nothing half-written, nothing lost."""

import datetime as dt
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from helpers import package  # noqa: F401  (makes `package_name` importable)
from helpers.rendering import publish, render

from package_name.engine import storage
from package_name.engine.errors import ProjectError
from package_name.engine.settings import Project
from package_name.planner import answers, check, fill, signing
from package_name.planner.blocks import read, survey

TODAY = dt.date(2026, 11, 27)


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = render(tmp_path_factory.mktemp("fill") / "project")
    publish(folder, "v1")
    subprocess.run(["git", "config", "user.name", "Ana Maria"], cwd=folder, check=True)
    return folder


@pytest.fixture
def project(committed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in ("EDITOR", "VISUAL"):
        monkeypatch.delenv(name, raising=False)
    return Project(shutil.copytree(committed, tmp_path / "project"))


class Person:
    """Types these lines one after the other; a function does something first."""

    def __init__(self, *lines: object) -> None:
        self.lines: Iterator[object] = iter(lines)
        self.told: list[str] = []

    def ask(self, prompt: str) -> str:
        self.told.append(prompt)
        line = next(self.lines, EOFError())
        if isinstance(line, BaseException):
            raise line
        if callable(line):
            line = line()
        return str(line)

    @property
    def seen(self) -> str:
        return "\n".join(self.told)


def dialogue(project: Project, person: Person, *ids: str, gate: str | None = None) -> str:
    wanted = list(ids) or fill.wanted(project, None, gate)
    fill.Dialogue(project, person.ask, person.told.append).run(wanted)
    return person.seen


def block(project: Project, identifier: str) -> tuple[list[str], dict[str, str]]:
    part = survey(read(project.path("PLAN.md")))[0]["human", identifier]
    return part.lines, part.attributes


def test_an_answer_owner_date_and_status_get_into_the_plan(project: Project) -> None:
    person = Person("Fifteen of a hundred leave,", "each year.", "", "", "+2w", "", "q")
    seen = dialogue(project, person)
    due = (dt.datetime.now().astimezone().date() + dt.timedelta(weeks=2)).isoformat()
    fields = {"owner": "Ana Maria", "due": due, "status": "review"}  # git's name, the default
    assert block(project, "PROB-01") == (["Fifteen of a hundred leave,", "each year."], fields)
    for text in (
        "G0 Is the problem real and owned? (1 of 16)",
        "Problem (PROB-01)",
        "What evidence shows the problem",
        "in 14 days",
        "filled: PROB-01\n",
        "open: G0: OBJ-01, TEAM-01; G1: ",
        "next: `ml plan fill --gate G0`, `ml plan approve PROB-01` to sign",
    ):
        assert text in seen, text
    assert not [f for f in check.check(project) if f.level == "error"]


def test_gates_come_in_order_and_a_gate_asks_what_it_still_needs(project: Project) -> None:
    found = fill.wanted(project, None, None)
    gates = [project.plan.blocks[i].gate for i in found]
    assert gates == sorted(gates) and len(found) == 16
    until = fill.wanted(project, None, "g1")
    assert {project.plan.blocks[i].gate for i in until} == {"G0", "G1"}
    assert fill.wanted(project, "prob-01", None) == ["PROB-01"]
    for wrong in (("NOPE-01", None), (None, "G7")):
        with pytest.raises(ProjectError, match=r"PROB-01|G0, G1"):
            fill.wanted(project, *wrong)


def test_enter_skips_b_goes_back_and_ctrl_d_stops(project: Project) -> None:
    before = read(project.path("PLAN.md"))
    seen = dialogue(project, Person("", "", "b", "b", EOFError()))
    places = [line for line in seen.split("\n") if " of 16)" in line]
    assert [line.rpartition("(")[2][0] for line in places] == ["1", "2", "3", "2", "1"]
    assert read(project.path("PLAN.md")) == before and "filled: nothing" in seen


def test_back_from_a_field_returns_to_the_answer_with_its_text(project: Project) -> None:
    person = Person("One.", "", "b", "", "Eva", "b", "Eva B", "none", "draft", "q")
    seen = dialogue(project, person)
    assert "Enter keeps what you wrote" in seen
    fields = {"owner": "Eva B", "due": "none", "status": "draft"}
    assert block(project, "PROB-01") == (["One."], fields)


@pytest.mark.parametrize("end", ["q", EOFError(), KeyboardInterrupt()])
def test_who_stops_after_an_answer_keeps_it_as_a_draft(project: Project, end: object) -> None:
    seen = dialogue(project, Person("One.", "", "Eva", end))
    lines, fields = block(project, "PROB-01")
    assert lines == ["One."] and fields["status"] == "draft"
    assert "kept as a draft" in seen and "filled: PROB-01" in seen


def test_ctrl_c_in_an_answer_writes_nothing_and_tells_where_we_are(project: Project) -> None:
    before = read(project.path("PLAN.md"))
    person = Person("Half a th", KeyboardInterrupt())
    with pytest.raises(typer.Exit) as caught:
        dialogue(project, person)
    assert caught.value.exit_code == 130
    assert read(project.path("PLAN.md")) == before and "open: G0: PROB-01" in person.seen


def test_a_file_that_changed_meanwhile_is_read_again_and_the_text_is_kept(
    project: Project,
) -> None:
    path = project.path("PLAN.md")

    def somebody() -> str:
        path.write_text(read(path) + "\nNotes of somebody.\n")
        return "review"

    person = Person("One.", "", "Eva", "+3m", somebody, "", "", "", "", "q")
    seen = dialogue(project, person)
    assert "was changed meanwhile" in seen
    assert "Notes of somebody." in read(path)
    assert block(project, "PROB-01")[0] == ["One."]
    assert block(project, "PROB-01")[1]["owner"] == "Eva"


@pytest.mark.parametrize(
    "line",
    [
        "<!-- plan:human OBJ-01 -->",
        "x <!-- /plan:human PROB-01 --> y",
        "### Mine <!-- OBJ-01 -->",
        "## Notes of the team",
        "<<<<<<< HEAD",
    ],
)
def test_text_that_looks_like_a_mark_is_refused_and_named(project: Project, line: str) -> None:
    before = read(project.path("PLAN.md"))
    seen = dialogue(project, Person("Fine.", line, "", "", "q"), "PROB-01")
    assert f"an answer may not hold {line!r}" in seen
    assert read(project.path("PLAN.md")) == before


def test_lists_tables_and_hostile_characters(project: Project) -> None:
    lines = ["| a | b |", "|---|---|", "| <b>1</b> | 2 |"]
    dialogue(project, Person("\x1b[31m\x07red\u202e", *lines, "", "", "", "", "q"))
    assert block(project, "PROB-01")[0] == ["[31mred", *lines]
    seen = dialogue(project, Person("\udcff", "", "", "q"), "OBJ-01")
    assert "no UTF-8 text" in seen


@pytest.mark.parametrize(
    "text", ["TODO", "nothing", "later", "---", "?", "TBD", "_No answer yet._"]
)
def test_what_is_no_answer_is_not_taken(project: Project, text: str) -> None:
    seen = dialogue(project, Person(text, "", "", "q"), "PROB-01")
    assert "is no answer" in seen and "filled: nothing" in seen


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("2027-01-31", "2027-01-31"),
        ("31.01.2027", "2027-01-31"),
        ("31. 1. 2027", "2027-01-31"),
        ("+2w", "2026-12-11"),
        ("+ 2 weeks", "2026-12-11"),
        ("+10d", "2026-12-07"),
        ("+3m", "2027-02-27"),
        ("none", "none"),
        ("-", "none"),
    ],
)
def test_dates_are_read_as_people_write_them(given: str, meant: str) -> None:
    assert answers.due(given, TODAY) == meant


@pytest.mark.parametrize("given", ["31.02.2027", "tomorrow", "2026-11-26", "+99999m", "1/2/2027"])
def test_a_wrong_date_says_which_are_right(given: str) -> None:
    with pytest.raises(ProjectError, match=r"such as 2027-01-31 or 31\.01\.2027, \+10d"):
        answers.due(given, TODAY)


def test_months_from_today_keep_the_day_or_the_last_of_the_month() -> None:
    for today, months in itertools.product(
        (TODAY + dt.timedelta(days=days) for days in range(0, 800, 9)), range(1, 25)
    ):
        day = dt.date.fromisoformat(answers.due(f"+{months}m", today))
        assert (day.year - today.year) * 12 + day.month - today.month == months
        assert day.day == today.day or (day + dt.timedelta(days=1)).day == 1


def test_a_date_is_repeated_in_words() -> None:
    assert answers.words("2027-01-31", TODAY) == "Sunday 31 January 2027, in 9 weeks"
    assert answers.words("2026-11-28", TODAY) == "Saturday 28 November 2026, in 1 day"
    assert answers.words("none", TODAY) == "no date"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("done", "give open, draft, review, not needed; did you mean review?"),
        ("reviw", "did you mean review?"),
        ("approved", "a signature comes from `ml plan approve ID`"),
    ],
)
def test_a_wrong_status_says_which_are_right(given: str, reason: str) -> None:
    with pytest.raises(ProjectError) as caught:
        answers.status(given)
    assert reason in str(caught.value)


@pytest.mark.parametrize("name", ["Eva · Due: x", "<b>", "a;b", "a|b", "Owner: Eva"])
def test_a_name_that_a_line_of_fields_cannot_hold_is_refused(project: Project, name: str) -> None:
    seen = dialogue(project, Person("One.", "", name, "Eva", "none", "", "q"), "PROB-01")
    assert "is no owner: give one name, such as Ana Maria or @eva" in seen
    assert block(project, "PROB-01")[1]["owner"] == "Eva"


@pytest.mark.parametrize("name", ["Ana Maria", "@eva", "O'Neil, Jr.", "Zoë_K", "李雷", "a*b*"])
def test_names_read_back_as_they_were_given_or_are_refused(project: Project, name: str) -> None:
    text = read(project.path("PLAN.md"))
    try:
        new = answers.put(text, "PROB-01", answers.Answer(["One."], name))
    except ProjectError as error:
        assert "no owner" in str(error) and "*" in name
    else:
        assert survey(new)[0]["human", "PROB-01"].attributes["owner"] == name


def test_an_editor_gets_the_question_and_gives_the_answer(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "my editor.py"
    script.write_text(
        "import sys, pathlib\np = pathlib.Path(sys.argv[-1])\nt = p.read_text()\n"
        "assert t.startswith('<!-- Problem (PROB-01): What evidence') and p.suffix == '.md'\n"
        "p.write_text(t + '- one\\n\\n1. two\\n')\n"
    )
    monkeypatch.setenv("EDITOR", f"{sys.executable} '{script}'")
    dialogue(project, Person("e", "", "", "", "q"))
    assert block(project, "PROB-01")[0] == ["- one", "", "1. two"]
    monkeypatch.setenv("EDITOR", "/nowhere/vi")
    seen = dialogue(project, Person("e", "Typed.", "", "", "", "", "q"), "OBJ-01")
    assert "did not work" in seen and block(project, "OBJ-01")[0] == ["Typed."]
    monkeypatch.setenv("EDITOR", "false")
    assert "ended with code 1" in dialogue(project, Person("e", "q"), "TEAM-01")


def test_an_answered_block_is_shown_and_may_be_said_anew(project: Project) -> None:
    dialogue(project, Person("One.", "", "Eva", "none", "", "q"))
    signing.approve(project, "PROB-01", "@bo", None)
    seen = dialogue(project, Person("Two.", "", "", "", ""), "PROB-01")
    assert "approved by @bo: other words need a new signature" in seen and "  One." in seen
    lines, fields = block(project, "PROB-01")
    assert lines == ["Two."] and fields == {
        "owner": "Eva",
        "due": fields["due"],
        "status": "review",
    }


def test_other_blocks_and_line_ends_stay(project: Project) -> None:
    path = project.path("PLAN.md")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    before, _ = survey(read(path))
    dialogue(project, Person("One.", "Two.", "", "", "", "", "q"))
    assert path.read_bytes().count(b"\n") == path.read_bytes().count(b"\r\n")
    after, _ = survey(read(path))
    assert after["human", "PROB-01"].lines == ["One.", "Two."]
    assert {k: p.lines for k, p in after.items() if k != ("human", "PROB-01")} == {
        k: p.lines for k, p in before.items() if k != ("human", "PROB-01")
    }


def test_a_slip_in_one_block_is_named_and_the_others_are_asked(project: Project) -> None:
    path = project.path("PLAN.md")
    path.write_text(read(path).replace("<!-- /plan:human OBJ-01 -->\n", "", 1))
    seen = dialogue(project, Person("One.", "", "", "", "", "q"))
    assert "OBJ-01 never ends" in seen and block(project, "PROB-01")[0] == ["One."]
    assert "cannot be read, see `ml plan check`: OBJ-01" in seen
    path.write_text("<!-- plan:human PROB-01 -->\n")
    seen = dialogue(project, Person())
    assert "cannot be read" in seen and "open: nothing" not in seen


def test_another_command_at_work_is_told_and_the_answer_is_kept(project: Project) -> None:
    lock = storage.project_lock(project.root)

    def busy() -> str:
        lock.__enter__()
        return ""

    def free() -> str:
        lock.__exit__(None, None, None)
        return ""

    seen = dialogue(project, Person("One.", "", "", "", busy, free, "", "", "", "q"))
    assert "another ml command" in seen and block(project, "PROB-01")[0] == ["One."]


def test_without_a_terminal_a_file_is_asked_for(project: Project) -> None:
    with pytest.raises(ProjectError, match=r"--answers FILE, YAML by id such as PROB-01: \{answer"):
        fill.run(project, None, None, None)


def test_answers_of_a_file_are_all_written_or_none(project: Project, tmp_path: Path) -> None:
    file, before = tmp_path / "answers.yaml", read(project.path("PLAN.md"))
    with pytest.raises(ProjectError, match=r"no file .*answers\.yaml: write the answers there"):
        fill.run(project, None, None, file)
    good = 'PROB-01: {answer: "- one\\n- two", owner: Ana Maria, due: 2099-01-31, status: draft}\n'
    for line, reason in (
        ("NOPE-01: x", "asks people nothing; there are PROB-01"),
        ("OBJ-01: TODO", "'TODO' is no answer"),
        ("OBJ-01: {answer: x, boss: y}", "boss"),
        ("OBJ-01: {answer: x, due: 31.02.2099}", "is no date"),
        ("OBJ-01: {answer: x, status: done}", "did you mean review"),
        ("OBJ-01: {answer: 'x <!-- plan:human X-1 -->'}", "may not hold"),
        ("OBJ-01: [1]", "write it such as PROB-01"),
    ):
        file.write_text(good + line)
        with pytest.raises(ProjectError) as caught:
            fill.run(project, None, None, file)
        assert reason in str(caught.value) and str(file) in str(caught.value)
        assert read(project.path("PLAN.md")) == before
    file.write_text(f"{good}NOPE-01: x\nOBJ-01: TODO\nVAL-01: {{answer: x, due: 31.02.2099}}\n")
    with pytest.raises(
        ProjectError, match=r"NOPE-01: .*OBJ-01: .*VAL-01: .*'31.02.2099' is no date"
    ):
        fill.run(project, None, None, file)  # no slip hides the others
    assert read(project.path("PLAN.md")) == before
    file.write_text(f"{good}OBJ-01: The board, in March.\n")
    fill.run(project, None, None, file)
    fields = {"owner": "Ana Maria", "due": "2099-01-31", "status": "draft"}
    assert block(project, "PROB-01") == (["- one", "- two"], fields)
    assert block(project, "OBJ-01")[0] == ["The board, in March."]
    with pytest.raises(ProjectError, match="answered already"):
        fill.run(project, None, None, file)
    file.write_text("PROB-01: {owner: nobody, due: none}\n")
    fill.run(project, None, None, file)
    assert block(project, "PROB-01")[1]["owner"] == "none"


def test_at_a_real_terminal_ctrl_c_ends_with_what_is_open(project: Project) -> None:
    if os.name != "posix":
        pytest.skip("a terminal of Unix")
    from helpers.terminal import Terminal

    source = project.root / "src"
    code = f"import sys; sys.path.insert(0, {str(source)!r})\n"
    code += f"from {next(source.iterdir()).name}.__main__ import main\nmain()"
    screen = Terminal("python", "-c", code, "plan", "fill", "PROB-01", cwd=project.root)
    screen.answer({"ends the answer": "One.\r", "> ": "\r", "Owner [": "Eva\r", "Due [": "+2w\r"})
    screen.wait("Status [")
    time.sleep(0.5)  # readline shows its prompt before it can be interrupted
    os.killpg(screen.process.pid, signal.SIGINT)
    status, shown = screen.end()
    assert "filled: PROB-01" in shown and block(project, "PROB-01")[1]["status"] == "draft"
    assert status == 0
