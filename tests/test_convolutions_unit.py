"""A small network that is trained with the model: its gradients, its graph and who sees what."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers.package import load, sources

load("images_package", sources("multiclass", images=True))

from images_package.engine import pixels  # noqa: E402
from images_package.engine.errors import ProjectError  # noqa: E402
from images_package.engine.model import convolutions, descent, sights, trained  # noqa: E402
from images_package.engine.model import whole as files  # noqa: E402
from images_package.engine.model.convolutions import Net, Plan  # noqa: E402
from images_package.engine.model.derived import check  # noqa: E402
from images_package.engine.model.operators import Rows  # noqa: E402
from images_package.engine.model.selection import Selection  # noqa: E402
from images_package.engine.model.texts import TextFeature  # noqa: E402
from images_package.engine.model.trained import TrainedNetwork  # noqa: E402

SMALL = {"size": 12, "filters": 4, "epochs": 12}
EVERY = ("shift", "turn", "zoom", "flip", "light")


def strokes(rows: int, side: int = 12, seed: int = 0) -> tuple[pl.Series, np.ndarray]:
    """Draw a stroke that falls or rises, anywhere, in noise: no pixel alone tells which."""
    rng = np.random.default_rng(seed)
    y = rng.random(rows) < 0.5
    images = rng.integers(0, 90, (rows, side, side, 3), dtype=np.uint8)
    for image, rises in zip(images, y, strict=True):
        row, column = rng.integers(0, side - 5, 2)
        for step in range(5):
            image[row + (4 - step if rises else step), column + step] = 220
    values = [pixels.written(image, (side, side)) for image in images]
    return pl.Series("photo", values, dtype=pl.String), y


def asked(shown: pl.Series, goals: np.ndarray | None, **more: Any) -> tuple:
    """Return an operator, its codes, levels and rows."""
    levels = tuple(shown.drop_nulls().unique().sort())
    places = {value: float(place) for place, value in enumerate(levels)}
    codes = np.array([[places.get(value, len(levels))] for value in shown])
    rows = Rows(None if goals is None else goals.astype(float), None, 0, 0)
    return TrainedNetwork("photo.trained", of="photo", **{**SMALL, **more}), codes, levels, rows


@pytest.mark.parametrize("loss", ["classes", "yes", "number"])
def test_gradients_are_those_of_the_loss(loss: Any) -> None:
    rng = np.random.default_rng(0)
    layers = [
        tuple(each.astype(np.float64) for each in layer)
        for layer in convolutions._drawn(13, 2, 3, 2, rng)
    ]
    x = rng.standard_normal((4, 13, 13, 2))
    wanted = np.eye(2)[[0, 1, 1, 0]] if loss != "number" else rng.standard_normal((4, 2))
    share = np.ones((4, len(layers[-1][0])))

    def total(changed: list) -> float:
        found = convolutions._forward(x, changed, share)[0]
        return descent.measured(found, wanted, loss) * (2 if loss == "number" else 1)

    found, tape = convolutions._forward(x, layers, share)
    pull = descent.pull(found, wanted, loss) / len(x)
    slopes = convolutions._backward(pull, layers, tape, share)
    for layer, (slope, _) in enumerate(slopes):
        for place in (0, slope.size // 2, slope.size - 1):
            sides = []
            for step in (1e-4, -1e-4):
                moved = [tuple(each.copy() for each in one) for one in layers]
                moved[layer][0].flat[place] += step
                sides.append(total(moved))
            expected = (sides[0] - sides[1]) / 2e-4
            assert slope.flat[place] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("side", "channels"), [(12, 3), (13, 1), (28, 1)])
def test_the_graph_gives_what_was_trained(side: int, channels: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((40, side, side, channels), dtype=np.float32)
    goals = rng.normal(5.0, 3.0, (40, 2))
    goal = descent.aim(goals, descent.loss_of(goals))
    nets = [convolutions.learnt(x, goal, Plan(3, 2, EVERY, seed), lambda: None) for seed in (0, 1)]
    sight = sights.Sight(convolutions.emitted(nets, side, channels), side)
    assert (sight.size, sight.channels, sight.width) == (side, channels, 2)
    image = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    seen = trained.values(image, channels)[None]
    expected = [convolutions.numbers((seen - n.mean) / n.spread, n.layers)[0] for n in nets]
    assert {each.dtype for net in nets for layer in net.layers for each in layer} == {
        np.dtype("f4")
    }
    assert sight.of(image) == pytest.approx(np.mean(expected, axis=0), abs=1e-5)


def test_images_are_changed_as_declared() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((50, 9, 9, 1), dtype=np.float32)
    assert convolutions.changed(x, (), rng) is x
    flipped = convolutions.changed(x, ("flip",), np.random.default_rng(1))
    same, mirrored = (np.abs(flipped - y).max(axis=(1, 2, 3)) < 1e-5 for y in (x, x[:, :, ::-1]))
    assert (same ^ mirrored).all() and 10 < mirrored.sum() < 40
    lit = convolutions.changed(x, ("light",), rng)
    straight = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(x, lit, strict=True)]
    assert min(straight) > 0.9999 and np.abs(lit - x).max() > 0.1
    for change in ("shift", "turn", "zoom"):
        found = convolutions.changed(x, (change,), rng)
        assert found.shape == x.shape and found.dtype == np.float32
        assert x.min() <= found.min() and found.max() <= x.max() and (found != x).any()
    middle = convolutions.changed(x, ("turn",), rng)[:, 4, 4]
    assert middle == pytest.approx(x[:, 4, 4], abs=1e-5)


def test_strokes_are_told_apart_and_no_row_sees_its_own_target() -> None:
    shown, y = strokes(500)
    operator, codes, levels, rows = asked(shown[:400], y[:400, None], epochs=25)
    honest = operator.training(codes, levels, rows)
    assert ((honest[:, 0] > 0) == y[:400]).mean() > 0.85
    reader = operator.words(operator.learn(codes, levels, rows))
    new = np.array([reader.sums(value)[0] for value in shown[400:]])
    assert ((new > 0) == y[400:]).mean() > 0.9
    chance = np.random.default_rng(1).random(400) < 0.5
    _, _, _, rows = asked(shown[:400], chance[:, None])
    honest = operator.training(codes, levels, rows)
    assert abs(((honest[:, 0] > 0) == chance).mean() - 0.5) < 0.08


def test_a_bundle_has_the_bits_of_training_and_training_is_repeatable() -> None:
    shown, y = strokes(60)
    shown = pl.concat([shown, pl.Series("photo", [None], dtype=pl.String)])
    goals = np.c_[y, ~y, np.zeros(60)].astype(float)
    operator, codes, levels, rows = asked(shown, np.r_[goals, [[0, 0, 1]]])
    found = operator.learn(codes, levels, rows)
    assert np.isnan(operator.training(codes, levels, rows)[-1]).all()
    trained._trained.cache_clear()
    assert (operator.learn(codes, levels, rows)["graph"] == found["graph"]).all()
    reader = operator.words(found)
    feature = TextFeature("t", "photo", ("a", "b", "c"), "image", "trained")
    stored = files.content([reader])
    assert set(stored) == {"sights.npz"} <= set(files.FILES)
    (read,) = files.read("v1", dict(stored), [feature])
    assert [read.sums(level) for level in levels] == found["table"][:-1].tolist()
    assert np.isnan(found["table"][-1]).all() and np.isnan(read.sums("bm8gaW1hZ2U=")).all()
    assert np.isfinite([read.sums(v) for v in files.drawn(read, 2, np.random.default_rng(0))]).all()
    content = stored["sights.npz"]
    with pytest.raises(ProjectError, match=r"sights\.npz is not usable"):
        sights.read("v1", content[: len(content) // 2], [feature])
    more = TextFeature("t", "photo", ("a",), "image", "trained")
    with pytest.raises(ProjectError, match=r"sights\.npz is not usable"):
        sights.read("v1", content, [more])


def test_early_stopping_keeps_the_best_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((40, 12, 12, 1), dtype=np.float32)
    goals = rng.random((40, 1)) < 0.5  # chance: to learn it makes the rows kept apart worse
    measured: list[float] = []
    plain = descent.measured
    monkeypatch.setattr(
        convolutions, "measured", lambda *a: measured.append(plain(*a)) or measured[-1]
    )
    net: Net = convolutions.learnt(
        x, descent.aim(goals.astype(float), "yes"), Plan(8, 200, (), 0), lambda: None
    )
    assert len(measured) < 200
    assert len(measured) - 1 - int(np.argmin(measured)) == convolutions.PATIENCE
    apart = np.random.default_rng(0).permutation(40)[:4]
    found = convolutions.numbers((x[apart] - net.mean) / net.spread, net.layers)
    assert plain(found, goals[apart].astype(np.float32), "yes") == pytest.approx(min(measured))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"augment": ("flip", "flip")}, "names a change twice"),
        ({"augment": ("blur",)}, "augment"),
        ({"stem": "english"}, "stem and lemma are for Words and Topics"),
        ({"size": 4}, "size"),
    ],
)
def test_a_wrong_declaration_is_refused_in_one_line(more: dict, said: str) -> None:
    operator = TrainedNetwork("photo.trained", of="photo", **more)
    with pytest.raises(ProjectError, match=said) as raised:
        check([operator], Selection("none", keep=30), {"photo": "image"}, set())
    assert "\n" not in str(raised.value)


def test_too_few_images_and_no_target_are_said() -> None:
    shown, y = strokes(20)
    operator, codes, levels, rows = asked(shown, y[:, None])
    with pytest.raises(ValueError, match="needs 30 different images to train on and has 20"):
        operator.learn(codes, levels, rows)
    with pytest.raises(ValueError, match="needs a target"):
        operator.learn(codes, levels, rows._replace(goals=None))
