"""A project's batch job on Airflow 3: score what came in, then look whether the model still fits.

For the dags folder of Airflow, with the variable ML_PROJECT of its environment: the folder of a
project with a batch job, in which `uv sync` was run. Times come from the project's plan. A task
that is tried again costs nothing: `ml score` goes on where it was, and does nothing twice.
"""

import datetime as dt
import os
from pathlib import Path

import yaml
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

PROJECT = Path(os.environ["ML_PROJECT"])
ML = os.environ.get("ML_COMMAND", "uv run --no-sync ml")
PLAN = yaml.safe_load((PROJECT / "plan" / "plan.yaml").read_text(encoding="utf-8"))
ANSWERS = PLAN["answers"]

with DAG(
    dag_id=f"{PLAN['project']['slug']}-score",
    description=PLAN["project"]["name"],
    schedule=ANSWERS["batch_schedule"],
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=dt.timedelta(hours=ANSWERS["batch_deadline_hours"]),
    default_args={"retries": 3, "retry_delay": dt.timedelta(minutes=5)},
    tags=["ml"],
) as dag:
    score = BashOperator(
        task_id="score",
        bash_command=f"{ML} score data/incoming.parquet data/scored.parquet",
        cwd=str(PROJECT),
        append_env=True,
    )
    # Exit 1 is an answer, that somebody has to act: it is no reason to try again.
    monitor = BashOperator(
        task_id="monitor",
        bash_command=f"{ML} monitor data/incoming.parquet",
        cwd=str(PROJECT),
        append_env=True,
        retries=0,
    )
    score >> monitor
