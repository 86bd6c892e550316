"""Boosted trees, of several kinds and libraries, as plain data."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import progress
from .derived import Sees
from .fitting import Data, Fitted, Fold, Target
from .libraries import LIBRARIES, Booster, Job, require
from .plain import Forest, Link, Matrix, Nodes, looked_up

SMOOTHING = 20  # rows that the mean of all counts for in the mean of a level
INNER_FOLDS = 5

Tables = tuple[NDArray[np.float32], ...]
Goal = Callable[[Target], Target]  # from targets to what trees are fitted to


class Kind(NamedTuple):
    """What trees minimise and what they see.

    `target` learns from training rows what the trees are fitted to, and the link back. With
    `statistics` trees see the mean target of a level in place of its code (Micci-Barreca 2001),
    of training rows from other ones. With `smearing` the prediction of a logarithm becomes one of
    the mean (Duan 1983).
    """

    objective: dict[str, Any]
    target: Callable[[Target], tuple[Goal, Link]]
    statistics: bool = False
    smearing: bool = False
    library: str = "lightgbm"

    def require(self) -> None:
        """ProjectError when its library is not there; else import it."""
        require(self.library)

    def fit(self, data: Data, seed: int, params: dict[str, Any]) -> Fitted:
        """Fit rows to the rounds that `params` name."""
        return fit(self, data, seed, params)

    def cross_validate(
        self,
        data: Data,
        folds: list[Fold],
        seed: int,
        params: dict[str, Any],
        most: int,
        name: str,
    ) -> tuple[dict[str, Any], list[NDArray[np.float64]]]:
        """Return settings with the best rounds, and each fold's predictions."""
        return cross_validate(self, data, folds, seed, params, most, name)

    def without(
        self,
        data: Data,
        fold: Fold,
        inner: list[Fold],
        seed: int,
        params: dict[str, Any],
        most: int,
    ) -> NDArray[np.float64]:
        """Predict the rows of a fold by a model of which they decided nothing."""
        return without(self, data, fold, inner, seed, params, most)


class _Boosted(NamedTuple):
    booster: Booster
    link: Link
    tables: Tables
    workers: Callable[[Matrix], int]

    def sums(self, x: Matrix, rounds: int | None = None) -> NDArray[np.float64]:
        """Return what the first `rounds` trees add up to, of shape (rows,) or (rows, outputs)."""
        return self.booster.sums(_with_tables(x, self.tables), rounds, self.workers(x))


def itself(link: Link) -> Callable[[Target], tuple[Goal, Link]]:
    """Return a goal that is the target as it is: `link` makes an answer of what trees add up to."""
    return lambda y: (lambda values: values, link)


def standardised(y: Target) -> tuple[Goal, Link]:
    """Deviations from the mean: single precision, in which trees are added up, is enough then."""
    mean, spread = float(y.mean()), float(y.std()) or 1.0
    return lambda values: (values - mean) / spread, Link("identity", spread, mean)


def extras(
    target: Callable[[Target], tuple[Goal, Link]], catboost: str, xgboost: str, start: float = 0.0
) -> dict[str, Kind]:
    """Return the kinds of the libraries that are extras, by what each minimises.

    Their trees see the mean target of a level: so they convert, and lose nothing (decision 0021).
    XGBoost takes `start` for the score that is 0 before its link.
    """
    started = {"objective": xgboost, "base_score": start}
    return {
        "catboost": Kind({"loss_function": catboost}, target, True, library="catboost"),
        "xgboost": Kind(started, target, True, library="xgboost"),
    }


def fit(kind: Kind, data: Data, seed: int, params: dict[str, Any]) -> Fitted:
    """Average `members` boosters that differ in their seed, each of `rounds` trees."""
    settings = dict(params)
    members, rounds = settings.pop("members", 1), settings.pop("rounds")
    smearing = settings.pop("smearing", 1.0)
    found = []
    for member in range(members):
        name = f"member {member + 1} of {members}, round" if members > 1 else "round"
        found.append(_boost(kind, data, seed + member, rounds, settings, name))
    link = found[0].link._replace(offset=found[0].link.offset + float(np.log(smearing)))

    def predict(x: Matrix) -> NDArray[np.float64]:
        return link.apply(np.mean([one.sums(x) for one in found], axis=0))

    def planted() -> Forest:
        nodes, trees = Nodes(len(data.levels) or 1), 0
        for one in found:
            trees = one.booster.plant(nodes, trees, 1 / members)
        return nodes.forest(link, found[0].tables)

    return Fitted(planted, predict)


def cross_validate(
    kind: Kind,
    data: Data,
    folds: list[Fold],
    seed: int,
    params: dict[str, Any],
    max_rounds: int,
    name: str = "lightgbm",
) -> tuple[dict[str, Any], list[NDArray[np.float64]]]:
    """Return settings with the rounds of the least mean loss, and each fold's predictions.

    What a fold predicts has the rounds that the other folds would choose: no row's own loss decides
    when the model stops that it is scored by. A single fold has no others.
    """
    settings = {**LIBRARIES[kind.library].sized(len(data.y)), **params}
    views: list[Sees | None] = []
    ways: list[tuple[Link, Tables]] = []

    def jobs() -> Iterator[Job]:
        for train, valid in folds:
            rows, sees = data.rows(train).learnt("trees")
            others = data.rows(valid).seen(sees)
            job, link, tables = _job(kind, rows, others, seed, max_rounds, settings)
            views.append(sees)
            ways.append((link, tables))
            yield job

    progress.tell(f"cross-validating {name} on {len(folds)} folds")
    boosters = LIBRARIES[kind.library].together(jobs())
    pairs = zip(boosters, ways, strict=True)
    found = [_Boosted(booster, *way, data.workers) for booster, way in pairs]
    curves = [one.booster.curve for one in found]
    rounds, asked = _rounds(curves, [valid for _, valid in folds])
    predictions = [
        one.link.apply(one.sums(data.rows(valid).seen(sees).x, most))
        for one, sees, (_, valid), most in zip(found, views, folds, asked, strict=True)
    ]
    settings |= {"rounds": rounds}
    if not kind.smearing:
        return settings, predictions
    shifts = [one.link.shift for one in found]
    ratios = [
        (data.y[valid] + shift) / (predicted + shift)
        for (_, valid), predicted, shift in zip(folds, predictions, shifts, strict=True)
    ]
    factor = max(float(np.concatenate(ratios).mean()), 1e-3)
    moved = zip(predictions, shifts, strict=True)
    return (
        settings | {"smearing": factor},
        [(values + shift) * factor - shift for values, shift in moved],
    )


def _rounds(curves: list[list[float]], tested: list[NDArray[np.intp]]) -> tuple[int, list[int]]:
    """Return the rounds of the least mean loss of all folds, and for each that of the others.

    Others are those that test none of its rows: of repeated folds, the ones of the same repeat.
    """
    length = max(map(len, curves))
    # A fold that stopped before others only grew worse: its last value stands for the rest.
    padded = np.array([np.pad(one, (0, length - len(one)), mode="edge") for one in curves])
    sizes = np.array([len(places) for places in tested], dtype=np.float64)
    rows = np.unique(np.concatenate(tested))
    told = np.array([np.isin(rows, places) for places in tested], dtype=np.float32)
    others = (told @ told.T == 0) * sizes
    others[others.sum(axis=1) == 0] = sizes
    least = (np.vstack([sizes, others]) @ padded).argmin(axis=1) + 1
    return int(least[0]), least[1:].tolist()


def _boost(
    kind: Kind, data: Data, seed: int, rounds: int, params: dict[str, Any], name: str
) -> _Boosted:
    job, link, tables = _job(kind, data, None, seed, rounds, params, name)
    return _Boosted(LIBRARIES[kind.library](job), link, tables, data.workers)


def _job(
    kind: Kind,
    data: Data,
    valid: Data | None,
    seed: int,
    rounds: int,
    params: dict[str, Any],
    name: str = "round",
) -> tuple[Job, Link, Tables]:
    goal, link = kind.target(data.y)
    y, x = goal(data.y), data.x
    tables: Tables = ()
    if kind.statistics:
        x, tables = _with_statistics(data, y, seed)
    job = Job(
        x,
        y,
        valid and (_with_tables(valid.x, tables), goal(valid.y)),
        codes=[] if kind.statistics else list(range(len(data.spec.numeric), x.shape[1])),
        levels=len(data.levels),
        rounds=rounds,
        seed=seed,
        workers=data.workers(x),
        settings={**kind.objective, **params},
        told=lambda done: progress.detail(name, done, None if valid else rounds),  # or ended early
    )
    return job, link, tables


def _with_statistics(data: Data, y: Target, seed: int) -> tuple[Matrix, Tables]:
    """Return training rows with the mean target of each level of other rows, and that of all.

    Of several classes, with the share of each.
    """
    width, rows, outputs = len(data.spec.numeric), len(y), len(data.levels) or 1
    goals = np.eye(outputs)[y] if data.levels else y[:, None].astype(np.float64)
    columns, tables = [data.x[:, :width]], []
    fold = np.random.default_rng(seed).integers(0, INNER_FOLDS, rows)
    mean = goals.mean(axis=0)
    for index, feature in enumerate(data.spec.categorical, width):
        code, size = data.x[:, index].astype(np.intp), len(feature.levels) + 1
        place, cells = code * INNER_FOLDS + fold, size * INNER_FOLDS
        n = np.bincount(place, minlength=cells).reshape(size, INNER_FOLDS, 1)
        sums = np.stack([np.bincount(place, goal, cells) for goal in goals.T], axis=1)
        sums = sums.reshape(size, INNER_FOLDS, outputs)
        all_n, total = n.sum(axis=1, keepdims=True), sums.sum(axis=1, keepdims=True)
        others = (total - sums + SMOOTHING * mean) / (all_n - n + SMOOTHING)
        columns.append(others.reshape(cells, outputs)[place].astype(np.float32))
        whole = ((total + SMOOTHING * mean) / (all_n + SMOOTHING))[:, 0].astype(np.float32)
        tables.append(whole if data.levels else whole[:, 0])
    return np.hstack(columns), tuple(tables)


def _with_tables(x: Matrix, tables: Tables) -> Matrix:
    if not tables:
        return x
    width = x.shape[1] - len(tables)
    seen = [looked_up(table, x[:, index]) for index, table in enumerate(tables, width)]
    return np.hstack([x[:, :width], *(part.reshape(len(x), -1) for part in seen)])


def without(
    kind: Kind,
    data: Data,
    fold: Fold,
    inner: list[Fold],
    seed: int,
    params: dict[str, Any],
    max_rounds: int,
) -> NDArray[np.float64]:
    """Predict the rows of a fold by a model of which they decided nothing, not even its rounds.

    `inner` are folds of the rows that the model is fitted to.
    """
    train, valid = fold
    found, _ = cross_validate(kind, data, inner, seed, params, max_rounds, "nested")
    rows, sees = data.rows(train).learnt("trees")
    return fit(kind, rows, seed, found).of_columns(sees).predict(data.x[valid])
