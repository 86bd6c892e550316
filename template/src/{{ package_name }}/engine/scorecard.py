"""All models that were tried, side by side in seven criteria."""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from . import metrics, storage
from .formats import number
from .model.scorer import Scorer
from .model.sessions import session
from .settings import Project, Rating

SECONDS = 0.1  # of each timing
BATCH_ROWS = 8192
# What each criterion is measured by, and whether more of it is better. Quality has a sign of its
# own; a model is easier to read the fewer numbers it holds, and to keep up the fewer parts it has.
MEASURED = {
    "interpretability": ("numbers", False),
    "scalability": ("rows_per_s", True),
    "training_time": ("fit_seconds", False),
    "latency": ("row_ms", False),
    "resources": ("model_mb", False),
    "maintainability": ("parts", False),
}
CRITERIA = ("quality", *MEASURED)


def judge(project: Project, folder: Path, scorer: Scorer, x: NDArray[np.float32]) -> dict[str, Any]:
    """Measure each model of a version, and give points from 0 (the worst here) to 1 (the best).

    A model below the plan's goal gets none, unless all are. Quality counts in proportion, all else
    by orders of magnitude. A total is the mean of the points, in which the criteria of decision
    MOD-06 count twice. Where people have rated a model (`ratings` of plan/overrides.yaml), that is
    how well it can be kept up, in place of its parts. `x` holds encoded rows. `chosen`, `most` and
    `why` say which model the rule of MOD-04 took, which has the most points, and why these are two.
    """
    tested = storage.read_json(folder / "metrics.json", dict[str, Any])
    twice, limit = project.facts.criteria or [], project.facts.metric_limit
    models = _models(folder, tested, scorer.score, x)
    sign = metrics.sign(tested["primary_metric"])
    able = {
        name: measured
        for name, measured in models.items()
        if limit is None or sign * measured["quality"] >= sign * limit
    }
    rated = {n: one for n, one in project.plan.ratings.items() if n in (able or models)}
    points = _points(able or models, sign, twice, rated)
    trained = storage.read_json(folder / "training.json", dict[str, Any])
    card = {"twice": list(twice), "measured": models, "points": points}
    card["rated"] = msgspec.to_builtins(rated)
    return card | _told(points, tested["champion"]["name"], trained.get("selection", {}))


def _told(
    points: dict[str, dict[str, float]], chosen: str, selection: dict[str, Any]
) -> dict[str, str]:
    """Name the chosen model and the one with the most points, with the reason where they differ."""
    most = max(points, key=lambda name: points[name]["total"], default=chosen)
    behind, too_little = selection.get("behind", {}), selection.get("gains_too_little", [])
    if most == chosen:
        why = ""
    elif most not in behind:
        why = "it is a baseline to be beaten, no candidate"
    elif most in too_little:
        why = "it gains too little over the best baseline"
    elif selection.get("rule") == "one_standard_error" and behind[most]["mean"] > 0:
        gap, error = (number(behind[most][key], 4) for key in ("mean", "se"))
        why = (
            f"in cross-validation it is {gap} behind the best, more than a standard error ({error})"
        )
    elif behind[most]["mean"] > 0:
        why = f"in cross-validation it is {number(behind[most]['mean'], 4)} behind the best"
    else:
        why = "in cross-validation the simpler one is no more than a standard error behind it"
    return {"chosen": chosen, "most": most, "why": why}


def _models(
    folder: Path, tested: dict[str, Any], score: str, x: NDArray[np.float32]
) -> dict[str, dict[str, float]]:
    """Return what is measured of each model that has a score on the test set and a graph."""
    trained = storage.read_json(folder / "training.json", dict[str, Any])
    scores = {**tested["baselines"], **tested["candidates"]}
    models: dict[str, dict[str, float]] = {}
    for name, costs in trained["candidates"].items():
        champion = name == tested["champion"]["name"]
        path = folder / ("model_encoded.onnx" if champion else f"rivals/{name}.onnx")
        quality = scores.get(name, {}).get(tested["primary_metric"])
        if quality is not None and path.exists():
            known = {"quality": quality, **{n: costs[n] for n in ("fit_seconds", "parts")}}
            models[name] = known | _measured(path, score, x)
    return models


def _points(
    models: dict[str, dict[str, float]],
    sign: float,
    twice: Sequence[str],
    ratings: Mapping[str, Rating],
) -> dict[str, dict[str, float]]:
    """Return the points of each model in each criterion, and in all."""
    points: dict[str, dict[str, float]] = {name: {} for name in models}
    for criterion, (key, more) in {"quality": ("quality", sign > 0), **MEASURED}.items():
        values = {name: measured[key] for name, measured in models.items()}
        if key != "quality":
            values = {name: math.log(max(value, 1e-9)) for name, value in values.items()}
        low, high = min(values.values(), default=0.0), max(values.values(), default=0.0)
        for name, value in values.items():
            place = (value - low) / (high - low) if high > low else 1.0
            points[name][criterion] = place if more or high == low else 1 - place
    for name, rating in ratings.items():
        points[name]["maintainability"] = (rating.maintainability - 1) / 4
    weights = {criterion: 2 if criterion in twice else 1 for criterion in CRITERIA}
    for given in points.values():
        total = sum(weights[criterion] * given[criterion] for criterion in CRITERIA)
        given["total"] = total / sum(weights.values())
    return points


def _measured(path: Path, score: str, x: NDArray[np.float32]) -> dict[str, float]:
    """Return what a graph holds and how fast it answers."""
    import onnx

    content = path.read_bytes()
    graph = onnx.load_model_from_string(content).graph
    numbers = sum(math.prod(constant.dims) for constant in graph.initializer)
    for node in graph.node:
        numbers += sum(len(a.floats) for a in node.attribute if a.name == "nodes_values")
    opened = session(content)
    batch = np.tile(x, (BATCH_ROWS // len(x) + 1, 1))[:BATCH_ROWS]
    names = [output.name for output in opened.get_outputs()]
    asked = [score] if score in names else names[:1]
    one = [_seconds(lambda row=row: opened.run(asked, {"x": row})) for row in (x[:1], batch)]
    return {
        "numbers": numbers,
        "row_ms": 1000 * one[0],
        "rows_per_s": len(batch) / one[1],
        "model_mb": len(content) / 1e6,
    }


def _seconds(call: Any) -> float:
    """Return the median time of a call, the first of which does not count."""
    call()
    taken: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(taken) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))
