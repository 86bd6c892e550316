"""Files in a folder or in an object store: each is there whole, or not at all.

An object store is one with the protocol of S3, asked with the variables that every tool of it
reads: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL.
"""

import datetime as dt
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from . import storage
from .errors import ProjectError
from .extras import driver

GROUP = "store"  # of pyproject.toml
SCHEME = "s3://"
PIECE = 32_000_000  # bytes that are asked for at once
SECONDS = 30  # of trying again, while the store does not answer
NAME = re.compile(r"(?!\.)[\w.=-]+(/(?!\.)[\w.=-]+)*")  # leads out of no folder


class Store(Protocol):
    """Files by name, such as `small/v1.json`; ProjectError, in one line, where it refuses."""

    def read(self, name: str) -> bytes | None:
        """Return a file, None where there is none."""

    def fetch(self, name: str, to: Path) -> bool:
        """Copy a file, of any size, to a path, at once; False where there is none."""

    def write(self, name: str, content: bytes | Path) -> None:
        """Put a file there, or another in its place, at once."""

    def create(self, name: str, content: bytes) -> bool:
        """Put a new file there at once; False, and nothing is changed, where one is already."""

    def size(self, name: str) -> int | None:
        """Return the bytes of a file, None where there is none."""

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder, those in folders of it left out."""

    def remove(self, name: str) -> None:
        """Take a file away; nothing where there is none."""


def is_remote(address: str) -> bool:
    """Whether an address is no path."""
    return "://" in address


def opened(address: str) -> Store:
    """Return the store at an address: a folder, or s3://BUCKET/PREFIX."""
    if not address.strip():  # as of a variable that is not set
        raise ProjectError(f"the address is empty: give a folder, or {SCHEME}BUCKET/PREFIX")
    if not is_remote(address):
        return Folder(Path(address))
    bucket, _, prefix = address.removeprefix(SCHEME).rstrip("/").partition("/")
    if not address.startswith(SCHEME) or not re.fullmatch(r"[\w.-]+", bucket):
        raise ProjectError(f"{address}: give a folder, or {SCHEME}BUCKET/PREFIX")
    return Bucket(bucket, prefix)


class Folder:
    """Files of a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, name: str) -> bytes | None:
        """Return a file, None where there is none."""
        with self._asked():
            path = self.root / name
            return path.read_bytes() if path.is_file() else None

    def fetch(self, name: str, to: Path) -> bool:
        """Copy a file, of any size, to a path, at once; False where there is none."""
        with self._asked():
            if not (path := self.root / name).is_file():
                return False
            with storage.replacing_file(to) as temporary:
                storage.copy_hashed(path, temporary)
        return True

    def write(self, name: str, content: bytes | Path) -> None:
        """Put a file there, or another in its place, at once."""
        path = self.root / name
        with self._asked(), storage.replacing_file(path, shared=True) as temporary:
            if isinstance(content, bytes):
                temporary.write_bytes(content)
            else:
                storage.copy_hashed(content, temporary)

    def create(self, name: str, content: bytes) -> bool:
        """Put a new file there at once; False, and nothing is changed, where one is already."""
        with self._asked():
            return storage.create_bytes(self.root / name, content)

    def size(self, name: str) -> int | None:
        """Return the bytes of a file, None where there is none."""
        with self._asked():
            path = self.root / name
            return path.stat().st_size if path.is_file() else None

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder, those in folders of it left out."""
        with self._asked():
            found = (self.root / folder).glob("[!.]*")
            return sorted(f"{folder}/{path.name}" for path in found if path.is_file())

    def remove(self, name: str) -> None:
        """Take a file away; nothing where there is none."""
        with self._asked():
            (self.root / name).unlink(missing_ok=True)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = error.filename or self.root
            raise ProjectError(f"{where}: {error.strerror or error}") from None


class Bucket:
    """Objects of a bucket, whose names begin with a prefix."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self.address = f"{SCHEME}{bucket}"
        self.lead = f"{prefix}/" if prefix else ""
        self._library = driver("obstore", GROUP)
        self._store = driver("obstore.store", GROUP).S3Store(
            bucket,
            client_options={
                "connect_timeout": "10s",
                "timeout": "300s",
                "allow_http": without_tls(),
            },
            retry_config={"max_retries": 4, "retry_timeout": dt.timedelta(seconds=SECONDS)},
        )

    def read(self, name: str) -> bytes | None:
        """Return a file, None where there is none."""
        with self._asked(name):
            try:
                return bytes(self._library.get(self._store, self.lead + name).bytes())
            except FileNotFoundError:
                return None

    def fetch(self, name: str, to: Path) -> bool:
        """Copy a file, of any size, to a path, at once; False where there is none.

        It comes piece by piece; one that is replaced meanwhile is refused.
        """
        with self._asked(name):
            try:
                found = self._library.head(self._store, self.lead + name)
            except FileNotFoundError:
                return False
            with storage.replacing_file(to) as temporary, temporary.open("wb") as file:
                for begin in range(0, found["size"], PIECE):
                    end = min(begin + PIECE, found["size"])
                    options = {"range": (begin, end), "if_match": found["e_tag"]}
                    got = self._library.get(self._store, self.lead + name, options=options)
                    file.write(got.bytes())
        return True

    def write(self, name: str, content: bytes | Path) -> None:
        """Put a file there, or another in its place, at once; large ones go in parts."""
        with self._asked(name):
            self._library.put(self._store, self.lead + name, content)

    def create(self, name: str, content: bytes) -> bool:
        """Put a new file there at once; False, and nothing is changed, where one is already."""
        with self._asked(name):
            try:
                self._library.put(self._store, self.lead + name, content, mode="create")
            except driver("obstore.exceptions", GROUP).AlreadyExistsError:
                return False
        return True

    def size(self, name: str) -> int | None:
        """Return the bytes of a file, None where there is none."""
        with self._asked(name):
            try:
                return int(self._library.head(self._store, self.lead + name)["size"])
            except FileNotFoundError:
                return None

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder, those in folders of it left out."""
        with self._asked(folder):
            found = self._library.list_with_delimiter(self._store, f"{self.lead}{folder}/")
            return sorted(str(one["path"]).removeprefix(self.lead) for one in found["objects"])

    def remove(self, name: str) -> None:
        """Take a file away; nothing where there is none."""
        with self._asked(name):
            self._library.delete(self._store, self.lead + name)

    @contextmanager
    def _asked(self, name: str) -> Iterator[None]:
        errors = driver("obstore.exceptions", GROUP)
        try:
            yield
        except errors.PreconditionError:
            lead = f"{self.address}/{self.lead}{name}"
            raise ProjectError(f"{lead}: it was replaced while it was read: try again") from None
        except (errors.BaseError, OSError, ValueError) as error:  # the last of a name such as a//b
            raise ProjectError(f"{self.address}/{self.lead}{name}: {reason(error)}") from None


def without_tls() -> bool:
    """Whether a store may be asked without TLS: on this machine, or where AWS_ALLOW_HTTP is.

    A test or a store beside the service has none; elsewhere the data would be read on the way.
    """
    found = os.environ.get("AWS_ENDPOINT_URL", "")
    here = urlsplit(found).hostname in ("127.0.0.1", "::1", "localhost")
    plain = found.startswith("http://") and here
    allowed = os.environ.get("AWS_ALLOW_HTTP", "").lower() == "true"
    return plain or allowed


def reason(error: Exception) -> str:
    """Return what of an error of an object store says what is wrong, in one line."""
    text = " ".join(str(error).split())
    if code := re.search(r"<Code>(\w+)</Code>", text):
        message = re.search(r"<Message>([^<]*)</Message>", text)
        return f"{code[1]}: {message[1]}" if message and message[1] else code[1]
    if "169.254.169.254" in text:  # where machines of a cloud get theirs
        return "no keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if "expanded paths were empty" in text:
        return "no file is there"
    if asked := re.search(r"(https?://[^/ ]+)\S* in \S+, after \d+ retries", text):
        return f"{asked[1]} does not answer"
    text = re.sub(r"^(object-store error: )?(Generic \w+ error: )?", "", text)
    text = re.split(r" Debug source:|: <\?xml|\(path: ", text)[0]
    return text[:200].strip() or type(error).__name__
