"""The rendered project: right files for every choice, valid whatever people type."""

import ast
import datetime
import itertools
import json
import keyword
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import copier._main
import helpers.package  # noqa: F401  makes `package_name` importable
import jinja2
import jinja2.meta
import msgspec
import pytest
import yaml
from copier.errors import UserMessageError
from helpers.answers import HIDDEN_AT_ZERO, HIDDEN_WITHOUT, VALUES, answers
from helpers.jinja import environment as jinja_environment
from helpers.plan import render_plan
from helpers.rendering import ROOT, different, plain_template, recorded, render, tree
from hypothesis import HealthCheck, given, settings

from package_name.engine.data import contract
from package_name.engine.settings import Config, Plan

# Files whose braces are their own: f-strings, GitHub, report templates, Prometheus, Grafana.
BRACES = re.compile(r"\.py$|^\.github/|^src/[^/]+/engine/report/templates/|^monitoring/")
JINJA = re.compile(r"\{\{|\{%|\{#")
LINE_STATEMENT = re.compile(r"^\s*# %(?!%)", re.MULTILINE)  # `# %%` begins a cell
FREE_TEXT = ["project_name", "problem", "owner", "kpi", "oncall", "prediction_unit"]
TEAM_OWNED = {"config.yaml", "contracts/dataset.odcs.yaml", "plan/overrides.yaml"} | {
    "plan/progress.yaml"
}


PARSERS: dict[str, Callable[[str], Any]] = {
    ".py": ast.parse,
    ".yaml": lambda text: [*yaml.load_all(text, yaml.CSafeLoader)],
    ".yml": lambda text: yaml.load(text, yaml.CSafeLoader),
    ".toml": tomllib.loads,
    ".json": json.loads,
}


@lru_cache(maxsize=1000)
def check_syntax(suffix: str, text: str) -> None:
    """Fail unless the text is valid; most files are the same in all projects, so look once."""
    PARSERS.get(suffix, str)(text)


def check_project(folder: Path, given: dict[str, Any]) -> None:
    """Fail unless the project is whole, valid, and says exactly what was answered."""
    remembered = recorded(folder)
    assert {name: remembered[name] for name in given} == given
    files = tree(folder)
    assert not [name for name in files if name.endswith("/")], "an empty folder"
    typed = any(re.search(r"\{[{%#]|# %|^%", remembered[name]) for name in FREE_TEXT)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    for name, content in files.items():
        text = content.decode("utf-8")
        check_syntax(Path(name).suffix, text)
        left_over = LINE_STATEMENT.search(text) or (JINJA.search(text) and not BRACES.search(name))
        faults = {
            "Jinja is left over": left_over and not typed,
            "it holds a date": today in text,
            "it holds a path of this machine": str(folder) in text or str(plain_template()) in text,
            "it does not end in one line end": text and text != text.rstrip("\n") + "\n",
        }
        if name == ".copier-answers.yml":  # it must remember where the template is
            del faults["it holds a path of this machine"]
        found = [fault for fault, there in faults.items() if there]
        assert not found, f"{name}: {found}"
    for mode in {"rest", "grpc", "batch", "edge", "streaming"} - set(
        remembered["deployment_modes"]
    ):
        strangers = [name for name in files if re.search(rf"(?<![a-z]){mode}(?![a-z])", name)]
        assert not strangers, f"files of a mode that was not chosen: {strangers}"
    plan = yaml.load(files["plan/plan.yaml"], yaml.CSafeLoader)
    assert msgspec.convert(plan, Plan, strict=True).answers == remembered
    agreed = contract.read(folder / "contracts/dataset.odcs.yaml")
    roles = (agreed.target, agreed.entity, agreed.time)
    named = [column.name if column else "" for column in roles]
    assert named == [remembered[role] for role in ("target", "entity", "time_column")]
    project = tomllib.loads(files["pyproject.toml"].decode())["project"]
    assert project["name"] == remembered["project_slug"]
    assert f"src/{remembered['package_name']}/cli.py" in files


# Each pair of choices of two questions is in one of these twelve.
PAIRS = [
    *[(["rest"], "none", "quick", "date", "id"), (["rest"], "global", "full", "", "")],
    *[(["rest"], "local", "quick", "", "id"), (["rest"], "inherent", "full", "date", "")],
    *[(["batch"], "none", "full", "", ""), (["batch"], "global", "quick", "date", "id")],
    *[(["batch"], "local", "full", "date", ""), (["batch"], "inherent", "quick", "", "id")],
    *[
        (["rest", "batch"], "none", "quick", "", ""),
        (["rest", "batch"], "global", "full", "", "id"),
    ],
    *[(["rest", "batch"], "local", "full", "date", "id")],
    *[(["rest", "batch"], "inherent", "quick", "date", "")],
]
TASKS = sorted(path.parent.name for path in (ROOT / "questions").glob("*/rules.yaml"))
ASKED = ("deployment_modes", "interpretability", "detail", "time_column", "entity")


def test_the_pairs_are_all() -> None:
    for one, other in itertools.combinations(range(len(ASKED)), 2):
        choices = [{str(case[n]) for case in PAIRS} for n in (one, other)]
        met = {(str(case[one]), str(case[other])) for case in PAIRS}
        assert met == set(itertools.product(*choices)), (ASKED[one], ASKED[other])


@pytest.mark.parametrize("case", PAIRS, ids=str)
def test_every_pair_of_choices(tmp_path: Path, case: tuple[Any, ...]) -> None:
    chosen = dict(zip(ASKED, case, strict=True))
    check_project(render(tmp_path / "project", **chosen), chosen)


@pytest.mark.parametrize("depth", ["light", "standard", "regulated"])
def test_a_datasheet_comes_with_the_deeper_plans(tmp_path: Path, depth: str) -> None:
    project = render(tmp_path / "project", plan_depth=depth, action="block")
    path = project / "docs/datasheet.md"
    assert path.exists() == (depth != "light")
    assert ("datasheet" in (project / "README.md").read_text()) == (depth != "light")
    if path.exists():
        plan = (project / "PLAN.md").read_text()
        named = re.findall(r"\b[A-Z]+-\d\d\b", path.read_text())
        assert named and all(f"<!-- {identifier} -->" in plan for identifier in named)


@pytest.mark.parametrize("task", TASKS)
def test_what_a_team_edits_is_small_and_the_readme_names_it(tmp_path: Path, task: str) -> None:
    """As decision 17 says; tests/test_architecture.py holds who may import whom."""
    files = tree(render(tmp_path / "project", task_type=task))
    lines = {name: text.count(b"\n") for name, text in files.items() if name.endswith(".py")}
    yours = {name: count for name, count in lines.items() if name.count("/") == 2 and "src" in name}
    assert len(yours) <= 14
    assert sum(yours.values()) <= 1900
    assert max(lines.values()) <= 700
    named = files["README.md"].decode()
    assert all(name.rpartition("/")[2] in named for name in yours if "__" not in name)
    places = re.findall(r"`((?:engine/)?[\w/]+\.(?:py|yaml))`", named)
    there = [any(name.endswith(f"/{place}") or name == place for name in files) for place in places]
    assert len(places) > 10 and all(there)


def test_a_share_of_many_digits_has_a_default_that_is_taken(tmp_path: Path) -> None:
    render(tmp_path / "project", pos_rate=0.3671875, today_caught=1.0)


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.nightly)])
def test_any_valid_answers(tmp_path: Path, count: int) -> None:
    @given(answers())
    @settings(max_examples=count, suppress_health_check=[HealthCheck.too_slow])
    def valid(chosen: dict[str, Any]) -> None:
        folder = tmp_path / "project"
        try:
            check_project(render(folder, **chosen), chosen)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    valid()


@pytest.mark.parametrize("modes", [["rest"], ["batch"]], ids="+".join)
def test_code_of_one_mode_imports_what_is_there(tmp_path: Path, modes: list[str]) -> None:
    source = render(tmp_path / "project", deployment_modes=modes) / "src"
    files = {path.relative_to(source): ast.parse(path.read_text()) for path in source.rglob("*.py")}
    there = {path.with_suffix("") for path in files}
    there |= {path.parent for path in files if path.name == "__init__.py"}
    for path, code in files.items():
        for node in ast.walk(code):
            if isinstance(node, ast.ImportFrom) and node.level:
                module = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
                own = ast.unparse(files.get(module / "__init__.py", ast.parse("")))
                lost = [
                    n.name for n in node.names if module / n.name not in there and n.name not in own
                ]
                whole = module.with_suffix(".py") in files or not lost
                assert module in there and whole, f"{path}: {ast.unparse(node)}"


def test_same_answers_give_the_same_bytes(tmp_path: Path) -> None:
    assert different(tree(render(tmp_path / "one")), tree(render(tmp_path / "two"))) == []


OTHER: dict[str, Any] = {
    "preset": "fraud",
    "plan_depth": "standard",
    "project_name": "Fraud alarm",
    "project_slug": "fraud-alarm",
    "package_name": "fraud_alarm",
    "problem": "Which orders are fraud?",
    "owner": "Payments",
    "currency": "USD",
    "target": "is_fraud",
    "entity": "card_id",
    "time_column": "ordered_on",
    "entity_repeats": False,
    "prediction_unit": "payment",
    "image_column": "picture",
    "image_side": 64,
    "label_delay_days": 45,
    "has_labels": False,
    "n_rows": 5000,
    "pos_rate": 0.05,
    "personal_data": False,
    "row_bytes": 900,
    "data_growth": 0.02,
    "retention_months": 36,
    "cost_fp": 12.0,
    "cost_fn": 180.0,
    "cost_tp": 6.0,
    "cost_tn": 1.0,
    "action_success": 0.9,
    "today_caught": 0.4,
    "today_precision": 0.5,
    "daily_capacity": 150,
    "predictions_per_month": 90000,
    "history_months": 9.5,
    "yearly_gap": 3000000,
    "gap_growth": 0.05,
    "indirect_gap": 150000,
    "hours_saved": 160,
    "hourly_rate": 45.0,
    "benefit_growth": 0.1,
    "alternative_npv": 200000,
    "kpi": "Customers lost in a month",
    "kpi_now": 0.2,
    "kpi_target": 0.12,
    "monthly_benefit": 99000,
    "build_cost": 310000,
    "build_months": 6,
    "build_months_best": 2,
    "build_months_worst": 12,
    "run_cost": 9000,
    "ramp_months": 5,
    "horizon_months": 24,
    "discount_rate": 0.07,
    "success_probability": 0.55,
    "interpretability": "inherent",
    "min_gain": 0.03,
    "min_metric": 0.71,
    "ab_effect": 0.2,
    "deployment_modes": ["rest"],
    "latency_ms": 80,
    "peak_qps": 40,
    "batch_schedule": "30 4 * * 1",
    "batch_deadline_hours": 7.5,
    "edge_size_mb": 2.5,
    "edge_latency_ms": 7,
    "stream_seconds": 3.5,
    "machine_price": 0.3,
    "place_limit": "building",
    "runs_on": "azure",
    "hosting": "kubernetes",
    "code_host": "gitlab",
    "availability": 0.99,
    "window_days": 28,
    "decision_mode": "automated",
    "action": "block",
    "significant_effect": True,
    "legal_basis": "consent",
    "jurisdictions": ["us_ca"],
    "risk_class": "high",
    "oncall": "pager",
    "python_version": "3.13",
}


def consumed(folder: Path) -> dict[str, bytes]:
    """Return the files without the places that only record answers, or who gave them."""
    files = tree(folder)
    del files[".copier-answers.yml"]
    plan = yaml.safe_load(files["plan/plan.yaml"])
    del plan["answers"], plan["origins"]
    files["plan/plan.yaml"] = json.dumps(plan).encode()
    return files


@pytest.fixture(scope="module")
def standard(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("standard") / "project"
    same = {"hours_saved": 10, "hourly_rate": 10, "prediction_unit": "case", "today_caught": 0.1}
    same |= {"deployment_modes": ["rest", "batch", "edge", "streaming"]}
    same |= {"image_column": "photo"}
    return consumed(render(folder, plan_depth="regulated", monthly_benefit=52500, **same))


@pytest.mark.parametrize("name", OTHER)
def test_every_answer_changes_a_file(tmp_path: Path, standard: dict[str, bytes], name: str) -> None:
    # Answers that follow from this one by default are held, so that the change is its own.
    held = {"project_slug": "churn-model", "package_name": "churn_model", "oncall": "ML team"}
    held |= {"entity_repeats": True, "monthly_benefit": 52500, "min_metric": 0.65, "peak_qps": 5}
    held |= {"yearly_gap": 2520000, "build_months_best": 3, "build_months_worst": 8}
    held |= {"hours_saved": 10, "hourly_rate": 10, "kpi_now": 0.15, "kpi_target": 0.135}
    held |= {"history_months": 2.5, "prediction_unit": "case", "today_caught": 0.1}
    held |= {"deployment_modes": ["rest", "batch", "edge", "streaming"]}
    held |= {"image_column": "photo"}
    held |= {"today_precision": 0.15, "plan_depth": "regulated"}  # where every question is asked
    project = render(tmp_path / "project", **{**held, name: OTHER[name]})
    assert different(consumed(project), standard)


def test_every_answer_is_read_by_a_block_of_the_plan() -> None:
    """Names of code and Python's version apart, which the plan leaves to files."""
    apart = {"preset", "plan_depth", "project_name", "project_slug", "package_name"}
    held = {"plan_depth": "regulated", "hours_saved": 10, "hourly_rate": 10.0, "today_caught": 0.1}
    held |= {"deployment_modes": ["rest", "batch", "edge", "streaming"], "stream_seconds": 10.0}
    held |= {"image_column": "photo"}
    blocks = render_plan(**held)[1]["blocks"]
    for name in OTHER.keys() - apart - {"python_version"}:
        other = render_plan(**held | {name: OTHER[name]})[1]["blocks"]
        changed = {id for id in blocks if blocks[id] != other.get(id)} - {"SUMMARY", "CHOICES"}
        assert changed, f"no block reads {name}"
    grown = render_plan(**held, history_months=20.0, retention_months=24)[1]["blocks"]["DATA-04"]
    short = render_plan(**held, history_months=2.0, retention_months=24)[1]["blocks"]["DATA-04"]
    assert grown["lines"][1] != short["lines"][1]  # how old the rows are decides when they go


def test_what_a_prediction_is_made_for_follows_the_columns(tmp_path: Path) -> None:
    assert recorded(render(tmp_path / "project"))["prediction_unit"] == "row"
    for columns, each in (
        ({}, r"customer\_id and snapshot\_date"),
        ({"time_column": ""}, r"customer\_id and row"),
        ({"entity_repeats": False}, r"customer\_id"),
        ({"entity": "", "entity_repeats": False}, "row"),
        ({"entity": "", "entity_repeats": False, "prediction_unit": "payment"}, "payment"),
    ):
        lines = render_plan(**columns)[1]["blocks"]["SCOPE-01"]["lines"]
        assert f"for each {each}, by" in lines[0]


def test_every_question_is_tested() -> None:
    questions = set(recorded_questions())
    drawn = {"target", "entity", "time_column", "entity_repeats", "monthly_benefit"}
    assert questions == {*VALUES, *drawn, "build_months_best"}
    # `detail` decides what is asked, `task_type` what the others are.
    assert questions == {*OTHER, "detail", "task_type"}


def recorded_questions() -> list[str]:
    """Return the names of all questions of a binary project, in order."""
    files = [*re.findall(r"^!include (\S+)", (ROOT / "copier.yml").read_text(), re.MULTILINE)]
    asked = [item for file in files for item in yaml.safe_load((ROOT / file).read_text()).items()]
    names = [
        n for n, q in asked if not re.match(r"{{ task_type == '(?!binary)", str(q.get("when")))
    ]
    return [n for n in names if n not in ("given", "preset_answers", "prompts") and not n.isupper()]


@pytest.mark.parametrize(("answer", "mode"), HIDDEN_WITHOUT.items())
def test_an_answer_to_a_hidden_question_has_no_effect(
    tmp_path: Path, answer: str, mode: str
) -> None:
    modes = [m for m in ["rest", "batch"] if m != mode]
    plain = render(tmp_path / "plain", deployment_modes=modes)
    forced = render(tmp_path / "forced", deployment_modes=modes, **{answer: OTHER[answer]})
    assert different(tree(plain), tree(forced)) == []


@pytest.mark.parametrize(("answer", "without"), HIDDEN_AT_ZERO.items())
def test_an_answer_that_was_not_asked_is_no_fact(tmp_path: Path, answer: str, without: str) -> None:
    plain = render(tmp_path / "plain", plan_depth="standard")
    forced = render(tmp_path / "forced", plan_depth="standard", **{answer: OTHER[answer]})
    assert answer not in recorded(plain) and different(tree(plain), tree(forced)) == []
    plan = yaml.safe_load((plain / "plan" / "plan.yaml").read_text(encoding="utf-8"))
    assert answer not in plan["answers"] and answer not in plan["origins"]
    given = {without: OTHER[without], answer: OTHER[answer]}
    assert recorded(render(tmp_path / "given", **given))[answer] == OTHER[answer]


# ---------------------------------------------------------------- questions


NEEDED = {  # what a person has to say of a project of their own
    **{"project_name": "Lending club", "problem": "Which loans will default, and what to ask?"},
    **{"target": "defaulted", "entity": "loan", "time_column": "granted_on"},
    **{"pos_rate": "5 %", "cost_fp": "10", "cost_fn": "1.889,50"},
}


def prompts(
    monkeypatch: pytest.MonkeyPatch, folder: Path, **answered: Any
) -> dict[str, dict[str, Any]]:
    """Return every question that a person would see, who accepts the default of each."""
    seen: dict[str, dict[str, Any]] = {}

    def accept(questions: list[dict[str, Any]], answers: dict[str, Any]) -> dict[str, Any]:
        (question,) = questions
        prompt, name = question["name"], question["name"].lower()
        seen[name] = question
        if prompt.isupper():  # nothing has to be erased
            assert "default" not in question
            assert question["placeholder"].startswith(("Enter: ", "no default")), name
            return {prompt: answered.get(name, NEEDED.get(name, ""))}
        return {name: answered.get(name, answers[name])}

    monkeypatch.setattr(copier._main, "unsafe_prompt", accept)
    copier.run_copy(str(plain_template()), folder, quiet=True)
    return seen


def test_quick_mode_asks_about_ten_questions_and_full_mode_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    quick = prompts(monkeypatch, tmp_path / "quick")
    assert list(quick) == [
        "detail",  # and then eleven, or ten where a known case says the task
        *[
            "preset",
            "task_type",
            "project_name",
            "problem",
            "target",
            "entity",
            "time_column",
            "pos_rate",
        ],
        *["cost_fp", "cost_fn", "deployment_modes"],
    ]
    full = prompts(monkeypatch, tmp_path / "full", detail="full")
    deep = prompts(monkeypatch, tmp_path / "deep", detail="full", plan_depth="standard")
    # Nobody acts today by default, and no hours are saved: how well, or for how much, is not asked.
    others = ("edge", "streaming")  # modes that are not chosen
    of_others = [name for name, mode in HIDDEN_WITHOUT.items() if mode in others]
    unasked = (*HIDDEN_AT_ZERO, *of_others)
    assert "task_type" not in prompts(monkeypatch, tmp_path / "case", preset="fraud")
    assert list(deep) == [name for name in recorded_questions() if name not in unasked]
    assert set(deep) - set(full) == {
        *["row_bytes", "data_growth", "retention_months", "build_months_best"],
        *["build_months_worst", "ab_effect", "machine_price", "indirect_gap", "hours_saved"],
        *["place_limit", "runs_on", "hosting", "legal_basis"],
        *["benefit_growth", "alternative_npv", "kpi", "kpi_now", "kpi_target"],
        "history_months",
    }
    assert {**recorded(tmp_path / "quick"), "detail": "full"} == recorded(tmp_path / "full")


def test_a_kind_of_task_that_is_chosen_at_the_prompt_asks_its_own_questions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = {"segments_least": "3", "segments_most": "6", "segment_gain": "2"}
    segments = prompts(monkeypatch, tmp_path / "segments", task_type="clustering", **said)
    assert {"segments_least", "segments_most"} <= set(segments) and "pos_rate" not in segments
    assert recorded(tmp_path / "segments")["task_type"] == "clustering"


def derived_defaults() -> set[str]:
    """Return the questions whose default follows from other answers."""
    parse, found = jinja_environment().parse, set()
    for path in (ROOT / "questions").glob("*.yml"):
        for name, question in yaml.safe_load(path.read_text(encoding="utf-8")).items():
            default = question.get("default")
            if isinstance(default, str) and question.get("ask") is not False:
                uses = jinja2.meta.find_undeclared_variables(parse(default))
                if uses - {"preset_answers"}:
                    found.add(name)
    # The demo's names step aside when a column of that name is taken: nothing to explain.
    # What the model predicts is asked only where no known case says it.
    return found - {"entity", "time_column", "cost_tp", "action_success", "task_type"}


@pytest.mark.parametrize("detail", ["quick", "full"])
def test_help_fits_the_terminal_and_gives_an_example(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, detail: str
) -> None:
    headings = []
    answered = {"detail": detail, "plan_depth": "standard"}  # every question of full mode
    for name, question in prompts(monkeypatch, tmp_path / "project", **answered).items():
        text = question["message"]
        shown = f"🎤  {text}".splitlines()  # the microphone is two columns wide
        assert max(map(len, shown)) <= 80, f"{name}: a line is too long"
        assert "Example: " in text or name == "detail", f"{name}: no example"
        if name in derived_defaults():
            assert "Default: " in text, f"{name}: where does its default come from?"
        for choice in question.get("choices") or ():
            shown = f"   - {choice.title}" + (f" ({choice.disabled})" if choice.disabled else "")
            assert len(shown) <= 80, f"{name}: {shown}"
        headings += re.findall(r"^── (.*) ──$", text, re.MULTILINE)
    if detail == "quick":
        expected = ["1/4 Project", "2/4 Data", "3/4 Value", "4/4 Deployment"]
    else:
        expected = ["1/6 Project", "2/6 Data", "3/6 Value", "4/6 Model"]
        expected += ["5/6 Deployment", "6/6 Operation"]
    assert headings == ["ML Model Planner", *expected]


BAD = [
    ("project_name", "  ", "at least one word"),
    ("project_name", "x" * 61, "shorten it to 60"),
    ("problem", "Too many leave.", "in 20 characters or more"),
    ("problem", "one line and then\ntwo of them", "one line"),
    ("owner", "a\u202eb", "one line"),
    ("oncall", "\x7f", "one line"),
    ("project_slug", "../up", "single dashes"),
    ("project_slug", "a--b", "single dashes"),
    ("project_slug", "numpy", "numpy-model"),
    ("package_name", "json", "json_model"),
    ("package_name", "class", "class_model"),
    ("package_name", "1st", "a letter first"),
    ("package_name", "abc\n", "a letter first"),
    ("currency", "eur", "ISO 4217"),
    ("task_type", "ranking", "give one of binary, multiclass, multilabel, regression"),
    ("target", "customer id", "letters, digits and _ only"),
    ("target", "churned\n", "letters, digits and _ only"),
    ("target", "class", "rename it"),
    ("target", "x" * 61, "shorten it to 60"),
    ("entity", "churned", "name another column"),
    ("time_column", "customer_id", "name another column"),
    ("entity", "decision", "name another column"),
    ("entity_repeats", "maybe", "yes or no"),
    ("personal_data", "perhaps", "yes or no"),
    ("label_delay_days", -1, "give 0 to 3650"),
    ("n_rows", 49, "give 50 to"),
    ("pos_rate", 0, "give 0.0001 to 0.9999"),
    ("pos_rate", "nan", "give a number"),
    ("pos_rate", "15 %", "write 0.15"),
    ("cost_fp", 0, "give 0.0001 to"),
    ("cost_fn", "inf", "give a number"),
    ("cost_tp", 70, "less than cost_fn"),
    ("cost_tn", 10, "less than cost_fp"),
    ("horizon_months", 4, "give 5 to 120"),
    ("discount_rate", 1.5, "give 0 to 1"),
    ("interpretability", "some", "give one of none, global"),
    ("deployment_modes", [], "choose at least one"),
    (
        "deployment_modes",
        ["rest", "kafka"],
        "give a list, such as [rest, grpc, batch, edge, streaming]",
    ),
    ("latency_ms", 0, "give 1 to"),
    ("batch_schedule", "0 5 * *", "five fields"),
    ("batch_schedule", "0 24 * * *", "hour: 0 to 23, not 24"),
    ("batch_schedule", "0 5 * * *\n", "five fields"),
    ("availability", 1, "give 0.9 to 0.9999"),
    ("python_version", "3.9", "give one of 3.11"),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD)
def test_a_bad_answer_is_refused_with_a_way_to_mend_it(
    tmp_path: Path, name: str, value: Any, message: str
) -> None:
    with pytest.raises(UserMessageError, match=re.escape(message)) as error:
        render(tmp_path / "project", **{name: value})
    assert f"{name}: " in error.value.message and "\n" not in error.value.message
    assert not (tmp_path / "project").exists()


def test_an_entity_that_repeats_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(UserMessageError, match="name the entity column"):
        render(tmp_path / "project", entity="", entity_repeats=True)


# ---------------------------------------------------------------- names


@pytest.fixture(scope="module")
def names() -> Any:
    """Return the macros and lists of questions/names.jinja."""
    worker = copier._main.Worker(src_path=str(plain_template()), defaults=True, quiet=True)
    return worker.jinja_env.get_template("questions/names.jinja").module


@pytest.mark.parametrize(
    ("title", "slug", "package"),
    [
        ("Churn model", "churn-model", "churn_model"),
        ("  Größe à la carte!  ", "groesse-a-la-carte", "groesse_a_la_carte"),
        ("Cafe\u0301 Łódź", "cafe-lodz", "cafe_lodz"),
        ("3D churn", "3d-churn", "ml_3d_churn"),
        ("class", "class", "class_model"),
        ("Statistics", "statistics-model", "statistics_model"),
        ("NumPy", "numpy-model", "numpy_model"),
        ("日本語", "ml-project", "ml_project"),
        ("🚀", "ml-project", "ml_project"),
        ("a" * 49 + " b", "a" * 49, "a" * 49),
    ],
)
def test_names_are_derived_from_the_title(names: Any, title: str, slug: str, package: str) -> None:
    assert str(names.slug(title)) == slug
    assert str(names.package(slug)) == package


def test_reserved_names_are_complete(names: Any, tmp_path: Path) -> None:
    assert set(names.keywords) == set(keyword.kwlist)
    public = {name for name in sys.stdlib_module_names if not name.startswith("_")}
    assert public <= set(names.modules)
    installed = {re.match(r"[\w-]+", d)[0].replace("-", "_") for d in dependencies(tmp_path)}  # type: ignore[index]
    assert installed - {"markdown_it_py"} | {"markdown_it"} <= set(names.modules)


# ---------------------------------------------------------------- settings and packaging


@pytest.mark.parametrize("modes", [["rest", "batch"], ["batch"]], ids="+".join)
def test_config_says_what_the_code_takes_by_default(tmp_path: Path, modes: list[str]) -> None:
    project = render(tmp_path / "project", deployment_modes=modes)
    written = yaml.safe_load((project / "config.yaml").read_text(encoding="utf-8"))
    defaults = json.loads(msgspec.json.encode(Config()))
    assert not defaults["training"].pop("sums_by")  # of series alone
    if "rest" not in modes:
        del defaults["serving"]
    assert written == defaults


@pytest.mark.parametrize(("pos_rate", "rows"), [(0.15, 8000), (0.01, 20000), (0.95, 20000)])
def test_the_sample_holds_enough_of_the_rarer_class(
    tmp_path: Path, pos_rate: float, rows: int
) -> None:
    project = render(tmp_path / "project", pos_rate=pos_rate)
    config = yaml.safe_load((project / "config.yaml").read_text(encoding="utf-8"))
    assert config["data"]["sample_rows"] == rows


def dependencies(tmp_path: Path) -> list[str]:
    """Return the requirements of a project with every mode."""
    project = tomllib.loads((render(tmp_path / "project") / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    named = [one for n in ("rest", "batch", "train", "dev") for one in groups[n]]
    return [*project["project"]["dependencies"], *named]


def test_every_dependency_has_both_bounds(tmp_path: Path) -> None:
    for requirement in dependencies(tmp_path):
        assert re.fullmatch(r"[a-z0-9-]+(\[\w+\])?>=[\d.]+,<\d+", requirement), requirement


def test_serving_installs_nothing_of_training_or_of_another_mode(tmp_path: Path) -> None:
    core = {"filelock", "msgspec", "numpy", "onnxruntime", "pyyaml", "typer"}
    expected = {
        "rest": {"fastapi", "prometheus-client", "uvicorn"},
        "grpc": {"grpcio", "grpcio-health-checking", "grpcio-reflection", "prometheus-client"}
        | {"googleapis-common-protos"},
        "streaming": {"confluent-kafka", "prometheus-client", "psycopg"},
        "batch": {"polars"},
    }

    def names(listed: list[str]) -> set[str]:
        return {re.split(r"[\[>]", requirement)[0] for requirement in listed}

    for modes in ([*expected, "edge"], *([mode] for mode in expected), ["edge"]):
        project = render(tmp_path / modes[-1] / str(len(modes)), deployment_modes=modes)
        content = tomllib.loads((project / "pyproject.toml").read_text())
        groups, running = content["dependency-groups"], [m for m in modes if m in expected]
        assert names(content["project"]["dependencies"]) == core
        assert {m: names(groups[m]) for m in expected if m in groups} == {
            mode: expected[mode] for mode in running
        }
        assert groups["serving"] == [{"include-group": mode} for mode in running]
        image = (project / "deploy/Dockerfile").read_text()
        assert {*re.findall(r"--group (\w+) --no-editable", image)} == {"serving", *running}


def test_projects_are_linted_like_the_template(tmp_path: Path) -> None:
    project = tomllib.loads((render(tmp_path / "project") / "pyproject.toml").read_text())
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for name in ["select", "ignore"]:
        assert project["tool"]["ruff"]["lint"][name] == ours["tool"]["ruff"]["lint"][name]
    assert project["tool"]["ruff"]["line-length"] == ours["tool"]["ruff"]["line-length"]


# ---------------------------------------------------------------- the template as it stands


def test_the_template_needs_no_trust() -> None:
    text = (ROOT / "copier.yml").read_text(encoding="utf-8")
    assert not re.search(r"^_(tasks|migrations|jinja_extensions|answers_file)", text, re.MULTILINE)
    questions = "".join(path.read_text() for path in (ROOT / "questions").glob("*.yml"))
    assert "secret" not in questions


def test_every_question_file_is_included_by_name() -> None:
    included = re.findall(r"^!include (\S+)$", (ROOT / "copier.yml").read_text(), re.MULTILINE)
    assert sorted(included) == sorted(
        f"questions/asked/{p.name}" for p in ROOT.glob("questions/*.yml")
    )


def test_team_owned_files_are_never_updated() -> None:
    settings = next(yaml.safe_load_all((ROOT / "copier.yml").read_text().split("\n---\n")[0]))
    found = settings["_skip_if_exists"]
    assert {path[1:] for path in found if path.startswith("/")} == TEAM_OWNED


def python_sources() -> list[Path]:
    """Return all Python files of the template, those with the suffix .jinja too."""
    found = [*ROOT.glob("template/**/*.py"), *ROOT.glob("template/**/*.py.jinja")]
    return sorted(path for path in found if "__pycache__" not in path.parts)


def test_template_python_is_plain_python(tmp_path: Path) -> None:
    assert python_sources()
    for path in python_sources():
        copy = tmp_path / path.relative_to(ROOT).with_suffix(
            "" if path.suffix == ".jinja" else ".py"
        )
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
        ast.parse(copy.read_text(encoding="utf-8"), str(path))
        if path.suffix == ".py":
            assert not LINE_STATEMENT.search(path.read_text(encoding="utf-8")), f"{path}: as it is"
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ruff = Path(sys.executable).with_name("ruff")
    for arguments in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        done = subprocess.run(
            [ruff, *arguments, tmp_path / "template"], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("modes", [["rest"], ["batch"]], ids="+".join)
def test_rendered_python_passes_the_projects_own_lint(tmp_path: Path, modes: list[str]) -> None:
    project = render(tmp_path / "project", package_name="zeta", deployment_modes=modes)
    ruff = Path(sys.executable).with_name("ruff")
    for arguments in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        done = subprocess.run(
            [ruff, *arguments, project], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


def test_commit_hooks_and_ci_fetch_nothing_that_is_not_pinned(tmp_path: Path) -> None:
    project = render(tmp_path / "project")
    hooks = yaml.safe_load((project / ".pre-commit-config.yaml").read_text())
    assert [repository["repo"] for repository in hooks["repos"]] == ["local"]
    for hook in hooks["repos"][0]["hooks"]:
        assert hook["language"] == "pygrep" or hook["entry"].startswith("uv run "), hook["id"]
    workflow = yaml.safe_load((project / ".github/workflows/ci.yml").read_text())
    assert workflow["permissions"] == {"contents": "read"}
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    used = [step["uses"] for step in steps if "uses" in step]
    assert used and all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) for action in used)


def test_the_check_of_given_answers_is_what_the_questions_say() -> None:
    tool = [sys.executable, str(ROOT / "tools" / "gen_given.py"), "--check"]
    done = subprocess.run(tool, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
