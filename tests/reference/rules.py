"""The decision rules read by plain Python: what the generated Jinja is held against."""

from typing import Any


def names(answers: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    """Return the answers and what is derived from them, as the conditions of the rules see them."""
    known = dict(answers)
    for name, expression in table["names"].items():
        known[name] = eval(expression, {"__builtins__": {}}, known)
    return known


def decide(answers: dict[str, Any], table: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    """Return value and rule ids of every decision by its output."""
    known = names(answers, table)
    result: dict[str, tuple[Any, str]] = {}
    for decision in table["decisions"].values():
        conditional = [r for r in decision["rules"] if r["when"] != "otherwise"]
        hits = [r for r in conditional if eval(r["when"], {"__builtins__": {}}, known)]
        hits = hits or [r for r in decision["rules"] if r["when"] == "otherwise"]
        if decision["kind"] == "first":
            result[decision["output"]] = (hits[0]["then"], hits[0]["id"])
        else:
            joined = [value for rule in hits for value in rule["then"]]
            rules = ", ".join(rule["id"] for rule in hits)
            result[decision["output"]] = (list(dict.fromkeys(joined)), rules)
    return result


def behind(name: str, table: dict[str, Any]) -> set[str]:
    """Return the answers that a number stands for; an answer stands for itself."""
    parts = table["numbers"].get(name, [])
    return set().union(*(behind(part, table) for part in parts)) if parts else {name}
