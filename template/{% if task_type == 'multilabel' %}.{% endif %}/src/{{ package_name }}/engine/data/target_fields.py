"""What a contract says of the labels to predict: their names and shares, in one column or several.

One column lists the labels of a row, with commas between them, or `none`. Several boolean columns
of role target say of one label each whether a row has it: they are joined to one such column.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from ..dialect import level
from ..formats import number
from ..label_sets import MOST_LABELS

# Of `ml contract infer`: the option for what data do not tell, and its texts.
OPTION = "--labels"
HELP = "The labels that count, with commas between them; or the boolean columns that say of each."
DEFINITION = "How to compute the target, such as \"CONCAT_WS(', ', topic_1, topic_2)\"."
LEAKS = True  # columns of its definition are no features
JOINED = "label_set"  # the name of several columns of role target together
NOTHING = "none"  # what a row says that has no label
ODD = set(",;|>=")
ENDS = " \t[]\"'"  # of a name in a cell: they are of the list


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a column that only a target has."""

    labels: tuple[str, ...] = ()
    label_shares: dict[str, float] = {}

    def learnt(self) -> list[Any]:
        """Return the fields that a model depends on: the labels in their order."""
        return [list(self.labels)]

    def contradiction(self, answers: dict[str, Any]) -> str:
        """Say which fact of the target is another one in the plan's answers, or ""."""
        planned = [name.strip() for name in str(answers["label_names"]).split(",")]
        there = sorted(self.labels, key=lambda name: -self.label_shares.get(name, 0.0))
        if set(planned) != set(there):
            return (
                f"label_names are {', '.join(planned)}, but labels of the contract are "
                f"{', '.join(there)}: correct the contract, or change the plan with `ml update "
                f'--data label_names="{", ".join(there)}"`'
            )
        found = sum(self.label_shares.values())
        for name, share, measured in (
            ("labels_per_row", answers["labels_per_row"], found if self._all_shares else 0.0),
            ("rarest_label_share", answers["rarest_label_share"], self._share(planned[-1])),
        ):
            if measured and not 2 / 3 < measured / share < 1.5:
                return (
                    f"{name} is {number(share)}, but labelShares of the contract give "
                    f"{number(measured)}: correct the one that is wrong, the plan by "
                    f"`ml update --data {name}={measured:.4g}`"
                )
        return ""

    @property
    def _all_shares(self) -> bool:
        return self.label_shares.keys() >= set(self.labels)

    def _share(self, name: str) -> float:
        return self.label_shares.get(name, 0.0)


class Custom(msgspec.Struct, kw_only=True, rename="camel"):
    """The `customProperties` with these fields, as the contract's file writes them."""

    labels: tuple[str | int, ...] = ()
    label_shares: dict[str | int, float] = {}

    def fields(self) -> dict[str, Any]:
        """Return them as the arguments of `Fields`."""
        return {
            "labels": tuple(level(str(name)) for name in self.labels),
            "label_shares": {level(str(k)): v for k, v in self.label_shares.items()},
        }


def definition_of(names: Sequence[str]) -> str:
    """Return the SQL expression that lists which of some 0 and 1 columns say yes.

    It gives NOTHING where none does, and no value where one of them has none.
    """

    def text(name: str) -> str:
        return "'" + name.replace("'", "''") + "'"

    columns = {name: '"' + name.replace('"', '""') + '"' for name in names}
    unknown = " OR ".join(f"{column} IS NULL" for column in columns.values())
    said = ", ".join(
        f"CASE WHEN CAST({column} AS INT) = 1 THEN {text(name)} END"
        for name, column in columns.items()
    )
    listed = f"COALESCE(NULLIF(CONCAT_WS(', ', {said}), ''), {text(NOTHING)})"
    return f"CASE WHEN {unknown} THEN NULL ELSE {listed} END"


def joined(columns: list[Any]) -> list[Any]:
    """Return the contract's columns, of which several boolean targets have become one of labels.

    Its definition computes it; they are excluded, as what gives the target away. Targets that are
    not all boolean stay, so that the contract says that only one may be.
    """
    targets = [column for column in columns if column.role == "target"]
    if len(targets) < 2 or any(column.kind != "boolean" for column in targets):
        return columns
    names = tuple(column.name for column in targets)
    whole = msgspec.structs.replace(
        targets[0],
        name=JOINED,
        kind="category",
        labels=names,
        label_shares={c.name: c.mean for c in targets if c.mean is not None},
        definition=definition_of(names),
        personal=any(column.personal for column in targets),
        description="The labels of a row",
    )
    parts = [msgspec.structs.replace(c, role="excluded") if c.name in names else c for c in columns]
    return [*parts, whole]


def problems(target: Fields, kind: str, levels: tuple[str, ...]) -> Iterator[str]:
    """Yield what is wrong with the type, the labels and the fields of a target."""
    labels = target.labels
    if kind != "category":
        yield (
            f"the target of a multilabel task is string with labels, or several booleans, not "
            f"one {kind}: draft the contract anew with `ml contract infer`"
        )
        return
    if levels:
        yield "validValues are single values, a row has several labels: write them as `labels`"
    if not 2 <= len(labels) <= MOST_LABELS:
        yield f"a multilabel target has 2 to {MOST_LABELS} labels, not {len(labels)}"
    if odd := [name for name in labels if faulty(name)]:
        yield f"label {odd[0]!r}: {NAMED}"
    if doubled := sorted(name for name in set(labels) if labels.count(name) > 1):
        yield f"labels repeat {doubled[0]!r}"
    if unknown := sorted(target.label_shares.keys() - set(labels)):
        yield f"labelShares names {unknown[0]!r}, which is none of the labels"
    if any(not 0 <= share <= 1 for share in target.label_shares.values()):
        yield "labelShares are not shares of all rows"


NAMED = f"a name without , ; | > = and brackets or quotes at its ends, other than {NOTHING}"


def faulty(name: str) -> bool:
    """Whether a label cannot be listed among others."""
    return name != name.strip(ENDS) or not name or bool(set(name) & ODD) or name.lower() == NOTHING


def listed(text: str) -> list[str]:
    """Return the labels of a cell such as "a, b", "a;b", "a|b" or '["a", "b"]'."""
    parts = (part.strip(ENDS) for part in re.split("[,;|]", text))
    found = [level(part) for part in parts if part]
    return [] if [name.lower() for name in found] == [NOTHING] else found
