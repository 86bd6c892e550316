"""Wrong labels among new ones: how many go unnoticed, and what they cost the next version.

Who writes labels writes the next model. Labels are made wrong on purpose, by chance or in one
direction, in windows of the size that `ml monitor` waits for, and its check of labels says whether
it sees that. What the same share costs in training is measured on rows with true labels.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import comparison, lies, metrics, performance, progress, resampling, task
from .formats import number, percent
from .model.fitting import Data
from .model.scorer import Manifest
from .settings import Monitoring, Plan
from .severity import MIN_TEST_ROWS

Floats = NDArray[np.float64]
SHARES = (0.02, 0.05, 0.1)  # of the labels that are wrong
WINDOWS, DRAWS = 40, 100  # windows of each kind and share, and resamples of each
NOTICED = 0.5  # of the windows in which the largest share is swapped, at least
HOW: dict[str, Callable[[NDArray[Any], int, np.random.Generator], NDArray[Any]]] = {
    "swapped": lies.swapped,
    "hidden": lies.hidden,
}


def noticed(
    y: NDArray[Any], p: Floats, manifest: Manifest, settings: Monitoring, seed: int
) -> dict[str, Any] | None:
    """Return the share of windows in which `ml monitor` warns, without lies and with each.

    `y` are true labels of the test set, shape (rows,), `p` its scores. None where it is too small.
    """
    if len(y) < MIN_TEST_ROWS or y.min() == y.max():
        return None
    primary, cut = manifest.primary_metric, task.level(manifest.decision)
    tested = resampling.bootstrap(y, p, cut, [primary], draws=2 * DRAWS, seed=0)[primary]
    known = {"rows": len(y), **performance.known(p, y)}
    size, rng = settings.min_rows, np.random.default_rng(seed)

    def seen(how: str, share: float) -> float:
        found = 0
        for _ in range(WINDOWS):
            rows = rng.integers(0, len(y), size)
            told = HOW[how](y[rows], round(share * size), rng) if how else y[rows]
            window = p[rows], told.astype(np.float64), known, manifest, tested, settings
            found += comparison.compare(*window, draws=DRAWS)["level"] in ("warn", "act")
        return found / WINDOWS

    progress.tell("wrong labels in windows of new rows")
    told = {how: [seen(how, share) for share in SHARES] for how in HOW}
    return {"rows": size, "windows": WINDOWS, "clean": seen("", 0.0), **told}


def costs(
    data: Data, fit: Callable[[Data], Floats], manifest: Manifest, seed: int
) -> dict[str, Any]:
    """Return the primary metric of a model of half the rows, without lies and with each.

    `fit` predicts all rows by a model of some; the other half, with true labels, measures. One fit
    for each.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(data.y))
    learnt, rest = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    half, primary = data.rows(learnt), manifest.primary_metric
    cut = task.level(manifest.decision)

    def reached(y: NDArray[Any]) -> float | None:
        if task.lacks(y):
            return None
        p = fit(half._replace(y=y))[rest]
        return float(metrics.Rows(data.y[rest], p, cut).values([primary])[0])

    found: dict[str, Any] = {"metric": primary, "clean": reached(half.y)}
    for how, wrong in HOW.items():
        found[how] = []
        for share in SHARES:
            progress.tell("fitting to wrong labels")
            found[how].append(reached(wrong(half.y, round(share * len(half.y)), rng)))
    return found


def warnings(report: dict[str, Any] | None) -> list[str]:
    """Say where wrong labels go unnoticed, and what helps."""
    if report is None or report["noticed"]["swapped"][-1] >= NOTICED:
        return []
    found = report["noticed"]
    return [
        f"with {percent(SHARES[-1])} of the labels swapped, `ml monitor` warns in "
        f"{percent(found['swapped'][-1])} of the windows of {number(found['rows'])} rows: wait for "
        "more rows (`monitoring.min_rows`), limit what one source may bring, and look at the rows "
        "that `ml label export` doubts before training"
    ]


def told(report: dict[str, Any] | None, plan: Plan) -> str:
    """Say in one line how much of it is noticed, and what it costs."""
    if report is None:
        return "not tried: the test set is too small"
    found, cost = report["noticed"], report["costs"]
    shares = ", ".join(percent(share) for share in SHARES)
    seen = {how: ", ".join(percent(share) for share in found[how]) for how in HOW}
    lost = {how: ", ".join(_figure(value) for value in cost[how]) for how in HOW}
    return (
        f"where {shares} of {number(found['rows'])} labels are swapped, `ml monitor` notices "
        f"{seen['swapped']}, where as many of one kind are hidden, half of them at most, "
        f"{seen['hidden']}, without lies "
        f"{percent(found['clean'])}; learnt from, {plan.named(cost['metric'])} is "
        f"{lost['swapped']} and {lost['hidden']}, without lies {_figure(cost['clean'])}"
    )


def _figure(value: float | None) -> str:
    return "not defined" if value is None else number(value)
