"""For what and on which ground each personal column is used: of the contract, else of the plan."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from ..engine.data import consent, contract
from ..engine.data.contract import Column, Contract
from ..engine.errors import ProjectError
from ..engine.settings import Plan, Project
from .blocks import code, escape
from .gates import Finding

WORDS = {
    "consent": "consent",
    "contract": "a contract with them",
    "legal_obligation": "a duty by law",
    "public_task": "a public task",
    "legitimate_interest": "a legitimate interest",
    "undecided": "not settled",
}
PURPOSE = "that of PROB-01"  # where the column has none of its own


def ground(column: Column, plan: Plan) -> str:
    """Return the ground of a column: its own, else the one that the plan gives for all."""
    return column.legal_basis or plan.answers.get("legal_basis", "undecided")


def rows(agreed: Contract, plan: Plan) -> list[dict[str, Any]]:
    """Return each personal column with its role, ground and purpose, and whether it is hashed."""
    return [
        {
            "column": column.name,
            "role": column.role,
            "legal_basis": ground(column, plan),
            "purpose": column.purpose,
        }
        | ({"pseudonym": True} if column.pseudonym else {})
        for column in agreed.columns
        if column.personal
    ]


def use(one: dict[str, Any]) -> str:
    """Say as what a column is used, and whether `data/` has its values at all."""
    hashed = ", a keyed hash in its place" if one.get("pseudonym") else ""
    return f"{escape(one['role'])}{hashed}"


def told(found: list[dict[str, Any]]) -> list[str]:
    """Say it in a line for each ground and purpose that columns share."""
    alike: dict[tuple[str, str], list[str]] = {}
    for one in found:
        name = f"{code(one['column'])} ({use(one)})"
        alike.setdefault((one["legal_basis"], one["purpose"]), []).append(name)
    return [
        f"personal: {', '.join(names)}; ground: {WORDS[basis]}; purpose: "
        f"{escape(purpose) or PURPOSE}"
        for (basis, purpose), names in alike.items()
    ]


def by_consent(project: Project) -> bool:
    """Whether people may take back what some column rests on."""
    agreed = contract.read(project.contract_path)
    ours = {row["legal_basis"] for row in rows(agreed, project.plan)}
    return "consent" in {*ours, project.plan.answers.get("legal_basis")}


def check(project: Project, agreed: Contract, due: set[str]) -> Iterator[Finding]:
    """Name personal features without a ground or a purpose, which a light plan does not ask for."""
    plan = project.plan
    if "DATA-05" not in plan.blocks or not plan.answers["personal_data"]:
        return
    agreeing = [c.name for c in agreed.columns if c.personal and c.legal_basis == "consent"]
    with suppress(ProjectError):  # which `ml contract check` tells
        if agreeing and not consent.of(project.contract_path):
            message = f"consent is the ground of {', '.join(agreeing)}, but the contract names no "
            message += f"column that says it: {consent.FORM}"
            yield Finding("error" if "PRIV-04" in due else "warning", "PRIV-04", message)
    used = [column for column in agreed.features if column.personal]
    if bare := [column.name for column in used if ground(column, plan) == "undecided"]:
        message = (
            f"nobody has said on which ground personal features are used ({', '.join(bare)}): "
            "write `legalBasis` of each in the contract, or settle it for all: "
            "`ml update --data legal_basis=VALUE`"
        )
        yield Finding("error" if "PRIV-01" in due else "warning", "PRIV-01", message)
    if bare := [column.name for column in used if not column.purpose]:
        message = (
            f"nobody has said for what the model needs personal features ({', '.join(bare)}): "
            "write `purpose` of each in the contract, or leave it out (`role: excluded`)"
        )
        yield Finding("warning", "PRIV-01", message)
