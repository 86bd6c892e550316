"""Images of the sample: shapes on a noisy surface that go with the target.

Each value of the target has a mark: that of its name, else the next. A part shows another one, so
that no model is right everywhere. A few files are copies, and a few are broken on purpose.
"""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .. import pixels, progress, storage
from .contract import Contract

STRAY = 0.05  # of the images show another mark
OTHERS = 0.35  # weight of what the other columns say of the target: most is to be seen only
SIDE = 48  # pixels
COPIES, BROKEN = 0.03, 0.01  # shares of the files
SHOTS = 4  # of one source, where nothing else says which
MARKS = ("good", "scratch", "spot", "crack", "dent", "stain")

Grey = NDArray[Any]


def drawn(name: str, outcome: pl.Series, rng: np.random.Generator) -> pl.Series:
    """Return an image in base64 for each value of the target."""
    about = _marks(outcome)
    stray = rng.random(len(about)) < STRAY
    about = np.where(stray, rng.integers(0, len(MARKS), len(about)), about)
    return pl.Series(name, [_written(MARKS[mark], rng) for mark in about], dtype=pl.String)


def _written(mark: str, rng: np.random.Generator) -> str:
    grey = np.clip(_surface(rng) + _mark(mark, rng), 0, 255).astype(np.uint8)
    return pixels.written(np.repeat(grey[:, :, None], 3, axis=2), (SIDE, SIDE))


def _surface(rng: np.random.Generator) -> Grey:
    """Return brushed metal: light from one side, stripes and noise."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    light = rng.uniform(110, 170) + rng.uniform(-30, 30) * rows + rng.uniform(-30, 30) * columns
    stripes = rng.normal(0, 4, (SIDE, 1)) + rng.normal(0, rng.uniform(3, 8), (SIDE, SIDE))
    return np.asarray(light + stripes)


def _mark(mark: str, rng: np.random.Generator) -> Grey:
    """Return what a mark adds to the grey values."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(float)
    cy, cx, turn = rng.uniform(12, 36), rng.uniform(12, 36), rng.uniform(0, np.pi)
    along = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
    across = -(x - cx) * np.sin(turn) + (y - cy) * np.cos(turn)
    far, depth = np.hypot(along, across), rng.uniform(35, 70)
    added = np.zeros((SIDE, SIDE))
    if mark == "scratch":  # long, straight and bright
        added = np.exp(-((across / 0.9) ** 2)) * (np.abs(along) < rng.uniform(10, 20))
    if mark == "spot":  # small, round and dark
        added = -np.exp(-((far / rng.uniform(2.5, 4.5)) ** 2))
    if mark == "crack":  # dark and jagged
        bend = 3 * np.sin(along / 2.2 + rng.uniform(0, 6)) + rng.normal(0, 0.4, (SIDE, SIDE))
        added = -np.exp(-(((across - bend) / 1.1) ** 2)) * (np.abs(along) < 16)
    if mark == "dent":  # one side in light, the other in shade
        added = (along / 5) * np.exp(-((far / rng.uniform(6, 9)) ** 2))
    if mark == "stain":  # wide and faint
        added = -0.5 * (far < rng.uniform(9, 14)).astype(float)
    return np.asarray(depth * added)


def _marks(outcome: pl.Series) -> NDArray[np.intp]:
    """Return the number of a mark for each value."""
    known = outcome.drop_nulls()
    is_real = known.dtype.is_float() or (known.dtype.is_integer() and known.n_unique() > len(MARKS))
    if is_real:
        ranks = outcome.rank("ordinal").fill_null(1).to_numpy() - 1
        return (ranks * len(MARKS) // max(1, len(outcome))).astype(np.intp)
    levels = sorted(known.cast(pl.String).unique())
    free = [mark for mark in MARKS if mark not in levels] or [*MARKS]
    others = iter(free * (len(levels) // len(free) + 1))
    of = {level: MARKS.index(level if level in MARKS else next(others)) for level in levels}
    return np.array([of.get(value, 0) for value in outcome.cast(pl.String)], dtype=np.intp)


def stored(frame: pl.DataFrame, contract: Contract, column: str, folder: Path) -> pl.DataFrame:
    """Write the images of a column into `folder`, in several formats; return rows with their names.

    Some are copies of the row before, and some are broken: `ml validate` finds these.
    """
    rng = np.random.default_rng(len(frame))
    entity, target = contract.entity, frame[contract.target.name].to_list()
    if entity and contract.time is None and entity.name not in contract.primary_key:
        sources = [f"{entity.name}_{place // SHOTS:05d}" for place in range(frame.height)]
        frame = frame.with_columns(pl.Series(entity.name, sources, dtype=pl.String))
    names: list[str | None] = []
    before = None
    for place, value in enumerate(frame[column].to_list()):
        progress.tell("drawing images", place + 1, frame.height)
        if value is None:
            names.append(None)
            continue
        draw, again = rng.random(2)
        shown = value
        if before is not None and again < COPIES and target[place] == target[place - 1]:
            shown = before
        before = shown
        suffix, content = _file(pixels.bytes_of(shown), draw)
        if again > 1 - BROKEN:
            content = (content[: len(content) // 2], b"", b"no image at all")[place % 3]
        name = f"{column}/{place:05d}{suffix}"
        storage.write_bytes(folder / name, content)
        names.append(name)
    return frame.with_columns(pl.Series(column, names, dtype=pl.String))


def _file(content: bytes, draw: float) -> tuple[str, bytes]:
    """Return an image as a file of another format, by a number of 0 to 1."""
    from PIL import Image

    image: Any = Image.open(io.BytesIO(content))
    buffer = io.BytesIO()
    if draw < 0.2:
        image.save(buffer, "JPEG", quality=92)
        return ".jpg", buffer.getvalue()
    if draw < 0.25:
        wide = np.asarray(image.convert("L")).astype(np.uint16) * 257
        Image.fromarray(wide).save(buffer, "PNG")
        return ".png", buffer.getvalue()
    if draw < 0.3:
        image.convert("P").save(buffer, "GIF")
        return ".gif", buffer.getvalue()
    return ".png", content


def thumbnail(value: str) -> str:
    """Return an image in base64 as a page embeds it."""
    return "data:image/png;base64," + base64.b64encode(pixels.bytes_of(value)).decode()
