"""A real object store with the protocol of S3 for tests, in a process of its own."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import obstore
from helpers.service import free_port
from helpers.stream import until
from obstore.store import S3Store

CONFIG = """{"identities": [{"name": "tests", "credentials":
  [{"accessKey": "tests", "secretKey": "hush-hush"}],
  "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}"""


class Buckets:
    """SeaweedFS on this machine, with one bucket `lake` and one pair of keys."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="buckets-"))
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        (self.folder / "s3.json").write_text(CONFIG)
        ports = {name: free_port() for name in ("master", "volume", "filer")}
        # Each port by name: several servers stand side by side. Nothing reports home.
        command = [
            str(Path(sys.executable).parent / "weed"),
            "server",
            f"-dir={self.folder}",
            "-s3",
        ]
        command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.port={self.port}"]
        command += [f"-s3.config={self.folder / 's3.json'}", "-volume.max=20"]
        command += ["-master.volumeSizeLimitMB=64", f"-s3.port.grpc={free_port()}"]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
        for name, port in ports.items():
            command += [f"-{name}.port={port}", f"-{name}.port.grpc={free_port()}"]
        self.log = (self.folder / "log").open("wb")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT)
        until(self._answers)
        until(self._takes)

    @property
    def env(self) -> dict[str, str]:
        """The variables with which it is asked."""
        return {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "hush-hush",
            "AWS_REGION": "us-east-1",
        }

    def store(self, bucket: str = "lake") -> S3Store:
        return S3Store(
            bucket, endpoint=self.address, access_key_id="tests", secret_access_key="hush-hush",
            region="us-east-1", client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )  # fmt: skip

    def make(self, bucket: str) -> None:
        """Make another bucket, which comes with the first object in it."""
        obstore.put(self.store(bucket), "there", b"1")
        obstore.delete(self.store(bucket), "there")

    def names(self, prefix: str = "") -> list[str]:
        return sorted(
            str(one["path"]) for part in obstore.list(self.store(), prefix) for one in part
        )

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            with urlopen(f"{self.address}/status", timeout=2):
                return True
        except HTTPError:
            return True
        except (URLError, OSError):
            return False

    def _takes(self) -> bool:
        """Put an object into the bucket, which comes with it once the volumes are there."""
        try:
            self.make("lake")
            return True
        except Exception:
            return False

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
