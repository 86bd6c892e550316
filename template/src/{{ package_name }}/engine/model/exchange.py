"""Versions that go to another place, a folder or an object store, and come from there.

There a version is its files, each named by its SHA-256, and one seal that names them: a signed
document that is written last and replaced at once, and the first one only where none is. So a
version is there whole or not at all, also while two push it, and no change of a file stays unseen:
the seal tells, and only the owner of the project's key can write one.
"""

import re
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from .. import progress, signing, storage
from ..errors import ProjectError
from ..settings import Project
from ..stores import GROUP, NAME, Store, opened
from . import registry
from .history import FILES as STATE_FILES
from .scorer import EVALUATED, MANIFEST, Scorer

FORMAT = "version 1"
KEYS = signing.Pair(
    "ML_REGISTRY_KEY",
    "deploy/models.pub",
    "ml key",
    GROUP,
    "who has it takes no version of another key; --force makes a new one, and what was pushed has "
    "to be pushed again",
)
MODEL = re.compile(r"v[1-9][0-9]{0,8}")


class Seal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a pushed version is, and the SHA-256 of each of its files."""

    format: str
    project: str
    version: str
    run: str
    gate_passed: bool | None
    metric: float | None
    files: dict[str, str]


class _Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    seal: str
    signature: str


def push(project: Project, destination: str, version: str | None = None) -> dict[str, Any]:
    """Put a version, the champion by default, into a store; return what was sent.

    Again it sends what is new, such as another evaluation. ProjectError where the store has another
    model by this name: that stays as it is.
    """
    sign, _ = signing.signer(project, KEYS)
    known = registry.read(project)
    named = version or known.champion
    if named is None:
        raise ProjectError(f"{registry.no_champion(project)}; or name a version to push")
    entry = registry.named(known, named)
    folder = registry.whole(project, named)
    Scorer.load(folder)
    content = _files(folder)
    slug = project.plan.project.slug
    seal = Seal(
        format=FORMAT,
        project=slug,
        version=named,
        run=entry.run,
        gate_passed=entry.gate_passed,
        metric=entry.metric,
        files={name: storage.sha256_bytes(data) for name, data in content.items()},
    )
    store = opened(destination)
    place = f"{slug}/{named}.json"
    found = store.read(place)
    before = _read(project, place, found) if found is not None else None
    if before and before.files[MANIFEST] != seal.files[MANIFEST]:
        raise ProjectError(
            f"{destination}: {place} is another model (run {before.run}): a version that was "
            "pushed never becomes another; push to another place, or train a new version"
        )
    sent = 0
    for number, (name, data) in enumerate(content.items(), 1):
        progress.tell(f"sending {named}, file", number, len(content))
        blob = _blob(slug, named, seal.files[name])
        there = store.read(blob)  # whole: damage may leave the length
        if there is None or storage.sha256_bytes(there) != seal.files[name]:
            store.write(blob, data)
            sent += len(data)
    if before != seal:
        text = msgspec.json.encode(seal).decode()
        signed = storage.json_bytes(_Signed(text, sign(text.encode())))
        if before:
            store.write(place, signed)
        elif not store.create(place, signed):
            raise ProjectError(
                f"{destination}: {place} came from another push at this moment and stays: push "
                "again to see whether it is the same model"
            )
    old = set(before.files.values() if before else ()) - set(seal.files.values())
    for digest in sorted(old):  # an older state may hold who has been forgotten since
        store.remove(_blob(slug, named, digest))
    return {
        "version": named,
        "destination": destination,
        "files": len(content),
        "bytes": sum(map(len, content.values())),
        "sent_bytes": sent,
        "was_there": before == seal and not sent,
    }


def pull(project: Project, source: str, version: str | None = None) -> dict[str, Any]:
    """Take a version, the newest by default, from a store into models/ and the registry.

    ProjectError, and nothing is changed, where a file is not what the signed seal says, where the
    bundle does not repeat its golden rows, or where models/ has another model by this name.
    """
    store, slug = opened(source), project.plan.project.slug
    named = version or _newest(store, slug, source)
    if not MODEL.fullmatch(named):
        raise ProjectError(f"{named!r} is no version: give such as v3")
    place = f"{slug}/{named}.json"
    found = store.read(place)
    if found is None:
        there = ", ".join(_versions(store, slug)) or "none"
        raise ProjectError(f"{source}: no version {named} of {slug}; there are: {there}")
    seal = _read(project, place, found)
    if (seal.project, seal.version) != (slug, named):
        raise ProjectError(f"{source}: {place} is {seal.version} of {seal.project}: not taken")
    models = project.path("models")
    target = models / named
    models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=models) as temporary:
        # By its own name, so that what is said of it is said of the version.
        folder = Path(temporary) / named
        for number, (name, digest) in enumerate(sorted(seal.files.items()), 1):
            progress.tell(f"fetching {named}, file", number, len(seal.files))
            content = store.read(_blob(slug, named, digest))
            if content is None or storage.sha256_bytes(content) != digest:
                state = "missing" if content is None else "changed"
                raise ProjectError(
                    f"{source}: {named}: {name} is {state}: nothing was taken; push it again"
                )
            storage.write_bytes(folder / name, content)
        Scorer.load(folder)
        known = registry.read(project)
        here = target / MANIFEST
        other = named in known.versions or here.is_file()
        if other and not (here.is_file() and storage.sha256(here) == seal.files[MANIFEST]):
            raise ProjectError(
                f"models/{named} is another model than {source} has by this name: take it into "
                "another clone, or train again here and push that"
            )
        same = _hashes(target) == seal.files if other else False
        entry = registry.Version(
            run=seal.run,
            status="trained" if seal.gate_passed is None else "evaluated",
            gate_passed=seal.gate_passed,
            metric=seal.metric,
            manifest_sha256=seal.files[MANIFEST],
            metrics_sha256=tuple(seal.files[n] for n in (EVALUATED,) if n in seal.files),
        )
        registry.take(project, named, entry, folder)
    return {
        "version": named,
        "source": source,
        "files": len(seal.files),
        "run": seal.run,
        "gate_passed": seal.gate_passed,
        "was_there": same,
    }


def _files(folder: Path) -> dict[str, bytes]:
    """Return what a bundle holds: what its manifest names, the judgement and the state."""
    manifest = storage.read_json(folder / MANIFEST, dict[str, Any])
    names = [MANIFEST, EVALUATED, *sorted(manifest["files"])]
    names += sorted(path.name for path in folder.iterdir() if STATE_FILES.fullmatch(path.name))
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def _hashes(folder: Path) -> dict[str, str]:
    return {name: storage.sha256_bytes(data) for name, data in _files(folder).items()}


def _blob(slug: str, version: str, digest: str) -> str:
    return f"{slug}/{version}/{digest}"


def _read(project: Project, place: str, content: bytes) -> Seal:
    """Return a seal; ProjectError for one that the owner of the project's key did not sign."""
    try:
        signed = msgspec.json.decode(content, type=_Signed)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProjectError(f"{place}: no seal of a version ({error}): push it again") from None
    if not signing.is_signed(project, KEYS, signed.seal.encode(), signed.signature):
        raise ProjectError(
            f"{place}: not signed by the owner of {KEYS.public}: not taken; push it again with the "
            f"secret of that key in {KEYS.secret}"
        )
    try:
        seal = msgspec.json.decode(signed.seal, type=Seal)
    except msgspec.MsgspecError as error:
        raise ProjectError(f"{place}: of another template ({error}): push it again") from None
    names = [name for name in seal.files if not NAME.fullmatch(name)]
    if seal.format != FORMAT or names or MANIFEST not in seal.files:
        raise ProjectError(f"{place}: of another template: push it again")
    return seal


def _versions(store: Store, slug: str) -> list[str]:
    """Return the versions of a project that a store has, the newest last."""
    found = (name.rpartition("/")[2].removesuffix(".json") for name in store.names(slug))
    return sorted(filter(MODEL.fullmatch, found), key=lambda name: int(name[1:]))


def _newest(store: Store, slug: str, source: str) -> str:
    if not (found := _versions(store, slug)):
        raise ProjectError(f"{source}: no version of {slug} is there: `ml push` puts one")
    return found[-1]
