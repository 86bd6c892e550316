"""The last layers of BERT, trained by numpy: gradients, honest numbers, the bits of a service."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import pretrained as drawn

from package_name.engine.errors import ProjectError
from package_name.engine.model import attention, descent, pretrained, sentences, tuned
from package_name.engine.model.attention import Kind, Net
from package_name.engine.model.operators import Rows
from package_name.engine.model.texts import TextFeature
from package_name.engine.model.tuned import TunedSentences


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tuned")
    drawn.bert(root / "pretrained/small")
    drawn.bert(root / "pretrained/relu", hidden_act="relu")
    drawn.table(root / "pretrained/table")
    return root


def orders(rows: int) -> tuple[pl.Series, np.ndarray]:
    """Return texts whose order of words alone tells the goal, which no mean of words does."""
    rng = np.random.default_rng(0)
    y = rng.random(rows) < 0.5
    lines = [
        f"{rng.choice(['the', 'it', 'tea', 'pan'])} {'not good' if good else 'good not'} "
        f"{' '.join(rng.choice(['was', ',', '!', 'very', 'the'], rng.integers(1, 6)))}"
        for good in y
    ]
    return pl.Series("said", lines), y


def asked(said: pl.Series, goals: np.ndarray | None, folder: Path, **more: Any) -> tuple:
    """Return an operator, its codes, levels and rows."""
    levels = tuple(said.drop_nulls().unique().sort())
    places = {text: float(n) for n, text in enumerate(levels)}
    codes = np.array([[places.get(text, len(levels))] for text in said])
    rows = Rows(None if goals is None else goals.astype(float), None, 0, 0)
    given = {"model": "pretrained/small", "tokens": 24, "epochs": 4, **more}
    return TunedSentences("s", of="said", **given).placed(folder), codes, levels, rows


@pytest.mark.parametrize("act", ["gelu", "relu"])
@pytest.mark.parametrize("by_first", [False, True])
def test_gradients_are_those_of_the_loss(folder: Path, act: str, *, by_first: bool) -> None:
    own, _ = pretrained.bert(folder / "pretrained/small", 24)
    layers = [{n: t.astype(np.float64) for n, t in layer.items()} for layer in own.top(2)]
    rng = np.random.default_rng(1)
    seen = [rng.standard_normal((tokens, own.width)) for tokens in (5, 3, 7)]
    goal = descent.aim(np.eye(2)[[0, 1, 1]], "classes")
    kind = Kind(own.heads, act, own.small, by_first)
    net = Net(layers, rng.standard_normal((own.width, 2)), np.zeros(2))
    rows = np.arange(3)

    def total() -> float:
        x, hidden = attention.stacked(seen)
        for layer in layers:
            x, _ = attention.forward(x, hidden, layer, kind)
        texts = np.einsum("bt,btw->bw", attention.pooling(hidden, by_first=by_first), x)
        return descent.measured(texts @ net.weights + net.offset, goal.wanted, goal.loss)

    slopes = attention._slopes(seen, net, kind, (goal, rows))
    arrays = [*zip(layers, slopes[:-1], strict=True)]
    arrays += [({"weights": net.weights, "offset": net.offset}, slopes[-1])]
    for tensors, found in arrays:
        assert {*found} == {*tensors}
        for name, tensor in tensors.items():
            for place in (0, tensor.size // 2, tensor.size - 1):
                kept, sides = tensor.flat[place], []
                for step in (1e-4, -1e-4):
                    tensor.flat[place] = kept + step
                    sides.append(total())
                tensor.flat[place] = kept
                expected = (sides[0] - sides[1]) / 2e-4
                assert found[name].flat[place] == pytest.approx(expected, abs=2e-5), name


@pytest.mark.parametrize("model", ["small", "relu"])
def test_layers_that_are_not_trained_yet_say_what_the_model_says(folder: Path, model: str) -> None:
    path = folder / "pretrained" / model
    own, _ = pretrained.bert(path, 24)
    kind = Kind(own.heads, own.act, own.small, own.by_first)
    whole = pretrained.opened(path, 24).encoder
    for layers in (1, 2):
        net = Net(own.top(layers), np.eye(own.width, dtype=np.float32), np.zeros(own.width))
        graphs = own.below(layers), own.above([net, net])
        parts = sentences.Tuned(own.tokens, graphs, own.width, own.most)
        for text in ("not good !", "tea", "very " * 40):
            said = parts.vector(text)
            assert said is not None
            assert np.allclose(said / np.linalg.norm(said), whole.vector(text), atol=1e-6)
            x, hidden = attention.stacked([parts.seen(text)[0]])
            for layer in net.layers:
                x, _ = attention.forward(x, hidden, layer, kind)
            assert np.allclose(x[0].mean(axis=0), said, atol=1e-5)
        assert parts.vector("\x00") is None


def test_order_is_learnt_and_no_row_sees_its_own_target(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "RATE", 3e-3)  # the drawn weights are no start
    said, y = orders(600)
    operator, codes, levels, rows = asked(said, y[:, None], folder)
    honest = operator.training(codes, levels, rows)[:, 0]
    ranks = np.argsort(np.argsort(honest))
    assert (ranks[y].mean() - (y.sum() - 1) / 2) / (~y).sum() > 0.95
    reader = operator.words(operator.learn(codes, levels, rows))
    assert reader.sums("the not good was")[0] > reader.sums("the good not was")[0]
    told = reader.told("the not good was", 0)
    assert {part for part, _ in told} == {"the", "not", "good", "was"}
    noise = np.random.default_rng(1).random((600, 1)) < 0.5
    blind = operator.training(codes, levels, rows._replace(goals=noise.astype(float)))[:, 0]
    assert abs(np.corrcoef(blind, noise[:, 0])[0, 1]) < 0.2


@pytest.mark.parametrize(
    ("goals", "loss"),
    [
        (np.eye(3)[[0, 1, 2]], "classes"),
        (np.array([[1, 0], [1, 1], [0, 1]]), "yes"),
        (np.array([[0], [1], [3]]), "number"),
    ],
)
def test_nets_of_parts_of_the_rows_have_the_loss_of_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch, goals: np.ndarray, loss: str
) -> None:
    """A part can look like another kind: labels as classes, counts as yes or no."""
    said, _ = orders(90)
    chosen = []
    plain = attention.learnt
    monkeypatch.setattr(attention, "learnt", lambda *a: chosen.append(a[2].loss) or plain(*a))
    places = np.where(np.arange(90) == 0, 1, np.arange(90) % 2 * 2) if loss == "yes" else None
    places = np.r_[2, np.arange(89) % 2] if loss == "number" else places
    operator, *given = asked(said, goals[np.arange(90) % 3 if places is None else places], folder)
    operator.training(*given)
    assert chosen == [loss] * 3


@pytest.mark.parametrize("goals", ["yes", "classes", "number"])
def test_a_bundle_repeats_training_on_any_text(folder: Path, goals: str) -> None:
    said, y = orders(120)
    y = {
        "yes": y[:, None],
        "classes": np.eye(3)[np.arange(120) % 3],
        "number": np.where(y, 900.0, 500.0)[:, None],
    }[goals]
    odd = pl.Series("said", ["\x00", "東京 tea", "good " * 90, "", "NA", None])
    said, y = pl.concat([said, odd]), np.r_[y, y[:6]]
    operator, codes, levels, rows = asked(said, y, folder, epochs=1)
    found = operator.learn(codes, levels, rows)
    made = tuple(str(n) for n in range(y.shape[1]))
    feature = TextFeature("s", "said", made, by="sentences")
    stored = sentences.content([operator.words(found)])
    (reader,) = sentences.read("v1", stored, [feature])
    for level, told in zip(levels, found["table"], strict=False):
        assert np.array_equal(reader.sums(level), told, equal_nan=True)
    assert np.isnan(found["table"][-1]).all() and np.isnan(reader.sums("")).all()
    without = reader.sums("\x00")
    mean = np.r_[y[:120], y[121:123]].mean(axis=0)  # of the texts that have a token
    odds = mean if goals == "number" else np.log(mean / ((1 - mean) if goals == "yes" else 1))
    assert without == pytest.approx(odds, rel=1e-5)
    honest = operator.training(codes, levels, rows)
    assert np.isnan(honest[-3:]).all() and np.isfinite(honest[:-3]).all()
    with pytest.raises(ProjectError, match=r"sentences\.npz is not usable"):
        sentences.read("v1", stored[: len(stored) // 2], [feature])


def test_texts_beyond_those_that_are_trained_on_get_numbers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuned, "MOST_TEXTS", 60)
    said, y = orders(200)
    operator, codes, levels, rows = asked(said, y[:, None], folder, epochs=1)
    tuned._seen.cache_clear()
    assert len(levels) > 60
    assert np.isfinite(operator.training(codes, levels, rows)).all()
    assert np.isfinite(operator.learn(codes, levels, rows)["table"][:-1]).all()
    tuned._seen.cache_clear()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": "pretrained/none"}, "there is no folder pretrained/none"),
        (
            {"model": "pretrained/table"},
            "vectors: only bert has layers to train",
        ),
        ({"layers": 3}, "layers is 3, and pretrained/small has 2"),
        ({"stem": "english"}, "stem and lemma are for Words and Topics"),
        ({"model": "small"}, "model must lie in pretrained/"),
    ],
)
def test_what_cannot_be_trained_is_told_in_one_line(
    folder: Path, given: dict[str, Any], said: str
) -> None:
    problem = asked(pl.Series("said", ["a"]), None, folder, **given)[0].problem()
    assert said in problem and "\n" not in problem


def test_texts_without_a_target_or_too_few_are_refused(folder: Path) -> None:
    said, y = orders(20)
    for goals, told in ((None, "use SentenceTopics"), (y[:, None], "different texts to train on")):
        operator, *given = asked(said, goals, folder)
        with pytest.raises(ValueError, match=told):
            operator.learn(*given)
