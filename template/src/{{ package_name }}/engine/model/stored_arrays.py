"""Arrays in a file of a bundle: one way to write them, and one to read what may be damaged."""

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..errors import ProjectError

Arrays = dict[str, NDArray[Any]]
T = TypeVar("T")
DAMAGE = (KeyError, ValueError, EOFError, OSError, ZeroDivisionError)


def packed(arrays: Arrays, *, smaller: bool) -> bytes:
    """Return the file that holds arrays; weights of networks hardly get `smaller`."""
    buffer = io.BytesIO()
    write = np.savez_compressed if smaller else np.savez
    write(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


@contextmanager
def opened(bundle: str, file: str, stored: bytes) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Give the arrays of a file while they are read.

    ProjectError where what is made of them fails, as of what is damaged or fits no feature.
    """
    try:
        with np.load(io.BytesIO(stored), allow_pickle=False) as arrays:
            yield arrays
    except (*DAMAGE, zipfile.BadZipFile, msgspec.MsgspecError):
        raise ProjectError(
            f"bundle {bundle}: {file} is not usable; restore it or train again"
        ) from None


def distinct(made: Sequence[T]) -> tuple[list[T], list[int]]:
    """Return each object once, and for each of `made` the place of it there."""
    once = list({id(one): one for one in made}.values())
    return once, [next(n for n, other in enumerate(once) if other is one) for one in made]
