"""The two ways a command can end badly, and how they are told. Everything else is a bug."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec


class ProjectError(Exception):
    """Bad usage, input or environment: one line that says what, where and how to mend it."""

    exit_code = 2


class CheckFailed(ProjectError):
    """A check did its work and the answer is no."""

    exit_code = 1


def explained(error: msgspec.ValidationError, kind: Any) -> tuple[str, str]:
    """Return why a value is no `kind`, and the place in it, such as "data.repeated_keys", or "".

    Where one of a few words is asked for, the reason names them: the library does not.
    """
    problem, _, where = str(error).partition(" - at ")
    place = where.replace("`", "").replace("$", "").lstrip(".")
    if written := re.fullmatch("Invalid enum value (.+)", problem):
        steps = re.findall(r"\[.*?\]|\w+", place)
        choices = list(dict.fromkeys(_choices(msgspec.inspect.type_info(kind), steps)))
        listed = ", ".join(map(str, choices))
        problem = f"{written[1]} is none of {listed}" if listed else problem
    return problem, place


def told(error: msgspec.ValidationError, kind: Any) -> str:
    """Return why a value is no `kind` as one phrase, which begins with the place where one is."""
    problem, place = explained(error, kind)
    return f"{place}: {problem}" if place else problem


def _choices(kind: msgspec.inspect.Type, steps: list[str]) -> Iterable[Any]:
    """Yield the words that fit at the end of a way through a type."""
    inspect = msgspec.inspect
    if isinstance(kind, inspect.Metadata):
        yield from _choices(kind.type, steps)
    elif isinstance(kind, inspect.UnionType):
        for one in kind.types:
            yield from _choices(one, steps)
    elif isinstance(kind, inspect.LiteralType) and not steps:
        yield from (repr(value) if value == "" else value for value in kind.values)
    elif isinstance(kind, inspect.StructType) and steps:
        for field in kind.fields:
            if field.encode_name == steps[0]:
                yield from _choices(field.type, steps[1:])
    elif isinstance(kind, inspect.DictType) and steps:
        yield from _choices(kind.value_type, steps[1:])
    elif isinstance(kind, inspect.ListType | inspect.VarTupleType) and steps:
        yield from _choices(kind.item_type, steps[1:])
