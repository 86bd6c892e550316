"""Real projects: made by the real command, installed, linted, typed, trained, served and tested.

One project per set of deployment modes, each with another depth of the plan; the tests of a project
share it, so they run in order. By default it is the one with both modes: those of one mode run in
tests/test_change_of_mind.py, and those of another task in tests/test_regression_project.py.
"""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from helpers import package  # noqa: F401  (makes `package_name` importable)
from helpers.shared import clean_environment

from package_name.planner.blocks import survey

UV = str(Path(sys.executable).with_name("uv"))
ROOT = Path(__file__).parents[1]
MODES = {"both": "[rest, batch]", "rest": "[rest]", "batch": "[batch]"}
DEPTHS = {"both": "light", "rest": "standard", "batch": "regulated"}
TRAINING = ("lightgbm", "sklearn", "pyarrow", "onnx", "optuna", "mlflow")


class Made:
    """A rendered project on disk."""

    def __init__(self, folder: Path, modes: str) -> None:
        self.folder = folder
        self.modes = modes
        self.env = clean_environment()
        self.served_by = str(folder / ".venv-serve/bin/ml")

    def call(
        self, *command: str, code: int = 0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the project; its exit code must be `code`."""
        program, *arguments = command
        done = subprocess.run(
            [UV if program == "uv" else program, *arguments],
            cwd=self.folder,
            env={**self.env, **(env or {})},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == code, (
            f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def ml(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run `uv run ml ...`."""
        return self.call("uv", "run", "ml", *arguments, code=code)

    def report(self, name: str) -> dict:
        """Read a report."""
        return json.loads((self.folder / "reports" / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def types_cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a cache for mypy: most files are the same in all projects."""
    return str(tmp_path_factory.mktemp("mypy"))


SETS = ["both", *(pytest.param(modes, marks=pytest.mark.nightly) for modes in ("rest", "batch"))]


@pytest.fixture(scope="module", params=SETS)
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    modes: str = request.param
    folder = tmp_path_factory.mktemp("real") / f"churn-{modes}"
    answers = ["--data", f"deployment_modes={MODES[modes]}"]
    answers += ["--data", f"plan_depth={DEPTHS[modes]}"]
    command = [sys.executable, "-m", "copier", "copy", "--defaults", "--vcs-ref", "HEAD", *answers]
    subprocess.run([*command, str(ROOT), str(folder)], check=True, capture_output=True)
    made = Made(folder, modes)
    made.call("git", "init", "-q")
    made.call("uv", "sync", "-q")
    made.call("git", "add", "-A")
    made.call("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "start")
    return made


@pytest.fixture
def same_in_all(project: Made) -> Made:
    """Return the project with both modes: in the others the same code would do the same."""
    if project.modes != "both":
        pytest.skip("the same in every mode: it runs with both")
    return project


def test_is_clean_code(project: Made, types_cache: str) -> None:
    project.call("uv", "run", "ruff", "check", ".")
    project.call("uv", "run", "ruff", "format", "--check", ".")
    project.call("uv", "run", "mypy", env={"MYPY_CACHE_DIR": types_cache})


def test_runs_from_data_to_plan(project: Made) -> None:
    project.ml("run")
    metrics = project.report("metrics")
    assert metrics["gate"]["passed"]
    assert metrics["champion"]["metrics"]["roc_auc"]["low"] > 0.7
    assert {"class_prior", "single_rule", "logistic_regression"} <= set(metrics["baselines"])
    plan = (project.folder / "PLAN.md").read_text()
    assert "not measured yet" not in plan
    blocks = survey(plan)[0]
    for block in ("VERDICT", "VAL-02", "DATA-03", "EXPL-01", "DEP-02", "MON-01", "MON-03"):
        assert "on made-up data" in " ".join(blocks["measured", block].lines), block
    for path in (project.folder / "reports").glob("*.json"):
        if path.stem not in ("run", "progress"):  # which hold nothing of the data
            assert json.loads(path.read_text())["made_up"] is True, path.name
    again = project.ml("run")
    assert again.stdout.count("up to date") >= 9, again.stdout
    assert (project.folder / "PLAN.md").read_text() == plan
    status = project.call("git", "status", "--porcelain").stdout.split()
    assert set(status) <= {"M", "PLAN.md", "docs/model_card.md", "??", "uv.lock"}, status


def test_plan_check_lists_only_what_people_fill(project: Made) -> None:
    findings = json.loads(project.ml("plan", "check", "--json").stdout)
    assert all(finding["level"] != "error" for finding in findings["findings"]), findings


def test_own_tests_pass(project: Made) -> None:
    project.call("uv", "run", "pytest", "-q")


def test_no_library_reports_home(same_in_all: Made) -> None:
    project = same_in_all
    # mlflow keeps quiet in tests and CI anyway, so this runs as if it were neither.
    outside = [
        "env",
        *(f"--unset={name}" for name in ("CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST")),
    ]
    code = (
        "from churn_model.engine import settings, storage\n"
        "from churn_model.engine.model import tracking\n"
        "project = settings.find_project()\n"
        "tracking.log(project, storage.read_json(project.path('reports/training.json')))\n"
        "from mlflow.telemetry.client import get_telemetry_client\n"
        "assert get_telemetry_client() is None"
    )
    project.call(*outside, UV, "run", "python", "-c", code)


SETUP_UV = """name: setup-uv
inputs: {enable-cache: {required: false}}
runs: {using: composite, steps: [{run: uv --version, shell: bash}]}
"""


@pytest.mark.nightly
def test_its_workflow_runs(same_in_all: Made, tmp_path: Path) -> None:
    """By default tests/test_monorepo.py runs its steps, and this file what they call."""
    project = same_in_all
    clone = tmp_path / "clone"
    project.call("git", "clone", "-q", str(project.folder), str(clone))
    (tmp_path / "setup-uv").mkdir()
    (tmp_path / "setup-uv" / "action.yml").write_text(SETUP_UV)
    act = str(Path(sys.executable).with_name("act"))
    # On this machine, as there may be no containers; the one foreign action is a stand-in.
    command = [act, "push", "--job", "check", "--platform", "ubuntu-latest=-self-hosted"]
    workflow = (clone / ".github/workflows/ci.yml").read_text()
    (setup,) = set(re.findall(r"astral-sh/setup-uv@\w+", workflow))
    command += ["--local-repository", f"{setup}={tmp_path / 'setup-uv'}"]
    path = os.pathsep.join([str(Path(UV).parent), f"{sys.base_prefix}/bin", os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=clone,
        env={**clean_environment(), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert "Success - Main uv run ml plan check" in done.stdout


def test_serving_environment_has_no_training_library(project: Made) -> None:
    env = {"UV_PROJECT_ENVIRONMENT": ".venv-serve"}
    project.call("uv", "sync", "-q", "--no-default-groups", "--group", "serving", env=env)
    python = str(project.folder / ".venv-serve/bin/python")
    found = project.call(
        python,
        "-c",
        "import importlib.util, sys; "
        "print([n for n in sys.argv[1:] if importlib.util.find_spec(n)])",
        *TRAINING,
    )
    assert found.stdout.strip() == "[]"


def test_the_list_of_parts_holds_what_the_image_installs(project: Made) -> None:
    workflow = (project.folder / ".github/workflows/ci.yml").read_text()
    (command,) = re.findall(r"run: (uv export .*)", workflow)
    path = project.folder / "sbom.json"
    project.call(*command.replace('"$RUNNER_TEMP/sbom.json"', str(path)).split())
    parts = json.loads(path.read_text())
    path.unlink()
    assert (parts["bomFormat"], parts["specVersion"]) == ("CycloneDX", "1.5")
    listed = {(part["name"], part["version"]) for part in parts["components"]}
    assert not {name for name, _ in listed} & {"scikit-learn", *TRAINING}
    python = str(project.folder / ".venv-serve/bin/python")
    found = project.call("uv", "pip", "list", "--format", "json", "--python", python).stdout
    installed = {(part["name"], part["version"]) for part in json.loads(found)}
    assert installed - listed == {("churn-model", "0.1.0")}


@pytest.fixture
def server(project: Made) -> Iterator[str]:
    if project.modes == "batch":
        pytest.skip("this project has no service: nothing to serve")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [project.served_by, "serve", "--port", str(port)],
        cwd=project.folder,
        env=project.env,
        stderr=subprocess.PIPE,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(150):
            try:
                urllib.request.urlopen(f"{address}/ready", timeout=1)
                break
            except OSError:
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.2)
        yield address
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()


def ask(address: str, body: object) -> tuple[int, dict]:
    """POST JSON to /predict; return status and answer."""
    request = urllib.request.Request(
        f"{address}/predict", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_lineage_tells_what_a_model_was_made_from(project: Made) -> None:
    """From a version back to file, snapshot, contract and commit; from a file on to versions."""
    (origin,) = json.loads(project.ml("lineage", "--json").stdout)
    commit = project.call("git", "rev-parse", "HEAD").stdout.strip()
    table = (project.folder / origin["snapshot"]["file"]).read_bytes()
    assert origin["data_sha256"] == hashlib.sha256(table).hexdigest()
    assert origin["snapshot"]["rows"] == 8000 and origin["snapshot_kept"]
    assert (origin["commit"], origin["changed"], origin["contract"]) == (commit, False, "same")
    metrics = project.report("metrics")
    assert origin["value"] == metrics["champion"]["metrics"]["roc_auc"]["value"]
    told = project.ml("lineage", origin["snapshot"]["source"]).stdout
    assert told.startswith(f"{origin['version']}: ") and commit[:12] in told
    assert project.ml("lineage", "README.md").stdout == "no model was made from it\n"
    drawn = project.ml("lineage", origin["version"], "--mermaid").stdout.splitlines()
    assert drawn[0] == "flowchart LR" and len(drawn) == 5
    wrong = project.ml("lineage", "v99", code=2).stderr
    assert wrong == "error: v99: no such version and no such file; versions: v1\n"


def test_the_notebook_runs(project: Made) -> None:
    """All cells, of development rows alone; it shows ideas that hold, or says that none does."""
    told = project.call("uv", "run", "python", "notebooks/explore.py").stdout
    rows = pl.read_parquet(project.folder / "data/processed/development.parquet").height
    assert re.search(rf"count +┆ {rows}\.0", told), told
    shown = r"^0\.\d{3} more than the better of both, standard error 0\.\d{3}: [A-Z][a-z]+\("
    ideas = re.findall(shown, told, re.M)
    none = re.search(r"None of \d+ ratios, differences and products was shown to tell more", told)
    assert len(ideas) <= 5 and bool(ideas) != bool(none), told


def test_a_bundle_holds_no_row_of_the_table(project: Made) -> None:
    champion = json.loads((project.folder / "models/registry.json").read_text())["champion"]
    golden = json.loads((project.folder / f"models/{champion}/golden.json").read_text())["rows"]
    table = pl.read_parquet(project.folder / "data/processed/valid.parquet").to_dicts()
    names = sorted(set().union(*golden) & set(table[0]))
    kept = {tuple(str(row[name]) for name in names) for row in table}
    assert len(golden) == 50 and len(names) > 5
    assert not kept & {tuple(str(row.get(name)) for name in names) for row in golden}


def test_serves_the_golden_rows(project: Made, server: str) -> None:
    champion = json.loads((project.folder / "models/registry.json").read_text())["champion"]
    golden = json.loads((project.folder / f"models/{champion}/golden.json").read_text())
    status, answer = ask(server, golden["rows"])
    assert status == 200
    assert answer["model_version"] == champion
    served = [item["probability"] for item in answer["predictions"]]
    assert served == pytest.approx(golden["scores"]["probability"], abs=1e-5)
    bad = {**golden["rows"][0], "tenure_months": "long", "surprise": 1}
    status, answer = ask(server, bad)
    assert status == 422
    assert {"tenure_months", "surprise"} <= {error["field"] for error in answer["errors"]}
    with urllib.request.urlopen(f"{server}/metrics") as scraped:
        assert re.search(r"requests_total\S* ", scraped.read().decode())


def test_scores_a_file(project: Made) -> None:
    if project.modes == "rest":
        assert not (project.folder / "src/churn_model/engine/serving/batch.py").exists()
        return
    ml = project.served_by
    source = "data/sample/dataset.parquet"
    project.call(ml, "score", source, "data/predictions/scores.parquet")
    first = (project.folder / "data/predictions/scores.parquet").read_bytes()
    project.call(ml, "score", "--force", source, "data/predictions/scores.parquet")
    assert (project.folder / "data/predictions/scores.parquet").read_bytes() == first
    code = (
        "import polars as pl; s = pl.read_parquet('data/predictions/scores.parquet'); "
        "d = pl.read_parquet('data/sample/dataset.parquet'); print(s.height == d.height, "
        "s['probability'].is_between(0, 1).all())"
    )
    assert project.call("uv", "run", "python", "-c", code).stdout.split() == ["True", "True"]


def test_rolls_back(same_in_all: Made) -> None:
    project = same_in_all
    project.ml("train")
    project.ml("evaluate")
    project.ml("promote", "v2")
    project.ml("rollback")
    registry = json.loads((project.folder / "models/registry.json").read_text())
    assert registry["champion"] == "v1"


def test_drift_alarm_fires(same_in_all: Made) -> None:
    project = same_in_all
    project.ml("simulate-drift")
    project.ml("retrain-check")


def test_a_manifest_that_was_touched_is_not_served(same_in_all: Made) -> None:
    project = same_in_all
    model = project.folder / "models/v1/model_encoded.onnx"
    good = model.read_bytes()
    model.write_bytes(good[:-100])
    try:
        done = project.ml("bench", code=2)
        assert "model_encoded.onnx" in done.stderr
        assert done.stderr.count("\n") == 1
    finally:
        model.write_bytes(good)
