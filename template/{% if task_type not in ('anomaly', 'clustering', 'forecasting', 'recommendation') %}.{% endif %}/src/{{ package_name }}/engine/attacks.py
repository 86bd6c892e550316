"""Attacks tried on the champion: whose rows it learnt from, which lies change its answers.

Membership (Carlini et al. 2022, arXiv 2112.03570): the recipe is fitted again to random halves of
the development rows, so that rows which a model has seen and rows which it has not are of one kind.
An attacker has the answer to a row, its target, and models of similar rows of which half knew it.
Evasion: a person who is judged changes the columns that the contract says they control.
Poisoning: who writes labels writes wrong ones (poisoning.py).
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from . import poisoning, progress, resampling, storage, task
from .data import target as targets
from .data.contract import Column, Contract
from .data.kept import taken
from .errors import ProjectError
from .formats import number, percent
from .history import matrix_for
from .model import again, registry
from .model.fitting import Data, drawn
from .model.plain import Matrix
from .model.scorer import Scorer
from .resampling import Z95, Interval
from .settings import Plan, Project

REPORT = "reports/attacks.json"
REFITS, ROWS = 16, 6000  # models that are fitted to halves, of so many rows at most
FALSE = 0.01  # share of strangers that an attacker takes for members
KNOWN_LIMIT = 0.05  # of the members may be told at FALSE; by chance FALSE of them are
SMALL = 0.25  # standard deviations that a number is moved by
TURNED_LIMIT = 0.2  # of the answers may be turned by moves that small
JUDGED, STEPS = 300, 20  # answers that are attacked, and quantiles of a number that are tried
Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]


def run(project: Project, training: Any) -> dict[str, Any]:
    """Attack the champion by both ways and write reports/attacks.json.

    `training` is the module that fits models. ProjectError when the data are no longer those that
    the champion was trained on.
    """
    used = project.facts.note()
    folder = registry.champion_folder(project)
    scorer = Scorer.load(folder, threads=project.config.training.threads)
    trained = storage.read_json(folder / "training.json", dict[str, Any])
    frame, agreed, parts = again.prepared(project, scorer, training)
    seed = project.config.training.seed
    rows = taken(frame, drawn(parts.development, ROWS, seed))
    name = attacked(trained)
    params = trained["candidates"][name]["params"]
    data = training.development_data(project, rows, agreed)
    repeats = agreed.entity is not None and rows[agreed.entity.name].n_unique() < rows.height
    by = agreed.entity.name if agreed.entity is not None and repeats else ""
    owners = rows[by].cast(pl.String).fill_null("").to_numpy() if by else np.arange(rows.height)

    def fit(some: Data) -> Floats:
        return np.asarray(training.fit(project, name, some, params).predict(data.x), np.float64)

    tested = cache(partial(again.test_rows, project, scorer, agreed))  # one look, for both
    report = {
        "version": scorer.version,
        "run": scorer.manifest.run,
        "made_up": registry.made_up(folder),
        "plan": used,
        "membership": {
            "model": name,
            "rows": rows.height,
            "of": trained["split"]["development_rows"],
            "by": by,
            "refits": REFITS,
            **membership(data, owners, fit, seed),
            "limit": KNOWN_LIMIT,
        },
        "evasion": _evasion(project, scorer, agreed, tested),
        "poisoning": _poisoning(project, scorer, agreed, data, fit, tested()),
    }
    report["warnings"] = warnings(report)
    storage.write_json(project.path(REPORT), report)
    return report


def attacked(trained: dict[str, Any]) -> str:
    """Return the model to fit again: of a blend its largest part, of a stack the dearest."""
    known = {name: n for name, n in trained["candidates"].items() if name not in ("blend", "stack")}
    blend: dict[str, float] = trained.get("blend", {})
    shares = {name: share for name, share in blend.items() if name in known}
    if trained["chosen"] in known:
        return str(trained["chosen"])
    costs = {name: float(item["fit_seconds"]) for name, item in known.items()}
    return max(shares or costs, key=(shares or costs).__getitem__)


def membership(data: Data, owners: NDArray[Any], fit: Any, seed: int) -> dict[str, Any]:
    """Tell members from strangers by the loss, and by the ratio of likelihoods.

    `owners` says whose each row is, shape (rows,): a person is in a half with all rows. `fit`
    predicts all rows by a model of some. Of each attack the area under the curve, and of the ratio
    the share of members found while FALSE of the strangers are taken for some.
    """
    seen = halves(data.y, owners, seed)
    close, told = np.empty(seen.shape), np.empty(seen.shape)
    for place, half in enumerate(seen):
        progress.tell("fitting to halves of the rows", place + 1, len(seen))
        close[place], told[place] = _said(data.y, fit(data.rows(np.flatnonzero(half))))
    ratios = np.array([ratio(told, seen, place) for place in range(len(seen))])
    pairs = [*zip(close, seen, strict=True)], [*zip(ratios, seen, strict=True)]
    loss, known = ([area(s[half], s[~half]) for s, half in every] for every in pairs)
    hits = [float(np.mean(s[half] > np.quantile(s[~half], 1 - FALSE))) for s, half in pairs[1]]
    measured = {"loss_auc": loss, "ratio_auc": known, "hits": hits}
    return {name: mean(values)._asdict() for name, values in measured.items()}


def halves(y: NDArray[Any], owners: NDArray[Any], seed: int) -> Truths:
    """Return which rows each model sees, shape (REFITS, rows): each row is in half of them."""
    rng = np.random.default_rng(seed)
    members, codes = np.unique(owners, return_inverse=True)
    found: list[Truths] = []
    for _ in range(20 * REFITS):
        chosen = rng.permutation(len(members)) < len(members) // 2
        half = chosen[codes.ravel()]
        if half.any() and not half.all() and not task.lacks(y[half]) and not task.lacks(y[~half]):
            found += [half, ~half]
        if len(found) == REFITS:
            return np.array(found)
    raise ProjectError(f"too few rows to attack: halves of {len(y)} rows lack {task.NEEDS}")


def _said(y: NDArray[Any], p: Floats) -> tuple[Floats, Floats]:
    """Return how close each answer is to the target, and the number whose likelihood is asked.

    Of probabilities both are log-odds of what is right, summed over labels; of an amount the
    second is the amount itself.
    """
    goals = task.goals(y)
    said = p.reshape(len(y), -1)
    full = np.zeros(said.shape)
    full[:, : goals.shape[1]] = goals
    if not np.isin(full, (0, 1)).all() or said.min() < 0 or said.max() > 1:
        return -np.abs(full - said).sum(axis=1), said.sum(axis=1)
    if said.shape[1] > 1 and np.allclose(said.sum(axis=1), 1, atol=1e-3):
        said, full = (said * full).sum(axis=1, keepdims=True), np.ones((len(y), 1))
    right = np.clip(1 - np.abs(full - said), 1e-6, 1 - 1e-6)
    odds = np.log(right / (1 - right)).sum(axis=1)
    return odds, odds


def ratio(told: Floats, seen: Truths, place: int) -> Floats:
    """Return for each row how much likelier one model's number is if it has seen the row.

    Normal around what the other models say that have seen the row, or have not, with one spread
    for all rows: few models tell no spread of each.
    """
    others = np.arange(len(seen)) != place
    knew, known = seen[others], told[others]
    found = []
    for which in (knew, ~knew):
        middle = (known * which).sum(axis=0) / which.sum(axis=0)
        left = np.where(which, known - middle, 0.0)
        spread = max(float((left**2).sum() / max(1, which.sum() - len(middle))) ** 0.5, 1e-9)
        found.append(-0.5 * ((told[place] - middle) / spread) ** 2 - np.log(spread))
    return np.asarray(found[0] - found[1])


def area(members: Floats, strangers: Floats) -> float:
    """Return the share of pairs in which the member has the larger number, ties as a half."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([members, strangers]))[: len(members)].sum()
    n = len(members)
    return float((ranks - n * (n + 1) / 2) / (n * len(strangers)))


def mean(values: list[float]) -> Interval:
    """Return the mean over refits with its interval; they share rows, so it is somewhat narrow."""
    found, reach = float(np.mean(values)), float(Z95 * np.std(values, ddof=1) / len(values) ** 0.5)
    return Interval(found, found - reach, found + reach)


def _poisoning(
    project: Project, scorer: Scorer, agreed: Contract, data: Data, fit: Any, frame: pl.DataFrame
) -> dict[str, Any] | None:
    """Try wrong labels on the rows of the test; None where these are too few to tell."""
    p = scorer.predict(matrix_for(scorer, frame))[scorer.score]
    y, seed = targets.values(frame, agreed.target), project.config.training.seed
    seen = poisoning.noticed(y, p, scorer.manifest, project.config.monitoring, seed)
    if seen is None:
        return None
    return {"noticed": seen, "costs": poisoning.costs(data, fit, scorer.manifest, seed)}


def _evasion(
    project: Project, scorer: Scorer, agreed: Contract, tested: Callable[[], pl.DataFrame]
) -> dict[str, Any] | None:
    """Attack answers to test rows; None where the contract says of no column who controls it."""
    columns = {column.name: column for column in agreed.features if column.controlled}
    if not columns:
        return None
    frame = tested()
    x = matrix_for(scorer, frame)
    rng = np.random.default_rng(project.config.training.seed)
    answers = scorer.predict(x)
    there = answers[_decision(scorer)]
    flagged = np.flatnonzero(there) if there.dtype == np.bool_ else np.arange(len(x))
    some = np.sort(rng.permutation(flagged)[:JUDGED])
    found: dict[str, Any] = {"columns": sorted(columns), "answers": len(some)}
    if not len(some):
        return found
    y = targets.values(frame, agreed.target)
    usual = _usual_error(scorer, y, answers)
    free = free_changes(scorer, x, some, columns, usual)
    small, noise = small_changes(scorer, x, some, columns, usual, rng)
    drawn_as: dict[str, Any] = {"draws": project.config.evaluation.bootstrap, "seed": 1}
    for key, turned in {"free": free, "small": small, "noise": noise}.items():
        found[key] = resampling.mean_interval(turned, **drawn_as)._asdict()
    return found | {"reach": SMALL, "limit": TURNED_LIMIT}


def _decision(scorer: Scorer) -> str:
    """Return the output that counts as the answer: the decision, or the score where none follows.

    Several numbers of a row are no answer that could be turned.
    """
    for role in ("decision", "score"):
        for output in scorer.outputs:
            if output.role == role and output.kind not in ("numbers", "list", "items"):
                return output.name
    return scorer.score


def _usual_error(scorer: Scorer, y: NDArray[Any], answers: dict[str, NDArray[Any]]) -> float:
    """Return the median error of an amount; an answer of another kind turns or does not: 0."""
    if answers[_decision(scorer)].dtype != np.float64:
        return 0.0
    return float(np.nanmedian(np.abs(y.astype(np.float64) - answers[scorer.score])))


def _turned(scorer: Scorer, before: NDArray[Any], x: Matrix, usual: float) -> Truths:
    """Say which answers differ from those before: of amounts, by more than the usual error."""
    after = scorer.predict(x)[_decision(scorer)]
    if usual:
        return np.asarray(np.abs(after - before) > usual)
    apart = np.asarray(after != before)
    return np.asarray(apart if apart.ndim == 1 else apart.any(axis=1))


def free_changes(
    scorer: Scorer, x: Matrix, some: NDArray[np.intp], columns: dict[str, Column], usual: float
) -> Truths:
    """Say of some rows whether one column alone, set to any value that others have, turns them.

    Values are quantiles of a number, all levels of a category, and none where it may be missing:
    all within the limits of the contract.
    """
    rows, before = x[some], scorer.predict(x[some])[_decision(scorer)]
    found = np.zeros(len(some), bool)
    for place, column in _places(scorer, columns):
        if place < len(scorer.spec.numeric):
            steps = np.linspace(0, 1, STEPS)
            values = np.unique(np.nanquantile(x[:, place], steps, method="nearest"))
            values = values if column.required else np.append(values, np.nan)
        else:
            width = len(scorer.spec.categorical[place - len(scorer.spec.numeric)].levels)
            closed = column.levels and column.levels_severity == "error"
            values = np.arange(width if closed else width + 1, dtype=np.float32)
        for value in values:
            changed = rows.copy()
            changed[:, place] = value
            found |= _turned(scorer, before, changed, usual)
    return found


def small_changes(
    scorer: Scorer,
    x: Matrix,
    some: NDArray[np.intp],
    columns: dict[str, Column],
    usual: float,
    rng: np.random.Generator,
) -> tuple[Truths, Truths]:
    """Say of some rows whether small moves of all numbers turn them: chosen moves, then chance.

    Each number is moved by SMALL standard deviations, whole ones by one at least, and stays within
    the limits of the contract; a yes or no has no small move. Chosen is the direction that lowers
    the score, or that of the level which is the likeliest; of an amount also the one that raises
    it.
    """
    rows, before = x[some], scorer.predict(x[some])[_decision(scorer)]
    leading = scorer.predict(rows)[scorer.score].reshape(len(rows), -1).argmax(axis=1)

    def score(moved: Matrix) -> Floats:
        said = scorer.predict(moved)[scorer.score].reshape(len(rows), -1)
        return np.asarray(said[np.arange(len(rows)), leading], np.float64)

    down, up, noise = rows.copy(), rows.copy(), rows.copy()
    for place, column in _places(scorer, columns):
        if place >= len(scorer.spec.numeric) or column.kind == "boolean":
            continue
        reach = SMALL * float(np.nanstd(x[:, place].astype(np.float64)))
        reach = max(1.0, round(reach)) if column.kind == "integer" else reach
        low = -np.inf if column.minimum is None else column.minimum
        high = np.inf if column.maximum is None else column.maximum
        moved = []
        for step in (-reach, reach):
            one = rows.copy()
            one[:, place] = np.clip(one[:, place] + step, low, high)
            moved.append(one)
        falls = score(moved[0]) <= score(moved[1])
        down[:, place] = np.where(falls, moved[0][:, place], moved[1][:, place])
        up[:, place] = np.where(falls, moved[1][:, place], moved[0][:, place])
        sign = rng.random(len(rows)) < 0.5
        noise[:, place] = np.where(sign, moved[0][:, place], moved[1][:, place])
    chosen = _turned(scorer, before, down, usual)
    if usual:
        chosen |= _turned(scorer, before, up, usual)
    return chosen, _turned(scorer, before, noise, usual)


def _places(scorer: Scorer, columns: dict[str, Column]) -> list[tuple[int, Column]]:
    """Return the columns of the matrix that are a contract column as it is, with that."""
    numbers = [item.column if item.part == "value" else "" for item in scorer.spec.numeric]
    names = [*numbers, *(item.column for item in scorer.spec.categorical)]
    return [(place, columns[name]) for place, name in enumerate(names) if name in columns]


def warnings(report: dict[str, Any]) -> list[str]:
    """Say which limits are passed, by the lower end of the interval, and what helps."""
    found, known, turned = [], report["membership"], report["evasion"]
    if known["hits"]["low"] > known["limit"]:
        found.append(
            f"{percent(known['hits']['value'])} of the people or rows it learnt from are told "
            f"where {percent(FALSE)} of others are taken for some, the limit is "
            f"{percent(known['limit'])}: fewer leaves, more rows a leaf, a "
            "linear model or rounded answers tell less"
        )
    if turned and "small" in turned and turned["small"]["low"] > turned["limit"]:
        found.append(
            f"moves of {number(turned['reach'], 2)} standard deviations turn "
            f"{percent(turned['small']['value'])} of the answers, the limit is "
            f"{percent(turned['limit'])}: check these columns at their source, or do without them"
        )
    return found + poisoning.warnings(report["poisoning"])


def told(report: dict[str, Any], plan: Plan) -> str:
    """Say what each attack reached."""
    known = report["membership"]
    lines = [
        f"membership: likelihood ratio {_share(known['ratio_auc'])} (0.5 is chance), loss alone "
        f"{_share(known['loss_auc'])}; {percent(known['hits']['value'])} of the members found "
        f"where {percent(FALSE)} of other rows are taken for some",
    ]
    turned = report["evasion"]
    if turned is None:
        lines.append("evasion: not tried: no column of the contract has `controlled: true`")
    elif "small" not in turned:
        lines.append("evasion: not tried: no test row has an answer that is worth to evade")
    else:
        lines.append(
            f"evasion by {', '.join(turned['columns'])}: one free change turns "
            f"{percent(turned['free']['value'])} of {number(turned['answers'])} answers, small "
            f"moves {percent(turned['small']['value'])}, chance {percent(turned['noise']['value'])}"
        )
    lines.append(f"poisoning: {poisoning.told(report['poisoning'], plan)}")
    lines += [f"warning: {one}" for one in report["warnings"]]
    return "\n".join([*lines, f"{REPORT} holds the figures"])


def _share(found: dict[str, float]) -> str:
    low, high = number(found["low"], 3), number(found["high"], 3)
    return f"{number(found['value'], 3)} ({low} to {high})"
