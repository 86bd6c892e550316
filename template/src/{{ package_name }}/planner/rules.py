"""Judge the rules of the plan again, with measured facts in place of what was answered."""

import ast
import operator
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..engine.errors import ProjectError
from ..engine.settings import Decision, Plan

OPERATORS: dict[type[ast.AST], Any] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, items: item in items,
    ast.NotIn: lambda item, items: item not in items,
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Not: operator.not_,
    ast.USub: operator.neg,
}


class Judgement(NamedTuple):
    """What the rules decide with some facts: by which rules, and which values."""

    rule: str
    values: list[str]


def judge_again(plan: Plan, measured: Mapping[str, Any]) -> Iterator[tuple[str, Judgement]]:
    """Yield the decisions that the measured facts would change, by id.

    What a team decided itself in plan/overrides.yaml does not depend on a rule.
    """
    facts = {name: value for name, value in measured.items() if name in plan.answers}
    for identifier, decision in plan.decisions.items():
        if decision.judged and identifier not in plan.overrides:
            planned = _judge(decision, plan.answers).values
            again = _judge(decision, plan.answers | facts)
            # What no rule here decides is left as it is.
            if isinstance(decision.value, list):
                was = [value for value in decision.value if value != "none"]
                left = [value for value in was if value not in planned]
                now = [*dict.fromkeys([*left, *again.values])]
            else:
                was = planned or [decision.value]
                now = again.values or was
            if {*now} != {*was}:
                yield identifier, again._replace(values=now)


def evaluate(expression: str, facts: Mapping[str, Any]) -> Any:
    """Return what a condition of questions/rules.yaml says of these facts, without `eval`."""
    try:
        return _value(ast.parse(expression, mode="eval").body, facts)
    except (SyntaxError, KeyError, TypeError, ZeroDivisionError) as error:
        raise ProjectError(f"plan/plan.yaml: no condition: {expression} ({error!r})") from None


def _judge(decision: Decision, facts: Mapping[str, Any]) -> Judgement:
    """Take the first rule that holds where one decides, else all of them."""
    hits = [rule for rule in decision.judged if evaluate(rule.when, facts)]
    hits = hits if isinstance(decision.value, list) else hits[:1]
    values = dict.fromkeys(value for rule in hits for value in rule.then)
    return Judgement(", ".join(rule.id for rule in hits) or "none", [*values])


def _value(node: ast.AST, facts: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return facts[node.id]
        case ast.Tuple() | ast.List():
            return [_value(item, facts) for item in node.elts]
        case ast.BoolOp():
            some = any if isinstance(node.op, ast.Or) else all
            return some(_value(part, facts) for part in node.values)
        case ast.IfExp():
            return _value(node.body if _value(node.test, facts) else node.orelse, facts)
        case ast.UnaryOp():
            return OPERATORS[type(node.op)](_value(node.operand, facts))
        case ast.BinOp():
            left, right = _value(node.left, facts), _value(node.right, facts)
            return OPERATORS[type(node.op)](left, right)
        case ast.Compare():
            items = [_value(item, facts) for item in (node.left, *node.comparators)]
            pairs = zip(node.ops, items, items[1:], strict=False)
            return all(OPERATORS[type(op)](left, right) for op, left, right in pairs)
    raise KeyError(type(node).__name__)
