"""The last layers of BERT and a dense one behind them, learnt by numpy alone.

Gradients go back through attention, GELU and the normalisation of layers (Vaswani et al. 2017;
Hendrycks and Gimpel 2016; Ba et al. 2016) to the last of the layers that stay as they came.
A batch holds texts of about one length; the rate rises, then falls linearly (Devlin et al. 2019).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .descent import Adam, Aim, Single

RATE, LAST = 1e-4, 1e-2  # of the layers that came, and of the one that is new
DECAY = 0.01  # of weights, in multiples of the rate (Loshchilov and Hutter 2019)
WARM = 0.1  # of the steps
BATCH, ALIKE = 16, 16  # texts of a batch; so many batches are sorted by length at a time
HIDDEN = np.float32(-1e9)  # a score of attention that is no share
QUERY, KEY, VALUE = (f"attention.self.{name}" for name in ("query", "key", "value"))
HEARD, FIRST = "attention.output.dense", "attention.output.LayerNorm"
INNER, OUTER, SECOND = "intermediate.dense", "output.dense", "output.LayerNorm"
Codes = NDArray[np.int64]
Layer = dict[str, Single]  # weights and biases by their names in a file of BERT


class Kind(NamedTuple):
    """How a layer works: heads of attention, gelu or relu, what is added to a variance.

    `by_first`: the first token stands for a text, else the mean of all.
    """

    heads: int
    act: str
    small: float
    by_first: bool


class Net(NamedTuple):
    """The last layers, then weights (width, goals) and offsets (goals,)."""

    layers: list[Layer]
    weights: Single
    offset: Single


def learnt(
    seen: Sequence[Single],
    rows: Codes,
    goal: Aim,
    net: tuple[list[Layer], Kind, int, int],
    tell: Callable[[], None],
) -> Net:
    """Return layers that say the goals of rows; `rows` are places in `seen`.

    `seen` holds what the layer below says of each text's tokens, (tokens, width); `net` is what the
    layers are to begin with, their kind, epochs and the seed. `tell` is called after each epoch.
    """
    layers, kind, epochs, seed = net
    rng = np.random.default_rng(seed)
    width = len(layers[-1][f"{SECOND}.bias"])
    head = [np.zeros((width, goal.wanted.shape[1]), np.float32), _begun(goal)]
    names = [(place, name) for place, layer in enumerate(layers) for name in layer]
    values = [*(layers[place][name] for place, name in names), *head]
    adam, done = Adam(values), 0
    steps = epochs * -(-len(rows) // BATCH)
    lengths = np.array([len(each) for each in seen])[rows]
    shares = [DECAY * name.endswith("weight") * ("LayerNorm" not in name) for _, name in names]
    for _ in range(epochs):
        for some in _batches(lengths, rng):
            own = _named(names, values, len(layers))
            slopes = _slopes([seen[place] for place in rows[some]], own, kind, (goal, some))
            done += 1
            rate = min(done / (WARM * steps), (steps - done + 1) / ((1 - WARM) * steps))
            rates = [RATE * rate] * len(names) + [LAST * rate] * 2
            kept = [1 - RATE * rate * share for share in shares] + [1.0, 1.0]
            values = [value * np.float32(part) for value, part in zip(values, kept, strict=True)]
            given = [slopes[place][name] for place, name in names]
            values = adam.moved(values, [*given, *slopes[-1].values()], rates)
        tell()
    own = _named(names, values, len(layers))
    return Net(own.layers, *goal.layer(own.weights, own.offset))


def _named(names: list[tuple[int, str]], values: list[Single], count: int) -> Net:
    layers: list[Layer] = [{} for _ in range(count)]
    for (place, name), value in zip(names, values, strict=False):
        layers[place][name] = value
    return Net(layers, *values[len(names) :])


def begun(goal: Aim) -> NDArray[np.float64]:
    """Return what is said of rows that are all alike, (goals,): log odds, or the means."""
    return np.asarray(_begun(goal) * goal.scale + goal.middle, np.float64)


def _begun(goal: Aim) -> Single:
    """Return what the last layer adds to begin with: the log odds of all rows."""
    if goal.loss == "number":
        return np.zeros(goal.wanted.shape[1], np.float32)
    shares = goal.wanted.mean(axis=0, dtype=np.float64).clip(1e-4, 1 - 1e-4)
    odds = np.log(shares) - (np.log1p(-shares) if goal.loss == "yes" else 0.0)
    return np.asarray(odds, np.float32)


def _batches(lengths: Codes, rng: np.random.Generator) -> Iterator[Codes]:
    """Give the places of each batch once, in an order that is drawn."""
    order, many = rng.permutation(len(lengths)), BATCH * ALIKE
    found = []
    for start in range(0, len(order), many):
        some = order[start : start + many]
        some = some[np.argsort(lengths[some], kind="stable")]
        found += [some[at : at + BATCH] for at in range(0, len(some), BATCH)]
    for place in rng.permutation(len(found)):
        yield found[place]


def _slopes(
    seen: list[Single], net: Net, kind: Kind, wanted: tuple[Aim, Codes]
) -> list[dict[str, Single]]:
    """Return the gradients of each layer and of the last one, of the mean loss of a batch."""
    x, hidden = stacked(seen)
    goal, rows = wanted
    tapes = []
    for layer in net.layers:
        x, tape = forward(x, hidden, layer, kind)
        tapes.append(tape)
    shares = pooling(hidden, by_first=kind.by_first)
    texts = np.einsum("bt,btw->bw", shares, x)
    back = goal.pull(texts @ net.weights + net.offset, rows)
    last = {"weights": texts.T @ back, "offset": back.sum(axis=0)}
    back = shares[:, :, None] * (back @ net.weights.T)[:, None, :]
    found = []
    for layer, tape in zip(net.layers[::-1], tapes[::-1], strict=True):
        back, slopes = backward(back, tape, layer, kind)
        found.append(slopes)
    return [*found[::-1], last]


def stacked(seen: list[Single]) -> tuple[Single, Single]:
    """Return texts (texts, tokens, width), and HIDDEN where a text has no token (texts, tokens)."""
    most = max(len(each) for each in seen)
    x = np.zeros((len(seen), most, seen[0].shape[1]), dtype=seen[0].dtype)
    hidden = np.full((len(seen), most), HIDDEN)
    for place, each in enumerate(seen):
        x[place, : len(each)], hidden[place, : len(each)] = each, 0
    return x, hidden


def pooling(hidden: Single, *, by_first: bool) -> Single:
    """Return the share of each token in its text, (texts, tokens)."""
    has = (hidden == 0).astype(np.float32)
    if by_first:
        has[:, 1:] = 0
    return np.asarray(has / has.sum(axis=1, keepdims=True))


class _Tape(NamedTuple):
    """What a layer saw, for the way back."""

    x: Single
    split: tuple[Single, Single, Single]
    shares: Single
    heard: Single
    first: tuple[Single, tuple[Single, Single]]
    inner: tuple[Single, Single]
    second: tuple[Single, Single]


def forward(x: Single, hidden: Single, own: Layer, kind: Kind) -> tuple[Single, _Tape]:
    """Return what a layer says of tokens (texts, tokens, width), and what `backward` needs."""
    apart = (*x.shape[:2], kind.heads, -1)
    query, key, value = (
        _linear(x, own, name).reshape(apart).transpose(0, 2, 1, 3) for name in (QUERY, KEY, VALUE)
    )
    alike = query @ key.transpose(0, 1, 3, 2) * np.float32(query.shape[-1] ** -0.5)
    powers = alike + hidden[:, None, None, :]
    powers = np.exp(powers - powers.max(axis=-1, keepdims=True))
    shares = powers / powers.sum(axis=-1, keepdims=True)
    heard = (shares @ value).transpose(0, 2, 1, 3).reshape(x.shape)
    middle, first = _normal(x + _linear(heard, own, HEARD), own, FIRST, kind.small)
    inner, slope = _activated(_linear(middle, own, INNER), kind.act)
    said, second = _normal(middle + _linear(inner, own, OUTER), own, SECOND, kind.small)
    tape = _Tape(x, (query, key, value), shares, heard, (middle, first), (inner, slope), second)
    return said, tape


def backward(back: Single, tape: _Tape, own: Layer, kind: Kind) -> tuple[Single, dict[str, Single]]:
    """Return the gradient by what a layer saw and by each of its tensors."""
    found: dict[str, Single] = {}
    x, (query, key, value), shares = tape.x, tape.split, tape.shares
    (middle, first), (inner, slope) = tape.first, tape.inner
    back = _normal_back(back, tape.second, own, SECOND, found)
    deep = _linear_back(back, inner, own, OUTER, found) * slope
    back = back + _linear_back(deep, middle, own, INNER, found)
    back = _normal_back(back, first, own, FIRST, found)
    apart = (*x.shape[:2], kind.heads, -1)
    heard = _linear_back(back, tape.heard, own, HEARD, found).reshape(apart).transpose(0, 2, 1, 3)
    by_share = heard @ value.transpose(0, 1, 3, 2)
    alike = shares * (by_share - (by_share * shares).sum(axis=-1, keepdims=True))
    alike = alike * np.float32(query.shape[-1] ** -0.5)
    parts = {
        QUERY: alike @ key,
        KEY: alike.transpose(0, 1, 3, 2) @ query,
        VALUE: shares.transpose(0, 1, 3, 2) @ heard,
    }
    for name, part in parts.items():
        joined = part.transpose(0, 2, 1, 3).reshape(x.shape)
        back = back + _linear_back(joined, x, own, name, found)
    return back, found


def _linear(x: Single, own: Layer, name: str) -> Single:
    return np.asarray(x @ own[f"{name}.weight"].T + own[f"{name}.bias"])


def _linear_back(
    back: Single, x: Single, own: Layer, name: str, found: dict[str, Single]
) -> Single:
    flat = back.reshape(-1, back.shape[-1])
    found[f"{name}.weight"] = flat.T @ x.reshape(-1, x.shape[-1])
    found[f"{name}.bias"] = flat.sum(axis=0)
    return np.asarray(back @ own[f"{name}.weight"])


def _normal(x: Single, own: Layer, name: str, small: float) -> tuple[Single, tuple[Single, Single]]:
    moved = x - x.mean(axis=-1, keepdims=True)
    spread = np.sqrt(np.square(moved).mean(axis=-1, keepdims=True) + np.float32(small))
    by: Single = np.reciprocal(spread)
    scaled = moved * by
    return scaled * own[f"{name}.weight"] + own[f"{name}.bias"], (scaled, by)


def _normal_back(
    back: Single, seen: tuple[Single, Single], own: Layer, name: str, found: dict[str, Single]
) -> Single:
    scaled, by = seen
    width = back.shape[-1]
    found[f"{name}.weight"] = (back * scaled).reshape(-1, width).sum(axis=0)
    found[f"{name}.bias"] = back.reshape(-1, width).sum(axis=0)
    back = back * own[f"{name}.weight"]
    along = (back * scaled).mean(axis=-1, keepdims=True)
    return np.asarray(by * (back - back.mean(axis=-1, keepdims=True) - scaled * along))


def _activated(x: Single, kind: str) -> tuple[Single, Single]:
    """Return what numbers become, and the slope there."""
    if kind == "relu":
        return np.maximum(x, 0), (x > 0).astype(x.dtype)
    from scipy.special import erf

    below: Any = (1 + erf(x * np.float32(2**-0.5))) * np.float32(0.5)
    density = np.exp(x * x * np.float32(-0.5)) * np.float32(1 / math.sqrt(2 * math.pi))
    return x * below, below + x * density
