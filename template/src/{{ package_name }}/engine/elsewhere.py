"""Where commands put rows beside this folder: nothing here deletes there, so certificates name it.

The list stands with the log of predictions, which who deletes has before him in any case.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from . import prediction_log, storage
from .settings import Project

PLACES = f"{prediction_log.FOLDER}/places.json"


def note(project: Project, places: Iterable[str]) -> None:
    """Remember places, said as people name them; one that is known already is not said twice.

    Where the folder may not be written to, the command goes on without.
    """
    before = read(project)
    if new := {place for place in places if place} - {*before}:
        with suppress(OSError):
            storage.write_json(project.path(PLACES), sorted({*before, *new}))


def read(project: Project) -> list[str]:
    """Return the places that commands have put rows into, without those in `data`."""
    path = project.path(PLACES)
    return storage.read_json(path, list[str]) if path.is_file() else []


def outside(project: Project, path: Path | str, remote: bool) -> str:
    """Return a file as it is named where `ml forget` does not look, else an empty text."""
    if remote:
        return f"the file {path}"
    found = Path(path).resolve()
    return "" if found.is_relative_to(project.path("data").resolve()) else f"the file {found}"
