"""Operators from an image to a few numbers by the vector of a pretrained network.

The network is an ONNX file in `pretrained/`, which a team puts there; its weights stay as they
are. What is learnt from its vectors is as small as with patches.
"""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, inliner

from .. import pixels, storage
from ..errors import ProjectError
from .embeddings import OfVectors, directions, made
from .glances import Backbone, Glance, Order, Prepared
from .operators import Count, Floats, Learnt, Rows
from .pretrained import content_of, short
from .weighed import Parts, Single, Weighed
from .words import honest, of_goals

Colours = tuple[float, float, float]
# Of ImageNet, whose images most networks have learnt from (Russakovsky et al. 2015).
MEAN: Colours = (0.485, 0.456, 0.406)
STD: Colours = (0.229, 0.224, 0.225)
WIDEST = 8192  # numbers of a vector: pooled ones have at most 4,096, more are of places


class OfNetwork(OfVectors, frozen=True, kw_only=True):
    """Numbers of an image by its vector of a network, an ONNX file such as pretrained/x.onnx.

    Values of 0 to 1 minus `mean`, over `std`, in the order of `colours`, are its input, at the size
    that it names, or at `size`. `output` names a tensor within it, such as the pooled one before
    the classes; without it, its last output is taken.
    """

    mean: Colours = MEAN
    std: Colours = STD
    colours: Order = "rgb"
    size: Annotated[int, msgspec.Meta(ge=0, le=1024)] = 0
    output: str = ""
    takes: ClassVar[str] = "image"
    gives: ClassVar[str] = "seen"
    without_target: ClassVar[str] = "NetworkTopics"
    way: ClassVar[str] = "backbone"

    def problem(self) -> str:
        """Ask for a network that can be run."""
        if min(self.std) <= 0:
            return "std must be above 0"
        return OfVectors.problem(self)

    def opened(self) -> tuple[Backbone, dict[str, str]]:
        """Return the network, and the SHA-256 of its file."""
        path = Path(self.model)
        if not path.is_file():
            raise ValueError(f"there is no file {short(path)}: put a network in ONNX there")
        stamp = (path.stat().st_size, path.stat().st_mtime_ns)
        given = Prepared(self.size, True, self.colours, self.mean, self.std)
        return _opened(path, stamp, given, self.output)

    def vectors(self, levels: tuple[str, ...]) -> tuple[Single, NDArray[np.bool_]]:
        """Return the vector of each image (images, width), and which values have one."""
        return made(levels, self.opened()[0], _vector, "looking at images")

    def learn(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Learnt:
        """Learn weights from the vectors of rows; the table has the numbers of all images."""
        side = pixels.side_of(next(filter(None, levels), None))
        return super().learn(columns, levels, rows) | {"side": np.array(side)}

    def weighing(self, learnt: Learnt) -> Weighed:
        """Return what a bundle holds of it."""
        backbone, origin = self.opened()
        parts = Parts(*(learnt[name] for name in Parts._fields))
        return Glance(backbone, int(learnt.get("side", 1)), parts, origin)


class Network(OfNetwork, frozen=True, kw_only=True):
    """What a linear model of an image's vector says of the target: a number for each of its goals.

    As `Sentences` of a text.
    """

    purpose: ClassVar[str] = "what is seen, as a pretrained network has learnt it, tells of it"

    def weights(self, x: Any, rows: Rows) -> tuple[Floats, Floats]:
        """Fit each goal."""
        return of_goals(self, x, rows)

    def training(self, columns: Floats, levels: tuple[str, ...], rows: Rows) -> Floats:
        """Return numbers that hold no row's own target, shape (rows, goals)."""
        return honest(self, columns, levels, rows)


class NetworkTopics(OfNetwork, frozen=True, kw_only=True):
    """The `keep` directions in which the vectors of images differ the most."""

    keep: Count = 8
    purpose: ClassVar[str] = "what images show, as a pretrained network has learnt it"

    def weights(self, x: Any, rows: Rows) -> tuple[Floats, Floats]:
        """Learn by the axes of the vectors."""
        return directions(x, self.keep)


def _vector(backbone: Any, level: str) -> Single | None:
    if not level:
        return None
    found: Single = backbone.vector(pixels.read(level, pixels.side_of(level)))
    return found


@lru_cache(maxsize=4)
def _opened(
    path: Path, stamp: tuple[int, int], given: Prepared, output: str
) -> tuple[Backbone, dict[str, str]]:
    content = content_of(path)
    try:
        model = onnx.load_from_string(content)
        model = inliner.inline_local_functions(model) if model.functions else model
    except Exception as error:  # protobuf raises one class per kind of damage
        reason = str(error).splitlines()[0]
        raise ValueError(f"{short(path)} is no ONNX file ({reason}): get it again") from None
    if not model.graph.node:
        raise ValueError(f"{short(path)} is no ONNX file (it has no nodes): get it again")
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise ValueError(f"{short(path)} keeps its weights in another file: save it as one file")
    size, is_first = _input(path, model, given.size)
    graph = _cut(path, model, output)
    try:
        backbone = Backbone(graph, given._replace(size=size, is_first=is_first))
    except ProjectError as error:
        raise ValueError(f"{short(path)}: {error}") from None
    except Exception as error:  # the runtime raises one class per kind of mismatch
        reason = str(error).splitlines()[0]
        raise ValueError(f"{short(path)} cannot be run on {size} x {size}: {reason}") from None
    grey = np.full((size, size, 3), 128, dtype=np.uint8)
    if not np.isfinite(backbone.vector(grey)).all() or not 2 <= backbone.width <= WIDEST:
        raise ValueError(
            f"{short(path)} gives no vector of 2 to {WIDEST:,} numbers: name its pooled `output`"
        )
    return backbone, {short(path): storage.sha256_bytes(content)}


def _input(path: Path, model: onnx.ModelProto, size: int) -> tuple[int, bool]:
    """Return pixels of a side, and whether colours stand before rows."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in weights]
    shape = inputs[0].type.tensor_type.shape.dim if len(inputs) == 1 else []
    found = [each.dim_value for each in shape]
    is_float = len(inputs) == 1 and inputs[0].type.tensor_type.elem_type == TensorProto.FLOAT
    if len(found) != 4 or 3 not in (found[1], found[3]) or not is_float:
        told = "; ".join(f"{each.name} {_shape(each)}" for each in inputs)
        raise ValueError(
            f"{short(path)} reads {told}: it has to read one image, float32 [1, 3, rows, columns] "
            "or [1, rows, columns, 3]"
        )
    is_first = found[1] == 3
    own = set(found[2:] if is_first else found[1:3])
    if found[0] > 1 or len(own) > 1:
        raise ValueError(
            f"{short(path)} reads {_shape(inputs[0])}: it has to read one square image"
        )
    (named,) = own
    if not (named or size):
        raise ValueError(f"{short(path)} reads images of any size: give size=224 or the like")
    if named and size not in (0, named):
        raise ValueError(f"{short(path)} reads {named} pixels a side, not {size}: leave size out")
    return named or size, is_first


def _shape(value: onnx.ValueInfoProto) -> list[Any]:
    return [each.dim_param or each.dim_value for each in value.type.tensor_type.shape.dim]


def _cut(path: Path, model: onnx.ModelProto, output: str) -> bytes:
    """Return the graph up to one tensor: what comes after it would be computed for nothing."""
    name = output or model.graph.output[-1].name
    needed, nodes = {name}, list[onnx.NodeProto]()
    for node in reversed(model.graph.node):
        if needed & {*node.output}:
            needed |= {*node.input} | {n for part in node.attribute for n in _within(part)}
            nodes.insert(0, node)
    if not nodes:
        last = ", ".join(node.output[0] for node in model.graph.node[-6:])
        raise ValueError(f"{short(path)} has no tensor {output!r}: its last ones are {last}")
    kept = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    del model.graph.node[:], model.graph.output[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(kept)
    weights = {tensor.name for tensor in kept}
    inputs = [each for each in model.graph.input if each.name in needed - weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return bytes(model.SerializeToString(deterministic=True))


def _within(part: onnx.AttributeProto) -> set[str]:
    """Return the tensors that the graphs of a condition or a loop take from around them."""
    graphs = [part.g, *part.graphs] if part.type in (part.GRAPH, part.GRAPHS) else []
    own = {name for graph in graphs for node in graph.node for name in node.input}
    more = {n for g in graphs for node in g.node for a in node.attribute for n in _within(a)}
    return own | more
