"""Messages a second: a consumer that does nothing, one that scores, and one that stores as well.

`uv run benchmarks/streaming.py [PROJECT]` takes a project with the mode and a champion; without one
it makes one. Broker and PostgreSQL are those of the tests and run on the same machine: CPU of the
consumer counts, which has no part of theirs. MESSAGES and ROUNDS are variables of the environment.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from common import ROOT, call, median, render

sys.path.insert(0, str(ROOT / "tests"))
from helpers.stream import Broker, Postgres

MESSAGES = int(os.environ.get("MESSAGES", "20000"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
KINDS = ("consumes alone", "decodes and scores", "stores in PostgreSQL")
CODE = """
import sys, time
from pathlib import Path
from confluent_kafka import Consumer
from {package}.engine.serving import streaming, streaming_sink
from {package}.engine.settings import Project

kind, brokers, database, topic, count = sys.argv[1:]
count = int(count)

class Nowhere:
    def store(self, rows):
        return streaming_sink.Stored(len(rows), {{}})

    def close(self):
        pass

wanted = streaming.Wanted(brokers, topic, kind, topic + ".dead", topic, database)
stream = streaming.Stream(Project(Path.cwd()), wanted)
outputs = stream.model.scorer.outputs
sink, dead = Nowhere(), streaming.Letters({{"bootstrap.servers": brokers}}, wanted.dead_letters)
if kind.startswith("stores"):
    streaming_sink.create(database, topic, outputs)
    sink = streaming_sink.Sink(database, topic, outputs)
settings = {{"bootstrap.servers": brokers, "group.id": topic + kind, "enable.auto.commit": False}}
settings |= {{"auto.offset.reset": "earliest", "enable.auto.offset.store": False}}
consumer = Consumer({{**settings, "fetch.wait.max.ms": wanted.wait_ms}})
cpu = time.process_time()  # messages are fetched ahead, by threads that count as well
stream.follow_group(consumer)
done = 0
while done < count:
    messages = stream.gather(consumer)
    if messages and not kind.startswith("consumes"):
        assert stream.handle(messages, sink, dead)
    if messages:
        stream.commit(consumer, messages)
    done += len(messages)
print(time.process_time() - cpu)
consumer.close()
sink.close()
stream.close()
"""


def measured(project: Path, broker: Broker, postgres: Postgres) -> dict[str, list[float]]:
    """Return CPU seconds of each round, by kind of consumer."""
    package = next(path.name for path in (project / "src").iterdir())
    golden = json.loads((project / "models/v1/golden.json").read_text())["rows"]
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for number in range(ROUNDS):
        topic = broker.topic(f"round{number}", 1)
        broker.send(topic, *(golden[n % len(golden)] for n in range(MESSAGES)))
        for kind in KINDS:
            told = [kind, broker.address, postgres.address, topic, str(MESSAGES)]
            code = [sys.executable, "-c", CODE.format(package=package), *told]
            _, said = call(*code, cwd=project, PYTHONPATH=str(project / "src"))
            found[kind].append(float(said.splitlines()[-1]))
    return found


def main(given: list[str]) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        project = Path(given[0]) if given else Path(name) / "project"
        if not given:
            render(project, deployment_modes="[streaming]")
            package = next(path.name for path in (project / "src").iterdir())
            env = {"PYTHONPATH": str(project / "src"), "ML_TRAINING__TRACK": "false"}
            call(sys.executable, "-m", package, "run", cwd=project, **env)
        broker, postgres = Broker(), Postgres()
        try:
            found = measured(project, broker, postgres)
        finally:
            broker.close()
            postgres.close()
    print(f"{MESSAGES} messages, median of {ROUNDS} rounds, load {os.getloadavg()[0]:.0f}\n")
    print("| The consumer | CPU µs a message | messages a CPU second |")
    print("|---|---|---|")
    for kind, rounds in found.items():
        taken = median(rounds) / MESSAGES
        print(f"| {kind} | {taken * 1e6:.0f} | {1 / taken:,.0f} |")


main(sys.argv[1:])
