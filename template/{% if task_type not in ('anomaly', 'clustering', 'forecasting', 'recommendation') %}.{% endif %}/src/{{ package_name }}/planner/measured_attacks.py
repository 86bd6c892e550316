"""What PLAN.md says of the attacks that were tried, made of reports/attacks.json."""

from typing import Any

from ..engine.formats import percent
from ..engine.settings import Project
from .blocks import code, escape

TEXTS = {
    "SEC-02": (
        "attacks",
        "measured: halves of {membership[rows]:0} rows with {membership[model]:name}: who was "
        "learnt from is told with an area of {membership[ratio_auc]:ci3}, by the loss alone "
        "{membership[loss_auc]:ci3}; {membership[hits]:share} found at 1 % false alarms, at most "
        "{membership[limit]:%}{turned}{warned}",
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
        "warned": "".join(f"; warning: {escape(one)}" for one in report["warnings"]),
    }


MADE = {"attacks": told}
