"""What anomaly detection holds against its plan: labels, share of anomalies, alerts."""

from collections.abc import Iterator
from functools import cached_property

from ..engine.formats import number, percent
from .compared import (
    AGAINST,
    MISSING,
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

STATES = {
    "none": "no row has a label",
    "few": "some rows have a label",
    "full": "every row has a label",
}


class Evidence(Compared):
    """The plan and its reports, read once."""

    WRITE = WRITE | {
        "anomaly_share": lambda value: f"{percent(value)} anomalies",
        "entities": lambda value: f"{number(value)} entities",
    }

    @cached_property
    def labels(self) -> Report:
        """What labels of the test set let one know; empty without a report."""
        found: Report = self.metrics.get("labels") or {}
        return found

    @cached_property
    def share(self) -> Report:
        """The share of anomalies with its interval; empty where not all rows are labelled.

        Labelled rows are those that somebody looked at: their share is not that of all rows.
        """
        if self.labels.get("state") != "full":
            return {}
        split = self.training.get("split", {})
        rows, anomalies = (
            sum(split.get(f"{part}_{name}", 0) for part in ("development", "test"))
            for name in ("labelled", "anomalies")
        )
        return wilson(anomalies, rows)

    @cached_property
    def alerts(self) -> Report:
        """The alerts a day with their interval; empty without a report."""
        found, rows = self.metrics.get("alerts"), self.training.get("split", {}).get("test_rows")
        if not found or not rows:
            return {}
        a_day = self.plan.number("EVAL-05", "predictions_per_day")
        return {name: a_day * share for name, share in wilson(found["rows"], rows).items()}

    def _measured(self, name: str) -> str:
        """Write a metric that needs labels, and of which rows it is."""
        found = self.metrics.get("champion", {}).get("metrics", {}).get(name) or {}
        quality = self.labels.get("quality", "unknown")
        if quality == "unknown" or found.get("value") is None:
            return MISSING
        told = "" if quality == "measured" else f" {quality}"
        return interval(found, share=True) + told

    @cached_property
    def entities(self) -> int | None:
        """How many entities the rows are of; None where nobody counted, or none is named."""
        profile, name = report(self.project, "profile"), self.answers["entity"]
        if not name or (profile.get("made_up") and not self.made_up):
            return None
        found: int | None = profile.get("columns", {}).get(name, {}).get("distinct")
        return found

    def _facts(self) -> Report:
        return {"anomaly_share": self.share.get("value"), "entities": self.entities}

    def _of_the_target(self) -> Iterator[Contradiction]:
        planned, state = self.answers["labels"], self.labels.get("state")
        if state is not None and state != planned:
            message = f"by the plan {STATES[planned]}, in the test set {STATES[state]}"
            yield Contradiction("ev.labels", "DATA-02", message)
        rate, found = self.answers["anomaly_share"], self.share
        if found and differs(rate, found):
            message = f"{percent(rate)} anomalies are planned, "
            message += f"{interval(found, share=True)} were measured"
            yield Contradiction("ev.share", "DATA-02", message)
        needed, known = (
            self.plan.number("DATA-02", "test_anomalies_needed"),
            self.labels.get("anomalies"),
        )
        if state == "full" and known is not None and known < needed:
            message = f"{number(needed)} anomalies are needed in the test set, it has "
            yield Contradiction("ev.anomalies", "DATA-02", message + number(known))

    def _of_the_use(self) -> Iterator[Contradiction]:
        budget, found = self.answers["alerts_per_day"], self.alerts
        if found and found["low"] > budget:
            message = f"{interval(found, 1)} alerts a day were measured, people can look at "
            yield Contradiction("ev.alerts", "EVAL-05", message + number(budget, 1))
        if self.labels.get("quality") == "of labelled rows":
            message = "how many alerts are true is known of labelled rows alone, which nobody drew "
            yield Contradiction("ev.chosen", "EVAL-05", f"{message}by chance")
        if self.labels.get("quality") == "unknown":
            judge = number(self.plan.number("EVAL-05", "alerts_to_judge"))
            message = f"how many alerts are true is unknown until people have judged {judge}"
            yield Contradiction("ev.unknown", "EVAL-05", f"{message} of them")

    def _target_rows(self) -> Iterator[Row]:
        found = STATES.get(self.labels.get("state", ""), MISSING)
        planned = self._from(STATES[self.answers["labels"]], "labels")
        yield self._row("DATA-02", "Labels", planned, found, "ev.labels")
        rate = self._from(percent(self.answers["anomaly_share"]), "anomaly_share")
        found = interval(self.share, share=True)
        yield self._row("DATA-02", "Share of anomalies", rate, found, "ev.share")
        if self.answers["entity"] and self.answers["entity_repeats"]:
            planned = self._from(number(self.answers["entities"]), "entities")
            near = self.entities is None or 0.5 <= self.entities / self.answers["entities"] <= 2
            found = MISSING if self.entities is None else number(self.entities)
            says = "agrees" if near else AGAINST
            yield self._row("DATA-02", "Entities", planned, found, says=says)

    def _decision_rows(self) -> Iterator[Row]:
        pays = percent(self.plan.number("VAL-02", "break_even_precision"))
        best = percent(self.plan.number("EVAL-05", "best_precision"))
        says = "agrees" if self.labels.get("quality") == "measured" else "says little"
        planned = self._from(f"{pays} to pay, at most {best}")
        found = self._measured("precision_at_budget")
        yield self._row("VAL-02", "True alerts", planned, found, says=says)
        most = percent(self.plan.number("EVAL-05", "best_recall"))
        found = self._measured("recall_at_budget")
        yield self._row(
            "EVAL-05", "Anomalies found", self._from(f"at most {most}"), found, says=says
        )

    def _load_rows(self) -> Iterator[Row]:
        budget = self._from(
            f"at most {number(self.answers['alerts_per_day'], 1)}", "alerts_per_day"
        )
        yield self._row("EVAL-05", "Alerts a day", budget, interval(self.alerts, 1), "ev.alerts")
