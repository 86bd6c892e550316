"""What PLAN.md says of the attacks that were tried, made of reports/attacks.json."""

from typing import Any

from ..engine.formats import number, percent
from ..engine.settings import Project
from .blocks import code, escape

TEXTS = {
    "SEC-02": (
        "attacks",
        "measured: halves of {membership[rows]:0} rows with {membership[model]:name}: who was "
        "learnt from is told with an area of {membership[ratio_auc]:ci3}, by the loss alone "
        "{membership[loss_auc]:ci3}; {membership[hits]:share} found where 1 % of others are "
        "taken for some, at most {membership[limit]:%}{turned}{poisoned}{warned}",
    ),
}


def told(report: dict[str, Any], project: Project) -> dict[str, Any]:
    """Say what small lies turn, and which limit is passed."""
    found = report["evasion"]
    if found is None:
        turned = "; evasion: the contract says `controlled: true` of no column"
    elif "small" not in found:
        turned = "; evasion: no test row has an answer that is worth to evade"
    else:
        turned = (
            f"; of {found['answers']} answers one free change of "
            f"{', '.join(map(code, found['columns']))} turns {percent(found['free']['value'])}, "
            f"moves of a quarter of a standard deviation {percent(found['small']['value'])} "
            f"({percent(found['small']['low'])} to {percent(found['small']['high'])}), chance "
            f"{percent(found['noise']['value'])}, at most {percent(found['limit'])}"
        )
    return {
        "turned": turned,
        "poisoned": _poisoned(report["poisoning"], project),
        "warned": "".join(f"; warning: {escape(one)}" for one in report["warnings"]),
    }


def _poisoned(found: dict[str, Any] | None, project: Project) -> str:
    """Say of the middle share of wrong labels how often it is noticed, and what it costs."""
    if found is None:
        return "; wrong labels: not tried, the test set is too small"
    seen, cost = found["noticed"], found["costs"]
    clean, swapped, hidden = (
        number(value) if value is not None else "not defined"
        for value in (cost["clean"], cost["swapped"][1], cost["hidden"][1])
    )
    named = escape(project.plan.named(cost["metric"]))
    return (
        f"; of windows of {number(seen['rows'])} labels `ml monitor` notices "
        f"{percent(seen['swapped'][1])} where 5 % are swapped, {percent(seen['hidden'][1])} "
        f"where as many of one kind, half of it at most, are hidden, {percent(seen['clean'])} of "
        f"clean ones; learnt from, they bring {named} from {clean} to {swapped} and {hidden}"
    )


MADE = {"attacks": told}
