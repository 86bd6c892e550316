"""Folders of pretrained models with drawn weights, small enough for a test."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

WORDS = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "very", "not", "tea", "pan"),
    *("##s", "##ly", ",", ".", "!", "don", "'", "t", "was", "the", "it", "東", "京"),
)
WIDTH, HEADS, LAYERS, INNER, PLACES = 16, 4, 2, 32, 40


def safetensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Write tensors as the library safetensors does."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    content = b""
    for name, tensor in tensors.items():
        kind = {"float32": "F32", "float16": "F16", "uint16": "BF16", "int64": "I64"}
        end = len(content) + tensor.nbytes
        header[name] = {
            "dtype": kind[tensor.dtype.name],
            "shape": list(tensor.shape),
            "data_offsets": [len(content), end],
        }
        content += tensor.tobytes()
    told = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(told)) + told + content)


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    """Return drawn weights of a small BERT, by the names that it has everywhere."""
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(WORDS), WIDTH),
        "embeddings.position_embeddings.weight": (PLACES, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        "embeddings.LayerNorm.weight": (WIDTH,),
        "embeddings.LayerNorm.bias": (WIDTH,),
    }
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}."
        sizes = {"attention.self.query": (WIDTH, WIDTH), "attention.self.key": (WIDTH, WIDTH)}
        sizes |= {"attention.self.value": (WIDTH, WIDTH), "output.dense": (WIDTH, INNER)}
        sizes |= {"attention.output.dense": (WIDTH, WIDTH), "intermediate.dense": (INNER, WIDTH)}
        for name, shape in sizes.items():
            shapes |= {f"{at}{name}.weight": shape, f"{at}{name}.bias": shape[:1]}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{at}{name}.weight": (WIDTH,), f"{at}{name}.bias": (WIDTH,)}
    return {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}


def bert(folder: Path, **changes: Any) -> Path:
    """Write a small BERT; `changes` are those of config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    safetensors(folder / "model.safetensors", {f"bert.{n}": w for n, w in weights().items()})
    config = {
        "model_type": "bert",
        "hidden_size": WIDTH,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "max_position_embeddings": PLACES,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
    }
    (folder / "config.json").write_text(json.dumps(config | changes))
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return folder


def wordpiece() -> dict[str, Any]:
    """Return the tokenizer.json of that BERT."""
    special = {name: {"id": name, "ids": [WORDS.index(name)]} for name in ("[CLS]", "[SEP]")}
    edges = [{"SpecialToken": {"id": "[CLS]"}}, {"Sequence": {"id": "A"}}]
    return {
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [*edges, {"SpecialToken": {"id": "[SEP]"}}],
            "special_tokens": special,
        },
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {word: place for place, word in enumerate(WORDS)},
        },
    }


def merges() -> dict[str, Any]:
    """Return a tokenizer.json of the kind that Llama has."""
    signs = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdeghotx"]
    pairs = ["t h", "▁ th", "▁th e", "g o", "go o", "goo d", "▁ good", "b a", "▁ ba"]
    known = dict.fromkeys([*signs, *(pair.replace(" ", "") for pair in pairs)])
    return {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": None,
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "byte_fallback": True,
            "vocab": {word: place for place, word in enumerate(known)},
            "merges": pairs,
        },
    }


def table(folder: Path) -> Path:
    """Write a table of token vectors, as static models have it."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = merges()
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(len(settings["model"]["vocab"]), 8)).astype(np.float16)
    safetensors(folder / "model.safetensors", {"embedding.weight": vectors})
    (folder / "tokenizer.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def network(path: Path, *, shape: tuple[Any, ...] = ("n", 3, 12, 12), **changes: Any) -> Path:
    """Write a small network of drawn filters: an image to a map, its mean, and two classes."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    is_first = shape[1] == 3
    tensors = {
        "filters": rng.normal(size=(10, 3, 3, 3)),
        "classes": rng.normal(size=(10, 2)),
    }
    nodes = [
        helper.make_node("Conv", ["turned", "filters"], ["seen"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["seen"], ["map"]),
        helper.make_node("GlobalAveragePool", ["map"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("MatMul", ["flat", "classes"], ["told"]),
    ]
    if changes.get("parts"):
        nodes.append(helper.make_node("Reshape", ["map", "places"], ["tokens"]))
    turn = {} if is_first else {"perm": [0, 3, 1, 2]}
    first = helper.make_node("Transpose" if turn else "Identity", ["image"], ["turned"], **turn)
    kind = changes.get("kind", TensorProto.FLOAT)
    given = helper.make_tensor_value_info("image", kind, list(shape))
    out = helper.make_tensor_value_info("told", TensorProto.FLOAT, [None, 2])
    weights = [numpy_helper.from_array(v.astype(np.float32), n) for n, v in tensors.items()]
    weights.append(numpy_helper.from_array(np.array([0, 10, -1]), "places"))
    if changes.get("outside"):
        weights[0].data_location = TensorProto.EXTERNAL
    graph = helper.make_graph([first, *nodes], "g", [given], [out], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    assert onnx.load(path, load_external_data=False).graph.node
    return path
