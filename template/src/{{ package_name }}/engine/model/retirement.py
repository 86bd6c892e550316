"""The end of a model: no version answers any more, and what is left of it is listed."""

import datetime as dt
from pathlib import Path
from typing import Any

import msgspec

from .. import elsewhere, storage
from ..errors import ProjectError
from ..formats import UNKNOWN, count, number
from ..settings import Project
from . import registry

ARCHIVE = "models/retired.json"
# Folders of a project that hold rows, models or what was said of them, each with what ends it.
LEFT = {
    "data": "rows: delete them by the retention of the plan",
    "models": f"versions: move them to the archive, with {ARCHIVE}",
    "reports": "figures: keep them with the plan",
    "mlruns": "runs of training: delete or archive them",
}
ELSEWHERE = (
    "services and jobs that run an image of their own, and the images: stop and delete them",
    "copies of data and models, and what callers keep of answers: tell who has them",
    "schedules, alerts, accounts and secrets of this model: take them away",
)


def run(project: Project, reason: str, by: str = UNKNOWN) -> dict[str, Any]:
    """Revoke the champion and list every version with the hashes of its files.

    The list is written first: a kill leaves a model that still answers, or one that is retired.
    """
    reason = " ".join(reason.split())
    if not reason:
        raise ProjectError("say why, such as: ml retire 'the rule of 2027 does as well'")
    known = registry.read(project)
    if known.ended:
        raise ProjectError(f"it was retired on {known.ended.on} already: {known.ended.reason}")
    if not known.versions:
        raise ProjectError("there is no version to retire: `ml models` lists them")
    ended = registry.Ended(dt.datetime.now(dt.UTC).date().isoformat(), reason)
    places = elsewhere.read(project)
    report = {
        "on": ended.on,
        "reason": reason,
        "champion": known.champion,
        "versions": {
            name: {**msgspec.to_builtins(entry), "files": _files(project.path(f"models/{name}"))}
            for name, entry in known.versions.items()
        },
        "left": _left(project),
        "elsewhere": [
            *(f"{place}: delete its rows by the retention of the plan" for place in places),
            *ELSEWHERE,
        ],
    }
    storage.write_json(project.path(ARCHIVE), report)
    registry.end(project, ended, by)
    return report


def told(report: dict[str, Any]) -> str:
    """Say what ended and what is left, a line each."""
    was = f"{report['champion']} answers no more" if report["champion"] else "nothing answered"
    versions = count(len(report["versions"]), "version")
    lines = [f"retired on {report['on']}: {was}; {ARCHIVE} lists {versions} with their hashes"]
    for folder, left in report["left"].items():
        size = f"{count(left['files'], 'file')}, {number(left['bytes'] / 1e6, 1)} MB"
        lines.append(f"left here: {folder}/ ({size}): {left['todo']}")
    lines += [f"out of reach: {what}" for what in report["elsewhere"]]
    return "\n".join(lines)


def _files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a bundle by its name; empty where the folder is gone."""
    return {
        path.relative_to(folder).as_posix(): storage.sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _left(project: Project) -> dict[str, dict[str, Any]]:
    found = {}
    for name, todo in LEFT.items():
        files = [path for path in project.path(name).rglob("*") if path.is_file()]
        if files:
            size = sum(path.stat().st_size for path in files)
            found[name] = {"files": len(files), "bytes": size, "todo": todo}
    return found
