"""Rules of a task on random answers: Jinja, which projects follow, against Python."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from reference import rules as reference

from . import tables
from .jinja import evaluate_all


def fired(
    task: str, choices: Mapping[str, Sequence[Any]], fixed: Mapping[str, Any], cases: int
) -> set[str]:
    """Return the rules that fire in some case; both must fire the same ones in each.

    A case draws one of its `choices` for each answer, has those of `fixed`, and 1 for all others.
    """
    table = tables.rules(task)
    rng = random.Random(7)
    other = dict.fromkeys(tables.inputs(table), 1) | dict(fixed)
    drawn = [other | {n: rng.choice(v) for n, v in choices.items()} for _ in range(cases)]
    outputs = {id: decision["output"] for id, decision in table["decisions"].items()}
    seen: set[str] = set()
    found = evaluate_all(f"questions/{task}/rules.jinja", "fire", [[case] for case in drawn])
    for answers, fires in zip(drawn, found, strict=True):
        expected = reference.decide(answers, table)
        for id, hits in fires.items():
            rules = [hit[0] for hit in hits if hit]
            assert ", ".join(rules) == expected[outputs[id]][1], (id, answers)
            seen |= {*rules}
    return seen
