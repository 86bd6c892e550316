"""What a contract says of a number to predict: its unit."""

from collections.abc import Iterator
from typing import Any

import msgspec

from .. import task
from ..formats import number

# Of `ml contract infer`: the option for what data do not tell, and its texts.
OPTION, HELP = "--unit", "The target's unit, such as EUR or minutes."
DEFINITION = 'How to compute the target, such as "price - discount".'
LEAKS = True  # columns of its definition are no features
LONGEST_UNIT = 30
SLACK = 1.5  # a mean that is further off than by this factor is another one


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a column that matter for a target; any column has them."""

    unit: str = ""
    mean: float | None = None
    std: float | None = None

    def learnt(self) -> list[Any]:
        """Return the fields that a model depends on."""
        return [self.unit]

    def contradiction(self, answers: dict[str, Any]) -> str:
        """Say which fact of the target is another one in the plan's answers, or ""."""
        planned = str(answers.get("target_unit") or "")
        if planned and self.unit and planned.casefold() != self.unit.casefold():
            return (
                f"target_unit is {planned}, but unit of the contract is {self.unit}: correct the "
                "one that is wrong"
            )
        usual, found = answers.get("target_mean"), self.mean
        if not (usual and found) or abs(found - usual) <= (SLACK - 1) * abs(usual):
            return ""
        changed = {"target_mean": found, **({"target_sd": self.std} if self.std else {})}
        data = " ".join(
            f"--data {name}={float(f'{value:.3g}'):.10g}" for name, value in changed.items()
        )
        return (
            f"target_mean is {number(usual, 4)}, but mean of the contract is {number(found, 4)}: "
            f"correct the one that is wrong, the plan by `ml update {data}`; where the size is "
            "another, so are today_error and what errors cost"
        )


class Custom(msgspec.Struct, kw_only=True):
    """The `customProperties` of a target alone: none."""

    def fields(self) -> dict[str, Any]:
        """Return them as the arguments of `Fields`."""
        return {}


def joined(columns: list[Any]) -> list[Any]:
    """Return the contract's columns with one target: as they are."""
    return columns


def problems(target: Fields, kind: str, levels: tuple[str, ...]) -> Iterator[str]:
    """Yield what is wrong with the type, the levels and the fields of a target."""
    if kind not in ("number", "integer"):
        yield (
            f"the target of a {task.SAID} is number or integer, not {kind}: choose another column, "
            "or draft the contract anew with `ml contract infer`"
        )
    elif levels:
        yield f"the target of a {task.SAID} has no validValues"
    if len(target.unit) > LONGEST_UNIT or not target.unit.isprintable():
        yield f"unit is one short word, at most {LONGEST_UNIT} characters"
