"""From the bytes of an image file to a small square of pixels: the one way for every mode.

An image is turned upright (EXIF), laid on white where it is transparent, and brought to one size
by area. A table holds such a square as PNG in base64; one is read again without any loss. What
cannot be read has a reason of REASONS: nothing is guessed.
"""

import base64
import binascii
import hashlib
import io
import re
import threading
from collections import OrderedDict
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MEGAPIXELS = 50  # larger ones are refused before they are decoded (decompression bombs)
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM")
SUFFIXES = (*(".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff"), ".ppm", ".pgm")
REASONS = ("empty", "no image", "damaged", "too large", "no scale", "not base64")
SOURCE = "source"  # of our own PNG: the size of the image that it was made of
WIDEST = 16  # bits of a grey value
# One grey pixel.
EXAMPLE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)
KEPT = 256  # of the last values that were decoded: a request asks several things of each
TOLD = re.compile(r"(\d+) x (\d+) pixels, brightness (\d+), sharpness (\d+)")

Pixels = NDArray[np.uint8]
_sides: set[int] = set()  # that the models of this process read
_seen: "OrderedDict[bytes, Looked]" = OrderedDict()
_lock = threading.Lock()


class Unreadable(ValueError):
    """Why something is no image; one of REASONS."""


class Measures(NamedTuple):
    """What is watched of an image: its size, its mean and how much neighbours differ, 0 to 255."""

    width: int
    height: int
    brightness: int
    sharpness: int


class Looked(NamedTuple):
    """What decoding a value once tells: its fault or "", what is watched, its pixels by side."""

    fault: str
    measures: Measures | None
    squares: dict[int, Pixels]


def square(content: bytes, side: int) -> tuple[Pixels, tuple[int, int]]:
    """Return an image file as pixels (side, side, 3), and the size that it was made of.

    Unreadable says why there is none.
    """
    image, size = _opened(content)
    return _brought(image, side), size


def _brought(image: Any, side: int) -> Pixels:
    if image.size != (side, side):
        from PIL import Image

        image = image.resize((side, side), Image.Resampling.BOX if side < min(image.size) else 2)
    return np.asarray(image.convert("RGB"))


def expect(side: int) -> None:
    """Note that values will be read at this side, so that one decoding serves all that is asked."""
    _sides.add(side)


def looked(value: str) -> Looked:
    """Decode a value, once for all that is asked of it; the last KEPT are remembered, small."""
    key = hashlib.blake2b(value.encode(errors="surrogatepass"), digest_size=16).digest()
    with _lock:
        found = _seen.get(key)
    if found is None or (not found.fault and not _sides <= found.squares.keys()):
        found = _look(value)
        with _lock:
            _seen[key] = found
            while len(_seen) > KEPT:
                _seen.popitem(last=False)
    return found


def _look(value: str) -> Looked:
    try:
        image, size = _opened(bytes_of(value))
    except Unreadable as error:
        return Looked(str(error), None, {})
    squares = {side: _brought(image, side) for side in _sides}
    return Looked("", _measures(image, size), squares)


def stored(content: bytes, side: int) -> str:
    """Return what a table holds of an image file; Unreadable says why there is none."""
    found, size = square(content, side)
    return written(found, size)


def written(found: Pixels, size: tuple[int, int]) -> str:
    """Return pixels (side, side, 3) as PNG in base64; grey ones take a third."""
    from PIL import Image, PngImagePlugin

    is_grey = (found == found[:, :, :1]).all()
    about = PngImagePlugin.PngInfo()
    about.add_text(SOURCE, f"{size[0]}x{size[1]}")
    buffer = io.BytesIO()
    Image.fromarray(found[:, :, 0] if is_grey else found).save(buffer, "PNG", pnginfo=about)
    return base64.b64encode(buffer.getvalue()).decode()


def bytes_of(value: str) -> bytes:
    """Return the file that a value holds in base64, also behind `data:image/png;base64,`."""
    text = value.partition(",")[2] if value.startswith("data:") else value
    try:
        return base64.b64decode(re.sub(r"\s+", "", text), validate=True)
    except (binascii.Error, ValueError):
        raise Unreadable("not base64") from None


def read(value: str, side: int) -> Pixels:
    """Return the pixels (side, side, 3) of a value; Unreadable says why there are none."""
    if side not in _sides:
        return square(bytes_of(value), side)[0]
    found = looked(value)
    if found.fault:
        raise Unreadable(found.fault)
    return found.squares[side]


def side_of(value: str | None) -> int:
    """Return the pixels of the longer side of a value, 1 without one."""
    return max(_opened(bytes_of(value))[0].size) if value else 1


def is_square(value: str, side: int) -> bool:
    """Whether a value is what `written` makes, of this size."""
    content = bytes_of(value)
    image, size = _opened(content)
    return image.size == (side, side) and size != image.size and content[:4] == b"\x89PNG"


def fault(value: str) -> str:
    """Return why a value is no image, or ""."""
    return looked(value).fault


def told(value: str | None) -> str | None:
    """Return an image in words, which `measured` reads: nobody can see it there."""
    if value is None or TOLD.fullmatch(value) or (found := measured(value)) is None:
        return value if value and TOLD.fullmatch(value) else None
    width, height, brightness, sharpness = found
    return f"{width} x {height} pixels, brightness {brightness}, sharpness {sharpness}"


def measured(value: str | None) -> Measures | None:
    """Return what is watched of a value, None without an image."""
    if value is None:
        return None
    if known := TOLD.fullmatch(value):
        return Measures(*map(int, known.groups()))
    return looked(value).measures


def _measures(image: Any, size: tuple[int, int]) -> Measures:
    """Measure an image, which gets smaller by it.

    Sharpness is the mean size of the Laplacian (Pertuz et al. 2013) at 64 pixels a side at most.
    """
    image.thumbnail((64, 64))
    grey = np.asarray(image.convert("L"), dtype=np.float64)
    padded = np.pad(grey, 1, mode="edge")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    edges = np.abs(4 * grey - around)
    return Measures(*size, round(float(grey.mean())), min(255, round(float(edges.mean()))))


def _opened(content: bytes) -> tuple[Any, tuple[int, int]]:
    """Return an image upright, in mode L or RGB, and the size that it was made of."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not content:
        raise Unreadable("empty")
    _formats()
    try:
        image: Any = Image.open(io.BytesIO(content), formats=FORMATS)
        if image.width * image.height > MEGAPIXELS * 1_000_000:
            raise Unreadable("too large")
        image.load()  # of several frames the first one
        size = _source(image)
        image = _plain(ImageOps.exif_transpose(image), image.format)
    except Unreadable:
        raise
    except UnidentifiedImageError:
        raise Unreadable("no image") from None
    except (Image.DecompressionBombError, MemoryError):
        raise Unreadable("too large") from None
    except Exception:  # a decoder raises whatever its format makes of damage
        raise Unreadable("damaged") from None
    return image, size or image.size


@cache
def _formats() -> None:
    """Load the decoders once: the formats that Pillow knows at first are fewer."""
    from PIL import Image

    Image.init()


def _source(image: Any) -> tuple[int, int] | None:
    """Return the size that is written in a PNG of our own."""
    text = image.info.get(SOURCE)
    found = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text) if isinstance(text, str) else None
    return (int(found[1]), int(found[2])) if found else None


def _plain(image: Any, form: str | None) -> Any:
    """Return an image in mode L or RGB: on white, and grey values by the maximum of their type."""
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and form in ("PNG", "PPM")):
        wide = np.asarray(image).astype(np.float64) / (2**WIDEST - 1)
        return Image.fromarray(np.clip(np.rint(wide * 255), 0, 255).astype(np.uint8))
    if image.mode in ("I", "F"):  # nothing says which value is white
        raise Unreadable("no scale")
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        shown = image.convert("RGBA")
        white = Image.new("RGBA", shown.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, shown).convert("RGB")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")
