"""Columns that tell a person from all others, mostly a few together, though none names anybody.

Others may know such columns of somebody: birth date, postcode and sex are told apart for 87 % of
the people of the United States (Sweeney 2000, Simple Demographics Often Identify People Uniquely).
A group is the people of equal values; the smallest is the k of k-anonymity (Sweeney 2002).
"""

import re
from itertools import combinations
from typing import Any

import polars as pl

from .. import progress
from ..settings import Project
from . import personal
from .contract import READ, Column, Contract

MOST = 6  # columns that are combined, in 41 ways at most
WIDEST = 3  # columns at once
NAMES = 0.9  # of the people: a column of so many different values is a name by itself
FEW = 0.01  # of the people alone: below, a combination is not told
MORE = 0.05  # of the people that one column more must tell apart
SHOWN = 5
# Beside what looks personal by its name: what neighbours, colleagues and registers know.
KNOWN = (
    r"(^|_)(age|alter|edad|birth_?year|city|town|municipality|county|wohnort|stadt|gemeinde|kreis"
    r"|ville|commune|ciudad|municipio|occupation|job(_title)?|profession|beruf|education|ausbildung"
    r"|bildung|native_?country|branch)(_(years?|group|code|level|name))?$"
)


def of(project: Project, contract: Contract, frame: pl.DataFrame) -> dict[str, Any]:
    """Return what `run` does where rows are about people by the plan, else that nothing was."""
    about = _quasi(contract, frame) and project.plan.answers["personal_data"]
    return run(contract, frame) if about else {"columns": [], "found": []}


def run(contract: Contract, frame: pl.DataFrame) -> dict[str, Any]:
    """Return which `columns` were combined and which combinations leave people alone.

    Each of `found`, the worst first, has `columns`, `smallest` (people in the smallest group) and
    `alone`, the share of the people in a group of one. A person is an entity, without one a row.
    Nothing is combined where no column looks like one about a person.
    """
    columns = _quasi(contract, frame)
    if len(columns) < 2:
        return {"columns": columns, "found": []}
    people = frame[contract.entity.name] if contract.entity else pl.int_range(frame.height)
    coded = frame.select(pl.col(columns).cast(pl.String)).with_columns(people.alias("_who"))
    table = coded.select(pl.all().rank("dense").cast(pl.UInt32)).drop_nulls("_who").unique()
    known = table["_who"].n_unique()
    shares: dict[frozenset[str], float] = {}
    found: list[dict[str, Any]] = []
    for names in (c for width in range(1, WIDEST + 1) for c in combinations(columns, width)):
        less = max((share for few, share in shares.items() if few < {*names}), default=0.0)
        if less > 1 - MORE:
            continue  # one column more cannot tell apart many who are left
        progress.tell(f"columns together: {', '.join(names)}")
        some = table.select(*names, "_who")
        some = some if known == table.height else some.unique()
        groups = some.group_by(names).agg(pl.len(), pl.first("_who"))
        alone = groups.filter(pl.col("len") == 1)["_who"].n_unique() / known
        shares[frozenset(names)] = alone
        if alone >= (less + MORE if less >= FEW else FEW):
            smallest = int(groups["len"].min())  # type: ignore[arg-type]
            found.append({"columns": [*names], "smallest": smallest, "alone": round(alone, 4)})
    found = sorted(found, key=lambda one: (-one["alone"], len(one["columns"])))[:SHOWN]
    return {"columns": columns, "found": found}


def _quasi(contract: Contract, frame: pl.DataFrame) -> list[str]:
    """Return the columns that others may know of somebody, those with the most values first."""
    known, about = dict[str, int](), False
    for column in contract.columns:
        values = frame[column.name].drop_nulls()
        different = values.n_unique()
        if not _could(column, contract) or not 1 < different < NAMES * len(values):
            continue
        looks = column.personal or bool(personal.suspicion(column.name, column.kind, values))
        about = about or looks
        if looks or re.search(KNOWN, personal.snake(column.name)):
            known[column.name] = different
    most = sorted(known, key=lambda name: -known[name])[:MOST]
    return [column.name for column in contract.columns if column.name in most] if about else []


def _could(column: Column, contract: Contract) -> bool:
    named = column.pseudonym or column.unique or column.name in contract.primary_key
    is_told = column.role in ("feature", "excluded") and column.kind not in (*READ, "number")
    return is_told and not named
