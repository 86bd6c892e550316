"""What a stored ONNX graph says of itself, read without the onnx library, which is not served.

An ONNX file is a protocol buffer; the field numbers below are those of onnx.proto
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from ..errors import ProjectError

GRAPH, TRAINING, FUNCTIONS = 7, 20, 25  # of a model
NODES, INITIALIZERS, SPARSE = 1, 5, 15  # of a graph
INPUTS, OUTPUTS, OPERATOR, ATTRIBUTES = 1, 2, 4, 5  # of a node
FLOATS, NAME, RAW, EXTERNAL, LOCATION = 4, 8, 9, 13, 14  # of a tensor
TENSORS, GRAPHS, SPARSES = (5, 10), (6, 11), (22, 23)  # of an attribute


Stated = dict[str, float | str]
Found = TypeVar("Found")


class Node(NamedTuple):
    """A node's operator and the names of its inputs."""

    operator: str
    inputs: list[str]


class Stored(NamedTuple):
    """A graph: its nodes by their first output, its constants by their names."""

    nodes: dict[str, Node]
    tensors: dict[str, bytes]

    def number(self, name: str) -> float:
        """Return the one float32 of a constant."""
        (value,) = self.numbers(name)
        return value

    def numbers(self, name: str) -> tuple[float, ...]:
        """Return the float32 of a constant."""
        found = self.content(name, FLOATS, RAW)
        return struct.unpack(f"<{len(found) // 4}f", found)

    def content(self, name: str, *fields: int) -> bytes:
        """Return the bytes of a constant, from the first of these fields that it has."""
        return next(found for n, found in _messages(self.tensors[name]) if n in fields)


def stated(model: bytes, read: Callable[[Stored], Found]) -> Found:
    """Read what a graph decides by; ProjectError when it is none that graph.py emitted."""
    try:
        return read(_parts(model))
    except (StopIteration, LookupError, ValueError, struct.error) as error:
        raise ProjectError(f"the model file is not a graph of this project: {error!r}") from None


def refuse_external(model: bytes) -> None:
    """Refuse a graph that takes numbers from other files: no hash of the bundle covers those."""
    if b"location" not in model:  # the key that every such reference has
        return
    try:
        outside = any(_external(number, value) for number, value in _fields(model))
    except ValueError:
        return  # damaged: onnxruntime says so
    if outside:
        raise ProjectError("the model file refers to data outside of itself: train again")


def _external(number: int, value: int | bytes) -> bool:
    """Whether a field of a model holds a reference; this project's graphs have no functions."""
    if number in (TRAINING, FUNCTIONS):
        return True
    return number == GRAPH and isinstance(value, bytes) and _in_graph(value)


def _in_graph(graph: bytes) -> bool:
    found = list(_messages(graph))
    tensors = [value for number, value in found if number == INITIALIZERS]
    tensors += [part for n, value in found if n == SPARSE for _, part in _messages(value)]
    attributes = [
        item
        for number, node in found
        if number == NODES
        for name, attribute in _messages(node)
        if name == ATTRIBUTES
        for item in _messages(attribute)
    ]
    tensors += [value for number, value in attributes if number in TENSORS]
    tensors += [part for n, value in attributes if n in SPARSES for _, part in _messages(value)]
    graphs = [value for number, value in attributes if number in GRAPHS]
    return any(map(_is_outside, tensors)) or any(map(_in_graph, graphs))


def _is_outside(tensor: bytes) -> bool:
    return any(n == EXTERNAL or (n == LOCATION and value) for n, value in _fields(tensor))


def _parts(model: bytes) -> Stored:
    nodes, tensors = {}, {}
    graph = next(value for number, value in _messages(model) if number == GRAPH)
    for number, value in _messages(graph):
        if number == NODES:
            fields = [(n, v) for n, v in _messages(value) if n in (INPUTS, OUTPUTS, OPERATOR)]
            texts = [(n, v.decode()) for n, v in fields]
            operator = next(v for n, v in texts if n == OPERATOR)
            first = next(v for n, v in texts if n == OUTPUTS)
            nodes[first] = Node(operator, [v for n, v in texts if n == INPUTS])
        elif number == INITIALIZERS:
            name = next(v for n, v in _messages(value) if n == NAME)
            tensors[name.decode()] = value
    return Stored(nodes, tensors)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Give the fields that are texts, bytes or messages."""
    return ((number, value) for number, value in _fields(data) if isinstance(value, bytes))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Give number and value of each field; ValueError when the bytes are no protocol buffer."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        kind = key & 7
        if kind == 0:
            whole, place = _varint(data, place)
            yield key >> 3, whole
            continue
        if kind == 2:
            size, place = _varint(data, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError("it is damaged")
        if place + size > len(data):
            raise ValueError("it is cut off")
        yield key >> 3, data[place : place + size]
        place += size


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data) and shift < 70:
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
    raise ValueError("it is cut off")
