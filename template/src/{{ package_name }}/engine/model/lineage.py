"""What a model was made from: source, snapshot, contract and commit; and the way back."""

from pathlib import Path
from typing import Any, Literal

import msgspec

from .. import storage
from ..data import contract as contracts
from ..data import fetching
from ..errors import ProjectError
from ..formats import count, number
from ..settings import Project
from . import registry
from .scorer import MANIFEST, Manifest


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """A table whose columns were joined to the rows, as it was."""

    server: str
    on: tuple[str, ...]
    rows: int
    sha256: str = ""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What `ml ingest` wrote beside a snapshot, as far as lineage tells it.

    `left` is the SHA-256 of what a person's rows were taken out of, when they were.
    """

    source: str
    made_up: bool
    file: str
    sha256: str
    source_sha256: str
    rows: int
    columns: int
    added: tuple[str, ...] = ()
    erased: int = 0
    left: str = ""
    joined: tuple[Joined, ...] = ()
    loaded: fetching.Loaded | None = None


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What one version was made from; `snapshot` is None when it is not here.

    `data_sha256` is that of the snapshot, `left_sha256` of what is left of it after erasures,
    `valid_sha256` that of the valid rows.
    `contract` says whether the contract of the bundle is still that of the project, `commit` is
    None outside git, `changed` says whether files of the project differed from it.
    """

    version: str
    status: str
    created: str
    run: str
    model: str
    features: tuple[str, ...]
    data_sha256: str
    left_sha256: str
    valid_sha256: str
    snapshot: Snapshot | None
    snapshot_kept: bool
    contract_sha256: str
    contract: Literal["same", "other"]
    commit: str | None
    changed: bool
    manifest_sha256: str
    metric: str
    value: float | None
    gate_passed: bool | None


def trace(project: Project, what: str | None = None) -> list[Origin]:
    """Return the origins of all versions, of one, or of those that a file went into.

    ProjectError for what is neither a version nor a file.
    """
    versions = registry.read(project).versions
    today = contracts.read(project.contract_path).fingerprint
    if what in versions:
        return [_origin(project, what, versions[what], today)]
    found = [_origin(project, name, entry, today) for name, entry in versions.items()]
    if what is None:
        return found
    if not Path(what).is_file():
        known = ", ".join(versions) or "none yet"
        raise ProjectError(f"{what}: no such version and no such file; versions: {known}")
    digest = storage.sha256(Path(what))
    return [one for one in found if digest in _made_of(one)]


def _made_of(origin: Origin) -> set[str]:
    """Return the SHA-256 of each table that a version was made from."""
    snap = origin.snapshot
    sources = {snap.source_sha256, *(one.sha256 for one in snap.joined)} if snap else set()
    return {origin.data_sha256, origin.left_sha256, origin.valid_sha256, *sources}


def _note(project: Project, digest: str) -> Snapshot | None:
    paths = sorted(project.path("data/raw").glob(f"*-{digest[:12]}.json"))
    notes = (storage.read_json(path, Snapshot) for path in paths)
    return next((one for one in notes if one.sha256 == digest), None)


def _origin(project: Project, version: str, entry: registry.Version, today: str) -> Origin:
    """Return the origin of a version; `today` is the fingerprint of the project's contract."""
    folder = project.path(f"models/{version}")
    manifest = storage.read_json(folder / MANIFEST, Manifest)
    digest = manifest.snapshot_sha256 or manifest.data_sha256
    snapshot = left = _note(project, digest)
    erased = 0
    while left and left.left and (after := _note(project, left.left)):
        erased, left = erased + left.erased, after
    if snapshot and left is not snapshot:
        snapshot = msgspec.structs.replace(snapshot, erased=erased)
    return Origin(
        version=version,
        status=entry.status,
        created=manifest.created,
        run=manifest.run,
        model=manifest.champion,
        features=manifest.features,
        data_sha256=digest,
        left_sha256=left.sha256 if left else digest,
        valid_sha256=manifest.data_sha256,
        snapshot=snapshot,
        snapshot_kept=left is not None and project.path(left.file).is_file(),
        contract_sha256=manifest.contract_sha256,
        contract="same" if manifest.contract_sha256 == today else "other",
        commit=manifest.commit,
        changed=manifest.changed,
        manifest_sha256=storage.sha256(folder / MANIFEST),
        metric=manifest.primary_metric,
        value=entry.metric,
        gate_passed=entry.gate_passed,
    )


def table(origins: list[Origin]) -> str:
    """Return what people read: a block of lines for each version."""
    return "\n".join(line for one in origins for line in _lines(one)) or "no model was made from it"


def _lines(one: Origin) -> list[str]:
    taken = "not known: of another clone, or of an older template"
    if snap := one.snapshot:
        added = f", {len(snap.added)} of columns.py" if snap.added else ""
        gone = "" if one.snapshot_kept else "; no longer there"
        gone = f"; {count(snap.erased, 'row')} of it erased since" if snap.erased else gone
        taken = f"{snap.file}: {number(snap.rows)} rows, {snap.columns} columns{added}{gone}"
    commit = "not in git" if one.commit is None else one.commit[:12]
    judged = "not judged yet"
    if one.value is not None:
        judged = f"{one.metric} {one.value:.4g}, gate {'passed' if one.gate_passed else 'closed'}"
    kept = "that of today" if one.contract == "same" else "another than today's"
    return [
        f"{one.version}: {one.model}, {one.status}, made {one.created}",
        *(_sources(snap) if snap else []),
        f"  snapshot  {taken}",
        f"  contract  {one.contract_sha256[:12]}, {kept}",
        f"  commit    {commit}{', with changes not committed' if one.changed else ''}",
        f"  features  {len(one.features)}: {', '.join(one.features)}",
        f"  judged    {judged}",
    ]


def _sources(snap: Snapshot) -> list[str]:
    made_up = ", made up" if snap.made_up else ""
    asked = f", query {snap.loaded.asked[:12]}" if snap.loaded else ""
    return [
        f"  source    {snap.source}{made_up}: {snap.source_sha256[:12]}{asked}",
        *(
            f"  joined    {one.server} by {', '.join(one.on)}: {one.sha256[:12] or 'not known'}, "
            f"{number(one.rows)} rows"
            for one in snap.joined
        ),
    ]


def picture(origins: list[Origin]) -> str:
    """Return a Mermaid flow chart from sources to models."""
    edges = dict.fromkeys(edge for one in origins for edge in _edges(one))
    return "\n".join(["flowchart LR", *edges])


def _edges(one: Origin) -> list[str]:
    model = f'{one.version}["{one.version}: {one.model}, {one.status}"]'
    data = _node("d", one.data_sha256, f"snapshot {one.data_sha256[:12]}")
    contract = _node("c", one.contract_sha256, f"contract {one.contract_sha256[:12]}")
    edges = [f"  {data} --> {model}", f"  {contract} --> {model}"]
    if snap := one.snapshot:
        edges.insert(0, f"  {_node('s', snap.source_sha256, snap.source)} --> {data}")
        for other in snap.joined:  # two of one content, or without a hash, are two
            of_it = storage.sha256_text(f"{other.server} {other.sha256}")
            edges.append(f"  {_node('j', of_it, other.server)} --> {data}")
    if one.commit:
        dirty = " and changes" if one.changed else ""
        commit = _node("g", one.commit, f"commit {one.commit[:12]}{dirty}")
        edges.append(f"  {commit} --> {model}")
    return edges


def _node(kind: str, digest: str, name: str) -> str:
    """Return a node of Mermaid, which is one wherever it is named."""
    plain = name.replace('"', "'")
    return f'{kind}{digest[:12]}["{plain}"]'


def told(origins: list[Origin], as_picture: bool) -> tuple[list[dict[str, Any]], str]:
    """Return what machines get, and the text for people."""
    return msgspec.to_builtins(origins), picture(origins) if as_picture else table(origins)
