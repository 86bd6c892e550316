"""How one prediction comes about, how predictions follow one feature, which features matter."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from . import metrics, privacy, progress, storage, task
from .data import whole
from .errors import ProjectError
from .formats import count, numbers, signed
from .formats import number as numeral
from .model import made
from .model.output import levels
from .model.plain import Matrix
from .model.scorer import Scorer
from .settings import Project

PERMUTATIONS = 100
MISREAD = 10
ROWS = 2000  # of which importance is measured
REPEATS = 3  # in which a feature is shuffled
EXAMPLE_ROWS = 100_000  # of the test set, among which the examples are
SHOWN_WORDS, SHOWN_SIGNS = 6, 300  # of a text
TOLD = 20  # features that the command line tells of


def explained(
    scorer: Scorer,
    row: NDArray[np.float32],
    background: Matrix,
    texts: list[str],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return each feature's share of what is explained of `row` minus the background's mean.

    That is one number of its score (`task.contrast`), or several, each told of in `each`. Features
    of a background row are replaced by the row's one by one, in random order and in the reverse
    order; the change at each step is the feature's contribution.
    """
    width = len(row)
    starts = background[rng.integers(0, len(background), PERMUTATIONS)]
    orders = [rng.permutation(width) for _ in range(PERMUTATIONS // 2)]
    orders = [
        order for pair in zip(orders, [o[::-1] for o in orders], strict=True) for order in pair
    ]
    steps = np.repeat(starts[: len(orders), None, :], width + 1, axis=1)
    for index, order in enumerate(orders):
        for step, feature in enumerate(order, 1):
            steps[index, step:, feature] = row[feature]
    p = scorer.predict(steps.reshape(-1, width))[scorer.score]
    told, number_of = task.contrast(scorer.predict(row[None])[scorer.score][0], scorer.outputs)
    if scorer.names and "first" in told:
        told["first"] = scorer.names[told["first"]]
    p = number_of(p).reshape(len(orders), width + 1, -1)
    total = np.zeros((width, p.shape[2]))
    for index, order in enumerate(orders):
        total[order] += np.diff(p[index], axis=0)
    parts = [_sorted(scorer.spec.names, texts, shares) for shares in (total / len(orders)).T]
    for one, part in zip(told.get("each", ()), parts, strict=False):
        one["contributions"] = part
    return {"contributions": parts[0]} | told


def lines(report: dict[str, Any]) -> str:
    """Return what is told of the one row of a report at the command line."""
    found, score = report["rows"][0], report["score"]
    told = [f"{score} {numbers(found[score])} (mean {numbers(report['base'])})"]
    if isinstance(found[score], list):
        told = _answered(found, score, report["outputs"])
    if "first" in found:
        told = [f"the list begins with {found['first']}, score {numbers(found['of_first'])}:"]
    if "against" in found:  # of several numbers, the first less the second is explained
        told.append(f"for {found['class']} against {found['against']}:")
    for one in found.get("each", [found]):
        told += [f"for {one['of']}, {numbers(one['score'])}:"] if "of" in one else []
        parts = one["contributions"]
        told.extend(
            f"  {signed(item['contribution'])} {item['feature']} = {item['value']}"
            for item in parts[:TOLD]
        )
        if rest := [item["contribution"] for item in parts[TOLD:]]:
            told.append(f"  {signed(sum(rest))} {len(rest)} others, each less")
    return "\n".join(told)


def _word(value: Any) -> str:
    """Write an answer that is no list: yes or no, a number, or a name."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return numbers(value) if isinstance(value, float) else str(value)


def _answered(found: dict[str, Any], score: str, outputs: dict[str, list[str]]) -> list[str]:
    """Say in words what a row was answered, where its score is several numbers."""
    said = [
        f"{name.replace('_', ' ')} {_word(found[name])}"
        for name in outputs
        if name != score and name in found
    ]
    told = [", ".join(said)] if said else []
    if "on" in found:  # what is explained is made of the numbers, which say little by themselves
        return [*told, f"{found['on']}:"]
    pairs = zip(outputs[score], found[score], strict=False)
    named = sorted(pairs, key=lambda pair: -pair[1])
    more = f" and {count(len(named) - TOLD, 'other')}, each less" if len(named) > TOLD else ""
    shares = ", ".join(f"{name} {numeral(value, 3)}" for name, value in named[:TOLD])
    return [*told, f"{score} {shares}{more}"] if named else told


def _sorted(names: list[str], texts: list[str], shares: NDArray[Any]) -> list[dict[str, Any]]:
    """Return what each feature contributes, the most first."""
    found = [
        {"feature": name, "value": text, "contribution": share}
        for name, text, share in zip(names, texts, shares.tolist(), strict=True)
    ]
    return sorted(found, key=lambda item: -abs(item["contribution"]))


def partial_dependence(scorer: Scorer, x: Matrix, feature: str) -> list[list[Any]]:
    """Return [value, mean score] pairs while `feature` takes each value (Friedman 2001)."""
    index = scorer.spec.names.index(feature)
    width = len(scorer.spec.numeric)
    if index < width:
        known = x[:, index][~np.isnan(x[:, index])]
        cuts = np.unique(np.quantile(known, np.linspace(0.02, 0.98, 20))) if len(known) else known
        values: list[tuple[float | str, float]] = [(float(cut), float(cut)) for cut in cuts]
    else:
        levels = scorer.spec.categorical[index - width].levels[:12]
        values = [(level or "(missing)", float(code)) for code, level in enumerate(levels)]
    points: list[list[Any]] = []
    for label, value in values:
        changed = x.copy()
        changed[:, index] = value
        points.append([label, scorer.predict(changed)[scorer.score].mean(axis=0).tolist()])
    return points


def shown(
    scorer: Scorer, importance: list[dict[str, Any]], personal: set[str]
) -> list[dict[str, Any]]:
    """Leave out the features of personal columns: a curve names their values."""
    hidden = scorer.spec.made_of(personal)
    return [item for item in importance if item["feature"] not in hidden]


def spelled(scorer: Scorer, frame: pl.DataFrame, index: int, personal: set[str]) -> list[str]:
    """Return the value of each feature of a row as people read it."""
    texts = []
    spec = scorer.spec
    read = {feature.name: feature.column for feature in spec.history}
    told = wording(scorer, frame, index, personal)
    columns = [item.column for item in spec.numeric] + [item.column for item in spec.categorical]
    for column in columns:
        value = told.get(column, frame[column][index])
        if isinstance(value, float) and math.isnan(value):
            value = None
        elif value is not None and read.get(column) == scorer.manifest.target and scorer.wants:
            value = scorer.names[int(value)] if scorer.names else int(value)
        hidden = read.get(column, column) in personal
        texts.append(privacy.HIDDEN if hidden else "(missing)" if value is None else str(value))
    return texts


def wording(scorer: Scorer, frame: pl.DataFrame, row: int, personal: set[str]) -> dict[str, str]:
    """Return for each number of a text the words that it comes from, with what each adds."""
    found = {}
    for feature, words in zip(scorer.spec.words, scorer.words, strict=True):
        for number, name in enumerate(feature.made):
            told = words.told(frame[feature.column][row], number)[:SHOWN_WORDS]
            line = ", ".join(f"{word} {share:+.2f}" for word, share in told) or "no known word"
            found[name] = privacy.HIDDEN if feature.column in personal else line
    return found


def quoted(scorer: Scorer, frame: pl.DataFrame, row: int, personal: set[str]) -> dict[str, str]:
    """Return the start of the texts of a row by column, without what names somebody."""
    found = {}
    for column in dict.fromkeys(f.column for f in scorer.spec.words if f.kind == "text"):
        text = privacy.shown(frame[column][row]) or "(missing)"
        short = text if len(text) <= SHOWN_SIGNS else f"{text[:SHOWN_SIGNS]} ..."
        found[column] = privacy.HIDDEN if column in personal else short
    return found


def misread(
    scorer: Scorer,
    frame: pl.DataFrame,
    x: Matrix,
    y: NDArray[Any],
    outcome: pl.Series,
    personal: set[str],
) -> list[dict[str, Any]]:
    """Return the rows with texts whose target is the furthest from the answer, the worst first."""
    known = np.flatnonzero(~np.isnan(y.astype(np.float64).reshape(len(y), -1)).any(axis=1))
    if not scorer.words or not task.LABELS_NEEDED or not len(known):
        return []
    answers = scorer.predict(x[known])
    scores = answers[scorer.score].reshape(len(known), -1)
    goals = np.zeros_like(scores)
    told = task.goals(y[known])
    assert told is not None  # every row has its target
    goals[:, : told.shape[1]] = told
    written = outcome.cast(pl.String)
    order = np.argsort(-np.abs(goals - scores).max(axis=1), kind="stable")[:MISREAD]
    return [
        {
            "row": int(known[place]),
            "target": str(written[int(known[place])]),
            "texts": quoted(scorer, frame, int(known[place]), personal),
            "words": _leading(scorer, wording(scorer, frame, int(known[place]), personal)),
            **{name: values[place].tolist() for name, values in answers.items()},
            **whole.shown(scorer, frame, int(known[place]), personal),
        }
        for place in order
    ]


def _leading(scorer: Scorer, told: dict[str, str]) -> dict[str, str]:
    """Return what words say, by the name of the level where there is a number for each."""
    names = levels(scorer.outputs)
    found = {}
    for feature in scorer.spec.words:
        for number, name in enumerate(feature.made):
            level = f" ({names[number]})" if len(names) == len(feature.made) else ""
            found[f"{feature.name}{level}" if level else name] = told[name]
    return found


def extremes(scorer: Scorer, x: Matrix, seed: int) -> list[int]:
    """Return rows of the highest and lowest scores and the one next to the pivot of decisions."""
    seen = np.arange(len(x))
    if len(x) > EXAMPLE_ROWS:
        seen = np.sort(np.random.default_rng(seed).permutation(len(x))[:EXAMPLE_ROWS])
    progress.tell(f"scoring {numeral(len(seen))} test rows")
    scores = task.ordered(scorer.predict(x[seen])[scorer.score])
    order = np.argsort(scores)
    near = int(np.abs(scores - task.pivot(scorer.manifest.decision, scores)).argmin())
    extremes = (order[-1], order[-2], near, order[1], order[0])
    return list(dict.fromkeys(int(seen[place]) for place in extremes))


def some_rows(y: NDArray[Any], rng: np.random.Generator) -> NDArray[np.intp]:
    """Return at most ROWS places in their order; rare rows are among them."""
    drawn = rng.permutation(len(y))
    rare = drawn[task.rare(y)[drawn]][: ROWS // 20]
    return np.sort(np.unique(np.concatenate([rare, drawn[: ROWS - len(rare)]])))


def score_of(scorer: Scorer, y: NDArray[Any], answers: dict[str, NDArray[Any]]) -> float:
    """Return the primary metric of answers, the larger the better."""
    name, level = scorer.manifest.primary_metric, task.level(scorer.manifest.decision)
    return metrics.sign(name) * metrics.score(name, y, answers[scorer.score], level)


def declared_features(
    trained: dict[str, Any],
    folder: Path,
    scorer: Scorer,
    x: Matrix,
    y: NDArray[Any],
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """Return what features.py declares of columns, with what each brings and costs.

    `trained` is the report of the training, `folder` holds the version.
    """
    every = trained.get("made", [])
    of_texts = {feature.name for feature in scorer.spec.words}  # columns of `x`, not nodes
    every = [item for item in every if item["feature"] not in of_texts]
    if not (declared := [item for item in every if "by" not in item]):
        return []
    model = (folder / "model_encoded.onnx").read_bytes()
    found = made.measured(model, x, lambda answers: score_of(scorer, y, answers), rng)
    return [item | found.get(item["feature"], {"gain": 0.0}) for item in declared]


def in_order(project: Project, run: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return made features, the team's own first, then by gain.

    A time is measured once a model: another one would change what PLAN.md says though nothing did.
    """
    path = project.path("reports/explain.json")
    before = storage.read_json(path, dict[str, Any]) if path.exists() else {}
    known = before.get("made", []) if before.get("run") == run else []
    times = {item["feature"]: item.get("microseconds") for item in known}
    for item in found:
        if "microseconds" in item:
            item["microseconds"] = times.get(item["feature"]) or item["microseconds"]
    return sorted(found, key=lambda item: (not item.get("yours", True), -item["gain"]))


def needless(
    scorer: Scorer,
    x: Matrix,
    y: NDArray[Any],
    importance: list[dict[str, Any]],
    personal: set[str],
    limit: float,
    seed: int,
) -> dict[str, Any]:
    """Return the columns that bring less than `limit` to the metric, those of people first.

    Only what callers choose to send: no earlier values, which a state has, and nothing that says
    for whom and when a row is.

    The features of all of them are shuffled together, as two that say the same look useless each
    for itself. While that costs more, the most important are taken out.
    """
    spec = scorer.spec
    origin, rng = spec.origin, np.random.default_rng(seed)
    fixed = {name for item in spec.history for name in (item.name, item.by, item.on)}
    fixed |= {origin[name] for name in spec.context}
    gains: dict[str, float] = {}
    for item in importance:
        if origin[item["feature"]] in fixed:
            continue
        column, most = origin[item["feature"]], item["importance"] + item["std"]
        gains[column] = max(most, gains.get(column, most))
    left = sorted((n for n, gain in gains.items() if gain <= limit), key=lambda n: -gains[n])
    full, losses = score_of(scorer, y, scorer.predict(x)), [0.0]
    while left:
        places = [n for n, name in enumerate(scorer.spec.names) if origin[name] in left]
        losses = []
        for _ in range(REPEATS):
            shuffled = x.copy()
            for place in places:
                shuffled[:, place] = rng.permutation(shuffled[:, place])
            losses.append(full - score_of(scorer, y, scorer.predict(shuffled)))
        if np.mean(losses) + np.std(losses) <= limit:
            break
        left = left[max(1, len(left) // 4) :]
    return {
        "columns": sorted(left, key=lambda name: (name not in personal, name)),
        "personal": sorted(personal & {*left}),
        "loss": float(np.mean(losses)) if left else 0.0,
        "limit": limit,
    }


def permutation_importance(
    scorer: Scorer, x: Matrix, y: NDArray[Any], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Return by how much the primary metric falls when a feature is shuffled (Breiman 2001)."""
    if y.min() == y.max():
        raise ProjectError(f"importance has no meaning on this test set: it needs {task.NEEDS}")

    def score(rows: Matrix) -> float:
        return score_of(scorer, y, scorer.predict(rows))

    full = score(x)
    result = []
    for index, feature in enumerate(scorer.spec.names):
        progress.tell("importance of features", index + 1, len(scorer.spec.names))
        losses = []
        for _ in range(REPEATS):
            shuffled = x.copy()
            shuffled[:, index] = rng.permutation(shuffled[:, index])
            losses.append(full - score(shuffled))
        result.append(
            {
                "feature": feature,
                "importance": float(np.mean(losses)),
                "std": float(np.std(losses)),
            }
        )
    return sorted(result, key=lambda item: -item["importance"])
