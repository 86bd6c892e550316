"""Learning that does not tell groups of people apart by their outcomes: reweighing.

A row counts P(group) P(class) / P(group, class): among the rows that are learnt from, group and
class are then independent (Kamiran & Calders 2012). As not every model takes weights, rows are
drawn so often instead; the rows that a fold tests stay as they are.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from . import metrics, privacy, progress, task
from .data.contract import Contract
from .errors import ProjectError
from .folds import Split
from .model.outcome import CrossValidated
from .settings import Project, refused

Places = NDArray[np.intp]
LEVELS = 20  # of the column, and of the target
FEWEST = 50  # rows of a group whose rates are told
TOLD = ("selection_rate", "recall", "false_positive_rate", "precision", "accuracy")


class Reweighed(NamedTuple):
    """Groups of the development rows and the folds before they were reweighed.

    `codes` has shape (rows,); it is None where nothing is asked for.
    """

    plain: Split
    parts: Split
    codes: Places | None = None
    names: tuple[str, ...] = ()
    column: str = ""
    rows: Places | None = None
    y: NDArray[Any] | None = None

    def every(self, rows: int) -> Places:
        """Return the places that the final model learns from, out of `rows`."""
        return np.arange(rows) if self.rows is None else self.rows

    def told(
        self,
        found: Mapping[str, CrossValidated],
        validate: Callable[..., CrossValidated],
        decide: Callable[[NDArray[np.float64]], tuple[Any, Any]],
        metric: str,
    ) -> dict[str, Any] | None:
        """Return the rates of each group by a model as it was, and reweighed; None without any.

        The model is the first of those in `found`, which were cross-validated reweighed. Both sides
        are out of fold, each with its own calibration and threshold.
        """
        if self.codes is None or self.y is None:
            return None
        name, after = next(iter(found.items()))
        progress.tell(f"{name} without reweighing, to compare")
        before = validate(name, parts=self.plain, params=after.params)
        y, report = self.y, dict[str, Any](column=self.column, model=name)
        for side, oof in (("before", before.oof), ("after", after.oof)):
            head, _ = decide(oof)
            known = ~np.isnan(oof.reshape(len(oof), -1)).any(axis=1)
            p, level = head.apply(oof[known]), task.level(head.decision)
            truth, codes = y[known], self.codes[known]
            groups = []
            for code, level_name in enumerate(self.names):
                here = codes == code
                if here.sum() < FEWEST or task.lacks(truth[here]):
                    continue
                names = [n for n in TOLD if n in metrics.shares(truth[here], p[here], level)]
                values = metrics.Rows(truth[here], p[here], level).values(names)
                rates = dict(zip(names, values, strict=True))
                groups.append({"level": level_name, "n": int(here.sum()), **rates})
            whole = metrics.score(metric, truth, p, level)
            report[side] = {"metric": whole, "groups": groups}
        return report


def of(
    project: Project, agreed: Contract, rows: pl.DataFrame, y: NDArray[Any], parts: Split
) -> Reweighed:
    """Return the folds whose models learn from reweighed rows, where config.yaml asks for it.

    ProjectError for a column or a target that has no groups, and for what no model here reads.
    """
    settings = project.config.training
    if idle := [name for name in task.IDLE if getattr(settings, name)]:
        raise ProjectError(
            f"training.{idle[0]}: no model of this project reads it: remove it from "
            f"config.yaml, or unset ML_TRAINING__{idle[0].upper()}"
        )
    column = settings.reweigh
    if not column:
        return Reweighed(parts, parts)
    if column not in rows.columns:
        raise refused("training.reweigh", f"no column {column!r} in the contract")
    values = rows[column].cast(pl.String).fill_null("(missing)")
    names = values.unique().sort().to_list()
    if len(names) > LEVELS or y.dtype.kind not in "iub" or len(np.unique(y)) > LEVELS:
        raise ProjectError(
            f"training.reweigh: {column} and the target need at most {LEVELS} levels each, as "
            "groups and classes have"
        )
    codes = values.cast(pl.Enum(names)).to_physical().to_numpy().astype(np.intp)
    if column in privacy.hidden_names(agreed.columns):
        names = [f"{privacy.HIDDEN} {place}" for place in range(1, len(names) + 1)]
    seed = settings.seed
    folds = [(drawn(codes, y, train, seed), valid) for train, valid in parts.folds]
    every = drawn(codes, y, np.arange(len(y)), seed)
    return Reweighed(parts, parts._replace(folds=folds), codes, tuple(names), column, every, y)


def drawn(codes: Places, y: NDArray[Any], places: Places, seed: int) -> Places:
    """Return places, in their order, as often as their group and class have weight."""
    classes = np.unique(y[places], return_inverse=True)[1]
    table = np.zeros((int(codes.max()) + 1, int(classes.max()) + 1))
    np.add.at(table, (codes[places], classes), 1)
    wanted = np.outer(table.sum(axis=1), table.sum(axis=0)) / len(places)
    weights = np.divide(wanted, table, out=np.zeros_like(table), where=table > 0)
    each = weights[codes[places], classes]
    rng = np.random.default_rng(seed)
    times = np.floor(each + rng.random(len(each))).astype(np.intp)
    found: Places = np.repeat(places, times)
    return found
