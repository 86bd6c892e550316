"""One rule says how many threads work, on whatever machine: nothing else decides it."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import helpers.bundles as small
import joblib
import lightgbm
import numpy as np
import pytest
from helpers.package import SOURCE

from package_name import models, training
from package_name.engine import threads
from package_name.engine.data import contract
from package_name.engine.model import boosting, fitting, sessions
from package_name.engine.model.scorer import FeatureSpec, NumericFeature
from package_name.engine.settings import Project

BUSY = 10 * threads.CELLS  # numbers for ten threads


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that makes a machine of eight processors with these control groups."""

    def make(groups: str, **limits: str) -> None:
        (tmp_path / "cgroup").write_text(groups)
        for name, text in limits.items():
            file = tmp_path / "limits" / name.replace("__", "/").replace("_max", ".max")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    threads.ask(0)  # what another test has read
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(threads, "LIMITS", tmp_path / "limits")
    return make


def test_threads_follow_the_size_and_the_setting(machine, monkeypatch) -> None:
    assert [threads.workers(0, cells) for cells in (0, 10, threads.CELLS)] == [1, 1, 1]
    assert [threads.workers(0, n * threads.CELLS) for n in (2, 3, 8, 9)] == [2, 3, 8, 8]
    assert threads.workers(0) == 8  # of a size that nobody knows
    assert threads.workers(3, 10) == threads.workers(3, BUSY) == 3
    for text, expected in (("2", 2), (" 3,1", 3), ("16", 16), ("0", 8), ("many", 8), ("", 8)):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert threads.workers(0, 100 * threads.CELLS) == expected, text
        assert threads.workers(0, 10) == 1 and threads.workers(5, 10) == 5


def test_what_is_not_handed_the_setting_keeps_to_it_too(machine, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ML_TRAINING__THREADS", "3")
    assert Project(tmp_path).config.training.threads == 3
    assert threads.workers(0) == threads.workers(0, 10) == 3 and threads.workers(2) == 2
    monkeypatch.delenv("ML_TRAINING__THREADS")
    assert Project(tmp_path).config.training.threads == 0
    assert threads.workers(0) == 8 and threads.workers(0, 10) == 1


def test_threads_follow_the_quota_of_the_container(machine) -> None:
    machine("0::/\n")  # without a limit
    assert threads.cores() == 8
    machine("0::/\n", cpu_max="max 100000\n")
    assert threads.cores() == 8
    machine("0::/\n", cpu_max="250000 100000\n")
    assert threads.cores() == threads.workers(0, BUSY) == 2
    machine("0::/\n", cpu_max="50000 100000\n")
    assert threads.cores() == 1
    machine("0::/\n", cpu_max="nonsense")
    assert threads.cores() == 8
    # A group within others: the smallest quota on the way to the root counts.
    machine("0::/a/b\n", a__b__cpu_max="600000 100000", a__cpu_max="300000 100000")
    assert threads.cores() == 3


def test_threads_follow_the_quota_of_the_first_version_of_control_groups(machine, tmp_path) -> None:
    machine("5:memory:/\n4:name=systemd:/\n3:cpu,cpuacct:/docker/a\n")
    folder = tmp_path / "limits/cpu,cpuacct"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    (folder / "cpu.cfs_quota_us").write_text("-1\n")
    assert threads.cores() == 8
    (folder / "cpu.cfs_quota_us").write_text("400000\n")
    assert threads.cores() == 4


def test_a_machine_without_control_groups(machine, monkeypatch) -> None:
    assert threads.cores() == 8  # no such file
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert threads.cores() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert threads.cores() == 1


def libraries(**variables: str) -> dict[str, list[int]]:
    """Return how many threads the libraries of a new process would start, by their kind."""
    code = (
        "import json, helpers.package\n"
        "import lightgbm, numpy, polars, scipy.linalg, sklearn.ensemble, threadpoolctl\n"
        "found = {'polars': [polars.thread_pool_size()]}\n"
        "for pool in threadpoolctl.threadpool_info():\n"
        "    found.setdefault(pool['user_api'], []).append(pool['num_threads'])\n"
        "print(json.dumps(found))"
    )
    ours = ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", *threads.BLAS)
    clean = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        env={**clean, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_libraries_start_no_more_threads_and_blas_one() -> None:
    found = libraries()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert set(found["blas"]) == {1}
    assert max(found["openmp"] + found["polars"]) <= cores


def test_variables_of_the_user_win() -> None:
    found = libraries(OMP_NUM_THREADS="3", OPENBLAS_NUM_THREADS="2", POLARS_MAX_THREADS="5")
    assert set(found["blas"]) <= {2, min(2, os.cpu_count() or 1)}
    assert set(found["openmp"]) == {3} and found["polars"] == [5]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record with how many threads boosting fits and predicts, and other trees and scoring work."""
    seen: list[int] = []
    begin, predict = lightgbm.Booster.__init__, lightgbm.Booster.predict
    parallel, pool = joblib.Parallel.__init__, sessions.ThreadPoolExecutor

    def begun(booster, params, *rest, **named):
        seen.append(params["num_threads"])
        begin(booster, params, *rest, **named)

    def predicted(booster, *rest, **named):
        seen.append(named["num_threads"])
        return predict(booster, *rest, **named)

    def shared(self, n_jobs=None, *rest, **named):
        seen.append(n_jobs)
        parallel(self, n_jobs, *rest, **named)

    def pooled(workers):
        seen.append(workers)
        return pool(workers)

    monkeypatch.setattr(lightgbm.Booster, "__init__", begun)
    monkeypatch.setattr(lightgbm.Booster, "predict", predicted)
    monkeypatch.setattr(joblib.Parallel, "__init__", shared)
    monkeypatch.setattr(sessions, "ThreadPoolExecutor", pooled)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    return seen


@pytest.mark.parametrize(
    ("setting", "cells", "expected"), [(0, threads.CELLS, 1), (0, 500, 2), (3, threads.CELLS, 3)]
)
def test_every_model_is_fitted_and_asked_by_the_rule(
    told: list[int], setting: int, cells: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "CELLS", cells)
    x = np.random.default_rng(0).normal(size=(600, 2)).astype(np.float32)
    spec = FeatureSpec((NumericFeature("a", "a"), NumericFeature("b", "b")), ())
    data = fitting.Data(x, (x[:, 0] > 0).astype(np.int8), spec, setting)
    kind, folds = models.KINDS["lightgbm"], [(np.arange(10, 600), np.arange(10, 600))]
    boosting.cross_validate(kind, data, folds, 0, {}, 3)
    models.FITTERS["lightgbm"](data, 0, {"rounds": 2, "members": 2}).predict(x)
    assert told == [expected] * 6
    models.FITTERS["extra_trees"](data, 0, {}).predict(x)
    assert len(told) >= 8 and set(told[6:]) == {expected}
    monkeypatch.setattr(sessions.wanted, "ASKED_ROWS", 64)
    sessions.in_parts(lambda part: [part], x, setting)
    assert told[-1] == expected


def test_training_takes_the_setting_of_the_project(tmp_path: Path, monkeypatch) -> None:
    made, table = small.project(tmp_path), small.frame(200)
    agreed = contract.read(made.contract_path)
    data = training.development_data(made, table[:150], agreed)
    assert data.workers(data.x) == 1
    monkeypatch.setenv("ML_TRAINING__THREADS", "3")
    data = training.development_data(Project(tmp_path), table[:150], agreed)
    assert data.workers(data.x) == 3


def test_nothing_else_decides_how_many_threads_work() -> None:
    counts = {"cpu_count", "process_cpu_count", "sched_getaffinity"}
    named = {"n_jobs", "num_threads", "nthread", "max_workers"}
    for file in SOURCE.rglob("*.py*"):
        if file == SOURCE / "engine/threads.py":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                assert node.attr not in counts, (file.name, node.lineno)
            if not isinstance(node, ast.Call):
                continue
            given = [word.value for word in node.keywords if word.arg in named]
            if ast.unparse(node.func).endswith("ThreadPoolExecutor"):
                given += node.args or [ast.Constant(None)]
            decided = [ast.unparse(value) for value in given]
            assert all("workers" in text for text in decided), (file.name, node.lineno, decided)
