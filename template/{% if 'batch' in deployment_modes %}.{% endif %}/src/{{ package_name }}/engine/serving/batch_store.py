"""Files to score, and scored ones, in an object store: there whole or not at all, not made twice.

A file is scored beside the project and sent at its end, then what says that it is done. Another
machine finds that there and does nothing again.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from .. import beside, dialect, progress, storage, stores
from ..errors import ProjectError
from ..settings import Project
from . import batch


def score(project: Project, source: str, output: str, *, force: bool = False) -> dict[str, Any]:
    """Score a file to another, each a path or an address such as s3://BUCKET/scores.parquet."""
    if stores.is_remote(output):
        if source == output:
            raise ProjectError(f"{output}: this is the input: give the output another name")
        with brought(project, source) as here:
            return run(project, here, output, force=force)
    batch.check_output(Path(output))
    with brought(project, source) as here:
        return batch.run(project, here, Path(output), force=force)


def run(project: Project, source: Path, address: str, *, force: bool = False) -> dict[str, Any]:
    """Score `source` to `address`, such as s3://BUCKET/scores.parquet, as `batch.run` does.

    What it returns stands in the store as ADDRESS.done.json, put there last: while a file is
    replaced there is none. ProjectError when the store does not take it: the scored file stays, and
    the same command only sends it.
    """
    folder, _, name = address.rpartition("/")
    if not stores.is_remote(folder):  # of a bucket alone
        raise ProjectError(f"{address}: give such as s3://BUCKET/scores.parquet")
    batch.check_output(PurePosixPath(name))
    store, receipt = stores.opened(folder), f"{name}.done.json"
    prepared = batch.prepared(project, source)
    done = _recorded(store.read(receipt))
    known = prepared.job.items() <= done.items() and store.size(name) == done.get("output_bytes")
    if known and not force:
        return done
    work = project.path("data/.scoring") / storage.sha256_text(address)[:16]
    scored = work / name
    report = batch.run(project, source, scored, force=force, ready=prepared)
    report = report | {"output_bytes": scored.stat().st_size}
    progress.tell(f"sending {name}")
    try:
        if done:
            store.remove(receipt)
        for path in dict.fromkeys((beside.place(scored), scored)):
            if path.exists():
                store.write(path.name, path)
        store.write(receipt, storage.json_bytes(report))
    except ProjectError as error:
        raise ProjectError(f"{error}; {scored} is whole, the same command sends it") from None
    shutil.rmtree(work, ignore_errors=True)
    return report


@contextmanager
def brought(project: Project, address: str) -> Iterator[Path]:
    """Give the file at an address such as s3://BUCKET/in.parquet, here while it is read.

    What is no address is the path of a file that is here.
    """
    if not stores.is_remote(address):
        yield Path(address)
        return
    folder, _, name = address.rpartition("/")
    if not stores.is_remote(folder):  # of a bucket alone
        raise ProjectError(f"{address}: give such as s3://BUCKET/in.parquet")
    dialect.check_suffix(Path(name))
    work = project.path("data/.scoring") / f"from-{storage.sha256_text(address)[:16]}"
    work.mkdir(parents=True, exist_ok=True)
    with storage.project_lock(work):
        try:
            progress.tell(f"fetching {name}")
            if not stores.opened(folder).fetch(name, work / name):
                raise ProjectError(f"{address}: no such file")
            yield work / name
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _recorded(content: bytes | None) -> dict[str, Any]:
    try:
        return msgspec.json.decode(content or b"{}", type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return {}
