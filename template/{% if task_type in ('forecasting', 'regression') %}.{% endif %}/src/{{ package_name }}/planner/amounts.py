"""What a predicted number holds against its plan: size of the target, errors, bias, coverage."""

from collections.abc import Iterator
from functools import cached_property

from ..engine.formats import number, percent
from .blocks import escape
from .compared import (
    CHANCE,
    MISSING,
    SLACK,
    Compared,
    Contradiction,
    Report,
    Row,
    interval,
)

SHARES = ("r2", "mape", "wape", "coverage")  # metrics without a unit
COVERAGE_SLACK = 0.02  # what an interval may hold less than planned, beyond chance


class Amounts(Compared):
    """The plan and its reports where the target is a number, read once."""

    def is_loss(self, metric: str) -> bool:
        """Whether a lower value of the metric is better."""
        return metric != "r2"

    def shown_gain(self, least: float) -> str:
        """Write the smallest useful gain."""
        return f"{percent(least)} less error"

    @cached_property
    def _unit(self) -> str:
        return f" {escape(self.answers['target_unit'])}"

    def unit(self, metric: str) -> str:
        """Return the unit of a metric with a space before it; "" where it has none."""
        return "" if metric in SHARES else self._unit

    def gained(self, gain: Report) -> str:
        """Write the measured gain as a share of the baseline's error, as it was asked for."""
        used, against = (
            self.metrics.get("primary_metric"),
            self.metrics.get("gate", {}).get("against"),
        )
        error = self.metrics.get("baselines", {}).get(against, {}).get(used)
        if not error or gain["value"] is None:
            return interval(gain, 4)
        share = {name: value if value is None else value / error for name, value in gain.items()}
        return f"{interval(share, share=True)} less error"

    @cached_property
    def size(self) -> float | None:
        """The mean of the target over the rows learnt from and tested on; None without any."""
        split = self.training.get("split", {})
        parts = [
            (float(split[f"{part}_mean"]), int(split[f"{part}_rows"]))
            for part in ("development", "test")
            if f"{part}_mean" in split
        ]
        rows = sum(count for _, count in parts)
        return sum(mean * count for mean, count in parts) / rows if rows else None

    def _measured(self, name: str) -> Report:
        found: Report | None = self.metrics.get("champion", {}).get("metrics", {}).get(name)
        return found or {}

    def _facts(self) -> Report:
        return {}

    def _of_the_target(self) -> Iterator[Contradiction]:
        planned, found = self.answers["target_mean"], self.size
        if found is not None and abs(found - planned) > (SLACK - 1) * abs(planned):
            message = f"a mean of {number(planned)}{self._unit} is planned, the rows have "
            message = f"{message}{number(found)}{self._way(found)}"
            yield Contradiction("ev.size", "DATA-02", message)

    def _way(self, found: float) -> str:
        """Say which answers mend a plan of another size of the target, "" where no run tells.

        Limit, figures of today and worth follow from today's error: one value for all rows errs by
        what the best plain rule does, and today's process hardly more.
        """
        plain = [
            float(m["mae"]) for m in self.metrics.get("baselines", {}).values() if m.get("mae")
        ]
        if not plain or abs(found) < 2 * abs(self.answers["target_mean"]) * SLACK:
            return ""
        error, usual = (float(f"{one:.4g}") for one in (min(plain), found))
        return (
            ": errors, limit and worth of the plan are of another size too: say how far today's "
            f"estimates are off, such as `ml update --data today_error={error:.10g} --data "
            f"target_mean={usual:.10g}` (what the best plain rule errs), and what an error costs"
        )

    def _of_the_use(self) -> Iterator[Contradiction]:
        bias, limit = self._measured("bias"), self.answers["max_bias"]
        if bias and (bias["low"] > limit or bias["high"] < -limit):
            message = f"predictions at most {number(limit, 4)} too high or too low on average are "
            message += f"planned, measured are {interval(bias, 4)}{self._unit}"
            yield Contradiction("ev.bias", "OBJ-01", message)
        held, planned = self._measured("coverage"), self.answers["interval_coverage"]
        if held and not held["low"] - COVERAGE_SLACK <= planned <= held["high"] + COVERAGE_SLACK:
            message = f"intervals that hold {percent(planned)} of the outcomes are planned, "
            message += f"measured are {interval(held, share=True)}"
            yield Contradiction("ev.coverage", "EVAL-09", message)

    def _target_rows(self) -> Iterator[Row]:
        planned = self._from(number(self.answers["target_mean"]) + self._unit, "target_mean")
        found = MISSING if self.size is None else number(self.size) + self._unit
        yield self._row("DATA-02", "Mean value", planned, found, "ev.size")

    def _decision_rows(self) -> Iterator[Row]:
        held = interval(self._measured("coverage"), share=True)
        planned = self._from(percent(self.answers["interval_coverage"]), "interval_coverage")
        yield self._row("EVAL-09", "Outcomes in their interval", planned, held, "ev.coverage")
        bias, limit = self._measured("bias"), self.answers["max_bias"]
        planned = self._from(f"at most {number(limit, 4)}{self._unit} up or down", "max_bias")
        found = interval(bias, 4) + self._unit * bool(bias)
        says = CHANCE if bias and abs(bias["value"]) > limit else "agrees"
        yield self._row("OBJ-01", "Bias", planned, found, "ev.bias", says=says)
        used = self.metrics.get("champion", {}).get("quantile")
        asked = number(self.plan.number("EVAL-05", "order_quantile"), 3)
        planned = self._from(asked, "cost_under", "cost_over")
        found = MISSING if used is None else number(used, 3)
        yield self._row("EVAL-05", "Quantile to decide by", planned, found, says="as planned")

    def _load_rows(self) -> Iterator[Row]:
        yield from ()
