"""What decisions save a year, held against what people would do without a model."""

from collections.abc import Mapping
from typing import Any

from .resampling import Interval


def saved(
    policies: Mapping[str, float], baseline: str, cost: Interval, yearly: float
) -> dict[str, Any]:
    """Return what the decisions cost and save, with the 95 % interval.

    `cost` is that of a row by the model's decisions, `policies` are those without a model, each by
    its cost of a row; `yearly` rows are decided a year. `over` holds the decisions against the
    cheapest policy in place of `baseline`.
    """
    best = min(policies, key=policies.__getitem__)
    now, cheapest = policies[baseline], policies[best]
    return {
        "cost_per_1000": float(cost.value * 1000),
        "cost_per_1000_baseline": now * 1000,
        "baseline_policy": baseline,
        "value_per_year": float((now - cost.value) * yearly),
        "value_low": float((now - cost.high) * yearly),
        "value_high": float((now - cost.low) * yearly),
        "over": {
            "policy": best,
            "value": float((cheapest - cost.value) * yearly),
            "low": float((cheapest - cost.high) * yearly),
            "high": float((cheapest - cost.low) * yearly),
        },
    }
