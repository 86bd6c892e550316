"""What people get of the segments: how stable and how clear, profiles, and a rule to use by hand.

Nothing tells whether segments are right: money is not measured here, only what it is at most.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from . import models
from .engine import metrics, privacy, progress, task
from .engine.data import contract
from .engine.features import encode
from .engine.formats import number, percent
from .engine.model import parts
from .engine.model.clusters import Codes, Floats
from .engine.model.derived import view_of
from .engine.model.fitting import drawn
from .engine.resampling import Interval, interval
from .engine.segments import Tested, matched, picture, segments, today, tree
from .engine.settings import Project
from .engine.severity import Judged
from .training import development_data

RESAMPLES = 20  # in which the segments are found again
NOISY = 0.1  # share of rows that are far from all segments, above which many fit none
CLEAR = 0.05  # of silhouette by which other segments are clearer


def judge(
    project: Project,
    y: Floats,
    answers: dict[str, NDArray[Any]],
    cut: float,
    groups: NDArray[np.intp] | None,
    *,
    made_up: bool,
) -> Judged:
    """Judge the segments by the test rows; all arrays have shape (rows,) or (rows, 4).

    Unstable segments, and a single one, close the gate; what people should mind is a warning.
    """
    tested = _tested(project, y)
    codes, outside = task.codes(answers["position"]), answers["outside"]
    found = again(tested, codes, project.config.training.seed)
    names = dict(zip(codes.tolist(), answers["name"].tolist(), strict=True))
    numbers = by_number(project, tested, len(np.unique(codes)))
    report = {
        "quality": {
            "stability": found["stability"]._asdict(),
            "floor": project.facts.min_stability,
            **metrics.shape(tested.z, codes, project.config.training.seed),
        },
        "segments": segments(tested, codes, names, outside, found["jaccard"]),
        "numbers": numbers,
        "placed_alike": found["placed"]._asdict(),
        "noise": float(outside.mean()),
        "today": today(tested, y, codes),
        "tree": tree(tested, codes, names),
        "picture": picture(tested, codes),
        "distances": metrics.histogram(answers["distance"]),
        "business": _business(project, found["placed"].value, len(names)),
    }
    reasons, warnings = usefulness(project, report)
    return Judged(report, reasons, warnings)


def usefulness(project: Project, report: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return why segments are of no use whatever their metric is, and what puts it in doubt."""
    reasons, warnings, found = [], [], report["segments"]
    floor, stability = report["quality"]["floor"], report["quality"]["stability"]["value"]
    if len(found) < 2:
        reasons.append(
            f"no number of segments is found again in resamples (stability {number(floor)}): all "
            "rows are in one segment"
        )
    elif stability < floor:
        reasons.append(
            f"segments of resamples agree by {number(stability, 3)} (adjusted Rand index); the "
            f"plan asks for {number(floor)}"
        )
    for part in found:
        if len(found) > 1 and part["share"] < models.SMALLEST:
            warnings.append(f"segment {part['name']!r} has {percent(part['share'])} of the rows")
    if report["noise"] > NOISY:
        warnings.append(f"{percent(report['noise'])} of the test rows are far from all segments")
    warnings += _clearer(report, floor)
    return reasons, warnings


def _clearer(report: dict[str, Any], floor: float) -> Iterator[str]:
    """Say which other segments are clearer, and why they were not taken."""
    best = max(report["numbers"], key=lambda item: item["silhouette"], default=None)
    chosen = next((item for item in report["numbers"] if item["chosen"]), None)
    if best and chosen and best["silhouette"] > chosen["silhouette"] + CLEAR:
        stable = best["stability"] >= floor
        why = "are outside of what the plan allows" if stable else "are not found again"
        clear = number(best["silhouette"], 3)
        yield f"{best['segments']} segments would be clearer (silhouette {clear}), but {why}"
    held, own = report["today"], report["quality"]["silhouette_pairs"]
    if held and held["silhouette"] > own:
        clear = number(held["silhouette"], 3)
        yield f"today's segments are clearer: silhouette {clear} against {number(own, 3)}"


def again(tested: Tested, codes: Codes, seed: int) -> dict[str, Any]:
    """Return how far segments that resamples give agree with `codes` of the test rows (rows,).

    `stability` is the adjusted Rand index, `placed` the share of the rows in the same segment, both
    the mean and the middle 95 % of RESAMPLES; `jaccard` is for each segment the mean overlap with
    the most alike one (Hennig 2007), which tells which segments dissolve.
    """
    count = int(codes.max()) + 1
    if count < 2:
        one = Interval(1.0, 1.0, 1.0)
        return {"stability": one, "placed": one, "jaccard": [1.0]}
    learn, agreed, placed, overlaps = models.LEARN.get(tested.chosen), [], [], []
    if learn is None:  # a rule: the same of any rows
        one = Interval(1.0, 1.0, 1.0)
        return {"stability": one, "placed": one, "jaccard": [1.0] * count}
    some = tested.learnt[drawn(np.arange(len(tested.learnt)), models.STABLE_ROWS, seed)]
    for done, other in enumerate(models.refitted(learn, some, count, seed, RESAMPLES), 1):
        progress.tell("segments of resamples", done, RESAMPLES)
        found = other.codes(tested.z)
        agreed.append(metrics.adjusted_rand(codes, found))
        alike, overlap = matched(codes, found, count)
        placed.append(alike)
        overlaps.append(overlap)
    return {
        "stability": interval(float(np.mean(agreed)), np.array(agreed)),
        "placed": interval(float(np.mean(placed)), np.array(placed)),
        "jaccard": np.mean(overlaps, axis=0).tolist(),
    }


def by_number(project: Project, tested: Tested, chosen: int) -> list[dict[str, Any]]:
    """Return how clear and how stable segments are by their number, learnt from training rows."""
    facts, seed = project.facts, project.config.training.seed
    learn = models.LEARN.get(tested.chosen)
    if learn is None:
        return []
    several = range(2, facts.segments_most + 1)
    some = tested.learnt[drawn(np.arange(len(tested.learnt)), models.STABLE_ROWS, seed)]
    found = models.tried(learn, tested.learnt, several, seed)
    rows = []
    for count in sorted(found):
        progress.tell("stability by number of segments", count, facts.segments_most)
        rows.append(
            {
                "segments": count,
                "silhouette": found[count].silhouette,
                "stability": models.stability(learn, found[count].cells, some, count, seed),
                "chosen": count == chosen,
            }
        )
    return rows


def _tested(project: Project, y: Floats) -> Tested:
    agreed = contract.read(project.contract_path)
    trained, served, rows, test = parts.read(project, agreed)
    chosen, settings = trained["chosen"], project.config.training
    whole = development_data(project, rows, agreed)
    data, sees = whole.learnt(view_of(chosen))
    space, learnt, places = models.points(data, settings.seed)
    x = encode(whole.spec, test)
    hidden = privacy.hidden_names(agreed.columns)
    names = test[agreed.target.name].cast(pl.String).to_list()
    held = {code: str(name) for code, name in zip(y.tolist(), names, strict=True) if name}
    if agreed.target.name in hidden:
        held = {code: f"{privacy.HIDDEN} {int(code) + 1}" for code in held}
    return Tested(
        whole.spec,
        whole.x[places],
        task.codes(served.predict(encode(served.spec, rows[places]))["position"]),
        x,
        learnt,
        space.rows(whole._replace(x=x).seen(sees).x),
        held,
        hidden,
        chosen,
    )


def _business(project: Project, placed: float, count: int) -> dict[str, Any]:
    """Say what segments are worth at most: if every row that resamples place alike is right.

    Nothing here tells whether a treatment fits its segment; the experiment of the plan does.
    """
    facts = project.facts
    monthly = facts.predictions_per_month * (
        placed * facts.segment_gain - (1 - placed) * facts.cost_misplaced
    )
    return {
        "currency": facts.currency,
        "says_nothing": True,
        "segments": count,
        "placed_alike": placed,
        "value_at_most": 12 * (monthly - count * facts.cost_segment),
        "baseline_policy": "all alike",
        "value_per_year": None,
        "value_low": None,
        "value_high": None,
        "over": {"policy": "all alike", "value": None, "low": None, "high": None},
    }
