"""The draft of an assessment of what a project does to people."""

from pathlib import Path

import pytest
import yaml
from helpers.filled import answer
from helpers.rendering import ROOT, render

from package_name.engine import storage
from package_name.engine.errors import ProjectError
from package_name.engine.settings import Project
from package_name.planner import assessment


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Credit of a regulated project, with one personal column whose ground is said."""
    root = tmp_path_factory.mktemp("assessment") / "p"
    made = Project(render(root, preset="credit", plan_depth="regulated"))
    known = yaml.safe_load(made.contract_path.read_text(encoding="utf-8"))
    [income] = [c for c in known["schema"][0]["properties"] if c["name"] == "income"]
    income["classification"] = "personal"
    said = {"legalBasis": "contract", "purpose": "whether rates can be paid"}
    income["customProperties"] += [{"property": n, "value": v} for n, v in said.items()]
    storage.write_text(made.contract_path, yaml.safe_dump(known))
    return made


def page(project: Project) -> str:
    markdown, html = assessment.run(project)
    assert "<h2" in html.read_text(encoding="utf-8")
    return markdown.read_text(encoding="utf-8")


def test_the_draft_says_what_is_known_and_names_what_is_not(project: Project) -> None:
    command = "`ml plan report --audience privacy`"
    assert command in " ".join(project.plan.blocks["PRIV-01"].lines)
    text = page(project)
    assert "**Due:** Data protection impact assessment (GDPR 35, 36)" in text
    assert "| `income` | feature | a contract with them | whether rates can be paid |" in text
    assert "`debt_share`" in text and "ground: not settled" in text
    for command in ("attack", "profile", "evaluate", "monitor"):
        assert f"run `ml {command}`" in text.partition("## 7 ")[2]
    assert "not measured: run `ml explain`" in text
    assert [line[3:5].strip() for line in text.split("\n") if line.startswith("## ")] == [
        str(n) for n in range(1, 11)
    ]
    assert "no: `ml plan approve APPR-03 --by @name`" in text
    assert "\n\n\n" not in text and "<!--" not in text


def test_what_people_wrote_and_reports_measured_is_in_it(project: Project) -> None:
    left = "Who is refused wrongly may ask a person, which we accept."
    answer(project, "REG-03", left)
    needless = {"columns": ["income"], "loss": {"value": 0.0004}, "limit": 0.01}
    storage.write_json(project.path("reports/explain.json"), {"needless": needless})
    storage.write_json(project.path("reports/profile.json"), {"proxies": []})
    storage.write_json(project.path("reports/erased/forget-x.json"), {})
    text = page(project)
    head, _, rest = text.partition("## 9 Risk that is left")
    assert left in rest and left not in head and "**Open (REG-03):**" not in text
    assert "does as well without `income`: it loses 0.0004 of its metric" in text
    assert "| `ml forget KEY`, with a certificate | 1 time |" in text
    assert "a group that no column of the contract names cannot be looked at" in text


def test_without_people_there_is_nobody_to_assess_it_for(tmp_path: Path) -> None:
    made = Project(render(tmp_path / "p", personal_data=False))
    with pytest.raises(ProjectError, match="personal_data of the plan is no"):
        assessment.run(made)


def test_a_light_plan_has_one_too(tmp_path: Path) -> None:
    text = page(Project(render(tmp_path / "p", plan_depth="light")))
    assert "No assessment is due by the answers" in text and "- Source: sample" in text


def test_every_duty_that_is_due_by_a_day_asks_for_it() -> None:
    rules = yaml.safe_load((ROOT / "questions/rules.yaml").read_text(encoding="utf-8"))
    [duties] = [v for v in rules.values() if isinstance(v, dict) and "impact_assessment" in v]
    assert {name for name, duty in duties.items() if "due" in duty} == assessment.DUE
