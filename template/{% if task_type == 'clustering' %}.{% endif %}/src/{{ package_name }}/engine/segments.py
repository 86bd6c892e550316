"""What people read of segments: profiles, a rule to use by hand, a picture, today's ones beside."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import metrics
from .formats import number, percent
from .model.clusters import AGE, Codes, Floats
from .model.fitting import drawn
from .model.plain import Matrix
from .model.scorer import FeatureSpec

SHOWN = 6  # features of a profile
PICTURED = 600  # rows
DEPTH = 3  # of the tree that people use as a rule


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
            days = " days" if name.endswith(AGE) else ""
            told = name, f"mean {number(inside, 3)}{days}, of all {number(every, 3)}{days}"
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
