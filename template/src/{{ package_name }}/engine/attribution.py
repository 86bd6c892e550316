"""Whether explanations moved: what each feature does to answers now, beside the test set.

A feature's share in the answer of a row is how far the score falls when the feature takes values of
other rows of the test set, on the mean over DRAWS of them (a Shapley value of two players; Lundberg
& Lee 2017 tell the whole). Model and those values are the same on both sides, so that a share moves
only because rows do, each by as much as it matters. It tells where to look and raises no alarm.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from . import progress, task
from .data import validation
from .data.contract import Contract
from .errors import ProjectError
from .history import matrix_for
from .model.plain import Matrix
from .model.scorer import Scorer
from .settings import Project
from .severity import MIN_TEST_ROWS

ROWS, DRAWS = 400, 5
SURE, MOVED = 0.05, 1.5  # by chance over all features; and so many times as large, or as small
Floats = NDArray[np.float64]


def compared(
    project: Project, scorer: Scorer, agreed: Contract, frame: pl.DataFrame
) -> dict[str, Any] | None:
    """Return what features do to the answers of these rows and of the test set's.

    None where rows are too few, lack a column, or no test set of this contract is there.
    """
    path = project.path("data/processed/test.parquet")
    needed = {column.name for column in agreed.served} | scorer.spec.columns
    if not path.exists() or not needed <= {*frame.columns} or frame.height < MIN_TEST_ROWS:
        return None
    try:
        tested = validation.stored(project, "data/processed/test.parquet", "run `ml train`")
        validation.check_columns(tested, path.name, "", agreed)
    except ProjectError:
        return None  # of another contract: the run tells where it matters
    rng = np.random.default_rng(project.config.training.seed)
    before, after = (matrix_for(scorer, _some(rows, rng)) for rows in (tested, frame))
    if len(before) < MIN_TEST_ROWS:
        return None
    progress.tell("what features do to answers, then and now")

    def score(x: Matrix) -> Floats:
        return task.ordered(scorer.predict(x)[scorer.score])

    return moved(score, before, after, scorer.spec.names, rng)


def _some(rows: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    return rows[np.sort(rng.permutation(rows.height)[:ROWS])]


def moved(
    score: Callable[[Matrix], Floats],
    before: Matrix,
    after: Matrix,
    names: Sequence[str],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return each feature with its mean share (absolute) before and after, the moved ones first.

    The spread of shares of both sides is compared by the test of Kolmogorov and Smirnov, divided by
    the number of features (Bonferroni); `moved` asks for a mean that is another one, too.
    """
    from scipy.stats import ks_2samp

    drawn = before[rng.integers(0, len(before), DRAWS)]
    bases = [score(x) for x in (before, after)]
    found: list[dict[str, Any]] = []
    for place, name in enumerate(names):
        shares = []
        for x, base in zip((before, after), bases, strict=True):
            others = np.zeros(len(x))
            for value in drawn[:, place]:
                changed = x.copy()
                changed[:, place] = value
                others += score(changed)
            shares.append(base - others / DRAWS)
        one, other = (float(np.abs(each).mean()) for each in shares)
        p = float(ks_2samp(*shares, method="asymp").pvalue) * len(names)
        larger, smaller = max(one, other), min(one, other)
        found.append(
            {
                "feature": name,
                "before": one,
                "after": other,
                "p": min(1.0, p),
                "moved": p < SURE and larger > MOVED * smaller,
            }
        )
    found.sort(key=lambda item: (not item["moved"], -max(item["before"], item["after"])))
    return {"rows": len(after), "reference_rows": len(before), "features": found}
