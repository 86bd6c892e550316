"""Duties by law: each with article, reason, owner and place of the evidence, in every depth."""

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from helpers import tables
from helpers.filled import answer
from helpers.plan import render_plan
from helpers.rendering import ROOT, render

from package_name.engine.settings import Project
from package_name.planner import check, page, report, signing, why

TABLE = tables.rules("binary")
ROLES = {
    *("sponsor", "product", "domain expert", "data engineer", "data scientist", "ML engineer"),
    *("on-call lead", "risk"),
}
LAWS = {id: (duty["law"], duty["article"]) for id, duty in TABLE["duties"].items()}
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
            assert {*duty} == {
                *("id", "duty", "article", "since", "source", "reason", "owner", "evidence")
            }
            assert duty["owner"] in ROLES and duty["source"] in plan["sources"]
            assert date.fromisoformat(duty["since"]).strftime("%B %Y") in duty["reason"]
            assert duty["evidence"] in plan["blocks"] or duty["evidence"].startswith("docs/")
            cells = [duty[part] for part in ("duty", "article", "reason", "owner", "evidence")]
            if depth != "light":
                assert f"| {' | '.join(cells)} <!-- {duty['id']} --> |" in text
                continue
            # Four pages hold no more than a row for each law and day; the next test finds the rest.
            law, place = LAWS[duty["id"]]
            day = date.fromisoformat(duty["since"])
            (row,) = re.findall(rf"\| {day.day}\u00a0{day:%b\u00a0%Y} \| {law}: .*", text)
            word = TABLE["decisions"]["REG-01"]["words"][duty["id"]].split(" (")[0]
            owed = row.split(f"**{duty['owner']}** ")[1].split("**")[0]
            assert re.search(rf"\b{re.escape(f'{word} ({place}')}[,)]", owed)


@pytest.mark.parametrize(("depth", "block"), [("light", "PRIV-01"), ("standard", "REG-01")])
def test_what_a_plan_is_brief_about_is_told_by_why_and_on_the_page(
    depth: str, block: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = render(tmp_path / "project", plan_depth=depth, risk_class="high", **HEAVY)
    project = Project(made)
    pointer = f"(`ml plan why {block}` says more)"
    assert (pointer in (made / "PLAN.md").read_text(encoding="utf-8")) == (depth == "light")
    why.run(project, block)
    told = capsys.readouterr().out
    html = re.sub(r"<[^>]+>", "|", page.run(project).read_text(encoding="utf-8"))
    for duty in project.plan.duties:
        parts = [duty.duty, duty.article, duty.reason, duty.owner, duty.evidence]
        assert all(part in told and f"|{part}|" in html for part in parts)
        assert f"source: {duty.source}: " in told
    assert "|---|" not in told and "<!--" not in told


def test_a_signature_covers_what_a_light_plan_is_brief_about(tmp_path: Path) -> None:
    made = render(tmp_path / "project", plan_depth="light")
    project = Project(made)
    answer(project, "PRIV-01", "Consent, three years, the sales team.")
    signing.approve(project, "PRIV-01", "@eva", None)

    def stale() -> list[str]:
        found = check.check(Project(made))
        return [f.id for f in found if "stale approval: the generated text" in f.message]

    assert stale() == []
    path = made / "plan" / "plan.yaml"
    text = path.read_text(encoding="utf-8").replace("since 25 May 2018", "since 26 May 2018")
    path.write_text(text, encoding="utf-8")
    assert stale() == ["PRIV-01"]


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
        ("uk", ("UK GDPR 5", "DPA 2018, 164A"), ("UK GDPR 35", "UK GDPR 22A to 22D")),
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
    def said(*places: str, **answers: Any) -> tuple[str, str]:
        text = render_plan(plan_depth=depth, jurisdictions=[*places], **answers)[0]
        line = next((line for line in text.split("\n") if line.startswith("Due: ")), "")
        return line, text

    line, _ = said("eu", "uk", "us_ca", "other")
    assert line.startswith("Due: no assessment by the answers; one is, before data are processed,")
    assert all(f"({article}" in line for article in ("GDPR 35", "UK GDPR 35", "11 CCR 7150"))
    assert "data are sold, shared or sensitive" in line
    assert line.endswith("; nobody checked the other places.")
    line, text = said("eu", "us_ca", **HEAVY)
    assert "no assessment" not in text and "one more" not in text
    assert text.count("due before the data are processed, training included") >= 2
    assert bool(line) == (depth == "standard")  # the table of a light plan has it
    line, text = said("eu", "us_ca", significant_effect=True)
    assert "one more assessment is, before data are processed, once data are sold" in line
    assert ("Due: data protection impact assessment (GDPR 35, 36), before" in line) == bool(
        depth == "standard"
    )
    assert "assessment: data protection impact" not in text.lower()  # it was doubled
    line, text = said("us_health")
    assert "no assessment" not in text and "due now, and again when operations change" in text
    assert said("other")[0] == "Due: nobody checked whether an assessment is."


def test_where_nobody_checked_the_plan_says_so() -> None:
    text, plan = render_plan(jurisdictions=["other"])
    assert [duty["id"] for duty in plan["duties"]] == ["unchecked_places"]
    assert "places that nobody checked" in text and "no assessment" not in text
    assert (
        "Ask a lawyer of that place"
        in render_plan(jurisdictions=["other"], plan_depth="standard")[0]
    )
    reason = plan["duties"][0]["reason"]
    assert "nobody checked the rules of places other than" in reason and "Colorado" in reason
    assert f"as of {TABLE['laws_checked']}" in text


def test_every_source_has_a_place_and_says_whether_it_was_opened() -> None:
    page = (ROOT / "docs" / "reference" / "rules.md").read_text(encoding="utf-8")
    for key, found in TABLE["sources"].items():
        assert {*found} == {"source", "at", "seen"}
        assert found["at"].startswith("https://") or key in ("UPL", "SUMS")
        assert found["seen"] and f"{found['seen']} |" in page
    _, plan = render_plan()
    assert plan["sources"]["RUDIN"].endswith("https://doi.org/10.1038/s42256-019-0048-x")


def test_who_decides_and_what_is_high_risk_is_not_taken_on_trust() -> None:
    weighs = {"significant_effect": True, "decision_mode": "human_in_loop"}
    found = {duty["id"]: duty for duty in render_plan(**weighs)[1]["duties"]}
    score = found["human_review_of_decisions"]
    assert score["source"] == "SCHUFA" and "draws strongly" in score["reason"]
    assert "profiles people is always high-risk" in found["classification"]["reason"]
    assert "classification" not in duties()
    assert "AI Act 5" in duties(risk_class="prohibited")["prohibited_practice"]


def test_credit_to_consumers_in_the_european_union() -> None:
    found = duties(preset="credit", jurisdictions=["eu_credit"])
    assert found["creditworthiness"] == "Directive 2023/2225, 6, 18(1) to (6)"
    assert found["review_of_credit"] == "Directive 2023/2225, 18(8), (9)"
    assert {"processing_record", "ai_literacy"} <= found.keys()  # the rest of the Union's law
    text, _ = render_plan(jurisdictions=["eu_credit"], plan_depth="standard")
    assert "Member State made of the directive; since 20 November 2026" in text
    assert "risk class `minimal` of the EU AI Act" in text
    assert not {"creditworthiness", "review_of_credit"} & duties(jurisdictions=["eu"]).keys()


def test_every_line_of_a_plan_ends_as_a_sentence() -> None:
    everywhere = ["eu", "eu_credit", "uk", "us_ca", "us_health", "us_credit", "other"]
    for depth in ("light", "standard", "regulated"):
        for more in ({}, {"jurisdictions": everywhere, **HEAVY}, {"personal_data": False}):
            _, plan = render_plan(plan_depth=depth, risk_class="high", **more)
            blocks = [block for id, block in plan["blocks"].items() if id != "SUMMARY"]  # a chart
            lines = [line for block in blocks for line in block["lines"]]
            said = [line for line in lines if not line.startswith(("|", "<!--"))]
            faults = [
                line for line in said if line[-1] not in ".?!" or re.search(r" [.,;]|\.\.", line)
            ]
            assert not faults


def test_credit_in_the_united_states() -> None:
    found = duties(jurisdictions=["us_credit"], personal_data=False)
    assert found["adverse_action_notice"] == "12 CFR 1002.9(a), (b)"
    assert found["consumer_report_notice"] == "15 U.S.C. 1681m(a)"
    assert len(found) == 3 and "no_prohibited_basis" in found


def test_a_page_shows_the_duties_as_a_table(tmp_path: Path) -> None:
    project = Project(render(tmp_path / "project", plan_depth="standard"))
    text = report.run(project, "data")[0].read_text(encoding="utf-8")
    assert "no legal advice.\n\n| Duty | Article | Why | Owner | Evidence |\n|---|" in text
    assert "| sponsor | TEAM-01 |" in text and "<!--" not in text
