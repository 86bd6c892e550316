"""Where commands put rows beside this folder: nothing here deletes there, so certificates name it.

The list stands with the log of predictions, which who deletes has before him in any case.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from . import storage, stores
from .errors import ProjectError
from .settings import LOG, Project

PLACES = f"{LOG}/places.json"
LOST = f"what was noted before {PLACES} was damaged, which is not known"
SECRET = r"(?<=://)[^/@]*@|\?.*"  # of an address: who asks, and what a signed one ends with


def note(project: Project, places: Iterable[str]) -> None:
    """Remember places, said as people name them; one that is known already is not said twice.

    Where that cannot be written, the command goes on without.
    """
    before = read(project)
    if new := {place for place in places if place} - {*before}:
        with suppress(OSError, ProjectError):
            storage.write_json(project.path(PLACES), sorted({*before, *new}))


def read(project: Project) -> list[str]:
    """Return the places that commands have put rows into, without those in `data`.

    Of a damaged list one says so, which stays in it when others come.
    """
    path = project.path(PLACES)
    if not path.exists():
        return []
    try:
        return storage.read_json(path, list[str])
    except (OSError, ProjectError):
        return [LOST]


def named(place: str) -> str:
    """Return an address without its secrets, and a file or folder by its whole path."""
    return re.sub(SECRET, "", place) if stores.is_remote(place) else str(Path(place).resolve())


def outside(project: Project, place: str) -> str:
    """Return a file as it is named where `ml forget` does not look, else an empty text."""
    found, data = named(place), project.path("data").resolve()
    within = not stores.is_remote(place) and Path(found).is_relative_to(data)
    return "" if within else f"the file {found}"
