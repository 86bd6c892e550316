"""The primary metric on parts of the test set."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from . import privacy, progress, resampling, task
from .data.contract import Contract
from .settings import Project, refused

SLICE_LEVELS = 8


def run(
    project: Project,
    agreed: Contract,
    frame: pl.DataFrame,
    places: NDArray[np.intp],
    y: NDArray[Any],
    p: NDArray[np.float64],
    primary: str,
    at: Any,
) -> list[dict[str, Any]]:
    """Measure the primary metric on each level of the chosen columns, with its interval.

    `y` and `p` belong to the rows of `frame` at `places`; rows of `frame` are counted, each once.
    `at` is the level at which decisions are taken (see `task.level`).
    Personal columns are measured only when they are chosen by name; their levels are numbered.
    """
    settings, seed = project.config.evaluation, project.config.training.seed
    hidden = privacy.hidden_names(agreed.columns)
    results = []
    for name in chosen(project, agreed):
        values = frame[name].cast(pl.String).fill_null("(missing)").alias("level")
        progress.tell(f"slices of {name}")
        levels = values.value_counts(name="n").sort("level")
        if not settings.slices and len(levels) > SLICE_LEVELS:
            continue
        for place, (level, count) in enumerate(levels.iter_rows(), 1):
            rows = (values == level).to_numpy()[places]
            if count < settings.min_slice_rows or task.lacks(y[rows]):
                continue
            interval = resampling.bootstrap(
                y[rows],
                p[rows],
                at,
                [primary],
                draws=resampling.resamples(200, count),
                seed=seed,
            )[primary]
            results.append(
                {
                    "column": name,
                    "level": f"{privacy.HIDDEN} {place}" if name in hidden else level,
                    "n": count,
                    **task.summary(y[rows]),
                    "metric": interval.value,
                    "low": interval.low,
                    "high": interval.high,
                }
            )
    return results


def chosen(project: Project, agreed: Contract) -> tuple[str, ...]:
    """Return the columns to measure by: those of config.yaml, or categories and booleans.

    Of the latter only those with few levels are measured.
    """
    names = [column.name for column in agreed.columns]
    if unknown := sorted(set(project.config.evaluation.slices) - set(names)):
        raise refused(
            "evaluation.slices",
            f"the contract has no column {unknown[0]!r}, but {', '.join(names)}",
        )
    return project.config.evaluation.slices or tuple(
        column.name
        for column in agreed.features
        if column.kind in ("category", "boolean") and not privacy.hidden(column)
    )
