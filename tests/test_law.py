"""Duties by law: each with article, reason, owner and place of the evidence, in every depth."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.plan import render_plan
from helpers.rendering import ROOT, render

from package_name.engine.settings import Project
from package_name.planner import report

TABLE = yaml.safe_load((ROOT / "questions" / "rules.yaml").read_text(encoding="utf-8"))
ROLES = {
    *("sponsor", "product", "domain expert", "data engineer", "data scientist", "ML engineer"),
    *("on-call lead", "risk"),
}
HEAVY = {"significant_effect": True, "decision_mode": "automated"}


def duties(**answers: Any) -> dict[str, str]:
    """Return article by duty."""
    return {duty["id"]: duty["article"] for duty in render_plan(**answers)[1]["duties"]}


def test_every_duty_is_whole_and_every_value_has_one() -> None:
    assert TABLE["duties"].keys() | {"none"} == {*TABLE["decisions"]["REG-01"]["words"]}
    for depth in ("light", "standard", "regulated"):
        text, plan = render_plan(
            plan_depth=depth, risk_class="high", jurisdictions=["eu", "uk", "us_ca"], **HEAVY
        )
        assert len(plan["duties"]) > 20
        for duty in plan["duties"]:
            assert {*duty} == {"id", "duty", "article", "reason", "owner", "evidence"}
            assert duty["owner"] in ROLES
            assert duty["evidence"] in plan["blocks"] or duty["evidence"].startswith("docs/")
            cells = [duty[part] for part in ("duty", "article", "reason", "owner", "evidence")]
            assert f"| {' | '.join(cells)} <!-- {duty['id']} --> |" in text


def test_articles_of_a_credit_score_in_europe() -> None:
    found = " ".join(duties(preset="credit", risk_class="high", significant_effect=True).values())
    for article in (4, 9, 10, 11, 13, 14, 15, 26, 27, 43, 47, 49, 72, 86):
        assert f"AI Act {article}" in found
    assert "47, 48" in found and "GDPR 35" in found
    text = render_plan(risk_class="high", plan_depth="standard")[0]
    assert "from 2 December 2027" in text and "since 2 February 2025" in text


@pytest.mark.parametrize(
    ("place", "articles", "heavy"),
    [
        ("us_ca", ("1798.100", "1798.105", "1798.120"), ("11 CCR 7200", "11 CCR 7221", "7150")),
        ("uk", ("UK GDPR 5",), ("UK GDPR 35", "UK GDPR 22A to 22D")),
        ("eu", ("GDPR 5", "AI Act 4"), ("GDPR 35", "GDPR 22")),
    ],
)
def test_duties_of_a_place(place: str, articles: tuple[str], heavy: tuple[str]) -> None:
    plain = " ".join(duties(jurisdictions=[place]).values())
    more = " ".join(duties(jurisdictions=[place], **HEAVY).values())
    assert all(article in plain for article in articles)
    assert all(article in more and article not in plain for article in heavy)
    assert not duties(jurisdictions=[place], personal_data=False).keys() - {"ai_literacy"}


@pytest.mark.parametrize("depth", ["light", "standard"])
def test_a_plan_says_when_an_assessment_is_due(depth: str) -> None:
    none = render_plan(plan_depth=depth)[0]
    assert "none is due now; one is as soon as decisions weigh on people" in none
    due = render_plan(plan_depth=depth, jurisdictions=["eu", "us_ca"], **HEAVY)[0]
    assert "none is due" not in due and "due before the start" in due and "11 CCR 7150" in due


def test_where_nobody_checked_the_plan_says_so() -> None:
    text, plan = render_plan(jurisdictions=["other"])
    assert [duty["id"] for duty in plan["duties"]] == ["unchecked_places"]
    assert "Ask a lawyer of that place" in text
    assert "nobody checked the rules of places other than" in plan["duties"][0]["reason"]
    assert f"as of {TABLE['laws_checked']}" in text
    for source in ("AIA", "CCPA", "UKGDPR"):
        assert "not from the" in plan["sources"][source]  # who looked up what, and where


def test_a_page_shows_the_duties_as_a_table(tmp_path: Path) -> None:
    project = Project(render(tmp_path / "project", plan_depth="standard"))
    text = report.run(project, "data")[0].read_text(encoding="utf-8")
    assert "no legal advice.\n\n| Duty | Article | Why | Owner | Evidence |\n|---|" in text
    assert "| sponsor | TEAM-01 |" in text and "<!--" not in text
