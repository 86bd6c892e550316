"""From a ranking to the list that is shown: how many items, and which are left out."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine import task
from .engine.data.contract import Column
from .engine.errors import ProjectError
from .engine.model.fitting import Data, known
from .engine.model.head import Head
from .engine.settings import Project

Floats = NDArray[np.float64]


def check(project: Project, target: Column) -> None:
    """ProjectError now, before anything is trained, for what the code cannot do."""
    facts = project.facts
    if (rule := facts.list_rule) != "first_of_ranking":
        raise ProjectError(f"EVAL-05: unknown rule for lists {rule}")
    if (feedback := facts.feedback) != "implicit":
        raise ProjectError(f"MOD-05: unknown feedback {feedback}")
    if facts.list_length > task.LENGTH:
        raise ProjectError(f"list_length is {facts.list_length}, at most {task.LENGTH} are ranked")


def needed_gain(project: Project, other: float) -> float:
    """Return by how much the metric must be better than `other`, that of the best baseline."""
    return project.facts.min_gain


def decide(project: Project, data: Data, oof: Floats) -> tuple[Head, dict[str, Any]]:
    """Return the step that shows lists, and what reports/training.json says of it.

    `oof` are rankings out of fold, NaN where no fold tested a row.
    """
    shown = project.facts.list_length
    tested = oof[known(oof)]
    return Head(shown), {
        "lists": {"shown": shown, "without_history": float((tested[:, -1] == 0).mean())}
    }
