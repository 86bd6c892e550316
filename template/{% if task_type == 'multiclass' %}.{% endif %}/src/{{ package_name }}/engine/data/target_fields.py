"""What a contract says of a class to predict: the shares of its classes."""

from collections.abc import Iterator
from typing import Any

import msgspec

from ..dialect import level
from ..formats import number

# Of `ml contract infer`: the option for what data do not tell, and its texts.
OPTION, HELP = "--classes", "The classes that count, with commas between them; others are dropped."
DEFINITION = "How to compute the target, such as \"CASE WHEN days > 30 THEN 'late' ELSE 'ok' END\"."
LEAKS = True  # columns of its definition are no features
MOST_CLASSES = 50


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a column that only a target has."""

    class_shares: dict[str, float] = {}

    def learnt(self) -> list[Any]:
        """Return the fields that a model depends on: the classes in their order."""
        return [list(getattr(self, "levels", ()))]

    def contradiction(self, answers: dict[str, Any]) -> str:
        """Say which fact of the target is another one in the plan's answers, or ""."""
        planned = [name.strip() for name in str(answers["classes"]).split(",")]
        there = sorted(
            getattr(self, "levels", ()), key=lambda name: -self.class_shares.get(name, 0.0)
        )
        if set(planned) != set(there):
            return (
                f"classes are {', '.join(planned)}, but validValues of the contract are "
                f"{', '.join(there)}: correct the contract, or change the plan with `ml update "
                f'--data classes="{", ".join(there)}"`'
            )
        share, found = answers["rarest_share"], self.class_shares.get(planned[-1])
        if not found or 2 / 3 < found / share < 1.5:
            return ""
        return (
            f"rarest_share is {number(share)}, but classShares of the contract give "
            f"{planned[-1]} {number(found)}: correct the one that is wrong, the plan by "
            f"`ml update --data rarest_share={found:.4g}`"
        )


class Custom(msgspec.Struct, kw_only=True, rename="camel"):
    """The `customProperties` with these fields, as the contract's file writes them."""

    class_shares: dict[str | int, float] = {}

    def fields(self) -> dict[str, Any]:
        """Return them as the arguments of `Fields`."""
        return {"class_shares": {level(str(k)): v for k, v in self.class_shares.items()}}


def joined(columns: list[Any]) -> list[Any]:
    """Return the contract's columns with one target: as they are."""
    return columns


def problems(target: Fields, kind: str, levels: tuple[str, ...]) -> Iterator[str]:
    """Yield what is wrong with the type, the classes and the fields of a target."""
    odd = [name for name in levels if name != name.strip() or set(name) & set(",;>=")]
    if kind != "category":
        yield (
            f"the target of a multiclass task is string with validValues, not {kind}: write "
            "numbers of classes in quotes, or draft the contract anew with `ml contract infer`"
        )
    elif not 3 <= len(levels) <= MOST_CLASSES:
        yield f"a multiclass target has 3 to {MOST_CLASSES} validValues, not {len(levels)}"
    elif odd:
        yield f"class {odd[0]!r}: a name without , ; > = and spaces at its ends, as answers list it"
    if unknown := sorted(target.class_shares.keys() - set(levels)):
        yield f"classShares names {unknown[0]!r}, which is none of the validValues"
    shares = target.class_shares.values()
    if any(not 0 <= share <= 1 for share in shares) or sum(shares) > 1.01:
        yield "classShares are not shares of all rows"
