# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["copier>=9.19.1,<10", "polars", "river", "scikit-learn"]
# ///
"""Segments of real tables whose kinds are known: stability and agreement, beside scikit-learn's.

The project is used as its owner would: draft the contract, train, evaluate. Kinds are told as
segments of today, from which nothing is learnt. The peers get the project's own training and test
rows, standardised: k-means with the number of the highest silhouette, Gaussian mixtures with that
of the lowest BIC, HDBSCAN with 2 % of the rows at least (new rows as their nearest training row).
The floors that were set before the first run: a stability of at least 0.8 on ImageSegments, and on
each table, in the mean of its seeds, one as high as that of k-means by silhouette.

    uv run benchmarks/clusters.py --seeds 0 1 2
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from common import commands, render
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

FLOOR = {"segments": 0.8}
NUMBERS = range(2, 11)
RESAMPLES = 20
Matrix = np.ndarray[Any, Any]
Place = Callable[[Matrix], Matrix]  # the segment of each row
Result = dict[str, tuple[float, float, float]]  # segments, stability, agreement with the kinds


def segments() -> pl.DataFrame:
    """Seven kinds of outdoor texture, 2,310 rows (CC BY 4.0; by river)."""
    from river import datasets

    return pl.DataFrame([x | {"target": y} for x, y in datasets.ImageSegments()])


def loaded(load: Callable[[], Any]) -> pl.DataFrame:
    """Return a table that scikit-learn ships."""
    found = load()
    names = [f"p{place}" for place in range(found.data.shape[1])]
    target = pl.Series("target", [f"kind {code}" for code in found.target])
    return pl.DataFrame(found.data, schema=names).with_columns(target)


TABLES: dict[str, Callable[[], pl.DataFrame]] = {
    "segments": segments,
    "tumours": lambda: loaded(load_breast_cancer),
    "digits": lambda: loaded(load_digits),
}


def by_means(rows: Matrix) -> Place:
    """Fit k-means with the number of segments of the highest silhouette."""
    fits = [KMeans(count, n_init=5, random_state=0).fit(rows) for count in NUMBERS]
    return max(fits, key=lambda fit: silhouette_score(rows, fit.labels_)).predict


def by_mixture(rows: Matrix) -> Place:
    """Fit Gaussian mixtures with the number of the lowest BIC."""
    fits = [GaussianMixture(n, reg_covar=1e-3, random_state=0).fit(rows) for n in NUMBERS]
    return min(fits, key=lambda fit: fit.bic(rows)).predict


def by_density(rows: Matrix) -> Place:
    """Fit HDBSCAN; a new row is where the nearest training row is, or noise as that one (-1)."""
    labels = HDBSCAN(min_cluster_size=max(5, len(rows) // 50), copy=True).fit_predict(rows)
    return KNeighborsClassifier(1).fit(rows, labels).predict


PEERS = {"k-means, silhouette": by_means, "mixture, BIC": by_mixture, "HDBSCAN": by_density}


def peers(train: pl.DataFrame, test: pl.DataFrame) -> Result:
    """Return what scikit-learn's ways give; stability is the mean agreement of resamples."""
    scaler = StandardScaler().fit(train.drop("target").to_numpy())
    x, z = (scaler.transform(frame.drop("target").to_numpy()) for frame in (train, test))
    found = {}
    for name, fit in PEERS.items():
        rng, codes = np.random.default_rng(0), fit(x)(z)
        again = [fit(x[rng.integers(0, len(x), len(x))])(z) for _ in range(RESAMPLES)]
        stable = statistics.mean(adjusted_rand_score(codes, other) for other in again)
        count = len(set(codes[codes >= 0].tolist()))
        found[name] = (count, stable, adjusted_rand_score(test["target"], codes))
    return found


def measured(name: str, seed: int, python: Path | None) -> Result:
    """Return what a project and its peers find in one table with one split."""
    with tempfile.TemporaryDirectory() as folder:
        project, source = Path(folder) / "project", Path(folder) / "rows.parquet"
        frame = TABLES[name]()
        frame.write_parquet(source)
        answers = {"task_type": "clustering", "target": "target", "entity": "", "time_column": ""}
        answers |= {"today_segments": "none", "segments_least": "2", "segments_most": "10"}
        render(project, **answers, n_rows=str(frame.height), deployment_modes="[batch]")
        ml = commands(project, python, source, TRAINING__SEED=str(seed))
        ml("contract", "infer", source, "--target", "target", "--force")
        for step in ("ingest", "validate", "train"):
            ml(step)
        ml("evaluate", check=False)
        report = json.loads((project / "reports/metrics.json").read_text())
        parts = [
            pl.read_parquet(project / f"data/processed/{part}.parquet").select(frame.columns)
            for part in ("development", "test")
        ]
    held, stability = report["today"], report["quality"]["stability"]["value"]
    own = (len(report["segments"]), stability, held["agreement"] if held else float("nan"))
    return {f"this project ({report['champion']['name']})": own} | peers(*parts)


def main() -> None:
    """Measure all tables; fail below the floor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--python", type=Path, help="an interpreter that has the project's needs")
    options = parser.parse_args()
    low = []
    for name in options.tables:
        runs = [measured(name, seed, options.python) for seed in options.seeds]
        for seed, found in zip(options.seeds, runs, strict=True):
            print(f"{name}, seed {seed}")
            for way, (count, stable, agreement) in found.items():
                print(
                    f"  {way:34} {count:3} segments, stability {stable:.3f}, kinds {agreement:.3f}"
                )
        own, peer = (statistics.mean(list(found.values())[n][1] for found in runs) for n in (0, 1))
        if own < max(FLOOR.get(name, 0), peer):
            low.append(f"{name}: stability {own:.3f}, k-means {peer:.3f}")
    if low:
        raise SystemExit(f"below the floor: {'; '.join(low)}")


if __name__ == "__main__":
    main()
