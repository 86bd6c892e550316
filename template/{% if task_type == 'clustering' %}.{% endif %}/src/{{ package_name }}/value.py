"""What people get of the segments: how stable and how clear, profiles, and a rule to use by hand.

Nothing tells whether segments are right: money is not measured here, only what it is at most.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from . import models
from .engine import history, metrics, privacy, progress, storage, task
from .engine.data import contract, validation
from .engine.features import encode
from .engine.formats import number, percent
from .engine.model import registry
from .engine.model.clusters import Codes, Floats
from .engine.model.derived import view_of
from .engine.model.fitting import drawn
from .engine.model.plain import Matrix
from .engine.model.scorer import FeatureSpec, Scorer
from .engine.resampling import Interval, interval
from .engine.settings import Project
from .engine.severity import Judged
from .training import development_data

RESAMPLES = 20  # in which the segments are found again
NOISY = 0.1  # share of rows that are far from all segments, above which many fit none
SHOWN = 6  # features of a profile
PICTURED = 600  # rows
DEPTH = 3  # of the tree that people use as a rule
CLEAR = 0.05  # of silhouette by which other segments are clearer


class Tested(NamedTuple):
    """The training and test rows of a version, as people know them and as its model sees them.

    `rows`, `x` are training and test rows by column (rows, features), `placed` the segment of each
    training row; `learnt`, `z` are points of training and test rows (rows, dimensions). `held` is
    the name that each code of today's segments has. `chosen` names the model.
    """

    spec: FeatureSpec
    rows: Matrix
    placed: Codes
    x: Matrix
    learnt: Floats
    z: Floats
    held: dict[float, str]
    personal: set[str]
    chosen: str


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
    reasons, warnings, parts = [], [], report["segments"]
    floor, stability = report["quality"]["floor"], report["quality"]["stability"]["value"]
    if len(parts) < 2:
        reasons.append(
            f"no number of segments is found again in resamples (stability {number(floor)}): all "
            "rows are in one segment"
        )
    elif stability < floor:
        reasons.append(
            f"segments of resamples agree by {number(stability, 3)} (adjusted Rand index); the "
            f"plan asks for {number(floor)}"
        )
    for part in parts:
        if len(parts) > 1 and part["share"] < models.SMALLEST:
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


def matched(first: Codes, second: Codes, count: int) -> tuple[float, Floats]:
    """Return the share of rows that are in the same segment, and how far each is found again.

    Segments are paired so that most rows are; the overlap of each (count,) is its largest Jaccard
    index.
    """
    from scipy.optimize import linear_sum_assignment

    wide = max(count, int(second.max()) + 1)
    table = np.zeros((count, wide))
    np.add.at(table, (first, second), 1)
    rows, columns = linear_sum_assignment(-table)
    either = table.sum(axis=1, keepdims=True) + table.sum(axis=0) - table
    overlap = np.divide(table, either, out=np.zeros_like(table), where=either > 0)
    return float(table[rows, columns].sum() / len(first)), overlap.max(axis=1)


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


def segments(
    tested: Tested,
    codes: Codes,
    names: dict[int, str],
    outside: NDArray[Any],
    jaccard: list[float],
) -> list[dict[str, Any]]:
    """Return each segment with its profile: what is the most unlike all test rows in it."""
    return [
        {
            "segment": code,
            "name": names[code],
            "rows": int((codes == code).sum()),
            "share": float((codes == code).mean()),
            "stability": jaccard[code],
            "outside": float(outside[codes == code].mean()),
            "profile": profile(tested, codes == code),
        }
        for code in sorted(names)
    ]


def profile(tested: Tested, here: NDArray[np.bool_]) -> list[list[Any]]:
    """Return [feature, what it is here and among all, deviation], the largest deviations first.

    A deviation is in standard deviations of all rows, also that of the share of a level. Values of
    personal columns are left out.
    """
    found: list[tuple[str, str, float]] = []
    for name, level, values in _questions(tested, tested.x):
        known = ~np.isnan(values)
        spread = float(values[known].std()) if known.any() else 0.0
        if not spread or not (here & known).any():
            continue
        inside, every = float(values[here & known].mean()), float(values[known].mean())
        if level:
            told = f"{name} = {level}", f"{percent(inside)}, of all {percent(every)}"
        else:
            told = name, f"mean {number(inside, 3)}, of all {number(every, 3)}"
        found.append((*told, (inside - every) / spread))
    found.sort(key=lambda item: -abs(item[2]))
    return [list(item) for item in found[:SHOWN]]


def today(tested: Tested, y: Floats, codes: Codes) -> dict[str, Any] | None:
    """Return how near segments (rows,) are to today's (rows,), NaN unknown; None without any."""
    here = ~np.isnan(y)
    if here.sum() < metrics.FEWEST_LABELS or len(np.unique(y[here])) < 2:
        return None
    from sklearn.metrics import adjusted_mutual_info_score

    names, held = np.unique(y[here], return_inverse=True)
    found = codes[here]
    table = np.zeros((held.max() + 1, int(codes.max()) + 1), int)
    np.add.at(table, (held, found), 1)
    return {
        "known": int(here.sum()),
        "segments": int(held.max()) + 1,
        "agreement": metrics.adjusted_rand(held, found),
        "mutual_information": float(adjusted_mutual_info_score(held, found)),
        "silhouette": metrics.shape(tested.z[here], held, 0)["silhouette_pairs"],
        "table": [
            [tested.held[code], counts] for code, counts in zip(names, table.tolist(), strict=True)
        ],
    }


def tree(tested: Tested, codes: Codes, names: dict[int, str]) -> dict[str, Any]:
    """Return a rule of at most DEPTH questions to place rows by hand, and how often it is right.

    A tree of the training rows; `agreement` is the share of the test rows that it places as the
    model does, `rules` are its leaves. Categories are asked as one level or not; personal columns
    are not asked.
    """
    from sklearn.tree import DecisionTreeClassifier

    asked, questions = _questions(tested, tested.rows), _questions(tested, tested.x)
    if not asked or len(names) < 2:
        return {"depth": 0, "agreement": 1.0, "rules": []}
    learnt = np.column_stack([values for _, _, values in asked])
    model = DecisionTreeClassifier(
        max_depth=DEPTH, min_samples_leaf=max(5, len(learnt) // 100), random_state=0
    )
    model.fit(learnt, tested.placed)
    rows = np.column_stack([values for _, _, values in questions])
    shown, reached = model.tree_, model.decision_path(rows)
    said = _said(model)
    rules: list[dict[str, Any]] = []
    depth = 0
    waiting: list[tuple[int, tuple[str, ...]]] = [(0, ())]
    while waiting:
        node, path = waiting.pop()
        if (code := said[node]) is not None:
            here = reached[:, node].toarray().ravel() > 0
            share = float((codes[here] == code).mean()) if here.any() else None
            name = names.get(code, f"segment {code}")
            when, depth = " and ".join(path) or "always", max(depth, len(path))
            rules.append({"when": when, "name": name, "rows": int(here.sum()), "share": share})
            continue
        feature, level, values = asked[shown.feature[node]]
        cut = number(float(shown.threshold[node]), 4)
        low = f"{feature} is not {level}" if level else f"{feature} <= {cut}"
        high = f"{feature} is {level}" if level else f"{feature} > {cut}"
        if np.isnan(values).any():
            left = shown.missing_go_to_left[node]
            low, high = f"{low}{' or missing' * left}", f"{high}{' or missing' * (1 - left)}"
        waiting.append((shown.children_right[node], (*path, high)))
        waiting.append((shown.children_left[node], (*path, low)))
    right = float((model.predict(rows) == codes).mean())
    return {"depth": depth, "agreement": right, "rules": rules}


def _said(model: Any) -> list[int | None]:
    """Return the segment that each node of a tree says, None where its branches say several."""
    tree = model.tree_
    said: list[int | None] = [None] * tree.node_count
    for node in reversed(range(tree.node_count)):  # children come after their parent
        if tree.children_left[node] < 0:
            said[node] = int(model.classes_[tree.value[node][0].argmax()])
        elif said[tree.children_left[node]] == said[tree.children_right[node]]:
            said[node] = said[tree.children_left[node]]
    return said


def _questions(tested: Tested, x: Matrix) -> list[tuple[str, str, Floats]]:
    """Return what a rule may ask of rows: feature, level or "", values (rows,); NaN is missing."""
    spec = tested.spec
    found = [
        (item.name, "", x[:, place].astype(np.float64))
        for place, item in enumerate(spec.numeric)
        if item.column not in tested.personal
    ]
    for place, feature in enumerate(spec.categorical, len(spec.numeric)):
        if feature.column not in tested.personal:
            found += [
                (feature.name, level or "(missing)", (x[:, place] == code) * 1.0)
                for code, level in enumerate(feature.levels)
            ]
    return found


def picture(tested: Tested, codes: Codes) -> dict[str, Any]:
    """Return test rows on the two axes along which they spread most, with their segments."""
    from sklearn.decomposition import PCA

    if tested.z.shape[1] < 2 or not np.ptp(tested.z, axis=0).any():
        return {"points": [], "explained": []}
    model = PCA(2, random_state=0).fit(tested.z)
    some = drawn(np.arange(len(tested.z)), PICTURED, 0)
    flat = np.round(model.transform(tested.z[some]), 3)
    points = [
        [float(x), float(y), int(code)] for (x, y), code in zip(flat, codes[some], strict=True)
    ]
    return {"points": points, "explained": model.explained_variance_ratio_.tolist()}


def _tested(project: Project, y: Floats) -> Tested:
    agreed = contract.read(project.contract_path)
    trained = storage.read_json(project.path("reports/training.json"), dict[str, Any])
    chosen, settings = trained["chosen"], project.config.training
    served = Scorer.load(registry.folder(project, trained["version"]), threads=settings.threads)
    rows, test = (
        history.completed(served, validation.stored(project, name, "run `ml train`", agreed))
        for name in ("data/processed/development.parquet", "data/processed/test.parquet")
    )
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
