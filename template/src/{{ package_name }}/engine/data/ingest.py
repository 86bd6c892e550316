"""From the source file to a snapshot in data/raw that never changes."""

import re
from collections.abc import Callable
from pathlib import Path
from traceback import extract_tb
from typing import Any

import polars as pl

from .. import dialect, progress, settings, storage
from ..errors import ProjectError
from ..formats import number
from . import consent as consents
from . import contract as contracts
from . import fetching, forgotten, freshness, joins, pseudonyms, reading, sample, validation, whole
from .sources import MANIFEST

MADE_UP = "made-up-"  # begins the name of a table that was made from the sample
Add = Callable[[pl.DataFrame], pl.DataFrame]  # of the team's columns.py


def unchanged(frame: pl.DataFrame) -> pl.DataFrame:
    """Add no column."""
    return frame


# Errors that name a column or an attribute, and no value.
NAMING = (pl.exceptions.ColumnNotFoundError, AttributeError, NameError)


def read_table(path: Path, encoding: str = "utf-8") -> pl.DataFrame:
    """Read a table of any supported format as `reading.opened` does; ProjectError without rows."""
    if path.is_dir():
        return whole.listed(path)
    dialect.check_suffix(path)
    if not path.is_file():
        raise ProjectError(f"{path}: no such file: check the path, or data.source in config.yaml")
    table = reading.opened(path, encoding)
    frame = reading.joined(path, list(table.stretches(None)))
    if not frame.height:
        names = "column names but " if table.schema else ""
        raise ProjectError(f"{path.name}: the file has {names}no rows")
    return frame


def with_columns(frame: pl.DataFrame, add: Add) -> pl.DataFrame:
    """Return rows with the columns that `add` adds; ProjectError for a fault or a lost row."""
    try:
        found = add(frame)
    except Exception as error:
        own = [f for f in extract_tb(error.__traceback__) if Path(f.filename).name == "columns.py"]
        line = f", line {own[-1].lineno}" if own else ""
        told = str(error).splitlines()[0] if isinstance(error, NAMING) else ""
        why = f"{type(error).__name__}{f' {told}' if told else ''}"  # others may repeat values
        raise ProjectError(f"columns.py{line}: add failed: {why}") from error
    if not isinstance(found, pl.DataFrame):
        raise ProjectError(f"columns.py: add returned {type(found).__name__}, not pl.DataFrame")
    if found.height != frame.height:
        raise ProjectError(
            f"columns.py: add returned {number(found.height)} rows of {number(frame.height)}: "
            "one row stays one row; what shall not count, the contract refuses"
        )
    if lost := [name for name in frame.columns if name not in found.columns]:
        raise ProjectError(f"columns.py: add lost the column {lost[0]!r}: keep what is there")
    return found


def with_consent(frame: pl.DataFrame, consent: consents.Consent) -> pl.DataFrame:
    """Return the rows whose column says yes, in any case of letters; a missing value does not."""
    if consent.column not in frame.columns:
        raise ProjectError(
            f"consent is asked for in column {consent.column!r}, which the data lack: load it, or "
            "correct `consent` of the contract"
        )
    yes = [value.strip().lower() for value in consent.values]
    said = pl.col(consent.column).cast(pl.String).str.strip_chars().str.to_lowercase()
    kept = frame.filter(said.is_in(yes))
    if frame.height and not kept.height:
        raise ProjectError(
            f"no row of {frame.height} has consent: {consent.column!r} is never "
            f"{' or '.join(map(repr, consent.values))}"
        )
    return kept


def run(project: settings.Project, add: Add = unchanged) -> dict[str, Any]:
    """Snapshot the configured source, with what `add` adds; return data/raw/manifest.json.

    The snapshot is named by its content: the same content is the same file, and another one
    never replaces it. The default sample is generated when it is not there.
    """
    config = project.config.data
    source = project.path(config.source)
    if not (settings_file := project.path("config.yaml")).is_file():
        # Without it the sample would take the place of the rows that it names.
        raise ProjectError(
            f"no {settings_file.name}: restore it, as with `git checkout config.yaml`"
        )
    make_sample(project)
    server, loaded = fetching.named(project, config.source), None
    if server:
        needed = joins.needed(joins.of(project.contract_path))
        frame, loaded = fetching.load(project, server, needed)
        source_sha256 = storage.sha256_bytes(validation.parquet(frame))
    else:
        frame, source_sha256 = _read_hashed(project, source, config.encoding)
    contract = contracts.read(project.contract_path) if project.contract_path.is_file() else None
    came = frame.height
    frame = pseudonyms.made(project, contract, frame)
    gone = came - frame.height
    frame, joined = joins.apply(project, frame, contract)
    if asked := whole.asked(project.contract_path):
        frame = whole.filled(frame, asked, whole.folder(source), whole.side(project))
    read = frame.columns
    frame = with_columns(frame, add)
    added = [name for name in frame.columns if name not in read]
    if missing := contracts.lacking(project.contract_path, added):
        raise ProjectError(missing)
    if server and contract and (absent := _absent(contract, frame)):
        raise ProjectError(
            f"{server.server}: it lacks column {absent!r} of the contract: add it to the table or "
            "query, or change the contract"
        )
    frame, left_out = _allowed(project, contract, frame)
    left_out["forgotten"] += gone
    hashed = pseudonyms.noted(project, contract, frame)
    progress.tell(f"writing the snapshot of {number(frame.height)} rows")
    content = validation.parquet(frame)
    digest = storage.sha256_bytes(content)
    stem = re.sub(r"[^\w-]+", "_", source.stem)
    snapshot = project.path(f"data/raw/{stem}-{digest[:12]}.parquet")
    if not snapshot.exists() or storage.sha256(snapshot) != digest:
        storage.write_bytes(snapshot, content)
        snapshot.chmod(0o444)
    manifest: dict[str, Any] = {
        "source": config.source,
        "made_up": _is_made_up(project),
        "file": f"data/raw/{snapshot.name}",
        "sha256": digest,
        "source_sha256": source_sha256,
        "rows": frame.height,
        **left_out,
        "columns": frame.width,
        "added": added,
        "bytes": len(content),
    }
    fresh = freshness.measured(project, contract, frame) if contract else None
    manifest |= {"pseudonyms": hashed} if hashed else {}
    manifest |= {"forgotten_by_hash": lost} if (lost := forgotten.unknown(project, hashed)) else {}
    manifest |= {"with_keys": old} if (old := pseudonyms.bare(project, manifest)) else {}
    manifest |= {"loaded": loaded} if loaded else {}
    manifest |= {"joined": joined} if joined else {}
    manifest |= {"fresh": fresh} if fresh else {}
    storage.write_json(snapshot.with_suffix(".json"), manifest)  # `ml lineage` finds it by hash
    storage.write_json(project.path(MANIFEST), manifest)
    return manifest


def _allowed(
    project: settings.Project, contract: contracts.Contract | None, frame: pl.DataFrame
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return the rows that may be kept, as data/ may hold them, and how many stay outside why."""
    came, consent = frame.height, consents.of(project.contract_path)
    agreed = with_consent(frame, consent) if consent else frame
    known = forgotten.without(project, agreed)
    kept = forgotten.kept(project, contract, known)
    counts = {
        "without_consent": came - agreed.height,
        "forgotten": agreed.height - known.height,
        "past_retention": known.height - kept.height,
    }
    return pseudonyms.made(project, contract, kept), counts


def told(manifest: dict[str, Any]) -> str:
    """Say where the snapshot is, and what a load from a server brought."""
    loaded = manifest.get("loaded")
    came = f"{loaded.server}: {number(loaded.new)} rows came; " if loaded else ""
    kind = "made-up rows" if manifest["made_up"] else "rows"
    lines = [
        f"{came}data/raw/manifest.json names the snapshot of {number(manifest['rows'])} {kind}"
    ]
    if loaded and loaded.ended:
        lines.append(f"{loaded.server}: {loaded.ended}: see that the API counts no more")
    lines += [joins.told(one) for one in manifest.get("joined", [])]
    if without := manifest["without_consent"]:
        lines.append(f"{number(without)} rows without consent stayed outside")
    if old := manifest["past_retention"]:
        lines.append(f"{number(old)} rows that `ml retain` deleted stayed outside")
    if hashed := manifest.get("pseudonyms"):
        lines.append(f"keyed hashes in place of values: {', '.join(hashed)}")
    if old := manifest.get("with_keys"):
        lines.append(
            f"warning: {', '.join(old)}: of before, with the values: delete what is old, or make "
            "it anew (`ml validate`, `ml score`)"
        )
    if lost := manifest.get("forgotten_by_hash"):
        lines.append(
            f"warning: {number(lost)} of {forgotten.LIST} were named by a keyed hash of another "
            "secret: rows that the source still has of them came in; `ml forget` with the key "
            "deletes them"
        )
    if (fresh := manifest.get("fresh")) and fresh["late"]:
        lines.append(f"warning: {freshness.told(fresh)}")
    return "\n".join(lines)


def inputs(project: settings.Project) -> tuple[str, ...]:
    """Return the files of the project that a snapshot is made of."""
    return (project.config.data.source, project.config.data.contract, *joins.files(project))


def _absent(agreed: contracts.Contract, frame: pl.DataFrame) -> str:
    """Return the first column that the contract needs and that is not there, or ""."""
    needed = validation.needed_roles(agreed, labelled=True)
    absent = (c for c in agreed.columns if c.name not in frame.columns and not c.definition)
    return next((column.name for column in absent if column.role in needed), "")


def make_sample(project: settings.Project) -> None:
    """Generate the default sample where it is the source and not there yet."""
    source = settings.Data().source
    if project.config.data.source == source and not project.path(source).exists():
        sample.run(project)


def _is_made_up(project: settings.Project) -> bool:
    source = project.config.data.source
    return source == settings.Data().source or Path(source).name.startswith(MADE_UP)


def _read_hashed(
    project: settings.Project, source: Path, encoding: str
) -> tuple[pl.DataFrame, str]:
    """Return the table of the source, and the SHA-256 of the bytes that were read."""
    if not source.is_file():
        return read_table(source, encoding), whole.stamp(source) or ""  # or says what is wrong
    with fetching.copied(project, source) as (copy, digest):
        progress.tell(f"reading {source.name}")
        return read_table(copy, encoding), digest
