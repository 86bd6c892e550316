"""What PLAN.md says of the model as a query, made of reports/warehouse.json."""

from typing import Any

from ..engine.settings import Project

TEXTS = {
    "MOD-06": (
        "warehouse",
        "measured: as one query of SQL {model:name} has {primary_metric:name} {sql:4}, the "
        "champion {champion:4}, a gain of {gain:ci4}: {verdict}",
    ),
}


def told(report: dict[str, Any], project: Project) -> dict[str, Any]:
    """Say whether a warehouse that runs the query would be enough."""
    enough = "a warehouse that runs it suffices where nobody waits and no threshold is needed"
    return {
        "sql": report["metrics"][report["model"]],
        "verdict": enough if report["suffices"] else "a warehouse alone does not suffice",
    }


MADE = {"warehouse": told}
