"""Plans of the earlier form are carried over once, and no word is lost."""

import random
import re

import pytest
import yaml
from helpers import package  # noqa: F401  (makes `package_name` importable)
from helpers.plan import render_plan
from helpers.rendering import ROOT

from package_name.planner.blocks import parse, survey
from package_name.planner.carry import carry, earlier

OLD = (ROOT / "tests/reference/plan_earlier.md").read_text(encoding="utf-8")
PLAN = yaml.safe_load((ROOT / "tests/reference/plan_earlier.yaml").read_text(encoding="utf-8"))


def words(text: str) -> set[str]:
    return {*re.findall(r"w\d{3}w", text)}


def test_answers_owners_dates_and_signatures_stand_under_their_decision() -> None:
    new, _ = render_plan(plan_depth="standard")
    old = OLD.replace(
        "<!-- plan:human PROB-01 status=todo owner=none due=none -->\n",
        "<!-- plan:human PROB-01 status=approved owner=Ana Maria due=2027-01-31 by=@eva "
        "on=2026-11-30 of=aaaaaa.bbbbbb.cccccc.dddddd.eeeeee -->\n- We lose 4 %.\n\n| a | b |\n"
        "|---|---|\n| 1 | 2 |\n",
    ).replace(
        "plan:human RISK-01 status=todo owner=none", "plan:human RISK-01 status=na owner=@bob"
    )
    assert old != OLD and earlier(old) and not earlier(new)
    parts = parse(carry(old, new, PLAN))
    part = parts["human", "PROB-01"]
    assert part.lines == ["- We lose 4 %.", "", "| a | b |", "|---|---|", "| 1 | 2 |"]
    assert part.attributes == {
        **{"owner": "Ana Maria", "due": "2027-01-31", "status": "approved"},
        **{"by": "@eva", "on": "2026-11-30", "of": "aaaaaa.bbbbbb.cccccc.dddddd.eeeeee"},
    }
    risk = parts["human", "RISK-01"]
    assert risk.open and (risk.attributes["owner"], risk.attributes["status"]) == (
        "@bob",
        "not needed",
    )
    assert parts["human", "OBJ-01"].open
    assert carry(OLD, new, PLAN) == new, "a plan in which nobody wrote is a fresh one"


@pytest.mark.parametrize(
    "seed", [pytest.param(n, marks=pytest.mark.nightly if n > 5 else ()) for n in range(100)]
)
def test_no_word_is_lost_wherever_it_was_written(seed: int) -> None:
    rng = random.Random(seed)
    new, _ = render_plan(plan_depth=rng.choice(["light", "standard", "regulated"]))
    lines = OLD.split("\n")
    for number in range(30):
        at, word = rng.randrange(1, len(lines)), f"w{number:03}w"
        kind = rng.choice(["insert", "insert", "list", "table", "edit"])
        if kind == "edit" and not lines[at].startswith("<!--"):
            lines[at] += f" {word}"
        else:
            lines.insert(at, {"list": f"- {word}", "table": f"| {word} | b |"}.get(kind, word))
    end = rng.choice(["\n", "\r\n"])
    old = end.join(lines)
    carried = carry(old, new, PLAN)
    assert words(carried) == words(old)
    assert all(carried.count(word) == 1 for word in words(old))
    _, problems = survey(carried)
    assert [problem for problem in problems if problem.level == "error"] == []
    inside = {word: part[1] for part in _human(old) for word in words(part[0])}
    found = {word: part for (kind, part), text in _texts(carried) for word in words(text) if kind}
    there = {id for _, id in parse(new)}
    assert all(found.get(word) == id for word, id in inside.items() if id in there)


def _human(old: str) -> list[tuple[str, str]]:
    pattern = r"<!-- plan:human (\S+) .*?-->(.*?)<!-- /plan:human \1 -->"
    return [(text, id) for id, text in re.findall(pattern, old, re.DOTALL)]


def _texts(text: str) -> list[tuple[tuple[str, str], str]]:
    return [(key, "\n".join(part.lines)) for key, part in parse(text).items() if key[0] == "human"]
