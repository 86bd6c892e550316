"""What a forecast holds against its plan: what any number does, its steps and its scaled error."""

from collections.abc import Iterator

from ..engine.formats import number
from .amounts import Amounts
from .compared import AGAINST, MISSING, Row


class Evidence(Amounts):
    """The plan and its reports, read once."""

    def _target_rows(self) -> Iterator[Row]:
        yield from super()._target_rows()
        told = self.metrics.get("forecast")
        planned = self._from(f"{self.answers['forecast_horizon']} steps", "forecast_horizon")
        found = f"{told['horizon']} steps from {told['origins']} origins" if told else MISSING
        says = "as planned" if told else ""
        yield self._row("EVAL-09", "Steps ahead", planned, found, says=says)
        found = f"MASE {number(told['mase'], 3)}" if told and told["mase"] else MISSING
        before = told["mase_season_before"] if told else None
        planned = f"less than a season before, {number(before, 3)}" if before else MISSING
        says = "agrees" if before and told and told["mase"] < before else AGAINST if before else ""
        yield self._row("EVAL-01", "Scaled error", planned, found, says=says)
