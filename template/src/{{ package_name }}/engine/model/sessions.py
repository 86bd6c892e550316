"""Open ONNX graphs for scoring, and run them for many rows."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ..errors import ProjectError
from ..threads import workers
from . import stored_graph, wanted


def session(model: bytes) -> ort.InferenceSession:
    """Open an ONNX model on the CPU, in one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    stored_graph.refuse_external(model)
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises one class per kind of damage
        reason = str(error).splitlines()[0]
        raise ProjectError(f"the model file is not a usable ONNX graph: {reason}") from None


def in_parts(
    ask: Callable[[NDArray[np.float32]], list[NDArray[Any]]],
    encoded: NDArray[np.float32],
    threads: int = 1,
) -> list[NDArray[Any]]:
    """Return the outputs of `ask` for all rows, asked for some of them at a time.

    Memory stays flat. The threads (0: by the size) are ours, so that the bits of an answer do not
    depend on their number; those of the runtime share the sums of a row.
    """
    if len(encoded) <= wanted.ASKED_ROWS:
        return ask(encoded)
    parts = [encoded[n : n + wanted.ASKED_ROWS] for n in range(0, len(encoded), wanted.ASKED_ROWS)]
    with ThreadPoolExecutor(workers(threads, encoded.size)) as pool:
        return [np.concatenate(found) for found in zip(*pool.map(ask, parts), strict=True)]


def scored_by(
    opened: Any,
    names: list[str] | None,
    encoded: NDArray[np.float32],
    asked: wanted.Wanted | None,
    threads: int,
) -> list[NDArray[Any]]:
    """Return outputs of a graph, all without names, for rows and what they want beside."""
    if not asked:
        return in_parts(lambda part: list(opened.run(names, {"x": part})), encoded, threads)
    rows = len(encoded)
    every = {name: np.broadcast_to(v, (rows, *v.shape[1:])) for name, v in asked.items()}
    parts = []
    for n in range(0, rows, wanted.ASKED_ROWS):
        part = slice(n, n + wanted.ASKED_ROWS)
        some = {name: wanted.fed(name, values[part]) for name, values in every.items()}
        parts.append(opened.run(names, {"x": encoded[part], **some}))
    return list(map(np.concatenate, zip(*parts, strict=True)))
