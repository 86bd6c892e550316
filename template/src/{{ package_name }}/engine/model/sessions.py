"""Open ONNX graphs for scoring."""

import onnxruntime as ort

from ..errors import ProjectError
from . import stored_graph


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
