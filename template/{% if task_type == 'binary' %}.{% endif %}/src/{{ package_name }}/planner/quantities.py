"""What a binary task holds against its plan: shares of positives, threshold, cases a day."""

from collections.abc import Iterator
from functools import cached_property

from ..engine.formats import number, percent
from ..engine.settings import Project
from .compared import (
    MISSING,
    SLACK,
    WRITE,
    Compared,
    Contradiction,
    Report,
    Row,
    differs,
    interval,
    report,
    wilson,
)


def threshold(project: Project) -> float | None:
    """Return the threshold in use: that of the version measured last, or the planned one."""
    used = report(project, "metrics").get("champion", {}).get("threshold")
    return used if used is not None else project.plan.computed["EVAL-05"]["p_star"].value


class Evidence(Compared):
    """The plan and its reports, read once."""

    WRITE = WRITE | {"pos_rate": lambda value: f"{percent(value)} positive"}
    LOSSES = ("log_loss", "brier", "ece")

    def flow(self) -> list[str]:
        """Return the diagram of the summary, with the threshold in use."""
        cut = threshold(self.project)
        known = "threshold" if cut is None else number(cut, 4)
        return [line.replace("p ≥ threshold?", f"p ≥ {known}?") for line in self.plan.flow]

    @cached_property
    def share(self) -> Report:
        """The measured share of positives with its interval; empty without a report."""
        split = self.training.get("split", {})
        parts = ("development", "test")
        rows = sum(split.get(f"{part}_rows", 0) for part in parts)
        return wilson(sum(split.get(f"{part}_positives", 0) for part in parts), rows)

    @cached_property
    def cases(self) -> Report:
        """The cases a day that the model flags, with their interval; empty without a report."""
        errors = self.metrics.get("confusion")
        if not errors:
            return {}
        found = wilson(errors["tp"], errors["tp"] + errors["fn"])
        false = wilson(errors["fp"], errors["fp"] + errors["tn"])
        # The test set may hold more positives than the plan counts with.
        rate, a_day = self.answers["pos_rate"], self.plan.number("EVAL-05", "predictions_per_day")
        return {
            name: a_day * (rate * found.get(name, 0.0) + (1 - rate) * false.get(name, 0.0))
            for name in found or false
        }

    @cached_property
    def learnt(self) -> Report:
        """The share of positives in the rows learnt from with its interval; empty without any."""
        split = self.training.get("split", {})
        rows, positives = (split.get(f"development_{name}", 0) for name in ("rows", "positives"))
        return wilson(positives, rows)

    @property
    def population(self) -> str:
        """Of which rows probabilities and threshold hold.

        At another share of positives the odds of each row change by the ratio of the shares' odds.
        Sources: Elkan 2001, IJCAI, theorem 2; Saerens et al. 2002, Neural Computation 14(1), 21-41.
        """
        rate, cut = self.answers["pos_rate"], self.plan.computed["EVAL-05"]["p_star"].value
        if not self.learnt:
            return "of rows such as those learnt from"
        said = "probabilities and threshold hold for rows with as many positives as those learnt "
        said += f"from, {percent(self.learnt['value'])}"
        if not self._elsewhere or cut is None or not 0 < self.learnt["value"] < 1:
            return said
        odds = (
            cut / (1 - cut) * self.learnt["value"] / (1 - self.learnt["value"]) * (1 - rate) / rate
        )
        there = number(odds / (1 + odds), 4)
        return f"{said}; with {percent(rate)}, as planned, acting pays from {there} on"

    @property
    def _elsewhere(self) -> bool:
        """Whether the planned use has another share of positives than the rows learnt from."""
        rate, found = self.answers["pos_rate"], self.learnt
        return bool(found) and differs(rate, found)

    def _facts(self) -> Report:
        return {"pos_rate": self.share.get("value")}

    def _of_the_target(self) -> Iterator[Contradiction]:
        rate, found = self.answers["pos_rate"], self.share
        if found and differs(rate, found):
            shown = interval(found, share=True)
            message = f"{percent(rate)} positives are planned, {shown} were measured"
            yield Contradiction("ev.prevalence", "DATA-02", message)
        if self._elsewhere:
            yield Contradiction("ev.population", "EVAL-05", self.population)
        split, needed = (
            self.training.get("split", {}),
            self.plan.number("DATA-02", "test_positives_needed"),
        )
        if (positives := split.get("test_positives")) is not None:
            counts = {"positives": positives, "negatives": split["test_rows"] - positives}
            rarer = min(counts, key=counts.__getitem__)
            if counts[rarer] < needed:
                message = f"{number(needed)} {rarer} are needed in the test set, it has "
                yield Contradiction("ev.positives", "DATA-02", message + number(counts[rarer]))

    def _of_the_use(self) -> Iterator[Contradiction]:
        capacity = self.answers["daily_capacity"]
        flagged = self.cases.get("value", 0.0)
        if capacity and flagged > SLACK * capacity:
            message = f"{number(flagged, 1)} cases a day are flagged, people can act on "
            yield Contradiction("ev.capacity", "EVAL-05", message + number(capacity))

    def _target_rows(self) -> Iterator[Row]:
        share = interval(self.share, share=True)
        rate = self._from(percent(self.answers["pos_rate"]), "pos_rate")
        yield self._row("DATA-02", "Positive share", rate, share, "ev.prevalence")

    def _decision_rows(self) -> Iterator[Row]:
        champion = self.metrics.get("champion", {})
        cut, used = self.plan.computed["EVAL-05"]["p_star"].value, champion.get("threshold")
        if cut is not None:
            by = " by capacity" if "capacity" in self.plan.value("threshold") else ""
            moved = used is not None and abs(used - cut) > 0.005
            says = f"moved{by}" if moved else "as planned"
            found = MISSING if used is None else number(used, 4)
            planned = self._from(number(cut, 4), "cost_fp", "cost_fn")
            yield self._row("EVAL-05", "Threshold", planned, found, says=says)

    def _load_rows(self) -> Iterator[Row]:
        capacity, found = self.answers["daily_capacity"], interval(self.cases, 1)
        limit = f"at most {number(capacity)}" if capacity else "no limit"
        limit = self._from(limit, "daily_capacity")
        yield self._row("EVAL-05", "Cases a day", limit, found, "ev.capacity")
