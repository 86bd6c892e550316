"""Answers made to do harm: refused in one line, with nothing written, or taken as they are."""

import datetime
import json
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from copier._main import Worker
from copier.errors import UserMessageError
from helpers.rendering import (
    command,
    fast_copier,
    plain_template,
    recorded,
    render,
)
from helpers.terminal import Terminal
from test_render import check_project, recorded_questions

HOSTILE: list[Any] = [
    *[
        "",
        "x" * 5000,
        "../x",
        "/etc/passwd",
        "a\0b",
        "\udc80",
        "a\nb",
        "\u202e",
        "{{ 7*7 }}",
        "# %",
    ],
    *["'\"`$(id)", "null", "yes", "[]", "['rest', 'batch']", "!!python/object:os.system", "&a *a"],
    *[
        "nan",
        "1e400",
        "1e-300",
        "-1",
        "0",
        "1",
        "1.5",
        "1_000",
        "9" * 400,
        None,
        True,
        0,
        1.5,
        30.0,
    ],
    *[float("inf"), 10**400, [], ["rest"], [[]], {"rest": 1}, b"x", datetime.date.min],
]


def answered(folder: Path, name: str, value: Any) -> Any:
    """Return what Copier takes for an answer; None when one line that names it refuses it."""
    template, data = str(plain_template()), {name: value}
    try:
        with Worker(template, folder, data=data, defaults=True, quiet=True) as worker:
            worker._ask()
    except UserMessageError as refusal:
        assert "\n" not in refusal.message and f"'{name}: " in refusal.message
        return None
    return worker.answers.combined[name]


@pytest.mark.parametrize("share", [3, pytest.param(1, marks=pytest.mark.nightly)])
def test_a_hostile_answer_is_refused_in_one_line_or_taken_as_it_is(
    tmp_path: Path, share: int
) -> None:
    texts: dict[int, list[str]] = {}
    with fast_copier(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, name in enumerate(recorded_questions()):
            # Each question meets every third value, and each value every third question.
            for index, value in list(enumerate(HOSTILE))[number % share :: share]:
                got = answered(tmp_path / "none", name, value)
                if isinstance(got, str):
                    assert got == str(value)
                    texts.setdefault(index, []).append(name)
                elif isinstance(got, bool | list):
                    means = yaml.safe_load(value) if isinstance(value, str) else value
                    assert got == means, (name, value)
                elif got is not None:
                    assert got == float(value) and not isinstance(value, bool), (name, value)
    assert len(texts) > 20
    for index, names in texts.items():  # the same text wherever it may stand
        same = {name: str(HOSTILE[index]) for name in names}
        columns = ("entity", "time_column", "image_column")
        free = {name: text for name, text in same.items() if name not in columns}
        check_project(render(tmp_path / str(index), **free), free)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("build_months: 1.5", "build_months: give a whole number"),
        ("project_name: [a, b]", "project_name: give a text"),
        ('owner: "a\\0b"', "owner: one line of plain text"),
        (
            "deployment_modes: rest",
            "deployment_modes: give a list, such as [rest, grpc, batch, edge, streaming]",
        ),
        ("action: null", "action: give a text"),
        ("pos_rat: 0.2", "no question is called pos_rat"),
    ],
)
def test_a_bad_answer_in_a_file_ends_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "answers.yml").write_text(text + "\n", encoding="utf-8")
    before = list(tmp_path.iterdir())
    data = ["--data-file", str(tmp_path / "answers.yml")]
    done = command(
        *["copier", "copy", "--defaults", *data, str(plain_template()), str(tmp_path / "project")]
    )
    assert done.returncode == 1
    assert f"'{message}" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == before


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    owner = "owner=" + os.fsdecode(b"\xff")
    done = command(
        *["copier", "copy", "--defaults", "--data", owner],
        *[str(plain_template()), str(tmp_path / "project")],
    )
    assert done.returncode == 1 and "'owner: one line of plain text" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_a_person_types_is_read_and_checked_at_once(tmp_path: Path) -> None:
    given = ["--data", "entity_repeats=no", "--data", "cost_fn=70"]
    terminal = Terminal("copier", "copy", *given, str(plain_template()), str(tmp_path / "project"))
    terminal.answer(
        {
            "How much do you want": "\r",
            "Start from a known case": "\r",
            "What does the model predict": "\r",
            "What is the project called": "\r",
            "write at least one word": "{{ 7*7 }} 🚀\r",
            "Which problem": "Which of the loans will default?\r",
            "Which column does the model": "class\r",
            "rename it in your data": "_of\r",
            "whom a row is about": "\r",
            "when a row was known": "none\r",
            "Which share of rows": "15\r",
            "give 0.0001 to 0.9999": "%\r",
            "one false alarm": "many\r",
            "give a number, such as 10": "\x15" + "1,000\r",
            "write 1000 or 1.0000": "\x15" + "1.889,50\r",
            "How are predictions delivered": " \x1b[B\x1b[B \r",  # none of them
            "choose at least one": " \r",
        }
    )
    code, shown = terminal.end()
    assert code == 0, shown
    answers = recorded(tmp_path / "project")
    assert answers["project_name"] == "{{ 7*7 }} 🚀" and answers["target"] == "class_of"
    assert (answers["entity"], answers["time_column"]) == ("", "")
    assert (answers["pos_rate"], answers["cost_fp"]) == (0.15, 1889.5)
    assert answers["deployment_modes"] == ["batch"]
    check_project(tmp_path / "project", answers)


def test_what_is_typed_replaces_what_a_preset_or_a_project_says(tmp_path: Path) -> None:
    project = render(tmp_path / "project", preset="churn", entity_repeats="no", owner="Ann")
    first = recorded(project)
    asks = ["project_name", "entity", "pos_rate", "cost_fp"]
    others = {name: value for name, value in first.items() if name not in asks}
    (tmp_path / "others.yml").write_text(yaml.safe_dump(others))
    data = ["--data-file", str(tmp_path / "others.yml")]
    terminal = Terminal("copier", "copy", *data, str(plain_template()), str(tmp_path / "again"))
    terminal.answer(
        {
            "Enter: Customer churn": "Lending club\r",
            "Enter: customer_id": "-\r",
            "Enter: 0.04": "5 %\r",
            "Enter: 10": "\r",
        }
    )
    code, shown = terminal.end()
    assert code == 0, shown
    typed = {"project_name": "Lending club", "entity": "", "pos_rate": 0.05}
    assert recorded(tmp_path / "again") == first | typed


NUMBERS = {
    "whole": {
        "25": 25,
        "1 000": 1000,
        "1,000": 1000,
        "1.000.000": 10**6,
        "1'500": 1500,
        "1e3": 1000,
    },
    "share": {
        **{"5%": 0.05, "5 %": 0.05, "0,05": 0.05, ".5": 0.5, "0.125": 0.125, "12,5%": 0.125},
        **{"8,149 %": 0.08149, "12.345%": 0.12345},
    },
    "amount": {
        **{"1.889,50": 1889.5, "1,889.50": 1889.5, "€ 1 889,50": 1889.5, "10 EUR": 10.0},
        **{"−50": -50.0, "1\u202f000": 1000.0, "1,234,567.8": 1234567.8, "1234,567": 1234.567},
    },
    "real": {"1.234,5 %": 12.345, "-1.5": -1.5, "100 %": 1.0},
}
REFUSED = {
    "whole": {
        "1,5": "whole number",
        "5%": "not a percentage",
        "ten": "such as 3",
        "1 00": "such as",
    },
    "amount": {
        **{"1,000": "two ways: write 1000 or 1.0000", "10.025": "write 10025 or 10.0250"},
        **{
            "5%": "not a percentage",
            "1.2.3": "such as 3",
            "1,00,000.5": "such as 3",
            "nan": "such as",
        },
        **{"1e999": "such as 3", "9" * 200: "such as 3", "": "such as 3", "10k": "such as 3"},
    },
}


def test_numbers_are_read_as_people_write_them_or_refused() -> None:
    with Worker(str(plain_template()), quiet=True) as worker:
        module: Any = worker.jinja_env.get_template("questions/prompts.jinja").module
    for kind, texts in NUMBERS.items():
        for text, value in texts.items():
            assert json.loads(module.number(text, kind, "3")) == {"value": value}, (kind, text)
    for kind, faults in REFUSED.items():
        for text, fault in faults.items():
            assert fault in json.loads(module.number(text, kind, "3"))["fault"], (kind, text)


def as_people_write(value: float, help_text: str) -> str:
    """Return a number in a form that Copier's own types refuse."""
    if isinstance(value, int):
        return f"{value:,} " if value >= 1000 else f"{value}.0"
    if "currency" in help_text:
        return f"EUR {value:.2f}".replace(".", ",")
    return f"{value * 100:g} %".replace(".", ",")


@pytest.mark.parametrize("way", ["--data", "--data-file"])
def test_given_answers_are_read_as_typed_ones(tmp_path: Path, way: str) -> None:
    plain = recorded(render(tmp_path / "plain", plan_depth="standard", entity="", time_column=""))
    with Worker(str(plain_template()), quiet=True) as worker:
        questions = worker.template.questions_data
    given: dict[str, Any] = {
        name: as_people_write(value, questions[name.upper()]["help"])
        for name, value in plain.items()
        if questions[name]["type"] in ("int", "float")
    }
    assert len(given) > 30
    read = sorted(given)
    nothing = {"entity": "none", "time_column": False if way == "--data-file" else "No"}
    given |= {"plan_depth": "standard", "build_months": "4", **nothing}
    (tmp_path / "answers.yml").write_text(yaml.safe_dump(given))
    options = ["--data-file", str(tmp_path / "answers.yml")]
    if way == "--data":
        options = [part for pair in given.items() for part in ("--data", "{}={}".format(*pair))]
    project = str(tmp_path / "project")
    done = command("copier", "copy", "--defaults", *options, str(plain_template()), project)
    assert done.returncode == 0, done.stderr
    assert recorded(tmp_path / "project") == plain
    said = {line.partition(":")[0] for line in done.stderr.splitlines() if " is read as " in line}
    assert said == {*read, *nothing} - {"build_months"}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("cost_fn=1,889", "cost_fn: 1,889 can be read in two ways: write 1889 or 1.8890"),
        ("cost_fn=10.025", "cost_fn: 10.025 can be read in two ways: write 10025 or 10.0250"),
        (
            "today_error=1,500%",
            "today_error: 1,500% can be read in two ways: write 1500 % or 1.5000 %",
        ),
        ("latency_ms=5%", "latency_ms: give a number, not a percentage"),
        ("pos_rate=150%", "pos_rate: give 0.0001 to 0.9999, such as 0.15"),
        ("--quiet pos_rate=150%", "pos_rate: give 0.0001 to 0.9999, such as 0.15"),
        ("pos_rate=5percent", "pos_rate: give a number, such as 0.15"),
        ("--quiet pos_rate=5%", "pos_rate: write 0.05: with --quiet"),
        ("--quiet entity=none", "entity: write entity= for none: with --quiet"),
    ],
)
def test_a_given_answer_of_two_meanings_is_refused(
    tmp_path: Path, answer: str, message: str
) -> None:
    *quiet, answer = answer.split()
    arguments = [*quiet, "--data", answer, str(plain_template()), str(tmp_path / "project")]
    done = command("copier", "copy", "--defaults", *arguments)
    assert done.returncode == 1 and f"'{message}" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_who_stops_gets_nothing(tmp_path: Path) -> None:
    terminal = Terminal("copier", "copy", str(plain_template()), str(tmp_path / "project"))
    terminal.wait("How much do you want")
    terminal.type("\x03")
    code, shown = terminal.end()
    assert code == 1 and "Execution stopped by user" in shown and "Traceback" not in shown
    assert list(tmp_path.iterdir()) == []
