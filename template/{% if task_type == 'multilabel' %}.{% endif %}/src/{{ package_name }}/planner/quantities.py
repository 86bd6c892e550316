"""What a task of several labels a row holds against its plan: how frequent labels are and get."""

from collections.abc import Iterator
from functools import cached_property

from ..engine.formats import number, percent
from .blocks import escape
from .compared import (
    MISSING,
    WRITE,
    Compared,
    Contradiction,
    Report,
    Row,
    differs,
    interval,
    near,
    wilson,
)


class Evidence(Compared):
    """The plan and its reports, read once."""

    WRITE = WRITE | {"rarest_label_share": lambda value: f"{percent(value)} of the rarest label"}
    LOSSES = ("log_loss", "brier", "ece", "hamming_loss")

    @cached_property
    def shares(self) -> dict[str, Report]:
        """The share of rows of each label with its interval; empty without a report."""
        split, names = self.training.get("split", {}), self.training.get("labels", [])
        learnt, tested = (split.get(f"{part}_counts", []) for part in ("development", "test"))
        found = zip(names, learnt, tested, strict=True)
        return {name: wilson(one + other, self._rows) for name, one, other in found}

    @property
    def _rows(self) -> int:
        """The rows learnt from and tested on."""
        split = self.training.get("split", {})
        return int(split.get("development_rows", 0)) + int(split.get("test_rows", 0))

    @property
    def per_row(self) -> float | None:
        """The mean number of labels of a row; None without a report."""
        return sum(found["value"] for found in self.shares.values()) if self.shares else None

    @property
    def rarest(self) -> Report:
        """The share of the rarest label; empty without a report."""
        return min(self.shares.values(), key=lambda found: found["value"], default={})

    @cached_property
    def planned(self) -> dict[str, float]:
        """The shares of labels that the plan has by name."""
        listed = self.answers["label_shares"].split(";")
        named = (part.rsplit("=", 1) for part in listed if "=" in part)
        return {name.strip(): _share(share) for name, share in named}

    @cached_property
    def right(self) -> dict[str, Report]:
        """On test rows: how many true labels are set, and how many of those set are true."""
        labels = self.metrics.get("labels", [])
        true, given = (sum(label[name] for label in labels) for name in ("rows", "decided"))
        right = sum(round((label["recall"] or 0.0) * label["rows"]) for label in labels)
        return {"recall": wilson(right, true), "precision": wilson(right, given)}

    def _facts(self) -> Report:
        return {"rarest_label_share": self.rarest.get("value")}

    def _of_the_target(self) -> Iterator[Contradiction]:
        planned = [name.strip() for name in self.answers["label_names"].split(",")]
        if self.shares and {*planned} != {*self.shares}:
            other = [name for name in self.shares if name not in planned]
            gone = [name for name in planned if name not in self.shares]
            said = [f"the plan lacks {', '.join(map(escape, other))}"] * bool(other)
            said += [f"the data lack {', '.join(map(escape, gone))}"] * bool(gone)
            yield Contradiction("ev.labels", "DATA-02", f"labels differ: {'; '.join(said)}")
        yield from self._of_the_shares()
        rows = self.training.get("split", {}).get("test_rarest")
        needed = self.plan.number("DATA-02", "test_rarest_needed")
        if rows is not None and rows < needed:
            message = f"{number(needed)} rows with the rarest label are needed in the test set, "
            message += f"it has {number(rows)}"
            yield Contradiction("ev.rows_of_rarest_label", "DATA-02", message)

    def _of_the_shares(self) -> Iterator[Contradiction]:
        mean, found = self.answers["labels_per_row"], self.per_row
        if found is not None and not near(found, mean):
            message = (
                f"{number(mean, 3)} labels a row are planned, {number(found, 3)} were measured"
            )
            yield Contradiction("ev.labels_per_row", "DATA-02", message)
        share, rarest = self.answers["rarest_label_share"], self.rarest
        if rarest and differs(share, rarest):
            message = f"{percent(share)} of the rarest label is planned, "
            message += f"{interval(rarest, share=True)} was measured"
            yield Contradiction("ev.rarest_label", "DATA-02", message)
        wrong = [
            f"{escape(name)} {percent(share)} (measured {interval(self.shares[name], share=True)})"
            for name, share in self.planned.items()
            if name in self.shares and differs(share, self.shares[name])
        ]
        if wrong:
            message = f"shares of labels are planned otherwise: {', '.join(wrong)}"
            yield Contradiction("ev.label_shares", "DATA-02", message)

    def _of_the_use(self) -> Iterator[Contradiction]:
        """Yield that both kinds of errors are more frequent than today: no cost makes up for it."""
        worse = [
            f"{percent(found['value'])} of {what} (today {percent(today)})"
            for what, today, found in self._kinds()
            if found and found["high"] < today
        ]
        if len(worse) == len(self.right):
            message = (
                f"the model is worse than today in both kinds of errors: {' and '.join(worse)}"
            )
            yield Contradiction("ev.label_errors", "EVAL-05", message)

    def _kinds(self) -> Iterator[tuple[str, float, Report]]:
        """Yield what is right of labels, as today's process has it, and as measured."""
        found = self.right
        yield "the true labels are set", self.answers["today_label_recall"], found["recall"]
        yield "the set labels are true", self.answers["today_label_precision"], found["precision"]

    def _target_rows(self) -> Iterator[Row]:
        mean, found = self.answers["labels_per_row"], self.per_row
        planned = self._from(number(mean, 3), "labels_per_row")
        shown = MISSING if found is None else number(found, 3)
        yield self._row("DATA-02", "Labels a row", planned, shown, "ev.labels_per_row")
        planned = self._from(percent(self.answers["rarest_label_share"]), "rarest_label_share")
        shown = interval(self.rarest, share=True)
        yield self._row("DATA-02", "Share of the rarest label", planned, shown, "ev.rarest_label")

    def _decision_rows(self) -> Iterator[Row]:
        names = ("today_label_recall", "today_label_precision")
        quantities = ("True labels that are set", "Set labels that are true")
        kinds = zip(quantities, names, self._kinds(), strict=True)
        for quantity, name, (_, today, found) in kinds:
            planned = self._from(f"today {percent(today)}", name)
            better = found.get("low") is not None and found["low"] > today
            worse = found.get("high") is not None and found["high"] < today
            says = "better than today" if better else "worse than today" if worse else "as today"
            shown = interval(found, share=True)
            yield self._row("EVAL-05", quantity, planned, shown, "ev.label_errors", says=says)

    def _load_rows(self) -> Iterator[Row]:
        yield from ()


def _share(text: str) -> float:
    """Return a share that people wrote: 0.2, or 20 %."""
    value = float(text.replace("%", ""))
    return value / 100 if "%" in text else value
