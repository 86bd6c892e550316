"""Nothing leaves and nothing leaks: no report home, no value of a personal column written down."""

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.request import Request, urlopen

import numpy as np
import polars as pl
import pytest
import yaml
from helpers import bundles
from helpers.rendering import render

from package_name.engine import monitoring, storage
from package_name.engine.data import contract, profiling, validation
from package_name.engine.errors import ProjectError
from package_name.engine.model import registry
from package_name.engine.model.scorer import Scorer
from package_name.engine.model.values import ServedColumn, example, row_type
from package_name.engine.serving import batch

QUICK = {
    "ML_TRAINING__FOLDS": "2",
    "ML_TRAINING__MAX_ROUNDS": "20",
    "ML_TRAINING__MEMBERS": "1",
    "ML_TRAINING__THREADS": "1",
    "ML_EVALUATION__BOOTSTRAP": "30",
    "OMP_NUM_THREADS": "1",
}
# Counts every connection and look-up of a process, in Python or in a library.
SPY = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
static void note(const char *what) {
  FILE *file = fopen(getenv("SPY_FILE"), "a");
  if (file) { fprintf(file, "%s\n", what); fclose(file); }
}
int connect(int fd, const struct sockaddr *to, socklen_t size) {
  int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
  if (to->sa_family != AF_INET && to->sa_family != AF_INET6) return real(fd, to, size);
  note("connect");
  return real(fd, to, size);
}
int getaddrinfo(const char *name, const char *port, const struct addrinfo *hints,
                struct addrinfo **found) {
  int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
      dlsym(RTLD_NEXT, "getaddrinfo");
  if (name && !(hints && hints->ai_flags & AI_NUMERICHOST) && strcmp(name, "127.0.0.1")) note(name);
  return real(name, port, hints, found);
}
"""
PLANTED = re.compile(rb"zebra\d{3}|98765\d{3}|1931-07-\d\d|1932-\d\d-\d\d")


class Lab(NamedTuple):
    """A project in which everything was made, and what it did to its surroundings."""

    root: Path
    home: Path
    spied: Path | None
    output: str
    answers: dict[str, bytes]


def planted(rows: int = 1200) -> pl.DataFrame:
    """Return rows whose personal columns hold values that can be told from all others."""
    rng = np.random.default_rng(1)
    city, salary, amount = rng.integers(0, 6, rows), rng.integers(0, 900, rows), rng.random(rows)
    born = np.datetime64("1931-07-01") + rng.integers(0, 28, rows)
    p = 0.1 + 0.4 * (amount > 0.6) + 0.2 * (city < 3) + 0.2 * (salary > 500)
    return pl.DataFrame(
        {
            "customer_id": [f"zebra{600 + i % 300}" for i in range(rows)],
            "snapshot_date": np.datetime64("2025-01-01") + np.arange(rows) // 4,
            "town": [f"zebra{i:03d}" for i in city],
            "salary": 98765000 + salary,
            "born": born,
            "amount": np.round(amount, 3),
            "churned": rng.random(rows) < p,
        }
    )


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    root = render(tmp_path_factory.mktemp("lab") / "p", deployment_modes=["rest", "batch"])
    home = tmp_path_factory.mktemp("home")
    spied = home.with_name("spied")
    planted().write_csv(root / "rows.csv")
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("ML_", "CI", "XDG_"))},
        **QUICK,
        "HOME": str(home),
        "PYTHONPATH": "src",
        "ML_DATA__SOURCE": "rows.csv",
        "NO_COLOR": "1",
    }
    for name in ("ORT_DISABLE_TELEMETRY", "DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY"):
        environment.pop(name, None)
    if compiler := shutil.which("cc"):
        source = home.with_name("spy.c")
        source.write_text(SPY)
        library = str(source.with_suffix(".so"))
        command = [compiler, "-shared", "-fPIC", "-o", library, str(source), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
        environment |= {"LD_PRELOAD": library, "SPY_FILE": str(spied)}
    output = []

    def ml(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "churn_model", *arguments]
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, check=False
        )
        output.append(done.stdout + done.stderr)
        return done

    names = ("--target", "churned", "--entity", "customer_id", "--time", "snapshot_date")
    assert ml("contract", "infer", "rows.csv", *names).returncode == 0, output
    path = root / "contracts/dataset.odcs.yaml"
    contract = yaml.safe_load(path.read_text())
    for column in contract["schema"][0]["properties"]:
        if column["name"] in ("customer_id", "town", "salary", "born"):
            column["classification"] = "personal"
            column["required"] = column["name"] != "salary"
    path.write_text(yaml.safe_dump(contract))
    output.clear()  # what infer prints of a column that nobody has called personal yet
    assert ml("run").returncode in (0, 1), output
    assert ml("promote", "v1", "--force", "test").returncode == 0, output
    assert ml("score", "rows.csv", "data/scored.csv").returncode == 0, output
    broken = planted(400).with_columns(salary=pl.lit("zebra999"))
    broken.write_csv(root / "data/broken.csv")
    ml("monitor")
    ml("monitor", "data/broken.csv")
    ml("simulate-drift")
    ml("explain", "--row", "3")
    ml("plan", "report", "--audience", "exec")
    answers = served(root, environment, output)
    return Lab(root, home, spied if compiler else None, "\n".join(output), answers)


def served(root: Path, environment: dict[str, str], output: list[str]) -> dict[str, bytes]:
    """Start the service, ask it good and bad questions, and return what it answered."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "churn_model", "serve", "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=root, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    good = {"town": "zebra001", "salary": 98765001, "born": "1931-07-02", "amount": 0.5}
    good["snapshot_date"] = "2026-01-31"
    asked = {
        "/ready": None,
        "/openapi.json": None,
        "/model": None,
        "/predict": good,
        "/predict?bad": good | {"town": "x", "salary": "x", "born": "x"},
        "/predict?none": {},
        "/metrics": None,
        "/docs": None,
        "/redoc": None,
    }
    answers = {}
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urlopen(f"http://127.0.0.1:{port}/health", timeout=5).read()
                break
            except OSError:
                time.sleep(0.2)
        for path, row in asked.items():
            body = None if row is None else json.dumps(row).encode()
            try:
                answers[path] = urlopen(Request(f"http://127.0.0.1:{port}{path}", body)).read()
            except OSError as error:
                answers[path] = error.read() if hasattr(error, "read") else b""
        time.sleep(1.5)  # the log is written once a second
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        output += [out.decode(), err.decode()]
    return answers


def test_no_library_looks_for_a_host_or_writes_below_home(lab):
    assert [str(path) for path in lab.home.rglob("*")] == []
    if lab.spied is None:
        pytest.skip("needs a C compiler to count connections")
    assert not lab.spied.exists(), lab.spied.read_text()


def test_values_of_personal_columns_stand_only_where_they_must(lab):
    assert b"predictions" in lab.answers["/predict"] and b"errors" in lab.answers["/predict?bad"]
    assert b"true" in lab.answers["/ready"]
    allowed = re.compile(
        r"rows\.csv|data/(raw|processed|quarantine|scored|broken).*|contracts/.*"
        r"|models/v\d+/(contract\.odcs\.yaml|columns\.json|features\.json|model\.onnx)"
    )
    found = {
        str(path.relative_to(lab.root)): set(PLANTED.findall(path.read_bytes()))
        for path in lab.root.rglob("*")
        if path.is_file() and not allowed.fullmatch(str(path.relative_to(lab.root)))
    }
    assert {name: values for name, values in found.items() if values} == {}
    assert any(name.startswith("mlruns/") for name in found)
    assert any(name.startswith("data/predictions/") for name in found)
    assert {n: v for n, a in lab.answers.items() if (v := PLANTED.findall(a))} == {}
    assert PLANTED.findall(lab.output.encode()) == []
    features = (lab.root / "models/v1/features.json").read_bytes()
    assert b"zebra001" in features  # the model does use it


def test_the_service_has_no_page_that_loads_foreign_script(lab):
    for path in ("/docs", "/redoc"):
        assert b"<script" not in lab.answers[path] and b"/openapi.json" in lab.answers[path]


def test_a_column_tells_callers_nothing_of_its_values_when_it_is_personal():
    facts = {"kind": "category", "required": True, "levels": ("zebra1", "zebra2")}
    open_, hidden = (ServedColumn(name="town", personal=p, **facts) for p in (False, True))
    assert open_.public() == open_
    assert "zebra" not in str(hidden.public())
    assert example(hidden) == "zebra1"  # for the golden rows in memory, never in a file
    assert row_type((hidden,)).__struct_fields__ == ("f0",)


def test_golden_rows_of_personal_columns_are_replayed_but_not_written(tmp_path):
    document = bundles.document()
    columns = {column["name"]: column for column in document["schema"][0]["properties"]}
    for name in ("plan", "calls", "since", "online"):
        columns[name] |= {"classification": "personal", "required": name != "calls"}
    made = bundles.project(tmp_path)
    storage.write_text(made.contract_path, yaml.safe_dump(document))
    folder = made.path(f"models/{bundles.train(made, rows=400)}")
    golden = storage.read_json(folder / "golden.json")
    assert golden["rows"] and all(row.keys() <= {"amount"} for row in golden["rows"])
    assert Scorer.load(folder).version == "v1"
    assert set(storage.read_json(folder / "profile.json")["features"]) == {"amount"}


def link(path: Path, target: Path) -> None:
    try:
        path.symlink_to(target)
    except OSError:
        pytest.skip("needs symbolic links")


def test_a_planted_temporary_name_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    link(tmp_path / ".out.csv.tmp", victim)
    storage.write_text(tmp_path / "out.csv", "new")
    assert victim.read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "victim"]
    with storage.replacing_file(tmp_path / "out.csv") as first:
        pass
    with storage.replacing_file(tmp_path / "out.csv") as second:
        pass
    assert first.name != second.name


@pytest.mark.parametrize("name", ["out.csv.parts", "out.csv.done.json"])
def test_no_name_beside_the_output_may_be_a_link(tmp_path, name):
    made = bundles.with_champion(tmp_path / "p", rows=400)
    bundles.frame(50).write_csv(tmp_path / "in.csv")
    victims = tmp_path / "victims"
    victims.mkdir()
    (victims / "000000.parquet").write_text("precious")
    link(tmp_path / name, victims if name.endswith("parts") else victims / "000000.parquet")
    with pytest.raises(ProjectError, match=f"{name} is a link"):
        batch.run(made, tmp_path / "in.csv", tmp_path / "out.csv")
    assert [path.read_text() for path in victims.iterdir()] == ["precious"]


@pytest.mark.parametrize("made_up", [True, False])
def test_profile_and_drift_report_say_that_data_are_made_up(tmp_path, made_up):
    made = bundles.project(tmp_path)
    version = bundles.train(made, rows=400)
    registry.promote(made, version)
    agreed = contract.read(made.contract_path)
    result = validation.apply(agreed, bundles.frame(400))
    quality = {"run": "r", "made_up": made_up, **validation.summary(agreed, result)}
    storage.write_json(made.path("reports/data_quality.json"), quality)
    empty = bundles.frame(1).clear().with_columns(pl.lit([""]).alias("_rules"))
    storage.write_bytes(made.path("data/quarantine/rejected.parquet"), validation.parquet(empty))
    profiling.run(made)
    with suppress(ProjectError):
        monitoring.run(made)
    for name in ("profile", "drift"):
        assert storage.read_json(made.path(f"reports/{name}.json"))["made_up"] is made_up
        page = made.path(f"reports/{name}.html").read_text(encoding="utf-8")
        assert ("The data are made up" in page) is made_up


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX modes")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755])
def test_links_and_modes_stay_with_every_write(tmp_path, mode):
    target, name = tmp_path / "docs" / "PLAN.md", tmp_path / "PLAN.md"
    target.parent.mkdir()
    target.write_text("old")
    target.chmod(mode)
    link(name, Path("docs/PLAN.md"))
    storage.write_text(name, "new")
    assert name.is_symlink() and target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == mode
    assert [path.name for path in target.parent.iterdir()] == ["PLAN.md"]


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX modes")
def test_new_files_and_folders_follow_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        storage.write_text(tmp_path / "a", "x")
        with storage.replacing_folder(tmp_path / "f") as folder:
            storage.write_text(folder / "b", "x")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "f", "f/b")]
    assert modes == [0o600, 0o700, 0o600]
