"""What models predict of rows that they were not fitted to, how it is scored and compared."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import metrics, progress, storage, task
from ..folds import Rows, Split
from ..settings import Project
from . import graph, stacking
from .fitting import Data, Fitted, drawn
from .plain import Matrix

HOLDOUT_PARTS = 5
CURVE_SHARES = (0.1, 0.25, 0.5, 1.0)
CURVE_ROWS = 300_000  # of the learning curve's last point: larger fits take the time of a model
GAP_ROWS = 100_000  # training rows that are scored once more
Floats = NDArray[np.float64]


class CrossValidated(NamedTuple):
    """A candidate's predictions by fold, their mean by row (NaN where no fold tested it), costs."""

    predictions: list[Floats]
    oof: Floats
    scores: list[float]
    seconds: float
    params: dict[str, Any]

    def watched(self, final: graph.Predictor, x: Matrix, rows: Rows) -> Floats:
        """Return scores of some rows that later ones are held against.

        They are of models that were fitted to other rows, unless only the final model means by a
        score what it will mean in use.
        """
        if task.FOLDS_ALIKE:
            return final.head.apply(self.oof[rows])
        return final.predict(x[rows])


class Compared(NamedTuple):
    """All models by name; the shares of the blend, the members and the model of the stack."""

    found: dict[str, CrossValidated]
    shares: dict[str, float]
    members: list[str]
    second: stacking.Second | None

    def parts(self, name: str) -> list[str]:
        """Return the models that one is made of."""
        return {"blend": list(self.shares), "stack": self.members}.get(name, [name])

    def needed(self, names: Sequence[str]) -> list[str]:
        """Return what must be fitted for some models; members without a share are not."""
        parts = {part for name in names for part in self.parts(name)}
        return [name for name in self.found if name in parts]

    def settings(self, chosen: str) -> dict[str, dict[str, Any]]:
        """Return what each model is fitted with.

        Members of a chosen blend that are means of refits get one each, and deal the others: each
        goes where it takes most from the variance that seeds bring, the sum of share² / refits.
        """
        params = {name: one.params for name, one in self.found.items()}
        several = [name for name in self.shares if params[name].get("members", 1) > 1]
        if chosen != "blend" or len(several) < 2:
            return params
        refits = dict.fromkeys(several, 1)
        for _ in range((params[several[0]]["members"] - 1) * len(several)):
            gains = {name: self.shares[name] ** 2 / (n * (n + 1)) for name, n in refits.items()}
            refits[max(gains, key=gains.__getitem__)] += 1
        return params | {name: params[name] | {"members": n} for name, n in refits.items()}

    def predictor(self, name: str, fitted: Mapping[str, Fitted]) -> graph.Predictor:
        """Return a model, a blend or a stack of fitted ones."""
        parts = self.parts(name)
        shares = self.shares if name == "blend" else {}
        members = tuple(
            graph.Member(*fitted[part])._replace(share=shares.get(part, 1.0)) for part in parts
        )
        return graph.Predictor(members, second=self.second if name == "stack" else None)


class Behind(NamedTuple):
    """The mean difference of a candidate's score to the best one's, and its standard error."""

    mean: float
    se: float


def validated(
    project: Project,
    data: Data,
    parts: Split,
    predictions: list[Floats],
    seconds: float = 0.0,
    params: dict[str, Any] | None = None,
) -> CrossValidated:
    """Return predictions of each fold's rows with their mean by row and their scores."""
    total = np.zeros((len(data.y), *predictions[0].shape[1:]))
    times = np.zeros(len(data.y))
    for (_, valid), predicted in zip(parts.folds, predictions, strict=True):
        total[valid] += predicted
        times[valid] += 1
    times[times == 0] = np.nan
    oof = total / times.reshape(-1, *[1] * (total.ndim - 1))
    scores = scores_of(project, data, parts, predictions)
    return CrossValidated(predictions, oof, scores, seconds, params or {})


def scores_of(
    project: Project, data: Data, parts: Split, predictions: Sequence[Floats]
) -> list[float]:
    """Score each fold, or parts of a single one, so that a difference has a standard error.

    So are the rows of folds that tell together.
    """
    rows, values = [valid for _, valid in parts.folds], list(predictions)
    if parts.pooled:
        rows, values = [np.concatenate(rows)], [np.concatenate(values)]
    if len(rows) == 1:
        places = [slice(part, None, HOLDOUT_PARTS) for part in range(HOLDOUT_PARTS)]
        split = [(rows[0][part], values[0][part]) for part in places]
        scores = [score(project, data.y[part], found) for part, found in split if len(part)]
        if np.isfinite(scores).all():
            return scores
    pairs = zip(rows, values, strict=True)
    return [score(project, data.y[valid], found) for valid, found in pairs]


def score(project: Project, y: NDArray[Any], p: Floats) -> float:
    """Return the primary metric of the plan."""
    return metrics.score(project.facts.primary_metric, y, p)


def seen_score(project: Project, data: Data, predictor: graph.Predictor) -> float:
    """Score training rows, or GAP_ROWS of more."""
    data = data.rows(drawn(np.arange(len(data.y)), GAP_ROWS, project.config.training.seed))
    return score(project, data.y, predictor.predict(data.x, data.beyond))


def spread(result: CrossValidated, parts: Split) -> float:
    """Return the standard deviation of the mean score over repeats, or of the score over folds."""
    scores = np.array(result.scores)
    if parts.repeats > 1:
        scores = scores.reshape(parts.repeats, -1).mean(axis=1)
    return float(scores.std(ddof=1)) if len(scores) > 1 else 0.0


def paired_differences(
    found: dict[str, CrossValidated], candidates: Sequence[str], metric: str, repeats: int = 1
) -> dict[str, Behind]:
    """Return by how much each candidate's score is behind the best, in their order.

    Both are scored on the same folds, so that what makes a fold hard is in no difference. Without
    two folds the standard error is 0: nothing tells a difference from chance. Repeated folds share
    most training rows: their variance is corrected (Nadeau & Bengio 2003).
    """
    sign = metrics.sign(metric)
    scores = {n: sign * np.array(found[n].scores) for n in candidates if n in found}
    best = max(scores.values(), key=lambda values: float(values.mean()))
    result = {}
    for name, values in scores.items():
        gaps = best - values
        tested = 1 / (len(gaps) / repeats - 1) if repeats > 1 else 0.0  # to training rows
        se = float(gaps.std(ddof=1)) * (1 / len(gaps) + tested) ** 0.5 if len(gaps) > 1 else 0.0
        result[name] = Behind(float(gaps.mean()), se)
    return result


def choose(behind: dict[str, Behind], rule: str) -> str:
    """Return the candidate that decision MOD-04 prefers; `behind` is sorted from simple to complex.

    one_standard_error: the simplest that is behind the best by at most one standard error of the
    difference (Breiman et al. 1984, 3.4.3); best_score: the best; last_candidate: the most complex.
    """
    if rule == "last_candidate":
        return list(behind)[-1]
    slack = 1.0 if rule == "one_standard_error" else 0.0
    return next(name for name, gap in behind.items() if gap.mean <= slack * gap.se)


def is_nested(method: str) -> bool:
    """Whether a search of settings runs again without the rows of each fold."""
    return method.startswith("nested_")


def tuned_settings(project: Project, parts: Split) -> dict[str, dict[str, Any]]:
    """Return what `ml tune` has found, but for settings that were searched on other folds."""
    path = project.path("data/processed/tuned.json")
    if project.facts.tuning == "none" or not path.exists():
        return {}
    found = storage.read_json(path, dict[str, dict[str, Any]])
    known = {len(parts.folds)} | (set() if is_nested(project.facts.tuning) else {0})
    fit = {name: one for name, one in found.items() if len(one["nested"]) in known}
    if fit.keys() != found.keys():
        parts.notes.append("tuned settings are of other folds and left out: run `ml tune` again")
    return fit


def learning_curve(
    fit: Callable[[Data, dict[str, Any]], Fitted],
    project: Project,
    data: Data,
    parts: Split,
    name: str,
    params: dict[str, Any],
) -> list[dict[str, float]]:
    """Fit one kind of model on growing parts of CURVE_ROWS of the last fold's rows."""
    train, valid = parts.folds[-1]
    if "members" in params:
        params = params | {"members": 1}
    order = np.random.default_rng(project.config.training.seed).permutation(train)[:CURVE_ROWS]
    points: list[dict[str, float]] = []
    for share in CURVE_SHARES:
        progress.tell(f"learning curve of {name}", len(points) + 1, len(CURVE_SHARES))
        rows = order[: max(2, int(share * len(order)))]
        part = data.rows(rows)
        if part.y.min() == part.y.max():
            continue
        one = fit(part, params)
        points.append(
            {
                "rows": len(rows),
                "train": score(project, part.y, one.told(part)),
                "valid": score(project, data.y[valid], one.told(data.rows(valid))),
            }
        )
    return points
