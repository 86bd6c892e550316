"""What is answered where scoring breaks, if the plan's owners have said what that is."""

from collections.abc import Callable
from typing import Any

import msgspec

from ..errors import ProjectError
from .requests import Model, Rows

Answer = Callable[[Rows], Rows]


def of(model: Model, said: dict[str, Any]) -> Answer | None:
    """Return what makes predictions of rows without their scores, None where nothing is said.

    ProjectError for values that the model could not have answered.
    """
    if not said:
        return None
    names = [output.name for output in model.scorer.outputs]
    if unknown := sorted(said.keys() - names):
        raise ProjectError(
            f"serving.fallback: the model has no output {unknown[0]!r}: give {', '.join(names)}"
        )
    try:
        usual = msgspec.convert(said, model.prediction_type)
    except msgspec.ValidationError as error:
        raise ProjectError(f"serving.fallback: {error}: give {', '.join(names)}") from None
    values = [getattr(usual, name) for name in names]

    def answer(rows: Rows) -> Rows:
        keys = model.scorer.keys_of(rows)
        columns = [[value] * len(rows) for value in (*values, "")]
        return list(map(model.prediction_type, *columns, *keys))

    return answer
