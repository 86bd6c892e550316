"""From probabilities to a class, and to whether a person has to look at it."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .engine.data.contract import Column
from .engine.errors import ProjectError
from .engine.facts import Facts
from .engine.model.fitting import Data, drawn, known
from .engine.model.head import CLIP, Head
from .engine.model.plain import softmax
from .engine.settings import Project

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
PARTS = 5  # of the rows out of fold, on which methods of calibration are compared
CALIBRATION_ROWS = 50_000  # are enough to learn one
PENALTY = 1.0  # of the squared distance of a matrix from what one temperature would do


class Costs(NamedTuple):
    """What decisions cost, in the project's currency.

    `matrix` (classes, classes) holds the cost of deciding for a column where the row is true;
    `review` is what a person costs who looks, with the errors that people make, by actual class.
    """

    matrix: Floats
    review: Floats


def costs(project: Project, levels: tuple[str, ...]) -> Costs:
    """Return the costs that the plan answers, in the order of the contract's classes."""
    facts, size = project.facts, len(levels)
    named = {name.strip() for name in facts.classes.split(",")}
    if named != set(levels):
        other = ", ".join(sorted(named ^ set(levels)))
        raise ProjectError(
            f"costs: contract and plan name other classes ({other}): correct validValues of the "
            f'contract, or run `ml update --data classes="{", ".join(levels)}"`'
        )
    matrix = np.full((size, size), facts.cost_wrong) - facts.cost_wrong * np.eye(size)
    for actual, decided, cost in cost_pairs(facts, levels):
        matrix[levels.index(actual), levels.index(decided)] = cost
    wrong = matrix.sum(axis=1) / (size - 1)  # of each class, taken for any other alike
    return Costs(matrix, facts.cost_review + (1 - facts.review_accuracy) * wrong)


def cost_pairs(facts: Facts, levels: tuple[str, ...]) -> list[tuple[str, str, float]]:
    """Read "actual > decided = cost; ..."; ProjectError for what is no pair of classes."""
    found = []
    for text in filter(str.strip, facts.cost_pairs.split(";")):
        pair, _, cost = text.rpartition("=")
        actual, _, decided = (part.strip() for part in pair.partition(">"))
        try:
            amount = float(cost)
        except ValueError:
            amount = float("nan")
        if not {actual, decided} <= set(levels) or actual == decided or not 0 <= amount < np.inf:
            raise ProjectError(
                f"cost_pairs: {text.strip()!r} is no error of one class taken for another and its "
                f"cost, such as `{levels[0]} > {levels[1]} = 50`: change the answer with "
                "`ml update --data`"
            )
        found.append((actual, decided, amount))
    return found


def decide(project: Project, data: Data, oof: Floats) -> tuple[Head, dict[str, Any]]:
    """Choose calibration and the level of review from probabilities out of fold.

    `oof` has shape (rows, classes), with NaN where no fold tested a row. Also return what
    reports/training.json says of it.
    """
    facts, there = project.facts, known(oof)
    y, p = data.y[there], oof[there]
    head, losses = calibrate(facts.calibration, y, p, project.config.training.seed)
    found = costs(project, data.levels)
    expected = (head.apply(p) @ found.matrix).min(axis=1)
    shares = np.bincount(data.y, minlength=len(data.levels)) / len(data.y)
    by_costs = float(shares @ found.review)
    level = review_level(facts, expected, by_costs, float(found.matrix.max()))
    told = {
        "classes": list(data.levels),
        "calibration": {"method": head.method, "losses": losses, **_temperature(head)},
        "decisions": {
            "review_level": level,
            "reviewed_share": float((expected > level).mean()),
            "reviewed_share_by_costs": float((expected > by_costs).mean()),
            "cost": float(expected.mean()),
        },
    }
    return head._replace(levels=data.levels, costs=found.matrix, review_level=level), told


def _temperature(head: Head) -> dict[str, float]:
    return {"temperature": 1 / float(head.weight[0, 0])} if head.method == "temperature" else {}


def check(project: Project, target: Column) -> None:
    """ProjectError now, before anything is trained, for what `decide` would refuse."""
    costs(project, target.levels)


def needed_gain(project: Project, other: float) -> float:
    """Return by how much the metric must be better than `other`, that of the best baseline."""
    return project.facts.min_gain


def review_level(facts: Facts, expected: Floats, by_costs: float, most: float) -> float:
    """Return the expected cost above which a person looks at a decision (Chow 1970).

    By costs: that of a review, `by_costs`. Within capacity: not more than `review_share` of the
    rows, whose expected costs out of fold are `expected` (rows,). No decision costs more than
    `most`.
    """
    if facts.acceptance == "accept_all" or not facts.review_share:
        return most
    if facts.acceptance == "review_by_costs":
        return by_costs
    if facts.acceptance != "review_by_costs_within_capacity":
        raise ProjectError(f"EVAL-05: unknown policy {facts.acceptance}")
    place = int(np.ceil((1 - facts.review_share) * len(expected))) - 1
    return max(by_costs, float(np.sort(expected)[max(0, place)]))


def calibrate(method: str, y: Codes, p: Floats, seed: int = 0) -> tuple[Head, dict[str, float]]:
    """Learn the calibration by decision EVAL-07; also return log losses on rows not learnt from.

    Of "best_of_two" the temperature, unless a matrix is better by more than one standard error.
    """
    if method == "none":
        return Head(), {}
    rows = drawn(np.arange(len(y)), CALIBRATION_ROWS, seed)
    y, p = y[rows], p[rows]
    fits = {"none": lambda y, p: Head(), "temperature": temperature, "matrix": matrix}
    if method == "temperature":
        del fits["matrix"]
    elif method != "best_of_two":
        raise ProjectError(f"EVAL-07: unknown method of calibration {method}")
    part = np.random.default_rng(seed).permutation(len(y)) % PARTS
    losses = {name: np.empty(len(y)) for name in fits}
    for name, fit in fits.items():
        for number in range(PARTS):
            rest = part == number
            losses[name][rest] = _losses(y[rest], fit(y[~rest], p[~rest]).apply(p[rest]))
    chosen = "temperature"
    if method == "best_of_two":
        gain = losses["temperature"] - losses["matrix"]
        if gain.mean() > gain.std() / len(gain) ** 0.5:
            chosen = "matrix"
    return fits[chosen](y, p), {name: float(each.mean()) for name, each in losses.items()}


def temperature(y: Codes, p: Floats) -> Head:
    """Return the one factor of log p that makes the log loss least (Guo et al. 2017)."""
    from scipy.optimize import minimize_scalar

    logs = np.log(np.clip(p, CLIP, 1.0))

    def loss(power: float) -> float:
        return float(_losses(y, softmax(logs * np.exp(power))).mean())

    found = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded")
    return Head("temperature", np.exp([[found.x]]))


def matrix(y: Codes, p: Floats) -> Head:
    """Return the matrix and the bias of log p that make the log loss least.

    Dirichlet calibration (Kull et al. 2019), held near to what one temperature does by a penalty.
    """
    from scipy.optimize import minimize

    logs, size = np.log(np.clip(p, CLIP, 1.0)), p.shape[1]
    start = np.vstack([np.eye(size) * temperature(y, p).weight, np.zeros((1, size))])
    with_bias = np.column_stack([logs, np.ones(len(y))])
    came = np.eye(size)[y]

    def loss(flat: Floats) -> tuple[float, Floats]:
        weight = flat.reshape(start.shape)
        away = weight - start
        q = softmax(with_bias @ weight)
        total = _losses(y, q).sum() + PENALTY / 2 * (away**2).sum()
        slope = with_bias.T @ (q - came) + PENALTY * away
        return float(total), slope.ravel()

    found = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B").x.reshape(start.shape)
    return Head("matrix", found[:-1], found[-1])


def _losses(y: Codes, p: Floats) -> Floats:
    """Return the log loss of each row, shape (rows,)."""
    return np.asarray(-np.log(np.maximum(p[np.arange(len(y)), y], np.finfo(np.float64).tiny)))
