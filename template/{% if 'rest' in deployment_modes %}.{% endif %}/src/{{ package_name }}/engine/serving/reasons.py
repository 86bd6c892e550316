"""Why a row gets its score: what each of its columns changes, against the usual value of it."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .. import privacy, task
from ..model.scorer import Scorer
from .refusal import Problem, Refused, refused
from .requests import Model, Rows

MOST_ROWS = 20  # of one request: each is scored once more for each column
USUAL_TOP = 4  # no more reasons than people can weigh (Regulation B, comment 9(b)(2)-1)
TOP = re.compile(rb"top=([1-9]\d?)")


class Reason(msgspec.Struct, frozen=True):
    """What the score would lose if the column had its usual value; below 0 it would gain."""

    column: str
    effect: float


class Why(msgspec.Struct, frozen=True, omit_defaults=True):
    """The score of a row, that of a row of usual values, and what makes the difference.

    `about` says which score it is where a row has several.
    """

    score: float
    usual: float
    reasons: list[Reason]
    about: dict[str, Any] = {}


class Explained(msgspec.Struct, frozen=True):
    """The reasons for the scores of some rows, in their order."""

    model_version: str
    score: str
    rows: list[Why]


def top_of(query: bytes) -> int:
    """Return how many reasons a query asks for; Refused when that is not 1 to 99."""
    if not query:
        return USUAL_TOP
    if not (found := TOP.fullmatch(query)):
        raise Refused(422, Problem(None, "top", "query", "send ?top=4, of 1 to 99, or nothing"))
    return int(found[1])


def explain(model: Model, rows: Rows, top: int) -> Explained:
    """Return the `top` columns that change the score of each row the most.

    Each column in turn gets its usual value, the median or the commonest level, while the others
    stay as they are (removal of single features: Covert, Lundberg and Lee 2021, section 4). The
    effects need not add up: where two columns say the same, each alone changes little. Columns that
    are marked personal keep their values: nothing is told of what is usual there.
    """
    scorer, usual = model.scorer, model.golden.usual
    if not usual:
        raise refused(409, "no usual values", "train again: this version was made without them")
    names, groups = _groups(scorer)
    reference = np.array([np.nan if n is None else n for n in usual], dtype=np.float32)
    found = []
    for row in scorer.encode_rows(rows):
        changed = np.tile(row, (len(groups) + 2, 1))
        for group in groups:
            changed[1, group] = reference[group]
        for place, group in enumerate(groups, 2):
            changed[place, group] = reference[group]
        scores = scorer.predict(changed)[scorer.score]
        told, number_of = task.contrast(scores[0], scorer.outputs)
        numbers = np.asarray(number_of(scores), dtype=np.float64).reshape(len(changed), -1)[:, 0]
        effects = numbers[0] - numbers[2:]
        order = np.argsort(-np.abs(effects), kind="stable")[:top]
        reasons = [Reason(names[n], _short(effects[n])) for n in order if effects[n]]
        found.append(Why(_short(numbers[0]), _short(numbers[1]), reasons, _about(told)))
    return Explained(scorer.version, scorer.score, found)


def _groups(scorer: Scorer) -> tuple[list[str], list[NDArray[np.intp]]]:
    """Return the columns of a request and the places of the features that are made of each.

    What looks back at the target without anybody having declared it (it is named after it) is one
    with the target, or with the column of the time where it tells only how long ago that was.
    """
    spec, groups, own = scorer.spec, dict[str, list[int]](), f"{scorer.manifest.target}."
    past = {each.name: each.column or each.on for each in spec.history if each.name.startswith(own)}
    left = {*spec.context, *spec.made_of(privacy.hidden_names(scorer.sent))}
    for place, name in enumerate(spec.names):
        if name not in left:
            groups.setdefault(past.get(name, spec.origin[name]), []).append(place)
    return list(groups), [np.array(places) for places in groups.values()]


def _about(told: dict[str, Any]) -> dict[str, Any]:
    """Return which score of several is told of: of several the first."""
    each: Sequence[dict[str, Any]] = told.get("each", ())
    return dict(each[0]) if each else dict(told)


def _short(number: float) -> float:
    return float(f"{number:.6g}")
