"""Messages that only a mistake shows: each is one line that says what is wrong and how to mend it.

The commands run in this process, in a rendered project: their paths were found by measuring which
messages no other test reaches (branch coverage of the generated source).
"""

import hashlib
import importlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import helpers.bundles as small
import numpy as np
import polars as pl
import pytest
import yaml
from helpers.package import SOURCE
from helpers.rendering import git, publish, render

from package_name import splitting
from package_name.engine import bench, console, explaining, monitoring, privacy, storage
from package_name.engine import git as children
from package_name.engine.data import ingest, sample, validation
from package_name.engine.data.contract import Column, Contract
from package_name.engine.errors import CheckFailed, ProjectError
from package_name.engine.facts import Facts
from package_name.engine.features import encode
from package_name.engine.model import registry, tracking
from package_name.engine.model.scorer import Scorer, session
from package_name.engine.serving import batch
from package_name.engine.settings import Project
from package_name.planner import progress, signing, update

PACKAGE = "message_model"
Ml = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("messages") / "project"
    render(folder, package_name=PACKAGE, plan_depth="standard")
    sys.path.insert(0, str(folder / "src"))
    yield folder
    sys.path.remove(str(folder / "src"))


@pytest.fixture
def project(rendered: Path, tmp_path: Path) -> Project:
    return Project(shutil.copytree(rendered, tmp_path / "project"))


@pytest.fixture
def ml(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ml:
    """Run `ml ...` in the project; return its exit code and what it printed."""
    cli = importlib.import_module(f"{PACKAGE}.cli")
    monkeypatch.chdir(project.root)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["ml", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out = capsys.readouterr()
        # A busy machine shows how far it is.
        told = [line for line in out.err.splitlines(True) if not line.startswith("... ")]
        assert len(told) <= 1, out.err
        return int(end.value.code or 0), out.out + "".join(told)

    return run


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def file(project: Project, **columns: Any) -> str:
    """Write a CSV of 60 rows beside the project's files and name it as the source."""
    frame = pl.DataFrame({"x": np.random.default_rng(0).normal(size=60).round(3), **columns})
    frame.write_csv(project.path("mine.csv"))
    project.path("config.yaml").write_text("data: {source: mine.csv}\n")
    return "mine.csv"


# The first hour: a file that is not what the plan expects


def test_a_header_longer_than_every_row_is_read_by_its_own_delimiter(
    project: Project, ml: Ml
) -> None:
    rows = "".join(f"0.{n},{'ab'[n % 2]},{['no', 'yes', 'no'][n % 3]}\n" for n in range(60))
    project.path("mine.csv").write_text(f"x,k,churned,note\n{rows}")
    code, found = ml("contract", "infer", "mine.csv", "--target", "churned")
    assert code == 0 and "true (written yes) is positive, 33.3\u00a0% of 60 rows" in found, found


def test_a_file_without_entity_and_time_is_told_by_every_later_command(
    project: Project, ml: Ml
) -> None:
    name = file(project, churned=[["no", "yes", "no"][n % 3] for n in range(60)])
    differ = "contract and plan differ (entity is none, not customer_id; time_column is none"
    mend = "`ml update --data entity= --data time_column= --data entity_repeats=no`"
    code, said = ml("contract", "infer", name, "--target", "churned")
    assert code == 0 and differ in said and mend in said
    assert (
        "true (written yes) is positive, 33.3\u00a0% of 60 rows: true says that it happened" in said
    )
    assert re.search(r"^  entity +none: .*\n  time +none: ", said, re.M)
    assert ml("contract", "check") == (0, "dataset.odcs.yaml: good\n")
    code, said = ml("run")  # stops before its first step, and says what the reports say
    assert code == 2 and differ in said and not project.path("data/raw").exists()
    assert [ml(step)[0] for step in ("ingest", "validate", "profile")] == [0, 0, 0]
    for command in (("train",), ("run",), ("tune",)):
        code, said = ml(*command)
        assert code == 2 and differ in said and mend in said
    assert ml("plan", "sync") == (0, "measured blocks written: none\n")  # the run did it
    code, said = ml("plan", "check")
    assert code == 1 and differ in said


def test_a_run_that_stops_leaves_the_plan_as_the_reports(project: Project, ml: Ml) -> None:
    bad = {"churned": [["no", "yes", "no"][n % 3] for n in range(60)], "customer_id": range(60)}
    dates = [f"2025-01-{1 + n % 28:02}" for n in range(60)]
    name = file(project, **bad, snapshot_date=dates)
    assert ml("contract", "infer", name, "--target", "churned")[0] == 0
    edit(project.contract_path, "value: entity", "value: excluded")  # no split needs it here
    path = project.path(name)
    path.write_text(re.sub(r",2025-01-(\d\d)", r",2025-\1", path.read_text()), encoding="utf-8")
    code, said = ml("run")
    assert code in (1, 2) and "snapshot_date" in said
    assert "warning: contract and plan differ (entity is none, not customer_id)" in said
    assert ml("plan", "sync") == (0, "measured blocks written: none\n")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("config.yaml", "slices: []", "slices: [color]", "evaluation.slices: the contract has no"),
        ("plan/overrides.yaml", None, "top_k_by_capacity", "which needs the answer daily_capacity"),
    ],
)
def test_what_a_late_step_would_refuse_is_told_before_the_first(
    project: Project, ml: Ml, file: str, old: str | None, new: str, message: str
) -> None:
    if old:
        edit(project.path(file), old, new)
    else:
        project.path(file).write_text(f"EVAL-05: {{value: {new}, reason: people are few}}\n")
    code, said = ml("run")
    assert code == 2 and message in said
    assert not project.path("data/raw").exists()


def test_a_target_of_two_readings_writes_nothing_until_told(project: Project, ml: Ml) -> None:
    name = file(project, churned=[1 + (n % 3 == 0) for n in range(60)])
    before = project.contract_path.read_bytes()
    code, said = ml("contract", "infer", name, "--target", "churned")
    assert code == 2 and "1 (66.7\u00a0% of the rows) or 2 (33.3\u00a0% of the rows)" in said
    assert project.contract_path.read_bytes() == before
    code, said = ml("contract", "infer", name, "--target", "churned", "--positive", "2", "--json")
    found = json.loads(said)
    assert found["decisions"][0]["evidence"].startswith(
        "2 is positive, 33.3\u00a0% of 60 rows: named by"
    )
    assert {finding["what"] for finding in found["findings"]} == {"contradiction"}


def test_a_broken_contract_is_listed_line_by_line(project: Project, ml: Ml) -> None:
    edit(
        project.contract_path,
        "property: positiveShare, value: ",
        "property: positiveShare, value: 7",
    )
    edit(project.contract_path, "{minimum: 0}", '{minimum: "0"}')
    code, said = ml("contract", "check")
    assert code == 1
    assert "minimum '0' is not a number" in said or "is not of type 'number'" in said
    edit(project.contract_path, '{minimum: "0"}', "{minimum: 0}")
    assert ml("contract", "check")[1].startswith("column churned: positiveShare is not between")


# Commands before their time, and with what is not there


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("models", 0, "no model yet: run `ml train`"),
        ("validate", 2, "no data yet: run `ml ingest` first"),
        ("train", 2, "no data/processed/valid.parquet yet: run `ml validate`"),
        ("evaluate", 2, "run `ml train`"),
        ("evaluate v7", 2, "no version v7: `ml models` lists what is there"),
        ("explain", 2, "run `ml train`"),
        ("bench", 2, "no champion yet"),
        ("monitor", 2, "no champion yet"),
        ("simulate-drift", 2, "no champion yet"),
        ("retrain-check", 2, "no champion yet"),
        ("score in.csv out.csv", 2, "in.csv: no such file"),
        ("serve --port 47113", 2, "no champion yet"),
        ("promote v1", 2, "run `ml train`"),
        ("rollback", 2, "`ml "),
        ("plan gate G9", 2, "G9"),
        ("plan check --gate G9", 2, "G9"),
        ("plan gate G0", 1, "G0 is closed: "),
        ("plan report --audience nobody", 2, "nobody"),
        ("plan approve NONE-01 --by @eva", 2, "no block NONE-01 to approve; there are PROB-01"),
        ("plan approve PROB-01 --by @eva", 1, "PROB-01: write its answer in PLAN.md first"),
        ("plan why NONE-01", 2, "no block NONE-01; there are"),
        ("contract infer none.csv --target y", 2, "none.csv: no such file"),
        ("contract infer config.toml --target y", 2, "unknown file type; use one of .csv"),
        ("update --data cost_fn", 2, "--data cost_fn: give NAME=VALUE, such as n_rows=5000"),
        ("update --undo --dry-run", 2, "--undo takes no other option"),
    ],
)
def test_a_command_that_cannot_work_says_why(ml: Ml, command: str, code: int, said: str) -> None:
    found = ml(*command.split())
    assert found[0] == code and said in found[1], found


def test_a_command_outside_of_a_project(
    ml: Ml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = ml("models")
    assert code == 2 and "no project here: " in said and "hold no plan/plan.yaml" in said


def test_cruft_keeps_its_own_projects(project: Project, ml: Ml) -> None:
    project.path(".cruft.json").write_text("{}")
    assert "cruft keeps this project: run `cruft update`" in ml("update")[1]


# Files that somebody damaged


def overrides(text: str) -> Callable[[Project], None]:
    return lambda project: project.path("plan/overrides.yaml").write_text(text) and None


def plan_bytes(change: Callable[[bytes], bytes]) -> Callable[[Project], None]:
    def damage(project: Project) -> None:
        path = project.path("PLAN.md")
        path.write_bytes(change(path.read_bytes()))

    return damage


def without_measured(text: bytes) -> bytes:
    block = rb"<!-- plan:measured OVERRIDES.*?<!-- /plan:measured OVERRIDES -->\n"
    assert re.search(block, text, re.S)
    return re.sub(block, b"", text, flags=re.S)


@pytest.mark.parametrize(
    ("damage", "command", "said"),
    [
        (
            overrides("NONE-01: {value: x, reason: y}"),
            "plan check",
            "no decision NONE-01; there are FLAG-01",
        ),
        (overrides("[1]"), "plan check", "expected a mapping of names to values"),
        (overrides("EVAL-01: 1\nEVAL-01: 2"), "plan check", "EVAL-01 is given twice"),
        (overrides("a: ["), "plan check", "not valid YAML"),
        (overrides("!!map a"), "plan check", "not valid YAML: expected a mapping node"),
        (overrides("a: 2026-02-30"), "plan check", "not valid YAML: '2026-02-30' is no timestamp"),
        (overrides("a: !!int b"), "plan check", "not valid YAML: 'b' is no int"),
        (overrides("a: !!bool b"), "plan check", "not valid YAML: 'b' is no bool"),
        (
            overrides("TRAIN-01: {value: stratified, reason: test}"),
            "plan check",
            "does not go with the split",
        ),
        (
            plan_bytes(lambda text: text + b"\xff"),
            "plan check",
            "is no UTF-8 text: save it as UTF-8",
        ),
        (
            plan_bytes(lambda text: text.replace(b":human PROB-01", b":human PROB-99")),
            "plan check",
            "not a mark that plans have: <!-- plan:human PROB-99 -->",
        ),
        (plan_bytes(without_measured), "plan sync", "block plan:measured OVERRIDES is missing"),
        (
            lambda project: storage.write_text(project.path("reports/profile.json"), "{}"),
            "plan sync",
            "or by an earlier version: reports/profile.json (DATA-03 needs ",
        ),
        (
            lambda project: storage.write_text(project.path("models/registry.json"), "{"),
            "models",
            "models/registry.json is damaged",
        ),
        (
            lambda project: storage.write_text(
                project.path("models/registry.json"), '{"champion":"v3","versions":{}}'
            ),
            "models",
            "v3 is champion but not a version",
        ),
        (
            lambda project: project.path("config.yaml").write_text("data: {encoding: klingon}\n"),
            "contract infer mine.csv --target churned",
            "data.encoding: unknown encoding 'klingon'",
        ),
    ],
)
def test_a_damaged_file_is_named(
    project: Project, ml: Ml, damage: Callable[[Project], None], command: str, said: str
) -> None:
    file(project, churned=[n % 2 for n in range(60)])
    damage(project)
    code, found = ml(*command.split())
    assert code in (1, 2) and said in found, found


def test_a_plan_without_a_number_names_it(project: Project) -> None:
    with pytest.raises(ProjectError, match=r"plan/plan.yaml has no VAL-01 nothing"):
        project.plan.number("VAL-01", "nothing")


def test_tasks_that_take_longer_than_the_plan_are_told(project: Project) -> None:
    path = project.path(progress.FILE)
    known = yaml.safe_load(path.read_text(encoding="utf-8"))
    long = {"all": {"what": "All of it", "weeks": [400, 500, 600], "after": []}}
    path.write_text(yaml.safe_dump(known | {"tasks": long}), encoding="utf-8")
    assert any("change them, or the answer build_months" in m for _, m in progress.check(project))


# Tables that cannot be split


def table(times: list[Any] | None = None, labels: list[int] | None = None) -> dict[str, Any]:
    y = Column(name="y", kind="boolean", role="target", positive="true")
    at = Column(name="at", kind="timestamp", role="time")
    columns = (Column(name="x", kind="number", role="feature"), y)
    made = np.array(labels or [0, 1] * 30, dtype=np.int8)
    frame = pl.DataFrame({"x": range(len(made)), "y": made == 1})
    if times is not None:
        frame = frame.with_columns(pl.Series("at", times, dtype=pl.Datetime("us")))
    agreed = Contract(name="t", version="1", columns=columns if times is None else (*columns, at))
    return {"frame": frame, "y": made, "contract": agreed}


NOON = datetime(2026, 1, 1, 12)
LATE = [NOON + timedelta(days=n) for n in range(60)]


@pytest.mark.parametrize(
    ("scheme", "parts", "said"),
    [
        ("time", table(), "no contract column has the role time"),
        ("time", table([None, *LATE[1:]]), "column at: a time split needs every value"),
        ("time", table([NOON] * 60), "column at: a time split needs two different times"),
        ("time", table(LATE[:2] * 30, [0, 1, 1, 0] * 15), "no fold has rows of both classes"),
        ("time", table(LATE, [0] * 55 + [1] * 5), "at least 2 rows of each class are needed"),
        ("stratified_group", table(), "no contract column has the role entity"),
        ("stratified", table(labels=[0] * 59 + [1]), "too few rows to split: 1 positives among 60"),
    ],
)
def test_a_table_that_cannot_be_split_says_why(
    scheme: str, parts: dict[str, Any], said: str
) -> None:
    with pytest.raises(ProjectError, match=re.escape(said)):
        splitting.split(**parts, scheme=scheme, test_share=0.2, folds=3, embargo_days=0, seed=0)


# Models and what is measured of them


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return small.with_champion(tmp_path_factory.mktemp("trained"), rows=1500)


def test_a_model_that_is_too_slow_fails_the_benchmark(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {"latency_ms": 0.0001, "deployment_modes": ["rest"]}
    fresh = {"memory_mb": 1.0, "cold_start_ms": 1.0}
    monkeypatch.setattr(bench, "_fresh_process", lambda *_: fresh)
    monkeypatch.setattr(bench.scorecard, "judge", lambda *_: {})  # this version has no rivals
    monkeypatch.setitem(vars(trained), "facts", Facts(lambda _: answers))
    with pytest.raises(CheckFailed, match=r"more than latency_ms 0.0001: train fewer members"):
        bench.run(trained)


def test_an_alarm_without_drift_is_a_failed_check(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "ALPHA_WARN", -1.0)
    with pytest.raises(CheckFailed, match="unshifted windows alarmed"):
        monitoring.simulate_drift(trained)


def test_a_model_file_that_is_none_is_one_line() -> None:
    with pytest.raises(ProjectError, match="the model file is not a usable ONNX graph") as error:
        session(b"no model")
    assert "\n" not in str(error.value)


def test_sample_data_that_cannot_keep_a_definition_say_so() -> None:
    x = Column(name="x", kind="number", role="excluded", mean=0, std=1)
    late = Column(
        name="late", kind="boolean", role="target", positive="true", definition="x > -1e9"
    )
    with pytest.raises(ProjectError, match="never false: give its columns validValues"):
        sample.generate(Contract(name="t", version="1", columns=(x, late)), 50, 0)


X = Column(name="x", kind="number", role="feature")
Y = Column(name="y", kind="boolean", role="target", positive="true")
FLAG = Column(name="flag", kind="boolean", role="excluded", unique=True)
BROKEN = Column(name="y", kind="boolean", role="target", positive="true", definition="x > 'a'")


@pytest.mark.parametrize(
    ("columns", "rows", "said"),
    [
        ((X, Y), 0, "sample data need at least one row, not 0"),
        ((X, FLAG, Y), 9, "column 'flag' has no 9 different values"),
    ],
)
def test_a_contract_without_room_for_a_sample_says_so(
    columns: tuple[Column, ...], rows: int, said: str
) -> None:
    with pytest.raises(ProjectError, match=re.escape(said)):
        sample.generate(Contract(name="t", version="1", columns=columns), rows, 0)


def test_a_definition_that_fails_on_new_data_names_the_target() -> None:
    agreed = Contract(name="t", version="1", columns=(X, BROKEN))
    with pytest.raises(ProjectError, match="target 'y': its definition \"x > 'a'\" fails"):
        validation.apply(agreed, pl.DataFrame({"x": [1.0, 2.0]}))


def test_a_definition_of_a_column_that_is_there_is_refused(project: Project, ml: Ml) -> None:
    name = file(project, churned=[n % 2 for n in range(60)])
    code, said = ml("contract", "infer", name, "--target", "churned", "--definition", "x > 0")
    assert code == 2 and "the file has a column 'churned': drop it, or leave out" in said


def test_a_row_file_of_another_kind_is_refused(project: Project, ml: Ml) -> None:
    name = file(project, churned=[n % 2 for n in range(60)])
    code, said = ml("score", name, "out.txt")
    assert code == 2 and "out.txt: the name must end in .parquet, .csv or .jsonl" in said


def test_a_run_that_scores_no_row_fails_and_says_so(
    ml: Ml, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also when nothing is left to do, and with JSON; the output tells why of each row."""
    made = small.with_champion(tmp_path / "made")
    monkeypatch.chdir(made.root)
    Path("none.csv").write_text("amount,calls,plan,online,since\n")
    Path("bad.csv").write_text("amount,calls,plan,online,since\nx,1,,,\ny,2,,,\n")
    for name, told in (("none", "none.csv has no rows"), ("bad", "2 could not be: the column")):
        for more in ((), (), ("--json",)):
            code, said = ml("score", f"{name}.csv", "out.csv", *more)
            assert code == 1 and f"error: no row was scored: mend {name}.csv" in said
            assert more or f"0 rows scored: out.csv; {told}" in said
        problems = pl.read_csv("out.csv")["problem"].to_list()
        assert problems == ["amount: type"] * (2 * (name == "bad"))
    Path("good.csv").write_text("amount,calls,plan,online,since\nx,1,,,\n2,2,,,\n")
    assert ml("score", "good.csv", "out.csv")[0] == 0


def test_a_contract_whose_name_is_no_file_name_is_told(project: Project, ml: Ml) -> None:
    edit(project.contract_path, "schema:\n  - name: ", "schema:\n  - name: ../")
    assert "names files: letters, digits and . _ - only" in ml("contract", "check")[1]


def test_all_children_start_in_one_place() -> None:
    """One starter gives them a clean environment, a time limit and no terminal."""
    found = [path for path in SOURCE.rglob("*.*") if path.suffix in (".py", ".jinja")]
    starters = re.compile(r"\bsubprocess\b|\bos\.(system|popen|spawn|exec)|multiprocessing")
    assert {p.name for p in found if starters.search(p.read_text(encoding="utf-8"))} == {"git.py"}


def test_records_name_the_code_of_the_project_whatever_git_is_told_elsewhere(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ml: Ml
) -> None:
    assert tracking.code_version(project) == "unknown"
    publish(project.root)
    git(project.root, "config", "user.email", "here@example.org")
    commit = git(project.root, "rev-parse", "--short=12", "HEAD")
    other = tmp_path / "other"
    other.mkdir()
    publish(other)
    git(other, "config", "user.email", "other@example.org")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))  # as in a hook of another repository
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert tracking.code_version(project) == commit
    assert signing.git_user(project) == "here@example.org"


def test_hashes_of_text_bytes_and_files_agree(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes("ü".encode())
    known = hashlib.sha256("ü".encode()).hexdigest()
    assert storage.sha256_bytes("ü".encode()) == known == storage.sha256_text("ü")
    assert storage.sha256(path) == known == storage.read_hashed(path)[1]


# What only a rare state shows


def test_tuning_without_boosting_says_why(project: Project, ml: Ml) -> None:
    overrides("MOD-02: {value: [logistic_regression], reason: a test}")(project)
    code, said = ml("tune")
    assert code == 2 and "nothing to tune: the plan's candidates (MOD-02) have no lightgbm" in said


@pytest.mark.parametrize("command", ["monitor", "retrain-check", "simulate-drift", "bench"])
def test_after_a_failed_gate_commands_say_what_is_missing(
    project: Project, ml: Ml, command: str
) -> None:
    failed = registry.Version(run="r", gate_passed=False, status="evaluated")
    storage.write_json(
        project.path("models/registry.json"), registry.Registry(versions={"v1": failed})
    )
    code, said = ml(command)
    assert code == 2 and "no champion yet: v1 did not pass its gate" in said
    assert "reports/evaluation.html says why; mend that and train again" in said


def test_importance_of_one_class_has_no_meaning(trained: Project) -> None:
    scorer = Scorer.load(registry.champion_folder(trained))
    x = encode(scorer.spec, small.frame(50))
    with pytest.raises(ProjectError, match=r"importance has no meaning .* rows of both classes"):
        explaining.permutation_importance(
            scorer, x, np.zeros(50, np.int8), np.random.default_rng(0)
        )


def test_a_machine_without_git_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProjectError, match="git is needed here: install it"):
        children.git(tmp_path, "status")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", "\n\n", "a.jsonl: the file has no rows"),
        ("a.csv", "x,y\n", "a.csv: the file has column names but no rows"),
        ("a.csv", "", "a.csv: the file is empty"),
    ],
)
def test_a_file_without_rows_says_so(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ProjectError, match=re.escape(said)):
        ingest.read_table(tmp_path / name)


def test_the_list_of_gates_follows_an_answer_and_an_approval(
    project: Project, ml: Ml, tmp_path: Path
) -> None:
    assert ml("plan", "sync")[0] == 0
    answers = tmp_path / "answers.yaml"
    answers.write_text("PROB-01: Finance counted 300 customers who left last quarter.\n")
    assert ml("plan", "fill", "--answers", str(answers))[0] == 0
    listed = next(
        line
        for line in project.path("PLAN.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| G0 |")
    )
    assert "[Problem](#problem) (no owner), [Current state](#current-state), " in listed
    assert ml("plan", "approve", "PROB-01", "--by", "@eva")[0] == 0
    assert "run `ml plan sync`" not in ml("plan", "check")[1]


def test_a_folder_in_the_place_of_a_file_is_named(project: Project, ml: Ml) -> None:
    project.path("PLAN.md").unlink()
    project.path("PLAN.md").mkdir()
    code, said = ml("plan", "check")
    assert code == 2 and "a folder stands where a file belongs: move it away" in said


def test_an_approval_needs_one_name_and_a_date(
    project: Project, ml: Ml, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = project.path("PLAN.md").read_text(encoding="utf-8")
    start = text.index("<!-- plan:answer PROB-01 -->")
    answered = text[start:].replace("_No answer yet._", "Customers leave before we notice.", 1)
    project.path("PLAN.md").write_text(text[:start] + answered, encoding="utf-8")
    for words, said in (
        ("--by eva\t<meier>", "give a name, such as @eva or Ana Maria"),
        ("--by @eva --due soon", "--due 'soon': give a date such as 2027-01-31 or 31.01.2027"),
        ("--by @eva --due 2027-02-30", "'2027-02-30' is no date: give a date such as 2027"),
    ):
        arguments = [word.replace("\t", " ") for word in words.split(" ")]
        code, found = ml("plan", "approve", "PROB-01", *arguments)
        assert code == 2 and said in found
    assert ml("plan", "approve", "PROB-01", "--by", "@eva", "--due", "31.12.2099")[0] == 0
    assert "Due: 2099-12-31" in project.path("PLAN.md").read_text(encoding="utf-8")
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    code, found = ml("plan", "approve", "PROB-01")
    assert code == 2 and "git knows no user.email here: say who approves, such as --by" in found
    assert ml("plan", "approve", "PROB-01", "--by", "@eva", "--reject")[0] == 0
    assert "PROB-01: was rejected: change it and have it approved" in ml("plan", "check")[1]


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("manifest.json", {"format": 99}, "its format is 99, this project reads "),
        ("golden.json", {"scores": {"probability": [2.0] * 50}}, "golden rows differ by"),
    ],
)
def test_a_bundle_of_another_kind_is_refused(
    trained: Project, tmp_path: Path, name: str, change: dict[str, Any], said: str
) -> None:
    folder = Path(shutil.copytree(registry.champion_folder(trained), tmp_path / "v1"))
    content = storage.read_json(folder / name)
    storage.write_json(folder / name, content | change)
    if name == "golden.json":
        manifest = storage.read_json(folder / "manifest.json")
        manifest["files"][name] = storage.sha256(folder / name)
        storage.write_json(folder / "manifest.json", manifest)
    with pytest.raises(ProjectError, match=said):
        Scorer.load(folder)


def test_names_of_ours_that_lead_elsewhere_are_refused(trained: Project, tmp_path: Path) -> None:
    small.frame(20).write_csv(tmp_path / "in.csv")
    (tmp_path / "out.csv.parts").symlink_to(tmp_path)
    with pytest.raises(ProjectError, match="is a link, which may lead anywhere: remove it"):
        batch.run(trained, tmp_path / "in.csv", tmp_path / "out.csv")
    (tmp_path / ".ml.update").symlink_to(tmp_path)
    with pytest.raises(ProjectError, match=r"\.ml\.update is a link: remove it"):
        update._apply(tmp_path, tmp_path, {})


def test_rows_in_the_embargo_are_counted() -> None:
    parts = table(LATE)
    made = splitting.split(**parts, scheme="time", test_share=0.2, folds=3, embargo_days=2, seed=0)
    assert made.notes[0] == "2 rows lie in the embargo of 2 days before the test"


def test_a_report_that_is_not_there_yet_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"x\.json is not there yet: `ml run` makes it"):
        storage.read_json(tmp_path / "x.json")


def test_a_package_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def lacks(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    with pytest.raises(SystemExit, match="2"):
        console.run(lambda: lacks("package_names.more"))  # which only begins as ours does
    told = "error: package_names.more is not installed here: an image has the packages of its mode"
    assert capsys.readouterr().err.startswith(told)
    with pytest.raises(ModuleNotFoundError):
        console.run(lambda: lacks("package_name.engine.none"))


def test_a_password_with_an_at_sign_is_not_told() -> None:
    said = "no answer from https://bot:p@ss@ml.example/api of bot@ml.example"
    assert (
        privacy.without_secrets(said)
        == "no answer from https://***@ml.example/api of bot@ml.example"
    )
