"""A caller that knows no interface and asks the service for it. For probes and smoke tests."""

from pathlib import Path
from typing import Any

import grpc
import msgspec
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from ..errors import CheckFailed, ProjectError
from ..model import registry
from ..model.scorer import MANIFEST, Manifest
from ..model.values import ServedColumn, example
from ..settings import Project
from ..storage import read_json
from .proto import SERVICE

SECONDS = 10.0


def channel(address: str, authority: Path | None) -> Any:
    """Return a channel; with TLS where the PEM of an authority is given."""
    if authority is None:
        return grpc.insecure_channel(address)
    if not authority.is_file():
        raise ProjectError(f"{authority}: no such file; see --tls-ca")
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(authority.read_bytes()))


def check(address: str, authority: Path | None) -> None:
    """CheckFailed unless the service says that it serves."""
    with channel(address, authority) as there:
        stub = health_pb2_grpc.HealthStub(there)
        try:
            found = stub.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        except grpc.RpcError as error:
            raise _unanswered(address, error) from None
    if found.status != health_pb2.HealthCheckResponse.SERVING:
        raise CheckFailed(f"{address} is not ready: its golden rows fail, or it is stopping")


def ask(
    project: Project, rows: Path | None, address: str, authority: Path | None, key: str = ""
) -> dict[str, Any]:
    """Return the answer to the rows of a JSON file, or to an example by the contract."""
    ignored = read_json(registry.champion_folder(project) / MANIFEST, Manifest).ignored
    content = [
        {name: value for name, value in row.items() if name not in ignored}
        for row in ([_example(project)] if rows is None else _read(rows))
    ]
    with channel(address, authority) as there:
        try:
            return predict(there, content, key)
        except json_format.ParseError as error:
            raise ProjectError(f"{rows}: {' '.join(str(error).split())}") from None
        except grpc.RpcError as error:
            raise _unanswered(address, error) from None


def predict(there: Any, rows: list[dict[str, Any]], key: str = "") -> dict[str, Any]:
    """Send rows by the names of their columns; return the answer by the names of the outputs."""
    database = ProtoReflectionDescriptorDatabase(there)
    found = (name for name in database.get_services() if name.endswith(f".{SERVICE}"))
    service = descriptor_pool.DescriptorPool(database).FindServiceByName(next(found))
    method = service.methods_by_name["Predict"]
    kind = message_factory.GetMessageClass(method.input_type)
    answer = message_factory.GetMessageClass(method.output_type)
    call = there.unary_unary(
        f"/{service.full_name}/Predict", kind.SerializeToString, answer.FromString
    )
    message = json_format.ParseDict({"rows": rows}, kind())
    told = (("authorization", f"Bearer {key}"),) if key else ()
    said: dict[str, Any] = json_format.MessageToDict(
        call(message, timeout=SECONDS, metadata=told), always_print_fields_with_no_presence=True
    )
    return said


def _example(project: Project) -> dict[str, Any]:
    folder = registry.champion_folder(project)
    columns = read_json(folder / "columns.json", tuple[ServedColumn, ...])
    return {column.name: example(column) for column in columns if column.used}


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        content = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise ProjectError(f"{path}: {error.strerror}: give a file that holds the rows") from None
    except msgspec.DecodeError as error:
        raise ProjectError(f"{path}: {error}") from None
    found = content if isinstance(content, list) else [content]
    if not all(isinstance(row, dict) for row in found):
        raise ProjectError(f"{path}: a row is no JSON object")
    return found


def _unanswered(address: str, error: Any) -> CheckFailed:
    return CheckFailed(f"{address}: {error.code().name}: {' '.join(error.details().split())}")
