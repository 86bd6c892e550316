"""The plan of several labels a row: rules, numbers, its case, checks; no word of another task."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import tables
from helpers.firing import fired
from helpers.jinja import environment, evaluate_all
from helpers.rendering import DOCUMENTS, command, copy_template, recorded, render
from helpers.terminal import Terminal

CASE = "machine_faults"
FORMULAS = "questions/multilabel/formulas.jinja"
OF_OTHERS = (
    r"positives?\b(?! effect)|prevalence|false alarm|missed case|\bpos_rate|cost_[ft][pn]"
    r"|AUC|rarer\b|binary|churn|today_caught|daily_capacity|two classes|pinball|\bMAE\b|RMSE"
    r"|quantile|\bridge\b|cost_(?:over|under)|today_error|conformal|max_error|target_(?:unit|mean)"
    r"|regression model|tabular-regression|multiclass|multinomial|\bkappa\b(?! where)"
    r"|cost_(?:wrong|review|pairs)|largest_share|review_(?:share|accuracy)|score_limit"
    r"|temperature scaling|defect|anomal"
)
OF_LABELS = (
    r"multilabel|label_(?:names|shares|costs|limit)|labels_per_row|rarest_label|micro F1|Hamming"
    r"|LRAP|annotator|today_label|cost_(?:missed|extra)_label|machine_faults|iterative"
)
Z = 1.959963984540054


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the template with plan, contract and documents, made fast."""
    made = tmp_path_factory.mktemp("template") / "planner"
    return copy_template(made, only=DOCUMENTS)


@pytest.fixture(scope="module")
def projects(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the case and what the task begins with."""
    folder = tmp_path_factory.mktemp("projects")
    wanted = {"case": {"preset": CASE}, "start": {"task_type": "multilabel"}}
    return {
        name: render(folder / name, source=template, plan_depth="regulated", **answers)
        for name, answers in wanted.items()
    }


def plan(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((project / "plan/plan.yaml").read_text("utf-8"))
    return found


def numbers(project: Path) -> dict[str, Any]:
    groups = plan(project)["computed"].values()
    return {name: number["value"] for group in groups for name, number in group.items()}


def test_numbers_equal_those_by_hand(projects: dict[str, Path]) -> None:
    found = numbers(projects["case"])
    # 0.62 labels a row: 0.22 and 0.16 by name, 0.04 of the leak, the other two share 0.2.
    shares, costs = [0.22, 0.16, 0.10, 0.10, 0.04], [(18, 6)] * 4 + [(260, 12)]
    errors = sum(
        share * (0.35 * missed + 0.65 * (1 / 0.8 - 1) * extra)
        for share, (missed, extra) in zip(shares, costs, strict=True)
    )
    expected = {
        "errors_today": errors,  # 7.94
        "cost_today": 4 + errors,
        "most_of_rows": (4 + errors) * 30_000,
        "usual_threshold": 0.25,
        "test_rarest": 2_880,  # 4 % of 72 000
        "fit_rarest": 0.04 * 360_000 * (0.8 - 14 / (12 * 30.4375)),
        "test_rarest_needed": math.ceil(Z**2 * 0.16 / 0.05**2),
        "none_if_independent": 0.78 * 0.84 * 0.9 * 0.9 * 0.96,
        "right_labels": math.sqrt(0.86),
        "labels_per_day": 30_000 / 30.4375 * 0.62,
    }
    for number, value in expected.items():
        assert found[number] == pytest.approx(value, rel=1e-6), number
    assert errors == pytest.approx(7.9375, abs=1e-4) and found["weeks"] < 52
    assert all(numbers(project)["npv"] > 0 for project in projects.values())


def test_formulas_equal_golden_values() -> None:
    named = ["a, b, c, d", 1.0, 0.1]
    golden: dict[str, list[tuple[list[Any], Any]]] = {
        "shares_by_label": [
            ([*named, ""], [0.3, 0.3, 0.3, 0.1]),
            ([*named, "b = 0.5"], [0.2, 0.5, 0.2, 0.1]),
            ([*named, "c = 30 %; a = 0.4; b = 0.2"], [0.4, 0.2, 0.3, 0.1]),
        ],
        # 0.5 x (0.2 x 10 + 0.8 x 0.25 x 5) + 0.1 x (0.2 x 100 + 0.8 x 0.25 x 5)
        "cost_of_errors": [
            ([[0.5, 0.1], [[10, 5], [100, 5]], 0.8, 0.8], 1.5 + 2.1),
            ([[0.5, 0.1], [[10, 5], [100, 5]], 0, 1.0], 15.0),
        ],
        "label_threshold": [([9, 1], 0.1), ([2, 2], 0.5)],
        # a for all rows: 2 x 0.5 / (1 + 0.8); a and b: 2 x 0.7 / 2.8; all: 1.6 / 3.8.
        "f1_of_shares": [
            ([[0.2, 0.5, 0.1], [], False], 1.0 / 1.8),
            ([[0.5, 0.45], [], False], 1.9 / 2.95),
            ([[1 / 3, 1.0], [], True], 0.75),
            # By costs of 9 and 1 from 0.1 on, so all three; of 3 and 1 from 0.25 on, so one.
            ([[0.2, 0.5, 0.1], [[9, 1]] * 3, False], 1.6 / 3.8),
            ([[0.2, 0.5, 0.1], [[3, 1]] * 3, True], 1 / 1.5 / 3),
            ([[0.2, 0.5, 0.1], [[1, 9]] * 3, True], 0),
        ],
        "costs_of_thresholds": [(["a, b", 2, 2, ""], [])],
        "usual_limit": [
            ([[0.2, 0.5, 0.1], [], False], 0.6),
            ([[1 / 3, 1.0], [], True], 0.775),
            ([[0.2, 0.5, 0.1], [[3, 1]] * 3, True], 0.3),
        ],
        "none_if_independent": [([[0.5, 0.2]], 0.4)],
    }
    for macro, cases in golden.items():
        found = evaluate_all(FORMULAS, macro, [arguments for arguments, _ in cases])
        for (_, value), given in zip(cases, found, strict=True):
            assert given == pytest.approx(value, rel=1e-3), macro
    costs = evaluate_all(FORMULAS, "costs_by_label", [["a, b", 4, 2, "b = 30 / 1.5"]])
    assert costs == [[[4, 2], [30.0, 1.5]]]


def fault(macro: str, *arguments: Any) -> str:
    """Return what a check of questions/labels.jinja says."""
    source = f'{{% from "questions/labels.jinja" import {macro} %}}{{{{ {macro}(*given) }}}}'
    return " ".join(environment().from_string(source).render(given=arguments).split())


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("wear, leak", ""),
        ("Größe, x/y (old), it's", ""),
        ("wear", "name 2 to 40 labels, with commas between them, not 1"),
        (", ".join(f"l{i}" for i in range(41)), "name 2 to 40 labels"),
        ("a, , b", "give a name between each two commas"),
        ("a, b, a", "name a once"),
        ("a; b, c", "a; b: letters, digits"),
        ("a|b, c", "a|b: letters, digits"),
        ("wear, None", "call none otherwise: a row without a label says none"),
        ("a, b\nc, d", "one line of plain text"),
    ],
)
def test_a_fault_of_the_names_is_one_clear_line(names: str, says: str) -> None:
    found = fault("check_labels", names)
    assert found.startswith(says) and bool(found) == bool(says)


@pytest.mark.parametrize(
    ("shares", "says"),
    [
        ("a = 0.4", ""),
        ("a = 40 %; b = 0.2", ""),
        ("b=.4", "write b=.4 as label = share, with ; between labels"),
        ("a = 0.4, b = 0.2", "write a = 0.4, b = 0.2 as label = share"),
        ("a = 0.4;", "write each share as label = share"),
        ("z = 0.4", "z is none of the labels: a, b, c, d"),
        ("d = 0.1", "leave d out: rarest_label_share is its share"),
        ("a = 0.4; a = 0.3", "give a one share"),
        ("a = 0.05", "a: give 0.1, the share of the rarest label, to 0.99"),
        ("a = 1.2", "a: give 0.1"),
        ("a = 0.8; b = 0.9", "1 other label would have a share of -0.8: labels_per_row is 1.0"),
        ("a = 0.85", "2 other labels would have a share of 0.025: labels_per_row is 1.0"),
        ("a = 0.4; b = 0.2; c = 0.2", "the shares add up to 0.9: give labels_per_row as that"),
        ("a = 0.4; b = 0.3; c = 0.2", ""),
    ],
)
def test_a_fault_of_the_shares_is_one_clear_line(shares: str, says: str) -> None:
    found = fault("check_shares", shares, "a, b, c, d", 1.0, 0.1)
    assert found.startswith(says) and bool(found) == bool(says)


@pytest.mark.parametrize(
    ("costs", "says"),
    [
        ("a = 400 / 5", ""),
        ("a = 400/5.5; b = 1 / 1", ""),
        ("a = 400", "write a = 400 as label = missed / extra, with ; between labels"),
        ("a = much / 5", "write a = much / 5 as"),
        ("a = 4 / 5;", "write each cost as label = missed / extra"),
        ("z = 4 / 5", "z is none of the labels: a, b"),
        ("a = 4 / 5; a = 4 / 6", "give a one pair of costs"),
        ("a = 0 / 5", "a: give costs of 0.0001 to 1000000000"),
        ("b = 5 / 0", "b: give costs of 0.0001"),
    ],
)
def test_a_fault_of_the_costs_is_one_clear_line(costs: str, says: str) -> None:
    found = fault("check_costs", costs, "a, b")
    assert found.startswith(says) and bool(found) == bool(says)


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({"label_names": "gift"}, "label_names: name 2 to 40 labels"),
        ({"labels_per_row": 5}, "labels_per_row: give at most 4.75: there are 5 labels"),
        ({"rarest_label_share": 0.3}, "rarest_label_share: give 0.00001 to 0.24, such as 0.08"),
        ({"label_shares": "gifts = 0.4"}, "label_shares: gifts is none of the labels: gift,"),
        ({"label_costs": "gift = 4"}, "label_costs: write gift = 4 as label = missed / extra"),
        (
            {"today_label_recall": 0, "today_label_precision": 0.5},
            "today_label_precision: give 1: today's process sets no label",
        ),
        ({"label_limit": 1.5}, "label_limit: give 0 to 1"),
        ({"cost_extra_label": 0}, "cost_extra_label: give 0.0001"),
    ],
)
def test_a_wrong_answer_is_refused(
    template: Path, tmp_path: Path, answers: dict[str, Any], says: str
) -> None:
    with pytest.raises(Exception, match=re.escape(says)):
        render(tmp_path / "p", source=template, task_type="multilabel", **answers)
    assert not (tmp_path / "p").exists() or not any((tmp_path / "p").iterdir())


def test_a_person_who_types_is_told_at_once(template: Path, tmp_path: Path) -> None:
    """Of the full questions only those of labels are asked: a file answers the others."""
    first = recorded(render(tmp_path / "first", template, task_type="multilabel", detail="full"))
    asks = ("label_names", "label_shares", "cost_missed_label", "label_costs", "label_limit")
    others = {name: value for name, value in first.items() if name not in asks}
    (tmp_path / "others.yml").write_text(yaml.safe_dump(others))
    given = ["--data-file", str(tmp_path / "others.yml"), str(template), str(tmp_path / "p")]
    terminal = Terminal("copier", "copy", *given)
    terminal.answer(
        {
            "Which labels are there": "wear; leak\r",
            "wear; leak: letters": "\x15wear\r",
            "name 2 to 40": ", loose, hot, tight, leak\r",
            "Which share of the rows has each": "wear = 40 %, loose = 0.3\r",
            "as label = share": "\x15wear = 40 %; loose = 0.3\r",
            "that is true and not set": "1.889,50\r",
            "Which labels cost something else": "leek = 4000 / 3\r",
            "leek is none of the labels": "\x15leak = 4000 / 3\r",
            "Which value of the primary metric": "\r",
        }
    )
    code, shown = terminal.end()
    assert code == 0, shown
    found = recorded(tmp_path / "p")
    assert found["label_names"] == "wear, loose, hot, tight, leak"
    assert found["label_shares"] == "wear = 40 %; loose = 0.3"
    assert (found["cost_missed_label"], found["label_costs"]) == (1889.5, "leak = 4000 / 3")
    # Macro F1, as the leak costs something else; each pays for all rows, from 4 / 1893.5 on.
    nothing = sum(2 * share / (1 + share) for share in [0.4, 0.3, 0.21, 0.21, 0.08]) / 5
    assert found["label_limit"] == pytest.approx(nothing + (1 - nothing) / 10, abs=1e-3)


def test_no_exception_is_an_answer_as_no_column_is(template: Path, tmp_path: Path) -> None:
    given = ["--data", "task_type=multilabel", "--data", "label_costs=-", "--defaults"]
    done = command("copier", "copy", *given, str(template), str(tmp_path / "p"))
    assert done.returncode == 0 and "label_costs: - is read as none" in done.stdout + done.stderr
    assert recorded(tmp_path / "p")["label_costs"] == ""


@pytest.mark.parametrize("count", [2, 5, 14, 40])
def test_any_number_of_labels_has_shares_by_default(
    template: Path, tmp_path: Path, count: int
) -> None:
    names = ", ".join(f"l{i}" for i in range(count))
    made = render(tmp_path / "p", source=template, preset=CASE, label_names=names)
    contract = yaml.safe_load((made / "contracts/dataset.odcs.yaml").read_text("utf-8"))
    target = contract["schema"][0]["properties"][-1]
    found = {p["property"]: p["value"] for p in target["customProperties"]}
    assert target["name"] == "faults" and target["logicalType"] == "string"
    assert found["role"] == "target" and "quality" not in target
    assert list(found["labelShares"]) == found["labels"] == names.split(", ")
    assert min(found["labelShares"].values()) == found["labelShares"][f"l{count - 1}"]
    answers = recorded(made)
    assert sum(found["labelShares"].values()) == pytest.approx(answers["labels_per_row"], rel=1e-3)
    assert answers["label_shares"] == answers["label_costs"] == ""  # of the case's labels


def test_every_answer_of_the_case_is_taken(projects: dict[str, Path]) -> None:
    [preset] = evaluate_all("questions/presets.jinja", "known", [[CASE, "multilabel"]])
    answers = recorded(projects["case"])
    assert answers | preset | {"plan_depth": "regulated"} == answers


def test_costs_and_rarity_decide_metric_thresholds_and_calibration(
    template: Path, tmp_path: Path
) -> None:
    no_time = {"time_column": ""}
    again = {"entity_repeats": True}
    wanted: list[tuple[dict[str, Any], tuple[str, str, str, str]]] = [
        ({}, ("micro_f1", "by_metric", "best_of_two", "time")),
        ({"rarest_label_share": 0.01}, ("macro_f1", "by_metric", "best_of_two", "time")),
        ({"cost_missed_label": 9}, ("micro_f1", "by_metric", "best_of_two", "time")),
        ({"cost_extra_label": 1}, ("micro_f1", "by_costs", "best_of_two", "time")),
        ({"label_costs": "premium = 60 / 4"}, ("macro_f1", "by_costs", "best_of_two", "time")),
        ({"n_rows": 1500, **no_time}, ("micro_f1", "by_metric", "platt", "iterative")),
        ({"n_rows": 500, **no_time}, ("micro_f1", "by_metric", "platt", "iterative")),
        ({**no_time, **again}, ("micro_f1", "by_metric", "best_of_two", "iterative_group")),
    ]
    outputs = ("primary_metric", "label_thresholds", "calibration", "split")
    for i, (answers, expected) in enumerate(wanted):
        made = plan(render(tmp_path / str(i), template, task_type="multilabel", **answers))
        decided = {d["output"]: d["value"] for d in made["decisions"].values()}
        assert tuple(decided[output] for output in outputs) == expected, answers
        assert decided["primary_metric"] not in decided["secondary_metrics"]
        assert decided["tuning"] == "none" and "normal_by" not in decided


def said(project: Path) -> str:
    """Return all that people and machines read of a project."""
    return "\n".join(path.read_text("utf-8") for path in project.rglob("*") if path.is_file())


def test_a_project_names_nothing_of_another_task(
    projects: dict[str, Path], template: Path, tmp_path: Path
) -> None:
    for name, project in projects.items():
        assert re.findall(OF_OTHERS, said(project)) == [], name
    for task in ("binary", "multiclass", "anomaly"):
        made = render(tmp_path / task, template, task_type=task, plan_depth="regulated")
        assert re.findall(OF_LABELS, said(made)) == [], task


def test_another_task_leaves_its_answers(template: Path, tmp_path: Path) -> None:
    """A case of one task gives nothing to the other."""
    made = render(tmp_path / "p", template, preset=CASE, task_type="binary")
    answers = recorded(made)
    assert answers["target"] == "churned" and answers["pos_rate"] == 0.15
    assert not {"label_names", "cost_missed_label", "label_costs", "label_limit"} & answers.keys()


CHOICES: dict[str, list[Any]] = {
    "label_costs": ["", "", "a = 3 / 1"],
    "cost_missed_label": [2, 9],
    "cost_extra_label": [2],
    "rarest_label_share": [0.00001, 0.01, 0.1, 0.3],
    "annotator_agreement": [0.4, 0.9],
    "right_labels": [0.6, 0.95],
    "label_limit": [0.2, 0.7, 0.97],
    "knows_nothing": [0.4],
    "n_labels": [3, 10],
    "n_rows": [100, 700, 999, 50_000, 10**9],
    "label_delay_days": [0, 8, 91],
    "history_months": [0.1, 24],
    "time_column": ["", "listed_at"],
    "entity": ["", "product_id"],
    "entity_repeats": [True, False],
    "interpretability": ["none", "inherent", "local"],
    "decision_mode": ["automated", "human_in_loop"],
    "predictions_per_month": [10, 20_000],
    "cost_today": [2.0],
    "ab_weeks": [1, 53],
    "monthly_benefit": [0, 10**9],
    "yearly_gap": [0, 480_000, 10**12],
}
FIXED = {
    "task_type": "multilabel",
    "cases": 1e5,
    "result_weeks": 2,
    "has_labels": True,
    "personal_data": False,
    "significant_effect": False,
    "deployment_modes": ["rest"],
    "risk_class": "minimal",
    "jurisdictions": ["eu"],
    "npv": 1.0,
    "benefit": 5.0,
}


def test_jinja_fires_the_rules_that_python_does_and_each_fires() -> None:
    seen = fired("multilabel", CHOICES, FIXED, 500)
    elsewhere = [rule for task in ("binary", "multiclass") for rule in tables.rules_of(task)]
    assert {rule["id"] for rule in tables.rules_of("multilabel") if rule not in elsewhere} <= seen


def test_what_is_measured_is_judged_by_answers_alone(projects: dict[str, Path]) -> None:
    """`ml plan check` has no number of a formula but those of the plan."""
    found, judged = plan(projects["case"]), set()
    for id, decision in found["decisions"].items():
        for _, condition, _ in decision["judged"]:
            assert tables.gen_rules.names_in(condition) <= found["answers"].keys(), condition
            judged.add(id)
    assert judged >= {"MOD-02", "MOD-03", "EVAL-01", "EVAL-02"}


def test_every_source_is_used_and_every_value_has_words(projects: dict[str, Path]) -> None:
    table, found = tables.rules("multilabel"), plan(projects["case"])
    rules = tables.rules_of("multilabel")
    used = {source for rule in rules for source in rule["sources"]}
    used |= {n["source"] for numbers in found["computed"].values() for n in numbers.values()}
    assert used == set(table["sources"])
    for id, decision in table["decisions"].items():
        given = [r["then"] for r in decision["rules"]]
        then = {v for one in given for v in (one if isinstance(one, list) else [one])}
        assert then <= decision["words"].keys(), id
