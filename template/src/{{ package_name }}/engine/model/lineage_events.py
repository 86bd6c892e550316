"""Lineage as events of OpenLineage 2-0-2, for a catalogue of data that reads them.

Each version is one run of the job `train`: from what it was made, and the model that came of it.
"""

import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .. import storage
from .lineage import Origin

SPEC = "https://openlineage.io/spec"
EVENT = f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
FACET = "DatasetVersionDatasetFacet"
VERSION = f"{SPEC}/facets/1-0-1/{FACET}.json#/$defs/{FACET}"


def write(origins: Sequence[Origin], project: str, path: Path) -> int:
    """Write two events for each version, one a line; return how many. Written again, the same."""
    events = [event for one in origins for event in _of(one, project)]
    storage.write_text(path, "".join(f"{json.dumps(event)}\n" for event in events))
    return len(events)


def _of(one: Origin, project: str) -> Iterator[dict[str, Any]]:
    """Yield start and end of a training, whose time a bundle knows of its end alone."""
    producer = f"urn:project:{project}"

    def table(name: str, version: str) -> dict[str, Any]:
        facet = {"_producer": producer, "_schemaURL": VERSION, "datasetVersion": version}
        return {"namespace": project, "name": name, "facets": {"version": facet}}

    made_of = [("contract", one.contract_sha256), ("commit", one.commit or "")]
    if snap := one.snapshot:
        joined = [(other.server, other.sha256) for other in snap.joined]
        made_of = [(snap.source, snap.source_sha256), *joined, *made_of]
    made_of.append(("snapshot", one.data_sha256))
    model = f"models/{one.version}"
    for kind in ("START", "COMPLETE"):
        yield {
            "eventType": kind,
            "eventTime": one.created,
            "producer": producer,
            "schemaURL": EVENT,
            "run": {"runId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{producer}/{one.run}/{model}"))},
            "job": {"namespace": project, "name": "train"},
            "inputs": [table(name, version) for name, version in made_of if version],
            "outputs": [table(model, one.manifest_sha256)] if kind == "COMPLETE" else [],
        }
