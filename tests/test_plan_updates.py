"""What people write stays under its decision through real Copier updates, whatever moves around it.

`git apply` accepts a hunk wherever its three lines of context match, so a plan whose lines repeat
moves text to another decision without a conflict. These tests are why marks carry their ids.
Moving a block may end in a conflict, which a person sees; inserting one must not.
"""

import random
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from copier import run_copy, run_update
from helpers import package  # noqa: F401  (makes `package_name` importable)
from helpers.rendering import copy_template, fast_copier, publish

from package_name.planner.blocks import PLACEHOLDER, Part, parse, rewrite

KEPT = ("PLAN.md.jinja", "plan", "{{ _copier_conf.answers_file }}.jinja")
NEW = """  {"id": "NEW-0%d", "title": "New", "gate": "G2", "lines": ["decision: `x`"],
  "measured": "ml evaluate", "human": "Why is it new?"},"""
Chunks = list[str]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the template's plan in a repository of its own, as version 1."""
    folder = copy_template(tmp_path_factory.mktemp("plan-template"))
    for path in (folder / "template").iterdir():
        if path.name not in KEPT:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    publish(folder, "v1.0.0")
    return folder


def change(template: Path, folder: Path, edit: Callable[[Chunks], Chunks]) -> Path:
    """Publish version 2 of the template in `folder`, with its list of blocks edited."""
    shutil.copytree(template, folder)
    path = folder / "questions" / "blocks.jinja"
    head, rest = path.read_text().split("{% set blocks = [\n", 1)
    body, tail = rest.split("\n] %}", 1)
    edited = "\n\n".join(edit(body.split("\n\n")))
    path.write_text(f"{head}{{% set blocks = [\n{edited}\n] %}}{tail}")
    publish(folder, "v2.0.0")
    return folder


def identifier(chunk: str) -> str:
    return re.search(r'"id": "([A-Z]+(-\d+)?)"', chunk)[1]


def wrote(id: str) -> list[str]:
    return [f"What {id} means to us.", "", "- first reason", "- second reason", "", "We agreed."]


def fill(text: str, share: float, rng: random.Random) -> tuple[str, list[str]]:
    """Let people write and approve some blocks, and a run measure all; return the ids written."""
    filled = []
    for kind, id in parse(text):
        part = parse(text)[kind, id]
        if kind == "human" and rng.random() < share:
            part.attributes |= {"status": "approved", "owner": "Bob B", "due": "2027-01-31"}
            part.attributes |= {"by": "@eva", "on": "2026-11-30", "of": "0a1b2c"}
            text = rewrite(text, part, wrote(id))
            filled.append(id)
        elif kind == "measured":
            text = rewrite(text, part, [f"Measured for {id}: 0.8.", "<!-- run r1 -->"])
    return text + "\nAn appendix of the team.\n", filled


def update(template: Path, folder: Path, share: float = 1.0, seed: int = 0, **data: Any) -> Any:
    """Copy version 1, fill its plan, update; return PLAN.md and the ids that people wrote."""
    with fast_copier(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = str(template)
        run_copy(source, folder, defaults=True, quiet=True, vcs_ref="v1.0.0")
        path = folder / "PLAN.md"
        text, filled = fill(path.read_text(encoding="utf-8"), share, random.Random(seed))
        path.write_text(text, encoding="utf-8")
        publish(folder)
        run_update(folder, data=data, defaults=True, overwrite=True, quiet=True)
    return path.read_text(encoding="utf-8"), filled


def check(
    text: str, filled: list[str], gone: tuple[str, ...] = (), came: tuple[str, ...] = ()
) -> dict[tuple[str, str], Part]:
    """Fail unless every text is under its id, once, and nothing is in conflict."""
    parts = parse(text)  # a conflict mark is an error of parse
    for id in filled:
        if id not in gone:
            assert parts["human", id].lines == wrote(id)
            assert parts["human", id].attributes["status"] == "approved"
        assert text.count(f"What {id} means to us.") == (id not in gone)
    for (kind, id), part in parts.items():
        if kind == "human" and id not in filled:
            assert part.open and part.lines == [PLACEHOLDER]
        if kind == "measured" and not id.startswith(("NEW", *came)):
            assert part.lines[0] == f"Measured for {id}: 0.8."
    assert text.endswith("\nAn appendix of the team.\n")
    return parts


def insert(chunks: Chunks) -> Chunks:
    more = [NEW % number for number in range(1, 6)]
    return [
        chunks[0],
        more[0],
        more[1],
        *chunks[1:9],
        more[2],
        *chunks[9:-1],
        more[3],
        chunks[-1],
        more[4],
    ]


def rename(chunks: Chunks) -> Chunks:
    return [re.sub(r'("title": "[^"]*)"', r'\1, renamed"', chunk) for chunk in chunks]


ANSWERS = {
    "metric": {"pos_rate": 0.03},
    "many": {
        "pos_rate": 0.03,
        "interpretability": "inherent",
        "deployment_modes": ["batch"],
        "time_column": "",
        "personal_data": False,
        "owner": "Another team",
        "problem": "Which other customers leave us?",
        "monthly_benefit": 100,
    },
}


@pytest.mark.parametrize("answers", ANSWERS)
def test_answers_change(template: Path, tmp_path: Path, answers: str) -> None:
    source = change(template, tmp_path / "template", lambda chunks: chunks)
    text, filled = update(source, tmp_path / "project", **ANSWERS[answers])
    parts = check(text, filled)
    assert "PR AUC" in parts["auto", "EVAL-01"].lines[0]


@pytest.mark.parametrize("edit", [insert, rename])
@pytest.mark.parametrize("answers", [{}, ANSWERS["many"]], ids=["same", "other"])
def test_the_template_changes_around_what_people_wrote(
    template: Path, tmp_path: Path, edit: Callable[[Chunks], Chunks], answers: dict[str, Any]
) -> None:
    source = change(template, tmp_path / "template", edit)
    text, filled = update(source, tmp_path / "project", **answers)
    parts = check(text, filled)
    assert ("human", "NEW-05") in parts or edit is not insert
    assert "### Risks, renamed <!-- RISK-01 -->" in text or edit is not rename


def test_a_block_that_the_template_drops_is_a_conflict_when_people_wrote_in_it(
    template: Path, tmp_path: Path
) -> None:
    def drop(chunks: Chunks) -> Chunks:
        return [chunk for chunk in chunks if identifier(chunk) != "COM-01"]

    source = change(template, tmp_path / "template", drop)
    text, filled = update(source, tmp_path / "written")
    assert "COM-01" in filled and "<<<<<<<" in text
    assert text.count("What COM-01 means to us.") == 1
    text, filled = update(source, tmp_path / "unwritten", share=0)
    assert ("human", "COM-01") not in check(text, filled)


def owners(text: str) -> list[tuple[str, str | None]]:
    """Return each text that people wrote with the block it is in, in both sides of a conflict."""
    where, found = None, []
    for line in text.split("\n"):
        if mark := re.match(r"<!-- (/?)plan:\w+ (\S+) ", line):
            where = None if mark[1] else mark[2]
        if owner := re.fullmatch(r"What (\S+) means to us\.", line):
            found.append((owner[1], where))
    return found


@pytest.mark.parametrize("seed", range(8))
def test_random_changes_never_misplace_or_lose_a_text(
    template: Path, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    kinds = ["insert", "rename"] if seed % 2 else ["insert", "rename", "move", "swap"]
    done = set()

    def edit(chunks: Chunks) -> Chunks:
        for number in range(1, 5):
            kind = rng.choice(kinds)
            at, to = rng.randrange(1, len(chunks)), rng.randrange(1, len(chunks))
            if kind == "insert":
                chunks.insert(at, NEW % number)
            elif kind == "rename":
                chunks[at] = rename([chunks[at]])[0]
            elif kind == "move":
                chunks.insert(to, chunks.pop(at))
            else:
                chunks[at], chunks[to] = chunks[to], chunks[at]
            done.add(kind)
        return chunks

    answers = rng.choice([{}, *ANSWERS.values()])
    source = change(template, tmp_path / "template", edit)
    text, filled = update(source, tmp_path / "project", share=0.7, seed=seed, **answers)
    found = owners(text)
    assert all(owner == where for owner, where in found)
    assert {owner for owner, _ in found} == set(filled)
    if not done & {"move", "swap"}:
        check(text, filled)


@pytest.mark.parametrize("depth", ["standard", "regulated"])
def test_a_deeper_plan_keeps_what_was_written(template: Path, tmp_path: Path, depth: str) -> None:
    text, filled = update(template, tmp_path / "project", plan_depth=depth)
    parts = check(
        text,
        filled,
        came=("ALT-01", "BUD-01", "DATA-05", "EVAL-08", "PLAT-02", "SCHED-01", "TEAM-02"),
    )
    assert parts["human", "STAKE-01"].attributes["status"] == "open"
    assert ("auto", "REG-02") in parse(text) or depth == "standard"
