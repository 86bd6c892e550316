"""What a task of several classes holds against its plan: shares of classes, what is accepted."""

from collections.abc import Iterator
from functools import cached_property

from ..engine.formats import number, percent
from .blocks import escape
from .compared import (
    CHANCE,
    MISSING,
    SLACK,
    WRITE,
    Compared,
    Contradiction,
    Report,
    Row,
    differs,
    interval,
    wilson,
)


class Evidence(Compared):
    """The plan and its reports, read once."""

    WRITE = WRITE | {
        "largest_share": lambda value: f"{percent(value)} of the most frequent class",
        "rarest_share": lambda value: f"{percent(value)} of the rarest class",
    }
    LOSSES = ("log_loss", "brier", "ece", "classwise_ece")

    @cached_property
    def counts(self) -> dict[str, int]:
        """The rows of each class, learnt from and tested on; empty without a report."""
        split, names = self.training.get("split", {}), self.training.get("classes", [])
        learnt, tested = (split.get(f"{part}_counts", []) for part in ("development", "test"))
        found = zip(names, learnt, tested, strict=True)
        return {name: both[0] + both[1] for name, *both in found}

    def _share(self, rows: int | None) -> Report:
        return wilson(rows, sum(self.counts.values())) if rows is not None else {}

    @cached_property
    def largest(self) -> Report:
        """The share of the most frequent class with its interval; empty without a report."""
        return self._share(max(self.counts.values(), default=None))

    @cached_property
    def rarest(self) -> Report:
        """The same of the rarest class."""
        return self._share(min(self.counts.values(), default=None))

    @cached_property
    def reviewed(self) -> Report:
        """The share of rows that people look at, with its interval; empty without a report."""
        if not (business := self.metrics.get("business")):
            return {}
        rows = int(self.metrics["data"]["test_rows"])
        return wilson(round(business["reviewed_share"] * rows), rows)

    @cached_property
    def right(self) -> Report:
        """The share of accepted rows that is right, with its interval; empty without any."""
        business = self.metrics.get("business", {})
        ends = {"value": "", "low": "_low", "high": "_high"}
        return {name: business.get(f"accepted_accuracy{end}") for name, end in ends.items()}

    def _facts(self) -> Report:
        return {
            "largest_share": self.largest.get("value"),
            "rarest_share": self.rarest.get("value"),
        }

    def _of_the_target(self) -> Iterator[Contradiction]:
        planned = [name.strip() for name in self.answers["classes"].split(",")]
        if self.counts and {*planned} != {*self.counts}:
            other = [name for name in self.counts if name not in planned]
            gone = [name for name in planned if name not in self.counts]
            said = [f"the plan lacks {', '.join(map(escape, other))}"] * bool(other)
            said += [f"no row has {', '.join(map(escape, gone))}"] * bool(gone)
            yield Contradiction("ev.classes", "DATA-02", f"classes differ: {'; '.join(said)}")
        for rule, name, found in (
            ("ev.largest", "largest_share", self.largest),
            ("ev.rarest", "rarest_share", self.rarest),
        ):
            share = self.answers[name]
            if found and differs(share, found):
                message = (
                    f"{self.WRITE[name](share)} is planned, {interval(found, share=True)} was "
                )
                yield Contradiction(rule, "DATA-02", f"{message}measured")
        rows = self.training.get("split", {}).get("test_rarest")
        needed = self.plan.number("DATA-02", "test_rarest_needed")
        if rows is not None and rows < needed:
            message = (
                f"{number(needed)} rows of the rarest class are needed in the test set, it has "
            )
            yield Contradiction("ev.rows_of_rarest", "DATA-02", message + number(rows))

    def _of_the_use(self) -> Iterator[Contradiction]:
        limit, found = self.answers["review_share"], self.reviewed.get("value", 0.0)
        if found > SLACK * limit:
            message = f"{percent(found)} of the rows go to people, who can look at {percent(limit)}"
            yield Contradiction("ev.review", "EVAL-05", message)
        right, least = self.right, self._least_right
        if right.get("high") is not None and least is not None and right["high"] < least:
            message = f"{percent(least)} of the accepted rows are to be right, measured are "
            yield Contradiction("ev.accepted", "EVAL-05", message + interval(right, share=True))

    @property
    def _least_right(self) -> float | None:
        """The share of accepted rows that is right at least; None where costs differ by pair."""
        everything = self.plan.value("acceptance") == "accept_all"
        if everything or self.answers["cost_pairs"]:
            return None
        return self.plan.number("EVAL-05", "accept_level")

    def _target_rows(self) -> Iterator[Row]:
        for rule, quantity, name, found in (
            ("ev.largest", "Share of the most frequent class", "largest_share", self.largest),
            ("ev.rarest", "Share of the rarest class", "rarest_share", self.rarest),
        ):
            planned = self._from(percent(self.answers[name]), name)
            yield self._row("DATA-02", quantity, planned, interval(found, share=True), rule)

    def _decision_rows(self) -> Iterator[Row]:
        right, least = self.right, self._least_right
        planned = "no limit" if least is None else self._from(f"at least {percent(least)}")
        found = interval(right, share=True)
        low = least is not None and (right.get("value") or 1.0) < least
        says = CHANCE if low else "agrees"
        yield self._row(
            "EVAL-05", "Right among the accepted", planned, found, "ev.accepted", says=says
        )
        level, used = (
            self.plan.number("EVAL-05", "review_level"),
            self.metrics.get("champion", {}).get("review_level"),
        )
        if self.plan.value("acceptance") != "accept_all":
            found = MISSING if used is None else f"{number(used, 3)} {self.currency}"
            moved = used is not None and used > 1.05 * level
            says = "moved by capacity" if moved else "as planned"
            planned = self._from(f"{number(level, 3)} {self.currency}")
            yield self._row(
                "EVAL-05", "Expected cost from which people look", planned, found, says=says
            )

    def _load_rows(self) -> Iterator[Row]:
        limit = self._from(f"at most {percent(self.answers['review_share'])}", "review_share")
        found = interval(self.reviewed, share=True)
        yield self._row("EVAL-05", "Rows that people look at", limit, found, "ev.review")
