"""A column of images: read one way everywhere or refused, never guessed, in no log."""

import base64
import io
import struct
import zlib
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from helpers.package import load, sources
from PIL import Image

load("images_package", sources("multiclass", images=True))

from images_package import features, splitting  # noqa: E402
from images_package.engine import kinds, pixels  # noqa: E402
from images_package.engine.data import (  # noqa: E402
    contract,
    copies,
    drafting,
    drawing,
    validation,
    whole,
)
from images_package.engine.errors import ProjectError  # noqa: E402
from images_package.engine.features import encode, with_words  # noqa: E402
from images_package.engine.model import looking, patches, shapes  # noqa: E402
from images_package.engine.model.operators import Rows  # noqa: E402
from images_package.engine.model.texts import TextFeature  # noqa: E402
from images_package.engine.model.values import ServedColumn, breach, row_type  # noqa: E402

Column = contract.Column
drawing.STRAY = 0.0  # each image shows the mark of its target
RNG = np.random.default_rng(0)
PICTURE = Image.fromarray(RNG.integers(0, 255, (40, 60, 3), dtype=np.uint8)).resize((60, 40))


def written(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def bomb(side: int) -> bytes:
    """A PNG whose head says that it is huge."""
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


WHOLE = written(PICTURE)
REFUSED = {
    "empty": (b"", "empty"),
    "text": (b"no image at all", "no image"),
    "html": (b"<html><body>404</body></html>", "no image"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no image"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3", "no image"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image"),
    "half a PNG": (WHOLE[: len(WHOLE) // 2], "damaged"),
    "half a JPEG": (written(PICTURE, "JPEG")[:500], "damaged"),
    "a flipped byte": (WHOLE[:60] + bytes([WHOLE[60] ^ 255]) + WHOLE[61:], "damaged"),
    "a bomb": (bomb(60_000), "too large"),
    "60 megapixels": (bomb(7746), "too large"),
    "32 bits": (written(Image.new("F", (9, 9), 0.5), "TIFF"), "no scale"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_image_is_refused_with_its_reason(name: str) -> None:
    content, reason = REFUSED[name]
    with pytest.raises(pixels.Unreadable, match=reason):
        pixels.stored(content, 16)
    value = base64.b64encode(content).decode()
    assert not value or pixels.fault(value) == reason
    assert reason in pixels.REASONS


def test_each_mode_shows_what_it_shows() -> None:
    red = Image.new("RGB", (30, 20), (200, 0, 0))
    clear = Image.new("RGBA", (30, 20), (200, 0, 0, 0))
    frames = [Image.new("L", (30, 20), n) for n in (10, 200)]
    exact = {
        "palette": (written(red.quantize(), "GIF"), (200, 0, 0)),
        "transparent": (written(clear), (255, 255, 255)),
        "transparent palette": (written(clear, "GIF"), (255, 255, 255)),
        "16 bit": (written(Image.fromarray(np.full((20, 30), 257 * 90, np.uint16))), (90,) * 3),
        "16 bit, dark": (written(Image.fromarray(np.full((20, 30), 300, np.uint16))), (1,) * 3),
        "1 bit": (written(Image.new("1", (30, 20), 1)), (255,) * 3),
        "first frame": (
            written(frames[0], "GIF", save_all=True, append_images=frames[1:]),
            (10, 10, 10),
        ),
        "grey with alpha": (written(Image.new("LA", (30, 20), (50, 255))), (50,) * 3),
        "WebP": (written(red, "WEBP", lossless=True), (200, 0, 0)),
        "TIFF": (written(red, "TIFF"), (200, 0, 0)),
        "one pixel": (written(Image.new("RGB", (1, 1), (9, 8, 7))), (9, 8, 7)),
        "a line": (written(Image.new("L", (4000, 1), 77)), (77,) * 3),
    }
    for name, (content, colour) in exact.items():
        found, _ = pixels.square(content, 12)
        assert found.shape == (12, 12, 3) and found.dtype == np.uint8, name
        assert (np.abs(found.astype(int) - colour) <= 1).all(), name
    near, _ = pixels.square(written(red.convert("CMYK"), "JPEG"), 12)
    assert np.abs(near.astype(int) - (200, 0, 0)).max() < 25


def test_a_turned_photograph_is_upright() -> None:
    half = np.zeros((40, 20, 3), np.uint8)
    half[:20] = 255
    turned = Image.fromarray(half).rotate(90, expand=True)  # as a camera on its side stores it
    exif = Image.Exif()
    exif[0x0112] = 6
    found, size = pixels.square(written(turned, "JPEG", exif=exif, quality=95), 8)
    assert size == (20, 40)
    assert found[:3].mean() > 240 and found[-3:].mean() < 15


def test_a_square_is_read_again_without_loss() -> None:
    value = pixels.stored(written(PICTURE, "JPEG"), 16)
    assert (pixels.read(value, 16) == pixels.square(written(PICTURE, "JPEG"), 16)[0]).all()
    assert pixels.stored(pixels.bytes_of(value), 16) == value
    assert pixels.is_square(value, 16) and not pixels.is_square(value, 8)
    assert pixels.measured(value)[:2] == (60, 40)  # the size that it was made of
    assert pixels.read(f"data:image/png;base64,{value}", 16).shape == (16, 16, 3)


def test_what_is_written_down_is_no_image_and_can_be_read() -> None:
    value = pixels.stored(WHOLE, 16)
    told = kinds.logged(value, "image")
    assert "60 x 40 pixels" in told and len(told) < 60
    assert pixels.measured(told) == pixels.measured(value)
    assert kinds.logged(told, "image") == told
    assert kinds.logged(None, "image") is None and kinds.logged("nothing", "image") is None


def squares(rows: int, side: int = 16, seed: int = 0) -> tuple[pl.Series, np.ndarray]:
    """Images of two marks with their target."""
    rng = np.random.default_rng(seed)
    y = rng.random(rows) < 0.5
    drawn = drawing.drawn("photo", pl.Series(np.where(y, "scratch", "dent")), rng)
    values = [pixels.stored(pixels.bytes_of(value), side) for value in drawn]
    return pl.Series("photo", values, dtype=pl.String), y


def learnt(operator: shapes.OfImage, shown: pl.Series, y: np.ndarray) -> tuple:
    levels = tuple(shown.drop_nulls().unique().sort())
    places = {value: float(place) for place, value in enumerate(levels)}
    codes = np.array([[places.get(value, len(levels))] for value in shown])
    rows = Rows(y.astype(float)[:, None], None, 0, 0)
    return operator.learn(codes, levels, rows), levels, operator.training(codes, levels, rows)


@pytest.mark.parametrize(
    "operator", [shapes.PatchWeights("p", of="photo", most=16), shapes.PatchTopics("p", of="photo")]
)
def test_a_bundle_has_the_bits_of_training(operator: shapes.OfImage) -> None:
    shown, y = squares(80)
    found, levels, _ = learnt(operator, pl.concat([shown, pl.Series("photo", [None])]), np.r_[y, 0])
    stored = patches.content([operator.words(found)])
    assert stored == patches.content([operator.words(found)])
    made = tuple(str(place) for place in range(found["table"].shape[1]))
    (model,) = patches.read("v1", stored, [TextFeature("p", "photo", made, "image")])
    assert all(
        model.sums(level) == row
        for level, row in zip(levels, found["table"].tolist(), strict=False)
    )
    assert np.isnan(found["table"][-1]).all() and np.isnan(model.sums(None)).all()
    assert np.isnan(model.sums("bm8gaW1hZ2U=")).all()
    with pytest.raises(ProjectError, match=r"images\.npz is not usable"):
        patches.read("v1", stored[: len(stored) // 2], [TextFeature("p", "photo", made, "image")])
    with pytest.raises(ProjectError, match=r"images\.npz is not usable"):
        patches.read("v1", stored, [TextFeature("p", "photo", (*made, "more"), "image")])


def test_marks_are_learnt_and_training_rows_never_see_their_own_target() -> None:
    shown, y = squares(400)
    found, levels, honest = learnt(
        shapes.PatchWeights("p", of="photo", most=32), shown[:300], y[:300]
    )
    model = shapes.PatchWeights("p", of="photo").words(found)
    told = np.array([model.sums(value)[0] for value in shown[300:]])
    assert ((told > 0.5) == y[300:]).mean() > 0.75
    assert ((honest[:, 0] > 0.5) == y[:300]).mean() > 0.75
    rng = np.random.default_rng(1)
    chance = rng.random(300) < 0.5
    table, levels, honest = learnt(
        shapes.PatchWeights("p", of="photo", most=32), shown[:300], chance
    )
    seen = table["table"][[levels.index(value) for value in shown[:300]], 0]
    assert ((seen > 0.5) == chance).mean() > 0.7  # by heart
    assert abs(((honest[:, 0] > 0.5) == chance).mean() - 0.5) < 0.12


def test_what_is_covered_matters_where_the_mark_is() -> None:
    shown, y = squares(300)
    model = shapes.PatchWeights("p", of="photo").words(
        learnt(shapes.PatchWeights("p", of="photo", most=32), shown, y)[0]
    )
    falls = model.covered(shown[0], 0)
    assert falls.shape == (looking.WINDOWS, looking.WINDOWS) and np.abs(falls).max() > 0.01
    told = model.told(shown[0], 0)
    assert abs(told[0][1]) == np.abs(falls).max() and told[0][0].startswith("row ")
    assert model.told(None, 0) == []


def test_numbers_are_a_goal_and_colours_count() -> None:
    rng = np.random.default_rng(0)
    red = rng.integers(0, 255, 120)
    values = []
    for level in red:
        image = np.zeros((12, 12, 3), np.uint8)
        image[:, :, 0], image[:, :, 1] = level, 128
        values.append(
            pixels.written(image + rng.integers(0, 9, (12, 12, 3), dtype=np.uint8), (12, 12))
        )
    levels = tuple(dict.fromkeys(values))
    codes = np.array([[float(levels.index(value))] for value in values])
    operator = shapes.PatchWeights("p", of="photo", most=16)
    found = operator.learn(codes, levels, Rows(1000.0 + red[:, None], None, 0, 0))
    assert operator.words(found).filters.channels == 3
    guess = found["table"][codes[:, 0].astype(int), 0]
    assert np.corrcoef(guess, red)[0, 1] > 0.9 and abs(guess.mean() - 1000 - red.mean()) < 5


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "photos").mkdir(parents=True)
    (folder / "photos/good.png").write_bytes(WHOLE)
    (folder / "photos/half.png").write_bytes(WHOLE[:200])
    (folder / "photos/empty.jpg").write_bytes(b"")
    (tmp_path / "secret.png").write_bytes(WHOLE)
    (folder / "photos/link.png").symlink_to(tmp_path / "secret.png")
    return folder


PHOTO = Column(name="photo", kind="image", role="feature", required=True)


def test_files_are_read_from_the_folder_of_the_table_and_from_nowhere_else(files: Path) -> None:
    square = pixels.stored(WHOLE, 16)
    asked = {
        "photos/good.png": square,
        " photos/good.png ": square,
        base64.b64encode(WHOLE).decode(): square,
        square: square,
        "photos/half.png": "!damaged: photos/half.png",
        "photos/empty.jpg": "!empty: photos/empty.jpg",
        "photos/none.png": "!not found: photos/none.png",
        "photos": "!not found: photos",
        "../secret.png": "!outside the folder: ../secret.png",
        str(files.parent / "secret.png"): f"!outside the folder: {files.parent / 'secret.png'}",
        "photos/link.png": "!outside the folder: photos/link.png",
        "photos/\x00.png": "!not found: photos/\x00.png",
        "x" * 5000 + ".png": "!not found: " + "x" * 300,
    }
    frame = pl.DataFrame({"photo": [*asked, None], "n": range(len(asked) + 1)})
    found = whole.filled(frame, [PHOTO], files, 16)
    assert found["photo"].to_list() == [*asked.values(), None]
    checked = validation.check(found["photo"], PHOTO, required=True)
    rules = {rule: int(mask.sum()) for rule, mask in checked.broken}
    assert rules == {
        "required": 1,
        "damaged": 1,
        "empty": 1,
        "not found": 4,
        "outside the folder": 3,
    }
    again = whole.filled(found, [PHOTO], files.parent, 16)  # a snapshot needs no files
    assert again.equals(found)


def test_a_value_that_is_no_image_is_never_valid() -> None:
    values = pl.Series("photo", ["hello", "photos/good.png", "!!!", "aGVsbG8="])
    checked = validation.check(values, PHOTO, required=True)
    assert [(rule, int(mask.sum())) for rule, mask in checked.broken] == [("no image", 4)]


def test_a_request_is_refused_by_the_reason() -> None:
    column = ServedColumn(name="photo", kind="image", required=True)
    good = base64.b64encode(WHOLE).decode()
    assert breach(good, column) == "" and breach(kinds.EXAMPLES["image"], column) == ""
    assert breach(good[: len(good) // 2 // 4 * 4], column) == "damaged"
    assert breach("photos/good.png", column) == "not base64"
    assert breach("", column) == "required"
    assert breach(3, column) == "type"
    decode = msgspec.json.Decoder(row_type((column,))).decode
    assert decode(msgspec.json.encode({"photo": good})).f0 == good


def test_copies_are_alike_and_others_are_not() -> None:
    shown, _ = squares(60, side=32)
    copied = [
        pixels.stored(
            written(Image.open(io.BytesIO(pixels.bytes_of(value))), "JPEG", quality=90), 32
        )
        for value in shown[:5]
    ]
    groups = copies.leading([*shown, *copied])
    for value, copy in zip(shown[:5], copied, strict=True):
        assert groups[value] == groups[copy]
    assert len({groups[value] for value in shown}) == len(shown.unique())


def test_what_is_drawn_alike_is_no_copy() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits().images[:600] * 15.9
    values = [pixels.stored(written(Image.fromarray(d.astype(np.uint8))), 32) for d in digits]
    assert len(set(copies.leading(values).values())) > 0.99 * len(set(values))


def agreed(**more: object) -> contract.Contract:
    target = Column(name="y", kind="category", role="target", levels=("dent", "scratch"))
    panel = Column(name="panel", kind="category", role="entity")
    columns = (panel, PHOTO, Column(name="n", kind="integer", role="feature"), target)
    return contract.Contract(name="t", version="1", columns=columns)


def test_copies_stay_on_one_side_with_and_without_an_entity() -> None:
    shown, y = squares(150, side=32)
    copied = [
        pixels.stored(
            written(Image.open(io.BytesIO(pixels.bytes_of(value))), "JPEG", quality=90), 32
        )
        for value in shown
    ]
    frame = pl.DataFrame(
        {
            "panel": [f"p{place // 3}" for place in range(150)] + [f"q{n}" for n in range(150)],
            "photo": [*shown, *copied],
            "n": range(300),
            "y": ["scratch" if value else "dent" for value in (*y, *y)],
        }
    )
    for scheme in ("stratified", "stratified_group"):
        found = splitting.split(
            frame, np.r_[y, y].astype(np.int8), agreed(), scheme,
            test_share=0.2, folds=3, embargo_days=0, seed=7,
        )  # fmt: skip
        test = set(found.test.tolist())
        assert 30 < len(test) < 120
        assert all((place in test) == (place + 150 in test) for place in range(150)), scheme
        if scheme == "stratified_group":
            assert all((place in test) == (place // 3 * 3 in test) for place in range(150))


def test_features_and_matrix_have_the_numbers_of_an_image() -> None:
    shown, y = squares(60)
    frame = pl.DataFrame({"panel": ["a"] * 60, "photo": shown, "n": range(60)})
    spec = features.fit(frame, agreed())
    assert [item.name for item in spec.texts] == ["photo"]
    assert encode(spec, frame).shape == (60, 2)
    operator = shapes.PatchWeights("photo.patches", of="photo", most=16)
    found = learnt(operator, shown, y)[0]
    feature = TextFeature("photo.patches", "photo", ("photo.patches",), "image")
    served = with_words(
        frame, msgspec.structs.replace(spec, words=(feature,)), [operator.words(found)]
    )
    assert served["photo.patches"].is_finite().all()


def test_a_folder_of_labels_and_a_table_of_paths_give_a_draft(tmp_path: Path) -> None:
    for label in ("dent", "good", "scratch"):
        (tmp_path / "shots" / label).mkdir(parents=True)
        for place in range(60):
            (tmp_path / "shots" / label / f"{place}.PNG").write_bytes(WHOLE)
    (tmp_path / "shots/dent/notes.txt").write_text("not an image")
    drafted = drafting.draft(tmp_path / "shots", "label")
    assert "format: image" in drafted.text
    path = tmp_path / "c.yaml"
    path.write_text(drafted.text)
    assert contract.lint(path) == []
    read = contract.read(path)
    assert read.column("image").kind == "image" and read.target.levels == (
        "dent",
        "good",
        "scratch",
    )
    listed = whole.listed(tmp_path / "shots")
    assert listed.height == 180 and listed["image"][0] == "dent/0.PNG"
    filled = whole.filled(listed, read.columns, whole.folder(tmp_path / "shots"), 8)
    assert validation.check(filled["image"], read.column("image"), required=True).broken == []
    (tmp_path / "shots/loose.png").write_bytes(WHOLE)
    with pytest.raises(ProjectError, match=r"loose.png: an image stands in a folder"):
        drafting.draft(tmp_path / "shots", "label")
    (tmp_path / "none").mkdir()
    with pytest.raises(ProjectError, match="a folder without images"):
        whole.listed(tmp_path / "none")


def test_a_contract_refuses_an_image_as_key_or_entity(tmp_path: Path) -> None:
    text = (
        "apiVersion: v3.1.0\nkind: DataContract\nid: a\nname: a\nversion: 1.0.0\nstatus: draft\n"
        "schema:\n  - name: t\n    properties:\n      - name: photo\n        logicalType: string\n"
        "        required: true\n        primaryKey: true\n"
        "        logicalTypeOptions: {format: image}\n"
        "        customProperties: [{property: role, value: entity}]\n"
    )
    path = tmp_path / "c.yaml"
    path.write_text(text)
    found = "\n".join(contract.lint(path))
    assert "format image is for features, not for role entity" in found
    assert "format image cannot be part of the primary key" in found


def test_changed_files_beside_a_table_change_what_a_step_depends_on(files: Path) -> None:
    table = files / "rows.csv"
    table.write_text("photo\nphotos/good.png\n")
    before = whole.stamp(table)
    assert before == whole.stamp(table) and whole.stamp(files / "none.csv") is None
    (files / "photos/good.png").write_bytes(WHOLE + b" ")
    assert whole.stamp(table) != before


def test_new_images_are_watched_by_size_brightness_and_sharpness() -> None:
    frame = pl.DataFrame(
        {"photo": [pixels.stored(WHOLE, 16), "60 x 40 pixels, brightness 9, sharpness 2", None]}
    )
    found = whole.watched(frame, agreed())
    assert found["photo: width"].to_list() == [60, 60, None]
    assert found["photo: brightness"][1] == 9
    blurred = pixels.stored(written(PICTURE.resize((6, 4)).resize((60, 40))), 32)
    assert pixels.measured(blurred).sharpness < pixels.measured(pixels.stored(WHOLE, 32)).sharpness


def test_an_image_is_decoded_once_for_all_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, y = squares(60)
    operator = shapes.PatchWeights("p", of="photo", most=16)
    stored = patches.content([operator.words(learnt(operator, shown, y)[0])])
    (model,) = patches.read("v1", stored, [TextFeature("p", "photo", ("0",), "image")])
    decoded, opened = [], pixels._opened
    monkeypatch.setattr(pixels, "_opened", lambda c: (decoded.append(len(c)), opened(c))[1])
    for content, times in ((WHOLE + b" ", 1), (WHOLE[:300], 1), (WHOLE + b"  ", 1)):
        value, before = base64.b64encode(content).decode(), len(decoded)
        fault = kinds.fault(value, "image")
        sums, told = model.sums(value), kinds.logged(value, "image")
        assert len(decoded) - before == times
        assert bool(fault) == (content == WHOLE[:300]) == (told is None) == np.isnan(sums[0])
        if not fault:
            square, size = pixels.square(content, 16)
            assert sums == model.of(square) and told.startswith(f"{size[0]} x {size[1]} pixels")
    for n in range(pixels.KEPT + 5):
        pixels.fault(f"no image {n}")
    assert len(pixels._seen) == pixels.KEPT


def test_a_folder_of_new_images_is_rows_to_score(files: Path) -> None:
    found = whole.rows_of(files, [ServedColumn(name="photo", kind="image")])
    assert found["file"].to_list() == [f"photos/{n}.{e}" for n, e in
        (("empty", "jpg"), ("good", "png"), ("half", "png"), ("link", "png"))]  # fmt: skip
    assert found["photo"].equals(found["file"].alias("photo"))
    (files / "none").mkdir()
    for folder, columns in ((files / "none", ["photo"]), (files, []), (files, ["a", "b"])):
        with pytest.raises(ProjectError, match="write a table of paths"):
            whole.rows_of(folder, [ServedColumn(name=name, kind="image") for name in columns])


def test_a_contact_sheet_has_each_part_of_the_target_and_no_personal_image() -> None:
    shown, y = squares(40)
    frame = pl.DataFrame({"photo": shown, "y": np.where(y, "scratch", "dent")})
    lines = whole.sheet(agreed(), frame)
    assert [line["part"] for line in lines] == ["dent", "scratch"]
    assert all(len(line["pictures"]) == whole.SHEET for line in lines)
    assert lines[0]["pictures"][0].startswith("data:image/png;base64,")
    plain = agreed()
    hidden = tuple(
        msgspec.structs.replace(c, personal=True) if c.kind == "image" else c for c in plain.columns
    )
    assert whole.sheet(msgspec.structs.replace(plain, columns=hidden), frame) == []
    numbers = msgspec.structs.replace(plain.columns[-1], kind="number", levels=())
    real = msgspec.structs.replace(plain, columns=(*plain.columns[:-1], numbers))
    lines = whole.sheet(real, frame.with_columns(pl.Series("y", np.arange(40.0))))
    assert [line["part"] for line in lines] == [f"quarter {n}" for n in range(1, 5)]


def test_most_of_the_signal_of_a_sample_is_to_be_seen_only() -> None:
    rng = np.random.default_rng(0)
    score = rng.standard_normal(5000)
    mixed = whole.weighed(agreed(), score, rng)
    assert abs(mixed.std() - 1) < 0.05
    assert abs(np.corrcoef(mixed, score)[0, 1] - drawing.OTHERS) < 0.05
    plain = agreed()
    columns = tuple(column for column in plain.columns if column.kind != "image")
    bare = msgspec.structs.replace(plain, columns=columns)
    assert whole.weighed(bare, score, rng) is score
