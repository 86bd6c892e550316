"""What clustering holds against its plan: number, stability and size of segments, and their use."""

from collections.abc import Iterator
from functools import cached_property

from ..engine.formats import number, percent
from .blocks import read, survey
from .compared import MISSING, Compared, Contradiction, Report, Row, interval, wilson

EXPERIMENT, SEGMENTS = "EVAL-08", "EVAL-09"


class Evidence(Compared):
    """The plan and its reports, read once.

    No row says which segment is the right one: what segments are worth stays open until people have
    answered what came out of an experiment.
    """

    @cached_property
    def segments(self) -> list[Report]:
        """The segments, the largest first; empty without a report."""
        found: list[Report] = self.metrics.get("segments") or []
        return found

    @cached_property
    def stability(self) -> Report:
        """How alike segments of resamples are, with its interval; empty without a report."""
        found: Report = self.metrics.get("quality", {}).get("stability") or {}
        return found

    @cached_property
    def smallest(self) -> Report:
        """The share of the smallest segment with its interval; empty without a report."""
        rows = sum(segment["rows"] for segment in self.segments)
        return wilson(min((s["rows"] for s in self.segments), default=0), rows)

    @cached_property
    def placed(self) -> Report:
        """The share of rows that resamples place alike, with its interval."""
        found: Report = self.metrics.get("placed_alike") or {}
        return found

    @cached_property
    def most(self) -> float | None:
        """What segments bring a year at most, more than today; None without a report."""
        worth: float | None = self.metrics.get("business", {}).get("value_at_most")
        if worth is None:
            return None
        return worth - 12 * max(0.0, self.plan.number("VAL-02", "today"))

    @cached_property
    def tried(self) -> bool:
        """Whether people have answered, by name, what came out where segments were used."""
        where = EXPERIMENT if EXPERIMENT in self.plan.blocks else SEGMENTS
        said = survey(read(self.project.path("PLAN.md")))[0].get(("human", where))
        return bool(said and not said.open and said.attributes["owner"] != "none")

    def _facts(self) -> Report:
        return {}

    def _of_the_target(self) -> Iterator[Contradiction]:
        if not self.metrics:
            return
        held, planned = self.metrics.get("today"), self.answers["today_segments"]
        if held is None and planned == "rule":
            message = (
                f"today's segments are planned, but no row has one in {self.answers['target']}"
            )
            yield Contradiction("ev.today", "DATA-01", message)
        elif held is not None and planned == "none":
            message = f"all are treated alike by the plan, but {number(held['known'])} rows have a "
            yield Contradiction("ev.today", "DATA-01", f"{message}segment of today")

    def _of_the_use(self) -> Iterator[Contradiction]:
        if not self.metrics:
            return
        least, most = self.answers["segments_least"], self.answers["segments_most"]
        if self.segments and not least <= len(self.segments) <= most:
            message = f"people can treat {number(least)} to {number(most)} segments differently, "
            message += f"{number(len(self.segments))} were found"
            yield Contradiction("ev.number", "EVAL-05", message)
        pays = self.plan.number("VAL-02", "share_that_pays")
        if self.smallest and self.smallest["high"] < pays:
            message = f"a segment pays from {percent(pays)} of the rows on, the smallest has "
            yield Contradiction("ev.small", "VAL-02", message + interval(self.smallest, share=True))
        even = self.plan.number("VAL-02", "break_even_right")
        if self.placed and self.placed["high"] < even:
            message = f"segments pay once {percent(even)} of the rows are treated as fits them, "
            message += f"but resamples place only {interval(self.placed, share=True)} alike"
            yield Contradiction("ev.placed", "VAL-02", message)
        if self.most is not None and self.most < self.hoped:
            least = f"{number(abs(self.most))} {self.currency}"
            message = f"{number(self.hoped)} {self.currency} a year are planned, but at best "
            message += f"segments bring {least} {'less' if self.most < 0 else 'more'} than today"
            yield Contradiction("ev.most", "VAL-02", message, closes=self.most <= 0)
        if not self.tried:
            where = EXPERIMENT if EXPERIMENT in self.plan.blocks else SEGMENTS
            message = "what segments are worth is not known before people say, with their name, "
            yield Contradiction("ev.untried", where, f"{message}what their use brought ({where})")

    def _data_rows(self) -> Iterator[Row]:
        return (row for row in super()._data_rows() if row.quantity != "Label delay")

    def _target_rows(self) -> Iterator[Row]:
        held, some = self.metrics.get("today"), self.answers["today_segments"] == "rule"
        planned = f"{number(self.answers['today_count'])} by a rule" if some else "none"
        planned = self._from(planned, *["today_count"] * some)
        found = f"{number(held['segments'])} segments" if held else "none"
        found = found if self.metrics else MISSING
        yield self._row("DATA-01", "Today's segments", planned, found, "ev.today")

    def _decision_rows(self) -> Iterator[Row]:
        hoped = f"{number(self.hoped)} {self.currency}"
        hoped = self._agreed(hoped, self.hoped / 12, "monthly_benefit")
        found = MISSING if self.most is None else f"at most {number(self.most)} {self.currency}"
        # What segments can bring, not what they do.
        says = "says nothing" if self.made_up else "says little"
        yield self._row("VAL-02", "Value a year at most", hoped, found, "ev.most", says=says)
        even = percent(self.plan.number("VAL-02", "break_even_right"))
        planned, found = self._from(f"{even} to pay"), interval(self.placed, share=True)
        yield self._row("VAL-02", "Rows placed alike", planned, found, "ev.placed", says=says)
        pays = percent(self.plan.number("VAL-02", "share_that_pays"))
        planned, found = self._from(f"{pays} to pay"), interval(self.smallest, share=True)
        yield self._row("VAL-02", "Smallest segment", planned, found, "ev.small")

    def _load_rows(self) -> Iterator[Row]:
        least, most = self.answers["segments_least"], self.answers["segments_most"]
        planned = f"{number(least)} to {number(most)}"
        planned = self._from(planned, "segments_least", "segments_most")
        found = number(len(self.segments)) if self.segments else MISSING
        yield self._row("EVAL-05", "Segments", planned, found, "ev.number")
        floor = self.answers["min_stability"]
        planned = self._from(f"at least {number(floor, 2)}", "min_stability")
        low = self.stability.get("value", floor) < floor
        says = "**contradicts**" if low else "agrees"
        found = interval(self.stability, 2)
        yield self._row("EVAL-07", "Stability", planned, found, says=says)
