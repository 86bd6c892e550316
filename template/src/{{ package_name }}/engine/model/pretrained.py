"""Read a pretrained model of texts from a folder: BERT as a graph of ours, or a table of tokens.

Only weights in safetensors are read, which can hold no code: a header in JSON, then numbers
(https://github.com/huggingface/safetensors). What is not built ends in one line that says so.
"""

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, ValueInfoProto, helper

from .. import storage
from .builder import Graph, info, model_of
from .sentences import Average, Encoder, Network
from .tokens import Known, of_settings, of_vocabulary

FOLDER = "pretrained"
WEIGHTS, SETTINGS = "model.safetensors", "config.json"
LARGEST = 1_500_000_000  # bytes of weights: a graph has to stay below 2 GB
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
# What sentence-transformers runs behind BERT and this code too.
MODULES = {"Transformer", "Pooling", "Normalize"}
MASKED_HALF = 16  # bits that BF16 lacks of F32
Tensors = dict[str, NDArray[Any]]
_TOKENS = info("tokens", TensorProto.INT64, None)


class Pretrained(NamedTuple):
    """An encoder, and the SHA-256 of each file that it comes from, by its name in the project."""

    encoder: Encoder
    origin: dict[str, str]


def opened(path: Path, most: int) -> Pretrained:
    """Return the encoder of a folder, which reads at most `most` tokens of a text.

    ValueError says in one line what is wrong.
    """
    if not path.is_dir():
        raise ValueError(
            f"there is no folder {short(path)}: put {WEIGHTS}, {SETTINGS} and tokenizer.json of a "
            "model there"
        )
    files = sorted(each for each in path.rglob("*") if each.is_file())
    stamps = tuple((str(each), each.stat().st_size, each.stat().st_mtime_ns) for each in files)
    return _opened(path, stamps, most)


@lru_cache(maxsize=4)
def _opened(path: Path, stamps: tuple[Any, ...], most: int) -> Pretrained:
    tensors = _tensors(path)
    settings = _json(path, SETTINGS) if (path / SETTINGS).is_file() else {}
    tokens, cut_by = _tokens(path)
    kind = settings.get("model_type")
    named = [WEIGHTS, cut_by]
    if kind == "bert":
        named.append(SETTINGS)
        encoder: Encoder = _bert(path, settings, tensors, tokens, most)
    elif kind in (None, "model2vec"):
        encoder = _average(path, tensors, tokens, most)
    else:
        raise ValueError(
            f"{short(path / SETTINGS)}: model_type {kind!r} is not built; bert is, and a table of "
            "token vectors without a model_type"
        )
    return Pretrained(encoder, {short(path / n): storage.sha256(path / n) for n in named})


def short(path: Path) -> str:
    """Return a path from the folder of pretrained models on."""
    parts = path.parts
    return "/".join(parts[parts.index(FOLDER) :]) if FOLDER in parts else path.name


def content_of(place: Path) -> bytes:
    """Return a file of weights; ValueError where it is too large, or where others hold it."""
    if place.stat().st_size > LARGEST:
        raise ValueError(f"{short(place)} has more than {LARGEST / 1e9:g} GB: take a smaller one")
    content = place.read_bytes()
    if content.startswith(b"version https://git-lfs"):
        raise ValueError(f"{short(place)} only points to Git LFS: run `git lfs pull` there")
    return content


def _json(path: Path, name: str, kind: Any = dict[str, Any]) -> Any:
    try:
        return msgspec.json.decode((path / name).read_bytes(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        where = short(path / name)
        raise ValueError(f"{where} is no JSON of its kind ({error}): get it again") from None


def _tensors(path: Path) -> Tensors:
    """Return the tensors of model.safetensors, those of BF16 as float32."""
    place = path / WEIGHTS
    if not place.is_file():
        unread = next(iter(sorted(path.glob("*.bin"))), None)
        mend = f"put {WEIGHTS} there"
        if unread is not None:
            mend = f"{unread.name} may hold code and is not read: save it as {WEIGHTS}"
        raise ValueError(f"{short(path)} has no {WEIGHTS}: {mend}")
    content = content_of(place)
    try:
        (size,) = struct.unpack("<Q", content[:8])
        header = msgspec.json.decode(content[8 : 8 + size], type=dict[str, dict[str, Any]])
        header.pop("__metadata__", None)
        data = memoryview(content)[8 + size :]  # not copied
        return {name: _tensor(data, told) for name, told in header.items()}
    except (struct.error, msgspec.MsgspecError, KeyError, ValueError, TypeError) as error:
        raise ValueError(
            f"{short(place)} is damaged or no file of safetensors ({error}): get it again"
        ) from None


def _tensor(content: memoryview, told: dict[str, Any]) -> NDArray[Any]:
    start, end = told["data_offsets"]
    if told["dtype"] not in DTYPES:
        return np.empty(0)  # such as whole numbers, which no weight is
    if not 0 <= start <= end <= len(content):
        raise ValueError("it is cut off")
    found = np.frombuffer(content[start:end], dtype=DTYPES[told["dtype"]]).reshape(told["shape"])
    if told["dtype"] == "BF16":
        found = (found.astype(np.uint32) << MASKED_HALF).view(np.float32)
    if not np.isfinite(found).all():
        raise ValueError("it has weights that are no numbers")
    return found


def _tokens(path: Path) -> tuple[Known, str]:
    """Return how texts are cut, and the file that says so."""
    if (path / "tokenizer.json").is_file():
        name, read = "tokenizer.json", _of_json
    elif (path / "vocab.txt").is_file():
        name, read = "vocab.txt", _of_lines
    else:
        raise ValueError(f"{short(path)} has no tokenizer.json and no vocab.txt: put one there")
    try:
        found = read(path, name)
        numbers = [*found.vocabulary.values(), found.unknown, *found.before, *found.behind]
        if not all(isinstance(number, int) for number in numbers):
            raise ValueError("it numbers tokens by what is no whole number: get it again")
        return found, name
    except KeyError as error:
        raise ValueError(f"{short(path / name)} has no {error}: get it again") from None
    except (ValueError, AttributeError, TypeError, IndexError) as error:
        raise ValueError(f"{short(path / name)}: {error}") from None


def _of_json(path: Path, name: str) -> Known:
    return of_settings(_json(path, name))


def _of_lines(path: Path, name: str) -> Known:
    other = path / "tokenizer_config.json"
    told = _json(path, other.name) if other.is_file() else {}
    lines = (path / name).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return of_vocabulary(lines, lowercase=bool(told.get("do_lower_case", True)))


def _average(path: Path, tensors: Tensors, tokens: Known, most: int) -> Encoder:
    tables = {name: each for name, each in tensors.items() if each.ndim == 2}
    if len(tables) != 1 or len(tensors) != 1:
        raise ValueError(
            f"{short(path / WEIGHTS)} has {len(tensors)} tensors: without model_type bert in "
            f"{SETTINGS} it has to be one table of token vectors"
        )
    (table,) = tables.values()
    _hold(path, tokens, len(table))
    return Average(tokens, np.array(table), most)


def _hold(path: Path, tokens: Known, rows: int) -> None:
    numbers = [*tokens.vocabulary.values(), *tokens.before, *tokens.behind]
    if max(numbers, default=-1) >= rows or min(numbers, default=0) < 0:
        raise ValueError(
            f"{short(path)}: the tokenizer numbers {max(numbers) + 1} tokens, {WEIGHTS} has "
            f"{rows}: they are of two models"
        )


class Bert:
    """BERT (Devlin et al. 2019) as tensors and settings, and the graphs of it.

    `most` tokens of a text are read; `by_first`: the first one stands for the text, else the mean.
    """

    def __init__(
        self, path: Path, settings: dict[str, Any], tensors: Tensors, tokens: Known, most: int
    ) -> None:
        self.tensors = {name.removeprefix("bert."): each for name, each in tensors.items()}
        self.settings, self.tokens = settings, tokens
        try:
            self.width, self.heads = (
                int(settings[name]) for name in ("hidden_size", "num_attention_heads")
            )
            self.layers = int(settings["num_hidden_layers"])
            places = int(settings["max_position_embeddings"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{short(path / SETTINGS)}: {error} is missing or no number") from None
        self.act = settings.get("hidden_act", "gelu")
        about, width, heads = (
            settings.get("position_embedding_type", "absolute"),
            self.width,
            self.heads,
        )
        if self.act not in ("gelu", "relu") or about != "absolute" or heads < 1 or width % heads:
            raise ValueError(
                f"{short(path / SETTINGS)}: hidden_act {self.act}, positions {about}, {heads} "
                f"heads of {width}: gelu or relu, absolute and heads of one width are built"
            )
        self.by_first, self.most = _pooled_by_first(path), min(most, places)
        try:
            _hold(path, tokens, len(self.tensors["embeddings.word_embeddings.weight"]))
        except KeyError as error:
            raise ValueError(f"{short(path / WEIGHTS)} has no {error}: it is no BERT") from None

    @property
    def small(self) -> float:
        """What is added to a variance."""
        return float(self.settings.get("layer_norm_eps", 1e-12))

    def top(self, layers: int) -> list[Tensors]:
        """Return the tensors of the last layers by their names in a layer, float32."""
        found = []
        for layer in range(self.layers - layers, self.layers):
            start = f"encoder.layer.{layer}."
            own = {n.removeprefix(start): t for n, t in self.tensors.items() if n.startswith(start)}
            found.append({name: np.array(each, dtype=np.float32) for name, each in own.items()})
        return found

    def whole(self) -> bytes:
        """Return the graph from numbers of tokens [1, tokens] to the vector of a text."""
        graph = Graph()
        own = [_Layer(self.tensors, f"encoder.layer.{n}.", self) for n in range(self.layers)]
        self._pooled(graph, _run(graph, own, _embedded(graph, self)), "vector")
        return self._model(graph, _TOKENS, info("vector", TensorProto.FLOAT, self.width))

    def below(self, layers: int) -> bytes:
        """Return the graph from numbers of tokens to what all but the last layers say of each."""
        graph, low = Graph(), range(self.layers - layers)
        own = [_Layer(self.tensors, f"encoder.layer.{n}.", self) for n in low]
        graph.node("Identity", [_run(graph, own, _embedded(graph, self))], "seen")
        return self._model(graph, _TOKENS, self._seen())

    def above(self, nets: Sequence[tuple[list[Tensors], NDArray[Any], NDArray[Any]]]) -> bytes:
        """Return the graph from that to the mean of several nets.

        A net is its own last layers, weights (width, goals) and offsets (goals,).
        """
        graph, found = Graph(), []
        for tops, weights, offset in nets:
            said = _run(graph, [_Layer(own, "", self) for own in tops], "seen")
            pooled = self._pooled(graph, said, "")
            product = graph.node("MatMul", [pooled, graph.constant(weights, np.float32)])
            found.append(graph.node("Add", [product, graph.constant(offset[None], np.float32)]))
        graph.node("Mean", found, "numbers")
        goals = info("numbers", TensorProto.FLOAT, len(nets[0][2]))
        return self._model(graph, self._seen(), goals)

    def _pooled(self, graph: Graph, said: str, name: str) -> str:
        if self.by_first:
            return graph.node("Gather", [said, graph.constant(0, np.int64)], name, axis=1)
        return graph.node("ReduceMean", [said, graph.constant([1], np.int64)], name, keepdims=0)

    def _seen(self) -> ValueInfoProto:
        return helper.make_tensor_value_info("seen", TensorProto.FLOAT, [1, None, self.width])

    def _model(self, graph: Graph, given: ValueInfoProto, made: ValueInfoProto) -> bytes:
        return model_of(graph, [given], [made])


def bert(path: Path, most: int) -> tuple[Bert, dict[str, str]]:
    """Return BERT of a folder, and the SHA-256 of each of its files; ValueError as of `opened`."""
    origin = opened(path, most).origin
    settings = _json(path, SETTINGS) if (path / SETTINGS).is_file() else {}
    if settings.get("model_type") != "bert":
        raise ValueError(
            f"{short(path)} is a table of token vectors: only bert has layers to train"
        )
    return _known(path, tuple(origin.items()), most), origin


@lru_cache(maxsize=2)
def _known(path: Path, origin: tuple[tuple[str, str], ...], most: int) -> Bert:
    return Bert(path, _json(path, SETTINGS), _tensors(path), _tokens(path)[0], most)


def _bert(
    path: Path, settings: dict[str, Any], tensors: Tensors, tokens: Known, most: int
) -> Encoder:
    """Return BERT as one graph, after a first text."""
    own = Bert(path, settings, tensors, tokens, most)
    try:
        encoder = Network(tokens, own.whole(), own.width, own.most)
        if (made := encoder.vector("a")) is None or len(made) != own.width:
            raise ValueError(f"vectors of other than {own.width} numbers")
    except KeyError as error:
        raise ValueError(f"{short(path / WEIGHTS)} has no {error}: it is no BERT") from None
    except Exception as error:  # the runtime raises one class per kind of mismatch
        reason = str(error).splitlines()[0]
        raise ValueError(f"{short(path)}: {WEIGHTS} does not fit {SETTINGS} ({reason})") from None
    return encoder


def _pooled_by_first(path: Path) -> bool:
    """Whether the first token stands for the text; else it is the mean of all."""
    if (path / "modules.json").is_file():
        modules = _json(path, "modules.json", list[dict[str, Any]])
        kinds = [str(each.get("type", "")).rpartition(".")[2] for each in modules]
        if others := [kind for kind in kinds if kind not in MODULES]:
            raise ValueError(f"{short(path)}/modules.json: {others[0]} is not built")
    name = "1_Pooling/config.json"
    told = _json(path, name) if (path / name).is_file() else {}
    ways = sorted(n for n, on in told.items() if n.startswith("pooling_mode_") and on is True)
    if told.get("pooling_mode"):
        ways = [f"pooling_mode_{told['pooling_mode']}"]
    if ways in ([], ["pooling_mode_mean_tokens"], ["pooling_mode_mean"]):
        return False
    if ways in (["pooling_mode_cls_token"], ["pooling_mode_cls"]):
        return True
    raise ValueError(f"{short(path / name)}: {', '.join(ways)}: the mean or the first is built")


class _Layer(NamedTuple):
    """The weights of a layer, whose names begin with `name`, and of what they are."""

    tensors: Tensors
    name: str
    of: "Bert"

    def weight(self, graph: Graph, name: str, change: Callable[..., Any] = np.asarray) -> str:
        """Add a tensor of the layer."""
        return graph.constant(change(self.tensors[self.name + name]), np.float32)

    def linear(self, graph: Graph, value: str, name: str) -> str:
        """Multiply and add."""
        product = graph.node("MatMul", [value, self.weight(graph, f"{name}.weight", np.transpose)])
        return graph.node("Add", [product, self.weight(graph, f"{name}.bias")])

    def normal(self, graph: Graph, value: str, name: str) -> str:
        """Bring each token to mean 0 and deviation 1, then scale and move (Ba et al. 2016)."""
        parts = [self.weight(graph, f"{name}.{part}") for part in ("weight", "bias")]
        return graph.node("LayerNormalization", [value, *parts], axis=-1, epsilon=self.of.small)


def _run(graph: Graph, layers: Sequence[_Layer], seen: str) -> str:
    for layer in layers:
        seen = _layer(graph, layer, seen)
    return seen


def _embedded(graph: Graph, of: Bert) -> str:
    own = _Layer(of.tensors, "embeddings.", of)
    shape = graph.node("Shape", ["tokens"])
    length = graph.node("Gather", [shape, graph.constant(1, np.int64)])
    from_one = [graph.constant(0, np.int64), length, graph.constant(1, np.int64)]
    places = graph.node("Range", from_one)
    words = graph.node("Gather", [own.weight(graph, "word_embeddings.weight"), "tokens"])
    where = graph.node("Gather", [own.weight(graph, "position_embeddings.weight"), places])
    first = own.weight(graph, "token_type_embeddings.weight", lambda each: each[0])
    return own.normal(
        graph, graph.node("Add", [graph.node("Add", [words, where]), first]), "LayerNorm"
    )


def _layer(graph: Graph, own: _Layer, seen: str) -> str:
    """Add attention (Vaswani et al. 2017) and two products, each beside what was there."""
    width, heads = own.of.width, own.of.heads
    each = width // heads
    apart, joined = (graph.constant([0, 0, *s], np.int64) for s in ([heads, each], [width]))

    def split(name: str, order: list[int]) -> str:
        value = own.linear(graph, seen, f"attention.self.{name}")
        return graph.node("Transpose", [graph.node("Reshape", [value, apart])], perm=order)

    query, key = split("query", [0, 2, 1, 3]), split("key", [0, 2, 3, 1])
    alike = graph.node("MatMul", [query, key])
    scaled = graph.node("Mul", [alike, graph.constant(each**-0.5, np.float32)])
    shares = graph.node("Softmax", [scaled], axis=-1)
    heard = graph.node("MatMul", [shares, split("value", [0, 2, 1, 3])])
    turned = graph.node("Transpose", [heard], perm=[0, 2, 1, 3])
    whole = graph.node("Reshape", [turned, joined])
    added = graph.node("Add", [seen, own.linear(graph, whole, "attention.output.dense")])
    seen = own.normal(graph, added, "attention.output.LayerNorm")
    inner = _activated(graph, own.linear(graph, seen, "intermediate.dense"), own.of.act)
    added = graph.node("Add", [seen, own.linear(graph, inner, "output.dense")])
    return own.normal(graph, added, "output.LayerNorm")


def _activated(graph: Graph, value: str, kind: str) -> str:
    if kind == "relu":
        return graph.node("Relu", [value])
    scaled = graph.node("Div", [value, graph.constant(2**0.5, np.float32)])
    above = graph.node("Add", [graph.node("Erf", [scaled]), graph.constant(1.0, np.float32)])
    half = graph.node("Mul", [value, graph.constant(0.5, np.float32)])
    return graph.node("Mul", [half, above])
