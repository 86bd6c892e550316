"""What recommendation holds against its plan: items, hits of lists, and whom they serve."""

from collections.abc import Iterator

from ..engine.formats import number
from .compared import MISSING, Compared, Contradiction, Report, Row, interval

COLD = "0"  # known items of a new user's history


class Evidence(Compared):
    """The plan and its reports, read once."""

    LOSSES = ("popularity_bias",)

    def _facts(self) -> Report:
        return {}

    @property
    def _items(self) -> int | None:
        """The items that development rows took; None without a report."""
        found: int | None = self.training.get("split", {}).get("development_items")
        return found

    @property
    def _cold(self) -> float | None:
        """The share of test rows without an item that the model knows; None without a report."""
        parts = self.metrics.get("by_history")
        if not parts:
            return None
        rows = {part["known"]: part["rows"] for part in parts}
        return float(rows.get(COLD, 0) / sum(rows.values()))

    def _of_the_target(self) -> Iterator[Contradiction]:
        planned, found = self.answers["n_items"], self._items
        if found is not None and not planned / 2 <= found <= planned * 2:
            message = f"{number(planned)} items are planned, {number(found)} were taken"
            yield Contradiction("ev.items", "DATA-02", message)

    def _of_the_use(self) -> Iterator[Contradiction]:
        hits = self.metrics.get("champion", {}).get("metrics", {}).get("ndcg", {})
        today = self.answers["today_hits"]
        if hits and hits["high"] is not None and hits["high"] < today:
            message = f"today's lists are said to reach {number(today, 4)} (today_hits), measured "
            yield Contradiction("ev.hits", "VAL-02", f"{message}are {interval(hits, 4)}")

    def _data_rows(self) -> Iterator[Row]:
        return (row for row in super()._data_rows() if row.quantity != "Label delay")

    def _target_rows(self) -> Iterator[Row]:
        planned = self._from(number(self.answers["n_items"]), "n_items")
        found = MISSING if self._items is None else number(self._items)
        yield self._row("DATA-02", "Items", planned, found, "ev.items")

    def _decision_rows(self) -> Iterator[Row]:
        hits = self.metrics.get("champion", {}).get("metrics", {}).get("ndcg", {})
        planned = f"more than {number(self.answers['today_hits'], 4)}"
        planned, found = self._from(planned, "today_hits"), interval(hits, 4)
        yield self._row("VAL-02", "Discounted hits of a list", planned, found, "ev.hits")

    def _load_rows(self) -> Iterator[Row]:
        shown = self.metrics.get("champion", {}).get("shown")
        planned = self._from(number(self.answers["list_length"]), "list_length")
        found = MISSING if shown is None else number(shown)
        yield self._row("EVAL-05", "Items of a list", planned, found, says="as planned")
