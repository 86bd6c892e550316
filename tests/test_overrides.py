"""Every decision of every plan: a team's own value is obeyed and told, or refused with a way."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.package import SOURCE
from helpers.plan import render_plan
from helpers.rendering import recorded, render

from package_name import tuning
from package_name.engine.errors import ProjectError
from package_name.engine.settings import Project
from package_name.planner import check, evidence, measured, why
from package_name.planner import report as plan_report

FILES = [*SOURCE.rglob("*.py"), *SOURCE.rglob("*.html")]
CODE = "\n".join(path.read_text(encoding="utf-8") for path in FILES)
# What may only be changed with another decision, and the one that goes with it.
PAIRS = {"TRAIN-01": "TRAIN-02", "TRAIN-02": "TRAIN-01", "TRAIN-03": "MOD-02"}


@pytest.fixture(scope="module", params=["none", "fraud", "credit"])
def plan_files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with PLAN.md and plan.yaml of a preset at full depth."""
    folder = tmp_path_factory.mktemp(request.param)
    known = recorded(render(folder / "answers", preset=request.param, plan_depth="regulated"))
    text, plan = render_plan(**known)
    (folder / "plan").mkdir()
    (folder / "PLAN.md").write_text(text, encoding="utf-8")
    content = yaml.safe_dump(plan, allow_unicode=True, sort_keys=False)
    (folder / "plan" / "plan.yaml").write_text(content, encoding="utf-8")
    return folder


def overridden(folder: Path, id: str, value: Any, why: str = "we know better") -> Project:
    text = yaml.safe_dump({id: {"value": value, "reason": why}})
    (folder / "plan" / "overrides.yaml").write_text(text, encoding="utf-8")
    return Project(folder)


def test_each_value_of_each_decision_is_obeyed_or_refused(plan_files: Path) -> None:
    (plan_files / "plan" / "overrides.yaml").unlink(missing_ok=True)
    plan = Project(plan_files).plan
    assert len(plan.decisions) >= 20
    for id, decision in plan.decisions.items():
        many = isinstance(decision.value, list)
        values = [[name] if many else name for name in decision.words]
        if decision.output == "candidates":
            for name in {"blend", "stack"} & decision.words.keys():
                values[values.index([name])] = [name, "logistic_regression"]
                with pytest.raises(ProjectError, match=f"{id} cannot be {name} alone: name"):
                    check.check(overridden(plan_files, id, [name]))
        for value in values:
            changed = overridden(plan_files, id, value)
            if decision.fixed:
                with pytest.raises(ProjectError) as refused:
                    check.check(changed)
                assert refused.value.exit_code == 2
                said = str(refused.value)
                assert f"{id} cannot be overridden: {decision.fixed}" in said and "\n" not in said
                way = f"change {', '.join(decision.uses)} with `ml update --data NAME=VALUE`"
                assert (way if decision.uses else "remove it here") in said
                continue
            assert changed.plan.value(decision.output) == value
            assert re.search(rf'facts\.{decision.output}\b|value\("{decision.output}"\)', CODE), (
                f"nothing reads {id}"
            )
            told = "\n".join(measured.measured(changed)["OVERRIDES"])
            words = decision.said(value)
            assert (
                f"- {plan.blocks[id].title}: {words} in place of {decision.said(decision.value)}: "
                in told
            )
            assert f"<!-- {id} -->" in told
            for audience in plan_report.AUDIENCES:
                text = plan_report.run(changed, audience)[0].read_text(encoding="utf-8")
                line = rf"^- {plan.blocks[id].title} \({id}\): {re.escape(words)} .* we know better"
                assert re.search(line, text, re.M), (id, audience)
                own = f"- By the team: {words} in place of " in text
                assert own == (id in plan_report.AUDIENCES[audience].blocks)
            both = re.compile(r"override (both|MOD-02)")
            wrong = {found.id for found in check.check(changed) if both.search(found.message)}
            assert wrong <= {id, PAIRS.get(id)}, (id, value, wrong)


def test_the_policy_of_retraining_moves_its_limits(plan_files: Path) -> None:
    for value, days in (("weekly", 7), ("monthly_check", 30), ("quarterly_review", 91)):
        changed = overridden(plan_files, "MON-03", value)
        numbers = [changed.plan.number("MON-03", name) for name in ("interval", "max_age_days")]
        assert numbers == [days, 3 * days]
        _, line = measured.measured(changed)["OVERRIDES"]
        assert f"check every {days} days, a model is old after {3 * days} days" in line
    # By the rule the template computes the same.
    (plan_files / "plan" / "overrides.yaml").unlink()
    plan = Project(plan_files).plan
    by_rule = plan.number("MON-03", "interval"), plan.number("MON-03", "max_age_days")
    again = overridden(plan_files, "MON-03", plan.value("retrain")).plan
    assert by_rule == (again.number("MON-03", "interval"), again.number("MON-03", "max_age_days"))


def test_the_verdict_follows_the_team(plan_files: Path) -> None:
    stopped = overridden(plan_files, "VAL-01", "stop", "no money this year")
    assert evidence.verdict(stopped).startswith("**stop**: no money this year (NPV")
    found = [f.message for f in check.check(stopped) if f.id == "VAL-01"]
    assert "stopped by the team: no money this year" in found
    went = overridden(plan_files, "VAL-01", "go", "the regulator wants it")
    said = evidence.verdict(went)
    assert "stop" not in said and "go by the team: the regulator wants it" in said


def test_a_team_that_tunes_nothing_is_obeyed(plan_files: Path) -> None:
    with pytest.raises(ProjectError, match=r"tunes nothing \(TRAIN-03\)|no lightgbm"):
        tuning.run(overridden(plan_files, "TRAIN-03", "none"))


def test_why_says_what_cannot_be_overridden(
    plan_files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (plan_files / "plan" / "overrides.yaml").unlink(missing_ok=True)
    why.run(Project(plan_files), "DEP-01")
    assert "override: none, the files of a delivery are written" in capsys.readouterr().out
