"""What code reads of the plan: typed, and noted, so that a result says what it was made with."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, get_type_hints

import msgspec

from .errors import ProjectError, told
from .task_facts import TaskFacts


class Facts(TaskFacts):
    """Decisions by their output and answers by their name, those of the task among them.

    `values` gives some by name. A decision is what the rule or the team's override says now.
    ProjectError where the plan lacks a fact or has another type for it.
    """

    # Decisions
    baselines: list[str]
    candidates: list[str]
    criteria: list[str] | None  # the light plan, of four pages, has none
    cv: str
    drift_test: str
    explain: str
    primary_metric: str
    retrain: str
    selection: str
    split: str
    tuning: str
    verdict: str
    # Answers
    currency: str
    deployment_modes: list[str]
    label_delay_days: int
    latency_ms: float
    metric_limit: float | None
    min_gain: float
    predictions_per_month: float
    task_type: str

    def __init__(self, values: Callable[[Iterable[str]], dict[str, Any]]) -> None:
        self._values = values
        self._noted: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name not in (kinds := _kinds()):
            raise AttributeError(name)
        value = self._values([name])[name]
        self._noted[name] = value
        try:
            return msgspec.convert(value, kinds[name])
        except msgspec.ValidationError as error:
            raise ProjectError(
                f"plan/plan.yaml: {name}: {told(error, kinds[name])}; run `ml update`"
            ) from None

    def note(self) -> dict[str, Any]:
        """Begin anew; return the facts, by name, that are read from here on, as they are read."""
        self._noted = {}
        return self._noted


@cache
def _kinds() -> dict[str, Any]:
    return get_type_hints(Facts)
