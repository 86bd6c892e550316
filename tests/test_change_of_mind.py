"""A change of mind: plan, code, alerts and documents follow together, and the project runs on."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from helpers.rendering import copy_template, different, git, publish, recorded, render, tree
from helpers.updates import (
    TEAM,
    People,
    Tree,
    faults,
    prepare,
    update,
    update_project,
    write,
)

from package_name.engine.settings import Project
from package_name.planner import check, signing
from package_name.planner.blocks import parse

REST = r"\bREST\b|HTTP|fastapi|uvicorn|prometheus|/metrics(?!\.(json|py))|/predict\b|latency"
REST += r"|ml serve|(?<!_)(?<!on )requests?\b|\bservice\b|peak_qps|rest_api"
BATCH = r"\bbatch\b|crontab|ml score|incoming|pyarrow.*batch"
BOTH = {"deployment_modes": ["rest", "batch"]}
ONE_MODE = {mode: {"deployment_modes": [mode]} for mode in ("rest", "batch")}


class Switch(NamedTuple):
    """Answers before, those that change, words that must be gone, and words that must be there."""

    before: dict[str, Any]
    change: dict[str, Any]
    gone: str
    there: dict[str, str]
    errors: tuple[str, ...] = ()


SWITCHES = {
    "rest off": Switch(BOTH, ONE_MODE["batch"], REST, {"PLAN.md": "Scheduled batch job."}),
    "batch off": Switch(BOTH, ONE_MODE["rest"], BATCH, {"PLAN.md": "REST API in a container."}),
    "rest on": Switch(
        ONE_MODE["batch"],
        BOTH,
        "A binary classifier .* delivered by a scheduled",
        {
            "PLAN.md": "REST API in a container, scheduled batch job",
            "monitoring/alerts.yml": "SlowAnswers",
            "pyproject.toml": "fastapi",
            "README.md": "ml serve",
            "docs/runbook.md": "Slow answers",
            "deploy/Dockerfile": "EXPOSE 8000",
            "tests/code/test_rest.py": "import",
        },
    ),
    "batch on": Switch(
        ONE_MODE["rest"],
        BOTH,
        "delivered by an HTTP service\\.",
        {
            "PLAN.md": "REST API in a container, scheduled batch job",
            "deploy/crontab": "0 5 ",
            "README.md": "ml score",
            "docs/runbook.md": "A batch run failed",
            "tests/code/test_batch.py": "import",
        },
    ),
    "rest to batch": Switch(
        ONE_MODE["rest"], ONE_MODE["batch"], REST, {"deploy/crontab": "ml score"}
    ),
    "batch to rest": Switch(ONE_MODE["batch"], ONE_MODE["rest"], BATCH, {"README.md": "ml serve"}),
    "metric": Switch(
        {"pos_rate": 0.3},
        {"pos_rate": 0.03, "min_metric": 0.1},
        r"by rule: ROC AUC\.|30 % positive",
        {"PLAN.md": "Decision by rule: PR AUC", "docs/model_card.md": "positives: 3 %"},
    ),
    "split": Switch(
        {},
        {"time_column": "", "entity": "", "entity_repeats": False, "prediction_unit": "row"},
        "snapshot_date|customer_id|time_series",
        {"PLAN.md": "| Split | Stratified by class."},
        ("DATA-01",),
    ),
    "target": Switch(
        {}, {"target": "left"}, r"\bchurned\b", {"README.md": "--target left"}, ("DATA-01",)
    ),
    "names": Switch(
        {},
        {
            "project_name": "Leavers",
            "project_slug": "leavers",
            "package_name": "leavers",
            "owner": "Growth",
            "oncall": "Night team",
            "currency": "CHF",
        },
        r"Churn model|churn.model|ML team(?!\"  # the answer)|\bEUR\b",
        {
            "pyproject.toml": 'name = "leavers"',
            "deploy/compose.yaml": "leavers",
            "monitoring/prometheus.yml": "leavers",
            "docs/runbook.md": "On call: Night team. Owner: Growth.",
            "src/leavers/cli.py": "import",
            "tests/code/test_plan.py": "from leavers",
        },
    ),
    "deeper": Switch(
        {},
        {"plan_depth": "regulated"},
        "four pages$",
        {"PLAN.md": "<!-- REG-02 -->\n", "docs/datasheet.md": "Gebru", "README.md": "datasheet"},
    ),
    "shallower": Switch(
        {"plan_depth": "regulated"},
        {"plan_depth": "light"},
        r"REG-0\d|SCHED-01|datasheet",
        {"PLAN.md": "<!-- END-01 -->\n"},
    ),
    "limits": Switch(
        {},
        {
            "availability": 0.999,
            "latency_ms": 250,
            "window_days": 7,
            "batch_schedule": "30 2 * * 1",
        },
        r"99\.5 %|100 ms|over 30 days|0 5 \* \* \*",
        {
            "monitoring/alerts.yml": "> 0.25",
            "PLAN.md": "99.9 % of requests succeed (answer) over 7 days (answer), 99 % of requests "
            "within 250 ms (answer)",
            "docs/runbook.md": "99.9 % of requests succeed over 7 days",
            "deploy/crontab": "30 2 * * 1 cd",
        },
    ),
    "interpretability": Switch(
        {},
        {"interpretability": "inherent", "personal_data": False},
        r"logistic regression, LightGBM|rows are about people|Applies: yes",
        {"PLAN.md": "| Candidates | Logistic regression."},
    ),
}


class Changed(NamedTuple):
    """A project before its update and after it, when nobody had edited it."""

    old: Tree
    new: Tree
    answers: dict[str, Any]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_template(tmp_path_factory.mktemp("template") / "ml-model-planner")
    publish(folder, "v1.0.0")
    return folder


@pytest.fixture(scope="module")
def changed(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Changed]:
    @cache
    def make(name: str) -> Changed:
        folder = tmp_path_factory.mktemp("changed") / "project"
        render(folder, template, "v1.0.0", **SWITCHES[name].before)
        old = tree(folder)
        publish(folder)
        assert update_project(folder, **SWITCHES[name].change) == set()
        new = {path: text for path, text in tree(folder).items() if not path.startswith(".git/")}
        return Changed(old, new, recorded(folder))

    return make


def told(files: Tree) -> dict[str, str]:
    """Return what a project says of itself: not the values that a decision could have instead."""
    plan = yaml.load(files["plan/plan.yaml"], yaml.CSafeLoader)
    for decision in plan["decisions"].values():
        for other in ("alternatives", "words", "uses", "judged"):
            decision.pop(other, None)
    texts = {path: text.decode() for path, text in files.items() if path not in TEAM}
    hint = re.compile(r"^uv run ml update --data deployment_modes.*$", re.MULTILINE)
    texts["README.md"] = hint.sub("", texts["README.md"])
    texts["plan/plan.yaml"] = yaml.safe_dump(
        {name: plan[name] for name in ("project", "answers", "decisions", "computed", "blocks")},
        width=10**6,
    )
    return texts


@pytest.mark.parametrize("name", SWITCHES)
def test_everything_follows(changed: Callable[[str], Changed], tmp_path: Path, name: str) -> None:
    switch, (old, new, answers) = SWITCHES[name], changed(name)
    assert {n: answers[n] for n in switch.change if n in answers} == switch.change
    fresh = tree(render(tmp_path / "fresh", **answers))
    assert set(different(new, fresh)) - {".copier-answers.yml"} <= TEAM
    # Code holds names of its own, and acts by plan.yaml and by which files there are.
    code = "^$" if name == "names" else r"^(src|tests)/"
    said = {path: text for path, text in told(new).items() if not re.search(code, path)}
    found = {path: re.findall(f".*(?:{switch.gone}).*", text) for path, text in said.items()}
    assert {path: lines for path, lines in found.items() if lines} == {}
    before = {path: text for path, text in told(old).items() if not re.search(code, path)}
    assert any(re.search(switch.gone, text) for text in before.values()) or name == "deeper"
    for path, text in switch.there.items():
        assert text in new[path].decode().replace("\u00a0", " "), path
    for mode in {"rest", "grpc", "batch", "edge", "streaming"} - set(answers["deployment_modes"]):
        assert not [path for path in new if re.search(rf"(?<![a-z]){mode}(?![a-z])", path)]


@pytest.mark.parametrize("name", SWITCHES)
def test_the_plan_says_what_does_not_follow(
    changed: Callable[[str], Changed], tmp_path: Path, name: str
) -> None:
    files = changed(name).new
    write(tmp_path, files, set(files))
    errors = {f.id: f.message for f in check.check(Project(tmp_path)) if f.level == "error"}
    assert set(errors) == set(SWITCHES[name].errors), errors
    assert all("`ml update --data" in message for message in errors.values())


def test_settings_that_contradict_the_plan_are_named(
    changed: Callable[[str], Changed], tmp_path: Path
) -> None:
    """No update touches config.yaml and the contract, so the plan says where they differ."""
    files = dict(changed("metric").new)
    for name, old, new in (
        ("config.yaml", "test_share: 0.2", "test_share: 0.3"),
        ("config.yaml", "window_days: 7", "window_days: 14"),
        (".copier-answers.yml", "cost_fn: 70.0", "cost_fn: 90.0"),
    ):
        assert old in files[name].decode()
        files[name] = files[name].replace(old.encode(), new.encode())
    write(tmp_path, files, set(files))
    found = [f"{f.level} {f.id} {f.message}" for f in check.check(Project(tmp_path))]
    assert [text for text in found if not re.search("^todo|not measured yet", text)] == [
        "warning DATA-02 pos_rate is 0.03, but positiveShare of the contract is 0.3: "
        "correct the one that is wrong, the plan by `ml update --data pos_rate=0.3`",
        "warning DATA-02 training.test_share of config.yaml is 0.3, the plan counts on 0.2",
        "warning MON-01 monitoring.window_days of config.yaml is 14, the plan counts on 7",
        "error PLAN.md cost_fn was edited in .copier-answers.yml: "
        "restore it with git, then `ml update --data cost_fn=VALUE`",
    ]


def approve_all(files: Tree, folder: Path) -> Tree:
    """Return a project whose plan people filled and approved."""
    write(folder, files, set(files))
    for kind, identifier in parse(files["PLAN.md"].decode()):
        if kind == "human":
            signing.approve(Project(folder), identifier, "@eva", None)
    return files | {"PLAN.md": (folder / "PLAN.md").read_bytes()}


@pytest.mark.parametrize("name", SWITCHES)
def test_what_people_wrote_stays(
    changed: Callable[[str], Changed], tmp_path: Path, name: str
) -> None:
    """People answered every question, signed, and edited code, documents and settings."""
    old, new, _ = changed(name)
    blocks = sum(kind == "human" for kind, _ in parse(old["PLAN.md"].decode()))
    deeds = [(People.write_plan, number, 1) for number in range(blocks)]
    deeds += [(People.write_setting, number, 6) for number in range(3)] + [
        (People.write_notes, 0, 0)
    ]
    deeds += [(People.make_file, 3, 1), (People.make_file, 20, 4), (People.make_file, 40, 8)]
    case, people = prepare(old, new, deeds)
    top, end = r"Dockerfile|crontab|compose", r"README|runbook|pyproject|alerts.yml|serving/\w+\.py"
    for path in sorted(old):
        if re.search(f"{top}|{end}", path):
            people.write_line(0, 6 if re.search(end, path) else 0, path)
    case.mine = approve_all(case.mine, tmp_path / "before")
    update([case])
    assert faults(case, people) == []
    clash = {path for path in case.mine if path not in old and path in new}  # both made one
    assert case.unmerged == clash | ({"PLAN.md"} if name == "shallower" else set())
    if name == "shallower":
        return  # people decide what becomes of text in blocks that are gone
    write(tmp_path / "after", case.result, set(case.result))
    project = Project(tmp_path / "after")
    stale = {f.id for f in check.check(project) if f.message.startswith("stale approval")}
    was, now = (parse(files["PLAN.md"].decode()) for files in (old, new))
    other = {i for kind, i in was if kind == "auto" and was[kind, i].lines != now[kind, i].lines}
    signed = {i for kind, i in was if kind == "human" and project.plan.blocks[i].applies}
    assert stale == other & signed


# ---------------------------------------------------------------- and it still runs

SMALL = {
    "ML_DATA__SAMPLE_ROWS": "10000",  # below, the small model flags every row
    "ML_TRAINING__FOLDS": "2",
    "ML_TRAINING__MAX_ROUNDS": "20",
    "ML_TRAINING__MEMBERS": "1",
    "ML_TRAINING__THREADS": "1",
    "ML_TRAINING__TRACK": "false",
    "ML_EVALUATION__BOOTSTRAP": "50",
}


def run(folder: Path, *command: str, codes: tuple[int, ...] = (0,)) -> str:
    """Run Python in a project, with settings for a small model; return what it prints."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, **SMALL, "PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in codes, f"{command}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def errors(folder: Path, package: str) -> list[str]:
    found = json.loads(run(folder, "-m", package, "plan", "check", "--json", codes=(0, 1)))
    return [finding["message"] for finding in found["findings"] if finding["level"] == "error"]


@pytest.mark.parametrize("to", ["batch", "rest"])
def test_a_project_that_has_run_runs_on(template: Path, tmp_path: Path, to: str) -> None:
    """Trained with one way of delivery, then delivered in another way, under another metric."""
    before = {
        "deployment_modes": ["rest", "batch"] if to == "batch" else ["batch"],
        "plan_depth": "regulated" if to == "batch" else "standard",
    }
    folder = render(tmp_path / "project", template, "v1.0.0", **before)
    publish(folder)
    run(folder, "-m", "churn_model", "run")
    assert errors(folder, "churn_model") == []
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "-m", "measured")
    package = "leavers" if to == "batch" else "churn_model"
    change = {"deployment_modes": [to], "package_name": package, "cost_fn": 60.0}
    assert update_project(folder, **change) == set()
    stale = " ".join(errors(folder, package))  # what was measured with the old answers
    assert (
        "cost_fn is 60, but reports/metrics.json used 70" in stale
        and "deployment_modes is" in stale
    )
    run(folder, "-m", package, "run")
    assert errors(folder, package) == []
    text = (folder / "PLAN.md").read_text("utf-8").lower()
    # An experiment in use comes after all that a run can measure, attacks are tried by themselves.
    own = {"ml plan experiment", "ml attack"}
    assert set(re.findall(r"not measured yet: run `([^`]*)`", text)) <= own
    # Its own tests: all of them are there for this mode, and one starts the service and asks it.
    run(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--collect-only")
    if to == "batch":
        run(folder, "-m", package, "score", "data/sample/dataset.parquet", "scores.parquet")
        assert (folder / "scores.parquet").exists()
    else:
        run(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/code/test_rest.py")
