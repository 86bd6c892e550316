"""Delete rows for good: those of a person who asks for it, and those past their retention.

All new files are written beside the old ones and take their places together: whatever is killed
when, every file is old, or the next command makes every file new.
"""

import datetime as dt
import io
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import polars as pl

from . import elsewhere, history, keys, prediction_log, progress, storage
from .data import contract as contracts
from .data import forgotten, tables, validation
from .data.contract import Column, Contract
from .data.sources import MANIFEST, in_use, taken
from .errors import CheckFailed, ProjectError
from .formats import count
from .model import history as states
from .model import lineage, registry
from .model.scorer import FeatureSpec
from .settings import LOG, Project

CERTIFICATES = "reports/erased"
OUT_OF_REACH = (
    "backups, and copies outside this folder",
    "images and bundles that were delivered",
    "what callers were answered and keep",
    "reports/audit.jsonl, whose lines hold together: event ids or keyed hashes of overruled "
    "answers, with reasons",
)
OTHER_SECRET = (
    "rows that come in when the secret is another one, as only the hash of the person is known: "
    "`ml forget` with the key leaves them out then, too"
)
Hit = Callable[[pl.DataFrame], pl.Series | None]  # rows to erase; None: the table cannot tell


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken out of a file; a snapshot has another name afterwards."""

    file: str
    now: str | None
    rows_before: int
    rows_erased: int
    sha256_before: str
    sha256_after: str | None


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A version, and whether rows that were erased were in what it was trained on."""

    version: str
    status: str
    trained_on_them: Literal["yes", "no", "unknown"]


class Certificate(msgspec.Struct, kw_only=True):
    """What was deleted, without a value of the rows; `verified` counts what a second look found."""

    kind: Literal["forget", "retain"]
    at: str
    reason: str
    column: str | None
    subject: str | None  # a keyed hash
    before: str | None  # of retain: rows before this day went
    files: list[Erased]
    states: list[str]
    models: list[Model]
    out_of_reach: list[str]
    verified: int | None = None


class Change(NamedTuple):
    """The new content of a file, None where it goes, and what of it the certificate says."""

    path: Path
    content: bytes | None
    told: Erased | None = None


def forget(
    project: Project, key: str, reason: str = "asked by the person", by: str | None = None
) -> tuple[Certificate, Path]:
    """Delete all rows of a person; return the certificate and where it stands.

    `key` is a value of the column `by` (default: the entity), or its keyed hash as the prediction
    log has it. CheckFailed when no file has such a row, ProjectError where nobody can be named.
    """
    if not project.plan.answers.get("personal_data"):
        raise ProjectError(
            "this project is without personal data (`personal_data` of the plan is no), so there "
            "is nobody to forget: if that is wrong, `ml update --data personal_data=yes`"
        )
    agreed = contracts.read(project.contract_path)
    column = _column(agreed, by)
    people = _people(project, column, key)
    if not people:
        raise CheckFailed(f"no file of this project has a row of this {column.name}: none changed")

    def hit(frame: pl.DataFrame) -> pl.Series | None:
        if column.name not in frame.columns:
            return None
        return forgotten.rows_of(forgotten.typed(frame, column), people)

    own = forgotten.secret(project)
    hashes = sorted(forgotten.hashed(text, own) for text in people)
    given = _plain(column, key)
    if column.pseudonym:
        hashes.append(forgotten.hashed(given, own))
    by_hash = bool(column.pseudonym and keys.made_by(given))
    listed = forgotten.read(project)
    people_of = [forgotten.named(given, own)] if by_hash else hashes
    listed[column.name] = sorted({*listed.get(column.name, []), *people_of})
    changes = [
        *_tables(project, agreed, hit),
        *_logs(project, column, {*people, *_logged(column, people)}),
        Change(project.path(forgotten.LIST), storage.json_bytes(listed)),
    ]
    certificate = _certificate(project, "forget", reason, changes)
    certificate.column, certificate.subject = column.name, hashes[0]
    certificate.out_of_reach[:0] = [*_unseen(project, column), *[OTHER_SECRET] * by_hash]
    return _erase(project, certificate, changes, lambda: _left(project, column, people))


def retain(
    project: Project, *, today: dt.date | None = None, dry: bool = False
) -> tuple[Certificate | None, Path | None]:
    """Delete rows and days of the log that are older than the retention of the plan.

    Returns the certificate and its path, or None where nothing is old enough. A row without a time
    stays; where no row has one, files go that were written before the limit, as their rows are
    older still. CheckFailed where only the snapshot in use is such a file, ProjectError where the
    plan has no limit.
    """
    months = int(project.plan.answers.get("retention_months") or 0)
    if not months:
        raise ProjectError(
            "the plan keeps rows without a limit: `ml update --data retention_months=36` sets one"
        )
    agreed = contracts.read(project.contract_path)
    now = today or dt.datetime.now(dt.UTC).date()
    before, time = forgotten.before(now, months), agreed.time

    def hit(frame: pl.DataFrame) -> pl.Series | None:
        if time is None or time.name not in frame.columns:
            return None
        return forgotten.older(frame, time, before)

    changes = [*_tables(project, agreed, hit), *_old_days(project, before)]
    outlived = ""
    if time is None:
        changes += _old_files(project, before)
        if (snapshot := in_use(project)) and storage.written_on(snapshot) < before:
            outlived = (
                f"{snapshot.relative_to(project.root).as_posix()}, in use: it was loaded before "
                f"{before}, and no row has a time that tells its age: load newer rows (`ml ingest`)"
            )
    if not any(change.told for change in changes):
        if outlived:
            raise CheckFailed(outlived)
        return None, None
    reason = f"{count(months, 'month')} of retention"
    certificate = _certificate(project, "retain", reason, changes)
    certificate.before = before.isoformat()
    certificate.out_of_reach[:0] = [outlived] if outlived else []
    if dry:
        return certificate, None
    if time:
        kept = storage.json_bytes(forgotten.Retained(before=before))
        changes.append(Change(project.path(forgotten.RETAINED), kept))

    def left() -> int:
        old = _tables(project, agreed, hit) if time else _old_files(project, before)
        return sum(change.told is not None for change in old)

    return _erase(project, certificate, changes, left)


def _column(agreed: Contract, by: str | None) -> Column:
    """Return the column that names a person."""
    if by:
        return agreed.column(by)
    named = agreed.entity or next((column for column in agreed.keys if column.personal), None)
    if named is None:
        raise ProjectError(
            "the contract has no column that names a person: give one the role entity, or name it "
            "with --column"
        )
    return named


def _plain(column: Column, key: str) -> str:
    """Return the key as it was given, in the form that it has in every table."""
    [value] = validation.parse(pl.Series([key]), msgspec.structs.replace(column, pseudonym=False))
    return keys.plain(value)


def _logged(column: Column, people: Collection[str]) -> set[str]:
    """Return what the prediction log calls these people."""
    secret = keys.secret()
    found = {text for person in people if (text := keys.logged(column, person, secret))}
    # A log of before the contract wanted pseudonyms has the hash alone.
    return found | {text.rpartition("-")[2] for text in found if column.pseudonym}


def _people(project: Project, column: Column, key: str) -> set[str]:
    """Return the key as files have it: the value itself, or each whose keyed hash it is."""
    [value] = validation.parse(pl.Series([key]), column).to_list()
    asked = {keys.plain(value)} if value is not None else set()
    secret = keys.secret()
    found = {text for text in asked if _in_log(project, column, {text, *_logged(column, {text})})}
    for path in tables.paths(project):
        frame = tables.read(path)
        if column.name not in frame.columns:
            continue
        texts = forgotten.plain(forgotten.typed(frame, column))
        hashes = (t for t in texts if secret and keys.logged(column, t, secret) == key)
        found |= {*(asked & {*texts}), *hashes}
    return found


def _written(path: Path, frame: pl.DataFrame) -> bytes:
    if path.suffix == ".parquet":
        return validation.parquet(frame)
    buffer = io.BytesIO()
    if path.suffix == ".csv":
        frame.write_csv(buffer)
    else:
        frame.write_ndjson(buffer)
    return buffer.getvalue()


def _tables(project: Project, agreed: Contract, hit: Hit) -> Iterator[Change]:
    """Yield the new content of each table that has such rows, and of what holds its hash."""
    current = taken(project)
    seals = validation.seals(project)
    for number, path in enumerate(paths := tables.paths(project)):
        progress.tell("looking through tables", number, len(paths))
        frame = tables.read(path)
        rows = hit(frame)
        if rows is None or not (gone := int(rows.sum())):
            continue
        before = storage.sha256(path)
        content = _written(path, frame.filter(~rows))
        after = storage.sha256_bytes(content)
        name = path.relative_to(project.root).as_posix()
        is_snapshot = path.parent == project.path("data/raw")
        new = path.with_name(f"{path.stem[:-13]}-{after[:12]}.parquet") if is_snapshot else path
        told = Erased(
            file=name,
            now=new.relative_to(project.root).as_posix(),
            rows_before=frame.height,
            rows_erased=gone,
            sha256_before=before,
            sha256_after=after,
        )
        yield Change(new, content, told)
        if is_snapshot:
            if seals.pop(name, ""):
                seals[str(told.now)] = after
            yield Change(path, None)
            note = path.with_suffix(".json")
            old = storage.read_json(note, dict[str, Any]) if note.is_file() else {}
            # The old note stays: it says from which source models of that snapshot came.
            yield Change(note, storage.json_bytes(old | {"erased": gone, "left": after}))
            now = {"file": told.now, "sha256": after, "rows": frame.height - gone}
            fresh = old | now | {"bytes": len(content), "erased": 0, "left": ""}
            yield Change(new.with_suffix(".json"), storage.json_bytes(fresh))
            if current.get("file") == name:
                yield Change(project.path(MANIFEST), storage.json_bytes(current | fresh))
        elif name in seals:
            seals[name] = after
    if seals != validation.seals(project):
        yield Change(project.path(validation.SEALS), storage.json_bytes(seals))
    yield from _states(project, agreed, hit)


def _states(project: Project, agreed: Contract, hit: Hit) -> Iterator[Change]:
    """Yield the states of features that look back, of the rows that stay.

    A version of another contract loses its state: it is refused until one is built.
    """
    rows: pl.DataFrame | None = None
    for version in registry.read(project).versions:
        folder = project.path(f"models/{version}")
        spec = storage.read_json(folder / "features.json", FeatureSpec)
        if not spec.history or not (folder / states.STATE).is_file():
            continue
        own = contracts.read(folder / "contract.odcs.yaml")
        if own.fingerprint == agreed.fingerprint:
            if rows is None:
                rows = history.events(project, agreed)
            gone = hit(rows)
            kept = rows if gone is None else rows.filter(~gone)
            if gone is None or not gone.any():
                continue
            built = dt.datetime.now(dt.UTC)
            origin, content = states.content(
                folder, history.state_of(spec.history, own, kept), built
            )
            yield Change(folder / origin.file, content)
            yield Change(folder / states.STATE, storage.json_bytes(origin))
            left = [old for old in folder.glob("state-*.npz") if old.name != origin.file]
        else:
            left = [folder / states.STATE, *folder.glob("state-*.npz")]
        for old in left:
            yield Change(old, None)


def _logs(project: Project, column: Column, names: Collection[str]) -> Iterator[Change]:
    """Yield the days of the prediction log without the lines of these keys."""
    for path in sorted(project.path(LOG).glob("*.jsonl")):
        content, before = storage.read_hashed(path)
        lines = content.splitlines(keepends=True)
        kept = [line for line in lines if _key_in(line, column) not in names]
        if len(kept) < len(lines):
            after = b"".join(kept)
            name = path.relative_to(project.root).as_posix()
            told = Erased(
                file=name,
                now=name,
                rows_before=len(lines),
                rows_erased=len(lines) - len(kept),
                sha256_before=before,
                sha256_after=storage.sha256_bytes(after),
            )
            yield Change(path, after, told)


class _Line(msgspec.Struct):
    keys: dict[str, str] = {}


_LINE = msgspec.json.Decoder(_Line)


def _key_in(line: bytes, column: Column) -> str | None:
    try:
        return _LINE.decode(line).keys.get(column.name)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None  # half a line of a killed service


def _in_log(project: Project, column: Column, names: Collection[str]) -> bool:
    return any(True for _ in _logs(project, column, names))


def _unseen(project: Project, column: Column) -> list[str]:
    """Say where rows of the person may be that this command cannot find."""
    blind = 0
    for path in project.path(LOG).glob("*.jsonl"):
        blind += sum(_key_in(line, column) is None for line in path.read_bytes().splitlines())
    source = f"the source, {project.config.data.source}: its owner deletes there"
    found = [f"{source}; the next load leaves the person out either way"]
    if blind:
        hint = f"callers sent none, or {keys.SECRET} was not set" if column.personal else "not sent"
        found.append(f"{count(blind, 'line')} of {LOG} without a key ({hint})")
    return found


def _old_files(project: Project, before: dt.date) -> Iterator[Change]:
    """Yield the snapshots no longer in use and scored files that were written before that day.

    A table without the note of `ml ingest` or the receipt of `ml score` is its owner's.
    """
    raw, used = project.path("data/raw"), in_use(project)
    for path in tables.paths(project):
        is_snapshot = path.parent == raw and path.with_suffix(".json").is_file()
        old = storage.written_on(path) < before
        if old and path != used and (is_snapshot or tables.is_scored(path)):
            yield Change(path, None, _gone(project, path, tables.read(path).height))
            if tables.is_scored(path):
                yield Change(path.with_name(f"{path.name}.done.json"), None)


def _gone(project: Project, path: Path, rows: int) -> Erased:
    """Return what a certificate says of a file that goes with all its rows."""
    return Erased(
        file=path.relative_to(project.root).as_posix(),
        now=None,
        rows_before=rows,
        rows_erased=rows,
        sha256_before=storage.sha256(path),
        sha256_after=None,
    )


def _old_days(project: Project, before: dt.date) -> Iterator[Change]:
    """Yield the days of the prediction log that are over."""
    for path in prediction_log.days_of(project):
        if path.stem < before.isoformat():
            yield Change(path, None, _gone(project, path, len(path.read_bytes().splitlines())))


def _certificate(
    project: Project, kind: Literal["forget", "retain"], reason: str, changes: list[Change]
) -> Certificate:
    files = [change.told for change in changes if change.told]
    gone = {one.sha256_before for one in files}
    models = []
    for one in lineage.trace(project):
        seen: Literal["yes", "no", "unknown"] = "no" if one.snapshot_kept else "unknown"
        seen = "yes" if {one.data_sha256, one.left_sha256} & gone else seen
        models.append(Model(version=one.version, status=one.status, trained_on_them=seen))
    made = [change for change in changes if change.content is not None]
    rewritten = [one.path.parent.name for one in made if one.path.name == states.STATE]
    return Certificate(
        kind=kind,
        at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        reason=reason,
        column=None,
        subject=None,
        before=None,
        files=files,
        states=rewritten,
        models=models,
        out_of_reach=[
            *(f"{place}: its owner deletes there" for place in elsewhere.read(project)),
            *(f"{lake}: delete with Delta Lake, then vacuum" for lake in tables.of_delta(project)),
            *_versions(project),
            *OUT_OF_REACH,
        ],
    )


def _versions(project: Project) -> list[str]:
    """Say where DVC keeps what data/ held before, as long as nobody takes it away there."""
    folders = (project.root, *project.root.resolve().parents)
    if not any((folder / ".dvc").is_dir() for folder in folders):
        return []
    return [
        "versions of data/ in the cache of DVC and its remotes: `dvc gc --workspace --cloud` "
        "deletes all that the files of now do not name, and with it what other branches, tags or "
        "projects of that remote still need"
    ]


def _erase(
    project: Project, certificate: Certificate, changes: list[Change], left: Callable[[], int]
) -> tuple[Certificate, Path]:
    """Put all new files in place at once, look again, and write the certificate."""
    moment = certificate.at.replace(":", "").removesuffix("+0000")
    name = f"{certificate.kind}-{moment}-{(certificate.subject or 'rows')[:8]}.json"
    path = project.path(f"{CERTIFICATES}/{name}")
    files = [(change.path, change.content) for change in changes]
    storage.replace_all(project.root, [*files, (path, storage.json_bytes(certificate))])
    for change in changes:
        if change.told and change.content is not None and change.path.suffix == ".parquet":
            is_snapshot = change.path.parent.name == "raw"  # which nothing writes to
            change.path.chmod(0o444 if is_snapshot else change.path.stat().st_mode)
    certificate.verified = left()
    storage.write_json(path, certificate)
    if certificate.verified:
        raise CheckFailed(f"{certificate.verified} files still have such rows: run it again")
    return certificate, path


def _left(project: Project, column: Column, people: Collection[str]) -> int:
    """Count the files that still have a row of these people."""
    frames = map(tables.read, tables.paths(project))
    there = (f for f in frames if column.name in f.columns)
    found = sum(bool(forgotten.rows_of(forgotten.typed(f, column), people).any()) for f in there)
    names = {*people, *_logged(column, people)}
    return found + sum(1 for _ in _logs(project, column, names))


def told(certificate: Certificate, path: Path | None) -> str:
    """Return what people read of it."""
    gone = sum(one.rows_erased for one in certificate.files)
    will = "would go" if path is None else "are gone"
    lines = [f"{count(gone, 'row')} {will}, of {count(len(certificate.files), 'file')}:"]
    lines += [f"  {one.file}: {one.rows_erased} of {one.rows_before}" for one in certificate.files]
    if certificate.states:
        lines.append(f"state of earlier rows made anew: {', '.join(certificate.states)}")
    trained = [
        f"{m.version} ({m.status}{', perhaps' * (m.trained_on_them == 'unknown')})"
        for m in certificate.models
        if m.trained_on_them != "no"
    ]
    if trained:
        lines.append(f"models that learnt from them: {', '.join(trained)}; `ml run` trains without")
    lines += [f"not reached: {place}" for place in certificate.out_of_reach]
    lines += [f"certificate: {CERTIFICATES}/{path.name}"] if path else []
    return "\n".join(lines)
