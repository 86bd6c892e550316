"""Tables with columns that are read whole: their values, what is watched, and which are alike.

A table names files of images, relative to its own folder. At `ml ingest` a small square of pixels
takes the place of each name (`pixels.stored`), so that data/raw holds all that is learnt from; what
cannot be read is marked with its reason, which `ml validate` puts into quarantine.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial, reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .. import dialect, pixels, privacy, progress, storage
from ..errors import ProjectError
from ..formats import number
from ..model.looking import Looking
from ..model.texts import Words
from ..settings import Project
from . import contract as contracts
from . import copies, drawing, texts, wording
from .candidate import Candidate
from .contract import Column, Contract

if TYPE_CHECKING:  # it comes with the runtime of the model
    from ..model.scorer import Scorer

MARK = "!"  # before the reason why a file is no image
LARGEST = 200_000_000  # bytes of a file
FILES = ("not found", "outside the folder")  # why a name leads to no image
SHARE = 0.95  # of the values of a column that name images
WORKERS = 4
SHOWN = 300  # characters of a name
MOST_PARTS, SHEET = 12, 8  # rows of a contact sheet, and images of each
FOLDER_NAMES = ("image", "label")


def stamp(path: Path) -> str | None:
    """Return what a table of a step depends on: its SHA-256, and which files lie beside it.

    Of these names, sizes and times count. None without a table.
    """
    if not path.exists() or not (path.is_dir() or path.suffix.lower() in dialect.SUFFIXES):
        return storage.sha256(path) if path.is_file() else None
    found = []
    for folder_name, folders, files in os.walk(path if path.is_dir() else path.parent):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(pixels.SUFFIXES):
                about = (Path(folder_name) / name).stat()
                found.append(f"{folder_name}/{name} {about.st_size} {about.st_mtime_ns}")
    digest = storage.sha256(path) if path.is_file() else ""
    return storage.sha256_text("\n".join([digest, *found])) if found or path.is_dir() else digest


def listed(path: Path) -> pl.DataFrame:
    """Return the table that a folder is: each image in a folder whose name is its label."""
    names = _images(path)
    if not names:
        raise ProjectError(f"{path} is a folder without images: name a table, or a folder of them")
    if alone := next((name for name in names if len(name.parts) < 2), None):
        raise ProjectError(
            f"{path / alone}: an image stands in a folder whose name is its label, such as "
            f"{path.name}/scratch/{alone.name}; or write a table with a column of paths"
        )
    columns = ([name.as_posix() for name in names], [name.parts[0] for name in names])
    return pl.DataFrame(dict(zip(FOLDER_NAMES, columns, strict=True)))


def rows_of(path: Path, columns: Sequence[Any]) -> pl.DataFrame:
    """Return a folder of images as rows to score, each with its path there as `file`."""
    named = [column.name for column in columns if column.kind == "image"]
    names = _images(path)
    if len(named) != 1 or not names:
        raise ProjectError(f"{path}: no folder of images of one column: write a table of paths")
    shown = pl.Series("file", [name.as_posix() for name in names])
    return pl.DataFrame([shown, shown.alias(named[0])])


def _images(path: Path) -> list[Path]:
    """Return the images of a folder and those below it, relative to it."""
    files = (file for file in sorted(path.rglob("*")) if file.suffix.lower() in pixels.SUFFIXES)
    return [file.relative_to(path) for file in files if file.is_file()]


def folder(source: Path) -> Path:
    """Return the folder that names in a table are relative to."""
    return source if source.is_dir() else source.parent


def asked(path: Path) -> Sequence[Column]:
    """Return the columns of a contract that name images."""
    if not path.is_file():
        return ()
    return [column for column in contracts.read(path).columns if column.kind == "image"]


def side(project: Project) -> int:
    """Return the pixels of a side that the plan brings images to."""
    return int(project.plan.answers["image_side"])


def side_of(scorer: "Scorer") -> int:
    """Return the pixels of a side that a bundle was trained with."""
    sides = [m.side for m in scorer.words if isinstance(m, Looking)]
    return max(sides, default=1)


def filled(frame: pl.DataFrame, columns: Sequence[Any], folder: Path, side: int) -> pl.DataFrame:
    """Return rows with pixels in place of the names of images, or a mark with why there are none.

    Names are relative to `folder`, and lead to nothing outside of it. A value may also be an image
    in base64. `columns` are those of a contract or of a bundle.
    """
    for column in columns:
        if column.kind != "image" or column.name not in frame.columns:
            continue
        values = frame[column.name]
        if values.dtype != pl.String:
            continue
        read = partial(_filled, folder=folder.resolve(), side=side)
        found = []
        with ThreadPoolExecutor(WORKERS) as pool:
            for place, value in enumerate(pool.map(read, values.to_list()), 1):
                progress.tell("reading images", place, len(values))
                found.append(value)
        frame = frame.with_columns(pl.Series(column.name, found, dtype=pl.String))
    return frame


def _filled(value: str | None, *, folder: Path, side: int) -> str | None:
    if value is None or not value.strip() or value in dialect.MISSING or value.startswith(MARK):
        return value
    shown = value[:SHOWN] if "." in value else value[:20]
    try:
        if ("." not in value and len(value) > 60) or value.startswith("data:"):
            return (
                value
                if pixels.is_square(value, side)
                else pixels.stored(pixels.bytes_of(value), side)
            )
        return pixels.stored(_content(folder, value), side)
    except pixels.Unreadable as error:
        return f"{MARK}{error}: {shown}"


def _content(folder: Path, name: str) -> bytes:
    """Return the bytes of a file; Unreadable where it is not within the folder."""
    try:
        path = (folder / name.strip()).resolve()
        if not path.is_relative_to(folder):
            raise pixels.Unreadable("outside the folder")
        if not path.is_file():
            raise pixels.Unreadable("not found")
        if path.stat().st_size > LARGEST:
            raise pixels.Unreadable("too large")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # such as a name that no file can have
        if isinstance(error, pixels.Unreadable):
            raise
        raise pixels.Unreadable("not found") from None


def broken(values: pl.Series, kind: str) -> dict[str, pl.Series]:
    """Return the rows that break a rule of a kind, by rule."""
    if kind != "image":
        return {}
    reasons = (*pixels.REASONS, *FILES)
    found = {reason: values.str.starts_with(f"{MARK}{reason}:") for reason in reasons}
    told = reduce(or_, found.values())
    found["no image"] |= ~told & ~values.str.contains(r"^[A-Za-z0-9+/]{60,}=*$")
    return found


def judged(column: Candidate) -> bool:
    """Whether the values of a column name images: a draft then says so."""
    if column.kind != "category" or not len(column.filled):
        return False
    names = column.filled.str.to_lowercase()
    suffixes = "|".join(suffix[1:] for suffix in pixels.SUFFIXES)
    if names.str.contains(rf"\.({suffixes})$").mean() < SHARE:  # type: ignore[operator]
        return False
    column.kind, column.options = "image", {"format": "image"}
    column.notes.append(("image", f"names of {number(len(names))} files of images"))
    return True


def counted(values: pl.Series, kind: str) -> pl.Series:
    """Return the number of each value that a profile shows, see `kinds.UNITS`."""
    if kind == "text":
        return values.str.len_chars().cast(pl.Int64)
    measures = map(pixels.measured, values.to_list())
    found = [None if item is None else item.brightness for item in measures]
    return pl.Series(values.name, found, dtype=pl.Int64)


def leading(values: pl.Series, kind: str) -> dict[str, int]:
    """Return the group of each value that may have copies, of kinds other than text."""
    return copies.leading(values.unique().sort().to_list())


def names(column: str, kind: str) -> tuple[str, ...]:
    """Return the names of what is watched of a column."""
    if kind == "text":
        return texts.names(column)
    return tuple(f"{column}: {name}" for name in pixels.Measures._fields)


def watched(
    frame: pl.DataFrame, contract: Contract, scorer: "Scorer | None" = None
) -> pl.DataFrame:
    """Return rows with what is watched of columns that are read whole."""
    pairs = zip(scorer.spec.words, scorer.words, strict=True) if scorer else ()
    known = {feature.column: model for feature, model in pairs if isinstance(model, Words)}
    frame = texts.watched(frame, contract, known)
    for column in contract.features:
        if column.kind != "image" or column.name not in frame.columns:
            continue
        measures = list(map(pixels.measured, frame[column.name].to_list()))
        frame = frame.with_columns(
            pl.Series(
                name, [None if item is None else item[place] for item in measures], dtype=pl.Int64
            )
            for place, name in enumerate(names(column.name, "image"))
        )
    return frame


def handed(values: pl.Series, kind: str, names: pl.Series, folder: Path) -> pl.Series:
    """Return values for people outside: texts masked, images as files in a folder beside."""
    if kind == "text":
        return pl.Series(values.name, map(privacy.shown, values.to_list()), dtype=pl.String)
    found = []
    for value, name in zip(values.to_list(), names.to_list(), strict=True):
        found.append(value and f"{folder.name}/{name}.png")
        if value and not value.startswith(MARK):
            storage.write_bytes(folder / f"{name}.png", pixels.bytes_of(value))
    return pl.Series(values.name, found, dtype=pl.String)


def sheet(contract: Contract, frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return some images of each part of the target, as a page embeds them.

    Parts are its values where there are few, else quarters of it; personal columns stay away.
    """
    found = []
    target = frame[contract.target.name]
    if target.dtype.is_numeric() and target.n_unique() > MOST_PARTS:
        parts = pl.Series((target.rank("ordinal") - 1) * 4 // max(1, target.count()) + 1)
        parts = "quarter " + parts.cast(pl.Int64).cast(pl.String)
    else:
        parts = target.cast(pl.String)
    known = parts.fill_null("without a value").alias("part")
    for column in contract.features:
        if column.kind != "image" or privacy.hidden(column):
            continue
        rows = pl.DataFrame([known, frame[column.name].alias("value")]).drop_nulls()
        for (part,), some in sorted(rows.group_by(["part"], maintain_order=True))[:MOST_PARTS]:
            places = np.unique(np.linspace(0, some.height - 1, SHEET).astype(int))
            pictures = list(map(drawing.thumbnail, some["value"].gather(places).to_list()))
            found.append({"column": column.name, "part": part, "pictures": pictures})
    return found


def shown(scorer: "Scorer", frame: pl.DataFrame, row: int, personal: set[str]) -> dict[str, Any]:
    """Return the images of a row as a page embeds them, with what each part of one adds.

    That is by how much the number that says the most falls while a part is covered; none of a
    personal column is there.
    """
    found = {}
    for feature, model in zip(scorer.spec.words, scorer.words, strict=True):
        value = frame[feature.column][row]
        if not isinstance(model, Looking) or feature.column in personal or not value:
            continue
        number = int(np.argmax(model.sums(value)))
        falls = model.covered(value, number)
        found[feature.column] = {
            "picture": drawing.thumbnail(value),
            "number": feature.made[number],
            "covered": (falls / (np.abs(falls).max() or 1.0)).round(3).tolist(),
        }
    return {"images": found} if found else {}


def weighed(
    contract: Contract, score: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return what drives the target of a sample (rows,): with images chance does, and they show it.

    `score` is what the other columns say, with mean 0 and spread 1.
    """
    if not any(column.kind == "image" for column in contract.features):
        return score
    rest = np.sqrt(1 - drawing.OTHERS**2)
    return np.asarray(drawing.OTHERS * score + rest * rng.standard_normal(len(score)))


def written(column: Column, outcome: pl.Series, rng: np.random.Generator) -> pl.Series:
    """Return a value of the sample for each value of the target."""
    if column.kind == "text":
        return wording.written(column.name, outcome, column.maximum, rng)
    return drawing.drawn(column.name, outcome, rng)


def stored(frame: pl.DataFrame, contract: Contract, folder: Path) -> pl.DataFrame:
    """Write the images of a sample beside its file; return the rows with their names."""
    for column in contract.columns:
        if column.kind == "image":
            frame = drawing.stored(frame, contract, column.name, folder)
    return frame
