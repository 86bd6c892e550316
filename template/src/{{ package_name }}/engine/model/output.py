"""What a model answers for a row, declared once: responses, files, log and drift follow it."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Context = Literal["entity", "hour", "weekday", "month", "year", "day"]  # for whom and when a row is
Kind = Literal["number", "integer", "boolean", "text", "numbers", "list", "items", "names"]
PYTHON: dict[str, Any] = {"number": float, "integer": int, "boolean": bool, "text": str}
PYTHON |= {"numbers": list[float], "list": list[float], "items": list[int], "names": list[str]}
NUMPY: dict[str, type] = {"number": np.float64, "integer": np.int64, "boolean": np.bool_}
NUMPY |= {"numbers": np.float64, "list": np.float64, "items": np.int64, "names": np.int64}
SEVERAL = ("numbers", "list", "items", "names")


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One value of an answer.

    A score is what the model predicts, an interval how sure it is, a decision what follows, an
    extra what helps people with it. A text may be of several columns of the graph.
    `levels` are those of the target that it is about: "numbers" hold one for each of them, in this
    order. A "list" holds numbers that are of no levels, with names for them in their place, "items"
    whole numbers, "names" such that `Scorer.told` gives a text for each. `cuts` are the bounds
    between which a score is counted.
    """

    name: str
    kind: Kind
    role: Literal["score", "interval", "decision", "extra"]
    text: str = ""
    levels: tuple[str, ...] = ()
    cuts: tuple[float, ...] = ()


def answer(output: Output, found: NDArray[Any]) -> NDArray[Any]:
    """Return the values, shape (rows,), of what the graph gives, shape (rows, columns).

    Numbers have shape (rows, levels).
    """
    if output.kind == "text":
        return np.array([", ".join(filter(None, row)) for row in found.tolist()], dtype=np.str_)
    typed: NDArray[Any] = found.astype(NUMPY[output.kind])
    return typed if output.kind in SEVERAL else typed[:, 0]


def levels(outputs: Iterable[Output]) -> tuple[str, ...]:
    """Return the levels of the target that a score has one number each for; () of one number."""
    return next((output.levels for output in outputs if output.kind == "numbers"), ())


def fields(outputs: Iterable[Output]) -> list[tuple[str, Any]]:
    """Return the outputs as fields of a struct of msgspec."""
    return [(o.name, Annotated[PYTHON[o.kind], msgspec.Meta(description=o.text)]) for o in outputs]
