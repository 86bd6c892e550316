"""Write one ONNX graph: raw columns, codes, models, blend, and the head with the answers.

The graph is emitted by hand from plain data, because general converters are silently wrong for
calibrated models, large numbers and categories; the parity gate in bundle.py proves each graph.
"""

from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from . import wanted
from .beyond import Beyond
from .builder import Graph, info, model_of
from .derived import Sees
from .head import Head
from .plain import Forest, Linear, Link, Matrix, Model, Predict
from .scorer import FeatureSpec
from .stacking import Second


class Member(NamedTuple):
    """A fitted model, what it sees of the columns (None: all), and its share in the blend."""

    model: Model
    predict: Predict
    sees: Sees | None = None
    share: float = 1.0


class Predictor(NamedTuple):
    """A blend of models with one last step: score = head(sum of share * prediction).

    Where there is a `second` model, it takes the predictions of the members in place of the sum.
    """

    members: tuple[Member, ...]
    head: Head = Head()
    second: Second | None = None

    def predict(self, x: Matrix, beyond: Beyond | None = None) -> NDArray[np.float64]:
        """Predict the score with the training libraries, shape (rows,) or (rows, outputs)."""
        return self.head.apply(self._blend(x, beyond))

    def answers(self, x: Matrix) -> dict[str, NDArray[np.float64]]:
        """Return what the graph must repeat: outputs by name, of shape (rows,) or more."""
        return self.head.answers(self._blend(x))

    def served(self) -> "Predictor":
        """Return it as a bundle has it: a matrix holds what is made of texts, not texts."""
        served = (member.sees and member.sees.served() for member in self.members)
        pairs = zip(self.members, served, strict=True)
        return self._replace(members=tuple(m._replace(sees=sees) for m, sees in pairs))

    def _blend(self, x: Matrix, beyond: Beyond | None = None) -> NDArray[np.float64]:
        predictions = [wanted.predicted(member, x, beyond) for member in self.members]
        if self.second:
            return self.second.predict(predictions)
        shares = (member.share for member in self.members)
        total = sum(share * values for share, values in zip(shares, predictions, strict=True))
        return np.asarray(total, dtype=np.float64)


def emit(predictor: Predictor, spec: FeatureSpec, *, encoded: bool) -> bytes:
    """Return the ONNX model, whose outputs are those of the head.

    encoded: input `x` float32 [rows, features]. Otherwise inputs `num` float32 [rows, numbers] and
    `cat` string [rows, categories] ("" where missing).
    """
    graph = Graph()
    if encoded:
        inputs = [info("x", TensorProto.FLOAT, len(spec.names))]
    else:
        inputs = _raw_inputs(graph, spec)
    predictions = []
    made: dict[str, str] = {}  # tensors of features that are learnt, for all members alike
    views: dict[str, str] = {}
    for member in predictor.members:
        seen = spec
        if member.sees:
            seen, view = member.sees.spec, member.sees.view
            if view not in views:
                views[view] = member.sees.derived.emit(graph, view, made)
            graph.matrix = views[view]
        predictions.append(predicted(graph, member.model, len(seen.numeric)))
    if second := predictor.second:
        blend = linked(graph, second.link, second.emit(graph, predictions))
    else:
        shares = [graph.constant([[member.share]]) for member in predictor.members]
        parts = zip(predictions, shares, strict=True)
        weighted = [graph.node("Mul", [values, share]) for values, share in parts]
        blend = weighted[0]
        for other in weighted[1:]:
            blend = graph.node("Add", [blend, other])
    outputs = predictor.head.emit(graph, blend)
    return model_of(graph, inputs, outputs)


def _raw_inputs(graph: Graph, spec: FeatureSpec) -> list[onnx.ValueInfoProto]:
    inputs, parts = [], []
    if spec.numeric:
        inputs.append(info("num", TensorProto.FLOAT, len(spec.numeric)))
        parts.append("num")
    if spec.categorical:
        inputs.append(info("cat", TensorProto.STRING, len(spec.categorical)))
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


def predicted(graph: Graph, model: Model, width: int) -> str:
    """Add the nodes of a model that sees `width` numbers; return its column, double."""
    # In double precision up to the answer: the head may lead a prediction back to the model's sum,
    # which single precision has lost at the ends of a link.
    if isinstance(model, Linear):
        return linked(graph, model.link, _linear(graph, model, width))
    if not isinstance(model, Forest):
        return model.emit(graph, width)
    total = graph.node("Cast", [_forest(graph, model, width)], to=TensorProto.DOUBLE)
    return linked(graph, model.link, total)


def linked(graph: Graph, link: Link, total: str) -> str:
    """Repeat Link.apply; steps that change nothing are left out."""
    steps = [("Mul", link.scale, 1.0), ("Add", link.offset, 0.0)]
    for operator, value, neutral in steps:
        if value != neutral:
            total = graph.node(operator, [total, graph.constant([[value]])])
    if link.kind == "logit":
        return graph.node("Sigmoid", [total])
    if link.kind == "softmax":
        return graph.node("Softmax", [total], axis=1)
    if link.kind == "log":
        bounds = [graph.constant(link.low), graph.constant(link.high)]
        total = graph.node("Exp", [graph.node("Clip", [total, *bounds])])
        if link.shift:
            total = graph.node("Sub", [total, graph.constant([[link.shift]])])
    return total


def _forest(graph: Graph, forest: Forest, width: int) -> str:
    source = graph.matrix
    if forest.tables:
        columns = graph.constant(np.arange(width), np.int64)
        parts = [graph.node("Gather", [graph.matrix, columns], axis=1)] if width else []
        parts += _looked_up(graph, forest.tables, width)
        source = graph.node("Concat", parts, axis=1)
    leaves = forest.leaves
    return graph.node(
        "TreeEnsembleRegressor",
        [source],
        domain="ai.onnx.ml",
        nodes_treeids=forest.tree,
        nodes_nodeids=forest.node,
        nodes_featureids=forest.feature,
        nodes_modes=np.array(forest.mode),
        nodes_values=forest.value,
        nodes_truenodeids=forest.true,
        nodes_falsenodeids=forest.false,
        nodes_missing_value_tracks_true=forest.missing_true,
        target_treeids=forest.tree[leaves.place],
        target_nodeids=forest.node[leaves.place],
        target_ids=leaves.output,
        target_weights=leaves.weight,
        n_targets=forest.outputs,
        aggregate_function="SUM",
        post_transform="NONE",
    )


def _linear(graph: Graph, model: Linear, width: int) -> str:
    # In double precision: large numbers cancel here, which trees never see.
    total = graph.constant(np.reshape(model.intercept, (1, -1)))
    if width:
        columns = graph.constant(np.arange(width), np.int64)
        numbers = graph.node("Gather", [graph.matrix, columns], axis=1)
        missing = graph.node("IsNaN", [numbers])
        fill = graph.constant(model.fill[None], np.float32)
        filled = graph.node("Where", [missing, fill, numbers])
        for values, weight in ((filled, model.weight), (missing, model.missing_weight)):
            double = graph.node("Cast", [values], to=TensorProto.DOUBLE)
            column = graph.constant(weight.reshape(width, -1))
            total = graph.node("Add", [total, graph.node("MatMul", [double, column])])
    for entry in _looked_up(graph, model.tables, width):
        double = graph.node("Cast", [entry], to=TensorProto.DOUBLE)
        total = graph.node("Add", [total, double])
    return total


def _looked_up(graph: Graph, tables: tuple[NDArray[np.float32], ...], width: int) -> list[str]:
    """Return for each category what its table holds for the code, float32 [rows, 1 or outputs]."""
    found = []
    for index, table in enumerate(tables):
        column = graph.node(
            "Gather", [graph.matrix, graph.constant([width + index], np.int64)], axis=1
        )
        capped = graph.node("Min", [column, graph.constant([[len(table) - 1]], np.float32)])
        code = graph.node("Cast", [capped], to=TensorProto.INT64)
        gathered = graph.node("Gather", [graph.constant(table, np.float32), code])
        if table.ndim > 1:
            gathered = graph.node("Squeeze", [gathered, graph.constant([1], np.int64)])
        found.append(gathered)
    return found
