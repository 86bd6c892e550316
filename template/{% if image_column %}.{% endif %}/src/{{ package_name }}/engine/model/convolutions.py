"""A small convolutional network, learnt from images by numpy alone and written as a graph.

Blocks of a convolution of 3 x 3, the largest of each 2 x 2 and ReLU, each with twice the filters of
the one before, then one dense layer (LeCun et al. 1998). Learnt by Adam in batches, under a rate
that falls as a cosine, on images that are changed at random; a quarter of the last numbers is left
out in each batch (Srivastava et al. 2014). The epoch with the least loss on rows that were kept
apart is the one that stays.
"""

import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np
from onnx import TensorProto, helper

from .builder import Graph, model_of
from .descent import Adam, Aim, Single, measured

Change = Literal["shift", "turn", "zoom", "flip", "light"]
Layers = list[tuple[Single, Single]]  # kernels (9 x channels, filters) and offsets, dense ones last

KERNEL = 3  # pixels of a side
SMALLEST = 6  # pixels of a side that are still halved
RATE, WARM = 4e-3, 100  # the highest step of Adam, reached after so many batches
BATCH, LEAST_BATCH, BATCHES = 64, 8, 32  # rows of a batch; more batches an epoch where rows are few
LEFT_OUT = 0.25
KEPT_APART = 10  # one of so many rows says when to stop
PATIENCE = 10  # epochs without a smaller loss
SHIFT, TURN, ZOOM, LIGHT = 0.08, 0.2, 0.1, 0.2  # of a side, radians, shares


class Net(NamedTuple):
    """Layers, and what pixels are brought to mean 0 and spread 1 with, for each channel."""

    mean: Single
    spread: Single
    layers: Layers


class Plan(NamedTuple):
    """How a network is learnt: filters of its first block, epochs at most, changes, the seed."""

    filters: int
    epochs: int
    changes: tuple[Change, ...]
    seed: int


def learnt(images: Single, goal: Aim, plan: Plan, tell: Callable[[], None]) -> Net:
    """Return a network for images (rows, side, side, channels), values of 0 to 1, and their goals.

    It gives one number for each goal: a log odds where all are 0 or 1, else the goal. `tell` is
    called after each epoch.
    """
    rng = np.random.default_rng(plan.seed)
    mean = images.mean(axis=(0, 1, 2))
    spread = images.std(axis=(0, 1, 2)) + np.float32(1e-3)
    x = (images - mean) / spread
    order = rng.permutation(len(x))
    apart, own = np.split(order, [max(1, len(x) // KEPT_APART)])
    layers = _drawn(images.shape[1], images.shape[3], plan.filters, goal.wanted.shape[1], rng)
    adam = Adam([*chain(*layers)])
    batch = min(BATCH, max(LEAST_BATCH, len(own) // BATCHES))
    steps = plan.epochs * -(-len(own) // batch)
    best, least, waited, done = layers, np.inf, 0, 0
    for _ in range(plan.epochs):
        turned = rng.permutation(own)
        for start in range(0, len(turned), batch):
            rows = turned[start : start + batch]
            seen = changed(x[rows], plan.changes, rng)
            stays = rng.random((len(rows), len(layers[-1][0])), dtype=np.float32) > LEFT_OUT
            share = (stays / (1 - LEFT_OUT)).astype(np.float32)
            found, tape = _forward(seen, layers, share)
            slopes = _backward(goal.pull(found, rows), layers, tape, share)
            done += 1
            rates = [_rate(done, steps)] * 2 * len(layers)
            moved = adam.moved([*chain(*layers)], [*chain(*slopes)], rates)
            layers = list(zip(moved[::2], moved[1::2], strict=True))
        now = measured(numbers(x[apart], layers), goal.wanted[apart], goal.loss)
        best, least, waited = (layers, now, 0) if now < least else (best, least, waited + 1)
        tell()
        if waited == PATIENCE:
            break
    return Net(mean, spread, [*best[:-1], goal.layer(*best[-1])])


def _rate(done: int, steps: int) -> float:
    """Return the rate of a step, which rises at first and then falls as a cosine."""
    return RATE * (1 + math.cos(math.pi * done / steps)) / 2 * min(1.0, done / WARM)


def numbers(x: Single, layers: Layers) -> Single:
    """Return what layers give of standard pixels (rows, side, side, channels): (rows, goals)."""
    parts = [_forward(x[at : at + BATCH], layers)[0] for at in range(0, len(x), BATCH)]
    return np.concatenate(parts)


def emitted(nets: Sequence[Net], size: int, channels: int) -> bytes:
    """Return the graph from values of 0 to 1 (1, size, size, channels) to the mean of networks."""
    graph = Graph()
    first = graph.node("Transpose", ["image"], perm=[0, 3, 1, 2])
    found = []
    for net in nets:
        mean, spread = (graph.constant(each[None, :, None, None], np.float32) for each in net[:2])
        seen = graph.node("Div", [graph.node("Sub", [first, mean]), spread])
        for kernels, offset in net.layers[:-1]:
            shape = (KERNEL, KERNEL, -1, len(offset))
            turned = kernels.reshape(shape).transpose(3, 2, 0, 1)
            inputs = [seen, graph.constant(turned, np.float32), graph.constant(offset, np.float32)]
            seen = graph.node("Conv", inputs, pads=[1, 1, 1, 1], kernel_shape=[KERNEL, KERNEL])
            seen = graph.node("MaxPool", [seen], kernel_shape=[2, 2], strides=[2, 2])
            seen = graph.node("Relu", [seen])
        weights, offset = net.layers[-1]
        flat = graph.node("Flatten", [graph.node("Transpose", [seen], perm=[0, 2, 3, 1])])
        product = graph.node("MatMul", [flat, graph.constant(weights, np.float32)])
        found.append(graph.node("Add", [product, graph.constant(offset[None], np.float32)]))
    graph.node("Mean", found, "numbers")
    given = [1, size, size, channels]
    goals = len(nets[0].layers[-1][1])
    return model_of(
        graph,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, given)],
        [helper.make_tensor_value_info("numbers", TensorProto.FLOAT, [1, goals])],
    )


def changed(x: Single, changes: Sequence[Change], rng: np.random.Generator) -> Single:
    """Return images of which each is moved, turned, enlarged, mirrored or lit as `changes` say.

    What comes from outside of an image repeats its edge.
    """
    if not changes:
        return x
    rows, side = x.shape[:2]
    angle = _uniform(rng, TURN * ("turn" in changes), rows)
    size = 1 + _uniform(rng, ZOOM * ("zoom" in changes), rows)
    mirror = np.where(rng.random(rows) < 0.5 * ("flip" in changes), -1, 1).astype(np.float32)
    place = _uniform(rng, SHIFT * side * ("shift" in changes), 2 * rows).reshape(rows, 2)
    if "light" in changes:
        contrast, more = (_uniform(rng, LIGHT, rows)[:, None, None, None] for _ in range(2))
        x = x * (1 + contrast) + more
    if {*changes} == {"light"}:
        return x
    return _sampled(x, (np.cos(angle) * size, np.sin(angle) * size, mirror), place)


def _uniform(rng: np.random.Generator, most: float, count: int) -> Single:
    """Return numbers of -most to most."""
    return rng.uniform(-most, most, count).astype(np.float32)


def _sampled(x: Single, turn: tuple[Single, Single, Single], place: Single) -> Single:
    """Read images at turned and moved places, between four pixels each."""
    side = x.shape[1]
    along, across, mirror = (each[:, None, None] for each in turn)
    middle = np.float32((side - 1) / 2)
    grid = np.arange(side, dtype=np.float32) - middle
    down, right = grid[:, None], grid[None, :] * mirror
    moved = place[:, :, None, None] + middle
    row = np.clip(along * down - across * right + moved[:, 0], 0, side - 1)
    column = np.clip(across * down + along * right + moved[:, 1], 0, side - 1)
    top = np.minimum(row.astype(np.int32), side - 2)
    left = np.minimum(column.astype(np.int32), side - 2)
    # Less an int32 it would be a float64, and all that follows half as fast.
    under, beside = (
        (row - top.astype(np.float32))[..., None],
        (column - left.astype(np.float32))[..., None],
    )
    which = np.arange(len(x))[:, None, None]
    upper = x[which, top, left] * (1 - beside) + x[which, top, left + 1] * beside
    lower = x[which, top + 1, left] * (1 - beside) + x[which, top + 1, left + 1] * beside
    return np.asarray(upper * (1 - under) + lower * under)


def _drawn(side: int, channels: int, filters: int, goals: int, rng: np.random.Generator) -> Layers:
    """Return layers to begin with (He et al. 2015)."""
    layers: Layers = []
    while side >= SMALLEST:
        values = KERNEL**2 * channels
        kernels = rng.standard_normal((values, filters), dtype=np.float32)
        layers.append((kernels * np.float32(np.sqrt(2 / values)), np.zeros(filters, np.float32)))
        side, channels, filters = side // 2, filters, 2 * filters
    width = side**2 * channels
    weights = rng.standard_normal((width, goals), dtype=np.float32)
    layers.append((weights / np.float32(np.sqrt(width)), np.zeros(goals, np.float32)))
    return layers


class _Seen(NamedTuple):
    """What a block saw: pixels of a side, patches, the quarters of what it gave, the largest."""

    side: int
    cut: Single
    quarters: list[Single]
    largest: Single


def _cut(x: Single) -> Single:
    """Return the patch around each pixel: (rows x side x side, 9 x channels)."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shape = (KERNEL, KERNEL)
    windows = np.lib.stride_tricks.sliding_window_view(padded, shape, axis=(1, 2))
    return windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, KERNEL**2 * x.shape[3])


def _quarters(values: Single) -> list[Single]:
    """Return views of the four pixels of each 2 x 2; an odd last row and column stay out."""
    side = values.shape[1] // 2 * 2
    whole = values[:, :side, :side]
    return [whole[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]


def _forward(
    x: Single, layers: Layers, share: Single | None = None
) -> tuple[Single, tuple[list[_Seen], Single]]:
    tape = []
    for kernels, offset in layers[:-1]:
        cut = _cut(x)
        given = (cut @ kernels + offset).reshape(*x.shape[:3], -1)
        quarters = _quarters(given)
        largest = np.maximum(
            np.maximum(quarters[0], quarters[1]), np.maximum(quarters[2], quarters[3])
        )
        tape.append(_Seen(x.shape[1], cut, quarters, largest))
        x = np.maximum(largest, 0)
    flat = x.reshape(len(x), -1)
    flat = flat if share is None else flat * share
    weights, offset = layers[-1]
    return flat @ weights + offset, (tape, flat)


def _backward(
    pull: Single, layers: Layers, seen: tuple[list[_Seen], Single], share: Single
) -> Layers:
    """Return the gradient of each layer, from that of the loss by the numbers (rows, goals)."""
    tape, flat = seen
    found = [(flat.T @ pull, pull.sum(axis=0))]
    back = (pull @ layers[-1][0].T) * share
    back = back.reshape(len(pull), *tape[-1].largest.shape[1:])
    for index in range(len(tape) - 1, -1, -1):
        side, cut, quarters, largest = tape[index]
        kernels = layers[index][0]
        back = back * (largest > 0)
        whole = np.zeros((len(pull), side, side, kernels.shape[1]), dtype=np.float32)
        for place, quarter in zip(_quarters(whole), quarters, strict=True):
            place[:] = back * (quarter == largest)
        flat_back = whole.reshape(-1, kernels.shape[1])
        found.append((cut.T @ flat_back, flat_back.sum(axis=0)))
        if index:  # a convolution with the kernels turned round
            turned = kernels.reshape(KERNEL, KERNEL, -1, kernels.shape[1])[::-1, ::-1]
            turned = turned.transpose(0, 1, 3, 2).reshape(KERNEL**2 * kernels.shape[1], -1)
            back = (_cut(whole) @ turned).reshape(len(pull), side, side, -1)
    return found[::-1]
