"""Reading and writing files so that a reader never sees half a file, whatever is killed when."""

import datetime as dt
import glob
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from filelock import FileLock, Timeout

from .errors import ProjectError

T = TypeVar("T")
JOURNAL = ".ml.journal"


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` at once: a kill leaves the old file or the new one."""
    with replacing_file(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text at once, with the same line ends on every system."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON at once; NaN and infinities become null."""
    write_bytes(path, json_bytes(content))


def json_bytes(content: Any) -> bytes:
    """Return indented JSON; NumPy numbers and arrays are written as plain ones."""
    encoded = msgspec.json.encode(content, enc_hook=lambda value: value.tolist())
    return msgspec.json.format(encoded, indent=2) + b"\n"


def read_json(path: Path, type: type[T] = dict) -> T:  # type: ignore[assignment]
    """Read JSON into `type`; a missing or damaged file is a ProjectError that names it."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=type)
    except FileNotFoundError:
        raise ProjectError(f"{path} is not there yet: `ml run` makes it") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProjectError(
            f"{path} is damaged ({error}): delete it, then `ml run` makes it again"
        ) from None


def create_bytes(path: Path, content: bytes) -> bool:
    """Write a new file at once; False, and nothing is changed, where one is there already."""
    with _temporary(path) as temporary:
        temporary.write_bytes(content)
        _flush(temporary)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            try:
                with path.open("xb") as file:
                    file.write(content)
            except FileExistsError:
                return False
    return True


@contextmanager
def replacing_file(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Give a new file in the same folder that becomes `path` when the block ends well.

    A link at `path` stays, and what it names is replaced; an existing file's mode stays. The new
    file has a name that nobody can foresee, so that no link planted there is followed; what a kill
    leaves is gone after the next write. The project's lock keeps two writers apart: in a folder
    that is `shared` there is none, and what may be another writer's stays.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise ProjectError(f"{path} is a folder: name a file")
    for pattern in () if shared else ("", ".????????"):
        for left in path.parent.glob(f".{glob.escape(path.name)}{pattern}.tmp"):
            with suppress(OSError):
                left.unlink()
    with _temporary(path) as temporary:
        mode = stat.S_IMODE((path if path.exists() else temporary).stat().st_mode)
        temporary.chmod(mode | stat.S_IWUSR)
        yield temporary
        _flush(temporary)
        temporary.chmod(mode)
        os.replace(temporary, path)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        error.filename = str(path)  # the name that people know
        raise
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give a new folder that becomes the new folder `path` when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        yield temporary
        os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _Journal(msgspec.Struct):
    moves: list[tuple[str, str]]  # from, to
    gone: list[str]


def replace_all(root: Path, files: Iterable[tuple[Path, bytes | None]]) -> None:
    """Give several files of a project new contents together; None deletes one.

    A kill leaves all old ones, or a journal with which `finish` makes all of them new.
    """
    journal = _Journal([], [])
    last = dict(files)
    try:
        for path, content in last.items():
            if content is None:
                journal.gone.append(str(path.relative_to(root)))
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_name(f".{path.name}.{secrets.token_hex(4)}.next")
            journal.moves.append((str(new.relative_to(root)), str(path.relative_to(root))))
            with new.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                new.chmod(stat.S_IMODE(path.stat().st_mode))
        write_json(root / JOURNAL, journal)
    except BaseException:
        for name, _ in journal.moves:
            (root / name).unlink(missing_ok=True)
        raise
    finish(root)


def finish(root: Path) -> None:
    """Do what a killed `replace_all` had begun; nothing without a journal."""
    path = root / JOURNAL
    if not path.exists():
        return
    journal = read_json(path, _Journal)
    for new, old in journal.moves:
        if (root / new).exists():
            os.replace(root / new, root / old)
    for name in journal.gone:
        with suppress(FileNotFoundError):
            (root / name).chmod(stat.S_IRUSR | stat.S_IWUSR)  # Windows keeps read-only files
            (root / name).unlink()
    path.unlink()


def stamp(path: Path) -> tuple[int, int] | None:
    """Return what changes when a file is replaced, None without one."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def read_hashed(path: Path) -> tuple[bytes, str]:
    """Return a file's bytes and their SHA-256: what was read is what was hashed."""
    content = path.read_bytes()
    return content, sha256_bytes(content)


def copy_hashed(source: Path, target: Path) -> str:
    """Copy a file of any size and return the SHA-256 of the copied bytes."""
    digest = hashlib.sha256()
    with source.open("rb") as read, target.open("wb") as write:
        while block := read.read(1 << 20):
            digest.update(block)
            write.write(block)
    return digest.hexdigest()


def written_on(path: Path) -> dt.date:
    """Return the day (UTC) on which a file was last written."""
    return dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC).date()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_bytes(content: bytes) -> str:
    """Return the SHA-256 of bytes as 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_text(text: str) -> str:
    """Return the SHA-256 of a text's UTF-8 bytes as 64 hex digits."""
    return sha256_bytes(text.encode("utf-8"))


@contextmanager
def project_lock(root: Path) -> Iterator[None]:
    """Keep two writing commands from working in one project at once; freed even by a kill."""
    try:
        with FileLock(root / ".ml.lock", timeout=0):
            finish(root)
            yield
    except Timeout:
        raise ProjectError(
            "another ml command is working in this project: wait for it to end, then try again"
        ) from None
