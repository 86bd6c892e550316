"""The batch job on a real Airflow and on a real cluster of Spark: the answers of `ml score`."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from helpers.rendering import ROOT, render
from helpers.running import Made
from helpers.service import free_port
from uv import find_uv_bin

from package_name.engine.settings import Project

EXAMPLES = ROOT / "docs/examples"
SHORT = {"ML_TRAINING__TRACK": "false"}


def run(command: Sequence[str | Path], folder: Path, seconds: int = 300, **env: str) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env={**os.environ, **env}, check=False,
        capture_output=True, text=True, timeout=seconds,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def installed(folder: Path, *packages: str) -> Path:
    """Make an environment of its own; return its folder of programs."""
    run([find_uv_bin(), "venv", "-q", "--python", sys.executable, folder], ROOT)
    python = folder / "bin/python"
    run([find_uv_bin(), "pip", "install", "-q", "--python", python, *packages], ROOT, 900)
    return folder / "bin"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = render(tmp_path_factory.mktemp("scheduled") / "p", preset="churn")
    project = Made(folder, next((folder / "src").iterdir()).name, SHORT)
    project.ml("run")
    shutil.copy(folder / "data/sample/dataset.parquet", folder / "data/incoming.parquet")
    return project


@pytest.mark.nightly
def test_airflow_runs_the_job_at_the_times_of_the_plan(made: Made, tmp_path: Path) -> None:
    programs = installed(tmp_path / "env", "apache-airflow>=3.3,<4")
    dags = tmp_path / "dags"
    dags.mkdir()
    shutil.copy(EXAMPLES / "score_dag.py", dags)
    env = {
        **made.env,
        "AIRFLOW_HOME": str(tmp_path / "home"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "ML_PROJECT": str(made.folder),
        "ML_COMMAND": f"{sys.executable} -m {made.package}",
    }
    run([programs / "airflow", "db", "migrate"], tmp_path, **env)
    listed = run([programs / "airflow", "dags", "list", "--local", "-o", "plain"], tmp_path, **env)
    assert "customer-churn-score" in listed
    told = "import runpy; dag = runpy.run_path('score_dag.py')['dag']; "
    told += "print(dag.schedule, dag.dagrun_timeout, [t.retries for t in dag.tasks])"
    answers = Project(made.folder).plan.answers
    planned = f"{answers['batch_schedule']} {answers['batch_deadline_hours']:g}:00:00 [3, 0]"
    assert planned in run([programs / "python", "-c", told], dags, **env)
    said = run(
        [programs / "airflow", "dags", "test", "customer-churn-score", "2026-11-28"],
        tmp_path,
        **env,
    )
    assert "state=success" in said or "successful" in said
    made.ml("score", "data/incoming.parquet", "data/again.parquet")
    scored = made.folder / "data/scored.parquet"
    assert scored.read_bytes() == (made.folder / "data/again.parquet").read_bytes()


@contextmanager
def cluster(spark: Path, env: dict[str, str], folder: Path) -> Iterator[str]:
    """Run a master and two workers, each a process; give its address."""
    port, running = free_port(), []

    def start(name: str, kind: str, *options: str) -> None:
        log = (folder / f"{name}.log").open("wb")
        command = [str(spark / "bin/spark-class"), f"org.apache.spark.deploy.{kind}", *options]
        command += ["--host", "127.0.0.1", "--webui-port", str(free_port())]
        running.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))

    try:
        start("master", "master.Master", "--port", str(port))
        address = f"spark://127.0.0.1:{port}"
        for number in range(2):
            work = ["--cores", "1", "--memory", "1g", "--work-dir", str(folder / f"work{number}")]
            start(f"worker{number}", "worker.Worker", address, *work)
        end = time.monotonic() + 90
        log = folder / "master.log"
        while log.read_text().count("Registering worker") < 2 and time.monotonic() < end:
            time.sleep(0.5)
        yield address
    finally:
        for process in running:
            process.kill()
            process.wait()


@pytest.mark.nightly
@pytest.mark.skipif(shutil.which("java") is None, reason="NOT TESTED: Spark needs Java")
def test_a_cluster_of_spark_gives_the_answers_of_ml_score(made: Made, tmp_path: Path) -> None:
    serving = ["filelock", "msgspec", "numpy", "onnxruntime", "polars", "prometheus-client"]
    spark_needs = ["pyspark>=4.1,<5", "pyarrow>=22,<26", "pandas>=2.2,<3"]
    programs = installed(tmp_path / "env", *serving, "pyyaml", "typer", *spark_needs)
    where = "import pyspark; print(pyspark.__path__[0])"
    spark = Path(run([programs / "python", "-c", where], tmp_path).strip())
    run([find_uv_bin(), "build", "-q", "--wheel", "--out-dir", tmp_path / "dist"], made.folder)
    shutil.make_archive(str(tmp_path / "model"), "zip", made.folder / "models/v1")
    table = pl.read_parquet(made.folder / "data/incoming.parquet")
    table = table.with_columns(  # and what breaks the contract, in one part
        pl.when(pl.int_range(pl.len()) == 1)
        .then(-5)
        .otherwise("tenure_months")
        .alias("tenure_months")
    )
    (tmp_path / "in").mkdir()
    for number, part in enumerate(table.iter_slices(table.height // 3)):
        part.write_parquet(tmp_path / f"in/{number}.parquet")
    env = {
        **os.environ,
        "SPARK_HOME": str(spark),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": str(programs / "python"),
    }
    with cluster(spark, env, tmp_path) as master:
        command: list[str | Path] = [spark / "bin/spark-submit", "--master", master]
        for setting in (
            "driver.host=127.0.0.1",
            "driver.bindAddress=127.0.0.1",
            "ui.enabled=false",
        ):
            command += ["--conf", f"spark.{setting}"]
        command += ["--executor-memory", "700m", "--archives", f"{tmp_path / 'model.zip'}#model"]
        (wheel,) = (tmp_path / "dist").glob("*.whl")
        command += ["--py-files", wheel.rename(tmp_path / "code.zip")]
        command += [EXAMPLES / "score_on_spark.py", made.package, tmp_path / "in", tmp_path / "out"]
        run(command, tmp_path, **env)
    table.write_parquet(made.folder / "data/all.parquet")
    made.ml("score", "data/all.parquet", "data/all-scored.parquet")
    expected = pl.read_parquet(made.folder / "data/all-scored.parquet")
    found = pl.read_parquet(tmp_path / "out/*.parquet")
    names = found.columns
    assert {"customer_id", "probability", "decision", "problem"} <= {*names}
    keys = ["customer_id", "snapshot_date"]
    assert found.sort(keys).equals(expected.select(names).sort(keys))
    assert found["problem"].drop_nulls().len() == 1
