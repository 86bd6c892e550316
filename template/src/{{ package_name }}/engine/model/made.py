"""What declared features bring and cost, measured on the graph that is served."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from .history import Past
from .operators import Operator
from .plain import Matrix
from .sessions import in_parts, session

PREFIX = "feature:"
REPEATS = 3
Answers = dict[str, NDArray[Any]]


def described(
    operators: Sequence[Operator | Past],
    declared: Sequence[Operator | Past],
    brought: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Return what reports say of each feature; `declared` are those of features.py.

    Of the columns `brought`, which the model sees only for them, each feature says its own.
    """
    ours = {operator.name for operator in declared}
    return [
        {
            "feature": operator.name,
            "operator": type(operator).__name__,
            "of": list(operator.sources),
            "to": operator.to,
            "why": operator.why or operator.purpose,
            "owner": operator.owner,
            "yours": operator.name in ours,
            "brings": [name for name in operator.sources if name in brought],
            **({"by": operator.by} if isinstance(operator, Past) else {}),
        }
        for operator in operators
    ]


def measured(
    model: bytes,
    x: Matrix,
    score: Callable[[Answers], float],
    rng: np.random.Generator,
) -> dict[str, dict[str, float]]:
    """Return gain and cost of each declared feature that the graph holds.

    `gain` is by how much the score falls when the feature alone is shuffled, and its columns stay
    (Breiman 2001); `microseconds` is the time of a row, with all that the feature is made of.
    """
    whole = onnx.load_from_string(model)
    names = [out for node in whole.graph.node for out in node.output if out.startswith(PREFIX)]
    full = score(_answers(session(model), {"x": x}))
    found = {}
    for name in names:
        run = partial(_run, session(_part(whole, name)))
        (values,) = in_parts(run, x)  # a first run takes longer
        started = time.perf_counter()
        in_parts(run, x)
        taken = time.perf_counter() - started
        rest = session(_rest(whole, name, values.shape[1]))
        losses = [
            full - score(_answers(rest, {"x": x, name: rng.permutation(values)}))
            for _ in range(REPEATS)
        ]
        found[name.removeprefix(PREFIX)] = {
            "gain": float(np.mean(losses)),
            "std": float(np.std(losses)),
            "microseconds": taken / len(x) * 1e6,
        }
    return found


def _run(model: Any, rows: Matrix) -> list[NDArray[Any]]:
    return list(model.run(None, {"x": rows}))


def _answers(model: Any, inputs: dict[str, NDArray[Any]]) -> Answers:
    """Return the outputs by name, of shape (rows,) or (rows, outputs)."""
    names = [output.name for output in model.get_outputs()]
    given = {item.name for item in model.get_inputs()}
    found = model.run(names, {n: v for n, v in inputs.items() if n in given})
    columns = (a[:, 0] if a.ndim == 2 and a.shape[1] == 1 else a for a in found)
    return dict(zip(names, columns, strict=True))


def _part(whole: onnx.ModelProto, name: str) -> bytes:
    """Return the graph from `x` to a feature: onnxruntime would compute other nodes as well."""
    part, needed = onnx.ModelProto(), {name}
    nodes: list[onnx.NodeProto] = []
    part.CopyFrom(whole)
    for node in reversed(whole.graph.node):
        if needed & {*node.output}:
            needed |= {*node.input}
            nodes.insert(0, node)
    del part.graph.node[:], part.graph.output[:]
    part.graph.node.extend(nodes)
    part.graph.output.append(helper.make_tensor_value_info(name, TensorProto.DOUBLE, [None, None]))
    return bytes(part.SerializeToString())


def _rest(whole: onnx.ModelProto, name: str, width: int) -> bytes:
    """Return the graph that takes a feature as an input."""
    rest = onnx.ModelProto()
    rest.CopyFrom(whole)
    kept = [node for node in whole.graph.node if name not in node.output]
    del rest.graph.node[:]
    rest.graph.node.extend(kept)
    rest.graph.input.append(helper.make_tensor_value_info(name, TensorProto.DOUBLE, [None, width]))
    return bytes(rest.SerializeToString())
