"""What a model answers for a row, declared once: responses, files, log and drift follow it."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

Kind = Literal["number", "integer", "boolean"]
PYTHON: dict[str, type] = {"number": float, "integer": int, "boolean": bool}
NUMPY: dict[str, type] = {"number": np.float64, "integer": np.int64, "boolean": np.bool_}


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One value of an answer.

    A score is what the model predicts, an interval how sure it is, a decision what follows.
    `levels` are those of the target that it is about, `cuts` the bounds between which a score is
    counted.
    """

    name: str
    kind: Kind
    role: Literal["score", "interval", "decision"]
    text: str = ""
    levels: tuple[str, ...] = ()
    cuts: tuple[float, ...] = ()


def fields(outputs: Iterable[Output]) -> list[tuple[str, Any]]:
    """Return the outputs as fields of a struct of msgspec."""
    return [(o.name, Annotated[PYTHON[o.kind], msgspec.Meta(description=o.text)]) for o in outputs]
