"""Nodes and constants of an ONNX graph, under fresh names."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

OPSETS = {"": 18, "ai.onnx.ml": 3}


class Graph:
    """Collects nodes and constants; `matrix` names the tensor that models read."""

    def __init__(self) -> None:
        self.matrix = "x"
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.optional: list[onnx.ValueInfoProto] = []

    def node(
        self,
        operator: str,
        inputs: list[str],
        output: str = "",
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Add a node; return the name of its output."""
        output = output or f"{operator.lower()}_{len(self.nodes)}"
        made = helper.make_node(operator, inputs, [output], domain=domain)
        made.attribute.extend(_attribute(*item) for item in sorted(attributes.items()))
        self.nodes.append(made)
        return output

    def constant(self, value: Any, dtype: Any = np.float64) -> str:
        """Add a constant; return its name."""
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def given(self, name: str, value: int) -> str:
        """Add an input of whole numbers (rows, several) that callers may leave out; return it."""
        default = np.array([[value]], dtype=np.int64)
        self.initializers.append(numpy_helper.from_array(default, name))
        self.optional.append(info(name, onnx.TensorProto.INT64, None))
        return name

    def split(self, value: str, width: int) -> list[str]:
        """Return the columns of a matrix, each of shape (rows, 1)."""
        names = [f"{value}_{column}" for column in range(width)]
        self.nodes.append(helper.make_node("Split", [value], names, axis=1, num_outputs=width))
        return names

    def interpolated(self, value: str, knots_x: NDArray[Any], knots_y: NDArray[Any]) -> str:
        """Interpolate as a sum of one clipped ramp per segment: y0 + sum of slope * clip(v - x).

        `value` names a column of double precision; the knots have shape (knots,).
        """
        x, y = knots_x.astype(np.float64), knots_y.astype(np.float64)
        if len(x) == 1:
            zero = self.node("Mul", [value, self.constant([[0.0]])])
            return self.node("Add", [zero, self.constant([[y[0]]])])
        widths = np.diff(x)
        offset = self.node("Sub", [value, self.constant(x[None, :-1])])
        above = self.node("Max", [offset, self.constant([[0.0]])])
        ramp = self.node("Min", [above, self.constant(widths[None])])
        rise = self.node("MatMul", [ramp, self.constant((np.diff(y) / widths)[:, None])])
        return self.node("Add", [rise, self.constant([[y[0]]])])


def _attribute(name: str, value: Any) -> onnx.AttributeProto:
    """Return an attribute; of an array at once, since the library looks at each of its values."""
    if not isinstance(value, np.ndarray):
        return helper.make_attribute(name, value)
    made = onnx.AttributeProto(name=name)
    if value.dtype.kind == "f":
        made.type = onnx.AttributeProto.FLOATS
        made.floats.extend(value.tolist())
    elif value.dtype.kind == "i":
        made.type = onnx.AttributeProto.INTS
        made.ints.extend(value.tolist())
    else:
        made.type = onnx.AttributeProto.STRINGS
        made.strings.extend(np.char.encode(value).tolist())
    return made


def info(name: str, kind: int, width: int | None) -> onnx.ValueInfoProto:
    """Return an input or output of shape (rows, width); None where only the graph knows it."""
    return helper.make_tensor_value_info(name, kind, [None, width])


def model_of(
    graph: Graph, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
) -> bytes:
    """Return the ONNX model of a graph."""
    every = [*inputs, *graph.optional]
    body = helper.make_graph(graph.nodes, "model", every, outputs, graph.initializers)
    opsets = [helper.make_opsetid(*item) for item in OPSETS.items()]
    model = helper.make_model(body, opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))
