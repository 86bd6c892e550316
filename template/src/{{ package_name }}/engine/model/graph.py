"""Write one ONNX graph: raw columns, codes, models, blend, calibration, decision.

The graph is emitted by hand from plain data, because general converters are silently wrong for
calibrated models, large numbers and categories; the parity gate in bundle.py proves each graph.
"""

from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from .plain import Forest, Linear, Matrix, Model, Predict, sigmoid
from .scorer import FeatureSpec

CLIP = 1e-6


class Calibration(NamedTuple):
    """From a model's probability to an honest one.

    "sigmoid": sigmoid(slope * logit(p) + intercept) (Platt 1999). "isotonic": linear interpolation
    between knots (centred isotonic regression, Oron and Flournoy 2017). "none": as it is.
    """

    method: str
    slope: float = 1.0
    intercept: float = 0.0
    knots_x: NDArray[np.float32] = np.empty(0, dtype=np.float32)
    knots_y: NDArray[np.float32] = np.empty(0, dtype=np.float32)

    def apply(self, probability: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrate probabilities of shape (rows,)."""
        if self.method == "sigmoid":
            clipped = np.clip(probability, CLIP, 1 - CLIP)
            return sigmoid(self.slope * np.log(clipped / (1 - clipped)) + self.intercept)
        if self.method == "isotonic":
            return np.interp(probability, self.knots_x, self.knots_y)
        return probability


class Member(NamedTuple):
    """A fitted model and its share in the blend."""

    model: Model
    predict: Predict
    share: float = 1.0


class Predictor(NamedTuple):
    """A blend of models with one calibration: probability = calibrate(sum of share * p)."""

    members: tuple[Member, ...]
    calibration: Calibration = Calibration("none")

    def predict(self, x: Matrix) -> NDArray[np.float64]:
        """Predict with the training libraries: the reference that the graph must repeat."""
        total = sum(member.share * member.predict(x) for member in self.members)
        return self.calibration.apply(np.asarray(total, dtype=np.float64))


def emit(predictor: Predictor, spec: FeatureSpec, threshold: float, *, encoded: bool) -> bytes:
    """Return the ONNX model.

    encoded: input `x` float32 [rows, features]. Otherwise inputs `num` float32 [rows, numbers] and
    `cat` string [rows, categories] ("" where missing). Outputs `probability` float32 [rows, 1] and
    `decision` int64 [rows, 1], 1 where the probability reaches `threshold`.
    """
    graph = _Graph()
    if encoded:
        inputs = [_info("x", TensorProto.FLOAT, len(spec.names))]
    else:
        inputs = _raw_inputs(graph, spec)
    shares = []
    for member in predictor.members:
        probability = _model(graph, member.model, spec)
        share = graph.constant([[member.share]])
        shares.append(graph.node("Mul", [probability, share]))
    blend = shares[0]
    for other in shares[1:]:
        blend = graph.node("Add", [blend, other])
    calibrated = _calibrated(graph, predictor.calibration, blend)
    graph.node("Cast", [calibrated], "probability", to=TensorProto.FLOAT)
    limit = graph.constant([[threshold]], np.float32)
    reached = graph.node("GreaterOrEqual", ["probability", limit])
    graph.node("Cast", [reached], "decision", to=TensorProto.INT64)
    outputs = [_info("probability", TensorProto.FLOAT, 1), _info("decision", TensorProto.INT64, 1)]
    body = helper.make_graph(graph.nodes, "model", inputs, outputs, graph.initializers)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(body, opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


class _Graph:
    """Collects nodes and constants under fresh names."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def node(
        self,
        operator: str,
        inputs: list[str],
        output: str = "",
        domain: str = "",
        **attributes: Any,
    ) -> str:
        output = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], domain=domain, **attributes))
        return output

    def constant(self, value: Any, dtype: Any = np.float64) -> str:
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name


def _info(name: str, kind: int, width: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, [None, width])


def _raw_inputs(graph: _Graph, spec: FeatureSpec) -> list[onnx.ValueInfoProto]:
    inputs, parts = [], []
    if spec.numeric:
        inputs.append(_info("num", TensorProto.FLOAT, len(spec.numeric)))
        parts.append("num")
    if spec.categorical:
        inputs.append(_info("cat", TensorProto.STRING, len(spec.categorical)))
    for index, feature in enumerate(spec.categorical):
        column = graph.node("Gather", ["cat", graph.constant([index], np.int64)], axis=1)
        # An encoder needs at least one key; a control character never occurs in data.
        keys = list(feature.levels) or ["\x00"]
        parts.append(
            graph.node(
                "LabelEncoder",
                [column],
                domain="ai.onnx.ml",
                keys_strings=keys,
                values_floats=[float(code) for code in range(len(keys))],
                default_float=float(len(feature.levels)),
            )
        )
    graph.node("Concat", parts, "x", axis=1)
    return inputs


def _model(graph: _Graph, model: Model, spec: FeatureSpec) -> str:
    # In double precision up to the answer: calibration takes the log-odds of a probability again,
    # and next to 1 single precision has lost them.
    if isinstance(model, Linear):
        return graph.node("Sigmoid", [_linear(graph, model, len(spec.numeric))])
    total = graph.node("Cast", [_forest(graph, model)], to=TensorProto.DOUBLE)
    return graph.node("Sigmoid", [total]) if model.log_odds else total


def _forest(graph: _Graph, forest: Forest) -> str:
    leaves = [index for index, mode in enumerate(forest.mode) if mode == "LEAF"]
    return graph.node(
        "TreeEnsembleRegressor",
        ["x"],
        domain="ai.onnx.ml",
        nodes_treeids=forest.tree.tolist(),
        nodes_nodeids=forest.node.tolist(),
        nodes_featureids=forest.feature.tolist(),
        nodes_modes=forest.mode,
        nodes_values=forest.value.tolist(),
        nodes_truenodeids=forest.true.tolist(),
        nodes_falsenodeids=forest.false.tolist(),
        nodes_missing_value_tracks_true=forest.missing_true.tolist(),
        target_treeids=forest.tree[leaves].tolist(),
        target_nodeids=forest.node[leaves].tolist(),
        target_ids=[0] * len(leaves),
        target_weights=forest.value[leaves].tolist(),
        n_targets=1,
        aggregate_function="SUM",
        post_transform="NONE",
    )


def _linear(graph: _Graph, model: Linear, width: int) -> str:
    # In double precision: large numbers cancel here, which trees never see.
    total = graph.constant([[model.intercept]])
    if width:
        columns = graph.constant(np.arange(width), np.int64)
        numbers = graph.node("Gather", ["x", columns], axis=1)
        missing = graph.node("IsNaN", [numbers])
        fill = graph.constant(model.fill[None], np.float32)
        filled = graph.node("Where", [missing, fill, numbers])
        for values, weight in ((filled, model.weight), (missing, model.missing_weight)):
            double = graph.node("Cast", [values], to=TensorProto.DOUBLE)
            column = graph.constant(weight[:, None])
            total = graph.node("Add", [total, graph.node("MatMul", [double, column])])
    for index, table in enumerate(model.tables):
        column = graph.node("Gather", ["x", graph.constant([width + index], np.int64)], axis=1)
        capped = graph.node("Min", [column, graph.constant([[len(table) - 1]], np.float32)])
        code = graph.node("Cast", [capped], to=TensorProto.INT64)
        entry = graph.node("Gather", [graph.constant(table), code])
        total = graph.node("Add", [total, entry])
    return total


def _calibrated(graph: _Graph, calibration: Calibration, probability: str) -> str:
    if calibration.method == "sigmoid":
        low, high = graph.constant(CLIP), graph.constant(1 - CLIP)
        clipped = graph.node("Clip", [probability, low, high])
        rest = graph.node("Sub", [graph.constant([[1.0]]), clipped])
        log_odds = graph.node("Log", [graph.node("Div", [clipped, rest])])
        scaled = graph.node("Mul", [log_odds, graph.constant([[calibration.slope]])])
        moved = graph.node("Add", [scaled, graph.constant([[calibration.intercept]])])
        return graph.node("Sigmoid", [moved])
    if calibration.method == "isotonic":
        return _interpolated(graph, calibration, probability)
    return probability


def _interpolated(graph: _Graph, calibration: Calibration, probability: str) -> str:
    """Interpolate as a sum of one clipped ramp per segment: y0 + sum of slope * clip(p - x)."""
    x, y = calibration.knots_x.astype(np.float64), calibration.knots_y.astype(np.float64)
    if len(x) == 1:
        zero = graph.node("Mul", [probability, graph.constant([[0.0]])])
        return graph.node("Add", [zero, graph.constant([[y[0]]])])
    widths = np.diff(x)
    offset = graph.node("Sub", [probability, graph.constant(x[None, :-1])])
    above = graph.node("Max", [offset, graph.constant([[0.0]])])
    ramp = graph.node("Min", [above, graph.constant(widths[None])])
    rise = graph.node("MatMul", [ramp, graph.constant((np.diff(y) / widths)[:, None])])
    return graph.node("Add", [rise, graph.constant([[y[0]]])])
