"""Streaming on a real broker and a real PostgreSQL: nothing lost, nothing twice in the table."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helpers.bundles as small
import numpy as np
import pytest
import yaml
from helpers.buckets import Buckets
from helpers.rendering import render, tree
from helpers.stream import Broker, Postgres, consuming, said, until
from starlette.testclient import TestClient
from test_grpc import BROKEN, HOSTILE, ROW
from test_tracing import ABOVE, PARENT, TRACE, Collector, collector

from package_name.engine import elsewhere, prediction_log, storage
from package_name.engine.data import contract
from package_name.engine.model import registry
from package_name.engine.model.scorer import Scorer, read_golden
from package_name.engine.serving import rest
from package_name.engine.settings import Project

NIGHTLY = pytest.mark.nightly


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two versions; v1 is champion."""
    root = tmp_path_factory.mktemp("streamed")
    made = small.project(root)
    plan = yaml.safe_load((root / "plan/plan.yaml").read_text())
    answers = {"latency_ms": 100, "stream_seconds": 10.0, "deployment_modes": ["rest", "streaming"]}
    plan["answers"] = answers
    storage.write_text(root / "plan/plan.yaml", yaml.safe_dump(plan))
    for seed in range(2):
        small.train(made, rows=600, seed=seed)
    registry.promote(made, "v1")
    return root


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    found = Broker()
    yield found
    found.close()


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Project:
    """A copy of it to change."""
    shutil.copytree(trained, tmp_path / "p", ignore=shutil.ignore_patterns("predictions"))
    return Project(tmp_path / "p")


class Place:
    """A topic, a table and the variables that lead there."""

    def __init__(self, root: Path, broker: Broker, postgres: Postgres, name: str) -> None:
        self.root, self.broker, self.postgres = root, broker, postgres
        self.topic = broker.topic(name)
        self.table = name
        self.env = {
            "ML_STREAM_BROKERS": broker.address,
            "ML_STREAM_DATABASE": postgres.address,
            "ML_STREAM_TOPIC": name,
            "ML_STREAM_TABLE": name,
        }
        code, _, error = said(root, self.env, "table", "--create")
        assert code == 0, error

    def count(self) -> int:
        return self.postgres.ask(f"SELECT count(*) FROM {self.table}")[0][0]

    def rows(self) -> dict[str, dict[str, Any]]:
        found = self.postgres.ask(f"SELECT to_json(t) FROM {self.table} t")
        return {row["event_id"]: row for (row,) in found}

    def letters(self) -> list[dict[str, str]]:
        found = self.broker.read(f"{self.topic}.dead")
        return [{n: v.decode() for n, v in one.headers()} for one in found]

    def committed(self) -> int:
        return self.broker.committed(self.topic, "small", 4)


@pytest.fixture
def place(
    project: Project, broker: Broker, postgres: Postgres, request: pytest.FixtureRequest
) -> Place:
    name = request.node.name.replace("[", "_").replace("]", "").replace("-", "_")[-50:]
    return Place(project.root, broker, postgres, name)


def event(number: int, **row: Any) -> dict[str, Any]:
    return {"value": {**ROW, **row}, "headers": {"event_id": f"e{number}".encode()}}


# The same answers and the same words


def test_the_same_bits_and_the_same_words_as_over_http(place: Place) -> None:
    made = Project(place.root)
    scorer = Scorer.load(registry.champion_folder(made))
    rows = [*read_golden(registry.champion_folder(made), scorer.columns).rows, *HOSTILE]
    with TestClient(rest.create_app(made)) as client:
        predicted = client.post("/predict", json=rows).json()["predictions"]
        told = [client.post("/predict", json=row).json().get("errors") for row in BROKEN]
        twice = client.post("/predict", content=b'{"calls": 1, "calls": 2}').json()["errors"]
        misspelt = client.post("/predict", json={"call": 1}).json()["errors"]
    assert sum(map(bool, told)) > 4
    pairs = zip(BROKEN, told, strict=True)
    wrong: list[bytes] = [json.dumps(row).encode() for row, errors in pairs if errors]
    wrong += [b'{"calls": 1, "calls": 2}', b'{"call": 1}', b"not json \xff", b"[]", b"null"]
    with consuming(place.root, place.env) as running:
        place.broker.send(
            place.topic,
            *(event(n, **{**dict.fromkeys(ROW), **row}) for n, row in enumerate(rows)),
            *({"value": body, "key": b"k"} for body in wrong),
            {"value": None},
            {"value": ROW, "headers": {"event_id": b"x" * 129}},
        )
        until(lambda: place.committed() == len(rows) + len(wrong) + 2)
        metrics = running.metrics()
        running.stop()
    found = place.rows()
    assert len(found) == len(rows)
    for number, answer in enumerate(predicted):
        row = found[f"e{number}"]
        assert (row["probability"], row["decision"]) == (answer["probability"], answer["decision"])
        assert (row["warning"] or "") == answer.get("warning", "")
        assert row["model_version"] == "v1" and row["origin"].startswith(f"{place.topic}/")
    letters = place.letters()
    reasons = [letter["reason"] for letter in letters]
    for errors in filter(None, (*told, twice, misspelt)):
        line = "; ".join(f"{e['field']}: {e['problem']}: {e['hint']}" for e in errors)
        assert line in reasons
    assert any(reason.startswith("not valid JSON") for reason in reasons)
    assert {"no content: send one row as JSON", "no row: send one row as JSON"} <= {*reasons}
    assert "event_id: length: send a text of 1 to 128 characters" in reasons
    assert {letter["model"] for letter in letters} == {"v1"}
    bodies = [message.value() for message in place.broker.read(f"{place.topic}.dead")]
    assert set(wrong) <= set(bodies) and [one.get("key") for one in letters].count("k") == len(
        wrong
    )
    assert f'ml_stream_messages_total{{outcome="scored"}} {len(rows)}.0' in metrics
    assert f'ml_stream_messages_total{{outcome="dead"}} {len(wrong) + 2}.0' in metrics
    assert "ml_request" not in metrics and 'ml_model_info{version="v1"} 1.0' in metrics
    code, answer, _ = said(place.root, place.env, "letters")
    assert code == 0 and answer.startswith(f"{len(wrong) + 2} messages in {place.topic}.dead\n")
    assert "\n1 call: unknown field: did you mean calls?\n" in answer


def test_labels_meet_logged_rows_by_the_event_id_of_a_header(place: Place) -> None:
    """And a message that comes again is scored, stored and counted once."""
    with consuming(place.root, place.env) as running:
        place.broker.send(place.topic, *map(event, range(30)), *map(event, range(10)), ROW)
        until(lambda: place.committed() == 41)
        assert 'outcome="repeated"} 10.0' in running.metrics()
        running.stop()
    assert place.count() == 31
    made = Project(place.root)
    scorer = Scorer.load(registry.champion_folder(made))
    rows, _ = prediction_log.read(made, scorer, None)
    assert len(rows) == 31 and {"e0", "e29"} < {row.event_id for row in rows}
    storage.write_text(place.root / "labels.csv", "event_id,y\ne3,true\ne4,false\n")
    agreed = contract.read(made.contract_path)
    labels = prediction_log.labelled(made, agreed, rows, place.root / "labels.csv")
    assert sorted(labels[~np.isnan(labels)]) == [0.0, 1.0]


def test_fields_that_the_contract_does_not_know_are_left_out_by_choice(place: Place) -> None:
    """Also where the key of a message is said to name its event."""
    options = ("--unknown-fields", "ignore", "--event-id", "key")
    rows = [{"value": {**ROW, "more": {"a": 1}}, "key": b"a"}, {"value": ROW, "key": b"a"}]
    broken = {"value": {"calls": -1, "more": 2}, "key": b"b"}
    with consuming(place.root, place.env, *options):
        place.broker.send(place.topic, *rows, broken)
        until(lambda: place.committed() == 3)
    assert list(place.rows()) == ["a"]
    [letter] = place.letters()
    assert letter["reason"].startswith("calls: minimum: ") and "more" not in letter["reason"]


# What dies


def test_killed_between_table_and_offsets_nothing_is_lost_or_there_twice(place: Place) -> None:
    place.broker.send(place.topic, *map(event, range(600)), b"no json")
    with consuming(place.root, {**place.env, "CRASH": "stored"}) as running:
        assert running.process.wait(60) == -9
    before = place.count()
    assert before > 0 and place.committed() == 0
    with consuming(place.root, place.env) as running:
        until(lambda: place.committed() == 601)
        metrics = running.metrics()
        running.stop()
    assert place.count() == len(place.rows()) == 600
    assert f'outcome="repeated"}} {before}.0' in metrics
    assert {letter["reason"].split(":")[0] for letter in place.letters()} == {"not valid JSON"}
    assert said(place.root, place.env, "letters")[1].startswith("1 messages in ")


def test_two_consumers_one_killed_share_the_work_and_lose_nothing(place: Place) -> None:
    sent = 4000
    with consuming(place.root, place.env, "--batch-rows", "50") as first:
        place.broker.send(place.topic, *map(event, range(500)))
        until(lambda: place.count() == 500)
        with consuming(place.root, place.env, "--batch-rows", "50") as second:
            until(second.answers)
            until(lambda: "\nml_stream_partitions 2.0\n" in second.metrics())
            for start in range(500, sent, 500):
                place.broker.send(place.topic, *map(event, range(start, start + 500)))
                if start == 2000:
                    first.kill()
            until(lambda: place.committed() == sent)
            second.stop()
    assert place.count() == len(place.rows()) == sent


@NIGHTLY
def test_a_broker_that_breaks_and_comes_back_loses_nothing(
    project: Project, postgres: Postgres, buckets: Buckets
) -> None:
    buckets.make("tansu")
    asked = {"AWS_ENDPOINT": buckets.address, "AWS_ALLOW_HTTP": "true", **buckets.env}
    durable = Broker("s3://tansu/", asked)
    try:
        place = Place(project.root, durable, postgres, "durable")
        sent = 2000
        with consuming(place.root, place.env, "--batch-rows", "50") as running:
            for start in range(0, sent, 200):
                durable.send(place.topic, *map(event, range(start, start + 200)), b"no json")
                if start in (400, 1200):
                    until(lambda: place.count() > 0)
                    durable.kill()
                    time.sleep(2)  # the consumer asks, and nobody answers
                    assert running.process.poll() is None
                    durable.start()
            until(lambda: place.committed() == sent + 10, 120)
            running.stop()
        assert place.count() == len(place.rows()) == sent
        assert {*place.rows()} == {f"e{number}" for number in range(sent)}
        assert len({letter["origin"] for letter in place.letters()}) == 10
    finally:
        durable.close()


@NIGHTLY
def test_a_table_that_does_not_answer_holds_the_stream_back(place: Place) -> None:
    own = Postgres()
    env = {**place.env, "ML_STREAM_DATABASE": own.address}
    try:
        assert said(place.root, env, "table", "--create")[0] == 0
        with consuming(place.root, env) as running:
            place.broker.send(place.topic, *map(event, range(100)))
            until(lambda: own.ask(f"SELECT count(*) FROM {place.table}") == [(100,)])
            own.stop()
            place.broker.send(place.topic, *map(event, range(100, 300)))
            until(lambda: "ml_stream_retries_total 0.0" not in running.metrics())
            assert place.committed() == 100
            time.sleep(1)
            behind = running.metrics().split("\nml_stream_behind_seconds ")[1].split("\n")[0]
            assert float(behind) > 1
            own.start()
            until(lambda: place.committed() == 300)
            running.stop()
        assert own.ask(f"SELECT count(*) FROM {place.table}") == [(300,)]
    finally:
        own.close()


def test_promotion_and_stop_under_way(place: Place) -> None:
    """The new model answers within seconds, and a stop finishes the batch in hand."""
    made = Project(place.root)
    with consuming(place.root, place.env) as running:
        place.broker.send(place.topic, *map(event, range(50)))
        until(lambda: place.count() == 50)
        registry.promote(made, "v2", force_reason="a test")
        until(lambda: 'version="v2"' in running.metrics())
        place.broker.send(place.topic, *map(event, range(50, 100)))
        until(lambda: place.count() == 100)
        log = running.stop()
    assert all("level" in json.loads(line) for line in log.splitlines())
    assert place.committed() == 100
    versions = place.postgres.ask(
        f"SELECT model_version, count(*) FROM {place.table} GROUP BY 1 ORDER BY 1"
    )
    assert versions == [("v1", 50), ("v2", 50)]
    files = (place.root / "data/predictions").glob("*.jsonl")
    assert sum(len(file.read_bytes().splitlines()) for file in files) == 100


# One clear line


@pytest.mark.parametrize(
    ("change", "line"),
    [
        pytest.param(
            {"ML_STREAM_BROKERS": "127.0.0.1:1"}, "no broker at 127.0.0.1:1: ", marks=NIGHTLY
        ),
        pytest.param({"ML_STREAM_TOPIC": "nowhere"}, "no topic nowhere at ", marks=NIGHTLY),
        pytest.param({"ML_STREAM_DEAD_LETTERS": "nowhere"}, "no topic nowhere at ", marks=NIGHTLY),
        ({"ML_STREAM_TABLE": "nowhere"}, "no table nowhere in the database postgres: "),
        pytest.param({"ML_STREAM_DATABASE": "host=127.0.0.1 port=1"}, "database: ", marks=NIGHTLY),
        pytest.param(
            {"ML_STREAM_DATABASE": "no address"}, "environment: ML_STREAM_DATABASE: ", marks=NIGHTLY
        ),
        pytest.param(
            {"ML_STREAM_USER": "me"},
            "environment: ML_STREAM_USER and ML_STREAM_PASSWORD go ",
            marks=NIGHTLY,
        ),
        pytest.param(
            {"ML_STREAM_USER": "me", "ML_STREAM_PASSWORD": "hidden-1"},
            "no broker at ",
            marks=NIGHTLY,
        ),
        pytest.param(
            {"ML_STREAM_TABLE": "without_key"},
            "table without_key: event_id is not unique",
            marks=NIGHTLY,
        ),
        pytest.param(
            {"ML_STREAM_TABLE": "other_type"},
            "table other_type: column probability is real, but ",
            marks=NIGHTLY,
        ),
        ({"GUEST": "hidden-2"}, "database: "),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_not_there_is_told_in_one_line(
    trained: Path, broker: Broker, postgres: Postgres, change: dict[str, str], line: str
) -> None:
    known = {"told", "told.dead"} & broker.admin.list_topics(timeout=10).topics.keys()
    if not known:
        broker.topic("told")
    env = {"ML_STREAM_BROKERS": broker.address, "ML_STREAM_DATABASE": postgres.address}
    env |= {"ML_STREAM_TOPIC": "told", "ML_STREAM_TABLE": "told"}
    assert said(trained, env, "table", "--create")[0] == 0
    postgres.ask("DROP TABLE IF EXISTS without_key, other_type")
    postgres.ask("CREATE TABLE without_key AS SELECT * FROM told")
    postgres.ask("CREATE TABLE other_type AS SELECT * FROM told")
    postgres.ask("ALTER TABLE other_type ALTER probability TYPE real")
    if password := change.pop("GUEST", None):
        postgres.ask("DROP ROLE IF EXISTS guest")
        postgres.ask("CREATE ROLE guest LOGIN PASSWORD 'right'")
        change = {"ML_STREAM_DATABASE": postgres.address.replace("user=postgres", "user=guest")}
        change |= {"PGPASSWORD": password}
    code, _, error = said(trained, {**env, **change}, "run")
    assert code == 2 and error.startswith(line), error
    assert error.count("\n") == 1 and "hidden" not in error


def test_the_trace_of_a_sender_is_in_log_table_and_dead_letter(
    place: Place,
) -> None:
    def sent(number: int, header: bytes | None, **row: Any) -> dict[str, Any]:
        one = event(number, **row)
        more = {"traceparent": header} if header else {}
        return {**one, "headers": one["headers"] | more}

    good = PARENT.encode()
    messages = [sent(0, good), sent(1, None), sent(2, b"\xffno"), sent(3, good, amount="x")]
    with collector() as address:
        env = {**place.env, "OTEL_EXPORTER_OTLP_ENDPOINT": address}
        with consuming(place.root, place.env) as plain:
            until(plain.answers)
            place.broker.send(place.topic, *messages)
            until(lambda: place.count() == 3 and place.committed() == 4)
            plain.stop()
        assert not Collector.spans
        with consuming(place.root, env) as traced:
            until(traced.answers)
            place.broker.send(place.topic, sent(4, good), sent(5, good, amount="x"))
            until(lambda: place.count() == 4 and place.committed() == 6)
            traced.stop()
        spans = [span for *_, span in Collector.spans]
    assert len(spans) == 2
    found = {name: row["trace_id"] for name, row in place.rows().items()}
    assert found == {"e0": TRACE, "e1": None, "e2": None, "e4": TRACE}
    logged = [
        json.loads(line)
        for path in (place.root / "data/predictions").glob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert {line["event_id"]: line.get("trace_id") for line in logged} == found
    assert [letter["traceparent"] for letter in place.letters()] == [PARENT] * 2
    for span in spans:
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, ABOVE)
        assert span.kind == span.SPAN_KIND_CONSUMER and span.name == f"consume {place.topic}"
    statuses = sorted(
        pair.value.int_value
        for span in spans
        for pair in span.attributes
        if pair.key == "ml.status"
    )
    assert statuses == [200, 422]


def test_a_table_of_before_goes_on_without_traces(place: Place) -> None:
    place.postgres.ask(f"ALTER TABLE {place.table} DROP COLUMN trace_id")
    with consuming(place.root, place.env) as running:
        until(running.answers)
        place.broker.send(place.topic, event(0))
        until(lambda: place.count() == 1)
        running.stop()
    assert "trace_id" not in place.rows()["e0"]
    assert elsewhere.read(Project(place.root)) == [
        f"table {place.table} in the database of ML_STREAM_DATABASE",
        f"topics {place.topic} and {place.topic}.dead",
    ]


def test_topics_are_made_once_and_missed_in_one_line(trained: Path, broker: Broker) -> None:
    env = {"ML_STREAM_BROKERS": broker.address, "ML_STREAM_TOPIC": "made"}
    code, _, error = said(trained, env, "topics")
    assert (code, error) == (
        2,
        f"no topic made at {broker.address}: create it, or name another one; see --topic and "
        "--dead-letters\n",
    )
    for _ in range(2):
        code, answer, error = said(trained, env, "topics", "--create", "--partitions", "3")
        assert (code, answer) == (0, "made and made.dead are there\n"), error
    known = broker.admin.list_topics(timeout=10).topics
    assert (len(known["made"].partitions), len(known["made.dead"].partitions)) == (3, 1)
    nobody = {"ML_STREAM_BROKERS": "127.0.0.1:1"}
    code, _, error = said(trained, env | nobody, "topics", "--create")
    assert code == 2 and error.startswith("no broker at 127.0.0.1:1: ") and error.count("\n") == 1


# Files and words


def test_a_project_without_it_has_none_of_its_files_and_words(tmp_path: Path) -> None:
    made = tree(render(tmp_path / "p", deployment_modes=["rest", "batch"]))
    words = ("streaming", "kafka", "psycopg", "ml stream", "dead letter")
    texts = {name: content.decode().lower() for name, content in made.items()}
    plan = texts.pop("plan/plan.yaml")  # names what could be decided instead
    texts["plan/plan.yaml"] = "\n".join(
        line for line in plan.splitlines() if "alternatives" not in line and "words" not in line
    )
    found = [(n, w) for n, text in texts.items() for w in words if w in text]
    source = ("pyproject.toml", *(f"{n}.py" for n in ("topics", "data/events", "data/fetching")))
    found = [(n, w) for n, w in found if not (w == "kafka" and n.endswith(source))]  # of rows
    assert not [hit for hit in found if hit[0] != "plan/plan.yaml"], found
    alone = tree(render(tmp_path / "s", deployment_modes=["streaming"]))
    assert not [name for name in alone if "rest" in name.split("/")[-1].split(".")[0].split("_")]
    assert {n for n in made if n.startswith("monitoring/")} < set(alone)
