"""The plan of several classes: its rules, numbers, cases, checks; and no word of another task."""

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

CASES = ("ticket_routing", "defect_type", "product_text", "visual_defect")
FORMULAS = "questions/multiclass/formulas.jinja"
OF_OTHERS = (
    r"positives?\b(?! effect)|prevalence|threshold|false alarm|missed case|\bpos_rate|cost_[ft][pn]"
    r"|AUC|rarer\b|binary|churn|today_caught|daily_capacity|two classes|pinball|\bMAE\b|RMSE"
    r"|quantile|\bridge\b|cost_(?:over|under)|today_error|conformal|max_error|target_(?:unit|mean)"
    r"|regression model|tabular-regression"
)
OF_CLASSES = (
    r"multiclass|multinomial|macro|\bkappa\b|cost_(?:wrong|review|pairs)|rarest|largest_share"
    r"|review_(?:share|accuracy)|score_limit|temperature|two people agree|ticket_routing|defect"
)
Z = 1.959963984540054


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the template with nothing but plan, contract and documents, which are made fast."""
    made = tmp_path_factory.mktemp("template") / "planner"
    return copy_template(made, only=DOCUMENTS)


@pytest.fixture(scope="module")
def projects(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("projects")
    found = {
        name: render(folder / name, source=template, preset=name, plan_depth="regulated")
        for name in CASES
    }
    found["start"] = render(folder / "start", source=template, task_type="multiclass")
    return found


def plan(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((project / "plan/plan.yaml").read_text("utf-8"))
    return found


def numbers(project: Path) -> dict[str, Any]:
    groups = plan(project)["computed"].values()
    return {name: number["value"] for group in groups for name, number in group.items()}


@pytest.mark.parametrize("name", CASES)
def test_numbers_equal_those_by_hand(projects: dict[str, Path], name: str) -> None:
    found, a = numbers(projects[name]), plan(projects[name])["answers"]
    classes = a["classes"].split(", ")
    middle = (1 - a["largest_share"] - a["rarest_share"]) / (len(classes) - 2)
    shares = dict.fromkeys(classes, middle)
    shares |= {classes[0]: a["largest_share"], classes[-1]: a["rarest_share"]}
    error = a["cost_wrong"]
    for pair in filter(None, a["cost_pairs"].split("; ")):
        actual, cost = pair.split(" > ")[0], float(pair.split(" = ")[1])
        error += shares[actual] * (cost - a["cost_wrong"]) / (len(classes) - 1)
    reviewed = a["cost_review"] + (1 - a["review_accuracy"]) * error
    today = a["today_cost"] + (1 - a["today_accuracy"]) * error
    chance = sum(share**2 for share in shares.values())
    expected = {
        "cost_of_error": error,
        "cost_today": today,
        "most_of_rows": today * a["predictions_per_month"],
        "review_level": reviewed,
        "accept_level": 1 - reviewed / error,
        "label_kappa": (a["label_agreement"] - chance) / (1 - chance),
        "right_labels": math.sqrt(a["label_agreement"]),
        "test_rarest": round(0.2 * a["n_rows"] * a["rarest_share"]),
        "test_rarest_needed": math.ceil(Z**2 * 0.16 / 0.05**2),
        "reviews_per_day": a["predictions_per_month"] / 30.4375 * a["review_share"],
    }
    for number, value in expected.items():
        assert found[number] == pytest.approx(value, rel=1e-6), number
    assert found["npv"] > 0 and found["weeks"] < 52


def test_formulas_equal_golden_values() -> None:
    named = ["a, b, c", 0.5, 0.2]
    golden = {
        "class_shares": [([4, 0.4, 0.1], [0.4, 0.25, 0.25, 0.1])],
        # c has a fifth of the rows and is taken for a in half of its errors: 0.2 x 90 / 2.
        "cost_of_error": [([*named, 10, "c > a = 100"], 19.0), ([*named, 10, ""], 10)],
        "cost_of_row": [([1.5, 0.8, 10], 3.5)],
        "accept_level": [([1.5, 0.95, 10], 0.8), ([20, 1, 10], -1.0)],
        "kappa": [([0.8, [0.5, 0.5]], 0.6), ([1, [0.9, 0.1]], 1.0)],
        "right_labels": [([0.81], 0.9)],
        "entropy": [([[0.5, 0.25, 0.25]], 1.5 * math.log(2)), ([[1.0, 0.0]], 0.0)],
        "log_loss_of": [([0.7, 4], -0.7 * math.log(0.7) - 0.3 * math.log(0.1))],
        # Two classes of 50 and of 200 rows: sqrt(0.25 x (1/50 + 1/200)) / 2.
        "macro_half_width": [
            ([0.5, 250, [0.2, 0.8]], Z * 0.0790569 / 2),
            ([0.5, 2, [0.2, 0.8]], None),
        ],
        "log_loss_half_width": [([0.5, 10_000], 0.0098), ([0.5, 0], None)],
        "usual_limit": [
            (["a, b, c, d", 0.4, 0.1, ""], 0.7),
            (["a, b, c, d", 0.4, 0.01, ""], 0.5),
            (["a, b, c, d", 0.4, 0.1, "a > b = 3"], 0.94),
        ],
    }
    for macro, cases in golden.items():
        found = evaluate_all(FORMULAS, macro, [arguments for arguments, _ in cases])
        for (_, value), given in zip(cases, found, strict=True):
            assert given == (value if value is None else pytest.approx(value, rel=1e-4)), macro


def test_pairs_are_read_as_they_are_written() -> None:
    given = "out > a b = 60;x(1) > y = 2.5 ; "
    found = evaluate_all("questions/classes.jinja", "pairs_of", [[given], [""]])
    assert found == [[["out", "a b", 60.0], ["x(1)", "y", 2.5]], []]


def fault(macro: str, *arguments: Any) -> str:
    """Return what a check of questions/classes.jinja says."""
    source = f'{{% from "questions/classes.jinja" import {macro} %}}{{{{ {macro}(*given) }}}}'
    return " ".join(environment().from_string(source).render(given=arguments).split())


@pytest.mark.parametrize(
    ("classes", "says"),
    [
        ("billing, technical, other", ""),
        ("Größe, naïve & co., x/y (old), it's", ""),
        ("billing, technical", "name 3 to 100 classes, with commas between them, not 2"),
        ("billing", "name 3 to 100 classes, with commas between them, not 1"),
        (", ".join(f"c{i}" for i in range(101)), "name 3 to 100 classes"),
        ("a, , b", "give a name between each two commas, such as billing, technical, other"),
        ("a, b, c,", "give a name between each two commas"),
        ("a, b, a", "name a once"),
        ("a > b, c, d", "a > b: letters, digits, spaces and"),
        ("a; b, c, d", "a; b: letters, digits"),
        (f"a, b, {'c' * 41}", "at most 40"),
        ("a, b\nc, d", "one line of plain text"),
    ],
)
def test_a_fault_of_the_classes_is_one_clear_line(classes: str, says: str) -> None:
    found = fault("check_names", classes, 3, 100)
    assert found.startswith(says) or says in found
    assert bool(found) == bool(says)


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        ("a > b = 60", ""),
        ("a > b = 60; b>a=1.5", ""),
        ("a > b", "write a > b as actual > decided = cost, with ; between pairs"),
        ("a = 60", "write a = 60 as actual > decided = cost"),
        ("a > b = much", "write a > b = much as actual > decided = cost"),
        ("a > b = 60, b > a = 1", "write a > b = 60, b > a = 1 as"),
        ("a > b = 60;", "write each pair as actual > decided = cost"),
        ("a > z = 60", "z is none of the classes: a, b, c"),
        ("z > a = 60", "z is none of the classes: a, b, c"),
        ("a > a = 60", "a for a is no error: name two classes"),
        ("a > b = 60; a > b = 3", "give a > b one cost"),
        ("a > b = 0", "a > b: give a cost of 0.0001 to 1000000000"),
    ],
)
def test_a_fault_of_the_costs_is_one_clear_line(pairs: str, says: str) -> None:
    found = fault("check_pairs", pairs, "a, b, c")
    assert found.startswith(says) and bool(found) == bool(says)


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({"classes": "a, b"}, "classes: name 3 to 100 classes"),
        ({"cost_pairs": "outage > billing = 60"}, "cost_pairs: outage is none of the classes"),
        ({"largest_share": 0.1}, "largest_share: give 0.25 to 0.9999, such as 0.4"),
        (
            {"largest_share": 0.7, "rarest_share": 0.2},
            "rarest_share: give 0.00001 to 0.1, such as 0.1",
        ),
        ({"score_limit": 1.5}, "score_limit: give 0 to 1"),
        ({"review_share": 1.3}, "review_share: give 0 to 1"),
    ],
)
def test_a_wrong_answer_is_refused(
    template: Path, tmp_path: Path, answers: dict[str, Any], says: str
) -> None:
    with pytest.raises(Exception, match=re.escape(says)):
        render(tmp_path / "p", source=template, task_type="multiclass", **answers)
    assert not (tmp_path / "p").exists() or not any((tmp_path / "p").iterdir())


def test_a_person_who_types_is_told_at_once(template: Path, tmp_path: Path) -> None:
    """Of the full questions only those of classes are asked: a file answers the others."""
    first = recorded(render(tmp_path / "first", template, task_type="multiclass", detail="full"))
    asks = ("classes", "cost_wrong", "cost_pairs", "score_limit")
    others = {name: value for name, value in first.items() if name not in asks}
    (tmp_path / "others.yml").write_text(yaml.safe_dump(others))
    given = ["--data-file", str(tmp_path / "others.yml"), str(template), str(tmp_path / "p")]
    terminal = Terminal("copier", "copy", *given)
    terminal.answer(
        {
            "Which classes are there": "billing; technical\r",
            "billing; technical: letters": "\x15billing, technical\r",
            "name 3 to 100": ", delivery, outage\r",
            "in a wrong class cost": "1.889,50\r",
            "Which errors cost something else": "outage > biling = 60\r",
            "biling is none of the classes": "\x15outage > billing = 4000\r",
            "Which value of the primary metric": "\r",
        }
    )
    code, shown = terminal.end()
    assert code == 0, shown
    found = recorded(tmp_path / "p")
    assert found["classes"] == "billing, technical, delivery, outage"
    assert (found["cost_wrong"], found["cost_pairs"]) == (1889.5, "outage > billing = 4000")
    assert found["score_limit"] == 0.94  # of a log loss


def test_no_pair_is_an_answer_as_no_column_is(template: Path, tmp_path: Path) -> None:
    given = ["--data", "task_type=multiclass", "--data", "cost_pairs=-", "--defaults"]
    done = command("copier", "copy", *given, str(template), str(tmp_path / "p"))
    assert done.returncode == 0 and "cost_pairs: - is read as none" in done.stdout + done.stderr
    assert recorded(tmp_path / "p")["cost_pairs"] == ""


@pytest.mark.parametrize("count", [3, 5, 30, 100])
def test_any_number_of_classes_has_shares_by_default(
    template: Path, tmp_path: Path, count: int
) -> None:
    classes = ", ".join(f"c{i}" for i in range(count))
    made = render(tmp_path / "p", source=template, preset="ticket_routing", classes=classes)
    contract = yaml.safe_load((made / "contracts/dataset.odcs.yaml").read_text("utf-8"))
    target = contract["schema"][0]["properties"][-1]
    shares = target["customProperties"][1]["value"]
    assert list(shares) == target["quality"][0]["arguments"]["validValues"] == classes.split(", ")
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
    assert min(shares.values()) == shares[f"c{count - 1}"]
    assert max(shares.values()) == shares["c0"]


def test_every_answer_of_a_case_is_taken(projects: dict[str, Path]) -> None:
    for name in CASES:
        answers = recorded(projects[name])
        presets = evaluate_all("questions/presets.jinja", "known", [[name, "multiclass"]])
        assert answers | presets[0] | {"plan_depth": "regulated"} == answers


def test_costs_decide_metric_review_and_calibration(template: Path, tmp_path: Path) -> None:
    by_capacity = "review_by_costs_within_capacity"
    wanted: list[tuple[dict[str, Any], tuple[str, str, str]]] = [
        ({}, ("accuracy", by_capacity, "best_of_two")),
        ({"rarest_share": 0.01}, ("macro_f1", by_capacity, "best_of_two")),
        ({"cost_pairs": "other > billing = 60"}, ("log_loss", by_capacity, "best_of_two")),
        ({"review_share": 0}, ("accuracy", "accept_all", "best_of_two")),
        ({"review_share": 1}, ("accuracy", "review_by_costs", "best_of_two")),
        ({"cost_review": 7}, ("accuracy", "accept_all", "best_of_two")),
        ({"n_rows": 1000}, ("accuracy", by_capacity, "temperature")),
    ]
    for i, (answers, expected) in enumerate(wanted):
        made = plan(render(tmp_path / str(i), template, task_type="multiclass", **answers))
        decided = {d["output"]: d["value"] for d in made["decisions"].values()}
        outputs = ("primary_metric", "acceptance", "calibration")
        assert tuple(decided[output] for output in outputs) == expected, answers
        assert decided["primary_metric"] not in decided["secondary_metrics"]
        shown = "\n".join(made["flow"])
        assert ("a person looks" in shown) == (decided["acceptance"] != "accept_all")


def said(project: Path) -> str:
    """Return all that people and machines read of a project."""
    return "\n".join(path.read_text("utf-8") for path in project.rglob("*") if path.is_file())


def test_a_project_names_nothing_of_another_task(
    projects: dict[str, Path], template: Path, tmp_path: Path
) -> None:
    for name, project in projects.items():
        text = re.sub(r'"positive"|two classes(?: only|\); that)', "", said(project))
        assert re.findall(OF_OTHERS, text) == [], name
    for task in ("binary", "regression"):
        made = render(tmp_path / task, template, task_type=task, plan_depth="regulated")
        assert re.findall(OF_CLASSES, said(made)) == [], task


def test_another_task_leaves_its_answers(template: Path, tmp_path: Path) -> None:
    """A case of one task gives nothing to the other."""
    made = render(tmp_path / "p", template, preset="defect_type", task_type="binary")
    answers = recorded(made)
    assert answers["target"] == "churned" and answers["pos_rate"] == 0.15
    assert not {"classes", "cost_wrong", "cost_pairs", "score_limit"} & answers.keys()


CHOICES: dict[str, list[Any]] = {
    "cost_pairs": ["", "", "a > b = 3"],
    "rarest_share": [0.00001, 0.01, 0.1, 0.3],
    "largest_share": [0.34, 0.6, 0.95],
    "review_share": [0, 0.2, 1],
    "accept_level": [-0.5, 0.2, 0.9],
    "n_classes": [3, 10],
    "label_kappa": [0.3, 0.9],
    "right_labels": [0.6, 0.95],
    "label_agreement": [0.36, 0.9],
    "score_limit": [0.2, 0.7, 0.97, 2],
    "knows_nothing": [0.4, 1.5],
    "n_rows": [100, 700, 999, 50_000, 10**9],
    "label_delay_days": [0, 8, 91],
    "history_months": [0.1, 24],
    "time_column": ["", "opened_at"],
    "entity": ["", "ticket_id"],
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
    "task_type": "multiclass",
    "cases": 1e5,
    "result_weeks": 2,
    "kpi": "x",
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
    seen = fired("multiclass", CHOICES, FIXED, 500)
    elsewhere = [rule for task in ("binary", "regression") for rule in tables.rules_of(task)]
    assert {rule["id"] for rule in tables.rules_of("multiclass") if rule not in elsewhere} <= seen


def test_what_is_measured_is_judged_by_answers_alone(projects: dict[str, Path]) -> None:
    """`ml plan check` has no number of a formula but those of the plan."""
    judged = 0
    for project in projects.values():
        found = plan(project)
        for decision in found["decisions"].values():
            for _, condition, _ in decision["judged"]:
                assert tables.gen_rules.names_in(condition) <= found["answers"].keys(), condition
                judged += 1
    assert judged > 10


def test_every_source_is_used_and_every_value_has_words(projects: dict[str, Path]) -> None:
    table, found = tables.rules("multiclass"), plan(projects["defect_type"])
    rules = [rule for decision in table["decisions"].values() for rule in decision["rules"]]
    used = {source for rule in rules for source in rule["sources"]}
    used |= {n["source"] for numbers in found["computed"].values() for n in numbers.values()}
    assert used == set(table["sources"])
    for id, decision in table["decisions"].items():
        given = [r["then"] for r in decision["rules"]]
        then = {v for one in given for v in (one if isinstance(one, list) else [one])}
        assert then <= decision["words"].keys(), id
