"""What was planned is held against what was measured: rows, rules with an id, one verdict."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from helpers import package  # noqa: F401  (makes `package_name` importable)
from helpers.rendering import render
from test_plan_tool import REPORTS, write

from package_name import evaluation
from package_name.engine import storage
from package_name.engine.errors import ProjectError
from package_name.engine.resampling import Interval
from package_name.engine.settings import Project
from package_name.planner import check, compared, evidence, executive, signing, sync, why
from package_name.planner import measured as plan_measured
from package_name.planner import report as plan_report
from package_name.planner.blocks import rewrite, survey
from package_name.planner.compared import MISSING, Row
from package_name.planner.rules import evaluate

MONEY = {
    "monthly_benefit": 52000,
    "build_cost": 125000,
    "run_cost": 3100,
    "success_probability": 0.8,
}
SPLIT: dict[str, Any] = REPORTS["training"]["split"]
CHAMPION: dict[str, Any] = REPORTS["metrics"]["champion"]
BUSINESS: dict[str, Any] = REPORTS["metrics"]["business"]
RULES: dict[str, tuple[str, str, dict[str, Any], bool]] = {
    # rule: block, report, what it holds, whether the gate of the block closes
    "ev.gate": ("EVAL-03", "metrics", {"gate": {"passed": False, "reasons": ["too weak"]}}, True),
    "ev.loss": ("VAL-02", "metrics", {"business": BUSINESS | {"value_low": -1.0}}, True),
    "ev.latency": ("DEP-02", "bench", {"single_row_ms": {"p50": 1, "p95": 9, "p99": 101}}, True),
    "ev.rows": ("DATA-02", "data_quality", {"rows": 2421}, False),
    "ev.span": ("DATA-01", "data_quality", {"span_days": 20.0}, False),
    "ev.prevalence": ("DATA-02", "training", {"split": SPLIT | {"test_positives": 799}}, False),
    "ev.population": (
        *("EVAL-05", "training", {"split": SPLIT | {"development_positives": 1900}}, False),
    ),
    "ev.limit": (
        *("EVAL-03", "metrics"),
        {"champion": CHAMPION | {"metrics": {"roc_auc": {"value": 0.6, "low": 0.5, "high": 0.7}}}},
        True,
    ),
    "ev.positives": ("DATA-02", "training", {"split": SPLIT | {"test_positives": 240}}, False),
    "ev.drift": ("MON-01", "drift", {"source": "the log", "level": "act"}, False),
    "ev.value": ("VAL-02", "metrics", {"business": BUSINESS | {"value_high": 6e5}}, False),
    "ev.gap": ("VAL-02", "metrics", {"business": BUSINESS | {"value_low": 9e6}}, False),
    "ev.break_even": ("VAL-01", "metrics", {"business": BUSINESS | {"value_per_year": 9e4}}, False),
    "ev.capacity": ("EVAL-05", "metrics", {}, False),  # the project can act on 200 cases a day
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evidence") / "project"
    return render(folder, daily_capacity=300, pos_rate=0.1501, **MONEY)


@pytest.fixture
def measured(rendered: Path, tmp_path: Path) -> Project:
    project = Project(shutil.copytree(rendered, tmp_path / "project"))
    for name, report in REPORTS.items():
        write(project, name, json.loads(json.dumps(report)))
    write(project, "data_quality", REPORTS["data_quality"] | {"span_days": 90.0})
    return project


def rules(project: Project) -> dict[str, bool]:
    """Return the rules that speak against the plan, and whether each closes a gate."""
    return {item.rule: item.closes for item in evidence.contradictions(project)}


def table(project: Project) -> dict[str, Row]:
    """Return the rows by quantity, their no-break spaces as plain ones."""
    rows = (Row(*(cell.replace("\u00a0", " ") for cell in row)) for row in evidence.table(project))
    return {row.quantity: row for row in rows}


def row(project: Project, quantity: str) -> Row:
    return table(project)[quantity]


@pytest.mark.parametrize("rule", RULES)
def test_a_measurement_against_the_plan_is_told_by_a_rule(measured: Project, rule: str) -> None:
    assert rules(measured) == {}
    assert evidence.verdict(measured).startswith("**go**")
    identifier, report, change, closes = RULES[rule]
    write(measured, report, REPORTS[report] | change)
    if rule == "ev.capacity":
        measured.plan.answers["daily_capacity"] = 200
    assert rules(measured)[rule] == closes
    found = check._evidence(measured, {identifier})
    levels = {item.message.rpartition("(")[2]: (item.level, item.id) for item in found}
    assert levels[f"{rule})"] == ("error" if closes else "warning", identifier)
    verdict = evidence.verdict(measured)
    assert verdict.startswith("**stop**" if closes else "in doubt") and "go**" not in verdict
    made_up = REPORTS["data_quality"] | {"made_up": True}
    write(measured, "data_quality", made_up)
    assert (rule in rules(measured)) == closes


def test_every_quantity_has_a_row_and_none_is_measured_before_a_run(
    rendered: Path, measured: Project
) -> None:
    before = {name: row.measured for name, row in table(Project(rendered)).items()}
    assert set(before.values()) == {MISSING} and len(before) == 12
    after = table(measured)
    assert after.keys() == before.keys()
    unmeasured = {name for name, row in after.items() if row.measured == MISSING}
    assert unmeasured == {"Label delay", "Run cost a month"}  # which no command can measure
    assert (
        after["Span of time"].planned == "76 days (default)"
        and after["Span of time"].says == "agrees"
    )

    # Wilson's interval of 1 200 in 7 988
    assert after["Positive share"].measured == "15 % (14.3 % to 15.8 %)"
    # At 15 % positives, however many the test set has: 200 of 250 are found, 500 of 1 348 flagged.
    flagged = 20000 / 30.4375 * (0.15 * 200 / 250 + 0.85 * 500 / 1348)
    assert after["Cases a day"].measured.startswith(f"{round(flagged, 1):g} (")
    assert (
        after["Latency"].planned == "99 % within 100 ms (default)"
        and "12.3" in after["Latency"].measured
    )
    assert after["Drift"].says == "says little"  # the test set is what the model came from


def test_rows_that_depend_on_answers(tmp_path: Path, measured: Project) -> None:
    other = Project(render(tmp_path / "other", deployment_modes=["batch"], time_column=""))
    assert not {"Latency", "Span of time"} & table(other).keys()
    write(measured, "progress", {"run": "p", "money": {"spent": 130000.0}})
    measured.plan.computed["BUD-01"] = measured.plan.computed["VAL-01"] | {
        "budget": measured.plan.computed["VAL-01"]["benefit"]
    }
    assert row(measured, "Build cost").says == "**contradicts**"


def test_a_threshold_that_capacity_moved_says_so(measured: Project) -> None:
    assert row(measured, "Threshold").says == "as planned"
    moved = REPORTS["metrics"]["champion"] | {"threshold": 0.2413}
    write(measured, "metrics", REPORTS["metrics"] | {"champion": moved})
    assert row(measured, "Threshold").says == "moved by capacity"


def test_each_report_is_read_once(measured: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    known = storage.read_json

    def counted(path: Path, *rest: Any) -> Any:
        read.append(path.name)
        return known(path, *rest)

    monkeypatch.setattr(storage, "read_json", counted)
    evidence.lines(measured)
    assert sorted(read) == sorted({*read}) and "metrics.json" in read


def test_every_page_says_the_same_verdict(measured: Project) -> None:
    said = evidence.verdict(measured)
    for audience in plan_report.AUDIENCES:
        assert said in plan_report.run(measured, audience)[0].read_text(encoding="utf-8")


def said(project: Project, identifier: str) -> str:
    """Return what the measured part of a block says, no-break spaces as plain ones."""
    return " ".join(plan_measured.measured(project)[identifier]).replace("\u00a0", " ")


def test_what_made_up_data_cannot_say_is_not_measured_anywhere(measured: Project) -> None:
    for nothing in (False, True):
        business = BUSINESS | {"says_nothing": nothing}
        write(measured, "metrics", REPORTS["metrics"] | {"business": business, "made_up": True})
        assert (row(measured, "Value a year").measured == MISSING) == nothing
        text = said(measured, "VAL-02")
        assert ("not measured" in text) == nothing == ("867 261" not in text)
        assert nothing or "Measured on made-up data: 867 261 EUR a year more than" in text


def test_own_data_are_judged_beside_an_earlier_model_of_made_up_data(measured: Project) -> None:
    """Its speed and drift, measured on made-up data, hide nothing of what was read since."""
    write(measured, "data_quality", REPORTS["data_quality"] | {"rows": 21, "made_up": False})
    write(measured, "bench", REPORTS["bench"] | {"made_up": True})
    assert "ev.rows" in rules(measured)
    assert row(measured, "Latency").measured == MISSING
    assert "made-up" not in evidence.verdict(measured)


def test_a_difference_says_less_in_place_of_a_sign(measured: Project) -> None:
    worth = {"value_per_year": -5000.0, "value_low": -9000.0, "value_high": 1000.0}
    over = {"policy": "act on nobody", "value": -70.0, "low": -90.0, "high": -50.0}
    report = REPORTS["metrics"] | {"business": BUSINESS | worth | {"over": over}}
    report["gate"] = report["gate"] | {"gain": -0.02, "gain_low": -0.05, "gain_high": 0.01}
    write(measured, "metrics", report)
    assert "5 000 EUR a year less than today's process" in said(measured, "VAL-02")
    assert "difference: -9 000 to 1 000" in said(measured, "VAL-02")
    assert "70 EUR a year less than to act on nobody" in said(measured, "VAL-02")
    assert "without a model" not in said(measured, "VAL-02")
    assert "0.02 less than logistic regression" in said(measured, "EVAL-03")
    assert not re.search(r"-[\d.]+ \S* ?(more|less)", said(measured, "VAL-02"))


def test_the_end_of_a_losing_process_is_told_apart(measured: Project) -> None:
    ended = BUSINESS | {"baseline_policy": "act on nobody", "ending_today": 372096.4}
    report = REPORTS["metrics"] | {"business": ended | {"over": BUSINESS["over"]}}
    write(measured, "metrics", report)
    found = said(measured, "VAL-02")
    assert "more than to act on nobody" in found and "more than today" not in found
    assert "to end today's process gains 372 096 EUR a year besides, without a model" in found
    assert "(act on nobody)" in said(measured, "EVAL-05")
    assert "372 096" not in row(measured, "Value a year").measured


def test_probabilities_name_the_rows_that_they_hold_for(measured: Project) -> None:
    assert "as many positives as those learnt from, 14.9 %" in said(measured, "EVAL-05")
    assert "as planned" not in said(measured, "EVAL-05")
    split = SPLIT | {"development_positives": 3195}  # one half, as a case-control sample has
    write(measured, "training", REPORTS["training"] | {"split": split})
    rate = measured.plan.answers["pos_rate"]
    # By Bayes: the odds of the sample that become 10 : 70 at the plan's share.
    odds = 10 / 70 * (1 - rate) / rate
    shown = f"with 15 %, as planned, acting pays from {odds / (1 + odds):.4f} on"
    assert shown in said(measured, "EVAL-05")
    assert rules(measured)["ev.population"] is False


def test_the_rarer_class_is_counted_whichever_it_is(measured: Project) -> None:
    split = SPLIT | {"test_positives": 1598 - 200}
    write(measured, "training", REPORTS["training"] | {"split": split})
    [told] = (i for i in evidence.contradictions(measured) if i.rule == "ev.positives")
    assert "246 negatives are needed in the test set, it has 200" in told.message


def test_a_limit_that_was_changed_asks_for_a_new_evaluation(measured: Project) -> None:
    write(measured, "metrics", REPORTS["metrics"] | {"plan": {"metric_limit": 0.65}})
    stale = "reports/metrics.json used 0.65: run `ml run`"
    assert not [f for f in check.check(measured, "G3") if stale in f.message]
    stale = f"metric limit is 0.7, but {stale}"
    path = measured.path("plan/overrides.yaml")
    path.write_text("EVAL-01: {value: roc_auc, limit: 0.7, reason: as last year}\n")
    found = [f for f in check.check(Project(measured.root), "G3") if stale in f.message]
    assert [(f.level, f.id) for f in found] == [("error", "EVAL-03")]
    assert "ev.limit" not in rules(Project(measured.root))  # 0.81 is enough
    path.write_text("EVAL-01: {value: roc_auc, limit: 0.9, reason: more is asked}\n")
    assert rules(Project(measured.root))["ev.limit"]
    assert evidence.verdict(Project(measured.root)).startswith("**stop**: ROC AUC is 0.81")


def test_a_small_gain_is_told_as_a_gain(measured: Project) -> None:
    gain, value = Interval(-0.0071, -0.05, 0.04), Interval(0.8, 0.7, 0.9)
    said = "the gain over class prior is -0.0071 ROC AUC; the smallest useful gain is 0.02"
    judged = evaluation._gate(measured, "roc_auc", "class_prior", gain, value, 0.02)
    assert judged["reasons"] == [said]


def test_a_metric_of_another_name_is_not_held_against_the_limit(measured: Project) -> None:
    assert row(measured, "Primary metric").planned == "ROC AUC of at least 0.65 (default)"
    path = measured.path("plan/overrides.yaml")
    path.write_text("EVAL-01: {value: pr_auc, limit: 0.3, reason: only the top counts}\n")
    shown = row(Project(measured.root), "Primary metric")
    assert (
        shown.planned == "PR AUC of at least 0.3 (override)" and "ROC AUC: 0.81" in shown.measured
    )
    assert shown.says == compared.AGAINST


def test_why_says_the_verdict_before_that_of_the_answers(
    measured: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    write(
        measured, "metrics", REPORTS["metrics"] | {"gate": {"passed": False, "reasons": ["weak"]}}
    )
    why.run(measured, "VAL-01")
    told = capsys.readouterr().out
    assert "verdict: stop: the gate of the model failed: weak" in told
    assert "by the answers: go\n" in told and "decision: go" not in told


def test_money_up_to_use_is_what_is_left_of_one_budget(
    measured: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executive, "_closed", lambda project: ["G4", "G5", "G6"])
    text = measured.path("PLAN.md").read_text(encoding="utf-8")
    asked = " ".join(executive._asked(measured, survey(text)[0], "go", "")).replace("\u00a0", " ")
    budget = measured.plan.number("VAL-01", "build_cost")
    for left in (0.3 * 125000, 0.3 * budget):  # what is likely, and with the reserve of the plan
        assert f"{left:,.0f}".replace(",", " ") + " EUR" in asked


def test_who_signs_for_a_team_that_named_nobody(measured: Project, tmp_path: Path) -> None:
    assert measured.plan.origins["owner"] == measured.plan.origins["oncall"] == "default"
    assert signing._stranger(measured, "VAL-01", "@eva") == ""
    named = Project(render(tmp_path / "named", owner="Ana Maria"))
    assert "TEAM-01 names Ana Maria" in signing._stranger(named, "VAL-01", "@eva")
    assert signing._stranger(named, "VAL-01", "Ana Maria") == ""


def test_a_team_that_stops_the_project_is_quoted(measured: Project) -> None:
    path = measured.path("plan/overrides.yaml")
    path.write_text("VAL-01: {value: stop, reason: the market is gone}\n")
    assert evidence.verdict(Project(measured.root)).startswith("**stop**: the market is gone")


def test_rules_are_judged_again_by_what_was_measured(measured: Project) -> None:
    write(measured, "data_quality", REPORTS["data_quality"] | {"rows": 900})
    split = SPLIT | {"development_positives": 300, "test_positives": 80}
    write(measured, "training", REPORTS["training"] | {"split": split})
    again = (i for i in evidence.contradictions(measured) if i.rule == "ev.rule")
    told = {item.id: item.message.replace("\u00a0", " ") for item in again}
    assert told.keys() == {
        "FLAG-01",
        "VAL-01",
        "MOD-02",
        "MOD-03",
        "TRAIN-03",
        "EVAL-01",
        "EVAL-02",
    }
    assert told["MOD-02"] == (
        "measured 900 rows (planned 50 000 rows), 4.76 % positive (planned 15 % positive): by the "
        "rules it would be logistic regression; the answers gave logistic regression, LightGBM, "
        "blend"
    )
    assert (
        "4.76 % positive (planned 15 % positive)" in told["EVAL-01"] and "PR AUC" in told["EVAL-01"]
    )
    # What other rules warn of is warned of still.
    assert "be keep a control group, too few of the rarer class, " in told["FLAG-01"]
    warned = [(f.id, f.level) for f in check.check(measured) if f.message.endswith("(ev.rule)")]
    assert {*warned} == {(identifier, "warning") for identifier in told}
    path = measured.path("plan/overrides.yaml")
    path.write_text("EVAL-01: {value: pr_auc, reason: only the top counts}\n")
    kept = evidence.contradictions(Project(measured.root))  # a team's own choice argues by itself
    assert "EVAL-01" not in {item.id for item in kept if item.rule == "ev.rule"}


def test_rules_are_judged_again_by_the_measured_span_of_time(measured: Project) -> None:
    def told() -> dict[str, str]:
        again = (i for i in evidence.contradictions(measured) if i.rule == "ev.rule")
        return {item.id: item.message.replace("\u00a0", " ") for item in again}

    assert told() == {}  # 90 days are as many as planned
    write(measured, "data_quality", REPORTS["data_quality"] | {"span_days": 30.4375})
    # 20 % of a month test and labels are 30 days late: nothing is left to learn from.
    said = "1 month (planned 2.5 months): by the rules it would be stop; the answers gave go"
    assert told()["VAL-01"].endswith(said)
    assert "logistic regression" in told()["MOD-02"]
    assert evidence.verdict(measured).startswith("in doubt")
    measured.plan.answers["time_column"] = ""
    assert told() == {}


def merged(one: Any, two: Any) -> Any:
    """Return two nested mappings as one; the second wins."""
    if not isinstance(two, dict):
        return two
    return {**one, **{name: merged(one.get(name), value) for name, value in two.items()}}


@pytest.mark.parametrize("rule", [rule for rule, (*_, closes) in RULES.items() if closes])
def test_check_fails_for_evidence_that_closes_a_gate_said_to_be_passed(
    measured: Project, rule: str
) -> None:
    identifier, report, change, _ = RULES[rule]
    if report == "metrics":  # change what stands there, and leave the rest
        held = REPORTS["metrics"]
        change = {name: merged(held[name], value) for name, value in change.items()}
    write(measured, report, REPORTS[report] | change)
    blocks = measured.plan.blocks
    asked = [i for i, b in blocks.items() if b.gate == blocks[identifier].gate and b.human]

    def level() -> str:
        return next(f.level for f in check.check(measured) if f.message.endswith(f"({rule})"))

    def write_answers(names: list[str]) -> None:
        path = measured.path("PLAN.md")
        for name in names:
            text = path.read_text(encoding="utf-8")
            part = survey(text)[0]["human", name]
            path.write_text(rewrite(text, part, ["We accept it, for now."]), encoding="utf-8")

    assert level() == "warning"  # nobody says so yet, and the message says what it closes
    [said] = [f.message for f in check.check(measured) if f.message.endswith(f"({rule})")]
    assert f"it closes {blocks[identifier].gate} (" in said
    registry = measured.path("models/registry.json")
    registry.parent.mkdir(exist_ok=True)
    version = REPORTS["metrics"]["champion"]["version"]
    for champion in ("v0", version):  # in use, the version that was judged says to have passed G3
        write(
            measured,
            "metrics",
            json.loads((measured.path("reports/metrics.json")).read_text()) | {"version": version},
        )
        registry.write_text(json.dumps({"champion": champion}), encoding="utf-8")
        passed = champion == version and blocks[identifier].gate == "G3"
        assert level() == ("error" if passed else "warning")
    registry.unlink()
    write_answers(asked[:1])
    assert level() == "warning" if asked[1:] else "error"
    signing.approve(measured, asked[0], "@eva", None)
    assert level() == "error"
    path = measured.path("PLAN.md")
    path.write_text(path.read_text(encoding="utf-8").replace("approved", "review"))
    write_answers(asked[1:])
    assert level() == "error"  # every question of the gate is answered
    waiver = f"waivers:\n  {identifier}: {{reason: pilot, owner: Ana, until: 2999-01-01}}\n"
    measured.path("plan/overrides.yaml").write_text(waiver, encoding="utf-8")
    found = check.check(Project(measured.root))
    assert {f.level for f in found if f.message.endswith(f"({rule})")} == {"warning"}


def test_a_decision_that_argues_from_answers_says_so(rendered: Path) -> None:
    plan = Project(rendered).plan
    for decision in plan.decisions.values():
        judged = {rule.id for rule in decision.judged} & {*decision.rule.split(", ")}
        assert ("(by the answers)" in decision.why) == bool(judged)
    assert "by the answers" in " ".join(plan.blocks["DATA-02"].lines)


def test_a_condition_is_data_and_never_runs() -> None:
    facts = {"n_rows": 900, "names": ["a", "b"], "task": "binary"}
    for expression, value in {
        "n_rows < 1000 and 'a' in names": True,
        "not (n_rows * 2 - 1 >= 1000) or 'c' not in names": True,
        "task in ('x', 'y') or -n_rows > 0": False,
    }.items():
        assert evaluate(expression, facts) == value
    for hostile in ("__import__('os')", "names.clear()", "unknown < 3", "n_rows <", "names[0]"):
        with pytest.raises(ProjectError, match="no condition"):
            evaluate(hostile, facts)


def test_a_verdict_on_figures_that_nobody_gave_is_no_go(measured: Project, tmp_path: Path) -> None:
    asked = Project(render(tmp_path / "asked", preset="churn", build_cost=190000))
    origins = asked.plan.origins
    assert (origins["build_cost"], origins["monthly_benefit"]) == ("given", "preset")
    assert (origins["min_gain"], origins["alternative_npv"]) == ("default", "default")
    wanted = "`monthly_benefit`, `success_probability`, `run_cost`: answer them first"
    assert wanted in evidence.verdict(asked) and "go**" not in evidence.verdict(asked)
    assert row(asked, "Rows").planned == "1 800 000 (preset)"
    assert row(measured, "Positive share").planned == "15 % (answer)"
    assert row(measured, "Rows").planned == "50 000 (default)"
    path = measured.path("plan/plan.yaml")
    given = "success_probability: given"
    text = path.read_text(encoding="utf-8")
    assert text.count(given) == 1
    path.write_text(text.replace(given, "success_probability: default"), encoding="utf-8")
    unfounded = Project(measured.root)
    assert evidence.verdict(unfounded).startswith("not yet: what was measured agrees, but nobody")
    vouch(unfounded)
    assert evidence.verdict(unfounded).startswith("**go**")


def test_money_that_nobody_gave_stops_nothing(tmp_path: Path) -> None:
    dear = {"build_cost": 100_000_000}
    asked = Project(render(tmp_path / "asked", **dear))
    assert asked.plan.value("verdict") == "stop"
    assert evidence.verdict(asked).startswith("open: nobody gave `monthly_benefit`")
    assert "on figures that nobody gave" in (asked.root / "PLAN.md").read_text(encoding="utf-8")
    given = dear | {"monthly_benefit": 4001, "success_probability": 0.71, "run_cost": 3001}
    asked = Project(render(tmp_path / "given", **given))
    assert evidence.verdict(asked).startswith("**stop**: the net present value is below 0")


def vouch(project: Project) -> None:
    """Answer the question of VAL-01: somebody stands for its figures."""
    path = project.path("PLAN.md")
    text = path.read_text(encoding="utf-8")
    part = survey(text)[0]["human", "VAL-01"]
    text = rewrite(text, part, ["Sales vouches, by the pilot."])
    path.write_text(text, encoding="utf-8")
    assert evidence.verdict(project).startswith("not yet")  # an answer names nobody
    part = survey(text)[0]["human", "VAL-01"]
    part.attributes["owner"] = "Eva"
    path.write_text(rewrite(text, part), encoding="utf-8")


def test_a_question_why_says_where_each_figure_comes_from(
    measured: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    why.run(measured, "VAL-01")
    told = capsys.readouterr().out
    assert "answer: build_cost = 125000\n" in told
    assert "answer: horizon_months = 36 (default of the template: nobody gave another)" in told


def test_model_card_and_diagram_follow_what_was_measured(measured: Project) -> None:
    card = measured.path("docs/model_card.md")
    assert "_Not measured yet" in card.read_text(encoding="utf-8")
    own = "- Not intended: a campaign by post.\n"
    card.write_text(card.read_text(encoding="utf-8") + own, encoding="utf-8")
    sync.run(measured)
    text = card.read_text(encoding="utf-8")
    plan = measured.path("PLAN.md").read_text(encoding="utf-8")
    parts = [survey(page)[0]["measured", "VERDICT"].lines for page in (plan, text)]
    assert parts[0] == parts[1] and "**go**" in parts[0][0] and text.endswith(own)
    moved = REPORTS["metrics"]["champion"] | {"threshold": 0.2413}
    write(measured, "metrics", REPORTS["metrics"] | {"champion": moved})
    page = plan_report.run(measured, "engineering")[0].read_text(encoding="utf-8")
    assert 'cut{"p \u2265 0.2413?"}' in page
    card.unlink()
    sync.run(measured)
    assert not card.exists()


@pytest.mark.parametrize(
    ("linear", "candidates", "passes"),
    [
        (0.75, ["logistic_regression", "lightgbm"], True),
        (0.51, ["logistic_regression", "lightgbm"], False),  # it gains too little itself
        (0.60, ["logistic_regression", "lightgbm"], False),  # it is below the limit
        (0.75, ["lightgbm"], False),  # the plan does not try it
    ],
)
def test_a_simpler_model_is_advised_only_where_it_would_pass(
    linear: float, candidates: list[str], passes: bool
) -> None:
    facts = SimpleNamespace(candidates=candidates, metric_limit=0.65, min_gain=0.02)
    project: Any = SimpleNamespace(facts=facts)
    scores = {"class_prior": 0.5, "logistic_regression": linear}
    asked = project, "logistic_regression", list(scores), scores, "roc_auc"
    assert evaluation._would_pass(*asked) is passes


def test_no_verdict_agrees_beside_a_row_that_contradicts(
    measured: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent = Row("BUD-01", "Build cost", "at most 1 EUR", "2 EUR", compared.AGAINST)
    monkeypatch.setattr(evidence.Evidence, "_use_rows", lambda _: iter([spent]))
    assert evidence.verdict(measured).startswith(
        "in doubt: the table contradicts the plan in Build"
    )


def test_too_short_a_history_by_the_answers_names_the_one_of_the_rows(measured: Project) -> None:
    stop = measured.plan.decisions["VAL-01"]
    told = {"rule": "value.history", "value": "stop", "why": "no row is left to learn from"}
    measured.plan.decisions["VAL-01"] = msgspec.structs.replace(stop, **told)
    said = evidence.verdict(measured)
    assert "rows that were read reach over 90 days" in said.replace("\u00a0", " ")
    assert "`ml update --data history_months=3.0`" in said
