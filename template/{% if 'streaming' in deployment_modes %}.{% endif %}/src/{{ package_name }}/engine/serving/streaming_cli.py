"""`ml stream`: consume a topic, show or make the table, look at dead letters."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ..console import AsJson, show
from ..errors import ProjectError
from ..settings import Project, find_project

METRICS_PORT = 9465
app = typer.Typer(help="Predictions for the messages of a topic.", no_args_is_help=True)


class EventId(StrEnum):
    """What names an event, beside a field or a header `event_id`."""

    HEADER = "header"
    KEY = "key"


class UnknownFields(StrEnum):
    """What happens to a message with a field that the contract does not know."""

    STRICT = "strict"
    IGNORE = "ignore"


class Mechanism(StrEnum):
    """How the broker checks a password."""

    PLAIN = "PLAIN"
    SCRAM_256 = "SCRAM-SHA-256"
    SCRAM_512 = "SCRAM-SHA-512"


Brokers = Annotated[str, typer.Option(envvar="ML_STREAM_BROKERS", help="HOST:PORT, HOST:PORT ...")]
Topic = Annotated[str | None, typer.Option(envvar="ML_STREAM_TOPIC", help="Default: the project.")]
Dead = Annotated[
    str | None, typer.Option(envvar="ML_STREAM_DEAD_LETTERS", help="Default: TOPIC.dead.")
]
Table = Annotated[str, typer.Option(envvar="ML_STREAM_TABLE", help="TABLE or SCHEMA.TABLE.")]
Tls = Annotated[bool, typer.Option(envvar="ML_STREAM_TLS", help="Between us and the broker.")]
Authority = Annotated[
    Path | None, typer.Option(envvar="ML_STREAM_TLS_CA", help="PEM of who signed the broker's.")
]
Sasl = Annotated[Mechanism, typer.Option(envvar="ML_STREAM_MECHANISM", help="Of the password.")]


def _topic(project: Project, topic: str | None) -> str:
    return topic or project.plan.project.slug


def _access(mechanism: Mechanism, tls: bool, authority: Path | None) -> Any:
    """Return how the broker knows us, with the credentials of the environment."""
    import os

    from .streaming import Access

    user, password = (os.environ.get(f"ML_STREAM_{n}", "") for n in ("USER", "PASSWORD"))
    if bool(user) != bool(password):
        raise ProjectError("environment: ML_STREAM_USER and ML_STREAM_PASSWORD go together")
    return Access(user, password, mechanism.value, tls or authority is not None, authority)


def _database() -> str:
    import os

    return os.environ.get("ML_STREAM_DATABASE", "")


@app.command()
def run(
    brokers: Brokers = "localhost:9092",
    topic: Topic = None,
    group: Annotated[
        str | None, typer.Option(envvar="ML_STREAM_GROUP", help="Default: the project.")
    ] = None,
    dead_letters: Dead = None,
    table: Table = "predictions",
    event_id: Annotated[
        EventId,
        typer.Option(
            envvar="ML_STREAM_EVENT_ID",
            help="key: the key of a message names its event, not only whom it is about.",
        ),
    ] = EventId.HEADER,
    unknown_fields: Annotated[
        UnknownFields, typer.Option(envvar="ML_STREAM_UNKNOWN_FIELDS", help="Of messages.")
    ] = UnknownFields.STRICT,
    batch_rows: Annotated[
        int, typer.Option(envvar="ML_STREAM_BATCH_ROWS", min=1, max=10_000, help="At most.")
    ] = 500,
    wait_ms: Annotated[
        int, typer.Option(envvar="ML_STREAM_WAIT_MS", min=1, max=10_000, help="For a batch.")
    ] = 50,
    session_ms: Annotated[
        int,
        typer.Option(
            envvar="ML_STREAM_SESSION_MS",
            min=1000,
            max=300_000,
            help="Of silence, then others get the partitions.",
        ),
    ] = 10_000,
    host: Annotated[str | None, typer.Option(help="Of the metrics. Default: config.yaml.")] = None,
    metrics_port: Annotated[
        int, typer.Option(envvar="ML_STREAM_METRICS_PORT", min=0, max=65535, help="Of Prometheus.")
    ] = METRICS_PORT,
    mechanism: Sasl = Mechanism.SCRAM_512,
    tls: Tls = False,
    tls_ca: Authority = None,
) -> None:
    """Score the messages of a topic with the champion and store them in a table.

    Credentials stand in the environment alone: ML_STREAM_USER and ML_STREAM_PASSWORD for the
    broker, ML_STREAM_DATABASE or PGHOST, PGUSER and PGPASSWORD for PostgreSQL.
    """
    from . import streaming

    project = find_project()
    source = _topic(project, topic)
    wanted = streaming.Wanted(
        brokers=brokers,
        topic=source,
        group=group or project.plan.project.slug,
        dead_letters=dead_letters or f"{source}.dead",
        table=table,
        database=_database(),
        event_id=event_id.value,
        unknown_fields=unknown_fields.value,
        batch_rows=batch_rows,
        wait_ms=wait_ms,
        session_ms=session_ms,
    )
    access = _access(mechanism, tls, tls_ca)
    streaming.run(project, wanted, access, host or project.config.serving.host, metrics_port)


@app.command()
def check(
    metrics_port: Annotated[
        int, typer.Option(envvar="ML_STREAM_METRICS_PORT", min=1, max=65535)
    ] = METRICS_PORT,
) -> None:
    """Ask whether the consumer on this machine runs; exit 1 when it does not."""
    from urllib.error import URLError
    from urllib.request import urlopen

    from ..errors import CheckFailed

    try:
        with urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=4) as answer:
            is_ours = b"ml_stream_behind_seconds" in answer.read()
    except (URLError, OSError) as error:
        raise CheckFailed(f"no consumer on this machine: {error}") from None
    if not is_ours:
        raise CheckFailed(f"what answers at port {metrics_port} is no consumer")
    typer.echo("the consumer runs")


@app.command("table")
def table_(
    table: Table = "predictions",
    create: Annotated[bool, typer.Option(help="Make it in the database.")] = False,
) -> None:
    """Show the SQL of the table that the champion's predictions need."""
    from ..model import registry
    from ..model.scorer import Scorer
    from . import streaming_sink

    outputs = Scorer.load(registry.champion_folder(find_project())).outputs
    if not create:
        typer.echo(streaming_sink.statement(table, outputs))
        return
    streaming_sink.create(_database(), table, outputs)
    streaming_sink.Sink(_database(), table, outputs)
    typer.echo(f"{table} is there")


@app.command("topics")
def topics_(
    brokers: Brokers = "localhost:9092",
    topic: Topic = None,
    dead_letters: Dead = None,
    create: Annotated[bool, typer.Option(help="Make those that are not there.")] = False,
    partitions: Annotated[
        int, typer.Option(min=1, max=1000, help="Of the topic: as many consumers can share it.")
    ] = 4,
    copies: Annotated[int, typer.Option(min=1, max=10, help="Brokers that have a message.")] = 1,
    within: Annotated[
        int, typer.Option(min=0, max=600, help="Seconds in which a broker may start.")
    ] = 0,
    mechanism: Sasl = Mechanism.SCRAM_512,
    tls: Tls = False,
    tls_ca: Authority = None,
) -> None:
    """Say whether the topic and that of its dead letters are there; exit 2 when one is not."""
    from . import streaming, streaming_topics

    source = _topic(find_project(), topic)
    dead, access = dead_letters or f"{source}.dead", _access(mechanism, tls, tls_ca)
    if create:
        streaming_topics.create_within(within, brokers, source, dead, partitions, copies, access)
    else:
        streaming.reached({"bootstrap.servers": brokers, **access.settings()}, [source, dead])
    typer.echo(f"{source} and {dead} are there")


@app.command()
def letters(
    brokers: Brokers = "localhost:9092",
    topic: Topic = None,
    dead_letters: Dead = None,
    mechanism: Sasl = Mechanism.SCRAM_512,
    tls: Tls = False,
    tls_ca: Authority = None,
    as_json: AsJson = False,
) -> None:
    """Count the dead letters by their reason, each message once; read and change nothing."""
    from . import streaming_letters

    project = find_project()
    dead = dead_letters or f"{_topic(project, topic)}.dead"
    report = streaming_letters.counted(brokers, dead, _access(mechanism, tls, tls_ca))
    lines = [f"{count} {reason}" for reason, count in report["reasons"].items()]
    show(report, as_json, "\n".join([f"{report['messages']} messages in {dead}", *lines]))
