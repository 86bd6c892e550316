"""From a position among the segments to what is told: which one, and whether it is near enough."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine import task
from .engine.data.contract import Column
from .engine.errors import ProjectError
from .engine.model.clusters import usual
from .engine.model.fitting import Data, known
from .engine.model.head import Head
from .engine.settings import Project

Floats = NDArray[np.float64]


def check(project: Project, target: Column) -> None:
    """ProjectError now, before anything is trained, for what the code cannot do."""
    rule = project.facts.count_rule
    if rule != "stable_silhouette":
        raise ProjectError(f"EVAL-05: unknown rule for the number of segments {rule}")
    if (scaling := project.facts.scaling) != "robust":
        raise ProjectError(f"MOD-05: unknown scaling {scaling}")


def needed_gain(project: Project, other: float) -> float:
    """Return by how much the metric must be better than `other`, that of the best baseline."""
    return project.facts.min_gain


def decide(project: Project, data: Data, oof: Floats) -> tuple[Head, dict[str, Any]]:
    """Learn from how far on rows are outside, by positions out of fold (rows, 4).

    Rows that no fold learnt from lie a little farther away than those that a radius is of. Also
    return what reports/training.json says of it. NaN stands where no fold tested a row.
    """
    reach = oof[known(oof), task.REACH]
    cut = usual(reach)
    return Head(cut), {"outside": {"share": float((reach > cut).mean()), "cut": cut}}
