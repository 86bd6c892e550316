"""What `ml tune` searches, and what chooses the next trial."""

from typing import Any

# From least to most, and the steps of a grid.
SPACE: dict[str, tuple[float, float, tuple[float, ...]]] = {
    "num_leaves": (7, 127, (7, 15, 31, 63, 127)),
    "min_data_in_leaf": (3, 100, (3, 10, 30, 100)),
    "feature_fraction": (0.2, 1.0, (0.3, 0.6, 1.0)),
}


def suggested(trial: Any) -> dict[str, float]:
    """Return settings from SPACE: whole numbers by orders of magnitude, shares evenly."""
    return {
        name: trial.suggest_float(name, low, high)
        if name == "feature_fraction"
        else trial.suggest_int(name, int(low), int(high), log=True)
        for name, (low, high, _) in SPACE.items()
    }


def sampler(method: str, seed: int) -> Any:
    """Return what chooses the next trial, as decision TRAIN-03 says.

    tpe: by what earlier ones gave (Bergstra et al. 2011); random: at random (Bergstra and Bengio
    2012); grid: every combination of the steps, in an order drawn at random.
    """
    from optuna import samplers

    if method == "random":
        return samplers.RandomSampler(seed)
    if method == "grid":
        return samplers.GridSampler(
            {name: list(steps) for name, (*_, steps) in SPACE.items()}, seed
        )
    return samplers.TPESampler(seed=seed, multivariate=True)
